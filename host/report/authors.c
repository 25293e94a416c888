/* The authors' code with the same weights and images: metrics, seconds and memory. */
#include "host/report/sections.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char source[] = "results/published/official_on_resnet50v1.csv";

typedef struct parity {
  const tr_metric *metric;
  const char *column;
  double tolerance; /* over seeds: another draw of the projection is another coreset */
} parity;
static const parity parities[] = {{&tr_metric_image_auroc, "image_auroc", 0.005},
                                  {&tr_metric_pixel_auroc, "pixel_auroc", 0.002},
                                  {&tr_metric_pro, "pro", 0.005}};

static double value_of(const tr_evidence *evidence, size_t row, const char *column) {
  return tr_number(tr_csv_cell(&evidence->published.files[TR_AUTHORS_CODE], row, column));
}

static bool is_mtd(const char *class_name) {
  return strcmp(class_name, "mtd") == 0;
}

/* Our runs with the same weights, settings and images as row `row`. */
static const tr_group *group_of(tr_evidence *evidence, size_t row) {
  const char *class_name = tr_csv_cell(&evidence->published.files[TR_AUTHORS_CODE], row, "class");
  const char *dataset = is_mtd(class_name) ? "mtd" : "mvtec";
  tr_query query = tr_query_backbone(tr_query_new(dataset, "patchcore", ""), "resnet50_v1", TR_SUBSTITUTE_NONE);
  query = tr_query_percent(query, value_of(evidence, row, "percent"));
  return tr_runs_find(&evidence->runs, &query.setting, class_name, (size_t)value_of(evidence, row, "train_images"),
                      (size_t)value_of(evidence, row, "test_images"));
}

static const char *row_title(tr_evidence *evidence, size_t row) {
  const tr_csv *csv = &evidence->published.files[TR_AUTHORS_CODE];
  return tr_report_text(evidence->report, "%s, %s %%", tr_csv_cell(csv, row, "class"), tr_csv_cell(csv, row, "percent"));
}

static void not_run(tr_evidence *evidence, size_t row, tr_cell *cell) {
  bool mtd = is_mtd(tr_csv_cell(&evidence->published.files[TR_AUTHORS_CODE], row, "class"));
  cell->causes = TR_CAUSE_NOT_RUN;
  cell->reason = "Not run with these images: needs the data set in ROOT and `resnet50_v1` weights in DIR";
  cell->command = tr_command_of(evidence, mtd ? "mtd" : "mvtec");
}

static tr_cell pair(tr_evidence *evidence, size_t row, tr_unit unit, double theirs, const tr_group *ours) {
  tr_cell cell = tr_cell_new(unit);
  cell.published = theirs;
  cell.source = source;
  if (!ours)
    not_run(evidence, row, &cell);
  return cell;
}

static void metric_row(tr_evidence *evidence, size_t row, const tr_group *ours, const parity *p) {
  tr_cell cell = pair(evidence, row, TR_UNIT_FRACTION, value_of(evidence, row, p->column), ours);
  if (ours) {
    tr_statistic s = tr_group_statistic(ours, p->metric);
    cell.ours = (tr_statistic){s.mean / 100, s.deviation / 100, s.seeds};
    cell.difference = cell.ours.mean - cell.published;
  }
  tr_report_row(evidence->report);
  tr_report_label(evidence->report, row_title(evidence, row));
  tr_report_label(evidence->report, p->metric->title);
  tr_report_cell(evidence->report, &cell);
  tr_report_label(evidence->report, tr_report_text(evidence->report, "%zu", cell.ours.seeds));
  tr_report_label(evidence->report, tr_report_text(evidence->report, "%.3f", p->tolerance));
  tr_report_label(evidence->report, !ours ? "not run" : fabs(cell.difference) <= p->tolerance ? "yes" : "**no**");
}

