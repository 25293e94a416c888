/* The lists of an index of FAISS, on a device. */
#include "host/search/ivf.h"

#ifdef TR_HAVE_FAISS

#include "host/base/status.h"
#include "host/search/bank.h"

#include <math.h>
#include <stdlib.h>

struct tr_lists {
  tr_device *device;
  tr_bank *centroids;
  tr_ivf_lists arrays;
  void *begins, *ids, *table, *data, *codebooks; /* on the device; data and codebooks NULL where FAISS's own serve */
  int nprobe;
};

/* What is read from FAISS. */
typedef struct source {
  const char *name;
  tr_faiss_lists faiss;
  tr_ivf_shape shape;
  size_t row_bytes;
} source;

static size_t row_bytes_of(const tr_ivf_shape *shape) {
  return shape->codes ? (size_t)shape->codes : (size_t)shape->d * sizeof(float);
}

static tr_status check_finite(const source *from, const char *what, size_t number, const float *values, size_t count) {
  for (size_t i = 0; i < count; ++i)
    if (!isfinite(values[i]))
      return tr_fail(TR_EFORMAT, "%s: %s %zu: expected finite values, found %g", from->name, what, number, (double)values[i]);
  return TR_OK;
}

static tr_status on_device(tr_device *device, const void *host, size_t bytes, void **out) {
  TR_TRY(tr_device_alloc(device, bytes, out));
  return tr_device_upload(device, *out, host, bytes);
}

/* ---- what FAISS has ---- */

static tr_status read_centroids(tr_lists *lists, const source *from) {
  size_t count = from->shape.list_count, d = (size_t)from->shape.d, bytes = count * d * sizeof(float);
  float *host = malloc(bytes), *rows = NULL;
  tr_status status = host ? TR_OK : tr_fail(TR_ENOMEM, "%s: %zu centroids: out of memory", from->name, count);
  if (status == TR_OK && faiss_Index_reconstruct_n(from->faiss.centroids, 0, (faiss_idx_t)count, host) != 0)
    status = tr_fail(TR_EFORMAT, "%s: its centroids cannot be read", from->name);
  for (size_t i = 0; status == TR_OK && i < count; ++i)
    status = check_finite(from, "centroid", i, host + i * d, d);
  if (status == TR_OK)
    status = on_device(lists->device, host, bytes, (void **)&rows);
  if (status == TR_OK)
    status = tr_bank_create(lists->device, rows, count, from->shape.d, &lists->centroids);
  else
    tr_device_free(lists->device, rows);
  free(host);
  return status;
}

static tr_status read_codebooks(tr_lists *lists, const source *from) {
  size_t count = (size_t)TR_IVF_CODEWORDS * (size_t)from->shape.d, part = count / (size_t)from->shape.codes;
  for (size_t j = 0; j < (size_t)from->shape.codes; ++j)
    TR_TRY(check_finite(from, "codebook", j, from->faiss.codebooks + j * part, part));
  lists->arrays.codebooks = from->faiss.codebooks;
  if (tr_device_shares_memory(lists->device))
    return TR_OK;
  TR_TRY(on_device(lists->device, from->faiss.codebooks, count * sizeof(float), &lists->codebooks));
  lists->arrays.codebooks = lists->codebooks;
  return TR_OK;
}

/* A list's ids are read into `wide`. */
static tr_status read_ids_of(const source *from, size_t list, size_t size, faiss_idx_t *wide, uint32_t *ids) {
  faiss_IndexIVF_invlists_get_ids(from->faiss.index, list, wide);
  for (size_t i = 0; i < size; ++i) {
    if (wide[i] < 0 || wide[i] >= UINT32_MAX)
      return tr_fail(TR_EFORMAT, "%s: expected ids of 0 to 2^32 - 2, found %lld", from->name, (long long)wide[i]);
    ids[i] = (uint32_t)wide[i];
  }
  return TR_OK;
}

static tr_status read_ids(tr_lists *lists, const source *from) {
  size_t count = from->shape.list_count, rows = from->shape.rows, at = 0;
  uint32_t *begins = malloc((count + 1) * sizeof *begins), *ids = malloc(rows * sizeof *ids);
  faiss_idx_t *wide = malloc(rows * sizeof *wide);
  tr_status status =
      begins && ids && wide ? TR_OK : tr_fail(TR_ENOMEM, "%s: the ids of %zu rows: out of memory", from->name, rows);
  for (size_t list = 0; status == TR_OK && list < count; ++list) {
    size_t size = faiss_IndexIVF_get_list_size(from->faiss.index, list);
    begins[list] = (uint32_t)at;
    if (size > rows - at)
      status = tr_fail(TR_EFORMAT, "%s: expected %zu rows in its lists, found more", from->name, rows);
    else
      status = read_ids_of(from, list, size, wide, ids + at);
    at += size;
  }
  if (status == TR_OK && at != rows)
    status = tr_fail(TR_EFORMAT, "%s: expected %zu rows in its lists, found %zu", from->name, rows, at);
  if (status == TR_OK) {
    begins[count] = (uint32_t)rows;
    status = on_device(lists->device, begins, (count + 1) * sizeof *begins, &lists->begins);
  }
  if (status == TR_OK)
    status = on_device(lists->device, ids, rows * sizeof *ids, &lists->ids);
  free(begins);
  free(ids);
  free(wide);
  return status;
}

