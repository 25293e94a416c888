/* The cuda backend: device memory, two streams, cuBLAS and cuDNN handles, one lane that wants large chunks.
 *
 * The GPU works through the operators' stream in order, so operators need no synchronisation among themselves; the host waits only in
 * downloads and tr_device_sync. Uploads from pageable memory wait too: the caller may reuse its buffer at once. Queued uploads, from
 * page-locked memory, have the other stream, and marks are CUDA events.
 */
#include "kernels/cuda/cuda.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>

extern "C" {
#include "host/base/text.h"
}

/* Images of a chunk: enough to fill 132 multiprocessors in the deepest layers (14 x 14 positions an image). */
enum { CHUNK = 64, BLAS_WORKSPACE_BYTES = 32 << 20 };

/* Of a GPU's memory, this part is left to kernels that load when first used, and to gaps between blocks. */
enum { RESERVED_PART = 32 };

/* Calls recorded at their second time; one that could not be captured is made again each time. */
struct tr_recording {
  cudaGraphExec_t executable;
  bool tried;
};

namespace {

struct cuda_state : tr_cuda {
  cudaStream_t uploads; /* beside `stream`, which the operators have */
  cudaEvent_t ticks[2]; /* of the clock: the last one and the next */
  int tick;
  double seconds; /* at the last one */
  std::mutex clock_lock;
  std::mutex lock;
  std::map<const void *, size_t> sizes;
};

cuda_state *of(void *state) {
  return static_cast<cuda_state *>(static_cast<tr_cuda *>(state));
}

__global__ void gather_rows(const uint4 *from, const uint32_t *rows, uint4 *to, size_t count, unsigned vectors) {
  for (size_t row = blockIdx.x; row < count; row += gridDim.x)
    for (unsigned i = threadIdx.x; i < vectors; i += blockDim.x)
      to[row * vectors + i] = from[(size_t)rows[row] * vectors + i];
}

__global__ void gather_words(const uint32_t *from, const uint32_t *rows, uint32_t *to, size_t count, unsigned words) {
  for (size_t row = blockIdx.x; row < count; row += gridDim.x)
    for (unsigned i = threadIdx.x; i < words; i += blockDim.x)
      to[row * words + i] = from[(size_t)rows[row] * words + i];
}

/* Without a driver the runtime says "insufficient driver". */
const char *why_no_gpu(cudaError_t error) {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0)
    return "there is no NVIDIA driver";
  return error == cudaSuccess ? "the driver shows none" : cudaGetErrorString(error);
}

tr_status wanted_ordinal(const char *wanted, int *ordinal) {
  int devices = 0;
  cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess || devices == 0) {
    (void)cudaGetLastError();
    return tr_fail(TR_EDEVICE, "device \"%s\": no GPU can be used here: %s", wanted, why_no_gpu(error));
  }
  char *end;
  const char *colon = strchr(wanted, ':');
  long number = colon ? strtol(colon + 1, &end, 10) : 0;
  if (colon && (colon[1] == '\0' || *end != '\0' || number < 0 || number >= devices))
    return tr_fail(TR_EDEVICE, "device \"%s\": expected cuda:0 to cuda:%d", wanted, devices - 1);
  *ordinal = (int)number;
  return TR_OK;
}

/* Whether the environment's `name` is `word` rather than `otherwise`, which not set means too. */
tr_status read_setting(const char *name, const char *word, const char *otherwise, bool *out) {
  const char *text = getenv(name);
  *out = text && strcmp(text, word) == 0;
  if (text && !*out && strcmp(text, otherwise) != 0)
    return tr_fail(TR_EINVAL, "%s is \"%s\": expected %s or %s", name, text, otherwise, word);
  return TR_OK;
}

tr_status read_settings(cuda_state *s) {
  TR_TRY(read_setting("TOTALRECALL_CONV_MATH", "tf32", "fma", &s->conv_tf32));
  return read_setting("TOTALRECALL_CUDNN", "classic", "graph", &s->dnn_classic);
}

