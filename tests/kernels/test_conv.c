/* conv: the cpu's twin (oneDNN where it is found) and plain C against PyTorch and against each other. */
#include "host/base/rng.h"
#include "kernels/cpu/conv_plain.h"
#include "tests/golden/golden.h"

#include <math.h>

enum { FIELDS = 17 };

/* Against a sum in double, in units of the result's rms. A sum of up to 41472 products in float, in any order, was seen to be off
 * by 7e-6 at most, Winograd included; a wrong tap, pad or channel is off by 1e-2 and more. */
#define TOLERANCE 2e-5f

typedef struct conv_case {
  int index, n, out_h, out_w;
  tr_conv_desc desc;
  float *src, *weights, *bias, *residual, *dst; /* whole buffers; the views are their last channels */
  size_t dst_floats;
} conv_case;

static float *draw(size_t count, int index, uint64_t array, float scale) {
  float *values = malloc(count * sizeof *values);
  assert_non_null(values);
  tr_rng rng = tr_rng_make((uint64_t)index, TR_RNG_TEST, array);
  for (size_t i = 0; i < count; ++i)
    values[i] = tr_rng_between(&rng, -1.0f, 1.0f) * scale;
  return values;
}

static tr_conv_desc desc_of(const int32_t f[FIELDS]) {
  return (tr_conv_desc){.in_h = f[1],
                        .in_w = f[2],
                        .in_channels = f[3],
                        .out_channels = f[4],
                        .kernel_h = f[5],
                        .kernel_w = f[6],
                        .stride = f[7],
                        .groups = f[8],
                        .pad_top = f[9],
                        .pad_left = f[10],
                        .pad_bottom = f[11],
                        .pad_right = f[12],
                        .src_pixel_stride = f[13],
                        .dst_pixel_stride = f[14],
                        .has_residual = f[15] != 0,
                        .activation = (tr_activation)f[16]};
}

static conv_case case_make(int index, const int32_t fields[FIELDS]) {
  conv_case c = {.index = index, .n = fields[0], .desc = desc_of(fields)};
  const tr_conv_desc *d = &c.desc;
  tr_conv_shape(d, &c.out_h, &c.out_w);
  size_t fan_in = (size_t)(d->in_channels / d->groups * d->kernel_h * d->kernel_w);
  size_t out_pixels = (size_t)(c.n * c.out_h * c.out_w), out = (size_t)d->out_channels;
  c.src = draw((size_t)(c.n * d->in_h * d->in_w * d->src_pixel_stride), index, 0, 1.0f);
  c.weights = draw(out * fan_in, index, 1, (float)sqrt(9.0 / (double)fan_in));
  c.bias = draw(out, index, 2, 1.0f);
  c.residual = d->has_residual ? draw(out_pixels * out, index, 3, 1.0f) : NULL;
  c.dst_floats = out_pixels * (size_t)d->dst_pixel_stride;
  c.dst = malloc(c.dst_floats * sizeof *c.dst);
  assert_non_null(c.dst);
  return c;
}

static void case_free(conv_case *c) {
  free(c->src);
  free(c->weights);
  free(c->bias);
  free(c->residual);
  free(c->dst);
}

static const float *src_view(const conv_case *c) {
  return c->src + c->desc.src_pixel_stride - c->desc.in_channels;
}

static float *dst_view(const conv_case *c) {
  return c->dst + c->desc.dst_pixel_stride - c->desc.out_channels;
}

static void *allocate(tr_device *device, size_t bytes) {
  void *memory;
  assert_int_equal(tr_device_alloc(device, bytes, &memory), TR_OK);
  return memory;
}

static void clear_dst(conv_case *c) {
  for (size_t i = 0; i < c->dst_floats; ++i)
    c->dst[i] = -77.0f;
}

static void run_twin(tr_device *device, conv_case *c) {
  tr_conv *conv;
  size_t state_bytes, scratch_bytes, before = tr_device_bytes(device);
  assert_int_equal(tr_conv_bytes(device, &c->desc, c->n, &state_bytes, &scratch_bytes), TR_OK);
  if (tr_conv_create(device, &c->desc, c->weights, c->bias, &conv) != TR_OK)
    fail_msg("case %d: %s", c->index, tr_last_error());
  size_t taken = tr_device_bytes(device) - before;
  assert_true(taken >= state_bytes && taken <= state_bytes + 128);
  void *scratch = allocate(device, scratch_bytes);
  clear_dst(c);
  assert_int_equal(tr_conv_run(conv, &(tr_conv_args){c->n, src_view(c), c->residual, dst_view(c), scratch}), TR_OK);
  tr_device_free(device, scratch);
  tr_conv_destroy(conv);
  assert_int_equal(tr_device_bytes(device), before);
}

