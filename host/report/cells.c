/* Cells: the query, the runs it finds, and the reasons. */
#include "host/report/cells.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const tr_paper_classes[TR_PAPER_CLASSES] = {"bottle",   "cable",      "capsule",    "carpet", "grid",
                                                        "hazelnut", "leather",    "metal_nut",  "pill",   "screw",
                                                        "tile",     "toothbrush", "transistor", "wood",   "zipper"};

/* ---- queries ---- */

void tr_query_levels(tr_query *query, const char *levels) {
  static const char *const names[] = {"layer1", "layer2", "layer3", "layer4"};
  query->setting.layer_count = 0;
  for (; *levels; ++levels)
    query->setting.layers[query->setting.layer_count++] = names[*levels - '1'];
}

tr_query tr_query_new(const char *dataset, const char *method, const char *experiment) {
  tr_query query = {.substitutes = TR_SUBSTITUTE_ANY, .experiment = experiment};
  tr_setting_defaults(TR_PROTOCOL_OFFICIAL, method, &query.setting);
  query.setting.dataset = dataset;
  query.setting.backbone = TR_PAPERS_BACKBONE;
  tr_query_levels(&query, strcmp(method, "patchcore") == 0 ? "23" : "123");
  if (strcmp(method, "spade") == 0)
    query.setting.layers[query.setting.layer_count++] = "pool";
  return tr_query_ready(query);
}

tr_query tr_query_backbone(tr_query query, const char *backbone, tr_substitutes substitutes) {
  tr_setting_on_backbone(&query.setting, backbone, &query.setting);
  query.substitutes = substitutes;
  return query;
}

tr_query tr_query_percent(tr_query query, double percent) {
  query.setting.percent = percent;
  return tr_query_ready(query);
}

tr_query tr_query_ready(tr_query query) {
  tr_setting_normalise(&query.setting);
  return query;
}

const char *tr_command_of(tr_evidence *evidence, const char *experiment) {
  return tr_report_text(evidence->report, "totalrecall run experiments/%s.yaml --data ROOT --weights DIR", experiment);
}

const char *tr_dataset_title(const char *dataset) {
  static const char *const titles[][2] = {{"mvtec", "MVTec AD"},
                                          {"mtd", "MTD"},
                                          {"mstc", "mSTC"},
                                          {"synthetic", "Synthetic"},
                                          {"synthetic_mstc", "Drawn set in mSTC's layout"}};
  for (size_t i = 0; i < sizeof titles / sizeof *titles; ++i)
    if (strcmp(dataset, titles[i][0]) == 0)
      return titles[i][1];
  return dataset;
}

/* ---- reasons ---- */

/* A backbone and the file that torchvision publishes of it (its first weights, IMAGENET1K_V1). */
static void write_weights(FILE *out, const char *backbone) {
  static const char *const files[][2] = {
      {"resnet18", "resnet18-f37072fd.pth"},
      {"resnet34", "resnet34-b627a593.pth"},
      {"resnet50", "resnet50-0676ba61.pth"},
      {"resnet101", "resnet101-63fe2227.pth"},
      {"wide_resnet50_2", "wide_resnet50_2-95faca4d.pth"},
      {"wide_resnet101_2", "wide_resnet101_2-32ee1156.pth"},
      {"resnext101_32x8d", "resnext101_32x8d-8ba56ff5.pth"},
      {"densenet201", "densenet201-c1103571.pth"},
  };
  fprintf(out, "`%s` weights", backbone);
  for (size_t i = 0; i < sizeof files / sizeof *files; ++i)
    if (strcmp(backbone, files[i][0]) == 0)
      fprintf(out, " (torchvision's %s)", files[i][1]);
}

FILE *tr_text_open(tr_text *text) {
  *text = (tr_text){NULL, 0};
  return open_memstream(&text->text, &text->bytes);
}

const char *tr_text_close(tr_evidence *evidence, FILE *out, tr_text *text) {
  if (out && fclose(out) == 0)
    return tr_report_keep(evidence->report, text->text);
  free(text->text);
  return tr_report_keep(evidence->report, NULL);
}

