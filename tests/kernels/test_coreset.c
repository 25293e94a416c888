/* coreset against NumPy (search_coreset_*) and against a brute force in double, whose picks it must give one by one; a GPU's
 * picks and radii are the cpu's bits.
 */
#include "host/base/rng.h"
#include "host/base/status.h"
#include "kernels/coreset.h"
#include "tests/kernels/devices.h"

#include <math.h>
#include <stdatomic.h>

typedef struct problem {
  size_t n, d, starts, picks;
  const float *rows;
  const uint32_t *start;
  size_t given; /* of the selection that is to be filled */
  double stop_radius, stop_seconds;
  bool reads; /* rows are read, not handed over */
} problem;

typedef struct selection {
  uint32_t *order;
  float *radius;
} selection;

static selection selection_make(size_t picks) {
  selection s = {malloc((picks + 1) * sizeof(uint32_t)), malloc((picks + 1) * sizeof(float))};
  assert_true(s.order && s.radius);
  return s;
}

static void selection_free(selection *s) {
  free(s->order);
  free(s->radius);
}

static size_t picked; /* by the last selection */

/* A file of rows: how many were read, and from how many on they cannot be. */
typedef struct row_file {
  const problem *p;
  atomic_size_t read;
  size_t lost_from;
} row_file;

static row_file last_file = {.lost_from = SIZE_MAX};

static tr_status read_rows(void *context, size_t first, size_t n, float *rows) {
  row_file *f = context;
  assert_true(n > 0 && first + n <= f->p->n);
  memcpy(rows, f->p->rows + first * f->p->d, n * f->p->d * sizeof *rows);
  return atomic_fetch_add(&f->read, n) < f->lost_from ? TR_OK : tr_fail(TR_EIO, "row %zu is lost", first);
}

static tr_status select_on(const char *name, int threads, const problem *p, selection *s, tr_progress *progress) {
  tr_device *device;
  if (tr_device_open(name, threads, &device) != TR_OK)
    fail_msg("%s", tr_last_error());
  float *rows = p->reads ? NULL : device_copy_of(device, p->rows, p->n * p->d * sizeof(float));
  void *scratch = p->reads ? malloc(tr_coreset_read_scratch(device, p->n, (int)p->d, p->picks))
                           : device_array(device, tr_coreset_scratch(device, p->n, (int)p->d, p->picks));
  assert_non_null(scratch);
  last_file.p = p;
  atomic_store(&last_file.read, 0);
  tr_coreset_args args = {.n = p->n,
                          .d = (int)p->d,
                          .rows = rows,
                          .picks = p->picks,
                          .start = p->start,
                          .starts = p->starts,
                          .order = s->order,
                          .radius = s->radius,
                          .given = p->given,
                          .stop_radius = p->stop_radius,
                          .stop_seconds = p->stop_seconds,
                          .picked = &picked,
                          .scratch = scratch,
                          .read = p->reads ? read_rows : NULL,
                          .read_context = &last_file,
                          .progress = progress};
  tr_status status = tr_coreset(device, &args);
  if (p->reads)
    free(scratch);
  else
    tr_device_free(device, scratch);
  tr_device_free(device, rows);
  tr_device_close(device);
  return status;
}

static double distance2(const float *a, const float *b, size_t d) {
  double sum = 0;
  for (size_t i = 0; i < d; ++i)
    sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
  return sum;
}

static void brute_force(const problem *p, selection *s) {
  double *reach2 = malloc(p->n * sizeof *reach2);
  assert_non_null(reach2);
  for (size_t i = 0; i < p->n; ++i) {
    double sum = 0;
    for (size_t k = 0; k < p->starts; ++k)
      sum += sqrt(distance2(p->rows + i * p->d, p->rows + p->start[k] * p->d, p->d));
    reach2[i] = p->starts == 0 ? INFINITY : sum / (double)p->starts * (sum / (double)p->starts);
  }
  for (size_t pick = 0; pick < p->picks; ++pick) {
    size_t best = 0;
    for (size_t i = 1; i < p->n; ++i)
      if (reach2[i] > reach2[best])
        best = i;
    if (pick < p->given)
      best = s->order[pick];
    s->order[pick] = (uint32_t)best;
    s->radius[pick] = (float)sqrt(reach2[best]);
    reach2[best] = -1;
    for (size_t i = 0; i < p->n; ++i) {
      double new2 = reach2[i] < 0 ? 0 : distance2(p->rows + i * p->d, p->rows + best * p->d, p->d);
      reach2[i] = new2 < reach2[i] ? new2 : reach2[i];
    }
  }
  free(reach2);
}

