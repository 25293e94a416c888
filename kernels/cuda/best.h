/* A warp's k nearest rows: sorted by distance, ties by row, in registers. All 32 lanes call together. */
#ifndef TR_KERNELS_CUDA_BEST_H
#define TR_KERNELS_CUDA_BEST_H

#include "kernels/cuda/exact.h"

/* Entry e lies in slot e / 32 of lane e % 32. Entries from k on are left over from insertions. */
template <int SLOTS> struct tr_best {
  double distance2[SLOTS];
  uint32_t row[SLOTS];
};

__device__ inline bool tr_precedes(double distance2, uint32_t row, double other2, uint32_t other) {
  return distance2 < other2 || (distance2 == other2 && row < other);
}

template <int SLOTS> __device__ inline tr_best<SLOTS> tr_best_none() {
  tr_best<SLOTS> best;
  for (int s = 0; s < SLOTS; ++s) {
    best.distance2[s] = (double)INFINITY;
    best.row[s] = UINT32_MAX;
  }
  return best;
}

/* The k-th best squared distance; the k-th entry lies in the last slot. */
template <int SLOTS> __device__ inline double tr_best_worst(const tr_best<SLOTS> &best, int k) {
  return __shfl_sync(TR_ALL_LANES, best.distance2[SLOTS - 1], (k - 1) % TR_WARP);
}

template <int SLOTS> __device__ inline void tr_best_insert(tr_best<SLOTS> &best, double distance2, uint32_t row) {
  const int lane = (int)(threadIdx.x % TR_WARP);
  int place = 0;
  for (int s = 0; s < SLOTS; ++s)
    place += __popc(__ballot_sync(TR_ALL_LANES, tr_precedes(best.distance2[s], best.row[s], distance2, row)));
  for (int s = SLOTS - 1; s >= 0; --s) {
    double before2 = __shfl_up_sync(TR_ALL_LANES, best.distance2[s], 1);
    uint32_t before = __shfl_up_sync(TR_ALL_LANES, best.row[s], 1);
    if (s > 0) {
      const double carried2 = __shfl_sync(TR_ALL_LANES, best.distance2[s > 0 ? s - 1 : 0], TR_WARP - 1);
      const uint32_t carried = __shfl_sync(TR_ALL_LANES, best.row[s > 0 ? s - 1 : 0], TR_WARP - 1);
      before2 = lane == 0 ? carried2 : before2;
      before = lane == 0 ? carried : before;
    }
    const int e = s * TR_WARP + lane;
    best.distance2[s] = e > place ? before2 : e == place ? distance2 : best.distance2[s];
    best.row[s] = e > place ? before : e == place ? row : best.row[s];
  }
}

#endif
