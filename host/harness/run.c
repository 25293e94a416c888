/* Running a plan: each device has its passes, one after the other. */
#include "host/harness/run.h"
#include "host/base/clock.h"
#include "host/base/load.h"
#include "host/base/status.h"
#include "host/harness/outcome.h"
#include "host/harness/profile.h"
#include "host/harness/units.h"
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- progress with the class's name in front ---- */

typedef struct labelled {
  tr_progress progress;
  tr_progress *inner;
  char label[96];
} labelled;

static void labelled_update(tr_progress *self, const char *stage, size_t done, size_t total, const char *unit) {
  labelled *l = self->user;
  char text[160];
  snprintf(text, sizeof text, "%s: %s", l->label, stage);
  if (l->inner && l->inner->update)
    l->inner->update(l->inner, text, done, total, unit);
}

static void labelled_line(tr_progress *self, const char *text) {
  labelled *l = self->user;
  if (l->inner && l->inner->line)
    l->inner->line(l->inner, text);
}

/* ---- the runners ---- */

/* What the devices of a run share. */
typedef struct crew {
  const tr_plan *plan;
  const tr_plan_options *options;
  size_t device_count;
  const size_t *device_of; /* [pass_count] */
  bool *broken;            /* [pass_count]: files that cannot be used */
  bool *deferred;          /* [pass_count]: the first of a unit that another process works on */
  tr_results *results;
  bool measured;        /* this machine: there is a profile */
  tr_profile profile;   /* as busy as it was before the first pass */
  pthread_mutex_t lock; /* of results */
  atomic_bool stopped;  /* one of the devices met an error that ends the run */
} crew;

/* One device: its passes, in order. */
typedef struct runner {
  crew *crew;
  size_t index;
  tr_device *device;
  tr_stores stores;
  tr_pass_caches caches;
  const tr_pass *caches_of; /* the pass that they were made for */
  tr_kept_run *kept;        /* of the class at hand, for its ensembles */
  size_t kept_count;
  tr_class listed; /* of listed_of */
  const tr_plan_class *listed_of;
  tr_run_summary summary;
  tr_load began;   /* of the pass or the ensemble at hand */
  size_t variants; /* of the pass, that are evaluated by now */
  bool fatal;      /* the error at hand ends the run */
  tr_status status;
  char text[TR_ERROR_TEXT_BYTES]; /* of status */
} runner;

/* A result that cannot be written is told in full. */
static tr_status report_lost(runner *r, const tr_result *result, tr_status status) {
  r->fatal = true;
  char *json = NULL, *text = strdup(tr_last_error());
  if (tr_result_to_json(result, &json) == TR_OK)
    tr_progress_line(r->crew->options->progress, "this result could not be kept: %s", json);
  free(json);
  tr_error_set_text(text ? text : "writing a result");
  free(text);
  return status;
}

static tr_status keep_result(runner *r, const tr_plan_run *run, const tr_result *result) {
  crew *c = r->crew;
  tr_store *store;
  tr_status status = tr_stores_get(&r->stores, run->experiment, &store);
  if (status == TR_OK && !run->in_store)
    status = tr_store_append(store, result);
  if (status != TR_OK)
    return report_lost(r, result, status);
  ++r->summary.finished;
  pthread_mutex_lock(&c->lock);
  status = tr_results_add_copy(c->results, result);
  pthread_mutex_unlock(&c->lock);
  return status;
}

/* A line for each run of the variant that `first` is the first run of. */
static tr_status keep_equal_runs(runner *r, const tr_group *group, size_t first, tr_result *result) {
  for (size_t i = first; i < group->run_count; ++i) {
    const tr_plan_run *run = &group->runs[i];
    if (run->variant != group->runs[first].variant || !run->experiment)
      continue;
    TR_TRY(tr_outcome_rename(run, result));
    TR_TRY(keep_result(r, run, result));
  }
  return TR_OK;
}

