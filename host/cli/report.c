/* totalrecall report: writes paper-repro.md. */
#include "host/report/report.h"
#include "host/base/text.h"
#include "host/cli/cli.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tr_status write_out(const char *path, const char *text) {
  if (path)
    return tr_file_write(path, text, strlen(text));
  fputs(text, stdout);
  return TR_OK;
}

static int run(int argc, char **argv) {
  static const struct option options[] = {{"results", required_argument, NULL, 'r'},
                                          {"out", required_argument, NULL, 'o'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
  const char *results = "results", *path = NULL;
  for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
    if (c == 'h')
      return cli_print_help(&cli_report);
    if (c == '?')
      return cli_unknown_option(&cli_report);
    *(c == 'r' ? &results : &path) = optarg;
  }
  if (optind < argc)
    return cli_wrong_usage(&cli_report, "takes no argument, found `%s`", argv[optind]);
  cli_progress *progress = cli_progress_create();
  char *text;
  tr_status status = tr_report_markdown(results, cli_progress_of(progress), &text);
  if (status == TR_OK)
    status = write_out(path, text);
  free(text);
  cli_progress_destroy(progress);
  return status == TR_OK ? CLI_OK : cli_failed();
}

const cli_command cli_report = {
    .name = "report",
    .summary = "set published numbers beside ours",
    .run = run,
    .help = "usage: totalrecall report [--results DIR] [--out FILE]\n\n"
            "Writes paper-repro.md: the numbers of the paper and of its authors' code from DIR/published, and beside them what\n"
            "DIR/<processor>/*.jsonl holds; for a number that is missing, what it takes to get it.\n\n"
            "  --results DIR   (default: results)\n"
            "  --out FILE      (default: standard output)\n",
};
