/* What a pass will take: the peak of the process's resident bytes, phase by phase, from the forecasts of its parts. */
#include "host/base/status.h"
#include "host/harness/evaluate.h"
#include "host/harness/planner.h"
#include "host/harness/ring.h"
#include "host/metrics/metrics.h"
#include "host/search/search.h"
#include "kernels/smooth.h"
#include <stdlib.h>
#include <string.h>

/* What the parts' own forecasts leave out: threads' stacks and the allocator's slack, and what the libraries load when first
 * used. Measured; see tests/cli/test_forecast.sh. */
enum { SLACK_BYTES = 8 << 20 };

tr_backbone_options tr_pass_backbone_options(const tr_pass *pass) {
  return (tr_backbone_options){.architecture = pass->weights->backbone,
                               .layers = pass->layers,
                               .layer_count = pass->layer_count,
                               .in_h = pass->tiling.tile_h,
                               .in_w = pass->tiling.tile_w};
}

void tr_group_method_options(const tr_pass *pass, const tr_group *group, tr_device *device, tr_variant *variants,
                             tr_method_options *out) {
  for (size_t i = 0; i < group->run_count; ++i)
    variants[group->runs[i].variant] = tr_setting_variant(group->runs[i].setting);
  *out = (tr_method_options){.device = device,
                             .aggregate = group->aggregate,
                             .in_h = pass->tiling.tile_h,
                             .in_w = pass->tiling.tile_w,
                             .gallery = group->runs[0].setting->gallery,
                             .train_images = group->train_images * tr_pass_units(pass),
                             .keep = group->keep,
                             .measure_cover = true,
                             .folder = getenv("TMPDIR"),
                             .variants = variants,
                             .variant_count = group->variant_count};
}

/* ---- a model ---- */

static tr_aggregate_spec aggregate_of(const tr_setting *s, const tr_plan_network *network) {
  tr_aggregate_spec spec = tr_setting_aggregate(s);
  for (int i = 0; i < s->layer_count; ++i) {
    spec.h[i] = network->h[i];
    spec.w[i] = network->w[i];
    spec.c[i] = network->c[i];
  }
  return spec;
}

tr_status tr_planner_forecast_group(tr_planner *p, const tr_pass *pass, tr_group *group) {
  const tr_setting *s = group->runs[0].setting;
  const tr_plan_class *c = pass->class_;
  const tr_plan_network *network;
  TR_TRY(tr_planner_network(p, s->backbone, s->layers, s->layer_count, pass->tiling.tile_h, pass->tiling.tile_w, &network));
  group->backbone_macs = network->macs * (double)tr_tiling_count(&pass->tiling);
  group->positions = group->positions ? group->positions : tr_pass_models(pass);
  group->aggregate = aggregate_of(s, network);
  tr_variant *variants = calloc(group->variant_count, sizeof *variants);
  if (!variants)
    return tr_planner_no_memory();
  tr_method_options options;
  tr_group_method_options(pass, group, p->device, variants, &options);
  tr_status status = tr_method_find(s->method)->forecast(&options, c->test_images * tr_pass_units(pass), &group->needs);
  if (status == TR_OK)
    tr_method_needs_multiply(&group->needs, group->positions, tr_pass_models(pass));
  free(variants);
  return status;
}

tr_status tr_planner_forecast_draft(tr_planner *p, tr_pass *draft) {
  const tr_plan_class *c = draft->class_;
  int h, w;
  TR_TRY(tr_resize_shape(&draft->image, c->first_h, c->first_w, &h, &w));
  TR_TRY(tr_tiling_make(&draft->tile, h, w, &draft->tiling));
  for (size_t i = 0; i < draft->group_count; ++i)
    if (tr_planner_forecast_group(p, draft, &draft->groups[i]) != TR_OK)
      draft->groups[i].needs = (tr_method_needs){0};
  return tr_planner_forecast_pass(p, draft);
}

/* What sharing saves is held against this, and a run's line says it. */
static tr_status forecast_alone(tr_planner *p, const tr_pass *pass, const tr_group *group, tr_plan_run *run) {
  tr_plan_run single_run = *run;
  single_run.variant = 0;
  tr_group single = *group;
  single.runs = &single_run;
  single.run_count = single.variant_count = 1;
  tr_variant variant;
  tr_method_options options;
  tr_method_needs needs;
  tr_group_method_options(pass, &single, p->device, &variant, &options);
  TR_TRY(tr_method_find(run->setting->method)->forecast(&options, pass->class_->test_images * tr_pass_units(pass), &needs));
  bool gpu = tr_device_works_alone(p->device);
  run->fit_macs = (gpu ? needs.gpu_fit_macs : needs.fit_macs) * (double)tr_pass_models(pass);
  run->score_macs = (gpu ? needs.gpu_score_macs : needs.score_macs) * (double)tr_pass_models(pass);
  return TR_OK;
}

