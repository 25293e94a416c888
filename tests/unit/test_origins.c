/* Origins of bank rows: distances to other images' rows against a plain loop, names, damaged and older files, boxes. From the command
 * line: tests/cli/test_origins.sh. */
#include "tests/golden/golden.h"
#include "tests/status.h"

#include "host/base/rng.h"
#include "host/detector/origins.h"
#include "host/methods/method.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <unistd.h>

enum { IMAGES = 7, PATCHES = 28 * 28, ROWS = 300, D = 1024 };

static char folder[] = "/tmp/test_origins_XXXXXX";
static char model[64];
static float rows[ROWS][D];
static uint32_t order[ROWS];

/* Image 5 has no row; the others have them here and there. */
static void fill_rows(void) {
  tr_rng rng = tr_rng_make(7, 0, 0);
  uint64_t drawn[ROWS];
  assert_ok(tr_rng_sample(&rng, (size_t)(IMAGES - 1) * PATCHES, ROWS, drawn));
  for (size_t i = 0; i < ROWS; ++i) {
    order[i] = (uint32_t)(drawn[i] + (drawn[i] >= 5 * PATCHES ? PATCHES : 0));
    for (int j = 0; j < D; ++j)
      rows[i][j] = (float)(tr_rng_u32(&rng) % 1000) / 1000 + (order[i] / PATCHES == 3 ? 0.5f : 0);
  }
}

static char *about_text(bool names) {
  static const char text[] = "{name: t, dataset: folder, backbone: resnet18}";
  tr_experiments e;
  char *json;
  assert_ok(tr_experiments_parse("test", text, strlen(text), NULL, &e));
  tr_about about = {.setting = e.items->settings,
                    .weights_file = "w",
                    .weights_sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                    .in_h = 224,
                    .in_w = 224,
                    .train_images = IMAGES};
  tr_sample samples[IMAGES];
  char paths[IMAGES][8];
  for (int i = 0; i < IMAGES; ++i) {
    snprintf(paths[i], sizeof paths[i], "f/%d.png", i);
    samples[i] = (tr_sample){.path = paths[i]};
  }
  if (names)
    assert_ok(tr_sources_add(&about.sources, "f", samples, IMAGES));
  assert_ok(tr_about_write(&about, &json));
  tr_about_free(&about);
  tr_experiments_free(&e);
  return json;
}

static void write_model(tr_device *device, const char *subsampling, bool names) {
  cJSON *settings = cJSON_CreateObject();
  cJSON_AddStringToObject(settings, "subsampling", subsampling);
  assert_ok(tr_model_maps_to_json(&(tr_aggregate_spec){.layers = 2, .h = {28, 14}, .w = {28, 14}, .c = {128, 256}}, settings));
  const tr_model_array arrays[] = {{"rows", TR_ARRAY_F4, 2, {ROWS, D}, rows, false},
                                   {"order", TR_ARRAY_U4, 1, {ROWS}, order, false}};
  char *about = about_text(names);
  assert_ok(tr_model_file_write(
      model, device,
      &(tr_model_content){
          .method = tr_method_patchcore.name, .settings = settings, .about = about, .arrays = arrays, .array_count = 2}));
  free(about);
  cJSON_Delete(settings);
}

static double distance_between(size_t a, size_t b) {
  double sum = 0;
  for (int j = 0; j < D; ++j)
    sum += ((double)rows[a][j] - (double)rows[b][j]) * ((double)rows[a][j] - (double)rows[b][j]);
  return sqrt(sum);
}

static size_t nearest_of_another(size_t row) {
  size_t nearest = ROWS;
  for (size_t i = 0; i < ROWS; ++i)
    if (order[i] / PATCHES != order[row] / PATCHES &&
        (nearest == ROWS || distance_between(row, i) < distance_between(row, nearest)))
      nearest = i;
  return nearest;
}

