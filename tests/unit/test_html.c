/* The page: everything in it, everything escaped, nothing fetched; and which heat maps it shows. */
#include "datasets/image.h"
#include "host/report/html.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static size_t occurrences(const char *text, const char *of) {
  size_t count = 0, length = strlen(of);
  for (size_t i = 0; text[i]; ++i)
    count += strncmp(text + i, of, length) == 0;
  return count;
}

static void assert_says(const char *page, const char *text) {
  if (!strstr(page, text))
    fail_msg("no %s in the page", text);
}

static void add_number(tr_report *report, double published, double ours, const char *reason) {
  tr_cell cell = tr_cell_new(TR_UNIT_PERCENT);
  cell.published = published;
  cell.ours = (tr_statistic){ours, 0, isfinite(ours)};
  cell.difference = ours - published;
  cell.causes = reason ? TR_CAUSE_NOT_RUN : 0;
  cell.reason = reason;
  cell.command = reason ? "totalrecall run experiments/table1.yaml" : NULL;
  tr_report_cell(report, &cell);
}

static tr_report *make_report(void) {
  tr_report *report;
  assert_int_equal(tr_report_new(&report), TR_OK);
  tr_report_section(report, "head", "A <report> & more", "First `code <x>`.\n\nSecond, **strong**; a ` and a ** alone.");
  tr_report_section(report, "tables", "Tables", "");
  tr_report_table(report, "tables", "Table \"1\"", "Intro.");
  tr_report_column(report, "class", false);
  tr_report_column(report, "10 %", true);
  const char *classes[] = {"<script>alert(1)</script>", "cable", "pill"};
  for (int i = 0; i < 3; ++i) {
    tr_report_row(report);
    tr_report_label(report, classes[i]);
    add_number(report, 98.1, i ? NAN : 97.6, i ? "Not run: needs `w`" : NULL);
  }
  tr_report_figure(report, &(tr_figure){.id = "f", .title = "Bottle", .x_title = "p", .y_title = "AUROC, %"});
  tr_report_series(report, &(tr_series){.title = "greedy & co", .note = "read off the plot"});
  tr_report_point(report, &(tr_point){.x = 3, .y = 99.1, .deviation = 0.2, .seeds = 3});
  tr_report_figure(report,
                   &(tr_figure){.id = "g", .title = "Missing", .reason = "Not run: needs data", .command = "totalrecall run x"});
  assert_int_equal(tr_report_status(report), TR_OK);
  return report;
}

static char *page_of(const tr_report *report, const tr_heat_maps *heat_maps) {
  char *page = NULL;
  if (tr_report_html(report, heat_maps, &page) != TR_OK)
    fail_msg("%s", tr_last_error());
  return page;
}

static void everything_is_in_the_page(void **state) {
  (void)state;
  tr_report *report = make_report();
  tr_heat_maps none = {0};
  char *page = page_of(report, &none);
  const char *texts[] = {
      "<title>A &lt;report&gt; &amp; more</title>",
      "<h1 id=\"head\">A &lt;report&gt; &amp; more</h1>",
      "<p>First <code>code &lt;x&gt;</code>.</p>",
      "<p>Second, <strong>strong</strong>; a ` and a ** alone.</p>",
      "<li><a href=\"#tables\">Tables</a></li>",
      "<h3 id=\"table-tables\">Table &quot;1&quot;</h3>",
      "aria-label=\"Table &quot;1&quot;\"",
      "<td>&lt;script&gt;alert(1)&lt;/script&gt;</td>",
      "<td class=\"number\" data-value=\"98.1\">98.1</td>",
      "<td class=\"number\" data-value=\"97.6\">97.60<span class=\"difference\">-0.50</span></td>",
      "<td class=\"missing\">not run <sup><a href=\"#tables-note-1\">1</a></sup></td>",
      "<li id=\"tables-note-1\">Not run: needs <code>w</code>; <code>totalrecall run experiments/table1.yaml</code>.</li>",
      "<p>greedy &amp; co: read off the plot</p>",
      "<td class=\"number\">99.1 ± 0.2 (3 seeds)</td>",
      "<p class=\"empty\" id=\"figure-g\">Missing: Not run: needs data; <code>totalrecall run x</code></p>",
      "None at hand.",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i)
    assert_says(page, texts[i]);
  assert_int_equal(occurrences(page, "-note-1\">"), 1 + 2); /* two cells share a note */
  assert_int_equal(occurrences(page, "://"), 0);
  free(page);
  tr_report_destroy(report);
}