/* The run that stands for its variant: the first whose line is asked for, or else the first. */
static bool stands_for_variant(const tr_group *group, size_t index) {
  const tr_plan_run *run = &group->runs[index];
  for (size_t i = 0; i < group->run_count; ++i) {
    const tr_plan_run *other = &group->runs[i];
    if (other->variant == run->variant &&
        (i < index ? other->experiment || !run->experiment : other->experiment && !run->experiment))
      return false;
  }
  return true;
}

static void report_result(tr_progress *progress, const tr_result *r, double seconds) {
  char metrics[96] = "";
  if (isfinite(r->pixel_auroc))
    snprintf(metrics, sizeof metrics, ", pixel AUROC %.4f, PRO %.4f", r->pixel_auroc, r->pro);
  tr_progress_line(progress, "%s %s: image AUROC %.4f%s (%.1f s)", r->class_name, r->run, r->image_auroc, metrics, seconds);
}

static bool is_member(const tr_group *group, size_t variant) {
  for (size_t i = 0; i < group->run_count; ++i)
    if (group->runs[i].variant == variant && group->runs[i].member)
      return true;
  return false;
}

static float *copy_floats(const float *from, size_t count) {
  float *copy = malloc(count * sizeof *copy + 1);
  if (copy)
    memcpy(copy, from, count * sizeof *copy);
  return copy;
}

/* Of a run that was evaluated: its image scores are final then. */
static tr_status keep_scores(runner *r, const tr_pass_work *w, size_t model, size_t run, const tr_result *result) {
  const tr_pass_model *m = &w->models[model];
  const tr_plan_run *of = &m->group->runs[run];
  size_t images = w->class_->test_count;
  tr_patch_scores scores = tr_pass_patch_scores(w, model, of->variant);
  tr_kept_run *kept = realloc(r->kept, (r->kept_count + 1) * sizeof *kept);
  if (!kept)
    return tr_fail(TR_ENOMEM, "keeping scores of %s: out of memory", of->name);
  r->kept = kept;
  kept += r->kept_count++;
  *kept = (tr_kept_run){.class_ = w->pass->class_,
                        .name = strdup(of->name),
                        .grid_h = scores.grid_h,
                        .grid_w = scores.grid_w,
                        .by_tile = scores.by_tile,
                        .sigma = of->setting->sigma,
                        .patch_scores = copy_floats(scores.values, images * w->tiles * m->grid),
                        .image_scores = copy_floats(m->image_scores + of->variant * images, images),
                        .nominal = m->nominal[of->variant],
                        .bank_rows = result->bank_rows,
                        .dimension = result->dimension,
                        .seconds = result->seconds};
  bool complete = kept->name && kept->patch_scores && kept->image_scores;
  return complete ? TR_OK : tr_fail(TR_ENOMEM, "keeping scores of %s: out of memory", of->name);
}

/* What is measured of a pass as a whole. The process's peak is every device's: with several of them nobody may begin it anew. */
static void begin_measuring(runner *r) {
  if (r->crew->device_count == 1) {
    malloc_trim(0);
    tr_memory_reset_peak();
  }
  tr_device_reset_peak(r->device);
  r->began = tr_load_now();
}

static void note_measured(const runner *r, tr_result *result) {
  tr_load now = tr_load_now();
  result->other_load = tr_load_of_others(&r->began, &now);
  result->peak_bytes = tr_memory_peak_bytes();
  result->device_peak_bytes = tr_device_peak_bytes(r->device);
}

static void note_seconds(runner *r, const tr_pass *pass, const tr_group *group, size_t run, tr_result *result) {
  ++r->variants;
  result->seconds.pass = tr_seconds() - r->began.clock;
  if (r->crew->measured)
    result->forecast = tr_profile_run(&r->crew->profile, r->crew->plan, pass, group, run, r->variants);
}

