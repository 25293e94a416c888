/* sort_scan on the GPU: a radix sort from the least significant digit, four digits of eight bits, as on the cpu; a stable order is
 * the only one, so the result is the cpu's in every bit.
 *
 * The input is cut into one stretch a block. Each pass has three kernels: the blocks count their digits; one block a digit turns
 * the counts of all blocks into places; the blocks go through their stretch again, tile by tile, and move the elements. Within a
 * tile an element's rank among those of its digit comes from warp ballots (lanes that agree in all eight bits), the tile is brought
 * into order in shared memory, and each digit leaves as a run of neighbouring addresses. Four passes go from the arrays to the scratch
 * and back, so that nothing has to be asked of the host in between.
 *
 * Limit: memory. 20 bytes an element and pass (a key read to count; key and payload read and written). Bottle's 83 maps of 224 x 224,
 * 4.2 M elements: 0.33 GB, 0.1 ms of an H100's 3.35 TB/s, most of it from the cache; runs of 56 bytes on average and twelve launches:
 * 0.25 ms expected, 29 M elements (MTD) 1.5 ms. The sweep that reads the result on the host takes a hundred times as long. Not
 * measured on a GPU yet.
 */
#include "kernels/cuda/cuda.h"

namespace {

enum {
  WARP = 32,
  WARPS = 8,
  THREADS = WARP * WARPS,
  ROUNDS = 14, /* elements of a thread in a tile */
  TILE = THREADS * ROUNDS,
  DIGIT_BITS = 8,
  DIGITS = 1 << DIGIT_BITS,
  PASSES = 32 / DIGIT_BITS,
  RESIDENT = 3, /* blocks that a multiprocessor holds */
  COUNTS = 8,   /* of blocks, a thread's share when places are made */
  MOST_BLOCKS = THREADS * COUNTS,
};
static_assert(DIGITS == THREADS, "a thread a digit");
constexpr unsigned NO_DIGIT = DIGITS; /* of lanes past the end */

/* How the input is cut: the blocks of one pass are at work side by side. */
struct cut {
  unsigned blocks;
  size_t stretch; /* elements of a block, whole tiles */
};

cut cut_of(const tr_device *device, size_t n) {
  const size_t tiles = n ? (n - 1) / TILE + 1 : 1, resident = (size_t)tr_cuda_of(device)->multiprocessors * RESIDENT;
  const size_t most = resident < MOST_BLOCKS ? resident : (size_t)MOST_BLOCKS, tiles_each = (tiles + most - 1) / most;
  return {(unsigned)((tiles + tiles_each - 1) / tiles_each), tiles_each * TILE};
}

/* One pass. Keys are sortable integers in the scratch; in the arrays they are floats. */
struct pass {
  size_t n, stretch;
  const uint32_t *keys, *payload;
  uint32_t *keys_out, *payload_out;
  uint32_t *counts; /* [DIGITS][gridDim.x]; later the places of a digit's elements, counted from its first */
  uint32_t *totals; /* [DIGITS] */
  int shift;
  bool from_floats, to_floats;
};

/* Lowest for the highest key. The mapping is its own inverse. */
__device__ uint32_t reorder(uint32_t bits) {
  return bits & 0x80000000u ? bits : ~bits & 0x7fffffffu;
}

__device__ uint32_t key_at(const pass &p, size_t i) {
  const uint32_t bits = p.keys[i];
  return !p.from_floats ? bits : reorder(bits == 0x80000000u ? 0 : bits); /* -0 is +0 */
}

__device__ unsigned digit_of(const pass &p, uint32_t key) {
  return key >> p.shift & (DIGITS - 1);
}

/* Sum of the values of all threads before this one; *total: of all. `sums`: WARPS shared words, free
 * again after the next barrier. All threads must call it. */
__device__ uint32_t block_scan(uint32_t value, uint32_t *sums, uint32_t *total) {
  const unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  uint32_t sum = value;
  for (unsigned delta = 1; delta < WARP; delta *= 2) {
    const uint32_t before = __shfl_up_sync(0xffffffffu, sum, delta);
    sum += lane >= delta ? before : 0;
  }
  if (lane == WARP - 1)
    sums[warp] = sum;
  __syncthreads();
  uint32_t before = 0, all = 0;
  for (unsigned w = 0; w < WARPS; ++w) {
    before += w < warp ? sums[w] : 0;
    all += sums[w];
  }
  *total = all;
  return before + sum - value;
}

/* Lanes of the warp that hold the same digit. Lanes past the end hold NO_DIGIT. */
__device__ unsigned peers_of(unsigned digit) {
  unsigned peers = 0xffffffffu;
  for (int bit = 0; bit <= DIGIT_BITS; ++bit) {
    const unsigned set = __ballot_sync(0xffffffffu, digit >> bit & 1u);
    peers &= digit >> bit & 1u ? set : ~set;
  }
  return peers;
}

__device__ unsigned lanes_before() {
  return (1u << threadIdx.x % WARP) - 1u;
}

/* A whole warp counts what its lanes have in common: digits that all elements share, as high digits of scores often are, would
 * else queue up at one counter. */
__global__ void __launch_bounds__(THREADS) count_digits(pass p) {
  __shared__ uint32_t counts[DIGITS];
  counts[threadIdx.x] = 0;
  __syncthreads();
  const size_t start = blockIdx.x * p.stretch, end = min(start + p.stretch, p.n);
  for (size_t first = start; first < end; first += THREADS) {
    const size_t i = first + threadIdx.x;
    const unsigned digit = i < end ? digit_of(p, key_at(p, i)) : NO_DIGIT, peers = peers_of(digit);
    if (i < end && (peers & lanes_before()) == 0)
      atomicAdd(&counts[digit], (uint32_t)__popc(peers));
  }
  __syncthreads();
  p.counts[(size_t)threadIdx.x * gridDim.x + blockIdx.x] = counts[threadIdx.x];
}

/* A block a digit: from the counts of `blocks` blocks to places. */
__global__ void __launch_bounds__(THREADS) place_blocks(uint32_t *counts, uint32_t *totals, unsigned blocks) {
  __shared__ uint32_t sums[WARPS];
  uint32_t *row = counts + (size_t)blockIdx.x * blocks, mine[COUNTS], sum = 0, total;
  for (int k = 0; k < COUNTS; ++k) {
    const unsigned i = threadIdx.x * COUNTS + k;
    mine[k] = i < blocks ? row[i] : 0;
    sum += mine[k];
  }
  uint32_t place = block_scan(sum, sums, &total);
  for (int k = 0; k < COUNTS; ++k) {
    const unsigned i = threadIdx.x * COUNTS + k;
    if (i < blocks)
      row[i] = place;
    place += mine[k];
  }
  if (threadIdx.x == 0)
    totals[blockIdx.x] = total;
}

struct tile_memory {
  uint32_t keys[TILE], payload[TILE];
  uint32_t ranks[WARPS][DIGITS]; /* counts of a warp's digits, then where its first one goes in the tile */
  uint32_t starts[DIGITS];       /* where a digit starts in the tile */
  uint32_t next[DIGITS];         /* place in the output of the next element of a digit */
  uint32_t sums[WARPS];
};

/* Elements of a tile are taken warp by warp, round by round, lane by lane: their order in memory. */
__device__ void move_tile(const pass &p, size_t first, unsigned count, tile_memory *tile) {
  const unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, digit_here = threadIdx.x;
  for (unsigned w = 0; w < WARPS; ++w)
    tile->ranks[w][digit_here] = 0;
  __syncthreads();
  uint32_t key[ROUNDS], rank[ROUNDS];
  for (int round = 0; round < ROUNDS; ++round) {
    const unsigned i = (warp * ROUNDS + round) * WARP + lane;
    const bool inside = i < count;
    key[round] = inside ? key_at(p, first + i) : 0;
  }
  for (int round = 0; round < ROUNDS; ++round) {
    const bool inside = (warp * ROUNDS + round) * WARP + lane < count;
    const unsigned digit = inside ? digit_of(p, key[round]) : NO_DIGIT, peers = peers_of(digit), before = peers & lanes_before();
    const uint32_t earlier = inside ? tile->ranks[warp][digit] : 0; /* of this digit, in the warp's earlier rounds */
    rank[round] = earlier + __popc(before);
    __syncwarp();
    if (inside && before == 0)
      tile->ranks[warp][digit] = earlier + __popc(peers);
    __syncwarp();
  }
  __syncthreads();
  uint32_t in_tile = 0, unused;
  for (unsigned w = 0; w < WARPS; ++w)
    in_tile += tile->ranks[w][digit_here];
  const uint32_t start = block_scan(in_tile, tile->sums, &unused);
  tile->starts[digit_here] = start;
  for (unsigned w = 0, at = start; w < WARPS; ++w) {
    const uint32_t of_warp = tile->ranks[w][digit_here];
    tile->ranks[w][digit_here] = at;
    at += of_warp;
  }
  __syncthreads();
  for (int round = 0; round < ROUNDS; ++round) {
    const unsigned i = (warp * ROUNDS + round) * WARP + lane;
    if (i >= count)
      continue;
    const uint32_t at = tile->ranks[warp][digit_of(p, key[round])] + rank[round];
    tile->keys[at] = key[round];
    tile->payload[at] = p.payload[first + i];
  }
  __syncthreads();
  for (unsigned i = threadIdx.x; i < count; i += THREADS) {
    const uint32_t sorted = tile->keys[i];
    const unsigned digit = digit_of(p, sorted);
    const size_t place = (size_t)tile->next[digit] + (i - tile->starts[digit]);
    p.keys_out[place] = p.to_floats ? reorder(sorted) : sorted;
    p.payload_out[place] = tile->payload[i];
  }
  __syncthreads();
  tile->next[digit_here] += in_tile;
}

__global__ void __launch_bounds__(THREADS, RESIDENT) move_elements(pass p) {
  __shared__ tile_memory tile;
  uint32_t unused;
  const uint32_t digit_first = block_scan(p.totals[threadIdx.x], tile.sums, &unused);
  tile.next[threadIdx.x] = digit_first + p.counts[(size_t)threadIdx.x * gridDim.x + blockIdx.x];
  const size_t start = blockIdx.x * p.stretch, end = min(start + p.stretch, p.n);
  for (size_t first = start; first < end; first += TILE)
    move_tile(p, first, (unsigned)min(end - first, (size_t)TILE), &tile);
}

} // namespace

