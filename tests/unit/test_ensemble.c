/* Ensembles: means of members against sums taken here, and scores of training images against the rows of the others. */
#include "tests/golden/golden.h"

#include "host/base/rng.h"
#include "host/base/status.h"
#include "host/harness/ensemble.h"
#include "host/methods/method.h"
#include <math.h>

static tr_device *device;

static int set_up(void **state) {
  (void)state;
  return tr_device_open("cpu", 2, &device) == TR_OK ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  tr_device_close(device);
  return 0;
}

static void test_nominal_images_are_spread(void **state) {
  (void)state;
  size_t numbers[TR_NOMINAL_IMAGES];
  assert_int_equal(tr_nominal_images(5, numbers), 5);
  for (size_t i = 0; i < 5; ++i)
    assert_int_equal(numbers[i], i);
  assert_int_equal(tr_nominal_images(209, numbers), TR_NOMINAL_IMAGES);
  for (size_t i = 1; i < TR_NOMINAL_IMAGES; ++i)
    assert_true(numbers[i] >= numbers[i - 1] + 6 && numbers[i] < 209);
}

/* ---- means ---- */

enum { IMAGES = 3, GRID = 4, SIDE = 16, PIXELS = SIDE * SIDE };

static void fill(uint64_t seed, float *out, size_t count, float scale) {
  tr_rng rng = tr_rng_make(seed, TR_RNG_TEST, 0);
  for (size_t i = 0; i < count; ++i)
    out[i] = scale * tr_rng_float(&rng) + 1;
}

typedef struct fixture {
  tr_sample test[IMAGES];
  tr_class class_;
  tr_plan_class plan_class;
  tr_setting setting;
  float patch[2][IMAGES * GRID * GRID], image[2][IMAGES];
  tr_kept_run runs[2];
  tr_evaluation *evaluation;
} fixture;

/* Test images are not read: none has a mask. */
static void make_fixture(fixture *f, tr_normalise normalise) {
  *f = (fixture){.setting = {.member_count = 2, .normalise = normalise}};
  f->class_ = (tr_class){.name = (char *)"c", .test = f->test, .test_count = IMAGES};
  for (int m = 0; m < 2; ++m) {
    fill((uint64_t)m, f->patch[m], IMAGES * GRID * GRID, m ? 100 : 1);
    fill((uint64_t)m + 2, f->image[m], IMAGES, m ? 100 : 1);
    f->runs[m] = (tr_kept_run){.grid_h = GRID,
                               .grid_w = GRID,
                               .sigma = 1,
                               .patch_scores = f->patch[m],
                               .image_scores = f->image[m],
                               .nominal = {true, m + 1.0, m + 2.0, m + 3.0, m + 4.0}};
  }
  tr_evaluation_options options = {.device = device,
                                   .class_ = &f->class_,
                                   .image = {.resize = SIDE, .crop = SIDE},
                                   .tiling = {SIDE, SIDE, SIDE, SIDE, 1, 1},
                                   .most_positions = GRID * GRID};
  assert_int_equal(tr_evaluation_create(&options, &f->evaluation), TR_OK);
}

static void read_maps(const fixture *f, float *maps) {
  for (size_t i = 0; i < IMAGES; ++i)
    assert_int_equal(tr_evaluation_map(f->evaluation, i, maps + i * PIXELS), TR_OK);
}

static void range_of(const float *values, size_t count, double *shift, double *divisor) {
  double low = (double)values[0], high = low;
  for (size_t i = 0; i < count; ++i) {
    low = fmin(low, (double)values[i]);
    high = fmax(high, (double)values[i]);
  }
  *shift = low;
  *divisor = high - low;
}

static void check_means(tr_normalise normalise) {
  fixture f;
  static float maps[2][IMAGES * PIXELS], mean[IMAGES * PIXELS];
  make_fixture(&f, normalise);
  for (int m = 0; m < 2; ++m) {
    assert_int_equal(tr_evaluation_maps(f.evaluation, &(tr_patch_scores){f.patch[m], GRID, GRID, false}, 1), TR_OK);
    read_maps(&f, maps[m]);
  }
  const tr_kept_run *const members[] = {&f.runs[0], &f.runs[1]};
  tr_plan_ensemble ensemble = {.run = {.setting = &f.setting}, .class_ = &f.plan_class, .tiling = {SIDE, SIDE, SIDE, SIDE, 1, 1}};
  float scores[IMAGES];
  assert_int_equal(tr_ensemble_score(&ensemble, members, device, IMAGES, f.evaluation, scores), TR_OK);
  read_maps(&f, mean);
  double shift[2][2], divisor[2][2]; /* of images, of maps; of each member */
  for (int m = 0; m < 2; ++m) {
    range_of(f.image[m], IMAGES, &shift[0][m], &divisor[0][m]);
    range_of(maps[m], IMAGES * PIXELS, &shift[1][m], &divisor[1][m]);
    if (normalise == TR_NORMALISE_NOMINAL) {
      const tr_nominal *n = &f.runs[m].nominal;
      shift[0][m] = n->image_mean;
      divisor[0][m] = n->image_deviation;
      shift[1][m] = n->patch_mean;
      divisor[1][m] = n->patch_deviation;
    }
  }
  for (size_t i = 0; i < IMAGES; ++i) {
    double expected = 0;
    for (int m = 0; m < 2; ++m)
      expected += ((double)f.image[m][i] - shift[0][m]) / divisor[0][m] / 2;
    assert_true(fabs((double)scores[i] - expected) < 1e-5 * (1 + fabs(expected)));
  }
  for (size_t i = 0; i < IMAGES * PIXELS; ++i) {
    double expected = 0;
    for (int m = 0; m < 2; ++m)
      expected += ((double)maps[m][i] - shift[1][m]) / divisor[1][m] / 2;
    assert_true(fabs((double)mean[i] - expected) < 1e-4 * (1 + fabs(expected)));
  }
  tr_evaluation_destroy(f.evaluation);
}

