/* Figures 4, 5 and 6, the strides, table S5: queries, published points, figures and tables. */
#include "host/report/ablations.h"
#include "host/report/figures.h"
#include "host/report/sections.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- what is varied ---- */

static tr_query patchcore(const char *dataset, const char *experiment, double percent) {
  return tr_query_percent(tr_query_new(dataset, "patchcore", experiment), percent);
}

static tr_query neighbourhood_query(const char *dataset, size_t line, double value, double percent) {
  (void)line;
  tr_query query = patchcore(dataset, "figure4", percent);
  query.setting.patch = (int)value;
  return tr_query_ready(query);
}

static tr_published_value neighbourhood_published(const tr_published *published, size_t line, double value, const char *label,
                                                  const tr_metric *metric) {
  (void)line;
  (void)label;
  char method[64];
  snprintf(method, sizeof method, "PatchCore neighbourhood p=%g", value);
  return tr_published_find(published, TR_FIGURE_4, method, "mean", metric->published);
}

static const char *const levels[] = {"1", "2", "3", "12", "23", "123"};

static tr_query levels_query(const char *dataset, size_t line, double value, double percent) {
  (void)line;
  tr_query query = patchcore(dataset, "figure4", percent);
  tr_query_levels(&query, levels[(size_t)value - 1]);
  return tr_query_ready(query);
}

static tr_published_value levels_published(const tr_published *published, size_t line, double value, const char *label,
                                           const tr_metric *metric) {
  (void)line;
  (void)value;
  char method[64];
  snprintf(method, sizeof method, "PatchCore level %s", label);
  return tr_published_find(published, TR_FIGURE_4, method, "mean", metric->published);
}

static const tr_subsampling samplers[] = {TR_SUBSAMPLE_GREEDY, TR_SUBSAMPLE_RANDOM, TR_SUBSAMPLE_LEARNED};

static tr_query subsampling_query(const char *dataset, size_t line, double value, double percent) {
  (void)percent;
  tr_query query = tr_query_new(dataset, "patchcore", "figure5");
  query.setting.subsampling = samplers[line];
  query.setting.percent = value;
  return tr_query_ready(query);
}

/* The tables print what greedy selection gives. */
static tr_published_value greedy_printed(const tr_published *published, double percent, const tr_metric *metric) {
  static const struct {
    const tr_metric *metric;
    tr_published_file file;
  } tables[] = {{&tr_metric_image_auroc, TR_TABLE_1}, {&tr_metric_pixel_auroc, TR_TABLE_2}, {&tr_metric_pro, TR_TABLE_3}};
  char method[64];
  snprintf(method, sizeof method, "PatchCore-%g%%", percent);
  tr_published_value found = tr_published_find(published, TR_TABLE_5, method, "mean", metric->published);
  for (size_t i = 0; i < sizeof tables / sizeof *tables; ++i)
    if (tables[i].metric == metric && !isfinite(found.value))
      found = tr_published_find(published, tables[i].file, method, "mean", metric->published);
  return found;
}

static tr_published_value subsampling_published(const tr_published *published, size_t line, double value, const char *label,
                                                const tr_metric *metric) {
  static const char *const names[] = {"greedy coreset", "random", "learned basis proxies"};
  (void)label;
  if (line == 0) {
    tr_published_value printed = greedy_printed(published, value, metric);
    if (isfinite(printed.value))
      return printed;
  }
  char method[64];
  snprintf(method, sizeof method, "PatchCore %s %g%%", names[line], value);
  return tr_published_find(published, TR_FIGURE_5, method, "mean", metric->published);
}

static tr_query stride_query(const char *dataset, size_t line, double value, double percent) {
  (void)line;
  tr_query query = patchcore(dataset, "figure5", percent);
  query.setting.stride = (int)value;
  return tr_query_ready(query);
}

