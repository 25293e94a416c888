/* nearest on the GPU: products choose, exact distances decide.
 *
 * For a block of queries and a tile of the bank, cuBLAS multiplies; the products stay in the second-level cache. Then a warp
 * passes over each query's products: they bound the distances from below, and rows whose bound is not above the k-th best
 * distance so far are measured, in double and in the cpu twin's order (exact.h). Distances and indices are therefore the cpu
 * twin's bit for bit, ties by index, whatever the product's rounding, kernel, blocks or tiles: a query's result depends on its
 * row and the bank alone. With a sketch (sketch.h) the products are of half-precision rows on the tensor cores; without, of the
 * rows in float.
 *
 * Limit: multiply-adds. Bottle, 83 images of 784 x 1,024 against 16,385 rows: 2.2 TFLOP. With a sketch 2.2 ms at an H100's 989
 * TFLOP/s, 3.6 ms at the 600 that large products may reach; products written to and read from the cache, 8.5 GB, 2 ms; queries
 * sketched, 0.2 ms; about 2 rows a query and tile measured, 4 KB each, 0.5 ms: 6 to 7 ms expected, 80 us an image. In float 33 ms
 * at 67 TFLOP/s, 45 ms expected. Memory is no limit: the bank stays in the cache, queries are read once. Not measured on a GPU yet.
 */
#include "kernels/cuda/best.h"
#include "kernels/cuda/sketch.h"

#include <cfloat>
#include <cmath>
#include <cstring>

