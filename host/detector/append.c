/* Appending images to a detector. */
#include "host/detector/append.h"
#include "host/base/clock.h"
#include "host/base/status.h"
#include "host/detector/scorer.h"
#include "host/detector/threshold.h"
#include "host/methods/picks.h"
#include "kernels/aggregate.h"
#include "kernels/coreset.h"
#include "kernels/project.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tr_status no_memory(void) {
  return tr_fail(TR_ENOMEM, "appending images: out of memory");
}

/* ---- plan ---- */

static size_t new_patches(const tr_append_plan *plan) {
  return plan->images.images.train_count * plan->bank.patches;
}

static size_t all_rows(const tr_append_plan *plan) {
  return plan->bank.row_count + new_patches(plan);
}

static int selected_by(const tr_append_plan *plan) {
  return plan->bank.about.setting->projection;
}

/* Rows of the new bank at most. Nothing is dropped. */
static size_t rows_allowed(const tr_append_plan *plan) {
  size_t patches = tr_bank_file_patches(&plan->bank) + new_patches(plan);
  size_t rows = tr_bank_goal_rows(&plan->goal, patches, all_rows(plan));
  return rows > plan->bank.row_count ? rows : plan->bank.row_count;
}

static tr_status check_bank(const tr_append_options *o, tr_append_plan *plan) {
  const tr_bank_file *b = &plan->bank;
  plan->goal = o->goal;
  if (b->about.shard.of)
    return tr_fail(TR_EINVAL, "%s is shard %d of %d: merge the shards first", o->model, b->about.shard.number, b->about.shard.of);
  if (b->subsampling != TR_SUBSAMPLE_GREEDY)
    return tr_fail(TR_EINVAL, "%s: appending goes on with a greedy selection, and this bank's rows are %s", o->model,
                   b->subsampling == TR_SUBSAMPLE_NONE ? "all patches: merge it with a fit of the new images"
                                                       : tr_subsampling_name(b->subsampling));
  if (o->goal.percent > 0 || o->goal.rows || o->goal.radius > 0)
    return TR_OK;
  if (isnan(b->cover))
    return tr_fail(TR_EINVAL,
                   "%s does not know its covering radius, as an older version fitted it: say how large the bank is to be",
                   o->model);
  if (b->cover > 0)
    plan->goal.radius = b->cover;
  else
    plan->goal.percent = 100; /* it has all patches */
  return TR_OK;
}

static tr_status check_images(const tr_append_options *o, const tr_append_plan *plan) {
  const tr_about *about = &plan->bank.about;
  if (plan->images.in_h != about->in_h || plan->images.in_w != about->in_w)
    return tr_fail(TR_EINVAL, "images of %s are %dx%d after the resize, those that %s was fitted on %dx%d", o->data,
                   plan->images.in_w, plan->images.in_h, o->model, about->in_w, about->in_h);
  if (tr_bank_file_patches(&plan->bank) + new_patches(plan) > UINT32_MAX)
    return tr_fail(TR_EINVAL, "%zu more images give more than %u patches", plan->images.images.train_count, UINT32_MAX);
  return TR_OK;
}

static tr_scorer_options scorer_options(const tr_append_options *o, const tr_append_plan *plan) {
  return (tr_scorer_options){.device = o->device,
                             .setting = plan->bank.about.setting,
                             .in_h = plan->images.in_h,
                             .in_w = plan->images.in_w,
                             .train_images = plan->bank.about.train_images,
                             .progress = o->progress};
}

static size_t lane_features_bytes(const tr_append_options *o, const tr_append_plan *plan) {
  size_t grid = (size_t)plan->bank.grid_h * (size_t)plan->bank.grid_w;
  return tr_device_chunk(o->device) * grid * (size_t)plan->bank.d * sizeof(float);
}

