/* Tables 4 and S6: larger backbones and images, ensembles, other backbones at the usual size; the authors' released models. */
#include "host/report/sections.h"
#include "host/report/sweep.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const tr_metric *const metrics[] = {&tr_metric_image_auroc, &tr_metric_pixel_auroc, &tr_metric_pro};
enum { METRICS = sizeof metrics / sizeof *metrics };

static void metric_columns(tr_report *report, bool published) {
  for (size_t m = 0; m < METRICS; ++m)
    tr_report_column(report, metrics[m]->title, published);
}

static void metric_cells(tr_evidence *evidence, const tr_query *query, const tr_selection *selection, tr_published_file file,
                         const char *published) {
  for (size_t m = 0; m < METRICS; ++m) {
    tr_published_value value = tr_published_find(&evidence->published, file, published, "mean", metrics[m]->published);
    tr_cell cell = tr_cell_of_selection(evidence, query, selection, metrics[m], value, (tr_per_class){file, NULL});
    tr_report_cell(evidence->report, &cell);
  }
}

static void row(tr_evidence *evidence, const char *title, const tr_query *query, tr_published_file file, const char *published) {
  tr_selection selection;
  tr_select(evidence, query, NULL, &selection);
  tr_report_row(evidence->report);
  tr_report_label(evidence->report, title);
  metric_cells(evidence, query, &selection, file, published);
}

/* ---- table 4 ---- */

static tr_query sized(const char *backbone, const char *levels, int crop) {
  tr_query query = tr_query_percent(tr_query_new("mvtec", "patchcore", "table4"), 1);
  tr_query_levels(&query, levels);
  query.setting.image =
      (tr_image_spec){.resize = (int)lround(crop * 8.0 / 7.0), .crop = crop}; /* as the released 320 px models */
  return tr_query_backbone(query, backbone, TR_SUBSTITUTE_NONE);
}

/* The released ensembles: DenseNet201, ResNeXt101, WideResNet101-2 with 384 dimensions each. */
static tr_query ensemble(int crop, tr_normalise normalise, tr_setting members[3]) {
  static const char *const backbones[] = {"densenet201", "resnext101_32x8d", "wide_resnet101_2"};
  for (size_t i = 0; i < 3; ++i) {
    members[i] = sized(backbones[i], "23", crop).setting;
    members[i].dimension = 384;
    tr_setting_normalise(&members[i]);
  }
  tr_query query = {.setting = members[0], .substitutes = TR_SUBSTITUTE_NONE, .experiment = "table4"};
  query.setting.backbone = "densenet201+resnext101_32x8d+wide_resnet101_2";
  query.setting.layer_count = 0;
  query.setting.members = members;
  query.setting.member_count = 3;
  query.setting.normalise = normalise;
  return query;
}

static void table_4(tr_evidence *evidence) {
  tr_report *report = evidence->report;
  tr_setting members[3];
  tr_report_table(
      report, "table4", "Table 4: larger backbones and images, PatchCore-1 %, MVTec AD",
      "In percent, mean over the 15 classes. An ensemble's scores are normalised per member: `official` by the least and\n"
      "greatest of the test set, as the released code does; `nominal` by nominal images only, which a deployed ensemble can.");
  tr_report_column(report, "network", false);
  metric_columns(report, true);
  tr_query query = sized("wide_resnet101_2", "23", 280);
  row(evidence, "WideResNet101-2, levels 2+3, 280 px", &query, TR_TABLE_4, "PatchCore-1% WRN-101 levels 2+3 @280");
  query = sized("wide_resnet101_2", "123", 280);
  row(evidence, "WideResNet101-2, levels 1+2+3, 280 px", &query, TR_TABLE_4, "PatchCore-1% WRN-101 levels 1+2+3 @280");
  static const char published[] = "PatchCore-1% ensemble DenseNet-201+ResNeXt-101+WRN-101 levels 2+3 @320";
  query = ensemble(320, TR_NORMALISE_OFFICIAL, members);
  row(evidence, "ensemble of DenseNet201, ResNeXt101 and WideResNet101-2, levels 2+3, 320 px", &query, TR_TABLE_4, published);
  query = ensemble(320, TR_NORMALISE_NOMINAL, members);
  row(evidence, "the same, normalised on nominal images", &query, TR_TABLE_4, "");
}

/* ---- the same with other weights ---- */

static bool is_ensemble(const tr_result *run) {
  return strchr(run->backbone, '+') != NULL;
}

/* Sizes and ensembles that table 4 is about, on any data and with any weights but its own. */
static bool belongs_beside_table_4(const tr_result *run) {
  bool papers = strcmp(run->backbone, "wide_resnet101_2") == 0 ||
                strcmp(run->backbone, "densenet201+resnext101_32x8d+wide_resnet101_2") == 0;
  bool sizes = strcmp(run->method, "patchcore") == 0 && run->crop > 224;
  return (sizes || is_ensemble(run)) && !(papers && strcmp(run->dataset, "mvtec") == 0);
}

static void other_row(tr_evidence *evidence, const tr_selection *selection) {
  tr_report *report = evidence->report;
  tr_report_row(report);
  tr_report_label(report, selection->groups[0]->stem);
  tr_report_label(report, tr_sweep_title(evidence, selection));
  for (size_t m = 0; m < METRICS; ++m) {
    tr_cell cell = tr_cell_new(metrics[m]->unit);
    cell.ours = tr_selection_statistic(selection, metrics[m]);
    tr_report_cell(report, &cell);
  }
}

