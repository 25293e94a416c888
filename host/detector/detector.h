/* Many images through a detector of the public API: what the command `score` does. */
#ifndef TR_DETECTOR_DETECTOR_H
#define TR_DETECTOR_DETECTOR_H

#include "datasets/dataset.h"
#include "host/base/progress.h"
#include "host/harness/picture.h"
#include "kernels/device.h"

/* For measurements: what the detector scores with, and on. Not while it scores. */
struct tr_scorer *tr_detector_scorer(tr_detector *detector);
tr_device *tr_detector_device(tr_detector *detector);

/* That all test images can be scored: EIO or EFORMAT names the first one that has no header, or another size after the resize. Makes room
 * for them. */
tr_status tr_detector_check_images(tr_detector *detector, const tr_class *images);

typedef struct tr_scored {
  const tr_sample *sample;
  tr_status status;  /* EIO or EFORMAT: it could not be read, and `error` says why */
  const char *error; /* NULL with TR_OK */
  float score;
} tr_scored;

typedef struct tr_score_options {
  const tr_sample *samples;
  size_t count;
  const char *maps; /* folder for <sample's name>.png, image and heat map; NULL: none */
  /* Called for every image in order, from the calling thread; what it fails with ends all. */
  tr_status (*scored)(void *context, const tr_scored *scored);
  void *context;
  tr_progress *progress; /* may be NULL */
} tr_score_options;

/* Memory does not grow with the number of images. What cannot be read is handed over as such, and the rest goes on; other errors
 * (ECANCELED, ENOMEM, a map that cannot be written) end it. Colours mean the same in all pictures: the scale is the model's own, of the
 * images that its threshold was taken from, or else that of the first images of the call. */
tr_status tr_detector_score_all(tr_detector *detector, const tr_score_options *options);

#endif
