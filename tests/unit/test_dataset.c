/* datasets/: listings of every layout, what verify finds, the synthetic set. Small data sets are made in a temporary folder. */
#include "tests/golden/golden.h"

#include "datasets/dataset.h"
#include "datasets/image.h"
#include "datasets/synthetic.h"
#include "host/base/progress.h"
#include "host/base/rng.h"

#include <ftw.h>
#include <math.h>
#include <sys/stat.h>

/* ---- a temporary folder ---- */

static char root[] = "/tmp/tr_dataset_XXXXXX";

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
  (void)info, (void)type, (void)place;
  return remove(path);
}

static int make_root(void **state) {
  (void)state;
  strcpy(root, "/tmp/tr_dataset_XXXXXX");
  return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state) {
  (void)state;
  return nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Path below the temporary folder, in one of a few buffers. */
static const char *at(const char *below) {
  static char paths[32][512];
  static int next;
  char *path = paths[next++ % 32];
  snprintf(path, sizeof paths[0], "%s/%s", root, below);
  return path;
}

static void make_parent(const char *path) {
  char *folder = strdup(path);
  *strrchr(folder, '/') = '\0';
  assert_int_equal(tr_make_folders(folder), TR_OK);
  free(folder);
}

static void make_file(const char *below, const char *text) {
  make_parent(at(below));
  assert_int_equal(tr_file_write(at(below), text, strlen(text)), TR_OK);
}

/* A picture that `number` tells from all others. */
static void make_image(const char *below, uint64_t number, int h, int w) {
  uint8_t *pixels = malloc(3 * (size_t)h * (size_t)w);
  tr_rng rng = tr_rng_make(number, TR_RNG_TEST, 0);
  for (size_t i = 0; i < 3 * (size_t)h * (size_t)w; ++i)
    pixels[i] = (uint8_t)tr_rng_u32(&rng);
  make_parent(at(below));
  assert_int_equal(tr_image_write_png(at(below), pixels, h, w, 3), TR_OK);
  free(pixels);
}

/* A mask with one marked pixel of `value`. */
static void make_mask(const char *below, uint8_t value, int h, int w) {
  uint8_t *pixels = calloc((size_t)h * (size_t)w, 1);
  pixels[w + 1] = value;
  make_parent(at(below));
  assert_int_equal(tr_image_write_png(at(below), pixels, h, w, 1), TR_OK);
  free(pixels);
}

/* A class in MVTec's layout: two training images, one good and one cut test image. */
static void make_class(const char *folder, uint64_t number) {
  char below[256];
  const char *images[] = {"train/good/000.png", "train/good/001.png", "test/good/000.png", "test/cut/000.png"};
  for (size_t i = 0; i < 4; ++i) {
    snprintf(below, sizeof below, "%s/%s", folder, images[i]);
    make_image(below, number + i, 6, 8);
  }
  snprintf(below, sizeof below, "%s/ground_truth/cut/000_mask.png", folder);
  make_mask(below, 255, 6, 8);
}

static tr_dataset *opened(const char *kind, const char *folder, const char *split) {
  tr_dataset *dataset = NULL;
  if (tr_dataset_open(&(tr_dataset_options){.kind = kind, .root = folder, .split_file = split}, &dataset) != TR_OK)
    fail_msg("%s", tr_last_error());
  return dataset;
}

static void assert_open_fails(const char *kind, const char *folder, const char *split, tr_status status, const char *text) {
  tr_dataset *dataset = NULL;
  assert_int_equal(tr_dataset_open(&(tr_dataset_options){.kind = kind, .root = folder, .split_file = split}, &dataset), status);
  assert_null(dataset);
  if (!strstr(tr_last_error(), text))
    fail_msg("'%s' lacks '%s'", tr_last_error(), text);
}

static void assert_class_fails(const char *kind, const char *folder, const char *name, tr_status status, const char *text) {
  tr_dataset *dataset = opened(kind, folder, NULL);
  tr_class class_;
  assert_int_equal(tr_dataset_class(dataset, name, &class_), status);
  if (!strstr(tr_last_error(), text))
    fail_msg("'%s' lacks '%s'", tr_last_error(), text);
  tr_dataset_close(dataset);
}

/* Samples as one line: "name" or "name=mask file" for each, anomalous ones with a star. */
static const char *listed(const tr_sample *samples, size_t count) {
  static char text[2][1024];
  static int next;
  char *out = text[next++ % 2];
  size_t used = 0;
  out[0] = '\0';
  for (size_t i = 0; i < count; ++i)
    used += (size_t)snprintf(out + used, sizeof text[0] - used, "%s%s%s%s%s", i ? " " : "", samples[i].name,
                             samples[i].anomalous ? "*" : "", samples[i].mask ? "=" : "",
                             samples[i].mask ? strrchr(samples[i].mask, '/') + 1 : "");
  return out;
}

static void assert_class(const tr_dataset *dataset, const char *name, const char *train, const char *test) {
  tr_class class_;
  if (tr_dataset_class(dataset, name, &class_) != TR_OK)
    fail_msg("%s", tr_last_error());
  assert_string_equal(class_.name, name);
  assert_string_equal(listed(class_.train, class_.train_count), train);
  assert_string_equal(listed(class_.test, class_.test_count), test);
  tr_class_free(&class_);
}

/* ---- findings ---- */

typedef struct findings {
  char text[8192];
  size_t used, errors;
} findings;

static void take_finding(void *context, bool is_error, const char *class_name, const char *text) {
  findings *list = context;
  list->errors += is_error;
  list->used += (size_t)snprintf(list->text + list->used, sizeof list->text - list->used, "%s %s: %s\n",
                                 is_error ? "error" : "remark", class_name ? class_name : "-", text);
  assert_true(list->used < sizeof list->text);
}

static findings verified(const char *kind, const char *folder) {
  findings list = {.used = 0};
  size_t errors = 99;
  tr_dataset *dataset = opened(kind, folder, NULL);
  assert_int_equal(tr_dataset_verify(dataset, take_finding, &list, &errors), TR_OK);
  assert_int_equal(errors, list.errors);
  tr_dataset_close(dataset);
  return list;
}

static void assert_found(const findings *list, const char *line) {
  if (!strstr(list->text, line))
    fail_msg("no '%s' in:\n%s", line, list->text);
}

/* ---- opening ---- */

static void unknown_kinds_and_folders_are_named(void **state) {
  (void)state;
  assert_open_fails("visa", root, NULL, TR_EINVAL, "'visa' is not known");
  assert_open_fails("visa", root, NULL, TR_EINVAL, "known: mvtec, mtd, mstc, folder, synthetic");
  assert_open_fails("foldr", root, NULL, TR_EINVAL, "did you mean 'folder'?");
  assert_open_fails("mvtec", at("absent"), NULL, TR_EIO, "absent'");
  assert_open_fails("mvtec", "", NULL, TR_EINVAL, "no data folder");
  assert_open_fails("mvtec", NULL, NULL, TR_EINVAL, "no data folder");
  assert_open_fails("mvtec", root, "list.txt", TR_EINVAL, "split_file");
  assert_open_fails("mvtec", root, NULL, TR_EIO, "/mvtec'");
  assert_open_fails("mtd", root, NULL, TR_EIO, "MT_Free/Imgs");
  assert_open_fails("folder", root, NULL, TR_EIO, "nominal images");
  assert_open_fails("synthetic", root, NULL, TR_EIO, "totalrecall synthesize");
  tr_dataset_close(NULL);
}

/* ---- mvtec ---- */

static void mvtec_is_listed_in_the_official_order(void **state) {
  (void)state;
  make_class("mvtec/tile", 1);
  make_class("mvtec/bolt", 11);
  make_image("mvtec/bolt/test/Zebra/010.PNG", 20, 6, 8);
  make_image("mvtec/bolt/test/Zebra/9.bmp", 21, 6, 8); /* listed by its name alone */
  make_image("mvtec/bolt/test/Zebra/.hidden.png", 22, 6, 8);
  make_mask("mvtec/bolt/ground_truth/Zebra/010.png", 255, 6, 8);
  make_image("mvtec/bolt/train/other/000.png", 23, 6, 8);
  make_file("mvtec/bolt/test/cut/notes.txt", "none");
  make_file("mvtec/licence/readme.txt", "a folder that is no class");
  const char *roots[] = {root, at("mvtec"), at("mvtec/")};
  for (size_t i = 0; i < 3; ++i) {
    tr_dataset *dataset = opened("mvtec", roots[i], NULL);
    assert_string_equal(tr_dataset_kind(dataset), "mvtec");
    assert_string_equal(tr_dataset_folder(dataset), at("mvtec"));
    const tr_strings *classes = tr_dataset_classes(dataset);
    assert_int_equal(classes->count, 2);
    assert_string_equal(classes->items[0], "bolt");
    assert_string_equal(classes->items[1], "tile");
    assert_class(dataset, "bolt", "good/000.png good/001.png",
                 "Zebra/010.PNG*=010.png Zebra/9.bmp* cut/000.png*=000_mask.png good/000.png");
    tr_dataset_close(dataset);
  }
  tr_dataset *dataset = opened("mvtec", root, NULL);
  tr_class class_;
  assert_int_equal(tr_dataset_class(dataset, "tile", &class_), TR_OK);
  assert_string_equal(class_.train[1].path, at("mvtec/tile/train/good/001.png"));
  assert_string_equal(class_.test[0].defect, "cut");
  assert_string_equal(class_.test[1].defect, "good");
  assert_int_equal(class_.mask_threshold, -1);
  tr_class_free(&class_);
  tr_dataset_close(dataset);
}

static void damaged_mvtec_classes_name_the_folder(void **state) {
  (void)state;
  make_class("tile", 1);
  assert_class_fails("mvtec", root, "tiles", TR_EINVAL, "did you mean 'tile'?");
  assert_class_fails("mvtec", root, "grid", TR_EINVAL, "it has: tile");
  make_image("notest/train/good/000.png", 5, 4, 4);
  assert_class_fails("mvtec", root, "notest", TR_EIO, "notest/test'");
  make_image("notrain/test/good/000.png", 6, 4, 4);
  assert_class_fails("mvtec", root, "notrain", TR_EIO, "class notrain: there is no folder");
  make_file("empty/train/good/readme.txt", "no image");
  make_image("empty/test/good/000.png", 6, 4, 4);
  assert_class_fails("mvtec", root, "empty", TR_EFORMAT, "empty/train/good' has no image");
  make_image("flat/train/good/000.png", 7, 4, 4);
  make_image("flat/test/000.png", 8, 4, 4);
  assert_class_fails("mvtec", root, "flat", TR_EFORMAT, "flat/test'");
  assert_open_fails("mvtec", at("tile"), NULL, TR_EIO, "the folder of one class");
}

/* ---- mtd ---- */

static void make_mtd(void) {
  const char *free_images[] = {"exp1_num_1", "exp1_num_10", "exp1_num_9", "exp2_num_3"};
  char below[256];
  for (uint64_t i = 0; i < 4; ++i) {
    snprintf(below, sizeof below, "mtd/MT_Free/Imgs/%s.jpg", free_images[i]);
    make_image(below, 30 + i, 5, 7);
    snprintf(below, sizeof below, "mtd/MT_Free/Imgs/%s.png", free_images[i]);
    make_mask(below, 0, 5, 7);
  }
  make_image("mtd/MT_Uneven/Imgs/exp1_num_7.jpg", 40, 5, 7);
  make_mask("mtd/MT_Uneven/Imgs/exp1_num_7.png", 3, 5, 7);
  make_image("mtd/MT_Blowhole/Imgs/exp1_num_8.jpg", 41, 5, 7);
  make_mask("mtd/MT_Blowhole/Imgs/exp1_num_8.png", 255, 5, 7);
  make_image("mtd/MT_Blowhole/Imgs/exp1_num_7.jpg", 42, 5, 7);
}

static void mtd_follows_the_split_file(void **state) {
  (void)state;
  make_mtd();
  make_file("mtd/differnet_train.txt", "exp2_num_3.jpg\r\n\nexp1_num_10.jpg\n");
  const char *roots[] = {root, at("mtd")};
  for (size_t i = 0; i < 2; ++i) {
    tr_dataset *dataset = opened("mtd", roots[i], NULL);
    assert_int_equal(tr_dataset_classes(dataset)->count, 1);
    assert_class(dataset, "mtd", "good/exp1_num_10.jpg good/exp2_num_3.jpg",
                 "blowhole/exp1_num_7.jpg* blowhole/exp1_num_8.jpg*=exp1_num_8.png good/exp1_num_1.jpg good/exp1_num_9.jpg "
                 "uneven/exp1_num_7.jpg*=exp1_num_7.png");
    tr_class class_;
    assert_int_equal(tr_dataset_class(dataset, "mtd", &class_), TR_OK);
    assert_int_equal(class_.mask_threshold, 127);
    tr_class_free(&class_);
    tr_dataset_close(dataset);
  }
  make_file("other.txt", "exp1_num_1.jpg"); /* no line end */
  tr_dataset *dataset = opened("mtd", root, at("other.txt"));
  tr_class class_;
  assert_int_equal(tr_dataset_class(dataset, "mtd", &class_), TR_OK);
  assert_string_equal(listed(class_.train, class_.train_count), "good/exp1_num_1.jpg");
  assert_int_equal(class_.test_count, 6);
  tr_class_free(&class_);
  tr_dataset_close(dataset);
}

static void mtd_invents_no_split(void **state) {
  (void)state;
  make_mtd();
  assert_class_fails("mtd", root, "mtd", TR_EIO, "differnet_train.txt");
  assert_class_fails("mtd", root, "mtd", TR_EIO, "split_file");
  make_file("mtd/differnet_train.txt", "exp1_num_1.jpg\nexp9_num_9.jpg\n");
  assert_class_fails("mtd", root, "mtd", TR_EFORMAT, "line 2: MT_Free/Imgs has no image 'exp9_num_9.jpg'");
  make_file("mtd/differnet_train.txt", "exp1_num_1.jpg\nexp1_num_9.jpg\nexp1_num_1.jpg\n");
  assert_class_fails("mtd", root, "mtd", TR_EFORMAT, "names 'exp1_num_1.jpg' twice");
  make_file("mtd/differnet_train.txt", "\n\n");
  assert_class_fails("mtd", root, "mtd", TR_EFORMAT, "names no training image");
  tr_dataset *dataset = opened("mtd", root, at("absent.txt"));
  tr_class class_;
  assert_int_equal(tr_dataset_class(dataset, "mtd", &class_), TR_EIO);
  assert_non_null(strstr(tr_last_error(), "absent.txt"));
  tr_dataset_close(dataset);
}

static void mtd_is_verified(void **state) {
  (void)state;
  make_mtd();
  make_file("mtd/differnet_train.txt", "exp1_num_1.jpg\n");
  make_mask("mtd/MT_Blowhole/Imgs/exp5_num_5.png", 255, 5, 7);
  findings list = verified("mtd", root);
  assert_int_equal(list.errors, 2);
  assert_found(&list, "error mtd: defective images without a mask: 1 (blowhole/exp1_num_7.jpg)\n");
  assert_found(&list, "error mtd: masks without a defective image: 1 (MT_Blowhole/Imgs/exp5_num_5.png)\n");
  assert_found(&list, "remark mtd: the mask of test/uneven/exp1_num_7.jpg marks no pixel (none is above 127)\n");
  assert_found(&list, "remark mtd: 1 training images; DifferNet's list has 761\n");
  assert_found(&list, "remark mtd: 2 images of defect blowhole; MTD has 115\n");
  assert_found(&list, "remark mtd: 0 images of defect fray; MTD has 32\n");
}

/* ---- folder ---- */

static void own_images_are_read_in_anomalibs_layout(void **state) {
  (void)state;
  make_image("parts/good/b.png", 1, 4, 4);
  make_image("parts/good/a.png", 2, 4, 4);
  make_image("parts/crack/x.png", 3, 4, 4);
  make_image("parts/colour/x.png", 4, 4, 4);
  make_image("parts/test/good/c.png", 5, 4, 4);
  make_mask("parts/mask/crack/x.png", 1, 4, 4);
  make_file("parts/docs/readme.txt", "a folder without images");
  tr_dataset *dataset = opened("folder", at("parts"), NULL);
  assert_class(dataset, "parts", "good/a.png good/b.png", "colour/x.png* crack/x.png*=x.png good/c.png");
  tr_class class_;
  assert_int_equal(tr_dataset_class(dataset, "parts", &class_), TR_OK);
  assert_int_equal(class_.mask_threshold, 0);
  tr_class_free(&class_);
  tr_dataset_close(dataset);
  findings list = verified("folder", at("parts"));
  assert_int_equal(list.errors, 0);
  assert_string_equal(list.text, "remark parts: defective images without a mask: 1 (colour/x.png)\n");
}

static void own_images_are_read_in_mvtecs_layout(void **state) {
  (void)state;
  make_class("set/bolt", 1);
  make_class("set/nut", 11);
  tr_dataset *dataset = opened("folder", at("set/nut/"), NULL);
  assert_class(dataset, "nut", "good/000.png good/001.png", "cut/000.png*=000_mask.png good/000.png");
  tr_dataset_close(dataset);
  dataset = opened("folder", at("set"), NULL);
  assert_int_equal(tr_dataset_classes(dataset)->count, 2);
  assert_class(dataset, "bolt", "good/000.png good/001.png", "cut/000.png*=000_mask.png good/000.png");
  tr_dataset_close(dataset);
}

static void good_images_alone_are_a_class(void **state) {
  (void)state;
  make_image("parts/good/a.png", 2, 4, 4);
  tr_dataset *dataset = opened("folder", at("parts"), NULL);
  assert_class(dataset, "parts", "good/a.png", "");
  tr_dataset_close(dataset);
  findings list = verified("folder", at("parts"));
  assert_found(&list, "remark parts: no test images");
  make_image("parts/crack/a.png", 3, 4, 4);
  list = verified("folder", at("parts"));
  assert_found(&list, "remark parts: no good test images");
}

static void ambiguous_folders_are_refused(void **state) {
  (void)state;
  make_image("parts/good/a.png", 2, 4, 4);
  make_image("parts/crack/a.png", 3, 4, 4);
  make_image("parts/test/crack/a.png", 4, 4, 4);
  assert_class_fails("folder", at("parts"), "parts", TR_EFORMAT, "has both crack/ and test/crack/");
  make_image("parts/train/good/a.png", 5, 4, 4);
  assert_open_fails("folder", at("parts"), NULL, TR_EFORMAT, "has both good/ and train/good/");
  make_file("bare/good/readme.txt", "no image");
  assert_class_fails("folder", at("bare"), "bare", TR_EFORMAT, "bare/good' has no image");
}

/* ---- verify ---- */

static void a_sound_set_has_no_finding(void **state) {
  (void)state;
  make_class("bolt", 1);
  make_class("plate", 1); /* the same pictures, but in another class */
  findings list = verified("mvtec", root);
  assert_string_equal(list.text, "");
}

static void verify_finds_what_is_wrong(void **state) {
  (void)state;
  make_class("bolt", 1);
  make_image("bolt/train/good/002.png", 3, 6, 8); /* test/good/000.png */
  make_image("bolt/train/good/003.png", 50, 6, 8);
  make_image("bolt/train/good/004.png", 50, 6, 8);
  make_image("bolt/test/dent/000.png", 51, 6, 8);
  make_mask("bolt/ground_truth/dent/000_mask.png", 255, 8, 6);
  make_image("bolt/test/dent/001.png", 52, 6, 8);
  make_image("bolt/test/good/001.png", 52, 6, 8);
  make_mask("bolt/ground_truth/dent/001_mask.png", 254, 6, 8);
  make_image("bolt/test/dent/002.png", 53, 6, 8);
  make_mask("bolt/ground_truth/dent/007_mask.png", 255, 6, 8);
  make_file("bolt/test/dent/003.png", "\x89PNG\r\n\x1a\n, but no more");
  make_mask("bolt/ground_truth/dent/003_mask.png", 255, 6, 8);
  make_image("bolt/test/dent/004.png", 54, 6, 8);
  make_file("bolt/ground_truth/dent/004_mask.png", "no picture");
  make_file("bolt/test/dent/005.tif", "II*");
  make_image("bolt/test/005.png", 55, 6, 8);
  make_image("bolt/train/bad/000.png", 56, 6, 8);
  make_image("torn/train/good/000.png", 60, 6, 8);
  findings list = verified("mvtec", root);
  assert_found(&list, "error bolt: train/good/002.png and test/good/000.png are the same picture\n");
  assert_found(&list, "remark bolt: train/good/003.png and train/good/004.png are the same picture\n");
  assert_found(&list, "error bolt: test/dent/001.png and test/good/001.png are the same picture\n");
  assert_found(&list, "error bolt: the mask of test/dent/000.png is 6x8, the image 8x6 (width x height)\n");
  assert_found(&list, "remark bolt: the mask of test/dent/001.png marks no pixel (none is 255)\n");
  assert_found(&list, "error bolt: defective images without a mask: 1 (dent/002.png)\n");
  assert_found(&list, "error bolt: masks without a defective image: 1 (bolt/ground_truth/dent/007_mask.png)\n");
  assert_found(&list, "error bolt: test/dent/003.png cannot be read: ");
  assert_found(&list, "error bolt: the mask of test/dent/004.png cannot be read: ");
  assert_found(&list, "remark bolt: files that are not read, being no png, jpg, jpeg or bmp: 1 (005.tif)\n");
  assert_found(&list, "remark bolt: images directly in test/ are not read: 1 (005.png)\n");
  assert_found(&list, "remark bolt: train/bad is not read: only train/good is\n");
  assert_found(&list, "error torn: class torn: there is no folder");
  assert_int_equal(list.errors, 8);
}

static void official_counts_are_held_against_the_found_ones(void **state) {
  (void)state;
  make_class("bottle", 1);
  findings list = verified("mvtec", root);
  assert_int_equal(list.errors, 0);
  assert_found(&list, "remark -: 1 of MVTec AD's 15 classes are here; missing: cable, capsule,");
  assert_found(&list, "remark bottle: 2 training images; MVTec AD has 209\n");
  assert_found(&list, "remark bottle: 1 good test images; MVTec AD has 20\n");
  assert_found(&list, "remark bottle: 1 defective test images; MVTec AD has 63\n");
  list = verified("folder", root); /* own images may be called bottle */
  assert_string_equal(list.text, "");
}

/* ---- synthetic ---- */

static bool changed(const uint8_t *a, const uint8_t *b) {
  for (int c = 0; c < 3; ++c)
    if (abs((int)a[c] - (int)b[c]) > TR_CHANGED_LEVELS)
      return true;
  return false;
}

/* True when a pixel within `reach` of (y, x) is changed. */
static bool changed_near(const uint8_t *rgb, const uint8_t *clean, int h, int w, int y, int x, int reach) {
  for (int j = y - reach < 0 ? 0 : y - reach; j <= y + reach && j < h; ++j)
    for (int i = x - reach < 0 ? 0 : x - reach; i <= x + reach && i < w; ++i)
      if (changed(rgb + 3 * (j * w + i), clean + 3 * (j * w + i)))
        return true;
  return false;
}

/* A mask has every changed pixel and nothing that is not enclosed by changed ones. */
static void check_picture(const tr_picture *picture) {
  int h, w;
  tr_picture_extent(picture, &h, &w);
  size_t pixels = (size_t)h * (size_t)w, marked = 0;
  uint8_t *rgb = malloc(3 * pixels), *clean = malloc(3 * pixels), *mask = malloc(pixels);
  assert_int_equal(tr_picture_draw(picture, rgb, clean, mask), TR_OK);
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) {
      size_t i = (size_t)y * (size_t)w + (size_t)x;
      marked += mask[i] == 255;
      assert_true(mask[i] == 0 || mask[i] == 255);
      if (changed(rgb + 3 * i, clean + 3 * i))
        assert_int_equal(mask[i], 255);
      else if (mask[i])
        assert_true(changed_near(rgb, clean, h, w, y, x, TR_MASK_CLOSING));
    }
  if (picture->group < 2) {
    assert_int_equal(marked, 0);
    assert_memory_equal(rgb, clean, 3 * pixels);
  } else if (marked < 8 || marked > pixels / 4) {
    fail_msg("%s, %s %d: the defect has %zu of %zu pixels", picture->class_->name, picture->class_->defects[picture->group - 2],
             picture->number, marked, pixels);
  }
  free(rgb);
  free(clean);
  free(mask);
}

