/* SPADE as a method: maps and image scores against its definition in float64 (spade_*), alike for any lanes; what its options refuse;
 * its forecast of memory. */
#include "tests/golden/featops.h"

#include "host/methods/method.h"

#include <math.h>

enum { LAYERS = 4, TEST = 6, IN_H = 18, IN_W = 14, PIXELS = IN_H * IN_W, MOST_VARIANTS = 4 };

/* Relative. Features and products in float, distances in double; concatenated features are resized in float. */
static const double tolerance = 2e-6;

static const tr_aggregate_spec taps = {
    .layers = LAYERS, .h = {9, 4, 2, 1}, .w = {7, 3, 2, 1}, .c = {6, 10, 15, 20}, .patch = 1, .stride = 1};

static size_t floats_of(int tap) {
  return (size_t)taps.h[tap] * (size_t)taps.w[tap] * (size_t)taps.c[tap];
}

/* All images' maps of one part on the device, a tap after the other. */
typedef struct images {
  tr_device *device;
  float *taps[LAYERS];
} images;

static images make_images(tr_device *device, uint32_t stream, size_t count) {
  images out = {.device = device};
  for (int i = 0; i < LAYERS; ++i) {
    size_t n = count * floats_of(i);
    float *values = featops_array(n);
    for (size_t j = 0; j < n; ++j)
      values[j] = fmaxf(featops_noise(stream + (uint32_t)i, (uint32_t)j), 0);
    out.taps[i] = device_copy_of(device, values, n * sizeof *values);
    free(values);
  }
  return out;
}

static void free_images(images *set) {
  for (int i = 0; i < LAYERS; ++i)
    tr_device_free(set->device, set->taps[i]);
}

static void maps_at(const images *set, size_t first, const float *maps[LAYERS]) {
  for (int i = 0; i < LAYERS; ++i)
    maps[i] = set->taps[i] + first * floats_of(i);
}

/* What a model says of the test images. */
typedef struct scores {
  float maps[MOST_VARIANTS][TEST][PIXELS], images[MOST_VARIANTS][TEST];
} scores;

typedef struct pass {
  tr_model *model;
  const images *set;
  scores *out; /* NULL: fitting */
} pass;

static tr_status pass_chunk(void *context, size_t first, size_t n, int lane) {
  const pass *p = context;
  const float *maps[LAYERS];
  maps_at(p->set, first, maps);
  if (!p->out)
    return tr_method_spade.fit_images(p->model, lane, first, n, maps);
  return tr_method_spade.score_images(p->model, lane, n, maps, p->out->maps[0][first], (size_t)TEST * PIXELS,
                                      p->out->images[0] + first, TEST);
}

static tr_method_options options_of(tr_device *device, size_t train, const tr_variant *variants, size_t count) {
  return (tr_method_options){.device = device,
                             .aggregate = taps,
                             .in_h = IN_H,
                             .in_w = IN_W,
                             .train_images = train,
                             .variants = variants,
                             .variant_count = count};
}

static void fit_and_score(const tr_method_options *options, scores *out, tr_model_info *info) {
  tr_device *device = options->device;
  images train = make_images(device, 8000, options->train_images), test = make_images(device, 8005, TEST);
  pass p = {.set = &train};
  if (tr_method_spade.create(options, &p.model) != TR_OK)
    fail_msg("%s", tr_last_error());
  assert_int_equal(tr_device_for_chunks(device, options->train_images, pass_chunk, &p), TR_OK);
  assert_int_equal(tr_method_spade.fit_end(p.model), TR_OK);
  p.set = &test;
  p.out = out;
  assert_int_equal(tr_device_for_chunks(device, TEST, pass_chunk, &p), TR_OK);
  for (size_t v = 0; v < options->variant_count; ++v)
    assert_int_equal(tr_method_spade.info(p.model, v, &info[v]), TR_OK);
  assert_int_equal(tr_method_spade.info(p.model, options->variant_count, &info[0]), TR_EINVAL);
  tr_method_spade.destroy(p.model);
  free_images(&train);
  free_images(&test);
}

static const tr_variant by_images = {.image_score = TR_SCORE_NEAREST_IMAGES, .neighbours = 5};

static void test_golden(void **state) {
  (void)state;
  golden_array cases = golden_read("spade_cases.npy"), maps = golden_read("spade_maps.npy"),
               image = golden_read("spade_scores.npy");
  const float *expected_maps = maps.data, *expected = image.data;
  for (size_t c = 0; c < cases.shape[0]; ++c) {
    const int32_t *size = (const int32_t *)cases.data + 3 * c;
    tr_device *device = test_device_open(2);
    tr_variant variant = by_images;
    variant.neighbours = size[1];
    tr_method_options options = options_of(device, (size_t)size[0], &variant, 1);
    options.gallery = size[2] ? TR_GALLERY_CONCATENATED : TR_GALLERY_SEPARATE;
    static scores got;
    tr_model_info info;
    fit_and_score(&options, &got, &info);
    expected_maps += featops_assert_kept(got.maps[0][0], (size_t)TEST * PIXELS, expected_maps, tolerance, 0);
    golden_assert_close(got.images[0], expected, TEST, (float)tolerance, 0);
    expected += TEST;
    size_t positions = size[2] ? 63 : 63 + 12 + 4;
    assert_int_equal(info.bank_rows, (size_t)size[1] * positions);
    assert_int_equal(info.dimension, 31);
    assert_int_equal(tr_device_bytes(device), 0);
    tr_device_close(device);
  }
  assert_int_equal(expected_maps - (const float *)maps.data, maps.count);
  golden_free(&cases);
  golden_free(&maps);
  golden_free(&image);
}

