/* The bootstrap of image AUROC. Scores are ranked once; a draw is a weight per image, and one sweep over the ranks gives its AUROC. */
#include "host/metrics/bootstrap.h"
#include "host/base/rng.h"
#include "host/base/status.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One run of one seed on one class: images by rising score; last[i]: the next one scores higher. */
typedef struct ranking {
  uint32_t *image;
  uint8_t *last;
} ranking;

typedef struct class_ranks {
  const tr_paired_scores *scores;
  ranking *a, *b;       /* [seeds] */
  uint32_t *good, *bad; /* images of either label */
  size_t good_count, bad_count;
  uint32_t *weight; /* of the draw */
} class_ranks;

typedef struct scored {
  float score;
  uint32_t image;
} scored;

static int by_score(const void *x, const void *y) {
  const scored *a = x, *b = y;
  return (a->score > b->score) - (a->score < b->score);
}

static tr_status out_of_memory(void) {
  return tr_fail(TR_ENOMEM, "bootstrap of image AUROC: out of memory");
}

static tr_status rank(const float *scores, size_t n, scored *scratch, ranking *out) {
  out->image = malloc((n + 1) * sizeof *out->image);
  out->last = malloc(n + 1);
  if (!out->image || !out->last)
    return out_of_memory();
  for (size_t i = 0; i < n; ++i) {
    if (!isfinite(scores[i]))
      return tr_fail(TR_EINVAL, "bootstrap of image AUROC: the score of image %zu is not finite", i);
    scratch[i] = (scored){scores[i], (uint32_t)i};
  }
  qsort(scratch, n, sizeof *scratch, by_score);
  for (size_t i = 0; i < n; ++i) {
    out->image[i] = scratch[i].image;
    out->last[i] = i + 1 == n || scratch[i].score < scratch[i + 1].score;
  }
  return TR_OK;
}

static tr_status rank_class(class_ranks *c) {
  const tr_paired_scores *s = c->scores;
  c->a = calloc(s->seeds, sizeof *c->a);
  c->b = calloc(s->seeds, sizeof *c->b);
  c->good = malloc((s->n + 1) * sizeof *c->good);
  c->bad = malloc((s->n + 1) * sizeof *c->bad);
  c->weight = calloc(s->n + 1, sizeof *c->weight);
  scored *scratch = malloc((s->n + 1) * sizeof *scratch);
  bool complete = c->a && c->b && c->good && c->bad && c->weight && scratch;
  tr_status status = complete ? TR_OK : out_of_memory();
  for (size_t i = 0; status == TR_OK && i < s->n; ++i) {
    if (s->positive[i])
      c->bad[c->bad_count++] = (uint32_t)i;
    else
      c->good[c->good_count++] = (uint32_t)i;
  }
  if (status == TR_OK && (!c->good_count || !c->bad_count))
    status = tr_fail(TR_EINVAL, "bootstrap of image AUROC: %zu good and %zu anomalous images, needs some of both", c->good_count,
                     c->bad_count);
  for (size_t i = 0; status == TR_OK && i < s->seeds; ++i) {
    status = rank(s->a[i], s->n, scratch, &c->a[i]);
    if (status == TR_OK)
      status = rank(s->b[i], s->n, scratch, &c->b[i]);
  }
  free(scratch);
  return status;
}

static void free_class(class_ranks *c) {
  for (size_t i = 0; i < c->scores->seeds; ++i) {
    if (c->a) {
      free(c->a[i].image);
      free(c->a[i].last);
    }
    if (c->b) {
      free(c->b[i].image);
      free(c->b[i].last);
    }
  }
  free(c->a);
  free(c->b);
  free(c->good);
  free(c->bad);
  free(c->weight);
}

static void draw_from(tr_rng *rng, const uint32_t *images, size_t count, uint32_t *weight) {
  for (size_t i = 0; i < count; ++i)
    ++weight[images[tr_rng_below(rng, count)]];
}

