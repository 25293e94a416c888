/* The .pth form since PyTorch 1.6: a zip archive of stored (never compressed) files, all in one folder (`archive/`, or named as the
 * file): data.pkl, the object; data/<key>, a storage each; byteorder; and others of no meaning here. The central directory is
 * what counts (PKWARE's APPNOTE 4.3.12, 4.3.14 to 16), with zip64's larger numbers (4.5.3).
 */
#include "host/base/status.h"
#include "host/weights/internal.h"

#include <stdlib.h>

typedef struct tr_zip_entry {
  const uint8_t *name;
  size_t name_bytes;
  uint64_t bytes, header_at;
  int method;
  bool encrypted;
} tr_zip_entry;

typedef struct tr_zip {
  const uint8_t *data;
  size_t bytes;
  tr_zip_entry *entries; /* sorted by name */
  size_t count;
  const uint8_t *folder; /* with its "/"; before data.pkl */
  size_t folder_bytes;
} tr_zip;

enum { END_BYTES = 22, END64_BYTES = 56, LOCATOR_BYTES = 20, CENTRAL_BYTES = 46, LOCAL_BYTES = 30 };

static bool signature_at(const tr_zip *zip, uint64_t at, size_t bytes, const char *signature) {
  return at <= zip->bytes && bytes <= zip->bytes - at && memcmp(zip->data + at, signature, 4) == 0;
}

/* The end record: last in the file but for a comment of at most 65535 bytes. */
static tr_status find_end(const tr_zip *zip, size_t *at) {
  size_t lowest = zip->bytes > END_BYTES + UINT16_MAX ? zip->bytes - END_BYTES - UINT16_MAX : 0;
  for (size_t i = zip->bytes; i-- > lowest;)
    if (signature_at(zip, i, END_BYTES, "PK\5\6") && i + END_BYTES + tr_le16(zip->data + i + 20) == zip->bytes) {
      *at = i;
      return TR_OK;
    }
  return tr_fail(TR_EFORMAT, "it begins as a zip archive, and has no end record: it is cut short or damaged");
}

static tr_status find_directory(const tr_zip *zip, uint64_t *at, uint64_t *bytes, uint64_t *count) {
  size_t end;
  TR_TRY(find_end(zip, &end));
  const uint8_t *record = zip->data + end;
  *count = tr_le16(record + 10);
  *bytes = tr_le32(record + 12);
  *at = tr_le32(record + 16);
  if (end >= LOCATOR_BYTES && signature_at(zip, end - LOCATOR_BYTES, LOCATOR_BYTES, "PK\6\7")) {
    uint64_t end64 = tr_le64(zip->data + end - LOCATOR_BYTES + 8);
    if (!signature_at(zip, end64, END64_BYTES, "PK\6\6"))
      return tr_fail(TR_EFORMAT, "its zip64 end record is not where it should be: it is damaged");
    record = zip->data + end64;
    *count = tr_le64(record + 32);
    *bytes = tr_le64(record + 40);
    *at = tr_le64(record + 48);
  }
  if (*at > end || *bytes > end - *at)
    return tr_fail(TR_EFORMAT, "its zip directory is said to reach beyond the file: it is cut short or damaged");
  return TR_OK;
}

/* A number that did not fit 32 bits stands in the zip64 field, in order of the directory's own fields. */
static bool take_zip64(uint32_t value, const uint8_t **field, size_t *left, uint64_t *out) {
  *out = value;
  if (value != UINT32_MAX)
    return true;
  if (*left < 8)
    return false;
  *out = tr_le64(*field);
  *field += 8;
  *left -= 8;
  return true;
}

static const uint8_t *find_zip64(const uint8_t *extra, size_t bytes, size_t *field_bytes) {
  *field_bytes = 0;
  for (size_t at = 0; at + 4 <= bytes;) {
    size_t size = tr_le16(extra + at + 2);
    if (size > bytes - at - 4)
      return NULL;
    if (tr_le16(extra + at) == 1) {
      *field_bytes = size;
      return extra + at + 4;
    }
    at += 4 + size;
  }
  return NULL;
}

