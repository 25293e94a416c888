/* PatchCore with less memory than it would like, and the same results: on a device without room for everything features and banks lie in
 * host memory; where not all features are to be kept, rows come from a file or from images that pass once more. */
#include "host/base/rng.h"
#include "host/base/status.h"
#include "host/methods/method.h"
#include "host/methods/picks.h"
#include "kernels/project.h"
#include "tests/kernels/devices.h"
#include "tests/status.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
  SIDE = 10, /* of the maps */
  CHANNELS = 24,
  TRAIN = 20,
  TEST = 3,
  PATCHES = SIDE * SIDE,
  MAP = PATCHES * CHANNELS,
  MOST_VARIANTS = 6,
};

static const tr_variant variants[MOST_VARIANTS] = {
    {.subsampling = TR_SUBSAMPLE_NONE},
    {.subsampling = TR_SUBSAMPLE_GREEDY, .percent = 20, .projection = 8, .seed = 1},
    {.subsampling = TR_SUBSAMPLE_GREEDY,
     .percent = 10,
     .projection = 8,
     .seed = 1,
     .image_score = TR_SCORE_REWEIGHTED,
     .neighbours = 5},
    {.subsampling = TR_SUBSAMPLE_GREEDY, .percent = 3, .projection = CHANNELS, .seed = 2},
    {.subsampling = TR_SUBSAMPLE_RANDOM, .percent = 70, .seed = 3, .image_score = TR_SCORE_REWEIGHTED, .neighbours = 3},
    {.subsampling = TR_SUBSAMPLE_NONE, .image_score = TR_SCORE_REWEIGHTED, .neighbours = 9},
};

/* Counts the lines that say where things lie. */
static void count_line(tr_progress *self, const char *text) {
  *(int *)self->user += strstr(text, "stay in host memory") != NULL;
}

static float *map_of(tr_device *device, uint64_t image) {
  float host[MAP];
  tr_rng rng = tr_rng_make(31, TR_RNG_TEST, image);
  for (int i = 0; i < MAP; ++i)
    host[i] = tr_rng_normal(&rng);
  return device_copy_of(device, host, sizeof host);
}

static tr_method_options options_of(tr_device *device, size_t first, size_t count) {
  return (tr_method_options){.device = device,
                             .aggregate = {.layers = 1,
                                           .patch = 1,
                                           .stride = 1,
                                           .layer_dimension = CHANNELS,
                                           .dimension = CHANNELS,
                                           .h = {SIDE},
                                           .w = {SIDE},
                                           .c = {CHANNELS}},
                             .train_images = TRAIN,
                             .variants = variants + first,
                             .variant_count = count};
}

/* All of a device's memory but `left` bytes. */
static void *leave(tr_device *device, size_t left) {
  size_t now = tr_device_free_bytes(device);
  assert_true(now > left);
  return device_array(device, now - left);
}

typedef struct scores {
  float patches[MOST_VARIANTS][TEST][PATCHES], images[MOST_VARIANTS][TEST];
} scores;

static void score(tr_device *device, tr_model *model, scores *out) {
  for (int i = 0; i < TEST; ++i) {
    float *map = map_of(device, 100 + (uint64_t)i);
    const float *const maps[] = {map};
    assert_ok(tr_method_patchcore.score_images(model, 0, 1, maps, out->patches[0][i], TEST * PATCHES, &out->images[0][i], TEST));
    tr_device_free(device, map);
  }
}

/* `lines` counts what was said about host memory; gives the most device memory in use. */
static size_t fit_and_score(tr_device *device, size_t first, size_t count, const char *saved, int *lines, scores *out) {
  tr_progress progress = {.line = count_line, .user = lines};
  tr_method_options options = options_of(device, first, count);
  options.progress = &progress;
  tr_model *model;
  size_t before = tr_device_bytes(device);
  tr_device_reset_peak(device);
  assert_ok(tr_method_patchcore.create(&options, &model));
  for (size_t i = 0; i < TRAIN; ++i) {
    float *map = map_of(device, i);
    const float *const maps[] = {map};
    assert_ok(tr_method_patchcore.fit_images(model, 0, i, 1, maps));
    tr_device_free(device, map);
  }
  assert_ok(tr_method_patchcore.fit_end(model));
  score(device, model, out);
  if (saved)
    assert_ok(tr_method_patchcore.save(model, 0, saved, NULL));
  tr_method_patchcore.destroy(model);
  assert_int_equal(tr_device_bytes(device), before);
  return tr_device_peak_bytes(device) - before;
}

