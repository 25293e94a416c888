/* The report on made-up results beside the real published numbers: nothing at hand, a part of it, several machines and seeds, lines
 * of an earlier form, scores of images. */
#include "tests/golden/golden.h"
#include "tests/unit/tables.h"

#include "host/backbone/graph.h"
#include "host/base/text.h"
#include "host/report/ablations.h"
#include "host/report/cells.h"
#include "host/report/report.h"
#include <math.h>

static char folder[64];

static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *format, ...) {
  char command[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(command, sizeof command, format, arguments);
  va_end(arguments);
  if (system(command) != 0)
    fail_msg("%s failed", command);
}

static int make_folder(void **state) {
  (void)state;
  strcpy(folder, "/tmp/totalrecall-report-XXXXXX");
  if (!mkdtemp(folder))
    return -1;
  shell("ln -s %s/../../results/published %s/published", TR_GOLDEN_DIR, folder);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  shell("rm -rf %s", folder);
  return 0;
}

/* ---- making results ---- */

typedef struct made {
  const char *machine, *class_name, *backbone, *date;
  uint64_t seed;
  double image_auroc;
  size_t train_images, images; /* 0: all */
} made;

static void append_text(const char *machine, const char *line) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, machine);
  assert_int_equal(tr_make_folders(path), TR_OK);
  strcat(path, "/t.jsonl");
  FILE *out = fopen(path, "a");
  assert_non_null(out);
  fprintf(out, "%s\n", line);
  fclose(out);
}

static tr_result result_of(tr_query query, const made *m, char **name) {
  tr_setting setting;
  assert_true(tr_setting_on_backbone(&query.setting, m->backbone, &setting));
  setting.seed = m->seed;
  *name = tr_setting_run_name(&setting);
  assert_non_null(*name);
  return (tr_result){.experiment = "t",
                     .run = *name,
                     .dataset = (char *)setting.dataset,
                     .class_name = (char *)m->class_name,
                     .method = (char *)setting.method,
                     .backbone = (char *)m->backbone,
                     .weights = "w",
                     .weights_sha256 = "0123456789abcdef",
                     .image_auroc = m->image_auroc,
                     .pixel_auroc = m->image_auroc / 2,
                     .pixel_auroc_anomalous = NAN,
                     .pro = NAN,
                     .pro_anomalous_224 = NAN,
                     .f1 = NAN,
                     .misclassified = 2,
                     .false_positives = 1,
                     .false_negatives = 1,
                     .train_images = m->train_images ? m->train_images : 209,
                     .images = m->images ? m->images : 83,
                     .anomalous_images = 63,
                     .low_shot = setting.train_images,
                     .crop = setting.image.crop,
                     .resize = setting.image.resize,
                     .percent = setting.percent,
                     .seed = m->seed,
                     .seconds = {.fit = 1, .score_per_image = 0.05},
                     .device = "cpu",
                     .processor = "P",
                     .threads = 2,
                     .version = "0",
                     .date = (char *)(m->date ? m->date : "2026-01-01T00:00:00Z")};
}

static void add_run(tr_query query, made m) {
  char *name, *line;
  tr_result result = result_of(query, &m, &name);
  assert_int_equal(tr_result_to_json(&result, &line), TR_OK);
  append_text(m.machine ? m.machine : "m", line);
  free(line);
  free(name);
}

static tr_query patchcore(const char *dataset, double percent) {
  return tr_query_percent(tr_query_new(dataset, "patchcore", "table1"), percent);
}

/* ---- reading reports ---- */

static size_t warnings;
static void count_line(tr_progress *self, const char *text) {
  (void)self;
  (void)text;
  ++warnings;
}
static tr_progress counter = {.line = count_line};

