/* channels: checks and dispatch. */
#include "kernels/channels.h"

#include "host/base/status.h"
#include "kernels/operators.h"

tr_status tr_channels_check(const tr_channels_spec *spec) {
  if (spec->layers < 1 || spec->layers > TR_MAX_LAYERS)
    return tr_fail(TR_EINVAL, "channels: layers: expected 1 to %d, found %d", TR_MAX_LAYERS, spec->layers);
  if (spec->placement != TR_PLACE_NEAREST && spec->placement != TR_PLACE_BILINEAR)
    return tr_fail(TR_EINVAL, "channels: placement: expected nearest or bilinear, found %d", (int)spec->placement);
  uint32_t total = 0;
  for (int i = 0; i < spec->layers; ++i) {
    if (spec->h[i] < 1 || spec->h[i] > 1 << 15 || spec->w[i] < 1 || spec->w[i] > 1 << 15 || spec->c[i] < 1 ||
        spec->c[i] > 1 << 20)
      return tr_fail(TR_EINVAL, "channels: layer %d: h, w, c: expected 1 to 32768, 1 to 32768, 1 to 1048576, found %d, %d, %d", i,
                     spec->h[i], spec->w[i], spec->c[i]);
    total += (uint32_t)spec->c[i];
  }
  if (spec->count < 1 || (uint32_t)spec->count > total)
    return tr_fail(TR_EINVAL, "channels: expected 1 to %u of the layers' channels, found %d", total, spec->count);
  if (!spec->channels)
    return tr_fail(TR_EINVAL, "channels: no list of channels given");
  for (int i = 0; i < spec->count; ++i)
    if (spec->channels[i] >= total || (i > 0 && spec->channels[i] <= spec->channels[i - 1]))
      return tr_fail(TR_EINVAL, "channels: number %d: expected a channel below %u, above the one before, found %u", i, total,
                     spec->channels[i]);
  return TR_OK;
}

size_t tr_channels_scratch(const tr_device *device, const tr_channels_spec *spec, int n) {
  return n > 0 ? tr_device_operators(device)->channels_scratch(device, spec, n) : 0;
}

tr_status tr_channels(tr_device *device, const tr_channels_args *args) {
  TR_TRY(tr_channels_check(&args->spec));
  if (args->n < 0)
    return tr_fail(TR_EINVAL, "channels: n: expected at least 0, found %d", args->n);
  if (args->n == 0)
    return TR_OK;
  for (int i = 0; i < args->spec.layers; ++i)
    if (!args->maps[i])
      return tr_fail(TR_EINVAL, "channels: maps[%d] is NULL", i);
  if (!args->dst || !args->scratch)
    return tr_fail(TR_EINVAL, "channels: %s is NULL", args->dst ? "scratch" : "dst");
  return tr_device_operators(device)->channels(device, args);
}
