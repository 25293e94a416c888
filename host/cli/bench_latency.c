/* totalrecall bench latency: how long one image takes, and sixteen at a time. */
#include "datasets/own.h"
#include "host/base/status.h"
#include "host/bench/bench.h"
#include "host/bench/latency.h"
#include "host/cli/cli.h"
#include "host/harness/store.h"
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct latency_arguments {
  tr_detector_options detector;
  const char *json, *results;
  long threads, samples;
  const char *const *images;
  size_t image_count;
} latency_arguments;

static const cli_command latency_command = {
    .name = "bench latency",
    .help = "usage: totalrecall bench latency MODEL IMAGE|FOLDER... [options]\n\n"
            "Scores images one at a time with a detector that `totalrecall fit` wrote, and times each stage: p50, p95 and p99 of "
            "the\n"
            "seconds; then 16 at a time, which uses all threads better. The first images warm up and do not count.\n\n"
            "  --samples N     images timed one at a time, at least (default: 200; p99 means little of fewer)\n"
            "  --weights PATH  weight file, or folder to search by architecture (default: $TOTALRECALL_WEIGHTS, else ./weights)\n"
            "  --device NAME   cpu (default), cuda, cuda:N\n"
            "  --threads N     (default: all processors)\n"
            "  --json FILE     writes a line of JSON, with machine, clocks and the libraries' versions\n"
            "  --results DIR   appends the line to DIR/<processor>/" TR_BENCH_NAME ".jsonl\n",
};

static int wrong_number(const char *name, long most) {
  return cli_wrong_usage(&latency_command, "--%s takes a number from 1 to %ld, found `%s`", name, most, optarg);
}

static int parse_option(void *arguments, int c) {
  latency_arguments *a = arguments;
  switch (c) {
  case 'w':
    a->detector.weights = optarg;
    return CLI_OK;
  case 'D':
    a->detector.device = optarg;
    return CLI_OK;
  case 'j':
    a->json = optarg;
    return CLI_OK;
  case 'r':
    a->results = optarg;
    return CLI_OK;
  case 's':
    return cli_parse_number(optarg, 1, 1000000, &a->samples) ? CLI_OK : wrong_number("samples", 1000000);
  case 't':
    return cli_parse_threads(&latency_command, optarg, &a->threads);
  default:
    return cli_unknown_option(&latency_command);
  }
}

static int parse_arguments(int argc, char **argv, latency_arguments *a, bool *help) {
  static const struct option options[] = {{"weights", required_argument, NULL, 'w'}, {"device", required_argument, NULL, 'D'},
                                          {"samples", required_argument, NULL, 's'}, {"threads", required_argument, NULL, 't'},
                                          {"json", required_argument, NULL, 'j'},    {"results", required_argument, NULL, 'r'},
                                          {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
  int code = cli_parse_options(argc, argv, options, parse_option, a, help);
  if (code != CLI_OK || *help)
    return code;
  if (a->json && a->results)
    return cli_wrong_usage(&latency_command, "takes --json or --results, not both");
  if (argc - optind < 2)
    return cli_wrong_usage(&latency_command, "takes a model and images or folders, found %d arguments", argc - optind);
  a->detector.threads = (int)a->threads;
  a->detector.model = argv[optind];
  a->images = (const char *const *)argv + optind + 1;
  a->image_count = (size_t)(argc - optind - 1);
  return CLI_OK;
}

static void print(tr_detector *detector, const tr_latency *l) {
  tr_device *device = tr_detector_device(detector);
  tr_detector_info info;
  tr_detector_describe(detector, &info);
  printf("%s\n%s, %s, %d threads: %zu images, %zu samples after %zu to warm up", info.run, tr_device_name(device),
         tr_device_description(device), tr_pool_threads(tr_device_pool(device)), l->images, l->samples, l->warm_up);
  if (isfinite(l->machine.processor_mhz))
    printf(", %.0f MHz", l->machine.processor_mhz);
  printf("%s%s; stages by the %s\n\n%-12s%10s%10s%10s  ms\n", l->machine.governor[0] ? ", governor " : "", l->machine.governor,
         tr_device_clock_name(device), "stage", "p50", "p95", "p99");
  for (int stage = 0; stage < TR_LATENCY_STAGES; ++stage)
    printf("%-12s%10.2f%10.2f%10.2f\n", tr_latency_stage_name((tr_latency_stage)stage), 1e3 * l->p50[stage], 1e3 * l->p95[stage],
           1e3 * l->p99[stage]);
  printf("\n%.1f images a second in batches of %d\n", l->images_per_second, TR_LATENCY_BATCH);
}

static tr_status keep(const latency_arguments *a, tr_detector *detector, const tr_latency *latency) {
  if (!a->json && !a->results)
    return TR_OK;
  FILE *file;
  char *line;
  TR_TRY(tr_latency_json(detector, latency, &line));
  tr_status status = cli_bench_file(a->json, a->results, tr_detector_device(detector), &file);
  if (status == TR_OK) {
    bool written = fprintf(file, "%s\n", line) >= 0;
    if (fclose(file) != 0 || !written)
      status = tr_fail_errno(TR_EIO, "writing a line of measurements");
  }
  free(line);
  return status;
}

static tr_status measure(const latency_arguments *a, const tr_class *images) {
  tr_detector *detector;
  tr_latency latency;
  TR_TRY(tr_detector_create(&a->detector, &detector));
  cli_catch_signals();
  tr_status status = tr_latency_measure(detector, images->test, images->test_count, (size_t)a->samples, &latency);
  if (status == TR_OK) {
    print(detector, &latency);
    status = keep(a, detector, &latency);
  }
  tr_detector_destroy(detector);
  return status;
}

int cli_bench_latency(int argc, char **argv) {
  const char *weights = getenv("TOTALRECALL_WEIGHTS");
  latency_arguments a = {.detector = {.weights = weights ? weights : "weights", .device = "cpu"}, .samples = 200};
  bool help = false;
  int code = parse_arguments(argc, argv, &a, &help);
  if (help)
    return cli_print_help(&latency_command);
  if (code != CLI_OK)
    return code;
  tr_class images;
  tr_status status = tr_images_collect(a.images, a.image_count, &images);
  if (status == TR_OK)
    status = measure(&a, &images);
  tr_class_free(&images);
  return status == TR_OK ? CLI_OK : cli_failed();
}