/* With `left` bytes for the model; the scores must be those expected. */
static size_t squeeze(tr_device *device, size_t first, size_t count, size_t left, const char *saved, int *lines,
                      const scores *expected) {
  scores *got = calloc(1, sizeof *got);
  assert_non_null(got);
  void *rest = leave(device, left);
  size_t peak = fit_and_score(device, first, count, saved, lines, got);
  assert_memory_equal(got, expected, sizeof *got);
  tr_device_free(device, rest);
  free(got);
  return peak;
}

/* Less and less memory. The model keeps to what there is, down to the least that it can do with: the reserve of tr_device_free_bytes() is
 * still there for that, and so is room for a map. */
static void check_variants(size_t first, size_t count) {
  enum { STEPS = 6 };
  tr_device *device = test_device_open(1);
  scores *expected = calloc(1, sizeof *expected);
  assert_non_null(expected);
  int lines = 0;
  const size_t map = MAP * sizeof(float), most = fit_and_score(device, first, count, NULL, &lines, expected);
  assert_int_equal(lines, 0);
  const size_t least = squeeze(device, first, count, 1, NULL, &lines, expected);
  assert_int_equal(lines, 1);
  if (most < least + TRAIN * map)
    fail_msg("takes %zu bytes at least, %zu at most", least, most);
  for (size_t i = 0; i < STEPS; ++i) {
    const size_t left = least + (most - least) * i / STEPS;
    const size_t peak = squeeze(device, first, count, left, NULL, &lines, expected);
    if (peak > left + map)
      fail_msg("%zu bytes in use, %zu left", peak, left);
  }
  assert_int_equal(lines, 1 + STEPS);
  squeeze(device, first, count, most + most / 16, NULL, &lines, expected);
  assert_int_equal(lines, 1 + STEPS);
  free(expected);
  tr_device_close(device);
}

static void test_all_variants(void **state) {
  (void)state;
  check_variants(0, MOST_VARIANTS);
}

static void test_whole_bank(void **state) {
  (void)state;
  check_variants(0, 1);
}

static void load_and_score(tr_device *device, const char *path, scores *out) {
  tr_model_file *file;
  tr_model *model;
  assert_ok(tr_model_file_open(path, &file));
  assert_ok(tr_method_patchcore.load(device, file, &model));
  tr_model_file_close(file);
  score(device, model, out);
  tr_method_patchcore.destroy(model);
}

/* A file does not say where its bank lay, and is read to where there is room. */
static void test_files(void **state) {
  (void)state;
  char first[] = "/tmp/test_patchcore_XXXXXX", second[] = "/tmp/test_patchcore_XXXXXX";
  assert_int_equal(close(mkstemp(first)) | close(mkstemp(second)), 0);
  tr_device *device = test_device_open(1);
  scores *expected = calloc(1, sizeof *expected), *got = calloc(1, sizeof *got);
  assert_true(expected && got);
  int lines = 0;
  fit_and_score(device, 0, 1, first, &lines, expected);
  squeeze(device, 0, 1, 1, second, &lines, expected);
  assert_int_equal(lines, 1);

  void *rest = leave(device, 1);
  load_and_score(device, first, got);
  assert_memory_equal(got, expected, sizeof *got);
  tr_device_free(device, rest);
  load_and_score(device, second, got); /* at the end: to the device */
  assert_memory_equal(got, expected, sizeof *got);
  assert_int_equal(tr_device_bytes(device), 0);
  free(expected);
  free(got);
  tr_device_close(device);
  unlink(first);
  unlink(second);
}