static void run_plain(tr_device *device, conv_case *c) {
  void *state;
  size_t state_bytes, scratch_bytes;
  assert_int_equal(tr_cpu_conv_plain_bytes(device, &c->desc, c->n, &state_bytes, &scratch_bytes), TR_OK);
  assert_int_equal(tr_cpu_conv_plain_create(device, &c->desc, c->weights, c->bias, &state), TR_OK);
  void *scratch = allocate(device, scratch_bytes);
  clear_dst(c);
  const tr_conv_args args = {c->n, src_view(c), c->residual, dst_view(c), scratch};
  assert_int_equal(tr_cpu_conv_plain_run(device, &c->desc, state, &args), TR_OK);
  tr_device_free(device, scratch);
  tr_cpu_conv_plain_destroy(device, state);
}

static float rms(const float *values, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i)
    sum += (double)values[i] * (double)values[i];
  return (float)sqrt(sum / (double)count);
}

/* Value i of the view in dense NHWC order. */
static float dst_value(const conv_case *c, size_t i) {
  size_t channels = (size_t)c->desc.out_channels;
  return dst_view(c)[i / channels * (size_t)c->desc.dst_pixel_stride + i % channels];
}

static void check_samples(const conv_case *c, const float *expected, size_t samples) {
  size_t count = c->dst_floats / (size_t)c->desc.dst_pixel_stride * (size_t)c->desc.out_channels;
  float scale = rms(expected, samples);
  for (size_t i = 0; i < samples; ++i) {
    float got = dst_value(c, i * count / samples);
    if (!(fabsf(got - expected[i]) <= TOLERANCE * scale))
      fail_msg("case %d, sample %zu: got %.9g, PyTorch %.9g (rms %g)", c->index, i, (double)got, (double)expected[i],
               (double)scale);
  }
}

/* Channels of a wider destination that are not of the view stay as they were. */
static void check_rest_untouched(const conv_case *c) {
  size_t stride = (size_t)c->desc.dst_pixel_stride, rest = stride - (size_t)c->desc.out_channels;
  for (size_t i = 0; i < c->dst_floats; ++i)
    if (i % stride < rest && c->dst[i] != -77.0f)
      fail_msg("case %d: float %zu is outside the view and was written", c->index, i);
}

typedef struct fixture {
  tr_device *device;
  golden_array cases, expected;
} fixture;

static int setup(void **state) {
  static fixture f;
  assert_int_equal(tr_device_open("cpu", 4, &f.device), TR_OK);
  f.cases = golden_read("conv_cases.npy");
  f.expected = golden_read("conv_expected.npy");
  assert_int_equal(f.cases.shape[1], FIELDS);
  assert_int_equal(f.cases.shape[0], f.expected.shape[0]);
  *state = &f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  tr_device_close(f->device);
  golden_free(&f->cases);
  golden_free(&f->expected);
  return 0;
}

static conv_case case_at(const fixture *f, size_t i) {
  return case_make((int)i, (const int32_t *)f->cases.data + i * FIELDS);
}

static void test_golden(void **state) {
  const fixture *f = *state;
  size_t samples = f->expected.shape[1];
  for (size_t i = 0; i < f->cases.shape[0]; ++i) {
    conv_case c = case_at(f, i);
    const float *expected = (const float *)f->expected.data + i * samples;
    run_plain(f->device, &c);
    check_samples(&c, expected, samples);
    check_rest_untouched(&c);
    run_twin(f->device, &c);
    check_samples(&c, expected, samples);
    check_rest_untouched(&c);
    case_free(&c);
  }
}

static void test_twins_agree(void **state) {
  const fixture *f = *state;
  for (size_t i = 0; i < f->cases.shape[0]; ++i) {
    conv_case plain = case_at(f, i), twin = case_at(f, i);
    run_plain(f->device, &plain);
    run_twin(f->device, &twin);
    float limit = 2 * TOLERANCE * rms(plain.dst, plain.dst_floats);
    for (size_t j = 0; j < plain.dst_floats; ++j)
      if (!(fabsf(plain.dst[j] - twin.dst[j]) <= limit))
        fail_msg("case %zu, float %zu: plain C %.9g, twin %.9g", i, j, (double)plain.dst[j], (double)twin.dst[j]);
    case_free(&plain);
    case_free(&twin);
  }
}

typedef struct lane_job {
  const conv_case *c;
  tr_conv *conv;
  char *scratch;
  size_t scratch_bytes;
  float *dst;
} lane_job;

static tr_status run_lane(void *context, size_t first, size_t count, int lane) {
  const lane_job *job = context;
  const tr_conv_desc *d = &job->c->desc;
  size_t out = (size_t)job->c->out_h * (size_t)job->c->out_w * (size_t)d->out_channels;
  const float *src = job->c->src + first * (size_t)d->in_h * (size_t)d->in_w * (size_t)d->src_pixel_stride;
  const float *residual = job->c->residual ? job->c->residual + first * out : NULL;
  return tr_conv_run(job->conv, &(tr_conv_args){(int)count, src, residual, job->dst + first * out,
                                                job->scratch + (size_t)lane * job->scratch_bytes});
}

