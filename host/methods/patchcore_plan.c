/* What a list of variants takes: selections, searches and indexes, each once for all variants that share it. */
#include "host/base/status.h"
#include "host/methods/patchcore.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

tr_status tr_variant_rows(const tr_variant *variant, size_t patches, int dimension, size_t *out) {
  *out = patches;
  if (variant->subsampling == TR_SUBSAMPLE_NONE)
    return TR_OK;
  if ((variant->percent != 0) + (variant->bank_rows != 0) + (variant->bank_bytes != 0) != 1)
    return tr_fail(TR_EINVAL, "patchcore: expected one of percent, bank_rows and bank_bytes, found %g, %zu and %zu",
                   variant->percent, variant->bank_rows, variant->bank_bytes);
  size_t rows = variant->bank_rows, row_bytes = (size_t)dimension * sizeof(float);
  if (variant->percent != 0) {
    if (!(variant->percent > 0 && variant->percent <= 100))
      return tr_fail(TR_EINVAL, "patchcore: percent: expected a number in (0, 100], found %g", variant->percent);
    rows = (size_t)((double)patches * (variant->percent / 100.0)); /* int(len(features) * percentage), official */
    rows = rows < 1 ? 1 : rows;
  } else if (variant->bank_bytes) {
    rows = variant->bank_bytes / row_bytes;
    if (rows == 0)
      return tr_fail(TR_EINVAL, "patchcore: bank_bytes: expected %zu at least, which a row of %d dimensions takes, found %zu",
                     row_bytes, dimension, variant->bank_bytes);
  }
  *out = rows > patches ? patches : rows;
  return TR_OK;
}

static tr_status check_variant(const tr_variant *variant, size_t rows, int d, bool builds_index) {
  if (!(variant->radius >= 0) || !(variant->seconds >= 0))
    return tr_fail(TR_EINVAL, "patchcore: radius and seconds: expected 0 or more, found %g and %g", variant->radius,
                   variant->seconds);
  if ((variant->radius > 0 || variant->seconds > 0) && variant->subsampling != TR_SUBSAMPLE_GREEDY)
    return tr_fail(TR_EINVAL, "patchcore: radius and seconds end a greedy selection only");
  if (variant->subsampling == TR_SUBSAMPLE_GREEDY && variant->projection < 1)
    return tr_fail(TR_EINVAL, "patchcore: projection: expected at least 1 dimension, found %d", variant->projection);
  if (variant->image_score == TR_SCORE_NEAREST_IMAGES)
    return tr_fail(TR_EINVAL, "patchcore: image_score: expected max, reweighted or smoothed_max, found nearest_images");
  if (tr_search_factory(variant->search) && builds_index)
    TR_TRY(tr_index_check(tr_search_factory(variant->search), rows, d));
  if (variant->image_score == TR_SCORE_REWEIGHTED &&
      (variant->neighbours < 2 || variant->neighbours > TR_NEAREST_MAX_K || (size_t)variant->neighbours > rows))
    return tr_fail(TR_EINVAL, "patchcore: neighbours (b of Eq. 7): expected 2 to %d and at most the %zu bank rows, found %d",
                   TR_NEAREST_MAX_K, rows, variant->neighbours);
  return TR_OK;
}

static bool stops(const tr_variant *variant) {
  return variant->radius > 0 || variant->seconds > 0;
}

/* Selections that may end early are apart: what is picked after some seconds must not depend on other variants. */
static bool same_selection(const tr_selection *a, const tr_variant *variant, size_t rows) {
  if (a->kind != variant->subsampling)
    return false;
  if (a->kind == TR_SUBSAMPLE_NONE)
    return true;
  if (a->kind == TR_SUBSAMPLE_LEARNED)
    return a->seed == variant->seed && a->rows == rows;
  if (a->kind == TR_SUBSAMPLE_RANDOM)
    return a->seed == variant->seed;
  return a->seed == variant->seed && a->projection == variant->projection && a->stops == stops(variant) &&
         a->stop_seconds == variant->seconds;
}

static size_t find_selection(tr_model *model, const tr_variant *variant, size_t rows) {
  size_t i = 0;
  while (i < model->selection_count && !same_selection(&model->selections[i], variant, rows))
    ++i;
  tr_selection *s = &model->selections[i];
  if (i == model->selection_count) {
    *s = (tr_selection){.kind = variant->subsampling,
                        .seed = variant->seed,
                        .projection = variant->projection,
                        .stops = stops(variant),
                        .stop_radius = variant->radius,
                        .stop_seconds = variant->seconds};
    ++model->selection_count;
  }
  if (s->stop_radius > variant->radius)
    s->stop_radius = variant->radius;
  if (s->rows < rows)
    s->rows = rows;
  return i;
}

static bool same_index(const tr_prefix_index *a, const tr_prefix_index *b) {
  return a->selection == b->selection && a->rows == b->rows && a->radius == b->radius && a->search &&
         strcmp(a->search, b->search) == 0;
}

