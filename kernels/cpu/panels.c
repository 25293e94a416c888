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

void tr_panels_pack(const float *b, size_t n, size_t k, size_t first, float *panels) {
  for (size_t j0 = 0; j0 < n; j0 += TR_PANEL) {
    size_t width = n - j0 < TR_PANEL ? n - j0 : TR_PANEL;
    float *panel = panels + (first + j0) * k;
    for (size_t p = 0; p < k; ++p) {
      for (size_t j = 0; j < width; ++j)
        panel[p * TR_PANEL + j] = b[(j0 + j) * k + p];
      memset(panel + p * TR_PANEL + width, 0, (TR_PANEL - width) * sizeof(float));
    }
  }
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
