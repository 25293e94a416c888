/* One pass: the backbone is loaded, models are made, training images fit them, test images are scored. */
#include "host/harness/pass.h"
#include "host/base/clock.h"
#include "host/base/status.h"
#include "host/harness/draw.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

static void release_models(tr_pass_work *w) {
  for (size_t i = 0; w->models && i < w->pass->group_count; ++i) {
    if (w->models[i].model)
      w->models[i].method->destroy(w->models[i].model);
    w->models[i].model = NULL;
  }
  tr_feed_destroy(w->feed);
  w->feed = NULL;
  tr_backbone_destroy(w->backbone);
  w->backbone = NULL;
}

void tr_pass_work_release(tr_pass_work *w) {
  release_models(w);
  for (size_t i = 0; w->models && i < w->pass->group_count; ++i) {
    tr_pass_model *m = &w->models[i];
    free(m->variants);
    free(m->place);
    free(m->info);
    free(m->patch_scores);
    free(m->image_scores);
    free(m->nominal);
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
                             .in_h = pass->in_h,
                             .in_w = pass->in_w,
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

/* What the other models will take besides what they have allocated by now. */
static size_t beside_bytes(const tr_pass *pass, const tr_group *group) {
  size_t bytes = 0;
  for (const tr_group *other = pass->groups; other < pass->groups + pass->group_count; ++other) {
    const tr_method_needs *n = &other->needs;
    size_t peak = n->fit_bytes > n->score_bytes ? n->fit_bytes : n->score_bytes, held = other < group ? n->held_bytes : 0;
    bytes += other != group && peak > held ? peak - held : 0;
  }
  return bytes;
}

static tr_status create_model(tr_pass_work *w, const tr_group *group, tr_pass_model *m) {
  size_t variants = group->variant_count, images = w->class_->test_count;
  m->group = group;
  m->grid = (size_t)group->needs.grid_h * (size_t)group->needs.grid_w;
  m->variants = calloc(variants, sizeof *m->variants);
  m->info = calloc(variants, sizeof *m->info);
  m->nominal = calloc(variants, sizeof *m->nominal);
  m->patch_scores = calloc(variants * images * m->grid + 1, sizeof *m->patch_scores);
  m->image_scores = calloc(variants * images + 1, sizeof *m->image_scores);
  if (!m->variants || !m->info || !m->nominal || !m->patch_scores || !m->image_scores)
    return tr_fail(TR_ENOMEM, "scores of %zu runs of %s: out of memory", group->run_count, w->class_->name);
  tr_method_options options;
  tr_group_method_options(w->pass, group, w->device, m->variants, &options);
  options.progress = w->progress;
  options.beside_bytes = beside_bytes(w->pass, group);
  m->method = tr_method_find(group->runs[0].setting->method);
  return m->method->create(&options, &m->model);
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

static tr_status number_images(const tr_pass_work *w, const uint8_t *drawn, tr_pass_model *m) {
  size_t images = w->class_->train_count, listed = 0;
  uint32_t next = 0;
  if (m->group->train_images == w->train_count)
    return TR_OK;
  m->place = malloc(w->train_count * sizeof *m->place);
  if (!m->place)
    return tr_fail(TR_ENOMEM, "training images of %s: out of memory", w->class_->name);
  for (size_t image = 0; image < images && listed < w->train_count; ++image)
    if (w->train[listed].path == w->class_->train[image].path)
      m->place[listed++] = drawn[image] ? next++ : TR_NOT_SEEN;
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
    TR_TRY(create_model(w, &w->pass->groups[i], &w->models[i]));
  return choose_images(w);
}

/* The maps of a model's layers, among all that are tapped. */
static void pick_maps(const tr_pass_model *m, const float *const *taps, const float *maps[TR_MAX_LAYERS]) {
  for (int i = 0; i < m->group->aggregate.layers; ++i)
    maps[i] = taps[m->group->tap[i]];
}

/* Images [first, first + n) of a model that sees some of them: each row of images whose numbers follow each other for itself. */
static tr_status fit_seen(const tr_pass_model *m, int lane, size_t first, size_t n, const float *const *maps) {
  const tr_aggregate_spec *a = &m->group->aggregate;
  for (size_t begin = 0, end; begin < n; begin = end) {
    const float *from[TR_MAX_LAYERS];
    uint32_t number = m->place[first + begin];
    for (end = begin; end < n && number != TR_NOT_SEEN && m->place[first + end] == number + (end - begin); ++end)
      ;
    for (int i = 0; i < a->layers; ++i)
      from[i] = maps[i] + begin * (size_t)a->h[i] * (size_t)a->w[i] * (size_t)a->c[i];
    if (end > begin)
      TR_TRY(m->method->fit_images(m->model, lane, number, end - begin, from));
    else
      ++end;
  }
  return TR_OK;
}

static tr_status fit_images(void *context, int lane, size_t first, size_t n, const float *const *taps) {
  tr_pass_work *w = context;
  for (size_t i = 0; i < w->pass->group_count; ++i) {
    const tr_pass_model *m = &w->models[i];
    const float *maps[TR_MAX_LAYERS];
    pick_maps(m, taps, maps);
    TR_TRY(m->place ? fit_seen(m, lane, first, n, maps) : m->method->fit_images(m->model, lane, first, n, maps));
  }
  return TR_OK;
}

static tr_status score_images(void *context, int lane, size_t first, size_t n, const float *const *taps) {
  tr_pass_work *w = context;
  size_t images = w->class_->test_count;
  for (size_t i = 0; i < w->pass->group_count; ++i) {
    tr_pass_model *m = &w->models[i];
    const float *maps[TR_MAX_LAYERS];
    pick_maps(m, taps, maps);
    TR_TRY(m->method->score_images(m->model, lane, n, maps, m->patch_scores + first * m->grid, images * m->grid,
                                   m->image_scores + first, images));
  }
  return TR_OK;
}

static tr_status feed(tr_pass_work *w, const char *stage, const tr_sample *samples, const size_t *items, size_t count) {
  double start = tr_seconds();
  TR_TRY(tr_feed_items(w->feed, stage, samples, items, count, fit_images, w));
  w->train_seconds += tr_seconds() - start;
  return TR_OK;
}

/* ---- images that pass once more ---- */

/* Some of the training images, each with its number in each model: `number` is [models, training images], by place in the list. */
typedef struct tr_repeat {
  bool *again; /* [models] */
  uint8_t *wanted;
  uint32_t *number;
  tr_sample *samples;
  size_t *items; /* of samples, in the caches */
  size_t count;
} tr_repeat;

static void release_repeat(tr_repeat *r) {
  free(r->again);
  free(r->wanted);
  free(r->number);
  free(r->samples);
  free(r->items);
}

static bool ask_for_images(const tr_pass_work *w, tr_repeat *r) {
  bool any = false;
  for (size_t i = 0; i < w->pass->group_count; ++i) {
    const tr_pass_model *m = &w->models[i];
    r->again[i] = m->method->wants_again && m->method->wants_again(m->model, r->wanted + i * w->train_count);
    any = any || r->again[i];
  }
  return any;
}

static void list_repeated(const tr_pass_work *w, tr_repeat *r) {
  size_t models = w->pass->group_count, images = w->train_count;
  for (size_t image = 0; image < images; ++image) {
    bool wanted = false;
    for (size_t i = 0; i < models; ++i) {
      uint32_t number = w->models[i].place ? w->models[i].place[image] : (uint32_t)image;
      bool by_this = r->again[i] && number != TR_NOT_SEEN && r->wanted[i * images + number];
      r->number[i * images + r->count] = by_this ? number : TR_NOT_SEEN;
      wanted = wanted || by_this;
    }
    if (!wanted)
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
    w->models[i].place = r->number + i * w->train_count;
  }
  tr_status status = feed(w, "training images again", r->samples, r->items, r->count);
  for (size_t i = 0; i < models; ++i)
    w->models[i].place = place[i];
  free(place);
  return status;
}

static tr_status fit_again(tr_pass_work *w) {
  size_t models = w->pass->group_count, images = w->train_count;
  tr_repeat r = {.again = calloc(models + 1, sizeof *r.again),
                 .wanted = calloc(models * images + 1, 1),
                 .number = malloc((models * images + 1) * sizeof *r.number),
                 .samples = calloc(images + 1, sizeof *r.samples),
                 .items = calloc(images + 1, sizeof *r.items)};
  tr_status status = TR_OK;
  if (!r.again || !r.wanted || !r.number || !r.samples || !r.items)
    status = tr_fail(TR_ENOMEM, "training images of %s: out of memory", w->class_->name);
  else if (ask_for_images(w, &r)) {
    list_repeated(w, &r);
    status = feed_repeated(w, &r);
    for (size_t i = 0; status == TR_OK && i < models; ++i)
      if (r.again[i])
        status = w->models[i].method->fit_end(w->models[i].model);
  }
  release_repeat(&r);
  return status;
}

static tr_status fit(tr_pass_work *w) {
  TR_TRY(feed(w, "training images", w->train, w->train_items, w->train_count));
  for (size_t i = 0; i < w->pass->group_count; ++i)
    TR_TRY(w->models[i].method->fit_end(w->models[i].model));
  return fit_again(w);
}

static tr_status score(tr_pass_work *w) {
  tr_feed_seconds before = tr_feed_spent(w->feed);
  TR_TRY(tr_feed_items(w->feed, "test images", w->class_->test, w->test_items, w->class_->test_count, score_images, w));
  for (size_t i = 0; i < w->pass->group_count; ++i)
    if (w->models[i].method->score_end)
      TR_TRY(w->models[i].method->score_end(w->models[i].model));
  w->total_seconds = tr_feed_spent(w->feed);
  w->test_seconds = (tr_feed_seconds){.decode = w->total_seconds.decode - before.decode,
                                      .backbone = w->total_seconds.backbone - before.backbone,
                                      .method = w->total_seconds.method - before.method};
  for (size_t i = 0; i < w->pass->group_count; ++i)
    for (size_t v = 0; v < w->pass->groups[i].variant_count; ++v)
      TR_TRY(w->models[i].method->info(w->models[i].model, v, &w->models[i].info[v]));
  return TR_OK;
}

/* ---- nominal images, for ensembles ---- */

/* One model, and the training images of the pass whose scores are wanted of it. */
typedef struct nominal_work {
  tr_pass_model *model;
  size_t variant;
  size_t numbers[TR_NOMINAL_IMAGES]; /* of the images, among those the model sees */
  float *patch_scores;               /* [images, grid] */
  float *image_scores;               /* [images] */
  pthread_mutex_t lock;              /* score_own() takes one call at a time */
} nominal_work;

static tr_status score_nominal(void *context, int lane, size_t first, size_t n, const float *const *taps) {
  nominal_work *w = context;
  const tr_pass_model *m = w->model;
  const tr_aggregate_spec *a = &m->group->aggregate;
  (void)lane;
  tr_status status = TR_OK;
  pthread_mutex_lock(&w->lock);
  for (size_t i = 0; status == TR_OK && i < n; ++i) {
    const float *maps[TR_MAX_LAYERS];
    pick_maps(m, taps, maps);
    for (int l = 0; l < a->layers; ++l)
      maps[l] += i * (size_t)a->h[l] * (size_t)a->w[l] * (size_t)a->c[l];
    status = m->method->score_own(m->model, w->variant, w->numbers[first + i], maps, w->patch_scores + (first + i) * m->grid,
                                  &w->image_scores[first + i]);
  }
  pthread_mutex_unlock(&w->lock);
  return status;
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

/* Files of the wanted images: their numbers count the images that the model sees. */
static void list_nominal(const tr_pass_work *w, const tr_pass_model *m, const size_t *numbers, size_t count, tr_sample *out,
                         size_t *items) {
  size_t next = 0;
  for (size_t i = 0; i < w->train_count && next < count; ++i)
    if ((m->place ? m->place[i] : i) == numbers[next]) {
      items[next] = w->train_items[i];
      out[next++] = w->train[i];
    }
}

static tr_status fill_nominal(tr_pass_work *w, nominal_work *n, size_t count) {
  tr_sample images[TR_NOMINAL_IMAGES] = {{0}};
  tr_nominal *out = &n->model->nominal[n->variant];
  size_t items[TR_NOMINAL_IMAGES];
  list_nominal(w, n->model, n->numbers, count, images, items);
  TR_TRY(tr_feed_items(w->feed, "nominal images", images, items, count, score_nominal, n));
  out->known = true;
  moments(n->image_scores, count, &out->image_mean, &out->image_deviation);
  moments(n->patch_scores, count * n->model->grid, &out->patch_mean, &out->patch_deviation);
  return TR_OK;
}

static tr_status find_nominal(tr_pass_work *w, tr_pass_model *m, size_t variant) {
  nominal_work n = {.model = m, .variant = variant};
  size_t count = tr_nominal_images(m->group->train_images, n.numbers);
  n.patch_scores = calloc(count * m->grid + 1, sizeof *n.patch_scores);
  n.image_scores = calloc(count + 1, sizeof *n.image_scores);
  pthread_mutex_init(&n.lock, NULL);
  tr_status status = n.patch_scores && n.image_scores ? fill_nominal(w, &n, count)
                                                      : tr_fail(TR_ENOMEM, "scores of %zu nominal images: out of memory", count);
  pthread_mutex_destroy(&n.lock);
  free(n.patch_scores);
  free(n.image_scores);
  return status;
}

static tr_status find_all_nominal(tr_pass_work *w) {
  for (size_t i = 0; i < w->pass->group_count; ++i)
    for (size_t r = 0; r < w->pass->groups[i].run_count; ++r) {
      const tr_plan_run *run = &w->pass->groups[i].runs[r];
      if (!run->nominal || !run->member || w->models[i].nominal[run->variant].known || !w->models[i].method->score_own)
        continue;
      tr_status status = find_nominal(w, &w->models[i], run->variant);
      if (status == TR_EINVAL) /* the ensemble's failure, not the run's */
        tr_progress_line(w->progress, "warning: %s: %s", run->name, tr_last_error());
      else
        TR_TRY(status);
    }
  return TR_OK;
}

tr_status tr_pass_execute(const tr_pass *pass, tr_device *device, const tr_class *class_, const tr_pass_caches *caches,
                          tr_progress *progress, tr_pass_work *out) {
  *out = (tr_pass_work){.pass = pass, .device = device, .progress = progress, .class_ = class_, .caches = caches};
  TR_TRY(prepare(out));
  TR_TRY(fit(out));
  TR_TRY(score(out));
  TR_TRY(find_all_nominal(out));
  release_models(out);
  return TR_OK;
}
