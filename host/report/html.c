/* The page: tables with their notes, figures with their numbers, heat maps. */
#include "host/report/html.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Texts of cells up to here stay in one line, and from there on have room for some words in each. */
enum { SHORT_TEXT = 24, LONG_TEXT = 60 };

/* ---- what every page has ---- */

/* In pieces, as C grants a string 4095 bytes. */
static const char *const style[] = {
    ":root{color-scheme:light dark;--ground:#fff;--text:#1f2328;--muted:#59636e;--rule:#d1d9e0;--band:#f4f6f8;--link:#0a58a8}\n"
    "@media(prefers-color-scheme:dark){:root{--ground:#14171b;--text:#e6e8ea;--muted:#9aa4ae;--rule:#39414a;--band:#1c2127;"
    "--link:#7cb8f5}\n"
    ".series0{stroke:#3f9bdc;color:#3f9bdc}.series2{stroke:#1fb98d;color:#1fb98d}.series6{stroke:#a98bea;color:#a98bea}\n"
    ".mark0{fill:#3f9bdc}.mark2{fill:#1fb98d}.mark6{fill:#a98bea}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;max-width:75rem;padding:1rem clamp(.75rem,3vw,2rem) 4rem;background:var(--ground);color:var(--text);"
    "font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}\n"
    "h1{font-size:1.75rem;line-height:1.2;margin:1rem 0}\n"
    "h2{font-size:1.35rem;line-height:1.25;margin:3rem 0 .75rem;padding-top:.75rem;border-top:1px solid var(--rule)}\n"
    "h3{font-size:1.05rem;margin:2rem 0 .5rem}\n"
    "p,ol{max-width:48rem}\np{margin:.5rem 0}\na{color:var(--link)}\n"
    "code{font:.9em ui-monospace,monospace}\n"
    "nav ul{columns:18rem;list-style:none;margin:1rem 0;padding:0}\nnav li{break-inside:avoid;padding:.15rem 0}\n",
    ".wide{overflow-x:auto;margin:.75rem 0;border:1px solid var(--rule);border-radius:4px}\n"
    "table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums;min-width:100%}\n"
    "th,td{padding:.3rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule);overflow-wrap:normal}\n"
    "tbody tr:last-child td{border-bottom:0}\n"
    "th{background:var(--band);font-weight:600;vertical-align:bottom}\n"
    "td.number,td.missing,td.short{white-space:nowrap}\ntd.missing{color:var(--muted)}\ntd.long{min-width:15rem}\n"
    "td .difference{color:var(--muted);padding-left:.4em}\n"
    "th button{all:unset;cursor:pointer;display:block}\nth button:focus-visible{outline:2px solid "
    "var(--link);outline-offset:2px}\n"
    "th[aria-sort] button::after{content:\" \\25b2\"}\nth[aria-sort=descending] button::after{content:\" \\25bc\"}\n"
    ".notes{font-size:.85rem;color:var(--muted);padding-left:1.5rem}\n.notes li:target{color:var(--text)}\n"
    "sup{line-height:0}\n",
    ".figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr));gap:1rem 1.5rem;margin:1rem 0}\n"
    ".maps{grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr))}\n"
    "figure{margin:0;min-width:0}\nfigure svg,figure img{display:block;width:100%;height:auto}\n"
    ".plot{color:var(--text)}\n.ground{fill:none}\n"
    "figcaption{font-size:.85rem;color:var(--muted);margin-top:.35rem}\nfigcaption p{margin:.15rem 0}\n"
    "details{font-size:.85rem;margin-top:.35rem}\nsummary{cursor:pointer;color:var(--muted)}\n"
    ".empty{border-left:3px solid var(--rule);padding-left:.75rem}\n"
    "footer{margin-top:4rem;border-top:1px solid var(--rule);padding-top:.75rem;font-size:.85rem;color:var(--muted)}\n"
    "@media "
    "print{:root{color-scheme:light;--ground:#fff;--text:#000;--muted:#444;--rule:#bbb;--band:#eee;--link:#000}.series0{stroke:#"
    "0072b2;color:#0072b2}.series2{stroke:#009e73;color:#009e73}.series6{stroke:#7e57c2;color:#7e57c2}\n"
    ".mark0{fill:#0072b2}.mark2{fill:#009e73}.mark6{fill:#7e57c2}\n"
    "body{max-width:none;padding:0;font-size:10pt}nav{display:none}h2,h3{break-after:avoid}tr,figure{break-inside:avoid}\n"
    "thead{display:table-header-group}table{font-size:7.5pt}.wide{overflow:visible;border:0}details:not([open]){display:none}}\n",
};

