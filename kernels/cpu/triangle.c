/* Two register tiles do the work: dots of 4 rows with 4 rows, and sums of scaled rows, 8 x 32. The Cholesky factorisation goes
 * block row by block row (left-looking), all of it dots of rows. Inverted diagonal blocks make solving a matter of tiles too.
 *
 * One core of an EPYC 9004 (AVX-512, peak 118 GFLOP/s), gcc 12 and clang 14: 95 gram of 120 rows, 108 dot, 112 subtract, 76 the factor of 550 rows (OpenBLAS's spotrf: 50), 87 forward with 32 rows.
 * Compiled with -ffp-contract=fast for the fused steps (vector types know no fmaf), and with -mtune=generic: gcc 12 takes this
 * processor for its predecessor and folds the loads of `row` into four instructions, which halves dot's speed. */
#include "kernels/cpu/triangle.h"

#include <math.h>
#include <string.h>

enum { LANES = 16, BLOCK = TR_TRIANGLE, ROWS = 4, COLUMNS = 4, TALL = 8, VECTORS = 2, WIDE = VECTORS * LANES };

typedef float lanes __attribute__((vector_size(64), aligned(4), may_alias));

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* A tile's extents are constants at each call: inlined, it stays in registers. */
#define TILE __attribute__((always_inline)) static inline

static inline lanes load(const float *from) {
  return *(const lanes *)from;
}

/* ---- dots of rows ---- */

#define PAIR(a, b, at)                                                                                                       \
  (__builtin_shufflevector(a, b, at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), 16 + at(0), 16 + at(1), 16 + at(2), \
                           16 + at(3), 16 + at(4), 16 + at(5), 16 + at(6), 16 + at(7)))
/* Element i of the lower and of the upper halves of groups of 16, 8, 4 and 2. */
#define LOW_16(i)  (i)
#define HIGH_16(i) ((i) + 8)
#define LOW_8(i)   ((i) / 4 * 8 + (i) % 4)
#define HIGH_8(i)  (LOW_8(i) + 4)
#define LOW_4(i)   ((i) / 2 * 4 + (i) % 2)
#define HIGH_4(i)  (LOW_4(i) + 2)
#define LOW_2(i)   ((i)*2)
#define HIGH_2(i)  ((i)*2 + 1)

/* Element i of the result: the sum of parts[i], halves added to halves. */
TILE lanes sums_of(lanes parts[LANES]) {
  UNROLL
  for (int i = 0; i < 8; ++i)
    parts[i] = PAIR(parts[2 * i], parts[2 * i + 1], LOW_16) + PAIR(parts[2 * i], parts[2 * i + 1], HIGH_16);
  UNROLL
  for (int i = 0; i < 4; ++i)
    parts[i] = PAIR(parts[2 * i], parts[2 * i + 1], LOW_8) + PAIR(parts[2 * i], parts[2 * i + 1], HIGH_8);
  UNROLL
  for (int i = 0; i < 2; ++i)
    parts[i] = PAIR(parts[2 * i], parts[2 * i + 1], LOW_4) + PAIR(parts[2 * i], parts[2 * i + 1], HIGH_4);
  return PAIR(parts[0], parts[1], LOW_2) + PAIR(parts[0], parts[1], HIGH_2);
}

TILE void tile_dot(size_t rows, size_t columns, const float *a, size_t a_pitch, const float *b, size_t b_pitch, size_t depth,
                   float *c, size_t c_pitch) {
  lanes sum[ROWS * COLUMNS] = {{0}};
  for (size_t k = 0; k < depth; k += LANES) {
    lanes column[COLUMNS];
    UNROLL
    for (size_t j = 0; j < columns; ++j)
      column[j] = load(b + j * b_pitch + k);
    UNROLL
    for (size_t i = 0; i < rows; ++i) {
      lanes row = load(a + i * a_pitch + k);
      UNROLL
      for (size_t j = 0; j < columns; ++j)
        sum[i * COLUMNS + j] += row * column[j];
    }
  }
  lanes sums = sums_of(sum);
  UNROLL
  for (size_t i = 0; i < rows; ++i)
    UNROLL
  for (size_t j = 0; j < columns; ++j)
    c[i * c_pitch + j] = sums[i * COLUMNS + j];
}

