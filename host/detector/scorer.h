/* A backbone and a model, or one for each position of a tile, new or loaded: what fitting a detector and scoring with one have in common.
 *
 * Images are scored in rounds of at most tr_scorer_most() and forgotten with the next one, so memory does not depend on how many there are.
 * What an image gives depends on the image alone, and is what `run` gives it, bit for bit. One thread at a time. */
#ifndef TR_DETECTOR_SCORER_H
#define TR_DETECTOR_SCORER_H

#include "datasets/dataset.h"
#include "datasets/image.h"
#include "host/backbone/graph.h"
#include "host/harness/feed.h"
#include "host/harness/setting.h"

typedef struct tr_scorer_options {
  tr_device *device;
  const tr_setting *setting; /* must outlive the scorer */
  const tr_weights *weights; /* only while it is created */
  int in_h, in_w;            /* of images after the resize, before they are cut into the setting's tiles */
  size_t train_images;       /* of a new model */
  tr_keep keep;              /* of its training features; files are in $TMPDIR, or /tmp */
  size_t positions; /* of a new model per position of a tile: so many fitted at a time (host/detector/models.h); 0: all */
  const tr_model_file *file; /* the model; NULL: a new one */
  tr_progress *progress;     /* may be NULL */
} tr_scorer_options;

typedef struct tr_scorer tr_scorer;
tr_status tr_scorer_create(const tr_scorer_options *options, tr_scorer **out);
void tr_scorer_destroy(tr_scorer *scorer);

/* What a new model will take, before anything is created: bytes of the backbone alone, and the peak while it is fitted and while it
 * scores, for images of image_bytes, decoded to three channels; the backbone's multiply-adds of a tile; the model's, or all models', own needs, with the
 * multiply-adds of scoring one image. `weights` and `file` are not looked at. */
typedef struct tr_scorer_needs {
  size_t backbone_bytes, fit_bytes, score_bytes;
  double backbone_macs;
  tr_tiling tiling;
  size_t models; /* 1, or one for each position of a tile */
  tr_method_needs model;
} tr_scorer_needs;
tr_status tr_scorer_forecast(const tr_scorer_options *options, size_t image_bytes, tr_scorer_needs *out);

/* Features of a patchcore, of an image with all its tiles. `weights` and `file` are not looked at. */
typedef struct tr_scorer_shape {
  size_t patches;
  int dimension;
} tr_scorer_shape;
tr_status tr_scorer_shape_of(const tr_scorer_options *options, tr_scorer_shape *out);

/* Room for images of so many bytes, decoded to three channels, where the device decodes ahead. */
tr_status tr_scorer_make_room(tr_scorer *scorer, size_t image_bytes);

/* A new model: fits it, and writes it. */
tr_status tr_scorer_fit(tr_scorer *scorer, const tr_sample *samples);
tr_status tr_scorer_save(const tr_scorer *scorer, const char *path, const char *about);

/* Images through the backbone to `fn`, past the model. */
tr_status tr_scorer_feed(tr_scorer *scorer, const char *stage, const tr_feed_list *list, tr_feed_fn fn, void *context);

size_t tr_scorer_most(const tr_scorer *scorer);

/* scores: host, [n]. EIO and EFORMAT name the image that could not be read; the others have no scores then either. */
tr_status tr_scorer_score(tr_scorer *scorer, const tr_sample *samples, size_t n, float *scores);
/* One that is decoded already, three channels; `name` stands for it in errors. */
tr_status tr_scorer_score_image(tr_scorer *scorer, const tr_image *image, const char *name, float *score);

/* Seconds of what was scored by now, all lanes' together: to normalised images, of files decoding included; backbone; patch features; and
 * the search in the bank, or the method's own distances. The device is waited for at the end of each. */
typedef struct tr_scorer_seconds {
  double prepare, backbone, aggregate, search;
} tr_scorer_seconds;
tr_status tr_scorer_spent(const tr_scorer *scorer, tr_scorer_seconds *out);

/* The anomaly maps of the images scored last: made on the device, their maxima, and one of them, [in_h, in_w], from any thread. */
tr_status tr_scorer_maps(tr_scorer *scorer);
tr_status tr_scorer_peaks(tr_scorer *scorer, float *peaks);
tr_status tr_scorer_map(const tr_scorer *scorer, size_t i, float *map);

#endif
