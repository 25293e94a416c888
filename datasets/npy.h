/* NumPy's .npy files, versions 1 to 3, in C order and mapped, so that reading one frame of a video's masks touches that frame alone:
 * whole numbers and booleans, or floats of 4 bytes. Source: numpy.lib.format. */
#ifndef TR_DATASETS_NPY_H
#define TR_DATASETS_NPY_H

#include "datasets/image.h"
#include "host/base/text.h"

enum { TR_NPY_MAX_DIMENSIONS = 4 };

typedef struct tr_npy {
  size_t shape[TR_NPY_MAX_DIMENSIONS];
  int dimensions;
  size_t item_bytes;   /* 1, 2, 4 or 8 */
  const uint8_t *data; /* [shape], in the file's byte order */
  tr_mapping mapping;
} tr_npy;

/* `name` stands for the file in error texts; `data` must outlive out. EFORMAT: no .npy file, a kind of values that is not read (floats,
 * objects), Fortran order, more dimensions than TR_NPY_MAX_DIMENSIONS, fewer bytes than the shape needs. */
tr_status tr_npy_parse(const void *data, size_t bytes, const char *name, tr_npy *out);
tr_status tr_npy_open(const char *path, tr_npy *out);
/* Rows [n, d] of <f4 (little-endian floats): out->shape has two dimensions, and neither is 0. */
tr_status tr_npy_open_rows(const char *path, tr_npy *out);
/* Writes such rows beside `path` and renames. */
tr_status tr_npy_write_rows(const char *path, const float *rows, size_t n, size_t d);
/* Likewise masks [frames, h, w] of |u1. */
tr_status tr_npy_write_masks(const char *path, const uint8_t *masks, size_t frames, size_t h, size_t w);
void tr_npy_close(tr_npy *npy);

/* Frame `frame` of [frames, h, w] as a mask of one channel: 255 where the value is not 0. EFORMAT: not three dimensions, or fewer
 * frames. */
tr_status tr_npy_frame(const tr_npy *npy, const char *name, size_t frame, tr_image *out);
/* Whether a value of the frame is not 0; false where there is no such frame. */
bool tr_npy_frame_marked(const tr_npy *npy, size_t frame);

#endif
