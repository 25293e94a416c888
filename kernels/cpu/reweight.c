/* reweight on the cpu: the search for the neighbours of the matches is all the work; the rest is b distances an image, in double. */
#include "host/base/status.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/exact.h"

#include <math.h>
#include <string.h>

/* Row of the image's patch with the largest distance. */
static size_t farthest_patch(const float *distances, size_t first, size_t count) {
  size_t best = first;
  for (size_t i = first + 1; i < first + count; ++i)
    if (distances[i] > distances[best])
      best = i;
  return best;
}

/* Eq. 7 with every exponent less the largest. */
static double weighted_score(double nearest, const double *distances, int b) {
  double largest = nearest, sum = 0.0;
  for (int i = 0; i < b; ++i)
    largest = fmax(largest, distances[i]);
  for (int i = 0; i < b; ++i)
    sum += exp(distances[i] - largest);
  return (1.0 - exp(nearest - largest) / sum) * nearest;
}

tr_status tr_cpu_reweight(tr_device *device, const tr_reweight_args *args) {
  tr_reweight_work work = tr_reweight_layout(device, args);
  size_t d = (size_t)args->d, patches = (size_t)args->patches;
  for (size_t i = 0; i < (size_t)args->n; ++i) {
    size_t patch = farthest_patch(args->distances, i * patches, patches);
    uint32_t match = args->indices[patch];
    if (match >= args->bank_rows)
      return tr_fail(TR_EINVAL, "reweight: indices[%zu]: expected a row of a bank of %zu, found %u", patch, args->bank_rows,
                     match);
    work.patches[i] = (uint32_t)patch;
    memcpy(work.matches + i * d, args->bank + match * d, d * sizeof(float));
  }
  TR_TRY(tr_nearest(device, &work.neighbours));
  for (size_t i = 0; i < (size_t)args->n; ++i) {
    const float *patch = args->features + work.patches[i] * d;
    const uint32_t *near = work.neighbours.indices + i * (size_t)args->b;
    double distances[TR_NEAREST_MAX_K];
    for (int k = 0; k < args->b; ++k)
      distances[k] = sqrt(tr_exact_distance2(patch, args->bank + near[k] * d, d));
    double nearest = sqrt(tr_exact_distance2(patch, work.matches + i * d, d));
    args->scores[i] = (float)weighted_score(nearest, distances, args->b);
  }
  return TR_OK;
}
