/* Result lines: read, grouped over seeds, and found by settings. */
#include "host/report/runs.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/harness/replace.h"
#include "host/search/search.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const tr_metric tr_metric_image_auroc = {"Image AUROC", "image_AUROC", offsetof(tr_result, image_auroc), TR_UNIT_PERCENT};
const tr_metric tr_metric_pixel_auroc = {"Pixel AUROC", "pixel_AUROC", offsetof(tr_result, pixel_auroc), TR_UNIT_PERCENT};
const tr_metric tr_metric_pro = {"PRO", "PRO", offsetof(tr_result, pro), TR_UNIT_PERCENT};
const tr_metric tr_metric_misclassified = {"Misclassified images", "misclassified_images_at_F1_optimal_threshold",
                                           offsetof(tr_result, misclassified), TR_UNIT_COUNT};
const tr_metric tr_metric_false_positives = {"False positives", "false_positives_at_F1_optimal_threshold",
                                             offsetof(tr_result, false_positives), TR_UNIT_COUNT};
const tr_metric tr_metric_false_negatives = {"False negatives", "false_negatives_at_F1_optimal_threshold",
                                             offsetof(tr_result, false_negatives), TR_UNIT_COUNT};
const tr_metric tr_metric_pixel_auroc_anomalous = {"Pixel AUROC, anomalous images", "pixel_AUROC_anomalous_images_only",
                                                   offsetof(tr_result, pixel_auroc_anomalous), TR_UNIT_PERCENT};
const tr_metric tr_metric_pro_anomalous = {"PRO per anomalous image", "PRO_per_image_mean_anomalous_images",
                                           offsetof(tr_result, pro_anomalous_224), TR_UNIT_PERCENT};
const tr_metric tr_metric_recall_at_1 = {"Recall@1", "recall_at_1", offsetof(tr_result, recall_at_1), TR_UNIT_FRACTION};
const tr_metric tr_metric_distance_error = {"Distance error", "distance_error", offsetof(tr_result, distance_error),
                                            TR_UNIT_FRACTION};
const tr_metric tr_metric_search_seconds = {"Search, s/image", "search_time_per_image",
                                            offsetof(tr_result, seconds.search_per_image), TR_UNIT_SECONDS};
const tr_metric tr_metric_index_seconds = {"Building, s", "index_time", offsetof(tr_result, seconds.index), TR_UNIT_SECONDS};
const tr_metric tr_metric_seconds = {"Seconds per image", "inference_time_per_image",
                                     offsetof(tr_result, seconds.score_per_image), TR_UNIT_SECONDS};

double tr_metric_of(const tr_metric *metric, const tr_result *result) {
  double value;
  memcpy(&value, (const char *)result + metric->offset, sizeof value);
  return metric->unit == TR_UNIT_PERCENT ? 100 * value : value;
}

/* ---- reading ---- */

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), tail = strlen(end);
  return length > tail && strcmp(text + length - tail, end) == 0;
}

static tr_status read_machine(const char *folder, tr_progress *progress, tr_results *out) {
  tr_strings names = {0};
  TR_TRY(tr_folder_list(folder, &names));
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < names.count; ++i) {
    if (!ends_with(names.items[i], ".jsonl") || strcmp(names.items[i], TR_BENCH_NAME ".jsonl") == 0)
      continue;
    char *path = tr_format("%s/%s", folder, names.items[i]);
    status = path ? tr_results_read(path, progress, out) : tr_fail(TR_ENOMEM, "reading results: out of memory");
    free(path);
  }
  tr_strings_free(&names);
  return status;
}

tr_status tr_machines_list(const char *results, tr_strings *out) {
  tr_strings names = {0};
  TR_TRY(tr_folder_list(results, &names));
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < names.count; ++i) {
    char *folder = tr_format("%s/%s", results, names.items[i]);
    if (!folder)
      status = tr_fail(TR_ENOMEM, "reading results: out of memory");
    else if (strcmp(names.items[i], "published") != 0 && tr_is_folder(folder))
      status = tr_strings_add(out, names.items[i]);
    free(folder);
  }
  tr_strings_free(&names);
  return status;
}

