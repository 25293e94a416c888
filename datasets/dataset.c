/* Opening a data set by its kind, and what every kind's listing is made of. */
#include "datasets/layout.h"
#include "datasets/npy.h"
#include "datasets/video.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const tr_layout *const layouts[] = {&tr_layout_mvtec,  &tr_layout_mtd,       &tr_layout_mstc,
                                           &tr_layout_folder, &tr_layout_synthetic, &tr_layout_synthetic_mstc};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static const char *const image_extensions[] = {"png", "jpg", "jpeg", "bmp"};

tr_status tr_out_of_memory(const char *doing) {
  return tr_fail(TR_ENOMEM, "%s: out of memory", doing);
}

bool tr_is_image_name(const char *name) {
  const char *dot = strrchr(name, '.');
  if (!dot || name[0] == '.')
    return false;
  for (size_t i = 0; i < sizeof image_extensions / sizeof *image_extensions; ++i)
    if (strcasecmp(dot + 1, image_extensions[i]) == 0)
      return true;
  return false;
}

/* The entries of a folder that are images (or, with `folders`, folders). */
static tr_status list_entries(const char *folder, bool folders, tr_strings *out) {
  tr_strings names = {0};
  tr_status status = tr_folder_list(folder, &names);
  for (size_t i = 0; status == TR_OK && i < names.count; ++i) {
    if (names.items[i][0] == '.' || (!folders && !tr_is_image_name(names.items[i])))
      continue;
    char *path = tr_format("%s/%s", folder, names.items[i]);
    if (!path)
      status = tr_out_of_memory("listing a folder");
    else if (folders ? tr_is_folder(path) : tr_is_file(path))
      status = tr_strings_add(out, names.items[i]);
    free(path);
  }
  tr_strings_free(&names);
  return status;
}

tr_status tr_images_list(const char *folder, tr_strings *out) {
  return list_entries(folder, false, out);
}

tr_status tr_folders_list(const char *folder, tr_strings *out) {
  return list_entries(folder, true, out);
}

static void sample_free(tr_sample *sample) {
  free(sample->path);
  free(sample->name);
  free(sample->mask);
  free(sample->defect);
}

static void samples_free(tr_sample *items, size_t count) {
  for (size_t i = 0; i < count; ++i)
    sample_free(&items[i]);
  free(items);
}

void tr_samples_free(tr_samples *samples) {
  samples_free(samples->items, samples->count);
  *samples = (tr_samples){0};
}

tr_status tr_samples_take(tr_samples *samples, tr_sample sample) {
  tr_status status = sample.path && sample.name && sample.defect ? TR_OK : tr_out_of_memory("listing images");
  if (status == TR_OK && samples->count == samples->capacity) {
    size_t capacity = samples->capacity ? 2 * samples->capacity : 64;
    tr_sample *items = realloc(samples->items, capacity * sizeof *items);
    if (items) {
      samples->items = items;
      samples->capacity = capacity;
    } else {
      status = tr_out_of_memory("listing images");
    }
  }
  if (status == TR_OK)
    samples->items[samples->count++] = sample;
  else
    sample_free(&sample);
  return status;
}

tr_status tr_samples_add(tr_samples *samples, const char *folder, const char *file, const char *defect, char *mask) {
  return tr_samples_take(samples, (tr_sample){
                                      .path = tr_format("%s/%s", folder, file),
                                      .name = tr_format("%s/%s", defect, file),
                                      .defect = strdup(defect),
                                      .mask = mask,
                                      .anomalous = strcmp(defect, "good") != 0,
                                  });
}

/* The mask that belongs to `file`: `<stem>_mask.<ext>` as MVTec names it, else `<stem>.<ext>`. */
static const char *find_mask(const tr_strings *masks, const char *file) {
  static const char *const suffixes[] = {"_mask", ""};
  size_t stem = (size_t)(strrchr(file, '.') - file);
  for (size_t s = 0; s < 2; ++s) {
    size_t suffix = strlen(suffixes[s]);
    for (size_t i = 0; i < masks->count; ++i) {
      const char *mask = masks->items[i];
      size_t mask_stem = (size_t)(strrchr(mask, '.') - mask);
      if (mask_stem == stem + suffix && memcmp(mask, file, stem) == 0 && memcmp(mask + stem, suffixes[s], suffix) == 0)
        return mask;
    }
  }
  return NULL;
}

