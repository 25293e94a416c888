/* Tables of published numbers: comma-separated, first row the names of the columns (RFC 4180). */
#ifndef TR_REPORT_CSV_H
#define TR_REPORT_CSV_H

#include "host/totalrecall.h"

typedef struct tr_csv {
  char *text;   /* the file, cut into cells */
  char **cells; /* [rows + 1, columns], the header first */
  size_t rows, columns;
} tr_csv;

/* EFORMAT names the file and the line of a row that has not as many cells as the header. */
tr_status tr_csv_read(const char *path, tr_csv *out);
void tr_csv_free(tr_csv *csv);

/* Cell of a row (0: the first below the header) in a named column; "" when there is no such column. */
const char *tr_csv_cell(const tr_csv *csv, size_t row, const char *column);

#endif
