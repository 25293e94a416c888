/* Indexes of FAISS: against exact search, against python faiss (fixtures: tests/golden/make_faiss.py), the same bits on any number of
 * threads, and what is refused. Skipped in a build without FAISS, but for what such a build says. */
#include "host/base/text.h"
#include "host/search/search.h"
#include "tests/golden/featops.h"
#include "tests/status.h"
#include "tests/unit/leaks.h"

#include <math.h>
#include <stdatomic.h>

enum { ROWS = 900, QUERIES = 430, GROUP = 215, D = 32, MAX_K = 4 };

typedef struct found {
  float distances[QUERIES * MAX_K];
  uint32_t indices[QUERIES * MAX_K];
} found;

/* Points in clusters, as patch features are. */
static void fill(float *rows, size_t count, size_t d, uint32_t stream) {
  for (size_t i = 0; i < count; ++i)
    for (size_t j = 0; j < d; ++j)
      rows[i * d + j] = 3 * featops_noise(1, (uint32_t)((i % 40) * d + j)) + featops_noise(stream, (uint32_t)(i * d + j));
}

static float *filled(tr_device *device, size_t count, size_t d, uint32_t stream) {
  float *host = featops_array(count * d);
  fill(host, count, d, stream);
  float *rows = device_copy_of(device, host, count * d * sizeof *host);
  free(host);
  return rows;
}

static tr_index *build(tr_device *device, const char *factory) {
  tr_bank *bank;
  assert_ok(tr_bank_create(device, filled(device, ROWS + 5, D, 2), ROWS + 5, D, &bank));
  tr_index *index;
  assert_refused(tr_bank_index(bank, ROWS + 6, factory, NULL, &index), TR_EINVAL, "906 rows of 905");
  assert_ok(tr_bank_index(bank, ROWS, factory, NULL, &index));
  tr_bank_destroy(bank);
  assert_int_equal(tr_index_rows(index), ROWS);
  assert_int_equal(tr_index_dimension(index), D);
  return index;
}

static void search_some(tr_device *device, tr_index *index, tr_effort effort, const float *queries, size_t count, int k,
                        found *out) {
  float *distances = device_array(device, sizeof out->distances);
  uint32_t *indices = device_array(device, sizeof out->indices);
  void *scratch = malloc(tr_index_search_scratch(index, GROUP, k) + 1);
  void *device_scratch = device_array(device, tr_index_device_scratch(index, effort, count, GROUP, k));
  assert_non_null(scratch);
  double waited;
  assert_ok(tr_index_search(index, effort, queries, count, GROUP, k, distances, indices, scratch, device_scratch, &waited));
  assert_true(waited >= 0 && waited < 1); /* nobody else searches */
  device_read(device, out->distances, distances, count * (size_t)k * sizeof(float));
  device_read(device, out->indices, indices, count * (size_t)k * sizeof(uint32_t));
  free(scratch);
  tr_device_free(device, device_scratch);
  tr_device_free(device, distances);
  tr_device_free(device, indices);
}

static void search_all(tr_device *device, tr_index *index, tr_effort effort, int k, found *out) {
  float *queries = filled(device, QUERIES, D, 3);
  search_some(device, index, effort, queries, QUERIES, k, out);
  tr_device_free(device, queries);
}

static void search_exact(tr_device *device, int k, found *out) {
  float *queries = filled(device, QUERIES, D, 3);
  tr_bank *bank;
  assert_ok(tr_bank_create(device, filled(device, ROWS, D, 2), ROWS, D, &bank));
  float *distances = device_array(device, sizeof out->distances);
  uint32_t *indices = device_array(device, sizeof out->indices);
  void *scratch = device_array(device, tr_bank_search_scratch(bank, QUERIES, GROUP, ROWS, k));
  assert_ok(tr_bank_search(bank, ROWS, queries, QUERIES, GROUP, k, distances, indices, scratch));
  device_read(device, out->distances, distances, QUERIES * (size_t)k * sizeof(float));
  device_read(device, out->indices, indices, QUERIES * (size_t)k * sizeof(uint32_t));
  void *const memory[] = {queries, distances, indices, scratch};
  for (size_t i = 0; i < 4; ++i)
    tr_device_free(device, memory[i]);
  tr_bank_destroy(bank);
}

