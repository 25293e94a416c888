/* The part of the CUDA runtime that kernels/cuda calls, on the cpu.
 *
 * Work on a stream waits in a queue. It is done when somebody waits for it, or earlier by chance (TR_EMU_SEED), so that a program
 * which reads too early or reuses a buffer too soon is seen to. Device memory starts as NaN and is checked: a copy outside a block, a
 * block used after cudaFree, a block never freed (said at exit, exit code 99). The legacy default stream, managed memory and
 * cooperative launches are refused.
 *   TR_EMU_SEED      order of threads, blocks and streams (default 1)
 *   TR_EMU_DEVICES   number of devices (default 2)
 *   TR_EMU_MEMORY    bytes of one device (default 16 GiB)
 */
#include "tests/emu/runtime.h"
#include "tests/emu/emu.h"

#include <cstdarg>
#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace {

struct graph {
  std::vector<std::function<void()>> nodes;
};

struct stream {
  int device;
  std::deque<std::function<void()>> queue;
  uint64_t enqueued = 0, done = 0;
  graph *capture = nullptr;
  bool captured_by_thread = false; /* cudaStreamCaptureModeThreadLocal: other threads may do what a capture forbids */
  std::thread::id capturer;
};

struct event {
  int device = 0;
  stream *on = nullptr;
  uint64_t position = 0; /* done when the stream has done this many */
  bool timed = true;
  double seconds = 0;
};

struct block_info {
  size_t bytes;
  int device;
};

std::recursive_mutex lock;
std::map<const char *, block_info> device_blocks, pinned_blocks; /* by address */
std::map<const char *, size_t> freed_blocks;                     /* for a better message */
std::set<stream *> streams;
std::set<const void *> large_shared;
std::map<std::string, long> counts; /* of emu_count */
size_t used_bytes[16];
thread_local int current_device;
thread_local cudaError_t last_error = cudaSuccess;
uint32_t random_state;
bool random_started;
bool running; /* work is being done: nothing is begun by chance meanwhile */

size_t setting(const char *name, size_t otherwise) {
  const char *text = getenv(name);
  return text && *text ? strtoull(text, nullptr, 10) : otherwise;
}

int device_count() {
  return (int)setting("TR_EMU_DEVICES", 2);
}
size_t device_memory() {
  return setting("TR_EMU_MEMORY", (size_t)16 << 30);
}

[[noreturn]] void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("emulated CUDA: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  abort();
}

cudaError_t result(cudaError_t error) {
  if (error != cudaSuccess)
    last_error = error;
  return error;
}

stream *stream_of(cudaStream_t handle) {
  stream *s = reinterpret_cast<stream *>(handle);
  if (!s || !streams.count(s))
    die("work on %s: every call names a stream that exists", s ? "an unknown stream" : "the default stream");
  return s;
}

void run_first(stream *s) {
  std::function<void()> work = std::move(s->queue.front());
  s->queue.pop_front();
  bool outer = running;
  running = true;
  work();
  running = outer;
  ++s->done;
}

void run_until(stream *s, uint64_t position) {
  while (s->done < position) {
    if (s->queue.empty())
      die("an event waits for work that was never queued");
    run_first(s);
  }
}

void run_all() {
  for (stream *s : streams)
    run_until(s, s->enqueued);
}

/* By chance some waiting work gets done. */
void tick() {
  if (running || streams.empty() || emu_random() % 4 != 0)
    return;
  size_t chosen = emu_random() % streams.size();
  auto s = streams.begin();
  std::advance(s, (long)chosen);
  if (!(*s)->queue.empty())
    run_first(*s);
}

const block_info *find_block(const std::map<const char *, block_info> &blocks, const char *p, const char **start) {
  auto after = blocks.upper_bound(p);
  if (after == blocks.begin())
    return nullptr;
  --after;
  if (p >= after->first + after->second.bytes && !(p == after->first && after->second.bytes == 0))
    return nullptr;
  *start = after->first;
  return &after->second;
}

struct leak_check {
  ~leak_check() {
    size_t bytes = 0, left = 0;
    for (auto &b : device_blocks)
      bytes += b.second.bytes;
    for (auto &c : counts)
      left += c.second != 0;
    if (device_blocks.empty() && pinned_blocks.empty() && streams.empty() && left == 0)
      return;
    fprintf(
        stderr,
        "emulated CUDA: at exit %zu blocks of device memory (%zu bytes), %zu of pinned memory and %zu streams are not freed\n",
        device_blocks.size(), bytes, pinned_blocks.size(), streams.size());
    for (auto &c : counts)
      if (c.second)
        fprintf(stderr, "emulated CUDA: at exit %ld %s are not destroyed\n", c.second, c.first.c_str());
    fflush(nullptr);
    _exit(99);
  }
} at_exit;

