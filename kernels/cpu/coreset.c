/* coreset on the CPU: greedy selection, exact, with most of the work left out.
 *
 * A row's reach can only fall, so an old reach is an upper bound. Each row keeps its reach after the first seen[i] picks, and it
 * is brought up to date only when that bound could still win:
 *
 *   round:  floor = a value that about LIST rows' bounds lie above (by a histogram)
 *   refresh: bring those rows up to date, batch of picks by batch; a row that falls below the floor is left where it is
 *   pick:   the rows still above the floor are all candidates there are. Pick the best, update the candidates alone, drop those
 *           that fall below the floor; repeat until none is left
 *
 * Picks are the greedy algorithm's own, as every row outside is below the floor. Refreshing multiplies rows with packed batches
 * of picks; the product only tells which pairs may lower a reach (kernels/cpu/exact.h), those are measured in double. So order
 * and radii are those of a brute force in double, whatever the product's rounding, the tiles or the number of threads.
 *
 * Measured on ResNet50 features of MVTec bottle (94,080 x 128, 9,408 picks; one core of an EPYC 9004): 27 % of the row-pick pairs
 * are ever multiplied, of these 0.3 % measured; 1.0 s, and 3.0 s when every row is refreshed every round. MTD (596,624 x 128, 5,966
 * picks): 28 %, 4.5 s. Brute forces in floats are 227 and 911 GFLOP; the authors' code took 128 and 788 s on two cores.
 * Tried and left out: skipping by the triangle inequality (|pick - row's nearest pick| >= 2 reach) would keep 8 % of the
 * remaining pairs, but one here, one there, where a product wants blocks; what it could save is under half a second.
 *
 * Rows that are read (tr_coreset_args) pass through each worker's memory: a tile of a round is of rows that follow each other, read with
 * what little lies between them, and picks and candidates are kept as copies. Nothing else differs, so picks are the same.
 */
#include "host/base/clock.h"
#include "host/base/status.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/exact.h"
#include "kernels/cpu/panels.h"
#include "kernels/sections.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
  TILE = 128,             /* rows a refresh task */
  BATCH = 2 * TR_PANEL,   /* picks multiplied at once */
  BLOCK = 2048,           /* rows a task of the start */
  BINS = 1 << 14,         /* of the histogram: the floor's resolution is 1/BINS of the largest reach */
  LEAST_LIST = 2048,      /* LIST = the larger of this and n / LIST_SHARE: enough rows to keep the threads busy */
  LIST_SHARE = 32,        /* and few enough rounds that passing over all rows in each does not count */
  MOST_CANDIDATES = 1024, /* their updates are serial */
  MOST_GAP = 32,          /* rows between two of a tile that are read with them rather than skipped */
};

typedef struct candidate {
  double reach2;
  uint32_t row;
  uint32_t copy; /* its place among the candidates' rows, where rows are read */
} candidate;

/* A refresh task's own memory. */
typedef struct tile {
  float *rows;     /* [TILE, d]: those still in play, packed */
  float *products; /* [TILE, BATCH] */
  uint32_t *index; /* [TILE] */
  /* where rows are read */
  float *span;     /* [BLOCK, d]: from the file */
  float *read;     /* [TILE, d]: the tile's rows */
  uint32_t *place; /* [TILE]: of them there, in the order of `by_seen` */
} tile;

