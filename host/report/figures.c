/* Figures: our points of the ablations with the published ones beside them, and time against accuracy. */
#include "host/report/figures.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { MAX_CLASSES = 32, TITLE_BYTES = 54, METRICS = 3 };

static const char *const datasets[] = {"mvtec", "mtd", "mstc", "synthetic"};
static const tr_metric *const metrics[METRICS] = {&tr_metric_image_auroc, &tr_metric_pixel_auroc, &tr_metric_pro};
static const char *const metric_ids[METRICS] = {"image", "pixel", "pro"};

static const char *class_of(const tr_group *group) {
  return group->runs[0]->class_name;
}

/* "MVTec AD (bottle, hazelnut), resnet50_v1"; without classes where the data set is run whole, or is one class. */
static const char *subject_title(tr_evidence *evidence, const tr_selection *of, const char *rest) {
  const char *dataset = of->groups[0]->runs[0]->dataset, *name = tr_dataset_title(dataset), *names = "";
  bool part = strcmp(dataset, "mvtec") == 0 && of->count < TR_PAPER_CLASSES;
  for (size_t i = 0; i < of->count && part && names; ++i)
    names = tr_report_text(evidence->report, "%s%s%s", names, i ? ", " : "", class_of(of->groups[i]));
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

static void add_ours(tr_evidence *evidence, const tr_ablation_runs *r, size_t line, const tr_metric *metric, tr_series series) {
  const tr_ablation *a = r->ablation;
  bool begun = false;
  for (size_t n = 0; n < a->value_count; ++n) {
    size_t i = by_rising_x(a, n);
    tr_statistic y = tr_selection_statistic(&r->selections[line * a->value_count + i], metric);
    if (!isfinite(y.mean))
      continue;
    if (!begun)
      tr_report_series(evidence->report, &series);
    begun = true;
    tr_report_point(evidence->report, &(tr_point){.x = a->values[i],
                                                  .label = a->categories ? a->labels[i] : NULL,
                                                  .y = y.mean,
                                                  .deviation = y.deviation,
                                                  .seeds = y.seeds});
  }
}

static void add_published(tr_evidence *evidence, const tr_ablation *a, size_t line, const tr_metric *metric, tr_series series) {
  bool begun = false;
  for (size_t n = 0; n < a->value_count; ++n) {
    size_t i = by_rising_x(a, n);
    tr_published_value value = a->published(&evidence->published, line, a->values[i], a->labels[i], metric);
    if (!isfinite(value.value))
      continue;
    if (!begun)
      tr_report_series(evidence->report, &series);
    begun = true;
    tr_report_point(evidence->report, &(tr_point){.x = a->values[i],
                                                  .label = a->categories ? a->labels[i] : NULL,
                                                  .y = value.value,
                                                  .deviation = isfinite(value.deviation) ? value.deviation : 0});
  }
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
  figure.y_title = "%";
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
                      .title = subject_title(evidence, tr_ablation_first(r), r->backbone),
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

/* ---- speed ---- */

/* A setting of a method on one machine: where it stands between time and accuracy. */
typedef struct contender {
  tr_selection selection;
  const char *family; /* "PatchCore, exact search" */
  double milliseconds, image_auroc, deviation;
  size_t seeds;
  bool front;
} contender;

typedef struct contenders {
  contender *items;
  size_t count;
} contenders;

/* The same clock: times of other processors or numbers of threads do not compare. */
static bool same_machine(const tr_result *a, const tr_result *b) {
  return strcmp(a->processor, b->processor) == 0 && strcmp(a->device, b->device) == 0 && a->threads == b->threads;
}

/* Settings that make the task another one: few training images. */
static bool contends(const tr_result *run) {
  return run->low_shot == 0 && run->processor && run->device && isfinite(run->image_auroc) && run->seconds.score_per_image > 0;
}

static const char *family_of(tr_evidence *evidence, const tr_result *run) {
  if (strcmp(run->method, "spade") == 0)
    return "SPADE";
  if (strcmp(run->method, "padim") == 0)
    return "PaDiM";
  if (!run->search || strcmp(run->search, "exact") == 0)
    return "PatchCore, exact search";
  const char *text = tr_report_text(evidence->report, "PatchCore, %s", run->search);
  return text ? text : "";
}

/* The setting's name is the run's without its seed. */
static bool same_setting(const tr_group *a, const tr_group *b) {
  return strcmp(a->stem, b->stem) == 0 && strcmp(a->runs[0]->weights_sha256, b->runs[0]->weights_sha256) == 0;
}

/* The groups of one data set and machine, a contender a setting; the groups of a setting follow one another class by class, of a class the
 * largest set of images first. */
static void gather(tr_evidence *evidence, const char *dataset, const tr_result *machine, contenders *out) {
  const tr_runs *runs = &evidence->runs;
  out->count = 0;
  for (size_t i = 0; i < runs->group_count; ++i) {
    const tr_group *group = &runs->groups[i];
    const tr_result *run = group->runs[0];
    if (strcmp(run->dataset, dataset) != 0 || !contends(run) || !same_machine(run, machine))
      continue;
    size_t at = 0;
    while (at < out->count && !same_setting(out->items[at].selection.groups[0], group))
      ++at;
    if (at == out->count)
      out->items[out->count++] = (contender){.selection = {tr_report_alloc(evidence->report, MAX_CLASSES, sizeof(tr_group *)), 0},
                                             .family = family_of(evidence, run)};
    tr_selection *selection = &out->items[at].selection;
    if (!selection->groups) {
      --out->count;
      return;
    }
    if (selection->count < MAX_CLASSES &&
        (!selection->count || strcmp(class_of(selection->groups[selection->count - 1]), class_of(group)) != 0))
      selection->groups[selection->count++] = group;
  }
}

static int compare_contenders(const void *a, const void *b) {
  const contender *x = a, *y = b;
  int order = (x->milliseconds > y->milliseconds) - (x->milliseconds < y->milliseconds);
  if (!order)
    order = (x->image_auroc < y->image_auroc) - (x->image_auroc > y->image_auroc);
  return order ? order : strcmp(x->selection.groups[0]->stem, y->selection.groups[0]->stem);
}

/* The same images: times and scores of others do not compare. */
static bool same_images(const tr_group *a, const tr_group *b) {
  return strcmp(class_of(a), class_of(b)) == 0 && a->runs[0]->images == b->runs[0]->images &&
         a->runs[0]->train_images == b->runs[0]->train_images;
}

/* Cut to the classes of `to` where it has them all; else false. `out` has room for them. */
static bool cut_to(const tr_selection *selection, const tr_selection *to, tr_selection *out) {
  out->count = 0;
  for (size_t i = 0; i < to->count; ++i) {
    size_t j = 0;
    while (j < selection->count && !same_images(selection->groups[j], to->groups[i]))
      ++j;
    if (j == selection->count)
      return false;
    out->groups[out->count++] = selection->groups[j];
  }
  return true;
}

/* The classes that most contenders have together; of several such sets the largest, then the first. */
static tr_selection common_classes(const contenders *list) {
  const tr_group *groups[MAX_CLASSES];
  tr_selection best = {0}, cut = {groups, 0};
  size_t most = 0;
  for (size_t i = 0; i < list->count; ++i) {
    const tr_selection *candidate = &list->items[i].selection;
    size_t sharing = 0;
    for (size_t j = 0; j < list->count; ++j)
      sharing += cut_to(&list->items[j].selection, candidate, &cut);
    if (sharing > most || (sharing == most && candidate->count > best.count)) {
      most = sharing;
      best = *candidate;
    }
  }
  return best;
}

/* Leaves those with the common classes, by rising time, and marks the ones that nothing faster matches. */
static void rank(tr_evidence *evidence, contenders *list) {
  tr_selection common = common_classes(list);
  size_t kept = 0;
  for (size_t i = 0; i < list->count; ++i) {
    contender c = list->items[i];
    tr_selection cut = {tr_report_alloc(evidence->report, MAX_CLASSES, sizeof(tr_group *)), 0};
    if (!cut.groups || !cut_to(&c.selection, &common, &cut))
      continue;
    c.selection = cut;
    tr_statistic accuracy = tr_selection_statistic(&cut, &tr_metric_image_auroc);
    c.milliseconds = 1000 * tr_selection_statistic(&cut, &tr_metric_seconds).mean;
    c.image_auroc = accuracy.mean;
    c.deviation = accuracy.deviation;
    c.seeds = accuracy.seeds;
    list->items[kept++] = c;
  }
  list->count = kept;
  if (kept)
    qsort(list->items, kept, sizeof *list->items, compare_contenders);
  double best = -INFINITY;
  for (size_t i = 0; i < kept; ++i) {
    list->items[i].front = list->items[i].image_auroc > best;
    best = fmax(best, list->items[i].image_auroc);
  }
}

static tr_point point_of(const contender *c) {
  return (tr_point){.x = c->milliseconds, .y = c->image_auroc, .deviation = c->deviation, .seeds = c->seeds};
}

/* The front, its points numbered; the note says which they are. */
static void add_front(tr_evidence *evidence, const contenders *list) {
  const char *note = "nothing measured is both faster and more accurate.";
  int number = 0;
  for (size_t i = 0; i < list->count && note; ++i)
    if (list->items[i].front)
      note = tr_report_text(evidence->report, "%s%s %d: `%s`, %.3g ms, %.2f %%", note, number ? ";" : "", number + 1,
                            list->items[i].selection.groups[0]->stem, list->items[i].milliseconds, list->items[i].image_auroc),
      ++number;
  tr_report_series(evidence->report, &(tr_series){.title = "Pareto front", .line = true, .bare = true, .note = note});
  number = 0;
  for (size_t i = 0; i < list->count; ++i)
    if (list->items[i].front) {
      tr_point point = point_of(&list->items[i]);
      point.deviation = 0; /* the bar belongs to the setting's own point */
      point.mark = tr_report_text(evidence->report, "%d", ++number);
      tr_report_point(evidence->report, &point);
    }
}

static void add_families(tr_evidence *evidence, const contenders *list) {
  int colour = 0;
  for (size_t i = 0; i < list->count; ++i) {
    bool first = true;
    for (size_t j = 0; j < i; ++j)
      first = first && strcmp(list->items[j].family, list->items[i].family) != 0;
    if (!first)
      continue;
    tr_report_series(evidence->report, &(tr_series){.title = list->items[i].family, .colour = colour});
    ++colour;
    for (size_t j = i; j < list->count; ++j)
      if (strcmp(list->items[j].family, list->items[i].family) == 0) {
        tr_point point = point_of(&list->items[j]);
        tr_report_point(evidence->report, &point);
      }
  }
  add_front(evidence, list);
}

static bool draw_speed(tr_evidence *evidence, const char *dataset, const tr_result *machine, size_t number, contenders *list) {
  gather(evidence, dataset, machine, list);
  rank(evidence, list);
  if (list->count < 2)
    return false;
  const tr_selection *first = &list->items[0].selection;
  const char *on = tr_report_text(evidence->report, "%s, %d threads", machine->processor, machine->threads);
  const char *of =
      first->count == 1 ? class_of(first->groups[0]) : tr_report_text(evidence->report, "mean over %zu classes", first->count);
  tr_figure figure = {
      .id = tr_report_text(evidence->report, "speed_%s_%zu", dataset, number),
      .title = subject_title(evidence, first, on ? on : ""),
      .x_title = "milliseconds an image",
      .y_title = "Image AUROC, %",
      .x_log = true,
      .y_ceiling = 100,
      .caption = tr_report_text(evidence->report,
                                "%s, %s. Time: decoding, backbone, search and map of an image when a whole class is scored; "
                                "throughput, not latency.",
                                tr_dataset_title(dataset), of ? of : "")};
  tr_report_figure(evidence->report, &figure);
  add_families(evidence, list);
  return true;
}

void tr_figures_speed(tr_evidence *evidence) {
  const tr_runs *runs = &evidence->runs;
  contenders list = {tr_report_alloc(evidence->report, runs->group_count, sizeof(contender)), 0};
  bool any = false;
  for (size_t d = 0; list.items && d < COUNT(datasets); ++d)
    for (size_t i = 0, number = 0; i < runs->group_count; ++i) {
      const tr_result *machine = runs->groups[i].runs[0];
      bool seen = strcmp(machine->dataset, datasets[d]) != 0 || !contends(machine);
      for (size_t j = 0; j < i && !seen; ++j) {
        const tr_result *before = runs->groups[j].runs[0];
        seen = strcmp(before->dataset, datasets[d]) == 0 && contends(before) && same_machine(before, machine);
      }
      if (!seen)
        any = draw_speed(evidence, datasets[d], machine, ++number, &list) || any;
    }
  if (list.items && !any)
    tr_report_figure(evidence->report, &(tr_figure){.id = "speed",
                                                    .title = "Image AUROC against time",
                                                    .causes = TR_CAUSE_NOT_RUN,
                                                    .reason = "Not run: needs two settings on the same data and machine",
                                                    .command = tr_command_of(evidence, "table5")});
}
