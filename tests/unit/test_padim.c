/* PaDiM against its transcription in float64 NumPy (tests/golden/make_padim.py), and that neither threads nor variants change a bit. */
#include "tests/golden/featops.h"
#include "tests/status.h"

#include "host/methods/method.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <unistd.h>

enum { LAYERS = 3, GRID = 8 * 6, TEST = 37 };
static const int heights[LAYERS] = {8, 4, 2}, widths[LAYERS] = {6, 3, 2}, channels[LAYERS] = {6, 10, 15};

/* Measured 1e-6. */
static const double tolerance = 5e-6;

typedef struct data {
  float *maps[LAYERS]; /* host, [n, h, w, c] */
  size_t n;
} data;

static size_t map_floats(int layer) {
  return (size_t)heights[layer] * (size_t)widths[layer] * (size_t)channels[layer];
}

static data make_data(uint32_t stream, size_t n) {
  data d = {.n = n};
  for (int i = 0; i < LAYERS; ++i) {
    size_t count = n * map_floats(i);
    d.maps[i] = featops_array(count);
    for (size_t k = 0; k < count; ++k)
      d.maps[i][k] = fmaxf(featops_noise(stream + (uint32_t)i, (uint32_t)k), 0);
  }
  return d;
}

static void free_data(data *d) {
  for (int i = 0; i < LAYERS; ++i)
    free(d->maps[i]);
}

static tr_method_options options_of(tr_device *device, const tr_variant *variants, size_t count, size_t train_images) {
  tr_method_options options = {.device = device,
                               .aggregate = {.kind = TR_AGGREGATE_CONCAT, .layers = LAYERS, .patch = 1, .stride = 1},
                               .train_images = train_images,
                               .variants = variants,
                               .variant_count = count};
  memcpy(options.aggregate.h, heights, sizeof heights);
  memcpy(options.aggregate.w, widths, sizeof widths);
  memcpy(options.aggregate.c, channels, sizeof channels);
  return options;
}

/* Feeds images to fit_images or score_images in the device's lanes, from the last to the first when `backwards`. */
typedef struct feed {
  tr_device *device;
  tr_model *model;
  const data *data;
  bool backwards;
  size_t variants;
  float *patch_scores, *image_scores; /* NULL: fit */
} feed;

static tr_status feed_chunk(void *context, size_t first, size_t n, int lane) {
  const feed *f = context;
  if (f->backwards)
    first = f->data->n - first - n;
  float *maps[LAYERS];
  for (int i = 0; i < LAYERS; ++i)
    maps[i] = device_copy_of(f->device, f->data->maps[i] + first * map_floats(i), n * map_floats(i) * sizeof(float));
  tr_status status;
  if (f->patch_scores)
    status = tr_method_padim.score_images(f->model, lane, n, (const float *const *)maps, f->patch_scores + first * GRID,
                                          f->data->n * GRID, f->image_scores + first, f->data->n);
  else
    status = tr_method_padim.fit_images(f->model, lane, first, n, (const float *const *)maps);
  for (int i = 0; i < LAYERS; ++i)
    tr_device_free(f->device, maps[i]);
  return status;
}

static tr_model *make_model(tr_device *device, const tr_variant *variants, size_t count, const data *train, bool backwards) {
  tr_method_options options = options_of(device, variants, count, train->n);
  tr_model *model;
  assert_ok(tr_method_padim.create(&options, &model));
  feed f = {.device = device, .model = model, .data = train, .backwards = backwards};
  assert_ok(tr_device_for_chunks(device, train->n, feed_chunk, &f));
  assert_ok(tr_method_padim.fit_end(model));
  return model;
}

/* [variants, images, grid], then [variants, images]. */
static float *score(tr_device *device, tr_model *model, size_t variants, const data *test, bool backwards) {
  float *scores = featops_array(variants * test->n * (GRID + 1));
  memset(scores, 0xff, variants * test->n * (GRID + 1) * sizeof *scores);
  feed f = {.device = device,
            .model = model,
            .data = test,
            .backwards = backwards,
            .patch_scores = scores,
            .image_scores = scores + variants * test->n * GRID};
  assert_ok(tr_device_for_chunks(device, test->n, feed_chunk, &f));
  assert_ok(tr_method_padim.score_end(model));
  return scores;
}

static tr_variant variant_of(const double *row) {
  return (tr_variant){.seed = (uint64_t)row[2],
                      .dimension = (int)row[1],
                      .placement = row[3] != 0 ? TR_PLACE_BILINEAR : TR_PLACE_NEAREST,
                      .epsilon = row[4],
                      .image_score = TR_SCORE_MAX};
}

