/* The exact bank with its rows in host memory: tiles of them go up to the device, one on its way while the one before is searched.
 *
 * A search hands the k best of every query on from tile to tile, with their distances in double (kernels/nearest.h), so it gives the
 * bits of a bank on the device. A tile is sketched when it is there: that reads it once, where the search multiplies it with
 * thousands of queries.
 *
 * On an H100 a tile of 16,384 rows x 1,024 (64 MiB) takes 1.3 ms over PCIe 5 at 50 GB/s; searching it for a chunk of 64 images (50,176
 * queries) is 1.7 TFLOP, 5 ms with sketches: the way up hides behind the search. Expected, not measured on a GPU yet.
 */
#include "host/base/status.h"
#include "host/search/bank.h"
#include "kernels/sections.h"

#include <stdlib.h>

/* Larger tiles give nothing: products are as fast, and calls are few. */
enum { TILE_BYTES = 64 << 20 };

typedef struct tile {
  size_t first, rows;
  size_t range;
  int slot;
} tile;

/* Ranges of rows cut into tiles. */
typedef struct cut {
  const tr_nearest_range *ranges;
  size_t count, range, row; /* row: the next of the range */
  size_t tile_rows, tiles;
} cut;

typedef tr_status (*tile_fn)(void *context, const tile *t, const float *rows);

static size_t smaller(size_t a, size_t b) {
  return a < b ? a : b;
}

static bool cut_next(cut *c, tile *out) {
  while (c->range < c->count && c->row >= c->ranges[c->range].end)
    if (++c->range < c->count)
      c->row = c->ranges[c->range].first;
  if (c->range == c->count)
    return false;
  *out = (tile){c->row, smaller(c->tile_rows, c->ranges[c->range].end - c->row), c->range, (int)(c->tiles++ % 2)};
  c->row += out->rows;
  return true;
}

/* Behind the search that had the slot before. */
static tr_status upload_tile(const tr_bank *bank, const tile *t, float *slot) {
  size_t d = (size_t)bank->d;
  TR_TRY(tr_mark_follow(bank->device, bank->searched[t->slot], TR_QUEUE_UPLOADS));
  TR_TRY(tr_device_upload_queued(bank->device, slot, bank->rows + t->first * d, t->rows * d * sizeof(float)));
  return tr_mark_set(bank->device, bank->uploaded[t->slot], TR_QUEUE_UPLOADS);
}

/* Calls fn for tile after tile, queued behind the tile's upload; the next one is on its way meanwhile. */
static tr_status for_tiles(const tr_bank *bank, const tr_nearest_range *ranges, size_t range_count, float *const slots[2],
                           tile_fn fn, void *context) {
  cut c = {.ranges = ranges, .count = range_count, .row = range_count ? ranges[0].first : 0, .tile_rows = bank->tile_rows};
  tile now, next;
  /* What used the slots' memory before is in the operators' queue. */
  for (int slot = 0; slot < 2; ++slot)
    TR_TRY(tr_mark_set(bank->device, bank->searched[slot], TR_QUEUE_OPERATORS));
  bool more = cut_next(&c, &next);
  if (more)
    TR_TRY(upload_tile(bank, &next, slots[next.slot]));
  while (more) {
    now = next;
    more = cut_next(&c, &next);
    if (more)
      TR_TRY(upload_tile(bank, &next, slots[next.slot]));
    TR_TRY(tr_mark_follow(bank->device, bank->uploaded[now.slot], TR_QUEUE_OPERATORS));
    TR_TRY(fn(context, &now, slots[now.slot]));
    TR_TRY(tr_mark_set(bank->device, bank->searched[now.slot], TR_QUEUE_OPERATORS));
  }
  return TR_OK;
}

/* ---- making a bank ---- */

size_t tr_bank_most_tile_rows(size_t row_count, int d) {
  size_t most = TILE_BYTES / ((size_t)d * sizeof(float));
  return smaller(most < TR_NEAREST_MAX_K ? TR_NEAREST_MAX_K : most, row_count < TR_NEAREST_MAX_K ? TR_NEAREST_MAX_K : row_count);
}

size_t tr_bank_in_host_bytes(size_t row_count) {
  return row_count * sizeof(float);
}

size_t tr_bank_in_host_scratch_bytes(int d, size_t tile_rows) {
  return 2 * tile_rows * (size_t)d * sizeof(float);
}

static tr_status measure_tile(void *context, const tile *t, const float *rows) {
  const tr_bank *bank = context;
  return tr_squared_norms(bank->device, rows, t->rows, bank->d, bank->norms + t->first);
}

