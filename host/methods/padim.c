/* PaDiM (Defard et al., "PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and Localization", 2021): at every
 * position of the first layer's grid a Gaussian of randomly drawn channels of all tapped layers; a patch's score is its Mahalanobis
 * distance.
 *
 * Variants with the same draw share its Gaussians, others nothing but the backbone. Images are gathered in batches
 * (batches.h), since a position's Gaussian is hundreds of kilobytes: for training images because sums are made batch by batch in
 * their order, for test images because a batch is scored in the time that reading the Gaussians for one image takes.
 *
 * The fit of bottle's 120 images by ResNet50 takes 1.18 times the backbone alone (`totalrecall bench padim`). In a process of its own the
 * first touch of the samples' 843 MB comes on top: 0.1 s, but 1.9 s of one core in a virtual machine that gives free pages back.
 */
#include "host/base/clock.h"
#include "host/base/json.h"
#include "host/base/rng.h"
#include "host/base/status.h"
#include "host/methods/batches.h"
#include "host/methods/method.h"
#include "kernels/gaussian.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Where a test image's scores go: the first variant's, and strides to the others'. */
typedef struct target {
  float *patch_scores, *image_score;
  size_t variant_stride, image_stride;
} target;

/* Gaussians of one draw. */
typedef struct estimate {
  tr_model *model;
  uint32_t *channels; /* [dimension], ascending */
  tr_channels_spec draw;
  tr_gaussian_spec spec;
  tr_gaussian gaussian;
  tr_batches *batches; /* of training images, then of test images */
  void *scratch;       /* of gaussian */
  bool fitted;
  double factor_seconds, draw_seconds; /* the latter of test images, all lanes together */
} estimate;

struct tr_model {
  tr_device *device;
  tr_aggregate_spec maps; /* shapes of the taps */
  tr_progress *progress;
  size_t train_images, positions;
  tr_variant *variants;
  size_t *variant_estimate;
  size_t variant_count;
  estimate *estimates;
  size_t count;
  int lanes;
  void **lane_scratch;  /* of channels */
  size_t scored;        /* test images since the last score_end */
  pthread_mutex_t lock; /* of scored and draw_seconds */
};

/* ---- set-up ---- */

static void release_model(tr_model *model) {
  for (size_t v = 0; model->estimates && v < model->count; ++v) {
    estimate *e = &model->estimates[v];
    tr_batches_destroy(e->batches);
    void *const device_memory[] = {e->gaussian.means, e->gaussian.factors, e->gaussian.samples, e->gaussian.running, e->scratch};
    for (size_t i = 0; i < sizeof device_memory / sizeof *device_memory; ++i)
      tr_device_free(model->device, device_memory[i]);
    free(e->channels);
  }
  for (int lane = 0; model->lane_scratch && lane < model->lanes; ++lane)
    tr_device_free(model->device, model->lane_scratch[lane]);
  free(model->lane_scratch);
  free(model->estimates);
  free(model->variants);
  free(model->variant_estimate);
  pthread_mutex_destroy(&model->lock);
  free(model);
}

static void destroy(tr_model *model) {
  if (model)
    release_model(model);
}

/* A random choice of all channels (section III-C), one for all positions. In ascending order: the distance does not depend on it. */
static tr_status draw_channels(const tr_variant *variant, size_t total, uint32_t *channels) {
  size_t count = (size_t)variant->dimension;
  uint64_t *drawn = malloc(count * sizeof *drawn);
  uint8_t *kept = calloc(total, 1);
  tr_status status = drawn && kept ? TR_OK : tr_fail(TR_ENOMEM, "drawing %zu channels: out of memory", count);
  tr_rng rng = tr_rng_make(variant->seed, TR_RNG_CHANNELS, 0);
  if (status == TR_OK)
    status = tr_rng_sample(&rng, total, count, drawn);
  for (size_t i = 0; status == TR_OK && i < count; ++i)
    kept[drawn[i]] = 1;
  for (size_t channel = 0, i = 0; status == TR_OK && channel < total; ++channel)
    if (kept[channel])
      channels[i++] = (uint32_t)channel;
  free(drawn);
  free(kept);
  return status;
}

