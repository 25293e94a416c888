/* PatchCore's memory: what fitting and scoring take on the device and on the host, and what of it the device has room for. */
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/methods/cover.h"
#include "host/methods/patchcore.h"
#include "host/methods/proxies.h"
#include "kernels/coreset.h"
#include "kernels/project.h"

#include <math.h>

/* Bytes of the device, and with those of host memory that stand for the device's. */
typedef struct tr_needs {
  size_t device, all;
} tr_needs;

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

static void need(tr_needs *n, size_t device, size_t host) {
  n->device += device;
  n->all += device + host;
}

/* What is needed for a moment on top of `base`. */
static void need_once(tr_needs *peak, const tr_needs *base, size_t device, size_t host) {
  tr_needs now = *base;
  need(&now, device, host);
  peak->device = larger(peak->device, now.device);
  peak->all = larger(peak->all, now.all);
}

bool tr_patchcore_projects(const tr_model *model, const tr_selection *s) {
  return s->projection != model->d;
}

size_t tr_patchcore_tile_rows(const tr_model *model, const tr_selection *s) {
  size_t most = tr_bank_most_tile_rows(s->rows, model->d);
  return model->tile_rows < most ? model->tile_rows : most;
}

/* Device bytes of a search of an index; 0: FAISS searches, in host memory. */
static size_t index_scratch(const tr_model *model, const tr_search *pass) {
  const tr_prefix_index *index = &model->indexes[pass->index];
  size_t queries = model->chunk * model->patches;
  return index->index ? tr_index_device_scratch(index->index, pass->effort, queries, model->patches, 1)
                      : tr_index_device_scratch_expected(model->device, tr_search_factory(index->search), pass->effort,
                                                         index->rows, model->d, queries, model->patches, 1);
}

size_t tr_patchcore_search_scratch(const tr_model *model) {
  size_t queries = model->chunk * model->patches, most = 0;
  for (size_t i = 0; i < model->search_count; ++i) {
    const tr_search *pass = &model->searches[i];
    const tr_selection *s = &model->selections[pass->selection];
    if (pass->index != TR_NONE) {
      most = larger(most, index_scratch(model, pass));
      continue;
    }
    most = larger(most, s->in_host ? tr_bank_in_host_search_scratch(model->device, model->d, tr_patchcore_tile_rows(model, s),
                                                                    queries, model->patches, pass->rows, 1)
                                   : tr_nearest_scratch(model->device, queries, model->patches, pass->rows, model->d, 1));
  }
  return most;
}

size_t tr_patchcore_reweight_scratch(const tr_model *model) {
  size_t most = 0;
  for (size_t v = 0; v < model->variant_count; ++v) {
    if (model->variants[v].image_score != TR_SCORE_REWEIGHTED)
      continue;
    const tr_search *pass = &model->searches[model->variant_search[v]];
    const tr_selection *s = &model->selections[pass->selection];
    int n = (int)model->chunk, patches = (int)model->patches, b = model->variants[v].neighbours;
    most = larger(most, s->in_host ? tr_bank_in_host_reweight_scratch(model->device, model->d, tr_patchcore_tile_rows(model, s),
                                                                      n, patches, pass->rows, b)
                                   : tr_reweight_scratch(model->device, n, patches, pass->rows, model->d, b));
  }
  return most;
}

bool tr_patchcore_selects_by_copy(const tr_model *model, const tr_selection *s) {
  return s->kind == TR_SUBSAMPLE_GREEDY && (model->features_in_host || tr_patchcore_projects(model, s));
}

size_t tr_patchcore_lane_features_bytes(const tr_model *model) {
  return model->chunk * model->patches * (size_t)model->d * sizeof(float);
}

static size_t aggregate_bytes(const tr_model *model) {
  return (size_t)model->lanes * tr_aggregate_scratch(model->device, &model->aggregate, (int)model->chunk);
}

static void need_bank(tr_needs *n, const tr_model *model, const tr_selection *s) {
  if (s->in_host)
    need(n, tr_bank_in_host_bytes(s->rows), s->rows * (size_t)model->d * sizeof(float));
  else
    need(n, tr_bank_bytes(model->device, s->rows, model->d), 0);
}

static size_t making_bytes(const tr_model *model, const tr_selection *s) {
  return s->in_host ? tr_bank_in_host_scratch_bytes(model->d, tr_patchcore_tile_rows(model, s))
                    : tr_bank_scratch_bytes(model->device, s->rows, model->d);
}

