/* Matrix product. The plain one packs a panel of B (PANEL_K x PANEL_N, 32 KiB: it stays in the first-level cache) and runs a
 * register tile of ROWS x PANEL_N over it. */
#include "kernels/cpu/gemm.h"

#include <math.h>
#include <string.h>

#ifdef TR_HAVE_OPENBLAS
#include <cblas.h>
#endif

enum { ROWS = 8, PANEL_N = 32, PANEL_K = 256 };

/* -ffp-contract=off keeps the compiler from fusing, so it is asked for where the processor has it. */
static inline float multiply_add(float a, float b, float c) {
#ifdef __FP_FAST_FMAF
  return fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

static void pack_panel(const tr_gemm *g, size_t k0, size_t depth, size_t n0, size_t width, float panel[PANEL_K][PANEL_N]) {
  for (size_t k = 0; k < depth; ++k) {
    for (size_t j = 0; j < width; ++j)
      panel[k][j] = g->b_transposed ? g->b[(n0 + j) * g->ldb + k0 + k] : g->b[(k0 + k) * g->ldb + n0 + j];
    memset(panel[k] + width, 0, (PANEL_N - width) * sizeof(float));
  }
}

/* sum[i][j] = sum_k a[i*row + k*step] panel[k][j] for `rows` (constant at each call) rows. */
static inline void tile(size_t rows, size_t depth, const float *a, size_t row, size_t step, float panel[PANEL_K][PANEL_N],
                        float sum[ROWS][PANEL_N]) {
  float acc[ROWS][PANEL_N] = {{0}};
  for (size_t k = 0; k < depth; ++k)
    for (size_t i = 0; i < rows; ++i)
      for (size_t j = 0; j < PANEL_N; ++j)
        acc[i][j] = multiply_add(a[i * row + k * step], panel[k][j], acc[i][j]);
  memcpy(sum, acc, sizeof acc);
}

static void add_tile(const tr_gemm *g, size_t m0, size_t rows, size_t n0, size_t width, bool first, float sum[ROWS][PANEL_N]) {
  for (size_t i = 0; i < rows; ++i) {
    float *c = g->c + (m0 + i) * g->ldc + n0;
    for (size_t j = 0; j < width; ++j)
      c[j] = first ? sum[i][j] : c[j] + sum[i][j];
  }
}

static void run_panel(const tr_gemm *g, size_t k0, size_t depth, size_t n0, size_t width, float panel[PANEL_K][PANEL_N]) {
  float sum[ROWS][PANEL_N];
  const size_t row = g->a_transposed ? 1 : g->lda, step = g->a_transposed ? g->lda : 1;
  size_t m = 0;
  for (; m + ROWS <= g->m; m += ROWS) {
    tile(ROWS, depth, g->a + m * row + k0 * step, row, step, panel, sum);
    add_tile(g, m, ROWS, n0, width, k0 == 0, sum);
  }
  for (; m < g->m; ++m) {
    tile(1, depth, g->a + m * row + k0 * step, row, step, panel, sum);
    add_tile(g, m, 1, n0, width, k0 == 0, sum);
  }
}

void tr_cpu_gemm_plain(const tr_gemm *g) {
  float panel[PANEL_K][PANEL_N];
  for (size_t k = 0; k < g->k; k += PANEL_K)
    for (size_t n = 0; n < g->n; n += PANEL_N) {
      size_t depth = g->k - k < PANEL_K ? g->k - k : PANEL_K, width = g->n - n < PANEL_N ? g->n - n : PANEL_N;
      pack_panel(g, k, depth, n, width, panel);
      run_panel(g, k, depth, n, width, panel);
    }
}

void tr_cpu_gemm(const tr_gemm *g) {
#ifdef TR_HAVE_OPENBLAS
  cblas_sgemm(CblasRowMajor, g->a_transposed ? CblasTrans : CblasNoTrans, g->b_transposed ? CblasTrans : CblasNoTrans,
              (blasint)g->m, (blasint)g->n, (blasint)g->k, 1.0f, g->a, (blasint)g->lda, g->b, (blasint)g->ldb, 0.0f, g->c,
              (blasint)g->ldc);
#else
  tr_cpu_gemm_plain(g);
#endif
}
