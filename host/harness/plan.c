/* Planning: which runs there are, which are finished, and which share a pass and a model. */
#include "host/harness/plan.h"
#include "host/base/clock.h"
#include "host/base/status.h"
#include "host/harness/draw.h"
#include "host/harness/planner.h"
#include <stdlib.h>
#include <string.h>

/* Of the memory that is free when a plan is made, what passes of several models may fill. */
#define JOINT_PART 0.8

tr_status tr_planner_no_memory(void) {
  return tr_fail(TR_ENOMEM, "planning a run: out of memory");
}

void *tr_planner_grown(void *items, size_t count, size_t item_bytes) {
  return count & (count - 1) ? items : realloc(items, (count ? 2 * count : 1) * item_bytes);
}

tr_status tr_planner_note_missing(tr_planner *p, tr_status status) {
  tr_strings *missing = &p->plan->missing;
  if (tr_strings_has(missing, tr_last_error()))
    return TR_OK;
  p->missing_status = missing->count ? p->missing_status : status;
  tr_progress_line(p->options->progress, "warning: %s", tr_last_error());
  return tr_strings_add(missing, tr_last_error());
}

/* ---- passes and groups as lists ---- */

void tr_group_release(tr_group *group) {
  for (size_t i = 0; i < group->run_count; ++i)
    free(group->runs[i].name);
  free(group->runs);
  *group = (tr_group){0};
}

void tr_pass_release(tr_pass *pass) {
  for (size_t i = 0; i < pass->group_count; ++i)
    tr_group_release(&pass->groups[i]);
  free(pass->groups);
  free(pass->refused);
  *pass = (tr_pass){0};
}

tr_status tr_pass_add_group(tr_pass *pass, tr_group *group) {
  tr_group *groups = tr_planner_grown(pass->groups, pass->group_count, sizeof *groups);
  if (!groups) {
    tr_group_release(group);
    return tr_planner_no_memory();
  }
  pass->groups = groups;
  groups[pass->group_count++] = *group;
  *group = (tr_group){0};
  return TR_OK;
}

/* The variant of an equal run, or a new one. */
static size_t variant_of(const tr_group *group, const char *name) {
  for (size_t i = 0; i < group->run_count; ++i)
    if (strcmp(group->runs[i].name, name) == 0)
      return group->runs[i].variant;
  return group->variant_count;
}

tr_status tr_group_add_run(tr_group *group, const tr_plan_run *run) {
  tr_plan_run *runs = tr_planner_grown(group->runs, group->run_count, sizeof *runs);
  if (!runs) {
    free(run->name);
    return tr_planner_no_memory();
  }
  group->runs = runs;
  size_t variant = variant_of(group, run->name);
  runs[group->run_count] = *run;
  runs[group->run_count++].variant = variant;
  group->variant_count += variant == group->variant_count;
  return TR_OK;
}

tr_status tr_group_move_run(tr_group *group, size_t i, tr_group *to) {
  tr_plan_run run = group->runs[i];
  group->runs[i].name = NULL;
  return tr_group_add_run(to, &run);
}

tr_pass tr_pass_like(const tr_pass *pass) {
  return (tr_pass){.class_ = pass->class_,
                   .weights = pass->weights,
                   .image = pass->image,
                   .tile = pass->tile,
                   .tiling = pass->tiling,
                   .link = pass->link};
}

size_t tr_pass_models(const tr_pass *pass) {
  return pass->tile.bank == TR_TILE_BANK_POSITION ? tr_tiling_count(&pass->tiling) : 1;
}

size_t tr_pass_units(const tr_pass *pass) {
  return tr_tiling_count(&pass->tiling) / tr_pass_models(pass);
}

tr_group tr_group_like(const tr_group *group) {
  return (tr_group){.train_images = group->train_images};
}

size_t tr_pass_runs(const tr_pass *pass) {
  size_t runs = 0;
  for (size_t i = 0; i < pass->group_count; ++i)
    runs += pass->groups[i].run_count;
  return runs;
}

