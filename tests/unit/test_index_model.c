/* PatchCore with indexes: what they find beside exact search, on any number of lanes, and in files. A build without FAISS
 * only scores with those of files. */
#include "host/base/text.h"
#include "host/methods/method.h"
#include "host/search/search.h"
#include "tests/golden/featops.h"
#include "tests/status.h"
#include "tests/unit/leaks.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <unistd.h>

enum { TRAIN = 9, TEST = 5, SIDE = 9, CHANNELS = 8, PATCHES = SIDE * SIDE, MAP = PATCHES * CHANNELS, D = 12 };

static char path[64];

static int make_path(void **state) {
  (void)state;
  snprintf(path, sizeof path, "/tmp/test_index_model_XXXXXX");
  int file = mkstemp(path);
  return file < 0 || close(file) != 0;
}

static int remove_path(void **state) {
  (void)state;
  return unlink(path);
}

static float *maps_on(tr_device *device, uint32_t stream, size_t n) {
  float *host = featops_array(n * MAP);
  for (size_t i = 0; i < n * MAP; ++i)
    host[i] = featops_noise(stream, (uint32_t)i);
  float *maps = device_copy_of(device, host, n * MAP * sizeof *host);
  free(host);
  return maps;
}

typedef struct model_job {
  tr_model *model;
  const float *maps;
  float *scores;
  size_t variants;
} model_job;

static tr_status fit_some(void *context, size_t first, size_t count, int lane) {
  const model_job *job = context;
  return tr_method_patchcore.fit_images(job->model, lane, first, count, (const float *const[]){job->maps + first * MAP});
}

static tr_status score_some(void *context, size_t first, size_t count, int lane) {
  const model_job *job = context;
  return tr_method_patchcore.score_images(job->model, lane, count, (const float *const[]){job->maps + first * MAP},
                                          job->scores + first * PATCHES, (size_t)TEST * PATCHES,
                                          job->scores + job->variants * TEST * PATCHES + first, TEST);
}

/* [variants][TEST, PATCHES], then [variants][TEST]. */
static float *score(tr_device *device, tr_model *model, size_t variants) {
  float *maps = maps_on(device, 2, TEST);
  model_job job = {.model = model, .maps = maps, .scores = featops_array(variants * TEST * (PATCHES + 1)), .variants = variants};
  assert_ok(tr_device_for_chunks(device, TEST, score_some, &job));
  tr_device_free(device, maps);
  return job.scores;
}

static tr_method_options options_for(tr_device *device, const tr_variant *variants, size_t count) {
  return (tr_method_options){.device = device,
                             .aggregate = {.layers = 1,
                                           .h = {SIDE},
                                           .w = {SIDE},
                                           .c = {CHANNELS},
                                           .patch = 3,
                                           .stride = 1,
                                           .layer_dimension = 20,
                                           .dimension = D},
                             .train_images = TRAIN,
                             .variants = variants,
                             .variant_count = count};
}

static tr_model *fit_as(tr_device *device, const tr_method_options *options) {
  float *maps = maps_on(device, 1, TRAIN);
  model_job job = {.maps = maps};
  assert_ok(tr_method_patchcore.create(options, &job.model));
  assert_ok(tr_device_for_chunks(device, TRAIN, fit_some, &job));
  assert_ok(tr_method_patchcore.fit_end(job.model));
  tr_device_free(device, maps);
  return job.model;
}

static tr_model *fit(tr_device *device, const tr_variant *variants, size_t count) {
  tr_method_options options = options_for(device, variants, count);
  return fit_as(device, &options);
}

#define GREEDY(rows) .seed = 1, .subsampling = TR_SUBSAMPLE_GREEDY, .percent = (rows), .projection = 5
static const tr_variant variants[] = {
    {GREEDY(40), .search = "exact"},
    {GREEDY(40), .search = "faiss:Flat"},
    {GREEDY(40), .search = "faiss:IVF8,Flat", .nprobe = 1},
    {GREEDY(40), .search = "faiss:IVF8,Flat", .nprobe = 8},
    {GREEDY(20), .search = "faiss:IVF8,PQ4x4np", .nprobe = 8}, /* no variant asks for exact search of these rows */
    {GREEDY(20), .search = "faiss:HNSW8", .ef_search = 64},
    {GREEDY(20), .search = "faiss:IVF8,Flat", .nprobe = 2, .image_score = TR_SCORE_REWEIGHTED, .neighbours = 3},
    {.subsampling = TR_SUBSAMPLE_NONE, .percent = 100, .search = "faiss:Flat", .distance = TR_DISTANCE_EUCLIDEAN},
    {GREEDY(40), .search = "faiss:IVF8,PQ4np", .nprobe = 2},
};
enum { COUNT = sizeof variants / sizeof *variants };

