/* MVTec AD's layout: <class>/train/good, <class>/test/<defect>, <class>/ground_truth/<defect>/<stem>_mask.png.
 *
 * The official loader pairs masks with images by their sorted order; here they are paired by name, so that one missing file
 * cannot shift all others. On the complete data set both give the same pairs. */
#include "datasets/layout.h"

#include <stdlib.h>
#include <string.h>

/* Images per class as published: 3629 for training, 467 good and 1258 defective ones for the test. */
static const struct official_count {
  const char *name;
  size_t train, good, anomalous;
} official_counts[] = {
    {"bottle", 209, 20, 63},     {"cable", 224, 58, 92},    {"capsule", 219, 23, 109}, {"carpet", 280, 28, 89},
    {"grid", 264, 21, 57},       {"hazelnut", 391, 40, 70}, {"leather", 245, 32, 92},  {"metal_nut", 220, 22, 93},
    {"pill", 267, 26, 141},      {"screw", 320, 41, 119},   {"tile", 230, 33, 84},     {"toothbrush", 60, 12, 30},
    {"transistor", 213, 60, 40}, {"wood", 247, 19, 60},     {"zipper", 240, 32, 119},
};
enum { OFFICIAL_CLASSES = sizeof official_counts / sizeof *official_counts };

static bool has_folder(const char *folder, const char *name) {
  char *path = tr_format("%s/%s", folder, name);
  bool found = path && tr_is_folder(path);
  free(path);
  return found;
}

/* A folder with only one of the two is a class as well: a damaged copy is to be reported, not passed over. */
static bool is_class_folder(const char *folder) {
  return has_folder(folder, "train") || has_folder(folder, "test");
}

tr_status tr_mvtec_classes(const char *folder, tr_strings *out) {
  tr_strings folders = {0};
  tr_status status = tr_folders_list(folder, &folders);
  for (size_t i = 0; status == TR_OK && i < folders.count; ++i) {
    char *path = tr_format("%s/%s", folder, folders.items[i]);
    if (!path)
      status = tr_out_of_memory("listing classes");
    else if (is_class_folder(path))
      status = tr_strings_add(out, folders.items[i]);
    free(path);
  }
  tr_strings_free(&folders);
  return status;
}

/* Takes `folder` as the data set's when it holds classes. */
static tr_status try_folder(tr_dataset *dataset, char *folder) {
  if (!folder)
    return tr_out_of_memory("opening mvtec");
  tr_status status = tr_is_folder(folder) ? tr_mvtec_classes(folder, &dataset->classes) : TR_OK;
  if (status == TR_OK && dataset->classes.count)
    dataset->folder = folder;
  else
    free(folder);
  return status;
}

static tr_status mvtec_open(tr_dataset *dataset, const char *root) {
  TR_TRY(try_folder(dataset, tr_format("%s/mvtec", root)));
  if (!dataset->folder)
    TR_TRY(try_folder(dataset, strdup(root)));
  if (dataset->folder)
    return TR_OK;
  if (is_class_folder(root))
    return tr_fail(TR_EIO,
                   "data set mvtec: '%s' is the folder of one class; give the folder that holds it, or use data set "
                   "'folder'",
                   root);
  return tr_fail(TR_EIO, "data set mvtec: found no class folder (one that holds train/ and test/) in '%s/mvtec' or '%s'", root,
                 root);
}

static tr_status list_train(const char *folder, tr_samples *train) {
  char *good = tr_format("%s/train/good", folder);
  tr_status status = TR_OK;
  if (!good)
    status = tr_out_of_memory("listing training images");
  else if (!tr_is_folder(good))
    status = tr_fail(TR_EIO, "there is no folder '%s' of training images", good);
  else
    status = tr_samples_add_folder(train, good, "good", NULL);
  if (status == TR_OK && !train->count)
    status = tr_fail(TR_EFORMAT, "the training folder '%s' has no image (png, jpg, jpeg, bmp)", good);
  free(good);
  return status;
}

static tr_status list_defect(const char *folder, const char *defect, tr_samples *test) {
  char *images = tr_format("%s/test/%s", folder, defect);
  char *masks = tr_format("%s/ground_truth/%s", folder, defect);
  tr_status status = TR_OK;
  if (!images || !masks)
    status = tr_out_of_memory("listing test images");
  else
    status = tr_samples_add_folder(test, images, defect, strcmp(defect, "good") ? masks : NULL);
  free(images);
  free(masks);
  return status;
}

static tr_status list_test(const char *folder, tr_samples *test) {
  char *path = tr_format("%s/test", folder);
  if (!path)
    return tr_out_of_memory("listing test images");
  tr_strings defects = {0};
  tr_status status =
      tr_is_folder(path) ? tr_folders_list(path, &defects) : tr_fail(TR_EIO, "there is no folder '%s' of test images", path);
  for (size_t i = 0; status == TR_OK && i < defects.count; ++i)
    status = list_defect(folder, defects.items[i], test);
  if (status == TR_OK && !test->count)
    status = tr_fail(TR_EFORMAT, "the test folder '%s' has no folder with images (png, jpg, jpeg, bmp)", path);
  tr_strings_free(&defects);
  free(path);
  return status;
}