static void find_far_rows(void **state) {
  tr_device *device = *state;
  tr_origins o;
  write_model(device, "greedy", true);
  assert_ok(tr_origins_read(device, model, &o));
  assert_int_equal(o.row_count, ROWS);
  assert_int_equal(o.image_count, IMAGES - 1);
  assert_int_equal(o.images[0].image, 3);
  size_t counted = 0;
  for (size_t i = 0; i < o.image_count; ++i)
    counted += o.images[i].rows;
  assert_int_equal(counted, ROWS);
  for (size_t i = 0; i < ROWS; ++i) {
    const tr_origin *row = &o.rows[i];
    size_t nearest = nearest_of_another(row->row);
    assert_int_equal(row->image, order[row->row] / PATCHES);
    assert_int_equal(row->patch, order[row->row] % PATCHES);
    assert_int_equal(row->nearest, nearest);
    assert_true(fabs(row->distance - distance_between(row->row, nearest)) < 1e-5 * row->distance);
    assert_true(i == 0 || row->distance <= o.rows[i - 1].distance);
  }
  double middle = (o.rows[ROWS / 2].distance + o.rows[ROWS / 2 - 1].distance) / 2; /* z is 0 there, and grows with the distance */
  assert_true((o.rows[0].z > 0) && (o.rows[ROWS - 1].z < 0));
  for (size_t i = 0; i < ROWS; ++i)
    assert_true(o.rows[i].z == 0 || (o.rows[i].z > 0) == (o.rows[i].distance > middle));
  char *name;
  assert_ok(tr_origins_name(&o, 3, &name));
  assert_string_equal(name, "3.png");
  free(name);
  tr_origins_free(&o);
}

static void refuse(tr_device *device, tr_status status, const char *text) {
  tr_origins o;
  assert_int_equal(tr_origins_read(device, model, &o), status);
  assert_non_null(strstr(tr_last_error(), text));
}

static void say_what_a_file_lacks(void **state) {
  tr_device *device = *state;
  tr_origins o;
  char *name;
  write_model(device, "greedy", false);
  assert_ok(tr_origins_read(device, model, &o));
  assert_ok(tr_origins_name(&o, 3, &name));
  assert_string_equal(name, "image 3");
  free(name);
  assert_int_equal(tr_origins_draw(device, &o, 1, NULL, folder), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "no names of its training images"));
  tr_origins_free(&o);
  write_model(device, "learned", true);
  refuse(device, TR_EINVAL, "learned or imported");
  uint32_t kept[ROWS];
  memcpy(kept, order, sizeof kept);
  order[17] = IMAGES * PATCHES;
  write_model(device, "random", true);
  refuse(device, TR_EFORMAT, "bank row 17 is patch 5488 of 5488");
  for (size_t i = 0; i < ROWS; ++i)
    order[i] = (uint32_t)i;
  write_model(device, "greedy", true);
  refuse(device, TR_EINVAL, "all bank rows are of one training image");
  memcpy(order, kept, sizeof kept);
  snprintf(model, sizeof model, "%s/gone", folder);
  refuse(device, TR_EIO, model);
}

static void draw_boxes(void **state) {
  (void)state;
  uint8_t image[6][8][3] = {0};
  tr_picture_draw_box(&image[0][0][0], 6, 8, (tr_picture_box){.top = 1, .left = -2, .bottom = 4, .right = 3});
  for (int y = 0; y < 6; ++y)
    for (int x = 0; x < 8; ++x) {
      bool inside = y >= 1 && y < 4 && x < 3;
      assert_int_equal(image[y][x][0] == 255, inside && (y == 1 || y == 3 || x == 0 || x == 2));
    }
}

int main(void) {
  tr_device *device;
  if (!mkdtemp(folder) || tr_device_open("cpu", 2, &device) != TR_OK)
    return 1;
  snprintf(model, sizeof model, "%s/model", folder);
  fill_rows();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_prestate(find_far_rows, device),
      cmocka_unit_test_prestate(say_what_a_file_lacks, device),
      cmocka_unit_test(draw_boxes),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  tr_device_close(device);
  snprintf(model, sizeof model, "%s/model", folder);
  unlink(model);
  rmdir(folder);
  return failed;
}
