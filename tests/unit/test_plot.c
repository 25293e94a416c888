/* Figures as SVG: what stands in them, the same bytes each time, and what is said where gnuplot is missing or a point cannot be drawn. */
#include "host/report/plot.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { POINTS = 4 };
static tr_point points[POINTS], published_points[2];
static tr_series series[2];
static tr_figure figure;

static void make_figure(const char *title, const char *name) {
  for (int i = 0; i < POINTS; ++i)
    points[i] =
        (tr_point){.x = 1 + 2 * i, .y = 95 + i, .deviation = 0.5, .seeds = 3, .next = i + 1 < POINTS ? &points[i + 1] : NULL};
  published_points[0] = (tr_point){.x = 1, .y = 95.4, .next = &published_points[1]};
  published_points[1] = (tr_point){.x = 3, .y = 99.1};
  series[0] = (tr_series){.title = name, .line = true, .points = points, .point_count = POINTS, .next = &series[1]};
  series[1] = (tr_series){.title = "paper, read off", .published = true, .points = published_points, .point_count = 2};
  figure = (tr_figure){.id = "figure4-p",
                       .title = title,
                       .x_title = "patch size p",
                       .y_title = "image AUROC, %",
                       .y_ceiling = 100,
                       .series = series,
                       .series_count = 2};
}

static size_t occurrences(const char *text, const char *of) {
  size_t count = 0, length = strlen(of);
  for (size_t i = 0; text[i]; ++i)
    count += strncmp(text + i, of, length) == 0;
  return count;
}

/* Tags closed in the order they were opened, attributes quoted, `&` only as a reference: as far as well-formed XML goes here. */
static void assert_well_formed(const char *text) {
  char open[64][24];
  size_t depth = 0;
  while (*text) {
    if (*text == '&')
      assert_true(strncmp(text, "&amp;", 5) == 0 || strncmp(text, "&lt;", 4) == 0 || strncmp(text, "&gt;", 4) == 0);
    if (*text++ != '<')
      continue;
    bool closing = *text == '/';
    text += closing;
    size_t length = strcspn(text, " \t\n/>");
    assert_in_range(length, 1, 23);
    char name[24];
    snprintf(name, sizeof name, "%.*s", (int)length, text);
    char quote = 0, last = 0;
    for (text += length; *text && (quote || *text != '>'); last = *text++) {
      if (quote ? *text == quote : *text == '"' || *text == '\'')
        quote = quote ? 0 : *text;
      assert_int_not_equal(*text, '<');
    }
    assert_int_equal(*text, '>');
    if (closing) {
      assert_true(depth > 0);
      assert_string_equal(open[--depth], name);
    } else if (last != '/') {
      assert_true(depth < 64);
      memcpy(open[depth++], name, sizeof name);
    }
  }
  assert_int_equal(depth, 0);
}

static char *drawn(void) {
  char *svg = NULL;
  if (tr_plot_svg(&figure, &svg) != TR_OK)
    fail_msg("%s", tr_last_error());
  assert_well_formed(svg);
  return svg;
}

static void everything_is_drawn(void **state) {
  (void)state;
  make_figure("Bottle: image AUROC", "ours");
  char *svg = drawn();
  const char *texts[] = {
      "<title>Bottle: image AUROC</title>", ">patch size p<", ">image AUROC, %<", ">ours<", ">paper, read off<", ">99<"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i)
    if (!strstr(svg, texts[i]))
      fail_msg("no %s in the SVG", texts[i]);
  /* Filled markers are ours, hollow ones are published; each stands in the legend once more. */
  assert_int_equal(occurrences(svg, "href='#figure4-p-Pt6'"), POINTS + 1);
  assert_int_equal(occurrences(svg, "href='#figure4-p-Pt5'"), 2 + 1);
  assert_int_equal(occurrences(svg, " id="), 2);
  assert_null(strstr(svg, "black"));
  assert_null(strstr(svg, "GNUPLOT"));
  assert_null(strstr(svg, "gnuplot"));
  free(svg);
}

static void equal_figures_give_equal_bytes(void **state) {
  (void)state;
  make_figure("Bottle: image AUROC", "ours");
  char *first = drawn(), *second = drawn();
  assert_string_equal(first, second);
  free(first);
  free(second);
}

/* Names come from folders and files. */
static void texts_are_taken_literally(void **state) {
  (void)state;
  make_figure("`a` \"q\" 'black' <b>&amp; ± \\n", "it's; quit\nexit $x @y {/Bold z} ^2");
  char *svg = drawn();
  assert_non_null(strstr(svg, "<text>`a` \"q\" 'black' &lt;b>&amp;amp; ± \\n</text>"));
  assert_non_null(strstr(svg, "<text>it's; quit exit $x @y {/Bold z} ^2</text>"));
  assert_non_null(strstr(svg, "<title>`a` \"q\" 'black' &lt;b>&amp;amp; ± \\n</title>"));
  free(svg);
}

static void logarithmic_axes_have_numbers(void **state) {
  (void)state;
  make_figure("t", "s");
  figure.x_log = figure.y_log = true;
  char *svg = drawn();
  assert_non_null(strstr(svg, ">1<"));
  assert_non_null(strstr(svg, ">2<"));
  assert_non_null(strstr(svg, ">5<"));
  free(svg);
  for (int i = 0; i < POINTS; ++i)
    points[i].x = pow(10, i - 2);
  svg = drawn();
  assert_non_null(strstr(svg, ">0.01<"));
  assert_null(strstr(svg, ">0.02<"));
  free(svg);
}

