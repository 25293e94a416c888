/* Checks and dispatch of `smooth`, and its weights. */
#include "kernels/smooth.h"

#include "host/base/status.h"
#include "kernels/operators.h"

#include <math.h>

enum { MOST_PIXELS = 1 << 15 }; /* a side */

int tr_smooth_weights(float sigma, double weights[TR_SMOOTH_MAX_RADIUS + 1]) {
  double width = sigma, sum = 1.0;
  int radius = (int)(4.0 * width + 0.5);
  weights[0] = 1.0;
  for (int i = 1; i <= radius; ++i) {
    weights[i] = exp(-0.5 / (width * width) * ((double)i * i));
    sum += 2.0 * weights[i];
  }
  for (int i = 0; i <= radius; ++i)
    weights[i] /= sum;
  return radius;
}

static bool are_sides(int h, int w) {
  return h >= 1 && h <= MOST_PIXELS && w >= 1 && w <= MOST_PIXELS;
}

size_t tr_smooth_scratch(const tr_device *device, int n, int h, int w) {
  if (!device || n < 1 || !are_sides(h, w))
    return 0;
  return tr_device_operators(device)->smooth_scratch(device, n, h, w);
}

tr_status tr_smooth(tr_device *device, const tr_smooth_args *args) {
  if (!device || !args)
    return tr_fail(TR_EINVAL, "smooth: %s is NULL", device ? "args" : "device");
  if (args->n < 0)
    return tr_fail(TR_EINVAL, "smooth: n: expected at least 0, found %d", args->n);
  if (!are_sides(args->h, args->w))
    return tr_fail(TR_EINVAL, "smooth: h, w: expected 1 to %d each, found %d, %d", MOST_PIXELS, args->h, args->w);
  if (!(args->sigma >= 0.0f && args->sigma <= TR_SMOOTH_MAX_SIGMA))
    return tr_fail(TR_EINVAL, "smooth: sigma: expected 0 to %d pixels, found %g", TR_SMOOTH_MAX_SIGMA, (double)args->sigma);
  if (args->n == 0)
    return TR_OK;
  if (!args->maps || !args->scratch)
    return tr_fail(TR_EINVAL, "smooth: %s is NULL", args->maps ? "scratch" : "maps");
  return tr_device_operators(device)->smooth(device, args);
}