static tr_status read_machines(const char *results, const tr_strings *machines, tr_progress *progress, tr_results *out) {
  for (size_t i = 0; i < machines->count; ++i) {
    char *folder = tr_format("%s/%s", results, machines->items[i]);
    tr_status status = folder ? read_machine(folder, progress, out) : tr_fail(TR_ENOMEM, "reading results: out of memory");
    free(folder);
    TR_TRY(status);
  }
  return TR_OK;
}

/* ---- grouping ---- */

typedef struct entry {
  tr_result *result;
  const char *stem;
} entry;

/* The run's name without "_S<seed>"; malloc'd. */
static char *stem_of(const char *run, uint64_t seed) {
  char mark[32];
  int length = snprintf(mark, sizeof mark, "_S%llu", (unsigned long long)seed);
  for (const char *at = strstr(run, mark); at; at = strstr(at + 1, mark))
    if (at[length] == '\0' || at[length] == '_')
      return tr_format("%.*s%s", (int)(at - run), run, at + length);
  return strdup(run);
}

static int compare_sizes(size_t a, size_t b) { /* the larger first */
  return (a < b) - (a > b);
}

/* Everything that two runs of a group have in common. */
static int compare_groups(const entry *a, const entry *b) {
  const tr_result *x = a->result, *y = b->result;
  int order = strcmp(x->dataset, y->dataset);
  if (!order)
    order = strcmp(a->stem, b->stem);
  if (!order)
    order = strcmp(x->class_name, y->class_name);
  if (!order)
    order = strcmp(x->weights_sha256, y->weights_sha256);
  if (!order)
    order = compare_sizes(x->images, y->images);
  return order ? order : compare_sizes(x->train_images, y->train_images);
}

static int compare_entries(const void *a, const void *b) {
  const entry *x = a, *y = b;
  int order = compare_groups(x, y);
  if (!order)
    order = (x->result->seed > y->result->seed) - (x->result->seed < y->result->seed);
  return order ? order : strcmp(y->result->date ? y->result->date : "", x->result->date ? x->result->date : "");
}

static bool same_text(const char *a, const char *b) {
  return strcmp(a ? a : "", b ? b : "") == 0;
}

bool tr_same_machine(const tr_result *a, const tr_result *b) {
  return same_text(a->processor, b->processor) && same_text(a->device, b->device) && a->threads == b->threads;
}

bool tr_searched_on_host(const tr_result *run) {
  return run->searched_by && strcmp(run->searched_by, TR_SEARCH_BY_FAISS) == 0 && run->device && strcmp(run->device, "cpu") != 0;
}

/* Two lines of one run with the same numbers: their times are of the same work. */
static bool same_work(const tr_result *a, const tr_result *b) {
  return a == b || (tr_same_machine(a, b) && !tr_result_difference(a, b));
}

/* What else a machine does only adds. */
static bool less_disturbed(const tr_result *a, const tr_result *b) {
  return a->seconds.score_per_image > 0 && a->seconds.score_per_image < b->seconds.score_per_image;
}

static bool times_search(const tr_result *run) {
  return run->seconds.search_per_image > 0; /* lines of early versions do not have it */
}

/* Of lines of one run, the newest first, the least disturbed with the newest one's numbers. Where it lacks the seconds of the search, it
 * takes them from the least disturbed that has them. */
static const tr_result *line_of_run(const entry *entries, size_t count) {
  tr_result *best = entries[0].result;
  const tr_result *searched = NULL;
  for (size_t i = 0; i < count; ++i) {
    tr_result *line = entries[i].result;
    if (!same_work(line, entries[0].result))
      continue;
    if (less_disturbed(line, best))
      best = line;
    if (times_search(line) && (!searched || less_disturbed(line, searched)))
      searched = line;
  }
  if (searched && !times_search(best))
    best->seconds.search_per_image = searched->seconds.search_per_image;
  return best;
}

