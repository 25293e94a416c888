/* Cases of copying. */
#include "host/base/status.h"
#include "host/bench/cases.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct copy_job {
  tr_device *device;
  void *from, *to, *host;
  size_t bytes;
} copy_job;

static tr_status copy_within(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  const copy_job *job = context;
  return tr_device_copy(job->device, tr_bench_at_lane(job->to, lane, job->bytes), tr_bench_at_lane(job->from, lane, job->bytes),
                        job->bytes);
}

static tr_status copy_up(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  (void)lane;
  const copy_job *job = context;
  return tr_device_upload(job->device, job->to, job->host, job->bytes);
}

static tr_status copy_down(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  (void)lane;
  const copy_job *job = context;
  return tr_device_download(job->device, job->host, job->to, job->bytes);
}

static tr_status prepare_copy(tr_bench *bench, copy_job *job) {
  size_t bytes = (size_t)(bench->options->quick ? 1 : 128) << 20;
  *job = (copy_job){.device = bench->device};
  TR_TRY(tr_bench_alloc_lanes(bench, bytes, &job->bytes, &job->from));
  TR_TRY(tr_bench_alloc_lanes(bench, bytes, &job->bytes, &job->to));
  TR_TRY(tr_device_zero(bench->device, job->from, bench->lanes * job->bytes));
  return tr_device_zero(bench->device, job->to, bench->lanes * job->bytes);
}

static tr_status measure_copy(tr_bench *bench, copy_job *job, bool quietly) {
  char shape[64];
  snprintf(shape, sizeof shape, "%zu MiB within the device", job->bytes >> 20);
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "copy",
                                           .shape = shape,
                                           .mode = TR_BENCH_LANES,
                                           .bytes = 2.0 * (double)job->bytes,
                                           .fn = copy_within,
                                           .context = job},
                          quietly);
}

static tr_status measure_transfer(tr_bench *bench, copy_job *job, const char *what, tr_chunk_fn fn) {
  char shape[64];
  snprintf(shape, sizeof shape, "%zu MiB %s", job->bytes >> 20, what);
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "copy",
                                           .shape = shape,
                                           .mode = TR_BENCH_WHOLE,
                                           .bytes = (double)job->bytes,
                                           .transfer = true,
                                           .fn = fn,
                                           .context = job},
                          false);
}

tr_status tr_bench_copy(tr_bench *bench) {
  copy_job job;
  TR_TRY(prepare_copy(bench, &job));
  TR_TRY(measure_copy(bench, &job, false));
  job.host = calloc(1, job.bytes);
  if (!job.host)
    return tr_fail(TR_ENOMEM, "bench: %zu bytes of host memory: out of memory", job.bytes);
  tr_status status = measure_transfer(bench, &job, "to the device", copy_up);
  if (status == TR_OK)
    status = measure_transfer(bench, &job, "from the device", copy_down);
  free(job.host);
  return status;
}

tr_status tr_bench_fastest_copy(tr_bench *bench) {
  copy_job job;
  TR_TRY(prepare_copy(bench, &job));
  return measure_copy(bench, &job, true);
}
