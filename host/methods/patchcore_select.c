/* PatchCore's bank: rows selected from the training features, or learned. */
#include "host/base/clock.h"
#include "host/base/rng.h"
#include "host/base/status.h"
#include "host/methods/cover.h"
#include "host/methods/patchcore.h"
#include "host/methods/proxies.h"
#include "kernels/coreset.h"
#include "kernels/project.h"

#include <stdlib.h>
#include <string.h>

/* Official ApproximateGreedyCoresetSampler: number_of_starting_points. */
enum { STARTING_POINTS = 10 };

static tr_status read_projected(void *context, size_t first, size_t n, float *rows) {
  const tr_selection *s = context;
  size_t row_bytes = (size_t)s->projection * sizeof(float);
  return tr_feature_file_read(s->projected_file, first * row_bytes, rows, n * row_bytes);
}

static tr_status allocate_coreset(const tr_model *model, tr_coreset_args *args) {
  if (!args->read)
    return tr_device_alloc(model->device, tr_coreset_scratch(model->device, args->n, args->d, args->picks), &args->scratch);
  args->scratch = malloc(tr_coreset_read_scratch(model->device, args->n, args->d, args->picks));
  return args->scratch ? TR_OK : tr_fail(TR_ENOMEM, "coreset: selecting %zu of %zu rows: out of memory", args->picks, args->n);
}

static void free_coreset(const tr_model *model, const tr_coreset_args *args) {
  if (args->read)
    free(args->scratch);
  else
    tr_device_free(model->device, args->scratch);
}

/* What a selection gave: so many picks; and of one more, which may be left out, how far it is from those before. */
typedef struct picking {
  tr_coreset_args args;
  size_t picked;
  bool more;
} picking;

static bool stops_here(const tr_search *search, double reach) {
  return search->radius > 0 && reach < search->radius;
}

/* A search's rows: up to its radius where that comes first. One at least, also where that was left out. */
static size_t rows_of_search(const tr_search *search, const picking *p) {
  size_t most = search->rows < p->picked ? search->rows : p->picked, rows = 1;
  while (rows < most && !stops_here(search, (double)p->args.radius[rows]))
    ++rows;
  return rows;
}

/* The largest reach after so many picks; where a selection stopped for time, at most that. */
static double reach_after(const tr_model *model, const picking *p, size_t rows) {
  if (rows == model->train_rows)
    return 0;
  return (double)p->args.radius[rows < p->picked + p->more ? rows : rows - 1];
}

static tr_status measure_cover(const tr_model *model, const picking *p, const tr_search *search, double *out) {
  double reach = reach_after(model, p, search->rows);
  return tr_cover_radius(model->device,
                         &(tr_cover_args){.n = model->train_rows,
                                          .d = p->args.d,
                                          .rows = p->args.rows,
                                          .start = p->args.start,
                                          .starts = p->args.starts,
                                          .order = p->args.order,
                                          .picks = search->rows,
                                          .reach = reach,
                                          .read = p->args.read,
                                          .read_context = p->args.read_context},
                         out);
}

/* Rows and covering radius of each search. */
static tr_status end_selection(tr_model *model, tr_selection *s, const picking *p) {
  size_t most = 0;
  for (size_t i = 0; i < model->search_count; ++i) {
    tr_search *search = &model->searches[i];
    if (&model->selections[search->selection] != s)
      continue;
    search->rows = rows_of_search(search, p);
    most = search->rows > most ? search->rows : most;
    if (search->index != TR_NONE)
      model->indexes[search->index].rows = search->rows;
    size_t before = 0;
    while (before < i && (model->searches[before].selection != search->selection || model->searches[before].rows != search->rows))
      ++before;
    if (before < i)
      search->cover = model->searches[before].cover;
    else if (model->measure_cover && search->rows < model->train_rows)
      TR_TRY(measure_cover(model, p, search, &search->cover));
    else if (model->measure_cover)
      search->cover = 0;
  }
  s->rows = most;
  memcpy(s->order, p->args.order, most * sizeof *s->order);
  return TR_OK;
}

static tr_status check_neighbours(const tr_model *model, const tr_selection *s) {
  for (size_t v = 0; s->stops && v < model->variant_count; ++v) {
    const tr_search *search = &model->searches[model->variant_search[v]];
    if (&model->selections[search->selection] == s && model->variants[v].image_score == TR_SCORE_REWEIGHTED &&
        (size_t)model->variants[v].neighbours > search->rows)
      return tr_fail(TR_EINVAL, "patchcore: the selection ended after %zu rows, fewer than the %d neighbours of the image score",
                     search->rows, model->variants[v].neighbours);
  }
  return TR_OK;
}

/* Rows that stop at a radius are counted in float, whatever else is asked for: the operator stops a little later. */
#define BELOW(radius) ((radius) * (1 - 1e-6))

