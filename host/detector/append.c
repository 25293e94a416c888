/* Appending images to a detector. */
#include "host/detector/append.h"
#include "host/base/clock.h"
#include "host/base/status.h"
#include "host/detector/scorer.h"
#include "host/detector/threshold.h"
#include "host/harness/room.h"
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

static bool features_in_file(const tr_append_plan *plan) {
  return plan->keep == TR_KEEP_IN_FILE || plan->keep == TR_KEEP_ALL_IN_FILES;
}

static bool projected_in_file(const tr_append_plan *plan) {
  return plan->keep == TR_KEEP_PROJECTED_IN_FILE || plan->keep == TR_KEEP_ALL_IN_FILES;
}

static size_t features_bytes(const tr_append_plan *plan) {
  return new_patches(plan) * (size_t)plan->bank.d * sizeof(float);
}

static size_t projected_bytes(const tr_append_plan *plan) {
  return all_rows(plan) * (size_t)selected_by(plan) * sizeof(float);
}

/* Patches that pass through a lane at once. */
static size_t lane_patches(const tr_append_options *o, const tr_append_plan *plan) {
  return tr_device_chunk(o->device) * (size_t)plan->bank.grid_h * (size_t)plan->bank.grid_w;
}

/* Features, projected ones, what makes them, and those on their way to files. */
static size_t lane_bytes(const tr_append_options *o, const tr_append_plan *plan) {
  size_t patches = lane_patches(o, plan), features = patches * (size_t)plan->bank.d * sizeof(float);
  size_t projected = projected_in_file(plan) ? patches * (size_t)selected_by(plan) * sizeof(float) : 0;
  return features + 2 * projected + (features_in_file(plan) ? features : 0) +
         tr_aggregate_scratch(o->device, &plan->bank.maps, (int)tr_device_chunk(o->device)) +
         tr_project_bytes(o->device, patches, plan->bank.d, selected_by(plan));
}

/* Picks, with the one more that says how far the farthest patch is from the others. */
static size_t most_picks(const tr_append_plan *plan) {
  size_t allowed = rows_allowed(plan), rows = all_rows(plan);
  return allowed < rows ? allowed + 1 : rows;
}

/* Rows of the new bank about, where a radius decides: as many for an image as before. */
static size_t rows_expected(const tr_append_plan *plan) {
  size_t old = plan->bank.row_count, allowed = rows_allowed(plan);
  size_t alike = old + old * plan->images.images.train_count / plan->bank.about.train_images;
  return plan->goal.radius > 0 && alike < allowed ? alike : allowed;
}

/* Picks that there is memory for at first. Where that turns out to be too few the selection is taken up again with more. */
static size_t picks_at_first(const tr_append_plan *plan) {
  size_t expected = rows_expected(plan), some = expected + expected / 4 + 1, most = most_picks(plan);
  return plan->goal.radius > 0 && some < most ? some : most;
}

static size_t scratch_bytes(const tr_append_options *o, const tr_append_plan *plan, size_t picks) {
  return projected_in_file(plan) ? tr_coreset_read_scratch(o->device, all_rows(plan), selected_by(plan), picks)
                                 : tr_coreset_scratch(o->device, all_rows(plan), selected_by(plan), picks);
}

/* Of the selection: the matrix, rows projected, its scratch, and what lanes take. */
static size_t selection_bytes(const tr_append_options *o, const tr_append_plan *plan) {
  return (size_t)plan->bank.d * (size_t)selected_by(plan) * sizeof(float) +
         (projected_in_file(plan) ? 0 : projected_bytes(plan)) + (size_t)tr_device_lanes(o->device) * lane_bytes(o, plan) +
         scratch_bytes(o, plan, picks_at_first(plan));
}

static tr_status forecast_keeping(const tr_append_options *o, tr_append_plan *plan, tr_scorer_needs *needs) {
  tr_scorer_options options = scorer_options(o, plan);
  TR_TRY(tr_scorer_forecast(&options, plan->images.most_bytes, needs));
  plan->needs = (tr_method_needs){.again = plan->keep == TR_KEEP_NOTHING || plan->keep == TR_KEEP_PROJECTED_IN_FILE};
  plan->needs.file_bytes += features_in_file(plan) ? features_bytes(plan) : 0;
  plan->needs.file_bytes += projected_in_file(plan) ? projected_bytes(plan) : 0;
  plan->peak_bytes = plan->base_bytes + needs->score_bytes + selection_bytes(o, plan);
  plan->peak_bytes += (2 * rows_expected(plan) - plan->bank.row_count) * (size_t)plan->bank.d *
                      sizeof(float); /* new rows, and all of them together */
  plan->peak_bytes += plan->keep == TR_KEEP_FEATURES ? features_bytes(plan) : 0;
  return TR_OK;
}

