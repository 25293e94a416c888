/* gaussian against float64 NumPy (tests/golden/make_padim.py), both forms, skipped on a device that cannot fit Gaussians yet; and the
 * cpu's triangles against sums in double. */
#include "kernels/gaussian.h"

#include "kernels/cpu/triangle.h"
#include "tests/golden/featops.h"
#include "tests/status.h"

#include <math.h>

/* Largest relative error of a distance: measured 1e-6 and 4e-7. The vectors have one strong direction, of 10^4 to 10^5 times the variance
 * of the others; a Cholesky factor of a covariance in float is off by 5e-5 here. */
static const double tolerances[] = {[TR_GAUSSIAN_COVARIANCE] = 5e-6, [TR_GAUSSIAN_SAMPLES] = 2e-6};

typedef struct fit {
  tr_device *device;
  tr_gaussian_spec spec;
  tr_gaussian gaussian;
  size_t width;
  void *scratch;
} fit;

/* Number k of a vector: as make_padim.py has it. */
static float component(uint32_t stream, const tr_gaussian_spec *spec, size_t vector, size_t position, size_t k) {
  size_t place = vector * spec->positions + position;
  double small = featops_noise(stream, (uint32_t)(place * (size_t)spec->d + k));
  double strength = featops_noise(stream + 1, (uint32_t)place);
  double direction = featops_noise(stream + 2, (uint32_t)(position * (size_t)spec->d + k));
  return (float)(2 + 0.125 * small + strength * direction);
}

static size_t row_floats(const fit *f, size_t n) {
  return f->spec.positions * n * f->width;
}

/* [positions, n, width] of the host, vectors first to first + n; columns after the d-th are not numbers. */
static float *make_rows(const fit *f, uint32_t stream, size_t first, size_t n) {
  float *rows = featops_array(row_floats(f, n));
  for (size_t p = 0; p < f->spec.positions; ++p)
    for (size_t i = 0; i < n; ++i)
      for (size_t k = 0; k < f->width; ++k)
        rows[(p * n + i) * f->width + k] = k < (size_t)f->spec.d ? component(stream, &f->spec, first + i, p, k) : NAN;
  return rows;
}

static tr_gaussian_args args_of(const fit *f) {
  return (tr_gaussian_args){.spec = f->spec, .gaussian = f->gaussian, .positions = f->spec.positions, .scratch = f->scratch};
}

/* Adds host rows, in calls for `range` positions at a time. */
static void add(const fit *f, const float *host, size_t first, size_t n, size_t range) {
  float *rows = device_copy_of(f->device, host, row_floats(f, n) * sizeof *rows);
  tr_gaussian_args args = args_of(f);
  args.first = first;
  args.n = n;
  args.rows = rows;
  args.position_pitch = n * f->width;
  for (size_t p = 0; p < f->spec.positions; p += range) {
    args.first_position = p;
    args.positions = f->spec.positions - p < range ? f->spec.positions - p : range;
    assert_ok(tr_gaussian_add(f->device, &args));
  }
  assert_int_equal(tr_device_sync(f->device), TR_OK);
  tr_device_free(f->device, rows);
}

static void add_all(const fit *f, uint32_t stream, size_t range) {
  size_t batch = tr_gaussian_batch(f->device, &f->spec);
  for (size_t first = 0; first < f->spec.samples; first += batch) {
    size_t n = f->spec.samples - first < batch ? f->spec.samples - first : batch;
    float *rows = make_rows(f, stream, first, n);
    add(f, rows, first, n, range);
    free(rows);
  }
}

static fit make_fit(tr_device *device, tr_gaussian_spec spec, uint32_t stream, size_t range) {
  fit f = {.device = device, .spec = spec, .width = tr_gaussian_width(&spec)};
  tr_gaussian_bytes bytes = tr_gaussian_sizes(&spec);
  void *rubbish = malloc(bytes.factors);
  assert_non_null(rubbish);
  memset(rubbish, 0xff, bytes.factors);
  f.gaussian = (tr_gaussian){.means = device_array(device, bytes.means),
                             .factors = device_copy_of(device, rubbish, bytes.factors),
                             .samples = device_array(device, bytes.samples),
                             .running = device_array(device, bytes.running)};
  free(rubbish);
  f.scratch = device_array(device, tr_gaussian_scratch(device, &spec));
  add_all(&f, stream, range);
  tr_gaussian_args args = args_of(&f);
  assert_ok(tr_gaussian_finish(device, &args));
  return f;
}

