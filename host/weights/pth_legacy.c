/* The .pth form before PyTorch 1.6, and of `_use_new_zipfile_serialization=False` since (torch/serialization.py, _legacy_save):
 * pickles of a magic number, the protocol version and facts about the writer; the object; a list of storage keys; then each
 * storage of that list as an int64 count and its elements.
 */
#include "host/base/status.h"
#include "host/weights/internal.h"

#include <stdlib.h>

typedef struct tr_legacy_storage {
  tr_pickle_storage storage;
  const uint8_t *data; /* NULL until the key list has led to it */
} tr_legacy_storage;

typedef struct tr_legacy {
  const uint8_t *data;
  size_t bytes, position;
  tr_pickle *object;
  tr_legacy_storage *storages; /* sorted by key */
  size_t count;
} tr_legacy;

static tr_status next_pickle(tr_legacy *file, const char *what, tr_pickle **out) {
  tr_status status = tr_pickle_load(file->data + file->position, file->bytes - file->position, out);
  if (status != TR_OK)
    return tr_fail_context(status, "the pickle of %s, from byte %zu", what, file->position);
  file->position += tr_pickle_bytes(*out);
  return TR_OK;
}

/* The first three pickles. 0x1950a86a20f9469cfc6c and 1001 are torch.serialization's MAGIC_NUMBER and PROTOCOL_VERSION. */
static tr_status check_magic(const tr_pickle_value *value) {
  static const uint8_t magic[] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
  if (value->kind != TR_PICKLE_LONG || tr_compare_bytes(value->as.text.data, value->as.text.bytes, magic, sizeof magic) != 0)
    return tr_fail(TR_EFORMAT, "it is a pickle, but not one of torch.save: its first value is not PyTorch's magic number");
  return TR_OK;
}

static tr_status check_protocol(const tr_pickle_value *value) {
  if (value->kind != TR_PICKLE_INTEGER)
    return tr_fail(TR_EFORMAT, "its protocol version is %s, expected 1001", tr_pickle_kind_name(value->kind));
  if (value->as.integer != 1001)
    return tr_fail(TR_EFORMAT, "its protocol version is %lld, expected 1001", (long long)value->as.integer);
  return TR_OK;
}

static tr_status check_system(const tr_pickle_value *value) {
  const tr_pickle_value *little = tr_pickle_get(value, "little_endian");
  if (!little || little->kind != TR_PICKLE_BOOL)
    return tr_fail(TR_EFORMAT, "it does not say in which byte order it was written");
  if (!little->as.integer)
    return tr_fail(TR_EFORMAT, "it was written in big-endian byte order, expected little-endian");
  return TR_OK;
}

static tr_status read_head(tr_legacy *file) {
  static const struct {
    const char *what;
    tr_status (*check)(const tr_pickle_value *value);
  } parts[] = {
      {"the magic number", check_magic}, {"the protocol version", check_protocol}, {"the system information", check_system}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i) {
    tr_pickle *pickle;
    TR_TRY(next_pickle(file, parts[i].what, &pickle));
    tr_status status = parts[i].check(tr_pickle_root(pickle));
    tr_pickle_free(pickle);
    TR_TRY(status);
  }
  return TR_OK;
}

static int compare_keys(const tr_pickle_storage *a, const tr_pickle_storage *b) {
  return tr_compare_bytes(a->key.data, a->key.bytes, b->key.data, b->key.bytes);
}

static int compare_storages(const void *a, const void *b) {
  return compare_keys(&((const tr_legacy_storage *)a)->storage, &((const tr_legacy_storage *)b)->storage);
}

static tr_status bad_storage(const tr_pickle_storage *storage, const char *what) {
  char key[TR_PRINTABLE_BYTES];
  return tr_fail(TR_EFORMAT, "storage \"%s\" %s", tr_printable(key, storage->key.data, storage->key.bytes), what);
}

