/* PatchCore (paper section 3; official src/patchcore/patchcore.py): a memory bank of patch features, subsampled, and the distance
 * of a test patch to its nearest bank row.
 *
 * Besides exact search there are indexes (host/search), one for each prefix of a bank that a variant wants one of. What they find is
 * compared with an exact search of the same rows, which is run once for all of them.
 *
 * All variants share the features. Greedy orders and random permutations are drawn once per seed: every percentage is a prefix,
 * so one bank with the largest number of rows serves all of them, and variants that search the same rows share the search. Learned
 * proxies are learned for each number of them.
 *
 * What the device has no room for lies in host memory: first the training features, then banks, the largest first. Results are the
 * same; place_memory() decides, from the device's free memory.
 *
 * Where not all features are to be kept (tr_keep), greedy selection has the projected ones, an eighth, and the picked rows come from a
 * file or from images that are fed once more. The whole bank, learning, and selection by unprojected features keep them all nevertheless.
 */
#include "host/base/clock.h"
#include "host/base/json.h"
#include "host/base/rng.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/methods/method.h"
#include "host/methods/picks.h"
#include "host/methods/proxies.h"
#include "host/search/search.h"
#include "kernels/coreset.h"
#include "kernels/project.h"
#include "kernels/reweight.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Official ApproximateGreedyCoresetSampler: number_of_starting_points. */
enum { STARTING_POINTS = 10 };

/* Rows in selection order, for all variants of one (kind, seed, projection), and number of rows where they are learned. */
typedef struct selection {
  tr_subsampling kind;
  uint64_t seed;
  int projection;
  size_t rows;     /* most that any variant wants */
  uint32_t *order; /* [rows]; NULL for the whole bank in its own order, and for rows that are no patches */
  bool in_host;    /* the bank */
  /* where not all features are kept */
  float *matrix, *projected; /* device, until rows are selected: [projection, d], [train_rows, projection] */
  tr_picks *picks;           /* until the bank is made */
  tr_bank *bank;
  double seconds;
} selection;

/* An index over the first `rows` rows of a selection's bank. */
typedef struct bank_index {
  size_t selection, rows;
  const char *search;
  tr_index *index;
} bank_index;

#define NONE SIZE_MAX

/* One pass of nearest neighbours: the first `rows` rows of a selection's bank, or an index over them. */
typedef struct search {
  size_t selection, rows;
  size_t index;     /* NONE: exact */
  size_t reference; /* the exact search, earlier in the list, that this one is compared with; NONE */
  bool is_reference;
  tr_effort effort;
  double seconds; /* of all lanes together */
  /* Sums over images, whole numbers so that their order does not matter. */
  uint64_t compared, right, measured;
  int64_t error; /* in units of ERROR_UNIT */
} search;

#define ERROR_UNIT 0x1p-32

/* What an exact search found for a chunk: host, [chunk * patches]. */
typedef struct reference {
  float *distances;
  uint32_t *indices;
} reference;

typedef struct lane_buffers {
  void *aggregate_scratch;
  float *features;      /* [chunk * patches, d] */
  float *host_features; /* as these, on their way to the file */
  float *distances;
  uint32_t *indices;
  void *search_scratch, *reweight_scratch;
  float *image_scores; /* device, [chunk] */
  float *host_distances;
  uint32_t *host_indices;
  void *index_scratch;   /* host */
  reference *references; /* [search_count] */
} lane_buffers;

struct tr_model {
  tr_device *device;
  tr_aggregate_spec aggregate;
  tr_progress *progress;
  tr_variant *variants;
  size_t variant_count;
  size_t *variant_search;
  selection *selections;
  size_t selection_count;
  search *searches;
  size_t search_count;
  bank_index *indexes;
  size_t index_count;
  char *loaded_search; /* of a loaded model's variant */
  size_t given_rows;   /* of a bank that was given and not selected (host/detector/bank.h); 0: selected */
  size_t patches, train_rows;
  int d;
  size_t chunk;
  int lanes;
  lane_buffers *buffers;
  float *features; /* [train_rows, d] until fit_end: the device's, or page-locked host memory */
  bool features_in_host;
  tr_keep keep;
  enum { FITTING, FITTING_AGAIN, FITTED } phase;
  tr_feature_file *file;
  size_t tile_rows;         /* of banks in host memory */
  double aggregate_seconds; /* of scored images, all lanes together */
  pthread_mutex_t lock;     /* of the searches' sums and of the seconds */
};

static size_t variant_rows(const tr_variant *variant, size_t train_rows) {
  if (variant->subsampling == TR_SUBSAMPLE_NONE)
    return train_rows;
  size_t rows = (size_t)((double)train_rows * (variant->percent / 100.0)); /* int(len(features) * percentage), official */
  return rows < 1 ? 1 : rows > train_rows ? train_rows : rows;
}

static tr_status check_variant(const tr_variant *variant, size_t train_rows, int d) {
  if (variant->subsampling != TR_SUBSAMPLE_NONE && !(variant->percent > 0 && variant->percent <= 100))
    return tr_fail(TR_EINVAL, "patchcore: percent: expected a number in (0, 100], found %g", variant->percent);
  if (variant->subsampling == TR_SUBSAMPLE_GREEDY && variant->projection < 1)
    return tr_fail(TR_EINVAL, "patchcore: projection: expected at least 1 dimension, found %d", variant->projection);
  if (variant->image_score == TR_SCORE_NEAREST_IMAGES)
    return tr_fail(TR_EINVAL, "patchcore: image_score: expected max, reweighted or smoothed_max, found nearest_images");
  size_t rows = variant_rows(variant, train_rows);
  if (tr_search_factory(variant->search))
    TR_TRY(tr_index_check(tr_search_factory(variant->search), rows, d));
  if (variant->image_score == TR_SCORE_REWEIGHTED &&
      (variant->neighbours < 2 || variant->neighbours > TR_NEAREST_MAX_K || (size_t)variant->neighbours > rows))
    return tr_fail(TR_EINVAL, "patchcore: neighbours (b of Eq. 7): expected 2 to %d and at most the %zu bank rows, found %d",
                   TR_NEAREST_MAX_K, rows, variant->neighbours);
  return TR_OK;
}

static bool same_selection(const selection *a, const tr_variant *variant, size_t rows) {
  if (a->kind != variant->subsampling)
    return false;
  if (a->kind == TR_SUBSAMPLE_NONE)
    return true;
  if (a->kind == TR_SUBSAMPLE_LEARNED)
    return a->seed == variant->seed && a->rows == rows;
  return a->seed == variant->seed && (a->kind == TR_SUBSAMPLE_RANDOM || a->projection == variant->projection);
}

static size_t find_selection(tr_model *model, const tr_variant *variant, size_t rows) {
  size_t i = 0;
  while (i < model->selection_count && !same_selection(&model->selections[i], variant, rows))
    ++i;
  if (i == model->selection_count)
    model->selections[model->selection_count++] =
        (selection){.kind = variant->subsampling, .seed = variant->seed, .projection = variant->projection};
  if (model->selections[i].rows < rows)
    model->selections[i].rows = rows;
  return i;
}

static bool same_index(const bank_index *index, size_t selection_index, size_t rows, const char *name) {
  return index->selection == selection_index && index->rows == rows && index->search && strcmp(index->search, name) == 0;
}

static size_t find_index(tr_model *model, size_t selection_index, size_t rows, const char *name) {
  size_t i = 0;
  while (i < model->index_count && !same_index(&model->indexes[i], selection_index, rows, name))
    ++i;
  if (i == model->index_count)
    model->indexes[model->index_count++] = (bank_index){.selection = selection_index, .rows = rows, .search = name};
  return i;
}

static void free_features(tr_model *model) {
  if (model->features_in_host)
    tr_device_free_pinned(model->device, model->features);
  else
    tr_device_free(model->device, model->features);
  model->features = NULL;
}

static size_t add_search(tr_model *model, const search *wanted) {
  size_t i = 0;
  for (; i < model->search_count; ++i) {
    const search *s = &model->searches[i];
    if (s->selection == wanted->selection && s->rows == wanted->rows && s->index == wanted->index &&
        s->effort.nprobe == wanted->effort.nprobe && s->effort.ef_search == wanted->effort.ef_search)
      return i;
  }
  model->searches[model->search_count++] = *wanted;
  return i;
}

