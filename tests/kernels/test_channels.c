/* channels against torch's F.interpolate (tests/golden/make_padim.py). Skipped on a device that cannot draw channels yet. */
#include "kernels/channels.h"

#include "tests/golden/featops.h"

#include <math.h>

enum { COLUMNS = 13 };

/* Arguments with arrays of the host. */
typedef struct case_data {
  tr_channels_args args;
  uint32_t channels[256];
  size_t vectors; /* positions of all images */
} case_data;

static size_t map_floats(const tr_channels_spec *spec, int layer, int n) {
  return (size_t)n * (size_t)spec->h[layer] * (size_t)spec->w[layer] * (size_t)spec->c[layer];
}

static void read_case(const int32_t *row, uint32_t number, case_data *out) {
  *out = (case_data){0};
  tr_channels_spec *spec = &out->args.spec;
  spec->layers = row[0];
  spec->placement = row[2] ? TR_PLACE_BILINEAR : TR_PLACE_NEAREST;
  spec->channels = out->channels;
  out->args.n = row[1];
  uint32_t total = 0;
  for (int i = 0; i < row[0]; ++i) {
    spec->c[i] = row[4 + 3 * i];
    spec->h[i] = row[5 + 3 * i];
    spec->w[i] = row[6 + 3 * i];
    total += (uint32_t)spec->c[i];
    size_t count = map_floats(spec, i, row[1]);
    float *map = featops_array(count);
    for (size_t k = 0; k < count; ++k) {
      float value = featops_noise(5000 + 10 * number + (uint32_t)i, (uint32_t)k);
      map[k] = value > 0 ? value : 0;
    }
    out->args.maps[i] = map;
  }
  for (uint32_t c = 0; c < total; ++c)
    if ((7 * c + 3) % 5 < 2)
      out->channels[spec->count++] = c;
  assert_int_equal(spec->count, row[3]);
  out->vectors = (size_t)row[1] * (size_t)spec->h[0] * (size_t)spec->w[0];
}

static void free_case(case_data *data) {
  for (int i = 0; i < data->args.spec.layers; ++i)
    free((void *)data->args.maps[i]);
}

/* Images after each other, vectors `gap` floats apart beyond their length; host memory. */
static float *run(tr_device *device, const case_data *data, size_t gap) {
  tr_channels_args args = data->args;
  args.position_pitch = (size_t)args.spec.count + gap;
  args.image_pitch = data->vectors / (size_t)args.n * args.position_pitch;
  size_t count = data->vectors * args.position_pitch;
  float *result = featops_array(count);
  memset(result, 0xff, count * sizeof *result); /* NaN: a value not written shows */
  for (int i = 0; i < args.spec.layers; ++i)
    args.maps[i] = device_copy_of(device, args.maps[i], map_floats(&args.spec, i, args.n) * sizeof(float));
  args.dst = device_copy_of(device, result, count * sizeof *result);
  args.scratch = device_array(device, tr_channels_scratch(device, &args.spec, args.n));
  if (tr_channels(device, &args) != TR_OK)
    fail_msg("%s", tr_last_error());
  device_read(device, result, args.dst, count * sizeof *result);
  for (int i = 0; i < args.spec.layers; ++i)
    tr_device_free(device, (void *)args.maps[i]);
  tr_device_free(device, args.dst);
  tr_device_free(device, args.scratch);
  return result;
}

static void test_against_torch(void **state) {
  (void)state;
  tr_device *device = test_device_open(2);
  golden_array cases = golden_read("padim_channels_cases.npy"), values = golden_read("padim_channels_values.npy");
  assert_int_equal(cases.shape[1], COLUMNS);
  const float *expected = values.data;
  for (size_t i = 0; i < cases.shape[0]; ++i) {
    case_data data;
    read_case((const int32_t *)cases.data + i * COLUMNS, (uint32_t)i, &data);
    float *got = run(device, &data, 0);
    expected += featops_assert_kept(got, data.vectors * (size_t)data.args.spec.count, expected, 1e-6, 1e-6);
    free(got);
    free_case(&data);
  }
  assert_ptr_equal(expected, (const float *)values.data + values.count);
  tr_device_close(device);
  golden_free(&cases);
  golden_free(&values);
}

/* Pitches, images alone or together, and threads change no bit; what lies between vectors is left alone. */
static void test_same_bits(void **state) {
  (void)state;
  static const int32_t row[COLUMNS] = {3, 5, 1, 28, 16, 12, 10, 32, 6, 5, 23, 3, 3};
  tr_device *device = test_device_open(1);
  case_data data;
  read_case(row, 77, &data);
  size_t count = (size_t)data.args.spec.count, one = data.vectors / (size_t)data.args.n;
  float *packed = run(device, &data, 0);
  for (int threads = 1; threads <= 4; threads *= 2) {
    tr_device *other = test_device_open(threads);
    float *spread = run(other, &data, 5);
    for (size_t v = 0; v < data.vectors; ++v) {
      const float *vector = spread + v * (count + 5);
      assert_memory_equal(vector, packed + v * count, count * sizeof *packed);
      for (size_t gap = count; gap < count + 5; ++gap)
        assert_true(isnan(vector[gap]));
    }
    free(spread);
    case_data third = data;
    third.args.n = 1;
    third.vectors = one;
    for (int i = 0; i < 3; ++i)
      third.args.maps[i] += 3 * map_floats(&data.args.spec, i, 1);
    float *alone = run(other, &third, 0);
    assert_memory_equal(alone, packed + 3 * one * count, one * count * sizeof *packed);
    free(alone);
    tr_device_close(other);
  }
  free(packed);
  free_case(&data);
  tr_device_close(device);
}

static void test_bad_arguments(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  float map[16] = {0}, dst[16], scratch[16];
  static const uint32_t two[2] = {1, 3}, twice[2] = {1, 1}, beyond[2] = {1, 4};
  const tr_channels_args good = {.spec = {.layers = 1, .h = {2}, .w = {2}, .c = {4}, .count = 2, .channels = two},
                                 .n = 1,
                                 .maps = {map},
                                 .dst = dst,
                                 .image_pitch = 8,
                                 .position_pitch = 2,
                                 .scratch = scratch};
  tr_channels_args args;
#define REFUSED(change, named)                                 \
  do {                                                         \
    args = good;                                               \
    change;                                                    \
    featops_assert_invalid(tr_channels(device, &args), named); \
  } while (0)
  REFUSED(args.spec.layers = 0, "layers");
  REFUSED(args.spec.placement = (tr_placement)7, "placement");
  REFUSED(args.spec.h[0] = 0, "layer 0");
  REFUSED((args.spec.layers = 2, args.maps[1] = map), "layer 1");
  REFUSED(args.spec.count = 0, "expected 1 to 4");
  REFUSED(args.spec.count = 5, "expected 1 to 4");
  REFUSED(args.spec.channels = NULL, "no list");
  REFUSED(args.spec.channels = twice, "number 1");
  REFUSED(args.spec.channels = beyond, "number 1");
  REFUSED(args.n = -1, "channels: n");
  REFUSED(args.maps[0] = NULL, "maps[0]");
  REFUSED(args.dst = NULL, "dst");
  REFUSED(args.scratch = NULL, "scratch");
#undef REFUSED
  tr_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_torch),
      cmocka_unit_test(test_same_bits),
      cmocka_unit_test(test_bad_arguments),
  };
  return run_on_devices("channels", tests, NULL, NULL);
}
