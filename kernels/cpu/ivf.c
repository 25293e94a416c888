/* ivf on the CPU: lists are passed over once for a block of queries.
 *
 * Of a block's queries, those that look at a list are measured against its rows together: a row is read, or put together from its
 * codewords, once for all of them, and stays in the cache. A distance in float says whether a row may be among a query's k best; then it is
 * measured in double. First come the lists nearest to each query: after them, few rows of others are measured.
 *
 * FAISS takes one query at a time. For codes it makes a table of all codewords' products with the query, which costs as much as 256
 * distances, and here more than the rows of a few lists.
 *
 * Measured in turn with FAISS 1.7.3's search of the same index (784 queries, 16,385 rows of 1,024 dimensions in 512 lists, one thread of
 * an EPYC 9004 beside other jobs; all 784 rows found are the same):
 *
 *   nprobe                 1      4     16     64    128
 *   IVF512,Flat    FAISS  59    163   1037   3402   5428 ms      this  17   25   86  303  526 ms
 *   IVF512,PQ64np  FAISS 152    203    357   1189   2771 ms      this  15   22   90  213  486 ms
 *
 * At nprobe 1 a third of the time is the product that finds the lists, at 16 the float distances are the largest part.
 */
#include "host/base/status.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/exact.h"
#include "kernels/sections.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
  BLOCK = 392, /* queries a task: 28 x 28 patches are two */
  ROWS = 4,    /* measured together */
};

typedef struct neighbour {
  double distance2;
  uint32_t id;
} neighbour;

typedef struct search {
  const tr_ivf_args *args;
  const tr_ivf_lists *lists;
  const uint32_t *probes; /* NULL: found here */
  size_t d, k, nprobe;
  char *slots;
  size_t slot_count, slot_bytes;
} search;

/* A task's queries and memory. */
typedef struct block {
  size_t first, n;
  neighbour *best;   /* [BLOCK, k] in order */
  double *norms;     /* [BLOCK] |q| */
  float *limits;     /* [BLOCK] a float distance above this is not among the k best */
  uint32_t *probes;  /* [BLOCK, nprobe] */
  uint32_t *begins;  /* [list_count + 1]: where a list's queries begin in */
  uint32_t *members; /* [BLOCK * nprobe] */
  neighbour *ranked; /* [list_count]: all lists of a query, nearest first */
  float *rows;       /* [ROWS, d] put together */
  float *codewords;  /* [d] */
} block;

/* ---- memory ---- */

static void lay_out(block *b, tr_sections *s, const tr_ivf_shape *shape, size_t nprobe, size_t k) {
  size_t d = (size_t)shape->d;
  b->best = tr_section(s, BLOCK * k * sizeof(neighbour));
  b->norms = tr_section(s, BLOCK * sizeof(double));
  b->limits = tr_section(s, BLOCK * sizeof(float));
  b->probes = tr_section(s, BLOCK * nprobe * sizeof(uint32_t));
  b->begins = tr_section(s, (shape->list_count + 1) * sizeof(uint32_t));
  b->members = tr_section(s, BLOCK * nprobe * sizeof(uint32_t));
  b->ranked = tr_section(s, shape->list_count * sizeof(neighbour));
  b->rows = tr_section(s, shape->codes ? ROWS * d * sizeof(float) : 0);
  b->codewords = tr_section(s, shape->codes ? d * sizeof(float) : 0);
}

