/* The synthetic data set: a picture with its exact mask, the folder of all pictures in MVTec's layout, and kind "synthetic".
 *
 * A picture depends on (seed, class, group, number) alone, so the set is the same bit for bit on any number of threads. The
 * folder is drawn under another name and renamed when it is whole: a folder with synthetic.txt in it is complete. */
#include "datasets/synthetic.h"
#include "datasets/image.h"
#include "datasets/layout.h"
#include "host/base/progress.h"
#include "host/base/threads.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEFAULT_TRAIN = 40, DEFAULT_GOOD = 12, DEFAULT_PER_DEFECT = 6, SIDE_MIN = 32, SIDE_MAX = 4096, COUNT_MAX = 100000 };

static const char marker_name[] = "synthetic.txt";

static const tr_picture_class *const picture_classes[] = {&tr_picture_board, &tr_picture_capsule, &tr_picture_cloth,
                                                          &tr_picture_granite, &tr_picture_nut};
enum { CLASSES = sizeof picture_classes / sizeof *picture_classes };

const tr_picture_class *const *tr_picture_classes(int *count) {
  *count = CLASSES;
  return picture_classes;
}

/* ---- one picture ---- */

static void picture_streams(const tr_picture *picture, tr_rng *scene, tr_rng *flaw) {
  uint64_t index = (uint64_t)picture->class_->key << 48 | (uint64_t)picture->group << 40 | (uint64_t)picture->number << 1;
  *scene = tr_rng_make(picture->seed, TR_RNG_SYNTHETIC, index);
  *flaw = tr_rng_make(picture->seed, TR_RNG_SYNTHETIC, index | 1);
}

void tr_picture_extent(const tr_picture *picture, int *h, int *w) {
  *h = (int)((int64_t)picture->class_->height * picture->size / TR_DESIGN_SIDE);
  *w = (int)((int64_t)picture->class_->width * picture->size / TR_DESIGN_SIDE);
}

static tr_status draw_once(const tr_picture *picture, int defect, float *floats, uint8_t *rgb) {
  tr_canvas canvas = {.scale = (float)picture->size / TR_DESIGN_SIDE, .rgb = floats};
  tr_picture_extent(picture, &canvas.h, &canvas.w);
  memset(floats, 0, 3 * sizeof *floats * (size_t)canvas.h * (size_t)canvas.w);
  tr_rng scene, flaw;
  tr_camera camera;
  picture_streams(picture, &scene, &flaw);
  picture->class_->draw(&canvas, &scene, &flaw, defect, &camera);
  return tr_camera_expose(&canvas, &camera, rgb);
}

static bool differs(const uint8_t *a, const uint8_t *b) {
  for (int c = 0; c < 3; ++c)
    if (abs((int)a[c] - (int)b[c]) > TR_CHANGED_LEVELS)
      return true;
  return false;
}

/* True when a pixel within `radius` (a square window, cut at the edges) has the value. */
static bool near_value(const uint8_t *mask, int h, int w, int y, int x, int radius, uint8_t value) {
  for (int j = y - radius < 0 ? 0 : y - radius; j <= y + radius && j < h; ++j)
    for (int i = x - radius < 0 ? 0 : x - radius; i <= x + radius && i < w; ++i)
      if (mask[(size_t)j * (size_t)w + (size_t)i] == value)
        return true;
  return false;
}

/* A thin or faint defect changes some pixels by less than the level; closing (dilation, then erosion) fills those gaps. */
static void close_gaps(uint8_t *mask, uint8_t *work, int h, int w) {
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x)
      work[(size_t)y * (size_t)w + (size_t)x] = near_value(mask, h, w, y, x, TR_MASK_CLOSING, 255) ? 255 : 0;
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x)
      mask[(size_t)y * (size_t)w + (size_t)x] = near_value(work, h, w, y, x, TR_MASK_CLOSING, 0) ? 0 : 255;
}

void tr_mask_between(const uint8_t *rgb, const uint8_t *clean, int h, int w, uint8_t *mask, uint8_t *work) {
  size_t pixels = (size_t)h * (size_t)w;
  for (size_t i = 0; i < pixels; ++i)
    mask[i] = differs(rgb + 3 * i, clean + 3 * i) ? 255 : 0;
  close_gaps(mask, work, h, w);
}

