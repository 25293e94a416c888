/* sort_scan: checks and dispatch. */
#include "kernels/sort_scan.h"

#include "host/base/status.h"
#include "kernels/operators.h"

size_t tr_sort_scan_scratch(const tr_device *device, size_t n) {
  return tr_device_operators(device)->sort_scan_scratch(device, n);
}

tr_status tr_sort_scan(tr_device *device, const tr_sort_scan_args *args) {
  if (args->n > UINT32_MAX)
    return tr_fail(TR_EINVAL, "sorting scores: expected fewer than 2^32, found %zu", args->n);
  if (args->n == 0)
    return TR_OK;
  if (!args->keys || !args->payload || !args->scratch)
    return tr_fail(TR_EINVAL, "sorting %zu scores: no keys, payload or scratch given", args->n);
  return tr_device_operators(device)->sort_scan(device, args);
}
