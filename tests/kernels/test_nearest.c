/* nearest against NumPy (search_nearest_*) and against a brute force in double, with sketches and without; a GPU's results are
 * the cpu's bits. And the bank.
 */
#include "host/base/rng.h"
#include "host/base/status.h"
#include "host/search/search.h"
#include "tests/kernels/devices.h"

#include <math.h>

typedef struct problem {
  size_t queries_count, bank_rows;
  int d, k;
  const float *queries, *bank;
} problem;

typedef struct answer {
  float *distances;
  uint32_t *indices;
} answer;

static answer answer_make(const problem *p) {
  size_t count = p->queries_count * (size_t)p->k;
  answer a = {malloc(count * sizeof(float)), malloc(count * sizeof(uint32_t))};
  assert_true(a.distances && a.indices);
  memset(a.indices, 0xff, count * sizeof(uint32_t));
  return a;
}

static void answer_free(answer *a) {
  free(a->distances);
  free(a->indices);
}

static tr_bank *bank_of(tr_device *device, const problem *p) {
  tr_bank *bank;
  float *rows = device_copy_of(device, p->bank, p->bank_rows * (size_t)p->d * sizeof(float));
  assert_int_equal(tr_bank_create(device, rows, p->bank_rows, p->d, &bank), TR_OK);
  return bank;
}

/* The problem's queries, room for the answer, and scratch: on the device. */
typedef struct job {
  float *queries, *distances;
  uint32_t *indices;
  void *scratch;
} job;

static job job_make(tr_device *device, const problem *p, size_t scratch_bytes) {
  size_t count = p->queries_count * (size_t)p->k;
  return (job){device_copy_of(device, p->queries, p->queries_count * (size_t)p->d * sizeof(float)),
               device_array(device, count * sizeof(float)), device_array(device, count * sizeof(uint32_t)),
               device_array(device, scratch_bytes)};
}

static void job_finish(tr_device *device, job *j, const problem *p, answer *a) {
  size_t count = p->queries_count * (size_t)p->k;
  device_read(device, a->distances, j->distances, count * sizeof(float));
  device_read(device, a->indices, j->indices, count * sizeof(uint32_t));
  tr_device_free(device, j->queries);
  tr_device_free(device, j->distances);
  tr_device_free(device, j->indices);
  tr_device_free(device, j->scratch);
}

static void search_bank(tr_device *device, const tr_bank *bank, const problem *p, size_t use_rows, answer *a) {
  job j = job_make(device, p, tr_bank_search_scratch(bank, p->queries_count, p->queries_count, use_rows, p->k));
  if (tr_bank_search(bank, use_rows, j.queries, p->queries_count, p->queries_count, p->k, j.distances, j.indices, j.scratch) !=
      TR_OK)
    fail_msg("%s", tr_last_error());
  job_finish(device, &j, p, a);
}

static tr_nearest_args plain_args(const problem *p, const job *j, const tr_bank *bank) {
  return (tr_nearest_args){.queries_count = p->queries_count,
                           .group = 7,
                           .queries = j->queries,
                           .bank_rows = p->bank_rows,
                           .bank = tr_bank_data(bank),
                           .bank_norms = tr_bank_norms(bank),
                           .d = p->d,
                           .k = p->k,
                           .distances = j->distances,
                           .indices = j->indices,
                           .scratch = j->scratch};
}

static void search_plainly(tr_device *device, const tr_bank *bank, const problem *p, answer *a) {
  job j = job_make(device, p, tr_nearest_scratch(device, p->queries_count, 7, p->bank_rows, p->d, p->k));
  tr_nearest_args args = plain_args(p, &j, bank);
  if (tr_nearest(device, &args) != TR_OK)
    fail_msg("%s", tr_last_error());
  job_finish(device, &j, p, a);
}

static double distance2(const float *a, const float *b, size_t d) {
  double sum = 0;
  for (size_t i = 0; i < d; ++i)
    sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
  return sum;
}