/* Prefixes of one bank are searched in one pass, and give what each gives by itself. */
static void test_one_pass(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  scores *together = calloc(1, sizeof *together), *alone = calloc(1, sizeof *alone);
  assert_true(together && alone);
  int lines = 0;
  fit_and_score(device, 0, MOST_VARIANTS, NULL, &lines, together);
  for (size_t v = 0; v < MOST_VARIANTS; ++v) {
    fit_and_score(device, v, 1, NULL, &lines, alone);
    assert_memory_equal(together->patches[v], alone->patches[0], sizeof alone->patches[0]);
    assert_memory_equal(together->images[v], alone->images[0], sizeof alone->images[0]);
  }
  free(together);
  free(alone);
  tr_device_close(device);
}

/* ---- the covering radius ---- */

/* Gives the bytes in use when the images have passed. */
static size_t feed(tr_device *device, tr_model *model, const uint8_t *images) {
  for (size_t i = 0; i < TRAIN; ++i) {
    if (images && !images[i])
      continue;
    float *map = map_of(device, i);
    const float *const maps[] = {map};
    assert_ok(tr_method_patchcore.fit_images(model, 0, i, 1, maps));
    tr_device_free(device, map);
  }
  size_t held = tr_device_bytes(device);
  assert_ok(tr_method_patchcore.fit_end(model));
  return held;
}

/* The largest distance of a training patch to its nearest bank row. */
static double cover_of(tr_device *device, const uint32_t *order, size_t rows, const tr_variant *variant) {
  static float features[TRAIN * PATCHES][CHANNELS], seen[TRAIN * PATCHES][CHANNELS], matrix[CHANNELS][CHANNELS];
  for (size_t i = 0; i < TRAIN; ++i) {
    float *map = map_of(device, i);
    assert_ok(tr_device_download(device, features[i * PATCHES], map, MAP * sizeof(float)));
    assert_ok(tr_device_sync(device));
    tr_device_free(device, map);
  }
  int d = variant->projection;
  memcpy(seen, features, sizeof seen);
  if (d != CHANNELS) {
    tr_project_matrix(variant->seed, CHANNELS, d, matrix[0]);
    for (size_t i = 0; i < TRAIN * PATCHES; ++i)
      for (int j = 0; j < d; ++j) {
        double sum = 0;
        for (int c = 0; c < CHANNELS; ++c)
          sum += (double)features[i][c] * (double)matrix[j][c];
        seen[i][j] = (float)sum;
      }
  }
  double cover = 0;
  for (size_t i = 0; i < TRAIN * PATCHES; ++i) {
    double nearest = INFINITY;
    for (size_t k = 0; k < rows; ++k) {
      double sum = 0;
      for (int j = 0; j < d; ++j)
        sum += pow((double)seen[i][j] - (double)seen[order[k]][j], 2);
      nearest = fmin(nearest, sqrt(sum));
    }
    cover = fmax(cover, nearest);
  }
  return cover;
}

typedef struct fitted {
  size_t rows;
  double cover;
  uint32_t order[TRAIN * PATCHES];
} fitted;

/* Of each variant, from one model of all. */
static void fit_variants(tr_device *device, const tr_variant *list, size_t count, tr_keep keep, fitted *out) {
  tr_method_options options = options_of(device, 0, 1);
  options.variants = list;
  options.variant_count = count;
  options.measure_cover = true;
  options.keep = keep;
  tr_model *model;
  uint8_t images[TRAIN] = {0};
  assert_ok(tr_method_patchcore.create(&options, &model));
  (void)feed(device, model, NULL);
  if (tr_method_patchcore.wants_again(model, images))
    (void)feed(device, model, images);
  for (size_t v = 0; v < count; ++v) {
    tr_model_info info;
    size_t rows;
    assert_ok(tr_method_patchcore.info(model, v, &info));
    const uint32_t *order = tr_method_patchcore.bank_order(model, v, &rows);
    assert_int_equal(rows, info.bank_rows);
    out[v].rows = rows;
    out[v].cover = info.cover;
    memcpy(out[v].order, order, rows * sizeof *order);
  }
  tr_method_patchcore.destroy(model);
}

