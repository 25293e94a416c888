/* upsample on the GPU. A thread makes four neighbouring pixels of a row (one where rows are no multiple of four); the patch scores of a
 * map are 3 KB and come from the cache. Positions, weights and sums are rounded as the cpu twin rounds them: the same bits.
 *
 * Limit: writing. 64 maps of 224 x 224 (a chunk): 12.8 MB, 4 us of an H100's 3.35 TB/s, less where smooth finds them in the 50 MB of
 * cache; 10 operations a pixel are 1 us. Bottle's 83 test images: 2 launches, 6 us. Fusing it with smooth would save writing and
 * reading the map once through the cache, about 5 us of smooth's 60 for a chunk: not worth an operator. Not measured on a GPU yet.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/vector.h"

namespace {

enum { VECTORS = 32, ROWS = 8, MOST_GRID = 65535 }; /* of a block */

/* Output cell i lies between source cells `low` and `high`. */
struct between {
  int low, high;
  float low_weight, high_weight;
};

__device__ between place(int i, int from, float scale) {
  const float position = fmaxf(__fsub_rn(__fmul_rn(scale, (float)i + 0.5f), 0.5f), 0.0f);
  const int low = min((int)position, from - 1);
  const float share = fminf(position - (float)low, 1.0f);
  return {low, low < from - 1 ? low + 1 : low, 1.0f - share, share};
}

__device__ float blend(float low, float low_weight, float high, float high_weight) {
  return __fadd_rn(__fmul_rn(low, low_weight), __fmul_rn(high, high_weight));
}

/* Grid: x covers the vectors of V pixels of a row, y the rows, z the maps. */
template <int V>
__global__ void __launch_bounds__(VECTORS *ROWS) upsample_rows(tr_upsample_args a, float scale_y, float scale_x) {
  const int first = (int)(blockIdx.x * VECTORS + threadIdx.x) * V, row = (int)(blockIdx.y * ROWS + threadIdx.y);
  if (first >= a.out_w || row >= a.out_h)
    return;
  between x[V];
  for (int i = 0; i < V; ++i)
    x[i] = place(first + i, a.in_w, scale_x);
  const between y = place(row, a.in_h, scale_y);
  for (int map = (int)blockIdx.z; map < a.n; map += (int)gridDim.z) {
    const float *above = a.src + ((size_t)map * a.in_h + y.low) * a.in_w,
                *below = a.src + ((size_t)map * a.in_h + y.high) * a.in_w;
    float *to = a.dst + ((size_t)map * a.out_h + row) * a.out_w + first;
    tr_vector<V> out;
    for (int i = 0; i < V; ++i)
      out.value[i] =
          blend(blend(__ldg(above + x[i].low), x[i].low_weight, __ldg(above + x[i].high), x[i].high_weight), y.low_weight,
                blend(__ldg(below + x[i].low), x[i].low_weight, __ldg(below + x[i].high), x[i].high_weight), y.high_weight);
    tr_store(to, out);
  }
}

} // namespace

tr_status tr_cuda_upsample(tr_device *device, const tr_upsample_args *args) {
  tr_cuda *cuda = tr_cuda_of(device);
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  const float scale_y = (float)args->in_h / (float)args->out_h, scale_x = (float)args->in_w / (float)args->out_w;
  const bool fours = tr_by_fours(args->out_w, args->out_w, args->dst);
  const dim3 grid(tr_cuda_blocks((size_t)args->out_w / (fours ? 4 : 1), VECTORS), tr_cuda_blocks((size_t)args->out_h, ROWS),
                  (unsigned)(args->n < MOST_GRID ? args->n : MOST_GRID));
  if (fours)
    TR_LAUNCH(upsample_rows<4>, grid, dim3(VECTORS, ROWS), 0, cuda->stream, *args, scale_y, scale_x);
  else
    TR_LAUNCH(upsample_rows<1>, grid, dim3(VECTORS, ROWS), 0, cuda->stream, *args, scale_y, scale_x);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}
