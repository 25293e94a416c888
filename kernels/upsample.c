/* Checks and dispatch of `upsample`. */
#include "kernels/upsample.h"

#include "host/base/status.h"
#include "kernels/operators.h"

enum { MOST_PIXELS = 1 << 15 }; /* a side */

static bool is_side(int pixels) {
  return pixels >= 1 && pixels <= MOST_PIXELS;
}

tr_status tr_upsample(tr_device *device, const tr_upsample_args *args) {
  if (!device || !args)
    return tr_fail(TR_EINVAL, "upsample: %s is NULL", device ? "args" : "device");
  if (args->n < 0)
    return tr_fail(TR_EINVAL, "upsample: n: expected at least 0, found %d", args->n);
  if (!is_side(args->in_h) || !is_side(args->in_w))
    return tr_fail(TR_EINVAL, "upsample: in_h, in_w: expected 1 to %d each, found %d, %d", MOST_PIXELS, args->in_h, args->in_w);
  if (!is_side(args->out_h) || !is_side(args->out_w))
    return tr_fail(TR_EINVAL, "upsample: out_h, out_w: expected 1 to %d each, found %d, %d", MOST_PIXELS, args->out_h,
                   args->out_w);
  if (args->n == 0)
    return TR_OK;
  if (!args->src || !args->dst)
    return tr_fail(TR_EINVAL, "upsample: %s is NULL", args->src ? "dst" : "src");
  if (args->src == args->dst)
    return tr_fail(TR_EINVAL, "upsample: src and dst are the same memory");
  return tr_device_operators(device)->upsample(device, args);
}