/* ---- what is finished ---- */

static tr_run_key key_of(const tr_plan_class *class_, const char *sha256, const char *run) {
  return (tr_run_key){.run = run,
                      .dataset = class_->source->kind,
                      .class_name = class_->name,
                      .weights_sha256 = sha256,
                      .train_images = class_->train_images,
                      .images = class_->test_images};
}

static bool exists(char *path, bool (*is)(const char *)) {
  bool found = path && is(path);
  free(path);
  return found;
}

bool tr_plan_files_there(const tr_plan_options *options, const char *run, const char *class_name) {
  if (options->scores && !exists(tr_format("%s/%s_%s.csv", options->scores, run, class_name), tr_is_file))
    return false;
  return !options->maps || exists(tr_format("%s/%s/%s", options->maps, run, class_name), tr_is_folder);
}

/* ---- drafts: passes as if memory were endless ---- */

/* What is planned at the moment. */
typedef struct request {
  const tr_experiment *experiment;
  const tr_setting *setting;
  const tr_results *stored; /* of the experiment; NULL of a member */
  bool member, nominal;
  const tr_plan_class *class_;
} request;

static tr_status find_draft(tr_planner *p, const request *w, tr_pass **out) {
  const tr_plan_weights *weights;
  TR_TRY(tr_planner_weights(p, w->setting->backbone, &weights));
  for (size_t i = 0; i < p->draft_count; ++i) {
    tr_pass *draft = &p->drafts[i];
    if (draft->class_ == w->class_ && draft->weights == weights && tr_setting_same_image(&draft->image, &w->setting->image) &&
        tr_tile_spec_equal(&draft->tile, &w->setting->tile)) {
      *out = draft;
      return TR_OK;
    }
  }
  tr_pass *drafts = tr_planner_grown(p->drafts, p->draft_count, sizeof *drafts);
  if (!drafts)
    return tr_planner_no_memory();
  p->drafts = drafts;
  *out = &drafts[p->draft_count++];
  **out = (tr_pass){.class_ = w->class_, .weights = weights, .image = w->setting->image, .tile = w->setting->tile};
  return TR_OK;
}

static tr_status find_group(tr_pass *draft, const request *w, tr_group **out) {
  for (size_t i = 0; i < draft->group_count; ++i)
    if (tr_setting_shares_features(draft->groups[i].runs[0].setting, w->setting)) {
      *out = &draft->groups[i];
      return TR_OK;
    }
  TR_TRY(tr_pass_add_group(draft, &(tr_group){.train_images = tr_draw_count(w->setting, w->class_->train_images)}));
  *out = &draft->groups[draft->group_count - 1];
  return TR_OK;
}

static tr_status name_run(const tr_planner *p, const request *w, const char *sha256, tr_plan_run *out) {
  *out = (tr_plan_run){.experiment = w->experiment, .setting = w->setting, .name = tr_setting_run_name(w->setting)};
  if (!out->name)
    return tr_planner_no_memory();
  if (!w->stored || !sha256)
    return TR_OK;
  const tr_run_key key = key_of(w->class_, sha256, out->name);
  const tr_result *line = tr_results_find(w->stored, &key);
  out->in_store = line != NULL;
  if (!line)
    line = tr_planner_find_line(p, &key);
  out->finished = line && tr_plan_files_there(p->options, out->name, w->class_->name) ? line : NULL;
  out->elsewhere = out->finished && !out->in_store;
  return TR_OK;
}

/* *number: of the draft. */
static tr_status add_run(tr_planner *p, const request *w, size_t *number) {
  tr_pass *draft = NULL;
  tr_group *group = NULL;
  TR_TRY(find_draft(p, w, &draft));
  TR_TRY(find_group(draft, w, &group));
  tr_plan_run run;
  TR_TRY(name_run(p, w, draft->weights->sha256, &run));
  run.member = w->member;
  run.nominal = w->nominal;
  *number = (size_t)(draft - p->drafts);
  return tr_group_add_run(group, &run);
}

