/* aggregate on the cpu.
 *
 * Every layer is windowed and pooled on its own grid, then the deeper ones are resized: pooling first means that only the
 * outputs are resized and not c * p * p values. Windows and pooling work on planes, one channel each, transposed from the maps
 * 16 channels (a cache line) at a time: along a plane a weight is one number whatever the bins look like, so the regular case
 * (layers 2+3 at 1024) and any other take the same loops. A plane's rows follow each other with their zero borders, so
 * a tap of the window is one shift of the whole plane; a stride s cuts a plane into s x s phases, each of which has that form.
 *
 * An output's weights over a window are split into non-negative parts: the smallest weight times the whole window's sum, what
 * each row has above that times the row's sum, and the rest value by value. Half windows of 41 values cost 9 sums, and as nothing
 * is ever subtracted there is no cancellation. Sums over a window go row by row, in float.
 *
 * Results depend on neither the number of threads nor the images in a call: every output of every image is computed by itself.
 *
 * One thread, AMD EPYC at 2.6 GHz with AVX-512, layers 2+3 of 512 and 1024 channels at 224 px: 0.75 ms an image at p = 3, 1.3 ms at
 * p = 9; moving and transposing alone (p = 1) takes 0.4 ms. Loops of 64 instead of 32 cells and tiles of half or twice the size
 * changed nothing. Clearing the whole work area instead of the planes' ends cost 5 %.
 */
#include "kernels/aggregate_plan.h"
#include "kernels/cpu/cpu.h"

#include <string.h>

enum {
  LANES = 16,              /* floats of a vector, channels of a block, outputs of a block */
  STEP = 32,               /* floats that a plane loop advances by */
  WORK_FLOATS = 96 * 1024, /* target for a task's planes, so that they stay in the second-level cache */
  SINGLE_IMAGE_PARTS = 4,  /* tasks that one image is cut into when images alone would not feed the threads */
  MAX_TERMS = 1 + TR_MAX_PATCH * TR_MAX_PATCH,
};

typedef float lanes __attribute__((vector_size(64), aligned(4), may_alias));

/* How a layer's planes are laid out. A phase plane holds cells (row, x) of the padded map that are `stride` apart. */
typedef struct plane_shape {
  int phases;  /* per axis: min(stride, patch) */
  int reach;   /* cells beyond the grid that a window takes from a phase */
  int rows;    /* grid rows of a tile */
  int pitch;   /* cells of a row */
  size_t area; /* floats of a phase plane: its cells, and room for loops that run past the end in whole steps */
} plane_shape;

static size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

static size_t channel_floats(const plane_shape *shape) {
  return (size_t)shape->phases * (size_t)shape->phases * shape->area;
}

/* Two blocks of channels; row sums and the window sum of two channels; a block of outputs. */
static size_t work_floats(const plane_shape *shape) {
  return 2 * LANES * channel_floats(shape) + 2 * (size_t)shape->phases * shape->area + 2 * shape->area + LANES * shape->area;
}

static plane_shape shape_with_rows(const tr_aggregate_spec *spec, const tr_aggregate_layer *layer, int rows) {
  plane_shape shape = {
      .phases = spec->stride < spec->patch ? spec->stride : spec->patch, .reach = (spec->patch - 1) / spec->stride, .rows = rows};
  shape.pitch = layer->grid_w + shape.reach;
  shape.area = round_up((size_t)(rows + shape.reach) * (size_t)shape.pitch + (size_t)shape.reach + STEP, LANES);
  return shape;
}

/* As few tiles of even height as the target allows. */
static plane_shape shape_of(const tr_aggregate_spec *spec, const tr_aggregate_layer *layer) {
  for (int tiles = 1;; ++tiles) {
    plane_shape shape = shape_with_rows(spec, layer, (layer->grid_h + tiles - 1) / tiles);
    if (shape.rows == 1 || work_floats(&shape) <= WORK_FLOATS)
      return shape;
  }
}

static int parts_of_image(int n) {
  return n < SINGLE_IMAGE_PARTS ? SINGLE_IMAGE_PARTS : 1;
}

