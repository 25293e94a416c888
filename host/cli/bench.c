/* totalrecall bench: how fast the operators are, and how far from what the machine can do. */
#include "host/bench/bench.h"
#include "host/base/status.h"
#include "host/cli/cli.h"
#include "host/harness/store.h"
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench_arguments {
  const char *device, *json, *results, *bank, *queries;
  long threads;
  bool quick;
  tr_strings operators;
} bench_arguments;

typedef struct bench_output {
  tr_device *device;
  FILE *json; /* NULL: none */
  bool quick, begun;
  tr_status status; /* of the lines */
} bench_output;

/* "12.3 ms" in six characters and the unit. */
static void print_seconds(double seconds) {
  if (seconds >= 1)
    printf("%8.2f s ", seconds);
  else if (seconds >= 1e-3)
    printf("%8.2f ms", 1e3 * seconds);
  else
    printf("%8.2f us", 1e6 * seconds);
}

static void print_heading(bench_output *out, const tr_bench_limits *limits) {
  printf("%s, %s, %d threads: products %.0f GFLOP/s, copies %.1f GB/s\n\n", tr_device_name(out->device),
         tr_device_description(out->device), tr_pool_threads(tr_device_pool(out->device)), 1e-9 * limits->flops,
         1e-9 * limits->bytes);
  printf("%-14s%-52s%-8s%10s%10s%10s%9s  %s\n", "operator", "shape", "of an", "median", "min", "GFLOP/s", "GB/s", "of the limit");
  out->begun = true;
}

static void print_rate(double rate, int width) {
  if (rate > 0)
    printf("%*.*f", width, rate < 100 ? 1 : 0, rate);
  else
    printf("%*s", width, "-");
}

static void keep_line(bench_output *out, const tr_bench_limits *limits, const tr_bench_row *row) {
  char *line = NULL;
  if (out->status == TR_OK)
    out->status = tr_bench_json(out->device, limits, row, out->quick, &line);
  if (out->status == TR_OK && (fprintf(out->json, "%s\n", line) < 0 || fflush(out->json) != 0))
    out->status = tr_fail_errno(TR_EIO, "writing a line of measurements");
  free(line);
}

static void show_row(void *context, const tr_bench_limits *limits, const tr_bench_row *row) {
  bench_output *out = context;
  bool by_memory;
  double share = tr_bench_share(limits, row, &by_memory);
  if (!out->begun)
    print_heading(out, limits);
  printf("%-14s%-52s%-8s", row->name, row->shape, row->item);
  print_seconds(row->median);
  print_seconds(row->minimum);
  print_rate(1e-9 * row->flops / row->median, 10);
  print_rate(1e-9 * row->bytes / row->median, 9);
  if (isfinite(share))
    printf("%5.0f %% of %-8s", 100 * share, by_memory ? "copies" : "products");
  if (row->ratio_to)
    printf("%s%.2f times %s", isfinite(share) ? ", " : "  ", row->ratio, row->ratio_to);
  printf("\n");
  fflush(stdout);
  if (out->json)
    keep_line(out, limits, row);
}

static tr_status open_file(const char *path, const char *mode, FILE **out) {
  *out = fopen(path, mode);
  return *out ? TR_OK : tr_fail_errno(TR_EIO, "opening %s for writing", path);
}

/* Appends to DIR/<machine>/bench.jsonl. */
static tr_status open_results(const char *results, tr_device *device, FILE **out) {
  char *machine = tr_machine_name(tr_device_description(device), tr_processors());
  char *folder = machine ? tr_format("%s/%s", results, machine) : NULL;
  char *file = machine ? tr_store_file(results, machine, TR_BENCH_NAME) : NULL;
  tr_status status = folder && file ? TR_OK : tr_fail(TR_ENOMEM, "opening the file of measurements: out of memory");
  if (status == TR_OK)
    status = tr_make_folders(folder);
  if (status == TR_OK)
    status = open_file(file, "a", out);
  free(machine);
  free(folder);
  free(file);
  return status;
}

tr_status cli_bench_file(const char *json, const char *results, tr_device *device, FILE **out) {
  return json ? open_file(json, "w", out) : open_results(results, device, out);
}

