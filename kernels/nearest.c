/* nearest: checks and dispatch. */
#include "kernels/nearest.h"

#include "host/base/status.h"
#include "kernels/cpu/sketch.h"
#include "kernels/operators.h"

static bool sizes_are_valid(size_t bank_rows, int d, int k) {
  return bank_rows >= 1 && bank_rows < UINT32_MAX && d >= 1 && k >= 1 && k <= TR_NEAREST_MAX_K;
}

size_t tr_nearest_scratch(const tr_device *device, size_t queries_count, size_t group, size_t bank_rows, int d, int k) {
  if (queries_count == 0 || group == 0 || !sizes_are_valid(bank_rows, d, k))
    return 0;
  return tr_device_operators(device)->nearest_scratch(device, queries_count, group, bank_rows, d, k);
}

/* The product of sketches is half of the time (kernels/cpu/nearest.c); making a query's takes two products with the subspace. */
double tr_nearest_sketched_macs(size_t bank_rows, int d) {
  if (!tr_sketch_is_worthwhile(bank_rows, (size_t)d))
    return (double)bank_rows * d;
  return 2.0 * (double)tr_sketch_width((size_t)d) * ((double)bank_rows + d);
}

static tr_status check_blocks(const tr_nearest_args *args) {
  if (args->block_rows < 1 || args->block_rows > args->bank_rows)
    return tr_fail(TR_EINVAL, "nearest: expected blocks of 1 to the bank's %zu rows, found %zu", args->bank_rows,
                   args->block_rows);
  size_t rows = 0, blocks = (args->bank_rows + args->block_rows - 1) / args->block_rows;
  for (size_t i = 0; i < args->block_count; ++i) {
    if (args->blocks[i] >= blocks)
      return tr_fail(TR_EINVAL, "nearest: there is no block %u: the bank has %zu of %zu rows", args->blocks[i], blocks,
                     args->block_rows);
    tr_nearest_range range = tr_nearest_range_at(args, i);
    rows += range.end - range.first;
  }
  if ((size_t)args->k > rows && !args->found_rows)
    return tr_fail(TR_EINVAL, "nearest: %d neighbours of %zu rows in %zu blocks", args->k, rows, args->block_count);
  return TR_OK;
}

static tr_status check_prefixes(const tr_nearest_args *args) {
  if (args->blocks || args->found_rows || args->first_row)
    return tr_fail(TR_EINVAL, "nearest: prefixes are of a whole bank without blocks");
  if (args->prefix_count == 0 || args->prefixes[0] < (size_t)args->k || args->prefixes[args->prefix_count - 1] != args->bank_rows)
    return tr_fail(TR_EINVAL, "nearest: expected prefixes of %d rows at least, the last of the bank's %zu", args->k,
                   args->bank_rows);
  for (size_t i = 1; i < args->prefix_count; ++i)
    if (args->prefixes[i] <= args->prefixes[i - 1])
      return tr_fail(TR_EINVAL, "nearest: prefixes: expected more than %zu rows, found %zu", args->prefixes[i - 1],
                     args->prefixes[i]);
  return TR_OK;
}

static tr_status check_part(const tr_nearest_args *args) {
  if (args->bank_rows + args->first_row >= UINT32_MAX)
    return tr_fail(TR_EINVAL, "nearest: expected rows below 2^32 - 1, found %zu from row %zu on", args->bank_rows,
                   args->first_row);
  if (!args->found_distances2 != !args->found_rows || (args->resumed && !args->found_rows))
    return tr_fail(TR_EINVAL, "nearest: found_%s is NULL", args->found_rows ? "distances2" : "rows");
  return TR_OK;
}

tr_status tr_nearest_check(const tr_nearest_args *args) {
  if (args->group == 0)
    return tr_fail(TR_EINVAL, "nearest: expected groups of at least one query, found 0");
  if (!sizes_are_valid(args->bank_rows, args->d, args->k) || ((size_t)args->k > args->bank_rows && !args->found_rows))
    return tr_fail(
        TR_EINVAL,
        "nearest: expected a bank of 1 to 2^32 - 2 rows, d >= 1, k of 1 to %d and at most the rows, found %zu rows, d %d, k %d",
        TR_NEAREST_MAX_K, args->bank_rows, args->d, args->k);
  const struct {
    const void *pointer;
    const char *name;
  } needed[] = {{args->queries, "queries"},     {args->bank, "bank"},       {args->bank_norms, "bank_norms"},
                {args->distances, "distances"}, {args->indices, "indices"}, {args->scratch, "scratch"}};
  for (size_t i = 0; i < sizeof needed / sizeof *needed; ++i)
    if (!needed[i].pointer)
      return tr_fail(TR_EINVAL, "nearest: %s is NULL", needed[i].name);
  TR_TRY(check_part(args));
  if (args->prefixes)
    TR_TRY(check_prefixes(args));
  return args->blocks ? check_blocks(args) : TR_OK;
}

tr_status tr_nearest(tr_device *device, const tr_nearest_args *args) {
  if (args->queries_count == 0)
    return TR_OK;
  TR_TRY(tr_nearest_check(args));
  return tr_device_operators(device)->nearest(device, args);
}

size_t tr_nearest_sketch_bytes(const tr_device *device, size_t bank_rows, int d) {
  const tr_operators *operators = tr_device_operators(device);
  return operators->nearest_sketch && d >= 1 ? operators->nearest_sketch_bytes(device, bank_rows, d) : 0;
}

size_t tr_nearest_sketch_scratch(const tr_device *device, size_t bank_rows, int d) {
  const tr_operators *operators = tr_device_operators(device);
  return operators->nearest_sketch && d >= 1 ? operators->nearest_sketch_scratch(device, bank_rows, d) : 0;
}

tr_status tr_nearest_sketch(tr_device *device, const float *bank, size_t bank_rows, int d, void *sketch, void *scratch) {
  if (tr_nearest_sketch_bytes(device, bank_rows, d) == 0)
    return TR_OK;
  if (!bank || !sketch || !scratch)
    return tr_fail(TR_EINVAL, "nearest: sketch of %zu rows: no %s given", bank_rows,
                   !bank     ? "bank"
                   : !sketch ? "memory"
                             : "scratch");
  return tr_device_operators(device)->nearest_sketch(device, bank, bank_rows, d, sketch, scratch);
}

tr_status tr_squared_norms(tr_device *device, const float *rows, size_t n, int d, float *norms) {
  if (d < 1)
    return tr_fail(TR_EINVAL, "squared norms: expected d of at least 1, found %d", d);
  if (n == 0)
    return TR_OK;
  if (!rows || !norms)
    return tr_fail(TR_EINVAL, "squared norms of %zu rows: no %s given", n, rows ? "norms" : "rows");
  return tr_device_operators(device)->squared_norms(device, rows, n, d, norms);
}
