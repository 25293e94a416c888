/* Reports: blocks of memory that are freed together, lists that grow at their end, and numbers as text. */
#include "host/report/model.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tr_report {
  tr_status status;
  void **blocks; /* every one is malloc's */
  size_t block_count, block_capacity;
  tr_section *first, *section; /* `section` and what follows: what was begun last */
  tr_table *table;
  tr_figure *figure;
  tr_series *series;
  tr_row *row;
  tr_column *column;
  tr_cell *cell;
  tr_point *point;
};

tr_status tr_report_new(tr_report **out) {
  *out = calloc(1, sizeof **out);
  return *out ? TR_OK : tr_fail(TR_ENOMEM, "making a report: out of memory");
}

void tr_report_destroy(tr_report *report) {
  if (!report)
    return;
  for (size_t i = 0; i < report->block_count; ++i)
    free(report->blocks[i]);
  free(report->blocks);
  free(report);
}

const tr_section *tr_report_sections(const tr_report *report) {
  return report->first;
}

tr_status tr_report_status(const tr_report *report) {
  return report->status == TR_OK ? TR_OK : tr_fail(report->status, "making a report: out of memory");
}

static void *keep(tr_report *report, void *block) {
  if (block && report->block_count == report->block_capacity) {
    size_t capacity = report->block_capacity ? 2 * report->block_capacity : 1024;
    void **blocks = realloc(report->blocks, capacity * sizeof *blocks);
    if (blocks) {
      report->blocks = blocks;
      report->block_capacity = capacity;
    } else {
      free(block);
      block = NULL;
    }
  }
  if (block)
    report->blocks[report->block_count++] = block;
  else
    report->status = TR_ENOMEM;
  return block;
}

/* A copy of a node, without what follows it. */
static void *add(tr_report *report, const void *node, size_t bytes) {
  void *copy = report->status == TR_OK ? keep(report, malloc(bytes)) : NULL;
  return copy ? memcpy(copy, node, bytes) : NULL;
}

const char *tr_report_keep(tr_report *report, char *text) {
  return keep(report, text);
}

const char *tr_report_text(tr_report *report, const char *format, ...) {
  char *text;
  va_list arguments;
  va_start(arguments, format);
  int length = vasprintf(&text, format, arguments);
  va_end(arguments);
  return keep(report, length < 0 ? NULL : text);
}

void *tr_report_alloc(tr_report *report, size_t count, size_t bytes) {
  return keep(report, calloc(count + 1, bytes));
}

static const char *copy_text(tr_report *report, const char *text) {
  return text ? keep(report, strdup(text)) : NULL;
}

/* ---- building ---- */

void tr_report_section(tr_report *report, const char *id, const char *title, const char *intro) {
  tr_section section = {copy_text(report, id), copy_text(report, title), copy_text(report, intro), NULL, NULL, NULL};
  tr_section *added = add(report, &section, sizeof section);
  if (!added)
    return;
  if (report->section)
    report->section->next = added;
  else
    report->first = added;
  report->section = added;
  report->table = NULL;
  report->figure = NULL;
}

void tr_report_table(tr_report *report, const char *id, const char *title, const char *intro) {
  tr_table table = {.id = copy_text(report, id), .title = copy_text(report, title), .intro = copy_text(report, intro)};
  tr_table *added = add(report, &table, sizeof table);
  if (!added)
    return;
  if (report->table)
    report->table->next = added;
  else
    report->section->tables = added;
  report->table = added;
  report->row = NULL;
  report->column = NULL;
}

void tr_report_column(tr_report *report, const char *title, bool published) {
  tr_column column = {copy_text(report, title), published, NULL};
  tr_column *added = add(report, &column, sizeof column);
  if (!added)
    return;
  if (report->column)
    report->column->next = added;
  else
    report->table->columns = added;
  report->column = added;
  ++report->table->column_count;
}

void tr_report_row(tr_report *report) {
  tr_row row = {0};
  tr_row *added = add(report, &row, sizeof row);
  if (!added)
    return;
  if (report->row)
    report->row->next = added;
  else
    report->table->rows = added;
  report->row = added;
  report->cell = NULL;
  ++report->table->row_count;
}

void tr_report_cell(tr_report *report, const tr_cell *cell) {
  tr_cell *added = add(report, cell, sizeof *cell);
  if (!added)
    return;
  added->next = NULL;
  if (report->cell)
    report->cell->next = added;
  else
    report->row->cells = added;
  report->cell = added;
}

tr_cell tr_cell_new(tr_unit unit) {
  return (tr_cell){.unit = unit, .published = NAN, .published_deviation = NAN, .ours = {NAN, 0, 0}, .difference = NAN};
}

void tr_report_label(tr_report *report, const char *text) {
  tr_cell cell = tr_cell_new(TR_UNIT_COUNT);
  cell.text = copy_text(report, text);
  tr_report_cell(report, &cell);
}