/* The members become runs of drafts, if only for the ensemble. */
static tr_status add_ensemble(tr_planner *p, const request *w) {
  const tr_setting *s = w->setting;
  size_t drafts[TR_MAX_MEMBERS] = {0};
  char *sha256;
  tr_plan_run run;
  TR_TRY(tr_planner_join_sha256(p, s, &sha256));
  tr_status status = name_run(p, w, sha256, &run);
  free(sha256);
  TR_TRY(status);
  request member = {.class_ = w->class_, .member = !run.finished, .nominal = s->normalise == TR_NORMALISE_NOMINAL};
  for (int i = 0; status == TR_OK && i < s->member_count; ++i) {
    member.setting = &s->members[i];
    status = add_run(p, &member, &drafts[i]);
  }
  if (status != TR_OK) {
    free(run.name);
    return status;
  }
  return tr_planner_add_ensemble(p, w->class_, &run, drafts);
}

static bool is_wanted(const tr_strings *list, const char *name) {
  return !list || !list->count || tr_strings_has(list, name);
}

static tr_status add_setting(tr_planner *p, const tr_experiment *e, const tr_setting *setting, const tr_results *stored) {
  const tr_plan_source *source;
  TR_TRY(tr_planner_source(p, setting, &source));
  const tr_strings *names = tr_plan_source_classes(source);
  for (size_t i = 0; names && i < names->count; ++i) {
    if (!is_wanted(&e->classes, names->items[i]) || !is_wanted(p->options->classes, names->items[i]))
      continue;
    request w = {.experiment = e, .setting = setting, .stored = stored};
    TR_TRY(tr_planner_class(p, source, names->items[i], &w.class_));
    size_t draft;
    TR_TRY(setting->member_count ? add_ensemble(p, &w) : add_run(p, &w, &draft));
  }
  return TR_OK;
}

static tr_status add_experiment(tr_planner *p, const tr_experiment *e, tr_results *stored) {
  char *file = tr_store_file(p->options->results, p->options->machine, e->name);
  tr_status status = file ? tr_results_read(file, p->options->progress, stored) : tr_planner_no_memory();
  free(file);
  for (size_t i = 0; status == TR_OK && i < e->setting_count; ++i)
    status = add_setting(p, e, &e->settings[i], stored);
  return status;
}

/* ---- from drafts to the plan ---- */

/* A draft's place: its class, the first draft of its class and image size, itself. */
typedef struct placed_draft {
  size_t place[3];
  tr_pass draft;
} placed_draft;

static int compare_places(const void *a, const void *b) {
  const placed_draft *x = a, *y = b;
  for (int i = 0; i < 3; ++i)
    if (x->place[i] != y->place[i])
      return x->place[i] < y->place[i] ? -1 : 1;
  return 0;
}

static void find_place(const tr_planner *p, size_t index, placed_draft *out) {
  const tr_pass *draft = &p->drafts[index];
  *out = (placed_draft){.place = {0, 0, index}, .draft = *draft};
  while (p->plan->classes[out->place[0]] != draft->class_)
    ++out->place[0];
  while (p->drafts[out->place[1]].class_ != draft->class_ ||
         !tr_setting_same_image(&p->drafts[out->place[1]].image, &draft->image))
    ++out->place[1];
}

/* Drafts of a class together, and of those the ones of an image size. */
static tr_status order_drafts(tr_planner *p) {
  placed_draft *placed = malloc((p->draft_count + 1) * sizeof *placed);
  if (!placed)
    return tr_planner_no_memory();
  for (size_t i = 0; i < p->draft_count; ++i)
    find_place(p, i, &placed[i]);
  qsort(placed, p->draft_count, sizeof *placed, compare_places);
  for (size_t i = 0; i < p->draft_count; ++i)
    p->drafts[i] = placed[i].draft;
  free(placed);
  return TR_OK;
}

