/* Own images. The folders of a class are read as dataset.h describes them:
 *   good/ or train/good/         nominal images
 *   test/good/                   nominal images for the test
 *   <defect>/ or test/<defect>/  defective images
 *   masks/, mask/ or ground_truth/, in it <defect>/<stem>.png or <stem>_mask.png
 * This takes anomalib's usual folders (good, a folder per defect, mask/<defect>) and MVTec's as they are. */
#include "datasets/layout.h"

#include <stdlib.h>
#include <string.h>

static const char *const mask_folders[] = {"masks", "mask", "ground_truth"};
enum { MASK_FOLDERS = sizeof mask_folders / sizeof *mask_folders };

static const char layout_text[] =
    "good/ or train/good/ (nominal images), test/good/, test/<defect>/ or <defect>/, masks/<defect>/";

/* `<folder>/<name>` when it is a folder; *out stays NULL otherwise. */
static tr_status find_folder(const char *folder, const char *name, char **out) {
  char *path = tr_format("%s/%s", folder, name);
  if (!path)
    return tr_out_of_memory("reading a folder");
  if (tr_is_folder(path))
    *out = path;
  else
    free(path);
  return TR_OK;
}

/* The folder of nominal training images; *out stays NULL when there is none. */
static tr_status find_nominal(const char *folder, char **out) {
  char *plain = NULL, *nested = NULL;
  tr_status status = find_folder(folder, "good", &plain);
  if (status == TR_OK)
    status = find_folder(folder, "train/good", &nested);
  if (status == TR_OK && plain && nested)
    status = tr_fail(TR_EFORMAT, "'%s' has both good/ and train/good/: which holds the training images?", folder);
  if (status == TR_OK) {
    *out = plain ? plain : nested;
    return TR_OK;
  }
  free(plain);
  free(nested);
  return status;
}

static tr_status is_class_folder(const char *folder, bool *yes) {
  char *nominal = NULL;
  tr_status status = find_nominal(folder, &nominal);
  *yes = nominal != NULL;
  free(nominal);
  return status;
}

static tr_status add_class_folders(tr_dataset *dataset) {
  tr_strings folders = {0};
  tr_status status = tr_folders_list(dataset->folder, &folders);
  for (size_t i = 0; status == TR_OK && i < folders.count; ++i) {
    bool yes = false;
    char *path = tr_format("%s/%s", dataset->folder, folders.items[i]);
    status = path ? is_class_folder(path, &yes) : tr_out_of_memory("listing classes");
    if (status == TR_OK && yes)
      status = tr_strings_add(&dataset->classes, folders.items[i]);
    free(path);
  }
  tr_strings_free(&folders);
  return status;
}

static const char *last_part(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash && slash[1] ? slash + 1 : path;
}

/* `root` is one class, named as its folder, or holds classes. */
static tr_status folder_open(tr_dataset *dataset, const char *root) {
  char *real = realpath(root, NULL);
  if (!real)
    return tr_fail_errno(TR_EIO, "data set folder: resolving '%s'", root);
  dataset->folder = real;
  bool one = false;
  TR_TRY(is_class_folder(real, &one));
  if (one)
    return tr_strings_add(&dataset->classes, last_part(real));
  TR_TRY(add_class_folders(dataset));
  if (!dataset->classes.count)
    return tr_fail(TR_EIO, "data set folder: found no folder of nominal images in '%s' or its subfolders; expected %s", real,
                   layout_text);
  return TR_OK;
}

/* The folder of a class: the data set's own when it is itself the class. */
static tr_status class_folder(const tr_dataset *dataset, const char *name, char **out) {
  bool one = false;
  TR_TRY(is_class_folder(dataset->folder, &one));
  *out = one ? strdup(dataset->folder) : tr_format("%s/%s", dataset->folder, name);
  return *out ? TR_OK : tr_out_of_memory("listing a class");
}

static tr_status find_masks(const char *folder, char **out) {
  for (size_t i = 0; i < MASK_FOLDERS && !*out; ++i)
    TR_TRY(find_folder(folder, mask_folders[i], out));
  return TR_OK;
}

/* Folders beside the nominal one that are no defects. */
static bool is_reserved(const char *name) {
  for (size_t i = 0; i < MASK_FOLDERS; ++i)
    if (strcmp(name, mask_folders[i]) == 0)
      return true;
  return strcmp(name, "good") == 0 || strcmp(name, "train") == 0 || strcmp(name, "test") == 0;
}

