/* A memory bank that can be searched: rows on the device, or in host memory where the device has no room for them, and how to
 * search them. `exact` is the `nearest` operator; FAISS indexes stand beside it. */
#ifndef TR_SEARCH_H
#define TR_SEARCH_H

#include "kernels/nearest.h"
#include "kernels/reweight.h"

typedef struct tr_bank tr_bank;

/* Takes rows [rows, d] on the device over (freed with the bank, and when the bank cannot be made). */
tr_status tr_bank_create(tr_device *device, float *rows, size_t row_count, int d, tr_bank **out);
/* Device bytes of a bank, its rows included; and what making it needs besides for a moment. */
size_t tr_bank_bytes(const tr_device *device, size_t row_count, int d);
size_t tr_bank_scratch_bytes(const tr_device *device, size_t row_count, int d);
void tr_bank_destroy(tr_bank *bank);
size_t tr_bank_rows(const tr_bank *bank);
int tr_bank_dimension(const tr_bank *bank);
const float *tr_bank_data(const tr_bank *bank); /* on the device, unless the bank is in host memory */
const float *tr_bank_norms(const tr_bank *bank);

/* A bank whose rows stay in host memory: `rows` [row_count, d] from tr_device_alloc_pinned, taken over. A search brings them to the
 * device in tiles of tile_rows (at least TR_NEAREST_MAX_K), one on its way while another is searched, and gives the bits of a bank on the
 * device. One search at a time. The tiles lie in the search's scratch. */
tr_status tr_bank_create_in_host(tr_device *device, float *rows, size_t row_count, int d, size_t tile_rows, tr_bank **out);
bool tr_bank_is_in_host(const tr_bank *bank);
/* Rows of the largest tiles that are of use; device bytes of the bank, of making it for a moment, and of a search's scratch. */
size_t tr_bank_most_tile_rows(size_t row_count, int d);
size_t tr_bank_in_host_bytes(size_t row_count);
size_t tr_bank_in_host_scratch_bytes(int d, size_t tile_rows);
size_t tr_bank_in_host_search_scratch(const tr_device *device, int d, size_t tile_rows, size_t queries, size_t group,
                                      size_t use_rows, int k);

/* As the nearest operator; searches the first `use_rows` rows only (a smaller coreset is a prefix). */
size_t tr_bank_search_scratch(const tr_bank *bank, size_t queries, size_t group, size_t use_rows, int k);
tr_status tr_bank_search(const tr_bank *bank, size_t use_rows, const float *queries, size_t count, size_t group, int k,
                         float *distances, uint32_t *indices, void *scratch);

/* As tr_bank_search, in the blocks of `block_rows` rows that `blocks` (host) names, in this order. */
tr_status tr_bank_search_blocks(const tr_bank *bank, const uint32_t *blocks, size_t block_count, size_t block_rows,
                                const float *queries, size_t count, size_t group, int k, float *distances, uint32_t *indices,
                                void *scratch);

/* As the reweight operator, whose bank is the first args->bank_rows rows of this one; the caller leaves args->bank and bank_norms
 * NULL. */
size_t tr_bank_reweight_scratch(const tr_bank *bank, int n, int patches, size_t use_rows, int b);
tr_status tr_bank_reweight(const tr_bank *bank, const tr_reweight_args *args);

#endif