/* A figure that was drawn stands in the page; its numbers can be opened, and are open where it was not. */
static void drawings_are_taken_in(void **state) {
  (void)state;
  tr_report *report = make_report();
  tr_heat_maps none = {0};
  char *page = page_of(report, &none);
  assert_says(page, "<details open>");
  free(page);
  tr_report_set_svg(report, tr_report_sections(report)->next->figures, strdup("<svg>drawn</svg>"));
  page = page_of(report, &none);
  assert_says(page, "<figure id=\"figure-f\">\n<svg>drawn</svg>");
  assert_says(page, "<details>");
  free(page);
  tr_report_destroy(report);
}

/* ---- heat maps ---- */

static char folder[] = "/tmp/test_html_XXXXXX";

static void write_file(const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  char *slash = strrchr(path, '/');
  *slash = '\0';
  assert_int_equal(tr_make_folders(path), TR_OK);
  *slash = '/';
  assert_int_equal(tr_file_write(path, text, strlen(text)), TR_OK);
}

static void write_picture(const char *name) {
  char path[256];
  uint8_t pixels[8 * 26 * 3];
  memset(pixels, 128, sizeof pixels);
  write_file(name, "");
  snprintf(path, sizeof path, "%s/%s", folder, name);
  assert_int_equal(tr_image_write_png(path, pixels, 8, 26, 3), TR_OK);
}

static void write_result(FILE *out, const char *run, const char *class_name, double image_auroc) {
  char experiment[] = "e", dataset[] = "synthetic", method[] = "patchcore", backbone[] = "resnet18", layers[] = "layer2",
       weights[] = "w", sha[] = "00", text[] = "x", date[] = "2026-01-02T00:00:00Z", *json;
  tr_result r = {.experiment = experiment,
                 .run = (char *)run,
                 .dataset = dataset,
                 .class_name = (char *)class_name,
                 .method = method,
                 .backbone = backbone,
                 .layers = layers,
                 .weights = weights,
                 .weights_sha256 = sha,
                 .protocol = text,
                 .aggregate = text,
                 .subsampling = text,
                 .search = text,
                 .distance = text,
                 .image_score = text,
                 .device = text,
                 .processor = text,
                 .version = text,
                 .date = date,
                 .image_auroc = image_auroc};
  assert_int_equal(tr_result_to_json(&r, &json), TR_OK);
  fprintf(out, "%s\n", json);
  free(json);
}

static int make_results(void **state) {
  (void)state;
  assert_non_null(mkdtemp(folder));
  write_file("m/e.jsonl", "");
  char path[256];
  snprintf(path, sizeof path, "%s/m/e.jsonl", folder);
  FILE *out = fopen(path, "w");
  assert_non_null(out);
  write_result(out, "good_S0", "cloth", 0.9);
  write_result(out, "bad_S0", "cloth", 0.5);
  write_result(out, "bad_S0", "nut", 0.5);
  fclose(out);
  const char *pictures[] = {"hole/000", "hole/001", "hole/002", "good/000", "good/001"};
  for (size_t i = 0; i < sizeof pictures / sizeof *pictures; ++i) {
    char name[128];
    snprintf(name, sizeof name, "m/maps/good_S0/cloth/%s.png", pictures[i]);
    write_picture(name);
  }
  write_picture("m/maps/bad_S0/cloth/hole/000.png");
  write_picture("m/maps/bad_S0/nut/rust/000.png");
  write_picture("m/maps/other_S0/cloth/hole/000.png");
  write_file("m/scores/good_S0_cloth.csv",
             "image,label,score\ngood/000.png,0,1\ngood/001.png,0,4\nhole/000.png,1,3\nhole/001.jpg,1,0.5\nhole/002.png,1,9\n");
  return 0;
}

