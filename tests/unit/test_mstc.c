/* mSTC: .npy files written by NumPy, frames of videos, and the listing of a tiny set in the layout of ShanghaiTech Campus, whose pictures
 * hold their own numbers (tests/golden/make_mstc.py). */
#include "tests/golden/golden.h"

#include "datasets/dataset.h"
#include "datasets/npy.h"
#include "datasets/video.h"
#include "host/base/progress.h"
#include "host/base/status.h"
#include "host/base/threads.h"
#include <sys/stat.h>

/* ---- a copy of the set in a temporary folder ---- */

static char root[64];

static int make_root(void **state) {
  (void)state;
  strcpy(root, "/tmp/tr_mstc_XXXXXX");
  char command[512];
  return mkdtemp(root) && snprintf(command, sizeof command, "cp -r %s/mstc %s/", TR_GOLDEN_DIR, root) > 0 ? system(command) : -1;
}

static int remove_root(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", root);
  return system(command);
}

/* Runs a shell command in the copy. */
static void sh(const char *text) {
  char command[512];
  snprintf(command, sizeof command, "cd %s/mstc && %s", root, text);
  assert_int_equal(system(command), 0);
}

/* The training clips as frames, empty but for their names: listing does not look into them. */
static void extract_training(void) {
  sh("mkdir training/frames && for c in 01_001:43 01_002:12 02_001:26 03_001:11; do d=training/frames/${c%:*}; mkdir $d; "
     "for i in $(seq 0 $((${c#*:} - 1))); do cp testing/frames/02_0003/000.jpg $d/$(printf %03d $i).jpg; done; done");
}

static tr_dataset *opened_with(tr_frame_options frames) {
  tr_dataset *dataset = NULL;
  if (tr_dataset_open(&(tr_dataset_options){.kind = "mstc", .root = root, .frames = frames}, &dataset) != TR_OK)
    fail_msg("%s", tr_last_error());
  return dataset;
}

static tr_class class_of(const tr_dataset *dataset, const char *name) {
  tr_class class_;
  if (tr_dataset_class(dataset, name, &class_) != TR_OK)
    fail_msg("%s", tr_last_error());
  return class_;
}

static void assert_error_has(const char *text) {
  if (!strstr(tr_last_error(), text))
    fail_msg("'%s' lacks '%s'", tr_last_error(), text);
}

static void assert_open_fails(tr_status status, const char *text) {
  tr_dataset *dataset = NULL;
  assert_int_equal(tr_dataset_open(&(tr_dataset_options){.kind = "mstc", .root = root}, &dataset), status);
  assert_error_has(text);
}

static void assert_class_fails(const char *name, tr_status status, const char *text) {
  tr_dataset *dataset = opened_with((tr_frame_options){0});
  tr_class class_;
  assert_int_equal(tr_dataset_class(dataset, name, &class_), status);
  assert_error_has(text);
  tr_dataset_close(dataset);
}

/* ---- .npy ---- */

static void check_masks(const char *file) {
  char path[512];
  snprintf(path, sizeof path, "%s/npy/%s", TR_GOLDEN_DIR, file);
  tr_npy npy;
  if (tr_npy_open(path, &npy) != TR_OK)
    fail_msg("%s", tr_last_error());
  assert_int_equal(npy.dimensions, 3);
  assert_true(npy.shape[0] == 3 && npy.shape[1] == 4 && npy.shape[2] == 5);
  for (size_t f = 0; f < 3; ++f) {
    tr_image mask;
    assert_int_equal(tr_npy_frame(&npy, path, f, &mask), TR_OK);
    assert_true(mask.h == 4 && mask.w == 5 && mask.channels == 1);
    for (size_t i = 0; i < 20; ++i)
      assert_int_equal(mask.pixels[i], (7 * (20 * f + i) + 1) % 3 == 0 && f < 2 ? 255 : 0);
    tr_image_free(&mask);
    assert_int_equal(tr_npy_frame_marked(&npy, f), f < 2);
  }
  tr_image mask;
  assert_int_equal(tr_npy_frame(&npy, path, 3, &mask), TR_EFORMAT);
  assert_error_has("has 3 frames, asked for number 3");
  assert_null(mask.pixels);
  assert_false(tr_npy_frame_marked(&npy, 3));
  tr_npy_close(&npy);
}

