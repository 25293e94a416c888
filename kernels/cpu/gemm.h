/* Single-threaded matrix product of the cpu twins: OpenBLAS where it is found, else plain C that the compiler vectorises. */
#ifndef TR_KERNELS_CPU_GEMM_H
#define TR_KERNELS_CPU_GEMM_H

#include <stdbool.h>
#include <stddef.h>

/* Row-major float matrices; ld = floats from one row to the next. C[m,n] = A[m,k] B[k,n]; where `b_transposed` B is [n,k], and where
 * `a_transposed` A is [k,m]. C is overwritten and overlaps neither A nor B. The same shapes give the same bits. */
typedef struct tr_gemm {
  size_t m, n, k;
  const float *a;
  size_t lda;
  const float *b;
  size_t ldb;
  bool b_transposed;
  float *c;
  size_t ldc;
  bool a_transposed;
} tr_gemm;

void tr_cpu_gemm(const tr_gemm *product);
void tr_cpu_gemm_plain(const tr_gemm *product); /* never OpenBLAS */

#endif
