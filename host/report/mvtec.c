/* MVTec AD: tables 1 to 3 (means) and S1 to S3 (per class), for PatchCore and the methods beside it. */
#include "host/report/sections.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char experiment[] = "table1";

/* A row of the tables of means, a column of those per class. */
typedef struct method {
  const char *title;
  const char *published, *per_class; /* names in tables 1 to 3, and S1 to S3 */
  const char *name;                  /* ours; NULL: not part of this program */
  double percent;                    /* patchcore */
} method;
static const method methods[] = {
    {"SPADE", "SPADE", "SPADE", "spade", 0},
    {"PatchSVDD", "PatchSVDD", NULL, NULL, 0},
    {"DifferNet", "DifferNet", NULL, NULL, 0},
    {"PaDiM", "PaDiM", "PaDiM-WR50-Rd550", "padim", 0},
    {"Mah.AD", "Mah.AD", NULL, NULL, 0},
    {"PaDiM* (a backbone chosen for the data)", "PaDiM* (problem-specific backbone)", NULL, NULL, 0},
    {"PatchCore-25 %", "PatchCore-25%", "PatchCore-25%", "patchcore", 25},
    {"PatchCore-10 %", "PatchCore-10%", "PatchCore-10%", "patchcore", 10},
    {"PatchCore-1 %", "PatchCore-1%", "PatchCore-1%", "patchcore", 1},
};
enum { METHODS = sizeof methods / sizeof *methods };

typedef struct metric_table {
  tr_published_file means, classes;
  const char *id, *classes_id, *number, *classes_number;
  const tr_metric *metric;
} metric_table;
static const metric_table tables[] = {
    {TR_TABLE_1, TR_TABLE_S1, "table1", "tableS1", "Table 1", "Table S1", &tr_metric_image_auroc},
    {TR_TABLE_2, TR_TABLE_S2, "table2", "tableS2", "Table 2", "Table S2", &tr_metric_pixel_auroc},
    {TR_TABLE_3, TR_TABLE_S3, "table3", "tableS3", "Table 3", "Table S3", &tr_metric_pro},
};
enum { TABLES = sizeof tables / sizeof *tables };

static tr_query query_of(const method *m) {
  tr_query query = tr_query_new("mvtec", m->name, experiment);
  return strcmp(m->name, "patchcore") == 0 ? tr_query_percent(query, m->percent) : query;
}

static tr_query spade_of_5(void) {
  tr_query query = tr_query_new("mvtec", "spade", experiment);
  query.setting.neighbours = 5;
  return tr_query_ready(query);
}

/* ---- means ---- */

static void mean_cells(tr_evidence *evidence, const metric_table *t, const tr_query *query, tr_published_value published,
                       tr_per_class per_class, tr_published_value misclassified) {
  tr_cell cell = query ? tr_cell_of_mean(evidence, query, t->metric, published, per_class)
                       : tr_cell_out_of_scope(evidence, t->metric->unit, published);
  tr_report_cell(evidence->report, &cell);
  if (t->means != TR_TABLE_1)
    return;
  cell = query ? tr_cell_of_mean(evidence, query, &tr_metric_misclassified, misclassified, (tr_per_class){TR_TABLE_S1, NULL})
               : tr_cell_out_of_scope(evidence, TR_UNIT_COUNT, misclassified);
  tr_report_cell(evidence->report, &cell);
}

static void method_row(tr_evidence *evidence, const metric_table *t, const method *m) {
  tr_published_value published = tr_published_find(&evidence->published, t->means, m->published, "mean", t->metric->published);
  tr_published_value misclassified =
      tr_published_find(&evidence->published, t->means, m->published, "all", tr_metric_misclassified.published);
  tr_query query = m->name ? query_of(m) : (tr_query){0};
  if (!m->name && !isfinite(published.value))
    return; /* neither there nor here */
  tr_report_row(evidence->report);
  tr_report_label(evidence->report, m->title);
  mean_cells(evidence, t, m->name ? &query : NULL, published, (tr_per_class){t->classes, m->per_class}, misclassified);
}

/* What others measured of a method: the paper's own runs (table 5), or a later implementation. */
static void other_row(tr_evidence *evidence, const metric_table *t, const char *title, tr_published_file file,
                      const char *published, tr_query query) {
  tr_report_row(evidence->report);
  tr_report_label(evidence->report, title);
  mean_cells(evidence, t, &query, tr_published_find(&evidence->published, file, published, "mean", t->metric->published),
             (tr_per_class){t->classes, NULL}, tr_not_published());
}

