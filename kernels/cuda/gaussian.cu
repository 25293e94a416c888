/* gaussian on the GPU: the cpu twin's algebra (kernels/cpu/triangle.h), a position to a block. What a block adds to or measures, 32
 * vectors, is in its shared memory (74 KB of 550 dimensions), or in scratch where they do not fit; factors and samples stay in global
 * memory and are gone through once or twice. A thread has a column (of a batch, of X) or a row (of L), 16 numbers of it in registers at
 * a time, and takes them times 16 numbers of each vector, which all threads read alike. Until it is finished, the covariance form's R is
 * kept as R^T in L's layout, and is finished in place.
 *
 * All sums are in fixed order; an element's order does not depend on the number of vectors. Double where the cpu twin has it: sums of
 * means, the running mean, and squared norms.
 *
 * Expected for PaDiM's 3,136 positions of 550 channels and 209 images (samples form) on an H100, 67 TFLOP/s and 3.35 TB/s:
 *
 *   adding      a copy, 2.9 GB moved: 1 ms
 *   finishing   X read twice and written, 4.4 GB: 1.3 ms; its products, 77 GFLOP of which tiles make 1.9 times as many: 5 ms; factors,
 *               10 GFLOP in 14 steps that wait for one warp's 16 x 16 factor: 2 ms. 9 ms together
 *   distances   of 64 vectors: 110 GFLOP, 1.6 ms at peak; the reads of vectors from shared memory, one of 16 bytes for 4 multiply-adds,
 *               halve that: 4 ms. X and the factor are read four times by two blocks, mostly from L2
 *
 * In the covariance form (forced, or for many images) a batch of 31 reads and writes the factors, 4 GB, 1.2 ms, and does 126 GFLOP, 4 ms
 * as above; 35 panels of 16 reflections, one warp's work, take 2 to 3 us each where 264 blocks run at once: 1 ms more. Seven batches:
 * 45 ms; distances of 64 vectors 4 ms. Not measured on a GPU yet.
 */
#include "kernels/cuda/exact.h"

extern "C" {
#include "kernels/gaussian.h"
}

#include <cmath>

