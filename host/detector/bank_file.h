/* A detector's file with a memory bank: its rows and what is known of them, and a file like it with other rows. */
#ifndef TR_DETECTOR_BANK_FILE_H
#define TR_DETECTOR_BANK_FILE_H

#include "host/detector/about.h"
#include "host/methods/method.h"

/* What is read lies in the file's mapping. */
typedef struct tr_bank_file {
  tr_model_file *file;
  tr_about about;
  tr_aggregate_spec maps;
  tr_tiling tiling;
  int grid_h, grid_w; /* patches of a tile; images that are not cut are one */
  size_t patches;     /* of an image: tiles * grid_h * grid_w */
  int d;
  size_t row_count;
  const float *rows; /* [row_count, d] */
  const uint32_t *
      order; /* [row_count]: image * patches + patch, each less than images * patches; NULL where `subsampling` is none (rows are all
                            patches in their order) or learned (no patches: learned or imported) */
  tr_subsampling subsampling;
  double cover; /* tr_model_info.cover; NaN: not known */
} tr_bank_file;

/* EINVAL: a model of a method without a bank. EIO, EFORMAT name the file. */
tr_status tr_bank_file_open(const char *path, tr_bank_file *out);
void tr_bank_file_close(tr_bank_file *bank);
size_t tr_bank_file_patches(const tr_bank_file *bank); /* of all training images */

/* Of a patch of an image: its tile, its row and column there, and those among all tiles' grids side by side. */
typedef struct tr_patch_place {
  size_t tile;
  int y, x, grid_y, grid_x;
} tr_patch_place;
tr_patch_place tr_bank_file_place(const tr_bank_file *bank, size_t patch);

/* What another bank of the same backbone, layers, images and choices has. */
typedef struct tr_bank_content {
  const float *rows; /* host, [row_count, d] */
  const uint32_t *order;
  size_t row_count;
  double cover;
  size_t train_images;
  tr_sources sources;
} tr_bank_content;

/* Writes such a file: as `like`, but for that content; of no part of a fit, without a threshold, and with an index over the new rows where
 * the other has one. */
tr_status tr_bank_file_write(tr_device *device, const tr_bank_file *like, const tr_bank_content *content, tr_progress *progress,
                             const char *path);

/* The rows that a goal allows of `patches`, at most `most`; a radius does not tell before. */
size_t tr_bank_goal_rows(const tr_bank_goal *goal, size_t patches, size_t most);

/* EINVAL with the first difference that keeps the rows of two banks from being one bank's: setting (but for the number of rows), weights, size of
 * images. */
tr_status tr_bank_file_same(const tr_bank_file *a, const tr_bank_file *b);

#endif
