/* Merged banks against plain loops: the union, its greedy selection and the radius that is told of it, parts of a fit in any order, and what
 * cannot be merged or grow. With images: tests/cli/test_grow.sh. */
#include "tests/golden/golden.h"
#include "tests/status.h"

#include "host/base/rng.h"
#include "host/detector/append.h"
#include "host/detector/bank_merge.h"
#include "kernels/project.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <unistd.h>

enum { D = 24, PROJECTED = 6, PATCHES = 8 * 8, ROWS = 90, IMAGES = 3, BANKS = 3, UNION = BANKS * ROWS };

#define SETTING "{name: t, dataset: folder, backbone: resnet18, layer_dimension: 24, dimension: 24, projection: 6, seed: 5%s}"
#define HASH    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static char folder[] = "/tmp/test_bank_merge_XXXXXX";
static char paths[BANKS][64], merged_path[64];
static tr_device *device;

/* What a test may change of a bank. */
typedef struct bank {
  float rows[ROWS][D];
  uint32_t order[ROWS];
  const char *subsampling, *more, *sha256; /* more: keys of the setting */
  int in_h;
  double cover;
  tr_shard shard;
  size_t threshold_images;
} bank;

static bank banks[BANKS];

static void reset(void) {
  for (size_t b = 0; b < BANKS; ++b) {
    tr_rng rng = tr_rng_make(9, 0, b);
    uint64_t drawn[ROWS];
    assert_ok(tr_rng_sample(&rng, (size_t)IMAGES * PATCHES, ROWS, drawn));
    banks[b] = (bank){.subsampling = "greedy", .more = "", .sha256 = HASH, .in_h = 64, .cover = 0.25 + (double)b / 8};
    for (size_t i = 0; i < ROWS; ++i) {
      banks[b].order[i] = (uint32_t)drawn[i];
      for (int j = 0; j < D; ++j)
        banks[b].rows[i][j] = tr_rng_normal(&rng);
    }
  }
}

static char *about_text(const bank *b, size_t number) {
  char text[512], image_paths[IMAGES][16], *json;
  tr_experiments e;
  tr_sample samples[IMAGES];
  snprintf(text, sizeof text, SETTING, b->more);
  assert_ok(tr_experiments_parse("test", text, strlen(text), NULL, &e));
  tr_about about = {.setting = e.items->settings,
                    .weights_file = "w",
                    .weights_sha256 = b->sha256,
                    .in_h = b->in_h,
                    .in_w = 64,
                    .train_images = IMAGES,
                    .shard = b->shard,
                    .threshold = {.images = b->threshold_images}};
  for (size_t i = 0; i < IMAGES; ++i) {
    snprintf(image_paths[i], sizeof image_paths[i], "f/%zu_%zu.png", number, i);
    samples[i] = (tr_sample){.path = image_paths[i]};
  }
  assert_ok(tr_sources_add(&about.sources, "f", samples, IMAGES));
  assert_ok(tr_about_write(&about, &json));
  tr_about_free(&about);
  tr_experiments_free(&e);
  return json;
}

static cJSON *settings_of(const bank *b) {
  static const struct {
    const char *name;
    double value;
  } numbers[] = {{"train_images", IMAGES}, {"patch", 3},  {"stride", 1},    {"layer_dimension", D},
                 {"dimension", D},         {"seed", 5},   {"percent", 50},  {"projection", 6},
                 {"neighbours", 1},        {"nprobe", 0}, {"ef_search", 0}, {"index_bytes", 0},
                 {"bank_rows", ROWS}};
  cJSON *settings = cJSON_CreateObject();
  cJSON_AddStringToObject(settings, "subsampling", b->subsampling);
  cJSON_AddStringToObject(settings, "aggregate", "official");
  cJSON_AddStringToObject(settings, "image_score", "max");
  cJSON_AddStringToObject(settings, "distance", "squared");
  cJSON_AddStringToObject(settings, "search", "exact");
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; ++i)
    cJSON_AddNumberToObject(settings, numbers[i].name, numbers[i].value);
  if (!isnan(b->cover))
    cJSON_AddNumberToObject(settings, "cover", b->cover);
  assert_ok(tr_model_maps_to_json(&(tr_aggregate_spec){.layers = 2, .h = {8, 4}, .w = {8, 4}, .c = {128, 256}}, settings));
  return settings;
}