static void assert_prefix(const fitted *whole, const fitted *part, size_t rows) {
  assert_int_equal(part->rows, rows);
  assert_memory_equal(part->order, whole->order, rows * sizeof *part->order);
}

static void test_cover(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  fitted *all = calloc(1, sizeof *all), *some = calloc(1, sizeof *some);
  assert_true(all && some);
  const double percents[] = {0.05, 0.2, 1, 10, 100}; /* one row; four, when most rows are nearer to the starting points; … */
  for (size_t i = 0; i < 2 * sizeof percents / sizeof *percents; ++i) {
    tr_variant variant = {
        .subsampling = TR_SUBSAMPLE_GREEDY, .percent = percents[i / 2], .projection = i % 2 ? CHANNELS : 8, .seed = 4};
    fit_variants(device, &variant, 1, TR_KEEP_FEATURES, all);
    double expected = cover_of(device, all->order, all->rows, &variant);
    if (!(fabs(all->cover - expected) <= 1e-4 * expected))
      fail_msg("%zu rows: radius %g, expected %g", all->rows, all->cover, expected);
    for (tr_keep keep = TR_KEEP_IN_FILE; keep <= TR_KEEP_PROJECTED_IN_FILE; ++keep) {
      fit_variants(device, &variant, 1, keep, some);
      assert_true(some->cover == all->cover);
    }
  }
  free(all);
  free(some);
  tr_device_close(device);
}

/* ---- how large a bank is ---- */

#define GREEDY .subsampling = TR_SUBSAMPLE_GREEDY, .projection = 8, .seed = 1

static void test_sizes(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  fitted *got = calloc(6, sizeof *got);
  assert_non_null(got);
  const tr_variant list[] = {{GREEDY, .percent = 20},
                             {GREEDY, .bank_rows = 77},
                             {GREEDY, .bank_rows = 1000000},
                             {GREEDY, .bank_bytes = 33 * CHANNELS * sizeof(float) + 5},
                             {.subsampling = TR_SUBSAMPLE_RANDOM, .bank_rows = 9},
                             {.subsampling = TR_SUBSAMPLE_RANDOM, .percent = 1}};
  fit_variants(device, list, 6, TR_KEEP_FEATURES, got);
  assert_prefix(&got[2], &got[0], TRAIN * PATCHES / 5);
  assert_prefix(&got[2], &got[1], 77);
  assert_prefix(&got[2], &got[2], TRAIN * PATCHES);
  assert_prefix(&got[2], &got[3], 33);
  assert_prefix(&got[5], &got[4], 9);
  assert_true(got[2].cover == 0 && got[0].cover > 0 && got[1].cover > got[0].cover && got[3].cover > got[1].cover);
  assert_true(isnan(got[4].cover));
  static const tr_variant bad[] = {{GREEDY},
                                   {GREEDY, .percent = 1, .bank_rows = 9},
                                   {GREEDY, .bank_bytes = CHANNELS * sizeof(float) - 1},
                                   {GREEDY, .percent = 1, .radius = -1},
                                   {.subsampling = TR_SUBSAMPLE_RANDOM, .percent = 1, .radius = 1},
                                   {.subsampling = TR_SUBSAMPLE_LEARNED, .percent = 1, .seconds = 1}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    tr_method_options options = options_of(device, 0, 1);
    tr_model *model;
    options.variants = &bad[i];
    assert_int_equal(tr_method_patchcore.create(&options, &model), TR_EINVAL);
  }
  free(got);
  tr_device_close(device);
}

