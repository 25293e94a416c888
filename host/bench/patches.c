/* Cases of patch features and the bank: aggregate, project, coreset, nearest, reweight, squared_norms. */
#include "host/base/status.h"
#include "host/bench/cases.h"
#include "kernels/operators.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- aggregate ---- */

typedef struct aggregate_job {
  tr_device *device;
  tr_aggregate_args args;
  size_t map_bytes[TR_MAX_LAYERS], dst_bytes, scratch_bytes; /* of a lane */
} aggregate_job;

static tr_status run_aggregate(void *context, size_t first, size_t count, int lane) {
  (void)first;
  const aggregate_job *job = context;
  tr_aggregate_args args = job->args;
  args.n = (int)count;
  for (int i = 0; i < args.spec.layers; ++i)
    args.maps[i] = tr_bench_at_lane(args.maps[i], lane, job->map_bytes[i]);
  args.dst = tr_bench_at_lane(args.dst, lane, job->dst_bytes);
  args.scratch = tr_bench_at_lane(args.scratch, lane, job->scratch_bytes);
  return tr_aggregate(job->device, &args);
}

static tr_status measure_aggregate(tr_bench *bench, tr_aggregate_kind kind, int patch, const int channels[2]) {
  int side = tr_bench_side(bench), grid_h, grid_w, d;
  aggregate_job job = {.device = bench->device};
  tr_aggregate_spec *spec = &job.args.spec;
  *spec = (tr_aggregate_spec){.kind = kind,
                              .layers = 2,
                              .h = {side / 8, side / 16},
                              .w = {side / 8, side / 16},
                              .c = {channels[0], channels[1]},
                              .patch = patch,
                              .stride = 1,
                              .layer_dimension = tr_bench_dimension(bench),
                              .dimension = tr_bench_dimension(bench)};
  TR_TRY(tr_aggregate_shape(spec, &grid_h, &grid_w, &d));
  double read = 0, written = (double)grid_h * grid_w * d;
  for (int i = 0; i < 2; ++i) {
    size_t values = (size_t)spec->h[i] * (size_t)spec->w[i] * (size_t)spec->c[i];
    float *map;
    TR_TRY(tr_bench_noise(bench, bench->lanes * bench->chunk * values, 8, &map));
    job.args.maps[i] = map;
    job.map_bytes[i] = bench->chunk * values * sizeof(float);
    read += (double)values;
  }
  TR_TRY(tr_bench_alloc_lanes(bench, bench->chunk * (size_t)written * sizeof(float), &job.dst_bytes, (void **)&job.args.dst));
  TR_TRY(tr_bench_alloc_lanes(bench, tr_aggregate_scratch(bench->device, spec, (int)bench->chunk), &job.scratch_bytes,
                              &job.args.scratch));
  char shape[96];
  snprintf(shape, sizeof shape, "%s p %d, %dx%dx%d + %dx%dx%d -> %d", kind == TR_AGGREGATE_CONCAT ? "concat" : "official", patch,
           spec->h[0], spec->w[0], spec->c[0], spec->h[1], spec->w[1], spec->c[1], d);
  tr_status status = tr_bench_measure(bench,
                                      &(tr_bench_case){.name = "aggregate",
                                                       .shape = shape,
                                                       .flops = patch * patch * read,
                                                       .bytes = TR_BENCH_FLOAT * (read + written),
                                                       .fn = run_aggregate,
                                                       .context = &job},
                                      false);
  tr_bench_release(bench);
  return status;
}

tr_status tr_bench_aggregate(tr_bench *bench) {
  static const int small[] = {64, 128}, large[] = {512, 1024};
  const int *channels = bench->options->quick ? small : large;
  TR_TRY(measure_aggregate(bench, TR_AGGREGATE_OFFICIAL, 3, channels));
  TR_TRY(measure_aggregate(bench, TR_AGGREGATE_OFFICIAL, 5, channels));
  return measure_aggregate(bench, TR_AGGREGATE_CONCAT, 3, channels);
}

/* ---- project ---- */

