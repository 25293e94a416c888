/* project against NumPy (search_project_*), its matrix, and that a row's result does not depend on its neighbours. */
#include "host/base/rng.h"
#include "host/base/status.h"
#include "kernels/project.h"
#include "tests/golden/golden.h"

#include <math.h>

static tr_status project_on(int threads, size_t n, int d, int d_star, const float *src, const float *matrix, float *dst) {
  tr_device *device;
  assert_int_equal(tr_device_open("cpu", threads, &device), TR_OK);
  tr_status status = tr_project(device, &(tr_project_args){n, d, d_star, src, matrix, dst});
  tr_device_close(device);
  return status;
}

/* d terms of about 0.1 x 1 in floats: their roundings stay below d * 2^-24 * 0.1. */
static void test_golden(void **state) {
  (void)state;
  golden_array cases = golden_read("search_project_cases.npy"), floats = golden_read("search_project_floats.npy");
  const float *f = floats.data;
  for (size_t c = 0; c < cases.shape[0]; ++c) {
    const int32_t *size = (const int32_t *)cases.data + 3 * c;
    size_t n = (size_t)size[0], d = (size_t)size[1], d_star = (size_t)size[2];
    const float *src = f, *matrix = src + n * d, *expected = matrix + d_star * d;
    float *dst = malloc(n * d_star * sizeof *dst);
    assert_non_null(dst);
    assert_int_equal(project_on(2, n, (int)d, (int)d_star, src, matrix, dst), TR_OK);
    golden_assert_close(dst, expected, n * d_star, 1e-6f, 1e-6f);
    free(dst);
    f = expected + n * d_star;
  }
  assert_int_equal(f - (float *)floats.data, floats.count);
  golden_free(&cases);
  golden_free(&floats);
}

static void test_matrix(void **state) {
  (void)state;
  enum { D = 1024, D_STAR = 128 };
  float *a = malloc(D * D_STAR * sizeof *a), *b = malloc(D * D_STAR * sizeof *b);
  assert_true(a && b);
  tr_project_matrix(3, D, D_STAR, a);
  double sum = 0, squares = 0;
  for (size_t i = 0; i < D * D_STAR; ++i) {
    assert_true(a[i] >= -1.0f / 32 && a[i] < 1.0f / 32);
    sum += (double)a[i];
    squares += (double)a[i] * (double)a[i];
  }
  assert_true(fabs(sum / (D * D_STAR)) < 3e-4);                        /* 6 standard errors */
  assert_true(fabs(squares / (D * D_STAR) - 1.0 / (3 * 1024)) < 5e-6); /* variance of the uniform law */
  tr_project_matrix(3, D, D_STAR / 2, b);
  assert_memory_equal(a, b, D * D_STAR / 2 * sizeof *a); /* rows do not depend on how many there are */
  tr_project_matrix(4, D, D_STAR, b);
  assert_memory_not_equal(a, b, D * D_STAR * sizeof *a);
  free(a);
  free(b);
}

static void test_row_alone(void **state) {
  (void)state;
  enum { N = 301, D = 77, D_STAR = 40 };
  float *src = malloc(N * D * sizeof *src), *dst = malloc(N * D_STAR * sizeof *dst), matrix[D_STAR * D], alone[D_STAR];
  assert_true(src && dst);
  tr_rng rng = tr_rng_make(1, TR_RNG_TEST, 0);
  for (size_t i = 0; i < N * D; ++i)
    src[i] = tr_rng_normal(&rng);
  tr_project_matrix(0, D, D_STAR, matrix);
  const int threads[] = {1, 2, 4};
  for (int t = 0; t < 3; ++t) {
    assert_int_equal(project_on(threads[t], N, D, D_STAR, src, matrix, dst), TR_OK);
    for (size_t i = 0; i < N; ++i) {
      assert_int_equal(project_on(1, 1, D, D_STAR, src + i * D, matrix, alone), TR_OK);
      assert_memory_equal(dst + i * D_STAR, alone, sizeof alone);
    }
  }
  free(src);
  free(dst);
}

static void test_bad_arguments(void **state) {
  (void)state;
  float x[4] = {0};
  assert_int_equal(project_on(1, 2, 0, 1, x, x, x), TR_EINVAL);
  assert_int_equal(project_on(1, 2, 1, 0, x, x, x), TR_EINVAL);
  assert_int_equal(project_on(1, 2, 1, 1, NULL, x, x), TR_EINVAL);
  assert_int_equal(project_on(1, 2, 1, 1, x, NULL, x), TR_EINVAL);
  assert_int_equal(project_on(1, 2, 1, 1, x, x, NULL), TR_EINVAL);
  assert_int_equal(project_on(1, 0, 1, 1, NULL, NULL, NULL), TR_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_golden),
      cmocka_unit_test(test_matrix),
      cmocka_unit_test(test_row_alone),
      cmocka_unit_test(test_bad_arguments),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
