/* proxies on the cpu: a step in four passes, three of them over tiles of proxies and one over tiles of dimensions, each a matrix product and
 * what belongs to it. Matrices of weights stand proxy by proxy, [count, batch]: sums over proxies then run along rows of the batch,
 * side by side, and a tile's own proxies are all that its last pass changes. Tiles and the order of sums do not depend on threads.
 *
 * Five products of count x batch x d multiply-adds a step, which take nearly all of the time: 200 steps of 256 rows for 10 % of bottle's
 * 94,080 rows (9,408 proxies of 1,024) 29 s on two cores of an EPYC 9004, 85 G multiply-adds a second; 1 %: 3.1 s. */
#include "host/base/status.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/sections.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { TILE = 256, COLUMNS = 64, ROWS = 16, LANES = 16 };

typedef struct worker {
  float *similarities; /* [TILE, batch]: p_k . (r_i - m_i) */
  float *factors;      /* [TILE, 2 batch]: weights, then what distances add */
  float *gradients;    /* [TILE, d] */
} worker;

typedef struct memory {
  float *distances, *weights; /* [count, batch] */
  float *tile_minima;         /* [tiles, batch] */
  float *tile_sums;           /* [tiles, batch] */
  float *minima, *scales;     /* [batch]: least distance; 1 / sum of weights */
  float *errors;              /* [2 batch, d]: r - m, then the rows m */
  float *products;            /* [batch]: (r - m) . r */
  char *workers;
} memory;

typedef struct job {
  const tr_proxies_step *step;
  memory m;
  size_t tiles;
} job;

static worker lay_out_worker(tr_sections *s, size_t d, size_t batch) {
  worker w;
  w.similarities = tr_section(s, TILE * batch * sizeof(float));
  w.factors = tr_section(s, TILE * 2 * batch * sizeof(float));
  w.gradients = tr_section(s, TILE * d * sizeof(float));
  return w;
}

static size_t worker_bytes(size_t d, size_t batch) {
  tr_sections s = TR_SECTIONS_COUNT;
  (void)lay_out_worker(&s, d, batch);
  return s.used;
}

static size_t tile_count(size_t count) {
  return (count + TILE - 1) / TILE;
}

static memory lay_out(tr_sections *s, const tr_device *device, size_t count, size_t d, size_t batch) {
  memory m;
  m.distances = tr_section(s, count * batch * sizeof(float));
  m.weights = tr_section(s, count * batch * sizeof(float));
  m.tile_minima = tr_section(s, tile_count(count) * batch * sizeof(float));
  m.tile_sums = tr_section(s, tile_count(count) * batch * sizeof(float));
  m.minima = tr_section(s, batch * sizeof(float));
  m.scales = tr_section(s, batch * sizeof(float));
  m.errors = tr_section(s, 2 * batch * d * sizeof(float));
  m.products = tr_section(s, batch * sizeof(float));
  m.workers = tr_section(s, (size_t)tr_pool_threads(tr_device_pool(device)) * worker_bytes(d, batch));
  return m;
}

size_t tr_cpu_proxies_scratch(const tr_device *device, size_t count, int d, size_t batch) {
  tr_sections s = TR_SECTIONS_COUNT;
  (void)lay_out(&s, device, count, (size_t)d, batch);
  return s.used;
}

static size_t tile_rows(const tr_proxies_step *step, size_t tile) {
  return step->count - tile * TILE < TILE ? step->count - tile * TILE : TILE;
}

/* Distances of a tile's proxies, and the least to each row. */
static tr_status measure_tile(void *context, size_t tile) {
  const job *j = context;
  const tr_proxies_step *s = j->step;
  size_t first = tile * TILE, count = tile_rows(s, tile), d = (size_t)s->d, batch = s->batch;
  float *distances = j->m.distances + first * batch, *least = j->m.tile_minima + tile * batch;
  tr_cpu_gemm(&(tr_gemm){.m = count,
                         .n = batch,
                         .k = d,
                         .a = s->proxies + first * d,
                         .lda = d,
                         .b = s->rows,
                         .ldb = d,
                         .b_transposed = true,
                         .c = distances,
                         .ldc = batch});
  for (size_t i = 0; i < batch; ++i)
    least[i] = FLT_MAX;
  for (size_t k = 0; k < count; ++k) {
    float *row = distances + k * batch, norm = s->proxy_norms[first + k];
    for (size_t i = 0; i < batch; ++i) {
      float norms = norm + s->row_norms[i], squared = norms - 2 * row[i];
      row[i] = sqrtf(squared > TR_PROXIES_NEAR * norms ? squared : 0);
      least[i] = row[i] < least[i] ? row[i] : least[i];
    }
  }
  return TR_OK;
}

