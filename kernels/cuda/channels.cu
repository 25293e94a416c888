/* channels on the GPU: a warp writes the vector of a position, a lane each 32nd of its channels; a deeper layer's cells are read where
 * they lie. Weights and sums are the cpu twin's, with its roundings: the same bits.
 *
 * Limit: bytes. PaDiM at 224 px, 550 of 1,792 channels, a chunk of 64 images: 441 MB are written; drawn channels lie three or four to a
 * line, so that about all of the maps is read, 360 MB: 0.24 ms of an H100's 3.35 TB/s, a millisecond for 209 images. Not measured on a
 * GPU yet.
 */
#include "kernels/cuda/cuda.h"

#include <cstring>

namespace {

enum { THREADS = 256, WARP = 32, LIST = 896 };

/* What is drawn of a layer: columns [first, end) of a vector, of channels whose numbers are `offset` too high. */
struct share {
  const float *map;
  int h, w, first, end;
  unsigned c, offset;
};

struct task {
  share shares[TR_MAX_LAYERS];
  int layers, h, w; /* the grid */
  bool bilinear;
  const uint32_t *channels;
  float *dst;
  size_t image_pitch, position_pitch, vectors;
};

/* Numbers on their way to the device as a kernel's argument: an upload would wait for all that is queued. */
struct list {
  uint32_t numbers[LIST];
};

__global__ void __launch_bounds__(LIST) write_list(list from, unsigned count, uint32_t *to) {
  if (threadIdx.x < count)
    to[threadIdx.x] = from.numbers[threadIdx.x];
}

/* Grid cell i lies between cells `low` and `high` of a map. */
struct between {
  int low, high;
  float low_weight, high_weight;
};

__device__ between place(int i, int from, int to) {
  double position = __dadd_rn(__dmul_rn((double)i + 0.5, (double)from) / to, -0.5);
  position = position > 0.0 ? position : 0.0;
  const int low = min((int)position, from - 1);
  const double part = position - low;
  return {low, min(low + 1, from - 1), (float)(1.0 - part), (float)part};
}

__device__ void copy_cell(const share &s, const uint32_t *channels, const float *cell, float *to) {
  for (int i = s.first + (int)(threadIdx.x % WARP); i < s.end; i += WARP)
    to[i] = __ldg(cell + (channels[i] - s.offset));
}

__device__ void blend_cells(const share &s, const uint32_t *channels, const float *map, between v, between h, float *to) {
  const float wa = __fmul_rn(v.low_weight, h.low_weight), wb = __fmul_rn(v.low_weight, h.high_weight),
              wc = __fmul_rn(v.high_weight, h.low_weight), wd = __fmul_rn(v.high_weight, h.high_weight);
  const float *a = map + ((size_t)v.low * s.w + h.low) * s.c, *b = map + ((size_t)v.low * s.w + h.high) * s.c;
  const float *c = map + ((size_t)v.high * s.w + h.low) * s.c, *d = map + ((size_t)v.high * s.w + h.high) * s.c;
  for (int i = s.first + (int)(threadIdx.x % WARP); i < s.end; i += WARP) {
    const unsigned k = channels[i] - s.offset;
    const float above = __fadd_rn(__fmul_rn(wa, __ldg(a + k)), __fmul_rn(wb, __ldg(b + k)));
    const float below = __fadd_rn(__fmul_rn(wc, __ldg(c + k)), __fmul_rn(wd, __ldg(d + k)));
    to[i] = __fadd_rn(above, below);
  }
}

__global__ void __launch_bounds__(THREADS) draw(task a) {
  const unsigned positions = (unsigned)a.h * (unsigned)a.w;
  for (size_t vector = blockIdx.x * (size_t)(THREADS / WARP) + threadIdx.x / WARP; vector < a.vectors;
       vector += (size_t)gridDim.x * (THREADS / WARP)) {
    const size_t image = vector / positions;
    const int p = (int)(vector % positions), y = p / a.w, x = p % a.w;
    float *to = a.dst + image * a.image_pitch + (size_t)p * a.position_pitch;
    for (int i = 0; i < a.layers; ++i) {
      const share &s = a.shares[i];
      const float *map = s.map + image * s.h * s.w * s.c;
      if (i > 0 && a.bilinear)
        blend_cells(s, a.channels, map, place(y, s.h, a.h), place(x, s.w, a.w), to);
      else /* nearest; the first layer's cells are the grid's */
        copy_cell(s, a.channels, map + ((size_t)(y * s.h / a.h) * s.w + x * s.w / a.w) * s.c, to);
    }
  }
}

task plan(const tr_channels_args *args) {
  const tr_channels_spec *spec = &args->spec;
  task a = {};
  a.layers = spec->layers;
  a.h = spec->h[0];
  a.w = spec->w[0];
  a.bilinear = spec->placement == TR_PLACE_BILINEAR;
  a.channels = static_cast<const uint32_t *>(args->scratch);
  a.dst = args->dst;
  a.image_pitch = args->image_pitch;
  a.position_pitch = args->position_pitch;
  a.vectors = (size_t)args->n * (size_t)spec->h[0] * (size_t)spec->w[0];
  unsigned offset = 0;
  for (int i = 0, at = 0; i < spec->layers; ++i) {
    share *s = &a.shares[i];
    *s = {args->maps[i], spec->h[i], spec->w[i], at, at, (unsigned)spec->c[i], offset};
    offset += s->c;
    while (at < spec->count && spec->channels[at] < offset)
      ++at;
    s->end = at;
  }
  return a;
}

tr_status write_channels(tr_cuda *cuda, const tr_channels_args *args) {
  uint32_t *to = static_cast<uint32_t *>(args->scratch);
  for (int first = 0; first < args->spec.count; first += LIST) {
    const int count = args->spec.count - first < LIST ? args->spec.count - first : LIST;
    list part = {};
    memcpy(part.numbers, args->spec.channels + first, (size_t)count * sizeof *part.numbers);
    TR_LAUNCH(write_list, 1, LIST, 0, cuda->stream, part, (unsigned)count, to + first);
    TR_CUDA_LAUNCHED();
  }
  return TR_OK;
}

} // namespace

size_t tr_cuda_channels_scratch(const tr_device *device, const tr_channels_spec *spec, int n) {
  (void)device;
  (void)n;
  return (size_t)spec->count * sizeof *spec->channels;
}

tr_status tr_cuda_channels(tr_device *device, const tr_channels_args *args) {
  tr_cuda *cuda = tr_cuda_of(device);
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  TR_TRY(write_channels(cuda, args));
  const task a = plan(args);
  TR_LAUNCH(draw, tr_cuda_loop_blocks(a.vectors, THREADS / WARP), THREADS, 0, cuda->stream, a);
  TR_CUDA_LAUNCHED();
  return TR_OK;
}