static int remove_results(void **state) {
  (void)state;
  char command[64];
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command);
}

static tr_status read_heat_maps(tr_progress *progress, tr_heat_maps *out) {
  tr_strings none = {0};
  return tr_heat_maps_read(folder, &none, &none, progress, out);
}

static char said[2048];
static void hear(tr_progress *progress, const char *text) {
  (void)progress;
  size_t length = strlen(said);
  snprintf(said + length, sizeof said - length, "%s\n", text);
}

/* The better of two runs; the defects with the highest and the lowest score, the good image with the highest. */
static void best_and_worst_are_chosen(void **state) {
  (void)state;
  tr_progress progress = {.line = hear};
  tr_heat_maps maps;
  if (read_heat_maps(&progress, &maps) != TR_OK)
    fail_msg("%s", tr_last_error());
  assert_int_equal(maps.count, 1);
  assert_string_equal(maps.items[0].result->run, "good_S0");
  assert_int_equal(maps.items[0].count, 3);
  static const struct {
    const char *image;
    size_t beaten, others;
  } expected[] = {{"hole/002.png", 2, 2}, {"hole/001.jpg", 0, 2}, {"good/001.png", 1, 3}};
  for (int i = 0; i < 3; ++i) {
    const tr_heat_map *map = &maps.items[0].items[i];
    assert_string_equal(map->image, expected[i].image);
    assert_int_equal(map->beaten, expected[i].beaten);
    assert_int_equal(map->others, expected[i].others);
    assert_int_equal(map->w, 26);
    assert_memory_equal(map->jpeg, "\xff\xd8\xff", 3);
  }
  assert_says(said, "maps/other_S0/cloth: its heat maps are left out, as there is no result");
  assert_says(said, "maps/bad_S0/nut: its heat maps are left out, as its scores (bad_S0_nut.csv) were not found");
  tr_report *report = make_report();
  char *page = page_of(report, &maps);
  assert_says(page, "<h3>cloth (synthetic), patchcore</h3>");
  assert_says(page, "image AUROC 0.9000, of 2026-01-02");
  assert_says(page, "<code>hole/001.jpg</code>, score 0.500, above 0 of 2 good images");
  assert_says(page, "<code>good/001.png</code>, score 4.000, below 1 of 3 defects");
  assert_int_equal(occurrences(page, "src=\"data:image/jpeg;base64,/9j/"), 3);
  free(page);
  tr_report_destroy(report);
  tr_heat_maps_free(&maps);
}

static void a_damaged_table_of_scores_is_named(void **state) {
  (void)state;
  tr_heat_maps maps;
  write_file("m/scores/good_S0_cloth.csv", "image,label,score\ngood/000.png,0,1\nhole/000.png,yes,3\n");
  assert_int_equal(read_heat_maps(NULL, &maps), TR_EFORMAT);
  assert_says(tr_last_error(), "good_S0_cloth.csv:3");
  write_file("m/scores/good_S0_cloth.csv", "image,label,score\nhole/777.png,1,1\n");
  assert_int_equal(read_heat_maps(NULL, &maps), TR_EIO);
  assert_says(tr_last_error(), "hole/777.png");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(everything_is_in_the_page),
      cmocka_unit_test(drawings_are_taken_in),
      cmocka_unit_test(best_and_worst_are_chosen),
      cmocka_unit_test(a_damaged_table_of_scores_is_named),
  };
  return cmocka_run_group_tests(tests, make_results, remove_results);
}