/* Sums of d squares in another order may differ in the last bits of a double: a float radius in its last place. */
static void assert_same(const selection *got, const selection *expected, size_t picks) {
  for (size_t i = 0; i < picks; ++i) {
    if (got->order[i] != expected->order[i])
      fail_msg("pick %zu: row %u at %.9g, expected row %u at %.9g", i, got->order[i], (double)got->radius[i], expected->order[i],
               (double)expected->radius[i]);
    assert_true(fabsf(got->radius[i] - expected->radius[i]) <= 2e-7f * expected->radius[i]);
  }
}

static bool on_cpu(void) {
  return strcmp(test_device, "cpu") == 0;
}

/* A smaller problem where the GPU is emulated, at a thousandth of the speed. */
static size_t affordable(size_t n) {
#ifdef TR_EMULATED
  return on_cpu() ? n : n / 4;
#else
  return n;
#endif
}

static void check_against(const problem *p, const selection *expected) {
  static const struct {
    const char *device; /* NULL: the one under test */
    int threads;
    bool reads;
  } runs[] = {{"cpu", 1, false}, {"cpu", 2, false}, {"cpu", 4, false}, {NULL, 1, false}, {"cpu", 1, true}, {"cpu", 4, true}};
  selection first = selection_make(p->picks), again = selection_make(p->picks);
  for (size_t r = 0; r < sizeof runs / sizeof *runs; ++r) {
    if (on_cpu() ? !runs[r].device : runs[r].threads > 1)
      continue;
    if (runs[r].reads && p->starts > TR_CORESET_MOST_STARTS)
      continue;
    problem as_run = *p;
    as_run.reads = runs[r].reads;
    selection *s = r == 0 ? &first : &again;
    if (select_on(runs[r].device ? runs[r].device : test_device, runs[r].threads, &as_run, s, NULL) != TR_OK)
      fail_msg("%s", tr_last_error());
    assert_same(s, expected, p->picks);
    assert_memory_equal(s->order, first.order, p->picks * sizeof *s->order);
    assert_memory_equal(s->radius, first.radius, p->picks * sizeof *s->radius);
  }
  for (size_t i = 1; i < p->picks; ++i)
    assert_true(first.radius[i] <= first.radius[i - 1]);
  selection_free(&first);
  selection_free(&again);
}

static void check_against_brute_force(const problem *p) {
  selection expected = selection_make(p->picks);
  brute_force(p, &expected);
  check_against(p, &expected);
  selection_free(&expected);
}

/* ---- data ---- */

static float *rows_clustered(size_t n, size_t d, size_t clusters, float spread, float offset) {
  float *rows = malloc(n * d * sizeof *rows);
  assert_non_null(rows);
  for (size_t i = 0; i < n; ++i) {
    tr_rng rng = tr_rng_make(7, TR_RNG_TEST, i);
    tr_rng centre = tr_rng_make(8, TR_RNG_TEST, tr_rng_below(&rng, clusters));
    for (size_t j = 0; j < d; ++j)
      rows[i * d + j] = offset + 3 * tr_rng_normal(&centre) + spread * tr_rng_normal(&rng);
  }
  return rows;
}

/* Few values: many equal rows and equal distances, all exact in double. */
static float *rows_small_integers(size_t n, size_t d, unsigned values) {
  float *rows = malloc(n * d * sizeof *rows);
  assert_non_null(rows);
  tr_rng rng = tr_rng_make(9, TR_RNG_TEST, 0);
  for (size_t i = 0; i < n * d; ++i)
    rows[i] = (float)tr_rng_below(&rng, values);
  return rows;
}

static const uint32_t starting_points[] = {5, 117, 30, 42, 9, 250, 77, 3, 181, 64};

/* ---- tests ---- */