static void npy_of_all_kinds(void **state) {
  (void)state;
  static const char *const files[] = {"masks_u1.npy", "masks_b1.npy", "masks_i2.npy", "masks_u4.npy",
                                      "masks_i8.npy", "masks_v2.npy", "masks_v3.npy"};
  for (size_t i = 0; i < sizeof files / sizeof *files; ++i)
    check_masks(files[i]);
}

static void npy_that_is_not_read(void **state) {
  (void)state;
  static const char *const cases[][2] = {{"bad_fortran.npy", "Fortran order"},
                                         {"bad_float.npy", "values of kind <f4"},
                                         {"bad_many.npy", "a shape of at most 4 numbers"}};
  char path[512];
  tr_npy npy;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    snprintf(path, sizeof path, "%s/npy/%s", TR_GOLDEN_DIR, cases[i][0]);
    assert_int_equal(tr_npy_open(path, &npy), TR_EFORMAT);
    assert_error_has(cases[i][1]);
  }
  snprintf(path, sizeof path, "%s/npy/bad_flat.npy", TR_GOLDEN_DIR);
  assert_int_equal(tr_npy_open(path, &npy), TR_OK);
  tr_image mask;
  assert_int_equal(tr_npy_frame(&npy, path, 0, &mask), TR_EFORMAT);
  assert_error_has("found 1 dimensions");
  tr_npy_close(&npy);
}

/* A version 1 file with this dictionary and so many bytes of values. */
static tr_status parse(const char *dictionary, size_t values) {
  uint8_t data[512] = "\x93NUMPY\x01";
  size_t length = strlen(dictionary);
  data[8] = (uint8_t)length;
  memcpy(data + 10, dictionary, length);
  tr_npy npy;
  return tr_npy_parse(data, 10 + length + values, "x", &npy);
}

static void npy_headers(void **state) {
  (void)state;
  assert_int_equal(parse("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }\n", 6), TR_OK);
  assert_int_equal(parse("{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"|u1\"}", 6), TR_OK);
  assert_int_equal(parse("{'descr': '|u1', 'fortran_order': False, 'shape': (6,)}", 6), TR_OK);
  assert_int_equal(parse("{'descr': '|u1', 'fortran_order': False, 'shape': ()}", 1), TR_OK);
  assert_int_equal(parse("{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 3L)}", 6), TR_OK);
  static const char *const broken[] = {
      "",
      "{}",
      "{'descr': '|u1', 'fortran_order': False}",
      "{'descr': '|u1', 'fortran_order': False, 'shape': (6)}",
      "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3}",
      "{'descr': '|u1', 'fortran_order': False, 'shape': (-2, 3)}",
      "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)} x",
      "{'descr': '|u1' 'fortran_order': False, 'shape': (2, 3)}",
      "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}",
      "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (2, 3)}",
      "{'descr': '|u1', 'fortran_order': Maybe, 'shape': (2, 3)}",
      "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 3)}",
      "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3)}",
      "{'descr': '', 'fortran_order': False, 'shape': (2, 3)}",
      "{'descr': '|u1', 'fortran_order': False, 'shape': (4611686018427387904, 4611686018427387904)}",
  };
  for (size_t i = 0; i < sizeof broken / sizeof *broken; ++i)
    assert_int_equal(parse(broken[i], 6), TR_EFORMAT);
  assert_int_equal(parse("{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3)}", 11), TR_EFORMAT);
  assert_error_has("its values take 12 bytes, found 11");
  tr_npy npy;
  assert_int_equal(tr_npy_parse("\x93NUMPY\x01\x00\xff\xff", 10, "x", &npy), TR_EFORMAT);
  assert_int_equal(tr_npy_parse("\x93NUMPY\x04\x00\x00\x00", 10, "x", &npy), TR_EFORMAT);
  assert_int_equal(tr_npy_parse("", 0, "x", &npy), TR_EFORMAT);
}

