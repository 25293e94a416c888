/* Indexes by FAISS, over its C API (host/search/faiss_shim.cpp where only the C++ library is there).
 *
 * Threads. FAISS starts OpenMP threads of its own, and its products are OpenBLAS's, whose threads the pool has set to one. Here FAISS
 * gets one OpenMP thread: lanes, or blocks of queries, are what runs side by side. Building gains little from more (9,408 rows of 1,024
 * dimensions on two cores of an EPYC 9004: IVF512,PQ64np 9.4 s instead of 10.9) and loses much where the cores are busy, since
 * OpenMP's threads wait for each other actively; and a graph's links depend on the order of insertion.
 *
 * Blocks. A group of queries is searched in blocks of fixed size: FAISS computes distances of fewer than 20 queries another way, and
 * cuts queries by its number of threads, so that results would depend on both. */
#include "host/base/clock.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/search/ivf.h"
#include "kernels/sections.h"

#ifdef TR_HAVE_FAISS

#include "host/search/faiss_gpu.h"
#include "host/search/faiss_shim.h"

#include <cblas.h>
#include <errno.h>
#include <faiss/c_api/AutoTune_c.h>
#include <faiss/c_api/error_c.h>
#include <faiss/c_api/index_factory_c.h>
#include <faiss/c_api/index_io_c.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 196 /* queries a call: a quarter of 28 x 28 patches */ };

struct tr_index {
  tr_device *device;
  FaissIndex *faiss;
  FaissParameterSpace *space;
  tr_lists *lists;   /* NULL: FAISS searches */
  tr_faiss_gpu *gpu; /* NULL: on the host */
  size_t rows, bytes;
  int d;
  double build_seconds;
  /* Of FAISS's search the effort is the index's own state: those who search with the same one do so together. */
  pthread_mutex_t lock;
  pthread_cond_t idle;
  tr_effort effort;
  size_t searching;
};

const char *tr_index_library(void) {
  return tr_faiss_version();
}

const char *tr_index_gpu_library(void) {
#ifdef TR_HAVE_FAISS_GPU
  return tr_faiss_version();
#else
  return NULL;
#endif
}

/* FAISS's text, without the function and the line of its source and the condition in it that stand before. */
static const char *reason(void) {
  static const char function[] = "Error in ", condition[] = "Error: '";
  const char *text = faiss_get_last_error(), *end;
  if (strncmp(text, function, sizeof function - 1) == 0 && (end = strstr(text, " at ")) && (end = strstr(end, ": ")))
    text = end + strlen(": ");
  if (strncmp(text, condition, sizeof condition - 1) == 0 && (end = strstr(text, "' failed: ")))
    text = end + strlen("' failed: ");
  return text;
}

static tr_status failed(tr_status status, const char *what) {
  return tr_fail(status, "FAISS: %s: %s", what, reason());
}

/* ---- building ---- */

static tr_status make(const char *factory, size_t rows, int d, FaissIndex **out) {
  *out = NULL;
  char what[160];
  snprintf(what, sizeof what, "\"%s\" for %d dimensions", factory, d);
  if (strstr(factory, "IDMap") || strstr(factory, "LSH"))
    return tr_fail(TR_EINVAL, "FAISS: %s: %s", what,
                   strstr(factory, "LSH") ? "it measures Hamming distances, not squared L2"
                                          : "the rows of a bank have no other numbers than their places (IDMap)");
  if (faiss_index_factory(out, d, factory, METRIC_L2) != 0)
    return failed(TR_EINVAL, what);
  size_t least, recommended;
  tr_faiss_training_rows(*out, &least, &recommended);
  if (rows >= least)
    return TR_OK;
  faiss_Index_free(*out);
  *out = NULL;
  return tr_fail(TR_EINVAL, "FAISS: %s: expected at least %zu bank rows, one for each centroid, found %zu", what, least, rows);
}

tr_status tr_index_check(const char *factory, size_t rows, int d) {
  FaissIndex *faiss;
  TR_TRY(make(factory, rows, d, &faiss));
  faiss_Index_free(faiss);
  return TR_OK;
}

/* What the `ivf` operator searches, out of FAISS's index. */
typedef struct taken {
  float *centroids;
  size_t *sizes;
  const void **rows, **ids;
} taken;

