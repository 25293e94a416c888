/* Errors planted on purpose: the emulator must find each. A case runs in a process of its own; either it must die with a message, or
 * its result must be wrong for at least one order of threads (TR_EMU_SEED), and right for every order once it is mended. */
#include "kernels/cuda/launch.h"

#include <csetjmp>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include <cublas_v2.h>
#include <cudnn.h>

extern "C" {
#include <cmocka.h>
}

namespace {

enum { THREADS = 64, SEEDS = 20 };

void require(bool holds, const char *what) {
  if (!holds) {
    fprintf(stderr, "unexpected: %s\n", what);
    exit(2);
  }
}

/* A stream and one array of THREADS floats on the device and the host. */
struct bench {
  cudaStream_t stream;
  float *device, *pinned;
  bench() {
    require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess, "a stream");
    require(cudaMalloc((void **)&device, THREADS * sizeof(float)) == cudaSuccess, "device memory");
    require(cudaMallocHost((void **)&pinned, THREADS * sizeof(float)) == cudaSuccess, "pinned memory");
    for (int i = 0; i < THREADS; ++i)
      pinned[i] = (float)i;
  }
  void close() {
    cudaFree(device);
    cudaFreeHost(pinned);
    cudaStreamDestroy(stream);
  }
  void upload() { cudaMemcpyAsync(device, pinned, THREADS * sizeof(float), cudaMemcpyHostToDevice, stream); }
  void download() { cudaMemcpyAsync(pinned, device, THREADS * sizeof(float), cudaMemcpyDeviceToHost, stream); }
  void wait() { cudaStreamSynchronize(stream); }
  bool counts_down() const {
    for (int i = 0; i < THREADS; ++i)
      if (pinned[i] != (float)(THREADS - 1 - i))
        return false;
    return true;
  }
  bool counts_up() const {
    for (int i = 0; i < THREADS; ++i)
      if (pinned[i] != (float)i)
        return false;
    return true;
  }
};

/* ---- kernels ---- */

template <bool BARRIER> __global__ void reverse(float *values) {
  __shared__ float held[THREADS];
  held[threadIdx.x] = values[threadIdx.x];
  if (BARRIER)
    __syncthreads();
  values[threadIdx.x] = held[THREADS - 1 - threadIdx.x];
}

__global__ void write_at(float *values, int offset) {
  values[(int)threadIdx.x + offset] = 1.0f;
}

__global__ void diverge(float *values) {
  if (threadIdx.x < THREADS / 2)
    __syncthreads();
  else
    __syncthreads();
  values[threadIdx.x] = 0.0f;
}

__global__ void leave_early(float *values) {
  if (threadIdx.x == 0)
    return;
  __syncthreads();
  values[threadIdx.x] = 0.0f;
}

__global__ void shuffle_outside(float *values) {
  if (threadIdx.x < 8)
    values[threadIdx.x] = __shfl_sync(0xffu, values[threadIdx.x], 9);
}

__global__ void shuffle_without_all(float *values) {
  if (threadIdx.x % 2)
    values[threadIdx.x] = __shfl_xor_sync(0xffffffffu, values[threadIdx.x], 2);
}

/* ---- cases: true when the result is right ---- */

bool reversal(bool barrier) {
  bench b;
  b.upload();
  if (barrier)
    TR_LAUNCH(reverse<true>, 1, THREADS, 0, b.stream, b.device);
  else
    TR_LAUNCH(reverse<false>, 1, THREADS, 0, b.stream, b.device);
  b.download();
  b.wait();
  bool right = b.counts_down();
  b.close();
  return right;
}
bool missing_barrier() {
  return reversal(false);
}
bool barrier() {
  return reversal(true);
}

/* The host reads what a copy is still to bring. */
bool reading(bool waits) {
  bench b;
  b.upload();
  b.wait();
  memset(b.pinned, 0, THREADS * sizeof(float));
  b.download();
  if (waits)
    b.wait();
  bool right = b.counts_up();
  b.wait();
  b.close();
  return right;
}
bool early_read() {
  return reading(false);
}
bool read_after_wait() {
  return reading(true);
}

/* The host writes over what a copy is still to take. */
bool overwriting(bool waits) {
  bench b;
  b.upload();
  if (waits)
    b.wait();
  memset(b.pinned, 0, THREADS * sizeof(float));
  b.download();
  b.wait();
  bool right = b.counts_up();
  b.close();
  return right;
}
bool early_overwrite() {
  return overwriting(false);
}
bool overwrite_after_wait() {
  return overwriting(true);
}