static void free_fit(fit *f) {
  void *const memory[] = {f->gaussian.means, f->gaussian.factors, f->gaussian.samples, f->gaussian.running, f->scratch};
  for (size_t i = 0; i < sizeof memory / sizeof *memory; ++i)
    tr_device_free(f->device, memory[i]);
}

/* Distances of `n` host rows into [n, positions] of the host. */
static tr_status measure_rows(const fit *f, const float *host, size_t n, float *distances) {
  size_t bytes = n * f->spec.positions * sizeof *distances;
  float *rows = device_copy_of(f->device, host, row_floats(f, n) * sizeof *rows);
  tr_gaussian_args args = args_of(f);
  args.n = n;
  args.rows = rows;
  args.position_pitch = n * f->width;
  args.distances = device_array(f->device, bytes);
  tr_status status = tr_gaussian_distance(f->device, &args);
  device_read(f->device, distances, args.distances, bytes);
  tr_device_free(f->device, rows);
  tr_device_free(f->device, args.distances);
  return status;
}

/* Distances of `count` vectors, `at_once` a call: [count, positions]. */
static float *measure(const fit *f, uint32_t stream, size_t count, size_t at_once) {
  float *distances = featops_array(count * f->spec.positions);
  for (size_t first = 0; first < count; first += at_once) {
    size_t n = count - first < at_once ? count - first : at_once;
    float *rows = make_rows(f, stream, first, n);
    assert_ok(measure_rows(f, rows, n, distances + first * f->spec.positions));
    free(rows);
  }
  return distances;
}

static tr_gaussian_spec spec_of(const double *row, tr_gaussian_form form) {
  return (tr_gaussian_spec){
      .positions = (size_t)row[0], .samples = (size_t)row[1], .d = (int)row[2], .epsilon = row[4], .form = form};
}

static void check_case(tr_device *device, tr_gaussian_spec spec, uint32_t number, size_t queries, const float **expected,
                       double *worst) {
  fit f = make_fit(device, spec, 6000 + 10 * number, spec.positions);
  float *got = measure(&f, 6005 + 10 * number, queries, 32);
  for (size_t p = 0; p < spec.positions; ++p)
    for (size_t q = 0; q < queries; ++q, ++*expected) {
      float distance = got[q * spec.positions + p];
      double error = fabs((double)distance / (double)**expected - 1);
      *worst = fmax(*worst, error);
      if (!(error <= tolerances[spec.form]))
        fail_msg("case %u (%s form), position %zu, vector %zu: got %.9g, expected %.9g", number, tr_gaussian_form_name(spec.form),
                 p, q, (double)distance, (double)**expected);
    }
  free(got);
  free_fit(&f);
}

/* Each form on every case, whichever would be taken. */
static void test_against_float64(void **state) {
  (void)state;
  tr_device *device = test_device_open(2);
  golden_array cases = golden_read("padim_gaussian_cases.npy"), values = golden_read("padim_gaussian_distances.npy");
  double worst[2] = {0, 0};
  for (int form = TR_GAUSSIAN_COVARIANCE; form <= TR_GAUSSIAN_SAMPLES; ++form) {
    const float *expected = values.data;
    for (size_t i = 0; i < cases.shape[0]; ++i) {
      const double *row = (const double *)cases.data + i * cases.shape[1];
      check_case(device, spec_of(row, (tr_gaussian_form)form), (uint32_t)i, (size_t)row[3], &expected, &worst[form]);
    }
    assert_ptr_equal(expected, (const float *)values.data + values.count);
  }
  print_message("largest relative error: covariance %.1e, samples %.1e\n", worst[0], worst[1]);
  tr_device_close(device);
  golden_free(&cases);
  golden_free(&values);
}

static void assert_same(const fit *f, const void *a, const void *b, size_t bytes) {
  char *here = malloc(bytes + 1), *there = malloc(bytes + 1);
  assert_true(here && there);
  if (bytes) {
    device_read(f->device, here, a, bytes);
    device_read(f->device, there, b, bytes);
    assert_memory_equal(here, there, bytes);
  }
  free(here);
  free(there);
}