static void test_golden(void **state) {
  (void)state;
  golden_array cases = golden_read("search_coreset_cases.npy"), floats = golden_read("search_coreset_floats.npy"),
               ints = golden_read("search_coreset_ints.npy");
  const float *f = floats.data;
  uint32_t *u = ints.data;
  for (size_t c = 0; c < cases.shape[0]; ++c) {
    const int32_t *size = (const int32_t *)cases.data + 4 * c;
    problem p = {
        .n = (size_t)size[0], .d = (size_t)size[1], .starts = (size_t)size[2], .picks = (size_t)size[3], .rows = f, .start = u};
    selection expected = {u + p.starts, (float *)floats.data + (f - (float *)floats.data) + p.n * p.d};
    check_against(&p, &expected);
    f += p.n * p.d + p.picks;
    u += p.starts + p.picks;
  }
  assert_int_equal(f - (float *)floats.data, floats.count);
  golden_free(&cases);
  golden_free(&floats);
  golden_free(&ints);
}

static void test_clusters(void **state) {
  (void)state;
  size_t n = affordable(6000);
  float *rows = rows_clustered(n, 32, 40, 0.3f, 0);
  check_against_brute_force(&(problem){.n = n, .d = 32, .starts = 10, .picks = n / 3, .rows = rows, .start = starting_points});
  free(rows);
}

/* Rows far from the origin, close to each other: products in float cancel nearly all digits. */
static void test_far_from_origin(void **state) {
  (void)state;
  size_t n = affordable(1600);
  float *rows = rows_clustered(n, 24, 5, 0.05f, 300);
  check_against_brute_force(&(problem){.n = n, .d = 24, .starts = 10, .picks = n / 3, .rows = rows, .start = starting_points});
  free(rows);
}

static void test_ties(void **state) {
  (void)state;
  size_t n = affordable(3000);
  float *rows = rows_small_integers(n, 6, 3);
  check_against_brute_force(&(problem){.n = n, .d = 6, .starts = 10, .picks = n, .rows = rows, .start = starting_points});
  free(rows);
}

/* All distances equal: every row is a candidate all the time, more than are kept. */
static void test_simplex(void **state) {
  (void)state;
  size_t n = affordable(1600);
  float *rows = calloc(n * n, sizeof *rows);
  assert_non_null(rows);
  for (size_t i = 0; i < n; ++i)
    rows[i * n + i] = 1;
  check_against_brute_force(&(problem){.n = n, .d = n, .starts = 10, .picks = 100, .rows = rows, .start = starting_points});
  free(rows);
}

/* Distances that differ in the ninth digit, of more rows than are kept: the farthest is not among the first of these. */
static void test_nearly_equal(void **state) {
  (void)state;
  size_t n = affordable(2000), d = n + 1;
  float *rows = calloc(n * d, sizeof *rows);
  assert_non_null(rows);
  tr_rng rng = tr_rng_make(10, TR_RNG_TEST, 0);
  for (size_t i = 0; i < n; ++i) {
    rows[i * d + i] = 1;
    rows[i * d + n] = 1e-4f * tr_rng_float(&rng);
  }
  check_against_brute_force(&(problem){.n = n, .d = d, .starts = 10, .picks = 12, .rows = rows, .start = starting_points});
  free(rows);
}

/* More starting points than a device takes at once, some of them several times. */
static void test_many_starts(void **state) {
  (void)state;
  enum { N = 60, STARTS = 1100 };
  float *rows = rows_clustered(N, 5, 4, 0.5f, 0);
  uint32_t start[STARTS];
  tr_rng rng = tr_rng_make(11, TR_RNG_TEST, 0);
  for (size_t i = 0; i < STARTS; ++i)
    start[i] = (uint32_t)tr_rng_below(&rng, N);
  check_against_brute_force(&(problem){.n = N, .d = 5, .starts = STARTS, .picks = 20, .rows = rows, .start = start});
  free(rows);
}

/* Several rounds of any device, against the cpu's single thread. */
static void test_large(void **state) {
  (void)state;
  size_t n = affordable(affordable(40000)), picks = n / 10;
  float *rows = rows_clustered(n, 48, 60, 0.4f, 0);
  problem p = {.n = n, .d = 48, .starts = 10, .picks = picks, .rows = rows, .start = starting_points};
  selection a = selection_make(picks), b = selection_make(picks);
  assert_int_equal(select_on("cpu", 1, &p, &a, NULL), TR_OK);
  assert_int_equal(select_on(test_device, 2, &p, &b, NULL), TR_OK);
  assert_memory_equal(a.order, b.order, picks * sizeof *a.order);
  assert_memory_equal(a.radius, b.radius, picks * sizeof *a.radius);
  selection_free(&a);
  selection_free(&b);
  free(rows);
}

