/* Figures as SVG: a script for gnuplot, its run, and what its SVG needs to live in a page: ids of its own, no fixed colours of text. */
#include "host/report/plot.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/report/axes.h"
#include "host/report/marks.h"
#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- the canvas, in pixels; a column of a page or of a phone ---- */

enum {
  WIDTH = 480,
  LEFT = 78,
  RIGHT = 16,
  LEGEND_LEFT = 34,
  TITLE = 34,
  AXES = 250,
  BELOW_AXES = 54, /* numbers and name of the x axis */
  LEGEND_ROW = 19,
  NARROW_NAME = 26, /* two such columns of the legend fit beside each other */
  COLOURS = 8,
  MARKERS = 6
};

static const char *const colours[COLOURS] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                             "#E69F00", "#56B4E9", "#7E57C2", "#808080"};

/* gnuplot's numbers of the hollow markers: circle, square, triangle up and down, diamond, pentagon; filled ones are 1 above. */
static const int hollow_markers[MARKERS] = {6, 4, 8, 10, 12, 14};
static const char *const marker_shapes[MARKERS] = {
    "<circle r='1'",
    "<path d='M-.9-.9H.9V.9H-.9z'",
    "<path d='M0-1.25L1.2.85H-1.2z'",
    "<path d='M0 1.25L1.2-.85H-1.2z'",
    "<path d='M0-1.35L1.35 0 0 1.35-1.35 0z'",
    "<path d='M0-1.25L1.19-.39.73 1.01H-.73L-1.19-.39z'",
};

static int colour_of(const tr_series *series) {
  return series->colour % COLOURS;
}

/* The seventh series has the second one's marker, but not its colour. */
static int marker_of(const tr_series *series) {
  return (series->colour + series->colour / MARKERS) % MARKERS;
}

/* ---- checks ---- */

static tr_status check_points(const tr_figure *figure) {
  size_t points = 0;
  for (const tr_series *s = figure->series; s; s = s->next)
    for (const tr_point *p = s->points; p; p = p->next, ++points)
      if (!isfinite(p->x) || !isfinite(p->y) || !(p->deviation >= 0) || !isfinite(p->deviation) || (figure->x_log && p->x <= 0) ||
          (figure->x_nines && (p->x < 0 || p->x > 100)) || (figure->y_log && p->y - p->deviation <= 0))
        return tr_fail(TR_EINVAL, "drawing %s: series %s: the point (%g, %g ± %g) cannot be drawn%s", figure->id, s->title, p->x,
                       p->y, p->deviation,
                       figure->x_log || figure->y_log ? " on a logarithmic axis"
                       : figure->x_nines              ? " on an axis of percentages"
                                                      : "");
  return points ? TR_OK : tr_fail(TR_EINVAL, "drawing %s: no points", figure->id);
}

/* ---- the script ---- */

static int legend_columns(const tr_figure *figure) {
  for (const tr_series *s = figure->series; s; s = s->next)
    if (tr_character_count(s->title) > NARROW_NAME)
      return 1;
  return figure->series_count > 1 ? 2 : 1;
}

/* That of y at a fixed place: gnuplot's follows the width of the numbers, and may run over the edge. */
static void write_axis_titles(FILE *out, const tr_figure *figure) {
  fprintf(out, "set xlabel ");
  tr_gnuplot_quote(out, figure->x_title);
  fprintf(out, " offset 0,0.6\nset label ");
  tr_gnuplot_quote(out, figure->y_title);
  fprintf(out, " at screen %.6f, graph 0.5 center rotate by 90\n", 13.0 / WIDTH);
}

static void write_data(FILE *out, const tr_axis *x, const tr_series *series, size_t index) {
  fprintf(out, "$points%zu << END\n", index);
  for (const tr_point *p = series->points; p; p = p->next)
    fprintf(out, "%.10g %.10g\n", tr_axis_data(x, p->x), p->y);
  fprintf(out, "END\n$bars%zu << END\n", index);
  for (const tr_point *p = series->points; p; p = p->next)
    if (p->deviation > 0)
      fprintf(out, "%.10g %.10g %.10g\n", tr_axis_data(x, p->x), p->y - p->deviation, 2 * p->deviation);
  fprintf(out, "END\n");
}

