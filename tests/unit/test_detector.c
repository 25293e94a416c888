/* Detectors without images or weights: what a model's file says about itself, and which images are taken. Fitting and scoring are
 * tested from the command line (tests/cli/test_detector.sh), the C library by tests/cli/detector_checks.c. */
#include "tests/golden/golden.h"
#include "tests/status.h"

#include "datasets/image.h"
#include "datasets/own.h"
#include "host/detector/about.h"
#include "host/detector/fit.h"

#include <cjson/cJSON.h>
#include <unistd.h>

static void parse(const char *text, tr_experiments *out) {
  assert_ok(tr_experiments_parse("test", text, strlen(text), NULL, out));
}

/* ---- settings and back ---- */

static const char *const experiments[] = {
    "{name: t, dataset: folder, backbone: resnet18}",
    "{name: t, dataset: mtd, backbone: resnet50, split_file: a b.txt, protocol: paper, image: {resize: 366, crop: 320}, "
    "neighbours: 3}",
    "{name: t, dataset: folder, backbone: densenet201, aggregate: concat, subsampling: {kind: random, percent: 12.5}, seed: "
    "4711}",
    "{name: t, dataset: folder, backbone: resnet18, subsampling: {kind: none}, image: {resize: 300, crop: 0, squash: true}, "
    "sigma: 0}",
    "{name: t, dataset: folder, backbone: resnet18, patch: 5, stride: 2, projection: 64, image_score: smoothed_max, layers: "
    "layer3}",
    "{name: t, dataset: folder, backbone: resnet18, search: 'faiss:IVF16,PQ8', nprobe: 5}",
    "{name: t, dataset: folder, backbone: resnet18, search: 'faiss:HNSW32', ef_search: 40, subsampling: {kind: learned, percent: "
    "2}}",
    "{name: t, dataset: folder, backbone: resnet18, subsampling: {bank_bytes: 100M, radius: 3.2}}",
    "{name: t, dataset: folder, backbone: resnet18, subsampling: {bank_rows: 5000, seconds: 60}}",
    "{name: t, dataset: folder, backbone: resnet18, subsampling: {radius: 0.1}}",
    "{name: t, dataset: folder, backbone: wide_resnet50_2, method: padim, placement: bilinear, epsilon: 0.001, image_score: max}",
    "{name: t, dataset: folder, backbone: resnet18, image: {resize: 0, crop: 0}, tile: {size: 96, overlap: 24, bank: position}}",
    "{name: t, dataset: folder, backbone: efficientnet_lite0, method: spade, gallery: concatenated, neighbours: 7}",
};

static void give_settings_back(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof experiments / sizeof *experiments; ++i) {
    tr_experiments first, second;
    cJSON *json;
    parse(experiments[i], &first);
    assert_ok(tr_setting_to_json(first.items->settings, &json));
    cJSON_AddStringToObject(json, "name", "again");
    char *text = cJSON_PrintUnformatted(json);
    parse(text, &second);
    const tr_setting *a = first.items->settings, *b = second.items->settings;
    char *name = tr_setting_run_name(a), *again = tr_setting_run_name(b);
    assert_string_equal(name, again);
    assert_string_equal(a->dataset, b->dataset);
    assert_int_equal(a->protocol, b->protocol);
    assert_int_equal(a->distance, b->distance);
    assert_int_equal(a->aggregate, b->aggregate);
    assert_int_equal(a->layer_dimension, b->layer_dimension);
    assert_int_equal(a->image.squash, b->image.squash);
    assert_true(a->percent == b->percent && a->epsilon == b->epsilon && a->sigma == b->sigma);
    free(name);
    free(again);
    free(text);
    cJSON_Delete(json);
    tr_experiments_free(&first);
    tr_experiments_free(&second);
  }
}

static void write_no_ensemble(void **state) {
  (void)state;
  tr_experiments e;
  cJSON *json;
  parse("{name: t, dataset: folder, ensemble: {members: [{backbone: resnet18}, {backbone: resnet50}]}}", &e);
  assert_int_equal(tr_setting_to_json(e.items->settings, &json), TR_EINVAL);
  assert_null(json);
  tr_experiments_free(&e);
}