void tr_report_figure(tr_report *report, const tr_figure *figure) {
  tr_figure *added = add(report, figure, sizeof *figure);
  if (!added)
    return;
  added->series = NULL;
  added->series_count = 0;
  added->next = NULL;
  if (report->figure)
    report->figure->next = added;
  else
    report->section->figures = added;
  report->figure = added;
  report->series = NULL;
}

void tr_report_series(tr_report *report, const tr_series *series) {
  tr_series *added = add(report, series, sizeof *series);
  if (!added)
    return;
  added->points = NULL;
  added->point_count = 0;
  added->next = NULL;
  if (report->series)
    report->series->next = added;
  else
    report->figure->series = added;
  report->series = added;
  report->point = NULL;
  ++report->figure->series_count;
}

void tr_report_point(tr_report *report, const tr_point *point) {
  tr_point *added = add(report, point, sizeof *point);
  if (!added)
    return;
  added->next = NULL;
  if (report->point)
    report->point->next = added;
  else
    report->series->points = added;
  report->point = added;
  ++report->series->point_count;
}

void tr_report_set_svg(tr_report *report, const tr_figure *figure, char *svg) {
  ((tr_figure *)figure)->svg = tr_report_keep(report, svg);
}

/* ---- numbers as text ---- */

/* Digits after the point of our numbers: a digit more than the paper prints. */
static int digits_of(tr_unit unit, double value) {
  switch (unit) {
  case TR_UNIT_PERCENT:
    return 2;
  case TR_UNIT_FRACTION:
    return 4;
  case TR_UNIT_COUNT:
    return value == round(value) ? 0 : 1;
  case TR_UNIT_SECONDS:
    return fabs(value) >= 100 ? 0 : fabs(value) >= 1 ? 1 : 3;
  case TR_UNIT_BYTES:
  case TR_UNIT_RATIO:
    break;
  }
  return 1;
}

const char *tr_cell_published(const tr_cell *cell, char buffer[TR_CELL_TEXT_BYTES]) {
  if (!isfinite(cell->published)) {
    snprintf(buffer, TR_CELL_TEXT_BYTES, "%s", cell->published_text ? cell->published_text : "–");
    return buffer;
  }
  if (cell->unit == TR_UNIT_BYTES)
    return tr_format_bytes((size_t)cell->published, buffer, TR_CELL_TEXT_BYTES);
  /* As it was printed: times with the digits they have. */
  const char *format = cell->unit == TR_UNIT_PERCENT ? "%.1f" : cell->unit == TR_UNIT_FRACTION ? "%.4f" : "%.10g";
  int length = snprintf(buffer, TR_CELL_TEXT_BYTES, format, cell->published);
  if (isfinite(cell->published_deviation)) {
    length += snprintf(buffer + length, (size_t)(TR_CELL_TEXT_BYTES - length), " ± ");
    snprintf(buffer + length, (size_t)(TR_CELL_TEXT_BYTES - length), format, cell->published_deviation);
  }
  return buffer;
}

const char *tr_cell_ours(const tr_cell *cell, char buffer[TR_CELL_TEXT_BYTES]) {
  const tr_statistic *s = &cell->ours;
  if (!isfinite(s->mean)) {
    snprintf(buffer, TR_CELL_TEXT_BYTES, "%s",
             cell->causes & TR_CAUSE_OUT_OF_SCOPE ? "not part of this program"
             : cell->causes & TR_CAUSE_NOT_RUN    ? "not run"
                                                  : "not defined");
    return buffer;
  }
  if (cell->unit == TR_UNIT_BYTES)
    return tr_format_bytes((size_t)s->mean, buffer, TR_CELL_TEXT_BYTES);
  int digits = s->seeds > 1 && cell->unit == TR_UNIT_COUNT ? 1 : digits_of(cell->unit, s->mean);
  int length = snprintf(buffer, TR_CELL_TEXT_BYTES, "%.*f", digits, s->mean);
  if (s->seeds > 1 && length < TR_CELL_TEXT_BYTES)
    snprintf(buffer + length, (size_t)(TR_CELL_TEXT_BYTES - length), " ± %.*f", digits, s->deviation);
  return buffer;
}

const char *tr_cell_difference(const tr_cell *cell, char buffer[TR_CELL_TEXT_BYTES]) {
  buffer[0] = '\0';
  if (isfinite(cell->difference))
    snprintf(buffer, TR_CELL_TEXT_BYTES, "%+.*f", digits_of(cell->unit, cell->difference), cell->difference);
  return buffer;
}

tr_status tr_cell_note(const tr_cell *cell, tr_strings *notes, size_t *number) {
  *number = 0;
  if (!cell->reason)
    return TR_OK;
  char *note = cell->command ? tr_format("%s; `%s`.", cell->reason, cell->command) : tr_format("%s", cell->reason);
  for (size_t i = 0; note && i < notes->count; ++i)
    if (strcmp(notes->items[i], note) == 0) {
      free(note);
      *number = i + 1;
      return TR_OK;
    }
  TR_TRY(tr_strings_take(notes, note));
  *number = notes->count;
  return TR_OK;
}