/* Floats of a task's planes: those of its most demanding layer. */
static size_t task_floats(const tr_aggregate_spec *spec) {
  size_t floats = 0;
  for (int i = 0; i < spec->layers; ++i) {
    tr_aggregate_layer layer = tr_aggregate_layer_of(spec, i);
    plane_shape shape = shape_of(spec, &layer);
    size_t here = work_floats(&shape);
    floats = here > floats ? here : floats;
  }
  return round_up(floats, LANES);
}

static size_t pooled_floats(const tr_aggregate_spec *spec, int layer, int n) {
  return round_up(tr_aggregate_layer_of(spec, layer).pooled_floats * (size_t)n, LANES);
}

size_t tr_cpu_aggregate_scratch(const tr_device *device, const tr_aggregate_spec *spec, int n) {
  (void)device;
  size_t floats = (size_t)n * (size_t)parts_of_image(n) * task_floats(spec);
  for (int i = 1; i < spec->layers; ++i)
    floats += pooled_floats(spec, i, n);
  return floats * sizeof(float);
}

/* --- Transposition ------------------------------------------------------------------------------------------------------- */

/* Four rounds of interleaving row i with row i + 8 transpose 16 x 16 values. */
#define INTERLEAVE_LOW(a, b)  __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)

static inline void transpose(lanes rows[LANES]) {
  lanes other[LANES];
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < LANES / 2; ++i) {
      other[2 * i] = INTERLEAVE_LOW(rows[i], rows[i + LANES / 2]);
      other[2 * i + 1] = INTERLEAVE_HIGH(rows[i], rows[i + LANES / 2]);
    }
    for (int i = 0; i < LANES / 2; ++i) {
      rows[2 * i] = INTERLEAVE_LOW(other[i], other[i + LANES / 2]);
      rows[2 * i + 1] = INTERLEAVE_HIGH(other[i], other[i + LANES / 2]);
    }
  }
}

/* `count` cells, `step` floats apart, of 16 channels -> 16 planes; the last store of each plane may run on for up to 15 cells. */
static void cells_to_planes(const float *from, size_t step, int count, float *to, size_t plane) {
  for (int x = 0; x < count; x += LANES) {
    lanes block[LANES];
    for (int i = 0; i < LANES; ++i) {
      int cell = x + i < count ? x + i : count - 1;
      block[i] = *(const lanes *)(from + (size_t)cell * step);
    }
    transpose(block);
    for (int i = 0; i < LANES; ++i)
      *(lanes *)(to + (size_t)i * plane + x) = block[i];
  }
}

/* The same for a block of fewer channels, at the end of a map's. */
static void cells_to_few_planes(const float *from, size_t step, int count, float *to, size_t plane, int channels) {
  for (int i = 0; i < channels; ++i)
    for (int x = 0; x < count; ++x)
      to[(size_t)i * plane + (size_t)x] = from[(size_t)x * step + (size_t)i];
}

/* 16 planes -> `count` cells, `step` floats apart, of 16 outputs. */
static void planes_to_cells(const float *from, size_t plane, int count, float *to, size_t step) {
  for (int x = 0; x < count; x += LANES) {
    lanes block[LANES];
    for (int i = 0; i < LANES; ++i)
      block[i] = *(const lanes *)(from + (size_t)i * plane + x);
    transpose(block);
    int cells = count - x < LANES ? count - x : LANES;
    for (int i = 0; i < cells; ++i)
      *(lanes *)(to + (size_t)(x + i) * step) = block[i];
  }
}

static void few_planes_to_cells(const float *from, size_t plane, int count, float *to, size_t step, int outputs) {
  for (int x = 0; x < count; ++x)
    for (int i = 0; i < outputs; ++i)
      to[(size_t)x * step + (size_t)i] = from[(size_t)i * plane + (size_t)x];
}

/* --- Windows and pooling of one tile ------------------------------------------------------------------------------------- */

typedef struct term {
  const float *plane;
  float weight;
} term;

