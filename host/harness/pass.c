/* One pass: the backbone is loaded, models are made, training images fit them, test images are scored. */
#include "host/harness/pass.h"
#include "host/base/clock.h"
#include "host/base/status.h"
#include "host/harness/draw.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* What training images score against the rows of other images, until all positions have been at hand. */
typedef struct tr_nominal_scores {
  size_t count;                      /* of images; 0: none are wanted, or they cannot be had */
  size_t numbers[TR_NOMINAL_IMAGES]; /* of the images, among those the model sees */
  float *patch_scores;               /* [images, tiles, grid] */
  float *unit_scores;                /* [images, tiles] */
} tr_nominal_scores;

static void release_nominal(tr_pass_model *m) {
  for (size_t v = 0; m->nominal_scores && v < m->group->variant_count; ++v) {
    free(m->nominal_scores[v].patch_scores);
    free(m->nominal_scores[v].unit_scores);
  }
  free(m->nominal_scores);
  m->nominal_scores = NULL;
}

static void release_parts(tr_pass_work *w) {
  for (size_t i = 0; w->models && i < w->pass->group_count; ++i) {
    tr_pass_model *m = &w->models[i];
    for (size_t part = 0; m->parts && part < w->pass->positions; ++part) {
      if (m->parts[part])
        m->method->destroy(m->parts[part]);
      m->parts[part] = NULL;
    }
  }
}

static void release_models(tr_pass_work *w) {
  release_parts(w);
  tr_feed_destroy(w->feed);
  w->feed = NULL;
  tr_backbone_destroy(w->backbone);
  w->backbone = NULL;
}

void tr_pass_work_release(tr_pass_work *w) {
  release_models(w);
  for (size_t i = 0; w->models && i < w->pass->group_count; ++i) {
    tr_pass_model *m = &w->models[i];
    free(m->parts);
    free(m->variants);
    free(m->place);
    free(m->info);
    free(m->patch_scores);
    free(m->unit_scores);
    free(m->image_scores);
    free(m->nominal);
    release_nominal(m);
  }
  free(w->models);
  free(w->train);
  free(w->train_items);
  free(w->test_items);
  w->models = NULL;
  w->train = NULL;
  w->train_items = w->test_items = NULL;
}

static tr_status create_backbone(tr_pass_work *w) {
  tr_backbone_options options = tr_pass_backbone_options(w->pass);
  tr_weights *weights;
  TR_TRY(tr_weights_open(w->pass->weights->file, &weights));
  tr_status status = tr_backbone_create(w->device, &options, weights, &w->backbone);
  tr_weights_close(weights);
  return status;
}

static tr_status create_feed(tr_pass_work *w) {
  const tr_pass *pass = w->pass;
  tr_feed_options options = {.device = w->device,
                             .backbone = w->backbone,
                             .architecture = pass->weights->backbone,
                             .image = pass->image,
                             .tiling = pass->tiling,
                             .layers = pass->layer_count,
                             .image_bytes = (size_t)pass->class_->most_h * (size_t)pass->class_->most_w * 3,
                             .image_cache = w->caches->images,
                             .map_cache = w->caches->maps,
                             .progress = w->progress};
  for (int t = 0; t < pass->layer_count; ++t)
    options.unread[t] = true;
  for (size_t g = 0; g < pass->group_count; ++g)
    for (int i = 0; i < pass->groups[g].aggregate.layers; ++i)
      options.unread[pass->groups[g].tap[i]] = false;
  return tr_feed_create(&options, &w->feed);
}

/* What the other models will take besides what they have allocated by now; `part` is the one of the group that is made. */
static size_t beside_bytes(const tr_pass_work *w, const tr_group *group, size_t part) {
  const tr_pass *pass = w->pass;
  size_t bytes = 0;
  for (const tr_group *other = pass->groups; other < pass->groups + pass->group_count; ++other) {
    const tr_method_needs *n = &other->needs;
    size_t peak = n->fit_bytes > n->score_bytes ? n->fit_bytes : n->score_bytes, held = other < group ? n->held_bytes : 0;
    if (other == group)
      bytes += peak / w->parts * (w->parts - 1 - part);
    else
      bytes += peak > held ? peak - held : 0;
  }
  return bytes;
}

