/* An index is set beside the exact search of the same bank: same images, same seeds, same machine. */
#include "host/report/searches.h"
#include "host/base/text.h"
#include "host/report/sweep.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* When an index pays, as the table's introduction says it. */
#define FASTER   1.1 /* times */
#define SMALLER  2.0 /* times */
#define BEARABLE 0.1 /* points lost, of any metric */
#define FRAGILE  0.5 /* points of image AUROC lost: worth a word */

static const tr_metric *const metrics[] = {&tr_metric_image_auroc, &tr_metric_pixel_auroc, &tr_metric_pro};
enum { METRICS = sizeof metrics / sizeof *metrics };

typedef struct indexed {
  tr_selection index, exact; /* exact: without groups where it was not run */
  const tr_result *run;      /* of the index, the first class's */
  const char *bank;          /* the stem of the exact search */
  bool flat;                 /* FAISS's own exact search */
  double seconds, exact_seconds, build_seconds, bytes, bank_bytes, recall;
  double change[METRICS]; /* points, index less exact; NaN: not defined */
  double loss;            /* the largest fall of a metric; NaN: none is defined */
  bool faster, smaller;   /* it pays in time, in memory */
} indexed;

/* ---- finding ---- */

static const tr_result *run_of_seed(const tr_group *group, uint64_t seed) {
  for (size_t i = 0; i < group->count; ++i)
    if (group->runs[i]->seed == seed)
      return group->runs[i];
  return NULL;
}

/* The runs of `group` with the seeds that `like` has; all where it has none of them. */
static const tr_group *same_seeds(tr_report *report, const tr_group *group, const tr_group *like) {
  tr_group *cut = tr_report_alloc(report, 1, sizeof *cut);
  const tr_result **runs = tr_report_alloc(report, like->count, sizeof *runs);
  if (!cut || !runs)
    return group;
  *cut = (tr_group){.runs = runs, .stem = group->stem};
  for (size_t i = 0; i < like->count; ++i) {
    const tr_result *run = run_of_seed(group, like->runs[i]->seed);
    if (run)
      runs[cut->count++] = run;
  }
  return cut->count ? cut : group;
}

static void find_exact(tr_evidence *evidence, indexed *x) {
  tr_runs_of_stem(&evidence->runs, evidence->report, x->run->dataset, x->bank, &x->exact);
  if (!x->exact.count)
    return;
  tr_sweep_pair(&x->index, &x->exact);
  for (size_t i = 0; i < x->exact.count; ++i)
    x->exact.groups[i] = same_seeds(evidence->report, x->exact.groups[i], x->index.groups[i]);
}

static double mean_of(const tr_selection *selection, const tr_metric *metric) {
  return tr_selection_statistic(selection, metric).mean;
}

/* Of a class. */
static double mean_rows(const tr_selection *selection) {
  double sum = 0;
  for (size_t i = 0; i < selection->count; ++i)
    sum += (double)selection->groups[i]->runs[0]->bank_rows;
  return sum / (double)selection->count;
}

static double mean_index_bytes(const tr_selection *selection) {
  double sum = 0;
  for (size_t i = 0; i < selection->count; ++i)
    sum += (double)selection->groups[i]->runs[0]->index_bytes;
  return sum / (double)selection->count;
}

static void weigh(indexed *x) {
  x->recall = mean_of(&x->index, &tr_metric_recall_at_1);
  x->seconds = mean_of(&x->index, &tr_metric_search_seconds);
  x->exact_seconds = mean_of(&x->exact, &tr_metric_search_seconds);
  if (x->exact.count && !tr_same_machine(x->run, x->exact.groups[0]->runs[0]))
    x->exact_seconds = NAN;
  x->build_seconds = mean_of(&x->index, &tr_metric_index_seconds);
  x->bytes = mean_index_bytes(&x->index);
  x->bank_bytes = mean_rows(&x->index) * x->run->dimension * (double)sizeof(float);
  x->loss = NAN;
  for (size_t m = 0; m < METRICS; ++m) {
    x->change[m] = mean_of(&x->index, metrics[m]) - mean_of(&x->exact, metrics[m]);
    x->loss = fmax(x->loss, -x->change[m]); /* of NaN and a number the number */
  }
  bool bearable = x->loss <= BEARABLE;
  x->faster = bearable && !x->flat && x->exact_seconds >= FASTER * x->seconds;
  x->smaller = bearable && !x->flat && x->bytes > 0 && x->bank_bytes >= SMALLER * x->bytes;
}

