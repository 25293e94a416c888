/* A fitted variant of PatchCore as a file, and back. */
#include "host/base/json.h"
#include "host/base/status.h"
#include "host/methods/patchcore.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* Of a bank that has not the variant's percentage; else 0. */
static size_t given_rows(const tr_model *model, const tr_variant *v, const tr_search *pass) {
  if (model->given_rows || v->subsampling == TR_SUBSAMPLE_NONE)
    return model->given_rows;
  size_t rows;
  return v->percent > 0 && tr_variant_rows(v, model->train_rows, model->d, &rows) == TR_OK && rows == pass->rows ? 0 : pass->rows;
}

static tr_status write_settings(const tr_model *model, const tr_variant *v, const tr_search *pass, size_t index_bytes,
                                cJSON *out) {
  const tr_aggregate_spec *a = &model->aggregate;
  size_t train_images = model->train_rows / model->patches, count, given = given_rows(model, v, pass);
  double share = fmin(100, 100 * (double)pass->rows / (double)model->train_rows);
  const struct {
    const char *name;
    double value;
  } numbers[] = {{"train_images", (double)train_images},
                 {"patch", a->patch},
                 {"stride", a->stride},
                 {"layer_dimension", a->layer_dimension},
                 {"dimension", a->dimension},
                 {"seed", (double)v->seed},
                 {"percent", given && !model->given_rows ? share : v->percent},
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
  if (complete && given)
    complete = cJSON_AddItemToObject(out, "bank_rows", tr_json_number((double)given));
  if (complete && !isnan(pass->cover))
    complete = cJSON_AddItemToObject(out, "cover", tr_json_number(pass->cover));
  return complete ? tr_model_maps_to_json(a, out) : tr_fail(TR_ENOMEM, "writing a model's settings: out of memory");
}

tr_status tr_patchcore_save(const tr_model *model, size_t variant, const char *path, const char *about) {
  const tr_search *pass = variant < model->variant_count ? &model->searches[model->variant_search[variant]] : NULL;
  const tr_selection *s = pass ? &model->selections[pass->selection] : NULL;
  if (!s || !s->bank)
    return tr_fail(TR_EINVAL, "patchcore: variant %zu of %zu is not there or not fitted", variant, model->variant_count);
  void *index = NULL;
  size_t index_bytes = 0, count = 1;
  if (pass->index != TR_NONE)
    TR_TRY(tr_index_to_memory(model->indexes[pass->index].index, &index, &index_bytes));
  tr_model_array arrays[3] = {rows_array(tr_bank_data(s->bank), pass->rows, model->d)};
  arrays[0].on_device = !tr_bank_is_in_host(s->bank);
  if (s->order)
    arrays[count++] = order_array(s->order, pass->rows);
  if (index)
    arrays[count++] = index_array(index, index_bytes);
  cJSON *settings = cJSON_CreateObject();
  tr_status status = settings ? write_settings(model, &model->variants[variant], pass, index_bytes, settings)
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

/* Any number of rows, in place of the variant's percentage: rows that are no patches, and banks that grew or were merged. */
static tr_status take_given_rows(const cJSON *settings, tr_model *model) {
  double rows;
  if (!cJSON_HasObjectItem(settings, "bank_rows"))
    return TR_OK;
  TR_TRY(tr_json_get_whole(settings, "bank_rows", 1, UINT32_MAX - 1.0, &rows));
  const tr_variant *v = &model->variants[0];
  if (v->subsampling == TR_SUBSAMPLE_NONE)
    return tr_fail(TR_EFORMAT, "\"bank_rows\" of a bank of all patches");
  if (v->image_score == TR_SCORE_REWEIGHTED && v->neighbours > rows)
    return tr_fail(TR_EFORMAT, "a bank of %.0f rows for the %d neighbours of its image score", rows, v->neighbours);
  model->given_rows = model->selections[0].rows = model->searches[0].rows = (size_t)rows;
  if (model->index_count)
    model->indexes[0].rows = (size_t)rows;
  return TR_OK;
}

/* Only where it was measured. */
static tr_status read_cover(const cJSON *settings, tr_model *model) {
  if (!cJSON_HasObjectItem(settings, "cover"))
    return TR_OK;
  TR_TRY(tr_json_get_number(settings, "cover", &model->searches[0].cover));
  return model->searches[0].cover >= 0 ? TR_OK : tr_fail(TR_EFORMAT, "\"cover\": expected 0 or more");
}

static tr_status load_bank(const tr_model_file *file, tr_model *model) {
  tr_selection *s = &model->selections[0];
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
    return tr_patchcore_bank_from_host(model, s, bank_rows);
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
  tr_prefix_index *index = &model->indexes[0];
  TR_TRY(tr_json_get_whole(tr_model_file_settings(file), "index_bytes", 1, 0x1p53, &bytes));
  tr_model_array wanted = index_array(NULL, (size_t)bytes);
  TR_TRY(tr_model_file_array(file, &wanted, &data));
  TR_TRY(tr_index_from_memory(model->device, "array \"index\"", data, (size_t)bytes, &index->index));
  if (tr_index_rows(index->index) == index->rows && tr_index_dimension(index->index) == model->d)
    return TR_OK;
  return tr_fail(TR_EFORMAT, "array \"index\": expected an index of %zu rows of %d dimensions, found %zu of %d", index->rows,
                 model->d, tr_index_rows(index->index), tr_index_dimension(index->index));
}

tr_status tr_patchcore_load(tr_device *device, const tr_model_file *file, tr_model **out) {
  *out = NULL;
  tr_variant variant = {0};
  tr_method_options options = {.device = device, .variants = &variant, .variant_count = 1};
  tr_model *model = NULL;
  tr_status status = read_settings(tr_model_file_settings(file), &options, &variant);
  if (status == TR_OK)
    status = tr_patchcore_plan(&options, false, &model);
  if (status == TR_OK)
    status = keep_search_name(model);
  if (status == TR_OK)
    status = take_given_rows(tr_model_file_settings(file), model);
  if (status == TR_OK)
    status = read_cover(tr_model_file_settings(file), model);
  if (status == TR_OK) {
    tr_patchcore_place(model, tr_patchcore_room(&options), false);
    status = tr_patchcore_allocate_aggregate(model);
  }
  if (status == TR_OK)
    status = load_bank(file, model);
  if (status == TR_OK)
    status = load_index(file, model);
  if (status == TR_OK)
    status = tr_patchcore_allocate_scores(model);
  if (status != TR_OK) {
    tr_patchcore_destroy(model);
    return tr_fail_context(status, "reading the model %s", tr_model_file_path(file));
  }
  *out = model;
  return TR_OK;
}