typedef struct greedy {
  const tr_coreset_args *args;
  size_t n, d, done;
  bool reads;
  double *reach2;        /* [n]: squared reach after the first seen[i] picks; PICKED once picked */
  uint32_t *seen;        /* [n] */
  float *half_norm;      /* [n]: |row|^2 / 2 */
  uint32_t *list;        /* [n]: rows of the round */
  uint32_t *by_seen;     /* [n]: the same, those with equal `seen` together */
  uint32_t *counts;      /* [picks + 1], for that sort */
  uint32_t *bins;        /* [BINS] */
  float *panels;         /* picks, packed */
  float *pick_half_norm; /* [picks] */
  float *pick_rows;      /* [picks, d], where rows are read */
  float *candidate_rows; /* [MOST_CANDIDATES, d], likewise; at first the starting points' */
  candidate *candidates; /* [MOST_CANDIDATES] */
  size_t candidate_count, listed;
  candidate outside;     /* the best row that is no candidate: what a pick must precede */
  double ceiling, floor; /* all reach2 <= ceiling; the round's floor */
  double slack;          /* the product's error, as a bound on squared distance / 2 */
  double stop2;          /* picks of less are not wanted */
  bool stopped;
  char *tiles;
  size_t tile_bytes;
} greedy;

static const double PICKED = -1;

/* ---- memory ---- */

static tile lay_out_tile(tr_sections *s, size_t d, bool reads) {
  tile t = {0};
  t.rows = tr_section(s, TILE * d * sizeof(float));
  t.products = tr_section(s, TILE * BATCH * sizeof(float));
  t.index = tr_section(s, TILE * sizeof(uint32_t));
  if (reads) {
    t.span = tr_section(s, BLOCK * d * sizeof(float));
    t.read = tr_section(s, TILE * d * sizeof(float));
    t.place = tr_section(s, TILE * sizeof(uint32_t));
  }
  return t;
}

static void lay_out(greedy *g, const tr_device *device, tr_sections *s) {
  size_t picks = g->args->picks;
  g->reach2 = tr_section(s, g->n * sizeof(double));
  g->seen = tr_section(s, g->n * sizeof(uint32_t));
  g->half_norm = tr_section(s, g->n * sizeof(float));
  g->list = tr_section(s, g->n * sizeof(uint32_t));
  g->by_seen = tr_section(s, g->n * sizeof(uint32_t));
  g->counts = tr_section(s, (picks + 1) * sizeof(uint32_t));
  g->bins = tr_section(s, BINS * sizeof(uint32_t));
  g->panels = tr_section(s, tr_panels_rows(picks) * g->d * sizeof(float));
  g->pick_half_norm = tr_section(s, picks * sizeof(float));
  g->candidates = tr_section(s, MOST_CANDIDATES * sizeof(candidate));
  if (g->reads) {
    g->pick_rows = tr_section(s, picks * g->d * sizeof(float));
    g->candidate_rows = tr_section(s, MOST_CANDIDATES * g->d * sizeof(float));
  }
  tr_sections worker = TR_SECTIONS_COUNT;
  lay_out_tile(&worker, g->d, g->reads);
  g->tile_bytes = worker.used;
  g->tiles = tr_section(s, (size_t)tr_pool_threads(tr_device_pool(device)) * worker.used);
}

static greedy make_greedy(const tr_coreset_args *args) {
  return (greedy){.args = args,
                  .n = args->n,
                  .d = (size_t)args->d,
                  .reads = args->read != NULL,
                  .stop2 = args->stop_radius * args->stop_radius};
}

static size_t count_scratch(const tr_device *device, size_t n, int d, size_t picks, bool reads) {
  tr_coreset_args args = {.n = n, .d = d, .picks = picks};
  greedy g = make_greedy(&args);
  g.reads = reads;
  tr_sections counted = TR_SECTIONS_COUNT;
  lay_out(&g, device, &counted);
  return counted.used;
}

size_t tr_cpu_coreset_scratch(const tr_device *device, size_t n, int d, size_t picks) {
  return count_scratch(device, n, d, picks, false);
}

size_t tr_cpu_coreset_read_scratch(const tr_device *device, size_t n, int d, size_t picks) {
  return count_scratch(device, n, d, picks, true);
}

static tile worker_tile(const greedy *g) {
  tr_sections s = tr_sections_of(g->tiles + (size_t)tr_pool_worker() * g->tile_bytes);
  return lay_out_tile(&s, g->d, g->reads);
}

/* ---- rows ---- */

static tr_status read_rows(const greedy *g, size_t first, size_t n, float *to) {
  return g->args->read(g->args->read_context, first, n, to);
}

