/* Cases of anomaly maps: upsample, smooth, sort_scan. */
#include "host/base/status.h"
#include "host/bench/cases.h"
#include "kernels/operators.h"
#include <stdio.h>

/* ---- upsample, smooth ---- */

typedef struct map_job {
  tr_device *device;
  int grid, side;
  float *scores, *maps;
  void *scratch;
  size_t score_bytes, map_bytes, scratch_bytes; /* of a lane */
} map_job;

static tr_status run_upsample(void *context, size_t first, size_t count, int lane) {
  (void)first;
  const map_job *job = context;
  return tr_upsample(job->device, &(tr_upsample_args){.n = (int)count,
                                                      .in_h = job->grid,
                                                      .in_w = job->grid,
                                                      .out_h = job->side,
                                                      .out_w = job->side,
                                                      .src = tr_bench_at_lane(job->scores, lane, job->score_bytes),
                                                      .dst = tr_bench_at_lane(job->maps, lane, job->map_bytes)});
}

static tr_status run_smooth(void *context, size_t first, size_t count, int lane) {
  (void)first;
  const map_job *job = context;
  return tr_smooth(job->device, &(tr_smooth_args){.n = (int)count,
                                                  .h = job->side,
                                                  .w = job->side,
                                                  .sigma = 4,
                                                  .maps = tr_bench_at_lane(job->maps, lane, job->map_bytes),
                                                  .scratch = tr_bench_at_lane(job->scratch, lane, job->scratch_bytes)});
}

static tr_status prepare_maps(tr_bench *bench, map_job *job) {
  *job = (map_job){.device = bench->device, .grid = tr_bench_side(bench) / 8, .side = tr_bench_side(bench)};
  size_t grid = bench->chunk * (size_t)job->grid * (size_t)job->grid, map = bench->chunk * (size_t)job->side * (size_t)job->side;
  job->score_bytes = grid * sizeof(float);
  job->map_bytes = map * sizeof(float);
  TR_TRY(tr_bench_noise(bench, bench->lanes * grid, 16, &job->scores));
  return tr_bench_noise(bench, bench->lanes * map, 17, &job->maps);
}

tr_status tr_bench_upsample(tr_bench *bench) {
  map_job job;
  TR_TRY(prepare_maps(bench, &job));
  char shape[96];
  snprintf(shape, sizeof shape, "%dx%d -> %dx%d", job.grid, job.grid, job.side, job.side);
  double pixels = (double)job.side * job.side;
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "upsample",
                                           .shape = shape,
                                           .flops = 6 * pixels,
                                           .bytes = TR_BENCH_FLOAT * (pixels + (double)job.grid * job.grid),
                                           .fn = run_upsample,
                                           .context = &job},
                          false);
}

tr_status tr_bench_smooth(tr_bench *bench) {
  map_job job;
  TR_TRY(prepare_maps(bench, &job));
  TR_TRY(tr_bench_alloc_lanes(bench, tr_smooth_scratch(bench->device, (int)bench->chunk, job.side, job.side), &job.scratch_bytes,
                              &job.scratch));
  char shape[96];
  snprintf(shape, sizeof shape, "%dx%d, sigma 4", job.side, job.side);
  double pixels = (double)job.side * job.side, taps = 2 * 16 + 1;
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "smooth",
                                           .shape = shape,
                                           .flops = 2 * 2 * taps * pixels,
                                           .bytes = 2 * TR_BENCH_FLOAT * pixels,
                                           .fn = run_smooth,
                                           .context = &job},
                          false);
}

/* ---- sort_scan: the pixels of 83 test images ---- */

typedef struct sort_job {
  tr_device *device;
  float *unsorted;
  tr_sort_scan_args args;
} sort_job;

static tr_status run_sort(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  (void)lane;
  const sort_job *job = context;
  TR_TRY(tr_device_copy(job->device, job->args.keys, job->unsorted, job->args.n * sizeof(float)));
  return tr_sort_scan(job->device, &job->args);
}

tr_status tr_bench_sort_scan(tr_bench *bench) {
  size_t n = (size_t)(bench->options->quick ? 1 : 83) * (size_t)tr_bench_side(bench) * (size_t)tr_bench_side(bench);
  sort_job job = {.device = bench->device, .args.n = n};
  TR_TRY(tr_bench_noise(bench, n, 18, &job.unsorted));
  TR_TRY(tr_bench_alloc(bench, n * sizeof(float), (void **)&job.args.keys));
  TR_TRY(tr_bench_alloc(bench, n * sizeof(uint32_t), (void **)&job.args.payload));
  TR_TRY(tr_device_zero(bench->device, job.args.payload, n * sizeof(uint32_t)));
  TR_TRY(tr_bench_alloc(bench, tr_sort_scan_scratch(bench->device, n), &job.args.scratch));
  char shape[96];
  snprintf(shape, sizeof shape, "%zu pairs, copied first", n);
  double copied = 2 * TR_BENCH_FLOAT * (double)n, sorted = 2 * 2 * TR_BENCH_FLOAT * (double)n;
  return tr_bench_measure(
      bench,
      &(tr_bench_case){
          .name = "sort_scan", .shape = shape, .mode = TR_BENCH_WHOLE, .bytes = copied + sorted, .fn = run_sort, .context = &job},
      false);
}