static tr_status take_lists(tr_device *device, const char *name, FaissIndex *faiss, const tr_faiss_lists *from, taken *t,
                            tr_lists **out) {
  size_t count = faiss_IndexIVF_nlist(from->index), d = (size_t)faiss_Index_d(faiss);
  t->centroids = malloc(count * d * sizeof *t->centroids);
  t->sizes = malloc(count * sizeof *t->sizes);
  t->rows = malloc(count * sizeof *t->rows);
  t->ids = malloc(count * sizeof *t->ids);
  if (!t->centroids || !t->sizes || !t->rows || !t->ids)
    return tr_fail(TR_ENOMEM, "%s: %zu lists: out of memory", name, count);
  if (faiss_Index_reconstruct_n(from->centroids, 0, (faiss_idx_t)count, t->centroids) != 0)
    return tr_fail(TR_EFORMAT, "%s: its centroids cannot be read", name);
  for (size_t i = 0; i < count; ++i) {
    t->sizes[i] = faiss_IndexIVF_get_list_size(from->index, i);
    t->rows[i] = tr_faiss_list_rows(from, i);
    t->ids[i] = tr_faiss_list_ids(from, i);
  }
  return tr_lists_create(
      device,
      &(tr_lists_source){
          .name = name,
          .shape = {.d = (int)d, .codes = from->codes, .list_count = count, .rows = (size_t)faiss_Index_ntotal(faiss)},
          .nprobe = (int)faiss_IndexIVF_nprobe(from->index),
          .centroids = t->centroids,
          .codebooks = from->codebooks,
          .sizes = t->sizes,
          .rows = t->rows,
          .ids = t->ids,
          .stays = true},
      out);
}

/* *out is NULL for an index that the operator does not search. */
static tr_status make_lists(tr_device *device, const char *name, FaissIndex *faiss, tr_lists **out) {
  tr_faiss_lists from;
  taken t = {NULL, NULL, NULL, NULL};
  *out = NULL;
  if (!tr_faiss_lists_of(faiss, &from))
    return TR_OK;
  tr_status status = take_lists(device, name, faiss, &from, &t, out);
  free(t.centroids);
  free(t.sizes);
  free(t.rows);
  free(t.ids);
  return status;
}

static tr_status enclose(tr_device *device, const char *name, FaissIndex *faiss, tr_index **out) {
  *out = calloc(1, sizeof **out);
  if (!*out) {
    faiss_Index_free(faiss);
    return tr_fail(TR_ENOMEM, "FAISS index: out of memory");
  }
  **out = (tr_index){.device = device, .faiss = faiss, .d = faiss_Index_d(faiss), .rows = (size_t)faiss_Index_ntotal(faiss)};
  pthread_mutex_init(&(*out)->lock, NULL);
  pthread_cond_init(&(*out)->idle, NULL);
  tr_status status = faiss_ParameterSpace_new(&(*out)->space) == 0 ? TR_OK : failed(TR_ENOMEM, "parameters of an index");
  if (status == TR_OK)
    status = make_lists(device, name, faiss, &(*out)->lists);
  if (status == TR_OK) {
    (*out)->gpu = (*out)->lists ? NULL : tr_faiss_gpu_create(device, faiss);
    return TR_OK;
  }
  tr_index_destroy(*out);
  *out = NULL;
  return status;
}

void tr_index_destroy(tr_index *index) {
  if (!index)
    return;
  tr_lists_destroy(index->lists);
  tr_faiss_gpu_destroy(index->gpu);
  if (index->space)
    faiss_ParameterSpace_free(index->space);
  faiss_Index_free(index->faiss);
  pthread_cond_destroy(&index->idle);
  pthread_mutex_destroy(&index->lock);
  free(index);
}

static void warn_of_few_rows(FaissIndex *faiss, const char *factory, size_t rows, tr_progress *progress) {
  size_t least, recommended;
  tr_faiss_training_rows(faiss, &least, &recommended);
  if (rows < recommended)
    tr_progress_line(progress, "FAISS \"%s\" is trained with %zu bank rows; FAISS recommends at least %zu", factory, rows,
                     recommended);
}

static tr_status train_and_add(FaissIndex *faiss, const char *factory, const float *rows, size_t count) {
  char what[160];
  snprintf(what, sizeof what, "building \"%s\" over %zu rows", factory, count);
  tr_faiss_quiet *quiet = tr_faiss_quiet_begin(faiss);
  omp_set_num_threads(1); /* of the calling thread */
  int code = faiss_Index_train(faiss, (faiss_idx_t)count, rows);
  tr_faiss_quiet_end(quiet);
  if (code == 0)
    code = faiss_Index_add(faiss, (faiss_idx_t)count, rows);
  return code == 0 ? TR_OK : failed(TR_EINVAL, what);
}

/* ---- files ---- */

static ssize_t count_bytes(void *cookie, const char *data, size_t bytes) {
  (void)data;
  *(size_t *)cookie += bytes;
  return (ssize_t)bytes;
}