/* Where they lie in memory. */
static const float *row_of(const greedy *g, size_t row) {
  return g->args->rows + row * g->d;
}

static const float *start_row(const greedy *g, size_t start) {
  return g->reads ? g->candidate_rows + start * g->d : row_of(g, g->args->start[start]);
}

static const float *pick_row(const greedy *g, size_t pick) {
  return g->reads ? g->pick_rows + pick * g->d : row_of(g, g->args->order[pick]);
}

static const float *candidate_row(const greedy *g, const candidate *c) {
  return g->reads ? g->candidate_rows + c->copy * g->d : row_of(g, c->row);
}

/* Rows of the round that follow each other, [first, end) of the list, with what is read between them: up to where the gap or the span
 * gets too large. Returns the end. */
static size_t end_of_span(const greedy *g, size_t first, size_t end) {
  size_t i = first + 1;
  while (i < end && g->list[i] - g->list[i - 1] <= MOST_GAP && g->list[i] - g->list[first] < BLOCK)
    ++i;
  return i;
}

/* Rows [first, end) of the list, and their places by what they have seen. */
static tr_status read_tile(greedy *g, tile *t, size_t first, size_t end) {
  for (size_t begin = first, next; begin < end; begin = next) {
    next = end_of_span(g, begin, end);
    TR_TRY(read_rows(g, g->list[begin], g->list[next - 1] - g->list[begin] + 1, t->span));
    for (size_t i = begin; i < next; ++i)
      memcpy(t->read + (i - first) * g->d, t->span + (g->list[i] - g->list[begin]) * g->d, g->d * sizeof(float));
  }
  for (size_t i = 0; i < end - first; ++i) {
    size_t at = i;
    for (; at > 0 && g->seen[g->list[first + t->place[at - 1]]] > g->seen[g->list[first + i]]; --at)
      t->place[at] = t->place[at - 1];
    t->place[at] = (uint32_t)i;
  }
  for (size_t i = 0; i < end - first; ++i)
    g->by_seen[first + i] = g->list[first + t->place[i]];
  return TR_OK;
}

/* ---- start ---- */

/* Official ApproximateGreedyCoresetSampler._compute_greedy_coreset_indices: the mean of the distances to the starting points. */
static tr_status start_block(void *context, size_t task) {
  greedy *g = context;
  size_t first = task * BLOCK, end = first + BLOCK < g->n ? first + BLOCK : g->n;
  tile t = worker_tile(g);
  if (g->reads)
    TR_TRY(read_rows(g, first, end - first, t.span));
  for (size_t i = first; i < end; ++i) {
    const float *row = g->reads ? t.span + (i - first) * g->d : row_of(g, i);
    double norm2 = tr_exact_norm2(row, g->d), sum = 0;
    if (!(norm2 <= FLT_MAX))
      return tr_fail(TR_EINVAL, "coreset: row %zu: expected finite features, found |row|^2 = %g", i, norm2);
    for (size_t s = 0; s < g->args->starts; ++s)
      sum += sqrt(tr_exact_distance2(row, start_row(g, s), g->d));
    double mean = sum / (double)g->args->starts;
    g->reach2[i] = mean * mean;
    g->half_norm[i] = (float)(norm2 / 2);
    g->seen[i] = 0;
  }
  return TR_OK;
}

static tr_status start(greedy *g, tr_pool *pool) {
  for (size_t s = 0; g->reads && s < g->args->starts; ++s)
    TR_TRY(read_rows(g, g->args->start[s], 1, g->candidate_rows + s * g->d));
  TR_TRY(tr_pool_run(pool, (g->n + BLOCK - 1) / BLOCK, start_block, g));
  float largest_half_norm = 0;
  for (size_t i = 0; i < g->n; ++i) {
    if (g->reach2[i] > g->ceiling)
      g->ceiling = g->reach2[i];
    if (g->half_norm[i] > largest_half_norm)
      largest_half_norm = g->half_norm[i];
  }
  /* |a| |b| is at most the largest squared norm; FLT_MIN stands for products that underflow. */
  g->slack = tr_product_error(g->d) * 2 * (double)largest_half_norm + (double)g->d * (double)FLT_MIN;
  memset(g->panels, 0, tr_panels_rows(g->args->picks) * g->d * sizeof(float));
  return TR_OK;
}

