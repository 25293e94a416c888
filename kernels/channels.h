/* channels: drawn channels of several layers' maps, one vector a position of the first layer's grid (PaDiM, Defard et al. 2021,
 * sections III-A and III-C: activation vectors of spatially corresponding positions, concatenated, of which a random choice of
 * dimensions is kept). What is not drawn is not computed.
 *
 * nearest: a deeper layer's vector at row floor(y h / grid_h), column floor(x w / grid_w) (torch's F.interpolate "nearest"; for whole
 * ratios, each vector copied to its block of positions). bilinear: align_corners=False, as `aggregate` resizes.
 */
#ifndef TR_KERNELS_CHANNELS_H
#define TR_KERNELS_CHANNELS_H

#include "kernels/aggregate.h"

typedef enum tr_placement { TR_PLACE_NEAREST, TR_PLACE_BILINEAR } tr_placement;

typedef struct tr_channels_spec {
  int layers;
  int h[TR_MAX_LAYERS], w[TR_MAX_LAYERS], c[TR_MAX_LAYERS]; /* of each tapped map; the first sets the grid */
  tr_placement placement;
  int count;                /* of drawn channels */
  const uint32_t *channels; /* host, [count], ascending; numbered through all layers, the first layer's from 0 */
} tr_channels_spec;

typedef struct tr_channels_args {
  tr_channels_spec spec;
  int n;                              /* images */
  const float *maps[TR_MAX_LAYERS];   /* [n, h, w, c] */
  float *dst;                         /* vector of image i at position p: dst + i * image_pitch + p * position_pitch */
  size_t image_pitch, position_pitch; /* floats */
  void *scratch;                      /* tr_channels_scratch() bytes */
} tr_channels_args;

/* EINVAL, naming what cannot be. */
tr_status tr_channels_check(const tr_channels_spec *spec);
size_t tr_channels_scratch(const tr_device *device, const tr_channels_spec *spec, int n);
tr_status tr_channels(tr_device *device, const tr_channels_args *args);

#endif
