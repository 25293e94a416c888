/* The models of a detector: one for all tiles of an image, or one for each position of a tile (`tile: {bank: position}`), each of which
 * sees the images' tiles there. The latter are fitted some at a time: those that are done wait in files of a folder of their own. What
 * they give is what `run` gives, bit for bit. */
#ifndef TR_DETECTOR_MODELS_H
#define TR_DETECTOR_MODELS_H

#include "host/harness/feed.h"
#include "host/methods/method.h"

typedef struct tr_models_options {
  const tr_method *method;
  tr_method_options of_one; /* of a new model; train_images: as it counts them, see below */
  size_t tiles;             /* of an image */
  size_t count;             /* 1, which counts every tile as an image; or `tiles` */
  size_t at_once;           /* of several: new ones that are there at the same time */
} tr_models_options;

typedef struct tr_models tr_models;

/* New ones: nothing is allocated for them before they are fitted. options->of_one.variants must outlive them. */
tr_status tr_models_create(const tr_models_options *options, tr_models **out);
/* Those of a file, which may be closed then. EFORMAT: another number of models, or of maps of other shapes. */
tr_status tr_models_load(const tr_models_options *options, const tr_model_file *file, tr_models **out);
void tr_models_destroy(tr_models *models);

/* `images` as many as options say. Decodes them once for each lot, and once more where not all features are kept. */
tr_status tr_models_fit(tr_models *models, tr_feed *feed, const tr_sample *samples, size_t images);
tr_status tr_models_save(const tr_models *models, const char *path, const char *about);

/* A tr_feed_fn: scores units (host/harness/feed.h) into patch_scores + unit * patches and unit_scores + unit; all units of an image are to
 * come. Then tr_models_score_end(), after a failure too. tr_models_ready() before the first, so that all of them are there. */
typedef struct tr_models_scores {
  tr_models *models;
  size_t patches, most; /* of a unit; units that there is room for */
  float *patch_scores, *unit_scores;
} tr_models_scores;
tr_status tr_models_ready(tr_models *models);
tr_status tr_models_score_units(void *scores, int lane, const size_t *units, size_t n, const float *const *maps);
tr_status tr_models_score_end(tr_models *models);

/* Seconds of all of them together. */
tr_status tr_models_spent(const tr_models *models, double *aggregate, double *search);

#endif