/* One layer of one image, one tile of grid rows, and the planes that are in memory at the moment. */
typedef struct tile {
  const tr_aggregate_spec *spec;
  int layer_index;
  tr_aggregate_layer layer;
  plane_shape shape;
  const float *map; /* [h, w, c] */
  int first_row, rows;
  int blocks[2];      /* which block of 16 channels each half of `channels` holds, -1 = none */
  int row_sums_of[2]; /* whose row sums, -1 = none */
  int window_sum_of[2];
  float *channels, *row_sums, *window_sums, *outputs;
} tile;

static void tile_start(tile *t, float *work, int first_row) {
  t->first_row = first_row;
  t->rows = t->layer.grid_h - first_row < t->shape.rows ? t->layer.grid_h - first_row : t->shape.rows;
  for (int i = 0; i < 2; ++i)
    t->blocks[i] = t->row_sums_of[i] = t->window_sum_of[i] = -1;
  t->channels = work;
  t->row_sums = t->channels + 2 * LANES * channel_floats(&t->shape);
  t->window_sums = t->row_sums + 2 * (size_t)t->shape.phases * t->shape.area;
  t->outputs = t->window_sums + 2 * t->shape.area;
}

/* The cells of one row of a phase: 0 outside the map. x of cell i = i * stride + phase - p/2. */
static void load_row(const tile *t, int block, int y, int phase, float *to) {
  int stride = t->spec->stride, before = t->spec->patch / 2 - phase, channels = t->layer.c - block * LANES;
  size_t plane = channel_floats(&t->shape);
  int first = before > 0 ? (before + stride - 1) / stride : 0;
  int end = (t->layer.w - 1 + before) / stride + 1;
  end = t->layer.w - 1 + before < 0 || y < 0 || y >= t->layer.h ? 0 : end < t->shape.pitch ? end : t->shape.pitch;
  if (first < end) {
    const float *from = t->map + ((size_t)y * (size_t)t->layer.w + (size_t)(first * stride - before)) * (size_t)t->layer.c +
                        (size_t)block * LANES;
    size_t step = (size_t)stride * (size_t)t->layer.c;
    if (channels >= LANES)
      cells_to_planes(from, step, end - first, to + first, plane);
    else
      cells_to_few_planes(from, step, end - first, to + first, plane, channels);
  } else
    first = end = 0;
  for (int i = 0; i < LANES; ++i) {
    float *row = to + (size_t)i * plane;
    for (int x = 0; x < first; ++x)
      row[x] = 0.0f;
    for (int x = end; x < t->shape.pitch; ++x)
      row[x] = 0.0f;
  }
}

static void load_block(tile *t, int block) {
  float *half = t->channels + (size_t)(block & 1) * LANES * channel_floats(&t->shape);
  for (int phase_y = 0; phase_y < t->shape.phases; ++phase_y)
    for (int phase_x = 0; phase_x < t->shape.phases; ++phase_x) {
      float *phase = half + (size_t)(phase_y * t->shape.phases + phase_x) * t->shape.area;
      for (int row = 0; row < t->rows + t->shape.reach; ++row) {
        int y = (t->first_row + row) * t->spec->stride + phase_y - t->spec->patch / 2;
        load_row(t, block, y, phase_x, phase + (size_t)row * (size_t)t->shape.pitch);
      }
    }
  t->blocks[block & 1] = block;
}

/* Start of the cells that tap (dy, dx) of channel's windows sees. */
static const float *tap_plane(const tile *t, int channel, int dy, int dx) {
  int stride = t->spec->stride;
  int phase = dy % stride * t->shape.phases + dx % stride;
  return t->channels + (size_t)(channel & (2 * LANES - 1)) * channel_floats(&t->shape) + (size_t)phase * t->shape.area +
         (size_t)(dy / stride) * (size_t)t->shape.pitch + (size_t)(dx / stride);
}

