/* The exact bank: the rows, their norms and the device's sketch of them. */
#include "host/base/status.h"
#include "host/search/search.h"

#include <stdlib.h>

struct tr_bank {
  tr_device *device;
  float *rows, *norms;
  void *sketch; /* NULL: the device has none for such a bank */
  size_t row_count;
  int d;
};

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

size_t tr_bank_search_scratch(const tr_bank *bank, size_t queries, size_t group, size_t use_rows, int k) {
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
  return tr_nearest(bank->device, &args);
}

tr_status tr_bank_search_blocks(const tr_bank *bank, const uint32_t *blocks, size_t block_count, size_t block_rows,
                                const float *queries, size_t count, size_t group, int k, float *distances, uint32_t *indices,
                                void *scratch) {
  tr_nearest_args args = search_args(bank, queries, count, group, k, distances, indices, scratch);
  args.blocks = blocks;
  args.block_count = block_count;
  args.block_rows = block_rows;
  return tr_nearest(bank->device, &args);
}