static tr_published_value stride_published(const tr_published *published, size_t line, double value, const char *label,
                                           const tr_metric *metric) {
  (void)line;
  (void)label;
  if (value == 1)
    return tr_published_find(published, TR_TABLE_5, "PatchCore-100%", "mean", metric->published);
  char method[64];
  snprintf(method, sizeof method, "PatchCore stride s=%g (no coreset)", value);
  return tr_published_find(published, TR_PUBLISHED_TEXT, method, "mean", metric->published);
}

/* Of the lines of figure 6. */
static const struct {
  const char *method, *published;
  tr_published_file file;
  double percent;
} low_shot_lines[] = {
    {"patchcore", "PatchCore-25%", TR_TABLE_S5, 25},
    {"patchcore", "PatchCore-10%", TR_FIGURE_6, 10},
    {"padim", "PaDiM", TR_TABLE_S5, 0},
    {"spade", "SPADE", TR_TABLE_S5, 0},
};

static tr_query low_shot_query(const char *dataset, size_t line, double value, double percent) {
  (void)percent;
  tr_query query = tr_query_new(dataset, low_shot_lines[line].method, "figure6");
  if (low_shot_lines[line].percent)
    query.setting.percent = low_shot_lines[line].percent;
  query.setting.train_images = (int)value;
  return tr_query_ready(query);
}

static tr_published_value low_shot_published(const tr_published *published, size_t line, double value, const char *label,
                                             const tr_metric *metric) {
  (void)label;
  char name[64];
  snprintf(name, sizeof name, "%s@%g-shot", metric->published, value);
  tr_published_value found =
      tr_published_find(published, low_shot_lines[line].file, low_shot_lines[line].published, "mean", name);
  snprintf(name, sizeof name, "%s_spread@%g-shot", metric->published, value);
  found.deviation = tr_published_find(published, low_shot_lines[line].file, low_shot_lines[line].published, "mean", name).value;
  return found;
}

static const tr_ablation ablations[TR_ABLATIONS] = {
    [TR_ABLATION_NEIGHBOURHOOD] =
        {
            .id = "figure4_neighbourhood",
            .title = "Figure 4, above: the neighbourhood p",
            .intro = "In percent, mean over the classes. Published points were read off the plot by eye; which percentage of the "
                     "patches it\n"
                     "has is not known.",
            .x_title = "neighbourhood p",
            .experiment = "figure4",
            .value_count = 5,
            .values = {1, 3, 5, 7, 9},
            .labels = {"1", "3", "5", "7", "9"},
            .line_count = 1,
            .lines = {"PatchCore"},
            .percent = 10,
            .any_percent = true,
            .query = neighbourhood_query,
            .published = neighbourhood_published,
        },
    [TR_ABLATION_LEVELS] =
        {
            .id = "figure4_levels",
            .title = "Figure 4, below: levels of the backbone",
            .intro = "In percent, mean over the classes. Published points were read off the plot by eye (where two readers "
                     "differ, their mean).",
            .x_title = "levels",
            .categories = true,
            .experiment = "figure4",
            .value_count = 6,
            .values = {1, 2, 3, 4, 5, 6},
            .labels = {"1", "2", "3", "1+2", "2+3", "1+2+3"},
            .line_count = 1,
            .lines = {"PatchCore"},
            .percent = 10,
            .any_percent = true,
            .query = levels_query,
            .published = levels_published,
        },
    [TR_ABLATION_SUBSAMPLING] =
        {
            .id = "figure5_subsampling",
            .title = "Figure 5: subsampling of the bank",
            .intro = "In percent, mean over the classes: the greedy coreset, a random subset, and learned basis proxies (Eq. 8). "
                     "Published:\n"
                     "greedy 100, 25, 10 and 1 % as tables 1 to 3 and 5 print them; the rest was read off the plot by eye.",
            .x_title = "percentage of the patches kept",
            .x_log = true,
            .experiment = "figure5",
            .value_count = 11,
            .values = {100, 50, 25, 10, 5, 1, 0.5, 0.1, 0.05, 0.02, 0.01},
            .labels = {"100 %", "50 %", "25 %", "10 %", "5 %", "1 %", "0.5 %", "0.1 %", "0.05 %", "0.02 %", "0.01 %"},
            .line_count = 3,
            .lines = {"greedy", "random", "learned"},
            .query = subsampling_query,
            .published = subsampling_published,
        },
    [TR_ABLATION_STRIDE] =
        {
            .id = "figure5_stride",
            .title = "Section 4.4.2: stride",
            .intro = "In percent, mean over the classes; published without subsampling.",
            .x_title = "stride s",
            .experiment = "figure5",
            .value_count = 3,
            .values = {1, 2, 3},
            .labels = {"1", "2", "3"},
            .line_count = 1,
            .lines = {"PatchCore"},
            .percent = 100,
            .query = stride_query,
            .published = stride_published,
        },
    [TR_ABLATION_LOW_SHOT] =
        {
            .id = "figure6",
            .title = "Figure 6 and table S5: few nominal images",
            .intro = "In percent, mean over the classes. How often the paper drew, and how, is not stated; its ± is printed so. "
                     "PatchCore-10 %\n"
                     "is the figure's, the rest table S5's.",
            .x_title = "nominal images of a class",
            .x_log = true,
            .experiment = "figure6",
            .value_count = 7,
            .values = {1, 2, 5, 10, 16, 20, 50},
            .labels = {"1", "2", "5", "10", "16", "20", "50"},
            .line_count = 4,
            .lines = {"PatchCore-25 %", "PatchCore-10 %", "PaDiM", "SPADE"},
            .query = low_shot_query,
            .published = low_shot_published,
        },
};

