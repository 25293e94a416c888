/* The lists of an index of FAISS, on a device. */
#include "host/search/ivf.h"
#include "host/base/status.h"
#include "host/search/bank.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct tr_lists {
  tr_device *device;
  tr_bank *centroids;
  tr_ivf_lists arrays;
  void *begins, *ids, *table, *data, *codebooks; /* on the device; data and codebooks NULL where the source's own serve */
  int nprobe;
};

static size_t row_bytes_of(const tr_ivf_shape *shape) {
  return shape->codes ? (size_t)shape->codes : (size_t)shape->d * sizeof(float);
}

/* Floats that may begin anywhere. */
static tr_status check_finite(const tr_lists_source *from, const char *what, size_t number, const void *floats, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    float value;
    memcpy(&value, (const char *)floats + i * sizeof value, sizeof value);
    if (!isfinite(value))
      return tr_fail(TR_EFORMAT, "%s: %s %zu: expected finite values, found %g", from->name, what, number, (double)value);
  }
  return TR_OK;
}

static tr_status on_device(tr_device *device, const void *host, size_t bytes, void **out) {
  TR_TRY(tr_device_alloc(device, bytes, out));
  return tr_device_upload(device, *out, host, bytes);
}

static bool stay(const tr_lists *lists, const tr_lists_source *from) {
  return from->stays && tr_device_shares_memory(lists->device);
}

/* ---- parts ---- */

static tr_status take_centroids(tr_lists *lists, const tr_lists_source *from) {
  size_t count = from->shape.list_count, d = (size_t)from->shape.d;
  float *rows;
  for (size_t i = 0; i < count; ++i)
    TR_TRY(check_finite(from, "centroid", i, (const char *)from->centroids + i * d * sizeof(float), d));
  TR_TRY(tr_device_alloc(lists->device, count * d * sizeof(float), (void **)&rows));
  tr_status status = tr_device_upload(lists->device, rows, from->centroids, count * d * sizeof(float));
  if (status == TR_OK)
    return tr_bank_create(lists->device, rows, count, from->shape.d, &lists->centroids);
  tr_device_free(lists->device, rows);
  return status;
}

static tr_status take_codebooks(tr_lists *lists, const tr_lists_source *from) {
  size_t count = (size_t)TR_IVF_CODEWORDS * (size_t)from->shape.d, part = count / (size_t)from->shape.codes;
  for (size_t j = 0; j < (size_t)from->shape.codes; ++j)
    TR_TRY(check_finite(from, "codebook", j, (const char *)from->codebooks + j * part * sizeof(float), part));
  lists->arrays.codebooks = from->codebooks;
  if (stay(lists, from))
    return TR_OK;
  TR_TRY(on_device(lists->device, from->codebooks, count * sizeof(float), &lists->codebooks));
  lists->arrays.codebooks = lists->codebooks;
  return TR_OK;
}

/* Rows are numbered from 0 on, each once: an id says which row of the bank a row is. */
static tr_status take_ids_of(const tr_lists_source *from, size_t list, uint32_t *ids, uint8_t *seen) {
  for (size_t i = 0; i < from->sizes[list]; ++i) {
    int64_t id;
    memcpy(&id, (const char *)from->ids[list] + i * sizeof id, sizeof id);
    if (id < 0 || (uint64_t)id >= from->shape.rows || seen[id])
      return tr_fail(TR_EFORMAT, "%s: expected ids of 0 to %zu, each once, found %lld", from->name, from->shape.rows - 1,
                     (long long)id);
    seen[id] = 1;
    ids[i] = (uint32_t)id;
  }
  return TR_OK;
}

