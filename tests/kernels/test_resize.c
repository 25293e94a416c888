/* resize against torchvision on PIL, equal in every byte on every device; fixtures by tests/golden/make_images.py. */
#include "kernels/resize.h"
#include "tests/kernels/devices.h"
#include "tests/status.h"

static tr_device *device;

/* The same bytes as noise() in make_images.py draws. */
static void noise(uint32_t seed, uint8_t *out, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    out[i] = (uint8_t)(seed >> 24);
  }
}

static uint64_t fnv1a(const uint8_t *bytes, size_t count) {
  uint64_t value = 0xcbf29ce484222325u;
  for (size_t i = 0; i < count; ++i)
    value = (value ^ bytes[i]) * 0x100000001b3u;
  return value;
}

/* Heap blocks of exactly the size asked for, so that AddressSanitizer sees a step beyond. */
static void *block(size_t bytes) {
  void *out = malloc(bytes ? bytes : 1);
  assert_non_null(out);
  memset(out, 0xa5, bytes);
  return out;
}

/* The block itself where the device works on host memory, to keep its exact size; else a copy. */
static void *to_device(void *host, size_t bytes) {
  return strcmp(test_device, "cpu") == 0 ? host : device_copy_of(device, host, bytes);
}

static void from_device(void *host, void *memory, size_t bytes) {
  if (!memory || memory == host)
    return;
  device_read(device, host, memory, bytes);
  tr_device_free(device, memory);
}

/* `given` with arrays of the host. */
static void run(const tr_resize_args *given) {
  tr_resize_args args = *given;
  int h, w;
  assert_int_equal(tr_resize_shape(&args.spec, args.src_h, args.src_w, &h, &w), TR_OK);
  size_t src_bytes = (size_t)args.src_h * (size_t)args.src_w * (size_t)args.channels;
  size_t bytes = (size_t)h * (size_t)w * (size_t)args.channels;
  size_t scratch_bytes = tr_resize_scratch(&args.spec, args.src_h, args.src_w, args.channels);
  assert_true(scratch_bytes > 0);
  void *scratch = block(scratch_bytes), *src = block(src_bytes);
  memcpy(src, given->src, src_bytes);
  args.scratch = to_device(scratch, scratch_bytes);
  args.src = to_device(src, src_bytes);
  args.dst_u8 = given->dst_u8 ? to_device(given->dst_u8, bytes) : NULL;
  args.dst = given->dst ? to_device(given->dst, bytes * sizeof(float)) : NULL;
  if (tr_resize(device, &args) != TR_OK)
    fail_msg("%s", tr_last_error());
  from_device(given->dst_u8, args.dst_u8, bytes);
  from_device(given->dst, args.dst, bytes * sizeof(float));
  from_device(src, (void *)args.src, src_bytes);
  assert_memory_equal(src, given->src, src_bytes);
  from_device(scratch, args.scratch, scratch_bytes);
  free(src);
  free(scratch);
}

