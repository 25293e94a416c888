/* What a search's name says, and an index of a bank: what needs no FAISS by itself. */
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/search/bank.h"
#include "host/search/ivf.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

const char *tr_search_factory(const char *search) {
  size_t length = strlen(TR_SEARCH_FAISS);
  return search && strncmp(search, TR_SEARCH_FAISS, length) == 0 ? search + length : NULL;
}

bool tr_search_has_lists(const char *search) {
  const char *factory = tr_search_factory(search);
  return factory && (strstr(factory, "IVF") || strstr(factory, "IMI"));
}

bool tr_search_has_graph(const char *search) {
  const char *factory = tr_search_factory(search);
  return factory && (strstr(factory, "HNSW") || strstr(factory, "NSG"));
}

/* Whether a factory string keeps rows as codes only. "PQ64", "SQ8", "LSH", "RQ", ... stand at the end; "Flat" keeps whole rows. */
static bool keeps_whole_rows(const char *factory) {
  static const char *const coded[] = {"PQ", "SQ", "LSH", "RQ", "LSQ", "ZnLattice"};
  if (strstr(factory, "Flat"))
    return true;
  for (size_t i = 0; i < sizeof coded / sizeof *coded; ++i)
    if (strstr(factory, coded[i]))
      return false;
  return true;
}

/* A quarter of a row is what 8-bit codes of every dimension take; numbers, lists and links come on top. */
size_t tr_index_bytes_expected(const char *factory, size_t rows, int d) {
  size_t row = (size_t)d * sizeof(float), links = 640;
  return rows * ((keeps_whole_rows(factory) ? row : row / 4) + links) + ((size_t)1 << 20);
}

/* The rows on the host, and once more as residuals. */
size_t tr_index_build_bytes_expected(const char *factory, size_t rows, int d) {
  (void)factory;
  return 2 * rows * (size_t)d * sizeof(float);
}

static double lists_of(const char *factory) {
  const char *lists = strstr(factory, "IVF");
  return lists ? strtod(lists + strlen("IVF"), NULL) : 0;
}

/* "IVF512,Flat", "IVF512,PQ64", "IVF512,PQ64x8", each with or without "np". */
bool tr_lists_planned(const char *factory, size_t rows, int d, tr_ivf_shape *out) {
  char *rest;
  if (strncmp(factory, "IVF", 3) != 0 || !isdigit((unsigned char)factory[3]))
    return false;
  *out = (tr_ivf_shape){.d = d, .list_count = strtoul(factory + 3, &rest, 10), .rows = rows};
  if (strcmp(rest, ",Flat") == 0)
    return true;
  if (strncmp(rest, ",PQ", 3) != 0 || !isdigit((unsigned char)rest[3]))
    return false;
  out->codes = (int)strtoul(rest + 3, &rest, 10);
  if (strncmp(rest, "x8", 2) == 0)
    rest += 2;
  return *rest == '\0' || strcmp(rest, "np") == 0;
}

size_t tr_lists_bytes(const tr_device *device, const tr_ivf_shape *shape) {
  size_t d = (size_t)shape->d, row = shape->codes ? (size_t)shape->codes : d * sizeof(float);
  size_t bytes = (shape->list_count + 1) * (sizeof(uint32_t) + sizeof(void *)) +
                 tr_bank_bytes(device, shape->list_count, shape->d) + shape->rows * sizeof(uint32_t);
  if (!tr_device_shares_memory(device))
    bytes += shape->rows * row + (shape->codes ? TR_IVF_CODEWORDS * d * sizeof(float) : 0);
  return bytes;
}

size_t tr_index_device_bytes_expected(const tr_device *device, const char *factory, size_t rows, int d) {
  tr_ivf_shape shape;
  return tr_lists_planned(factory, rows, d, &shape) ? tr_lists_bytes(device, &shape) : 0;
}

size_t tr_index_device_scratch_expected(const tr_device *device, const char *factory, tr_effort effort, size_t rows, int d,
                                        size_t queries, size_t group, int k) {
  tr_ivf_shape shape;
  if (!tr_lists_planned(factory, rows, d, &shape))
    return 0;
  return tr_ivf_scratch(device, &shape, queries, group, effort.nprobe ? effort.nprobe : 1, k);
}

/* FAISS's defaults: 10 iterations for lists and 25 for codes of (mostly) 256 values, of 256 rows a centroid at most; a new row of a graph
 * looks at the links (mostly 32, twice that many at the bottom) of 40 candidates. */
double tr_index_build_macs(const char *factory, size_t rows, int d) {
  double lists = lists_of(factory), n = (double)rows, sampled = 256 * lists < n ? 256 * lists : n;
  double macs = 10 * sampled * lists + n * lists;
  if (!keeps_whole_rows(factory) && strstr(factory, "PQ"))
    macs += 25 * 256 * (n < 65536 ? n : 65536);
  if (strstr(factory, "HNSW") && !lists)
    macs += n * 40 * 32;
  return macs * d;
}

double tr_index_query_macs(const char *factory, tr_effort effort, size_t rows, int d) {
  double lists = lists_of(factory), n = (double)rows;
  if (lists > 0)
    return (lists + n * (effort.nprobe < lists ? effort.nprobe / lists : 1)) * d;
  return (effort.ef_search && effort.ef_search * 32.0 < n ? effort.ef_search * 32.0 : n) * d;
}

/* ---- files ---- */

tr_status tr_index_write(const tr_index *index, const char *path) {
  void *data;
  size_t bytes;
  TR_TRY(tr_index_to_memory(index, &data, &bytes));
  tr_status status = tr_file_write(path, data, bytes);
  free(data);
  return status;
}

tr_status tr_index_read(tr_device *device, const char *path, tr_index **out) {
  *out = NULL;
  tr_mapping file;
  TR_TRY(tr_file_map(path, &file));
  tr_status status = tr_index_from_memory(device, path, file.data, file.bytes, out);
  tr_file_unmap(&file);
  return status;
}

/* ---- of a bank ---- */

tr_status tr_bank_index(const tr_bank *bank, size_t rows, const char *factory, tr_progress *progress, tr_index **out) {
  *out = NULL;
  size_t bytes = rows * (size_t)bank->d * sizeof(float);
  if (rows > bank->row_count)
    return tr_fail(TR_EINVAL, "memory bank: asked for an index of %zu rows of %zu", rows, bank->row_count);
  if (tr_bank_is_in_host(bank))
    return tr_index_build(bank->device, bank->rows, rows, bank->d, factory, progress, out);
  float *host = malloc(bytes);
  tr_status status = host ? tr_device_download(bank->device, host, bank->rows, bytes)
                          : tr_fail(TR_ENOMEM, "an index of %zu bank rows: out of memory", rows);
  if (status == TR_OK)
    status = tr_device_sync(bank->device);
  if (status == TR_OK)
    status = tr_index_build(bank->device, host, rows, bank->d, factory, progress, out);
  free(host);
  return status;
}