/* ---- videos ---- */

/* The number that a picture holds. */
static size_t number_in(const tr_image *image) {
  assert_true(image->h == 48 && image->w == 64 && image->channels == 3);
  size_t number = 0;
  for (size_t bit = 0; bit < 8; ++bit)
    number = 2 * number + (image->pixels[(size_t)(3 * 64 + 8 * bit + 3) * 3] > 127);
  return number;
}

static void check_frame(tr_videos *videos, const char *path, size_t frame) {
  tr_image image;
  if (tr_video_frame(videos, path, frame, &image) != TR_OK)
    fail_msg("%s", tr_last_error());
  assert_int_equal(number_in(&image), frame);
  tr_image_free(&image);
}

static void require_libav(void) {
  if (!tr_video_library())
    skip();
}

static void video_frames_in_any_order(void **state) {
  (void)state;
  require_libav();
  char path[512], other[512];
  snprintf(path, sizeof path, "%s/mstc/training/videos/01_001.avi", TR_GOLDEN_DIR);
  snprintf(other, sizeof other, "%s/mstc/training/videos/02_001.avi", TR_GOLDEN_DIR);
  size_t frames;
  int h, w;
  if (tr_video_probe(path, &frames, &h, &w) != TR_OK)
    fail_msg("%s", tr_last_error());
  assert_true(frames == 43 && h == 48 && w == 64);
  tr_videos *videos;
  assert_int_equal(tr_videos_create(&videos), TR_OK);
  for (size_t i = 0; i < 43; ++i)
    check_frame(videos, path, i);
  for (size_t i = 43; i-- > 0;)
    check_frame(videos, i % 3 ? path : other, i % 3 ? i : i % 26);
  tr_image image;
  assert_int_equal(tr_video_frame(videos, path, 43, &image), TR_EFORMAT);
  assert_error_has("ends after 43 frames, asked for number 43");
  assert_null(image.pixels);
  check_frame(videos, path, 42);
  tr_videos_destroy(videos);
}

typedef struct frame_job {
  tr_videos *videos;
  const char *path;
  size_t wrong[43];
} frame_job;

static tr_status frame_task(void *context, size_t i) {
  frame_job *job = context;
  tr_image image;
  TR_TRY(tr_video_frame(job->videos, job->path, (i * 5) % 43, &image));
  job->wrong[i] = number_in(&image) != (i * 5) % 43;
  tr_image_free(&image);
  return TR_OK;
}

static void video_frames_by_many_threads(void **state) {
  (void)state;
  require_libav();
  char path[512];
  snprintf(path, sizeof path, "%s/mstc/training/videos/01_001.avi", TR_GOLDEN_DIR);
  frame_job job = {.path = path};
  assert_int_equal(tr_videos_create(&job.videos), TR_OK);
  tr_pool *pool;
  assert_int_equal(tr_pool_create(4, &pool), TR_OK);
  assert_int_equal(tr_pool_run(pool, 43, frame_task, &job), TR_OK);
  for (size_t i = 0; i < 43; ++i)
    assert_int_equal(job.wrong[i], 0);
  tr_pool_destroy(pool);
  tr_videos_destroy(job.videos);
}

static void broken_videos(void **state) {
  (void)state;
  require_libav();
  sh("head -c 6500 training/videos/01_001.avi >cut.avi; head -c 3000 /dev/urandom >noise.avi; : >empty.avi");
  char path[128];
  tr_videos *videos;
  tr_image image;
  size_t frames;
  int h, w;
  assert_int_equal(tr_videos_create(&videos), TR_OK);
  snprintf(path, sizeof path, "%s/mstc/cut.avi", root);
  assert_int_equal(tr_video_probe(path, &frames, &h, &w), TR_OK);
  assert_int_equal(frames, 43); /* the header still says so */
  check_frame(videos, path, 0);
  assert_int_equal(tr_video_frame(videos, path, 42, &image), TR_EFORMAT);
  assert_error_has("cut.avi");
  snprintf(path, sizeof path, "%s/mstc/noise.avi", root);
  assert_int_equal(tr_video_probe(path, &frames, &h, &w), TR_EFORMAT);
  assert_error_has("noise.avi");
  snprintf(path, sizeof path, "%s/mstc/empty.avi", root);
  assert_int_equal(tr_video_frame(videos, path, 0, &image), TR_EFORMAT);
  snprintf(path, sizeof path, "%s/mstc/none.avi", root);
  assert_int_equal(tr_video_frame(videos, path, 0, &image), TR_EIO);
  tr_videos_destroy(videos);
}

