/* paper-repro.md: published numbers beside ours, and for every cell without a number of ours what it takes to get one. */
#include "host/report/report.h"
#include "host/base/status.h"
#include "host/report/csv.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *const mvtec_classes[] = {"bottle",   "cable",      "capsule",    "carpet", "grid",
                                            "hazelnut", "leather",    "metal_nut",  "pill",   "screw",
                                            "tile",     "toothbrush", "transistor", "wood",   "zipper"};
static const double paper_percents[] = {25, 10, 1};
enum { CLASSES = COUNT(mvtec_classes), PERCENTS = COUNT(paper_percents) };

/* ---- what the report reads ---- */

typedef enum published_file {
  TABLE_1,
  TABLE_2,
  TABLE_3,
  TABLE_6,
  TABLE_S1,
  TABLE_S2,
  TABLE_S3,
  IMAGE_COUNTS,
  AUTHORS_CODE,
  FILES
} published_file;
static const char *const published_names[FILES] = {
    "table1.csv",  "table2.csv",  "table3.csv",
    "table6.csv",  "tableS1.csv", "tableS2.csv",
    "tableS3.csv", "counts.csv",  "official_on_resnet50v1.csv",
};

typedef struct report {
  FILE *out;
  tr_csv published[FILES];
  tr_results results;
  tr_strings notes; /* of the section being written */
} report;

/* A metric of the paper: its name in the published files, and ours. */
typedef struct metric {
  const char *title, *published;
  size_t offset; /* in tr_result */
} metric;
static const metric image_auroc = {"Image AUROC", "image_AUROC", offsetof(tr_result, image_auroc)};
static const metric pixel_auroc = {"Pixel AUROC", "pixel_AUROC", offsetof(tr_result, pixel_auroc)};
static const metric pro = {"PRO", "PRO", offsetof(tr_result, pro)};
static const metric misclassified = {"Misclassified images", "misclassified_images_at_F1_optimal_threshold",
                                     offsetof(tr_result, misclassified)};

static double metric_of(const tr_result *r, const metric *m) {
  double value;
  memcpy(&value, (const char *)r + m->offset, sizeof value);
  return value;
}

static double number(const char *text) {
  char *end;
  double value = strtod(text, &end);
  return end == text ? NAN : value;
}

/* NaN when it is not in the file. */
static double published_value(const report *r, published_file file, const char *method, const char *class_name,
                              const char *metric_name) {
  const tr_csv *csv = &r->published[file];
  for (size_t i = 0; i < csv->rows; ++i)
    if (strcmp(tr_csv_cell(csv, i, "method"), method) == 0 && strcmp(tr_csv_cell(csv, i, "class"), class_name) == 0 &&
        strcmp(tr_csv_cell(csv, i, "metric"), metric_name) == 0)
      return number(tr_csv_cell(csv, i, "value"));
  return NAN;
}

/* ---- several seeds ---- */

typedef struct statistic {
  size_t n;
  double mean, deviation; /* of the sample; 0 for n = 1 */
} statistic;

static statistic statistic_of(const double *values, size_t n) {
  statistic s = {.n = n, .mean = NAN};
  double sum = 0, squares = 0;
  for (size_t i = 0; i < n; ++i)
    sum += values[i];
  if (n)
    s.mean = sum / (double)n;
  for (size_t i = 0; i < n; ++i)
    squares += (values[i] - s.mean) * (values[i] - s.mean);
  s.deviation = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
  return s;
}

/* The same but for the seed. */
static bool same_configuration(const tr_result *a, const tr_result *b) {
  size_t stem_a = strlen(a->run), stem_b = strlen(b->run);
  char seed_a[32], seed_b[32];
  snprintf(seed_a, sizeof seed_a, "_S%llu", (unsigned long long)a->seed);
  snprintf(seed_b, sizeof seed_b, "_S%llu", (unsigned long long)b->seed);
  const char *at_a = strstr(a->run, seed_a), *at_b = strstr(b->run, seed_b);
  if (at_a && at_b) {
    stem_a = (size_t)(at_a - a->run);
    stem_b = (size_t)(at_b - b->run);
    if (strcmp(at_a + strlen(seed_a), at_b + strlen(seed_b)) != 0)
      return false;
  }
  return stem_a == stem_b && strncmp(a->run, b->run, stem_a) == 0 && strcmp(a->dataset, b->dataset) == 0 &&
         strcmp(a->class_name, b->class_name) == 0 && strcmp(a->weights_sha256, b->weights_sha256) == 0 &&
         a->train_images == b->train_images && a->images == b->images;
}