static tr_status bench(const bench_arguments *a, tr_device *device) {
  bench_output out = {.device = device, .quick = a->quick};
  if (a->json || a->results)
    TR_TRY(cli_bench_file(a->json, a->results, device, &out.json));
  tr_status status = tr_bench_run(&(tr_bench_options){.device = device,
                                                      .operators = &a->operators,
                                                      .bank = a->bank,
                                                      .queries = a->queries,
                                                      .quick = a->quick,
                                                      .row = show_row,
                                                      .context = &out});
  if (out.json && fclose(out.json) != 0 && out.status == TR_OK)
    out.status = tr_fail_errno(TR_EIO, "closing the file of measurements");
  return status != TR_OK ? status : out.status;
}

static int parse_option(void *arguments, int c) {
  bench_arguments *a = arguments;
  switch (c) {
  case 'D':
    a->device = optarg;
    return CLI_OK;
  case 'j':
    a->json = optarg;
    return CLI_OK;
  case 'r':
    a->results = optarg;
    return CLI_OK;
  case 'b':
    a->bank = optarg;
    return CLI_OK;
  case 'Q':
    a->queries = optarg;
    return CLI_OK;
  case 'q':
    a->quick = true;
    return CLI_OK;
  case 't':
    return cli_parse_threads(&cli_bench, optarg, &a->threads);
  default:
    return cli_unknown_option(&cli_bench);
  }
}

static int parse_arguments(int argc, char **argv, bench_arguments *a, bool *help) {
  static const struct option options[] = {{"device", required_argument, NULL, 'D'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"json", required_argument, NULL, 'j'},
                                          {"results", required_argument, NULL, 'r'},
                                          {"bank", required_argument, NULL, 'b'},
                                          {"queries", required_argument, NULL, 'Q'},
                                          {"quick", no_argument, NULL, 'q'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
  int code = cli_parse_options(argc, argv, options, parse_option, a, help);
  if (code != CLI_OK || *help)
    return code;
  if (a->json && a->results)
    return cli_wrong_usage(&cli_bench, "takes --json or --results, not both");
  for (int i = optind; i < argc; ++i)
    if (tr_strings_add(&a->operators, argv[i]) != TR_OK)
      return cli_failed();
  return CLI_OK;
}

static int with_device(const bench_arguments *a) {
  tr_device *device;
  if (tr_device_open(a->device, (int)a->threads, &device) != TR_OK)
    return cli_failed();
  cli_catch_signals();
  tr_status status = bench(a, device);
  tr_device_close(device);
  return status == TR_OK ? CLI_OK : cli_failed();
}

static int print_help(void) {
  size_t count;
  const char *const *names = tr_bench_operators(&count);
  cli_print_help(&cli_bench);
  printf("\nOperators:");
  for (size_t i = 0; i < count; ++i)
    printf(" %s", names[i]);
  printf("\n");
  return CLI_OK;
}

static int run(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "latency") == 0)
    return cli_bench_latency(argc - 1, argv + 1);
  bench_arguments a = {.device = "cpu"};
  bool help = false;
  int code = parse_arguments(argc, argv, &a, &help);
  if (help)
    code = print_help();
  else if (code == CLI_OK)
    code = with_device(&a);
  tr_strings_free(&a.operators);
  return code;
}

const cli_command cli_bench = {
    .name = "bench",
    .summary = "measure the operators",
    .run = run,
    .help =
        "usage: totalrecall bench [OPERATOR ...] [options]\n"
        "       totalrecall bench latency MODEL IMAGE|FOLDER... [options]     (see bench latency --help)\n\n"
        "Times operators (all, when none is named) on the shapes of MVTec bottle, and sets them beside the fastest matrix "
        "product\n"
        "and the fastest copy of this machine, measured at the beginning. Work is counted as the plain formulas have it, inputs\n"
        "read once and outputs written once: what leaves work out, or finds its data in the cache, can be beyond 100 %.\n\n"
        "  --device NAME   cpu (default), cuda, cuda:N\n"
        "  --threads N     (default: all processors)\n"
        "  --quick         small shapes: whether all runs, not how fast\n"
        "  --bank FILE     rows for `search` and `ivf`, by our operators and by FAISS in turn: floats [n, d] as .npy (bank "
        "export)\n"
        "  --queries FILE  likewise: at most 784 queries\n"
        "  --json FILE     writes a line of JSON for each row\n"
        "  --results DIR   appends the lines to DIR/<processor>/" TR_BENCH_NAME ".jsonl\n",
};