tr_status tr_samples_add_folder(tr_samples *samples, const char *folder, const char *defect, const char *mask_folder) {
  tr_strings files = {0}, masks = {0};
  tr_status status = tr_images_list(folder, &files);
  if (status == TR_OK && mask_folder && tr_is_folder(mask_folder))
    status = tr_images_list(mask_folder, &masks);
  for (size_t i = 0; status == TR_OK && i < files.count; ++i) {
    const char *mask = find_mask(&masks, files.items[i]);
    char *mask_path = mask ? tr_format("%s/%s", mask_folder, mask) : NULL;
    if (mask && !mask_path)
      status = tr_out_of_memory("listing masks");
    else
      status = tr_samples_add(samples, folder, files.items[i], defect, mask_path);
  }
  tr_strings_free(&files);
  tr_strings_free(&masks);
  return status;
}

tr_status tr_images_below(const char *folder, tr_strings *out) {
  tr_strings folders = {0};
  tr_status status = tr_folders_list(folder, &folders);
  for (size_t f = 0; status == TR_OK && f < folders.count; ++f) {
    tr_strings files = {0};
    char *path = tr_format("%s/%s", folder, folders.items[f]);
    status = path ? tr_images_list(path, &files) : tr_out_of_memory("listing a folder");
    for (size_t i = 0; status == TR_OK && i < files.count; ++i)
      status = tr_strings_take(out, tr_format("%s/%s", path, files.items[i]));
    tr_strings_free(&files);
    free(path);
  }
  tr_strings_free(&folders);
  return status;
}

/* The official loader walks sorted defect folders and sorts the files of each (datasets/mvtec.py, get_image_data). */
static int compare_samples(const void *a, const void *b) {
  const tr_sample *x = a, *y = b;
  int order = strcmp(x->defect, y->defect);
  return order ? order : strcmp(x->name, y->name);
}

void tr_class_fill(tr_class *class_, tr_samples *train, tr_samples *test) {
  if (train->count)
    qsort(train->items, train->count, sizeof *train->items, compare_samples);
  if (test->count)
    qsort(test->items, test->count, sizeof *test->items, compare_samples);
  class_->train = train->items;
  class_->train_count = train->count;
  class_->test = test->items;
  class_->test_count = test->count;
  *train = *test = (tr_samples){0};
}

void tr_class_free(tr_class *class_) {
  if (!class_)
    return;
  free(class_->name);
  samples_free(class_->train, class_->train_count);
  samples_free(class_->test, class_->test_count);
  tr_videos_destroy(class_->videos);
  *class_ = (tr_class){0};
}

static char *joined_names(const tr_strings *names) {
  char *text = strdup("");
  for (size_t i = 0; text && i < names->count; ++i) {
    char *longer = tr_format("%s%s%s", text, i ? ", " : "", names->items[i]);
    free(text);
    text = longer;
  }
  return text;
}

const char *const *tr_dataset_kinds(size_t *count) {
  static const char *const names[] = {"mvtec", "mtd", "mstc", "folder", "synthetic", "synthetic_mstc"};
  static_assert(sizeof names / sizeof *names == LAYOUTS, "a name for each layout");
  *count = LAYOUTS;
  return names;
}

bool tr_dataset_has_frames(const char *kind) {
  return strcmp(kind, tr_layout_mstc.kind) == 0 || strcmp(kind, tr_layout_synthetic_mstc.kind) == 0;
}

static tr_status unknown_kind(const char *kind) {
  size_t count;
  const char *const *names = tr_dataset_kinds(&count);
  tr_strings known = {0};
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < count; ++i)
    status = tr_strings_add(&known, names[i]);
  char *list = status == TR_OK ? joined_names(&known) : NULL;
  const char *near = list ? tr_nearest_name(kind, names, count) : NULL;
  if (!list)
    status = tr_out_of_memory("opening a data set");
  else if (near)
    status = tr_fail(TR_EINVAL, "data set '%s' is not known: did you mean '%s'? (known: %s)", kind, near, list);
  else
    status = tr_fail(TR_EINVAL, "data set '%s' is not known (known: %s)", kind, list);
  free(list);
  tr_strings_free(&known);
  return status;
}

static const tr_layout *find_layout(const char *kind) {
  for (size_t i = 0; i < LAYOUTS; ++i)
    if (strcmp(kind, layouts[i]->kind) == 0)
      return layouts[i];
  return NULL;
}

char *tr_path_trimmed(const char *path) {
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/')
    --length;
  return strndup(path, length);
}

static tr_status open_at(tr_dataset *dataset, const char *root) {
  char *trimmed = tr_path_trimmed(root);
  if (!trimmed)
    return tr_out_of_memory("opening a data set");
  tr_status status = tr_is_folder(trimmed)
                         ? dataset->layout->open(dataset, trimmed)
                         : tr_fail(TR_EIO, "data set %s: there is no folder '%s'", dataset->layout->kind, trimmed);
  free(trimmed);
  return status;
}

