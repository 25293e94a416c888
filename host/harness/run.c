/* Running a plan: each device has its groups, one after the other; all runs of a group at once as far as they share work. */
#include "host/harness/run.h"
#include "host/base/clock.h"
#include "host/base/status.h"
#include "host/harness/evaluate.h"
#include "host/harness/feed.h"
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- one group ---- */

typedef struct group_work {
  const tr_group *group;
  const tr_plan_options *options;
  tr_device *device;
  labelled progress;
  tr_class class_;
  tr_backbone *backbone;
  tr_feed *feed;
  const tr_method *method;
  tr_variant *variants;
  tr_model *model;
  tr_model_info *info;  /* [runs] */
  size_t grid;          /* patches of an image */
  float *patch_scores;  /* [runs, test images, grid] */
  float *image_scores;  /* [runs, test images] */
  double train_seconds; /* of the training pass, wall clock */
  tr_feed_seconds test_seconds, total_seconds;
  tr_evaluation *evaluation;
} group_work;

static void release_model(group_work *w) {
  if (w->method)
    w->method->destroy(w->model);
  w->model = NULL;
  tr_feed_destroy(w->feed);
  w->feed = NULL;
  tr_backbone_destroy(w->backbone);
  w->backbone = NULL;
}

static void release_group_work(group_work *w) {
  release_model(w);
  tr_evaluation_destroy(w->evaluation);
  tr_class_free(&w->class_);
  free(w->variants);
  free(w->info);
  free(w->patch_scores);
  free(w->image_scores);
}

static tr_status create_backbone(group_work *w) {
  tr_backbone_options options = tr_group_backbone_options(w->group);
  tr_weights *weights;
  TR_TRY(tr_weights_open(w->group->weights->file, &weights));
  tr_status status = tr_backbone_create(w->device, &options, weights, &w->backbone);
  tr_weights_close(weights);
  return status;
}

static tr_status create_model(group_work *w) {
  const tr_group *g = w->group;
  w->variants = calloc(g->run_count, sizeof *w->variants);
  w->info = calloc(g->run_count, sizeof *w->info);
  w->patch_scores = calloc(g->run_count * g->class_->test_images * w->grid + 1, sizeof *w->patch_scores);
  w->image_scores = calloc(g->run_count * g->class_->test_images + 1, sizeof *w->image_scores);
  if (!w->variants || !w->info || !w->patch_scores || !w->image_scores)
    return tr_fail(TR_ENOMEM, "scores of %zu runs of %s: out of memory", g->run_count, g->class_->name);
  tr_method_options options;
  TR_TRY(tr_group_method_options(g, w->device, w->variants, &options));
  options.progress = &w->progress.progress;
  w->method = tr_method_find(g->runs[0].setting->method);
  return w->method->create(&options, &w->model);
}

static tr_status prepare(group_work *w) {
  const tr_group *g = w->group;
  TR_TRY(tr_dataset_class(g->class_->dataset, g->class_->name, &w->class_));
  if (w->class_.train_count != g->class_->train_images || w->class_.test_count != g->class_->test_images)
    return tr_fail(TR_EIO, "%s changed since the run was planned", tr_dataset_folder(g->class_->dataset));
  TR_TRY(create_backbone(w));
  w->grid = (size_t)g->forecast.grid_h * (size_t)g->forecast.grid_w;
  TR_TRY(tr_feed_create(&(tr_feed_options){.device = w->device,
                                           .backbone = w->backbone,
                                           .architecture = g->runs[0].setting->backbone,
                                           .image = g->runs[0].setting->image,
                                           .in_h = g->forecast.in_h,
                                           .in_w = g->forecast.in_w,
                                           .layers = g->runs[0].setting->layer_count,
                                           .image_bytes = (size_t)g->class_->most_h * (size_t)g->class_->most_w * 3,
                                           .progress = &w->progress.progress},
                        &w->feed));
  return create_model(w);
}

static tr_status fit_images(void *context, int lane, size_t first, size_t n, const float *const *maps) {
  group_work *w = context;
  return w->method->fit_images(w->model, lane, first, n, maps);
}

static tr_status score_images(void *context, int lane, size_t first, size_t n, const float *const *maps) {
  group_work *w = context;
  size_t images = w->class_.test_count;
  return w->method->score_images(w->model, lane, n, maps, w->patch_scores + first * w->grid, images * w->grid,
                                 w->image_scores + first, images);
}