static tr_status statistic_over_seeds(const report *r, const tr_result *like, const metric *m, statistic *out) {
  double *values = calloc(r->results.count + 1, sizeof *values);
  uint64_t *seeds = calloc(r->results.count + 1, sizeof *seeds);
  size_t n = 0;
  for (size_t i = 0; values && seeds && i < r->results.count; ++i) {
    const tr_result *item = &r->results.items[i];
    bool seen = false;
    for (size_t j = 0; j < n; ++j)
      seen = seen || seeds[j] == item->seed;
    if (seen || !same_configuration(item, like) || !isfinite(metric_of(item, m)))
      continue;
    seeds[n] = item->seed;
    values[n++] = metric_of(item, m);
  }
  bool complete = values && seeds;
  if (complete)
    *out = statistic_of(values, n);
  free(values);
  free(seeds);
  return complete ? TR_OK : tr_fail(TR_ENOMEM, "writing the report: out of memory");
}

/* ---- which of our runs stands for a cell of the paper ---- */

/* PatchCore as the paper and its code have it, but for the backbone and the data. */
static bool papers_settings(const tr_result *r, double percent) {
  return strcmp(r->method, "patchcore") == 0 && r->subsampling && strcmp(r->subsampling, "greedy") == 0 &&
         r->percent == percent && r->protocol && strcmp(r->protocol, "official") == 0 && r->distance &&
         strcmp(r->distance, "squared") == 0 && r->image_score && strcmp(r->image_score, "max") == 0 && r->aggregate &&
         strcmp(r->aggregate, "official") == 0 && r->layer_dimension == 1024 && r->target_dimension == 1024 && r->patch == 3 &&
         r->stride == 1 && r->resize == 256 && r->crop == 224 && !r->squash && r->layers &&
         strcmp(r->layers, "layer2+layer3") == 0 && r->sigma == 4;
}

#define PAPERS_BACKBONE "wide_resnet50_2"

/* Images of the published data; MTD: 80 % of 952 good ones to train on, 191 good and 392 defective ones to test (protocol.md, 8). */
static void full_counts(const report *r, const char *dataset, const char *class_name, size_t *train, size_t *test) {
  *train = *test = 0;
  if (strcmp(dataset, "mtd") == 0) {
    *train = 761;
    *test = 583;
    return;
  }
  double good = published_value(r, IMAGE_COUNTS, "(dataset)", class_name, "test_good_images");
  double bad = published_value(r, IMAGE_COUNTS, "(dataset)", class_name, "test_anomalous_images");
  double fit = published_value(r, IMAGE_COUNTS, "(dataset)", class_name, "train_good_images");
  if (isfinite(good) && isfinite(bad) && isfinite(fit)) {
    *train = (size_t)fit;
    *test = (size_t)(good + bad);
  }
}

/* The run nearest to the paper's: its backbone first, then complete data; NULL when the class was not run at all. */
static const tr_result *best_run(const report *r, const char *dataset, const char *class_name, double percent) {
  size_t train, test;
  full_counts(r, dataset, class_name, &train, &test);
  const tr_result *best = NULL;
  int best_rank = -1;
  for (size_t i = 0; i < r->results.count; ++i) {
    const tr_result *item = &r->results.items[i];
    if (strcmp(item->dataset, dataset) != 0 || strcmp(item->class_name, class_name) != 0 || !papers_settings(item, percent))
      continue;
    int rank = 2 * (strcmp(item->backbone, PAPERS_BACKBONE) == 0) + (item->train_images == train && item->images == test);
    if (rank > best_rank) {
      best_rank = rank;
      best = item;
    }
  }
  return best;
}

/* ---- notes under a table ---- */

/* Number of the note, from 1; equal notes are one. */
static tr_status note_number(report *r, char *text, size_t *out) {
  for (size_t i = 0; text && i < r->notes.count; ++i)
    if (strcmp(r->notes.items[i], text) == 0) {
      *out = i + 1;
      free(text);
      return TR_OK;
    }
  TR_TRY(tr_strings_take(&r->notes, text));
  *out = r->notes.count;
  return TR_OK;
}

