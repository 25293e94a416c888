/* Figures of time: the Pareto front, and the recall of searches of one bank. */
#include "host/base/text.h"
#include "host/report/report.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/tables.h"

static char folder[] = "/tmp/test_speed_XXXXXX";

typedef struct made {
  const char *run, *method, *search, *processor;
  int nprobe, low_shot;
  double image_auroc, seconds, search_seconds, recall;
} made;

static char *word(const char *text) {
  return text ? (char *)text : (char *)"x";
}

static void write_results(const made *runs, size_t count) {
  char path[128];
  snprintf(path, sizeof path, "%s/m", folder);
  assert_int_equal(tr_make_folders(path), TR_OK);
  snprintf(path, sizeof path, "%s/m/t.jsonl", folder);
  FILE *out = fopen(path, "w");
  assert_non_null(out);
  for (size_t i = 0; i < count; ++i) {
    const made *m = &runs[i];
    char *json;
    tr_result r = {.experiment = word("t"),
                   .run = word(m->run),
                   .dataset = word("mtd"),
                   .class_name = word("mtd"),
                   .method = word(m->method ? m->method : "patchcore"),
                   .backbone = word("resnet50_v1"),
                   .weights = word("w"),
                   .weights_sha256 = word("00"),
                   .search = word(m->search ? m->search : "exact"),
                   .nprobe = m->nprobe,
                   .low_shot = m->low_shot,
                   .image_auroc = m->image_auroc,
                   .pixel_auroc = m->image_auroc,
                   .pro = NAN,
                   .recall_at_1 = m->recall ? m->recall : NAN,
                   .train_images = 10,
                   .images = 20,
                   .bank_rows = 784,
                   .percent = 10,
                   .dimension = 1024,
                   .seconds = {.score_per_image = m->seconds, .search_per_image = m->search_seconds},
                   .device = word("cpu"),
                   .processor = word(m->processor ? m->processor : "P"),
                   .threads = 2,
                   .version = word("0"),
                   .date = word("2026-01-01T00:00:00Z")};
    assert_int_equal(tr_result_to_json(&r, &json), TR_OK);
    fprintf(out, "%s\n", json);
    free(json);
  }
  fclose(out);
}

static tr_report *report_of(const made *runs, size_t count) {
  tr_strings none = {0};
  tr_report *report;
  write_results(runs, count);
  if (tr_report_create(folder, &none, NULL, &report) != TR_OK)
    fail_msg("%s", tr_last_error());
  return report;
}

static const tr_figure *figure_of(const tr_report *report, const char *id) {
  for (const tr_section *s = tr_report_sections(report); s; s = s->next)
    for (const tr_figure *f = s->figures; f; f = f->next)
      if (strcmp(f->id, id) == 0)
        return f;
  return NULL;
}

static const tr_series *series_of(const tr_figure *figure, const char *title) {
  for (const tr_series *s = figure->series; s; s = s->next)
    if (strcmp(s->title, title) == 0)
      return s;
  fail_msg("no series %s", title);
  return NULL;
}

