/* Results of runs, and their files. */
#include "host/harness/outcome.h"
#include "host/base/clock.h"
#include "host/base/status.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return strdup(slash ? slash + 1 : path);
}

static char *copy(const char *text) {
  return text ? strdup(text) : NULL;
}

/* What a result says of where it comes from, but for its setting. */
typedef struct origin {
  const tr_plan_class *class_;
  const char *weights, *sha256; /* file names, digests */
  tr_device *device;
  size_t forecast_bytes;
} origin;

static tr_status describe(const origin *from, const tr_plan_run *run, tr_result *out) {
  const tr_setting *s = run->setting;
  const tr_run_forecast none = {NAN, NAN, NAN, NAN, NAN, NAN};
  char date[21];
  tr_date_utc(date);
  *out = (tr_result){
      .experiment = copy(run->experiment ? run->experiment->name : ""),
      .run = copy(run->name),
      .dataset = copy(from->class_->source->kind),
      .class_name = copy(from->class_->name),
      .method = copy(s->method),
      .backbone = copy(s->backbone),
      .layers = tr_setting_layers_text(s),
      .weights = base_name(from->weights),
      .weights_sha256 = copy(from->sha256),
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
      .frame_step = s->frames.step,
      .frame_offset = s->frames.offset,
      .tested_only = s->frames.tested_only,
      .mask_rule = s->frames.step ? copy(tr_mask_rule_name(s->frames.mask)) : NULL,
      .low_shot = s->train_images,
      .resize = s->image.resize,
      .crop = s->image.crop,
      .squash = s->image.squash,
      .tile = s->tile.size,
      .tile_overlap = s->tile.overlap,
      .tile_bank = s->tile.size ? copy(tr_tile_bank_name(s->tile.bank)) : NULL,
      .patch = s->patch,
      .stride = s->stride,
      .layer_dimension = s->layer_dimension,
      .target_dimension = s->dimension,
      .projection = s->projection,
      .neighbours = s->neighbours,
      .nprobe = s->nprobe,
      .ef_search = s->ef_search,
      .recall_at_1 = NAN,
      .distance_error = NAN,
      .percent = s->percent,
      .covering_radius = NAN,
      .sigma = s->sigma,
      .epsilon = s->epsilon,
      .seed = s->seed,
      .train_images = from->class_->train_images,
      .images = from->class_->test_images,
      .anomalous_images = from->class_->anomalous_images,
      .forecast_bytes = from->forecast_bytes,
      .forecast = none,
      .seconds = {.pass = NAN},
      .device = copy(tr_device_name(from->device)),
      .processor = copy(tr_device_description(from->device)),
      .threads = tr_pool_threads(tr_device_pool(from->device)),
      .version = copy(tr_version()),
      .date = copy(date),
  };
  bool complete = out->experiment && out->run && out->dataset && out->class_name && out->method && out->backbone && out->layers &&
                  out->weights && out->weights_sha256 && out->protocol && out->aggregate && out->subsampling && out->search &&
                  out->distance && out->image_score && out->gallery && out->placement && (out->split_file || !s->split_file) &&
                  (out->mask_rule || !s->frames.step) && (out->tile_bank || !s->tile.size) &&
                  (out->normalise || !s->member_count) && out->device && out->processor && out->version && out->date;
  return complete ? TR_OK : tr_fail(TR_ENOMEM, "the result of %s, %s: out of memory", run->name, from->class_->name);
}

tr_status tr_outcome_rename(const tr_plan_run *run, tr_result *result) {
  char *experiment = copy(run->experiment->name), *protocol = copy(tr_protocol_name(run->setting->protocol));
  if (!experiment || !protocol) {
    free(experiment);
    free(protocol);
    return tr_fail(TR_ENOMEM, "the result of %s: out of memory", run->name);
  }
  free(result->experiment);
  free(result->protocol);
  result->experiment = experiment;
  result->protocol = protocol;
  return TR_OK;
}

static void fill_seconds(const tr_pass_work *w, const tr_model_info *info, tr_run_seconds *s) {
  s->decode = w->total_seconds.decode;
  s->backbone = w->total_seconds.backbone;
  s->coreset = info->coreset_seconds;
  s->fit = w->train_seconds + info->coreset_seconds + info->index_seconds;
  s->index = info->index_seconds;
  s->nearest = info->nearest_seconds;
  s->search_per_image = info->nearest_seconds / (double)w->class_->test_count;
  s->score_per_image =
      (w->test_seconds.decode + w->test_seconds.backbone + info->aggregate_seconds + info->nearest_seconds + s->maps) /
      (double)w->class_->test_count;
}

/* The folder appears when all pictures are drawn, so one that is there is complete. */
static tr_status write_pictures(const tr_plan_options *o, const char *run, const char *class_name, tr_evaluation *evaluation) {
  char *folder = tr_format("%s/%s/%s", o->maps, run, class_name);
  tr_status status = folder ? TR_OK : tr_fail(TR_ENOMEM, "drawing heat maps: out of memory");
  if (status == TR_OK && !tr_is_folder(folder))
    status = tr_evaluation_pictures(evaluation, folder);
  free(folder);
  return status;
}

static tr_status write_scores(const tr_plan_options *o, const char *run, const tr_class *class_, const float *image_scores) {
  char *path = tr_format("%s/%s_%s.csv", o->scores, run, class_->name);
  tr_status status = path ? tr_make_folders(o->scores) : tr_fail(TR_ENOMEM, "writing scores: out of memory");
  if (status == TR_OK)
    status = tr_scores_write(path, class_, image_scores);
  free(path);
  return status;
}