/* Where a tile of `size` begins: the last one is drawn back to end with the rows, and computes some elements again. */
static inline size_t tile_start(size_t i, size_t rows, size_t size) {
  return i + size <= rows || rows < size ? i : rows - size;
}

void tr_cpu_triangle_dot(const float *a, size_t m, size_t a_pitch, const float *b, size_t n, size_t b_pitch, size_t depth,
                         float *c, size_t c_pitch) {
  for (size_t j = 0; j < n; j += n < COLUMNS ? 1 : COLUMNS) {
    size_t y = tile_start(j, n, COLUMNS);
    const float *columns = b + y * b_pitch;
    for (size_t i = 0; i < m; i += m < ROWS ? 1 : ROWS) {
      size_t x = tile_start(i, m, ROWS);
      const float *rows = a + x * a_pitch;
      float *to = c + x * c_pitch + y;
      if (m >= ROWS && n >= COLUMNS)
        tile_dot(ROWS, COLUMNS, rows, a_pitch, columns, b_pitch, depth, to, c_pitch);
      else if (n >= COLUMNS)
        tile_dot(1, COLUMNS, rows, a_pitch, columns, b_pitch, depth, to, c_pitch);
      else if (m >= ROWS)
        tile_dot(ROWS, 1, rows, a_pitch, columns, b_pitch, depth, to, c_pitch);
      else
        tile_dot(1, 1, rows, a_pitch, columns, b_pitch, depth, to, c_pitch);
    }
  }
}

/* ---- sums of scaled rows ---- */

/* A matrix that is read element by element: element (i, k) is at[i * row + k * column]. */
typedef struct factors {
  const float *at;
  size_t row, column;
} factors;

/* c_i += sign * sum_k a(i, k) b_k */
TILE void tile_sum(float sign, size_t rows, size_t vectors, factors a, size_t depth, const float *b, size_t b_pitch, float *c,
                   size_t c_pitch) {
  lanes sum[TALL][VECTORS] = {{{0}}};
  for (size_t k = 0; k < depth; ++k) {
    lanes row[VECTORS];
    UNROLL
    for (size_t j = 0; j < vectors; ++j)
      row[j] = load(b + k * b_pitch + j * LANES);
    UNROLL
    for (size_t i = 0; i < rows; ++i) {
      float factor = a.at[i * a.row + k * a.column];
      UNROLL
      for (size_t j = 0; j < vectors; ++j)
        sum[i][j] += factor * row[j];
    }
  }
  UNROLL
  for (size_t i = 0; i < rows; ++i)
    UNROLL
  for (size_t j = 0; j < vectors; ++j)
    *(lanes *)(c + i * c_pitch + j * LANES) += sign * sum[i][j];
}

/* The columns of one tile, all rows. */
TILE void sum_columns(float sign, size_t vectors, size_t m, factors a, size_t depth, const float *b, size_t b_pitch, float *c,
                      size_t c_pitch) {
  size_t i = 0;
  for (; i + TALL <= m; i += TALL) {
    factors rows = {a.at + i * a.row, a.row, a.column};
    tile_sum(sign, TALL, vectors, rows, depth, b, b_pitch, c + i * c_pitch, c_pitch);
  }
  for (; i < m; ++i) {
    factors rows = {a.at + i * a.row, a.row, a.column};
    tile_sum(sign, 1, vectors, rows, depth, b, b_pitch, c + i * c_pitch, c_pitch);
  }
}