static void test_prefix(void **state) {
  (void)state;
  size_t n = affordable(3000);
  float *rows = rows_clustered(n, 16, 15, 0.4f, 0);
  problem whole = {.n = n, .d = 16, .starts = 10, .picks = n / 3, .rows = rows, .start = starting_points}, part = whole;
  part.picks = 130;
  selection a = selection_make(whole.picks), b = selection_make(part.picks);
  assert_int_equal(select_on(test_device, 2, &whole, &a, NULL), TR_OK);
  assert_int_equal(select_on(test_device, 2, &part, &b, NULL), TR_OK);
  assert_memory_equal(a.order, b.order, part.picks * sizeof *a.order);
  assert_memory_equal(a.radius, b.radius, part.picks * sizeof *a.radius);
  selection_free(&a);
  selection_free(&b);
  free(rows);
}

/* Interrupted anywhere and taken up again, a selection goes on as it would have. */
static void test_resume(void **state) {
  (void)state;
  size_t n = affordable(3000);
  float *rows = rows_clustered(n, 16, 15, 0.4f, 0);
  problem whole = {.n = n, .d = 16, .starts = 10, .picks = n / 3, .rows = rows, .start = starting_points}, rest = whole;
  selection a = selection_make(whole.picks), b = selection_make(whole.picks);
  assert_int_equal(select_on(test_device, 2, &whole, &a, NULL), TR_OK);
  assert_int_equal(picked, whole.picks);
  const size_t places[] = {1, 2, 129, whole.picks - 1, whole.picks};
  for (size_t i = 0; i < sizeof places / sizeof *places; ++i) {
    rest.given = places[i];
    memset(b.order, 0xff, whole.picks * sizeof *b.order);
    memcpy(b.order, a.order, rest.given * sizeof *b.order);
    memcpy(b.radius, a.radius, rest.given * sizeof *b.radius);
    assert_int_equal(select_on(test_device, 2, &rest, &b, NULL), TR_OK);
    assert_int_equal(picked, whole.picks);
    assert_memory_equal(a.order, b.order, whole.picks * sizeof *a.order);
    assert_memory_equal(a.radius, b.radius, whole.picks * sizeof *a.radius);
  }
  selection_free(&a);
  selection_free(&b);
  free(rows);
}

/* A cover that grows: rows are given, there are no starting points. */
static void test_given_without_starts(void **state) {
  (void)state;
  size_t n = affordable(3000);
  float *rows = rows_clustered(n, 16, 15, 0.4f, 0);
  problem p = {.n = n, .d = 16, .picks = n / 3, .rows = rows, .given = 200};
  selection expected = selection_make(p.picks), got = selection_make(p.picks);
  for (size_t i = 0; i < p.given; ++i)
    expected.order[i] = got.order[i] = (uint32_t)i;
  brute_force(&p, &expected);
  memcpy(got.radius, expected.radius, p.given * sizeof *got.radius);
  assert_int_equal(select_on(test_device, 2, &p, &got, NULL), TR_OK);
  assert_memory_equal(got.order, expected.order, p.given * sizeof *got.order);
  for (size_t i = p.given; i < p.picks; ++i) {
    assert_int_equal(got.order[i], expected.order[i]);
    assert_true(fabsf(got.radius[i] - expected.radius[i]) <= 2e-7f * expected.radius[i]);
  }
  selection_free(&expected);
  selection_free(&got);
  free(rows);
}