static tr_status plan_estimate(tr_model *model, const tr_variant *variant, estimate *e) {
  const tr_aggregate_spec *maps = &model->maps;
  size_t total = 0;
  for (int i = 0; i < maps->layers; ++i)
    total += (size_t)maps->c[i];
  if (variant->dimension < 1 || (size_t)variant->dimension > total)
    return tr_fail(TR_EINVAL, "padim: dimension: expected 1 to the %zu channels of the tapped layers, found %d", total,
                   variant->dimension);
  if (variant->image_score == TR_SCORE_REWEIGHTED || variant->image_score == TR_SCORE_NEAREST_IMAGES)
    return tr_fail(TR_EINVAL, "padim: image_score: expected max or smoothed_max, found %s",
                   variant->image_score == TR_SCORE_REWEIGHTED ? "reweighted" : "nearest_images");
  *e = (estimate){.model = model, .channels = calloc((size_t)variant->dimension, sizeof *e->channels)};
  if (!e->channels)
    return tr_fail(TR_ENOMEM, "padim: %d channels: out of memory", variant->dimension);
  e->draw = (tr_channels_spec){
      .layers = maps->layers, .placement = variant->placement, .count = variant->dimension, .channels = e->channels};
  memcpy(e->draw.h, maps->h, sizeof e->draw.h);
  memcpy(e->draw.w, maps->w, sizeof e->draw.w);
  memcpy(e->draw.c, maps->c, sizeof e->draw.c);
  e->spec = (tr_gaussian_spec){.positions = model->positions,
                               .samples = model->train_images,
                               .d = variant->dimension,
                               .epsilon = variant->epsilon,
                               .form = tr_gaussian_best_form(model->train_images, variant->dimension)};
  TR_TRY(tr_gaussian_check(&e->spec));
  TR_TRY(draw_channels(variant, total, e->channels));
  return tr_channels_check(&e->draw);
}

static bool same_draw(const estimate *e, const tr_variant *v, const tr_variant *of) {
  return e->spec.d == v->dimension && e->draw.placement == v->placement && e->spec.epsilon == v->epsilon && of->seed == v->seed;
}

static tr_status plan_variant(tr_model *model, size_t variant) {
  const tr_variant *v = &model->variants[variant];
  if (v->image_score != TR_SCORE_MAX && v->image_score != TR_SCORE_SMOOTHED_MAX)
    return tr_fail(TR_EINVAL, "padim: image_score: expected max or smoothed_max");
  for (size_t other = 0; other < variant; ++other)
    if (same_draw(&model->estimates[model->variant_estimate[other]], v, &model->variants[other])) {
      model->variant_estimate[variant] = model->variant_estimate[other];
      return TR_OK;
    }
  model->variant_estimate[variant] = model->count;
  return plan_estimate(model, v, &model->estimates[model->count++]);
}

/* All that costs no memory to speak of. */
static tr_status plan_model(const tr_method_options *options, tr_model **out) {
  *out = NULL;
  int grid_h, grid_w, channels;
  TR_TRY(tr_aggregate_shape(&options->aggregate, &grid_h, &grid_w, &channels));
  if (options->train_images == 0 || options->variant_count == 0)
    return tr_fail(TR_EINVAL, "padim: expected at least one training image and one variant, found %zu and %zu",
                   options->train_images, options->variant_count);
  tr_model *model = calloc(1, sizeof *model);
  if (!model)
    return tr_fail(TR_ENOMEM, "creating a PaDiM model: out of memory");
  pthread_mutex_init(&model->lock, NULL);
  model->device = options->device;
  model->maps = options->aggregate;
  model->progress = options->progress;
  model->train_images = options->train_images;
  model->positions = (size_t)options->aggregate.h[0] * (size_t)options->aggregate.w[0];
  model->variant_count = options->variant_count;
  model->lanes = tr_device_lanes(options->device);
  model->variants = calloc(model->variant_count, sizeof *model->variants);
  model->variant_estimate = calloc(model->variant_count, sizeof *model->variant_estimate);
  model->estimates = calloc(model->variant_count, sizeof *model->estimates);
  model->lane_scratch = calloc((size_t)model->lanes, sizeof *model->lane_scratch);
  tr_status status = TR_OK;
  if (!model->variants || !model->variant_estimate || !model->estimates || !model->lane_scratch)
    status = tr_fail(TR_ENOMEM, "creating a PaDiM model of %zu variants: out of memory", model->variant_count);
  for (size_t v = 0; status == TR_OK && v < model->variant_count; ++v) {
    model->variants[v] = options->variants[v];
    status = plan_variant(model, v);
  }
  if (status != TR_OK) {
    release_model(model);
    return status;
  }
  *out = model;
  return TR_OK;
}