tr_status tr_planner_forecast_runs(tr_planner *p, const tr_pass *pass) {
  for (size_t i = 0; i < pass->group_count; ++i)
    for (size_t j = 0; j < pass->groups[i].run_count; ++j)
      TR_TRY(forecast_alone(p, pass, &pass->groups[i], &pass->groups[i].runs[j]));
  return TR_OK;
}

/* ---- a pass ---- */

static bool taps(const tr_pass *pass, const char *layer) {
  for (size_t g = 0; g < pass->group_count; ++g) {
    const tr_setting *s = pass->groups[g].runs[0].setting;
    for (int i = 0; i < s->layer_count; ++i)
      if (strcmp(s->layers[i], layer) == 0)
        return true;
  }
  return false;
}

void tr_pass_set_layers(tr_pass *pass, const char *const *layers, int layer_count) {
  pass->layer_count = layer_count;
  for (int l = 0; l < layer_count; ++l) {
    pass->layers[l] = layers[l];
    for (size_t g = 0; g < pass->group_count; ++g) {
      const tr_setting *s = pass->groups[g].runs[0].setting;
      for (int i = 0; i < s->layer_count; ++i)
        if (strcmp(s->layers[i], layers[l]) == 0)
          pass->groups[g].tap[i] = l;
    }
  }
}

/* Layers of the architecture that a model of the pass taps, in the network's order. */
static void unite_layers(tr_pass *pass) {
  const char *united[TR_MAX_TAPS];
  size_t known;
  int count = 0;
  const char *const *layers = tr_backbone_layers(pass->weights->backbone, &known);
  for (size_t l = 0; l < known; ++l)
    if (taps(pass, layers[l]))
      united[count++] = layers[l];
  tr_pass_set_layers(pass, united, count);
}

/* Images while they are decoded (the file's rows, the decoder's and our copy) and copies on the device: one of each a lane, or those
 * of the ring. */
static size_t decoding_bytes(const tr_device *device, size_t pixels) {
  if (!tr_device_works_alone(device))
    return 4 * (size_t)tr_device_lanes(device) * pixels;
  return 3 * (size_t)tr_pool_threads(tr_device_pool(device)) * pixels + 2 * tr_ring_slots(device) * pixels;
}

/* What images are on their way to the models: decoded, the resize's scratch, and a chunk of normalised images and tapped maps a
 * lane. */
static size_t feed_bytes(const tr_pass *pass, const tr_device *device) {
  const tr_plan_class *c = pass->class_;
  size_t pixels = (size_t)c->most_h * (size_t)c->most_w * 3, chunk = tr_device_chunk(device);
  size_t input = (size_t)pass->tiling.tile_h * (size_t)pass->tiling.tile_w * 3 * sizeof(float);
  tr_image_spec image = pass->image;
  if (!tr_tiling_is_whole(&pass->tiling))
    image.window = tr_tiling_window(&pass->tiling, 0);
  size_t lane = tr_resize_scratch(&image, c->most_h, c->most_w, 3) + chunk * (input + pass->map_bytes);
  if (pass->image_cache || pass->map_cache)
    lane += chunk * input / sizeof(float) + (pass->map_cache ? pass->map_bytes : input / sizeof(float));
  return decoding_bytes(device, pixels) + (size_t)tr_device_lanes(device) * lane;
}

/* Maps of one run and the masks, and what making the maps or the metrics needs on top. */
static size_t metrics_bytes(const tr_device *device, const tr_plan_class *c, const tr_tiling *tiling) {
  size_t map = (size_t)tiling->h * (size_t)tiling->w * sizeof(float);
  size_t maps = (size_t)tr_device_lanes(device) * tr_evaluation_lane_bytes(device, tiling);
  size_t metrics = tr_pixel_metrics_bytes(device, c->test_images, tiling->h, tiling->w);
  return map * (c->test_images + c->anomalous_images) + (maps > metrics ? maps : metrics);
}

/* Draws of one seed contain each other. */
static size_t count_train_images(const tr_pass *pass) {
  size_t sum = 0, all = pass->class_->train_images;
  for (size_t i = 0; i < pass->group_count; ++i) {
    const tr_group *g = &pass->groups[i];
    bool contained = false;
    for (size_t j = 0; j < pass->group_count; ++j) {
      const tr_group *other = &pass->groups[j];
      bool same_draw = other->runs[0].setting->seed == g->runs[0].setting->seed;
      bool larger = other->train_images > g->train_images || (other->train_images == g->train_images && j < i);
      contained = contained || (j != i && same_draw && larger);
    }
    sum += contained ? 0 : g->train_images;
  }
  return sum < all ? sum : all;
}

/* Models are fitted one after the other: those before are ready to score, those behind hold what the training images left. */
static size_t fit_bytes(const tr_pass *pass) {
  size_t held = 0, ready = 0, peak = 0;
  for (size_t i = 0; i < pass->group_count; ++i)
    held += pass->groups[i].needs.held_bytes;
  for (size_t i = 0; i < pass->group_count; ++i) {
    const tr_method_needs *needs = &pass->groups[i].needs;
    held -= needs->held_bytes;
    size_t bytes = ready + needs->fit_bytes + held;
    peak = bytes > peak ? bytes : peak;
    ready += needs->score_bytes;
  }
  return peak;
}

