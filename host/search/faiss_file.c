/* FAISS's format (faiss/impl/index_write.cpp; the same in 1.7.3 and 1.15.1, whose files tests/golden has), little-endian, packed:
 *
 *   "IwFl" or "IwPQ"
 *   header      i32 d, i64 rows, 2 x i64 (no meaning), u8 trained, i32 metric (1: squared L2)
 *   u64 lists, u64 nprobe
 *   "IxF2"      the centroids, an index of their own: header, u64 values, floats
 *   direct map  u8 kind (0: none, 1: an array), u64 values, i64 each
 *   IwPQ        u8 whether codes are of differences from centroids, u64 bytes of a code; u64 d, u64 parts, u64 bits; u64 values, floats
 *   "ilar"      u64 lists, u64 bytes of a row
 *   "full"      u64 lists, u64 sizes; or "sprs": u64 values, pairs of u64 list and size
 *   every list  its rows, then i64 ids
 */
#include "host/search/faiss_file.h"
#include "host/base/status.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { SQUARED_L2 = 1, BITS = 8 };

/* What is not there yet is not read: `ok` turns false. */
typedef struct reader {
  const char *name;
  const unsigned char *at;
  size_t left;
  bool ok;
} reader;

static const void *take(reader *r, size_t count, size_t width) {
  const void *at = r->at;
  if (!r->ok || (width && count > r->left / width)) {
    r->ok = false;
    return NULL;
  }
  r->at += count * width;
  r->left -= count * width;
  return at;
}

static uint64_t take_number(reader *r, size_t width) {
  const void *at = take(r, 1, width);
  uint64_t value = 0; /* little-endian, as the machines that this runs on */
  if (at)
    memcpy(&value, at, width);
  return value;
}

static bool take_tag(reader *r, const char *tag) {
  const void *at = take(r, 1, 4);
  return at && memcmp(at, tag, 4) == 0;
}

static tr_status cut_short(const reader *r) {
  return tr_fail(TR_EFORMAT, "%s: expected an index of FAISS, found one that is cut short", r->name);
}

static tr_status contradicts(const reader *r, const char *what) {
  return tr_fail(TR_EFORMAT, "%s: expected an index of FAISS, found one whose %s contradict the rest", r->name, what);
}

static tr_status other_kind(const reader *r) {
  return tr_fail(TR_EDEVICE,
                 "%s: this build has no FAISS, and reads of FAISS's indexes IVF with whole rows or codes of 8 bits only: install "
                 "libfaiss-dev and OpenBLAS, and build again with TR_FAISS",
                 r->name);
}

typedef struct header {
  uint64_t d, rows;
  bool trained;
  int32_t metric;
} header;

static header take_header(reader *r) {
  header h;
  h.d = take_number(r, 4);
  h.rows = take_number(r, 8);
  take(r, 2, 8);
  h.trained = take_number(r, 1) != 0;
  h.metric = (int32_t)take_number(r, 4);
  return h;
}

static tr_status check_header(const reader *r, const header *h) {
  if (!r->ok)
    return cut_short(r);
  if (h->metric != SQUARED_L2)
    return tr_fail(TR_EFORMAT, "%s: expected an index that measures squared L2, found FAISS's metric %d", r->name, h->metric);
  if (!h->trained)
    return tr_fail(TR_EFORMAT, "%s: expected a trained index, found one that is not", r->name);
  if (h->rows < 1 || h->rows >= UINT32_MAX)
    return tr_fail(TR_EFORMAT, "%s: expected an index of 1 to 2^32 - 2 rows, found %llu", r->name, (unsigned long long)h->rows);
  return h->d >= 1 && h->d <= INT_MAX / TR_IVF_CODEWORDS ? TR_OK : contradicts(r, "dimensions");
}

/* A table of floats whose number stands before it. */
static tr_status take_floats(reader *r, uint64_t expected, const char *what, const void **out) {
  uint64_t count = take_number(r, 8);
  if (r->ok && count != expected)
    return contradicts(r, what);
  *out = take(r, (size_t)count, sizeof(float));
  return r->ok ? TR_OK : cut_short(r);
}

static tr_status take_centroids(reader *r, tr_lists_source *s) {
  bool flat = take_tag(r, "IxF2");
  if (r->ok && !flat)
    return other_kind(r);
  header h = take_header(r);
  if (r->ok && (h.metric != SQUARED_L2 || h.d != (uint64_t)s->shape.d || h.rows != s->shape.list_count))
    return contradicts(r, "centroids");
  return take_floats(r, (uint64_t)s->shape.list_count * (uint64_t)s->shape.d, "centroids", &s->centroids);
}

