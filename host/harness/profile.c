/* Rates of this machine, measured on small pieces of the work at hand. */
#include "host/harness/profile.h"
#include "host/base/clock.h"
#include "host/base/rng.h"
#include "host/base/status.h"
#include "host/harness/resized.h"
#include "host/harness/ring.h"
#include "host/methods/picks.h"
#include "host/metrics/metrics.h"
#include "kernels/project.h"
#include "kernels/smooth.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static tr_status no_memory(void) {
  return tr_fail(TR_ENOMEM, "measuring this machine: out of memory");
}

/* ---- decoding: the first image, once a lane and again ---- */

typedef struct decode_job {
  tr_device *device;
  const char *path;
  tr_image_spec image;
} decode_job;

static tr_status decode_and_resize(void *context, size_t first, size_t n, int lane) {
  (void)first;
  (void)n;
  (void)lane;
  const decode_job *job = context;
  tr_image image;
  TR_TRY(tr_image_read(job->path, 3, &image));
  int h, w;
  tr_status status = tr_resize_shape(&job->image, image.h, image.w, &h, &w);
  uint8_t *resized = status == TR_OK ? malloc((size_t)h * (size_t)w * 3) : NULL;
  if (status == TR_OK)
    status = resized ? tr_image_resized(job->device, &job->image, &image, resized) : no_memory();
  free(resized);
  tr_image_free(&image);
  return status;
}

/* A piece of work is done again until so much time has gone by. */
#define ENOUGH_SECONDS 0.5

/* Seconds of `items` chunk items through `fn`, after a first round that does not count: the mean of `most` rounds, on a machine as busy as
 * it is, or of fewer where these take long. */
static tr_status time_chunks(tr_device *device, size_t items, int most, tr_chunk_fn fn, void *context, double *seconds) {
  TR_TRY(tr_device_for_chunks(device, (size_t)tr_device_lanes(device) * tr_device_chunk(device), fn, context));
  TR_TRY(tr_device_sync(device));
  double start = tr_seconds(), spent = 0;
  int rounds = 0;
  for (; rounds < most && spent < ENOUGH_SECONDS; ++rounds) {
    TR_TRY(tr_device_for_chunks(device, items, fn, context));
    TR_TRY(tr_device_sync(device));
    spent = tr_seconds() - start;
  }
  *seconds = spent / rounds;
  return TR_OK;
}

/* ---- decoding ahead: the first image into the ring ---- */

typedef struct ring_job {
  tr_ring *ring;
  size_t count;
} ring_job;

static tr_status take_images(void *context) {
  const ring_job *job = context;
  for (size_t i = 0; i < job->count; ++i) {
    tr_ring_image image;
    TR_TRY(tr_ring_take(job->ring, &image));
    TR_TRY(tr_ring_let_go(job->ring));
  }
  return TR_OK;
}

static tr_status time_ring(tr_ring *ring, const tr_sample *samples, size_t count, double *seconds) {
  ring_job job = {ring, count};
  double start = tr_seconds();
  TR_TRY(tr_ring_run(ring, samples, count, take_images, &job));
  *seconds = tr_seconds() - start;
  return TR_OK;
}

static tr_status measure_ring(tr_device *device, const tr_pass *pass, double *pixels_per_second) {
  const tr_plan_class *c = pass->class_;
  size_t images = 4 * (size_t)tr_pool_threads(tr_device_pool(device));
  tr_sample *samples = calloc(images, sizeof *samples);
  if (!samples)
    return no_memory();
  for (size_t i = 0; i < images; ++i)
    samples[i].path = c->first_image;
  tr_ring *ring = NULL;
  double seconds = 0;
  tr_status status = tr_ring_create(device, (size_t)c->first_h * (size_t)c->first_w * 3, &ring);
  if (status == TR_OK)
    status = time_ring(ring, samples, images / 4, &seconds);
  if (status == TR_OK)
    status = time_ring(ring, samples, images, &seconds);
  if (status == TR_OK)
    *pixels_per_second = (double)images * c->first_h * c->first_w / seconds;
  tr_ring_destroy(ring);
  free(samples);
  return status;
}

