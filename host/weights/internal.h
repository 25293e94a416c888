/* What the readers of the formats share: the opened file as it is being built, and small helpers.
 *
 * Readers do not name the file in their errors; tr_weights_open_memory puts "reading weights from <path>: " before them.
 * What they allocate is in proportion to the file's size, whatever the file claims.
 */
#ifndef TR_WEIGHTS_INTERNAL_H
#define TR_WEIGHTS_INTERNAL_H

#include "host/base/status.h"
#include "host/base/text.h"
#include "host/weights/pickle.h"
#include "host/weights/weights.h"

#include <string.h>

typedef struct tr_weights_entry {
  tr_tensor tensor;
  char *name; /* as the file has it; tensor.name may point behind a prefix */
  void *copy; /* owned row-major copy of a tensor that lies permuted in the file, else NULL */
} tr_weights_entry;

struct tr_weights {
  char *path;
  tr_mapping file;
  bool mapped; /* `file` is a mapping of ours */
  char sha256[65];
  tr_weights_entry *entries;
  size_t count, capacity;
  size_t copied_bytes;
  const tr_tensor **by_name;
  tr_strings metadata; /* key, value, key, value, … */
};

/* As tr_weights_open on memory that outlives the result; `path` is for messages. No hash is taken. */
tr_status tr_weights_open_memory(const char *path, const uint8_t *data, size_t bytes, tr_weights **out);

/* A tensor takes some 100 to 150 bytes in a header or a pickle, so this is 100,000 of them. What is made of a header can take
 * 70 times its bytes: a hostile file is not to have its whole length for that. */
#define TR_LONGEST_HEADER_BYTES ((size_t)16 << 20)

/* The readers: fill entries and metadata from weights->file. */
tr_status tr_safetensors_read(tr_weights *weights);
tr_status tr_pth_zip_read(tr_weights *weights);
tr_status tr_pth_legacy_read(tr_weights *weights);

/* Adds a tensor. Takes ownership of `copy`, even on failure; the name is copied, `tensor->name` not read. */
tr_status tr_weights_add(tr_weights *weights, const char *name, size_t name_bytes, const tr_tensor *tensor, void *copy);

/* Where a container keeps a storage: its first byte, with all storage->count elements in the file. */
typedef tr_status (*tr_storage_find)(void *context, const tr_pickle_storage *storage, const uint8_t **data);

/* Adds the tensors of the state dict that a pickle made. */
tr_status tr_state_dict_read(tr_weights *weights, const tr_pickle_value *root, tr_storage_find find, void *context);

size_t tr_dtype_bytes(tr_dtype dtype);
const char *tr_dtype_name(tr_dtype dtype); /* as safetensors writes it */

/* Elements of a shape without negative extents; false where they, as the widest dtype, cannot be counted in bytes. */
bool tr_shape_count(int rank, const int64_t *shape, size_t *count);

/* "[64, 3, 7, 7]" */
#define TR_SHAPE_TEXT_BYTES (TR_TENSOR_MAX_RANK * 22 + 3)
const char *tr_shape_text(char buffer[TR_SHAPE_TEXT_BYTES], int rank, const int64_t *shape);

/* Text from a file for an error message: shortened, control characters replaced. */
#define TR_PRINTABLE_BYTES 104
const char *tr_printable(char buffer[TR_PRINTABLE_BYTES], const void *text, size_t bytes);

/* Byte strings compared as strcmp does. */
int tr_compare_bytes(const void *a, size_t a_bytes, const void *b, size_t b_bytes);

static inline uint16_t tr_le16(const uint8_t *p) {
  return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t tr_le32(const uint8_t *p) {
  return tr_le16(p) | (uint32_t)tr_le16(p + 2) << 16;
}

static inline uint64_t tr_le64(const uint8_t *p) {
  return tr_le32(p) | (uint64_t)tr_le32(p + 4) << 32;
}

#endif
