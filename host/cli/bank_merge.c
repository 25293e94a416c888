/* totalrecall bank merge: several detectors' banks as one. */
#include "host/detector/bank_merge.h"
#include "host/base/status.h"
#include "host/cli/cli.h"
#include <getopt.h>
#include <math.h>
#include <stdlib.h>

typedef struct merge_arguments {
  const char *out, *device;
  long threads;
  tr_merge_banks_options merge;
} merge_arguments;

static int parse_option(void *arguments, int c) {
  merge_arguments *a = arguments;
  switch (c) {
  case 'o':
    a->out = optarg;
    return CLI_OK;
  case 'p':
  case 'k':
  case 'r':
    return cli_parse_goal(&cli_bank, c, optarg, &a->merge.goal);
  case 'D':
    a->device = optarg;
    return CLI_OK;
  case 't':
    return cli_parse_threads(&cli_bank, optarg, &a->threads);
  default:
    return cli_unknown_option(&cli_bank);
  }
}

static int parse_arguments(int argc, char **argv, merge_arguments *a, bool *help) {
  static const struct option options[] = {{"out", required_argument, NULL, 'o'},    {"percent", required_argument, NULL, 'p'},
                                          {"rows", required_argument, NULL, 'k'},   {"radius", required_argument, NULL, 'r'},
                                          {"device", required_argument, NULL, 'D'}, {"threads", required_argument, NULL, 't'},
                                          {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
  int code = cli_parse_options(argc, argv, options, parse_option, a, help);
  if (code != CLI_OK || *help)
    return code;
  if (!a->out)
    return cli_wrong_usage(&cli_bank, "--out names the file of the merged model");
  a->merge.models = (const char *const *)argv + optind;
  a->merge.count = (size_t)(argc - optind);
  return a->merge.count >= 2 ? CLI_OK : cli_wrong_usage(&cli_bank, "merge takes two models or more, found %d", argc - optind);
}

static void report(const merge_arguments *a, const tr_merged_banks *merged) {
  tr_progress *progress = a->merge.progress;
  if (merged->lost_threshold)
    tr_progress_line(progress, "the thresholds were of other banks and are gone; `totalrecall bank threshold` makes one");
  tr_progress_line(progress, "%s: %zu of %zu rows, of %zu images", a->out, merged->rows, merged->union_rows, merged->images);
  if (isfinite(merged->cover))
    tr_progress_line(progress, "no training patch is farther than %.6g from its nearest row, as the selection measures",
                     merged->cover);
}

static tr_status merge(merge_arguments *a) {
  tr_merged_banks merged;
  TR_TRY(tr_device_open(a->device, (int)a->threads, &a->merge.device));
  tr_status status = tr_banks_merge(&a->merge, a->out, &merged);
  if (status == TR_OK)
    report(a, &merged);
  tr_device_close(a->merge.device);
  return status;
}

int cli_bank_merge(int argc, char **argv) {
  merge_arguments a = {.device = "cpu"};
  bool help = false;
  int code = parse_arguments(argc, argv, &a, &help);
  if (help)
    return cli_print_help(&cli_bank);
  if (code != CLI_OK)
    return code;
  cli_progress *progress = cli_progress_create();
  a.merge.progress = cli_progress_of(progress);
  cli_catch_signals();
  tr_status status = merge(&a);
  cli_progress_destroy(progress);
  return status == TR_OK ? CLI_OK : cli_failed();
}
