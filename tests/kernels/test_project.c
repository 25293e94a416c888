/* project against NumPy (search_project_*), its matrix, and that a row's result does not depend on its neighbours. */
#include "host/base/rng.h"
#include "host/base/status.h"
#include "kernels/project.h"
#include "tests/kernels/devices.h"

#include <math.h>

static tr_status project_on(int threads, size_t n, int d, int d_star, const float *src, const float *matrix, float *dst) {
  tr_device *device = test_device_open(threads);
  size_t src_bytes = n * (size_t)d * sizeof(float), matrix_bytes = (size_t)d_star * (size_t)d * sizeof(float);
  size_t dst_bytes = n * (size_t)d_star * sizeof(float);
  tr_project_args args = {n,
                          d,
                          d_star,
                          device_copy_of(device, src, src_bytes),
                          device_copy_of(device, matrix, matrix_bytes),
                          dst ? device_array(device, dst_bytes) : NULL};
  tr_status status = tr_project(device, &args);
  if (status == TR_OK && n > 0)
    device_read(device, dst, args.dst, dst_bytes);
  tr_device_free(device, (void *)args.src);
  tr_device_free(device, (void *)args.matrix);
  tr_device_free(device, args.dst);
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
  const bool on_gpu = strcmp(test_device, "cpu") != 0; /* a call costs a whole tile, and threads make no difference */
  for (int t = 0; t < (on_gpu ? 1 : 3); ++t) {
    assert_int_equal(project_on(threads[t], N, D, D_STAR, src, matrix, dst), TR_OK);
    for (size_t i = 0; i < N; i += on_gpu ? 43 : 1) {
      assert_int_equal(project_on(1, 1, D, D_STAR, src + i * D, matrix, alone), TR_OK);
      assert_memory_equal(dst + i * D_STAR, alone, sizeof alone);
    }
  }
  free(src);
  free(dst);
}

/* More rows than any device multiplies at once. */
static void test_many_rows(void **state) {
  (void)state;
  enum { N = 40001, D = 9, D_STAR = 5 };
  float *src = malloc(N * D * sizeof *src), *dst = malloc(N * D_STAR * sizeof *dst), matrix[D_STAR * D], alone[D_STAR];
  assert_true(src && dst);
  tr_rng rng = tr_rng_make(2, TR_RNG_TEST, 0);
  for (size_t i = 0; i < N * D; ++i)
    src[i] = tr_rng_normal(&rng);
  tr_project_matrix(0, D, D_STAR, matrix);
  assert_int_equal(project_on(2, N, D, D_STAR, src, matrix, dst), TR_OK);
  for (size_t i = 0; i < N; ++i)
    for (size_t k = 0; k < D_STAR; ++k) {
      double sum = 0;
      for (size_t j = 0; j < D; ++j)
        sum += (double)src[i * D + j] * (double)matrix[k * D + j];
      assert_true(fabs((double)dst[i * D_STAR + k] - sum) < 2e-6); /* 9 terms of at most 5 x 1/3 */
    }
  for (size_t i = 0; i < N; i += N / 7) {
    assert_int_equal(project_on(1, 1, D, D_STAR, src + i * D, matrix, alone), TR_OK);
    assert_memory_equal(dst + i * D_STAR, alone, sizeof alone);
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
      cmocka_unit_test(test_golden),    cmocka_unit_test(test_matrix),        cmocka_unit_test(test_row_alone),
      cmocka_unit_test(test_many_rows), cmocka_unit_test(test_bad_arguments),
  };
  return run_on_devices("project", tests, NULL, NULL);
}