/* ---- about ---- */

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static cJSON *make_about(size_t threshold_images) {
  tr_experiments e;
  char *text;
  parse(experiments[0], &e);
  tr_about about = {
      .setting = e.items->settings,
      .weights_file = "r18.pth",
      .weights_sha256 = HASH,
      .in_h = 224,
      .in_w = 200,
      .train_images = 3,
      .shard = {2, 5},
      .threshold = {.score = 1.25f, .quantile = 0.95, .images = threshold_images, .scale = {.calm = 0.1f, .alarm = 3}}};
  const tr_sample samples[] = {{.path = "a//good/1.png"}, {.path = "a/good/\"2\".png"}, {.path = "ab/3.png"}};
  assert_ok(tr_sources_add(&about.sources, "a/", samples, 2));
  assert_ok(tr_sources_add(&about.sources, "a", samples + 2, 1));
  assert_ok(tr_about_write(&about, &text));
  tr_about_free(&about);
  cJSON *json = cJSON_Parse(text);
  assert_non_null(json);
  free(text);
  tr_experiments_free(&e);
  return json;
}

static void read_what_was_written(void **state) {
  (void)state;
  for (size_t images = 0; images <= 19; images += 19) {
    cJSON *json = make_about(images);
    tr_about about;
    assert_ok(tr_about_read(json, &about));
    cJSON_Delete(json);
    assert_string_equal(about.setting->backbone, "resnet18");
    assert_string_equal(about.weights_file, "r18.pth");
    assert_string_equal(about.weights_sha256, HASH);
    assert_int_equal(about.in_h, 224);
    assert_int_equal(about.in_w, 200);
    assert_int_equal(about.train_images, 3);
    assert_true(about.shard.number == 2 && about.shard.of == 5);
    const tr_source *source;
    assert_string_equal(tr_sources_image(&about.sources, 0, &source), "good/1.png");
    assert_string_equal(tr_sources_image(&about.sources, 1, &source), "good/\"2\".png");
    assert_string_equal(source->folder, "a/");
    assert_string_equal(tr_sources_image(&about.sources, 2, &source), "ab/3.png"); /* not below "a" */
    assert_string_equal(source->folder, "a");
    assert_null(tr_sources_image(&about.sources, 3, &source));
    assert_int_equal(about.threshold.images, images);
    if (images)
      assert_true(about.threshold.score == 1.25 && about.threshold.quantile == 0.95 && about.threshold.scale.calm == 0.1f &&
                  about.threshold.scale.alarm == 3);
    tr_about_free(&about);
  }
}

static void refuse(cJSON *json, const char *text) {
  tr_about about;
  assert_int_equal(tr_about_read(json, &about), TR_EFORMAT);
  assert_non_null(strstr(tr_last_error(), text));
  cJSON_Delete(json);
}

static void refuse_what_is_wrong(void **state) {
  (void)state;
  static const char *const members[] = {"experiment", "weights", "image", "train", "threshold"};
  static const char *const said[] = {"experiment", "weights", "height", "images", "score"};
  refuse(NULL, "totalrecall fit");
  for (size_t i = 0; i < sizeof members / sizeof *members; ++i) {
    cJSON *json = make_about(19);
    cJSON_DeleteItemFromObject(json, members[i]);
    refuse(json, said[i]);
  }
  cJSON *json = make_about(0);
  cJSON_ReplaceItemInArray(cJSON_GetObjectItem(cJSON_GetObjectItem(json, "image"), "mean"), 0, cJSON_CreateNumber(0.5));
  refuse(json, "mean");
  json = make_about(0);
  cJSON_ReplaceItemInObject(cJSON_GetObjectItem(json, "weights"), "sha256", cJSON_CreateString("0123"));
  refuse(json, "sha256");
  json = make_about(0);
  cJSON_ReplaceItemInObject(cJSON_GetObjectItem(json, "experiment"), "layers", cJSON_CreateString("layer9"));
  refuse(json, "layer9");
}

