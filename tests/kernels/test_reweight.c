/* reweight against Eq. 7 in double over all pairs (tests/golden/make_featops.py). */
#include "kernels/reweight.h"

#include "tests/golden/featops.h"

#include <math.h>

enum { COLUMNS = 6 };

static float *noise(uint32_t stream, size_t count, float scale) {
  float *values = featops_array(count);
  for (size_t i = 0; i < count; ++i)
    values[i] = featops_noise(stream, (uint32_t)i) * scale;
  return values;
}

/* The nearest bank row of every patch, as `nearest` would say. */
static void search(tr_reweight_args *args, float *distances, uint32_t *indices) {
  for (int i = 0; i < args->n * args->patches; ++i) {
    double best = INFINITY;
    for (size_t row = 0; row < args->bank_rows; ++row) {
      double sum = 0;
      for (int k = 0; k < args->d; ++k) {
        double difference = (double)args->features[i * args->d + k] - (double)args->bank[row * (size_t)args->d + (size_t)k];
        sum += difference * difference;
      }
      if (sum < best) {
        best = sum;
        indices[i] = (uint32_t)row;
      }
    }
    distances[i] = (float)best;
  }
  args->distances = distances;
  args->indices = indices;
}

/* All arrays are the host's; the norms and the scratch come when it runs. */
static tr_reweight_args make_case(const double *row, uint32_t number) {
  tr_reweight_args args = {
      .n = (int)row[0], .patches = (int)row[1], .bank_rows = (size_t)row[2], .d = (int)row[3], .b = (int)row[4]};
  size_t queries = (size_t)args.n * (size_t)args.patches, d = (size_t)args.d;
  args.bank = noise(3000 + 2 * number, args.bank_rows * d, (float)row[5]);
  args.features = noise(3001 + 2 * number, queries * d, (float)row[5]);
  uint32_t *indices = malloc(queries * sizeof *indices);
  assert_non_null(indices);
  search(&args, featops_array(queries), indices);
  args.scores = featops_array((size_t)args.n);
  return args;
}

static void free_case(const tr_reweight_args *args) {
  const void *all[] = {args->bank, args->features, args->distances, args->indices, args->scores};
  for (size_t i = 0; i < sizeof all / sizeof *all; ++i)
    free((void *)all[i]);
}

/* The same with arrays of the device, norms and scratch included. */
static tr_reweight_args to_device(tr_device *device, const tr_reweight_args *given) {
  tr_reweight_args args = *given;
  size_t queries = (size_t)args.n * (size_t)args.patches, row = (size_t)args.d * sizeof(float);
  float *norms = device_array(device, args.bank_rows * sizeof *norms);
  args.bank = device_copy_of(device, args.bank, args.bank_rows * row);
  args.features = device_copy_of(device, args.features, queries * row);
  args.distances = device_copy_of(device, args.distances, queries * sizeof *args.distances);
  args.indices = device_copy_of(device, args.indices, queries * sizeof *args.indices);
  assert_int_equal(tr_squared_norms(device, args.bank, args.bank_rows, args.d, norms), TR_OK);
  args.bank_norms = norms;
  args.scores = device_array(device, (size_t)args.n * sizeof(float));
  args.scratch = device_array(device, tr_reweight_scratch(device, args.n, args.patches, args.bank_rows, args.d, args.b));
  return args;
}

static void free_on_device(tr_device *device, const tr_reweight_args *args) {
  const void *all[] = {args->bank, args->bank_norms, args->features, args->distances, args->indices, args->scores, args->scratch};
  for (size_t i = 0; i < sizeof all / sizeof *all; ++i)
    tr_device_free(device, (void *)all[i]);
}

/* `given` with arrays of the host; its scores are written. */
static void run_on(tr_device *device, const tr_reweight_args *given) {
  tr_reweight_args args = to_device(device, given);
  assert_int_equal(tr_reweight(device, &args), TR_OK);
  device_read(device, given->scores, args.scores, (size_t)args.n * sizeof(float));
  free_on_device(device, &args);
}

/* Distances have the same bits; exp may differ in a double's last place, which may turn the rounding to float. */
static void assert_twins_agree(const tr_reweight_args *args) {
  if (strcmp(test_device, "cpu") == 0)
    return;
  tr_device *cpu = featops_cpu(1);
  tr_reweight_args again = *args;
  again.scores = featops_array((size_t)args->n);
  run_on(cpu, &again);
  golden_assert_close(args->scores, again.scores, (size_t)args->n, 1.2e-7f, 0);
  free(again.scores);
  tr_device_close(cpu);
}

