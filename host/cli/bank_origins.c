/* totalrecall bank origins: which training images a bank's rows came from. */
#include "host/base/status.h"
#include "host/cli/cli.h"
#include "host/detector/origins.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct origins_arguments {
  const char *model, *csv, *pictures;
  tr_strings folders;
  long top;
} origins_arguments;

static int parse_option(void *arguments, int c) {
  origins_arguments *a = arguments;
  switch (c) {
  case 'c':
    a->csv = optarg;
    return CLI_OK;
  case 'p':
    a->pictures = optarg;
    return CLI_OK;
  case 'i':
    return tr_strings_add(&a->folders, optarg) == TR_OK ? CLI_OK : cli_failed();
  case 't':
    return cli_parse_number(optarg, 1, 1000000, &a->top)
               ? CLI_OK
               : cli_wrong_usage(&cli_bank, "--top takes a number from 1 to 1000000, found `%s`", optarg);
  default:
    return cli_unknown_option(&cli_bank);
  }
}

static int parse_arguments(int argc, char **argv, origins_arguments *a, bool *help) {
  static const struct option options[] = {{"csv", required_argument, NULL, 'c'},    {"pictures", required_argument, NULL, 'p'},
                                          {"images", required_argument, NULL, 'i'}, {"top", required_argument, NULL, 't'},
                                          {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
  int code = cli_parse_options(argc, argv, options, parse_option, a, help);
  if (code != CLI_OK || *help)
    return code;
  if (argc - optind != 1)
    return cli_wrong_usage(&cli_bank, "origins takes one model, found %d arguments", argc - optind);
  if (a->folders.count && !a->pictures)
    return cli_wrong_usage(&cli_bank, "--images is for --pictures");
  a->model = argv[optind];
  return CLI_OK;
}

static tr_status print_images(const tr_origins *o, size_t top) {
  size_t shown = o->image_count < top ? o->image_count : top;
  printf("%zu rows of %zu training images, of which %zu have none; %dx%d patches of each\n", o->row_count,
         o->bank.about.train_images, o->bank.about.train_images - o->image_count, o->bank.tiling.columns * o->bank.grid_w,
         o->bank.tiling.rows * o->bank.grid_h);
  if (!o->bank.about.sources.count)
    printf("the file has no names of its training images: an older version fitted it\n");
  printf("\n%8s %10s %8s %14s  %s\n", "rows", "farthest", "z", "patch (x, y)", "image");
  for (size_t i = 0; i < shown; ++i) {
    const tr_image_origin *image = &o->images[i];
    char *name, place[48];
    TR_TRY(tr_origins_name(o, image->image, &name));
    tr_patch_place patch = tr_bank_file_place(&o->bank, image->farthest->patch);
    snprintf(place, sizeof place, "(%d, %d)", patch.grid_x, patch.grid_y);
    printf("%8zu %10.5g %8.2f %14s  %s\n", image->rows, image->farthest->distance, image->farthest->z, place, name);
    free(name);
  }
  if (shown < o->image_count)
    printf("and %zu more images\n", o->image_count - shown);
  return TR_OK;
}

static tr_status report(const origins_arguments *a, tr_device *device) {
  tr_origins origins;
  TR_TRY(tr_origins_read(device, a->model, &origins));
  tr_status status = print_images(&origins, (size_t)a->top);
  if (status == TR_OK && a->csv)
    status = tr_origins_write(&origins, a->csv);
  if (status == TR_OK && a->pictures)
    status = tr_origins_draw(device, &origins, (size_t)a->top, &a->folders, a->pictures);
  tr_origins_free(&origins);
  return status;
}

static int with_device(const origins_arguments *a) {
  tr_device *device;
  if (tr_device_open("cpu", 0, &device) != TR_OK)
    return cli_failed();
  tr_status status = report(a, device);
  tr_device_close(device);
  return status == TR_OK ? CLI_OK : cli_failed();
}

int cli_bank_origins(int argc, char **argv) {
  origins_arguments a = {.top = 20};
  bool help = false;
  int code = parse_arguments(argc, argv, &a, &help);
  if (help)
    code = cli_print_help(&cli_bank);
  else if (code == CLI_OK)
    code = with_device(&a);
  tr_strings_free(&a.folders);
  return code;
}
