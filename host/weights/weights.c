/* Weight files: opening by content, finding and reading tensors. */
#include "host/weights/weights.h"

#include "host/base/status.h"
#include "host/weights/internal.h"

#include <stdio.h>
#include <stdlib.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are used as they lie in files, which are little-endian");

size_t tr_dtype_bytes(tr_dtype dtype) {
  static const size_t bytes[] = {
      [TR_F32] = 4, [TR_F16] = 2, [TR_BF16] = 2, [TR_F64] = 8, [TR_I64] = 8, [TR_I32] = 4, [TR_U8] = 1};
  return bytes[dtype];
}

const char *tr_dtype_name(tr_dtype dtype) {
  static const char *const names[] = {[TR_F32] = "F32", [TR_F16] = "F16", [TR_BF16] = "BF16", [TR_F64] = "F64",
                                      [TR_I64] = "I64", [TR_I32] = "I32", [TR_U8] = "U8"};
  return names[dtype];
}

bool tr_shape_count(int rank, const int64_t *shape, size_t *count) {
  *count = 1;
  for (int i = 0; i < rank; ++i)
    if (shape[i] == 0) {
      *count = 0;
      return true;
    }
  for (int i = 0; i < rank; ++i)
    if (__builtin_mul_overflow(*count, (size_t)shape[i], count))
      return false;
  return *count <= INT64_MAX / sizeof(int64_t);
}

const char *tr_shape_text(char buffer[TR_SHAPE_TEXT_BYTES], int rank, const int64_t *shape) {
  size_t used = (size_t)snprintf(buffer, TR_SHAPE_TEXT_BYTES, "[");
  for (int i = 0; i < rank; ++i)
    used += (size_t)snprintf(buffer + used, TR_SHAPE_TEXT_BYTES - used, "%s%lld", i ? ", " : "", (long long)shape[i]);
  snprintf(buffer + used, TR_SHAPE_TEXT_BYTES - used, "]");
  return buffer;
}

const char *tr_printable(char buffer[TR_PRINTABLE_BYTES], const void *text, size_t bytes) {
  const uint8_t *from = text;
  size_t shown = bytes < TR_PRINTABLE_BYTES - 4 ? bytes : TR_PRINTABLE_BYTES - 4;
  for (size_t i = 0; i < shown; ++i)
    buffer[i] = from[i] < 0x20 || from[i] == 0x7f ? '?' : (char)from[i];
  memcpy(buffer + shown, shown < bytes ? "..." : "", shown < bytes ? 4 : 1);
  return buffer;
}

