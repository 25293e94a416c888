/* SPADE (Cohen and Hoshen, "Sub-Image Anomaly Detection with Deep Pyramid Correspondences", 2020): an image's score is its mean distance
 * to the K nearest training images in the pooled features of the last block (section 3.2 there); a position's score is the distance
 * to the nearest feature, kappa = 1, among all positions of those K images (section 3.3).
 *
 * separate: each tapped layer is a gallery of its own, and its scores a map; the maps are upsampled to the image and averaged, as
 * byungjae89's code does. concatenated: one gallery of all layers' features on the first one's grid, the deeper ones resized
 * (section 3.4's pyramid).
 *
 * The training maps stay on the device as they come, image by image, and are searched where they lie: an image's K neighbours are
 * K blocks of them. Variants that differ in K share all but this search.
 */
#include "host/base/json.h"
#include "host/base/status.h"
#include "host/methods/method.h"
#include "host/search/search.h"
#include "kernels/upsample.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* All positions of the training images in one map. */
typedef struct gallery {
  int h, w, d;
  size_t positions;
  float *rows; /* [train_images * positions, d] until fit_end, then the bank's */
  tr_bank *bank;
} gallery;

/* A search of all galleries, for the variants of one K. */
typedef struct search {
  size_t images;  /* K */
  double seconds; /* of all lanes together */
} search;

typedef struct lane_buffers {
  void *aggregate_scratch;
  float *features; /* concatenated: [chunk * positions, d] */
  float *distances;
  uint32_t *indices; /* [chunk * most positions], or of the nearest images [chunk, most images] */
  float *maps;       /* [chunk, in_h, in_w] */
  void *search_scratch;
  float *host_distances, *host_maps, *near_distances;
  uint32_t *near_images; /* host, [chunk, most images] */
} lane_buffers;

struct tr_model {
  tr_device *device;
  tr_gallery gallery_kind;
  tr_aggregate_spec taps;
  tr_aggregate_spec aggregate; /* concatenated: of all taps but the last */
  int in_h, in_w;
  size_t pixels, train_images;
  gallery galleries[TR_MAX_LAYERS];
  int gallery_count;
  gallery pooled; /* one position */
  tr_variant *variants;
  search *searches;
  size_t search_count, *variant_search, variant_count;
  size_t most_images, most_positions;
  size_t chunk;
  int lanes;
  lane_buffers *buffers;
  double shared_seconds; /* of scored images: concatenation and the nearest images, all lanes together */
  pthread_mutex_t lock;  /* of the seconds */
};

/* ---- set-up ---- */

static void release_gallery(tr_device *device, gallery *g) {
  tr_device_free(device, g->rows);
  tr_bank_destroy(g->bank);
}

static void release_model(tr_model *model) {
  tr_device *device = model->device;
  for (int g = 0; g < model->gallery_count; ++g)
    release_gallery(device, &model->galleries[g]);
  release_gallery(device, &model->pooled);
  for (int lane = 0; model->buffers && lane < model->lanes; ++lane) {
    lane_buffers *b = &model->buffers[lane];
    void *const device_memory[] = {b->aggregate_scratch, b->features, b->distances, b->indices, b->maps, b->search_scratch};
    void *const host_memory[] = {b->host_distances, b->host_maps, b->near_distances, b->near_images};
    for (size_t i = 0; i < sizeof device_memory / sizeof *device_memory; ++i)
      tr_device_free(device, device_memory[i]);
    for (size_t i = 0; i < sizeof host_memory / sizeof *host_memory; ++i)
      free(host_memory[i]);
  }
  free(model->buffers);
  free(model->variants);
  free(model->searches);
  free(model->variant_search);
  pthread_mutex_destroy(&model->lock);
  free(model);
}

static void destroy(tr_model *model) {
  if (model)
    release_model(model);
}

static gallery make_gallery(int h, int w, int d) {
  return (gallery){.h = h, .w = w, .d = d, .positions = (size_t)h * (size_t)w};
}

