/* A report as data: sections of text, tables and figures. A cell says what was published, what this program measured, and why ours is
 * missing or was made otherwise. report.h builds one from a results folder; markdown.c, export.c (CSV, LaTeX) and html.c write it.
 *
 * Strings belong to the report. Text is plain, with `code` in backticks; an empty line parts paragraphs. Lists end with NULL.
 *
 * Building: tr_report_section() … tr_report_cell() append to what was begun last. Out of memory they do nothing and
 * tr_report_status() tells; a builder need only look at it at the end. */
#ifndef TR_REPORT_MODEL_H
#define TR_REPORT_MODEL_H

#include "host/base/text.h"

typedef enum tr_unit {
  TR_UNIT_PERCENT,  /* a metric as the paper prints it */
  TR_UNIT_FRACTION, /* the same in [0, 1] */
  TR_UNIT_COUNT,
  TR_UNIT_SECONDS,
  TR_UNIT_BYTES,
  TR_UNIT_RATIO,
} tr_unit;

/* Over repeated seeds. */
typedef struct tr_statistic {
  double mean;      /* NaN: nothing was measured */
  double deviation; /* of the sample, n - 1; 0 for one seed */
  size_t seeds;
} tr_statistic;

/* Why ours is missing, or how it was made otherwise; bits. */
typedef enum tr_cause {
  TR_CAUSE_NOT_RUN = 1,      /* `command` runs it */
  TR_CAUSE_WEIGHTS = 2,      /* another backbone, or other weights of it */
  TR_CAUSE_DATA = 4,         /* fewer classes, fewer images */
  TR_CAUSE_PROTOCOL = 8,     /* another setting of the method */
  TR_CAUSE_OUT_OF_SCOPE = 16 /* a method that this program does not have; it is never run */
} tr_cause;

typedef struct tr_cell {
  const char *text; /* of a label or a sentence; NULL: a number */
  tr_unit unit;
  double published;           /* in `unit`; NaN: none */
  double published_deviation; /* the spread printed beside it; NaN: none */
  const char *source;         /* where it was read, NULL without one */
  const char *published_text; /* in place of a number that was not published: says so */
  tr_statistic ours;          /* in `unit` */
  double difference;          /* ours - published; NaN where that would compare unlike things */
  unsigned causes;            /* tr_cause; 0: made as published */
  const char *reason;         /* a sentence or more; NULL exactly when causes is 0 */
  const char *command;        /* that would run it; NULL where nothing would */
  const struct tr_cell *next; /* in the row */
} tr_cell;

typedef struct tr_row {
  const tr_cell *cells; /* as many as the table has columns */
  const struct tr_row *next;
} tr_row;

typedef struct tr_column {
  const char *title;
  bool published; /* its cells hold published values beside ours: two columns on paper */
  const struct tr_column *next;
} tr_column;

typedef struct tr_table {
  const char *id;            /* unique, fit for a file name: "table1", "tableS1" */
  const char *title, *intro; /* intro may be "" */
  const tr_column *columns;
  size_t column_count, row_count;
  const tr_row *rows;
  const struct tr_table *next;
} tr_table;

typedef struct tr_point {
  double x;
  const char *label;   /* of a category; NULL on an axis of numbers */
  double y, deviation; /* deviation over seeds, 0 for one */
  size_t seeds;        /* 0: published */
  const char *mark;    /* a few characters beside it in a plot; NULL: none */
  const struct tr_point *next;
} tr_point;

typedef struct tr_series {
  const char *title;
  bool published;
  bool line;              /* its points are joined in a plot */
  bool bare;              /* without markers, in the colour of text: a line that joins points of other series */
  int colour;             /* from 0; a published series has that of the series it stands beside. Decides the marker, too */
  const char *note;       /* source and precision of published points; how ours were made. NULL: nothing to say */
  const tr_point *points; /* by rising x; at least one */
  size_t point_count;
  const struct tr_series *next;
} tr_series;

typedef struct tr_figure {
  const char *id; /* as a table's */
  const char *title, *x_title, *y_title;
  bool x_log, y_log;
  bool x_nines;        /* x are percentages of which what lacks to 100 counts: 90, 99 and 99.9 are as far apart */
  double y_ceiling;    /* no value can be larger, as 100 %; 0: none */
  const char *caption; /* what it is of; NULL: nothing to say */
  const tr_series *series;
  size_t series_count;
  unsigned causes; /* as a cell's, of our series: why there is none, or how they were made */
  const char *reason, *command;
  const char *svg; /* drawn by tr_plot_report(); NULL: not drawn */
  const struct tr_figure *next;
} tr_figure;

typedef struct tr_section {
  const char *id, *title, *intro;
  const tr_table *tables;
  const tr_figure *figures;
  const struct tr_section *next;
} tr_section;

typedef struct tr_report tr_report;

tr_status tr_report_new(tr_report **out); /* without sections */
void tr_report_destroy(tr_report *report);
const tr_section *tr_report_sections(const tr_report *report);
tr_status tr_report_status(const tr_report *report);

/* ---- building ---- */

/* A string that lives as long as the report; NULL when out of memory. */
const char *tr_report_text(tr_report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *tr_report_keep(tr_report *report, char *text); /* takes what malloc gave */

/* Zeroed memory that lives as long as the report; NULL when out of memory. */
void *tr_report_alloc(tr_report *report, size_t count, size_t bytes);

/* Strings are copied. */
void tr_report_section(tr_report *report, const char *id, const char *title, const char *intro);
void tr_report_table(tr_report *report, const char *id, const char *title, const char *intro);
void tr_report_column(tr_report *report, const char *title, bool published); /* before the first row */
void tr_report_row(tr_report *report);
void tr_report_cell(tr_report *report, const tr_cell *cell); /* its strings are the report's or static */
/* A cell without anything in it: the numbers are NaN. */
tr_cell tr_cell_new(tr_unit unit);
void tr_report_label(tr_report *report, const char *text); /* a cell that is a text, copied */

void tr_report_figure(tr_report *report, const tr_figure *figure); /* without series; strings as a cell's */
void tr_report_series(tr_report *report, const tr_series *series); /* without points */
void tr_report_point(tr_report *report, const tr_point *point);

/* Sets the drawing of one of the report's figures; takes what malloc gave. */
void tr_report_set_svg(tr_report *report, const tr_figure *figure, char *svg);

/* ---- numbers as people read them, the same in every form of the report ---- */

enum { TR_CELL_TEXT_BYTES = 128 };

/* "98.1", or published_text, or "–" when there is neither. Returns buffer. */
const char *tr_cell_published(const tr_cell *cell, char buffer[TR_CELL_TEXT_BYTES]);
/* "98.35 ± 0.02", "not run", "not part of this program", "not defined". */
const char *tr_cell_ours(const tr_cell *cell, char buffer[TR_CELL_TEXT_BYTES]);
/* "+0.25", or "" where there is none. */
const char *tr_cell_difference(const tr_cell *cell, char buffer[TR_CELL_TEXT_BYTES]);
/* The notes of a table are the cells' reasons with their commands, "Not run: needs …; `command`.", equal ones once. Adds the cell's to
 * the list; its number there, from 1, or 0 for a cell without a reason. */
tr_status tr_cell_note(const tr_cell *cell, tr_strings *notes, size_t *number);

#endif
