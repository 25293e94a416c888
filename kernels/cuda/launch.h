/* How .cu files launch kernels and take dynamic shared memory, so that the same file compiles with nvcc for a GPU and, in the
 * preset `emulated`, as C++ for the cpu (tests/emu). Kernels are C-like CUDA: no templates over types but where a kernel needs a
 * compile-time number, no C++ library. */
#ifndef TR_KERNELS_CUDA_LAUNCH_H
#define TR_KERNELS_CUDA_LAUNCH_H

#ifdef TR_EMULATED
#include "tests/emu/emu.h"
#define TR_UNROLL(count)
#else
#include <cuda_runtime.h>
/* Before a loop: how far to unroll it. */
#define TR_UNROLL(count) TR_PRAGMA_(unroll count)
#define TR_PRAGMA_(text) _Pragma(#text)
#define TR_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)
/* Declares `name` as the block's dynamic shared memory, 16-byte aligned. */
#define TR_DYNAMIC_SHARED(type, name)           \
  extern __shared__ uint4 tr_dynamic_shared_[]; \
  type *name = reinterpret_cast<type *>(tr_dynamic_shared_)
#endif

#endif
