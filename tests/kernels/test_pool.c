/* pool and affine against PyTorch; a GPU's results are the cpu's bits. */
#include "host/base/rng.h"
#include "kernels/pool.h"
#include "tests/kernels/devices.h"

static float *draw(size_t count, int index, uint64_t array, float scale) {
  float *values = malloc(count * sizeof *values);
  assert_non_null(values);
  tr_rng rng = tr_rng_make((uint64_t)index, TR_RNG_TEST, array);
  for (size_t i = 0; i < count; ++i)
    values[i] = tr_rng_between(&rng, -1.0f, 1.0f) * scale;
  return values;
}

/* A destination of `pixels` pixels, `stride` floats each, filled with a mark; the view is its last `channels` channels. */
typedef struct target {
  size_t pixels, stride, channels;
  float *buffer; /* host */
} target;

static target target_make(int pixels, int stride, int channels) {
  target t = {(size_t)pixels, (size_t)stride, (size_t)channels, malloc((size_t)(pixels * stride) * sizeof(float))};
  assert_non_null(t.buffer);
  for (size_t i = 0; i < t.pixels * t.stride; ++i)
    t.buffer[i] = -77.0f;
  return t;
}

static void target_check(const target *t, const float *expected, size_t samples, float tolerance) {
  size_t rest = t->stride - t->channels, count = t->pixels * t->channels;
  for (size_t i = 0; i < t->pixels * t->stride; ++i)
    if (i % t->stride < rest)
      assert_float_equal(t->buffer[i], -77.0f, 0.0f);
  for (size_t i = 0; i < samples; ++i) {
    size_t at = i * count / samples;
    float got = t->buffer[at / t->channels * t->stride + rest + at % t->channels];
    golden_assert_close(&got, &expected[i], 1, tolerance, tolerance);
  }
}

static void assert_same_bits(target *got, target *on_cpu) {
  assert_memory_equal(got->buffer, on_cpu->buffer, got->pixels * got->stride * sizeof *got->buffer);
  free(got->buffer);
  free(on_cpu->buffer);
}

static int setup(void **state) {
  *state = test_device_open(1);
  return 0;
}

static int teardown(void **state) {
  tr_device_close(*state);
  return 0;
}

/* Source and destination of `args` are host memory: the views' first channels. */
static target pool_on(tr_device *device, tr_pool_args args) {
  int out_h, out_w;
  tr_pool_shape(&args, &out_h, &out_w);
  target t = target_make(args.n * out_h * out_w, args.dst_pixel_stride, args.channels);
  size_t src_bytes = (size_t)(args.n * args.in_h * args.in_w * args.src_pixel_stride) * sizeof(float);
  size_t dst_bytes = t.pixels * t.stride * sizeof(float);
  float *src = device_copy_of(device, args.src, src_bytes), *dst = device_copy_of(device, t.buffer, dst_bytes);
  args.src = src + args.src_pixel_stride - args.channels;
  args.dst = dst + args.dst_pixel_stride - args.channels;
  assert_int_equal(tr_pool_run2d(device, &args), TR_OK);
  device_read(device, t.buffer, dst, dst_bytes);
  tr_device_free(device, src);
  tr_device_free(device, dst);
  return t;
}

static void test_pool(void **state) {
  golden_array cases = golden_read("pool_cases.npy"), expected = golden_read("pool_expected.npy");
  size_t samples = expected.shape[1];
  tr_device *cpu;
  assert_int_equal(tr_device_open("cpu", 1, &cpu), TR_OK);
  for (size_t i = 0; i < cases.shape[0]; ++i) {
    const int32_t *f = (const int32_t *)cases.data + i * 10;
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
                         .src = src};
    target got = pool_on(*state, args), on_cpu = pool_on(cpu, args);
    target_check(&got, (const float *)expected.data + i * samples, samples, 1e-7f); /* sums are made in double */
    assert_same_bits(&got, &on_cpu);
    free(src);
  }
  tr_device_close(cpu);
  golden_free(&cases);
  golden_free(&expected);
}

/* Arrays of `args` are host memory, as for pool_on. */
static target affine_on(tr_device *device, tr_affine_args args) {
  target t = target_make(args.n * args.h * args.w, args.dst_pixel_stride, args.channels);
  size_t dst_bytes = t.pixels * t.stride * sizeof(float), row_bytes = (size_t)args.channels * sizeof(float);
  float *src = device_copy_of(device, args.src, t.pixels * (size_t)args.src_pixel_stride * sizeof(float));
  float *scale = device_copy_of(device, args.scale, row_bytes), *shift = device_copy_of(device, args.shift, row_bytes);
  float *dst = device_copy_of(device, t.buffer, dst_bytes);
  args.src = src + args.src_pixel_stride - args.channels;
  args.dst = dst + args.dst_pixel_stride - args.channels;
  args.scale = scale;
  args.shift = shift;
  assert_int_equal(tr_affine(device, &args), TR_OK);
  device_read(device, t.buffer, dst, dst_bytes);
  tr_device_free(device, src);
  tr_device_free(device, scale);
  tr_device_free(device, shift);
  tr_device_free(device, dst);
  return t;
}

static void test_affine(void **state) {
  golden_array cases = golden_read("affine_cases.npy"), expected = golden_read("affine_expected.npy");
  size_t samples = expected.shape[1];
  tr_device *cpu;
  assert_int_equal(tr_device_open("cpu", 1, &cpu), TR_OK);
  for (size_t i = 0; i < cases.shape[0]; ++i) {
    const int32_t *f = (const int32_t *)cases.data + i * 7;
    int index = 2000 + (int)i;
    float *src = draw((size_t)(f[0] * f[1] * f[2] * f[4]), index, 0, 1.0f);
    float *scale = draw((size_t)f[3], index, 1, 8.0f), *shift = draw((size_t)f[3], index, 2, 8.0f);
    tr_affine_args args = {.n = f[0],
                           .h = f[1],
                           .w = f[2],
                           .channels = f[3],
                           .src_pixel_stride = f[4],
                           .dst_pixel_stride = f[5],
                           .scale = scale,
                           .shift = shift,
                           .activation = (tr_activation)f[6],
                           .src = src};
    target got = affine_on(*state, args), on_cpu = affine_on(cpu, args);
    target_check(&got, (const float *)expected.data + i * samples, samples, 2e-6f); /* two roundings of values up to 16 */
    assert_same_bits(&got, &on_cpu);
    free(src);
    free(scale);
    free(shift);
  }
  tr_device_close(cpu);
  golden_free(&cases);
  golden_free(&expected);
}

static void test_errors(void **state) {
  float zeros[64] = {0}, *data = device_copy_of(*state, zeros, sizeof zeros);
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
  tr_device_free(*state, data);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_pool), cmocka_unit_test(test_affine), cmocka_unit_test(test_errors)};
  return run_on_devices("pool", tests, setup, teardown);
}