/* Draws the picture with its defect, then without; work: [h, w]. */
static tr_status draw_defective(const tr_picture *picture, int h, int w, float *floats, uint8_t *rgb, uint8_t *clean,
                                uint8_t *mask, uint8_t *work) {
  TR_TRY(draw_once(picture, picture->group - 2, floats, rgb));
  TR_TRY(draw_once(picture, -1, floats, clean));
  tr_mask_between(rgb, clean, h, w, mask, work);
  return TR_OK;
}

static tr_status draw_good(const tr_picture *picture, int h, int w, float *floats, uint8_t *rgb, uint8_t *clean, uint8_t *mask) {
  size_t pixels = (size_t)h * (size_t)w;
  TR_TRY(draw_once(picture, -1, floats, rgb));
  memcpy(clean, rgb, 3 * pixels);
  memset(mask, 0, pixels);
  return TR_OK;
}

tr_status tr_picture_draw(const tr_picture *picture, uint8_t *rgb, uint8_t *clean, uint8_t *mask) {
  int h, w;
  tr_picture_extent(picture, &h, &w);
  size_t pixels = (size_t)h * (size_t)w;
  float *floats = malloc(3 * pixels * sizeof *floats);
  uint8_t *work = calloc(pixels, 1);
  tr_status status;
  if (!floats || !work)
    status = tr_out_of_memory("drawing a synthetic picture");
  else if (picture->group < 2)
    status = draw_good(picture, h, w, floats, rgb, clean, mask);
  else
    status = draw_defective(picture, h, w, floats, rgb, clean, mask, work);
  free(floats);
  free(work);
  return status;
}

/* ---- the folder ---- */

typedef struct plan {
  const char *folder; /* that is drawn into */
  tr_synthesize_options options;
  size_t per_class[CLASSES + 1]; /* first task of each class; the last entry is the number of tasks */
} plan;

static tr_picture planned_picture(const plan *set, size_t task) {
  size_t class_number = 0;
  while (task >= set->per_class[class_number + 1])
    ++class_number;
  size_t place = task - set->per_class[class_number];
  size_t train = (size_t)set->options.train, good = (size_t)set->options.good, per_defect = (size_t)set->options.per_defect;
  tr_picture picture = {.class_ = picture_classes[class_number], .seed = set->options.seed, .size = set->options.size};
  if (place < train) {
    picture.number = (int)place;
  } else if (place < train + good) {
    picture.group = 1;
    picture.number = (int)(place - train);
  } else {
    picture.group = 2 + (int)((place - train - good) / per_defect);
    picture.number = (int)((place - train - good) % per_defect);
  }
  return picture;
}

/* Path below the data set's folder, without the extension. */
static char *picture_path(const char *folder, const tr_picture *picture, bool mask) {
  const char *name = picture->class_->name;
  const char *defect = picture->group < 2 ? "good" : picture->class_->defects[picture->group - 2];
  const char *part = picture->group == 0 ? "train" : mask ? "ground_truth" : "test";
  return tr_format("%s/%s/%s/%s/%03d%s.png", folder, name, part, defect, picture->number, mask ? "_mask" : "");
}

static tr_status write_picture(const char *folder, const tr_picture *picture, const uint8_t *pixels, int h, int w, bool mask) {
  char *path = picture_path(folder, picture, mask);
  if (!path)
    return tr_out_of_memory("drawing the synthetic data set");
  tr_status status = tr_image_write_png(path, pixels, h, w, mask ? 1 : 3);
  free(path);
  return status;
}

static tr_status draw_task(void *context, size_t task) {
  const plan *set = context;
  if (tr_cancel_requested())
    return tr_fail(TR_ECANCELED, "drawing the synthetic data set: canceled");
  tr_picture picture = planned_picture(set, task);
  int h, w;
  tr_picture_extent(&picture, &h, &w);
  size_t pixels = (size_t)h * (size_t)w;
  uint8_t *rgb = malloc(7 * pixels);
  if (!rgb)
    return tr_out_of_memory("drawing the synthetic data set");
  uint8_t *mask = rgb + 6 * pixels;
  tr_status status = tr_picture_draw(&picture, rgb, rgb + 3 * pixels, mask);
  if (status == TR_OK)
    status = write_picture(set->folder, &picture, rgb, h, w, false);
  if (status == TR_OK && picture.group >= 2)
    status = write_picture(set->folder, &picture, mask, h, w, true);
  free(rgb);
  return status;
}

