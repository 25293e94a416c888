/* A threshold from nominal images that a model was not fitted on.
 *
 * It is the k-th smallest score of n of them, k = ceil((n + 1) quantile): the probability that another image like these scores higher is at
 * most 1 - quantile (split conformal prediction, Vovk et al. 2005, Lei et al. 2018). It is of the model that scored them: another bank needs
 * another threshold. */
#ifndef TR_DETECTOR_THRESHOLD_H
#define TR_DETECTOR_THRESHOLD_H

#include "host/detector/about.h"
#include "host/detector/scorer.h"

/* k, from 1 on; more than n where they are too few. */
size_t tr_threshold_rank(double quantile, size_t n);

/* Where no images are given for it, they are drawn from the training images by the seed: a fifth, or as many more as k <= n takes, but half at
 * most. They move to the test images (empty before); both stay in order. EINVAL: too few, with the quantile that they would do for. */
tr_status tr_threshold_hold_out(double quantile, uint64_t seed, tr_class *images);

/* Images of a file or folder, as test images (empty before). EINVAL likewise. */
tr_status tr_threshold_given(double quantile, const char *held_out, tr_class *images);

/* Scores the test images; tells the threshold through `progress`. */
tr_status tr_threshold_find(tr_scorer *scorer, double quantile, const tr_class *images, tr_progress *progress, tr_threshold *out);

/* The detector's file with that threshold in place of its own, as `path`, which may be the same. */
tr_status tr_threshold_write(tr_device *device, const char *model, const tr_threshold *threshold, const char *path);

/* A detector with a threshold, in place of what it had: as a file of its own, `path`, which may be the detector's. */
typedef struct tr_threshold_options {
  tr_detector_options detector;
  double quantile;
  const char *held_out;
  tr_progress *progress;
} tr_threshold_options;
tr_status tr_threshold_make(const tr_threshold_options *options, const char *path);

#endif