static tr_status add_test_folder(const char *folder, const char *defect, const char *masks, tr_samples *test) {
  char *images = tr_format("%s/%s", folder, defect);
  char *mask_folder = masks && strcmp(defect, "good") != 0 ? tr_format("%s/%s", masks, defect) : NULL;
  tr_status status = images ? tr_samples_add_folder(test, images, defect, mask_folder) : tr_out_of_memory("listing test images");
  free(images);
  free(mask_folder);
  return status;
}

/* Defect folders are read in test/ and beside good/; one that is in both places would give two images one name. */
static tr_status list_test(const char *folder, tr_samples *test) {
  tr_strings nested = {0}, beside = {0};
  char *test_folder = NULL, *masks = NULL;
  tr_status status = find_folder(folder, "test", &test_folder);
  if (status == TR_OK)
    status = find_masks(folder, &masks);
  if (status == TR_OK && test_folder)
    status = tr_folders_list(test_folder, &nested);
  if (status == TR_OK)
    status = tr_folders_list(folder, &beside);
  for (size_t i = 0; status == TR_OK && i < nested.count; ++i)
    status = add_test_folder(test_folder, nested.items[i], masks, test);
  for (size_t i = 0; status == TR_OK && i < beside.count; ++i) {
    if (is_reserved(beside.items[i]))
      continue;
    if (tr_strings_has(&nested, beside.items[i]))
      status = tr_fail(TR_EFORMAT, "'%s' has both %s/ and test/%s/: keep one", folder, beside.items[i], beside.items[i]);
    else
      status = add_test_folder(folder, beside.items[i], masks, test);
  }
  tr_strings_free(&nested);
  tr_strings_free(&beside);
  free(test_folder);
  free(masks);
  return status;
}

static tr_status list_train(const char *folder, tr_samples *train) {
  char *nominal = NULL;
  TR_TRY(find_nominal(folder, &nominal));
  tr_status status = TR_OK;
  if (!nominal)
    status = tr_fail(TR_EIO, "there is no folder of nominal images in '%s'; expected %s", folder, layout_text);
  else
    status = tr_samples_add_folder(train, nominal, "good", NULL);
  if (status == TR_OK && !train->count)
    status = tr_fail(TR_EFORMAT, "the training folder '%s' has no image (png, jpg, jpeg, bmp)", nominal);
  free(nominal);
  return status;
}

static tr_status folder_list(const tr_dataset *dataset, const char *name, tr_class *out) {
  tr_samples train = {0}, test = {0};
  char *folder = NULL;
  tr_status status = class_folder(dataset, name, &folder);
  if (status == TR_OK)
    status = list_train(folder, &train);
  if (status == TR_OK)
    status = list_test(folder, &test);
  if (status == TR_OK) {
    tr_class_fill(out, &train, &test);
    out->mask_threshold = 0; /* masks of unknown origin: 0 and 255, or 0 and 1 */
  } else {
    tr_fail_context(status, "class %s", name);
  }
  tr_samples_free(&train);
  tr_samples_free(&test);
  free(folder);
  return status;
}

static tr_status folder_masks(const tr_dataset *dataset, const char *name, tr_strings *out) {
  char *folder = NULL, *masks = NULL;
  tr_status status = class_folder(dataset, name, &folder);
  if (status == TR_OK)
    status = find_masks(folder, &masks);
  if (status == TR_OK && masks)
    status = tr_images_below(masks, out);
  free(folder);
  free(masks);
  return status;
}

static tr_status folder_remark_class(const tr_dataset *dataset, const tr_class *class_, tr_findings *findings) {
  (void)dataset;
  size_t anomalous = 0;
  for (size_t i = 0; i < class_->test_count; ++i)
    anomalous += class_->test[i].anomalous;
  if (!class_->test_count)
    tr_finding(findings, false, class_->name, "no test images: images can be fitted and scored, but nothing can be measured");
  else if (anomalous == class_->test_count)
    tr_finding(findings, false, class_->name,
               "no good test images: no AUROC can be computed; move some of the good ones to test/good/");
  else if (!anomalous)
    tr_finding(findings, false, class_->name, "no defective test images: no AUROC can be computed");
  return TR_OK;
}

const tr_layout tr_layout_folder = {
    .kind = "folder",
    .masks_expected = false,
    .open = folder_open,
    .list = folder_list,
    .masks = folder_masks,
    .remark_class = folder_remark_class,
};