static void beside_table_4(tr_evidence *evidence) {
  const tr_runs *runs = &evidence->runs;
  tr_selection selection;
  bool begun = false;
  for (size_t i = 0; i < runs->group_count;) {
    bool belongs = belongs_beside_table_4(runs->groups[i].runs[0]);
    i += tr_runs_at(runs, evidence->report, i, &selection);
    if (!belongs || !selection.count)
      continue;
    if (!begun) {
      tr_report_table(evidence->report, "table4_others", "Larger images and ensembles with other weights",
                      "In percent, mean over the classes named. The paper has no such numbers.");
      tr_report_column(evidence->report, "setting", false);
      tr_report_column(evidence->report, "data", false);
      metric_columns(evidence->report, false);
      begun = true;
    }
    other_row(evidence, &selection);
  }
}

/* ---- the released models ---- */

static const tr_metric *const released_metrics[] = {&tr_metric_image_auroc, &tr_metric_pixel_auroc,
                                                    &tr_metric_pixel_auroc_anomalous, &tr_metric_pro_anomalous};
enum { RELEASED_METRICS = sizeof released_metrics / sizeof *released_metrics };

static void released_row(tr_evidence *evidence, const char *title, const char *published, const tr_query *query) {
  tr_report_row(evidence->report);
  tr_report_label(evidence->report, title);
  for (size_t m = 0; m < RELEASED_METRICS; ++m) {
    tr_published_value value =
        tr_published_find(&evidence->published, TR_RELEASED, published, "mean", released_metrics[m]->published);
    tr_cell cell = tr_cell_of_mean(evidence, query, released_metrics[m], value, (tr_per_class){TR_RELEASED, published});
    tr_report_cell(evidence->report, &cell);
  }
}

/* Those that an experiment runs. */
static void released_models(tr_evidence *evidence) {
  tr_report *report = evidence->report;
  tr_setting members[3];
  tr_report_table(
      report, "released", "The authors' released models, MVTec AD",
      "In percent, mean over the 15 classes, of the results.csv beside each model. Its PRO averages one value per anomalous\n"
      "image and is not the paper's. The code reseeds per class, and its seeds (0, 3, 40) look chosen.");
  tr_report_column(report, "model", false);
  for (size_t m = 0; m < RELEASED_METRICS; ++m)
    tr_report_column(report, released_metrics[m]->title, true);
  tr_query query = tr_query_percent(tr_query_new("mvtec", "patchcore", "table1"), 10);
  released_row(evidence, "WideResNet50-2, 10 %, 224 px", "official IM224_WR50_L2-3_P01_D1024-1024_PS-3_AN-1", &query);
  query = ensemble(224, TR_NORMALISE_OFFICIAL, members);
  released_row(evidence, "ensemble, 1 %, 224 px", "official IM224_Ensemble_L2-3_P001_D1024-384_PS-3_AN-1", &query);
  query = ensemble(320, TR_NORMALISE_OFFICIAL, members);
  released_row(evidence, "ensemble, 1 %, 320 px", "official IM320_Ensemble_L2-3_P001_D1024-384_PS-3_AN-1", &query);
}

/* ---- table S6 ---- */

static void table_s6(tr_evidence *evidence) {
  static const struct {
    const char *title, *published, *backbone;
  } rows[] = {
      {"ResNet50", "ResNet50", "resnet50"},
      {"WideResNet50-2", "WideResNet50", "wide_resnet50_2"},
      {"ResNet101", "ResNet101", "resnet101"},
      {"WideResNet101-2", "WideResNet101", "wide_resnet101_2"},
      {"ResNeXt101", "ResNeXt101", "resnext101_32x8d"},
  };
  static const double percents[] = {10, 1};
  tr_report *report = evidence->report;
  tr_report_table(report, "tableS6", "Table S6: backbones, MVTec AD",
                  "In percent, mean over the 15 classes; levels 2+3, 224 px.");
  tr_report_column(report, "method", false);
  metric_columns(report, true);
  for (size_t p = 0; p < sizeof percents / sizeof *percents; ++p)
    for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) {
      tr_query query = tr_query_percent(tr_query_new("mvtec", "patchcore", "supplement"), percents[p]);
      query = tr_query_backbone(query, rows[i].backbone, TR_SUBSTITUTE_VERSION);
      row(evidence, tr_report_text(report, "PatchCore-%g %%, %s", percents[p], rows[i].title), &query, TR_TABLE_S6,
          tr_report_text(report, "PatchCore-%g%% %s", percents[p], rows[i].published));
    }
}

/* Backbones that table S6 has not, where they were run. */
static void beside_table_s6(tr_evidence *evidence) {
  static const char *const backbones[] = {"resnet18", "resnet34", "densenet201", "efficientnet_lite0"};
  static const double percents[] = {10, 1};
  for (size_t p = 0; p < sizeof percents / sizeof *percents; ++p)
    for (size_t i = 0; i < sizeof backbones / sizeof *backbones; ++i) {
      tr_query query = tr_query_percent(tr_query_new("mvtec", "patchcore", "supplement"), percents[p]);
      query = tr_query_backbone(query, backbones[i], TR_SUBSTITUTE_NONE);
      tr_selection selection;
      tr_select(evidence, &query, NULL, &selection);
      if (!selection.count)
        continue;
      tr_report_row(evidence->report);
      tr_report_label(evidence->report, tr_report_text(evidence->report, "PatchCore-%g %%, `%s`", percents[p], backbones[i]));
      metric_cells(evidence, &query, &selection, TR_TABLE_S6, "");
    }
}

void tr_section_backbones(tr_evidence *evidence) {
  tr_report_section(
      evidence->report, "backbones", "Tables 4 and S6, and the released models: backbones",
      "In tables 4 and S6 no other backbone stands in, but for the ResNet50 of 2015 (`resnet50_v1`) for torchvision's.");
  table_4(evidence);
  beside_table_4(evidence);
  released_models(evidence);
  table_s6(evidence);
  beside_table_s6(evidence);
}
