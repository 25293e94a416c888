/* A figure of the report drawn as SVG by gnuplot, which is looked for when a figure is drawn: no build needs it.
 *
 * Our points have filled markers. Published ones have the hollow marker and the colour of the series that they stand beside, and a dashed
 * line if any. Error bars are one standard deviation to both sides. The legend stands below the axes. Colours are Okabe and Ito's, which
 * colour-blind readers can tell apart; markers differ as well. The same figure gives the same bytes with the same gnuplot. */
#ifndef TR_REPORT_PLOT_H
#define TR_REPORT_PLOT_H

#include "host/base/progress.h"
#include "host/report/model.h"

/* Whether `gnuplot` is in PATH. */
bool tr_plot_possible(void);

/* The SVG, NUL-terminated and malloc'd. Text and lines have the colour of a group of class "plot", and the ground is a rectangle of class
 * "ground", so that a page that takes it in may set both; ids begin with the figure's. EINVAL: no points, or one that is not finite or does not fit on
 * a logarithmic axis. EIO: gnuplot is missing, failed or complained; the text says so. */
tr_status tr_plot_svg(const tr_figure *figure, char **out);

/* Draws the report's figures that have points, and writes each to <folder>/<id>.svg; folder may be NULL. Without gnuplot nothing is
 * drawn, with a warning to `progress`. */
tr_status tr_plot_report(tr_report *report, const char *folder, tr_progress *progress);

#endif