/* Where images came from: unknown in files from before it was kept; shards of one folder join. */
static void know_where_images_came_from(void **state) {
  (void)state;
  cJSON *json = make_about(0), *train = cJSON_GetObjectItem(json, "train");
  cJSON_AddItemToArray(cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(train, "sources"), 0), "images"),
                       cJSON_CreateString("one more"));
  refuse(cJSON_Duplicate(json, true), "3 images, found 4");
  cJSON_ReplaceItemInObject(train, "sources", cJSON_CreateString("a"));
  refuse(cJSON_Duplicate(json, true), "a list");
  cJSON_DeleteItemFromObject(train, "sources");
  tr_about about;
  assert_ok(tr_about_read(json, &about));
  assert_int_equal(about.sources.count, 0);
  assert_int_equal(about.train_images, 3);
  tr_about_free(&about);
  cJSON_ReplaceItemInObject(cJSON_GetObjectItem(train, "shard"), "number", cJSON_CreateNumber(6));
  refuse(json, "number");

  const tr_sample samples[] = {{.path = "a/1.png"}, {.path = "a/2.png"}};
  tr_sources first = {0}, all = {0};
  assert_ok(tr_sources_add(&first, "a", samples, 2));
  assert_ok(tr_sources_append(&all, &first, true));
  assert_ok(tr_sources_append(&all, &first, true));
  assert_int_equal(all.count, 1);
  assert_ok(tr_sources_append(&all, &first, false));
  assert_int_equal(all.count, 2);
  assert_int_equal(tr_sources_images(&all), 6);
  tr_sources_free(&first);
  tr_sources_free(&all);
}

/* ---- images ---- */

static char folder[] = "/tmp/test_detector_XXXXXX";

static void put_images(const char *below, int count, int side) {
  char path[256];
  uint8_t *pixels = calloc((size_t)side * (size_t)side, 3);
  assert_non_null(pixels);
  for (int i = 0; i < count; ++i) {
    snprintf(path, sizeof path, "%s/%s/%03d.png", folder, below, i);
    assert_ok(tr_make_folder_of(path));
    assert_ok(tr_image_write_png(path, pixels, side, side, 3));
  }
  free(pixels);
}

static int make_folders(void **state) {
  (void)state;
  if (!mkdtemp(folder))
    return 1;
  put_images("plain", 10, 8);
  put_images("plain/bad", 2, 8);
  put_images("class/train/good", 40, 8);
  put_images("class/test/good", 3, 8);
  put_images("two/a/good", 1, 8);
  put_images("two/b/good", 1, 8);
  put_images("sizes", 1, 8);
  put_images("sizes/good", 2, 8);
  return 0;
}

static int remove_folders(void **state) {
  (void)state;
  char command[64];
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command);
}

static char *path_of(const char *below) {
  char *path = tr_format("%s/%s", folder, below);
  assert_non_null(path);
  return path;
}

static void list_nominal(const char *below, tr_status status, size_t count) {
  tr_class c;
  char *path = path_of(below);
  assert_int_equal(tr_nominal_list(path, &c), status);
  assert_int_equal(c.train_count, count);
  tr_class_free(&c);
  free(path);
}

static void find_nominal_images(void **state) {
  (void)state;
  list_nominal("plain", TR_OK, 10);
  list_nominal("class", TR_OK, 40);
  list_nominal("sizes", TR_OK, 2); /* good/ goes before what lies beside it */
  list_nominal("two", TR_EFORMAT, 0);
  assert_non_null(strstr(tr_last_error(), "two/a"));
  list_nominal("class/train", TR_OK, 40);
  list_nominal("two/c", TR_EIO, 0);
}

static void collect_images(void **state) {
  (void)state;
  char *plain = path_of("plain/"), *file = path_of("class/test/good/001.png");
  const char *const paths[] = {file, plain, "gone.png"};
  tr_class c;
  assert_ok(tr_images_collect(paths, 3, &c));
  assert_int_equal(c.test_count, 14);
  assert_string_equal(c.test[0].path, file);
  assert_string_equal(c.test[0].name, "001.png");
  assert_string_equal(c.test[1].name, "plain/000.png");
  assert_string_equal(c.test[11].name, "plain/bad/000.png");
  assert_string_equal(c.test[13].path, "gone.png");
  tr_class_free(&c);
  free(plain);
  free(file);
}

