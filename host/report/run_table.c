/* The table at the end of a run. */
#include "host/base/status.h"
#include "host/report/report.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct mean {
  double sum;
  size_t count;
} mean;

static void mean_add(mean *m, double value) {
  if (!isfinite(value))
    return;
  m->sum += value;
  ++m->count;
}

/* A fraction, or "-" where it is not defined. */
static void write_fraction(FILE *out, int width, double value) {
  if (isfinite(value))
    fprintf(out, "%*.4f", width, value);
  else
    fprintf(out, "%*s", width, "-");
}

static void write_mean(FILE *out, int width, const mean *m) {
  write_fraction(out, width, m->count ? m->sum / (double)m->count : NAN);
}

typedef struct block {
  int width; /* of the longest class name */
  size_t classes, images;
  mean image, pixel, pro, wrong, seconds;
} block;

static void write_class(FILE *out, block *b, const tr_result *r) {
  char wrong[32] = "-", peak[32];
  if (isfinite(r->misclassified))
    snprintf(wrong, sizeof wrong, "%.0f/%zu", r->misclassified, r->images);
  tr_format_bytes(r->peak_bytes, peak, sizeof peak);
  fprintf(out, "  %-*s", b->width, r->class_name);
  write_fraction(out, 13, r->image_auroc);
  write_fraction(out, 13, r->pixel_auroc);
  write_fraction(out, 9, r->pro);
  fprintf(out, "%15s%10zu%11.4f%12s\n", wrong, r->bank_rows, r->seconds.score_per_image, peak);
  mean_add(&b->image, r->image_auroc);
  mean_add(&b->pixel, r->pixel_auroc);
  mean_add(&b->pro, r->pro);
  mean_add(&b->wrong, r->misclassified);
  mean_add(&b->seconds, r->seconds.score_per_image);
  b->images += r->images;
  ++b->classes;
}

static void write_block_mean(FILE *out, const block *b) {
  char wrong[48] = "-";
  if (b->wrong.count)
    snprintf(wrong, sizeof wrong, "%.0f/%zu", b->wrong.sum, b->images);
  fprintf(out, "  %-*s", b->width, "mean");
  write_mean(out, 13, &b->image);
  write_mean(out, 13, &b->pixel);
  write_mean(out, 9, &b->pro);
  fprintf(out, "%15s%10s%11.4f\n", wrong, "", b->seconds.sum / (double)b->seconds.count);
}

static bool belongs(const tr_result *r, const char *experiment, const char *dataset, const char *run) {
  return strcmp(r->experiment, experiment) == 0 && strcmp(r->dataset, dataset) == 0 && strcmp(r->run, run) == 0;
}

static int compare_classes(const void *a, const void *b) {
  return strcmp((*(const tr_result *const *)a)->class_name, (*(const tr_result *const *)b)->class_name);
}

static tr_status write_run(FILE *out, const tr_experiment *e, const tr_setting *s, const tr_results *results) {
  char *run = tr_setting_run_name(s);
  const tr_result **rows = calloc(results->count + 1, sizeof *rows);
  if (!run || !rows) {
    free(run);
    free(rows);
    return tr_fail(TR_ENOMEM, "writing the table of results: out of memory");
  }
  block b = {.width = 8};
  size_t count = 0;
  for (size_t i = 0; i < results->count; ++i)
    if (belongs(&results->items[i], e->name, s->dataset, run)) {
      rows[count++] = &results->items[i];
      int length = (int)strlen(results->items[i].class_name);
      b.width = length > b.width ? length : b.width;
    }
  qsort(rows, count, sizeof *rows, compare_classes);
  if (count) {
    fprintf(out, "\n%s, %s: %s\n", e->name, s->dataset, run);
    fprintf(out, "  %-*s%13s%13s%9s%15s%10s%11s%12s\n", b.width, "class", "image AUROC", "pixel AUROC", "PRO", "misclassified",
            "bank rows", "s/image", "peak memory");
  }
  for (size_t i = 0; i < count; ++i)
    write_class(out, &b, rows[i]);
  if (count > 1)
    write_block_mean(out, &b);
  free(rows);
  free(run);
  return TR_OK;
}

typedef struct results_table {
  const tr_experiments *experiments;
  const tr_results *results;
} results_table;

static tr_status write_runs(FILE *out, const void *context) {
  const results_table *t = context;
  for (size_t i = 0; i < t->experiments->count; ++i)
    for (size_t j = 0; j < t->experiments->items[i].setting_count; ++j)
      TR_TRY(write_run(out, &t->experiments->items[i], &t->experiments->items[i].settings[j], t->results));
  return TR_OK;
}

tr_status tr_results_table(const tr_experiments *experiments, const tr_results *results, char **out) {
  return tr_text_of("writing the table of results", write_runs, &(results_table){experiments, results}, out);
}