static tr_status evaluate_run(runner *r, const tr_pass_work *w, size_t model, size_t run, tr_evaluation *evaluation,
                              double start) {
  const tr_group *group = w->models[model].group;
  tr_result result;
  tr_status status = tr_outcome_evaluate(w, model, &group->runs[run], evaluation, r->crew->options, &result);
  if (status == TR_OK) {
    note_measured(r, &result);
    note_seconds(r, w->pass, group, run, &result);
    status = keep_equal_runs(r, group, run, &result);
  }
  if (status == TR_OK && is_member(group, group->runs[run].variant))
    status = keep_scores(r, w, model, run, &result);
  if (status == TR_OK && group->runs[run].experiment)
    report_result(r->crew->options->progress, &result, tr_seconds() - start);
  tr_result_free(&result);
  return status;
}

static tr_status evaluate_model(runner *r, const tr_pass_work *w, size_t model, tr_evaluation *evaluation, double start) {
  const tr_group *group = w->models[model].group;
  for (size_t i = 0; i < group->run_count; ++i)
    if (stands_for_variant(group, i)) {
      tr_progress_update(w->progress, "maps and metrics", i, group->run_count, "runs");
      TR_TRY(evaluate_run(r, w, model, i, evaluation, start));
    }
  return TR_OK;
}

static tr_status evaluate_pass(runner *r, const tr_pass_work *w, double start) {
  const tr_pass *pass = w->pass;
  tr_evaluation_options options = {
      .device = w->device, .class_ = w->class_, .image = pass->image, .tiling = pass->tiling, .progress = w->progress};
  for (size_t i = 0; i < pass->group_count; ++i)
    options.most_positions = w->models[i].grid > options.most_positions ? w->models[i].grid : options.most_positions;
  tr_evaluation *evaluation;
  TR_TRY(tr_evaluation_create(&options, &evaluation));
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < pass->group_count; ++i)
    status = evaluate_model(r, w, i, evaluation, start);
  tr_evaluation_destroy(evaluation);
  return status;
}

/* ---- passes ---- */

/* The list of the class at hand, which its passes share. */
static tr_status list_class(runner *r, const tr_plan_class *class_) {
  if (r->listed_of == class_)
    return TR_OK;
  tr_class_free(&r->listed);
  r->listed_of = NULL;
  TR_TRY(tr_dataset_class(class_->source->dataset, class_->name, &r->listed));
  r->listed_of = class_;
  if (r->listed.train_count != class_->train_images || r->listed.test_count != class_->test_images)
    return tr_fail(
        TR_EIO,
        "%s changed since the run was planned: %s had %zu training and %zu test images, now it has %zu and %zu; run the "
        "command again",
        tr_dataset_folder(class_->source->dataset), class_->name, class_->train_images, class_->test_images,
        r->listed.train_count, r->listed.test_count);
  return TR_OK;
}

static void drop_images(runner *r) {
  tr_cache_destroy(r->caches.images);
  r->caches.images = NULL;
}

static void drop_maps(runner *r) {
  tr_cache_destroy(r->caches.maps);
  r->caches.maps = NULL;
}

/* Makes a cache that the pass wants and that is not there. Without it the pass does without. */
static void make_cache(const runner *r, const tr_pass *pass, tr_cache_place place, size_t item_bytes, tr_cache **cache) {
  const char *folder = getenv("TMPDIR");
  if (place == TR_CACHE_NONE || *cache)
    return;
  size_t items = pass->class_->train_images + pass->class_->test_images;
  if (tr_cache_create(items, item_bytes, place == TR_CACHE_FILE ? (folder ? folder : "/tmp") : NULL, cache) != TR_OK)
    tr_progress_line(r->crew->options->progress, "warning: %s; it is computed again instead", tr_last_error());
}

static void prepare_caches(runner *r, const tr_pass *pass) {
  const tr_pass *of = r->caches_of;
  bool same_images = of && of->class_ == pass->class_ && tr_setting_same_image(&of->image, &pass->image);
  if (!same_images || !pass->image_cache)
    drop_images(r);
  if (!same_images || of->weights != pass->weights || !pass->map_cache)
    drop_maps(r);
  r->caches_of = pass;
  make_cache(r, pass, pass->image_cache, (size_t)pass->tiling.h * (size_t)pass->tiling.w * 3, &r->caches.images);
  make_cache(r, pass, pass->map_cache, pass->map_bytes, &r->caches.maps);
}