/* As host/harness/room.h asks. */
typedef struct room_case {
  const tr_append_options *options;
  const tr_append_plan *plan;
} room_case;

static tr_status forecast_case(void *context, const tr_setting *setting, size_t train_images, tr_keep keep, tr_room_needs *out) {
  const room_case *c = context;
  tr_append_plan tried = *c->plan;
  tr_scorer_needs needs;
  if (setting != tried.bank.about.setting)
    return tr_fail(TR_EINVAL, "a detector that grows has its own settings");
  tried.images.images.train_count = train_images;
  tried.keep = keep;
  TR_TRY(forecast_keeping(c->options, &tried, &needs));
  *out = (tr_room_needs){.peak_bytes = tried.peak_bytes,
                         .again = tried.needs.again,
                         .file_bytes = tried.needs.file_bytes,
                         .pixels = tried.images.mean_pixels,
                         .macs = needs.backbone_macs * (double)tr_tiling_count(&needs.tiling),
                         .image_h = tried.images.in_h,
                         .image_w = tried.images.in_w};
  return TR_OK;
}

/* Without a limit, new features get half of what is free. */
static tr_status forecast(const tr_append_options *o, tr_append_plan *plan) {
  double file_rate = 0;
  room_case c = {o, plan};
  tr_room room = {.device = o->device,
                  .setting = plan->bank.about.setting,
                  .train_images = plan->images.images.train_count,
                  .forecast = forecast_case,
                  .context = &c,
                  .file_rate = &file_rate};
  tr_scorer_needs needs;
  plan->base_bytes = tr_memory_now_bytes();
  TR_TRY(forecast_keeping(o, plan, &needs));
  size_t limit = o->memory_limit ? o->memory_limit : plan->base_bytes + tr_memory_free_bytes() / 2;
  if (plan->peak_bytes <= limit)
    return TR_OK;
  TR_TRY(tr_room_keep_less(&room, limit, &plan->keep));
  TR_TRY(forecast_keeping(o, plan, &needs));
  if (!o->memory_limit || plan->peak_bytes <= o->memory_limit)
    return TR_OK;
  tr_status status = tr_room_refuse(&room, o->memory_limit);
  return tr_fail_context(status, "appending %zu images", plan->images.images.train_count);
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
  char peak[32], keep[160];
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
  if (tr_room_keep_text(&plan->needs, keep, sizeof keep))
    fprintf(text, "├─ %s\n", keep);
  fprintf(text, "└─ peak %s\n", tr_format_bytes(plan->peak_bytes, peak, sizeof peak));
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
  float *projected;                      /* likewise, on their way to the file */
  float *host_features, *host_projected; /* the same in host memory */
} lane;

typedef struct growth {
  const tr_append_options *options;
  const tr_append_plan *plan;
  tr_scorer *scorer;
  size_t grid;                     /* patches of a tile */
  float *projected;                /* device, [bank rows + new patches, d*] */
  tr_feature_file *projected_file; /* in place of that */
  float *matrix;                   /* device, [d*, d]; NULL where features are not projected */
  lane *lanes;
  float *kept;           /* [new patches, d], or NULL */
  tr_feature_file *file; /* the same in a file, or NULL */
  uint32_t *order;       /* of all rows: the bank's, then the picks, each a row of `projected` */
  size_t rows;           /* of the new bank */
  double cover;          /* of the new patches */
  tr_picks *picks;
} growth;

