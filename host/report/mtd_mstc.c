/* Table 6: magnetic tile defects, and ShanghaiTech Campus reduced to every fifth frame. */
#include "datasets/dataset.h"
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
static tr_query mstc_query(const row *r, const char *dataset) {
  tr_query query = tr_query_new(dataset, r->method, "mstc");
  query.setting.image = (tr_image_spec){.resize = 256, .crop = 0, .squash = true};
  if (strcmp(r->method, "patchcore") == 0)
    tr_query_levels(&query, "34");
  if (r->neighbours)
    query.setting.neighbours = r->neighbours;
  if (strcmp(r->method, "padim") == 0)
    query = tr_query_backbone(query, "resnet18", TR_SUBSTITUTE_ANY);
  return r->percent ? tr_query_percent(query, r->percent) : tr_query_ready(query);
}

/* ShanghaiTech Campus has more than 270,000 training frames (Luo et al., ICCV 2017). A set in its layout with less than half as many is
 * another one; the rest leaves room for scenes that are left out. */
enum { CAMPUS_FRAMES = 270000 };

static const tr_group *pooled_of(const tr_selection *all) {
  for (size_t i = 0; i < all->count; ++i)
    if (strcmp(all->groups[i]->runs[0]->class_name, pooled) == 0)
      return all->groups[i];
  return NULL;
}

static bool is_campus(const tr_selection *all) {
  const tr_group *group = pooled_of(all);
  if (!group || strcmp(group->runs[0]->dataset, "mstc") != 0)
    return false;
  const tr_result *run = group->runs[0];
  size_t step = run->frame_step ? (size_t)run->frame_step : TR_MSTC_STEP;
  return run->train_images * step >= CAMPUS_FRAMES / 2;
}

/* What was run of a row: the scenes together, and each. */
typedef struct mstc_runs {
  tr_query query;
  tr_selection pooled, scenes;
  bool any, campus;
} mstc_runs;

static mstc_runs mstc_runs_of(tr_evidence *evidence, const row *r, const char *dataset) {
  mstc_runs found = {.query = mstc_query(r, dataset)};
  tr_selection all;
  tr_select(evidence, &found.query, NULL, &all);
  found.any = all.count;
  found.campus = is_campus(&all);
  found.pooled.groups = tr_report_alloc(evidence->report, all.count, sizeof(tr_group *));
  found.scenes.groups = tr_report_alloc(evidence->report, all.count, sizeof(tr_group *));
  for (size_t i = 0; found.pooled.groups && found.scenes.groups && i < all.count; ++i) {
    bool together = strcmp(all.groups[i]->runs[0]->class_name, pooled) == 0;
    tr_selection *to = together ? &found.pooled : &found.scenes;
    to->groups[to->count++] = all.groups[i];
  }
  return found;
}

static bool any_campus(tr_evidence *evidence, const row *rows, size_t count) {
  bool any = false;
  for (size_t i = 0; i < count; ++i)
    any = any || (rows[i].method && mstc_runs_of(evidence, &rows[i], "mstc").campus);
  return any;
}

/* The paper prints one number and does not say which of the two it is. */
static void mstc_row(tr_evidence *evidence, const row *r) {
  tr_report *report = evidence->report;
  static const tr_selection none = {0};
  tr_published_value published = published_of(evidence, r, "mean", &tr_metric_pixel_auroc);
  tr_report_row(report);
  tr_report_label(report, r->title);
  if (!r->method) {
    tr_cell cell = tr_cell_out_of_scope(evidence, TR_UNIT_PERCENT, published);
    tr_report_cell(report, &cell);
    tr_report_cell(report, &cell);
    return;
  }
  mstc_runs found = mstc_runs_of(evidence, r, "mstc");
  const tr_selection *shown[] = {found.campus ? &found.pooled : &none, found.campus ? &found.scenes : &none};
  for (size_t i = 0; i < sizeof shown / sizeof *shown; ++i) {
    tr_cell cell = tr_cell_of_selection(evidence, &found.query, shown[i], &tr_metric_pixel_auroc, published,
                                        (tr_per_class){TR_TABLE_6, NULL});
    tr_report_cell(report, &cell);
  }
}