/* Insertion into a sorted list keeps the lower row first at a tie. */
static void brute_force(const problem *p, answer *a) {
  size_t k = (size_t)p->k, d = (size_t)p->d;
  for (size_t q = 0; q < p->queries_count; ++q) {
    double best[TR_NEAREST_MAX_K];
    uint32_t *rows = a->indices + q * k;
    size_t held = 0;
    for (size_t row = 0; row < p->bank_rows; ++row) {
      double found = distance2(p->queries + q * d, p->bank + row * d, d);
      if (held == k && found >= best[k - 1])
        continue;
      size_t place = held < k ? held++ : k - 1;
      for (; place > 0 && found < best[place - 1]; --place) {
        best[place] = best[place - 1];
        rows[place] = rows[place - 1];
      }
      best[place] = found;
      rows[place] = (uint32_t)row;
    }
    for (size_t i = 0; i < k; ++i)
      a->distances[q * k + i] = (float)best[i];
  }
}

/* Sums of d squares in another order may differ in the last bits of a double: a float in its last place. */
static void assert_same(const problem *p, const answer *got, const answer *expected) {
  for (size_t i = 0; i < p->queries_count * (size_t)p->k; ++i) {
    if (got->indices[i] != expected->indices[i])
      fail_msg("query %zu, neighbour %zu: row %u at %.9g, expected row %u at %.9g", i / (size_t)p->k, i % (size_t)p->k,
               got->indices[i], (double)got->distances[i], expected->indices[i], (double)expected->distances[i]);
    assert_true(fabsf(got->distances[i] - expected->distances[i]) <= 2e-7f * expected->distances[i]);
  }
}

static void assert_identical(const problem *p, const answer *a, const answer *b) {
  size_t count = p->queries_count * (size_t)p->k;
  assert_memory_equal(a->indices, b->indices, count * sizeof(uint32_t));
  assert_memory_equal(a->distances, b->distances, count * sizeof(float));
}

static bool on_cpu(void) {
  return strcmp(test_device, "cpu") == 0;
}

/* Any number of threads, with the bank's sketch and without, on any device: the same bits. */
static void check_against(const problem *p, const answer *expected) {
  static const struct {
    const char *device; /* NULL: the one under test */
    int threads;
  } runs[] = {{"cpu", 1}, {"cpu", 2}, {"cpu", 4}, {NULL, 1}};
  answer first = answer_make(p), again = answer_make(p);
  for (size_t r = 0; r < sizeof runs / sizeof *runs; ++r) {
    if (on_cpu() ? !runs[r].device : runs[r].threads > 1)
      continue;
    tr_device *device;
    assert_int_equal(tr_device_open(runs[r].device ? runs[r].device : test_device, runs[r].threads, &device), TR_OK);
    tr_bank *bank = bank_of(device, p);
    answer *a = r == 0 ? &first : &again;
    search_bank(device, bank, p, p->bank_rows, a);
    assert_same(p, a, expected);
    assert_identical(p, a, &first);
    search_plainly(device, bank, p, &again);
    assert_identical(p, &again, &first);
    tr_bank_destroy(bank);
    tr_device_close(device);
  }
  answer_free(&first);
  answer_free(&again);
}

static bool emulated(void) {
#ifdef TR_EMULATED
  return !on_cpu();
#else
  return false;
#endif
}

/* Fewer queries where the GPU is emulated, at a thousandth of the speed. */
static size_t affordable(size_t queries_count, int k) {
  return !emulated() || k == 1 || queries_count < 20 ? queries_count : 20;
}

static void check_against_brute_force(const problem *p) {
  answer expected = answer_make(p);
  brute_force(p, &expected);
  check_against(p, &expected);
  answer_free(&expected);
}

/* ---- data ---- */

/* Rows near a subspace of `rank` directions, as deep features lie, `noise` off it, around `offset`; every 97th far off. */
static float *rows_near_subspace(uint64_t index, size_t n, size_t d, size_t rank, float noise, float offset) {
  float *rows = malloc(n * d * sizeof *rows), *basis = malloc(rank * d * sizeof *basis);
  assert_true(rows && basis);
  tr_rng rng = tr_rng_make(11, TR_RNG_TEST, 0);
  for (size_t i = 0; i < rank * d; ++i)
    basis[i] = tr_rng_normal(&rng) / sqrtf((float)d);
  for (size_t i = 0; i < n; ++i) {
    rng = tr_rng_make(12 + index, TR_RNG_TEST, i);
    float *row = rows + i * d, scale = i % 97 == 96 ? 10 * noise : noise;
    for (size_t j = 0; j < d; ++j)
      row[j] = offset + scale * tr_rng_normal(&rng) / sqrtf((float)d);
    for (size_t r = 0; r < rank; ++r) {
      float part = 5 * tr_rng_normal(&rng);
      for (size_t j = 0; j < d; ++j)
        row[j] += part * basis[r * d + j];
    }
  }
  free(basis);
  return rows;
}

