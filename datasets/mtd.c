/* MTD, magnetic tile defects: MT_<Kind>/Imgs/<stem>.jpg with its mask <stem>.png beside it. One class, "mtd".
 *
 * The paper follows DifferNet's split. Its repository (marco-rudolph/differnet) lists the 761 training files, all of MT_Free;
 * the test is the other 191 images of MT_Free and all defects. The paper's "925 good images" are 952 in the public set. */
#include "datasets/layout.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char class_name[] = "mtd";
static const char nominal_folder[] = "MT_Free";
static const char folder_prefix[] = "MT_";

enum { OFFICIAL_TRAIN = 761, OFFICIAL_GOOD = 191 };
static const struct official_count {
  const char *defect;
  size_t count;
} official_defects[] = {{"blowhole", 115}, {"break", 85}, {"crack", 57}, {"fray", 32}, {"uneven", 103}};

static char *images_folder(const char *folder, const char *kind) {
  return tr_format("%s/%s/Imgs", folder, kind);
}

/* The MT_* folders that hold Imgs/, sorted. */
static tr_status list_kinds(const char *folder, tr_strings *out) {
  tr_strings names = {0};
  tr_status status = tr_folders_list(folder, &names);
  for (size_t i = 0; status == TR_OK && i < names.count; ++i) {
    if (strncmp(names.items[i], folder_prefix, strlen(folder_prefix)) != 0)
      continue;
    char *images = images_folder(folder, names.items[i]);
    if (!images)
      status = tr_out_of_memory("opening mtd");
    else if (tr_is_folder(images))
      status = tr_strings_add(out, names.items[i]);
    free(images);
  }
  tr_strings_free(&names);
  return status;
}

static tr_status try_folder(tr_dataset *dataset, char *folder) {
  if (!folder)
    return tr_out_of_memory("opening mtd");
  char *nominal = images_folder(folder, nominal_folder);
  bool found = nominal && tr_is_folder(nominal);
  tr_status status = nominal ? TR_OK : tr_out_of_memory("opening mtd");
  free(nominal);
  if (found)
    dataset->folder = folder;
  else
    free(folder);
  return status;
}

static tr_status mtd_open(tr_dataset *dataset, const char *root) {
  TR_TRY(try_folder(dataset, tr_format("%s/mtd", root)));
  if (!dataset->folder)
    TR_TRY(try_folder(dataset, strdup(root)));
  if (!dataset->folder)
    return tr_fail(TR_EIO, "data set mtd: found no folder '%s/mtd/MT_Free/Imgs' or '%s/MT_Free/Imgs'", root, root);
  return tr_strings_add(&dataset->classes, class_name);
}

static bool is_photo(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot && (strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0);
}

/* The .jpg files of a folder and, in `masks`, its .png files. */
static tr_status list_photos(const char *folder, tr_strings *photos, tr_strings *masks) {
  tr_strings names = {0};
  tr_status status = tr_images_list(folder, &names);
  for (size_t i = 0; status == TR_OK && i < names.count; ++i) {
    tr_strings *list = is_photo(names.items[i]) ? photos : masks;
    if (list)
      status = tr_strings_add(list, names.items[i]);
  }
  tr_strings_free(&names);
  return status;
}

/* "MT_Blowhole" -> "blowhole"; MT_Free -> "good". */
static char *defect_of(const char *kind) {
  if (strcmp(kind, nominal_folder) == 0)
    return strdup("good");
  char *defect = strdup(kind + strlen(folder_prefix));
  for (char *p = defect; p && *p; ++p)
    *p = (char)tolower((unsigned char)*p);
  return defect;
}

static tr_status add_defects(const char *folder, const char *kind, tr_samples *test) {
  tr_strings photos = {0}, masks = {0};
  char *images = images_folder(folder, kind), *defect = defect_of(kind);
  tr_status status = images && defect ? list_photos(images, &photos, &masks) : tr_out_of_memory("listing mtd");
  for (size_t i = 0; status == TR_OK && i < photos.count; ++i) {
    const char *photo = photos.items[i];
    char *name = tr_format("%.*s.png", (int)(strrchr(photo, '.') - photo), photo);
    char *mask = name && tr_strings_has(&masks, name) ? tr_format("%s/%s", images, name) : NULL;
    if (!name)
      status = tr_out_of_memory("listing mtd");
    else
      status = tr_samples_add(test, images, photo, defect, mask);
    free(name);
  }
  tr_strings_free(&photos);
  tr_strings_free(&masks);
  free(images);
  free(defect);
  return status;
}

/* The split file has one name of MT_Free a line. */
static tr_status parse_split(const char *path, char *text, const tr_strings *photos, tr_strings *out) {
  size_t number = 0;
  for (char *line = text, *next; line; line = next) {
    ++number;
    next = strchr(line, '\n');
    if (next)
      *next++ = '\0';
    size_t length = strlen(line);
    while (length && isspace((unsigned char)line[length - 1]))
      line[--length] = '\0';
    if (!length)
      continue;
    if (!tr_strings_has(photos, line))
      return tr_fail(TR_EFORMAT, "split file '%s', line %zu: MT_Free/Imgs has no image '%s'", path, number, line);
    TR_TRY(tr_strings_add(out, line));
  }
  if (!out->count)
    return tr_fail(TR_EFORMAT, "split file '%s' names no training image", path);
  tr_strings_sort(out);
  for (size_t i = 1; i < out->count; ++i)
    if (strcmp(out->items[i - 1], out->items[i]) == 0)
      return tr_fail(TR_EFORMAT, "split file '%s' names '%s' twice", path, out->items[i]);
  return TR_OK;
}

