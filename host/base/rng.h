/* Philox4x32-10 (Salmon et al., SC'11): counter-based random numbers keyed by (seed, purpose, index), so that any number
 * can be had without the ones before it and no two uses share a stream. */
#ifndef TR_BASE_RNG_H
#define TR_BASE_RNG_H

#include "host/totalrecall.h"

typedef enum tr_rng_purpose {
  TR_RNG_PROJECTION = 1,
  TR_RNG_CORESET_START = 2,
  TR_RNG_RANDOM_SUBSET = 3,
  TR_RNG_SYNTHETIC = 4,
  TR_RNG_WEIGHTS = 5,  /* generated weights of tests */
  TR_RNG_CHANNELS = 6, /* PaDiM's channel draw */
  TR_RNG_LOW_SHOT = 7,
  TR_RNG_BOOTSTRAP = 8,
  TR_RNG_PROXIES = 9,   /* learned basis proxies */
  TR_RNG_HELD_OUT = 20, /* nominal images kept for a detector's threshold */
  TR_RNG_TEST = 100,
} tr_rng_purpose;

typedef struct tr_rng {
  uint32_t key[2];
  uint32_t counter[4];
  uint32_t block[4];
  int used; /* words of `block` already given out */
} tr_rng;

/* One block: the 10-round bijection of `counter` under `key`. */
void tr_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

tr_rng tr_rng_make(uint64_t seed, tr_rng_purpose purpose, uint64_t index);
uint32_t tr_rng_u32(tr_rng *rng);
float tr_rng_float(tr_rng *rng);                          /* uniform in [0, 1), 24 bits */
double tr_rng_double(tr_rng *rng);                        /* uniform in [0, 1), 53 bits */
float tr_rng_between(tr_rng *rng, float low, float high); /* uniform in [low, high) */
float tr_rng_normal(tr_rng *rng);                         /* Box-Muller */
uint64_t tr_rng_below(tr_rng *rng, uint64_t n);           /* uniform in [0, n), unbiased; n > 0 */

/* k distinct numbers of [0, n) in random order (Floyd's method, then shuffled). EINVAL when k > n. */
tr_status tr_rng_sample(tr_rng *rng, uint64_t n, size_t k, uint64_t *out);

#endif
