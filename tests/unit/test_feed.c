/* The feed: what is kept for later passes, in memory and in a file, gives the same maps, bit for bit, as files and the backbone. */
#include "tests/golden/golden.h"

#include "host/base/text.h"
#include "host/harness/feed.h"

enum { TAPS = 2 };

static char folder[64];
static tr_device *device;
static tr_dataset *dataset;
static tr_class class_;

static int set_up(void **state) {
  (void)state;
  strcpy(folder, "/tmp/totalrecall-feed-XXXXXX");
  if (!mkdtemp(folder))
    return -1;
  char *synthetic = tr_format("%s/synthetic", folder);
  bool drawn = tr_synthesize(synthetic, &(tr_synthesize_options){.train = 5, .good = 1, .per_defect = 1, .size = 96}) == TR_OK &&
               tr_dataset_open(&(tr_dataset_options){.kind = "synthetic", .root = folder}, &dataset) == TR_OK &&
               tr_dataset_class(dataset, tr_dataset_classes(dataset)->items[0], &class_) == TR_OK;
  free(synthetic);
  const char *name = getenv("TR_TEST_DEVICE");
  return drawn && tr_device_open(name ? name : "cpu", 2, &device) == TR_OK ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  tr_device_close(device);
  tr_class_free(&class_);
  tr_dataset_close(dataset);
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  return system(command);
}

/* Maps of all training images, as they were handed on. */
typedef struct collected {
  size_t floats[TAPS], count;
  float *maps[TAPS];
} collected;

static tr_status collect(void *context, int lane, const size_t *units, size_t n, const float *const *maps) {
  (void)lane;
  size_t first = units[0];
  collected *c = context;
  for (int t = 0; t < TAPS; ++t)
    if (c->maps[t])
      assert_int_equal(tr_device_download(device, c->maps[t] + first * c->floats[t], maps[t], n * c->floats[t] * sizeof(float)),
                       TR_OK);
  assert_int_equal(tr_device_sync(device), TR_OK);
  return TR_OK;
}

static tr_image_spec image = {.resize = 64, .crop = 56};

static tr_backbone *make_backbone(void) {
  static const char *const layers[TAPS] = {"layer1", "layer2"};
  tr_backbone_options options = {.architecture = "resnet18", .layers = layers, .layer_count = TAPS, .in_h = 56, .in_w = 56};
  tr_backbone *backbone;
  assert_int_equal(tr_backbone_create(device, &options, NULL, &backbone), TR_OK);
  return backbone;
}

/* Feeds the training images, as the items of their numbers, through a feed of its own. */
static void feed(tr_backbone *backbone, tr_cache *images, tr_cache *maps, int unread, collected *out) {
  size_t items[16];
  tr_feed_options options = {.device = device,
                             .backbone = backbone,
                             .architecture = "resnet18",
                             .image = image,
                             .tiling = {56, 56, 56, 56, 1, 1},
                             .layers = TAPS,
                             .image_bytes = 96 * 96 * 3 * 2,
                             .image_cache = images,
                             .map_cache = maps};
  if (unread >= 0)
    options.unread[unread] = true;
  *out = (collected){.count = class_.train_count};
  for (int t = 0; t < TAPS; ++t) {
    int h, w, c;
    tr_backbone_tap_shape(backbone, t, &h, &w, &c);
    out->floats[t] = (size_t)h * (size_t)w * (size_t)c;
    out->maps[t] = t == unread ? NULL : calloc(out->count * out->floats[t], sizeof(float));
  }
  for (size_t i = 0; i < out->count; ++i)
    items[i] = i;
  tr_feed *made;
  assert_int_equal(tr_feed_create(&options, &made), TR_OK);
  if (tr_feed_images(made, "images", &(tr_feed_list){.samples = class_.train, .count = out->count, .items = items}, collect,
                     out) != TR_OK)
    fail_msg("%s", tr_last_error());
  tr_feed_destroy(made);
}