static bool has_positions(const tr_pass_work *w) {
  return tr_pass_models(w->pass) > 1;
}

static tr_status allocate_model(const tr_pass_work *w, const tr_group *group, tr_pass_model *m) {
  size_t variants = group->variant_count, images = w->class_->test_count, units = images * w->tiles;
  m->group = group;
  m->method = tr_method_find(group->runs[0].setting->method);
  m->grid = (size_t)group->needs.grid_h * (size_t)group->needs.grid_w;
  m->parts = calloc(w->pass->positions, sizeof(tr_model *));
  m->variants = calloc(variants, sizeof *m->variants);
  m->info = calloc(variants, sizeof *m->info);
  m->nominal = calloc(variants, sizeof *m->nominal);
  m->patch_scores = calloc(variants * units * m->grid + 1, sizeof *m->patch_scores);
  m->unit_scores = calloc(variants * units + 1, sizeof *m->unit_scores);
  m->image_scores = calloc(variants * images + 1, sizeof *m->image_scores);
  if (!m->parts || !m->variants || !m->info || !m->nominal || !m->patch_scores || !m->unit_scores || !m->image_scores)
    return tr_fail(TR_ENOMEM, "scores of %zu runs of %s: out of memory", group->run_count, w->class_->name);
  return TR_OK;
}

static tr_status create_parts(const tr_pass_work *w, tr_pass_model *m) {
  tr_method_options options;
  tr_group_method_options(w->pass, m->group, w->device, m->variants, &options);
  options.progress = w->progress;
  for (size_t part = 0; part < w->parts; ++part) {
    options.beside_bytes = beside_bytes(w, m->group, part);
    TR_TRY(m->method->create(&options, &m->parts[part]));
  }
  return TR_OK;
}

/* ---- which training images ---- */

/* The draws of all models: drawn[model][image]. */
static tr_status draw_images(const tr_pass_work *w, uint8_t *drawn) {
  size_t images = w->class_->train_count;
  for (size_t i = 0; i < w->pass->group_count; ++i)
    TR_TRY(tr_draw_images(w->pass->groups[i].runs[0].setting, w->class_->name, images, drawn + i * images));
  return TR_OK;
}

/* The union of the draws, in the class's order. */
static tr_status list_images(tr_pass_work *w, const uint8_t *drawn) {
  size_t images = w->class_->train_count;
  w->train = calloc(images, sizeof *w->train);
  w->train_items = calloc(images, sizeof *w->train_items);
  w->test_items = calloc(w->class_->test_count + 1, sizeof *w->test_items);
  if (!w->train || !w->train_items || !w->test_items)
    return tr_fail(TR_ENOMEM, "training images of %s: out of memory", w->class_->name);
  for (size_t image = 0; image < images; ++image) {
    bool seen = false;
    for (size_t i = 0; i < w->pass->group_count; ++i)
      seen = seen || drawn[i * images + image];
    if (!seen)
      continue;
    w->train_items[w->train_count] = image;
    w->train[w->train_count++] = w->class_->train[image];
  }
  for (size_t i = 0; i < w->class_->test_count; ++i)
    w->test_items[i] = images + i;
  return TR_OK;
}

/* Of a tile of the image that is number `image` to a model. */
static size_t unit_number(const tr_pass_work *w, size_t image, size_t tile) {
  return has_positions(w) ? image : image * w->tiles + tile;
}