static void release(growth *g) {
  tr_device *device = g->options->device;
  for (int i = 0; g->lanes && i < tr_device_lanes(device); ++i) {
    tr_device_free(device, g->lanes[i].features);
    tr_device_free(device, g->lanes[i].scratch);
    tr_device_free(device, g->lanes[i].projected);
    free(g->lanes[i].host_features);
    free(g->lanes[i].host_projected);
  }
  tr_device_free(device, g->projected);
  tr_feature_file_close(g->projected_file);
  tr_feature_file_close(g->file);
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

/* What passes through a lane, and through it into files. */
static tr_status allocate_lane(const growth *g, lane *l) {
  tr_device *device = g->options->device;
  size_t patches = lane_patches(g->options, g->plan), features = patches * (size_t)g->plan->bank.d * sizeof(float);
  size_t projected = patches * (size_t)selected_by(g->plan) * sizeof(float);
  TR_TRY(tr_device_alloc(device, features, (void **)&l->features));
  TR_TRY(tr_device_alloc(device, tr_aggregate_scratch(device, &g->plan->bank.maps, (int)tr_device_chunk(device)), &l->scratch));
  if (features_in_file(g->plan) && !(l->host_features = malloc(features)))
    return no_memory();
  if (!projected_in_file(g->plan))
    return TR_OK;
  l->host_projected = malloc(projected);
  return l->host_projected ? tr_device_alloc(device, projected, (void **)&l->projected) : no_memory();
}

static tr_status allocate(growth *g) {
  tr_device *device = g->options->device;
  const tr_append_plan *plan = g->plan;
  const char *folder = getenv("TMPDIR");
  folder = folder ? folder : "/tmp";
  g->lanes = calloc((size_t)tr_device_lanes(device), sizeof *g->lanes);
  g->kept = plan->keep == TR_KEEP_FEATURES ? malloc(features_bytes(plan)) : NULL;
  if (!g->lanes || (plan->keep == TR_KEEP_FEATURES && !g->kept))
    return no_memory();
  for (int i = 0; i < tr_device_lanes(device); ++i)
    TR_TRY(allocate_lane(g, &g->lanes[i]));
  if (features_in_file(plan))
    TR_TRY(tr_feature_file_create(folder, features_bytes(plan), &g->file));
  return projected_in_file(plan) ? tr_feature_file_create(folder, projected_bytes(plan), &g->projected_file)
                                 : tr_device_alloc(device, projected_bytes(plan), (void **)&g->projected);
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

/* Rows from `first` on, which are a lane's features: to where the selection finds them. */
static tr_status take_projected(const growth *g, const lane *l, size_t first, size_t n) {
  tr_device *device = g->options->device;
  size_t row_bytes = (size_t)selected_by(g->plan) * sizeof(float);
  if (!g->projected_file)
    return project(g, l->features, n, g->projected + first * (size_t)selected_by(g->plan));
  TR_TRY(project(g, l->features, n, l->projected));
  TR_TRY(tr_device_download(device, l->host_projected, l->projected, n * row_bytes));
  TR_TRY(tr_device_sync(device));
  return tr_feature_file_write(g->projected_file, first * row_bytes, l->host_projected, n * row_bytes);
}

static tr_status read_projected(void *context, size_t first, size_t n, float *rows) {
  const growth *g = context;
  size_t row_bytes = (size_t)selected_by(g->plan) * sizeof(float);
  return tr_feature_file_read(g->projected_file, first * row_bytes, rows, n * row_bytes);
}

/* Through a lane's memory, in its pieces. */
static tr_status project_bank(const growth *g) {
  const tr_bank_file *b = &g->plan->bank;
  size_t d = (size_t)b->d, piece = lane_patches(g->options, g->plan);
  for (size_t first = 0; first < b->row_count; first += piece) {
    size_t n = b->row_count - first < piece ? b->row_count - first : piece;
    TR_TRY(tr_device_upload(g->options->device, g->lanes[0].features, b->rows + first * d, n * d * sizeof(float)));
    TR_TRY(take_projected(g, &g->lanes[0], first, n));
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
  const lane *l = &g->lanes[number];
  TR_TRY(aggregate(g, number, n, maps));
  TR_TRY(take_projected(g, l, g->plan->bank.row_count + first, count));
  if (!g->kept && !g->file)
    return TR_OK;
  float *to = g->kept ? g->kept + first * d : l->host_features;
  TR_TRY(tr_device_download(g->options->device, to, l->features, count * d * sizeof(float)));
  TR_TRY(tr_device_sync(g->options->device));
  return g->file ? tr_feature_file_write(g->file, first * d * sizeof(float), to, count * d * sizeof(float)) : TR_OK;
}

typedef struct selection {
  size_t picks, picked; /* that there is memory for; that there are */
  float *radius;        /* [most_picks()] */
  void *scratch;        /* device, or host memory where rows are read */
} selection;

static tr_status allocate_scratch(const growth *g, selection *s) {
  size_t bytes = scratch_bytes(g->options, g->plan, s->picks);
  if (!g->projected_file)
    return tr_device_alloc(g->options->device, bytes, &s->scratch);
  s->scratch = malloc(bytes);
  return s->scratch ? TR_OK : no_memory();
}

static void free_scratch(const growth *g, selection *s) {
  if (g->projected_file)
    free(s->scratch);
  else
    tr_device_free(g->options->device, s->scratch);
  s->scratch = NULL;
}

/* From the rows that there are by now. */
static tr_status go_on(growth *g, selection *s) {
  size_t given = s->picked;
  TR_TRY(allocate_scratch(g, s));
  tr_status status = tr_coreset(g->options->device, &(tr_coreset_args){.n = all_rows(g->plan),
                                                                       .d = selected_by(g->plan),
                                                                       .rows = g->projected,
                                                                       .picks = s->picks,
                                                                       .order = g->order,
                                                                       .radius = s->radius,
                                                                       .given = given,
                                                                       .stop_radius = g->plan->goal.radius,
                                                                       .picked = &s->picked,
                                                                       .scratch = s->scratch,
                                                                       .read = g->projected_file ? read_projected : NULL,
                                                                       .read_context = g,
                                                                       .progress = g->options->progress});
  free_scratch(g, s);
  return status;
}

/* Twice as many picks, where the limit has room for what they take. */
static tr_status make_room(const growth *g, selection *s) {
  const tr_append_options *o = g->options;
  size_t most = most_picks(g->plan), picks = s->picks < most / 2 ? 2 * s->picks : most;
  size_t bytes = g->plan->peak_bytes + scratch_bytes(o, g->plan, picks) - scratch_bytes(o, g->plan, picks_at_first(g->plan)) +
                 2 * (picks - picks_at_first(g->plan)) * (size_t)g->plan->bank.d * sizeof(float);
  char need[32], given[32];
  if (o->memory_limit && bytes > o->memory_limit)
    return tr_fail(TR_ENOMEM,
                   "appending images: %zu rows, as many as were expected, leave a new patch %.6g from all of them; going on "
                   "needs %s, more than the memory limit of %s; --radius, --rows or --percent end it earlier",
                   s->picked, (double)s->radius[s->picked - 1], tr_format_bytes(bytes, need, sizeof need),
                   tr_format_bytes(o->memory_limit, given, sizeof given));
  s->picks = picks;
  return TR_OK;
}

/* The pick that would come next says how far the farthest patch is from the rows: one more than there may be, or what the radius stops at. */
static tr_status pick(growth *g, selection *s) {
  s->picks = picks_at_first(g->plan);
  s->picked = g->plan->bank.row_count;
  for (size_t i = 0; i < s->picked; ++i)
    g->order[i] = (uint32_t)i;
  TR_TRY(go_on(g, s));
  while (s->picked == s->picks && s->picks < most_picks(g->plan)) {
    TR_TRY(make_room(g, s));
    TR_TRY(go_on(g, s));
  }
  size_t allowed = rows_allowed(g->plan);
  g->rows = s->picked < allowed ? s->picked : allowed;
  g->cover = g->rows < all_rows(g->plan) ? (double)s->radius[g->rows] : 0;
  return TR_OK;
}

static tr_status select_rows(growth *g) {
  size_t most = most_picks(g->plan);
  selection s = {.radius = calloc(most, sizeof *s.radius)};
  g->order = calloc(most, sizeof *g->order);
  tr_status status = g->order && s.radius ? pick(g, &s) : no_memory();
  tr_device_free(g->options->device, g->projected);
  tr_feature_file_close(g->projected_file);
  g->projected = NULL;
  g->projected_file = NULL;
  free(s.radius);
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
static tr_status feed_picks(growth *g) {
  size_t units = new_patches(g->plan) / g->grid;
  uint8_t *wanted = calloc(units, sizeof *wanted);
  if (!wanted)
    return no_memory();
  for (size_t u = 0; u < units; ++u)
    wanted[u] = tr_picks_want(g->picks, u);
  const tr_class *images = &g->plan->images.images;
  tr_status status =
      tr_scorer_feed(g->scorer, "nominal images again",
                     &(tr_feed_list){.samples = images->train, .count = images->train_count, .wanted = wanted}, collect_units, g);
  free(wanted);
  return status;
}

/* From the file, or from images. */
static tr_status collect(growth *g, const uint32_t *patches, size_t count, float *to) {
  tr_device *device = g->options->device;
  float *rows = NULL;
  TR_TRY(tr_picks_create(device, patches, count, g->grid, g->plan->bank.d, true, &g->picks));
  TR_TRY(g->file ? tr_picks_read(g->picks, g->file) : feed_picks(g));
  TR_TRY(tr_picks_take(g->picks, &rows));
  memcpy(to, rows, count * (size_t)g->plan->bank.d * sizeof *to);
  tr_device_free_pinned(device, rows);
  return TR_OK;
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
