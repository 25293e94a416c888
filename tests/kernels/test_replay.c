/* Recorded calls: on a GPU fn runs twice and its graph from then on, on the cpu fn runs each time; the results are the same. */
#include "host/base/status.h"
#include "tests/kernels/devices.h"

enum { FLOATS = 64 };

typedef struct shift {
  tr_device *device;
  float *from, *to;
  int calls;
  bool fails, waits;
} shift;

/* Queues two copies in order: `to` becomes `from`, with its first half once more in the second. */
static tr_status queue_shift(void *context) {
  shift *s = context;
  ++s->calls;
  if (s->fails)
    return tr_fail(TR_EINVAL, "told to fail");
  if (s->waits)
    TR_TRY(tr_device_sync(s->device));
  TR_TRY(tr_device_copy(s->device, s->to, s->from, FLOATS * sizeof(float)));
  return tr_device_copy(s->device, s->to + FLOATS / 2, s->to, FLOATS / 2 * sizeof(float));
}

static void check(const shift *s, float first) {
  float got[FLOATS];
  device_read(s->device, got, s->to, sizeof got);
  for (int i = 0; i < FLOATS; ++i)
    assert_float_equal(got[i], first + (float)(i % (FLOATS / 2)), 0.0f);
}

static void upload_from(const shift *s, float first) {
  float values[FLOATS];
  for (int i = 0; i < FLOATS; ++i)
    values[i] = first + (float)i;
  assert_int_equal(tr_device_upload(s->device, s->from, values, sizeof values), TR_OK);
}

static int setup(void **state) {
  static shift s;
  s = (shift){.device = test_device_open(1)};
  s.from = device_array(s.device, FLOATS * sizeof(float));
  s.to = device_array(s.device, FLOATS * sizeof(float));
  *state = &s;
  return 0;
}

static int teardown(void **state) {
  shift *s = *state;
  tr_device_free(s->device, s->from);
  tr_device_free(s->device, s->to);
  tr_device_close(s->device);
  return 0;
}

static void test_replay(void **state) {
  shift *s = *state;
  tr_recording *recording = NULL;
  bool records = strncmp(tr_device_name(s->device), "cuda", 4) == 0;
  for (int i = 1; i <= 5; ++i) {
    upload_from(s, (float)(100 * i));
    assert_int_equal(tr_device_replay(s->device, &recording, queue_shift, s), TR_OK);
    check(s, (float)(100 * i));
    assert_int_equal(s->calls, records && i > 2 ? 2 : i);
  }
  assert_int_equal(tr_device_zero(s->device, s->to, FLOATS * sizeof(float)), TR_OK);
  assert_int_equal(tr_device_replay(s->device, &recording, queue_shift, s), TR_OK);
  tr_recording_free(s->device, recording); /* waits for what is queued */
  tr_recording_free(s->device, NULL);
  check(s, 500.0f);
}

/* Calls that cannot be recorded are made each time. */
static void test_unrecordable(void **state) {
  shift *s = *state;
  tr_recording *recording = NULL;
  s->waits = true;
  for (int i = 1; i <= 4; ++i) {
    upload_from(s, (float)i);
    assert_int_equal(tr_device_replay(s->device, &recording, queue_shift, s), TR_OK);
    check(s, (float)i);
  }
  assert_true(s->calls >= 4);
  tr_recording_free(s->device, recording);
}

static void test_failure(void **state) {
  shift *s = *state;
  tr_recording *recording = NULL;
  assert_int_equal(tr_device_replay(s->device, &recording, queue_shift, s), TR_OK);
  s->fails = true;
  assert_int_equal(tr_device_replay(s->device, &recording, queue_shift, s), TR_EINVAL);
  assert_string_equal(tr_last_error(), "told to fail");
  s->fails = false;
  upload_from(s, 7.0f);
  assert_int_equal(tr_device_replay(s->device, &recording, queue_shift, s), TR_OK);
  check(s, 7.0f);
  tr_recording_free(s->device, recording);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_replay, setup, teardown),
                                     cmocka_unit_test_setup_teardown(test_unrecordable, setup, teardown),
                                     cmocka_unit_test_setup_teardown(test_failure, setup, teardown)};
  return run_on_devices("replay", tests, NULL, NULL);
}