static double recall(const found *a, const found *exact) {
  size_t hits = 0;
  for (size_t i = 0; i < QUERIES; ++i)
    hits += a->indices[i] == exact->indices[i];
  return (double)hits / QUERIES;
}

/* ---- against exact search ---- */

static void test_flat_is_exact(void **state) {
  (void)state;
  static found ours, exact;
  tr_device *device = test_device_open(1);
  tr_index *index = build(device, "Flat");
  search_all(device, index, (tr_effort){0}, MAX_K, &ours);
  search_exact(device, MAX_K, &exact);
  assert_memory_equal(ours.indices, exact.indices, sizeof exact.indices);
  /* FAISS's distances are |q|^2 + |b|^2 - 2 q.b in float: an error of a few roundings of |q|^2 + |b|^2 (about 700 here). */
  golden_assert_close(ours.distances, exact.distances, QUERIES * MAX_K, 1e-5f, 2e-3f);
  float rows[3 * D], expected[ROWS * D];
  assert_ok(tr_index_row_data(index, 7, 3, rows));
  fill(expected, ROWS, D, 2);
  assert_memory_equal(rows, expected + 7 * D, sizeof rows);
  assert_refused(tr_index_row_data(index, ROWS - 1, 2, rows), TR_EINVAL, "the index has 900");
  assert_refused(tr_index_search(index, (tr_effort){0}, rows, 1, 1, ROWS + 1, rows, NULL, rows, NULL, &(double){0}), TR_EINVAL,
                 "900 rows");
  tr_index_destroy(index);
  tr_device_close(device);
}

static void test_recall_grows_with_effort(void **state) {
  (void)state;
  static found one, four, all, exact;
  tr_device *device = test_device_open(1);
  search_exact(device, 1, &exact);
  tr_index *index = build(device, "IVF16,Flat");
  search_all(device, index, (tr_effort){.nprobe = 1}, 1, &one);
  search_all(device, index, (tr_effort){.nprobe = 4}, 1, &four);
  search_all(device, index, (tr_effort){.nprobe = 16}, 1, &all);
  assert_true(recall(&one, &exact) < 1 && recall(&one, &exact) > 0.3);
  assert_true(recall(&four, &exact) > recall(&one, &exact));
  assert_true(recall(&all, &exact) == 1);
  for (size_t i = 0; i < QUERIES; ++i)
    assert_true(one.distances[i] >= exact.distances[i] * (1 - 1e-5f) - 1e-3f);
  tr_index_destroy(index);
  index = build(device, "HNSW8");
  search_all(device, index, (tr_effort){.ef_search = 1}, 1, &one);
  search_all(device, index, (tr_effort){.ef_search = 256}, 1, &all);
  assert_true(recall(&one, &exact) < recall(&all, &exact) && recall(&all, &exact) > 0.99);
  tr_index_destroy(index);
  tr_device_close(device);
}

/* 4-bit codes of a list's residuals: distances are only near the exact ones, and near enough to say so. */
static void test_codes_approximate(void **state) {
  (void)state;
  static found coded, exact;
  tr_device *device = test_device_open(1);
  search_exact(device, 1, &exact);
  tr_index *index = build(device, "IVF16,PQ16x4np"), *whole = build(device, "IVF16,Flat");
  search_all(device, index, (tr_effort){.nprobe = 16}, 1, &coded);
  double error = 0;
  for (size_t i = 0; i < QUERIES; ++i)
    error += fabsf(coded.distances[i] - exact.distances[i]) / exact.distances[i] / QUERIES;
  assert_true(error > 1e-4 && error < 0.2);
  assert_true(tr_index_bytes(index) < tr_index_bytes(whole) / 2);
  tr_index_destroy(index);
  tr_index_destroy(whole);
  tr_device_close(device);
}

