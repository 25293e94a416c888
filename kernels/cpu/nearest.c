/* nearest on the CPU: exact distances for the few bank rows that a cheap bound cannot rule out.
 *
 * Queries are cut into blocks, one task each; a block passes over the bank tile by tile. For a tile, one matrix product bounds the
 * distances from below: of the sketches (kernels/cpu/sketch.h, 32 or 128 numbers a row) where the bank has one, else of the rows
 * themselves. The row that looks nearest is measured first, in double; then every row whose bound is not above the k-th best
 * distance so far. Where sketches leave too many rows to measure, the rows' own product decides, eight times as dear but sharp to
 * float rounding. So results are those of a brute force in double, ties by index, whatever the product's rounding, blocks, tiles
 * or threads, and no distance carries cancellation.
 *
 * Measured on ResNet50 features of MVTec bottle (784 queries of a test image, d = 1024, greedy bank; processor time of one core of
 * an EPYC 9004 beside other jobs; FAISS 1.15 IndexFlatL2 and this in turn): 940 rows 15 and 8 ms, 9,408 rows 155 and 35 ms, 16,384
 * rows 261 and 56 ms. FAISS runs at the product's peak. Here the sketches' product takes half of the time, and the measured rows
 * (6, 38 and 59 a query) a fifth to a third.
 * SPADE's shallow features (3,136 queries against 50 images of as many rows, d = 256): 0.70 s, half of it the sketches' product;
 * with sketches of 64 numbers 0.82, of 128 1.29, the rows' own product at its peak 2.2 s. Of the rows that a narrow sketch leaves
 * possible, 0.3 to 1 %, float distances sort most out: 10 % faster than measuring all in double, for d = 1024, too.
 * Tried and left out, for d = 1024: sketches of 64, 96 and 192 numbers (the same or slower), tiles of 512, 2048 and 4096 rows (the same),
 * prefetching the rows to be measured (the same). An 8-bit integer product of whole rows would rule out about as much as sketches
 * do, at 430 GOP/s (oneDNN on VNNI) in 61 ms for 16,384 rows; it needs such a processor, sketches need none.
 */
#include "host/base/status.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/exact.h"
#include "kernels/cpu/panels.h"
#include "kernels/cpu/sketch.h"
#include "kernels/sections.h"

#include <float.h>
#include <math.h>

enum {
  BLOCK = 112,             /* queries a task: 28 x 28 patches are seven */
  TILE = 1024,             /* bank rows at most; a tile's products stay in the second-level cache */
  PITCH = TILE + TR_PANEL, /* of products: a tile may begin within a panel of sketches */
  LANES = 32,              /* columns looked at together */
  FEW_SHARE = 16,          /* as many possible rows of a tile are measured at once */
  NORMS_BLOCK = 1024,      /* rows a task of squared_norms */
};

/* How a kind of product bounds distances: |q - b| >= |z - z'| - error * (distance of q + largest distance in the bank). */
typedef struct bound {
  size_t depth; /* terms of a product */
  double error, largest_distance;
  double largest_norm2; /* of z' */
} bound;

typedef struct neighbour {
  double distance2;
  uint32_t row;
} neighbour;

typedef struct search {
  const tr_nearest_args *args;
  const tr_sketch *sketch; /* NULL: none */
  size_t d, k;
  bound by_sketch, by_row;
  char *slots;
  size_t slot_count, slot_bytes;
} search;

/* A query: what it is compared by. */
typedef struct query {
  const float *row;
  neighbour *best; /* [k], in order */
  double norm2;    /* of z: the sketch, or the row itself */
  double distance; /* from the sketch's centre; 0 for the row itself */
} query;

/* A task's queries and memory. */
typedef struct block {
  size_t first, n;
  neighbour *best;      /* [BLOCK, k] */
  double *norm2;        /* [BLOCK] |q|^2 */
  double *sketch_norm2; /* [BLOCK] |z|^2 */
  double *distance;     /* [BLOCK] |q - centre| */
  float *sketches;      /* [BLOCK, sketch width] */
  float *products;      /* [BLOCK, PITCH] */
  float *half_norms;    /* [TILE] */
  uint32_t *unsettled;  /* [BLOCK] */
  float *work;          /* the sketches', then a panel of bank rows */
} block;