/* Selections that end at a radius are prefixes of the one that does not, alone and together, whatever is kept. */
static void test_radius(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  fitted *whole = calloc(1, sizeof *whole), *got = calloc(5, sizeof *got), *alone = calloc(1, sizeof *alone);
  assert_true(whole && got && alone);
  fit_variants(device, &(tr_variant){GREEDY, .percent = 100}, 1, TR_KEEP_FEATURES, whole);
  const tr_variant list[] = {{GREEDY, .percent = 100, .radius = 1.5},
                             {GREEDY, .percent = 100, .radius = 2.5},
                             {GREEDY, .bank_rows = 50, .radius = 1.5},
                             {GREEDY, .percent = 100, .radius = 1000},
                             {GREEDY, .percent = 3}};
  for (tr_keep keep = TR_KEEP_FEATURES; keep <= TR_KEEP_PROJECTED_IN_FILE; ++keep) {
    fit_variants(device, list, 5, keep, got);
    for (size_t v = 0; v < 5; ++v) {
      assert_prefix(whole, &got[v], got[v].rows);
      fit_variants(device, &list[v], 1, TR_KEEP_FEATURES, alone);
      assert_prefix(alone, &got[v], alone->rows);
      assert_true(alone->cover == got[v].cover);
      double expected = cover_of(device, got[v].order, got[v].rows, &list[v]);
      assert_true(fabs(got[v].cover - expected) <= 1e-4 * expected);
    }
    assert_true(got[1].rows > 1 && got[0].rows > got[1].rows && got[0].rows < TRAIN * PATCHES);
    assert_true(got[0].cover < 1.5 && got[1].cover < 2.5 && got[2].cover > 1.5);
    assert_int_equal(got[2].rows, 50);
    assert_int_equal(got[3].rows, 1);
    assert_int_equal(got[4].rows, 60);
  }
  free(whole);
  free(got);
  free(alone);
  tr_device_close(device);
}

/* Over at once, after the first round; with a radius that comes first; and too few rows for an image score. */
static void test_seconds(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  fitted *whole = calloc(1, sizeof *whole), *got = calloc(2, sizeof *got);
  assert_true(whole && got);
  fit_variants(device, &(tr_variant){GREEDY, .percent = 100}, 1, TR_KEEP_FEATURES, whole);
  const tr_variant list[] = {{GREEDY, .percent = 100, .seconds = 1e-9},
                             {GREEDY, .percent = 100, .seconds = 1e-9, .radius = 1000}};
  fit_variants(device, list, 2, TR_KEEP_FEATURES, got);
  assert_prefix(whole, &got[0], got[0].rows);
  assert_int_equal(got[1].rows, 1);
  double expected = cover_of(device, got[0].order, got[0].rows, &list[0]);
  assert_true(got[0].cover >= expected * (1 - 1e-4));
  tr_method_options options = options_of(device, 0, 1);
  options.variants = &(tr_variant){GREEDY, .percent = 100, .radius = 1000, .image_score = TR_SCORE_REWEIGHTED, .neighbours = 3};
  tr_model *model;
  assert_ok(tr_method_patchcore.create(&options, &model));
  for (size_t i = 0; i < TRAIN; ++i) {
    float *map = map_of(device, i);
    assert_ok(tr_method_patchcore.fit_images(model, 0, i, 1, (const float *const[]){map}));
    tr_device_free(device, map);
  }
  assert_int_equal(tr_method_patchcore.fit_end(model), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "ended after 1 rows"));
  tr_method_patchcore.destroy(model);
  free(whole);
  free(got);
  tr_device_close(device);
}

/* ---- less than all features ---- */

/* Gives the bytes in use when the images have passed. */
static size_t fit_keeping(tr_device *device, size_t first, size_t count, tr_keep keep, const char *saved, size_t *images_again,
                          scores *out) {
  tr_method_options options = options_of(device, first, count);
  options.keep = keep;
  options.folder = "/tmp";
  options.measure_cover = true;
  tr_method_needs needs;
  assert_ok(tr_method_patchcore.forecast(&options, TEST, &needs));
  tr_model *model;
  size_t before = tr_device_bytes(device);
  tr_device_reset_peak(device);
  assert_ok(tr_method_patchcore.create(&options, &model));
  size_t held = feed(device, model, NULL) - before;
  uint8_t images[TRAIN] = {0};
  bool again = tr_method_patchcore.wants_again(model, images);
  assert_int_equal(again, needs.again);
  *images_again = 0;
  for (size_t i = 0; i < TRAIN; ++i)
    *images_again += images[i];
  if (again)
    feed(device, model, images);
  assert_false(tr_method_patchcore.wants_again(model, images));
  score(device, model, out);
  assert_ok(tr_method_patchcore.save(model, 0, saved, NULL));
  tr_method_patchcore.destroy(model);
  assert_int_equal(tr_device_bytes(device), before);
  size_t peak = tr_device_peak_bytes(device) - before,
         forecast = needs.fit_bytes > needs.score_bytes ? needs.fit_bytes : needs.score_bytes;
  if (peak > forecast + 2 * MAP * sizeof(float))
    fail_msg("%zu bytes in use, %zu forecast", peak, forecast);
  return held;
}