static tr_report *report_now(void) {
  tr_report *report;
  if (tr_report_create(folder, NULL, &counter, &report) != TR_OK)
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

/* The row that begins with a label, or has it second; the cell under a column. */
static const tr_cell *cell_of(const tr_report *report, const char *id, const char *row_label, const char *column_title) {
  const tr_table *table = table_of(report, id);
  for (const tr_row *row = table->rows; row; row = row->next) {
    if (strcmp(row->cells->text, row_label) != 0)
      continue;
    const tr_cell *cell = row->cells;
    for (const tr_column *column = table->columns; column; column = column->next, cell = cell->next)
      if (strcmp(column->title, column_title) == 0)
        return cell;
  }
  fail_msg("no cell %s, %s in table %s", row_label, column_title, id);
  return NULL;
}

static void assert_near(double got, double expected, double tolerance) {
  if (!(fabs(got - expected) <= tolerance))
    fail_msg("got %.17g, expected %.17g", got, expected);
}

static void assert_says(const char *text, const char *part) {
  if (!text || !strstr(text, part))
    fail_msg("no \"%s\" in \"%s\"", part, text ? text : "(nothing)");
}

/* Never a blank: a cell has a text, a number, or says why it has none; a reason goes with its causes, a command with what was not run. */
static void check_cell(const tr_table *table, const tr_column *column, const tr_cell *cell) {
  char text[TR_CELL_TEXT_BYTES];
  if (cell->text && !*cell->text)
    fail_msg("table %s, column %s: an empty cell", table->id, column->title);
  assert_true(*tr_cell_ours(cell, text) != '\0');
  assert_true(*tr_cell_published(cell, text) != '\0');
  assert_int_equal(cell->causes != 0, cell->reason != NULL);
  if (!cell->text && !isfinite(cell->ours.mean) && !(cell->causes & (TR_CAUSE_NOT_RUN | TR_CAUSE_OUT_OF_SCOPE)))
    assert_string_equal(tr_cell_ours(cell, text), "not defined");
  if (column->published && !cell->text && isfinite(cell->published))
    assert_non_null(cell->source);
  if (cell->causes & TR_CAUSE_OUT_OF_SCOPE)
    assert_null(cell->command);
}

static void check_report(const tr_report *report) {
  tr_strings ids = {0}, figures = {0};
  for (const tr_section *s = tr_report_sections(report); s; s = s->next) {
    for (const tr_table *t = s->tables; t; t = t->next) {
      assert_false(tr_strings_has(&ids, t->id));
      assert_int_equal(tr_strings_add(&ids, t->id), TR_OK);
      size_t rows = 0;
      for (const tr_row *row = t->rows; row; row = row->next, ++rows) {
        const tr_cell *cell = row->cells;
        for (const tr_column *column = t->columns; column; column = column->next, cell = cell->next) {
          if (!cell)
            fail_msg("table %s: a row of %s is short", t->id, row->cells->text);
          check_cell(t, column, cell);
        }
        assert_null(cell);
      }
      assert_int_equal(rows, t->row_count);
    }
    for (const tr_figure *f = s->figures; f; f = f->next) {
      assert_false(tr_strings_has(&figures, f->id));
      assert_int_equal(tr_strings_add(&figures, f->id), TR_OK);
      assert_int_equal(f->causes != 0, f->reason != NULL);
      for (const tr_series *series = f->series; series; series = series->next) {
        assert_true(series->point_count > 0);
        for (const tr_point *p = series->points; p && p->next; p = p->next)
          assert_true(p->x <= p->next->x);
      }
    }
  }
  tr_strings_free(&ids);
  tr_strings_free(&figures);
}

/* ---- tests ---- */

static void nothing_at_hand(void **state) {
  (void)state;
  tr_report *report = report_now();
  check_report(report);
  const tr_cell *cell = cell_of(report, "table1", "PatchCore-10 %", "Image AUROC");
  assert_near(cell->published, 99.0, 1e-12);
  assert_int_equal(cell->causes, TR_CAUSE_NOT_RUN);
  assert_says(cell->reason, "wide_resnet50_2-95faca4d.pth");
  assert_says(cell->command, "totalrecall run experiments/table1.yaml");
  cell = cell_of(report, "table1", "DifferNet", "Image AUROC");
  assert_near(cell->published, 94.9, 1e-12);
  assert_int_equal(cell->causes, TR_CAUSE_OUT_OF_SCOPE);
  cell = cell_of(report, "findings", "A neighbourhood of p = 3 is best (figure 4)", "here");
  assert_string_equal(cell->text, "not run");
  assert_says(cell->command, "figure4.yaml");
  const tr_figure *figure = figure_of(report, "figure4_neighbourhood");
  assert_non_null(figure);
  assert_int_equal(figure->causes, TR_CAUSE_NOT_RUN);
  assert_int_equal(figure->series_count, 0);
  assert_says(figure->command, "figure4.yaml");
  char *text;
  assert_int_equal(tr_report_markdown(report, "figures", &text), TR_OK);
  assert_says(text, "not run [1]");
  assert_null(strstr(text, "nan"));
  free(text);
  tr_report_destroy(report);
}

static void published_files_missing(void **state) {
  (void)state;
  shell("rm %s/published && mkdir %s/published", folder, folder);
  warnings = 0;
  tr_report *report = report_now();
  assert_true(warnings >= 10);
  check_report(report);
  char text[TR_CELL_TEXT_BYTES];
  assert_string_equal(tr_cell_published(cell_of(report, "table1", "PatchCore-10 %", "Image AUROC"), text), "not published");
  tr_report_destroy(report);
}

static void reduced_class_with_other_weights(void **state) {
  (void)state;
  add_run(patchcore("mvtec", 10),
          (made){.class_name = "bottle", .backbone = "resnet50_v1", .image_auroc = 0.97, .train_images = 120});
  add_run(patchcore("mvtec", 10),
          (made){.class_name = "hazelnut", .backbone = "resnet50_v1", .image_auroc = 0.99, .train_images = 50, .images = 10});
  tr_report *report = report_now();
  check_report(report);
  const tr_cell *cell = cell_of(report, "tableS1", "bottle", "PatchCore-10 %");
  assert_near(cell->ours.mean, 97, 1e-12);
  assert_near(cell->difference, -3, 1e-12);
  assert_int_equal(cell->causes, TR_CAUSE_WEIGHTS | TR_CAUSE_DATA);
  assert_says(cell->reason, "`resnet50_v1` in place of `wide_resnet50_2`; 120 of 209 training images.");
  cell = cell_of(report, "tableS1", "hazelnut", "PatchCore-10 %");
  assert_says(cell->reason, "50 of 391 training and 10 of 110 test images");
  cell = cell_of(report, "table1", "PatchCore-10 %", "Image AUROC");
  assert_near(cell->ours.mean, 98, 1e-12);
  assert_false(isfinite(cell->difference)); /* two classes are no fifteen */
  assert_says(cell->reason, "2 of 15 classes (bottle, hazelnut)");
  assert_says(cell->reason, "Published for these: 100.00, so that ours differs by -2.00.");
  cell = cell_of(report, "table1", "PatchCore-10 %", "Misclassified images");
  assert_near(cell->ours.mean, 4, 1e-12); /* a sum */
  cell = cell_of(report, "tableS6", "PatchCore-10 %, ResNet50", "Image AUROC");
  assert_int_equal(cell->causes, TR_CAUSE_WEIGHTS | TR_CAUSE_DATA);
  cell = cell_of(report, "tableS6", "PatchCore-10 %, ResNet101", "Image AUROC"); /* for which nothing stands in */
  assert_int_equal(cell->causes, TR_CAUSE_NOT_RUN);
  tr_report_destroy(report);
}

static void own_backbone_before_others(void **state) {
  (void)state;
  add_run(patchcore("mvtec", 10), (made){.class_name = "bottle", .backbone = "resnet50_v1", .image_auroc = 0.97});
  add_run(patchcore("mvtec", 10),
          (made){.class_name = "cable", .backbone = "resnet50_v1", .image_auroc = 0.97, .train_images = 224, .images = 150});
  add_run(patchcore("mvtec", 10), (made){.class_name = "bottle", .backbone = "wide_resnet50_2", .image_auroc = 0.98});
  tr_report *report = report_now();
  const tr_cell *cell = cell_of(report, "tableS1", "bottle", "PatchCore-10 %");
  assert_near(cell->ours.mean, 98, 1e-12);
  assert_int_equal(cell->causes, 0);
  assert_null(cell->reason);
  cell = cell_of(report, "tableS1", "cable", "PatchCore-10 %");
  assert_int_equal(cell->causes, TR_CAUSE_WEIGHTS);
  assert_int_equal(cell_of(report, "table1", "PatchCore-10 %", "Image AUROC")->causes, TR_CAUSE_DATA);
  tr_report_destroy(report);
}

static void all_classes_give_a_difference(void **state) {
  (void)state;
  tr_published published;
  assert_int_equal(tr_published_read(folder, NULL, &published), TR_OK);
  for (size_t i = 0; i < TR_PAPER_CLASSES; ++i) {
    size_t train, test;
    tr_published_counts(&published, "mvtec", tr_paper_classes[i], &train, &test);
    for (uint64_t seed = 0; seed < 2; ++seed)
      add_run(patchcore("mvtec", 10), (made){.class_name = tr_paper_classes[i],
                                             .backbone = "wide_resnet50_2",
                                             .seed = seed,
                                             .image_auroc = seed ? 0.96 : 0.98,
                                             .train_images = train,
                                             .images = test});
  }
  tr_published_free(&published);
  tr_report *report = report_now();
  check_report(report);
  const tr_cell *cell = cell_of(report, "table1", "PatchCore-10 %", "Image AUROC");
  assert_int_equal(cell->causes, 0);
  assert_int_equal(cell->ours.seeds, 2);
  assert_near(cell->ours.mean, 97, 1e-9);
  assert_near(cell->ours.deviation, sqrt(2), 1e-9); /* of the seeds' means over classes, n - 1 */
  assert_near(cell->difference, -2, 1e-9);
  char text[TR_CELL_TEXT_BYTES];
  assert_string_equal(tr_cell_ours(cell, text), "97.00 ± 1.41");
  assert_string_equal(tr_cell_difference(cell, text), "-2.00");
  cell = cell_of(report, "table1", "PatchCore-10 %", "Misclassified images");
  assert_near(cell->ours.mean, 30, 1e-9);
  assert_near(cell->difference, -17, 1e-9);
  tr_report_destroy(report);
}

static void several_machines(void **state) {
  (void)state;
  made m = {
      .machine = "a", .class_name = "bottle", .backbone = "wide_resnet50_2", .image_auroc = 0.5, .date = "2026-01-01T00:00:00Z"};
  add_run(patchcore("mvtec", 10), m);
  m = (made){
      .machine = "b", .class_name = "bottle", .backbone = "wide_resnet50_2", .image_auroc = 0.9, .date = "2026-02-01T00:00:00Z"};
  add_run(patchcore("mvtec", 10), m); /* the same run, later */
  m.seed = 1;
  m.image_auroc = 0.8;
  add_run(patchcore("mvtec", 10), m);
  tr_report *report = report_now();
  const tr_cell *cell = cell_of(report, "tableS1", "bottle", "PatchCore-10 %");
  assert_int_equal(cell->ours.seeds, 2);
  assert_near(cell->ours.mean, 85, 1e-9);
  assert_int_equal(table_of(report, "runs")->row_count, 1);
  assert_string_equal(cell_of(report, "machines", "P", "results")->text, "3");
  tr_report_destroy(report);
}

/* As they were written before low-shot draws, ensembles and the other methods' choices. */
static void old_lines(void **state) {
  (void)state;
  append_text(
      "m", "{\"experiment\":\"mvtec\",\"run\":\"IM224_WR50_L2-3_P10_D1024-1024_PS-3_AN-1_S0\",\"dataset\":\"mvtec\",\"class\":"
           "\"bottle\","
           "\"method\":\"patchcore\",\"backbone\":\"wide_resnet50_2\",\"layers\":\"layer2+layer3\",\"weights_sha256\":\"201f\","
           "\"image_auroc\":0.99,\"pixel_auroc\":null,\"train_images\":209,\"images\":83,\"seed\":0}");
  append_text("m", "{\"not\":\"a result\"}");
  warnings = 0;
  tr_report *report = report_now();
  check_report(report);
  assert_int_equal(warnings, 1);
  char text[TR_CELL_TEXT_BYTES];
  assert_near(cell_of(report, "tableS1", "bottle", "PatchCore-10 %")->ours.mean, 99, 1e-9);
  assert_string_equal(tr_cell_ours(cell_of(report, "tableS2", "bottle", "PatchCore-10 %"), text), "not defined");
  tr_report_destroy(report);
}

static tr_query from_ablation(tr_ablation_kind kind, const char *dataset, size_t line, double value, double percent) {
  return tr_ablation_of(kind)->query(dataset, line, value, percent);
}

static void findings_without_scores(void **state) {
  (void)state;
  static const double p[] = {1, 3, 5}, auroc[] = {0.90, 0.95, 0.96};
  for (size_t i = 0; i < 3; ++i)
    add_run(from_ablation(TR_ABLATION_NEIGHBOURHOOD, "mvtec", 0, p[i], 10),
            (made){.class_name = "bottle", .backbone = "resnet50_v1", .image_auroc = auroc[i]});
  add_run(from_ablation(TR_ABLATION_SUBSAMPLING, "mtd", 0, 1, 0),
          (made){.class_name = "mtd", .backbone = "resnet50_v1", .image_auroc = 0.95});
  add_run(from_ablation(TR_ABLATION_SUBSAMPLING, "mtd", 0, 100, 0),
          (made){.class_name = "mtd", .backbone = "resnet50_v1", .image_auroc = 0.952});
  tr_report *report = report_now();
  check_report(report);
  static const char claim[] = "A neighbourhood of p = 3 is best (figure 4)";
  assert_string_equal(cell_of(report, "findings", claim, "here")->text, "**not seen**, among those run");
  assert_string_equal(cell_of(report, "findings", claim, "on")->text,
                      "MVTec AD, `resnet50_v1`, 1 of 15 classes (bottle), 1 seed, 83 test images, 10 % of the patches");
  assert_string_equal(cell_of(report, "findings", claim, "numbers")->text, "p = 3: 95.00, 1: 90.00, 5: 96.00");
  assert_string_equal(cell_of(report, "findings", claim, "difference")->text, "-1.00 (to 5)");
  assert_string_equal(cell_of(report, "findings", claim, "95 % interval")->text, "no scores");
  static const char within[] = "PatchCore-1 % is within 0.5 points of 100 % (table 5)";
  assert_string_equal(cell_of(report, "findings", within, "here")->text, "**seen**");
  assert_string_equal(cell_of(report, "findings", within, "difference")->text, "-0.20 (to 100 %)");
  const tr_figure *figure = figure_of(report, "figure4_neighbourhood_mvtec_resnet50_v1");
  assert_non_null(figure);
  assert_false(figure->series->published);
  assert_int_equal(figure->series->point_count, 3);
  assert_true(figure->series->next->published);
  assert_int_equal(figure->series->next->colour, figure->series->colour);
  assert_int_equal(figure->causes, TR_CAUSE_WEIGHTS | TR_CAUSE_DATA);
  assert_non_null(figure_of(report, "figure5_subsampling_mtd_resnet50_v1_image"));
  assert_null(figure_of(report, "figure4_levels_mtd_resnet50_v1"));
  tr_report_destroy(report);
}

/* A class of 20 good and 63 anomalous images, and what its scores give. */
static void write_scores(const char *name, const float *scores, bool shifted_names) {
  char path[512];
  snprintf(path, sizeof path, "%s/m/scores", folder);
  assert_int_equal(tr_make_folders(path), TR_OK);
  snprintf(path, sizeof path, "%s/m/scores/%s_bottle.csv", folder, name);
  FILE *out = fopen(path, "w");
  assert_non_null(out);
  fprintf(out, "image,label,score\n");
  for (int i = 0; i < 83; ++i)
    fprintf(out, "%03d.png,%d,%.9g\n", i + shifted_names, i >= 20, (double)scores[i]);
  fclose(out);
}

/* Scores of which `hidden` anomalous images score below every good one: AUROC is 1 - hidden / 63. */
static void add_scored_run(tr_query query, size_t hidden, bool shifted_names) {
  float scores[83];
  for (size_t i = 0; i < 83; ++i)
    scores[i] = i < 20 ? 10 + (float)i : i < 20 + hidden ? 1 : 100;
  made m = {.class_name = "bottle", .backbone = "resnet50_v1", .image_auroc = 1 - (double)hidden / 63};
  add_run(query, m);
  char *name;
  (void)result_of(query, &m, &name);
  write_scores(name, scores, shifted_names);
  free(name);
}

/* Equal values are no finding, at 100 not even that of being near; means hide classes. */
static void findings_that_tie(void **state) {
  (void)state;
  static const struct {
    const char *class_name;
    double three, five;
  } classes[] = {{"bottle", 1, 1}, {"hazelnut", 0.98, 0.97}, {"wood", 0.95, 0.96}};
  for (size_t i = 0; i < 3; ++i) {
    made m = {.class_name = classes[i].class_name, .backbone = "resnet50_v1", .images = 83};
    m.image_auroc = classes[i].three;
    add_run(from_ablation(TR_ABLATION_NEIGHBOURHOOD, "mvtec", 0, 3, 10), m);
    m.image_auroc = classes[i].five;
    add_run(from_ablation(TR_ABLATION_NEIGHBOURHOOD, "mvtec", 0, 5, 10), m);
  }
  made m = {.class_name = "mtd", .backbone = "resnet50_v1", .image_auroc = 1};
  for (int p = 1; p <= 100; p += 99)
    add_run(from_ablation(TR_ABLATION_SUBSAMPLING, "mtd", 0, p, 0), m);
  tr_report *report = report_now();
  check_report(report);
  static const char p3[] = "A neighbourhood of p = 3 is best (figure 4)";
  assert_string_equal(cell_of(report, "findings", p3, "here")->text, "tie, among those run"); /* 97.67 of both */
  assert_string_equal(cell_of(report, "findings", p3, "by class")->text, "bottle tie at 100, hazelnut seen, wood not seen");
  static const char within[] = "PatchCore-1 % is within 0.5 points of 100 % (table 5)";
  assert_string_equal(cell_of(report, "findings", within, "here")->text, "tie at 100");
  assert_string_equal(cell_of(report, "findings_summary", within, "Image AUROC")->text, "tie at 100");
  tr_report_destroy(report);
}

static void findings_with_scores(void **state) {
  (void)state;
  static const size_t hidden[] = {20, 0, 1, 30, 30}; /* p = 1, 3, 5, 7, 9 */
  for (size_t i = 0; i < 5; ++i)
    add_scored_run(from_ablation(TR_ABLATION_NEIGHBOURHOOD, "mvtec", 0, 1 + 2 * (double)i, 10), hidden[i], false);
  static const size_t greedy = 2, random = 30;
  add_scored_run(from_ablation(TR_ABLATION_SUBSAMPLING, "mvtec", 0, 1, 0), greedy, false);
  add_scored_run(from_ablation(TR_ABLATION_SUBSAMPLING, "mvtec", 1, 1, 0), random, false);
  tr_report *report = report_now();
  static const char p3[] = "A neighbourhood of p = 3 is best (figure 4)";
  assert_string_equal(cell_of(report, "findings", p3, "here")->text, "**seen**, but may be chance"); /* one image of 63 */
  assert_string_equal(cell_of(report, "findings", p3, "difference")->text, "+1.59 (to 5)");
  assert_string_equal(cell_of(report, "findings", p3, "by class")->text, "bottle seen");
  assert_string_equal(cell_of(report, "findings_summary", p3, "Image AUROC")->text, "**seen**, but may be chance");
  assert_string_equal(cell_of(report, "findings_summary", p3, "PRO")->text, "not defined");
  double low, high;
  assert_int_equal(sscanf(cell_of(report, "findings", p3, "95 % interval")->text, "%lf to %lf", &low, &high), 2);
  assert_true(low == 0 && high > 1.59 && high < 8);
  static const char sampled[] = "The greedy coreset is above a random one, at 1 % (figure 5)";
  assert_string_equal(cell_of(report, "findings", sampled, "here")->text, "**seen**, beyond chance");
  tr_report_destroy(report);

  /* From another folder. */
  shell("mv %s/m/scores %s/elsewhere", folder, folder);
  tr_strings scores = {0};
  char *elsewhere = tr_format("%s/elsewhere", folder);
  assert_int_equal(tr_strings_take(&scores, elsewhere), TR_OK);
  assert_int_equal(tr_report_create(folder, &scores, &counter, &report), TR_OK);
  assert_string_equal(cell_of(report, "findings", p3, "here")->text, "**seen**, but may be chance");
  tr_report_destroy(report);
  tr_strings_free(&scores);
  report = report_now();
  assert_string_equal(cell_of(report, "findings", p3, "here")->text, "**seen**");
  tr_report_destroy(report);
  shell("mv %s/elsewhere %s/m/scores", folder, folder);

  /* Scores of other images, or not of this line, are none. */
  add_scored_run(from_ablation(TR_ABLATION_SUBSAMPLING, "mvtec", 1, 1, 0), random, true);
  report = report_now();
  assert_string_equal(cell_of(report, "findings", sampled, "95 % interval")->text, "no scores");
  tr_report_destroy(report);
}

static void methods_compared(void **state) {
  (void)state;
  add_scored_run(patchcore("mvtec", 10), 1, false);
  add_scored_run(tr_query_new("mvtec", "padim", "t"), 40, false);
  tr_report *report = report_now();
  check_report(report);
  static const char title[] = "PatchCore-10 % and PaDiM, MVTec AD";
  assert_string_equal(cell_of(report, "comparisons", title, "better")->text, "the first");
  assert_string_equal(cell_of(report, "comparisons", title, "difference")->text, "+61.90");
  assert_near(cell_of(report, "comparisons", title, "the second")->ours.mean, 100 * (1 - 40.0 / 63), 1e-9);
  assert_int_equal(cell_of(report, "comparisons", "PatchCore and SPADE", "better")->causes, TR_CAUSE_NOT_RUN);
  tr_report_destroy(report);
}

static void scenes_pooled_and_averaged(void **state) {
  (void)state;
  tr_query query = tr_query_new("mstc", "patchcore", "mstc");
  query.setting.image = (tr_image_spec){.resize = 256, .crop = 0, .squash = true};
  tr_query_levels(&query, "34");
  query = tr_query_percent(query, 10);
  static const char *const classes[] = {"pooled", "scene_01", "scene_02"};
  static const double auroc[] = {0.9, 0.8, 0.7}; /* of images; of pixels half of it */
  /* A small set in the same layout stands for itself. */
  for (size_t i = 0; i < 3; ++i)
    add_run(query, (made){.class_name = classes[i], .backbone = "resnet50_v1", .image_auroc = auroc[i], .train_images = 20});
  tr_report *report = report_now();
  check_report(report);
  assert_int_equal(cell_of(report, "table6_mstc", "PatchCore-10 %", "pooled")->causes, TR_CAUSE_NOT_RUN);
  assert_says(cell_of(report, "table6_mstc", "PatchCore-10 %", "pooled")->reason, "ShanghaiTech Campus");
  assert_says(cell_of(report, "table6_mstc", "PatchCore-10 %", "pooled")->command, "mstc.yaml");
  assert_says(table_of(report, "table6_mstc")->intro, "nothing here has been run on it");
  assert_says(table_of(report, "table6_mstc")->intro, "totalrecall run experiments/mstc.yaml --data ROOT --weights DIR");
  static const char other[] = "PatchCore-10 %, another set";
  assert_near(cell_of(report, "table6_mstc_layout", other, "pooled")->ours.mean, 45, 1e-9);
  assert_near(cell_of(report, "table6_mstc_layout", other, "mean over scenes")->ours.mean, 37.5, 1e-9);
  assert_string_equal(cell_of(report, "table6_mstc_layout", other, "training frames")->text, "20");
  assert_int_equal(cell_of(report, "table6_mstc_layout", "PatchCore-10 %", "pooled")->causes, TR_CAUSE_NOT_RUN);
  assert_says(cell_of(report, "table6_mstc_layout", "PatchCore-10 %", "pooled")->command, "--dataset synthetic_mstc");
  tr_report_destroy(report);

  /* The drawn set never stands for the campus, however large it is drawn. */
  tr_query drawn = query;
  drawn.setting.dataset = "synthetic_mstc";
  for (size_t i = 0; i < 3; ++i)
    add_run(drawn, (made){.class_name = classes[i], .backbone = "resnet50_v1", .image_auroc = 0.6, .train_images = 60000});
  report = report_now();
  check_report(report);
  assert_int_equal(cell_of(report, "table6_mstc", "PatchCore-10 %", "pooled")->causes, TR_CAUSE_NOT_RUN);
  assert_says(table_of(report, "table6_mstc")->intro, "nothing here has been run on it");
  assert_near(cell_of(report, "table6_mstc_layout", "PatchCore-10 %", "pooled")->ours.mean, 30, 1e-9);
  tr_report_destroy(report);

  for (size_t i = 0; i < 3; ++i)
    add_run(
        query,
        (made){.class_name = classes[i], .backbone = "resnet50_v1", .image_auroc = auroc[i], .train_images = i ? 4000 : 55000});
  report = report_now();
  check_report(report);
  const tr_cell *cell = cell_of(report, "table6_mstc", "PatchCore-10 %", "pooled");
  assert_null(strstr(table_of(report, "table6_mstc")->intro, "has been run"));
  assert_near(cell->published, 91.8, 1e-12);
  assert_near(cell->ours.mean, 45, 1e-9);
  assert_int_equal(cell->causes, TR_CAUSE_WEIGHTS);
  assert_near(cell_of(report, "table6_mstc", "PatchCore-10 %", "mean over scenes")->ours.mean, 37.5, 1e-9);
  tr_report_destroy(report);
}

static void low_shot(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 2; ++seed)
    for (int k = 1; k <= 5; k += 4)
      add_run(from_ablation(TR_ABLATION_LOW_SHOT, "mvtec", 0, k, 0), (made){.class_name = "bottle",
                                                                            .backbone = "wide_resnet50_2",
                                                                            .seed = seed,
                                                                            .image_auroc = 0.8 + 0.01 * k,
                                                                            .train_images = (size_t)k});
  tr_report *report = report_now();
  check_report(report);
  const tr_cell *cell = cell_of(report, "figure6", "Image AUROC", "PatchCore-25 %"); /* of one image */
  assert_near(cell->published, 84.1, 1e-12);
  assert_near(cell->published_deviation, 0.7, 1e-12);
  assert_near(cell->ours.mean, 81, 1e-9);
  assert_int_equal(cell->causes, TR_CAUSE_DATA); /* classes; few training images are the point */
  assert_null(strstr(cell->reason, "training"));
  char text[TR_CELL_TEXT_BYTES];
  assert_string_equal(tr_cell_published(cell, text), "84.1 ± 0.7");
  assert_true(figure_of(report, "figure6_mvtec_wide_resnet50_2_image")->x_log);
  tr_report_destroy(report);
}

