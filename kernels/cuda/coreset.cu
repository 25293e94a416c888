/* coreset on the GPU: greedy selection in rounds, exact.
 *
 * A round takes the CANDIDATES rows of largest reach, multiplies them with each other, and picks among them in one block, a
 * candidate a thread: the best is picked and the others' reach lowered, as long as the best precedes every row outside, whose
 * reach can only fall. Then all rows are multiplied with the round's picks, and their reach is lowered. The host waits once a
 * round, for the number of picks.
 *
 *   select: quantise reach to 24 bits below the last radius, find the cut by two histograms, list the rows above it, in order
 *   pick:   one block; a pick costs the block's maximum and a row of the candidates' products
 *   lower:  products of rows and picks, in tiles that stay in the second-level cache; a warp a row looks for its largest score
 *
 * As on the cpu, a product only tells which pairs may lower a reach (kernels/cpu/exact.h); those are measured in double, in the
 * cpu twin's order. Order and radii are the cpu twin's bit for bit, whatever the products' rounding, tiles or rounds.
 *
 * Limit: multiply-adds in float, then the latency of picks. Bottle, 163,856 x 128 with 16,385 picks: 687 GFLOP, 10.3 ms at an
 * H100's 67 TFLOP/s, 15 ms at what products of 128 terms reach; 10.7 GB of products written to the cache and read from it, 4 ms.
 * One block picks 16,385 times in about 0.8 us (a barrier, two reductions, a load from the cache), 13 ms. A round's selection
 * and the wait for it take 0.1 ms; on real features a round picks a few at first and all of its candidates later (bottle's
 * 94,080 x 128 of ResNet50, 9,408 picks: 28 rounds), 4 ms for 40 rounds. Rows are read once a round, 84 MB, 1 ms in all. 37 ms
 * expected; not measured on a GPU yet. Products in half precision, as nearest makes them, would save about 10 of these.
 */
#include "kernels/cuda/exact.h"

#include <cfloat>
#include <cstring>

extern "C" {
#include "host/base/clock.h"
#include "kernels/sections.h"
}

