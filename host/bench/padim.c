/* Cases of PaDiM's operators, channels and gaussian, and of its fit beside the backbone alone. */
#include "host/base/status.h"
#include "host/bench/cases.h"
#include "host/methods/method.h"
#include "kernels/gaussian.h"
#include "kernels/triangle.h"
#include <stdio.h>

/* ---- channels, gaussian: PaDiM's ---- */

typedef struct channels_job {
  tr_device *device;
  tr_channels_args args;
  size_t map_bytes[TR_MAX_LAYERS], dst_bytes, scratch_bytes; /* of a lane */
} channels_job;

static tr_status run_channels(void *context, size_t first, size_t count, int lane) {
  (void)first;
  const channels_job *job = context;
  tr_channels_args args = job->args;
  args.n = (int)count;
  for (int i = 0; i < args.spec.layers; ++i)
    args.maps[i] = tr_bench_at_lane(args.maps[i], lane, job->map_bytes[i]);
  args.dst = tr_bench_at_lane(args.dst, lane, job->dst_bytes);
  args.scratch = tr_bench_at_lane(args.scratch, lane, job->scratch_bytes);
  return tr_channels(job->device, &args);
}

static tr_status measure_channels(tr_bench *bench, tr_placement placement, const uint32_t *channels, int count) {
  int side = tr_bench_side(bench);
  channels_job job = {.device = bench->device};
  tr_channels_spec *spec = &job.args.spec;
  *spec = (tr_channels_spec){.layers = 3,
                             .h = {side / 4, side / 8, side / 16},
                             .w = {side / 4, side / 8, side / 16},
                             .c = {256, 512, 1024},
                             .placement = placement,
                             .count = count,
                             .channels = channels};
  for (int i = 0; i < 3; ++i) {
    size_t values = bench->chunk * (size_t)spec->h[i] * (size_t)spec->w[i] * (size_t)spec->c[i];
    float *map;
    TR_TRY(tr_bench_noise(bench, bench->lanes * values, 19, &map));
    job.args.maps[i] = map;
    job.map_bytes[i] = values * sizeof(float);
  }
  size_t grid = (size_t)spec->h[0] * (size_t)spec->w[0];
  job.args.position_pitch = tr_triangle_round((size_t)count); /* as PaDiM keeps them */
  job.args.image_pitch = grid * job.args.position_pitch;
  TR_TRY(
      tr_bench_alloc_lanes(bench, bench->chunk * job.args.image_pitch * sizeof(float), &job.dst_bytes, (void **)&job.args.dst));
  TR_TRY(tr_bench_alloc_lanes(bench, tr_channels_scratch(bench->device, spec, (int)bench->chunk), &job.scratch_bytes,
                              &job.args.scratch));
  char shape[96];
  snprintf(shape, sizeof shape, "%d of 1792 channels at %dx%d, %s", count, spec->h[0], spec->w[0],
           placement == TR_PLACE_NEAREST ? "nearest" : "bilinear");
  /* Of the maps only what was drawn counts: count / 1792 of each on average. */
  double part = count / 1792.0, read = part * (256 * (double)grid + 512 * (double)grid / 4 + 1024 * (double)grid / 16);
  tr_status status = tr_bench_measure(bench,
                                      &(tr_bench_case){.name = "channels",
                                                       .shape = shape,
                                                       .flops = placement == TR_PLACE_NEAREST ? 0 : 6.0 * (double)grid * count,
                                                       .bytes = TR_BENCH_FLOAT * (read + (double)grid * count),
                                                       .fn = run_channels,
                                                       .context = &job},
                                      false);
  tr_bench_release(bench);
  return status;
}

tr_status tr_bench_channels(tr_bench *bench) {
  enum { DRAWN = 550, ALL = 256 + 512 + 1024 };
  uint32_t channels[DRAWN];
  for (uint32_t i = 0; i < DRAWN; ++i)
    channels[i] = i * ALL / DRAWN;
  TR_TRY(measure_channels(bench, TR_PLACE_NEAREST, channels, DRAWN));
  return measure_channels(bench, TR_PLACE_BILINEAR, channels, DRAWN);
}

typedef struct gaussian_job {
  tr_device *device;
  tr_gaussian_args args;
  size_t batch, queries;
} gaussian_job;

static tr_status run_fit(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  (void)lane;
  const gaussian_job *job = context;
  tr_gaussian_args args = job->args;
  for (args.first = 0; args.first < args.spec.samples; args.first += job->batch) {
    size_t left = args.spec.samples - args.first;
    args.n = left < job->batch ? left : job->batch;
    TR_TRY(tr_gaussian_add(job->device, &args));
  }
  return tr_gaussian_finish(job->device, &args);
}

