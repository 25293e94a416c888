/* Cases of the network: resize, conv, whole backbones, pool, affine. */
#include "host/backbone/graph.h"
#include "host/base/rng.h"
#include "host/base/status.h"
#include "host/bench/cases.h"
#include "kernels/operators.h"
#include <stdio.h>
#include <stdlib.h>

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
    args.dst = (float *)tr_bench_at_lane(args.dst, lane, job->out_bytes) + i * job->pixels;
    args.scratch = tr_bench_at_lane(args.scratch, lane, job->scratch_bytes);
    TR_TRY(tr_resize(job->device, &args));
  }
  return TR_OK;
}

tr_status tr_bench_resize(tr_bench *bench) {
  static const float mean[] = {0.485f, 0.456f, 0.406f}, std[] = {0.229f, 0.224f, 0.225f};
  int side = tr_bench_side(bench), source = bench->options->quick ? 90 : 900;
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
  TR_TRY(tr_bench_alloc_lanes(bench, bench->chunk * job.pixels * sizeof(float), &job.out_bytes, (void **)&job.args.dst));
  TR_TRY(
      tr_bench_alloc_lanes(bench, tr_resize_scratch(&job.args.spec, source, source, 3), &job.scratch_bytes, &job.args.scratch));
  char shape[96];
  snprintf(shape, sizeof shape, "%dx%dx3 u8 -> %d -> %dx%dx3", source, source, job.args.spec.resize, side, side);
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "resize",
                                           .shape = shape,
                                           .flops = 2 * taps * 3 * side * (rows + side),
                                           .bytes = 3.0 * source * source + TR_BENCH_FLOAT * (double)job.pixels,
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
                                                .src = tr_bench_at_lane(job->src, lane, job->src_bytes),
                                                .dst = tr_bench_at_lane(job->dst, lane, job->dst_bytes),
                                                .residual = tr_bench_at_lane(job->residual, lane, job->dst_bytes),
                                                .scratch = tr_bench_at_lane(job->scratch, lane, job->scratch_bytes)});
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
  TR_TRY(tr_bench_alloc_lanes(bench, dst * sizeof(float), &job->dst_bytes, (void **)&job->dst));
  if (desc->has_residual)
    TR_TRY(tr_bench_noise(bench, bench->lanes * dst, 3, &job->residual));
  TR_TRY(tr_conv_bytes(bench->device, desc, (int)bench->chunk, &state, &scratch));
  TR_TRY(tr_bench_alloc_lanes(bench, scratch, &job->scratch_bytes, &job->scratch));
  return create_conv(bench, desc, &job->conv);
}

static tr_status measure_conv(tr_bench *bench, const conv_shape *s, bool quietly) {
  int side = tr_bench_side(bench) / s->reduction, pad = s->kernel / 2, h, w;
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
  double pixels = (double)h * w, weights = (double)s->out * s->in / s->groups * s->kernel * s->kernel;
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
                                               .bytes = TR_BENCH_FLOAT * values,
                                               .fn = run_conv,
                                               .context = &job},
                              quietly);
  tr_conv_destroy(job.conv);
  tr_bench_release(bench);
  return status;
}

tr_status tr_bench_conv(tr_bench *bench) {
  for (size_t i = 0; i < sizeof conv_shapes / sizeof *conv_shapes; ++i)
    if (conv_shapes[i].in_quick || !bench->options->quick)
      TR_TRY(measure_conv(bench, &conv_shapes[i], false));
  return TR_OK;
}

tr_status tr_bench_fastest_conv(tr_bench *bench) {
  static const conv_shape dense = {8, 512, 512, 1, 1, 1, false, true}; /* 3x3 goes through Winograd, which leaves products out */
  return measure_conv(bench, &dense, true);
}

/* ---- backbone ---- */

void tr_bench_network_taps(const tr_bench_network *job, int lane, float *taps[TR_MAX_LAYERS]) {
  for (int i = 0; i < job->layers; ++i)
    taps[i] = tr_bench_at_lane(job->taps[i], lane, job->tap_bytes[i]);
}

