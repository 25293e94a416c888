/* channels on the cpu: a layer's drawn channels are gathered on its own grid, then placed. The first layer's are gathered in
 * place. */
#include "kernels/cpu/cpu.h"

#include <string.h>

/* The drawn channels of one layer: `count` numbers within the layer, which become columns [first, first + count). */
typedef struct share {
  int first, count;
  uint32_t offset; /* the layer's first channel among all */
} share;

typedef struct job {
  const tr_channels_args *args;
  share shares[TR_MAX_LAYERS];
  size_t gathered[TR_MAX_LAYERS]; /* floats before a deeper layer's gathered maps in an image's scratch */
  size_t image_floats;
} job;

static void plan(const tr_channels_spec *spec, job *out) {
  int at = 0;
  uint32_t offset = 0;
  out->image_floats = 0;
  for (int i = 0; i < spec->layers; ++i) {
    share *s = &out->shares[i];
    *s = (share){.first = at, .offset = offset};
    offset += (uint32_t)spec->c[i];
    while (at < spec->count && spec->channels[at] < offset)
      ++at;
    s->count = at - s->first;
    out->gathered[i] = out->image_floats;
    if (i > 0)
      out->image_floats += (size_t)spec->h[i] * (size_t)spec->w[i] * (size_t)s->count;
  }
  out->image_floats = (out->image_floats + 15) / 16 * 16;
}

size_t tr_cpu_channels_scratch(const tr_device *device, const tr_channels_spec *spec, int n) {
  (void)device;
  job work;
  plan(spec, &work);
  /* Never empty: a single layer needs none, and memory of no bytes is NULL. */
  return (size_t)n * (work.image_floats ? work.image_floats : 16) * sizeof(float);
}

static void gather(const float *from, const uint32_t *channels, const share *s, float *to) {
  for (int i = 0; i < s->count; ++i)
    to[i] = from[channels[s->first + i] - s->offset];
}

static void gather_maps(const job *work, size_t image, float *scratch) {
  const tr_channels_spec *spec = &work->args->spec;
  for (int i = 0; i < spec->layers; ++i) {
    const share *s = &work->shares[i];
    size_t positions = (size_t)spec->h[i] * (size_t)spec->w[i], c = (size_t)spec->c[i];
    const float *map = work->args->maps[i] + image * positions * c;
    float *to = i == 0 ? work->args->dst + image * work->args->image_pitch : scratch + work->gathered[i];
    size_t step = i == 0 ? work->args->position_pitch : (size_t)s->count;
    for (size_t p = 0; p < positions; ++p)
      gather(map + p * c, spec->channels, s, to + p * step);
  }
}

/* Grid cell i lies between cells `low` and `high` of a map. */
typedef struct between {
  size_t low, high;
  float low_weight, high_weight;
} between;

static between place(tr_placement placement, int i, int from, int to) {
  if (placement == TR_PLACE_NEAREST) {
    size_t at = (size_t)((int64_t)i * from / to);
    return (between){at, at, 1, 0};
  }
  double position = ((double)i + 0.5) * from / to - 0.5;
  position = position > 0.0 ? position : 0.0;
  int low = (int)position < from - 1 ? (int)position : from - 1;
  double part = position - low;
  return (between){(size_t)low, (size_t)(low < from - 1 ? low + 1 : low), (float)(1.0 - part), (float)part};
}

static void blend(const float *const corners[4], const float weights[4], float *restrict to, size_t count) {
  const float *a = corners[0], *b = corners[1], *c = corners[2], *d = corners[3];
  float wa = weights[0], wb = weights[1], wc = weights[2], wd = weights[3];
  for (size_t i = 0; i < count; ++i)
    to[i] = (wa * a[i] + wb * b[i]) + (wc * c[i] + wd * d[i]);
}

/* One deeper layer's columns of a row of the grid. */
static void place_row(const job *work, int layer, const float *gathered, int y, float *row) {
  const tr_channels_spec *spec = &work->args->spec;
  const share *s = &work->shares[layer];
  size_t count = (size_t)s->count, w = (size_t)spec->w[layer];
  between v = place(spec->placement, y, spec->h[layer], spec->h[0]);
  for (int x = 0; x < spec->w[0]; ++x) {
    between h = place(spec->placement, x, spec->w[layer], spec->w[0]);
    float *to = row + (size_t)x * work->args->position_pitch + s->first;
    const float *corners[4] = {gathered + (v.low * w + h.low) * count, gathered + (v.low * w + h.high) * count,
                               gathered + (v.high * w + h.low) * count, gathered + (v.high * w + h.high) * count};
    if (spec->placement == TR_PLACE_NEAREST)
      memcpy(to, corners[0], count * sizeof *to);
    else
      blend(corners,
            (const float[4]){v.low_weight * h.low_weight, v.low_weight * h.high_weight, v.high_weight * h.low_weight,
                             v.high_weight * h.high_weight},
            to, count);
  }
}

static tr_status draw_image(void *context, size_t image) {
  const job *work = context;
  const tr_channels_args *args = work->args;
  float *scratch = (float *)args->scratch + image * work->image_floats;
  gather_maps(work, image, scratch);
  for (int i = 1; i < args->spec.layers; ++i)
    for (int y = 0; y < args->spec.h[0]; ++y)
      place_row(work, i, scratch + work->gathered[i], y,
                args->dst + image * args->image_pitch + (size_t)y * (size_t)args->spec.w[0] * args->position_pitch);
  return TR_OK;
}

tr_status tr_cpu_channels(tr_device *device, const tr_channels_args *args) {
  job work = {.args = args};
  plan(&args->spec, &work);
  return tr_pool_run(tr_device_pool(device), (size_t)args->n, draw_image, &work);
}