/* Names and numbers beside points. */
static void write_marks(FILE *out, const tr_figure *figure, const tr_axis *x, const tr_axis *y) {
  tr_mark_place places[TR_MAX_MARKS];
  size_t count = tr_marks_place(figure, x, y, WIDTH - LEFT - RIGHT, AXES, places);
  for (size_t i = 0; i < count; ++i) {
    fprintf(out, "set label ");
    tr_gnuplot_quote(out, places[i].mark);
    fprintf(out, " at graph %.6f, graph %.6f center textcolor rgb '%s' front\n", places[i].x, places[i].y,
            places[i].series->bare ? "black" : colours[colour_of(places[i].series)]);
  }
}

static bool has_bars(const tr_series *series) {
  for (const tr_point *p = series->points; p; p = p->next)
    if (p->deviation > 0)
      return true;
  return false;
}

static void write_series(FILE *out, const tr_figure *figure) {
  const char *separator = "plot";
  size_t index = 0;
  for (const tr_series *s = figure->series; s; s = s->next, ++index)
    if (has_bars(s)) {
      fprintf(out, "%s $bars%zu using 1:2:(0):3 with vectors nohead lw 1.5 lc rgb '%s' notitle", separator, index,
              colours[colour_of(s)]);
      separator = ",";
    }
  index = 0;
  for (const tr_series *s = figure->series; s; s = s->next, ++index) {
    if (!s->points)
      continue;
    if (s->bare) {
      fprintf(out, "%s $points%zu using 1:2 with lines lw 1.5 dt (2,3) lc rgb 'black' title ", separator, index);
      tr_gnuplot_quote(out, s->title);
      separator = ",";
      continue;
    }
    fprintf(out, "%s $points%zu using 1:2 with %s%s pt %d ps 0.8 lw 2 lc rgb '%s' title ", separator, index,
            s->line ? "linespoints" : "points", s->line && s->published ? " dt (6,4)" : "",
            hollow_markers[marker_of(s)] + !s->published, colours[colour_of(s)]);
    tr_gnuplot_quote(out, s->title);
    separator = ",";
  }
  fputc('\n', out);
}

static void write_script(FILE *out, const tr_figure *figure) {
  int columns = legend_columns(figure), rows = ((int)figure->series_count + columns - 1) / columns;
  double height = TITLE + AXES + BELOW_AXES + LEGEND_ROW * rows + 6;
  fprintf(out,
          "set encoding utf8\nset terminal svg size %d,%.0f dynamic noenhanced font 'sans-serif,13' background rgb 'white'\n"
          "set lmargin at screen %.6f\nset rmargin at screen %.6f\nset tmargin at screen %.6f\nset bmargin at screen %.6f\n",
          WIDTH, height, (double)LEFT / WIDTH, 1 - (double)RIGHT / WIDTH, 1 - TITLE / height, 1 - (TITLE + AXES) / height);
  fprintf(out,
          "set key at screen %.6f, screen %.6f left top Left reverse vertical maxrows %d samplen 2 spacing %.6f width 1\n"
          "set border 3\nset tics nomirror out scale 0.6\nset xtics offset 0,0.3\nset format '%%g'\nset grid lc rgb '#A0A0A0' lw "
          "0.4 dt "
          "(1,3)\n"
          "set title ",
          (double)LEGEND_LEFT / WIDTH, (double)(LEGEND_ROW * rows + 4) / height, rows, LEGEND_ROW / 19.5);
  tr_gnuplot_quote(out, figure->title);
  fprintf(out, " offset 0,-0.6 font 'sans-serif,14'\n");
  tr_axis x = tr_axis_x(figure), y = tr_axis_y(figure);
  tr_axes_write(out, figure, &x, &y);
  write_axis_titles(out, figure);
  size_t index = 0;
  for (const tr_series *s = figure->series; s; s = s->next)
    write_data(out, &x, s, index++);
  write_marks(out, figure, &x, &y);
  write_series(out, figure);
}