/* ---- sets that only have mSTC's layout ---- */

#define DRAWN     "synthetic_mstc" /* by the program */
#define RUN_DRAWN "totalrecall run experiments/mstc.yaml --dataset " DRAWN " --weights DIR"

static void ours_cell(tr_evidence *evidence, const mstc_runs *found, const tr_selection *selection) {
  tr_cell cell = tr_cell_of_ours(selection, &tr_metric_pixel_auroc, "Not run on this set.");
  if (!found->any) {
    cell.reason = tr_missing_reason(evidence, &found->query);
    cell.command = RUN_DRAWN;
  }
  tr_report_cell(evidence->report, &cell);
}

static void layout_row(tr_evidence *evidence, const char *title, const mstc_runs *found) {
  tr_report *report = evidence->report;
  const tr_selection *any = found->pooled.count ? &found->pooled : &found->scenes;
  const tr_result *run = any->count ? any->groups[0]->runs[0] : NULL;
  tr_report_row(report);
  tr_report_label(report, title);
  tr_report_label(report, run ? run->backbone : "not run");
  ours_cell(evidence, found, &found->pooled);
  ours_cell(evidence, found, &found->scenes);
  tr_report_label(report, run ? tr_report_text(report, "%zu", found->scenes.count) : "not run");
  tr_report_label(report, run ? tr_report_text(report, "%zu", run->train_images) : "not run");
  tr_report_label(report, run ? tr_report_text(report, "%zu", run->images) : "not run");
}

static void layout_table(tr_evidence *evidence, const row *rows, size_t count) {
  static const char *const columns[] = {"method", "backbone",        "pooled",     "mean over scenes",
                                        "scenes", "training frames", "test frames"};
  tr_report_table(
      evidence->report, "table6_mstc_layout", "Sets in mSTC's layout that are not mSTC",
      "Pixel AUROC in percent. They show that the protocol runs from end to end, from videos and frames to this page, and say\n"
      "nothing about the published numbers. `" DRAWN "` is drawn by the program: "
      "`" RUN_DRAWN "`\n"
      "draws and runs it. Another set, one of data set `mstc`, stands here where it has less than half of ShanghaiTech Campus's "
      "270,000\n"
      "training frames.");
  for (size_t c = 0; c < sizeof columns / sizeof *columns; ++c)
    tr_report_column(evidence->report, columns[c], false);
  for (size_t i = 0; i < count; ++i) {
    if (!rows[i].method)
      continue;
    mstc_runs drawn = mstc_runs_of(evidence, &rows[i], DRAWN), other = mstc_runs_of(evidence, &rows[i], "mstc");
    layout_row(evidence, rows[i].title, &drawn);
    if (other.any && !other.campus)
      layout_row(evidence, tr_report_text(evidence->report, "%s, another set", rows[i].title), &other);
  }
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
                  any_campus(evidence, mstc, sizeof mstc / sizeof *mstc)
                      ? "Pixel AUROC in percent: of all scenes pooled, and the mean over scenes. The paper prints one number "
                        "without saying which."
                      : "Pixel AUROC in percent: of all scenes pooled, and the mean over scenes. The paper prints one number "
                        "without saying which.\n"
                        "ShanghaiTech Campus was not at hand, and nothing here has been run on it. To run it, put its folders "
                        "training/ and\n"
                        "testing/ into ROOT/mstc, look them over by `totalrecall verify mstc ROOT`, and run\n"
                        "`totalrecall run experiments/mstc.yaml --data ROOT --weights DIR`.");
  tr_report_column(report, "method", false);
  tr_report_column(report, "pooled", true);
  tr_report_column(report, "mean over scenes", true);
  for (size_t i = 0; i < sizeof mstc / sizeof *mstc; ++i)
    mstc_row(evidence, &mstc[i]);
  layout_table(evidence, mstc, sizeof mstc / sizeof *mstc);
}
