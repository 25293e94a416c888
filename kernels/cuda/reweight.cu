/* reweight on the GPU. A block an image finds the farthest patch and copies its match; the match is checked on the host, which waits for
 * it (n words); the neighbours of the matches are searched by `nearest`; a block an image weighs. Distances have the cpu's bits; exp
 * may differ in a double's last place, so scores agree to the last place of a float.
 *
 * Limit: the search, a product of n matches with the bank. The two kernels here read an image's patch distances (3 KB) and b + 2
 * rows of features (45 KB at d = 1024, b = 9): 3 MB for a chunk of 64 images, with launches and the wait about 30 us; bottle's 83 test
 * images 60 us. Not measured on a GPU yet.
 */
#include "kernels/cuda/exact.h"

namespace {

enum { WARPS = 8, THREADS = TR_WARP * WARPS, CHECKED = 256 };

struct candidate {
  float distance;
  uint32_t patch;
};

__device__ bool farther(candidate a, candidate b) {
  return a.distance > b.distance || (a.distance == b.distance && a.patch < b.patch);
}

/* The farthest of all threads' candidates, the lowest patch at a tie; every thread of the block calls it and gets it. */
__device__ candidate farthest(candidate mine, candidate *of_warps) {
  for (unsigned bits = TR_WARP / 2; bits > 0; bits /= 2) {
    const candidate other = {__shfl_xor_sync(TR_ALL_LANES, mine.distance, bits), __shfl_xor_sync(TR_ALL_LANES, mine.patch, bits)};
    mine = farther(other, mine) ? other : mine;
  }
  if (threadIdx.x % TR_WARP == 0)
    of_warps[threadIdx.x / TR_WARP] = mine;
  __syncthreads();
  for (int w = 0; w < WARPS; ++w)
    mine = farther(of_warps[w], mine) ? of_warps[w] : mine;
  return mine;
}

/* A block an image. A match outside the bank is written to `rows` for the host to refuse; row 0 then stands in. */
__global__ void __launch_bounds__(THREADS) find_matches(tr_reweight_args a, tr_reweight_work work, uint32_t *rows) {
  __shared__ candidate of_warps[WARPS];
  const size_t first = (size_t)blockIdx.x * a.patches, end = first + a.patches;
  candidate best = {a.distances[first], (uint32_t)first};
  for (size_t i = first + threadIdx.x; i < end; i += THREADS) {
    const candidate here = {a.distances[i], (uint32_t)i};
    best = farther(here, best) ? here : best;
  }
  best = farthest(best, of_warps);
  const uint32_t row = a.indices[best.patch];
  const float *match = a.bank + (row < a.bank_rows ? (size_t)row : 0) * a.d;
  for (unsigned i = threadIdx.x; i < (unsigned)a.d; i += THREADS)
    work.matches[(size_t)blockIdx.x * a.d + i] = match[i];
  if (threadIdx.x == 0) {
    work.patches[blockIdx.x] = best.patch;
    rows[blockIdx.x] = row;
  }
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

/* A block an image. */
__global__ void __launch_bounds__(THREADS, 4) weigh(tr_reweight_args a, tr_reweight_work work) {
  __shared__ double distances[TR_NEAREST_MAX_K + 1]; /* the last: to the match */
  const float *patch = a.features + (size_t)work.patches[blockIdx.x] * a.d;
  const uint32_t *near = work.neighbours.indices + (size_t)blockIdx.x * a.b;
  for (int k = (int)(threadIdx.x / TR_WARP); k <= a.b; k += WARPS) {
    const float *row = k < a.b ? a.bank + (size_t)near[k] * a.d : work.matches + (size_t)blockIdx.x * a.d;
    const double distance = sqrt(tr_warp_distance2(patch, row, (unsigned)a.d));
    if (threadIdx.x % TR_WARP == 0)
      distances[k] = distance;
  }
  __syncthreads();
  if (threadIdx.x == 0)
    a.scores[blockIdx.x] = (float)weighted_score(distances[a.b], distances, a.b);
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
  TR_LAUNCH(find_matches, (unsigned)args->n, THREADS, 0, cuda->stream, *args, work, rows);
  TR_CUDA_LAUNCHED();
  TR_TRY(check_matches(device, args, &work, rows));
  TR_TRY(tr_nearest(device, &work.neighbours));
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  TR_LAUNCH(weigh, (unsigned)args->n, THREADS, 0, cuda->stream, *args, work);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}
