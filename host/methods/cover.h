/* The covering radius of a selection: the largest distance of a row to its nearest pick.
 *
 * The official selection (kernels/coreset.h) measures a row's reach from the mean distance to the starting points too, which are no picks,
 * so a row near all of them may be farther from every pick than its reach. Only rows whose mean distance to the starting points is at most
 * the largest reach left can be, a few or none once there are many picks: these are measured. */
#ifndef TR_METHODS_COVER_H
#define TR_METHODS_COVER_H

#include "kernels/coreset.h"

typedef struct tr_cover_args {
  size_t n;
  int d;
  const float *rows;     /* device, [n, d]; NULL where they are read */
  const uint32_t *start; /* host, [starts] */
  size_t starts;         /* 1 to TR_NEAREST_MAX_K */
  const uint32_t *order; /* host, [picks] */
  size_t picks;          /* >= 1 */
  double reach;          /* the largest that is left, or more */
  tr_read_rows_fn read;  /* in place of rows, in order but for the picks; NULL: they are there */
  void *read_context;
} tr_cover_args;

/* *radius >= reach, the same of rows in memory and of rows that are read. Takes tr_cover_bytes() of the device for its time, and to read
 * tr_cover_read_bytes() of the device and as much of the host on top. */
tr_status tr_cover_radius(tr_device *device, const tr_cover_args *args, double *radius);
size_t tr_cover_bytes(const tr_device *device, size_t n, int d, size_t picks);
size_t tr_cover_read_bytes(size_t n, int d);

#endif