static const char script[] =
    "for (const table of document.querySelectorAll('table.sorted')) {\n"
    "  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];\n"
    "  const key = cell => 'value' in cell.dataset ? Number(cell.dataset.value) : cell.textContent;\n"
    "  const compare = (a, b) => typeof a === 'number' && typeof b === 'number' ? a - b : typeof a === 'number' ? -1\n"
    "    : typeof b === 'number' ? 1 : a.localeCompare(b, 'en', {numeric: true});\n"
    "  heads.forEach((head, column) => {\n"
    "    const button = document.createElement('button');\n"
    "    button.type = 'button';\n"
    "    button.append(...head.childNodes);\n"
    "    head.append(button);\n"
    "    button.addEventListener('click', () => {\n"
    "      const sign = head.getAttribute('aria-sort') === 'ascending' ? -1 : 1;\n"
    "      heads.forEach(other => other.removeAttribute('aria-sort'));\n"
    "      head.setAttribute('aria-sort', sign > 0 ? 'ascending' : 'descending');\n"
    "      body.append(...[...body.rows].sort((a, b) => sign * compare(key(a.cells[column]), key(b.cells[column]))));\n"
    "    });\n"
    "  });\n"
    "}\n";

/* ---- text ---- */

static void write_escaped(FILE *out, const char *text, size_t length) {
  for (size_t i = 0; i < length; ++i)
    switch (text[i]) {
    case '&':
      fputs("&amp;", out);
      break;
    case '<':
      fputs("&lt;", out);
      break;
    case '>':
      fputs("&gt;", out);
      break;
    case '"':
      fputs("&quot;", out);
      break;
    default:
      fputc(text[i], out);
    }
}

static void write_plain(FILE *out, const char *text) {
  write_escaped(out, text, strlen(text));
}

/* Where a mark opens that is closed further on: its tag; else NULL. */
static const char *tag_at(const char *text, const char **mark) {
  static const char *const marks[][2] = {{"`", "code"}, {"**", "strong"}};
  for (size_t i = 0; i < sizeof marks / sizeof *marks; ++i) {
    size_t length = strlen(marks[i][0]);
    *mark = marks[i][0];
    if (strncmp(text, *mark, length) == 0 && strstr(text + length, *mark))
      return marks[i][1];
  }
  return NULL;
}

/* `code` and **strong**; a mark without its partner is itself. */
static void write_text(FILE *out, const char *text) {
  while (*text) {
    const char *mark, *tag = tag_at(text, &mark);
    if (!tag) {
      write_escaped(out, text++, 1);
      continue;
    }
    text += strlen(mark);
    const char *end = strstr(text, mark);
    fprintf(out, "<%s>", tag);
    write_escaped(out, text, (size_t)(end - text));
    fprintf(out, "</%s>", tag);
    text = end + strlen(mark);
  }
}

/* Parted by empty lines. */
static tr_status write_paragraphs(FILE *out, const char *text) {
  while (*text) {
    const char *end = strstr(text, "\n\n");
    size_t length = end ? (size_t)(end - text) : strlen(text);
    char *paragraph = tr_format("%.*s", (int)length, text);
    if (!paragraph)
      return tr_fail(TR_ENOMEM, "writing the page: out of memory");
    fputs("<p>", out);
    write_text(out, paragraph);
    fputs("</p>\n", out);
    free(paragraph);
    text += length + (end ? strspn(end, "\n") : 0);
  }
  return TR_OK;
}

/* ---- tables ---- */

static void write_columns(FILE *out, const tr_table *table) {
  fputs("<thead><tr>", out);
  for (const tr_column *c = table->columns; c; c = c->next) {
    fputs("<th scope=\"col\">", out);
    write_text(out, c->title);
    if (c->published) {
      fputs(": published</th><th scope=\"col\">", out);
      write_text(out, c->title);
      fputs(": ours", out);
    }
    fputs("</th>", out);
  }
  fputs("</tr></thead>\n", out);
}