/* Two lists, so that one probe finds the rows of one of them at most, fewer than k. */
static void test_looks_further_for_few_rows(void **state) {
  (void)state;
  enum { FEW = 4, WIDTH = 2 };
  static const float host[FEW * WIDTH] = {0, 0, 0, 1, 50, 50, 50, 51};
  tr_device *device = test_device_open(1);
  float *rows = device_copy_of(device, host, sizeof host), distances[FEW];
  float *found_distances = device_array(device, sizeof distances);
  uint32_t indices[FEW], *found_indices = device_array(device, sizeof indices);
  tr_index *index;
  assert_ok(tr_index_build(device, host, FEW, WIDTH, "IVF2,Flat", NULL, &index));
  void *scratch = device_array(device, tr_index_device_scratch(index, (tr_effort){.nprobe = 1}, 1, 1, FEW));
  double waited;
  assert_ok(
      tr_index_search(index, (tr_effort){.nprobe = 1}, rows, 1, 1, FEW, found_distances, found_indices, NULL, scratch, &waited));
  device_read(device, distances, found_distances, sizeof distances);
  device_read(device, indices, found_indices, sizeof indices);
  for (uint32_t i = 0; i < FEW; ++i)
    assert_int_equal(indices[i], i);
  assert_true(distances[1] == 1 && distances[2] == 5000 && distances[3] == 5101);
  tr_device_free(device, scratch);
  tr_index_destroy(index);
  tr_device_free(device, found_distances);
  tr_device_free(device, found_indices);
  tr_device_free(device, rows);
  tr_device_close(device);
}

/* ---- the same bits ---- */

static const char *const factories[] = {"Flat",      "IVF16,Flat", "IVF16,PQ8x4np",    "IVF16,PQ4np",          "HNSW8",
                                        "IVF16,SQ8", "PQ8x4np",    "IVF16_HNSW8,Flat", "OPQ8_32,IVF16,PQ8x4np"};
enum { FACTORIES = sizeof factories / sizeof *factories, QUICK = FACTORIES - 1 /* the last takes a second to train */ };

static void test_threads_do_not_matter(void **state) {
  (void)state;
  static found one, three;
  for (size_t i = 0; i < FACTORIES; ++i) {
    tr_device *alone = test_device_open(1), *several = test_device_open(3);
    tr_index *a = build(alone, factories[i]), *b = build(several, factories[i]);
    void *data[2];
    size_t bytes[2];
    assert_ok(tr_index_to_memory(a, &data[0], &bytes[0]));
    assert_ok(tr_index_to_memory(b, &data[1], &bytes[1]));
    if (bytes[0] != bytes[1] || memcmp(data[0], data[1], bytes[0]) != 0)
      fail_msg("\"%s\" depends on the number of threads", factories[i]);
    assert_int_equal(bytes[0], tr_index_bytes(a));
    search_all(alone, a, (tr_effort){0}, 2, &one);
    search_all(several, b, (tr_effort){0}, 2, &three);
    assert_memory_equal(&one, &three, sizeof one);
    free(data[0]);
    free(data[1]);
    tr_index_destroy(a);
    tr_index_destroy(b);
    tr_device_close(alone);
    tr_device_close(several);
  }
}

static void test_batches_do_not_matter(void **state) {
  (void)state;
  static found whole, part;
  tr_device *device = test_device_open(1);
  float *queries = filled(device, QUERIES, D, 3);
  for (size_t i = 0; i < QUICK; ++i) {
    tr_index *index = build(device, factories[i]);
    search_some(device, index, (tr_effort){0}, queries, QUERIES, 1, &whole);
    for (size_t first = 0; first < QUERIES; first += GROUP) {
      search_some(device, index, (tr_effort){0}, queries + first * D, GROUP, 1, &part);
      assert_memory_equal(part.distances, whole.distances + first, GROUP * sizeof(float));
      assert_memory_equal(part.indices, whole.indices + first, GROUP * sizeof(uint32_t));
    }
    tr_index_destroy(index);
  }
  tr_device_free(device, queries);
  tr_device_close(device);
}

typedef struct mixed_job {
  tr_device *device;
  tr_index *index;
  const float *queries;
  const found *expected; /* [3], of 1, 4 and 16 lists */
  atomic_int wrong;
} mixed_job;

