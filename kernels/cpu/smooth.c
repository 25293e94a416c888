/* smooth on the cpu: a strip of 16 columns, then a row, is widened to double with its reflected ends, and every output is
 * centre * w0 + sum of (left + right) * w, from the outermost pair inwards as scipy's correlate1d adds them. */
#include "kernels/cpu/cpu.h"

enum { WIDTH = 16 }; /* columns of a strip, outputs of a step */

typedef double half __attribute__((vector_size(64), aligned(8), may_alias)); /* of WIDTH */

typedef struct kernel {
  double weights[TR_SMOOTH_MAX_RADIUS + 1];
  int radius;
} kernel;

typedef struct job {
  const tr_smooth_args *args;
  kernel kernel;
  size_t tasks, line; /* doubles of a task's line */
} job;

/* A task's line holds a strip of 16 columns or a single row, both with their reflected ends, and a step beyond. */
static size_t line_doubles(int h, int w) {
  size_t ends = 2 * TR_SMOOTH_MAX_RADIUS;
  size_t strip = ((size_t)h + ends) * WIDTH, row = (size_t)w + ends + WIDTH;
  row = (row + 7) / 8 * 8;
  return strip > row ? strip : row;
}

/* Maps are taken in turns, so that there is one line a thread and none for threads without a map. */
static size_t task_count(const tr_device *device, int n) {
  int threads = tr_pool_threads(tr_device_pool(device));
  return (size_t)(n < threads ? n : threads);
}

size_t tr_cpu_smooth_scratch(const tr_device *device, int n, int h, int w) {
  return task_count(device, n) * line_doubles(h, w) * sizeof(double);
}

/* 16 outputs; `step` doubles from one tap to the next. */
static inline void filter(const kernel *k, const double *centre, ptrdiff_t step, float *restrict out) {
  half a = k->weights[0] * *(const half *)centre, b = k->weights[0] * *(const half *)(centre + 8);
  for (int i = k->radius; i > 0; --i) {
    const double *left = centre - i * step, *right = centre + i * step;
    a += (*(const half *)left + *(const half *)right) * k->weights[i];
    b += (*(const half *)(left + 8) + *(const half *)(right + 8)) * k->weights[i];
  }
  for (int i = 0; i < 8; ++i) {
    out[i] = (float)a[i];
    out[i + 8] = (float)b[i];
  }
}

/* `count` columns from `map`, in place. */
static void filter_columns(const kernel *k, int h, int w, float *map, int count, double *strip) {
  double *centre = strip + (size_t)k->radius * WIDTH;
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < WIDTH; ++x)
      centre[y * WIDTH + x] = x < count ? (double)map[(size_t)y * (size_t)w + (size_t)x] : 0.0;
  for (int i = 1; i <= k->radius; ++i) {
    const double *above = centre + (ptrdiff_t)tr_smooth_reflect(-i, h) * WIDTH;
    const double *below = centre + (ptrdiff_t)tr_smooth_reflect(h - 1 + i, h) * WIDTH;
    for (int x = 0; x < WIDTH; ++x) {
      centre[-i * WIDTH + x] = above[x];
      centre[(h - 1 + i) * WIDTH + x] = below[x];
    }
  }
  for (int y = 0; y < h; ++y) {
    float out[WIDTH];
    filter(k, centre + (ptrdiff_t)y * WIDTH, WIDTH, out);
    for (int x = 0; x < count; ++x)
      map[(size_t)y * (size_t)w + (size_t)x] = out[x];
  }
}

static void filter_row(const kernel *k, int w, float *row, double *line) {
  double *centre = line + k->radius;
  for (int x = 0; x < w; ++x)
    centre[x] = row[x];
  for (int i = 1; i <= k->radius; ++i) {
    centre[-i] = centre[tr_smooth_reflect(-i, w)];
    centre[w - 1 + i] = centre[tr_smooth_reflect(w - 1 + i, w)];
  }
  for (int i = 0; i < WIDTH; ++i) /* read by the last step, its outputs dropped */
    centre[w + k->radius + i] = 0.0;
  for (int x = 0; x < w; x += WIDTH) {
    float out[WIDTH];
    filter(k, centre + x, 1, out);
    for (int i = 0; i < WIDTH && x + i < w; ++i)
      row[x + i] = out[i];
  }
}

static tr_status smooth_maps(void *context, size_t task) {
  const job *work = context;
  const tr_smooth_args *args = work->args;
  double *line = (double *)args->scratch + task * work->line;
  for (size_t i = task; i < (size_t)args->n; i += work->tasks) {
    float *map = args->maps + i * (size_t)args->h * (size_t)args->w;
    for (int x = 0; x < args->w; x += WIDTH)
      filter_columns(&work->kernel, args->h, args->w, map + x, args->w - x < WIDTH ? args->w - x : WIDTH, line);
    for (int y = 0; y < args->h; ++y)
      filter_row(&work->kernel, args->w, map + (size_t)y * (size_t)args->w, line);
  }
  return TR_OK;
}

tr_status tr_cpu_smooth(tr_device *device, const tr_smooth_args *args) {
  job work = {.args = args, .tasks = task_count(device, args->n), .line = line_doubles(args->h, args->w)};
  work.kernel.radius = tr_smooth_weights(args->sigma, work.kernel.weights);
  if (work.kernel.radius == 0)
    return TR_OK;
  return tr_pool_run(tr_device_pool(device), work.tasks, smooth_maps, &work);
}
