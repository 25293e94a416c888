/* Depthwise convolution, and the last step of convolutions that cuDNN does not end itself.
 *
 * Depthwise: a thread makes four neighbouring output pixels of four channels, so that weights are read once for four sums, and each
 * source value of a row once for all the windows it is in. Bound by memory: EfficientNet-Lite0's largest, 64 x 112 x 112 x 96
 * to 56 x 56, reads 308 MB and writes 77 MB, 0.12 ms of an H100's 3.35 TB/s; its 9 multiply-adds a value are 1.4 GFLOP of 67 TFLOP/s.
 * (cuDNN 9.19 offers its slow engine alone for padding that differs before and after.)
 * Finish: reads one or two values and writes one. Not measured on a GPU yet.
 */
#include "kernels/cuda/conv_parts.h"
#include "kernels/cuda/vector.h"

namespace {

enum { THREADS = 128, PIXELS = 4 };

__device__ inline float activate(tr_activation activation, float value) {
  if (activation != TR_ACT_NONE)
    value = value > 0.0f ? value : 0.0f;
  return activation == TR_ACT_RELU6 && value > 6.0f ? 6.0f : value;
}

struct depthwise_args {
  tr_conv_desc desc;
  int out_h, out_w;
  unsigned rows; /* output rows of all images */
  const float *src, *weights, *bias, *residual;
  float *dst;
};

/* Sums of PIXELS windows, the first of which starts at (top, left) of the source; later windows start STRIDE to the right.
 * K, S: width of the kernel and stride where they are known, else 0. */
template <int V, int K, int S>
__device__ void sum_windows(const depthwise_args &a, const float *src, int top, int left, unsigned channel,
                            tr_vector<V> sums[PIXELS]) {
  const tr_conv_desc &d = a.desc;
  const int width = K ? K : d.kernel_w, stride = S ? S : d.stride;
  for (int i = 0; i < d.kernel_h; ++i) {
    const int y = top + i;
    if (y < 0 || y >= d.in_h)
      continue;
    const float *row = src + (size_t)y * d.in_w * d.src_pixel_stride;
    const float *weights = a.weights + (size_t)i * width * d.in_channels + channel;
    if constexpr (K != 0 && S != 0) {
      tr_vector<V> w[K];
      for (int j = 0; j < K; ++j)
        w[j] = tr_load<V>(weights + (size_t)j * d.in_channels);
      for (int column = 0; column < (PIXELS - 1) * S + K; ++column) {
        const int x = left + column;
        if (x < 0 || x >= d.in_w)
          continue;
        const tr_vector<V> cell = tr_load<V>(row + (size_t)x * d.src_pixel_stride);
        for (int p = 0; p < PIXELS; ++p)
          if (column - p * S >= 0 && column - p * S < K)
            for (int v = 0; v < V; ++v)
              sums[p].value[v] += cell.value[v] * w[column - p * S].value[v];
      }
    } else
      for (int j = 0; j < width; ++j) {
        const tr_vector<V> w = tr_load<V>(weights + (size_t)j * d.in_channels);
        for (int p = 0; p < PIXELS; ++p) {
          const int x = left + p * stride + j;
          if (x < 0 || x >= d.in_w)
            continue;
          const tr_vector<V> cell = tr_load<V>(row + (size_t)x * d.src_pixel_stride);
          for (int v = 0; v < V; ++v)
            sums[p].value[v] += cell.value[v] * w.value[v];
        }
      }
  }
}

/* Grid: x covers a row's groups of PIXELS pixels times the vectors of a pixel, y the rows of all images. */
template <int V, int K, int S> __global__ void __launch_bounds__(THREADS) depthwise(depthwise_args a) {
  const tr_conv_desc &d = a.desc;
  const unsigned vectors = (unsigned)d.in_channels / V, at = blockIdx.x * THREADS + threadIdx.x;
  const unsigned channel = at % vectors * V, first = at / vectors * PIXELS;
  if (first >= (unsigned)a.out_w)
    return;
  const tr_vector<V> bias = tr_load<V>(a.bias + channel);
  for (unsigned row = blockIdx.y; row < a.rows; row += gridDim.y) {
    const unsigned image = row / (unsigned)a.out_h, y = row % (unsigned)a.out_h;
    tr_vector<V> sums[PIXELS] = {};
    sum_windows<V, K, S>(a, a.src + (size_t)image * d.in_h * d.in_w * d.src_pixel_stride + channel, (int)y * d.stride - d.pad_top,
                         (int)first * d.stride - d.pad_left, channel, sums);
    for (unsigned p = 0; p < PIXELS && first + p < (unsigned)a.out_w; ++p) {
      const size_t pixel = (size_t)row * a.out_w + first + p;
      for (int v = 0; v < V; ++v)
        sums[p].value[v] += bias.value[v];
      if (a.residual) {
        const tr_vector<V> residual = tr_load<V>(a.residual + pixel * d.out_channels + channel);
        for (int v = 0; v < V; ++v)
          sums[p].value[v] += residual.value[v];
      }
      for (int v = 0; v < V; ++v)
        sums[p].value[v] = activate(d.activation, sums[p].value[v]);
      tr_store<V>(a.dst + pixel * d.dst_pixel_stride + channel, sums[p]);
    }
  }
}

template <int V> void launch_depthwise(const depthwise_args &a, dim3 grid, cudaStream_t stream) {
  const tr_conv_desc &d = a.desc;
  if (d.kernel_w == 3 && d.stride == 1)
    TR_LAUNCH((depthwise<V, 3, 1>), grid, THREADS, 0, stream, a);
  else if (d.kernel_w == 3 && d.stride == 2)
    TR_LAUNCH((depthwise<V, 3, 2>), grid, THREADS, 0, stream, a);
  else if (d.kernel_w == 5 && d.stride == 1)
    TR_LAUNCH((depthwise<V, 5, 1>), grid, THREADS, 0, stream, a);
  else if (d.kernel_w == 5 && d.stride == 2)
    TR_LAUNCH((depthwise<V, 5, 2>), grid, THREADS, 0, stream, a);
  else
    TR_LAUNCH((depthwise<V, 0, 0>), grid, THREADS, 0, stream, a);
}

template <int V> __global__ void __launch_bounds__(THREADS) finish(tr_finish_args a) {
  const unsigned vectors = (unsigned)a.channels / V;
  const size_t count = a.pixels * vectors;
  for (size_t at = (size_t)blockIdx.x * THREADS + threadIdx.x; at < count; at += (size_t)gridDim.x * THREADS) {
    const size_t pixel = at / vectors, channel = at % vectors * V;
    tr_vector<V> sum = tr_load<V>(a.src + pixel * a.src_pixel_stride + channel);
    if (a.residual) {
      const tr_vector<V> residual = tr_load<V>(a.residual + pixel * a.channels + channel);
      for (int v = 0; v < V; ++v)
        sum.value[v] += residual.value[v];
    }
    for (int v = 0; v < V; ++v)
      sum.value[v] = activate(a.activation, sum.value[v]);
    tr_store<V>(a.dst + pixel * a.dst_pixel_stride + channel, sum);
  }
}

} // namespace