static void masks_are_where_the_picture_differs(void **state) {
  (void)state;
  int classes;
  const tr_picture_class *const *all = tr_picture_classes(&classes);
  assert_true(classes >= 4);
  for (int c = 0; c < classes; ++c)
    for (int group = 0; group < 2 + all[c]->defect_count; ++group)
      for (int number = 0; number < 6; ++number)
        check_picture(&(tr_picture){.class_ = all[c], .group = group, .number = number, .size = 256});
}

/* Mean difference of a picture from one four times its size, averaged over 4 x 4 pixels. */
static double difference(const tr_picture *small, const tr_picture *large) {
  int h, w;
  double off = 0;
  tr_picture_extent(small, &h, &w);
  size_t pixels = (size_t)(h * w);
  uint8_t *a = malloc(7 * pixels), *b = malloc(7 * 16 * pixels);
  assert_int_equal(tr_picture_draw(small, a, a + 3 * pixels, a + 6 * pixels), TR_OK);
  assert_int_equal(tr_picture_draw(large, b, b + 3 * 16 * pixels, b + 6 * 16 * pixels), TR_OK);
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) {
      double sum = 0;
      for (int k = 0; k < 16; ++k)
        sum += b[3 * ((4 * y + k / 4) * 4 * w + 4 * x + k % 4) + 1];
      off += fabs(sum / 16 - a[3 * (y * w + x) + 1]);
    }
  free(a);
  free(b);
  return off / (h * w);
}

