/* The paper's ablations: what is varied, and what was published of it. Figures and their tables show them, findings judge them. */
#ifndef TR_REPORT_ABLATIONS_H
#define TR_REPORT_ABLATIONS_H

#include "host/report/sweep.h"

typedef enum tr_ablation_kind {
  TR_ABLATION_NEIGHBOURHOOD, /* figure 4, above: p */
  TR_ABLATION_LEVELS,        /* figure 4, below */
  TR_ABLATION_SUBSAMPLING,   /* figure 5 */
  TR_ABLATION_STRIDE,        /* section 4.4.2 */
  TR_ABLATION_LOW_SHOT,      /* figure 6, table S5 */
  TR_ABLATIONS
} tr_ablation_kind;

enum { TR_MAX_VALUES = 12, TR_MAX_LINES = 4 };

typedef struct tr_ablation {
  const char *id, *title, *intro; /* of figure and table */
  const char *x_title;
  const char *experiment;
  size_t value_count;
  double values[TR_MAX_VALUES]; /* of x, in the order of the table; numbers of categories from 1 */
  const char *labels[TR_MAX_VALUES];
  size_t line_count;
  const char *lines[TR_MAX_LINES]; /* samplers, methods; one line without a name */
  double percent;                  /* of the patches, where it is not what is varied */
  tr_query (*query)(const char *dataset, size_t line, double value, double percent);
  tr_published_value (*published)(const tr_published *published, size_t line, double value, const char *label,
                                  const tr_metric *metric);
  bool x_log, categories;
  bool any_percent; /* figure 4 does not say which it has: the one that most values were run with, `percent` before others */
} tr_ablation;

const tr_ablation *tr_ablation_of(tr_ablation_kind kind);

/* An ablation on one data set and backbone. */
typedef struct tr_ablation_runs {
  const tr_ablation *ablation;
  const char *dataset, *backbone;
  double percent;
  tr_query queries[TR_MAX_LINES * TR_MAX_VALUES]; /* [lines, values] */
  tr_selection selections[TR_MAX_LINES * TR_MAX_VALUES];
  size_t run; /* how many of them */
} tr_ablation_runs;

/* The first that was run; NULL without one. */
const tr_selection *tr_ablation_first(const tr_ablation_runs *runs);

/* Figures and tables of an ablation on one data set: of the backbone that most values were run with, and of others with at least three. Of
 * MVTec AD there is always one table beside what was published. */
void tr_ablation_write(tr_evidence *evidence, tr_ablation_kind kind, const char *dataset);

#endif
