/* The bank's sketch: its subspace by iteration on a sample, then all rows.
 *
 * 0.09 s of one core for 9,408 rows x 1024. Rows of which the bound leaves some possible hardly change from 2 iterations on. */
#include "kernels/cpu/sketch.h"

#include "host/base/status.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/exact.h"
#include "kernels/cpu/panels.h"
#include "kernels/sections.h"

#include <math.h>
#include <string.h>

enum {
  TILE = TR_SKETCH_TILE,
  SAMPLE = 2048,
  ITERATIONS = 2,
  LEAST_ROWS = 512, /* a smaller bank is searched as fast without */
  LEAST_D = 128,    /* as are shorter rows */
  NARROW = 32,      /* width for rows up to */
  NARROW_D = 511,
};

/* ---- memory ---- */

/* A narrow sketch costs less and settles less. */
size_t tr_sketch_width(size_t d) {
  return d < LEAST_D ? 0 : d <= NARROW_D ? NARROW : TR_SKETCH_MOST;
}

bool tr_sketch_is_worthwhile(size_t rows, size_t d) {
  return rows >= LEAST_ROWS && tr_sketch_width(d) > 0;
}

/* The sketch's arrays while they are written, and the scratch. */
typedef struct build {
  tr_sketch *sketch;
  const float *bank;
  size_t rows, d, width, rank, sample; /* rank: of the subspace */
  float *centre, *into, *back, *panels, *half_norms;
  float *sample_panels; /* centred sample X, as packed X^T: d rows of `sample` */
  float *coordinates;   /* [rank, sample] = V X^T */
  float *basis;         /* [rank, d] = V */
  double *exact_basis;  /* [rank, d], to orthonormalise it in */
  double *largest;      /* [tiles of rows] max |x| */
  char *workers;        /* their tiles */
  size_t worker_bytes;
} build;

static void lay_out_sketch(build *b, tr_sections *s) {
  b->sketch = tr_section(s, sizeof(tr_sketch));
  b->centre = tr_section(s, b->d * sizeof(float));
  b->into = tr_section(s, tr_panels_rows(b->rank) * b->d * sizeof(float));
  b->back = tr_section(s, tr_panels_rows(b->d) * b->rank * sizeof(float));
  b->panels = tr_section(s, tr_panels_rows(b->rows) * b->width * sizeof(float));
  b->half_norms = tr_section(s, b->rows * sizeof(float));
}

/* A worker's: sketches of a tile, |x|, work. */
typedef struct tile_memory {
  float *z; /* [TILE, width] */
  double *distance;
  float *work;
} tile_memory;

static tile_memory lay_out_tile(tr_sections *s, size_t d) {
  tile_memory t;
  t.z = tr_section(s, TILE * tr_sketch_width(d) * sizeof(float));
  t.distance = tr_section(s, TILE * sizeof(double));
  t.work = tr_section(s, tr_sketch_work_bytes(d));
  return t;
}

static void lay_out_scratch(build *b, const tr_device *device, tr_sections *s) {
  b->sample_panels = tr_section(s, tr_panels_rows(b->d) * b->sample * sizeof(float));
  b->coordinates = tr_section(s, b->rank * b->sample * sizeof(float));
  b->basis = tr_section(s, b->rank * b->d * sizeof(float));
  b->exact_basis = tr_section(s, b->rank * b->d * sizeof(double));
  b->largest = tr_section(s, (b->rows + TILE - 1) / TILE * sizeof(double));
  tr_sections worker = TR_SECTIONS_COUNT;
  lay_out_tile(&worker, b->d);
  b->worker_bytes = worker.used;
  b->workers = tr_section(s, (size_t)tr_pool_threads(tr_device_pool(device)) * worker.used);
}

static tile_memory worker_tile(const build *b) {
  tr_sections s = tr_sections_of(b->workers + (size_t)tr_pool_worker() * b->worker_bytes);
  return lay_out_tile(&s, b->d);
}

static build make_build(size_t rows, size_t d) {
  size_t width = tr_sketch_width(d);
  return (build){.rows = rows, .d = d, .width = width, .rank = width ? width - 1 : 0, .sample = rows < SAMPLE ? rows : SAMPLE};
}

size_t tr_cpu_nearest_sketch_bytes(const tr_device *device, size_t bank_rows, int d) {
  (void)device;
  build b = make_build(bank_rows, (size_t)d);
  tr_sections counted = TR_SECTIONS_COUNT;
  if (tr_sketch_is_worthwhile(b.rows, b.d))
    lay_out_sketch(&b, &counted);
  return counted.used;
}

size_t tr_cpu_nearest_sketch_scratch(const tr_device *device, size_t bank_rows, int d) {
  build b = make_build(bank_rows, (size_t)d);
  tr_sections counted = TR_SECTIONS_COUNT;
  if (tr_sketch_is_worthwhile(b.rows, b.d))
    lay_out_scratch(&b, device, &counted);
  return counted.used;
}

/* ---- sketching rows ---- */

size_t tr_sketch_work_bytes(size_t d) {
  return TILE * (d + TR_PANEL) * sizeof(float);
}

