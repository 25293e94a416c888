/* Means of members. */
#include "host/harness/ensemble.h"
#include "host/base/status.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t tr_nominal_images(size_t train_images, size_t *out) {
  size_t count = train_images < TR_NOMINAL_IMAGES ? train_images : TR_NOMINAL_IMAGES;
  for (size_t i = 0; i < count; ++i)
    out[i] = i * train_images / count;
  return count;
}

void tr_kept_run_release(tr_kept_run *kept) {
  free(kept->name);
  free(kept->patch_scores);
  free(kept->image_scores);
  *kept = (tr_kept_run){0};
}

typedef struct range {
  float low, high;
} range;

/* value -> (value - shift) / divisor */
typedef struct scaling {
  float shift, divisor; /* divisor 0: all values become 0 */
} scaling;

static float scaled(scaling s, float value) {
  return s.divisor > 0 ? (value - s.shift) / s.divisor : 0;
}

static range range_of(const float *values, size_t count) {
  range r = {values[0], values[0]};
  for (size_t i = 1; i < count; ++i) {
    r.low = fminf(r.low, values[i]);
    r.high = fmaxf(r.high, values[i]);
  }
  return r;
}

static scaling by_range(range r) {
  return (scaling){r.low, r.high - r.low};
}

static scaling by_deviation(double mean, double deviation) {
  return (scaling){(float)mean, deviation > 0 ? (float)deviation : 1.0f};
}

/* ---- maps ---- */

typedef struct map_job {
  tr_evaluation *evaluation;
  size_t images, pixels;
  range *ranges; /* [images], of a member's maps */
  float *sum;    /* [images, pixels] */
  scaling scale;
  float members;
} map_job;

static tr_status no_memory(const map_job *job) {
  return tr_fail(TR_ENOMEM, "averaging maps of %zu images: out of memory", job->images);
}

static tr_status find_range(void *context, size_t image) {
  map_job *job = context;
  float *map = malloc(job->pixels * sizeof *map);
  tr_status status = map ? tr_evaluation_map(job->evaluation, image, map) : no_memory(job);
  if (status == TR_OK)
    job->ranges[image] = range_of(map, job->pixels);
  free(map);
  return status;
}

static tr_status add_map(void *context, size_t image) {
  map_job *job = context;
  float *map = malloc(job->pixels * sizeof *map), *sum = job->sum + image * job->pixels;
  tr_status status = map ? tr_evaluation_map(job->evaluation, image, map) : no_memory(job);
  for (size_t i = 0; status == TR_OK && i < job->pixels; ++i)
    sum[i] += scaled(job->scale, map[i]);
  free(map);
  return status;
}

static tr_status divide_map(void *context, size_t image) {
  map_job *job = context;
  float *sum = job->sum + image * job->pixels;
  for (size_t i = 0; i < job->pixels; ++i)
    sum[i] /= job->members;
  return TR_OK;
}

static tr_status add_member(tr_pool *pool, map_job *job, const tr_kept_run *m, tr_normalise normalise) {
  tr_patch_scores scores = {.values = m->patch_scores, .grid_h = m->grid_h, .grid_w = m->grid_w, .by_tile = m->by_tile};
  TR_TRY(tr_evaluation_maps(job->evaluation, &scores, m->sigma));
  job->scale = by_deviation(m->nominal.patch_mean, m->nominal.patch_deviation);
  if (normalise == TR_NORMALISE_OFFICIAL) {
    TR_TRY(tr_pool_run(pool, job->images, find_range, job));
    range all = job->ranges[0];
    for (size_t i = 1; i < job->images; ++i)
      all = (range){fminf(all.low, job->ranges[i].low), fmaxf(all.high, job->ranges[i].high)};
    job->scale = by_range(all);
  }
  return tr_pool_run(pool, job->images, add_map, job);
}

static tr_status average_maps(const tr_plan_ensemble *e, const tr_kept_run *const *members, tr_pool *pool, map_job *job) {
  const tr_setting *s = e->run.setting;
  for (int i = 0; i < s->member_count; ++i)
    TR_TRY(add_member(pool, job, members[i], s->normalise));
  TR_TRY(tr_pool_run(pool, job->images, divide_map, job));
  return tr_evaluation_set_maps(job->evaluation, job->sum);
}

/* ---- image scores ---- */

static void average_images(const tr_plan_ensemble *e, const tr_kept_run *const *members, size_t images, float *scores) {
  const tr_setting *s = e->run.setting;
  memset(scores, 0, images * sizeof *scores);
  for (int i = 0; i < s->member_count; ++i) {
    const tr_kept_run *m = members[i];
    scaling scale = s->normalise == TR_NORMALISE_OFFICIAL ? by_range(range_of(m->image_scores, images))
                                                          : by_deviation(m->nominal.image_mean, m->nominal.image_deviation);
    for (size_t j = 0; j < images; ++j)
      scores[j] += scaled(scale, m->image_scores[j]);
  }
  for (size_t j = 0; j < images; ++j)
    scores[j] /= (float)s->member_count;
}

tr_status tr_ensemble_score(const tr_plan_ensemble *e, const tr_kept_run *const *members, tr_device *device, size_t test_images,
                            tr_evaluation *evaluation, float *image_scores) {
  map_job job = {.evaluation = evaluation,
                 .images = test_images,
                 .pixels = (size_t)e->tiling.h * (size_t)e->tiling.w,
                 .members = (float)e->run.setting->member_count};
  job.ranges = calloc(test_images + 1, sizeof *job.ranges);
  job.sum = calloc(test_images * job.pixels + 1, sizeof *job.sum);
  tr_status status = job.ranges && job.sum ? average_maps(e, members, tr_device_pool(device), &job) : no_memory(&job);
  if (status == TR_OK)
    average_images(e, members, test_images, image_scores);
  free(job.ranges);
  free(job.sum);
  return status;
}
