/* Fitting a detector. */
#include "host/detector/fit.h"
#include "datasets/own.h"
#include "host/base/clock.h"
#include "host/base/status.h"
#include "host/detector/about.h"
#include "host/detector/scorer.h"
#include "host/detector/threshold.h"
#include "host/harness/room.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tr_status no_memory(void) {
  return tr_fail(TR_ENOMEM, "fitting a detector: out of memory");
}

/* ---- which images ---- */

static void forget_test(tr_class *c) {
  tr_class test = {.test = c->test, .test_count = c->test_count};
  c->test = NULL;
  c->test_count = 0;
  tr_class_free(&test);
}

static tr_status list_images(const tr_fit_options *o, tr_class *c) {
  TR_TRY(tr_nominal_list(o->data, c));
  forget_test(c); /* the folder may have test images too, which are nobody's business here */
  if (!o->quantile)
    return TR_OK;
  return o->held_out ? tr_threshold_given(o->quantile, o->held_out, c) : tr_threshold_hold_out(o->quantile, o->setting->seed, c);
}

/* Keeps the images of a shard. */
static tr_status take_shard(const tr_fit_options *o, tr_fit_plan *plan) {
  tr_class *c = &plan->images;
  size_t n = plan->all_images = c->train_count, number = (size_t)o->shard.number, of = (size_t)o->shard.of;
  if (!of)
    return TR_OK;
  size_t first = n * (number - 1) / of, count = n * number / of - first;
  if (!count)
    return tr_fail(TR_EINVAL, "shard %zu of %zu has no image: '%s' has %zu", number, of, o->data, n);
  tr_sample *kept = malloc(count * sizeof *kept);
  if (!kept)
    return no_memory();
  memcpy(kept, c->train + first, count * sizeof *kept);
  memmove(c->train + first, c->train + first + count, (n - first - count) * sizeof *kept);
  tr_class others = {.train = c->train, .train_count = n - count};
  c->train = kept;
  c->train_count = count;
  tr_class_free(&others);
  return TR_OK;
}

/* ---- sizes ---- */

static tr_status look_at(const tr_fit_options *o, const tr_sample *samples, size_t n, tr_fit_plan *plan) {
  for (size_t i = 0; i < n; ++i) {
    int h, w, out_h, out_w;
    TR_TRY(tr_image_size(samples[i].path, &h, &w));
    tr_status status = tr_resize_shape(&o->setting->image, h, w, &out_h, &out_w);
    if (status != TR_OK)
      return tr_fail_context(status, "%s", samples[i].path);
    if (!plan->in_h) {
      plan->first_h = h;
      plan->first_w = w;
      plan->in_h = out_h;
      plan->in_w = out_w;
    }
    if (out_h != plan->in_h || out_w != plan->in_w)
      return tr_fail(TR_EINVAL, "%s is %dx%d after the resize, %s %dx%d; a `crop` makes them equal", samples[i].path, out_w,
                     out_h, plan->images.train->path, plan->in_w, plan->in_h);
    size_t bytes = (size_t)h * (size_t)w * 3;
    plan->most_bytes = bytes > plan->most_bytes ? bytes : plan->most_bytes;
    plan->mean_pixels += (double)bytes / 3 / (double)(plan->images.train_count + plan->images.test_count);
  }
  return TR_OK;
}

/* As many rows as of all images; what ends a selection earlier does so of each shard. */
static tr_status take_rows_of_all(const tr_fit_options *o, tr_fit_plan *plan) {
  tr_setting *s = &plan->setting;
  tr_scorer_shape shape;
  if (!o->shard.of || s->subsampling != TR_SUBSAMPLE_GREEDY)
    return TR_OK;
  TR_TRY(tr_scorer_shape_of(&(tr_scorer_options){.device = o->device, .setting = s, .in_h = plan->in_h, .in_w = plan->in_w},
                            &shape));
  tr_variant variant = tr_setting_variant(s);
  size_t rows;
  TR_TRY(tr_variant_rows(&variant, plan->all_images * shape.patches, shape.dimension, &rows));
  s->bank_rows = rows < INT32_MAX ? (int)rows : INT32_MAX;
  s->percent = 0;
  s->bank_bytes = 0;
  return TR_OK;
}