tr_status open_libraries(cuda_state *s) {
  TR_CUDA_TRY(cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking));
  TR_CUDA_TRY(cudaStreamCreateWithFlags(&s->uploads, cudaStreamNonBlocking));
  for (cudaEvent_t &tick : s->ticks)
    TR_CUDA_TRY(cudaEventCreate(&tick));
  TR_CUDA_TRY(cudaEventRecord(s->ticks[0], s->stream));
  TR_CUBLAS_TRY(cublasCreate(&s->blas));
  TR_CUBLAS_TRY(cublasSetStream(s->blas, s->stream));
  TR_CUDA_TRY(cudaMalloc(&s->blas_workspace, BLAS_WORKSPACE_BYTES));
  TR_CUBLAS_TRY(cublasSetWorkspace(s->blas, s->blas_workspace, BLAS_WORKSPACE_BYTES));
  TR_CUDNN_TRY(cudnnCreate(&s->dnn));
  TR_CUDNN_TRY(cudnnSetStream(s->dnn, s->stream));
  return TR_OK;
}

void cuda_close(void *state) {
  cuda_state *s = of(state);
  (void)cudaSetDevice(s->ordinal);
  if (s->dnn)
    cudnnDestroy(s->dnn);
  if (s->blas)
    cublasDestroy(s->blas);
  cudaFree(s->blas_workspace);
  for (cudaEvent_t tick : s->ticks)
    if (tick)
      cudaEventDestroy(tick);
  if (s->uploads)
    cudaStreamDestroy(s->uploads);
  if (s->stream)
    cudaStreamDestroy(s->stream);
  delete s;
}

tr_status cuda_open(const char *wanted, char *name, size_t name_bytes, char *description, size_t description_bytes,
                    void **state) {
  *state = nullptr;
  int ordinal = 0;
  TR_TRY(wanted_ordinal(wanted, &ordinal));
  TR_CUDA_TRY(cudaSetDevice(ordinal));
  cudaDeviceProp properties;
  TR_CUDA_TRY(cudaGetDeviceProperties(&properties, ordinal));
  cuda_state *s = new (std::nothrow) cuda_state{};
  if (!s)
    return tr_fail(TR_ENOMEM, "opening device %s: out of memory", wanted);
  s->ordinal = ordinal;
  s->multiprocessors = properties.multiProcessorCount;
  s->shared_bytes = properties.sharedMemPerBlockOptin;
  tr_status status = read_settings(s);
  if (status == TR_OK)
    status = open_libraries(s);
  if (status != TR_OK) {
    cuda_close(static_cast<tr_cuda *>(s));
    return tr_fail_context(status, "opening device %s", wanted);
  }
  snprintf(name, name_bytes, "cuda:%d", ordinal);
  snprintf(description, description_bytes, "%s", properties.name);
  *state = static_cast<tr_cuda *>(s);
  return TR_OK;
}

/* "13.0" of CUDA's 13000 */
void describe_versions(tr_describe_fn line, void *context) {
  int runtime = 0, driver = 0, major = 0, minor = 0, patch = 0;
  char text[160];
  (void)cudaRuntimeGetVersion(&runtime);
  (void)cudaDriverGetVersion(&driver);
  if (driver)
    snprintf(text, sizeof text, "runtime %d.%d, driver for up to %d.%d", runtime / 1000, runtime % 1000 / 10, driver / 1000,
             driver % 1000 / 10);
  else
    snprintf(text, sizeof text, "runtime %d.%d, no driver", runtime / 1000, runtime % 1000 / 10);
  line(context, "CUDA", text);
  (void)cublasGetProperty(MAJOR_VERSION, &major);
  (void)cublasGetProperty(MINOR_VERSION, &minor);
  (void)cublasGetProperty(PATCH_LEVEL, &patch);
  snprintf(text, sizeof text, "%d.%d.%d", major, minor, patch);
  line(context, "cuBLAS", text);
  size_t dnn = cudnnGetVersion();
  snprintf(text, sizeof text, "%zu.%zu.%zu (built with %d.%d.%d)", dnn / 10000, dnn / 100 % 100, dnn % 100, CUDNN_MAJOR,
           CUDNN_MINOR, CUDNN_PATCHLEVEL);
  line(context, "cuDNN", text);
}

