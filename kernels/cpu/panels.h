/* Products of rows with packed rows, c[i][j] = a_i . b_j: the search operators' matrix product, single-threaded.
 *
 * b is packed once and multiplied many times (coreset picks, projections, bank sketches), which a BLAS would pack again at every
 * call. An element is summed over k in ascending order in one register, wherever it stands in the product: its bits depend on
 * its two rows alone. So does nothing else, in particular not the shapes, the cut into tasks, or a BLAS version.
 *
 * Measured, one core of an EPYC 9004 (AVX-512, peak 118 GFLOP/s): 112 GFLOP/s at k = 128 and 116 at k = 1024 with gcc 12 and with
 * clang 14; OpenBLAS 0.3.21 gives 102 and 95. With gcc for AVX2 alone 73, for baseline x86-64 28. A tile of 6 x 16 reads better for
 * AVX2's 16 registers, but gcc 12 then unrolls before it vectorises: 3 GFLOP/s. */
#ifndef TR_KERNELS_CPU_PANELS_H
#define TR_KERNELS_CPU_PANELS_H

#include <stddef.h>

enum { TR_PANEL = 32 }; /* rows of b in a panel: columns of the product */

/* n rounded up to whole panels. */
static inline size_t tr_panels_rows(size_t n) {
  return (n + TR_PANEL - 1) / TR_PANEL * TR_PANEL;
}

/* Packs rows [first, first + n) of a packed matrix [.., k] from b [n, k]; first is a multiple of TR_PANEL. `panels` holds
 * tr_panels_rows(rows) * k floats and starts with row 0; the last panel is filled up with zeros. */
void tr_panels_pack(const float *b, size_t n, size_t k, size_t first, float *panels);

/* Packs one row at its place in a packed matrix [.., k]. */
void tr_panels_put(const float *row, size_t k, size_t place, float *panels);

/* c[i * ldc + j] = a_i . b_j for j in [0, n) of the rows packed in `panels`; ldc >= n. a: [m, k], rows `lda` floats apart. */
void tr_panels_product(const float *a, size_t lda, size_t m, const float *panels, size_t n, size_t k, float *c, size_t ldc);

#endif