static tr_status forecast_keeping(const tr_fit_options *o, tr_fit_plan *plan) {
  TR_TRY(tr_scorer_forecast(&(tr_scorer_options){.device = o->device,
                                                 .setting = &plan->setting,
                                                 .in_h = plan->in_h,
                                                 .in_w = plan->in_w,
                                                 .train_images = plan->images.train_count,
                                                 .keep = plan->keep,
                                                 .positions = plan->positions},
                            plan->most_bytes, &plan->needs));
  tr_scorer_needs needs = plan->needs;
  tr_mapping weights;
  TR_TRY(tr_file_map(plan->weights, &weights));
  size_t base = plan->base_bytes;
  plan->load_bytes = base + weights.bytes + needs.backbone_bytes;
  tr_file_unmap(&weights);
  plan->fit_bytes = base + needs.fit_bytes;
  plan->score_bytes = plan->images.test_count ? base + needs.score_bytes : 0;
  plan->peak_bytes = plan->load_bytes > plan->fit_bytes ? plan->load_bytes : plan->fit_bytes;
  plan->peak_bytes = plan->score_bytes > plan->peak_bytes ? plan->score_bytes : plan->peak_bytes;
  return TR_OK;
}

/* A bank per position: as many positions at a time as `limit` goes, in lots of equal size. What is held out is scored by all of them. */
static tr_status forecast_lots(const tr_fit_options *o, tr_fit_plan *plan, size_t limit) {
  TR_TRY(forecast_keeping(o, plan));
  size_t models = plan->positions = plan->needs.models;
  for (size_t lots = 2; plan->peak_bytes > limit && plan->peak_bytes > plan->score_bytes && plan->positions > 1; ++lots) {
    plan->positions = (models + lots - 1) / lots;
    TR_TRY(forecast_keeping(o, plan));
  }
  return TR_OK;
}

/* A fit, as host/harness/room.h asks for it. */
typedef struct room_case {
  const tr_fit_options *options;
  const tr_fit_plan *plan;
} room_case;

static tr_status forecast_case(void *context, const tr_setting *setting, size_t train_images, tr_keep keep, tr_room_needs *out) {
  const room_case *c = context;
  tr_fit_plan tried = *c->plan;
  tried.setting = *setting;
  tried.images.train_count = train_images;
  tried.keep = keep;
  if (!tr_tile_spec_equal(&setting->tile, &c->plan->setting.tile))
    tried.positions = 1;
  TR_TRY(tr_resize_shape(&setting->image, tried.first_h, tried.first_w, &tried.in_h, &tried.in_w));
  TR_TRY(forecast_keeping(c->options, &tried));
  *out = (tr_room_needs){.peak_bytes = tried.peak_bytes,
                         .again = tried.needs.model.again,
                         .file_bytes = tried.needs.model.file_bytes,
                         .pixels = tried.mean_pixels,
                         .macs = tried.needs.backbone_macs * (double)tr_tiling_count(&tried.needs.tiling),
                         .image_h = tried.in_h,
                         .image_w = tried.in_w};
  return TR_OK;
}

/* All features, or where these are too many what there is room for. */
static tr_status forecast(const tr_fit_options *o, tr_fit_plan *plan) {
  double file_rate = 0;
  room_case c = {o, plan};
  tr_room room = {.device = o->device,
                  .setting = &plan->setting,
                  .train_images = plan->images.train_count,
                  .forecast = forecast_case,
                  .context = &c,
                  .file_rate = &file_rate};
  plan->base_bytes = tr_memory_now_bytes();
  size_t limit = o->memory_limit ? o->memory_limit : plan->base_bytes + tr_memory_free_bytes();
  TR_TRY(forecast_lots(o, plan, limit));
  if (plan->peak_bytes <= limit)
    return TR_OK;
  TR_TRY(tr_room_keep_less(&room, limit, &plan->keep));
  TR_TRY(forecast_keeping(o, plan));
  if (!o->memory_limit || plan->peak_bytes <= o->memory_limit)
    return TR_OK;
  tr_status status = tr_room_refuse(&room, o->memory_limit);
  return tr_fail_context(status, "%s on %zu images", o->setting->method, plan->images.train_count);
}

