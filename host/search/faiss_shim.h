/* What FAISS's C API leaves out and host/search/faiss.c needs. */
#ifndef TR_SEARCH_FAISS_SHIM_H
#define TR_SEARCH_FAISS_SHIM_H

#include <faiss/c_api/IndexIVF_c.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* From the one call to the other, training the index prints no warnings about few rows to stderr. NULL (out of memory): it does. */
typedef struct tr_faiss_quiet tr_faiss_quiet;
tr_faiss_quiet *tr_faiss_quiet_begin(FaissIndex *index);
void tr_faiss_quiet_end(tr_faiss_quiet *quiet);

/* Rows that training needs at least (as many as the centroids of any of its clusterings), and that FAISS recommends; both 0 for an
 * index that clusters nothing. */
void tr_faiss_training_rows(FaissIndex *index, size_t *least, size_t *recommended);

/* An index whose lists the `ivf` operator (kernels/ivf.h) searches: IVF-Flat, or IVF-PQ with codes of 8 bits for differences from centroids,
 * over exact centroids, in memory, squared L2. Pointers are the index's own. */
typedef struct tr_faiss_lists {
  FaissIndexIVF *index;
  const FaissIndex *centroids;
  int codes;              /* bytes of a row; 0: d floats */
  const float *codebooks; /* [codes][256][d / codes]; NULL for floats */
} tr_faiss_lists;
bool tr_faiss_lists_of(FaissIndex *index, tr_faiss_lists *out); /* false: another kind of index */
const void *tr_faiss_list_rows(const tr_faiss_lists *lists, size_t list);
const void *tr_faiss_list_ids(const tr_faiss_lists *lists, size_t list);

/* "1.7.3" */
const char *tr_faiss_version(void);

#ifdef __cplusplus
}
#endif

#endif