static void cut_groups(tr_runs *runs, const entry *entries) {
  const tr_result **kept = runs->kept;
  for (size_t i = 0, lines; i < runs->results.count; i += lines) {
    if (i == 0 || compare_groups(&entries[i - 1], &entries[i]) != 0)
      runs->groups[runs->group_count++] = (tr_group){.runs = kept, .stem = entries[i].stem};
    lines = 1;
    while (i + lines < runs->results.count && compare_groups(&entries[i], &entries[i + lines]) == 0 &&
           entries[i + lines].result->seed == entries[i].result->seed)
      ++lines;
    *kept++ = line_of_run(&entries[i], lines);
    ++runs->groups[runs->group_count - 1].count;
  }
}

static tr_status group_runs(tr_runs *runs) {
  size_t n = runs->results.count;
  entry *entries = calloc(n + 1, sizeof *entries);
  runs->kept = calloc(n + 1, sizeof *runs->kept);
  runs->groups = calloc(n + 1, sizeof *runs->groups);
  tr_status status = entries && runs->kept && runs->groups ? TR_OK : tr_fail(TR_ENOMEM, "grouping %zu results: out of memory", n);
  for (size_t i = 0; status == TR_OK && i < n; ++i) {
    tr_result *result = &runs->results.items[i];
    status = tr_strings_take(&runs->stems, stem_of(result->run, result->seed));
    if (status == TR_OK)
      entries[i] = (entry){result, runs->stems.items[i]};
  }
  if (status == TR_OK) {
    qsort(entries, n, sizeof *entries, compare_entries);
    cut_groups(runs, entries);
  }
  free(entries);
  return status;
}

tr_status tr_runs_read(const char *results, const tr_strings *machines, tr_progress *progress, tr_runs *out) {
  *out = (tr_runs){0};
  tr_status status = read_machines(results, machines, progress, &out->results);
  if (status == TR_OK)
    status = group_runs(out);
  if (status != TR_OK)
    tr_runs_free(out);
  return status;
}

void tr_runs_free(tr_runs *runs) {
  tr_results_free(&runs->results);
  tr_strings_free(&runs->stems);
  free(runs->kept);
  free(runs->groups);
  *runs = (tr_runs){0};
}

/* ---- statistics ---- */

/* A value of one seed; false where there is none. */
typedef bool seed_value(const void *of, const tr_metric *metric, size_t seed, double *out);

static tr_statistic statistic_over(seed_value *value_of, const void *of, const tr_metric *metric, size_t count) {
  tr_statistic s = {NAN, 0, 0};
  double value, sum = 0, squares = 0;
  for (size_t i = 0; i < count; ++i)
    if (value_of(of, metric, i, &value)) {
      sum += value;
      ++s.seeds;
    }
  if (!s.seeds)
    return s;
  s.mean = sum / (double)s.seeds;
  for (size_t i = 0; i < count; ++i)
    if (value_of(of, metric, i, &value))
      squares += (value - s.mean) * (value - s.mean);
  s.deviation = s.seeds > 1 ? sqrt(squares / (double)(s.seeds - 1)) : 0;
  return s;
}

static bool group_value(const void *of, const tr_metric *metric, size_t seed, double *out) {
  *out = tr_metric_of(metric, ((const tr_group *)of)->runs[seed]);
  return isfinite(*out);
}

tr_statistic tr_group_statistic(const tr_group *group, const tr_metric *metric) {
  return statistic_over(group_value, group, metric, group->count);
}

static const tr_result *run_of_seed(const tr_group *group, uint64_t seed) {
  for (size_t i = 0; i < group->count; ++i)
    if (group->runs[i]->seed == seed)
      return group->runs[i];
  return NULL;
}

static double over_classes(const tr_metric *metric, double sum, size_t classes) {
  return metric->unit == TR_UNIT_COUNT ? sum : sum / (double)classes;
}

