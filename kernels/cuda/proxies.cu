/* proxies on the GPU: the cpu twin's passes (kernels/cpu/proxies.c) as products by cuBLAS over all proxies and small kernels between
 * them. Matrices of weights stand proxy by proxy, [count, batch]. Sums are in an order that depends on shapes alone; those over
 * proxies or over dimensions are in double.
 *
 * Limit: multiply-adds in float. 16,385 proxies (10 % of bottle's 163,856 rows) of 1,024 dimensions, batches of 256: five products of
 * 8.6 GFLOP a step, 0.64 ms at an H100's 67 TFLOP/s; matrices of 17 MB, written and read six times in all, stay in the cache for the
 * most part, the gradients' 67 MB do not: 0.1 ms. 200 steps: 0.2 s expected with launches. Not measured on a GPU yet.
 */
#include "kernels/cuda/exact.h"

#include <cfloat>

extern "C" {
#include "kernels/sections.h"
}

namespace {

enum {
  THREADS = 256,
  WARPS = THREADS / TR_WARP,
  CHUNK = 64,                 /* proxies of a block of the passes down columns */
  STRIPES = THREADS / TR_WARP /* of chunks, that a block's warps go through when chunks are joined */
};

struct memory {
  float *distances, *weights, *similarities; /* [count, batch] */
  float *chunk_minima;                       /* [chunks, batch] */
  double *chunk_sums;                        /* [chunks, batch] */
  float *minima, *scales, *products;         /* [batch]: least distance; 1 / sum of weights; (r - m) . r */
  float *errors;                             /* [batch, d]: r - m */
  float *masses, *pulls;                     /* [count]: sums of a proxy's factors */
  float *gradients;                          /* [count, d] */
};

struct job {
  tr_proxies_step s;
  memory m;
  unsigned count, batch, d, chunks;
};

unsigned chunk_count(size_t count) {
  return (unsigned)((count + CHUNK - 1) / CHUNK);
}

memory lay_out(tr_sections *s, size_t count, size_t d, size_t batch) {
  const size_t matrix = count * batch * sizeof(float), chunks = chunk_count(count);
  memory m;
  m.distances = static_cast<float *>(tr_section(s, matrix));
  m.weights = static_cast<float *>(tr_section(s, matrix));
  m.similarities = static_cast<float *>(tr_section(s, matrix));
  m.chunk_minima = static_cast<float *>(tr_section(s, chunks * batch * sizeof(float)));
  m.chunk_sums = static_cast<double *>(tr_section(s, chunks * batch * sizeof(double)));
  m.minima = static_cast<float *>(tr_section(s, batch * sizeof(float)));
  m.scales = static_cast<float *>(tr_section(s, batch * sizeof(float)));
  m.products = static_cast<float *>(tr_section(s, batch * sizeof(float)));
  m.errors = static_cast<float *>(tr_section(s, batch * d * sizeof(float)));
  m.masses = static_cast<float *>(tr_section(s, count * sizeof(float)));
  m.pulls = static_cast<float *>(tr_section(s, count * sizeof(float)));
  m.gradients = static_cast<float *>(tr_section(s, count * d * sizeof(float)));
  return m;
}

/* ---- down columns: a thread a row of the batch, a block a chunk of proxies ---- */

/* Products to distances, and the chunk's least to each row. */
__global__ void __launch_bounds__(THREADS) measure(job j) {
  const unsigned i = blockIdx.y * THREADS + threadIdx.x, first = blockIdx.x * CHUNK, end = min(first + CHUNK, j.count);
  if (i >= j.batch)
    return;
  const float row_norm = j.s.row_norms[i];
  float least = FLT_MAX;
  for (unsigned k = first; k < end; ++k) {
    float *at = j.m.distances + (size_t)k * j.batch + i;
    const float norms = j.s.proxy_norms[k] + row_norm, squared = norms - 2 * *at;
    const float distance = sqrtf(squared > TR_PROXIES_NEAR * norms ? squared : 0);
    *at = distance;
    least = fminf(least, distance);
  }
  j.m.chunk_minima[(size_t)blockIdx.x * j.batch + i] = least;
}

/* Weights, not yet divided by their sum, and the chunk's share of it. */
__global__ void __launch_bounds__(THREADS) weigh(job j) {
  const unsigned i = blockIdx.y * THREADS + threadIdx.x, first = blockIdx.x * CHUNK, end = min(first + CHUNK, j.count);
  if (i >= j.batch)
    return;
  const float least = j.m.minima[i];
  double sum = 0;
  for (unsigned k = first; k < end; ++k) {
    const size_t at = (size_t)k * j.batch + i;
    const float weight = expf(least - j.m.distances[at]);
    j.m.weights[at] = weight;
    sum += (double)weight;
  }
  j.m.chunk_sums[(size_t)blockIdx.x * j.batch + i] = sum;
}

/* Joining chunks: a block has 32 columns, its warps every eighth chunk each, and the first warp joins what the warps have. */

__global__ void __launch_bounds__(THREADS) join_minima(job j) {
  __shared__ float of_stripe[STRIPES][TR_WARP];
  const unsigned lane = threadIdx.x % TR_WARP, stripe = threadIdx.x / TR_WARP, i = blockIdx.x * TR_WARP + lane;
  float least = FLT_MAX;
  for (unsigned chunk = stripe; i < j.batch && chunk < j.chunks; chunk += STRIPES)
    least = fminf(least, j.m.chunk_minima[(size_t)chunk * j.batch + i]);
  of_stripe[stripe][lane] = least;
  __syncthreads();
  if (stripe != 0 || i >= j.batch)
    return;
  for (unsigned other = 1; other < STRIPES; ++other)
    least = fminf(least, of_stripe[other][lane]);
  j.m.minima[i] = least;
}

__global__ void __launch_bounds__(THREADS) join_sums(job j) {
  __shared__ double of_stripe[STRIPES][TR_WARP];
  const unsigned lane = threadIdx.x % TR_WARP, stripe = threadIdx.x / TR_WARP, i = blockIdx.x * TR_WARP + lane;
  double sum = 0;
  for (unsigned chunk = stripe; i < j.batch && chunk < j.chunks; chunk += STRIPES)
    sum += j.m.chunk_sums[(size_t)chunk * j.batch + i];
  of_stripe[stripe][lane] = sum;
  __syncthreads();
  if (stripe != 0 || i >= j.batch)
    return;
  for (unsigned other = 1; other < STRIPES; ++other)
    sum += of_stripe[other][lane];
  j.m.scales[i] = (float)(1 / sum);
}

/* ---- along rows: a warp a row ---- */

/* What rows were rebuilt as to errors. */
__global__ void __launch_bounds__(THREADS) find_errors(job j) {
  const unsigned i = blockIdx.x * WARPS + threadIdx.x / TR_WARP, lane = threadIdx.x % TR_WARP;
  if (i >= j.batch)
    return;
  float *errors = j.m.errors + (size_t)i * j.d;
  const float *row = j.s.rows + (size_t)i * j.d, scale = j.m.scales[i];
  double squares = 0, product = 0;
  for (unsigned k = lane; k < j.d; k += TR_WARP) {
    const float rebuilt = errors[k] * scale, error = rebuilt - row[k];
    errors[k] = error;
    squares += (double)error * (double)error;
    product += (double)error * (double)rebuilt;
  }
  squares = tr_warp_sum(squares);
  product = tr_warp_sum(product);
  if (lane == 0) {
    j.s.losses[i] = squares;
    j.m.products[i] = (float)product;
  }
}

/* A proxy's factors of errors (its weights) and of rows (in the place of similarities) in its gradient; their sums. */
__global__ void __launch_bounds__(THREADS) find_factors(job j) {
  const unsigned k = blockIdx.x * WARPS + threadIdx.x / TR_WARP, lane = threadIdx.x % TR_WARP;
  if (k >= j.count)
    return;
  const size_t row = (size_t)k * j.batch;
  double mass = 0, pull = 0;
  for (unsigned i = lane; i < j.batch; i += TR_WARP) {
    const float weight = j.m.weights[row + i] * j.m.scales[i], distance = j.m.distances[row + i];
    const float factor = distance > 0 ? weight * (j.m.similarities[row + i] - j.m.products[i]) / distance : 0;
    j.m.weights[row + i] = weight;
    j.m.similarities[row + i] = factor;
    mass += (double)weight;
    pull += (double)factor;
  }
  mass = tr_warp_sum(mass);
  pull = tr_warp_sum(pull);
  if (lane == 0) {
    j.m.masses[k] = (float)mass;
    j.m.pulls[k] = (float)pull;
  }
}

__global__ void __launch_bounds__(THREADS) move(job j) {
  const size_t n = (size_t)j.count * j.d;
  for (size_t at = (size_t)blockIdx.x * THREADS + threadIdx.x; at < n; at += (size_t)gridDim.x * THREADS) {
    const unsigned k = (unsigned)(at / j.d);
    const float rate = j.s.rate / fmaxf(j.m.masses[k], 1), proxy = j.s.proxies[at];
    j.s.proxies[at] = proxy - rate * (j.m.gradients[at] - j.m.pulls[k] * proxy);
  }
}

/* ---- products ---- */

/* errors = weights^T proxies: what rows are rebuilt as, not yet divided by the weights' sum. */
tr_status rebuild(const tr_cuda *cuda, const job &j) {
  const float one = 1, zero = 0;
  TR_CUBLAS_TRY(cublasSgemm(cuda->blas, CUBLAS_OP_N, CUBLAS_OP_T, (int)j.d, (int)j.batch, (int)j.count, &one, j.s.proxies,
                            (int)j.d, j.m.weights, (int)j.batch, &zero, j.m.errors, (int)j.d));
  return TR_OK;
}

/* gradients = (0 or 1) gradients + factors rows. */
tr_status add_gradients(const tr_cuda *cuda, const job &j, const float *factors, const float *rows, bool add) {
  const float one = 1, before = add ? 1 : 0;
  TR_CUBLAS_TRY(cublasSgemm(cuda->blas, CUBLAS_OP_N, CUBLAS_OP_N, (int)j.d, (int)j.count, (int)j.batch, &one, rows, (int)j.d,
                            factors, (int)j.batch, &before, j.m.gradients, (int)j.d));
  return TR_OK;
}

tr_status find_weights(const tr_cuda *cuda, const job &j) {
  const dim3 columns(j.chunks, tr_cuda_blocks(j.batch, THREADS));
  TR_TRY(tr_cuda_products(cuda, j.s.proxies, j.count, j.s.rows, j.batch, j.s.d, j.m.distances, j.batch));
  TR_LAUNCH(measure, columns, THREADS, 0, cuda->stream, j);
  TR_CUDA_LAUNCHED();
  TR_LAUNCH(join_minima, tr_cuda_blocks(j.batch, TR_WARP), THREADS, 0, cuda->stream, j);
  TR_CUDA_LAUNCHED();
  TR_LAUNCH(weigh, columns, THREADS, 0, cuda->stream, j);
  TR_CUDA_LAUNCHED();
  TR_LAUNCH(join_sums, tr_cuda_blocks(j.batch, TR_WARP), THREADS, 0, cuda->stream, j);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

tr_status descend(const tr_cuda *cuda, const job &j) {
  TR_TRY(tr_cuda_products(cuda, j.s.proxies, j.count, j.m.errors, j.batch, j.s.d, j.m.similarities, j.batch));
  TR_LAUNCH(find_factors, tr_cuda_blocks(j.count, WARPS), THREADS, 0, cuda->stream, j);
  TR_CUDA_LAUNCHED();
  TR_TRY(add_gradients(cuda, j, j.m.weights, j.m.errors, false));
  TR_TRY(add_gradients(cuda, j, j.m.similarities, j.s.rows, true));
  TR_LAUNCH(move, tr_cuda_loop_blocks((size_t)j.count * j.d, THREADS), THREADS, 0, cuda->stream, j);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

} // namespace

size_t tr_cuda_proxies_scratch(const tr_device *, size_t count, int d, size_t batch) {
  tr_sections s = TR_SECTIONS_COUNT;
  (void)lay_out(&s, count, (size_t)d, batch);
  return s.used;
}

tr_status tr_cuda_proxies_step(tr_device *device, const tr_proxies_step *step) {
  const tr_cuda *cuda = tr_cuda_of(device);
  tr_sections sections = tr_sections_of(step->scratch);
  job j;
  j.s = *step;
  j.m = lay_out(&sections, step->count, (size_t)step->d, step->batch);
  j.count = (unsigned)step->count;
  j.batch = (unsigned)step->batch;
  j.d = (unsigned)step->d;
  j.chunks = chunk_count(step->count);
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  TR_TRY(find_weights(cuda, j));
  TR_TRY(rebuild(cuda, j));
  TR_LAUNCH(find_errors, tr_cuda_blocks(j.batch, WARPS), THREADS, 0, cuda->stream, j);
  TR_CUDA_LAUNCHED();
  return descend(cuda, j);
}