/* Of the selection: rows projected, its scratch, and what lanes take. */
static size_t selection_bytes(const tr_append_options *o, const tr_append_plan *plan) {
  size_t rows = all_rows(plan), allowed = rows_allowed(plan), d_star = (size_t)selected_by(plan), d = (size_t)plan->bank.d;
  size_t lane = lane_features_bytes(o, plan) + tr_aggregate_scratch(o->device, &plan->bank.maps, (int)tr_device_chunk(o->device));
  return (rows + d) * d_star * sizeof(float) + (size_t)tr_device_lanes(o->device) * lane +
         tr_coreset_scratch(o->device, rows, (int)d_star, allowed < rows ? allowed + 1 : rows);
}

/* Rows of the new bank about, where a radius decides: as many for an image as before. */
static size_t rows_expected(const tr_append_plan *plan) {
  size_t old = plan->bank.row_count, allowed = rows_allowed(plan);
  size_t alike = old + old * plan->images.images.train_count / plan->bank.about.train_images;
  return plan->goal.radius > 0 && alike < allowed ? alike : allowed;
}

static tr_status forecast(const tr_append_options *o, tr_append_plan *plan) {
  tr_scorer_needs needs;
  tr_scorer_options options = scorer_options(o, plan);
  TR_TRY(tr_scorer_forecast(&options, plan->images.most_bytes, &needs));
  size_t row_bytes = (size_t)plan->bank.d * sizeof(float), features = new_patches(plan) * row_bytes;
  size_t base = tr_memory_now_bytes() + needs.score_bytes + selection_bytes(o, plan);
  base += (2 * rows_expected(plan) - plan->bank.row_count) * row_bytes; /* new rows, and all of them together */
  size_t left = o->memory_limit ? o->memory_limit : tr_memory_free_bytes() / 2;
  plan->keeps = base + features <= left;
  plan->peak_bytes = base + (plan->keeps ? features : 0);
  if (!o->memory_limit || plan->peak_bytes <= o->memory_limit)
    return TR_OK;
  char peak[32], limit[32];
  return tr_fail(TR_ENOMEM, "appending %zu images would take %s, and the limit is %s", plan->images.images.train_count,
                 tr_format_bytes(plan->peak_bytes, peak, sizeof peak), tr_format_bytes(o->memory_limit, limit, sizeof limit));
}

static tr_status prepare(const tr_append_options *o, tr_append_plan *plan) {
  TR_TRY(check_bank(o, plan));
  plan->fit = (tr_fit_options){.device = o->device,
                               .setting = plan->bank.about.setting,
                               .data = o->data,
                               .weights = o->weights,
                               .quantile = o->quantile,
                               .held_out = o->held_out,
                               .progress = o->progress};
  TR_TRY(tr_fit_look(&plan->fit, &plan->images));
  TR_TRY(check_images(o, plan));
  return forecast(o, plan);
}

tr_status tr_append_prepare(const tr_append_options *options, tr_append_plan *out) {
  *out = (tr_append_plan){0};
  TR_TRY(tr_bank_file_open(options->model, &out->bank));
  tr_status status = prepare(options, out);
  if (status != TR_OK)
    tr_append_plan_free(out);
  return status;
}

void tr_append_plan_free(tr_append_plan *plan) {
  tr_fit_plan_free(&plan->images);
  tr_bank_file_close(&plan->bank);
}

static void write_goal(FILE *out, const tr_append_plan *plan) {
  if (plan->goal.radius > 0)
    fprintf(out, "├─ rows until every new patch is within %.6g of one\n", plan->goal.radius);
  else
    fprintf(out, "├─ %zu rows\n", rows_allowed(plan));
}

tr_status tr_append_plan_text(const tr_append_options *o, const tr_append_plan *plan, char **out) {
  size_t bytes;
  char peak[32];
  *out = NULL;
  FILE *text = open_memstream(out, &bytes);
  if (!text)
    return no_memory();
  fprintf(text, "%zu nominal images of %s to %s: %zu rows of %zu images\n", plan->images.images.train_count, o->data, o->model,
          plan->bank.row_count, plan->bank.about.train_images);
  write_goal(text, plan);
  fprintf(text, "├─ weights %s\n", plan->images.weights);
  if (plan->images.images.test_count)
    fprintf(text, "├─ threshold: number %zu of the scores of %zu images\n",
            tr_threshold_rank(o->quantile, plan->images.images.test_count), plan->images.images.test_count);
  fprintf(text, "└─ peak %s%s\n", tr_format_bytes(plan->peak_bytes, peak, sizeof peak),
          plan->keeps ? "" : "; images with selected patches pass twice");
  if (fclose(text) == 0)
    return TR_OK;
  free(*out);
  *out = NULL;
  return no_memory();
}