/* Of one seed of the first class, over all classes. */
static bool selection_value(const void *of, const tr_metric *metric, size_t seed, double *out) {
  const tr_selection *selection = of;
  double sum = 0;
  for (size_t i = 0; i < selection->count; ++i) {
    const tr_result *run = run_of_seed(selection->groups[i], selection->groups[0]->runs[seed]->seed);
    sum += run ? tr_metric_of(metric, run) : NAN;
  }
  *out = over_classes(metric, sum, selection->count);
  return isfinite(*out);
}

tr_statistic tr_selection_statistic(const tr_selection *selection, const tr_metric *metric) {
  if (!selection->count)
    return (tr_statistic){NAN, 0, 0};
  tr_statistic s = statistic_over(selection_value, selection, metric, selection->groups[0]->count);
  if (s.seeds)
    return s;
  double sum = 0;
  for (size_t i = 0; i < selection->count; ++i)
    sum += tr_group_statistic(selection->groups[i], metric).mean;
  return (tr_statistic){over_classes(metric, sum, selection->count), 0, isfinite(sum)};
}

/* ---- finding ---- */

const char *const *tr_report_backbones(size_t *count) {
  static const char *const names[] = {
      "wide_resnet50_2",  "resnet50",    "resnet50_v1", "wide_resnet101_2", "resnet101",
      "resnext101_32x8d", "densenet201", "resnet34",    "resnet18",         "efficientnet_lite0",
  };
  *count = sizeof names / sizeof *names;
  return names;
}

bool tr_setting_on_backbone(const tr_setting *setting, const char *backbone, tr_setting *out) {
  *out = *setting;
  out->seed = 0;
  if (strcmp(backbone, setting->backbone) == 0)
    return true;
  if (setting->member_count || tr_setting_replace_backbone(out, backbone) != TR_OK)
    return false;
  if (strcmp(setting->method, "padim") == 0)
    out->dimension = 0; /* as many channels as go with the backbone's width */
  tr_setting_normalise(out);
  return true;
}

/* The first group of a data set and stem. */
static const tr_group *first_group(const tr_runs *runs, const char *dataset, const char *stem) {
  size_t low = 0, high = runs->group_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int order = strcmp(runs->groups[middle].runs[0]->dataset, dataset);
    if (!order)
      order = strcmp(runs->groups[middle].stem, stem);
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return &runs->groups[low];
}

size_t tr_runs_at(const tr_runs *runs, tr_report *report, size_t first, tr_selection *out) {
  const tr_group *groups = &runs->groups[first];
  size_t count = 1;
  while (first + count < runs->group_count && strcmp(groups[count].stem, groups->stem) == 0 &&
         strcmp(groups[count].runs[0]->dataset, groups->runs[0]->dataset) == 0)
    ++count;
  *out = (tr_selection){.groups = tr_report_alloc(report, count, sizeof(tr_group *))};
  for (size_t i = 0; out->groups && i < count; ++i)
    if (!i || strcmp(groups[i].runs[0]->class_name, groups[i - 1].runs[0]->class_name) != 0)
      out->groups[out->count++] = &groups[i];
  return count;
}

void tr_runs_of_stem(const tr_runs *runs, tr_report *report, const char *dataset, const char *stem, tr_selection *out) {
  const tr_group *first = first_group(runs, dataset, stem);
  bool found =
      first < runs->groups + runs->group_count && strcmp(first->stem, stem) == 0 && strcmp(first->runs[0]->dataset, dataset) == 0;
  *out = (tr_selection){0};
  if (found)
    tr_runs_at(runs, report, (size_t)(first - runs->groups), out);
}

bool tr_is_exact(const tr_result *run) {
  return !run->search || strcmp(run->search, TR_SEARCH_EXACT) == 0;
}

const char *tr_stem_of_bank(tr_report *report, const char *stem) {
  const char *mark = strstr(stem, "_faiss-");
  return mark ? tr_report_text(report, "%.*s%s", (int)(mark - stem), stem, mark + 1 + strcspn(mark + 1, "_")) : stem;
}