static void write_notes(report *r) {
  if (r->notes.count)
    fputc('\n', r->out);
  for (size_t i = 0; i < r->notes.count; ++i)
    fprintf(r->out, "%zu. %s\n", i + 1, r->notes.items[i]);
  tr_strings_free(&r->notes);
}

/* How our run differs from the paper's; NULL text when it does not. */
static tr_status difference_note(const report *r, const tr_result *run, char **out) {
  size_t train, test;
  full_counts(r, run->dataset, run->class_name, &train, &test);
  bool other_backbone = strcmp(run->backbone, PAPERS_BACKBONE) != 0;
  bool reduced = run->train_images != train || run->images != test;
  *out = NULL;
  if (!other_backbone && !reduced)
    return TR_OK;
  char *weights = other_backbone ? tr_format("%s in place of " PAPERS_BACKBONE, run->backbone) : strdup("");
  char *data = reduced ? tr_format("%s%zu of %zu training and %zu of %zu test images", other_backbone ? "; " : "",
                                   run->train_images, train, run->images, test)
                       : strdup("");
  if (weights && data)
    *out = tr_format("Not as in the paper: %s%s.", weights, data);
  free(weights);
  free(data);
  return *out ? TR_OK : tr_fail(TR_ENOMEM, "writing the report: out of memory");
}

#define NEEDS(data, experiment)                                                                                     \
  "Not run: needs " data " and `" PAPERS_BACKBONE "` weights (torchvision's wide_resnet50_2-95faca4d.pth) in DIR; " \
  "`totalrecall run experiments/" experiment ".yaml --data ROOT --weights DIR`."

static char *missing_note(const char *dataset) {
  bool mtd = strcmp(dataset, "mtd") == 0;
  return strdup(mtd ? NEEDS("MTD under ROOT/mtd", "table6") : NEEDS("MVTec AD under ROOT/mvtec", "table1"));
}

/* ---- cells ---- */

/* "98.31 ± 0.02" in percent, or a count. */
static void write_statistic(FILE *out, const statistic *s, double scale, int digits) {
  fprintf(out, "%.*f", digits, scale * s->mean);
  if (s->n > 1)
    fprintf(out, " ± %.*f", digits, scale * s->deviation);
}

/* " published | ours |" of one class and percentage. */
static tr_status write_pair(report *r, const char *dataset, const char *class_name, double percent, const metric *m,
                            double published) {
  if (isfinite(published))
    fprintf(r->out, " %.1f |", published);
  else
    fprintf(r->out, " |");
  const tr_result *run = best_run(r, dataset, class_name, percent);
  statistic s = {.mean = NAN};
  if (run)
    TR_TRY(statistic_over_seeds(r, run, m, &s));
  size_t number_of_note;
  if (!run || !s.n) {
    TR_TRY(note_number(r, missing_note(dataset), &number_of_note));
    fprintf(r->out, " not run [%zu] |", number_of_note);
    return TR_OK;
  }
  fputc(' ', r->out);
  write_statistic(r->out, &s, 100, 2);
  char *difference;
  TR_TRY(difference_note(r, run, &difference));
  if (difference) {
    TR_TRY(note_number(r, difference, &number_of_note));
    fprintf(r->out, " [%zu]", number_of_note);
  }
  fprintf(r->out, " |");
  return TR_OK;
}

