/* A detector from a folder of nominal images: fitted, given a threshold where one is asked for, and written as one file. */
#ifndef TR_DETECTOR_FIT_H
#define TR_DETECTOR_FIT_H

#include "host/detector/about.h"
#include "host/detector/scorer.h"
#include "host/harness/profile.h"

typedef struct tr_fit_options {
  tr_device *device;
  const tr_setting *setting; /* no ensemble, and without train_images */
  const char *data;          /* folder: tr_nominal_list() */
  const char *weights;       /* file, or folder to search */
  size_t memory_limit;       /* bytes; 0: none */
  double quantile;           /* of the threshold, (0, 1); 0: no threshold */
  const char *held_out;      /* images to take the threshold from: a file or folder; NULL: some of `data` */
  tr_shard shard;            /* patchcore: fit on a part of the images, see below */
  tr_progress *progress;     /* may be NULL */
} tr_fit_options;

/* What will be done, known before anything is. The threshold: host/detector/threshold.h.
 *
 * Shards are ranges of the folder's images in their order, so that merged ones (host/detector/bank_merge.h) are the folder. Each selects as
 * many rows as the setting's percentage is of all images, as far as it has patches: then what the merged selection is within is known. */
typedef struct tr_fit_plan {
  tr_class images;      /* train: fitted; test: held out */
  size_t all_images;    /* with those of the other shards */
  tr_setting setting;   /* that the model is fitted with: a shard's percentage is of its own patches */
  char *weights;        /* file */
  int first_h, first_w; /* of the first image; after the resize: */
  int in_h, in_w;
  size_t most_bytes; /* of an image, decoded to three channels */
  double mean_pixels;
  size_t base_bytes; /* resident now */
  size_t load_bytes, fit_bytes, score_bytes, peak_bytes;
  tr_keep keep;     /* of the training features: all of them where the limit, or else free memory, has room */
  size_t positions; /* of a bank per position of a tile: so many fitted at a time, likewise; else 1 */
  tr_scorer_needs needs;
} tr_fit_plan;

/* EINVAL: a setting that cannot be on these images, a quantile that they are too few for; ENOMEM: over the limit in any way, and what
 * would fit (host/harness/room.h). EIO and EFORMAT name the file. */
tr_status tr_fit_prepare(const tr_fit_options *options, tr_fit_plan *out);
/* The same without bytes, and without a limit. */
tr_status tr_fit_look(const tr_fit_options *options, tr_fit_plan *out);
void tr_fit_plan_free(tr_fit_plan *plan);

/* Seconds that fitting and finding the threshold are forecast to take on this machine, whose rates are measured in a second or two
 * (host/harness/profile.h). */
tr_status tr_fit_seconds(const tr_fit_options *options, const tr_fit_plan *plan, tr_pass_seconds *out);

/* Several lines of text, seconds among them; malloc'd. */
tr_status tr_fit_plan_text(const tr_fit_options *options, const tr_fit_plan *plan, char **out);

/* Fits, and writes `path` whole or not at all; tells the threshold through options->progress. */
tr_status tr_fit_run(const tr_fit_options *options, const tr_fit_plan *plan, const char *path);

#endif
