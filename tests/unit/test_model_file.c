/* The container of fitted models, and PatchCore in it. */
#include "tests/golden/featops.h"
#include "tests/status.h"

#include "host/base/text.h"
#include "host/methods/method.h"

#include <cjson/cJSON.h>
#include <unistd.h>

static char path[] = "/tmp/test_model_file_XXXXXX";

static int make_path(void **state) {
  (void)state;
  int file = mkstemp(path);
  return file < 0 || close(file) != 0;
}

static int remove_path(void **state) {
  (void)state;
  return unlink(path);
}

/* ---- the container ---- */

enum { FLOATS = 5 * 7, WORDS = 3 };

static void write_example(const char *about) {
  static float floats[FLOATS];
  static const uint32_t words[WORDS] = {1, 2, 0xfffffffe};
  static const double doubles[2] = {0.1, -3};
  for (int i = 0; i < FLOATS; ++i)
    floats[i] = (float)i / 3;
  tr_device *device = featops_cpu(1);
  float *on_device = device_copy_of(device, floats, sizeof floats);
  const tr_model_array arrays[] = {{"floats", TR_ARRAY_F4, 2, {5, 7}, on_device, true},
                                   {"words", TR_ARRAY_U4, 1, {WORDS}, words, false},
                                   {"none", TR_ARRAY_F4, 2, {0, 4}, NULL, false},
                                   {"doubles", TR_ARRAY_F8, 3, {1, 2, 1}, doubles, false}};
  cJSON *settings = cJSON_CreateObject();
  cJSON_AddNumberToObject(settings, "three", 3);
  assert_ok(tr_model_file_write(
      path, device,
      &(tr_model_content){.method = "example", .settings = settings, .about = about, .arrays = arrays, .array_count = 4}));
  cJSON_Delete(settings);
  tr_device_free(device, on_device);
  tr_device_close(device);
}

static void test_round_trip(void **state) {
  (void)state;
  tr_model_file *file;
  const void *data;
  write_example("{\"layers\": [\"layer2\", \"layer3\"]}");
  assert_ok(tr_model_file_open(path, &file));
  assert_string_equal(tr_model_file_method(file), "example");
  assert_string_equal(tr_model_file_path(file), path);
  assert_true(cJSON_GetObjectItem(tr_model_file_settings(file), "three")->valuedouble == 3);
  assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(tr_model_file_about(file), "layers")), 2);
  assert_ok(tr_model_file_array(file, &(tr_model_array){"floats", TR_ARRAY_F4, 2, {5, 7}, NULL, false}, &data));
  assert_int_equal((uintptr_t)data % 64, 0);
  for (int i = 0; i < FLOATS; ++i)
    assert_true(((const float *)data)[i] == (float)i / 3);
  assert_ok(tr_model_file_array(file, &(tr_model_array){"words", TR_ARRAY_U4, 1, {WORDS}, NULL, false}, &data));
  assert_int_equal(((const uint32_t *)data)[2], 0xfffffffe);
  assert_ok(tr_model_file_array(file, &(tr_model_array){"none", TR_ARRAY_F4, 2, {0, 4}, NULL, false}, &data));
  assert_ok(tr_model_file_array(file, &(tr_model_array){"doubles", TR_ARRAY_F8, 3, {1, 2, 1}, NULL, false}, &data));
  assert_true(((const double *)data)[0] == 0.1 && ((const double *)data)[1] == -3);
  tr_model_array wrong = {"floats", TR_ARRAY_F4, 2, {7, 5}, NULL, false};
  assert_refused(tr_model_file_array(file, &wrong, &data), TR_EFORMAT, "\"floats\": expected f4 [7, 5], found f4 [5, 7]");
  wrong = (tr_model_array){"floats", TR_ARRAY_U4, 2, {5, 7}, NULL, false};
  assert_refused(tr_model_file_array(file, &wrong, &data), TR_EFORMAT, "expected u4");
  wrong.name = "banana";
  assert_refused(tr_model_file_array(file, &wrong, &data), TR_EFORMAT, "no array \"banana\"");
  tr_model_file_close(file);
  tr_model_file_close(NULL);

  write_example(NULL);
  assert_ok(tr_model_file_open(path, &file));
  assert_null(tr_model_file_about(file));
  tr_model_file_close(file);
}

