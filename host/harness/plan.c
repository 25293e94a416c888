/* Planning: which runs there are, which are finished, which share their features, and which fit into memory. */
#include "host/harness/plan.h"
#include "datasets/image.h"
#include "host/base/clock.h"
#include "host/base/status.h"
#include <stdlib.h>
#include <string.h>

typedef struct planner {
  const tr_plan_options *options;
  tr_device *device;
  tr_plan *plan;
  size_t next_group; /* numbers all groups, for the shards */
} planner;

static tr_status no_memory(void) {
  return tr_fail(TR_ENOMEM, "planning a run: out of memory");
}

/* The array with room for one more item; it grows by doubling, so it is full at powers of two only. NULL: no memory. */
static void *grown(void *items, size_t count, size_t item_bytes) {
  return count & (count - 1) ? items : realloc(items, (count ? 2 * count : 1) * item_bytes);
}

/* ---- data sets and classes ---- */

static bool same_text(const char *a, const char *b) {
  return a && b ? strcmp(a, b) == 0 : a == b;
}

static tr_status open_dataset(planner *p, const tr_setting *setting, tr_dataset **out) {
  tr_dataset_options options = {.kind = setting->dataset, .split_file = setting->split_file};
  options.root = p->options->data ? p->options->data : ".";
  tr_plan *plan = p->plan;
  tr_dataset **datasets = grown(plan->datasets, plan->dataset_count, sizeof(tr_dataset *));
  if (!datasets)
    return no_memory();
  plan->datasets = datasets;
  TR_TRY(tr_dataset_open(&options, out));
  plan->datasets[plan->dataset_count++] = *out;
  return TR_OK;
}

/* Sizes from the headers; a file that cannot be read shows when the class runs. Returns the pixels. */
static double measure_images(const tr_sample *samples, size_t count, tr_plan_class *out) {
  double pixels = 0;
  for (size_t i = 0; i < count; ++i) {
    int h, w;
    if (tr_image_size(samples[i].path, &h, &w) != TR_OK)
      continue;
    pixels += (double)h * w;
    if (!out->first_h) {
      out->first_h = h;
      out->first_w = w;
    }
    if ((int64_t)h * w > (int64_t)out->most_h * out->most_w) {
      out->most_h = h;
      out->most_w = w;
    }
  }
  return pixels;
}

static tr_status list_class(const tr_dataset *dataset, const char *name, tr_plan_class *out) {
  tr_class listed;
  TR_TRY(tr_dataset_class(dataset, name, &listed));
  out->train_images = listed.train_count;
  out->test_images = listed.test_count;
  for (size_t i = 0; i < listed.test_count; ++i)
    out->anomalous_images += listed.test[i].anomalous;
  out->first_image = strdup(listed.train_count ? listed.train[0].path : "");
  double pixels = measure_images(listed.train, listed.train_count, out) + measure_images(listed.test, listed.test_count, out);
  out->mean_pixels = pixels / (double)(listed.train_count + listed.test_count);
  tr_class_free(&listed);
  return out->first_image ? TR_OK : no_memory();
}

static tr_status get_class(planner *p, const tr_dataset *dataset, const char *name, const tr_plan_class **out) {
  tr_plan *plan = p->plan;
  for (size_t i = 0; i < plan->class_count; ++i)
    if (plan->classes[i]->dataset == dataset && strcmp(plan->classes[i]->name, name) == 0) {
      *out = plan->classes[i];
      return TR_OK;
    }
  tr_plan_class **classes = grown(plan->classes, plan->class_count, sizeof(tr_plan_class *));
  plan->classes = classes ? classes : plan->classes;
  tr_plan_class *class_ = calloc(1, sizeof *class_);
  if (!classes || !class_) {
    free(class_);
    return no_memory();
  }
  plan->classes[plan->class_count++] = class_;
  class_->dataset = dataset;
  class_->name = name;
  *out = class_;
  if (list_class(dataset, name, class_) != TR_OK && !(class_->error = strdup(tr_last_error())))
    return no_memory();
  return TR_OK;
}

/* ---- weights ---- */

static tr_status read_weights(const tr_plan_options *options, tr_plan_weights *out) {
  char *file;
  TR_TRY(tr_weights_locate(options->weights, out->backbone, &file));
  tr_weights *weights;
  tr_status status = tr_weights_open(file, &weights);
  if (status == TR_OK) {
    out->sha256 = strdup(tr_weights_sha256(weights));
    for (size_t i = 0; i < tr_weights_count(weights); ++i)
      out->bytes += tr_weights_at(weights, i)->bytes;
    tr_weights_close(weights);
    if (!out->sha256)
      status = tr_fail(TR_ENOMEM, "reading %s", file);
  }
  if (status == TR_OK)
    out->file = file;
  else
    free(file);
  return status;
}

