/* What make_featops.py and its tests share: the inputs, and which values of a large result are stored. */
#ifndef TR_TESTS_FEATOPS_H
#define TR_TESTS_FEATOPS_H

#include "golden.h"
#include "kernels/device.h"

enum { FEATOPS_KEEP = 600 };

/* Number `index` of `stream`: in [-1, 3), a multiple of 2^-22. */
static inline float featops_noise(uint32_t stream, uint32_t index) {
  uint32_t h = index * 2654435769u + stream * 2246822519u;
  h ^= h >> 16;
  h *= 0x85EBCA6Bu;
  h ^= h >> 13;
  h *= 0xC2B2AE35u;
  h ^= h >> 16;
  return (float)(h >> 8) * 0x1p-22f - 1.0f;
}

/* Distance between stored values of a result of n. */
static inline size_t featops_step(size_t n) {
  return n / FEATOPS_KEEP | 1;
}

/* Compares the stored values with a result of n; returns how many there are. */
static inline size_t featops_assert_kept(const float *got, size_t n, const float *expected, double relative, double absolute) {
  size_t kept = 0;
  for (size_t i = 0; i < n; i += featops_step(n), ++kept) {
    double error = got[i] - (double)expected[kept], size = expected[kept];
    if (!((error < 0 ? -error : error) <= relative * (size < 0 ? -size : size) + absolute))
      fail_msg("value %zu of %zu: got %.9g, expected %.9g", i, n, (double)got[i], size);
  }
  return kept;
}

static inline tr_device *featops_device(int threads) {
  tr_device *device;
  assert_int_equal(tr_device_open("cpu", threads, &device), TR_OK);
  return device;
}

static inline void *featops_alloc(tr_device *device, size_t bytes) {
  void *memory;
  assert_int_equal(tr_device_alloc(device, bytes, &memory), TR_OK);
  return memory;
}

/* The call failed for its arguments, and the text names the one at fault. */
static inline void featops_assert_invalid(tr_status status, const char *named) {
  assert_int_equal(status, TR_EINVAL);
  if (!strstr(tr_last_error(), named))
    fail_msg("\"%s\" does not name %s", tr_last_error(), named);
}

#endif
