/* Checks, scratch and dispatch of `reweight`. */
#include "kernels/reweight.h"

#include "host/base/status.h"
#include "kernels/operators.h"

/* Takes `bytes` from the scratch, at a 64-byte boundary; where there is none only the sizes are counted. */
static void *take(const tr_reweight_args *args, size_t *used, size_t bytes) {
  void *section = args->scratch ? (char *)args->scratch + *used : NULL;
  *used += (bytes + 63) / 64 * 64;
  return section;
}

tr_reweight_work tr_reweight_layout(const tr_device *device, const tr_reweight_args *args) {
  size_t n = (size_t)args->n, d = (size_t)args->d, b = (size_t)args->b, used = 0;
  tr_reweight_work work;
  work.patches = take(args, &used, n * sizeof *work.patches);
  work.matches = take(args, &used, n * d * sizeof *work.matches);
  work.neighbours = (tr_nearest_args){.queries_count = n,
                                      .group = 1,
                                      .queries = work.matches,
                                      .bank_rows = args->bank_rows,
                                      .bank = args->bank,
                                      .bank_norms = args->bank_norms,
                                      .d = args->d,
                                      .k = args->b};
  work.neighbours.distances = take(args, &used, n * b * sizeof(float));
  work.neighbours.indices = take(args, &used, n * b * sizeof(uint32_t));
  work.neighbours.scratch = take(args, &used, tr_nearest_scratch(device, n, 1, args->bank_rows, args->d, args->b));
  work.bytes = used;
  return work;
}

static tr_status check_sizes(const tr_reweight_args *args) {
  if (args->n < 0)
    return tr_fail(TR_EINVAL, "reweight: n: expected at least 0, found %d", args->n);
  if (args->patches < 1)
    return tr_fail(TR_EINVAL, "reweight: patches: expected at least 1, found %d", args->patches);
  if ((uint64_t)args->n * (uint64_t)args->patches > UINT32_MAX)
    return tr_fail(TR_EINVAL, "reweight: n * patches: expected below 2^32, found %d * %d", args->n, args->patches);
  if (args->d < 1)
    return tr_fail(TR_EINVAL, "reweight: d: expected at least 1, found %d", args->d);
  if (args->bank_rows < 1 || args->bank_rows > UINT32_MAX)
    return tr_fail(TR_EINVAL, "reweight: bank_rows: expected 1 to 2^32 - 1, found %zu", args->bank_rows);
  if (args->b < 2 || args->b > TR_NEAREST_MAX_K || (size_t)args->b > args->bank_rows)
    return tr_fail(TR_EINVAL, "reweight: b: expected 2 to %d and at most the %zu bank rows, found %d", TR_NEAREST_MAX_K,
                   args->bank_rows, args->b);
  return TR_OK;
}

size_t tr_reweight_scratch(const tr_device *device, int n, int patches, size_t bank_rows, int d, int b) {
  tr_reweight_args args = {.n = n, .patches = patches, .bank_rows = bank_rows, .d = d, .b = b};
  if (!device || n < 1 || check_sizes(&args) != TR_OK)
    return 0;
  return tr_reweight_layout(device, &args).bytes;
}

tr_status tr_reweight_check(const tr_reweight_args *args) {
  TR_TRY(check_sizes(args));
  if (args->n == 0)
    return TR_OK;
  const struct {
    const void *pointer;
    const char *name;
  } needed[] = {{args->features, "features"}, {args->distances, "distances"},   {args->indices, "indices"},
                {args->bank, "bank"},         {args->bank_norms, "bank_norms"}, {args->scores, "scores"},
                {args->scratch, "scratch"}};
  for (size_t i = 0; i < sizeof needed / sizeof *needed; ++i)
    if (!needed[i].pointer)
      return tr_fail(TR_EINVAL, "reweight: %s is NULL", needed[i].name);
  return TR_OK;
}

tr_status tr_reweight(tr_device *device, const tr_reweight_args *args) {
  if (!device || !args)
    return tr_fail(TR_EINVAL, "reweight: %s is NULL", device ? "args" : "device");
  TR_TRY(tr_reweight_check(args));
  return args->n == 0 ? TR_OK : tr_device_operators(device)->reweight(device, args);
}