int tr_compare_bytes(const void *a, size_t a_bytes, const void *b, size_t b_bytes) {
  size_t common = a_bytes < b_bytes ? a_bytes : b_bytes;
  int order = common > 0 ? memcmp(a, b, common) : 0;
  return order != 0 ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

/* --- opening --- */

tr_status tr_weights_add(tr_weights *weights, const char *name, size_t name_bytes, const tr_tensor *tensor, void *copy) {
  char shown[TR_PRINTABLE_BYTES];
  tr_printable(shown, name, name_bytes);
  if (name_bytes > 0 && memchr(name, '\0', name_bytes)) {
    free(copy);
    return tr_fail(TR_EFORMAT, "tensor \"%s\": its name holds a zero byte", shown);
  }
  if (weights->count == weights->capacity) {
    size_t capacity = weights->capacity ? 2 * weights->capacity : 64;
    tr_weights_entry *entries = realloc(weights->entries, capacity * sizeof *entries);
    if (!entries) {
      free(copy);
      return tr_fail(TR_ENOMEM, "tensor \"%s\": out of memory", shown);
    }
    weights->entries = entries;
    weights->capacity = capacity;
  }
  char *own_name = strndup(name_bytes > 0 ? name : "", name_bytes);
  if (!own_name) {
    free(copy);
    return tr_fail(TR_ENOMEM, "tensor \"%s\": out of memory", shown);
  }
  tr_weights_entry *entry = &weights->entries[weights->count++];
  *entry = (tr_weights_entry){.tensor = *tensor, .name = own_name, .copy = copy};
  return TR_OK;
}

static tr_status read_by_content(tr_weights *weights) {
  const uint8_t *data = weights->file.data;
  size_t bytes = weights->file.bytes;
  if (bytes == 0)
    return tr_fail(TR_EFORMAT, "it is empty");
  /* The ninth byte first: a safetensors file whose header has 640 bytes begins as a pickle does. */
  if (bytes > 8 && data[8] == '{')
    return tr_safetensors_read(weights);
  if (bytes >= 4 && memcmp(data, "PK\3\4", 4) == 0)
    return tr_pth_zip_read(weights);
  if (bytes >= 2 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5)
    return tr_pth_legacy_read(weights);
  return tr_fail(TR_EFORMAT, "its %zu bytes are neither a safetensors file nor one of torch.save (zip or pickle)", bytes);
}

/* torch.nn.DataParallel puts "module." before every name. */
static void name_tensors(tr_weights *weights) {
  static const char prefix[] = "module.";
  size_t skip = sizeof prefix - 1;
  for (size_t i = 0; i < weights->count && skip > 0; ++i)
    if (strncmp(weights->entries[i].name, prefix, skip) != 0)
      skip = 0;
  for (size_t i = 0; i < weights->count; ++i)
    weights->entries[i].tensor.name = weights->entries[i].name + skip;
}

static int compare_names(const void *a, const void *b) {
  return strcmp((*(const tr_tensor *const *)a)->name, (*(const tr_tensor *const *)b)->name);
}

static tr_status index_names(tr_weights *weights) {
  if (weights->count == 0)
    return tr_fail(TR_EFORMAT, "it holds no tensor");
  weights->by_name = malloc(weights->count * sizeof *weights->by_name);
  if (!weights->by_name)
    return tr_fail(TR_ENOMEM, "out of memory");
  for (size_t i = 0; i < weights->count; ++i)
    weights->by_name[i] = &weights->entries[i].tensor;
  qsort(weights->by_name, weights->count, sizeof *weights->by_name, compare_names);
  for (size_t i = 1; i < weights->count; ++i)
    if (compare_names(&weights->by_name[i - 1], &weights->by_name[i]) == 0) {
      char name[TR_PRINTABLE_BYTES];
      return tr_fail(TR_EFORMAT, "tensor \"%s\" is in it twice",
                     tr_printable(name, weights->by_name[i]->name, strlen(weights->by_name[i]->name)));
    }
  return TR_OK;
}

static tr_status open_parts(tr_weights *weights, const char *path) {
  weights->path = strdup(path);
  if (!weights->path)
    return tr_fail(TR_ENOMEM, "out of memory");
  TR_TRY(read_by_content(weights));
  name_tensors(weights);
  return index_names(weights);
}

tr_status tr_weights_open_memory(const char *path, const uint8_t *data, size_t bytes, tr_weights **out) {
  *out = NULL;
  tr_weights *weights = calloc(1, sizeof *weights);
  if (!weights)
    return tr_fail(TR_ENOMEM, "reading weights from %s: out of memory", path);
  weights->file = (tr_mapping){data, bytes};
  tr_status status = open_parts(weights, path);
  if (status == TR_OK) {
    *out = weights;
    return TR_OK;
  }
  tr_weights_close(weights);
  return tr_fail_context(status, "reading weights from %s", path);
}

tr_status tr_weights_open(const char *path, tr_weights **out) {
  *out = NULL;
  tr_mapping file;
  TR_TRY(tr_file_map(path, &file));
  tr_weights *weights;
  tr_status status = tr_weights_open_memory(path, file.data, file.bytes, &weights);
  if (status != TR_OK) {
    tr_file_unmap(&file);
    return status;
  }
  weights->mapped = true;
  status = tr_file_sha256(path, weights->sha256);
  if (status != TR_OK) {
    tr_weights_close(weights);
    return status;
  }
  *out = weights;
  return TR_OK;
}

void tr_weights_close(tr_weights *weights) {
  if (!weights)
    return;
  for (size_t i = 0; i < weights->count; ++i) {
    free(weights->entries[i].name);
    free(weights->entries[i].copy);
  }
  free(weights->entries);
  free(weights->by_name);
  tr_strings_free(&weights->metadata);
  if (weights->mapped)
    tr_file_unmap(&weights->file);
  free(weights->path);
  free(weights);
}

/* --- asking --- */

const char *tr_weights_path(const tr_weights *weights) {
  return weights->path;
}

const char *tr_weights_sha256(const tr_weights *weights) {
  return weights->sha256;
}

const char *tr_weights_metadata(const tr_weights *weights, const char *key) {
  for (size_t i = 0; i + 1 < weights->metadata.count; i += 2)
    if (strcmp(weights->metadata.items[i], key) == 0)
      return weights->metadata.items[i + 1];
  return NULL;
}

size_t tr_weights_count(const tr_weights *weights) {
  return weights->count;
}

const tr_tensor *tr_weights_at(const tr_weights *weights, size_t index) {
  return &weights->entries[index].tensor;
}

static int compare_name_to(const void *name, const void *tensor) {
  return strcmp(name, (*(const tr_tensor *const *)tensor)->name);
}

const tr_tensor *tr_weights_find(const tr_weights *weights, const char *name) {
  const tr_tensor *const *found = bsearch(name, weights->by_name, weights->count, sizeof *weights->by_name, compare_name_to);
  return found ? *found : NULL;
}

/* --- reading --- */

static float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* IEEE binary16. Without branches, so that compilers vectorise the loop over it; exact, NaN payloads included. Subnormals go by
 * an integer's conversion, which does not depend on whether the processor flushes subnormal floats. */
static inline float half_to_float(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = half & 0x7fff;
  uint32_t normal = (magnitude << 13) + ((127u - 15) << 23);
  uint32_t special = (magnitude << 13) | 0x7f800000u;
  float subnormal = (float)(int32_t)magnitude * 0x1p-24f;
  uint32_t bits;
  memcpy(&bits, &subnormal, sizeof bits);
  bits = magnitude >= 0x0400 ? normal : bits;
  bits = magnitude >= 0x7c00 ? special : bits;
  return float_of_bits(bits | sign);
}

static inline float bfloat16_to_float(uint16_t value) {
  return float_of_bits((uint32_t)value << 16);
}

float tr_half_to_float(uint16_t half) {
  return half_to_float(half);
}

float tr_bfloat16_to_float(uint16_t value) {
  return bfloat16_to_float(value);
}

static inline uint16_t load16(const uint8_t *data) {
  uint16_t value;
  memcpy(&value, data, sizeof value);
  return value;
}

/* The data need not be aligned. The loops inline their conversion (twice as fast: position-independent code cannot inline a
 * function that others see). */
static void convert(const tr_tensor *tensor, size_t count, float *out) {
  const uint8_t *data = tensor->data;
  if (tensor->dtype == TR_F32)
    memcpy(out, data, count * sizeof *out);
  else if (tensor->dtype == TR_F16)
    for (size_t i = 0; i < count; ++i)
      out[i] = half_to_float(load16(data + 2 * i));
  else if (tensor->dtype == TR_BF16)
    for (size_t i = 0; i < count; ++i)
      out[i] = bfloat16_to_float(load16(data + 2 * i));
  else
    for (size_t i = 0; i < count; ++i) {
      double value;
      memcpy(&value, data + 8 * i, sizeof value);
      out[i] = (float)value;
    }
}

static bool is_floating(tr_dtype dtype) {
  return dtype == TR_F32 || dtype == TR_F16 || dtype == TR_BF16 || dtype == TR_F64;
}

static tr_status read_tensor(const tr_weights *weights, const char *name, int rank, const int64_t *shape, float *out) {
  char expected[TR_SHAPE_TEXT_BYTES], found[TR_SHAPE_TEXT_BYTES];
  const tr_tensor *tensor = tr_weights_find(weights, name);
  if (!tensor)
    return tr_fail(TR_EFORMAT, "it is not in the file; expected shape %s", tr_shape_text(expected, rank, shape));
  bool same = tensor->rank == rank;
  for (int i = 0; same && i < rank; ++i)
    same = tensor->shape[i] == shape[i];
  if (!same)
    return tr_fail(TR_EFORMAT, "expected shape %s, found %s", tr_shape_text(expected, rank, shape),
                   tr_shape_text(found, tensor->rank, tensor->shape));
  if (!is_floating(tensor->dtype))
    return tr_fail(TR_EFORMAT, "it holds integers (%s), expected floating point numbers", tr_dtype_name(tensor->dtype));
  if (tensor->bytes > 0)
    convert(tensor, tensor->bytes / tr_dtype_bytes(tensor->dtype), out);
  return TR_OK;
}

tr_status tr_weights_read(const tr_weights *weights, const char *name, int rank, const int64_t *shape, float *out) {
  if (rank < 0 || rank > TR_TENSOR_MAX_RANK)
    return tr_fail(TR_EINVAL, "reading tensor \"%s\": %d dimensions, expected 0 to %d", name, rank, TR_TENSOR_MAX_RANK);
  tr_status status = read_tensor(weights, name, rank, shape, out);
  return status == TR_OK ? TR_OK : tr_fail_context(status, "reading weights from %s: tensor \"%s\"", weights->path, name);
}
