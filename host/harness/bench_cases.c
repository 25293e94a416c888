/* The cases: shapes of MVTec bottle through ResNet50 (layer2 28x28x512, layer3 14x14x1024 at 224 pixels), 120 training images
 * worth of patches (94,080), and a bank of 16,385 rows. Operators that work on images run in the device's lanes, a chunk a call,
 * as the harness runs them; those that work on banks have all threads. */
#include "host/harness/bench_cases.h"
#include "host/backbone/graph.h"
#include "host/base/rng.h"
#include "host/base/status.h"
#include "kernels/coreset.h"
#include "kernels/project.h"
#include "kernels/resize.h"
#include "kernels/reweight.h"
#include "kernels/smooth.h"
#include "kernels/sort_scan.h"
#include "kernels/upsample.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FLOAT_BYTES ((double)sizeof(float))

static int image_side(const tr_bench *bench) {
  return bench->options->quick ? 64 : 224;
}
static int dimension(const tr_bench *bench) {
  return bench->options->quick ? 256 : 1024;
}
static size_t bank_rows(const tr_bench *bench) {
  return bench->options->quick ? 1025 : 16385;
}
static size_t training_rows(const tr_bench *bench) {
  return bench->options->quick ? 2000 : 94080;
}

/* The same bytes for every lane: lane i's begin at i * bytes. Rounded up, as operators want their memory aligned. */
static tr_status alloc_lanes(tr_bench *bench, size_t bytes, size_t *lane_bytes, void **out) {
  *lane_bytes = (bytes + 63) / 64 * 64;
  return tr_bench_alloc(bench, bench->lanes * *lane_bytes, out);
}

static void *at_lane(void *memory, int lane, size_t lane_bytes) {
  return memory ? (char *)memory + (size_t)lane * lane_bytes : NULL;
}

/* ---- copy ---- */

typedef struct copy_job {
  tr_device *device;
  void *from, *to, *host;
  size_t bytes;
} copy_job;

static tr_status copy_within(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  const copy_job *job = context;
  return tr_device_copy(job->device, at_lane(job->to, lane, job->bytes), at_lane(job->from, lane, job->bytes), job->bytes);
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
  TR_TRY(alloc_lanes(bench, bytes, &job->bytes, &job->from));
  TR_TRY(alloc_lanes(bench, bytes, &job->bytes, &job->to));
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

static tr_status bench_copy(tr_bench *bench) {
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

/* ---- resize ---- */

typedef struct resize_job {
  tr_device *device;
  tr_resize_args args;
  size_t pixels, out_bytes, scratch_bytes; /* of an image; of a lane; of a lane */
} resize_job;

static tr_status run_resize(void *context, size_t first, size_t count, int lane) {
  (void)first;
  const resize_job *job = context;
  for (size_t i = 0; i < count; ++i) {
    tr_resize_args args = job->args;
    args.dst = (float *)at_lane(args.dst, lane, job->out_bytes) + i * job->pixels;
    args.scratch = at_lane(args.scratch, lane, job->scratch_bytes);
    TR_TRY(tr_resize(job->device, &args));
  }
  return TR_OK;
}

static tr_status bench_resize(tr_bench *bench) {
  static const float mean[] = {0.485f, 0.456f, 0.406f}, std[] = {0.229f, 0.224f, 0.225f};
  int side = image_side(bench), source = bench->options->quick ? 90 : 900;
  resize_job job = {.device = bench->device};
  job.args = (tr_resize_args){.src_h = source,
                              .src_w = source,
                              .channels = 3,
                              .spec = {.resize = side + side / 7, .crop = side},
                              .mean = mean,
                              .std = std};
  job.pixels = (size_t)side * (size_t)side * 3;
  double scale = (double)source / job.args.spec.resize, taps = 2 * scale + 1;
  double rows = side * scale + taps;
  float *noise;
  TR_TRY(tr_bench_noise(bench, (size_t)source * (size_t)source * 3 / sizeof(float) + 1, 1, &noise));
  job.args.src = (const uint8_t *)noise;
  TR_TRY(alloc_lanes(bench, bench->chunk * job.pixels * sizeof(float), &job.out_bytes, (void **)&job.args.dst));
  TR_TRY(alloc_lanes(bench, tr_resize_scratch(&job.args.spec, source, source, 3), &job.scratch_bytes, &job.args.scratch));
  char shape[96];
  snprintf(shape, sizeof shape, "%dx%dx3 u8 -> %d -> %dx%dx3", source, source, job.args.spec.resize, side, side);
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "resize",
                                           .shape = shape,
                                           .flops = 2 * taps * 3 * side * (rows + side),
                                           .bytes = 3.0 * source * source + FLOAT_BYTES * (double)job.pixels,
                                           .fn = run_resize,
                                           .context = &job},
                          false);
}