static tr_status write_ours(FILE *out, const tr_table *table, const tr_cell *cell, tr_strings *notes) {
  char text[TR_CELL_TEXT_BYTES];
  if (cell->text) {
    size_t length = strlen(cell->text);
    fputs(length <= SHORT_TEXT ? "<td class=\"short\">" : length >= LONG_TEXT ? "<td class=\"long\">" : "<td>", out);
    write_text(out, cell->text);
  } else if (isfinite(cell->ours.mean)) {
    fprintf(out, "<td class=\"number\" data-value=\"%.10g\">", cell->ours.mean);
    write_plain(out, tr_cell_ours(cell, text));
  } else {
    fputs("<td class=\"missing\">", out);
    write_plain(out, tr_cell_ours(cell, text));
  }
  if (*tr_cell_difference(cell, text))
    fprintf(out, "<span class=\"difference\">%s</span>", text);
  size_t number;
  TR_TRY(tr_cell_note(cell, notes, &number));
  if (number)
    fprintf(out, " <sup><a href=\"#%s-note-%zu\">%zu</a></sup>", table->id, number, number);
  fputs("</td>", out);
  return TR_OK;
}

static void write_published(FILE *out, const tr_cell *cell) {
  char text[TR_CELL_TEXT_BYTES];
  if (isfinite(cell->published) && !cell->text)
    fprintf(out, "<td class=\"number\" data-value=\"%.10g\">", cell->published);
  else
    fputs("<td class=\"missing\">", out);
  if (!cell->text)
    write_plain(out, tr_cell_published(cell, text));
  fputs("</td>", out);
}

static tr_status write_rows(FILE *out, const tr_table *table, tr_strings *notes) {
  fputs("<tbody>\n", out);
  for (const tr_row *row = table->rows; row; row = row->next) {
    const tr_column *column = table->columns;
    fputs("<tr>", out);
    for (const tr_cell *cell = row->cells; cell && column; cell = cell->next, column = column->next) {
      if (column->published)
        write_published(out, cell);
      TR_TRY(write_ours(out, table, cell, notes));
    }
    fputs("</tr>\n", out);
  }
  fputs("</tbody>\n", out);
  return TR_OK;
}

static void write_notes(FILE *out, const tr_table *table, const tr_strings *notes) {
  if (!notes->count)
    return;
  fputs("<ol class=\"notes\">\n", out);
  for (size_t i = 0; i < notes->count; ++i) {
    fprintf(out, "<li id=\"%s-note-%zu\">", table->id, i + 1);
    write_text(out, notes->items[i]);
    fputs("</li>\n", out);
  }
  fputs("</ol>\n", out);
}

