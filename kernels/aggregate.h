/* aggregate: feature maps of several layers -> patch features (paper section 3.1, Eq. 1-3).
 *
 * official (src/patchcore/common.py, closed form in the reading notes): per layer, zero-padded p x p window at stride s; the
 * deeper layers' windows are bilinearly resized (align_corners=False) to the first layer's grid; the channel-major list of
 * c * p * p values is pooled by adaptive_avg_pool1d to layer_dimension; the layers' vectors, one after the other, are pooled
 * again by adaptive_avg_pool1d to dimension.
 * concat (anomalib, hcw-00): per layer the mean of the zero-padded p x p window with divisor p * p (torch's AvgPool2d(p, 1, (p-1)/2)),
 * resized to the first layer's grid, concatenated; layer_dimension and dimension are not used.
 * Both are linear, so window, pooling and resize are applied in the order that costs least.
 */
#ifndef TR_KERNELS_AGGREGATE_H
#define TR_KERNELS_AGGREGATE_H

#include "kernels/device.h"

#define TR_MAX_LAYERS 4

typedef enum tr_aggregate_kind { TR_AGGREGATE_OFFICIAL, TR_AGGREGATE_CONCAT } tr_aggregate_kind;

typedef struct tr_aggregate_spec {
  tr_aggregate_kind kind;
  int layers;
  int h[TR_MAX_LAYERS], w[TR_MAX_LAYERS], c[TR_MAX_LAYERS]; /* of each tapped map; the first sets the grid */
  int patch;                                                /* p, odd, 1 … 15 */
  int stride;                                               /* s >= 1 */
  int layer_dimension, dimension;                           /* any, also more than there are values: pooling then repeats them */
} tr_aggregate_spec;

typedef struct tr_aggregate_args {
  tr_aggregate_spec spec;
  int n;                            /* images */
  const float *maps[TR_MAX_LAYERS]; /* [n, h, w, c] */
  float *dst;                       /* [n * grid_h * grid_w, dimension] */
  void *scratch;                    /* tr_aggregate_scratch() bytes */
} tr_aggregate_args;

/* Grid and dimension of the result: grid = (h + 2 * ((p-1)/2) - (p-1) - 1) / s + 1 of the first layer. */
tr_status tr_aggregate_shape(const tr_aggregate_spec *spec, int *grid_h, int *grid_w, int *dimension);
/* 0 for a spec that cannot be. */
size_t tr_aggregate_scratch(const tr_device *device, const tr_aggregate_spec *spec, int n);
/* Sums in float: for non-negative maps within 1e-5 relative of the same map in double. */
tr_status tr_aggregate(tr_device *device, const tr_aggregate_args *args);

#endif