static tr_status write_to(const tr_index *index, FILE *file, const char *name) {
  int code = faiss_write_index(index->faiss, file);
  int error = errno;
  if (fclose(file) != 0 && code == 0)
    return tr_fail_errno(TR_EIO, "writing the index %s", name);
  errno = error;
  return code == 0 ? TR_OK : tr_fail(TR_EIO, "writing the index %s: %s", name, reason());
}

static tr_status measure_bytes(tr_index *index) {
  FILE *file = fopencookie(&index->bytes, "w", (cookie_io_functions_t){.write = count_bytes});
  return file ? write_to(index, file, "to count its bytes") : tr_fail(TR_ENOMEM, "counting the bytes of an index: out of memory");
}

tr_status tr_index_build(tr_device *device, const float *rows, size_t row_count, int d, const char *factory,
                         tr_progress *progress, tr_index **out) {
  *out = NULL;
  FaissIndex *faiss;
  double start = tr_seconds();
  TR_TRY(make(factory, row_count, d, &faiss));
  warn_of_few_rows(faiss, factory, row_count, progress);
  tr_status status = train_and_add(faiss, factory, rows, row_count);
  if (status != TR_OK) {
    faiss_Index_free(faiss);
    return status;
  }
  TR_TRY(enclose(device, factory, faiss, out));
  (*out)->build_seconds = tr_seconds() - start;
  status = measure_bytes(*out);
  if (status != TR_OK) {
    tr_index_destroy(*out);
    *out = NULL;
  }
  return status;
}

tr_status tr_index_to_memory(const tr_index *index, void **data, size_t *bytes) {
  char *text = NULL;
  *data = NULL;
  FILE *file = open_memstream(&text, bytes);
  tr_status status = file ? write_to(index, file, "to memory") : tr_fail(TR_ENOMEM, "an index in memory: out of memory");
  if (status != TR_OK) {
    free(text);
    return status;
  }
  *data = text;
  return TR_OK;
}

static tr_status check_read(const FaissIndex *faiss, const char *name) {
  if (!faiss_Index_is_trained(faiss))
    return tr_fail(TR_EFORMAT, "%s: expected a trained index, found one that is not", name);
  if (faiss_Index_ntotal(faiss) < 1 || faiss_Index_ntotal(faiss) >= UINT32_MAX)
    return tr_fail(TR_EFORMAT, "%s: expected an index of 1 to 2^32 - 2 rows, found %lld", name,
                   (long long)faiss_Index_ntotal(faiss));
  if (faiss_Index_metric_type(faiss) != METRIC_L2)
    return tr_fail(TR_EFORMAT, "%s: expected an index that measures squared L2, found FAISS's metric %d", name,
                   (int)faiss_Index_metric_type(faiss));
  return TR_OK;
}

tr_status tr_index_from_memory(tr_device *device, const char *name, const void *data, size_t bytes, tr_index **out) {
  *out = NULL;
  if (bytes == 0)
    return tr_fail(TR_EFORMAT, "%s: expected an index of FAISS, found an empty file", name);
  FILE *file = fmemopen((void *)data, bytes, "r"); /* read only: what it points to stays as it is */
  if (!file)
    return tr_fail_errno(TR_ENOMEM, "reading the index %s", name);
  FaissIndex *faiss = NULL;
  int code = faiss_read_index(file, 0, &faiss);
  bool ended = feof(file);
  fclose(file);
  if (code != 0 && ended)
    return tr_fail(TR_EFORMAT, "%s: expected an index of FAISS, found one that is cut short", name);
  if (code != 0)
    return tr_fail(TR_EFORMAT, "%s: FAISS does not read it as an index: %s", name, reason());
  tr_status status = check_read(faiss, name);
  if (status != TR_OK) {
    faiss_Index_free(faiss);
    return status;
  }
  TR_TRY(enclose(device, name, faiss, out));
  (*out)->bytes = bytes;
  return TR_OK;
}

/* ---- what it is ---- */

size_t tr_index_rows(const tr_index *index) {
  return index->rows;
}

int tr_index_dimension(const tr_index *index) {
  return index->d;
}

size_t tr_index_bytes(const tr_index *index) {
  return index->bytes;
}

double tr_index_build_seconds(const tr_index *index) {
  return index->build_seconds;
}

tr_status tr_index_row_data(tr_index *index, size_t first, size_t count, float *rows) {
  if (first > index->rows || count > index->rows - first)
    return tr_fail(TR_EINVAL, "FAISS: there are no rows %zu to %zu: the index has %zu", first, first + count, index->rows);
  if (faiss_Index_reconstruct_n(index->faiss, (faiss_idx_t)first, (faiss_idx_t)count, rows) != 0)
    return failed(TR_EINVAL, "reading the rows of an index");
  return TR_OK;
}

