/* ivf on the GPU: lists are read once for a group of queries.
 *
 * The (query, list) pairs of a block of queries are sorted by list. A block of threads takes up to 16 pairs of one list and passes over
 * its rows in tiles of 32, which all its warps read from shared memory; coded rows are put together from their codewords on the way there. A
 * warp measures two queries against a tile in float; a butterfly of shuffles leaves each lane with the distance of one row. Rows that may
 * be among the k best are then measured in double and in the cpu twin's order (exact.h), likeliest first. So results are the cpu twin's
 * bit for bit, whatever the order of pairs or blocks. The lists nearest to the queries go first: what they hold bounds the search of the
 * others.
 *
 * Limit: additions and multiply-adds in float, two instructions a value, and half as many reads of shared memory. Bottle, 83 images of
 * 784 x 1,024 in 512 lists of 16,385 rows: of each list looked at 32 rows, 2.1 G differences, 0.2 ms at an H100's 33 T instructions/s,
 * 0.4 ms expected; 0.1 ms for what is measured in double (1 to 2 rows a pair); 0.3 ms for the lists themselves, by `nearest`; 0.3 ms for
 * 100 launches; together 1.2 ms at nprobe 1, 8 ms at 16, where exact search takes 7. A bank of all 163,856 rows: 5 ms at nprobe 1, beside 65
 * exactly. Bytes: a list's rows (or 4 KB of codewords a row, from the cache) for every 16 of its queries. Not measured on a GPU yet.
 *
 * A table of the codewords' products with each query, which other IVF-PQ searches keep in shared memory (64 KB for 64 codes), costs as
 * much as 256 rows measured: more than the 32 to 320 rows of a list, and it bounds the number of codes. Rows put together serve 16
 * queries at a time instead, and searching codes is searching rows.
 */
#include "kernels/cuda/best.h"
#include "kernels/cuda/vector.h"

#include <cfloat>
#include <cmath>

extern "C" {
#include "kernels/sections.h"
}

