/* pool and affine on the cpu. Channels are taken sixteen at a time, so that a window's result stays in registers and the inner
 * loops are whole vectors; the calling lane does all the work. */
#include "host/base/status.h"
#include "kernels/cpu/cpu.h"

#include <math.h>

enum { LANES = 16 };

typedef struct window {
  int top, left, bottom, right; /* cells of the source, clipped; bottom and right are exclusive */
} window;

static window window_at(const tr_pool_args *a, int y, int x) {
  int top = y * a->stride - a->pad, left = x * a->stride - a->pad;
  int bottom = top + a->kernel, right = left + a->kernel;
  return (window){top < 0 ? 0 : top, left < 0 ? 0 : left, bottom > a->in_h ? a->in_h : bottom, right > a->in_w ? a->in_w : right};
}

static inline void max_block(const tr_pool_args *a, const float *src, window win, int lanes, float *dst) {
  float most[LANES];
  for (int i = 0; i < lanes; ++i)
    most[i] = -INFINITY;
  for (int y = win.top; y < win.bottom; ++y)
    for (int x = win.left; x < win.right; ++x) {
      const float *cell = src + ((size_t)y * (size_t)a->in_w + (size_t)x) * (size_t)a->src_pixel_stride;
      for (int i = 0; i < lanes; ++i)
        most[i] = cell[i] > most[i] ? cell[i] : most[i];
    }
  for (int i = 0; i < lanes; ++i)
    dst[i] = most[i];
}

/* Sums are made in double: a global average may run over thousands of cells. */
static inline void average_block(const tr_pool_args *a, const float *src, window win, int lanes, float *dst) {
  double sum[LANES] = {0};
  for (int y = win.top; y < win.bottom; ++y)
    for (int x = win.left; x < win.right; ++x) {
      const float *cell = src + ((size_t)y * (size_t)a->in_w + (size_t)x) * (size_t)a->src_pixel_stride;
      for (int i = 0; i < lanes; ++i)
        sum[i] += (double)cell[i];
    }
  double cells = (double)(win.bottom - win.top) * (win.right - win.left);
  for (int i = 0; i < lanes; ++i)
    dst[i] = (float)(sum[i] / cells);
}

static void pool_cell(const tr_pool_args *a, const float *src, window win, float *dst) {
  bool max = a->kind == TR_POOL_MAX;
  int c = 0;
  for (; c + LANES <= a->channels; c += LANES)
    if (max)
      max_block(a, src + c, win, LANES, dst + c);
    else
      average_block(a, src + c, win, LANES, dst + c);
  if (c < a->channels && max)
    max_block(a, src + c, win, a->channels - c, dst + c);
  else if (c < a->channels)
    average_block(a, src + c, win, a->channels - c, dst + c);
}

tr_status tr_cpu_pool(tr_device *device, const tr_pool_args *args) {
  (void)device;
  int out_h, out_w;
  tr_pool_shape(args, &out_h, &out_w);
  bool global = args->kind == TR_POOL_GLOBAL_AVERAGE;
  size_t src_image = (size_t)args->in_h * (size_t)args->in_w * (size_t)args->src_pixel_stride;
  float *dst = args->dst;
  for (int image = 0; image < args->n; ++image)
    for (int y = 0; y < out_h; ++y)
      for (int x = 0; x < out_w; ++x, dst += args->dst_pixel_stride)
        pool_cell(args, args->src + (size_t)image * src_image,
                  global ? (window){0, 0, args->in_h, args->in_w} : window_at(args, y, x), dst);
  return TR_OK;
}

static inline void affine_pixel(const tr_affine_args *a, float low, float high, const float *src, float *dst) {
  for (int c = 0; c < a->channels; ++c) {
    float value = src[c] * a->scale[c] + a->shift[c];
    value = value > low ? value : low;
    dst[c] = value < high ? value : high;
  }
}

tr_status tr_cpu_affine(tr_device *device, const tr_affine_args *args) {
  (void)device;
  float low = args->activation == TR_ACT_NONE ? -INFINITY : 0.0f, high = args->activation == TR_ACT_RELU6 ? 6.0f : INFINITY;
  size_t pixels = (size_t)args->n * (size_t)args->h * (size_t)args->w;
  for (size_t i = 0; i < pixels; ++i)
    affine_pixel(args, low, high, args->src + i * (size_t)args->src_pixel_stride, args->dst + i * (size_t)args->dst_pixel_stride);
  return TR_OK;
}