static void write_text(report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void write_text(report *r, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(r->out, format, arguments);
  va_end(arguments);
}

/* ---- tables 1 to 3 ---- */

static const char *method_name(double percent, char buffer[32]) {
  snprintf(buffer, 32, "PatchCore-%g%%", percent);
  return buffer;
}

/* The mean over the 15 classes, or the sum for counts, where every class was run as in the paper. */
static tr_status exact_total(const report *r, double percent, const metric *m, size_t *classes, double *sum) {
  *classes = 0;
  *sum = 0;
  for (size_t i = 0; i < CLASSES; ++i) {
    const tr_result *run = best_run(r, "mvtec", mvtec_classes[i], percent);
    char *difference = NULL;
    if (run)
      TR_TRY(difference_note(r, run, &difference));
    bool exact = run && !difference;
    free(difference);
    statistic s;
    if (!exact)
      continue;
    TR_TRY(statistic_over_seeds(r, run, m, &s));
    *classes += s.n > 0;
    *sum += s.n ? s.mean : 0;
  }
  return TR_OK;
}

static tr_status write_mean_row(report *r, published_file file, const char *table, double percent, const metric *m) {
  char method[32];
  bool counts = m == &misclassified;
  double published = published_value(r, file, method_name(percent, method), counts ? "all" : "mean", m->published);
  size_t classes, note;
  double sum;
  TR_TRY(exact_total(r, percent, m, &classes, &sum));
  write_text(r, "| %s | %s | PatchCore-%g %% | ", table, m->title, percent);
  if (isfinite(published))
    write_text(r, counts ? "%.0f" : "%.1f", published);
  if (classes == CLASSES) {
    double ours = counts ? sum : 100 * sum / CLASSES;
    write_text(r, counts ? " | %.1f | %+.1f |\n" : " | %.2f | %+.2f |\n", ours, ours - published);
    return TR_OK;
  }
  TR_TRY(note_number(r, missing_note("mvtec"), &note));
  write_text(r, " | not run [%zu]: %zu of %d classes | |\n", note, classes, (int)CLASSES);
  return TR_OK;
}

static tr_status write_means(report *r) {
  static const struct {
    published_file file;
    const char *table;
    const metric *m;
  } rows[] = {{TABLE_1, "1", &image_auroc}, {TABLE_1, "1", &misclassified}, {TABLE_2, "2", &pixel_auroc}, {TABLE_3, "3", &pro}};
  write_text(r, "\n## Tables 1, 2 and 3: MVTec AD, mean over the 15 classes\n\n"
                "In percent; misclassified images of 1725 at the F1-optimal threshold of each class.\n\n"
                "| table | metric | method | published | reproduced | difference |\n|---|---|---|---|---|---|\n");
  for (size_t i = 0; i < COUNT(rows); ++i)
    for (size_t p = 0; p < PERCENTS; ++p)
      TR_TRY(write_mean_row(r, rows[i].file, rows[i].table, paper_percents[p], rows[i].m));
  write_notes(r);
  return TR_OK;
}

static tr_status write_class_table(report *r, published_file file, const char *table, const metric *m) {
  write_text(r, "\n### Table %s: %s of each class\n\n| class |", table, m->title);
  for (size_t p = 0; p < PERCENTS; ++p)
    write_text(r, " %g %%: published | reproduced |", paper_percents[p]);
  write_text(r, "\n|---|---|---|---|---|---|---|\n");
  for (size_t i = 0; i < CLASSES; ++i) {
    write_text(r, "| %s |", mvtec_classes[i]);
    for (size_t p = 0; p < PERCENTS; ++p) {
      char method[32];
      double published = published_value(r, file, method_name(paper_percents[p], method), mvtec_classes[i], m->published);
      TR_TRY(write_pair(r, "mvtec", mvtec_classes[i], paper_percents[p], m, published));
    }
    write_text(r, "\n");
  }
  write_notes(r);
  return TR_OK;
}

static tr_status write_mtd(report *r) {
  write_text(r, "\n## Table 6: MTD\n\nImage AUROC in percent; DifferNet's split.\n\n"
                "| method | published | reproduced |\n|---|---|---|\n");
  static const char *const methods[] = {"GANomaly", "1-NN", "DifferNet"};
  for (size_t i = 0; i < COUNT(methods); ++i)
    write_text(r, "| %s | %.1f | not part of this program |\n", methods[i],
               published_value(r, TABLE_6, methods[i], "all", image_auroc.published));
  for (size_t p = 1; p < PERCENTS; ++p) {
    char method[32];
    write_text(r, "| PatchCore-%g %% |", paper_percents[p]);
    TR_TRY(write_pair(r, "mtd", "mtd", paper_percents[p], &image_auroc,
                      published_value(r, TABLE_6, method_name(paper_percents[p], method), "all", image_auroc.published)));
    write_text(r, "\n");
  }
  write_notes(r);
  return TR_OK;
}

/* ---- the authors' code with the same weights ---- */

typedef struct parity_column {
  const char *column;
  const metric *m;
  double tolerance; /* over seeds: another draw of the projection is another coreset */
} parity_column;
static const parity_column parity_columns[] = {
    {"image_auroc", &image_auroc, 0.005}, {"pixel_auroc", &pixel_auroc, 0.002}, {"pro", &pro, 0.005}};

/* Our runs with the same weights, settings and images as row `row`; NULL when there is none. */
static const tr_result *parity_run(const report *r, size_t row) {
  const tr_csv *csv = &r->published[AUTHORS_CODE];
  const char *class_name = tr_csv_cell(csv, row, "class");
  for (size_t i = 0; i < r->results.count; ++i) {
    const tr_result *item = &r->results.items[i];
    if (strcmp(item->class_name, class_name) == 0 && strcmp(item->backbone, "resnet50_v1") == 0 &&
        papers_settings(item, number(tr_csv_cell(csv, row, "percent"))) &&
        (double)item->train_images == number(tr_csv_cell(csv, row, "train_images")) &&
        (double)item->images == number(tr_csv_cell(csv, row, "test_images")))
      return item;
  }
  return NULL;
}

static tr_status write_parity_metrics(report *r, size_t row, const tr_result *run) {
  const tr_csv *csv = &r->published[AUTHORS_CODE];
  const char *class_name = tr_csv_cell(csv, row, "class"), *percent = tr_csv_cell(csv, row, "percent");
  for (size_t i = 0; i < COUNT(parity_columns); ++i) {
    const parity_column *c = &parity_columns[i];
    double theirs = number(tr_csv_cell(csv, row, c->column));
    write_text(r, "| %s, %s %% | %s | %.4f |", class_name, percent, c->m->title, theirs);
    if (!run) {
      write_text(r, " not run: `totalrecall run experiments/%s.yaml --data ROOT --weights DIR` | | | |\n",
                 strcmp(class_name, "mtd") == 0 ? "mtd" : "mvtec");
      continue;
    }
    statistic s;
    TR_TRY(statistic_over_seeds(r, run, c->m, &s));
    double difference = s.mean - theirs;
    write_text(r, " ");
    write_statistic(r->out, &s, 1, 4);
    write_text(r, " (%zu seed%s) | %+.4f | %.3f | %s |\n", s.n, s.n == 1 ? "" : "s", difference, c->tolerance,
               fabs(difference) <= c->tolerance ? "yes" : "**no**");
  }
  return TR_OK;
}

/* Seconds of a whole run as the authors' table splits them. */
static void write_parity_times(report *r, size_t row, const tr_result *run) {
  const tr_csv *csv = &r->published[AUTHORS_CODE];
  double theirs = number(tr_csv_cell(csv, row, "features_s")) + number(tr_csv_cell(csv, row, "coreset_s")) +
                  number(tr_csv_cell(csv, row, "predict_s"));
  write_text(r, "| %s, %s %% | %.0f | %.1f GB |", tr_csv_cell(csv, row, "class"), tr_csv_cell(csv, row, "percent"), theirs,
             number(tr_csv_cell(csv, row, "peak_gb")));
  if (!run) {
    write_text(r, " not run | | | |\n");
    return;
  }
  double fit = run->seconds.fit, predict = run->seconds.score_per_image * (double)run->images;
  write_text(r, " %.0f (fit %.0f, of that the coreset %.1f; scoring %.0f) | %.1f GB | %.1f | %s, %d threads |\n", fit + predict,
             fit, run->seconds.coreset, predict, (double)run->peak_bytes / 1e9, theirs / (fit + predict),
             run->processor ? run->processor : "", run->threads);
}

static tr_status write_parity(report *r) {
  const tr_csv *csv = &r->published[AUTHORS_CODE];
  if (!csv->rows)
    return TR_OK;
  write_text(r, "\n## The authors' code with the same weights and images\n\n"
                "amazon-science/patchcore-inspection @fcaa92f on the CPU, seed 0, with the ResNet50 v1 weights and the\n"
                "images at hand. Our seeds draw other projections and other starting points, so the coresets differ as\n"
                "theirs would from seed to seed.\n\n"
                "| class | metric | authors' code | ours | difference | tolerance | within |\n"
                "|---|---|---|---|---|---|---|\n");
  for (size_t i = 0; i < csv->rows; ++i)
    TR_TRY(write_parity_metrics(r, i, parity_run(r, i)));
  write_text(r, "\nSeconds of a whole run of one setting, and peak memory (ours: of all settings of the class at\n"
                "once). The authors' code ran on 2 cores, MTD with some other load on the machine.\n\n"
                "| class | authors' code, s | peak | ours, s | peak | times faster | on |\n"
                "|---|---|---|---|---|---|---|\n");
  for (size_t i = 0; i < csv->rows; ++i)
    write_parity_times(r, i, parity_run(r, i));
  return TR_OK;
}

/* ---- everything that was run ---- */

static int compare_results(const void *a, const void *b) {
  const tr_result *x = *(const tr_result *const *)a, *y = *(const tr_result *const *)b;
  int order = strcmp(x->experiment, y->experiment);
  if (!order)
    order = strcmp(x->dataset, y->dataset);
  if (!order)
    order = (x->percent < y->percent) - (x->percent > y->percent);
  if (!order)
    order = strcmp(x->run, y->run);
  return order ? order : strcmp(x->class_name, y->class_name);
}

static bool is_synthetic(const tr_result *run) {
  return strcmp(run->dataset, "synthetic") == 0;
}

static tr_status write_run_row(report *r, const tr_result *run) {
  static const metric *const metrics[] = {&image_auroc, &pixel_auroc, &pro, &misclassified};
  write_text(r, "| %s | %s |", run->run, run->class_name);
  size_t seeds = 0;
  for (size_t i = 0; i < COUNT(metrics); ++i) {
    statistic s;
    TR_TRY(statistic_over_seeds(r, run, metrics[i], &s));
    seeds = s.n > seeds ? s.n : seeds;
    bool count = metrics[i] == &misclassified;
    write_text(r, " ");
    if (s.n)
      write_statistic(r->out, &s, 1, count ? 1 : 4);
    else
      write_text(r, "–");
    write_text(r, count ? " of %zu |" : " |", run->images);
  }
  char peak[32], forecast[32];
  write_text(r, " %zu | %zu | %.1f | %.1f | %.4f | %s | %s |\n", seeds, run->bank_rows, run->seconds.fit, run->seconds.coreset,
             run->seconds.score_per_image, tr_format_bytes(run->peak_bytes, peak, sizeof peak),
             tr_format_bytes(run->forecast_bytes, forecast, sizeof forecast));
  return TR_OK;
}

/* A row per run and class; seeds are summed up in one. */
static tr_status write_runs(report *r, bool synthetic) {
  const tr_result **rows = calloc(r->results.count + 1, sizeof *rows);
  if (!rows)
    return tr_fail(TR_ENOMEM, "writing the report: out of memory");
  size_t count = 0;
  for (size_t i = 0; i < r->results.count; ++i) {
    const tr_result *item = &r->results.items[i];
    bool seen = is_synthetic(item) != synthetic;
    for (size_t j = 0; j < count && !seen; ++j)
      seen = same_configuration(rows[j], item);
    if (!seen)
      rows[count++] = item;
  }
  qsort(rows, count, sizeof *rows, compare_results);
  if (count)
    write_text(r, "| run | class | image AUROC | pixel AUROC | PRO | misclassified | seeds | bank rows | fit, s | coreset, s "
                  "| s/image | peak | forecast |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < count; ++i)
    status = write_run_row(r, rows[i]);
  if (!count)
    write_text(r, synthetic ? "Not run: needs nothing; `totalrecall run experiments/quick.yaml` (or `scripts/reproduce.sh`).\n"
                            : "Nothing yet: `totalrecall run experiments/mvtec.yaml --data ROOT --weights DIR`.\n");
  free(rows);
  return status;
}

static tr_status write_all_runs(report *r) {
  write_text(r, "\n## The default run: synthetic images\n\n"
                "Images drawn by the program, EfficientNet-Lite0's ImageNet weights. It shows that everything works; it\n"
                "says nothing about the paper's data.\n\n");
  TR_TRY(write_runs(r, true));
  write_text(r, "\n## All runs on real images\n\n"
                "Fractions, mean and standard deviation over seeds; the named seed is the first. Fit: the training pass\n"
                "and the run's own selection. s/image: decoding, backbone, search and map, all threads together. Peak\n"
                "and forecast: resident bytes of the process, for all settings that shared the pass.\n\n");
  return write_runs(r, false);
}

static bool same_text(const char *a, const char *b) {
  return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_machine(const tr_result *a, const tr_result *b) {
  return same_text(a->processor, b->processor) && same_text(a->device, b->device) && same_text(a->version, b->version) &&
         a->threads == b->threads && strcmp(a->weights_sha256, b->weights_sha256) == 0;
}

static void write_machines(report *r) {
  write_text(r, "\n## Machines and versions\n\n| processor | device | threads | version | weights | sha256 | results | last |\n"
                "|---|---|---|---|---|---|---|---|\n");
  for (size_t i = 0; i < r->results.count; ++i) {
    const tr_result *a = &r->results.items[i];
    bool first = true;
    size_t count = 0;
    const char *last = "";
    for (size_t j = 0; j < r->results.count; ++j) {
      const tr_result *b = &r->results.items[j];
      if (!same_machine(a, b))
        continue;
      first = first && j >= i;
      ++count;
      last = b->date && strcmp(b->date, last) > 0 ? b->date : last;
    }
    if (first)
      write_text(r, "| %s | %s | %d | %s | %s | %.12s… | %zu | %.10s |\n", a->processor ? a->processor : "",
                 a->device ? a->device : "", a->threads, a->version ? a->version : "", a->weights ? a->weights : "",
                 a->weights_sha256, count, last);
  }
}

/* ---- putting it together ---- */

static tr_status read_published(report *r, const char *results, tr_progress *progress) {
  for (int i = 0; i < FILES; ++i) {
    char *path = tr_format("%s/published/%s", results, published_names[i]);
    if (!path)
      return tr_fail(TR_ENOMEM, "reading published numbers: out of memory");
    tr_status status = TR_OK;
    if (tr_is_file(path))
      status = tr_csv_read(path, &r->published[i]);
    else
      tr_progress_line(progress, "warning: %s is not there; its numbers are left out", path);
    free(path);
    TR_TRY(status);
  }
  return TR_OK;
}

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), tail = strlen(end);
  return length > tail && strcmp(text + length - tail, end) == 0;
}

static tr_status read_machine(report *r, const char *folder, tr_progress *progress) {
  tr_strings names = {0};
  TR_TRY(tr_folder_list(folder, &names));
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < names.count; ++i) {
    if (!ends_with(names.items[i], ".jsonl") || strcmp(names.items[i], TR_BENCH_NAME ".jsonl") == 0)
      continue;
    char *path = tr_format("%s/%s", folder, names.items[i]);
    status = path ? tr_results_read(path, progress, &r->results) : tr_fail(TR_ENOMEM, "reading results: out of memory");
    free(path);
  }
  tr_strings_free(&names);
  return status;
}