/* One pick more says how far the farthest row is from those before it. */
static tr_status pick_rows(tr_model *model, tr_selection *s, picking *p) {
  tr_coreset_args *args = &p->args;
  size_t picks = s->rows + (model->measure_cover && s->rows < model->train_rows);
  args->picks = picks;
  args->stop_radius = BELOW(s->stop_radius);
  args->stop_seconds = s->stop_seconds;
  args->picked = &p->picked;
  args->order = malloc(picks * sizeof *args->order);
  args->radius = malloc(picks * sizeof *args->radius);
  tr_status status = args->order && args->radius ? TR_OK : tr_fail(TR_ENOMEM, "coreset: %zu picks: out of memory", s->rows);
  if (status == TR_OK)
    status = allocate_coreset(model, args);
  if (status == TR_OK)
    status = tr_coreset(model->device, args);
  free_coreset(model, args);
  if (status == TR_OK)
    p->more = args->stop_radius > 0 && p->picked < picks && args->radius[p->picked] > 0;
  return status;
}

/* Of rows in memory, or of those in the selection's file. */
static tr_status greedy_order(tr_model *model, tr_selection *s, const float *rows, int d) {
  uint64_t drawn[STARTING_POINTS];
  uint32_t start[STARTING_POINTS];
  size_t starts = model->train_rows < STARTING_POINTS ? model->train_rows : STARTING_POINTS;
  tr_rng rng = tr_rng_make(s->seed, TR_RNG_CORESET_START, 0);
  TR_TRY(tr_rng_sample(&rng, model->train_rows, starts, drawn));
  for (size_t i = 0; i < starts; ++i)
    start[i] = (uint32_t)drawn[i];
  picking p = {.args = {.n = model->train_rows,
                        .d = d,
                        .rows = rows,
                        .start = start,
                        .starts = starts,
                        .read = s->projected_file ? read_projected : NULL,
                        .read_context = s,
                        .progress = model->progress}};
  tr_status status = pick_rows(model, s, &p);
  if (status == TR_OK)
    status = end_selection(model, s, &p);
  free(p.args.order);
  free(p.args.radius);
  return status == TR_OK ? check_neighbours(model, s) : status;
}

static tr_status project_rows(const tr_model *model, const tr_selection *s, const float *matrix, const float *rows, size_t n,
                              float *projected) {
  return tr_project(
      model->device,
      &(tr_project_args){.n = n, .d = model->d, .d_star = s->projection, .src = rows, .matrix = matrix, .dst = projected});
}

/* From host memory chunk by chunk: a row's result does not depend on its company. */
static tr_status project_from_host(const tr_model *model, const tr_selection *s, const float *matrix, float *projected) {
  size_t d = (size_t)model->d, chunk = model->chunk * model->patches;
  for (size_t first = 0; first < model->train_rows; first += chunk) {
    size_t n = model->train_rows - first < chunk ? model->train_rows - first : chunk;
    float *rows = model->buffers[0].features;
    TR_TRY(tr_device_upload(model->device, rows, model->features + first * d, n * d * sizeof(float)));
    TR_TRY(project_rows(model, s, matrix, rows, n, projected + first * (size_t)s->projection));
  }
  return TR_OK;
}