static void check_case(int number, const int64_t *row, const uint8_t *expected) {
  int h = (int)row[0], w = (int)row[1], channels = (int)row[2], out_h, out_w;
  tr_image_spec spec = {.resize = (int)row[3], .crop = (int)row[4], .squash = row[5] != 0};
  assert_int_equal(tr_resize_shape(&spec, h, w, &out_h, &out_w), TR_OK);
  if (out_h != row[6] || out_w != row[7])
    fail_msg("case %d: shape %d x %d, expected %d x %d", number, out_h, out_w, (int)row[6], (int)row[7]);
  size_t src_bytes = (size_t)h * (size_t)w * (size_t)channels, bytes = (size_t)out_h * (size_t)out_w * (size_t)channels;
  uint8_t *src = block(src_bytes), *dst = block(bytes);
  float *values = block(bytes * sizeof *values);
  noise((uint32_t)number + 1, src, src_bytes);
  tr_resize_args args = {.src = src, .src_h = h, .src_w = w, .channels = channels, .spec = spec, .dst_u8 = dst, .dst = values};
  run(&args);
  for (size_t i = 0; expected && i < bytes; ++i)
    if (dst[i] != expected[i])
      fail_msg("case %d (%d x %d x %d): byte %zu is %d, expected %d", number, h, w, channels, i, dst[i], expected[i]);
  if (fnv1a(dst, bytes) != (uint64_t)row[9])
    fail_msg("case %d (%d x %d x %d to %d, crop %d): the bytes differ", number, h, w, channels, spec.resize, spec.crop);
  for (size_t i = 0; i < bytes; ++i)
    assert_true(values[i] == (float)dst[i] / 255);
  /* Floats alone: the row buffer in the scratch is used instead of dst_u8. */
  memset(values, 0, bytes * sizeof *values);
  args.dst_u8 = NULL;
  run(&args);
  for (size_t i = 0; i < bytes; ++i)
    assert_true(values[i] == (float)dst[i] / 255);
  free(values);
  free(dst);
  free(src);
}

static void test_equals_torchvision(void **state) {
  (void)state;
  golden_array cases = golden_read("images_resize_cases.npy"), pixels = golden_read("images_resize_pixels.npy");
  assert_int_equal(cases.shape[1], 10);
  const uint8_t *expected = pixels.data;
  for (size_t i = 0; i < cases.shape[0]; ++i) {
    const int64_t *row = (const int64_t *)cases.data + 10 * i;
    check_case((int)i, row, row[8] ? expected : NULL);
    expected += row[8] ? row[6] * row[7] * row[2] : 0;
  }
  assert_int_equal(expected - (const uint8_t *)pixels.data, pixels.count);
  golden_free(&cases);
  golden_free(&pixels);
}

/* Every byte value in every channel; equal to PyTorch in every bit. */
static void check_normalisation(const char *fixture, const float *mean, const float *std) {
  golden_array expected = golden_read(fixture);
  uint8_t src[16 * 16 * 3];
  float dst[16 * 16 * 3];
  for (int i = 0; i < 16 * 16 * 3; ++i)
    src[i] = (uint8_t)(i / 3);
  assert_int_equal(expected.count, 16 * 16 * 3);
  run(&(tr_resize_args){.src = src, .src_h = 16, .src_w = 16, .channels = 3, .mean = mean, .std = std, .dst = dst});
  assert_memory_equal(dst, expected.data, sizeof dst);
  golden_free(&expected);
}

static void test_normalisation(void **state) {
  (void)state;
  const float mean[3] = {0.485f, 0.456f, 0.406f}, std[3] = {0.229f, 0.224f, 0.225f};
  check_normalisation("images_normalised.npy", mean, std);
  check_normalisation("images_plain.npy", NULL, NULL);
}

/* A window of the result is that part of it, whatever lies around. */
static void check_window(const uint8_t *src, int h, int w, tr_image_spec spec, tr_window window) {
  int out_h, out_w;
  assert_int_equal(tr_resize_shape(&spec, h, w, &out_h, &out_w), TR_OK);
  size_t all = (size_t)out_h * (size_t)out_w * 3, part = (size_t)window.h * (size_t)window.w * 3;
  uint8_t *whole = block(all), *dst = block(part);
  float *whole_values = block(all * sizeof(float)), *values = block(part * sizeof(float));
  const float mean[3] = {0.4f, 0.5f, 0.6f}, std[3] = {0.2f, 0.3f, 0.1f};
  tr_resize_args args = {.src = src, .src_h = h, .src_w = w, .channels = 3, .spec = spec, .mean = mean, .std = std};
  args.dst_u8 = whole;
  args.dst = whole_values;
  run(&args);
  args.spec.window = window;
  args.dst_u8 = dst;
  args.dst = values;
  run(&args);
  for (int y = 0; y < window.h; ++y) {
    size_t from = ((size_t)(window.top + y) * (size_t)out_w + (size_t)window.left) * 3, row = (size_t)window.w * 3;
    assert_memory_equal(dst + (size_t)y * row, whole + from, row);
    assert_memory_equal(values + (size_t)y * row, whole_values + from, row * sizeof(float));
  }
  free(whole);
  free(dst);
  free(whole_values);
  free(values);
}

