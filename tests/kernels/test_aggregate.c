/* aggregate against a float64 transcription of the official code (tests/golden/make_featops.py), for many shapes, and a GPU's
 * result against the cpu's. */
#include "kernels/aggregate.h"

#include "kernels/aggregate_plan.h"
#include "tests/golden/featops.h"

#include <math.h>

enum { COLUMNS = 22 };

static size_t map_floats(const tr_aggregate_spec *spec, int layer, int n) {
  return (size_t)n * (size_t)spec->h[layer] * (size_t)spec->w[layer] * (size_t)spec->c[layer];
}

/* Maps of a case, host memory: stream 10 * number + layer; ReLU'd unless signed. */
static void make_maps(tr_aggregate_args *args, uint32_t number, bool with_sign) {
  for (int i = 0; i < args->spec.layers; ++i) {
    size_t count = map_floats(&args->spec, i, args->n);
    float *map = featops_array(count);
    for (size_t k = 0; k < count; ++k) {
      float value = featops_noise(10 * number + (uint32_t)i, (uint32_t)k);
      map[k] = with_sign || value > 0 ? value : 0;
    }
    args->maps[i] = map;
  }
}

static void free_maps(tr_aggregate_args *args) {
  for (int i = 0; i < args->spec.layers; ++i)
    free((void *)args->maps[i]);
}

static void free_maps_of(tr_device *device, tr_aggregate_args *args) {
  for (int i = 0; i < args->spec.layers; ++i)
    tr_device_free(device, (void *)args->maps[i]);
}

static size_t result_floats(const tr_aggregate_spec *spec, int n) {
  int h, w, d;
  assert_int_equal(tr_aggregate_shape(spec, &h, &w, &d), TR_OK);
  return (size_t)n * (size_t)h * (size_t)w * (size_t)d;
}

/* `given` with maps of the host; gives the result in host memory. */
static float *run_on(tr_device *device, const tr_aggregate_args *given) {
  tr_aggregate_args args = *given;
  size_t bytes = result_floats(&args.spec, args.n) * sizeof(float);
  float *result = featops_array(bytes / sizeof(float));
  memset(result, 0xff, bytes); /* NaN: a value not written shows */
  for (int i = 0; i < args.spec.layers; ++i)
    args.maps[i] = device_copy_of(device, args.maps[i], map_floats(&args.spec, i, args.n) * sizeof(float));
  args.dst = device_copy_of(device, result, bytes);
  args.scratch = device_array(device, tr_aggregate_scratch(device, &args.spec, args.n));
  assert_int_equal(tr_aggregate(device, &args), TR_OK);
  device_read(device, result, args.dst, bytes);
  free_maps_of(device, &args);
  tr_device_free(device, args.dst);
  tr_device_free(device, args.scratch);
  return result;
}

static void read_case(const int32_t *row, tr_aggregate_args *args) {
  args->spec = (tr_aggregate_spec){.kind = row[0] ? TR_AGGREGATE_CONCAT : TR_AGGREGATE_OFFICIAL,
                                   .layers = row[1],
                                   .patch = row[2],
                                   .stride = row[3],
                                   .layer_dimension = row[4],
                                   .dimension = row[5]};
  args->n = row[6];
  for (int i = 0; i < row[1]; ++i) {
    args->spec.c[i] = row[10 + 3 * i];
    args->spec.h[i] = row[11 + 3 * i];
    args->spec.w[i] = row[12 + 3 * i];
  }
}

/* Every value, against the cpu's: two sums in float, in different orders, of what is mostly not negative. */
static void assert_twins_agree(const tr_aggregate_args *args, const float *got, bool with_sign) {
  if (strcmp(test_device, "cpu") == 0)
    return;
  tr_device *cpu = featops_cpu(1);
  float *on_cpu = run_on(cpu, args);
  golden_assert_close(got, on_cpu, result_floats(&args->spec, args->n), with_sign ? 1e-5f : 2e-6f, with_sign ? 1e-6f : 0.0f);
  free(on_cpu);
  tr_device_close(cpu);
}

