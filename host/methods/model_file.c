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

/* Versions of the format. */
enum { ONE_MODEL = 1, SEVERAL_MODELS = 2 };

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

static tr_status fill_header(const char *path, const tr_model_content *content, cJSON *header) {
  cJSON *about = content->about ? cJSON_Parse(content->about) : cJSON_CreateNull();
  if (content->about && !cJSON_IsObject(about)) {
    cJSON_Delete(about);
    return tr_fail(TR_EINVAL, "writing the model %s: what is said about it is not a JSON object", path);
  }
  bool complete = cJSON_AddStringToObject(header, "method", content->method) &&
                  cJSON_AddItemReferenceToObject(header, "settings", content->settings);
  if (!complete || !cJSON_AddItemToObject(header, "about", about)) {
    cJSON_Delete(about);
    return no_memory(path);
  }
  cJSON *arrays = cJSON_AddArrayToObject(header, "arrays");
  for (size_t i = 0; arrays && i < content->array_count; ++i)
    if (!cJSON_AddItemToArray(arrays, array_to_json(&content->arrays[i])))
      arrays = NULL;
  return arrays ? TR_OK : no_memory(path);
}

/* What a file's arrays are: they follow each other, each with its padding. */
typedef tr_status (*put_arrays_fn)(output *out, const void *context);

static tr_status put_all(output *out, uint32_t version, const char *header, put_arrays_fn put_arrays, const void *context) {
  size_t bytes = strlen(header), padded = aligned(sizeof(file_start) + bytes) - sizeof(file_start);
  if (padded > MOST_HEADER)
    return tr_fail(TR_EINVAL, "writing the model %s: a header of %zu bytes is too long", out->writer.path, bytes);
  file_start start = {.version = version, .header_bytes = (uint32_t)padded};
  memcpy(start.magic, magic, sizeof magic);
  TR_TRY(put(out, &start, sizeof start));
  TR_TRY(put(out, header, bytes));
  for (; bytes < padded; ++bytes)
    TR_TRY(put(out, " ", 1));
  TR_TRY(put_arrays(out, context));
  uint64_t checksum = XXH3_64bits_digest(out->hash);
  return tr_file_writer_add(&out->writer, &checksum, sizeof checksum);
}

static tr_status write_file(const char *path, tr_device *device, uint32_t version, const cJSON *header, put_arrays_fn put_arrays,
                            const void *context) {
  char *text = cJSON_PrintUnformatted(header);
  output out = {.device = device, .hash = XXH3_createState()};
  tr_status status = text && out.hash && XXH3_64bits_reset(out.hash) == XXH_OK ? TR_OK : no_memory(path);
  if (status == TR_OK)
    status = tr_file_writer_open(path, &out.writer);
  if (status == TR_OK) {
    status = put_all(&out, version, text, put_arrays, context);
    tr_status closed = tr_file_writer_close(&out.writer, status == TR_OK);
    status = status == TR_OK ? closed : status;
  }
  XXH3_freeState(out.hash);
  cJSON_free(text);
  return status;
}

static tr_status put_content(output *out, const void *context) {
  const tr_model_content *content = context;
  for (size_t i = 0; i < content->array_count; ++i)
    TR_TRY(put_array(out, &content->arrays[i]));
  return TR_OK;
}

tr_status tr_model_file_write(const char *path, tr_device *device, const tr_model_content *content) {
  cJSON *header = cJSON_CreateObject();
  tr_status status = header ? fill_header(path, content, header) : no_memory(path);
  if (status == TR_OK)
    status = write_file(path, device, ONE_MODEL, header, put_content, content);
  cJSON_Delete(header);
  return status;
}

/* ---- reading ---- */

typedef struct file_part {
  const cJSON *settings, *arrays;
  size_t first; /* offset of the first array */
} file_part;

struct tr_model_file {
  char *path;
  tr_mapping mapping;
  cJSON *header;
  const char *method;
  uint32_t version;
  size_t first; /* offset of the first array of all */
  file_part *parts;
  size_t part_count;
  const file_part *part;             /* the one that is looked at; NULL: the file has several */
  const struct tr_model_file *whole; /* of a part: what the above belong to */
};

void tr_model_file_close(tr_model_file *file) {
  if (!file)
    return;
  if (!file->whole) {
    cJSON_Delete(file->header);
    tr_file_unmap(&file->mapping);
    free(file->parts);
  }
  free(file->path);
  free(file);
}