static void check_subspace(size_t queries_count, size_t bank_rows, int d, int k, size_t rank, float noise, float offset) {
  queries_count = affordable(queries_count, k);
  float *queries = rows_near_subspace(1, queries_count, (size_t)d, rank, noise, offset);
  float *bank = rows_near_subspace(2, bank_rows, (size_t)d, rank, noise, offset);
  memcpy(queries, bank + (bank_rows - 1) * (size_t)d, (size_t)d * sizeof(float)); /* at distance 0 */
  check_against_brute_force(&(problem){queries_count, bank_rows, d, k, queries, bank});
  free(queries);
  free(bank);
}

/* ---- tests ---- */

static void test_golden(void **state) {
  (void)state;
  golden_array cases = golden_read("search_nearest_cases.npy"), floats = golden_read("search_nearest_floats.npy"),
               ints = golden_read("search_nearest_ints.npy");
  float *f = floats.data;
  uint32_t *u = ints.data;
  for (size_t c = 0; c < cases.shape[0]; ++c) {
    const int32_t *size = (const int32_t *)cases.data + 4 * c;
    size_t n = (size_t)size[0], rows = (size_t)size[1], d = (size_t)size[2], k = (size_t)size[3];
    problem p = {n, rows, size[2], size[3], f, f + n * d};
    answer expected = {f + (n + rows) * d, u};
    check_against(&p, &expected);
    f += (n + rows) * d + n * k;
    u += n * k;
  }
  assert_int_equal(f - (float *)floats.data, floats.count);
  golden_free(&cases);
  golden_free(&floats);
  golden_free(&ints);
}

static void test_without_sketch(void **state) {
  (void)state;
  check_subspace(230, 1500, 70, 1, 9, 1.0f, 0); /* several blocks of queries, several tiles of the bank */
  check_subspace(50, 300, 130, 64, 9, 1.0f, 2);
}

static void test_sketch(void **state) {
  (void)state;
  const int neighbours[] = {1, 3, 9, 64};
  for (int i = 0; i < 4; ++i)
    check_subspace(150, 1400, 300, neighbours[i], 20, 1.0f, 3);
  check_subspace(1, 700, 257, 1, 5, 0.1f, 0);
  check_subspace(120, 520, 256, 2, 3, 0.0f, 0); /* less than the sketch's rank: the rest is rounding */
}

/* No subspace fits, so that the sketch settles nothing. */
static void test_sketch_in_vain(void **state) {
  (void)state;
  check_subspace(130, 1100, 400, 4, 1, 30.0f, 0);
}

/* Far from the origin the rows' own products cancel nearly all digits; the sketch is centred. */
static void test_far_from_origin(void **state) {
  (void)state;
  check_subspace(60, 600, 260, 3, 10, 0.3f, 500);
}

/* Whole numbers: equal distances and equal rows everywhere, all exact. */
static void test_ties(void **state) {
  (void)state;
  enum { N = 60, ROWS = 900, D = 260 };
  float *queries = calloc(N * D, sizeof *queries), *bank = calloc(ROWS * D, sizeof *bank);
  assert_true(queries && bank);
  tr_rng rng = tr_rng_make(5, TR_RNG_TEST, 0);
  for (size_t i = 0; i < ROWS; ++i)
    for (size_t j = 0; j < 4; ++j)
      bank[i * D + j * 60] = (float)tr_rng_below(&rng, 3);
  for (size_t i = 0; i < N; ++i)
    for (size_t j = 0; j < 4; ++j)
      queries[i * D + j * 60] = (float)tr_rng_below(&rng, 3);
  check_against_brute_force(&(problem){affordable(N, 20), ROWS, D, 20, queries, bank});
  for (size_t i = 0; i < ROWS * D; ++i)
    bank[i] = 7; /* one point */
  check_against_brute_force(&(problem){affordable(N, 5), ROWS, D, 5, queries, bank});
  free(queries);
  free(bank);
}

