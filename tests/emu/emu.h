/* CUDA device code on the cpu: what a kernel may use, for .cu files compiled as C++ (preset `emulated`).
 *
 * A block runs on one thread of the host; each CUDA thread is a fiber that runs until it reaches a barrier. The order in which
 * the threads of a block, and the blocks of a grid, run is shuffled by TR_EMU_SEED (environment; default 1), so that a result that
 * depends on an order the program did not ask for changes with the seed. What a GPU would leave undefined (a barrier that not
 * every thread of the block reaches, a shuffle from a lane that takes no part, reading shared memory that nobody wrote) ends the
 * process with a message, or reads as NaN.
 */
#ifndef TR_TESTS_EMU_H
#define TR_TESTS_EMU_H

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <type_traits>

/* The real headers leave these empty or as attributes of nvcc. */
#undef __shared__
#undef __launch_bounds__
#undef __constant__
#define __shared__ static thread_local
#define __launch_bounds__(...)
#define __constant__ static

struct emu_thread {
  uint3 thread_index;
  unsigned lane, warp;
};
extern thread_local emu_thread *emu_current;
extern thread_local uint3 emu_block_index;
extern thread_local dim3 emu_block_size, emu_grid_size;

#define threadIdx (emu_current->thread_index)
#define blockIdx  emu_block_index
#define blockDim  emu_block_size
#define gridDim   emu_grid_size
constexpr int warpSize = 32;

void *emu_dynamic_shared(void);
void emu_launch(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                std::function<void()> body);

#define TR_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  emu_launch(#kernel, (const void *)(kernel), (grid), (block), (shared_bytes), (stream), emu_bind(kernel, __VA_ARGS__))
#define TR_DYNAMIC_SHARED(type, name) type *name = static_cast<type *>(emu_dynamic_shared())

/* Arguments are copied at the launch, as a GPU does, and converted to the kernel's parameter types. */
template <typename... P, typename... A> std::function<void()> emu_bind(void (*kernel)(P...), A... arguments) {
  return [=]() { kernel(static_cast<P>(arguments)...); };
}

/* ---- barriers, votes and shuffles ---- */

void emu_syncthreads(const char *file, int line);
int emu_syncthreads_vote(int predicate, int kind, const char *file, int line); /* kind: 0 count, 1 and, 2 or */
#define __syncthreads()        emu_syncthreads(__FILE__, __LINE__)
#define __syncthreads_count(p) emu_syncthreads_vote((p), 0, __FILE__, __LINE__)
#define __syncthreads_and(p)   emu_syncthreads_vote((p), 1, __FILE__, __LINE__)
#define __syncthreads_or(p)    emu_syncthreads_vote((p), 2, __FILE__, __LINE__)

/* Every lane of `mask` gives `bytes` of `value`; when all have come, the value of `source` (a lane number) is in `out`. A lane
 * outside the mask, or a call that not all lanes of the mask reach, ends the process. */
void emu_exchange(unsigned mask, const void *value, void *out, size_t bytes, unsigned source, const char *file, int line);
unsigned emu_ballot(unsigned mask, int predicate, const char *file, int line);

template <typename T> T emu_shuffle(unsigned mask, T value, unsigned source, bool in_range, const char *file, int line) {
  T out;
  emu_exchange(mask, &value, &out, sizeof value, in_range ? source : emu_current->lane, file, line);
  return in_range ? out : value;
}
template <typename T> T emu_shfl(unsigned mask, T v, int from, int width, const char *file, int line) {
  unsigned base = emu_current->lane & ~(unsigned)(width - 1);
  return emu_shuffle(mask, v, base + ((unsigned)from & (unsigned)(width - 1)), true, file, line);
}
template <typename T> T emu_shfl_up(unsigned mask, T v, unsigned delta, int width, const char *file, int line) {
  unsigned base = emu_current->lane & ~(unsigned)(width - 1), within = emu_current->lane - base;
  return emu_shuffle(mask, v, emu_current->lane - delta, within >= delta, file, line);
}
template <typename T> T emu_shfl_down(unsigned mask, T v, unsigned delta, int width, const char *file, int line) {
  unsigned base = emu_current->lane & ~(unsigned)(width - 1), within = emu_current->lane - base;
  return emu_shuffle(mask, v, emu_current->lane + delta, within + delta < (unsigned)width, file, line);
}
template <typename T> T emu_shfl_xor(unsigned mask, T v, unsigned bits, int width, const char *file, int line) {
  unsigned base = emu_current->lane & ~(unsigned)(width - 1), other = emu_current->lane ^ bits;
  return emu_shuffle(mask, v, other, other < base + (unsigned)width, file, line);
}
#define __shfl_sync(mask, v, from)       emu_shfl((mask), (v), (from), 32, __FILE__, __LINE__)
#define __shfl_up_sync(mask, v, delta)   emu_shfl_up((mask), (v), (delta), 32, __FILE__, __LINE__)
#define __shfl_down_sync(mask, v, delta) emu_shfl_down((mask), (v), (delta), 32, __FILE__, __LINE__)
#define __shfl_xor_sync(mask, v, bits)   emu_shfl_xor((mask), (v), (bits), 32, __FILE__, __LINE__)
#define __ballot_sync(mask, p)           emu_ballot((mask), (p) != 0, __FILE__, __LINE__)
#define __any_sync(mask, p)              (emu_ballot((mask), (p) != 0, __FILE__, __LINE__) != 0)
#define __all_sync(mask, p)              (emu_ballot((mask), (p) != 0, __FILE__, __LINE__) == (unsigned)(mask))
#define __syncwarp()                     ((void)emu_ballot(0xffffffffu, 0, __FILE__, __LINE__))

