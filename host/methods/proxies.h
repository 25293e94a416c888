/* PatchCore's bank as learned basis proxies (kernels/proxies.h): where they begin, and which rows each step gets. */
#ifndef TR_METHODS_PROXIES_H
#define TR_METHODS_PROXIES_H

#include "kernels/proxies.h"

/* Learns `count` <= n proxies of rows [n, d], device or host memory, with TR_PROXIES_RATE, _STEPS and _BATCH (or n, if that is less). They begin as rows
 * drawn without replacement; batches go through all rows in a new random order each time. *out: device, [count, d], the
 * caller's to free. */
tr_status tr_learn_proxies(tr_device *device, const float *rows, bool rows_in_host, size_t n, int d, size_t count, uint64_t seed,
                           tr_progress *progress, float **out);

/* Device bytes while they are learned, the proxies included; and multiply-adds. */
size_t tr_learn_proxies_bytes(const tr_device *device, size_t n, int d, size_t count);
double tr_learn_proxies_macs(size_t n, int d, size_t count);

#endif