/* An index beside exact search on the classes that both have. */
static void indexes_beside_exact(void **state) {
  (void)state;
  tr_query exact = patchcore("mvtec", 10), index = exact;
  index.setting.search = "faiss:IVF512,PQ64np";
  index.setting.nprobe = 8;
  index = tr_query_ready(index);
  static const char *const classes[] = {"bottle", "cable"};
  for (size_t i = 0; i < 2; ++i) {
    made m = {.class_name = classes[i], .backbone = "resnet50_v1", .image_auroc = 0.9};
    char *name, *line;
    tr_result result = result_of(index, &m, &name);
    result.search = (char *)index.setting.search;
    result.nprobe = 8;
    result.recall_at_1 = 0.75;
    result.index_bytes = 1 << 20;
    assert_int_equal(tr_result_to_json(&result, &line), TR_OK);
    append_text("m", line);
    free(line);
    free(name);
  }
  add_run(exact, (made){.class_name = "bottle", .backbone = "resnet50_v1", .image_auroc = 0.95});
  tr_report *report = report_now();
  check_report(report);
  static const char row[] = "`faiss:IVF512,PQ64np`, nprobe 8";
  assert_string_equal(cell_of(report, "indexes", row, "on")->text,
                      "MVTec AD, `resnet50_v1`, 1 of 15 classes (bottle), 1 seed, 10 % of the patches");
  assert_near(cell_of(report, "indexes", row, "recall@1")->ours.mean, 0.75, 1e-12);
  assert_near(cell_of(report, "indexes", row, "image AUROC")->ours.mean, 90, 1e-9);
  assert_near(cell_of(report, "indexes", row, "exact")->ours.mean, 95, 1e-9);
  /* The indexed runs do not stand for exact ones. */
  assert_near(cell_of(report, "tableS1", "bottle", "PatchCore-10 %")->ours.mean, 95, 1e-9);
  assert_int_equal(cell_of(report, "tableS1", "cable", "PatchCore-10 %")->causes, TR_CAUSE_NOT_RUN);
  tr_report_destroy(report);
}

