/* Products and exact distances on the GPU, shared by the search operators: what kernels/cpu/exact.h says of both holds here.
 *
 * A warp makes the sums of kernels/cpu/exact.h, its lanes being that file's, so that a distance has the same bits on every
 * device. All 32 lanes call together, and every lane gets the sum.
 */
#ifndef TR_KERNELS_CUDA_EXACT_H
#define TR_KERNELS_CUDA_EXACT_H

#include "kernels/cuda/cuda.h"

extern "C" {
#include "kernels/cpu/exact.h"
}

enum { TR_WARP = 32 };
#define TR_ALL_LANES 0xffffffffu
static_assert((int)TR_EXACT_LANES == (int)TR_WARP, "a lane of the cpu twin is a lane of the warp");

/* c[i, j] = a_i . b_j: row-major a [m, d], b [n, d], c [m, pitch]. Float multiply-adds, queued on the device's stream. */
static inline tr_status tr_cuda_products(const tr_cuda *cuda, const float *a, size_t m, const float *b, size_t n, int d, float *c,
                                         size_t pitch) {
  const float one = 1, zero = 0;
  TR_CUBLAS_TRY(cublasSgemm(cuda->blas, CUBLAS_OP_T, CUBLAS_OP_N, (int)n, (int)m, d, &one, b, d, a, d, &zero, c, (int)pitch));
  return TR_OK;
}

/* Halved pairwise: by symmetry each lane adds the same numbers. */
__device__ inline double tr_warp_sum(double sum) {
  for (int width = TR_WARP / 2; width > 0; width /= 2)
    sum = __dadd_rn(sum, __shfl_xor_sync(TR_ALL_LANES, sum, width));
  return sum;
}

__device__ inline float tr_warp_max(float value) {
  for (int width = TR_WARP / 2; width > 0; width /= 2)
    value = fmaxf(value, __shfl_xor_sync(TR_ALL_LANES, value, width));
  return value;
}

__device__ inline double tr_warp_max(double value) {
  for (int width = TR_WARP / 2; width > 0; width /= 2)
    value = fmax(value, __shfl_xor_sync(TR_ALL_LANES, value, width));
  return value;
}

/* |a - b|^2 */
__device__ inline double tr_warp_distance2(const float *a, const float *b, unsigned d) {
  double sum = 0;
  TR_UNROLL(4)
  for (unsigned i = threadIdx.x % TR_WARP; i < d; i += TR_WARP) {
    const double difference = (double)a[i] - (double)b[i];
    sum = __dadd_rn(sum, __dmul_rn(difference, difference));
  }
  return tr_warp_sum(sum);
}

/* |a|^2 */
__device__ inline double tr_warp_norm2(const float *a, unsigned d) {
  double sum = 0;
  TR_UNROLL(4)
  for (unsigned i = threadIdx.x % TR_WARP; i < d; i += TR_WARP)
    sum = __dadd_rn(sum, __dmul_rn((double)a[i], (double)a[i]));
  return tr_warp_sum(sum);
}

/* ---- scores: a.b - |b|^2 / 2, the larger the nearer ---- */

/* A lane's largest score, whose it is, and its second largest. */
struct tr_peak {
  float first, second;
  unsigned j;
};

__device__ inline void tr_peak_raise(tr_peak &peak, float score, unsigned j) {
  peak.second = fmaxf(peak.second, fminf(peak.first, score));
  peak.j = score > peak.first ? j : peak.j;
  peak.first = fmaxf(peak.first, score);
}

/* Of columns [from, to) of a row of products, the lane's share: single ones up to a multiple of 4, fours, single ones. Both
 * arrays begin at a multiple of 16 bytes. */
__device__ inline tr_peak tr_lane_peak(const float *products, const float *half_norms, unsigned from, unsigned to) {
  const unsigned lane = threadIdx.x % TR_WARP, fours = min((from + 3) / 4 * 4, to), rest = max(to / 4 * 4, fours);
  tr_peak peak = {-INFINITY, -INFINITY, from};
  if (from + lane < fours)
    tr_peak_raise(peak, products[from + lane] - half_norms[from + lane], from + lane);
  TR_UNROLL(4)
  for (unsigned j = fours + 4 * lane; j < rest; j += 4 * TR_WARP) {
    const float4 product = *reinterpret_cast<const float4 *>(products + j);
    const float4 half_norm = *reinterpret_cast<const float4 *>(half_norms + j);
    tr_peak_raise(peak, product.x - half_norm.x, j);
    tr_peak_raise(peak, product.y - half_norm.y, j + 1);
    tr_peak_raise(peak, product.z - half_norm.z, j + 2);
    tr_peak_raise(peak, product.w - half_norm.w, j + 3);
  }
  if (rest + lane < to)
    tr_peak_raise(peak, products[rest + lane] - half_norms[rest + lane], rest + lane);
  return peak;
}

/* The warp's: `first` is the largest score of all, `j` whose it is, `second` the lane's largest but that one. */
__device__ inline tr_peak tr_warp_peak(const float *products, const float *half_norms, unsigned from, unsigned to) {
  tr_peak peak = tr_lane_peak(products, half_norms, from, to);
  const float largest = tr_warp_max(peak.first);
  const unsigned holder = (unsigned)__ffs((int)__ballot_sync(TR_ALL_LANES, peak.first == largest)) - 1;
  peak.second = threadIdx.x % TR_WARP == holder ? peak.second : peak.first;
  peak.j = __shfl_sync(TR_ALL_LANES, peak.j, (int)holder);
  peak.first = largest;
  return peak;
}

#endif
