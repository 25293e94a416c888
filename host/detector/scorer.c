/* Feed, models and maps of a detector. */
#include "host/detector/scorer.h"
#include "host/base/status.h"
#include "host/detector/models.h"
#include "host/harness/evaluate.h"
#include "host/harness/feed.h"
#include "host/harness/ring.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Images of a round, where the device takes fewer at a time: enough that lanes seldom wait for the last one. */
enum { ROUND = 64 };
/* What the parts' own forecasts leave out, as host/harness/forecast.c has it. */
enum { SLACK_BYTES = 8 << 20 };

struct tr_scorer {
  tr_scorer_options options;
  tr_backbone *backbone;
  tr_feed *feed;
  size_t image_bytes; /* that the feed has room for */
  tr_variant variant;
  tr_models *models;
  tr_tiling tiling;
  size_t most, tiles, grid; /* images of a round; tiles of an image, positions of a tile */
  int grid_h, grid_w;
  float *patch_scores; /* [most, tiles, grid] */
  float *tile_scores;  /* [most, tiles] */
  float *image_scores; /* [most]: the maximum of the image's tiles */
  tr_class round;      /* the images scored last, for the evaluation, which looks at no files here */
  tr_evaluation *evaluation;
  size_t evaluated; /* images that it is for */
  bool maps_made;
};

/* Of tiled images as many as have so many tiles, but one for each lane. */
static size_t round_of(const tr_device *device, size_t tiles) {
  size_t chunk = tr_device_chunk(device), round = chunk > ROUND ? chunk : ROUND / chunk * chunk;
  size_t lanes = (size_t)tr_device_lanes(device), images = (round + tiles - 1) / tiles;
  return images > lanes ? images : lanes < round ? lanes : round;
}

/* ---- set-up ---- */

static tr_status tiling_of(const tr_scorer_options *o, tr_tiling *out) {
  return tr_tiling_make(&o->setting->tile, o->in_h, o->in_w, out);
}

static size_t models_of(const tr_scorer_options *o, const tr_tiling *tiling) {
  return o->setting->tile.bank == TR_TILE_BANK_POSITION ? tr_tiling_count(tiling) : 1;
}

/* Of new models. */
static size_t at_once(const tr_scorer_options *o, const tr_tiling *tiling) {
  size_t models = models_of(o, tiling);
  return o->positions && o->positions < models ? o->positions : models;
}

static tr_backbone_options backbone_options(const tr_scorer_options *o, const tr_tiling *tiling) {
  return (tr_backbone_options){.architecture = o->setting->backbone,
                               .layers = o->setting->layers,
                               .layer_count = o->setting->layer_count,
                               .in_h = tiling->tile_h,
                               .in_w = tiling->tile_w};
}

static tr_status method_options(const tr_scorer_options *o, const tr_tiling *tiling, const tr_variant *variant,
                                tr_method_options *out) {
  const tr_setting *s = o->setting;
  *out = (tr_method_options){.device = o->device,
                             .aggregate = tr_setting_aggregate(s),
                             .in_h = tiling->tile_h,
                             .in_w = tiling->tile_w,
                             .gallery = s->gallery,
                             .train_images = o->train_images * tr_tiling_count(tiling) / models_of(o, tiling),
                             .keep = o->keep,
                             .folder = getenv("TMPDIR"),
                             .variants = variant,
                             .variant_count = 1,
                             .loads = o->file != NULL,
                             .measure_cover = true,
                             .progress = o->progress};
  tr_backbone_options backbone = backbone_options(o, tiling);
  return tr_backbone_shapes(o->device, &backbone, out->aggregate.h, out->aggregate.w, out->aggregate.c);
}