/* Builds without libav say what is missing, and frames do without it. */
static void no_libav(void **state) {
  (void)state;
  if (tr_video_library())
    skip();
  assert_class_fails("pooled", TR_EINVAL, "Debian: libavformat-dev");
  extract_training();
  tr_dataset *dataset = opened_with((tr_frame_options){0});
  tr_class pooled = class_of(dataset, "pooled");
  assert_int_equal(pooled.train_count, 9 + 3 + 6 + 3);
  tr_class_free(&pooled);
  tr_dataset_close(dataset);
}

/* ---- the listing ---- */

/* Images and masks are those of the frame that the sample says. */
static void check_samples(const tr_class *class_, size_t step, size_t offset) {
  for (size_t i = 0; i < class_->train_count + class_->test_count; ++i) {
    const tr_sample *s = i < class_->train_count ? &class_->train[i] : &class_->test[i - class_->train_count];
    assert_int_equal(s->frame % step, offset);
    tr_image image, mask;
    int h, w;
    if (tr_sample_image(s, &image) != TR_OK)
      fail_msg("%s", tr_last_error());
    assert_int_equal(number_in(&image), s->frame);
    tr_image_free(&image);
    assert_int_equal(tr_sample_size(s, &h, &w), TR_OK);
    assert_true(h == 48 && w == 64);
    assert_int_equal(s->anomalous, s->mask != NULL);
    if (!s->mask)
      continue;
    assert_int_equal(tr_sample_mask(s, &mask), TR_OK);
    int x = 12 + 2 * (int)s->frame; /* the disc's centre */
    assert_int_equal(mask.pixels[20 * 64 + x], 255);
    assert_int_equal(mask.pixels[20 * 64 + x - 7], 0);
    assert_int_equal(mask.pixels[20 * 64 + x - 6], 255);
    tr_image_free(&mask);
  }
}

static void check_class(const char *name, tr_frame_options frames, size_t train, size_t test, size_t anomalous) {
  tr_dataset *dataset = opened_with(frames);
  tr_class class_ = class_of(dataset, name);
  assert_int_equal(class_.train_count, train);
  assert_int_equal(class_.test_count, test);
  size_t found = 0;
  for (size_t i = 0; i < test; ++i)
    found += class_.test[i].anomalous;
  assert_int_equal(found, anomalous);
  assert_int_equal(class_.mask_rule, frames.mask);
  check_samples(&class_, frames.step ? (size_t)frames.step : 5, (size_t)frames.offset);
  tr_class_free(&class_);
  tr_dataset_close(dataset);
}

/* Videos of 43, 12, 26 and 11 frames; test clips of 13 (4 to 11 anomalous) and 11 frames (5). */
static void every_fifth_frame(void **state) {
  (void)state;
  require_libav();
  tr_dataset *dataset = opened_with((tr_frame_options){0});
  const tr_strings *classes = tr_dataset_classes(dataset);
  assert_int_equal(classes->count, 3); /* scene 03 has no test clip */
  assert_string_equal(classes->items[0], "pooled");
  assert_string_equal(classes->items[1], "scene_01");
  assert_string_equal(classes->items[2], "scene_02");
  tr_dataset_close(dataset);
  check_class("pooled", (tr_frame_options){0}, 9 + 3 + 6 + 3, 3 + 3, 2 + 1);
  check_class("scene_01", (tr_frame_options){0}, 9 + 3, 3, 2);
  check_class("scene_02", (tr_frame_options){0}, 6, 3, 1);
  check_class("pooled", (tr_frame_options){.offset = 2}, 9 + 2 + 5 + 2, 3 + 2, 1);
  check_class("pooled", (tr_frame_options){.step = 1}, 43 + 12 + 26 + 11, 13 + 11, 8 + 1);
  check_class("pooled", (tr_frame_options){.step = 10, .offset = 9, .mask = TR_MASK_ANY}, 4 + 1 + 2 + 1, 1 + 1, 1);
  check_class("pooled", (tr_frame_options){.tested_only = true}, 9 + 3 + 6, 3 + 3, 2 + 1);
}