/* Counts a group's runs and takes the finished ones out. */
static tr_status drop_finished(tr_planner *p, tr_group *group) {
  size_t kept = 0, count = group->run_count;
  tr_status status = TR_OK;
  for (size_t i = 0; i < count; ++i) {
    tr_plan_run *run = &group->runs[i];
    bool asked_for = run->experiment != NULL;
    p->plan->runs += asked_for;
    if (asked_for ? !run->finished : run->member) {
      group->runs[kept++] = *run;
      continue;
    }
    if (asked_for && status == TR_OK)
      status = tr_planner_note_finished(p, run);
    free(run->name);
  }
  group->run_count = kept;
  return status;
}

/* Variants are numbered anew, as some are gone. */
static void number_variants(tr_group *group) {
  size_t count = group->run_count;
  group->run_count = group->variant_count = 0;
  for (size_t i = 0; i < count; ++i) {
    size_t variant = variant_of(group, group->runs[i].name);
    group->runs[i].variant = variant;
    group->variant_count += variant == group->variant_count;
    ++group->run_count;
  }
}

static tr_status drop_finished_of_draft(tr_planner *p, tr_pass *draft) {
  size_t kept = 0, count = draft->group_count;
  tr_status status = TR_OK;
  for (size_t i = 0; i < count; ++i) {
    tr_group *group = &draft->groups[i];
    if (status == TR_OK)
      status = drop_finished(p, group);
    number_variants(group);
    if (group->run_count)
      draft->groups[kept++] = *group;
    else
      tr_group_release(group);
  }
  draft->group_count = kept;
  return status;
}

static tr_status place_drafts(tr_planner *p) {
  for (size_t i = 0; i < p->draft_count; ++i) {
    TR_TRY(drop_finished_of_draft(p, &p->drafts[i]));
    if (p->drafts[i].group_count)
      TR_TRY(tr_planner_place(p, &p->drafts[i]));
  }
  return TR_OK;
}

/* ---- the whole ---- */

static bool has_class(const tr_plan *plan, const char *name) {
  for (size_t i = 0; i < plan->source_count; ++i) {
    const tr_strings *names = tr_plan_source_classes(plan->sources[i]);
    if (names && tr_strings_has(names, name))
      return true;
  }
  return false;
}

/* A class that is asked for must be in one of the data sets, if all are at hand. */
static tr_status check_class_names(const tr_strings *wanted, const tr_plan *plan) {
  for (size_t i = 0; wanted && i < wanted->count; ++i) {
    if (has_class(plan, wanted->items[i]))
      continue;
    const char *nearest = NULL, *folder = "the run";
    size_t at_hand = 0;
    for (size_t j = 0; j < plan->source_count; ++j) {
      const tr_strings *known = tr_plan_source_classes(plan->sources[j]);
      at_hand += known != NULL;
      if (known && !nearest)
        nearest = tr_nearest_name(wanted->items[i], (const char *const *)known->items, known->count);
      if (plan->sources[j]->dataset)
        folder = tr_dataset_folder(plan->sources[j]->dataset);
    }
    if (at_hand < plan->source_count)
      continue;
    return tr_fail(TR_EINVAL,
                   plan->source_count == 1 ? "%s has no class `%s`%s%s%s"
                                           : "neither %s nor another data set has a class `%s`%s%s%s",
                   folder, wanted->items[i], nearest ? "; did you mean `" : "", nearest ? nearest : "", nearest ? "`?" : "");
  }
  return TR_OK;
}

static tr_status check_names(const tr_planner *p, const tr_experiments *experiments) {
  for (size_t i = 0; i < experiments->count; ++i)
    TR_TRY(check_class_names(&experiments->items[i].classes, p->plan));
  return check_class_names(p->options->classes, p->plan);
}

