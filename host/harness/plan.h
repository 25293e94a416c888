/* The plan of a run: the grid of an experiment file times the classes, grouped by what can be shared, without what is finished,
 * and forecast in bytes before anything starts.
 *
 * A group is one pass of the backbone over the training and test images of a class, and one model whose variants are the
 * group's runs. */
#ifndef TR_HARNESS_PLAN_H
#define TR_HARNESS_PLAN_H

#include "datasets/dataset.h"
#include "host/backbone/graph.h"
#include "host/harness/experiment.h"
#include "host/harness/store.h"

typedef struct tr_plan_options {
  const char *data;          /* folder that holds the data sets; NULL: the working directory */
  const char *weights;       /* file or folder */
  const char *results;       /* folder */
  const char *machine;       /* the results' sub-folder */
  const char *scores, *maps; /* folders, or NULL. A finished run whose files are not there is computed again */
  const tr_strings *classes; /* only these; NULL or empty: the experiment's */
  int shard, shards;         /* this process does groups shard-1, shard-1 + shards, …; 1, 1: all */
  size_t memory_limit;       /* bytes; 0: none */
  bool weights_optional;     /* for a forecast: weights that are not found are no error, and nothing counts as finished */
  tr_progress *progress;
} tr_plan_options;

/* Peak resident bytes of the process in each phase of a group, and counts that the time depends on. */
typedef struct tr_forecast {
  size_t load_bytes, fit_bytes, score_bytes, metrics_bytes;
  size_t peak_bytes;           /* the largest of them */
  double backbone_macs;        /* of one image */
  double fit_macs, score_macs; /* of the method: tr_method_needs */
  int grid_h, grid_w, dimension, in_h, in_w;
} tr_forecast;

typedef struct tr_plan_weights {
  const char *backbone;
  char *file;   /* NULL: not found */
  char *sha256; /* hex */
  size_t bytes;
} tr_plan_weights;

/* What listing a class said; `error` instead where it failed. */
typedef struct tr_plan_class {
  const tr_dataset *dataset;
  const char *name;
  size_t train_images, test_images, anomalous_images;
  int first_h, first_w, most_h, most_w; /* of the first and of the largest image */
  double mean_pixels;                   /* of an image */
  char *first_image;                    /* file */
  char *error;
} tr_plan_class;

typedef struct tr_plan_run {
  const tr_setting *setting;
  char *name;
  bool in_store; /* its line exists, only files of scores or maps are missing */
} tr_plan_run;

typedef struct tr_group {
  const tr_experiment *experiment;
  const tr_plan_class *class_;
  const tr_plan_weights *weights;
  tr_plan_run *runs; /* not finished; they share features */
  size_t run_count;
  tr_forecast forecast;
  char *refused; /* why it cannot run, or NULL */
} tr_group;

typedef struct tr_plan {
  tr_group *groups;
  size_t group_count;
  size_t runs, finished_runs; /* of this shard: all, and those that need no work */
  tr_results finished;        /* their results */
  size_t base_bytes;          /* resident before the first group */
  tr_dataset **datasets;
  size_t dataset_count;
  tr_plan_weights **weights;
  size_t weights_count;
  tr_plan_class **classes;
  size_t class_count;
} tr_plan;

tr_status tr_plan_create(const tr_plan_options *options, tr_device *device, const tr_experiments *experiments, tr_plan **out);
void tr_plan_destroy(tr_plan *plan);

/* Fills group->forecast; `base_bytes` is resident without the group. EINVAL when a setting cannot be on this class. */
tr_status tr_group_forecast(tr_group *group, tr_device *device, size_t base_bytes);

/* The model's options for a group: `variants` has room for group->run_count and must outlive the options. */
tr_status tr_group_method_options(const tr_group *group, tr_device *device, tr_variant *variants, tr_method_options *out);
tr_backbone_options tr_group_backbone_options(const tr_group *group);

#endif