static void report_pass(runner *r, const tr_pass_work *w, double metrics_seconds) {
  const crew *c = r->crew;
  const tr_feed_seconds *all = &w->total_seconds, *test = &w->test_seconds;
  double scored = test->decode + test->backbone, fitted = all->decode + all->backbone - scored;
  tr_pass_seconds measured = {.decode = all->decode,
                              .backbone = all->backbone,
                              .fit = w->fit_seconds - fitted,
                              .score = w->score_seconds - scored,
                              .metrics = metrics_seconds,
                              .total = tr_seconds() - r->began.clock};
  if (!c->measured)
    return;
  tr_pass_seconds forecast = tr_profile_pass(&c->profile, c->plan, w->pass);
  r->summary.forecast_seconds += forecast.total;
  r->summary.pass_seconds += measured.total;
  tr_load now = tr_load_now();
  char text[TR_COMPARISON_BYTES];
  tr_progress_line(c->options->progress, "%s: %s", w->class_->name,
                   tr_profile_compare(&forecast, &measured, w->pass->forecast.peak_bytes, tr_memory_peak_bytes(),
                                      tr_load_of_others(&r->began, &now), text));
}

static tr_status execute_pass(runner *r, const tr_pass *pass, tr_progress *progress) {
  tr_pass_work work;
  begin_measuring(r);
  r->variants = 0;
  tr_status status = tr_pass_execute(pass, r->device, &r->listed, &r->caches, progress, &work);
  if (status == TR_OK) {
    malloc_trim(0); /* what models of a few megabytes leave in the heap is not handed back by itself */
    double start = tr_seconds();
    status = evaluate_pass(r, &work, r->began.clock);
    if (status == TR_OK)
      report_pass(r, &work, tr_seconds() - start);
  }
  tr_pass_work_release(&work);
  return status;
}

/* Models that turn out not to fit into memory together have a pass each. */
static tr_status execute_models(runner *r, const tr_pass *pass, tr_progress *progress) {
  for (size_t i = 0; i < pass->group_count; ++i) {
    tr_pass single = *pass;
    single.groups = &pass->groups[i];
    single.group_count = 1;
    TR_TRY(execute_pass(r, &single, progress));
  }
  return TR_OK;
}

static tr_status run_pass(runner *r, size_t index) {
  const crew *c = r->crew;
  const tr_pass *pass = &c->plan->passes[index];
  labelled label = {.progress = {.update = labelled_update, .line = labelled_line}, .inner = c->options->progress};
  label.progress.user = &label;
  snprintf(label.label, sizeof label.label, "[%zu/%zu] %s", index + 1, c->plan->pass_count, pass->class_->name);
  if (pass->refused)
    return tr_fail(TR_EINVAL, "%s", pass->refused);
  TR_TRY(list_class(r, pass->class_));
  prepare_caches(r, pass);
  size_t finished = r->summary.finished;
  tr_status status = execute_pass(r, pass, &label.progress);
  if (status == TR_ENOMEM && pass->group_count > 1 && r->summary.finished == finished)
    status = execute_models(r, pass, &label.progress);
  return status;
}

/* ---- ensembles ---- */

static const tr_kept_run *find_kept(const runner *r, const tr_plan_class *class_, const char *name) {
  for (size_t i = 0; i < r->kept_count; ++i)
    if (r->kept[i].class_ == class_ && strcmp(r->kept[i].name, name) == 0)
      return &r->kept[i];
  return NULL;
}

static void drop_kept(runner *r) {
  for (size_t i = 0; i < r->kept_count; ++i)
    tr_kept_run_release(&r->kept[i]);
  free(r->kept);
  r->kept = NULL;
  r->kept_count = 0;
}

static tr_status find_members(const runner *r, const tr_plan_ensemble *e, const tr_kept_run **members) {
  if (e->refused)
    return tr_fail(TR_EINVAL, "%s", e->refused);
  for (int i = 0; i < e->run.setting->member_count; ++i) {
    members[i] = find_kept(r, e->class_, e->members[i]);
    if (!members[i])
      return tr_fail(TR_EINVAL, "its member %s was not computed", e->members[i]);
  }
  return TR_OK;
}