static tr_status take_codebooks(reader *r, tr_lists_source *s) {
  bool differences = take_number(r, 1) != 0;
  uint64_t code = take_number(r, 8), d = take_number(r, 8), parts = take_number(r, 8), bits = take_number(r, 8);
  if (r->ok && (!differences || bits != BITS))
    return other_kind(r);
  if (r->ok && (d != (uint64_t)s->shape.d || parts < 1 || parts > d || d % parts || code != parts))
    return contradicts(r, "codes");
  s->shape.codes = (int)parts;
  return take_floats(r, (uint64_t)TR_IVF_CODEWORDS * d, "codebooks", &s->codebooks);
}

/* Sizes of all lists, or of those that are not empty. */
static tr_status take_sizes(reader *r, tr_faiss_file *file) {
  size_t lists = file->source.shape.list_count;
  const char *tag = take(r, 1, 4);
  bool full = tag && memcmp(tag, "full", 4) == 0, sparse = tag && memcmp(tag, "sprs", 4) == 0;
  uint64_t count = take_number(r, 8);
  if (r->ok && ((!full && !sparse) || (full && count != lists) || (sparse && (count % 2 || count / 2 > lists))))
    return contradicts(r, "lists");
  for (uint64_t i = 0; r->ok && full && i < count; ++i)
    file->sizes[i] = take_number(r, 8);
  for (uint64_t i = 0; r->ok && sparse && i < count / 2; ++i) {
    uint64_t list = take_number(r, 8), size = take_number(r, 8);
    if (list >= lists)
      return contradicts(r, "lists");
    file->sizes[list] = size;
  }
  return r->ok ? TR_OK : cut_short(r);
}

static tr_status take_lists(reader *r, tr_faiss_file *file) {
  tr_lists_source *s = &file->source;
  uint64_t row = s->shape.codes ? (uint64_t)s->shape.codes : (uint64_t)s->shape.d * sizeof(float);
  bool array = take_tag(r, "ilar");
  if (r->ok && !array)
    return other_kind(r);
  uint64_t lists = take_number(r, 8), width = take_number(r, 8);
  if (r->ok && (lists != s->shape.list_count || width != row))
    return contradicts(r, "lists");
  file->sizes = calloc(s->shape.list_count, sizeof *file->sizes);
  file->rows = calloc(s->shape.list_count, sizeof *file->rows);
  file->ids = calloc(s->shape.list_count, sizeof *file->ids);
  if (!file->sizes || !file->rows || !file->ids)
    return tr_fail(TR_ENOMEM, "%s: %zu lists: out of memory", r->name, s->shape.list_count);
  TR_TRY(take_sizes(r, file));
  for (size_t i = 0; i < s->shape.list_count; ++i) {
    file->rows[i] = take(r, file->sizes[i], row);
    file->ids[i] = take(r, file->sizes[i], sizeof(int64_t));
  }
  s->sizes = file->sizes;
  s->rows = file->rows;
  s->ids = file->ids;
  if (!r->ok)
    return cut_short(r);
  return r->left == 0 ? TR_OK : contradicts(r, "bytes at its end");
}

static tr_status skip_direct_map(reader *r) {
  uint64_t kind = take_number(r, 1), count = take_number(r, 8);
  if (r->ok && kind > 1)
    return other_kind(r);
  take(r, (size_t)count, sizeof(int64_t));
  return r->ok ? TR_OK : cut_short(r);
}

static tr_status read_all(reader *r, tr_faiss_file *file) {
  tr_lists_source *s = &file->source;
  const char *tag = take(r, 1, 4);
  bool whole = tag && memcmp(tag, "IwFl", 4) == 0, coded = tag && memcmp(tag, "IwPQ", 4) == 0;
  if (!whole && !coded)
    return r->ok ? other_kind(r) : cut_short(r);
  header h = take_header(r);
  TR_TRY(check_header(r, &h));
  uint64_t lists = take_number(r, 8), nprobe = take_number(r, 8);
  if (r->ok && (lists < 1 || lists >= INT32_MAX || nprobe < 1))
    return contradicts(r, "lists");
  s->shape = (tr_ivf_shape){.d = (int)h.d, .list_count = (size_t)lists, .rows = (size_t)h.rows};
  s->nprobe = nprobe < INT32_MAX ? (int)nprobe : INT32_MAX;
  TR_TRY(take_centroids(r, s));
  TR_TRY(skip_direct_map(r));
  if (coded)
    TR_TRY(take_codebooks(r, s));
  return take_lists(r, file);
}

tr_status tr_faiss_file_open(const char *name, const void *data, size_t bytes, tr_faiss_file *out) {
  *out = (tr_faiss_file){.source = {.name = name}};
  reader r = {.name = name, .at = data, .left = bytes, .ok = true};
  tr_status status = read_all(&r, out);
  if (status != TR_OK)
    tr_faiss_file_close(out);
  return status;
}

void tr_faiss_file_close(tr_faiss_file *file) {
  free(file->sizes);
  free(file->rows);
  free(file->ids);
  *file = (tr_faiss_file){.sizes = NULL};
}
