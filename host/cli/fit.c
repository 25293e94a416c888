/* totalrecall fit: a detector from a folder of nominal images. */
#include "host/base/clock.h"
#include "host/base/load.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/cli/cli.h"
#include "host/detector/append.h"
#include "host/harness/experiment.h"
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fit_arguments {
  const char *out, *experiment, *device;
  const char *append; /* a detector that grows */
  tr_bank_goal goal;
  long threads;
  bool dry_run, wants_threshold;
  tr_strings keys; /* "method=padim", an experiment's keys on the command line */
  tr_fit_options fit;
} fit_arguments;

/* ---- options ---- */

static int add_key(fit_arguments *a, const char *key, const char *value) {
  return tr_strings_take(&a->keys, tr_format("%s=%s", key, value)) == TR_OK ? CLI_OK : cli_failed();
}

static int add_setting(fit_arguments *a, const char *text) {
  const char *equals = strchr(text, '=');
  if (!equals || equals == text || !equals[1])
    return cli_wrong_usage(&cli_fit, "--set takes KEY=VALUE, as dimension=512, found `%s`", text);
  return tr_strings_add(&a->keys, text) == TR_OK ? CLI_OK : cli_failed();
}

/* CLI_OK to go on; else the exit code. */
static int parse_option(void *arguments, int c) {
  fit_arguments *a = arguments;
  switch (c) {
  case 'o':
    a->out = optarg;
    return CLI_OK;
  case 'e':
    a->experiment = optarg;
    return CLI_OK;
  case 'm':
    return add_key(a, "method", optarg);
  case 'b':
    return add_key(a, "backbone", optarg);
  case 's':
    return add_setting(a, optarg);
  case 'T':
    return add_key(a, "tile.size", optarg);
  case 'O':
    return add_key(a, "tile.overlap", optarg);
  case 'w':
    a->fit.weights = optarg;
    return CLI_OK;
  case 'D':
    a->device = optarg;
    return CLI_OK;
  case 'q':
    a->wants_threshold = true;
    return cli_parse_quantile(&cli_fit, optarg, &a->fit.quantile);
  case 'H':
    a->fit.held_out = optarg;
    return CLI_OK;
  case 'a':
    a->append = optarg;
    return CLI_OK;
  case 'p':
  case 'k':
  case 'r':
    return cli_parse_goal(&cli_fit, c, optarg, &a->goal);
  case 'S':
    return cli_parse_shard(optarg, &a->fit.shard.number, &a->fit.shard.of)
               ? CLI_OK
               : cli_wrong_usage(&cli_fit, "--shard takes I/N, as 1/4, found `%s`", optarg);
  case 'n':
    a->dry_run = true;
    return CLI_OK;
  case 'M':
    return tr_parse_bytes(optarg, &a->fit.memory_limit) == TR_OK ? CLI_OK : cli_wrong_usage(&cli_fit, "%s", tr_last_error());
  case 't':
    return cli_parse_threads(&cli_fit, optarg, &a->threads);
  default:
    return cli_unknown_option(&cli_fit);
  }
}

static int check_append(const fit_arguments *a) {
  bool sized = a->goal.percent > 0 || a->goal.rows || a->goal.radius > 0;
  if (sized && !a->append)
    return cli_wrong_usage(&cli_fit, "--percent, --rows and --radius are for --append; a fit has --set subsampling.percent=P");
  if (a->append && (a->experiment || a->keys.count || a->fit.shard.of))
    return cli_wrong_usage(&cli_fit, "a detector that grows has its own settings: no others go with --append, and no --shard");
  return CLI_OK;
}

static int check_arguments(const fit_arguments *a) {
  if (!a->out && !a->dry_run)
    return cli_wrong_usage(&cli_fit, "--out names the file of the model");
  if (a->experiment && a->keys.count)
    return cli_wrong_usage(&cli_fit,
                           "an experiment file has its own method, backbone and keys; leave --method, --backbone, --tile, "
                           "--overlap and --set out, or the file");
  if (a->fit.held_out && !a->wants_threshold)
    return cli_wrong_usage(&cli_fit, "--held-out is for a threshold; give its --quantile too");
  if (a->fit.shard.of && a->wants_threshold)
    return cli_wrong_usage(&cli_fit, "a threshold is of the whole bank: merge the shards, then `totalrecall bank threshold`");
  return check_append(a);
}