/* Threads, the cut of positions into calls and that of queries change no bit. */
static void test_same_bits(void **state) {
  (void)state;
  static const tr_gaussian_spec specs[] = {{50, 70, 40, 0.01, TR_GAUSSIAN_COVARIANCE}, {50, 21, 120, 0.01, TR_GAUSSIAN_SAMPLES}};
  enum { QUERIES = 40 };
  for (size_t s = 0; s < 2; ++s) {
    tr_device *device = test_device_open(1);
    fit f = make_fit(device, specs[s], 9000, specs[s].positions);
    size_t most = tr_gaussian_queries(device);
    float *distances = measure(&f, 9005, QUERIES, most < QUERIES ? most : QUERIES);
    for (int threads = 1; threads <= 4; threads *= 2) {
      tr_device *other = test_device_open(threads);
      fit g = make_fit(other, specs[s], 9000, threads == 1 ? 7 : 50);
      tr_gaussian_bytes bytes = tr_gaussian_sizes(&specs[s]);
      assert_same(&g, g.gaussian.means, f.gaussian.means, bytes.means);
      assert_same(&g, g.gaussian.factors, f.gaussian.factors, bytes.factors);
      assert_same(&g, g.gaussian.samples, f.gaussian.samples, bytes.samples);
      for (size_t at_once = 1; at_once <= 17; at_once += 4) {
        float *again = measure(&g, 9005, QUERIES, at_once);
        assert_memory_equal(again, distances, QUERIES * specs[s].positions * sizeof *again);
        free(again);
      }
      free_fit(&g);
      tr_device_close(other);
    }
    free(distances);
    free_fit(&f);
    tr_device_close(device);
  }
}

/* Vectors too long for what a device keeps close at hand: the same distances as the cpu's. */
static void test_long_vectors(void **state) {
  (void)state;
  static const tr_gaussian_spec specs[] = {{1, 3, 1800, 0.01, TR_GAUSSIAN_COVARIANCE}, {2, 20, 1850, 0.01, TR_GAUSSIAN_SAMPLES}};
  enum { QUERIES = 5 };
  tr_device *device = test_device_open(2), *cpu;
  assert_ok(tr_device_open("cpu", 2, &cpu));
  for (size_t s = 0; s < 2; ++s) {
    fit f = make_fit(device, specs[s], 9300, specs[s].positions), g = make_fit(cpu, specs[s], 9300, specs[s].positions);
    float *got = measure(&f, 9305, QUERIES, QUERIES), *expected = measure(&g, 9305, QUERIES, QUERIES);
    for (size_t i = 0; i < QUERIES * specs[s].positions; ++i)
      if (!(fabs((double)got[i] / (double)expected[i] - 1) <= 2 * tolerances[specs[s].form]))
        fail_msg("%s form, distance %zu: got %.9g, the cpu has %.9g", tr_gaussian_form_name(specs[s].form), i, (double)got[i],
                 (double)expected[i]);
    free(got);
    free(expected);
    free_fit(&f);
    free_fit(&g);
  }
  tr_device_close(cpu);
  tr_device_close(device);
}

/* What is not a number is named with its position, whichever form. */
static void test_not_a_number(void **state) {
  (void)state;
  static const tr_gaussian_spec specs[] = {{5, 40, 20, 0.01, TR_GAUSSIAN_COVARIANCE}, {5, 3, 20, 0.01, TR_GAUSSIAN_SAMPLES}};
  tr_device *device = test_device_open(2);
  for (size_t s = 0; s < 2; ++s) {
    fit f = make_fit(device, specs[s], 9100, specs[s].positions);
    float distances[10], *rows = make_rows(&f, 9105, 0, 2);
    rows[(3 * 2 + 1) * f.width + 7] = NAN;
    featops_assert_invalid(measure_rows(&f, rows, 2, distances), "vector 1: its distance at position 3");
    rows[(3 * 2 + 1) * f.width + 7] = INFINITY;
    featops_assert_invalid(measure_rows(&f, rows, 2, distances), "vector 1: its distance at position 3");
    free(rows);

    size_t batch = s == 0 ? 31 : 1;
    rows = make_rows(&f, 9100, 0, 31);
    rows[2 * batch * f.width + 5] = INFINITY;
    add(&f, rows, 0, batch, 5);
    if (s == 0)
      add(&f, rows, 31, 9, 5);
    tr_gaussian_args args = args_of(&f);
    featops_assert_invalid(tr_gaussian_finish(device, &args), "at position 2");
    free(rows);
    free_fit(&f);
  }
  tr_device_close(device);
}