static tr_status search_mixed(void *context, size_t task) {
  mixed_job *job = context;
  found *result = calloc(1, sizeof *result);
  const int lists[] = {1, 4, 16};
  size_t which = task * 7 % 3;
  tr_effort effort = {.nprobe = lists[which]};
  void *scratch = malloc(tr_index_search_scratch(job->index, GROUP, 1) + 1), *device_scratch;
  tr_status status =
      tr_device_alloc(job->device, tr_index_device_scratch(job->index, effort, QUERIES, GROUP, 1), &device_scratch);
  double waited;
  if (status == TR_OK)
    status = result && scratch ? tr_index_search(job->index, effort, job->queries, QUERIES, GROUP, 1, result->distances,
                                                 result->indices, scratch, device_scratch, &waited)
                               : TR_ENOMEM;
  if (status == TR_OK && memcmp(result, &job->expected[which], sizeof *result) != 0)
    ++job->wrong;
  tr_device_free(job->device, device_scratch);
  free(scratch);
  free(result);
  return status;
}

/* Lanes that want different efforts of one index at once get what each wants. */
static void mix_efforts(const char *factory, const char *searcher) {
  static found expected[3];
  tr_device *device = featops_cpu(4);
  tr_index *index = build(device, factory);
  assert_string_equal(tr_index_searched_by(index), searcher);
  const int lists[] = {1, 4, 16};
  memset(expected, 0, sizeof expected);
  for (size_t i = 0; i < 3; ++i)
    search_all(device, index, (tr_effort){.nprobe = lists[i]}, 1, &expected[i]);
  mixed_job job = {.device = device, .index = index, .queries = filled(device, QUERIES, D, 3), .expected = expected};
  assert_ok(tr_pool_run(tr_device_pool(device), 60, search_mixed, &job));
  assert_int_equal(job.wrong, 0);
  tr_device_free(device, (void *)job.queries);
  tr_index_destroy(index);
  tr_device_close(device);
}

static void test_lanes_with_different_efforts(void **state) {
  (void)state;
  mix_efforts("IVF16,Flat", TR_SEARCH_BY_OPERATOR);
  mix_efforts("IVF16,SQ8", TR_SEARCH_BY_FAISS);
}

/* ---- what training says ---- */

typedef struct heard {
  char text[512];
  size_t lines;
} heard;

static void hear(tr_progress *self, const char *text) {
  heard *h = self->user;
  snprintf(h->text, sizeof h->text, "%s", text);
  ++h->lines;
}

/* One line of ours for each index, and nothing on stderr. */
static void test_few_rows_are_reported(void **state) {
  (void)state;
  static const char *const trained[] = {"IVF64,PQ4x4np", "PQ4np", "OPQ4_16,IVF16,PQ4x4np", "IVF16_HNSW8,SQ8", "IMI2x5,PQ4np"};
  char path[] = "/tmp/test_faiss_XXXXXX";
  int file = mkstemp(path), stderr_copy = dup(STDERR_FILENO);
  assert_true(file >= 0 && stderr_copy >= 0);
  tr_device *device = test_device_open(1);
  float *rows = featops_array(400 * D);
  fill(rows, 400, D, 2);
  tr_status statuses[5];
  heard all[5] = {{"", 0}};
  fflush(stderr);
  dup2(file, STDERR_FILENO);
  for (size_t i = 0; i < 5; ++i) {
    tr_progress progress = {.line = hear, .user = &all[i]};
    tr_index *index;
    statuses[i] = tr_index_build(device, rows, 400, D, trained[i], &progress, &index);
    tr_index_destroy(index);
  }
  fflush(stderr);
  dup2(stderr_copy, STDERR_FILENO);
  close(stderr_copy);
  close(file);
  char *said;
  size_t bytes;
  assert_ok(tr_file_read(path, &said, &bytes));
  unlink(path);
  assert_string_equal(said, "");
  free(said);
  for (size_t i = 0; i < 5; ++i) {
    assert_ok(statuses[i]);
    assert_int_equal(all[i].lines, 1);
    assert_non_null(strstr(all[i].text, trained[i]));
    assert_non_null(strstr(all[i].text, "400 bank rows; FAISS recommends at least"));
  }
  assert_non_null(strstr(all[0].text, "2496")); /* 39 * 64 */
  free(rows);
  tr_device_close(device);
}

