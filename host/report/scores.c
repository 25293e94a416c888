/* Scores of single images that runs have kept, paired for the bootstrap. */
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/metrics/bootstrap.h"
#include "host/metrics/metrics.h"
#include "host/report/sweep.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of one run and class. */
typedef struct scores {
  tr_csv csv; /* image, label, score */
  float *score;
  uint8_t *anomalous;
} scores;

static void free_scores(scores *s) {
  tr_csv_free(&s->csv);
  free(s->score);
  free(s->anomalous);
  *s = (scores){0};
}

/* Whether a file's scores are those of the line: a name says neither the data set nor the weights. */
static bool are_of(const scores *s, const tr_result *run) {
  double auroc;
  return s->csv.rows == run->images && tr_auroc(s->score, s->anomalous, s->csv.rows, &auroc) == TR_OK &&
         fabs(auroc - run->image_auroc) <= 1e-9;
}

static bool read_file(const char *path, const tr_result *run, scores *out) {
  *out = (scores){0};
  if (!tr_is_file(path) || tr_csv_read(path, &out->csv) != TR_OK)
    return false;
  out->score = malloc((out->csv.rows + 1) * sizeof *out->score);
  out->anomalous = malloc(out->csv.rows + 1);
  for (size_t i = 0; out->score && out->anomalous && i < out->csv.rows; ++i) {
    out->score[i] = (float)tr_number(tr_csv_cell(&out->csv, i, "score"));
    out->anomalous[i] = tr_number(tr_csv_cell(&out->csv, i, "label")) != 0;
  }
  if (out->score && out->anomalous && are_of(out, run))
    return true;
  free_scores(out);
  return false;
}

static bool read_scores(const tr_evidence *evidence, const tr_result *run, scores *out) {
  bool found = false;
  for (size_t i = 0; !found && i < evidence->machines.count; ++i) {
    char *path = tr_format("%s/%s/scores/%s_%s.csv", evidence->folder, evidence->machines.items[i], run->run, run->class_name);
    found = path && read_file(path, run, out);
    free(path);
  }
  return found;
}

static bool same_images(const scores *a, const scores *b) {
  if (a->csv.rows != b->csv.rows)
    return false;
  for (size_t i = 0; i < a->csv.rows; ++i)
    if (strcmp(tr_csv_cell(&a->csv, i, "image"), tr_csv_cell(&b->csv, i, "image")) != 0 || a->anomalous[i] != b->anomalous[i])
      return false;
  return true;
}

/* A class's pairs: the files, and what the bootstrap takes of them. */
typedef struct pairs {
  scores *a, *b;
  const float **a_scores, **b_scores;
  size_t count;
} pairs;

static void free_pairs(pairs *p) {
  for (size_t i = 0; i < p->count; ++i) {
    free_scores(&p->a[i]);
    free_scores(&p->b[i]);
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
  if (!read_scores(evidence, a, &out->a[at]) || !read_scores(evidence, b, &out->b[at]) || !same_images(&out->a[at], &out->b[at]))
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
    classes[i] = (tr_paired_scores){all[i].a[0].anomalous, all[i].a_scores, all[i].b_scores, all[i].a[0].csv.rows, all[i].count};
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