static tr_status check_shard(const tr_fit_options *o) {
  const tr_setting *s = o->setting;
  if (!o->shard.of)
    return TR_OK;
  if (strcmp(s->method, "patchcore") != 0)
    return tr_fail(TR_EINVAL, "shards are merged by their memory banks, and %s has none: fit it on one machine", s->method);
  if (s->tile.bank == TR_TILE_BANK_POSITION)
    return tr_fail(TR_EINVAL,
                   "shards: banks of tile positions are not merged; fit them on one machine, or one bank for all tiles");
  if (s->subsampling != TR_SUBSAMPLE_GREEDY && s->subsampling != TR_SUBSAMPLE_NONE)
    return tr_fail(TR_EINVAL, "shards: expected a greedy selection or none, found %s", tr_subsampling_name(s->subsampling));
  if (o->quantile)
    return tr_fail(TR_EINVAL, "a threshold is of the whole bank, not of a shard's");
  return TR_OK;
}

static tr_status check_setting(const tr_setting *s) {
  if (s->member_count)
    return tr_fail(TR_EINVAL, "a detector has one backbone; an ensemble is several, each a detector of its own");
  if (s->train_images)
    return tr_fail(TR_EINVAL, "train_images: a detector is fitted on all images of its folder; give a folder of %d",
                   s->train_images);
  return TR_OK;
}

tr_status tr_fit_look(const tr_fit_options *options, tr_fit_plan *out) {
  *out = (tr_fit_plan){0};
  TR_TRY(check_setting(options->setting));
  TR_TRY(check_shard(options));
  out->setting = *options->setting;
  tr_status status = list_images(options, &out->images);
  if (status == TR_OK)
    status = take_shard(options, out);
  if (status == TR_OK)
    status = look_at(options, out->images.train, out->images.train_count, out);
  if (status == TR_OK)
    status = look_at(options, out->images.test, out->images.test_count, out);
  if (status == TR_OK)
    status = take_rows_of_all(options, out);
  if (status == TR_OK)
    status = tr_weights_locate(options->weights, options->setting->backbone, &out->weights);
  if (status != TR_OK)
    tr_fit_plan_free(out);
  return status;
}

tr_status tr_fit_prepare(const tr_fit_options *options, tr_fit_plan *out) {
  TR_TRY(tr_fit_look(options, out));
  tr_status status = forecast(options, out);
  if (status != TR_OK)
    tr_fit_plan_free(out);
  return status;
}

void tr_fit_plan_free(tr_fit_plan *plan) {
  tr_class_free(&plan->images);
  free(plan->weights);
  *plan = (tr_fit_plan){0};
}

/* ---- as text ---- */

static void write_tiles(FILE *out, const tr_fit_plan *plan) {
  const tr_tiling *t = &plan->needs.tiling;
  if (tr_tiling_is_whole(t))
    return;
  fprintf(out, "├─ images of %dx%d in %zu tiles of %d", t->w, t->h, tr_tiling_count(t), t->tile_h);
  if (plan->needs.models > 1)
    fprintf(out, " with a bank each, %zu at a time", plan->positions);
  fputc('\n', out);
}

static void write_needs(FILE *out, const tr_fit_plan *plan, const tr_pass_seconds *s) {
  char text[4][32], keep[160];
  write_tiles(out, plan);
  if (tr_room_keep_text(&plan->needs.model, keep, sizeof keep))
    fprintf(out, "├─ %s\n", keep);
  fprintf(out, "├─ about %.*f s (decode %.1f, backbone %.1f, fit %.1f, score %.1f) on this machine as busy as it is\n",
          s->total < 10, s->total, s->decode, s->backbone, s->fit, s->score);
  fprintf(out, "└─ peak %s (load %s, fit %s, score %s)\n", tr_format_bytes(plan->peak_bytes, text[0], sizeof text[0]),
          tr_format_bytes(plan->load_bytes, text[1], sizeof text[1]), tr_format_bytes(plan->fit_bytes, text[2], sizeof text[2]),
          tr_format_bytes(plan->score_bytes, text[3], sizeof text[3]));
}

