/* upsample: patch scores on their grid -> image size, bilinear, align_corners=False (torch F.interpolate; official
 * src/patchcore/common.py, RescaleSegmentor). Positions and weights in float, as torch's cpu kernel has them; the two values of a
 * row are blended first, then the two rows. src and dst must not overlap. */
#ifndef TR_KERNELS_UPSAMPLE_H
#define TR_KERNELS_UPSAMPLE_H

#include "kernels/device.h"

typedef struct tr_upsample_args {
  int n, in_h, in_w, out_h, out_w;
  const float *src; /* [n, in_h, in_w] */
  float *dst;       /* [n, out_h, out_w] */
} tr_upsample_args;

tr_status tr_upsample(tr_device *device, const tr_upsample_args *args);

#endif