static tr_status write_table(FILE *out, const tr_table *table) {
  if (*table->title) {
    fprintf(out, "<h3 id=\"table-%s\">", table->id);
    write_text(out, table->title);
    fputs("</h3>\n", out);
  }
  TR_TRY(write_paragraphs(out, table->intro));
  fputs("<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"", out);
  write_plain(out, *table->title ? table->title : table->id);
  fprintf(out, "\"><table%s>\n", table->row_count > 1 ? " class=\"sorted\"" : "");
  write_columns(out, table);
  tr_strings notes = {0};
  tr_status status = write_rows(out, table, &notes);
  fputs("</table></div>\n", out);
  if (status == TR_OK)
    write_notes(out, table, &notes);
  tr_strings_free(&notes);
  return status;
}

/* ---- figures ---- */

static void write_numbers(FILE *out, const tr_figure *figure) {
  fprintf(out,
          "<details%s><summary>Numbers</summary><div class=\"wide\"><table><thead><tr><th scope=\"col\">series</th><th "
          "scope=\"col\">",
          figure->svg ? "" : " open");
  write_text(out, figure->x_title);
  fputs("</th><th scope=\"col\">", out);
  write_text(out, figure->y_title);
  fputs("</th></tr></thead><tbody>\n", out);
  for (const tr_series *s = figure->series; s; s = s->next)
    for (const tr_point *p = s->points; p; p = p->next) {
      fputs("<tr><td>", out);
      write_text(out, s->title);
      if (p->mark) {
        fputs(" (", out);
        write_plain(out, p->mark);
        fputs(")", out);
      }
      fputs("</td><td class=\"number\">", out);
      if (p->label)
        write_plain(out, p->label);
      else
        fprintf(out, "%.5g", p->x);
      fprintf(out, "</td><td class=\"number\">%.5g", p->y);
      if (p->deviation > 0)
        fprintf(out, " ± %.2g", p->deviation);
      if (p->seeds > 1)
        fprintf(out, " (%zu seeds)", p->seeds);
      fputs("</td></tr>\n", out);
    }
  fputs("</tbody></table></div></details>\n", out);
}

static void write_series_notes(FILE *out, const tr_figure *figure) {
  for (const tr_series *s = figure->series; s; s = s->next)
    if (s->note) {
      fputs("<p>", out);
      write_text(out, s->title);
      fputs(": ", out);
      write_text(out, s->note);
      fputs("</p>\n", out);
    }
}

static void write_reason(FILE *out, const tr_figure *figure) {
  if (figure->reason)
    write_text(out, figure->reason);
  if (figure->command) {
    fputs(figure->reason ? "; " : "", out);
    fputs("<code>", out);
    write_plain(out, figure->command);
    fputs("</code>", out);
  }
}

static void write_figure(FILE *out, const tr_figure *figure) {
  fprintf(out, "<figure id=\"figure-%s\">\n", figure->id);
  if (figure->svg)
    fputs(figure->svg, out);
  fputs("<figcaption>", out);
  if (!figure->svg) {
    fputs("<p><strong>", out);
    write_text(out, figure->title);
    fputs("</strong></p>\n", out);
  }
  if (figure->caption) {
    fputs("<p>", out);
    write_text(out, figure->caption);
    fputs("</p>\n", out);
  }
  if (figure->reason || figure->command) {
    fputs("<p>", out);
    write_reason(out, figure);
    fputs("</p>\n", out);
  }
  write_series_notes(out, figure);
  fputs("</figcaption>\n", out);
  write_numbers(out, figure);
  fputs("</figure>\n", out);
}

static void write_missing_figure(FILE *out, const tr_figure *figure) {
  fprintf(out, "<p class=\"empty\" id=\"figure-%s\">", figure->id);
  write_text(out, figure->title);
  fputs(": ", out);
  write_reason(out, figure);
  fputs("</p>\n", out);
}

static void write_figures(FILE *out, const tr_section *section) {
  bool any = false;
  for (const tr_figure *f = section->figures; f; f = f->next) {
    if (!f->series)
      continue;
    fputs(any ? "" : "<div class=\"figures\">\n", out);
    any = true;
    write_figure(out, f);
  }
  fputs(any ? "</div>\n" : "", out);
  for (const tr_figure *f = section->figures; f; f = f->next)
    if (!f->series)
      write_missing_figure(out, f);
}

/* ---- heat maps ---- */

static void write_base64(FILE *out, const uint8_t *data, size_t bytes) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < bytes; i += 3) {
    size_t left = bytes - i;
    unsigned long block =
        (unsigned long)data[i] << 16 | (left > 1 ? (unsigned long)data[i + 1] << 8 : 0) | (left > 2 ? data[i + 2] : 0);
    fputc(digits[block >> 18], out);
    fputc(digits[block >> 12 & 63], out);
    fputc(left > 1 ? digits[block >> 6 & 63] : '=', out);
    fputc(left > 2 ? digits[block & 63] : '=', out);
  }
}

static void write_heat_map(FILE *out, const tr_heat_map *map) {
  fprintf(out, "<figure><img width=\"%d\" height=\"%d\" alt=\"%s ", map->w, map->h, map->role);
  write_plain(out, map->image);
  fputs(": the image, the heat map over it, and the mask of its defects\" src=\"data:image/jpeg;base64,", out);
  write_base64(out, map->jpeg, map->bytes);
  fprintf(out, "\">\n<figcaption>%s: <code>", map->role);
  write_plain(out, map->image);
  fprintf(out, "</code>, score %.*f, %s %zu of %zu %s</figcaption></figure>\n", fabs(map->score) < 100 ? 3 : 0, map->score,
          map->anomalous ? "above" : "below", map->beaten, map->others, map->anomalous ? "good images" : "defects");
}

