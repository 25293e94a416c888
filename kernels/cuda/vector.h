/* Neighbouring channels of a pixel, read and written at once: four where a view is aligned to 16 bytes, else one. */
#ifndef TR_KERNELS_CUDA_VECTOR_H
#define TR_KERNELS_CUDA_VECTOR_H

#include "kernels/cuda/launch.h"

#include <cstdint>

template <int V> struct tr_vector { float value[V]; };

template <int V> __device__ inline tr_vector<V> tr_load(const float *from) {
  if constexpr (V == 4) {
    const float4 four = *reinterpret_cast<const float4 *>(from);
    return {four.x, four.y, four.z, four.w};
  } else
    return {*from};
}

template <int V> __device__ inline void tr_store(float *to, const tr_vector<V> &from) {
  if constexpr (V == 4)
    *reinterpret_cast<float4 *>(to) = make_float4(from.value[0], from.value[1], from.value[2], from.value[3]);
  else
    *to = from.value[0];
}

/* Host: whether all pixels of a view can be read by fours. */
static inline bool tr_by_fours(int channels, int pixel_stride, const void *first) {
  return channels % 4 == 0 && pixel_stride % 4 == 0 && reinterpret_cast<uintptr_t>(first) % 16 == 0;
}

#endif