static void test_against_equation_7(void **state) {
  (void)state;
  golden_array cases = golden_read("featops_reweight_cases.npy"), scores = golden_read("featops_reweight_scores.npy");
  tr_device *device = test_device_open(2);
  size_t checked = 0;
  for (size_t i = 0; i < cases.shape[0]; ++i) {
    tr_reweight_args args = make_case((const double *)cases.data + COLUMNS * i, (uint32_t)i);
    run_on(device, &args);
    for (int image = 0; image < args.n; ++image, ++checked) {
      double expected = ((const double *)scores.data)[checked];
      if (!(fabs(args.scores[image] - expected) <= 1e-6 * expected))
        fail_msg("case %zu, image %d: got %.9g, expected %.9g", i, image, (double)args.scores[image], expected);
    }
    assert_twins_agree(&args);
    free_case(&args);
  }
  assert_int_equal(checked, scores.count);
  tr_device_close(device);
  golden_free(&cases);
  golden_free(&scores);
}

/* By hand: bank 0, 3, 10 on a line, patch at -1. m* = 0, N_2 = {0, 3}, distances 1 and 4. The lowest patch wins a tie. */
static void test_by_hand(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  const float bank[] = {0, 3, 10}, features[] = {0, -1, 4}, distances[] = {0, 1, 1};
  const uint32_t indices[] = {0, 0, 1};
  float score;
  run_on(device, &(tr_reweight_args){.n = 1,
                                     .patches = 3,
                                     .features = features,
                                     .distances = distances,
                                     .indices = indices,
                                     .bank_rows = 3,
                                     .bank = bank,
                                     .d = 1,
                                     .b = 2,
                                     .scores = &score});
  assert_true(fabs(score - (1 - exp(1) / (exp(1) + exp(4)))) < 1e-6);
  tr_device_close(device);
}

static void test_same_bits(void **state) {
  (void)state;
  enum { N = 17, PATCHES = 12, D = 24 };
  const double row[COLUMNS] = {N, PATCHES, 300, D, 9, 1};
  tr_device *device = test_device_open(1);
  tr_reweight_args args = make_case(row, 50);
  run_on(device, &args);
  assert_twins_agree(&args);
  for (int threads = 1; threads <= 4; threads *= 2) {
    tr_device *other = test_device_open(threads);
    tr_reweight_args again = args;
    float scores[N];
    again.scores = scores;
    run_on(other, &again);
    assert_memory_equal(scores, args.scores, sizeof scores);
    for (int i = 0; i < N; ++i) {
      tr_reweight_args one = again;
      one.n = 1;
      one.features += i * PATCHES * D;
      one.distances += i * PATCHES;
      one.indices += i * PATCHES;
      run_on(other, &one);
      assert_memory_equal(scores, args.scores + i, sizeof *scores);
    }
    tr_device_close(other);
  }
  free_case(&args);
  tr_device_close(device);
}

static void test_bad_arguments(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  const double row[COLUMNS] = {1, 4, 5, 3, 2, 1};
  tr_reweight_args on_host = make_case(row, 60), good = to_device(device, &on_host), args;
  const uint32_t not_in_bank[] = {5, 5, 5, 5};
  uint32_t *outside = device_copy_of(device, not_in_bank, sizeof not_in_bank);
#define REFUSED(change, named)                                 \
  do {                                                         \
    args = good;                                               \
    change;                                                    \
    featops_assert_invalid(tr_reweight(device, &args), named); \
  } while (0)
  REFUSED(args.n = -1, "reweight: n");
  REFUSED(args.patches = 0, "patches");
  REFUSED((args.n = 1 << 20, args.patches = 1 << 20), "n * patches");
  REFUSED(args.d = 0, "reweight: d");
  REFUSED(args.bank_rows = 0, "bank_rows");
  REFUSED(args.b = 1, "reweight: b");
  REFUSED(args.b = 6, "reweight: b");
  REFUSED((args.bank_rows = 1000, args.b = TR_NEAREST_MAX_K + 1), "reweight: b");
  REFUSED(args.features = NULL, "features");
  REFUSED(args.distances = NULL, "distances");
  REFUSED(args.indices = NULL, "indices");
  REFUSED(args.indices = outside, "indices[");
  REFUSED(args.bank = NULL, "bank is NULL");
  REFUSED(args.bank_norms = NULL, "bank_norms");
  REFUSED(args.scores = NULL, "scores");
  REFUSED(args.scratch = NULL, "scratch");
#undef REFUSED
  featops_assert_invalid(tr_reweight(NULL, &good), "device");
  featops_assert_invalid(tr_reweight(device, NULL), "args");
  assert_int_equal(tr_reweight_scratch(device, 1, 4, 5, 3, 1), 0);
  tr_device_free(device, outside);
  free_on_device(device, &good);
  free_case(&on_host);
  tr_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_equation_7),
      cmocka_unit_test(test_by_hand),
      cmocka_unit_test(test_same_bits),
      cmocka_unit_test(test_bad_arguments),
  };
  return run_on_devices("reweight", tests, NULL, NULL);
}
