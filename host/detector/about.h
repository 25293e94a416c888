/* What a detector's file says about itself (the member `about` of host/methods/model_file.h), and `score` needs besides the model:
 *
 *   program, version, date
 *   run         the setting's name in the official style
 *   experiment  the setting, as the keys of an experiment file
 *   weights     {file, sha256}: no others are accepted
 *   image       {height, width, mean, std}: what the backbone gets, after the experiment's `image`
 *   train       {images, sources, shard}: how many; what they are (host/detector/sources.h); and, of a part of a fit, {number, of}: 1 to `of`
 *   threshold   {score, quantile, images, calm, alarm}, or null: what `fit --quantile` found, and the heat maps' scale
 */
#ifndef TR_DETECTOR_ABOUT_H
#define TR_DETECTOR_ABOUT_H

#include "host/detector/sources.h"
#include "host/harness/experiment.h"
#include "host/harness/picture.h"

typedef struct tr_threshold {
  double score;    /* above it: anomalous */
  double quantile; /* see host/detector/threshold.h */
  size_t images;   /* that it was taken from; 0: there is no threshold */
  tr_picture_scale scale;
} tr_threshold;

/* The images of a fit that a detector saw, where several each saw a part of them. */
typedef struct tr_shard {
  int number, of; /* 1 to `of`; 0, 0: all */
} tr_shard;

typedef struct tr_about {
  const tr_setting *setting;
  const char *weights_file, *weights_sha256; /* the former without its folder */
  int in_h, in_w;
  size_t train_images;
  tr_sources sources;
  tr_shard shard;
  tr_threshold threshold;
  tr_experiments texts; /* of one that was read: what the above points to */
} tr_about;

/* JSON; malloc'd. */
tr_status tr_about_write(const tr_about *about, char **json);

/* `about` with this threshold in place of its own; malloc'd. */
tr_status tr_about_with_threshold(const struct cJSON *about, const tr_threshold *threshold, char **json);

struct tr_weights;
/* EINVAL: other weights than the detector's, with both hashes. */
tr_status tr_about_check_weights(const tr_about *about, const struct tr_weights *weights);

/* Reads one; free it with tr_about_free(). EFORMAT, with what is missing, wrong, or different in this version of the program. */
tr_status tr_about_read(const struct cJSON *json, tr_about *about);
void tr_about_free(tr_about *about);

#endif