namespace {

enum {
  THREADS = 256,
  WARPS = THREADS / TR_WARP,
  BIN_BITS = 12,
  BINS = 1 << BIN_BITS,
  RANKS = 1 << 2 * BIN_BITS,
  MOST_CHUNKS = 512, /* of rows that a block lists */
  WIDTH = 128,       /* picks are multiplied in multiples of this */
#ifdef TR_EMULATED   /* so that small tests take several rounds and tiles */
  CANDIDATES = 128,
  PRODUCTS = CANDIDATES * 320,
#else
  CANDIDATES = 1024,  /* a block's threads */
  PRODUCTS = 4 << 20, /* of a tile: 16 MiB */
#endif
};

const uint32_t NO_ROW = UINT32_MAX;
const unsigned long long NONE = ~0ull;
const double PICKED = -1;

/* What the device tells the host. Largest values are bits, which order as the numbers do. */
struct report {
  unsigned long long bad_row;        /* the first that is not finite, or NONE */
  unsigned long long largest_reach2; /* of double, at the start */
  unsigned largest_half_norm;        /* of float */
  unsigned cut, above;               /* the rank at which the list ends, and how many rows rank above it */
  unsigned picked;                   /* in the round */
  unsigned stopped;                  /* the next pick would be of less than the radius to stop at */
  double outside_reach2;             /* the largest of rows that were no candidates */
};

struct ranked {
  double reach2;
  uint32_t row;
};

struct classes {
  unsigned above, equal; /* rows that rank above the cut, and at it */
};

struct memory {
  report *told;
  double *reach2;    /* [n]: squared reach; PICKED once picked */
  float *half_norm;  /* [n]: |row|^2 / 2 */
  uint32_t *order;   /* [picks] */
  float *radius;     /* [picks] */
  unsigned *bins;    /* [BINS] */
  classes *counts;   /* [MOST_CHUNKS] */
  ranked *outside;   /* [MOST_CHUNKS]: the best row of a chunk that is no candidate */
  uint32_t *list;    /* [CANDIDATES]: rows by slot; NO_ROW */
  float *gathered;   /* [CANDIDATES, d]: the candidates, then the round's picks */
  float *half_norms; /* [CANDIDATES]: theirs */
  float *products;
  size_t product_floats;
};

struct greedy {
  const tr_cuda *cuda;
  const tr_coreset_args *args;
  memory m;
  size_t n, done;
  unsigned d, slots; /* slots: candidates, a multiple of a warp */
  double ceiling;    /* no reach2 is above it */
  double slack;      /* the products' error, as a bound on squared distance / 2 */
  double stop2;      /* picks of less are not wanted */
  bool left_out;     /* one is behind the last */
};

/* ---- memory ---- */

size_t smaller(size_t a, size_t b) {
  return a < b ? a : b;
}

memory lay_out(tr_sections *s, size_t n, size_t d, size_t picks) {
  memory m;
  const size_t rows = (n + TR_WARP - 1) / TR_WARP * TR_WARP, square = (size_t)CANDIDATES * CANDIDATES;
  m.product_floats = smaller(PRODUCTS, rows * CANDIDATES) > square ? smaller(PRODUCTS, rows * CANDIDATES) : square;
  m.told = static_cast<report *>(tr_section(s, sizeof(report)));
  m.reach2 = static_cast<double *>(tr_section(s, n * sizeof(double)));
  m.half_norm = static_cast<float *>(tr_section(s, n * sizeof(float)));
  m.order = static_cast<uint32_t *>(tr_section(s, picks * sizeof(uint32_t)));
  m.radius = static_cast<float *>(tr_section(s, picks * sizeof(float)));
  m.bins = static_cast<unsigned *>(tr_section(s, BINS * sizeof(unsigned)));
  m.counts = static_cast<classes *>(tr_section(s, MOST_CHUNKS * sizeof(classes)));
  m.outside = static_cast<ranked *>(tr_section(s, MOST_CHUNKS * sizeof(ranked)));
  m.list = static_cast<uint32_t *>(tr_section(s, CANDIDATES * sizeof(uint32_t)));
  m.gathered = static_cast<float *>(tr_section(s, CANDIDATES * d * sizeof(float)));
  m.half_norms = static_cast<float *>(tr_section(s, CANDIDATES * sizeof(float)));
  m.products = static_cast<float *>(tr_section(s, m.product_floats * sizeof(float)));
  return m;
}

/* ---- start ---- */

struct start_part {
  const float *rows;
  size_t n;
  unsigned d;
  const uint32_t *start; /* [count] of all `starts`; sums of the parts before are in reach2 */
  unsigned count;
  size_t starts;
  bool first, last;
  double *reach2;
  float *half_norm;
  report *told;
};

/* A warp a row. */
__global__ void __launch_bounds__(THREADS) sum_distances(start_part p) {
  const unsigned lane = threadIdx.x % TR_WARP;
  double largest_reach2 = 0;
  float largest_half_norm = 0;
  for (size_t i = (size_t)blockIdx.x * WARPS + threadIdx.x / TR_WARP; i < p.n; i += (size_t)gridDim.x * WARPS) {
    const float *row = p.rows + i * p.d;
    const double norm2 = tr_warp_norm2(row, p.d);
    double sum = p.first ? 0 : p.reach2[i];
    for (unsigned s = 0; s < p.count; ++s)
      sum = __dadd_rn(sum, sqrt(tr_warp_distance2(row, p.rows + (size_t)p.start[s] * p.d, p.d)));
    const double mean = sum / (double)p.starts, reach2 = p.last ? __dmul_rn(mean, mean) : sum;
    const bool bad = !(norm2 <= (double)FLT_MAX);
    if (lane == 0) {
      p.reach2[i] = bad ? norm2 : reach2;
      p.half_norm[i] = (float)(norm2 / 2);
      if (bad)
        atomicMin(&p.told->bad_row, (unsigned long long)i);
    }
    largest_reach2 = fmax(largest_reach2, reach2);
    largest_half_norm = fmaxf(largest_half_norm, (float)(norm2 / 2));
  }
  if (lane == 0 && p.last) {
    atomicMax(&p.told->largest_reach2, (unsigned long long)__double_as_longlong(largest_reach2));
    atomicMax(&p.told->largest_half_norm, __float_as_uint(largest_half_norm));
  }
}

/* ---- select ---- */

/* reach2 <= ceiling in RANKS steps; scale = RANKS / ceiling. */
__device__ unsigned rank_of(double reach2, double scale) {
  return (unsigned)fmin(reach2 * scale, (double)(RANKS - 1));
}

/* Level 0 counts the upper halves of ranks, level 1 the lower halves of those whose upper half is the cut. */
template <int LEVEL>
__global__ void __launch_bounds__(THREADS)
    count_ranks(const double *reach2, size_t n, double scale, const report *told, unsigned *bins) {
  __shared__ unsigned counted[BINS];
  for (unsigned bin = threadIdx.x; bin < BINS; bin += THREADS)
    counted[bin] = 0;
  __syncthreads();
  for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (size_t)gridDim.x * THREADS) {
    if (reach2[i] < 0)
      continue;
    const unsigned rank = rank_of(reach2[i], scale);
    if (LEVEL == 0 || rank >> BIN_BITS == told->cut)
      atomicAdd(&counted[LEVEL == 0 ? rank >> BIN_BITS : rank % BINS], 1u);
  }
  __syncthreads();
  for (unsigned bin = threadIdx.x; bin < BINS; bin += THREADS)
    if (counted[bin] > 0)
      atomicAdd(&bins[bin], counted[bin]);
}