/* Of consecutive groups of one class (largest sets of images first) the first with these weights; classes[] grows. */
static void take_classes(const tr_runs *runs, const tr_group *at, const char *class_name, const char *weights,
                         tr_selection *out) {
  const tr_group *end = runs->groups + runs->group_count, *first = at;
  out->count = 0;
  for (; at < end && strcmp(at->stem, first->stem) == 0 && strcmp(at->runs[0]->dataset, first->runs[0]->dataset) == 0; ++at) {
    const tr_result *run = at->runs[0];
    bool wanted = strcmp(run->weights_sha256, weights) == 0 && (!class_name || strcmp(run->class_name, class_name) == 0);
    bool taken = out->count && strcmp(out->groups[out->count - 1]->runs[0]->class_name, run->class_name) == 0;
    if (wanted && !taken)
      out->groups[out->count++] = at;
  }
}

/* Of the weights that the backbone was run with, those of most classes. */
static tr_status select_backbone(const tr_runs *runs, tr_report *report, const tr_setting *setting, const char *class_name,
                                 tr_selection *out) {
  char *name = tr_setting_run_name(setting), *stem = name ? stem_of(name, setting->seed) : NULL;
  free(name);
  if (!stem)
    return tr_fail(TR_ENOMEM, "looking results up: out of memory");
  const tr_group *end = runs->groups + runs->group_count, *first = first_group(runs, setting->dataset, stem);
  size_t available = 0;
  for (const tr_group *g = first; g < end && strcmp(g->stem, stem) == 0 && strcmp(g->runs[0]->dataset, setting->dataset) == 0;
       ++g)
    ++available;
  free(stem);
  *out = (tr_selection){0};
  for (const tr_group *g = first; g < first + available; ++g) {
    if (out->count && strcmp(g->runs[0]->weights_sha256, out->groups[0]->runs[0]->weights_sha256) == 0)
      continue;
    tr_selection some = {.groups = tr_report_alloc(report, available, sizeof(tr_group *))};
    if (!some.groups)
      return tr_report_status(report);
    take_classes(runs, first, class_name, g->runs[0]->weights_sha256, &some);
    if (some.count > out->count)
      *out = some;
  }
  return TR_OK;
}

tr_status tr_runs_select(const tr_runs *runs, tr_report *report, const tr_setting *wanted, const char *class_name,
                         tr_substitutes substitutes, tr_selection *out) {
  TR_TRY(select_backbone(runs, report, wanted, class_name, out));
  size_t count;
  const char *const *backbones = tr_report_backbones(&count);
  for (size_t i = 0; i < count && substitutes != TR_SUBSTITUTE_NONE; ++i) {
    bool version = strcmp(backbones[i], "resnet50_v1") == 0 && strcmp(wanted->backbone, "resnet50") == 0;
    if (strcmp(backbones[i], wanted->backbone) == 0 || (substitutes == TR_SUBSTITUTE_VERSION && !version))
      continue;
    if (out->count && strcmp(out->groups[0]->runs[0]->backbone, wanted->backbone) == 0)
      break;
    tr_setting setting;
    tr_selection other;
    if (!tr_setting_on_backbone(wanted, backbones[i], &setting))
      continue;
    TR_TRY(select_backbone(runs, report, &setting, class_name, &other));
    if (other.count > out->count)
      *out = other;
  }
  return TR_OK;
}

const tr_group *tr_runs_find(const tr_runs *runs, const tr_setting *setting, const char *class_name, size_t train, size_t test) {
  char *name = tr_setting_run_name(setting), *stem = name ? stem_of(name, setting->seed) : NULL;
  const tr_group *found = NULL;
  for (size_t i = 0; stem && !found && i < runs->group_count; ++i) {
    const tr_group *group = &runs->groups[i];
    const tr_result *run = group->runs[0];
    if (strcmp(group->stem, stem) == 0 && strcmp(run->dataset, setting->dataset) == 0 &&
        strcmp(run->class_name, class_name) == 0 && run->train_images == train && run->images == test)
      found = group;
  }
  free(name);
  free(stem);
  return found;
}