static tr_status read_results(report *r, const char *results, tr_progress *progress) {
  tr_strings names = {0};
  TR_TRY(tr_folder_list(results, &names));
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < names.count; ++i) {
    if (strcmp(names.items[i], "published") == 0)
      continue;
    char *folder = tr_format("%s/%s", results, names.items[i]);
    if (!folder)
      status = tr_fail(TR_ENOMEM, "reading results: out of memory");
    else if (tr_is_folder(folder))
      status = read_machine(r, folder, progress);
    free(folder);
  }
  tr_strings_free(&names);
  return status;
}

static tr_status write_report(report *r) {
  write_text(r, "# Reproduction of PatchCore\n\n"
                "Roth et al., \"Towards Total Recall in Industrial Anomaly Detection\", CVPR 2022. Written by\n"
                "`totalrecall report` from `results/`: the published numbers (`results/published/`, with their sources)\n"
                "beside what this program measured. Numbers in brackets refer to the notes under a table.\n");
  TR_TRY(write_parity(r));
  TR_TRY(write_means(r));
  TR_TRY(write_class_table(r, TABLE_S1, "S1", &image_auroc));
  TR_TRY(write_class_table(r, TABLE_S2, "S2", &pixel_auroc));
  TR_TRY(write_class_table(r, TABLE_S3, "S3", &pro));
  TR_TRY(write_mtd(r));
  TR_TRY(write_all_runs(r));
  write_machines(r);
  return TR_OK;
}

static void release_report(report *r) {
  for (int i = 0; i < FILES; ++i)
    tr_csv_free(&r->published[i]);
  tr_results_free(&r->results);
  tr_strings_free(&r->notes);
}

tr_status tr_report_markdown(const char *results, tr_progress *progress, char **out) {
  report r = {0};
  size_t bytes;
  *out = NULL;
  tr_status status = read_published(&r, results, progress);
  if (status == TR_OK)
    status = read_results(&r, results, progress);
  if (status == TR_OK && !(r.out = open_memstream(out, &bytes)))
    status = tr_fail(TR_ENOMEM, "writing the report: out of memory");
  if (status == TR_OK)
    status = write_report(&r);
  if (r.out && fclose(r.out) != 0 && status == TR_OK)
    status = tr_fail(TR_ENOMEM, "writing the report: out of memory");
  release_report(&r);
  if (status != TR_OK) {
    free(*out);
    *out = NULL;
  }
  return status;
}