__device__ unsigned warp_sum(unsigned value) {
  for (int width = TR_WARP / 2; width > 0; width /= 2)
    value += __shfl_xor_sync(TR_ALL_LANES, value, width);
  return value;
}

/* One block. The cut is the highest bin down to which there are `slots` rows, or 0. */
template <int LEVEL> __global__ void __launch_bounds__(THREADS) find_cut(const unsigned *bins, unsigned slots, report *told) {
  enum { EACH = BINS / THREADS };
  __shared__ unsigned sum_of_warp[WARPS];
  const unsigned lane = threadIdx.x % TR_WARP, warp = threadIdx.x / TR_WARP, top = BINS - 1 - threadIdx.x * EACH;
  const unsigned earlier = LEVEL == 0 ? 0 : told->above, wanted = slots - earlier, upper = LEVEL == 0 ? 0 : told->cut;
  unsigned sum = 0;
  for (unsigned i = 0; i < EACH; ++i)
    sum += bins[top - i];
  unsigned before = sum; /* rows in the bins of this thread and those before it; they begin at the top */
  for (unsigned delta = 1; delta < TR_WARP; delta *= 2) {
    const unsigned other = __shfl_up_sync(TR_ALL_LANES, before, delta);
    before += lane >= delta ? other : 0;
  }
  if (lane == TR_WARP - 1)
    sum_of_warp[warp] = before;
  __syncthreads(); /* all have read `told`, too */
  for (unsigned w = 0; w < warp; ++w)
    before += sum_of_warp[w];
  before -= sum;
  if (before >= wanted || (before + sum < wanted && threadIdx.x != THREADS - 1))
    return;
  unsigned i = 0;
  for (; i + 1 < EACH && before + bins[top - i] < wanted; ++i)
    before += bins[top - i];
  told->cut = upper * BINS + top - i;
  told->above = earlier + before;
}

struct listing {
  const double *reach2;
  size_t n, chunk; /* rows of a block, one after the other */
  double scale;
  unsigned slots;
  const report *told;
  classes *counts;
  uint32_t *list;
  ranked *outside;
};

__device__ classes class_of(const listing &l, size_t i, size_t end) {
  if (i >= end || l.reach2[i] < 0)
    return {0, 0};
  const unsigned rank = rank_of(l.reach2[i], l.scale), cut = l.told->cut;
  return {rank > cut ? 1u : 0u, rank == cut ? 1u : 0u};
}

/* Sums over the block; every thread gets them. */
__device__ classes block_sum(classes c, classes *of_warp) {
  c = {warp_sum(c.above), warp_sum(c.equal)};
  if (threadIdx.x % TR_WARP == 0)
    of_warp[threadIdx.x / TR_WARP] = c;
  __syncthreads();
  c = {0, 0};
  for (unsigned w = 0; w < WARPS; ++w)
    c = {c.above + of_warp[w].above, c.equal + of_warp[w].equal};
  __syncthreads();
  return c;
}

__global__ void __launch_bounds__(THREADS) count_classes(listing l) {
  __shared__ classes of_warp[WARPS];
  const size_t first = blockIdx.x * l.chunk, end = min(first + l.chunk, l.n);
  classes sum = {0, 0};
  for (size_t i = first + threadIdx.x; i < end; i += THREADS) {
    const classes c = class_of(l, i, end);
    sum = {sum.above + c.above, sum.equal + c.equal};
  }
  sum = block_sum(sum, of_warp);
  if (threadIdx.x == 0)
    l.counts[blockIdx.x] = sum;
}

