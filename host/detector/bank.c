/* Banks in files of their own. */
#include "host/detector/bank.h"
#include "datasets/npy.h"
#include "host/base/json.h"
#include "host/base/status.h"
#include "host/methods/method.h"
#include "host/search/search.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

static bool is_npy(const char *path) {
  size_t length = strlen(path);
  return length >= 4 && strcmp(path + length - 4, ".npy") == 0;
}

static tr_status open_model(const char *path, tr_model_file **file, tr_model_array *rows) {
  TR_TRY(tr_model_file_open(path, file));
  tr_status status = TR_OK;
  if (strcmp(tr_model_file_method(*file), tr_method_patchcore.name) != 0)
    status =
        tr_fail(TR_EINVAL, "%s: a model of %s has no memory bank; expected one of patchcore", path, tr_model_file_method(*file));
  if (status == TR_OK && tr_model_file_parts(*file) > 1)
    status = tr_fail(TR_EINVAL, "%s has a bank for each of its %zu tile positions; one bank goes out of a model and in", path,
                     tr_model_file_parts(*file));
  if (status == TR_OK)
    status = tr_model_file_find(*file, "rows", rows);
  if (status == TR_OK && (rows->type != TR_ARRAY_F4 || rows->rank != 2 || !rows->shape[0] || !rows->shape[1]))
    status = tr_fail(TR_EFORMAT, "%s: expected floats of [rows, d] as its bank", path);
  if (status != TR_OK)
    tr_model_file_close(*file);
  return status;
}

/* ---- out ---- */

static tr_status export_index(tr_device *device, const tr_model_file *file, const tr_model_array *rows, const char *path) {
  tr_model_array own;
  tr_index *index;
  if (tr_search_factory(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tr_model_file_settings(file), "search")))) {
    TR_TRY(tr_model_file_find(file, "index", &own));
    return tr_file_write(path, own.data, own.shape[0]);
  }
  TR_TRY(tr_index_build(device, rows->data, rows->shape[0], (int)rows->shape[1], "Flat", NULL, &index));
  tr_status status = tr_index_write(index, path);
  tr_index_destroy(index);
  return status;
}

tr_status tr_bank_export(tr_device *device, const char *model, const char *path) {
  tr_model_file *file;
  tr_model_array rows;
  TR_TRY(open_model(model, &file, &rows));
  tr_status status =
      is_npy(path) ? tr_npy_write_rows(path, rows.data, rows.shape[0], rows.shape[1]) : export_index(device, file, &rows, path);
  tr_model_file_close(file);
  return status;
}

/* ---- in ---- */

typedef struct given {
  float *rows; /* [n, d] */
  size_t n, d;
} given;

static tr_status allocate(const char *path, given *out) {
  out->rows = malloc(out->n * out->d * sizeof *out->rows);
  return out->rows ? TR_OK : tr_fail(TR_ENOMEM, "%s: %zu rows of %zu dimensions: out of memory", path, out->n, out->d);
}

static tr_status read_npy(const char *path, given *out) {
  tr_npy npy;
  TR_TRY(tr_npy_open_rows(path, &npy));
  *out = (given){.n = npy.shape[0], .d = npy.shape[1]};
  tr_status status = allocate(path, out);
  if (status == TR_OK)
    memcpy(out->rows, npy.data, out->n * out->d * sizeof *out->rows);
  tr_npy_close(&npy);
  return status;
}

static tr_status read_index(tr_device *device, const char *path, given *out) {
  tr_index *index;
  TR_TRY(tr_index_read(device, path, &index));
  *out = (given){.n = tr_index_rows(index), .d = (size_t)tr_index_dimension(index)};
  tr_status status = allocate(path, out);
  if (status == TR_OK)
    status = tr_index_row_data(index, 0, out->n, out->rows);
  tr_index_destroy(index);
  return status == TR_OK ? TR_OK : tr_fail_context(status, "%s", path);
}

static bool set(cJSON *object, const char *name, cJSON *value) {
  cJSON_DeleteItemFromObjectCaseSensitive(object, name);
  return value && cJSON_AddItemToObject(object, name, value);
}

/* Rows that are no rows of the training images, as learned ones. */
static bool describe(cJSON *settings, cJSON *about, size_t rows) {
  cJSON_DeleteItemFromObjectCaseSensitive(settings, "index_bytes");
  cJSON_DeleteItemFromObjectCaseSensitive(settings, "cover");
  return set(settings, "subsampling", cJSON_CreateString("learned")) &&
         set(settings, "bank_rows", tr_json_number((double)rows)) &&
         set(settings, "search", cJSON_CreateString(TR_SEARCH_EXACT)) && (!about || set(about, "threshold", cJSON_CreateNull()));
}

static tr_status write_model(tr_device *device, const tr_model_file *file, const given *g, const char *out) {
  const cJSON *said = tr_model_file_about(file);
  cJSON *settings = cJSON_Duplicate(tr_model_file_settings(file), true), *about = said ? cJSON_Duplicate(said, true) : NULL;
  char *text = NULL;
  bool complete = settings && (about || !said) && describe(settings, about, g->n);
  if (complete && about)
    complete = (text = cJSON_PrintUnformatted(about)) != NULL;
  tr_model_array rows = {"rows", TR_ARRAY_F4, 2, {g->n, g->d}, g->rows, false};
  tr_status status =
      complete
          ? tr_model_file_write(
                out, device,
                &(tr_model_content){
                    .method = tr_method_patchcore.name, .settings = settings, .about = text, .arrays = &rows, .array_count = 1})
          : tr_fail(TR_ENOMEM, "writing %s: out of memory", out);
  cJSON_free(text);
  cJSON_Delete(settings);
  cJSON_Delete(about);
  return status;
}

tr_status tr_bank_import(tr_device *device, const char *model, const char *path, const char *out, size_t *rows) {
  tr_model_file *file;
  tr_model_array old;
  given g = {.rows = NULL};
  TR_TRY(open_model(model, &file, &old));
  tr_status status = is_npy(path) ? read_npy(path, &g) : read_index(device, path, &g);
  if (status == TR_OK && g.d != old.shape[1])
    status = tr_fail(TR_EFORMAT, "%s: expected rows of the model's %zu dimensions, found %zu", path, old.shape[1], g.d);
  if (status == TR_OK && g.n >= UINT32_MAX)
    status = tr_fail(TR_EFORMAT, "%s: expected fewer than 2^32 - 1 rows, found %zu", path, g.n);
  if (status == TR_OK)
    status = write_model(device, file, &g, out);
  *rows = g.n;
  free(g.rows);
  tr_model_file_close(file);
  return status;
}
