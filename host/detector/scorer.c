/* Feed, model and maps of a detector. */
#include "host/detector/scorer.h"
#include "host/base/status.h"
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
  const tr_method *method;
  tr_model *model;
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
  const tr_tile_spec *tile = &o->setting->tile;
  if (tile->bank == TR_TILE_BANK_POSITION)
    return tr_fail(TR_EINVAL, "tile: a detector has one bank for all tiles (bank: shared); `run` takes bank: position");
  return tr_tiling_make(tile, o->in_h, o->in_w, out);
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
                             .train_images = o->train_images * tr_tiling_count(tiling),
                             .keep = o->keep,
                             .folder = getenv("TMPDIR"),
                             .variants = variant,
                             .variant_count = 1,
                             .measure_cover = true,
                             .progress = o->progress};
  tr_backbone_options backbone = backbone_options(o, tiling);
  return tr_backbone_shapes(o->device, &backbone, out->aggregate.h, out->aggregate.w, out->aggregate.c);
}

/* The model's own record of the maps it was fitted on, against what this backbone gives. */
static tr_status check_maps(const tr_scorer *s, const tr_aggregate_spec *maps) {
  tr_aggregate_spec fitted = {0};
  TR_TRY(tr_model_maps_from_json(tr_model_file_settings(s->options.file), &fitted));
  bool same = fitted.layers == maps->layers;
  for (int i = 0; same && i < maps->layers; ++i)
    same = fitted.h[i] == maps->h[i] && fitted.w[i] == maps->w[i] && fitted.c[i] == maps->c[i];
  return same ? TR_OK : tr_fail(TR_EFORMAT, "the model was fitted on maps of other shapes than its backbone and layers give");
}

static tr_status create_model(tr_scorer *s) {
  const tr_scorer_options *o = &s->options;
  tr_variant variant = tr_setting_variant(o->setting);
  tr_method_options options;
  tr_method_needs needs;
  TR_TRY(method_options(o, &s->tiling, &variant, &options));
  s->method = tr_method_find(o->setting->method);
  if (o->file && strcmp(tr_model_file_method(o->file), o->setting->method) != 0)
    return tr_fail(TR_EFORMAT, "a model of %s whose settings are of %s", tr_model_file_method(o->file), o->setting->method);
  if (o->file)
    TR_TRY(check_maps(s, &options.aggregate));
  TR_TRY(s->method->forecast(&options, s->most * s->tiles, &needs));
  s->grid_h = needs.grid_h;
  s->grid_w = needs.grid_w;
  s->grid = (size_t)needs.grid_h * (size_t)needs.grid_w;
  return o->file ? s->method->load(o->device, o->file, &s->model) : s->method->create(&options, &s->model);
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
    status = create_model(s);
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
  if (s->method)
    s->method->destroy(s->model);
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
  size_t tiles = tr_tiling_count(&tiling);
  tr_backbone_options backbone = backbone_options(o, &tiling);
  TR_TRY(method_options(o, &tiling, &variant, &options));
  TR_TRY(tr_method_find(o->setting->method)->forecast(&options, round_of(o->device, tiles) * tiles, &needs));
  TR_TRY(tr_backbone_forecast(o->device, &backbone, &out->backbone_bytes, &macs));
  size_t feed = SLACK_BYTES + feed_bytes(o, &tiling, &options.aggregate, image_bytes);
  out->fit_bytes = out->backbone_bytes + feed + needs.fit_bytes;
  out->score_bytes = out->backbone_bytes + feed + needs.score_bytes + round_bytes(o, &tiling, &needs);
  out->backbone_macs = macs;
  out->tiling = tiling;
  out->model = needs;
  out->model.score_macs /= (double)round_of(o->device, tiles);
  out->model.gpu_score_macs /= (double)round_of(o->device, tiles);
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

/* All tiles of all images are fed, so that units of a call follow each other. */
static tr_status fit_units(void *context, int lane, const size_t *units, size_t n, const float *const *maps) {
  const tr_scorer *s = context;
  return s->method->fit_images(s->model, lane, units[0], n, maps);
}

/* Some of them, one by one. */
static tr_status fit_wanted(void *context, int lane, const size_t *units, size_t n, const float *const *maps) {
  const tr_scorer *s = context;
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < n; ++i) {
    const float *from[TR_MAX_LAYERS];
    for (int l = 0; l < s->options.setting->layer_count; ++l) {
      int h, w, c;
      tr_backbone_tap_shape(s->backbone, l, &h, &w, &c);
      from[l] = maps[l] + i * (size_t)h * (size_t)w * (size_t)c;
    }
    status = s->method->fit_images(s->model, lane, units[i], 1, from);
  }
  return status;
}