/* ---- conv ---- */

typedef struct conv_shape {
  int reduction; /* of the image's side */
  int in, out, kernel, stride, groups;
  bool residual;
  bool in_quick;
} conv_shape;

/* ResNet50: the stem, and the blocks of layers 1 to 3; WideResNet50's and ResNeXt101's 3x3; EfficientNet-Lite0's depthwise 5x5. */
static const conv_shape conv_shapes[] = {
    {1, 3, 64, 7, 2, 1, false, true},      {4, 64, 64, 3, 1, 1, false, true},     {4, 64, 256, 1, 1, 1, true, true},
    {8, 512, 128, 1, 1, 1, false, false},  {8, 128, 128, 3, 1, 1, false, false},  {8, 512, 1024, 1, 2, 1, false, false},
    {16, 1024, 256, 1, 1, 1, false, true}, {16, 256, 256, 3, 1, 1, false, false}, {16, 256, 1024, 1, 1, 1, true, false},
    {8, 256, 256, 3, 1, 1, false, false},  {16, 512, 512, 3, 1, 1, false, false}, {8, 512, 512, 3, 1, 32, false, false},
    {16, 480, 480, 5, 1, 480, false, true}};

typedef struct conv_job {
  tr_conv *conv;
  float *src, *dst, *residual;
  void *scratch;
  size_t src_bytes, dst_bytes, scratch_bytes; /* of a lane */
} conv_job;

static tr_status run_conv(void *context, size_t first, size_t count, int lane) {
  (void)first;
  const conv_job *job = context;
  return tr_conv_run(job->conv, &(tr_conv_args){.n = (int)count,
                                                .src = at_lane(job->src, lane, job->src_bytes),
                                                .dst = at_lane(job->dst, lane, job->dst_bytes),
                                                .residual = at_lane(job->residual, lane, job->dst_bytes),
                                                .scratch = at_lane(job->scratch, lane, job->scratch_bytes)});
}

static tr_status create_conv(tr_bench *bench, const tr_conv_desc *desc, tr_conv **out) {
  size_t count =
      (size_t)desc->out_channels * (size_t)(desc->in_channels / desc->groups) * (size_t)desc->kernel_h * (size_t)desc->kernel_w;
  float *weights = malloc((count + (size_t)desc->out_channels) * sizeof *weights);
  if (!weights)
    return tr_fail(TR_ENOMEM, "bench: weights: out of memory");
  tr_rng rng = tr_rng_make(1, TR_RNG_WEIGHTS, count);
  for (size_t i = 0; i < count + (size_t)desc->out_channels; ++i)
    weights[i] = tr_rng_between(&rng, -0.05f, 0.05f);
  tr_status status = tr_conv_create(bench->device, desc, weights, weights + count, out);
  free(weights);
  return status;
}