tr_status tr_depthwise_run(tr_cuda *cuda, const tr_conv_desc *desc, const float *weights, const float *bias,
                           const tr_conv_args *args) {
  depthwise_args a = {};
  a.desc = *desc;
  tr_conv_shape(desc, &a.out_h, &a.out_w);
  a.rows = (unsigned)args->n * (unsigned)a.out_h;
  a.src = args->src;
  a.weights = weights;
  a.bias = bias;
  a.residual = args->residual;
  a.dst = args->dst;
  const int channels = desc->in_channels;
  const bool fours = tr_by_fours(channels, desc->src_pixel_stride, args->src) &&
                     tr_by_fours(channels, desc->dst_pixel_stride, args->dst) && tr_by_fours(channels, channels, args->residual);
  const size_t per_row = (size_t)((a.out_w + PIXELS - 1) / PIXELS) * (size_t)(channels / (fours ? 4 : 1));
  const dim3 grid(tr_cuda_blocks(per_row, THREADS), a.rows < 65535 ? a.rows : 65535);
  if (fours)
    launch_depthwise<4>(a, grid, cuda->stream);
  else
    launch_depthwise<1>(a, grid, cuda->stream);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

tr_status tr_finish_run(tr_cuda *cuda, const tr_finish_args *args) {
  const bool fours = tr_by_fours(args->channels, args->src_pixel_stride, args->src) &&
                     tr_by_fours(args->channels, args->dst_pixel_stride, args->dst) &&
                     tr_by_fours(args->channels, args->channels, args->residual);
  const size_t blocks = (args->pixels * (size_t)(args->channels / (fours ? 4 : 1)) + THREADS - 1) / THREADS;
  const size_t most = (size_t)cuda->multiprocessors * 64;
  const unsigned grid = (unsigned)(blocks < most ? blocks : most);
  if (fours)
    TR_LAUNCH(finish<4>, grid, THREADS, 0, cuda->stream, *args);
  else
    TR_LAUNCH(finish<1>, grid, THREADS, 0, cuda->stream, *args);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}
