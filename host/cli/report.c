/* totalrecall report: writes paper-repro.md, and its tables one by one. */
#include "host/report/report.h"
#include "host/base/text.h"
#include "host/cli/cli.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct report_arguments {
  const char *results, *out, *tables;
} report_arguments;

static tr_status write_markdown(const tr_report *report, const char *path) {
  char *text;
  tr_status status = tr_report_markdown(report, &text);
  if (status == TR_OK && path)
    status = tr_file_write(path, text, strlen(text));
  else if (status == TR_OK)
    fputs(text, stdout);
  free(text);
  return status;
}

static tr_status write_report(const report_arguments *a, tr_progress *progress) {
  tr_report *report;
  tr_status status = tr_report_create(a->results, progress, &report);
  if (status == TR_OK && (a->out || !a->tables))
    status = write_markdown(report, a->out);
  if (status == TR_OK && a->tables)
    status = tr_report_write_tables(report, a->tables);
  tr_report_destroy(report);
  return status;
}

static int run(int argc, char **argv) {
  static const struct option options[] = {{"results", required_argument, NULL, 'r'},
                                          {"out", required_argument, NULL, 'o'},
                                          {"tables", required_argument, NULL, 't'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
  report_arguments a = {.results = "results"};
  for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
    if (c == 'h')
      return cli_print_help(&cli_report);
    if (c == '?')
      return cli_unknown_option(&cli_report);
    *(c == 'r' ? &a.results : c == 'o' ? &a.out : &a.tables) = optarg;
  }
  if (optind < argc)
    return cli_wrong_usage(&cli_report, "takes no argument, found `%s`", argv[optind]);
  cli_progress *progress = cli_progress_create();
  tr_status status = write_report(&a, cli_progress_of(progress));
  cli_progress_destroy(progress);
  return status == TR_OK ? CLI_OK : cli_failed();
}

const cli_command cli_report = {
    .name = "report",
    .summary = "set published numbers beside ours",
    .run = run,
    .help =
        "usage: totalrecall report [--results DIR] [--out FILE] [--tables DIR]\n\n"
        "Writes paper-repro.md: the numbers of the paper and of its authors' code from DIR/published, and beside them what\n"
        "DIR/<machine>/*.jsonl holds; for a number that is missing, what it takes to get it. Where DIR/<machine>/scores holds\n"
        "the scores of images (`run --scores`), differences have intervals.\n\n"
        "  --results DIR   (default: results)\n"
        "  --out FILE      (default: standard output)\n"
        "  --tables DIR    every table as DIR/<table>.csv and .tex; Markdown then only with --out\n",
};