static void test_form(void **state) {
  (void)state;
  /* PaDiM on MVTec's bottle as it is here, on a whole class, and on few images. */
  assert_int_equal(tr_gaussian_best_form(120, 550), TR_GAUSSIAN_SAMPLES);
  assert_int_equal(tr_gaussian_best_form(209, 550), TR_GAUSSIAN_SAMPLES);
  assert_int_equal(tr_gaussian_best_form(300, 550), TR_GAUSSIAN_COVARIANCE);
  assert_int_equal(tr_gaussian_best_form(209, 100), TR_GAUSSIAN_COVARIANCE);
  assert_int_equal(tr_gaussian_best_form(1, 1), TR_GAUSSIAN_COVARIANCE);
  tr_gaussian_bytes few = tr_gaussian_sizes(&(tr_gaussian_spec){3136, 120, 550, 0.01, TR_GAUSSIAN_SAMPLES});
  tr_gaussian_bytes many = tr_gaussian_sizes(&(tr_gaussian_spec){3136, 400, 550, 0.01, TR_GAUSSIAN_COVARIANCE});
  assert_int_equal(few.running, 0);
  assert_int_equal(many.samples, 0);
  assert_true(few.factors + few.samples < many.factors / 2);
  assert_int_equal(many.factors, (size_t)3136 * 161280 * sizeof(float)); /* 35 blocks of 16 rows: 1.9 GB */
}

static void test_bad_arguments(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  fit f = make_fit(device, (tr_gaussian_spec){5, 40, 20, 0.01, TR_GAUSSIAN_COVARIANCE}, 9200, 5);
  float rows[16], distances[5]; /* not read */
  tr_gaussian_args good = args_of(&f), args;
  good.n = 1;
  good.rows = rows;
  good.position_pitch = 32 * f.width;
  good.distances = distances;
#define REFUSED(call, change, named)                    \
  do {                                                  \
    args = good;                                        \
    change;                                             \
    featops_assert_invalid(call(device, &args), named); \
  } while (0)
  REFUSED(tr_gaussian_distance, args.spec.positions = 0, "positions");
  REFUSED(tr_gaussian_distance, args.spec.samples = 0, "training vectors");
  REFUSED(tr_gaussian_distance, args.spec.d = 0, "dimensions");
  REFUSED(tr_gaussian_distance, args.spec.epsilon = 0, "epsilon");
  REFUSED(tr_gaussian_distance, args.spec.epsilon = NAN, "epsilon");
  REFUSED(tr_gaussian_distance, args.spec.form = (tr_gaussian_form)2, "form");
  REFUSED(tr_gaussian_distance, args.first_position = 1, "positions 1 to 6");
  REFUSED(tr_gaussian_distance, args.n = tr_gaussian_queries(device) + 1, "vectors at once");
  REFUSED(tr_gaussian_distance, args.position_pitch = f.width - 1, "too close");
  REFUSED(tr_gaussian_distance, args.rows = NULL, "rows");
  REFUSED(tr_gaussian_distance, args.distances = NULL, "distances");
  REFUSED(tr_gaussian_distance, args.scratch = NULL, "scratch");
  REFUSED(tr_gaussian_distance, args.gaussian.means = NULL, "means");
  REFUSED(tr_gaussian_distance, args.gaussian.factors = NULL, "factors");
  REFUSED(tr_gaussian_distance, args.spec.form = TR_GAUSSIAN_SAMPLES, "samples");
  REFUSED(tr_gaussian_add, args.n = 30, "whole batch");
  REFUSED(tr_gaussian_add, (args.n = 9, args.first = 30), "whole batch");
  REFUSED(tr_gaussian_add, (args.n = 10, args.first = 31), "not among the 40");
  REFUSED(tr_gaussian_add, (args.n = 31, args.gaussian.running = NULL), "running");
  REFUSED(tr_gaussian_finish, args.gaussian.running = NULL, "running");
#undef REFUSED
  free_fit(&f);
  tr_device_close(device);
}

