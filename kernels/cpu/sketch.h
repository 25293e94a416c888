/* A sketch of a bank: each row as `width` numbers from whose distance the distance of the rows is bounded below.
 *
 * Deep features lie near a subspace (on ResNet50's layers 2 and 3, 127 of 1024 directions hold 97 % of the variance). With V an
 * orthonormal basis of such a subspace and m a centre, the sketch of a row q is z = (V x, |x - V^T V x|) with x = q - m: the
 * coordinates within the subspace, and how far the row lies from it. Within the subspace distances are kept, and outside it the
 * triangle inequality leaves | |r| - |r'| | of |r - r'|, so
 *
 *   |z - z'| <= |q - q'|      (Pythagoras; the same bound for any subspace, tight when it fits)
 *
 * Rounding: with u = 2^-24, e = ||V V^T - I|| as measured, a = gamma_d sqrt(r) (product V x) and b = gamma_r sqrt(r) (product V^T y),
 * |z - z'| <= |q - q'| + c (|x| + |x'|) where c = (2 + 2 e) a + b + 4 u + e. c is about 1.5e-3 at d = 1024: some more rows pass.
 *
 * The subspace comes from a few steps of subspace iteration on at most SAMPLE rows of the bank (Halko, Martinsson, Tropp, SIAM
 * Review 53(2), 2011, algorithm 4.4, started from rows of the bank); the bound holds however good it is. */
#ifndef TR_KERNELS_CPU_SKETCH_H
#define TR_KERNELS_CPU_SKETCH_H

#include <stdbool.h>
#include <stddef.h>

enum { TR_SKETCH_MOST = 128, TR_SKETCH_TILE = 32 /* most rows sketched at once */ };

/* Numbers of a row's sketch, a whole number of panels; 0: rows of d numbers are not sketched. */
size_t tr_sketch_width(size_t d);
/* Whether a bank of that size is searched by its sketch. */
bool tr_sketch_is_worthwhile(size_t rows, size_t d);

/* Lies at the start of the sketch's memory; the arrays follow it. */
typedef struct tr_sketch {
  size_t rows, d, width;
  double error;            /* c */
  double largest_distance; /* max |x| over the bank */
  double largest_norm2;    /* max |z|^2 over the bank */
  const float *centre;     /* [d] */
  const float *into;       /* V, packed: width - 1 rows of d */
  const float *back;       /* V^T, packed: d rows of width - 1 */
  const float *panels;     /* sketches of the bank, packed: `rows` rows of `width` */
  const float *half_norms; /* [rows]: |z|^2 / 2 */
} tr_sketch;

/* Sketches n <= TR_SKETCH_TILE rows: z [n, width], distance [n] = |x|. work: tr_sketch_work_bytes(d). */
size_t tr_sketch_work_bytes(size_t d);
void tr_sketch_rows(const tr_sketch *sketch, const float *rows, size_t n, float *z, double *distance, void *work);

#endif
