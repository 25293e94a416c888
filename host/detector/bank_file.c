/* Banks in detectors' files. */
#include "host/detector/bank_file.h"
#include "host/base/clock.h"
#include "host/base/json.h"
#include "host/base/status.h"
#include "host/search/search.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const cJSON *member(const cJSON *json, const char *name) {
  return cJSON_GetObjectItemCaseSensitive(json, name);
}

/* ---- reading ---- */

static tr_status read_shapes(tr_bank_file *b) {
  int d;
  b->maps = tr_setting_aggregate(b->about.setting);
  TR_TRY(tr_model_maps_from_json(tr_model_file_settings(b->file), &b->maps));
  TR_TRY(tr_aggregate_shape(&b->maps, &b->grid_h, &b->grid_w, &d));
  TR_TRY(tr_tiling_make(&b->about.setting->tile, b->about.in_h, b->about.in_w, &b->tiling));
  b->patches = tr_tiling_count(&b->tiling) * (size_t)b->grid_h * (size_t)b->grid_w;
  if (b->d != d)
    return tr_fail(TR_EFORMAT, "rows of %d dimensions, where its setting makes features of %d", b->d, d);
  return TR_OK;
}

static tr_status read_rows(tr_bank_file *b) {
  tr_model_array rows;
  TR_TRY(tr_model_file_find(b->file, "rows", &rows));
  if (rows.type != TR_ARRAY_F4 || rows.rank != 2 || !rows.shape[0] || !rows.shape[1] || rows.shape[0] >= UINT32_MAX ||
      rows.shape[1] > INT32_MAX)
    return tr_fail(TR_EFORMAT, "%s: expected floats of [rows, d] as its bank", tr_model_file_path(b->file));
  b->rows = rows.data;
  b->row_count = rows.shape[0];
  b->d = (int)rows.shape[1];
  return TR_OK;
}

static tr_status read_order(tr_bank_file *b) {
  const char *path = tr_model_file_path(b->file);
  int kind;
  size_t count;
  const char *const *names = tr_subsampling_names(&count);
  const void *data;
  TR_TRY(tr_json_get_choice(tr_model_file_settings(b->file), "subsampling", names, count, &kind));
  b->subsampling = (tr_subsampling)kind;
  size_t patches = tr_bank_file_patches(b);
  if (b->subsampling == TR_SUBSAMPLE_NONE && b->row_count != patches)
    return tr_fail(TR_EFORMAT, "%s: %zu bank rows, expected all %zu patches", path, b->row_count, patches);
  if (b->subsampling == TR_SUBSAMPLE_NONE || b->subsampling == TR_SUBSAMPLE_LEARNED)
    return TR_OK;
  tr_model_array wanted = {"order", TR_ARRAY_U4, 1, {b->row_count}, NULL, false};
  TR_TRY(tr_model_file_array(b->file, &wanted, &data));
  b->order = data;
  for (size_t i = 0; i < b->row_count; ++i)
    if (b->order[i] >= patches)
      return tr_fail(TR_EFORMAT, "%s: bank row %zu is patch %u of %zu", path, i, b->order[i], patches);
  return TR_OK;
}

static tr_status read_cover(tr_bank_file *b) {
  const cJSON *settings = tr_model_file_settings(b->file);
  b->cover = NAN;
  return cJSON_HasObjectItem(settings, "cover") ? tr_json_get_number(settings, "cover", &b->cover) : TR_OK;
}

static tr_status read_file(tr_bank_file *b) {
  const char *path = tr_model_file_path(b->file), *method = tr_model_file_method(b->file);
  if (strcmp(method, tr_method_patchcore.name) != 0)
    return tr_fail(TR_EINVAL, "%s: a model of %s has no memory bank; expected one of patchcore", path, method);
  if (tr_model_file_parts(b->file) > 1)
    return tr_fail(TR_EINVAL, "%s has a bank for each of its %zu tile positions, which this is not done with; expected one bank",
                   path, tr_model_file_parts(b->file));
  TR_TRY(read_rows(b));
  tr_status status = tr_about_read(tr_model_file_about(b->file), &b->about);
  if (status == TR_OK)
    status = read_shapes(b);
  if (status != TR_OK)
    return tr_fail_context(status, "model %s", path);
  TR_TRY(read_order(b));
  return read_cover(b);
}

tr_status tr_bank_file_open(const char *path, tr_bank_file *out) {
  *out = (tr_bank_file){0};
  TR_TRY(tr_model_file_open(path, &out->file));
  tr_status status = read_file(out);
  if (status != TR_OK)
    tr_bank_file_close(out);
  return status;
}

