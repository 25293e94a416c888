/* sort_scan against a comparison sort that is stable by construction: there is one right result, on every device. */
#include "host/base/rng.h"
#include "host/base/status.h"
#include "kernels/sort_scan.h"
#include "tests/kernels/devices.h"

#include <float.h>
#include <math.h>

typedef struct pair {
  float key;
  uint32_t payload;
  size_t place;
} pair;

static int by_order(const void *a, const void *b) {
  const pair *x = a, *y = b;
  if (x->key != y->key)
    return x->key > y->key ? -1 : 1;
  return (x->place > y->place) - (x->place < y->place);
}

/* keys and payload: host, in place. */
static void sort_on(int threads, float *keys, uint32_t *payload, size_t n) {
  tr_device *device = test_device_open(threads);
  size_t bytes = n * sizeof *keys;
  tr_sort_scan_args args = {n, device_copy_of(device, keys, bytes), device_copy_of(device, payload, bytes),
                            device_array(device, tr_sort_scan_scratch(device, n))};
  assert_int_equal(tr_sort_scan(device, &args), TR_OK);
  device_read(device, keys, args.keys, bytes);
  device_read(device, payload, args.payload, bytes);
  tr_device_free(device, args.keys);
  tr_device_free(device, args.payload);
  tr_device_free(device, args.scratch);
  tr_device_close(device);
}

static void check(const float *keys, size_t n) {
  pair *expected = malloc((n + 1) * sizeof *expected);
  float *got = malloc((n + 1) * sizeof *got);
  uint32_t *payload = malloc((n + 1) * sizeof *payload);
  assert_true(expected && got && payload);
  for (size_t i = 0; i < n; ++i)
    expected[i] = (pair){keys[i] == 0 ? 0.0f : keys[i], (uint32_t)i * 2654435761u, i};
  qsort(expected, n, sizeof *expected, by_order);
  const int threads[] = {1, 2, 4}, runs = strcmp(test_device, "cpu") == 0 ? 3 : 1; /* of the host: nothing to a GPU */
  for (int t = 0; t < runs; ++t) {
    for (size_t i = 0; i < n; ++i) {
      got[i] = keys[i];
      payload[i] = (uint32_t)i * 2654435761u;
    }
    sort_on(threads[t], got, payload, n);
    for (size_t i = 0; i < n; ++i) {
      assert_memory_equal(&got[i], &expected[i].key, sizeof(float)); /* bits: also the zeros' sign */
      assert_int_equal(payload[i], expected[i].payload);
    }
  }
  free(payload);
  free(got);
  free(expected);
}

typedef float (*draw_fn)(tr_rng *rng, size_t i);

static void for_length(draw_fn key, size_t n) {
  tr_rng rng = tr_rng_make(1, TR_RNG_TEST, n);
  float *keys = malloc((n + 1) * sizeof *keys);
  assert_non_null(keys);
  for (size_t i = 0; i < n; ++i)
    keys[i] = key(&rng, i);
  check(keys, n);
  free(keys);
}

static void for_lengths(draw_fn key) {
  const size_t lengths[] = {0, 1, 2, 255, 256, 257, 4097};
  for (size_t l = 0; l < sizeof lengths / sizeof *lengths; ++l)
    for_length(key, lengths[l]);
}

static float any_finite(tr_rng *rng, size_t i) {
  (void)i;
  for (;;) {
    uint32_t bits = tr_rng_u32(rng);
    float key;
    memcpy(&key, &bits, sizeof key);
    if (isfinite(key))
      return key;
  }
}
static float few_values(tr_rng *rng, size_t i) {
  (void)i;
  return (float)tr_rng_below(rng, 5) - 2.0f;
}
static float all_equal(tr_rng *rng, size_t i) {
  (void)rng;
  (void)i;
  return 3.5f;
}
static float zeros_of_both_signs(tr_rng *rng, size_t i) {
  (void)i;
  return tr_rng_below(rng, 2) ? 0.0f : -0.0f;
}
static float zeros_and_denormals(tr_rng *rng, size_t i) {
  (void)i;
  static const float values[] = {0.0f, -0.0f, 1e-45f, -1e-45f, 1e-40f, -1e-40f, FLT_MIN, -FLT_MIN};
  return values[tr_rng_below(rng, 8)];
}
static float one_digit(tr_rng *rng, size_t i) { /* an odd number of passes */
  (void)i;
  return 1.0f + (float)tr_rng_below(rng, 256) * FLT_EPSILON;
}
static float ascending(tr_rng *rng, size_t i) {
  (void)rng;
  return (float)i;
}
static float descending(tr_rng *rng, size_t i) {
  (void)rng;
  return -(float)i;
}

static void test_any_finite(void **state) {
  (void)state;
  for_lengths(any_finite);
}
/* Many blocks, and blocks of several tiles, on every device. A cpu takes more. */
static void test_many(void **state) {
  (void)state;
  for_length(any_finite, 57001);
  if (strcmp(test_device, "cpu") == 0)
    for_length(any_finite, 1000003);
}
static void test_few_values(void **state) {
  (void)state;
  for_lengths(few_values);
}
static void test_all_equal(void **state) {
  (void)state;
  for_lengths(all_equal);
}
static void test_zeros(void **state) {
  (void)state;
  for_lengths(zeros_of_both_signs);
  for_lengths(zeros_and_denormals);
}
static void test_one_digit(void **state) {
  (void)state;
  for_lengths(one_digit);
}
static void test_sorted_already(void **state) {
  (void)state;
  for_lengths(ascending);
  for_lengths(descending);
}

static void test_not_finite_goes_to_the_ends(void **state) {
  (void)state;
  float keys[] = {1, -INFINITY, NAN, FLT_MAX, INFINITY, -NAN, -FLT_MAX};
  uint32_t payload[] = {0, 1, 2, 3, 4, 5, 6};
  sort_on(1, keys, payload, 7);
  const uint32_t expected[] = {2, 4, 3, 0, 6, 1, 5};
  assert_memory_equal(payload, expected, sizeof expected);
}

static void test_refusals(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  tr_sort_scan_args args = {.n = (size_t)1 << 32};
  assert_int_equal(tr_sort_scan(device, &args), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "4294967296"));
  args.n = 1;
  assert_int_equal(tr_sort_scan(device, &args), TR_EINVAL);
  tr_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_any_finite),     cmocka_unit_test(test_many),
      cmocka_unit_test(test_few_values),     cmocka_unit_test(test_all_equal),
      cmocka_unit_test(test_zeros),          cmocka_unit_test(test_one_digit),
      cmocka_unit_test(test_sorted_already), cmocka_unit_test(test_not_finite_goes_to_the_ends),
      cmocka_unit_test(test_refusals),
  };
  return run_on_devices("sort_scan", tests, NULL, NULL);
}
