/* From a results folder to what people read: the table at the end of a run, and paper-repro.md. */
#ifndef TR_REPORT_REPORT_H
#define TR_REPORT_REPORT_H

#include "host/harness/experiment.h"
#include "host/harness/store.h"
#include "host/report/model.h"

/* Aligned columns, a block per run with its classes and their mean; runs in the order of the experiments. malloc'd. */
tr_status tr_results_table(const tr_experiments *experiments, const tr_results *results, char **out);

/* Sets <results>/published/ *.csv beside <results>/<machine>/ *.jsonl. Scores of images, for intervals, are looked for in the folders
 * `scores` (NULL: none) and in <results>/<machine>/scores. A missing file of published numbers is a warning; its cells say so. */
tr_status tr_report_create(const char *results, const tr_strings *scores, tr_progress *progress, tr_report **out);

/* paper-repro.md; malloc'd. Drawn figures are linked as <figures>/<id>.svg. */
tr_status tr_report_markdown(const tr_report *report, const char *figures, char **out);

/* <folder>/<id>.csv and <id>.tex of every table; makes the folder. A CSV row is a cell: row, column, unit, published, source,
 * ours, deviation, seeds, difference, reason, command; a text cell has its text under ours. */
tr_status tr_report_write_tables(const tr_report *report, const char *folder);

#endif