static tr_status evaluate_ensemble(runner *r, const tr_plan_ensemble *e, const tr_kept_run *const *members,
                                   tr_evaluation *evaluation, tr_result *result) {
  TR_TRY(tr_outcome_evaluate_ensemble(e, members, r->device, &r->listed, evaluation, r->crew->options, result));
  note_measured(r, result);
  return keep_result(r, &e->run, result);
}

static tr_status run_ensemble(runner *r, const tr_plan_ensemble *e) {
  const tr_kept_run *members[TR_MAX_MEMBERS];
  double start = tr_seconds();
  TR_TRY(find_members(r, e, members));
  tr_evaluation_options options = {
      .device = r->device, .class_ = &r->listed, .image = e->image, .tiling = e->tiling, .progress = r->crew->options->progress};
  for (int i = 0; i < e->run.setting->member_count; ++i) {
    size_t positions = (size_t)members[i]->grid_h * (size_t)members[i]->grid_w;
    options.most_positions = positions > options.most_positions ? positions : options.most_positions;
  }
  begin_measuring(r);
  tr_evaluation *evaluation;
  tr_result result = {0};
  TR_TRY(tr_evaluation_create(&options, &evaluation));
  tr_status status = evaluate_ensemble(r, e, members, evaluation, &result);
  if (status == TR_OK)
    report_result(r->crew->options->progress, &result, tr_seconds() - start);
  tr_evaluation_destroy(evaluation);
  tr_result_free(&result);
  return status;
}

/* All ensembles of a class whose passes are done. */
static tr_status run_ensembles(runner *r, const tr_plan_class *class_) {
  const tr_plan *plan = r->crew->plan;
  for (size_t i = 0; i < plan->ensemble_count; ++i) {
    const tr_plan_ensemble *e = &plan->ensembles[i];
    tr_status status = e->class_ == class_ ? run_ensemble(r, e) : TR_OK;
    if (status == TR_ECANCELED || r->fatal)
      return status;
    if (status == TR_OK)
      continue;
    ++r->summary.failed;
    tr_progress_line(r->crew->options->progress, "error: %s, %s: %s", class_->name, e->run.name, tr_last_error());
  }
  drop_kept(r);
  return TR_OK;
}

/* Broken files stop their class: its other passes would only meet them again. A class is one device's. */
static bool class_is_broken(const crew *c, size_t index) {
  for (size_t i = 0; i < index; ++i)
    if (c->plan->passes[i].class_ == c->plan->passes[index].class_ && c->broken[i])
      return true;
  return false;
}

static void report_failure(const runner *r, const tr_pass *pass, bool class_stops) {
  tr_progress *progress = r->crew->options->progress;
  char error[TR_ERROR_TEXT_BYTES];
  snprintf(error, sizeof error, "%s", tr_last_error());
  size_t runs = tr_pass_runs(pass);
  if (class_stops)
    tr_progress_line(progress, "error: class %s stops: %s", pass->class_->name, error);
  else if (runs > 1)
    tr_progress_line(progress, "error: %s, %s and %zu more: %s", pass->class_->name, pass->groups[0].runs[0].name, runs - 1,
                     error);
  else
    tr_progress_line(progress, "error: %s, %s: %s", pass->class_->name, pass->groups[0].runs[0].name, error);
}

/* Runs of a pass whose lines are asked for. */
static size_t count_lines(const tr_pass *pass) {
  size_t lines = 0;
  for (size_t g = 0; g < pass->group_count; ++g)
    for (size_t i = 0; i < pass->groups[g].run_count; ++i)
      lines += pass->groups[g].runs[i].experiment != NULL;
  return lines;
}

