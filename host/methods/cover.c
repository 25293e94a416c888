/* Covering radius: rows chunk by chunk against the starting points, and what may be uncovered against the picks. */
#include "host/methods/cover.h"
#include "host/base/status.h"
#include "kernels/nearest.h"
#include "kernels/sections.h"

#include <math.h>
#include <stdlib.h>

enum { CHUNK = 8192, GROUP = 256 };

/* Distances in float: a mean may be off by so much. */
#define SLACK 1e-4

typedef struct layout {
  float *starts, *start_norms, *picks, *pick_norms;
  float *candidates; /* [chunk, d] */
  float *chunk;      /* [chunk, d], where rows are read */
  float *distances;  /* [chunk, starts] */
  uint32_t *indices;
  void *nearest;
  size_t bytes;
} layout;

static size_t chunk_of(size_t n) {
  return n < CHUNK ? n : CHUNK;
}

static layout lay_out(tr_sections s, const tr_device *device, size_t n, int dimension, size_t picks, bool reads) {
  size_t d = (size_t)dimension, chunk = chunk_of(n), most = TR_NEAREST_MAX_K;
  size_t of_starts = tr_nearest_scratch(device, chunk, GROUP, most, dimension, TR_NEAREST_MAX_K);
  size_t of_picks = tr_nearest_scratch(device, chunk, GROUP, picks, dimension, 1);
  layout l;
  l.starts = tr_section(&s, most * d * sizeof(float));
  l.start_norms = tr_section(&s, most * sizeof(float));
  l.picks = tr_section(&s, picks * d * sizeof(float));
  l.pick_norms = tr_section(&s, picks * sizeof(float));
  l.candidates = tr_section(&s, chunk * d * sizeof(float));
  l.distances = tr_section(&s, chunk * most * sizeof(float));
  l.indices = tr_section(&s, chunk * most * sizeof(uint32_t));
  l.nearest = tr_section(&s, of_starts > of_picks ? of_starts : of_picks);
  l.chunk = reads ? tr_section(&s, chunk * d * sizeof(float)) : NULL;
  l.bytes = s.used;
  return l;
}

size_t tr_cover_bytes(const tr_device *device, size_t n, int d, size_t picks) {
  return lay_out(TR_SECTIONS_COUNT, device, n, d, picks, false).bytes;
}

/* With what the sections are rounded up by. */
size_t tr_cover_read_bytes(size_t n, int d) {
  tr_sections s = TR_SECTIONS_COUNT;
  (void)tr_section(&s, chunk_of(n) * (size_t)d * sizeof(float));
  return s.used;
}

typedef struct work {
  tr_device *device;
  const tr_cover_args *args;
  layout memory;
  bool has_picks;       /* they are gathered when the first row needs them */
  float *distances;     /* host, [chunk, starts] */
  uint32_t *candidates; /* host, [chunk] */
  float *read;          /* host, [chunk, d], where rows are read */
} work;

/* Rows by their numbers, a chunk of the host's memory at a time. */
static tr_status read_each(const work *w, const uint32_t *order, size_t count, float *rows) {
  size_t d = (size_t)w->args->d, chunk = chunk_of(w->args->n);
  for (size_t first = 0; first < count; first += chunk) {
    size_t some = count - first < chunk ? count - first : chunk;
    for (size_t i = 0; i < some; ++i)
      TR_TRY(w->args->read(w->args->read_context, order[first + i], 1, w->read + i * d));
    TR_TRY(tr_device_upload(w->device, rows + first * d, w->read, some * d * sizeof(float)));
    TR_TRY(tr_device_sync(w->device));
  }
  return TR_OK;
}

static tr_status gather(const work *w, const uint32_t *order, size_t count, float *rows, float *norms) {
  if (w->args->read)
    TR_TRY(read_each(w, order, count, rows));
  else
    TR_TRY(tr_device_gather(w->device, rows, w->args->rows, order, count, (size_t)w->args->d * sizeof(float)));
  return tr_squared_norms(w->device, rows, count, w->args->d, norms);
}

static tr_status rows_at(const work *w, size_t first, size_t count, const float **out) {
  const tr_cover_args *a = w->args;
  *out = a->read ? w->memory.chunk : a->rows + first * (size_t)a->d;
  if (!a->read)
    return TR_OK;
  TR_TRY(a->read(a->read_context, first, count, w->read));
  return tr_device_upload(w->device, w->memory.chunk, w->read, count * (size_t)a->d * sizeof(float));
}