typedef struct project_job {
  tr_device *device;
  tr_project_args args;
} project_job;

static tr_status run_project(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  (void)lane;
  const project_job *job = context;
  return tr_project(job->device, &job->args);
}

static tr_status measure_project(tr_bench *bench, size_t n, int d, int d_star, bool quietly) {
  project_job job = {.device = bench->device, .args = {.n = n, .d = d, .d_star = d_star}};
  float *src, *matrix;
  TR_TRY(tr_bench_noise(bench, n * (size_t)d, 9, &src));
  TR_TRY(tr_bench_noise(bench, (size_t)d * (size_t)d_star, 10, &matrix));
  TR_TRY(tr_bench_alloc(bench, n * (size_t)d_star * sizeof(float), (void **)&job.args.dst));
  job.args.src = src;
  job.args.matrix = matrix;
  char shape[96];
  snprintf(shape, sizeof shape, "%zu x %d -> %d", n, d, d_star);
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "project",
                                           .shape = shape,
                                           .mode = TR_BENCH_WHOLE,
                                           .flops = 2.0 * (double)n * d * d_star,
                                           .bytes = TR_BENCH_FLOAT * ((double)n * (d + d_star) + (double)d * d_star),
                                           .fn = run_project,
                                           .context = &job},
                          quietly);
}

tr_status tr_bench_project(tr_bench *bench) {
  return measure_project(bench, tr_bench_training_rows(bench), tr_bench_dimension(bench), 128, false);
}

tr_status tr_bench_fastest_product(tr_bench *bench) {
  int d = bench->options->quick ? 256 : 2048;
  return measure_project(bench, (size_t)4 * (size_t)d, d, d, true);
}

/* ---- coreset ---- */

typedef struct coreset_job {
  tr_device *device;
  tr_coreset_args args;
} coreset_job;

static tr_status run_coreset(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  (void)lane;
  const coreset_job *job = context;
  return tr_coreset(job->device, &job->args);
}

tr_status tr_bench_coreset(tr_bench *bench) {
  enum { STARTS = 10 };
  size_t n = tr_bench_training_rows(bench), picks = n / 10;
  int d = bench->options->quick ? 32 : 128;
  uint32_t start[STARTS];
  for (uint32_t i = 0; i < STARTS; ++i)
    start[i] = i * (uint32_t)(n / STARTS);
  coreset_job job = {.device = bench->device, .args = {.n = n, .d = d, .picks = picks, .start = start, .starts = STARTS}};
  float *rows;
  TR_TRY(tr_bench_features(bench, n, d, 11, &rows));
  TR_TRY(tr_bench_alloc(bench, tr_coreset_scratch(bench->device, n, d, picks), &job.args.scratch));
  job.args.rows = rows;
  job.args.order = malloc(picks * sizeof *job.args.order);
  job.args.radius = malloc(picks * sizeof *job.args.radius);
  char shape[96];
  snprintf(shape, sizeof shape, "%zu x %d, %zu picks", n, d, picks);
  tr_status status = job.args.order && job.args.radius ? TR_OK : tr_fail(TR_ENOMEM, "bench: picks: out of memory");
  if (status == TR_OK)
    status = tr_bench_measure(bench,
                              &(tr_bench_case){.name = "coreset",
                                               .shape = shape,
                                               .mode = TR_BENCH_WHOLE,
                                               .flops = 2.0 * (double)n * d * (double)picks,
                                               .bytes = TR_BENCH_FLOAT * (double)n * d,
                                               .fn = run_coreset,
                                               .context = &job},
                              false);
  free(job.args.order);
  free(job.args.radius);
  return status;
}

/* ---- nearest, reweight, squared_norms ---- */

typedef struct search_job {
  tr_device *device;
  tr_nearest_args nearest;
  tr_reweight_args reweight;
  size_t patches;                                                       /* of an image */
  size_t query_bytes, result_bytes, index_bytes, scratch_bytes, scores; /* of a lane */
} search_job;