static void centre_row(const float *row, const float *centre, size_t d, float *x) {
  for (size_t j = 0; j < d; ++j)
    x[j] = row[j] - centre[j];
}

/* rest2[i] = |x_i - V^T y_i|^2, a panel of columns at a time. */
static void measure_rest(const tr_sketch *sketch, const float *x, const float *y, size_t n, float *columns, double *rest2) {
  size_t rank = sketch->width - 1;
  for (size_t i = 0; i < n; ++i)
    rest2[i] = 0;
  for (size_t j0 = 0; j0 < sketch->d; j0 += TR_PANEL) {
    size_t width = sketch->d - j0 < TR_PANEL ? sketch->d - j0 : TR_PANEL;
    tr_panels_product(y, sketch->width, n, sketch->back + j0 * rank, width, rank, columns, TR_PANEL);
    for (size_t i = 0; i < n; ++i)
      rest2[i] += tr_exact_distance2(x + i * sketch->d + j0, columns + i * TR_PANEL, width);
  }
}

void tr_sketch_rows(const tr_sketch *sketch, const float *rows, size_t n, float *z, double *distance, void *work) {
  size_t d = sketch->d, width = sketch->width;
  float *x = work, *columns = x + TILE * d;
  double rest2[TILE];
  for (size_t i = 0; i < n; ++i) {
    centre_row(rows + i * d, sketch->centre, d, x + i * d);
    distance[i] = sqrt(tr_exact_norm2(x + i * d, d));
  }
  tr_panels_product(x, d, n, sketch->into, width - 1, d, z, width);
  measure_rest(sketch, x, z, n, columns, rest2);
  for (size_t i = 0; i < n; ++i)
    z[i * width + width - 1] = (float)sqrt(rest2[i]);
}

/* ---- subspace ---- */

/* Rows spread evenly over the bank. */
static const float *sample_row(const build *b, size_t i) {
  return b->bank + i * b->rows / b->sample * b->d;
}

static void find_centre(build *b) {
  double *sum = b->exact_basis;
  memset(sum, 0, b->d * sizeof *sum);
  for (size_t i = 0; i < b->sample; ++i)
    for (size_t j = 0; j < b->d; ++j)
      sum[j] += (double)sample_row(b, i)[j];
  for (size_t j = 0; j < b->d; ++j)
    b->centre[j] = (float)(sum[j] / (double)b->sample);
}

static void pack_sample(build *b) {
  for (size_t j0 = 0; j0 < b->d; j0 += TR_PANEL) {
    size_t width = b->d - j0 < TR_PANEL ? b->d - j0 : TR_PANEL;
    float *panel = b->sample_panels + j0 * b->sample;
    memset(panel, 0, TR_PANEL * b->sample * sizeof *panel);
    for (size_t i = 0; i < b->sample; ++i)
      centre_row(sample_row(b, i) + j0, b->centre + j0, width, panel + i * TR_PANEL);
  }
}