/* ---- triangles ---- */

static float *element(float *triangle, size_t i, size_t j) {
  size_t block = i / TR_TRIANGLE;
  return triangle + tr_triangle_offset(block) + i % TR_TRIANGLE * (block + 1) * TR_TRIANGLE + j;
}

static void assert_near(double got, double expected, double scale) {
  if (!(fabs(got - expected) <= 1e-5 * scale))
    fail_msg("got %.9g, expected %.9g", got, expected);
}

/* Rows of `n` columns, [m, pitch]. */
static float *noise_rows(uint32_t stream, size_t m, size_t n, size_t pitch) {
  float *rows = calloc(m * pitch + 1, sizeof *rows);
  assert_non_null(rows);
  for (size_t i = 0; i < m; ++i)
    for (size_t k = 0; k < n; ++k)
      rows[i * pitch + k] = featops_noise(stream, (uint32_t)(i * n + k)) - 1;
  return rows;
}

static double dot(const float *a, size_t a_step, const float *b, size_t b_step, size_t n) {
  double sum = 0;
  for (size_t k = 0; k < n; ++k)
    sum += (double)a[k * a_step] * (double)b[k * b_step];
  return sum;
}

/* A triangle that was factored solves as a Cholesky of `matrix` in double does. */
static void check_factor(float *matrix, const float *factored, size_t n) {
  size_t pitch = tr_triangle_round(n);
  float *rows = noise_rows(3, 21, n, pitch), *forward = featops_array(21 * pitch), *backward = featops_array(21 * pitch);
  double *l = calloc(n * n, sizeof *l), *x = calloc(n, sizeof *x);
  assert_true(l && x);
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j <= i; ++j) {
      double sum = *element(matrix, i, j);
      for (size_t k = 0; k < j; ++k)
        sum -= l[i * n + k] * l[j * n + k];
      l[i * n + j] = i == j ? sqrt(sum) : sum / l[j * n + j];
    }
  memcpy(forward, rows, 21 * pitch * sizeof *rows);
  memcpy(backward, rows, 21 * pitch * sizeof *rows);
  tr_cpu_triangle_forward(factored, n, forward, 21, pitch);
  tr_cpu_triangle_backward(factored, n, backward, 21, pitch);
  for (size_t r = 0; r < 21; ++r) {
    for (size_t i = 0; i < n; ++i) {
      double sum = rows[r * pitch + i];
      for (size_t k = 0; k < i; ++k)
        sum -= l[i * n + k] * x[k];
      x[i] = sum / l[i * n + i];
      assert_near(forward[r * pitch + i], x[i], 2);
    }
    for (size_t i = n; i-- > 0;) {
      double sum = rows[r * pitch + i];
      for (size_t k = i + 1; k < n; ++k)
        sum -= l[k * n + i] * x[k];
      x[i] = sum / l[i * n + i];
      assert_near(backward[r * pitch + i], x[i], 2);
    }
  }
  free(rows);
  free(forward);
  free(backward);
  free(l);
  free(x);
}

/* rows^T rows + I by updates of 1, 2, ... 32, 1, ... rows. */
static void check_updates(const float *rows, size_t n, size_t m, size_t pitch, float *matrix) {
  float *upper = featops_array(tr_triangle_floats(n)), *triangle = featops_array(tr_triangle_floats(n));
  float *used = featops_array(m * pitch), *work = featops_array(TR_TRIANGLE * pitch);
  memcpy(used, rows, m * pitch * sizeof *used);
  tr_cpu_triangle_start(upper, n, 1);
  for (size_t first = 0, count = 1; first < m; first += count, count = count % TR_TRIANGLE_MOST_ROWS + 1) {
    count = m - first < count ? m - first : count;
    tr_cpu_triangle_update(upper, n, used + first * pitch, count, pitch, work);
  }
  assert_true(tr_cpu_triangle_finish(upper, n, 1, triangle));
  check_factor(matrix, triangle, n);
  upper[n > 16 ? 3 : 0] = NAN;
  tr_cpu_triangle_update(upper, n, used, 1, pitch, work);
  assert_false(tr_cpu_triangle_finish(upper, n, 1, triangle));
  free(upper);
  free(triangle);
  free(used);
  free(work);
}