/* ---- selection ---- */

typedef struct lane {
  float *features; /* device, of a chunk of tiles */
  void *scratch;
} lane;

typedef struct growth {
  const tr_append_options *options;
  const tr_append_plan *plan;
  tr_scorer *scorer;
  size_t grid;      /* patches of a tile */
  float *projected; /* device, [bank rows + new patches, d*] */
  float *matrix;    /* device, [d*, d]; NULL where features are not projected */
  lane *lanes;
  float *kept;     /* [new patches, d], or NULL */
  uint32_t *order; /* of all rows: the bank's, then the picks, each a row of `projected` */
  size_t rows;     /* of the new bank */
  double cover;    /* of the new patches */
  tr_picks *picks;
} growth;

static void release(growth *g) {
  tr_device *device = g->options->device;
  for (int i = 0; g->lanes && i < tr_device_lanes(device); ++i) {
    tr_device_free(device, g->lanes[i].features);
    tr_device_free(device, g->lanes[i].scratch);
  }
  tr_device_free(device, g->projected);
  tr_device_free(device, g->matrix);
  tr_picks_destroy(g->picks);
  tr_scorer_destroy(g->scorer);
  free(g->lanes);
  free(g->kept);
  free(g->order);
}

static tr_status make_matrix(growth *g) {
  int d = g->plan->bank.d, d_star = selected_by(g->plan);
  size_t bytes = (size_t)d * (size_t)d_star * sizeof(float);
  if (d == d_star)
    return TR_OK;
  float *host = malloc(bytes);
  tr_status status = host ? tr_device_alloc(g->options->device, bytes, (void **)&g->matrix) : no_memory();
  if (status == TR_OK) {
    tr_project_matrix(g->plan->bank.about.setting->seed, d, d_star, host);
    status = tr_device_upload(g->options->device, g->matrix, host, bytes);
  }
  free(host);
  return status;
}

static tr_status allocate(growth *g) {
  tr_device *device = g->options->device;
  size_t row_bytes = (size_t)g->plan->bank.d * sizeof(float), chunk = tr_device_chunk(device);
  g->lanes = calloc((size_t)tr_device_lanes(device), sizeof *g->lanes);
  g->kept = g->plan->keeps ? malloc(new_patches(g->plan) * row_bytes) : NULL;
  if (!g->lanes || (g->plan->keeps && !g->kept))
    return no_memory();
  for (int i = 0; i < tr_device_lanes(device); ++i) {
    TR_TRY(tr_device_alloc(device, chunk * g->grid * row_bytes, (void **)&g->lanes[i].features));
    TR_TRY(tr_device_alloc(device, tr_aggregate_scratch(device, &g->plan->bank.maps, (int)chunk), &g->lanes[i].scratch));
  }
  return tr_device_alloc(device, all_rows(g->plan) * (size_t)selected_by(g->plan) * sizeof(float), (void **)&g->projected);
}

/* Rows of features, device, as the selection sees them. */
static tr_status project(const growth *g, const float *features, size_t n, float *to) {
  tr_device *device = g->options->device;
  int d = g->plan->bank.d, d_star = selected_by(g->plan);
  if (!g->matrix)
    return tr_device_copy(device, to, features, n * (size_t)d * sizeof(float));
  return tr_project(device,
                    &(tr_project_args){.n = n, .d = d, .d_star = d_star, .src = features, .matrix = g->matrix, .dst = to});
}

