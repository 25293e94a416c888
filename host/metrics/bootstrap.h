/* How far the difference of two runs' image AUROC may be an accident of which images were tested: a paired, stratified bootstrap.
 *
 * Paired: both runs see the same draw of images, so what a hard image does to both cancels. Stratified: as many good and as many
 * anomalous images are drawn as there are, since a benchmark fixes both numbers, and a class with 12 good ones would else be drawn
 * without any (Carpenter and Bithell, 2000; the default of pROC, Robin et al., 2011). Percentile: simulated with 20 good and 63
 * anomalous images, it holds the true difference about as often as BCa does, but neither the promised 95 times of 100: 92 where AUROC is
 * near 0.9, 84 where it is near 0.98. Close to 1, then, an interval is too short. */
#ifndef TR_METRICS_BOOTSTRAP_H
#define TR_METRICS_BOOTSTRAP_H

#include "host/totalrecall.h"

/* One class: its test images, scored by two runs, with each of several seeds. */
typedef struct tr_paired_scores {
  const uint8_t *positive;          /* [n], 0 or not 0 */
  const float *const *a, *const *b; /* [seeds], each [n] */
  size_t n, seeds;
} tr_paired_scores;

typedef struct tr_auroc_difference {
  double a, b;      /* AUROC: mean over seeds, then over classes */
  double low, high; /* of a - b: the central 95 % of the draws, linear between them */
} tr_auroc_difference;

#define TR_BOOTSTRAP_DRAWS 2000

/* Images of a class are drawn alike for all its seeds. Draw i comes from Philox (seed, TR_RNG_BOOTSTRAP, i): class by class, first its
 * good, then its anomalous images. AUROC of a draw is exact, ties counted half. EINVAL: no class or seed, a class without good or without
 * anomalous images, a score that is not finite. */
tr_status tr_bootstrap_auroc(const tr_paired_scores *classes, size_t class_count, size_t draws, uint64_t seed,
                             tr_auroc_difference *out);

#endif
