/* Marks beside points, and the axes they stand on: no two marks share a place, however close their points are. */
#include "host/report/marks.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define WIDTH  386.0
#define HEIGHT 250.0

static void assert_near(double got, double expected) {
  if (!(fabs(got - expected) <= 1e-9))
    fail_msg("got %.17g, expected %.17g", got, expected);
}

/* Labels are at least 7 pixels a character wide and 9 high. */
static void assert_apart(const tr_mark_place *a, const tr_mark_place *b) {
  double across = fabs(a->x - b->x) * WIDTH, up = fabs(a->y - b->y) * HEIGHT;
  if (across < 3.5 * (double)(strlen(a->mark) + strlen(b->mark)) && up < 9)
    fail_msg("%s and %s: %.1f and %.1f pixels apart", a->mark, b->mark, across, up);
}

/* Two searches that end at full recall, where the third one begins: as indexes do. */
static void crowded_marks_stay_apart(void **state) {
  (void)state;
  tr_point one[] = {{.x = 75, .y = 60, .mark = "1"},
                    {.x = 97, .y = 26, .mark = "4"},
                    {.x = 99.9, .y = 7, .mark = "16"},
                    {.x = 100, .y = 1.9, .mark = "64"}};
  tr_point two[] = {{.x = 98, .y = 8, .mark = "16"}, {.x = 99.7, .y = 4.6, .mark = "64"}, {.x = 100, .y = 1.9, .mark = "256"}};
  tr_point three[] = {{.x = 100, .y = 1.9, .mark = "8"}, {.x = 100, .y = 1.9, .mark = "512"}};
  enum { MARKS = 9 };
  for (size_t i = 0; i + 1 < sizeof one / sizeof *one; ++i)
    one[i].next = &one[i + 1];
  for (size_t i = 0; i + 1 < sizeof two / sizeof *two; ++i)
    two[i].next = &two[i + 1];
  three[0].next = &three[1];
  tr_series series[] = {
      {.title = "a", .line = true, .points = one}, {.title = "b", .line = true, .points = two}, {.title = "c", .points = three}};
  series[0].next = &series[1];
  series[1].next = &series[2];
  for (int nines = 0; nines < 2; ++nines) {
    tr_figure figure = {.id = "f", .y_log = true, .x_nines = nines, .series = series, .series_count = 3};
    tr_axis x = tr_axis_x(&figure), y = tr_axis_y(&figure);
    tr_mark_place places[TR_MAX_MARKS];
    assert_int_equal(tr_marks_place(&figure, &x, &y, WIDTH, HEIGHT, places), MARKS);
    for (size_t i = 0; i < MARKS; ++i) {
      assert_true(places[i].x > -0.01 && places[i].x < 1.05 && places[i].y > -0.01 && places[i].y < 1.05);
      for (size_t j = 0; j < i; ++j)
        assert_apart(&places[i], &places[j]);
    }
  }
}

static void a_lone_mark_is_close_to_its_point(void **state) {
  (void)state;
  tr_point points[] = {{.x = 1, .y = 1}, {.x = 2, .y = 2, .mark = "a"}, {.x = 3, .y = 1}};
  points[0].next = &points[1];
  points[1].next = &points[2];
  tr_series series = {.title = "s", .line = true, .points = points};
  tr_figure figure = {.id = "f", .series = &series, .series_count = 1};
  tr_axis x = tr_axis_x(&figure), y = tr_axis_y(&figure);
  tr_mark_place place[TR_MAX_MARKS];
  assert_int_equal(tr_marks_place(&figure, &x, &y, WIDTH, HEIGHT, place), 1);
  assert_ptr_equal(place->series, &series);
  double across = (place->x - tr_axis_place(&x, 2)) * WIDTH, up = (place->y - tr_axis_place(&y, 2)) * HEIGHT;
  assert_true(hypot(across, up) < 25);
  assert_true(up > 0); /* the line goes down on both sides */
}

static void percentages_by_what_they_lack(void **state) {
  (void)state;
  tr_point points[] = {{.x = 90, .y = 1}, {.x = 99.9, .y = 1}, {.x = 100, .y = 1}};
  points[0].next = &points[1];
  points[1].next = &points[2];
  tr_series series = {.title = "s", .points = points};
  tr_figure figure = {.id = "f", .x_nines = true, .series = &series, .series_count = 1};
  tr_axis x = tr_axis_x(&figure);
  assert_near(tr_axis_data(&x, 0), 0);
  assert_near(tr_axis_data(&x, 90), 1);
  assert_near(tr_axis_data(&x, 99), 2);
  assert_near(tr_axis_data(&x, 99.9), 3);
  assert_near(tr_axis_data(&x, 100), 4);
  assert_true(tr_axis_place(&x, 90) > 0 && tr_axis_place(&x, 100) < 1);
  assert_near(tr_axis_place(&x, 99) - tr_axis_place(&x, 90), tr_axis_place(&x, 99.9) - tr_axis_place(&x, 99));
  points[1].x = 99.99999; /* 100 stays behind it */
  x = tr_axis_x(&figure);
  assert_true(tr_axis_place(&x, 100) > tr_axis_place(&x, 99.99999));
}

static void places_on_other_axes(void **state) {
  (void)state;
  tr_point points[] = {{.x = 1, .y = 10}, {.x = 100, .y = 20}};
  points[0].next = &points[1];
  tr_series series = {.title = "s", .points = points};
  tr_figure figure = {.id = "f", .x_log = true, .series = &series, .series_count = 1};
  tr_axis x = tr_axis_x(&figure), y = tr_axis_y(&figure);
  assert_near(tr_axis_place(&x, 10), 0.5);
  assert_near(tr_axis_place(&y, 15), 0.5);
  assert_near(tr_axis_place(&x, x.low), 0);
  assert_near(tr_axis_place(&y, y.high), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(crowded_marks_stay_apart),
      cmocka_unit_test(a_lone_mark_is_close_to_its_point),
      cmocka_unit_test(percentages_by_what_they_lack),
      cmocka_unit_test(places_on_other_axes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