/* A larger picture shows the same scene, not another one. */
static void pictures_scale_with_their_size(void **state) {
  (void)state;
  int classes, h, w;
  const tr_picture_class *const *all = tr_picture_classes(&classes);
  for (int c = 0; c < classes; ++c) {
    tr_picture small = {.class_ = all[c], .size = 160}, same = {.class_ = all[c], .size = 640};
    tr_picture other = {.class_ = all[c], .number = 1, .size = 640};
    tr_picture_extent(&small, &h, &w);
    assert_int_equal(h < w ? h : w, 160);
    double of_same = difference(&small, &same), of_other = difference(&small, &other);
    if (!(of_same < 0.5 * of_other))
      fail_msg("%s: %g from the same scene, %g from another", all[c]->name, of_same, of_other);
  }
}

/* Bytes of every file below `folder`, folded in the order of their paths. */
static uint64_t folder_hash(const char *folder) {
  tr_strings names;
  assert_int_equal(tr_folder_list(folder, &names), TR_OK);
  uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
  for (size_t i = 0; i < names.count; ++i) {
    char path[512], *data;
    size_t bytes;
    snprintf(path, sizeof path, "%s/%s", folder, names.items[i]);
    if (tr_is_folder(path)) {
      hash = (hash ^ folder_hash(path)) * 0x100000001b3u;
      continue;
    }
    assert_int_equal(tr_file_read(path, &data, &bytes), TR_OK);
    for (size_t b = 0; b < bytes; ++b)
      hash = (hash ^ (uint8_t)data[b]) * 0x100000001b3u;
    free(data);
  }
  tr_strings_free(&names);
  return hash;
}