TILE void sum_rows(float sign, size_t m, size_t width, factors a, size_t depth, const float *b, size_t b_pitch, float *c,
                   size_t c_pitch) {
  size_t j = 0;
  for (; j + WIDE <= width; j += WIDE)
    sum_columns(sign, VECTORS, m, a, depth, b + j, b_pitch, c + j, c_pitch);
  if (j < width)
    sum_columns(sign, 1, m, a, depth, b + j, b_pitch, c + j, c_pitch);
}

void tr_cpu_triangle_subtract(const float *a, size_t m, size_t a_pitch, const float *b, size_t n, size_t b_pitch, size_t width,
                              float *c, size_t c_pitch) {
  sum_rows(-1, m, width, (factors){a, a_pitch, 1}, n, b, b_pitch, c, c_pitch);
}

/* ---- Cholesky ---- */

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

void tr_cpu_triangle_gram(float *triangle, size_t n, const float *rows, size_t pitch) {
  memset(triangle, 0, tr_triangle_floats(n) * sizeof *triangle);
  for (size_t i = 0; i < n; i += BLOCK)
    tr_cpu_triangle_dot(rows + i * pitch, least(BLOCK, n - i), pitch, rows, least(i + BLOCK, n), pitch, pitch,
                        triangle + tr_triangle_offset(i / BLOCK), i + BLOCK);
}

static void copy_block(const float *from, float *to, size_t rows, size_t pitch) {
  for (size_t i = 0; i < rows; ++i)
    memcpy(to + i * pitch, from + i * BLOCK, BLOCK * sizeof *to);
}

static void subtract_block(const float *from, float *to, size_t rows, size_t pitch) {
  for (size_t i = 0; i < rows; ++i)
    for (size_t j = 0; j < BLOCK; ++j)
      to[i * pitch + j] -= from[i * BLOCK + j];
}

static bool factor_block(float *a, size_t pitch) {
  for (size_t j = 0; j < BLOCK; ++j) {
    float pivot = a[j * pitch + j];
    if (!(pivot > 0 && pivot < INFINITY))
      return false;
    a[j * pitch + j] = sqrtf(pivot);
    for (size_t i = j + 1; i < BLOCK; ++i)
      a[i * pitch + j] /= a[j * pitch + j];
    for (size_t i = j + 1; i < BLOCK; ++i)
      for (size_t k = j + 1; k <= i; ++k)
        a[i * pitch + k] -= a[i * pitch + j] * a[k * pitch + j];
  }
  return true;
}

/* The inverse of a lower triangle, zeros above. */
static void invert_block(float *a, size_t pitch) {
  float inverse[BLOCK * BLOCK] = {0};
  for (size_t i = 0; i < BLOCK; ++i) {
    float *row = inverse + i * BLOCK;
    row[i] = 1;
    for (size_t k = 0; k < i; ++k)
      for (size_t j = 0; j < BLOCK; ++j)
        row[j] -= a[i * pitch + k] * inverse[k * BLOCK + j];
    for (size_t j = 0; j < BLOCK; ++j)
      row[j] /= a[i * pitch + i];
  }
  copy_block(inverse, a, BLOCK, pitch);
}

/* Block (i, j) of L, j < i, from that of A: (A - L_i L_j^T) times the inverse of L's diagonal block, transposed. */
static void solve_block(float *row, size_t pitch, const float *above, size_t j) {
  float work[BLOCK * BLOCK], *here = row + j * BLOCK;
  size_t above_pitch = (j + 1) * BLOCK;
  if (j > 0) {
    tr_cpu_triangle_dot(row, BLOCK, pitch, above, BLOCK, above_pitch, j * BLOCK, work, BLOCK);
    subtract_block(work, here, BLOCK, pitch);
  }
  tr_cpu_triangle_dot(here, BLOCK, pitch, above + j * BLOCK, BLOCK, above_pitch, BLOCK, work, BLOCK);
  copy_block(work, here, BLOCK, pitch);
}