/* Another stream reads what the first one is still to write. */
bool two_streams(bool ordered) {
  bench b;
  cudaStream_t other;
  cudaEvent_t written;
  cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
  cudaEventCreateWithFlags(&written, cudaEventDisableTiming);
  b.upload();
  TR_LAUNCH(reverse<true>, 1, THREADS, 0, b.stream, b.device);
  cudaEventRecord(written, b.stream);
  if (ordered)
    cudaStreamWaitEvent(other, written, 0);
  cudaMemcpyAsync(b.pinned, b.device, THREADS * sizeof(float), cudaMemcpyDeviceToHost, other);
  cudaStreamSynchronize(other);
  bool right = b.counts_down();
  b.wait();
  cudaEventDestroy(written);
  cudaStreamDestroy(other);
  b.close();
  return right;
}
bool unordered_streams() {
  return two_streams(false);
}
bool ordered_streams() {
  return two_streams(true);
}

/* Seconds between two events, which a kernel's work lies between. */
bool time_between(unsigned flags) {
  bench b;
  cudaEvent_t begin, end;
  float milliseconds = -1;
  cudaEventCreateWithFlags(&begin, flags);
  cudaEventCreateWithFlags(&end, flags);
  b.upload();
  cudaEventRecord(begin, b.stream);
  TR_LAUNCH(reverse<true>, 1, THREADS, 0, b.stream, b.device);
  cudaEventRecord(end, b.stream);
  cudaEventSynchronize(end);
  bool right = cudaEventElapsedTime(&milliseconds, begin, end) == cudaSuccess && milliseconds >= 0;
  (void)cudaGetLastError();
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  b.close();
  return right;
}
bool untimed_events() {
  return time_between(cudaEventDisableTiming);
}
bool timed_events() {
  return time_between(cudaEventDefault);
}

/* Nobody has written the array: NaN. */
bool unwritten_memory() {
  bench b;
  b.download();
  b.wait();
  bool right = b.pinned[0] == b.pinned[0];
  b.close();
  return right;
}

/* ---- cases that must die ---- */

template <typename Kernel> void run_to_the_end(Kernel kernel) {
  bench b;
  b.upload();
  TR_LAUNCH(kernel, 1, THREADS, 0, b.stream, b.device);
  b.wait();
  b.close();
}

bool divergent_barrier() {
  run_to_the_end(diverge);
  return true;
}
bool early_exit() {
  run_to_the_end(leave_early);
  return true;
}
bool absent_lane() {
  run_to_the_end(shuffle_outside);
  return true;
}
bool partial_shuffle() {
  run_to_the_end(shuffle_without_all);
  return true;
}

bool out_of_bounds() {
  bench b;
  TR_LAUNCH(write_at, 1, THREADS, 0, b.stream, b.device, 1);
  b.wait();
  b.close();
  return true;
}

bool copy_out_of_bounds() {
  bench b;
  cudaMemcpyAsync(b.device + 1, b.pinned, THREADS * sizeof(float), cudaMemcpyHostToDevice, b.stream);
  return true;
}

bool copy_after_free() {
  bench b;
  cudaFree(b.device);
  b.upload();
  return true;
}

bool kernel_after_free() {
  bench b;
  cudaFree(b.device);
  TR_LAUNCH(write_at, 1, THREADS, 0, b.stream, b.device, 0);
  b.wait();
  return true;
}

bool host_pointer() {
  bench b;
  float host[THREADS];
  cudaMemcpyAsync(host, b.pinned, sizeof host, cudaMemcpyHostToDevice, b.stream);
  return true;
}

bool default_stream() {
  bench b;
  TR_LAUNCH(write_at, 1, THREADS, 0, nullptr, b.device, 0);
  return true;
}

bool leaked_memory() {
  bench b;
  return true;
}

bool leaked_handle() {
  cudnnHandle_t handle;
  cudnnCreate(&handle);
  return true;
}

bool matrix_out_of_bounds() {
  bench b;
  cublasHandle_t blas;
  const float one = 1.0f, zero = 0.0f;
  cublasCreate(&blas);
  cublasSetStream(blas, b.stream);
  cublasSgemm(blas, CUBLAS_OP_N, CUBLAS_OP_N, 9, 4, 4, &one, b.device, 20, b.device, 4, &zero, b.device, 9);
  return true;
}

bool unfinished_capture() {
  bench b;
  float *more;
  cudaStreamBeginCapture(b.stream, cudaStreamCaptureModeGlobal);
  require(cudaMalloc((void **)&more, 4) == cudaErrorStreamCaptureUnsupported, "no memory may be taken in a capture");
  fprintf(stderr, "refused\n");
  return true;
}