static void the_synthetic_set_is_the_same_on_any_threads(void **state) {
  (void)state;
  tr_synthesize_options options = {.seed = 5, .train = 2, .good = 1, .per_defect = 1, .size = 64, .threads = 1};
  assert_int_equal(tr_synthesize(at("one"), &options), TR_OK);
  options.threads = 4;
  assert_int_equal(tr_synthesize(at("four"), &options), TR_OK);
  options.seed = 6;
  assert_int_equal(tr_synthesize(at("other"), &options), TR_OK);
  assert_true(folder_hash(at("one")) == folder_hash(at("four")));
  assert_true(folder_hash(at("one")) != folder_hash(at("other")));
}

static void the_synthetic_set_opens_and_verifies(void **state) {
  (void)state;
  tr_synthesize_options options = {.seed = 1, .train = 3, .good = 2, .per_defect = 2, .size = 96};
  assert_int_equal(tr_make_folders(at("synthetic")), TR_OK); /* an empty folder is taken */
  if (tr_synthesize(at("synthetic/"), &options) != TR_OK)
    fail_msg("%s", tr_last_error());
  const char *roots[] = {root, at("synthetic")};
  for (size_t i = 0; i < 2; ++i) {
    tr_dataset *dataset = opened("synthetic", roots[i], NULL);
    const tr_strings *classes = tr_dataset_classes(dataset);
    assert_int_equal(classes->count, 5);
    for (size_t c = 0; c < classes->count; ++c) {
      tr_class class_;
      assert_int_equal(tr_dataset_class(dataset, classes->items[c], &class_), TR_OK);
      assert_int_equal(class_.train_count, 3);
      assert_int_equal(class_.test_count, 2 + 4 * 2);
      for (size_t t = 0; t < class_.test_count; ++t)
        assert_true(class_.test[t].anomalous == (class_.test[t].mask != NULL));
      tr_class_free(&class_);
    }
    tr_dataset_close(dataset);
  }
  findings list = verified("synthetic", root);
  assert_string_equal(list.text, "");
  /* Nothing but the set itself is left beside it. */
  tr_strings names;
  assert_int_equal(tr_folder_list(root, &names), TR_OK);
  assert_int_equal(names.count, 1);
  tr_strings_free(&names);
}

