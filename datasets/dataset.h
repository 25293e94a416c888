/* A data set: classes, and per class the list of training and test images with labels and masks. Listing reads file names
 * only; images are decoded when they are asked for. */
#ifndef TR_DATASETS_DATASET_H
#define TR_DATASETS_DATASET_H

#include "host/base/text.h"
#include "host/totalrecall.h"

typedef struct tr_sample {
  char *path;   /* file */
  char *name;   /* path below the class's test (or train) folder, "/"-separated: "broken_large/000.png"; the key in --scores */
  char *mask;   /* file, or NULL: no defect, or the defect's place is unknown */
  char *defect; /* "good", "broken_large", … */
  bool anomalous;
} tr_sample;

typedef struct tr_class {
  char *name;
  tr_sample *train, *test; /* sorted by name as the official loader sorts (folder, then file) */
  size_t train_count, test_count;
  int mask_threshold; /* a mask value above it counts as defect before the resize (binarised to 0/255); -1: taken as it is */
} tr_class;

typedef struct tr_dataset_options {
  const char *kind; /* mvtec, mtd, mstc, folder, synthetic */
  const char *root; /* folder that holds `mvtec/`, `mtd/`, …, or the data set's own folder */
  const char *split_file; /* mtd: file with the names of the training images; NULL: differnet_train.txt beside the data */
} tr_dataset_options;

typedef struct tr_dataset tr_dataset;

/* Resolves the folder and lists the class names (sorted). EIO / EFORMAT name what was looked for. */
tr_status tr_dataset_open(const tr_dataset_options *options, tr_dataset **out);
void tr_dataset_close(tr_dataset *dataset);
const char *tr_dataset_kind(const tr_dataset *dataset);
const char *tr_dataset_folder(const tr_dataset *dataset);
const tr_strings *tr_dataset_classes(const tr_dataset *dataset);
/* Lists one class. An empty train folder, a class folder without test, … are errors that name the folder. */
tr_status tr_dataset_class(const tr_dataset *dataset, const char *name, tr_class *out);
void tr_class_free(tr_class *class_);

/* Looks at everything: missing folders, undecodable images, the same image in train and test (by content), defects without a
 * mask or masks without a defect, masks of another size, counts against the official ones. Calls `report` per finding;
 * is_error tells errors from remarks. Returns TR_OK when it could look, whatever it found. */
typedef void (*tr_finding_fn)(void *context, bool is_error, const char *class_name, const char *text);
tr_status tr_dataset_verify(const tr_dataset *dataset, tr_finding_fn report, void *context, size_t *errors);

/* Draws the synthetic data set into `folder` in MVTec's layout; deterministic in seed. */
typedef struct tr_synthesize_options {
  uint64_t seed;
  int train, good, per_defect; /* images per class; 0 = the default */
  int size;                    /* pixels of a side; 0 = the default */
} tr_synthesize_options;
tr_status tr_synthesize(const char *folder, const tr_synthesize_options *options);

#endif
