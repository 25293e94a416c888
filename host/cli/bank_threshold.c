/* totalrecall bank threshold: a threshold for a detector that is there. */
#include "host/base/status.h"
#include "host/cli/cli.h"
#include "host/detector/threshold.h"
#include <getopt.h>
#include <stdlib.h>

typedef struct threshold_arguments {
  const char *out;
  long threads;
  tr_threshold_options threshold;
} threshold_arguments;

static int parse_option(void *arguments, int c) {
  threshold_arguments *a = arguments;
  switch (c) {
  case 'o':
    a->out = optarg;
    return CLI_OK;
  case 'q':
    return cli_parse_quantile(&cli_bank, optarg, &a->threshold.quantile);
  case 'H':
    a->threshold.held_out = optarg;
    return CLI_OK;
  case 'w':
    a->threshold.detector.weights = optarg;
    return CLI_OK;
  case 'D':
    a->threshold.detector.device = optarg;
    return CLI_OK;
  case 't':
    return cli_parse_threads(&cli_bank, optarg, &a->threads);
  default:
    return cli_unknown_option(&cli_bank);
  }
}

static int parse_arguments(int argc, char **argv, threshold_arguments *a, bool *help) {
  static const struct option options[] = {{"out", required_argument, NULL, 'o'},      {"quantile", required_argument, NULL, 'q'},
                                          {"held-out", required_argument, NULL, 'H'}, {"weights", required_argument, NULL, 'w'},
                                          {"device", required_argument, NULL, 'D'},   {"threads", required_argument, NULL, 't'},
                                          {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0}};
  int code = cli_parse_options(argc, argv, options, parse_option, a, help);
  if (code != CLI_OK || *help)
    return code;
  if (argc - optind != 1)
    return cli_wrong_usage(&cli_bank, "threshold takes one model, found %d arguments", argc - optind);
  if (!a->out || !a->threshold.held_out || !(a->threshold.quantile > 0))
    return cli_wrong_usage(&cli_bank, "threshold takes --quantile, --held-out and --out");
  a->threshold.detector.model = argv[optind];
  a->threshold.detector.threads = (int)a->threads;
  return CLI_OK;
}

int cli_bank_threshold(int argc, char **argv) {
  const char *weights = getenv("TOTALRECALL_WEIGHTS");
  threshold_arguments a = {.threshold = {.detector = {.weights = weights ? weights : "weights", .device = "cpu"}}};
  bool help = false;
  int code = parse_arguments(argc, argv, &a, &help);
  if (help)
    return cli_print_help(&cli_bank);
  if (code != CLI_OK)
    return code;
  cli_progress *progress = cli_progress_create();
  a.threshold.progress = cli_progress_of(progress);
  cli_catch_signals();
  tr_status status = tr_threshold_make(&a.threshold, a.out);
  cli_progress_destroy(progress);
  return status == TR_OK ? CLI_OK : cli_failed();
}