/* ---- gnuplot ---- */

bool tr_plot_possible(void) {
  const char *path = getenv("PATH");
  for (path = path ? path : ""; *path;) {
    size_t length = strcspn(path, ":");
    char *program = tr_format("%.*s/gnuplot", (int)length, path);
    bool found = program && length && access(program, X_OK) == 0;
    free(program);
    if (found)
      return true;
    path += length + (path[length] == ':');
  }
  return false;
}

/* From its start, NUL-terminated; NULL when it cannot be read. */
static char *whole_file(FILE *file) {
  char *text = NULL;
  long bytes = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
  rewind(file);
  if (bytes >= 0)
    text = calloc((size_t)bytes + 1, 1);
  if (text && fread(text, 1, (size_t)bytes, file) != (size_t)bytes) {
    free(text);
    text = NULL;
  }
  return text;
}

/* The last line that is not empty, where gnuplot says what is wrong; cuts off what follows it. */
static const char *last_line(char *text) {
  size_t length = strlen(text);
  while (length && strchr(" \t\r\n", text[length - 1]))
    text[--length] = '\0';
  char *line = strrchr(text, '\n');
  line = line ? line + 1 : text;
  return line + strspn(line, " \t\r");
}

/* Exit code; -1 with errno set when it could not be started or was killed. */
static int run_gnuplot(FILE *script, FILE *svg, FILE *complaints) {
  char name[] = "gnuplot", plain[] = "--default-settings", from_input[] = "-";
  char *arguments[] = {name, plain, from_input, NULL};
  posix_spawn_file_actions_t actions;
  if ((errno = posix_spawn_file_actions_init(&actions)))
    return -1;
  pid_t child;
  int failure = posix_spawn_file_actions_adddup2(&actions, fileno(script), STDIN_FILENO);
  failure = failure ? failure : posix_spawn_file_actions_adddup2(&actions, fileno(svg), STDOUT_FILENO);
  failure = failure ? failure : posix_spawn_file_actions_adddup2(&actions, fileno(complaints), STDERR_FILENO);
  failure = failure ? failure : posix_spawnp(&child, name, &actions, NULL, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failure) {
    errno = failure;
    return -1;
  }
  int state;
  while (waitpid(child, &state, 0) < 0)
    if (errno != EINTR)
      return -1;
  errno = ECHILD; /* killed */
  return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

static tr_status draw(const tr_figure *figure, FILE *script, FILE *svg, FILE *complaints, char **out) {
  write_script(script, figure);
  if (fflush(script) != 0 || fseek(script, 0, SEEK_SET) != 0)
    return tr_fail_errno(TR_EIO, "drawing %s: writing gnuplot's script to a temporary file", figure->id);
  int code = run_gnuplot(script, svg, complaints);
  if (code < 0 && errno == ENOENT)
    return tr_fail(TR_EIO, "drawing %s: gnuplot is not in PATH (Debian: gnuplot-nox)", figure->id);
  if (code < 0)
    return tr_fail_errno(TR_EIO, "drawing %s: running gnuplot", figure->id);
  char *said = whole_file(complaints);
  const char *last = said ? last_line(said) : "";
  tr_status status = TR_OK;
  if (!said)
    status = tr_fail(TR_EIO, "drawing %s: gnuplot's complaints cannot be read", figure->id);
  else if (code != 0 || *last)
    status = tr_fail(TR_EIO, "drawing %s: gnuplot ended with %d: %s", figure->id, code, last);
  free(said);
  if (status == TR_OK && !(*out = whole_file(svg)))
    status = tr_fail(TR_EIO, "drawing %s: gnuplot's SVG cannot be read", figure->id);
  return status;
}

static tr_status gnuplot_svg(const tr_figure *figure, char **out) {
  FILE *script = tmpfile(), *svg = tmpfile(), *complaints = tmpfile();
  tr_status status = script && svg && complaints ? draw(figure, script, svg, complaints, out)
                                                 : tr_fail_errno(TR_EIO, "drawing %s: making temporary files", figure->id);
  if (script)
    fclose(script);
  if (svg)
    fclose(svg);
  if (complaints)
    fclose(complaints);
  return status;
}

/* ---- from gnuplot's SVG to ours ---- */

static void write_escaped(FILE *out, const char *text) {
  for (; *text; ++text)
    switch (*text) {
    case '<':
      fputs("&lt;", out);
      break;
    case '&':
      fputs("&amp;", out);
      break;
    default:
      fputc(*text, out);
    }
}

/* The markers in use. gnuplot's own refer to one another and are always all there. */
static void write_markers(FILE *out, const tr_figure *figure) {
  bool used[2][MARKERS] = {{false}};
  for (const tr_series *s = figure->series; s; s = s->next)
    used[!s->published][marker_of(s)] |= !s->bare;
  fprintf(out, "<defs>\n");
  for (int filled = 0; filled < 2; ++filled)
    for (int i = 0; i < MARKERS; ++i)
      if (used[filled][i])
        fprintf(out, "%s id='%s-Pt%d' stroke-width='0.3' stroke='currentColor' fill='%s'/>\n", marker_shapes[i], figure->id,
                hollow_markers[i] + filled - 1, filled ? "currentColor" : "none");
  fprintf(out, "</defs>\n");
}

static void write_head(FILE *out, const tr_figure *figure, double height) {
  fprintf(out,
          "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" height=\"%.0f\" role=\"img\">\n<title>",
          WIDTH, height, WIDTH, height);
  write_escaped(out, figure->title);
  fprintf(out, "</title>\n<rect class=\"ground\" width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n");
  write_markers(out, figure);
}

/* 'rgb(  0, 114, 178)', in quotes of either kind, as "#0072B2"; its length, 0 where there is none. */
static size_t read_colour(const char *line, char colour[8]) {
  if ((*line != '\'' && *line != '"') || strncmp(line + 1, "rgb(", 4) != 0)
    return 0;
  unsigned long parts[3];
  const char *at = line + 4;
  for (int i = 0; i < 3; ++i) {
    char *end;
    parts[i] = strtoul(at + 1, &end, 10);
    if (parts[i] > 255 || *end != (i < 2 ? ',' : ')'))
      return 0;
    at = end;
  }
  snprintf(colour, 8, "#%02lX%02lX%02lX", parts[0], parts[1], parts[2]);
  return at[1] == *line ? (size_t)(at + 2 - line) : 0;
}

/* Where an attribute's value begins that we write otherwise: how many characters of `line` are replaced by what was written; 0: none. A
 * colour of the palette gets a class, "series0" and so on, of a text "mark0", so that a page may give it others on a dark ground. */
static size_t rewrite_value(FILE *out, const char *line, const char *id) {
  static const char *const black[] = {"'black'", "\"black\""};
  for (size_t i = 0; i < 2; ++i)
    if (strncmp(line, black[i], 7) == 0) {
      fputs("\"currentColor\"", out);
      return 7;
    }
  size_t fill = strncmp(line, "fill=\"", 6) == 0 ? 5 : 0, length; /* of a text; shapes have single quotes */
  char colour[8];
  if ((length = read_colour(line + fill, colour))) {
    fprintf(out, "%.*s\"%s\"", (int)fill, line, strcmp(colour, "#000000") == 0 ? "currentColor" : colour);
    for (int i = 0; i < COLOURS; ++i)
      if (strcmp(colours[i], colour) == 0)
        fprintf(out, " class=\"%s%d\"", fill ? "mark" : "series", i);
    return fill + length;
  }
  if (strncmp(line, "xlink:href='#gp", 15) == 0) {
    fprintf(out, "href='#%s-", id);
    return 15;
  }
  return 0;
}

/* Texts stay as they are. */
static void write_line(FILE *out, const char *line, const char *id) {
  bool text = false;
  while (*line) {
    text = (text || strncmp(line, "<text>", 6) == 0) && strncmp(line, "</text>", 7) != 0;
    size_t used = text ? 0 : rewrite_value(out, line, id);
    if (!used)
      fputc(*line, out);
    line += used ? used : 1;
  }
  fputc('\n', out);
}

/* Begins with; white space before it does not count. */
static bool begins(const char *line, const char *with) {
  return line && strncmp(line + strspn(line, " \t"), with, strlen(with)) == 0;
}

/* `text` is cut into lines. What stands before the first group, definitions and empty groups are left out. */
static tr_status rewrite(const tr_figure *figure, char *text, FILE *out) {
  const char *box = strstr(text, "viewBox=\"0 0 ");
  char *line = strstr(text, "<g id=\"gnuplot_canvas\">"), *end = NULL;
  if (box)
    strtod(box + strlen("viewBox=\"0 0 "), &end); /* the width */
  double height = end ? strtod(end, NULL) : 0;
  if (!line || !(height > 0))
    return tr_fail(TR_EIO, "drawing %s: gnuplot wrote no SVG that is understood", figure->id);
  write_head(out, figure, height);
  bool definitions = false;
  for (char *next; line; line = next) {
    next = strchr(line, '\n');
    if (next)
      *next++ = '\0';
    bool empty_group = begins(line, "<g fill=") && begins(next, "</g>\n");
    if (empty_group) {
      next = strchr(next, '\n');
      next += next != NULL;
    }
    definitions = definitions || begins(line, "<defs>");
    bool left_out = definitions || empty_group || !line[strspn(line, " \t")] || begins(line, "<rect ");
    definitions = definitions && !begins(line, "</defs>");
    if (begins(line, "<g id=\"gnuplot_canvas"))
      fputs("<g class=\"plot\" color=\"#1f2328\">\n", out);
    else if (begins(line, "<g id=\"gnuplot_"))
      fputs("<g>\n", out);
    else if (!left_out)
      write_line(out, line, figure->id);
  }
  return TR_OK;
}

typedef struct drawing {
  const tr_figure *figure;
  char *theirs; /* gnuplot's SVG, cut up here */
} drawing;

static tr_status write_drawing(FILE *out, const void *context) {
  const drawing *d = context;
  return rewrite(d->figure, d->theirs, out);
}

tr_status tr_plot_svg(const tr_figure *figure, char **out) {
  *out = NULL;
  TR_TRY(check_points(figure));
  drawing d = {.figure = figure};
  TR_TRY(gnuplot_svg(figure, &d.theirs));
  tr_status status = tr_text_of("drawing a figure", write_drawing, &d, out);
  free(d.theirs);
  return status;
}

static tr_status draw_and_write(tr_report *report, const tr_figure *figure, const char *folder) {
  char *svg = NULL, *path = folder ? tr_format("%s/%s.svg", folder, figure->id) : NULL;
  tr_status status = folder && !path ? tr_fail(TR_ENOMEM, "drawing %s: out of memory", figure->id) : tr_plot_svg(figure, &svg);
  if (status == TR_OK && folder)
    status = tr_file_write(path, svg, strlen(svg));
  free(path);
  if (status == TR_OK)
    tr_report_set_svg(report, figure, svg);
  else
    free(svg);
  return status;
}

tr_status tr_plot_report(tr_report *report, const char *folder, tr_progress *progress) {
  if (!tr_plot_possible()) {
    tr_progress_line(progress, "warning: no figures are drawn, as gnuplot is not in PATH (Debian: gnuplot-nox)");
    return TR_OK;
  }
  if (folder)
    TR_TRY(tr_make_folders(folder));
  for (const tr_section *s = tr_report_sections(report); s; s = s->next)
    for (const tr_figure *f = s->figures; f; f = f->next)
      if (f->series)
        TR_TRY(draw_and_write(report, f, folder));
  return tr_report_status(report);
}