static void write_heat_map_class(FILE *out, const tr_heat_map_class *class_) {
  const tr_result *r = class_->result;
  fputs("<h3>", out);
  write_plain(out, r->class_name);
  fputs(" (", out);
  write_plain(out, r->dataset);
  fputs("), ", out);
  write_plain(out, r->method);
  fputs("</h3>\n<p><code>", out);
  write_plain(out, r->run);
  fprintf(out, "</code>, image AUROC %.4f, of %.10s</p>\n<div class=\"figures maps\">\n", r->image_auroc, r->date ? r->date : "");
  for (size_t i = 0; i < class_->count; ++i)
    write_heat_map(out, &class_->items[i]);
  fputs("</div>\n", out);
}

static void write_heat_maps(FILE *out, const tr_heat_maps *heat_maps) {
  fputs("<section>\n<h2 id=\"heat-maps\">Heat maps</h2>\n", out);
  if (!heat_maps->count)
    fputs("<p class=\"empty\">None at hand. <code>totalrecall run EXPERIMENT.yaml --maps DIR --scores DIR2</code> draws them; "
          "<code>totalrecall report --html FILE --maps DIR --scores DIR2</code> shows the best and the worst.</p>\n",
          out);
  else
    fputs("<p>Image, heat map over it, and mask. Of each class and method the run with the highest image AUROC that has "
          "pictures; of its "
          "test images the defect with the highest score and the one with the lowest, and the good image with the highest: what "
          "is told "
          "apart best and worst. The colours mean the same within a class: none below three quarters of what nine of ten good "
          "images "
          "stay under, the brightest from the median of the larger peaks on.</p>\n",
          out);
  for (size_t i = 0; i < heat_maps->count; ++i)
    write_heat_map_class(out, &heat_maps->items[i]);
  fputs("</section>\n", out);
}

/* ---- the page ---- */

static void write_head(FILE *out, const tr_report *report) {
  fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'\">\n<link rel=\"icon\" href=\"data:,\">\n<title>",
        out);
  const tr_section *first = tr_report_sections(report);
  write_plain(out, first ? first->title : "totalrecall");
  fputs("</title>\n<style>\n", out);
  for (size_t i = 0; i < sizeof style / sizeof *style; ++i)
    fputs(style[i], out);
  fputs("</style>\n</head>\n<body>\n", out);
}

static void write_contents(FILE *out, const tr_report *report) {
  const tr_section *first = tr_report_sections(report);
  fputs("<nav aria-label=\"Contents\"><ul>\n", out);
  for (const tr_section *s = first ? first->next : NULL; s; s = s->next) {
    fprintf(out, "<li><a href=\"#%s\">", s->id);
    write_text(out, s->title);
    fputs("</a></li>\n", out);
  }
  fputs("<li><a href=\"#heat-maps\">Heat maps</a></li>\n</ul></nav>\n", out);
}

static tr_status write_section(FILE *out, const tr_section *section, bool first) {
  fprintf(out, "<section>\n<%s id=\"%s\">", first ? "h1" : "h2", section->id);
  write_text(out, section->title);
  fputs(first ? "</h1>\n" : "</h2>\n", out);
  TR_TRY(write_paragraphs(out, section->intro));
  for (const tr_table *t = section->tables; t; t = t->next)
    TR_TRY(write_table(out, t));
  write_figures(out, section);
  fputs("</section>\n", out);
  return TR_OK;
}

static tr_status write_page(FILE *out, const tr_report *report, const tr_heat_maps *heat_maps) {
  const tr_section *first = tr_report_sections(report);
  write_head(out, report);
  for (const tr_section *s = first; s; s = s->next) {
    TR_TRY(write_section(out, s, s == first));
    if (s == first)
      write_contents(out, report);
  }
  write_heat_maps(out, heat_maps);
  fprintf(out, "<footer>Written by <code>totalrecall report</code> %s.</footer>\n<script>\n%s</script>\n</body>\n</html>\n",
          tr_version(), script);
  return TR_OK;
}

typedef struct page {
  const tr_report *report;
  const tr_heat_maps *heat_maps;
} page;

static tr_status write_whole(FILE *out, const void *context) {
  const page *p = context;
  return write_page(out, p->report, p->heat_maps);
}

tr_status tr_report_html(const tr_report *report, const tr_heat_maps *heat_maps, char **out) {
  return tr_text_of("writing the page", write_whole, &(page){report, heat_maps}, out);
}
