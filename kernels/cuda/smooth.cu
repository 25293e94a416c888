/* smooth on the GPU: down the columns into the scratch, then along the rows back. A block holds a tile of lines with their reflected
 * ends in shared memory, in double; lines lie side by side in both passes, so one loop serves both, and a thread makes four
 * neighbours of a line from a window that slides over it (two loads for four outputs and two taps). Sums are rounded and ordered as
 * the cpu twin's: the same bits.
 *
 * Limit: double precision. 64 maps of 224 x 224 at sigma 4 (a chunk): 3.2 M pixels x 2 axes x 50 additions and multiplications, none
 * fused; an H100 does 1.4e13 a second: 23 us, on GPUs with few double units (1/64 of the float rate) 0.5 ms. Memory is no limit:
 * 51 MB through the cache, 13 MB of them from and to memory, 4 us of 3.35 TB/s. Tiles and their ends add a third of loads and
 * barriers: 60 us expected for a chunk, bottle's 83 test images 80 us. Not measured on a GPU yet.
 */
#include "kernels/cuda/cuda.h"

namespace {

enum {
  THREADS = 512,
  AT_ONCE = 4,         /* outputs of a thread */
  LENGTH = 64,         /* outputs of a tile along the axis, at most */
  LINES = 32,          /* lines of a tile where the ends are short enough for 48 KiB of shared memory: */
  MOST_FOR_LINES = 60, /* radius; */
  FEW_LINES = 8,       /* else */
};

struct filter {
  double weights[TR_SMOOTH_MAX_RADIUS + 1];
  int radius;
};

/* One axis of maps [n, h, w]. */
struct axis {
  const float *from;
  float *to;
  int h, w;
  int lines, length; /* of a tile; length is a multiple of AT_ONCE */
};

size_t tile_bytes(const axis &a, int radius) {
  return (size_t)(a.length + 2 * radius) * (size_t)(a.lines + 1) * sizeof(double);
}

/* centre * w0 + sum of (left + right) * w from the outermost pair inwards; `step` doubles from one tap to the next. */
__device__ void filter_four(const filter &f, const double *centre, int step, float out[AT_ONCE]) {
  double sum[AT_ONCE], left[AT_ONCE], right[AT_ONCE];
  for (int k = 0; k < AT_ONCE; ++k) {
    sum[k] = __dmul_rn(f.weights[0], centre[k * step]);
    left[k] = centre[(k - f.radius) * step];
    right[k] = centre[(k + f.radius) * step];
  }
  TR_UNROLL(4)
  for (int i = f.radius; i > 0; --i) {
    for (int k = 0; k < AT_ONCE; ++k)
      sum[k] = __dadd_rn(sum[k], __dmul_rn(__dadd_rn(left[k], right[k]), f.weights[i]));
    for (int k = 0; k < AT_ONCE - 1; ++k) {
      left[k] = left[k + 1];
      right[AT_ONCE - 1 - k] = right[AT_ONCE - 2 - k];
    }
    left[AT_ONCE - 1] = centre[(AT_ONCE - i) * step];
    right[0] = centre[(i - 1) * step];
  }
  for (int k = 0; k < AT_ONCE; ++k)
    out[k] = (float)sum[k];
}

/* Grid: x covers the lines of all maps, y their length. Shared memory: tile [length + 2 * radius][lines + 1]; the odd pitch keeps
 * transposed stores off one another's banks. */
template <bool ROWS> __global__ void __launch_bounds__(THREADS) smooth_axis(axis a, filter f) {
  TR_DYNAMIC_SHARED(double, tile);
  const int along = ROWS ? a.w : a.h, across = ROWS ? a.h : a.w, pitch = a.lines + 1, span = a.length + 2 * f.radius;
  const unsigned map_blocks = (unsigned)(across + a.lines - 1) / (unsigned)a.lines;
  const size_t map = (size_t)(blockIdx.x / map_blocks) * a.h * a.w;
  const int first_line = (int)(blockIdx.x % map_blocks) * a.lines, first = (int)blockIdx.y * a.length;
  for (int e = (int)threadIdx.x; e < span * a.lines; e += THREADS) {
    /* Neighbouring threads read neighbouring floats. */
    const int l = ROWS ? e / span : e % a.lines, i = ROWS ? e % span : e / a.lines;
    if (first_line + l < across) {
      const int at = tr_smooth_reflect(first + i - f.radius, along);
      tile[i * pitch + l] = a.from[map + (ROWS ? (size_t)(first_line + l) * a.w + at : (size_t)at * a.w + first_line + l)];
    }
  }
  __syncthreads();
  const int line = (int)threadIdx.x % a.lines, start = (int)threadIdx.x / a.lines * AT_ONCE;
  const bool has_work = start < a.length && first_line + line < across;
  float out[AT_ONCE];
  if (has_work)
    filter_four(f, tile + (f.radius + start) * pitch + line, pitch, out);
  if (!ROWS) {
    for (int k = 0; has_work && k < AT_ONCE && first + start + k < along; ++k)
      a.to[map + (size_t)(first + start + k) * a.w + first_line + line] = out[k];
    return;
  }
  /* Turned once more, so that rows are written in whole lines. */
  float *turned = reinterpret_cast<float *>(tile);
  const int turned_pitch = a.length + 1;
  __syncthreads();
  for (int k = 0; has_work && k < AT_ONCE; ++k)
    turned[line * turned_pitch + start + k] = out[k];
  __syncthreads();
  for (int e = (int)threadIdx.x; e < a.lines * a.length; e += THREADS) {
    const int l = e / a.length, i = e % a.length;
    if (first_line + l < across && first + i < along)
      a.to[map + (size_t)(first_line + l) * a.w + first + i] = turned[l * turned_pitch + i];
  }
}

/* Tiles of even length, as few as LENGTH allows. */
dim3 cut(axis *a, int n, int along, int across, int radius) {
  const int tiles = (along + LENGTH - 1) / LENGTH;
  a->lines = radius <= MOST_FOR_LINES ? LINES : FEW_LINES;
  a->length = ((along + tiles - 1) / tiles + AT_ONCE - 1) / AT_ONCE * AT_ONCE;
  return dim3(tr_cuda_blocks((size_t)across, (unsigned)a->lines) * (unsigned)n,
              tr_cuda_blocks((size_t)along, (unsigned)a->length));
}

} // namespace

size_t tr_cuda_smooth_scratch(const tr_device *device, int n, int h, int w) {
  (void)device;
  return (size_t)n * (size_t)h * (size_t)w * sizeof(float);
}

tr_status tr_cuda_smooth(tr_device *device, const tr_smooth_args *args) {
  tr_cuda *cuda = tr_cuda_of(device);
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  filter f;
  f.radius = tr_smooth_weights(args->sigma, f.weights);
  if (f.radius == 0)
    return TR_OK;
  axis columns = {args->maps, static_cast<float *>(args->scratch), args->h, args->w, 0, 0};
  axis rows = {columns.to, args->maps, args->h, args->w, 0, 0};
  dim3 grid = cut(&columns, args->n, args->h, args->w, f.radius);
  TR_LAUNCH(smooth_axis<false>, grid, THREADS, tile_bytes(columns, f.radius), cuda->stream, columns, f);
  TR_CUDA_LAUNCHED();
  grid = cut(&rows, args->n, args->w, args->h, f.radius);
  TR_LAUNCH(smooth_axis<true>, grid, THREADS, tile_bytes(rows, f.radius), cuda->stream, rows, f);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}