static const float *row_plane(const tile *t, int channel, int dy) {
  int stride = t->spec->stride;
  int plane = (channel & 1) * t->shape.phases + dy % stride;
  return t->row_sums + (size_t)plane * t->shape.area + (size_t)(dy / stride) * (size_t)t->shape.pitch;
}

/* to[i] = sum of weight * plane[i], added to what is there when `add`. Runs on to a multiple of STEP. */
static void weighted_sum(float *to, bool add, const term *terms, int count, size_t cells) {
  for (size_t i = 0; i < cells; i += STEP) {
    lanes a = {0}, b = {0};
    if (add) {
      a = *(const lanes *)(to + i);
      b = *(const lanes *)(to + i + LANES);
    }
    for (int k = 0; k < count; ++k) {
      a += terms[k].weight * *(const lanes *)(terms[k].plane + i);
      b += terms[k].weight * *(const lanes *)(terms[k].plane + i + LANES);
    }
    *(lanes *)(to + i) = a;
    *(lanes *)(to + i + LANES) = b;
  }
}

static void sum_planes(float *to, const float *const *planes, int count, size_t cells) {
  for (size_t i = 0; i < cells; i += STEP) {
    lanes a = {0}, b = {0};
    for (int k = 0; k < count; ++k) {
      a += *(const lanes *)(planes[k] + i);
      b += *(const lanes *)(planes[k] + i + LANES);
    }
    *(lanes *)(to + i) = a;
    *(lanes *)(to + i + LANES) = b;
  }
}

static void need_channel(tile *t, int channel) {
  int block = channel / LANES;
  if (t->blocks[block & 1] != block)
    load_block(t, block);
}

static void need_row_sums(tile *t, int channel) {
  if (t->row_sums_of[channel & 1] == channel)
    return;
  const float *taps[TR_MAX_PATCH];
  for (int phase = 0; phase < t->shape.phases; ++phase) {
    for (int dx = 0; dx < t->spec->patch; ++dx)
      taps[dx] = tap_plane(t, channel, phase, dx);
    int plane = (channel & 1) * t->shape.phases + phase;
    float *to = t->row_sums + (size_t)plane * t->shape.area;
    sum_planes(to, taps, t->spec->patch, (size_t)(t->rows + t->shape.reach) * (size_t)t->shape.pitch);
  }
  t->row_sums_of[channel & 1] = channel;
}

static const float *need_window_sum(tile *t, int channel) {
  float *to = t->window_sums + (size_t)(channel & 1) * t->shape.area;
  if (t->window_sum_of[channel & 1] == channel)
    return to;
  const float *rows[TR_MAX_PATCH];
  need_row_sums(t, channel);
  for (int dy = 0; dy < t->spec->patch; ++dy)
    rows[dy] = row_plane(t, channel, dy);
  sum_planes(to, rows, t->spec->patch, (size_t)t->rows * (size_t)t->shape.pitch);
  t->window_sum_of[channel & 1] = channel;
  return to;
}

static double smallest(const double *values, int count) {
  double least = values[0];
  for (int i = 1; i < count; ++i)
    least = values[i] < least ? values[i] : least;
  return least;
}

/* What `output` takes from `channel`, as few weighted planes. */
static int window_terms(tile *t, int output, int channel, term terms[MAX_TERMS]) {
  double weights[TR_MAX_PATCH * TR_MAX_PATCH];
  int p = t->spec->patch, count = 0;
  bool even = tr_aggregate_window(t->spec, t->layer_index, output, channel, weights);
  double base = even ? weights[0] : smallest(weights, p * p);
  if (p == 1) {
    terms[count++] = (term){tap_plane(t, channel, 0, 0), (float)base};
    return count;
  }
  if (base > 0.0)
    terms[count++] = (term){need_window_sum(t, channel), (float)base};
  for (int dy = 0; !even && dy < p; ++dy) {
    double row_base = smallest(weights + dy * p, p);
    if (row_base > base) {
      need_row_sums(t, channel);
      terms[count++] = (term){row_plane(t, channel, dy), (float)(row_base - base)};
    }
    for (int dx = 0; dx < p; ++dx)
      if (weights[dy * p + dx] > row_base)
        terms[count++] = (term){tap_plane(t, channel, dy, dx), (float)(weights[dy * p + dx] - row_base)};
  }
  return count;
}