static tr_status add_work(void *context, const tr_batch *batch, size_t first, size_t count);
static tr_status distance_work(void *context, const tr_batch *batch, size_t first, size_t count);
static tr_status distance_end(void *context, const tr_batch *batch);

static tr_batches_options fit_batches(estimate *e) {
  tr_device *device = e->model->device;
  return (tr_batches_options){.device = device,
                              .positions = e->spec.positions,
                              .width = tr_gaussian_width(&e->spec),
                              .capacity = tr_gaussian_batch(device, &e->spec),
                              .items = e->spec.samples,
                              .in_order = true,
                              .work = add_work,
                              .context = e};
}

static tr_batches_options score_batches(estimate *e) {
  tr_device *device = e->model->device;
  return (tr_batches_options){.device = device,
                              .positions = e->spec.positions,
                              .width = tr_gaussian_width(&e->spec),
                              .capacity = tr_gaussian_queries(device),
                              .items = SIZE_MAX,
                              .results = true,
                              .note_bytes = sizeof(target),
                              .work = distance_work,
                              .end = distance_end,
                              .context = e};
}

static size_t channels_bytes(const tr_model *model) {
  size_t most = 0;
  for (size_t v = 0; v < model->count; ++v) {
    size_t bytes = tr_channels_scratch(model->device, &model->estimates[v].draw, (int)tr_device_chunk(model->device));
    most = bytes > most ? bytes : most;
  }
  return most;
}

static tr_status allocate_estimate(estimate *e) {
  tr_device *device = e->model->device;
  tr_gaussian_bytes bytes = tr_gaussian_sizes(&e->spec);
  TR_TRY(tr_device_alloc(device, bytes.means, (void **)&e->gaussian.means));
  TR_TRY(tr_device_alloc(device, bytes.factors, (void **)&e->gaussian.factors));
  TR_TRY(tr_device_alloc(device, bytes.samples, (void **)&e->gaussian.samples));
  return tr_device_alloc(device, tr_gaussian_scratch(device, &e->spec), &e->scratch);
}

static tr_status allocate_lanes(tr_model *model) {
  for (int lane = 0; lane < model->lanes; ++lane)
    TR_TRY(tr_device_alloc(model->device, channels_bytes(model), &model->lane_scratch[lane]));
  return TR_OK;
}

static tr_status create(const tr_method_options *options, tr_model **out) {
  *out = NULL;
  tr_model *model;
  TR_TRY(plan_model(options, &model));
  tr_status status = allocate_lanes(model);
  for (size_t v = 0; status == TR_OK && v < model->count; ++v) {
    estimate *e = &model->estimates[v];
    status = allocate_estimate(e);
    if (status == TR_OK)
      status = tr_device_alloc(model->device, tr_gaussian_sizes(&e->spec).running, (void **)&e->gaussian.running);
    if (status == TR_OK && e->spec.form == TR_GAUSSIAN_COVARIANCE) {
      tr_batches_options batches = fit_batches(e);
      status = tr_batches_create(&batches, &e->batches);
    }
  }
  if (status != TR_OK) {
    release_model(model);
    return tr_fail_context(status, "padim: memory for Gaussians of %d channels at %zu positions", options->variants[0].dimension,
                           (size_t)options->aggregate.h[0] * (size_t)options->aggregate.w[0]);
  }
  *out = model;
  return TR_OK;
}

/* ---- images into batches ---- */

/* Draws a variant's channels of n images to where there are `images` vectors of each position one after the other. */
static tr_status write_images(const estimate *e, int lane, size_t n, const float *const *maps, size_t images, float *at) {
  size_t width = tr_gaussian_width(&e->spec);
  tr_channels_args args = {.spec = e->draw,
                           .n = (int)n,
                           .dst = at,
                           .image_pitch = width,
                           .position_pitch = images * width,
                           .scratch = e->model->lane_scratch[lane]};
  for (int i = 0; i < e->draw.layers; ++i)
    args.maps[i] = maps[i];
  return tr_channels(e->model->device, &args);
}

