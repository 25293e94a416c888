/* Which training image each row of a detector's bank came from, and how far it lies from what the other images have there: greedy selection
 * takes what is far from everything first, so that a training image with a defect has rows that are far from all other images'. */
#ifndef TR_DETECTOR_ORIGINS_H
#define TR_DETECTOR_ORIGINS_H

#include "host/detector/bank_file.h"
#include "kernels/device.h"

typedef struct tr_origin {
  size_t row;          /* of the bank, in its order */
  size_t image, patch; /* the patch's number in the image (tr_bank_file_place) */
  size_t nearest;      /* the nearest row of another image; ties: the lowest */
  double distance;     /* to it, Euclidean, of patch features */
  double z; /* (distance - median) / (1.4826 median absolute deviation) of all rows' distances; 0 where that deviation is */
} tr_origin;

/* A training image that has rows in the bank. */
typedef struct tr_image_origin {
  size_t image, rows;
  const tr_origin *farthest;
} tr_image_origin;

typedef struct tr_origins {
  tr_bank_file bank;
  tr_origin *rows; /* farthest first; ties: the lower row */
  size_t row_count;
  tr_image_origin *images; /* likewise, by their farthest rows */
  size_t image_count;      /* the other training images have no row */
} tr_origins;

/* EINVAL: a model without a bank, or one whose rows are no patches (learned, imported) or all of one image. */
tr_status tr_origins_read(tr_device *device, const char *model, tr_origins *out);
void tr_origins_free(tr_origins *origins);

/* Name of a training image, as it is below its folder, or "image 12" where the file has no names. malloc'd. */
tr_status tr_origins_name(const tr_origins *origins, size_t image, char **out);

/* Rows, the farthest first: row,image,patch_y,patch_x,distance,z,nearest_row,nearest_image; patch_y and patch_x count patches of the grid,
 * of all tiles' grids side by side where images are cut. */
tr_status tr_origins_write(const tr_origins *origins, const char *path);

/* Draws each image that one of the first `count` rows came from, after the model's resize and crop, with a box around each patch of those:
 * DIR/<rank>_<name>.png, rank as in `images`. folders: where the images of each source lie now; NULL: where the file says.
 * EINVAL: another number of folders than sources, or a file without names; EIO and EFORMAT name the image. */
tr_status tr_origins_draw(tr_device *device, const tr_origins *origins, size_t count, const tr_strings *folders, const char *dir);

#endif