static size_t find_index(tr_model *model, const tr_prefix_index *wanted) {
  size_t i = 0;
  while (i < model->index_count && !same_index(&model->indexes[i], wanted))
    ++i;
  if (i == model->index_count)
    model->indexes[model->index_count++] = *wanted;
  return i;
}

static size_t add_search(tr_model *model, const tr_search *wanted) {
  size_t i = 0;
  for (; i < model->search_count; ++i) {
    const tr_search *s = &model->searches[i];
    if (s->selection == wanted->selection && s->rows == wanted->rows && s->radius == wanted->radius &&
        s->index == wanted->index && s->effort.nprobe == wanted->effort.nprobe && s->effort.ef_search == wanted->effort.ef_search)
      return i;
  }
  model->searches[model->search_count++] = *wanted;
  return i;
}

static size_t find_search(tr_model *model, size_t selection_index, size_t rows, const tr_variant *variant, bool compare) {
  tr_search wanted = {.selection = selection_index,
                      .rows = rows,
                      .radius = variant->radius,
                      .cover = NAN,
                      .index = TR_NONE,
                      .reference = TR_NONE};
  if (!tr_search_factory(variant->search))
    return add_search(model, &wanted);
  size_t reference_search = compare ? add_search(model, &wanted) : TR_NONE;
  if (compare)
    model->searches[reference_search].is_reference = true;
  wanted.index = find_index(
      model,
      &(tr_prefix_index){.selection = selection_index, .rows = rows, .radius = variant->radius, .search = variant->search});
  wanted.reference = reference_search;
  wanted.effort = (tr_effort){variant->nprobe, variant->ef_search};
  return add_search(model, &wanted);
}

/* Whether rows can be selected without all features at hand. */
static bool can_keep_less(const tr_model *model) {
  for (size_t i = 0; i < model->selection_count; ++i) {
    const tr_selection *s = &model->selections[i];
    if (s->kind != TR_SUBSAMPLE_RANDOM && (s->kind != TR_SUBSAMPLE_GREEDY || !tr_patchcore_projects(model, s)))
      return false;
  }
  return true;
}

tr_status tr_patchcore_plan(const tr_method_options *options, bool compare, tr_model **out) {
  *out = NULL;
  int grid_h, grid_w, d;
  TR_TRY(tr_aggregate_shape(&options->aggregate, &grid_h, &grid_w, &d));
  if (options->train_images == 0 || options->variant_count == 0)
    return tr_fail(TR_EINVAL, "patchcore: expected at least one training image and one variant, found %zu and %zu",
                   options->train_images, options->variant_count);
  tr_model *model = calloc(1, sizeof *model);
  if (!model)
    return tr_fail(TR_ENOMEM, "creating a PatchCore model: out of memory");
  pthread_mutex_init(&model->lock, NULL);
  model->device = options->device;
  model->aggregate = options->aggregate;
  model->progress = options->progress;
  model->measure_cover = options->measure_cover;
  model->patches = (size_t)grid_h * (size_t)grid_w;
  model->d = d;
  model->train_rows = options->train_images * model->patches;
  model->chunk = tr_device_chunk(options->device);
  model->lanes = tr_device_lanes(options->device);
  model->variant_count = options->variant_count;
  model->variants = calloc(options->variant_count, sizeof *model->variants);
  model->variant_search = calloc(options->variant_count, sizeof *model->variant_search);
  model->selections = calloc(options->variant_count, sizeof *model->selections);
  model->searches = calloc(2 * options->variant_count, sizeof *model->searches);
  model->indexes = calloc(options->variant_count, sizeof *model->indexes);
  model->buffers = calloc((size_t)model->lanes, sizeof *model->buffers);
  tr_status status = TR_OK;
  if (!model->variants || !model->variant_search || !model->selections || !model->searches || !model->indexes || !model->buffers)
    status = tr_fail(TR_ENOMEM, "creating a PatchCore model of %zu variants: out of memory", options->variant_count);
  else if (model->train_rows > UINT32_MAX)
    status = tr_fail(TR_EINVAL, "patchcore: %zu training images give %zu patches; at most %u are possible", options->train_images,
                     model->train_rows, UINT32_MAX);
  for (size_t v = 0; status == TR_OK && v < options->variant_count; ++v) {
    size_t rows;
    const tr_variant *variant = &options->variants[v];
    model->variants[v] = *variant;
    status = tr_variant_rows(variant, model->train_rows, model->d, &rows);
    if (status == TR_OK)
      status = check_variant(variant, rows, model->d, compare && !options->loads);
    if (status == TR_OK)
      model->variant_search[v] = find_search(model, find_selection(model, variant, rows), rows, variant, compare);
  }
  if (status != TR_OK) {
    tr_patchcore_destroy(model);
    return status;
  }
  model->keep = can_keep_less(model) ? options->keep : TR_KEEP_FEATURES;
  *out = model;
  return TR_OK;
}
