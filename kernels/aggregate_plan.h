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

/* Weights of the p * p window of a channel that `output` takes from. True when all are equal: then weights[0] alone is set. */
bool tr_aggregate_window(const tr_aggregate_spec *spec, int layer, int output, int channel, double *weights);

/* EINVAL, naming what cannot be. */
tr_status tr_aggregate_check(const tr_aggregate_spec *spec);

/* Adaptive pooling of n values into m bins: bin i covers [tr_bin_first, tr_bin_end). Seen from a value q, the bins that cover it are
 * tr_bin_first(q, m, n) to tr_bin_end(q, m, n): the same two formulas with the roles exchanged. */
TR_HOST_DEVICE static inline int64_t tr_bin_first(int64_t i, int64_t n, int64_t m) {
  return i * n / m;
}

TR_HOST_DEVICE static inline int64_t tr_bin_end(int64_t i, int64_t n, int64_t m) {
  return ((i + 1) * n + m - 1) / m;
}

TR_HOST_DEVICE static inline int64_t tr_least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

TR_HOST_DEVICE static inline int64_t tr_most(int64_t a, int64_t b) {
  return a > b ? a : b;
}

TR_HOST_DEVICE static inline int64_t tr_window_values(const tr_aggregate_spec *spec) {
  return (int64_t)spec->patch * spec->patch;
}

/* Bins [first, end) of the first stage, of `layer`, that `output` averages. */
TR_HOST_DEVICE static inline void tr_aggregate_bins(const tr_aggregate_spec *spec, int layer, int output, int64_t *first,
                                                    int64_t *end) {
  int64_t bins = spec->layer_dimension, all = bins * spec->layers;
  *first = tr_most(tr_bin_first(output, all, spec->dimension) - layer * bins, 0);
  *end = tr_least(tr_bin_end(output, all, spec->dimension) - layer * bins, bins);
}

/* Channels [first, end) of `layer` that `output`, one of the layer's own, takes from. */
TR_HOST_DEVICE static inline void tr_aggregate_channels(const tr_aggregate_spec *spec, int layer, int output, int *first,
                                                        int *end) {
  if (spec->kind == TR_AGGREGATE_CONCAT) {
    for (int i = 0; i < layer; ++i)
      output -= spec->c[i];
    *first = output;
    *end = output + 1;
    return;
  }
  int64_t first_bin, end_bin, values = spec->c[layer] * tr_window_values(spec);
  tr_aggregate_bins(spec, layer, output, &first_bin, &end_bin);
  *first = (int)(tr_bin_first(first_bin, values, spec->layer_dimension) / tr_window_values(spec));
  *end = (int)((tr_bin_end(end_bin - 1, values, spec->layer_dimension) - 1) / tr_window_values(spec)) + 1;
}

/* One weight of such a window, and whether all its weights are equal: what tr_aggregate_window says, for twins whose threads ask
 * for weights one by one. */
TR_HOST_DEVICE static inline double tr_aggregate_weight(const tr_aggregate_spec *spec, int layer, int output, int channel,
                                                        int tap, bool *even) {
  int64_t window = tr_window_values(spec);
  *even = true;
  if (spec->kind == TR_AGGREGATE_CONCAT)
    return 1.0 / (double)window;
  int64_t values = spec->c[layer] * window, bins = spec->layer_dimension, all = bins * spec->layers;
  int64_t window_first = channel * window, window_end = window_first + window, value = window_first + tap;
  int64_t first, end;
  tr_aggregate_bins(spec, layer, output, &first, &end);
  int64_t first_here = tr_most(first, tr_bin_first(window_first, bins, values));
  int64_t last_here = tr_least(end, tr_bin_end(window_end - 1, bins, values)) - 1;
  /* Later bins neither begin nor end earlier: when the last begins with the window and the first ends with it, all cover it. */
  *even = tr_bin_first(last_here, values, bins) <= window_first && tr_bin_end(first_here, values, bins) >= window_end;
  double outer = (double)(tr_bin_end(output, all, spec->dimension) - tr_bin_first(output, all, spec->dimension)), sum = 0.0;
  first = tr_most(first, tr_bin_first(value, bins, values));
  end = tr_least(end, tr_bin_end(value, bins, values));
  for (int64_t bin = first; bin < end; ++bin)
    sum += 1.0 / (outer * (double)(tr_bin_end(bin, values, bins) - tr_bin_first(bin, values, bins)));
  return sum;
}

#endif
