/* A memory bank that can be searched: rows on the device, or in host memory where the device has no room for them, and how to
 * search them. `exact` is the `nearest` operator (exact.c); FAISS indexes stand beside it (faiss.c, over FAISS's C API). */
#ifndef TR_SEARCH_H
#define TR_SEARCH_H

#include "host/base/progress.h"
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
size_t tr_bank_in_host_reweight_scratch(const tr_device *device, int d, size_t tile_rows, int n, int patches, size_t use_rows,
                                        int b);

/* As the nearest operator; searches the first `use_rows` rows only (a smaller coreset is a prefix). */
size_t tr_bank_search_scratch(const tr_bank *bank, size_t queries, size_t group, size_t use_rows, int k);
tr_status tr_bank_search(const tr_bank *bank, size_t use_rows, const float *queries, size_t count, size_t group, int k,
                         float *distances, uint32_t *indices, void *scratch);

/* As tr_bank_search of the first prefixes[i] rows for each i, ascending, in one pass over the last one's: distances and indices are
 * [prefix_count, count, k]. The scratch is that of the last. */
tr_status tr_bank_search_prefixes(const tr_bank *bank, const size_t *prefixes, size_t prefix_count, const float *queries,
                                  size_t count, size_t group, int k, float *distances, uint32_t *indices, void *scratch);

/* As tr_bank_search, in the blocks of `block_rows` rows that `blocks` (host) names, in this order. */
tr_status tr_bank_search_blocks(const tr_bank *bank, const uint32_t *blocks, size_t block_count, size_t block_rows,
                                const float *queries, size_t count, size_t group, int k, float *distances, uint32_t *indices,
                                void *scratch);

/* As the reweight operator, whose bank is the first args->bank_rows rows of this one; the caller leaves args->bank and bank_norms
 * NULL. */
size_t tr_bank_reweight_scratch(const tr_bank *bank, int n, int patches, size_t use_rows, int b);
tr_status tr_bank_reweight(const tr_bank *bank, const tr_reweight_args *args);

/* ---- indexes ---- */

/* How banks are searched, as experiments write it: "exact", or "faiss:" and a factory string of FAISS, such as "faiss:IVF512,PQ64np" (512
 * lists, rows kept as 64 bytes; what the authors' ApproximateFaissNN does). NULL stands for exact. */
#define TR_SEARCH_EXACT "exact"
#define TR_SEARCH_FAISS "faiss:"
const char *tr_search_factory(const char *search); /* the factory string; NULL: exact */
bool tr_search_has_lists(const char *search);      /* inverted lists, of which `nprobe` are looked at */
bool tr_search_has_graph(const char *search);      /* a graph, walked with `ef_search` candidates */

/* How much of an index a query looks at. 0: as the index has it: what its file says, or FAISS's 1 list and 16 candidates; where FAISS
 * searches, what was set last. */
typedef struct tr_effort {
  int nprobe, ef_search;
} tr_effort;

/* FAISS's version; NULL: this build has none. And of a FAISS with its GPU part, which on a GPU searches indexes that neither the device
 * does by itself nor FAISS has on the host alone. */
const char *tr_index_library(void);
const char *tr_index_gpu_library(void);

/* An index over rows, on the host; its lists on the device where that searches them itself, which IVF with whole rows or with codes of 8
 * bits is for (kernels/ivf.h). The same rows and factory string give the same bits whatever the number of threads: k-means starts
 * from FAISS's fixed seed, and one thread builds. */
typedef struct tr_index tr_index;

/* What can be said without building: EINVAL is FAISS's text about the factory string, or says how many rows are too few. EDEVICE: this
 * build has no FAISS. */
tr_status tr_index_check(const char *factory, size_t rows, int d);
/* Host bytes of an index, about, and besides while it is built. */
size_t tr_index_bytes_expected(const char *factory, size_t rows, int d);
size_t tr_index_build_bytes_expected(const char *factory, size_t rows, int d);
/* Device bytes of an index, and of the scratch of a search, about; 0 for an index that FAISS searches. */
size_t tr_index_device_bytes_expected(const tr_device *device, const char *factory, size_t rows, int d);
size_t tr_index_device_scratch_expected(const tr_device *device, const char *factory, tr_effort effort, size_t rows, int d,
                                        size_t queries, size_t group, int k);
/* Multiply-adds of building it, and of a query, about. */
double tr_index_build_macs(const char *factory, size_t rows, int d);
double tr_index_query_macs(const char *factory, tr_effort effort, size_t rows, int d);

/* Trains with and adds rows [rows, d] (host), or the first `rows` of a bank. Few rows for training are reported to `progress`. */
tr_status tr_index_build(tr_device *device, const float *rows, size_t row_count, int d, const char *factory,
                         tr_progress *progress, tr_index **out);
tr_status tr_bank_index(const tr_bank *bank, size_t rows, const char *factory, tr_progress *progress, tr_index **out);
void tr_index_destroy(tr_index *index);

/* FAISS's own format, which FAISS reads and writes elsewhere. EFORMAT: what FAISS does not read, is cut short, has no rows or is
 * not trained, or does not measure squared L2. `name` stands for the file in errors. */
tr_status tr_index_write(const tr_index *index, const char *path);
tr_status tr_index_read(tr_device *device, const char *path, tr_index **out);
tr_status tr_index_to_memory(const tr_index *index, void **data, size_t *bytes); /* malloc'd */
tr_status tr_index_from_memory(tr_device *device, const char *name, const void *data, size_t bytes, tr_index **out);

size_t tr_index_rows(const tr_index *index);
int tr_index_dimension(const tr_index *index);
size_t tr_index_bytes(const tr_index *index); /* of its file */
double tr_index_build_seconds(const tr_index *index);
/* Rows [first, first + count) as the index keeps them (host, [count, d]): exactly, or what is left of them. EINVAL: an index that
 * cannot give them. */
tr_status tr_index_row_data(tr_index *index, size_t first, size_t count, float *rows);

/* As tr_bank_search, into device memory. `scratch` is host memory, `device_scratch` the device's; an index needs one or the other. Any
 * number of lanes may search at once; those that ask FAISS for another effort wait for the others, *waited seconds, which are no part of
 * the search. Results do not depend on the batch: FAISS searches each group in the same blocks. A query for which the lists looked at hold
 * too few rows looks at more of them. */
size_t tr_index_search_scratch(const tr_index *index, size_t group, int k);
size_t tr_index_device_scratch(const tr_index *index, tr_effort effort, size_t queries, size_t group, int k);
tr_status tr_index_search(tr_index *index, tr_effort effort, const float *queries, size_t count, size_t group, int k,
                          float *distances, uint32_t *indices, void *scratch, void *device_scratch, double *waited);
/* Who searches, as result lines have it: the operator on the device, FAISS on the host, to which queries come from the device and results go back,
 * or FAISS on the GPU, likewise. */
#define TR_SEARCH_BY_OPERATOR  "ivf"
#define TR_SEARCH_BY_FAISS     "faiss"
#define TR_SEARCH_BY_FAISS_GPU "faiss-gpu"
const char *tr_index_searched_by(const tr_index *index);

/* For measurements: as FAISS searches by itself, all queries (host) in one call, its product on so many of OpenBLAS's threads
 * and the rest on one: as many OpenMP threads besides are slower than either (784 queries, 16,385 x 1,024, two cores: 195 ms; with two
 * of each 290, two of OpenMP alone 295, one of each 294). Not while anything else runs. */
tr_status tr_index_search_alone(tr_index *index, tr_effort effort, const float *queries, size_t count, int k, int threads,
                                float *distances, int64_t *labels);

#endif