static void test_against_numpy(void **state) {
  (void)state;
  tr_device *device = test_device_open(2);
  golden_array cases = golden_read("padim_method_cases.npy"), values = golden_read("padim_method_distances.npy");
  assert_int_equal(values.count, cases.shape[0] * TEST * GRID);
  data test = make_data(7005, TEST);
  double worst = 0;
  for (size_t i = 0; i < cases.shape[0]; ++i) {
    const double *row = (const double *)cases.data + i * cases.shape[1];
    const float *expected = (const float *)values.data + i * TEST * GRID;
    tr_variant variant = variant_of(row);
    data train = make_data(7000, (size_t)row[0]);
    tr_model *model = make_model(device, &variant, 1, &train, false);
    float *scores = score(device, model, 1, &test, false);
    for (size_t image = 0; image < TEST; ++image) {
      float largest = 0;
      for (size_t p = 0; p < GRID; ++p) {
        float got = scores[image * GRID + p], wanted = expected[image * GRID + p];
        double error = fabs((double)got / (double)wanted - 1);
        worst = fmax(worst, error);
        if (!(error <= tolerance))
          fail_msg("case %zu, image %zu, position %zu: got %.9g, expected %.9g", i, image, p, (double)got, (double)wanted);
        largest = fmaxf(largest, got);
      }
      assert_true(scores[TEST * GRID + image] == largest);
    }
    tr_model_info info;
    assert_ok(tr_method_padim.info(model, 0, &info));
    assert_int_equal(info.dimension, variant.dimension);
    size_t rows;
    assert_null(tr_method_padim.bank_order(model, 0, &rows));
    tr_method_padim.destroy(model);
    free(scores);
    free_data(&train);
  }
  print_message("largest relative error %.1e\n", worst);
  free_data(&test);
  tr_device_close(device);
  golden_free(&cases);
  golden_free(&values);
}

static const tr_variant several[] = {
    {.seed = 3, .dimension = 25, .epsilon = 0.01},
    {.seed = 4, .dimension = 9, .epsilon = 0.04, .placement = TR_PLACE_BILINEAR},
    {.seed = 3, .dimension = 31, .epsilon = 1, .image_score = TR_SCORE_SMOOTHED_MAX},
    {.seed = 3, .dimension = 25, .epsilon = 0.01, .image_score = TR_SCORE_SMOOTHED_MAX}, /* the first one's Gaussians */
};
enum { SEVERAL = sizeof several / sizeof *several };

/* Threads, the order of images, scoring in parts, and other variants beside change no bit. */
static void test_same_bits(void **state) {
  (void)state;
  static const size_t train_counts[] = {70, 5}; /* covariance and samples form */
  tr_device *first_device = test_device_open(1);
  data test = make_data(7005, TEST), part = test;
  part.n = 11;
  for (size_t t = 0; t < 2; ++t) {
    data train = make_data(7000, train_counts[t]);
    tr_model *model = make_model(first_device, several, SEVERAL, &train, false);
    float *scores = score(first_device, model, SEVERAL, &test, false);
    tr_method_padim.destroy(model);
    for (int threads = 1; threads <= 4; threads *= 2) {
      tr_device *device = test_device_open(threads);
      model = make_model(device, several, SEVERAL, &train, true);
      float *some = score(device, model, SEVERAL, &part, false), *again = score(device, model, SEVERAL, &test, true);
      assert_memory_equal(again, scores, SEVERAL * TEST * (GRID + 1) * sizeof *scores);
      assert_memory_equal(some, scores, part.n * GRID * sizeof *scores);
      tr_method_padim.destroy(model);
      free(some);
      free(again);
      model = make_model(device, several + 1, 1, &train, false);
      again = score(device, model, 1, &test, false);
      assert_memory_equal(again, scores + TEST * GRID, TEST * GRID * sizeof *scores);
      tr_method_padim.destroy(model);
      free(again);
      tr_device_close(device);
    }
    free(scores);
    free_data(&train);
  }
  free_data(&test);
  tr_device_close(first_device);
}