static tr_status read_rows_of(tr_lists *lists, const source *from, size_t list, size_t first, const void **out) {
  size_t size = faiss_IndexIVF_get_list_size(from->faiss.index, list);
  const void *host = tr_faiss_list_data(&from->faiss, list);
  for (size_t i = 0; from->shape.codes == 0 && i < size; ++i)
    TR_TRY(check_finite(from, "row", i, (const float *)host + i * (size_t)from->shape.d, (size_t)from->shape.d));
  if (tr_device_shares_memory(lists->device)) {
    *out = host;
    return TR_OK;
  }
  char *to = (char *)lists->data + first * from->row_bytes;
  *out = to;
  return size ? tr_device_upload(lists->device, to, host, size * from->row_bytes) : TR_OK;
}

static tr_status read_rows(tr_lists *lists, const source *from) {
  size_t count = from->shape.list_count, first = 0;
  if (!tr_device_shares_memory(lists->device))
    TR_TRY(tr_device_alloc(lists->device, from->shape.rows * from->row_bytes, &lists->data));
  const void **table = malloc(count * sizeof *table);
  tr_status status = table ? TR_OK : tr_fail(TR_ENOMEM, "%s: %zu lists: out of memory", from->name, count);
  for (size_t list = 0; status == TR_OK && list < count; ++list) {
    status = read_rows_of(lists, from, list, first, &table[list]);
    first += faiss_IndexIVF_get_list_size(from->faiss.index, list);
  }
  if (status == TR_OK)
    status = on_device(lists->device, table, count * sizeof *table, &lists->table);
  free(table);
  return status;
}

/* ---- lists ---- */

static tr_status read_all(tr_lists *lists, const source *from) {
  TR_TRY(read_centroids(lists, from));
  if (from->shape.codes)
    TR_TRY(read_codebooks(lists, from));
  TR_TRY(read_ids(lists, from));
  TR_TRY(read_rows(lists, from));
  tr_ivf_lists *a = &lists->arrays;
  a->shape = from->shape;
  a->centroids = tr_bank_data(lists->centroids);
  a->centroid_norms = tr_bank_norms(lists->centroids);
  a->sketch = lists->centroids->sketch;
  a->begins = lists->begins;
  a->ids = lists->ids;
  a->data = lists->table;
  return TR_OK;
}

tr_status tr_lists_create(tr_device *device, const char *name, FaissIndex *faiss, tr_lists **out) {
  *out = NULL;
  source from = {.name = name};
  if (!tr_faiss_lists_of(faiss, &from.faiss))
    return TR_OK;
  from.shape = (tr_ivf_shape){.d = faiss_Index_d(faiss),
                              .codes = from.faiss.codes,
                              .list_count = faiss_IndexIVF_nlist(from.faiss.index),
                              .rows = (size_t)faiss_Index_ntotal(faiss)};
  from.row_bytes = row_bytes_of(&from.shape);
  tr_lists *lists = calloc(1, sizeof *lists);
  if (!lists)
    return tr_fail(TR_ENOMEM, "%s: out of memory", name);
  *lists = (tr_lists){.device = device, .nprobe = (int)faiss_IndexIVF_nprobe(from.faiss.index)};
  tr_status status = read_all(lists, &from);
  if (status != TR_OK) {
    tr_lists_destroy(lists);
    return status;
  }
  *out = lists;
  return TR_OK;
}

void tr_lists_destroy(tr_lists *lists) {
  if (!lists)
    return;
  tr_bank_destroy(lists->centroids);
  tr_device_free(lists->device, lists->begins);
  tr_device_free(lists->device, lists->ids);
  tr_device_free(lists->device, lists->table);
  tr_device_free(lists->device, lists->data);
  tr_device_free(lists->device, lists->codebooks);
  free(lists);
}

const tr_ivf_lists *tr_lists_arrays(const tr_lists *lists) {
  return &lists->arrays;
}

int tr_lists_nprobe(const tr_lists *lists) {
  return lists->nprobe;
}

#endif