typedef struct timed_search {
  const char *search; /* NULL: exact */
  int nprobe;
  double image_auroc, milliseconds, recall, build_seconds;
  size_t index_bytes;
} timed_search;

/* searched_by: NULL: a line of before it was kept. */
static void add_search(const timed_search *t, const char *device, const char *searched_by) {
  tr_query query = patchcore("mtd", 10);
  if (t->search) {
    query.setting.search = t->search;
    query.setting.nprobe = t->nprobe;
    query = tr_query_ready(query);
  }
  made m = {.class_name = "mtd", .backbone = "resnet50_v1", .image_auroc = t->image_auroc};
  char *name, *line;
  tr_result result = result_of(query, &m, &name);
  result.search = (char *)(t->search ? t->search : "exact");
  result.nprobe = t->nprobe;
  result.recall_at_1 = t->search ? t->recall : NAN;
  result.seconds.search_per_image = 1e-3 * t->milliseconds;
  result.seconds.index = t->build_seconds;
  result.index_bytes = t->index_bytes;
  result.bank_rows = 1000;
  result.dimension = 1024;
  result.device = (char *)device;
  result.searched_by = (char *)searched_by;
  assert_int_equal(tr_result_to_json(&result, &line), TR_OK);
  append_text("m", line);
  free(line);
  free(name);
}