static void means_table(tr_evidence *evidence, const metric_table *t) {
  tr_report *report = evidence->report;
  bool first = t->means == TR_TABLE_1;
  tr_report_table(report, t->id, tr_report_text(report, "%s: %s, mean over the 15 classes", t->number, t->metric->title),
                  first ? "In percent; misclassified images of 1725 at the F1-optimal threshold of each class." : "In percent.");
  tr_report_column(report, "method", false);
  tr_report_column(report, t->metric->title, true);
  if (first)
    tr_report_column(report, tr_metric_misclassified.title, true);
  for (size_t i = 0; i < METHODS; ++i)
    method_row(evidence, t, &methods[i]);
  other_row(evidence, t, "SPADE as re-run for table 5", TR_TABLE_5, "SPADE (re-implemented, WRN50)",
            tr_query_new("mvtec", "spade", experiment));
  other_row(evidence, t, "SPADE with K = 5 (SPADE-fast)", TR_REIMPLEMENTATIONS, "SPADE-fast K=5", spade_of_5());
  other_row(evidence, t, "PaDiM as re-run for table 5", TR_TABLE_5, "PaDiM (re-implemented, WRN50)",
            tr_query_new("mvtec", "padim", experiment));
}

/* ---- errors ---- */

/* Of the classes that were run, those that every image of every seed was told right in. */
static tr_cell solved_cell(tr_evidence *evidence, const tr_query *query) {
  tr_published_value published =
      tr_published_find(&evidence->published, TR_PUBLISHED_TEXT, "PatchCore-25%", "all", "classes_solved_100_image_AUROC");
  tr_cell cell = tr_cell_of_mean(evidence, query, &tr_metric_misclassified, published, (tr_per_class){TR_TABLE_S1, NULL});
  tr_selection selection;
  tr_select(evidence, query, NULL, &selection);
  size_t solved = 0;
  for (size_t i = 0; i < selection.count; ++i)
    solved += tr_group_statistic(selection.groups[i], &tr_metric_image_auroc).mean == 100;
  if (selection.count)
    cell.ours = (tr_statistic){(double)solved, 0, 1};
  cell.difference = selection.count == TR_PAPER_CLASSES ? (double)solved - published.value : NAN;
  return cell;
}

static void errors_table(tr_evidence *evidence) {
  static const tr_metric *const metrics[] = {&tr_metric_false_positives, &tr_metric_false_negatives};
  tr_report *report = evidence->report;
  tr_query query = tr_query_percent(tr_query_new("mvtec", "patchcore", experiment), 25);
  tr_report_table(
      report, "errors", "Supplement C.4: errors of PatchCore-25 %",
      "Images of 1725 at the F1-optimal threshold of each class; classes whose image AUROC is 100 (with every seed).");
  tr_report_column(report, "count", false);
  tr_report_column(report, "all classes", true);
  for (size_t m = 0; m < 2; ++m) {
    tr_published_value published =
        tr_published_find(&evidence->published, TR_PUBLISHED_TEXT, "PatchCore-25%", "all", metrics[m]->published);
    tr_cell cell = tr_cell_of_mean(evidence, &query, metrics[m], published, (tr_per_class){TR_TABLE_S1, NULL});
    tr_report_row(report);
    tr_report_label(report, metrics[m]->title);
    tr_report_cell(report, &cell);
  }
  tr_cell cell = solved_cell(evidence, &query);
  tr_report_row(report);
  tr_report_label(report, "Classes solved");
  tr_report_cell(report, &cell);
}

/* ---- per class ---- */

static void classes_table(tr_evidence *evidence, const metric_table *t) {
  tr_report *report = evidence->report;
  tr_report_table(report, t->classes_id, tr_report_text(report, "%s: %s of each class", t->classes_number, t->metric->title),
                  t->classes == TR_TABLE_S1 ? "" : "SPADE's and PaDiM's columns were read in their own papers.");
  tr_report_column(report, "class", false);
  for (size_t m = 0; m < METHODS; ++m)
    if (methods[m].name)
      tr_report_column(report, methods[m].title, true);
  for (size_t i = 0; i < TR_PAPER_CLASSES; ++i) {
    tr_report_row(report);
    tr_report_label(report, tr_paper_classes[i]);
    for (size_t m = 0; m < METHODS; ++m) {
      if (!methods[m].name)
        continue;
      tr_query query = query_of(&methods[m]);
      tr_published_value published =
          tr_published_find(&evidence->published, t->classes, methods[m].per_class, tr_paper_classes[i], t->metric->published);
      tr_cell cell = tr_cell_of_class(evidence, &query, tr_paper_classes[i], t->metric, published);
      tr_report_cell(report, &cell);
    }
  }
}

void tr_section_mvtec(tr_evidence *evidence) {
  tr_report_section(
      evidence->report, "mvtec", "Tables 1, 2, 3 and S1 to S3: MVTec AD",
      "SPADE and PaDiM stand in tables 1 to 3 as their own papers report them; what the PatchCore paper measured of them on\n"
      "WideResNet50 (table 5) has rows of its own, and so has SPADE with K = 5, which later implementations need for the image\n"
      "AUROC that its paper states for K = 50 (they get 80 to 83 with 50). The paper is not of one piece either: table 1 has "
      "99.0 for\n"
      "PatchCore-10 %, table S6 98.9, and the 15 classes of table S1 average 98.93.");
  for (size_t i = 0; i < TABLES; ++i)
    means_table(evidence, &tables[i]);
  errors_table(evidence);
  for (size_t i = 0; i < TABLES; ++i)
    classes_table(evidence, &tables[i]);
}