namespace {

enum {
  TILE = TR_WARP,  /* rows: one a lane */
#ifdef TR_EMULATED /* so that small tests cross blocks, members and pieces */
  WARPS = 2,
  PIECE = 128, /* values of a row in shared memory at a time: a multiple of 4 TR_WARP */
  QUERIES = 24,
  FOUND = 1 << 12,
#else
  WARPS = 8,
  PIECE = 256,
  QUERIES = 4096,
  FOUND = 1 << 20,
#endif
  THREADS = WARPS * TR_WARP,
  PAIRS = 2,               /* of a warp */
  MEMBERS = WARPS * PAIRS, /* of a block */
  SMALL = 128,             /* threads of the other kernels */
  SMALL_WARPS = SMALL / TR_WARP,
};

const unsigned long long NONE = ~0ull;

/* A block of queries. A pair is a query and the list at a rank among those it looks at: pair = query * nprobe + rank. */
struct work {
  tr_ivf_lists lists;
  const float *queries;                     /* [queries_count, d] */
  const double *norm2;                      /* [queries_count] |q|^2 */
  unsigned queries_count, nprobe, from, to; /* ranks [from, to) now */
  unsigned d, list_count, codes, part;      /* part: values of a codeword */
  int k;
  double growth;              /* of a float distance, for its rounding */
  uint32_t *probes;           /* [queries_count, nprobe] */
  uint32_t *counts;           /* [list_count]: pairs of a list, then where the next one goes */
  uint32_t *begins;           /* [list_count + 1]: a list's pairs are members[begins[l]] to members[begins[l + 1] - 1] */
  uint32_t *block_begins;     /* [list_count + 1]: and these blocks' */
  uint32_t *members;          /* [queries_count * nprobe] */
  double *centroid_distance2; /* [queries_count, list_count] where lists are ranked here */
  double *found_distance2;    /* [pairs, k] */
  uint32_t *found_id;
  float *distances; /* [queries_count, k] */
  uint32_t *indices;
};

/* ---- queries, and their lists where `nearest` did not find them ---- */

__global__ void __launch_bounds__(SMALL)
    check_queries(const float *queries, size_t n, unsigned d, double *norm2, unsigned long long *bad) {
  for (size_t q = (size_t)blockIdx.x * SMALL_WARPS + threadIdx.x / TR_WARP; q < n; q += (size_t)gridDim.x * SMALL_WARPS) {
    const double sum = tr_warp_norm2(queries + q * d, d);
    if (threadIdx.x % TR_WARP != 0)
      continue;
    norm2[q] = sum;
    if (!(sum <= (double)FLT_MAX))
      atomicMin(bad, (unsigned long long)q);
  }
}

/* A block a query: a list's rank is the number of lists before it. */
__global__ void __launch_bounds__(SMALL) rank_lists(work w) {
  const size_t q = blockIdx.x;
  double *distance2 = w.centroid_distance2 + q * w.list_count;
  for (unsigned list = threadIdx.x / TR_WARP; list < w.list_count; list += SMALL_WARPS) {
    const double found = tr_warp_distance2(w.queries + q * w.d, w.lists.centroids + (size_t)list * w.d, w.d);
    if (threadIdx.x % TR_WARP == 0)
      distance2[list] = found;
  }
  __syncthreads();
  for (unsigned list = threadIdx.x; list < w.list_count; list += SMALL) {
    const double own2 = distance2[list];
    unsigned rank = 0;
    for (unsigned other = 0; other < w.list_count; ++other)
      rank += tr_precedes(distance2[other], other, own2, list);
    if (rank < w.nprobe)
      w.probes[q * w.nprobe + rank] = list;
  }
}

/* ---- pairs by list ---- */

__device__ bool pair_at(const work &w, size_t i, size_t *pair) {
  const unsigned ranks = w.to - w.from;
  if (i >= (size_t)w.queries_count * ranks)
    return false;
  *pair = i / ranks * w.nprobe + w.from + i % ranks;
  return true;
}

__global__ void __launch_bounds__(SMALL) count_pairs(work w) {
  size_t pair;
  if (pair_at(w, (size_t)blockIdx.x * SMALL + threadIdx.x, &pair))
    atomicAdd(&w.counts[w.probes[pair]], 1u);
}

__device__ unsigned sum_up_to(unsigned value) {
  const unsigned lane = threadIdx.x % TR_WARP;
  for (unsigned width = 1; width < TR_WARP; width *= 2) {
    const unsigned before = __shfl_up_sync(TR_ALL_LANES, value, width);
    value += lane >= width ? before : 0;
  }
  return value;
}

/* One warp. */
__global__ void __launch_bounds__(TR_WARP) place_lists(work w) {
  unsigned pairs = 0, blocks = 0;
  for (unsigned first = 0; first <= w.list_count; first += TR_WARP) {
    const unsigned list = first + threadIdx.x, count = list < w.list_count ? w.counts[list] : 0;
    const unsigned own = (count + MEMBERS - 1) / MEMBERS, pairs_end = pairs + sum_up_to(count),
                   blocks_end = blocks + sum_up_to(own);
    if (list <= w.list_count) {
      w.begins[list] = pairs_end - count;
      w.block_begins[list] = blocks_end - own;
    }
    if (list < w.list_count)
      w.counts[list] = pairs_end - count;
    pairs = __shfl_sync(TR_ALL_LANES, pairs_end, TR_WARP - 1);
    blocks = __shfl_sync(TR_ALL_LANES, blocks_end, TR_WARP - 1);
  }
}

__global__ void __launch_bounds__(SMALL) place_pairs(work w) {
  size_t pair;
  if (pair_at(w, (size_t)blockIdx.x * SMALL + threadIdx.x, &pair))
    w.members[atomicAdd(&w.counts[w.probes[pair]], 1u)] = (uint32_t)pair;
}

/* ---- rows ---- */

__device__ unsigned size_of(const work &w, unsigned list) {
  return w.lists.begins[list + 1] - w.lists.begins[list];
}

/* |(q - c) - y|^2, summed as tr_warp_distance2 does. */
__device__ double coded_distance2(const work &w, const float *query, unsigned list, size_t row) {
  const float *centroid = w.lists.centroids + (size_t)list * w.d;
  const uint8_t *code = static_cast<const uint8_t *>(w.lists.data[list]) + row * w.codes;
  double sum = 0;
  for (unsigned i = threadIdx.x % TR_WARP; i < w.d; i += TR_WARP) {
    const unsigned j = i / w.part;
    const float codeword = w.lists.codebooks[((size_t)j * TR_IVF_CODEWORDS + code[j]) * w.part + i % w.part];
    const double difference = __dadd_rn(__dadd_rn((double)query[i], -(double)centroid[i]), -(double)codeword);
    sum = __dadd_rn(sum, __dmul_rn(difference, difference));
  }
  return tr_warp_sum(sum);
}

template <bool CODED> __device__ double exact_distance2(const work &w, const float *query, unsigned list, size_t row) {
  if (CODED)
    return coded_distance2(w, query, list, row);
  return tr_warp_distance2(query, static_cast<const float *>(w.lists.data[list]) + row * w.d, w.d);
}

/* V values of a row from i on. Coded ones are put together, to a rounding of each; a codeword's length is a multiple of V. */
template <bool CODED, int V>
__device__ tr_vector<V> values_of(const work &w, unsigned list, const void *data, size_t row, unsigned i) {
  if (!CODED)
    return tr_load<V>(static_cast<const float *>(data) + row * w.d + i);
  const unsigned j = i / w.part, codeword = static_cast<const uint8_t *>(data)[row * w.codes + j];
  const tr_vector<V> centroid = tr_load<V>(w.lists.centroids + (size_t)list * w.d + i);
  tr_vector<V> values = tr_load<V>(w.lists.codebooks + ((size_t)j * TR_IVF_CODEWORDS + codeword) * w.part + i % w.part);
  for (int v = 0; v < V; ++v)
    values.value[v] += centroid.value[v];
  return values;
}

/* Values [first, first + PIECE) of rows [row, row + n) of a list; zeros behind the rows' ends and behind the last row. */
template <bool CODED, int V>
__device__ void load_tile(const work &w, unsigned list, size_t row, unsigned n, unsigned first, float (*tile)[PIECE]) {
  const void *data = w.lists.data[list];
  for (unsigned at = threadIdx.x; at < TILE * PIECE / V; at += THREADS) {
    const unsigned r = at / (PIECE / V), i = at % (PIECE / V) * V;
    tr_vector<V> values = {};
    if (r < n && first + i < w.d)
      values = values_of<CODED, V>(w, list, data, row + r, first + i);
    tr_store<V>(tile[r] + i, values);
  }
}

/* Four values of a query from i on, zeros behind its end. */
template <int V> __device__ float4 query_values(const work &w, const float *query, unsigned i) {
  float values[4] = {};
  TR_UNROLL(4)
  for (int v = 0; v < 4; v += V)
    if (i + v < w.d) {
      const tr_vector<V> some = tr_load<V>(query + i + v);
      for (int s = 0; s < V; ++s)
        values[v + s] = some.value[s];
    }
  return make_float4(values[0], values[1], values[2], values[3]);
}

__device__ float add_squares(float sum, const float4 &a, const float4 &b) {
  const float x = a.x - b.x, y = a.y - b.y, z = a.z - b.z, u = a.w - b.w;
  return fmaf(u, u, fmaf(z, z, fmaf(y, y, fmaf(x, x, sum))));
}

/* A lane's part of the squared distances of a tile's rows from two queries; `both`: the second one is there. */
struct parts {
  float sum[PAIRS][TILE];
};

template <int V>
__device__ void add_piece(const work &w, const float *const query[PAIRS], bool both, unsigned first, const float (*tile)[PIECE],
                          parts &p) {
  for (unsigned i = threadIdx.x % TR_WARP * 4; i < PIECE && first + i < w.d; i += 4 * TR_WARP) {
    const float4 one = query_values<V>(w, query[0], first + i);
    const float4 two = both ? query_values<V>(w, query[1], first + i) : one;
    TR_UNROLL(32)
    for (int r = 0; r < TILE; ++r) {
      const float4 row = *reinterpret_cast<const float4 *>(tile[r] + i);
      p.sum[0][r] = add_squares(p.sum[0][r], one, row);
      if (both)
        p.sum[1][r] = add_squares(p.sum[1][r], two, row);
    }
  }
}

/* Halves the rows a lane stands for, step by step: lane r is left with row r. */
__device__ float sum_of_lane(float (&sum)[TILE]) {
  const unsigned lane = threadIdx.x % TR_WARP;
  TR_UNROLL(5)
  for (int width = TILE / 2; width > 0; width /= 2) {
    const bool upper = (lane & (unsigned)width) != 0;
    TR_UNROLL(16)
    for (int r = 0; r < width; ++r) {
      const float kept = upper ? sum[r + width] : sum[r], given = upper ? sum[r] : sum[r + width];
      sum[r] = kept + __shfl_xor_sync(TR_ALL_LANES, given, width);
    }
  }
  return sum[0];
}

/* ---- a pair ---- */

struct pair {
  const float *query;
  double norm, bound2; /* |q|; what another list has k rows within */
};

/* See the cpu twin's limit_of. */
template <bool CODED> __device__ float limit_of(const work &w, const pair &p, double worst2) {
  worst2 = fmin(worst2, p.bound2);
  if (!(worst2 < (double)INFINITY))
    return INFINITY;
  const double worst = sqrt(worst2), reach = CODED ? worst + 0x1p-23 * (p.norm + worst) : worst;
  return (float)(reach * reach * w.growth + (double)w.d * (double)FLT_MIN);
}

__device__ float warp_min(float value) {
  for (int width = TR_WARP / 2; width > 0; width /= 2)
    value = fminf(value, __shfl_xor_sync(TR_ALL_LANES, value, width));
  return value;
}

/* A tile's rows [row, row + n), of which the lane has one's distance in float. */
template <bool CODED, int SLOTS>
__device__ void measure_possible(const work &w, const pair &p, tr_best<SLOTS> &best, unsigned list, size_t row, unsigned n,
                                 float distance2) {
  const unsigned lane = threadIdx.x % TR_WARP;
  float limit = limit_of<CODED>(w, p, tr_best_worst(best, w.k));
  unsigned possible = __ballot_sync(TR_ALL_LANES, lane < n && !(distance2 > limit));
  while (possible) {
    const bool open = (possible >> lane & 1) != 0;
    const float nearest = warp_min(open ? distance2 : INFINITY);
    const unsigned at = (unsigned)__ffs((int)__ballot_sync(TR_ALL_LANES, open && distance2 == nearest)) - 1;
    tr_best_insert(best, exact_distance2<CODED>(w, p.query, list, row + at), w.lists.ids[w.lists.begins[list] + row + at]);
    limit = limit_of<CODED>(w, p, tr_best_worst(best, w.k));
    possible = __ballot_sync(TR_ALL_LANES, open && lane != at && !(distance2 > limit));
  }
}

template <int SLOTS>
__device__ void store(const work &w, size_t at, const tr_best<SLOTS> &best, double *distance2, uint32_t *id) {
  for (int s = 0; s < SLOTS; ++s) {
    const int e = s * TR_WARP + (int)(threadIdx.x % TR_WARP);
    if (e < w.k) {
      distance2[at * w.k + e] = best.distance2[s];
      id[at * w.k + e] = best.row[s];
    }
  }
}

__device__ pair begin_pair(const work &w, uint32_t number) {
  const size_t q = number / w.nprobe;
  pair p = {w.queries + q * w.d, sqrt(w.norm2[q]), (double)INFINITY};
  if (w.from > 0) /* the nearest list was searched before */
    p.bound2 = w.found_distance2[(q * w.nprobe + 1) * w.k - 1];
  return p;
}

/* The last list whose blocks begin at or before this one. */
__device__ unsigned list_of_block(const work &w) {
  unsigned first = 0, end = w.list_count;
  while (end - first > 1) {
    const unsigned middle = (first + end) / 2;
    if (w.block_begins[middle] <= blockIdx.x)
      first = middle;
    else
      end = middle;
  }
  return first;
}

/* For more than 32 neighbours fewer blocks at once leave the registers. */
template <bool CODED, int V, int SLOTS> __global__ void __launch_bounds__(THREADS, SLOTS == 1 ? 2 : 1) search_list(work w) {
  __shared__ float tile[TILE][PIECE];
  if (blockIdx.x >= w.block_begins[w.list_count])
    return;
  const unsigned list = list_of_block(w), size = size_of(w, list), end = w.begins[list + 1];
  const unsigned first = w.begins[list] + (blockIdx.x - w.block_begins[list]) * MEMBERS + threadIdx.x / TR_WARP;
  const bool any = first < end, both = first + WARPS < end;
  const uint32_t number[PAIRS] = {w.members[any ? first : end - 1], w.members[both ? first + WARPS : end - 1]};
  const pair pairs[PAIRS] = {begin_pair(w, number[0]), begin_pair(w, number[1])};
  const float *const query[PAIRS] = {pairs[0].query, pairs[1].query};
  tr_best<SLOTS> best[PAIRS] = {tr_best_none<SLOTS>(), tr_best_none<SLOTS>()};
  for (unsigned row = 0; row < size; row += TILE) {
    const unsigned n = min(size - row, (unsigned)TILE);
    parts p = {};
    for (unsigned piece = 0; piece < w.d; piece += PIECE) {
      __syncthreads();
      load_tile<CODED, V>(w, list, row, n, piece, tile);
      __syncthreads();
      if (any)
        add_piece<V>(w, query, both, piece, tile, p);
    }
    if (any)
      measure_possible<CODED>(w, pairs[0], best[0], list, row, n, sum_of_lane(p.sum[0]));
    if (both)
      measure_possible<CODED>(w, pairs[1], best[1], list, row, n, sum_of_lane(p.sum[1]));
  }
  if (any)
    store(w, number[0], best[0], w.found_distance2, w.found_id);
  if (both)
    store(w, number[1], best[1], w.found_distance2, w.found_id);
}

/* ---- what was found ---- */

/* The best of what was found in a query's lists. */
template <int SLOTS> __device__ tr_best<SLOTS> gather(const work &w, size_t q) {
  const size_t begin = q * w.nprobe * (size_t)w.k, end = begin + w.nprobe * (size_t)w.k;
  tr_best<SLOTS> best = tr_best_none<SLOTS>();
  for (size_t first = begin; first < end; first += TR_WARP) {
    const size_t i = first + threadIdx.x % TR_WARP;
    const double distance2 = i < end ? w.found_distance2[i] : (double)INFINITY;
    const uint32_t id = i < end ? w.found_id[i] : UINT32_MAX;
    unsigned possible = __ballot_sync(TR_ALL_LANES, distance2 <= tr_best_worst(best, w.k) && id != UINT32_MAX);
    while (possible) {
      const int at = __ffs((int)possible) - 1;
      tr_best_insert(best, __shfl_sync(TR_ALL_LANES, distance2, at), __shfl_sync(TR_ALL_LANES, id, at));
      possible &= possible - 1;
      possible &= __ballot_sync(TR_ALL_LANES, distance2 <= tr_best_worst(best, w.k));
    }
  }
  return best;
}

/* The nearest list that comes after (last2, last). */
__device__ unsigned next_list(const work &w, const float *query, double &last2, unsigned last) {
  double nearest2 = (double)INFINITY;
  unsigned nearest = UINT32_MAX;
  for (unsigned list = 0; list < w.list_count; ++list) {
    const double distance2 = tr_warp_distance2(query, w.lists.centroids + (size_t)list * w.d, w.d);
    if (tr_precedes(last2, last, distance2, list) && tr_precedes(distance2, list, nearest2, nearest)) {
      nearest2 = distance2;
      nearest = list;
    }
  }
  last2 = nearest2;
  return nearest;
}

/* The lists looked at hold fewer than k rows, which is rare: looks at twice as many until they do, measuring all rows. */
template <bool CODED, int SLOTS> __device__ void search_further(const work &w, size_t q, tr_best<SLOTS> &best) {
  const float *query = w.queries + q * w.d;
  unsigned rows = 0, end = w.nprobe, list = w.probes[(q + 1) * w.nprobe - 1];
  for (unsigned rank = 0; rank < w.nprobe; ++rank)
    rows += size_of(w, w.probes[q * w.nprobe + rank]);
  if (rows >= (unsigned)w.k)
    return;
  double distance2 = tr_warp_distance2(query, w.lists.centroids + (size_t)list * w.d, w.d);
  while (rows < (unsigned)w.k) {
    const unsigned from = end;
    end = min(2 * end, w.list_count);
    for (unsigned rank = from; rank < end; ++rank) {
      list = next_list(w, query, distance2, list);
      const unsigned size = size_of(w, list);
      for (unsigned row = 0; row < size; ++row)
        tr_best_insert(best, exact_distance2<CODED>(w, query, list, row), w.lists.ids[w.lists.begins[list] + row]);
      rows += size;
    }
  }
}

template <bool CODED, int SLOTS> __global__ void __launch_bounds__(SMALL, 4) finish(work w) {
  const size_t q = (size_t)blockIdx.x * SMALL_WARPS + threadIdx.x / TR_WARP;
  if (q >= w.queries_count)
    return;
  tr_best<SLOTS> best = gather<SLOTS>(w, q);
  search_further<CODED>(w, q, best);
  for (int s = 0; s < SLOTS; ++s) {
    const int e = s * TR_WARP + (int)(threadIdx.x % TR_WARP);
    if (e < w.k) {
      w.distances[q * w.k + e] = (float)best.distance2[s];
      w.indices[q * w.k + e] = best.row[s];
    }
  }
}

/* ---- memory ---- */

size_t smaller(size_t a, size_t b) {
  return a < b ? a : b;
}

bool ranks_here(size_t nprobe) {
  return nprobe > TR_NEAREST_MAX_K;
}

struct layout {
  size_t queries;          /* of a block */
  unsigned long long *bad; /* the first query that is not finite, or NONE */
  double *norm2;           /* [queries_count] */
  work memory;
};

layout lay_out(tr_sections *s, const tr_ivf_shape *shape, size_t queries_count, size_t nprobe, size_t k) {
  const size_t most = smaller(QUERIES, FOUND / (nprobe * k)), ranked = ranks_here(nprobe) ? FOUND / shape->list_count : most;
  layout l = {};
  l.queries = smaller(smaller(most, ranked) ? smaller(most, ranked) : 1, queries_count);
  const size_t pairs = l.queries * nprobe, lists = shape->list_count + 1;
  l.bad = static_cast<unsigned long long *>(tr_section(s, sizeof *l.bad));
  l.norm2 = static_cast<double *>(tr_section(s, queries_count * sizeof(double)));
  work &w = l.memory;
  w.probes = static_cast<uint32_t *>(tr_section(s, ranks_here(nprobe) ? pairs * sizeof(uint32_t) : 0));
  w.centroid_distance2 =
      static_cast<double *>(tr_section(s, ranks_here(nprobe) ? l.queries * shape->list_count * sizeof(double) : 0));
  w.counts = static_cast<uint32_t *>(tr_section(s, lists * sizeof(uint32_t)));
  w.begins = static_cast<uint32_t *>(tr_section(s, lists * sizeof(uint32_t)));
  w.block_begins = static_cast<uint32_t *>(tr_section(s, lists * sizeof(uint32_t)));
  w.members = static_cast<uint32_t *>(tr_section(s, pairs * sizeof(uint32_t)));
  w.found_distance2 = static_cast<double *>(tr_section(s, pairs * k * sizeof(double)));
  w.found_id = static_cast<uint32_t *>(tr_section(s, pairs * k * sizeof(uint32_t)));
  return l;
}

/* ---- the search ---- */

template <bool CODED, int V> void launch_search(const tr_cuda *cuda, const work &w, unsigned blocks) {
  if (w.k <= TR_WARP)
    TR_LAUNCH((search_list<CODED, V, 1>), blocks, THREADS, 0, cuda->stream, w);
  else
    TR_LAUNCH((search_list<CODED, V, 2>), blocks, THREADS, 0, cuda->stream, w);
}

template <bool CODED> void launch_finish(const tr_cuda *cuda, const work &w) {
  const unsigned blocks = tr_cuda_blocks(w.queries_count, SMALL_WARPS);
  if (w.k <= TR_WARP)
    TR_LAUNCH((finish<CODED, 1>), blocks, SMALL, 0, cuda->stream, w);
  else
    TR_LAUNCH((finish<CODED, 2>), blocks, SMALL, 0, cuda->stream, w);
}

bool by_fours(const work &w) {
  return w.d % 4 == 0 && (w.codes == 0 || w.part % 4 == 0) && tr_by_fours(4, (int)w.d, w.queries) &&
         tr_by_fours(4, (int)w.d, w.lists.centroids) && tr_by_fours(4, 4, w.lists.codebooks);
}

/* The lists at ranks [from, to) of all queries. */
tr_status search_ranks(const tr_cuda *cuda, work w, unsigned from, unsigned to) {
  w.from = from;
  w.to = to;
  const size_t pairs = (size_t)w.queries_count * (to - from);
  const unsigned pair_blocks = tr_cuda_blocks(pairs, SMALL);
  const unsigned blocks = (unsigned)(pairs / MEMBERS + smaller(pairs, w.list_count)); /* at most */
  TR_CUDA_TRY(cudaMemsetAsync(w.counts, 0, w.list_count * sizeof *w.counts, cuda->stream));
  TR_LAUNCH(count_pairs, pair_blocks, SMALL, 0, cuda->stream, w);
  TR_CUDA_LAUNCHED();
  TR_LAUNCH(place_lists, 1, TR_WARP, 0, cuda->stream, w);
  TR_CUDA_LAUNCHED();
  TR_LAUNCH(place_pairs, pair_blocks, SMALL, 0, cuda->stream, w);
  TR_CUDA_LAUNCHED();
  if (w.codes && by_fours(w))
    launch_search<true, 4>(cuda, w, blocks);
  else if (w.codes)
    launch_search<true, 1>(cuda, w, blocks);
  else if (by_fours(w))
    launch_search<false, 4>(cuda, w, blocks);
  else
    launch_search<false, 1>(cuda, w, blocks);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

tr_status search_queries(const tr_cuda *cuda, const work &w) {
  if (ranks_here(w.nprobe)) {
    TR_LAUNCH(rank_lists, w.queries_count, SMALL, 0, cuda->stream, w);
    TR_CUDA_LAUNCHED();
  }
  TR_TRY(search_ranks(cuda, w, 0, 1));
  if (w.nprobe > 1)
    TR_TRY(search_ranks(cuda, w, 1, w.nprobe));
  if (w.codes)
    launch_finish<true>(cuda, w);
  else
    launch_finish<false>(cuda, w);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

/* Norms; waits for the check where `nearest` has not made it. */
tr_status check(tr_device *device, const tr_ivf_args *args, const layout &l, bool checked) {
  const tr_cuda *cuda = tr_cuda_of(device);
  unsigned long long bad = NONE;
  TR_CUDA_TRY(cudaMemsetAsync(l.bad, 0xff, sizeof *l.bad, cuda->stream));
  TR_LAUNCH(check_queries, tr_cuda_loop_blocks(args->queries_count, SMALL_WARPS), SMALL, 0, cuda->stream, args->queries,
            args->queries_count, (unsigned)args->lists->shape.d, l.norm2, l.bad);
  TR_CUDA_LAUNCHED();
  if (checked)
    return TR_OK;
  TR_TRY(tr_device_download(device, &bad, l.bad, sizeof bad));
  if (bad == NONE)
    return TR_OK;
  double norm2;
  TR_TRY(tr_device_download(device, &norm2, l.norm2 + bad, sizeof norm2));
  return tr_fail(TR_EINVAL, "ivf: query %llu: expected finite features, found |query|^2 = %g", bad, norm2);
}

} // namespace

size_t tr_cuda_ivf_scratch(const tr_device *device, const tr_ivf_shape *shape, size_t queries_count, int nprobe, int k) {
  (void)device;
  tr_sections s = TR_SECTIONS_COUNT;
  lay_out(&s, shape, queries_count, (size_t)nprobe, (size_t)k);
  return s.used;
}

tr_status tr_cuda_ivf(tr_device *device, const tr_ivf_args *args, const uint32_t *probes, void *scratch) {
  const tr_cuda *cuda = tr_cuda_of(device);
  const tr_ivf_shape *shape = &args->lists->shape;
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  tr_sections sections = tr_sections_of(scratch);
  layout l = lay_out(&sections, shape, args->queries_count, (size_t)args->nprobe, (size_t)args->k);
  TR_TRY(check(device, args, l, probes != nullptr));
  const size_t d = (size_t)shape->d, k = (size_t)args->k, nprobe = (size_t)args->nprobe;
  for (size_t first = 0; first < args->queries_count; first += l.queries) {
    work w = l.memory;
    w.lists = *args->lists;
    w.queries = args->queries + first * d;
    w.norm2 = l.norm2 + first;
    w.queries_count = (unsigned)smaller(l.queries, args->queries_count - first);
    w.nprobe = (unsigned)nprobe;
    w.d = (unsigned)d;
    w.list_count = (unsigned)shape->list_count;
    w.codes = (unsigned)shape->codes;
    w.part = shape->codes ? (unsigned)(shape->d / shape->codes) : 1;
    w.k = args->k;
    w.growth = 1 + 2 * tr_product_error(d);
    if (probes)
      w.probes = const_cast<uint32_t *>(probes) + first * nprobe;
    w.distances = args->distances + first * k;
    w.indices = args->indices + first * k;
    TR_TRY(search_queries(cuda, w));
  }
  return TR_OK;
}