/* A failure that ends the run, or TR_OK. */
static tr_status try_pass(runner *r, size_t index) {
  crew *c = r->crew;
  const tr_pass *pass = &c->plan->passes[index];
  size_t lines = count_lines(pass), finished = r->summary.finished;
  if (class_is_broken(c, index)) {
    r->summary.failed += lines;
    return TR_OK;
  }
  tr_status status = run_pass(r, index);
  if (status == TR_OK || status == TR_ECANCELED || r->fatal)
    return status;
  r->summary.failed += lines - (r->summary.finished - finished);
  c->broken[index] = status == TR_EIO || status == TR_EFORMAT;
  report_failure(r, pass, c->broken[index]);
  return TR_OK;
}

/* ---- units, which other processes on the same results may have ---- */

static tr_status run_unit(runner *r, size_t first) {
  const tr_plan *plan = r->crew->plan;
  for (size_t i = first; i < plan->pass_count && !atomic_load(&r->crew->stopped); ++i)
    if (tr_same_unit(plan, first, i))
      TR_TRY(try_pass(r, i));
  if (!plan->passes[first].link)
    return TR_OK;
  drop_images(r);
  drop_maps(r);
  return run_ensembles(r, plan->passes[first].class_);
}

/* What another process finished since the plan was made is taken as it is. */
static tr_status run_claimed(runner *r, size_t first) {
  crew *c = r->crew;
  bool finished;
  pthread_mutex_lock(&c->lock);
  size_t before = c->results->count;
  tr_status status = tr_unit_finished(&r->stores, c->plan, first, c->results, &finished);
  r->summary.elsewhere += c->results->count - before;
  pthread_mutex_unlock(&c->lock);
  return status != TR_OK || finished ? status : run_unit(r, first);
}

/* Runs the unit, or puts it off: nobody does what another one is at. */
static tr_status try_unit(runner *r, size_t first) {
  crew *c = r->crew;
  bool claimed;
  TR_TRY(tr_unit_claim(&r->stores, c->plan, first, &claimed));
  c->deferred[first] = !claimed;
  if (!claimed)
    return TR_OK;
  tr_status status = run_claimed(r, first);
  tr_unit_release(&r->stores, c->plan, first);
  return status;
}

/* The units that were put off, again and again, until others have finished them or left them to us. *left: how many there still are. */
static tr_status try_deferred(runner *r, size_t *left) {
  crew *c = r->crew;
  *left = 0;
  for (size_t i = 0; i < c->plan->pass_count && !atomic_load(&c->stopped); ++i) {
    if (!c->deferred[i] || c->device_of[i] != r->index)
      continue;
    TR_TRY(try_unit(r, i));
    *left += c->deferred[i];
  }
  return TR_OK;
}

static tr_status wait_for_others(runner *r) {
  size_t left, told = 0;
  drop_images(r);
  drop_maps(r);
  TR_TRY(try_deferred(r, &left));
  while (left && !atomic_load(&r->crew->stopped)) {
    if (told != left)
      tr_progress_line(r->crew->options->progress, "waiting for another process, which works on %zu of the passes", told = left);
    if (tr_cancel_requested())
      return tr_fail(TR_ECANCELED, "stopped");
    nanosleep(&(struct timespec){.tv_nsec = 200 * 1000 * 1000}, NULL);
    TR_TRY(try_deferred(r, &left));
  }
  return TR_OK;
}

static tr_status run_units(runner *r) {
  const tr_plan *plan = r->crew->plan;
  for (size_t i = 0; i < plan->pass_count && !atomic_load(&r->crew->stopped); ++i)
    if (r->crew->device_of[i] == r->index && tr_is_first_of_unit(plan, i))
      TR_TRY(try_unit(r, i));
  return wait_for_others(r);
}

static void *run_device(void *argument) {
  runner *r = argument;
  r->status = run_units(r);
  if (r->status != TR_OK) {
    snprintf(r->text, sizeof r->text, "%s", tr_last_error());
    atomic_store(&r->crew->stopped, true);
  }
  tr_stores_close(&r->stores);
  drop_kept(r);
  drop_images(r);
  drop_maps(r);
  tr_class_free(&r->listed);
  return NULL;
}

/* ---- sharing out ---- */

