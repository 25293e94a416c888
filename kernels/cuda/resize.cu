/* resize on the GPU: three kernels, for the tables of weights, the horizontal and the vertical pass. The first computes what the
 * cpu twin computes, with the same roundings (kernels/resize_plan.h); the passes are sums of integers: every byte is the cpu's, and
 * PIL's. The cropped part of the source alone is read.
 *
 * Limit: the source's way to the GPU, which is the caller's. A 900 x 900 RGB image (bottle) is 2.4 MB: 45 us over PCIe 5, after 15 ms
 * of decoding on one core of the host. The kernels read 1.9 MB, write and read 0.5 MB between the passes and write 0.6 MB: 1 us of an
 * H100's 3.35 TB/s, and 7 million multiplications; three launches of about 3 us each hide both. 292 images: 3 ms. Not measured on a
 * GPU yet.
 */
#include "kernels/cuda/cuda.h"

extern "C" {
#include "kernels/resize_plan.h"
}

namespace {

enum { THREADS = 256, ROWS = 4, MOST_GRID_ROWS = 65535 };

struct normalisation {
  float mean[3], std[3];
};

/* blockIdx.y: 0 the columns' table, 1 the rows'. An axis without resampling has none. */
__global__ void __launch_bounds__(THREADS) fill_tables(tr_resize_axis x, int first_column, tr_resize_table x_table,
                                                       tr_resize_axis y, int first_row, tr_resize_table y_table) {
  const int i = (int)(blockIdx.x * THREADS + threadIdx.x);
  if (blockIdx.y == 0 && x.taps && i < x.out)
    tr_resize_table_set(&x, first_column, &x_table, i);
  if (blockIdx.y == 1 && y.taps && i < y.out)
    tr_resize_table_set(&y, first_row, &y_table, i);
}

/* The rounded weights may add up to a little more than 1. */
__device__ uint8_t rounded(int32_t sum) {
  return (uint8_t)min(sum >> TR_RESIZE_BITS, 255);
}

/* A thread makes the same byte of ROWS rows, one below the other: a weight is read once for all. */
__global__ void __launch_bounds__(THREADS, 4) horizontal_pass(const uint8_t *src, size_t stride, int rows, tr_resize_table table,
                                                              int taps, int out, int channels, uint8_t *middle) {
  const int i = (int)(blockIdx.x * THREADS + threadIdx.x), bytes = out * channels;
  if (i >= bytes)
    return;
  const int pixel = i / channels, count = table.count[pixel];
  const int32_t *weights = table.weights + (size_t)pixel * taps;
  src += (size_t)table.first[pixel] * channels + i % channels;
  for (int row = (int)blockIdx.y * ROWS; row < rows; row += (int)gridDim.y * ROWS) {
    int32_t sums[ROWS];
    const uint8_t *from[ROWS];
    for (int r = 0; r < ROWS; ++r) {
      sums[r] = 1 << (TR_RESIZE_BITS - 1);
      from[r] = src + (size_t)min(row + r, rows - 1) * stride;
    }
    for (int t = 0; t < count; ++t) {
      const int32_t weight = __ldg(weights + t);
      for (int r = 0; r < ROWS; ++r)
        sums[r] += weight * __ldg(from[r] + (size_t)t * channels);
    }
    for (int r = 0; r < ROWS && row + r < rows; ++r)
      middle[(size_t)(row + r) * bytes + i] = rounded(sums[r]);
  }
}

/* A thread makes a byte of the result, and its normalised value. taps = 0: rows are taken as they are. */
__global__ void __launch_bounds__(THREADS)
    vertical_pass(const uint8_t *src, size_t stride, tr_resize_table table, int taps, int rows, int bytes, int channels,
                  normalisation to, uint8_t *dst_u8, float *dst) {
  const int i = (int)(blockIdx.x * THREADS + threadIdx.x);
  if (i >= bytes)
    return;
  const int channel = i % channels;
  const float mean = channel == 0 ? to.mean[0] : channel == 1 ? to.mean[1] : to.mean[2];
  const float std = channel == 0 ? to.std[0] : channel == 1 ? to.std[1] : to.std[2];
  for (int y = (int)blockIdx.y; y < rows; y += (int)gridDim.y) {
    uint8_t value;
    if (taps) {
      const int32_t *weights = table.weights + (size_t)y * taps;
      const uint8_t *from = src + (size_t)table.first[y] * stride + i;
      int32_t sum = 1 << (TR_RESIZE_BITS - 1);
      for (int t = 0, count = table.count[y]; t < count; ++t)
        sum += __ldg(weights + t) * __ldg(from + (size_t)t * stride);
      value = rounded(sum);
    } else
      value = src[(size_t)y * stride + i];
    const size_t at = (size_t)y * bytes + i;
    if (dst_u8)
      dst_u8[at] = value;
    if (dst) /* ToTensor and Normalize, as PyTorch computes them */
      dst[at] = __fdiv_rn(__fsub_rn(__fdiv_rn((float)value, 255.0f), mean), std);
  }
}

unsigned grid_rows(int rows) {
  return (unsigned)(rows < MOST_GRID_ROWS ? rows : MOST_GRID_ROWS);
}

} // namespace

tr_status tr_cuda_resize(tr_device *device, const tr_resize_args *args) {
  tr_cuda *cuda = tr_cuda_of(device);
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  tr_resize_plan plan;
  TR_TRY(tr_resize_plan_make(&args->spec, args->src_h, args->src_w, args->channels, &plan));
  uint8_t *scratch = static_cast<uint8_t *>(args->scratch), *middle = scratch + plan.middle;
  const tr_resize_table x_table = tr_resize_table_at(&plan.x, scratch + plan.x_table);
  const tr_resize_table y_table = tr_resize_table_at(&plan.y, scratch + plan.y_table);
  const int channels = args->channels, bytes = plan.x.out * channels, longest = plan.x.out > plan.y.out ? plan.x.out : plan.y.out;
  if (plan.x.taps || plan.y.taps) {
    TR_LAUNCH(fill_tables, dim3(tr_cuda_blocks((size_t)longest, THREADS), 2), THREADS, 0, cuda->stream, plan.x, plan.first_column,
              x_table, plan.y, plan.first_row, y_table);
    TR_CUDA_LAUNCHED();
  }
  size_t stride = (size_t)args->src_w * (size_t)channels;
  const uint8_t *src = args->src + (size_t)plan.first_row * stride + (size_t)plan.first_column * (size_t)channels;
  const unsigned columns = tr_cuda_blocks((size_t)bytes, THREADS);
  if (plan.x.taps) {
    TR_LAUNCH(horizontal_pass, dim3(columns, grid_rows((plan.rows + ROWS - 1) / ROWS)), THREADS, 0, cuda->stream, src, stride,
              plan.rows, x_table, plan.x.taps, plan.x.out, channels, middle);
    TR_CUDA_LAUNCHED();
    src = middle;
    stride = (size_t)bytes;
  }
  normalisation to;
  for (int c = 0; c < 3; ++c) {
    to.mean[c] = args->mean && c < channels ? args->mean[c] : 0.0f;
    to.std[c] = args->std && c < channels ? args->std[c] : 1.0f;
  }
  TR_LAUNCH(vertical_pass, dim3(columns, grid_rows(plan.y.out)), THREADS, 0, cuda->stream, src, stride, y_table, plan.y.taps,
            plan.y.out, bytes, channels, to, args->dst_u8, args->dst);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}