static void extracted_frames(void **state) {
  (void)state;
  extract_training();
  tr_dataset *dataset = opened_with((tr_frame_options){.offset = 1});
  tr_class pooled = class_of(dataset, "pooled");
  assert_int_equal(pooled.train_count, 9 + 3 + 5 + 2);
  assert_string_equal(pooled.train[1].name, "01_001/006.jpg");
  assert_null(pooled.train[1].videos);
  tr_class_free(&pooled);
  tr_dataset_close(dataset);
  sh("rm -r training/frames/03_001");
  assert_open_fails(TR_EFORMAT, "has frames of 3 clips");
  sh("rm -r training/videos"); /* then it is what there is */
  dataset = opened_with((tr_frame_options){0});
  tr_dataset_close(dataset);
  sh("rm training/frames/01_002/006.jpg");
  assert_class_fails("pooled", TR_EFORMAT, "'007.jpg' follows '005.jpg'");
}

/* Numbers count, not letters: 1000 comes after 999; a clip may begin at any number. */
static void frames_go_by_number(void **state) {
  (void)state;
  extract_training();
  sh("cd testing/frames/01_0014 && for i in $(seq 12 -1 0); do mv $(printf %03d $i).jpg frame_$((i + 993)).jpg; done");
  tr_dataset *dataset = opened_with((tr_frame_options){0});
  tr_class scene = class_of(dataset, "scene_01");
  assert_int_equal(scene.test_count, 3);
  size_t seen = 0;
  for (size_t i = 0; i < 3; ++i) {
    const tr_sample *s = &scene.test[i];
    tr_image image;
    assert_int_equal(tr_sample_image(s, &image), TR_OK);
    assert_int_equal(number_in(&image), s->frame);
    seen += s->frame;
    tr_image_free(&image);
    assert_int_equal(s->anomalous, s->frame >= 4 && s->frame < 12);
  }
  assert_int_equal(seen, 0 + 5 + 10);
  tr_class_free(&scene);
  tr_dataset_close(dataset);
}

static void incomplete_sets(void **state) {
  (void)state;
  extract_training();
  sh("rm testing/frames/02_0003/010.jpg");
  assert_class_fails("pooled", TR_EFORMAT, "masks of 11 frames");
  sh("cp testing/frames/02_0003/000.jpg testing/frames/02_0003/extra.jpg");
  assert_class_fails("scene_02", TR_EFORMAT, "'extra.jpg'");
  sh("rm testing/test_pixel_mask/02_0003.npy testing/frames/02_0003/extra.jpg");
  assert_class_fails("scene_02", TR_EIO, "02_0003.npy");
  sh("rm testing/frames/02_0003/*");
  assert_class_fails("scene_02", TR_EFORMAT, "has no frame");
  sh("rm -r testing/frames/*");
  assert_open_fails(TR_EFORMAT, "4 training clips");
  sh("rm -r testing");
  assert_open_fails(TR_EIO, "training/ and testing/frames/");
}

static void options_are_checked(void **state) {
  (void)state;
  tr_dataset *dataset;
  tr_dataset_options options = {.kind = "mstc", .root = root, .frames = {.step = 5, .offset = 5}};
  assert_int_equal(tr_dataset_open(&options, &dataset), TR_EINVAL);
  assert_error_has("an offset from 0 to step - 1, found 5 and 5");
  options.frames = (tr_frame_options){.step = -1};
  assert_int_equal(tr_dataset_open(&options, &dataset), TR_EINVAL);
  options = (tr_dataset_options){.kind = "mvtec", .root = root, .frames = {.step = 5}};
  assert_int_equal(tr_dataset_open(&options, &dataset), TR_EINVAL);
  assert_error_has("frames is a setting of mstc and synthetic_mstc alone");
}

