/* Indexes in a build without FAISS: files of IVF-Flat and IVF-PQ are read and searched by the `ivf` operator, which is what a detector that
 * carries one needs. For all else a call says what is missing. */
#include "host/base/status.h"
#include "host/search/faiss_file.h"

#ifndef TR_HAVE_FAISS

#include <stdlib.h>

struct tr_index {
  tr_lists *lists;
  size_t bytes;
};

static tr_status missing(void) {
  return tr_fail(TR_EDEVICE, "this build has no FAISS: install libfaiss-dev and OpenBLAS, and build again with TR_FAISS");
}

const char *tr_index_library(void) {
  return NULL;
}
const char *tr_index_gpu_library(void) {
  return NULL;
}

tr_status tr_index_from_memory(tr_device *device, const char *name, const void *data, size_t bytes, tr_index **out) {
  *out = NULL;
  tr_faiss_file file;
  TR_TRY(tr_faiss_file_open(name, data, bytes, &file));
  tr_index *index = calloc(1, sizeof *index);
  tr_status status = index ? tr_lists_create(device, &file.source, &index->lists)
                           : tr_fail(TR_ENOMEM, "reading the index %s: out of memory", name);
  tr_faiss_file_close(&file);
  if (status != TR_OK) {
    free(index);
    return status;
  }
  index->bytes = bytes;
  *out = index;
  return TR_OK;
}

void tr_index_destroy(tr_index *index) {
  if (!index)
    return;
  tr_lists_destroy(index->lists);
  free(index);
}

size_t tr_index_rows(const tr_index *index) {
  return tr_lists_shape(index->lists)->rows;
}
int tr_index_dimension(const tr_index *index) {
  return tr_lists_shape(index->lists)->d;
}
size_t tr_index_bytes(const tr_index *index) {
  return index->bytes;
}
double tr_index_build_seconds(const tr_index *index) {
  (void)index;
  return 0;
}
const char *tr_index_searched_by(const tr_index *index) {
  (void)index;
  return TR_SEARCH_BY_OPERATOR;
}

size_t tr_index_search_scratch(const tr_index *index, size_t group, int k) {
  (void)index;
  (void)group;
  (void)k;
  return 0;
}
size_t tr_index_device_scratch(const tr_index *index, tr_effort effort, size_t queries, size_t group, int k) {
  return tr_lists_scratch(index->lists, effort, queries, group, k);
}
tr_status tr_index_search(tr_index *index, tr_effort effort, const float *queries, size_t count, size_t group, int k,
                          float *distances, uint32_t *indices, void *scratch, void *device_scratch, double *waited) {
  (void)scratch;
  *waited = 0;
  return tr_lists_search(index->lists, effort, queries, count, group, k, distances, indices, device_scratch);
}

/* ---- what FAISS alone does ---- */

tr_status tr_index_check(const char *factory, size_t rows, int d) {
  (void)factory;
  (void)rows;
  (void)d;
  return missing();
}
tr_status tr_index_build(tr_device *device, const float *rows, size_t row_count, int d, const char *factory,
                         tr_progress *progress, tr_index **out) {
  (void)device;
  (void)rows;
  (void)row_count;
  (void)d;
  (void)factory;
  (void)progress;
  *out = NULL;
  return missing();
}
tr_status tr_index_to_memory(const tr_index *index, void **data, size_t *bytes) {
  (void)index;
  *data = NULL;
  *bytes = 0;
  return missing();
}
tr_status tr_index_row_data(tr_index *index, size_t first, size_t count, float *rows) {
  (void)index;
  (void)first;
  (void)count;
  (void)rows;
  return missing();
}
tr_status tr_index_search_alone(tr_index *index, tr_effort effort, const float *queries, size_t count, int k, int threads,
                                float *distances, int64_t *labels) {
  (void)index;
  (void)effort;
  (void)queries;
  (void)count;
  (void)k;
  (void)threads;
  (void)distances;
  (void)labels;
  return missing();
}

#endif