static tr_status measure_norms(tr_bank *bank) {
  float *memory;
  TR_TRY(tr_device_alloc(bank->device, tr_bank_in_host_scratch_bytes(bank->d, bank->tile_rows), (void **)&memory));
  float *const slots[2] = {memory, memory + bank->tile_rows * (size_t)bank->d};
  tr_status status = for_tiles(bank, &(tr_nearest_range){0, bank->row_count}, 1, slots, measure_tile, bank);
  tr_device_free(bank->device, memory);
  return status;
}

static tr_status prepare(tr_bank *bank) {
  if (bank->row_count == 0 || bank->row_count >= UINT32_MAX || bank->d < 1 || bank->tile_rows < TR_NEAREST_MAX_K)
    return tr_fail(
        TR_EINVAL,
        "memory bank in host memory: expected 1 to 2^32 - 2 rows of one dimension at least and tiles of %d, found %zu of "
        "%d and tiles of %zu",
        TR_NEAREST_MAX_K, bank->row_count, bank->d, bank->tile_rows);
  TR_TRY(tr_device_alloc(bank->device, tr_bank_in_host_bytes(bank->row_count), (void **)&bank->norms));
  for (int slot = 0; slot < 2; ++slot) {
    TR_TRY(tr_mark_create(bank->device, &bank->uploaded[slot]));
    TR_TRY(tr_mark_create(bank->device, &bank->searched[slot]));
  }
  return measure_norms(bank);
}

tr_status tr_bank_create_in_host(tr_device *device, float *rows, size_t row_count, int d, size_t tile_rows, tr_bank **out) {
  *out = NULL;
  tr_bank *bank = calloc(1, sizeof *bank);
  if (!bank) {
    tr_device_free_pinned(device, rows);
    return tr_fail(TR_ENOMEM, "memory bank of %zu rows: out of memory", row_count);
  }
  *bank = (tr_bank){.device = device, .rows = rows, .row_count = row_count, .d = d, .tile_rows = tile_rows};
  tr_status status = prepare(bank);
  if (status != TR_OK) {
    tr_tiles_release(bank);
    tr_device_free(device, bank->norms);
    free(bank);
    return status;
  }
  *out = bank;
  return TR_OK;
}

void tr_tiles_release(tr_bank *bank) {
  for (int slot = 0; slot < 2; ++slot) {
    (void)tr_mark_await(bank->device, bank->uploaded[slot]);
    tr_mark_destroy(bank->device, bank->uploaded[slot]);
    tr_mark_destroy(bank->device, bank->searched[slot]);
  }
  tr_device_free_pinned(bank->device, bank->rows);
}

/* ---- search ---- */

/* A search's scratch. */
typedef struct layout {
  float *slots[2];
  void *sketch, *sketch_scratch; /* of a whole tile; 0 bytes where sketches are of no use */
  double *found_distances2;      /* [queries, k] */
  uint32_t *found_rows;
  void *nearest;
  size_t bytes;
} layout;

static layout lay_out(tr_sections s, const tr_device *device, int d, size_t tile_rows, size_t queries, size_t group, int k) {
  size_t tile_bytes = tile_rows * (size_t)d * sizeof(float), found = queries * (size_t)k;
  layout l;
  l.slots[0] = tr_section(&s, tile_bytes);
  l.slots[1] = tr_section(&s, tile_bytes);
  l.sketch = tr_section(&s, tr_nearest_sketch_bytes(device, tile_rows, d));
  l.sketch_scratch = tr_section(&s, tr_nearest_sketch_scratch(device, tile_rows, d));
  l.found_distances2 = tr_section(&s, found * sizeof *l.found_distances2);
  l.found_rows = tr_section(&s, found * sizeof *l.found_rows);
  l.nearest = tr_section(&s, tr_nearest_scratch(device, queries, group, tile_rows, d, k));
  l.bytes = s.used;
  return l;
}

size_t tr_bank_in_host_search_scratch(const tr_device *device, int d, size_t tile_rows, size_t queries, size_t group,
                                      size_t use_rows, int k) {
  if (queries == 0 || use_rows == 0)
    return 0;
  return lay_out(TR_SECTIONS_COUNT, device, d, tile_rows, queries, group, k).bytes;
}

typedef struct search {
  const tr_bank *bank;
  const tr_nearest_args *args;
  layout memory;
  bool resumed;
} search;

