/* upsample against torch's F.interpolate in float (tests/golden/make_featops.py). */
#include "kernels/upsample.h"

#include "tests/golden/featops.h"

enum { MAPS = 2 };

static float *make_maps(tr_device *device, uint32_t stream, size_t count) {
  float *maps = featops_alloc(device, count * sizeof *maps);
  for (size_t i = 0; i < count; ++i) {
    float value = featops_noise(stream, (uint32_t)i);
    maps[i] = value > 0 ? value : 0;
  }
  return maps;
}

static void test_against_torch(void **state) {
  (void)state;
  golden_array cases = golden_read("featops_upsample_cases.npy"), values = golden_read("featops_upsample_values.npy");
  tr_device *device = featops_device(2);
  const float *expected = values.data;
  for (size_t i = 0; i < cases.shape[0]; ++i) {
    const int32_t *row = (const int32_t *)cases.data + 4 * i;
    size_t from = MAPS * (size_t)row[0] * (size_t)row[1], to = MAPS * (size_t)row[2] * (size_t)row[3];
    float *src = make_maps(device, 1000 + (uint32_t)i, from), *dst = featops_alloc(device, to * sizeof(float));
    memset(dst, 0xff, to * sizeof(float));
    print_message("case %zu: %d x %d -> %d x %d\n", i, row[0], row[1], row[2], row[3]);
    assert_int_equal(
        tr_upsample(device,
                    &(tr_upsample_args){
                        .n = MAPS, .in_h = row[0], .in_w = row[1], .out_h = row[2], .out_w = row[3], .src = src, .dst = dst}),
        TR_OK);
    expected += featops_assert_kept(dst, to, expected, 1e-6, 0);
    for (size_t k = 0; k < to; ++k)
      assert_true(dst[k] >= 0 && dst[k] <= 3); /* between the smallest and the largest input */
    tr_device_free(device, src);
    tr_device_free(device, dst);
  }
  assert_ptr_equal(expected, (const float *)values.data + values.count);
  tr_device_close(device);
  golden_free(&cases);
  golden_free(&values);
}

static void test_same_bits(void **state) {
  (void)state;
  enum { N = 17, IN = 9 * 11, OUT = 40 * 300 };
  tr_upsample_args args = {.n = N, .in_h = 9, .in_w = 11, .out_h = 40, .out_w = 300};
  tr_device *device = featops_device(1);
  float *src = make_maps(device, 7, N * IN), *first = featops_alloc(device, N * OUT * sizeof(float));
  float *again = featops_alloc(device, N * OUT * sizeof(float));
  args.src = src;
  args.dst = first;
  assert_int_equal(tr_upsample(device, &args), TR_OK);
  for (int threads = 1; threads <= 4; threads *= 2) {
    tr_device *other = featops_device(threads);
    args.dst = again;
    assert_int_equal(tr_upsample(other, &args), TR_OK);
    assert_memory_equal(again, first, N * OUT * sizeof(float));
    for (int i = 0; i < N; ++i) {
      tr_upsample_args one = args;
      one.n = 1;
      one.src = src + i * IN;
      assert_int_equal(tr_upsample(other, &one), TR_OK);
      assert_memory_equal(again, first + i * OUT, OUT * sizeof(float));
    }
    tr_device_close(other);
  }
  tr_device_free(device, src);
  tr_device_free(device, first);
  tr_device_free(device, again);
  tr_device_close(device);
}

static void test_bad_arguments(void **state) {
  (void)state;
  tr_device *device = featops_device(1);
  float src[4] = {0}, dst[4];
  const tr_upsample_args good = {.n = 1, .in_h = 2, .in_w = 2, .out_h = 2, .out_w = 2, .src = src, .dst = dst};
  tr_upsample_args args;
#define REFUSED(change, named)                                 \
  do {                                                         \
    args = good;                                               \
    change;                                                    \
    featops_assert_invalid(tr_upsample(device, &args), named); \
  } while (0)
  REFUSED(args.n = -1, "upsample: n");
  REFUSED(args.in_h = 0, "in_h");
  REFUSED(args.in_w = -1, "in_w");
  REFUSED(args.out_h = 0, "out_h");
  REFUSED(args.out_w = 1 << 16, "out_w");
  REFUSED(args.src = NULL, "src");
  REFUSED(args.dst = NULL, "dst");
  REFUSED(args.dst = src, "same memory");
#undef REFUSED
  featops_assert_invalid(tr_upsample(NULL, &good), "device");
  featops_assert_invalid(tr_upsample(device, NULL), "args");
  tr_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_torch),
      cmocka_unit_test(test_same_bits),
      cmocka_unit_test(test_bad_arguments),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
