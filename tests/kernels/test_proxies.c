/* proxies against PyTorch's autograd (tests/golden/make_proxies.py), the same bits for any number of threads, the twins against each
 * other, and that the loss falls on more of them than the fixtures hold. */
#include "host/base/rng.h"
#include "kernels/proxies.h"
#include "tests/golden/featops.h"
#include "tests/status.h"

#include <math.h>

static const double rates[] = {0.5, 1, 1.5, 0.5}; /* of the fixture's cases */

/* What tr_proxies takes, in host memory. */
typedef struct problem {
  size_t n, count, batch, steps;
  int d;
  double rate;
  const float *rows, *begin;
  const uint32_t *batches;
  bool in_host; /* rows stay there */
} problem;

static void learn(tr_device *device, const problem *p, float *proxies, double *losses) {
  size_t bytes = p->count * (size_t)p->d * sizeof *proxies;
  tr_proxies_args args = {.n = p->n,
                          .d = p->d,
                          .rows = p->in_host ? p->rows : device_copy_of(device, p->rows, p->n * (size_t)p->d * sizeof(float)),
                          .rows_in_host = p->in_host,
                          .count = p->count,
                          .proxies = device_copy_of(device, p->begin, bytes),
                          .steps = p->steps,
                          .batch = p->batch,
                          .batches = p->batches,
                          .rate = p->rate,
                          .losses = losses,
                          .scratch = device_array(device, tr_proxies_scratch(device, p->count, p->d, p->batch))};
  assert_ok(tr_proxies(device, &args));
  device_read(device, proxies, args.proxies, bytes);
  if (!p->in_host)
    tr_device_free(device, (void *)args.rows);
  tr_device_free(device, args.proxies);
  tr_device_free(device, args.scratch);
}

/* Products in float of up to 130 terms near 1; a distance is off by their rounding over itself. */
static void check_case(const problem *p, const float *expected, const float *expected_losses) {
  tr_device *device = test_device_open(2);
  size_t count = p->count * (size_t)p->d;
  float *proxies = featops_array(count);
  double losses[16];
  learn(device, p, proxies, losses);
  golden_assert_close(proxies, expected, count, 2e-5f, 2e-5f);
  for (size_t t = 0; t < p->steps; ++t)
    if (!(fabs(losses[t] - (double)expected_losses[t]) <= 1e-5 * (double)expected_losses[t]))
      fail_msg("loss of step %zu: got %.9g, expected %.9g", t, losses[t], (double)expected_losses[t]);
  free(proxies);
  tr_device_close(device);
}

static void test_golden(void **state) {
  (void)state;
  golden_array cases = golden_read("proxies_cases.npy"), floats = golden_read("proxies_floats.npy");
  golden_array rows = golden_read("proxies_rows.npy");
  const float *f = floats.data;
  const uint32_t *batches = rows.data;
  assert_int_equal(cases.shape[0], sizeof rates / sizeof *rates);
  for (size_t c = 0; c < cases.shape[0]; ++c) {
    const int32_t *size = (const int32_t *)cases.data + 5 * c;
    problem p = {.n = (size_t)size[0],
                 .d = size[1],
                 .count = (size_t)size[2],
                 .batch = (size_t)size[3],
                 .steps = (size_t)size[4],
                 .rate = rates[c],
                 .rows = f,
                 .batches = batches};
    p.begin = p.rows + p.n * (size_t)p.d;
    const float *expected = p.begin + p.count * (size_t)p.d, *losses = expected + p.count * (size_t)p.d;
    check_case(&p, expected, losses);
    f = losses + p.steps;
    batches += p.steps * p.batch;
  }
  assert_int_equal(f - (float *)floats.data, floats.count);
  golden_free(&cases);
  golden_free(&floats);
  golden_free(&rows);
}

/* Rows about a few centres, proxies that begin as rows. */
enum { N = 500, D = 33, COUNT = 270, BATCH = 48, STEPS = 12 };

