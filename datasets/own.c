/* Own images: a folder of nominal ones, and whatever files and folders are to be scored. */
#include "datasets/own.h"
#include "datasets/layout.h"

#include <stdlib.h>
#include <string.h>

/* Deeper folders than anyone has; a link to a folder above itself ends here. */
enum { MOST_DEPTH = 32 };

/* ---- nominal images ---- */

static tr_status list_plain(const char *folder, tr_samples *train) {
  TR_TRY(tr_samples_add_folder(train, folder, "good", NULL));
  if (!train->count)
    return tr_fail(TR_EFORMAT, "'%s' has no image (png, jpg, jpeg, bmp), and no good/ or train/good/ with nominal images",
                   folder);
  return TR_OK;
}

static tr_status has_images(const char *folder, bool *yes) {
  tr_strings names = {0};
  tr_status status = tr_images_list(folder, &names);
  *yes = names.count > 0;
  tr_strings_free(&names);
  return status;
}

/* A folder whose sub-folders are classes of their own: which of them is meant? */
static tr_status several_classes(const tr_dataset *dataset, const char *folder) {
  const tr_strings *classes = tr_dataset_classes(dataset);
  return tr_fail(TR_EFORMAT, "'%s' holds classes (%s%s%s); give one of them, as '%s/%s'", folder, classes->items[0],
                 classes->count > 1 ? ", " : "", classes->count > 1 ? classes->items[1] : "", folder, classes->items[0]);
}

/* Whether good/ or train/good/ is there, as the layout `folder` has it; then *out is filled. */
static tr_status list_layout(const char *folder, bool plain, bool *found, tr_class *out) {
  tr_dataset *dataset;
  *found = false;
  tr_status status = tr_dataset_open(&(tr_dataset_options){.kind = "folder", .root = folder}, &dataset);
  if (status != TR_OK)
    return status == TR_EIO ? TR_OK : status; /* no good/: images may lie in the folder itself */
  char *real = realpath(folder, NULL);
  const char *name = real ? strrchr(real, '/') : NULL;
  const tr_strings *classes = tr_dataset_classes(dataset);
  bool is_class = name && classes->count == 1 && strcmp(classes->items[0], name + 1) == 0;
  if (is_class)
    status = tr_dataset_class(dataset, classes->items[0], out);
  else if (!plain)
    status = several_classes(dataset, folder);
  *found = is_class && status == TR_OK;
  free(real);
  tr_dataset_close(dataset);
  return status;
}

tr_status tr_nominal_list(const char *folder, tr_class *out) {
  *out = (tr_class){.mask_threshold = -1};
  if (!tr_is_folder(folder))
    return tr_fail(TR_EIO, "nominal images: there is no folder '%s'", folder);
  bool plain = false, found = false;
  TR_TRY(has_images(folder, &plain));
  TR_TRY(list_layout(folder, plain, &found, out));
  if (found)
    return TR_OK;
  tr_samples train = {0}, test = {0};
  tr_status status = list_plain(folder, &train);
  if (status == TR_OK && !(out->name = strdup(folder)))
    status = tr_out_of_memory("listing nominal images");
  if (status == TR_OK)
    tr_class_fill(out, &train, &test);
  tr_samples_free(&train);
  return status;
}

/* ---- images to score ---- */

/* `below`: the name of `folder`, or NULL for none. */
static tr_status add_images(tr_samples *samples, const char *folder, const char *below) {
  tr_strings files = {0};
  tr_status status = tr_images_list(folder, &files);
  for (size_t i = 0; status == TR_OK && i < files.count; ++i)
    status = tr_samples_add(samples, folder, files.items[i], below, NULL);
  tr_strings_free(&files);
  return status;
}

static tr_status add_tree(tr_samples *samples, const char *folder, const char *below, int depth) {
  if (depth > MOST_DEPTH)
    return tr_fail(TR_EINVAL, "'%s': folders in folders, more than %d deep; is one a link to a folder above it?", folder,
                   MOST_DEPTH);
  TR_TRY(add_images(samples, folder, below));
  tr_strings folders = {0};
  tr_status status = tr_folders_list(folder, &folders);
  for (size_t i = 0; status == TR_OK && i < folders.count; ++i) {
    char *path = tr_format("%s/%s", folder, folders.items[i]), *name = tr_format("%s/%s", below, folders.items[i]);
    status = path && name ? add_tree(samples, path, name, depth + 1) : tr_out_of_memory("listing images");
    free(path);
    free(name);
  }
  tr_strings_free(&folders);
  return status;
}

/* The folder's own name, also of "." and "..". */
static char *own_name(const char *folder) {
  char *real = realpath(folder, NULL);
  const char *slash = real ? strrchr(real, '/') : NULL;
  char *name = slash && slash[1] ? strdup(slash + 1) : NULL;
  free(real);
  return name ? name : strdup("images");
}

static tr_status add_folder(tr_samples *samples, const char *path) {
  size_t before = samples->count;
  char *folder = tr_path_trimmed(path), *name = own_name(path);
  tr_status status = folder && name ? add_tree(samples, folder, name, 0) : tr_out_of_memory("listing images");
  if (status == TR_OK && samples->count == before)
    status = tr_fail(TR_EFORMAT, "'%s' has no image (png, jpg, jpeg, bmp), nor has a folder below it", path);
  free(folder);
  free(name);
  return status;
}

/* Taken as it is given, whatever it is called. */
static tr_status add_file(tr_samples *samples, const char *path) {
  const char *slash = strrchr(path, '/');
  TR_TRY(tr_samples_add(samples, ".", slash ? slash + 1 : path, "file", NULL));
  tr_sample *sample = &samples->items[samples->count - 1];
  char *given = strdup(path), *name = strdup(slash ? slash + 1 : path);
  if (!given || !name) {
    free(given);
    free(name);
    return tr_out_of_memory("listing images");
  }
  free(sample->path);
  free(sample->name);
  sample->path = given;
  sample->name = name;
  return TR_OK;
}

tr_status tr_images_collect(const char *const *paths, size_t count, tr_class *out) {
  *out = (tr_class){.mask_threshold = -1};
  tr_samples samples = {0};
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < count; ++i) {
    status = tr_is_folder(paths[i]) ? add_folder(&samples, paths[i]) : add_file(&samples, paths[i]);
  }
  if (status == TR_OK && !(out->name = strdup("images")))
    status = tr_out_of_memory("listing images");
  if (status != TR_OK) {
    tr_samples_free(&samples);
    return status;
  }
  out->test = samples.items;
  out->test_count = samples.count;
  return TR_OK;
}