static void metrics_table(tr_evidence *evidence) {
  tr_report *report = evidence->report;
  tr_report_table(report, "authors_code", "Metrics",
                  "Published: the authors' code. Fractions; ours with the deviation over seeds.");
  tr_report_column(report, "class", false);
  tr_report_column(report, "metric", false);
  tr_report_column(report, "value", true);
  tr_report_column(report, "seeds", false);
  tr_report_column(report, "tolerance", false);
  tr_report_column(report, "within", false);
  for (size_t i = 0; i < evidence->published.files[TR_AUTHORS_CODE].rows; ++i)
    for (size_t p = 0; p < sizeof parities / sizeof *parities; ++p)
      metric_row(evidence, i, group_of(evidence, i), &parities[p]);
}

static void number_cell(tr_evidence *evidence, size_t row, tr_unit unit, double value, const tr_group *ours) {
  tr_cell cell = tr_cell_new(unit);
  if (ours)
    cell.ours = (tr_statistic){value, 0, 1};
  else
    not_run(evidence, row, &cell);
  tr_report_cell(evidence->report, &cell);
}

static void time_row(tr_evidence *evidence, size_t row, const tr_group *ours) {
  static const tr_result none;
  const tr_result *run = ours ? ours->runs[0] : &none;
  double theirs =
      value_of(evidence, row, "features_s") + value_of(evidence, row, "coreset_s") + value_of(evidence, row, "predict_s");
  double scoring = run->seconds.score_per_image * (double)run->images, whole = run->seconds.fit + scoring;
  tr_cell seconds = pair(evidence, row, TR_UNIT_SECONDS, theirs, ours);
  tr_cell peak = pair(evidence, row, TR_UNIT_BYTES, 1e9 * value_of(evidence, row, "peak_gb"), ours);
  if (ours) {
    seconds.ours = (tr_statistic){whole, 0, 1};
    peak.ours = (tr_statistic){(double)run->peak_bytes, 0, 1};
  }
  tr_report_row(evidence->report);
  tr_report_label(evidence->report, row_title(evidence, row));
  tr_report_cell(evidence->report, &seconds);
  number_cell(evidence, row, TR_UNIT_SECONDS, run->seconds.fit, ours);
  number_cell(evidence, row, TR_UNIT_SECONDS, run->seconds.coreset, ours);
  number_cell(evidence, row, TR_UNIT_SECONDS, scoring, ours);
  tr_report_cell(evidence->report, &peak);
  number_cell(evidence, row, TR_UNIT_RATIO, theirs / whole, ours);
  tr_report_label(evidence->report, ours ? tr_report_text(evidence->report, "%s, %s, %d threads",
                                                          run->processor ? run->processor : "unknown processor",
                                                          run->device ? run->device : "cpu", run->threads)
                                         : "not run");
}

static void times_table(tr_evidence *evidence) {
  tr_report *report = evidence->report;
  tr_report_table(
      report, "authors_code_times", "Seconds and memory",
      "A whole run of one setting, and peak memory (ours: of all settings of the class at once; its first seed). The\n"
      "authors' code ran on 2 cores, MTD with some other load on the machine.");
  tr_report_column(report, "class", false);
  tr_report_column(report, "whole run, s", true);
  tr_report_column(report, "our fit, s", false);
  tr_report_column(report, "of that coreset, s", false);
  tr_report_column(report, "our scoring, s", false);
  tr_report_column(report, "peak memory", true);
  tr_report_column(report, "times faster", false);
  tr_report_column(report, "ours on", false);
  for (size_t i = 0; i < evidence->published.files[TR_AUTHORS_CODE].rows; ++i)
    time_row(evidence, i, group_of(evidence, i));
}

void tr_section_authors_code(tr_evidence *evidence) {
  if (!evidence->published.files[TR_AUTHORS_CODE].rows)
    return;
  tr_report_section(
      evidence->report, "authors_code", "The authors' code with the same weights and images",
      "amazon-science/patchcore-inspection @fcaa92f on the CPU, seed 0, with the ResNet50 v1 weights and the images at\n"
      "hand. Our seeds draw other projections and other starting points, so the coresets differ as theirs would from\n"
      "seed to seed.");
  metrics_table(evidence);
  times_table(evidence);
}
