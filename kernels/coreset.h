/* coreset: greedy minimax facility location (paper section 3.2, Algorithm 1; official ApproximateGreedyCoresetSampler).
 *
 *   reach[i] = mean over the start rows of |rows[i] - rows[start]|      (the start rows are not picked by this)
 *   repeat: pick = argmax reach (lowest index at a tie); radius = reach[pick]; reach[i] = min(reach[i], |rows[i] - rows[pick]|)
 *
 * |.| is Euclidean. Picks come in order, so the first k are the coreset of size k. A picked row is never picked again (its
 * distance to itself is exactly 0 here); when every remaining reach is 0 the lowest rows not yet picked follow.
 *
 * A selection can be taken up again: rows that are given count as picked. With the starting points of the selection that picked them it
 * goes on as if it had never stopped; without starting points (a bank grows by new rows) the reach is that to the given rows alone.
 *
 * Rows may lie where they have to be read, in a file: the processor selects then, whatever the device. All rows are read once at the
 * start, in order; after that each round passes over the rows in order again, and reads those alone whose reach may have to fall.
 */
#ifndef TR_KERNELS_CORESET_H
#define TR_KERNELS_CORESET_H

#include "host/base/progress.h"
#include "kernels/device.h"

/* Rows [first, first + n) of those to select from, into rows [n, d], host memory; from any thread of the pool. */
typedef tr_status (*tr_read_rows_fn)(void *context, size_t first, size_t n, float *rows);

/* Starting points of a selection from rows that are read. */
enum { TR_CORESET_MOST_STARTS = 1024 };

typedef struct tr_coreset_args {
  size_t n;
  int d;
  const float *rows;     /* [n, d]; NULL where they are read */
  size_t picks;          /* <= n */
  const uint32_t *start; /* host */
  size_t starts;         /* >= 1; 0 where rows are given */
  uint32_t *order;       /* host, [picks]: the first `given` are read, the others written */
  float *radius;         /* host, [picks]: of the others */
  size_t given;          /* picks that stand in `order` already, no row twice */
  double
      stop_radius; /* end before a pick whose reach is below this, which then stands in order[*picked], its reach in radius[*picked];
                            0: do not */
  double
      stop_seconds; /* end after the round in which so much time has gone by: what is picked by then depends on the machine; 0: do not */
  size_t *picked; /* how many of `picks` there are, with the given; may be NULL where nothing ends early */
  void
      *scratch; /* tr_coreset_scratch() bytes; of a selection from rows that are read, tr_coreset_read_scratch() of host memory */
  tr_read_rows_fn read; /* in place of rows; NULL: they are there */
  void *read_context;
  tr_progress *progress; /* may be NULL */
} tr_coreset_args;

size_t tr_coreset_scratch(const tr_device *device, size_t n, int d, size_t picks);
size_t tr_coreset_read_scratch(const tr_device *device, size_t n, int d, size_t picks);
/* ECANCELED when tr_cancel_requested(). The same picks and radii on every device, to the bit. */
tr_status tr_coreset(tr_device *device, const tr_coreset_args *args);

#endif
