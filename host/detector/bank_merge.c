/* Merging banks. */
#include "host/detector/bank_merge.h"
#include "host/base/status.h"
#include "kernels/coreset.h"
#include "kernels/project.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 4096 }; /* rows on the device at a time before they are projected */

typedef struct union_of {
  const tr_merge_banks_options *options;
  tr_bank_file *banks; /* [count] */
  size_t images, patches, rows;
  double cover; /* of all patches by the union; then by what was selected of it */
  uint32_t *picks;
  float *content;
  uint32_t *order;
} union_of;

static tr_status no_memory(void) {
  return tr_fail(TR_ENOMEM, "merging banks: out of memory");
}

/* ---- what is merged ---- */

static int by_shard(const void *a, const void *b) {
  const tr_bank_file *x = a, *y = b;
  return x->about.shard.number - y->about.shard.number;
}

/* All parts of a fit, each once, or none. */
static tr_status sort_shards(union_of *u) {
  size_t count = u->options->count, of = (size_t)u->banks[0].about.shard.of;
  for (size_t i = 0; i < count; ++i)
    if ((size_t)u->banks[i].about.shard.of != of)
      return tr_fail(TR_EINVAL, "%s and %s are parts of different fits; merge the parts of each first",
                     tr_model_file_path(u->banks[0].file), tr_model_file_path(u->banks[i].file));
  if (!of)
    return TR_OK;
  qsort(u->banks, count, sizeof *u->banks, by_shard);
  for (size_t i = 0; i < count || i < of; ++i) {
    size_t number = i < count ? (size_t)u->banks[i].about.shard.number : of + 1;
    if (number < i + 1)
      return tr_fail(TR_EINVAL, "%s and %s are both shard %zu of %zu", tr_model_file_path(u->banks[i - 1].file),
                     tr_model_file_path(u->banks[i].file), number, of);
    if (number > i + 1)
      return tr_fail(TR_EINVAL, "shard %zu of %zu is missing", i + 1, of);
  }
  return TR_OK;
}

static tr_status check(union_of *u) {
  const tr_bank_goal *goal = &u->options->goal;
  u->cover = 0;
  for (size_t i = 0; i < u->options->count; ++i) {
    const tr_bank_file *b = &u->banks[i];
    TR_TRY(tr_bank_file_same(&u->banks[0], b));
    u->images += b->about.train_images;
    u->rows += b->row_count;
    u->cover = isnan(u->cover) || isnan(b->cover) ? NAN : fmax(u->cover, b->cover);
  }
  u->patches = u->images * u->banks[0].patches;
  if (u->patches > UINT32_MAX || u->rows >= UINT32_MAX)
    return tr_fail(TR_EINVAL, "merging banks: %zu images give %zu patches; at most %u are possible", u->images, u->patches,
                   UINT32_MAX);
  if ((goal->percent > 0 || goal->rows || goal->radius > 0) && u->banks[0].subsampling != TR_SUBSAMPLE_GREEDY)
    return tr_fail(TR_EINVAL,
                   "%s: a bank whose rows are %s is merged as it is; only greedily selected rows can be selected again",
                   tr_model_file_path(u->banks[0].file), tr_subsampling_name(u->banks[0].subsampling));
  return sort_shards(u);
}

/* Bank and row of row `row` of the union; *images: those of the banks before it. */
static const tr_bank_file *locate(const union_of *u, size_t *row, size_t *images) {
  const tr_bank_file *b = u->banks;
  for (*images = 0; *row >= b->row_count; ++b) {
    *row -= b->row_count;
    *images += b->about.train_images;
  }
  return b;
}

/* ---- a selection of the union ---- */

static tr_status project_bank(tr_device *device, const tr_bank_file *b, const float *matrix, int d_star, float *chunk,
                              float *to) {
  size_t d = (size_t)b->d;
  for (size_t first = 0; first < b->row_count; first += CHUNK) {
    size_t n = b->row_count - first < CHUNK ? b->row_count - first : CHUNK;
    float *at = to + first * (size_t)d_star;
    TR_TRY(tr_device_upload(device, matrix ? chunk : at, b->rows + first * d, n * d * sizeof(float)));
    if (matrix)
      TR_TRY(
          tr_project(device, &(tr_project_args){.n = n, .d = b->d, .d_star = d_star, .src = chunk, .matrix = matrix, .dst = at}));
  }
  return TR_OK;
}