static void test_windows(void **state) {
  (void)state;
  enum { H = 131, W = 190 };
  static const tr_window windows[] = {{0, 0, 32, 40}, {17, 5, 32, 32}, {32, 32, 32, 32}, {0, 0, 64, 64}, {63, 63, 1, 1}};
  static const tr_image_spec specs[] = {
      {0}, {.crop = 64}, {.resize = 75, .crop = 64}, {.resize = 64, .squash = true}, {.resize = 200}};
  uint8_t *src = block((size_t)H * W * 3);
  noise(77, src, (size_t)H * W * 3);
  for (size_t s = 0; s < sizeof specs / sizeof *specs; ++s)
    for (size_t i = 0; i < sizeof windows / sizeof *windows; ++i)
      check_window(src, H, W, specs[s], windows[i]);
  free(src);
}

static void test_refusals(void **state) {
  (void)state;
  int h, w;
  assert_refused(tr_resize_shape(&(tr_image_spec){.resize = 64, .crop = 65}, 100, 200, &h, &w), TR_EINVAL, "65 x 65");
  assert_refused(tr_resize_shape(&(tr_image_spec){.resize = 64, .crop = 65}, 100, 200, &h, &w), TR_EINVAL, "128 x 64");
  assert_refused(tr_resize_shape(&(tr_image_spec){.crop = 30}, 40, 20, &h, &w), TR_EINVAL, "20 x 40");
  assert_refused(tr_resize_shape(&(tr_image_spec){.resize = -1}, 40, 20, &h, &w), TR_EINVAL, "-1");
  assert_refused(tr_resize_shape(&(tr_image_spec){.resize = 8}, 0, 20, &h, &w), TR_EINVAL, "20 x 0");
  assert_refused(tr_resize_shape(&(tr_image_spec){.resize = 8}, 1 << 20, 1 << 20, &h, &w), TR_EINVAL, "1048576 x 1048576");
  assert_refused(tr_resize_shape(&(tr_image_spec){.resize = 1 << 15}, 1, 4, &h, &w), TR_EINVAL, "4 x 1");
  assert_int_equal(tr_resize_scratch(&(tr_image_spec){.crop = 30}, 20, 20, 3), 0);
  assert_refused(tr_resize_shape(&(tr_image_spec){.crop = 20, .window = {1, 0, 20, 20}}, 40, 30, &h, &w), TR_EINVAL,
                 "not inside the image of 20 x 20");
  assert_refused(tr_resize_shape(&(tr_image_spec){.window = {0, -1, 20, 20}}, 40, 30, &h, &w), TR_EINVAL, "at -1, 0");

  uint8_t pixels[64] = {0}, scratch[4096];
  float std[3] = {1, 0, 1};
  tr_resize_args args = {.src = pixels, .src_h = 4, .src_w = 4, .channels = 2, .dst_u8 = pixels, .scratch = scratch};
  assert_refused(tr_resize(device, &args), TR_EINVAL, "found 2");
  args.channels = 3;
  args.std = std;
  assert_refused(tr_resize(device, &args), TR_EINVAL, "channel 1");
  args.std = NULL;
  args.dst_u8 = NULL;
  assert_refused(tr_resize(device, &args), TR_EINTERNAL, "destination");
}

static int open_device(void **state) {
  (void)state;
  device = test_device_open(1);
  return 0;
}

static int close_device(void **state) {
  (void)state;
  tr_device_close(device);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_equals_torchvision),
      cmocka_unit_test(test_normalisation),
      cmocka_unit_test(test_windows),
      cmocka_unit_test(test_refusals),
  };
  return run_on_devices("resize", tests, open_device, close_device);
}
