/* reweight: the image score of paper Eq. 7 (not in the authors' code).
 *
 *   t = the image's patch with the largest nearest distance s* (lowest index at a tie), m* = its nearest bank row,
 *   N_b(m*) = the b bank rows nearest to m* (m* itself among them),
 *   s = (1 - exp(|t - m*|) / sum_{m in N_b(m*)} exp(|t - m|)) * s*
 *
 * Distances are Euclidean; exponents are shifted by their maximum, so large distances do not overflow. As m* is the nearest row,
 * its share is at most 1/b and nothing cancels.
 */
#ifndef TR_KERNELS_REWEIGHT_H
#define TR_KERNELS_REWEIGHT_H

#include "kernels/nearest.h"

typedef struct tr_reweight_args {
  int n, patches;          /* images, patches of an image */
  const float *features;   /* [n * patches, d] */
  const float *distances;  /* [n * patches] to the nearest bank row: squared L2 */
  const uint32_t *indices; /* [n * patches] that row; EINVAL when it is not in the bank */
  size_t bank_rows;
  const float *bank, *bank_norms;
  int d, b;      /* 2 <= b <= min(bank_rows, TR_NEAREST_MAX_K); b = 1 would give 0 for every image */
  float *scores; /* [n] */
  void *scratch; /* tr_reweight_scratch() bytes */
} tr_reweight_args;

/* Does not grow when the bank has fewer rows. */
size_t tr_reweight_scratch(const tr_device *device, int n, int patches, size_t bank_rows, int d, int b);
tr_status tr_reweight(tr_device *device, const tr_reweight_args *args);
/* What tr_reweight refuses before it looks at values: EINVAL. */
tr_status tr_reweight_check(const tr_reweight_args *args);

/* For the twins. A twin finds t and m*, gathers the rows m* into `matches`, calls tr_nearest with `neighbours` as it stands, and
 * weighs. Each m* is a group of its own in the search, so that a score does not depend on the other images. */
typedef struct tr_reweight_work {
  uint32_t *patches;          /* [n] row of t in features */
  float *matches;             /* [n, d] the rows m* */
  tr_nearest_args neighbours; /* fills its indices: [n, b] */
  size_t bytes;
} tr_reweight_work;

tr_reweight_work tr_reweight_layout(const tr_device *device, const tr_reweight_args *args);

#endif