/* What is concatenated: deeper maps resized to the first one's grid, no window (p = 1). */
static tr_aggregate_spec concatenation(const tr_aggregate_spec *taps) {
  tr_aggregate_spec spec = *taps;
  spec.kind = TR_AGGREGATE_CONCAT;
  spec.layers = taps->layers - 1;
  spec.patch = spec.stride = 1;
  return spec;
}

static tr_status check_taps(const tr_aggregate_spec *taps) {
  int last = taps->layers - 1;
  if (last < 1 || last >= TR_MAX_LAYERS)
    return tr_fail(TR_EINVAL, "spade: layers: expected one to %d layers and pool, found %d in all", TR_MAX_LAYERS - 1,
                   taps->layers);
  if (taps->h[last] != 1 || taps->w[last] != 1)
    return tr_fail(TR_EINVAL, "spade: layers: expected pool as the last, 1x1, found %dx%d", taps->w[last], taps->h[last]);
  return TR_OK;
}

static tr_status plan_galleries(tr_model *model, const tr_aggregate_spec *taps) {
  int last = taps->layers - 1;
  model->taps = *taps;
  model->pooled = make_gallery(1, 1, taps->c[last]);
  model->aggregate = concatenation(taps);
  if (model->gallery_kind == TR_GALLERY_CONCATENATED) {
    int h, w, d;
    TR_TRY(tr_aggregate_shape(&model->aggregate, &h, &w, &d));
    model->galleries[model->gallery_count++] = make_gallery(h, w, d);
  } else {
    for (int i = 0; i < last; ++i)
      model->galleries[model->gallery_count++] = make_gallery(taps->h[i], taps->w[i], taps->c[i]);
  }
  for (int g = 0; g < model->gallery_count; ++g) {
    size_t positions = model->galleries[g].positions;
    model->most_positions = positions > model->most_positions ? positions : model->most_positions;
    if (positions >= UINT32_MAX / model->train_images)
      return tr_fail(TR_EINVAL, "spade: %zu training images of %zu positions; at most %u positions in all are possible",
                     model->train_images, positions, UINT32_MAX);
  }
  return TR_OK;
}

/* Where there are fewer training images than K, all of them. */
static tr_status plan_search(tr_model *model, size_t v) {
  const tr_variant *variant = &model->variants[v];
  int neighbours = variant->neighbours;
  if (variant->image_score == TR_SCORE_REWEIGHTED)
    return tr_fail(TR_EINVAL, "spade: image_score: expected nearest_images, max or smoothed_max, found reweighted");
  if (neighbours < 1 || neighbours > TR_NEAREST_MAX_K)
    return tr_fail(TR_EINVAL, "spade: neighbours (K): expected 1 to %d, found %d", TR_NEAREST_MAX_K, neighbours);
  size_t images = (size_t)neighbours < model->train_images ? (size_t)neighbours : model->train_images, i = 0;
  while (i < model->search_count && model->searches[i].images != images)
    ++i;
  if (i == model->search_count)
    model->searches[model->search_count++] = (search){.images = images};
  model->variant_search[v] = i;
  model->most_images = images > model->most_images ? images : model->most_images;
  return TR_OK;
}

/* All that costs no memory to speak of. */
static tr_status plan_model(const tr_method_options *options, tr_model **out) {
  *out = NULL;
  TR_TRY(check_taps(&options->aggregate));
  if (options->train_images == 0 || options->variant_count == 0 || options->in_h < 1 || options->in_w < 1)
    return tr_fail(TR_EINVAL, "spade: expected at least one training image, pixel and variant, found %zu, %dx%d and %zu",
                   options->train_images, options->in_w, options->in_h, options->variant_count);
  tr_model *model = calloc(1, sizeof *model);
  if (!model)
    return tr_fail(TR_ENOMEM, "creating a SPADE model: out of memory");
  pthread_mutex_init(&model->lock, NULL);
  model->device = options->device;
  model->gallery_kind = options->gallery;
  model->in_h = options->in_h;
  model->in_w = options->in_w;
  model->pixels = (size_t)options->in_h * (size_t)options->in_w;
  model->train_images = options->train_images;
  model->chunk = tr_device_chunk(options->device);
  model->lanes = tr_device_lanes(options->device);
  model->variant_count = options->variant_count;
  model->variants = calloc(options->variant_count, sizeof *model->variants);
  model->searches = calloc(options->variant_count, sizeof *model->searches);
  model->variant_search = calloc(options->variant_count, sizeof *model->variant_search);
  model->buffers = calloc((size_t)model->lanes, sizeof *model->buffers);
  tr_status status = TR_OK;
  if (!model->variants || !model->searches || !model->variant_search || !model->buffers)
    status = tr_fail(TR_ENOMEM, "creating a SPADE model of %zu variants: out of memory", options->variant_count);
  if (status == TR_OK)
    status = plan_galleries(model, &options->aggregate);
  for (size_t v = 0; status == TR_OK && v < options->variant_count; ++v) {
    model->variants[v] = options->variants[v];
    status = plan_search(model, v);
  }
  if (status != TR_OK) {
    release_model(model);
    return status;
  }
  *out = model;
  return TR_OK;
}

