/* safetensors (https://github.com/huggingface/safetensors, "Format"): 8 bytes of header length, a JSON header of tensors and an
 * optional `__metadata__` of strings, then the tensors' bytes, which the header's ranges cover without holes or overlaps.
 *
 * cJSON keeps numbers as double, so those from 2^53 on are refused.
 */
#include "host/base/status.h"
#include "host/weights/internal.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

typedef struct tr_region {
  const uint8_t *data;
  size_t bytes;
} tr_region;

static const char *quoted(char buffer[TR_PRINTABLE_BYTES], const char *text) {
  return tr_printable(buffer, text, strlen(text));
}

static int compare_strings(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static tr_status check_keys_once(const cJSON *object, const char *where) {
  size_t count = 0;
  for (const cJSON *item = object->child; item; item = item->next)
    ++count;
  const char **keys = malloc((count + 1) * sizeof *keys);
  if (!keys)
    return tr_fail(TR_ENOMEM, "out of memory");
  count = 0;
  for (const cJSON *item = object->child; item; item = item->next)
    keys[count++] = item->string;
  qsort(keys, count, sizeof *keys, compare_strings);
  tr_status status = TR_OK;
  for (size_t i = 1; i < count && status == TR_OK; ++i)
    if (strcmp(keys[i - 1], keys[i]) == 0) {
      char key[TR_PRINTABLE_BYTES];
      status = tr_fail(TR_EFORMAT, "%s has the key \"%s\" twice", where, quoted(key, keys[i]));
    }
  free(keys);
  return status;
}

static tr_status read_metadata(tr_weights *weights, const cJSON *object) {
  if (!cJSON_IsObject(object))
    return tr_fail(TR_EFORMAT, "its __metadata__ is not an object of strings");
  TR_TRY(check_keys_once(object, "its __metadata__"));
  for (const cJSON *item = object->child; item; item = item->next) {
    char key[TR_PRINTABLE_BYTES];
    if (!cJSON_IsString(item))
      return tr_fail(TR_EFORMAT, "its __metadata__ \"%s\" is not a string", quoted(key, item->string));
    TR_TRY(tr_strings_add(&weights->metadata, item->string));
    TR_TRY(tr_strings_add(&weights->metadata, item->valuestring));
  }
  return TR_OK;
}

static bool whole_number(const cJSON *item, int64_t *out) {
  if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble < 0x1p53))
    return false;
  *out = (int64_t)item->valuedouble;
  return (double)*out == item->valuedouble;
}

static tr_status read_dtype(const cJSON *item, tr_dtype *out) {
  static const struct {
    const char *name;
    tr_dtype dtype;
  } dtypes[] = {{"F32", TR_F32}, {"F16", TR_F16}, {"BF16", TR_BF16}, {"F64", TR_F64},
                {"I64", TR_I64}, {"I32", TR_I32}, {"U8", TR_U8},     {"BOOL", TR_U8}};
  if (!cJSON_IsString(item))
    return tr_fail(TR_EFORMAT, "its dtype is not a string");
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; ++i)
    if (strcmp(item->valuestring, dtypes[i].name) == 0) {
      *out = dtypes[i].dtype;
      return TR_OK;
    }
  char name[TR_PRINTABLE_BYTES];
  return tr_fail(TR_EFORMAT, "its dtype is \"%s\", expected one of F32, F16, BF16, F64, I64, I32, U8, BOOL",
                 quoted(name, item->valuestring));
}

static tr_status read_shape(const cJSON *item, tr_tensor *tensor) {
  if (!cJSON_IsArray(item))
    return tr_fail(TR_EFORMAT, "its shape is not a list");
  for (const cJSON *extent = item->child; extent; extent = extent->next) {
    if (tensor->rank == TR_TENSOR_MAX_RANK)
      return tr_fail(TR_EFORMAT, "it has %d dimensions, expected at most %d", cJSON_GetArraySize(item), TR_TENSOR_MAX_RANK);
    if (!whole_number(extent, &tensor->shape[tensor->rank++]))
      return tr_fail(TR_EFORMAT, "its shape holds something else than whole numbers below 2^53");
  }
  return TR_OK;
}

static tr_status read_range(const cJSON *item, const tr_region *region, tr_tensor *tensor) {
  int64_t begin, end;
  if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != 2 || !whole_number(item->child, &begin) ||
      !whole_number(item->child->next, &end) || begin > end)
    return tr_fail(TR_EFORMAT, "its data_offsets are not two whole numbers below 2^53, the first not above the second");
  if ((uint64_t)end > region->bytes)
    return tr_fail(TR_EFORMAT, "it lies at bytes %lld to %lld behind the header, and the file has %zu there: it is cut short",
                   (long long)begin, (long long)end, region->bytes);
  tensor->data = region->data + begin;
  tensor->bytes = (size_t)(end - begin);
  return TR_OK;
}

