/* Packed matrix product: a register tile of ROWS x TR_PANEL runs down one panel. */
#include "kernels/cpu/panels.h"

#include <math.h>
#include <string.h>

enum { ROWS = 8 };

/* -ffp-contract=off keeps the compiler from fusing, so it is asked for where the processor has it. */
static inline float multiply_add(float a, float b, float c) {
#if defined(__FMA__) || defined(__FP_FAST_FMAF)
  return fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

/* RUN values of each row at a time: whole cache lines are read, and those written stay in the first-level cache. */
static void pack_panel(const float *b, size_t width, size_t k, float *panel) {
  enum { RUN = 16 };
  for (size_t p0 = 0; p0 < k; p0 += RUN) {
    size_t run = k - p0 < RUN ? k - p0 : RUN;
    for (size_t j = 0; j < width; ++j)
      for (size_t p = p0; p < p0 + run; ++p)
        panel[p * TR_PANEL + j] = b[j * k + p];
    for (size_t p = p0; p < p0 + run; ++p)
      memset(panel + p * TR_PANEL + width, 0, (TR_PANEL - width) * sizeof(float));
  }
}

void tr_panels_pack(const float *b, size_t n, size_t k, size_t first, float *panels) {
  for (size_t j = 0; j < n; j += TR_PANEL)
    pack_panel(b + j * k, n - j < TR_PANEL ? n - j : TR_PANEL, k, panels + (first + j) * k);
}

void tr_panels_put(const float *row, size_t k, size_t place, float *panels) {
  float *column = panels + place / TR_PANEL * TR_PANEL * k + place % TR_PANEL;
  for (size_t p = 0; p < k; ++p)
    column[p * TR_PANEL] = row[p];
}

/* `rows` is a constant at each call, so that the tile stays in registers. */
__attribute__((always_inline)) static inline void tile(size_t rows, const float *restrict a, size_t lda,
                                                       const float *restrict panel, size_t k, float *restrict c, size_t ldc) {
  float sum[ROWS][TR_PANEL] = {{0}};
  for (size_t p = 0; p < k; ++p)
    for (size_t i = 0; i < rows; ++i)
      for (size_t j = 0; j < TR_PANEL; ++j)
        sum[i][j] = multiply_add(a[i * lda + p], panel[p * TR_PANEL + j], sum[i][j]);
  for (size_t i = 0; i < rows; ++i)
    memcpy(c + i * ldc, sum[i], sizeof sum[i]);
}

static void run_panel(const float *a, size_t lda, size_t m, const float *panel, size_t k, float *c, size_t ldc) {
  size_t i = 0;
  for (; i + ROWS <= m; i += ROWS)
    tile(ROWS, a + i * lda, lda, panel, k, c + i * ldc, ldc);
  for (; i < m; ++i)
    tile(1, a + i * lda, lda, panel, k, c + i * ldc, ldc);
}

/* The last panel, narrower than a tile: through a buffer, so that nothing is written beyond column n. */
static void run_narrow_panel(const float *a, size_t lda, size_t m, const float *panel, size_t width, size_t k, float *c,
                             size_t ldc) {
  float buffer[ROWS][TR_PANEL];
  for (size_t i = 0; i < m; i += ROWS) {
    size_t rows = m - i < ROWS ? m - i : ROWS;
    run_panel(a + i * lda, lda, rows, panel, k, buffer[0], TR_PANEL);
    for (size_t r = 0; r < rows; ++r)
      memcpy(c + (i + r) * ldc, buffer[r], width * sizeof(float));
  }
}

void tr_panels_product(const float *a, size_t lda, size_t m, const float *panels, size_t n, size_t k, float *c, size_t ldc) {
  size_t j = 0;
  for (; j + TR_PANEL <= n; j += TR_PANEL)
    run_panel(a, lda, m, panels + j * k, k, c + j, ldc);
  if (j < n)
    run_narrow_panel(a, lda, m, panels + j * k, n - j, k, c + j, ldc);
}