static size_t rows_of(const tr_model *model, const gallery *g) {
  return model->train_images * g->positions;
}

static size_t rows_bytes(const tr_model *model, const gallery *g) {
  return rows_of(model, g) * (size_t)g->d * sizeof(float);
}

static size_t aggregate_bytes(const tr_model *model) {
  return model->gallery_kind == TR_GALLERY_CONCATENATED
             ? tr_aggregate_scratch(model->device, &model->aggregate, (int)model->chunk)
             : 0;
}

static tr_status allocate_aggregate_scratch(tr_model *model) {
  for (int lane = 0; lane < model->lanes; ++lane)
    TR_TRY(tr_device_alloc(model->device, aggregate_bytes(model), &model->buffers[lane].aggregate_scratch));
  return TR_OK;
}

static tr_status create(const tr_method_options *options, tr_model **out) {
  *out = NULL;
  tr_model *model;
  TR_TRY(plan_model(options, &model));
  tr_device *device = model->device;
  tr_status status = tr_device_alloc(device, rows_bytes(model, &model->pooled), (void **)&model->pooled.rows);
  for (int g = 0; status == TR_OK && g < model->gallery_count; ++g)
    status = tr_device_alloc(device, rows_bytes(model, &model->galleries[g]), (void **)&model->galleries[g].rows);
  if (status == TR_OK)
    status = allocate_aggregate_scratch(model);
  if (status != TR_OK) {
    release_model(model);
    return tr_fail_context(status, "spade: memory for the features of %zu training images", options->train_images);
  }
  *out = model;
  return TR_OK;
}

/* ---- fitting ---- */

static tr_status concatenate(const tr_model *model, int lane, size_t n, const float *const *maps, float *features) {
  tr_aggregate_args args = {
      .spec = model->aggregate, .n = (int)n, .dst = features, .scratch = model->buffers[lane].aggregate_scratch};
  for (int i = 0; i < model->aggregate.layers; ++i)
    args.maps[i] = maps[i];
  return tr_aggregate(model->device, &args);
}

static tr_status keep(const tr_model *model, const gallery *g, size_t first, size_t n, const float *map) {
  size_t image = g->positions * (size_t)g->d;
  return tr_device_copy(model->device, g->rows + first * image, map, n * image * sizeof(float));
}

static tr_status fit_images(tr_model *model, int lane, size_t first, size_t n, const float *const *maps) {
  const gallery *galleries = model->galleries;
  TR_TRY(keep(model, &model->pooled, first, n, maps[model->aggregate.layers]));
  if (model->gallery_kind == TR_GALLERY_CONCATENATED)
    return concatenate(model, lane, n, maps, galleries->rows + first * galleries->positions * (size_t)galleries->d);
  for (int g = 0; g < model->gallery_count; ++g)
    TR_TRY(keep(model, &galleries[g], first, n, maps[g]));
  return TR_OK;
}

static tr_status make_bank(tr_model *model, gallery *g) {
  float *rows = g->rows;
  g->rows = NULL;
  return tr_bank_create(model->device, rows, rows_of(model, g), g->d, &g->bank);
}

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