const tr_ablation *tr_ablation_of(tr_ablation_kind kind) {
  return &ablations[kind];
}

/* ---- what was run ---- */

static size_t cell_count(const tr_ablation *a) {
  return a->line_count * a->value_count;
}

static void look_up(tr_evidence *evidence, tr_ablation_runs *r, double percent) {
  const tr_ablation *a = r->ablation;
  r->percent = percent;
  for (size_t line = 0; line < a->line_count; ++line)
    for (size_t i = 0; i < a->value_count; ++i)
      r->queries[line * a->value_count + i] = a->query(r->dataset, line, a->values[i], percent);
  r->run = tr_sweep(evidence, r->queries, cell_count(a), r->backbone, r->selections);
}

static tr_ablation_runs runs_of(tr_evidence *evidence, const tr_ablation *a, const char *dataset, const char *backbone) {
  static const double percents[] = {10, 1, 25, 100};
  tr_ablation_runs best = {.ablation = a, .dataset = dataset, .backbone = backbone};
  look_up(evidence, &best, a->percent);
  for (size_t i = 0; a->any_percent && i < sizeof percents / sizeof *percents; ++i) {
    tr_ablation_runs other = {.ablation = a, .dataset = dataset, .backbone = backbone};
    look_up(evidence, &other, percents[i]);
    if (other.run > best.run)
      best = other;
  }
  return best;
}

const tr_selection *tr_ablation_first(const tr_ablation_runs *r) {
  for (size_t i = 0; i < cell_count(r->ablation); ++i)
    if (r->selections[i].count)
      return &r->selections[i];
  return NULL;
}

/* ---- tables ---- */

static const char *table_id(tr_evidence *evidence, const tr_ablation_runs *r, bool main) {
  const char *base = r->ablation->id;
  return main ? base : tr_report_text(evidence->report, "%s_%s_%s", base, r->dataset, r->backbone);
}

static const char *data_of(tr_evidence *evidence, const tr_ablation_runs *r) {
  const tr_selection *selection = tr_ablation_first(r);
  if (!selection)
    return "";
  const char *percent = r->ablation->any_percent ? tr_report_text(evidence->report, ", %g %% of the patches", r->percent) : "";
  return tr_report_text(evidence->report, "Ours: %s%s.", tr_sweep_title(evidence, selection), percent);
}

/* Figure 5's experiment has 25 % of greedy selection only, as the tables. */
static bool in_experiment(const tr_ablation *a, size_t line, size_t value) {
  return a->query != subsampling_query || line == 0 || a->values[value] != 25;
}

