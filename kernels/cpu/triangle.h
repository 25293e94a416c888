/* Algebra of triangles (kernels/triangle.h) of tens to some hundreds of rows, single-threaded, for `gaussian`: thousands of them
 * are built, factored and solved with, one after the other.
 *
 * Matrices are row-major with `pitch` floats from row to row. Pitches and widths are multiples of TR_TRIANGLE; columns after the
 * last that counts are zero. An element's bits depend on its operands alone, not on where it stands or on how many rows are worked
 * on. */
#ifndef TR_KERNELS_CPU_TRIANGLE_H
#define TR_KERNELS_CPU_TRIANGLE_H

#include "kernels/triangle.h"

#include <stdbool.h>

/* triangle = rows rows^T; rows: [n, pitch]. */
void tr_cpu_triangle_gram(float *triangle, size_t n, const float *rows, size_t pitch);

/* Cholesky: the triangle of A becomes that of L, A = L L^T, with its diagonal blocks inverted, as the two functions below want it.
 * False where A is not positive definite or holds something that is not finite. */
bool tr_cpu_triangle_factor(float *triangle, size_t n);

/* The other way to a factor of A = sum of x x^T: R with R^T R = A, from which rows never leave again. Its error grows with the root of A's
 * condition, where forming A in float costs the condition itself.
 *
 * R is kept as block rows of TR_TRIANGLE rows from the diagonal on: tr_triangle_floats(n) floats, the first block row first. It starts
 * as the root of a multiple of the identity. update() adds m rows [m, pitch] of n columns, m <= TR_TRIANGLE_MOST_ROWS; the rows are used
 * up, work holds TR_TRIANGLE * pitch floats. finish() makes of R the triangle of L = scale * R^T as factor() leaves it; false where R
 * holds something that is not finite. */
enum { TR_TRIANGLE_MOST_ROWS = 32 };
void tr_cpu_triangle_start(float *upper, size_t n, float root);
void tr_cpu_triangle_update(float *upper, size_t n, float *rows, size_t m, size_t pitch, float *work);
bool tr_cpu_triangle_finish(const float *upper, size_t n, float scale, float *triangle);

/* Each of rows [m, pitch], of n columns, becomes L^-1 row, and L^-T row. */
void tr_cpu_triangle_forward(const float *triangle, size_t n, float *rows, size_t m, size_t pitch);
void tr_cpu_triangle_backward(const float *triangle, size_t n, float *rows, size_t m, size_t pitch);

/* c[i][j] = a_i . b_j over `depth` columns; a: [m, a_pitch], b: [n, b_pitch], c: [m, c_pitch]. */
void tr_cpu_triangle_dot(const float *a, size_t m, size_t a_pitch, const float *b, size_t n, size_t b_pitch, size_t depth,
                         float *c, size_t c_pitch);

/* c_i -= sum_k a[i][k] b_k over `width` columns; a: [m, a_pitch] of n columns, b: [n, b_pitch], c: [m, c_pitch]. */
void tr_cpu_triangle_subtract(const float *a, size_t m, size_t a_pitch, const float *b, size_t n, size_t b_pitch, size_t width,
                              float *c, size_t c_pitch);

#endif