static tr_status fit(group_work *w) {
  double start = tr_seconds();
  TR_TRY(tr_feed_images(w->feed, "training images", w->class_.train, w->class_.train_count, fit_images, w));
  w->train_seconds = tr_seconds() - start;
  return w->method->fit_end(w->model);
}

static tr_status score(group_work *w) {
  tr_feed_seconds before = tr_feed_spent(w->feed);
  TR_TRY(tr_feed_images(w->feed, "test images", w->class_.test, w->class_.test_count, score_images, w));
  if (w->method->score_end)
    TR_TRY(w->method->score_end(w->model));
  w->total_seconds = tr_feed_spent(w->feed);
  w->test_seconds = (tr_feed_seconds){.decode = w->total_seconds.decode - before.decode,
                                      .backbone = w->total_seconds.backbone - before.backbone,
                                      .method = w->total_seconds.method - before.method};
  for (size_t i = 0; i < w->group->run_count; ++i)
    TR_TRY(w->method->info(w->model, i, &w->info[i]));
  return TR_OK;
}

/* ---- one result ---- */

static char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return strdup(slash ? slash + 1 : path);
}

static char *copy(const char *text) {
  return text ? strdup(text) : NULL;
}

static tr_status describe(const group_work *w, const tr_plan_run *run, tr_result *out) {
  const tr_group *g = w->group;
  const tr_setting *s = run->setting;
  char date[21];
  tr_date_utc(date);
  *out = (tr_result){
      .experiment = copy(g->experiment->name),
      .run = copy(run->name),
      .dataset = copy(tr_dataset_kind(g->class_->dataset)),
      .class_name = copy(g->class_->name),
      .method = copy(s->method),
      .backbone = copy(s->backbone),
      .layers = tr_setting_layers_text(s),
      .weights = base_name(g->weights->file),
      .weights_sha256 = copy(g->weights->sha256),
      .protocol = copy(tr_protocol_name(s->protocol)),
      .aggregate = copy(tr_aggregate_name(s->aggregate)),
      .subsampling = copy(tr_subsampling_name(s->subsampling)),
      .search = copy(s->search),
      .distance = copy(tr_distance_name(s->distance)),
      .image_score = copy(tr_image_score_name(s->image_score)),
      .gallery = copy(tr_gallery_name(s->gallery)),
      .placement = copy(tr_placement_name(s->placement)),
      .split_file = s->split_file ? base_name(s->split_file) : NULL,
      .normalise = s->member_count ? copy(tr_normalise_name(s->normalise)) : NULL,
      .low_shot = s->train_images,
      .resize = s->image.resize,
      .crop = s->image.crop,
      .squash = s->image.squash,
      .patch = s->patch,
      .stride = s->stride,
      .layer_dimension = s->layer_dimension,
      .target_dimension = s->dimension,
      .projection = s->projection,
      .neighbours = s->neighbours,
      .percent = s->percent,
      .sigma = s->sigma,
      .epsilon = s->epsilon,
      .seed = s->seed,
      .train_images = w->class_.train_count,
      .images = w->class_.test_count,
      .anomalous_images = g->class_->anomalous_images,
      .forecast_bytes = g->forecast.peak_bytes,
      .device = copy(tr_device_name(w->device)),
      .processor = copy(tr_device_description(w->device)),
      .threads = tr_pool_threads(tr_device_pool(w->device)),
      .version = copy(tr_version()),
      .date = copy(date),
  };
  bool complete = out->experiment && out->run && out->dataset && out->class_name && out->method && out->backbone && out->layers &&
                  out->weights && out->weights_sha256 && out->protocol && out->aggregate && out->subsampling && out->search &&
                  out->distance && out->image_score && out->gallery && out->placement && (out->split_file || !s->split_file) &&
                  (out->normalise || !s->member_count) && out->device && out->processor && out->version && out->date;
  return complete ? TR_OK : tr_fail(TR_ENOMEM, "the result of %s, %s: out of memory", run->name, g->class_->name);
}

static void fill_seconds(const group_work *w, const tr_model_info *info, tr_run_seconds *s) {
  s->decode = w->total_seconds.decode;
  s->backbone = w->total_seconds.backbone;
  s->coreset = info->coreset_seconds;
  s->fit = w->train_seconds + info->coreset_seconds;
  s->nearest = info->nearest_seconds;
  s->score_per_image =
      (w->test_seconds.decode + w->test_seconds.backbone + info->aggregate_seconds + info->nearest_seconds + s->maps) /
      (double)w->class_.test_count;
}

