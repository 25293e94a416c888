/* A memory bank that can be searched: rows on the device, and how to search them. `exact` is the `nearest` operator; FAISS
 * indexes stand beside it. */
#ifndef TR_SEARCH_H
#define TR_SEARCH_H

#include "kernels/nearest.h"

typedef struct tr_bank tr_bank;

/* Takes rows [rows, d] on the device over (freed with the bank, and when the bank cannot be made). */
tr_status tr_bank_create(tr_device *device, float *rows, size_t row_count, int d, tr_bank **out);
/* Device bytes of a bank, its rows included; and what making it needs besides for a moment. */
size_t tr_bank_bytes(const tr_device *device, size_t row_count, int d);
size_t tr_bank_scratch_bytes(const tr_device *device, size_t row_count, int d);
void tr_bank_destroy(tr_bank *bank);
size_t tr_bank_rows(const tr_bank *bank);
int tr_bank_dimension(const tr_bank *bank);
const float *tr_bank_data(const tr_bank *bank);
const float *tr_bank_norms(const tr_bank *bank);

/* As the nearest operator; searches the first `use_rows` rows only (a smaller coreset is a prefix). */
size_t tr_bank_search_scratch(const tr_bank *bank, size_t queries, size_t group, size_t use_rows, int k);
tr_status tr_bank_search(const tr_bank *bank, size_t use_rows, const float *queries, size_t count, size_t group, int k,
                         float *distances, uint32_t *indices, void *scratch);

/* As tr_bank_search, in the blocks of `block_rows` rows that `blocks` (host) names, in this order. */
tr_status tr_bank_search_blocks(const tr_bank *bank, const uint32_t *blocks, size_t block_count, size_t block_rows,
                                const float *queries, size_t count, size_t group, int k, float *distances, uint32_t *indices,
                                void *scratch);

#endif
