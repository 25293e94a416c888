/* From patch scores to what a run leaves behind: anomaly maps, metrics, the table of image scores, pictures. */
#ifndef TR_HARNESS_EVALUATE_H
#define TR_HARNESS_EVALUATE_H

#include "datasets/dataset.h"
#include "host/harness/store.h"
#include "host/harness/tiling.h"
#include <stdio.h>

typedef struct tr_evaluation_options {
  tr_device *device;
  const tr_class *class_; /* its test images; must outlive the evaluation */
  tr_image_spec image;
  tr_tiling tiling;      /* of images as large as maps and masks */
  size_t most_positions; /* of the grids of patch scores */
  bool pictures;         /* tr_evaluation_pictures will be called */
  tr_progress *progress;
} tr_evaluation_options;

typedef struct tr_evaluation tr_evaluation;

/* Reads and resizes the masks and makes room for one variant's maps. EFORMAT names a mask that has not its image's size. */
tr_status tr_evaluation_create(const tr_evaluation_options *options, tr_evaluation **out);
void tr_evaluation_destroy(tr_evaluation *evaluation);

/* Of a lane, for forecasts: scratch of the smoothing, and tiles' maps. */
size_t tr_evaluation_lane_bytes(const tr_device *device, const tr_tiling *tiling);

/* Of all tiles of all test images: host, [test images, tiles, grid_h * grid_w], or, tile after tile, [tiles, test images, ...]. */
typedef struct tr_patch_scores {
  const float *values;
  int grid_h, grid_w;
  bool by_tile; /* the latter */
} tr_patch_scores;

/* Upsamples the tiles' scores, puts an image's tiles together, and smooths the whole. */
tr_status tr_evaluation_maps(tr_evaluation *evaluation, const tr_patch_scores *scores, double sigma);

/* Takes these maps instead: host, [test images, h, w]. */
tr_status tr_evaluation_set_maps(tr_evaluation *evaluation, const float *maps);

/* The maximum of each of the maps made last; peaks: host, [test images]. */
tr_status tr_evaluation_peaks(tr_evaluation *evaluation, float *peaks);

/* Map i of those made last; map: host, [h, w]. From any thread. */
tr_status tr_evaluation_map(const tr_evaluation *evaluation, size_t i, float *map);

/* Metrics of the maps made last and of image_scores: host, [test images]. Pixel metrics stay NaN where a defect has no mask. */
tr_status tr_evaluation_metrics(tr_evaluation *evaluation, const float *image_scores, tr_result *result);

/* One PNG per test image of the maps made last: <folder>/<name of the image>.png. The folder appears when all are drawn. */
tr_status tr_evaluation_pictures(tr_evaluation *evaluation, const char *folder);

/* A text as a cell of a CSV file. */
void tr_scores_write_text(FILE *out, const char *text);

/* image,label,score */
tr_status tr_scores_write(const char *path, const tr_class *class_, const float *image_scores);

#endif