static void test_wrong_factories(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  float *rows = featops_array(100 * D);
  fill(rows, 100, D, 2);
  tr_index *index;
  assert_refused(tr_index_check("IVF64,Nonsense", 1000, D), TR_EINVAL, "IVF64,Nonsense");
  assert_refused(tr_index_check("", 1000, D), TR_EINVAL, "for 32 dimensions");
  assert_refused(tr_index_check("IVF64,PQ7np", 1000, D), TR_EINVAL, "PQ7"); /* 32 is no multiple of 7 */
  assert_refused(tr_index_check("IVF512,Flat", 511, D), TR_EINVAL, "at least 512 bank rows");
  assert_refused(tr_index_check("PQ8", 255, D), TR_EINVAL, "at least 256 bank rows");
  assert_ok(tr_index_check("IVF512,PQ8np", 512, D));
  assert_refused(tr_index_build(device, rows, 100, D, "IVF512,Flat", NULL, &index), TR_EINVAL, "found 100");
  assert_null(index);
  assert_ok(tr_index_build(device, rows, 100, D, "Flat", NULL, &index));
  float distance, *query = device_copy_of(device, rows, D * sizeof *rows);
  void *scratch = malloc(tr_index_search_scratch(index, 1, 1));
  assert_refused(
      tr_index_search(index, (tr_effort){.nprobe = 4}, query, 1, 1, 1, &distance, &(uint32_t){0}, scratch, NULL, &(double){0}),
      TR_EINVAL, "nprobe of 4");
  tr_device_free(device, query);
  free(scratch);
  free(rows);
  tr_index_destroy(index);
  tr_device_close(device);
}

static void test_names(void **state) {
  (void)state;
  assert_null(tr_search_factory("exact"));
  assert_null(tr_search_factory(NULL));
  assert_string_equal(tr_search_factory("faiss:IVF512,PQ64np"), "IVF512,PQ64np");
  assert_true(tr_search_has_lists("faiss:IVF512,PQ64np") && !tr_search_has_graph("faiss:IVF512,PQ64np"));
  assert_true(tr_search_has_graph("faiss:HNSW32") && !tr_search_has_lists("faiss:HNSW32"));
  assert_true(!tr_search_has_lists("exact") && !tr_search_has_graph("faiss:Flat"));
  /* Forecasts are not below what there is. */
  tr_device *device = test_device_open(1);
  for (size_t i = 0; i < QUICK; ++i) {
    tr_index *index = build(device, factories[i]);
    assert_true(tr_index_bytes_expected(factories[i], ROWS, D) >= tr_index_bytes(index));
    tr_index_destroy(index);
  }
  tr_device_close(device);
}

/* What lists take on the device is forecast from the factory string, where the device searches them and only there; and so is scratch. */
static void test_device_bytes(void **state) {
  (void)state;
  static const char *const some[] = {"IVF16,Flat", "IVF16,PQ8np", "IVF8,PQ4x8", "IVF16,PQ16x4np", "IVF16,SQ8", "Flat"};
  enum { ON_DEVICE = 3, ROUNDING = 16 << 10 /* of blocks of memory */ };
  const tr_effort effort = {.nprobe = 3};
  tr_device *device = test_device_open(1);
  for (size_t i = 0; i < sizeof some / sizeof *some; ++i) {
    size_t before = tr_device_bytes(device), expected = tr_index_device_bytes_expected(device, some[i], ROWS, D);
    tr_index *index = build(device, some[i]);
    size_t taken = tr_device_bytes(device) - before;
    assert_true((strcmp(tr_index_searched_by(index), TR_SEARCH_BY_OPERATOR) == 0) == (i < ON_DEVICE));
    assert_true((expected > 0) == (i < ON_DEVICE));
    if (taken > expected + ROUNDING || taken + ROUNDING < expected)
      fail_msg("%s: %zu bytes of the device, expected %zu", some[i], taken, expected);
    assert_int_equal(tr_index_device_scratch(index, effort, QUERIES, GROUP, 1),
                     tr_index_device_scratch_expected(device, some[i], effort, ROWS, D, QUERIES, GROUP, 1));
    tr_index_destroy(index);
    assert_int_equal(tr_device_bytes(device), before);
  }
  tr_device_close(device);
}