__device__ bool precedes(ranked a, ranked b) {
  return a.reach2 > b.reach2 || (a.reach2 == b.reach2 && a.row < b.row);
}

__device__ ranked warp_first(ranked r) {
  for (int width = TR_WARP / 2; width > 0; width /= 2) {
    const ranked other = {__shfl_xor_sync(TR_ALL_LANES, r.reach2, width), __shfl_xor_sync(TR_ALL_LANES, r.row, width)};
    r = precedes(other, r) ? other : r;
  }
  return r;
}

/* Where the i-th candidate stands: neighbours, often alike, in different warps of the block that picks. */
__device__ unsigned slot_of(unsigned i, unsigned slots) {
  const unsigned warps = slots / TR_WARP;
  return i % warps * TR_WARP + i / warps;
}

/* Rows above the cut, and of those at it as many as there is room for: in order of rows. */
__global__ void __launch_bounds__(THREADS) list_candidates(listing l) {
  __shared__ classes of_warp[WARPS];
  __shared__ ranked first_of_warp[WARPS];
  const unsigned lane = threadIdx.x % TR_WARP, warp = threadIdx.x / TR_WARP, room = l.slots - l.told->above;
  classes before = {0, 0};
  for (unsigned b = threadIdx.x; b < blockIdx.x; b += THREADS)
    before = {before.above + l.counts[b].above, before.equal + l.counts[b].equal};
  before = block_sum(before, of_warp);
  const size_t end = min((blockIdx.x + 1) * l.chunk, l.n);
  ranked outside = {PICKED, NO_ROW};
  for (size_t first = blockIdx.x * l.chunk; first < end; first += THREADS) {
    const size_t i = first + threadIdx.x;
    const classes c = class_of(l, i, end);
    const unsigned above = __ballot_sync(TR_ALL_LANES, c.above), equal = __ballot_sync(TR_ALL_LANES, c.equal);
    if (lane == 0)
      of_warp[warp] = {(unsigned)__popc(above), (unsigned)__popc(equal)};
    __syncthreads();
    const unsigned lower = (1u << lane) - 1;
    classes here = {(unsigned)__popc(above & lower), (unsigned)__popc(equal & lower)};
    for (unsigned w = 0; w < WARPS; ++w) {
      if (w < warp)
        here = {here.above + of_warp[w].above, here.equal + of_warp[w].equal};
    }
    here = {here.above + before.above, here.equal + before.equal};
    if (c.above || (c.equal && here.equal < room))
      l.list[slot_of(here.above + min(here.equal, room), l.slots)] = (uint32_t)i;
    else if (i < end && l.reach2[i] >= 0 && precedes({l.reach2[i], (uint32_t)i}, outside))
      outside = {l.reach2[i], (uint32_t)i};
    for (unsigned w = 0; w < WARPS; ++w)
      before = {before.above + of_warp[w].above, before.equal + of_warp[w].equal};
    __syncthreads();
  }
  outside = warp_first(outside);
  if (lane == 0)
    first_of_warp[warp] = outside;
  __syncthreads();
  if (threadIdx.x != 0)
    return;
  for (unsigned w = 1; w < WARPS; ++w)
    outside = precedes(first_of_warp[w], outside) ? first_of_warp[w] : outside;
  l.outside[blockIdx.x] = outside;
}

/* ---- gather ---- */

struct gathering {
  const float *rows, *half_norm;
  unsigned d;
  const uint32_t *list;
  unsigned count; /* of the list; zeros follow, whose scores are the least */
  float *gathered, *half_norms;
};

/* A block a row. */
__global__ void __launch_bounds__(WIDTH) gather(gathering g) {
  const uint32_t row = blockIdx.x < g.count ? g.list[blockIdx.x] : NO_ROW;
  for (unsigned i = threadIdx.x; i < g.d; i += WIDTH)
    g.gathered[(size_t)blockIdx.x * g.d + i] = row == NO_ROW ? 0.0f : g.rows[(size_t)row * g.d + i];
  if (threadIdx.x == 0)
    g.half_norms[blockIdx.x] = row == NO_ROW ? INFINITY : g.half_norm[row];
}

