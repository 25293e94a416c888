/* Exact search and FAISS's Flat index in turn, on the same queries, with the same number of threads: an image's patches at a time, as
 * someone waits for a single image. FAISS is called as it runs by itself, one call for all queries; its product is OpenBLAS's, in
 * all threads, which is nearly all of its work. Rows and queries are made up, or read from .npy files (`totalrecall bank export`). */
#include "host/search/search.h"
#include "datasets/npy.h"
#include "host/base/status.h"
#include "host/bench/cases.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATCHES = 784, ROUNDS = 2 };

typedef struct search_job {
  tr_bench *bench;
  tr_bench_rows bank_rows, queries;
  tr_bank *bank;
  tr_index *flat;
  const float *device_queries;
  float *distances, *host_distances;
  uint32_t *indices;
  int64_t *labels;
  void *scratch;
} search_job;

static tr_status read_rows(const char *path, tr_bench_rows *out) {
  tr_npy npy;
  TR_TRY(tr_npy_open_rows(path, &npy));
  out->n = npy.shape[0];
  out->d = npy.shape[1];
  out->host = malloc(out->n * out->d * sizeof *out->host);
  if (out->host)
    memcpy(out->host, npy.data, out->n * out->d * sizeof *out->host);
  tr_npy_close(&npy);
  return out->host ? TR_OK : tr_fail(TR_ENOMEM, "%s: out of memory", path);
}

static tr_status make_rows(tr_bench *bench, size_t n, uint64_t seed, tr_bench_rows *out) {
  float *rows;
  *out = (tr_bench_rows){.n = n, .d = (size_t)tr_bench_dimension(bench)};
  TR_TRY(tr_bench_features(bench, n, (int)out->d, seed, &rows));
  out->host = malloc(n * out->d * sizeof *out->host);
  if (!out->host)
    return tr_fail(TR_ENOMEM, "bench: data: out of memory");
  TR_TRY(tr_device_download(bench->device, out->host, rows, n * out->d * sizeof *out->host));
  return tr_device_sync(bench->device);
}

tr_status tr_bench_search_rows(tr_bench *bench, tr_bench_rows *bank, tr_bench_rows *queries) {
  const tr_bench_options *o = bench->options;
  if (o->bank)
    TR_TRY(read_rows(o->bank, bank));
  else
    TR_TRY(make_rows(bench, tr_bench_bank_rows(bench), 12, bank));
  if (o->queries)
    TR_TRY(read_rows(o->queries, queries));
  else
    TR_TRY(make_rows(bench, o->quick ? 64 : PATCHES, 13, queries));
  if (bank->d != queries->d)
    return tr_fail(TR_EINVAL, "bench search: the bank has %zu dimensions, the queries %zu", bank->d, queries->d);
  if (queries->n > PATCHES)
    queries->n = PATCHES;
  return TR_OK;
}

static tr_status upload(tr_bench *bench, const tr_bench_rows *rows, float **out) {
  size_t bytes = rows->n * rows->d * sizeof(float);
  TR_TRY(tr_device_alloc(bench->device, bytes, (void **)out));
  tr_status status = tr_device_upload(bench->device, *out, rows->host, bytes);
  if (status != TR_OK)
    tr_device_free(bench->device, *out);
  return status;
}

static tr_status prepare(search_job *job) {
  tr_bench *bench = job->bench;
  size_t n = job->queries.n;
  float *rows;
  int d = (int)job->bank_rows.d;
  TR_TRY(upload(bench, &job->bank_rows, &rows));
  TR_TRY(tr_bank_create(bench->device, rows, job->bank_rows.n, d, &job->bank));
  void *queries;
  TR_TRY(tr_bench_alloc(bench, n * job->queries.d * sizeof(float), &queries));
  TR_TRY(tr_device_upload(bench->device, queries, job->queries.host, n * job->queries.d * sizeof(float)));
  job->device_queries = queries;
  TR_TRY(tr_bench_alloc(bench, n * sizeof(float), (void **)&job->distances));
  TR_TRY(tr_bench_alloc(bench, n * sizeof(uint32_t), (void **)&job->indices));
  TR_TRY(tr_bench_alloc(bench, tr_bank_search_scratch(job->bank, n, n, job->bank_rows.n, 1), &job->scratch));
  job->host_distances = malloc(n * sizeof(float));
  job->labels = malloc(n * sizeof(int64_t));
  if (!job->host_distances || !job->labels)
    return tr_fail(TR_ENOMEM, "bench search: out of memory");
  return tr_index_library() ? tr_index_build(bench->device, job->bank_rows.host, job->bank_rows.n, d, "Flat", NULL, &job->flat)
                            : TR_OK;
}

