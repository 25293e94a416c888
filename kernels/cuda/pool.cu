/* pool and affine on the GPU. A thread makes four channels of an output pixel (one where a view is not aligned to 16 bytes), its
 * neighbours the next channels, so that every access of a warp is whole lines. Sums, roundings and their order are the cpu
 * twin's: the results are the same bits.
 *
 * Bound by memory: each value is read once from memory (the overlap of windows is found in the cache) and written once. Max
 * pooling after conv1, 64 x 112 x 112 x 64 floats: 205 MB read, 51 MB written, 77 us of an H100's 3.35 TB/s for a chunk of 64
 * images; affine on DenseNet-201's largest map, 56 x 56 x 256: 0.41 GB, 0.12 ms a chunk. Not measured on a GPU yet.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/vector.h"

namespace {

enum { THREADS = 256 };

struct window {
  int top, left, bottom, right; /* cells of the source, clipped; bottom and right are exclusive */
};

__device__ window window_at(const tr_pool_args &a, int y, int x) {
  int top = y * a.stride - a.pad, left = x * a.stride - a.pad;
  return {max(top, 0), max(left, 0), min(top + a.kernel, a.in_h), min(left + a.kernel, a.in_w)};
}

template <int V> __device__ tr_vector<V> cell_at(const tr_pool_args &a, const float *src, int y, int x) {
  return tr_load<V>(src + ((size_t)y * a.in_w + x) * a.src_pixel_stride);
}

template <int V> __device__ tr_vector<V> window_max(const tr_pool_args &a, const float *src, window w) {
  tr_vector<V> most;
  for (int i = 0; i < V; ++i)
    most.value[i] = -INFINITY;
  for (int y = w.top; y < w.bottom; ++y)
    for (int x = w.left; x < w.right; ++x) {
      const tr_vector<V> cell = cell_at<V>(a, src, y, x);
      for (int i = 0; i < V; ++i)
        most.value[i] = cell.value[i] > most.value[i] ? cell.value[i] : most.value[i];
    }
  return most;
}

template <int V> __device__ tr_vector<V> window_average(const tr_pool_args &a, const float *src, window w) {
  const float share = 1.0f / (float)((w.bottom - w.top) * (w.right - w.left));
  tr_vector<V> sum = {};
  for (int y = w.top; y < w.bottom; ++y)
    for (int x = w.left; x < w.right; ++x) {
      const tr_vector<V> cell = cell_at<V>(a, src, y, x);
      for (int i = 0; i < V; ++i)
        sum.value[i] += cell.value[i];
    }
  for (int i = 0; i < V; ++i)
    sum.value[i] *= share;
  return sum;
}

/* In double: the sum runs over up to thousands of cells. */
template <int V> __device__ tr_vector<V> map_average(const tr_pool_args &a, const float *src) {
  double sum[V] = {0};
  for (int y = 0; y < a.in_h; ++y)
    for (int x = 0; x < a.in_w; ++x) {
      const tr_vector<V> cell = cell_at<V>(a, src, y, x);
      for (int i = 0; i < V; ++i)
        sum[i] += (double)cell.value[i];
    }
  tr_vector<V> mean;
  for (int i = 0; i < V; ++i)
    mean.value[i] = (float)(sum[i] / ((double)a.in_h * a.in_w));
  return mean;
}

/* Grid: x covers the output pixels of a row times the vectors of a pixel, y the rows of all images. */
template <int V, tr_pool_kind KIND>
__global__ void __launch_bounds__(THREADS, 3) pool_rows(tr_pool_args a, int out_h, int out_w) {
  const unsigned vectors = (unsigned)a.channels / V, at = blockIdx.x * THREADS + threadIdx.x;
  const unsigned x = at / vectors, c = at % vectors * V;
  if (x >= (unsigned)out_w)
    return;
  for (unsigned row = blockIdx.y; row < (unsigned)(a.n * out_h); row += gridDim.y) {
    const unsigned image = row / (unsigned)out_h, y = row % (unsigned)out_h;
    const float *src = a.src + (size_t)image * a.in_h * a.in_w * a.src_pixel_stride + c;
    float *dst = a.dst + ((size_t)row * out_w + x) * a.dst_pixel_stride + c;
    if constexpr (KIND == TR_POOL_GLOBAL_AVERAGE)
      tr_store<V>(dst, map_average<V>(a, src));
    else if constexpr (KIND == TR_POOL_AVERAGE)
      tr_store<V>(dst, window_average<V>(a, src, window_at(a, (int)y, (int)x)));
    else
      tr_store<V>(dst, window_max<V>(a, src, window_at(a, (int)y, (int)x)));
  }
}