static tr_status write_files(group_work *w, size_t i) {
  const tr_plan_options *o = w->options;
  const char *run = w->group->runs[i].name, *class_name = w->group->class_->name;
  tr_status status = TR_OK;
  if (o->maps) {
    char *folder = tr_format("%s/%s/%s", o->maps, run, class_name);
    status = folder ? TR_OK : tr_fail(TR_ENOMEM, "drawing heat maps: out of memory");
    if (status == TR_OK && !tr_is_folder(folder))
      status = tr_evaluation_pictures(w->evaluation, folder);
    free(folder);
  }
  if (status == TR_OK && o->scores) {
    char *path = tr_format("%s/%s_%s.csv", o->scores, run, class_name);
    status = path ? tr_make_folders(o->scores) : tr_fail(TR_ENOMEM, "writing scores: out of memory");
    if (status == TR_OK)
      status = tr_scores_write(path, &w->class_, w->image_scores + i * w->class_.test_count);
    free(path);
  }
  return status;
}

static tr_status evaluate_run(group_work *w, size_t i, tr_result *result) {
  const tr_plan_run *run = &w->group->runs[i];
  size_t images = w->class_.test_count;
  TR_TRY(describe(w, run, result));
  double start = tr_seconds();
  TR_TRY(tr_evaluation_maps(w->evaluation, w->patch_scores + i * images * w->grid, run->setting->sigma));
  if (run->setting->image_score == TR_SCORE_SMOOTHED_MAX)
    TR_TRY(tr_evaluation_peaks(w->evaluation, w->image_scores + i * images));
  double mapped = tr_seconds();
  TR_TRY(tr_evaluation_metrics(w->evaluation, w->image_scores + i * images, result));
  result->seconds.maps = mapped - start;
  result->seconds.metrics = tr_seconds() - mapped;
  fill_seconds(w, &w->info[i], &result->seconds);
  result->bank_rows = w->info[i].bank_rows;
  result->dimension = w->info[i].dimension;
  return write_files(w, i);
}

static void report_result(tr_progress *progress, const tr_result *r, double seconds) {
  char metrics[96] = "";
  if (isfinite(r->pixel_auroc))
    snprintf(metrics, sizeof metrics, ", pixel AUROC %.4f, PRO %.4f", r->pixel_auroc, r->pro);
  tr_progress_line(progress, "%s %s: image AUROC %.4f%s (%.1f s)", r->class_name, r->run, r->image_auroc, metrics, seconds);
}

/* ---- the whole plan ---- */

/* What the devices of a run share. */
typedef struct crew {
  const tr_plan *plan;
  const tr_plan_options *options;
  const size_t *device_of; /* [group_count] */
  bool *broken;            /* [group_count]: files that cannot be used */
  tr_results *results;
  pthread_mutex_t lock; /* of results */
  atomic_bool stopped;  /* one of the devices met an error that ends the run */
} crew;

/* One device: its groups, in order. */
typedef struct runner {
  crew *crew;
  size_t index;
  tr_device *device;
  tr_store *store;
  const tr_experiment *store_of;
  tr_run_summary summary;
  bool fatal; /* the error at hand ends the run */
  tr_status status;
  char text[TR_ERROR_TEXT_BYTES]; /* of status */
} runner;

static tr_status open_store(runner *r, const tr_experiment *experiment) {
  if (r->store_of == experiment)
    return TR_OK;
  tr_store_close(r->store);
  r->store = NULL;
  r->store_of = NULL;
  const tr_plan_options *o = r->crew->options;
  TR_TRY(tr_store_open(o->results, o->machine, experiment->name, o->progress, &r->store));
  r->store_of = experiment;
  return TR_OK;
}

static tr_status keep_result(runner *r, const tr_plan_run *run, const tr_result *result) {
  crew *c = r->crew;
  tr_status status = run->in_store ? TR_OK : tr_store_append(r->store, result);
  if (status != TR_OK) {
    r->fatal = true;
    char *json = NULL, *text = strdup(tr_last_error());
    if (tr_result_to_json(result, &json) == TR_OK)
      tr_progress_line(c->options->progress, "this result could not be kept: %s", json);
    free(json);
    tr_error_set_text(text ? text : "writing a result");
    free(text);
    return status;
  }
  ++r->summary.finished;
  pthread_mutex_lock(&c->lock);
  status = tr_results_add_copy(c->results, result);
  pthread_mutex_unlock(&c->lock);
  return status;
}