/* e^x for x <= 0, within 2e-7 of it; 0 below the least normal number. Cephes' expf: 2^n e^f, f within half of ln 2. A loop of it
 * is vectorised, which the library's is not. */
static inline float exp_of(float x) {
  float n = rintf(x * 1.44269504f), f = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * f + 1.3981999507e-3f;
  p = p * f + 8.3334519073e-3f;
  p = p * f + 4.1665795894e-2f;
  p = p * f + 1.6666665459e-1f;
  p = p * f + 5.0000001201e-1f;
  p = p * f * f + f + 1;
  int32_t exponent = ((int32_t)n + 127) * (1 << 23);
  float power;
  memcpy(&power, &exponent, sizeof power);
  return x > -87 ? p * power : 0;
}

/* Weights of a tile's proxies, not yet divided by their sum, and the tile's share of it. */
static tr_status weigh_tile(void *context, size_t tile) {
  const job *j = context;
  size_t first = tile * TILE, count = tile_rows(j->step, tile), batch = j->step->batch;
  const float *minima = j->m.minima;
  float *sums = j->m.tile_sums + tile * batch;
  memset(sums, 0, batch * sizeof *sums);
  for (size_t k = first; k < first + count; ++k) {
    const float *distances = j->m.distances + k * batch;
    float *weights = j->m.weights + k * batch;
    for (size_t i = 0; i < batch; ++i) {
      float x = minima[i] - distances[i];
      weights[i] = exp_of(x > -90 ? x : -90);
      sums[i] += weights[i];
    }
  }
  return TR_OK;
}

/* Some dimensions of what rows are rebuilt as, not yet divided by the weights' sum. */
static tr_status rebuild_columns(void *context, size_t task) {
  const job *j = context;
  const tr_proxies_step *s = j->step;
  size_t d = (size_t)s->d, first = task * COLUMNS;
  tr_cpu_gemm(&(tr_gemm){.m = s->batch,
                         .n = d - first < COLUMNS ? d - first : COLUMNS,
                         .k = s->count,
                         .a = j->m.weights,
                         .lda = s->batch,
                         .a_transposed = true,
                         .b = s->proxies + first,
                         .ldb = d,
                         .c = j->m.errors + first,
                         .ldc = d});
  return TR_OK;
}

static tr_status find_errors(void *context, size_t task) {
  const job *j = context;
  const tr_proxies_step *s = j->step;
  size_t d = (size_t)s->d, end = (task + 1) * ROWS < s->batch ? (task + 1) * ROWS : s->batch;
  for (size_t i = task * ROWS; i < end; ++i) {
    float *error = j->m.errors + i * d;
    const float *row = s->rows + i * d;
    double squares = 0, product = 0;
    for (size_t k = 0; k < d; ++k) {
      float rebuilt = error[k] * j->m.scales[i];
      error[k] = rebuilt - row[k];
      squares += (double)error[k] * (double)error[k];
      product += (double)error[k] * (double)rebuilt;
    }
    s->losses[i] = squares;
    j->m.products[i] = (float)product;
  }
  return TR_OK;
}

static float sum_of(const float lanes[LANES]) {
  float sum = 0;
  for (size_t l = 0; l < LANES; ++l)
    sum += lanes[l];
  return sum;
}