/* Variants together give what each gives alone, for any number of threads; K is at most the training images. */
static void test_variants_and_threads(void **state) {
  (void)state;
  const tr_variant variants[MOST_VARIANTS] = {
      by_images,
      {.image_score = TR_SCORE_NEAREST_IMAGES, .neighbours = 2},
      {.image_score = TR_SCORE_MAX, .neighbours = 5},
      {.image_score = TR_SCORE_NEAREST_IMAGES, .neighbours = 60},
  };
  static scores together[3], alone;
  tr_model_info info[MOST_VARIANTS];
  const int threads[] = {1, 2, 4};
  for (int kind = 0; kind < 2; ++kind) {
    for (int t = 0; t < 3; ++t) {
      tr_device *device = test_device_open(threads[t]);
      tr_method_options options = options_of(device, 9, variants, MOST_VARIANTS);
      options.gallery = kind ? TR_GALLERY_CONCATENATED : TR_GALLERY_SEPARATE;
      fit_and_score(&options, &together[t], info);
      assert_memory_equal(&together[t], &together[0], sizeof together[0]);
      for (size_t v = 0; v < MOST_VARIANTS && t == 1; ++v) {
        options.variants = &variants[v];
        options.variant_count = 1;
        fit_and_score(&options, &alone, info);
        assert_memory_equal(alone.maps[0], together[0].maps[v], sizeof alone.maps[0]);
        assert_memory_equal(alone.images[0], together[0].images[v], sizeof alone.images[0]);
      }
      tr_device_close(device);
    }
    assert_memory_equal(together[0].maps[0], together[0].maps[2], sizeof together[0].maps[0]); /* both K = 5 */
    for (int i = 0; i < TEST; ++i) {
      float largest = 0;
      for (int p = 0; p < PIXELS; ++p)
        largest = fmaxf(largest, together[0].maps[2][i][p]);
      assert_true(together[0].images[2][i] == largest);
      assert_true(together[0].images[1][i] < together[0].images[3][i]); /* the mean of more distances, farther ones */
    }
  }
}

/* A test image that was trained on is its own nearest image, and each of its positions its own nearest. */
static void test_training_image_scores_zero(void **state) {
  (void)state;
  tr_device *device = test_device_open(2);
  tr_variant variant = by_images;
  variant.neighbours = 1;
  tr_method_options options = options_of(device, 4, &variant, 1);
  images train = make_images(device, 8000, 4);
  static scores got;
  pass p = {.set = &train};
  assert_int_equal(tr_method_spade.create(&options, &p.model), TR_OK);
  assert_int_equal(tr_device_for_chunks(device, 4, pass_chunk, &p), TR_OK);
  assert_int_equal(tr_method_spade.fit_end(p.model), TR_OK);
  p.out = &got;
  assert_int_equal(tr_device_for_chunks(device, 4, pass_chunk, &p), TR_OK);
  for (int i = 0; i < 4; ++i) {
    assert_true(got.images[0][i] == 0);
    for (int pixel = 0; pixel < PIXELS; ++pixel)
      assert_true(got.maps[0][i][pixel] == 0);
  }
  tr_method_spade.destroy(p.model);
  free_images(&train);
  tr_device_close(device);
}