/* Greedily; then its covering radius is measured. */
static size_t selecting_bytes(const tr_model *model, const tr_selection *s) {
  bool measures = model->measure_cover && s->rows < model->train_rows;
  size_t picking = tr_coreset_scratch(model->device, model->train_rows, s->projection, s->rows + measures);
  return measures ? larger(picking, tr_cover_bytes(model->device, model->train_rows, s->projection, s->rows)) : picking;
}

/* Likewise, of projected rows in a file. */
static void need_selecting_from_file(tr_needs *peak, const tr_needs *held, const tr_model *model, const tr_selection *s) {
  bool measures = model->measure_cover && s->rows < model->train_rows;
  size_t read = tr_cover_read_bytes(model->train_rows, s->projection);
  need_once(peak, held, 0, tr_coreset_read_scratch(model->device, model->train_rows, s->projection, s->rows + measures));
  if (measures)
    need_once(peak, held, tr_cover_bytes(model->device, model->train_rows, s->projection, s->rows) + read, read);
}

/* The matrix, and what the operator takes. */
static size_t projecting_bytes(const tr_model *model, const tr_selection *s) {
  size_t chunk = model->chunk * model->patches, rows = model->train_rows;
  size_t matrix = (size_t)model->d * (size_t)s->projection * sizeof(float);
  if (!model->features_in_host)
    return matrix + tr_project_bytes(model->device, rows, model->d, s->projection);
  size_t of_chunk = rows < chunk ? 0 : tr_project_bytes(model->device, chunk, model->d, s->projection);
  return matrix + larger(of_chunk, tr_project_bytes(model->device, rows % chunk, model->d, s->projection));
}

/* Selects or learns, then makes the bank; from features in host memory a bank on the device is gathered in host memory first. */
static void need_selection(tr_needs *peak, tr_needs *held, const tr_model *model, const tr_selection *s) {
  size_t rows_bytes = s->rows * (size_t)model->d * sizeof(float), work = 0;
  if (s->kind == TR_SUBSAMPLE_GREEDY)
    work = selecting_bytes(model, s);
  if (s->kind == TR_SUBSAMPLE_GREEDY && tr_patchcore_projects(model, s))
    work = larger(work, projecting_bytes(model, s));
  if (tr_patchcore_selects_by_copy(model, s))
    work += model->train_rows * (size_t)s->projection * sizeof(float);
  if (s->kind == TR_SUBSAMPLE_LEARNED)
    work = tr_learn_proxies_bytes(model->device, model->train_rows, model->d, s->rows);
  bool permutes = s->kind == TR_SUBSAMPLE_RANDOM || s->kind == TR_SUBSAMPLE_LEARNED;
  need_once(peak, held, work, permutes ? model->train_rows * sizeof(uint64_t) : 0);
  if (s->kind == TR_SUBSAMPLE_LEARNED && s->in_host)
    need_once(peak, held, rows_bytes, rows_bytes);
  need_bank(held, model, s);
  bool gathers = model->features_in_host && !s->in_host && s->kind != TR_SUBSAMPLE_LEARNED;
  need_once(peak, held, making_bytes(model, s), gathers ? rows_bytes : 0);
}

size_t tr_patchcore_features_bytes(const tr_model *model) {
  return model->train_rows * (size_t)model->d * sizeof(float);
}

static void need_rows(tr_needs *n, const tr_model *model, const tr_selection *s) {
  size_t bytes = s->rows * (size_t)model->d * sizeof(float);
  need(n, s->in_host ? 0 : bytes, (s->in_host ? bytes : 0) + tr_picks_bytes(s->rows));
}

bool tr_patchcore_features_in_file(const tr_model *model) {
  return model->keep == TR_KEEP_IN_FILE || model->keep == TR_KEEP_ALL_IN_FILES;
}

bool tr_patchcore_projected_in_file(const tr_model *model) {
  return model->keep == TR_KEEP_ALL_IN_FILES || model->keep == TR_KEEP_PROJECTED_IN_FILE;
}

size_t tr_patchcore_projected_bytes(const tr_model *model, const tr_selection *s) {
  return model->train_rows * (size_t)s->projection * sizeof(float);
}