static tr_status measure_decoding(tr_device *device, const tr_pass *pass, double *pixels_per_second) {
  if (tr_device_works_alone(device))
    return measure_ring(device, pass, pixels_per_second);
  decode_job job = {device, pass->class_->first_image, pass->image};
  size_t images = 2 * (size_t)tr_device_lanes(device), chunk = tr_device_chunk(device);
  double seconds;
  TR_TRY(time_chunks(device, images * chunk, 4, decode_and_resize, &job, &seconds));
  *pixels_per_second = (double)images * pass->class_->first_h * pass->class_->first_w / seconds;
  return TR_OK;
}

/* ---- the backbone: grey images ---- */

typedef struct backbone_job {
  tr_backbone *backbone;
  float *images; /* device, [chunk]: all lanes read the same */
  float *(*taps)[TR_MAX_TAPS];
} backbone_job;

static tr_status run_backbone(void *context, size_t first, size_t n, int lane) {
  (void)first;
  backbone_job *job = context;
  return tr_backbone_run(job->backbone, lane, (int)n, job->images, job->taps[lane]);
}

static tr_status allocate_taps(tr_device *device, backbone_job *job, const tr_backbone_options *options) {
  size_t chunk = tr_device_chunk(device), input = chunk * (size_t)options->in_h * (size_t)options->in_w * 3 * sizeof(float);
  job->taps = calloc((size_t)tr_device_lanes(device), sizeof *job->taps);
  if (!job->taps)
    return no_memory();
  TR_TRY(tr_device_alloc(device, input, (void **)&job->images));
  TR_TRY(tr_device_zero(device, job->images, input));
  for (int lane = 0; lane < tr_device_lanes(device); ++lane)
    for (int i = 0; i < options->layer_count; ++i) {
      int h, w, c;
      tr_backbone_tap_shape(job->backbone, i, &h, &w, &c);
      size_t bytes = chunk * (size_t)h * (size_t)w * (size_t)c * sizeof(float);
      TR_TRY(tr_device_alloc(device, bytes, (void **)&job->taps[lane][i]));
    }
  return TR_OK;
}

static tr_status measure_backbone(tr_device *device, const tr_pass *pass, double *macs_per_second) {
  tr_backbone_options options = tr_pass_backbone_options(pass);
  backbone_job job = {0};
  tr_weights *weights = NULL;
  if (pass->weights->file)
    TR_TRY(tr_weights_open(pass->weights->file, &weights));
  tr_status status = tr_backbone_create(device, &options, weights, &job.backbone);
  if (weights)
    tr_weights_close(weights);
  if (status == TR_OK)
    status = allocate_taps(device, &job, &options);
  double seconds = 0;
  size_t images = (size_t)tr_device_lanes(device) * tr_device_chunk(device);
  if (status == TR_OK)
    status = time_chunks(device, images, 4, run_backbone, &job, &seconds);
  if (status == TR_OK)
    *macs_per_second = (double)images * pass->forecast.backbone_macs / (double)tr_tiling_count(&pass->tiling) / seconds;
  for (int lane = 0; job.taps && lane < tr_device_lanes(device); ++lane)
    for (int i = 0; i < TR_MAX_TAPS; ++i)
      tr_device_free(device, job.taps[lane][i]);
  free(job.taps);
  tr_device_free(device, job.images);
  tr_backbone_destroy(job.backbone);
  return status;
}

/* ---- products and metrics: noise ---- */

static tr_status noise(tr_device *device, size_t count, float **out) {
  float *host = malloc(count * sizeof *host);
  if (!host)
    return no_memory();
  tr_rng rng = tr_rng_make(0, TR_RNG_TEST, 0);
  for (size_t i = 0; i < count; ++i)
    host[i] = tr_rng_float(&rng);
  tr_status status = tr_device_alloc(device, count * sizeof *host, (void **)out);
  if (status == TR_OK)
    status = tr_device_upload(device, *out, host, count * sizeof *host);
  free(host);
  return status;
}

/* Products with packed rows are what searches and selections spend their time in, and projecting is nothing else. */
enum { ROWS = 1568, DIMENSION = 1024, PROJECTION = 128 };

typedef struct product_job {
  tr_device *device;
  float *rows, *matrix, *products;
} product_job;

static tr_status run_product(void *context, size_t first, size_t n, int lane) {
  (void)first;
  (void)n;
  product_job *job = context;
  return tr_project(job->device, &(tr_project_args){.n = ROWS,
                                                    .d = DIMENSION,
                                                    .d_star = PROJECTION,
                                                    .src = job->rows,
                                                    .matrix = job->matrix,
                                                    .dst = job->products + (size_t)lane * ROWS * PROJECTION});
}