static int compare_indexed(const void *a, const void *b) {
  const indexed *x = a, *y = b;
  int order = strcmp(x->run->dataset, y->run->dataset);
  if (!order)
    order = (x->run->percent < y->run->percent) - (x->run->percent > y->run->percent);
  if (!order)
    order = strcmp(x->bank, y->bank);
  if (!order)
    order = strcmp(x->run->search, y->run->search);
  if (!order)
    order = x->run->nprobe - y->run->nprobe;
  return order ? order : x->run->ef_search - y->run->ef_search;
}

/* All indexes, those of a bank beside each other; the report's memory. */
static indexed *find_all(tr_evidence *evidence, size_t *count) {
  const tr_runs *runs = &evidence->runs;
  indexed *all = tr_report_alloc(evidence->report, runs->group_count, sizeof *all);
  *count = 0;
  for (size_t i = 0; all && i < runs->group_count;) {
    const tr_group *group = &runs->groups[i];
    indexed x = {.run = group->runs[0], .bank = tr_stem_of_bank(evidence->report, group->stem)};
    i += tr_runs_at(runs, evidence->report, i, &x.index);
    if (tr_is_exact(x.run) || !x.index.count || !x.bank)
      continue;
    find_exact(evidence, &x);
    if (!x.index.count)
      continue;
    x.run = x.index.groups[0]->runs[0];
    x.flat = strcmp(x.run->search, "faiss:Flat") == 0;
    weigh(&x);
    all[(*count)++] = x;
  }
  if (all && *count)
    qsort(all, *count, sizeof *all, compare_indexed);
  return all;
}

/* ---- words ---- */

/* "`IVF512,Flat` with nprobe 4" */
static void write_name(FILE *out, const indexed *x) {
  const char *name = strncmp(x->run->search, "faiss:", 6) == 0 ? x->run->search + 6 : x->run->search;
  fprintf(out, "`%s`", name);
  if (x->run->nprobe)
    fprintf(out, " with nprobe %d", x->run->nprobe);
  if (x->run->ef_search)
    fprintf(out, " with ef %d", x->run->ef_search);
}

/* "finds 75.2 % of the nearest rows; image AUROC +0.00, pixel AUROC -0.01, PRO +0.10 points" */
static void write_quality(FILE *out, const indexed *x) {
  static const char *const names[METRICS] = {"image AUROC", "pixel AUROC", "PRO"};
  const char *separator = "; ";
  fprintf(out, "finds %.*f %% of the nearest rows", x->recall > 0.99 ? 2 : 1, 100 * x->recall);
  for (size_t m = 0; m < METRICS; ++m)
    if (isfinite(x->change[m])) {
      fprintf(out, "%s%s %+.2f", separator, names[m], fabs(x->change[m]) < 0.005 ? 0 : x->change[m]);
      separator = ", ";
    }
  fprintf(out, " points");
}

/* The better of two for a purpose; both may be NULL. */
typedef bool better_fn(const indexed *a, const indexed *b);

static bool is_faster(const indexed *a, const indexed *b) {
  return a->seconds < b->seconds;
}
static bool is_smaller(const indexed *a, const indexed *b) {
  return a->bytes < b->bytes || (a->bytes == b->bytes && a->seconds < b->seconds);
}
static bool loses_more(const indexed *a, const indexed *b) {
  return a->change[0] < b->change[0];
}

static bool any(const indexed *x) {
  return !x->flat;
}
static bool pays_in_time(const indexed *x) {
  return x->faster;
}
static bool pays_in_memory(const indexed *x) {
  return x->smaller;
}
static bool is_fragile(const indexed *x) {
  return !x->flat && x->change[0] < -FRAGILE;
}

typedef bool wanted_fn(const indexed *x);

static const indexed *best_of(const indexed *bank, size_t count, wanted_fn *wanted, better_fn *better) {
  const indexed *best = NULL;
  for (size_t i = 0; i < count; ++i)
    if (wanted(&bank[i]) && (!best || better(&bank[i], best)))
      best = &bank[i];
  return best;
}

static size_t count_of(const indexed *bank, size_t count, wanted_fn *wanted) {
  size_t n = 0;
  for (size_t i = 0; i < count; ++i)
    n += wanted(&bank[i]);
  return n;
}

