/* Exact distances behind cheap bounds, shared by the search operators.
 *
 * A float product gives |a|^2 + |b|^2 - 2 a.b with cancellation, in an order of summation that differs between libraries and
 * processors. It serves only to say which pairs could matter; those pairs are then measured here, in double and in one order.
 * Results therefore do not depend on the product, and near ties come out as a brute force in double has them. */
#ifndef TR_KERNELS_CPU_EXACT_H
#define TR_KERNELS_CPU_EXACT_H

#include <stddef.h>

enum { TR_EXACT_LANES = 32 };

/* |a - b|^2: 32 interleaved partial sums, then halved pairwise. Relative error below (d / 32 + 6) * 2^-53. */
static inline double tr_exact_distance2(const float *a, const float *b, size_t d) {
  double sum[TR_EXACT_LANES] = {0};
  size_t i = 0;
  for (; i + TR_EXACT_LANES <= d; i += TR_EXACT_LANES)
    for (size_t lane = 0; lane < TR_EXACT_LANES; ++lane) {
      double difference = (double)a[i + lane] - (double)b[i + lane];
      sum[lane] += difference * difference;
    }
  for (size_t lane = 0; i + lane < d; ++lane) {
    double difference = (double)a[i + lane] - (double)b[i + lane];
    sum[lane] += difference * difference;
  }
  for (size_t width = TR_EXACT_LANES / 2; width > 0; width /= 2)
    for (size_t lane = 0; lane < width; ++lane)
      sum[lane] += sum[lane + width];
  return sum[0];
}

/* |a - b|^2 in float, three times as fast; without over- or underflow within tr_product_error(d) of it, relative. */
static inline float tr_float_distance2(const float *a, const float *b, size_t d) {
  float sum[TR_EXACT_LANES] = {0};
  size_t i = 0;
  for (; i + TR_EXACT_LANES <= d; i += TR_EXACT_LANES)
    for (size_t lane = 0; lane < TR_EXACT_LANES; ++lane) {
      float difference = a[i + lane] - b[i + lane];
      sum[lane] += difference * difference;
    }
  for (size_t lane = 0; i + lane < d; ++lane) {
    float difference = a[i + lane] - b[i + lane];
    sum[lane] += difference * difference;
  }
  for (size_t width = TR_EXACT_LANES / 2; width > 0; width /= 2)
    for (size_t lane = 0; lane < width; ++lane)
      sum[lane] += sum[lane + width];
  return sum[0];
}

/* |a|^2, as tr_exact_distance2. */
static inline double tr_exact_norm2(const float *a, size_t d) {
  double sum[TR_EXACT_LANES] = {0};
  size_t i = 0;
  for (; i + TR_EXACT_LANES <= d; i += TR_EXACT_LANES)
    for (size_t lane = 0; lane < TR_EXACT_LANES; ++lane)
      sum[lane] += (double)a[i + lane] * (double)a[i + lane];
  for (size_t lane = 0; i + lane < d; ++lane)
    sum[lane] += (double)a[i + lane] * (double)a[i + lane];
  for (size_t width = TR_EXACT_LANES / 2; width > 0; width /= 2)
    for (size_t lane = 0; lane < width; ++lane)
      sum[lane] += sum[lane + width];
  return sum[0];
}

/* Bound on |fl(a.b) - a.b| / (|a| |b|) for a float product of k terms summed in any order, with or without fused steps
 * (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), and 8 roundings more for what is done with it. */
static inline double tr_product_error(size_t k) {
  return 1.01 * (double)(k + 8) * 0x1p-24;
}

#endif