/* ---- verifying ---- */

static char findings[4096];

static void note(void *context, bool is_error, const char *class_name, const char *text) {
  (void)context;
  size_t used = strlen(findings);
  snprintf(findings + used, sizeof findings - used, "%s %s: %s\n", is_error ? "error" : "remark", class_name ? class_name : "set",
           text);
}

static size_t verified(void) {
  tr_dataset *dataset = opened_with((tr_frame_options){0});
  size_t errors;
  findings[0] = '\0';
  assert_int_equal(tr_dataset_verify(dataset, note, NULL, &errors), TR_OK);
  tr_dataset_close(dataset);
  return errors;
}

static void assert_found(const char *text) {
  if (!strstr(findings, text))
    fail_msg("no '%s' in:\n%s", text, findings);
}

static void verify_looks_at_everything(void **state) {
  (void)state;
  require_libav();
  size_t errors = verified();
  if (errors)
    fail_msg("%s", findings);
  assert_found("remark set: 4 training and 2 test clips in 3 scenes; ShanghaiTech Campus has 330 and 107 in 13");
  assert_found("remark set: scene_03 has no test clip");
  sh("cp testing/test_pixel_mask/02_0003.npy testing/test_pixel_mask/09_0001.npy; head -c 6500 training/videos/01_001.avi >x && "
     "mv x "
     "training/videos/01_001.avi; echo x >testing/frames/01_0014/005.jpg");
  assert_true(verified() >= 4);
  assert_found("error pooled: masks without a defective image: 1 (testing/test_pixel_mask/09_0001.npy)");
  assert_found("error pooled: test/01_0014/005.jpg cannot be read");
  assert_found("01_001.avi");
}

/* ---- the set that the program draws ---- */

static const char *below(const char *name) {
  static char paths[4][128];
  static int next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", root, name);
  return path;
}

static void draw(const char *name, tr_synthesize_clips_options options) {
  options.size = 32;
  if (tr_synthesize_clips(below(name), &options) != TR_OK)
    fail_msg("%s", tr_last_error());
}

static tr_dataset *open_drawn(const char *name) {
  tr_dataset *dataset = NULL;
  if (tr_dataset_open(&(tr_dataset_options){.kind = "synthetic_mstc", .root = below(name)}, &dataset) != TR_OK)
    fail_msg("%s", tr_last_error());
  return dataset;
}

static void assert_same_pictures(const tr_sample *a, const tr_sample *b, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    tr_image x, y;
    assert_int_equal(a[i].frame, b[i].frame);
    if (tr_sample_image(&a[i], &x) != TR_OK || tr_sample_image(&b[i], &y) != TR_OK)
      fail_msg("%s", tr_last_error());
    assert_true(x.h == 32 && x.w == 57 && y.h == x.h && y.w == x.w);
    assert_memory_equal(x.pixels, y.pixels, (size_t)x.h * (size_t)x.w * 3);
    tr_image_free(&x);
    tr_image_free(&y);
  }
}

static void assert_masks(const tr_class *class_) {
  for (size_t i = 0; i < class_->test_count; ++i) {
    const tr_sample *s = &class_->test[i];
    assert_int_equal(s->anomalous, s->frame >= 15 && s->frame <= 39);
    if (!s->anomalous)
      continue;
    tr_image mask;
    size_t marked = 0;
    assert_int_equal(tr_sample_mask(s, &mask), TR_OK);
    for (int p = 0; p < 32 * 57; ++p)
      marked += mask.pixels[p] == 255;
    assert_in_range(marked, 4, 32 * 57 / 4);
    tr_image_free(&mask);
  }
}

