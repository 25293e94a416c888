/* Cases of anomaly maps: upsample, mosaic, smooth, sort_scan. */
#include "host/base/status.h"
#include "host/bench/cases.h"
#include "host/harness/tiling.h"
#include "kernels/operators.h"
#include <stdio.h>
#include <stdlib.h>

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

/* ---- mosaic: an image in 25 tiles, each as large as the other cases' maps ---- */

enum { TILES_ALONG = 5 };

typedef struct mosaic_job {
  tr_device *device;
  tr_tiling tiling;
  float *tiles, *weights, *wholes; /* a tile and a whole of each lane; [TILES_ALONG, side] of either axis */
  size_t tile_bytes, whole_bytes;  /* of a lane */
} mosaic_job;

static tr_status put_tile(const mosaic_job *job, size_t tile, int lane) {
  const tr_tiling *t = &job->tiling;
  size_t side = (size_t)t->tile_w;
  tr_window window = tr_tiling_window(t, tile);
  return tr_mosaic(job->device, &(tr_mosaic_args){.h = window.h,
                                                  .w = window.w,
                                                  .top = window.top,
                                                  .left = window.left,
                                                  .whole_h = t->h,
                                                  .whole_w = t->w,
                                                  .row_weights = job->weights + tile / TILES_ALONG * side,
                                                  .column_weights = job->weights + tile % TILES_ALONG * side,
                                                  .src = tr_bench_at_lane(job->tiles, lane, job->tile_bytes),
                                                  .dst = tr_bench_at_lane(job->wholes, lane, job->whole_bytes)});
}

static tr_status run_mosaic(void *context, size_t first, size_t count, int lane) {
  const mosaic_job *job = context;
  (void)first;
  for (size_t image = 0; image < count; ++image)
    for (size_t tile = 0; tile < tr_tiling_count(&job->tiling); ++tile)
      TR_TRY(put_tile(job, tile, lane));
  return TR_OK;
}

static tr_status upload_weights(tr_bench *bench, mosaic_job *job) {
  const tr_tiling *t = &job->tiling;
  size_t bytes = (size_t)TILES_ALONG * (size_t)t->tile_w * sizeof(float);
  float *host = malloc(bytes);
  if (!host)
    return tr_fail(TR_ENOMEM, "measuring mosaic: out of memory");
  tr_tiling_weights(t->w, t->tile_w, TILES_ALONG, host);
  tr_status status = tr_bench_alloc(bench, bytes, (void **)&job->weights);
  if (status == TR_OK)
    status = tr_device_upload(bench->device, job->weights, host, bytes);
  if (status == TR_OK)
    status = tr_device_sync(bench->device);
  free(host);
  return status;
}

tr_status tr_bench_mosaic(tr_bench *bench) {
  int side = tr_bench_side(bench), overlap = side / 7, whole = TILES_ALONG * side - (TILES_ALONG - 1) * overlap;
  mosaic_job job = {.device = bench->device};
  TR_TRY(tr_tiling_make(&(tr_tile_spec){.size = side, .overlap = overlap}, whole, whole, &job.tiling));
  size_t tile_floats = (size_t)side * (size_t)side, whole_floats = (size_t)whole * (size_t)whole;
  job.tile_bytes = tile_floats * sizeof(float);
  job.whole_bytes = whole_floats * sizeof(float);
  TR_TRY(tr_bench_noise(bench, bench->lanes * tile_floats, 19, &job.tiles));
  TR_TRY(tr_bench_alloc(bench, bench->lanes * job.whole_bytes, (void **)&job.wholes));
  TR_TRY(tr_device_zero(bench->device, job.wholes, bench->lanes * job.whole_bytes));
  TR_TRY(upload_weights(bench, &job));
  char shape[96];
  snprintf(shape, sizeof shape, "%dx%d, %zu tiles of %dx%d", whole, whole, tr_tiling_count(&job.tiling), side, side);
  double pixels = (double)tr_tiling_count(&job.tiling) * (double)tile_floats;
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "mosaic",
                                           .shape = shape,
                                           .flops = 3 * pixels,
                                           .bytes = TR_BENCH_FLOAT * 3 * pixels,
                                           .fn = run_mosaic,
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