static void check_triangle(size_t n) {
  size_t m = n + 9, pitch = tr_triangle_round(n), other = tr_triangle_round(m);
  float *matrix = calloc(tr_triangle_floats(n), sizeof *matrix), *triangle = featops_array(tr_triangle_floats(n));
  float *rows = noise_rows(1, m, n, pitch), *columns = noise_rows(2, n, m, other);
  assert_non_null(matrix);
  tr_cpu_triangle_gram(triangle, n, columns, other);
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j <= i; ++j) {
      assert_near(*element(triangle, i, j), dot(columns + i * other, 1, columns + j * other, 1, m), (double)m);
      *element(matrix, i, j) = (float)dot(rows + i, pitch, rows + j, pitch, m) + (i == j);
    }
  memcpy(triangle, matrix, tr_triangle_floats(n) * sizeof *matrix);
  assert_true(tr_cpu_triangle_factor(triangle, n));
  check_factor(matrix, triangle, n);
  check_updates(rows, n, m, pitch, matrix);
  *element(matrix, n / 2, n / 2) = -1;
  assert_false(tr_cpu_triangle_factor(matrix, n));
  free(matrix);
  free(triangle);
  free(rows);
  free(columns);
}

static void test_triangles(void **state) {
  (void)state;
  static const size_t sizes[] = {1, 2, 15, 16, 17, 31, 33, 48, 70, 131};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i)
    check_triangle(sizes[i]);
}

/* Products of every size, against double; an element is the same to the bit whatever surrounds it. */
static void test_tiles(void **state) {
  (void)state;
  enum { M = 21, N = 19, DEPTH = 48, PITCH = 64 };
  float *a = noise_rows(4, M, PITCH, PITCH), *b = noise_rows(5, N, PITCH, PITCH), c[M * PITCH], whole[M * PITCH];
  tr_cpu_triangle_dot(a, M, PITCH, b, N, PITCH, DEPTH, whole, PITCH);
  for (size_t m = 1; m <= M; ++m)
    for (size_t n = 1; n <= N; ++n) {
      memset(c, 0x7f, sizeof c);
      tr_cpu_triangle_dot(a + (M - m) * PITCH, m, PITCH, b + (N - n) * PITCH, n, PITCH, DEPTH, c, PITCH);
      for (size_t i = 0; i < m; ++i) {
        assert_memory_equal(c + i * PITCH, whole + (M - m + i) * PITCH + N - n, n * sizeof *c);
        assert_int_equal(((unsigned char *)(c + i * PITCH + n))[0], 0x7f);
      }
    }
  for (size_t i = 0; i < M; ++i)
    for (size_t j = 0; j < N; ++j)
      assert_near(whole[i * PITCH + j], dot(a + i * PITCH, 1, b + j * PITCH, 1, DEPTH), DEPTH);

  memcpy(whole, a, sizeof whole);
  tr_cpu_triangle_subtract(a, M, PITCH, b, N, PITCH, PITCH, whole, PITCH);
  for (size_t m = 1; m <= M; ++m)
    for (size_t width = 16; width <= PITCH; width += 16) {
      memcpy(c, a, sizeof c);
      tr_cpu_triangle_subtract(a + (M - m) * PITCH, m, PITCH, b, N, PITCH, width, c + (M - m) * PITCH, PITCH);
      for (size_t i = M - m; i < M; ++i) {
        assert_memory_equal(c + i * PITCH, whole + i * PITCH, width * sizeof *c);
        assert_memory_equal(c + i * PITCH + width, a + i * PITCH + width, (PITCH - width) * sizeof *c);
      }
    }
  for (size_t i = 0; i < M; ++i)
    for (size_t k = 0; k < PITCH; ++k)
      assert_near(whole[i * PITCH + k], a[i * PITCH + k] - dot(a + i * PITCH, 1, b + k, PITCH, N), N);
  free(a);
  free(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_float64), cmocka_unit_test(test_same_bits),
      cmocka_unit_test(test_not_a_number),    cmocka_unit_test(test_form),
      cmocka_unit_test(test_bad_arguments),   cmocka_unit_test(test_triangles),
      cmocka_unit_test(test_tiles),           cmocka_unit_test(test_long_vectors),
  };
  return run_on_devices("gaussian", tests, NULL, NULL);
}