/* Six training clips of 60 frames, one of them of the scene without a test clip; five test clips of 50. */
static void drawn_clips(void **state) {
  (void)state;
  draw("frames", (tr_synthesize_clips_options){.frames = true, .threads = 1});
  draw("again", (tr_synthesize_clips_options){.frames = true, .threads = 4});
  draw("other", (tr_synthesize_clips_options){.frames = true, .seed = 1});
  sh("cd .. && diff -r frames again && ! cmp -s frames/testing/frames/01_0001/000.png other/testing/frames/01_0001/000.png");
  tr_dataset *frames = open_drawn("frames");
  const tr_strings *classes = tr_dataset_classes(frames);
  assert_int_equal(classes->count, 4);
  assert_string_equal(classes->items[3], "scene_03");
  tr_class listed = class_of(frames, "pooled"), one = class_of(frames, "scene_02");
  assert_true(listed.train_count == 72 && listed.test_count == 50 && one.train_count == 24 && one.test_count == 20);
  assert_masks(&listed);
  if (tr_video_library()) { /* gives the pictures back to the bit */
    draw("videos/synthetic_mstc", (tr_synthesize_clips_options){.seed = 0});
    tr_dataset *videos = open_drawn("videos");
    tr_class of_videos = class_of(videos, "pooled");
    assert_true(of_videos.train_count == 72 && of_videos.train[0].videos);
    assert_same_pictures(of_videos.train, listed.train, 72);
    assert_same_pictures(of_videos.test, listed.test, 50);
    size_t errors;
    findings[0] = '\0';
    assert_int_equal(tr_dataset_verify(videos, note, NULL, &errors), TR_OK);
    assert_string_equal(findings, "");
    tr_class_free(&of_videos);
    tr_dataset_close(videos);
  }
  tr_class_free(&listed);
  tr_class_free(&one);
  tr_dataset_close(frames);
}

/* Nobody is to take it for the real one, or another set for it. */
static void drawn_clips_are_no_campus(void **state) {
  (void)state;
  draw("drawn", (tr_synthesize_clips_options){.frames = true});
  tr_dataset *dataset = NULL;
  tr_dataset_options options = {.kind = "mstc", .root = below("drawn")};
  assert_int_equal(tr_dataset_open(&options, &dataset), TR_EFORMAT);
  assert_error_has("was drawn by totalrecall; its data set is synthetic_mstc");
  options = (tr_dataset_options){.kind = "synthetic_mstc", .root = below("mstc")};
  assert_int_equal(tr_dataset_open(&options, &dataset), TR_EIO);
  assert_error_has("mstc/synthetic_mstc --clips videos");
  assert_int_equal(tr_synthesize_clips(below("drawn"), &(tr_synthesize_clips_options){.size = 32}), TR_EIO);
  assert_int_equal(tr_synthesize_clips(below("small"), &(tr_synthesize_clips_options){.size = 31}), TR_EINVAL);
  tr_cancel_request();
  tr_status status = tr_synthesize_clips(below("small"), &(tr_synthesize_clips_options){.size = 32});
  tr_cancel_clear();
  assert_int_equal(status, TR_ECANCELED);
  sh("cd .. && ! ls -d small* 2>/dev/null");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(npy_of_all_kinds),
      cmocka_unit_test(npy_that_is_not_read),
      cmocka_unit_test(npy_headers),
      cmocka_unit_test(video_frames_in_any_order),
      cmocka_unit_test(video_frames_by_many_threads),
      cmocka_unit_test_setup_teardown(broken_videos, make_root, remove_root),
      cmocka_unit_test_setup_teardown(no_libav, make_root, remove_root),
      cmocka_unit_test_setup_teardown(every_fifth_frame, make_root, remove_root),
      cmocka_unit_test_setup_teardown(extracted_frames, make_root, remove_root),
      cmocka_unit_test_setup_teardown(frames_go_by_number, make_root, remove_root),
      cmocka_unit_test_setup_teardown(incomplete_sets, make_root, remove_root),
      cmocka_unit_test_setup_teardown(options_are_checked, make_root, remove_root),
      cmocka_unit_test_setup_teardown(verify_looks_at_everything, make_root, remove_root),
      cmocka_unit_test_setup_teardown(drawn_clips, make_root, remove_root),
      cmocka_unit_test_setup_teardown(drawn_clips_are_no_campus, make_root, remove_root),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
