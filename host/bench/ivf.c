/* Search in lists that FAISS made, of whole rows and of codes: the `ivf` operator and FAISS's own search of the same index in turn, an
 * image's patches at a time, FAISS as it runs by itself (search.c). Rows as for `search`. A build without FAISS has no rows here. */
#include "host/base/status.h"
#include "host/bench/cases.h"
#include "host/search/search.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct ivf_job {
  tr_bench *bench;
  tr_bench_rows bank_rows, queries;
  tr_index *index;
  tr_effort effort;
  float *device_queries, *distances, *host_distances;
  uint32_t *indices;
  int64_t *labels;
  void *scratch;
} ivf_job;

static tr_status run_operator(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  (void)lane;
  const ivf_job *job = context;
  double waited;
  return tr_index_search(job->index, job->effort, job->device_queries, job->queries.n, job->queries.n, 1, job->distances,
                         job->indices, NULL, job->scratch, &waited);
}

static tr_status run_faiss(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  (void)lane;
  const ivf_job *job = context;
  return tr_index_search_alone(job->index, job->effort, job->queries.host, job->queries.n, 1,
                               tr_pool_threads(tr_device_pool(job->bench->device)), job->host_distances, job->labels);
}

/* The lists' centroids are measured, and the rows of the lists looked at. */
static tr_status measure(const ivf_job *job, const char *factory, const char *who, tr_chunk_fn fn, bool quietly) {
  double n = (double)job->queries.n, d = (double)job->queries.d;
  char shape[96];
  snprintf(shape, sizeof shape, "%zu of %zu x %zu%s, %s, nprobe %d%s", job->queries.n, job->bank_rows.n, job->queries.d,
           job->bench->options->bank ? " (file)" : "", factory, job->effort.nprobe, who);
  return tr_bench_measure(job->bench,
                          &(tr_bench_case){.name = "ivf",
                                           .shape = shape,
                                           .mode = TR_BENCH_WHOLE,
                                           .flops = 2 * n * tr_index_query_macs(factory, job->effort, job->bank_rows.n, (int)d),
                                           .bytes = TR_BENCH_FLOAT * n * d + (double)tr_index_bytes(job->index),
                                           .fn = fn,
                                           .context = (void *)job},
                          quietly);
}

static tr_status measure_effort(ivf_job *job, const char *factory, int nprobe) {
  tr_bench *bench = job->bench;
  size_t n = job->queries.n;
  job->effort = (tr_effort){.nprobe = nprobe};
  TR_TRY(tr_bench_alloc(bench, tr_index_device_scratch(job->index, job->effort, n, n, 1), &job->scratch));
  TR_TRY(measure(job, factory, "", run_operator, false));
  double own = bench->last.median;
  TR_TRY(measure(job, factory, ", FAISS", run_faiss, true));
  bench->last.ratio = bench->last.median / own;
  bench->last.ratio_to = "the operator";
  bench->options->row(bench->options->context, &bench->limits, &bench->last);
  return TR_OK;
}

static tr_status measure_index(ivf_job *job, const char *factory) {
  const int nprobes[] = {1, 16};
  tr_status status = tr_index_build(job->bench->device, job->bank_rows.host, job->bank_rows.n, (int)job->bank_rows.d, factory,
                                    NULL, &job->index);
  for (size_t i = 0; status == TR_OK && i < sizeof nprobes / sizeof *nprobes; ++i)
    status = measure_effort(job, factory, nprobes[i]);
  tr_index_destroy(job->index);
  job->index = NULL;
  return status;
}

static tr_status prepare(ivf_job *job) {
  tr_bench *bench = job->bench;
  TR_TRY(tr_bench_search_rows(bench, &job->bank_rows, &job->queries));
  size_t n = job->queries.n, bytes = n * job->queries.d * sizeof(float);
  TR_TRY(tr_bench_alloc(bench, bytes, (void **)&job->device_queries));
  TR_TRY(tr_device_upload(bench->device, job->device_queries, job->queries.host, bytes));
  TR_TRY(tr_bench_alloc(bench, n * sizeof(float), (void **)&job->distances));
  TR_TRY(tr_bench_alloc(bench, n * sizeof(uint32_t), (void **)&job->indices));
  job->host_distances = malloc(n * sizeof(float));
  job->labels = malloc(n * sizeof(int64_t));
  return job->host_distances && job->labels ? TR_OK : tr_fail(TR_ENOMEM, "bench ivf: out of memory");
}

tr_status tr_bench_ivf(tr_bench *bench) {
  if (!tr_index_library())
    return TR_OK;
  ivf_job job = {.bench = bench};
  tr_status status = prepare(&job);
  if (status == TR_OK)
    status = measure_index(&job, bench->options->quick ? "IVF16,Flat" : "IVF512,Flat");
  if (status == TR_OK)
    status = measure_index(&job, bench->options->quick ? "IVF16,PQ16np" : "IVF512,PQ64np");
  free(job.bank_rows.host);
  free(job.queries.host);
  free(job.host_distances);
  free(job.labels);
  return status;
}