/* Each variant, loaded alone on another device, scores to the same bits. */
static void test_files(void **state) {
  (void)state;
  const tr_variant variants[] = {by_images, {.image_score = TR_SCORE_SMOOTHED_MAX, .neighbours = 2}};
  char path[] = "/tmp/test_spade_XXXXXX";
  int made = mkstemp(path);
  assert_true(made >= 0 && close(made) == 0);
  for (int kind = 0; kind < 2; ++kind) {
    tr_device *device = test_device_open(1), *other = test_device_open(2);
    images train = make_images(device, 8000, 9), test = make_images(device, 8005, TEST),
           test_there = make_images(other, 8005, TEST);
    tr_method_options options = options_of(device, 9, variants, 2);
    options.gallery = kind ? TR_GALLERY_CONCATENATED : TR_GALLERY_SEPARATE;
    static scores fitted, loaded;
    pass p = {.set = &train};
    assert_int_equal(tr_method_spade.create(&options, &p.model), TR_OK);
    featops_assert_invalid(tr_method_spade.save(p.model, 0, path, NULL), "not fitted");
    assert_int_equal(tr_device_for_chunks(device, 9, pass_chunk, &p), TR_OK);
    assert_int_equal(tr_method_spade.fit_end(p.model), TR_OK);
    featops_assert_invalid(tr_method_spade.save(p.model, 2, path, NULL), "variant 2 of 2");
    tr_model *model = p.model;
    p = (pass){.model = model, .set = &test, .out = &fitted};
    assert_int_equal(tr_device_for_chunks(device, TEST, pass_chunk, &p), TR_OK);
    for (size_t v = 0; v < 2; ++v) {
      tr_model_file *file = NULL;
      if (tr_method_spade.save(model, v, path, NULL) != TR_OK || tr_model_file_open(path, &file) != TR_OK)
        fail_msg("%s", tr_last_error());
      assert_ptr_equal(tr_method_find(tr_model_file_method(file)), &tr_method_spade);
      p = (pass){.set = &test_there, .out = &loaded};
      if (tr_method_spade.load(other, file, &p.model) != TR_OK)
        fail_msg("%s", tr_last_error());
      tr_model_file_close(file);
      assert_int_equal(tr_device_for_chunks(other, TEST, pass_chunk, &p), TR_OK);
      assert_memory_equal(loaded.maps[0], fitted.maps[v], sizeof loaded.maps[0]);
      assert_memory_equal(loaded.images[0], fitted.images[v], sizeof loaded.images[0]);
      tr_method_spade.destroy(p.model);
    }
    tr_method_spade.destroy(model);
    free_images(&train);
    free_images(&test);
    free_images(&test_there);
    tr_device_close(device);
    tr_device_close(other);
  }
  assert_int_equal(unlink(path), 0);
}

static void test_refused_options(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  tr_model *model;
  tr_method_needs needs;
  tr_variant variant = by_images;
  const tr_method_options good = options_of(device, 4, &variant, 1);
#define REFUSED(change, named)                                                    \
  do {                                                                            \
    tr_method_options options = good;                                             \
    change;                                                                       \
    featops_assert_invalid(tr_method_spade.create(&options, &model), named);      \
    assert_null(model);                                                           \
    featops_assert_invalid(tr_method_spade.forecast(&options, 3, &needs), named); \
    variant = by_images;                                                          \
  } while (0)
  REFUSED(options.aggregate.layers = 3, "pool");
  REFUSED(options.aggregate.layers = 1, "layers");
  REFUSED(options.train_images = 0, "training image");
  REFUSED(options.in_h = 0, "pixel");
  REFUSED(variant.neighbours = 0, "neighbours");
  REFUSED(variant.neighbours = 65, "neighbours");
  REFUSED(variant.image_score = TR_SCORE_REWEIGHTED, "image_score");
  assert_int_equal(tr_device_bytes(device), 0);
  tr_device_close(device);
}

/* Of a size at which the sketch counts. */
static void test_forecast(void **state) {
  (void)state;
  enum { TRAIN = 60, CHANNELS = 160 };
  for (int kind = 0; kind < 2; ++kind) {
    tr_device *device = test_device_open(2);
    tr_method_options options = options_of(device, TRAIN, &by_images, 1);
    options.gallery = kind ? TR_GALLERY_CONCATENATED : TR_GALLERY_SEPARATE;
    options.aggregate.c[0] = CHANNELS;
    size_t bytes = TRAIN * 63 * CHANNELS * sizeof(float); /* more than any layer's */
    float *zeros = device_array(device, bytes);
    assert_int_equal(tr_device_zero(device, zeros, bytes), TR_OK);
    const float *maps[LAYERS] = {zeros, zeros, zeros, zeros};
    tr_method_needs needs;
    assert_int_equal(tr_method_spade.forecast(&options, TEST, &needs), TR_OK);
    assert_int_equal(needs.grid_h, IN_H);
    assert_int_equal(needs.grid_w, IN_W);
    assert_int_equal(needs.dimension, CHANNELS + 25);
    assert_true(needs.score_macs > 0 && needs.fit_macs == 0);
    tr_device_reset_peak(device);
    tr_model *model;
    assert_int_equal(tr_method_spade.create(&options, &model), TR_OK);
    for (size_t first = 0, n; first < TRAIN; first += n) {
      n = TRAIN - first < tr_device_chunk(device) ? TRAIN - first : tr_device_chunk(device);
      assert_int_equal(tr_method_spade.fit_images(model, 0, first, n, maps), TR_OK);
    }
    assert_int_equal(tr_method_spade.fit_end(model), TR_OK);
    double peak = (double)(tr_device_peak_bytes(device) - bytes);
    double most = (double)(needs.fit_bytes > needs.score_bytes ? needs.fit_bytes : needs.score_bytes);
    if (peak > 1.001 * most || peak < 0.9 * most) /* allocations are rounded up to 64 bytes */
      fail_msg("%.0f bytes, %.0f expected", peak, most);
    tr_method_spade.destroy(model);
    tr_device_free(device, zeros);
    tr_device_close(device);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_golden),
      cmocka_unit_test(test_variants_and_threads),
      cmocka_unit_test(test_training_image_scores_zero),
      cmocka_unit_test(test_files),
      cmocka_unit_test(test_refused_options),
      cmocka_unit_test(test_forecast),
  };
  return run_on_devices("spade", tests, NULL, NULL);
}