namespace {

enum {
  THREADS = 128,
  WARPS = THREADS / TR_WARP,
#ifdef TR_EMULATED /* so that small tests cross blocks and tiles */
  QUERIES = 96,
  PRODUCTS = QUERIES * 448,
#else
  QUERIES = 2048,     /* of a block */
  PRODUCTS = 4 << 20, /* of a block and a tile: 16 MiB */
#endif
};

const unsigned long long NONE = ~0ull;

/* What is found out before the search; largest of bits. */
struct check {
  unsigned long long bad_query, bad_row; /* the first, or NONE */
  unsigned largest_norm2;                /* of the bank, of float */
};

/* How a kind of product bounds distances: s |q - b| >= |z - z'| - e - e', with s = 1 and e = 0 for the rows themselves. */
struct bound {
  double scale, largest_error; /* s, and e' at most */
  double product_error;        /* of a product, in units of |z| |z'| */
  double largest_norm2;        /* of z' */
  double underflow;
};

/* A tile of the bank, and a block of queries. Columns are rows of the bank from `first` on, of which [from, to) are searched; rows are
 * counted from `first_row`. */
struct tile {
  const float *products;   /* [queries_count, pitch] */
  const float *half_norms; /* [to]: |z'|^2 / 2; 16-byte aligned */
  size_t first, first_row;
  unsigned from, to, pitch;
  size_t queries_count;
  const float *queries, *bank;
  unsigned d;
  int k;
  bound by;
  const double *norm2, *errors; /* of the queries: |z|^2, e (NULL: 0) */
  bool begins, ends;            /* the first tile of all, the last before an answer */
  bool goes_on;                 /* the last one hands on what is found, too */
  double *best_distance2;       /* [queries_count, k] between tiles */
  uint32_t *best_row;
  float *distances; /* [queries_count, k] at the end */
  uint32_t *indices;
};

/* ---- before the search ---- */

__global__ void __launch_bounds__(THREADS)
    check_queries(const float *queries, size_t n, unsigned d, double *norm2, check *found) {
  for (size_t q = (size_t)blockIdx.x * WARPS + threadIdx.x / TR_WARP; q < n; q += (size_t)gridDim.x * WARPS) {
    const double sum = tr_warp_norm2(queries + q * d, d);
    if (threadIdx.x % TR_WARP != 0)
      continue;
    norm2[q] = sum;
    if (!(sum <= (double)FLT_MAX))
      atomicMin(&found->bad_query, (unsigned long long)q);
  }
}

__global__ void __launch_bounds__(THREADS)
    check_bank(const float *norms, size_t first, size_t end, float *half_norms, check *found) {
  float largest = 0;
  for (size_t row = first + (size_t)blockIdx.x * THREADS + threadIdx.x; row < end; row += (size_t)gridDim.x * THREADS) {
    half_norms[row] = norms[row] / 2;
    largest = fmaxf(largest, norms[row]);
    if (!(norms[row] <= FLT_MAX))
      atomicMin(&found->bad_row, (unsigned long long)row);
  }
  largest = tr_warp_max(largest);
  if (threadIdx.x % TR_WARP == 0)
    atomicMax(&found->largest_norm2, __float_as_uint(largest));
}

/* ---- a query's best rows ---- */

template <int SLOTS> __device__ tr_best<SLOTS> begin(const tile &t, size_t q) {
  tr_best<SLOTS> best;
  for (int s = 0; s < SLOTS; ++s) {
    const int e = s * TR_WARP + (int)(threadIdx.x % TR_WARP);
    const bool held = !t.begins && e < t.k;
    best.distance2[s] = held ? t.best_distance2[q * t.k + e] : (double)INFINITY;
    best.row[s] = held ? t.best_row[q * t.k + e] : UINT32_MAX;
  }
  return best;
}

template <int SLOTS> __device__ void end(const tile &t, size_t q, const tr_best<SLOTS> &best) {
  for (int s = 0; s < SLOTS; ++s) {
    const int e = s * TR_WARP + (int)(threadIdx.x % TR_WARP);
    if (e >= t.k)
      continue;
    if (t.ends) {
      t.distances[q * t.k + e] = (float)best.distance2[s];
      t.indices[q * t.k + e] = best.row[s];
    }
    if (!t.ends || t.goes_on) {
      t.best_distance2[q * t.k + e] = best.distance2[s];
      t.best_row[q * t.k + e] = best.row[s];
    }
  }
}

template <int SLOTS> __device__ bool known(const tile &t, const tr_best<SLOTS> &best, uint32_t row) {
  bool here = false;
  for (int s = 0; s < SLOTS; ++s)
    here |= s * TR_WARP + (int)(threadIdx.x % TR_WARP) < t.k && best.row[s] == row;
  return __any_sync(TR_ALL_LANES, here);
}

template <int SLOTS> __device__ void measure(const tile &t, size_t q, tr_best<SLOTS> &best, unsigned j) {
  const uint32_t row = (uint32_t)(t.first_row + t.first + j);
  if (known(t, best, row))
    return;
  tr_best_insert(best, tr_warp_distance2(t.queries + q * t.d, t.bank + (t.first + j) * t.d, t.d), row);
}

/* ---- bounds ---- */

/* A row may be among the k best when its score is not below this. */
template <int SLOTS> __device__ float limit_of(const tile &t, size_t q, const tr_best<SLOTS> &best) {
  const double worst2 = tr_best_worst(best, t.k);
  if (!(worst2 < (double)INFINITY))
    return -INFINITY;
  const double reach = t.by.scale * sqrt(worst2) + (t.errors ? t.errors[q] : 0) + t.by.largest_error;
  const double slack = t.by.product_error * fmax(t.norm2[q], t.by.largest_norm2) + t.by.underflow;
  return (float)((t.norm2[q] - reach * reach) / 2 - slack);
}

/* Measures the row that looks nearest, if it may be among the best; true when others of these columns may be, too. */
template <int SLOTS>
__device__ bool measure_likeliest(const tile &t, size_t q, tr_best<SLOTS> &best, const float *products, unsigned from,
                                  unsigned to) {
  const tr_peak peak = tr_warp_peak(products, t.half_norms, from, to);
  if (!(peak.first >= limit_of(t, q, best)))
    return false;
  measure(t, q, best, peak.j);
  return __any_sync(TR_ALL_LANES, peak.second >= limit_of(t, q, best));
}

template <int SLOTS> __device__ void measure_possible(const tile &t, size_t q, tr_best<SLOTS> &best, const float *products) {
  const unsigned lane = threadIdx.x % TR_WARP;
  float limit = limit_of(t, q, best);
  for (unsigned first = t.from; first < t.to; first += TR_WARP) {
    const unsigned j = first + lane;
    const float score = j < t.to ? products[j] - t.half_norms[j] : -INFINITY;
    unsigned possible = __ballot_sync(TR_ALL_LANES, j < t.to && score >= limit);
    while (possible) {
      const unsigned at = (unsigned)__ffs((int)possible) - 1;
      measure(t, q, best, first + at);
      limit = limit_of(t, q, best);
      possible &= possible - 1;
      possible &= __ballot_sync(TR_ALL_LANES, score >= limit);
    }
  }
}

/* A warp a query. One without k rows yet first gets the likeliest of k parts of the tile. */
template <int SLOTS> __global__ void __launch_bounds__(THREADS) search_tile(tile t) {
  const size_t q = (size_t)blockIdx.x * WARPS + threadIdx.x / TR_WARP;
  if (q >= t.queries_count)
    return;
  const float *products = t.products + q * t.pitch;
  const unsigned rows = t.to - t.from;
  tr_best<SLOTS> best = begin<SLOTS>(t, q);
  const unsigned parts = t.k > 1 && !(tr_best_worst(best, t.k) < (double)INFINITY) ? min((unsigned)t.k, rows) : 0;
  for (unsigned part = 0; part < parts; ++part)
    measure_likeliest(t, q, best, products, t.from + (unsigned)((size_t)part * rows / parts),
                      t.from + (unsigned)((size_t)(part + 1) * rows / parts));
  if (measure_likeliest(t, q, best, products, t.from, t.to))
    measure_possible(t, q, best, products);
  end(t, q, best);
}

/* ---- memory ---- */

size_t smaller(size_t a, size_t b) {
  return a < b ? a : b;
}

struct layout {
  size_t queries, width; /* of a block, of a tile */
  check *found;
  double *norm2;          /* [queries_count] */
  float *half_norms;      /* [bank_rows] */
  float *products;        /* [queries, width] */
  double *best_distance2; /* [queries, k] */
  uint32_t *best_row;
  __half *values; /* [queries, pitch]: sketches, */
  double *sketch_norm2, *errors;
};

/* Tiles of equal width, as wide as the products' memory allows; that has room for whatever width fewer rows give. */
layout lay_out(tr_sections *s, size_t queries_count, size_t bank_rows, size_t d, size_t k) {
  layout l;
  l.queries = smaller(queries_count, QUERIES);
  const size_t tiles = (bank_rows * l.queries + PRODUCTS - 1) / PRODUCTS;
  l.width = ((bank_rows + tiles - 1) / tiles + TR_WARP - 1) / TR_WARP * TR_WARP;
  l.found = static_cast<check *>(tr_section(s, sizeof(check)));
  l.norm2 = static_cast<double *>(tr_section(s, queries_count * sizeof(double)));
  l.half_norms = static_cast<float *>(tr_section(s, bank_rows * sizeof(float)));
  const size_t columns = (bank_rows + TR_WARP - 1) / TR_WARP * TR_WARP;
  l.products = static_cast<float *>(tr_section(s, smaller(l.queries * columns, PRODUCTS + TR_WARP * l.queries) * sizeof(float)));
  l.best_distance2 = static_cast<double *>(tr_section(s, l.queries * k * sizeof(double)));
  l.best_row = static_cast<uint32_t *>(tr_section(s, l.queries * k * sizeof(uint32_t)));
  l.values = static_cast<__half *>(tr_section(s, l.queries * tr_cuda_sketch_pitch(d) * sizeof(__half)));
  l.sketch_norm2 = static_cast<double *>(tr_section(s, l.queries * sizeof(double)));
  l.errors = static_cast<double *>(tr_section(s, l.queries * sizeof(double)));
  return l;
}

/* ---- the search ---- */

struct search {
  const tr_cuda *cuda;
  const tr_nearest_args *args;
  layout memory;
  bound by;
  bool sketched;
  tr_cuda_sketch_arrays sketch;
};

double as_double(unsigned long long bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

tr_status queue_checks(const search &s) {
  const tr_nearest_args *args = s.args;
  check *found = s.memory.found;
  cudaStream_t stream = s.cuda->stream;
  TR_CUDA_TRY(cudaMemsetAsync(found, 0xff, sizeof *found, stream));
  TR_CUDA_TRY(cudaMemsetAsync(&found->largest_norm2, 0, sizeof found->largest_norm2, stream));
  TR_LAUNCH(check_queries, tr_cuda_loop_blocks(args->queries_count, WARPS), THREADS, 0, stream, args->queries,
            args->queries_count, (unsigned)args->d, s.memory.norm2, found);
  TR_CUDA_LAUNCHED();
  for (size_t i = 0; i < tr_nearest_range_count(args); ++i) {
    const tr_nearest_range range = tr_nearest_range_at(args, i);
    TR_LAUNCH(check_bank, tr_cuda_loop_blocks(range.end - range.first, THREADS), THREADS, 0, stream, args->bank_norms,
              range.first, range.end, s.memory.half_norms, found);
    TR_CUDA_LAUNCHED();
  }
  return TR_OK;
}

tr_status refuse(tr_device *device, const search &s, const check &found) {
  if (found.bad_row != NONE) {
    float norm2 = 0;
    TR_TRY(tr_device_download(device, &norm2, s.args->bank_norms + found.bad_row, sizeof norm2));
    return tr_fail(TR_EINVAL, "nearest: bank row %llu: expected finite features, found |row|^2 = %g",
                   s.args->first_row + found.bad_row, (double)norm2);
  }
  double norm2 = 0;
  TR_TRY(tr_device_download(device, &norm2, s.memory.norm2 + found.bad_query, sizeof norm2));
  return tr_fail(TR_EINVAL, "nearest: query %llu: expected finite features, found |query|^2 = %g", found.bad_query, norm2);
}

/* Tensor cores cut sums where float rounds them, and align several products at once: at most four times the error (Fasi et al.,
 * Numerical behavior of NVIDIA tensor cores, PeerJ Computer Science 7, 2021). */
bound bound_by_sketch(const tr_cuda_sketch &header, size_t d) {
  float largest_value;
  memcpy(&largest_value, &header.largest_value, sizeof largest_value);
  return {(double)tr_cuda_sketch_scale(largest_value), as_double(header.largest_error),
          4 * tr_product_error(tr_cuda_sketch_pitch(d)), as_double(header.largest_norm2), (double)d * (double)FLT_MIN};
}

bound bound_by_row(const check &found, size_t d) {
  float largest_norm2;
  memcpy(&largest_norm2, &found.largest_norm2, sizeof largest_norm2);
  return {1, 0, tr_product_error(d), (double)largest_norm2, (double)d * (double)FLT_MIN};
}

/* Waits for the checks. */
tr_status prepare(tr_device *device, search *s) {
  check found;
  tr_cuda_sketch header = {};
  const size_t d = (size_t)s->args->d;
  TR_TRY(queue_checks(*s));
  TR_CUDA_TRY(cudaMemcpyAsync(&found, s->memory.found, sizeof found, cudaMemcpyDeviceToHost, s->cuda->stream));
  if (s->sketched)
    TR_CUDA_TRY(cudaMemcpyAsync(&header, s->args->sketch, sizeof header, cudaMemcpyDeviceToHost, s->cuda->stream));
  TR_CUDA_TRY(cudaStreamSynchronize(s->cuda->stream));
  if (found.bad_row != NONE || found.bad_query != NONE)
    return refuse(device, *s, found);
  s->by = s->sketched ? bound_by_sketch(header, d) : bound_by_row(found, d);
  if (s->sketched && (header.d != d || header.rows < s->args->bank_rows))
    return tr_fail(TR_EINVAL, "nearest: expected a sketch of at least %zu rows of %zu dimensions, found %llu of %llu",
                   s->args->bank_rows, d, header.rows, header.d);
  if (s->sketched) {
    tr_sections sections = tr_sections_of(const_cast<void *>(s->args->sketch));
    s->sketch = tr_cuda_sketch_lay_out(&sections, header.rows, d);
  }
  return TR_OK;
}

tr_status multiply(const search &s, const tile &t) {
  if (!s.sketched)
    return tr_cuda_products(s.cuda, t.queries, t.queries_count, t.bank + t.first * t.d, t.to, (int)t.d, s.memory.products,
                            t.pitch);
  const float one = 1, zero = 0;
  const size_t pitch = tr_cuda_sketch_pitch(t.d);
  TR_CUBLAS_TRY(cublasGemmEx(s.cuda->blas, CUBLAS_OP_T, CUBLAS_OP_N, (int)t.to, (int)t.queries_count, (int)pitch, &one,
                             s.sketch.values + t.first * pitch, CUDA_R_16F, (int)pitch, s.memory.values, CUDA_R_16F, (int)pitch,
                             &zero, s.memory.products, CUDA_R_32F, (int)t.pitch, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
  return TR_OK;
}

tr_status search_columns(const search &s, const tile &t) {
  TR_TRY(multiply(s, t));
  const unsigned blocks = tr_cuda_blocks(t.queries_count, WARPS);
  if (t.k <= TR_WARP)
    TR_LAUNCH(search_tile<1>, blocks, THREADS, 0, s.cuda->stream, t);
  else
    TR_LAUNCH(search_tile<2>, blocks, THREADS, 0, s.cuda->stream, t);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

/* Tiles begin at multiples of 4 rows; of those before the range nothing is searched. */
tr_status search_range(const search &s, tile *t, tr_nearest_range range, bool last) {
  const float *half_norms = s.sketched ? s.sketch.half_norms : s.memory.half_norms;
  for (size_t at = range.first; at < range.end; at = t->first + t->to) {
    t->first = at / 4 * 4;
    t->from = (unsigned)(at - t->first);
    t->to = (unsigned)smaller(s.memory.width, range.end - t->first);
    t->half_norms = half_norms + t->first;
    t->ends = last && t->first + t->to == range.end;
    TR_TRY(search_columns(s, *t));
    t->begins = false;
  }
  return TR_OK;
}

tr_status search_block(const search &s, size_t first, size_t count) {
  const tr_nearest_args *args = s.args;
  const layout &l = s.memory;
  const size_t d = (size_t)args->d, k = (size_t)args->k, ranges = tr_nearest_range_count(args);
  tile t = {};
  t.products = l.products;
  t.pitch = (unsigned)l.width;
  t.queries = args->queries + first * d;
  t.queries_count = count;
  t.bank = args->bank;
  t.d = (unsigned)d;
  t.k = args->k;
  t.by = s.by;
  t.norm2 = s.sketched ? l.sketch_norm2 : l.norm2 + first;
  t.errors = s.sketched ? l.errors : nullptr;
  t.first_row = args->first_row;
  t.begins = !args->resumed;
  t.goes_on = args->found_rows || args->prefixes;
  t.best_distance2 = args->found_rows ? args->found_distances2 + first * k : l.best_distance2;
  t.best_row = args->found_rows ? args->found_rows + first * k : l.best_row;
  if (s.sketched)
    TR_TRY(tr_cuda_sketch_queries(s.cuda, &s.sketch, t.queries, count, args->d, l.values, l.sketch_norm2, l.errors));
  for (size_t i = 0; i < ranges; ++i) {
    const size_t answer = args->prefixes ? i * args->queries_count : 0;
    t.distances = args->distances + (answer + first) * k;
    t.indices = args->indices + (answer + first) * k;
    TR_TRY(search_range(s, &t, tr_nearest_range_at(args, i), args->prefixes || i + 1 == ranges));
  }
  return TR_OK;
}

/* ---- norms ---- */

__global__ void __launch_bounds__(THREADS) norms_of_rows(const float *rows, size_t n, unsigned d, float *norms) {
  for (size_t row = (size_t)blockIdx.x * WARPS + threadIdx.x / TR_WARP; row < n; row += (size_t)gridDim.x * WARPS) {
    const double sum = tr_warp_norm2(rows + row * d, d);
    if (threadIdx.x % TR_WARP == 0)
      norms[row] = (float)sum;
  }
}

} // namespace

size_t tr_cuda_nearest_scratch(const tr_device *device, size_t queries_count, size_t group, size_t bank_rows, int d, int k) {
  (void)device;
  (void)group;
  tr_sections s = TR_SECTIONS_COUNT;
  lay_out(&s, queries_count, bank_rows, (size_t)d, (size_t)k);
  return s.used;
}

tr_status tr_cuda_nearest(tr_device *device, const tr_nearest_args *args) {
  search s = {};
  s.cuda = tr_cuda_of(device);
  s.args = args;
  s.sketched = args->sketch != nullptr;
  TR_CUDA_TRY(cudaSetDevice(s.cuda->ordinal));
  tr_sections sections = tr_sections_of(args->scratch);
  s.memory = lay_out(&sections, args->queries_count, args->bank_rows, (size_t)args->d, (size_t)args->k);
  TR_TRY(prepare(device, &s));
  for (size_t first = 0; first < args->queries_count; first += s.memory.queries)
    TR_TRY(search_block(s, first, smaller(s.memory.queries, args->queries_count - first)));
  return TR_OK;
}

tr_status tr_cuda_squared_norms(tr_device *device, const float *rows, size_t n, int d, float *norms) {
  const tr_cuda *cuda = tr_cuda_of(device);
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  TR_LAUNCH(norms_of_rows, tr_cuda_loop_blocks(n, WARPS), THREADS, 0, cuda->stream, rows, n, (unsigned)d, norms);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}