static tr_status number_images(const tr_pass_work *w, const uint8_t *drawn, tr_pass_model *m) {
  size_t images = w->class_->train_count, listed = 0, next = 0;
  if (m->group->train_images == w->train_count)
    return TR_OK;
  m->place = malloc(w->train_count * w->tiles * sizeof *m->place);
  if (!m->place)
    return tr_fail(TR_ENOMEM, "training images of %s: out of memory", w->class_->name);
  for (size_t image = 0; image < images && listed < w->train_count; ++image) {
    if (w->train[listed].path != w->class_->train[image].path)
      continue;
    for (size_t tile = 0; tile < w->tiles; ++tile)
      m->place[listed * w->tiles + tile] = drawn[image] ? (uint32_t)unit_number(w, next, tile) : TR_NOT_SEEN;
    next += drawn[image];
    ++listed;
  }
  return TR_OK;
}

static tr_status choose_images(tr_pass_work *w) {
  size_t images = w->class_->train_count;
  uint8_t *drawn = malloc(w->pass->group_count * images + 1);
  tr_status status = drawn ? draw_images(w, drawn) : tr_fail(TR_ENOMEM, "training images of %s: out of memory", w->class_->name);
  if (status == TR_OK)
    status = list_images(w, drawn);
  for (size_t i = 0; status == TR_OK && i < w->pass->group_count; ++i)
    status = number_images(w, drawn + i * images, &w->models[i]);
  free(drawn);
  return status;
}

static tr_status prepare(tr_pass_work *w) {
  TR_TRY(create_backbone(w));
  TR_TRY(create_feed(w));
  w->models = calloc(w->pass->group_count, sizeof *w->models);
  if (!w->models)
    return tr_fail(TR_ENOMEM, "models of %s: out of memory", w->class_->name);
  for (size_t i = 0; i < w->pass->group_count; ++i)
    TR_TRY(allocate_model(w, &w->pass->groups[i], &w->models[i]));
  return choose_images(w);
}

/* ---- units on their way to models ---- */

/* Units [begin, end) of a call, which go to one of a model's parts, under numbers from `number` on. */
typedef struct unit_run {
  size_t begin, end, part, number;
} unit_run;

static size_t part_of(const tr_pass_work *w, size_t unit) {
  return has_positions(w) ? unit % w->tiles - w->first_part : 0;
}

/* place: of training images; NULL: all have their own number. */
static size_t number_of(const tr_pass_work *w, const uint32_t *place, size_t unit) {
  return place ? place[unit] : unit_number(w, unit / w->tiles, unit % w->tiles);
}

/* The next run behind run->end; false: there is none. */
static bool next_run(const tr_pass_work *w, const uint32_t *place, const size_t *units, size_t n, unit_run *run) {
  while (run->end < n && number_of(w, place, units[run->end]) == TR_NOT_SEEN)
    ++run->end;
  run->begin = run->end;
  if (run->begin == n)
    return false;
  run->part = part_of(w, units[run->begin]);
  run->number = number_of(w, place, units[run->begin]);
  while (run->end < n && part_of(w, units[run->end]) == run->part &&
         number_of(w, place, units[run->end]) == run->number + (run->end - run->begin))
    ++run->end;
  return true;
}

/* The maps of a model's layers, among all that are tapped, from unit `begin` of the call on. */
static void pick_maps(const tr_pass_model *m, const float *const *taps, size_t begin, const float *maps[TR_MAX_LAYERS]) {
  const tr_aggregate_spec *a = &m->group->aggregate;
  for (int i = 0; i < a->layers; ++i)
    maps[i] = taps[m->group->tap[i]] + begin * (size_t)a->h[i] * (size_t)a->w[i] * (size_t)a->c[i];
}

static tr_status fit_units(void *context, int lane, const size_t *units, size_t n, const float *const *taps) {
  const tr_pass_work *w = context;
  for (size_t i = 0; i < w->pass->group_count; ++i) {
    const tr_pass_model *m = &w->models[i];
    for (unit_run run = {0}; next_run(w, m->place, units, n, &run);) {
      const float *maps[TR_MAX_LAYERS];
      pick_maps(m, taps, run.begin, maps);
      TR_TRY(m->method->fit_images(m->parts[run.part], lane, run.number, run.end - run.begin, maps));
    }
  }
  return TR_OK;
}