/* The model is gone before maps and metrics ask for their memory. */
static tr_status evaluate_group(runner *r, group_work *w, double start) {
  const tr_group *g = w->group;
  const tr_forecast *f = &g->forecast;
  release_model(w);
  TR_TRY(tr_evaluation_create(&(tr_evaluation_options){.device = w->device,
                                                       .class_ = &w->class_,
                                                       .image = g->runs[0].setting->image,
                                                       .in_h = f->in_h,
                                                       .in_w = f->in_w,
                                                       .grid_h = f->grid_h,
                                                       .grid_w = f->grid_w,
                                                       .progress = &w->progress.progress},
                              &w->evaluation));
  for (size_t i = 0; i < g->run_count; ++i) {
    tr_result result;
    tr_progress_update(&w->progress.progress, "maps and metrics", i, g->run_count, "runs");
    tr_status status = evaluate_run(w, i, &result);
    if (status == TR_OK) {
      result.peak_bytes = tr_memory_peak_bytes();
      status = keep_result(r, &g->runs[i], &result);
    }
    if (status == TR_OK)
      report_result(r->crew->options->progress, &result, tr_seconds() - start);
    tr_result_free(&result);
    TR_TRY(status);
  }
  return TR_OK;
}

static tr_status run_group(runner *r, size_t index) {
  const crew *c = r->crew;
  const tr_group *g = &c->plan->groups[index];
  group_work w = {.group = g, .options = c->options, .device = r->device};
  w.progress = (labelled){.progress = {.update = labelled_update, .line = labelled_line}, .inner = c->options->progress};
  w.progress.progress.user = &w.progress;
  snprintf(w.progress.label, sizeof w.progress.label, "[%zu/%zu] %s", index + 1, c->plan->group_count, g->class_->name);
  if (g->refused)
    return tr_fail(TR_EINVAL, "%s", g->refused);
  double start = tr_seconds();
  malloc_trim(0);
  tr_memory_reset_peak();
  tr_status status = prepare(&w);
  if (status == TR_OK)
    status = fit(&w);
  if (status == TR_OK)
    status = score(&w);
  if (status == TR_OK)
    status = evaluate_group(r, &w, start);
  release_group_work(&w);
  return status;
}

/* Broken files stop their class: its other groups would only meet them again. A class is one device's. */
static bool class_is_broken(const crew *c, size_t index) {
  for (size_t i = 0; i < index; ++i)
    if (c->plan->groups[i].class_ == c->plan->groups[index].class_ && c->broken[i])
      return true;
  return false;
}

static void report_failure(const runner *r, const tr_group *g, bool class_stops) {
  tr_progress *progress = r->crew->options->progress;
  char error[TR_ERROR_TEXT_BYTES];
  snprintf(error, sizeof error, "%s", tr_last_error());
  if (class_stops)
    tr_progress_line(progress, "error: class %s stops: %s", g->class_->name, error);
  else if (g->run_count > 1)
    tr_progress_line(progress, "error: %s, %s and %zu more: %s", g->class_->name, g->runs[0].name, g->run_count - 1, error);
  else
    tr_progress_line(progress, "error: %s, %s: %s", g->class_->name, g->runs[0].name, error);
}

static tr_status run_groups(runner *r) {
  crew *c = r->crew;
  for (size_t i = 0; i < c->plan->group_count && !atomic_load(&c->stopped); ++i) {
    const tr_group *g = &c->plan->groups[i];
    if (c->device_of[i] != r->index)
      continue;
    if (class_is_broken(c, i)) {
      r->summary.failed += g->run_count;
      continue;
    }
    TR_TRY(open_store(r, g->experiment));
    size_t finished = r->summary.finished;
    tr_status status = run_group(r, i);
    if (status == TR_OK)
      continue;
    if (status == TR_ECANCELED || r->fatal)
      return status;
    r->summary.failed += g->run_count - (r->summary.finished - finished);
    c->broken[i] = status == TR_EIO || status == TR_EFORMAT;
    report_failure(r, g, c->broken[i]);
  }
  return TR_OK;
}

static void *run_device(void *argument) {
  runner *r = argument;
  r->status = run_groups(r);
  if (r->status != TR_OK) {
    snprintf(r->text, sizeof r->text, "%s", tr_last_error());
    atomic_store(&r->crew->stopped, true);
  }
  tr_store_close(r->store);
  return NULL;
}

/* ---- sharing out ---- */

