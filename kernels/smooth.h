/* smooth: Gaussian filter of an anomaly map, in place. scipy.ndimage.gaussian_filter(sigma, truncate=4, mode="reflect"): radius
 * int(4 * sigma + 0.5), weights in double, half-sample symmetric border (repeatedly, for maps smaller than the radius), rows
 * (axis 0) first, float between the axes. sigma = 0 leaves the map as it is. */
#ifndef TR_KERNELS_SMOOTH_H
#define TR_KERNELS_SMOOTH_H

#include "kernels/device.h"

typedef struct tr_smooth_args {
  int n, h, w;
  float sigma; /* pixels */
  float *maps; /* [n, h, w] */
  void *scratch;
} tr_smooth_args;

size_t tr_smooth_scratch(const tr_device *device, int n, int h, int w);
tr_status tr_smooth(tr_device *device, const tr_smooth_args *args);

#endif
