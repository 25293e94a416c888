/* What the kinds of data sets share: the open data set, the table of functions a kind consists of, and the listing of image
 * folders. Internal to datasets/. */
#ifndef TR_DATASETS_LAYOUT_H
#define TR_DATASETS_LAYOUT_H

#include "datasets/dataset.h"
#include "host/base/status.h"

typedef struct tr_findings tr_findings;

typedef struct tr_layout {
  const char *kind;
  bool masks_expected; /* a defect without a mask is an error, not a remark */
  /* Sets dataset->folder and dataset->classes. `root` is an existing folder without a slash at its end. */
  tr_status (*open)(tr_dataset *dataset, const char *root);
  /* Lists one of dataset->classes. `out` is zeroed; the caller frees it after a failure. */
  tr_status (*list)(const tr_dataset *dataset, const char *name, tr_class *out);
  /* Every mask file of a class, whether or not a test image goes with it. */
  tr_status (*masks)(const tr_dataset *dataset, const char *name, tr_strings *out);
  /* Remarks on the whole data set and on one listed class: official counts, folders that are not read. May be NULL. */
  tr_status (*remark_set)(const tr_dataset *dataset, tr_findings *findings);
  tr_status (*remark_class)(const tr_dataset *dataset, const tr_class *class_, tr_findings *findings);
} tr_layout;

extern const tr_layout tr_layout_mvtec, tr_layout_mtd, tr_layout_mstc, tr_layout_folder, tr_layout_synthetic,
    tr_layout_synthetic_mstc;

struct tr_dataset {
  const tr_layout *layout;
  char *folder;
  char *split_file; /* as given, or NULL */
  tr_frame_options frames;
  tr_strings classes;
};

/* A growing list of samples, moved into a tr_class when it is complete. */
typedef struct tr_samples {
  tr_sample *items;
  size_t count, capacity;
} tr_samples;

/* True for the extensions that are read: png, jpg, jpeg, bmp in any case; hidden files are not images. */
bool tr_is_image_name(const char *name);
/* Names of the images in a folder, sorted. */
tr_status tr_images_list(const char *folder, tr_strings *out);
/* Names of the folders in a folder, sorted, without hidden ones. */
tr_status tr_folders_list(const char *folder, tr_strings *out);
/* Appends a sample and takes its texts over, also on failure. A text that is NULL, but for the mask, is ENOMEM. */
tr_status tr_samples_take(tr_samples *samples, tr_sample sample);
/* Appends `<folder>/<file>` as the sample named `<defect>/<file>`; copies its arguments, takes `mask` (may be NULL). */
tr_status tr_samples_add(tr_samples *samples, const char *folder, const char *file, const char *defect, char *mask);
/* Appends all images of `folder`. Masks are `<stem>_mask.*` or `<stem>.*` in `mask_folder`, which may be NULL or absent. */
tr_status tr_samples_add_folder(tr_samples *samples, const char *folder, const char *defect, const char *mask_folder);
/* Appends every image below `<folder>/<subfolder>/` to `out`, as paths. */
tr_status tr_images_below(const char *folder, tr_strings *out);
void tr_samples_free(tr_samples *samples);
/* Moves both lists into the class, sorting each by folder, then file. */
void tr_class_fill(tr_class *class_, tr_samples *train, tr_samples *test);

/* A copy without slashes at the end; NULL when out of memory. */
char *tr_path_trimmed(const char *path);

tr_status tr_out_of_memory(const char *doing);

/* Lists the folders of `folder` that are classes in MVTec's layout: those with train/ or test/. */
tr_status tr_mvtec_classes(const char *folder, tr_strings *out);
tr_status tr_mvtec_list(const tr_dataset *dataset, const char *name, tr_class *out);
tr_status tr_mvtec_masks(const tr_dataset *dataset, const char *name, tr_strings *out);
tr_status tr_mvtec_remark_class(const tr_dataset *dataset, const tr_class *class_, tr_findings *findings);

/* Of a set in mSTC's layout whose folder is known. */
tr_status tr_mstc_classes(tr_dataset *dataset);
tr_status tr_mstc_list(const tr_dataset *dataset, const char *name, tr_class *out);
tr_status tr_mstc_masks(const tr_dataset *dataset, const char *name, tr_strings *out);

/* Reports one finding; class_name NULL: the whole data set. */
void tr_finding(tr_findings *findings, bool is_error, const char *class_name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