static void one_class_is_drawn_as_among_the_others(void **state) {
  (void)state;
  tr_synthesize_options options = {.seed = 5, .train = 2, .good = 1, .per_defect = 1, .size = 64};
  assert_int_equal(tr_synthesize(at("all"), &options), TR_OK);
  options.class_name = "granite";
  assert_int_equal(tr_synthesize(at("synthetic"), &options), TR_OK);
  tr_dataset *dataset = opened("synthetic", root, NULL);
  assert_int_equal(tr_dataset_classes(dataset)->count, 1);
  assert_string_equal(tr_dataset_classes(dataset)->items[0], "granite");
  tr_dataset_close(dataset);
  assert_true(folder_hash(at("all/granite")) == folder_hash(at("synthetic/granite")));
  options.class_name = "marble";
  assert_int_equal(tr_synthesize(at("none"), &options), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "no class `marble`"));
  assert_false(tr_is_folder(at("none")));
}

static void drawing_over_files_or_nonsense_is_refused(void **state) {
  (void)state;
  make_file("mine/holiday.txt", "mine");
  tr_synthesize_options options = {.train = 1, .good = 1, .per_defect = 1, .size = 64};
  assert_int_equal(tr_synthesize(at("mine"), &options), TR_EIO);
  assert_non_null(strstr(tr_last_error(), "is not empty"));
  assert_true(tr_is_file(at("mine/holiday.txt")));
  options.size = 8;
  assert_int_equal(tr_synthesize(at("small"), &options), TR_EINVAL);
  options.size = 64;
  options.train = -1;
  assert_int_equal(tr_synthesize(at("small"), &options), TR_EINVAL);
  assert_false(tr_is_folder(at("small")));
  make_class("synthetic/bolt", 1); /* not drawn by the program */
  assert_open_fails("synthetic", root, NULL, TR_EIO, "no synthetic.txt");
}