/* Through a lane's memory, in its pieces. */
static tr_status project_bank(const growth *g) {
  const tr_bank_file *b = &g->plan->bank;
  size_t d = (size_t)b->d, piece = tr_device_chunk(g->options->device) * g->grid;
  for (size_t first = 0; first < b->row_count; first += piece) {
    size_t n = b->row_count - first < piece ? b->row_count - first : piece;
    float *rows = g->lanes[0].features;
    TR_TRY(tr_device_upload(g->options->device, rows, b->rows + first * d, n * d * sizeof(float)));
    TR_TRY(project(g, rows, n, g->projected + first * (size_t)selected_by(g->plan)));
  }
  return TR_OK;
}

static tr_status aggregate(const growth *g, int number, size_t n, const float *const *maps) {
  tr_aggregate_args args = {
      .spec = g->plan->bank.maps, .n = (int)n, .dst = g->lanes[number].features, .scratch = g->lanes[number].scratch};
  for (int i = 0; i < args.spec.layers; ++i)
    args.maps[i] = maps[i];
  return tr_aggregate(g->options->device, &args);
}

/* All tiles of all images are fed, so that units of a call follow each other. */
static tr_status take_units(void *context, int number, const size_t *units, size_t n, const float *const *maps) {
  growth *g = context;
  size_t first = units[0] * g->grid, count = n * g->grid, d = (size_t)g->plan->bank.d;
  const float *features = g->lanes[number].features;
  TR_TRY(aggregate(g, number, n, maps));
  TR_TRY(project(g, features, count, g->projected + (g->plan->bank.row_count + first) * (size_t)selected_by(g->plan)));
  if (!g->kept)
    return TR_OK;
  TR_TRY(tr_device_download(g->options->device, g->kept + first * d, features, count * d * sizeof(float)));
  return tr_device_sync(g->options->device);
}

/* The pick that would come next says how far the farthest patch is from the rows: one more than there may be, or what the radius stops at. */
static tr_status pick(growth *g, void *scratch, float *radius, size_t picks) {
  size_t picked = 0, given = g->plan->bank.row_count;
  for (size_t i = 0; i < given; ++i)
    g->order[i] = (uint32_t)i;
  TR_TRY(tr_coreset(g->options->device, &(tr_coreset_args){.n = all_rows(g->plan),
                                                           .d = selected_by(g->plan),
                                                           .rows = g->projected,
                                                           .picks = picks,
                                                           .order = g->order,
                                                           .radius = radius,
                                                           .given = given,
                                                           .stop_radius = g->plan->goal.radius,
                                                           .picked = &picked,
                                                           .scratch = scratch,
                                                           .progress = g->options->progress}));
  size_t allowed = rows_allowed(g->plan);
  g->rows = picked < allowed ? picked : allowed;
  g->cover = g->rows < all_rows(g->plan) ? (double)radius[g->rows] : 0;
  return TR_OK;
}

static tr_status select_rows(growth *g) {
  tr_device *device = g->options->device;
  size_t allowed = rows_allowed(g->plan), rows = all_rows(g->plan), picks = allowed < rows ? allowed + 1 : rows;
  void *scratch = NULL;
  g->order = calloc(picks, sizeof *g->order);
  float *radius = calloc(picks, sizeof *radius);
  tr_status status = g->order && radius ? TR_OK : no_memory();
  if (status == TR_OK)
    status = tr_device_alloc(device, tr_coreset_scratch(device, rows, selected_by(g->plan), picks), &scratch);
  if (status == TR_OK)
    status = pick(g, scratch, radius, picks);
  tr_device_free(device, scratch);
  tr_device_free(device, g->projected);
  g->projected = NULL;
  free(radius);
  return status;
}

/* ---- the new rows ---- */

static tr_status collect_units(void *context, int number, const size_t *units, size_t n, const float *const *maps) {
  growth *g = context;
  TR_TRY(aggregate(g, number, n, maps));
  for (size_t i = 0; i < n; ++i)
    TR_TRY(tr_picks_collect(g->picks, units[i], g->lanes[number].features + i * g->grid * (size_t)g->plan->bank.d));
  return tr_device_sync(g->options->device);
}