/* One entry of the directory; `left` bytes of it remain from `record`. */
static tr_status read_entry(const uint8_t *record, uint64_t left, tr_zip_entry *entry, size_t *record_bytes) {
  if (left < CENTRAL_BYTES || memcmp(record, "PK\1\2", 4) != 0)
    return tr_fail(TR_EFORMAT, "its zip directory is damaged");
  size_t name_bytes = tr_le16(record + 28), extra_bytes = tr_le16(record + 30);
  *record_bytes = CENTRAL_BYTES + name_bytes + extra_bytes + tr_le16(record + 32);
  if (*record_bytes > left)
    return tr_fail(TR_EFORMAT, "its zip directory is damaged");
  *entry = (tr_zip_entry){.name = record + CENTRAL_BYTES,
                          .name_bytes = name_bytes,
                          .method = tr_le16(record + 10),
                          .encrypted = tr_le16(record + 8) & 1};
  size_t field_bytes;
  const uint8_t *field = find_zip64(entry->name + name_bytes, extra_bytes, &field_bytes);
  uint64_t compressed;
  if (!take_zip64(tr_le32(record + 24), &field, &field_bytes, &entry->bytes) ||
      !take_zip64(tr_le32(record + 20), &field, &field_bytes, &compressed) ||
      !take_zip64(tr_le32(record + 42), &field, &field_bytes, &entry->header_at))
    return tr_fail(TR_EFORMAT, "its zip directory lacks a zip64 field: it is damaged");
  return TR_OK;
}

static int compare_entries(const void *a, const void *b) {
  const tr_zip_entry *x = a, *y = b;
  return tr_compare_bytes(x->name, x->name_bytes, y->name, y->name_bytes);
}

static tr_status read_directory(tr_zip *zip) {
  uint64_t at, left, count;
  TR_TRY(find_directory(zip, &at, &left, &count));
  if (count > left / CENTRAL_BYTES)
    return tr_fail(TR_EFORMAT, "its zip directory is said to have %llu entries in %llu bytes: it is damaged",
                   (unsigned long long)count, (unsigned long long)left);
  zip->entries = calloc((size_t)count + 1, sizeof *zip->entries);
  if (!zip->entries)
    return tr_fail(TR_ENOMEM, "out of memory");
  const uint8_t *record = zip->data + at;
  for (; zip->count < count; ++zip->count) {
    size_t record_bytes;
    TR_TRY(read_entry(record, left, &zip->entries[zip->count], &record_bytes));
    record += record_bytes;
    left -= record_bytes;
  }
  if (count > 1)
    qsort(zip->entries, zip->count, sizeof *zip->entries, compare_entries);
  for (size_t i = 1; i < zip->count; ++i)
    if (compare_entries(&zip->entries[i - 1], &zip->entries[i]) == 0) {
      char name[TR_PRINTABLE_BYTES];
      return tr_fail(TR_EFORMAT, "its zip directory has \"%s\" twice",
                     tr_printable(name, zip->entries[i].name, zip->entries[i].name_bytes));
    }
  return TR_OK;
}

/* <folder><below><key>; *found is NULL where there is no such entry. */
static tr_status find_entry(const tr_zip *zip, const char *below, tr_pickle_text key, const tr_zip_entry **found) {
  size_t below_bytes = strlen(below), bytes = zip->folder_bytes + below_bytes + key.bytes;
  uint8_t *name = malloc(bytes + 1);
  if (!name)
    return tr_fail(TR_ENOMEM, "out of memory");
  memcpy(name, zip->folder, zip->folder_bytes);
  memcpy(name + zip->folder_bytes, below, below_bytes + 1);
  if (key.bytes)
    memcpy(name + zip->folder_bytes + below_bytes, key.data, key.bytes);
  tr_zip_entry wanted = {.name = name, .name_bytes = bytes};
  *found = bsearch(&wanted, zip->entries, zip->count, sizeof wanted, compare_entries);
  free(name);
  return TR_OK;
}

/* Where an entry's bytes lie. Its local header repeats the name and has an extra field of its own. */
static tr_status entry_data(const tr_zip *zip, const tr_zip_entry *entry, const uint8_t **data) {
  char name[TR_PRINTABLE_BYTES];
  tr_printable(name, entry->name, entry->name_bytes);
  if (entry->encrypted || entry->method != 0)
    return tr_fail(TR_EFORMAT, "\"%s\" in it is %s, expected it stored as torch.save does", name,
                   entry->encrypted ? "encrypted" : "compressed");
  if (!signature_at(zip, entry->header_at, LOCAL_BYTES, "PK\3\4"))
    return tr_fail(TR_EFORMAT, "\"%s\" in it is not where the zip directory says: it is damaged", name);
  const uint8_t *header = zip->data + entry->header_at;
  size_t skip = LOCAL_BYTES + (size_t)tr_le16(header + 26) + tr_le16(header + 28), left = zip->bytes - (size_t)entry->header_at;
  if (skip > left || entry->bytes > left - skip)
    return tr_fail(TR_EFORMAT, "\"%s\" in it needs %llu bytes that are not in the file: it is cut short or damaged", name,
                   (unsigned long long)entry->bytes);
  *data = header + skip;
  return TR_OK;
}