static tr_status prepare_conv(tr_bench *bench, const tr_conv_desc *desc, conv_job *job) {
  int h, w;
  tr_conv_shape(desc, &h, &w);
  size_t src = bench->chunk * (size_t)desc->in_h * (size_t)desc->in_w * (size_t)desc->in_channels;
  size_t dst = bench->chunk * (size_t)h * (size_t)w * (size_t)desc->out_channels, state, scratch;
  job->src_bytes = src * sizeof(float); /* whole lines: a multiple of 16 pixels */
  TR_TRY(tr_bench_noise(bench, bench->lanes * src, 2, &job->src));
  TR_TRY(alloc_lanes(bench, dst * sizeof(float), &job->dst_bytes, (void **)&job->dst));
  if (desc->has_residual)
    TR_TRY(tr_bench_noise(bench, bench->lanes * dst, 3, &job->residual));
  TR_TRY(tr_conv_bytes(bench->device, desc, (int)bench->chunk, &state, &scratch));
  TR_TRY(alloc_lanes(bench, scratch, &job->scratch_bytes, &job->scratch));
  return create_conv(bench, desc, &job->conv);
}

static tr_status measure_conv(tr_bench *bench, const conv_shape *s, bool quietly) {
  int side = image_side(bench) / s->reduction, pad = s->kernel / 2, h, w;
  tr_conv_desc desc = {.in_h = side,
                       .in_w = side,
                       .in_channels = s->in,
                       .out_channels = s->out,
                       .kernel_h = s->kernel,
                       .kernel_w = s->kernel,
                       .stride = s->stride,
                       .groups = s->groups,
                       .pad_top = pad,
                       .pad_left = pad,
                       .pad_bottom = pad,
                       .pad_right = pad,
                       .src_pixel_stride = s->in,
                       .dst_pixel_stride = s->out,
                       .has_residual = s->residual,
                       .activation = TR_ACT_RELU};
  tr_conv_shape(&desc, &h, &w);
  double pixels = (double)h * w, weights = (double)s->out * (s->in / s->groups) * s->kernel * s->kernel;
  double values = (double)side * side * s->in + (s->residual ? 2 : 1) * pixels * s->out + weights / (double)bench->chunk;
  char shape[96], grouped[32] = "";
  if (s->groups > 1)
    snprintf(grouped, sizeof grouped, ", %d groups", s->groups);
  snprintf(shape, sizeof shape, "%dx%d%s %d->%d at %dx%d%s%s", s->kernel, s->kernel, s->stride == 2 ? "/2" : "", s->in, s->out,
           side, side, s->residual ? " + residual" : "", grouped);
  conv_job job = {0};
  tr_status status = prepare_conv(bench, &desc, &job);
  if (status == TR_OK)
    status = tr_bench_measure(bench,
                              &(tr_bench_case){.name = "conv",
                                               .shape = shape,
                                               .flops = 2 * pixels * weights,
                                               .bytes = FLOAT_BYTES * values,
                                               .fn = run_conv,
                                               .context = &job},
                              quietly);
  tr_conv_destroy(job.conv);
  tr_bench_release(bench);
  return status;
}

static tr_status bench_conv(tr_bench *bench) {
  for (size_t i = 0; i < sizeof conv_shapes / sizeof *conv_shapes; ++i)
    if (conv_shapes[i].in_quick || !bench->options->quick)
      TR_TRY(measure_conv(bench, &conv_shapes[i], false));
  return TR_OK;
}

/* ---- backbone ---- */

typedef struct backbone_job {
  tr_backbone *backbone;
  float *images, *taps[TR_MAX_LAYERS];
  size_t image_bytes, tap_bytes[TR_MAX_LAYERS]; /* of a lane */
  int layers;
} backbone_job;

static tr_status run_backbone(void *context, size_t first, size_t count, int lane) {
  (void)first;
  const backbone_job *job = context;
  float *taps[TR_MAX_LAYERS];
  for (int i = 0; i < job->layers; ++i)
    taps[i] = at_lane(job->taps[i], lane, job->tap_bytes[i]);
  return tr_backbone_run(job->backbone, lane, (int)count, at_lane(job->images, lane, job->image_bytes), taps);
}