/* Tiles with picks pass once more. */
static tr_status collect(growth *g, const uint32_t *patches, size_t count, float *to) {
  tr_device *device = g->options->device;
  size_t images = g->plan->images.images.train_count, units = new_patches(g->plan) / g->grid;
  uint8_t *wanted = calloc(units, sizeof *wanted);
  float *rows = NULL;
  tr_status status = wanted ? tr_picks_create(device, patches, count, g->grid, g->plan->bank.d, true, &g->picks) : no_memory();
  for (size_t u = 0; status == TR_OK && u < units; ++u)
    wanted[u] = tr_picks_want(g->picks, u);
  if (status == TR_OK)
    status = tr_scorer_feed(g->scorer, "nominal images again",
                            &(tr_feed_list){.samples = g->plan->images.images.train, .count = images, .wanted = wanted},
                            collect_units, g);
  if (status == TR_OK)
    status = tr_picks_take(g->picks, &rows);
  if (status == TR_OK)
    memcpy(to, rows, count * (size_t)g->plan->bank.d * sizeof *to);
  tr_device_free_pinned(device, rows);
  free(wanted);
  return status;
}

/* The new bank: order as patches of all images, rows as features. */
static tr_status gather(growth *g, uint32_t *order, float *rows) {
  const tr_bank_file *b = &g->plan->bank;
  size_t d = (size_t)b->d, old = b->row_count, count = g->rows - old, patches = tr_bank_file_patches(b);
  memcpy(order, b->order, old * sizeof *order);
  memcpy(rows, b->rows, old * d * sizeof *rows);
  for (size_t i = old; i < g->rows; ++i)
    g->order[i] -= (uint32_t)old; /* new patches from 0 on */
  if (count && !g->kept)
    TR_TRY(collect(g, g->order + old, count, rows + old * d));
  for (size_t i = old; i < g->rows; ++i) {
    order[i] = (uint32_t)(patches + g->order[i]);
    if (g->kept)
      memcpy(rows + i * d, g->kept + g->order[i] * d, d * sizeof *rows);
  }
  return TR_OK;
}

static tr_status write_bank(const growth *g, const uint32_t *order, const float *rows, const char *path) {
  const tr_bank_file *b = &g->plan->bank;
  const tr_class *images = &g->plan->images.images;
  tr_bank_content content = {.rows = rows,
                             .order = order,
                             .row_count = g->rows,
                             .cover = fmax(b->cover, g->cover),
                             .train_images = b->about.train_images + images->train_count};
  if (isnan(b->cover))
    content.cover = NAN;
  tr_status status = TR_OK;
  if (b->about.sources.count) /* a list of some images would be one of none */
    status = tr_sources_append(&content.sources, &b->about.sources, false);
  if (status == TR_OK && b->about.sources.count)
    status = tr_sources_add(&content.sources, g->options->data, images->train, images->train_count);
  if (status == TR_OK)
    status = tr_bank_file_write(g->options->device, b, &content, g->options->progress, path);
  tr_sources_free(&content.sources);
  return status;
}

static tr_status gather_and_write(growth *g, const char *path) {
  float *rows = malloc((g->rows + 1) * (size_t)g->plan->bank.d * sizeof *rows);
  uint32_t *order = malloc((g->rows + 1) * sizeof *order);
  tr_status status = rows && order ? gather(g, order, rows) : no_memory();
  if (status == TR_OK)
    status = write_bank(g, order, rows, path);
  free(rows);
  free(order);
  return status;
}

static tr_status grow(growth *g, const char *path) {
  const tr_class *images = &g->plan->images.images;
  TR_TRY(make_matrix(g));
  TR_TRY(allocate(g));
  TR_TRY(project_bank(g));
  TR_TRY(tr_scorer_feed(g->scorer, "nominal images", &(tr_feed_list){.samples = images->train, .count = images->train_count},
                        take_units, g));
  TR_TRY(select_rows(g));
  return gather_and_write(g, path);
}

/* ---- all of it ---- */

