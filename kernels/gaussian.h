/* gaussian: a multivariate Gaussian at every position, and Mahalanobis distances from it (PaDiM, Defard et al. 2021, sections III-B and
 * III-D). For the N training vectors x of a position:
 *
 *   mean = sum x / N,  covariance = sum (x - mean)(x - mean)^T / (N - 1) + epsilon I   (one vector: epsilon I)
 *   distance(x) = sqrt((x - mean)^T covariance^-1 (x - mean))
 *
 * Two forms of the same thing; tr_gaussian_best_form() is the one that takes less memory, which is fitted faster too:
 *
 * covariance  its Cholesky factor L is kept: distance = |L^-1 (x - mean)|. Vectors are added batch by batch and not kept; memory does not
 *             grow with N. The covariance itself is never formed: a triangle R with R^T R = sum of what came so far + epsilon (N - 1) I
 *             takes each batch in by orthogonal reflections, about the batch's own mean, and one row more for the step of the mean
 *             (Chan, Golub and LeVeque, 1979). So float serves: what is lost is the root of the covariance's condition (often 10^5),
 *             not the condition itself.
 * samples     for few vectors. With the N centred vectors as rows of X, lambda = epsilon (N - 1) and d = x - mean, Woodbury's identity
 *             and the normal equations of a ridge regression give
 *               distance^2 = min_w (|d - X^T w|^2 + lambda |w|^2) / epsilon,   w = (X X^T + lambda I)^-1 X d,
 *             so X and the factor of an N x N matrix are kept. It is evaluated as that sum of squares, which has no cancellation, and at
 *             its minimum an error of w counts by its square only.
 *
 * Positions are independent of each other, and no bit depends on the ranges of positions or the number of queries that calls are cut
 * into.
 */
#ifndef TR_KERNELS_GAUSSIAN_H
#define TR_KERNELS_GAUSSIAN_H

#include "kernels/device.h"
#include "kernels/triangle.h"

typedef enum tr_gaussian_form { TR_GAUSSIAN_COVARIANCE, TR_GAUSSIAN_SAMPLES } tr_gaussian_form;

typedef struct tr_gaussian_spec {
  size_t positions;
  size_t samples; /* N: training vectors of each position */
  int d;
  double epsilon; /* > 0 */
  tr_gaussian_form form;
} tr_gaussian_spec;

tr_gaussian_form tr_gaussian_best_form(size_t samples, int d);
const char *tr_gaussian_form_name(tr_gaussian_form form); /* "covariance", "samples" */

/* EINVAL, naming what cannot be. */
tr_status tr_gaussian_check(const tr_gaussian_spec *spec);

/* Floats from vector to vector: d rounded up to whole lines. */
static inline size_t tr_gaussian_width(const tr_gaussian_spec *spec) {
  return tr_triangle_round((size_t)spec->d);
}

/* What is fitted, on the device. After tr_gaussian_finish() it is: */
typedef struct tr_gaussian {
  float *means;    /* [positions, width] */
  float *factors;  /* [positions, triangle of d, or of `samples`]: L (kernels/triangle.h), its diagonal blocks inverted */
  float *samples;  /* samples form: X, [positions, samples, width], columns after the d-th 0; else NULL */
  double *running; /* covariance form, until then: [positions, width], means of what came so far; else NULL */
} tr_gaussian;

/* Bytes of each part; 0: this form has none. */
typedef struct tr_gaussian_bytes {
  size_t means, factors, samples, running;
} tr_gaussian_bytes;
tr_gaussian_bytes tr_gaussian_sizes(const tr_gaussian_spec *spec);

/* Multiply-adds of fitting all positions, and of one vector's distance at each. */
typedef struct tr_gaussian_macs {
  double fit, distance;
} tr_gaussian_macs;
tr_gaussian_macs tr_gaussian_macs_of(const tr_gaussian_spec *spec);

typedef struct tr_gaussian_args {
  tr_gaussian_spec spec;
  tr_gaussian gaussian;
  size_t first_position, positions; /* the range to work on */
  /* Vector i of `n` at position p, absolute: rows + p * position_pitch + i * width. */
  size_t n;
  const float *rows;
  size_t position_pitch;
  size_t first;     /* add: which of the training vectors rows[0] is */
  float *distances; /* distance: [n, spec.positions] */
  void *scratch;    /* tr_gaussian_scratch() bytes; one serves all lanes at once */
} tr_gaussian_args;

/* Vectors of a batch for tr_gaussian_add(); and most vectors that tr_gaussian_distance() takes at once (it reads all that was fitted
 * once for all of them). */
size_t tr_gaussian_batch(const tr_device *device, const tr_gaussian_spec *spec);
size_t tr_gaussian_queries(const tr_device *device);
size_t tr_gaussian_scratch(const tr_device *device, const tr_gaussian_spec *spec);

/* Adds n training vectors. Covariance form: batches of tr_gaussian_batch() vectors, the last may be shorter, in the order of
 * their vectors. Samples form: any; what writes vectors to gaussian.samples itself, does without. */
tr_status tr_gaussian_add(tr_device *device, const tr_gaussian_args *args);
/* Once all are added: factors. EINVAL names a position whose covariance is not positive definite. */
tr_status tr_gaussian_finish(tr_device *device, const tr_gaussian_args *args);
/* EINVAL names a position whose distance is not finite. */
tr_status tr_gaussian_distance(tr_device *device, const tr_gaussian_args *args);

#endif
