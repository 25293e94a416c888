/* Queued uploads and marks on every device: what follows a mark sees what stands before it, and nothing is read or overwritten too
 * early. The emulated GPU does queued work late and in an order of its own (TR_EMU_SEED), so a wait that is missing shows. */
#include "kernels/device.h"
#include "tests/kernels/devices.h"

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
      cmocka_unit_test(test_operators_follow_uploads),
      cmocka_unit_test(test_buffers_are_reused),
      cmocka_unit_test(test_nothing),
  };
  return run_on_devices("queued uploads", tests, open_device, close_device);
}