static void assert_same_file(const char *a, const char *b) {
  FILE *files[] = {fopen(a, "rb"), fopen(b, "rb")};
  assert_true(files[0] && files[1]);
  int first, second;
  do {
    first = getc(files[0]);
    second = getc(files[1]);
    assert_int_equal(first, second);
  } while (first != EOF);
  assert_int_equal(fclose(files[0]) | fclose(files[1]), 0);
}

static void check_keeping(size_t first, size_t count, bool less, bool again) {
  char all[] = "/tmp/test_patchcore_XXXXXX", some[] = "/tmp/test_patchcore_XXXXXX";
  assert_int_equal(close(mkstemp(all)) | close(mkstemp(some)), 0);
  tr_device *device = test_device_open(1);
  scores *expected = calloc(1, sizeof *expected), *got = calloc(1, sizeof *got);
  assert_true(expected && got);
  size_t images, all_held = fit_keeping(device, first, count, TR_KEEP_FEATURES, all, &images, expected);
  assert_int_equal(images, 0);
  static const tr_keep keeps[] = {TR_KEEP_IN_FILE, TR_KEEP_NOTHING, TR_KEEP_ALL_IN_FILES, TR_KEEP_PROJECTED_IN_FILE};
  for (size_t k = 0; k < sizeof keeps / sizeof *keeps; ++k) {
    memset(got, 0, sizeof *got);
    size_t held = fit_keeping(device, first, count, keeps[k], some, &images, got);
    assert_memory_equal(got, expected, sizeof *got);
    assert_same_file(all, some);
    assert_int_equal(images > 0, again && (keeps[k] == TR_KEEP_NOTHING || keeps[k] == TR_KEEP_PROJECTED_IN_FILE));
    if (tr_device_chunk(device) == 1) /* else a chunk is more than all there is here */
      assert_int_equal(held < all_held, less);
  }
  free(expected);
  free(got);
  tr_device_close(device);
  unlink(all);
  unlink(some);
}

static void test_keep_projected(void **state) {
  (void)state;
  check_keeping(1, 1, true, true);
}

/* With a prefix that is reweighted. */
static void test_keep_prefixes(void **state) {
  (void)state;
  check_keeping(1, 2, true, true);
}

/* Random rows are taken as they pass. */
static void test_keep_random(void **state) {
  (void)state;
  check_keeping(4, 1, true, false);
}

static void test_keep_all_nevertheless(void **state) {
  (void)state;
  check_keeping(0, 2, false, false);
  check_keeping(3, 1, false, false);
}

static void test_no_folder(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  tr_method_options options = options_of(device, 1, 1);
  options.keep = TR_KEEP_IN_FILE;
  options.folder = "/no/such/folder";
  tr_model *model;
  assert_int_equal(tr_method_patchcore.create(&options, &model), TR_EIO);
  assert_non_null(strstr(tr_last_error(), "/no/such/folder"));
  assert_int_equal(tr_device_bytes(device), 0);
  tr_device_close(device);
}

/* ---- files that are lost ---- */

/* Cuts this process's files of features to `bytes`; gives how many there are. */
static int cut_files(long bytes) {
  int found = 0;
  for (int descriptor = 0; descriptor < 256; ++descriptor) {
    char path[64], target[256];
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(path, target, sizeof target - 1);
    target[length > 0 ? length : 0] = '\0';
    if (!strstr(target, "/features-"))
      continue;
    assert_int_equal(truncate(path, bytes), 0);
    ++found;
  }
  return found;
}