static size_t search_scratch(const tr_model *model) {
  size_t bytes =
      tr_nearest_scratch(model->device, model->chunk, 1, model->train_images, model->pooled.d, (int)model->most_images);
  for (int i = 0; i < model->gallery_count; ++i) {
    const gallery *g = &model->galleries[i];
    bytes = larger(bytes, tr_nearest_scratch(model->device, g->positions, g->positions, rows_of(model, g), g->d, 1));
  }
  return bytes;
}

/* Distances or indices: of a chunk's positions, and of its nearest images. */
static size_t distance_count(const tr_model *model) {
  return model->chunk * larger(model->most_positions, model->most_images);
}

static size_t feature_count(const tr_model *model) {
  const gallery *g = model->galleries;
  return model->gallery_kind == TR_GALLERY_CONCATENATED ? model->chunk * g->positions * (size_t)g->d : 0;
}

static tr_status allocate_lane(const tr_model *model, lane_buffers *b) {
  tr_device *device = model->device;
  size_t distances = distance_count(model), pixels = model->chunk * model->pixels, images = model->chunk * model->most_images;
  TR_TRY(tr_device_alloc(device, feature_count(model) * sizeof(float), (void **)&b->features));
  TR_TRY(tr_device_alloc(device, distances * sizeof(float), (void **)&b->distances));
  TR_TRY(tr_device_alloc(device, distances * sizeof(uint32_t), (void **)&b->indices));
  TR_TRY(tr_device_alloc(device, pixels * sizeof(float), (void **)&b->maps));
  TR_TRY(tr_device_alloc(device, search_scratch(model), &b->search_scratch));
  b->host_distances = malloc(distances * sizeof(float));
  b->host_maps = malloc(pixels * sizeof(float));
  b->near_distances = malloc(images * sizeof(float));
  b->near_images = malloc(images * sizeof(uint32_t));
  if (!b->host_distances || !b->host_maps || !b->near_distances || !b->near_images)
    return tr_fail(TR_ENOMEM, "spade: scores of %zu images: out of memory", model->chunk);
  return TR_OK;
}

/* Rows become banks; buffers for scoring. */
static tr_status fit_end(tr_model *model) {
  TR_TRY(make_bank(model, &model->pooled));
  for (int g = 0; g < model->gallery_count; ++g)
    TR_TRY(make_bank(model, &model->galleries[g]));
  for (int lane = 0; lane < model->lanes; ++lane)
    TR_TRY(allocate_lane(model, &model->buffers[lane]));
  return TR_OK;
}

/* ---- scoring ---- */

static void add_seconds(tr_model *model, double *sum, double seconds) {
  pthread_mutex_lock(&model->lock);
  *sum += seconds;
  pthread_mutex_unlock(&model->lock);
}

/* The most_images nearest training images of each of n images, nearest first. */
static tr_status find_images(const tr_model *model, const lane_buffers *b, size_t n, const float *pooled) {
  size_t count = n * model->most_images;
  TR_TRY(tr_bank_search(model->pooled.bank, model->train_images, pooled, n, 1, (int)model->most_images, b->distances, b->indices,
                        b->search_scratch));
  TR_TRY(tr_device_download(model->device, b->near_distances, b->distances, count * sizeof(float)));
  TR_TRY(tr_device_download(model->device, b->near_images, b->indices, count * sizeof(uint32_t)));
  TR_TRY(tr_device_sync(model->device));
  for (size_t i = 0; i < count; ++i)
    b->near_distances[i] = sqrtf(b->near_distances[i]);
  return TR_OK;
}

/* Distances of n images' positions to a gallery, upsampled into b->host_maps. */
static tr_status map_gallery(const tr_model *model, const gallery *g, const search *pass, const lane_buffers *b, size_t n,
                             const float *features) {
  tr_device *device = model->device;
  size_t distances = n * g->positions;
  for (size_t i = 0; i < n; ++i)
    TR_TRY(tr_bank_search_blocks(g->bank, b->near_images + i * model->most_images, pass->images, g->positions,
                                 features + i * g->positions * (size_t)g->d, g->positions, g->positions, 1,
                                 b->distances + i * g->positions, b->indices, b->search_scratch));
  TR_TRY(tr_device_download(device, b->host_distances, b->distances, distances * sizeof(float)));
  TR_TRY(tr_device_sync(device));
  for (size_t i = 0; i < distances; ++i)
    b->host_distances[i] = sqrtf(b->host_distances[i]);
  TR_TRY(tr_device_upload(device, b->distances, b->host_distances, distances * sizeof(float)));
  TR_TRY(tr_upsample(device, &(tr_upsample_args){.n = (int)n,
                                                 .in_h = g->h,
                                                 .in_w = g->w,
                                                 .out_h = model->in_h,
                                                 .out_w = model->in_w,
                                                 .src = b->distances,
                                                 .dst = b->maps}));
  TR_TRY(tr_device_download(device, b->host_maps, b->maps, n * model->pixels * sizeof(float)));
  return tr_device_sync(device);
}