void check_copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  if (kind == cudaMemcpyDeviceToDevice || kind == cudaMemcpyHostToDevice)
    emu_check_device(to, bytes, "the destination of a copy");
  if (kind == cudaMemcpyDeviceToDevice || kind == cudaMemcpyDeviceToHost)
    emu_check_device(from, bytes, "the source of a copy");
  if (kind == cudaMemcpyHostToDevice && emu_is_device(from))
    die("a copy from the host: the source is device memory");
  if (kind == cudaMemcpyDeviceToHost && emu_is_device(to))
    die("a copy to the host: the destination is device memory");
  if (kind != cudaMemcpyDeviceToDevice && kind != cudaMemcpyHostToDevice && kind != cudaMemcpyDeviceToHost)
    die("a copy of kind %d", (int)kind);
}

} // namespace

uint32_t emu_random() {
  if (!random_started) {
    random_state = (uint32_t)setting("TR_EMU_SEED", 1) * 2654435769u + 1u;
    random_started = true;
  }
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state;
}

bool emu_is_device(const void *pointer) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  const char *start;
  return find_block(device_blocks, static_cast<const char *>(pointer), &start) != nullptr;
}

void emu_count(const char *kind, int change) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  counts[kind] += change;
}

void emu_check_device(const void *pointer, size_t bytes, const char *doing) {
  if (bytes == 0)
    return;
  std::lock_guard<std::recursive_mutex> hold(lock);
  const char *p = static_cast<const char *>(pointer), *start;
  const block_info *b = find_block(device_blocks, p, &start);
  if (!b) {
    auto after = freed_blocks.upper_bound(p);
    bool was_freed = after != freed_blocks.begin() && p < std::prev(after)->first + std::prev(after)->second;
    die("%s: %p is %s", doing, pointer, was_freed ? "device memory that has been freed" : "not device memory");
  }
  if (p + bytes > start + b->bytes)
    die("%s: %zu bytes at offset %zu of a block of %zu", doing, bytes, (size_t)(p - start), b->bytes);
}

void emu_enqueue(cudaStream_t handle, std::function<void()> work) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  stream *s = stream_of(handle);
  if (s->capture) {
    s->capture->nodes.push_back(std::move(work));
    return;
  }
  s->queue.push_back(std::move(work));
  ++s->enqueued;
  tick();
}

void emu_launch(const char *name, const void *kernel, dim3 grid, dim3 size, size_t shared_bytes, cudaStream_t handle,
                std::function<void()> body) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  const char *error = emu_launch_error(grid, size, shared_bytes);
  if (!error && shared_bytes > 48 * 1024 && !large_shared.count(kernel))
    error = "more than 48 KiB of shared memory without cudaFuncSetAttribute";
  if (!error && stream_of(handle)->device != current_device)
    error = "a stream of another device";
  if (error) {
    fprintf(stderr, "emulated CUDA: launching %s: %s\n", name, error);
    result(cudaErrorInvalidConfiguration);
    return;
  }
  emu_enqueue(handle, [=]() { emu_run_grid(name, grid, size, shared_bytes, body); });
}