static tr_status make_folder(const char *folder, const char *class_name, const char *part, const char *defect) {
  char *path = tr_format("%s/%s/%s/%s", folder, class_name, part, defect);
  tr_status status = path ? tr_make_folders(path) : tr_out_of_memory("drawing the synthetic data set");
  free(path);
  return status;
}

static bool is_drawn(const plan *set, int class_number) {
  const char *only = set->options.class_name;
  return !only || strcmp(only, picture_classes[class_number]->name) == 0;
}

static tr_status make_all_folders(const plan *set) {
  const char *folder = set->folder;
  for (int c = 0; c < CLASSES; ++c) {
    const tr_picture_class *class_ = picture_classes[c];
    if (!is_drawn(set, c))
      continue;
    TR_TRY(make_folder(folder, class_->name, "train", "good"));
    TR_TRY(make_folder(folder, class_->name, "test", "good"));
    for (int d = 0; d < class_->defect_count; ++d) {
      TR_TRY(make_folder(folder, class_->name, "test", class_->defects[d]));
      TR_TRY(make_folder(folder, class_->name, "ground_truth", class_->defects[d]));
    }
  }
  return TR_OK;
}

static char *settings_of(const tr_synthesize_options *o) {
  return tr_format("class %s\nseed %llu\ntrain %d\ngood %d\nper_defect %d\nsize %d\n", o->class_name ? o->class_name : "all",
                   (unsigned long long)o->seed, o->train, o->good, o->per_defect, o->size);
}

static tr_status draw_all(const char *folder, const void *options, char **settings) {
  plan drawn = {.folder = folder, .options = *(const tr_synthesize_options *)options}, *set = &drawn;
  TR_TRY(make_all_folders(set));
  for (int c = 0; c < CLASSES; ++c) {
    size_t defects = (size_t)set->options.per_defect * (size_t)picture_classes[c]->defect_count;
    size_t pictures = (size_t)set->options.train + (size_t)set->options.good + defects;
    set->per_class[c + 1] = set->per_class[c] + (is_drawn(set, c) ? pictures : 0);
  }
  tr_pool *pool;
  TR_TRY(tr_pool_create(set->options.threads, &pool));
  tr_status status = tr_pool_run(pool, set->per_class[CLASSES], draw_task, set);
  tr_pool_destroy(pool);
  *settings = settings_of(&set->options);
  return status;
}

/* ---- a folder that appears when it is whole ---- */

static tr_status write_marker(const char *folder, const char *settings) {
  char *path = tr_format("%s/%s", folder, marker_name);
  char *text = settings ? tr_format("Synthetic data set drawn by totalrecall %s.\n%s", tr_version(), settings) : NULL;
  tr_status status = path && text ? tr_file_write(path, text, strlen(text)) : tr_out_of_memory("drawing the synthetic data set");
  free(path);
  free(text);
  return status;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
  (void)info;
  (void)type;
  (void)place;
  return remove(path);
}