/* Whether anything can be done. */
static tr_status check_use(const tr_planner *p) {
  bool of_use = !p->plan->missing.count || p->options->forecast_only || p->plan->finished_runs;
  for (size_t i = 0; i < p->plan->pass_count; ++i)
    of_use = of_use || !p->plan->passes[i].refused;
  return of_use ? TR_OK : tr_fail(p->missing_status, "%s", p->plan->missing.items[0]);
}

static tr_status make_plan(tr_planner *p, const tr_experiments *experiments, tr_results *stored) {
  TR_TRY(tr_planner_read_lines(p));
  for (size_t i = 0; i < experiments->count; ++i)
    TR_TRY(add_experiment(p, &experiments->items[i], &stored[i]));
  TR_TRY(check_names(p, experiments));
  TR_TRY(order_drafts(p));
  TR_TRY(tr_planner_take_shard(p));
  TR_TRY(tr_planner_take_ensembles(p));
  TR_TRY(place_drafts(p));
  TR_TRY(tr_planner_keep(p));
  TR_TRY(tr_planner_check_ensembles(p));
  return check_use(p);
}

static void find_limits(tr_planner *p) {
  p->limit_bytes = p->joint_limit_bytes = p->options->memory_limit;
  if (!p->limit_bytes)
    p->joint_limit_bytes = p->plan->base_bytes + (size_t)(JOINT_PART * (double)tr_memory_free_bytes());
}

tr_status tr_plan_create(const tr_plan_options *options, tr_device *device, const tr_experiments *experiments, tr_plan **out) {
  *out = NULL;
  if (options->shards < 1 || options->shard < 1 || options->shard > options->shards)
    return tr_fail(TR_EINVAL, "shard %d of %d: expected a number from 1 to the number of shards", options->shard,
                   options->shards);
  tr_plan *plan = calloc(1, sizeof *plan);
  tr_results *stored = calloc(experiments->count + 1, sizeof *stored);
  tr_status status = plan && stored ? TR_OK : tr_planner_no_memory();
  if (status == TR_OK) {
    plan->base_bytes = tr_memory_now_bytes();
    tr_planner p = {.options = options, .device = device, .plan = plan};
    find_limits(&p);
    status = make_plan(&p, experiments, stored);
    for (size_t i = 0; i < p.draft_count; ++i)
      tr_pass_release(&p.drafts[i]);
    free(p.drafts);
    tr_profile_free(&p.profile);
    tr_results_free(&p.lines);
    for (size_t i = 0; i < p.ensemble_count; ++i)
      tr_plan_ensemble_release(&p.ensembles[i]);
    free(p.ensembles);
  }
  for (size_t i = 0; stored && i < experiments->count; ++i)
    tr_results_free(&stored[i]);
  free(stored);
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
  for (size_t i = 0; i < plan->pass_count; ++i)
    tr_pass_release(&plan->passes[i]);
  for (size_t i = 0; i < plan->ensemble_count; ++i)
    tr_plan_ensemble_release(&plan->ensembles[i]);
  free(plan->ensembles);
  for (size_t i = 0; i < plan->source_count; ++i) {
    tr_dataset_close(plan->sources[i]->dataset);
    tr_strings_free(&plan->sources[i]->outlined);
    free(plan->sources[i]);
  }
  for (size_t i = 0; i < plan->weights_count; ++i) {
    free(plan->weights[i]->file);
    free(plan->weights[i]->sha256);
    free(plan->weights[i]->missing);
    free(plan->weights[i]);
  }
  for (size_t i = 0; i < plan->class_count; ++i) {
    free(plan->classes[i]->first_image);
    free(plan->classes[i]->error);
    free(plan->classes[i]);
  }
  for (size_t i = 0; i < plan->network_count; ++i)
    free(plan->networks[i]);
  tr_strings_free(&plan->missing);
  tr_results_free(&plan->finished);
  tr_results_free(&plan->copies);
  free(plan->passes);
  free(plan->sources);
  free(plan->weights);
  free(plan->classes);
  free(plan->networks);
  free(plan);
}
