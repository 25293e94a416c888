/* What bench.c runs: a group of cases for each operator. */
#ifndef TR_HARNESS_BENCH_CASES_H
#define TR_HARNESS_BENCH_CASES_H

#include "host/harness/bench.h"

enum { TR_BENCH_MEMORY = 48 };

/* A run of cases. */
typedef struct tr_bench {
  const tr_bench_options *options;
  tr_device *device;
  size_t chunk, lanes; /* images of a call, calls side by side */
  tr_bench_limits limits;
  void *memory[TR_BENCH_MEMORY]; /* device */
  size_t memories;
  tr_bench_row last; /* as measured */
} tr_bench;

typedef enum tr_bench_mode {
  TR_BENCH_IMAGES, /* items are images, a chunk of them a call, calls in every lane */
  TR_BENCH_LANES,  /* an item is a call, calls in every lane */
  TR_BENCH_WHOLE,  /* an item is a call that has all threads to itself */
} tr_bench_mode;

/* One thing to time. fn queues the work of a call, as tr_device_for_chunks asks. */
typedef struct tr_bench_case {
  const char *name, *shape;
  tr_bench_mode mode;
  double flops, bytes; /* of an item */
  bool transfer;       /* between host and device, for which there is no limit */
  tr_chunk_fn fn;
  void *context;
} tr_bench_case;

/* Measures; the row is in bench->last, and handed on unless `quietly`. */
tr_status tr_bench_measure(tr_bench *bench, const tr_bench_case *item, bool quietly);

/* Device memory until tr_bench_release, which is called at the end of each group too. */
tr_status tr_bench_alloc(tr_bench *bench, size_t bytes, void **out);
void tr_bench_release(tr_bench *bench);
/* Uniform in [0, 1), of (seed, index) alone. */
tr_status tr_bench_noise(tr_bench *bench, size_t count, uint64_t seed, float **out);
/* [rows, d], like patch features: not negative, near a subspace of a few dimensions whose weights fall off. */
tr_status tr_bench_features(tr_bench *bench, size_t rows, int d, uint64_t seed, float **out);

typedef struct tr_bench_group {
  const char *name; /* operator */
  tr_status (*run)(tr_bench *bench);
} tr_bench_group;

extern const tr_bench_group tr_bench_groups[];
extern const size_t tr_bench_group_count;

/* Fills bench->limits. */
tr_status tr_bench_measure_limits(tr_bench *bench);

#endif