/* The mean of all galleries' maps. */
static tr_status map_images(tr_model *model, search *pass, const lane_buffers *b, size_t n, const float *const *features,
                            float *scores) {
  size_t pixels = n * model->pixels;
  double begin, end;
  TR_TRY(tr_device_clock(model->device, &begin));
  for (int g = 0; g < model->gallery_count; ++g) {
    TR_TRY(map_gallery(model, &model->galleries[g], pass, b, n, features[g]));
    for (size_t i = 0; i < pixels; ++i)
      scores[i] = g == 0 ? b->host_maps[i] : scores[i] + b->host_maps[i];
  }
  for (size_t i = 0; i < pixels; ++i)
    scores[i] /= (float)model->gallery_count;
  TR_TRY(tr_device_clock(model->device, &end));
  add_seconds(model, &pass->seconds, end - begin);
  return TR_OK;
}

static float mean_distance(const float *distances, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i)
    sum += (double)distances[i];
  return (float)(sum / (double)count);
}

static float maximum(const float *scores, size_t count) {
  float largest = scores[0];
  for (size_t i = 1; i < count; ++i)
    largest = fmaxf(largest, scores[i]);
  return largest;
}

static void score_image(const tr_model *model, size_t v, const float *near_distances, const float *map, float *score) {
  bool by_images = model->variants[v].image_score == TR_SCORE_NEAREST_IMAGES;
  size_t images = model->searches[model->variant_search[v]].images;
  *score = by_images ? mean_distance(near_distances, images) : maximum(map, model->pixels);
}

static tr_status score_images(tr_model *model, int lane, size_t n, const float *const *maps, float *patch_scores,
                              size_t variant_stride, float *image_scores, size_t image_stride) {
  lane_buffers *b = &model->buffers[lane];
  const float *const concatenated[] = {b->features}, *const *features = maps;
  double begin, end;
  TR_TRY(tr_device_clock(model->device, &begin));
  TR_TRY(find_images(model, b, n, maps[model->aggregate.layers]));
  if (model->gallery_kind == TR_GALLERY_CONCATENATED) {
    TR_TRY(concatenate(model, lane, n, maps, b->features));
    features = concatenated;
  }
  TR_TRY(tr_device_clock(model->device, &end));
  add_seconds(model, &model->shared_seconds, end - begin);
  for (size_t s = 0; s < model->search_count; ++s) {
    search *pass = &model->searches[s];
    const float *first = NULL; /* variant's scores of this search */
    for (size_t v = 0; v < model->variant_count; ++v) {
      if (model->variant_search[v] != s)
        continue;
      float *scores = patch_scores + v * variant_stride;
      if (first)
        memcpy(scores, first, n * model->pixels * sizeof *scores);
      else
        TR_TRY(map_images(model, pass, b, n, features, scores));
      first = scores;
      for (size_t i = 0; i < n; ++i)
        score_image(model, v, b->near_distances + i * model->most_images, scores + i * model->pixels,
                    image_scores + v * image_stride + i);
    }
  }
  return TR_OK;
}

/* bank_rows: that a test image is compared with, of all galleries. */
static tr_status info(const tr_model *model, size_t variant, tr_model_info *out) {
  if (variant >= model->variant_count)
    return tr_fail(TR_EINVAL, "spade: there is no variant %zu of %zu", variant, model->variant_count);
  const search *pass = &model->searches[model->variant_search[variant]];
  *out = (tr_model_info){
      .cover = NAN, .nearest_seconds = pass->seconds / model->lanes, .aggregate_seconds = model->shared_seconds / model->lanes};
  for (int g = 0; g < model->gallery_count; ++g) {
    out->bank_rows += pass->images * model->galleries[g].positions;
    out->dimension += model->galleries[g].d;
  }
  return TR_OK;
}

