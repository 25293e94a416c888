/* coreset: checks and dispatch. */
#include "kernels/coreset.h"

#include "host/base/status.h"
#include "kernels/operators.h"

size_t tr_coreset_scratch(const tr_device *device, size_t n, int d, size_t picks) {
  return d < 1 ? 0 : tr_device_operators(device)->coreset_scratch(device, n, d, picks);
}

static tr_status check_sizes(const tr_coreset_args *args) {
  if (args->d < 1)
    return tr_fail(TR_EINVAL, "coreset: expected d of at least 1, found %d", args->d);
  if (args->n > UINT32_MAX)
    return tr_fail(TR_EINVAL, "coreset: expected fewer than 2^32 rows, found %zu", args->n);
  if (args->picks > args->n)
    return tr_fail(TR_EINVAL, "coreset: asked for %zu picks of %zu rows", args->picks, args->n);
  if (args->starts == 0 || !args->start)
    return tr_fail(TR_EINVAL, "coreset: expected at least one starting point, found none");
  for (size_t i = 0; i < args->starts; ++i)
    if (args->start[i] >= args->n)
      return tr_fail(TR_EINVAL, "coreset: starting point %zu: expected a row below %zu, found %u", i, args->n, args->start[i]);
  return TR_OK;
}

tr_status tr_coreset(tr_device *device, const tr_coreset_args *args) {
  if (args->picks == 0 && args->n == 0)
    return TR_OK;
  TR_TRY(check_sizes(args));
  if (args->picks == 0)
    return TR_OK;
  if (!args->rows || !args->order || !args->radius || !args->scratch)
    return tr_fail(TR_EINVAL, "coreset: %zu picks: no %s given", args->picks,
                   !args->rows     ? "rows"
                   : !args->order  ? "order"
                   : !args->radius ? "radius"
                                   : "scratch");
  return tr_device_operators(device)->coreset(device, args);
}