static tr_status get_weights(planner *p, const char *backbone, const tr_plan_weights **out) {
  tr_plan *plan = p->plan;
  for (size_t i = 0; i < plan->weights_count; ++i)
    if (strcmp(plan->weights[i]->backbone, backbone) == 0) {
      *out = plan->weights[i];
      return TR_OK;
    }
  tr_plan_weights **list = grown(plan->weights, plan->weights_count, sizeof(tr_plan_weights *));
  plan->weights = list ? list : plan->weights;
  tr_plan_weights *weights = calloc(1, sizeof *weights);
  if (!list || !weights) {
    free(weights);
    return no_memory();
  }
  plan->weights[plan->weights_count++] = weights;
  weights->backbone = backbone;
  *out = weights;
  tr_status status = read_weights(p->options, weights);
  if (status == TR_OK || !p->options->weights_optional)
    return status;
  tr_progress_line(p->options->progress, "warning: %s", tr_last_error());
  return TR_OK;
}

/* ---- what is finished ---- */

static const tr_result *find_result(const tr_results *stored, const tr_group *group, const char *run) {
  const tr_plan_class *class_ = group->class_;
  for (size_t i = stored->count; group->weights->sha256 && i-- > 0;) {
    const tr_result *r = &stored->items[i];
    if (strcmp(r->run, run) == 0 && strcmp(r->class_name, class_->name) == 0 &&
        strcmp(r->dataset, tr_dataset_kind(class_->dataset)) == 0 && strcmp(r->weights_sha256, group->weights->sha256) == 0 &&
        r->train_images == class_->train_images && r->images == class_->test_images)
      return r;
  }
  return NULL;
}

static bool exists(char *path, bool (*is)(const char *)) {
  bool found = path && is(path);
  free(path);
  return found;
}

/* The files that --scores and --maps ask for. */
static bool files_there(const tr_plan_options *options, const char *run, const char *class_name) {
  if (options->scores && !exists(tr_format("%s/%s_%s.csv", options->scores, run, class_name), tr_is_file))
    return false;
  return !options->maps || exists(tr_format("%s/%s/%s", options->maps, run, class_name), tr_is_folder);
}

/* Adds a run to the group, or to what is finished. */
static tr_status add_run(planner *p, tr_group *group, const tr_setting *setting, const tr_results *stored) {
  char *name = tr_setting_run_name(setting);
  if (!name)
    return no_memory();
  ++p->plan->runs;
  const tr_result *result = find_result(stored, group, name);
  if (result && files_there(p->options, name, group->class_->name)) {
    free(name);
    ++p->plan->finished_runs;
    return tr_results_add_copy(&p->plan->finished, result);
  }
  group->runs[group->run_count++] = (tr_plan_run){.setting = setting, .name = name, .in_store = result != NULL};
  return TR_OK;
}

/* ---- groups ---- */

static void release_group(tr_group *group) {
  for (size_t i = 0; i < group->run_count; ++i)
    free(group->runs[i].name);
  free(group->runs);
  free(group->refused);
}

static tr_status append_group(planner *p, tr_group *group) {
  tr_plan *plan = p->plan;
  tr_group *groups = grown(plan->groups, plan->group_count, sizeof *groups);
  if (!groups) {
    release_group(group);
    return no_memory();
  }
  plan->groups = groups;
  groups[plan->group_count++] = *group;
  return TR_OK;
}

/* Moves the runs from `first` on into a group of their own. */
static tr_status split_group(tr_group *group, size_t first, tr_group *rest) {
  *rest = *group;
  rest->run_count = group->run_count - first;
  rest->runs = calloc(rest->run_count, sizeof *rest->runs);
  if (!rest->runs)
    return no_memory();
  memcpy(rest->runs, group->runs + first, rest->run_count * sizeof *rest->runs);
  group->run_count = first;
  return TR_OK;
}

static tr_status judge_group(planner *p, tr_group *group) {
  if (group->class_->error)
    return tr_fail(TR_EIO, "%s", group->class_->error);
  TR_TRY(tr_group_forecast(group, p->device, p->plan->base_bytes));
  size_t limit = p->options->memory_limit;
  char need[32], given[32];
  if (limit && group->forecast.peak_bytes > limit)
    return tr_fail(TR_ENOMEM, "needs %s, more than the memory limit of %s",
                   tr_format_bytes(group->forecast.peak_bytes, need, sizeof need), tr_format_bytes(limit, given, sizeof given));
  return TR_OK;
}