/* ---- files ---- */

static char index_path[64];

static int make_path(void **state) {
  (void)state;
  snprintf(index_path, sizeof index_path, "/tmp/test_faiss_index_XXXXXX");
  int file = mkstemp(index_path);
  return file < 0 || close(file) != 0;
}

static int remove_path(void **state) {
  (void)state;
  return unlink(index_path);
}

static void test_round_trip(void **state) {
  (void)state;
  static found before, after;
  tr_device *device = test_device_open(1);
  for (size_t i = 0; i < QUICK; ++i) {
    tr_index *index = build(device, factories[i]), *read;
    assert_ok(tr_index_write(index, index_path));
    assert_ok(tr_index_read(device, index_path, &read));
    assert_int_equal(tr_index_bytes(read), tr_index_bytes(index));
    assert_int_equal(tr_index_rows(read), ROWS);
    search_all(device, index, (tr_effort){0}, 2, &before);
    search_all(device, read, (tr_effort){0}, 2, &after);
    assert_memory_equal(&before, &after, sizeof before);
    tr_index_destroy(index);
    tr_index_destroy(read);
  }
  tr_device_close(device);
}

static void test_damaged_files(void **state) {
  (void)state;
  leaks_allowed_begin();
  tr_device *device = test_device_open(1);
  tr_index *index;
  for (size_t i = 0; i < QUICK; ++i) {
    void *data;
    size_t bytes;
    index = build(device, factories[i]);
    assert_ok(tr_index_to_memory(index, &data, &bytes));
    tr_index_destroy(index);
    const size_t cuts[] = {1, 4, 20, bytes / 3, bytes / 2, bytes - 1};
    for (size_t c = 0; c < sizeof cuts / sizeof *cuts; ++c) {
      assert_ok(tr_file_write(index_path, data, cuts[c]));
      assert_refused(tr_index_read(device, index_path, &index), TR_EFORMAT, index_path);
      assert_null(index);
    }
    free(data);
  }
  assert_ok(tr_file_write(index_path, "", 0));
  assert_refused(tr_index_read(device, index_path, &index), TR_EFORMAT, "empty");
  assert_ok(tr_file_write(index_path, "this is no index at all, but long enough for one", 48));
  assert_refused(tr_index_read(device, index_path, &index), TR_EFORMAT, "does not read it");
  assert_refused(tr_index_read(device, "/nowhere/there.index", &index), TR_EIO, "/nowhere/there.index");
  assert_refused(tr_index_read(device, TR_GOLDEN_DIR "/faiss_untrained.index", &index), TR_EFORMAT, "trained");
  assert_refused(tr_index_read(device, TR_GOLDEN_DIR "/faiss_product.index", &index), TR_EFORMAT, "squared L2");
  tr_device_close(device);
  leaks_allowed_end();
}

/* What python faiss wrote, and found in it. */
static void test_python_files(void **state) {
  (void)state;
  enum { COUNT = 24, WIDTH = 16, NEIGHBOURS = 3 };
  static const char *const names[] = {"flat", "ivfflat", "ivfpq", "ivfpq8", "hnsw"};
  tr_device *device = test_device_open(1);
  float *host = featops_array(COUNT * WIDTH);
  for (uint32_t i = 0; i < COUNT * WIDTH; ++i)
    host[i] = featops_noise(2, i);
  float *queries = device_copy_of(device, host, COUNT * WIDTH * sizeof *host);
  free(host);
  for (size_t n = 0; n < 5; ++n) {
    static found got;
    char path[512], distances_name[64], labels_name[64];
    snprintf(path, sizeof path, "%s/faiss_%s.index", TR_GOLDEN_DIR, names[n]);
    snprintf(distances_name, sizeof distances_name, "faiss_%s_distances.npy", names[n]);
    snprintf(labels_name, sizeof labels_name, "faiss_%s_labels.npy", names[n]);
    tr_index *index;
    assert_ok(tr_index_read(device, path, &index));
    assert_int_equal(tr_index_rows(index), 320);
    assert_int_equal(tr_index_dimension(index), WIDTH);
    search_some(device, index, (tr_effort){0}, queries, COUNT, NEIGHBOURS, &got);
    golden_array distances = golden_read(distances_name), labels = golden_read(labels_name);
    golden_assert_close(got.distances, distances.data, COUNT * NEIGHBOURS, 1e-4f, 1e-4f);
    for (size_t i = 0; i < COUNT * NEIGHBOURS; ++i)
      assert_int_equal(got.indices[i], ((const int64_t *)labels.data)[i]);
    golden_free(&distances);
    golden_free(&labels);
    tr_index_destroy(index);
  }
  tr_device_free(device, queries);
  tr_device_close(device);
}

