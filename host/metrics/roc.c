/* Area under the ROC curve, and the sorted scores that it and F1 read. */
#include "host/base/status.h"
#include "host/metrics/metrics.h"
#include "host/metrics/sweep.h"

#include <math.h>
#include <stdlib.h>

double tr_roc_area(const tr_roc *roc) {
  if (roc->positives == 0 || roc->negatives == 0)
    return NAN;
  uint64_t pairs_twice = 2 * roc->positives * roc->negatives; /* below 2^63 for fewer than 2^32 scores */
  return (double)(pairs_twice - roc->lost_twice) / (double)pairs_twice;
}

static int higher_first(const void *a, const void *b) {
  float x = ((const tr_scored *)a)->score, y = ((const tr_scored *)b)->score;
  return (x < y) - (x > y);
}

tr_status tr_scored_sort(const char *what, const float *scores, const uint8_t *positive, size_t n, tr_scored **out) {
  *out = NULL;
  if (n > UINT32_MAX)
    return tr_fail(TR_EINVAL, "%s: expected fewer than 2^32 scores, found %zu", what, n);
  tr_scored *sorted = malloc((n ? n : 1) * sizeof *sorted);
  if (!sorted)
    return tr_fail(TR_ENOMEM, "%s: no memory to sort %zu scores", what, n);
  for (size_t i = 0; i < n; ++i) {
    if (!isfinite(scores[i])) {
      free(sorted);
      return tr_fail(TR_EINVAL, "%s: expected finite scores, found %g at index %zu", what, (double)scores[i], i);
    }
    sorted[i] = (tr_scored){scores[i], positive[i] != 0};
  }
  qsort(sorted, n, sizeof *sorted, higher_first);
  *out = sorted;
  return TR_OK;
}

tr_status tr_auroc(const float *scores, const uint8_t *positive, size_t n, double *auroc) {
  tr_scored *sorted;
  TR_TRY(tr_scored_sort("image AUROC", scores, positive, n, &sorted));
  tr_roc roc = {0};
  for (size_t i = 0; i < n; ++i) {
    if (i > 0 && sorted[i].score != sorted[i - 1].score)
      tr_roc_end_group(&roc);
    if (sorted[i].positive)
      ++roc.group_positives;
    else
      ++roc.group_negatives;
  }
  tr_roc_end_group(&roc);
  free(sorted);
  *auroc = tr_roc_area(&roc);
  return TR_OK;
}
