/* gaussian on the cpu: position after position, in the order of memory; the algebra is triangle.c's.
 *
 * PaDiM's 3,136 positions of 550 channels on two cores of an EPYC 9004 (`totalrecall bench gaussian`): 0.24 s for 120 vectors, 49 % of
 * sgemm's peak; 7.8 s for 391, 30 % counted as covariance and Cholesky, twice that as the reflections it does. */
#include "host/base/progress.h"
#include "host/base/status.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/exact.h"
#include "kernels/cpu/triangle.h"
#include "kernels/sections.h"

#include <math.h>
#include <string.h>

enum { TASK_POSITIONS = 16 };

/* One worker's share of the scratch memory. */
typedef struct work {
  float *vectors; /* [most, width]: centred */
  float *upper;   /* the covariance form's R while it's turned, or rows of an update */
  float *weights; /* [queries, samples rounded]: the samples form's w */
  double *sums;   /* [width] */
  size_t bytes;
} work;

typedef struct job {
  const tr_gaussian_args *args;
  bool samples;        /* the form */
  size_t width;        /* of vectors */
  size_t rank, floats; /* of a factor */
  double divisor;      /* N - 1, or 1 */
  const tr_device *device;
} job;

static work layout(tr_sections sections, const tr_device *device, const tr_gaussian_spec *spec) {
  size_t queries = tr_gaussian_queries(device), width = tr_gaussian_width(spec);
  size_t rows = queries > TR_TRIANGLE_MOST_ROWS ? queries : TR_TRIANGLE_MOST_ROWS;
  work w = {0};
  w.vectors = tr_section(&sections, rows * width * sizeof(float));
  if (spec->form == TR_GAUSSIAN_SAMPLES)
    w.weights = tr_section(&sections, queries * tr_triangle_round(spec->samples) * sizeof(float));
  else
    w.upper = tr_section(&sections, tr_triangle_floats((size_t)spec->d) * sizeof(float));
  w.sums = tr_section(&sections, width * sizeof(double));
  w.bytes = sections.used;
  return w;
}

size_t tr_cpu_gaussian_scratch(const tr_device *device, const tr_gaussian_spec *spec) {
  return (size_t)tr_pool_threads(tr_device_pool(device)) * layout(TR_SECTIONS_COUNT, device, spec).bytes;
}

static work my_work(const job *j) {
  size_t bytes = layout(TR_SECTIONS_COUNT, j->device, &j->args->spec).bytes;
  return layout(tr_sections_of((char *)j->args->scratch + (size_t)tr_pool_worker() * bytes), j->device, &j->args->spec);
}

typedef tr_status (*position_fn)(const job *j, size_t position, work *w);

typedef struct range_job {
  job job;
  position_fn fn;
} range_job;

static tr_status run_range(void *context, size_t task) {
  const range_job *r = context;
  const tr_gaussian_args *args = r->job.args;
  if (tr_cancel_requested())
    return tr_fail(TR_ECANCELED, "stopped");
  work w = my_work(&r->job);
  size_t first = task * TASK_POSITIONS, end = first + TASK_POSITIONS;
  for (size_t p = first; p < end && p < args->positions; ++p)
    TR_TRY(r->fn(&r->job, args->first_position + p, &w));
  return TR_OK;
}

static tr_status for_positions(tr_device *device, const tr_gaussian_args *args, position_fn fn) {
  const tr_gaussian_spec *spec = &args->spec;
  bool samples = spec->form == TR_GAUSSIAN_SAMPLES;
  size_t rank = samples ? spec->samples : (size_t)spec->d;
  range_job r = {.job = {.args = args,
                         .device = device,
                         .samples = samples,
                         .width = tr_gaussian_width(spec),
                         .rank = rank,
                         .floats = tr_triangle_floats(rank),
                         .divisor = spec->samples > 1 ? (double)(spec->samples - 1) : 1},
                 .fn = fn};
  return tr_pool_run(tr_device_pool(device), (args->positions + TASK_POSITIONS - 1) / TASK_POSITIONS, run_range, &r);
}