/* ---- memory ---- */

inline void __threadfence() {}
inline void __threadfence_block() {}
template <typename T> T __ldg(const T *p) {
  return *p;
}
template <typename T> T __ldcs(const T *p) {
  return *p;
}
template <typename T> void __stcs(T *p, T value) {
  *p = value;
}

/* One host thread runs a block, and one block after the other: plain read-modify-write is atomic. */
template <typename T> T atomicAdd(T *p, T value) {
  T old = *p;
  *p = old + value;
  return old;
}
template <typename T> T atomicMax(T *p, T value) {
  T old = *p;
  *p = value > old ? value : old;
  return old;
}
template <typename T> T atomicMin(T *p, T value) {
  T old = *p;
  *p = value < old ? value : old;
  return old;
}
template <typename T> T atomicOr(T *p, T value) {
  T old = *p;
  *p = old | value;
  return old;
}
template <typename T> T atomicAnd(T *p, T value) {
  T old = *p;
  *p = old & value;
  return old;
}
template <typename T> T atomicExch(T *p, T value) {
  T old = *p;
  *p = value;
  return old;
}
template <typename T> T atomicCAS(T *p, T compare, T value) {
  T old = *p;
  if (old == compare)
    *p = value;
  return old;
}

/* ---- arithmetic ---- */

template <typename To, typename From> To emu_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
inline unsigned __float_as_uint(float x) {
  return emu_bits<unsigned>(x);
}
inline long long __double_as_longlong(double x) {
  return emu_bits<long long>(x);
}
inline int __float_as_int(float x) {
  return emu_bits<int>(x);
}
inline float __uint_as_float(unsigned x) {
  return emu_bits<float>(x);
}
inline float __int_as_float(int x) {
  return emu_bits<float>(x);
}
inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __popcll(unsigned long long x) {
  return __builtin_popcountll(x);
}
inline int __clz(int x) {
  return x ? __builtin_clz((unsigned)x) : 32;
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline unsigned __brev(unsigned x) {
  unsigned out = 0;
  for (int i = 0; i < 32; ++i)
    out |= (x >> i & 1u) << (31 - i);
  return out;
}
inline float __fmul_rn(float a, float b) {
  volatile float p = a * b;
  return p;
}
inline float __fadd_rn(float a, float b) {
  volatile float s = a + b;
  return s;
}
inline float __fsub_rn(float a, float b) {
  volatile float s = a - b;
  return s;
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline float __fsqrt_rn(float a) {
  return std::sqrt(a);
}
inline float __fmaf_rn(float a, float b, float c) {
  return fmaf(a, b, c);
}
inline double __dmul_rn(double a, double b) {
  return a * b;
} /* -ffp-contract=off */
inline double __dadd_rn(double a, double b) {
  return a + b;
}
inline float __saturatef(float x) {
  return x < 0 ? 0 : x > 1 ? 1 : x;
}
#ifndef rsqrtf
inline float emu_rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
#define rsqrtf emu_rsqrtf
#endif
inline int min(int a, int b) {
  return a < b ? a : b;
}
inline int max(int a, int b) {
  return a > b ? a : b;
}
inline unsigned min(unsigned a, unsigned b) {
  return a < b ? a : b;
}
inline unsigned max(unsigned a, unsigned b) {
  return a > b ? a : b;
}
inline long min(long a, long b) {
  return a < b ? a : b;
}
inline long max(long a, long b) {
  return a > b ? a : b;
}
inline size_t min(size_t a, size_t b) {
  return a < b ? a : b;
}
inline size_t max(size_t a, size_t b) {
  return a > b ? a : b;
}

#endif