static void test_against_official(void **state) {
  (void)state;
  golden_array cases = golden_read("featops_aggregate_cases.npy"), values = golden_read("featops_aggregate_values.npy");
  golden_array checks = golden_read("featops_aggregate_sums.npy");
  assert_int_equal(cases.shape[1], COLUMNS);
  tr_device *device = test_device_open(2);
  const float *expected = values.data;
  for (size_t i = 0; i < cases.shape[0]; ++i) {
    const int32_t *row = (const int32_t *)cases.data + i * COLUMNS;
    tr_aggregate_args args = {.n = 0};
    read_case(row, &args);
    int h, w, d;
    assert_int_equal(tr_aggregate_shape(&args.spec, &h, &w, &d), TR_OK);
    assert_int_equal(args.n * h * w, row[8]);
    assert_int_equal(d, row[9]);
    make_maps(&args, (uint32_t)i, row[7]);
    float *got = run_on(device, &args);
    size_t count = result_floats(&args.spec, args.n);
    print_message("case %zu: %d layers, p %d, stride %d, %d -> %d\n", i, row[1], row[2], row[3], row[4], row[5]);
    expected += featops_assert_kept(got, count, expected, 1e-5, row[7] ? 1e-6 : 0);
    double sum = 0, squares = 0;
    for (size_t k = 0; k < count; ++k) {
      sum += got[k];
      squares += (double)got[k] * got[k];
    }
    const double *check = (const double *)checks.data + 2 * i;
    assert_true(fabs(sum - check[0]) <= 1e-6 * fabs(check[0]));
    assert_true(fabs(squares - check[1]) <= 1e-6 * check[1]);
    assert_twins_agree(&args, got, row[7]);
    free(got);
    free_maps(&args);
  }
  assert_ptr_equal(expected, (const float *)values.data + values.count);
  tr_device_close(device);
  golden_free(&cases);
  golden_free(&values);
  golden_free(&checks);
}

/* The closed form of the reading notes, from its words: layers 2+3, 1024 -> 1024. */
static void test_closed_form(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  for (int p = 3; p <= 9; p += 6) {
    tr_aggregate_args args = {.spec = {.layers = 2,
                                       .h = {6, 6},
                                       .w = {5, 5},
                                       .c = {512, 1024},
                                       .patch = p,
                                       .stride = 1,
                                       .layer_dimension = 1024,
                                       .dimension = 1024},
                              .n = 1};
    make_maps(&args, 77, false);
    float *result = run_on(device, &args);
    for (int y = 0; y < 6; ++y)
      for (int x = 0; x < 5; ++x)
        for (int j = 0; j < 1024; ++j) {
          double sum = 0;
          for (int dy = -(p / 2); dy <= p / 2; ++dy)
            for (int dx = -(p / 2); dx <= p / 2; ++dx) {
              if (y + dy < 0 || y + dy >= 6 || x + dx < 0 || x + dx >= 5)
                continue;
              int cell = (y + dy) * 5 + x + dx;
              const float *deep = args.maps[1] + (size_t)cell * 1024 + 2 * (j - 512);
              sum += j < 512 ? args.maps[0][(size_t)cell * 512 + (size_t)j] : deep[0] + (double)deep[1];
            }
          double expected =
              j < 512 ? (sum + args.maps[0][(size_t)(y * 5 + x) * 512 + (size_t)j]) / (p * p + 1) : sum / (2 * p * p);
          double got = result[(size_t)(y * 5 + x) * 1024 + (size_t)j];
          if (fabs(got - expected) > 1e-6 * expected)
            fail_msg("p %d, row %d, column %d, output %d: got %.9g, expected %.9g", p, y, x, j, got, expected);
        }
    free(result);
    free_maps(&args);
  }
  tr_device_close(device);
}

/* Per output, the weights over all layers sum to 1: each stage is a mean. */
static void test_weights_sum_to_one(void **state) {
  (void)state;
  const int dimensions[][2] = {{1024, 1024}, {1024, 384}, {100, 37}, {37, 100}, {5000, 7000}, {1, 1}};
  for (size_t k = 0; k < sizeof dimensions / sizeof *dimensions; ++k) {
    tr_aggregate_spec spec = {.layers = 3,
                              .h = {4, 4, 4},
                              .w = {4, 4, 4},
                              .c = {7, 40, 64},
                              .patch = 5,
                              .stride = 1,
                              .layer_dimension = dimensions[k][0],
                              .dimension = dimensions[k][1]};
    double *sums = calloc((size_t)spec.dimension, sizeof *sums);
    assert_non_null(sums);
    for (int layer = 0; layer < 3; ++layer) {
      tr_aggregate_layer shape = tr_aggregate_layer_of(&spec, layer);
      for (int output = shape.first; output < shape.end; ++output) {
        int first, end;
        tr_aggregate_channels(&spec, layer, output, &first, &end);
        assert_true(first >= 0 && first < end && end <= spec.c[layer]);
        for (int channel = first; channel < end; ++channel) {
          double weights[TR_MAX_PATCH * TR_MAX_PATCH];
          bool even = tr_aggregate_window(&spec, layer, output, channel, weights);
          for (int i = 0; i < 25; ++i) {
            bool also_even;
            double weight = weights[even ? 0 : i];
            assert_true(fabs(tr_aggregate_weight(&spec, layer, output, channel, i, &also_even) - weight) <= 1e-14 * weight);
            assert_true(also_even == even);
            sums[output] += weight;
          }
        }
      }
    }
    for (int output = 0; output < spec.dimension; ++output)
      assert_true(fabs(sums[output] - 1.0) < 1e-12);
    free(sums);
  }
}

