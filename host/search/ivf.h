/* The lists of an index of FAISS, on a device, where the `ivf` operator searches them. On a device that shares the host's memory rows stay where
 * FAISS has them. */
#ifndef TR_SEARCH_IVF_H
#define TR_SEARCH_IVF_H

#include "host/search/search.h"
#include "kernels/ivf.h"

typedef struct tr_lists tr_lists;

/* What a factory string gives, before it is made; false: an index that the operator does not search. */
bool tr_lists_planned(const char *factory, size_t rows, int d, tr_ivf_shape *out);
/* Device bytes. */
size_t tr_lists_bytes(const tr_device *device, const tr_ivf_shape *shape);

#ifdef TR_HAVE_FAISS
#include "host/search/faiss_shim.h"

/* *out is NULL for an index that the operator does not search. The index must stay as it is while *out is used. EFORMAT: a value that is not
 * finite; `name` stands for the index in errors. */
tr_status tr_lists_create(tr_device *device, const char *name, FaissIndex *faiss, tr_lists **out);
void tr_lists_destroy(tr_lists *lists);
const tr_ivf_lists *tr_lists_arrays(const tr_lists *lists);
int tr_lists_nprobe(const tr_lists *lists); /* as the index has it */
#endif

#endif