static tr_status prepare_backbone(tr_bench *bench, const tr_backbone_options *options, backbone_job *job, double *bytes) {
  size_t input = bench->chunk * (size_t)options->in_h * (size_t)options->in_w * 3;
  job->layers = options->layer_count;
  job->image_bytes = input * sizeof(float);
  *bytes = (double)job->image_bytes;
  TR_TRY(tr_backbone_create(bench->device, options, NULL, &job->backbone));
  TR_TRY(tr_bench_noise(bench, bench->lanes * input, 4, &job->images));
  for (int i = 0; i < job->layers; ++i) {
    int h, w, c;
    tr_backbone_tap_shape(job->backbone, i, &h, &w, &c);
    size_t tap = bench->chunk * (size_t)h * (size_t)w * (size_t)c * sizeof(float);
    *bytes += (double)tap;
    TR_TRY(alloc_lanes(bench, tap, &job->tap_bytes[i], (void **)&job->taps[i]));
  }
  *bytes /= (double)bench->chunk;
  return TR_OK;
}

static tr_status measure_backbone(tr_bench *bench, const char *architecture, const char *first, const char *second) {
  int side = image_side(bench);
  const char *layers[] = {first, second};
  tr_backbone_options options = {.architecture = architecture, .layers = layers, .layer_count = 2, .in_h = side, .in_w = side};
  size_t device_bytes;
  double macs, bytes = 0;
  TR_TRY(tr_backbone_forecast(bench->device, &options, &device_bytes, &macs));
  char shape[96];
  snprintf(shape, sizeof shape, "%s to %s, %dx%d", architecture, second, side, side);
  backbone_job job = {0};
  tr_status status = prepare_backbone(bench, &options, &job, &bytes);
  if (status == TR_OK)
    status = tr_bench_measure(
        bench,
        &(tr_bench_case){
            .name = "backbone", .shape = shape, .flops = 2 * macs, .bytes = bytes, .fn = run_backbone, .context = &job},
        false);
  tr_backbone_destroy(job.backbone);
  tr_bench_release(bench);
  return status;
}

static tr_status bench_backbone(tr_bench *bench) {
  if (bench->options->quick)
    return measure_backbone(bench, "resnet18", "layer1", "layer2");
  TR_TRY(measure_backbone(bench, "resnet50", "layer2", "layer3"));
  TR_TRY(measure_backbone(bench, "wide_resnet50_2", "layer2", "layer3"));
  TR_TRY(measure_backbone(bench, "densenet201", "denseblock2", "denseblock3"));
  return measure_backbone(bench, "efficientnet_lite0", "blocks.2", "blocks.4");
}

/* ---- pool and affine ---- */

typedef struct pool_job {
  tr_device *device;
  tr_pool_args pool;
  tr_affine_args affine;
  size_t src_bytes, dst_bytes; /* of a lane */
} pool_job;

static tr_status run_pool(void *context, size_t first, size_t count, int lane) {
  (void)first;
  const pool_job *job = context;
  tr_pool_args args = job->pool;
  args.n = (int)count;
  args.src = at_lane((void *)(uintptr_t)args.src, lane, job->src_bytes);
  args.dst = at_lane(args.dst, lane, job->dst_bytes);
  return tr_pool_run2d(job->device, &args);
}

static tr_status run_affine(void *context, size_t first, size_t count, int lane) {
  (void)first;
  const pool_job *job = context;
  tr_affine_args args = job->affine;
  args.n = (int)count;
  args.src = at_lane((void *)(uintptr_t)args.src, lane, job->src_bytes);
  args.dst = at_lane(args.dst, lane, job->dst_bytes);
  return tr_affine(job->device, &args);
}

