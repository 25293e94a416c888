/* upsample on the cpu: a source row is stretched once for all the rows that lie by it, then pairs of stretched rows are blended.
 * Columns go in strips, so that the tables and the two stretched rows live on the stack. */
#include "kernels/cpu/cpu.h"

enum { STRIP = 256 };

/* Output cell i lies between source cells `low` and `high`. Float arithmetic on purpose: torch's cpu kernel computes positions so,
 * and for sizes that are no power of two apart the weights differ in the sixth digit. */
typedef struct between {
  int low, high;
  float low_weight, high_weight;
} between;

static between place(int i, int from, float scale) {
  float position = scale * ((float)i + 0.5f) - 0.5f;
  position = position > 0.0f ? position : 0.0f;
  int low = (int)position < from - 1 ? (int)position : from - 1;
  float share = position - (float)low;
  share = share < 1.0f ? share : 1.0f;
  return (between){low, low < from - 1 ? low + 1 : low, 1.0f - share, share};
}

/* Columns [first, first + count) of one map. */
static void upsample_strip(const tr_upsample_args *args, const float *src, float *dst, int first, int count) {
  int low[STRIP], high[STRIP];
  float low_weight[STRIP], high_weight[STRIP];
  float scale_x = (float)args->in_w / (float)args->out_w, scale_y = (float)args->in_h / (float)args->out_h;
  for (int x = 0; x < count; ++x) {
    between h = place(first + x, args->in_w, scale_x);
    low[x] = h.low;
    high[x] = h.high;
    low_weight[x] = h.low_weight;
    high_weight[x] = h.high_weight;
  }
  float stretched[2][STRIP]; /* source row r is in stretched[r % 2] */
  int which[2] = {-1, -1};
  for (int y = 0; y < args->out_h; ++y) {
    between v = place(y, args->in_h, scale_y);
    for (int row = v.low; row <= v.high; ++row) {
      if (which[row % 2] == row)
        continue;
      const float *from = src + (size_t)row * (size_t)args->in_w;
      for (int x = 0; x < count; ++x)
        stretched[row % 2][x] = from[low[x]] * low_weight[x] + from[high[x]] * high_weight[x];
      which[row % 2] = row;
    }
    const float *above = stretched[v.low % 2], *below = stretched[v.high % 2];
    float *to = dst + (size_t)y * (size_t)args->out_w + first;
    for (int x = 0; x < count; ++x)
      to[x] = above[x] * v.low_weight + below[x] * v.high_weight;
  }
}

static tr_status upsample_map(void *context, size_t map) {
  const tr_upsample_args *args = context;
  const float *src = args->src + map * (size_t)args->in_h * (size_t)args->in_w;
  float *dst = args->dst + map * (size_t)args->out_h * (size_t)args->out_w;
  for (int first = 0; first < args->out_w; first += STRIP)
    upsample_strip(args, src, dst, first, args->out_w - first < STRIP ? args->out_w - first : STRIP);
  return TR_OK;
}

tr_status tr_cpu_upsample(tr_device *device, const tr_upsample_args *args) {
  tr_upsample_args context = *args;
  return tr_pool_run(tr_device_pool(device), (size_t)args->n, upsample_map, &context);
}