/* Where a unit's scores stand. */
static size_t score_place(const tr_pass_work *w, size_t image, size_t tile) {
  return has_positions(w) ? tile * w->class_->test_count + image : image * w->tiles + tile;
}

static tr_status score_units(void *context, int lane, const size_t *units, size_t n, const float *const *taps) {
  const tr_pass_work *w = context;
  size_t all = w->class_->test_count * w->tiles;
  for (size_t i = 0; i < w->pass->group_count; ++i) {
    const tr_pass_model *m = &w->models[i];
    for (unit_run run = {0}; next_run(w, NULL, units, n, &run);) {
      const float *maps[TR_MAX_LAYERS];
      size_t unit = units[run.begin], at = score_place(w, unit / w->tiles, unit % w->tiles);
      pick_maps(m, taps, run.begin, maps);
      TR_TRY(m->method->score_images(m->parts[run.part], lane, run.end - run.begin, maps, m->patch_scores + at * m->grid,
                                     all * m->grid, m->unit_scores + at, all));
    }
  }
  return TR_OK;
}

static tr_status feed(tr_pass_work *w, const char *stage, const tr_feed_list *list) {
  double start = tr_seconds();
  TR_TRY(tr_feed_images(w->feed, stage, list, fit_units, w));
  w->train_seconds += tr_seconds() - start;
  return TR_OK;
}

/* Marks the tiles of the positions at hand; NULL without an error where those are all. */
static tr_status list_wanted(const tr_pass_work *w, size_t images, uint8_t **out) {
  *out = NULL;
  if (!has_positions(w) || w->parts == w->tiles)
    return TR_OK;
  uint8_t *wanted = calloc(images * w->tiles + 1, 1);
  if (!wanted)
    return tr_fail(TR_ENOMEM, "tiles of %s: out of memory", w->class_->name);
  for (size_t image = 0; image < images; ++image)
    memset(wanted + image * w->tiles + w->first_part, 1, w->parts);
  *out = wanted;
  return TR_OK;
}

/* ---- images that pass once more ---- */

/* Some of the training images, some of their tiles, each with its number in each model: `number` is [models, units of the pass], by the
 * images' places in the list. */
typedef struct tr_repeat {
  bool *again;     /* [models, parts] */
  uint8_t *asked;  /* [models, units of the pass]: by part and number */
  uint8_t *wanted; /* [units]: by the list */
  uint32_t *number;
  tr_sample *samples;
  size_t *items; /* of samples, in the caches */
  size_t count;
} tr_repeat;

static void release_repeat(tr_repeat *r) {
  free(r->again);
  free(r->asked);
  free(r->wanted);
  free(r->number);
  free(r->samples);
  free(r->items);
}

/* What part `part` of model i asks for, by its numbers. */
static uint8_t *asked_by(const tr_pass_work *w, const tr_repeat *r, size_t i, size_t part) {
  return r->asked + i * w->train_count * w->tiles + (has_positions(w) ? part * w->train_count : 0);
}

static bool ask_for_images(const tr_pass_work *w, tr_repeat *r) {
  bool any = false;
  for (size_t i = 0; i < w->pass->group_count; ++i)
    for (size_t part = 0; part < w->parts; ++part) {
      const tr_pass_model *m = &w->models[i];
      bool *again = &r->again[i * w->parts + part];
      *again = m->method->wants_again && m->method->wants_again(m->parts[part], asked_by(w, r, i, part));
      any = any || *again;
    }
  return any;
}