static tr_status search_tile(void *context, const tile *t, const float *rows) {
  search *s = context;
  const tr_bank *bank = s->bank;
  tr_nearest_args part = *s->args;
  size_t answer = part.prefixes ? t->range * part.queries_count * (size_t)part.k : 0;
  part.distances += answer;
  part.indices += answer;
  part.blocks = NULL;
  part.prefixes = NULL;
  part.bank = rows;
  part.bank_rows = t->rows;
  part.bank_norms = bank->norms + t->first;
  part.first_row = t->first;
  part.found_distances2 = s->memory.found_distances2;
  part.found_rows = s->memory.found_rows;
  part.resumed = s->resumed;
  part.scratch = s->memory.nearest;
  if (tr_nearest_sketch_bytes(bank->device, t->rows, bank->d)) {
    TR_TRY(tr_nearest_sketch(bank->device, rows, t->rows, bank->d, s->memory.sketch, s->memory.sketch_scratch));
    part.sketch = s->memory.sketch;
  }
  s->resumed = true;
  return tr_nearest(bank->device, &part);
}

tr_status tr_tiles_search(const tr_bank *bank, const tr_nearest_range *ranges, size_t range_count, const tr_nearest_args *args) {
  if (args->queries_count == 0)
    return TR_OK;
  TR_TRY(tr_nearest_check(args));
  search s = {.bank = bank,
              .args = args,
              .memory = lay_out(tr_sections_of(args->scratch), bank->device, bank->d, bank->tile_rows, args->queries_count,
                                args->group, args->k)};
  return for_tiles(bank, ranges, range_count, s.memory.slots, search_tile, &s);
}

/* ---- reweight ----
 * Of the bank, an image's score needs m* and its neighbours: they are found by a search, and are then the bank of the operator, in the
 * whole bank's order, which decides between equal distances. */

/* On the device. */
typedef struct reweight_layout {
  float *matches; /* [n, d]: the rows m* */
  float *distances;
  uint32_t *neighbours; /* [n, b] */
  float *rows, *norms;  /* [n * (b + 1), d]: the small bank */
  uint32_t *indices;    /* [n, patches], in it */
  void *search, *reweight;
  size_t bytes;
} reweight_layout;

static reweight_layout lay_out_reweight(tr_sections s, const tr_device *device, int dimension, size_t tile_rows, size_t n,
                                        size_t patches, size_t use_rows, int b) {
  size_t d = (size_t)dimension, most = n * ((size_t)b + 1);
  reweight_layout l;
  l.matches = tr_section(&s, n * d * sizeof(float));
  l.distances = tr_section(&s, n * (size_t)b * sizeof(float));
  l.neighbours = tr_section(&s, n * (size_t)b * sizeof(uint32_t));
  l.rows = tr_section(&s, most * d * sizeof(float));
  l.norms = tr_section(&s, most * sizeof(float));
  l.indices = tr_section(&s, n * patches * sizeof(uint32_t));
  l.search = tr_section(&s, tr_bank_in_host_search_scratch(device, dimension, tile_rows, n, 1, use_rows, b));
  l.reweight = tr_section(&s, tr_reweight_scratch(device, (int)n, (int)patches, most, dimension, b));
  l.bytes = s.used;
  return l;
}

size_t tr_bank_in_host_reweight_scratch(const tr_device *device, int d, size_t tile_rows, int n, int patches, size_t use_rows,
                                        int b) {
  if (n < 1 || patches < 1 || b < 1)
    return 0;
  return lay_out_reweight(TR_SECTIONS_COUNT, device, d, tile_rows, (size_t)n, (size_t)patches, use_rows, b).bytes;
}

/* Host memory of a call. */
typedef struct matches {
  float *distances;  /* [n, patches] */
  uint32_t *indices; /* likewise; then in the small bank */
  size_t *farthest;  /* [n]: the patch t */
  uint32_t *rows;    /* [n * (b + 1)]: m* of every image, then the neighbours of all; then in order, each once */
  uint32_t *matched; /* [n]: m* */
  size_t row_count;
} matches;

static tr_status find_matches(const tr_bank *bank, const tr_reweight_args *args, matches *m) {
  size_t n = (size_t)args->n, patches = (size_t)args->patches, count = n * patches;
  TR_TRY(tr_device_download(bank->device, m->distances, args->distances, count * sizeof(float)));
  TR_TRY(tr_device_download(bank->device, m->indices, args->indices, count * sizeof(uint32_t)));
  for (size_t i = 0; i < n; ++i) {
    size_t farthest = i * patches;
    for (size_t p = farthest; p < (i + 1) * patches; ++p)
      farthest = m->distances[p] > m->distances[farthest] ? p : farthest;
    if (m->indices[farthest] >= args->bank_rows)
      return tr_fail(TR_EINVAL, "reweight: indices[%zu]: expected a row of a bank of %zu, found %u", farthest, args->bank_rows,
                     m->indices[farthest]);
    m->farthest[i] = farthest;
    m->matched[i] = m->rows[i] = m->indices[farthest];
  }
  return TR_OK;
}

