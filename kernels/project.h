/* project: random linear projection of features, dst = src * matrix^T (Johnson-Lindenstrauss; paper section 3.2, Algorithm 1).
 * official (src/patchcore/sampler.py): d* = 128, entries uniform in (-1/sqrt(d), 1/sqrt(d)), not scaled. */
#ifndef TR_KERNELS_PROJECT_H
#define TR_KERNELS_PROJECT_H

#include "kernels/device.h"

typedef struct tr_project_args {
  size_t n;
  int d, d_star;
  const float *src;    /* [n, d] */
  const float *matrix; /* [d_star, d] */
  float *dst;          /* [n, d_star] */
} tr_project_args;

/* The matrix of a seed, entry (i, j) from Philox(seed, projection, i): host memory, [d_star, d]. */
void tr_project_matrix(uint64_t seed, int d, int d_star, float *host_matrix);
/* A row's result does not depend on n or on its place: tiles of fixed size are multiplied. */
tr_status tr_project(tr_device *device, const tr_project_args *args);
/* Device memory that a call allocates for its time. */
size_t tr_project_bytes(const tr_device *device, size_t n, int d, int d_star);

#endif