static void write_time(FILE *out, const indexed *bank, size_t count) {
  const indexed *best = best_of(bank, count, pays_in_time, is_faster), *fastest = best_of(bank, count, any, is_faster);
  if (!fastest || !isfinite(fastest->exact_seconds))
    return;
  if (best) {
    fprintf(out, " In time an index pays: ");
    write_name(out, best);
    fprintf(out, " takes %.3g ms, so is %.2f times as fast, and ", 1e3 * best->seconds, best->exact_seconds / best->seconds);
    write_quality(out, best);
    fprintf(out, "; its %.3g s of building are won back after %.0f images.", best->build_seconds,
            ceil(best->build_seconds / (best->exact_seconds - best->seconds)));
    return;
  }
  fprintf(out, " In time no index pays: the fastest, ");
  write_name(out, fastest);
  fprintf(out, ", takes %.3g ms, %.2f times as long as exact search, and ", 1e3 * fastest->seconds,
          fastest->seconds / fastest->exact_seconds);
  write_quality(out, fastest);
  fprintf(out, ".");
}

static void write_bytes(FILE *out, const indexed *x) {
  char bytes[32], rows[32];
  fprintf(out, "%s, of %s as floats", tr_format_bytes((size_t)x->bytes, bytes, sizeof bytes),
          tr_format_bytes((size_t)x->bank_bytes, rows, sizeof rows));
}

static void write_memory(FILE *out, const indexed *bank, size_t count) {
  const indexed *best = best_of(bank, count, pays_in_memory, is_smaller), *smallest = best_of(bank, count, any, is_smaller);
  if (!smallest)
    return;
  if (best && best == best_of(bank, count, pays_in_time, is_faster)) {
    fprintf(out, " In memory it pays as well: ");
    write_bytes(out, best);
    fprintf(out, ".");
    return;
  }
  const indexed *x = best ? best : smallest;
  fprintf(out, best ? " In memory " : " In memory none pays: ");
  write_name(out, x);
  fprintf(out, best ? " pays: it holds the bank in " : " holds the bank in ");
  write_bytes(out, x);
  fprintf(out, ", and ");
  write_quality(out, x);
  fprintf(out, ".");
}

/* The released code's image score is the maximum over patches. */
static void write_fragile(FILE *out, const indexed *bank, size_t count) {
  const indexed *worst = best_of(bank, count, is_fragile, loses_more);
  size_t n = count_of(bank, count, is_fragile);
  if (!worst)
    return;
  fprintf(
      out,
      " Recall alone misleads: an image's score is that of its most distant patch, and one good patch whose neighbour is missed "
      "is enough. %zu of these indexes lose%s more than %g points of image AUROC; ",
      n, n == 1 ? "s" : "", FRAGILE);
  write_name(out, worst);
  fprintf(out, " loses %.2f, though it finds %.1f %% of the nearest rows.", -worst->change[0], 100 * worst->recall);
}

static void write_ceiling(FILE *out, const indexed *bank) {
  if (mean_of(&bank->exact, metrics[0]) > 100 - 0.005)
    fprintf(out, " With exact search image AUROC is 100 here, so that only large losses of it show.");
}

static void write_flat(FILE *out, const indexed *bank, size_t count) {
  for (size_t i = 0; i < count; ++i)
    if (bank[i].flat && isfinite(bank[i].exact_seconds))
      fprintf(out, " FAISS's own exact search (`Flat`) takes %.1f times as long as this program's.",
              bank[i].seconds / bank[i].exact_seconds);
}

/* Beside a GPU. */
static void write_hosted(FILE *out, const indexed *bank, size_t count) {
  const char *separator = " Searched by FAISS on the host, to which the queries are brought: ";
  for (size_t i = 0; i < count; ++i)
    if (tr_searched_on_host(bank[i].run)) {
      fputs(separator, out);
      write_name(out, &bank[i]);
      separator = ", ";
    }
  if (*separator == ',')
    fputc('.', out);
}

static const char *data_of(tr_evidence *evidence, const indexed *x) {
  return tr_report_text(evidence->report, "%s, %g %% of the patches", tr_sweep_title(evidence, &x->index), x->run->percent);
}

