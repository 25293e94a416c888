/* reweight: the image score of paper Eq. 7 (not in the authors' code).
 *
 *   t = the image's patch with the largest nearest distance s* (lowest index at a tie), m* = its nearest bank row,
 *   N_b(m*) = the b bank rows nearest to m* (m* itself among them),
 *   s = (1 - exp(|t - m*|) / sum_{m in N_b(m*)} exp(|t - m|)) * s*
 *
 * Distances are Euclidean; exponents are shifted by their maximum, so large distances do not overflow.
 */
#ifndef TR_KERNELS_REWEIGHT_H
#define TR_KERNELS_REWEIGHT_H

#include "kernels/device.h"

typedef struct tr_reweight_args {
  int n, patches; /* images, patches of an image */
  const float *features;  /* [n * patches, d] */
  const float *distances; /* [n * patches] to the nearest bank row: squared L2 */
  const uint32_t *indices; /* [n * patches] that row */
  size_t bank_rows;
  const float *bank, *bank_norms;
  int d, b;      /* 1 <= b <= min(bank_rows, TR_NEAREST_MAX_K); b = 1 gives 0 for every image and is refused */
  float *scores; /* [n] */
  void *scratch;
} tr_reweight_args;

size_t tr_reweight_scratch(const tr_device *device, int n, int patches, size_t bank_rows, int d, int b);
tr_status tr_reweight(tr_device *device, const tr_reweight_args *args);

#endif