bool tr_cpu_triangle_factor(float *triangle, size_t n) {
  size_t blocks = tr_triangle_round(n) / BLOCK;
  for (size_t i = n; i < blocks * BLOCK; ++i)
    triangle[tr_triangle_offset(blocks - 1) + i % BLOCK * blocks * BLOCK + i] = 1;
  for (size_t i = 0; i < blocks; ++i) {
    float work[BLOCK * BLOCK], *row = triangle + tr_triangle_offset(i), *diagonal = row + i * BLOCK;
    size_t pitch = (i + 1) * BLOCK;
    for (size_t j = 0; j < i; ++j)
      solve_block(row, pitch, triangle + tr_triangle_offset(j), j);
    if (i > 0) {
      tr_cpu_triangle_dot(row, BLOCK, pitch, row, BLOCK, pitch, i * BLOCK, work, BLOCK);
      subtract_block(work, diagonal, BLOCK, pitch);
    }
    if (!factor_block(diagonal, pitch))
      return false;
    invert_block(diagonal, pitch);
  }
  return true;
}

/* ---- orthogonal updates ---- */

/* Householder reflections that clear a panel of `m` rows against a diagonal block of R, in the compact form I - V T V^T (Schreiber and
 * Van Loan, 1989). V is a unit matrix on R's rows, and `v` on the others. */
typedef struct reflections {
  lanes v[TR_TRIANGLE_MOST_ROWS]; /* [m][column] */
  lanes t[BLOCK];                 /* T by columns */
} reflections;

/* Numbers of the lanes above j; 0 in the others. */
static inline lanes above(lanes values, size_t j) {
  lanes out = {0};
  for (size_t k = j + 1; k < LANES; ++k)
    out[k] = values[k];
  return out;
}

/* Column j of the panel against row j of the diagonal block. Columns before j of the panel hold v. */
static void reflect(reflections *h, lanes *row, size_t m, size_t j) {
  lanes dots = {0}, products = {0};
  for (size_t r = 0; r < m; ++r)
    dots += h->v[r][j] * h->v[r];
  h->t[j] = (lanes){0};
  if (dots[j] == 0)
    return;
  float alpha = (*row)[j], beta = -copysignf(sqrtf(alpha * alpha + dots[j]), alpha);
  float tau = (beta - alpha) / beta, scale = 1 / (alpha - beta);
  lanes change = above(tau * (*row + scale * dots), j);
  *row -= change;
  (*row)[j] = beta;
  for (size_t r = 0; r < m; ++r) {
    float x = scale * h->v[r][j];
    h->v[r] -= x * change;
    h->v[r][j] = x;
  }
  for (size_t k = 0; k < j; ++k)
    products += h->t[k] * (scale * dots[k]);
  h->t[j] = -tau * products;
  h->t[j][j] = tau;
}

static size_t upper_offset(size_t blocks, size_t block) {
  return (size_t)BLOCK * BLOCK * (block * blocks - block * (block - (block > 0)) / 2);
}

void tr_cpu_triangle_start(float *upper, size_t n, float root) {
  size_t blocks = tr_triangle_round(n) / BLOCK;
  memset(upper, 0, tr_triangle_floats(n) * sizeof *upper);
  for (size_t i = 0; i < blocks * BLOCK; ++i)
    upper[upper_offset(blocks, i / BLOCK) + i % BLOCK * (blocks - i / BLOCK) * BLOCK + i % BLOCK] = i < n ? root : 1;
}

