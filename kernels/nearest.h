/* nearest: the k nearest rows of the bank for each query, exact, squared L2 (paper Eq. 6; official FaissNN with IndexFlatL2).
 *
 * Products (|q|^2 + |b|^2 - 2 q.b) only choose candidates; the winners' distances are sum (q - b)^2, so they carry no
 * cancellation. Ties go to the lower bank row. A query's result depends on its row and the bank alone.
 */
#ifndef TR_KERNELS_NEAREST_H
#define TR_KERNELS_NEAREST_H

#include "kernels/device.h"

#define TR_NEAREST_MAX_K 64

typedef struct tr_nearest_args {
  size_t queries_count, group; /* queries come in groups of `group` rows (one image's patches); the last may be shorter */
  const float *queries;        /* [queries_count, d]; EINVAL names a row that is not finite */
  size_t bank_rows;
  const float *bank;       /* [bank_rows, d] */
  const float *bank_norms; /* [bank_rows], from tr_squared_norms */
  const void *sketch;      /* from tr_nearest_sketch, of this bank or of one that it is a prefix of; NULL = none */
  /* Blocks of the bank to search, of `block_rows` rows each (the bank's last may be shorter): host, [block_count], searched in this
   * order; likely ones first is fastest. No block twice. Indices and ties are those of the whole bank. NULL: all of it. */
  const uint32_t *blocks;
  size_t block_count, block_rows;
  /* Banks that are prefixes of this one, in one pass: the numbers of their rows, host, ascending, the last one bank_rows; distances and
   * indices are then [prefix_count, queries_count, k], to the bit what a search of each prefix gives. Without blocks, of a bank that is
   * whole. NULL: bank_rows alone. */
  const size_t *prefixes;
  size_t prefix_count;
  /* For a bank that comes in parts, a call a part, as where the device has no room for all of it: `bank` and what belongs to it are a
   * part's, which begins with row `first_row` of the whole bank. What is found so far stands in `found_distances2` and `found_rows`,
   * [queries_count, k]; with `resumed` a call goes on from there. Distances and indices are those of all parts up to here; until k rows
   * were searched, the last ones are infinite and UINT32_MAX. NULL: the bank is whole. */
  size_t first_row;
  double *found_distances2;
  uint32_t *found_rows;
  bool resumed;
  int d, k;          /* 1 <= k <= TR_NEAREST_MAX_K; k <= rows searched where the bank is whole */
  float *distances;  /* [queries_count, k], ascending, squared */
  uint32_t *indices; /* [queries_count, k] */
  void *scratch;     /* tr_nearest_scratch() bytes */
} tr_nearest_args;

/* Does not grow when queries, rows or k become fewer. */
size_t tr_nearest_scratch(const tr_device *device, size_t queries_count, size_t group, size_t bank_rows, int d, int k);
tr_status tr_nearest(tr_device *device, const tr_nearest_args *args);
/* What tr_nearest refuses before it looks at values: EINVAL. */
tr_status tr_nearest_check(const tr_nearest_args *args);

/* A sketch makes the search several times faster where a device can use one; results are the same with it and without. On the
 * cpu it takes at most about (bank_rows + 2 d) * 128 floats, on a GPU half of the bank. 0 bytes: none is of use for such a bank on
 * this device. */
size_t tr_nearest_sketch_bytes(const tr_device *device, size_t bank_rows, int d);
size_t tr_nearest_sketch_scratch(const tr_device *device, size_t bank_rows, int d); /* while it is made */
/* Multiply-adds that a query takes on the cpu with the bank's sketch, counted by the time they take: deep features, one neighbour. */
double tr_nearest_sketched_macs(size_t bank_rows, int d);
tr_status tr_nearest_sketch(tr_device *device, const float *bank, size_t bank_rows, int d, void *sketch, void *scratch);

/* For the twins: the ranges of rows to search, one after the other. With prefixes there is an answer after each of them, else after the
 * last. */
typedef struct tr_nearest_range {
  size_t first, end;
} tr_nearest_range;

static inline size_t tr_nearest_range_count(const tr_nearest_args *args) {
  return args->blocks ? args->block_count : args->prefixes ? args->prefix_count : 1;
}

static inline tr_nearest_range tr_nearest_range_at(const tr_nearest_args *args, size_t i) {
  tr_nearest_range range = {0, args->bank_rows};
  if (args->prefixes)
    range = (tr_nearest_range){i ? args->prefixes[i - 1] : 0, args->prefixes[i]};
  if (!args->blocks)
    return range;
  range.first = args->blocks[i] * args->block_rows;
  range.end = args->bank_rows - range.first < args->block_rows ? args->bank_rows : range.first + args->block_rows;
  return range;
}

/* norms[i] = |rows[i]|^2 */
tr_status tr_squared_norms(tr_device *device, const float *rows, size_t n, int d, float *norms);

#endif