static tr_status run_distance(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  (void)lane;
  const gaussian_job *job = context;
  tr_gaussian_args args = job->args;
  args.n = job->queries;
  return tr_gaussian_distance(job->device, &args);
}

static tr_status prepare_gaussian(tr_bench *bench, gaussian_job *job) {
  tr_gaussian_args *a = &job->args;
  job->batch = tr_gaussian_batch(bench->device, &a->spec);
  job->queries = tr_gaussian_queries(bench->device);
  size_t most = job->batch > job->queries ? job->batch : job->queries;
  a->position_pitch = most * tr_gaussian_width(&a->spec);
  float *rows;
  TR_TRY(tr_bench_noise(bench, a->spec.positions * a->position_pitch, 20, &rows));
  a->rows = rows;
  tr_gaussian_bytes bytes = tr_gaussian_sizes(&a->spec);
  TR_TRY(tr_bench_alloc(bench, bytes.means, (void **)&a->gaussian.means));
  TR_TRY(tr_bench_alloc(bench, bytes.factors, (void **)&a->gaussian.factors));
  TR_TRY(tr_bench_alloc(bench, bytes.samples, (void **)&a->gaussian.samples));
  TR_TRY(tr_bench_alloc(bench, bytes.running, (void **)&a->gaussian.running));
  TR_TRY(tr_bench_alloc(bench, job->queries * a->spec.positions * sizeof(float), (void **)&a->distances));
  return tr_bench_alloc(bench, tr_gaussian_scratch(bench->device, &a->spec), &a->scratch);
}

/* Operations of the plain formulas: covariance or Gram matrix and its Cholesky factor; triangular products, and two products with the
 * samples. */
static void count_gaussian(const gaussian_job *job, double *fit_flops, double *distance_flops) {
  const tr_gaussian_spec *s = &job->args.spec;
  double p = (double)s->positions, n = (double)s->samples, d = s->d, q = (double)job->queries;
  bool samples = s->form == TR_GAUSSIAN_SAMPLES;
  *fit_flops = samples ? p * (n * n * d + n * n * n / 3) : p * (n * d * d + d * d * d / 3);
  *distance_flops = samples ? p * q * (4 * n * d + 2 * n * n) : p * q * d * d;
}

static tr_status measure_gaussian(tr_bench *bench, size_t samples, int d) {
  gaussian_job job = {.device = bench->device};
  size_t positions = (size_t)(bench->options->quick ? 16 : 56 * 56);
  job.args.spec = (tr_gaussian_spec){
      .positions = positions, .samples = samples, .d = d, .epsilon = 0.01, .form = tr_gaussian_best_form(samples, d)};
  job.args.positions = positions;
  TR_TRY(prepare_gaussian(bench, &job));
  double fit_flops, distance_flops;
  count_gaussian(&job, &fit_flops, &distance_flops);
  tr_gaussian_bytes sizes = tr_gaussian_sizes(&job.args.spec);
  double fitted = (double)(sizes.means + sizes.factors + sizes.samples), vector = TR_BENCH_FLOAT * (double)positions * d;
  char shape[96];
  snprintf(shape, sizeof shape, "fit %zu positions, %zu vectors of %d (%s)", positions, samples, d,
           tr_gaussian_form_name(job.args.spec.form));
  TR_TRY(tr_bench_measure(bench,
                          &(tr_bench_case){.name = "gaussian",
                                           .shape = shape,
                                           .mode = TR_BENCH_WHOLE,
                                           .flops = fit_flops,
                                           .bytes = vector * (double)samples + fitted,
                                           .fn = run_fit,
                                           .context = &job},
                          false));
  snprintf(shape, sizeof shape, "distances of %zu from them", job.queries);
  TR_TRY(tr_bench_measure(bench,
                          &(tr_bench_case){.name = "gaussian",
                                           .shape = shape,
                                           .mode = TR_BENCH_WHOLE,
                                           .flops = distance_flops,
                                           .bytes = vector * (double)job.queries + fitted,
                                           .fn = run_distance,
                                           .context = &job},
                          false));
  tr_bench_release(bench);
  return TR_OK;
}

