/* proxies: learned basis proxies, the third way of subsampling in the paper's comparison (section 4.4.2, figure 5, Eq. 8): `count`
 * vectors p_k that are to rebuild the rows m_i of the bank, each row by a softmax of its distances:
 *
 *   w_ik = exp(-|m_i - p_k|) / sum_l exp(-|m_i - p_l|)      r_i = sum_k w_ik p_k      loss = mean_i |r_i - m_i|^2
 *
 * trained by gradient descent on batches of rows. Where two vectors are nearer than a thousandth of their length (a proxy and the row
 * it began as), products in float cannot tell the direction from one to the other, and the distance counts as 0 and is not
 * differentiated.
 *
 * What the paper does not print, as far as it is known to us, and what is done here: the sign of the exponent (nearer proxies weigh
 * more, or nothing could be rebuilt); how proxies begin (the caller's: rows drawn at random); batches, steps and rate. Step t of
 * `steps` takes
 *
 *   p_k -= rate (1 - t / steps) (sum_i d|r_i - m_i|^2 / dp_k) / (2 max(1, sum_i w_ik))
 *
 * over its batch's rows i: the gradient, divided by what a proxy stands for in the batch, so that with weights held a rate of 1 puts
 * it at once where it serves the batch's rows best, as k-means would. No rate has to be found for a number of proxies or a scale
 * of features: steps of 100 times a batch's mean gradient are good for 941 proxies of MVTec's bottle and diverge for 94, for which 10
 * is good. The rate falls to 0, so that the last batches do not decide.
 *
 * TR_PROXIES_*: for 941 proxies of bottle's 94,080 rows (ResNet50 v1) random rows' loss of 34.5 becomes 23.2 in 200 steps of 256 rows;
 * 100 of 512 give 23.3, a rate of 1 there 23.1, one of 0.2 24.3. As a bank they score there as random rows do or better (0.1 %: PRO
 * 0.942 and 0.876), where the paper's plot, a mean of 15 classes, has them below.
 */
#ifndef TR_KERNELS_PROXIES_H
#define TR_KERNELS_PROXIES_H

#include "host/base/progress.h"
#include "kernels/device.h"

enum { TR_PROXIES_STEPS = 200, TR_PROXIES_BATCH = 256 };
#define TR_PROXIES_RATE 0.5

typedef struct tr_proxies_args {
  size_t n;
  int d;
  const float *rows; /* [n, d] */
  bool rows_in_host; /* then rows are host memory, from which a step's go up */
  size_t count;
  float *proxies; /* [count, d]: where they begin; where they end */
  size_t steps, batch;
  const uint32_t *batches; /* host, [steps, batch]: the rows of each step */
  double rate;             /* of the first step, in (0, 2) */
  double *losses;          /* host, [steps]: of each batch before its step; NULL: not wanted */
  void *scratch;           /* tr_proxies_scratch() bytes */
  tr_progress *progress;   /* may be NULL */
} tr_proxies_args;

size_t tr_proxies_scratch(const tr_device *device, size_t count, int d, size_t batch);
/* ECANCELED when tr_cancel_requested(). The same bits for any number of threads; devices differ by the rounding of their products. */
tr_status tr_proxies(tr_device *device, const tr_proxies_args *args);

/* For the twins: one step. Everything is device memory. */
typedef struct tr_proxies_step {
  size_t count, batch;
  int d;
  float *proxies;     /* [count, d] */
  const float *rows;  /* [batch, d] */
  float *row_norms;   /* [batch]: |m|^2 */
  float *proxy_norms; /* [count] */
  float rate;         /* of this step */
  double *losses;     /* [batch]: out, |r - m|^2 */
  void *scratch;      /* proxies_scratch() bytes of the twin */
} tr_proxies_step;

/* Squared distances below this part of |m|^2 + |p|^2 count as 0. */
#define TR_PROXIES_NEAR 1e-6f

#endif