static size_t find_search(tr_model *model, size_t selection_index, size_t rows, const tr_variant *variant, bool compare) {
  search wanted = {.selection = selection_index, .rows = rows, .index = NONE, .reference = NONE};
  if (!tr_search_factory(variant->search))
    return add_search(model, &wanted);
  size_t reference_search = compare ? add_search(model, &wanted) : NONE;
  if (compare)
    model->searches[reference_search].is_reference = true;
  wanted.index = find_index(model, selection_index, rows, variant->search);
  wanted.reference = reference_search;
  wanted.effort = (tr_effort){variant->nprobe, variant->ef_search};
  return add_search(model, &wanted);
}

static void release_references(const tr_model *model, lane_buffers *b) {
  for (size_t i = 0; b->references && i < model->search_count; ++i) {
    free(b->references[i].distances);
    free(b->references[i].indices);
  }
  free(b->references);
}

static void release_model(tr_model *model) {
  for (size_t i = 0; model->selections && i < model->selection_count; ++i) {
    free(model->selections[i].order);
    tr_device_free(model->device, model->selections[i].matrix);
    tr_device_free(model->device, model->selections[i].projected);
    tr_picks_destroy(model->selections[i].picks);
    tr_bank_destroy(model->selections[i].bank);
  }
  for (int lane = 0; model->buffers && lane < model->lanes; ++lane) {
    lane_buffers *b = &model->buffers[lane];
    void *const device_memory[] = {b->aggregate_scratch, b->features,         b->distances,   b->indices,
                                   b->search_scratch,    b->reweight_scratch, b->image_scores};
    for (size_t i = 0; i < sizeof device_memory / sizeof *device_memory; ++i)
      tr_device_free(model->device, device_memory[i]);
    free(b->host_distances);
    free(b->host_features);
    free(b->host_indices);
    free(b->index_scratch);
    release_references(model, b);
  }
  for (size_t i = 0; model->indexes && i < model->index_count; ++i)
    tr_index_destroy(model->indexes[i].index);
  free_features(model);
  tr_feature_file_close(model->file);
  free(model->buffers);
  free(model->selections);
  free(model->searches);
  free(model->indexes);
  free(model->loaded_search);
  free(model->variant_search);
  free(model->variants);
  pthread_mutex_destroy(&model->lock);
  free(model);
}

static void destroy(tr_model *model) {
  if (model)
    release_model(model);
}

static bool projects(const tr_model *model, const selection *s) {
  return s->projection != model->d;
}

/* Whether rows can be selected without all features at hand. */
static bool can_keep_less(const tr_model *model) {
  for (size_t i = 0; i < model->selection_count; ++i) {
    const selection *s = &model->selections[i];
    if (s->kind != TR_SUBSAMPLE_RANDOM && (s->kind != TR_SUBSAMPLE_GREEDY || !projects(model, s)))
      return false;
  }
  return true;
}

/* Shapes, variants, selections and searches: all that costs no memory to speak of. compare: indexes with exact searches. */
static tr_status plan_model(const tr_method_options *options, bool compare, tr_model **out) {
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
    model->variants[v] = options->variants[v];
    status = check_variant(&model->variants[v], model->train_rows, model->d);
    size_t rows = variant_rows(&model->variants[v], model->train_rows);
    model->variant_search[v] =
        find_search(model, find_selection(model, &model->variants[v], rows), rows, &model->variants[v], compare);
  }
  if (status != TR_OK) {
    release_model(model);
    return status;
  }
  model->keep = can_keep_less(model) ? options->keep : TR_KEEP_FEATURES;
  *out = model;
  return TR_OK;
}

/* ---- memory ---- */

/* Bytes of the device, and with those of host memory that stand for the device's. */
typedef struct needs {
  size_t device, all;
} needs;

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

static void need(needs *n, size_t device, size_t host) {
  n->device += device;
  n->all += device + host;
}

/* What is needed for a moment on top of `base`. */
static void need_once(needs *peak, const needs *base, size_t device, size_t host) {
  needs now = *base;
  need(&now, device, host);
  peak->device = larger(peak->device, now.device);
  peak->all = larger(peak->all, now.all);
}

static size_t tile_rows_of(const tr_model *model, const selection *s) {
  size_t most = tr_bank_most_tile_rows(s->rows, model->d);
  return model->tile_rows < most ? model->tile_rows : most;
}

static size_t search_scratch_of(const tr_model *model) {
  size_t queries = model->chunk * model->patches, most = 0;
  for (size_t i = 0; i < model->search_count; ++i) {
    const search *pass = &model->searches[i];
    const selection *s = &model->selections[pass->selection];
    if (pass->index != NONE)
      continue;
    most = larger(most, s->in_host ? tr_bank_in_host_search_scratch(model->device, model->d, tile_rows_of(model, s), queries,
                                                                    model->patches, pass->rows, 1)
                                   : tr_nearest_scratch(model->device, queries, model->patches, pass->rows, model->d, 1));
  }
  return most;
}

static size_t reweight_scratch_of(const tr_model *model) {
  size_t most = 0;
  for (size_t v = 0; v < model->variant_count; ++v) {
    if (model->variants[v].image_score != TR_SCORE_REWEIGHTED)
      continue;
    const search *pass = &model->searches[model->variant_search[v]];
    const selection *s = &model->selections[pass->selection];
    int n = (int)model->chunk, patches = (int)model->patches, b = model->variants[v].neighbours;
    most = larger(most, s->in_host ? tr_bank_in_host_reweight_scratch(model->device, model->d, tile_rows_of(model, s), n, patches,
                                                                      pass->rows, b)
                                   : tr_reweight_scratch(model->device, n, patches, pass->rows, model->d, b));
  }
  return most;
}

/* Whether what is selected by lies beside the features: projected, or copied to the device. */
static bool selects_by_copy(const tr_model *model, const selection *s) {
  return s->kind == TR_SUBSAMPLE_GREEDY && (model->features_in_host || projects(model, s));
}

static size_t lane_features_bytes(const tr_model *model) {
  return model->chunk * model->patches * (size_t)model->d * sizeof(float);
}

static size_t aggregate_bytes(const tr_model *model) {
  return (size_t)model->lanes * tr_aggregate_scratch(model->device, &model->aggregate, (int)model->chunk);
}

static void need_bank(needs *n, const tr_model *model, const selection *s) {
  if (s->in_host)
    need(n, tr_bank_in_host_bytes(s->rows), s->rows * (size_t)model->d * sizeof(float));
  else
    need(n, tr_bank_bytes(model->device, s->rows, model->d), 0);
}

static size_t making_bytes(const tr_model *model, const selection *s) {
  return s->in_host ? tr_bank_in_host_scratch_bytes(model->d, tile_rows_of(model, s))
                    : tr_bank_scratch_bytes(model->device, s->rows, model->d);
}

/* The matrix, and what the operator takes. */
static size_t projecting_bytes(const tr_model *model, const selection *s) {
  size_t chunk = model->chunk * model->patches, rows = model->train_rows;
  size_t matrix = (size_t)model->d * (size_t)s->projection * sizeof(float);
  if (!model->features_in_host)
    return matrix + tr_project_bytes(model->device, rows, model->d, s->projection);
  size_t of_chunk = rows < chunk ? 0 : tr_project_bytes(model->device, chunk, model->d, s->projection);
  return matrix + larger(of_chunk, tr_project_bytes(model->device, rows % chunk, model->d, s->projection));
}