static tr_status prepare_products(tr_device *device, product_job *job) {
  size_t lanes = (size_t)tr_device_lanes(device);
  TR_TRY(noise(device, (size_t)ROWS * DIMENSION, &job->rows));
  TR_TRY(noise(device, (size_t)DIMENSION * PROJECTION, &job->matrix));
  return tr_device_alloc(device, lanes * ROWS * PROJECTION * sizeof(float), (void **)&job->products);
}

static tr_status measure_search(tr_device *device, tr_profile *out) {
  product_job job = {.device = device};
  tr_status status = prepare_products(device, &job);
  size_t calls = (size_t)tr_device_lanes(device), chunk = tr_device_chunk(device);
  double seconds = 0;
  if (status == TR_OK)
    status = time_chunks(device, calls * chunk, 24, run_product, &job, &seconds);
  if (status == TR_OK)
    out->search_macs = (double)calls * ROWS * DIMENSION * PROJECTION / seconds;
  void *const memory[] = {job.rows, job.matrix, job.products};
  for (size_t i = 0; i < sizeof memory / sizeof *memory; ++i)
    tr_device_free(device, memory[i]);
  return status;
}

enum { MAPS = 16, SIDE = 224 };

static tr_status measure_metrics(tr_device *device, tr_profile *out) {
  float *maps = NULL, *mask = calloc((size_t)SIDE * SIDE, sizeof *mask);
  void *scratch = NULL;
  if (!mask)
    return no_memory();
  const float *masks[MAPS] = {mask};
  for (int i = 0; i < SIDE; ++i)
    mask[SIDE * SIDE / 2 + i] = 1;
  tr_status status = noise(device, (size_t)MAPS * SIDE * SIDE, &maps);
  if (status == TR_OK)
    status = tr_device_alloc(device, tr_smooth_scratch(device, MAPS, SIDE, SIDE), &scratch);
  double start = tr_seconds();
  if (status == TR_OK)
    status = tr_smooth(device, &(tr_smooth_args){.n = MAPS, .h = SIDE, .w = SIDE, .sigma = 4, .maps = maps, .scratch = scratch});
  tr_pixel_metrics metrics;
  if (status == TR_OK)
    status = tr_pixel_metrics_compute(device, maps, masks, MAPS, SIDE, SIDE, &metrics);
  out->metric_pixels = (double)MAPS * SIDE * SIDE / (tr_seconds() - start);
  tr_device_free(device, maps);
  tr_device_free(device, scratch);
  free(mask);
  return status;
}

/* ---- files ---- */

enum { FILE_BYTES = 32 << 20 };

static tr_status time_file(tr_feature_file *file, void *block, tr_profile *out) {
  double start = tr_seconds();
  TR_TRY(tr_feature_file_write(file, 0, block, FILE_BYTES));
  TR_TRY(tr_feature_file_flush(file));
  TR_TRY(tr_feature_file_read(file, 0, block, FILE_BYTES));
  out->file_bytes = 2.0 * FILE_BYTES / (tr_seconds() - start);
  return TR_OK;
}

/* Where there can be no file the rate stays unknown. */
tr_status tr_profile_measure_file(tr_profile *out) {
  const char *folder = getenv("TMPDIR");
  tr_feature_file *file;
  void *block = calloc(1, FILE_BYTES);
  if (!block)
    return no_memory();
  if (tr_feature_file_create(folder ? folder : "/tmp", FILE_BYTES, &file) == TR_OK) {
    if (time_file(file, block, out) != TR_OK)
      out->file_bytes = 0;
    tr_feature_file_close(file);
  }
  free(block);
  return TR_OK;
}

/* ---- memory ---- */

enum { TOUCHED_BYTES = 32 << 20 };

/* A virtual machine may have to fetch memory from its host first, at less than 1 GB/s. */
static tr_status measure_memory(tr_device *device, tr_profile *out) {
  void *block = NULL;
  TR_TRY(tr_device_alloc(device, TOUCHED_BYTES, &block));
  double start = tr_seconds();
  tr_status status = tr_device_zero(device, block, TOUCHED_BYTES);
  out->memory_bytes = TOUCHED_BYTES / (tr_seconds() - start);
  tr_device_free(device, block);
  return status;
}