/* A saved variant scores to the same bits, on its own and on any number of threads; and what is said about it comes back. */
static void test_save_and_load(void **state) {
  (void)state;
  char path[] = "/tmp/test_padim_XXXXXX";
  int file = mkstemp(path);
  assert_true(file >= 0);
  close(file);
  data test = make_data(7005, TEST);
  for (size_t n = 5; n <= 70; n += 65) {
    tr_device *device = test_device_open(2), *other = test_device_open(3);
    data train = make_data(7000, n);
    tr_model *model = make_model(device, several, SEVERAL, &train, false), *loaded;
    float *scores = score(device, model, SEVERAL, &test, false);
    for (size_t v = 0; v < SEVERAL; ++v) {
      assert_ok(tr_method_padim.save(model, v, path, v == 1 ? "{\"backbone\": \"resnet18\"}" : NULL));
      tr_model_file *container;
      assert_ok(tr_model_file_open(path, &container));
      assert_string_equal(tr_model_file_method(container), "padim");
      assert_int_equal(tr_model_file_about(container) != NULL, v == 1);
      const char *form = cJSON_GetObjectItem(tr_model_file_settings(container), "form")->valuestring;
      assert_string_equal(form, n == 5 && several[v].dimension > 16 ? "samples" : "covariance");
      assert_ok(tr_method_padim.load(other, container, &loaded));
      tr_model_file_close(container);
      float *again = score(other, loaded, 1, &test, false);
      assert_memory_equal(again, scores + v * TEST * GRID, TEST * GRID * sizeof *scores);
      assert_memory_equal(again + TEST * GRID, scores + SEVERAL * TEST * GRID + v * TEST, TEST * sizeof *scores);
      tr_model_info info;
      assert_ok(tr_method_padim.info(loaded, 0, &info));
      assert_int_equal(info.dimension, several[v].dimension);
      free(again);
      tr_method_padim.destroy(loaded);
    }
    assert_int_equal(tr_method_padim.save(model, SEVERAL, path, NULL), TR_EINVAL);
    tr_method_padim.destroy(model);
    free(scores);
    free_data(&train);
    tr_device_close(device);
    tr_device_close(other);
  }
  free_data(&test);
  unlink(path);
}

/* What create, fit and score ask the device for is what was forecast: one lane makes no batch more than it says. */
static void test_forecast(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  for (size_t n = 5; n <= 70; n += 65) {
    data train = make_data(7000, n), test = make_data(7005, TEST);
    tr_method_options options = options_of(device, several, SEVERAL, n);
    tr_method_needs needs;
    assert_ok(tr_method_padim.forecast(&options, TEST, &needs));
    assert_true(needs.fit_macs > 0 && needs.score_macs > 0);
    size_t inputs = tr_device_chunk(device) * (map_floats(0) + map_floats(1) + map_floats(2)) * sizeof(float);
    tr_device_reset_peak(device);
    size_t before = tr_device_bytes(device);
    tr_model *model = make_model(device, several, SEVERAL, &train, false);
    double fit = (double)(tr_device_peak_bytes(device) - before - inputs);
    tr_device_reset_peak(device);
    free(score(device, model, SEVERAL, &test, false));
    double scored = (double)(tr_device_peak_bytes(device) - before - inputs);
    /* Blocks are rounded up to lines, and have a head. */
    if (fabs(fit / (double)needs.fit_bytes - 1) > 0.02 || fabs(scored / (double)needs.score_bytes - 1) > 0.02)
      fail_msg("%zu images: fit took %.0f of %zu bytes, scoring %.0f of %zu", n, fit, needs.fit_bytes, scored, needs.score_bytes);
    tr_method_padim.destroy(model);
    assert_int_equal(tr_device_bytes(device), before);
    free_data(&train);
    free_data(&test);
  }
  tr_device_close(device);
}

static void test_bad_settings(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  tr_variant variant = several[0];
  tr_method_options options = options_of(device, &variant, 1, 5);
  tr_model *model;
#define REFUSED(change, named)                                               \
  do {                                                                       \
    variant = several[0];                                                    \
    change;                                                                  \
    featops_assert_invalid(tr_method_padim.create(&options, &model), named); \
    assert_null(model);                                                      \
  } while (0)
  REFUSED(variant.dimension = 0, "1 to the 31 channels");
  REFUSED(variant.dimension = 32, "1 to the 31 channels");
  REFUSED(variant.epsilon = 0, "epsilon");
  REFUSED(variant.image_score = TR_SCORE_REWEIGHTED, "image_score");
  REFUSED(variant.placement = (tr_placement)5, "placement");
  REFUSED(options.train_images = 0, "training image");
#undef REFUSED
  variant = several[0];
  options.train_images = 3;
  assert_ok(tr_method_padim.create(&options, &model));
  featops_assert_invalid(tr_method_padim.save(model, 0, "/tmp/never", NULL), "not fitted");
  tr_method_padim.destroy(model);
  tr_method_padim.destroy(NULL);
  tr_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_numpy), cmocka_unit_test(test_same_bits),    cmocka_unit_test(test_save_and_load),
      cmocka_unit_test(test_forecast),      cmocka_unit_test(test_bad_settings),
  };
  return run_on_devices("padim", tests, NULL, NULL);
}