/* As the selections were made: features of that dimension are not projected (host/methods/method.h). */
static tr_status project_union(const union_of *u, int d_star, float *to) {
  tr_device *device = u->options->device;
  int d = u->banks[0].d;
  size_t bytes = (size_t)d * (size_t)d_star * sizeof(float);
  bool projects = d != d_star;
  float *host = projects ? malloc(bytes) : NULL, *matrix = NULL, *chunk = NULL;
  tr_status status = host || !projects ? TR_OK : no_memory();
  if (status == TR_OK && projects) {
    tr_project_matrix(u->banks[0].about.setting->seed, d, d_star, host);
    status = tr_device_alloc(device, bytes, (void **)&matrix);
    if (status == TR_OK)
      status = tr_device_upload(device, matrix, host, bytes);
    if (status == TR_OK)
      status = tr_device_alloc(device, (size_t)CHUNK * (size_t)d * sizeof(float), (void **)&chunk);
  }
  for (size_t i = 0; status == TR_OK && i < u->options->count; ++i) {
    status = project_bank(device, &u->banks[i], matrix, d_star, chunk, to);
    to += u->banks[i].row_count * (size_t)d_star;
  }
  tr_device_free(device, chunk);
  tr_device_free(device, matrix);
  free(host);
  return status;
}

/* From the first row on. *radius: to stop at, or 0; then what is left, which the pick that would come next says. */
static tr_status pick(union_of *u, const float *projected, int d_star, size_t rows, double *radius, size_t *picked) {
  size_t picks = rows + (rows < u->rows), all = 0;
  float *radii = calloc(picks, sizeof *radii);
  void *scratch = NULL;
  u->picks = calloc(picks, sizeof *u->picks);
  tr_status status = radii && u->picks ? TR_OK : no_memory();
  if (status == TR_OK)
    status = tr_device_alloc(u->options->device, tr_coreset_scratch(u->options->device, u->rows, d_star, picks), &scratch);
  if (status == TR_OK)
    status = tr_coreset(u->options->device, &(tr_coreset_args){.n = u->rows,
                                                               .d = d_star,
                                                               .rows = projected,
                                                               .picks = picks,
                                                               .given = 1,
                                                               .order = u->picks,
                                                               .radius = radii,
                                                               .stop_radius = *radius,
                                                               .picked = &all,
                                                               .scratch = scratch,
                                                               .progress = u->options->progress});
  if (status == TR_OK) {
    *picked = all < rows ? all : rows;
    *radius = *picked < u->rows ? (double)radii[*picked] : 0;
  }
  tr_device_free(u->options->device, scratch);
  free(radii);
  return status;
}

/* What the selection may leave of a radius that is asked for of all patches. */
static tr_status radius_left(const union_of *u, double *out) {
  double wanted = u->options->goal.radius;
  *out = wanted > 0 ? wanted - u->cover : 0;
  if (wanted > 0 && !(*out > 0))
    return tr_fail(TR_EINVAL, "merging banks: a radius of %g cannot be had: that of the banks alone is %g", wanted, u->cover);
  return TR_OK;
}

static tr_status select_rows(union_of *u, size_t *picked) {
  tr_device *device = u->options->device;
  int d_star = u->banks[0].about.setting->projection;
  float *projected = NULL;
  double radius;
  size_t rows = tr_bank_goal_rows(&u->options->goal, u->patches, u->rows);
  TR_TRY(radius_left(u, &radius));
  TR_TRY(tr_device_alloc(device, u->rows * (size_t)d_star * sizeof(float), (void **)&projected));
  tr_status status = project_union(u, d_star, projected);
  if (status == TR_OK)
    status = pick(u, projected, d_star, rows, &radius, picked);
  tr_device_free(device, projected);
  u->cover += radius;
  return status;
}