static tr_status check_frames(const tr_layout *layout, const tr_frame_options *f) {
  if (!tr_dataset_has_frames(layout->kind) && (f->step || f->offset || f->tested_only || f->mask != TR_MASK_FULL))
    return tr_fail(TR_EINVAL, "data set %s: frames is a setting of mstc and synthetic_mstc alone", layout->kind);
  int step = f->step ? f->step : TR_MSTC_STEP;
  if (step < 1 || f->offset < 0 || f->offset >= step)
    return tr_fail(TR_EINVAL,
                   "data set %s: expected frames with a step of at least 1 and an offset from 0 to step - 1, found %d and %d",
                   layout->kind, step, f->offset);
  return TR_OK;
}

tr_status tr_dataset_open(const tr_dataset_options *options, tr_dataset **out) {
  *out = NULL;
  if (!options->kind)
    return tr_fail(TR_EINVAL, "opening a data set: no kind was given");
  const tr_layout *layout = find_layout(options->kind);
  if (!layout)
    return unknown_kind(options->kind);
  if (!options->root || !options->root[0])
    return tr_fail(TR_EINVAL, "data set %s: no data folder was given", layout->kind);
  if (options->split_file && layout != &tr_layout_mtd)
    return tr_fail(TR_EINVAL, "data set %s: split_file is a setting of mtd alone", layout->kind);
  TR_TRY(check_frames(layout, &options->frames));
  tr_dataset *dataset = calloc(1, sizeof *dataset);
  if (!dataset)
    return tr_out_of_memory("opening a data set");
  dataset->layout = layout;
  dataset->frames = options->frames;
  tr_status status = TR_OK;
  if (options->split_file && !(dataset->split_file = strdup(options->split_file)))
    status = tr_out_of_memory("opening a data set");
  if (status == TR_OK)
    status = open_at(dataset, options->root);
  if (status != TR_OK) {
    tr_dataset_close(dataset);
    return status;
  }
  *out = dataset;
  return TR_OK;
}

void tr_dataset_close(tr_dataset *dataset) {
  if (!dataset)
    return;
  free(dataset->folder);
  free(dataset->split_file);
  tr_strings_free(&dataset->classes);
  free(dataset);
}

const char *tr_dataset_kind(const tr_dataset *dataset) {
  return dataset->layout->kind;
}

const char *tr_dataset_folder(const tr_dataset *dataset) {
  return dataset->folder;
}

const tr_strings *tr_dataset_classes(const tr_dataset *dataset) {
  return &dataset->classes;
}

static tr_status unknown_class(const tr_dataset *dataset, const char *name) {
  const tr_strings *classes = &dataset->classes;
  char *list = joined_names(classes);
  if (!list)
    return tr_out_of_memory("listing a class");
  const char *near = tr_nearest_name(name, (const char *const *)classes->items, classes->count);
  tr_status status = tr_fail(TR_EINVAL, "data set %s in '%s' has no class '%s'%s%s%s (it has: %s)", dataset->layout->kind,
                             dataset->folder, name, near ? ": did you mean '" : "", near ? near : "", near ? "'?" : "", list);
  free(list);
  return status;
}

tr_status tr_dataset_class(const tr_dataset *dataset, const char *name, tr_class *out) {
  *out = (tr_class){.mask_threshold = -1};
  if (!tr_strings_has(&dataset->classes, name))
    return unknown_class(dataset, name);
  out->name = strdup(name);
  tr_status status = out->name ? dataset->layout->list(dataset, name, out) : tr_out_of_memory("listing a class");
  if (status != TR_OK)
    tr_class_free(out);
  return status;
}

/* ---- samples ---- */

tr_status tr_sample_image(const tr_sample *sample, tr_image *out) {
  return sample->videos ? tr_video_frame(sample->videos, sample->path, sample->frame, out) : tr_image_read(sample->path, 3, out);
}

tr_status tr_sample_size(const tr_sample *sample, int *h, int *w) {
  if (!sample->videos)
    return tr_image_size(sample->path, h, w);
  *h = sample->h;
  *w = sample->w;
  return TR_OK;
}

static bool is_npy_name(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot && strcasecmp(dot, ".npy") == 0;
}

tr_status tr_sample_mask(const tr_sample *sample, tr_image *out) {
  if (!is_npy_name(sample->mask))
    return tr_image_read(sample->mask, 1, out);
  *out = (tr_image){.pixels = NULL};
  tr_npy masks;
  TR_TRY(tr_npy_open(sample->mask, &masks));
  tr_status status = tr_npy_frame(&masks, sample->mask, sample->frame, out);
  tr_npy_close(&masks);
  return status;
}