/* The taps from image `skip` of a call on. */
static void later_maps(const estimate *e, size_t skip, const float *const *maps, const float **out) {
  for (int i = 0; i < e->draw.layers; ++i)
    out[i] = maps[i] + skip * (size_t)e->draw.h[i] * (size_t)e->draw.w[i] * (size_t)e->draw.c[i];
}

static tr_gaussian_args gaussian_args(const estimate *e, const tr_batch *batch, size_t first, size_t count) {
  return (tr_gaussian_args){.spec = e->spec,
                            .gaussian = e->gaussian,
                            .first_position = first,
                            .positions = count,
                            .n = batch->count,
                            .rows = batch->rows,
                            .position_pitch = tr_batches_capacity(e->batches) * tr_gaussian_width(&e->spec),
                            .first = batch->first,
                            .distances = batch->results,
                            .scratch = e->scratch};
}

/* ---- fitting ---- */

static tr_status add_work(void *context, const tr_batch *batch, size_t first, size_t count) {
  const estimate *e = context;
  tr_gaussian_args args = gaussian_args(e, batch, first, count);
  TR_TRY(tr_gaussian_add(e->model->device, &args));
  return tr_device_sync(e->model->device);
}

static tr_status fit_estimate(estimate *e, int lane, size_t first, size_t n, const float *const *maps) {
  if (!e->batches) /* the samples form: to their place at once */
    return write_images(e, lane, n, maps, e->spec.samples, e->gaussian.samples + first * tr_gaussian_width(&e->spec));
  for (size_t done = 0, count; done < n; done += count) {
    const float *later[TR_MAX_LAYERS];
    float *at;
    void *notes;
    count = n - done;
    TR_TRY(tr_batches_room(e->batches, first + done, &count, &at, &notes));
    later_maps(e, done, maps, later);
    TR_TRY(write_images(e, lane, count, later, tr_batches_capacity(e->batches), at));
    TR_TRY(tr_batches_written(e->batches, first + done, count));
  }
  return TR_OK;
}

static tr_status fit_images(tr_model *model, int lane, size_t first, size_t n, const float *const *maps) {
  for (size_t v = 0; v < model->count; ++v)
    TR_TRY(fit_estimate(&model->estimates[v], lane, first, n, maps));
  return TR_OK;
}

/* Test images take the training images' place. */
static tr_status start_scoring(estimate *e) {
  tr_batches_destroy(e->batches);
  e->batches = NULL;
  tr_batches_options batches = score_batches(e);
  return tr_batches_create(&batches, &e->batches);
}

static tr_status finish_estimate(estimate *e) {
  tr_device *device = e->model->device;
  if (e->batches)
    TR_TRY(tr_batches_finish(e->batches));
  double start = tr_seconds();
  TR_TRY(tr_gaussian_finish(
      device,
      &(tr_gaussian_args){.spec = e->spec, .gaussian = e->gaussian, .positions = e->spec.positions, .scratch = e->scratch}));
  TR_TRY(tr_device_sync(device));
  e->factor_seconds = tr_seconds() - start;
  tr_device_free(device, e->gaussian.running);
  e->gaussian.running = NULL;
  e->fitted = true;
  return start_scoring(e);
}

static tr_status fit_end(tr_model *model) {
  for (size_t v = 0; v < model->count; ++v) {
    tr_progress_update(model->progress, "Gaussians", v, model->count, "draws");
    tr_status status = finish_estimate(&model->estimates[v]);
    if (status != TR_OK)
      return tr_fail_context(status, "padim");
  }
  return TR_OK;
}

/* ---- scoring ---- */

static tr_status distance_work(void *context, const tr_batch *batch, size_t first, size_t count) {
  const estimate *e = context;
  tr_gaussian_args args = gaussian_args(e, batch, first, count);
  TR_TRY(tr_gaussian_distance(e->model->device, &args));
  return tr_device_sync(e->model->device);
}

