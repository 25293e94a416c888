/* pool and affine: checks and dispatch. */
#include "kernels/pool.h"

#include "host/base/status.h"
#include "kernels/operators.h"

static int out_extent(int in, int kernel, int stride, int pad) {
  int room = in + 2 * pad - kernel;
  return room < 0 ? 0 : room / stride + 1;
}

void tr_pool_shape(const tr_pool_args *args, int *out_h, int *out_w) {
  bool global = args->kind == TR_POOL_GLOBAL_AVERAGE;
  *out_h = global ? 1 : out_extent(args->in_h, args->kernel, args->stride, args->pad);
  *out_w = global ? 1 : out_extent(args->in_w, args->kernel, args->stride, args->pad);
}

static tr_status check_common(const char *op, int n, int h, int w, int channels, int src_stride, int dst_stride, const void *src,
                              const void *dst) {
  if (n < 1 || h < 1 || w < 1 || channels < 1)
    return tr_fail(TR_EINVAL, "%s: %d images of %dx%dx%d: each must be at least 1", op, n, h, w, channels);
  if (src_stride < channels || dst_stride < channels)
    return tr_fail(TR_EINVAL, "%s: pixel strides %d and %d are less than the %d channels", op, src_stride, dst_stride, channels);
  if (!src || !dst)
    return tr_fail(TR_EINVAL, "%s: source %s, destination %s", op, src ? "given" : "missing", dst ? "given" : "missing");
  return TR_OK;
}

static tr_status check_window(const tr_pool_args *a) {
  if (a->kernel < 1 || a->stride < 1 || a->pad < 0 || a->pad >= a->kernel)
    return tr_fail(TR_EINVAL, "pool: kernel %d, stride %d, padding %d: the window must hold a cell of the source", a->kernel,
                   a->stride, a->pad);
  if (a->kind == TR_POOL_AVERAGE && a->pad != 0)
    return tr_fail(TR_EINVAL, "pool: an average has no padding, found %d", a->pad);
  int out_h, out_w;
  tr_pool_shape(a, &out_h, &out_w);
  if (out_h < 1 || out_w < 1)
    return tr_fail(TR_EINVAL, "pool: a %dx%d source is smaller than the %dx%d window", a->in_h, a->in_w, a->kernel, a->kernel);
  return TR_OK;
}

tr_status tr_pool_run2d(tr_device *device, const tr_pool_args *args) {
  TR_TRY(check_common("pool", args->n, args->in_h, args->in_w, args->channels, args->src_pixel_stride, args->dst_pixel_stride,
                      args->src, args->dst));
  if (args->kind != TR_POOL_GLOBAL_AVERAGE)
    TR_TRY(check_window(args));
  return tr_device_operators(device)->pool(device, args);
}

tr_status tr_affine(tr_device *device, const tr_affine_args *args) {
  TR_TRY(check_common("affine", args->n, args->h, args->w, args->channels, args->src_pixel_stride, args->dst_pixel_stride,
                      args->src, args->dst));
  if (!args->scale || !args->shift)
    return tr_fail(TR_EINVAL, "affine: scale %s, shift %s", args->scale ? "given" : "missing", args->shift ? "given" : "missing");
  return tr_device_operators(device)->affine(device, args);
}
