/* The linear map behind `aggregate`: adaptive pooling of adaptively pooled windows, bin by bin. */
#include "kernels/aggregate_plan.h"

#include "host/base/status.h"

tr_aggregate_layer tr_aggregate_layer_of(const tr_aggregate_spec *spec, int layer) {
  tr_aggregate_layer out = {.h = spec->h[layer],
                            .w = spec->w[layer],
                            .c = spec->c[layer],
                            .grid_h = (spec->h[layer] - 1) / spec->stride + 1,
                            .grid_w = (spec->w[layer] - 1) / spec->stride + 1};
  if (spec->kind == TR_AGGREGATE_CONCAT) {
    for (int i = 0; i < layer; ++i)
      out.first += spec->c[i];
    out.end = out.first + out.c;
  } else {
    int64_t bins = spec->layer_dimension, all = bins * spec->layers;
    out.first = (int)tr_bin_first(layer * bins, spec->dimension, all);
    out.end = (int)tr_bin_end((layer + 1) * bins - 1, spec->dimension, all);
  }
  if (layer > 0)
    out.pooled_floats = (size_t)out.grid_h * (size_t)out.grid_w * (size_t)(out.end - out.first);
  return out;
}

bool tr_aggregate_window(const tr_aggregate_spec *spec, int layer, int output, int channel, double *weights) {
  int64_t window = tr_window_values(spec);
  if (spec->kind == TR_AGGREGATE_CONCAT) {
    weights[0] = 1.0 / (double)window;
    return true;
  }
  int64_t values = spec->c[layer] * window, bins = spec->layer_dimension, all = bins * spec->layers;
  int64_t window_first = channel * window, window_end = window_first + window;
  int64_t first, end;
  tr_aggregate_bins(spec, layer, output, &first, &end);
  first = tr_most(first, tr_bin_first(window_first, bins, values));
  end = tr_least(end, tr_bin_end(window_end - 1, bins, values));
  double outer = (double)(tr_bin_end(output, all, spec->dimension) - tr_bin_first(output, all, spec->dimension));

  double everywhere = 0.0; /* from bins that cover the whole window */
  bool even = true;
  for (int64_t bin = first; bin < end; ++bin) {
    int64_t from = tr_bin_first(bin, values, bins), to = tr_bin_end(bin, values, bins);
    double weight = 1.0 / (outer * (double)(to - from));
    if (from <= window_first && to >= window_end) {
      everywhere += weight;
      continue;
    }
    if (even)
      for (int64_t i = 0; i < window; ++i)
        weights[i] = 0.0;
    even = false;
    for (int64_t i = tr_most(from, window_first); i < tr_least(to, window_end); ++i)
      weights[i - window_first] += weight;
  }
  if (even)
    weights[0] = everywhere;
  else if (everywhere > 0.0)
    for (int64_t i = 0; i < window; ++i)
      weights[i] += everywhere;
  return even;
}

tr_status tr_aggregate_check(const tr_aggregate_spec *spec) {
  if (!spec)
    return tr_fail(TR_EINVAL, "aggregate: spec is NULL");
  if (spec->kind != TR_AGGREGATE_OFFICIAL && spec->kind != TR_AGGREGATE_CONCAT)
    return tr_fail(TR_EINVAL, "aggregate: kind: expected official or concat, found %d", (int)spec->kind);
  if (spec->layers < 1 || spec->layers > TR_MAX_LAYERS)
    return tr_fail(TR_EINVAL, "aggregate: layers: expected 1 to %d, found %d", TR_MAX_LAYERS, spec->layers);
  if (spec->patch < 1 || spec->patch > TR_MAX_PATCH || spec->patch % 2 == 0)
    return tr_fail(TR_EINVAL, "aggregate: patch: expected an odd number from 1 to %d, found %d", TR_MAX_PATCH, spec->patch);
  if (spec->stride < 1)
    return tr_fail(TR_EINVAL, "aggregate: stride: expected at least 1, found %d", spec->stride);
  for (int i = 0; i < spec->layers; ++i)
    if (spec->h[i] < 1 || spec->h[i] > 1 << 15 || spec->w[i] < 1 || spec->w[i] > 1 << 15 || spec->c[i] < 1 ||
        spec->c[i] > 1 << 20)
      return tr_fail(TR_EINVAL, "aggregate: layer %d: h, w, c: expected 1 to 32768, 1 to 32768, 1 to 1048576, found %d, %d, %d",
                     i, spec->h[i], spec->w[i], spec->c[i]);
  if (spec->kind == TR_AGGREGATE_CONCAT)
    return TR_OK;
  if (spec->layer_dimension < 1 || spec->layer_dimension > 1 << 20)
    return tr_fail(TR_EINVAL, "aggregate: layer_dimension: expected 1 to 1048576, found %d", spec->layer_dimension);
  if (spec->dimension < 1 || spec->dimension > 1 << 20)
    return tr_fail(TR_EINVAL, "aggregate: dimension: expected 1 to 1048576, found %d", spec->dimension);
  return TR_OK;
}