static float largest_of(const float *values, size_t count) {
  float largest = values[0];
  for (size_t i = 1; i < count; ++i)
    largest = fmaxf(largest, values[i]);
  return largest;
}

static tr_status distance_end(void *context, const tr_batch *batch) {
  const estimate *e = context;
  const tr_model *model = e->model;
  const target *targets = batch->notes;
  size_t positions = e->spec.positions;
  for (size_t i = 0; i < batch->count; ++i) {
    const target *to = &targets[i];
    const float *done = NULL;
    for (size_t v = 0; v < model->variant_count; ++v) {
      if (&model->estimates[model->variant_estimate[v]] != e)
        continue;
      float *scores = to->patch_scores + v * to->variant_stride;
      if (done) {
        memcpy(scores, done, positions * sizeof *scores);
      } else {
        TR_TRY(tr_device_download(model->device, scores, batch->results + i * positions, positions * sizeof *scores));
        TR_TRY(tr_device_sync(model->device));
      }
      done = scores;
      to->image_score[v * to->image_stride] = largest_of(scores, positions);
    }
  }
  return TR_OK;
}

static void add_draw_seconds(estimate *e, double seconds) {
  pthread_mutex_lock(&e->model->lock);
  e->draw_seconds += seconds;
  pthread_mutex_unlock(&e->model->lock);
}

static tr_status score_estimate(estimate *e, int lane, size_t first, size_t n, const float *const *maps, target to) {
  for (size_t done = 0, count; done < n; done += count) {
    const float *later[TR_MAX_LAYERS];
    float *at;
    void *notes;
    count = n - done;
    TR_TRY(tr_batches_room(e->batches, first + done, &count, &at, &notes));
    for (size_t i = 0; i < count; ++i, to.patch_scores += e->spec.positions, ++to.image_score)
      ((target *)notes)[i] = to;
    double start, end;
    TR_TRY(tr_device_clock(e->model->device, &start));
    later_maps(e, done, maps, later);
    TR_TRY(write_images(e, lane, count, later, tr_batches_capacity(e->batches), at));
    TR_TRY(tr_device_clock(e->model->device, &end));
    add_draw_seconds(e, end - start);
    TR_TRY(tr_batches_written(e->batches, first + done, count));
  }
  return TR_OK;
}

static tr_status score_images(tr_model *model, int lane, size_t n, const float *const *maps, float *patch_scores,
                              size_t variant_stride, float *image_scores, size_t image_stride) {
  pthread_mutex_lock(&model->lock);
  size_t first = model->scored;
  model->scored += n;
  pthread_mutex_unlock(&model->lock);
  for (size_t v = 0; v < model->count; ++v)
    TR_TRY(score_estimate(&model->estimates[v], lane, first, n, maps,
                          (target){patch_scores, image_scores, variant_stride, image_stride}));
  return TR_OK;
}

static tr_status score_end(tr_model *model) {
  for (size_t v = 0; v < model->count; ++v)
    TR_TRY(tr_batches_finish(model->estimates[v].batches));
  model->scored = 0;
  return TR_OK;
}

static tr_status info(const tr_model *model, size_t variant, tr_model_info *out) {
  if (variant >= model->variant_count)
    return tr_fail(TR_EINVAL, "padim: there is no variant %zu of %zu", variant, model->variant_count);
  const estimate *e = &model->estimates[model->variant_estimate[variant]];
  *out = (tr_model_info){.dimension = e->spec.d,
                         .cover = NAN,
                         .coreset_seconds = e->factor_seconds,
                         .nearest_seconds = tr_batches_seconds(e->batches) / model->lanes,
                         .aggregate_seconds = e->draw_seconds / model->lanes};
  return TR_OK;
}

static const uint32_t *bank_order(const tr_model *model, size_t variant, size_t *rows) {
  (void)model;
  (void)variant;
  *rows = 0;
  return NULL;
}

/* ---- forecast ---- */