/* ---- pick ---- */

/* |a - b|^2 < reach2 needs a.b - |b|^2 / 2 above this. */
__device__ float limit_of(float half_norm, double reach2, double slack) {
  return (float)((double)half_norm - reach2 / 2 - slack);
}

struct picking {
  const uint32_t *list;
  const float *candidates, *half_norms; /* by slot */
  const float *products;                /* [slots, slots] */
  unsigned d, chunks, most;             /* most: picks wanted */
  double slack, stop2;
  const ranked *outside; /* [chunks] */
  double *reach2;
  uint32_t *order; /* of the round */
  float *radius;
  report *told;
};

struct shared_picking {
  double reach2[2][TR_WARP]; /* a warp's best; in turns, so that a pick takes one barrier */
  unsigned slot[2][TR_WARP];
  ranked outside[TR_WARP];
};

__device__ ranked best_outside(const picking &p, shared_picking *shared) {
  const unsigned lane = threadIdx.x % TR_WARP, warps = blockDim.x / TR_WARP;
  ranked best = {PICKED, NO_ROW};
  for (unsigned chunk = threadIdx.x; chunk < p.chunks; chunk += blockDim.x)
    best = precedes(p.outside[chunk], best) ? p.outside[chunk] : best;
  best = warp_first(best);
  if (lane == 0)
    shared->outside[threadIdx.x / TR_WARP] = best;
  __syncthreads();
  best = lane < warps ? shared->outside[lane] : ranked{PICKED, NO_ROW};
  return warp_first(best);
}

struct winner {
  double reach2;
  unsigned slot;
};

/* The best candidate of the block; at a tie the earliest in slot_of's order, which is the lowest row. */
__device__ winner find_winner(double reach2, shared_picking *shared, unsigned turn) {
  const unsigned lane = threadIdx.x % TR_WARP, warp = threadIdx.x / TR_WARP, warps = blockDim.x / TR_WARP;
  const double of_warp = tr_warp_max(reach2);
  const unsigned holders = __ballot_sync(TR_ALL_LANES, reach2 == of_warp);
  if (lane == 0) {
    shared->reach2[turn][warp] = of_warp;
    shared->slot[turn][warp] = (unsigned)__ffs((int)holders) - 1 + warp * TR_WARP;
  }
  __syncthreads();
  const double held = lane < warps ? shared->reach2[turn][lane] : PICKED;
  const double best = tr_warp_max(held);
  unsigned ties = __ballot_sync(TR_ALL_LANES, lane < warps && held == best);
  unsigned slot = shared->slot[turn][__ffs((int)ties) - 1];
  for (ties &= ties - 1; ties; ties &= ties - 1) { /* a slot's place in the list is lane, then warp */
    const unsigned other = shared->slot[turn][__ffs((int)ties) - 1];
    slot = other % TR_WARP < slot % TR_WARP ? other : slot;
  }
  return {best, slot};
}

/* One block, a candidate a thread. */
__global__ void __launch_bounds__(CANDIDATES) pick_candidates(picking p) {
  __shared__ shared_picking shared;
  const unsigned slot = threadIdx.x, lane = slot % TR_WARP, first = slot - lane;
  const uint32_t row = p.list[slot];
  const float half_norm = p.half_norms[slot];
  const ranked outside = best_outside(p, &shared);
  double reach2 = row == NO_ROW ? PICKED : p.reach2[row];
  unsigned picked = 0;
  bool stopped = false;
  for (; picked < p.most; ++picked) {
    const winner best = find_winner(reach2, &shared, picked % 2);
    if (best.reach2 < 0 || best.reach2 < outside.reach2 || (best.reach2 == outside.reach2 && p.list[best.slot] > outside.row))
      break;
    stopped = best.reach2 < p.stop2;
    if (slot == best.slot) {
      p.order[picked] = row;
      p.radius[picked] = (float)sqrt(reach2);
      reach2 = stopped ? reach2 : PICKED;
    }
    if (stopped)
      break;
    const bool possible =
        reach2 > 0 && p.products[best.slot * blockDim.x + slot] - p.half_norms[best.slot] > limit_of(half_norm, reach2, p.slack);
    for (unsigned left = __ballot_sync(TR_ALL_LANES, possible); left; left &= left - 1) {
      const unsigned at = (unsigned)__ffs((int)left) - 1;
      const double distance2 =
          tr_warp_distance2(p.candidates + (size_t)(first + at) * p.d, p.candidates + (size_t)best.slot * p.d, p.d);
      if (lane == at && distance2 < reach2)
        reach2 = distance2;
    }
  }
  if (row != NO_ROW)
    p.reach2[row] = reach2;
  if (slot != 0)
    return;
  if (picked == 0 && !stopped) { /* more rows rank at the cut than are listed, and the best is none of these */
    p.order[0] = outside.row;
    p.radius[0] = (float)sqrt(outside.reach2);
    stopped = outside.reach2 < p.stop2;
    if (!stopped)
      p.reach2[outside.row] = PICKED;
    picked = !stopped;
  }
  p.told->picked = picked;
  p.told->stopped = stopped;
  p.told->outside_reach2 = outside.reach2;
}