static tr_model_info info_of(tr_model *model, size_t v) {
  tr_model_info info;
  assert_ok(tr_method_patchcore.info(model, v, &info));
  return info;
}

static void test_beside_exact(void **state) {
  (void)state;
  tr_device *device = test_device_open(2);
  tr_model *model = fit(device, variants, COUNT);
  assert_true(isnan(info_of(model, 1).recall_at_1)); /* nothing scored yet */
  float *scores = score(device, model, COUNT);
  tr_model_info info[COUNT];
  for (size_t v = 0; v < COUNT; ++v)
    info[v] = info_of(model, v);
  assert_true(isnan(info[0].recall_at_1) && isnan(info[0].distance_error) && info[0].index_bytes == 0 &&
              info[0].index_seconds == 0 && !info[0].searched_by);
  for (size_t v = 1; v < COUNT; ++v)
    assert_true(info[v].index_bytes > 0 && info[v].index_seconds > 0 && info[v].nearest_seconds > 0 && info[v].searched_by);
  /* All rows looked at are exact search, but for FAISS's rounding. */
  const size_t exact[] = {1, 3, 5, 7};
  for (size_t i = 0; i < 4; ++i) {
    assert_true(info[exact[i]].recall_at_1 > 0.99);
    assert_true(info[exact[i]].distance_error < 1e-4);
  }
  for (size_t v = 1; v < 4; v += 2)
    golden_assert_close(scores + v * TEST * PATCHES, scores, TEST * PATCHES, 1e-4f, 1e-4f);
  /* One list, and codes, are not. */
  assert_true(info[2].recall_at_1 < 0.99 && info[2].recall_at_1 > 0.3 && info[2].distance_error > 1e-3);
  assert_true(info[4].recall_at_1 < 1 && info[4].distance_error > 1e-3);
  assert_int_equal(info[2].index_bytes, info[3].index_bytes); /* one index serves both */
  assert_true(info[2].index_seconds == info[3].index_seconds);
  /* The recall and the error by hand, from the patch scores (squared distances). */
  double error = 0;
  size_t right = 0;
  for (size_t i = 0; i < TEST * PATCHES; ++i) {
    double nearest = sqrt(scores[i]), found = sqrt(scores[2 * TEST * PATCHES + i]);
    error += fabs(found - nearest) / nearest / (TEST * PATCHES);
    right += found <= nearest * (1 + 1e-6);
  }
  assert_true(fabs(error - info[2].distance_error) < 1e-7);
  assert_true(fabs((double)right / (TEST * PATCHES) - info[2].recall_at_1) < 1e-9);
  free(scores);
  tr_method_patchcore.destroy(model);
  tr_device_close(device);
}

static void test_lanes_do_not_matter(void **state) {
  (void)state;
  tr_device *one = test_device_open(1), *four = test_device_open(4);
  tr_model *a = fit(one, variants, COUNT), *b = fit(four, variants, COUNT);
  float *scores = score(one, a, COUNT), *again = score(four, b, COUNT);
  assert_memory_equal(scores, again, COUNT * TEST * (PATCHES + 1) * sizeof *scores);
  for (size_t v = 1; v < COUNT; ++v) {
    tr_model_info x = info_of(a, v), y = info_of(b, v);
    assert_true(x.recall_at_1 == y.recall_at_1 && x.distance_error == y.distance_error);
  }
  free(scores);
  free(again);
  tr_method_patchcore.destroy(a);
  tr_method_patchcore.destroy(b);
  tr_device_close(one);
  tr_device_close(four);
}

static void test_files(void **state) {
  (void)state;
  tr_device *device = test_device_open(1), *other = test_device_open(2);
  tr_model *model = fit(device, variants, COUNT), *loaded;
  float *scores = score(device, model, COUNT);
  for (size_t v = 0; v < COUNT; ++v) {
    tr_model_file *file;
    assert_ok(tr_method_patchcore.save(model, v, path, NULL));
    assert_ok(tr_model_file_open(path, &file));
    assert_ok(tr_method_patchcore.load(other, file, &loaded));
    tr_model_file_close(file);
    float *again = score(other, loaded, 1);
    assert_memory_equal(again, scores + v * TEST * PATCHES, TEST * PATCHES * sizeof *scores);
    assert_memory_equal(again + TEST * PATCHES, scores + COUNT * TEST * PATCHES + v * TEST, TEST * sizeof *scores);
    tr_model_info info = info_of(loaded, 0);
    assert_true(isnan(info.recall_at_1)); /* a loaded model searches the index alone */
    assert_int_equal(info.index_bytes, info_of(model, v).index_bytes);
    free(again);
    tr_method_patchcore.destroy(loaded);
  }
  free(scores);
  tr_method_patchcore.destroy(model);
  tr_device_close(device);
  tr_device_close(other);
}

