/* Ensembles: the mean of members' image scores and maps, each made comparable first.
 *
 * official  (official-behaviour, section 1): a member's image scores, and likewise its maps, are scaled to [0, 1] by their least and
 *           greatest value over the test images of the class; a member whose values are all the same gives 0.
 * nominal   less the mean and divided by the standard deviation of what nominal images score that the member does not know: some of its
 *           training images (tr_nominal_images), evenly spread over the list, each against the bank without its own rows, those of all
 *           of its tiles where images are cut. Maps take mean and deviation of those images' patch scores. Nothing of the test images is needed, so a deployed ensemble can do
 *           the same. A deviation of 0 counts as 1. */
#ifndef TR_HARNESS_ENSEMBLE_H
#define TR_HARNESS_ENSEMBLE_H

#include "host/harness/evaluate.h"
#include "host/harness/plan.h"

/* Of scores of nominal images. */
typedef struct tr_nominal {
  bool known;
  double image_mean, image_deviation, patch_mean, patch_deviation;
} tr_nominal;

/* Numbers of the training images that are scored, of `train_images`; out: [TR_NOMINAL_IMAGES]. Returns how many. */
enum { TR_NOMINAL_IMAGES = 32 };
size_t tr_nominal_images(size_t train_images, size_t *out);

/* A run's scores, kept until all of its ensemble's members have theirs. */
typedef struct tr_kept_run {
  const tr_plan_class *class_;
  char *name;
  int grid_h, grid_w;
  double sigma;
  bool by_tile;        /* how patch_scores lie: tr_patch_scores */
  float *patch_scores; /* of all tiles of the test images */
  float *image_scores; /* [test images] */
  tr_nominal nominal;
  size_t bank_rows;
  int dimension;
  tr_run_seconds seconds;
} tr_kept_run;

void tr_kept_run_release(tr_kept_run *kept);

/* Makes the maps of the ensemble in `evaluation`, as tr_evaluation_maps does those of a run, and the image scores: host,
 * [test images]. members: [ensemble->run.setting->member_count]. */
tr_status tr_ensemble_score(const tr_plan_ensemble *ensemble, const tr_kept_run *const *members, tr_device *device,
                            size_t test_images, tr_evaluation *evaluation, float *image_scores);

#endif