static void write_bank(size_t number) {
  const bank *b = &banks[number];
  cJSON *settings = settings_of(b);
  char *about = about_text(b, number);
  const tr_model_array arrays[] = {{"rows", TR_ARRAY_F4, 2, {ROWS, D}, b->rows, false},
                                   {"order", TR_ARRAY_U4, 1, {ROWS}, b->order, false}};
  bool learned = strcmp(b->subsampling, "learned") == 0;
  assert_ok(tr_model_file_write(paths[number], device,
                                &(tr_model_content){.method = tr_method_patchcore.name,
                                                    .settings = settings,
                                                    .about = about,
                                                    .arrays = arrays,
                                                    .array_count = learned ? 1 : 2}));
  free(about);
  cJSON_Delete(settings);
}

static tr_status merge_in(const size_t *order, size_t count, tr_bank_goal goal, tr_merged_banks *out) {
  const char *models[BANKS + 1];
  for (size_t i = 0; i < count; ++i)
    models[i] = paths[order[i]];
  return tr_banks_merge(&(tr_merge_banks_options){.device = device, .models = models, .count = count, .goal = goal}, merged_path,
                        out);
}

static tr_status merge(tr_bank_goal goal, tr_merged_banks *out) {
  static const size_t order[] = {0, 1, 2};
  for (size_t b = 0; b < BANKS; ++b)
    write_bank(b);
  return merge_in(order, BANKS, goal, out);
}

/* The merged file, which is a model too. */
static void read_merged(tr_bank_file *out) {
  tr_model *model;
  tr_model_info info;
  assert_ok(tr_bank_file_open(merged_path, out));
  assert_ok(tr_method_patchcore.load(device, out->file, &model));
  assert_ok(tr_method_patchcore.info(model, 0, &info));
  assert_int_equal(info.bank_rows, out->row_count);
  assert_true(info.cover == out->cover || (isnan(info.cover) && isnan(out->cover)));
  tr_method_patchcore.destroy(model);
}

/* Row of the union that a merged row is; its number among all patches must fit. */
static size_t row_of(const tr_bank_file *merged, size_t row) {
  for (size_t i = 0; i < UNION; ++i)
    if (memcmp(merged->rows + row * D, banks[i / ROWS].rows[i % ROWS], sizeof banks->rows[0]) == 0) {
      if (merged->order)
        assert_int_equal(merged->order[row], i / ROWS * IMAGES * PATCHES + banks[i / ROWS].order[i % ROWS]);
      return i;
    }
  fail_msg("row %zu is no bank's", row);
  return UNION;
}

static void take_all_rows(void **state) {
  (void)state;
  tr_merged_banks merged;
  tr_bank_file file;
  reset();
  banks[2].threshold_images = 19;
  assert_ok(merge((tr_bank_goal){0}, &merged));
  assert_true(merged.rows == UNION && merged.union_rows == UNION && merged.images == BANKS * IMAGES && merged.lost_threshold);
  assert_true(merged.cover == 0.5);
  read_merged(&file);
  for (size_t i = 0; i < UNION; ++i)
    assert_int_equal(row_of(&file, i), i);
  assert_int_equal(file.about.threshold.images, 0);
  assert_int_equal(file.about.sources.count, BANKS);
  const tr_source *source;
  assert_string_equal(tr_sources_image(&file.about.sources, 4, &source), "1_1.png");
  tr_bank_file_close(&file);
  banks[1].cover = NAN; /* an older file */
  assert_ok(merge((tr_bank_goal){0}, &merged));
  assert_true(isnan(merged.cover) && merged.rows == UNION);
}

