/* Scores of single images: read, matched with result lines, and paired for the bootstrap. */
#include "host/report/scores.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/metrics/bootstrap.h"
#include "host/metrics/metrics.h"
#include "host/report/sweep.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool has_column(const tr_csv *csv, const char *name) {
  for (size_t i = 0; i < csv->columns; ++i)
    if (strcmp(csv->cells[i], name) == 0)
      return true;
  return false;
}

static tr_status take_numbers(const char *path, tr_image_scores *s) {
  static const char *const columns[] = {"image", "label", "score"};
  for (size_t i = 0; i < sizeof columns / sizeof *columns; ++i)
    if (!has_column(&s->csv, columns[i]))
      return tr_fail(TR_EFORMAT, "%s has no column `%s`; expected image, label, score", path, columns[i]);
  s->count = s->csv.rows;
  s->score = malloc((s->count + 1) * sizeof *s->score);
  s->anomalous = malloc(s->count + 1);
  if (!s->score || !s->anomalous)
    return tr_fail(TR_ENOMEM, "reading %s: out of memory", path);
  for (size_t i = 0; i < s->count; ++i) {
    double label = tr_number(tr_csv_cell(&s->csv, i, "label")), score = tr_number(tr_csv_cell(&s->csv, i, "score"));
    if (!isfinite(label) || !isfinite(score))
      return tr_fail(TR_EFORMAT, "%s, image `%s`: label `%s`, score `%s`; expected two numbers", path,
                     tr_csv_cell(&s->csv, i, "image"), tr_csv_cell(&s->csv, i, "label"), tr_csv_cell(&s->csv, i, "score"));
    s->anomalous[i] = label != 0;
    s->score[i] = (float)score;
  }
  return TR_OK;
}

tr_status tr_image_scores_read(const char *path, tr_image_scores *out) {
  *out = (tr_image_scores){0};
  TR_TRY(tr_csv_read(path, &out->csv));
  tr_status status = take_numbers(path, out);
  if (status != TR_OK)
    tr_image_scores_free(out);
  return status;
}

void tr_image_scores_free(tr_image_scores *scores) {
  tr_csv_free(&scores->csv);
  free(scores->score);
  free(scores->anomalous);
  *scores = (tr_image_scores){0};
}

tr_status tr_image_scores_paired(const tr_image_scores *a, const tr_image_scores *b) {
  if (a->count != b->count)
    return tr_fail(TR_EINVAL, "%zu and %zu images: only scores of the same images can be compared", a->count, b->count);
  for (size_t i = 0; i < a->count; ++i) {
    const char *x = tr_csv_cell(&a->csv, i, "image"), *y = tr_csv_cell(&b->csv, i, "image");
    if (strcmp(x, y) != 0)
      return tr_fail(TR_EINVAL, "row %zu is `%s` in one and `%s` in the other: only scores of the same images can be compared",
                     i + 1, x, y);
    if (a->anomalous[i] != b->anomalous[i])
      return tr_fail(TR_EINVAL, "`%s` is anomalous in one and good in the other", x);
  }
  return TR_OK;
}

/* ---- scores of result lines ---- */

/* Whether scores are those of the line: a file's name says neither the data set nor the weights. */
static bool are_of(const tr_image_scores *s, const tr_result *run) {
  double auroc;
  return s->count == run->images && tr_auroc(s->score, s->anomalous, s->count, &auroc) == TR_OK &&
         fabs(auroc - run->image_auroc) <= 1e-9;
}

static bool read_file(const char *path, const tr_result *run, tr_image_scores *out) {
  if (!tr_is_file(path) || tr_image_scores_read(path, out) != TR_OK)
    return false;
  if (are_of(out, run))
    return true;
  tr_image_scores_free(out);
  return false;
}

static bool read_from(const char *folder, const tr_result *run, tr_image_scores *out) {
  char *path = folder ? tr_format("%s/%s_%s.csv", folder, run->run, run->class_name) : NULL;
  bool found = path && read_file(path, run, out);
  free(path);
  return found;
}