/* ---- lower ---- */

struct lowering {
  const float *products; /* [rows, width] */
  unsigned rows, width, d;
  const float *picks, *half_norms; /* [width] */
  const float *features;           /* of the tile's rows, as all below */
  const float *half_norm;
  double *reach2;
  double slack;
};

/* A warp a row: measures the pick of the largest score, then those that may still be nearer. */
__global__ void __launch_bounds__(THREADS) lower_reach(lowering l) {
  const unsigned lane = threadIdx.x % TR_WARP, i = blockIdx.x * WARPS + threadIdx.x / TR_WARP;
  if (i >= l.rows || !(l.reach2[i] > 0))
    return;
  const float *products = l.products + (size_t)i * l.width, *row = l.features + (size_t)i * l.d, half_norm = l.half_norm[i];
  double reach2 = l.reach2[i];
  const tr_peak peak = tr_warp_peak(products, l.half_norms, 0, l.width);
  if (!(peak.first > limit_of(half_norm, reach2, l.slack)))
    return;
  reach2 = fmin(reach2, tr_warp_distance2(row, l.picks + (size_t)peak.j * l.d, l.d));
  float limit = limit_of(half_norm, reach2, l.slack);
  if (__any_sync(TR_ALL_LANES, peak.second > limit))
    for (unsigned first = 0; first < l.width; first += TR_WARP) {
      const float score = products[first + lane] - l.half_norms[first + lane];
      for (unsigned left = __ballot_sync(TR_ALL_LANES, score > limit && first + lane != peak.j); left;
           left &= left - 1, left &= __ballot_sync(TR_ALL_LANES, score > limit)) {
        const unsigned j = first + (unsigned)__ffs((int)left) - 1;
        reach2 = fmin(reach2, tr_warp_distance2(row, l.picks + (size_t)j * l.d, l.d));
        limit = limit_of(half_norm, reach2, l.slack);
      }
    }
  if (lane == 0)
    l.reach2[i] = reach2;
}

/* ---- rounds ---- */

tr_status ask(const greedy &g, report *told) {
  TR_CUDA_TRY(cudaMemcpyAsync(told, g.m.told, sizeof *told, cudaMemcpyDeviceToHost, g.cuda->stream));
  TR_CUDA_TRY(cudaStreamSynchronize(g.cuda->stream));
  return TR_OK;
}

tr_status queue_start(const greedy &g) {
  const tr_coreset_args *args = g.args;
  cudaStream_t stream = g.cuda->stream;
  TR_CUDA_TRY(cudaMemsetAsync(g.m.told, 0, sizeof *g.m.told, stream));
  TR_CUDA_TRY(cudaMemsetAsync(&g.m.told->bad_row, 0xff, sizeof g.m.told->bad_row, stream));
  for (size_t first = 0; first < args->starts; first += CANDIDATES) {
    const size_t count = smaller(CANDIDATES, args->starts - first);
    TR_CUDA_TRY(cudaMemcpyAsync(g.m.list, args->start + first, count * sizeof *g.m.list, cudaMemcpyHostToDevice, stream));
    const start_part part = {args->rows,      g.n,           g.d,        g.m.list,
                             (unsigned)count, args->starts,  first == 0, first + count == args->starts,
                             g.m.reach2,      g.m.half_norm, g.m.told};
    TR_LAUNCH(sum_distances, tr_cuda_loop_blocks(g.n, WARPS), THREADS, 0, stream, part);
    TR_CUDA_LAUNCHED();
  }
  return TR_OK;
}

