/* upsample against torch's F.interpolate in float (tests/golden/make_featops.py); a GPU's maps are the cpu's bits. */
#include "kernels/upsample.h"

#include "tests/golden/featops.h"

enum { MAPS = 2 };

static float *make_maps(uint32_t stream, size_t count) {
  float *maps = featops_array(count);
  for (size_t i = 0; i < count; ++i) {
    float value = featops_noise(stream, (uint32_t)i);
    maps[i] = value > 0 ? value : 0;
  }
  return maps;
}

/* `given` with arrays of the host. */
static void run_on(tr_device *device, const tr_upsample_args *given) {
  tr_upsample_args args = *given;
  size_t from = (size_t)args.n * (size_t)args.in_h * (size_t)args.in_w * sizeof(float);
  size_t to = (size_t)args.n * (size_t)args.out_h * (size_t)args.out_w * sizeof(float);
  memset(given->dst, 0xff, to); /* NaN: a value not written shows */
  float *src = device_copy_of(device, args.src, from), *dst = device_copy_of(device, args.dst, to);
  args.src = src;
  args.dst = dst;
  assert_int_equal(tr_upsample(device, &args), TR_OK);
  device_read(device, given->dst, dst, to);
  tr_device_free(device, src);
  tr_device_free(device, dst);
}

static void check_case(tr_device *device, tr_device *cpu, tr_upsample_args args, const float **expected) {
  size_t to = (size_t)args.n * (size_t)args.out_h * (size_t)args.out_w;
  float *dst = featops_array(to), *on_cpu = featops_array(to);
  args.dst = dst;
  run_on(device, &args);
  if (expected)
    *expected += featops_assert_kept(dst, to, *expected, 1e-6, 0);
  for (size_t k = 0; k < to; ++k)
    assert_true(dst[k] >= 0 && dst[k] <= 3); /* between the smallest and the largest input */
  args.dst = on_cpu;
  run_on(cpu, &args);
  assert_memory_equal(dst, on_cpu, to * sizeof *dst);
  free(dst);
  free(on_cpu);
}

static void test_against_torch(void **state) {
  (void)state;
  golden_array cases = golden_read("featops_upsample_cases.npy"), values = golden_read("featops_upsample_values.npy");
  tr_device *device = test_device_open(2), *cpu = featops_cpu(1);
  const float *expected = values.data;
  for (size_t i = 0; i < cases.shape[0]; ++i) {
    const int32_t *row = (const int32_t *)cases.data + 4 * i;
    print_message("case %zu: %d x %d -> %d x %d\n", i, row[0], row[1], row[2], row[3]);
    float *src = make_maps(1000 + (uint32_t)i, MAPS * (size_t)row[0] * (size_t)row[1]);
    const tr_upsample_args args = {.n = MAPS, .in_h = row[0], .in_w = row[1], .out_h = row[2], .out_w = row[3], .src = src};
    check_case(device, cpu, args, &expected);
    free(src);
  }
  assert_ptr_equal(expected, (const float *)values.data + values.count);
  tr_device_close(device);
  tr_device_close(cpu);
  golden_free(&cases);
  golden_free(&values);
}

/* One row, one column, many maps, rows that are a multiple of four and rows that are not. */
static void test_other_shapes(void **state) {
  (void)state;
  const int shapes[][5] = {{1, 1, 1, 1, 1},  {17, 1, 9, 1, 33}, {17, 9, 1, 34, 1}, {3, 5, 7, 5, 7},
                           {1, 3, 3, 2, 12}, {2, 6, 5, 9, 130}, {300, 2, 2, 3, 4}, {1, 30, 31, 12, 8}};
  tr_device *device = test_device_open(1), *cpu = featops_cpu(1);
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) {
    const int *s = shapes[i];
    float *src = make_maps(1100 + (uint32_t)i, (size_t)s[0] * (size_t)s[1] * (size_t)s[2]);
    const tr_upsample_args args = {.n = s[0], .in_h = s[1], .in_w = s[2], .out_h = s[3], .out_w = s[4], .src = src};
    check_case(device, cpu, args, NULL);
    free(src);
  }
  tr_device_close(device);
  tr_device_close(cpu);
}

static void test_same_bits(void **state) {
  (void)state;
  enum { N = 17, IN = 9 * 11, OUT = 40 * 300 };
  float *src = make_maps(7, N * IN), *first = featops_array(N * OUT), *again = featops_array(N * OUT);
  tr_upsample_args args = {.n = N, .in_h = 9, .in_w = 11, .out_h = 40, .out_w = 300, .src = src, .dst = first};
  tr_device *device = test_device_open(1);
  run_on(device, &args);
  for (int threads = 1; threads <= 4; threads *= 2) {
    tr_device *other = test_device_open(threads);
    args.dst = again;
    run_on(other, &args);
    assert_memory_equal(again, first, N * OUT * sizeof(float));
    for (int i = 0; i < N; ++i) {
      tr_upsample_args one = args;
      one.n = 1;
      one.src = src + i * IN;
      run_on(other, &one);
      assert_memory_equal(again, first + i * OUT, OUT * sizeof(float));
    }
    tr_device_close(other);
  }
  free(src);
  free(first);
  free(again);
  tr_device_close(device);
}

static void test_bad_arguments(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
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
      cmocka_unit_test(test_other_shapes),
      cmocka_unit_test(test_same_bits),
      cmocka_unit_test(test_bad_arguments),
  };
  return run_on_devices("upsample", tests, NULL, NULL);
}
