/* How a lower triangle is kept: in blocks of TR_TRIANGLE rows, each row as long as its block's last. Block i starts at
 * tr_triangle_offset(i), and its rows have TR_TRIANGLE * (i + 1) floats. Rows after the last that counts belong to the identity. */
#ifndef TR_KERNELS_TRIANGLE_H
#define TR_KERNELS_TRIANGLE_H

#include <stddef.h>

enum { TR_TRIANGLE = 16 };

/* n rounded up to whole blocks. */
static inline size_t tr_triangle_round(size_t n) {
  return (n + TR_TRIANGLE - 1) / TR_TRIANGLE * TR_TRIANGLE;
}

static inline size_t tr_triangle_offset(size_t block) {
  return (size_t)TR_TRIANGLE * TR_TRIANGLE * (block * (block + 1) / 2);
}

/* Of a whole triangle of n rows. */
static inline size_t tr_triangle_floats(size_t n) {
  return tr_triangle_offset(tr_triangle_round(n) / TR_TRIANGLE);
}

#endif