/* Multiply-adds of a class's passes: what most of the time goes with. */
static double work_of_class(const tr_plan *plan, const tr_plan_class *class_) {
  double macs = 0;
  for (size_t i = 0; i < plan->pass_count; ++i) {
    const tr_pass *pass = &plan->passes[i];
    if (pass->class_ != class_ || pass->refused)
      continue;
    macs += (double)(pass->train_images + class_->test_images) * pass->forecast.backbone_macs;
    for (size_t g = 0; g < pass->group_count; ++g)
      macs += pass->groups[g].needs.fit_macs + pass->groups[g].needs.score_macs;
  }
  return macs;
}

/* Classes in the order of the plan, each to the device with the least work so far: the same way every time. */
static void share_out(const tr_plan *plan, size_t devices, double *load, size_t *device_of) {
  for (size_t i = 0; i < plan->pass_count; ++i) {
    size_t known = 0, least = 0;
    while (plan->passes[known].class_ != plan->passes[i].class_)
      ++known;
    for (size_t d = 1; d < devices; ++d)
      least = load[d] < load[least] ? d : least;
    device_of[i] = known < i ? device_of[known] : least;
    if (known == i)
      load[least] += work_of_class(plan, plan->passes[i].class_);
  }
}

/* A thread for each device but the first, which has the caller's. */
static tr_status run_devices(runner *runners, size_t count) {
  pthread_t threads[TR_MAX_DEVICES];
  size_t started = 1;
  int error = 0;
  while (started < count && error == 0) {
    error = pthread_create(&threads[started], NULL, run_device, &runners[started]);
    started += error == 0;
  }
  if (error)
    atomic_store(&runners->crew->stopped, true);
  else
    run_device(&runners[0]);
  for (size_t i = 1; i < started; ++i)
    pthread_join(threads[i], NULL);
  if (error)
    return tr_fail(TR_ENOMEM, "starting a thread for device %s: %s", tr_device_name(runners[started].device), strerror(error));
  for (size_t i = 0; i < count; ++i)
    if (runners[i].status != TR_OK) {
      tr_error_set_text(runners[i].text);
      return runners[i].status;
    }
  return TR_OK;
}

static tr_status run_crew(crew *c, const tr_devices *devices, tr_run_summary *summary) {
  runner *runners = calloc(devices->count, sizeof *runners);
  if (!runners)
    return tr_fail(TR_ENOMEM, "running on %zu devices: out of memory", devices->count);
  for (size_t i = 0; i < devices->count; ++i) {
    runners[i].crew = c;
    runners[i].index = i;
    runners[i].device = devices->items[i];
    runners[i].stores.options = c->options;
  }
  pthread_mutex_init(&c->lock, NULL);
  tr_status status = run_devices(runners, devices->count);
  pthread_mutex_destroy(&c->lock);
  for (size_t i = 0; i < devices->count; ++i) {
    summary->finished += runners[i].summary.finished;
    summary->failed += runners[i].summary.failed;
    summary->elsewhere += runners[i].summary.elsewhere;
    summary->forecast_seconds += runners[i].summary.forecast_seconds;
    summary->pass_seconds += runners[i].summary.pass_seconds;
  }
  free(runners);
  return status;
}

/* Where this machine cannot be measured nothing is forecast, and the work is done all the same. */
static void measure_machine(crew *c, tr_device *device) {
  bool work = false;
  for (size_t i = 0; i < c->plan->pass_count; ++i)
    work = work || !c->plan->passes[i].refused;
  if (!work)
    return;
  c->measured = tr_profile_measure(device, c->plan, &c->profile) == TR_OK;
  if (!c->measured)
    tr_progress_line(c->options->progress, "warning: no seconds are forecast: %s", tr_last_error());
}