/* Largest distance of the union's rows to the nearest of the merged ones, projected. */
static double distance_left(const tr_bank_file *merged) {
  float matrix[PROJECTED][D];
  double all[UNION][PROJECTED], left = 0;
  tr_project_matrix(5, D, PROJECTED, matrix[0]);
  for (size_t i = 0; i < UNION; ++i)
    for (int p = 0; p < PROJECTED; ++p) {
      all[i][p] = 0;
      for (int j = 0; j < D; ++j)
        all[i][p] += (double)matrix[p][j] * (double)banks[i / ROWS].rows[i % ROWS][j];
    }
  for (size_t i = 0; i < UNION; ++i) {
    double nearest = INFINITY;
    for (size_t k = 0; k < merged->row_count; ++k) {
      size_t row = row_of(merged, k);
      double sum = 0;
      for (int p = 0; p < PROJECTED; ++p)
        sum += (all[i][p] - all[row][p]) * (all[i][p] - all[row][p]);
      nearest = fmin(nearest, sqrt(sum));
    }
    left = fmax(left, nearest);
  }
  return left;
}

static void select_from_the_union(void **state) {
  (void)state;
  tr_merged_banks merged;
  tr_bank_file file;
  reset();
  const tr_bank_goal goals[] = {{.rows = 1}, {.rows = 40}, {.percent = 10}, {.rows = 1000}};
  const size_t rows[] = {1, 40, 57, UNION}; /* floor(576 patches * 0.1) */
  for (size_t i = 0; i < sizeof goals / sizeof *goals; ++i) {
    assert_ok(merge(goals[i], &merged));
    assert_int_equal(merged.rows, rows[i]);
    read_merged(&file);
    assert_int_equal(file.row_count, rows[i]);
    assert_int_equal(row_of(&file, 0), 0);
    assert_true(goals[i].percent > 0 ? file.about.setting->percent == 10 : file.about.setting->bank_rows == (int)rows[i]);
    double expected = 0.5 + distance_left(&file);
    if (!(fabs(merged.cover - expected) < 1e-5 * expected) || merged.cover != file.cover)
      fail_msg("%zu rows: radius %g, expected %g", rows[i], merged.cover, expected);
    tr_bank_file_close(&file);
  }
  assert_ok(merge((tr_bank_goal){.radius = 1.25}, &merged));
  assert_true(merged.cover < 1.25 && merged.rows > 1 && merged.rows < UNION);
  read_merged(&file);
  assert_true(fabs(merged.cover - 0.5 - distance_left(&file)) < 1e-5);
  char rows_text[32];
  snprintf(rows_text, sizeof rows_text, "_R%zu_", merged.rows);
  assert_int_equal(file.about.setting->bank_rows, merged.rows);
  assert_non_null(strstr(cJSON_GetObjectItem(tr_model_file_about(file.file), "run")->valuestring, rows_text));
  tr_bank_file_close(&file);
  assert_int_equal(merge((tr_bank_goal){.radius = 0.5}, &merged), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "a radius of 0.5 cannot be had"));
}

static void refuse(const char *text) {
  tr_merged_banks merged;
  unlink(merged_path);
  assert_int_equal(merge((tr_bank_goal){.rows = 10}, &merged), TR_EINVAL);
  if (!strstr(tr_last_error(), text))
    fail_msg("no \"%s\" in: %s", text, tr_last_error());
  assert_int_not_equal(access(merged_path, F_OK), 0);
}

