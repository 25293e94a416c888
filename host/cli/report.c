/* totalrecall report: writes paper-repro.md with its figures, the same as a page, and its tables one by one. */
#include "host/report/report.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/cli/cli.h"
#include "host/report/html.h"
#include "host/report/plot.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct report_arguments {
  const char *results, *out, *tables, *html;
  tr_strings maps, scores;
} report_arguments;

static tr_status write_markdown(const tr_report *report, const report_arguments *a, const char *figures) {
  char *text;
  tr_status status = tr_report_markdown(report, figures, &text);
  if (status == TR_OK && a->out)
    status = tr_file_write(a->out, text, strlen(text));
  else if (status == TR_OK)
    fputs(text, stdout);
  free(text);
  return status;
}

static tr_status write_html(const tr_report *report, const report_arguments *a, tr_progress *progress) {
  char *text = NULL;
  tr_heat_maps heat_maps;
  TR_TRY(tr_heat_maps_read(a->results, &a->maps, &a->scores, progress, &heat_maps));
  tr_status status = tr_report_html(report, &heat_maps, &text);
  if (status == TR_OK)
    status = tr_file_write(a->html, text, strlen(text));
  free(text);
  tr_heat_maps_free(&heat_maps);
  return status;
}

static tr_status write_forms(tr_report *report, const report_arguments *a, const char *figures, tr_progress *progress) {
  if (a->out || a->html)
    TR_TRY(tr_plot_report(report, a->out ? figures : NULL, progress));
  if (a->out || !(a->tables || a->html))
    TR_TRY(write_markdown(report, a, figures));
  if (a->tables)
    TR_TRY(tr_report_write_tables(report, a->tables));
  return a->html ? write_html(report, a, progress) : TR_OK;
}

static tr_status write_report(const report_arguments *a, tr_progress *progress) {
  tr_report *report;
  TR_TRY(tr_report_create(a->results, &a->scores, progress, &report));
  char *figures = tr_format("%s/figures", a->results);
  tr_status status =
      figures ? write_forms(report, a, figures, progress) : tr_fail(TR_ENOMEM, "writing the report: out of memory");
  free(figures);
  tr_report_destroy(report);
  return status;
}

/* A list's folder is added, a text replaces the one before. */
static tr_status take_option(report_arguments *a, int option, const char *text) {
  switch (option) {
  case 'm':
    return tr_strings_add(&a->maps, text);
  case 's':
    return tr_strings_add(&a->scores, text);
  case 'r':
    a->results = text;
    break;
  case 'o':
    a->out = text;
    break;
  case 't':
    a->tables = text;
    break;
  default:
    a->html = text;
  }
  return TR_OK;
}

static int parse(int argc, char **argv, report_arguments *a, bool *help) {
  static const struct option options[] = {{"results", required_argument, NULL, 'r'}, {"out", required_argument, NULL, 'o'},
                                          {"tables", required_argument, NULL, 't'},  {"html", required_argument, NULL, 'p'},
                                          {"maps", required_argument, NULL, 'm'},    {"scores", required_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
  for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
    *help = *help || c == 'h';
    if (c == '?')
      return cli_unknown_option(&cli_report);
    if (c != 'h' && take_option(a, c, optarg) != TR_OK)
      return cli_failed();
  }
  if (optind < argc && !*help)
    return cli_wrong_usage(&cli_report, "takes no argument, found `%s`", argv[optind]);
  return CLI_OK;
}

static int run(int argc, char **argv) {
  report_arguments a = {.results = "results"};
  bool help = false;
  int code = parse(argc, argv, &a, &help);
  if (code == CLI_OK && help) {
    code = cli_print_help(&cli_report);
  } else if (code == CLI_OK) {
    cli_progress *progress = cli_progress_create();
    if (write_report(&a, cli_progress_of(progress)) != TR_OK)
      code = cli_failed();
    cli_progress_destroy(progress);
  }
  tr_strings_free(&a.maps);
  tr_strings_free(&a.scores);
  return code;
}

const cli_command cli_report = {
    .name = "report",
    .summary = "set published numbers beside ours",
    .run = run,
    .help =
        "usage: totalrecall report [--results DIR] [--out FILE] [--html FILE] [--tables DIR] [--scores DIR]... [--maps "
        "DIR]...\n\n"
        "Writes paper-repro.md: the numbers of the paper and of its authors' code from DIR/published, and beside them what\n"
        "DIR/<machine>/*.jsonl holds; for a number that is missing, what it takes to get it. Differences have intervals where\n"
        "the scores of images are at hand.\n\n"
        "  --results DIR   (default: results)\n"
        "  --out FILE      (default: standard output); its figures, drawn by gnuplot, go to DIR/figures/*.svg\n"
        "  --html FILE     the same as one self-contained page, with the best and the worst heat maps of every class\n"
        "  --tables DIR    every table as DIR/<table>.csv and .tex\n"
        "  --scores DIR    scores of images (`run --scores`), beside those in DIR/<machine>/scores; may be given several times\n"
        "  --maps DIR      heat maps for the page (`run --maps`), likewise beside DIR/<machine>/maps. The page holds their\n"
        "                  images: mind the data set's licence before you pass it on\n\n"
        "With --html or --tables, Markdown only with --out.\n",
};