/* `clusters` points, `spread` about each, in a unit of `unit`. */
static float *rows_clustered(uint64_t index, size_t n, size_t d, size_t clusters, float spread, float unit) {
  float *rows = malloc(n * d * sizeof *rows);
  assert_non_null(rows);
  for (size_t i = 0; i < n; ++i) {
    tr_rng rng = tr_rng_make(14 + index, TR_RNG_TEST, i);
    tr_rng centre = tr_rng_make(13, TR_RNG_TEST, tr_rng_below(&rng, clusters));
    for (size_t j = 0; j < d; ++j)
      rows[i * d + j] = unit * (tr_rng_normal(&centre) + spread * tr_rng_normal(&rng));
  }
  return rows;
}

/* Rows that differ by less than half precision shows, by a little more, and queries outside its range; in several units. */
static void test_half_precision(void **state) {
  (void)state;
  static const float spreads[] = {1e-5f, 1e-4f, 1e-2f}, units[] = {1, 1e-15f, 1e15f};
  enum { N = 30, ROWS = 700, D = 67 };
  for (int i = 0; i < 3; ++i) {
    float *queries = rows_clustered(1, N, D, 9, spreads[i], units[i]),
          *bank = rows_clustered(2, ROWS, D, 9, spreads[i], units[i]);
    for (size_t j = 0; j < 3 * D; ++j)
      queries[j] *= 1e3f;
    check_against_brute_force(&(problem){N, ROWS, D, 3, queries, bank});
    free(queries);
    free(bank);
  }
}

/* A pair of rows, r and -r: the bank's mean stays 0. */
static void put_pair(float *bank, size_t pair, size_t d, size_t j, float value) {
  bank[2 * pair * d + j] = value;
  bank[(2 * pair + 1) * d + j] = -value;
}

/* All roundings to half precision the wrong way: the query at 0 is nearer to rows at 0.51 units of the last place above 1,
 * which become 1, than to rows at 0.49 and, every fifth component, at 1.49, which become 0 and 1. */
static void test_adverse_rounding(void **state) {
  (void)state;
  enum { PAIRS = 300, D = 100 };
  float *bank = malloc(2 * PAIRS * D * sizeof *bank), query[D] = {0};
  assert_non_null(bank);
  for (size_t pair = 0; pair < PAIRS; ++pair) {
    tr_rng rng = tr_rng_make(15, TR_RNG_TEST, pair);
    for (size_t j = 0; j < D; ++j) {
      float ulps = pair == 0 ? (j % 5 == 0 ? 1.49f : 0.49f) : 0.51f;
      put_pair(bank, pair, D, j, pair < 2 ? 1 + 0x1p-10f * ulps : 2 * tr_rng_normal(&rng));
    }
  }
  check_against_brute_force(&(problem){1, 2 * PAIRS, D, 1, query, bank});
  free(bank);
}

/* More queries and rows than a device takes at once, against the cpu's single thread. */
static void test_large(void **state) {
  (void)state;
  size_t n = emulated() ? 250 : 4500, bank_rows = emulated() ? 1000 : 9000;
  float *queries = rows_near_subspace(1, n, 256, 20, 1, 1), *rows = rows_near_subspace(2, bank_rows, 256, 20, 1, 1);
  problem p = {n, bank_rows, 256, 3, queries, rows};
  answer answers[2] = {answer_make(&p), answer_make(&p)};
  const char *devices[2] = {"cpu", test_device};
  for (int i = 0; i < 2; ++i) {
    tr_device *device;
    assert_int_equal(tr_device_open(devices[i], i + 1, &device), TR_OK);
    tr_bank *bank = bank_of(device, &p);
    search_bank(device, bank, &p, bank_rows, &answers[i]);
    tr_bank_destroy(bank);
    tr_device_close(device);
  }
  assert_identical(&p, &answers[1], &answers[0]);
  answer_free(&answers[0]);
  answer_free(&answers[1]);
  free(queries);
  free(rows);
}

