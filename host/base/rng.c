/* Philox4x32-10 and the draws built on it. */
#include "host/base/rng.h"

#include "host/base/status.h"

#include <math.h>
#include <stdlib.h>

static void philox_round(uint32_t c[4], uint32_t k0, uint32_t k1) {
  uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
  uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ k0, (uint32_t)p1, (uint32_t)(p0 >> 32) ^ c[3] ^ k1, (uint32_t)p0};
  for (int i = 0; i < 4; ++i)
    c[i] = next[i];
}

void tr_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  for (int i = 0; i < 4; ++i)
    out[i] = counter[i];
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; ++round) {
    philox_round(out, k0, k1);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

/* Counter words: 0 runs within the stream, 1 is the purpose, 2 and 3 the index; the key is the seed. */
tr_rng tr_rng_make(uint64_t seed, tr_rng_purpose purpose, uint64_t index) {
  return (tr_rng){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
                  .counter = {0, (uint32_t)purpose, (uint32_t)index, (uint32_t)(index >> 32)},
                  .used = 4};
}

uint32_t tr_rng_u32(tr_rng *rng) {
  if (rng->used == 4) {
    tr_philox(rng->counter, rng->key, rng->block);
    ++rng->counter[0];
    rng->used = 0;
  }
  return rng->block[rng->used++];
}

float tr_rng_float(tr_rng *rng) {
  return (float)(tr_rng_u32(rng) >> 8) * 0x1p-24f;
}

double tr_rng_double(tr_rng *rng) {
  uint64_t high = tr_rng_u32(rng), low = tr_rng_u32(rng);
  return (double)(((high << 32) | low) >> 11) * 0x1p-53;
}

float tr_rng_between(tr_rng *rng, float low, float high) {
  return low + (high - low) * tr_rng_float(rng);
}

float tr_rng_normal(tr_rng *rng) {
  double u = 1.0 - tr_rng_double(rng), v = tr_rng_double(rng);
  return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

uint64_t tr_rng_below(tr_rng *rng, uint64_t n) {
  uint64_t reject_below = -n % n; /* 2^64 mod n: values under it would favour small results */
  for (;;) {
    uint64_t high = tr_rng_u32(rng), low = tr_rng_u32(rng), value = (high << 32) | low;
    if (value >= reject_below)
      return value % n;
  }
}

static void shuffle(tr_rng *rng, uint64_t *values, size_t count) {
  for (size_t i = count; i > 1; --i) {
    size_t j = (size_t)tr_rng_below(rng, i);
    uint64_t held = values[i - 1];
    values[i - 1] = values[j];
    values[j] = held;
  }
}

/* Robert Floyd's sample (Bentley, Programming Pearls, CACM 30(9), 1987), membership by a bitmap. */
tr_status tr_rng_sample(tr_rng *rng, uint64_t n, size_t k, uint64_t *out) {
  if (k > n)
    return tr_fail(TR_EINVAL, "drawing without replacement: asked for %zu of %llu", k, (unsigned long long)n);
  uint8_t *drawn = calloc(n / 8 + 1, 1);
  if (!drawn)
    return tr_fail(TR_ENOMEM, "drawing %zu of %llu: out of memory", k, (unsigned long long)n);
  for (size_t i = 0; i < k; ++i) {
    uint64_t top = n - k + i, value = tr_rng_below(rng, top + 1);
    if (drawn[value / 8] >> (value % 8) & 1)
      value = top;
    drawn[value / 8] |= (uint8_t)(1u << (value % 8));
    out[i] = value;
  }
  free(drawn);
  shuffle(rng, out, k);
  return TR_OK;
}
