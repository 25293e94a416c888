/* smooth against scipy.ndimage.gaussian_filter on float maps (tests/golden/make_featops.py); a GPU's maps are the cpu's bits. */
#include "kernels/smooth.h"

#include "tests/golden/featops.h"

#include <math.h>

static void make_map(uint32_t stream, size_t count, float *map) {
  for (size_t i = 0; i < count; ++i) {
    float value = featops_noise(stream, (uint32_t)i);
    map[i] = value > 0 ? 100 * value : 0;
  }
}

/* maps: host, in place. */
static void smooth(tr_device *device, int n, int h, int w, float sigma, float *maps) {
  size_t bytes = (size_t)n * (size_t)h * (size_t)w * sizeof *maps;
  void *scratch = device_array(device, tr_smooth_scratch(device, n, h, w));
  tr_smooth_args args = {.n = n, .h = h, .w = w, .sigma = sigma, .maps = device_copy_of(device, maps, bytes), .scratch = scratch};
  assert_int_equal(tr_smooth(device, &args), TR_OK);
  device_read(device, maps, args.maps, bytes);
  tr_device_free(device, args.maps);
  tr_device_free(device, scratch);
}

/* Smooths `map`, in place; the cpu gives the same bits. */
static void smooth_on_both(tr_device *device, tr_device *cpu, int n, int h, int w, float sigma, float *map) {
  size_t count = (size_t)n * (size_t)h * (size_t)w;
  float *on_cpu = featops_array(count);
  memcpy(on_cpu, map, count * sizeof *map);
  smooth(device, n, h, w, sigma, map);
  smooth(cpu, n, h, w, sigma, on_cpu);
  assert_memory_equal(map, on_cpu, count * sizeof *map);
  free(on_cpu);
}

static void test_against_scipy(void **state) {
  (void)state;
  golden_array cases = golden_read("featops_smooth_cases.npy"), values = golden_read("featops_smooth_values.npy");
  tr_device *device = test_device_open(2), *cpu = featops_cpu(1);
  const float *expected = values.data;
  for (size_t i = 0; i < cases.shape[0]; ++i) {
    const float *row = (const float *)cases.data + 3 * i;
    int h = (int)row[0], w = (int)row[1];
    size_t count = (size_t)h * (size_t)w;
    float *map = featops_array(count);
    make_map(2000 + (uint32_t)i, count, map);
    print_message("case %zu: %d x %d, sigma %g\n", i, h, w, (double)row[2]);
    smooth_on_both(device, cpu, 1, h, w, row[2], map);
    expected += featops_assert_kept(map, count, expected, 2e-7, 0); /* the last place of a float */
    free(map);
  }
  assert_ptr_equal(expected, (const float *)values.data + values.count);
  tr_device_close(device);
  tr_device_close(cpu);
  golden_free(&cases);
  golden_free(&values);
}

/* One row, one column, tiles that end inside the map, many maps, the widest filter. */
static void test_other_shapes(void **state) {
  (void)state;
  const struct {
    int n, h, w;
    float sigma;
  } shapes[] = {{1, 1, 100, 4}, {1, 100, 1, 4},  {3, 65, 67, 1},      {2, 129, 33, 4},
                {300, 3, 2, 4}, {1, 70, 70, 15}, {1, 70, 70, 15.25f}, {1, 20, 90, TR_SMOOTH_MAX_SIGMA}};
  tr_device *device = test_device_open(1), *cpu = featops_cpu(1);
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) {
    size_t count = (size_t)shapes[i].n * (size_t)shapes[i].h * (size_t)shapes[i].w;
    float *maps = featops_array(count);
    make_map(2100 + (uint32_t)i, count, maps);
    smooth_on_both(device, cpu, shapes[i].n, shapes[i].h, shapes[i].w, shapes[i].sigma, maps);
    free(maps);
  }
  tr_device_close(device);
  tr_device_close(cpu);
}

/* A reflected border loses nothing: the mean stays, a constant stays, a mirrored map gives the mirrored result. */
static void test_properties(void **state) {
  (void)state;
  enum { H = 19, W = 45, COUNT = H * W };
  tr_device *device = test_device_open(1);
  static float map[COUNT], mirrored[COUNT], constant[COUNT];
  make_map(1, COUNT, map);
  double before = 0, after = 0;
  for (int i = 0; i < COUNT; ++i) {
    before += map[i];
    mirrored[COUNT - 1 - i] = map[i];
    constant[i] = 3.25f;
  }
  smooth(device, 1, H, W, 4, map);
  smooth(device, 1, H, W, 4, mirrored);
  smooth(device, 1, H, W, 4, constant);
  for (int i = 0; i < COUNT; ++i) {
    after += map[i];
    assert_true(mirrored[COUNT - 1 - i] == map[i]);
    assert_true(fabsf(constant[i] - 3.25f) <= 3e-7f);
  }
  assert_true(fabs(before - after) <= 1e-7 * before);
  static float untouched[COUNT];
  make_map(1, COUNT, untouched);
  make_map(1, COUNT, map);
  smooth(device, 1, H, W, 0, map);
  assert_memory_equal(map, untouched, sizeof map);
  tr_device_close(device);
}

static void test_same_bits(void **state) {
  (void)state;
  enum { N = 17, H = 30, W = 41, MAP = H * W };
  static float first[N * MAP], again[N * MAP];
  tr_device *device = test_device_open(1);
  make_map(5, N * MAP, first);
  smooth(device, N, H, W, 4, first);
  for (int threads = 1; threads <= 4; threads *= 2) {
    tr_device *other = test_device_open(threads);
    make_map(5, N * MAP, again);
    smooth(other, N, H, W, 4, again);
    assert_memory_equal(again, first, sizeof first);
    make_map(5, N * MAP, again);
    for (int i = 0; i < N; ++i)
      smooth(other, 1, H, W, 4, again + i * MAP);
    assert_memory_equal(again, first, sizeof first);
    tr_device_close(other);
  }
  tr_device_close(device);
}

static void test_bad_arguments(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  float map[4] = {0};
  double scratch[4];
  const tr_smooth_args good = {.n = 1, .h = 2, .w = 2, .sigma = 4, .maps = map, .scratch = scratch};
  tr_smooth_args args;
#define REFUSED(change, named)                               \
  do {                                                       \
    args = good;                                             \
    change;                                                  \
    featops_assert_invalid(tr_smooth(device, &args), named); \
  } while (0)
  REFUSED(args.n = -1, "smooth: n");
  REFUSED(args.h = 0, "h, w");
  REFUSED(args.w = 1 << 16, "h, w");
  REFUSED(args.sigma = -1, "sigma");
  REFUSED(args.sigma = NAN, "sigma");
  REFUSED(args.sigma = TR_SMOOTH_MAX_SIGMA + 1, "sigma");
  REFUSED(args.maps = NULL, "maps");
  REFUSED(args.scratch = NULL, "scratch");
#undef REFUSED
  featops_assert_invalid(tr_smooth(NULL, &good), "device");
  featops_assert_invalid(tr_smooth(device, NULL), "args");
  assert_int_equal(tr_smooth_scratch(device, 1, 0, 3), 0);
  tr_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_scipy), cmocka_unit_test(test_other_shapes),  cmocka_unit_test(test_properties),
      cmocka_unit_test(test_same_bits),     cmocka_unit_test(test_bad_arguments),
  };
  return run_on_devices("smooth", tests, NULL, NULL);
}
