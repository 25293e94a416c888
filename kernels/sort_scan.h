/* sort_scan: sorts keys with their payloads, highest key first; the one pass that all metrics read.
 * Stable (equal keys keep their order), so the result is one and the same on every device and for any number of threads. */
#ifndef TR_KERNELS_SORT_SCAN_H
#define TR_KERNELS_SORT_SCAN_H

#include "kernels/device.h"

typedef struct tr_sort_scan_args {
  size_t n;        /* < 2^32 */
  float *keys;     /* [n], finite; sorted in place */
  uint32_t *payload; /* [n]; goes along */
  void *scratch;   /* tr_sort_scan_scratch() bytes */
} tr_sort_scan_args;

size_t tr_sort_scan_scratch(const tr_device *device, size_t n);
tr_status tr_sort_scan(tr_device *device, const tr_sort_scan_args *args);

#endif