static tr_status bench_pool(tr_bench *bench) {
  int side = image_side(bench) / 2, h, w;
  pool_job job = {.device = bench->device};
  job.pool = (tr_pool_args){.kind = TR_POOL_MAX,
                            .in_h = side,
                            .in_w = side,
                            .channels = 64,
                            .kernel = 3,
                            .stride = 2,
                            .pad = 1,
                            .src_pixel_stride = 64,
                            .dst_pixel_stride = 64};
  tr_pool_shape(&job.pool, &h, &w);
  size_t src = bench->chunk * (size_t)side * (size_t)side * 64;
  size_t dst = bench->chunk * (size_t)h * (size_t)w * 64;
  float *noise;
  TR_TRY(tr_bench_noise(bench, bench->lanes * src, 5, &noise));
  job.pool.src = noise;
  job.src_bytes = src * sizeof(float);
  TR_TRY(alloc_lanes(bench, dst * sizeof(float), &job.dst_bytes, (void **)&job.pool.dst));
  char shape[96];
  snprintf(shape, sizeof shape, "max 3x3/2 at %dx%dx64", side, side);
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "pool",
                                           .shape = shape,
                                           .flops = 9.0 * h * w * 64,
                                           .bytes = FLOAT_BYTES * (double)(src + dst) / (double)bench->chunk,
                                           .fn = run_pool,
                                           .context = &job},
                          false);
}

static tr_status bench_affine(tr_bench *bench) {
  int side = image_side(bench) / 4, channels = 256;
  size_t values = (size_t)side * (size_t)side * (size_t)channels;
  pool_job job = {.device = bench->device};
  job.affine = (tr_affine_args){.h = side,
                                .w = side,
                                .channels = channels,
                                .src_pixel_stride = channels,
                                .dst_pixel_stride = channels,
                                .activation = TR_ACT_RELU};
  float *noise, *scale;
  TR_TRY(tr_bench_noise(bench, bench->lanes * bench->chunk * values, 6, &noise));
  TR_TRY(tr_bench_noise(bench, 2 * (size_t)channels, 7, &scale));
  job.affine.src = noise;
  job.affine.scale = scale;
  job.affine.shift = scale + channels;
  job.src_bytes = bench->chunk * values * sizeof(float);
  TR_TRY(alloc_lanes(bench, job.src_bytes, &job.dst_bytes, (void **)&job.affine.dst));
  char shape[96];
  snprintf(shape, sizeof shape, "ReLU(scale x + shift) at %dx%dx%d", side, side, channels);
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "affine",
                                           .shape = shape,
                                           .flops = 2.0 * (double)values,
                                           .bytes = 2 * FLOAT_BYTES * (double)values,
                                           .fn = run_affine,
                                           .context = &job},
                          false);
}

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
    args.maps[i] = at_lane((void *)(uintptr_t)args.maps[i], lane, job->map_bytes[i]);
  args.dst = at_lane(args.dst, lane, job->dst_bytes);
  args.scratch = at_lane(args.scratch, lane, job->scratch_bytes);
  return tr_aggregate(job->device, &args);
}

static tr_status measure_aggregate(tr_bench *bench, tr_aggregate_kind kind, int patch, const int channels[2]) {
  int side = image_side(bench), grid_h, grid_w, d;
  aggregate_job job = {.device = bench->device};
  tr_aggregate_spec *spec = &job.args.spec;
  *spec = (tr_aggregate_spec){.kind = kind,
                              .layers = 2,
                              .h = {side / 8, side / 16},
                              .w = {side / 8, side / 16},
                              .c = {channels[0], channels[1]},
                              .patch = patch,
                              .stride = 1,
                              .layer_dimension = dimension(bench),
                              .dimension = dimension(bench)};
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
  TR_TRY(alloc_lanes(bench, bench->chunk * (size_t)written * sizeof(float), &job.dst_bytes, (void **)&job.args.dst));
  TR_TRY(alloc_lanes(bench, tr_aggregate_scratch(bench->device, spec, (int)bench->chunk), &job.scratch_bytes, &job.args.scratch));
  char shape[96];
  snprintf(shape, sizeof shape, "%s p %d, %dx%dx%d + %dx%dx%d -> %d", kind == TR_AGGREGATE_CONCAT ? "concat" : "official", patch,
           spec->h[0], spec->w[0], spec->c[0], spec->h[1], spec->w[1], spec->c[1], d);
  tr_status status = tr_bench_measure(bench,
                                      &(tr_bench_case){.name = "aggregate",
                                                       .shape = shape,
                                                       .flops = patch * patch * read,
                                                       .bytes = FLOAT_BYTES * (read + written),
                                                       .fn = run_aggregate,
                                                       .context = &job},
                                      false);
  tr_bench_release(bench);
  return status;
}