static void only_what_nothing_beats_is_the_front(void **state) {
  (void)state;
  static const made runs[] = {
      {.run = "a_S0", .image_auroc = 0.90, .seconds = 0.010},
      {.run = "b_S0", .image_auroc = 0.89, .seconds = 0.020}, /* slower and worse */
      {.run = "c_S0", .image_auroc = 0.95, .seconds = 0.030},
      {.run = "d_S0", .image_auroc = 0.95, .seconds = 0.040}, /* slower */
      {.run = "padim_e_S0", .method = "padim", .image_auroc = 0.97, .seconds = 0.050},
      {.run = "f_S0_N5", .low_shot = 5, .image_auroc = 0.99, .seconds = 0.001}, /* another task */
      {.run = "g_S0", .processor = "Q", .image_auroc = 0.99, .seconds = 0.001}, /* another machine, with one setting */
  };
  tr_report *report = report_of(runs, sizeof runs / sizeof *runs);
  const tr_figure *figure = figure_of(report, "speed_mtd_1_image");
  assert_non_null(figure);
  assert_null(figure_of(report, "speed_mtd_2_image"));
  assert_int_equal(series_of(figure, "PatchCore, exact search")->point_count, 4);
  assert_int_equal(series_of(figure, "PaDiM")->point_count, 1);
  const tr_series *front = series_of(figure, "Pareto front");
  static const double milliseconds[] = {10, 30, 50};
  assert_int_equal(front->point_count, 3);
  const tr_point *p = front->points;
  for (size_t i = 0; i < 3; ++i, p = p->next)
    assert_true(fabs(p->x - milliseconds[i]) < 1e-9);
  assert_string_equal(front->points->next->mark, "2");
  assert_non_null(strstr(front->note, "2: `c`, 30 ms, 95.00 %"));
  /* The other metrics have figures where they are known. */
  assert_non_null(figure_of(report, "speed_mtd_1_pixel"));
  assert_null(figure_of(report, "speed_mtd_1_pro"));
  tr_report_destroy(report);
}

/* Settings far below the front are left out, and said to be. */
static void what_is_far_below_is_counted(void **state) {
  (void)state;
  static const made runs[] = {
      {.run = "a_S0", .image_auroc = 0.97, .seconds = 0.010},  {.run = "b_S0", .image_auroc = 0.98, .seconds = 0.020},
      {.run = "c_S0", .image_auroc = 0.951, .seconds = 0.030}, /* 1.9 below */
      {.run = "d_S0", .image_auroc = 0.5, .seconds = 0.030},   {.run = "e_S0", .image_auroc = 0.6, .seconds = 0.040},
  };
  tr_report *report = report_of(runs, sizeof runs / sizeof *runs);
  const tr_figure *figure = figure_of(report, "speed_mtd_1_image");
  assert_int_equal(series_of(figure, "PatchCore, exact search")->point_count, 3);
  assert_non_null(strstr(figure->caption, "Not shown: 2 settings with 60.00 % or less."));
  tr_report_destroy(report);
}

/* Several lines of one run: the machine was busy when the newest was made. */
static void of_equal_lines_the_fastest_counts(void **state) {
  (void)state;
  static const made runs[] = {
      {.run = "a_S0", .image_auroc = 0.9, .seconds = 0.010},
      {.run = "a_S0", .image_auroc = 0.9, .seconds = 0.030},
      {.run = "b_S0", .image_auroc = 0.95, .seconds = 0.020},
      {.run = "b_S0", .image_auroc = 0.94, .seconds = 0.005}, /* other numbers: the newest counts, here the first */
  };
  tr_report *report = report_of(runs, sizeof runs / sizeof *runs);
  const tr_series *exact = series_of(figure_of(report, "speed_mtd_1_image"), "PatchCore, exact search");
  assert_int_equal(exact->point_count, 2);
  assert_true(fabs(exact->points->x - 10) < 1e-9);
  tr_report_destroy(report);
}

