/* What FAISS's C API leaves out and host/search/faiss.c needs. */
#ifndef TR_SEARCH_FAISS_SHIM_H
#define TR_SEARCH_FAISS_SHIM_H

#include <faiss/c_api/Index_c.h>

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

/* "1.7.3" */
const char *tr_faiss_version(void);

#ifdef __cplusplus
}
#endif

#endif