/* Writes `bytes` of a copy of the file, changed by the caller, and wants it refused. */
static void check_refused(const char *data, size_t bytes, const char *named) {
  tr_model_file *file;
  FILE *copy = fopen(path, "wb"); /* no fsync, unlike tr_file_write */
  assert_non_null(copy);
  assert_int_equal(fwrite(data, 1, bytes, copy), bytes);
  assert_int_equal(fclose(copy), 0);
  assert_refused(tr_model_file_open(path, &file), TR_EFORMAT, named);
  assert_null(file);
  if (!strstr(tr_last_error(), path))
    fail_msg("\"%s\" does not name the file", tr_last_error());
}

static void test_damaged_files(void **state) {
  (void)state;
  char *data;
  size_t bytes;
  write_example("{\"a\": 1}");
  assert_ok(tr_file_read(path, &data, &bytes));
  for (size_t length = 0; length < bytes; ++length)
    check_refused(data, length, length < 16 ? "is not a model" : "is cut short");
  for (size_t i = 0; i < bytes; ++i) {
    data[i] ^= 0x20;
    check_refused(data, bytes, i < 8 ? "is not a model" : i < 12 ? "format" : i < 16 ? "" : "is ");
    data[i] ^= 0x20;
  }
  data[8] = 3;
  check_refused(data, bytes, "is a model of format 3; this program reads formats 1 and 2");
  data[8] = 2;
  check_refused(data, bytes, "its header has no list of parts");
  data[8] = 1;
  check_refused(data, bytes + 1, "is damaged"); /* tr_file_read adds a zero */
  data[bytes - 70] ^= 1;
  check_refused(data, bytes, "is damaged: its checksum is ");
  free(data);

  tr_model_file *file;
  assert_refused(tr_model_file_open("/nonexistent/model", &file), TR_EIO, "/nonexistent/model");
}

/* ---- several models ---- */

static void check_part(const tr_model_file *whole, size_t i, double three) {
  tr_model_file *part;
  const void *data;
  assert_ok(tr_model_file_part(whole, i, &part));
  assert_int_equal(tr_model_file_parts(part), tr_model_file_parts(whole));
  assert_true(cJSON_GetObjectItem(tr_model_file_settings(part), "three")->valuedouble == three);
  assert_int_equal(cJSON_GetObjectItem(tr_model_file_about(part), "whole")->valueint, 1);
  assert_ok(tr_model_file_array(part, &(tr_model_array){"floats", TR_ARRAY_F4, 2, {5, 7}, NULL, false}, &data));
  assert_int_equal((uintptr_t)data % 64, 0);
  for (int k = 0; k < FLOATS; ++k)
    assert_true(((const float *)data)[k] == (float)k / 3);
  assert_ok(tr_model_file_array(part, &(tr_model_array){"words", TR_ARRAY_U4, 1, {WORDS}, NULL, false}, &data));
  assert_int_equal(((const uint32_t *)data)[2], 0xfffffffe);
  tr_model_file_close(part);
}

static void write_small(const char *to, const char *method, double three) {
  tr_device *device = featops_cpu(1);
  cJSON *settings = cJSON_CreateObject();
  static const float two[2] = {1, 2};
  const tr_model_array array = {"two", TR_ARRAY_F4, 1, {2}, two, false};
  cJSON_AddNumberToObject(settings, "three", three);
  assert_ok(tr_model_file_write(to, device,
                                &(tr_model_content){.method = method, .settings = settings, .arrays = &array, .array_count = 1}));
  cJSON_Delete(settings);
  tr_device_close(device);
}