static void test_stop(void **state) {
  (void)state;
  size_t n = affordable(3000);
  float *rows = rows_clustered(n, 16, 15, 0.4f, 0);
  problem whole = {.n = n, .d = 16, .starts = 10, .picks = n / 3, .rows = rows, .start = starting_points};
  selection a = selection_make(whole.picks), b = selection_make(whole.picks);
  assert_int_equal(select_on(test_device, 2, &whole, &a, NULL), TR_OK);
  const size_t places[] = {0, 1, 100, whole.picks - 1};
  for (size_t i = 0; i < sizeof places / sizeof *places; ++i) {
    problem part = whole;
    part.stop_radius = (double)nextafterf(a.radius[places[i]], INFINITY);
    size_t expected = 0;
    while (expected < whole.picks && (double)a.radius[expected] >= part.stop_radius)
      ++expected;
    assert_int_equal(select_on(test_device, 2, &part, &b, NULL), TR_OK);
    assert_int_equal(picked, expected);
    assert_memory_equal(a.order, b.order, expected * sizeof *a.order);
    assert_memory_equal(a.radius, b.radius, expected * sizeof *a.radius);
    assert_true(expected == whole.picks || (b.order[expected] == a.order[expected] && b.radius[expected] == a.radius[expected]));
  }
  float *same = calloc(n * 16, sizeof *same); /* one point: the lowest row is left out */
  assert_non_null(same);
  problem point = whole;
  point.rows = same;
  point.stop_radius = 1;
  assert_int_equal(select_on(test_device, 2, &point, &b, NULL), TR_OK);
  assert_true(picked == 0 && b.order[0] == 0 && b.radius[0] == 0);
  free(same);
  problem timed = whole; /* over at once: after the first round */
  timed.stop_seconds = 1e-9;
  assert_int_equal(select_on(test_device, 2, &timed, &b, NULL), TR_OK);
  assert_true(picked > 0 && picked <= whole.picks);
  assert_memory_equal(a.order, b.order, picked * sizeof *a.order);
  selection_free(&a);
  selection_free(&b);
  free(rows);
}

typedef struct watch {
  size_t calls, done, total;
} watch;

static void watch_progress(tr_progress *self, const char *stage, size_t done, size_t total, const char *unit) {
  watch *w = self->user;
  assert_string_equal(stage, "coreset");
  assert_string_equal(unit, "picks");
  assert_true(done >= w->done);
  *w = (watch){w->calls + 1, done, total};
}

/* From rows that are read, on whatever device. The first half of them are four values far off: once these are picked, no round reads that half. */
static void test_read(void **state) {
  (void)state;
  size_t n = 20000, picks = n / 20; /* fewer rows have too few rounds to tell */
  float *rows = rows_clustered(n, 24, 60, 0.4f, 0);
  for (size_t i = 0; i < n / 2 * 24; ++i)
    rows[i] = (float)(100 * (i / 24 % 4 + 1));
  problem p = {.n = n, .d = 24, .starts = 10, .picks = picks, .rows = rows, .start = starting_points}, from_file = p;
  from_file.reads = true;
  selection a = selection_make(picks), b = selection_make(picks);
  assert_int_equal(select_on("cpu", 2, &p, &a, NULL), TR_OK);
  watch seen = {0};
  tr_progress progress = {.update = watch_progress, .user = &seen};
  assert_int_equal(select_on(test_device, 2, &from_file, &b, &progress), TR_OK);
  assert_memory_equal(a.order, b.order, picks * sizeof *a.order);
  assert_memory_equal(a.radius, b.radius, picks * sizeof *a.radius);
  size_t read = atomic_load(&last_file.read);
  assert_true(read >= n && read < 2 * n + seen.calls * n * 6 / 10);
  last_file.lost_from = read / 2;
  assert_int_equal(select_on(test_device, 2, &from_file, &b, NULL), TR_EIO);
  assert_non_null(strstr(tr_last_error(), "is lost"));
  last_file.lost_from = SIZE_MAX;
  from_file.given = picks / 2; /* taken up again */
  memset(b.order + from_file.given, 0, (picks - from_file.given) * sizeof *b.order);
  assert_int_equal(select_on(test_device, 2, &from_file, &b, NULL), TR_OK);
  assert_memory_equal(a.order, b.order, picks * sizeof *a.order);
  from_file.starts = TR_CORESET_MOST_STARTS + 1;
  assert_int_equal(select_on(test_device, 2, &from_file, &b, NULL), TR_EINVAL);
  selection_free(&a);
  selection_free(&b);
  free(rows);
}

/* Four values, one of them the starting point's, which has no reach: a radius above 0 ends when the others are there. */
static void test_stop_at_duplicates(void **state) {
  (void)state;
  float rows[40];
  for (size_t i = 0; i < 40; ++i)
    rows[i] = (float)(i % 4);
  problem p = {.n = 40, .d = 1, .starts = 1, .picks = 40, .rows = rows, .start = (const uint32_t[]){0}, .stop_radius = 0.5};
  selection s = selection_make(p.picks);
  assert_int_equal(select_on(test_device, 1, &p, &s, NULL), TR_OK);
  assert_int_equal(picked, 3);
  selection_free(&s);
}