void tr_bank_file_close(tr_bank_file *b) {
  tr_about_free(&b->about);
  tr_model_file_close(b->file);
  *b = (tr_bank_file){0};
}

tr_patch_place tr_bank_file_place(const tr_bank_file *b, size_t patch) {
  size_t w = (size_t)b->grid_w, grid = (size_t)b->grid_h * w, columns = (size_t)b->tiling.columns;
  tr_patch_place place = {.tile = patch / grid, .y = (int)(patch % grid / w), .x = (int)(patch % w)};
  place.grid_y = (int)(place.tile / columns) * b->grid_h + place.y;
  place.grid_x = (int)(place.tile % columns) * b->grid_w + place.x;
  return place;
}

size_t tr_bank_file_patches(const tr_bank_file *b) {
  return b->about.train_images * b->patches;
}

/* ---- writing ---- */

static bool set(cJSON *object, const char *name, cJSON *value) {
  cJSON_DeleteItemFromObjectCaseSensitive(object, name);
  return value && cJSON_AddItemToObject(object, name, value);
}

static bool set_number(cJSON *object, const char *name, double value) {
  return set(object, name, tr_json_number(value));
}

/* The method's settings: tiles are its images; with the rows' share of all patches as percentage. */
static bool describe_model(cJSON *settings, const tr_bank_file *like, const tr_bank_content *c, size_t index_bytes) {
  double patches = (double)c->train_images * (double)like->patches;
  cJSON_DeleteItemFromObjectCaseSensitive(settings, "cover");
  bool complete = set_number(settings, "train_images", (double)(c->train_images * tr_tiling_count(&like->tiling))) &&
                  set_number(settings, "index_bytes", (double)index_bytes) &&
                  set_number(settings, "percent", fmin(100, 100 * (double)c->row_count / patches));
  if (complete && like->subsampling != TR_SUBSAMPLE_NONE)
    complete = set_number(settings, "bank_rows", (double)c->row_count);
  return complete && (isnan(c->cover) || set_number(settings, "cover", c->cover));
}

/* The setting says how many rows there are, where its percentage does not. */
static bool describe_setting(cJSON *about, const tr_bank_file *like, const tr_bank_content *c) {
  tr_setting s = *like->about.setting;
  tr_variant variant = tr_setting_variant(&s);
  size_t rows;
  bool selected = like->subsampling == TR_SUBSAMPLE_GREEDY || like->subsampling == TR_SUBSAMPLE_RANDOM,
       ends = s.radius > 0 || s.seconds > 0;
  if (!selected || c->row_count > INT32_MAX ||
      (!ends && tr_variant_rows(&variant, c->train_images * like->patches, like->d, &rows) == TR_OK && rows == c->row_count))
    return true;
  s.percent = s.radius = s.seconds = 0;
  s.bank_bytes = 0;
  s.bank_rows = (int)c->row_count;
  cJSON *keys = NULL;
  char *run = tr_setting_run_name(&s);
  bool complete = run && tr_setting_to_json(&s, &keys) == TR_OK && cJSON_AddStringToObject(keys, "name", "fit") &&
                  set(about, "experiment", keys) && set(about, "run", cJSON_CreateString(run));
  free(run);
  return complete;
}

static bool describe_fit(cJSON *about, const tr_bank_file *like, const tr_bank_content *c) {
  char date[21];
  tr_date_utc(date);
  cJSON *train = cJSON_CreateObject();
  return set(about, "train", train) && set_number(train, "images", (double)c->train_images) &&
         tr_sources_to_json(&c->sources, train) == TR_OK && set(about, "threshold", cJSON_CreateNull()) &&
         set(about, "date", cJSON_CreateString(date)) && set(about, "version", cJSON_CreateString(tr_version())) &&
         describe_setting(about, like, c);
}

static tr_status write_content(tr_device *device, const tr_bank_file *like, const tr_bank_content *c, const void *index,
                               size_t index_bytes, const char *path) {
  cJSON *settings = cJSON_Duplicate(tr_model_file_settings(like->file), true),
        *about = cJSON_Duplicate(tr_model_file_about(like->file), true);
  tr_model_array arrays[3] = {{"rows", TR_ARRAY_F4, 2, {c->row_count, (size_t)like->d}, c->rows, false}};
  size_t count = 1;
  if (c->order)
    arrays[count++] = (tr_model_array){"order", TR_ARRAY_U4, 1, {c->row_count}, c->order, false};
  if (index)
    arrays[count++] = (tr_model_array){"index", TR_ARRAY_U1, 1, {index_bytes}, index, false};
  char *text = NULL;
  if (settings && about && describe_model(settings, like, c, index_bytes) && describe_fit(about, like, c))
    text = cJSON_PrintUnformatted(about);
  tr_status status = text ? tr_model_file_write(path, device,
                                                &(tr_model_content){.method = tr_method_patchcore.name,
                                                                    .settings = settings,
                                                                    .about = text,
                                                                    .arrays = arrays,
                                                                    .array_count = count})
                          : tr_fail(TR_ENOMEM, "writing %s: out of memory", path);
  cJSON_free(text);
  cJSON_Delete(settings);
  cJSON_Delete(about);
  return status;
}

