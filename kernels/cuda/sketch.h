/* A sketch of a bank for the GPU: its rows about a centre, in half precision. Their products run on the tensor cores, at several
 * times the rate of float; distances of the rows are bounded below by distances of the sketches, so that results stay exact.
 *
 * With a centre m and a power of two s, the sketch of a row q is z = half((q - m) s), and e = |(q - m) s - z| is measured in
 * double, so whatever is lost (roundings, values cut off at half's range) is in e. By the triangle inequality
 *
 *   |z - z'| <= s |q - q'| + e + e'
 *
 * s brings the largest value of the bank to about 2^9: nothing is lost to half's range, whatever the features' unit. On ResNet50
 * features of MVTec bottle (bank 9,408 x 1,024) e is 5e-4 of the distance to the nearest row, and 1.05 rows of the bank lie
 * within the bound of a query; the subspace sketch of the cpu twin needs more arithmetic on a GPU than this and bounds less
 * sharply.
 */
#ifndef TR_KERNELS_CUDA_SKETCH_H
#define TR_KERNELS_CUDA_SKETCH_H

#include "kernels/cuda/cuda.h"

#include <cuda_fp16.h>

extern "C" {
#include "kernels/sections.h"
}

/* Lies at the start of the sketch's memory; the arrays follow it. Largest values are bits, which order as the numbers do. */
struct tr_cuda_sketch {
  unsigned long long rows, d;
  unsigned long long largest_error, largest_norm2; /* of double: e, |z|^2 */
  unsigned largest_value;                          /* of float: |q - m| of one component */
};

/* The sketch's arrays, on the device. */
struct tr_cuda_sketch_arrays {
  tr_cuda_sketch *header;
  float *centre;     /* [d] */
  float *half_norms; /* [rows]: |z|^2 / 2 */
  __half *values;    /* [rows, tr_cuda_sketch_pitch(d)], zeros behind d */
};

/* Tensor cores want rows of whole 16 bytes. */
static inline size_t tr_cuda_sketch_pitch(size_t d) {
  return (d + 7) / 8 * 8;
}

static inline tr_cuda_sketch_arrays tr_cuda_sketch_lay_out(tr_sections *s, size_t rows, size_t d) {
  tr_cuda_sketch_arrays a;
  a.header = static_cast<tr_cuda_sketch *>(tr_section(s, sizeof(tr_cuda_sketch)));
  a.centre = static_cast<float *>(tr_section(s, d * sizeof(float)));
  a.half_norms = static_cast<float *>(tr_section(s, rows * sizeof(float)));
  a.values = static_cast<__half *>(tr_section(s, rows * tr_cuda_sketch_pitch(d) * sizeof(__half)));
  return a;
}

/* s of a bank with this largest value. */
__host__ __device__ inline float tr_cuda_sketch_scale(float largest_value) {
  const int exponent = largest_value > 0 ? 8 - ilogbf(largest_value) : 0;
  return ldexpf(1.0f, exponent < -100 ? -100 : exponent > 100 ? 100 : exponent);
}

/* Sketches n queries: values [n, pitch], norm2 [n] = |z|^2, errors [n] = e. Queued on the device's stream. */
tr_status tr_cuda_sketch_queries(const tr_cuda *cuda, const tr_cuda_sketch_arrays *sketch, const float *queries, size_t n, int d,
                                 __half *values, double *norm2, double *errors);

#endif