/* The same bits whether images come one by one in several lanes or all in one call outside any lane. */
static void test_lanes_and_batch(void **state) {
  const fixture *f = *state;
  for (size_t i = 0; i < f->cases.shape[0]; ++i) {
    conv_case c = case_at(f, i);
    if (c.n == 17) {
      run_twin(f->device, &c);
      lane_job job = {.c = &c, .dst = malloc(c.dst_floats * sizeof(float))};
      size_t state_bytes, lanes = (size_t)tr_device_lanes(f->device);
      assert_non_null(job.dst);
      assert_int_equal(tr_conv_bytes(f->device, &c.desc, 1, &state_bytes, &job.scratch_bytes), TR_OK);
      job.scratch = allocate(f->device, lanes * job.scratch_bytes);
      assert_int_equal(tr_conv_create(f->device, &c.desc, c.weights, c.bias, &job.conv), TR_OK);
      assert_int_equal(tr_device_for_chunks(f->device, (size_t)c.n, run_lane, &job), TR_OK);
      assert_memory_equal(job.dst, c.dst, c.dst_floats * sizeof(float));
      tr_conv_destroy(job.conv);
      tr_device_free(f->device, job.scratch);
      free(job.dst);
    }
    case_free(&c);
  }
}

/* A residual that is the destination gives the bits of one that is not. */
static void test_residual_in_place(void **state) {
  const fixture *f = *state;
  for (size_t i = 0; i < f->cases.shape[0]; ++i) {
    conv_case c = case_at(f, i);
    if (c.desc.has_residual && c.desc.dst_pixel_stride == c.desc.out_channels) {
      run_twin(f->device, &c);
      tr_conv *conv;
      size_t state_bytes, scratch_bytes;
      assert_int_equal(tr_conv_bytes(f->device, &c.desc, 1, &state_bytes, &scratch_bytes), TR_OK);
      void *scratch = allocate(f->device, scratch_bytes);
      assert_int_equal(tr_conv_create(f->device, &c.desc, c.weights, c.bias, &conv), TR_OK);
      assert_int_equal(tr_conv_run(conv, &(tr_conv_args){c.n, src_view(&c), c.residual, c.residual, scratch}), TR_OK);
      assert_memory_equal(c.residual, c.dst, c.dst_floats * sizeof(float));
      tr_conv_destroy(conv);
      tr_device_free(f->device, scratch);
    }
    case_free(&c);
  }
}

static void expect_refused(tr_device *device, tr_conv_desc desc, const char *word) {
  tr_conv *conv = NULL;
  const float none[1] = {0};
  size_t bytes;
  assert_int_equal(tr_conv_bytes(device, &desc, 1, &bytes, &bytes), TR_EINVAL);
  assert_int_equal(tr_conv_create(device, &desc, none, none, &conv), TR_EINVAL);
  assert_null(conv);
  if (!strstr(tr_last_error(), word))
    fail_msg("the error does not say \"%s\": %s", word, tr_last_error());
}

static void test_errors(void **state) {
  const fixture *f = *state;
  const tr_conv_desc good = {.in_h = 5,
                             .in_w = 5,
                             .in_channels = 16,
                             .out_channels = 16,
                             .kernel_h = 3,
                             .kernel_w = 3,
                             .stride = 1,
                             .groups = 1,
                             .src_pixel_stride = 16,
                             .dst_pixel_stride = 20};
  tr_conv_desc d = good;
  d.groups = 3;
  expect_refused(f->device, d, "groups");
  d = good;
  d.kernel_w = 6;
  expect_refused(f->device, d, "kernel");
  d = good;
  d.stride = 0;
  expect_refused(f->device, d, "stride");
  d = good;
  d.pad_left = -1;
  expect_refused(f->device, d, "padding");
  d = good;
  d.src_pixel_stride = 15;
  expect_refused(f->device, d, "pixel stride");

  float *zeros = calloc(16 * 16 * 9, sizeof *zeros);
  assert_non_null(zeros);
  d = good;
  d.has_residual = true;
  tr_conv *conv;
  assert_int_equal(tr_conv_create(f->device, &d, zeros, zeros, &conv), TR_OK);
  float *data = zeros;
  assert_int_equal(tr_conv_run(conv, &(tr_conv_args){1, data, NULL, data, NULL}), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "residual"));
  assert_int_equal(tr_conv_run(conv, &(tr_conv_args){1, data, data, data, NULL}), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "dense"));
  assert_int_equal(tr_conv_run(conv, &(tr_conv_args){0, data, data, data + 1, NULL}), TR_EINVAL);
  assert_int_equal(tr_conv_run(conv, &(tr_conv_args){1, data, data, data + 1, NULL}), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "scratch"));
  tr_conv_destroy(conv);
  tr_conv_destroy(NULL);
  free(zeros);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_golden),          cmocka_unit_test(test_twins_agree),
      cmocka_unit_test(test_lanes_and_batch), cmocka_unit_test(test_residual_in_place),
      cmocka_unit_test(test_errors),
  };
  return cmocka_run_group_tests_name("conv", tests, setup, teardown);
}