static void compute_output(tile *t, int output, float *to) {
  term terms[MAX_TERMS];
  int first, end;
  tr_aggregate_channels(t->spec, t->layer_index, output, &first, &end);
  for (int channel = first; channel < end; ++channel) {
    need_channel(t, channel);
    int count = window_terms(t, output, channel, terms);
    weighted_sum(to, channel > first, terms, count, (size_t)t->rows * (size_t)t->shape.pitch);
  }
}

/* Outputs [first, first + count) of the tile, count <= 16; `to` is the layer's grid, `step` floats from window to window. */
static void compute_block(tile *t, int first, int count, float *to, size_t step) {
  for (int i = 0; i < count; ++i)
    compute_output(t, first + i, t->outputs + (size_t)i * t->shape.area);
  for (int row = 0; row < t->rows; ++row) {
    const float *from = t->outputs + (size_t)row * (size_t)t->shape.pitch;
    float *cells = to + (size_t)(t->first_row + row) * (size_t)t->layer.grid_w * step + (first - t->layer.first);
    if (count == LANES)
      planes_to_cells(from, t->shape.area, t->layer.grid_w, cells, step);
    else
      few_planes_to_cells(from, t->shape.area, t->layer.grid_w, cells, step, count);
  }
}

/* --- The two passes ------------------------------------------------------------------------------------------------------ */

typedef struct job {
  const tr_aggregate_args *args;
  int parts;
  size_t dimension; /* of dst */
  float *pooled[TR_MAX_LAYERS];
  float *work;
  size_t work_floats; /* per task */
} job;

/* Loops that run past a plane's last cell read what lies there, and drop what comes of it; it has to be numbers all the same, as
 * what happens to be there may be denormal and slow. */
static void clear_ends(const plane_shape *shape, float *planes) {
  size_t cells = (size_t)(shape->rows + shape->reach) * (size_t)shape->pitch;
  for (size_t plane = 0; plane < work_floats(shape); plane += shape->area)
    memset(planes + plane + cells, 0, (shape->area - cells) * sizeof(float));
}

/* One part of the outputs of one layer of one image. */
static void pool_layer(const job *work, int layer, int image, int part, float *planes) {
  const tr_aggregate_args *args = work->args;
  tile t = {.spec = &args->spec, .layer_index = layer, .layer = tr_aggregate_layer_of(&args->spec, layer)};
  t.shape = shape_of(t.spec, &t.layer);
  t.map = args->maps[layer] + (size_t)image * (size_t)t.layer.h * (size_t)t.layer.w * (size_t)t.layer.c;
  float *to = layer == 0 ? args->dst + (size_t)image * (size_t)t.layer.grid_h * (size_t)t.layer.grid_w * work->dimension
                         : work->pooled[layer] + (size_t)image * t.layer.pooled_floats;
  size_t step = layer == 0 ? work->dimension : (size_t)(t.layer.end - t.layer.first);
  int64_t blocks = (t.layer.end - t.layer.first + LANES - 1) / LANES;
  int first = t.layer.first + (int)(blocks * part / work->parts) * LANES;
  int end = t.layer.first + (int)(blocks * (part + 1) / work->parts) * LANES;
  end = end < t.layer.end ? end : t.layer.end;
  clear_ends(&t.shape, planes);
  for (int row = 0; row < t.layer.grid_h; row += t.shape.rows) {
    tile_start(&t, planes, row);
    for (int output = first; output < end; output += LANES)
      compute_block(&t, output, end - output < LANES ? end - output : LANES, to, step);
  }
}

static tr_status pool_task(void *context, size_t task) {
  const job *work = context;
  int image = (int)(task / (size_t)work->parts), part = (int)(task % (size_t)work->parts);
  for (int layer = 0; layer < work->args->spec.layers; ++layer)
    pool_layer(work, layer, image, part, work->work + task * work->work_floats);
  return TR_OK;
}