static tr_status create_models(tr_scorer *s) {
  const tr_scorer_options *o = &s->options;
  tr_method_needs needs;
  tr_models_options options = {.method = tr_method_find(o->setting->method),
                               .tiles = s->tiles,
                               .count = models_of(o, &s->tiling),
                               .at_once = at_once(o, &s->tiling)};
  s->variant = tr_setting_variant(o->setting);
  TR_TRY(method_options(o, &s->tiling, &s->variant, &options.of_one));
  if (o->file && strcmp(tr_model_file_method(o->file), o->setting->method) != 0)
    return tr_fail(TR_EFORMAT, "a model of %s whose settings are of %s", tr_model_file_method(o->file), o->setting->method);
  TR_TRY(options.method->forecast(&options.of_one, s->most * s->tiles / options.count, &needs));
  s->grid_h = needs.grid_h;
  s->grid_w = needs.grid_w;
  s->grid = (size_t)needs.grid_h * (size_t)needs.grid_w;
  return o->file ? tr_models_load(&options, o->file, &s->models) : tr_models_create(&options, &s->models);
}

static tr_status allocate(tr_scorer *s) {
  s->patch_scores = calloc(s->most * s->tiles * s->grid, sizeof *s->patch_scores);
  s->tile_scores = calloc(s->most * s->tiles, sizeof *s->tile_scores);
  s->image_scores = calloc(s->most, sizeof *s->image_scores);
  s->round.test = calloc(s->most, sizeof *s->round.test);
  s->round.name = strdup("images");
  if (!s->patch_scores || !s->tile_scores || !s->image_scores || !s->round.test || !s->round.name)
    return tr_fail(TR_ENOMEM, "scores of %zu images: out of memory", s->most);
  return TR_OK;
}

tr_status tr_scorer_create(const tr_scorer_options *options, tr_scorer **out) {
  *out = NULL;
  tr_scorer *s = calloc(1, sizeof *s);
  if (!s)
    return tr_fail(TR_ENOMEM, "creating a detector: out of memory");
  s->options = *options;
  tr_status status = tiling_of(options, &s->tiling);
  s->tiles = tr_tiling_count(&s->tiling);
  s->most = round_of(options->device, s->tiles);
  tr_backbone_options backbone = backbone_options(options, &s->tiling);
  if (status == TR_OK)
    status = tr_backbone_create(options->device, &backbone, options->weights, &s->backbone);
  s->options.weights = NULL;
  if (status == TR_OK)
    status = create_models(s);
  s->options.file = NULL;
  if (status == TR_OK)
    status = allocate(s);
  if (status == TR_OK)
    status = tr_scorer_make_room(s, 1);
  if (status != TR_OK) {
    tr_scorer_destroy(s);
    return status;
  }
  *out = s;
  return TR_OK;
}

void tr_scorer_destroy(tr_scorer *s) {
  if (!s)
    return;
  tr_evaluation_destroy(s->evaluation);
  tr_models_destroy(s->models);
  tr_feed_destroy(s->feed);
  tr_backbone_destroy(s->backbone);
  free(s->patch_scores);
  free(s->tile_scores);
  free(s->image_scores);
  free(s->round.test);
  free(s->round.name);
  free(s);
}

tr_status tr_scorer_make_room(tr_scorer *s, size_t image_bytes) {
  const tr_scorer_options *o = &s->options;
  if (s->feed && image_bytes <= s->image_bytes)
    return TR_OK;
  tr_feed_destroy(s->feed);
  s->feed = NULL;
  s->image_bytes = image_bytes;
  return tr_feed_create(&(tr_feed_options){.device = o->device,
                                           .backbone = s->backbone,
                                           .architecture = o->setting->backbone,
                                           .image = o->setting->image,
                                           .tiling = s->tiling,
                                           .layers = o->setting->layer_count,
                                           .image_bytes = image_bytes,
                                           .progress = o->progress},
                        &s->feed);
}

/* ---- forecast ---- */

/* Images on their way to the method: decoded (the file's rows, the decoder's copy and ours), the resize's scratch, and a chunk of
 * normalised images and tapped maps a lane. */