/* ---- search ---- */

static tr_status set_parameter(tr_index *index, const char *name, int value) {
  char what[64];
  snprintf(what, sizeof what, "%s of %d", name, value);
  if (faiss_ParameterSpace_set_index_parameter(index->space, index->faiss, name, value) != 0)
    return failed(TR_EINVAL, what);
  return index->gpu ? tr_faiss_gpu_set_parameter(index->gpu, name, value) : TR_OK;
}

static bool has_other_effort(const tr_index *index, tr_effort effort) {
  return index->effort.nprobe != effort.nprobe || index->effort.ef_search != effort.ef_search;
}

/* Waits until nobody searches with another effort, and adds for how long. */
static tr_status begin_search(tr_index *index, tr_effort effort, double *waited) {
  tr_status status = TR_OK;
  double start = tr_seconds();
  pthread_mutex_lock(&index->lock);
  bool other = has_other_effort(index, effort);
  while (index->searching && other) {
    pthread_cond_wait(&index->idle, &index->lock);
    other = has_other_effort(index, effort);
  }
  *waited += tr_seconds() - start;
  if (other && effort.nprobe)
    status = set_parameter(index, "nprobe", effort.nprobe);
  /* The graph of an index with lists is over its centroids. */
  if (status == TR_OK && other && effort.ef_search)
    status = set_parameter(index, effort.nprobe ? "quantizer_efSearch" : "efSearch", effort.ef_search);
  if (status == TR_OK) {
    index->effort = effort;
    ++index->searching;
  }
  pthread_mutex_unlock(&index->lock);
  return status;
}

static void end_search(tr_index *index) {
  pthread_mutex_lock(&index->lock);
  if (--index->searching == 0)
    pthread_cond_broadcast(&index->idle);
  pthread_mutex_unlock(&index->lock);
}

/* Host memory of a group. */
typedef struct group_memory {
  float *queries; /* none where the device's is the host's */
  float *distances;
  faiss_idx_t *labels;
  uint32_t *indices;
} group_memory;

static void lay_out(group_memory *m, tr_sections *s, const tr_index *index, size_t group, int k) {
  size_t results = group * (size_t)k;
  m->queries = tr_section(s, tr_device_shares_memory(index->device) ? 0 : group * (size_t)index->d * sizeof(float));
  m->distances = tr_section(s, results * sizeof(float));
  m->labels = tr_section(s, results * sizeof(faiss_idx_t));
  m->indices = tr_section(s, results * sizeof(uint32_t));
}

size_t tr_index_search_scratch(const tr_index *index, size_t group, int k) {
  if (index->lists)
    return 0;
  group_memory m;
  tr_sections counted = TR_SECTIONS_COUNT;
  lay_out(&m, &counted, index, group, k);
  return counted.used;
}

typedef struct search_job {
  tr_index *index;
  const group_memory *memory;
  const float *queries; /* host */
  size_t count, k;
} search_job;

static FaissIndex *searched(const tr_index *index) {
  return index->gpu ? tr_faiss_gpu_index(index->gpu) : index->faiss;
}

static tr_status search_block(void *context, size_t task) {
  const search_job *job = context;
  size_t first = task * BLOCK, n = job->count - first < BLOCK ? job->count - first : BLOCK;
  const group_memory *m = job->memory;
  omp_set_num_threads(1);
  int code = faiss_Index_search(searched(job->index), (faiss_idx_t)n, job->queries + first * (size_t)job->index->d,
                                (faiss_idx_t)job->k, m->distances + first * job->k, m->labels + first * job->k);
  return code == 0 ? TR_OK : failed(TR_EINTERNAL, "searching an index");
}

/* The lists looked at held fewer than k rows: looks at twice as many until they do. */
static tr_status search_again(const search_job *job, tr_effort effort, size_t query, double *waited) {
  const group_memory *m = job->memory;
  faiss_idx_t *last = m->labels + query * job->k + job->k - 1;
  while (*last < 0 && effort.nprobe > 0 && effort.nprobe < INT32_MAX / 2) {
    effort.nprobe *= 2;
    TR_TRY(begin_search(job->index, effort, waited));
    int code = faiss_Index_search(searched(job->index), 1, job->queries + query * (size_t)job->index->d, (faiss_idx_t)job->k,
                                  m->distances + query * job->k, m->labels + query * job->k);
    end_search(job->index);
    if (code != 0)
      return failed(TR_EINTERNAL, "searching an index");
    if ((size_t)effort.nprobe > job->index->rows)
      break;
  }
  return *last < 0
             ? tr_fail(TR_EINVAL, "FAISS: found fewer than %zu rows for a query: more have to be looked at (nprobe, ef_search)",
                       job->k)
             : TR_OK;
}

