/* The paper's figures, and ours of time, from result lines that are found by their settings. Each function appends to the section begun
 * last. Our points are means over the same classes for all of a figure, bars one standard deviation over seeds; published points stand
 * beside MVTec AD's. */
#ifndef TR_REPORT_FIGURES_H
#define TR_REPORT_FIGURES_H

#include "host/report/ablations.h"

/* A figure for each of `runs`, which have two or more values; of several lines (samplers, methods) one for each metric. Without runs a figure
 * without series says what to run. */
void tr_figures_ablation(tr_evidence *evidence, const tr_ablation *ablation, const char *dataset, const tr_ablation_runs *runs,
                         size_t count);

/* "MVTec AD (bottle, hazelnut), REST"; without classes where the data set is run whole, or is one class. The report's memory. */
const char *tr_figure_title(tr_evidence *evidence, const tr_selection *of, const char *rest);

/* Image AUROC against milliseconds an image with the Pareto front: a figure for every data set and machine with two or more settings. */
void tr_figures_speed(tr_evidence *evidence);

/* Recall of the nearest bank row against queries a second, for every data set and machine and each bank that was searched in two or more
 * ways. */
void tr_figures_search(tr_evidence *evidence);

#endif
