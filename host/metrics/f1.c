/* The threshold of the best F1 score; its errors are the paper's misclassified images (section 4.2). */
#include "host/base/status.h"
#include "host/metrics/metrics.h"
#include "host/metrics/sweep.h"

#include <math.h>
#include <stdlib.h>

tr_status tr_best_f1(const float *scores, const uint8_t *positive, size_t n, tr_f1 *out) {
  *out = (tr_f1){.f1 = NAN, .threshold = NAN};
  tr_scored *sorted;
  TR_TRY(tr_scored_sort("F1", scores, positive, n, &sorted));
  uint64_t positives = 0;
  for (size_t i = 0; i < n; ++i)
    positives += sorted[i].positive;
  uint64_t hits = 0, best_hits = 0, best_errors = 1; /* F1 = hits / (hits + errors / 2) rises with hits / errors */
  for (size_t i = 0; i < n; ++i) {
    hits += sorted[i].positive;
    if (i + 1 < n && sorted[i + 1].score == sorted[i].score)
      continue;
    uint64_t false_positives = i + 1 - hits, errors = false_positives + positives - hits;
    if (hits * best_errors <= best_hits * errors) /* exact: both factors are below 2^32 */
      continue;
    best_hits = hits;
    best_errors = errors;
    *out = (tr_f1){.f1 = (double)(2 * hits) / (double)(2 * hits + errors),
                   .threshold = (double)sorted[i].score,
                   .false_positives = false_positives,
                   .false_negatives = positives - hits};
  }
  free(sorted);
  return TR_OK;
}
