/* Table 6: magnetic tile defects, and ShanghaiTech Campus reduced to every fifth frame. */
#include "host/report/sections.h"
#include <math.h>
#include <string.h>

typedef struct row {
  const char *title, *published, *method; /* method NULL: not part of this program */
  double percent;
} row;

static void table(tr_evidence *evidence, const row *rows, size_t count, const char *class_name, const tr_metric *metric,
                  tr_query (*query_of)(const row *r)) {
  for (size_t i = 0; i < count; ++i) {
    tr_published_value value =
        tr_published_find(&evidence->published, TR_TABLE_6, rows[i].published, class_name, metric->published);
    tr_cell cell;
    if (rows[i].method) {
      tr_query query = query_of(&rows[i]);
      cell = tr_cell_of_mean(evidence, &query, metric, value, (tr_per_class){TR_TABLE_6, NULL});
    } else {
      cell = tr_cell_out_of_scope(evidence, metric->unit, value);
    }
    tr_report_row(evidence->report);
    tr_report_label(evidence->report, rows[i].title);
    tr_report_cell(evidence->report, &cell);
  }
}

static tr_query mtd_query(const row *r) {
  tr_query query = tr_query_new("mtd", r->method, strcmp(r->method, "patchcore") == 0 ? "table6" : r->method);
  return r->percent ? tr_query_percent(query, r->percent) : query;
}

/* 256 x 256 without a crop, PatchCore on levels 3+4 (protocol of the paper); SPADE with K = 1 and PaDiM with ResNet18, as their papers
 * have them on ShanghaiTech. */
static tr_query mstc_query(const row *r) {
  tr_query query = tr_query_new("mstc", r->method, "mstc");
  query.setting.image = (tr_image_spec){.resize = 256, .crop = 0, .squash = true};
  if (strcmp(r->method, "patchcore") == 0)
    tr_query_levels(&query, "34");
  if (strcmp(r->method, "spade") == 0)
    query.setting.neighbours = 1;
  if (strcmp(r->method, "padim") == 0)
    query = tr_query_backbone(query, "resnet18", TR_SUBSTITUTE_ANY);
  return r->percent ? tr_query_percent(query, r->percent) : tr_query_ready(query);
}

void tr_section_mtd_mstc(tr_evidence *evidence) {
  static const row mtd[] = {
      {"GANomaly", "GANomaly", NULL, 0},
      {"1-NN", "1-NN", NULL, 0},
      {"DifferNet", "DifferNet", NULL, 0},
      {"PatchCore-10 %", "PatchCore-10%", "patchcore", 10},
      {"PatchCore-1 %", "PatchCore-1%", "patchcore", 1},
      {"SPADE", "", "spade", 0},
      {"PaDiM", "", "padim", 0},
  };
  static const row mstc[] = {
      {"CAVGA-RU", "CAVGA-RU", NULL, 0},
      {"SPADE", "SPADE", "spade", 0},
      {"PaDiM (ResNet18, 100 channels)", "PaDiM", "padim", 0},
      {"PatchCore-10 %", "PatchCore-10%", "patchcore", 10},
  };
  tr_report *report = evidence->report;
  tr_report_section(report, "mtd_mstc", "Table 6: MTD and mSTC", "");
  tr_report_table(report, "table6_mtd", "MTD",
                  "Image AUROC in percent; DifferNet's split of the public set: 761 of 952 good images to train on.");
  tr_report_column(report, "method", false);
  tr_report_column(report, "image AUROC", true);
  table(evidence, mtd, sizeof mtd / sizeof *mtd, "all", &tr_metric_image_auroc, mtd_query);
  tr_report_table(report, "table6_mstc", "mSTC",
                  "Pixel AUROC in percent, mean over scenes (whether the paper pools or averages them is not stated).");
  tr_report_column(report, "method", false);
  tr_report_column(report, "pixel AUROC", true);
  table(evidence, mstc, sizeof mstc / sizeof *mstc, "mean", &tr_metric_pixel_auroc, mstc_query);
}
