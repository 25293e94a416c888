/* Checks and dispatch of `aggregate`. */
#include "kernels/aggregate.h"

#include "host/base/status.h"
#include "kernels/aggregate_plan.h"
#include "kernels/operators.h"

tr_status tr_aggregate_shape(const tr_aggregate_spec *spec, int *grid_h, int *grid_w, int *dimension) {
  TR_TRY(tr_aggregate_check(spec));
  tr_aggregate_layer first = tr_aggregate_layer_of(spec, 0), last = tr_aggregate_layer_of(spec, spec->layers - 1);
  *grid_h = first.grid_h;
  *grid_w = first.grid_w;
  *dimension = last.end;
  return TR_OK;
}

size_t tr_aggregate_scratch(const tr_device *device, const tr_aggregate_spec *spec, int n) {
  if (!device || n < 1 || tr_aggregate_check(spec) != TR_OK)
    return 0;
  return tr_device_operators(device)->aggregate_scratch(device, spec, n);
}

tr_status tr_aggregate(tr_device *device, const tr_aggregate_args *args) {
  if (!device || !args)
    return tr_fail(TR_EINVAL, "aggregate: %s is NULL", device ? "args" : "device");
  TR_TRY(tr_aggregate_check(&args->spec));
  if (args->n < 0)
    return tr_fail(TR_EINVAL, "aggregate: n: expected at least 0, found %d", args->n);
  if (args->n == 0)
    return TR_OK;
  for (int i = 0; i < args->spec.layers; ++i)
    if (!args->maps[i])
      return tr_fail(TR_EINVAL, "aggregate: maps[%d] is NULL", i);
  if (!args->dst)
    return tr_fail(TR_EINVAL, "aggregate: dst is NULL");
  if (!args->scratch)
    return tr_fail(TR_EINVAL, "aggregate: scratch is NULL");
  return tr_device_operators(device)->aggregate(device, args);
}