const char *tr_missing_reason(tr_evidence *evidence, const tr_query *query) {
  const tr_setting *s = &query->setting;
  tr_text text;
  FILE *out = tr_text_open(&text);
  if (!out)
    return tr_text_close(evidence, out, &text);
  fprintf(out, "Not run: ");
  if (!tr_dataset_is_drawn(s->dataset))
    fprintf(out, "needs %s%s under ROOT/%s and ", tr_dataset_title(s->dataset),
            strcmp(s->dataset, "mstc") == 0 ? " (ShanghaiTech Campus: videos or frames, and masks)" : "", s->dataset);
  else
    fprintf(out, "needs ");
  int count = s->member_count ? s->member_count : 1;
  for (int i = 0; i < count; ++i) {
    fputs(i ? ", " : "", out);
    write_weights(out, s->member_count ? s->members[i].backbone : s->backbone);
  }
  fprintf(out, " in DIR");
  return tr_text_close(evidence, out, &text);
}

static bool reduced(tr_evidence *evidence, const tr_query *query, const tr_result *run) {
  size_t train, test;
  tr_published_counts(&evidence->published, run->dataset, run->class_name, &train, &test);
  bool drawn = query->setting.train_images != 0; /* a draw of k images is the point, not a reduction */
  return train && ((!drawn && run->train_images != train) || run->images != test);
}

/* "120 of 209 training images", "50 of 391 training and 10 of 110 test images" */
static void write_counts(FILE *out, tr_evidence *evidence, const tr_query *query, const tr_result *run) {
  size_t train, test;
  tr_published_counts(&evidence->published, run->dataset, run->class_name, &train, &test);
  bool fewer_train = run->train_images != train && !query->setting.train_images, fewer_test = run->images != test;
  if (fewer_train)
    fprintf(out, "%zu of %zu training%s", run->train_images, train, fewer_test ? " and " : " images");
  if (fewer_test)
    fprintf(out, "%zu of %zu test images", run->images, test);
}

static void write_class_names(FILE *out, const tr_selection *selection) {
  for (size_t i = 0; i < selection->count; ++i)
    fprintf(out, "%s%s", i ? ", " : "", selection->groups[i]->runs[0]->class_name);
}

const char *tr_selection_reason(tr_evidence *evidence, const tr_query *query, const tr_selection *selection, bool mean,
                                unsigned *causes) {
  tr_text text;
  FILE *out = tr_text_open(&text);
  *causes = 0;
  if (!out)
    return tr_text_close(evidence, out, &text);
  const tr_result *first = selection->groups[0]->runs[0];
  if (strcmp(first->backbone, query->setting.backbone) != 0) {
    *causes |= TR_CAUSE_WEIGHTS;
    fprintf(out, "`%s` in place of `%s`", first->backbone, query->setting.backbone);
  }
  if (mean && strcmp(query->setting.dataset, "mvtec") == 0 && selection->count < TR_PAPER_CLASSES) {
    fprintf(out, "%s%zu of %d classes (", *causes ? "; " : "", selection->count, (int)TR_PAPER_CLASSES);
    write_class_names(out, selection);
    fputc(')', out);
    *causes |= TR_CAUSE_DATA;
  }
  for (size_t i = 0; i < selection->count; ++i) {
    const tr_result *run = selection->groups[i]->runs[0];
    if (!reduced(evidence, query, run))
      continue;
    fputs(*causes ? "; " : "", out);
    if (mean)
      fprintf(out, "%s with ", run->class_name);
    write_counts(out, evidence, query, run);
    *causes |= TR_CAUSE_DATA;
  }
  const char *kept = tr_text_close(evidence, out, &text);
  return *causes ? kept : NULL;
}

/* ---- cells ---- */

void tr_select(tr_evidence *evidence, const tr_query *query, const char *class_name, tr_selection *out) {
  *out = (tr_selection){0};
  /* Only memory can be wanting: the report knows. */
  if (tr_runs_select(&evidence->runs, evidence->report, &query->setting, class_name, query->substitutes, out) != TR_OK)
    tr_report_keep(evidence->report, NULL);
}