static const uint32_t *bank_order(const tr_model *model, size_t variant, size_t *rows) {
  (void)model;
  (void)variant;
  *rows = 0;
  return NULL;
}

/* ---- forecast ---- */

static void count_macs(const tr_model *model, size_t test_images, tr_method_needs *out) {
  for (size_t s = 0; s < model->search_count; ++s)
    for (int i = 0; i < model->gallery_count; ++i) {
      const gallery *g = &model->galleries[i];
      double queries = (double)test_images * (double)g->positions;
      size_t rows = model->searches[s].images * g->positions;
      out->score_macs += queries * tr_nearest_sketched_macs(rows, g->d);
      out->gpu_score_macs += queries * (double)rows * g->d;
    }
}

/* Scores leave the model chunk by chunk: memory does not depend on the number of test images. */
static tr_status forecast(const tr_method_options *options, size_t test_images, tr_method_needs *out) {
  *out = (tr_method_needs){.grid_h = options->in_h, .grid_w = options->in_w};
  tr_model *model;
  TR_TRY(plan_model(options, &model));
  size_t kept = rows_bytes(model, &model->pooled) + (size_t)model->lanes * aggregate_bytes(model), peak = 0;
  for (int g = 0; g < model->gallery_count; ++g) {
    kept += rows_bytes(model, &model->galleries[g]);
    out->dimension += model->galleries[g].d;
  }
  out->held_bytes = kept;
  /* Rows turn into banks one by one. */
  for (int i = -1; i < model->gallery_count; ++i) {
    const gallery *g = i < 0 ? &model->pooled : &model->galleries[i];
    kept += tr_bank_bytes(model->device, rows_of(model, g), g->d) - rows_bytes(model, g);
    peak = larger(peak, kept + tr_bank_scratch_bytes(model->device, rows_of(model, g), g->d));
  }
  size_t distances = 3 * distance_count(model), maps = 2 * model->chunk * model->pixels;
  size_t lane = (distances + maps + feature_count(model)) * sizeof(float) + search_scratch(model);
  out->fit_bytes = peak;
  out->score_bytes = kept + (size_t)model->lanes * lane;
  count_macs(model, test_images, out);
  release_model(model);
  return TR_OK;
}

/* ---- files ---- */

static tr_model_array pooled_array(const tr_model *model, const float *rows) {
  return (tr_model_array){"pooled", TR_ARRAY_F4, 2, {model->train_images, (size_t)model->pooled.d}, rows, true};
}

static tr_model_array gallery_array(const tr_model *model, int i, const float *rows) {
  static const char *const names[TR_MAX_LAYERS] = {"gallery 0", "gallery 1", "gallery 2", "gallery 3"};
  const gallery *g = &model->galleries[i];
  return (tr_model_array){names[i], TR_ARRAY_F4, 3, {model->train_images, g->positions, (size_t)g->d}, rows, true};
}

static tr_status write_settings(const tr_model *model, const tr_variant *v, cJSON *out) {
  size_t count;
  bool complete = cJSON_AddItemToObject(out, "train_images", tr_json_number((double)model->train_images)) &&
                  cJSON_AddItemToObject(out, "in_h", tr_json_number(model->in_h)) &&
                  cJSON_AddItemToObject(out, "in_w", tr_json_number(model->in_w)) &&
                  cJSON_AddItemToObject(out, "neighbours", tr_json_number(v->neighbours)) &&
                  cJSON_AddStringToObject(out, "gallery", tr_gallery_names(&count)[model->gallery_kind]) &&
                  cJSON_AddStringToObject(out, "image_score", tr_image_score_names(&count)[v->image_score]);
  return complete ? tr_model_maps_to_json(&model->taps, out) : tr_fail(TR_ENOMEM, "writing a model's settings: out of memory");
}

