/* Published numbers: read, and found by name. */
#include "host/report/published.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[TR_PUBLISHED_FILES] = {
    "table1.csv",
    "table2.csv",
    "table3.csv",
    "table4.csv",
    "table5.csv",
    "table6.csv",
    "tableS1.csv",
    "tableS2.csv",
    "tableS3.csv",
    "tableS5.csv",
    "tableS6.csv",
    "figure4.csv",
    "figure5.csv",
    "figure6.csv",
    "text.csv",
    "baselines.csv",
    "official_release.csv",
    "reimplementations.csv",
    "counts.csv",
    "official_on_resnet50v1.csv",
};

tr_status tr_published_read(const char *results, tr_progress *progress, tr_published *out) {
  *out = (tr_published){0};
  tr_status status = TR_OK;
  for (int i = 0; status == TR_OK && i < TR_PUBLISHED_FILES; ++i) {
    char *path = tr_format("%s/published/%s", results, names[i]);
    if (!path)
      status = tr_fail(TR_ENOMEM, "reading published numbers: out of memory");
    else if (tr_is_file(path))
      status = tr_csv_read(path, &out->files[i]);
    else
      tr_progress_line(progress, "warning: %s is not there; its numbers are left out", path);
    free(path);
  }
  if (status != TR_OK)
    tr_published_free(out);
  return status;
}

void tr_published_free(tr_published *published) {
  for (int i = 0; i < TR_PUBLISHED_FILES; ++i)
    tr_csv_free(&published->files[i]);
}

double tr_number(const char *text) {
  char *end;
  double value = strtod(text, &end);
  return end == text ? NAN : value;
}

tr_published_value tr_published_find(const tr_published *published, tr_published_file file, const char *method,
                                     const char *class_name, const char *metric) {
  const tr_csv *csv = &published->files[file];
  tr_published_value found = {0, NAN, NULL};
  size_t readers = 0;
  for (size_t i = 0; i < csv->rows; ++i) {
    if (strcmp(tr_csv_cell(csv, i, "method"), method) != 0 || strcmp(tr_csv_cell(csv, i, "class"), class_name) != 0 ||
        strcmp(tr_csv_cell(csv, i, "metric"), metric) != 0)
      continue;
    found.value += tr_number(tr_csv_cell(csv, i, "value"));
    found.source = found.source ? found.source : tr_csv_cell(csv, i, "source");
    ++readers;
  }
  found.value = readers ? found.value / (double)readers : NAN;
  return found;
}

void tr_published_counts(const tr_published *published, const char *dataset, const char *class_name, size_t *train,
                         size_t *test) {
  *train = *test = 0;
  if (strcmp(dataset, "mtd") == 0) {
    *train = 761;
    *test = 583;
  }
  if (strcmp(dataset, "mvtec") != 0)
    return;
  double good = tr_published_find(published, TR_IMAGE_COUNTS, "(dataset)", class_name, "test_good_images").value;
  double bad = tr_published_find(published, TR_IMAGE_COUNTS, "(dataset)", class_name, "test_anomalous_images").value;
  double fit = tr_published_find(published, TR_IMAGE_COUNTS, "(dataset)", class_name, "train_good_images").value;
  if (isfinite(good) && isfinite(bad) && isfinite(fit)) {
    *train = (size_t)fit;
    *test = (size_t)(good + bad);
  }
}