static tr_status write_files(const tr_plan_run *run, const tr_class *class_, tr_evaluation *evaluation, const float *image_scores,
                             const tr_plan_options *options) {
  if (options->maps)
    TR_TRY(write_pictures(options, run->name, class_->name, evaluation));
  return options->scores ? write_scores(options, run->name, class_, image_scores) : TR_OK;
}

/* As asked, or what there is. */
static double percent_of(const tr_pass_work *w, const tr_pass_model *m, const tr_setting *s, size_t bank_rows) {
  bool asked = s->percent > 0 && !(s->radius > 0) && !(s->seconds > 0);
  double patches = (double)m->group->train_images * (double)w->tiles * (double)m->grid;
  return asked ? s->percent : 100 * (double)bank_rows / patches;
}

tr_status tr_outcome_evaluate(const tr_pass_work *w, size_t model, const tr_plan_run *run, tr_evaluation *evaluation,
                              const tr_plan_options *options, tr_result *out) {
  const tr_pass_model *m = &w->models[model];
  const tr_pass *pass = w->pass;
  size_t images = w->class_->test_count;
  const tr_model_info *info = &m->info[run->variant];
  tr_patch_scores patch_scores = tr_pass_patch_scores(w, model, run->variant);
  float *image_scores = m->image_scores + run->variant * images;
  origin from = {pass->class_, pass->weights->file, pass->weights->sha256, w->device, pass->forecast.peak_bytes};
  TR_TRY(describe(&from, run, out));
  double start = tr_seconds();
  TR_TRY(tr_evaluation_maps(evaluation, &patch_scores, run->setting->sigma));
  if (run->setting->image_score == TR_SCORE_SMOOTHED_MAX)
    TR_TRY(tr_evaluation_peaks(evaluation, image_scores));
  double mapped = tr_seconds();
  TR_TRY(tr_evaluation_metrics(evaluation, image_scores, out));
  out->seconds.maps = mapped - start;
  out->seconds.metrics = tr_seconds() - mapped;
  fill_seconds(w, info, &out->seconds);
  out->bank_rows = info->bank_rows;
  out->covering_radius = info->cover;
  out->percent = percent_of(w, m, run->setting, info->bank_rows);
  out->dimension = info->dimension;
  out->index_bytes = info->index_bytes;
  out->searched_by = info->searched_by ? copy(info->searched_by) : NULL;
  if (info->searched_by && !out->searched_by)
    return tr_fail(TR_ENOMEM, "the result of %s: out of memory", run->name);
  out->recall_at_1 = info->index_bytes ? info->recall_at_1 : NAN;
  out->distance_error = info->index_bytes ? info->distance_error : NAN;
  return run->experiment ? write_files(run, w->class_, evaluation, image_scores, options) : TR_OK;
}

/* ---- ensembles ---- */

/* The members' seconds and rows summed up: what one pass over the images with all members costs. */
static void add_member(const tr_kept_run *m, tr_result *out) {
  const tr_run_seconds *s = &m->seconds;
  out->seconds.decode += s->decode;
  out->seconds.backbone += s->backbone;
  out->seconds.coreset += s->coreset;
  out->seconds.fit += s->fit;
  out->seconds.index += s->index;
  out->seconds.nearest += s->nearest;
  out->seconds.search_per_image += s->search_per_image;
  out->seconds.score_per_image += s->score_per_image;
  out->bank_rows += m->bank_rows;
  out->dimension = m->dimension;
}

static tr_status evaluate_ensemble(const tr_plan_ensemble *e, const tr_kept_run *const *members, tr_device *device,
                                   const tr_class *class_, tr_evaluation *evaluation, const tr_plan_options *options,
                                   float *image_scores, tr_result *out) {
  double start = tr_seconds();
  TR_TRY(tr_ensemble_score(e, members, device, class_->test_count, evaluation, image_scores));
  double mapped = tr_seconds();
  TR_TRY(tr_evaluation_metrics(evaluation, image_scores, out));
  out->seconds.maps = mapped - start;
  out->seconds.metrics = tr_seconds() - mapped;
  out->seconds.score_per_image += out->seconds.maps / (double)class_->test_count;
  return write_files(&e->run, class_, evaluation, image_scores, options);
}

tr_status tr_outcome_evaluate_ensemble(const tr_plan_ensemble *e, const tr_kept_run *const *members, tr_device *device,
                                       const tr_class *class_, tr_evaluation *evaluation, const tr_plan_options *options,
                                       tr_result *out) {
  const tr_setting *s = e->run.setting;
  origin from = {e->class_, e->weights, e->sha256, device, e->peak_bytes};
  TR_TRY(describe(&from, &e->run, out));
  for (int i = 0; i < s->member_count; ++i) {
    if (s->normalise == TR_NORMALISE_NOMINAL && !members[i]->nominal.known)
      return tr_fail(TR_EINVAL, "%s: the nominal images of its member %s have no scores", e->run.name, members[i]->name);
    add_member(members[i], out);
  }
  float *image_scores = calloc(class_->test_count + 1, sizeof *image_scores);
  if (!image_scores)
    return tr_fail(TR_ENOMEM, "scores of %s: out of memory", e->run.name);
  tr_status status = evaluate_ensemble(e, members, device, class_, evaluation, options, image_scores, out);
  free(image_scores);
  return status;
}
