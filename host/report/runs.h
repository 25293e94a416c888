/* Result lines of all machines, found by their settings. A run's name stands for its settings (host/harness/setting.h), whatever the
 * experiment was called; a group is the runs of one class that differ in nothing but the seed. */
#ifndef TR_REPORT_RUNS_H
#define TR_REPORT_RUNS_H

#include "host/base/text.h"
#include "host/harness/store.h"
#include "host/report/model.h"

/* A metric of the paper: its title, its name in the published files, and ours. */
typedef struct tr_metric {
  const char *title, *published;
  size_t offset; /* in tr_result */
  tr_unit unit;  /* percent (of our fractions), fraction, count or seconds */
} tr_metric;
extern const tr_metric tr_metric_image_auroc, tr_metric_pixel_auroc, tr_metric_pro, tr_metric_misclassified, tr_metric_seconds;
extern const tr_metric tr_metric_false_positives, tr_metric_false_negatives;
extern const tr_metric tr_metric_recall_at_1, tr_metric_distance_error, tr_metric_search_seconds, tr_metric_index_seconds;
extern const tr_metric tr_metric_pixel_auroc_anomalous, tr_metric_pro_anomalous; /* as the released csv files have them */

/* In the metric's unit; NaN where it is not defined. */
double tr_metric_of(const tr_metric *metric, const tr_result *result);

typedef struct tr_group {
  /* By seed; of several of one seed the newest, or what scored fastest with the same numbers there. Where that one is of an early version
   * and lacks seconds.search_per_image, it has those of the fastest that does not. */
  const tr_result **runs;
  size_t count;     /* at least 1 */
  const char *stem; /* the name without its seed */
} tr_group;

typedef struct tr_runs {
  tr_results results;     /* every line */
  const tr_result **kept; /* [groups' runs], what they point into */
  tr_group *groups;       /* by data set, method, stem, class, weights, images */
  size_t group_count;
  tr_strings stems;
} tr_runs;

/* The folders of <results> but `published`. EIO names the folder. */
tr_status tr_machines_list(const char *results, tr_strings *out);
/* <results>/<machine>/ *.jsonl */
tr_status tr_runs_read(const char *results, const tr_strings *machines, tr_progress *progress, tr_runs *out);
void tr_runs_free(tr_runs *runs);

tr_statistic tr_group_statistic(const tr_group *group, const tr_metric *metric);

/* The groups that stand for one setting on a data set: one a class, all with the same backbone and weights. */
typedef struct tr_selection {
  const tr_group **groups; /* the report's memory */
  size_t count;
} tr_selection;

/* Which backbones may stand in for the setting's own where it was not run. */
typedef enum tr_substitutes {
  TR_SUBSTITUTE_NONE,
  TR_SUBSTITUTE_VERSION, /* resnet50_v1 for resnet50: the same network but for its strides, and other weights */
  TR_SUBSTITUTE_ANY
} tr_substitutes;

/* `wanted` is normalised; its seed does not matter. class_name: NULL for all classes. Of several backbones the setting's own is taken,
 * else the one run on most classes (of equals the first of tr_report_backbones()); of several sets of images of a class the largest. */
tr_status tr_runs_select(const tr_runs *runs, tr_report *report, const tr_setting *wanted, const char *class_name,
                         tr_substitutes substitutes, tr_selection *out);

/* The setting whose groups begin at `first`: groups of one setting and data set stand together. Returns how many they are; the selection
 * has one a class. */
size_t tr_runs_at(const tr_runs *runs, tr_report *report, size_t first, tr_selection *out);

/* The setting of that name (without its seed) on a data set; no groups where it was not run. */
void tr_runs_of_stem(const tr_runs *runs, tr_report *report, const char *dataset, const char *stem, tr_selection *out);

/* The same clock: times of other processors or numbers of threads do not compare. */
bool tr_same_machine(const tr_result *a, const tr_result *b);
/* By FAISS, on the host, beside a backbone on a GPU. */
bool tr_searched_on_host(const tr_result *run);

/* Whether a run searched its bank exactly; methods without a bank did. */
bool tr_is_exact(const tr_result *run);

/* The setting's name without what names its index, so that of the exact search of the same bank. The report's memory, or `stem`; NULL when
 * out of memory. */
const char *tr_stem_of_bank(tr_report *report, const char *stem);

/* Mean over classes (sum, for counts), and over the seeds that every class was run with; without such seeds the mean of the classes'
 * means. NaN where a class has no value. */
tr_statistic tr_selection_statistic(const tr_selection *selection, const tr_metric *metric);

/* The same on another backbone: layers of the same strides, PaDiM's number of channels for its width, seed 0. False where it has no
 * such layers, or the setting is an ensemble. */
bool tr_setting_on_backbone(const tr_setting *setting, const char *backbone, tr_setting *out);

/* All architectures, those nearest to the paper's first: in this order backbones stand in, and are shown. */
const char *const *tr_report_backbones(size_t *count);

/* The runs of a class with exactly these numbers of images; NULL: none. */
const tr_group *tr_runs_find(const tr_runs *runs, const tr_setting *setting, const char *class_name, size_t train, size_t test);

#endif
