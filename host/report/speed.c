/* Figures of time: settings of all methods against their accuracy, and searches of one bank against their recall. */
#include "host/report/figures.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { MAX_CLASSES = 32 };

static const char *const datasets[] = {"mvtec", "mtd", "mstc", "synthetic"};

static const char *class_of(const tr_group *group) {
  return group->runs[0]->class_name;
}

/* ---- settings of one data set and machine ---- */

/* Families of settings, as legends have them: short enough for two columns. */
#define EXACT        "exact search"
#define EXACT_SEARCH "PatchCore, " EXACT
#define BY_INDEX     "by "
#define FAISS        "faiss:"

/* A setting of a method on one machine: where it stands between time and accuracy. */
typedef struct contender {
  tr_selection selection;
  const char *family;                       /* EXACT_SEARCH, "PaDiM", "by HNSW32" */
  double milliseconds, accuracy, deviation; /* accuracy: of the metric that is drawn, in percent */
  size_t seeds;
  bool front;
} contender;

typedef struct contenders {
  contender *items;
  size_t count;
} contenders;

/* Settings that make the task another one: few training images. */
static bool contends(const tr_result *run) {
  return run->low_shot == 0 && run->processor && run->device && run->seconds.score_per_image > 0;
}

static const char *family_of(tr_evidence *evidence, const tr_result *run) {
  if (strcmp(run->method, "spade") == 0)
    return "SPADE";
  if (strcmp(run->method, "padim") == 0)
    return "PaDiM";
  if (tr_is_exact(run))
    return EXACT_SEARCH;
  const char *name = strncmp(run->search, FAISS, strlen(FAISS)) == 0 ? run->search + strlen(FAISS) : run->search;
  const char *text = tr_report_text(evidence->report, BY_INDEX "%s", name);
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
    if (strcmp(run->dataset, dataset) != 0 || !contends(run) || !tr_same_machine(run, machine))
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

static bool same_weights(const contender *a, const contender *b) {
  return strcmp(a->selection.groups[0]->runs[0]->weights_sha256, b->selection.groups[0]->runs[0]->weights_sha256) == 0;
}

static int compare_contenders(const void *a, const void *b) {
  const contender *x = a, *y = b;
  int order = (x->milliseconds > y->milliseconds) - (x->milliseconds < y->milliseconds);
  if (!order)
    order = (x->accuracy < y->accuracy) - (x->accuracy > y->accuracy);
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

/* Leaves those with the common classes. */
static void cut_to_common(tr_evidence *evidence, contenders *list) {
  tr_selection common = common_classes(list);
  size_t kept = 0;
  for (size_t i = 0; i < list->count; ++i) {
    contender c = list->items[i];
    tr_selection cut = {tr_report_alloc(evidence->report, MAX_CLASSES, sizeof(tr_group *)), 0};
    if (!cut.groups || !cut_to(&c.selection, &common, &cut))
      continue;
    c.selection = cut;
    c.milliseconds = 1000 * tr_selection_statistic(&cut, &tr_metric_seconds).mean;
    list->items[kept++] = c;
  }
  list->count = kept;
}

/* Leaves those that have the metric, by rising time, and marks the ones that nothing faster matches. */
static void rank(contenders *list, const tr_metric *metric) {
  size_t kept = 0;
  for (size_t i = 0; i < list->count; ++i) {
    contender c = list->items[i];
    tr_statistic accuracy = tr_selection_statistic(&c.selection, metric);
    c.accuracy = accuracy.mean;
    c.deviation = accuracy.deviation;
    c.seeds = accuracy.seeds;
    if (isfinite(c.accuracy))
      list->items[kept++] = c;
  }
  list->count = kept;
  if (kept)
    qsort(list->items, kept, sizeof *list->items, compare_contenders);
  double best = -INFINITY;
  for (size_t i = 0; i < kept; ++i) {
    list->items[i].front = list->items[i].accuracy > best;
    best = fmax(best, list->items[i].accuracy);
  }
}

static tr_point point_of(const contender *c) {
  return (tr_point){.x = c->milliseconds, .y = c->accuracy, .deviation = c->deviation, .seeds = c->seeds};
}

/* The front, its points numbered; the note says which they are. */
static void add_front(tr_evidence *evidence, const contenders *list) {
  const char *note = "nothing measured is both faster and more accurate.";
  int number = 0;
  for (size_t i = 0; i < list->count && note; ++i)
    if (list->items[i].front) {
      note = tr_report_text(evidence->report, "%s%s %d: `%s`, %.3g ms, %.2f %%", note, number ? ";" : "", number + 1,
                            list->items[i].selection.groups[0]->stem, list->items[i].milliseconds, list->items[i].accuracy);
      ++number;
    }
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

/* The families of a list in the order of legends, indexes by name. Of all that ran on one machine, so that a colour means the same in all
 * its figures of a data set. */
enum { FIXED_FAMILIES = 3, MAX_FAMILIES = 32 };
static const char *const fixed_families[FIXED_FAMILIES] = {EXACT_SEARCH, "PaDiM", "SPADE"};

typedef struct families {
  const char *names[MAX_FAMILIES]; /* NULL: none of this colour */
  size_t count;
} families;

static bool has_family(const contenders *list, const char *name) {
  for (size_t i = 0; i < list->count; ++i)
    if (strcmp(list->items[i].family, name) == 0)
      return true;
  return false;
}

static families families_of(const contenders *list) {
  families found = {.count = FIXED_FAMILIES};
  for (size_t i = 0; i < FIXED_FAMILIES; ++i)
    found.names[i] = has_family(list, fixed_families[i]) ? fixed_families[i] : NULL;
  for (size_t i = 0; i < list->count; ++i) {
    size_t at = 0;
    while (at < found.count && (!found.names[at] || strcmp(found.names[at], list->items[i].family) != 0))
      ++at;
    if (at < found.count || at == MAX_FAMILIES)
      continue;
    for (; at > FIXED_FAMILIES && strcmp(found.names[at - 1], list->items[i].family) > 0; --at)
      found.names[at] = found.names[at - 1];
    found.names[at] = list->items[i].family;
    ++found.count;
  }
  return found;
}

static void add_families(tr_evidence *evidence, const families *of, const contenders *list) {
  for (size_t f = 0; f < of->count; ++f) {
    if (!of->names[f] || !has_family(list, of->names[f]))
      continue;
    tr_report_series(evidence->report, &(tr_series){.title = of->names[f], .colour = (int)f});
    for (size_t i = 0; i < list->count; ++i)
      if (strcmp(list->items[i].family, of->names[f]) == 0) {
        tr_point point = point_of(&list->items[i]);
        tr_report_point(evidence->report, &point);
      }
  }
  add_front(evidence, list);
}

/* "AMD EPYC, 2 threads" */
static const char *machine_title(tr_evidence *evidence, const tr_result *machine) {
  const char *text = tr_report_text(evidence->report, "%s, %d threads", machine->processor, machine->threads);
  return text ? text : "";
}

/* "MVTec AD, bottle", "MTD", "Synthetic, mean over 5 classes" */
static const char *classes_title(tr_evidence *evidence, const char *dataset, const tr_selection *of) {
  const char *name = tr_dataset_title(dataset), *text = name;
  if (of->count > 1)
    text = tr_report_text(evidence->report, "%s, mean over %zu classes", name, of->count);
  else if (strcmp(class_of(of->groups[0]), dataset) != 0)
    text = tr_report_text(evidence->report, "%s, %s", name, class_of(of->groups[0]));
  return text ? text : "";
}

/* Leaves out those that are far below the front, or 10 points below its best, which would press all others together. Returns how many, and
 * their best. */
static size_t leave_out_low(contenders *list, double *highest) {
  double low = INFINITY, high = -INFINITY;
  for (size_t i = 0; i < list->count; ++i)
    if (list->items[i].front) {
      low = fmin(low, list->items[i].accuracy);
      high = fmax(high, list->items[i].accuracy);
    }
  double border = fmax(low - fmax(2, 2 * (high - low)), high - 10);
  size_t kept = 0, all = list->count;
  *highest = -INFINITY;
  for (size_t i = 0; i < all; ++i)
    if (list->items[i].accuracy >= border)
      list->items[kept++] = list->items[i];
    else
      *highest = fmax(*highest, list->items[i].accuracy);
  list->count = kept;
  return all - kept;
}

static const char *speed_caption(tr_evidence *evidence, const contenders *list, size_t left_out, double highest) {
  const tr_selection *first = &list->items[0].selection;
  const char *below = "";
  if (left_out)
    below = tr_report_text(evidence->report, " Not shown: %zu setting%s with %.2f %% or less.", left_out,
                           left_out == 1 ? "" : "s", highest);
  return tr_report_text(evidence->report,
                        "%s. Time: decoding, backbone, search and map of an image when a whole class is scored; throughput, not "
                        "latency. By an index: PatchCore with that index of FAISS's.%s",
                        classes_title(evidence, first->groups[0]->runs[0]->dataset, first), below ? below : "");
}

/* A metric of all contenders; the list is left as it was. */
static bool draw_metric(tr_evidence *evidence, const char *id, const char *title, const tr_metric *metric, const families *of,
                        const contenders *all) {
  contenders list = {tr_report_alloc(evidence->report, all->count, sizeof(contender)), all->count};
  if (!list.items)
    return false;
  memcpy(list.items, all->items, all->count * sizeof *list.items);
  rank(&list, metric);
  if (list.count < 2)
    return false;
  double highest;
  size_t left_out = leave_out_low(&list, &highest);
  tr_figure figure = {.id = id,
                      .title = title,
                      .x_title = "milliseconds an image",
                      .y_title = tr_report_text(evidence->report, "%s, %%", metric->title),
                      .x_log = true,
                      .y_ceiling = 100,
                      .caption = speed_caption(evidence, &list, left_out, highest)};
  tr_report_figure(evidence->report, &figure);
  add_families(evidence, of, &list);
  return true;
}

/* Image AUROC alone often says nothing: it is 100 % of many settings. */
static bool draw_speed(tr_evidence *evidence, const char *dataset, const tr_result *machine, size_t number, contenders *list) {
  static const struct {
    const tr_metric *metric;
    const char *name;
  } drawn[] = {{&tr_metric_image_auroc, "image"}, {&tr_metric_pixel_auroc, "pixel"}, {&tr_metric_pro, "pro"}};
  const families of = families_of(list);
  cut_to_common(evidence, list);
  if (list->count < 2)
    return false;
  const char *title = tr_figure_title(evidence, &list->items[0].selection, machine_title(evidence, machine));
  bool any = false;
  for (size_t i = 0; i < COUNT(drawn); ++i) {
    const char *id = tr_report_text(evidence->report, "speed_%s_%zu_%s", dataset, number, drawn[i].name);
    any = draw_metric(evidence, id, title, drawn[i].metric, &of, list) || any;
  }
  return any;
}

/* Draws one or more figures of what was run on one machine; false: none. The list is the function's to change. */
typedef bool draw_machine(tr_evidence *evidence, const char *dataset, const tr_result *machine, size_t number, contenders *list);

static bool draw_each(tr_evidence *evidence, draw_machine *draw) {
  const tr_runs *runs = &evidence->runs;
  contenders list = {tr_report_alloc(evidence->report, runs->group_count, sizeof(contender)), 0};
  bool any = false;
  for (size_t d = 0; list.items && d < COUNT(datasets); ++d)
    for (size_t i = 0, number = 0; i < runs->group_count; ++i) {
      const tr_result *machine = runs->groups[i].runs[0];
      bool seen = strcmp(machine->dataset, datasets[d]) != 0 || !contends(machine);
      for (size_t j = 0; j < i && !seen; ++j) {
        const tr_result *before = runs->groups[j].runs[0];
        seen = strcmp(before->dataset, datasets[d]) == 0 && contends(before) && tr_same_machine(before, machine);
      }
      if (seen)
        continue;
      gather(evidence, datasets[d], machine, &list);
      any = draw(evidence, datasets[d], machine, ++number, &list) || any;
    }
  return any;
}

void tr_figures_speed(tr_evidence *evidence) {
  if (!draw_each(evidence, draw_speed))
    tr_report_figure(evidence->report, &(tr_figure){.id = "speed",
                                                    .title = "Image AUROC against time",
                                                    .causes = TR_CAUSE_NOT_RUN,
                                                    .reason = "Not run: needs two settings on the same data and machine",
                                                    .command = tr_command_of(evidence, "table5")});
}

/* ---- searches of one bank ---- */

static const tr_metric recall_at_1 = {"Recall@1", "", offsetof(tr_result, recall_at_1), TR_UNIT_PERCENT};
static const tr_metric search_seconds = {"Search seconds per image", "", offsetof(tr_result, seconds.search_per_image),
                                         TR_UNIT_SECONDS};

static bool was_timed(const contender *c) {
  const tr_result *run = c->selection.groups[0]->runs[0];
  return strcmp(run->method, "patchcore") == 0 && run->seconds.search_per_image > 0 && run->percent >= 1 &&
         (tr_is_exact(run) || isfinite(run->recall_at_1));
}

static const char *bank_of(tr_evidence *evidence, const contender *c) {
  const char *text = tr_stem_of_bank(evidence->report, c->selection.groups[0]->stem);
  return text ? text : "";
}

/* Of an image: bank rows are a percentage of the training images' patches. */
static double patches_of(const tr_result *run) {
  return round(100 * (double)run->bank_rows / run->percent / (double)run->train_images);
}

static tr_point search_point(tr_evidence *evidence, const contender *c) {
  const tr_result *run = c->selection.groups[0]->runs[0];
  tr_statistic recall = tr_selection_statistic(&c->selection, &recall_at_1);
  tr_point point = {.x = tr_is_exact(run) ? 100 : recall.mean,
                    .y = patches_of(run) / 1000 / tr_selection_statistic(&c->selection, &search_seconds).mean,
                    .seeds = 1};
  int effort = run->nprobe ? run->nprobe : run->ef_search;
  if (effort)
    point.mark = tr_report_text(evidence->report, "%d", effort);
  return point;
}

static int compare_points(const void *a, const void *b) {
  const tr_point *x = a, *y = b;
  int order = (x->x > y->x) - (x->x < y->x);
  return order ? order : (x->y > y->y) - (x->y < y->y);
}

/* The ways that one family of searches was used, by rising recall. */
static void add_search(tr_evidence *evidence, const contenders *list, const char *family, int colour) {
  enum { MAX_EFFORTS = 32 };
  tr_point points[MAX_EFFORTS] = {{0}};
  size_t count = 0;
  for (size_t i = 0; i < list->count && count < MAX_EFFORTS; ++i)
    if (strcmp(list->items[i].family, family) == 0)
      points[count++] = search_point(evidence, &list->items[i]);
  qsort(points, count, sizeof *points, compare_points);
  const char *title = strcmp(family, EXACT_SEARCH) == 0 ? EXACT : family + strlen(BY_INDEX);
  tr_report_series(evidence->report, &(tr_series){.title = title, .line = true, .colour = colour});
  for (size_t i = 0; i < count; ++i)
    tr_report_point(evidence->report, &points[i]);
}

/* Of one bank. */
static bool draw_bank(tr_evidence *evidence, const char *dataset, const tr_result *machine, const char *id, const families *of,
                      contenders *list) {
  cut_to_common(evidence, list);
  if (list->count < 2)
    return false;
  qsort(list->items, list->count, sizeof *list->items, compare_contenders);
  const tr_selection *first = &list->items[0].selection;
  const tr_result *run = first->groups[0]->runs[0];
  tr_figure figure = {.id = id,
                      .title = tr_figure_title(evidence, first, machine_title(evidence, machine)),
                      .x_title = "recall of the nearest bank row, %",
                      .y_title = "1,000 queries a second",
                      .x_nines = true,
                      .y_log = true,
                      .caption =
                          tr_report_text(evidence->report,
                                         "%s: `%s`, %zu rows of %d dimensions. Indexes are FAISS's; numbers beside points: lists "
                                         "looked at (`nprobe`) or candidates of the graph (`ef_search`). The axis is one "
                                         "of what is missed: 90, 99 and 99.9 %% are as far apart.",
                                         classes_title(evidence, dataset, first), bank_of(evidence, &list->items[0]),
                                         run->bank_rows, run->dimension)};
  tr_report_figure(evidence->report, &figure);
  for (size_t f = 0; f < of->count; ++f)
    if (of->names[f] && has_family(list, of->names[f]))
      add_search(evidence, list, of->names[f], (int)f);
  return true;
}

static bool draw_searches(tr_evidence *evidence, const char *dataset, const tr_result *machine, size_t number, contenders *list) {
  const families of = families_of(list);
  contenders bank = {tr_report_alloc(evidence->report, list->count, sizeof(contender)), 0};
  size_t drawn = 0;
  for (size_t i = 0; bank.items && i < list->count; ++i) {
    if (!was_timed(&list->items[i]) || !tr_is_exact(list->items[i].selection.groups[0]->runs[0]))
      continue;
    bank.count = 0;
    for (size_t j = 0; j < list->count; ++j)
      if (was_timed(&list->items[j]) && same_weights(&list->items[i], &list->items[j]) &&
          strcmp(bank_of(evidence, &list->items[j]), list->items[i].selection.groups[0]->stem) == 0)
        bank.items[bank.count++] = list->items[j];
    const char *id = tr_report_text(evidence->report, "search_%s_%zu_%zu", dataset, number, drawn + 1);
    drawn += draw_bank(evidence, dataset, machine, id, &of, &bank);
  }
  return drawn;
}

void tr_figures_search(tr_evidence *evidence) {
  if (!draw_each(evidence, draw_searches))
    tr_report_figure(evidence->report, &(tr_figure){.id = "search",
                                                    .title = "Recall against queries a second",
                                                    .causes = TR_CAUSE_NOT_RUN,
                                                    .reason = "Not run: needs a bank searched exactly and by an index",
                                                    .command = tr_command_of(evidence, "ann")});
}
