/* Ranges with room around the outermost points, and numbers that can be read: gnuplot's own choice may leave a single one on a logarithmic
 * axis, or none, and gives those of a linear axis different numbers of digits. */
#include "host/report/axes.h"
#include <math.h>

/* ---- ranges ---- */

typedef struct range {
  double low, high;
} range;

static range x_range(const tr_figure *figure) {
  range r = {INFINITY, -INFINITY};
  for (const tr_series *s = figure->series; s; s = s->next)
    for (const tr_point *p = s->points; p; p = p->next)
      r = (range){fmin(r.low, p->x), fmax(r.high, p->x)};
  return r;
}

static range y_range(const tr_figure *figure) {
  range r = {INFINITY, -INFINITY};
  for (const tr_series *s = figure->series; s; s = s->next)
    for (const tr_point *p = s->points; p; p = p->next)
      r = (range){fmin(r.low, p->y - p->deviation), fmax(r.high, p->y + p->deviation)};
  return r;
}

/* Room around the outermost points; at least a factor of 2 on a logarithmic axis, so that it has numbers. */
static range padded(range r, bool logarithmic, double share) {
  if (logarithmic) {
    double factor = fmax(pow(r.high / r.low, share), 1.15);
    if (r.high / r.low < 1.6)
      factor = 1.4;
    return (range){r.low / factor, r.high * factor};
  }
  double span = r.high - r.low;
  if (!(span > 0))
    span = fmax(fabs(r.high) * 0.02, 1e-6);
  return (range){r.low - span * share, r.high + span * share};
}

/* 90 -> 1, 99 -> 2, 99.9 -> 3 */
static double nines(double percent) {
  return -log10(1 - percent / 100);
}

static double highest_nines(const tr_figure *figure) {
  double highest = 0;
  for (const tr_series *s = figure->series; s; s = s->next)
    for (const tr_point *p = s->points; p; p = p->next)
      if (p->x < 100)
        highest = fmax(highest, nines(p->x));
  return highest;
}

static bool is_category(const tr_figure *figure) {
  return figure->series->points && figure->series->points->label;
}

tr_axis tr_axis_x(const tr_figure *figure) {
  range r = x_range(figure);
  if (figure->x_nines) {
    tr_axis axis = {.scale = TR_SCALE_NINES, .full = floor(highest_nines(figure)) + 1};
    r = padded((range){fmax(nines(fmin(r.low, 90)), 0), axis.full}, false, 0.06);
    axis.low = r.low;
    axis.high = r.high;
    return axis;
  }
  r = is_category(figure) ? (range){r.low - 0.5, r.high + 0.5} : padded(r, figure->x_log, 0.06);
  return (tr_axis){.scale = figure->x_log ? TR_SCALE_LOG : TR_SCALE_LINEAR, .low = r.low, .high = r.high};
}

tr_axis tr_axis_y(const tr_figure *figure) {
  range r = padded(y_range(figure), figure->y_log, 0.08);
  if (figure->y_ceiling > 0)
    r.high = fmin(r.high, figure->y_ceiling);
  if (figure->y_ceiling > 0 && !(r.low < r.high))
    r.low = 0.98 * r.high;
  return (tr_axis){.scale = figure->y_log ? TR_SCALE_LOG : TR_SCALE_LINEAR, .low = r.low, .high = r.high};
}

double tr_axis_data(const tr_axis *axis, double value) {
  if (axis->scale != TR_SCALE_NINES)
    return value;
  return value < 100 ? nines(value) : axis->full;
}

double tr_axis_place(const tr_axis *axis, double value) {
  double at = tr_axis_data(axis, value);
  if (axis->scale == TR_SCALE_LOG)
    return log(at / axis->low) / log(axis->high / axis->low);
  return (at - axis->low) / (axis->high - axis->low);
}

/* ---- numbers ---- */

static void write_log_tics(FILE *out, const char *name, const tr_axis *axis) {
  static const double steps[] = {1, 2, 5, 1.5, 3,
                                 4, 6, 7, 8,   9}; /* over many decades the first, over few three, within one all */
  double ratio = axis->high / axis->low;
  size_t count = ratio > 200 ? 1 : ratio > 6 ? 3 : sizeof steps / sizeof *steps;
  const char *separator = "";
  fprintf(out, "set logscale %s\nset %stics (", name, name);
  for (int decade = (int)floor(log10(axis->low)); decade <= (int)ceil(log10(axis->high)); ++decade)
    for (size_t i = 0; i < count; ++i) {
      double value = steps[i] * pow(10, decade);
      if (value < axis->low || value > axis->high)
        continue;
      fprintf(out, "%s'%g' %.10g", separator, value, value);
      separator = ", ";
    }
  fprintf(out, ")\n");
}