namespace {

/* VECTORS: of a batch with the step of the mean, or queries of a block. SPARE: bytes of shared memory for all else. MOST_WORDS: bits for
 * all dimensions there may be. CHUNK: see column_of(). */
enum {
  BLOCK = TR_TRIANGLE,
  THREADS = 256,
  WARPS = THREADS / TR_WARP,
  VECTORS = 32,
  TILE = 64,
  SPARE = 8192,
  CHUNK = VECTORS * BLOCK + BLOCK,
  MOST_WORDS = (1 << 14) / TR_WARP
};

typedef unsigned long long flag; /* the least position, or position and vector, of which something was wrong */

/* ---- triangles ---- */

__device__ size_t triangle_offset(size_t block) {
  return (size_t)BLOCK * BLOCK * (block * (block + 1) / 2);
}

/* Row i; its block's columns are the last of it. */
__device__ float *triangle_row(float *triangle, size_t i) {
  const size_t block = i / BLOCK;
  return triangle + triangle_offset(block) + i % BLOCK * (block + 1) * BLOCK;
}

__device__ const float *triangle_row(const float *triangle, size_t i) {
  return triangle_row(const_cast<float *>(triangle), i);
}

/* 16 neighbouring numbers, at a multiple of 16 bytes. */
struct sixteen {
  float at[BLOCK];
};

__device__ sixteen load16(const float *from) {
  sixteen out;
  for (int i = 0; i < BLOCK; i += 4) {
    const float4 four = *reinterpret_cast<const float4 *>(from + i);
    out.at[i] = four.x;
    out.at[i + 1] = four.y;
    out.at[i + 2] = four.z;
    out.at[i + 3] = four.w;
  }
  return out;
}

__device__ void store16(float *to, const sixteen &from) {
  for (int i = 0; i < BLOCK; i += 4)
    *reinterpret_cast<float4 *>(to + i) = make_float4(from.at[i], from.at[i + 1], from.at[i + 2], from.at[i + 3]);
}

/* a . b, b at a multiple of 16 bytes. */
__device__ float dot16(const sixteen &a, const float *b) {
  float sum = 0;
  for (int i = 0; i < BLOCK; i += 4) {
    const float4 four = *reinterpret_cast<const float4 *>(b + i);
    sum += a.at[i] * four.x;
    sum += a.at[i + 1] * four.y;
    sum += a.at[i + 2] * four.z;
    sum += a.at[i + 3] * four.w;
  }
  return sum;
}

/* to += a times 16 numbers at a multiple of 16 bytes. */
__device__ void add16(sixteen &to, float a, const float *b) {
  for (int i = 0; i < BLOCK; i += 4) {
    const float4 four = *reinterpret_cast<const float4 *>(b + i);
    to.at[i] += a * four.x;
    to.at[i + 1] += a * four.y;
    to.at[i + 2] += a * four.z;
    to.at[i + 3] += a * four.w;
  }
}

/* Keeps the compiler from holding a block's shared numbers, more than there are registers for, from one step to the next. */
__device__ void read_again() {
  asm volatile("" ::: "memory");
}

/* Column j of the inverse of a lower triangle. */
__device__ sixteen inverse_column(const float *lower, size_t pitch, unsigned j) {
  sixteen out;
  TR_UNROLL(16)
  for (unsigned i = 0; i < BLOCK; ++i) {
    read_again();
    float sum = i == j ? 1.0f : 0.0f;
    TR_UNROLL(16)
    for (unsigned k = 0; k < i; ++k)
      sum -= lower[i * pitch + k] * out.at[k];
    out.at[i] = sum / lower[i * pitch + i];
  }
  return out;
}

/* Column k of a block's vectors: 16 columns of all vectors after each other, so that vectors are at constant distances, BLOCK, and chunks
 * half the banks apart, so that a warp's 32 columns of a vector are in 32 banks. */
__device__ float *column_of(float *vectors, unsigned k) {
  return vectors + (size_t)(k / BLOCK) * CHUNK + k % BLOCK;
}

__device__ const float *column_of(const float *vectors, unsigned k) {
  return column_of(const_cast<float *>(vectors), k);
}

/* ---- adding ---- */

struct task {
  tr_gaussian gaussian;
  size_t floats; /* of a position's factor */
  size_t first_position, positions;
  size_t n, samples, first;
  unsigned d, width, rank; /* rank: rows of a factor, in whole blocks */
  const float *rows;
  size_t position_pitch;
  double epsilon, divisor; /* N - 1, or 1 */
  float *distances;
  size_t stride;   /* of distances from vector to vector */
  unsigned groups; /* of queries */
  flag *failed;
  float *scratch; /* what does not fit into shared memory, of each block */
  size_t slice;   /* floats */
};

/* Where a block keeps its vectors. */
template <bool SHARED> __device__ float *vectors_of(const task &a) {
  if constexpr (SHARED) {
    TR_DYNAMIC_SHARED(float, shared);
    return shared;
  } else
    return a.scratch + blockIdx.x * a.slice;
}

/* Rows of whole lines go to their place in X. */
__global__ void __launch_bounds__(THREADS) keep_samples(task a) {
  const size_t vectors = a.n * a.width / 4, count = a.positions * vectors;
  for (size_t i = blockIdx.x * (size_t)THREADS + threadIdx.x; i < count; i += (size_t)gridDim.x * THREADS) {
    const size_t position = a.first_position + i / vectors, at = i % vectors;
    const float4 *from = reinterpret_cast<const float4 *>(a.rows + position * a.position_pitch);
    reinterpret_cast<float4 *>(a.gaussian.samples + (position * a.samples + a.first) * a.width)[at] = from[at];
  }
}

__device__ void start_factor(const task &a, float *factor) {
  const float root = (float)sqrt(a.epsilon * a.divisor);
  for (unsigned row = threadIdx.x / TR_WARP; row < a.width; row += WARPS) {
    float *to = triangle_row(factor, row);
    for (unsigned k = threadIdx.x % TR_WARP; k < (row / BLOCK + 1) * BLOCK; k += TR_WARP)
      to[k] = k != row ? 0.0f : row < a.d ? root : 1.0f;
  }
}

/* x = the batch about its own mean, and the step of the running mean as one row more, weighed as its square belongs in the sum; rows and
 * columns after them 0. */
__device__ void take_batch(const task &a, size_t position, float *x) {
  const float *rows = a.rows + position * a.position_pitch;
  const double before = (double)a.first, n = (double)a.n, weight = sqrt(before * n / (before + n));
  for (unsigned k = threadIdx.x; k < a.width; k += THREADS) {
    double sum = 0;
    float mean = 0, last = 0;
    if (k < a.d) {
      for (unsigned i = 0; i < a.n; ++i)
        sum += (double)rows[(size_t)i * a.width + k];
      mean = (float)(sum / n);
      double *running = a.gaussian.running + position * a.width + k;
      const double step = sum / n - (a.first ? *running : 0.0);
      last = a.first ? (float)(weight * step) : 0.0f;
      *running = a.first ? *running + step * (n / (before + n)) : step;
    }
    for (unsigned i = 0; i < VECTORS; ++i)
      column_of(x, k)[i * BLOCK] = k >= a.d ? 0.0f : i < a.n ? rows[(size_t)i * a.width + k] - mean : i == a.n ? last : 0.0f;
  }
}

/* Householder reflections that clear a panel of the batch against a diagonal block of R, as I - V T V^T: see kernels/cpu/triangle.c. */
struct panel {
  float v[VECTORS][BLOCK], t[BLOCK][BLOCK], product[VECTORS][BLOCK]; /* t: T by columns; product: V T^T */
  float r[BLOCK][BLOCK], dots[BLOCK];
};

/* Column j of the panel against row j of the diagonal block, by a warp: each half of it has every second row. */
__device__ void reflect(panel &h, unsigned j) {
  const unsigned k = threadIdx.x % BLOCK, half = threadIdx.x / BLOCK;
  float column[VECTORS / 2], dot = 0;
  for (unsigned i = 0; i < VECTORS / 2; ++i) {
    column[i] = h.v[2 * i + half][j];
    dot += column[i] * h.v[2 * i + half][k];
  }
  dot += __shfl_xor_sync(TR_ALL_LANES, dot, BLOCK);
  const float alpha = h.r[j][j], row = h.r[j][k];
  if (half == 0)
    h.dots[k] = dot;
  __syncwarp();
  const float square = h.dots[j];
  if (square == 0.0f) {
    if (half == 0)
      h.t[j][k] = 0;
    __syncwarp();
    return;
  }
  const float beta = -copysignf(sqrtf(alpha * alpha + square), alpha);
  const float tau = (beta - alpha) / beta, scale = 1.0f / (alpha - beta);
  const float change = k > j ? tau * (row + scale * dot) : 0.0f;
  for (unsigned i = 0; i < VECTORS / 2; ++i) {
    const float x = scale * column[i];
    if (k == j)
      h.v[2 * i + half][j] = x;
    else if (k > j)
      h.v[2 * i + half][k] -= x * change;
  }
  if (half == 0) {
    float sum = 0;
    for (unsigned i = 0; i < j; ++i)
      sum += h.t[i][k] * (scale * h.dots[i]);
    h.t[j][k] = k < j ? -tau * sum : k == j ? tau : 0.0f;
    h.r[j][k] = k == j ? beta : row - change;
  }
  __syncwarp();
}

/* V, T and V T^T of block `block`; R's diagonal block is written back. */
__device__ void clear_panel(panel &h, float *factor, const float *x, unsigned block) {
  const unsigned column = threadIdx.x % BLOCK, first = threadIdx.x / BLOCK;
  float *diagonal = triangle_row(factor, (size_t)block * BLOCK + first) + block * BLOCK + column; /* R(column, first) */
  for (unsigned i = first; i < VECTORS; i += THREADS / BLOCK)
    h.v[i][column] = column_of(x, block * BLOCK)[i * BLOCK + column];
  h.r[column][first] = *diagonal;
  __syncthreads();
  if (threadIdx.x < TR_WARP) {
    TR_UNROLL(1)
    for (unsigned j = 0; j < BLOCK; ++j)
      reflect(h, j);
  }
  __syncthreads();
  *diagonal = h.r[column][first];
  for (unsigned i = first; i < VECTORS; i += THREADS / BLOCK) {
    float sum = 0;
    for (unsigned j = 0; j < BLOCK; ++j)
      sum += h.v[i][j] * h.t[j][column];
    h.product[i][column] = sum;
  }
  __syncthreads();
}

/* The columns after the panel: W = R + V^T X; R -= T^T W; X -= (V T^T) W. */
__device__ void reflect_columns(const task &a, const panel &h, float *factor, float *x, unsigned block) {
  for (unsigned column = (block + 1) * BLOCK + threadIdx.x; column < a.width; column += THREADS) {
    read_again();
    float *at = triangle_row(factor, column) + block * BLOCK, *own = column_of(x, column);
    sixteen w = {}, r = load16(at);
    TR_UNROLL(4)
    for (unsigned i = 0; i < VECTORS; ++i)
      add16(w, own[i * BLOCK], h.v[i]);
    for (int k = 0; k < BLOCK; ++k)
      w.at[k] += r.at[k];
    for (int k = 0; k < BLOCK; ++k)
      r.at[k] -= dot16(w, h.t[k]);
    store16(at, r);
    TR_UNROLL(4)
    for (unsigned i = 0; i < VECTORS; ++i)
      own[i * BLOCK] -= dot16(w, h.product[i]);
  }
}

template <bool SHARED> __global__ void __launch_bounds__(THREADS, 2) add_batch(task a) {
  alignas(16) __shared__ panel h;
  float *x = vectors_of<SHARED>(a);
  for (size_t i = blockIdx.x; i < a.positions; i += gridDim.x) {
    const size_t position = a.first_position + i;
    float *factor = a.gaussian.factors + position * a.floats;
    if (a.first == 0)
      start_factor(a, factor);
    take_batch(a, position, x);
    __syncthreads();
    TR_UNROLL(1)
    for (unsigned block = 0; block * BLOCK < a.width; ++block) {
      clear_panel(h, factor, x, block);
      reflect_columns(a, h, factor, x, block);
      __syncthreads();
    }
  }
}

/* ---- factors ---- */

__device__ void fail_at(flag *failed, size_t number) {
  atomicMin(failed, (flag)number);
}

/* The covariance form: the sign of a row of R is free, L gets a positive diagonal. */
__device__ void scale_factor(const task &a, size_t position, float *factor) {
  __shared__ unsigned negative[MOST_WORDS]; /* a bit a row of R */
  const unsigned lane = threadIdx.x % TR_WARP;
  const float scale = (float)sqrt(1.0 / a.divisor);
  for (unsigned first = threadIdx.x - lane; first < a.width; first += THREADS) {
    const unsigned row = first + lane;
    const float diagonal = row < a.width ? triangle_row(factor, row)[row] : 1.0f;
    if (!(fabsf(diagonal) > 0.0f && fabsf(diagonal) < INFINITY))
      fail_at(a.failed, position);
    const unsigned bits = __ballot_sync(TR_ALL_LANES, diagonal < 0.0f);
    if (lane == 0)
      negative[first / TR_WARP] = bits;
  }
  __syncthreads();
  for (unsigned row = threadIdx.x / TR_WARP; row < a.width; row += WARPS) {
    float *to = triangle_row(factor, row);
    for (unsigned k = lane; k < (row / BLOCK + 1) * BLOCK; k += TR_WARP)
      to[k] *= negative[k / TR_WARP] >> lane & 1u ? -scale : scale;
  }
  __syncthreads();
}

/* Diagonal blocks, THREADS / BLOCK at a time, a thread a column. */
__device__ void invert_diagonal(const task &a, float *factor) {
  const unsigned column = threadIdx.x % BLOCK, blocks = a.rank / BLOCK;
  for (unsigned first = 0; first < blocks; first += THREADS / BLOCK) {
    const unsigned block = first + threadIdx.x / BLOCK;
    const size_t pitch = (size_t)(block + 1) * BLOCK;
    float *diagonal = factor + triangle_offset(block) + block * BLOCK;
    sixteen inverse = {};
    if (block < blocks)
      inverse = inverse_column(diagonal, pitch, column);
    __syncthreads();
    if (block < blocks)
      for (unsigned i = 0; i < BLOCK; ++i)
        diagonal[i * pitch + column] = inverse.at[i];
  }
}

__global__ void __launch_bounds__(THREADS) finish_covariance(task a) {
  for (size_t i = blockIdx.x; i < a.positions; i += gridDim.x) {
    const size_t position = a.first_position + i;
    float *factor = a.gaussian.factors + position * a.floats;
    for (unsigned k = threadIdx.x; k < a.width; k += THREADS)
      a.gaussian.means[position * a.width + k] = k < a.d ? (float)a.gaussian.running[position * a.width + k] : 0.0f;
    scale_factor(a, position, factor);
    invert_diagonal(a, factor);
    __syncthreads();
  }
}

/* The samples form: X about its mean. A thread has a column. */
__global__ void __launch_bounds__(THREADS) centre_samples(task a) {
  const unsigned parts = (a.width + THREADS - 1) / THREADS;
  for (size_t i = blockIdx.x; i < a.positions * parts; i += gridDim.x) {
    const size_t position = a.first_position + i / parts;
    const unsigned k = (unsigned)(i % parts) * THREADS + threadIdx.x;
    if (k >= a.width)
      continue;
    float *column = a.gaussian.samples + position * a.samples * a.width + k, mean = 0;
    if (k < a.d) {
      double sum = 0;
      TR_UNROLL(8)
      for (size_t s = 0; s < a.samples; ++s)
        sum += (double)column[s * a.width];
      mean = (float)(sum / (double)a.samples);
    }
    a.gaussian.means[position * a.width + k] = mean;
    TR_UNROLL(8)
    for (size_t s = 0; s < a.samples; ++s)
      column[s * a.width] = k < a.d ? column[s * a.width] - mean : 0.0f;
  }
}

/* A tile's 16 columns of 64 rows of X, one number after the other of each; rows that are none 0. */
__device__ void stage(const task &a, const float *samples, size_t first, unsigned at, float to[BLOCK][TILE]) {
  const unsigned row = threadIdx.x % TILE, part = threadIdx.x / TILE * 4;
  float4 four = {};
  if (first + row < a.samples)
    four = *reinterpret_cast<const float4 *>(samples + (first + row) * a.width + at + part);
  to[part][row] = four.x;
  to[part + 1][row] = four.y;
  to[part + 2][row] = four.z;
  to[part + 3][row] = four.w;
}

/* A thread's 4 x 4 of a tile, written where it belongs to the triangle; rows that are none belong to the identity. */
__device__ void write_gram(const task &a, float *factor, size_t row, size_t column, const float sum[4][4]) {
  const float lambda = (float)(a.epsilon * a.divisor);
  for (unsigned i = 0; i < 4; ++i) {
    if (row + i >= a.rank || column >= ((row + i) / BLOCK + 1) * BLOCK)
      continue;
    float out[4];
    for (unsigned j = 0; j < 4; ++j)
      out[j] = row + i != column + j ? sum[i][j] : row + i < a.samples ? sum[i][j] + lambda : 1.0f;
    *reinterpret_cast<float4 *>(triangle_row(factor, row + i) + column) = make_float4(out[0], out[1], out[2], out[3]);
  }
}

/* X X^T + lambda I, a block a tile of a position's. */
__global__ void __launch_bounds__(THREADS, 4) gram(task a) {
  alignas(16) __shared__ float rows[BLOCK][TILE], columns[BLOCK][TILE];
  const size_t tiles = (a.rank + TILE - 1) / TILE, each = tiles * tiles;
  const unsigned y = threadIdx.x / 16 * 4, x = threadIdx.x % 16 * 4;
  for (size_t i = blockIdx.x; i < a.positions * each; i += gridDim.x) {
    const size_t position = a.first_position + i / each, row = i % each / tiles * TILE, column = i % tiles * TILE;
    if (column > row)
      continue;
    const float *samples = a.gaussian.samples + position * a.samples * a.width;
    float sum[4][4] = {};
    for (unsigned at = 0; at < a.width; at += BLOCK) {
      stage(a, samples, row, at, rows);
      stage(a, samples, column, at, columns);
      __syncthreads();
      for (unsigned k = 0; k < BLOCK; ++k) {
        const float4 p = *reinterpret_cast<const float4 *>(&rows[k][y]), q = *reinterpret_cast<const float4 *>(&columns[k][x]);
        const float left[4] = {p.x, p.y, p.z, p.w}, right[4] = {q.x, q.y, q.z, q.w};
        for (unsigned r = 0; r < 4; ++r)
          for (unsigned c = 0; c < 4; ++c)
            sum[r][c] += left[r] * right[c];
      }
      __syncthreads();
    }
    write_gram(a, a.gaussian.factors + position * a.floats, row + y, column + x, sum);
  }
}

/* Cholesky of a block by a warp, a lane a row (the upper half rests); then its inverse, zeros above. */
__device__ void factor_block(float lower[BLOCK][BLOCK], flag *failed, size_t position) {
  const unsigned i = threadIdx.x % TR_WARP;
  TR_UNROLL(1)
  for (unsigned j = 0; j < BLOCK; ++j) {
    const float pivot = lower[j][j], root = sqrtf(pivot);
    if (i == 0 && !(pivot > 0.0f && pivot < INFINITY))
      fail_at(failed, position);
    __syncwarp();
    if (i >= j && i < BLOCK)
      lower[i][j] = i == j ? root : lower[i][j] / root;
    __syncwarp();
    if (i > j && i < BLOCK)
      for (unsigned k = j + 1; k <= i; ++k)
        lower[i][k] -= lower[i][j] * lower[k][j];
    __syncwarp();
  }
  sixteen inverse = {};
  if (i < BLOCK)
    inverse = inverse_column(&lower[0][0], BLOCK, i);
  __syncwarp();
  if (i < BLOCK)
    for (unsigned k = 0; k < BLOCK; ++k)
      lower[k][i] = inverse.at[k];
  __syncwarp();
}

/* Column after column of blocks: the diagonal, the rows below it, and what these take from the blocks to their right. */
__device__ void factor_column(const task &a, size_t position, float *factor, unsigned block, float diagonal[BLOCK][BLOCK]) {
  const unsigned first = (block + 1) * BLOCK, rows = a.rank - first, at = block * BLOCK;
  float *own = triangle_row(factor, at + threadIdx.x / BLOCK) + at + threadIdx.x % BLOCK;
  diagonal[threadIdx.x / BLOCK][threadIdx.x % BLOCK] = *own;
  __syncthreads();
  if (threadIdx.x < TR_WARP)
    factor_block(diagonal, a.failed, position);
  __syncthreads();
  *own = diagonal[threadIdx.x / BLOCK][threadIdx.x % BLOCK];
  for (unsigned row = first + threadIdx.x; row < a.rank; row += THREADS) {
    read_again();
    float *here = triangle_row(factor, row) + at;
    const sixteen old = load16(here);
    sixteen solved;
    for (unsigned k = 0; k < BLOCK; ++k) {
      read_again();
      solved.at[k] = dot16(old, diagonal[k]);
    }
    store16(here, solved);
  }
  __syncthreads();
  TR_UNROLL(1)
  for (unsigned i = threadIdx.x; i < rows * (rows / BLOCK); i += THREADS) {
    const unsigned row = first + i % rows, right = block + 1 + i / rows;
    if (row / BLOCK < right)
      continue;
    float *here = triangle_row(factor, row);
    const float *above = factor + triangle_offset(right) + at;
    const sixteen left = load16(here + at);
    here += right * BLOCK;
    TR_UNROLL(1)
    for (unsigned k = 0; k < BLOCK; ++k, above += (right + 1) * BLOCK)
      here[k] -= dot16(left, above);
  }
  __syncthreads();
}

__global__ void __launch_bounds__(THREADS, 2) factor_samples(task a) {
  alignas(16) __shared__ float diagonal[BLOCK][BLOCK];
  for (size_t i = blockIdx.x; i < a.positions; i += gridDim.x) {
    const size_t position = a.first_position + i;
    TR_UNROLL(1)
    for (unsigned block = 0; block * BLOCK < a.rank; ++block)
      factor_column(a, position, a.gaussian.factors + position * a.floats, block, diagonal);
  }
}

/* ---- distances ---- */

/* Each of the vectors y becomes L^-1 y, or L^-T y; a block of 16 after the other, which is taken from all that are left. */
template <bool BACKWARD> __device__ void solve(const task &a, const float *factor, float *y) {
  alignas(16) __shared__ float inverse[BLOCK][BLOCK], solved[VECTORS][BLOCK];
  const unsigned blocks = a.rank / BLOCK, column = threadIdx.x % BLOCK, first = threadIdx.x / BLOCK;
  TR_UNROLL(1)
  for (unsigned step = 0; step < blocks; ++step) {
    const unsigned block = BACKWARD ? blocks - 1 - step : step, at = block * BLOCK;
    const float *diagonal = triangle_row(factor, at + first) + at + column;
    if (BACKWARD)
      inverse[column][first] = *diagonal;
    else
      inverse[first][column] = *diagonal;
    __syncthreads();
    const sixteen own = load16(inverse[column]);
    for (unsigned q = first; q < VECTORS; q += THREADS / BLOCK)
      solved[q][column] = dot16(own, column_of(y, at) + q * BLOCK);
    __syncthreads();
    for (unsigned q = first; q < VECTORS; q += THREADS / BLOCK)
      column_of(y, at)[q * BLOCK + column] = solved[q][column];
    for (unsigned k = (BACKWARD ? 0 : at + BLOCK) + threadIdx.x; k < (BACKWARD ? at : a.rank); k += THREADS) {
      read_again();
      float *to = column_of(y, k);
      sixteen l;
      if (BACKWARD)
        for (unsigned i = 0; i < BLOCK; ++i)
          l.at[i] = triangle_row(factor, at + i)[k];
      else
        l = load16(triangle_row(factor, k) + at);
      TR_UNROLL(4)
      for (unsigned q = 0; q < VECTORS; ++q)
        to[q * BLOCK] -= dot16(l, solved[q]);
    }
    __syncthreads();
  }
}

/* sums += x . y of each vector, 16 columns from `at` on. */
__device__ void add_products(float sums[VECTORS], const sixteen &x, const float *at) {
  TR_UNROLL(32)
  for (unsigned q = 0; q < VECTORS; ++q)
    sums[q] += dot16(x, at + q * BLOCK);
}

/* w = X y, a thread a sample. */
__device__ void sample_products(const task &a, const float *samples, const float *y, float *w) {
  for (unsigned s = threadIdx.x; s < a.rank; s += THREADS) {
    float sums[VECTORS] = {};
    const unsigned columns = s < a.samples ? a.width : 0;
    TR_UNROLL(1)
    for (unsigned k = 0; k < columns; k += BLOCK) {
      read_again();
      add_products(sums, load16(samples + (size_t)s * a.width + k), column_of(y, k));
    }
    float *to = column_of(w, s);
    TR_UNROLL(32)
    for (unsigned q = 0; q < VECTORS; ++q)
      to[q * BLOCK] = sums[q];
  }
}

/* y -= X^T w, a thread a column. */
__device__ void subtract_samples(const task &a, const float *samples, const float *w, float *y) {
  for (unsigned k = threadIdx.x; k < a.width; k += THREADS) {
    float sums[VECTORS] = {};
    TR_UNROLL(1)
    for (unsigned s = 0; s < a.rank; s += BLOCK) {
      read_again();
      const float *from = samples + (size_t)s * a.width + k;
      sixteen x;
      for (unsigned i = 0; i < BLOCK; ++i, from += a.width)
        x.at[i] = s + i < a.samples ? *from : 0.0f;
      add_products(sums, x, column_of(w, s));
    }
    float *to = column_of(y, k);
    TR_UNROLL(32)
    for (unsigned q = 0; q < VECTORS; ++q)
      to[q * BLOCK] -= sums[q];
  }
}

/* y = the queries about the mean; queries that are none 0. */
__device__ void take_queries(const task &a, size_t position, size_t first, float *y) {
  const float *rows = a.rows + position * a.position_pitch;
  for (unsigned k = threadIdx.x; k < a.width; k += THREADS) {
    const float mean = a.gaussian.means[position * a.width + k];
    TR_UNROLL(4)
    for (unsigned q = 0; q < VECTORS; ++q)
      column_of(y, k)[q * BLOCK] = k < a.d && first + q < a.n ? rows[(first + q) * a.width + k] - mean : 0.0f;
  }
}

/* tr_warp_norm2() of a vector where it lies. */
__device__ double squared_norm(const float *vectors, unsigned vector, unsigned columns) {
  double sum = 0;
  for (unsigned k = threadIdx.x % TR_WARP; k < columns; k += TR_WARP) {
    const double value = column_of(vectors, k)[vector * BLOCK];
    sum = __dadd_rn(sum, __dmul_rn(value, value));
  }
  return tr_warp_sum(sum);
}

template <bool SAMPLES>
__device__ void write_distances(const task &a, size_t position, size_t first, const float *y, const float *w) {
  for (unsigned q = threadIdx.x / TR_WARP; q < VECTORS && first + q < a.n; q += WARPS) {
    double squared = squared_norm(y, q, a.width);
    if (SAMPLES)
      squared = squared / a.epsilon + a.divisor * squared_norm(w, q, a.rank);
    const float distance = (float)sqrt(squared);
    if (threadIdx.x % TR_WARP != 0)
      continue;
    a.distances[(first + q) * a.stride + position] = distance;
    if (!(distance < INFINITY))
      fail_at(a.failed, position * a.n + first + q);
  }
}

/* Keeps the compiler from holding what follows from x over a step that needs the registers. */
__device__ void follow_again(unsigned &x) {
  asm volatile("" : "+r"(x));
}

__device__ size_t position_of(const task &a, unsigned item) {
  return a.first_position + item / a.groups;
}

__device__ const float *factor_of(const task &a, unsigned item) {
  return a.gaussian.factors + position_of(a, item) * a.floats;
}

__device__ const float *samples_of(const task &a, unsigned item) {
  return a.gaussian.samples + position_of(a, item) * a.samples * a.width;
}

/* Two blocks, one after the other, share a position of more than 32 queries. Their number is below 2^32: at most 2^30 positions, of two
 * groups. */
template <bool SHARED, bool SAMPLES> __global__ void __launch_bounds__(THREADS, SHARED ? 2 : 1) measure(task a) {
  float *y = vectors_of<SHARED>(a), *w = column_of(y, a.width);
  for (unsigned i = blockIdx.x; i < (unsigned)(a.positions * a.groups); i += gridDim.x) {
    take_queries(a, position_of(a, i), i % a.groups * VECTORS, y);
    __syncthreads();
    follow_again(i);
    if (SAMPLES) {
      sample_products(a, samples_of(a, i), y, w);
      __syncthreads();
      follow_again(i);
      solve<false>(a, factor_of(a, i), w);
      follow_again(i);
      solve<true>(a, factor_of(a, i), w);
      follow_again(i);
      subtract_samples(a, samples_of(a, i), w, y);
      __syncthreads();
    } else
      solve<false>(a, factor_of(a, i), y);
    follow_again(i);
    write_distances<SAMPLES>(a, position_of(a, i), i % a.groups * VECTORS, y, w);
    __syncthreads();
  }
}

/* ---- launches ---- */

/* Floats of a block's vectors; the samples form's queries have weights too. */
size_t vector_floats(const tr_gaussian_spec *spec) {
  const size_t weights = spec->form == TR_GAUSSIAN_SAMPLES ? tr_triangle_round(spec->samples) : 0;
  return (tr_gaussian_width(spec) + weights) / BLOCK * CHUNK;
}

bool fits_shared(const tr_cuda *cuda, const tr_gaussian_spec *spec) {
  return vector_floats(spec) * sizeof(float) + SPARE <= cuda->shared_bytes;
}

/* Blocks whose vectors are in scratch memory, each in its slice. */
unsigned slices(const tr_cuda *cuda) {
  return 2u * (unsigned)cuda->multiprocessors;
}

task task_of(const tr_gaussian_args *args) {
  const tr_gaussian_spec *spec = &args->spec;
  task a = {};
  a.gaussian = args->gaussian;
  a.first_position = args->first_position;
  a.positions = args->positions;
  a.n = args->n;
  a.samples = spec->samples;
  a.first = args->first;
  a.d = (unsigned)spec->d;
  a.width = (unsigned)tr_gaussian_width(spec);
  a.rank = spec->form == TR_GAUSSIAN_SAMPLES ? (unsigned)tr_triangle_round(spec->samples) : a.width;
  a.floats = tr_triangle_floats(a.rank);
  a.rows = args->rows;
  a.position_pitch = args->position_pitch;
  a.epsilon = spec->epsilon;
  a.divisor = spec->samples > 1 ? (double)(spec->samples - 1) : 1.0;
  a.distances = args->distances;
  a.stride = spec->positions;
  a.groups = (unsigned)((args->n + VECTORS - 1) / VECTORS);
  a.failed = static_cast<flag *>(args->scratch);
  a.scratch = static_cast<float *>(args->scratch) + 16;
  a.slice = vector_floats(spec);
  return a;
}

typedef void (*kernel)(task);

/* A kernel that works on a block's vectors: `in_shared` where they fit there. */
tr_status launch(const tr_cuda *cuda, const tr_gaussian_spec *spec, kernel in_shared, kernel in_scratch, const task *a,
                 size_t items) {
  const bool fits = fits_shared(cuda, spec);
  const kernel run = fits ? in_shared : in_scratch;
  const size_t bytes = fits ? a->slice * sizeof(float) : 0, blocks = fits ? tr_cuda_loop_blocks(items, 1) : slices(cuda);
  if (fits)
    TR_CUDA_TRY(
        cudaFuncSetAttribute(reinterpret_cast<const void *>(run), cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
  TR_LAUNCH(run, (unsigned)(items < blocks ? items : blocks), THREADS, bytes, cuda->stream, *a);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

tr_status forget_failures(const tr_cuda *cuda, const task *a) {
  TR_CUDA_TRY(cudaMemsetAsync(a->failed, 0xff, sizeof *a->failed, cuda->stream));
  return TR_OK;
}

} // namespace

size_t tr_cuda_gaussian_scratch(const tr_device *device, const tr_gaussian_spec *spec) {
  const tr_cuda *cuda = tr_cuda_of(device);
  return 16 * sizeof(float) + (fits_shared(cuda, spec) ? 0 : slices(cuda) * vector_floats(spec) * sizeof(float));
}

tr_status tr_cuda_gaussian_add(tr_device *device, const tr_gaussian_args *args) {
  const tr_cuda *cuda = tr_cuda_of(device);
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  const task a = task_of(args);
  if (args->spec.form == TR_GAUSSIAN_COVARIANCE)
    return launch(cuda, &args->spec, add_batch<true>, add_batch<false>, &a, a.positions);
  TR_LAUNCH(keep_samples, tr_cuda_loop_blocks(a.positions * a.n * a.width / 4, THREADS), THREADS, 0, cuda->stream, a);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

static tr_status launch_finish(const tr_cuda *cuda, const task *a, bool samples) {
  const unsigned blocks = tr_cuda_loop_blocks(a->positions, 1);
  if (!samples) {
    TR_LAUNCH(finish_covariance, blocks, THREADS, 0, cuda->stream, *a);
    TR_CUDA_LAUNCHED();
    return TR_OK;
  }
  const size_t parts = (a->width + THREADS - 1) / THREADS, tiles = (a->rank + TILE - 1) / TILE;
  TR_LAUNCH(centre_samples, tr_cuda_loop_blocks(a->positions * parts, 1), THREADS, 0, cuda->stream, *a);
  TR_CUDA_LAUNCHED();
  TR_LAUNCH(gram, tr_cuda_loop_blocks(a->positions * tiles * tiles, 1), THREADS, 0, cuda->stream, *a);
  TR_CUDA_LAUNCHED();
  TR_LAUNCH(factor_samples, blocks, THREADS, 0, cuda->stream, *a);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

tr_status tr_cuda_gaussian_finish(tr_device *device, const tr_gaussian_args *args) {
  const tr_cuda *cuda = tr_cuda_of(device);
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  const task a = task_of(args);
  TR_TRY(forget_failures(cuda, &a));
  TR_TRY(launch_finish(cuda, &a, args->spec.form == TR_GAUSSIAN_SAMPLES));
  flag failed;
  TR_TRY(tr_device_download(device, &failed, a.failed, sizeof failed));
  return failed == ~(flag)0
             ? TR_OK
             : tr_fail(TR_EINVAL,
                       "gaussian: the covariance of %d channels at position %llu is not positive definite: there are values that "
                       "are not finite, or epsilon (%g) is too small for their size",
                       args->spec.d, failed, args->spec.epsilon);
}

tr_status tr_cuda_gaussian_distance(tr_device *device, const tr_gaussian_args *args) {
  const tr_cuda *cuda = tr_cuda_of(device);
  const bool samples = args->spec.form == TR_GAUSSIAN_SAMPLES;
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  const task a = task_of(args);
  TR_TRY(forget_failures(cuda, &a));
  TR_TRY(launch(cuda, &args->spec, samples ? measure<true, true> : measure<true, false>,
                samples ? measure<false, true> : measure<false, false>, &a, a.positions * a.groups));
  flag failed;
  TR_TRY(tr_device_download(device, &failed, a.failed, sizeof failed));
  return failed == ~(flag)0 ? TR_OK
                            : tr_fail(TR_EINVAL, "gaussian: vector %llu: its distance at position %llu is not finite",
                                      failed % args->n, failed / args->n);
}