static tr_status bench_aggregate(tr_bench *bench) {
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
                                           .bytes = FLOAT_BYTES * ((double)n * (d + d_star) + (double)d * d_star),
                                           .fn = run_project,
                                           .context = &job},
                          quietly);
}

static tr_status bench_project(tr_bench *bench) {
  return measure_project(bench, training_rows(bench), dimension(bench), 128, false);
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

static tr_status bench_coreset(tr_bench *bench) {
  enum { STARTS = 10 };
  size_t n = training_rows(bench), picks = n / 10;
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
                                               .bytes = FLOAT_BYTES * (double)n * d,
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
  args.queries = at_lane((void *)(uintptr_t)args.queries, lane, job->query_bytes);
  args.distances = at_lane(args.distances, lane, job->result_bytes);
  args.indices = at_lane(args.indices, lane, job->result_bytes);
  args.scratch = at_lane(args.scratch, lane, job->scratch_bytes);
  return tr_nearest(job->device, &args);
}

static tr_status measure_nearest(tr_bench *bench, size_t rows, int d, int k) {
  size_t patches = (size_t)image_side(bench) / 8 * ((size_t)image_side(bench) / 8), queries = bench->chunk * patches;
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
  TR_TRY(alloc_lanes(bench, results, &job.result_bytes, (void **)&job.nearest.distances));
  TR_TRY(alloc_lanes(bench, results, &job.result_bytes, (void **)&job.nearest.indices));
  TR_TRY(alloc_lanes(bench, tr_nearest_scratch(bench->device, queries, patches, rows, d, k), &job.scratch_bytes,
                     &job.nearest.scratch));
  char shape[96];
  snprintf(shape, sizeof shape, "%zu of %zu x %d, k %d", patches, rows, d, k);
  double pairs = (double)patches * (double)rows;
  tr_status status =
      tr_bench_measure(bench,
                       &(tr_bench_case){.name = "nearest",
                                        .shape = shape,
                                        .flops = 2 * pairs * d,
                                        .bytes = FLOAT_BYTES * d * ((double)patches + (double)rows / (double)bench->chunk),
                                        .fn = run_nearest,
                                        .context = &job},
                       false);
  tr_bench_release(bench);
  return status;
}

static tr_status bench_nearest(tr_bench *bench) {
  TR_TRY(measure_nearest(bench, bank_rows(bench), dimension(bench), 1));
  if (bench->options->quick)
    return TR_OK;
  TR_TRY(measure_nearest(bench, bank_rows(bench), dimension(bench), 9));
  return measure_nearest(bench, 1638, dimension(bench), 1);
}

static tr_status run_norms(void *context, size_t first, size_t count, int lane) {
  (void)first;
  (void)count;
  (void)lane;
  const search_job *job = context;
  return tr_squared_norms(job->device, job->nearest.bank, job->nearest.bank_rows, job->nearest.d, job->nearest.distances);
}

static tr_status bench_squared_norms(tr_bench *bench) {
  size_t rows = bank_rows(bench);
  int d = dimension(bench);
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
                                           .bytes = FLOAT_BYTES * (double)rows * (d + 1),
                                           .fn = run_norms,
                                           .context = &job},
                          false);
}