/* Bilinear, align_corners=False: output cell i lies between cells `low` and `high`. */
typedef struct between {
  size_t low, high;
  float low_weight, high_weight;
} between;

static between place(int i, int from, int to) {
  double position = ((double)i + 0.5) * from / to - 0.5;
  position = position > 0.0 ? position : 0.0;
  int low = (int)position < from - 1 ? (int)position : from - 1;
  double share = position - low;
  return (between){(size_t)low, (size_t)(low < from - 1 ? low + 1 : low), (float)(1.0 - share), (float)share};
}

static void blend(const float *restrict corners[4], const float weights[4], float *restrict to, size_t from, size_t end,
                  bool add) {
  const float *restrict a = corners[0], *restrict b = corners[1], *restrict c = corners[2], *restrict d = corners[3];
  float wa = weights[0], wb = weights[1], wc = weights[2], wd = weights[3];
  if (add)
    for (size_t i = from; i < end; ++i)
      to[i] += (wa * a[i] + wb * b[i]) + (wc * c[i] + wd * d[i]);
  else
    for (size_t i = from; i < end; ++i)
      to[i] = (wa * a[i] + wb * b[i]) + (wc * c[i] + wd * d[i]);
}

/* One row of the first layer's grid: the deeper layers' outputs. An output that an earlier layer has written is added to. */
static tr_status resize_task(void *context, size_t task) {
  const job *work = context;
  const tr_aggregate_args *args = work->args;
  tr_aggregate_layer base = tr_aggregate_layer_of(&args->spec, 0);
  int image = (int)(task / (size_t)base.grid_h), y = (int)(task % (size_t)base.grid_h), written = base.end;
  float *row = args->dst + task * (size_t)base.grid_w * work->dimension;
  for (int i = 1; i < args->spec.layers; ++i) {
    tr_aggregate_layer layer = tr_aggregate_layer_of(&args->spec, i);
    size_t outputs = (size_t)(layer.end - layer.first), shared = written > layer.first ? (size_t)(written - layer.first) : 0;
    const float *pooled = work->pooled[i] + (size_t)image * layer.pooled_floats;
    between v = place(y, layer.grid_h, base.grid_h);
    const float *low = pooled + v.low * (size_t)layer.grid_w * outputs, *high = pooled + v.high * (size_t)layer.grid_w * outputs;
    for (int x = 0; x < base.grid_w; ++x) {
      between h = place(x, layer.grid_w, base.grid_w);
      const float *restrict corners[4] = {low + h.low * outputs, low + h.high * outputs, high + h.low * outputs,
                                          high + h.high * outputs};
      float weights[4] = {v.low_weight * h.low_weight, v.low_weight * h.high_weight, v.high_weight * h.low_weight,
                          v.high_weight * h.high_weight};
      float *to = row + (size_t)x * work->dimension + layer.first;
      blend(corners, weights, to, 0, shared, true);
      blend(corners, weights, to, shared, outputs, false);
    }
    written = layer.end;
  }
  return TR_OK;
}

tr_status tr_cpu_aggregate(tr_device *device, const tr_aggregate_args *args) {
  const tr_aggregate_spec *spec = &args->spec;
  job work = {.args = args,
              .parts = parts_of_image(args->n),
              .dimension = (size_t)tr_aggregate_layer_of(spec, spec->layers - 1).end,
              .work_floats = task_floats(spec)};
  float *next = args->scratch;
  for (int i = 1; i < spec->layers; ++i) {
    work.pooled[i] = next;
    next += pooled_floats(spec, i, args->n);
  }
  work.work = next;
  tr_pool *pool = tr_device_pool(device);
  tr_status status = tr_pool_run(pool, (size_t)args->n * (size_t)work.parts, pool_task, &work);
  if (status != TR_OK || spec->layers == 1)
    return status;
  return tr_pool_run(pool, (size_t)args->n * (size_t)tr_aggregate_layer_of(spec, 0).grid_h, resize_task, &work);
}