/* Of the table beside the published numbers. */
static void published_cell(tr_evidence *evidence, const tr_ablation_runs *r, size_t line, size_t value, const tr_metric *metric) {
  const tr_ablation *a = r->ablation;
  size_t at = line * a->value_count + value;
  if (!r->selections[at].count && !in_experiment(a, line, value)) {
    tr_report_label(evidence->report, "greedy only");
    return;
  }
  tr_published_value published = a->published(&evidence->published, line, a->values[value], a->labels[value], metric);
  tr_cell cell =
      tr_cell_of_selection(evidence, &r->queries[at], &r->selections[at], metric, published, (tr_per_class){TR_FIGURE_4, NULL});
  cell.published_text = "not read";
  tr_report_cell(evidence->report, &cell);
}

/* Of other data sets and backbones, for which nothing was published and of which no experiment has all. */
static void own_cell(tr_evidence *evidence, const tr_ablation_runs *r, size_t line, size_t value, const tr_metric *metric) {
  const tr_selection *selection = &r->selections[line * r->ablation->value_count + value];
  tr_cell cell = tr_cell_of_ours(selection, metric, "Not run on these images with this backbone.");
  tr_report_cell(evidence->report, &cell);
}

typedef void write_cell(tr_evidence *evidence, const tr_ablation_runs *r, size_t line, size_t value, const tr_metric *metric);

/* Rows and columns to show: beside published numbers all, else those of which something was run. */
static bool has_value(const tr_ablation_runs *r, size_t value, bool main) {
  bool run = main;
  for (size_t line = 0; line < r->ablation->line_count; ++line)
    run = run || r->selections[line * r->ablation->value_count + value].count;
  return run;
}

static bool has_line(const tr_ablation_runs *r, size_t line, bool main) {
  bool run = main;
  for (size_t i = 0; i < r->ablation->value_count; ++i)
    run = run || r->selections[line * r->ablation->value_count + i].count;
  return run;
}

static const tr_metric *const metrics[] = {&tr_metric_image_auroc, &tr_metric_pixel_auroc, &tr_metric_pro};
enum { METRICS = sizeof metrics / sizeof *metrics };

/* One line: a row per value, a column per metric. */
static void one_line_table(tr_evidence *evidence, const tr_ablation_runs *r, bool main, write_cell *cell) {
  const tr_ablation *a = r->ablation;
  tr_report *report = evidence->report;
  tr_report_column(report, a->x_title, false);
  for (size_t m = 0; m < METRICS; ++m)
    tr_report_column(report, metrics[m]->title, main);
  for (size_t i = 0; i < a->value_count; ++i) {
    if (!has_value(r, i, main))
      continue;
    tr_report_row(report);
    tr_report_label(report, a->labels[i]);
    for (size_t m = 0; m < METRICS; ++m)
      cell(evidence, r, 0, i, metrics[m]);
  }
}

/* Several: a row per metric and value, a column per line. */
static void lines_table(tr_evidence *evidence, const tr_ablation_runs *r, bool main, write_cell *cell) {
  const tr_ablation *a = r->ablation;
  tr_report *report = evidence->report;
  tr_report_column(report, "metric", false);
  tr_report_column(report, a->x_title, false);
  for (size_t line = 0; line < a->line_count; ++line)
    if (has_line(r, line, main))
      tr_report_column(report, a->lines[line], main);
  for (size_t m = 0; m < METRICS; ++m)
    for (size_t i = 0; i < a->value_count; ++i) {
      if (!has_value(r, i, main))
        continue;
      tr_report_row(report);
      tr_report_label(report, metrics[m]->title);
      tr_report_label(report, a->labels[i]);
      for (size_t line = 0; line < a->line_count; ++line)
        if (has_line(r, line, main))
          cell(evidence, r, line, i, metrics[m]);
    }
}