size_t tr_patchcore_lane_projected_bytes(const tr_model *model) {
  size_t widest = 0;
  for (size_t i = 0; i < model->selection_count; ++i)
    if (model->selections[i].kind == TR_SUBSAMPLE_GREEDY)
      widest = larger(widest, (size_t)model->selections[i].projection);
  return model->chunk * model->patches * widest * sizeof(float);
}

/* The matrix, and what it gave where that is in memory. */
static size_t projection_bytes(const tr_model *model, const tr_selection *s) {
  return (size_t)model->d * (size_t)s->projection * sizeof(float) +
         (tr_patchcore_projected_in_file(model) ? 0 : tr_patchcore_projected_bytes(model, s));
}

static tr_needs needs_of_features(const tr_model *model) {
  tr_needs n = {0};
  need(&n, aggregate_bytes(model), 0);
  if (model->keep != TR_KEEP_FEATURES) {
    size_t lanes = (size_t)model->lanes, features = lanes * tr_patchcore_lane_features_bytes(model);
    need(&n, features, tr_patchcore_features_in_file(model) ? features : 0);
    if (tr_patchcore_projected_in_file(model))
      need(&n, lanes * tr_patchcore_lane_projected_bytes(model), lanes * tr_patchcore_lane_projected_bytes(model));
    for (size_t i = 0; i < model->selection_count; ++i) {
      const tr_selection *s = &model->selections[i];
      if (s->kind == TR_SUBSAMPLE_RANDOM)
        need_rows(&n, model, s);
      else
        need(&n,
             projection_bytes(model, s) +
                 lanes * tr_project_bytes(model->device, model->chunk * model->patches, model->d, s->projection),
             0);
    }
    return n;
  }
  if (model->features_in_host)
    need(&n, (size_t)model->lanes * tr_patchcore_lane_features_bytes(model), tr_patchcore_features_bytes(model));
  else
    need(&n, tr_patchcore_features_bytes(model), 0);
  return n;
}

/* Indexes lie on the host, some of them on the device too, and are built when the features are gone. */
static void need_indexes(tr_needs *peak, tr_needs *held, const tr_model *model) {
  for (size_t i = 0; i < model->index_count; ++i) {
    const tr_prefix_index *index = &model->indexes[i];
    const char *factory = tr_search_factory(index->search);
    need(held, tr_index_device_bytes_expected(model->device, factory, index->rows, model->d),
         tr_index_bytes_expected(factory, index->rows, model->d));
    need_once(peak, held, 0, tr_index_build_bytes_expected(factory, index->rows, model->d));
  }
}

/* Where not all features are kept: projected ones give way to picked rows, and these to banks. */
static tr_needs needs_of_less(const tr_model *model) {
  tr_needs held = needs_of_features(model), peak = held;
  for (size_t i = 0; i < model->selection_count; ++i) {
    const tr_selection *s = &model->selections[i];
    if (s->kind != TR_SUBSAMPLE_GREEDY)
      continue;
    if (tr_patchcore_projected_in_file(model))
      need_selecting_from_file(&peak, &held, model, s);
    else
      need_once(&peak, &held, selecting_bytes(model, s), 0);
    held.device -= projection_bytes(model, s);
    held.all -= projection_bytes(model, s);
    need_rows(&held, model, s);
    need_once(&peak, &held, 0, 0);
  }
  for (size_t i = 0; i < model->selection_count; ++i) {
    const tr_selection *s = &model->selections[i];
    size_t rows = s->rows * (size_t)model->d * sizeof(float);
    need_bank(&held, model, s);
    held.device -= s->in_host ? 0 : rows;
    held.all -= rows;
    need_once(&peak, &held, making_bytes(model, s), 0);
  }
  need_indexes(&peak, &held, model);
  return peak;
}

static tr_needs needs_of_fit(const tr_model *model) {
  if (model->keep != TR_KEEP_FEATURES)
    return needs_of_less(model);
  tr_needs held = needs_of_features(model), peak = held;
  const tr_selection *whole = NULL;
  for (size_t i = 0; i < model->selection_count; ++i)
    if (model->selections[i].kind == TR_SUBSAMPLE_NONE)
      whole = &model->selections[i];
    else
      need_selection(&peak, &held, model, &model->selections[i]);
  if (whole)
    need_bank(&held, model, whole); /* which takes the features over */
  held.all -= tr_patchcore_features_bytes(model);
  held.device -= model->features_in_host ? 0 : tr_patchcore_features_bytes(model);
  need_once(&peak, &held, whole ? making_bytes(model, whole) : 0, 0);
  need_indexes(&peak, &held, model);
  return peak;
}