static void test_same_bits(void **state) {
  (void)state;
  enum { IMAGES = 17 };
  tr_aggregate_args args = {.spec = {.layers = 3,
                                     .h = {20, 11, 5},
                                     .w = {23, 12, 6},
                                     .c = {24, 50, 70},
                                     .patch = 5,
                                     .stride = 1,
                                     .layer_dimension = 90,
                                     .dimension = 77},
                            .n = IMAGES};
  tr_device *device = test_device_open(1);
  make_maps(&args, 99, false);
  float *first = run_on(device, &args);
  size_t image = result_floats(&args.spec, 1);
  assert_twins_agree(&args, first, false);
  for (int threads = 1; threads <= 4; threads *= 2) {
    tr_device *other = test_device_open(threads);
    float *all = run_on(other, &args);
    assert_memory_equal(all, first, IMAGES * image * sizeof *all);
    free(all);
    for (int i = 0; i < IMAGES; ++i) {
      tr_aggregate_args one = args;
      one.n = 1;
      for (int layer = 0; layer < 3; ++layer)
        one.maps[layer] += (size_t)i * map_floats(&args.spec, layer, 1);
      float *alone = run_on(other, &one);
      assert_memory_equal(alone, first + (size_t)i * image, image * sizeof *alone);
      free(alone);
    }
    tr_device_close(other);
  }
  free(first);
  free_maps(&args);
  tr_device_close(device);
}

/* Every patch at stride 1 has a kernel of its own on a GPU. Odd sizes, one row, one cell. */
static void test_every_patch(void **state) {
  (void)state;
  const int sizes[][4] = {{9, 17, 5, 8}, {1, 30, 1, 15}, {1, 1, 1, 1}};
  tr_device *device = test_device_open(1);
  for (int p = 1; p <= 15; p += 2)
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
      tr_aggregate_args args = {.spec = {.layers = 2,
                                         .h = {sizes[i][0], sizes[i][2]},
                                         .w = {sizes[i][1], sizes[i][3]},
                                         .c = {13, 37},
                                         .patch = p,
                                         .stride = 1,
                                         .layer_dimension = 29,
                                         .dimension = 40},
                                .n = 3};
      make_maps(&args, (uint32_t)(100 + p), false);
      float *got = run_on(device, &args);
      double sum = 0;
      for (size_t k = 0; k < result_floats(&args.spec, args.n); ++k)
        sum += got[k];
      assert_true(sum > 0); /* no NaN */
      assert_twins_agree(&args, got, false);
      free(got);
      free_maps(&args);
    }
  tr_device_close(device);
}

static void test_bad_arguments(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  float map[16] = {0}, dst[16], scratch[16];
  const tr_aggregate_args good = {
      .spec = {.layers = 1, .h = {2}, .w = {2}, .c = {4}, .patch = 1, .stride = 1, .layer_dimension = 4, .dimension = 4},
      .n = 1,
      .maps = {map},
      .dst = dst,
      .scratch = scratch};
  tr_aggregate_args args;
  int h, w, d;
#define REFUSED(change, named)                                  \
  do {                                                          \
    args = good;                                                \
    change;                                                     \
    featops_assert_invalid(tr_aggregate(device, &args), named); \
  } while (0)
  REFUSED(args.spec.kind = (tr_aggregate_kind)7, "kind");
  REFUSED(args.spec.layers = 0, "layers");
  REFUSED(args.spec.layers = TR_MAX_LAYERS + 1, "layers");
  REFUSED(args.spec.patch = 2, "patch");
  REFUSED(args.spec.patch = 17, "patch");
  REFUSED(args.spec.patch = -1, "patch");
  REFUSED(args.spec.stride = 0, "stride");
  REFUSED(args.spec.h[0] = 0, "layer 0");
  REFUSED(args.spec.w[0] = -3, "layer 0");
  REFUSED((args.spec.layers = 2, args.maps[1] = map), "layer 1");
  REFUSED(args.spec.layer_dimension = 0, "layer_dimension");
  REFUSED(args.spec.dimension = 0, "aggregate: dimension");
  REFUSED(args.n = -1, "aggregate: n");
  REFUSED(args.maps[0] = NULL, "maps[0]");
  REFUSED(args.dst = NULL, "dst");
  REFUSED(args.scratch = NULL, "scratch");
#undef REFUSED
  featops_assert_invalid(tr_aggregate(NULL, &good), "device");
  featops_assert_invalid(tr_aggregate(device, NULL), "args");
  featops_assert_invalid(tr_aggregate_shape(NULL, &h, &w, &d), "spec");
  args = good;
  args.spec.patch = 4;
  assert_int_equal(tr_aggregate_scratch(device, &args.spec, 1), 0);
  assert_int_equal(tr_aggregate_scratch(NULL, &good.spec, 1), 0);
  args = good;
  args.n = 0;
  args.dst = NULL;
  assert_int_equal(tr_aggregate(device, &args), TR_OK);
  tr_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_official), cmocka_unit_test(test_closed_form), cmocka_unit_test(test_weights_sum_to_one),
      cmocka_unit_test(test_same_bits),        cmocka_unit_test(test_every_patch), cmocka_unit_test(test_bad_arguments),
  };
  return run_on_devices("aggregate", tests, NULL, NULL);
}
