/* One cell: a published number, the runs that stand for it, and in words how these differ from what was published. */
#ifndef TR_REPORT_CELLS_H
#define TR_REPORT_CELLS_H

#include "host/report/published.h"
#include "host/report/runs.h"
#include <stdio.h>

/* What every part of the report works from. */
typedef struct tr_evidence {
  const char *folder;       /* of results */
  tr_strings machines;      /* its folders but `published` */
  const tr_strings *scores; /* more folders with scores of images; may be NULL */
  tr_published published;
  tr_runs runs;
  tr_progress *progress; /* for warnings; may be NULL */
  tr_report *report;
} tr_evidence;

/* The setting behind a number, and the experiment that runs it. */
typedef struct tr_query {
  tr_setting setting; /* of the paper, normalised; with its data set */
  tr_substitutes substitutes;
  const char *experiment; /* of the command that would run it; the report's memory or static */
} tr_query;

/* PatchCore, SPADE or PaDiM as the paper has them, by the released code's protocol: WideResNet50-2, the method's own layers, 256 to
 * 224 pixels; PatchCore with greedy 10 %. Any backbone may stand in. Change fields of `setting`, then tr_query_ready(). */
tr_query tr_query_new(const char *dataset, const char *method, const char *experiment);
/* Levels 1 to 4 of a ResNet, shallow first, as digits: "23". */
void tr_query_levels(tr_query *query, const char *levels);
tr_query tr_query_percent(tr_query query, double percent);
tr_query tr_query_ready(tr_query query);
tr_query tr_query_backbone(tr_query query, const char *backbone, tr_substitutes substitutes);

/* What stands for the query; without groups where nothing does. */
void tr_select(tr_evidence *evidence, const tr_query *query, const char *class_name, tr_selection *out);

#define TR_PAPERS_BACKBONE "wide_resnet50_2"

enum { TR_PAPER_CLASSES = 15 };
extern const char *const tr_paper_classes[TR_PAPER_CLASSES];

/* A class's cell: `published` beside the runs of one class. */
tr_cell tr_cell_of_class(tr_evidence *evidence, const tr_query *query, const char *class_name, const tr_metric *metric,
                         tr_published_value published);

/* The mean over the classes (the sum, of counts). With fewer classes than MVTec AD has there is no difference, but the reason
 * sets the published values of the same classes beside it where `per_class` (a file of table S1 to S3, and the method in it) has them. */
typedef struct tr_per_class {
  tr_published_file file;
  const char *method; /* NULL: no such file */
} tr_per_class;
tr_cell tr_cell_of_mean(tr_evidence *evidence, const tr_query *query, const tr_metric *metric, tr_published_value published,
                        tr_per_class per_class);
/* The same of runs that were looked up already; a selection without groups was not run. */
tr_cell tr_cell_of_selection(tr_evidence *evidence, const tr_query *query, const tr_selection *selection, const tr_metric *metric,
                             tr_published_value published, tr_per_class per_class);

/* Ours only, of runs that were looked up already; `missing` says why there are none. */
tr_cell tr_cell_of_ours(const tr_selection *selection, const tr_metric *metric, const char *missing);

/* Published only. */
tr_cell tr_cell_out_of_scope(tr_evidence *evidence, tr_unit unit, tr_published_value published);
/* Ours only: no such number was published. */
tr_published_value tr_not_published(void);

/* "`totalrecall run experiments/table1.yaml --data ROOT --weights DIR`" without the ticks; the report's memory. */
const char *tr_command_of(tr_evidence *evidence, const char *experiment);

/* Causes and words of how a selection differs from its query; NULL text where it does not. `mean`: says which classes it is over. */
const char *tr_selection_reason(tr_evidence *evidence, const tr_query *query, const tr_selection *selection, bool mean,
                                unsigned *causes);
/* What running the query takes. */
const char *tr_missing_reason(tr_evidence *evidence, const tr_query *query);

/* A text that is written as to a file; closing gives it to the report. */
typedef struct tr_text {
  char *text;
  size_t bytes;
} tr_text;
FILE *tr_text_open(tr_text *text); /* NULL when out of memory */
const char *tr_text_close(tr_evidence *evidence, FILE *out, tr_text *text);

/* "MVTec AD", "MTD", "mSTC", "synthetic". */
const char *tr_dataset_title(const char *dataset);

#endif