static tr_status read_fields(const cJSON *object, const tr_region *region, tr_tensor *tensor) {
  static const char *const names[] = {"dtype", "shape", "data_offsets"};
  const cJSON *fields[3];
  if (!cJSON_IsObject(object))
    return tr_fail(TR_EFORMAT, "its entry in the header is not an object");
  for (int i = 0; i < 3; ++i)
    if (!(fields[i] = cJSON_GetObjectItemCaseSensitive(object, names[i])))
      return tr_fail(TR_EFORMAT, "its entry in the header has no %s", names[i]);
  if (cJSON_GetArraySize(object) != 3)
    return tr_fail(TR_EFORMAT, "its entry in the header has more than dtype, shape and data_offsets");
  TR_TRY(read_dtype(fields[0], &tensor->dtype));
  TR_TRY(read_shape(fields[1], tensor));
  TR_TRY(read_range(fields[2], region, tensor));
  size_t count, element = tr_dtype_bytes(tensor->dtype);
  char shape[TR_SHAPE_TEXT_BYTES];
  if (!tr_shape_count(tensor->rank, tensor->shape, &count) || count * element != tensor->bytes)
    return tr_fail(TR_EFORMAT, "%s of shape %s do not fit its %zu bytes", tr_dtype_name(tensor->dtype),
                   tr_shape_text(shape, tensor->rank, tensor->shape), tensor->bytes);
  return TR_OK;
}

static tr_status read_tensor(tr_weights *weights, const cJSON *object, const tr_region *region) {
  tr_tensor tensor = {.rank = 0};
  tr_status status = read_fields(object, region, &tensor);
  if (status != TR_OK) {
    char name[TR_PRINTABLE_BYTES];
    return tr_fail_context(status, "tensor \"%s\"", quoted(name, object->string));
  }
  return tr_weights_add(weights, object->string, strlen(object->string), &tensor, NULL);
}

static int compare_places(const void *a, const void *b) {
  const tr_weights_entry *x = *(const tr_weights_entry *const *)a, *y = *(const tr_weights_entry *const *)b;
  uintptr_t x_at = (uintptr_t)x->tensor.data, y_at = (uintptr_t)y->tensor.data;
  return x_at != y_at ? (x_at > y_at) - (x_at < y_at) : (x->tensor.bytes > y->tensor.bytes) - (x->tensor.bytes < y->tensor.bytes);
}

static tr_status check_order(const tr_weights_entry *const *entries, size_t count, const tr_region *region) {
  const uint8_t *end = region->data;
  for (size_t i = 0; i < count; ++i) {
    const uint8_t *begin = entries[i]->tensor.data;
    if (begin != end) {
      char name[TR_PRINTABLE_BYTES];
      return tr_fail(TR_EFORMAT, "tensor \"%s\": it begins at byte %zu, %s; expected byte %zu", quoted(name, entries[i]->name),
                     (size_t)(begin - region->data), begin < end ? "inside another tensor" : "behind a hole",
                     (size_t)(end - region->data));
    }
    end = begin + entries[i]->tensor.bytes;
  }
  if ((size_t)(end - region->data) != region->bytes)
    return tr_fail(TR_EFORMAT, "its tensors take %zu bytes, and the file has %zu behind its header", (size_t)(end - region->data),
                   region->bytes);
  return TR_OK;
}

/* The ranges, in order, must follow each other from the header's end to the file's. */
static tr_status check_coverage(const tr_weights *weights, const tr_region *region) {
  const tr_weights_entry **entries = malloc((weights->count + 1) * sizeof *entries);
  if (!entries)
    return tr_fail(TR_ENOMEM, "out of memory");
  for (size_t i = 0; i < weights->count; ++i)
    entries[i] = &weights->entries[i];
  qsort(entries, weights->count, sizeof *entries, compare_places);
  tr_status status = check_order(entries, weights->count, region);
  free(entries);
  return status;
}

static tr_status read_header(tr_weights *weights, const cJSON *header, const tr_region *region) {
  if (!cJSON_IsObject(header))
    return tr_fail(TR_EFORMAT, "its header is not a JSON object");
  TR_TRY(check_keys_once(header, "its header"));
  for (const cJSON *item = header->child; item; item = item->next)
    TR_TRY(strcmp(item->string, "__metadata__") == 0 ? read_metadata(weights, item) : read_tensor(weights, item, region));
  return check_coverage(weights, region);
}

/* Spaces may pad the header to a multiple of 8 bytes. */
static bool only_spaces(const char *text, const char *end) {
  while (text < end && *text == ' ')
    ++text;
  return text == end;
}

tr_status tr_safetensors_read(tr_weights *weights) {
  const tr_mapping *file = &weights->file;
  uint64_t header_bytes = tr_le64(file->data);
  if (header_bytes > file->bytes - 8)
    return tr_fail(TR_EFORMAT, "its header is said to have %llu bytes, and the file has %zu in all: it is cut short or damaged",
                   (unsigned long long)header_bytes, file->bytes);
  if (header_bytes > TR_LONGEST_HEADER_BYTES)
    return tr_fail(TR_EFORMAT, "its header has %llu bytes, expected at most %zu", (unsigned long long)header_bytes,
                   TR_LONGEST_HEADER_BYTES);
  const char *text = (const char *)file->data + 8, *text_end = text + header_bytes, *end = NULL;
  cJSON *header = cJSON_ParseWithLengthOpts(text, (size_t)header_bytes, &end, 0);
  if (!header)
    return tr_fail(TR_EFORMAT, "its header is no JSON from byte %zu on", end ? (size_t)(end - text) + 8 : 8);
  tr_region region = {(const uint8_t *)text_end, file->bytes - 8 - (size_t)header_bytes};
  tr_status status = only_spaces(end, text_end) ? read_header(weights, header, &region)
                                                : tr_fail(TR_EFORMAT, "its header has more than one JSON object");
  cJSON_Delete(header);
  return status;
}