static void test_prefix(void **state) {
  (void)state;
  float *queries = rows_near_subspace(1, 40, 256, 10, 1, 0), *rows = rows_near_subspace(2, 1000, 256, 10, 1, 0);
  problem whole = {40, 1000, 256, 3, queries, rows};
  tr_device *device = test_device_open(2);
  tr_bank *bank = bank_of(device, &whole);
  assert_int_equal(tr_bank_rows(bank), 1000);
  assert_int_equal(tr_bank_dimension(bank), 256);
  float *held = malloc(1000 * 256 * sizeof *held);
  assert_non_null(held);
  device_read(device, held, tr_bank_data(bank), 1000 * 256 * sizeof *held);
  assert_memory_equal(held, rows, 1000 * 256 * sizeof *held);
  free(held);
  const size_t uses[] = {3, 31, 500, 999};
  for (int i = 0; i < 4; ++i) {
    problem part = whole;
    part.bank_rows = uses[i];
    answer got = answer_make(&part), expected = answer_make(&part);
    search_bank(device, bank, &part, uses[i], &got);
    brute_force(&part, &expected);
    assert_same(&part, &got, &expected);
    answer_free(&got);
    answer_free(&expected);
  }
  float distances[3];
  uint32_t indices[3];
  assert_int_equal(tr_bank_search(bank, 1001, queries, 1, 1, 3, distances, indices, distances), TR_EINVAL);
  tr_bank_destroy(bank);
  tr_device_close(device);
  free(queries);
  free(rows);
}

/* One pass over several prefixes: the bits of a search of each. */
static void check_prefixes(int d, int k, const size_t *prefixes, size_t prefix_count, float noise) {
  const size_t n = affordable(230, k), rows_count = prefixes[prefix_count - 1], answers = n * (size_t)k;
  float *queries = rows_near_subspace(1, n, (size_t)d, 12, noise, 1),
        *rows = rows_near_subspace(2, rows_count + 9, (size_t)d, 12, noise, 1);
  problem p = {n, rows_count + 9, d, k, queries, rows}, all = p;
  all.queries_count = n * prefix_count; /* room for all answers */
  tr_device *device = test_device_open(2);
  tr_bank *bank = bank_of(device, &p);
  answer got[2] = {answer_make(&all), answer_make(&all)}, expected = answer_make(&p);
  size_t scratch = tr_bank_search_scratch(bank, n, n, rows_count, k);
  job j = {device_copy_of(device, queries, n * (size_t)d * sizeof(float)),
           device_array(device, prefix_count * answers * sizeof(float)),
           device_array(device, prefix_count * answers * sizeof(uint32_t)), device_array(device, scratch)};
  assert_int_equal(tr_bank_search_prefixes(bank, prefixes, prefix_count, j.queries, n, n, k, j.distances, j.indices, j.scratch),
                   TR_OK);
  job_finish(device, &j, &all, &got[0]);
  j = (job){device_copy_of(device, queries, n * (size_t)d * sizeof(float)),
            device_array(device, prefix_count * answers * sizeof(float)),
            device_array(device, prefix_count * answers * sizeof(uint32_t)),
            device_array(device, tr_nearest_scratch(device, n, 7, rows_count, d, k))};
  tr_nearest_args args = plain_args(&p, &j, bank);
  args.bank_rows = rows_count;
  args.prefixes = prefixes;
  args.prefix_count = prefix_count;
  assert_int_equal(tr_nearest(device, &args), TR_OK);
  job_finish(device, &j, &all, &got[1]);
  assert_identical(&all, &got[1], &got[0]);
  for (size_t i = 0; i < prefix_count; ++i) {
    answer part = {got[0].distances + i * answers, got[0].indices + i * answers};
    search_bank(device, bank, &p, prefixes[i], &expected);
    assert_identical(&p, &part, &expected);
  }
  answer_free(&got[0]);
  answer_free(&got[1]);
  answer_free(&expected);
  tr_bank_destroy(bank);
  tr_device_close(device);
  free(queries);
  free(rows);
}

static void test_prefixes(void **state) {
  (void)state;
  const int dimensions[] = {90, 260, 600};
  for (int i = 0; i < (emulated() ? 1 : 3); ++i) {
    check_prefixes(dimensions[i], 1, (const size_t[]){1, 2, 17, 33, 600, 1100, 2500}, 7, 1);
    check_prefixes(dimensions[i], 1, (const size_t[]){47, 1300}, 2, 30);
    check_prefixes(dimensions[i], 9, (const size_t[]){9, 10, 64, 1050}, 4, 1);
    check_prefixes(dimensions[i], 3, (const size_t[]){700}, 1, 1);
  }
}