static tr_status place_group(planner *p, tr_group *group);

static tr_status refuse_group(planner *p, tr_group *group) {
  group->refused = strdup(tr_last_error());
  return append_group(p, group);
}

static tr_status halve_group(planner *p, tr_group *group) {
  tr_group rest;
  tr_status status = split_group(group, group->run_count / 2, &rest);
  if (status != TR_OK) {
    release_group(group);
    return status;
  }
  status = place_group(p, group);
  if (status == TR_OK)
    return place_group(p, &rest);
  release_group(&rest);
  return status;
}

/* Takes the runs that cannot be on this class out, each as a refused group of its own; the others stay together. */
static tr_status sort_out_group(planner *p, tr_group *group) {
  size_t kept = 0, count = group->run_count;
  tr_status status = TR_OK;
  for (size_t i = 0; i < count; ++i) {
    tr_group single = *group;
    single.run_count = 1;
    single.runs = status == TR_OK ? malloc(sizeof *single.runs) : NULL;
    if (status == TR_OK && !single.runs)
      status = no_memory();
    if (single.runs)
      single.runs[0] = group->runs[i];
    if (single.runs && judge_group(p, &single) == TR_EINVAL) {
      status = refuse_group(p, &single);
      continue;
    }
    free(single.runs);
    group->runs[kept++] = group->runs[i];
  }
  group->run_count = kept;
  bool sorted = kept > 0 && kept < count; /* else there would be no end */
  if (status == TR_OK && sorted)
    return place_group(p, group);
  if (status == TR_OK && kept)
    return refuse_group(p, group);
  release_group(group);
  return status;
}

/* Takes the group over: appends it, in parts where it does not fit into memory, and without the runs that cannot be. */
static tr_status place_group(planner *p, tr_group *group) {
  tr_status status = judge_group(p, group);
  if (status == TR_OK)
    return append_group(p, group);
  bool divisible = group->run_count > 1 && !group->class_->error;
  if (divisible && status == TR_ENOMEM)
    return halve_group(p, group);
  if (divisible && status == TR_EINVAL)
    return sort_out_group(p, group);
  return refuse_group(p, group);
}

/* The group of all settings that share features with the first one, on one class. */
static tr_status make_group(planner *p, const tr_experiment *e, const size_t *leader, size_t first, const tr_plan_class *class_,
                            const tr_results *stored) {
  if (p->next_group++ % (size_t)p->options->shards != (size_t)p->options->shard - 1)
    return TR_OK;
  tr_group group = {.experiment = e, .class_ = class_};
  TR_TRY(get_weights(p, e->settings[first].backbone, &group.weights));
  group.runs = calloc(e->setting_count, sizeof *group.runs);
  if (!group.runs)
    return no_memory();
  tr_status status = TR_OK;
  for (size_t i = first; status == TR_OK && i < e->setting_count; ++i)
    if (leader[i] == first)
      status = add_run(p, &group, &e->settings[i], stored);
  if (status == TR_OK && group.run_count)
    return place_group(p, &group);
  release_group(&group);
  return status;
}

static tr_status plan_class_groups(planner *p, const tr_experiment *e, const size_t *leader, const tr_setting *of,
                                   const tr_plan_class *class_, const tr_results *stored) {
  for (size_t i = 0; i < e->setting_count; ++i) {
    const tr_setting *s = &e->settings[i];
    if (leader[i] == i && strcmp(s->dataset, of->dataset) == 0 && same_text(s->split_file, of->split_file))
      TR_TRY(make_group(p, e, leader, i, class_, stored));
  }
  return TR_OK;
}

static bool has_class(const tr_plan *plan, const char *name) {
  for (size_t i = 0; i < plan->dataset_count; ++i)
    if (tr_strings_has(tr_dataset_classes(plan->datasets[i]), name))
      return true;
  return false;
}

/* A class that is asked for must be in one of the data sets. */
static tr_status check_class_names(const tr_strings *wanted, const tr_plan *plan) {
  for (size_t i = 0; wanted && i < wanted->count; ++i) {
    if (has_class(plan, wanted->items[i]))
      continue;
    const char *nearest = NULL, *folder = "the run";
    for (size_t j = 0; !nearest && j < plan->dataset_count; ++j) {
      const tr_strings *known = tr_dataset_classes(plan->datasets[j]);
      nearest = tr_nearest_name(wanted->items[i], (const char *const *)known->items, known->count);
      folder = tr_dataset_folder(plan->datasets[j]);
    }
    return tr_fail(TR_EINVAL,
                   plan->dataset_count == 1 ? "%s has no class `%s`%s%s%s"
                                            : "neither %s nor another data set has a class `%s`%s%s%s",
                   folder, wanted->items[i], nearest ? "; did you mean `" : "", nearest ? nearest : "", nearest ? "`?" : "");
  }
  return TR_OK;
}

