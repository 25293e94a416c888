/* Learning basis proxies: draws by seed, and the operator's memory. */
#include "host/methods/proxies.h"

#include "host/base/rng.h"
#include "host/base/status.h"

#include <stdlib.h>

static size_t batch_of(size_t n) {
  return n < TR_PROXIES_BATCH ? n : TR_PROXIES_BATCH;
}

/* The first `count` of a random order of n rows. */
static tr_status draw(uint64_t seed, uint64_t index, size_t n, size_t count, uint64_t *order, uint32_t *out) {
  tr_rng rng = tr_rng_make(seed, TR_RNG_PROXIES, index);
  TR_TRY(tr_rng_sample(&rng, n, count, order));
  for (size_t i = 0; i < count; ++i)
    out[i] = (uint32_t)order[i];
  return TR_OK;
}

/* Index 0 of the stream is where proxies begin, 1 and on are the passes over the rows. */
static tr_status draw_all(uint64_t seed, size_t n, size_t count, uint32_t *begin, uint32_t *batches) {
  uint64_t *order = malloc(n * sizeof *order);
  if (!order)
    return tr_fail(TR_ENOMEM, "a random order of %zu rows: out of memory", n);
  tr_status status = draw(seed, 0, n, count, order, begin);
  size_t wanted = TR_PROXIES_STEPS * batch_of(n);
  for (size_t done = 0, pass = 1; status == TR_OK && done < wanted; ++pass) {
    size_t some = wanted - done < n ? wanted - done : n;
    status = draw(seed, pass, n, some, order, batches + done);
    done += some;
  }
  free(order);
  return status;
}

static tr_status learn(tr_device *device, const tr_proxies_args *args) {
  tr_proxies_args with_scratch = *args;
  TR_TRY(tr_device_alloc(device, tr_proxies_scratch(device, args->count, args->d, args->batch), &with_scratch.scratch));
  tr_status status = tr_proxies(device, &with_scratch);
  tr_device_free(device, with_scratch.scratch);
  return status;
}

tr_status tr_learn_proxies(tr_device *device, const float *rows, bool rows_in_host, size_t n, int d, size_t count, uint64_t seed,
                           tr_progress *progress, float **out) {
  *out = NULL;
  size_t row_bytes = (size_t)d * sizeof(float), batch = batch_of(n);
  uint32_t *begin = malloc(count * sizeof *begin), *batches = malloc(TR_PROXIES_STEPS * batch * sizeof *batches);
  float *proxies = NULL;
  tr_status status =
      begin && batches ? draw_all(seed, n, count, begin, batches) : tr_fail(TR_ENOMEM, "%zu proxies: out of memory", count);
  if (status == TR_OK)
    status = tr_device_alloc(device, count * row_bytes, (void **)&proxies);
  if (status == TR_OK && !rows_in_host)
    status = tr_device_gather(device, proxies, rows, begin, count, row_bytes);
  for (size_t i = 0; status == TR_OK && rows_in_host && i < count; ++i)
    status = tr_device_upload(device, proxies + i * (size_t)d, rows + begin[i] * (size_t)d, row_bytes);
  if (status == TR_OK)
    status = learn(device, &(tr_proxies_args){.n = n,
                                              .d = d,
                                              .rows = rows,
                                              .rows_in_host = rows_in_host,
                                              .count = count,
                                              .proxies = proxies,
                                              .steps = TR_PROXIES_STEPS,
                                              .batch = batch,
                                              .batches = batches,
                                              .rate = TR_PROXIES_RATE,
                                              .progress = progress});
  free(begin);
  free(batches);
  if (status != TR_OK) {
    tr_device_free(device, proxies);
    return status;
  }
  *out = proxies;
  return TR_OK;
}

size_t tr_learn_proxies_bytes(const tr_device *device, size_t n, int d, size_t count) {
  return count * (size_t)d * sizeof(float) + tr_proxies_scratch(device, count, d, batch_of(n));
}

double tr_learn_proxies_macs(size_t n, int d, size_t count) {
  return 5.0 * TR_PROXIES_STEPS * (double)batch_of(n) * (double)count * d;
}