/* A tile of bank rows as a query sees it. */
typedef struct tile {
  size_t first, n;
  const float *half_norms; /* |z'|^2 / 2 */
} tile;

/* ---- memory ---- */

static void lay_out(block *b, tr_sections *s, size_t d, size_t k) {
  size_t panel = TR_PANEL * d * sizeof(float), work = tr_sketch_work_bytes(d);
  b->best = tr_section(s, BLOCK * k * sizeof(neighbour));
  b->norm2 = tr_section(s, BLOCK * sizeof(double));
  b->sketch_norm2 = tr_section(s, BLOCK * sizeof(double));
  b->distance = tr_section(s, BLOCK * sizeof(double));
  b->sketches = tr_section(s, BLOCK * tr_sketch_width(d) * sizeof(float));
  b->products = tr_section(s, BLOCK * PITCH * sizeof(float));
  b->half_norms = tr_section(s, TILE * sizeof(float));
  b->unsettled = tr_section(s, BLOCK * sizeof(uint32_t));
  b->work = tr_section(s, panel > work ? panel : work);
}

static size_t slot_bytes(size_t d, size_t k) {
  block b;
  tr_sections counted = TR_SECTIONS_COUNT;
  lay_out(&b, &counted, d, k);
  return counted.used;
}

static size_t blocks_of(size_t queries) {
  return (queries + BLOCK - 1) / BLOCK;
}

/* Fewer tasks than threads need no memory for all of them. */
static size_t slots_of(const tr_device *device, size_t queries) {
  size_t threads = (size_t)tr_pool_threads(tr_device_pool(device)), blocks = blocks_of(queries);
  return blocks < threads ? blocks : threads;
}

size_t tr_cpu_nearest_scratch(const tr_device *device, size_t queries_count, size_t group, size_t bank_rows, int d, int k) {
  (void)group;
  (void)bank_rows;
  return slots_of(device, queries_count) * slot_bytes((size_t)d, (size_t)k);
}

static block take_slot(const search *s, size_t task) {
  block b = {.first = task * BLOCK};
  size_t left = s->args->queries_count - b.first;
  b.n = left < BLOCK ? left : BLOCK;
  size_t slot = s->slot_count == blocks_of(s->args->queries_count) ? task : (size_t)tr_pool_worker();
  tr_sections memory = tr_sections_of(s->slots + slot * s->slot_bytes);
  lay_out(&b, &memory, s->d, s->k);
  return b;
}

/* ---- neighbours ---- */

static bool precedes(neighbour a, neighbour b) {
  return a.distance2 < b.distance2 || (a.distance2 == b.distance2 && a.row < b.row);
}

static bool known(const query *q, size_t k, uint32_t row) {
  for (size_t i = 0; i < k; ++i)
    if (q->best[i].row == row)
      return true;
  return false;
}

/* Most rows that a bound lets pass are too far by more than a float's rounding. */
static bool is_too_far(const search *s, const query *q, const float *row) {
  float distance2 = tr_float_distance2(q->row, row, s->d);
  return distance2 <= FLT_MAX && (double)distance2 * (1 - tr_product_error(s->d)) > q->best[s->k - 1].distance2;
}

static void measure(const search *s, const query *q, size_t j) {
  const float *bank_row = s->args->bank + j * s->d;
  const uint32_t row = (uint32_t)(s->args->first_row + j);
  if (known(q, s->k, row) || is_too_far(s, q, bank_row))
    return;
  neighbour found = {tr_exact_distance2(q->row, bank_row, s->d), row};
  if (!precedes(found, q->best[s->k - 1]))
    return;
  size_t place = s->k - 1;
  for (; place > 0 && precedes(found, q->best[place - 1]); --place)
    q->best[place] = q->best[place - 1];
  q->best[place] = found;
}

/* ---- bounds ---- */

/* A row may be among the k best when z.z' - |z'|^2/2 >= this: |z - z'| <= root of the k-th best + error, in terms of the product. */
static float limit_of(const search *s, const query *q, const bound *by) {
  double worst = q->best[s->k - 1].distance2;
  if (!(worst < INFINITY))
    return -INFINITY;
  double reach = sqrt(worst) + by->error * (q->distance + by->largest_distance);
  double slack = tr_product_error(by->depth) * fmax(q->norm2, by->largest_norm2) + (double)by->depth * (double)FLT_MIN;
  return (float)((q->norm2 - reach * reach) / 2 - slack);
}

