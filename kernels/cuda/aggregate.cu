/* aggregate on the GPU: each layer is windowed and pooled on its own grid, the first one into dst, the deeper ones into the scratch, from
 * where a second kernel resizes them. Pooling first means that only the outputs are resized and not c * p * p values.
 *
 * A layer's linear map (kernels/aggregate_plan.h) is first written down as a table, by the GPU: for each output its channels, and for
 * each of those one weight, or p * p where the window's weights differ. Then a thread makes RUN neighbouring windows of one
 * output: it reads a row of RUN + p - 1 values of a channel once for all of them. Neighbouring threads make neighbouring outputs, which
 * take from neighbouring channels, so every access of a warp is whole lines; outputs go fastest through the grid, so the blocks that
 * run at one time read whole rows of a map, and windows that overlap find one another's values in the cache: a map is read once
 * from memory. Whatever the dimensions, the same loops serve. Sums go row by row in float; an output does not depend on the number
 * of images.
 *
 * Limit: memory, up to p = 5. Layers 2+3 of ResNet-50 at 224 px: 2.4 MB read and 3.2 MB written an image, 0.4 MB more out and in for the
 * pooled deeper layer where the cache does not hold it: 1.7 us of an H100's 3.35 TB/s, a chunk of 64 images 0.11 ms, bottle (209
 * training, 83 test images) 0.5 ms. Additions and multiplications: 5.4 million an image at p = 3, 49 million at p = 9 (with the loads
 * that feed them 3 us). Separable sums would take a third of that at p = 9, but windows of layer 2 count their centre twice, and the
 * backbone takes a hundred times as long. Not measured on a GPU yet.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/vector.h"

extern "C" {
#include "kernels/aggregate_plan.h"
}

namespace {

enum { LANES = 32, WARPS = 8, THREADS = LANES * WARPS, RUN = 7 /* divides 14, 28 and 56 */, LINE = 256 };
constexpr size_t MOST_GRID = 65535;

/* Arrays are [.., outputs]: neighbouring threads read neighbouring words. */
struct table {
  int *first, *count; /* channels of an output */
  float *whole;       /* [depth, outputs]: the weight of a window whose weights are equal, else 0 */
  float *weights;     /* [depth, p * p, outputs] of all others */
};

struct layer_task {
  tr_aggregate_layer layer;
  int patch, stride, outputs, n;
  const float *map;
  float *to;      /* output 0 of the first window */
  size_t to_step; /* floats from window to window */
  table t;
};

/* ---- the table ---- */

/* Most channels that an output of the layer takes from. */
int depth_of(const tr_aggregate_spec *spec, int layer) {
  const tr_aggregate_layer shape = tr_aggregate_layer_of(spec, layer);
  int most = 0;
  for (int output = shape.first; output < shape.end; ++output) {
    int first, end;
    tr_aggregate_channels(spec, layer, output, &first, &end);
    most = end - first > most ? end - first : most;
  }
  return most;
}

size_t rounded(size_t bytes) {
  return (bytes + LINE - 1) / LINE * LINE;
}

/* The table in memory at `at`; its size when that is NULL. */
size_t table_at(const tr_aggregate_spec *spec, int layer, char *at, table *t) {
  const tr_aggregate_layer shape = tr_aggregate_layer_of(spec, layer);
  const size_t outputs = (size_t)(shape.end - shape.first), depth = (size_t)depth_of(spec, layer),
               taps = (size_t)tr_window_values(spec);
  const size_t list = rounded(outputs * sizeof(int)), whole = rounded(depth * outputs * sizeof(float));
  if (at)
    *t = {reinterpret_cast<int *>(at), reinterpret_cast<int *>(at + list), reinterpret_cast<float *>(at + 2 * list),
          reinterpret_cast<float *>(at + 2 * list + whole)};
  return 2 * list + whole + rounded(depth * taps * outputs * sizeof(float));
}