void describe_gpu(int ordinal, tr_describe_fn line, void *context) {
  cudaDeviceProp properties;
  char name[16], text[400], bytes[32];
  snprintf(name, sizeof name, "cuda:%d", ordinal);
  cudaError_t error = cudaGetDeviceProperties(&properties, ordinal);
  if (error == cudaSuccess)
    snprintf(text, sizeof text, "%s, %d multiprocessors, compute capability %d.%d, %s", properties.name,
             properties.multiProcessorCount, properties.major, properties.minor,
             tr_format_bytes(properties.totalGlobalMem, bytes, sizeof bytes));
  else
    snprintf(text, sizeof text, "cannot be asked: %s", cudaGetErrorString(error));
  line(context, name, text);
}

void cuda_describe(tr_describe_fn line, void *context) {
  int devices = 0;
  cudaError_t error = cudaGetDeviceCount(&devices);
  for (int i = 0; error == cudaSuccess && i < devices; ++i)
    describe_gpu(i, line, context);
  if (error != cudaSuccess || devices == 0) {
    char text[160];
    snprintf(text, sizeof text, "no GPU can be used here: %s", why_no_gpu(error));
    line(context, "cuda", text);
  }
  (void)cudaGetLastError();
  describe_versions(line, context);
}

tr_status cuda_alloc(void *state, size_t bytes, void **out) {
  cuda_state *s = of(state);
  *out = nullptr;
  TR_CUDA_TRY(cudaSetDevice(s->ordinal));
  cudaError_t error = cudaMalloc(out, bytes);
  if (error != cudaSuccess) {
    (void)cudaGetLastError();
    char asked[32], left[32];
    size_t free_bytes = 0, total = 0;
    (void)cudaMemGetInfo(&free_bytes, &total);
    return tr_fail(TR_ENOMEM, "allocating %s on cuda:%d, which has %s left: %s", tr_format_bytes(bytes, asked, sizeof asked),
                   s->ordinal, tr_format_bytes(free_bytes, left, sizeof left), cudaGetErrorString(error));
  }
  std::lock_guard<std::mutex> hold(s->lock);
  s->sizes[*out] = bytes;
  return TR_OK;
}

void cuda_free(void *state, void *memory) {
  cuda_state *s = of(state);
  {
    std::lock_guard<std::mutex> hold(s->lock);
    s->sizes.erase(memory);
  }
  (void)cudaSetDevice(s->ordinal); /* whose work cudaFree waits for */
  (void)cudaFree(memory);
}

size_t cuda_size(void *state, const void *memory) {
  cuda_state *s = of(state);
  std::lock_guard<std::mutex> hold(s->lock);
  auto found = s->sizes.find(memory);
  return found == s->sizes.end() ? 0 : found->second;
}

size_t cuda_free_bytes(void *state) {
  size_t left = 0, total = 0;
  if (cudaSetDevice(of(state)->ordinal) != cudaSuccess || cudaMemGetInfo(&left, &total) != cudaSuccess) {
    (void)cudaGetLastError();
    return 0;
  }
  const size_t reserved = total / RESERVED_PART;
  return left > reserved ? left - reserved : 0;
}

tr_status cuda_copy(void *state, void *to, const void *from, size_t bytes, tr_copy_kind kind) {
  if (bytes == 0)
    return TR_OK;
  cuda_state *s = of(state);
  TR_CUDA_TRY(cudaSetDevice(s->ordinal));
  cudaMemcpyKind direction = kind == TR_COPY_UPLOAD     ? cudaMemcpyHostToDevice
                             : kind == TR_COPY_DOWNLOAD ? cudaMemcpyDeviceToHost
                                                        : cudaMemcpyDeviceToDevice;
  TR_CUDA_TRY(cudaMemcpyAsync(to, from, bytes, direction, s->stream));
  if (kind != TR_COPY_WITHIN)
    TR_CUDA_TRY(cudaStreamSynchronize(s->stream));
  return TR_OK;
}