/* The folder is that of the only data.pkl. */
static tr_status find_object(tr_zip *zip, const tr_zip_entry **object) {
  static const char name[] = "data.pkl";
  size_t name_bytes = sizeof name - 1;
  *object = NULL;
  for (size_t i = 0; i < zip->count; ++i) {
    const tr_zip_entry *entry = &zip->entries[i];
    if (entry->name_bytes < name_bytes || memcmp(entry->name + entry->name_bytes - name_bytes, name, name_bytes) != 0)
      continue;
    size_t folder_bytes = entry->name_bytes - name_bytes;
    if (folder_bytes > 0 && entry->name[folder_bytes - 1] != '/')
      continue;
    if (*object)
      return tr_fail(TR_EFORMAT, "it is a zip archive with more than one data.pkl, expected one");
    *object = entry;
    zip->folder = entry->name;
    zip->folder_bytes = folder_bytes;
  }
  if (!*object)
    return tr_fail(TR_EFORMAT, "it is a zip archive without data.pkl, expected one written by torch.save");
  return TR_OK;
}

static tr_status check_kind(const tr_zip *zip) {
  const tr_zip_entry *entry;
  const tr_pickle_text none = {NULL, 0};
  TR_TRY(find_entry(zip, "constants.pkl", none, &entry));
  if (entry)
    return tr_fail(TR_EFORMAT, "it is a TorchScript program, expected a state dict written by torch.save");
  TR_TRY(find_entry(zip, "byteorder", none, &entry));
  if (!entry) /* PyTorch before 2.1, which wrote on little-endian machines */
    return TR_OK;
  const uint8_t *order;
  TR_TRY(entry_data(zip, entry, &order));
  if (tr_compare_bytes(order, (size_t)entry->bytes, "little", 6) != 0)
    return tr_fail(TR_EFORMAT, "it was written in big-endian byte order, expected little-endian");
  return TR_OK;
}

static tr_status find_storage(void *context, const tr_pickle_storage *storage, const uint8_t **data) {
  const tr_zip *zip = context;
  const tr_zip_entry *entry;
  TR_TRY(find_entry(zip, "data/", storage->key, &entry));
  char key[TR_PRINTABLE_BYTES];
  tr_printable(key, storage->key.data, storage->key.bytes);
  if (!entry)
    return tr_fail(TR_EFORMAT, "its storage data/%s is not in the file", key);
  size_t element = tr_dtype_bytes(storage->dtype);
  if (entry->bytes % element != 0 || entry->bytes / element != (uint64_t)storage->count)
    return tr_fail(TR_EFORMAT, "its storage data/%s has %llu bytes, expected %lld elements of %zu bytes", key,
                   (unsigned long long)entry->bytes, (long long)storage->count, element);
  return entry_data(zip, entry, data);
}

static tr_status read_object(tr_zip *zip, const tr_zip_entry *object, tr_weights *weights) {
  const uint8_t *data;
  tr_pickle *pickle;
  TR_TRY(entry_data(zip, object, &data));
  tr_status status = tr_pickle_load(data, (size_t)object->bytes, &pickle);
  if (status != TR_OK)
    return tr_fail_context(status, "data.pkl");
  status = tr_state_dict_read(weights, tr_pickle_root(pickle), find_storage, zip);
  tr_pickle_free(pickle);
  return status;
}

static tr_status read_file(tr_zip *zip, tr_weights *weights) {
  const tr_zip_entry *object;
  TR_TRY(read_directory(zip));
  TR_TRY(find_object(zip, &object));
  TR_TRY(check_kind(zip));
  return read_object(zip, object, weights);
}

tr_status tr_pth_zip_read(tr_weights *weights) {
  tr_zip zip = {.data = weights->file.data, .bytes = weights->file.bytes};
  tr_status status = read_file(&zip, weights);
  free(zip.entries);
  return status;
}