/* The rows that the blocks leave out lie where no query finds them; blocks are what is searched, in any order. */
static void check_blocks(int d, int k, size_t block_rows, const uint32_t *blocks, size_t block_count) {
  enum { ROWS = 2500 };
  const size_t n = affordable(130, k);
  float *queries = rows_near_subspace(1, n, (size_t)d, 12, 1, 1), *rows = rows_near_subspace(2, ROWS, (size_t)d, 12, 1, 1);
  problem p = {n, ROWS, d, k, queries, rows};
  tr_device *device = test_device_open(2);
  tr_bank *bank = bank_of(device, &p);
  answer sketched = answer_make(&p), plain = answer_make(&p), expected = answer_make(&p);
  job j = job_make(device, &p, tr_bank_search_scratch(bank, n, n, ROWS, k));
  assert_int_equal(
      tr_bank_search_blocks(bank, blocks, block_count, block_rows, j.queries, n, n, k, j.distances, j.indices, j.scratch), TR_OK);
  job_finish(device, &j, &p, &sketched);
  j = job_make(device, &p, tr_nearest_scratch(device, n, n, ROWS, d, k));
  tr_nearest_args args = plain_args(&p, &j, bank);
  args.blocks = blocks;
  args.block_count = block_count;
  args.block_rows = block_rows;
  assert_int_equal(tr_nearest(device, &args), TR_OK);
  job_finish(device, &j, &p, &plain);
  assert_identical(&p, &plain, &sketched);
  for (size_t row = 0; row < ROWS; ++row) {
    bool searched = false;
    for (size_t i = 0; i < block_count; ++i)
      searched = searched || row / block_rows == blocks[i];
    for (int i = 0; i < d && !searched; ++i)
      rows[row * (size_t)d + (size_t)i] = 1e6f;
  }
  brute_force(&p, &expected);
  assert_same(&p, &sketched, &expected);
  answer_free(&sketched);
  answer_free(&plain);
  answer_free(&expected);
  tr_bank_destroy(bank);
  tr_device_close(device);
  free(queries);
  free(rows);
}

static void test_blocks(void **state) {
  (void)state;
  const int dimensions[] = {90, 260, 600}; /* on the cpu: without a sketch, with a narrow and with a wide one */
  for (int i = 0; i < (emulated() ? 1 : 3); ++i) {
    check_blocks(dimensions[i], 1, 1200, (const uint32_t[]){2, 1}, 2); /* the last is short */
    check_blocks(dimensions[i], 9, 49, (const uint32_t[]){50, 3, 4, 17, 0}, 5);
    check_blocks(dimensions[i], 7, 3, (const uint32_t[]){700, 2, 833}, 3); /* a block has fewer than k */
    check_blocks(dimensions[i], 2, 2500, (const uint32_t[]){0}, 1);
  }
}

/* A query alone, and in whatever company: the same bits. */
static void test_query_alone(void **state) {
  (void)state;
  float *queries = rows_near_subspace(1, 300, 300, 15, 1, 1), *rows = rows_near_subspace(2, 800, 300, 15, 1, 1);
  problem p = {300, 800, 300, 2, queries, rows};
  tr_device *device = test_device_open(2);
  tr_bank *bank = bank_of(device, &p);
  answer all = answer_make(&p), one = answer_make(&p);
  search_bank(device, bank, &p, 800, &all);
  for (size_t i = 0; i < 300; i += emulated() ? 19 : 1) {
    problem alone = p;
    alone.queries_count = 1;
    alone.queries = queries + i * 300;
    search_bank(device, bank, &alone, 800, &one);
    assert_memory_equal(one.distances, all.distances + 2 * i, 2 * sizeof(float));
    assert_memory_equal(one.indices, all.indices + 2 * i, 2 * sizeof(uint32_t));
  }
  answer_free(&all);
  answer_free(&one);
  tr_bank_destroy(bank);
  tr_device_close(device);
  free(queries);
  free(rows);
}

typedef struct lanes_context {
  tr_device *device;
  const tr_bank *bank;
  const problem *p;
  answer *a;
} lanes_context;

static tr_status search_chunk(void *context, size_t first, size_t count, int lane) {
  (void)lane;
  const lanes_context *c = context;
  problem part = *c->p;
  part.queries_count = count * 40;
  part.queries = c->p->queries + first * 40 * (size_t)part.d;
  answer a = {c->a->distances + first * 40, c->a->indices + first * 40};
  search_bank(c->device, c->bank, &part, part.bank_rows, &a);
  return TR_OK;
}

