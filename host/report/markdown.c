/* A report as Markdown: paper-repro.md. The notes of a table stand under it; equal ones are one. */
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/report/report.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_text(FILE *out, const char *text) {
  for (; *text; ++text) {
    if (*text == '|')
      fputc('\\', out);
    fputc(*text, out);
  }
}

static void write_header(FILE *out, const tr_table *table) {
  size_t columns = 0;
  for (const tr_column *c = table->columns; c; c = c->next) {
    fputs("| ", out);
    write_text(out, c->title);
    fputs(c->published ? ": published | ours " : " ", out);
    columns += c->published ? 2 : 1;
  }
  fputs("|\n", out);
  for (size_t i = 0; i < columns; ++i)
    fputs("|---", out);
  fputs("|\n", out);
}

static tr_status write_cell(FILE *out, const tr_column *column, const tr_cell *cell, tr_strings *notes) {
  char text[TR_CELL_TEXT_BYTES];
  fputs("| ", out);
  if (column->published)
    fprintf(out, "%s | ", cell->text ? "" : tr_cell_published(cell, text));
  if (cell->text)
    write_text(out, cell->text);
  else
    fputs(tr_cell_ours(cell, text), out);
  if (*tr_cell_difference(cell, text))
    fprintf(out, " (%s)", text);
  size_t note;
  TR_TRY(tr_cell_note(cell, notes, &note));
  if (note)
    fprintf(out, " [%zu]", note);
  fputc(' ', out);
  return TR_OK;
}

static tr_status write_rows(FILE *out, const tr_table *table, tr_strings *notes) {
  for (const tr_row *row = table->rows; row; row = row->next) {
    const tr_column *column = table->columns;
    for (const tr_cell *cell = row->cells; cell && column; cell = cell->next, column = column->next)
      TR_TRY(write_cell(out, column, cell, notes));
    fputs("|\n", out);
  }
  return TR_OK;
}

static tr_status write_table(FILE *out, const tr_table *table) {
  tr_strings notes = {0};
  if (*table->title)
    fprintf(out, "\n### %s\n", table->title);
  if (*table->intro)
    fprintf(out, "\n%s\n", table->intro);
  fputc('\n', out);
  write_header(out, table);
  tr_status status = write_rows(out, table, &notes);
  if (notes.count)
    fputc('\n', out);
  for (size_t i = 0; i < notes.count; ++i)
    fprintf(out, "%zu. %s\n", i + 1, notes.items[i]);
  tr_strings_free(&notes);
  return status;
}

static tr_status write_report(FILE *out, const tr_report *report) {
  for (const tr_section *s = tr_report_sections(report); s; s = s->next) {
    fprintf(out, s == tr_report_sections(report) ? "# %s\n" : "\n## %s\n", s->title);
    if (*s->intro)
      fprintf(out, "\n%s\n", s->intro);
    for (const tr_table *t = s->tables; t; t = t->next)
      TR_TRY(write_table(out, t));
  }
  return TR_OK;
}

tr_status tr_report_markdown(const tr_report *report, char **out) {
  size_t bytes;
  *out = NULL;
  FILE *text = open_memstream(out, &bytes);
  tr_status status = text ? write_report(text, report) : tr_fail(TR_ENOMEM, "writing the report: out of memory");
  if (text && fclose(text) != 0 && status == TR_OK)
    status = tr_fail(TR_ENOMEM, "writing the report: out of memory");
  if (status != TR_OK) {
    free(*out);
    *out = NULL;
  }
  return status;
}
