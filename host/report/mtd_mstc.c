/* Table 6: magnetic tile defects, and ShanghaiTech Campus reduced to every fifth frame. */
#include "host/report/sections.h"
#include <math.h>
#include <string.h>

typedef struct row {
  const char *title, *published, *method; /* method NULL: not part of this program */
  double percent;
  int neighbours; /* spade; 0: its paper's */
} row;

/* mSTC's class of all scenes together; the others are its scenes. */
static const char pooled[] = "pooled";

static tr_published_value published_of(tr_evidence *evidence, const row *r, const char *class_name, const tr_metric *metric) {
  return tr_published_find(&evidence->published, TR_TABLE_6, r->published, class_name, metric->published);
}

/* ---- MTD ---- */

static tr_query mtd_query(const row *r) {
  tr_query query = tr_query_new("mtd", r->method, strcmp(r->method, "patchcore") == 0 ? "table6" : r->method);
  if (r->neighbours)
    query.setting.neighbours = r->neighbours;
  return r->percent ? tr_query_percent(query, r->percent) : tr_query_ready(query);
}

static void mtd_row(tr_evidence *evidence, const row *r) {
  tr_published_value published = published_of(evidence, r, "all", &tr_metric_image_auroc);
  tr_cell cell;
  if (r->method) {
    tr_query query = mtd_query(r);
    cell = tr_cell_of_mean(evidence, &query, &tr_metric_image_auroc, published, (tr_per_class){TR_TABLE_6, NULL});
  } else {
    cell = tr_cell_out_of_scope(evidence, TR_UNIT_PERCENT, published);
  }
  tr_report_row(evidence->report);
  tr_report_label(evidence->report, r->title);
  tr_report_cell(evidence->report, &cell);
}

/* ---- mSTC ---- */

/* 256 x 256 without a crop, PatchCore on levels 3+4 (protocol of the paper); SPADE with K = 1 and PaDiM with ResNet18, as their papers
 * have them on ShanghaiTech. */
static tr_query mstc_query(const row *r) {
  tr_query query = tr_query_new("mstc", r->method, "mstc");
  query.setting.image = (tr_image_spec){.resize = 256, .crop = 0, .squash = true};
  if (strcmp(r->method, "patchcore") == 0)
    tr_query_levels(&query, "34");
  if (r->neighbours)
    query.setting.neighbours = r->neighbours;
  if (strcmp(r->method, "padim") == 0)
    query = tr_query_backbone(query, "resnet18", TR_SUBSTITUTE_ANY);
  return r->percent ? tr_query_percent(query, r->percent) : tr_query_ready(query);
}

/* The paper prints one number and does not say which of the two it is. */
static void mstc_row(tr_evidence *evidence, const row *r) {
  tr_report *report = evidence->report;
  tr_published_value published = published_of(evidence, r, "mean", &tr_metric_pixel_auroc);
  tr_report_row(report);
  tr_report_label(report, r->title);
  if (!r->method) {
    tr_cell cell = tr_cell_out_of_scope(evidence, TR_UNIT_PERCENT, published);
    tr_report_cell(report, &cell);
    tr_report_cell(report, &cell);
    return;
  }
  tr_query query = mstc_query(r);
  tr_cell cell = tr_cell_of_class(evidence, &query, pooled, &tr_metric_pixel_auroc, published);
  tr_report_cell(report, &cell);
  tr_selection all, scenes;
  tr_select(evidence, &query, NULL, &all);
  scenes = (tr_selection){.groups = tr_report_alloc(report, all.count, sizeof(tr_group *))};
  for (size_t i = 0; scenes.groups && i < all.count; ++i)
    if (strcmp(all.groups[i]->runs[0]->class_name, pooled) != 0)
      scenes.groups[scenes.count++] = all.groups[i];
  cell = tr_cell_of_selection(evidence, &query, &scenes, &tr_metric_pixel_auroc, published, (tr_per_class){TR_TABLE_6, NULL});
  tr_report_cell(report, &cell);
}

void tr_section_mtd_mstc(tr_evidence *evidence) {
  static const row mtd[] = {
      {"GANomaly", "GANomaly", NULL, 0, 0},
      {"1-NN", "1-NN", NULL, 0, 0},
      {"DifferNet", "DifferNet", NULL, 0, 0},
      {"PatchCore-10 %", "PatchCore-10%", "patchcore", 10, 0},
      {"PatchCore-1 %", "PatchCore-1%", "patchcore", 1, 0},
      {"SPADE", "", "spade", 0, 0},
      {"SPADE, K = 5", "", "spade", 0, 5},
      {"PaDiM", "", "padim", 0, 0},
  };
  static const row mstc[] = {
      {"CAVGA-RU", "CAVGA-RU", NULL, 0, 0},
      {"SPADE", "SPADE", "spade", 0, 1},
      {"PaDiM (ResNet18, 100 channels)", "PaDiM", "padim", 0, 0},
      {"PatchCore-10 %", "PatchCore-10%", "patchcore", 10, 0},
  };
  tr_report *report = evidence->report;
  tr_report_section(report, "mtd_mstc", "Table 6: MTD and mSTC", "");
  tr_report_table(report, "table6_mtd", "MTD",
                  "Image AUROC in percent; DifferNet's split of the public set: 761 of 952 good images to train on.");
  tr_report_column(report, "method", false);
  tr_report_column(report, "image AUROC", true);
  for (size_t i = 0; i < sizeof mtd / sizeof *mtd; ++i)
    mtd_row(evidence, &mtd[i]);
  tr_report_table(report, "table6_mstc", "mSTC",
                  "Pixel AUROC in percent: of all scenes pooled, and the mean over scenes. The paper prints one number without "
                  "saying which.");
  tr_report_column(report, "method", false);
  tr_report_column(report, "pooled", true);
  tr_report_column(report, "mean over scenes", true);
  for (size_t i = 0; i < sizeof mstc / sizeof *mstc; ++i)
    mstc_row(evidence, &mstc[i]);
}
