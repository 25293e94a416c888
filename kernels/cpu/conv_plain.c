/* conv in plain C: patches of a block of output pixels are laid out as the rows of a matrix (im2col) and multiplied by the
 * weights of the group; a 1x1 convolution of stride 1 reads the source as that matrix; a depthwise one is summed directly. */
#include "kernels/cpu/conv_plain.h"

#include "host/base/status.h"
#include "kernels/cpu/gemm.h"

#include <stdlib.h>
#include <string.h>

enum { LANES = 16, ALIGNMENT = 64, PATCH_FLOATS = 1 << 17 };

/* Weights are kept as [group][kernel_h][kernel_w][in_channels / groups][out_channels / groups], then the bias: the order of a
 * patch's values, so that a group is a row-major matrix [patch, out]. Depthwise: [kernel_h][kernel_w][channels]. */
typedef struct plain_state {
  float *memory; /* device */
} plain_state;

/* Sizes that follow from a description. */
typedef struct shape {
  int out_h, out_w;
  size_t in, out, groups;       /* channels; in and out of one group */
  size_t patch;                 /* values of a patch in one group */
  size_t rows;                  /* output pixels of a block */
  size_t weights, patch_floats; /* floats, padded to whole lines of 64 bytes */
  bool depthwise, source_is_matrix;
} shape;

static size_t padded(size_t floats) {
  size_t line = ALIGNMENT / sizeof(float);
  return (floats + line - 1) / line * line;
}

static shape shape_of(const tr_conv_desc *d) {
  shape s = {.groups = (size_t)d->groups};
  tr_conv_shape(d, &s.out_h, &s.out_w);
  s.in = (size_t)d->in_channels / s.groups;
  s.out = (size_t)d->out_channels / s.groups;
  s.patch = (size_t)d->kernel_h * (size_t)d->kernel_w * s.in;
  s.depthwise = s.in == 1 && s.out == 1;
  bool padding = d->pad_top || d->pad_left || d->pad_bottom || d->pad_right;
  s.source_is_matrix = d->kernel_h == 1 && d->kernel_w == 1 && d->stride == 1 && !padding;
  size_t pixels = (size_t)s.out_h * (size_t)s.out_w;
  s.rows = PATCH_FLOATS / s.patch < LANES ? LANES : PATCH_FLOATS / s.patch;
  s.rows = s.rows < pixels ? s.rows : pixels;
  s.weights = padded(s.groups * s.patch * s.out);
  s.patch_floats = s.source_is_matrix ? 0 : padded(s.rows * s.patch);
  return s;
}

tr_status tr_cpu_conv_plain_bytes(tr_device *device, const tr_conv_desc *desc, int n, size_t *state_bytes,
                                  size_t *scratch_bytes) {
  (void)device;
  (void)n; /* images are convolved one after the other */
  shape s = shape_of(desc);
  *state_bytes = (s.weights + padded((size_t)desc->out_channels)) * sizeof(float);
  *scratch_bytes = s.depthwise ? 0 : (s.patch_floats + padded(s.rows * s.out)) * sizeof(float);
  return TR_OK;
}

/* [out][in][kernel] of PyTorch -> [group][kernel][in][out]; for a depthwise convolution [kernel][channel]. */
static void reorder_weights(const tr_conv_desc *d, const shape *s, const float *weights, float *to) {
  size_t taps = (size_t)d->kernel_h * (size_t)d->kernel_w;
  for (size_t g = 0; g < s->groups; ++g)
    for (size_t o = 0; o < s->out; ++o)
      for (size_t c = 0; c < s->in; ++c)
        for (size_t t = 0; t < taps; ++t) {
          float value = weights[((g * s->out + o) * s->in + c) * taps + t];
          if (s->depthwise)
            to[t * s->groups + g] = value;
          else
            to[((g * taps + t) * s->in + c) * s->out + o] = value;
        }
}

tr_status tr_cpu_conv_plain_create(tr_device *device, const tr_conv_desc *desc, const float *weights, const float *bias,
                                   void **state) {
  *state = NULL;
  size_t state_bytes, scratch_bytes;
  TR_TRY(tr_cpu_conv_plain_bytes(device, desc, 1, &state_bytes, &scratch_bytes));
  plain_state *made = malloc(sizeof *made);
  if (!made)
    return tr_fail(TR_ENOMEM, "creating a convolution: out of memory");
  void *memory;
  tr_status status = tr_device_alloc(device, state_bytes, &memory);
  if (status != TR_OK) {
    free(made);
    return status;
  }
  made->memory = memory;
  shape s = shape_of(desc);
  reorder_weights(desc, &s, weights, made->memory);
  memcpy(made->memory + s.weights, bias, (size_t)desc->out_channels * sizeof *bias);
  *state = made;
  return TR_OK;
}

void tr_cpu_conv_plain_destroy(tr_device *device, void *state) {
  plain_state *s = state;
  if (!s)
    return;
  tr_device_free(device, s->memory);
  free(s);
}

static inline float activate(tr_activation activation, float value) {
  if (activation == TR_ACT_NONE)
    return value;
  value = value > 0.0f ? value : 0.0f;
  return activation == TR_ACT_RELU6 && value > 6.0f ? 6.0f : value;
}

/* One image: where its arrays start. */
typedef struct image_args {
  const tr_conv_desc *desc;
  const shape *shape;
  const float *src, *residual, *weights, *bias;
  float *dst, *scratch;
} image_args;