extern "C" {

cudaError_t cudaGetDeviceCount(int *count) {
  *count = device_count();
  return *count > 0 ? cudaSuccess : result(cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= device_count())
    return result(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) {
  *device = current_device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
  if (device < 0 || device >= device_count())
    return result(cudaErrorInvalidDevice);
  memset(properties, 0, sizeof *properties);
  snprintf(properties->name, sizeof properties->name, "emulated GPU");
  properties->totalGlobalMem = device_memory();
  properties->sharedMemPerBlock = 48 * 1024;
  properties->sharedMemPerBlockOptin = 227 * 1024;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->multiProcessorCount = 4;
  properties->major = 9;
  properties->minor = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  cudaError_t error = cudaGetDeviceProperties(&properties, device);
  if (error != cudaSuccess)
    return error;
  switch (attribute) {
  case cudaDevAttrMultiProcessorCount:
    *value = properties.multiProcessorCount;
    return cudaSuccess;
  case cudaDevAttrMaxSharedMemoryPerBlockOptin:
    *value = (int)properties.sharedMemPerBlockOptin;
    return cudaSuccess;
  case cudaDevAttrComputeCapabilityMajor:
    *value = properties.major;
    return cudaSuccess;
  case cudaDevAttrComputeCapabilityMinor:
    *value = properties.minor;
    return cudaSuccess;
  case cudaDevAttrClockRate: /* kHz */
    *value = 1000000;
    return cudaSuccess;
  case cudaDevAttrMemoryClockRate:
    *value = 2000000;
    return cudaSuccess;
  default:
    die("cudaDeviceGetAttribute(%d)", (int)attribute);
  }
}

cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  *total = device_memory();
  *free_bytes = *total - used_bytes[current_device];
  return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t error) {
  switch (error) {
  case cudaSuccess:
    return "no error";
  case cudaErrorMemoryAllocation:
    return "out of memory";
  case cudaErrorInvalidValue:
    return "invalid argument";
  case cudaErrorInvalidConfiguration:
    return "invalid configuration argument";
  case cudaErrorInvalidDevice:
    return "invalid device ordinal";
  case cudaErrorNoDevice:
    return "no CUDA-capable device is detected";
  case cudaErrorNotReady:
    return "device not ready";
  case cudaErrorStreamCaptureUnsupported:
    return "operation not permitted when stream is capturing";
  default:
    return "emulated error";
  }
}

const char *cudaGetErrorName(cudaError_t error) {
  return cudaGetErrorString(error);
}

cudaError_t cudaGetLastError(void) {
  cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError(void) {
  return last_error;
}

static bool capturing(void) {
  for (stream *s : streams)
    if (s->capture && (!s->captured_by_thread || s->capturer == std::this_thread::get_id()))
      return true;
  return false;
}

cudaError_t cudaMalloc(void **out, size_t bytes) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  if (capturing())
    return result(cudaErrorStreamCaptureUnsupported);
  if (bytes > device_memory() - used_bytes[current_device])
    return result(cudaErrorMemoryAllocation);
  char *memory = static_cast<char *>(aligned_alloc(256, (bytes + 255) / 256 * 256));
  if (!memory)
    return result(cudaErrorMemoryAllocation);
  memset(memory, 0xff, bytes);
#if defined(__SANITIZE_ADDRESS__)
  /* The tail up to the alignment belongs to nobody. */
  __asan_poison_memory_region(memory + bytes, (bytes + 255) / 256 * 256 - bytes);
#endif
  device_blocks[memory] = {bytes, current_device};
  freed_blocks.erase(memory);
  used_bytes[current_device] += bytes;
  *out = memory;
  tick();
  return cudaSuccess;
}

cudaError_t cudaFree(void *memory) {
  if (!memory)
    return cudaSuccess;
  std::lock_guard<std::recursive_mutex> hold(lock);
  if (capturing())
    return result(cudaErrorStreamCaptureUnsupported);
  auto found = device_blocks.find(static_cast<char *>(memory));
  if (found == device_blocks.end())
    die("cudaFree(%p): not the start of a block of device memory", memory);
  run_all(); /* as the device does */
  used_bytes[found->second.device] -= found->second.bytes;
  freed_blocks[found->first] = found->second.bytes;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(memory, (found->second.bytes + 255) / 256 * 256);
#endif
  device_blocks.erase(found);
  free(memory);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned flags) {
  (void)flags;
  std::lock_guard<std::recursive_mutex> hold(lock);
  char *memory = static_cast<char *>(malloc(bytes ? bytes : 1));
  if (!memory)
    return result(cudaErrorMemoryAllocation);
  memset(memory, 0xff, bytes);
  pinned_blocks[memory] = {bytes, current_device};
  *out = memory;
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void **out, size_t bytes) {
  return cudaHostAlloc(out, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *memory) {
  if (!memory)
    return cudaSuccess;
  std::lock_guard<std::recursive_mutex> hold(lock);
  if (!pinned_blocks.erase(static_cast<char *>(memory)))
    die("cudaFreeHost(%p): not pinned memory", memory);
  run_all();
  free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  check_copy(to, from, bytes, kind);
  emu_enqueue(stream, [=]() {
    check_copy(to, from, bytes, kind);
    if (bytes)
      memcpy(to, from, bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream) {
  if (width > to_pitch || width > from_pitch)
    return result(cudaErrorInvalidValue);
  if (width == 0 || height == 0)
    return cudaSuccess;
  check_copy(to, from, width, kind);
  emu_enqueue(stream, [=]() {
    for (size_t row = 0; row < height; ++row) {
      char *to_row = static_cast<char *>(to) + row * to_pitch;
      const char *from_row = static_cast<const char *>(from) + row * from_pitch;
      check_copy(to_row, from_row, width, kind);
      memcpy(to_row, from_row, width);
    }
  });
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  run_all();
  check_copy(to, from, bytes, kind);
  if (bytes)
    memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream) {
  emu_check_device(memory, bytes, "cudaMemsetAsync");
  emu_enqueue(stream, [=]() {
    emu_check_device(memory, bytes, "cudaMemsetAsync");
    if (bytes)
      memset(memory, value, bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags) {
  (void)flags;
  std::lock_guard<std::recursive_mutex> hold(lock);
  stream *s = new stream;
  s->device = current_device;
  streams.insert(s);
  *out = reinterpret_cast<cudaStream_t>(s);
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *out) {
  return cudaStreamCreateWithFlags(out, cudaStreamNonBlocking);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  stream *s = stream_of(handle);
  run_until(s, s->enqueued);
  streams.erase(s);
  delete s;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  stream *s = stream_of(handle);
  if (s->capture)
    return result(cudaErrorStreamCaptureUnsupported);
  run_until(s, s->enqueued);
  return last_error;
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  stream *s = stream_of(handle);
  tick();
  return s->queue.empty() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize(void) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  if (capturing())
    return result(cudaErrorStreamCaptureUnsupported);
  run_all();
  return last_error;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags) {
  event *e = new event;
  e->timed = !(flags & cudaEventDisableTiming);
  e->device = current_device;
  *out = reinterpret_cast<cudaEvent_t>(e);
  emu_count("events", 1);
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out) {
  return cudaEventCreateWithFlags(out, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  event *e = reinterpret_cast<event *>(handle);
  if (e->on && streams.count(e->on))
    run_until(e->on, e->position); /* its time stamp is written by then */
  delete e;
  emu_count("events", -1);
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  event *e = reinterpret_cast<event *>(handle);
  stream *s = stream_of(stream_handle);
  if (s->capture)
    die("recording an event while its stream is captured");
  if (s->device != e->device)
    die("recording an event of device %d on a stream of device %d", e->device, s->device);
  s->queue.push_back([e]() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    e->seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
  });
  e->on = s;
  e->position = ++s->enqueued;
  tick();
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  event *e = reinterpret_cast<event *>(handle);
  if (e->on && streams.count(e->on))
    run_until(e->on, e->position);
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  event *e = reinterpret_cast<event *>(handle);
  tick();
  return !e->on || !streams.count(e->on) || e->on->done >= e->position ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  const event *a = reinterpret_cast<event *>(from), *b = reinterpret_cast<event *>(to);
  if (!a->timed || !b->timed || !a->on || !b->on)
    return result(cudaErrorInvalidResourceHandle);
  for (const event *e : {a, b})
    if (streams.count(e->on) && e->on->done < e->position)
      return result(cudaErrorNotReady);
  *milliseconds = (float)(1e3 * (b->seconds - a->seconds));
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event_handle, unsigned flags) {
  (void)flags;
  std::lock_guard<std::recursive_mutex> hold(lock);
  const event *e = reinterpret_cast<event *>(event_handle);
  if (!e->on)
    return cudaSuccess; /* never recorded: no wait */
  stream *other = e->on;
  uint64_t position = e->position;
  emu_enqueue(handle, [=]() {
    if (streams.count(other))
      run_until(other, position);
  });
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  stream *s = stream_of(handle);
  s->capture = new graph;
  s->captured_by_thread = mode == cudaStreamCaptureModeThreadLocal;
  s->capturer = std::this_thread::get_id();
  emu_count("graphs", 1);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *out) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  stream *s = stream_of(handle);
  if (!s->capture)
    return result(cudaErrorInvalidValue);
  *out = reinterpret_cast<cudaGraph_t>(s->capture);
  s->capture = nullptr;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t from, unsigned long long flags) {
  (void)flags;
  *out = reinterpret_cast<cudaGraphExec_t>(new graph(*reinterpret_cast<graph *>(from)));
  emu_count("executable graphs", 1);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  std::shared_ptr<graph> nodes = std::make_shared<graph>(*reinterpret_cast<graph *>(exec));
  emu_enqueue(stream, [nodes]() {
    for (auto &node : nodes->nodes)
      node();
  });
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t handle) {
  delete reinterpret_cast<graph *>(handle);
  emu_count("graphs", -1);
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t handle) {
  delete reinterpret_cast<graph *>(handle);
  emu_count("executable graphs", -1);
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value > 227 * 1024)
    return result(cudaErrorInvalidValue);
  std::lock_guard<std::recursive_mutex> hold(lock);
  large_shared.insert(kernel);
  return cudaSuccess;
}

} /* extern "C" */
