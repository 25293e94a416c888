/* Runs a group of tests once on every device of the build: the cpu, and cuda:0 where it opens. The environment's TR_TEST_DEVICE
 * ("cpu", "cuda:0") restricts them. A test opens `test_device` and moves its data up and down. */
#ifndef TR_TESTS_DEVICES_H
#define TR_TESTS_DEVICES_H

#include "kernels/device.h"
#include "tests/golden/golden.h"

/* Name of the device that the tests run on now. */
static const char *test_device;

static inline tr_device *test_device_open(int threads) {
  tr_device *device;
  if (tr_device_open(test_device, threads, &device) != TR_OK)
    fail_msg("%s", tr_last_error());
  return device;
}

/* Whether tests run on the device. In an emulated build there is a GPU, or something is wrong; elsewhere one may be missing, and a
 * test that was to run there alone is skipped. */
static inline bool test_device_wanted(const char *name) {
  const char *only = getenv("TR_TEST_DEVICE");
  if (only && strcmp(only, name) != 0)
    return false;
  tr_device *device;
  if (tr_device_open(name, 1, &device) == TR_OK) {
    tr_device_close(device);
    return true;
  }
  fprintf(stderr, "no tests on %s: %s\n", name, tr_last_error());
#ifdef TR_EMULATED
  exit(1);
#else
  if (only)
    exit(77);
  return false;
#endif
}

/* Gives what main returns: the number of failures. The group's setup opens test_device. */
#define run_on_devices(group, tests, setup, teardown) \
  run_group_on_devices(group, tests, sizeof(tests) / sizeof *(tests), setup, teardown)

static inline int run_group_on_devices(const char *group, const struct CMUnitTest *tests, size_t count, CMFixtureFunction setup,
                                       CMFixtureFunction teardown) {
  static const char *const names[] = {"cpu", "cuda:0"};
  int failures = 0;
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    if (!test_device_wanted(names[i]))
      continue;
    char title[128];
    test_device = names[i];
    snprintf(title, sizeof title, "%s on %s", group, names[i]);
    failures += _cmocka_run_group_tests(title, tests, count, setup, teardown);
  }
  return failures;
}

/* Uninitialised memory of the device. */
static inline void *device_array(tr_device *device, size_t bytes) {
  void *memory;
  if (tr_device_alloc(device, bytes, &memory) != TR_OK)
    fail_msg("%s", tr_last_error());
  return memory;
}

/* A copy of host memory on the device; free with tr_device_free. NULL for NULL. */
static inline void *device_copy_of(tr_device *device, const void *host, size_t bytes) {
  if (!host)
    return NULL;
  void *memory = device_array(device, bytes);
  assert_int_equal(tr_device_upload(device, memory, host, bytes), TR_OK);
  return memory;
}

static inline void device_read(tr_device *device, void *host, const void *memory, size_t bytes) {
  if (tr_device_download(device, host, memory, bytes) != TR_OK)
    fail_msg("%s", tr_last_error());
}

#endif