/* Draws into a folder beside `folder` and gives it its name when it is whole: rename replaces an empty folder, no other. */
static tr_status draw_and_rename(const char *folder, tr_draw_fn draw, const void *context) {
  char *settings = NULL, *partial = tr_format("%s.partial-%ld", folder, (long)getpid());
  if (!partial)
    return tr_out_of_memory("drawing the synthetic data set");
  if (mkdir(partial, 0777) != 0) {
    tr_status refused = tr_fail_errno(TR_EIO, "drawing the synthetic data set: making the folder '%s'", partial);
    free(partial);
    return refused;
  }
  tr_status status = draw(partial, context, &settings);
  if (status == TR_OK)
    status = write_marker(partial, settings);
  if (status == TR_OK && rename(partial, folder) != 0)
    status = tr_fail_errno(TR_EIO, "drawing the synthetic data set: naming '%s' as '%s'", partial, folder);
  if (status != TR_OK)
    nftw(partial, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
  free(settings);
  free(partial);
  return status;
}

static tr_status draw_at(const char *folder, tr_draw_fn draw, const void *context) {
  tr_strings present = {0};
  bool mine = !tr_is_folder(folder);
  TR_TRY(tr_make_folders(folder));
  TR_TRY(tr_folder_list(folder, &present));
  size_t count = present.count;
  tr_strings_free(&present);
  if (count)
    return tr_fail(TR_EIO, "drawing the synthetic data set: the folder '%s' is not empty; remove it or name another", folder);
  tr_status status = draw_and_rename(folder, draw, context);
  if (status != TR_OK && mine)
    rmdir(folder);
  return status;
}

tr_status tr_draw_set(const char *folder, tr_draw_fn draw, const void *context) {
  char *trimmed = tr_path_trimmed(folder);
  if (!trimmed)
    return tr_out_of_memory("drawing the synthetic data set");
  tr_status status = draw_at(trimmed, draw, context);
  free(trimmed);
  return status;
}

bool tr_is_drawn_set(const char *folder) {
  char *path = tr_format("%s/%s", folder, marker_name);
  bool found = path && tr_is_file(path);
  free(path);
  return found;
}

tr_status tr_check_drawn_size(int size) {
  if (size < SIDE_MIN || size > SIDE_MAX)
    return tr_fail(TR_EINVAL, "drawing the synthetic data set: a size of %d pixels; sizes go from %d to %d", size, SIDE_MIN,
                   SIDE_MAX);
  return TR_OK;
}

/* ---- the pictures' options ---- */

static tr_status check_class(const char *name) {
  for (int c = 0; c < CLASSES; ++c)
    if (!name || strcmp(name, picture_classes[c]->name) == 0)
      return TR_OK;
  return tr_fail(TR_EINVAL,
                 "drawing the synthetic data set: there is no class `%s`; there are board, capsule, cloth, granite and nut",
                 name);
}

static tr_status check_options(tr_synthesize_options *o) {
  o->train = o->train ? o->train : DEFAULT_TRAIN;
  o->good = o->good ? o->good : DEFAULT_GOOD;
  o->per_defect = o->per_defect ? o->per_defect : DEFAULT_PER_DEFECT;
  o->size = o->size ? o->size : TR_DESIGN_SIDE;
  if (o->train < 0 || o->good < 0 || o->per_defect < 0 || o->train > COUNT_MAX || o->good > COUNT_MAX ||
      o->per_defect > COUNT_MAX)
    return tr_fail(TR_EINVAL, "drawing the synthetic data set: counts of images go from 1 to %d", COUNT_MAX);
  TR_TRY(tr_check_drawn_size(o->size));
  return check_class(o->class_name);
}

tr_status tr_synthesize(const char *folder, const tr_synthesize_options *options) {
  tr_synthesize_options settings = *options;
  TR_TRY(check_options(&settings));
  return tr_draw_set(folder, draw_all, &settings);
}

bool tr_synthetic_outline(int number, tr_outline *out) {
  if (number < 0 || number >= CLASSES)
    return false;
  const tr_picture_class *class_ = picture_classes[number];
  size_t defects = (size_t)class_->defect_count * DEFAULT_PER_DEFECT;
  *out = (tr_outline){.name = class_->name, .train = DEFAULT_TRAIN, .test = DEFAULT_GOOD + defects, .anomalous = defects};
  tr_picture_extent(&(tr_picture){.class_ = class_, .size = TR_DESIGN_SIDE}, &out->h, &out->w);
  return true;
}

/* ---- kind "synthetic" ---- */

static tr_status synthetic_open(tr_dataset *dataset, const char *root) {
  char *below = tr_format("%s/synthetic", root);
  if (!below)
    return tr_out_of_memory("opening synthetic");
  if (tr_is_drawn_set(below))
    dataset->folder = strdup(below);
  else if (tr_is_drawn_set(root))
    dataset->folder = strdup(root);
  else {
    tr_status absent = tr_fail(TR_EIO, "data set synthetic: there is none in '%s' (no %s); draw it: totalrecall synthesize %s",
                               below, marker_name, below);
    free(below);
    return absent;
  }
  free(below);
  return dataset->folder ? tr_mvtec_classes(dataset->folder, &dataset->classes) : tr_out_of_memory("opening synthetic");
}

const tr_layout tr_layout_synthetic = {
    .kind = "synthetic",
    .masks_expected = true,
    .open = synthetic_open,
    .list = tr_mvtec_list,
    .masks = tr_mvtec_masks,
    .remark_class = tr_mvtec_remark_class,
};