tr_status tr_mvtec_list(const tr_dataset *dataset, const char *name, tr_class *out) {
  tr_samples train = {0}, test = {0};
  char *folder = tr_format("%s/%s", dataset->folder, name);
  tr_status status = folder ? list_train(folder, &train) : tr_out_of_memory("listing a class");
  if (status == TR_OK)
    status = list_test(folder, &test);
  if (status == TR_OK)
    tr_class_fill(out, &train, &test);
  else
    tr_fail_context(status, "class %s", name);
  tr_samples_free(&train);
  tr_samples_free(&test);
  free(folder);
  return status;
}

tr_status tr_mvtec_masks(const tr_dataset *dataset, const char *name, tr_strings *out) {
  char *folder = tr_format("%s/%s/ground_truth", dataset->folder, name);
  if (!folder)
    return tr_out_of_memory("listing masks");
  tr_status status = tr_is_folder(folder) ? tr_images_below(folder, out) : TR_OK;
  free(folder);
  return status;
}

static const struct official_count *find_official(const char *name) {
  for (size_t i = 0; i < OFFICIAL_CLASSES; ++i)
    if (strcmp(name, official_counts[i].name) == 0)
      return &official_counts[i];
  return NULL;
}

/* Names the official classes that are not here. A set without any of them is another one in the same layout. */
static tr_status mvtec_remark_set(const tr_dataset *dataset, tr_findings *findings) {
  char *missing = strdup("");
  size_t present = 0;
  for (size_t i = 0; missing && i < OFFICIAL_CLASSES; ++i) {
    if (tr_strings_has(&dataset->classes, official_counts[i].name)) {
      ++present;
      continue;
    }
    char *longer = tr_format("%s%s%s", missing, missing[0] ? ", " : "", official_counts[i].name);
    free(missing);
    missing = longer;
  }
  if (!missing)
    return tr_out_of_memory("counting classes");
  if (present && present < OFFICIAL_CLASSES)
    tr_finding(findings, false, NULL, "%zu of MVTec AD's 15 classes are here; missing: %s", present, missing);
  free(missing);
  return TR_OK;
}

static tr_status remark_train_folders(const tr_dataset *dataset, const char *name, tr_findings *findings) {
  tr_strings folders = {0};
  char *train = tr_format("%s/%s/train", dataset->folder, name);
  tr_status status = train ? tr_folders_list(train, &folders) : tr_out_of_memory("looking at the training folder");
  for (size_t i = 0; status == TR_OK && i < folders.count; ++i)
    if (strcmp(folders.items[i], "good") != 0)
      tr_finding(findings, false, name, "train/%s is not read: only train/good is", folders.items[i]);
  tr_strings_free(&folders);
  free(train);
  return status;
}

static tr_status remark_test_files(const tr_dataset *dataset, const char *name, tr_findings *findings) {
  tr_strings files = {0};
  char *test = tr_format("%s/%s/test", dataset->folder, name);
  tr_status status = test ? tr_images_list(test, &files) : tr_out_of_memory("looking at the test folder");
  if (status == TR_OK && files.count)
    tr_finding(findings, false, name, "images directly in test/ are not read: %zu (%s%s)", files.count, files.items[0],
               files.count > 1 ? ", …" : "");
  tr_strings_free(&files);
  free(test);
  return status;
}

tr_status tr_mvtec_remark_class(const tr_dataset *dataset, const tr_class *class_, tr_findings *findings) {
  TR_TRY(remark_train_folders(dataset, class_->name, findings));
  TR_TRY(remark_test_files(dataset, class_->name, findings));
  const struct official_count *official = dataset->layout == &tr_layout_mvtec ? find_official(class_->name) : NULL;
  if (!official)
    return TR_OK;
  size_t anomalous = 0;
  for (size_t i = 0; i < class_->test_count; ++i)
    anomalous += class_->test[i].anomalous;
  size_t good = class_->test_count - anomalous;
  if (class_->train_count != official->train)
    tr_finding(findings, false, class_->name, "%zu training images; MVTec AD has %zu", class_->train_count, official->train);
  if (good != official->good)
    tr_finding(findings, false, class_->name, "%zu good test images; MVTec AD has %zu", good, official->good);
  if (anomalous != official->anomalous)
    tr_finding(findings, false, class_->name, "%zu defective test images; MVTec AD has %zu", anomalous, official->anomalous);
  return TR_OK;
}

const tr_layout tr_layout_mvtec = {
    .kind = "mvtec",
    .masks_expected = true,
    .open = mvtec_open,
    .list = tr_mvtec_list,
    .masks = tr_mvtec_masks,
    .remark_set = mvtec_remark_set,
    .remark_class = tr_mvtec_remark_class,
};