bool large_shared_memory() {
  bench b;
  TR_LAUNCH(write_at, 1, THREADS, 100000, b.stream, b.device, 0);
  require(cudaGetLastError() == cudaErrorInvalidConfiguration, "a launch that asks for too much is refused");
  fprintf(stderr, "refused\n");
  return true;
}

/* ---- the driver ---- */

struct outcome {
  int code; /* exit code, 256 + signal */
  std::string text;
};

/* Exits with 10 when the result is wrong. */
outcome run_apart(bool (*body)(), int seed) {
  int ends[2];
  outcome out = {};
  assert_int_equal(pipe(ends), 0);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    setenv("TR_EMU_SEED", std::to_string(seed).c_str(), 1);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    exit(body() ? 0 : 10);
  }
  close(ends[1]);
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0;)
    out.text.append(buffer, (size_t)got);
  close(ends[0]);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  out.code = WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
  return out;
}

struct deadly_case {
  const char *name;
  bool (*body)();
  const char *message;
};

const deadly_case deadly[] = {
    {"threads at different barriers", divergent_barrier, "threads wait at different __syncthreads"},
    {"a thread that leaves before a barrier", early_exit, "have left the kernel while others wait"},
    {"a shuffle from a lane that takes no part", absent_lane, "which takes no part"},
    {"a shuffle that not all lanes reach", partial_shuffle, "that other lanes of the mask do not reach"},
    {"a copy past the end", copy_out_of_bounds, "256 bytes at offset 4 of a block of 256"},
    {"a copy into freed memory", copy_after_free, "device memory that has been freed"},
    {"host memory where device memory is wanted", host_pointer, "is not device memory"},
    {"the default stream", default_stream, "every call names a stream"},
    {"memory never freed", leaked_memory,
     "1 blocks of device memory (256 bytes), 1 of pinned memory and 1 streams are not freed"},
    {"a handle never destroyed", leaked_handle, "1 cuDNN handles are not destroyed"},
    {"a matrix past the end", matrix_out_of_bounds, "cublasSgemmStridedBatched, matrix"},
    {"memory taken in a capture", unfinished_capture, "refused"},
    {"shared memory without asking", large_shared_memory, "refused"},
#ifdef __SANITIZE_ADDRESS__
    {"a kernel that writes past the end", out_of_bounds, "AddressSanitizer"},
    {"a kernel that writes to freed memory", kernel_after_free, "AddressSanitizer: heap-use-after-free"},
#endif
};

void test_deadly(void **state) {
  (void)state;
  for (const deadly_case &c : deadly) {
    const outcome out = run_apart(c.body, 1);
    if (out.code == 0 || out.code == 2 || out.code == 10 || !strstr(out.text.c_str(), c.message))
      fail_msg("%s: ended with %d and said: %s", c.name, out.code, out.text.c_str());
  }
}

struct ordered_case {
  const char *name;
  bool (*wrong)(), (*right)();
};

const ordered_case ordered[] = {
    {"a missing __syncthreads", missing_barrier, barrier},
    {"reading before a copy has arrived", early_read, read_after_wait},
    {"writing over what is being copied", early_overwrite, overwrite_after_wait},
    {"two streams without an event", unordered_streams, ordered_streams},
    {"the time of events that have none", untimed_events, timed_events},
};

int wrong_results(const char *name, bool (*body)()) {
  int wrong = 0;
  for (int seed = 1; seed <= SEEDS; ++seed) {
    const outcome out = run_apart(body, seed);
    if (out.code != 0 && out.code != 10)
      fail_msg("%s, seed %d: ended with %d and said: %s", name, seed, out.code, out.text.c_str());
    wrong += out.code == 10;
  }
  return wrong;
}

void test_ordered(void **state) {
  (void)state;
  for (const ordered_case &c : ordered) {
    if (wrong_results(c.name, c.wrong) == 0)
      fail_msg("%s: not seen with %d seeds", c.name, (int)SEEDS);
    if (wrong_results(c.name, c.right) != 0)
      fail_msg("%s: seen though it is mended", c.name);
  }
}

void test_unwritten(void **state) {
  (void)state;
  assert_int_equal(run_apart(unwritten_memory, 1).code, 10);
}

} // namespace

int main() {
  const CMUnitTest tests[] = {cmocka_unit_test(test_deadly), cmocka_unit_test(test_ordered), cmocka_unit_test(test_unwritten)};
  return cmocka_run_group_tests_name("planted errors", tests, nullptr, nullptr);
}
