/* A bank in host memory, searched in tiles, against the same bank on the device: the same bits. */
#include "host/base/rng.h"
#include "host/search/search.h"
#include "tests/kernels/devices.h"

#include <math.h>

typedef struct banks {
  tr_device *device;
  tr_bank *whole, *tiled;
  float *queries; /* device */
  size_t rows, queries_count;
  int d;
} banks;

/* `steps` 0: normal numbers; else whole numbers below it, so that equal distances are everywhere. */
static void fill(float *values, size_t count, uint64_t index, uint32_t steps) {
  tr_rng rng = tr_rng_make(21, TR_RNG_TEST, index);
  for (size_t i = 0; i < count; ++i)
    values[i] = steps ? (float)tr_rng_below(&rng, steps) : tr_rng_normal(&rng);
}

static tr_bank *tiled_bank(tr_device *device, const float *rows, size_t count, int d, size_t tile_rows) {
  void *pinned;
  tr_bank *bank;
  size_t bytes = count * (size_t)d * sizeof(float);
  assert_int_equal(tr_device_alloc_pinned(device, bytes, &pinned), TR_OK);
  memcpy(pinned, rows, bytes);
  if (tr_bank_create_in_host(device, pinned, count, d, tile_rows, &bank) != TR_OK)
    fail_msg("%s", tr_last_error());
  return bank;
}

static banks banks_make(size_t queries_count, size_t rows, int d, size_t tile_rows, uint32_t steps) {
  banks b = {.device = test_device_open(2), .rows = rows, .queries_count = queries_count, .d = d};
  size_t count = rows * (size_t)d, queries = queries_count * (size_t)d;
  float *host = malloc((count + queries) * sizeof *host);
  assert_non_null(host);
  fill(host, count, 1, steps);
  fill(host + count, queries, 2, steps);
  assert_int_equal(tr_bank_create(b.device, device_copy_of(b.device, host, count * sizeof *host), rows, d, &b.whole), TR_OK);
  b.tiled = tiled_bank(b.device, host, rows, d, tile_rows);
  b.queries = device_copy_of(b.device, host + count, queries * sizeof *host);
  free(host);
  return b;
}

static void banks_free(banks *b) {
  tr_bank_destroy(b->whole);
  tr_bank_destroy(b->tiled);
  tr_device_free(b->device, b->queries);
  assert_int_equal(tr_device_bytes(b->device), 0);
  tr_device_close(b->device);
}

typedef struct answer {
  float *distances;
  uint32_t *indices;
  size_t count;
} answer;

/* Of the first `use_rows` rows; or of blocks. */
static answer search(const banks *b, const tr_bank *bank, size_t use_rows, int k, const uint32_t *blocks, size_t block_count,
                     size_t block_rows) {
  answer a = {.count = b->queries_count * (size_t)k};
  float *distances = device_array(b->device, a.count * sizeof *distances);
  uint32_t *indices = device_array(b->device, a.count * sizeof *indices);
  void *scratch = device_array(b->device, tr_bank_search_scratch(bank, b->queries_count, 7, use_rows, k));
  tr_status status = blocks ? tr_bank_search_blocks(bank, blocks, block_count, block_rows, b->queries, b->queries_count, 7, k,
                                                    distances, indices, scratch)
                            : tr_bank_search(bank, use_rows, b->queries, b->queries_count, 7, k, distances, indices, scratch);
  if (status != TR_OK)
    fail_msg("%s", tr_last_error());
  a.distances = malloc(a.count * sizeof *a.distances);
  a.indices = malloc(a.count * sizeof *a.indices);
  assert_true(a.distances && a.indices);
  device_read(b->device, a.distances, distances, a.count * sizeof *distances);
  device_read(b->device, a.indices, indices, a.count * sizeof *indices);
  tr_device_free(b->device, distances);
  tr_device_free(b->device, indices);
  tr_device_free(b->device, scratch);
  return a;
}

static void assert_same_search(const banks *b, size_t use_rows, int k, const uint32_t *blocks, size_t block_count,
                               size_t block_rows) {
  answer whole = search(b, b->whole, use_rows, k, blocks, block_count, block_rows);
  answer tiled = search(b, b->tiled, use_rows, k, blocks, block_count, block_rows);
  assert_memory_equal(tiled.indices, whole.indices, whole.count * sizeof *whole.indices);
  assert_memory_equal(tiled.distances, whole.distances, whole.count * sizeof *whole.distances);
  free(whole.distances);
  free(whole.indices);
  free(tiled.distances);
  free(tiled.indices);
}

