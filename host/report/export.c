/* Every table of a report as CSV and as LaTeX. */
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/harness/evaluate.h"
#include "host/report/report.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *unit_name(tr_unit unit) {
  static const char *const names[] = {"percent", "fraction", "count", "seconds", "bytes", "ratio"}; /* in the enum's order */
  return names[unit];
}

/* ---- CSV ---- */

static void csv_number(FILE *out, double value) {
  fputc(',', out);
  if (isfinite(value))
    fprintf(out, "%.10g", value);
}

static void csv_text(FILE *out, const char *text) {
  fputc(',', out);
  tr_scores_write_text(out, text ? text : "");
}

static void csv_cell(FILE *out, const char *row, const tr_column *column, const tr_cell *cell) {
  tr_scores_write_text(out, row);
  csv_text(out, column->title);
  csv_text(out, cell->text ? "text" : unit_name(cell->unit));
  csv_number(out, cell->published);
  csv_text(out, cell->source);
  if (cell->text)
    csv_text(out, cell->text);
  else
    csv_number(out, cell->ours.mean);
  csv_number(out, cell->ours.seeds > 1 ? cell->ours.deviation : NAN);
  csv_number(out, cell->ours.seeds ? (double)cell->ours.seeds : NAN);
  csv_number(out, cell->difference);
  csv_text(out, cell->reason);
  csv_text(out, cell->command);
  fputc('\n', out);
}

/* The texts that a row begins with name it. */
static char *row_name(const tr_row *row) {
  char *name = strdup("");
  for (const tr_cell *cell = row->cells; name && cell && cell->text; cell = cell->next) {
    char *longer = tr_format("%s%s%s", name, *name ? "; " : "", cell->text);
    free(name);
    name = longer;
  }
  return name;
}

static tr_status write_csv(FILE *out, const tr_table *table) {
  fputs("row,column,unit,published,source,ours,deviation,seeds,difference,reason,command\n", out);
  for (const tr_row *row = table->rows; row; row = row->next) {
    char *name = row_name(row);
    if (!name)
      return tr_fail(TR_ENOMEM, "out of memory");
    const tr_column *column = table->columns;
    for (const tr_cell *cell = row->cells; cell && column; cell = cell->next, column = column->next)
      csv_cell(out, name, column, cell);
    free(name);
  }
  return TR_OK;
}

/* ---- LaTeX ---- */

/* What the text files of this program hold beyond ASCII, and what LaTeX reads as its own. */
static const char *const latex_symbols[][2] = {
    {"\\", "\\textbackslash{}"},
    {"~", "\\textasciitilde{}"},
    {"^", "\\textasciicircum{}"},
    {"&", "\\&"},
    {"%", "\\%"},
    {"$", "\\$"},
    {"#", "\\#"},
    {"_", "\\_"},
    {"{", "\\{"},
    {"}", "\\}"},
    {"<", "$<$"},
    {">", "$>$"},
    {"|", "$|$"},
    {"±", "$\\pm$"},
    {"–", "--"},
    {"…", "\\ldots{}"},
    {"×", "$\\times$"},
    {"−", "$-$"},
    {"≥", "$\\geq$"},
    {"≤", "$\\leq$"},
};

static void latex_text(FILE *out, const char *text) {
  bool code = false;
  while (*text) {
    size_t i = 0;
    while (i < sizeof latex_symbols / sizeof *latex_symbols &&
           strncmp(text, latex_symbols[i][0], strlen(latex_symbols[i][0])) != 0)
      ++i;
    if (*text == '`') {
      fputs(code ? "}" : "\\texttt{", out);
      code = !code;
      ++text;
    } else if (i < sizeof latex_symbols / sizeof *latex_symbols) {
      fputs(latex_symbols[i][1], out);
      text += strlen(latex_symbols[i][0]);
    } else {
      fputc(*text++, out);
    }
  }
  if (code)
    fputc('}', out);
}