/* Of a tile at hand, for model i. */
static uint32_t repeated_number(const tr_pass_work *w, const tr_repeat *r, size_t i, size_t unit) {
  size_t number = number_of(w, w->models[i].place, unit), part = part_of(w, unit);
  bool asked = r->again[i * w->parts + part] && number != TR_NOT_SEEN && asked_by(w, r, i, part)[number];
  return asked ? (uint32_t)number : TR_NOT_SEEN;
}

static void list_repeated(const tr_pass_work *w, tr_repeat *r) {
  size_t models = w->pass->group_count, images = w->train_count, tiles = w->tiles;
  size_t first = w->first_part, end = has_positions(w) ? first + w->parts : tiles;
  for (size_t image = 0; image < images; ++image) {
    uint8_t *wanted = r->wanted + r->count * tiles;
    bool any = false;
    memset(wanted, 0, tiles);
    for (size_t tile = first; tile < end; ++tile)
      for (size_t i = 0; i < models; ++i) {
        uint32_t number = repeated_number(w, r, i, image * tiles + tile);
        r->number[(i * images + r->count) * tiles + tile] = number;
        wanted[tile] |= number != TR_NOT_SEEN;
        any = any || wanted[tile];
      }
    if (!any)
      continue;
    r->items[r->count] = w->train_items[image];
    r->samples[r->count++] = w->train[image];
  }
}

static tr_status feed_repeated(tr_pass_work *w, const tr_repeat *r) {
  size_t models = w->pass->group_count;
  uint32_t **place = calloc(models, sizeof *place);
  if (!place)
    return tr_fail(TR_ENOMEM, "training images of %s: out of memory", w->class_->name);
  for (size_t i = 0; i < models; ++i) {
    place[i] = w->models[i].place;
    w->models[i].place = r->number + i * w->train_count * w->tiles;
  }
  tr_status status = feed(
      w, "training images again",
      &(tr_feed_list){.samples = r->samples, .count = r->count, .items = r->items, .wanted = w->tiles > 1 ? r->wanted : NULL});
  for (size_t i = 0; i < models; ++i)
    w->models[i].place = place[i];
  free(place);
  return status;
}

static tr_status end_repeated(const tr_pass_work *w, const tr_repeat *r) {
  for (size_t i = 0; i < w->pass->group_count; ++i)
    for (size_t part = 0; part < w->parts; ++part)
      if (r->again[i * w->parts + part])
        TR_TRY(w->models[i].method->fit_end(w->models[i].parts[part]));
  return TR_OK;
}

static tr_status fit_again(tr_pass_work *w) {
  size_t models = w->pass->group_count, images = w->train_count, units = images * w->tiles;
  tr_repeat r = {.again = calloc(models * w->parts + 1, sizeof *r.again),
                 .asked = calloc(models * units + 1, 1),
                 .wanted = calloc(units + 1, 1),
                 .number = malloc((models * units + 1) * sizeof *r.number),
                 .samples = calloc(images + 1, sizeof *r.samples),
                 .items = calloc(images + 1, sizeof *r.items)};
  tr_status status = TR_OK;
  if (!r.again || !r.asked || !r.wanted || !r.number || !r.samples || !r.items)
    status = tr_fail(TR_ENOMEM, "training images of %s: out of memory", w->class_->name);
  else if (ask_for_images(w, &r)) {
    list_repeated(w, &r);
    status = feed_repeated(w, &r);
    if (status == TR_OK)
      status = end_repeated(w, &r);
  }
  release_repeat(&r);
  return status;
}

static tr_status fit(tr_pass_work *w) {
  uint8_t *wanted;
  TR_TRY(list_wanted(w, w->train_count, &wanted));
  tr_feed_list list = {.samples = w->train, .count = w->train_count, .items = w->train_items, .wanted = wanted};
  tr_status status = feed(w, "training images", &list);
  free(wanted);
  TR_TRY(status);
  for (size_t i = 0; i < w->pass->group_count; ++i)
    for (size_t part = 0; part < w->parts; ++part)
      TR_TRY(w->models[i].method->fit_end(w->models[i].parts[part]));
  return fit_again(w);
}

