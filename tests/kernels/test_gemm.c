/* The cpu twins' matrix product, both makes, against sums in double. */
#include "host/base/rng.h"
#include "kernels/cpu/gemm.h"
#include "tests/golden/golden.h"

#include <math.h>

static float *draw(size_t count, uint64_t array) {
  float *values = malloc(count * sizeof *values);
  assert_non_null(values);
  tr_rng rng = tr_rng_make(7, TR_RNG_TEST, array);
  for (size_t i = 0; i < count; ++i)
    values[i] = tr_rng_between(&rng, -1.0f, 1.0f);
  return values;
}

static void check(const tr_gemm *g) {
  for (size_t i = 0; i < g->m; ++i)
    for (size_t j = 0; j < g->ldc; ++j) {
      double sum = 0;
      for (size_t k = 0; k < g->k && j < g->n; ++k)
        sum += (double)g->a[g->a_transposed ? k * g->lda + i : i * g->lda + k] *
               (double)(g->b_transposed ? g->b[j * g->ldb + k] : g->b[k * g->ldb + j]);
      double expected = j < g->n ? sum : -77.0, got = (double)g->c[i * g->ldc + j];
      if (!(fabs(got - expected) <= 2e-6 * sqrt((double)g->k) + 1e-7)) /* a random walk of rounding errors of terms below 1 */
        fail_msg("%zux%zux%zu transposed %d %d, [%zu,%zu]: got %.9g, expected %.9g", g->m, g->n, g->k, g->a_transposed,
                 g->b_transposed, i, j, got, expected);
    }
}

static void test_products(void **state) {
  (void)state;
  static const size_t sizes[][3] = {{1, 1, 1}, {8, 32, 256}, {9, 33, 257}, {70, 40, 600}, {3, 100, 5}, {17, 7, 300}};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; ++s)
    for (int variant = 0; variant < 8; ++variant) {
      size_t m = sizes[s][0], n = sizes[s][1], k = sizes[s][2];
      bool transposed = variant & 1, a_transposed = variant & 4;
      size_t lda = (a_transposed ? m : k) + 5, ldb = (transposed ? k : n) + 3;
      float *a = draw((a_transposed ? k : m) * lda, 0), *b = draw((transposed ? n : k) * ldb, 1),
            *c = malloc(m * (n + 2) * sizeof *c);
      assert_non_null(c);
      for (size_t i = 0; i < m * (n + 2); ++i)
        c[i] = -77.0f;
      tr_gemm g = {m, n, k, a, lda, b, ldb, transposed, c, n + 2, a_transposed};
      if (variant & 2)
        tr_cpu_gemm(&g);
      else
        tr_cpu_gemm_plain(&g);
      check(&g);
      free(a);
      free(b);
      free(c);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_products)};
  return cmocka_run_group_tests_name("gemm", tests, NULL, NULL);
}