/* sums = sum of `n` rows */
static void sum_rows(const float *rows, size_t n, size_t width, size_t d, double *sums) {
  memset(sums, 0, d * sizeof *sums);
  for (size_t i = 0; i < n; ++i)
    for (size_t k = 0; k < d; ++k)
      sums[k] += (double)rows[i * width + k];
}

/* to = rows - mean, columns after the d-th 0; may be in place. */
static void centre_rows(const float *rows, size_t n, size_t width, size_t d, const float *mean, float *to) {
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < d; ++k)
      to[i * width + k] = rows[i * width + k] - mean[k];
    memset(to + i * width + d, 0, (width - d) * sizeof *to);
  }
}

static void set_mean(const double *sums, double n, size_t width, size_t d, float *mean) {
  for (size_t k = 0; k < d; ++k)
    mean[k] = (float)(sums[k] / n);
  memset(mean + d, 0, (width - d) * sizeof *mean);
}

static float *diagonal(float *triangle, size_t i) {
  size_t block = i / TR_TRIANGLE;
  return triangle + tr_triangle_offset(block) + i % TR_TRIANGLE * (block + 1) * TR_TRIANGLE + i;
}

/* ---- adding ---- */

static tr_status keep_samples(const job *j, size_t position, work *w) {
  (void)w;
  const tr_gaussian_args *args = j->args;
  float *to = args->gaussian.samples + (position * args->spec.samples + args->first) * j->width;
  memcpy(to, args->rows + position * args->position_pitch, args->n * j->width * sizeof *to);
  return TR_OK;
}

/* The last row: what the batch's mean and the mean so far are apart, weighed as its square belongs in the sum. Moves the latter on. */
static void step_mean(const job *j, const double *batch_sums, double *running, float *row) {
  double before = (double)j->args->first, n = (double)j->args->n, weight = sqrt(before * n / (before + n));
  for (size_t k = 0; k < (size_t)j->args->spec.d; ++k) {
    double step = batch_sums[k] / n - (before > 0 ? running[k] : 0);
    row[k] = before > 0 ? (float)(weight * step) : 0;
    running[k] = before > 0 ? running[k] + step * (n / (before + n)) : step;
  }
  memset(row + j->args->spec.d, 0, (j->width - (size_t)j->args->spec.d) * sizeof *row);
}

static tr_status add_batch(const job *j, size_t position, work *w) {
  const tr_gaussian_args *args = j->args;
  size_t width = j->width, d = (size_t)args->spec.d;
  const float *rows = args->rows + position * args->position_pitch;
  float *mean = args->gaussian.means + position * width, *triangle = args->gaussian.factors + position * j->floats;
  if (args->first == 0)
    tr_cpu_triangle_start(triangle, d, (float)sqrt(args->spec.epsilon * j->divisor));
  sum_rows(rows, args->n, width, d, w->sums);
  set_mean(w->sums, (double)args->n, width, d, mean);
  centre_rows(rows, args->n, width, d, mean, w->vectors);
  step_mean(j, w->sums, args->gaussian.running + position * width, w->vectors + args->n * width);
  tr_cpu_triangle_update(triangle, d, w->vectors, args->n + 1, width, w->upper);
  return TR_OK;
}

tr_status tr_cpu_gaussian_add(tr_device *device, const tr_gaussian_args *args) {
  return for_positions(device, args, args->spec.form == TR_GAUSSIAN_SAMPLES ? keep_samples : add_batch);
}

/* ---- factors ---- */

