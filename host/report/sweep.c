/* Comparisons on equal terms. */
#include "host/report/sweep.h"
#include "host/base/status.h"
#include <stdio.h>
#include <string.h>

/* One test: the same images were scored, and, but for draws of a few, the same were trained on. */
static bool same_class(const tr_group *a, const tr_group *b) {
  const tr_result *x = a->runs[0], *y = b->runs[0];
  return strcmp(x->class_name, y->class_name) == 0 && x->images == y->images && x->anomalous_images == y->anomalous_images &&
         (x->train_images == y->train_images || x->low_shot || y->low_shot);
}

static bool has_class(const tr_selection *selection, const tr_group *group) {
  for (size_t i = 0; i < selection->count; ++i)
    if (same_class(selection->groups[i], group))
      return true;
  return false;
}

static void keep_classes_of(tr_selection *selection, const tr_selection *other) {
  size_t kept = 0;
  for (size_t i = 0; i < selection->count; ++i)
    if (has_class(other, selection->groups[i]))
      selection->groups[kept++] = selection->groups[i];
  selection->count = kept;
}

void tr_sweep_pair(tr_selection *a, tr_selection *b) {
  keep_classes_of(a, b);
  keep_classes_of(b, a);
}

size_t tr_sweep(tr_evidence *evidence, const tr_query *queries, size_t count, const char *backbone, tr_selection *out) {
  size_t first = count, run = 0;
  for (size_t i = 0; i < count; ++i) {
    tr_query query = queries[i];
    query.substitutes = TR_SUBSTITUTE_NONE;
    out[i] = (tr_selection){0};
    if (tr_setting_on_backbone(&queries[i].setting, backbone, &query.setting))
      tr_select(evidence, &query, NULL, &out[i]);
    if (!out[i].count)
      continue;
    ++run;
    if (first == count)
      first = i;
    else
      keep_classes_of(&out[first], &out[i]);
  }
  for (size_t i = 0; i < count; ++i)
    if (out[i].count)
      keep_classes_of(&out[i], &out[first]);
  return first < count && out[first].count ? run : 0;
}

static size_t seeds_of(const tr_selection *selection) {
  size_t seeds = tr_selection_statistic(selection, &tr_metric_image_auroc).seeds;
  return seeds ? seeds : 1;
}

const char *tr_sweep_title(tr_evidence *evidence, const tr_selection *selection) {
  tr_text text;
  FILE *out = tr_text_open(&text);
  if (!out)
    return tr_text_close(evidence, out, &text);
  const tr_result *first = selection->groups[0]->runs[0];
  fprintf(out, "%s, `%s`", tr_dataset_title(first->dataset), first->backbone);
  bool mvtec = strcmp(first->dataset, "mvtec") == 0;
  if (mvtec && selection->count == TR_PAPER_CLASSES) {
    fprintf(out, ", all classes");
  } else if (strcmp(first->dataset, first->class_name) != 0) {
    fprintf(out, ", %zu", selection->count);
    if (mvtec)
      fprintf(out, " of %d", (int)TR_PAPER_CLASSES);
    fprintf(out, selection->count == 1 && !mvtec ? " class (" : " classes (");
    for (size_t i = 0; i < selection->count; ++i)
      fprintf(out, "%s%s", i ? ", " : "", selection->groups[i]->runs[0]->class_name);
    fputc(')', out);
  }
  size_t seeds = seeds_of(selection);
  fprintf(out, ", %zu seed%s", seeds, seeds == 1 ? "" : "s");
  return tr_text_close(evidence, out, &text);
}