size_t tr_cuda_sort_scan_scratch(const tr_device *device, size_t n) {
  return n * 2 * sizeof(uint32_t) + ((size_t)cut_of(device, n).blocks + 1) * DIGITS * sizeof(uint32_t);
}

tr_status tr_cuda_sort_scan(tr_device *device, const tr_sort_scan_args *args) {
  tr_cuda *cuda = tr_cuda_of(device);
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  const cut c = cut_of(device, args->n);
  uint32_t *keys[2] = {reinterpret_cast<uint32_t *>(args->keys), static_cast<uint32_t *>(args->scratch)};
  uint32_t *payload[2] = {args->payload, keys[1] + args->n};
  pass p = {};
  p.n = args->n;
  p.stretch = c.stretch;
  p.totals = payload[1] + args->n;
  p.counts = p.totals + DIGITS;
  for (int i = 0; i < PASSES; ++i) {
    p.keys = keys[i % 2];
    p.payload = payload[i % 2];
    p.keys_out = keys[(i + 1) % 2];
    p.payload_out = payload[(i + 1) % 2];
    p.shift = i * DIGIT_BITS;
    p.from_floats = i == 0;
    p.to_floats = i == PASSES - 1;
    TR_LAUNCH(count_digits, c.blocks, THREADS, 0, cuda->stream, p);
    TR_CUDA_LAUNCHED();
    TR_LAUNCH(place_blocks, DIGITS, THREADS, 0, cuda->stream, p.counts, p.totals, c.blocks);
    TR_CUDA_LAUNCHED();
    TR_LAUNCH(move_elements, c.blocks, THREADS, 0, cuda->stream, p);
    TR_CUDA_LAUNCHED();
  }
  return TR_OK;
}