tr_status tr_bench_network_run(void *context, size_t first, size_t count, int lane) {
  (void)first;
  const tr_bench_network *job = context;
  float *taps[TR_MAX_LAYERS];
  tr_bench_network_taps(job, lane, taps);
  return tr_backbone_run(job->backbone, lane, (int)count, tr_bench_at_lane(job->images, lane, job->image_bytes), taps);
}

tr_status tr_bench_network_prepare(tr_bench *bench, const tr_backbone_options *options, tr_bench_network *job, double *bytes) {
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
    TR_TRY(tr_bench_alloc_lanes(bench, tap, &job->tap_bytes[i], (void **)&job->taps[i]));
  }
  *bytes /= (double)bench->chunk;
  return TR_OK;
}

static tr_status measure_backbone(tr_bench *bench, const char *architecture, const char *first, const char *second) {
  int side = tr_bench_side(bench);
  const char *layers[] = {first, second};
  tr_backbone_options options = {.architecture = architecture, .layers = layers, .layer_count = 2, .in_h = side, .in_w = side};
  size_t device_bytes;
  double macs, bytes = 0;
  TR_TRY(tr_backbone_forecast(bench->device, &options, &device_bytes, &macs));
  char shape[96];
  snprintf(shape, sizeof shape, "%s to %s, %dx%d", architecture, second, side, side);
  tr_bench_network job = {0};
  tr_status status = tr_bench_network_prepare(bench, &options, &job, &bytes);
  if (status == TR_OK)
    status = tr_bench_measure(
        bench,
        &(tr_bench_case){
            .name = "backbone", .shape = shape, .flops = 2 * macs, .bytes = bytes, .fn = tr_bench_network_run, .context = &job},
        false);
  tr_backbone_destroy(job.backbone);
  tr_bench_release(bench);
  return status;
}

tr_status tr_bench_backbone(tr_bench *bench) {
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
  args.src = tr_bench_at_lane(args.src, lane, job->src_bytes);
  args.dst = tr_bench_at_lane(args.dst, lane, job->dst_bytes);
  return tr_pool_run2d(job->device, &args);
}

static tr_status run_affine(void *context, size_t first, size_t count, int lane) {
  (void)first;
  const pool_job *job = context;
  tr_affine_args args = job->affine;
  args.n = (int)count;
  args.src = tr_bench_at_lane(args.src, lane, job->src_bytes);
  args.dst = tr_bench_at_lane(args.dst, lane, job->dst_bytes);
  return tr_affine(job->device, &args);
}

tr_status tr_bench_pool(tr_bench *bench) {
  int side = tr_bench_side(bench) / 2, h, w;
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
  TR_TRY(tr_bench_alloc_lanes(bench, dst * sizeof(float), &job.dst_bytes, (void **)&job.pool.dst));
  char shape[96];
  snprintf(shape, sizeof shape, "max 3x3/2 at %dx%dx64", side, side);
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "pool",
                                           .shape = shape,
                                           .flops = 9.0 * h * w * 64,
                                           .bytes = TR_BENCH_FLOAT * (double)(src + dst) / (double)bench->chunk,
                                           .fn = run_pool,
                                           .context = &job},
                          false);
}

tr_status tr_bench_affine(tr_bench *bench) {
  int side = tr_bench_side(bench) / 4, channels = 256;
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
  TR_TRY(tr_bench_alloc_lanes(bench, job.src_bytes, &job.dst_bytes, (void **)&job.affine.dst));
  char shape[96];
  snprintf(shape, sizeof shape, "ReLU(scale x + shift) at %dx%dx%d", side, side, channels);
  return tr_bench_measure(bench,
                          &(tr_bench_case){.name = "affine",
                                           .shape = shape,
                                           .flops = 2.0 * (double)values,
                                           .bytes = 2 * TR_BENCH_FLOAT * (double)values,
                                           .fn = run_affine,
                                           .context = &job},
                          false);
}