static void write_plan(FILE *out, const tr_fit_options *o, const tr_fit_plan *plan, const tr_pass_seconds *seconds,
                       const char *run) {
  fprintf(out, "%s on %zu nominal images of %s\n", run, plan->images.train_count, o->data);
  if (o->shard.of)
    fprintf(out, "├─ shard %d of %d of %zu images\n", o->shard.number, o->shard.of, plan->all_images);
  fprintf(out, "├─ weights %s\n", plan->weights);
  if (plan->images.test_count)
    fprintf(out, "├─ threshold: number %zu of the scores of %zu images%s%s\n",
            tr_threshold_rank(o->quantile, plan->images.test_count), plan->images.test_count, o->held_out ? " of " : " held out",
            o->held_out ? o->held_out : "");
  write_needs(out, plan, seconds);
}

tr_status tr_fit_plan_text(const tr_fit_options *options, const tr_fit_plan *plan, char **out) {
  size_t bytes;
  tr_pass_seconds seconds;
  *out = NULL;
  TR_TRY(tr_fit_seconds(options, plan, &seconds));
  char *run = tr_setting_run_name(options->setting);
  FILE *text = run ? open_memstream(out, &bytes) : NULL;
  if (text)
    write_plan(text, options, plan, &seconds, run);
  free(run);
  if (text && fclose(text) == 0)
    return TR_OK;
  free(*out);
  *out = NULL;
  return no_memory();
}

/* ---- fitting ---- */

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static tr_status save(const tr_scorer *scorer, const tr_about *about, const char *path) {
  char *json;
  TR_TRY(tr_about_write(about, &json));
  tr_status status = tr_scorer_save(scorer, path, json);
  free(json);
  return status;
}

static tr_status fit_and_save(const tr_fit_options *o, const tr_fit_plan *plan, tr_scorer *scorer, const char *sha256,
                              const char *path) {
  tr_about about = {.setting = o->setting,
                    .weights_file = base_name(plan->weights),
                    .weights_sha256 = sha256,
                    .in_h = plan->in_h,
                    .in_w = plan->in_w,
                    .train_images = plan->images.train_count,
                    .shard = o->shard};
  TR_TRY(tr_scorer_make_room(scorer, plan->most_bytes));
  TR_TRY(tr_scorer_fit(scorer, plan->images.train));
  if (plan->images.test_count)
    TR_TRY(tr_threshold_find(scorer, o->quantile, &plan->images, o->progress, &about.threshold));
  tr_status status = tr_sources_add(&about.sources, o->data, plan->images.train, plan->images.train_count);
  if (status == TR_OK)
    status = save(scorer, &about, path);
  tr_about_free(&about);
  return status;
}

tr_status tr_fit_run(const tr_fit_options *o, const tr_fit_plan *plan, const char *path) {
  TR_TRY(tr_file_check_writable(path));
  tr_weights *weights;
  tr_scorer *scorer = NULL;
  TR_TRY(tr_weights_open(plan->weights, &weights));
  char sha256[65];
  snprintf(sha256, sizeof sha256, "%s", tr_weights_sha256(weights));
  tr_status status = tr_scorer_create(&(tr_scorer_options){.device = o->device,
                                                           .setting = &plan->setting,
                                                           .weights = weights,
                                                           .in_h = plan->in_h,
                                                           .in_w = plan->in_w,
                                                           .train_images = plan->images.train_count,
                                                           .keep = plan->keep,
                                                           .positions = plan->positions,
                                                           .progress = o->progress},
                                      &scorer);
  tr_weights_close(weights);
  if (status == TR_OK)
    status = fit_and_save(o, plan, scorer, sha256, path);
  tr_scorer_destroy(scorer);
  return status;
}
