/* Scores of a run's test images, as `run --scores` and `score` write them: image, label (0 good, 1 anomalous), score. */
#ifndef TR_REPORT_SCORES_H
#define TR_REPORT_SCORES_H

#include "host/report/csv.h"

typedef struct tr_image_scores {
  tr_csv csv;
  size_t count;
  float *score;       /* [count] */
  uint8_t *anomalous; /* [count] */
} tr_image_scores;

/* EFORMAT names a column that is missing, or the row of a label or score that is no number. */
tr_status tr_image_scores_read(const char *path, tr_image_scores *out);
void tr_image_scores_free(tr_image_scores *scores);

/* EINVAL names the first image of which the two do not agree on name or label. */
tr_status tr_image_scores_paired(const tr_image_scores *a, const tr_image_scores *b);

#endif