/* A bank's paragraph. */
static void write_bank(FILE *out, tr_evidence *evidence, const indexed *bank, size_t count) {
  const char *data = data_of(evidence, bank);
  fprintf(out, "\n\n%s (%.0f rows of %d dimensions): ", data ? data : "", mean_rows(&bank->index), bank->run->dimension);
  if (!bank->exact.count) {
    fprintf(out, "exact search of the same images was not run.");
    return;
  }
  if (isfinite(bank->exact_seconds))
    fprintf(out, "exact search takes %.3g ms an image, with %d threads.", 1e3 * bank->exact_seconds, bank->run->threads);
  else if (tr_same_machine(bank->run, bank->exact.groups[0]->runs[0]))
    fprintf(out, "the lines of exact search are of an early version, which did not time it by itself.");
  else
    fprintf(out, "exact search was timed on another machine.");
  write_time(out, bank, count);
  write_memory(out, bank, count);
  write_fragile(out, bank, count);
  write_ceiling(out, bank);
  write_flat(out, bank, count);
  write_hosted(out, bank, count);
}

static size_t same_bank(const indexed *all, size_t count) {
  size_t n = 1;
  while (n < count && strcmp(all[n].bank, all->bank) == 0 && strcmp(all[n].run->dataset, all->run->dataset) == 0)
    ++n;
  return n;
}

static const char *introduction(tr_evidence *evidence, const indexed *all, size_t count) {
  tr_text text;
  FILE *out = tr_text_open(&text);
  if (!out)
    return tr_text_close(evidence, out, &text);
  fprintf(
      out,
      "Recall@1: test patches whose nearest row of the bank the index finds; distance error: how much too far its row is, on\n"
      "average, as a fraction. AUROC and PRO in percent. Both searches are of the same banks, images and seeds; seconds are\n"
      "throughput of all threads, by the device's clock, from queries on the device to distances on the host. All are means\n"
      "over the classes. An index is said to pay in time where it is at least %g times as fast as this program's exact search,\n"
      "in memory where it takes at most 1/%g of the bank's bytes, and in both cases only where no metric falls by more than\n"
      "%g points.",
      FASTER, SMALLER, BEARABLE);
  for (size_t i = 0, n; i < count; i += n) {
    n = same_bank(all + i, count - i);
    write_bank(out, evidence, all + i, n);
  }
  return tr_text_close(evidence, out, &text);
}

/* ---- the table ---- */

static void number(tr_evidence *evidence, const tr_selection *selection, const tr_metric *metric) {
  tr_cell cell = tr_cell_of_ours(selection, metric, "No exact search of the same bank on the same images.");
  tr_report_cell(evidence->report, &cell);
}

static void index_row(tr_evidence *evidence, const indexed *x) {
  tr_report *report = evidence->report;
  const tr_result *run = x->run;
  tr_report_row(report);
  tr_report_label(report, run->nprobe      ? tr_report_text(report, "`%s`, nprobe %d", run->search, run->nprobe)
                          : run->ef_search ? tr_report_text(report, "`%s`, ef %d", run->search, run->ef_search)
                                           : tr_report_text(report, "`%s`", run->search));
  tr_report_label(report, data_of(evidence, x));
  tr_report_label(report, x->faster && x->smaller ? "in time and memory"
                          : x->faster             ? "in time"
                          : x->smaller            ? "in memory"
                          : isfinite(x->loss)     ? "no"
                                                  : "unknown");
  number(evidence, &x->index, &tr_metric_recall_at_1);
  number(evidence, &x->index, &tr_metric_distance_error);
  for (size_t m = 0; m < METRICS; ++m) {
    number(evidence, &x->index, metrics[m]);
    number(evidence, &x->exact, metrics[m]);
  }
  number(evidence, &x->index, &tr_metric_search_seconds);
  number(evidence, &x->exact, &tr_metric_search_seconds);
  number(evidence, &x->index, &tr_metric_index_seconds);
  tr_cell bytes = tr_cell_new(TR_UNIT_BYTES);
  bytes.ours = (tr_statistic){x->bytes, 0, 1};
  tr_report_cell(report, &bytes);
}

void tr_searches_write(tr_evidence *evidence) {
  static const char *const columns[] = {"index", "on",          "pays",  "recall@1", "distance error", "image AUROC",
                                        "exact", "pixel AUROC", "exact", "PRO",      "exact",          "search, s/image",
                                        "exact", "building, s", "bytes"};
  size_t count;
  const indexed *all = find_all(evidence, &count);
  const char *text = all && count ? introduction(evidence, all, count) : NULL;
  if (!text)
    return;
  tr_report_table(evidence->report, "indexes", "Indexes beside exact search: where approximate search pays", text);
  for (size_t i = 0; i < sizeof columns / sizeof *columns; ++i)
    tr_report_column(evidence->report, columns[i], false);
  for (size_t i = 0; i < count; ++i)
    index_row(evidence, &all[i]);
}