static bool read_scores(const tr_evidence *evidence, const tr_result *run, tr_image_scores *out) {
  for (size_t i = 0; evidence->scores && i < evidence->scores->count; ++i)
    if (read_from(evidence->scores->items[i], run, out))
      return true;
  bool found = false;
  for (size_t i = 0; !found && i < evidence->machines.count; ++i) {
    char *folder = tr_format("%s/%s/scores", evidence->folder, evidence->machines.items[i]);
    found = read_from(folder, run, out);
    free(folder);
  }
  return found;
}

/* A class's pairs: the files, and what the bootstrap takes of them. */
typedef struct pairs {
  tr_image_scores *a, *b;
  const float **a_scores, **b_scores;
  size_t count;
} pairs;

static void free_pairs(pairs *p) {
  for (size_t i = 0; i < p->count; ++i) {
    tr_image_scores_free(&p->a[i]);
    tr_image_scores_free(&p->b[i]);
  }
  free(p->a);
  free(p->b);
  free(p->a_scores);
  free(p->b_scores);
}

static const tr_result *partner(const tr_group *group, uint64_t seed) {
  for (size_t i = 0; i < group->count; ++i)
    if (group->runs[i]->seed == seed)
      return group->runs[i];
  return group->count == 1 ? group->runs[0] : NULL;
}

static bool add_pair(const tr_evidence *evidence, const tr_result *a, const tr_result *b, pairs *out) {
  size_t at = out->count++;
  if (!read_scores(evidence, a, &out->a[at]) || !read_scores(evidence, b, &out->b[at]) ||
      tr_image_scores_paired(&out->a[at], &out->b[at]) != TR_OK)
    return false;
  out->a_scores[at] = out->a[at].score;
  out->b_scores[at] = out->b[at].score;
  return true;
}

static bool read_pairs(const tr_evidence *evidence, const tr_group *a, const tr_group *b, pairs *out) {
  bool by_a = a->count >= b->count;
  const tr_group *longer = by_a ? a : b;
  size_t n = longer->count;
  *out = (pairs){calloc(n, sizeof *out->a), calloc(n, sizeof *out->b), calloc(n, sizeof *out->a_scores),
                 calloc(n, sizeof *out->b_scores), 0};
  bool complete = out->a && out->b && out->a_scores && out->b_scores;
  for (size_t i = 0; complete && i < n; ++i) {
    const tr_result *one = longer->runs[i], *two = partner(by_a ? b : a, one->seed);
    complete = !two || add_pair(evidence, by_a ? one : two, by_a ? two : one, out);
  }
  return complete && out->count;
}

static bool bootstrap(const tr_evidence *evidence, const tr_selection *a, const tr_selection *b, pairs *all,
                      tr_paired_scores *classes, tr_auroc_difference *out) {
  for (size_t i = 0; i < a->count; ++i) {
    if (!read_pairs(evidence, a->groups[i], b->groups[i], &all[i]))
      return false;
    classes[i] = (tr_paired_scores){all[i].a[0].anomalous, all[i].a_scores, all[i].b_scores, all[i].a[0].count, all[i].count};
  }
  return tr_bootstrap_auroc(classes, a->count, TR_BOOTSTRAP_DRAWS, 0, out) == TR_OK;
}

bool tr_scores_interval(tr_evidence *evidence, const tr_selection *a, const tr_selection *b, tr_interval *out) {
  pairs *all = calloc(a->count, sizeof *all);
  tr_paired_scores *classes = calloc(a->count, sizeof *classes);
  tr_auroc_difference difference;
  bool known = all && classes && bootstrap(evidence, a, b, all, classes, &difference);
  if (known)
    *out = (tr_interval){100 * (difference.a - difference.b), 100 * difference.low, 100 * difference.high};
  for (size_t i = 0; all && i < a->count; ++i)
    free_pairs(&all[i]);
  free(all);
  free(classes);
  return known;
}
