/* resize: geometry, weights, checks and dispatch. */
#include "kernels/resize.h"
#include "host/base/status.h"
#include "kernels/operators.h"
#include "kernels/resize_plan.h"
#include <math.h>

/* torchvision's CenterCrop: int(round((size - crop) / 2.0)), where Python rounds halves to even. */
static int crop_offset(int size, int crop) {
  int extra = size - crop, half = extra / 2;
  return extra % 2 == 1 && half % 2 == 1 ? half + 1 : half;
}

/* torchvision's _compute_resized_output_size: the shorter side becomes `resize`, the longer int(resize * long / short). */
static tr_status resized_shape(const tr_image_spec *spec, int src_h, int src_w, int *h, int *w) {
  *h = src_h;
  *w = src_w;
  if (spec->resize == 0)
    return TR_OK;
  int shorter = src_h < src_w ? src_h : src_w, longer = src_h < src_w ? src_w : src_h;
  double other = spec->squash ? spec->resize : floor((double)((int64_t)spec->resize * longer) / shorter);
  if (other * spec->resize > TR_IMAGE_MAX_PIXELS)
    return tr_fail(TR_EINVAL, "resize of an image of %d x %d pixels (width x height) to %d: the result has more than %d pixels",
                   src_w, src_h, spec->resize, TR_IMAGE_MAX_PIXELS);
  *h = src_w <= src_h ? (int)other : spec->resize;
  *w = src_w <= src_h ? spec->resize : (int)other;
  return TR_OK;
}

/* window: 0 pixels for all. */
static tr_resize_axis axis_make(int in, int full, int crop, int window_first, int window) {
  tr_resize_axis axis = {.in = in, .full = full, .out = crop ? crop : full};
  axis.offset = crop_offset(full, axis.out);
  if (window) {
    axis.offset += window_first;
    axis.out = window;
  }
  for (int i = 0; in != full && i < axis.out; ++i) {
    int first, end;
    tr_resize_window(&axis, i, &first, &end);
    axis.taps = end - first > axis.taps ? end - first : axis.taps;
  }
  return axis;
}

/* The source pixels that the kept ones are made of. */
static void axis_span(const tr_resize_axis *axis, int *first, int *count) {
  int end = axis->offset + axis->out, unused;
  *first = axis->offset;
  if (axis->taps) {
    tr_resize_window(axis, 0, first, &unused);
    tr_resize_window(axis, axis->out - 1, &unused, &end);
  }
  *count = end - *first;
}

static size_t table_bytes(const tr_resize_axis *axis) {
  return axis->taps ? sizeof(int32_t) * (size_t)axis->out * (2 + (size_t)axis->taps) : 0;
}

tr_status tr_resize_plan_make(const tr_image_spec *spec, int src_h, int src_w, int channels, tr_resize_plan *out) {
  int out_h, out_w, full_h, full_w;
  TR_TRY(tr_resize_shape(spec, src_h, src_w, &out_h, &out_w));
  TR_TRY(resized_shape(spec, src_h, src_w, &full_h, &full_w));
  const tr_window *part = &spec->window;
  tr_resize_plan plan = {.x = axis_make(src_w, full_w, spec->crop, part->left, part->h ? part->w : 0),
                         .y = axis_make(src_h, full_h, spec->crop, part->top, part->h)};
  axis_span(&plan.x, &plan.first_column, &plan.columns);
  axis_span(&plan.y, &plan.first_row, &plan.rows);
  size_t pixel = (size_t)channels, line = (size_t)plan.x.out * pixel, columns = (size_t)plan.columns + (size_t)plan.x.out;
  plan.y_table = plan.x_table + table_bytes(&plan.x);
  plan.middle = plan.y_table + table_bytes(&plan.y);
  plan.line = plan.middle + (plan.x.taps ? (size_t)plan.rows * line : 0);
  plan.block = plan.line + line;
  plan.bytes = plan.block + (plan.x.taps ? columns * pixel * TR_RESIZE_BLOCK : 0);
  *out = plan;
  return TR_OK;
}

tr_resize_table tr_resize_table_at(const tr_resize_axis *axis, void *memory) {
  int32_t *words = memory;
  return (tr_resize_table){.first = words, .count = words + axis->out, .weights = words + 2 * (size_t)axis->out};
}

void tr_resize_table_fill(const tr_resize_axis *axis, int origin, const tr_resize_table *table) {
  for (int i = 0; i < axis->out; ++i)
    tr_resize_table_set(axis, origin, table, i);
}

/* *h and *w: of the image that the window is in; become the window's. */
static tr_status window_shape(const tr_window *part, int *h, int *w) {
  if (!part->h)
    return TR_OK;
  if (part->top < 0 || part->left < 0 || part->h < 1 || part->w < 1 || part->h > *h - part->top || part->w > *w - part->left)
    return tr_fail(TR_EINVAL, "resize: a window of %d x %d pixels at %d, %d is not inside the image of %d x %d (width x height)",
                   part->w, part->h, part->left, part->top, *w, *h);
  *h = part->h;
  *w = part->w;
  return TR_OK;
}

tr_status tr_resize_shape(const tr_image_spec *spec, int src_h, int src_w, int *out_h, int *out_w) {
  if (spec->resize < 0 || spec->crop < 0)
    return tr_fail(TR_EINVAL, "resize: expected sizes of 0 or more, found resize %d and crop %d", spec->resize, spec->crop);
  if (src_h < 1 || src_w < 1 || (int64_t)src_h * src_w > TR_IMAGE_MAX_PIXELS)
    return tr_fail(TR_EINVAL, "resize: expected an image of 1 to %d pixels, found %d x %d (width x height)", TR_IMAGE_MAX_PIXELS,
                   src_w, src_h);
  int h, w;
  TR_TRY(resized_shape(spec, src_h, src_w, &h, &w));
  if (spec->crop > h || spec->crop > w)
    return tr_fail(TR_EINVAL, "resize: the crop of %d x %d pixels is larger than the resized image of %d x %d (width x height)",
                   spec->crop, spec->crop, w, h);
  *out_h = spec->crop ? spec->crop : h;
  *out_w = spec->crop ? spec->crop : w;
  return window_shape(&spec->window, out_h, out_w);
}

size_t tr_resize_scratch(const tr_image_spec *spec, int src_h, int src_w, int channels) {
  tr_resize_plan plan;
  return tr_resize_plan_make(spec, src_h, src_w, channels, &plan) == TR_OK ? plan.bytes : 0;
}

tr_status tr_resize(tr_device *device, const tr_resize_args *args) {
  int out_h, out_w;
  if (args->channels != 1 && args->channels != 3)
    return tr_fail(TR_EINVAL, "resize: expected 1 or 3 channels, found %d", args->channels);
  if (!args->src || !args->scratch || (!args->dst && !args->dst_u8))
    return tr_fail(TR_EINTERNAL, "resize: no source, no scratch or no destination given");
  TR_TRY(tr_resize_shape(&args->spec, args->src_h, args->src_w, &out_h, &out_w));
  for (int c = 0; args->std && c < args->channels; ++c)
    if (!(args->std[c] > 0))
      return tr_fail(TR_EINVAL, "resize: expected a positive standard deviation in channel %d, found %g", c,
                     (double)args->std[c]);
  return tr_device_operators(device)->resize(device, args);
}