static void write_nines_tics(FILE *out, const char *name, const tr_axis *axis) {
  static const double values[] = {0, 50, 80, 90, 99, 99.9, 99.99, 99.999, 99.9999};
  fprintf(out, "set %stics ('100' %.10g", name, axis->full);
  for (size_t i = 0; i < sizeof values / sizeof *values; ++i) {
    double at = nines(values[i]);
    bool crowded = values[i] == 80 && axis->full > 2; /* near 90 */
    if (at >= axis->low && at < axis->full - 0.1 && !crowded)
      fprintf(out, ", '%g' %.10g", values[i], at);
  }
  fprintf(out, ")\n");
}

/* As many digits as the steps need, the same for all. */
static void write_linear_format(FILE *out, const char *name, const tr_axis *axis) {
  double span = axis->high - axis->low, decade = floor(log10(span));
  bool half_steps = span < 5 * pow(10, decade); /* gnuplot's are 0.2 or 0.5 of the decade, else the decade */
  int digits = half_steps - (int)decade;
  fprintf(out, "set format %s '%%.%df'\n", name, digits > 0 ? digits : 0);
}

static void write_axis(FILE *out, const char *name, const tr_axis *axis) {
  fprintf(out, "set %srange [%.10g:%.10g]\n", name, axis->low, axis->high);
  if (axis->scale == TR_SCALE_LOG)
    write_log_tics(out, name, axis);
  else if (axis->scale == TR_SCALE_NINES)
    write_nines_tics(out, name, axis);
}

/* The leftmost point right of `last`; of several there the first that has a name, where only named ones count. */
static const tr_point *next_point(const tr_figure *figure, double last, bool named) {
  const tr_point *next = NULL;
  for (const tr_series *s = figure->series; s; s = s->next)
    for (const tr_point *p = s->points; p; p = p->next)
      if ((p->label || !named) && p->x > last && (!next || p->x < next->x))
        next = p;
  return next;
}

/* Neighbourhoods, strides: nothing stands between the whole numbers. */
static bool whole_numbers(const tr_figure *figure) {
  range r = x_range(figure);
  for (const tr_series *s = figure->series; s; s = s->next)
    for (const tr_point *p = s->points; p; p = p->next)
      if (p->x != round(p->x))
        return false;
  return r.high - r.low <= 12;
}

size_t tr_character_count(const char *text) {
  size_t count = 0;
  for (; *text; ++text)
    count += ((unsigned char)*text & 0xC0) != 0x80; /* not a later byte of a character */
  return count;
}

/* There only the quote itself is special. */
void tr_gnuplot_quote(FILE *out, const char *text) {
  fputc('\'', out);
  for (; *text; ++text) {
    if (*text == '\'')
      fputc('\'', out);
    fputc(*text == '\n' ? ' ' : *text, out);
  }
  fputc('\'', out);
}

/* A name or number below each place that has a point. */
static void write_places(FILE *out, const tr_figure *figure, bool named) {
  const char *separator = "set xtics (";
  for (const tr_point *p = next_point(figure, -INFINITY, named); p; p = next_point(figure, p->x, named)) {
    fputs(separator, out);
    if (named)
      tr_gnuplot_quote(out, p->label);
    else
      fprintf(out, "'%.0f'", p->x);
    fprintf(out, " %.10g", p->x);
    separator = ", ";
  }
  fprintf(out, ")\n");
}

void tr_axes_write(FILE *out, const tr_figure *figure, const tr_axis *x, const tr_axis *y) {
  write_axis(out, "x", x);
  write_axis(out, "y", y);
  if (y->scale == TR_SCALE_LINEAR)
    write_linear_format(out, "y", y);
  if (is_category(figure))
    write_places(out, figure, true);
  else if (x->scale == TR_SCALE_LINEAR && whole_numbers(figure))
    write_places(out, figure, false);
}