static void test_from_lanes(void **state) {
  (void)state;
  float *queries = rows_near_subspace(1, 400, 256, 15, 1, 1), *rows = rows_near_subspace(2, 600, 256, 15, 1, 1);
  problem p = {400, 600, 256, 1, queries, rows};
  tr_device *device = test_device_open(4);
  tr_bank *bank = bank_of(device, &p);
  answer whole = answer_make(&p), pieces = answer_make(&p);
  search_bank(device, bank, &p, 600, &whole);
  lanes_context context = {device, bank, &p, &pieces};
  assert_int_equal(tr_device_for_chunks(device, 10, search_chunk, &context), TR_OK);
  assert_identical(&p, &whole, &pieces);
  answer_free(&whole);
  answer_free(&pieces);
  tr_bank_destroy(bank);
  tr_device_close(device);
  free(queries);
  free(rows);
}

static void test_wrong_sketch(void **state) {
  (void)state;
  enum { ROWS = 1200, SKETCHED = 600, D = 256 };
  float *host_rows = rows_near_subspace(2, ROWS, D, 15, 1, 1);
  tr_device *device = test_device_open(2);
  const problem p = {1, ROWS, D, 1, host_rows + (SKETCHED - 1) * D, host_rows};
  answer a = answer_make(&p);
  job j = job_make(device, &p, tr_nearest_scratch(device, 1, 1, ROWS, D, 1));
  float *rows = device_copy_of(device, host_rows, ROWS * D * sizeof *rows), *norms = device_array(device, ROWS * sizeof *norms);
  void *sketch = device_array(device, tr_nearest_sketch_bytes(device, SKETCHED, D));
  void *sketch_scratch = device_array(device, tr_nearest_sketch_scratch(device, SKETCHED, D));
  assert_int_equal(tr_nearest_sketch_bytes(device, ROWS, 8), 0); /* of no use */
  assert_int_equal(tr_nearest_sketch(device, NULL, SKETCHED, D, sketch, sketch_scratch), TR_EINVAL);
  assert_int_equal(tr_nearest_sketch(device, rows, SKETCHED, D, sketch, sketch_scratch), TR_OK);
  assert_int_equal(tr_squared_norms(device, rows, ROWS, D, norms), TR_OK);
  tr_nearest_args args = {.queries_count = 1,
                          .group = 1,
                          .queries = j.queries,
                          .bank_rows = SKETCHED,
                          .bank = rows,
                          .bank_norms = norms,
                          .sketch = sketch,
                          .d = D,
                          .k = 1,
                          .distances = j.distances,
                          .indices = j.indices,
                          .scratch = j.scratch};
  assert_int_equal(tr_nearest(device, &args), TR_OK);
  args.bank_rows = SKETCHED + 1; /* more rows than were sketched */
  assert_int_equal(tr_nearest(device, &args), TR_EINVAL);
  args.bank_rows = SKETCHED;
  args.d = D / 2;
  assert_int_equal(tr_nearest(device, &args), TR_EINVAL);
  job_finish(device, &j, &p, &a);
  assert_true(a.indices[0] == SKETCHED - 1 && a.distances[0] == 0);
  answer_free(&a);
  tr_device_free(device, sketch_scratch);
  tr_device_free(device, sketch);
  tr_device_free(device, norms);
  tr_device_free(device, rows);
  tr_device_close(device);
  free(host_rows);
}

static void check_norms(tr_device *device, const float *rows, float *norms) {
  float found[4];
  assert_int_equal(tr_squared_norms(device, rows, 4, 0, norms), TR_EINVAL);
  assert_int_equal(tr_squared_norms(device, NULL, 4, 2, norms), TR_EINVAL);
  assert_int_equal(tr_squared_norms(device, rows, 4, 2, NULL), TR_EINVAL);
  assert_int_equal(tr_squared_norms(device, rows, 4, 2, norms), TR_OK);
  device_read(device, found, norms, sizeof found);
  assert_true(found[0] == 1 && found[1] == 13 && found[2] == 41 && found[3] == 85);
}

