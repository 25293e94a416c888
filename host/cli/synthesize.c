/* totalrecall synthesize: draws the synthetic data sets. */
#include "datasets/dataset.h"
#include "host/cli/cli.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

typedef struct arguments {
  tr_synthesize_options pictures;
  const char *clips; /* "videos", "frames", or NULL: pictures */
  bool of_pictures;  /* an option that clips do not have was given */
} arguments;

static int take_number(arguments *a, int option) {
  long number = 0;
  if (!cli_parse_number(optarg, option == 's' ? 0 : 1, option == 's' ? 0x7fffffff : 100000, &number))
    return cli_wrong_usage(&cli_synthesize, "`%s` is not a number that is possible here", optarg);
  if (option == 's')
    a->pictures.seed = (uint64_t)number;
  else
    *(option == 't'   ? &a->pictures.train
      : option == 'g' ? &a->pictures.good
      : option == 'd' ? &a->pictures.per_defect
                      : &a->pictures.size) = (int)number;
  return CLI_OK;
}

static int take(void *to, int option) {
  arguments *a = to;
  if (option == '?')
    return cli_unknown_option(&cli_synthesize);
  a->of_pictures |= strchr("ctgd", option) != NULL;
  if (option == 'c')
    a->pictures.class_name = optarg;
  else if (option == 'v')
    a->clips = optarg;
  else
    return take_number(a, option);
  return CLI_OK;
}

static int check(const arguments *a, int argc) {
  if (argc - optind != 1)
    return cli_wrong_usage(&cli_synthesize, "takes one folder to draw into, found %d arguments", argc - optind);
  if (a->clips && strcmp(a->clips, "videos") != 0 && strcmp(a->clips, "frames") != 0)
    return cli_wrong_usage(&cli_synthesize, "--clips takes videos or frames, found `%s`", a->clips);
  if (a->clips && a->of_pictures)
    return cli_wrong_usage(&cli_synthesize, "--clips goes with --seed and --size alone");
  return CLI_OK;
}

static tr_status draw(const arguments *a, const char *folder) {
  if (!a->clips)
    return tr_synthesize(folder, &a->pictures);
  return tr_synthesize_clips(folder, &(tr_synthesize_clips_options){.seed = a->pictures.seed,
                                                                    .size = a->pictures.size,
                                                                    .frames = strcmp(a->clips, "frames") == 0});
}

static int run(int argc, char **argv) {
  static const struct option options[] = {{"class", required_argument, NULL, 'c'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"train", required_argument, NULL, 't'},
                                          {"good", required_argument, NULL, 'g'},
                                          {"per-defect", required_argument, NULL, 'd'},
                                          {"size", required_argument, NULL, 'p'},
                                          {"clips", required_argument, NULL, 'v'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
  arguments a = {.clips = NULL};
  bool help = false;
  int code = cli_parse_options(argc, argv, options, take, &a, &help);
  if (help)
    return cli_print_help(&cli_synthesize);
  if (code == CLI_OK)
    code = check(&a, argc);
  if (code != CLI_OK)
    return code;
  if (draw(&a, argv[optind]) != TR_OK)
    return cli_failed();
  printf("drawn into %s\n", argv[optind]);
  return CLI_OK;
}

const cli_command cli_synthesize = {
    .name = "synthesize",
    .summary = "draw the synthetic data sets",
    .run = run,
    .help =
        "usage: totalrecall synthesize OUT [--class NAME] [--seed N] [--train N] [--good N] [--per-defect N] [--size PIXELS]\n"
        "       totalrecall synthesize OUT --clips videos|frames [--seed N] [--size PIXELS]\n\n"
        "Draws texture and object classes with defects and exact masks into OUT, in the layout of MVTec AD. The same seed\n"
        "gives the same files. With --clips, a small set in the layout of ShanghaiTech Campus (data set synthetic_mstc), on\n"
        "which experiments/mstc.yaml runs from end to end; it says nothing about the real one.\n\n"
        "  --class NAME     only this class: board, capsule, cloth, granite or nut\n"
        "  --seed N         (default 0)\n"
        "  --train N        training images of a class\n"
        "  --good N         good test images of a class\n"
        "  --per-defect N   test images of each kind of defect\n"
        "  --size PIXELS    the shorter side of an image (default 320; of clips 120)\n"
        "  --clips KIND     training clips as videos (.avi, without compression), or as frames, for builds that read no videos;\n"
        "                   both hold the same pictures. Test clips are frames with a mask file each\n",
};
