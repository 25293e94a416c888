/* Files of FAISS's IVF-Flat and IVF-PQ indexes, read without FAISS: a detector that carries such an index is scored by any build, as the `ivf`
 * operator searches it. Other indexes need FAISS itself. */
#ifndef TR_SEARCH_FAISS_FILE_H
#define TR_SEARCH_FAISS_FILE_H

#include "host/search/ivf.h"

/* Lists as they lie in the file's memory, which must stay. */
typedef struct tr_faiss_file {
  tr_lists_source source;
  size_t *sizes;
  const void **rows, **ids;
} tr_faiss_file;

/* EFORMAT: cut short, not trained, without rows, or contradicting itself; EDEVICE: an index that FAISS is needed for, or no index.
 * `name` stands for the file in errors, and must stay. */
tr_status tr_faiss_file_open(const char *name, const void *data, size_t bytes, tr_faiss_file *out);
void tr_faiss_file_close(tr_faiss_file *file);

#endif
