/* Intervals of AUROC differences against NumPy with the same draws and SciPy with its own (tests/golden/make_bootstrap.py). */
#include "host/base/status.h"
#include "host/metrics/bootstrap.h"
#include "host/metrics/metrics.h"
#include "tests/golden/golden.h"

#include <math.h>

enum { MAX_CLASSES = 4, MAX_SEEDS = 4, DRAWS = 500, SEED = 3 }; /* the last two as in make_bootstrap.py */

typedef struct fixture {
  golden_array classes, labels, scores, expected;
} fixture;

typedef struct one_case {
  tr_paired_scores classes[MAX_CLASSES];
  const float *a[MAX_CLASSES][MAX_SEEDS], *b[MAX_CLASSES][MAX_SEEDS];
  size_t count;
} one_case;

static fixture read_fixture(void) {
  return (fixture){golden_read("bootstrap_classes.npy"), golden_read("bootstrap_labels.npy"), golden_read("bootstrap_scores.npy"),
                   golden_read("bootstrap_expected.npy")};
}

static void free_fixture(fixture *f) {
  golden_free(&f->classes);
  golden_free(&f->labels);
  golden_free(&f->scores);
  golden_free(&f->expected);
}

static void fill_case(const fixture *f, int64_t number, one_case *out) {
  const int64_t *shapes = f->classes.data; /* case, images, seeds */
  const uint8_t *labels = f->labels.data;
  const float *scores = f->scores.data;
  out->count = 0;
  for (size_t i = 0; i < f->classes.shape[0]; ++i, shapes += 3) {
    size_t n = (size_t)shapes[1], seeds = (size_t)shapes[2];
    if (shapes[0] == number) {
      size_t at = out->count++;
      for (size_t s = 0; s < seeds; ++s) {
        out->a[at][s] = scores + (2 * s) * n;
        out->b[at][s] = scores + (2 * s + 1) * n;
      }
      out->classes[at] = (tr_paired_scores){labels, out->a[at], out->b[at], n, seeds};
    }
    labels += n;
    scores += 2 * seeds * n;
  }
}

static void assert_near(double got, double expected, double tolerance) {
  if (!(fabs(got - expected) <= tolerance))
    fail_msg("got %.17g, expected %.17g", got, expected);
}

static void same_draws_as_numpy(void **state) {
  (void)state;
  fixture f = read_fixture();
  const double *expected = f.expected.data; /* a, b, low, high, scipy's low, high */
  for (size_t i = 0; i < f.expected.shape[0]; ++i, expected += 6) {
    one_case c;
    fill_case(&f, (int64_t)i, &c);
    tr_auroc_difference got;
    assert_int_equal(tr_bootstrap_auroc(c.classes, c.count, DRAWS, SEED, &got), TR_OK);
    assert_near(got.a, expected[0], 1e-12);
    assert_near(got.b, expected[1], 1e-12);
    assert_near(got.low, expected[2], 1e-12);
    assert_near(got.high, expected[3], 1e-12);
  }
  free_fixture(&f);
}

/* Ends of an interval over 4,000 draws scatter by a few hundredths of its width. */
static void other_draws_of_scipy(void **state) {
  (void)state;
  fixture f = read_fixture();
  const double *expected = f.expected.data;
  size_t compared = 0;
  for (size_t i = 0; i < f.expected.shape[0]; ++i, expected += 6) {
    if (!isfinite(expected[4]))
      continue;
    one_case c;
    fill_case(&f, (int64_t)i, &c);
    tr_auroc_difference got;
    assert_int_equal(tr_bootstrap_auroc(c.classes, c.count, 4000, 11, &got), TR_OK);
    double width = expected[5] - expected[4];
    assert_near(got.low, expected[4], 0.08 * width);
    assert_near(got.high, expected[5], 0.08 * width);
    ++compared;
  }
  assert_int_equal(compared, 3);
  free_fixture(&f);
}

static void auroc_is_the_metrics(void **state) {
  (void)state;
  fixture f = read_fixture();
  one_case c;
  fill_case(&f, 1, &c);
  double a;
  tr_auroc_difference got;
  assert_int_equal(tr_auroc(c.a[0][0], c.classes[0].positive, c.classes[0].n, &a), TR_OK);
  assert_int_equal(tr_bootstrap_auroc(c.classes, 1, 10, SEED, &got), TR_OK);
  assert_near(got.a, a, 1e-15);
  /* A run against itself: no difference in any draw. */
  c.classes[0].b = c.classes[0].a;
  assert_int_equal(tr_bootstrap_auroc(c.classes, 1, 10, SEED, &got), TR_OK);
  assert_true(got.low == 0 && got.high == 0);
  free_fixture(&f);
}

static void wrong_input_is_named(void **state) {
  (void)state;
  const float good[] = {1, 2, 3}, bad[] = {1, NAN, 3};
  const float *a[] = {good}, *b[] = {bad};
  const uint8_t labels[] = {0, 1, 0}, all_good[] = {0, 0, 0};
  tr_auroc_difference got;
  tr_paired_scores scores = {labels, a, b, 3, 1};
  assert_int_equal(tr_bootstrap_auroc(&scores, 1, 10, SEED, &got), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "image 1"));
  scores = (tr_paired_scores){all_good, a, a, 3, 1};
  assert_int_equal(tr_bootstrap_auroc(&scores, 1, 10, SEED, &got), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "3 good and 0 anomalous"));
  scores = (tr_paired_scores){labels, a, a, 3, 0};
  assert_int_equal(tr_bootstrap_auroc(&scores, 1, 10, SEED, &got), TR_EINVAL);
  assert_int_equal(tr_bootstrap_auroc(&scores, 0, 10, SEED, &got), TR_EINVAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(same_draws_as_numpy),
      cmocka_unit_test(other_draws_of_scipy),
      cmocka_unit_test(auroc_is_the_metrics),
      cmocka_unit_test(wrong_input_is_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