/* `count` models are in the sum by now. */
static void add_info(tr_model_info *sum, const tr_model_info *one, size_t count) {
  if (!count) {
    *sum = *one;
    return;
  }
  double before = (double)count;
  sum->bank_rows += one->bank_rows;
  sum->cover = one->cover > sum->cover || isnan(one->cover) ? one->cover : sum->cover;
  sum->coreset_seconds += one->coreset_seconds;
  sum->nearest_seconds += one->nearest_seconds;
  sum->aggregate_seconds += one->aggregate_seconds;
  sum->index_seconds += one->index_seconds;
  sum->index_bytes += one->index_bytes;
  sum->recall_at_1 = (sum->recall_at_1 * before + one->recall_at_1) / (before + 1);
  sum->distance_error = (sum->distance_error * before + one->distance_error) / (before + 1);
}

static tr_status note_info(const tr_pass_work *w, tr_pass_model *m) {
  for (size_t part = 0; part < w->parts; ++part)
    for (size_t v = 0; v < m->group->variant_count; ++v) {
      tr_model_info info;
      TR_TRY(m->method->info(m->parts[part], v, &info));
      add_info(&m->info[v], &info, w->first_part + part);
    }
  return TR_OK;
}

static tr_status score(tr_pass_work *w) {
  tr_feed_seconds before = tr_feed_spent(w->feed);
  uint8_t *wanted;
  TR_TRY(list_wanted(w, w->class_->test_count, &wanted));
  tr_feed_list list = {.samples = w->class_->test, .count = w->class_->test_count, .items = w->test_items, .wanted = wanted};
  tr_status status = tr_feed_images(w->feed, "test images", &list, score_units, w);
  free(wanted);
  TR_TRY(status);
  for (size_t i = 0; i < w->pass->group_count; ++i)
    for (size_t part = 0; w->models[i].method->score_end && part < w->parts; ++part)
      TR_TRY(w->models[i].method->score_end(w->models[i].parts[part]));
  w->total_seconds = tr_feed_spent(w->feed);
  w->test_seconds.decode += w->total_seconds.decode - before.decode;
  w->test_seconds.backbone += w->total_seconds.backbone - before.backbone;
  w->test_seconds.method += w->total_seconds.method - before.method;
  for (size_t i = 0; i < w->pass->group_count; ++i)
    TR_TRY(note_info(w, &w->models[i]));
  return TR_OK;
}

/* ---- nominal images, for ensembles ---- */

static bool wants_nominal(const tr_pass_model *m, size_t variant) {
  for (size_t r = 0; m->method->score_own && r < m->group->run_count; ++r) {
    const tr_plan_run *run = &m->group->runs[r];
    if (run->variant == variant && run->nominal && run->member)
      return true;
  }
  return false;
}

static tr_status prepare_nominal(const tr_pass_work *w, tr_pass_model *m) {
  m->nominal_scores = calloc(m->group->variant_count, sizeof *m->nominal_scores);
  if (!m->nominal_scores)
    return tr_fail(TR_ENOMEM, "scores of nominal images: out of memory");
  for (size_t v = 0; v < m->group->variant_count; ++v) {
    tr_nominal_scores *n = &m->nominal_scores[v];
    if (!wants_nominal(m, v))
      continue;
    n->count = tr_nominal_images(m->group->train_images, n->numbers);
    n->patch_scores = calloc(n->count * w->tiles * m->grid + 1, sizeof *n->patch_scores);
    n->unit_scores = calloc(n->count * w->tiles + 1, sizeof *n->unit_scores);
    if (!n->patch_scores || !n->unit_scores)
      return tr_fail(TR_ENOMEM, "scores of %zu nominal images: out of memory", n->count);
  }
  return TR_OK;
}

