/* The exact bank: the rows, their norms and the device's sketch of them. Rows in host memory: tiles.c. */
#include "host/base/status.h"
#include "host/search/bank.h"

#include <stdlib.h>

size_t tr_bank_bytes(const tr_device *device, size_t row_count, int d) {
  return row_count * ((size_t)d + 1) * sizeof(float) + tr_nearest_sketch_bytes(device, row_count, d);
}

size_t tr_bank_scratch_bytes(const tr_device *device, size_t row_count, int d) {
  return tr_nearest_sketch_scratch(device, row_count, d);
}

static tr_status make_sketch(tr_bank *bank) {
  void *scratch;
  TR_TRY(tr_device_alloc(bank->device, tr_nearest_sketch_bytes(bank->device, bank->row_count, bank->d), &bank->sketch));
  TR_TRY(tr_device_alloc(bank->device, tr_bank_scratch_bytes(bank->device, bank->row_count, bank->d), &scratch));
  tr_status status = tr_nearest_sketch(bank->device, bank->rows, bank->row_count, bank->d, bank->sketch, scratch);
  tr_device_free(bank->device, scratch);
  return status;
}

static tr_status prepare(tr_bank *bank) {
  if (bank->row_count == 0 || bank->d < 1)
    return tr_fail(TR_EINVAL, "memory bank: expected at least one row of one dimension, found %zu of %d", bank->row_count,
                   bank->d);
  TR_TRY(tr_device_alloc(bank->device, bank->row_count * sizeof(float), (void **)&bank->norms));
  TR_TRY(tr_squared_norms(bank->device, bank->rows, bank->row_count, bank->d, bank->norms));
  return make_sketch(bank);
}

tr_status tr_bank_create(tr_device *device, float *rows, size_t row_count, int d, tr_bank **out) {
  *out = NULL;
  tr_bank *bank = calloc(1, sizeof *bank);
  if (!bank) {
    tr_device_free(device, rows);
    return tr_fail(TR_ENOMEM, "memory bank of %zu rows: out of memory", row_count);
  }
  *bank = (tr_bank){.device = device, .rows = rows, .row_count = row_count, .d = d};
  tr_status status = prepare(bank);
  if (status != TR_OK) {
    tr_bank_destroy(bank);
    return status;
  }
  *out = bank;
  return TR_OK;
}

void tr_bank_destroy(tr_bank *bank) {
  if (!bank)
    return;
  if (bank->tile_rows)
    tr_tiles_release(bank);
  else
    tr_device_free(bank->device, bank->rows);
  tr_device_free(bank->device, bank->norms);
  tr_device_free(bank->device, bank->sketch);
  free(bank);
}

size_t tr_bank_rows(const tr_bank *bank) {
  return bank->row_count;
}

int tr_bank_dimension(const tr_bank *bank) {
  return bank->d;
}

const float *tr_bank_data(const tr_bank *bank) {
  return bank->rows;
}

const float *tr_bank_norms(const tr_bank *bank) {
  return bank->norms;
}

bool tr_bank_is_in_host(const tr_bank *bank) {
  return bank->tile_rows > 0;
}

size_t tr_bank_search_scratch(const tr_bank *bank, size_t queries, size_t group, size_t use_rows, int k) {
  if (bank->tile_rows)
    return tr_bank_in_host_search_scratch(bank->device, bank->d, bank->tile_rows, queries, group, use_rows, k);
  return tr_nearest_scratch(bank->device, queries, group, use_rows, bank->d, k);
}

static tr_nearest_args search_args(const tr_bank *bank, const float *queries, size_t count, size_t group, int k, float *distances,
                                   uint32_t *indices, void *scratch) {
  return (tr_nearest_args){.queries_count = count,
                           .group = group,
                           .queries = queries,
                           .bank_rows = bank->row_count,
                           .bank = bank->rows,
                           .bank_norms = bank->norms,
                           .sketch = bank->sketch,
                           .d = bank->d,
                           .k = k,
                           .distances = distances,
                           .indices = indices,
                           .scratch = scratch};
}

tr_status tr_bank_search(const tr_bank *bank, size_t use_rows, const float *queries, size_t count, size_t group, int k,
                         float *distances, uint32_t *indices, void *scratch) {
  if (use_rows > bank->row_count)
    return tr_fail(TR_EINVAL, "memory bank: asked to search %zu rows of %zu", use_rows, bank->row_count);
  tr_nearest_args args = search_args(bank, queries, count, group, k, distances, indices, scratch);
  args.bank_rows = use_rows;
  if (bank->tile_rows)
    return tr_tiles_search(bank, &(tr_nearest_range){0, use_rows}, 1, &args);
  return tr_nearest(bank->device, &args);
}

/* Blocks or prefixes in host memory, as ranges of rows. */
static tr_status search_ranges(const tr_bank *bank, const tr_nearest_args *args) {
  TR_TRY(tr_nearest_check(args));
  size_t count = tr_nearest_range_count(args);
  tr_nearest_range *ranges = calloc(count, sizeof *ranges);
  if (!ranges)
    return tr_fail(TR_ENOMEM, "searching %zu ranges of rows: out of memory", count);
  for (size_t i = 0; i < count; ++i)
    ranges[i] = tr_nearest_range_at(args, i);
  tr_status status = tr_tiles_search(bank, ranges, count, args);
  free(ranges);
  return status;
}

tr_status tr_bank_search_blocks(const tr_bank *bank, const uint32_t *blocks, size_t block_count, size_t block_rows,
                                const float *queries, size_t count, size_t group, int k, float *distances, uint32_t *indices,
                                void *scratch) {
  tr_nearest_args args = search_args(bank, queries, count, group, k, distances, indices, scratch);
  args.blocks = blocks;
  args.block_count = block_count;
  args.block_rows = block_rows;
  return bank->tile_rows ? search_ranges(bank, &args) : tr_nearest(bank->device, &args);
}

tr_status tr_bank_search_prefixes(const tr_bank *bank, const size_t *prefixes, size_t prefix_count, const float *queries,
                                  size_t count, size_t group, int k, float *distances, uint32_t *indices, void *scratch) {
  if (prefix_count == 0 || prefixes[prefix_count - 1] > bank->row_count)
    return tr_fail(TR_EINVAL, "memory bank: asked to search %zu prefixes of %zu rows", prefix_count, bank->row_count);
  tr_nearest_args args = search_args(bank, queries, count, group, k, distances, indices, scratch);
  args.bank_rows = prefixes[prefix_count - 1];
  args.prefixes = prefixes;
  args.prefix_count = prefix_count;
  return bank->tile_rows ? search_ranges(bank, &args) : tr_nearest(bank->device, &args);
}

size_t tr_bank_reweight_scratch(const tr_bank *bank, int n, int patches, size_t use_rows, int b) {
  if (bank->tile_rows)
    return tr_bank_in_host_reweight_scratch(bank->device, bank->d, bank->tile_rows, n, patches, use_rows, b);
  return tr_reweight_scratch(bank->device, n, patches, use_rows, bank->d, b);
}

tr_status tr_bank_reweight(const tr_bank *bank, const tr_reweight_args *args) {
  if (args->bank_rows > bank->row_count)
    return tr_fail(TR_EINVAL, "memory bank: asked for %zu rows of %zu", args->bank_rows, bank->row_count);
  if (bank->tile_rows)
    return tr_tiles_reweight(bank, args);
  tr_reweight_args whole = *args;
  whole.bank = bank->rows;
  whole.bank_norms = bank->norms;
  whole.d = bank->d;
  return tr_reweight(bank->device, &whole);
}