static tr_status read_split(const tr_dataset *dataset, const tr_strings *photos, tr_strings *out) {
  char *path = dataset->split_file ? strdup(dataset->split_file) : tr_format("%s/differnet_train.txt", dataset->folder);
  if (!path)
    return tr_out_of_memory("reading mtd's split file");
  char *text = NULL;
  size_t bytes = 0;
  tr_status status = TR_OK;
  if (tr_is_file(path))
    status = tr_file_read(path, &text, &bytes);
  else if (dataset->split_file)
    status = tr_fail(TR_EIO, "there is no split file '%s' (split_file)", path);
  else
    status = tr_fail(TR_EIO,
                     "no list of training images at '%s'; give it as split_file (DifferNet's mtd_train_filenames.txt: "
                     "one name of MT_Free a line)",
                     path);
  if (status == TR_OK)
    status = parse_split(path, text, photos, out);
  free(text);
  free(path);
  return status;
}

static tr_status add_nominal(const tr_dataset *dataset, tr_samples *train, tr_samples *test) {
  tr_strings photos = {0}, chosen = {0};
  char *images = images_folder(dataset->folder, nominal_folder);
  tr_status status = images ? list_photos(images, &photos, NULL) : tr_out_of_memory("listing mtd");
  if (status == TR_OK && !photos.count)
    status = tr_fail(TR_EFORMAT, "the folder '%s' has no .jpg image", images);
  if (status == TR_OK)
    status = read_split(dataset, &photos, &chosen);
  for (size_t i = 0; status == TR_OK && i < photos.count; ++i) {
    tr_samples *side = tr_strings_has(&chosen, photos.items[i]) ? train : test;
    status = tr_samples_add(side, images, photos.items[i], "good", NULL);
  }
  tr_strings_free(&photos);
  tr_strings_free(&chosen);
  free(images);
  return status;
}

static tr_status mtd_list(const tr_dataset *dataset, const char *name, tr_class *out) {
  (void)name; /* there is one class */
  tr_samples train = {0}, test = {0};
  tr_strings kinds = {0};
  tr_status status = add_nominal(dataset, &train, &test);
  if (status == TR_OK)
    status = list_kinds(dataset->folder, &kinds);
  for (size_t i = 0; status == TR_OK && i < kinds.count; ++i)
    if (strcmp(kinds.items[i], nominal_folder) != 0)
      status = add_defects(dataset->folder, kinds.items[i], &test);
  if (status == TR_OK) {
    tr_class_fill(out, &train, &test);
    out->mask_threshold = 127; /* masks hold 1 to 3 beside 0 and 255 */
  }
  tr_samples_free(&train);
  tr_samples_free(&test);
  tr_strings_free(&kinds);
  return status;
}

/* The masks of defects; those of MT_Free are all black and not used. */
static tr_status mtd_masks(const tr_dataset *dataset, const char *name, tr_strings *out) {
  (void)name;
  tr_strings kinds = {0};
  tr_status status = list_kinds(dataset->folder, &kinds);
  for (size_t k = 0; status == TR_OK && k < kinds.count; ++k) {
    if (strcmp(kinds.items[k], nominal_folder) == 0)
      continue;
    tr_strings photos = {0}, masks = {0};
    char *images = images_folder(dataset->folder, kinds.items[k]);
    status = images ? list_photos(images, &photos, &masks) : tr_out_of_memory("listing mtd's masks");
    for (size_t i = 0; status == TR_OK && i < masks.count; ++i)
      status = tr_strings_take(out, tr_format("%s/%s", images, masks.items[i]));
    tr_strings_free(&photos);
    tr_strings_free(&masks);
    free(images);
  }
  tr_strings_free(&kinds);
  return status;
}

static size_t count_defect(const tr_class *class_, const char *defect) {
  size_t count = 0;
  for (size_t i = 0; i < class_->test_count; ++i)
    count += strcmp(class_->test[i].defect, defect) == 0;
  return count;
}

static tr_status mtd_remark_class(const tr_dataset *dataset, const tr_class *class_, tr_findings *findings) {
  (void)dataset;
  size_t good = count_defect(class_, "good");
  if (class_->train_count != OFFICIAL_TRAIN)
    tr_finding(findings, false, class_name, "%zu training images; DifferNet's list has %d", class_->train_count, OFFICIAL_TRAIN);
  if (good != OFFICIAL_GOOD)
    tr_finding(findings, false, class_name, "%zu good test images; the published split has %d", good, OFFICIAL_GOOD);
  for (size_t i = 0; i < sizeof official_defects / sizeof *official_defects; ++i) {
    size_t count = count_defect(class_, official_defects[i].defect);
    if (count != official_defects[i].count)
      tr_finding(findings, false, class_name, "%zu images of defect %s; MTD has %zu", count, official_defects[i].defect,
                 official_defects[i].count);
  }
  return TR_OK;
}

const tr_layout tr_layout_mtd = {
    .kind = "mtd",
    .masks_expected = true,
    .open = mtd_open,
    .list = mtd_list,
    .masks = mtd_masks,
    .remark_class = mtd_remark_class,
};