/* Multiply-adds of a class's groups: what most of the time goes with. */
static double work_of_class(const tr_plan *plan, const tr_plan_class *class_) {
  double macs = 0;
  for (size_t i = 0; i < plan->group_count; ++i) {
    const tr_group *g = &plan->groups[i];
    double images = (double)(class_->train_images + class_->test_images);
    if (g->class_ == class_ && !g->refused)
      macs += images * g->forecast.backbone_macs + g->forecast.fit_macs + g->forecast.score_macs;
  }
  return macs;
}

/* Classes in the order of the plan, each to the device with the least work so far: the same way every time. */
static void share_out(const tr_plan *plan, size_t devices, double *load, size_t *device_of) {
  for (size_t i = 0; i < plan->group_count; ++i) {
    size_t known = 0, least = 0;
    while (plan->groups[known].class_ != plan->groups[i].class_)
      ++known;
    for (size_t d = 1; d < devices; ++d)
      least = load[d] < load[least] ? d : least;
    device_of[i] = known < i ? device_of[known] : least;
    if (known == i)
      load[least] += work_of_class(plan, plan->groups[i].class_);
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
  }
  pthread_mutex_init(&c->lock, NULL);
  tr_status status = run_devices(runners, devices->count);
  pthread_mutex_destroy(&c->lock);
  for (size_t i = 0; i < devices->count; ++i) {
    summary->finished += runners[i].summary.finished;
    summary->failed += runners[i].summary.failed;
  }
  free(runners);
  return status;
}

tr_status tr_plan_run_all(const tr_plan *plan, const tr_plan_options *options, const tr_devices *devices, tr_results *results,
                          tr_run_summary *summary) {
  *summary = (tr_run_summary){0};
  bool *broken = calloc(plan->group_count + 1, sizeof *broken);
  size_t *device_of = calloc(plan->group_count + 1, sizeof *device_of);
  tr_status status = broken && device_of ? TR_OK : tr_fail(TR_ENOMEM, "running %zu groups: out of memory", plan->group_count);
  if (status == TR_OK) {
    double load[TR_MAX_DEVICES] = {0};
    share_out(plan, devices->count, load, device_of);
    crew c = {.plan = plan, .options = options, .device_of = device_of, .broken = broken, .results = results};
    status = run_crew(&c, devices, summary);
  }
  free(device_of);
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

static bool wants_synthetic(const tr_experiments *experiments) {
  for (size_t i = 0; i < experiments->count; ++i)
    for (size_t j = 0; j < experiments->items[i].setting_count; ++j)
      if (strcmp(experiments->items[i].settings[j].dataset, "synthetic") == 0)
        return true;
  return false;
}

/* <data>/synthetic, or <data> itself when that is its name. */
static char *synthetic_folder(const char *data) {
  size_t length = strlen(data);
  while (length > 1 && data[length - 1] == '/')
    --length;
  char *folder = tr_format("%.*s", (int)length, data);
  const char *name = folder ? strrchr(folder, '/') : NULL;
  if (!folder || strcmp(name ? name + 1 : folder, "synthetic") == 0)
    return folder;
  char *below = tr_format("%s/synthetic", folder);
  free(folder);
  return below;
}

/* Drawn beside, then moved: a folder that is there is complete. */
static tr_status draw_synthetic(const char *folder, tr_progress *progress) {
  char *part = tr_format("%s.part", folder);
  if (!part)
    return tr_fail(TR_ENOMEM, "drawing %s: out of memory", folder);
  tr_progress_line(progress, "drawing the synthetic data set into %s", folder);
  tr_status status = tr_synthesize(part, &(tr_synthesize_options){0});
  if (status == TR_OK && rename(part, folder) != 0)
    status = tr_fail_errno(TR_EIO, "naming the synthetic data set %s", folder);
  free(part);
  return status;
}

tr_status tr_run_draw_synthetic(const tr_experiments *experiments, const char *data, tr_progress *progress) {
  if (!wants_synthetic(experiments))
    return TR_OK;
  const char *root = data ? data : ".";
  tr_dataset *dataset;
  if (tr_dataset_open(&(tr_dataset_options){.kind = "synthetic", .root = root}, &dataset) == TR_OK) {
    tr_dataset_close(dataset);
    return TR_OK;
  }
  char *folder = synthetic_folder(root);
  if (!folder)
    return tr_fail(TR_ENOMEM, "looking for the synthetic data set: out of memory");
  /* Something else stands there: the error of opening it tells what. */
  tr_status status = tr_is_folder(folder) ? TR_EIO : draw_synthetic(folder, progress);
  free(folder);
  return status;
}
