/* Times the operators of a device on the shapes of MVTec bottle (224 pixels; ResNet50's and WideResNet50's layers 2 and 3), and sets
 * them beside what the device does at most: the fastest matrix product and the fastest copy, measured in the same run.
 *
 * Work is counted as the plain algorithm has it: multiplications and additions of the formula, every input read once and every
 * output written once. So an operator that leaves work out (coreset, nearest) can be beyond 100 %, as can one whose data stay in
 * the cache from call to call. */
#ifndef TR_BENCH_H
#define TR_BENCH_H

#include "host/base/text.h"
#include "kernels/device.h"

#define TR_BENCH_EXACT "exact search"

typedef struct tr_bench_limits {
  double flops, bytes; /* per second */
} tr_bench_limits;

typedef struct tr_bench_row {
  const char *name;       /* operator */
  char shape[96];         /* "28x28x512, 14x14x1024 -> 1024, p 3" */
  const char *item;       /* what the figures are of: "image", "call" */
  double flops, bytes;    /* of an item; a copy has no flops */
  bool transfer;          /* between host and device: no limit is known */
  size_t items, samples;  /* items of a sample */
  double median, minimum; /* seconds of an item */
  double ratio;           /* of the median to that of `ratio_to`, measured just before */
  const char *ratio_to;   /* "the backbone alone", TR_BENCH_EXACT; NULL: neither */
} tr_bench_row;

typedef void (*tr_bench_row_fn)(void *context, const tr_bench_limits *limits, const tr_bench_row *row);

typedef struct tr_bench_options {
  tr_device *device;
  const tr_strings *operators; /* only these; NULL or empty: all */
  const char *bank, *queries;  /* .npy files of rows for `search` and `ivf`; NULL: made-up features */
  bool quick;                  /* small shapes and few samples: whether all runs, not how fast */
  tr_bench_row_fn row;         /* called as soon as a row is measured */
  void *context;
} tr_bench_options;

/* EINVAL names the operators that are known; ECANCELED after tr_cancel_request. */
tr_status tr_bench_run(const tr_bench_options *options);

/* Names that `operators` may hold. */
const char *const *tr_bench_operators(size_t *count);

/* For qsort: the shorter first. */
int tr_bench_compare_seconds(const void *a, const void *b);

/* The least time the limits leave an item, over its median; NaN where no limit is known. by_memory: the copies are the limit. */
double tr_bench_share(const tr_bench_limits *limits, const tr_bench_row *row, bool *by_memory);

/* One line of JSON without its newline, with device and date; malloc'd. */
tr_status tr_bench_json(tr_device *device, const tr_bench_limits *limits, const tr_bench_row *row, bool quick, char **out);

#endif