void tr_cpu_triangle_update(float *upper, size_t n, float *rows, size_t m, size_t pitch, float *work) {
  size_t blocks = tr_triangle_round(n) / BLOCK;
  for (size_t block = 0; block < blocks; ++block) {
    reflections h;
    size_t width = (blocks - block) * BLOCK, rest = width - BLOCK;
    float *r = upper + upper_offset(blocks, block), *x = rows + block * BLOCK;
    for (size_t i = 0; i < m; ++i)
      h.v[i] = load(x + i * pitch);
    for (size_t j = 0; j < BLOCK; ++j)
      reflect(&h, (lanes *)(r + j * width), m, j);
    if (rest == 0)
      return;
    /* W = R + V^T X; R -= T^T W; X -= (V T^T) W */
    for (size_t j = 0; j < BLOCK; ++j)
      memcpy(work + j * pitch, r + j * width + BLOCK, rest * sizeof *work);
    sum_rows(1, BLOCK, rest, (factors){(const float *)h.v, 1, LANES}, m, x + BLOCK, pitch, work, pitch);
    sum_rows(-1, BLOCK, rest, (factors){(const float *)h.t, LANES, 1}, BLOCK, work, pitch, r + BLOCK, width);
    lanes product[TR_TRIANGLE_MOST_ROWS];
    for (size_t i = 0; i < m; ++i) {
      product[i] = (lanes){0};
      for (size_t j = 0; j < BLOCK; ++j)
        product[i] += h.v[i][j] * h.t[j];
    }
    sum_rows(-1, m, rest, (factors){(const float *)product, LANES, 1}, BLOCK, work, pitch, x + BLOCK, pitch);
  }
}

/* The sign of a row of R is free: L gets a positive diagonal. */
bool tr_cpu_triangle_finish(const float *upper, size_t n, float scale, float *triangle) {
  size_t blocks = tr_triangle_round(n) / BLOCK;
  for (size_t i = 0; i < blocks; ++i) {
    size_t width = (blocks - i) * BLOCK;
    const float *r = upper + upper_offset(blocks, i);
    for (size_t row = 0; row < BLOCK; ++row) {
      float diagonal = r[row * width + row], factor = copysignf(scale, diagonal);
      if (!(fabsf(diagonal) > 0 && fabsf(diagonal) < INFINITY))
        return false;
      for (size_t j = i; j < blocks; ++j)
        for (size_t column = 0; column < BLOCK; ++column)
          triangle[tr_triangle_offset(j) + column * (j + 1) * BLOCK + i * BLOCK + row] =
              factor * r[row * width + (j - i) * BLOCK + column];
    }
  }
  for (size_t i = 0; i < blocks; ++i)
    invert_block(triangle + tr_triangle_offset(i) + i * BLOCK, (i + 1) * BLOCK);
  return true;
}

/* ---- solve ---- */

void tr_cpu_triangle_forward(const float *triangle, size_t n, float *rows, size_t m, size_t pitch) {
  float work[BLOCK * BLOCK];
  for (size_t i = 0; i < m; i += BLOCK) {
    size_t count = least(BLOCK, m - i);
    float *x = rows + i * pitch;
    for (size_t block = 0; block * BLOCK < n; ++block) {
      const float *row = triangle + tr_triangle_offset(block);
      size_t width = (block + 1) * BLOCK;
      float *here = x + block * BLOCK;
      if (block > 0) {
        tr_cpu_triangle_dot(x, count, pitch, row, BLOCK, width, block * BLOCK, work, BLOCK);
        subtract_block(work, here, count, pitch);
      }
      tr_cpu_triangle_dot(here, count, pitch, row + block * BLOCK, BLOCK, width, BLOCK, work, BLOCK);
      copy_block(work, here, count, pitch);
    }
  }
}

void tr_cpu_triangle_backward(const float *triangle, size_t n, float *rows, size_t m, size_t pitch) {
  for (size_t block = tr_triangle_round(n) / BLOCK; block-- > 0;) {
    const float *row = triangle + tr_triangle_offset(block), *diagonal = row + block * BLOCK;
    size_t width = (block + 1) * BLOCK;
    for (size_t i = 0; i < m; ++i) {
      float *here = rows + i * pitch + block * BLOCK;
      lanes sum = {0};
      for (size_t k = 0; k < BLOCK; ++k)
        sum += here[k] * load(diagonal + k * width);
      *(lanes *)here = sum;
    }
    sum_rows(-1, m, block * BLOCK, (factors){rows + block * BLOCK, pitch, 1}, BLOCK, row, width, rows, pitch);
  }
}
