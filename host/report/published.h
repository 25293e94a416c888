/* Published numbers by table, method, class and metric: results/published/ *.csv, of which README.md there says what they hold. */
#ifndef TR_REPORT_PUBLISHED_H
#define TR_REPORT_PUBLISHED_H

#include "host/base/progress.h"
#include "host/report/csv.h"

typedef enum tr_published_file {
  TR_TABLE_1,
  TR_TABLE_2,
  TR_TABLE_3,
  TR_TABLE_4,
  TR_TABLE_5,
  TR_TABLE_6,
  TR_TABLE_S1,
  TR_TABLE_S2,
  TR_TABLE_S3,
  TR_TABLE_S5,
  TR_TABLE_S6,
  TR_FIGURE_4,
  TR_FIGURE_5,
  TR_FIGURE_6,
  TR_PUBLISHED_TEXT,
  TR_BASELINES,
  TR_RELEASED, /* results of the authors' released models */
  TR_REIMPLEMENTATIONS,
  TR_IMAGE_COUNTS,
  TR_AUTHORS_CODE, /* other columns: see README.md there */
  TR_PUBLISHED_FILES
} tr_published_file;

typedef struct tr_published {
  tr_csv files[TR_PUBLISHED_FILES]; /* without rows where the file is missing */
} tr_published;

/* Files that are missing are named in warnings. */
tr_status tr_published_read(const char *results, tr_progress *progress, tr_published *out);
void tr_published_free(tr_published *published);

typedef struct tr_published_value {
  double value;       /* as printed: percent, count, seconds; NaN: not there */
  double deviation;   /* the spread printed beside it; NaN: none */
  const char *source; /* the published numbers' memory; NULL when not there */
} tr_published_value;

/* The mean where two readers of a plot differ. */
tr_published_value tr_published_find(const tr_published *published, tr_published_file file, const char *method,
                                     const char *class_name, const char *metric);

/* Images of the published data, 0 where nothing is known. MTD: 80 % of 952 good ones to train on; 191 good and 392 defective ones
 * to test (DifferNet's split). */
void tr_published_counts(const tr_published *published, const char *dataset, const char *class_name, size_t *train, size_t *test);

/* A number at the start of the text; NaN without one. */
double tr_number(const char *text);

#endif
