/* conv: checks and dispatch. */
#include "kernels/conv.h"

#include "host/base/status.h"
#include "kernels/operators.h"

#include <stdlib.h>

struct tr_conv {
  tr_device *device;
  tr_conv_desc desc;
  void *state; /* the twin's */
};

static int out_extent(int in, int before, int after, int kernel, int stride) {
  int room = in + before + after - kernel;
  return room < 0 ? 0 : room / stride + 1;
}

void tr_conv_shape(const tr_conv_desc *desc, int *out_h, int *out_w) {
  *out_h = out_extent(desc->in_h, desc->pad_top, desc->pad_bottom, desc->kernel_h, desc->stride);
  *out_w = out_extent(desc->in_w, desc->pad_left, desc->pad_right, desc->kernel_w, desc->stride);
}

static tr_status check_channels(const tr_conv_desc *d) {
  if (d->groups < 1 || d->in_channels % d->groups || d->out_channels % d->groups)
    return tr_fail(TR_EINVAL, "conv: %d groups do not divide %d input and %d output channels", d->groups, d->in_channels,
                   d->out_channels);
  if (d->src_pixel_stride < d->in_channels || d->dst_pixel_stride < d->out_channels)
    return tr_fail(TR_EINVAL, "conv: pixel strides %d and %d are less than the %d and %d channels", d->src_pixel_stride,
                   d->dst_pixel_stride, d->in_channels, d->out_channels);
  return TR_OK;
}

static tr_status check(const tr_conv_desc *d) {
  if (d->in_h < 1 || d->in_w < 1 || d->in_channels < 1 || d->out_channels < 1 || d->kernel_h < 1 || d->kernel_w < 1 ||
      d->stride < 1)
    return tr_fail(TR_EINVAL, "conv: source %dx%dx%d, %d output channels, kernel %dx%d, stride %d: each must be at least 1",
                   d->in_h, d->in_w, d->in_channels, d->out_channels, d->kernel_h, d->kernel_w, d->stride);
  if (d->pad_top < 0 || d->pad_left < 0 || d->pad_bottom < 0 || d->pad_right < 0)
    return tr_fail(TR_EINVAL, "conv: padding %d %d %d %d (top, left, bottom, right) must not be negative", d->pad_top,
                   d->pad_left, d->pad_bottom, d->pad_right);
  TR_TRY(check_channels(d));
  int out_h, out_w;
  tr_conv_shape(d, &out_h, &out_w);
  if (out_h < 1 || out_w < 1)
    return tr_fail(TR_EINVAL, "conv: a %dx%d source with its padding is smaller than the %dx%d kernel", d->in_h, d->in_w,
                   d->kernel_h, d->kernel_w);
  return TR_OK;
}

tr_status tr_conv_bytes(tr_device *device, const tr_conv_desc *desc, int n, size_t *state_bytes, size_t *scratch_bytes) {
  TR_TRY(check(desc));
  return tr_device_operators(device)->conv_bytes(device, desc, n, state_bytes, scratch_bytes);
}

tr_status tr_conv_create(tr_device *device, const tr_conv_desc *desc, const float *weights, const float *bias, tr_conv **out) {
  *out = NULL;
  TR_TRY(check(desc));
  tr_conv *conv = malloc(sizeof *conv);
  if (!conv)
    return tr_fail(TR_ENOMEM, "creating a convolution: out of memory");
  *conv = (tr_conv){.device = device, .desc = *desc};
  tr_status status = tr_device_operators(device)->conv_create(device, desc, weights, bias, &conv->state);
  if (status != TR_OK) {
    free(conv);
    return status;
  }
  *out = conv;
  return TR_OK;
}

void tr_conv_destroy(tr_conv *conv) {
  if (!conv)
    return;
  tr_device_operators(conv->device)->conv_destroy(conv->device, conv->state);
  free(conv);
}

tr_status tr_conv_run(tr_conv *conv, const tr_conv_args *args) {
  const tr_conv_desc *d = &conv->desc;
  if (args->n < 1 || !args->src || !args->dst)
    return tr_fail(TR_EINVAL, "conv: %d images, source %s, destination %s", args->n, args->src ? "given" : "missing",
                   args->dst ? "given" : "missing");
  if (d->has_residual != (args->residual != NULL))
    return tr_fail(TR_EINVAL, "conv: created %s a residual, run %s one", d->has_residual ? "with" : "without",
                   args->residual ? "with" : "without");
  if (args->residual == args->dst && d->has_residual && d->dst_pixel_stride != d->out_channels)
    return tr_fail(TR_EINVAL, "conv: the residual can be the destination only where that is dense");
  return tr_device_operators(conv->device)->conv_run(conv->device, d, conv->state, args);
}
