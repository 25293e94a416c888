/* Geometry and weights of one resize, shared by the twins: which source pixels each kept pixel is made of, and how much of
 * each. Included by kernels/resize.c and the twins only.
 *
 * An axis of `in` pixels is resampled to `full` pixels, of which the crop keeps `out` from `offset` on. Pillow's rule for output
 * pixel i (src/libImaging/Resample.c, precompute_coeffs): scale = in / full, support = max(scale, 1), centre = (i + 0.5) * scale;
 * the source pixels int(centre - support + 0.5) to int(centre + support + 0.5) weigh 1 - |distance| / support, normalised to a
 * sum of 1 in double, then rounded to 22 fractional bits. An axis with in == full is not resampled at all.
 */
#ifndef TR_KERNELS_RESIZE_PLAN_H
#define TR_KERNELS_RESIZE_PLAN_H

#include "kernels/resize.h"

enum {
  TR_RESIZE_BITS = 22,  /* of a weight's fraction */
  TR_RESIZE_BLOCK = 16, /* rows that the cpu twin resamples side by side */
};

typedef struct tr_resize_axis {
  int in, full, offset, out;
  int taps; /* most source pixels that one output pixel is made of; 0: the axis is not resampled */
} tr_resize_axis;

typedef struct tr_resize_plan {
  tr_resize_axis x, y;
  int first_column, columns; /* source columns and rows that the kept pixels are made of */
  int first_row, rows;
  /* Parts of the scratch, as byte offsets. The tables are int32: [out] first pixel, [out] number of pixels, [out, taps] weights;
   * those and `middle` and `block` are empty for an axis without resampling. */
  size_t x_table, y_table;
  size_t middle; /* u8 [rows, x.out, channels]: what the horizontal pass makes */
  size_t line;   /* u8 [x.out, channels]: a row of the result, for callers who want floats only */
  size_t block;  /* u8 [columns + x.out, channels, TR_RESIZE_BLOCK]: rows side by side, the cpu twin's horizontal pass */
  size_t bytes;  /* size of the scratch */
} tr_resize_plan;

/* The table of one axis in the scratch (or anywhere else). */
typedef struct tr_resize_table {
  int32_t *first, *count, *weights;
} tr_resize_table;

tr_status tr_resize_plan_make(const tr_image_spec *spec, int src_h, int src_w, int channels, tr_resize_plan *out);
tr_resize_table tr_resize_table_at(const tr_resize_axis *axis, void *memory);
/* Fills the table: source pixels are counted from `origin`, weights beyond `count` are 0. */
void tr_resize_table_fill(const tr_resize_axis *axis, int origin, const tr_resize_table *table);

#endif