static tr_status prepare_bank(tr_bench *bench, size_t rows, int d, float **bank, float **norms) {
  TR_TRY(tr_bench_features(bench, rows, d, 12, bank));
  TR_TRY(tr_bench_alloc(bench, rows * sizeof(float), (void **)norms));
  return tr_squared_norms(bench->device, *bank, rows, d, *norms);
}

static tr_status prepare_sketch(tr_bench *bench, const float *bank, size_t rows, int d, const void **out) {
  void *sketch, *scratch;
  *out = NULL;
  size_t bytes = tr_nearest_sketch_bytes(bench->device, rows, d);
  if (bytes == 0)
    return TR_OK;
  TR_TRY(tr_bench_alloc(bench, bytes, &sketch));
  TR_TRY(tr_bench_alloc(bench, tr_nearest_sketch_scratch(bench->device, rows, d), &scratch));
  *out = sketch;
  return tr_nearest_sketch(bench->device, bank, rows, d, sketch, scratch);
}

static tr_status run_nearest(void *context, size_t first, size_t count, int lane) {
  (void)first;
  const search_job *job = context;
  tr_nearest_args args = job->nearest;
  args.queries_count = count * job->patches;
  args.queries = tr_bench_at_lane(args.queries, lane, job->query_bytes);
  args.distances = tr_bench_at_lane(args.distances, lane, job->result_bytes);
  args.indices = tr_bench_at_lane(args.indices, lane, job->result_bytes);
  args.scratch = tr_bench_at_lane(args.scratch, lane, job->scratch_bytes);
  return tr_nearest(job->device, &args);
}

static tr_status measure_nearest(tr_bench *bench, size_t rows, int d, int k) {
  size_t patches = (size_t)tr_bench_side(bench) / 8 * ((size_t)tr_bench_side(bench) / 8), queries = bench->chunk * patches;
  search_job job = {.device = bench->device, .patches = patches};
  job.nearest = (tr_nearest_args){.group = patches, .bank_rows = rows, .d = d, .k = k};
  float *bank, *norms, *features;
  TR_TRY(prepare_bank(bench, rows, d, &bank, &norms));
  job.nearest.bank = bank;
  job.nearest.bank_norms = norms;
  TR_TRY(prepare_sketch(bench, bank, rows, d, &job.nearest.sketch));
  TR_TRY(tr_bench_features(bench, bench->lanes * queries, d, 13, &features));
  job.nearest.queries = features;
  job.query_bytes = queries * (size_t)d * sizeof(float);
  size_t results = queries * (size_t)k * sizeof(float);
  TR_TRY(tr_bench_alloc_lanes(bench, results, &job.result_bytes, (void **)&job.nearest.distances));
  TR_TRY(tr_bench_alloc_lanes(bench, results, &job.result_bytes, (void **)&job.nearest.indices));
  TR_TRY(tr_bench_alloc_lanes(bench, tr_nearest_scratch(bench->device, queries, patches, rows, d, k), &job.scratch_bytes,
                              &job.nearest.scratch));
  char shape[96];
  snprintf(shape, sizeof shape, "%zu of %zu x %d, k %d", patches, rows, d, k);
  double pairs = (double)patches * (double)rows;
  tr_status status =
      tr_bench_measure(bench,
                       &(tr_bench_case){.name = "nearest",
                                        .shape = shape,
                                        .flops = 2 * pairs * d,
                                        .bytes = TR_BENCH_FLOAT * d * ((double)patches + (double)rows / (double)bench->chunk),
                                        .fn = run_nearest,
                                        .context = &job},
                       false);
  tr_bench_release(bench);
  return status;
}

tr_status tr_bench_nearest(tr_bench *bench) {
  TR_TRY(measure_nearest(bench, tr_bench_bank_rows(bench), tr_bench_dimension(bench), 1));
  if (bench->options->quick)
    return TR_OK;
  TR_TRY(measure_nearest(bench, tr_bench_bank_rows(bench), tr_bench_dimension(bench), 9));
  return measure_nearest(bench, 1638, tr_bench_dimension(bench), 1);
}

