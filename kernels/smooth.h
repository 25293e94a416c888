/* smooth: Gaussian filter of an anomaly map, in place. scipy.ndimage.gaussian_filter(sigma, truncate=4, mode="reflect"): radius
 * int(4 * sigma + 0.5), weights exp(-x^2 / (2 sigma^2)) over their sum in double, half-sample symmetric border (repeatedly, for
 * maps smaller than the radius), down the columns (axis 0) first, then along the rows; sums in double, float between the axes.
 * sigma = 0 leaves the map as it is. Official: src/patchcore/common.py, RescaleSegmentor (sigma 4). */
#ifndef TR_KERNELS_SMOOTH_H
#define TR_KERNELS_SMOOTH_H

#include "kernels/device.h"

#define TR_SMOOTH_MAX_SIGMA  64
#define TR_SMOOTH_MAX_RADIUS (4 * TR_SMOOTH_MAX_SIGMA)

typedef struct tr_smooth_args {
  int n, h, w;
  float sigma;   /* pixels, 0 ... TR_SMOOTH_MAX_SIGMA */
  float *maps;   /* [n, h, w] */
  void *scratch; /* tr_smooth_scratch() bytes */
} tr_smooth_args;

size_t tr_smooth_scratch(const tr_device *device, int n, int h, int w);
tr_status tr_smooth(tr_device *device, const tr_smooth_args *args);

/* For the twins: weights[0 ... radius] from the centre outwards; returns the radius. */
int tr_smooth_weights(float sigma, double weights[TR_SMOOTH_MAX_RADIUS + 1]);

/* For the twins: position i, anywhere, of an axis of n values reflected at both ends. */
TR_HOST_DEVICE static inline int tr_smooth_reflect(int i, int n) {
  int period = 2 * n, at = i % period;
  at = at < 0 ? at + period : at;
  return at < n ? at : period - 1 - at;
}

#endif