static void test_bad_arguments(void **state) {
  (void)state;
  const float host_rows[8] = {0, 1, 2, 3, 4, 5, 6, 7}, infinite = INFINITY, finite = 41;
  tr_device *device = test_device_open(1);
  float *rows = device_copy_of(device, host_rows, sizeof host_rows), *norms = device_array(device, 4 * sizeof(float));
  check_norms(device, rows, norms);
  const problem p = {2, 4, 2, 2, host_rows, host_rows};
  answer a = answer_make(&p);
  job j = job_make(device, &p, tr_nearest_scratch(device, 2, 2, 4, 2, 2));
  tr_nearest_args good = {.queries_count = 2,
                          .group = 2,
                          .queries = j.queries,
                          .bank_rows = 4,
                          .bank = rows,
                          .bank_norms = norms,
                          .d = 2,
                          .k = 2,
                          .distances = j.distances,
                          .indices = j.indices,
                          .scratch = j.scratch};
  assert_int_equal(tr_nearest(device, &good), TR_OK);
#define REFUSED(change)                                    \
  do {                                                     \
    tr_nearest_args bad = good;                            \
    bad.change;                                            \
    assert_int_equal(tr_nearest(device, &bad), TR_EINVAL); \
  } while (0)
  REFUSED(k = 0);
  REFUSED(k = 5);
  REFUSED(k = TR_NEAREST_MAX_K + 1);
  REFUSED(d = 0);
  REFUSED(bank_rows = 0);
  REFUSED(group = 0);
  REFUSED(queries = NULL);
  REFUSED(bank = NULL);
  REFUSED(bank_norms = NULL);
  REFUSED(distances = NULL);
  REFUSED(indices = NULL);
  REFUSED(scratch = NULL);
  good.blocks = (const uint32_t[]){1};
  good.block_count = 1;
  good.block_rows = 2;
  assert_int_equal(tr_nearest(device, &good), TR_OK);
  uint32_t found[4];
  device_read(device, found, j.indices, sizeof found);
  assert_true(found[0] == 2 && found[1] == 3);
  REFUSED(block_rows = 0);
  REFUSED(block_rows = 5);
  REFUSED(block_rows = 3);  /* the block has one row, fewer than k */
  REFUSED(block_rows = 4);  /* there is one block */
  REFUSED(block_count = 0); /* no rows */
  good.prefixes = (const size_t[]){2, 4};
  good.prefix_count = 2;
  REFUSED(k = 2); /* blocks */
  good.blocks = NULL;
  REFUSED(prefix_count = 0);
  REFUSED(prefix_count = 1); /* ends at row 2 */
  REFUSED(prefixes = ((const size_t[]){1, 4}));
  REFUSED(prefixes = ((const size_t[]){4, 4}));
  REFUSED(first_row = 1);
  good.prefixes = NULL;
  assert_int_equal(tr_nearest(device, &good), TR_OK);
  assert_int_equal(tr_device_upload(device, norms + 2, &infinite, sizeof infinite), TR_OK);
  assert_int_equal(tr_nearest(device, &good), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "bank row 2: expected finite features, found |row|^2 = inf"));
  assert_int_equal(tr_device_upload(device, norms + 2, &finite, sizeof finite), TR_OK);
  float *broken = device_copy_of(device, (const float[]){0, 1, 2, NAN}, 4 * sizeof(float));
  REFUSED(queries = broken);
  assert_non_null(strstr(tr_last_error(), "query 1: expected finite features, found |query|^2 = "));
  good.queries_count = 0;
  assert_int_equal(tr_nearest(device, &good), TR_OK);
  job_finish(device, &j, &p, &a);
  assert_true(a.indices[0] == 0 && a.indices[1] == 1 && a.distances[0] == 0 && a.distances[1] == 8);
  answer_free(&a);
  tr_device_free(device, broken);
  tr_device_free(device, norms);
  tr_device_free(device, rows);
  tr_bank *bank;
  assert_int_equal(tr_bank_create(device, device_array(device, 64), 0, 4, &bank), TR_EINVAL); /* and frees its rows */
  assert_null(bank);
  assert_int_equal(tr_device_bytes(device), 0);
  tr_bank_destroy(NULL);
  tr_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_golden),         cmocka_unit_test(test_without_sketch),   cmocka_unit_test(test_sketch),
      cmocka_unit_test(test_sketch_in_vain), cmocka_unit_test(test_far_from_origin),  cmocka_unit_test(test_ties),
      cmocka_unit_test(test_half_precision), cmocka_unit_test(test_adverse_rounding), cmocka_unit_test(test_large),
      cmocka_unit_test(test_prefix),         cmocka_unit_test(test_prefixes),         cmocka_unit_test(test_blocks),
      cmocka_unit_test(test_query_alone),    cmocka_unit_test(test_from_lanes),       cmocka_unit_test(test_wrong_sketch),
      cmocka_unit_test(test_bad_arguments),
  };
  return run_on_devices("nearest", tests, NULL, NULL);
}