/* Selects or learns, then makes the bank; from features in host memory a bank on the device is gathered in host memory first. */
static void need_selection(needs *peak, needs *held, const tr_model *model, const selection *s) {
  size_t rows_bytes = s->rows * (size_t)model->d * sizeof(float), work = 0;
  if (s->kind == TR_SUBSAMPLE_GREEDY)
    work = tr_coreset_scratch(model->device, model->train_rows, s->projection, s->rows);
  if (s->kind == TR_SUBSAMPLE_GREEDY && projects(model, s))
    work = larger(work, projecting_bytes(model, s));
  if (selects_by_copy(model, s))
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

static size_t features_bytes(const tr_model *model) {
  return model->train_rows * (size_t)model->d * sizeof(float);
}

static void need_rows(needs *n, const tr_model *model, const selection *s) {
  size_t bytes = s->rows * (size_t)model->d * sizeof(float);
  need(n, s->in_host ? 0 : bytes, (s->in_host ? bytes : 0) + tr_picks_bytes(s->rows));
}

static size_t projected_bytes(const tr_model *model, const selection *s) {
  return ((size_t)model->d + model->train_rows) * (size_t)s->projection * sizeof(float);
}

static needs needs_of_features(const tr_model *model) {
  needs n = {0};
  need(&n, aggregate_bytes(model), 0);
  if (model->keep != TR_KEEP_FEATURES) {
    size_t lanes = (size_t)model->lanes, features = lanes * lane_features_bytes(model);
    need(&n, features, model->keep == TR_KEEP_IN_FILE ? features : 0);
    for (size_t i = 0; i < model->selection_count; ++i) {
      const selection *s = &model->selections[i];
      if (s->kind == TR_SUBSAMPLE_RANDOM)
        need_rows(&n, model, s);
      else
        need(&n,
             projected_bytes(model, s) +
                 lanes * tr_project_bytes(model->device, model->chunk * model->patches, model->d, s->projection),
             0);
    }
    return n;
  }
  if (model->features_in_host)
    need(&n, (size_t)model->lanes * lane_features_bytes(model), features_bytes(model));
  else
    need(&n, features_bytes(model), 0);
  return n;
}

/* Indexes lie on the host, and are built when the features are gone. */
static void need_indexes(needs *peak, needs *held, const tr_model *model) {
  for (size_t i = 0; i < model->index_count; ++i) {
    const bank_index *index = &model->indexes[i];
    const char *factory = tr_search_factory(index->search);
    need(held, 0, tr_index_bytes_expected(factory, index->rows, model->d));
    need_once(peak, held, 0, tr_index_build_bytes_expected(factory, index->rows, model->d));
  }
}

/* Where not all features are kept: projected ones give way to picked rows, and these to banks. */
static needs needs_of_less(const tr_model *model) {
  needs held = needs_of_features(model), peak = held;
  for (size_t i = 0; i < model->selection_count; ++i) {
    const selection *s = &model->selections[i];
    if (s->kind != TR_SUBSAMPLE_GREEDY)
      continue;
    need_once(&peak, &held, tr_coreset_scratch(model->device, model->train_rows, s->projection, s->rows), 0);
    held.device -= projected_bytes(model, s);
    held.all -= projected_bytes(model, s);
    need_rows(&held, model, s);
    need_once(&peak, &held, 0, 0);
  }
  for (size_t i = 0; i < model->selection_count; ++i) {
    const selection *s = &model->selections[i];
    size_t rows = s->rows * (size_t)model->d * sizeof(float);
    need_bank(&held, model, s);
    held.device -= s->in_host ? 0 : rows;
    held.all -= rows;
    need_once(&peak, &held, making_bytes(model, s), 0);
  }
  need_indexes(&peak, &held, model);
  return peak;
}

static needs needs_of_fit(const tr_model *model) {
  if (model->keep != TR_KEEP_FEATURES)
    return needs_of_less(model);
  needs held = needs_of_features(model), peak = held;
  const selection *whole = NULL;
  for (size_t i = 0; i < model->selection_count; ++i)
    if (model->selections[i].kind == TR_SUBSAMPLE_NONE)
      whole = &model->selections[i];
    else
      need_selection(&peak, &held, model, &model->selections[i]);
  if (whole)
    need_bank(&held, model, whole); /* which takes the features over */
  held.all -= features_bytes(model);
  held.device -= model->features_in_host ? 0 : features_bytes(model);
  need_once(&peak, &held, whole ? making_bytes(model, whole) : 0, 0);
  need_indexes(&peak, &held, model);
  return peak;
}

static needs needs_of_scores(const tr_model *model) {
  size_t queries = model->chunk * model->patches;
  size_t lane = lane_features_bytes(model) + 3 * queries * sizeof(float) + search_scratch_of(model) + reweight_scratch_of(model);
  needs n = {0};
  need(&n, aggregate_bytes(model) + (size_t)model->lanes * lane, 0);
  for (size_t i = 0; i < model->selection_count; ++i)
    need_bank(&n, model, &model->selections[i]);
  needs peak = n;
  need_indexes(&peak, &n, model);
  if (model->index_count) /* of a group of queries: rows, distances, labels */
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

static selection *largest_on_device(tr_model *model) {
  selection *largest = NULL;
  for (size_t i = 0; i < model->selection_count; ++i) {
    selection *s = &model->selections[i];
    if (!s->in_host && (!largest || s->rows > largest->rows))
      largest = s;
  }
  return largest;
}

/* Moves to host memory what the device has no room for: when nothing is left to move, allocating says what is missing. Small tiles are
 * slow, so that another bank goes before they get small. */
static void place_memory(tr_model *model, size_t free_bytes, bool fitting) {
  if (fits(model, free_bytes, fitting))
    return;
  model->features_in_host = fitting && model->keep == TR_KEEP_FEATURES;
  for (size_t i = 0; fitting && i < model->selection_count; ++i)
    model->selections[i].in_host = model->selections[i].kind == TR_SUBSAMPLE_NONE;
  const size_t handy = tr_bank_most_tile_rows(model->train_rows, model->d) / 16;
  while (!fits_in_tiles(model, free_bytes, fitting, handy > TR_NEAREST_MAX_K ? handy : TR_NEAREST_MAX_K)) {
    selection *s = largest_on_device(model);
    if (!s) {
      (void)fits_in_tiles(model, free_bytes, fitting, TR_NEAREST_MAX_K);
      return;
    }
    s->in_host = true;
  }
}

static tr_status allocate_aggregate_scratch(tr_model *model) {
  size_t scratch = tr_aggregate_scratch(model->device, &model->aggregate, (int)model->chunk);
  for (int lane = 0; lane < model->lanes; ++lane)
    TR_TRY(tr_device_alloc(model->device, scratch, &model->buffers[lane].aggregate_scratch));
  return TR_OK;
}

static size_t room_for(const tr_method_options *options) {
  size_t free_bytes = tr_device_free_bytes(options->device);
  return free_bytes > options->beside_bytes ? free_bytes - options->beside_bytes : 0;
}

static void say_placement(const tr_model *model) {
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

static tr_status allocate_lane_features(tr_model *model) {
  for (int lane = 0; lane < model->lanes; ++lane)
    TR_TRY(tr_device_alloc(model->device, lane_features_bytes(model), (void **)&model->buffers[lane].features));
  return TR_OK;
}

/* Features in host memory pass through the lanes' own on the device. */
static tr_status allocate_features(tr_model *model) {
  size_t row_bytes = (size_t)model->d * sizeof(float);
  if (!model->features_in_host)
    return tr_device_alloc(model->device, model->train_rows * row_bytes, (void **)&model->features);
  TR_TRY(allocate_lane_features(model));
  return tr_device_alloc_pinned(model->device, model->train_rows * row_bytes, (void **)&model->features);
}

static tr_status select_random(const tr_model *model, selection *s);
static tr_status make_matrix(const tr_model *model, const selection *s, float **out);

/* Random rows are known from the start. */
static tr_status prepare_selection(tr_model *model, selection *s) {
  if (s->kind == TR_SUBSAMPLE_GREEDY) {
    TR_TRY(make_matrix(model, s, &s->matrix));
    return tr_device_alloc(model->device, model->train_rows * (size_t)s->projection * sizeof(float), (void **)&s->projected);
  }
  s->order = malloc(s->rows * sizeof *s->order);
  if (!s->order)
    return tr_fail(TR_ENOMEM, "selecting %zu bank rows: out of memory", s->rows);
  TR_TRY(select_random(model, s));
  return tr_picks_create(model->device, s->order, s->rows, model->patches, model->d, s->in_host, &s->picks);
}

static tr_status prepare_less(tr_model *model, const char *folder) {
  TR_TRY(allocate_lane_features(model));
  for (size_t i = 0; i < model->selection_count; ++i)
    TR_TRY(prepare_selection(model, &model->selections[i]));
  if (model->keep != TR_KEEP_IN_FILE)
    return TR_OK;
  for (int lane = 0; lane < model->lanes; ++lane)
    if (!(model->buffers[lane].host_features = malloc(lane_features_bytes(model))))
      return tr_fail(TR_ENOMEM, "features on their way to a file: out of memory");
  return tr_feature_file_create(folder ? folder : "/tmp", features_bytes(model), &model->file);
}

static tr_status create(const tr_method_options *options, tr_model **out) {
  *out = NULL;
  tr_model *model;
  TR_TRY(plan_model(options, true, &model));
  place_memory(model, room_for(options), true);
  say_placement(model);
  tr_status status = model->keep == TR_KEEP_FEATURES ? allocate_features(model) : prepare_less(model, options->folder);
  if (status == TR_OK)
    status = allocate_aggregate_scratch(model);
  if (status != TR_OK) {
    release_model(model);
    return tr_fail_context(status, "patchcore: memory for the patch features of %zu images", options->train_images);
  }
  *out = model;
  return TR_OK;
}

static tr_status aggregate_images(const tr_model *model, int lane, size_t n, const float *const *maps, float *features) {
  tr_aggregate_args args = {
      .spec = model->aggregate, .n = (int)n, .dst = features, .scratch = model->buffers[lane].aggregate_scratch};
  for (int i = 0; i < model->aggregate.layers; ++i)
    args.maps[i] = maps[i];
  return tr_aggregate(model->device, &args);
}

static tr_status project_rows(const tr_model *model, const selection *s, const float *matrix, const float *rows, size_t n,
                              float *projected);

/* What a selection needs of some images' features. */
static tr_status take_images(const tr_model *model, selection *s, size_t first, size_t n, const float *features) {
  size_t rows = model->patches, d = (size_t)model->d;
  if (model->phase == FITTING && s->kind == TR_SUBSAMPLE_GREEDY)
    return project_rows(model, s, s->matrix, features, n * rows, s->projected + first * rows * (size_t)s->projection);
  for (size_t i = 0; s->picks && i < n; ++i)
    TR_TRY(tr_picks_collect(s->picks, first + i, features + i * rows * d));
  return TR_OK;
}

static tr_status fit_less(tr_model *model, int lane, size_t first, size_t n, const float *const *maps) {
  const lane_buffers *b = &model->buffers[lane];
  size_t image_bytes = model->patches * (size_t)model->d * sizeof(float);
  TR_TRY(aggregate_images(model, lane, n, maps, b->features));
  for (size_t i = 0; i < model->selection_count; ++i)
    TR_TRY(take_images(model, &model->selections[i], first, n, b->features));
  if (!model->file)
    return TR_OK;
  TR_TRY(tr_device_download(model->device, b->host_features, b->features, n * image_bytes));
  TR_TRY(tr_device_sync(model->device));
  return tr_feature_file_write(model->file, first * image_bytes, b->host_features, n * image_bytes);
}

static tr_status fit_images(tr_model *model, int lane, size_t first, size_t n, const float *const *maps) {
  if (model->keep != TR_KEEP_FEATURES)
    return fit_less(model, lane, first, n, maps);
  size_t image = model->patches * (size_t)model->d;
  float *features = model->features + first * image, *passing = model->buffers[lane].features;
  if (!model->features_in_host)
    return aggregate_images(model, lane, n, maps, features);
  TR_TRY(aggregate_images(model, lane, n, maps, passing));
  return tr_device_download(model->device, features, passing, n * image * sizeof(float));
}

/* ---- selection ---- */

static tr_status greedy_order(const tr_model *model, selection *s, const float *rows, int d) {
  uint64_t drawn[STARTING_POINTS];
  uint32_t start[STARTING_POINTS];
  size_t starts = model->train_rows < STARTING_POINTS ? model->train_rows : STARTING_POINTS;
  tr_rng rng = tr_rng_make(s->seed, TR_RNG_CORESET_START, 0);
  TR_TRY(tr_rng_sample(&rng, model->train_rows, starts, drawn));
  for (size_t i = 0; i < starts; ++i)
    start[i] = (uint32_t)drawn[i];
  float *radius = malloc(s->rows * sizeof *radius);
  void *scratch = NULL;
  tr_status status = radius ? TR_OK : tr_fail(TR_ENOMEM, "coreset: %zu radii: out of memory", s->rows);
  if (status == TR_OK)
    status = tr_device_alloc(model->device, tr_coreset_scratch(model->device, model->train_rows, d, s->rows), &scratch);
  if (status == TR_OK)
    status = tr_coreset(model->device, &(tr_coreset_args){.n = model->train_rows,
                                                          .d = d,
                                                          .rows = rows,
                                                          .picks = s->rows,
                                                          .start = start,
                                                          .starts = starts,
                                                          .order = s->order,
                                                          .radius = radius,
                                                          .scratch = scratch,
                                                          .progress = model->progress});
  tr_device_free(model->device, scratch);
  free(radius);
  return status;
}

static tr_status project_rows(const tr_model *model, const selection *s, const float *matrix, const float *rows, size_t n,
                              float *projected) {
  return tr_project(
      model->device,
      &(tr_project_args){.n = n, .d = model->d, .d_star = s->projection, .src = rows, .matrix = matrix, .dst = projected});
}

/* From host memory chunk by chunk: a row's result does not depend on its company. */
static tr_status project_from_host(const tr_model *model, const selection *s, const float *matrix, float *projected) {
  size_t d = (size_t)model->d, chunk = model->chunk * model->patches;
  for (size_t first = 0; first < model->train_rows; first += chunk) {
    size_t n = model->train_rows - first < chunk ? model->train_rows - first : chunk;
    float *rows = model->buffers[0].features;
    TR_TRY(tr_device_upload(model->device, rows, model->features + first * d, n * d * sizeof(float)));
    TR_TRY(project_rows(model, s, matrix, rows, n, projected + first * (size_t)s->projection));
  }
  return TR_OK;
}

static tr_status make_matrix(const tr_model *model, const selection *s, float **out) {
  size_t bytes = (size_t)model->d * (size_t)s->projection * sizeof(float);
  float *matrix = malloc(bytes);
  tr_status status = matrix ? TR_OK : tr_fail(TR_ENOMEM, "projection matrix: out of memory");
  if (status == TR_OK) {
    tr_project_matrix(s->seed, model->d, s->projection, matrix);
    status = tr_device_alloc(model->device, bytes, (void **)out);
  }
  if (status == TR_OK)
    status = tr_device_upload(model->device, *out, matrix, bytes);
  free(matrix);
  return status;
}

static tr_status project_features(const tr_model *model, const selection *s, float *projected) {
  float *matrix = NULL;
  tr_status status = make_matrix(model, s, &matrix);
  if (status == TR_OK)
    status = model->features_in_host ? project_from_host(model, s, matrix, projected)
                                     : project_rows(model, s, matrix, model->features, model->train_rows, projected);
  tr_device_free(model->device, matrix);
  return status;
}

static tr_status select_greedy(const tr_model *model, selection *s) {
  if (!selects_by_copy(model, s))
    return greedy_order(model, s, model->features, model->d);
  size_t bytes = model->train_rows * (size_t)s->projection * sizeof(float);
  float *projected;
  TR_TRY(tr_device_alloc(model->device, bytes, (void **)&projected));
  tr_status status = projects(model, s) ? project_features(model, s, projected)
                                        : tr_device_upload(model->device, projected, model->features, bytes);
  if (status == TR_OK)
    status = greedy_order(model, s, projected, s->projection);
  tr_device_free(model->device, projected);
  return status;
}

/* A prefix of one permutation of all rows, so that a percentage's rows do not depend on what else is asked for. */
static tr_status select_random(const tr_model *model, selection *s) {
  uint64_t *permutation = malloc(model->train_rows * sizeof *permutation);
  if (!permutation)
    return tr_fail(TR_ENOMEM, "random subset of %zu rows: out of memory", model->train_rows);
  tr_rng rng = tr_rng_make(s->seed, TR_RNG_RANDOM_SUBSET, 0);
  tr_status status = tr_rng_sample(&rng, model->train_rows, model->train_rows, permutation);
  for (size_t i = 0; status == TR_OK && i < s->rows; ++i)
    s->order[i] = (uint32_t)permutation[i];
  free(permutation);
  return status;
}

static tr_status gather_bank(tr_model *model, selection *s) {
  size_t row_bytes = (size_t)model->d * sizeof(float);
  float *rows;
  TR_TRY(tr_device_alloc(model->device, s->rows * row_bytes, (void **)&rows));
  tr_status status = tr_device_gather(model->device, rows, model->features, s->order, s->rows, row_bytes);
  if (status != TR_OK) {
    tr_device_free(model->device, rows);
    return status;
  }
  return tr_bank_create(model->device, rows, s->rows, model->d, &s->bank);
}

/* Makes the bank of rows in host memory, which it takes over. */
static tr_status bank_from_host(const tr_model *model, selection *s, float *rows) {
  if (s->in_host)
    return tr_bank_create_in_host(model->device, rows, s->rows, model->d, tile_rows_of(model, s), &s->bank);
  size_t bytes = s->rows * (size_t)model->d * sizeof(float);
  float *copy;
  tr_status status = tr_device_alloc(model->device, bytes, (void **)&copy);
  if (status == TR_OK)
    status = tr_device_upload(model->device, copy, rows, bytes);
  tr_device_free_pinned(model->device, rows);
  if (status == TR_OK)
    return tr_bank_create(model->device, copy, s->rows, model->d, &s->bank);
  tr_device_free(model->device, copy);
  return status;
}

static tr_status gather_bank_from_host(tr_model *model, selection *s) {
  size_t d = (size_t)model->d;
  float *rows;
  TR_TRY(tr_device_alloc_pinned(model->device, s->rows * d * sizeof(float), (void **)&rows));
  for (size_t i = 0; i < s->rows; ++i)
    memcpy(rows + i * d, model->features + s->order[i] * d, d * sizeof(float));
  return bank_from_host(model, s, rows);
}

static tr_status learn_rows(tr_model *model, selection *s) {
  double begin = tr_seconds();
  size_t bytes = s->rows * (size_t)model->d * sizeof(float);
  float *learned, *rows = NULL;
  TR_TRY(tr_learn_proxies(model->device, model->features, model->features_in_host, model->train_rows, model->d, s->rows, s->seed,
                          model->progress, &learned));
  if (s->in_host) {
    tr_status status = tr_device_alloc_pinned(model->device, bytes, (void **)&rows);
    if (status == TR_OK)
      status = tr_device_download(model->device, rows, learned, bytes);
    tr_device_free(model->device, learned);
    if (status != TR_OK) {
      tr_device_free_pinned(model->device, rows);
      return status;
    }
    TR_TRY(bank_from_host(model, s, rows));
  } else {
    TR_TRY(tr_bank_create(model->device, learned, s->rows, model->d, &s->bank));
  }
  s->seconds = tr_seconds() - begin;
  return TR_OK;
}

static tr_status select_rows(tr_model *model, selection *s) {
  double begin = tr_seconds();
  s->order = malloc(s->rows * sizeof *s->order);
  if (!s->order)
    return tr_fail(TR_ENOMEM, "selecting %zu bank rows: out of memory", s->rows);
  TR_TRY(s->kind == TR_SUBSAMPLE_GREEDY ? select_greedy(model, s) : select_random(model, s));
  TR_TRY(model->features_in_host ? gather_bank_from_host(model, s) : gather_bank(model, s));
  s->seconds = tr_seconds() - begin;
  return TR_OK;
}

/* ---- scoring ---- */

static tr_status allocate_host_buffers(const tr_model *model, lane_buffers *b, size_t queries) {
  size_t index_scratch = 0;
  for (size_t i = 0; i < model->index_count; ++i) {
    size_t bytes = tr_index_search_scratch(model->indexes[i].index, model->patches, 1);
    index_scratch = bytes > index_scratch ? bytes : index_scratch;
  }
  b->host_distances = malloc(queries * sizeof(float));
  b->host_indices = malloc(queries * sizeof(uint32_t));
  b->index_scratch = malloc(index_scratch + 1);
  b->references = calloc(model->search_count, sizeof *b->references);
  bool complete = b->host_distances && b->host_indices && b->index_scratch && b->references;
  for (size_t i = 0; complete && i < model->search_count; ++i) {
    if (!model->searches[i].is_reference)
      continue;
    b->references[i].distances = malloc(queries * sizeof(float));
    b->references[i].indices = malloc(queries * sizeof(uint32_t));
    complete = b->references[i].distances && b->references[i].indices;
  }
  return complete ? TR_OK : tr_fail(TR_ENOMEM, "patchcore: scores of %zu patches: out of memory", queries);
}

static tr_status allocate_score_buffers(tr_model *model) {
  size_t queries = model->chunk * model->patches;
  size_t search_scratch = search_scratch_of(model), reweight_scratch = reweight_scratch_of(model);
  for (int lane = 0; lane < model->lanes; ++lane) {
    lane_buffers *b = &model->buffers[lane];
    if (!b->features)
      TR_TRY(tr_device_alloc(model->device, queries * (size_t)model->d * sizeof(float), (void **)&b->features));
    TR_TRY(tr_device_alloc(model->device, queries * sizeof(float), (void **)&b->distances));
    TR_TRY(tr_device_alloc(model->device, queries * sizeof(uint32_t), (void **)&b->indices));
    TR_TRY(tr_device_alloc(model->device, search_scratch, &b->search_scratch));
    TR_TRY(tr_device_alloc(model->device, reweight_scratch, &b->reweight_scratch));
    TR_TRY(tr_device_alloc(model->device, model->chunk * sizeof(float), (void **)&b->image_scores));
    TR_TRY(allocate_host_buffers(model, b, queries));
  }
  return TR_OK;
}

/* When all banks are there. */
static tr_status prepare_scores(tr_model *model) {
  for (size_t i = 0; i < model->index_count; ++i) {
    bank_index *index = &model->indexes[i];
    TR_TRY(tr_bank_index(model->selections[index->selection].bank, index->rows, tr_search_factory(index->search), model->progress,
                         &index->index));
  }
  return allocate_score_buffers(model);
}

/* ---- less than all features ---- */

static tr_status select_projected(tr_model *model, selection *s) {
  double begin = tr_seconds();
  s->order = malloc(s->rows * sizeof *s->order);
  if (!s->order)
    return tr_fail(TR_ENOMEM, "selecting %zu bank rows: out of memory", s->rows);
  TR_TRY(greedy_order(model, s, s->projected, s->projection));
  tr_device_free(model->device, s->projected);
  tr_device_free(model->device, s->matrix);
  s->projected = s->matrix = NULL;
  TR_TRY(tr_picks_create(model->device, s->order, s->rows, model->patches, model->d, s->in_host, &s->picks));
  s->seconds = tr_seconds() - begin;
  return model->file ? tr_picks_read(s->picks, model->file) : TR_OK;
}

static tr_status bank_of_picks(const tr_model *model, selection *s) {
  float *rows;
  TR_TRY(tr_picks_take(s->picks, &rows));
  tr_picks_destroy(s->picks);
  s->picks = NULL;
  return s->in_host ? tr_bank_create_in_host(model->device, rows, s->rows, model->d, tile_rows_of(model, s), &s->bank)
                    : tr_bank_create(model->device, rows, s->rows, model->d, &s->bank);
}

/* A selection's rows are complete when images have passed as often as it takes. */
static tr_status fit_end_less(tr_model *model) {
  bool again = false;
  for (size_t i = 0; i < model->selection_count; ++i) {
    selection *s = &model->selections[i];
    if (model->phase == FITTING && s->kind == TR_SUBSAMPLE_GREEDY) {
      TR_TRY(select_projected(model, s));
      again = again || !model->file;
    }
  }
  for (size_t i = 0; i < model->selection_count; ++i) {
    selection *s = &model->selections[i];
    if (!s->bank && !(again && s->kind == TR_SUBSAMPLE_GREEDY))
      TR_TRY(bank_of_picks(model, s));
  }
  model->phase = again ? FITTING_AGAIN : FITTED;
  if (again)
    return TR_OK;
  tr_feature_file_close(model->file);
  model->file = NULL;
  return prepare_scores(model);
}

static bool wants_again(const tr_model *model, uint8_t *images) {
  if (model->phase != FITTING_AGAIN)
    return false;
  for (size_t i = 0; i < model->selection_count; ++i)
    for (size_t image = 0; model->selections[i].picks && image < model->train_rows / model->patches; ++image)
      images[image] |= tr_picks_want(model->selections[i].picks, image);
  return true;
}

static tr_status fit_end(tr_model *model) {
  if (model->keep != TR_KEEP_FEATURES)
    return fit_end_less(model);
  selection *whole = NULL;
  for (size_t i = 0; i < model->selection_count; ++i) {
    if (model->selections[i].kind == TR_SUBSAMPLE_NONE)
      whole = &model->selections[i];
    else if (model->selections[i].kind == TR_SUBSAMPLE_LEARNED)
      TR_TRY(learn_rows(model, &model->selections[i]));
    else
      TR_TRY(select_rows(model, &model->selections[i]));
  }
  if (!whole) {
    free_features(model);
    return prepare_scores(model);
  }
  float *features = model->features;
  model->features = NULL;
  TR_TRY(model->features_in_host ? bank_from_host(model, whole, features)
                                 : tr_bank_create(model->device, features, model->train_rows, model->d, &whole->bank));
  return prepare_scores(model);
}

static void add_seconds(tr_model *model, double *sum, double seconds) {
  pthread_mutex_lock(&model->lock);
  *sum += seconds;
  pthread_mutex_unlock(&model->lock);
}

static tr_status search_exactly(tr_model *model, search *pass, const lane_buffers *b, const reference *found, size_t queries) {
  double begin = tr_seconds();
  TR_TRY(tr_bank_search(model->selections[pass->selection].bank, pass->rows, b->features, queries, model->patches, 1,
                        b->distances, b->indices, b->search_scratch));
  TR_TRY(tr_device_download(model->device, b->host_distances, b->distances, queries * sizeof(float)));
  TR_TRY(tr_device_sync(model->device));
  add_seconds(model, &pass->seconds, tr_seconds() - begin);
  if (!pass->is_reference)
    return TR_OK;
  memcpy(found->distances, b->host_distances, queries * sizeof(float));
  TR_TRY(tr_device_download(model->device, found->indices, b->indices, queries * sizeof(uint32_t)));
  return tr_device_sync(model->device);
}

/* An image at a time, so that the sums do not depend on the chunks. An index finds a nearest row too when it is another one just as
 * near. */
static void compare_image(const lane_buffers *b, const reference *exact, size_t first, size_t n, search *sums) {
  double error = 0;
  for (size_t i = first; i < first + n; ++i) {
    double distance = sqrt(fmax((double)b->host_distances[i], 0)), nearest = sqrt((double)exact->distances[i]);
    sums->right += b->host_indices[i] == exact->indices[i] || b->host_distances[i] == exact->distances[i];
    if (nearest > 0) {
      error += fabs(distance - nearest) / nearest;
      ++sums->measured;
    }
  }
  sums->compared += n;
  sums->error += llrint(error / ERROR_UNIT);
}

static tr_status search_index(tr_model *model, search *pass, const lane_buffers *b, size_t queries) {
  double seconds;
  TR_TRY(tr_index_search(model->indexes[pass->index].index, pass->effort, b->features, queries, model->patches, 1, b->distances,
                         b->indices, b->index_scratch, &seconds));
  TR_TRY(tr_device_download(model->device, b->host_distances, b->distances, queries * sizeof(float)));
  TR_TRY(tr_device_download(model->device, b->host_indices, b->indices, queries * sizeof(uint32_t)));
  TR_TRY(tr_device_sync(model->device));
  search sums = {0};
  for (size_t first = 0; pass->reference != NONE && first < queries; first += model->patches)
    compare_image(b, &b->references[pass->reference], first, model->patches, &sums);
  pthread_mutex_lock(&model->lock);
  pass->seconds += seconds;
  pass->compared += sums.compared;
  pass->right += sums.right;
  pass->measured += sums.measured;
  pass->error += sums.error;
  pthread_mutex_unlock(&model->lock);
  return TR_OK;
}

static void patch_scores_of(const tr_variant *variant, const float *squared, size_t count, float *scores) {
  for (size_t i = 0; i < count; ++i)
    scores[i] = variant->distance == TR_DISTANCE_EUCLIDEAN ? sqrtf(squared[i]) : squared[i];
}

static void image_maximum(const float *patch_scores, size_t n, size_t patches, float *scores) {
  for (size_t i = 0; i < n; ++i) {
    scores[i] = patch_scores[i * patches];
    for (size_t p = 1; p < patches; ++p)
      scores[i] = fmaxf(scores[i], patch_scores[i * patches + p]);
  }
}

static tr_status image_reweighted(const tr_model *model, const lane_buffers *b, const tr_bank *bank, size_t rows,
                                  const tr_variant *variant, size_t n, float *scores) {
  TR_TRY(tr_bank_reweight(bank, &(tr_reweight_args){.n = (int)n,
                                                    .patches = (int)model->patches,
                                                    .features = b->features,
                                                    .distances = b->distances,
                                                    .indices = b->indices,
                                                    .bank_rows = rows,
                                                    .b = variant->neighbours,
                                                    .scores = b->image_scores,
                                                    .scratch = b->reweight_scratch}));
  TR_TRY(tr_device_download(model->device, scores, b->image_scores, n * sizeof(float)));
  return tr_device_sync(model->device);
}

static tr_status score_images(tr_model *model, int lane, size_t n, const float *const *maps, float *patch_scores,
                              size_t variant_stride, float *image_scores, size_t image_stride) {
  lane_buffers *b = &model->buffers[lane];
  size_t queries = n * model->patches;
  double begin = tr_seconds();
  TR_TRY(aggregate_images(model, lane, n, maps, b->features));
  TR_TRY(tr_device_sync(model->device));
  add_seconds(model, &model->aggregate_seconds, tr_seconds() - begin);
  for (size_t s = 0; s < model->search_count; ++s) {
    search *pass = &model->searches[s];
    TR_TRY(pass->index == NONE ? search_exactly(model, pass, b, &b->references[s], queries)
                               : search_index(model, pass, b, queries));
    for (size_t v = 0; v < model->variant_count; ++v) {
      if (model->variant_search[v] != s)
        continue;
      const tr_variant *variant = &model->variants[v];
      patch_scores_of(variant, b->host_distances, queries, patch_scores + v * variant_stride);
      if (variant->image_score != TR_SCORE_REWEIGHTED)
        image_maximum(patch_scores + v * variant_stride, n, model->patches, image_scores + v * image_stride);
      else
        TR_TRY(image_reweighted(model, b, model->selections[pass->selection].bank, pass->rows, variant, n,
                                image_scores + v * image_stride));
    }
  }
  return TR_OK;
}

/* ---- a training image ---- */

/* The rows of a search that are of other images, as a bank. A whole bank has its rows in the images' order. */
static tr_status make_bank_without(const tr_model *model, const search *pass, size_t image, tr_bank **out) {
  const selection *s = &model->selections[pass->selection];
  uint32_t *others = malloc(pass->rows * sizeof *others);
  if (!others)
    return tr_fail(TR_ENOMEM, "patchcore: a bank of %zu rows without an image: out of memory", pass->rows);
  size_t count = 0, row_bytes = (size_t)model->d * sizeof(float);
  for (size_t i = 0; i < pass->rows; ++i)
    if ((s->order ? s->order[i] : i) / model->patches != image)
      others[count++] = (uint32_t)i;
  float *rows = NULL;
  tr_status status = count ? tr_device_alloc(model->device, count * row_bytes, (void **)&rows)
                           : tr_fail(TR_EINVAL, "patchcore: all bank rows are of one training image");
  if (status == TR_OK)
    status = tr_device_gather(model->device, rows, tr_bank_data(s->bank), others, count, row_bytes);
  if (status == TR_OK)
    status = tr_bank_create(model->device, rows, count, model->d, out);
  else
    tr_device_free(model->device, rows);
  free(others);
  return status;
}

/* `b`: lane 0's buffers, with scratch for this bank. */
static tr_status search_own(tr_model *model, const tr_variant *variant, const tr_bank *bank, const lane_buffers *b,
                            const float *const *maps, float *patch_scores, float *image_score) {
  size_t rows = tr_bank_rows(bank);
  TR_TRY(aggregate_images(model, 0, 1, maps, b->features));
  TR_TRY(tr_bank_search(bank, rows, b->features, model->patches, model->patches, 1, b->distances, b->indices, b->search_scratch));
  TR_TRY(tr_device_download(model->device, b->host_distances, b->distances, model->patches * sizeof(float)));
  TR_TRY(tr_device_sync(model->device));
  patch_scores_of(variant, b->host_distances, model->patches, patch_scores);
  if (variant->image_score == TR_SCORE_REWEIGHTED)
    return image_reweighted(model, b, bank, rows, variant, 1, image_score);
  image_maximum(patch_scores, 1, model->patches, image_score);
  return TR_OK;
}

static tr_status score_against(tr_model *model, const tr_variant *variant, const tr_bank *bank, const float *const *maps,
                               float *patch_scores, float *image_score) {
  lane_buffers b = model->buffers[0];
  size_t rows = tr_bank_rows(bank), reweight = 0;
  if (variant->image_score == TR_SCORE_REWEIGHTED && (size_t)variant->neighbours > rows)
    return tr_fail(TR_EINVAL, "patchcore: %d neighbours of the %zu bank rows that are not a training image's own",
                   variant->neighbours, rows);
  if (variant->image_score == TR_SCORE_REWEIGHTED)
    reweight = tr_bank_reweight_scratch(bank, 1, (int)model->patches, rows, variant->neighbours);
  b.search_scratch = b.reweight_scratch = NULL;
  size_t search_bytes = tr_bank_search_scratch(bank, model->patches, model->patches, rows, 1);
  tr_status status = tr_device_alloc(model->device, search_bytes, &b.search_scratch);
  if (status == TR_OK)
    status = tr_device_alloc(model->device, reweight, &b.reweight_scratch);
  if (status == TR_OK)
    status = search_own(model, variant, bank, &b, maps, patch_scores, image_score);
  tr_device_free(model->device, b.search_scratch);
  tr_device_free(model->device, b.reweight_scratch);
  return status;
}

static tr_status score_own(tr_model *model, size_t variant, size_t image, const float *const *maps, float *patch_scores,
                           float *image_score) {
  const search *pass = &model->searches[model->variant_search[variant]];
  const selection *s = &model->selections[pass->selection];
  if (s->kind == TR_SUBSAMPLE_LEARNED || tr_bank_is_in_host(s->bank))
    return tr_fail(TR_EINVAL, "patchcore: training images are scored against rows on the device only, not %s",
                   s->kind == TR_SUBSAMPLE_LEARNED ? "learned proxies" : "rows in host memory");
  tr_bank *bank;
  TR_TRY(make_bank_without(model, pass, image, &bank));
  tr_status status = score_against(model, &model->variants[variant], bank, maps, patch_scores, image_score);
  tr_bank_destroy(bank);
  return status;
}

static tr_status info(const tr_model *model, size_t variant, tr_model_info *out) {
  if (variant >= model->variant_count)
    return tr_fail(TR_EINVAL, "patchcore: there is no variant %zu of %zu", variant, model->variant_count);
  const search *pass = &model->searches[model->variant_search[variant]];
  *out = (tr_model_info){.bank_rows = pass->rows,
                         .dimension = model->d,
                         .coreset_seconds = model->selections[pass->selection].seconds,
                         .nearest_seconds = pass->seconds / model->lanes,
                         .aggregate_seconds = model->aggregate_seconds / model->lanes,
                         .recall_at_1 = pass->compared ? (double)pass->right / (double)pass->compared : NAN,
                         .distance_error = pass->measured ? (double)pass->error * ERROR_UNIT / (double)pass->measured : NAN};
  if (pass->index != NONE && model->indexes[pass->index].index) {
    out->index_seconds = tr_index_build_seconds(model->indexes[pass->index].index);
    out->index_bytes = tr_index_bytes(model->indexes[pass->index].index);
  }
  return TR_OK;
}

static const uint32_t *bank_order(const tr_model *model, size_t variant, size_t *rows) {
  const search *pass = &model->searches[model->variant_search[variant]];
  *rows = pass->rows;
  return model->selections[pass->selection].order;
}

/* ---- forecast ---- */

/* Of the row-pick pairs of a greedy selection, this part was multiplied on MVTec bottle (kernels/cpu/coreset.c). */
#define CORESET_PART 0.27

static void count_macs(const tr_model *model, size_t test_images, tr_method_needs *out) {
  for (size_t i = 0; i < model->selection_count; ++i) {
    const selection *s = &model->selections[i];
    if (s->kind == TR_SUBSAMPLE_LEARNED)
      out->fit_macs += tr_learn_proxies_macs(model->train_rows, model->d, s->rows);
    if (s->kind == TR_SUBSAMPLE_GREEDY)
      out->fit_macs += CORESET_PART * (double)model->train_rows * (double)s->rows * s->projection;
  }
  for (size_t i = 0; i < model->index_count; ++i)
    out->fit_macs += tr_index_build_macs(tr_search_factory(model->indexes[i].search), model->indexes[i].rows, model->d);
  for (size_t i = 0; i < model->search_count; ++i) {
    const search *pass = &model->searches[i];
    double query_macs = pass->index == NONE ? (double)pass->rows * model->d
                                            : tr_index_query_macs(tr_search_factory(model->indexes[pass->index].search),
                                                                  pass->effort, pass->rows, model->d);
    out->score_macs += (double)(test_images * model->patches) * query_macs;
  }
}

/* Scores leave the model chunk by chunk: memory does not depend on the number of test images. */
static tr_status forecast(const tr_method_options *options, size_t test_images, tr_method_needs *out) {
  *out = (tr_method_needs){0};
  TR_TRY(tr_aggregate_shape(&options->aggregate, &out->grid_h, &out->grid_w, &out->dimension));
  tr_model *model;
  TR_TRY(plan_model(options, true, &model));
  place_memory(model, room_for(options), true);
  out->held_bytes = needs_of_features(model).all;
  out->file_bytes = model->keep == TR_KEEP_IN_FILE ? features_bytes(model) : 0;
  for (size_t i = 0; i < model->selection_count; ++i)
    out->again |= model->keep == TR_KEEP_NOTHING && model->selections[i].kind == TR_SUBSAMPLE_GREEDY;
  out->fit_bytes = needs_of_fit(model).all;
  out->score_bytes = needs_of_scores(model).all;
  count_macs(model, test_images, out);
  release_model(model);
  return TR_OK;
}

/* ---- files ---- */

static tr_model_array rows_array(const float *rows, size_t count, int d) {
  return (tr_model_array){"rows", TR_ARRAY_F4, 2, {count, (size_t)d}, rows, true};
}

/* Absent where the bank is all rows, or has been learned. */
static tr_model_array order_array(const uint32_t *order, size_t count) {
  return (tr_model_array){"order", TR_ARRAY_U4, 1, {count}, order, false};
}

/* An index as a file of FAISS. */
static tr_model_array index_array(const void *data, size_t bytes) {
  return (tr_model_array){"index", TR_ARRAY_U1, 1, {bytes}, data, false};
}

static tr_status write_settings(const tr_model *model, const tr_variant *v, size_t index_bytes, cJSON *out) {
  const tr_aggregate_spec *a = &model->aggregate;
  size_t train_images = model->train_rows / model->patches, count;
  const struct {
    const char *name;
    double value;
  } numbers[] = {{"train_images", (double)train_images},
                 {"patch", a->patch},
                 {"stride", a->stride},
                 {"layer_dimension", a->layer_dimension},
                 {"dimension", a->dimension},
                 {"seed", (double)v->seed},
                 {"percent", v->percent},
                 {"projection", v->projection},
                 {"neighbours", v->neighbours},
                 {"nprobe", v->nprobe},
                 {"ef_search", v->ef_search},
                 {"index_bytes", (double)index_bytes}};
  bool complete = cJSON_AddStringToObject(out, "aggregate", tr_aggregate_names(&count)[a->kind]) &&
                  cJSON_AddStringToObject(out, "subsampling", tr_subsampling_names(&count)[v->subsampling]) &&
                  cJSON_AddStringToObject(out, "image_score", tr_image_score_names(&count)[v->image_score]) &&
                  cJSON_AddStringToObject(out, "distance", tr_distance_names(&count)[v->distance]) &&
                  cJSON_AddStringToObject(out, "search", v->search ? v->search : TR_SEARCH_EXACT);
  for (size_t i = 0; complete && i < sizeof numbers / sizeof *numbers; ++i)
    complete = cJSON_AddItemToObject(out, numbers[i].name, tr_json_number(numbers[i].value));
  if (complete && model->given_rows)
    complete = cJSON_AddItemToObject(out, "bank_rows", tr_json_number((double)model->given_rows));
  return complete ? tr_model_maps_to_json(a, out) : tr_fail(TR_ENOMEM, "writing a model's settings: out of memory");
}

static tr_status save(const tr_model *model, size_t variant, const char *path, const char *about) {
  const search *pass = variant < model->variant_count ? &model->searches[model->variant_search[variant]] : NULL;
  const selection *s = pass ? &model->selections[pass->selection] : NULL;
  if (!s || !s->bank)
    return tr_fail(TR_EINVAL, "patchcore: variant %zu of %zu is not there or not fitted", variant, model->variant_count);
  void *index = NULL;
  size_t index_bytes = 0, count = 1;
  if (pass->index != NONE)
    TR_TRY(tr_index_to_memory(model->indexes[pass->index].index, &index, &index_bytes));
  tr_model_array arrays[3] = {rows_array(tr_bank_data(s->bank), pass->rows, model->d)};
  arrays[0].on_device = !tr_bank_is_in_host(s->bank);
  if (s->order)
    arrays[count++] = order_array(s->order, pass->rows);
  if (index)
    arrays[count++] = index_array(index, index_bytes);
  cJSON *settings = cJSON_CreateObject();
  tr_status status = settings ? write_settings(model, &model->variants[variant], index_bytes, settings)
                              : tr_fail(TR_ENOMEM, "writing %s: out of memory", path);
  if (status == TR_OK)
    status = tr_model_file_write(
        path, model->device,
        &(tr_model_content){.method = "patchcore", .settings = settings, .about = about, .arrays = arrays, .array_count = count});
  cJSON_Delete(settings);
  free(index);
  return status;
}

static tr_status read_choices(const cJSON *settings, tr_method_options *options, tr_variant *variant) {
  const struct {
    const char *name;
    const char *const *(*names)(size_t *count);
  } choices[] = {{"aggregate", tr_aggregate_names},
                 {"subsampling", tr_subsampling_names},
                 {"image_score", tr_image_score_names},
                 {"distance", tr_distance_names}};
  int values[4];
  for (size_t i = 0; i < 4; ++i) {
    size_t count;
    const char *const *names = choices[i].names(&count);
    TR_TRY(tr_json_get_choice(settings, choices[i].name, names, count, &values[i]));
  }
  options->aggregate.kind = (tr_aggregate_kind)values[0];
  variant->subsampling = (tr_subsampling)values[1];
  variant->image_score = (tr_image_score)values[2];
  variant->distance = (tr_distance)values[3];
  return TR_OK;
}

/* Files from before there were indexes say nothing of a search. */
static tr_status read_search(const cJSON *settings, tr_variant *variant) {
  const cJSON *name = cJSON_GetObjectItemCaseSensitive(settings, "search");
  double nprobe, ef_search;
  if (!name)
    return TR_OK;
  if (!cJSON_IsString(name))
    return tr_fail(TR_EFORMAT, "\"search\": expected a text");
  TR_TRY(tr_json_get_whole(settings, "nprobe", 0, INT32_MAX, &nprobe));
  TR_TRY(tr_json_get_whole(settings, "ef_search", 0, INT32_MAX, &ef_search));
  variant->search = name->valuestring;
  variant->nprobe = (int)nprobe;
  variant->ef_search = (int)ef_search;
  return TR_OK;
}

static tr_status read_settings(const cJSON *settings, tr_method_options *options, tr_variant *variant) {
  tr_aggregate_spec *a = &options->aggregate;
  double images, seed;
  const struct {
    const char *name;
    int *value;
  } integers[] = {{"patch", &a->patch},
                  {"stride", &a->stride},
                  {"layer_dimension", &a->layer_dimension},
                  {"dimension", &a->dimension},
                  {"projection", &variant->projection},
                  {"neighbours", &variant->neighbours}};
  TR_TRY(tr_model_maps_from_json(settings, a));
  TR_TRY(read_choices(settings, options, variant));
  TR_TRY(read_search(settings, variant));
  for (size_t i = 0; i < sizeof integers / sizeof *integers; ++i) {
    double value;
    TR_TRY(tr_json_get_whole(settings, integers[i].name, 0, INT32_MAX, &value));
    *integers[i].value = (int)value;
  }
  TR_TRY(tr_json_get_number(settings, "percent", &variant->percent));
  TR_TRY(tr_json_get_whole(settings, "seed", 0, 0x1p53, &seed));
  TR_TRY(tr_json_get_whole(settings, "train_images", 1, UINT32_MAX, &images));
  variant->seed = (uint64_t)seed;
  options->train_images = (size_t)images;
  return TR_OK;
}

/* Any number of rows, in place of the variant's percentage. */
static tr_status take_given_rows(const cJSON *settings, tr_model *model) {
  double rows;
  if (!cJSON_HasObjectItem(settings, "bank_rows"))
    return TR_OK;
  TR_TRY(tr_json_get_whole(settings, "bank_rows", 1, UINT32_MAX - 1.0, &rows));
  const tr_variant *v = &model->variants[0];
  if (v->subsampling != TR_SUBSAMPLE_LEARNED || model->index_count)
    return tr_fail(TR_EFORMAT, "a bank whose rows are given has no selection and no index");
  if (v->image_score == TR_SCORE_REWEIGHTED && v->neighbours > rows)
    return tr_fail(TR_EFORMAT, "a bank of %.0f rows for the %d neighbours of its image score", rows, v->neighbours);
  model->given_rows = model->selections[0].rows = model->searches[0].rows = (size_t)rows;
  return TR_OK;
}

static tr_status load_bank(const tr_model_file *file, tr_model *model) {
  selection *s = &model->selections[0];
  size_t rows = model->searches[0].rows;
  tr_model_array wanted = rows_array(NULL, rows, model->d), wanted_order = order_array(NULL, rows);
  void *bank_rows;
  if (s->kind == TR_SUBSAMPLE_GREEDY || s->kind == TR_SUBSAMPLE_RANDOM) {
    const void *order;
    TR_TRY(tr_model_file_array(file, &wanted_order, &order));
    s->order = malloc(rows * sizeof *s->order);
    if (!s->order)
      return tr_fail(TR_ENOMEM, "%zu bank rows: out of memory", rows);
    memcpy(s->order, order, rows * sizeof *s->order);
  }
  if (s->in_host) {
    const void *mapped;
    TR_TRY(tr_model_file_array(file, &wanted, &mapped));
    TR_TRY(tr_device_alloc_pinned(model->device, rows * (size_t)model->d * sizeof(float), &bank_rows));
    memcpy(bank_rows, mapped, rows * (size_t)model->d * sizeof(float));
    return bank_from_host(model, s, bank_rows);
  }
  TR_TRY(tr_model_file_upload(file, model->device, &wanted, &bank_rows));
  return tr_bank_create(model->device, bank_rows, rows, model->d, &s->bank);
}

/* The file is closed before the model ends. */
static tr_status keep_search_name(tr_model *model) {
  if (!model->variants[0].search)
    return TR_OK;
  model->loaded_search = strdup(model->variants[0].search);
  if (!model->loaded_search)
    return tr_fail(TR_ENOMEM, "loading a model: out of memory");
  model->variants[0].search = model->loaded_search;
  if (model->index_count)
    model->indexes[0].search = model->loaded_search;
  return TR_OK;
}

static tr_status load_index(const tr_model_file *file, tr_model *model) {
  if (!model->index_count)
    return TR_OK;
  double bytes;
  const void *data;
  bank_index *index = &model->indexes[0];
  TR_TRY(tr_json_get_whole(tr_model_file_settings(file), "index_bytes", 1, 0x1p53, &bytes));
  tr_model_array wanted = index_array(NULL, (size_t)bytes);
  TR_TRY(tr_model_file_array(file, &wanted, &data));
  TR_TRY(tr_index_from_memory(model->device, "array \"index\"", data, (size_t)bytes, &index->index));
  if (tr_index_rows(index->index) == index->rows && tr_index_dimension(index->index) == model->d)
    return TR_OK;
  return tr_fail(TR_EFORMAT, "array \"index\": expected an index of %zu rows of %d dimensions, found %zu of %d", index->rows,
                 model->d, tr_index_rows(index->index), tr_index_dimension(index->index));
}

static tr_status load(tr_device *device, const tr_model_file *file, tr_model **out) {
  *out = NULL;
  tr_variant variant = {0};
  tr_method_options options = {.device = device, .variants = &variant, .variant_count = 1};
  tr_model *model = NULL;
  tr_status status = read_settings(tr_model_file_settings(file), &options, &variant);
  if (status == TR_OK)
    status = plan_model(&options, false, &model);
  if (status == TR_OK)
    status = keep_search_name(model);
  if (status == TR_OK)
    status = take_given_rows(tr_model_file_settings(file), model);
  if (status == TR_OK) {
    place_memory(model, room_for(&options), false);
    status = allocate_aggregate_scratch(model);
  }
  if (status == TR_OK)
    status = load_bank(file, model);
  if (status == TR_OK)
    status = load_index(file, model);
  if (status == TR_OK)
    status = allocate_score_buffers(model);
  if (status != TR_OK) {
    destroy(model);
    return tr_fail_context(status, "reading the model %s", tr_model_file_path(file));
  }
  *out = model;
  return TR_OK;
}

const tr_method tr_method_patchcore = {
    .name = "patchcore",
    .create = create,
    .destroy = destroy,
    .fit_images = fit_images,
    .fit_end = fit_end,
    .wants_again = wants_again,
    .score_images = score_images,
    .score_own = score_own,
    .info = info,
    .bank_order = bank_order,
    .forecast = forecast,
    .save = save,
    .load = load,
};
