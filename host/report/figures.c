/* Figures of the ablations: our points with the published ones beside them. */
#include "host/report/figures.h"
#include <math.h>
#include <string.h>

enum { TITLE_BYTES = 54, METRICS = 3 };

static const tr_metric *const metrics[METRICS] = {&tr_metric_image_auroc, &tr_metric_pixel_auroc, &tr_metric_pro};
static const char *const metric_ids[METRICS] = {"image", "pixel", "pro"};

const char *tr_figure_title(tr_evidence *evidence, const tr_selection *of, const char *rest) {
  const char *dataset = of->groups[0]->runs[0]->dataset, *name = tr_dataset_title(dataset), *names = "";
  bool part = strcmp(dataset, "mvtec") == 0 && of->count < TR_PAPER_CLASSES;
  for (size_t i = 0; i < of->count && part && names; ++i)
    names = tr_report_text(evidence->report, "%s%s%s", names, i ? ", " : "", of->groups[i]->runs[0]->class_name);
  const char *title = part ? tr_report_text(evidence->report, "%s (%s), %s", name, names ? names : "", rest)
                           : tr_report_text(evidence->report, "%s, %s", name, rest);
  if (part && title && strlen(title) > TITLE_BYTES)
    title = tr_report_text(evidence->report, "%s (%zu classes), %s", name, of->count, rest);
  return title;
}

/* ---- ablations ---- */

/* Place of the n-th point by rising x. */
static size_t by_rising_x(const tr_ablation *a, size_t n) {
  return a->values[0] > a->values[1] ? a->value_count - 1 - n : n;
}

/* Those of an ablation's values that there are; y[i] of value i. */
static void add_values(tr_evidence *evidence, const tr_ablation *a, const tr_point y[TR_MAX_VALUES], const tr_series *series) {
  bool begun = false;
  for (size_t n = 0; n < a->value_count; ++n) {
    size_t i = by_rising_x(a, n);
    tr_point point = y[i];
    if (!isfinite(point.y))
      continue;
    if (!begun)
      tr_report_series(evidence->report, series);
    begun = true;
    point.x = a->values[i];
    point.label = a->categories ? a->labels[i] : NULL;
    tr_report_point(evidence->report, &point);
  }
}

static void add_ours(tr_evidence *evidence, const tr_ablation_runs *r, size_t line, const tr_metric *metric, tr_series series) {
  const tr_ablation *a = r->ablation;
  tr_point y[TR_MAX_VALUES] = {{0}};
  for (size_t i = 0; i < a->value_count; ++i) {
    tr_statistic s = tr_selection_statistic(&r->selections[line * a->value_count + i], metric);
    y[i] = (tr_point){.y = s.mean, .deviation = s.deviation, .seeds = s.seeds};
  }
  add_values(evidence, a, y, &series);
}

static void add_published(tr_evidence *evidence, const tr_ablation *a, size_t line, const tr_metric *metric, tr_series series) {
  tr_point y[TR_MAX_VALUES] = {{0}};
  for (size_t i = 0; i < a->value_count; ++i) {
    tr_published_value v = a->published(&evidence->published, line, a->values[i], a->labels[i], metric);
    y[i] = (tr_point){.y = v.value, .deviation = isfinite(v.deviation) ? v.deviation : 0};
  }
  add_values(evidence, a, y, &series);
}

/* Ours and, beside MVTec AD's, the published ones of a line and metric. */
static void add_pair(tr_evidence *evidence, const tr_ablation_runs *r, size_t line, const tr_metric *metric, const char *title,
                     int colour) {
  const tr_ablation *a = r->ablation;
  tr_series series = {.title = title, .line = !a->categories, .colour = colour};
  add_ours(evidence, r, line, metric, series);
  if (strcmp(r->dataset, "mvtec") != 0)
    return;
  series.published = true;
  series.title = tr_report_text(evidence->report, "%s, paper", title);
  add_published(evidence, a, line, metric, series);
}

/* What our points are of, and in what that is not the paper's. */
static void explain(tr_evidence *evidence, const tr_ablation_runs *r, tr_figure *figure) {
  const tr_ablation *a = r->ablation;
  const tr_selection *first = tr_ablation_first(r);
  bool mvtec = strcmp(r->dataset, "mvtec") == 0;
  const char *ours = tr_sweep_title(evidence, first), *how = "the paper's figure is of MVTec AD";
  const char *percent = a->any_percent ? tr_report_text(evidence->report, ", %g %% of the patches", r->percent) : "";
  figure->caption = tr_report_text(evidence->report, "%s: %s%s.%s", a->title, ours ? ours : "", percent ? percent : "",
                                   mvtec ? " Published: mean over 15 classes; what was read where stands above the table." : "");
  if (mvtec)
    how = tr_selection_reason(evidence, &r->queries[first - r->selections], first, true, &figure->causes);
  else
    figure->causes = TR_CAUSE_DATA;
  if (how)
    figure->reason = tr_report_text(evidence->report, "Not as published: %s.", how);
}

/* One figure with a series a metric. */
static void draw_together(tr_evidence *evidence, const tr_ablation_runs *r, tr_figure figure) {
  figure.y_title = "metric, %";
  tr_report_figure(evidence->report, &figure);
  for (int m = 0; m < METRICS; ++m)
    add_pair(evidence, r, 0, metrics[m], metrics[m]->title, m);
}

static bool has_values(const tr_ablation_runs *r, const tr_metric *metric) {
  for (size_t i = 0; i < r->ablation->line_count * r->ablation->value_count; ++i)
    if (isfinite(tr_selection_statistic(&r->selections[i], metric).mean))
      return true;
  return false;
}

/* A figure a metric, with the ablation's lines. */
static void draw_apart(tr_evidence *evidence, const tr_ablation_runs *r, tr_figure figure) {
  const char *id = figure.id;
  for (int m = 0; m < METRICS; ++m) {
    if (!has_values(r, metrics[m]))
      continue;
    figure.id = tr_report_text(evidence->report, "%s_%s", id, metric_ids[m]);
    figure.y_title = tr_report_text(evidence->report, "%s, %%", metrics[m]->title);
    tr_report_figure(evidence->report, &figure);
    for (size_t line = 0; line < r->ablation->line_count; ++line)
      add_pair(evidence, r, line, metrics[m], r->ablation->lines[line], (int)line);
  }
}

static void draw_ablation(tr_evidence *evidence, const tr_ablation_runs *r) {
  const tr_ablation *a = r->ablation;
  tr_figure figure = {.id = tr_report_text(evidence->report, "%s_%s_%s", a->id, r->dataset, r->backbone),
                      .title = tr_figure_title(evidence, tr_ablation_first(r), r->backbone),
                      .x_title = a->x_title,
                      .x_log = a->x_log,
                      .y_ceiling = 100};
  explain(evidence, r, &figure);
  if (a->line_count == 1)
    draw_together(evidence, r, figure);
  else
    draw_apart(evidence, r, figure);
}

void tr_figures_ablation(tr_evidence *evidence, const tr_ablation *ablation, const char *dataset, const tr_ablation_runs *runs,
                         size_t count) {
  for (size_t i = 0; i < count; ++i)
    draw_ablation(evidence, &runs[i]);
  if (count)
    return;
  tr_query query = ablation->query(dataset, 0, ablation->values[0], ablation->percent);
  tr_report_figure(evidence->report, &(tr_figure){.id = ablation->id,
                                                  .title = ablation->title,
                                                  .causes = TR_CAUSE_NOT_RUN,
                                                  .reason = tr_missing_reason(evidence, &query),
                                                  .command = tr_command_of(evidence, ablation->experiment)});
}