static void say_what_differs(void **state) {
  (void)state;
  static const struct {
    const char *more, *text;
  } keys[] = {{", patch: 5", "patch is 3 in the first and 5 in the second"},
              {", image: {resize: 300, crop: 0}", "image is "},
              {", layers: layer2", "layers is "},
              {", protocol: paper, image_score: max, distance: squared", "protocol is "}};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; ++i) {
    reset();
    banks[1].more = keys[i].more;
    refuse(keys[i].text);
  }
  reset();
  banks[2].sha256 = "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
  refuse("weights is \"0123456789abcdef");
  reset();
  banks[2].in_h = 72;
  refuse("image is 64 in the first and 72 in the second");
  reset();
  banks[1].subsampling = "random";
  refuse("the first one's rows are greedy, the second one's random");
  for (size_t b = 0; b < BANKS; ++b)
    banks[b].subsampling = "learned";
  refuse("rows are learned is merged as it is");
  tr_merged_banks merged;
  tr_bank_file file;
  assert_ok(merge((tr_bank_goal){0}, &merged));
  read_merged(&file);
  assert_null(file.order);
  assert_int_equal(row_of(&file, UNION - 1), UNION - 1);
  tr_bank_file_close(&file);
}

static void put_parts_together(void **state) {
  (void)state;
  static const size_t orders[][BANKS] = {{0, 1, 2}, {2, 0, 1}, {1, 2, 0}};
  tr_merged_banks merged;
  reset();
  for (size_t b = 0; b < BANKS; ++b)
    banks[b].shard = (tr_shard){(int)b + 1, BANKS};
  assert_ok(merge((tr_bank_goal){.rows = 50}, &merged));
  tr_bank_file first, other;
  read_merged(&first);
  assert_int_equal(first.about.shard.of, 0);
  assert_int_equal(first.about.sources.count, 1); /* one folder's images */
  for (size_t i = 1; i < sizeof orders / sizeof *orders; ++i) {
    assert_ok(merge_in(orders[i], BANKS, (tr_bank_goal){.rows = 50}, &merged));
    read_merged(&other);
    assert_memory_equal(first.rows, other.rows, 50 * sizeof banks->rows[0]);
    assert_memory_equal(first.order, other.order, 50 * sizeof *first.order);
    assert_true(first.cover == other.cover);
    tr_bank_file_close(&other);
  }
  tr_bank_file_close(&first);
  static const size_t two[] = {2, 0}, twice[] = {1, 0, 2, 1};
  assert_int_equal(merge_in(two, 2, (tr_bank_goal){0}, &merged), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "shard 2 of 3 is missing"));
  assert_int_equal(merge_in(twice, 4, (tr_bank_goal){0}, &merged), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "are both shard 2 of 3"));
  static const size_t early[] = {0, 1};
  assert_int_equal(merge_in(early, 2, (tr_bank_goal){0}, &merged), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "shard 3 of 3 is missing"));
  banks[1].shard = (tr_shard){0};
  refuse("parts of different fits");
}

/* A file of before covering radii were kept: how far to go must be said. What comes then is the images' folder. */
static void grow_without_a_radius(void **state) {
  (void)state;
  tr_append_plan plan;
  tr_append_options options = {.device = device, .model = paths[0], .data = "/no/such/folder", .weights = "/no/such/folder"};
  reset();
  banks[0].cover = NAN;
  write_bank(0);
  assert_int_equal(tr_append_prepare(&options, &plan), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "does not know its covering radius"));
  options.goal.rows = 100;
  assert_int_equal(tr_append_prepare(&options, &plan), TR_EIO);
  assert_non_null(strstr(tr_last_error(), "/no/such/folder"));
}

int main(void) {
  if (!mkdtemp(folder) || tr_device_open("cpu", 2, &device) != TR_OK)
    return 1;
  for (size_t b = 0; b < BANKS; ++b)
    snprintf(paths[b], sizeof paths[b], "%s/%zu", folder, b);
  snprintf(merged_path, sizeof merged_path, "%s/merged", folder);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(take_all_rows),      cmocka_unit_test(select_from_the_union), cmocka_unit_test(say_what_differs),
      cmocka_unit_test(put_parts_together), cmocka_unit_test(grow_without_a_radius),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  tr_device_close(device);
  for (size_t b = 0; b < BANKS; ++b)
    unlink(paths[b]);
  unlink(merged_path);
  rmdir(folder);
  return failed;
}
