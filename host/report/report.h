/* What people read: the table at the end of a run, and paper-repro.md. */
#ifndef TR_REPORT_REPORT_H
#define TR_REPORT_REPORT_H

#include "host/harness/experiment.h"
#include "host/harness/store.h"

/* Aligned columns, a block per run with its classes and their mean; runs in the order of the experiments. malloc'd. */
tr_status tr_results_table(const tr_experiments *experiments, const tr_results *results, char **out);

/* paper-repro.md from <results>/published/ *.csv and <results>/<machine>/ *.jsonl; malloc'd. */
tr_status tr_report_markdown(const char *results, tr_progress *progress, char **out);

#endif