static void test_joined(void **state) {
  (void)state;
  char other[] = "/tmp/test_model_file_joined_XXXXXX";
  int descriptor = mkstemp(other);
  assert_true(descriptor >= 0 && close(descriptor) == 0);
  tr_device *device = featops_cpu(1);
  tr_model_file *file, *part;
  const void *data;
  write_example("{\"not\": \"kept\"}");
  write_small(other, "example", 4);
  const char *const paths[] = {path, other, path};
  assert_ok(tr_model_files_join(paths, 3, device, "{\"whole\": 1}", path));
  assert_ok(tr_model_file_open(path, &file));
  assert_int_equal(tr_model_file_parts(file), 3);
  assert_string_equal(tr_model_file_method(file), "example");
  check_part(file, 0, 3);
  check_part(file, 2, 3);
  assert_ok(tr_model_file_part(file, 1, &part));
  assert_true(cJSON_GetObjectItem(tr_model_file_settings(part), "three")->valuedouble == 4);
  assert_ok(tr_model_file_array(part, &(tr_model_array){"two", TR_ARRAY_F4, 1, {2}, NULL, false}, &data));
  assert_true(((const float *)data)[1] == 2);
  assert_refused(tr_model_file_array(part, &(tr_model_array){"words", TR_ARRAY_U4, 1, {WORDS}, NULL, false}, &data), TR_EFORMAT,
                 "part 2 of 3: the model has no array \"words\"");
  tr_model_file_close(part);
  assert_refused(tr_model_file_part(file, 3, &part), TR_EINVAL, "has 3 parts");
  assert_refused(tr_model_file_array(file, &(tr_model_array){"two", TR_ARRAY_F4, 1, {2}, NULL, false}, &data), TR_EINVAL,
                 "has 3 models, not one");

  assert_ok(tr_model_file_rewrite(file, device, "{\"whole\": 1, \"more\": 2}", other));
  tr_model_file_close(file);
  assert_ok(tr_model_file_open(other, &file));
  assert_int_equal(cJSON_GetObjectItem(tr_model_file_about(file), "more")->valueint, 2);
  check_part(file, 2, 3);
  tr_model_file_close(file);

  char *bytes_of;
  size_t bytes;
  assert_ok(tr_file_read(other, &bytes_of, &bytes));
  for (size_t length = 0; length < bytes; length += 7)
    check_refused(bytes_of, length, length < 16 ? "is not a model" : "is cut short");
  for (size_t i = 16; i < bytes; i += 3) {
    bytes_of[i] ^= 0x20;
    check_refused(bytes_of, bytes, "is ");
    bytes_of[i] ^= 0x20;
  }
  free(bytes_of);

  const char *const joined[] = {other, other};
  assert_refused(tr_model_files_join(joined, 2, device, NULL, path), TR_EINVAL, "is not one model");
  write_small(other, "another", 4);
  write_example(NULL);
  const char *const mixed[] = {path, other};
  assert_refused(tr_model_files_join(mixed, 2, device, NULL, path), TR_EINVAL, "is not one model of example");
  assert_int_equal(unlink(other), 0);
  tr_device_close(device);
}

static void test_refused_writes(void **state) {
  (void)state;
  tr_device *device = featops_cpu(1);
  cJSON *settings = cJSON_CreateObject();
  tr_model_content content = {.method = "example", .settings = settings, .about = "[1]"};
  assert_refused(tr_model_file_write(path, device, &content), TR_EINVAL, "not a JSON object");
  content.about = "{";
  assert_refused(tr_model_file_write(path, device, &content), TR_EINVAL, "not a JSON object");
  content.about = NULL;
  assert_refused(tr_model_file_write("/nonexistent/model", device, &content), TR_EIO, "/nonexistent/model");
  cJSON_Delete(settings);
  tr_device_close(device);
}

/* ---- PatchCore ---- */

enum { TRAIN = 6, TEST = 3, SIDE = 5, CHANNELS = 8, PATCHES = SIDE * SIDE, MAP = PATCHES * CHANNELS };

static float *make_maps(uint32_t stream, size_t n) {
  float *maps = featops_array(n * MAP);
  for (size_t i = 0; i < n * MAP; ++i)
    maps[i] = featops_noise(stream, (uint32_t)i);
  return maps;
}

/* [variants][TEST, PATCHES], then [variants][TEST]. */
static float *score(tr_device *device, tr_model *model, size_t variants) {
  float *scores = featops_array(variants * TEST * (PATCHES + 1)), *host = make_maps(2, TEST);
  const float *maps[1] = {device_copy_of(device, host, TEST * MAP * sizeof *host)};
  for (size_t i = 0; i < TEST; ++i)
    assert_ok(tr_method_patchcore.score_images(model, 0, 1, (const float *const[]){maps[0] + i * MAP}, scores + i * PATCHES,
                                               (size_t)TEST * PATCHES, scores + variants * TEST * PATCHES + i, TEST));
  tr_device_free(device, (void *)maps[0]);
  free(host);
  return scores;
}

static tr_model *fit(tr_device *device, const tr_variant *variants, size_t count) {
  tr_method_options options = {.device = device,
                               .aggregate = {.layers = 1,
                                             .h = {SIDE},
                                             .w = {SIDE},
                                             .c = {CHANNELS},
                                             .patch = 3,
                                             .stride = 1,
                                             .layer_dimension = 20,
                                             .dimension = 12},
                               .train_images = TRAIN,
                               .variants = variants,
                               .variant_count = count};
  tr_model *model;
  float *host = make_maps(1, TRAIN);
  assert_ok(tr_method_patchcore.create(&options, &model));
  const float *maps[1] = {device_copy_of(device, host, TRAIN * MAP * sizeof *host)};
  for (size_t i = 0; i < TRAIN; ++i)
    assert_ok(tr_method_patchcore.fit_images(model, 0, i, 1, (const float *const[]){maps[0] + i * MAP}));
  assert_ok(tr_method_patchcore.fit_end(model));
  tr_device_free(device, (void *)maps[0]);
  free(host);
  return model;
}

