/* Methods against each other, class by class, with the interval that tells a difference from chance. */
#include "host/report/sections.h"
#include "host/report/sweep.h"
#include <math.h>
#include <string.h>

static const char *const datasets[] = {"mvtec", "mtd", "synthetic"};
enum { DATASETS = sizeof datasets / sizeof *datasets };

static void no_scores(tr_cell *cell) {
  cell->text = "no scores";
  cell->causes = TR_CAUSE_NOT_RUN;
  cell->reason = TR_NO_SCORES;
}

static const char *judged(const tr_interval *interval) {
  if (interval->low == 0 && interval->high == 0)
    return "equal";
  return interval->low > 0 ? "the first" : interval->high < 0 ? "the second" : "may be chance";
}

static void value_cell(tr_evidence *evidence, const tr_selection *selection) {
  tr_cell cell = tr_cell_new(TR_UNIT_PERCENT);
  cell.ours = tr_selection_statistic(selection, &tr_metric_image_auroc);
  tr_report_cell(evidence->report, &cell);
}

/* One class of both. */
static void class_row(tr_evidence *evidence, const char *title, const tr_group *one, const tr_group *two) {
  tr_report *report = evidence->report;
  tr_selection a = {.groups = &one, .count = 1}, b = {.groups = &two, .count = 1};
  const tr_result *run = one->runs[0];
  tr_cell cell = tr_cell_new(TR_UNIT_PERCENT);
  tr_interval interval;
  bool known = tr_scores_interval(evidence, &a, &b, &interval);
  if (known)
    cell.text = tr_report_text(report, "%+.2f to %+.2f", interval.low, interval.high);
  else
    no_scores(&cell);
  tr_report_row(report);
  tr_report_label(report, title);
  tr_report_label(report, run->class_name);
  tr_report_label(report, run->backbone);
  value_cell(evidence, &a);
  value_cell(evidence, &b);
  double difference =
      tr_selection_statistic(&a, &tr_metric_image_auroc).mean - tr_selection_statistic(&b, &tr_metric_image_auroc).mean;
  tr_report_label(report, tr_report_text(report, "%+.2f", difference));
  tr_report_cell(report, &cell);
  tr_report_label(report, known ? judged(&interval) : "unknown");
}

/* What PatchCore is compared with. */
typedef struct rival {
  const char *name, *title;
  int neighbours; /* spade */
} rival;
static const rival rivals[] = {{"padim", "PaDiM", 0}, {"spade", "SPADE", 50}, {"spade", "SPADE (K = 5)", 5}};

static tr_query query_of(const rival *r, const char *dataset) {
  tr_query query = tr_query_new(dataset, r->name, "table1");
  if (r->neighbours)
    query.setting.neighbours = r->neighbours;
  return tr_query_ready(query);
}

static size_t compare_on(tr_evidence *evidence, const char *dataset, const char *backbone, const rival *other) {
  static const double percents[] = {10, 1, 25, 100};
  for (size_t p = 0; p < sizeof percents / sizeof *percents; ++p) {
    tr_query queries[] = {tr_query_percent(tr_query_new(dataset, "patchcore", "table1"), percents[p]), query_of(other, dataset)};
    tr_selection selections[2];
    if (tr_sweep(evidence, queries, 2, backbone, selections) < 2)
      continue;
    const char *title =
        tr_report_text(evidence->report, "PatchCore-%g %% and %s, %s", percents[p], other->title, tr_dataset_title(dataset));
    for (size_t i = 0; i < selections[0].count; ++i)
      class_row(evidence, title, selections[0].groups[i], selections[1].groups[i]);
    return selections[0].count;
  }
  return 0;
}

static void not_run(tr_evidence *evidence, const rival *other) {
  tr_report *report = evidence->report;
  tr_query query = query_of(other, "mvtec");
  tr_cell cell = tr_cell_new(TR_UNIT_PERCENT);
  cell.causes = TR_CAUSE_NOT_RUN;
  cell.reason = tr_missing_reason(evidence, &query);
  cell.command = tr_command_of(evidence, query.experiment);
  tr_report_row(report);
  tr_report_label(report, tr_report_text(report, "PatchCore and %s", other->title));
  tr_report_label(report, "all");
  tr_report_label(report, TR_PAPERS_BACKBONE);
  for (int i = 0; i < 5; ++i)
    tr_report_cell(report, &cell);
}

void tr_section_comparisons(tr_evidence *evidence) {
  static const char *const columns[] = {"methods",    "class",      "backbone",      "the first",
                                        "the second", "difference", "95 % interval", "better"};
  tr_report *report = evidence->report;
  tr_report_section(report, "comparisons", "Methods compared, class by class",
                    "Image AUROC in percent, with the mean over seeds; the interval is that of the findings above. Same "
                    "backbone, same images.");
  tr_report_table(report, "comparisons", "", "");
  for (size_t i = 0; i < sizeof columns / sizeof *columns; ++i)
    tr_report_column(report, columns[i], false);
  size_t count;
  const char *const *backbones = tr_report_backbones(&count);
  for (size_t r = 0; r < sizeof rivals / sizeof *rivals; ++r) {
    size_t rows = 0;
    for (size_t d = 0; d < DATASETS; ++d)
      for (size_t i = 0; i < count; ++i)
        rows += compare_on(evidence, datasets[d], backbones[i], &rivals[r]);
    if (!rows)
      not_run(evidence, &rivals[r]);
  }
}