/* Official ApproximateGreedyCoresetSampler._compute_greedy_coreset_indices: the mean of the distances to the starting points. */
tr_status start(tr_device *device, greedy *g) {
  report told;
  TR_TRY(queue_start(*g));
  TR_TRY(ask(*g, &told));
  if (told.bad_row != NONE) {
    double norm2 = 0;
    TR_TRY(tr_device_download(device, &norm2, g->m.reach2 + told.bad_row, sizeof norm2));
    return tr_fail(TR_EINVAL, "coreset: row %llu: expected finite features, found |row|^2 = %g", told.bad_row, norm2);
  }
  float largest_half_norm;
  memcpy(&largest_half_norm, &told.largest_half_norm, sizeof largest_half_norm);
  memcpy(&g->ceiling, &told.largest_reach2, sizeof g->ceiling);
  /* |a| |b| is at most the largest squared norm; FLT_MIN stands for products that underflow. */
  g->slack = tr_product_error(g->d) * 2 * (double)largest_half_norm + (double)g->d * (double)FLT_MIN;
  return TR_OK;
}

template <int LEVEL> tr_status queue_cut(const greedy &g, double scale) {
  cudaStream_t stream = g.cuda->stream;
  TR_CUDA_TRY(cudaMemsetAsync(g.m.bins, 0, BINS * sizeof *g.m.bins, stream));
  TR_LAUNCH(count_ranks<LEVEL>, tr_cuda_loop_blocks(g.n, 4 * THREADS), THREADS, 0, stream, g.m.reach2, g.n, scale, g.m.told,
            g.m.bins);
  TR_CUDA_LAUNCHED();
  TR_LAUNCH(find_cut<LEVEL>, 1, THREADS, 0, stream, g.m.bins, g.slots, g.m.told);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

size_t chunk_of(const greedy &g) {
  const size_t chunk = (g.n + MOST_CHUNKS - 1) / MOST_CHUNKS, step = 4 * THREADS;
  return (chunk + step - 1) / step * step;
}

tr_status queue_select(const greedy &g) {
  cudaStream_t stream = g.cuda->stream;
  const double scale = g.ceiling > 0 ? fmin((double)RANKS / g.ceiling, DBL_MAX) : 0;
  const listing l = {g.m.reach2, g.n, chunk_of(g), scale, g.slots, g.m.told, g.m.counts, g.m.list, g.m.outside};
  const unsigned chunks = (unsigned)((g.n + l.chunk - 1) / l.chunk);
  TR_TRY(queue_cut<0>(g, scale));
  TR_TRY(queue_cut<1>(g, scale));
  TR_LAUNCH(count_classes, chunks, THREADS, 0, stream, l);
  TR_CUDA_LAUNCHED();
  TR_CUDA_TRY(cudaMemsetAsync(g.m.list, 0xff, CANDIDATES * sizeof *g.m.list, stream));
  TR_LAUNCH(list_candidates, chunks, THREADS, 0, stream, l);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

tr_status queue_gather(const greedy &g, const uint32_t *list, size_t count, size_t slots) {
  const gathering all = {g.args->rows, g.m.half_norm, g.d, list, (unsigned)count, g.m.gathered, g.m.half_norms};
  TR_LAUNCH(gather, (unsigned)slots, WIDTH, 0, g.cuda->stream, all);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

tr_status queue_pick(const greedy &g) {
  const size_t chunk = chunk_of(g);
  TR_TRY(queue_gather(g, g.m.list, g.slots, g.slots));
  TR_TRY(tr_cuda_products(g.cuda, g.m.gathered, g.slots, g.m.gathered, g.slots, (int)g.d, g.m.products, g.slots));
  const picking p = {g.m.list,
                     g.m.gathered,
                     g.m.half_norms,
                     g.m.products,
                     g.d,
                     (unsigned)((g.n + chunk - 1) / chunk),
                     (unsigned)smaller(g.slots, g.args->picks - g.done),
                     g.slack,
                     g.stop2,
                     g.m.outside,
                     g.m.reach2,
                     g.m.order + g.done,
                     g.m.radius + g.done,
                     g.m.told};
  TR_LAUNCH(pick_candidates, 1, g.slots, 0, g.cuda->stream, p);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

/* All rows against the last `picked` picks. */
tr_status queue_lower(const greedy &g, size_t picked) {
  const size_t width = (picked + WIDTH - 1) / WIDTH * WIDTH, most = g.m.product_floats / width, d = g.d;
  TR_TRY(queue_gather(g, g.m.order + g.done - picked, picked, width));
  for (size_t first = 0; first < g.n; first += most) {
    const size_t rows = smaller(most, g.n - first);
    TR_TRY(tr_cuda_products(g.cuda, g.args->rows + first * d, rows, g.m.gathered, width, (int)d, g.m.products, width));
    const lowering l = {g.m.products,       (unsigned)rows, (unsigned)width,          g.d,
                        g.m.gathered,       g.m.half_norms, g.args->rows + first * d, g.m.half_norm + first,
                        g.m.reach2 + first, g.slack};
    TR_LAUNCH(lower_reach, tr_cuda_blocks(rows, WARPS), THREADS, 0, g.cuda->stream, l);
    TR_CUDA_LAUNCHED();
  }
  return TR_OK;
}

__global__ void __launch_bounds__(THREADS) mark_picked(const uint32_t *order, unsigned count, double *reach2) {
  for (unsigned i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS)
    reach2[order[i]] = PICKED;
}

tr_status take_given(greedy *g) {
  const size_t given = g->args->given;
  if (given == 0)
    return TR_OK;
  cudaStream_t stream = g->cuda->stream;
  TR_CUDA_TRY(cudaMemcpyAsync(g->m.order, g->args->order, given * sizeof *g->m.order, cudaMemcpyHostToDevice, stream));
  TR_LAUNCH(mark_picked, tr_cuda_loop_blocks(given, THREADS), THREADS, 0, stream, g->m.order, (unsigned)given, g->m.reach2);
  TR_CUDA_LAUNCHED();
  while (g->done < given) {
    const size_t picked = smaller(CANDIDATES, given - g->done);
    g->done += picked;
    TR_TRY(queue_lower(*g, picked));
  }
  return TR_OK;
}

tr_status run_rounds(greedy *g) {
  const size_t picks = g->args->picks;
  const double begin = tr_seconds();
  while (g->done < picks) {
    if (tr_cancel_requested())
      return tr_fail(TR_ECANCELED, "coreset: canceled after %zu of %zu picks", g->done, picks);
    report told;
    TR_TRY(queue_select(*g));
    TR_TRY(queue_pick(*g));
    TR_TRY(ask(*g, &told));
    g->done += told.picked;
    g->ceiling = told.outside_reach2;
    if (g->done < picks && g->ceiling > 0 && !told.stopped)
      TR_TRY(queue_lower(*g, told.picked));
    tr_progress_update(g->args->progress, "coreset", g->done, picks, "picks");
    g->left_out = told.stopped;
    if (told.stopped || (g->args->stop_seconds > 0 && tr_seconds() - begin >= g->args->stop_seconds))
      break;
  }
  return TR_OK;
}

} // namespace

size_t tr_cuda_coreset_scratch(const tr_device *device, size_t n, int d, size_t picks) {
  (void)device;
  tr_sections s = TR_SECTIONS_COUNT;
  lay_out(&s, n, (size_t)d, picks);
  return s.used;
}

tr_status tr_cuda_coreset(tr_device *device, const tr_coreset_args *args) {
  greedy g = {};
  g.cuda = tr_cuda_of(device);
  g.args = args;
  g.n = args->n;
  g.d = (unsigned)args->d;
  g.stop2 = args->stop_radius * args->stop_radius;
  g.slots = (unsigned)smaller(CANDIDATES, (args->n + TR_WARP - 1) / TR_WARP * TR_WARP);
  TR_CUDA_TRY(cudaSetDevice(g.cuda->ordinal));
  tr_sections s = tr_sections_of(args->scratch);
  g.m = lay_out(&s, args->n, (size_t)args->d, args->picks);
  TR_TRY(start(device, &g));
  TR_TRY(take_given(&g));
  TR_TRY(run_rounds(&g));
  *args->picked = g.done;
  const size_t given = args->given, own = g.done - given + g.left_out;
  TR_TRY(tr_device_download(device, args->order + given, g.m.order + given, own * sizeof *args->order));
  return tr_device_download(device, args->radius + given, g.m.radius + given, own * sizeof *args->radius);
}