static tr_status latex_cell(FILE *out, const tr_column *column, const tr_cell *cell, tr_strings *notes) {
  char text[TR_CELL_TEXT_BYTES];
  if (column->published) {
    latex_text(out, cell->text ? "" : tr_cell_published(cell, text));
    fputs(" & ", out);
  }
  latex_text(out, cell->text ? cell->text : tr_cell_ours(cell, text));
  if (*tr_cell_difference(cell, text)) {
    fputs(" (", out);
    latex_text(out, text);
    fputc(')', out);
  }
  size_t note;
  TR_TRY(tr_cell_note(cell, notes, &note));
  if (note)
    fprintf(out, "\\textsuperscript{%zu}", note);
  return TR_OK;
}

static tr_status latex_rows(FILE *out, const tr_table *table, tr_strings *notes) {
  for (const tr_row *row = table->rows; row; row = row->next) {
    const tr_column *column = table->columns;
    for (const tr_cell *cell = row->cells; cell && column; cell = cell->next, column = column->next) {
      if (cell != row->cells)
        fputs(" & ", out);
      TR_TRY(latex_cell(out, column, cell, notes));
    }
    fputs(" \\\\\n", out);
  }
  return TR_OK;
}

static void latex_header(FILE *out, const tr_table *table) {
  fputs("\\begin{tabular}{@{}", out);
  for (const tr_column *c = table->columns; c; c = c->next)
    fputs(c->published ? "rr" : "l", out);
  fputs("@{}}\n\\toprule\n", out);
  for (const tr_column *c = table->columns; c; c = c->next) {
    fputs(c == table->columns ? "" : " & ", out);
    if (c->published)
      fputs("\\multicolumn{2}{c}{", out);
    latex_text(out, c->title);
    fputs(c->published ? "}" : "", out);
  }
  fputs(" \\\\\n", out);
  for (const tr_column *c = table->columns; c; c = c->next) {
    fputs(c == table->columns ? "" : " & ", out);
    fputs(c->published ? "published & ours" : "", out);
  }
  fputs(" \\\\\n\\midrule\n", out);
}

static tr_status write_latex(FILE *out, const tr_table *table) {
  tr_strings notes = {0};
  fputs("% \\usepackage{booktabs}\n\\begin{table}\n\\centering\n\\caption{", out);
  latex_text(out, table->title);
  fprintf(out, "}\n\\label{tab:%s}\n", table->id);
  latex_header(out, table);
  tr_status status = latex_rows(out, table, &notes);
  fputs("\\bottomrule\n\\end{tabular}\n", out);
  for (size_t i = 0; i < notes.count; ++i) {
    fprintf(out, "\n\\smallskip\\raggedright\\footnotesize \\textsuperscript{%zu}", i + 1);
    latex_text(out, notes.items[i]);
    fputc('\n', out);
  }
  fputs("\\end{table}\n", out);
  tr_strings_free(&notes);
  return status;
}

/* ---- files ---- */

typedef tr_status writer(FILE *out, const tr_table *table);

static tr_status write_file(const tr_table *table, const char *folder, const char *extension, writer *write) {
  char *path = tr_format("%s/%s.%s", folder, table->id, extension), *text = NULL;
  size_t bytes;
  FILE *out = path ? open_memstream(&text, &bytes) : NULL;
  tr_status status = out ? write(out, table) : tr_fail(TR_ENOMEM, "out of memory");
  if (out && fclose(out) != 0 && status == TR_OK)
    status = tr_fail(TR_ENOMEM, "out of memory");
  if (status != TR_OK)
    status = tr_fail_context(status, "writing table %s into %s", table->id, folder);
  else
    status = tr_file_write(path, text, bytes);
  free(text);
  free(path);
  return status;
}

tr_status tr_report_write_tables(const tr_report *report, const char *folder) {
  TR_TRY(tr_make_folders(folder));
  for (const tr_section *s = tr_report_sections(report); s; s = s->next)
    for (const tr_table *t = s->tables; t; t = t->next) {
      TR_TRY(write_file(t, folder, "csv", write_csv));
      TR_TRY(write_file(t, folder, "tex", write_latex));
    }
  return TR_OK;
}