/* ---- list: the rows that the round is about ---- */

static size_t bin_of(const greedy *g, double reach2) {
  size_t bin = (size_t)(reach2 * (BINS / g->ceiling));
  return bin < BINS ? bin : BINS - 1;
}

static void set_floor(greedy *g) {
  size_t wanted = g->n / LIST_SHARE > LEAST_LIST ? g->n / LIST_SHARE : LEAST_LIST, above = 0, bin = BINS;
  memset(g->bins, 0, BINS * sizeof *g->bins);
  for (size_t i = 0; i < g->n; ++i)
    if (g->reach2[i] > 0)
      ++g->bins[bin_of(g, g->reach2[i])];
  while (bin > 0 && above < wanted)
    above += g->bins[--bin];
  g->floor = (double)bin / BINS * g->ceiling;
}

/* Rows of positive reach only: one at 0 waits until all are. */
static void list_rows(greedy *g) {
  set_floor(g);
  g->listed = 0;
  for (size_t i = 0; i < g->n; ++i)
    if (g->reach2[i] > 0 && g->reach2[i] >= g->floor)
      g->list[g->listed++] = (uint32_t)i;
}

/* Rows that are read stay in their order from tile to tile (read_tile). */
static void sort_by_seen(greedy *g) {
  if (g->reads)
    return;
  memset(g->counts, 0, (g->done + 1) * sizeof *g->counts);
  for (size_t i = 0; i < g->listed; ++i)
    ++g->counts[g->seen[g->list[i]]];
  uint32_t place = 0;
  for (size_t seen = 0; seen <= g->done; ++seen) {
    uint32_t count = g->counts[seen];
    g->counts[seen] = place;
    place += count;
  }
  for (size_t i = 0; i < g->listed; ++i)
    g->by_seen[g->counts[g->seen[g->list[i]]]++] = g->list[i];
}

/* ---- refresh ---- */

/* One row against the products with a batch: |a - b|^2 < reach2 needs a.b - |b|^2/2 > |a|^2/2 - reach2/2. */
static void lower_reach(greedy *g, uint32_t row, const float *features, const float *products, size_t first, size_t picks) {
  const float *half_norms = g->pick_half_norm + first;
  float limit = (float)((double)g->half_norm[row] - g->reach2[row] / 2 - g->slack);
  int any = 0;
  for (size_t j = 0; j < picks; ++j)
    any |= products[j] - half_norms[j] > limit;
  for (size_t j = 0; any && j < picks; ++j) {
    if (!(products[j] - half_norms[j] > limit))
      continue;
    double reach2 = tr_exact_distance2(features, pick_row(g, first + j), g->d);
    if (reach2 < g->reach2[row]) {
      g->reach2[row] = reach2;
      limit = (float)((double)g->half_norm[row] - reach2 / 2 - g->slack);
    }
  }
}

/* All of the tile's rows in play against picks [first, end); rows below the floor leave. Returns how many stay. */
static size_t apply_batch(greedy *g, const tile *t, size_t rows, size_t first, size_t end) {
  tr_panels_product(t->rows, g->d, rows, g->panels + first * g->d, end - first, g->d, t->products, BATCH);
  size_t kept = 0;
  for (size_t i = 0; i < rows; ++i) {
    uint32_t row = t->index[i];
    lower_reach(g, row, t->rows + i * g->d, t->products + i * BATCH, first, end - first);
    g->seen[row] = (uint32_t)end;
    if (g->reach2[row] < g->floor)
      continue;
    if (kept != i) {
      t->index[kept] = row;
      memcpy(t->rows + kept * g->d, t->rows + i * g->d, g->d * sizeof(float));
    }
    ++kept;
  }
  return kept;
}