/* A model of the cpu's gives the same scores on another device, whose features differ in their last places: lists that the device
 * searches itself, and those that FAISS searches. */
static void test_like_the_cpu(void **state) {
  (void)state;
  tr_device *device = test_device_open(2), *cpu = featops_cpu(2);
  tr_model *model = fit(cpu, variants, COUNT), *loaded;
  float *scores = score(cpu, model, COUNT);
  const size_t some[] = {2, 3, 4, 6, 8};
  for (size_t i = 0; i < sizeof some / sizeof *some; ++i) {
    tr_model_file *file;
    assert_ok(tr_method_patchcore.save(model, some[i], path, NULL));
    assert_ok(tr_model_file_open(path, &file));
    assert_ok(tr_method_patchcore.load(device, file, &loaded));
    tr_model_file_close(file);
    float *again = score(device, loaded, 1);
    golden_assert_close(again, scores + some[i] * TEST * PATCHES, TEST * PATCHES, 1e-4f, 1e-5f);
    golden_assert_close(again + TEST * PATCHES, scores + COUNT * TEST * PATCHES + some[i] * TEST, TEST, 1e-4f, 1e-5f);
    free(again);
    tr_method_patchcore.destroy(loaded);
  }
  free(scores);
  tr_method_patchcore.destroy(model);
  tr_device_close(device);
  tr_device_close(cpu);
}

static tr_model *load_path(tr_device *device) {
  tr_model_file *file;
  tr_model *model;
  assert_ok(tr_model_file_open(path, &file));
  assert_ok(tr_method_patchcore.load(device, file, &model));
  tr_model_file_close(file);
  return model;
}

/* A file like the one in `path`, with an index, or without one (bytes 0); and with other rows, where there are some. */
static void write_with_index(tr_device *device, const char *search, size_t rows, size_t d, const float *bank, const void *index,
                             size_t bytes) {
  tr_model_file *from;
  assert_ok(tr_model_file_open(path, &from));
  cJSON *settings = cJSON_Duplicate(tr_model_file_settings(from), true);
  cJSON_SetNumberHelper(cJSON_GetObjectItem(settings, "index_bytes"), (double)bytes);
  cJSON_SetNumberHelper(cJSON_GetObjectItem(settings, "nprobe"), bytes ? 8 : 0);
  cJSON_ReplaceItemInObject(settings, "search", cJSON_CreateString(search));
  tr_model_array arrays[] = {{"rows", TR_ARRAY_F4, 2, {rows, d}, NULL, false},
                             {"order", TR_ARRAY_U4, 1, {rows}, NULL, false},
                             {"index", TR_ARRAY_U1, 1, {bytes}, index, false}};
  for (size_t i = 0; i < 2; ++i)
    assert_ok(tr_model_file_array(from, &arrays[i], &arrays[i].data));
  if (bank)
    arrays[0].data = bank;
  assert_ok(tr_model_file_write(
      path, device,
      &(tr_model_content){.method = "patchcore", .settings = settings, .arrays = arrays, .array_count = bytes ? 3 : 2}));
  cJSON_Delete(settings);
  tr_model_file_close(from);
}

/* A detector with an index of python faiss's (tests/golden/make_faiss.py): any build scores with it, one without FAISS, too. All of its lists are
 * looked at, which is exact search of its rows. */
