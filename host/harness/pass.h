/* One pass of a plan: a class's images through the backbone, and all its models fitted and scoring on the way. */
#ifndef TR_HARNESS_PASS_H
#define TR_HARNESS_PASS_H

#include "host/harness/ensemble.h"
#include "host/harness/feed.h"
#include "host/harness/plan.h"

#define TR_NOT_SEEN UINT32_MAX

/* A model, or one for each position of a tile, and what it gave. A unit (host/harness/feed.h) is known to the models by a number: of its
 * tile among all that a common model sees, or of its image where each position has a model. */
typedef struct tr_pass_model {
  const tr_group *group;
  const tr_method *method;
  tr_model **parts; /* [pass->positions]: of the positions at hand; NULL each after the pass */
  tr_variant *variants;
  uint32_t
      *place;  /* [training images of the pass]: number of each among those the model sees, TR_NOT_SEEN; NULL: all, in order */
  size_t grid; /* positions of a unit's patches */
  tr_model_info *info; /* [variants]; of several models the sum */
  float *
      patch_scores; /* [variants, test images, tiles, grid], with a model for each position [variants, tiles, test images, grid] */
  float *unit_scores;                       /* [variants, ...] likewise */
  float *image_scores;                      /* [variants, test images]: the maximum of the image's tiles */
  tr_nominal *nominal;                      /* [variants]: of those that an ensemble wants it of */
  struct tr_nominal_scores *nominal_scores; /* [variants], likewise, while there are models */
} tr_pass_model;

/* What passes of a class keep for each other; NULL: nothing. */
typedef struct tr_pass_caches {
  tr_cache *images, *maps;
} tr_pass_caches;

typedef struct tr_pass_work {
  const tr_pass *pass;
  tr_device *device;
  tr_progress *progress;
  const tr_class *class_;
  const tr_pass_caches *caches;
  tr_backbone *backbone;
  tr_feed *feed;
  tr_sample *train;                 /* the training images that a model sees; their texts are class_'s */
  size_t *train_items, *test_items; /* in the caches */
  size_t train_count;
  tr_pass_model *models;                       /* [pass->group_count] */
  size_t tiles;                                /* of an image */
  size_t first_part, parts;                    /* positions at hand; 0 and 1 where all have one model */
  double fit_seconds, score_seconds;           /* of fitting and of scoring all, wall clock */
  double train_seconds;                        /* of the training images, wall clock; of those that pass again, too */
  tr_feed_seconds test_seconds, total_seconds; /* of the test images; of all */
} tr_pass_work;

/* Fits and scores. The backbone and the models are gone afterwards, so that what comes next finds their memory free. `class_`, listed, and
 * `progress` must outlive the work, which is to be released after a failure too. */
tr_status tr_pass_execute(const tr_pass *pass, tr_device *device, const tr_class *class_, const tr_pass_caches *caches,
                          tr_progress *progress, tr_pass_work *out);
void tr_pass_work_release(tr_pass_work *work);

/* The patch scores of a variant, for its maps. */
tr_patch_scores tr_pass_patch_scores(const tr_pass_work *work, size_t model, size_t variant);

#endif
