/* What a group will take: the peak of the process's resident bytes, phase by phase, from the forecasts of its parts. */
#include "host/base/status.h"
#include "host/harness/plan.h"
#include "host/harness/ring.h"
#include "host/metrics/metrics.h"
#include "kernels/smooth.h"
#include <stdlib.h>

/* What the parts' own forecasts leave out: threads' stacks and the allocator's slack, and what the libraries load when first
 * used. Measured; see tests/cli/test_forecast.sh. */
enum { SLACK_BYTES = 8 << 20 };

tr_backbone_options tr_group_backbone_options(const tr_group *group) {
  const tr_setting *s = group->runs[0].setting;
  return (tr_backbone_options){.architecture = s->backbone,
                               .layers = s->layers,
                               .layer_count = s->layer_count,
                               .in_h = group->forecast.in_h,
                               .in_w = group->forecast.in_w};
}

tr_status tr_group_method_options(const tr_group *group, tr_device *device, tr_variant *variants, tr_method_options *out) {
  const tr_setting *s = group->runs[0].setting;
  for (size_t i = 0; i < group->run_count; ++i) {
    const tr_setting *v = group->runs[i].setting;
    variants[i] = (tr_variant){.seed = v->seed,
                               .subsampling = v->subsampling,
                               .percent = v->percent,
                               .projection = v->projection,
                               .image_score = v->image_score,
                               .distance = v->distance,
                               .neighbours = v->neighbours,
                               .dimension = v->dimension,
                               .placement = v->placement,
                               .epsilon = v->epsilon};
  }
  *out = (tr_method_options){.device = device,
                             .aggregate = {.kind = s->aggregate,
                                           .layers = s->layer_count,
                                           .patch = s->patch,
                                           .stride = s->stride,
                                           .layer_dimension = s->layer_dimension,
                                           .dimension = s->dimension},
                             .in_h = group->forecast.in_h,
                             .in_w = group->forecast.in_w,
                             .gallery = s->gallery,
                             .train_images = group->class_->train_images,
                             .variants = variants,
                             .variant_count = group->run_count};
  tr_backbone_options backbone = tr_group_backbone_options(group);
  return tr_backbone_shapes(device, &backbone, out->aggregate.h, out->aggregate.w, out->aggregate.c);
}

/* Images while they are decoded (the file's rows, the decoder's and our copy) and copies on the device: one of each a lane, or those
 * of the ring. */
static size_t decoding_bytes(const tr_device *device, size_t pixels) {
  if (!tr_device_works_alone(device))
    return 4 * (size_t)tr_device_lanes(device) * pixels;
  return 3 * (size_t)tr_pool_threads(tr_device_pool(device)) * pixels + 2 * tr_ring_slots(device) * pixels;
}

/* What images are on their way to the method: decoded, the resize's scratch, and a chunk of normalised images and tapped maps a
 * lane. */
static size_t feed_bytes(const tr_group *group, const tr_device *device, const tr_aggregate_spec *maps) {
  const tr_plan_class *c = group->class_;
  size_t pixels = (size_t)c->most_h * (size_t)c->most_w * 3, chunk = tr_device_chunk(device);
  size_t input = (size_t)group->forecast.in_h * (size_t)group->forecast.in_w * 3 * sizeof(float);
  size_t taps = 0;
  for (int i = 0; i < maps->layers; ++i)
    taps += (size_t)maps->h[i] * (size_t)maps->w[i] * (size_t)maps->c[i] * sizeof(float);
  size_t lane = tr_resize_scratch(&group->runs[0].setting->image, c->most_h, c->most_w, 3) + chunk * (input + taps);
  return decoding_bytes(device, pixels) + (size_t)tr_device_lanes(device) * lane;
}

/* Maps of one variant and the masks, and what the metrics need on top. */
static size_t metrics_bytes(const tr_group *group, const tr_device *device) {
  const tr_plan_class *c = group->class_;
  const tr_forecast *f = &group->forecast;
  size_t map = (size_t)f->in_h * (size_t)f->in_w * sizeof(float);
  size_t smooth = (size_t)tr_device_lanes(device) * tr_smooth_scratch(device, (int)tr_device_chunk(device), f->in_h, f->in_w);
  size_t metrics = tr_pixel_metrics_bytes(device, c->test_images, f->in_h, f->in_w);
  return map * (c->test_images + c->anomalous_images) + (smooth > metrics ? smooth : metrics);
}

static tr_status forecast(tr_group *group, tr_device *device, size_t base_bytes, tr_variant *variants) {
  tr_forecast *f = &group->forecast;
  const tr_plan_class *c = group->class_;
  TR_TRY(tr_resize_shape(&group->runs[0].setting->image, c->first_h, c->first_w, &f->in_h, &f->in_w));
  tr_method_options options;
  TR_TRY(tr_group_method_options(group, device, variants, &options));
  const tr_method *method = tr_method_find(group->runs[0].setting->method);
  tr_method_needs needs;
  size_t backbone_bytes;
  TR_TRY(method->forecast(&options, c->test_images, &needs));
  f->grid_h = needs.grid_h;
  f->grid_w = needs.grid_w;
  f->dimension = needs.dimension;
  f->fit_macs = needs.fit_macs;
  f->score_macs = needs.score_macs;
  tr_backbone_options backbone = tr_group_backbone_options(group);
  TR_TRY(tr_backbone_forecast(device, &backbone, &backbone_bytes, &f->backbone_macs));
  size_t feed = feed_bytes(group, device, &options.aggregate);
  size_t scores = group->run_count * c->test_images * (size_t)f->grid_h * (size_t)f->grid_w * sizeof(float);
  size_t base = base_bytes + SLACK_BYTES;
  f->load_bytes = base + group->weights->bytes + backbone_bytes;
  f->fit_bytes = base + backbone_bytes + feed + needs.fit_bytes;
  f->score_bytes = base + backbone_bytes + feed + needs.score_bytes + scores;
  f->metrics_bytes = base + scores + metrics_bytes(group, device);
  const size_t phases[] = {f->load_bytes, f->fit_bytes, f->score_bytes, f->metrics_bytes};
  f->peak_bytes = 0;
  for (size_t i = 0; i < sizeof phases / sizeof *phases; ++i)
    f->peak_bytes = phases[i] > f->peak_bytes ? phases[i] : f->peak_bytes;
  return TR_OK;
}

tr_status tr_group_forecast(tr_group *group, tr_device *device, size_t base_bytes) {
  tr_variant *variants = calloc(group->run_count, sizeof *variants);
  if (!variants)
    return tr_fail(TR_ENOMEM, "planning %zu runs", group->run_count);
  tr_status status = forecast(group, device, base_bytes, variants);
  free(variants);
  return status;
}
