/* The axes of a figure: from where to where they go, where a value stands on them, and their numbers as a script for gnuplot. */
#ifndef TR_REPORT_AXES_H
#define TR_REPORT_AXES_H

#include "host/report/model.h"
#include <stdio.h>

typedef enum tr_scale {
  TR_SCALE_LINEAR,
  TR_SCALE_LOG,
  TR_SCALE_NINES /* percentages: 90, 99 and 99.9 are as far apart, and 100 stands one step behind the last other one */
} tr_scale;

typedef struct tr_axis {
  tr_scale scale;
  double low, high; /* as gnuplot has them: tr_axis_data() */
  double full;      /* where 100 stands, with nines */
} tr_axis;

tr_axis tr_axis_x(const tr_figure *figure);
tr_axis tr_axis_y(const tr_figure *figure);

/* A value as gnuplot gets it. */
double tr_axis_data(const tr_axis *axis, double value);
/* Its place along the axis: 0 at the low end, 1 at the high end. */
double tr_axis_place(const tr_axis *axis, double value);

/* Of an UTF-8 text. */
size_t tr_character_count(const char *text);

/* A text for gnuplot, in single quotes; a new line is a space. */
void tr_gnuplot_quote(FILE *out, const char *text);

/* Range and numbers of the axes; names of categories. */
void tr_axes_write(FILE *out, const tr_figure *figure, const tr_axis *x, const tr_axis *y);

#endif
