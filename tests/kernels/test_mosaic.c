/* mosaic against its formula; a GPU's maps are the cpu's bits. */
#include "kernels/mosaic.h"

#include "tests/golden/featops.h"

static float *noise(uint32_t stream, size_t count) {
  float *values = featops_array(count);
  for (size_t i = 0; i < count; ++i)
    values[i] = featops_noise(stream, (uint32_t)i);
  return values;
}

/* `given` with arrays of the host; dst is read and written. */
static void run_on(tr_device *device, const tr_mosaic_args *given) {
  tr_mosaic_args args = *given;
  size_t part = (size_t)args.h * (size_t)args.w * sizeof(float);
  size_t whole = (size_t)args.whole_h * (size_t)args.whole_w * sizeof(float);
  float *src = device_copy_of(device, args.src, part), *dst = device_copy_of(device, args.dst, whole);
  float *rows = device_copy_of(device, args.row_weights, (size_t)args.h * sizeof(float));
  float *columns = device_copy_of(device, args.column_weights, (size_t)args.w * sizeof(float));
  args.src = src;
  args.dst = dst;
  args.row_weights = rows;
  args.column_weights = columns;
  assert_int_equal(tr_mosaic(device, &args), TR_OK);
  device_read(device, given->dst, dst, whole);
  tr_device_free(device, src);
  tr_device_free(device, dst);
  tr_device_free(device, rows);
  tr_device_free(device, columns);
}

static void check_case(tr_device *device, const int *shape, uint32_t stream) {
  tr_mosaic_args args = {
      .h = shape[0], .w = shape[1], .top = shape[2], .left = shape[3], .whole_h = shape[4], .whole_w = shape[5]};
  size_t part = (size_t)args.h * (size_t)args.w, whole = (size_t)args.whole_h * (size_t)args.whole_w;
  float *src = noise(stream, part), *rows = noise(stream + 1, (size_t)args.h), *columns = noise(stream + 2, (size_t)args.w);
  float *dst = noise(stream + 3, whole), *expected = noise(stream + 3, whole);
  for (int y = 0; y < args.h; ++y)
    for (int x = 0; x < args.w; ++x) {
      volatile float weight = rows[y] * columns[x];
      volatile float product = weight * src[(size_t)y * (size_t)args.w + (size_t)x];
      expected[(size_t)(args.top + y) * (size_t)args.whole_w + (size_t)(args.left + x)] += product;
    }
  args.src = src;
  args.row_weights = rows;
  args.column_weights = columns;
  args.dst = dst;
  run_on(device, &args);
  assert_memory_equal(dst, expected, whole * sizeof *dst);
  free(src);
  free(rows);
  free(columns);
  free(dst);
  free(expected);
}

static void test_against_formula(void **state) {
  (void)state;
  static const int shapes[][6] = {{1, 1, 0, 0, 1, 1},   {5, 7, 0, 0, 5, 7},        {5, 7, 3, 2, 8, 9},
                                  {1, 33, 4, 0, 5, 33}, {33, 1, 0, 8, 40, 10},     {40, 70, 5, 6, 46, 90},
                                  {9, 8, 0, 1, 100, 9}, {64, 64, 64, 64, 128, 128}};
  tr_device *device = test_device_open(2);
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    check_case(device, shapes[i], 2000 + 10 * (uint32_t)i);
  tr_device_close(device);
}

static void test_bad_arguments(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  float src[4] = {0}, dst[16], weights[2] = {1, 1};
  const tr_mosaic_args good = {.h = 2,
                               .w = 2,
                               .top = 2,
                               .left = 2,
                               .whole_h = 4,
                               .whole_w = 4,
                               .row_weights = weights,
                               .column_weights = weights,
                               .src = src,
                               .dst = dst};
  tr_mosaic_args args;
#define REFUSED(change, named)                               \
  do {                                                       \
    args = good;                                             \
    change;                                                  \
    featops_assert_invalid(tr_mosaic(device, &args), named); \
  } while (0)
  REFUSED(args.h = 3, "top, h");
  REFUSED(args.top = -1, "top, h");
  REFUSED(args.h = 0, "top, h");
  REFUSED(args.w = 0, "left, w");
  REFUSED(args.left = 3, "left, w");
  REFUSED(args.whole_h = 0, "whole_h");
  REFUSED(args.whole_w = 1 << 16, "whole_w");
  REFUSED(args.src = NULL, "src");
  REFUSED(args.dst = NULL, "dst");
  REFUSED(args.row_weights = NULL, "row_weights");
  REFUSED(args.column_weights = NULL, "column_weights");
#undef REFUSED
  featops_assert_invalid(tr_mosaic(NULL, &good), "device");
  featops_assert_invalid(tr_mosaic(device, NULL), "args");
  tr_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_formula),
      cmocka_unit_test(test_bad_arguments),
  };
  return run_on_devices("mosaic", tests, NULL, NULL);
}