static void cancel_on_progress(tr_progress *self, const char *stage, size_t done, size_t total, const char *unit) {
  watch_progress(self, stage, done, total, unit);
  tr_cancel_request();
}

static void test_progress_and_cancel(void **state) {
  (void)state;
  size_t n = affordable(6000);
  float *rows = rows_clustered(n, 16, 30, 0.3f, 0);
  problem p = {.n = n, .d = 16, .starts = 10, .picks = n / 2, .rows = rows, .start = starting_points};
  selection s = selection_make(p.picks);
  watch seen = {0};
  tr_progress progress = {.update = watch_progress, .user = &seen};
  assert_int_equal(select_on(test_device, 2, &p, &s, &progress), TR_OK);
  assert_true(seen.calls > 1 && seen.done == p.picks && seen.total == p.picks);
  seen = (watch){0};
  progress.update = cancel_on_progress;
  assert_int_equal(select_on(test_device, 2, &p, &s, &progress), TR_ECANCELED);
  assert_int_equal(seen.calls, 1);
  tr_cancel_clear();
  selection_free(&s);
  free(rows);
}

static void test_bad_arguments(void **state) {
  (void)state;
  float rows[] = {0, 1, 2, 3, 4, 5};
  const uint32_t start[] = {0, 3};
  selection s = selection_make(4);
  problem p = {.n = 3, .d = 2, .starts = 1, .picks = 3, .rows = rows, .start = start};
  assert_int_equal(select_on(test_device, 1, &p, &s, NULL), TR_OK);
  p.picks = 4;
  assert_int_equal(select_on(test_device, 1, &p, &s, NULL), TR_EINVAL);
  p.picks = 3;
  p.starts = 2; /* row 3 of 3 */
  assert_int_equal(select_on(test_device, 1, &p, &s, NULL), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "starting point 1"));
  p.starts = 0;
  assert_int_equal(select_on(test_device, 1, &p, &s, NULL), TR_EINVAL);
  p.starts = 1;
  p.rows = NULL;
  assert_int_equal(select_on(test_device, 1, &p, &s, NULL), TR_EINVAL);
  p.rows = rows;
  rows[3] = NAN;
  assert_int_equal(select_on(test_device, 1, &p, &s, NULL), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "row 1"));
  rows[3] = 1e30f; /* its square is no float */
  assert_int_equal(select_on(test_device, 1, &p, &s, NULL), TR_EINVAL);
  rows[3] = 3;
  p.given = 2;
  s.order[0] = s.order[1] = 1;
  assert_int_equal(select_on(test_device, 1, &p, &s, NULL), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "twice"));
  s.order[1] = 3;
  assert_int_equal(select_on(test_device, 1, &p, &s, NULL), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "given row 1"));
  p.given = 4;
  assert_int_equal(select_on(test_device, 1, &p, &s, NULL), TR_EINVAL);
  p.given = 0;
  p.stop_radius = -1;
  assert_int_equal(select_on(test_device, 1, &p, &s, NULL), TR_EINVAL);
  p.stop_radius = 0;
  p.picks = 0;
  assert_int_equal(select_on(test_device, 1, &p, &s, NULL), TR_OK);
  selection_free(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_golden),
      cmocka_unit_test(test_clusters),
      cmocka_unit_test(test_far_from_origin),
      cmocka_unit_test(test_ties),
      cmocka_unit_test(test_simplex),
      cmocka_unit_test(test_nearly_equal),
      cmocka_unit_test(test_many_starts),
      cmocka_unit_test(test_large),
      cmocka_unit_test(test_prefix),
      cmocka_unit_test(test_resume),
      cmocka_unit_test(test_given_without_starts),
      cmocka_unit_test(test_stop),
      cmocka_unit_test(test_read),
      cmocka_unit_test(test_stop_at_duplicates),
      cmocka_unit_test(test_progress_and_cancel),
      cmocka_unit_test(test_bad_arguments),
  };
  return run_on_devices("coreset", tests, NULL, NULL);
}