static size_t feed_bytes(const tr_scorer_options *o, const tr_tiling *tiling, const tr_aggregate_spec *maps, size_t image_bytes) {
  size_t lanes = (size_t)tr_device_lanes(o->device), threads = (size_t)tr_pool_threads(tr_device_pool(o->device));
  size_t decoded = tr_device_works_alone(o->device) ? 3 * threads + 2 * tr_ring_slots(o->device) : 4 * lanes;
  size_t floats = (size_t)tiling->tile_h * (size_t)tiling->tile_w * 3;
  for (int i = 0; i < maps->layers; ++i)
    floats += (size_t)maps->h[i] * (size_t)maps->w[i] * (size_t)maps->c[i];
  int side = (int)sqrt((double)image_bytes / 3) + 1;
  tr_image_spec image = o->setting->image;
  if (!tr_tiling_is_whole(tiling))
    image.window = tr_tiling_window(tiling, 0);
  size_t scratch = tr_resize_scratch(&image, side, side, 3);
  return decoded * image_bytes + lanes * (scratch + tr_device_chunk(o->device) * floats * sizeof(float));
}

/* Scores and maps of a round. */
static size_t round_bytes(const tr_scorer_options *o, const tr_tiling *tiling, const tr_method_needs *needs) {
  size_t tiles = tr_tiling_count(tiling), lanes = (size_t)tr_device_lanes(o->device);
  size_t maps = tiles * (size_t)needs->grid_h * (size_t)needs->grid_w + (size_t)o->in_h * (size_t)o->in_w;
  size_t lane = tr_tiling_is_whole(tiling) ? 0 : tr_evaluation_lane_bytes(o->device, tiling);
  return round_of(o->device, tiles) * maps * sizeof(float) + lanes * lane;
}

tr_status tr_scorer_forecast(const tr_scorer_options *o, size_t image_bytes, tr_scorer_needs *out) {
  tr_variant variant = tr_setting_variant(o->setting);
  tr_method_options options;
  tr_method_needs needs;
  tr_tiling tiling;
  double macs;
  TR_TRY(tiling_of(o, &tiling));
  size_t tiles = tr_tiling_count(&tiling), models = models_of(o, &tiling), round = round_of(o->device, tiles);
  tr_backbone_options backbone = backbone_options(o, &tiling);
  TR_TRY(method_options(o, &tiling, &variant, &options));
  TR_TRY(tr_method_find(o->setting->method)->forecast(&options, round * tiles / models, &needs));
  size_t score_bytes = needs.score_bytes * models; /* all of them are there */
  tr_method_needs_multiply(&needs, at_once(o, &tiling), models);
  needs.score_bytes = score_bytes;
  TR_TRY(tr_backbone_forecast(o->device, &backbone, &out->backbone_bytes, &macs));
  size_t feed = SLACK_BYTES + feed_bytes(o, &tiling, &options.aggregate, image_bytes);
  out->fit_bytes = out->backbone_bytes + feed + needs.fit_bytes;
  out->score_bytes = out->backbone_bytes + feed + needs.score_bytes + round_bytes(o, &tiling, &needs);
  out->backbone_macs = macs;
  out->tiling = tiling;
  out->models = models;
  out->model = needs;
  out->model.score_macs /= (double)round;
  out->model.gpu_score_macs /= (double)round;
  return TR_OK;
}

tr_status tr_scorer_shape_of(const tr_scorer_options *o, tr_scorer_shape *out) {
  tr_method_options options;
  tr_tiling tiling;
  int h, w;
  TR_TRY(tiling_of(o, &tiling));
  TR_TRY(method_options(o, &tiling, NULL, &options));
  TR_TRY(tr_aggregate_shape(&options.aggregate, &h, &w, &out->dimension));
  out->patches = tr_tiling_count(&tiling) * (size_t)h * (size_t)w;
  return TR_OK;
}

/* ---- fitting ---- */

tr_status tr_scorer_fit(tr_scorer *s, const tr_sample *samples) {
  return tr_models_fit(s->models, s->feed, samples, s->options.train_images);
}

tr_status tr_scorer_feed(tr_scorer *s, const char *stage, const tr_feed_list *list, tr_feed_fn fn, void *context) {
  return tr_feed_images(s->feed, stage, list, fn, context);
}

tr_status tr_scorer_save(const tr_scorer *s, const char *path, const char *about) {
  return tr_models_save(s->models, path, about);
}

/* ---- scoring ---- */

static tr_models_scores scores_of(const tr_scorer *s) {
  return (tr_models_scores){.models = s->models,
                            .patches = s->grid,
                            .most = s->most * s->tiles,
                            .patch_scores = s->patch_scores,
                            .unit_scores = s->tile_scores};
}