/* In words and in the table: faster without a loss, smaller without a loss, and what costs too much. */
static void where_indexes_pay(void **state) {
  (void)state;
  static const timed_search searches[] = {
      {NULL, 0, 0.95, 10, 0, 0, 0},
      {"faiss:IVF64,Flat", 1, 0.9495, 4, 0.8, 3, 4200000},
      {"faiss:IVF64,Flat", 4, 0.95, 8, 0.99, 3, 4200000},
      {"faiss:IVF64,Flat", 16, 0.95, 9.5, 1, 3, 4200000}, /* hardly faster */
      {"faiss:IVF64,PQ8np", 1, 0.9493, 12, 0.5, 5, 100000},
      {"faiss:HNSW16", 0, 0.85, 2, 0.98, 1, 4300000},
      {"faiss:Flat", 0, 0.95, 50, 1, 0.1, 4096000},
  };
  for (size_t i = 0; i < sizeof searches / sizeof *searches; ++i)
    add_search(&searches[i], "cpu", NULL);
  tr_report *report = report_now();
  check_report(report);
  assert_string_equal(cell_of(report, "indexes", "`faiss:IVF64,Flat`, nprobe 1", "pays")->text, "in time");
  assert_string_equal(cell_of(report, "indexes", "`faiss:IVF64,Flat`, nprobe 4", "pays")->text, "in time");
  assert_string_equal(cell_of(report, "indexes", "`faiss:IVF64,Flat`, nprobe 16", "pays")->text, "no");
  assert_string_equal(cell_of(report, "indexes", "`faiss:IVF64,PQ8np`, nprobe 1", "pays")->text, "in memory");
  assert_string_equal(cell_of(report, "indexes", "`faiss:HNSW16`", "pays")->text, "no");
  assert_string_equal(cell_of(report, "indexes", "`faiss:Flat`", "pays")->text, "no");
  const char *text = table_of(report, "indexes")->intro;
  assert_says(text, "exact search takes 10 ms an image, with 2 threads");
  assert_says(text,
              "`IVF64,Flat` with nprobe 1 takes 4 ms, so is 2.50 times as fast, and finds 80.0 % of the nearest rows; image "
              "AUROC -0.05");
  assert_says(text, "its 3 s of building are won back after 500 images");
  assert_says(text, "In memory `IVF64,PQ8np` with nprobe 1 pays: it holds the bank in 97.7 KiB, of 3.9 MiB as floats");
  assert_says(text, "1 of these indexes loses more than 0.5 points of image AUROC; `HNSW16` loses 10.00, though it finds 98.0 %");
  assert_says(text, "(`Flat`) takes 5.0 times as long");
  assert_null(strstr(text, "on the host, to which"));
  tr_report_destroy(report);
}

