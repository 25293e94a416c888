/* pool and affine against PyTorch. */
#include "host/base/rng.h"
#include "kernels/pool.h"
#include "tests/golden/golden.h"

static float *draw(size_t count, int index, uint64_t array, float scale) {
  float *values = malloc(count * sizeof *values);
  assert_non_null(values);
  tr_rng rng = tr_rng_make((uint64_t)index, TR_RNG_TEST, array);
  for (size_t i = 0; i < count; ++i)
    values[i] = tr_rng_between(&rng, -1.0f, 1.0f) * scale;
  return values;
}

/* A destination of `pixels` pixels, `stride` floats each; the view is its last `channels` channels. */
typedef struct target {
  size_t pixels, stride, channels;
  float *buffer;
} target;

static target target_make(int pixels, int stride, int channels) {
  target t = {(size_t)pixels, (size_t)stride, (size_t)channels, malloc((size_t)(pixels * stride) * sizeof(float))};
  assert_non_null(t.buffer);
  for (size_t i = 0; i < t.pixels * t.stride; ++i)
    t.buffer[i] = -77.0f;
  return t;
}

static void target_check(target *t, const float *expected, size_t samples, float tolerance) {
  size_t rest = t->stride - t->channels, count = t->pixels * t->channels;
  for (size_t i = 0; i < t->pixels * t->stride; ++i)
    if (i % t->stride < rest)
      assert_float_equal(t->buffer[i], -77.0f, 0.0f);
  for (size_t i = 0; i < samples; ++i) {
    size_t at = i * count / samples;
    float got = t->buffer[at / t->channels * t->stride + rest + at % t->channels];
    golden_assert_close(&got, &expected[i], 1, tolerance, tolerance);
  }
  free(t->buffer);
}

static int setup(void **state) {
  tr_device *device;
  assert_int_equal(tr_device_open("cpu", 1, &device), TR_OK);
  *state = device;
  return 0;
}

static int teardown(void **state) {
  tr_device_close(*state);
  return 0;
}

static void test_pool(void **state) {
  golden_array cases = golden_read("pool_cases.npy"), expected = golden_read("pool_expected.npy");
  size_t samples = expected.shape[1];
  for (size_t i = 0; i < cases.shape[0]; ++i) {
    const int32_t *f = (const int32_t *)cases.data + i * 10;
    int out_h, out_w;
    float *src = draw((size_t)(f[1] * f[2] * f[3] * f[8]), 1000 + (int)i, 0, 1.0f);
    tr_pool_args args = {.kind = (tr_pool_kind)f[0],
                         .n = f[1],
                         .in_h = f[2],
                         .in_w = f[3],
                         .channels = f[4],
                         .kernel = f[5],
                         .stride = f[6],
                         .pad = f[7],
                         .src_pixel_stride = f[8],
                         .dst_pixel_stride = f[9],
                         .src = src + f[8] - f[4]};
    tr_pool_shape(&args, &out_h, &out_w);
    target t = target_make(f[1] * out_h * out_w, f[9], f[4]);
    args.dst = t.buffer + f[9] - f[4];
    assert_int_equal(tr_pool_run2d(*state, &args), TR_OK);
    target_check(&t, (const float *)expected.data + i * samples, samples, 1e-7f); /* sums are made in double */
    free(src);
  }
  golden_free(&cases);
  golden_free(&expected);
}

static void test_affine(void **state) {
  golden_array cases = golden_read("affine_cases.npy"), expected = golden_read("affine_expected.npy");
  size_t samples = expected.shape[1];
  for (size_t i = 0; i < cases.shape[0]; ++i) {
    const int32_t *f = (const int32_t *)cases.data + i * 7;
    int index = 2000 + (int)i;
    float *src = draw((size_t)(f[0] * f[1] * f[2] * f[4]), index, 0, 1.0f);
    float *scale = draw((size_t)f[3], index, 1, 8.0f), *shift = draw((size_t)f[3], index, 2, 8.0f);
    target t = target_make(f[0] * f[1] * f[2], f[5], f[3]);
    tr_affine_args args = {.n = f[0],
                           .h = f[1],
                           .w = f[2],
                           .channels = f[3],
                           .src_pixel_stride = f[4],
                           .dst_pixel_stride = f[5],
                           .scale = scale,
                           .shift = shift,
                           .activation = (tr_activation)f[6],
                           .src = src + f[4] - f[3],
                           .dst = t.buffer + f[5] - f[3]};
    assert_int_equal(tr_affine(*state, &args), TR_OK);
    target_check(&t, (const float *)expected.data + i * samples, samples, 2e-6f); /* two roundings of values up to 16 */
    free(src);
    free(scale);
    free(shift);
  }
  golden_free(&cases);
  golden_free(&expected);
}

static void test_errors(void **state) {
  float data[64] = {0};
  tr_pool_args good = {.kind = TR_POOL_MAX,
                       .n = 1,
                       .in_h = 2,
                       .in_w = 2,
                       .channels = 4,
                       .kernel = 2,
                       .stride = 2,
                       .src_pixel_stride = 4,
                       .dst_pixel_stride = 4,
                       .src = data,
                       .dst = data + 32};
  assert_int_equal(tr_pool_run2d(*state, &good), TR_OK);
  tr_pool_args bad = good;
  bad.kernel = 3;
  assert_int_equal(tr_pool_run2d(*state, &bad), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "smaller than the 3x3 window"));
  bad = good;
  bad.pad = 2;
  assert_int_equal(tr_pool_run2d(*state, &bad), TR_EINVAL);
  bad = good;
  bad.kind = TR_POOL_AVERAGE;
  bad.pad = 1;
  assert_int_equal(tr_pool_run2d(*state, &bad), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "average"));
  bad = good;
  bad.dst_pixel_stride = 3;
  assert_int_equal(tr_pool_run2d(*state, &bad), TR_EINVAL);
  bad = good;
  bad.src = NULL;
  assert_int_equal(tr_pool_run2d(*state, &bad), TR_EINVAL);
  bad = good;
  bad.n = 0;
  assert_int_equal(tr_pool_run2d(*state, &bad), TR_EINVAL);

  tr_affine_args affine = {.n = 1,
                           .h = 1,
                           .w = 1,
                           .channels = 4,
                           .src_pixel_stride = 4,
                           .dst_pixel_stride = 4,
                           .scale = data,
                           .src = data,
                           .dst = data + 32};
  assert_int_equal(tr_affine(*state, &affine), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "shift missing"));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_pool), cmocka_unit_test(test_affine), cmocka_unit_test(test_errors)};
  return cmocka_run_group_tests_name("pool", tests, setup, teardown);
}