/* One variant of a model, and the training images of the pass whose scores are wanted of it. */
typedef struct nominal_work {
  const tr_pass_work *pass;
  const tr_pass_model *model;
  size_t variant;
  tr_nominal_scores *scores;
  pthread_mutex_t lock; /* score_own() takes one call at a time */
} nominal_work;

/* A tile's own rows are those of all tiles of its image: they overlap. */
static tr_status score_nominal(void *context, int lane, const size_t *units, size_t n, const float *const *taps) {
  nominal_work *w = context;
  const tr_pass_model *m = w->model;
  size_t tiles = w->pass->tiles, seen = has_positions(w->pass) ? 1 : tiles;
  (void)lane;
  tr_status status = TR_OK;
  pthread_mutex_lock(&w->lock);
  for (size_t i = 0; status == TR_OK && i < n; ++i) {
    const float *maps[TR_MAX_LAYERS];
    pick_maps(m, taps, i, maps);
    status = m->method->score_own(m->parts[part_of(w->pass, units[i])], w->variant, w->scores->numbers[units[i] / tiles] * seen,
                                  seen, maps, w->scores->patch_scores + units[i] * m->grid, &w->scores->unit_scores[units[i]]);
  }
  pthread_mutex_unlock(&w->lock);
  return status;
}

/* Files of the wanted images: their numbers count the images that the model sees, of which `place` has one for each tile. */
static void list_nominal(const tr_pass_work *w, const tr_pass_model *m, const tr_nominal_scores *n, tr_sample *out,
                         size_t *items) {
  size_t next = 0, seen = has_positions(w) ? 1 : w->tiles;
  for (size_t i = 0; i < w->train_count && next < n->count; ++i)
    if ((m->place ? m->place[i * w->tiles] : i * seen) == n->numbers[next] * seen) {
      items[next] = w->train_items[i];
      out[next++] = w->train[i];
    }
}

/* The scores of the positions at hand. */
static tr_status find_nominal(const tr_pass_work *w, const tr_pass_model *m, size_t variant) {
  nominal_work n = {.pass = w, .model = m, .variant = variant, .scores = &m->nominal_scores[variant]};
  tr_sample images[TR_NOMINAL_IMAGES] = {{0}};
  size_t items[TR_NOMINAL_IMAGES];
  uint8_t *wanted;
  list_nominal(w, m, n.scores, images, items);
  TR_TRY(list_wanted(w, n.scores->count, &wanted));
  pthread_mutex_init(&n.lock, NULL);
  tr_feed_list list = {.samples = images, .count = n.scores->count, .items = items, .wanted = wanted};
  tr_status status = tr_feed_images(w->feed, "nominal images", &list, score_nominal, &n);
  pthread_mutex_destroy(&n.lock);
  free(wanted);
  return status;
}

static const char *run_of_variant(const tr_pass_model *m, size_t variant) {
  const tr_plan_run *run = m->group->runs;
  while (run->variant != variant)
    ++run;
  return run->name;
}

static tr_status find_all_nominal(const tr_pass_work *w) {
  for (size_t i = 0; i < w->pass->group_count; ++i) {
    const tr_pass_model *m = &w->models[i];
    for (size_t v = 0; v < m->group->variant_count; ++v) {
      if (!m->nominal_scores[v].count)
        continue;
      tr_status status = find_nominal(w, m, v);
      if (status == TR_EINVAL) { /* the ensemble's failure, not the run's */
        tr_progress_line(w->progress, "warning: %s: %s", run_of_variant(m, v), tr_last_error());
        m->nominal_scores[v].count = 0;
      } else
        TR_TRY(status);
    }
  }
  return TR_OK;
}

static void moments(const float *values, size_t count, double *mean, double *deviation) {
  double sum = 0, squares = 0;
  for (size_t i = 0; i < count; ++i)
    sum += (double)values[i];
  *mean = sum / (double)count;
  for (size_t i = 0; i < count; ++i)
    squares += ((double)values[i] - *mean) * ((double)values[i] - *mean);
  *deviation = sqrt(squares / (double)count);
}