static void test_an_index_in_a_file(void **state) {
  (void)state;
  enum { ROWS = 320, WIDTH = 16 };
  tr_device *device = test_device_open(2);
  const tr_variant variant = {GREEDY(43.9)};
  tr_method_options options = options_for(device, &variant, 1);
  options.aggregate.dimension = WIDTH;
  tr_model *model = fit_as(device, &options);
  assert_ok(tr_method_patchcore.save(model, 0, path, NULL));
  tr_method_patchcore.destroy(model);
  char *data, index_path[512];
  size_t bytes;
  snprintf(index_path, sizeof index_path, "%s/faiss_ivfflat.index", TR_GOLDEN_DIR);
  assert_ok(tr_file_read(index_path, &data, &bytes));
  float bank[ROWS * WIDTH];
  for (uint32_t i = 0; i < ROWS * WIDTH; ++i)
    bank[i] = featops_noise(1, i);
  write_with_index(device, "exact", ROWS, WIDTH, bank, NULL, 0);
  tr_model *exact = load_path(device);
  write_with_index(device, "faiss:IVF8,Flat", ROWS, WIDTH, NULL, data, bytes);
  model = load_path(device);
  assert_string_equal(info_of(model, 0).searched_by, TR_SEARCH_BY_OPERATOR);
  float *expected = score(device, exact, 1), *got = score(device, model, 1);
  golden_assert_close(got, expected, TEST * (PATCHES + 1), 1e-6f, 0);
  write_with_index(device, "faiss:IVF8,Flat", ROWS, WIDTH, NULL, data, bytes - 5);
  tr_model_file *file;
  tr_model *none;
  assert_ok(tr_model_file_open(path, &file));
  leaks_allowed_begin(); /* FAISS forgets what it has read */
  assert_refused(tr_method_patchcore.load(device, file, &none), TR_EFORMAT, "cut short");
  leaks_allowed_end();
  tr_model_file_close(file);
  free(expected);
  free(got);
  free(data);
  tr_method_patchcore.destroy(model);
  tr_method_patchcore.destroy(exact);
  tr_device_close(device);
}

static void test_wrong_index_in_a_file(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  tr_model *model = fit(device, variants, COUNT), *loaded;
  static const struct {
    size_t rows;
    int d;
    size_t cut;
    const char *says;
  } wrong[] = {{100, D, 0, "found 100 of 12"}, {291, 4, 0, "found 291 of 4"}, {291, D, 5, "cut short"}};
  for (size_t i = 0; i < 3; ++i) {
    tr_model_file *file;
    tr_index *index;
    void *data;
    size_t bytes;
    float rows[291 * D];
    for (uint32_t j = 0; j < 291 * D; ++j)
      rows[j] = featops_noise(7, j);
    assert_ok(tr_index_build(device, rows, wrong[i].rows, wrong[i].d, "Flat", NULL, &index));
    assert_ok(tr_index_to_memory(index, &data, &bytes));
    tr_index_destroy(index);
    assert_ok(tr_method_patchcore.save(model, 1, path, NULL));
    write_with_index(device, "faiss:Flat", TRAIN * PATCHES * 40 / 100, D, NULL, data, bytes - wrong[i].cut);
    free(data);
    assert_ok(tr_model_file_open(path, &file));
    leaks_allowed_begin();
    assert_refused(tr_method_patchcore.load(device, file, &loaded), TR_EFORMAT, wrong[i].says);
    leaks_allowed_end();
    assert_null(loaded);
    tr_model_file_close(file);
  }
  tr_method_patchcore.destroy(model);
  tr_device_close(device);
}

/* Before anything is fitted. */
static void test_refused_searches(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  static const struct {
    const char *search, *says;
  } wrong[] = {{"faiss:Nonsense", "Nonsense"}, {"faiss:IVF512,Flat", "at least 512 bank rows"}, {"faiss:IVF8,PQ5", "PQ5"}};
  for (size_t i = 0; i < 3; ++i) {
    tr_variant variant = {GREEDY(40), .search = wrong[i].search};
    tr_method_options options = options_for(device, &variant, 1);
    tr_method_needs needs;
    tr_model *model;
    assert_refused(tr_method_patchcore.forecast(&options, 3, &needs), TR_EINVAL, wrong[i].says);
    assert_refused(tr_method_patchcore.create(&options, &model), TR_EINVAL, wrong[i].says);
    assert_null(model);
  }
  tr_device_close(device);
}

int main(void) {
  const struct CMUnitTest without[] = {cmocka_unit_test_setup_teardown(test_an_index_in_a_file, make_path, remove_path)};
  if (!tr_index_library())
    return run_on_devices("models with indexes", without, NULL, NULL);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_beside_exact),
                                     cmocka_unit_test(test_lanes_do_not_matter),
                                     cmocka_unit_test_setup_teardown(test_files, make_path, remove_path),
                                     cmocka_unit_test_setup_teardown(test_like_the_cpu, make_path, remove_path),
                                     cmocka_unit_test_setup_teardown(test_an_index_in_a_file, make_path, remove_path),
                                     cmocka_unit_test_setup_teardown(test_wrong_index_in_a_file, make_path, remove_path),
                                     cmocka_unit_test(test_refused_searches)};
  return run_on_devices("models with indexes", tests, NULL, NULL);
}