/* ---- the merged bank ---- */

static tr_status gather(union_of *u, size_t count) {
  size_t d = (size_t)u->banks[0].d, images;
  bool patches = u->banks[0].order;
  u->content = malloc(count * d * sizeof *u->content);
  u->order = patches ? malloc(count * sizeof *u->order) : NULL;
  if (!u->content || (patches && !u->order))
    return no_memory();
  for (size_t i = 0; i < count; ++i) {
    size_t row = u->picks ? u->picks[i] : i;
    const tr_bank_file *b = locate(u, &row, &images);
    memcpy(u->content + i * d, b->rows + row * d, d * sizeof *u->content);
    if (patches)
      u->order[i] = (uint32_t)(images * b->patches + b->order[row]);
  }
  return TR_OK;
}

/* Unknown where one of them does not know. */
static tr_status gather_sources(const union_of *u, tr_sources *out) {
  for (size_t i = 0; i < u->options->count; ++i)
    if (!u->banks[i].about.sources.count)
      return TR_OK;
  for (size_t i = 0; i < u->options->count; ++i)
    TR_TRY(tr_sources_append(out, &u->banks[i].about.sources, u->banks[i].about.shard.of > 0));
  return TR_OK;
}

static tr_status write(const union_of *u, size_t rows, const char *path) {
  tr_bank_content content = {
      .rows = u->content, .order = u->order, .row_count = rows, .cover = u->cover, .train_images = u->images};
  tr_status status = gather_sources(u, &content.sources);
  if (status == TR_OK)
    status = tr_bank_file_write(u->options->device, &u->banks[0], &content, u->options->progress, path);
  tr_sources_free(&content.sources);
  return status;
}

static tr_status merge(union_of *u, const char *path, tr_merged_banks *out) {
  const tr_bank_goal *goal = &u->options->goal;
  size_t rows = 0;
  TR_TRY(check(u));
  rows = u->rows;
  if (goal->percent > 0 || goal->rows || goal->radius > 0)
    TR_TRY(select_rows(u, &rows));
  TR_TRY(gather(u, rows));
  TR_TRY(write(u, rows, path));
  *out = (tr_merged_banks){.images = u->images, .union_rows = u->rows, .rows = rows, .cover = u->cover};
  for (size_t i = 0; i < u->options->count; ++i)
    out->lost_threshold |= u->banks[i].about.threshold.images > 0;
  return TR_OK;
}

static tr_status open_and_merge(union_of *u, const char *path, tr_merged_banks *out) {
  for (size_t i = 0; i < u->options->count; ++i)
    TR_TRY(tr_bank_file_open(u->options->models[i], &u->banks[i]));
  return merge(u, path, out);
}

tr_status tr_banks_merge(const tr_merge_banks_options *options, const char *path, tr_merged_banks *out) {
  *out = (tr_merged_banks){0};
  if (options->count < 2)
    return tr_fail(TR_EINVAL, "merging banks: expected two models at least, found %zu", options->count);
  union_of u = {.options = options, .banks = calloc(options->count, sizeof *u.banks)};
  if (!u.banks)
    return no_memory();
  tr_status status = open_and_merge(&u, path, out);
  for (size_t i = 0; i < options->count; ++i)
    tr_bank_file_close(&u.banks[i]);
  free(u.banks);
  free(u.picks);
  free(u.content);
  free(u.order);
  return status;
}

/* ---- the public API ---- */

tr_status tr_detectors_merge(const char *const *models, size_t count, const tr_bank_goal *goal, const char *device, int threads,
                             const char *path) {
  tr_merge_banks_options o = {.models = models, .count = count};
  tr_merged_banks merged;
  if (!models || !path)
    return tr_fail(TR_EINVAL, "merging banks: expected models and a file to write, found no %s", models ? "file" : "models");
  if (goal)
    o.goal = *goal;
  TR_TRY(tr_device_open(device ? device : "cpu", threads, &o.device));
  tr_status status = tr_banks_merge(&o, path, &merged);
  tr_device_close(o.device);
  return status;
}