static tr_status search(const work *w, const float *queries, size_t count, const float *bank, const float *norms, size_t rows,
                        int k) {
  TR_TRY(tr_nearest(w->device, &(tr_nearest_args){.queries_count = count,
                                                  .group = GROUP,
                                                  .queries = queries,
                                                  .bank_rows = rows,
                                                  .bank = bank,
                                                  .bank_norms = norms,
                                                  .d = w->args->d,
                                                  .k = k,
                                                  .distances = w->memory.distances,
                                                  .indices = w->memory.indices,
                                                  .scratch = w->memory.nearest}));
  TR_TRY(tr_device_download(w->device, w->distances, w->memory.distances, count * (size_t)k * sizeof(float)));
  return tr_device_sync(w->device);
}

/* By their places in the chunk. */
static size_t find_candidates(const work *w, size_t count) {
  size_t found = 0, starts = w->args->starts;
  for (size_t i = 0; i < count; ++i) {
    double sum = 0;
    for (size_t k = 0; k < starts; ++k)
      sum += sqrt((double)w->distances[i * starts + k]);
    if (sum <= (1 + SLACK) * w->args->reach * (double)starts)
      w->candidates[found++] = (uint32_t)i;
  }
  return found;
}

static tr_status measure_chunk(work *w, size_t first, size_t count, double *radius) {
  const tr_cover_args *a = w->args;
  const float *rows;
  TR_TRY(rows_at(w, first, count, &rows));
  TR_TRY(search(w, rows, count, w->memory.starts, w->memory.start_norms, a->starts, (int)a->starts));
  size_t found = find_candidates(w, count);
  if (!found)
    return TR_OK;
  if (!w->has_picks)
    TR_TRY(gather(w, a->order, a->picks, w->memory.picks, w->memory.pick_norms));
  w->has_picks = true;
  TR_TRY(tr_device_gather(w->device, w->memory.candidates, rows, w->candidates, found, (size_t)a->d * sizeof(float)));
  TR_TRY(search(w, w->memory.candidates, found, w->memory.picks, w->memory.pick_norms, a->picks, 1));
  for (size_t i = 0; i < found; ++i)
    *radius = fmax(*radius, sqrt((double)w->distances[i]));
  return TR_OK;
}

static tr_status measure(work *w, double *radius) {
  const tr_cover_args *a = w->args;
  size_t chunk = chunk_of(a->n);
  w->distances = malloc(chunk * a->starts * sizeof *w->distances);
  w->candidates = malloc(chunk * sizeof *w->candidates);
  w->read = a->read ? malloc(tr_cover_read_bytes(a->n, a->d)) : NULL;
  if (!w->distances || !w->candidates || (a->read && !w->read))
    return tr_fail(TR_ENOMEM, "covering radius: out of memory");
  TR_TRY(gather(w, a->start, a->starts, w->memory.starts, w->memory.start_norms));
  for (size_t first = 0; first < a->n; first += chunk)
    TR_TRY(measure_chunk(w, first, a->n - first < chunk ? a->n - first : chunk, radius));
  return TR_OK;
}

tr_status tr_cover_radius(tr_device *device, const tr_cover_args *args, double *radius) {
  *radius = args->reach;
  if (args->starts < 1 || args->starts > TR_NEAREST_MAX_K || args->picks < 1)
    return tr_fail(TR_EINVAL, "covering radius: expected 1 to %d starting points and a pick, found %zu and %zu", TR_NEAREST_MAX_K,
                   args->starts, args->picks);
  void *memory = NULL;
  bool reads = args->read != NULL;
  size_t bytes = tr_cover_bytes(device, args->n, args->d, args->picks) + (reads ? tr_cover_read_bytes(args->n, args->d) : 0);
  TR_TRY(tr_device_alloc(device, bytes, &memory));
  work w = {
      .device = device, .args = args, .memory = lay_out(tr_sections_of(memory), device, args->n, args->d, args->picks, reads)};
  tr_status status = measure(&w, radius);
  free(w.distances);
  free(w.candidates);
  free(w.read);
  tr_device_free(device, memory);
  return status;
}