/* Scores leave the model batch by batch: memory does not grow with the number of test images. */
static tr_status forecast(const tr_method_options *options, size_t test_images, tr_method_needs *out) {
  *out = (tr_method_needs){0};
  TR_TRY(tr_aggregate_shape(&options->aggregate, &out->grid_h, &out->grid_w, &out->dimension));
  tr_model *model;
  TR_TRY(plan_model(options, &model));
  size_t shared = (size_t)model->lanes * channels_bytes(model), fitted = 0, running = 0, training = 0, test = 0;
  for (size_t v = 0; v < model->count; ++v) {
    estimate *e = &model->estimates[v];
    tr_gaussian_bytes bytes = tr_gaussian_sizes(&e->spec);
    tr_batches_options fit = fit_batches(e), score = score_batches(e);
    score.items = test_images > 0 ? test_images : 1;
    fitted += bytes.means + bytes.factors + bytes.samples + tr_gaussian_scratch(model->device, &e->spec);
    running += bytes.running;
    training += e->spec.form == TR_GAUSSIAN_COVARIANCE ? tr_batches_bytes(&fit) : 0;
    test += tr_batches_bytes(&score);
    tr_gaussian_macs macs = tr_gaussian_macs_of(&e->spec);
    out->fit_macs += macs.fit;
    out->score_macs += macs.distance * (double)test_images;
    out->gpu_fit_macs = out->fit_macs;
    out->gpu_score_macs = out->score_macs;
  }
  out->held_bytes = out->fit_bytes = shared + fitted + running + training;
  out->score_bytes = shared + fitted + test;
  release_model(model);
  return TR_OK;
}

/* ---- files ---- */

enum { MEANS, FACTORS, CHANNELS, SAMPLES, ARRAYS };

static void name_arrays(const estimate *e, tr_model_array arrays[ARRAYS]) {
  const tr_gaussian_spec *s = &e->spec;
  size_t width = tr_gaussian_width(s), rank = s->form == TR_GAUSSIAN_SAMPLES ? s->samples : (size_t)s->d;
  arrays[MEANS] = (tr_model_array){"means", TR_ARRAY_F4, 2, {s->positions, width}, e->gaussian.means, true};
  arrays[FACTORS] =
      (tr_model_array){"factors", TR_ARRAY_F4, 2, {s->positions, tr_triangle_floats(rank)}, e->gaussian.factors, true};
  arrays[CHANNELS] = (tr_model_array){"channels", TR_ARRAY_U4, 1, {(size_t)s->d}, e->channels, false};
  arrays[SAMPLES] = (tr_model_array){"samples", TR_ARRAY_F4, 3, {s->positions, s->samples, width}, e->gaussian.samples, true};
}

static tr_status write_settings(const estimate *e, const tr_variant *v, cJSON *out) {
  size_t count;
  bool complete = cJSON_AddItemToObject(out, "train_images", tr_json_number((double)e->spec.samples)) &&
                  cJSON_AddItemToObject(out, "seed", tr_json_number((double)v->seed)) &&
                  cJSON_AddItemToObject(out, "dimension", tr_json_number(v->dimension)) &&
                  cJSON_AddItemToObject(out, "epsilon", tr_json_number(v->epsilon)) &&
                  cJSON_AddStringToObject(out, "placement", tr_placement_names(&count)[v->placement]) &&
                  cJSON_AddStringToObject(out, "image_score", tr_image_score_names(&count)[v->image_score]) &&
                  cJSON_AddStringToObject(out, "form", tr_gaussian_form_name(e->spec.form));
  return complete ? tr_model_maps_to_json(&e->model->maps, out) : tr_fail(TR_ENOMEM, "writing a model's settings: out of memory");
}

static tr_status save(const tr_model *model, size_t variant, const char *path, const char *about) {
  const estimate *e = variant < model->variant_count ? &model->estimates[model->variant_estimate[variant]] : NULL;
  if (!e || !e->fitted)
    return tr_fail(TR_EINVAL, "padim: variant %zu of %zu is not there or not fitted", variant, model->variant_count);
  tr_model_array arrays[ARRAYS];
  name_arrays(e, arrays);
  cJSON *settings = cJSON_CreateObject();
  tr_status status =
      settings ? write_settings(e, &model->variants[variant], settings) : tr_fail(TR_ENOMEM, "writing %s: out of memory", path);
  if (status == TR_OK)
    status = tr_model_file_write(path, model->device,
                                 &(tr_model_content){.method = "padim",
                                                     .settings = settings,
                                                     .about = about,
                                                     .arrays = arrays,
                                                     .array_count = e->spec.form == TR_GAUSSIAN_SAMPLES ? ARRAYS : SAMPLES});
  cJSON_Delete(settings);
  return status;
}