/* Where not all features are kept, images with selected rows are fed once more. */
static tr_status fit_again(tr_scorer *s, const tr_sample *samples, uint8_t *wanted) {
  size_t count = s->options.train_images;
  if (!s->method->wants_again || !s->method->wants_again(s->model, wanted))
    return TR_OK;
  TR_TRY(tr_feed_images(s->feed, "nominal images again", &(tr_feed_list){.samples = samples, .count = count, .wanted = wanted},
                        fit_wanted, s));
  return s->method->fit_end(s->model);
}

tr_status tr_scorer_fit(tr_scorer *s, const tr_sample *samples) {
  size_t count = s->options.train_images;
  uint8_t *wanted = calloc(count * s->tiles + 1, 1);
  if (!wanted)
    return tr_fail(TR_ENOMEM, "fitting on %zu images: out of memory", count);
  tr_status status = tr_feed_images(s->feed, "nominal images", &(tr_feed_list){.samples = samples, .count = count}, fit_units, s);
  if (status == TR_OK)
    status = s->method->fit_end(s->model);
  if (status == TR_OK)
    status = fit_again(s, samples, wanted);
  free(wanted);
  return status;
}

tr_status tr_scorer_feed(tr_scorer *s, const char *stage, const tr_feed_list *list, tr_feed_fn fn, void *context) {
  return tr_feed_images(s->feed, stage, list, fn, context);
}

tr_status tr_scorer_save(const tr_scorer *s, const char *path, const char *about) {
  return s->method->save(s->model, 0, path, about);
}

/* ---- scoring ---- */

static tr_status score_units(void *context, int lane, const size_t *units, size_t n, const float *const *maps) {
  tr_scorer *s = context;
  size_t all = s->most * s->tiles;
  return s->method->score_images(s->model, lane, n, maps, s->patch_scores + units[0] * s->grid, all * s->grid,
                                 s->tile_scores + units[0], all);
}

/* After a pass that failed too: the model is to let go of the images it has. */
static tr_status end_pass(const tr_scorer *s, tr_status status) {
  if (!s->method->score_end)
    return status;
  if (status == TR_OK)
    return s->method->score_end(s->model);
  char text[TR_ERROR_TEXT_BYTES];
  snprintf(text, sizeof text, "%s", tr_last_error());
  (void)s->method->score_end(s->model);
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
  TR_TRY(end_pass(s, tr_feed_images(s->feed, "images", &(tr_feed_list){.samples = samples, .count = n}, score_units, s)));
  return finish_scores(s, n, scores);
}

tr_status tr_scorer_score_image(tr_scorer *s, const tr_image *image, const char *name, float *score) {
  TR_TRY(end_pass(s, tr_feed_image(s->feed, image, name, score_units, s)));
  return finish_scores(s, 1, score);
}

tr_status tr_scorer_spent(const tr_scorer *s, tr_scorer_seconds *out) {
  tr_model_info info;
  TR_TRY(s->method->info(s->model, 0, &info));
  tr_feed_seconds feed = tr_feed_spent(s->feed);
  double lanes = tr_device_lanes(s->options.device);
  *out = (tr_scorer_seconds){.prepare = lanes * feed.decode,
                             .backbone = lanes * feed.backbone,
                             .aggregate = lanes * info.aggregate_seconds,
                             .search = lanes * info.nearest_seconds};
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