/* Beside a GPU, an index that FAISS searches on the host is named. */
static void where_indexes_are_searched(void **state) {
  (void)state;
  static const timed_search searches[] = {
      {NULL, 0, 0.95, 10, 0, 0, 0},
      {"faiss:IVF64,Flat", 1, 0.95, 4, 0.8, 3, 4200000},
      {"faiss:HNSW16", 0, 0.95, 12, 0.98, 1, 4300000},
  };
  static const char *const by[] = {NULL, "ivf", "faiss"};
  for (size_t i = 0; i < sizeof searches / sizeof *searches; ++i)
    add_search(&searches[i], "cuda:0", by[i]);
  tr_report *report = report_now();
  check_report(report);
  assert_says(table_of(report, "indexes")->intro, "Searched by FAISS on the host, to which the queries are brought: `HNSW16`.");
  tr_report_destroy(report);
}

static void add_bench_line(const char *line) {
  char path[256];
  snprintf(path, sizeof path, "%s/m", folder);
  assert_int_equal(tr_make_folders(path), TR_OK);
  strcat(path, "/bench.jsonl");
  FILE *out = fopen(path, "a");
  assert_non_null(out);
  fprintf(out, "%s\n", line);
  fclose(out);
}

#define ON_P "\"device\":\"cpu\",\"processor\":\"P\",\"threads\":2"