/* ---- held-out images ---- */

static tr_status prepare(double quantile, const char *held_out, uint64_t seed, tr_fit_plan *plan) {
  tr_experiments e;
  tr_device *device;
  parse("{name: t, dataset: folder, backbone: resnet18, image: {resize: 64, crop: 56}}", &e);
  assert_ok(tr_device_open("cpu", 1, &device));
  tr_setting setting = *e.items->settings;
  setting.seed = seed;
  char *data = path_of("class"), *weights = path_of("resnet18.pth"), *given = held_out ? path_of(held_out) : NULL;
  assert_ok(tr_file_write(weights, "w", 1));
  tr_status status = tr_fit_prepare(
      &(tr_fit_options){
          .device = device, .setting = &setting, .data = data, .weights = weights, .quantile = quantile, .held_out = given},
      plan);
  free(data);
  free(weights);
  free(given);
  tr_device_close(device);
  tr_experiments_free(&e);
  return status;
}

static void hold(double quantile, size_t held_out) {
  tr_fit_plan plan;
  assert_ok(prepare(quantile, NULL, 0, &plan));
  assert_int_equal(plan.images.test_count, held_out);
  assert_int_equal(plan.images.train_count, 40 - held_out);
  for (size_t i = 0; i < plan.images.test_count; ++i)
    for (size_t j = 0; j < plan.images.train_count; ++j)
      assert_string_not_equal(plan.images.test[i].path, plan.images.train[j].path);
  assert_true(plan.fit_bytes > 0 && plan.peak_bytes >= plan.score_bytes);
  tr_fit_plan_free(&plan);
}

static void hold_out_as_many_as_the_quantile_takes(void **state) {
  (void)state;
  hold(0, 0);
  hold(0.5, 8); /* a fifth */
  hold(0.8, 8);
  hold(0.9, 9); /* ceil((9 + 1) 0.9) = 9 */
  hold(0.95, 19);
  hold(20 / 21.0, 20); /* half */
  tr_fit_plan plan;
  assert_int_equal(prepare(0.96, NULL, 0, &plan), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "takes 24 held-out images, and there are 20"));
  assert_non_null(strstr(tr_last_error(), "up to 0.9523 is possible"));
}

static void hold_out_by_the_seed(void **state) {
  (void)state;
  tr_fit_plan a, b, other;
  assert_ok(prepare(0.9, NULL, 1, &a));
  assert_ok(prepare(0.9, NULL, 1, &b));
  assert_ok(prepare(0.9, NULL, 2, &other));
  size_t differ = 0;
  for (size_t i = 0; i < a.images.test_count; ++i) {
    assert_string_equal(a.images.test[i].path, b.images.test[i].path);
    differ += strcmp(a.images.test[i].path, other.images.test[i].path) != 0;
  }
  assert_true(differ > 0);
  tr_fit_plan_free(&a);
  tr_fit_plan_free(&b);
  tr_fit_plan_free(&other);
}

static void take_given_images(void **state) {
  (void)state;
  tr_fit_plan plan;
  assert_ok(prepare(0.75, "class/test/good", 0, &plan));
  assert_int_equal(plan.images.train_count, 40);
  assert_int_equal(plan.images.test_count, 3);
  tr_fit_plan_free(&plan);
  assert_int_equal(prepare(0.8, "class/test/good", 0, &plan), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "takes 4 held-out images, and there are 3;"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(give_settings_back),
      cmocka_unit_test(write_no_ensemble),
      cmocka_unit_test(read_what_was_written),
      cmocka_unit_test(refuse_what_is_wrong),
      cmocka_unit_test(know_where_images_came_from),
      cmocka_unit_test(find_nominal_images),
      cmocka_unit_test(collect_images),
      cmocka_unit_test(hold_out_as_many_as_the_quantile_takes),
      cmocka_unit_test(hold_out_by_the_seed),
      cmocka_unit_test(take_given_images),
  };
  return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
