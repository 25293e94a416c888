/* Checks and dispatch of `mosaic`. */
#include "kernels/mosaic.h"

#include "host/base/status.h"
#include "kernels/operators.h"

enum { MOST_PIXELS = 1 << 15 }; /* a side */

static bool is_side(int pixels) {
  return pixels >= 1 && pixels <= MOST_PIXELS;
}

tr_status tr_mosaic(tr_device *device, const tr_mosaic_args *args) {
  if (!device || !args)
    return tr_fail(TR_EINVAL, "mosaic: %s is NULL", device ? "args" : "device");
  if (!is_side(args->whole_h) || !is_side(args->whole_w))
    return tr_fail(TR_EINVAL, "mosaic: whole_h, whole_w: expected 1 to %d each, found %d, %d", MOST_PIXELS, args->whole_h,
                   args->whole_w);
  if (args->h < 1 || args->top < 0 || args->h > args->whole_h - args->top)
    return tr_fail(TR_EINVAL, "mosaic: top, h: expected rows of a map of %d, found %d from %d on", args->whole_h, args->h,
                   args->top);
  if (args->w < 1 || args->left < 0 || args->w > args->whole_w - args->left)
    return tr_fail(TR_EINVAL, "mosaic: left, w: expected columns of a map of %d, found %d from %d on", args->whole_w, args->w,
                   args->left);
  if (!args->src || !args->dst)
    return tr_fail(TR_EINVAL, "mosaic: %s is NULL", args->src ? "dst" : "src");
  if (!args->row_weights || !args->column_weights)
    return tr_fail(TR_EINVAL, "mosaic: %s is NULL", args->row_weights ? "column_weights" : "row_weights");
  return tr_device_operators(device)->mosaic(device, args);
}