static tr_status create_scorer(const tr_append_options *o, const tr_append_plan *plan, const tr_bank_file *bank,
                               tr_scorer **out) {
  tr_weights *weights;
  TR_TRY(tr_weights_open(plan->images.weights, &weights));
  tr_scorer_options options = scorer_options(o, plan);
  options.setting = bank->about.setting;
  options.train_images = bank->about.train_images;
  options.weights = weights;
  options.file = bank->file;
  tr_status status = tr_about_check_weights(&bank->about, weights);
  if (status == TR_OK)
    status = tr_scorer_create(&options, out);
  tr_weights_close(weights);
  if (status == TR_OK)
    return tr_scorer_make_room(*out, plan->images.most_bytes);
  return tr_fail_context(status, "model %s", o->model);
}

static void tell(const growth *g, const char *path) {
  const tr_bank_file *b = &g->plan->bank;
  tr_progress_line(g->options->progress, "%s: %zu rows, %zu of them of %zu new images", path, g->rows, g->rows - b->row_count,
                   g->plan->images.images.train_count);
  if (!isnan(b->cover))
    tr_progress_line(g->options->progress,
                     "no training patch is farther than %.6g from its nearest row, as the selection measures (old ones %.6g, new "
                     "ones %.6g)",
                     fmax(b->cover, g->cover), b->cover, g->cover);
}

static tr_status score_held_out(const tr_append_options *o, const tr_append_plan *plan, const tr_bank_file *bank,
                                tr_threshold *out) {
  tr_scorer *scorer = NULL;
  tr_status status = create_scorer(o, plan, bank, &scorer);
  if (status == TR_OK)
    status = tr_threshold_find(scorer, o->quantile, &plan->images.images, o->progress, out);
  tr_scorer_destroy(scorer);
  return status;
}

static tr_status add_threshold(const tr_append_options *o, const tr_append_plan *plan, const char *path) {
  tr_bank_file bank;
  tr_threshold threshold;
  TR_TRY(tr_bank_file_open(path, &bank));
  tr_status status = score_held_out(o, plan, &bank, &threshold);
  tr_bank_file_close(&bank);
  return status == TR_OK ? tr_threshold_write(o->device, path, &threshold, path) : status;
}

/* The bank's file is there, without a threshold. */
static tr_status finish(const tr_append_options *o, const tr_append_plan *plan, const char *path) {
  if (!o->quantile) {
    if (plan->bank.about.threshold.images)
      tr_progress_line(o->progress,
                       "the threshold was of the old bank and is gone; --quantile or `totalrecall bank threshold` makes one");
    return TR_OK;
  }
  tr_status status = add_threshold(o, plan, path);
  return status == TR_OK ? TR_OK : tr_fail_context(status, "%s is there, but without a threshold", path);
}

tr_status tr_append_run(const tr_append_options *o, const tr_append_plan *plan, const char *path) {
  growth g = {.options = o, .plan = plan, .grid = (size_t)plan->bank.grid_h * (size_t)plan->bank.grid_w};
  TR_TRY(tr_file_check_writable(path));
  TR_TRY(create_scorer(o, plan, &plan->bank, &g.scorer));
  tr_status status = grow(&g, path);
  if (status == TR_OK)
    tell(&g, path);
  release(&g);
  return status == TR_OK ? finish(o, plan, path) : status;
}

/* ---- the public API ---- */

static tr_status append(const tr_append_options *options, const char *path) {
  tr_append_plan plan;
  TR_TRY(tr_append_prepare(options, &plan));
  tr_status status = tr_append_run(options, &plan, path);
  tr_append_plan_free(&plan);
  return status;
}

tr_status tr_detector_append(const tr_detector_options *options, const char *folder, const tr_bank_goal *goal, const char *path) {
  if (!options->model || !options->weights || !folder || !path)
    return tr_fail(TR_EINVAL, "appending images: expected a model, weights, a folder and a file to write, found no %s",
                   !options->model     ? "model"
                   : !options->weights ? "weights"
                   : !folder           ? "folder"
                                       : "file");
  tr_append_options o = {.model = options->model, .data = folder, .weights = options->weights};
  if (goal)
    o.goal = *goal;
  TR_TRY(tr_device_open(options->device ? options->device : "cpu", options->threads, &o.device));
  tr_status status = append(&o, path);
  tr_device_close(o.device);
  return status;
}