tr_status cuda_zero(void *state, void *memory, size_t bytes) {
  cuda_state *s = of(state);
  if (bytes) {
    TR_CUDA_TRY(cudaSetDevice(s->ordinal));
    TR_CUDA_TRY(cudaMemsetAsync(memory, 0, bytes, s->stream));
  }
  return TR_OK;
}

tr_status launch_gather(cuda_state *s, void *to, const void *from, const uint32_t *device_rows, size_t count, size_t row_bytes) {
  unsigned blocks = (unsigned)(count < 65535 ? count : 65535);
  if (row_bytes % sizeof(uint4) == 0)
    TR_LAUNCH(gather_rows, blocks, 128, 0, s->stream, static_cast<const uint4 *>(from), device_rows, static_cast<uint4 *>(to),
              count, (unsigned)(row_bytes / sizeof(uint4)));
  else
    TR_LAUNCH(gather_words, blocks, 128, 0, s->stream, static_cast<const uint32_t *>(from), device_rows,
              static_cast<uint32_t *>(to), count, (unsigned)(row_bytes / sizeof(uint32_t)));
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

tr_status cuda_gather(void *state, void *to, const void *from, const uint32_t *rows, size_t count, size_t row_bytes) {
  if (count == 0 || row_bytes == 0)
    return TR_OK;
  if (row_bytes % sizeof(uint32_t))
    return tr_fail(TR_EINVAL, "gather: expected rows of whole words, found %zu bytes", row_bytes);
  cuda_state *s = of(state);
  void *device_rows;
  TR_TRY(cuda_alloc(state, count * sizeof *rows, &device_rows));
  tr_status status = cuda_copy(state, device_rows, rows, count * sizeof *rows, TR_COPY_UPLOAD);
  if (status == TR_OK)
    status = launch_gather(s, to, from, static_cast<const uint32_t *>(device_rows), count, row_bytes);
  cuda_free(state, device_rows); /* waits for the kernel */
  return status;
}

tr_status cuda_sync(void *state) {
  cuda_state *s = of(state);
  TR_CUDA_TRY(cudaSetDevice(s->ordinal));
  TR_CUDA_TRY(cudaStreamSynchronize(s->stream));
  return TR_OK;
}

/* From tick to tick: CUDA gives differences as float milliseconds, which are coarse over hours. */
tr_status cuda_clock(void *state, double *seconds) {
  cuda_state *s = of(state);
  float milliseconds;
  std::lock_guard<std::mutex> hold(s->clock_lock);
  const int last = s->tick, next = 1 - last;
  TR_CUDA_TRY(cudaSetDevice(s->ordinal));
  TR_CUDA_TRY(cudaEventRecord(s->ticks[next], s->stream));
  TR_CUDA_TRY(cudaEventSynchronize(s->ticks[next]));
  TR_CUDA_TRY(cudaEventElapsedTime(&milliseconds, s->ticks[last], s->ticks[next]));
  s->tick = next;
  *seconds = s->seconds += 1e-3 * (double)milliseconds;
  return TR_OK;
}

double megahertz(cudaDeviceAttr attribute, int ordinal) {
  int kilohertz = 0;
  if (cudaDeviceGetAttribute(&kilohertz, attribute, ordinal) != cudaSuccess || kilohertz <= 0) {
    (void)cudaGetLastError();
    return NAN;
  }
  return 1e-3 * kilohertz;
}

tr_frequencies cuda_frequencies(void *state) {
  const int ordinal = of(state)->ordinal;
  return {megahertz(cudaDevAttrClockRate, ordinal), megahertz(cudaDevAttrMemoryClockRate, ordinal)};
}

tr_status cuda_alloc_pinned(void *state, size_t bytes, void **out) {
  cuda_state *s = of(state);
  *out = nullptr;
  TR_CUDA_TRY(cudaSetDevice(s->ordinal));
  cudaError_t error = cudaHostAlloc(out, bytes, cudaHostAllocDefault);
  if (error == cudaSuccess)
    return TR_OK;
  (void)cudaGetLastError();
  char asked[32];
  return tr_fail(TR_ENOMEM, "allocating %s of page-locked host memory: %s", tr_format_bytes(bytes, asked, sizeof asked),
                 cudaGetErrorString(error));
}

void cuda_free_pinned(void *state, void *memory) {
  (void)cudaSetDevice(of(state)->ordinal);
  (void)cudaFreeHost(memory);
}

tr_status cuda_upload_queued(void *state, void *to, const void *from, size_t bytes) {
  cuda_state *s = of(state);
  TR_CUDA_TRY(cudaSetDevice(s->ordinal));
  if (bytes)
    TR_CUDA_TRY(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, s->uploads));
  return TR_OK;
}