/* After a pass that failed too: the models are to let go of the images they have. */
static tr_status end_pass(const tr_scorer *s, tr_status status) {
  if (status == TR_OK)
    return tr_models_score_end(s->models);
  char text[TR_ERROR_TEXT_BYTES];
  snprintf(text, sizeof text, "%s", tr_last_error());
  (void)tr_models_score_end(s->models);
  tr_error_set_text(text);
  return status;
}

static tr_status finish_scores(tr_scorer *s, size_t n, float *scores) {
  s->round.test_count = n;
  s->maps_made = false;
  for (size_t i = 0; i < n; ++i) {
    const float *tiles = s->tile_scores + i * s->tiles;
    s->image_scores[i] = tiles[0];
    for (size_t t = 1; t < s->tiles; ++t)
      s->image_scores[i] = fmaxf(s->image_scores[i], tiles[t]);
  }
  if (s->options.setting->image_score == TR_SCORE_SMOOTHED_MAX) {
    TR_TRY(tr_scorer_maps(s));
    TR_TRY(tr_scorer_peaks(s, s->image_scores));
  }
  memcpy(scores, s->image_scores, n * sizeof *scores);
  return TR_OK;
}

size_t tr_scorer_most(const tr_scorer *s) {
  return s->most;
}

tr_status tr_scorer_score(tr_scorer *s, const tr_sample *samples, size_t n, float *scores) {
  tr_models_scores to = scores_of(s);
  tr_feed_list list = {.samples = samples, .count = n};
  TR_TRY(tr_models_ready(s->models));
  TR_TRY(end_pass(s, tr_feed_images(s->feed, "images", &list, tr_models_score_units, &to)));
  return finish_scores(s, n, scores);
}

tr_status tr_scorer_score_image(tr_scorer *s, const tr_image *image, const char *name, float *score) {
  tr_models_scores to = scores_of(s);
  TR_TRY(tr_models_ready(s->models));
  TR_TRY(end_pass(s, tr_feed_image(s->feed, image, name, tr_models_score_units, &to)));
  return finish_scores(s, 1, score);
}

tr_status tr_scorer_spent(const tr_scorer *s, tr_scorer_seconds *out) {
  double aggregate, search;
  TR_TRY(tr_models_spent(s->models, &aggregate, &search));
  tr_feed_seconds feed = tr_feed_spent(s->feed);
  double lanes = tr_device_lanes(s->options.device);
  *out = (tr_scorer_seconds){.prepare = lanes * feed.decode,
                             .backbone = lanes * feed.backbone,
                             .aggregate = lanes * aggregate,
                             .search = lanes * search};
  return TR_OK;
}

/* ---- maps ---- */

static tr_status prepare_evaluation(tr_scorer *s) {
  const tr_scorer_options *o = &s->options;
  if (s->evaluation && s->evaluated == s->round.test_count)
    return TR_OK;
  s->evaluated = s->round.test_count;
  tr_evaluation_destroy(s->evaluation);
  s->evaluation = NULL;
  return tr_evaluation_create(&(tr_evaluation_options){.device = o->device,
                                                       .class_ = &s->round,
                                                       .image = o->setting->image,
                                                       .tiling = s->tiling,
                                                       .most_positions = s->grid,
                                                       .progress = o->progress},
                              &s->evaluation);
}

tr_status tr_scorer_maps(tr_scorer *s) {
  if (s->maps_made)
    return TR_OK;
  TR_TRY(prepare_evaluation(s));
  tr_patch_scores scores = {.values = s->patch_scores, .grid_h = s->grid_h, .grid_w = s->grid_w};
  TR_TRY(tr_evaluation_maps(s->evaluation, &scores, s->options.setting->sigma));
  s->maps_made = true;
  return TR_OK;
}

tr_status tr_scorer_peaks(tr_scorer *s, float *peaks) {
  return tr_evaluation_peaks(s->evaluation, peaks);
}

tr_status tr_scorer_map(const tr_scorer *s, size_t i, float *map) {
  return tr_evaluation_map(s->evaluation, i, map);
}