/* `main`: beside the published numbers. */
static void write_table(tr_evidence *evidence, const tr_ablation_runs *r, bool main) {
  const tr_ablation *a = r->ablation;
  tr_report *report = evidence->report;
  const char *data = data_of(evidence, r);
  const char *title =
      main ? a->title : tr_report_text(report, "%s: %s, `%s`", a->title, tr_dataset_title(r->dataset), r->backbone);
  tr_report_table(report, table_id(evidence, r, main), title,
                  main ? tr_report_text(report, "%s%s%s", a->intro, *data ? "\n" : "", data) : data);
  (a->line_count == 1 ? one_line_table : lines_table)(evidence, r, main, main ? published_cell : own_cell);
}

/* What was run most of comes first, then others of which there is enough to compare. */
static size_t worth_showing(tr_ablation_runs *runs, size_t count) {
  size_t first = 0, kept = 0;
  for (size_t i = 0; i < count; ++i)
    first = runs[i].run > runs[first].run ? i : first;
  tr_ablation_runs held = runs[0];
  runs[0] = runs[first];
  runs[first] = held;
  for (size_t i = 0; i < count; ++i)
    if (runs[i].run >= (i ? 3 : 2))
      runs[kept++] = runs[i];
  return kept;
}

void tr_ablation_write(tr_evidence *evidence, tr_ablation_kind kind, const char *dataset) {
  const tr_ablation *a = &ablations[kind];
  size_t count;
  const char *const *backbones = tr_report_backbones(&count);
  tr_ablation_runs *runs = tr_report_alloc(evidence->report, count, sizeof *runs);
  if (!runs)
    return;
  for (size_t i = 0; i < count; ++i)
    runs[i] = runs_of(evidence, a, dataset, backbones[i]);
  size_t kept = worth_showing(runs, count);
  bool mvtec = strcmp(dataset, "mvtec") == 0;
  for (size_t i = 0; i < kept || (mvtec && i == 0); ++i)
    write_table(evidence, &runs[i], mvtec && i == 0);
  if (kept || mvtec)
    tr_figures_ablation(evidence, a, dataset, runs, kept);
}

/* Section 4.4.2 also prints how much of the bank test images meet. */
static void bank_use(tr_evidence *evidence) {
  static const char *const methods[] = {"PatchCore-100%", "PatchCore-1%"};
  tr_report *report = evidence->report;
  tr_report_table(report, "bank_use", "Section 4.4.2: share of the bank that is used",
                  "In percent; the paper has less than 30 and about 95.");
  tr_report_column(report, "method", false);
  tr_report_column(report, "share of bank rows nearest to some test patch", true);
  for (size_t i = 0; i < sizeof methods / sizeof *methods; ++i) {
    tr_published_value published =
        tr_published_find(&evidence->published, TR_PUBLISHED_TEXT, methods[i], "all", "share_of_bank_used_at_test_time");
    tr_cell cell = tr_cell_out_of_scope(evidence, TR_UNIT_PERCENT, published);
    cell.reason = "Result lines do not say which bank rows test patches were nearest to.";
    tr_report_row(report);
    tr_report_label(report, methods[i]);
    tr_report_cell(report, &cell);
  }
}

void tr_section_ablations(tr_evidence *evidence) {
  tr_report_section(evidence->report, "ablations", "Figures 4 and 5: what matters", "");
  for (int kind = TR_ABLATION_NEIGHBOURHOOD; kind <= TR_ABLATION_STRIDE; ++kind) {
    tr_ablation_write(evidence, (tr_ablation_kind)kind, "mvtec");
    tr_ablation_write(evidence, (tr_ablation_kind)kind, "mtd");
  }
  bank_use(evidence);
}

void tr_section_low_shot(tr_evidence *evidence) {
  tr_report_section(evidence->report, "low_shot", "Few nominal images", "Table S4's content was not found.");
  tr_ablation_write(evidence, TR_ABLATION_LOW_SHOT, "mvtec");
  tr_ablation_write(evidence, TR_ABLATION_LOW_SHOT, "mtd");
}
