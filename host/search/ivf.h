/* Lists of FAISS's indexes on a device, where the `ivf` operator searches them. They come from an index that FAISS has, or from the file of
 * one (faiss_file.h), which needs no FAISS. */
#ifndef TR_SEARCH_IVF_H
#define TR_SEARCH_IVF_H

#include "host/search/search.h"
#include "kernels/ivf.h"

typedef struct tr_lists tr_lists;

/* What a factory string gives, before it is made; false: an index that the operator does not search. */
bool tr_lists_planned(const char *factory, size_t rows, int d, tr_ivf_shape *out);
/* Device bytes. */
size_t tr_lists_bytes(const tr_device *device, const tr_ivf_shape *shape);

/* Host memory that lists are made of. */
typedef struct tr_lists_source {
  const char *name; /* stands for the index in errors */
  tr_ivf_shape shape;
  int nprobe;                           /* as the index has it */
  const void *centroids;                /* [list_count, d] floats */
  const void *codebooks;                /* [codes, 256, d / codes] floats; NULL: whole rows */
  const size_t *sizes;                  /* [list_count] */
  const void *const *rows, *const *ids; /* [list_count]: [size, d] floats or [size, codes] bytes; [size] int64 */
  /* Whether floats are aligned, and all of it outlives the lists: then rows and codebooks stay here on a device that shares the host's
   * memory. Else they are copied, and may begin anywhere. */
  bool stays;
} tr_lists_source;

/* EFORMAT: a value that is not finite, ids that are not those of the rows. */
tr_status tr_lists_create(tr_device *device, const tr_lists_source *from, tr_lists **out);
void tr_lists_destroy(tr_lists *lists);
const tr_ivf_shape *tr_lists_shape(const tr_lists *lists);

/* As tr_index_search of an index that the device searches, and its scratch. */
size_t tr_lists_scratch(const tr_lists *lists, tr_effort effort, size_t queries, size_t group, int k);
tr_status tr_lists_search(const tr_lists *lists, tr_effort effort, const float *queries, size_t count, size_t group, int k,
                          float *distances, uint32_t *indices, void *scratch);

#endif