/* ---- the whole ---- */

/* Where no image can be read: a processor core decodes and resizes about as much of MVTec AD's PNG files a second. */
#define ASSUMED_PIXELS_A_CORE 30e6

static size_t class_index(const tr_plan *plan, const tr_plan_class *class_) {
  size_t i = 0;
  while (plan->classes[i] != class_)
    ++i;
  return i;
}

static size_t weights_index(const tr_plan *plan, const tr_plan_weights *weights) {
  size_t i = 0;
  while (plan->weights[i] != weights)
    ++i;
  return i;
}

/* One class, and one backbone, after the other as long as that takes little time; the others are expected to reach the mean of their
 * rates. */
#define DECODE_SECONDS   1.0
#define BACKBONE_SECONDS 1.0

/* 0: the class's first image cannot be read. */
static tr_status measure_class(tr_device *device, const tr_pass *pass, double *rate) {
  tr_status status = measure_decoding(device, pass, rate);
  return status == TR_EIO || status == TR_EFORMAT ? TR_OK : status;
}

static tr_status measure_images(tr_device *device, const tr_plan *plan, tr_profile *out) {
  double start = tr_seconds(), sum = 0;
  size_t measured = 0;
  for (size_t i = 0; i < plan->pass_count && (!measured || tr_seconds() - start < DECODE_SECONDS); ++i) {
    const tr_pass *pass = &plan->passes[i];
    double *rate = &out->decoders[class_index(plan, pass->class_)];
    if (pass->class_->size_assumed || pass->class_->error || *rate > 0)
      continue;
    TR_TRY(measure_class(device, pass, rate));
    sum += *rate;
    measured += *rate > 0;
  }
  out->decode_assumed = !measured;
  out->decode_pixels = measured ? sum / (double)measured : ASSUMED_PIXELS_A_CORE * tr_pool_threads(tr_device_pool(device));
  return TR_OK;
}

static tr_status measure_backbones(tr_device *device, const tr_plan *plan, tr_profile *out) {
  double start = tr_seconds(), sum = 0;
  size_t measured = 0;
  for (size_t i = 0; i < plan->pass_count && (!measured || tr_seconds() - start < BACKBONE_SECONDS); ++i) {
    const tr_pass *pass = &plan->passes[i];
    double *rate = &out->backbones[weights_index(plan, pass->weights)];
    if (pass->refused || *rate > 0)
      continue;
    TR_TRY(measure_backbone(device, pass, rate));
    sum += *rate;
    ++measured;
  }
  out->backbone_macs = measured ? sum / (double)measured : 0;
  return TR_OK;
}

static bool has_files(const tr_plan *plan) {
  for (size_t i = 0; i < plan->pass_count; ++i) {
    const tr_pass *pass = &plan->passes[i];
    bool file = pass->image_cache == TR_CACHE_FILE || pass->map_cache == TR_CACHE_FILE;
    for (size_t g = 0; !file && g < pass->group_count; ++g)
      file = pass->groups[g].needs.file_bytes > 0;
    if (file && !pass->refused)
      return true;
  }
  return false;
}

tr_status tr_profile_measure(tr_device *device, const tr_plan *plan, tr_profile *out) {
  *out = (tr_profile){0};
  double start = tr_seconds();
  out->gpu = tr_device_works_alone(device);
  out->backbones = calloc(plan->weights_count + 1, sizeof *out->backbones);
  out->decoders = calloc(plan->class_count + 1, sizeof *out->decoders);
  tr_status status = out->backbones && out->decoders ? TR_OK : no_memory();
  if (status == TR_OK)
    status = measure_images(device, plan, out);
  if (status == TR_OK)
    status = measure_backbones(device, plan, out);
  if (status == TR_OK)
    status = measure_search(device, out);
  if (status == TR_OK)
    status = measure_metrics(device, out);
  if (status == TR_OK && has_files(plan))
    status = tr_profile_measure_file(out);
  if (status == TR_OK && !out->gpu)
    status = measure_memory(device, out);
  out->seconds = tr_seconds() - start;
  if (status != TR_OK)
    tr_profile_free(out);
  return status;
}

void tr_profile_free(tr_profile *profile) {
  free(profile->backbones);
  free(profile->decoders);
  *profile = (tr_profile){0};
}