static void test_file(void **state) {
  (void)state;
  char data[1000], got[1000];
  memset(data, 7, sizeof data);
  tr_feature_file *file;
  assert_ok(tr_feature_file_create("/tmp", 5000, &file));
  assert_ok(tr_feature_file_write(file, 4000, data, 1000));
  assert_ok(tr_feature_file_read(file, 4000, got, 1000));
  assert_memory_equal(got, data, 1000);
  assert_int_equal(cut_files(4500), 1);
  assert_int_equal(tr_feature_file_read(file, 4000, got, 1000), TR_EIO);
  assert_non_null(strstr(tr_last_error(), "something else cut the temporary file in /tmp from 4.9 KiB to 4.4 KiB"));
  assert_int_equal(tr_feature_file_write(file, 0, data, 1000), TR_EIO); /* what was behind it would be zeros */
  assert_non_null(strstr(tr_last_error(), "something else cut the temporary file in /tmp"));
  tr_feature_file_close(file);

  struct rlimit old, small;
  getrlimit(RLIMIT_FSIZE, &old);
  small = old;
  small.rlim_cur = 3000;
  signal(SIGXFSZ, SIG_IGN);
  assert_ok(tr_feature_file_create("/tmp", 5000, &file));
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  assert_int_equal(tr_feature_file_write(file, 4000, data, 1000), TR_EIO);
  assert_non_null(strstr(tr_last_error(), "/tmp: File too large"));
  tr_feature_file_close(file);
  assert_int_equal(tr_feature_file_create("/tmp", 5000, &file), TR_EIO);
  assert_non_null(strstr(tr_last_error(), "making a file of 4.9 KiB for training features in /tmp: File too large"));
  setrlimit(RLIMIT_FSIZE, &old);
}

/* While images pass; and between them and the selection. */
static void test_lost_files(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  for (int cut_after = TRAIN / 2; cut_after <= TRAIN; cut_after += TRAIN / 2) {
    tr_method_options options = options_of(device, 1, 1);
    options.keep = TR_KEEP_ALL_IN_FILES;
    tr_model *model;
    assert_ok(tr_method_patchcore.create(&options, &model));
    tr_status status = TR_OK;
    for (int i = 0; status == TR_OK && i < TRAIN; ++i) {
      float *map = map_of(device, (uint64_t)i);
      status = tr_method_patchcore.fit_images(model, 0, (size_t)i, 1, (const float *const[]){map});
      tr_device_free(device, map);
      if (i + 1 == cut_after)
        assert_int_equal(cut_files(100), 2);
    }
    if (status == TR_OK)
      status = tr_method_patchcore.fit_end(model);
    assert_int_equal(status, TR_EIO);
    assert_non_null(strstr(tr_last_error(), "something else cut the temporary file in /tmp"));
    tr_method_patchcore.destroy(model);
  }
  assert_int_equal(tr_device_bytes(device), 0);
  tr_device_close(device);
}

int main(void) {
  const struct CMUnitTest keeping[] = {
      cmocka_unit_test(test_keep_projected), cmocka_unit_test(test_keep_prefixes),
      cmocka_unit_test(test_keep_random),    cmocka_unit_test(test_keep_all_nevertheless),
      cmocka_unit_test(test_no_folder),      cmocka_unit_test(test_cover),
      cmocka_unit_test(test_one_pass),       cmocka_unit_test(test_sizes),
      cmocka_unit_test(test_radius),         cmocka_unit_test(test_seconds),
      cmocka_unit_test(test_file),           cmocka_unit_test(test_lost_files),
  };
  const struct CMUnitTest squeezed[] = {
      cmocka_unit_test(test_all_variants),
      cmocka_unit_test(test_whole_bank),
      cmocka_unit_test(test_files),
  };
  setenv("TR_EMU_MEMORY", "100000000", 1); /* so that what is left out is soon allocated */
  int failed = run_on_devices("patchcore", keeping, NULL, NULL);
  if (!test_device_wanted("cuda:0"))
    return failed; /* the cpu does not say what it has */
  test_device = "cuda:0";
  return failed + cmocka_run_group_tests_name("patchcore on cuda:0 without room", squeezed, NULL, NULL);
}