size_t tr_patchcore_most_prefixes(const tr_model *model) {
  size_t most = 1;
  for (size_t s = 0; s < model->selection_count; ++s) {
    size_t count = 0;
    for (size_t i = 0; i < model->search_count; ++i)
      count += model->searches[i].selection == s && model->searches[i].index == TR_NONE;
    most = larger(most, count);
  }
  return most;
}

static bool faiss_searches(const tr_model *model) {
  for (size_t i = 0; i < model->search_count; ++i)
    if (model->searches[i].index != TR_NONE && index_scratch(model, &model->searches[i]) == 0)
      return true;
  return false;
}

static tr_needs needs_of_scores(const tr_model *model) {
  size_t queries = model->chunk * model->patches;
  size_t lane = tr_patchcore_lane_features_bytes(model) + (2 * tr_patchcore_most_prefixes(model) + 1) * queries * sizeof(float) +
                tr_patchcore_search_scratch(model) + tr_patchcore_reweight_scratch(model);
  tr_needs n = {0};
  need(&n, aggregate_bytes(model) + (size_t)model->lanes * lane, 0);
  for (size_t i = 0; i < model->selection_count; ++i)
    need_bank(&n, model, &model->selections[i]);
  tr_needs peak = n;
  need_indexes(&peak, &n, model);
  if (faiss_searches(model)) /* of a group of queries: rows, distances, labels */
    need(&n, 0, (size_t)model->lanes * model->patches * ((size_t)model->d + 8) * sizeof(float));
  return n;
}

static bool fits(const tr_model *model, size_t free_bytes, bool fitting) {
  return needs_of_scores(model).device <= free_bytes && (!fitting || needs_of_fit(model).device <= free_bytes);
}

/* With the largest tiles that fit, but no smaller ones than `least`. */
static bool fits_in_tiles(tr_model *model, size_t free_bytes, bool fitting, size_t least) {
  for (model->tile_rows = tr_bank_most_tile_rows(model->train_rows, model->d); model->tile_rows > least; model->tile_rows /= 2)
    if (fits(model, free_bytes, fitting))
      return true;
  model->tile_rows = least;
  return fits(model, free_bytes, fitting);
}

static tr_selection *largest_on_device(tr_model *model) {
  tr_selection *largest = NULL;
  for (size_t i = 0; i < model->selection_count; ++i) {
    tr_selection *s = &model->selections[i];
    if (!s->in_host && (!largest || s->rows > largest->rows))
      largest = s;
  }
  return largest;
}

/* Small tiles are slow, so that another bank goes before they get small. */
void tr_patchcore_place(tr_model *model, size_t free_bytes, bool fitting) {
  if (fits(model, free_bytes, fitting))
    return;
  model->features_in_host = fitting && model->keep == TR_KEEP_FEATURES;
  for (size_t i = 0; fitting && i < model->selection_count; ++i)
    model->selections[i].in_host = model->selections[i].kind == TR_SUBSAMPLE_NONE;
  const size_t handy = tr_bank_most_tile_rows(model->train_rows, model->d) / 16;
  while (!fits_in_tiles(model, free_bytes, fitting, handy > TR_NEAREST_MAX_K ? handy : TR_NEAREST_MAX_K)) {
    tr_selection *s = largest_on_device(model);
    if (!s) {
      (void)fits_in_tiles(model, free_bytes, fitting, TR_NEAREST_MAX_K);
      return;
    }
    s->in_host = true;
  }
}

size_t tr_patchcore_room(const tr_method_options *options) {
  size_t free_bytes = tr_device_free_bytes(options->device);
  return free_bytes > options->beside_bytes ? free_bytes - options->beside_bytes : 0;
}

void tr_patchcore_say_placement(const tr_model *model) {
  size_t banks = 0;
  char left[32];
  if (!model->features_in_host)
    return;
  for (size_t i = 0; i < model->selection_count; ++i)
    banks += model->selections[i].in_host;
  tr_progress_line(
      model->progress,
      "patchcore: %s has %s left: the training features and %zu of %zu banks stay in host memory; scores are the same, "
      "the search may take longer",
      tr_device_name(model->device), tr_format_bytes(tr_device_free_bytes(model->device), left, sizeof left), banks,
      model->selection_count);
}

/* ---- forecast ---- */