/* One entry a key, from the object's references. */
static tr_status collect_storages(tr_legacy *file) {
  const tr_pickle_list *references = tr_pickle_storages(file->object);
  file->storages = calloc(references->count + 1, sizeof *file->storages);
  if (!file->storages)
    return tr_fail(TR_ENOMEM, "out of memory");
  for (size_t i = 0; i < references->count; ++i)
    file->storages[i].storage = references->items[i]->as.storage;
  if (references->count > 1)
    qsort(file->storages, references->count, sizeof *file->storages, compare_storages);
  for (size_t i = 0; i < references->count; ++i) {
    const tr_pickle_storage *last = file->count > 0 ? &file->storages[file->count - 1].storage : NULL;
    const tr_pickle_storage *storage = &file->storages[i].storage;
    if (!last || compare_keys(last, storage) != 0)
      file->storages[file->count++] = file->storages[i];
    else if (last->dtype != storage->dtype || last->count != storage->count)
      return bad_storage(storage, "is referred to with two types or sizes");
  }
  return TR_OK;
}

static tr_legacy_storage *find_key(const tr_legacy *file, tr_pickle_text key) {
  tr_legacy_storage wanted = {.storage.key = key};
  return file->count ? bsearch(&wanted, file->storages, file->count, sizeof wanted, compare_storages) : NULL;
}

static tr_status place_storage(tr_legacy *file, const tr_pickle_value *key) {
  if (key->kind != TR_PICKLE_TEXT)
    return tr_fail(TR_EFORMAT, "a storage's key is %s, expected text", tr_pickle_kind_name(key->kind));
  const tr_pickle_storage named = {.key = key->as.text};
  tr_legacy_storage *entry = find_key(file, key->as.text);
  if (!entry)
    return bad_storage(&named, "is in the file, but no tensor uses it");
  if (entry->data)
    return bad_storage(&named, "is in the file twice");
  char name[TR_PRINTABLE_BYTES];
  tr_printable(name, named.key.data, named.key.bytes);
  size_t left = file->bytes - file->position;
  if (left < 8)
    return tr_fail(TR_EFORMAT, "the file ends before storage \"%s\": it is cut short", name);
  const uint8_t *at = file->data + file->position;
  uint64_t count = tr_le64(at), element = tr_dtype_bytes(entry->storage.dtype);
  if (count != (uint64_t)entry->storage.count)
    return tr_fail(TR_EFORMAT, "storage \"%s\" has %llu elements, expected %lld", name, (unsigned long long)count,
                   (long long)entry->storage.count);
  if (count > (left - 8) / element)
    return tr_fail(TR_EFORMAT, "storage \"%s\" needs %llu elements of %llu bytes, and %zu bytes are left: the file is cut short",
                   name, (unsigned long long)count, (unsigned long long)element, left - 8);
  entry->data = at + 8;
  file->position += 8 + (size_t)(count * element);
  return TR_OK;
}

static tr_status place_storages(tr_legacy *file) {
  tr_pickle *keys;
  TR_TRY(next_pickle(file, "the storage keys", &keys));
  const tr_pickle_value *list = tr_pickle_root(keys);
  tr_status status = TR_OK;
  if (list->kind != TR_PICKLE_LIST)
    status = tr_fail(TR_EFORMAT, "the storage keys are %s, expected a list", tr_pickle_kind_name(list->kind));
  else
    for (size_t i = 0; i < list->as.list.count && status == TR_OK; ++i)
      status = place_storage(file, list->as.list.items[i]);
  tr_pickle_free(keys);
  return status;
}

static tr_status find_storage(void *context, const tr_pickle_storage *storage, const uint8_t **data) {
  const tr_legacy_storage *entry = find_key(context, storage->key);
  if (!entry || !entry->data)
    return bad_storage(storage, "is not in the file");
  *data = entry->data;
  return TR_OK;
}

static tr_status read_file(tr_legacy *file, tr_weights *weights) {
  TR_TRY(read_head(file));
  TR_TRY(next_pickle(file, "the tensors", &file->object));
  TR_TRY(collect_storages(file));
  TR_TRY(place_storages(file));
  return tr_state_dict_read(weights, tr_pickle_root(file->object), find_storage, file);
}

tr_status tr_pth_legacy_read(tr_weights *weights) {
  tr_legacy file = {.data = weights->file.data, .bytes = weights->file.bytes};
  tr_status status = read_file(&file, weights);
  free(file.storages);
  tr_pickle_free(file.object);
  return status;
}
