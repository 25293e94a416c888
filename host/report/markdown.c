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

static bool same_text(const char *a, const char *b) {
  return a == b || (a && b && strcmp(a, b) == 0);
}

static void write_caption(FILE *out, const tr_figure *figure) {
  fputc('\n', out);
  if (!figure->series)
    fprintf(out, "%s: ", figure->title);
  if (figure->caption)
    fprintf(out, "%s%s", figure->caption, figure->reason ? " " : "");
  if (figure->reason)
    fprintf(out, "%s", figure->reason);
  if (figure->command)
    fprintf(out, "; `%s`.", figure->command);
  fputc('\n', out);
}

/* The figures of a section; what consecutive ones have in common to say is said once, after the last of them. */
static void write_figures(FILE *out, const tr_section *section, const char *folder) {
  for (const tr_figure *f = section->figures; f; f = f->next) {
    if (f->svg)
      fprintf(out, "\n![%s: %s](%s/%s.svg)\n", f->title, f->y_title, folder, f->id);
    else if (f->series)
      fprintf(out, "\n%s, %s: not drawn, which takes `--out` and gnuplot (Debian: gnuplot-nox).\n", f->title, f->y_title);
    bool more = f->next && f->series && f->next->series && same_text(f->caption, f->next->caption) &&
                same_text(f->reason, f->next->reason);
    if ((f->caption || f->reason) && !more)
      write_caption(out, f);
    for (const tr_series *s = f->series; s; s = s->next)
      if (s->note)
        fprintf(out, "\n%s: %s\n", s->title, s->note);
  }
}

static tr_status write_report(FILE *out, const tr_report *report, const char *folder) {
  for (const tr_section *s = tr_report_sections(report); s; s = s->next) {
    fprintf(out, s == tr_report_sections(report) ? "# %s\n" : "\n## %s\n", s->title);
    if (*s->intro)
      fprintf(out, "\n%s\n", s->intro);
    for (const tr_table *t = s->tables; t; t = t->next)
      TR_TRY(write_table(out, t));
    write_figures(out, s, folder);
  }
  return TR_OK;
}

typedef struct document {
  const tr_report *report;
  const char *figures;
} document;

static tr_status write_whole(FILE *out, const void *context) {
  const document *d = context;
  return write_report(out, d->report, d->figures);
}

tr_status tr_report_markdown(const tr_report *report, const char *figures, char **out) {
  return tr_text_of("writing the report", write_whole, &(document){report, figures}, out);
}