/* A line of an early version has no seconds of the search: it has those of the fastest line that does. */
static void search_seconds_of_early_versions(void **state) {
  (void)state;
  static const made runs[] = {
      {.run = "a_S0", .image_auroc = 0.9, .seconds = 0.010, .search_seconds = NAN},
      {.run = "a_S0", .image_auroc = 0.9, .seconds = 0.040, .search_seconds = 0.003},
      {.run = "a_S0", .image_auroc = 0.9, .seconds = 0.030, .search_seconds = 0.004},
      {.run = "a_S0", .image_auroc = 0.9, .seconds = 0.020, .search_seconds = NAN},
      {.run = "a_S0_faiss-IVF4-nprobe1",
       .search = "faiss:IVF4",
       .nprobe = 1,
       .image_auroc = 0.9,
       .seconds = 0.1,
       .search_seconds = 0.001,
       .recall = 0.8},
      {.run = "b_S0", .image_auroc = 0.95, .seconds = 0.060, .search_seconds = NAN}, /* none that has them */
      {.run = "b_S0", .image_auroc = 0.95, .seconds = 0.050, .search_seconds = NAN},
      {.run = "b_S0_faiss-IVF4-nprobe1",
       .search = "faiss:IVF4",
       .nprobe = 1,
       .image_auroc = 0.9,
       .seconds = 0.1,
       .search_seconds = 0.001,
       .recall = 0.8},
  };
  tr_report *report = report_of(runs, sizeof runs / sizeof *runs);
  const tr_series *exact = series_of(figure_of(report, "speed_mtd_1_image"), "PatchCore, exact search");
  assert_int_equal(exact->point_count, 2);
  assert_true(fabs(exact->points->x - 10) < 1e-9);
  assert_true(fabs(exact->points->next->x - 50) < 1e-9);
  const char *text = table_of(report, "indexes")->intro;
  assert_non_null(strstr(text, "exact search takes 4 ms an image"));
  assert_non_null(strstr(text, "the lines of exact search are of an early version, which did not time it by itself"));
  assert_null(strstr(text, "another machine"));
  tr_report_destroy(report);
}

static void searches_of_one_bank_stand_together(void **state) {
  (void)state;
  static const made runs[] = {
      {.run = "a_S0", .image_auroc = 0.9, .seconds = 0.1, .search_seconds = 0.01},
      {.run = "a_S0_faiss-IVF4-nprobe4",
       .search = "faiss:IVF4",
       .nprobe = 4,
       .image_auroc = 0.9,
       .seconds = 0.1,
       .search_seconds = 0.004,
       .recall = 0.99},
      {.run = "a_S0_faiss-IVF4-nprobe1",
       .search = "faiss:IVF4",
       .nprobe = 1,
       .image_auroc = 0.9,
       .seconds = 0.1,
       .search_seconds = 0.001,
       .recall = 0.8},
      {.run = "b_S0", .image_auroc = 0.9, .seconds = 0.1, .search_seconds = 0.01}, /* another bank, searched in one way */
  };
  tr_report *report = report_of(runs, sizeof runs / sizeof *runs);
  const tr_figure *figure = figure_of(report, "search_mtd_1_1");
  assert_non_null(figure);
  assert_null(figure_of(report, "search_mtd_1_2"));
  assert_true(figure->y_log && figure->x_nines);
  const tr_series *exact = series_of(figure, "exact search"), *index = series_of(figure, "IVF4");
  assert_int_equal(exact->point_count, 1);
  assert_true(exact->points->x == 100);
  assert_true(fabs(exact->points->y - 78.4) < 1e-9); /* 784 patches in 10 ms, in thousands a second */
  assert_int_equal(index->point_count, 2);
  assert_true(fabs(index->points->x - 80) < 1e-9);
  assert_true(fabs(index->points->y - 784) < 1e-9);
  assert_string_equal(index->points->mark, "1");
  assert_string_equal(index->points->next->mark, "4");
  tr_report_destroy(report);
}

static void what_is_missing_is_said(void **state) {
  (void)state;
  static const made one = {.run = "a_S0", .image_auroc = 0.9, .seconds = 0.1, .search_seconds = 0.01};
  tr_report *report = report_of(&one, 1);
  const tr_figure *speed = figure_of(report, "speed"), *search = figure_of(report, "search");
  assert_non_null(speed);
  assert_non_null(search);
  assert_null(speed->series);
  assert_non_null(strstr(speed->command, "table5.yaml"));
  assert_non_null(strstr(search->command, "ann.yaml"));
  tr_report_destroy(report);
}

static int make_folder(void **state) {
  (void)state;
  return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
  (void)state;
  char command[64];
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(only_what_nothing_beats_is_the_front), cmocka_unit_test(what_is_far_below_is_counted),
      cmocka_unit_test(of_equal_lines_the_fastest_counts),    cmocka_unit_test(search_seconds_of_early_versions),
      cmocka_unit_test(searches_of_one_bank_stand_together),  cmocka_unit_test(what_is_missing_is_said),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