/* When all positions have been at hand. An image scores what its highest tile does. */
static void sum_up_nominal(const tr_pass_work *w, const tr_pass_model *m) {
  for (size_t v = 0; v < m->group->variant_count; ++v) {
    const tr_nominal_scores *n = &m->nominal_scores[v];
    tr_nominal *out = &m->nominal[v];
    float images[TR_NOMINAL_IMAGES];
    if (!n->count)
      continue;
    for (size_t i = 0; i < n->count; ++i) {
      images[i] = n->unit_scores[i * w->tiles];
      for (size_t tile = 1; tile < w->tiles; ++tile)
        images[i] = fmaxf(images[i], n->unit_scores[i * w->tiles + tile]);
    }
    out->known = true;
    moments(images, n->count, &out->image_mean, &out->image_deviation);
    moments(n->patch_scores, n->count * w->tiles * m->grid, &out->patch_mean, &out->patch_deviation);
  }
}

/* ---- the whole ---- */

/* The positions at hand, or the one model of all: fitted, and done with when they have scored. */
static tr_status run_parts(tr_pass_work *w) {
  for (size_t i = 0; i < w->pass->group_count; ++i)
    TR_TRY(create_parts(w, &w->models[i]));
  double start = tr_seconds();
  TR_TRY(fit(w));
  double fitted = tr_seconds();
  TR_TRY(score(w));
  w->fit_seconds += fitted - start;
  w->score_seconds += tr_seconds() - fitted;
  TR_TRY(find_all_nominal(w));
  release_parts(w);
  return TR_OK;
}

static tr_status run_all_parts(tr_pass_work *w) {
  size_t models = tr_pass_models(w->pass), most = w->pass->positions;
  for (size_t i = 0; i < w->pass->group_count; ++i)
    TR_TRY(prepare_nominal(w, &w->models[i]));
  for (w->first_part = 0; w->first_part < models; w->first_part += most) {
    w->parts = models - w->first_part < most ? models - w->first_part : most;
    TR_TRY(run_parts(w));
  }
  return TR_OK;
}

static void score_whole_images(const tr_pass_work *w, tr_pass_model *m) {
  size_t images = w->class_->test_count;
  for (size_t v = 0; v < m->group->variant_count; ++v)
    for (size_t image = 0; image < images; ++image) {
      const float *scores = m->unit_scores + v * images * w->tiles;
      float most = scores[score_place(w, image, 0)];
      for (size_t tile = 1; tile < w->tiles; ++tile)
        most = fmaxf(most, scores[score_place(w, image, tile)]);
      m->image_scores[v * images + image] = most;
    }
}

tr_patch_scores tr_pass_patch_scores(const tr_pass_work *w, size_t model, size_t variant) {
  const tr_pass_model *m = &w->models[model];
  return (tr_patch_scores){.values = m->patch_scores + variant * w->class_->test_count * w->tiles * m->grid,
                           .grid_h = m->group->needs.grid_h,
                           .grid_w = m->group->needs.grid_w,
                           .by_tile = has_positions(w)};
}

tr_status tr_pass_execute(const tr_pass *pass, tr_device *device, const tr_class *class_, const tr_pass_caches *caches,
                          tr_progress *progress, tr_pass_work *out) {
  *out = (tr_pass_work){.pass = pass, .device = device, .progress = progress, .class_ = class_, .caches = caches};
  out->tiles = tr_tiling_count(&pass->tiling);
  TR_TRY(prepare(out));
  TR_TRY(run_all_parts(out));
  for (size_t i = 0; i < pass->group_count; ++i) {
    score_whole_images(out, &out->models[i]);
    sum_up_nominal(out, &out->models[i]);
  }
  release_models(out);
  return TR_OK;
}