static tr_status read_start(tr_model_file *file) {
  file_start start;
  if (file->mapping.bytes < sizeof start || memcmp(file->mapping.data, magic, sizeof magic) != 0)
    return tr_fail(TR_EFORMAT, "%s is not a model of this program", file->path);
  memcpy(&start, file->mapping.data, sizeof start);
  if (start.version != ONE_MODEL && start.version != SEVERAL_MODELS)
    return tr_fail(TR_EFORMAT, "%s is a model of format %u; this program reads formats %d and %d", file->path, start.version,
                   ONE_MODEL, SEVERAL_MODELS);
  file->version = start.version;
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

/* Walks a part's arrays up to the one called `name`, or to the end; *offset becomes the place of what it stops at. */
static tr_status find_array(const tr_model_file *file, const file_part *part, const char *name, tr_model_array *out,
                            size_t *offset, bool *found) {
  const cJSON *item;
  *found = false;
  *offset = part->first;
  cJSON_ArrayForEach(item, part->arrays) {
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

/* A part's arrays begin at *offset, which becomes their end. */
static tr_status read_part(const tr_model_file *file, const cJSON *json, size_t *offset, file_part *out) {
  *out = (file_part){.settings = cJSON_GetObjectItemCaseSensitive(json, "settings"),
                     .arrays = cJSON_GetObjectItemCaseSensitive(json, "arrays"),
                     .first = *offset};
  if (!cJSON_IsArray(out->arrays))
    return tr_fail(TR_EFORMAT, "%s is damaged: its header cannot be read", file->path);
  tr_model_array last;
  bool found;
  return find_array(file, out, NULL, &last, offset, &found);
}

static tr_status read_parts(tr_model_file *file, size_t *end) {
  const cJSON *list = cJSON_GetObjectItemCaseSensitive(file->header, "parts"), *item;
  bool several = file->version == SEVERAL_MODELS;
  int count = several ? cJSON_GetArraySize(list) : 1;
  *end = file->first;
  if (several && (!cJSON_IsArray(list) || !count))
    return tr_fail(TR_EFORMAT, "%s is damaged: its header has no list of parts", file->path);
  file->parts = calloc((size_t)count, sizeof *file->parts);
  if (!file->parts)
    return tr_fail(TR_ENOMEM, "reading the model %s: out of memory", file->path);
  file->part = several ? NULL : file->parts;
  if (!several) {
    file->part_count = 1;
    return read_part(file, file->header, end, file->parts);
  }
  cJSON_ArrayForEach(item, list) TR_TRY(read_part(file, item, end, &file->parts[file->part_count++]));
  return TR_OK;
}

/* The header before the checksum: a file that is cut short says so, and not that it is damaged. */
static tr_status read_header(tr_model_file *file) {
  file->header = cJSON_ParseWithLength((const char *)file->mapping.data + sizeof(file_start), file->first - sizeof(file_start));
  const cJSON *method = cJSON_GetObjectItemCaseSensitive(file->header, "method");
  if (!cJSON_IsString(method))
    return tr_fail(TR_EFORMAT, "%s is damaged: its header cannot be read", file->path);
  file->method = method->valuestring;
  size_t end;
  TR_TRY(read_parts(file, &end));
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
  return file->part ? file->part->settings : NULL;
}

const cJSON *tr_model_file_about(const tr_model_file *file) {
  const cJSON *about = cJSON_GetObjectItemCaseSensitive(file->header, "about");
  return cJSON_IsObject(about) ? about : NULL;
}

size_t tr_model_file_parts(const tr_model_file *file) {
  return file->part_count;
}

tr_status tr_model_file_part(const tr_model_file *file, size_t part, tr_model_file **out) {
  *out = NULL;
  if (part >= file->part_count)
    return tr_fail(TR_EINVAL, "%s has %zu parts, no number %zu", file->path, file->part_count, part);
  tr_model_file *view = malloc(sizeof *view);
  char *path = tr_format("%s, part %zu of %zu", file->path, part + 1, file->part_count);
  if (!view || !path) {
    free(view);
    free(path);
    return tr_fail(TR_ENOMEM, "reading the model %s: out of memory", file->path);
  }
  *view = *file;
  view->path = path;
  view->part = &file->parts[part];
  view->whole = file;
  *out = view;
  return TR_OK;
}

static void shape_text(const tr_model_array *array, char *out, size_t bytes) {
  int used = snprintf(out, bytes, "%s [", types[array->type].name);
  for (int i = 0; i < array->rank; ++i)
    used += snprintf(out + used, bytes - (size_t)used, "%s%zu", i ? ", " : "", array->shape[i]);
  snprintf(out + used, bytes - (size_t)used, "]");
}

static tr_status one_part(const tr_model_file *file) {
  return file->part ? TR_OK : tr_fail(TR_EINVAL, "%s has %zu models, not one", file->path, file->part_count);
}

tr_status tr_model_file_find(const tr_model_file *file, const char *name, tr_model_array *out) {
  size_t offset;
  bool found;
  TR_TRY(one_part(file));
  TR_TRY(find_array(file, file->part, name, out, &offset, &found));
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
  TR_TRY(one_part(file));
  TR_TRY(find_array(file, file->part, wanted->name, &array, &offset, &found));
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

/* ---- files of files ---- */

static tr_status put_arrays_of(output *out, const void *context) {
  const tr_model_file *file = context;
  return put(out, file->mapping.data + file->first, file->mapping.bytes - CHECKSUM - file->first);
}

tr_status tr_model_file_rewrite(const tr_model_file *file, tr_device *device, const char *about, const char *path) {
  cJSON *header = cJSON_Duplicate(file->header, true), *said = cJSON_Parse(about);
  tr_status status = header ? TR_OK : no_memory(path);
  if (status == TR_OK && !cJSON_IsObject(said))
    status = tr_fail(TR_EINVAL, "writing the model %s: what is said about it is not a JSON object", path);
  if (status == TR_OK && cJSON_ReplaceItemInObjectCaseSensitive(header, "about", said))
    said = NULL;
  else if (status == TR_OK)
    status = tr_fail(TR_EFORMAT, "%s is damaged: its header has no \"about\"", file->path);
  if (status == TR_OK)
    status = write_file(path, device, file->version, header, put_arrays_of, file);
  cJSON_Delete(said);
  cJSON_Delete(header);
  return status;
}

typedef struct file_list {
  const char *const *paths;
  size_t count;
} file_list;

static tr_status put_all_arrays(output *out, const void *context) {
  const file_list *list = context;
  for (size_t i = 0; i < list->count; ++i) {
    tr_model_file *file;
    TR_TRY(tr_model_file_open(list->paths[i], &file));
    tr_status status = put_arrays_of(out, file);
    tr_model_file_close(file);
    TR_TRY(status);
  }
  return TR_OK;
}

/* Moves what the file's header says of its model to the list; the first one says the method. */
static tr_status take_header(tr_model_file *file, cJSON *header, cJSON *parts) {
  const char *method = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(header, "method"));
  if (file->version != ONE_MODEL || (method && strcmp(method, file->method) != 0))
    return tr_fail(TR_EINVAL, "%s is not one model of %s", file->path, method ? method : file->method);
  cJSON *part = cJSON_CreateObject();
  if (!cJSON_AddItemToArray(parts, part))
    return no_memory(file->path);
  bool complete = (method || cJSON_AddStringToObject(header, "method", file->method)) &&
                  cJSON_AddItemToObject(part, "settings", cJSON_DetachItemFromObjectCaseSensitive(file->header, "settings")) &&
                  cJSON_AddItemToObject(part, "arrays", cJSON_DetachItemFromObjectCaseSensitive(file->header, "arrays"));
  return complete ? TR_OK : no_memory(file->path);
}

static tr_status joint_header(const file_list *list, const char *about, const char *path, cJSON *header) {
  cJSON *said = about ? cJSON_Parse(about) : cJSON_CreateNull(), *parts = cJSON_CreateArray();
  tr_status status = said && parts ? TR_OK : tr_fail(TR_EINVAL, "writing the model %s: what is said about it is no JSON", path);
  for (size_t i = 0; status == TR_OK && i < list->count; ++i) {
    tr_model_file *file;
    status = tr_model_file_open(list->paths[i], &file);
    if (status == TR_OK)
      status = take_header(file, header, parts);
    tr_model_file_close(file);
  }
  if (status == TR_OK && cJSON_AddItemToObject(header, "about", said))
    said = NULL;
  if (status == TR_OK && !said && cJSON_AddItemToObject(header, "parts", parts))
    return TR_OK;
  cJSON_Delete(said);
  cJSON_Delete(parts);
  return status == TR_OK ? no_memory(path) : status;
}

tr_status tr_model_files_join(const char *const *paths, size_t count, tr_device *device, const char *about, const char *path) {
  file_list list = {.paths = paths, .count = count};
  cJSON *header = cJSON_CreateObject();
  tr_status status = header ? joint_header(&list, about, path, header) : no_memory(path);
  if (status == TR_OK)
    status = write_file(path, device, SEVERAL_MODELS, header, put_all_arrays, &list);
  cJSON_Delete(header);
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