/* Grid: x covers the outputs, y the taps, z the channels of an output. */
__global__ void __launch_bounds__(LANES) fill_table(tr_aggregate_spec spec, int layer, int first_output, int outputs, table t) {
  const int output = (int)(blockIdx.x * LANES + threadIdx.x), tap = (int)blockIdx.y;
  if (output >= outputs)
    return;
  int first, end;
  tr_aggregate_channels(&spec, layer, first_output + output, &first, &end);
  for (int k = (int)blockIdx.z; k < end - first; k += (int)gridDim.z) {
    bool even;
    const float weight = (float)tr_aggregate_weight(&spec, layer, first_output + output, first + k, tap, &even);
    t.weights[((size_t)k * gridDim.y + tap) * outputs + output] = weight;
    if (tap == 0)
      t.whole[(size_t)k * outputs + output] = even ? weight : 0.0f;
  }
  if (tap == 0 && blockIdx.z == 0) {
    t.first[output] = first;
    t.count[output] = end - first;
  }
}

/* ---- windows and pooling ---- */

/* Adds what RUN windows, from (y, x) of the grid on, take from one row `dy` of their cells. weights: of the row's taps, `outputs` floats
 * apart; EVEN: all are 1. */
template <int P, bool EVEN>
__device__ void add_row(const layer_task &a, const float *channel, int y, int x, int dy, const float *weights, float total[RUN]) {
  const int row = y * a.stride + dy - a.patch / 2, before = a.patch / 2;
  if (row < 0 || row >= a.layer.h)
    return;
  const float *cells = channel + (size_t)row * a.layer.w * a.layer.c;
  float sum[RUN] = {0};
  if constexpr (P > 0) { /* stride 1: the windows' cells overlap */
    float cell[RUN + P - 1];
    const float *from = cells + (ptrdiff_t)(x - P / 2) * a.layer.c;
    for (int i = 0; i < RUN + P - 1; ++i) {
      const int at = x - P / 2 + i;
      cell[i] = at >= 0 && at < a.layer.w ? __ldg(from + i * a.layer.c) : 0.0f;
    }
    for (int dx = 0; dx < P; ++dx) {
      const float weight = EVEN ? 1.0f : __ldg(weights + (size_t)dx * a.outputs);
      for (int r = 0; r < RUN; ++r)
        sum[r] += EVEN ? cell[r + dx] : weight * cell[r + dx];
    }
  } else
    for (int dx = 0; dx < a.patch; ++dx) {
      const float weight = EVEN ? 1.0f : __ldg(weights + (size_t)dx * a.outputs);
      for (int r = 0; r < RUN; ++r) {
        const int at = (x + r) * a.stride + dx - before;
        const float cell = at >= 0 && at < a.layer.w ? __ldg(cells + (size_t)at * a.layer.c) : 0.0f;
        sum[r] += EVEN ? cell : weight * cell;
      }
    }
  for (int r = 0; r < RUN; ++r)
    total[r] += sum[r];
}

/* Windows (y, x) to (y, x + RUN - 1) of one output and image. P: the patch where the stride is 1; 0: any. */
template <int P>
__device__ void pool_run(const layer_task &a, const float *map, int output, int first, int count, int y, int x, float out[RUN]) {
  const int patch = P > 0 ? P : a.patch;
  for (int r = 0; r < RUN; ++r)
    out[r] = 0.0f;
  TR_UNROLL(1)
  for (int k = 0; k < count; ++k) {
    const float whole = __ldg(a.t.whole + (size_t)k * a.outputs + output), *channel = map + first + k;
    float total[RUN] = {0};
    if (whole != 0.0f) {
      TR_UNROLL(1)
      for (int dy = 0; dy < patch; ++dy)
        add_row<P, true>(a, channel, y, x, dy, nullptr, total);
    } else {
      const float *weights = a.t.weights + (size_t)k * patch * patch * a.outputs + output;
      TR_UNROLL(1)
      for (int dy = 0; dy < patch; ++dy)
        add_row<P, false>(a, channel, y, x, dy, weights + (size_t)dy * patch * a.outputs, total);
    }
    for (int r = 0; r < RUN; ++r)
      out[r] += whole != 0.0f ? whole * total[r] : total[r];
  }
}