static tr_cell new_cell(tr_evidence *evidence, tr_unit unit, tr_published_value published) {
  tr_cell cell = tr_cell_new(unit);
  cell.published = published.value;
  cell.published_deviation = published.deviation;
  cell.source = published.source ? tr_report_text(evidence->report, "%s", published.source) : NULL;
  cell.published_text = "not published";
  return cell;
}

tr_published_value tr_not_published(void) {
  return (tr_published_value){NAN, NAN, NULL};
}

tr_cell tr_cell_of_ours(const tr_selection *selection, const tr_metric *metric, const char *missing) {
  tr_cell cell = tr_cell_new(metric->unit);
  cell.ours = tr_selection_statistic(selection, metric);
  if (!selection->count) {
    cell.causes = TR_CAUSE_NOT_RUN;
    cell.reason = missing;
  }
  return cell;
}

tr_cell tr_cell_out_of_scope(tr_evidence *evidence, tr_unit unit, tr_published_value published) {
  tr_cell cell = new_cell(evidence, unit, published);
  cell.causes = TR_CAUSE_OUT_OF_SCOPE;
  cell.reason = "A method that this program does not have.";
  return cell;
}

static void not_run(tr_evidence *evidence, const tr_query *query, tr_cell *cell) {
  cell->causes = TR_CAUSE_NOT_RUN;
  cell->reason = tr_missing_reason(evidence, query);
  cell->command = tr_command_of(evidence, query->experiment);
}

/* Ours, made otherwise: "Not as published: …." */
static void differs(tr_evidence *evidence, const char *how, tr_cell *cell) {
  if (how)
    cell->reason = tr_report_text(evidence->report, "Not as published: %s.", how);
}

tr_cell tr_cell_of_class(tr_evidence *evidence, const tr_query *query, const char *class_name, const tr_metric *metric,
                         tr_published_value published) {
  tr_cell cell = new_cell(evidence, metric->unit, published);
  tr_selection selection = {0};
  tr_select(evidence, query, class_name, &selection);
  cell.ours = tr_selection_statistic(&selection, metric);
  if (!selection.count) {
    not_run(evidence, query, &cell);
    return cell;
  }
  differs(evidence, tr_selection_reason(evidence, query, &selection, false, &cell.causes), &cell);
  cell.difference = cell.ours.mean - published.value;
  return cell;
}

/* The published mean of the classes that we have; NaN where one is not published. */
static double published_over(tr_evidence *evidence, const tr_selection *selection, const tr_metric *metric,
                             tr_per_class per_class) {
  double sum = 0;
  for (size_t i = 0; i < selection->count; ++i)
    sum += tr_published_find(&evidence->published, per_class.file, per_class.method, selection->groups[i]->runs[0]->class_name,
                             metric->published)
               .value;
  return sum / (double)selection->count;
}

tr_cell tr_cell_of_mean(tr_evidence *evidence, const tr_query *query, const tr_metric *metric, tr_published_value published,
                        tr_per_class per_class) {
  tr_selection selection = {0};
  tr_select(evidence, query, NULL, &selection);
  return tr_cell_of_selection(evidence, query, &selection, metric, published, per_class);
}

tr_cell tr_cell_of_selection(tr_evidence *evidence, const tr_query *query, const tr_selection *selection, const tr_metric *metric,
                             tr_published_value published, tr_per_class per_class) {
  tr_cell cell = new_cell(evidence, metric->unit, published);
  cell.ours = tr_selection_statistic(selection, metric);
  if (!selection->count) {
    not_run(evidence, query, &cell);
    return cell;
  }
  const char *how = tr_selection_reason(evidence, query, selection, true, &cell.causes);
  bool partial = strcmp(query->setting.dataset, "mvtec") == 0 && selection->count < TR_PAPER_CLASSES;
  if (!partial)
    cell.difference = cell.ours.mean - published.value;
  double same = partial && per_class.method ? published_over(evidence, selection, metric, per_class) : NAN;
  if (how && isfinite(same))
    cell.reason =
        tr_report_text(evidence->report, "Not as published: %s. Published for these: %.2f, so that ours differs by %+.2f.", how,
                       same, cell.ours.mean - same);
  else
    differs(evidence, how, &cell);
  return cell;
}