static tr_status search_blocks(const search_job *job) {
  size_t blocks = (job->count + BLOCK - 1) / BLOCK;
  if (!job->index->gpu)
    return tr_pool_run(tr_device_pool(job->index->device), blocks, search_block, (void *)job);
  for (size_t i = 0; i < blocks; ++i)
    TR_TRY(search_block((void *)job, i));
  return TR_OK;
}

static tr_status search_group(const search_job *job, tr_effort effort, double *waited) {
  TR_TRY(begin_search(job->index, effort, waited));
  tr_status status = search_blocks(job);
  end_search(job->index);
  TR_TRY(status);
  const group_memory *m = job->memory;
  for (size_t i = 0; i < job->count; ++i)
    if (m->labels[i * job->k + job->k - 1] < 0)
      TR_TRY(search_again(job, effort, i, waited));
  for (size_t i = 0; i < job->count * job->k; ++i) {
    if ((size_t)m->labels[i] >= job->index->rows)
      return tr_fail(TR_EFORMAT, "FAISS: expected ids of 0 to %zu, the places of the rows, found %lld", job->index->rows - 1,
                     (long long)m->labels[i]);
    m->indices[i] = (uint32_t)m->labels[i];
  }
  return TR_OK;
}

size_t tr_index_device_scratch(const tr_index *index, tr_effort effort, size_t queries, size_t group, int k) {
  return index->lists ? tr_lists_scratch(index->lists, effort, queries, group, k) : 0;
}

const char *tr_index_searched_by(const tr_index *index) {
  return index->lists ? TR_SEARCH_BY_OPERATOR : index->gpu ? TR_SEARCH_BY_FAISS_GPU : TR_SEARCH_BY_FAISS;
}

/* Queries, and what is found for them, in device memory. */
static tr_status search_by_faiss(const search_job *job, tr_effort effort, const float *queries, float *distances,
                                 uint32_t *indices, double *waited) {
  tr_device *device = job->index->device;
  const group_memory *m = job->memory;
  search_job group = *job;
  size_t found = job->count * job->k;
  group.queries = tr_device_shares_memory(device) ? queries : m->queries;
  if (!tr_device_shares_memory(device))
    TR_TRY(tr_device_download(device, m->queries, queries, job->count * (size_t)job->index->d * sizeof(float)));
  TR_TRY(tr_device_sync(device));
  TR_TRY(search_group(&group, effort, waited));
  TR_TRY(tr_device_upload(device, distances, m->distances, found * sizeof(float)));
  TR_TRY(tr_device_upload(device, indices, m->indices, found * sizeof(uint32_t)));
  return tr_device_sync(device); /* the next group takes the same memory */
}

tr_status tr_index_search(tr_index *index, tr_effort effort, const float *queries, size_t count, size_t group, int k,
                          float *distances, uint32_t *indices, void *scratch, void *device_scratch, double *waited) {
  *waited = 0;
  if (group == 0 || k < 1 || (size_t)k > index->rows)
    return tr_fail(TR_EINVAL, "FAISS: expected groups of at least one query and k of 1 to the %zu rows, found %zu and %d",
                   index->rows, group, k);
  if (index->lists)
    return tr_lists_search(index->lists, effort, queries, count, group, k, distances, indices, device_scratch);
  group_memory memory;
  tr_sections sections = tr_sections_of(scratch);
  lay_out(&memory, &sections, index, group, k);
  size_t d = (size_t)index->d, width = (size_t)k;
  for (size_t first = 0; first < count; first += group) {
    search_job job = {.index = index, .memory = &memory, .count = count - first < group ? count - first : group, .k = width};
    TR_TRY(search_by_faiss(&job, effort, queries + first * d, distances + first * width, indices + first * width, waited));
  }
  return TR_OK;
}

tr_status tr_index_search_alone(tr_index *index, tr_effort effort, const float *queries, size_t count, int k, int threads,
                                float *distances, int64_t *labels) {
  TR_TRY(begin_search(index, effort, &(double){0}));
  omp_set_num_threads(1);
  openblas_set_num_threads(threads);
  int code = faiss_Index_search(index->faiss, (faiss_idx_t)count, queries, k, distances, labels);
  openblas_set_num_threads(1);
  end_search(index);
  return code == 0 ? TR_OK : failed(TR_EINTERNAL, "searching an index");
}

#endif
