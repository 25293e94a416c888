/* pool and affine on the cpu; the calling lane does all the work. A window's cells are taken one after the other, each as a run of
 * channels: inner loops are whole vectors, and the runs of two cells overlap. (A run of one vector was four times slower: the
 * partial result goes through memory, and each cell waits for the one before.) */
#include "host/base/status.h"
#include "kernels/cpu/cpu.h"

#include <math.h>

enum { RUN = 64 };

typedef struct window {
  int top, left, bottom, right; /* cells of the source, clipped; bottom and right are exclusive */
} window;

static window window_at(const tr_pool_args *a, int y, int x) {
  int top = y * a->stride - a->pad, left = x * a->stride - a->pad;
  int bottom = top + a->kernel, right = left + a->kernel;
  return (window){top < 0 ? 0 : top, left < 0 ? 0 : left, bottom > a->in_h ? a->in_h : bottom, right > a->in_w ? a->in_w : right};
}

static const float *cell_at(const tr_pool_args *a, const float *src, int y, int x) {
  return src + ((size_t)y * (size_t)a->in_w + (size_t)x) * (size_t)a->src_pixel_stride;
}

static void take_largest(int channels, const float *cell, float *held) {
  for (int c = 0; c < channels; ++c)
    held[c] = cell[c] > held[c] ? cell[c] : held[c];
}

static void add(int channels, const float *cell, float *held) {
  for (int c = 0; c < channels; ++c)
    held[c] += cell[c];
}

/* One window, channels [first, first + channels). */
static void pool_window(const tr_pool_args *a, const float *src, window win, int first, int channels, float *dst) {
  float held[RUN];
  for (int c = 0; c < channels; ++c)
    held[c] = a->kind == TR_POOL_MAX ? -INFINITY : 0.0f;
  for (int y = win.top; y < win.bottom; ++y)
    for (int x = win.left; x < win.right; ++x)
      if (a->kind == TR_POOL_MAX)
        take_largest(channels, cell_at(a, src, y, x) + first, held);
      else
        add(channels, cell_at(a, src, y, x) + first, held);
  float share = a->kind == TR_POOL_MAX ? 1.0f : 1.0f / (float)((win.bottom - win.top) * (win.right - win.left));
  for (int c = 0; c < channels; ++c)
    dst[first + c] = held[c] * share;
}

static void pool_image(const tr_pool_args *a, const float *src, float *dst) {
  int out_h, out_w;
  tr_pool_shape(a, &out_h, &out_w);
  for (int y = 0; y < out_h; ++y)
    for (int x = 0; x < out_w; ++x, dst += a->dst_pixel_stride)
      for (int first = 0; first < a->channels; first += RUN)
        pool_window(a, src, window_at(a, y, x), first, a->channels - first < RUN ? a->channels - first : RUN, dst);
}

/* In double: the sum runs over up to thousands of cells. */
static void average_image(const tr_pool_args *a, const float *src, float *dst) {
  for (int first = 0; first < a->channels; first += RUN) {
    int lanes = a->channels - first < RUN ? a->channels - first : RUN;
    double sums[RUN] = {0};
    for (int y = 0; y < a->in_h; ++y)
      for (int x = 0; x < a->in_w; ++x)
        for (int i = 0; i < lanes; ++i)
          sums[i] += (double)cell_at(a, src, y, x)[first + i];
    for (int i = 0; i < lanes; ++i)
      dst[first + i] = (float)(sums[i] / ((double)a->in_h * a->in_w));
  }
}

tr_status tr_cpu_pool(tr_device *device, const tr_pool_args *args) {
  (void)device;
  int out_h, out_w;
  tr_pool_shape(args, &out_h, &out_w);
  size_t src_image = (size_t)args->in_h * (size_t)args->in_w * (size_t)args->src_pixel_stride;
  size_t dst_image = (size_t)out_h * (size_t)out_w * (size_t)args->dst_pixel_stride;
  for (size_t i = 0; i < (size_t)args->n; ++i)
    if (args->kind == TR_POOL_GLOBAL_AVERAGE)
      average_image(args, args->src + i * src_image, args->dst + i * dst_image);
    else
      pool_image(args, args->src + i * src_image, args->dst + i * dst_image);
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
