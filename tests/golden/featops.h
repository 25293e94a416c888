/* What make_featops.py and its tests share: the inputs, and which values of a large result are stored. */
#ifndef TR_TESTS_FEATOPS_H
#define TR_TESTS_FEATOPS_H

#include "tests/kernels/devices.h"

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

/* The twin that other devices are compared with. */
static inline tr_device *featops_cpu(int threads) {
  tr_device *cpu;
  assert_int_equal(tr_device_open("cpu", threads, &cpu), TR_OK);
  return cpu;
}

/* Host memory; free with free. */
static inline float *featops_array(size_t count) {
  float *values = malloc(count * sizeof *values);
  assert_non_null(values);
  return values;
}

/* The call failed for its arguments, and the text names the one at fault. */
static inline void featops_assert_invalid(tr_status status, const char *named) {
  assert_int_equal(status, TR_EINVAL);
  if (!strstr(tr_last_error(), named))
    fail_msg("\"%s\" does not name %s", tr_last_error(), named);
}

#endif