/* Mann-Whitney over weighted images: twice the pairs in which the anomalous one scores higher, a tie being one. */
static double auroc(const class_ranks *c, const ranking *r) {
  uint64_t twice = 0, good_below = 0, good = 0, bad = 0;
  for (size_t i = 0; i < c->scores->n; ++i) {
    uint32_t image = r->image[i], weight = c->weight[image];
    if (c->scores->positive[image])
      bad += weight;
    else
      good += weight;
    if (!r->last[i])
      continue;
    twice += bad * (2 * good_below + good);
    good_below += good;
    good = bad = 0;
  }
  return (double)twice / (2 * (double)c->good_count * (double)c->bad_count);
}

/* Means over seeds, added up over classes. */
static void add_class(const class_ranks *c, double *a, double *b) {
  double sum_a = 0, sum_b = 0;
  for (size_t i = 0; i < c->scores->seeds; ++i) {
    sum_a += auroc(c, &c->a[i]);
    sum_b += auroc(c, &c->b[i]);
  }
  *a += sum_a / (double)c->scores->seeds;
  *b += sum_b / (double)c->scores->seeds;
}

static double one_draw(const class_ranks *classes, size_t count, uint64_t seed, uint64_t index) {
  tr_rng rng = tr_rng_make(seed, TR_RNG_BOOTSTRAP, index);
  double a = 0, b = 0;
  for (size_t i = 0; i < count; ++i) {
    const class_ranks *c = &classes[i];
    memset(c->weight, 0, c->scores->n * sizeof *c->weight);
    draw_from(&rng, c->good, c->good_count, c->weight);
    draw_from(&rng, c->bad, c->bad_count, c->weight);
    add_class(c, &a, &b);
  }
  return (a - b) / (double)count;
}

static int by_value(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return (a > b) - (a < b);
}

static double quantile(const double *sorted, size_t n, double q) {
  double at = q * (double)(n - 1);
  size_t below = (size_t)at;
  double above = below + 1 < n ? sorted[below + 1] : sorted[below];
  return sorted[below] + (at - (double)below) * (above - sorted[below]);
}

static tr_status interval(const class_ranks *classes, size_t count, size_t draws, uint64_t seed, tr_auroc_difference *out) {
  double *differences = malloc(draws * sizeof *differences), a = 0, b = 0;
  if (!differences)
    return out_of_memory();
  for (size_t i = 0; i < count; ++i) {
    for (size_t image = 0; image < classes[i].scores->n; ++image)
      classes[i].weight[image] = 1;
    add_class(&classes[i], &a, &b);
  }
  for (size_t i = 0; i < draws; ++i)
    differences[i] = one_draw(classes, count, seed, i);
  qsort(differences, draws, sizeof *differences, by_value);
  *out = (tr_auroc_difference){a / (double)count, b / (double)count, quantile(differences, draws, 0.025),
                               quantile(differences, draws, 0.975)};
  free(differences);
  return TR_OK;
}

tr_status tr_bootstrap_auroc(const tr_paired_scores *classes, size_t class_count, size_t draws, uint64_t seed,
                             tr_auroc_difference *out) {
  if (!class_count || !draws)
    return tr_fail(TR_EINVAL, "bootstrap of image AUROC: %zu classes, %zu draws; needs at least one of each", class_count, draws);
  for (size_t i = 0; i < class_count; ++i)
    if (!classes[i].seeds)
      return tr_fail(TR_EINVAL, "bootstrap of image AUROC: class %zu has no seed", i);
  class_ranks *ranks = calloc(class_count, sizeof *ranks);
  if (!ranks)
    return out_of_memory();
  tr_status status = TR_OK;
  for (size_t i = 0; i < class_count; ++i)
    ranks[i].scores = &classes[i];
  for (size_t i = 0; status == TR_OK && i < class_count; ++i)
    status = rank_class(&ranks[i]);
  if (status == TR_OK)
    status = interval(ranks, class_count, draws, seed, out);
  for (size_t i = 0; i < class_count; ++i)
    free_class(&ranks[i]);
  free(ranks);
  return status;
}