static float largest(const float *products, const float *half_norms, size_t n) {
  float lanes[LANES];
  size_t j = 0;
  for (size_t lane = 0; lane < LANES; ++lane)
    lanes[lane] = -INFINITY;
  for (; j + LANES <= n; j += LANES)
    for (size_t lane = 0; lane < LANES; ++lane) {
      float value = products[j + lane] - half_norms[j + lane];
      lanes[lane] = value > lanes[lane] ? value : lanes[lane];
    }
  for (size_t lane = 0; j + lane < n; ++lane) {
    float value = products[j + lane] - half_norms[j + lane];
    lanes[lane] = value > lanes[lane] ? value : lanes[lane];
  }
  for (size_t lane = 1; lane < LANES; ++lane)
    lanes[0] = lanes[lane] > lanes[0] ? lanes[lane] : lanes[0];
  return lanes[0];
}

/* Measures the row of [from, to) that looks nearest, if it may be among the best. */
static bool measure_likeliest(const search *s, const query *q, const bound *by, const tile *t, const float *products, size_t from,
                              size_t to) {
  if (from == to)
    return false;
  float value = largest(products + from, t->half_norms + from, to - from);
  if (!(value >= limit_of(s, q, by)))
    return false;
  size_t j = from;
  while (products[j] - t->half_norms[j] != value)
    ++j;
  measure(s, q, t->first + j);
  return true;
}

static size_t count_possible(const float *products, const float *half_norms, size_t n, float limit) {
  int count = 0;
  for (size_t j = 0; j < n; ++j)
    count += products[j] - half_norms[j] >= limit;
  return (size_t)count;
}

/* Measures every row of the tile that may be among the best. */
static void measure_possible(const search *s, const query *q, const bound *by, const tile *t, const float *products) {
  float limit = limit_of(s, q, by);
  for (size_t j0 = 0; j0 < t->n; j0 += LANES) {
    size_t end = j0 + LANES < t->n ? j0 + LANES : t->n;
    if (count_possible(products + j0, t->half_norms + j0, end - j0, limit) == 0)
      continue;
    for (size_t j = j0; j < end; ++j)
      if (products[j] - t->half_norms[j] >= limit) {
        measure(s, q, t->first + j);
        limit = limit_of(s, q, by);
      }
  }
}

/* Settles a query on a tile and returns 0, or leaves it and returns how many rows are possible, when they are more than `most`. A
 * query without k neighbours yet gets the likeliest of k parts of the tile first. */
static size_t settle(const search *s, const query *q, const bound *by, const tile *t, const float *products, size_t most) {
  size_t parts = q->best[s->k - 1].distance2 < INFINITY ? 1 : s->k;
  bool any = false;
  for (size_t part = 0; part < parts; ++part)
    any |= measure_likeliest(s, q, by, t, products, part * t->n / parts, (part + 1) * t->n / parts);
  if (!any)
    return 0;
  size_t possible = count_possible(products, t->half_norms, t->n, limit_of(s, q, by));
  if (possible > most)
    return possible;
  measure_possible(s, q, by, t, products);
  return 0;
}

/* ---- tiles ---- */

static query query_of(const search *s, const block *b, size_t i, bool sketched) {
  return (query){.row = s->args->queries + (b->first + i) * s->d,
                 .best = b->best + i * s->k,
                 .norm2 = sketched ? b->sketch_norm2[i] : b->norm2[i],
                 .distance = sketched ? b->distance[i] : 0};
}

/* Queries that are left after the sketches, and how many rows are possible for them. */
typedef struct leftover {
  size_t queries, possible;
} leftover;

static leftover settle_by_sketch(const search *s, const block *b, const tile *t, const float *products) {
  leftover left = {0, 0};
  for (size_t i = 0; i < b->n; ++i) {
    query q = query_of(s, b, i, true);
    size_t possible = settle(s, &q, &s->by_sketch, t, products + i * PITCH, t->n / FEW_SHARE);
    if (possible > 0)
      b->unsettled[left.queries++] = (uint32_t)i;
    left.possible += possible;
  }
  return left;
}

