/* Everything that was run: the synthetic set, all runs, machines and versions. */
#include "datasets/dataset.h"
#include "host/report/ablations.h"
#include "host/report/sections.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_synthetic(const tr_result *run) {
  return tr_dataset_is_drawn(run->dataset);
}

static void fraction_cell(tr_evidence *evidence, const tr_group *group, const tr_metric *metric) {
  tr_statistic s = tr_group_statistic(group, metric);
  tr_cell cell = tr_cell_new(metric->unit == TR_UNIT_PERCENT ? TR_UNIT_FRACTION : metric->unit);
  double scale = metric->unit == TR_UNIT_PERCENT ? 0.01 : 1;
  cell.ours = (tr_statistic){s.mean * scale, s.deviation * scale, s.seeds};
  tr_report_cell(evidence->report, &cell);
}

static void number_cell(tr_evidence *evidence, tr_unit unit, double value) {
  tr_cell cell = tr_cell_new(unit);
  cell.ours = (tr_statistic){value, 0, 1};
  tr_report_cell(evidence->report, &cell);
}

static void run_row(tr_evidence *evidence, const tr_group *group) {
  tr_report *report = evidence->report;
  const tr_result *run = group->runs[0];
  tr_report_row(report);
  tr_report_label(report, run->run);
  tr_report_label(report, strcmp(run->dataset, run->class_name) == 0
                              ? run->class_name
                              : tr_report_text(report, "%s %s", run->dataset, run->class_name));
  fraction_cell(evidence, group, &tr_metric_image_auroc);
  fraction_cell(evidence, group, &tr_metric_pixel_auroc);
  fraction_cell(evidence, group, &tr_metric_pro);
  fraction_cell(evidence, group, &tr_metric_misclassified);
  number_cell(evidence, TR_UNIT_COUNT, (double)run->images);
  number_cell(evidence, TR_UNIT_COUNT, (double)run->train_images);
  number_cell(evidence, TR_UNIT_COUNT, (double)group->count);
  number_cell(evidence, TR_UNIT_COUNT, (double)run->bank_rows);
  number_cell(evidence, TR_UNIT_SECONDS, run->seconds.fit);
  number_cell(evidence, TR_UNIT_SECONDS, run->seconds.coreset);
  number_cell(evidence, TR_UNIT_SECONDS, run->seconds.score_per_image);
  number_cell(evidence, TR_UNIT_BYTES, (double)run->peak_bytes);
  number_cell(evidence, TR_UNIT_BYTES, (double)run->forecast_bytes);
}

static void runs_table(tr_evidence *evidence, const char *id, const char *title, bool synthetic) {
  static const char *const columns[] = {"run",           "class",       "image AUROC", "pixel AUROC", "PRO",
                                        "misclassified", "test images", "trained",     "seeds",       "bank rows",
                                        "fit, s",        "coreset, s",  "s/image",     "peak",        "forecast"};
  tr_report *report = evidence->report;
  tr_report_table(report, id, title, "");
  for (size_t i = 0; i < sizeof columns / sizeof *columns; ++i)
    tr_report_column(report, columns[i], false);
  for (size_t i = 0; i < evidence->runs.group_count; ++i)
    if (is_synthetic(evidence->runs.groups[i].runs[0]) == synthetic)
      run_row(evidence, &evidence->runs.groups[i]);
}

static bool any_run(const tr_evidence *evidence, bool synthetic) {
  for (size_t i = 0; i < evidence->runs.group_count; ++i)
    if (is_synthetic(evidence->runs.groups[i].runs[0]) == synthetic)
      return true;
  return false;
}

void tr_section_synthetic(tr_evidence *evidence) {
  tr_report *report = evidence->report;
  bool any = any_run(evidence, true);
  tr_report_section(report, "synthetic", "The synthetic set",
                    any ? "Images drawn by the program, so that all of this can be run with nothing at hand. It says nothing "
                          "about the paper's\n"
                          "data; the paper has no such numbers."
                        : "Not run: needs nothing; `totalrecall run experiments/quick.yaml` (or `scripts/reproduce.sh`).");
  if (!any)
    return;
  for (int kind = 0; kind < TR_ABLATIONS; ++kind)
    tr_ablation_write(evidence, (tr_ablation_kind)kind, "synthetic");
  runs_table(evidence, "runs_synthetic", "All runs on synthetic images", true);
}

void tr_section_all_runs(tr_evidence *evidence) {
  bool any = any_run(evidence, false);
  tr_report_section(
      evidence->report, "runs", "All runs on real images",
      any ? "Fractions, mean and standard deviation over seeds; the named seed is the first, and so are the times. Fit: the "
            "training\n"
            "pass and the run's own selection. s/image: decoding, backbone, search and map, all threads together. Peak and\n"
            "forecast: resident bytes of the process, for all settings that shared the pass."
          : "Nothing yet: `totalrecall run experiments/paper.yaml --data ROOT --weights DIR`.");
  if (any)
    runs_table(evidence, "runs", "", false);
}

/* ---- machines ---- */

static int compare_texts(const char *a, const char *b) {
  return strcmp(a ? a : "", b ? b : "");
}

static int compare_machines(const void *x, const void *y) {
  const tr_result *a = *(const tr_result *const *)x, *b = *(const tr_result *const *)y;
  int order = compare_texts(a->processor, b->processor);
  if (!order)
    order = compare_texts(a->device, b->device);
  if (!order)
    order = (a->threads > b->threads) - (a->threads < b->threads);
  if (!order)
    order = compare_texts(a->version, b->version);
  return order ? order : strcmp(a->weights_sha256, b->weights_sha256);
}

static void machine_row(tr_evidence *evidence, const tr_result *const *runs, size_t count) {
  tr_report *report = evidence->report;
  const tr_result *run = runs[0];
  const char *last = "";
  for (size_t i = 0; i < count; ++i)
    last = compare_texts(runs[i]->date, last) > 0 ? runs[i]->date : last;
  tr_report_row(report);
  tr_report_label(report, run->processor ? run->processor : "unknown");
  tr_report_label(report, run->device ? run->device : "unknown");
  tr_report_label(report, tr_report_text(report, "%d", run->threads));
  tr_report_label(report, run->version ? run->version : "unknown");
  tr_report_label(report, run->weights ? run->weights : "unknown");
  tr_report_label(report, tr_report_text(report, "%.12s…", run->weights_sha256));
  tr_report_label(report, tr_report_text(report, "%zu", count));
  tr_report_label(report, *last ? tr_report_text(report, "%.10s", last) : "unknown");
}

void tr_section_machines(tr_evidence *evidence) {
  static const char *const columns[] = {"processor", "device", "threads", "version", "weights", "sha256", "results", "last"};
  tr_report *report = evidence->report;
  size_t n = evidence->runs.results.count;
  tr_report_section(report, "machines", "Machines and versions", "");
  tr_report_table(report, "machines", "", "");
  for (size_t i = 0; i < sizeof columns / sizeof *columns; ++i)
    tr_report_column(report, columns[i], false);
  const tr_result **runs = tr_report_alloc(report, n, sizeof *runs);
  if (!runs)
    return;
  for (size_t i = 0; i < n; ++i)
    runs[i] = &evidence->runs.results.items[i];
  qsort(runs, n, sizeof *runs, compare_machines);
  for (size_t i = 0, end; i < n; i = end) {
    for (end = i + 1; end < n && compare_machines(&runs[i], &runs[end]) == 0;)
      ++end;
    machine_row(evidence, &runs[i], end - i);
  }
}
