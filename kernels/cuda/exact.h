/* Products and exact distances on the GPU, shared by the search operators: what kernels/cpu/exact.h says of both holds here.
 *
 * A warp makes the sums of kernels/cpu/exact.h, its lanes being that file's, so that a distance has the same bits on every
 * device. All 32 lanes call together, and every lane gets the sum. */
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

#endif