#ifdef TR_EMULATED
size_t emu_faiss_gpu_searches(void);

/* FAISS's GPU part searches what it has, with the effort asked for, and what neither it nor the device has is searched on the host. */
static void test_gpu_part(void **state) {
  (void)state;
  static found expected, got;
  static const struct {
    const char *factory;
    tr_effort effort;
    bool on_gpu;
  } some[] = {
      {"Flat", {0}, true}, {"IVF16,SQ8", {.nprobe = 2}, true}, {"IVF16,SQ8", {.nprobe = 16}, true}, {"HNSW8", {0}, false}};
  tr_device *device = test_device_open(2), *cpu = featops_cpu(2);
  assert_non_null(tr_index_gpu_library());
  for (size_t i = 0; i < sizeof some / sizeof *some; ++i) {
    tr_index *index = build(device, some[i].factory), *plain = build(cpu, some[i].factory);
    size_t before = emu_faiss_gpu_searches();
    search_all(device, index, some[i].effort, 2, &got);
    bool on_gpu = some[i].on_gpu && strcmp(tr_device_name(device), "cpu") != 0;
    assert_true((emu_faiss_gpu_searches() > before) == on_gpu);
    assert_string_equal(tr_index_searched_by(index), on_gpu ? TR_SEARCH_BY_FAISS_GPU : TR_SEARCH_BY_FAISS);
    search_all(cpu, plain, some[i].effort, 2, &expected);
    assert_memory_equal(&got, &expected, sizeof got);
    tr_index_destroy(index);
    tr_index_destroy(plain);
  }
  tr_device_close(device);
  tr_device_close(cpu);
}
#endif

static void test_says_what_is_missing(void **state) {
  (void)state;
  tr_index *index;
  assert_refused(tr_index_check("Flat", 10, 4), TR_EDEVICE, "libfaiss-dev");
  assert_refused(tr_index_build(NULL, NULL, 10, 4, "Flat", NULL, &index), TR_EDEVICE, "libfaiss-dev");
  assert_null(index);
}

int main(void) {
  const struct CMUnitTest without[] = {cmocka_unit_test(test_says_what_is_missing)};
  if (!tr_index_library())
    return cmocka_run_group_tests(without, NULL, NULL);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_flat_is_exact),
                                     cmocka_unit_test(test_recall_grows_with_effort),
                                     cmocka_unit_test(test_codes_approximate),
                                     cmocka_unit_test(test_looks_further_for_few_rows),
                                     cmocka_unit_test(test_threads_do_not_matter),
                                     cmocka_unit_test(test_batches_do_not_matter),
                                     cmocka_unit_test(test_lanes_with_different_efforts),
                                     cmocka_unit_test(test_few_rows_are_reported),
                                     cmocka_unit_test(test_wrong_factories),
                                     cmocka_unit_test(test_names),
                                     cmocka_unit_test(test_device_bytes),
                                     cmocka_unit_test_setup_teardown(test_round_trip, make_path, remove_path),
                                     cmocka_unit_test_setup_teardown(test_damaged_files, make_path, remove_path),
#ifdef TR_EMULATED
                                     cmocka_unit_test(test_gpu_part),
#endif
                                     cmocka_unit_test(test_python_files)};
  return run_on_devices("faiss", tests, NULL, NULL);
}