static tr_status upload_rows(const tr_bank *bank, const uint32_t *rows, size_t count, float *to) {
  size_t d = (size_t)bank->d;
  TR_TRY(tr_mark_set(bank->device, bank->searched[0], TR_QUEUE_OPERATORS));
  TR_TRY(tr_mark_follow(bank->device, bank->searched[0], TR_QUEUE_UPLOADS));
  for (size_t i = 0; i < count; ++i)
    TR_TRY(tr_device_upload_queued(bank->device, to + i * d, bank->rows + rows[i] * d, d * sizeof(float)));
  TR_TRY(tr_mark_set(bank->device, bank->uploaded[0], TR_QUEUE_UPLOADS));
  return tr_mark_follow(bank->device, bank->uploaded[0], TR_QUEUE_OPERATORS);
}

static tr_status find_neighbours(const tr_bank *bank, const tr_reweight_args *args, const reweight_layout *l, matches *m) {
  size_t n = (size_t)args->n, found = n * (size_t)args->b;
  TR_TRY(upload_rows(bank, m->matched, n, l->matches));
  TR_TRY(tr_bank_search(bank, args->bank_rows, l->matches, n, 1, args->b, l->distances, l->neighbours, l->search));
  return tr_device_download(bank->device, m->rows + n, l->neighbours, found * sizeof(uint32_t));
}

static int compare_rows(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* The small bank's rows, and the matches' places among them. */
static void sort_rows(const tr_reweight_args *args, matches *m) {
  size_t n = (size_t)args->n, count = n * ((size_t)args->b + 1);
  qsort(m->rows, count, sizeof *m->rows, compare_rows);
  m->row_count = 0;
  for (size_t i = 0; i < count; ++i)
    if (m->row_count == 0 || m->rows[m->row_count - 1] != m->rows[i])
      m->rows[m->row_count++] = m->rows[i];
  for (size_t i = 0; i < n * (size_t)args->patches; ++i)
    m->indices[i] = 0;
  for (size_t i = 0; i < n; ++i) {
    const uint32_t *place = bsearch(&m->matched[i], m->rows, m->row_count, sizeof *m->rows, compare_rows);
    m->indices[m->farthest[i]] = (uint32_t)(place - m->rows);
  }
}

static tr_status weigh(const tr_bank *bank, const tr_reweight_args *args, const reweight_layout *l, const matches *m) {
  size_t count = (size_t)args->n * (size_t)args->patches;
  TR_TRY(upload_rows(bank, m->rows, m->row_count, l->rows));
  TR_TRY(tr_squared_norms(bank->device, l->rows, m->row_count, bank->d, l->norms));
  TR_TRY(tr_device_upload(bank->device, l->indices, m->indices, count * sizeof(uint32_t)));
  tr_reweight_args small = *args;
  small.indices = l->indices;
  small.bank_rows = m->row_count;
  small.bank = l->rows;
  small.bank_norms = l->norms;
  small.scratch = l->reweight;
  return tr_reweight(bank->device, &small);
}

static tr_status reweight(const tr_bank *bank, const tr_reweight_args *args, matches *m) {
  size_t n = (size_t)args->n, patches = (size_t)args->patches;
  reweight_layout l = lay_out_reweight(tr_sections_of(args->scratch), bank->device, bank->d, bank->tile_rows, n, patches,
                                       args->bank_rows, args->b);
  m->distances = malloc(n * patches * sizeof *m->distances);
  m->indices = malloc(n * patches * sizeof *m->indices);
  m->farthest = malloc(n * sizeof *m->farthest);
  m->rows = malloc(n * ((size_t)args->b + 1) * sizeof *m->rows);
  m->matched = malloc(n * sizeof *m->matched);
  if (!m->distances || !m->indices || !m->farthest || !m->rows || !m->matched)
    return tr_fail(TR_ENOMEM, "reweight: %zu images of %zu patches: out of memory", n, patches);
  TR_TRY(find_matches(bank, args, m));
  TR_TRY(find_neighbours(bank, args, &l, m));
  sort_rows(args, m);
  return weigh(bank, args, &l, m);
}

tr_status tr_tiles_reweight(const tr_bank *bank, const tr_reweight_args *args) {
  tr_reweight_args whole = *args;
  whole.bank = bank->rows;
  whole.bank_norms = bank->norms;
  whole.d = bank->d;
  TR_TRY(tr_reweight_check(&whole));
  if (args->n == 0)
    return TR_OK;
  matches m = {0};
  tr_status status = reweight(bank, &whole, &m);
  free(m.distances);
  free(m.indices);
  free(m.farthest);
  free(m.rows);
  free(m.matched);
  return status;
}
