/* The linear map behind `aggregate`, shared by the dispatch and the twins: which outputs a layer adds to, which channels an
 * output takes from it, and with which weights over a channel's window.
 *
 * Both poolings are adaptive_avg_pool1d: bin i of n values into m bins is [floor(i n / m), ceil((i+1) n / m)). A layer's list is
 * channel-major (channel, then the p x p window row by row; official src/patchcore/common.py), so an output takes a run of
 * neighbouring channels, most of them with whole windows. As the bilinear resize treats every value alike, the same weights hold
 * on the layer's own grid and the resize may come last.
 */
#ifndef TR_KERNELS_AGGREGATE_PLAN_H
#define TR_KERNELS_AGGREGATE_PLAN_H

#include "kernels/aggregate.h"

#define TR_MAX_PATCH 15

typedef struct tr_aggregate_layer {
  int h, w, c;
  int grid_h, grid_w;   /* windows of this layer */
  int first, end;       /* outputs that it adds to; successive layers' ranges meet, or share outputs at their ends */
  size_t pooled_floats; /* of one image: [grid_h, grid_w, end - first]; 0 for the first layer, which is written in place */
} tr_aggregate_layer;

/* What a valid spec means for one layer. */
tr_aggregate_layer tr_aggregate_layer_of(const tr_aggregate_spec *spec, int layer);

/* Channels [first, end) of `layer` that `output`, one of the layer's own, takes from. */
void tr_aggregate_channels(const tr_aggregate_spec *spec, int layer, int output, int *first, int *end);

/* Weights of the p * p window of one such channel. True when all are equal: then weights[0] alone is set. */
bool tr_aggregate_window(const tr_aggregate_spec *spec, int layer, int output, int channel, double *weights);

/* EINVAL, naming what cannot be. */
tr_status tr_aggregate_check(const tr_aggregate_spec *spec);

#endif