static tr_status make_matrix(const tr_model *model, const tr_selection *s, float **out) {
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

static tr_status project_features(const tr_model *model, const tr_selection *s, float *projected) {
  float *matrix = NULL;
  tr_status status = make_matrix(model, s, &matrix);
  if (status == TR_OK)
    status = model->features_in_host ? project_from_host(model, s, matrix, projected)
                                     : project_rows(model, s, matrix, model->features, model->train_rows, projected);
  tr_device_free(model->device, matrix);
  return status;
}

static tr_status select_greedy(tr_model *model, tr_selection *s) {
  if (!tr_patchcore_selects_by_copy(model, s))
    return greedy_order(model, s, model->features, model->d);
  size_t bytes = model->train_rows * (size_t)s->projection * sizeof(float);
  float *projected;
  TR_TRY(tr_device_alloc(model->device, bytes, (void **)&projected));
  tr_status status = tr_patchcore_projects(model, s) ? project_features(model, s, projected)
                                                     : tr_device_upload(model->device, projected, model->features, bytes);
  if (status == TR_OK)
    status = greedy_order(model, s, projected, s->projection);
  tr_device_free(model->device, projected);
  return status;
}

/* A prefix of one permutation of all rows, so that a percentage's rows do not depend on what else is asked for. */
static tr_status select_random(const tr_model *model, tr_selection *s) {
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

static tr_status gather_bank(tr_model *model, tr_selection *s) {
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

tr_status tr_patchcore_bank_from_host(const tr_model *model, tr_selection *s, float *rows) {
  if (s->in_host)
    return tr_bank_create_in_host(model->device, rows, s->rows, model->d, tr_patchcore_tile_rows(model, s), &s->bank);
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

static tr_status gather_bank_from_host(tr_model *model, tr_selection *s) {
  size_t d = (size_t)model->d;
  float *rows;
  TR_TRY(tr_device_alloc_pinned(model->device, s->rows * d * sizeof(float), (void **)&rows));
  for (size_t i = 0; i < s->rows; ++i)
    memcpy(rows + i * d, model->features + s->order[i] * d, d * sizeof(float));
  return tr_patchcore_bank_from_host(model, s, rows);
}

tr_status tr_patchcore_learn(tr_model *model, tr_selection *s) {
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
    TR_TRY(tr_patchcore_bank_from_host(model, s, rows));
  } else {
    TR_TRY(tr_bank_create(model->device, learned, s->rows, model->d, &s->bank));
  }
  s->seconds = tr_seconds() - begin;
  return TR_OK;
}

tr_status tr_patchcore_select(tr_model *model, tr_selection *s) {
  double begin = tr_seconds();
  s->order = malloc(s->rows * sizeof *s->order);
  if (!s->order)
    return tr_fail(TR_ENOMEM, "selecting %zu bank rows: out of memory", s->rows);
  TR_TRY(s->kind == TR_SUBSAMPLE_GREEDY ? select_greedy(model, s) : select_random(model, s));
  TR_TRY(model->features_in_host ? gather_bank_from_host(model, s) : gather_bank(model, s));
  s->seconds = tr_seconds() - begin;
  return TR_OK;
}

/* ---- less than all features ---- */

tr_status tr_patchcore_prepare(tr_model *model, tr_selection *s, const char *folder) {
  if (s->kind == TR_SUBSAMPLE_GREEDY) {
    size_t bytes = tr_patchcore_projected_bytes(model, s);
    TR_TRY(make_matrix(model, s, &s->matrix));
    return tr_patchcore_projected_in_file(model) ? tr_feature_file_create(folder, bytes, &s->projected_file)
                                                 : tr_device_alloc(model->device, bytes, (void **)&s->projected);
  }
  s->order = malloc(s->rows * sizeof *s->order);
  if (!s->order)
    return tr_fail(TR_ENOMEM, "selecting %zu bank rows: out of memory", s->rows);
  TR_TRY(select_random(model, s));
  return tr_picks_create(model->device, s->order, s->rows, model->patches, model->d, s->in_host, &s->picks);
}

/* Through the lane's memory into the file. */
static tr_status spill_projected(const tr_model *model, const tr_selection *s, int lane, size_t first, size_t rows,
                                 const float *features) {
  const tr_lane_buffers *b = &model->buffers[lane];
  size_t row_bytes = (size_t)s->projection * sizeof(float);
  TR_TRY(project_rows(model, s, s->matrix, features, rows, b->projected));
  TR_TRY(tr_device_download(model->device, b->host_projected, b->projected, rows * row_bytes));
  TR_TRY(tr_device_sync(model->device));
  return tr_feature_file_write(s->projected_file, first * row_bytes, b->host_projected, rows * row_bytes);
}

tr_status tr_patchcore_take_images(const tr_model *model, tr_selection *s, int lane, size_t first, size_t n,
                                   const float *features) {
  size_t rows = model->patches, d = (size_t)model->d;
  if (model->phase == FITTING && s->kind == TR_SUBSAMPLE_GREEDY)
    return s->projected_file
               ? spill_projected(model, s, lane, first * rows, n * rows, features)
               : project_rows(model, s, s->matrix, features, n * rows, s->projected + first * rows * (size_t)s->projection);
  for (size_t i = 0; s->picks && i < n; ++i)
    TR_TRY(tr_picks_collect(s->picks, first + i, features + i * rows * d));
  return TR_OK;
}

tr_status tr_patchcore_select_projected(tr_model *model, tr_selection *s) {
  double begin = tr_seconds();
  s->order = malloc(s->rows * sizeof *s->order);
  if (!s->order)
    return tr_fail(TR_ENOMEM, "selecting %zu bank rows: out of memory", s->rows);
  TR_TRY(greedy_order(model, s, s->projected, s->projection));
  tr_device_free(model->device, s->projected);
  tr_device_free(model->device, s->matrix);
  tr_feature_file_close(s->projected_file);
  s->projected = s->matrix = NULL;
  s->projected_file = NULL;
  TR_TRY(tr_picks_create(model->device, s->order, s->rows, model->patches, model->d, s->in_host, &s->picks));
  s->seconds = tr_seconds() - begin;
  return model->file ? tr_picks_read(s->picks, model->file) : TR_OK;
}

tr_status tr_patchcore_bank_of_picks(const tr_model *model, tr_selection *s) {
  float *rows;
  TR_TRY(tr_picks_take(s->picks, &rows));
  tr_picks_destroy(s->picks);
  s->picks = NULL;
  return s->in_host ? tr_bank_create_in_host(model->device, rows, s->rows, model->d, tr_patchcore_tile_rows(model, s), &s->bank)
                    : tr_bank_create(model->device, rows, s->rows, model->d, &s->bank);
}