/* Grid: x covers the outputs, y the runs of windows of an image, z the images. */
template <int P> __global__ void __launch_bounds__(THREADS, P > 9 ? 2 : 3) pool_windows(layer_task a) {
  const int output = (int)(blockIdx.x * LANES + threadIdx.x);
  if (output >= a.outputs)
    return;
  const int first = a.t.first[output], count = a.t.count[output];
  const unsigned row_runs = (unsigned)(a.layer.grid_w + RUN - 1) / RUN, runs = (unsigned)a.layer.grid_h * row_runs;
  for (int image = (int)blockIdx.z; image < a.n; image += (int)gridDim.z)
    for (unsigned run = blockIdx.y * WARPS + threadIdx.y; run < runs; run += gridDim.y * WARPS) {
      const int y = (int)(run / row_runs), x = (int)(run % row_runs) * RUN;
      float out[RUN];
      pool_run<P>(a, a.map + (size_t)image * a.layer.h * a.layer.w * a.layer.c, output, first, count, y, x, out);
      const size_t window = ((size_t)image * a.layer.grid_h + y) * a.layer.grid_w + x;
      for (int r = 0; r < RUN && x + r < a.layer.grid_w; ++r)
        a.to[(window + r) * a.to_step + output] = out[r];
    }
}

/* ---- resize of a deeper layer's outputs ---- */

/* Output cell i lies between cells `low` and `high`: bilinear, align_corners=False. In integers: position = ((2 i + 1) from - to) / 2 to. */
struct between {
  int low, high;
  float low_weight, high_weight;
};

__device__ between place(int i, int from, int to) {
  const unsigned above = (2u * (unsigned)i + 1u) * (unsigned)from, twice = 2u * (unsigned)to;
  const unsigned position = above > (unsigned)to ? above - (unsigned)to : 0u, low = position / twice, share = position % twice;
  return {(int)low, min((int)low + 1, from - 1), (float)(twice - share) / (float)twice, (float)share / (float)twice};
}

struct resize_task {
  const float *pooled; /* [n, from_h, from_w, outputs] */
  float *to;           /* the layer's first output of the first patch of dst */
  size_t dimension;
  int n, from_h, from_w, to_h, to_w, outputs;
  int shared; /* leading outputs that an earlier layer has written: added to */
};

/* Grid: x covers the patches of a row times the vectors of V outputs, y the rows, z the images. */
template <int V> __global__ void __launch_bounds__(THREADS) resize_outputs(resize_task a) {
  const unsigned vectors = (unsigned)a.outputs / V, at = blockIdx.x * THREADS + threadIdx.x;
  const int x = (int)(at / vectors), output = (int)(at % vectors) * V;
  if (x >= a.to_w)
    return;
  const between v = place((int)blockIdx.y, a.from_h, a.to_h), h = place(x, a.from_w, a.to_w);
  const float wa = v.low_weight * h.low_weight, wb = v.low_weight * h.high_weight, wc = v.high_weight * h.low_weight,
              wd = v.high_weight * h.high_weight;
  for (int image = (int)blockIdx.z; image < a.n; image += (int)gridDim.z) {
    const float *low = a.pooled + ((size_t)image * a.from_h + v.low) * a.from_w * a.outputs + output;
    const float *high = a.pooled + ((size_t)image * a.from_h + v.high) * a.from_w * a.outputs + output;
    const tr_vector<V> aa = tr_load<V>(low + (size_t)h.low * a.outputs), bb = tr_load<V>(low + (size_t)h.high * a.outputs);
    const tr_vector<V> cc = tr_load<V>(high + (size_t)h.low * a.outputs), dd = tr_load<V>(high + (size_t)h.high * a.outputs);
    float *to = a.to + (((size_t)image * a.to_h + blockIdx.y) * a.to_w + x) * a.dimension + output;
    tr_vector<V> out;
    for (int i = 0; i < V; ++i) {
      out.value[i] = (wa * aa.value[i] + wb * bb.value[i]) + (wc * cc.value[i] + wd * dd.value[i]);
      if (output + i < a.shared)
        out.value[i] += to[i];
    }
    tr_store(to, out);
  }
}

/* ---- launches ---- */

unsigned grid_of(size_t n) {
  return (unsigned)(n < MOST_GRID ? n : MOST_GRID);
}