static void check_equal(const collected *a, const collected *b) {
  for (int t = 0; t < TAPS; ++t)
    if (a->maps[t] && b->maps[t])
      assert_memory_equal(a->maps[t], b->maps[t], a->count * a->floats[t] * sizeof(float));
}

static void release(collected *c) {
  for (int t = 0; t < TAPS; ++t)
    free(c->maps[t]);
}

/* The files go away between the passes, so that what is kept is what is read. */
static void check_kept(const char *where, bool of_maps) {
  tr_backbone *backbone = make_backbone();
  collected plain, first, second;
  feed(backbone, NULL, NULL, -1, &plain);
  size_t item = of_maps ? (plain.floats[0] + plain.floats[1]) * sizeof(float) : 56 * 56 * 3;
  tr_cache *cache;
  assert_int_equal(tr_cache_create(class_.train_count, item, where, &cache), TR_OK);
  feed(backbone, of_maps ? NULL : cache, of_maps ? cache : NULL, -1, &first);
  for (size_t i = 0; i < class_.train_count; ++i) {
    char *away = tr_format("%s.away", class_.train[i].path);
    assert_true(tr_cache_has(cache, i));
    assert_int_equal(rename(class_.train[i].path, away), 0);
    free(away);
  }
  feed(backbone, of_maps ? NULL : cache, of_maps ? cache : NULL, of_maps ? 1 : -1, &second);
  for (size_t i = 0; i < class_.train_count; ++i) {
    char *away = tr_format("%s.away", class_.train[i].path);
    assert_int_equal(rename(away, class_.train[i].path), 0);
    free(away);
  }
  check_equal(&plain, &first);
  check_equal(&plain, &second);
  release(&plain);
  release(&first);
  release(&second);
  tr_cache_destroy(cache);
  tr_backbone_destroy(backbone);
}

static void test_images_in_memory(void **state) {
  (void)state;
  check_kept(NULL, false);
}

static void test_images_in_a_file(void **state) {
  (void)state;
  check_kept(folder, false);
}

static void test_maps_in_memory(void **state) {
  (void)state;
  check_kept(NULL, true);
}

static void test_maps_in_a_file(void **state) {
  (void)state;
  check_kept(folder, true);
}

/* ---- tiles ---- */

typedef struct tiled {
  tr_tiling tiling;
  size_t floats;
  float *maps; /* [units, floats], of the first tap */
  bool *seen;  /* [units] */
} tiled;

static tr_status collect_units(void *context, int lane, const size_t *units, size_t n, const float *const *maps) {
  (void)lane;
  tiled *t = context;
  for (size_t i = 0; i < n; ++i) {
    assert_true(i == 0 || units[i] > units[i - 1]);
    t->seen[units[i]] = true;
    assert_int_equal(
        tr_device_download(device, t->maps + units[i] * t->floats, maps[0] + i * t->floats, t->floats * sizeof(float)), TR_OK);
  }
  assert_int_equal(tr_device_sync(device), TR_OK);
  return TR_OK;
}

static void feed_tiles(tr_backbone *backbone, const tr_feed_list *list, tiled *out) {
  size_t units = list->count * tr_tiling_count(&out->tiling);
  int h, w, c;
  tr_backbone_tap_shape(backbone, 0, &h, &w, &c);
  out->floats = (size_t)h * (size_t)w * (size_t)c;
  out->maps = calloc(units * out->floats, sizeof(float));
  out->seen = calloc(units, sizeof *out->seen);
  tr_feed *made;
  assert_int_equal(tr_feed_create(&(tr_feed_options){.device = device,
                                                     .backbone = backbone,
                                                     .architecture = "resnet18",
                                                     .image = image,
                                                     .tiling = out->tiling,
                                                     .layers = 1,
                                                     .image_bytes = 96 * 96 * 3 * 2},
                                  &made),
                   TR_OK);
  if (tr_feed_images(made, "images", list, collect_units, out) != TR_OK)
    fail_msg("%s", tr_last_error());
  tr_feed_destroy(made);
}

