/* Geometry and weights of one resize, shared by the twins: which source pixels each kept pixel is made of, and how much of
 * each. Included by kernels/resize.c and the twins only.
 *
 * An axis of `in` pixels is resampled to `full` pixels, of which the crop, or a window of it, keeps `out` from `offset` on. Pillow's rule for output
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

/* The rule itself, for both twins: their tables are equal in every bit. nvcc would fuse a product and a sum into one rounding,
 * hence tr_resize_product. */
TR_HOST_DEVICE static inline double tr_resize_product(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

TR_HOST_DEVICE static inline double tr_resize_support(const tr_resize_axis *axis) {
  return axis->in > axis->full ? (double)axis->in / axis->full : 1.0;
}

/* Source pixels [first, end) of kept pixel i; returns the centre it is sampled at. */
TR_HOST_DEVICE static inline double tr_resize_window(const tr_resize_axis *axis, int i, int *first, int *end) {
  double centre = tr_resize_product(axis->offset + i + 0.5, (double)axis->in / axis->full), support = tr_resize_support(axis);
  double low = centre - support + 0.5, high = centre + support + 0.5;
  *first = low > 0 ? (int)low : 0;
  *end = high < axis->in ? (int)high : axis->in;
  return centre;
}

/* Before normalisation: of source pixel j for an output sampled at `centre`. */
TR_HOST_DEVICE static inline double tr_resize_triangle(int j, double centre, double inverse_support) {
  double distance = tr_resize_product(j - centre + 0.5, inverse_support), weight = 1.0 - (distance < 0 ? -distance : distance);
  return weight > 0 ? weight : 0.0;
}

/* Entry i of the table. */
TR_HOST_DEVICE static inline void tr_resize_table_set(const tr_resize_axis *axis, int origin, const tr_resize_table *table,
                                                      int i) {
  int first, end;
  double centre = tr_resize_window(axis, i, &first, &end), inverse = 1.0 / tr_resize_support(axis), sum = 0;
  int32_t *weights = table->weights + (size_t)i * (size_t)axis->taps;
  for (int j = first; j < end; ++j)
    sum += tr_resize_triangle(j, centre, inverse);
  for (int t = 0; t < axis->taps; ++t) {
    double weight = first + t < end ? tr_resize_triangle(first + t, centre, inverse) : 0.0;
    weights[t] = (int32_t)(0.5 + tr_resize_product(weight / sum, 1 << TR_RESIZE_BITS));
  }
  table->first[i] = first - origin;
  table->count[i] = end - first;
}

#endif