static tr_status take_ids(tr_lists *lists, const tr_lists_source *from) {
  size_t count = from->shape.list_count, rows = from->shape.rows, at = 0;
  uint32_t *begins = malloc((count + 1) * sizeof *begins), *ids = malloc(rows * sizeof *ids);
  uint8_t *seen = calloc(rows, 1);
  tr_status status =
      begins && ids && seen ? TR_OK : tr_fail(TR_ENOMEM, "%s: the ids of %zu rows: out of memory", from->name, rows);
  for (size_t list = 0; status == TR_OK && list < count; ++list) {
    begins[list] = (uint32_t)at;
    if (from->sizes[list] > rows - at)
      status = tr_fail(TR_EFORMAT, "%s: expected %zu rows in its lists, found more", from->name, rows);
    else
      status = take_ids_of(from, list, ids + at, seen);
    at += from->sizes[list];
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
  free(seen);
  return status;
}

static tr_status take_rows_of(tr_lists *lists, const tr_lists_source *from, size_t list, size_t first, const void **out) {
  size_t size = from->sizes[list], bytes = row_bytes_of(&from->shape);
  const char *host = from->rows[list];
  for (size_t i = 0; from->shape.codes == 0 && i < size; ++i)
    TR_TRY(check_finite(from, "row", i, host + i * bytes, (size_t)from->shape.d));
  if (stay(lists, from)) {
    *out = host;
    return TR_OK;
  }
  char *to = (char *)lists->data + first * bytes;
  *out = to;
  return size ? tr_device_upload(lists->device, to, host, size * bytes) : TR_OK;
}

static tr_status take_rows(tr_lists *lists, const tr_lists_source *from) {
  size_t count = from->shape.list_count, first = 0;
  if (!stay(lists, from))
    TR_TRY(tr_device_alloc(lists->device, from->shape.rows * row_bytes_of(&from->shape), &lists->data));
  const void **table = malloc(count * sizeof *table);
  tr_status status = table ? TR_OK : tr_fail(TR_ENOMEM, "%s: %zu lists: out of memory", from->name, count);
  for (size_t list = 0; status == TR_OK && list < count; ++list) {
    status = take_rows_of(lists, from, list, first, &table[list]);
    first += from->sizes[list];
  }
  if (status == TR_OK)
    status = on_device(lists->device, table, count * sizeof *table, &lists->table);
  free(table);
  return status;
}

/* ---- lists ---- */

static tr_status take_all(tr_lists *lists, const tr_lists_source *from) {
  TR_TRY(take_centroids(lists, from));
  if (from->shape.codes)
    TR_TRY(take_codebooks(lists, from));
  TR_TRY(take_ids(lists, from));
  TR_TRY(take_rows(lists, from));
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

tr_status tr_lists_create(tr_device *device, const tr_lists_source *from, tr_lists **out) {
  *out = NULL;
  tr_lists *lists = calloc(1, sizeof *lists);
  if (!lists)
    return tr_fail(TR_ENOMEM, "%s: out of memory", from->name);
  *lists = (tr_lists){.device = device, .nprobe = from->nprobe};
  tr_status status = take_all(lists, from);
  if (status == TR_OK)
    status = tr_device_sync(device); /* the source may go */
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

const tr_ivf_shape *tr_lists_shape(const tr_lists *lists) {
  return &lists->arrays.shape;
}

/* ---- search ---- */

static int nprobe_of(const tr_lists *lists, tr_effort effort) {
  return effort.nprobe ? effort.nprobe : lists->nprobe;
}

size_t tr_lists_scratch(const tr_lists *lists, tr_effort effort, size_t queries, size_t group, int k) {
  return tr_ivf_scratch(lists->device, &lists->arrays.shape, queries, group, nprobe_of(lists, effort), k);
}

tr_status tr_lists_search(const tr_lists *lists, tr_effort effort, const float *queries, size_t count, size_t group, int k,
                          float *distances, uint32_t *indices, void *scratch) {
  return tr_ivf(lists->device, &(tr_ivf_args){.lists = &lists->arrays,
                                              .queries_count = count,
                                              .group = group,
                                              .queries = queries,
                                              .nprobe = nprobe_of(lists, effort),
                                              .k = k,
                                              .distances = distances,
                                              .indices = indices,
                                              .scratch = scratch});
}