/* The product takes the range of queries from the first unsettled to the last: neighbouring patches are alike. */
static size_t range_of(const block *b, leftover left) {
  return b->unsettled[left.queries - 1] + 1 - b->unsettled[0];
}

static void settle_by_row(const search *s, const block *b, size_t first, size_t n, leftover left) {
  size_t from = b->unsettled[0];
  for (size_t j = 0; j < n; ++j)
    b->half_norms[j] = s->args->bank_norms[first + j] / 2;
  for (size_t j = 0; j < n; j += TR_PANEL) {
    size_t width = n - j < TR_PANEL ? n - j : TR_PANEL;
    tr_panels_pack(s->args->bank + (first + j) * s->d, width, s->d, 0, b->work);
    tr_panels_product(s->args->queries + (b->first + from) * s->d, s->d, range_of(b, left), b->work, width, s->d, b->products + j,
                      PITCH);
  }
  tile t = {first, n, b->half_norms};
  for (size_t u = 0; u < left.queries; ++u) {
    query q = query_of(s, b, b->unsettled[u], false);
    settle(s, &q, &s->by_row, &t, b->products + (b->unsettled[u] - from) * PITCH, n);
  }
}

static void measure_tile(const search *s, const block *b, size_t first, size_t n) {
  for (size_t i = 0; i < b->n; ++i) {
    query q = query_of(s, b, i, false);
    for (size_t row = first; row < first + n; ++row)
      measure(s, &q, row);
  }
}

/* In units of one measured row: packing a row of the tile costs 2, multiplying it with a query 1/16. */
static bool product_is_cheaper(const block *b, size_t n, leftover left) {
  return left.possible > 2 * n + range_of(b, left) * n / 16;
}

static void search_tile(const search *s, const block *b, size_t first, size_t n) {
  if (!s->sketch) {
    leftover all = {b->n, b->n * n};
    for (size_t i = 0; i < b->n; ++i)
      b->unsettled[i] = (uint32_t)i;
    if (product_is_cheaper(b, n, all))
      settle_by_row(s, b, first, n, all);
    else
      measure_tile(s, b, first, n);
    return;
  }
  size_t lead = first % TR_PANEL, width = s->sketch->width;
  const float *products = b->products + lead;
  tr_panels_product(b->sketches, width, b->n, s->sketch->panels + (first - lead) * width, lead + n, width, b->products, PITCH);
  tile t = {first, n, s->sketch->half_norms + first};
  leftover left = settle_by_sketch(s, b, &t, products);
  if (left.queries == 0)
    return;
  if (product_is_cheaper(b, n, left)) {
    settle_by_row(s, b, first, n, left);
    return;
  }
  for (size_t u = 0; u < left.queries; ++u) {
    query q = query_of(s, b, b->unsettled[u], true);
    measure_possible(s, &q, &s->by_sketch, &t, products + b->unsettled[u] * PITCH);
  }
}

/* ---- blocks ---- */

static tr_status begin_block(const search *s, block *b) {
  for (size_t i = 0; i < b->n; ++i) {
    b->norm2[i] = tr_exact_norm2(s->args->queries + (b->first + i) * s->d, s->d);
    if (!(b->norm2[i] <= FLT_MAX))
      return tr_fail(TR_EINVAL, "nearest: query %zu: expected finite features, found |query|^2 = %g", b->first + i, b->norm2[i]);
  }
  const tr_nearest_args *args = s->args;
  for (size_t i = 0, at = b->first * s->k; i < b->n * s->k; ++i)
    b->best[i] =
        args->resumed ? (neighbour){args->found_distances2[at + i], args->found_rows[at + i]} : (neighbour){INFINITY, UINT32_MAX};
  for (size_t i = 0; s->sketch && i < b->n; i += TR_SKETCH_TILE) {
    size_t n = b->n - i < TR_SKETCH_TILE ? b->n - i : TR_SKETCH_TILE;
    tr_sketch_rows(s->sketch, s->args->queries + (b->first + i) * s->d, n, b->sketches + i * s->sketch->width, b->distance + i,
                   b->work);
  }
  for (size_t i = 0; s->sketch && i < b->n; ++i)
    b->sketch_norm2[i] = tr_exact_norm2(b->sketches + i * s->sketch->width, s->sketch->width);
  return TR_OK;
}

