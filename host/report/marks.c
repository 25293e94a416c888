/* One mark after the other takes the place, of some around its point, where it covers least. Few marks and few points: every place is set
 * against everything. */
#include "host/report/marks.h"
#include <math.h>
#include <string.h>

/* In pixels. */
#define LETTER      7.6 /* of 13 pixels, sans serif */
#define LETTER_HIGH 10.0
#define MARKER      5.0 /* from its middle to its edge */
#define STEP        4.0 /* along a line */

typedef struct spot {
  double x, y;
} spot;

typedef struct box {
  double left, right, low, high;
} box;

/* Places of a mark around its point, the best liked first: right and left, above and below. */
static const spot directions[] = {{1, 1},  {-1, 1},  {1, -1}, {-1, -1}, {1, 0},  {-1, 0},  {0, 1}, {0, -1}, {2, 1},   {-2, 1},
                                  {2, -1}, {-2, -1}, {1, 2},  {-1, 2},  {1, -2}, {-1, -2}, {2, 2}, {-2, 2}, {2.5, 0}, {-2.5, 0}};
enum { DIRECTIONS = sizeof directions / sizeof *directions };

/* What a mark covers, from bad to bearable. */
#define OVER_MARK   100.0
#define OUTSIDE     100.0
#define OVER_MARKER 20.0
#define OVER_LINE   2.0
#define LATER       0.25 /* a place that is liked less by one */

typedef struct field {
  const tr_figure *figure;
  const tr_axis *x, *y;
  double width, height;
  box placed[TR_MAX_MARKS];
  size_t count;
} field;

static spot spot_of(const field *f, const tr_point *p) {
  return (spot){f->width * tr_axis_place(f->x, p->x), f->height * tr_axis_place(f->y, p->y)};
}

static box box_around(spot middle, double half_width, double half_height) {
  return (box){middle.x - half_width, middle.x + half_width, middle.y - half_height, middle.y + half_height};
}

static bool meet(const box *a, const box *b) {
  return a->left < b->right && b->left < a->right && a->low < b->high && b->low < a->high;
}

static bool inside(const box *b, spot s) {
  return s.x > b->left && s.x < b->right && s.y > b->low && s.y < b->high;
}

/* Steps of the line that are covered. */
static double covered(const box *b, spot from, spot to) {
  int steps = (int)(hypot(to.x - from.x, to.y - from.y) / STEP) + 1, hidden = 0;
  for (int i = 0; i <= steps; ++i)
    hidden += inside(b, (spot){from.x + (to.x - from.x) * i / steps, from.y + (to.y - from.y) * i / steps});
  return hidden;
}

static double cost_of_series(const field *f, const tr_series *series, const box *b) {
  double cost = 0;
  for (const tr_point *p = series->points; p; p = p->next) {
    box marker = box_around(spot_of(f, p), MARKER, MARKER);
    cost += meet(b, &marker) ? OVER_MARKER : 0;
    if (series->line && p->next)
      cost += OVER_LINE * covered(b, spot_of(f, p), spot_of(f, p->next));
  }
  return cost;
}

static double cost_of(const field *f, const box *b) {
  double cost = b->left < 0 || b->low < 0 || b->right > f->width + 2 * MARKER || b->high > f->height + 2 * MARKER ? OUTSIDE : 0;
  for (size_t i = 0; i < f->count; ++i)
    cost += meet(b, &f->placed[i]) ? OVER_MARK : 0;
  for (const tr_series *s = f->figure->series; s; s = s->next)
    cost += cost_of_series(f, s, b);
  return cost;
}

static box best_place(const field *f, const tr_point *p) {
  double half = LETTER * (double)tr_character_count(p->mark) / 2, half_high = LETTER_HIGH / 2, least = INFINITY;
  spot at = spot_of(f, p);
  box best = {0};
  for (int i = 0; i < DIRECTIONS; ++i) {
    spot middle = {at.x + directions[i].x * (half + MARKER), at.y + directions[i].y * (half_high + MARKER)};
    box b = box_around(middle, half, half_high);
    double cost = cost_of(f, &b) + LATER * i;
    if (cost < least) {
      least = cost;
      best = b;
    }
  }
  return best;
}

size_t tr_marks_place(const tr_figure *figure, const tr_axis *x, const tr_axis *y, double width, double height,
                      tr_mark_place out[TR_MAX_MARKS]) {
  field f = {.figure = figure, .x = x, .y = y, .width = width, .height = height};
  for (const tr_series *s = figure->series; s; s = s->next)
    for (const tr_point *p = s->points; p && f.count < TR_MAX_MARKS; p = p->next) {
      if (!p->mark)
        continue;
      box b = best_place(&f, p);
      out[f.count] = (tr_mark_place){p->mark, s, (b.left + b.right) / 2 / width, (b.low + b.high) / 2 / height};
      f.placed[f.count++] = b;
    }
  return f.count;
}