static tr_status save(const tr_model *model, size_t variant, const char *path, const char *about) {
  if (variant >= model->variant_count || !model->pooled.bank)
    return tr_fail(TR_EINVAL, "spade: variant %zu of %zu is not there or not fitted", variant, model->variant_count);
  tr_model_array arrays[1 + TR_MAX_LAYERS] = {pooled_array(model, tr_bank_data(model->pooled.bank))};
  for (int g = 0; g < model->gallery_count; ++g)
    arrays[1 + g] = gallery_array(model, g, tr_bank_data(model->galleries[g].bank));
  cJSON *settings = cJSON_CreateObject();
  tr_status status = settings ? write_settings(model, &model->variants[variant], settings)
                              : tr_fail(TR_ENOMEM, "writing %s: out of memory", path);
  if (status == TR_OK)
    status = tr_model_file_write(path, model->device,
                                 &(tr_model_content){.method = "spade",
                                                     .settings = settings,
                                                     .about = about,
                                                     .arrays = arrays,
                                                     .array_count = 1 + (size_t)model->gallery_count});
  cJSON_Delete(settings);
  return status;
}

static tr_status read_settings(const cJSON *settings, tr_method_options *options, tr_variant *variant) {
  enum { MOST_SIDE = 1 << 16 };
  double images, in_h, in_w, neighbours;
  int gallery_kind, image_score;
  size_t gallery_count, score_count;
  const char *const *galleries = tr_gallery_names(&gallery_count), *const *scores = tr_image_score_names(&score_count);
  TR_TRY(tr_model_maps_from_json(settings, &options->aggregate));
  TR_TRY(tr_json_get_whole(settings, "train_images", 1, UINT32_MAX, &images));
  TR_TRY(tr_json_get_whole(settings, "in_h", 1, MOST_SIDE, &in_h));
  TR_TRY(tr_json_get_whole(settings, "in_w", 1, MOST_SIDE, &in_w));
  TR_TRY(tr_json_get_whole(settings, "neighbours", 1, TR_NEAREST_MAX_K, &neighbours));
  TR_TRY(tr_json_get_choice(settings, "gallery", galleries, gallery_count, &gallery_kind));
  TR_TRY(tr_json_get_choice(settings, "image_score", scores, score_count, &image_score));
  options->train_images = (size_t)images;
  options->in_h = (int)in_h;
  options->in_w = (int)in_w;
  options->gallery = (tr_gallery)gallery_kind;
  variant->neighbours = (int)neighbours;
  variant->image_score = (tr_image_score)image_score;
  return TR_OK;
}

static tr_status load_arrays(const tr_model_file *file, tr_model *model) {
  tr_model_array pooled = pooled_array(model, NULL);
  TR_TRY(tr_model_file_upload(file, model->device, &pooled, (void **)&model->pooled.rows));
  for (int g = 0; g < model->gallery_count; ++g) {
    tr_model_array array = gallery_array(model, g, NULL);
    TR_TRY(tr_model_file_upload(file, model->device, &array, (void **)&model->galleries[g].rows));
  }
  return TR_OK;
}

static tr_status load(tr_device *device, const tr_model_file *file, tr_model **out) {
  *out = NULL;
  tr_variant variant = {0};
  tr_method_options options = {.device = device, .variants = &variant, .variant_count = 1};
  tr_model *model = NULL;
  tr_status status = read_settings(tr_model_file_settings(file), &options, &variant);
  if (status == TR_OK)
    status = plan_model(&options, &model);
  if (status == TR_OK)
    status = allocate_aggregate_scratch(model);
  if (status == TR_OK)
    status = load_arrays(file, model);
  if (status == TR_OK)
    status = fit_end(model);
  if (status != TR_OK) {
    destroy(model);
    return tr_fail_context(status, "reading the model %s", tr_model_file_path(file));
  }
  *out = model;
  return TR_OK;
}

const tr_method tr_method_spade = {
    .name = "spade",
    .create = create,
    .destroy = destroy,
    .fit_images = fit_images,
    .fit_end = fit_end,
    .score_images = score_images,
    .info = info,
    .bank_order = bank_order,
    .forecast = forecast,
    .save = save,
    .load = load,
};
