/* project: the matrix of a seed, checks and dispatch. */
#include "kernels/project.h"

#include "host/base/rng.h"
#include "host/base/status.h"
#include "kernels/operators.h"

#include <math.h>

void tr_project_matrix(uint64_t seed, int d, int d_star, float *host_matrix) {
  float bound = (float)(1.0 / sqrt((double)d));
  for (int i = 0; i < d_star; ++i) {
    tr_rng rng = tr_rng_make(seed, TR_RNG_PROJECTION, (uint64_t)i);
    for (int j = 0; j < d; ++j)
      host_matrix[(size_t)i * (size_t)d + (size_t)j] = tr_rng_between(&rng, -bound, bound);
  }
}

size_t tr_project_bytes(const tr_device *device, size_t n, int d, int d_star) {
  if (n == 0 || d < 1 || d_star < 1)
    return 0;
  return tr_device_operators(device)->project_bytes(n, (size_t)d, (size_t)d_star);
}

tr_status tr_project(tr_device *device, const tr_project_args *args) {
  if (args->d < 1 || args->d_star < 1)
    return tr_fail(TR_EINVAL, "project: expected d and d_star of at least 1, found %d and %d", args->d, args->d_star);
  if (args->n == 0)
    return TR_OK;
  if (!args->src || !args->matrix || !args->dst)
    return tr_fail(TR_EINVAL, "project: %zu rows: no %s given", args->n, !args->src ? "src" : !args->matrix ? "matrix" : "dst");
  return tr_device_operators(device)->project(device, args);
}