/* A mark is an event. */
cudaEvent_t event_of(const tr_mark *mark) {
  return reinterpret_cast<cudaEvent_t>(const_cast<tr_mark *>(mark));
}

cudaStream_t stream_of(const cuda_state *s, tr_queue queue) {
  return queue == TR_QUEUE_UPLOADS ? s->uploads : s->stream;
}

tr_status cuda_mark_create(void *state, tr_mark **out) {
  cudaEvent_t event;
  TR_CUDA_TRY(cudaSetDevice(of(state)->ordinal));
  TR_CUDA_TRY(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  *out = reinterpret_cast<tr_mark *>(event);
  return TR_OK;
}

void cuda_mark_destroy(void *state, tr_mark *mark) {
  (void)cudaSetDevice(of(state)->ordinal);
  (void)cudaEventDestroy(event_of(mark));
}

tr_status cuda_mark_set(void *state, tr_mark *mark, tr_queue queue) {
  cuda_state *s = of(state);
  TR_CUDA_TRY(cudaSetDevice(s->ordinal));
  TR_CUDA_TRY(cudaEventRecord(event_of(mark), stream_of(s, queue)));
  return TR_OK;
}

tr_status cuda_mark_follow(void *state, const tr_mark *mark, tr_queue queue) {
  cuda_state *s = of(state);
  TR_CUDA_TRY(cudaSetDevice(s->ordinal));
  TR_CUDA_TRY(cudaStreamWaitEvent(stream_of(s, queue), event_of(mark), 0));
  return TR_OK;
}

tr_status cuda_mark_await(void *state, const tr_mark *mark) {
  TR_CUDA_TRY(cudaSetDevice(of(state)->ordinal));
  TR_CUDA_TRY(cudaEventSynchronize(event_of(mark)));
  return TR_OK;
}

int cuda_lanes(void *state, const tr_pool *pool) {
  (void)state;
  (void)pool;
  return 1;
}

size_t cuda_chunk(void *state) {
  (void)state;
  return CHUNK;
}

/* What fn queues, as an executable graph; NULL where it cannot be captured. */
cudaGraphExec_t capture(cuda_state *s, tr_record_fn fn, void *context) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  /* Thread-local: other threads may allocate meanwhile. */
  if (cudaStreamBeginCapture(s->stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess)
    return nullptr;
  const tr_status status = fn(context);
  if (cudaStreamEndCapture(s->stream, &graph) == cudaSuccess && status == TR_OK &&
      cudaGraphInstantiate(&executable, graph, 0) != cudaSuccess)
    executable = nullptr;
  if (graph)
    cudaGraphDestroy(graph);
  (void)cudaGetLastError();
  return executable;
}

tr_status cuda_replay(void *state, tr_recording **recording, tr_record_fn fn, void *context) {
  cuda_state *s = of(state);
  TR_CUDA_TRY(cudaSetDevice(s->ordinal));
  if (!*recording) {
    *recording = new (std::nothrow) tr_recording{};
    if (!*recording)
      return tr_fail(TR_ENOMEM, "recording calls of a GPU: out of memory");
    return fn(context);
  }
  tr_recording *r = *recording;
  if (!r->tried)
    r->executable = capture(s, fn, context);
  r->tried = true;
  if (!r->executable)
    return fn(context);
  TR_CUDA_TRY(cudaGraphLaunch(r->executable, s->stream));
  return TR_OK;
}

void cuda_forget(void *state, tr_recording *recording) {
  cuda_state *s = of(state);
  if (recording->executable) {
    (void)cudaSetDevice(s->ordinal);
    (void)cudaStreamSynchronize(s->stream); /* it may be running */
    cudaGraphExecDestroy(recording->executable);
  }
  delete recording;
}

} // namespace