/* Batches start at multiples of BATCH; picks that a row has seen already cannot lower its reach again. */
static tr_status refresh_tile(void *context, size_t task) {
  greedy *g = context;
  tile t = worker_tile(g);
  size_t begin = task * TILE, next = begin, end = next + TILE < g->listed ? next + TILE : g->listed, rows = 0;
  if (g->reads)
    TR_TRY(read_tile(g, &t, begin, end));
  for (size_t first = g->seen[g->by_seen[next]] / BATCH * BATCH; first < g->done; first += BATCH) {
    size_t last = first + BATCH < g->done ? first + BATCH : g->done;
    for (; next < end && g->seen[g->by_seen[next]] < last; ++next, ++rows) {
      t.index[rows] = g->by_seen[next];
      const float *row = t.place ? t.read + t.place[next - begin] * g->d : row_of(g, g->by_seen[next]);
      memcpy(t.rows + rows * g->d, row, g->d * sizeof(float));
    }
    if (rows > 0)
      rows = apply_batch(g, &t, rows, first, last);
  }
  return TR_OK;
}

/* ---- candidates ---- */

/* The order of picking. */
static bool precedes(candidate a, candidate b) {
  return a.reach2 > b.reach2 || (a.reach2 == b.reach2 && a.row < b.row);
}

/* A heap with the last in the order of picking at its root. */
static void sift_down(candidate *heap, size_t count, size_t at) {
  candidate value = heap[at];
  for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
    if (child + 1 < count && precedes(heap[child], heap[child + 1]))
      ++child;
    if (!precedes(value, heap[child]))
      break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = value;
}

static void make_heap(candidate *heap, size_t count) {
  for (size_t at = count / 2; at-- > 0;)
    sift_down(heap, count, at);
}

/* Of the rows that are up to date and not below the floor, the first MOST_CANDIDATES in the order of picking. */
static void choose_candidates(greedy *g) {
  candidate *heap = g->candidates;
  size_t count = 0;
  g->outside = (candidate){g->floor, UINT32_MAX, 0};
  for (size_t i = 0; i < g->listed; ++i) {
    candidate next = {g->reach2[g->list[i]], g->list[i], 0};
    if (next.reach2 < g->floor || next.reach2 <= 0)
      continue;
    if (count < MOST_CANDIDATES) {
      heap[count++] = next;
      if (count == MOST_CANDIDATES)
        make_heap(heap, count);
      continue;
    }
    candidate left_out = next;
    if (precedes(next, heap[0])) {
      left_out = heap[0];
      heap[0] = next;
      sift_down(heap, count, 0);
    }
    if (precedes(left_out, g->outside))
      g->outside = left_out;
  }
  g->candidate_count = count;
}

static int by_row(const void *a, const void *b) {
  const candidate *x = a, *y = b;
  return (x->row > y->row) - (x->row < y->row);
}

static tr_status read_candidates(greedy *g) {
  if (!g->reads)
    return TR_OK;
  qsort(g->candidates, g->candidate_count, sizeof *g->candidates, by_row);
  for (size_t i = 0; i < g->candidate_count; ++i) {
    g->candidates[i].copy = (uint32_t)i;
    TR_TRY(read_rows(g, g->candidates[i].row, 1, g->candidate_rows + i * g->d));
  }
  return TR_OK;
}

/* What later updates need of a pick. */
static void take_pick(greedy *g, uint32_t row, const float *features) {
  g->pick_half_norm[g->done] = g->half_norm[row];
  tr_panels_put(features, g->d, g->done, g->panels);
  if (g->reads)
    memcpy(g->pick_rows + g->done * g->d, features, g->d * sizeof(float));
  g->reach2[row] = PICKED;
  ++g->done;
}

static void record_pick(greedy *g, uint32_t row, double reach2, const float *features) {
  g->args->order[g->done] = row;
  g->args->radius[g->done] = (float)sqrt(reach2);
  take_pick(g, row, features);
}