static bool factor_samples(const job *j, size_t position, work *w) {
  size_t n = j->args->spec.samples, d = (size_t)j->args->spec.d;
  float *samples = j->args->gaussian.samples + position * n * j->width, *mean = j->args->gaussian.means + position * j->width;
  float *triangle = j->args->gaussian.factors + position * j->floats;
  sum_rows(samples, n, j->width, d, w->sums);
  set_mean(w->sums, (double)n, j->width, d, mean);
  centre_rows(samples, n, j->width, d, mean, samples);
  tr_cpu_triangle_gram(triangle, n, samples, j->width);
  for (size_t i = 0; i < n; ++i)
    *diagonal(triangle, i) += (float)(j->args->spec.epsilon * j->divisor);
  return tr_cpu_triangle_factor(triangle, n);
}

static bool factor_covariance(const job *j, size_t position, work *w) {
  float *triangle = j->args->gaussian.factors + position * j->floats;
  set_mean(j->args->gaussian.running + position * j->width, 1, j->width, j->rank, j->args->gaussian.means + position * j->width);
  memcpy(w->upper, triangle, j->floats * sizeof *triangle);
  return tr_cpu_triangle_finish(w->upper, j->rank, (float)sqrt(1 / j->divisor), triangle);
}

static tr_status finish_position(const job *j, size_t position, work *w) {
  if (!(j->samples ? factor_samples(j, position, w) : factor_covariance(j, position, w)))
    return tr_fail(
        TR_EINVAL,
        "gaussian: the covariance of %d channels at position %zu is not positive definite: there are values that are not "
        "finite, or epsilon (%g) is too small for their size",
        j->args->spec.d, position, j->args->spec.epsilon);
  return TR_OK;
}

tr_status tr_cpu_gaussian_finish(tr_device *device, const tr_gaussian_args *args) {
  return for_positions(device, args, finish_position);
}

/* ---- distances ---- */

/* From d in w->vectors to what is left of them, d - X^T w. */
static void regress(const job *j, size_t position, work *w) {
  const tr_gaussian_args *args = j->args;
  size_t samples = args->spec.samples, pitch = tr_triangle_round(samples);
  const float *x = args->gaussian.samples + position * samples * j->width,
              *factor = args->gaussian.factors + position * j->floats;
  memset(w->weights, 0, args->n * pitch * sizeof *w->weights);
  tr_cpu_triangle_dot(w->vectors, args->n, j->width, x, samples, j->width, j->width, w->weights, pitch);
  tr_cpu_triangle_forward(factor, samples, w->weights, args->n, pitch);
  tr_cpu_triangle_backward(factor, samples, w->weights, args->n, pitch);
  tr_cpu_triangle_subtract(w->weights, args->n, pitch, x, samples, j->width, j->width, w->vectors, j->width);
}

static tr_status measure(const job *j, size_t position, work *w) {
  const tr_gaussian_args *args = j->args;
  const tr_gaussian_spec *spec = &args->spec;
  centre_rows(args->rows + position * args->position_pitch, args->n, j->width, (size_t)spec->d,
              args->gaussian.means + position * j->width, w->vectors);
  if (j->samples)
    regress(j, position, w);
  else
    tr_cpu_triangle_forward(args->gaussian.factors + position * j->floats, j->rank, w->vectors, args->n, j->width);
  for (size_t i = 0; i < args->n; ++i) {
    double squared = tr_exact_norm2(w->vectors + i * j->width, j->width);
    if (j->samples) {
      size_t pitch = tr_triangle_round(spec->samples);
      squared = squared / spec->epsilon + j->divisor * tr_exact_norm2(w->weights + i * pitch, pitch);
    }
    float distance = (float)sqrt(squared);
    if (!isfinite(distance))
      return tr_fail(TR_EINVAL, "gaussian: vector %zu: its distance at position %zu is not finite", i, position);
    args->distances[i * spec->positions + position] = distance;
  }
  return TR_OK;
}

tr_status tr_cpu_gaussian_distance(tr_device *device, const tr_gaussian_args *args) {
  return for_positions(device, args, measure);
}
