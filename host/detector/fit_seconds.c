/* What fitting a detector is forecast to take: a plan of one pass, for the rates of the harness. */
#include "host/base/status.h"
#include "host/detector/fit.h"

/* Images that are held out score against the model; metrics are not made of them. */
static tr_group describe_model(const tr_fit_plan *plan) {
  tr_group group = {.variant_count = 1, .train_images = plan->images.train_count, .needs = plan->needs.model};
  group.needs.score_macs *= (double)plan->images.test_count;
  group.needs.gpu_score_macs *= (double)plan->images.test_count;
  return group;
}

static tr_pass describe_pass(const tr_fit_plan *plan, const tr_plan_class *class_, const tr_plan_weights *weights,
                             tr_group *group) {
  const tr_setting *s = &plan->setting;
  tr_pass pass = {.class_ = class_,
                  .weights = weights,
                  .image = s->image,
                  .tile = s->tile,
                  .tiling = plan->needs.tiling,
                  .positions = plan->positions,
                  .layer_count = s->layer_count,
                  .groups = group,
                  .group_count = 1,
                  .train_images = plan->images.train_count};
  pass.forecast.backbone_macs = plan->needs.backbone_macs * (double)tr_tiling_count(&plan->needs.tiling);
  for (int i = 0; i < s->layer_count; ++i)
    pass.layers[i] = s->layers[i];
  return pass;
}

tr_status tr_fit_seconds(const tr_fit_options *options, const tr_fit_plan *plan, tr_pass_seconds *out) {
  const tr_class *images = &plan->images;
  tr_plan_class class_ = {.train_images = images->train_count,
                          .test_images = images->test_count,
                          .mean_pixels = plan->mean_pixels,
                          .first_image = images->train->path};
  TR_TRY(tr_image_size(class_.first_image, &class_.first_h, &class_.first_w));
  tr_plan_weights weights = {.backbone = plan->setting.backbone, .file = plan->weights};
  tr_plan_weights *all_weights[] = {&weights};
  tr_plan_class *all_classes[] = {&class_};
  tr_group group = describe_model(plan);
  tr_pass pass = describe_pass(plan, &class_, &weights, &group);
  tr_plan as_run = {
      .passes = &pass, .pass_count = 1, .weights = all_weights, .weights_count = 1, .classes = all_classes, .class_count = 1};
  tr_profile profile;
  TR_TRY(tr_profile_measure(options->device, &as_run, &profile));
  profile.metric_pixels = 0;
  *out = tr_profile_pass(&profile, &as_run, &pass);
  tr_profile_free(&profile);
  return TR_OK;
}
