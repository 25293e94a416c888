/* reweight on the GPU. A block an image finds the farthest patch and copies its match; the match is checked on the host, which waits for
 * it (n words); the neighbours of the matches are searched by `nearest`; a block an image weighs, with distances in double as on
 * the cpu, summed in another order: scores differ from the cpu's in the last place of a float at most.
 *
 * Limit: the search, a product of n matches with the bank. The two kernels here read an image's patch distances (3 KB) and b + 2
 * rows of features (45 KB at d = 1024, b = 9): 3 MB for a chunk of 64 images, with launches and the wait about 30 us; bottle's 83 test
 * images 60 us. Not measured on a GPU yet.
 */
#include "kernels/cuda/cuda.h"

namespace {

enum { WARP = 32, WARPS = 8, THREADS = WARP * WARPS, CHECKED = 256, MOST_GRID = 65535 };

struct candidate {
  float distance;
  uint32_t patch;
};

__device__ bool farther(candidate a, candidate b) {
  return a.distance > b.distance || (a.distance == b.distance && a.patch < b.patch);
}

/* The farthest of all threads' candidates, the lowest patch at a tie; every thread of the block calls it and gets it. */
__device__ candidate farthest(candidate mine, candidate *of_warps) {
  for (unsigned bits = WARP / 2; bits > 0; bits /= 2) {
    const candidate other = {__shfl_xor_sync(0xffffffffu, mine.distance, bits), __shfl_xor_sync(0xffffffffu, mine.patch, bits)};
    mine = farther(other, mine) ? other : mine;
  }
  if (threadIdx.x % WARP == 0)
    of_warps[threadIdx.x / WARP] = mine;
  __syncthreads();
  for (int w = 0; w < WARPS; ++w)
    mine = farther(of_warps[w], mine) ? of_warps[w] : mine;
  __syncthreads();
  return mine;
}

/* A match outside the bank is written to `rows` for the host to refuse; row 0 then stands in. */
__global__ void __launch_bounds__(THREADS) find_matches(tr_reweight_args a, tr_reweight_work work, uint32_t *rows) {
  __shared__ candidate of_warps[WARPS];
  for (unsigned image = blockIdx.x; image < (unsigned)a.n; image += gridDim.x) {
    const size_t first = (size_t)image * a.patches, end = first + a.patches;
    candidate best = {a.distances[first], (uint32_t)first};
    for (size_t i = first + threadIdx.x; i < end; i += THREADS) {
      const candidate here = {a.distances[i], (uint32_t)i};
      best = farther(here, best) ? here : best;
    }
    best = farthest(best, of_warps);
    const uint32_t row = a.indices[best.patch];
    const float *match = a.bank + (row < a.bank_rows ? (size_t)row : 0) * a.d;
    for (unsigned i = threadIdx.x; i < (unsigned)a.d; i += THREADS)
      work.matches[(size_t)image * a.d + i] = match[i];
    if (threadIdx.x == 0) {
      work.patches[image] = best.patch;
      rows[image] = row;
    }
  }
}

/* Of a warp, in an order that d alone decides. Every lane gets it. */
__device__ double euclidean(const float *x, const float *y, int d) {
  double sum = 0.0;
  for (int i = (int)(threadIdx.x % WARP); i < d; i += WARP) {
    const double difference = (double)x[i] - (double)y[i];
    sum += difference * difference;
  }
  for (unsigned bits = WARP / 2; bits > 0; bits /= 2)
    sum += __shfl_xor_sync(0xffffffffu, sum, bits);
  return sqrt(sum);
}

/* Eq. 7 with every exponent less the largest. */
__device__ double weighted_score(double nearest, const double *distances, int b) {
  double largest = nearest, sum = 0.0;
  for (int k = 0; k < b; ++k)
    largest = fmax(largest, distances[k]);
  for (int k = 0; k < b; ++k)
    sum += exp(distances[k] - largest);
  return (1.0 - exp(nearest - largest) / sum) * nearest;
}

__global__ void __launch_bounds__(THREADS) weigh(tr_reweight_args a, tr_reweight_work work) {
  __shared__ double distances[TR_NEAREST_MAX_K + 1]; /* the last: to the match */
  for (unsigned image = blockIdx.x; image < (unsigned)a.n; image += gridDim.x) {
    const float *patch = a.features + (size_t)work.patches[image] * a.d;
    const uint32_t *near = work.neighbours.indices + (size_t)image * a.b;
    for (int k = (int)(threadIdx.x / WARP); k <= a.b; k += WARPS) {
      const double distance =
          euclidean(patch, k < a.b ? a.bank + (size_t)near[k] * a.d : work.matches + (size_t)image * a.d, a.d);
      if (threadIdx.x % WARP == 0)
        distances[k] = distance;
    }
    __syncthreads();
    if (threadIdx.x == 0)
      a.scores[image] = (float)weighted_score(distances[a.b], distances, a.b);
    __syncthreads();
  }
}

tr_status check_matches(tr_device *device, const tr_reweight_args *args, const tr_reweight_work *work, const uint32_t *rows) {
  uint32_t found[CHECKED];
  for (int first = 0; first < args->n; first += CHECKED) {
    const int count = args->n - first < CHECKED ? args->n - first : CHECKED;
    TR_TRY(tr_device_download(device, found, rows + first, (size_t)count * sizeof *found));
    for (int i = 0; i < count; ++i) {
      if (found[i] < args->bank_rows)
        continue;
      uint32_t patch;
      TR_TRY(tr_device_download(device, &patch, work->patches + first + i, sizeof patch));
      return tr_fail(TR_EINVAL, "reweight: indices[%u]: expected a row of a bank of %zu, found %u", patch, args->bank_rows,
                     found[i]);
    }
  }
  return TR_OK;
}

} // namespace

tr_status tr_cuda_reweight(tr_device *device, const tr_reweight_args *args) {
  tr_cuda *cuda = tr_cuda_of(device);
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  const tr_reweight_work work = tr_reweight_layout(device, args);
  uint32_t *rows = work.neighbours.indices; /* until the search fills them */
  const unsigned grid = (unsigned)(args->n < MOST_GRID ? args->n : MOST_GRID);
  TR_LAUNCH(find_matches, grid, THREADS, 0, cuda->stream, *args, work, rows);
  TR_CUDA_LAUNCHED();
  TR_TRY(check_matches(device, args, &work, rows));
  TR_TRY(tr_nearest(device, &work.neighbours));
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  TR_LAUNCH(weigh, grid, THREADS, 0, cuda->stream, *args, work);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}