/* The newest line of each thing; others than these two measurements are left alone, and broken ones named. */
static void measurements_have_tables(void **state) {
  (void)state;
  tr_report *report = report_now();
  check_report(report);
  assert_says(cell_of(report, "flat", "784 of 16385 x 1024", "ours, ms")->command, "bench search");
  assert_says(cell_of(report, "latency", "any", "decode, ms")->command, "bench latency");
  tr_report_destroy(report);
  static const char search[] =
      "{\"operator\":\"search\",\"shape\":\"784 of 16385 x 1024, FAISS Flat\",\"seconds_median\":%g,\"ratio\":%g,"
      "\"ratio_to\":\"%s\",\"quick\":%s," ON_P ",\"libraries\":{\"FAISS\":\"1.7\"},\"date\":\"%s\"}";
  static const struct {
    double seconds, ratio;
    const char *to, *quick, *date;
  } lines[] = {
      {0.12, 2.4, "exact search", "false", "2026-01-02T00:00:00Z"},
      {0.10, 1.0, "exact search", "false", "2026-01-01T00:00:00Z"}, /* older */
      {0.10, 1.0, "exact search", "true", "2026-01-03T00:00:00Z"},
      {0.10, 1.0, "", "false", "2026-01-03T00:00:00Z"},
  };
  for (size_t i = 0; i < sizeof lines / sizeof *lines; ++i) {
    char line[512];
    snprintf(line, sizeof line, search, lines[i].seconds, lines[i].ratio, lines[i].to, lines[i].quick, lines[i].date);
    add_bench_line(line);
  }
  add_bench_line(
      "{\"operator\":\"latency\",\"run\":\"r\",\"images\":9,\"warm_up\":3,\"samples\":20,\"seconds_p50\":{\"decode\":0.0123,"
      "\"search\":0.5},\"seconds_p95\":{\"all\":0.6},\"images_per_second\":3.21,\"clock\":\"CUDA events\","
      "\"processor_mhz\":1000,\"device_mhz\":1980," ON_P ",\"date\":\"2026-01-02T00:00:00Z\"}");
  add_bench_line("{\"operator\":\"conv\"}");
  add_bench_line("{torn");
  warnings = 0;
  report = report_now();
  assert_int_equal(warnings, 1);
  check_report(report);
  assert_int_equal(table_of(report, "flat")->row_count, 1);
  assert_string_equal(cell_of(report, "flat", "784 of 16385 x 1024", "ours, ms")->text, "50.0");
  assert_string_equal(cell_of(report, "flat", "784 of 16385 x 1024", "times as fast")->text, "2.40");
  assert_string_equal(cell_of(report, "flat", "784 of 16385 x 1024", "at least 2")->text, "yes");
  assert_string_equal(cell_of(report, "latency", "r", "decode, ms")->text, "12.3");
  assert_string_equal(cell_of(report, "latency", "r", "search")->text, "500");
  assert_string_equal(cell_of(report, "latency", "r", "backbone")->text, "unknown");
  assert_string_equal(cell_of(report, "latency", "r", "clock")->text, "CUDA events");
  assert_string_equal(cell_of(report, "latency", "r", "MHz")->text, "1000, device up to 1980");
  tr_report_destroy(report);
}

/* ---- the experiments fill the report ---- */

static void write_setting(FILE *out, const tr_published *published, const tr_setting *setting, const char *class_name) {
  char *name = tr_setting_run_name(setting), *line;
  assert_non_null(name);
  size_t train, test;
  tr_published_counts(published, setting->dataset, class_name, &train, &test);
  if (tr_dataset_has_frames(setting->dataset)) { /* whose numbers are not published */
    train = 55000;
    test = 8000;
  }
  tr_result result = {.experiment = "t",
                      .run = name,
                      .dataset = (char *)setting->dataset,
                      .class_name = (char *)class_name,
                      .method = (char *)setting->method,
                      .backbone = (char *)setting->backbone,
                      .weights_sha256 = "0123456789abcdef",
                      .image_auroc = 0.9,
                      .pixel_auroc = 0.9,
                      .pixel_auroc_anomalous = 0.9,
                      .pro = 0.9,
                      .pro_anomalous_224 = 0.9,
                      .misclassified = 1,
                      .train_images = setting->train_images ? (size_t)setting->train_images : train,
                      .images = test,
                      .low_shot = setting->train_images,
                      .seed = setting->seed,
                      .percent = setting->percent,
                      .bank_rows = 1000,
                      .search = (char *)setting->search,
                      .nprobe = setting->nprobe,
                      .ef_search = setting->ef_search,
                      .recall_at_1 = 0.9,
                      .seconds = {.score_per_image = 0.05, .search_per_image = 0.01},
                      .device = "cpu",
                      .processor = "P",
                      .crop = setting->image.crop};
  assert_int_equal(tr_result_to_json(&result, &line), TR_OK);
  fprintf(out, "%s\n", line);
  free(line);
  free(name);
}

/* dataset: in the place of the file's, as --dataset; NULL: the file's own. */
static void write_experiment(const char *name, const char *dataset) {
  char path[512];
  snprintf(path, sizeof path, "%s/../../experiments/%s.yaml", TR_GOLDEN_DIR, name);
  tr_experiments experiments;
  tr_replacements replacements = {0};
  if (dataset)
    assert_int_equal(tr_replace_data_set(&replacements, dataset), TR_OK);
  if (tr_experiments_read(path, &replacements, &experiments) != TR_OK)
    fail_msg("%s", tr_last_error());
  tr_replacements_free(&replacements);
  tr_published published;
  assert_int_equal(tr_published_read(folder, NULL, &published), TR_OK);
  snprintf(path, sizeof path, "%s/m", folder);
  assert_int_equal(tr_make_folders(path), TR_OK);
  snprintf(path, sizeof path, "%s/m/%s%s.jsonl", folder, name, dataset ? dataset : "");
  FILE *out = fopen(path, "w");
  assert_non_null(out);
  for (size_t i = 0; i < experiments.count; ++i)
    for (size_t j = 0; j < experiments.items[i].setting_count; ++j) {
      const tr_setting *setting = &experiments.items[i].settings[j];
      bool mvtec = strcmp(setting->dataset, "mvtec") == 0, mstc = tr_dataset_has_frames(setting->dataset);
      for (size_t c = 0; c < (mvtec ? TR_PAPER_CLASSES : mstc ? 2 : 1); ++c)
        write_setting(out, &published, setting,
                      mvtec   ? tr_paper_classes[c]
                      : !mstc ? setting->dataset
                      : c     ? "scene_01"
                              : "pooled");
    }
  fclose(out);
  tr_published_free(&published);
  tr_experiments_free(&experiments);
}

static bool is_one_of(const char *text, const char *const *names, size_t count) {
  for (size_t i = 0; i < count; ++i)
    if (strcmp(text, names[i]) == 0)
      return true;
  return false;
}

/* What a command of the report promises to run is what the report then finds: no cell says "not run" any more, but where other
 * experiments are named. */