static tr_status run_reweight(void *context, size_t first, size_t count, int lane) {
  (void)first;
  const search_job *job = context;
  tr_reweight_args args = job->reweight;
  args.n = (int)count;
  args.features = at_lane((void *)(uintptr_t)args.features, lane, job->query_bytes);
  args.distances = at_lane((void *)(uintptr_t)args.distances, lane, job->result_bytes);
  args.indices = at_lane((void *)(uintptr_t)args.indices, lane, job->index_bytes);
  args.scores = at_lane(args.scores, lane, job->scores);
  args.scratch = at_lane(args.scratch, lane, job->scratch_bytes);
  return tr_reweight(job->device, &args);
}

static tr_status bench_reweight(tr_bench *bench) {
  size_t rows = bank_rows(bench), patches = (size_t)image_side(bench) / 8 * ((size_t)image_side(bench) / 8);
  size_t queries = bench->chunk * patches;
  int d = dimension(bench), b = 9;
  search_job job = {.device = bench->device};
  float *bank, *norms, *features, *distances;
  void *indices;
  TR_TRY(prepare_bank(bench, rows, d, &bank, &norms));
  TR_TRY(tr_bench_features(bench, bench->lanes * queries, d, 13, &features));
  job.query_bytes = queries * (size_t)d * sizeof(float);
  job.result_bytes = queries * sizeof(float);
  TR_TRY(tr_bench_noise(bench, bench->lanes * queries, 15, &distances));
  TR_TRY(alloc_lanes(bench, queries * sizeof(uint32_t), &job.index_bytes, &indices));
  TR_TRY(tr_device_zero(bench->device, indices, bench->lanes * job.index_bytes));
  TR_TRY(alloc_lanes(bench, bench->chunk * sizeof(float), &job.scores, (void **)&job.reweight.scores));
  TR_TRY(alloc_lanes(bench, tr_reweight_scratch(bench->device, (int)bench->chunk, (int)patches, rows, d, b), &job.scratch_bytes,
                     &job.reweight.scratch));
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
                                           .bytes = FLOAT_BYTES * (double)rows * d / (double)bench->chunk,
                                           .fn = run_reweight,
                                           .context = &job},
                          false);
}

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
                                                      .src = at_lane(job->scores, lane, job->score_bytes),
                                                      .dst = at_lane(job->maps, lane, job->map_bytes)});
}

static tr_status run_smooth(void *context, size_t first, size_t count, int lane) {
  (void)first;
  const map_job *job = context;
  return tr_smooth(job->device, &(tr_smooth_args){.n = (int)count,
                                                  .h = job->side,
                                                  .w = job->side,
                                                  .sigma = 4,
                                                  .maps = at_lane(job->maps, lane, job->map_bytes),
                                                  .scratch = at_lane(job->scratch, lane, job->scratch_bytes)});
}

static tr_status prepare_maps(tr_bench *bench, map_job *job) {
  *job = (map_job){.device = bench->device, .grid = image_side(bench) / 8, .side = image_side(bench)};
  size_t grid = bench->chunk * (size_t)job->grid * (size_t)job->grid, map = bench->chunk * (size_t)job->side * (size_t)job->side;
  job->score_bytes = grid * sizeof(float);
  job->map_bytes = map * sizeof(float);
  TR_TRY(tr_bench_noise(bench, bench->lanes * grid, 16, &job->scores));
  return tr_bench_noise(bench, bench->lanes * map, 17, &job->maps);
}

static tr_status bench_upsample(tr_bench *bench) {
  map_job job;
  TR_TRY(prepare_maps(bench, &job));
  char shape[96];
  snprintf(shape, sizeof shape, "%dx%d -> %dx%d", job.grid, job.grid, job.side, job.side);
  double pixels = (double)job.side * job.side;
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "upsample",
                                           .shape = shape,
                                           .flops = 6 * pixels,
                                           .bytes = FLOAT_BYTES * (pixels + (double)job.grid * job.grid),
                                           .fn = run_upsample,
                                           .context = &job},
                          false);
}