/* Tiles in whole and in part, an odd last one of one row; without sketches and, tiles of 512 rows being sketched, with them. */
static void check_search(size_t rows, int d, size_t tile_rows, uint32_t steps) {
  static const int neighbours[] = {1, 5, 64};
  banks b = banks_make(16, rows, d, tile_rows, steps);
  assert_int_equal(tr_bank_rows(b.tiled), rows);
  assert_true(tr_bank_is_in_host(b.tiled) && !tr_bank_is_in_host(b.whole));
  for (size_t i = 0; i < sizeof neighbours / sizeof *neighbours; ++i) {
    const size_t uses[] = {rows, rows - 1, tile_rows, tile_rows + 1, 64};
    const size_t count = neighbours[i] == 64 ? 1 : sizeof uses / sizeof *uses; /* 64 take their time */
    for (size_t u = 0; u < count; ++u)
      if (uses[u] >= (size_t)neighbours[i] && uses[u] <= rows)
        assert_same_search(&b, uses[u], neighbours[i], NULL, 0, 0);
  }
  banks_free(&b);
}

static void test_search(void **state) {
  (void)state;
  check_search(3 * 64 + 1, 7, 64, 0);
  check_search(5 * 101 - 3, 33, 101, 0);
  check_search(2 * 512 + 519, 68, 512, 0);
}

static void test_ties(void **state) {
  (void)state;
  check_search(3 * 64 + 1, 4, 64, 2);
  check_search(2 * 512 + 1, 65, 512, 2);
}

/* Blocks larger and smaller than tiles, and with fewer rows than neighbours. */
static void test_blocks(void **state) {
  (void)state;
  banks b = banks_make(17, 500, 12, 80, 3);
  assert_same_search(&b, 500, 4, (const uint32_t[]){1, 0}, 2, 200);
  assert_same_search(&b, 500, 1, (const uint32_t[]){9, 3, 4, 12}, 4, 40);
  assert_same_search(&b, 500, 7, (const uint32_t[]){166, 2, 80}, 3, 3);
  banks_free(&b);
}

/* Prefixes that end within tiles and at their ends. */
static void check_prefixes(const banks *b, int k, const size_t *prefixes, size_t count) {
  const tr_bank *const of[] = {b->whole, b->tiled};
  size_t found = count * b->queries_count * (size_t)k;
  float *distances[2];
  uint32_t *indices[2];
  for (int i = 0; i < 2; ++i) {
    float *device_distances = device_array(b->device, found * sizeof(float));
    uint32_t *device_indices = device_array(b->device, found * sizeof(uint32_t));
    void *scratch = device_array(b->device, tr_bank_search_scratch(of[i], b->queries_count, 7, prefixes[count - 1], k));
    if (tr_bank_search_prefixes(of[i], prefixes, count, b->queries, b->queries_count, 7, k, device_distances, device_indices,
                                scratch) != TR_OK)
      fail_msg("%s", tr_last_error());
    distances[i] = malloc(found * sizeof(float));
    indices[i] = malloc(found * sizeof(uint32_t));
    assert_true(distances[i] && indices[i]);
    device_read(b->device, distances[i], device_distances, found * sizeof(float));
    device_read(b->device, indices[i], device_indices, found * sizeof(uint32_t));
    tr_device_free(b->device, device_distances);
    tr_device_free(b->device, device_indices);
    tr_device_free(b->device, scratch);
  }
  assert_memory_equal(indices[1], indices[0], found * sizeof(uint32_t));
  assert_memory_equal(distances[1], distances[0], found * sizeof(float));
  for (int i = 0; i < 2; ++i) {
    free(distances[i]);
    free(indices[i]);
  }
}

static void test_prefixes(void **state) {
  (void)state;
  banks b = banks_make(17, 500, 12, 80, 3);
  check_prefixes(&b, 1, (const size_t[]){1, 2, 80, 81, 320, 499}, 6);
  check_prefixes(&b, 4, (const size_t[]){4, 7, 160, 500}, 4);
  float out[17];
  uint32_t rows[17];
  assert_int_equal(tr_bank_search_prefixes(b.tiled, (const size_t[]){501}, 1, b.queries, 17, 7, 1, out, rows, out), TR_EINVAL);
  assert_int_equal(tr_bank_search_prefixes(b.tiled, NULL, 0, b.queries, 17, 7, 1, out, rows, out), TR_EINVAL);
  banks_free(&b);
}

/* ---- reweight ---- */

static void scores_of(const banks *b, const tr_bank *bank, size_t use_rows, int images, int neighbours, const answer *nearest,
                      float *scores) {
  size_t queries = b->queries_count;
  int patches = (int)queries / images;
  tr_reweight_args args = {.n = images,
                           .patches = patches,
                           .features = b->queries,
                           .distances = device_copy_of(b->device, nearest->distances, queries * sizeof(float)),
                           .indices = device_copy_of(b->device, nearest->indices, queries * sizeof(uint32_t)),
                           .bank_rows = use_rows,
                           .b = neighbours,
                           .scores = device_array(b->device, (size_t)images * sizeof *scores),
                           .scratch =
                               device_array(b->device, tr_bank_reweight_scratch(bank, images, patches, use_rows, neighbours))};
  if (tr_bank_reweight(bank, &args) != TR_OK)
    fail_msg("%s", tr_last_error());
  device_read(b->device, scores, args.scores, (size_t)images * sizeof *scores);
  tr_device_free(b->device, (void *)args.distances);
  tr_device_free(b->device, (void *)args.indices);
  tr_device_free(b->device, args.scores);
  tr_device_free(b->device, args.scratch);
}