static tr_status read_choice(const cJSON *settings, const char *name, const char *const *(*names)(size_t *count), int *out) {
  size_t count;
  const char *const *list = names(&count);
  return tr_json_get_choice(settings, name, list, count, out);
}

static tr_status read_settings(const cJSON *settings, tr_method_options *options, tr_variant *variant, tr_gaussian_form *form) {
  static const char *const forms[] = {"covariance", "samples"}; /* in the enum's order */
  double seed, dimension, images;
  int placement, image_score, which;
  TR_TRY(tr_model_maps_from_json(settings, &options->aggregate));
  options->aggregate.kind = TR_AGGREGATE_CONCAT;
  options->aggregate.patch = options->aggregate.stride = 1;
  TR_TRY(tr_json_get_whole(settings, "train_images", 1, UINT32_MAX, &images));
  TR_TRY(tr_json_get_whole(settings, "seed", 0, 0x1p53, &seed));
  TR_TRY(tr_json_get_whole(settings, "dimension", 1, INT32_MAX, &dimension));
  TR_TRY(tr_json_get_number(settings, "epsilon", &variant->epsilon));
  TR_TRY(read_choice(settings, "placement", tr_placement_names, &placement));
  TR_TRY(read_choice(settings, "image_score", tr_image_score_names, &image_score));
  TR_TRY(tr_json_get_choice(settings, "form", forms, sizeof forms / sizeof *forms, &which));
  options->train_images = (size_t)images;
  variant->seed = (uint64_t)seed;
  variant->dimension = (int)dimension;
  variant->placement = (tr_placement)placement;
  variant->image_score = (tr_image_score)image_score;
  *form = (tr_gaussian_form)which;
  return TR_OK;
}

static tr_status load_arrays(const tr_model_file *file, estimate *e) {
  tr_model_array arrays[ARRAYS];
  const void *channels;
  tr_device *device = e->model->device;
  name_arrays(e, arrays);
  TR_TRY(tr_model_file_array(file, &arrays[CHANNELS], &channels));
  memcpy(e->channels, channels, (size_t)e->spec.d * sizeof *e->channels);
  TR_TRY(tr_channels_check(&e->draw));
  TR_TRY(tr_model_file_upload(file, device, &arrays[MEANS], (void **)&e->gaussian.means));
  TR_TRY(tr_model_file_upload(file, device, &arrays[FACTORS], (void **)&e->gaussian.factors));
  if (e->spec.form == TR_GAUSSIAN_SAMPLES)
    TR_TRY(tr_model_file_upload(file, device, &arrays[SAMPLES], (void **)&e->gaussian.samples));
  TR_TRY(tr_device_alloc(device, tr_gaussian_scratch(device, &e->spec), &e->scratch));
  e->fitted = true;
  return start_scoring(e);
}

static tr_status load(tr_device *device, const tr_model_file *file, tr_model **out) {
  *out = NULL;
  tr_variant variant = {0};
  tr_method_options options = {.device = device, .variants = &variant, .variant_count = 1};
  tr_gaussian_form form = TR_GAUSSIAN_COVARIANCE;
  tr_model *model = NULL;
  tr_status status = read_settings(tr_model_file_settings(file), &options, &variant, &form);
  if (status == TR_OK)
    status = plan_model(&options, &model);
  if (status == TR_OK) {
    model->estimates[0].spec.form = form;
    status = allocate_lanes(model);
  }
  if (status == TR_OK)
    status = load_arrays(file, &model->estimates[0]);
  if (status != TR_OK) {
    destroy(model);
    return tr_fail_context(status, "reading the model %s", tr_model_file_path(file));
  }
  *out = model;
  return TR_OK;
}

const tr_method tr_method_padim = {
    .name = "padim",
    .create = create,
    .destroy = destroy,
    .fit_images = fit_images,
    .fit_end = fit_end,
    .score_images = score_images,
    .score_end = score_end,
    .info = info,
    .bank_order = bank_order,
    .forecast = forecast,
    .save = save,
    .load = load,
};
