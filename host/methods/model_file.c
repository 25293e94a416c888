/* The container of fitted models: JSON by cJSON, checksum by xxHash. */
#include "host/methods/model_file.h"
#include "host/base/json.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "model files are little-endian and written as memory holds them");

enum { ALIGNMENT = 64, PIECE = 16 << 20, MOST_HEADER = 64 << 20, CHECKSUM = sizeof(uint64_t) };

static const char magic[8] = "TRMODEL";

typedef struct file_start {
  char magic[8];
  uint32_t version, header_bytes;
} file_start;

static const struct {
  const char *name;
  size_t bytes;
} types[] = {[TR_ARRAY_F4] = {"f4", 4}, [TR_ARRAY_F8] = {"f8", 8}, [TR_ARRAY_U4] = {"u4", 4}, [TR_ARRAY_U1] = {"u1", 1}};

static size_t aligned(size_t bytes) {
  return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t array_bytes(const tr_model_array *array) {
  size_t bytes = types[array->type].bytes;
  for (int i = 0; i < array->rank; ++i)
    bytes *= array->shape[i];
  return bytes;
}

/* ---- writing ---- */

typedef struct output {
  tr_file_writer writer;
  XXH3_state_t *hash;
  tr_device *device;
} output;

static tr_status no_memory(const char *path) {
  return tr_fail(TR_ENOMEM, "writing the model %s: out of memory", path);
}

static tr_status put(output *out, const void *data, size_t bytes) {
  XXH3_64bits_update(out->hash, data, bytes);
  return tr_file_writer_add(&out->writer, data, bytes);
}

static tr_status put_zeros(output *out, size_t bytes) {
  static const char zeros[ALIGNMENT];
  return put(out, zeros, bytes);
}

static tr_status put_from_device(output *out, const char *data, size_t bytes) {
  void *piece = malloc(PIECE);
  tr_status status = piece ? TR_OK : no_memory(out->writer.path);
  for (size_t done = 0; status == TR_OK && done < bytes; done += PIECE) {
    size_t count = bytes - done < PIECE ? bytes - done : PIECE;
    status = tr_device_download(out->device, piece, data + done, count);
    if (status == TR_OK)
      status = tr_device_sync(out->device);
    if (status == TR_OK)
      status = put(out, piece, count);
  }
  free(piece);
  return status;
}

static tr_status put_array(output *out, const tr_model_array *array) {
  size_t bytes = array_bytes(array);
  TR_TRY(array->on_device ? put_from_device(out, array->data, bytes) : put(out, array->data, bytes));
  return put_zeros(out, aligned(bytes) - bytes);
}

static cJSON *array_to_json(const tr_model_array *array) {
  cJSON *object = cJSON_CreateObject(), *shape = cJSON_CreateArray();
  bool complete = object && shape && cJSON_AddStringToObject(object, "name", array->name) &&
                  cJSON_AddStringToObject(object, "type", types[array->type].name);
  for (int i = 0; complete && i < array->rank; ++i)
    complete = cJSON_AddItemToArray(shape, tr_json_number((double)array->shape[i]));
  if (complete && cJSON_AddItemToObject(object, "shape", shape))
    return object;
  cJSON_Delete(shape);
  cJSON_Delete(object);
  return NULL;
}

static tr_status header_text(const char *path, const tr_model_content *content, char **out) {
  cJSON *about = content->about ? cJSON_Parse(content->about) : NULL, *header = cJSON_CreateObject();
  tr_status status = TR_OK;
  if (content->about && !cJSON_IsObject(about))
    status = tr_fail(TR_EINVAL, "writing the model %s: what is said about it is not a JSON object", path);
  cJSON *arrays = cJSON_AddArrayToObject(header, "arrays");
  bool complete =
      arrays && cJSON_AddStringToObject(header, "method", content->method) &&
      cJSON_AddItemReferenceToObject(header, "settings", content->settings) &&
      (about ? cJSON_AddItemReferenceToObject(header, "about", about) : cJSON_AddNullToObject(header, "about") != NULL);
  for (size_t i = 0; complete && i < content->array_count; ++i)
    complete = cJSON_AddItemToArray(arrays, array_to_json(&content->arrays[i]));
  *out = complete && status == TR_OK ? cJSON_PrintUnformatted(header) : NULL;
  if (!*out && status == TR_OK)
    status = no_memory(path);
  cJSON_Delete(header);
  cJSON_Delete(about);
  return status;
}

static tr_status put_all(output *out, const char *header, const tr_model_content *content) {
  size_t bytes = strlen(header), padded = aligned(sizeof(file_start) + bytes) - sizeof(file_start);
  if (padded > MOST_HEADER)
    return tr_fail(TR_EINVAL, "writing the model %s: a header of %zu bytes is too long", out->writer.path, bytes);
  file_start start = {.version = TR_MODEL_FILE_VERSION, .header_bytes = (uint32_t)padded};
  memcpy(start.magic, magic, sizeof magic);
  TR_TRY(put(out, &start, sizeof start));
  TR_TRY(put(out, header, bytes));
  for (; bytes < padded; ++bytes)
    TR_TRY(put(out, " ", 1));
  for (size_t i = 0; i < content->array_count; ++i)
    TR_TRY(put_array(out, &content->arrays[i]));
  uint64_t checksum = XXH3_64bits_digest(out->hash);
  return tr_file_writer_add(&out->writer, &checksum, sizeof checksum);
}

tr_status tr_model_file_write(const char *path, tr_device *device, const tr_model_content *content) {
  char *header;
  TR_TRY(header_text(path, content, &header));
  output out = {.device = device, .hash = XXH3_createState()};
  tr_status status = out.hash && XXH3_64bits_reset(out.hash) == XXH_OK ? TR_OK : no_memory(path);
  if (status == TR_OK)
    status = tr_file_writer_open(path, &out.writer);
  if (status == TR_OK) {
    status = put_all(&out, header, content);
    tr_status closed = tr_file_writer_close(&out.writer, status == TR_OK);
    status = status == TR_OK ? closed : status;
  }
  XXH3_freeState(out.hash);
  cJSON_free(header);
  return status;
}

/* ---- reading ---- */

struct tr_model_file {
  char *path;
  tr_mapping mapping;
  cJSON *header;
  const char *method;
  const cJSON *arrays;
  size_t first; /* offset of the first array */
};

void tr_model_file_close(tr_model_file *file) {
  if (!file)
    return;
  cJSON_Delete(file->header);
  tr_file_unmap(&file->mapping);
  free(file->path);
  free(file);
}

static tr_status read_start(tr_model_file *file) {
  file_start start;
  if (file->mapping.bytes < sizeof start || memcmp(file->mapping.data, magic, sizeof magic) != 0)
    return tr_fail(TR_EFORMAT, "%s is not a model of this program", file->path);
  memcpy(&start, file->mapping.data, sizeof start);
  if (start.version != TR_MODEL_FILE_VERSION)
    return tr_fail(TR_EFORMAT, "%s is a model of format %u; this program reads format %d", file->path, start.version,
                   TR_MODEL_FILE_VERSION);
  file->first = sizeof start + start.header_bytes;
  if (start.header_bytes > MOST_HEADER || file->first % ALIGNMENT != 0)
    return tr_fail(TR_EFORMAT, "%s is damaged: a header of %u bytes", file->path, start.header_bytes);
  if (file->mapping.bytes < file->first + CHECKSUM)
    return tr_fail(TR_EFORMAT, "%s is cut short: %zu bytes, of which the header alone takes %zu", file->path, file->mapping.bytes,
                   file->first);
  return TR_OK;
}

static tr_status read_checksum(const tr_model_file *file) {
  uint64_t expected, found = XXH3_64bits(file->mapping.data, file->mapping.bytes - CHECKSUM);
  memcpy(&expected, file->mapping.data + file->mapping.bytes - CHECKSUM, sizeof expected);
  if (found != expected)
    return tr_fail(TR_EFORMAT, "%s is damaged: its checksum is %016llx, expected %016llx", file->path, (unsigned long long)found,
                   (unsigned long long)expected);
  return TR_OK;
}

static tr_status read_array(const cJSON *item, tr_model_array *out) {
  const cJSON *name = cJSON_GetObjectItemCaseSensitive(item, "name"), *type = cJSON_GetObjectItemCaseSensitive(item, "type");
  const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
  *out = (tr_model_array){0};
  size_t t = 0;
  while (cJSON_IsString(type) && t < sizeof types / sizeof *types && strcmp(type->valuestring, types[t].name) != 0)
    ++t;
  bool good = cJSON_IsString(name) && cJSON_IsString(type) && t < sizeof types / sizeof *types && cJSON_IsArray(shape) &&
              cJSON_GetArraySize(shape) <= TR_MODEL_FILE_MAX_RANK;
  const cJSON *extent, *extents = good ? shape : NULL;
  double values = 1;
  cJSON_ArrayForEach(extent, extents) {
    good = good && cJSON_IsNumber(extent) && extent->valuedouble >= 0 && extent->valuedouble <= 0x1p40;
    out->shape[out->rank++] = good ? (size_t)extent->valuedouble : 0;
    values *= extent->valuedouble;
  }
  if (!good || !(values <= 0x1p50))
    return tr_fail(TR_EFORMAT, "the header's list of arrays has an entry that cannot be read");
  out->name = name->valuestring;
  out->type = (tr_array_type)t;
  return TR_OK;
}

/* Walks the arrays up to the one called `name`, or to the end; *offset becomes the place of what it stops at. */
static tr_status find_array(const tr_model_file *file, const char *name, tr_model_array *out, size_t *offset, bool *found) {
  const cJSON *item;
  *found = false;
  *offset = file->first;
  cJSON_ArrayForEach(item, file->arrays) {
    tr_status status = read_array(item, out);
    if (status != TR_OK)
      return tr_fail_context(status, "%s is damaged", file->path);
    if (name && strcmp(out->name, name) == 0) {
      *found = true;
      return TR_OK;
    }
    size_t bytes = aligned(array_bytes(out)), left = file->mapping.bytes - CHECKSUM - *offset;
    if (bytes > left)
      return tr_fail(TR_EFORMAT, "%s is cut short: %zu bytes, which end before its array \"%s\" does", file->path,
                     file->mapping.bytes, out->name);
    *offset += bytes;
  }
  return TR_OK;
}

/* The header before the checksum: a file that is cut short says so, and not that it is damaged. */
static tr_status read_header(tr_model_file *file) {
  file->header = cJSON_ParseWithLength((const char *)file->mapping.data + sizeof(file_start), file->first - sizeof(file_start));
  const cJSON *method = cJSON_GetObjectItemCaseSensitive(file->header, "method");
  file->arrays = cJSON_GetObjectItemCaseSensitive(file->header, "arrays");
  if (!cJSON_IsString(method) || !cJSON_IsArray(file->arrays))
    return tr_fail(TR_EFORMAT, "%s is damaged: its header cannot be read", file->path);
  file->method = method->valuestring;
  tr_model_array last;
  size_t end;
  bool found;
  TR_TRY(find_array(file, NULL, &last, &end, &found));
  if (file->mapping.bytes != end + CHECKSUM)
    return tr_fail(TR_EFORMAT, "%s is damaged: %zu bytes, expected %zu", file->path, file->mapping.bytes, end + CHECKSUM);
  return TR_OK;
}

tr_status tr_model_file_open(const char *path, tr_model_file **out) {
  *out = NULL;
  tr_model_file *file = calloc(1, sizeof *file);
  char *copy = strdup(path);
  if (!file || !copy) {
    free(file);
    free(copy);
    return tr_fail(TR_ENOMEM, "reading the model %s: out of memory", path);
  }
  file->path = copy;
  tr_status status = tr_file_map(path, &file->mapping);
  if (status == TR_OK)
    status = read_start(file);
  if (status == TR_OK)
    status = read_header(file);
  if (status == TR_OK)
    status = read_checksum(file);
  if (status != TR_OK) {
    tr_model_file_close(file);
    return status;
  }
  *out = file;
  return TR_OK;
}

const char *tr_model_file_path(const tr_model_file *file) {
  return file->path;
}

const char *tr_model_file_method(const tr_model_file *file) {
  return file->method;
}

const cJSON *tr_model_file_settings(const tr_model_file *file) {
  return cJSON_GetObjectItemCaseSensitive(file->header, "settings");
}

const cJSON *tr_model_file_about(const tr_model_file *file) {
  const cJSON *about = cJSON_GetObjectItemCaseSensitive(file->header, "about");
  return cJSON_IsObject(about) ? about : NULL;
}

static void shape_text(const tr_model_array *array, char *out, size_t bytes) {
  int used = snprintf(out, bytes, "%s [", types[array->type].name);
  for (int i = 0; i < array->rank; ++i)
    used += snprintf(out + used, bytes - (size_t)used, "%s%zu", i ? ", " : "", array->shape[i]);
  snprintf(out + used, bytes - (size_t)used, "]");
}

tr_status tr_model_file_find(const tr_model_file *file, const char *name, tr_model_array *out) {
  size_t offset;
  bool found;
  TR_TRY(find_array(file, name, out, &offset, &found));
  if (!found)
    return tr_fail(TR_EFORMAT, "%s: the model has no array \"%s\"", file->path, name);
  out->data = file->mapping.data + offset;
  out->on_device = false;
  return TR_OK;
}

tr_status tr_model_file_array(const tr_model_file *file, const tr_model_array *wanted, const void **data) {
  tr_model_array array;
  size_t offset;
  bool found;
  TR_TRY(find_array(file, wanted->name, &array, &offset, &found));
  if (!found)
    return tr_fail(TR_EFORMAT, "%s: the model has no array \"%s\"", file->path, wanted->name);
  bool same = array.type == wanted->type && array.rank == wanted->rank;
  for (int i = 0; same && i < array.rank; ++i)
    same = array.shape[i] == wanted->shape[i];
  char expected[96], have[96];
  shape_text(wanted, expected, sizeof expected);
  shape_text(&array, have, sizeof have);
  if (!same)
    return tr_fail(TR_EFORMAT, "%s: array \"%s\": expected %s, found %s", file->path, wanted->name, expected, have);
  *data = file->mapping.data + offset;
  return TR_OK;
}

tr_status tr_model_file_upload(const tr_model_file *file, tr_device *device, const tr_model_array *wanted, void **out) {
  const void *data;
  *out = NULL;
  TR_TRY(tr_model_file_array(file, wanted, &data));
  TR_TRY(tr_device_alloc(device, array_bytes(wanted), out));
  tr_status status = tr_device_upload(device, *out, data, array_bytes(wanted));
  if (status != TR_OK) {
    tr_device_free(device, *out);
    *out = NULL;
  }
  return status;
}

static tr_status list_arrays(const tr_model_file *file, tr_model_array *out) {
  const cJSON *item;
  size_t offset = file->first, i = 0;
  cJSON_ArrayForEach(item, file->arrays) {
    TR_TRY(read_array(item, &out[i]));
    out[i].data = file->mapping.data + offset;
    offset += aligned(array_bytes(&out[i++]));
  }
  return TR_OK;
}

tr_status tr_model_file_rewrite(const tr_model_file *file, tr_device *device, const char *about, const char *path) {
  size_t count = (size_t)cJSON_GetArraySize(file->arrays);
  tr_model_array *arrays = calloc(count + 1, sizeof *arrays);
  tr_status status = arrays ? list_arrays(file, arrays) : no_memory(path);
  if (status == TR_OK)
    status = tr_model_file_write(path, device,
                                 &(tr_model_content){.method = file->method,
                                                     .settings = (cJSON *)tr_model_file_settings(file),
                                                     .about = about,
                                                     .arrays = arrays,
                                                     .array_count = count});
  free(arrays);
  return status;
}

/* ---- shapes of maps ---- */

tr_status tr_model_maps_to_json(const tr_aggregate_spec *maps, cJSON *settings) {
  cJSON *list = cJSON_AddArrayToObject(settings, "maps");
  for (int i = 0; list && i < maps->layers; ++i) {
    const int shape[] = {maps->h[i], maps->w[i], maps->c[i]};
    if (!cJSON_AddItemToArray(list, cJSON_CreateIntArray(shape, 3)))
      list = NULL;
  }
  return list ? TR_OK : tr_fail(TR_ENOMEM, "writing a model's settings: out of memory");
}

tr_status tr_model_maps_from_json(const cJSON *settings, tr_aggregate_spec *out) {
  const cJSON *list = cJSON_GetObjectItemCaseSensitive(settings, "maps"), *item;
  int layers = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
  bool good = layers >= 1 && layers <= TR_MAX_LAYERS;
  if (!good)
    list = NULL;
  out->layers = 0;
  cJSON_ArrayForEach(item, list) {
    int shape[3] = {0};
    for (int i = 0; i < 3; ++i) {
      const cJSON *extent = cJSON_GetArrayItem(item, i);
      good = good && cJSON_IsNumber(extent) && extent->valuedouble >= 1 && extent->valuedouble <= 1 << 20;
      shape[i] = good ? (int)extent->valuedouble : 0;
    }
    out->h[out->layers] = shape[0];
    out->w[out->layers] = shape[1];
    out->c[out->layers++] = shape[2];
  }
  return good ? TR_OK : tr_fail(TR_EFORMAT, "\"maps\": expected 1 to %d shapes [h, w, c]", TR_MAX_LAYERS);
}