static void a_canceled_drawing_leaves_nothing(void **state) {
  (void)state;
  tr_synthesize_options options = {.train = 1, .good = 1, .per_defect = 1, .size = 64};
  tr_cancel_request();
  tr_status status = tr_synthesize(at("synthetic"), &options);
  tr_cancel_clear();
  assert_int_equal(status, TR_ECANCELED);
  tr_strings names;
  assert_int_equal(tr_folder_list(root, &names), TR_OK);
  assert_int_equal(names.count, 0);
  tr_strings_free(&names);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(unknown_kinds_and_folders_are_named, make_root, remove_root),
      cmocka_unit_test_setup_teardown(mvtec_is_listed_in_the_official_order, make_root, remove_root),
      cmocka_unit_test_setup_teardown(damaged_mvtec_classes_name_the_folder, make_root, remove_root),
      cmocka_unit_test_setup_teardown(mtd_follows_the_split_file, make_root, remove_root),
      cmocka_unit_test_setup_teardown(mtd_invents_no_split, make_root, remove_root),
      cmocka_unit_test_setup_teardown(mtd_is_verified, make_root, remove_root),
      cmocka_unit_test_setup_teardown(own_images_are_read_in_anomalibs_layout, make_root, remove_root),
      cmocka_unit_test_setup_teardown(own_images_are_read_in_mvtecs_layout, make_root, remove_root),
      cmocka_unit_test_setup_teardown(good_images_alone_are_a_class, make_root, remove_root),
      cmocka_unit_test_setup_teardown(ambiguous_folders_are_refused, make_root, remove_root),
      cmocka_unit_test_setup_teardown(a_sound_set_has_no_finding, make_root, remove_root),
      cmocka_unit_test_setup_teardown(verify_finds_what_is_wrong, make_root, remove_root),
      cmocka_unit_test_setup_teardown(official_counts_are_held_against_the_found_ones, make_root, remove_root),
      cmocka_unit_test(masks_are_where_the_picture_differs),
      cmocka_unit_test(pictures_scale_with_their_size),
      cmocka_unit_test_setup_teardown(the_synthetic_set_is_the_same_on_any_threads, make_root, remove_root),
      cmocka_unit_test_setup_teardown(the_synthetic_set_opens_and_verifies, make_root, remove_root),
      cmocka_unit_test_setup_teardown(one_class_is_drawn_as_among_the_others, make_root, remove_root),
      cmocka_unit_test_setup_teardown(a_canceled_drawing_leaves_nothing, make_root, remove_root),
      cmocka_unit_test_setup_teardown(drawing_over_files_or_nonsense_is_refused, make_root, remove_root),
  };
  return cmocka_run_group_tests_name("dataset", tests, NULL, NULL);
}
