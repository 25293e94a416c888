/* Makes sketches: the centre from a sample of the bank, the scale from its largest value, then all rows.
 *
 * Limit: memory. Bottle's bank of 16,385 x 1,024 is read twice, 134 MB, and 34 MB are written: 50 us of an H100's 3.35 TB/s, 0.1
 * ms expected with the sample and five launches. Queries of 83 images, 65,072 x 1,024: 267 MB read and 133 MB written in blocks
 * that stay in the cache, 0.12 ms; a conversion to double of each value, 16 a clock and multiprocessor, takes as long. Not
 * measured on a GPU yet.
 */
#include "kernels/cuda/exact.h"
#include "kernels/cuda/sketch.h"

namespace {

enum {
  THREADS = 256,
  WARPS = THREADS / TR_WARP,
  SAMPLE = 2048,    /* rows that the centre is the mean of */
  SLICES = 32,      /* of the sample, summed side by side */
  LEAST_ROWS = 512, /* a smaller bank, or a smaller d, is searched as fast without */
  LEAST_D = 64,
};

const float HALF_MAX = 65504.0f;

/* Grid: x covers the columns, y the slices. Rows of the sample are spread evenly over the bank. */
__global__ void __launch_bounds__(THREADS)
    sum_columns(const float *bank, size_t rows, unsigned sample, unsigned d, double *sums) {
  const unsigned column = blockIdx.x * THREADS + threadIdx.x;
  if (column >= d)
    return;
  double sum = 0;
  TR_UNROLL(4)
  for (unsigned i = blockIdx.y; i < sample; i += SLICES)
    sum += (double)bank[(size_t)i * rows / sample * d + column];
  sums[blockIdx.y * (size_t)d + column] = sum;
}

__global__ void __launch_bounds__(THREADS) find_centre(const double *sums, unsigned sample, unsigned d, float *centre) {
  const unsigned column = blockIdx.x * THREADS + threadIdx.x;
  if (column >= d)
    return;
  double sum = 0;
  for (unsigned slice = 0; slice < SLICES; ++slice)
    sum += sums[slice * (size_t)d + column];
  centre[column] = (float)(sum / sample);
}

/* A block takes row after row; the largest of bits is the largest number. */
__global__ void __launch_bounds__(THREADS)
    find_largest(const float *bank, size_t rows, unsigned d, const float *centre, tr_cuda_sketch *header) {
  float largest = 0;
  for (size_t row = blockIdx.x; row < rows; row += gridDim.x)
    for (unsigned i = threadIdx.x; i < d; i += THREADS)
      largest = fmaxf(largest, fabsf(bank[row * d + i] - centre[i]));
  largest = tr_warp_max(largest);
  if (threadIdx.x % TR_WARP == 0)
    atomicMax(&header->largest_value, __float_as_uint(largest));
}

/* What a row's sketch leaves: for a query in double, for the bank as the search wants it. */
struct measures {
  double *norm2, *errors; /* NULL for the bank */
  float *half_norms;      /* NULL for queries */
  tr_cuda_sketch *header; /* whose largest values the bank's rows raise */
};

/* A warp a row. */
__global__ void __launch_bounds__(THREADS)
    sketch_rows(const float *rows, size_t n, unsigned d, const float *centre, const unsigned *largest_value, __half *values,
                unsigned pitch, measures out) {
  const unsigned lane = threadIdx.x % TR_WARP;
  const float scale = tr_cuda_sketch_scale(__uint_as_float(*largest_value));
  double largest_error = 0, largest_norm2 = 0;
  for (size_t row = (size_t)blockIdx.x * WARPS + threadIdx.x / TR_WARP; row < n; row += (size_t)gridDim.x * WARPS) {
    double norm2 = 0, error2 = 0;
    TR_UNROLL(4)
    for (unsigned i = lane; i < pitch; i += TR_WARP) {
      const float x = i < d ? rows[row * d + i] : 0.0f, m = i < d ? centre[i] : 0.0f;
      const __half z = __float2half(fminf(fmaxf((x - m) * scale, -HALF_MAX), HALF_MAX));
      const double value = (double)__half2float(z), lost = ((double)x - (double)m) * (double)scale - value;
      values[row * pitch + i] = z;
      norm2 += value * value;
      error2 += lost * lost;
    }
    norm2 = tr_warp_sum(norm2);
    const double error = sqrt(tr_warp_sum(error2));
    largest_norm2 = fmax(largest_norm2, norm2);
    largest_error = fmax(largest_error, error);
    if (lane == 0 && out.norm2) {
      out.norm2[row] = norm2;
      out.errors[row] = error;
    }
    if (lane == 0 && out.half_norms)
      out.half_norms[row] = (float)(norm2 / 2);
  }
  if (lane == 0 && out.header) {
    atomicMax(&out.header->largest_error, (unsigned long long)__double_as_longlong(largest_error));
    atomicMax(&out.header->largest_norm2, (unsigned long long)__double_as_longlong(largest_norm2));
  }
}

tr_status sketch_bank(const tr_cuda *cuda, const tr_cuda_sketch_arrays &a, const float *bank, size_t rows, unsigned d,
                      double *sums) {
  const unsigned sample = rows < SAMPLE ? (unsigned)rows : (unsigned)SAMPLE, columns = tr_cuda_blocks(d, THREADS);
  TR_LAUNCH(sum_columns, dim3(columns, SLICES), THREADS, 0, cuda->stream, bank, rows, sample, d, sums);
  TR_CUDA_LAUNCHED();
  TR_LAUNCH(find_centre, columns, THREADS, 0, cuda->stream, sums, sample, d, a.centre);
  TR_CUDA_LAUNCHED();
  TR_LAUNCH(find_largest, tr_cuda_loop_blocks(rows, 1), THREADS, 0, cuda->stream, bank, rows, d, a.centre, a.header);
  TR_CUDA_LAUNCHED();
  const measures out = {nullptr, nullptr, a.half_norms, a.header};
  TR_LAUNCH(sketch_rows, tr_cuda_loop_blocks(rows, WARPS), THREADS, 0, cuda->stream, bank, rows, d, a.centre,
            &a.header->largest_value, a.values, (unsigned)tr_cuda_sketch_pitch(d), out);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

} // namespace

tr_status tr_cuda_sketch_queries(const tr_cuda *cuda, const tr_cuda_sketch_arrays *sketch, const float *queries, size_t n, int d,
                                 __half *values, double *norm2, double *errors) {
  const measures out = {norm2, errors, nullptr, nullptr};
  TR_LAUNCH(sketch_rows, tr_cuda_loop_blocks(n, WARPS), THREADS, 0, cuda->stream, queries, n, (unsigned)d, sketch->centre,
            &sketch->header->largest_value, values, (unsigned)tr_cuda_sketch_pitch((size_t)d), out);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

size_t tr_cuda_nearest_sketch_bytes(const tr_device *device, size_t bank_rows, int d) {
  (void)device;
  if (bank_rows < LEAST_ROWS || d < LEAST_D)
    return 0;
  tr_sections s = TR_SECTIONS_COUNT;
  tr_cuda_sketch_lay_out(&s, bank_rows, (size_t)d);
  return s.used;
}

size_t tr_cuda_nearest_sketch_scratch(const tr_device *device, size_t bank_rows, int d) {
  return tr_cuda_nearest_sketch_bytes(device, bank_rows, d) ? SLICES * (size_t)d * sizeof(double) : 0;
}

tr_status tr_cuda_nearest_sketch(tr_device *device, const float *bank, size_t bank_rows, int d, void *sketch, void *scratch) {
  const tr_cuda *cuda = tr_cuda_of(device);
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  tr_sections s = tr_sections_of(sketch);
  const tr_cuda_sketch_arrays arrays = tr_cuda_sketch_lay_out(&s, bank_rows, (size_t)d);
  tr_cuda_sketch header = {};
  header.rows = bank_rows;
  header.d = (unsigned long long)d;
  TR_TRY(tr_device_upload(device, arrays.header, &header, sizeof header));
  return sketch_bank(cuda, arrays, bank, bank_rows, (unsigned)d, static_cast<double *>(scratch));
}
