/* The linear map behind `aggregate`: adaptive pooling of adaptively pooled windows, bin by bin. */
#include "kernels/aggregate_plan.h"

#include "host/base/status.h"

/* Adaptive pooling of n values into m bins: bin i covers [bin_first, bin_end). Seen from a value q, the bins that cover it are
 * bin_first(q, m, n) to bin_end(q, m, n): the same two formulas with the roles exchanged. */
static int64_t bin_first(int64_t i, int64_t n, int64_t m) {
  return i * n / m;
}

static int64_t bin_end(int64_t i, int64_t n, int64_t m) {
  return ((i + 1) * n + m - 1) / m;
}

static int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b) {
  return a > b ? a : b;
}

static int64_t window_values(const tr_aggregate_spec *spec) {
  return (int64_t)spec->patch * spec->patch;
}

/* First-stage bins [first, end) of `layer` that `output` averages. */
static void first_stage_bins(const tr_aggregate_spec *spec, int layer, int output, int64_t *first, int64_t *end) {
  int64_t bins = spec->layer_dimension, all = bins * spec->layers;
  *first = most(bin_first(output, all, spec->dimension) - layer * bins, 0);
  *end = least(bin_end(output, all, spec->dimension) - layer * bins, bins);
}

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
    out.first = (int)bin_first(layer * bins, spec->dimension, all);
    out.end = (int)bin_end((layer + 1) * bins - 1, spec->dimension, all);
  }
  if (layer > 0)
    out.pooled_floats = (size_t)out.grid_h * (size_t)out.grid_w * (size_t)(out.end - out.first);
  return out;
}

void tr_aggregate_channels(const tr_aggregate_spec *spec, int layer, int output, int *first, int *end) {
  if (spec->kind == TR_AGGREGATE_CONCAT) {
    for (int i = 0; i < layer; ++i)
      output -= spec->c[i];
    *first = output;
    *end = output + 1;
    return;
  }
  int64_t first_bin, end_bin, values = spec->c[layer] * window_values(spec);
  first_stage_bins(spec, layer, output, &first_bin, &end_bin);
  *first = (int)(bin_first(first_bin, values, spec->layer_dimension) / window_values(spec));
  *end = (int)((bin_end(end_bin - 1, values, spec->layer_dimension) - 1) / window_values(spec)) + 1;
}

bool tr_aggregate_window(const tr_aggregate_spec *spec, int layer, int output, int channel, double *weights) {
  int64_t window = window_values(spec);
  if (spec->kind == TR_AGGREGATE_CONCAT) {
    weights[0] = 1.0 / (double)window;
    return true;
  }
  int64_t values = spec->c[layer] * window, bins = spec->layer_dimension, all = bins * spec->layers;
  int64_t window_first = channel * window, window_end = window_first + window;
  int64_t first, end;
  first_stage_bins(spec, layer, output, &first, &end);
  first = most(first, bin_first(window_first, bins, values));
  end = least(end, bin_end(window_end - 1, bins, values));
  double outer = (double)(bin_end(output, all, spec->dimension) - bin_first(output, all, spec->dimension));

  double everywhere = 0.0; /* from bins that cover the whole window */
  bool even = true;
  for (int64_t bin = first; bin < end; ++bin) {
    int64_t from = bin_first(bin, values, bins), to = bin_end(bin, values, bins);
    double weight = 1.0 / (outer * (double)(to - from));
    if (from <= window_first && to >= window_end) {
      everywhere += weight;
      continue;
    }
    if (even)
      for (int64_t i = 0; i < window; ++i)
        weights[i] = 0.0;
    even = false;
    for (int64_t i = most(from, window_first); i < least(to, window_end); ++i)
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