/* Recall: the nines are what counts, and 100 has its place. */
static void percentages_have_their_nines(void **state) {
  (void)state;
  make_figure("t", "s");
  figure.x_nines = true;
  static const double recalls[POINTS] = {51, 96, 99.97, 100};
  for (int i = 0; i < POINTS; ++i)
    points[i].x = recalls[i];
  points[3].mark = "64";
  published_points[0].x = 80;
  published_points[1].x = 90;
  char *svg = drawn();
  static const char *const numbers[] = {"50", "90", "99", "99.9", "100", "64"};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; ++i) {
    char text[32];
    snprintf(text, sizeof text, "<text>%s</text>", numbers[i]);
    if (!strstr(svg, text))
      fail_msg("no %s", text);
  }
  assert_non_null(strstr(svg, "class=\"mark0\""));
  free(svg);
  points[3].x = 100.5;
  assert_int_equal(tr_plot_svg(&figure, &svg), TR_EINVAL);
}

static void categories_have_names(void **state) {
  (void)state;
  make_figure("t", "s");
  static const char *const names[POINTS] = {"1", "2", "1+2", "it's 3"};
  for (int i = 0; i < POINTS; ++i) {
    points[i].x = i;
    points[i].label = names[i];
  }
  figure.series_count = 1;
  series[0].next = NULL;
  char *svg = drawn();
  for (int i = 0; i < POINTS; ++i) {
    char text[32];
    snprintf(text, sizeof text, "<text>%s</text>", names[i]);
    assert_non_null(strstr(svg, text));
  }
  assert_null(strstr(svg, "<text>0.5</text>"));
  free(svg);
}

/* One point, or equal ones, even at the ceiling, make no empty axis, of which gnuplot would complain. */
static void equal_values_are_drawn(void **state) {
  (void)state;
  make_figure("t", "s");
  series[0].next = NULL;
  figure.series_count = 1;
  for (int i = 0; i < POINTS; ++i)
    points[i].y = 100;
  free(drawn());
  for (int i = 0; i < POINTS; ++i)
    points[i] = (tr_point){.x = 3, .y = 0, .next = points[i].next};
  free(drawn());
  figure.x_log = true;
  points[0].next = NULL;
  points[0].mark = "1";
  char *svg = drawn();
  assert_non_null(strstr(svg, "<text>1</text>"));
  free(svg);
}

static void what_cannot_be_drawn_is_named(void **state) {
  (void)state;
  char *svg = NULL;
  make_figure("t", "of bottle");
  points[2].y = NAN;
  assert_int_equal(tr_plot_svg(&figure, &svg), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "of bottle"));
  assert_null(svg);
  make_figure("t", "of bottle");
  points[0].x = 0;
  free(drawn());
  figure.x_log = true;
  assert_int_equal(tr_plot_svg(&figure, &svg), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "logarithmic"));
  make_figure("t", "s");
  series[0].points = series[1].points = NULL;
  assert_int_equal(tr_plot_svg(&figure, &svg), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "no points"));
}

static void write_program(const char *folder, const char *text) {
  char path[128];
  snprintf(path, sizeof path, "%s/gnuplot", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file, "#!/bin/sh\n%s\n", text);
  fclose(file);
  char command[160];
  snprintf(command, sizeof command, "/bin/chmod +x %s", path);
  assert_int_equal(system(command), 0);
}

static void failures_of_gnuplot_are_told(void **state) {
  (void)state;
  make_figure("t", "s");
  char folder[] = "/tmp/test_plot_XXXXXX", *path = strdup(getenv("PATH")), *svg = NULL;
  assert_non_null(mkdtemp(folder));
  setenv("PATH", folder, 1);
  assert_false(tr_plot_possible());
  assert_int_equal(tr_plot_svg(&figure, &svg), TR_EIO);
  assert_non_null(strstr(tr_last_error(), "gnuplot-nox"));
  static const struct {
    const char *script, *says;
  } cases[] = {
      {"exit 3", "ended with 3"},
      {"echo '<svg>'; echo 'line 7: a complaint' >&2", "line 7: a complaint"},
      {"echo no picture", "no SVG"},
      {"kill -9 $$", "running gnuplot"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    write_program(folder, cases[i].script);
    assert_true(tr_plot_possible());
    assert_int_equal(tr_plot_svg(&figure, &svg), TR_EIO);
    assert_null(svg);
    if (!strstr(tr_last_error(), cases[i].says))
      fail_msg("`%s` instead of `%s`", tr_last_error(), cases[i].says);
  }
  setenv("PATH", path, 1);
  free(path);
  char command[64];
  snprintf(command, sizeof command, "rm -r %s", folder);
  assert_int_equal(system(command), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(everything_is_drawn),          cmocka_unit_test(equal_figures_give_equal_bytes),
      cmocka_unit_test(texts_are_taken_literally),    cmocka_unit_test(logarithmic_axes_have_numbers),
      cmocka_unit_test(percentages_have_their_nines), cmocka_unit_test(categories_have_names),
      cmocka_unit_test(equal_values_are_drawn),       cmocka_unit_test(what_cannot_be_drawn_is_named),
      cmocka_unit_test(failures_of_gnuplot_are_told),
  };
  if (!tr_plot_possible()) {
    fprintf(stderr, "skipped: gnuplot is not in PATH\n");
    return 77;
  }
  return cmocka_run_group_tests(tests, NULL, NULL);
}