static tr_status run_norms(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  (void)lane;
  const search_job *job = context;
  return tr_squared_norms(job->device, job->nearest.bank, job->nearest.bank_rows, job->nearest.d, job->nearest.distances);
}

tr_status tr_bench_squared_norms(tr_bench *bench) {
  size_t rows = tr_bench_bank_rows(bench);
  int d = tr_bench_dimension(bench);
  search_job job = {.device = bench->device, .nearest = {.bank_rows = rows, .d = d}};
  float *bank;
  TR_TRY(tr_bench_noise(bench, rows * (size_t)d, 14, &bank));
  job.nearest.bank = bank;
  TR_TRY(tr_bench_alloc(bench, rows * sizeof(float), (void **)&job.nearest.distances));
  char shape[96];
  snprintf(shape, sizeof shape, "%zu x %d", rows, d);
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "squared_norms",
                                           .shape = shape,
                                           .mode = TR_BENCH_WHOLE,
                                           .flops = 2.0 * (double)rows * d,
                                           .bytes = TR_BENCH_FLOAT * (double)rows * (d + 1),
                                           .fn = run_norms,
                                           .context = &job},
                          false);
}

static tr_status run_reweight(void *context, size_t first, size_t count, int lane) {
  (void)first;
  const search_job *job = context;
  tr_reweight_args args = job->reweight;
  args.n = (int)count;
  args.features = tr_bench_at_lane(args.features, lane, job->query_bytes);
  args.distances = tr_bench_at_lane(args.distances, lane, job->result_bytes);
  args.indices = tr_bench_at_lane(args.indices, lane, job->index_bytes);
  args.scores = tr_bench_at_lane(args.scores, lane, job->scores);
  args.scratch = tr_bench_at_lane(args.scratch, lane, job->scratch_bytes);
  return tr_reweight(job->device, &args);
}

tr_status tr_bench_reweight(tr_bench *bench) {
  size_t rows = tr_bench_bank_rows(bench), patches = (size_t)tr_bench_side(bench) / 8 * ((size_t)tr_bench_side(bench) / 8);
  size_t queries = bench->chunk * patches;
  int d = tr_bench_dimension(bench), b = 9;
  search_job job = {.device = bench->device};
  float *bank, *norms, *features, *distances;
  void *indices;
  TR_TRY(prepare_bank(bench, rows, d, &bank, &norms));
  TR_TRY(tr_bench_features(bench, bench->lanes * queries, d, 13, &features));
  job.query_bytes = queries * (size_t)d * sizeof(float);
  job.result_bytes = queries * sizeof(float);
  TR_TRY(tr_bench_noise(bench, bench->lanes * queries, 15, &distances));
  TR_TRY(tr_bench_alloc_lanes(bench, queries * sizeof(uint32_t), &job.index_bytes, &indices));
  TR_TRY(tr_device_zero(bench->device, indices, bench->lanes * job.index_bytes));
  TR_TRY(tr_bench_alloc_lanes(bench, bench->chunk * sizeof(float), &job.scores, (void **)&job.reweight.scores));
  TR_TRY(tr_bench_alloc_lanes(bench, tr_reweight_scratch(bench->device, (int)bench->chunk, (int)patches, rows, d, b),
                              &job.scratch_bytes, &job.reweight.scratch));
  job.reweight.patches = (int)patches;
  job.reweight.features = features;
  job.reweight.distances = distances;
  job.reweight.indices = indices;
  job.reweight.bank_rows = rows;
  job.reweight.bank = bank;
  job.reweight.bank_norms = norms;
  job.reweight.d = d;
  job.reweight.b = b;
  char shape[96];
  snprintf(shape, sizeof shape, "%zu patches, bank %zu x %d, b %d", patches, rows, d, b);
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "reweight",
                                           .shape = shape,
                                           .flops = 2.0 * (double)rows * d,
                                           .bytes = TR_BENCH_FLOAT * (double)rows * d / (double)bench->chunk,
                                           .fn = run_reweight,
                                           .context = &job},
                          false);
}