static size_t score_bytes(const tr_pass *pass) {
  size_t bytes = 0;
  for (size_t i = 0; i < pass->group_count; ++i)
    bytes += pass->groups[i].needs.score_bytes;
  return bytes;
}

/* The largest bank that is made again without an image's own rows. */
static size_t nominal_bytes(const tr_pass *pass, const tr_device *device) {
  size_t most = 0;
  for (size_t g = 0; g < pass->group_count; ++g) {
    const tr_group *group = &pass->groups[g];
    size_t patches = (size_t)group->needs.grid_h * (size_t)group->needs.grid_w;
    for (size_t r = 0; r < group->run_count; ++r) {
      const tr_plan_run *run = &group->runs[r];
      const tr_variant variant = tr_setting_variant(run->setting);
      size_t rows;
      if (tr_variant_rows(&variant, group->train_images * tr_pass_units(pass) * patches, group->needs.dimension, &rows) != TR_OK)
        continue;
      size_t bytes =
          tr_bank_bytes(device, rows, group->needs.dimension) + tr_bank_scratch_bytes(device, rows, group->needs.dimension);
      most = run->nominal && run->member && bytes > most ? bytes : most;
    }
  }
  return most;
}

/* Patch scores of all runs. */
static size_t scores_bytes(const tr_pass *pass) {
  size_t floats = 0;
  for (size_t i = 0; i < pass->group_count; ++i) {
    const tr_group *g = &pass->groups[i];
    floats += g->variant_count * (size_t)g->needs.grid_h * (size_t)g->needs.grid_w;
  }
  return pass->class_->test_images * tr_tiling_count(&pass->tiling) * floats * sizeof(float);
}

/* Beside the pass, from its beginning at the latest to its end. */
static size_t kept_bytes(const tr_pass *pass) {
  size_t image = (size_t)pass->tiling.h * (size_t)pass->tiling.w * 3, bytes = 0;
  bytes += pass->image_cache == TR_CACHE_MEMORY ? image : 0;
  bytes += pass->map_cache == TR_CACHE_MEMORY ? pass->map_bytes : 0;
  return bytes * (pass->class_->train_images + pass->class_->test_images);
}

tr_status tr_planner_forecast_pass(tr_planner *p, tr_pass *pass) {
  tr_forecast *f = &pass->forecast;
  const tr_plan_network *network;
  if (!pass->map_cache) /* else its layers are those of other passes, too */
    unite_layers(pass);
  pass->train_images = count_train_images(pass);
  TR_TRY(tr_planner_network(p, pass->weights->backbone, pass->layers, pass->layer_count, pass->tiling.tile_h, pass->tiling.tile_w,
                            &network));
  pass->positions = tr_pass_models(pass);
  for (size_t i = 0; i < pass->group_count; ++i)
    pass->positions = pass->groups[i].positions < pass->positions ? pass->groups[i].positions : pass->positions;
  pass->map_bytes = 0;
  for (int i = 0; i < network->layer_count; ++i)
    pass->map_bytes += (size_t)network->h[i] * (size_t)network->w[i] * (size_t)network->c[i] * sizeof(float);
  size_t feed = feed_bytes(pass, p->device), scores = scores_bytes(pass);
  size_t base = p->plan->base_bytes + SLACK_BYTES + kept_bytes(pass);
  *f = (tr_forecast){.backbone_macs = network->macs * (double)tr_tiling_count(&pass->tiling),
                     .load_bytes = base + pass->weights->bytes + network->bytes,
                     .fit_bytes = base + network->bytes + feed + fit_bytes(pass),
                     .score_bytes = base + network->bytes + feed + score_bytes(pass) + scores + nominal_bytes(pass, p->device),
                     .metrics_bytes = base + scores + metrics_bytes(p->device, pass->class_, &pass->tiling)};
  const size_t phases[] = {f->load_bytes, f->fit_bytes, f->score_bytes, f->metrics_bytes};
  for (size_t i = 0; i < sizeof phases / sizeof *phases; ++i)
    f->peak_bytes = phases[i] > f->peak_bytes ? phases[i] : f->peak_bytes;
  return TR_OK;
}

/* The mean of the members' maps beside the maps that are evaluated. Members' scores are few where they are patches'. */
void tr_planner_forecast_ensemble(const tr_planner *p, tr_plan_ensemble *e) {
  size_t maps = e->class_->test_images * (size_t)e->tiling.h * (size_t)e->tiling.w * sizeof(float);
  e->peak_bytes = p->plan->base_bytes + SLACK_BYTES + maps + metrics_bytes(p->device, e->class_, &e->tiling);
}