static size_t slot_bytes(const tr_ivf_shape *shape, size_t nprobe, size_t k) {
  block b;
  tr_sections counted = TR_SECTIONS_COUNT;
  lay_out(&b, &counted, shape, nprobe, k);
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

size_t tr_cpu_ivf_scratch(const tr_device *device, const tr_ivf_shape *shape, size_t queries_count, int nprobe, int k) {
  return slots_of(device, queries_count) * slot_bytes(shape, (size_t)nprobe, (size_t)k);
}

static block take_slot(const search *s, size_t task) {
  block b = {.first = task * BLOCK};
  size_t left = s->args->queries_count - b.first;
  b.n = left < BLOCK ? left : BLOCK;
  size_t slot = s->slot_count == blocks_of(s->args->queries_count) ? task : (size_t)tr_pool_worker();
  tr_sections memory = tr_sections_of(s->slots + slot * s->slot_bytes);
  lay_out(&b, &memory, &s->lists->shape, s->nprobe, s->k);
  return b;
}

static const float *query_of(const search *s, const block *b, size_t i) {
  return s->args->queries + (b->first + i) * s->d;
}

/* ---- rows ---- */

static uint32_t size_of(const search *s, size_t list) {
  return s->lists->begins[list + 1] - s->lists->begins[list];
}

static void read_codewords(const search *s, size_t list, size_t row, float *out) {
  size_t codes = (size_t)s->lists->shape.codes, part = s->d / codes;
  const uint8_t *code = (const uint8_t *)s->lists->data[list] + row * codes;
  for (size_t j = 0; j < codes; ++j)
    memcpy(out + j * part, s->lists->codebooks + (j * TR_IVF_CODEWORDS + code[j]) * part, part * sizeof(float));
}

/* A row of a list, put together at `memory` where it is coded: to a rounding of each value. */
static const float *row_of(const search *s, size_t list, size_t row, float *memory) {
  if (s->lists->shape.codes == 0)
    return (const float *)s->lists->data[list] + row * s->d;
  const float *centroid = s->lists->centroids + list * s->d;
  read_codewords(s, list, row, memory);
  for (size_t i = 0; i < s->d; ++i)
    memory[i] += centroid[i];
  return memory;
}

/* ---- distances ---- */

/* -ffp-contract=off keeps the compiler from fusing, so it is asked for where the processor has it. */
static inline float multiply_add(float a, float b, float c) {
#if defined(__FMA__) || defined(__FP_FAST_FMAF)
  return fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

/* |query - row|^2 in float, of ROWS rows. */
static void float_distances(const float *query, const float *const rows[ROWS], size_t d, float out[ROWS]) {
  float sum[ROWS][TR_EXACT_LANES] = {{0}};
  size_t i = 0;
  for (; i + TR_EXACT_LANES <= d; i += TR_EXACT_LANES)
    for (size_t r = 0; r < ROWS; ++r)
      for (size_t lane = 0; lane < TR_EXACT_LANES; ++lane) {
        float difference = query[i + lane] - rows[r][i + lane];
        sum[r][lane] = multiply_add(difference, difference, sum[r][lane]);
      }
  for (size_t r = 0; r < ROWS; ++r)
    for (size_t lane = 0; i + lane < d; ++lane) {
      float difference = query[i + lane] - rows[r][i + lane];
      sum[r][lane] = multiply_add(difference, difference, sum[r][lane]);
    }
  for (size_t width = TR_EXACT_LANES / 2; width > 0; width /= 2)
    for (size_t r = 0; r < ROWS; ++r)
      for (size_t lane = 0; lane < width; ++lane)
        sum[r][lane] += sum[r][lane + width];
  for (size_t r = 0; r < ROWS; ++r)
    out[r] = sum[r][0];
}

/* |(q - c) - y|^2, summed as tr_exact_distance2 does. */
static double coded_distance2(const float *query, const float *centroid, const float *codewords, size_t d) {
  double sum[TR_EXACT_LANES] = {0};
  for (size_t i = 0; i < d; i += TR_EXACT_LANES) {
    size_t n = d - i < TR_EXACT_LANES ? d - i : TR_EXACT_LANES;
    for (size_t lane = 0; lane < n; ++lane) {
      double difference = (double)query[i + lane] - (double)centroid[i + lane] - (double)codewords[i + lane];
      sum[lane] += difference * difference;
    }
  }
  for (size_t width = TR_EXACT_LANES / 2; width > 0; width /= 2)
    for (size_t lane = 0; lane < width; ++lane)
      sum[lane] += sum[lane + width];
  return sum[0];
}

static double exact_distance2(const search *s, const block *b, const float *query, size_t list, size_t row) {
  if (s->lists->shape.codes == 0)
    return tr_exact_distance2(query, (const float *)s->lists->data[list] + row * s->d, s->d);
  read_codewords(s, list, row, b->codewords);
  return coded_distance2(query, s->lists->centroids + list * s->d, b->codewords, s->d);
}

/* A row at distance D has, as it is put together, a float distance of at most (D + u |c + y|)^2 and that sum's rounding, where
 * |c + y| <= |q| + D. */
static float limit_of(const search *s, const block *b, size_t i) {
  double worst2 = b->best[i * s->k + s->k - 1].distance2;
  if (!(worst2 < INFINITY))
    return INFINITY;
  double worst = sqrt(worst2), reach = s->lists->shape.codes ? worst + 0x1p-23 * (b->norms[i] + worst) : worst;
  return (float)(reach * reach * (1 + 2 * tr_product_error(s->d)) + (double)s->d * (double)FLT_MIN);
}

/* ---- neighbours ---- */

static bool precedes(neighbour a, neighbour b) {
  return a.distance2 < b.distance2 || (a.distance2 == b.distance2 && a.id < b.id);
}

static void measure(const search *s, const block *b, size_t i, size_t list, size_t row) {
  neighbour *best = b->best + i * s->k;
  neighbour found = {exact_distance2(s, b, query_of(s, b, i), list, row), s->lists->ids[s->lists->begins[list] + row]};
  if (!precedes(found, best[s->k - 1]))
    return;
  size_t place = s->k - 1;
  for (; place > 0 && precedes(found, best[place - 1]); --place)
    best[place] = best[place - 1];
  best[place] = found;
  b->limits[i] = limit_of(s, b, i);
}

/* ---- lists ---- */

static int by_distance(const void *a, const void *b) {
  const neighbour *x = a, *y = b;
  return precedes(*x, *y) ? -1 : precedes(*y, *x) ? 1 : 0;
}

/* All lists, nearest first. */
static void rank_lists(const search *s, const block *b, size_t i) {
  size_t count = s->lists->shape.list_count;
  for (size_t list = 0; list < count; ++list)
    b->ranked[list] = (neighbour){tr_exact_distance2(query_of(s, b, i), s->lists->centroids + list * s->d, s->d), (uint32_t)list};
  qsort(b->ranked, count, sizeof *b->ranked, by_distance);
}

static const uint32_t *probes_of(const search *s, const block *b, size_t i) {
  return s->probes ? s->probes + (b->first + i) * s->nprobe : b->probes + i * s->nprobe;
}

static void find_lists(const search *s, const block *b, size_t i) {
  rank_lists(s, b, i);
  for (size_t rank = 0; rank < s->nprobe; ++rank)
    b->probes[i * s->nprobe + rank] = b->ranked[rank].id;
}

/* The block's queries that look at a list as one of their [from, to) nearest, for each list. */
static void group_queries(const search *s, const block *b, size_t from, size_t to) {
  size_t count = s->lists->shape.list_count;
  memset(b->begins, 0, (count + 1) * sizeof *b->begins);
  for (size_t i = 0; i < b->n; ++i)
    for (size_t rank = from; rank < to; ++rank)
      ++b->begins[probes_of(s, b, i)[rank]];
  uint32_t end = 0;
  for (size_t list = 0; list <= count; ++list)
    b->begins[list] = end += b->begins[list];
  for (size_t i = b->n; i-- > 0;)
    for (size_t rank = from; rank < to; ++rank)
      b->members[--b->begins[probes_of(s, b, i)[rank]]] = (uint32_t)i;
}

static void scan_list(const search *s, const block *b, size_t list, const uint32_t *members, size_t member_count) {
  size_t size = size_of(s, list);
  for (size_t first = 0; first < size; first += ROWS) {
    size_t n = size - first < ROWS ? size - first : ROWS;
    const float *rows[ROWS];
    for (size_t r = 0; r < ROWS; ++r) { /* behind the list's end the last one again */
      size_t row = first + (r < n ? r : n - 1);
      rows[r] = row_of(s, list, row, b->rows + (s->lists->shape.codes ? r * s->d : 0));
    }
    for (size_t m = 0; m < member_count; ++m) {
      float distances[ROWS];
      float_distances(query_of(s, b, members[m]), rows, s->d, distances);
      for (size_t r = 0; r < n; ++r)
        if (!(distances[r] > b->limits[members[m]]))
          measure(s, b, members[m], list, first + r);
    }
  }
}

static void scan_ranks(const search *s, const block *b, size_t from, size_t to) {
  group_queries(s, b, from, to);
  for (size_t list = 0; list < s->lists->shape.list_count; ++list)
    if (b->begins[list] < b->begins[list + 1])
      scan_list(s, b, list, b->members + b->begins[list], b->begins[list + 1] - b->begins[list]);
}

/* The lists looked at hold fewer than k rows: looks at twice as many until they do. */
static void search_further(const search *s, const block *b, size_t i) {
  size_t count = s->lists->shape.list_count, rows = 0, end = s->nprobe;
  for (size_t rank = 0; rank < s->nprobe; ++rank)
    rows += size_of(s, probes_of(s, b, i)[rank]);
  if (rows >= s->k)
    return;
  rank_lists(s, b, i);
  while (rows < s->k) {
    size_t from = end;
    end = 2 * end < count ? 2 * end : count;
    for (size_t rank = from; rank < end; ++rank) {
      size_t list = b->ranked[rank].id, size = size_of(s, list);
      for (size_t row = 0; row < size; ++row)
        measure(s, b, i, list, row);
      rows += size;
    }
  }
}

/* ---- blocks ---- */

static tr_status begin_query(const search *s, const block *b, size_t i) {
  double norm2 = tr_exact_norm2(query_of(s, b, i), s->d);
  if (!(norm2 <= FLT_MAX))
    return tr_fail(TR_EINVAL, "ivf: query %zu: expected finite features, found |query|^2 = %g", b->first + i, norm2);
  b->norms[i] = sqrt(norm2);
  b->limits[i] = INFINITY;
  for (size_t j = 0; j < s->k; ++j)
    b->best[i * s->k + j] = (neighbour){INFINITY, UINT32_MAX};
  if (!s->probes)
    find_lists(s, b, i);
  return TR_OK;
}

static void hand_out(const search *s, const block *b) {
  for (size_t i = 0, at = b->first * s->k; i < b->n * s->k; ++i, ++at) {
    s->args->distances[at] = (float)b->best[i].distance2;
    s->args->indices[at] = b->best[i].id;
  }
}

static tr_status search_block(void *context, size_t task) {
  const search *s = context;
  block b = take_slot(s, task);
  for (size_t i = 0; i < b.n; ++i)
    TR_TRY(begin_query(s, &b, i));
  scan_ranks(s, &b, 0, 1);
  if (s->nprobe > 1)
    scan_ranks(s, &b, 1, s->nprobe);
  for (size_t i = 0; i < b.n; ++i)
    search_further(s, &b, i);
  hand_out(s, &b);
  return TR_OK;
}

tr_status tr_cpu_ivf(tr_device *device, const tr_ivf_args *args, const uint32_t *probes, void *scratch) {
  search s = {.args = args,
              .lists = args->lists,
              .probes = probes,
              .d = (size_t)args->lists->shape.d,
              .k = (size_t)args->k,
              .nprobe = (size_t)args->nprobe,
              .slots = scratch};
  s.slot_bytes = slot_bytes(&args->lists->shape, s.nprobe, s.k);
  s.slot_count = slots_of(device, args->queries_count);
  return tr_pool_run(tr_device_pool(device), blocks_of(args->queries_count), search_block, &s);
}
