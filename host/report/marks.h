/* Where the marks of a figure's points stand: beside their points, and where they cover no other mark, point or line if there is such a
 * place. */
#ifndef TR_REPORT_MARKS_H
#define TR_REPORT_MARKS_H

#include "host/report/axes.h"

enum { TR_MAX_MARKS = 64 };

typedef struct tr_mark_place {
  const char *mark;
  const tr_series *series;
  double x, y; /* of its middle, as shares of the axes */
} tr_mark_place;

/* width, height: of the field between the axes, in pixels. Returns how many there are; of more than fit the first. */
size_t tr_marks_place(const tr_figure *figure, const tr_axis *x, const tr_axis *y, double width, double height,
                      tr_mark_place out[TR_MAX_MARKS]);

#endif
