/* mosaic: adds a map of a part of an image to the map of the whole image, times a weight per pixel:
 *
 *   dst[top + y, left + x] += (row_weights[y] * column_weights[x]) * src[y, x]
 *
 * Parts whose weights sum to 1 at every pixel give a whole without seams (host/harness/tiling.h). In float, each product and the sum
 * rounded by itself; parts are added in the order of the calls. src and dst must not overlap. */
#ifndef TR_KERNELS_MOSAIC_H
#define TR_KERNELS_MOSAIC_H

#include "kernels/device.h"

typedef struct tr_mosaic_args {
  int h, w;      /* of the part */
  int top, left; /* its place in the whole */
  int whole_h, whole_w;
  const float *row_weights, *column_weights; /* [h], [w] */
  const float *src;                          /* [h, w] */
  float *dst;                                /* [whole_h, whole_w] */
} tr_mosaic_args;

tr_status tr_mosaic(tr_device *device, const tr_mosaic_args *args);

#endif