static tr_status bench_smooth(tr_bench *bench) {
  map_job job;
  TR_TRY(prepare_maps(bench, &job));
  TR_TRY(alloc_lanes(bench, tr_smooth_scratch(bench->device, (int)bench->chunk, job.side, job.side), &job.scratch_bytes,
                     &job.scratch));
  char shape[96];
  snprintf(shape, sizeof shape, "%dx%d, sigma 4", job.side, job.side);
  double pixels = (double)job.side * job.side, taps = 2 * 16 + 1;
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "smooth",
                                           .shape = shape,
                                           .flops = 2 * 2 * taps * pixels,
                                           .bytes = 2 * FLOAT_BYTES * pixels,
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

static tr_status bench_sort_scan(tr_bench *bench) {
  size_t n = (size_t)(bench->options->quick ? 1 : 83) * (size_t)image_side(bench) * (size_t)image_side(bench);
  sort_job job = {.device = bench->device, .args.n = n};
  TR_TRY(tr_bench_noise(bench, n, 18, &job.unsorted));
  TR_TRY(tr_bench_alloc(bench, n * sizeof(float), (void **)&job.args.keys));
  TR_TRY(tr_bench_alloc(bench, n * sizeof(uint32_t), (void **)&job.args.payload));
  TR_TRY(tr_device_zero(bench->device, job.args.payload, n * sizeof(uint32_t)));
  TR_TRY(tr_bench_alloc(bench, tr_sort_scan_scratch(bench->device, n), &job.args.scratch));
  char shape[96];
  snprintf(shape, sizeof shape, "%zu pairs, copied first", n);
  double copied = 2 * FLOAT_BYTES * (double)n, sorted = 2 * 2 * FLOAT_BYTES * (double)n;
  return tr_bench_measure(
      bench,
      &(tr_bench_case){
          .name = "sort_scan", .shape = shape, .mode = TR_BENCH_WHOLE, .bytes = copied + sorted, .fn = run_sort, .context = &job},
      false);
}

/* ---- limits ---- */

/* The faster of a product by the library for matrices and of a convolution by the library for networks: on some machines one of
 * them, on some the other, is nearer to the peak. */
tr_status tr_bench_measure_limits(tr_bench *bench) {
  static const conv_shape dense = {8, 256, 256, 3, 1, 1, false, true};
  copy_job copy;
  TR_TRY(prepare_copy(bench, &copy));
  TR_TRY(measure_copy(bench, &copy, true));
  bench->limits.bytes = bench->last.bytes / bench->last.minimum;
  tr_bench_release(bench);
  int d = bench->options->quick ? 256 : 2048;
  TR_TRY(measure_project(bench, (size_t)4 * (size_t)d, d, d, true));
  bench->limits.flops = bench->last.flops / bench->last.minimum;
  tr_bench_release(bench);
  TR_TRY(measure_conv(bench, &dense, true));
  bench->limits.flops = fmax(bench->limits.flops, bench->last.flops / bench->last.minimum);
  return TR_OK;
}

const tr_bench_group tr_bench_groups[] = {
    {"copy", bench_copy},           {"resize", bench_resize},     {"conv", bench_conv},
    {"backbone", bench_backbone},   {"pool", bench_pool},         {"affine", bench_affine},
    {"aggregate", bench_aggregate}, {"project", bench_project},   {"coreset", bench_coreset},
    {"nearest", bench_nearest},     {"reweight", bench_reweight}, {"squared_norms", bench_squared_norms},
    {"upsample", bench_upsample},   {"smooth", bench_smooth},     {"sort_scan", bench_sort_scan},
};
const size_t tr_bench_group_count = sizeof tr_bench_groups / sizeof *tr_bench_groups;