template <int V> void launch_pool(const tr_pool_args &a, dim3 grid, cudaStream_t stream, int out_h, int out_w) {
  switch (a.kind) {
  case TR_POOL_MAX:
    TR_LAUNCH((pool_rows<V, TR_POOL_MAX>), grid, THREADS, 0, stream, a, out_h, out_w);
    return;
  case TR_POOL_AVERAGE:
    TR_LAUNCH((pool_rows<V, TR_POOL_AVERAGE>), grid, THREADS, 0, stream, a, out_h, out_w);
    return;
  case TR_POOL_GLOBAL_AVERAGE:
    TR_LAUNCH((pool_rows<V, TR_POOL_GLOBAL_AVERAGE>), grid, THREADS, 0, stream, a, out_h, out_w);
    return;
  }
}

template <int V>
__global__ void __launch_bounds__(THREADS) affine_pixels(tr_affine_args a, size_t pixels, float low, float high) {
  const unsigned vectors = (unsigned)a.channels / V, per_block = THREADS / min(vectors, (unsigned)THREADS);
  const unsigned lane = threadIdx.x / min(vectors, (unsigned)THREADS);
  if (lane >= per_block)
    return;
  for (unsigned v = threadIdx.x % min(vectors, (unsigned)THREADS); v < vectors; v += THREADS) {
    const tr_vector<V> scale = tr_load<V>(a.scale + v * V), shift = tr_load<V>(a.shift + v * V);
    for (size_t pixel = (size_t)blockIdx.x * per_block + lane; pixel < pixels; pixel += (size_t)gridDim.x * per_block) {
      tr_vector<V> cell = tr_load<V>(a.src + pixel * a.src_pixel_stride + v * V);
      for (int i = 0; i < V; ++i) {
        float value = __fadd_rn(__fmul_rn(cell.value[i], scale.value[i]), shift.value[i]);
        value = value > low ? value : low;
        cell.value[i] = value < high ? value : high;
      }
      tr_store<V>(a.dst + pixel * a.dst_pixel_stride + v * V, cell);
    }
  }
}

} // namespace

tr_status tr_cuda_pool(tr_device *device, const tr_pool_args *args) {
  tr_cuda *cuda = tr_cuda_of(device);
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  int out_h, out_w;
  tr_pool_shape(args, &out_h, &out_w);
  const bool fours = tr_by_fours(args->channels, args->src_pixel_stride, args->src) &&
                     tr_by_fours(args->channels, args->dst_pixel_stride, args->dst);
  const size_t per_row = (size_t)out_w * (size_t)(args->channels / (fours ? 4 : 1)), rows = (size_t)args->n * (size_t)out_h;
  const dim3 grid(tr_cuda_blocks(per_row, THREADS), (unsigned)(rows < 65535 ? rows : 65535));
  if (fours)
    launch_pool<4>(*args, grid, cuda->stream, out_h, out_w);
  else
    launch_pool<1>(*args, grid, cuda->stream, out_h, out_w);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

tr_status tr_cuda_affine(tr_device *device, const tr_affine_args *args) {
  tr_cuda *cuda = tr_cuda_of(device);
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  const float low = args->activation == TR_ACT_NONE ? -INFINITY : 0.0f, high = args->activation == TR_ACT_RELU6 ? 6.0f : INFINITY;
  const size_t pixels = (size_t)args->n * (size_t)args->h * (size_t)args->w;
  const bool fours = tr_by_fours(args->channels, args->src_pixel_stride, args->src) &&
                     tr_by_fours(args->channels, args->dst_pixel_stride, args->dst) &&
                     tr_by_fours(args->channels, args->channels, args->scale) &&
                     tr_by_fours(args->channels, args->channels, args->shift);
  const size_t vectors = (size_t)(args->channels / (fours ? 4 : 1)), per_block = vectors < THREADS ? THREADS / vectors : 1;
  /* A thread keeps its scale and shift for about eight pixels. */
  const size_t wanted = (pixels + 8 * per_block - 1) / (8 * per_block), most = (size_t)cuda->multiprocessors * 32;
  const unsigned grid = (unsigned)(wanted < most ? wanted : most);
  if (fours)
    TR_LAUNCH(affine_pixels<4>, grid, THREADS, 0, cuda->stream, *args, pixels, low, high);
  else
    TR_LAUNCH(affine_pixels<1>, grid, THREADS, 0, cuda->stream, *args, pixels, low, high);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}