static tr_status run_exact(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  (void)lane;
  const search_job *job = context;
  return tr_bank_search(job->bank, job->bank_rows.n, job->device_queries, job->queries.n, job->queries.n, 1, job->distances,
                        job->indices, job->scratch);
}

static tr_status run_flat(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  (void)lane;
  const search_job *job = context;
  return tr_index_search_alone(job->flat, (tr_effort){0}, job->queries.host, job->queries.n, 1,
                               tr_pool_threads(tr_device_pool(job->bench->device)), job->host_distances, job->labels);
}

static tr_status measure(const search_job *job, const char *what, tr_chunk_fn fn, bool quietly) {
  double n = (double)job->queries.n, rows = (double)job->bank_rows.n, d = (double)job->queries.d;
  char shape[96];
  snprintf(shape, sizeof shape, "%zu of %zu x %zu%s, %s", job->queries.n, job->bank_rows.n, job->queries.d,
           job->bench->options->bank ? " (file)" : "", what);
  return tr_bench_measure(job->bench,
                          &(tr_bench_case){.name = "search",
                                           .shape = shape,
                                           .mode = TR_BENCH_WHOLE,
                                           .flops = 2 * n * rows * d,
                                           .bytes = TR_BENCH_FLOAT * (n + rows) * d,
                                           .fn = fn,
                                           .context = (void *)job},
                          quietly);
}

/* Both find the same rows, but where two are as near to float rounding. */
static tr_status check_agreement(search_job *job) {
  uint32_t *found = malloc(job->queries.n * sizeof *found);
  if (!found)
    return tr_fail(TR_ENOMEM, "bench search: out of memory");
  tr_status status = tr_device_download(job->bench->device, found, job->indices, job->queries.n * sizeof *found);
  if (status == TR_OK)
    status = tr_device_sync(job->bench->device);
  size_t same = 0;
  for (size_t i = 0; status == TR_OK && i < job->queries.n; ++i)
    same += job->labels[i] == (int64_t)found[i];
  free(found);
  if (status == TR_OK && 100 * same < 98 * job->queries.n)
    return tr_fail(TR_EINTERNAL, "bench search: FAISS and exact search agree on %zu of %zu rows", same, job->queries.n);
  return status;
}

/* How many times as long FAISS takes as the exact search that was measured just before. */
static tr_status measure_flat(const search_job *job) {
  tr_bench *bench = job->bench;
  tr_bench_row *row = &bench->last;
  double exact = row->median;
  TR_TRY(measure(job, "FAISS Flat", run_flat, true));
  row->ratio = row->median / exact;
  row->ratio_to = TR_BENCH_EXACT;
  bench->options->row(bench->options->context, &bench->limits, row);
  return TR_OK;
}

static tr_status measure_in_turn(search_job *job) {
  for (int round = 0; round < (job->bench->options->quick ? 1 : ROUNDS); ++round) {
    TR_TRY(measure(job, "exact", run_exact, false));
    if (job->flat)
      TR_TRY(measure_flat(job));
  }
  return job->flat ? check_agreement(job) : TR_OK;
}

tr_status tr_bench_search(tr_bench *bench) {
  search_job job = {.bench = bench};
  tr_status status = tr_bench_search_rows(bench, &job.bank_rows, &job.queries);
  if (status == TR_OK)
    status = prepare(&job);
  if (status == TR_OK)
    status = measure_in_turn(&job);
  tr_bench_release(bench);
  tr_bank_destroy(job.bank);
  tr_index_destroy(job.flat);
  free(job.bank_rows.host);
  free(job.queries.host);
  free(job.host_distances);
  free(job.labels);
  return status;
}