static int parse_arguments(int argc, char **argv, fit_arguments *a, bool *help) {
  static const struct option options[] = {{"out", required_argument, NULL, 'o'},
                                          {"experiment", required_argument, NULL, 'e'},
                                          {"method", required_argument, NULL, 'm'},
                                          {"backbone", required_argument, NULL, 'b'},
                                          {"set", required_argument, NULL, 's'},
                                          {"tile", required_argument, NULL, 'T'},
                                          {"overlap", required_argument, NULL, 'O'},
                                          {"weights", required_argument, NULL, 'w'},
                                          {"device", required_argument, NULL, 'D'},
                                          {"quantile", required_argument, NULL, 'q'},
                                          {"held-out", required_argument, NULL, 'H'},
                                          {"memory-limit", required_argument, NULL, 'M'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"shard", required_argument, NULL, 'S'},
                                          {"append", required_argument, NULL, 'a'},
                                          {"percent", required_argument, NULL, 'p'},
                                          {"rows", required_argument, NULL, 'k'},
                                          {"radius", required_argument, NULL, 'r'},
                                          {"dry-run", no_argument, NULL, 'n'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
  int code = cli_parse_options(argc, argv, options, parse_option, a, help);
  if (code != CLI_OK || *help)
    return code;
  if (argc - optind != 1)
    return cli_wrong_usage(&cli_fit, "takes one folder of nominal images, found %d", argc - optind);
  a->fit.data = argv[optind];
  return check_arguments(a);
}

/* ---- keys as an experiment ---- */

/* Length of what stands before the dot in "image.resize=256"; 0 where there is none. */
static size_t parent_length(const char *key) {
  size_t length = strcspn(key, ".=");
  return key[length] == '.' ? length : 0;
}

/* In quotes, unless it is a list, a mapping or quoted already: a value may have YAML's own marks in it. */
static void write_value(FILE *out, const char *value) {
  if (strchr("[{\"'", *value)) {
    fputs(value, out);
    return;
  }
  fputc('\'', out);
  for (; *value; ++value)
    fputs(*value == '\'' ? "''" : (const char[]){*value, '\0'}, out);
  fputc('\'', out);
}

static void write_key(FILE *out, const char *key) {
  size_t name = strcspn(key, "=");
  fprintf(out, "%.*s: ", (int)name, key);
  write_value(out, key + name + 1);
}

/* "image.resize=256", "image.crop=0" -> image: {resize: 256, crop: 0} */
static void write_children(FILE *out, const tr_strings *keys, size_t first, size_t parent) {
  const char *key = keys->items[first];
  fprintf(out, "%.*s: {", (int)parent, key);
  for (size_t i = first, children = 0; i < keys->count; ++i) {
    if (strncmp(keys->items[i], key, parent + 1) != 0)
      continue;
    fputs(children++ ? ", " : "", out);
    write_key(out, keys->items[i] + parent + 1);
  }
  fputc('}', out);
}

static bool parent_came_before(const tr_strings *keys, size_t index, size_t parent) {
  for (size_t i = 0; i < index; ++i)
    if (strncmp(keys->items[i], keys->items[index], parent + 1) == 0)
      return true;
  return false;
}

static bool has_key(const tr_strings *keys, const char *name) {
  size_t length = strlen(name);
  for (size_t i = 0; i < keys->count; ++i)
    if (strncmp(keys->items[i], name, length) == 0 && keys->items[i][length] == '=')
      return true;
  return false;
}

static void write_experiment(FILE *out, const tr_strings *keys) {
  fputs("{name: fit, dataset: folder", out);
  if (!has_key(keys, "backbone"))
    fputs(", backbone: efficientnet_lite0", out);
  for (size_t i = 0; i < keys->count; ++i) {
    size_t parent = parent_length(keys->items[i]);
    if (parent && parent_came_before(keys, i, parent))
      continue;
    fputs(", ", out);
    if (parent)
      write_children(out, keys, i, parent);
    else
      write_key(out, keys->items[i]);
  }
  fputs("}\n", out);
}

static tr_status read_keys(const tr_strings *keys, tr_experiments *out) {
  char *text = NULL;
  size_t bytes;
  FILE *stream = open_memstream(&text, &bytes);
  if (stream)
    write_experiment(stream, keys);
  tr_status status = stream && fclose(stream) == 0 ? tr_experiments_parse("the command line", text, bytes, NULL, out)
                                                   : tr_fail(TR_ENOMEM, "reading the options: out of memory");
  free(text);
  return status;
}

/* A detector is one setting. */
static tr_status one_setting(const tr_experiments *experiments, const char *file, const tr_setting **out) {
  size_t count = 0;
  for (size_t i = 0; i < experiments->count; ++i)
    count += experiments->items[i].setting_count;
  *out = experiments->items[0].settings;
  return count == 1 ? TR_OK
                    : tr_fail(TR_EINVAL, "%s spans %zu settings; a detector is fitted with one", file ? file : "the command line",
                              count);
}

/* ---- work ---- */

static tr_status show(const fit_arguments *a, const tr_fit_plan *plan) {
  char *text;
  TR_TRY(tr_fit_plan_text(&a->fit, plan, &text));
  fputs(text, stdout);
  free(text);
  return TR_OK;
}

/* Where this machine cannot be measured the fit is done all the same. */
static tr_status fit_and_compare(const fit_arguments *a, const tr_fit_plan *plan) {
  char text[TR_COMPARISON_BYTES];
  tr_pass_seconds forecast, measured = {0};
  bool known = tr_fit_seconds(&a->fit, plan, &forecast) == TR_OK;
  tr_memory_reset_peak();
  tr_load begin = tr_load_now();
  TR_TRY(tr_fit_run(&a->fit, plan, a->out));
  tr_load end = tr_load_now();
  measured.total = end.clock - begin.clock;
  tr_progress_line(a->fit.progress, "%s fitted on %zu images in %.1f s: %s", a->fit.setting->method, plan->images.train_count,
                   measured.total, a->out);
  if (known)
    tr_progress_line(a->fit.progress, "%s",
                     tr_profile_compare(&forecast, &measured, plan->peak_bytes, tr_memory_peak_bytes(),
                                        tr_load_of_others(&begin, &end), text));
  return TR_OK;
}

static tr_status fit(fit_arguments *a) {
  tr_fit_plan plan;
  TR_TRY(tr_fit_prepare(&a->fit, &plan));
  tr_status status = a->dry_run ? show(a, &plan) : fit_and_compare(a, &plan);
  tr_fit_plan_free(&plan);
  return status;
}

static tr_status append(fit_arguments *a) {
  tr_append_options options = {.device = a->fit.device,
                               .model = a->append,
                               .data = a->fit.data,
                               .weights = a->fit.weights,
                               .memory_limit = a->fit.memory_limit,
                               .quantile = a->fit.quantile,
                               .held_out = a->fit.held_out,
                               .goal = a->goal,
                               .progress = a->fit.progress};
  tr_append_plan plan;
  char *text;
  TR_TRY(tr_append_prepare(&options, &plan));
  tr_status status = TR_OK;
  if (!a->dry_run)
    status = tr_append_run(&options, &plan, a->out);
  else if ((status = tr_append_plan_text(&options, &plan, &text)) == TR_OK) {
    fputs(text, stdout);
    free(text);
  }
  tr_append_plan_free(&plan);
  return status;
}

static tr_status with_device(fit_arguments *a) {
  TR_TRY(tr_device_open(a->device, (int)a->threads, &a->fit.device));
  tr_status status = a->append ? append(a) : fit(a);
  tr_device_close(a->fit.device);
  return status;
}

static int with_setting(fit_arguments *a) {
  tr_experiments experiments;
  tr_status status = a->experiment ? tr_experiments_read(a->experiment, NULL, &experiments) : read_keys(&a->keys, &experiments);
  if (status != TR_OK)
    return cli_failed();
  cli_progress *progress = cli_progress_create();
  a->fit.progress = cli_progress_of(progress);
  status = a->append ? TR_OK : one_setting(&experiments, a->experiment, &a->fit.setting);
  if (status == TR_OK) {
    cli_catch_signals();
    status = with_device(a);
  }
  cli_progress_destroy(progress);
  tr_experiments_free(&experiments);
  return status == TR_OK ? CLI_OK : cli_failed();
}

static int run(int argc, char **argv) {
  const char *weights = getenv("TOTALRECALL_WEIGHTS");
  fit_arguments a = {.device = "cpu", .fit = {.weights = weights ? weights : "weights"}};
  bool help = false;
  int code = parse_arguments(argc, argv, &a, &help);
  if (help)
    code = cli_print_help(&cli_fit);
  else if (code == CLI_OK)
    code = with_setting(&a);
  tr_strings_free(&a.keys);
  return code;
}

const cli_command cli_fit = {
    .name = "fit",
    .summary = "fit a detector on a folder of nominal images",
    .run = run,
    .help =
        "usage: totalrecall fit FOLDER --out MODEL [options]\n"
        "       totalrecall fit FOLDER --append OLD --out MODEL [--percent P | --rows N | --radius R] [options]\n\n"
        "Fits a detector on images without defects and writes it as one file for `totalrecall score` and the C library. FOLDER "
        "holds\n"
        "the images themselves, or has them in good/ or train/good/; PNG, JPEG and BMP.\n\n"
        "  --out MODEL        the file, as screws.trbank\n"
        "  --method NAME      patchcore (default), padim, spade\n"
        "  --backbone NAME    (default: efficientnet_lite0)\n"
        "  --set KEY=VALUE    any other key of an experiment file, as layers=layer2+layer3, subsampling.percent=1\n"
        "                     (or bank_rows, bank_bytes, radius, seconds), image.resize=366, image.crop=320; may be given "
        "several times\n"
        "  --tile N           cut images into tiles of N x N pixels after the resize, each an image to the backbone, as 224; "
        "with\n"
        "                     --set image.resize=0 and --set image.crop=0 images are taken as large as they are\n"
        "  --overlap N        pixels that neighbouring tiles share at least, as 32 (default: 0); half a tile at most.\n"
        "                     --set tile.bank=position makes a bank for each place of a tile instead of one for all, where parts "
        "and\n"
        "                     cameras do not move\n"
        "  --experiment FILE  instead of these: an experiment file that has one setting; its data set is not used\n"
        "  --weights PATH     weight file, or folder to search by architecture (default: $TOTALRECALL_WEIGHTS, else ./weights)\n"
        "  --quantile Q       store a threshold, as 0.95: see below\n"
        "  --held-out PATH    nominal images for the threshold, a folder or file; none of FOLDER's then\n"
        "  --device NAME      cpu (default), cuda, cuda:N\n"
        "  --memory-limit B   refuse what is forecast to need more, as 8G\n"
        "  --threads N        (default: all processors)\n"
        "  --shard I/N        fit on the I-th of N parts of FOLDER's images, for one bank of several machines: see below\n"
        "  --dry-run          print what would be done and the memory it takes\n\n"
        "The threshold is taken from nominal images that the model is not fitted on: of n of them, the k-th smallest score,\n"
        "k = (n + 1) Q rounded up. A further image like these scores higher with a probability of at most 1 - Q. They are drawn "
        "from\n"
        "FOLDER: a fifth of its images, or more where k would be beyond n, but half at most; the rest is fitted on. So 0.95 "
        "takes 19\n"
        "images, and 0.99 takes 99.\n\n"
        "Appending: MODEL is OLD, a patchcore with a greedy selection, with FOLDER's images added to its memory bank, as its "
        "own\n"
        "settings have it. The selection goes on from OLD's rows, none of which is dropped, until each new patch is as near to a "
        "row\n"
        "as the old ones are (the covering radius in the file), or as P per cent of all images' patches, N rows or the radius R "
        "say.\n"
        "So images that bring nothing new add nothing, and the radius of all is the larger of the old images' and the new "
        "ones'.\n"
        "The threshold was the old bank's: --quantile takes one from images of FOLDER that are held out, or --held-out.\n\n"
        "Shards: each selects as many rows of its images (--method patchcore) as the whole bank is to have, and `totalrecall "
        "bank\n"
        "merge --percent P` selects from all of them once more; scripts/slurm_fit.sh does so as Slurm jobs. The merged bank's\n"
        "covering radius is at most 4 times the least that as many rows can have, where the greedy selection of all images at "
        "once\n"
        "has at most twice; `bank --help` says more.\n",
};
