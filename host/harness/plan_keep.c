/* What passes need again of each other. Passes of a class and an image size read the same images, resized alike; passes of one backbone
 * among them, which memory parted, tap the same maps. The first one may keep that for the others: in memory where there is room beside
 * every pass, else in a temporary file or not at all, by the seconds forecast for either from rates measured on this machine.
 *
 * Passes that cut images into tiles keep nothing: those are the large images, which memory has no room for. */
#include "host/base/status.h"
#include "host/harness/planner.h"
#include "host/harness/profile.h"
#include <stdlib.h>

/* Passes [first, end) of the plan. */
typedef struct pass_span {
  size_t first, end;
} pass_span;

static pass_span span_at(const tr_plan *plan, size_t first, bool same_backbone) {
  pass_span s = {first, first + 1};
  const tr_pass *a = &plan->passes[first];
  for (; s.end < plan->pass_count && !a->refused && !a->tile.size; ++s.end) {
    const tr_pass *b = &plan->passes[s.end];
    bool same_image = tr_setting_same_image(&a->image, &b->image) && !b->tile.size;
    if (b->refused || a->class_ != b->class_ || !same_image || (same_backbone && a->weights != b->weights))
      break;
  }
  return s;
}

static size_t items_of(const tr_pass *pass) {
  return pass->class_->train_images + pass->class_->test_images;
}

/* ---- the choice ---- */

static bool has_room(const tr_planner *p, pass_span s, size_t bytes) {
  for (size_t i = s.first; i < s.end; ++i)
    if (p->plan->passes[i].forecast.peak_bytes + bytes > p->joint_limit_bytes)
      return false;
  return true;
}

/* Once. Where this machine cannot be measured, as its weights cannot be read, nothing is worth a file. */
static tr_status measure(tr_planner *p) {
  if (p->measured)
    return TR_OK;
  p->measured = true;
  tr_status status = tr_profile_measure(p->device, p->plan, &p->profile);
  if (status == TR_OK && !(p->profile.file_bytes > 0))
    status = tr_profile_measure_file(&p->profile);
  if (status != TR_OK)
    p->profile = (tr_profile){0};
  return status == TR_ECANCELED ? status : TR_OK;
}

/* Where `bytes` are kept that `passes` passes use; `like` is forecast to make them, by its decoding and, for maps, its backbone. Rates are
 * measured when they are first wanted. */
static tr_status choose(tr_planner *p, pass_span s, size_t bytes, size_t passes, const tr_pass *like, bool maps,
                        tr_cache_place *out) {
  *out = TR_CACHE_MEMORY;
  if (has_room(p, s, bytes))
    return TR_OK;
  TR_TRY(measure(p));
  tr_pass_seconds seconds = tr_profile_pass(&p->profile, p->plan, like);
  double again = (seconds.decode + (maps ? seconds.backbone : 0)) * (double)(passes - 1), rate = p->profile.file_bytes;
  *out = rate > 0 && (double)passes * (double)bytes / rate < again ? TR_CACHE_FILE : TR_CACHE_NONE;
  return TR_OK;
}

static tr_status forecast_span(tr_planner *p, pass_span s) {
  for (size_t i = s.first; i < s.end; ++i)
    TR_TRY(tr_planner_forecast_pass(p, &p->plan->passes[i]));
  return TR_OK;
}

/* ---- maps ---- */

/* All passes of the span tap what any of them needs; with TR_CACHE_NONE each its own again. */
static tr_status set_maps(tr_planner *p, pass_span s, const tr_pass *united, tr_cache_place place) {
  for (size_t i = s.first; i < s.end; ++i) {
    tr_pass *pass = &p->plan->passes[i];
    pass->map_cache = place;
    pass->maps_there = i > s.first && place != TR_CACHE_NONE;
    if (place != TR_CACHE_NONE)
      tr_pass_set_layers(pass, united->layers, united->layer_count);
  }
  return forecast_span(p, s);
}

static tr_status unite(tr_planner *p, pass_span s, tr_pass *united) {
  *united = tr_pass_like(&p->plan->passes[s.first]);
  for (size_t i = s.first; i < s.end; ++i)
    for (size_t g = 0; g < p->plan->passes[i].group_count; ++g) {
      tr_group view = p->plan->passes[i].groups[g];
      TR_TRY(tr_pass_add_group(united, &view));
    }
  return tr_planner_forecast_pass(p, united);
}

static tr_status share_united(tr_planner *p, pass_span s, const tr_pass *united) {
  tr_cache_place place = TR_CACHE_NONE;
  TR_TRY(set_maps(p, s, united, TR_CACHE_FILE));
  if (has_room(p, s, 0))
    TR_TRY(choose(p, s, items_of(united) * united->map_bytes, s.end - s.first, united, true, &place));
  return set_maps(p, s, united, place);
}

static tr_status share_maps(tr_planner *p, pass_span s) {
  if (s.end - s.first < 2)
    return TR_OK;
  tr_pass united;
  tr_status status = unite(p, s, &united);
  if (status == TR_OK)
    status = share_united(p, s, &united);
  free(united.groups); /* the groups themselves are the passes' */
  return status;
}

/* ---- images ---- */

/* Passes of a span that decode. */
static size_t count_decoding(const tr_plan *plan, pass_span s) {
  size_t count = 0;
  for (size_t i = s.first; i < s.end; ++i)
    count += !plan->passes[i].map_cache || i == s.first || plan->passes[i - 1].weights != plan->passes[i].weights;
  return count;
}

static void keep_images(tr_pass *pass, tr_cache_place place, bool made) {
  pass->image_cache = place;
  pass->images_there = made && place != TR_CACHE_NONE;
}

static tr_status share_images(tr_planner *p, pass_span s) {
  const tr_pass *pass = &p->plan->passes[s.first];
  size_t decoding = count_decoding(p->plan, s);
  if (decoding < 2)
    return TR_OK;
  tr_cache_place place;
  TR_TRY(choose(p, s, items_of(pass) * (size_t)pass->tiling.h * (size_t)pass->tiling.w * 3, decoding, pass, false, &place));
  for (size_t i = s.first; i < s.end; ++i)
    keep_images(&p->plan->passes[i], place, i > s.first);
  return forecast_span(p, s);
}

tr_status tr_planner_keep(tr_planner *p) {
  const tr_plan *plan = p->plan;
  for (size_t i = 0; i < plan->pass_count;) {
    pass_span images = span_at(plan, i, false);
    for (size_t j = images.first; j < images.end;) {
      pass_span maps = span_at(plan, j, true);
      TR_TRY(share_maps(p, maps));
      j = maps.end;
    }
    TR_TRY(share_images(p, images));
    i = images.end;
  }
  return TR_OK;
}
