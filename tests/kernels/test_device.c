/* Every device has every operator. Queued uploads and marks: what follows a mark sees what stands before it, and nothing is read or
 * overwritten too early. The emulated GPU does queued work late and in an order of its own (TR_EMU_SEED), so a wait that is missing
 * shows. */
#include "host/base/clock.h"
#include "kernels/operators.h"
#include "tests/kernels/devices.h"
#include <math.h>
#include <time.h>

enum { N = 1000, ROUNDS = 12 };

static tr_device *device;

static int open_device(void **state) {
  (void)state;
  device = test_device_open(2);
  return 0;
}

static int close_device(void **state) {
  (void)state;
  tr_device_close(device);
  return 0;
}

static uint32_t *pinned_array(size_t count) {
  void *memory;
  assert_int_equal(tr_device_alloc_pinned(device, count * sizeof(uint32_t), &memory), TR_OK);
  return memory;
}

static tr_mark *new_mark(void) {
  tr_mark *mark;
  assert_int_equal(tr_mark_create(device, &mark), TR_OK);
  return mark;
}

static void fill(uint32_t *values, uint32_t round) {
  for (uint32_t i = 0; i < N; ++i)
    values[i] = 1000 * round + i;
}

static void assert_round(const uint32_t *values, uint32_t round) {
  for (uint32_t i = 0; i < N; ++i)
    assert_int_equal(values[i], 1000 * round + i);
}

static void test_operators_follow_uploads(void **state) {
  (void)state;
  uint32_t *pinned = pinned_array(N), host[N];
  void *a = device_array(device, sizeof host), *b = device_array(device, sizeof host);
  tr_mark *uploaded = new_mark();
  fill(pinned, 1);
  assert_int_equal(tr_device_upload_queued(device, a, pinned, sizeof host), TR_OK);
  assert_int_equal(tr_mark_set(device, uploaded, TR_QUEUE_UPLOADS), TR_OK);
  assert_int_equal(tr_mark_follow(device, uploaded, TR_QUEUE_OPERATORS), TR_OK);
  assert_int_equal(tr_device_copy(device, b, a, sizeof host), TR_OK);
  device_read(device, host, b, sizeof host);
  assert_round(host, 1);
  tr_mark_destroy(device, uploaded);
  tr_device_free(device, a);
  tr_device_free(device, b);
  tr_device_free_pinned(device, pinned);
}

/* One page-locked buffer and one buffer of the device for many rounds: the host waits until the former is read, the uploads until
 * the latter is. */
static void test_buffers_are_reused(void **state) {
  (void)state;
  uint32_t *pinned = pinned_array(N), host[N];
  void *buffer = device_array(device, sizeof host), *kept = device_array(device, ROUNDS * sizeof host);
  tr_mark *uploaded = new_mark(), *read = new_mark();
  for (uint32_t round = 0; round < ROUNDS; ++round) {
    assert_int_equal(tr_mark_await(device, uploaded), TR_OK);
    fill(pinned, round);
    assert_int_equal(tr_mark_follow(device, read, TR_QUEUE_UPLOADS), TR_OK);
    assert_int_equal(tr_device_upload_queued(device, buffer, pinned, sizeof host), TR_OK);
    assert_int_equal(tr_mark_set(device, uploaded, TR_QUEUE_UPLOADS), TR_OK);
    assert_int_equal(tr_mark_follow(device, uploaded, TR_QUEUE_OPERATORS), TR_OK);
    assert_int_equal(tr_device_copy(device, (char *)kept + round * sizeof host, buffer, sizeof host), TR_OK);
    assert_int_equal(tr_mark_set(device, read, TR_QUEUE_OPERATORS), TR_OK);
  }
  for (uint32_t round = 0; round < ROUNDS; ++round) {
    device_read(device, host, (char *)kept + round * sizeof host, sizeof host);
    assert_round(host, round);
  }
  tr_mark_destroy(device, uploaded);
  tr_mark_destroy(device, read);
  tr_device_free(device, buffer);
  tr_device_free(device, kept);
  tr_device_free_pinned(device, pinned);
}

/* The clock waits for what is queued, goes on while the host sleeps, and agrees with the host's own. */
static void test_clock(void **state) {
  (void)state;
  enum { TICKS = 5, NAP_NS = 20000000 };
  uint32_t *pinned = pinned_array(N), *back = pinned_array(N);
  void *a = device_array(device, N * sizeof *pinned), *b = device_array(device, N * sizeof *pinned);
  double first, last, now, start = tr_seconds();
  assert_true(*tr_device_clock_name(device) != '\0');
  assert_int_equal(tr_device_clock(device, &first), TR_OK);
  last = first;
  for (uint32_t tick = 0; tick < TICKS; ++tick) {
    fill(pinned, tick);
    assert_int_equal(tr_device_upload(device, a, pinned, N * sizeof *pinned), TR_OK);
    assert_int_equal(tr_device_copy(device, b, a, N * sizeof *pinned), TR_OK);
    nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
    assert_int_equal(tr_device_clock(device, &now), TR_OK);
    assert_true(now - last > 0.9e-9 * NAP_NS); /* two clocks */
    last = now;
    assert_int_equal(tr_device_download(device, back, b, N * sizeof *pinned), TR_OK);
    assert_round(back, tick);
  }
  assert_true(last - first <= 1.1 * (tr_seconds() - start));
  tr_frequencies f = tr_device_frequencies(device);
  assert_true(isnan(f.core_mhz) || f.core_mhz > 0);
  assert_true(isnan(f.memory_mhz) || f.memory_mhz > 0);
  tr_device_free(device, a);
  tr_device_free(device, b);
  tr_device_free_pinned(device, pinned);
  tr_device_free_pinned(device, back);
}

/* The table is nothing but functions; one that a twin's author forgot to enter is NULL there. */
static void test_every_operator_has_a_twin(void **state) {
  (void)state;
  typedef void (*entry)(void);
  const tr_operators *operators = tr_device_operators(device);
  for (size_t at = 0; at < sizeof *operators; at += sizeof(entry)) {
    entry function;
    memcpy(&function, (const char *)operators + at, sizeof function);
    bool of_sketch = at >= offsetof(tr_operators, nearest_sketch_bytes) && at <= offsetof(tr_operators, nearest_sketch);
    if (!function && !of_sketch)
      fail_msg("%s: no operator at offset %zu of the table", test_device, at);
  }
}

static void test_nothing(void **state) {
  (void)state;
  tr_mark *never = new_mark();
  void *memory = &memory;
  assert_int_equal(tr_mark_follow(device, never, TR_QUEUE_OPERATORS), TR_OK);
  assert_int_equal(tr_mark_await(device, never), TR_OK);
  assert_int_equal(tr_device_alloc_pinned(device, 0, &memory), TR_OK);
  assert_null(memory);
  assert_int_equal(tr_device_upload_queued(device, NULL, NULL, 0), TR_OK);
  tr_device_free_pinned(device, NULL);
  tr_mark_destroy(device, never);
  tr_mark_destroy(device, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_operator_has_a_twin),
      cmocka_unit_test(test_operators_follow_uploads),
      cmocka_unit_test(test_buffers_are_reused),
      cmocka_unit_test(test_clock),
      cmocka_unit_test(test_nothing),
  };
  return run_on_devices("device", tests, open_device, close_device);
}