static double dot(const double *a, const double *b, size_t d) {
  double sum[8] = {0};
  for (size_t j = 0; j < d / 8 * 8; j += 8)
    for (size_t lane = 0; lane < 8; ++lane)
      sum[lane] += a[j + lane] * b[j + lane];
  for (size_t j = d / 8 * 8; j < d; ++j)
    sum[0] += a[j] * b[j];
  return (sum[0] + sum[4]) + (sum[1] + sum[5]) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

/* Gram-Schmidt, each row `passes` times. A row that depends on those before it becomes 0: a smaller subspace. */
static void orthonormalise(build *b, int passes) {
  size_t d = b->d;
  for (size_t i = 0; i < b->rank * d; ++i)
    b->exact_basis[i] = (double)b->basis[i];
  for (size_t i = 0; i < b->rank; ++i) {
    double *row = b->exact_basis + i * d, before = sqrt(dot(row, row, d));
    for (int pass = 0; pass < passes; ++pass)
      for (size_t k = 0; k < i; ++k) {
        const double *other = b->exact_basis + k * d;
        double part = dot(row, other, d);
        for (size_t j = 0; j < d; ++j)
          row[j] -= part * other[j];
      }
    double norm = sqrt(dot(row, row, d)), scale = norm > 1e-4 * before ? 1 / norm : 0;
    for (size_t j = 0; j < d; ++j)
      row[j] *= scale;
  }
  for (size_t i = 0; i < b->rank * d; ++i)
    b->basis[i] = (float)b->exact_basis[i];
}

/* coordinates[:, tile] = V X^T of a tile of the sample. */
static tr_status apply_basis(void *context, size_t task) {
  build *b = context;
  size_t first = task * TILE, n = b->sample - first < TILE ? b->sample - first : TILE;
  tile_memory t = worker_tile(b);
  for (size_t i = 0; i < n; ++i)
    centre_row(sample_row(b, first + i), b->centre, b->d, t.work + i * b->d);
  tr_panels_product(t.work, b->d, n, b->into, b->rank, b->d, t.z, b->width);
  for (size_t p = 0; p < b->rank; ++p)
    for (size_t i = 0; i < n; ++i)
      b->coordinates[p * b->sample + first + i] = t.z[i * b->width + p];
  return TR_OK;
}

/* basis[:, panel] = (V X^T) X of a panel of columns. */
static tr_status apply_sample(void *context, size_t task) {
  build *b = context;
  size_t j0 = task * TR_PANEL, width = b->d - j0 < TR_PANEL ? b->d - j0 : TR_PANEL;
  tr_panels_product(b->coordinates, b->sample, b->rank, b->sample_panels + j0 * b->sample, width, b->sample, b->basis + j0, b->d);
  return TR_OK;
}

static tr_status find_subspace(build *b, tr_pool *pool) {
  find_centre(b);
  pack_sample(b);
  for (size_t i = 0; i < b->rank; ++i)
    centre_row(sample_row(b, i * b->sample / b->rank), b->centre, b->d, b->basis + i * b->d);
  orthonormalise(b, 1);
  for (int iteration = 1; iteration <= ITERATIONS; ++iteration) {
    tr_panels_pack(b->basis, b->rank, b->d, 0, b->into);
    TR_TRY(tr_pool_run(pool, (b->sample + TILE - 1) / TILE, apply_basis, b));
    TR_TRY(tr_pool_run(pool, (b->d + TR_PANEL - 1) / TR_PANEL, apply_sample, b));
    orthonormalise(b, iteration == ITERATIONS ? 2 : 1);
  }
  return TR_OK;
}

/* V as the products want it, both ways. */
static void pack_basis(build *b) {
  tr_panels_pack(b->basis, b->rank, b->d, 0, b->into);
  memset(b->back, 0, tr_panels_rows(b->d) * b->rank * sizeof(float));
  for (size_t p = 0; p < b->rank; ++p)
    for (size_t j = 0; j < b->d; ++j)
      b->back[(j / TR_PANEL * b->rank + p) * TR_PANEL + j % TR_PANEL] = b->basis[p * b->d + j];
}

/* c of sketch.h, with e = ||V V^T - I|| over the rows of V that are not 0. */
static double error_factor(build *b) {
  double sum = 0, root = sqrt((double)b->rank);
  for (size_t i = 0; i < b->rank * b->d; ++i)
    b->exact_basis[i] = (double)b->basis[i];
  for (size_t i = 0; i < b->rank; ++i)
    for (size_t k = 0; k <= i; ++k) {
      double entry = dot(b->exact_basis + i * b->d, b->exact_basis + k * b->d, b->d);
      if (k == i && entry > 0)
        entry -= 1;
      sum += (k == i ? 1 : 2) * entry * entry;
    }
  double e = sqrt(sum);
  return 1.01 * ((2 + 2 * e) * tr_product_error(b->d) * root + tr_product_error(b->rank) * root + 4 * 0x1p-24 + e);
}

/* ---- all rows ---- */

static tr_status sketch_tile(void *context, size_t task) {
  build *b = context;
  size_t first = task * TILE, n = b->rows - first < TILE ? b->rows - first : TILE;
  tile_memory t = worker_tile(b);
  tr_sketch_rows(b->sketch, b->bank + first * b->d, n, t.z, t.distance, t.work);
  tr_panels_pack(t.z, n, b->width, first, b->panels);
  b->largest[task] = 0;
  for (size_t i = 0; i < n; ++i) {
    b->half_norms[first + i] = (float)(tr_exact_norm2(t.z + i * b->width, b->width) / 2);
    b->largest[task] = fmax(b->largest[task], t.distance[i]);
  }
  return TR_OK;
}

static tr_status sketch_bank(build *b, tr_pool *pool) {
  size_t tiles = (b->rows + TILE - 1) / TILE;
  TR_TRY(tr_pool_run(pool, tiles, sketch_tile, b));
  for (size_t t = 0; t < tiles; ++t)
    b->sketch->largest_distance = fmax(b->sketch->largest_distance, b->largest[t]);
  for (size_t i = 0; i < b->rows; ++i)
    b->sketch->largest_norm2 = fmax(b->sketch->largest_norm2, 2 * (double)b->half_norms[i]);
  return TR_OK;
}

tr_status tr_cpu_nearest_sketch(tr_device *device, const float *bank, size_t bank_rows, int d, void *sketch, void *scratch) {
  build b = make_build(bank_rows, (size_t)d);
  b.bank = bank;
  tr_sections sketch_sections = tr_sections_of(sketch), scratch_sections = tr_sections_of(scratch);
  lay_out_sketch(&b, &sketch_sections);
  lay_out_scratch(&b, device, &scratch_sections);
  TR_TRY(find_subspace(&b, tr_device_pool(device)));
  pack_basis(&b);
  *b.sketch = (tr_sketch){.rows = b.rows,
                          .d = b.d,
                          .width = b.width,
                          .error = error_factor(&b),
                          .centre = b.centre,
                          .into = b.into,
                          .back = b.back,
                          .panels = b.panels,
                          .half_norms = b.half_norms};
  return sketch_bank(&b, tr_device_pool(device));
}