static void experiments_fill_the_report(void **state) {
  (void)state;
  static const char *const elsewhere[] = {"authors_code", "authors_code_times", "table6_mtd", "table5_mtd", "flat", "latency"};
  write_experiment("paper", NULL);
  write_experiment("mstc", NULL);
  write_experiment("mstc", "synthetic_mstc");
  write_experiment("table5", NULL);
  write_experiment("ann", NULL);
  warnings = 0;
  tr_report *report = report_now();
  assert_int_equal(warnings, 0);
  check_report(report);
  size_t numbers = 0;
  for (const tr_section *s = tr_report_sections(report); s; s = s->next) {
    for (const tr_table *t = s->tables; t; t = t->next)
      for (const tr_row *row = t->rows; row; row = row->next)
        for (const tr_cell *cell = row->cells; cell; cell = cell->next) {
          numbers += isfinite(cell->ours.mean);
          if (cell->causes & TR_CAUSE_NOT_RUN && cell->command &&
              !is_one_of(t->id, elsewhere, sizeof elsewhere / sizeof *elsewhere))
            fail_msg("table %s, row %s: %s", t->id, row->cells->text, cell->reason);
        }
    for (const tr_figure *f = s->figures; f; f = f->next)
      if (f->causes & TR_CAUSE_NOT_RUN)
        fail_msg("figure %s: %s", f->id, f->reason);
  }
  assert_true(numbers > 1000);
  const tr_cell *cell = cell_of(report, "table4", "the same, normalised on nominal images", "Image AUROC");
  assert_near(cell->ours.mean, 90, 1e-9);
  cell = cell_of(report, "findings", "Re-weighting (Eq. 7) is above the plain maximum (section 3.3)", "here");
  assert_string_equal(cell->text, "tie");
  tr_report_destroy(report);
}

static char *file_text(const char *name) {
  char path[256], *text;
  size_t bytes;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  assert_int_equal(tr_file_read(path, &text, &bytes), TR_OK);
  return text;
}

static void tables_as_files(void **state) {
  (void)state;
  add_run(patchcore("mvtec", 10),
          (made){.class_name = "bottle", .backbone = "resnet50_v1", .image_auroc = 0.97, .train_images = 120});
  tr_report *report = report_now();
  char path[256];
  snprintf(path, sizeof path, "%s/tables", folder);
  assert_int_equal(tr_report_write_tables(report, path), TR_OK);
  snprintf(path, sizeof path, "%s/tables/tableS1.csv", folder);
  tr_csv csv;
  assert_int_equal(tr_csv_read(path, &csv), TR_OK);
  const tr_table *table = table_of(report, "tableS1");
  assert_int_equal(csv.rows, table->row_count * table->column_count);
  size_t found = 0;
  for (size_t i = 0; i < csv.rows; ++i)
    if (strcmp(tr_csv_cell(&csv, i, "row"), "bottle") == 0 && strcmp(tr_csv_cell(&csv, i, "column"), "PatchCore-10 %") == 0) {
      assert_string_equal(tr_csv_cell(&csv, i, "unit"), "percent");
      assert_string_equal(tr_csv_cell(&csv, i, "published"), "100");
      assert_string_equal(tr_csv_cell(&csv, i, "ours"), "97");
      assert_string_equal(tr_csv_cell(&csv, i, "difference"), "-3");
      assert_string_equal(tr_csv_cell(&csv, i, "seeds"), "1");
      assert_says(tr_csv_cell(&csv, i, "reason"), "120 of 209");
      assert_says(tr_csv_cell(&csv, i, "source"), "anomasota_pc");
      ++found;
    }
  assert_int_equal(found, 1);
  tr_csv_free(&csv);
  char *tex = file_text("tables/tableS1.tex");
  assert_says(tex, "metal\\_nut & ");
  assert_says(tex, "97.00 (-3.00)\\textsuperscript{");
  assert_says(tex, "\\texttt{resnet50\\_v1} in place of \\texttt{wide\\_resnet50\\_2}");
  /* Nothing that LaTeX would read as its own: a % only where it begins the first line or is escaped. */
  for (size_t i = 1; tex[i]; ++i)
    assert_true(tex[i] != '%' || tex[i - 1] == '\\');
  free(tex);
  tr_report_destroy(report);
}

static void numbers_as_text(void **state) {
  (void)state;
  char text[TR_CELL_TEXT_BYTES];
  tr_cell cell = tr_cell_new(TR_UNIT_SECONDS);
  assert_string_equal(tr_cell_published(&cell, text), "–");
  assert_string_equal(tr_cell_difference(&cell, text), "");
  cell.published = 0.22;
  assert_string_equal(tr_cell_published(&cell, text), "0.22");
  cell.ours = (tr_statistic){0.04854, 0, 1};
  assert_string_equal(tr_cell_ours(&cell, text), "0.049");
  cell.ours = (tr_statistic){123.4, 0, 1};
  assert_string_equal(tr_cell_ours(&cell, text), "123");
  cell = tr_cell_new(TR_UNIT_COUNT);
  cell.ours = (tr_statistic){42, 0, 1};
  assert_string_equal(tr_cell_ours(&cell, text), "42");
  cell.ours = (tr_statistic){42.25, 1.5, 4};
  assert_string_equal(tr_cell_ours(&cell, text), "42.2 ± 1.5");
  cell = tr_cell_new(TR_UNIT_BYTES);
  cell.ours = (tr_statistic){1 << 30, 0, 1};
  assert_string_equal(tr_cell_ours(&cell, text), "1.0 GiB");
  cell = tr_cell_new(TR_UNIT_PERCENT);
  cell.causes = TR_CAUSE_NOT_RUN;
  assert_string_equal(tr_cell_ours(&cell, text), "not run");
}

static void every_backbone_has_its_place(void **state) {
  (void)state;
  size_t count, known;
  const char *const *ours = tr_report_backbones(&count), *const *all = tr_backbone_architectures(&known);
  assert_int_equal(count, known);
  for (size_t i = 0; i < known; ++i) {
    size_t at = 0;
    while (at < count && strcmp(ours[at], all[i]) != 0)
      ++at;
    if (at == count)
      fail_msg("%s is not in tr_report_backbones()", all[i]);
  }
}

#define ON_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
  const struct CMUnitTest tests[] = {
      ON_A_FOLDER(nothing_at_hand),
      ON_A_FOLDER(published_files_missing),
      ON_A_FOLDER(reduced_class_with_other_weights),
      ON_A_FOLDER(own_backbone_before_others),
      ON_A_FOLDER(all_classes_give_a_difference),
      ON_A_FOLDER(several_machines),
      ON_A_FOLDER(old_lines),
      ON_A_FOLDER(findings_without_scores),
      ON_A_FOLDER(findings_that_tie),
      ON_A_FOLDER(findings_with_scores),
      ON_A_FOLDER(methods_compared),
      ON_A_FOLDER(scenes_pooled_and_averaged),
      ON_A_FOLDER(low_shot),
      ON_A_FOLDER(indexes_beside_exact),
      ON_A_FOLDER(where_indexes_pay),
      ON_A_FOLDER(where_indexes_are_searched),
      ON_A_FOLDER(measurements_have_tables),
      ON_A_FOLDER(experiments_fill_the_report),
      ON_A_FOLDER(tables_as_files),
      cmocka_unit_test(numbers_as_text),
      cmocka_unit_test(every_backbone_has_its_place),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