/* Adds bias and residual to `count` values of pixel `pixel` from channel `first` on, and applies the activation. */
static inline void finish(const image_args *a, size_t pixel, size_t first, size_t count, const float *sums) {
  const tr_conv_desc *d = a->desc;
  float *to = a->dst + pixel * (size_t)d->dst_pixel_stride + first;
  const float *residual = a->residual ? a->residual + pixel * (size_t)d->out_channels + first : NULL;
  for (size_t i = 0; i < count; ++i) {
    float value = sums[i] + a->bias[first + i];
    to[i] = activate(d->activation, residual ? value + residual[i] : value);
  }
}

/* The source cell under tap (i, j) of output pixel (y, x); NULL in the padding. */
static inline const float *source_cell(const image_args *a, int y, int x, int i, int j) {
  const tr_conv_desc *d = a->desc;
  int row = y * d->stride + i - d->pad_top, column = x * d->stride + j - d->pad_left;
  if (row < 0 || row >= d->in_h || column < 0 || column >= d->in_w)
    return NULL;
  return a->src + ((size_t)row * (size_t)d->in_w + (size_t)column) * (size_t)d->src_pixel_stride;
}

static inline void depthwise_block(const image_args *a, int y, int x, size_t first, size_t lanes) {
  const tr_conv_desc *d = a->desc;
  float sums[LANES] = {0};
  for (int i = 0; i < d->kernel_h; ++i)
    for (int j = 0; j < d->kernel_w; ++j) {
      const float *cell = source_cell(a, y, x, i, j);
      const float *weights = a->weights + ((size_t)i * (size_t)d->kernel_w + (size_t)j) * a->shape->groups + first;
      for (size_t c = 0; cell && c < lanes; ++c)
        sums[c] += cell[first + c] * weights[c];
    }
  finish(a, (size_t)y * (size_t)a->shape->out_w + (size_t)x, first, lanes, sums);
}

static void run_depthwise(const image_args *a) {
  size_t channels = a->shape->groups;
  for (int y = 0; y < a->shape->out_h; ++y)
    for (int x = 0; x < a->shape->out_w; ++x) {
      size_t c = 0;
      for (; c + LANES <= channels; c += LANES)
        depthwise_block(a, y, x, c, LANES);
      if (c < channels)
        depthwise_block(a, y, x, c, channels - c);
    }
}

/* Row `pixel` of the patch matrix of a group: the cells under the kernel, zeros in the padding. */
static void lay_patch(const image_args *a, size_t group, size_t pixel, float *row) {
  const tr_conv_desc *d = a->desc;
  size_t in = a->shape->in, width = (size_t)a->shape->out_w;
  for (int i = 0; i < d->kernel_h; ++i)
    for (int j = 0; j < d->kernel_w; ++j, row += in) {
      const float *cell = source_cell(a, (int)(pixel / width), (int)(pixel % width), i, j);
      if (cell)
        memcpy(row, cell + group * in, in * sizeof *row);
      else
        memset(row, 0, in * sizeof *row);
    }
}

static void run_block(const image_args *a, size_t group, size_t first_pixel, size_t rows) {
  const shape *s = a->shape;
  float *patches = a->scratch, *sums = a->scratch + s->patch_floats;
  size_t src_stride = (size_t)a->desc->src_pixel_stride;
  for (size_t i = 0; i < rows && !s->source_is_matrix; ++i)
    lay_patch(a, group, first_pixel + i, patches + i * s->patch);
  tr_cpu_gemm(&(tr_gemm){.m = rows,
                         .n = s->out,
                         .k = s->patch,
                         .a = s->source_is_matrix ? a->src + first_pixel * src_stride + group * s->in : patches,
                         .lda = s->source_is_matrix ? src_stride : s->patch,
                         .b = a->weights + group * s->patch * s->out,
                         .ldb = s->out,
                         .c = sums,
                         .ldc = s->out});
  for (size_t i = 0; i < rows; ++i)
    finish(a, first_pixel + i, group * s->out, s->out, sums + i * s->out);
}

static void run_blocks(const image_args *a) {
  size_t pixels = (size_t)a->shape->out_h * (size_t)a->shape->out_w;
  for (size_t first = 0; first < pixels; first += a->shape->rows) {
    size_t rows = pixels - first < a->shape->rows ? pixels - first : a->shape->rows;
    for (size_t group = 0; group < a->shape->groups; ++group)
      run_block(a, group, first, rows);
  }
}

tr_status tr_cpu_conv_plain_run(tr_device *device, const tr_conv_desc *desc, void *state, const tr_conv_args *args) {
  (void)device;
  const plain_state *made = state;
  shape s = shape_of(desc);
  if (!s.depthwise && !args->scratch)
    return tr_fail(TR_EINVAL, "conv: scratch is missing");
  size_t out_pixels = (size_t)s.out_h * (size_t)s.out_w;
  size_t src_image = (size_t)desc->in_h * (size_t)desc->in_w * (size_t)desc->src_pixel_stride;
  image_args a = {.desc = desc,
                  .shape = &s,
                  .src = args->src,
                  .residual = args->residual,
                  .weights = made->memory,
                  .bias = made->memory + s.weights,
                  .dst = args->dst,
                  .scratch = args->scratch};
  for (int i = 0; i < args->n; ++i) {
    if (s.depthwise)
      run_depthwise(&a);
    else
      run_blocks(&a);
    a.src += src_image;
    a.dst += out_pixels * (size_t)desc->dst_pixel_stride;
    a.residual = a.residual ? a.residual + out_pixels * (size_t)desc->out_channels : NULL;
  }
  return TR_OK;
}