tr_status tr_bench_gaussian(tr_bench *bench) {
  if (bench->options->quick) {
    TR_TRY(measure_gaussian(bench, 20, 100));
    return measure_gaussian(bench, 150, 60);
  }
  TR_TRY(measure_gaussian(bench, 391, 550)); /* hazelnut by WideResNet50, as in PaDiM's paper: the most images */
  TR_TRY(measure_gaussian(bench, 120, 550)); /* bottle by ResNet50 */
  TR_TRY(measure_gaussian(bench, 60, 550));  /* toothbrush: the fewest */
  return measure_gaussian(bench, 209, 100);  /* bottle by ResNet18 */
}

/* ---- padim: the fit of a class, backbone included ---- */

typedef struct fit_job {
  tr_device *device;
  tr_bench_network network;
  tr_method_options options;
  tr_model *model; /* NULL: the backbone alone */
  size_t images;
} fit_job;

static tr_status fit_chunk(void *context, size_t first, size_t count, int lane) {
  fit_job *job = context;
  float *taps[TR_MAX_LAYERS];
  TR_TRY(tr_bench_network_run(&job->network, first, count, lane));
  tr_bench_network_taps(&job->network, lane, taps);
  TR_TRY(tr_device_sync(job->device));
  return job->model ? tr_method_padim.fit_images(job->model, lane, first, count, (const float *const *)taps) : TR_OK;
}

static tr_status pass_images(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  (void)lane;
  fit_job *job = context;
  return tr_device_for_chunks(job->device, job->images, fit_chunk, job);
}

static tr_status fit_model(void *context, size_t first, size_t count, int lane) {
  fit_job *job = context;
  TR_TRY(tr_method_padim.create(&job->options, &job->model));
  tr_status status = pass_images(context, first, count, lane);
  if (status == TR_OK)
    status = tr_method_padim.fit_end(job->model);
  tr_method_padim.destroy(job->model);
  job->model = NULL;
  return status;
}

/* The backbone's median first, then the fit's, as a multiple of it. */
static tr_status measure_fit(tr_bench *bench, fit_job *job, const char *backbone, double flops, double bytes) {
  tr_bench_case item = {.name = "padim",
                        .shape = "backbone alone",
                        .mode = TR_BENCH_WHOLE,
                        .flops = flops,
                        .bytes = bytes,
                        .fn = pass_images,
                        .context = job};
  TR_TRY(tr_bench_measure(bench, &item, true));
  double alone = bench->last.median;
  item.fn = fit_model;
  TR_TRY(tr_bench_measure(bench, &item, true));
  tr_bench_row *row = &bench->last;
  row->ratio = row->median / alone;
  row->ratio_to = "the backbone alone";
  snprintf(row->shape, sizeof row->shape, "fit of %zu images, %s", job->images, backbone);
  bench->options->row(bench->options->context, &bench->limits, row);
  return TR_OK;
}

/* MVTec bottle's 120 images by ResNet50. */
tr_status tr_bench_padim(tr_bench *bench) {
  static const char *const layers[] = {"layer1", "layer2", "layer3"};
  bool quick = bench->options->quick;
  const char *backbone = quick ? "resnet18" : "resnet50_v1";
  int side = tr_bench_side(bench);
  size_t device_bytes;
  double macs, bytes = 0;
  /* Random weights make large features, and every lane has one image: a covariance that only a large epsilon makes definite. */
  tr_variant variant = {.dimension = quick ? 50 : 550, .placement = TR_PLACE_NEAREST, .epsilon = 1e6};
  tr_backbone_options options = {.architecture = backbone, .layers = layers, .layer_count = 3, .in_h = side, .in_w = side};
  fit_job job = {.device = bench->device, .images = quick ? bench->lanes * bench->chunk : 120};
  job.options = (tr_method_options){.device = bench->device,
                                    .aggregate = {.kind = TR_AGGREGATE_CONCAT, .layers = 3, .patch = 1, .stride = 1},
                                    .in_h = side,
                                    .in_w = side,
                                    .train_images = job.images,
                                    .variants = &variant,
                                    .variant_count = 1};
  tr_aggregate_spec *maps = &job.options.aggregate;
  TR_TRY(tr_backbone_shapes(bench->device, &options, maps->h, maps->w, maps->c));
  TR_TRY(tr_backbone_forecast(bench->device, &options, &device_bytes, &macs));
  tr_status status = tr_bench_network_prepare(bench, &options, &job.network, &bytes);
  if (status == TR_OK)
    status = measure_fit(bench, &job, backbone, 2 * macs * (double)job.images, bytes * (double)job.images);
  tr_backbone_destroy(job.network.backbone);
  tr_bench_release(bench);
  return status;
}