static void test_official(void **state) {
  (void)state;
  check_means(TR_NORMALISE_OFFICIAL);
}

static void test_nominal(void **state) {
  (void)state;
  check_means(TR_NORMALISE_NOMINAL);
}

/* Scores that are all the same say nothing: they count as 0. */
static void test_constant_scores(void **state) {
  (void)state;
  fixture f;
  make_fixture(&f, TR_NORMALISE_OFFICIAL);
  for (size_t i = 0; i < IMAGES; ++i)
    f.image[0][i] = 7;
  const tr_kept_run *const members[] = {&f.runs[0], &f.runs[1]};
  tr_plan_ensemble ensemble = {.run = {.setting = &f.setting}, .class_ = &f.plan_class, .tiling = {SIDE, SIDE, SIDE, SIDE, 1, 1}};
  float scores[IMAGES], largest = 0;
  assert_int_equal(tr_ensemble_score(&ensemble, members, device, IMAGES, f.evaluation, scores), TR_OK);
  for (size_t i = 0; i < IMAGES; ++i) {
    assert_true(scores[i] >= 0 && scores[i] <= 0.5f);
    largest = fmaxf(largest, scores[i]);
  }
  assert_true(largest == 0.5f);
  tr_evaluation_destroy(f.evaluation);
}

/* ---- training images ---- */

enum { TRAIN = 6, PATCHES = 9, DIMENSION = 8 };

/* `own` images, from a multiple of it on, do not count: tiles of one image. */
static float nearest_of_others(const float *features, size_t image, size_t patch, const uint32_t *order, size_t rows,
                               size_t own) {
  double least = INFINITY;
  for (size_t r = 0; r < rows; ++r) {
    size_t row = order ? order[r] : r;
    if (row / PATCHES / own == image / own)
      continue;
    double sum = 0;
    for (size_t d = 0; d < DIMENSION; ++d) {
      double difference = (double)features[(image * PATCHES + patch) * DIMENSION + d] - (double)features[row * DIMENSION + d];
      sum += difference * difference;
    }
    least = fmin(least, sum);
  }
  return (float)least;
}

static void check_own(tr_subsampling subsampling, double percent, size_t own) {
  static float features[TRAIN * PATCHES * DIMENSION];
  fill(9, features, TRAIN * PATCHES * DIMENSION, 1);
  tr_variant variant = {.subsampling = subsampling, .percent = percent, .projection = DIMENSION, .distance = TR_DISTANCE_SQUARED};
  tr_method_options options = {
      .device = device,
      .aggregate = {.kind = TR_AGGREGATE_CONCAT, .layers = 1, .h = {3}, .w = {3}, .c = {DIMENSION}, .patch = 1, .stride = 1},
      .train_images = TRAIN,
      .variants = &variant,
      .variant_count = 1};
  const tr_method *method = &tr_method_patchcore;
  tr_model *model;
  assert_int_equal(method->create(&options, &model), TR_OK);
  for (size_t i = 0; i < TRAIN; ++i) {
    const float *map = features + i * PATCHES * DIMENSION;
    assert_int_equal(method->fit_images(model, 0, i, 1, &map), TR_OK);
  }
  assert_int_equal(method->fit_end(model), TR_OK);
  size_t rows;
  const uint32_t *order = method->bank_order(model, 0, &rows);
  for (size_t i = 0; i < TRAIN; ++i) {
    const float *map = features + i * PATCHES * DIMENSION;
    float patch_scores[PATCHES], image_score, largest = 0;
    assert_int_equal(method->score_own(model, 0, i / own * own, own, &map, patch_scores, &image_score), TR_OK);
    for (size_t p = 0; p < PATCHES; ++p) {
      float expected = nearest_of_others(features, i, p, order, rows, own);
      assert_true(fabsf(patch_scores[p] - expected) < 1e-4f * (1 + expected));
      largest = fmaxf(largest, patch_scores[p]);
    }
    assert_true(image_score == largest && largest > 0);
  }
  method->destroy(model);
}

static void test_own_rows_do_not_count(void **state) {
  (void)state;
  for (size_t own = 1; own <= 3; ++own) {
    check_own(TR_SUBSAMPLE_NONE, 100, own);
    check_own(TR_SUBSAMPLE_GREEDY, 40, own);
    check_own(TR_SUBSAMPLE_RANDOM, 50, own);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_nominal_images_are_spread),
      cmocka_unit_test(test_official),
      cmocka_unit_test(test_nominal),
      cmocka_unit_test(test_constant_scores),
      cmocka_unit_test(test_own_rows_do_not_count),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