/* A row that is no candidate: read into the place of one where rows are read. */
static tr_status lone_row(const greedy *g, uint32_t row, const float **out) {
  *out = g->reads ? g->candidate_rows : row_of(g, row);
  return g->reads ? read_rows(g, row, 1, g->candidate_rows) : TR_OK;
}

/* Updates the candidates by the last pick and drops those that a row outside may precede. Returns the place of the best. */
static size_t update_candidates(greedy *g) {
  size_t kept = 0, best = 0;
  const float *pick = pick_row(g, g->done - 1);
  for (size_t i = 0; i < g->candidate_count; ++i) {
    candidate c = g->candidates[i];
    double reach2 = tr_exact_distance2(candidate_row(g, &c), pick, g->d);
    if (reach2 < c.reach2)
      g->reach2[c.row] = c.reach2 = reach2;
    g->seen[c.row] = (uint32_t)g->done;
    if (c.reach2 <= 0 || !precedes(c, g->outside))
      continue;
    g->candidates[kept] = c;
    if (precedes(c, g->candidates[best]))
      best = kept;
    ++kept;
  }
  g->candidate_count = kept;
  return best;
}

static void pick_candidates(greedy *g) {
  size_t best = 0;
  for (size_t i = 1; i < g->candidate_count; ++i)
    if (precedes(g->candidates[i], g->candidates[best]))
      best = i;
  while (g->candidate_count > 0 && g->done < g->args->picks) {
    candidate pick = g->candidates[best];
    if (pick.reach2 < g->stop2) {
      g->args->order[g->done] = pick.row;
      g->args->radius[g->done] = (float)sqrt(pick.reach2);
      g->stopped = true;
      return;
    }
    record_pick(g, pick.row, pick.reach2, candidate_row(g, &pick));
    g->candidates[best] = g->candidates[--g->candidate_count];
    best = update_candidates(g);
  }
  g->ceiling = g->outside.reach2;
}

/* Every row that is left lies on a pick. */
static tr_status pick_lowest_rows(greedy *g) {
  const float *features;
  for (uint32_t i = 0; i < g->n && g->done < g->args->picks; ++i) {
    if (g->reach2[i] < 0)
      continue;
    TR_TRY(lone_row(g, i, &features));
    record_pick(g, i, 0, features);
  }
  return TR_OK;
}

static tr_status run_rounds(greedy *g, tr_pool *pool) {
  double begin = tr_seconds();
  while (g->done < g->args->picks && g->ceiling > 0 && !g->stopped) {
    if (tr_cancel_requested())
      return tr_fail(TR_ECANCELED, "coreset: canceled after %zu of %zu picks", g->done, g->args->picks);
    list_rows(g);
    sort_by_seen(g);
    TR_TRY(tr_pool_run(pool, (g->listed + TILE - 1) / TILE, refresh_tile, g));
    choose_candidates(g);
    TR_TRY(read_candidates(g));
    pick_candidates(g);
    tr_progress_update(g->args->progress, "coreset", g->done, g->args->picks, "picks");
    g->stopped |= g->args->stop_seconds > 0 && tr_seconds() - begin >= g->args->stop_seconds;
  }
  if (!g->stopped && !(g->stop2 > 0))
    TR_TRY(pick_lowest_rows(g));
  *g->args->picked = g->done;
  return TR_OK;
}

tr_status tr_cpu_coreset(tr_device *device, const tr_coreset_args *args) {
  greedy g = make_greedy(args);
  tr_sections scratch = tr_sections_of(args->scratch);
  lay_out(&g, device, &scratch);
  TR_TRY(start(&g, tr_device_pool(device)));
  for (size_t i = 0; i < args->given; ++i) {
    const float *features;
    TR_TRY(lone_row(&g, args->order[i], &features));
    take_pick(&g, args->order[i], features);
  }
  return run_rounds(&g, tr_device_pool(device));
}