static bool is_wanted(const tr_strings *list, const char *name) {
  return !list || !list->count || tr_strings_has(list, name);
}

static tr_status plan_dataset(planner *p, const tr_experiment *e, const size_t *leader, const tr_setting *of,
                              const tr_results *stored) {
  tr_dataset *dataset;
  TR_TRY(open_dataset(p, of, &dataset));
  const tr_strings *names = tr_dataset_classes(dataset);
  for (size_t i = 0; i < names->count; ++i) {
    if (!is_wanted(&e->classes, names->items[i]) || !is_wanted(p->options->classes, names->items[i]))
      continue;
    const tr_plan_class *class_;
    TR_TRY(get_class(p, dataset, names->items[i], &class_));
    TR_TRY(plan_class_groups(p, e, leader, of, class_, stored));
  }
  return TR_OK;
}

/* leader[i]: the first setting that shares its features with setting i. */
static void find_leaders(const tr_experiment *e, size_t *leader) {
  for (size_t i = 0; i < e->setting_count; ++i) {
    leader[i] = i;
    for (size_t j = 0; j < i; ++j)
      if (leader[j] == j && tr_setting_shares_features(&e->settings[j], &e->settings[i])) {
        leader[i] = j;
        break;
      }
  }
}

static bool first_of_its_data(const tr_experiment *e, size_t i) {
  for (size_t j = 0; j < i; ++j)
    if (strcmp(e->settings[j].dataset, e->settings[i].dataset) == 0 &&
        same_text(e->settings[j].split_file, e->settings[i].split_file))
      return false;
  return true;
}

static tr_status plan_settings(planner *p, const tr_experiment *e, const tr_results *stored) {
  size_t *leader = calloc(e->setting_count, sizeof *leader);
  if (!leader)
    return no_memory();
  find_leaders(e, leader);
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < e->setting_count; ++i)
    if (first_of_its_data(e, i))
      status = plan_dataset(p, e, leader, &e->settings[i], stored);
  free(leader);
  return status;
}

static tr_status plan_experiment(planner *p, const tr_experiment *e) {
  tr_results stored = {0};
  char *file = tr_store_file(p->options->results, p->options->machine, e->name);
  tr_status status = file ? tr_results_read(file, p->options->progress, &stored) : no_memory();
  if (status == TR_OK)
    status = plan_settings(p, e, &stored);
  if (status == TR_OK)
    status = check_class_names(&e->classes, p->plan);
  tr_results_free(&stored);
  free(file);
  return status;
}

tr_status tr_plan_create(const tr_plan_options *options, tr_device *device, const tr_experiments *experiments, tr_plan **out) {
  *out = NULL;
  if (options->shards < 1 || options->shard < 1 || options->shard > options->shards)
    return tr_fail(TR_EINVAL, "shard %d of %d: expected a number from 1 to the number of shards", options->shard,
                   options->shards);
  tr_plan *plan = calloc(1, sizeof *plan);
  if (!plan)
    return no_memory();
  plan->base_bytes = tr_memory_now_bytes();
  planner p = {.options = options, .device = device, .plan = plan};
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < experiments->count; ++i)
    status = plan_experiment(&p, &experiments->items[i]);
  if (status == TR_OK)
    status = check_class_names(options->classes, plan);
  if (status != TR_OK) {
    tr_plan_destroy(plan);
    return status;
  }
  *out = plan;
  return TR_OK;
}

void tr_plan_destroy(tr_plan *plan) {
  if (!plan)
    return;
  for (size_t i = 0; i < plan->group_count; ++i)
    release_group(&plan->groups[i]);
  for (size_t i = 0; i < plan->dataset_count; ++i)
    tr_dataset_close(plan->datasets[i]);
  for (size_t i = 0; i < plan->weights_count; ++i) {
    free(plan->weights[i]->file);
    free(plan->weights[i]->sha256);
    free(plan->weights[i]);
  }
  for (size_t i = 0; i < plan->class_count; ++i) {
    free(plan->classes[i]->first_image);
    free(plan->classes[i]->error);
    free(plan->classes[i]);
  }
  tr_results_free(&plan->finished);
  free(plan->groups);
  free(plan->datasets);
  free(plan->weights);
  free(plan->classes);
  free(plan);
}