static void check_reweight(size_t rows, int d, size_t use_rows, int images, int neighbours, uint32_t steps) {
  banks b = banks_make((size_t)images * 6, rows, d, 64, steps);
  answer nearest = search(&b, b.whole, use_rows, 1, NULL, 0, 0);
  float whole[8], tiled[8];
  scores_of(&b, b.whole, use_rows, images, neighbours, &nearest, whole);
  scores_of(&b, b.tiled, use_rows, images, neighbours, &nearest, tiled);
  assert_memory_equal(tiled, whole, (size_t)images * sizeof *whole);
  assert_true(whole[0] > 0);
  free(nearest.distances);
  free(nearest.indices);
  banks_free(&b);
}

static void test_reweight(void **state) {
  (void)state;
  check_reweight(257, 19, 257, 5, 9, 0);
  check_reweight(257, 19, 130, 1, 2, 0);
  check_reweight(200, 5, 199, 8, 64, 3); /* equal distances and equal rows */
}

/* ---- errors ---- */

static void test_bad_arguments(void **state) {
  (void)state;
  banks b = banks_make(4, 200, 3, 64, 0);
  float distances[4];
  uint32_t indices[4];
  void *pinned;
  tr_bank *bank;
  assert_int_equal(tr_device_alloc_pinned(b.device, 100, &pinned), TR_OK);
  assert_int_equal(tr_bank_create_in_host(b.device, pinned, 5, 5, 63, &bank), TR_EINVAL); /* and frees the rows */
  assert_null(bank);
  assert_non_null(strstr(tr_last_error(), "tiles of 64"));
  assert_int_equal(tr_bank_search(b.tiled, 201, b.queries, 4, 1, 1, distances, indices, distances), TR_EINVAL);
  assert_int_equal(tr_bank_search(b.tiled, 3, b.queries, 4, 1, 4, distances, indices, distances), TR_EINVAL);
  assert_int_equal(
      tr_bank_search_blocks(b.tiled, (const uint32_t[]){4}, 1, 50, b.queries, 4, 1, 1, distances, indices, distances), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "there is no block 4"));
  assert_int_equal(tr_bank_reweight(b.tiled, &(tr_reweight_args){.n = 1, .patches = 4, .bank_rows = 201, .b = 2}), TR_EINVAL);
  assert_int_equal(tr_bank_reweight(b.tiled, &(tr_reweight_args){.n = 1, .patches = 4, .bank_rows = 200, .b = 1}), TR_EINVAL);
  answer nearest = search(&b, b.tiled, 200, 1, NULL, 0, 0);
  for (size_t i = 0; i < 4; ++i)
    nearest.indices[i] = 200;
  tr_reweight_args args = {.n = 1,
                           .patches = 4,
                           .features = b.queries,
                           .distances = device_copy_of(b.device, nearest.distances, 4 * sizeof(float)),
                           .indices = device_copy_of(b.device, nearest.indices, 4 * sizeof(uint32_t)),
                           .bank_rows = 200,
                           .b = 2,
                           .scores = device_array(b.device, sizeof(float)),
                           .scratch = device_array(b.device, tr_bank_reweight_scratch(b.tiled, 1, 4, 200, 2))};
  assert_int_equal(tr_bank_reweight(b.tiled, &args), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "expected a row of a bank of 200, found 200"));
  tr_device_free(b.device, (void *)args.distances);
  tr_device_free(b.device, (void *)args.indices);
  tr_device_free(b.device, args.scores);
  tr_device_free(b.device, args.scratch);
  free(nearest.distances);
  free(nearest.indices);
  banks_free(&b);
}

/* A row that is not finite is named by its place in the whole bank. */
static void test_broken_row(void **state) {
  (void)state;
  enum { ROWS = 150, D = 2, BROKEN = 131 };
  float rows[ROWS * D];
  fill(rows, ROWS * D, 3, 0);
  rows[BROKEN * D] = INFINITY;
  banks b = banks_make(3, 100, D, 64, 0);
  tr_bank *bank = tiled_bank(b.device, rows, ROWS, D, 64);
  float *distances = device_array(b.device, 3 * sizeof *distances);
  uint32_t *indices = device_array(b.device, 3 * sizeof *indices);
  void *scratch = device_array(b.device, tr_bank_search_scratch(bank, 3, 1, ROWS, 1));
  assert_int_equal(tr_bank_search(bank, ROWS, b.queries, 3, 1, 1, distances, indices, scratch), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "bank row 131: expected finite features"));
  tr_bank_destroy(bank);
  tr_device_free(b.device, distances);
  tr_device_free(b.device, indices);
  tr_device_free(b.device, scratch);
  banks_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_search),     cmocka_unit_test(test_ties),     cmocka_unit_test(test_blocks),
      cmocka_unit_test(test_prefixes),   cmocka_unit_test(test_reweight), cmocka_unit_test(test_bad_arguments),
      cmocka_unit_test(test_broken_row),
  };
  return run_on_devices("tiles", tests, NULL, NULL);
}