tr_status tr_plan_run_all(const tr_plan *plan, const tr_plan_options *options, const tr_devices *devices, tr_results *results,
                          tr_run_summary *summary) {
  *summary = (tr_run_summary){0};
  bool *broken = calloc(plan->pass_count + 1, sizeof *broken), *deferred = calloc(plan->pass_count + 1, sizeof *deferred);
  size_t *device_of = calloc(plan->pass_count + 1, sizeof *device_of);
  tr_status status =
      broken && deferred && device_of ? TR_OK : tr_fail(TR_ENOMEM, "running %zu passes: out of memory", plan->pass_count);
  if (status == TR_OK)
    status = tr_plan_write_copies(plan, options);
  if (status == TR_OK) {
    double load[TR_MAX_DEVICES] = {0};
    share_out(plan, devices->count, load, device_of);
    crew c = {.plan = plan,
              .options = options,
              .device_count = devices->count,
              .device_of = device_of,
              .broken = broken,
              .deferred = deferred,
              .results = results};
    measure_machine(&c, devices->items[0]);
    tr_memory_reset_peak();
    status = run_crew(&c, devices, summary);
    tr_profile_free(&c.profile);
  }
  free(device_of);
  free(deferred);
  free(broken);
  return status;
}

tr_status tr_plan_check_results(const tr_experiments *experiments, const tr_plan_options *options) {
  for (size_t i = 0; i < experiments->count; ++i) {
    tr_store *store;
    TR_TRY(tr_store_open(options->results, options->machine, experiments->items[i].name, options->progress, &store));
    tr_store_close(store);
  }
  return TR_OK;
}

static bool wants_data_set(const tr_experiments *experiments, const char *kind) {
  for (size_t i = 0; i < experiments->count; ++i)
    for (size_t j = 0; j < experiments->items[i].setting_count; ++j)
      if (strcmp(experiments->items[i].settings[j].dataset, kind) == 0)
        return true;
  return false;
}

/* <data>/<kind>, or <data> itself when that is its name. */
static char *drawn_folder(const char *data, const char *kind) {
  size_t length = strlen(data);
  while (length > 1 && data[length - 1] == '/')
    --length;
  char *folder = tr_format("%.*s", (int)length, data);
  const char *name = folder ? strrchr(folder, '/') : NULL;
  if (!folder || strcmp(name ? name + 1 : folder, kind) == 0)
    return folder;
  char *below = tr_format("%s/%s", folder, kind);
  free(folder);
  return below;
}

static bool can_open(const char *kind, const char *root) {
  tr_dataset *dataset;
  if (tr_dataset_open(&(tr_dataset_options){.kind = kind, .root = root}, &dataset) != TR_OK)
    return false;
  tr_dataset_close(dataset);
  return true;
}

static bool holds_something(const char *folder) {
  tr_strings names = {0};
  bool found = tr_is_folder(folder) && tr_folder_list(folder, &names) == TR_OK && names.count > 0;
  tr_strings_free(&names);
  return found;
}

/* Another process may draw the same set at the same time: who is second finds it there. */
static tr_status draw_into(const char *folder, const char *kind, const char *root, tr_progress *progress) {
  tr_progress_line(progress, "drawing the data set %s into %s", kind, folder);
  tr_status status = tr_dataset_draw(kind, folder);
  return status != TR_ECANCELED && can_open(kind, root) ? TR_OK : status;
}

static tr_status draw_where_absent(const char *kind, const char *root, tr_progress *progress) {
  if (can_open(kind, root))
    return TR_OK;
  char *folder = drawn_folder(root, kind);
  if (!folder)
    return tr_fail(TR_ENOMEM, "looking for the data set %s: out of memory", kind);
  /* Something else stands there: the error of opening it tells what. An empty folder may be another process's, which draws. */
  tr_status status = holds_something(folder) ? TR_EIO : draw_into(folder, kind, root, progress);
  free(folder);
  return status;
}

tr_status tr_run_draw_synthetic(const tr_experiments *experiments, const char *data, tr_progress *progress) {
  size_t count;
  const char *const *kinds = tr_dataset_kinds(&count);
  for (size_t i = 0; i < count; ++i)
    if (tr_dataset_is_drawn(kinds[i]) && wants_data_set(experiments, kinds[i]))
      TR_TRY(draw_where_absent(kinds[i], data ? data : ".", progress));
  return TR_OK;
}