tr_status launch_table(tr_cuda *cuda, const tr_aggregate_spec *spec, int layer, const layer_task *a) {
  const dim3 grid(tr_cuda_blocks((size_t)a->outputs, LANES), (unsigned)tr_window_values(spec),
                  grid_of((size_t)depth_of(spec, layer)));
  TR_LAUNCH(fill_table, grid, LANES, 0, cuda->stream, *spec, layer, a->layer.first, a->outputs, a->t);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

typedef void (*pool_kernel)(layer_task);

pool_kernel pool_kernel_of(const tr_aggregate_spec *spec) {
  static const pool_kernel of_patch[] = {pool_windows<1>, pool_windows<3>,  pool_windows<5>,  pool_windows<7>,
                                         pool_windows<9>, pool_windows<11>, pool_windows<13>, pool_windows<15>};
  return spec->stride == 1 ? of_patch[spec->patch / 2] : pool_windows<0>;
}

tr_status launch_pool(tr_cuda *cuda, const tr_aggregate_spec *spec, const layer_task *a) {
  const size_t runs = (size_t)a->layer.grid_h * (size_t)((a->layer.grid_w + RUN - 1) / RUN);
  const dim3 grid(tr_cuda_blocks((size_t)a->outputs, LANES), grid_of((runs + WARPS - 1) / WARPS), grid_of((size_t)a->n));
  const pool_kernel kernel = pool_kernel_of(spec);
  TR_LAUNCH(kernel, grid, dim3(LANES, WARPS), 0, cuda->stream, *a);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

tr_status launch_resize(tr_cuda *cuda, const resize_task *a) {
  const bool fours = tr_by_fours(a->outputs, (int)a->dimension, a->to);
  const dim3 grid(tr_cuda_blocks((size_t)a->to_w * (size_t)(a->outputs / (fours ? 4 : 1)), THREADS), (unsigned)a->to_h,
                  grid_of((size_t)a->n));
  if (fours)
    TR_LAUNCH(resize_outputs<4>, grid, THREADS, 0, cuda->stream, *a);
  else
    TR_LAUNCH(resize_outputs<1>, grid, THREADS, 0, cuda->stream, *a);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}

size_t most_pooled_bytes(const tr_aggregate_spec *spec, int n) {
  size_t most = 0;
  for (int i = 1; i < spec->layers; ++i) {
    const size_t bytes = rounded(tr_aggregate_layer_of(spec, i).pooled_floats * (size_t)n * sizeof(float));
    most = bytes > most ? bytes : most;
  }
  return most;
}

} // namespace

/* Layers come one after the other, so all share the memory for a table and for pooled outputs. */
size_t tr_cuda_aggregate_scratch(const tr_device *device, const tr_aggregate_spec *spec, int n) {
  (void)device;
  size_t most = 0;
  for (int i = 0; i < spec->layers; ++i) {
    const size_t bytes = table_at(spec, i, nullptr, nullptr);
    most = bytes > most ? bytes : most;
  }
  return most_pooled_bytes(spec, n) + most;
}

tr_status tr_cuda_aggregate(tr_device *device, const tr_aggregate_args *args) {
  tr_cuda *cuda = tr_cuda_of(device);
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  const tr_aggregate_spec *spec = &args->spec;
  const tr_aggregate_layer base = tr_aggregate_layer_of(spec, 0);
  const size_t dimension = (size_t)tr_aggregate_layer_of(spec, spec->layers - 1).end;
  float *pooled = static_cast<float *>(args->scratch);
  char *table_memory = static_cast<char *>(args->scratch) + most_pooled_bytes(spec, args->n);
  for (int i = 0, written = 0; i < spec->layers; ++i) {
    layer_task a = {};
    a.layer = tr_aggregate_layer_of(spec, i);
    a.patch = spec->patch;
    a.stride = spec->stride;
    a.outputs = a.layer.end - a.layer.first;
    a.n = args->n;
    a.map = args->maps[i];
    a.to = i == 0 ? args->dst : pooled;
    a.to_step = i == 0 ? dimension : (size_t)a.outputs;
    (void)table_at(spec, i, table_memory, &a.t);
    TR_TRY(launch_table(cuda, spec, i, &a));
    TR_TRY(launch_pool(cuda, spec, &a));
    if (i > 0) {
      const int shared = written > a.layer.first ? written - a.layer.first : 0;
      const resize_task r = {pooled,         args->dst + a.layer.first,
                             dimension,      args->n,
                             a.layer.grid_h, a.layer.grid_w,
                             base.grid_h,    base.grid_w,
                             a.outputs,      shared};
      TR_TRY(launch_resize(cuda, &r));
    }
    written = a.layer.end;
  }
  return TR_OK;
}