/* Tiles as equal as whole panels allow. */
static void search_range(const search *s, const block *b, tr_nearest_range range) {
  size_t rows = range.end - range.first, tiles = (rows + TILE - 1) / TILE, width = tr_panels_rows((rows + tiles - 1) / tiles);
  for (size_t first = range.first; first < range.end; first += width)
    search_tile(s, b, first, range.end - first < width ? range.end - first : width);
}

/* The answer-th answer. */
static void hand_out(const search *s, const block *b, size_t answer) {
  const tr_nearest_args *args = s->args;
  float *distances = args->distances + answer * args->queries_count * s->k;
  uint32_t *indices = args->indices + answer * args->queries_count * s->k;
  for (size_t i = 0, at = b->first * s->k; i < b->n * s->k; ++i, ++at) {
    distances[at] = (float)b->best[i].distance2;
    indices[at] = b->best[i].row;
    if (!args->found_rows)
      continue;
    args->found_distances2[at] = b->best[i].distance2;
    args->found_rows[at] = b->best[i].row;
  }
}

static tr_status search_block(void *context, size_t task) {
  const search *s = context;
  block b = take_slot(s, task);
  TR_TRY(begin_block(s, &b));
  for (size_t i = 0; i < tr_nearest_range_count(s->args); ++i) {
    search_range(s, &b, tr_nearest_range_at(s->args, i));
    if (s->args->prefixes)
      hand_out(s, &b, i);
  }
  if (!s->args->prefixes)
    hand_out(s, &b, 0);
  return TR_OK;
}

static tr_status check_range(const tr_nearest_args *args, tr_nearest_range range, double *largest_norm2) {
  for (size_t i = range.first; i < range.end; ++i) {
    if (!(args->bank_norms[i] <= FLT_MAX))
      return tr_fail(TR_EINVAL, "nearest: bank row %zu: expected finite features, found |row|^2 = %g", args->first_row + i,
                     (double)args->bank_norms[i]);
    *largest_norm2 = fmax(*largest_norm2, (double)args->bank_norms[i]);
  }
  return TR_OK;
}

tr_status tr_cpu_nearest(tr_device *device, const tr_nearest_args *args) {
  size_t d = (size_t)args->d, k = (size_t)args->k;
  search s = {.args = args, .sketch = args->sketch, .d = d, .k = k, .by_row = {.depth = d}, .slots = args->scratch};
  for (size_t i = 0; i < tr_nearest_range_count(args); ++i)
    TR_TRY(check_range(args, tr_nearest_range_at(args, i), &s.by_row.largest_norm2));
  if (s.sketch && (s.sketch->d != d || s.sketch->rows < args->bank_rows))
    return tr_fail(TR_EINVAL, "nearest: expected a sketch of at least %zu rows of %zu dimensions, found %zu of %zu",
                   args->bank_rows, d, s.sketch->rows, s.sketch->d);
  if (s.sketch)
    s.by_sketch = (bound){.depth = s.sketch->width,
                          .error = s.sketch->error,
                          .largest_distance = s.sketch->largest_distance,
                          .largest_norm2 = s.sketch->largest_norm2};
  s.slot_bytes = slot_bytes(d, k);
  s.slot_count = slots_of(device, args->queries_count);
  return tr_pool_run(tr_device_pool(device), blocks_of(args->queries_count), search_block, &s);
}

/* ---- norms ---- */

typedef struct norms_task {
  const float *rows;
  size_t n, d;
  float *norms;
} norms_task;

static tr_status norms_block(void *context, size_t task) {
  const norms_task *t = context;
  size_t end = (task + 1) * NORMS_BLOCK < t->n ? (task + 1) * NORMS_BLOCK : t->n;
  for (size_t i = task * NORMS_BLOCK; i < end; ++i)
    t->norms[i] = (float)tr_exact_norm2(t->rows + i * t->d, t->d);
  return TR_OK;
}

tr_status tr_cpu_squared_norms(tr_device *device, const float *rows, size_t n, int d, float *norms) {
  norms_task t = {rows, n, (size_t)d, norms};
  return tr_pool_run(tr_device_pool(device), (n + NORMS_BLOCK - 1) / NORMS_BLOCK, norms_block, &t);
}
