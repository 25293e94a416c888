/* Settings that differ in one choice, compared on equal terms: the same data set, backbone and weights, and the same classes with the
 * same images. */
#ifndef TR_REPORT_SWEEP_H
#define TR_REPORT_SWEEP_H

#include "host/report/cells.h"

/* queries: [count]; their own backbones do not matter. out: [count]; a setting that was not run on that backbone has no groups, all others
 * have the same classes. Returns how many were run; 0 when they have no class in common. */
size_t tr_sweep(tr_evidence *evidence, const tr_query *queries, size_t count, const char *backbone, tr_selection *out);

/* Two selections on equal terms: both lose the classes that the other lacks. */
void tr_sweep_pair(tr_selection *a, tr_selection *b);

/* "MVTec AD, `resnet50_v1`, 3 of 15 classes (bottle, …), 3 seeds"; the report's memory. */
const char *tr_sweep_title(tr_evidence *evidence, const tr_selection *selection);

/* The difference of image AUROC between two selections of the same classes in the same order, with its interval
 * (host/metrics/bootstrap.h), from the scores that `run --scores` has kept. A pair is two runs of one seed; a
 * selection's only run is paired with each of the other's. False where scores of a run are missing, or are not those of its line. */
typedef struct tr_interval {
  double difference, low, high; /* percent points, a - b */
} tr_interval;
#define TR_NO_SCORES                                                                                                         \
  "An interval needs the images' scores of these runs: run their experiments with `--scores results/MACHINE/scores`, which " \
  "works "                                                                                                                   \
  "out again what has none."
bool tr_scores_interval(tr_evidence *evidence, const tr_selection *a, const tr_selection *b, tr_interval *out);

#endif