tr_status tr_cuda_failed(cudaError_t error, const char *call) {
  (void)cudaGetLastError();
  return tr_fail(error == cudaErrorMemoryAllocation ? TR_ENOMEM : TR_EDEVICE, "%s: %s", call, cudaGetErrorString(error));
}

tr_status tr_cublas_failed(cublasStatus_t error, const char *call) {
  return tr_fail(error == CUBLAS_STATUS_ALLOC_FAILED ? TR_ENOMEM : TR_EDEVICE, "%s: %s", call, cublasGetStatusString(error));
}

tr_status tr_cudnn_failed(cudnnStatus_t error, const char *call) {
  char reason[512] = "";
  cudnnGetLastErrorString(reason, sizeof reason);
  return tr_fail(TR_EDEVICE, "%s: %s%s%s", call, cudnnGetErrorString(error), *reason ? ": " : "", reason);
}

static const tr_operators cuda_operators = {
    .resize = tr_cuda_resize,
    .conv_bytes = tr_cuda_conv_bytes,
    .conv_create = tr_cuda_conv_create,
    .conv_destroy = tr_cuda_conv_destroy,
    .conv_run = tr_cuda_conv_run,
    .pool = tr_cuda_pool,
    .affine = tr_cuda_affine,
    .aggregate_scratch = tr_cuda_aggregate_scratch,
    .aggregate = tr_cuda_aggregate,
    .project_bytes = tr_cuda_project_bytes,
    .project = tr_cuda_project,
    .coreset_scratch = tr_cuda_coreset_scratch,
    .coreset = tr_cuda_coreset,
    .proxies_scratch = tr_cuda_proxies_scratch,
    .proxies_step = tr_cuda_proxies_step,
    .nearest_scratch = tr_cuda_nearest_scratch,
    .nearest = tr_cuda_nearest,
    .nearest_sketch_bytes = tr_cuda_nearest_sketch_bytes,
    .nearest_sketch_scratch = tr_cuda_nearest_sketch_scratch,
    .nearest_sketch = tr_cuda_nearest_sketch,
    .squared_norms = tr_cuda_squared_norms,
    .ivf_scratch = tr_cuda_ivf_scratch,
    .ivf = tr_cuda_ivf,
    .reweight = tr_cuda_reweight,
    .upsample = tr_cuda_upsample,
    .mosaic = tr_cuda_mosaic,
    .smooth_scratch = tr_cuda_smooth_scratch,
    .smooth = tr_cuda_smooth,
    .sort_scan_scratch = tr_cuda_sort_scan_scratch,
    .sort_scan = tr_cuda_sort_scan,
    .channels_scratch = tr_cuda_channels_scratch,
    .channels = tr_cuda_channels,
    .gaussian_scratch = tr_cuda_gaussian_scratch,
    .gaussian_add = tr_cuda_gaussian_add,
    .gaussian_finish = tr_cuda_gaussian_finish,
    .gaussian_distance = tr_cuda_gaussian_distance,
};

extern "C" const tr_backend tr_cuda_backend = {
    .name = "cuda",
    .operators = &cuda_operators,
    .open = cuda_open,
    .close = cuda_close,
    .describe = cuda_describe,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .size = cuda_size,
    .free_bytes = cuda_free_bytes,
    .copy = cuda_copy,
    .zero = cuda_zero,
    .gather = cuda_gather,
    .sync = cuda_sync,
    .clock_name = "CUDA events",
    .clock = cuda_clock,
    .frequencies = cuda_frequencies,
    .lanes = cuda_lanes,
    .chunk = cuda_chunk,
    .alloc_pinned = cuda_alloc_pinned,
    .free_pinned = cuda_free_pinned,
    .upload_queued = cuda_upload_queued,
    .mark_create = cuda_mark_create,
    .mark_destroy = cuda_mark_destroy,
    .mark_set = cuda_mark_set,
    .mark_follow = cuda_mark_follow,
    .mark_await = cuda_mark_await,
    .replay = cuda_replay,
    .forget = cuda_forget,
};
