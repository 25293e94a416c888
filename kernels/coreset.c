/* coreset: checks and dispatch. */
#include "kernels/coreset.h"

#include "host/base/status.h"
#include "kernels/cpu/cpu.h"
#include "kernels/operators.h"

#include <stdlib.h>
#include <string.h>

size_t tr_coreset_scratch(const tr_device *device, size_t n, int d, size_t picks) {
  return d < 1 ? 0 : tr_device_operators(device)->coreset_scratch(device, n, d, picks);
}

size_t tr_coreset_read_scratch(const tr_device *device, size_t n, int d, size_t picks) {
  return d < 1 ? 0 : tr_cpu_coreset_read_scratch(device, n, d, picks);
}

static tr_status check_sizes(const tr_coreset_args *args) {
  if (args->d < 1)
    return tr_fail(TR_EINVAL, "coreset: expected d of at least 1, found %d", args->d);
  if (args->n > UINT32_MAX)
    return tr_fail(TR_EINVAL, "coreset: expected fewer than 2^32 rows, found %zu", args->n);
  if (args->picks > args->n)
    return tr_fail(TR_EINVAL, "coreset: asked for %zu picks of %zu rows", args->picks, args->n);
  if (args->given > args->picks)
    return tr_fail(TR_EINVAL, "coreset: %zu rows given where %zu picks are asked for", args->given, args->picks);
  if (args->given == 0 && (args->starts == 0 || !args->start))
    return tr_fail(TR_EINVAL, "coreset: expected at least one starting point, found none");
  if (args->read && args->starts > TR_CORESET_MOST_STARTS)
    return tr_fail(TR_EINVAL, "coreset: %zu starting points of rows that are read; at most %d are possible", args->starts,
                   TR_CORESET_MOST_STARTS);
  if (!(args->stop_radius >= 0) || !(args->stop_seconds >= 0))
    return tr_fail(TR_EINVAL, "coreset: expected a radius and seconds of at least 0 to stop at, found %g and %g",
                   args->stop_radius, args->stop_seconds);
  if ((args->stop_radius > 0 || args->stop_seconds > 0) && !args->picked)
    return tr_fail(TR_EINVAL, "coreset: a selection that may end early must say where it did");
  for (size_t i = 0; i < args->starts; ++i)
    if (args->start[i] >= args->n)
      return tr_fail(TR_EINVAL, "coreset: starting point %zu: expected a row below %zu, found %u", i, args->n, args->start[i]);
  return TR_OK;
}

static tr_status check_given(const tr_coreset_args *args) {
  unsigned char *seen = calloc(args->n / 8 + 1, 1);
  if (!seen)
    return tr_fail(TR_ENOMEM, "coreset: %zu given rows: out of memory", args->given);
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < args->given; ++i) {
    uint32_t row = args->order[i];
    if (row >= args->n)
      status = tr_fail(TR_EINVAL, "coreset: given row %zu: expected one below %zu, found %u", i, args->n, row);
    else if (seen[row / 8] >> row % 8 & 1)
      status = tr_fail(TR_EINVAL, "coreset: given row %zu: row %u is there twice", i, row);
    else
      seen[row / 8] |= (unsigned char)(1 << row % 8);
  }
  free(seen);
  return status;
}

tr_status tr_coreset(tr_device *device, const tr_coreset_args *args) {
  size_t picked;
  tr_coreset_args complete = *args;
  if (!complete.picked)
    complete.picked = &picked;
  *complete.picked = 0;
  if (args->picks == 0 && args->n == 0)
    return TR_OK;
  TR_TRY(check_sizes(args));
  if (args->picks == 0)
    return TR_OK;
  if ((!args->rows && !args->read) || !args->order || !args->radius || !args->scratch)
    return tr_fail(TR_EINVAL, "coreset: %zu picks: no %s given", args->picks,
                   !args->rows && !args->read ? "rows"
                   : !args->order             ? "order"
                   : !args->radius            ? "radius"
                                              : "scratch");
  TR_TRY(check_given(args));
  if (args->stop_radius > 0 &&
      args->given < args->picks) { /* what is left out where every row lies on a pick, or on all starting points */
    if (args->given == 0)
      args->order[0] = 0;
    memset(args->radius + args->given, 0, (args->picks - args->given) * sizeof *args->radius);
  }
  if (args->starts == 0) {
    complete.start = args->order;
    complete.starts = 1;
  }
  return args->read ? tr_cpu_coreset(device, &complete) : tr_device_operators(device)->coreset(device, &complete);
}