static void make_problem(problem *p, float *rows, uint32_t *batches) {
  tr_rng rng = tr_rng_make(5, TR_RNG_TEST, 0);
  float centres[7][D];
  for (size_t i = 0; i < sizeof centres / sizeof(float); ++i)
    centres[i / D][i % D] = 3 * tr_rng_normal(&rng);
  for (size_t i = 0; i < N * D; ++i)
    rows[i] = centres[i / D % 7][i % D] + tr_rng_normal(&rng);
  for (size_t i = 0; i < STEPS * BATCH; ++i)
    batches[i] = (uint32_t)tr_rng_below(&rng, N);
  *p = (problem){.n = N, .count = COUNT, .batch = BATCH, .steps = STEPS, .d = D, .rate = 0.5, .rows = rows, .begin = rows};
  p->batches = batches;
}

static void test_threads(void **state) {
  (void)state;
  static float rows[N * D], one[COUNT * D], other[COUNT * D];
  static uint32_t batches[STEPS * BATCH];
  double losses[STEPS];
  problem p;
  make_problem(&p, rows, batches);
  for (int threads = 1; threads <= 4; ++threads) {
    p.in_host = threads == 4; /* which is to make no difference either */
    tr_device *device = test_device_open(threads);
    learn(device, &p, threads == 1 ? one : other, losses);
    tr_device_close(device);
    if (threads > 1)
      assert_memory_equal(one, other, sizeof one);
  }
  p.count = 7; /* few: each is a row of some centre's, and has to come to the centre */
  tr_device *device = test_device_open(2);
  learn(device, &p, other, losses);
  tr_device_close(device);
  if (!(losses[STEPS - 1] < 0.7 * losses[0]))
    fail_msg("the loss went from %g to %g", losses[0], losses[STEPS - 1]);
}

/* The GPU sums in another order; twelve steps multiply a rounding error a few times. */
static void test_twins(void **state) {
  (void)state;
  static float rows[N * D], expected[COUNT * D], got[COUNT * D];
  static uint32_t batches[STEPS * BATCH];
  problem p;
  make_problem(&p, rows, batches);
  tr_device *cpu = featops_cpu(2), *device = test_device_open(1);
  learn(cpu, &p, expected, NULL);
  learn(device, &p, got, NULL);
  golden_assert_close(got, expected, COUNT * D, 1e-4f, 1e-4f);
  tr_device_close(cpu);
  tr_device_close(device);
}

/* Nearest of many distances differ by more than a float's exponent holds: weights of 0 and of 1, nothing that is no number. */
static void test_far_apart(void **state) {
  (void)state;
  float rows[4] = {0, 1e4f, 2e4f, 1e5f}, got[4];
  uint32_t batches[8] = {0, 1, 2, 3, 3, 2, 1, 0};
  problem p = {.n = 4, .count = 4, .batch = 4, .steps = 2, .d = 1, .rate = 1, .rows = rows, .begin = rows, .batches = batches};
  double losses[2];
  tr_device *device = test_device_open(1);
  learn(device, &p, got, losses);
  assert_memory_equal(got, rows, sizeof got);
  assert_true(losses[0] == 0 && losses[1] == 0);
  tr_device_close(device);
}

static void test_bad_arguments(void **state) {
  (void)state;
  float x[4] = {0};
  uint32_t batch[2] = {0, 1};
  tr_device *device = test_device_open(1);
  tr_proxies_args good = {.n = 2, .d = 2, .rows = x, .count = 1, .proxies = x, .steps = 1, .batch = 2, .batches = batch};
  good.rate = 1;
  good.scratch = x;
  tr_proxies_args a = good;
#define REFUSED(named, change)                             \
  do {                                                     \
    a = good;                                              \
    change;                                                \
    featops_assert_invalid(tr_proxies(device, &a), named); \
  } while (0)
  REFUSED("d of", a.d = 0);
  REFUSED("rows", a.n = 0);
  REFUSED("proxies", a.count = 0);
  REFUSED("batches", a.batch = 0);
  REFUSED("rate", a.rate = 0);
  REFUSED("rate", a.rate = NAN);
  REFUSED("no rows", a.rows = NULL);
  REFUSED("no batches", a.batches = NULL);
  REFUSED("no scratch", a.scratch = NULL);
  REFUSED("rows below 1", a.n = 1);
  tr_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_golden),    cmocka_unit_test(test_threads),       cmocka_unit_test(test_twins),
      cmocka_unit_test(test_far_apart), cmocka_unit_test(test_bad_arguments),
  };
  return run_on_devices("proxies", tests, NULL, NULL);
}