/* A proxy's factors of errors and of rows in its gradient; their sums. */
static void find_factors(const job *j, size_t k, const float *similarities, float *factors, float *mass, float *pull) {
  size_t batch = j->step->batch;
  const float *distances = j->m.distances + k * batch, *weights = j->m.weights + k * batch;
  float masses[LANES] = {0}, pulls[LANES] = {0};
  for (size_t i0 = 0; i0 < batch; i0 += LANES) {
    size_t end = batch - i0 < LANES ? batch - i0 : LANES;
    for (size_t l = 0; l < end; ++l) {
      size_t i = i0 + l;
      float weight = weights[i] * j->m.scales[i], distance = distances[i];
      float factor = weight * (similarities[i] - j->m.products[i]) / (distance > 0 ? distance : 1);
      factor = distance > 0 ? factor : 0;
      factors[i] = weight;
      factors[batch + i] = factor;
      masses[l] += weight;
      pulls[l] += factor;
    }
  }
  *mass = sum_of(masses);
  *pull = sum_of(pulls);
}

static tr_status move_tile(void *context, size_t tile) {
  const job *j = context;
  const tr_proxies_step *s = j->step;
  size_t first = tile * TILE, count = tile_rows(s, tile), d = (size_t)s->d, batch = s->batch;
  float *proxies = s->proxies + first * d, masses[TILE] = {0}, pulls[TILE] = {0};
  tr_sections sections = tr_sections_of(j->m.workers + (size_t)tr_pool_worker() * worker_bytes(d, batch));
  worker w = lay_out_worker(&sections, d, batch);
  tr_cpu_gemm(&(tr_gemm){.m = count,
                         .n = batch,
                         .k = d,
                         .a = proxies,
                         .lda = d,
                         .b = j->m.errors,
                         .ldb = d,
                         .b_transposed = true,
                         .c = w.similarities,
                         .ldc = batch});
  for (size_t k = 0; k < count; ++k)
    find_factors(j, first + k, w.similarities + k * batch, w.factors + k * 2 * batch, &masses[k], &pulls[k]);
  tr_cpu_gemm(&(tr_gemm){.m = count,
                         .n = d,
                         .k = 2 * batch,
                         .a = w.factors,
                         .lda = 2 * batch,
                         .b = j->m.errors,
                         .ldb = d,
                         .c = w.gradients,
                         .ldc = d});
  for (size_t k = 0; k < count; ++k) {
    float rate = s->rate / (masses[k] > 1 ? masses[k] : 1), *proxy = proxies + k * d;
    const float *gradient = w.gradients + k * d;
    for (size_t c = 0; c < d; ++c)
      proxy[c] -= rate * (gradient[c] - pulls[k] * proxy[c]);
  }
  return TR_OK;
}

static void find_minima(const job *j) {
  size_t batch = j->step->batch;
  memcpy(j->m.minima, j->m.tile_minima, batch * sizeof(float));
  for (size_t t = 1; t < j->tiles; ++t)
    for (size_t i = 0; i < batch; ++i)
      j->m.minima[i] = fminf(j->m.minima[i], j->m.tile_minima[t * batch + i]);
}

static void find_scales(const job *j) {
  size_t batch = j->step->batch;
  for (size_t i = 0; i < batch; ++i) {
    double sum = 0;
    for (size_t t = 0; t < j->tiles; ++t)
      sum += (double)j->m.tile_sums[t * batch + i];
    j->m.scales[i] = (float)(1 / sum);
  }
}

tr_status tr_cpu_proxies_step(tr_device *device, const tr_proxies_step *step) {
  tr_pool *pool = tr_device_pool(device);
  size_t d = (size_t)step->d;
  tr_sections sections = tr_sections_of(step->scratch);
  job j = {step, lay_out(&sections, device, step->count, d, step->batch), tile_count(step->count)};
  memcpy(j.m.errors + step->batch * d, step->rows, step->batch * d * sizeof(float));
  TR_TRY(tr_pool_run(pool, j.tiles, measure_tile, &j));
  find_minima(&j);
  TR_TRY(tr_pool_run(pool, j.tiles, weigh_tile, &j));
  find_scales(&j);
  TR_TRY(tr_pool_run(pool, (d + COLUMNS - 1) / COLUMNS, rebuild_columns, &j));
  TR_TRY(tr_pool_run(pool, (step->batch + ROWS - 1) / ROWS, find_errors, &j));
  return tr_pool_run(pool, j.tiles, move_tile, &j);
}