static tr_status build_index(tr_device *device, const char *factory, const tr_bank_file *like, const tr_bank_content *c,
                             tr_progress *progress, void **data, size_t *bytes) {
  tr_index *index;
  TR_TRY(tr_index_build(device, c->rows, c->row_count, like->d, factory, progress, &index));
  tr_status status = tr_index_to_memory(index, data, bytes);
  tr_index_destroy(index);
  return status;
}

tr_status tr_bank_file_write(tr_device *device, const tr_bank_file *like, const tr_bank_content *content, tr_progress *progress,
                             const char *path) {
  const char *factory = tr_search_factory(cJSON_GetStringValue(member(tr_model_file_settings(like->file), "search")));
  void *index = NULL;
  size_t bytes = 0;
  if (factory)
    TR_TRY(build_index(device, factory, like, content, progress, &index, &bytes));
  tr_status status = write_content(device, like, content, index, bytes, path);
  free(index);
  return status;
}

/* ---- size ---- */

size_t tr_bank_goal_rows(const tr_bank_goal *goal, size_t patches, size_t most) {
  size_t rows = goal->rows;
  if (goal->percent > 0)
    rows = (size_t)((double)patches * (goal->percent / 100.0)); /* as of a fit: int(len(features) * percentage) */
  if (goal->radius > 0)
    rows = most;
  return rows < 1 ? 1 : rows < most ? rows : most;
}

/* ---- comparing ---- */

/* What may differ: names, and how many rows were wanted of which images. */
static bool may_differ(const char *key) {
  static const char *const keys[] = {"name", "dataset", "subsampling", "split_file"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; ++i)
    if (strcmp(key, keys[i]) == 0)
      return true;
  return false;
}

static tr_status differ(const tr_bank_file *a, const tr_bank_file *b, const char *what, const cJSON *x, const cJSON *y) {
  char *first = x ? cJSON_PrintUnformatted(x) : NULL, *second = y ? cJSON_PrintUnformatted(y) : NULL;
  tr_status status =
      tr_fail(TR_EINVAL, "%s and %s are not of one kind: %s is %s in the first and %s in the second", tr_model_file_path(a->file),
              tr_model_file_path(b->file), what, first ? first : "not set", second ? second : "not set");
  cJSON_free(first);
  cJSON_free(second);
  return status;
}

/* Every key of the one that the other has not, or otherwise; `missing_only`: of a second comparison, the other way round. */
static tr_status compare_keys(const tr_bank_file *a, const tr_bank_file *b, const cJSON *x, const cJSON *y, bool missing_only) {
  const cJSON *item;
  cJSON_ArrayForEach(item, x) {
    const cJSON *other = member(y, item->string);
    if (may_differ(item->string) || (missing_only && other) || (other && cJSON_Compare(item, other, true)))
      continue;
    return missing_only ? differ(b, a, item->string, NULL, item) : differ(a, b, item->string, item, other);
  }
  return TR_OK;
}

tr_status tr_bank_file_same(const tr_bank_file *a, const tr_bank_file *b) {
  static const char *const numbers[][2] = {{"weights", "sha256"}, {"image", "height"}, {"image", "width"}};
  const cJSON *x = tr_model_file_about(a->file), *y = tr_model_file_about(b->file);
  TR_TRY(compare_keys(a, b, member(x, "experiment"), member(y, "experiment"), false));
  TR_TRY(compare_keys(b, a, member(y, "experiment"), member(x, "experiment"), true));
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; ++i) {
    const cJSON *first = member(member(x, numbers[i][0]), numbers[i][1]),
                *second = member(member(y, numbers[i][0]), numbers[i][1]);
    if (!cJSON_Compare(first, second, true))
      return differ(a, b, numbers[i][0], first, second);
  }
  if (a->subsampling != b->subsampling)
    return tr_fail(TR_EINVAL, "%s and %s are not of one kind: the first one's rows are %s, the second one's %s",
                   tr_model_file_path(a->file), tr_model_file_path(b->file), tr_subsampling_name(a->subsampling),
                   tr_subsampling_name(b->subsampling));
  return TR_OK;
}