/* Each variant, loaded alone on another device, scores to the same bits and knows its rows. */
static void test_patchcore(void **state) {
  (void)state;
  static const tr_variant variants[] = {
      {.seed = 1, .subsampling = TR_SUBSAMPLE_GREEDY, .percent = 40, .projection = 5},
      {.seed = 1, .subsampling = TR_SUBSAMPLE_GREEDY, .percent = 7.3, .projection = 5, .distance = TR_DISTANCE_EUCLIDEAN},
      {.seed = 2, .subsampling = TR_SUBSAMPLE_RANDOM, .percent = 30, .image_score = TR_SCORE_REWEIGHTED, .neighbours = 3},
      {.seed = 3, .subsampling = TR_SUBSAMPLE_LEARNED, .percent = 20},
      {.seed = 3, .subsampling = TR_SUBSAMPLE_LEARNED, .percent = 7.3},
      {.subsampling = TR_SUBSAMPLE_NONE, .percent = 100},
      {.seed = 1, .subsampling = TR_SUBSAMPLE_GREEDY, .bank_rows = 17, .projection = 5},
      {.seed = 2, .subsampling = TR_SUBSAMPLE_RANDOM, .bank_bytes = 900},
      {.seed = 1, .subsampling = TR_SUBSAMPLE_GREEDY, .percent = 100, .radius = 0.5, .projection = 5},
  };
  enum { COUNT = sizeof variants / sizeof *variants };
  tr_device *device = featops_cpu(1), *other = featops_cpu(2);
  tr_model *model = fit(device, variants, COUNT), *loaded;
  float *scores = score(device, model, COUNT);
  for (size_t v = 0; v < COUNT; ++v) {
    tr_model_file *file;
    assert_ok(tr_method_patchcore.save(model, v, path, NULL));
    assert_ok(tr_model_file_open(path, &file));
    assert_ptr_equal(tr_method_find(tr_model_file_method(file)), &tr_method_patchcore);
    assert_ok(tr_method_patchcore.load(other, file, &loaded));
    tr_model_file_close(file);
    float *again = score(other, loaded, 1);
    assert_memory_equal(again, scores + v * TEST * PATCHES, TEST * PATCHES * sizeof *scores);
    assert_memory_equal(again + TEST * PATCHES, scores + COUNT * TEST * PATCHES + v * TEST, TEST * sizeof *scores);
    size_t rows, expected_rows;
    const uint32_t *order = tr_method_patchcore.bank_order(loaded, 0, &rows);
    const uint32_t *expected = tr_method_patchcore.bank_order(model, v, &expected_rows);
    assert_int_equal(rows, expected_rows);
    assert_int_equal(order == NULL, expected == NULL);
    if (order)
      assert_memory_equal(order, expected, rows * sizeof *order);
    free(again);
    tr_method_patchcore.destroy(loaded);
  }
  assert_refused(tr_method_patchcore.save(model, COUNT, path, NULL), TR_EINVAL, "variant 9 of 9");
  tr_method_patchcore.destroy(model);
  free(scores);
  tr_device_close(device);
  tr_device_close(other);
}

/* A container of something else is refused by what is missing. */
static void test_other_content(void **state) {
  (void)state;
  tr_device *device = featops_cpu(1);
  tr_model_file *file;
  tr_model *model;
  write_example(NULL);
  assert_ok(tr_model_file_open(path, &file));
  assert_refused(tr_method_patchcore.load(device, file, &model), TR_EFORMAT, "\"maps\"");
  assert_null(model);
  assert_refused(tr_method_padim.load(device, file, &model), TR_EFORMAT, "\"maps\"");
  assert_refused(tr_method_spade.load(device, file, &model), TR_EFORMAT, "\"maps\"");
  tr_model_file_close(file);
  tr_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip), cmocka_unit_test(test_damaged_files), cmocka_unit_test(test_refused_writes),
      cmocka_unit_test(test_joined),     cmocka_unit_test(test_patchcore),     cmocka_unit_test(test_other_content),
  };
  return cmocka_run_group_tests_name("model files", tests, make_path, remove_path);
}
