/* CSV files: read whole and cut up in place. */
#include "host/report/csv.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include <stdlib.h>
#include <string.h>

typedef struct cutter {
  const char *path;
  char *at, *end;
  size_t line;
  char **cells;
  size_t count, capacity;
} cutter;

static tr_status add_cell(cutter *c, char *cell) {
  if (c->count == c->capacity) {
    size_t capacity = c->capacity ? 2 * c->capacity : 256;
    char **cells = realloc(c->cells, capacity * sizeof *cells);
    if (!cells)
      return tr_fail(TR_ENOMEM, "reading %s: out of memory", c->path);
    c->cells = cells;
    c->capacity = capacity;
  }
  c->cells[c->count++] = cell;
  return TR_OK;
}

/* Cuts one cell out; `more`: another one follows in this row. Quoted text moves to the left over its quotes. */
static tr_status cut_cell(cutter *c, bool *more) {
  char *start = c->at, *to = c->at;
  if (c->at < c->end && *c->at == '"') {
    for (++c->at; c->at < c->end; ++c->at) {
      if (*c->at == '"' && (c->at + 1 == c->end || c->at[1] != '"'))
        break;
      c->at += *c->at == '"';
      c->line += *c->at == '\n';
      *to++ = *c->at;
    }
    if (c->at == c->end)
      return tr_fail(TR_EFORMAT, "%s:%zu: a quote is not closed", c->path, c->line);
    ++c->at;
  } else {
    while (c->at < c->end && !strchr(",\r\n", *c->at))
      ++c->at;
    to = c->at;
  }
  c->at += c->at < c->end && *c->at == '\r';
  if (c->at < c->end && *c->at != ',' && *c->at != '\n')
    return tr_fail(TR_EFORMAT, "%s:%zu: text after a closing quote", c->path, c->line);
  *more = c->at < c->end && *c->at == ',';
  c->line += c->at < c->end && *c->at == '\n';
  c->at += c->at < c->end;
  *to = '\0';
  return add_cell(c, start);
}

static tr_status cut_rows(cutter *c, tr_csv *out) {
  while (c->at < c->end) {
    size_t first = c->count, line = c->line;
    for (bool more = true; more;)
      TR_TRY(cut_cell(c, &more));
    size_t columns = c->count - first;
    if (!out->columns)
      out->columns = columns;
    if (columns != out->columns)
      return tr_fail(TR_EFORMAT, "%s:%zu: %zu cells, the header has %zu", c->path, line, columns, out->columns);
    ++out->rows;
  }
  if (!out->rows)
    return tr_fail(TR_EFORMAT, "%s is empty", c->path);
  --out->rows; /* the header */
  return TR_OK;
}

tr_status tr_csv_read(const char *path, tr_csv *out) {
  *out = (tr_csv){0};
  size_t bytes;
  TR_TRY(tr_file_read(path, &out->text, &bytes));
  cutter c = {.path = path, .at = out->text, .end = out->text + bytes, .line = 1};
  tr_status status = cut_rows(&c, out);
  out->cells = c.cells;
  if (status != TR_OK)
    tr_csv_free(out);
  return status;
}

void tr_csv_free(tr_csv *csv) {
  free(csv->text);
  free(csv->cells);
  *csv = (tr_csv){0};
}

const char *tr_csv_cell(const tr_csv *csv, size_t row, const char *column) {
  for (size_t i = 0; i < csv->columns; ++i)
    if (strcmp(csv->cells[i], column) == 0)
      return csv->cells[(row + 1) * csv->columns + i];
  return "";
}