static void release_tiled(tiled *t) {
  free(t->maps);
  free(t->seen);
}

/* A tile is what an image of that part alone gives, which the window of the resize is told; and one that is not wanted is not fed. */
static void test_tiles(void **state) {
  (void)state;
  static const char *const layers[] = {"layer1"};
  tr_backbone_options options = {.architecture = "resnet18", .layers = layers, .layer_count = 1, .in_h = 32, .in_w = 32};
  tr_backbone *backbone;
  assert_int_equal(tr_backbone_create(device, &options, NULL, &backbone), TR_OK);
  tiled all = {0}, some = {0};
  assert_int_equal(tr_tiling_make(&(tr_tile_spec){.size = 32, .overlap = 4}, 56, 56, &all.tiling), TR_OK);
  some.tiling = all.tiling;
  size_t tiles = tr_tiling_count(&all.tiling), count = class_.train_count;
  assert_int_equal(tiles, 4);
  feed_tiles(backbone, &(tr_feed_list){.samples = class_.train, .count = count}, &all);
  uint8_t *wanted = calloc(count * tiles, 1);
  for (size_t unit = 0; unit < count * tiles; ++unit)
    wanted[unit] = unit % 3 == 1;
  feed_tiles(backbone, &(tr_feed_list){.samples = class_.train, .count = count, .wanted = wanted}, &some);
  for (size_t unit = 0; unit < count * tiles; ++unit) {
    assert_true(all.seen[unit]);
    assert_int_equal(some.seen[unit], wanted[unit]);
    if (wanted[unit])
      assert_memory_equal(some.maps + unit * all.floats, all.maps + unit * all.floats, all.floats * sizeof(float));
  }
  tr_image_spec whole = image;
  for (size_t tile = 0; tile < tiles; ++tile) {
    tiled alone = {.tiling = {32, 32, 32, 32, 1, 1}};
    image.window = tr_tiling_window(&all.tiling, tile);
    feed_tiles(backbone, &(tr_feed_list){.samples = class_.train, .count = count}, &alone);
    for (size_t i = 0; i < count; ++i)
      assert_memory_equal(alone.maps + i * all.floats, all.maps + (i * tiles + tile) * all.floats, all.floats * sizeof(float));
    release_tiled(&alone);
  }
  image = whole;
  free(wanted);
  release_tiled(&all);
  release_tiled(&some);
  tr_backbone_destroy(backbone);
}

/* Items that are not complete are not there, and what is not there cannot be read. */
static void test_items(void **state) {
  (void)state;
  tr_cache *cache;
  const char *const places[] = {NULL, folder};
  for (size_t i = 0; i < 2; ++i) {
    char read[4] = "";
    assert_int_equal(tr_cache_create(3, 8, places[i], &cache), TR_OK);
    assert_int_equal(tr_cache_put(cache, 1, 4, 4, "abc"), TR_OK);
    assert_false(tr_cache_has(cache, 1));
    tr_cache_complete(cache, 1);
    assert_true(tr_cache_has(cache, 1));
    assert_false(tr_cache_has(cache, 0) || tr_cache_has(cache, 3));
    assert_int_equal(tr_cache_get(cache, 1, 4, 4, read), TR_OK);
    assert_string_equal(read, "abc");
    assert_int_equal(tr_cache_put(cache, 3, 0, 1, "x"), TR_EINTERNAL);
    assert_int_equal(tr_cache_get(cache, 2, 5, 4, read), TR_EINTERNAL);
    tr_cache_destroy(cache);
  }
  assert_int_equal(tr_cache_create(1, 1, "/no/such/folder", &cache), TR_EIO);
  assert_null(cache);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_images_in_memory),
      cmocka_unit_test(test_images_in_a_file),
      cmocka_unit_test(test_maps_in_memory),
      cmocka_unit_test(test_maps_in_a_file),
      cmocka_unit_test(test_tiles),
      cmocka_unit_test(test_items),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