/* What a greedy selection on the cpu (kernels/cpu/coreset.c) leaves out depends on the rows and on how many of them are picked. Counted in
 * its rounds on ResNet50 features, 128 dimensions, one selection up to 25 % each (MTD 10, cloth 5): MVTec bottle (3,920 to 94,080 rows, of 5
 * to 120 images), hazelnut and transistor (to 39,200), MTD (596,624), the synthetic cloth (39,200 to 548,800). From 15,680 rows and 300
 * picks on, 1.3 rows^-0.18 picks^0.08 of the pairs are multiplied, by least squares with one factor for each data set, which are 0.88
 * (bottle), 0.98, 1.02, 0.93 and 1.22 (MTD), and 10 % of scatter.
 *
 * Seconds: with what is done to the products a pair takes 1.3 times a product's; starting and the lists of the rounds take 2 us a row, which
 * one core does alone in part, as long as products with a thousand picks. */
#define CORESET_PAIR 1.3
#define CORESET_ROW  1000

/* To three places, which every machine's pow() agrees on: shards are shared out by this. */
static double multiplied_part(double rows, double picks) {
  double part = 1.3 * pow(rows, -0.18) * pow(picks, 0.08);
  return fmin(round(1000 * part) / 1000, 1);
}

static void count_macs(const tr_model *model, size_t test_images, tr_method_needs *out) {
  for (size_t i = 0; i < model->selection_count; ++i) {
    const tr_selection *s = &model->selections[i];
    double learning = s->kind == TR_SUBSAMPLE_LEARNED ? tr_learn_proxies_macs(model->train_rows, model->d, s->rows) : 0;
    double rows = s->kind == TR_SUBSAMPLE_GREEDY ? (double)model->train_rows : 0, picks = (double)s->rows;
    double multiplied = rows > 0 ? multiplied_part(rows, picks) * picks : 0;
    double projecting = s->kind == TR_SUBSAMPLE_GREEDY && tr_patchcore_projects(model, s)
                            ? (double)model->train_rows * model->d * s->projection
                            : 0;
    out->fit_macs += learning + projecting + rows * s->projection * (CORESET_PAIR * multiplied + CORESET_ROW);
    out->gpu_fit_macs += learning + projecting + rows * s->projection * multiplied;
  }
  for (size_t i = 0; i < model->index_count; ++i) {
    double macs = tr_index_build_macs(tr_search_factory(model->indexes[i].search), model->indexes[i].rows, model->d);
    out->fit_macs += macs;
    out->gpu_fit_macs += macs;
  }
  for (size_t i = 0; i < model->search_count; ++i) {
    const tr_search *pass = &model->searches[i];
    bool exact = pass->index == TR_NONE;
    double queries = (double)(test_images * model->patches), found = 0;
    if (!exact)
      found = tr_index_query_macs(tr_search_factory(model->indexes[pass->index].search), pass->effort, pass->rows, model->d);
    out->score_macs += queries * (exact ? tr_nearest_sketched_macs(pass->rows, model->d) : found);
    out->gpu_score_macs += queries * (exact ? (double)pass->rows * model->d : found);
  }
}

/* Scores leave the model chunk by chunk: memory does not depend on the number of test images. */
tr_status tr_patchcore_forecast(const tr_method_options *options, size_t test_images, tr_method_needs *out) {
  *out = (tr_method_needs){0};
  TR_TRY(tr_aggregate_shape(&options->aggregate, &out->grid_h, &out->grid_w, &out->dimension));
  tr_model *model;
  TR_TRY(tr_patchcore_plan(options, true, &model));
  tr_patchcore_place(model, tr_patchcore_room(options), true);
  out->held_bytes = needs_of_features(model).all;
  out->file_bytes = tr_patchcore_features_in_file(model) ? tr_patchcore_features_bytes(model) : 0;
  for (size_t i = 0; i < model->selection_count; ++i) {
    if (model->selections[i].kind != TR_SUBSAMPLE_GREEDY || model->keep == TR_KEEP_FEATURES)
      continue;
    out->again |= !tr_patchcore_features_in_file(model);
    out->file_bytes += tr_patchcore_projected_in_file(model) ? tr_patchcore_projected_bytes(model, &model->selections[i]) : 0;
  }
  out->fit_bytes = needs_of_fit(model).all;
  out->score_bytes = needs_of_scores(model).all;
  count_macs(model, test_images, out);
  tr_patchcore_destroy(model);
  return TR_OK;
}
