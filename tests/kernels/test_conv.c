/* conv: the twins (on the cpu oneDNN where it is found, on a GPU cuDNN and own kernels) and plain C against PyTorch and against each
 * other. */
#include "host/base/rng.h"
#include "host/base/status.h"
#include "kernels/cpu/conv_plain.h"
#include "tests/kernels/devices.h"

#include <math.h>

enum { FIELDS = 17 };

/* Against a sum in double, in units of the result's rms. A sum of up to 41472 products in float, in any order, was seen to be off
 * by 7e-6 at most, Winograd included; a wrong tap, pad or channel is off by 1e-2 and more. */
#define TOLERANCE 2e-5f

/* Of TF32: each factor is off by up to 2^-11 of itself, and the errors of many products add up like the root of their number, as the
 * result does. 1.3e-3 was seen. */
#define TF32_TOLERANCE 4e-3f

static bool is_tf32(void) {
  const char *math = getenv("TOTALRECALL_CONV_MATH");
  return math && strcmp(math, "tf32") == 0 && strcmp(test_device, "cpu") != 0;
}

static float tolerance(void) {
  return is_tf32() ? TF32_TOLERANCE : TOLERANCE;
}

typedef struct conv_case {
  int index, n, out_h, out_w;
  tr_conv_desc desc;
  float *src, *weights, *bias, *residual, *dst; /* host, whole buffers; the views are their last channels */
  size_t src_floats, dst_floats;
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
  c.src_floats = (size_t)(c.n * d->in_h * d->in_w * d->src_pixel_stride);
  c.src = draw(c.src_floats, index, 0, 1.0f);
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

static float *dst_view(const conv_case *c) {
  return c->dst + c->desc.dst_pixel_stride - c->desc.out_channels;
}

static void clear_dst(conv_case *c) {
  for (size_t i = 0; i < c->dst_floats; ++i)
    c->dst[i] = -77.0f;
}

/* The arrays of a case on a device; the views start at src_view and dst_view. */
typedef struct device_case {
  float *src, *residual, *dst;
  const float *src_view;
  float *dst_view;
  void *scratch;
  size_t scratch_bytes;
} device_case;

static size_t residual_bytes(const conv_case *c) {
  return (size_t)(c->n * c->out_h * c->out_w * c->desc.out_channels) * sizeof(float);
}

static device_case device_case_make(tr_device *device, conv_case *c) {
  clear_dst(c);
  device_case d = {.src = device_copy_of(device, c->src, c->src_floats * sizeof *c->src),
                   .residual = device_copy_of(device, c->residual, residual_bytes(c)),
                   .dst = device_copy_of(device, c->dst, c->dst_floats * sizeof *c->dst)};
  size_t state_bytes;
  assert_int_equal(tr_conv_bytes(device, &c->desc, c->n, &state_bytes, &d.scratch_bytes), TR_OK);
  d.scratch = device_array(device, d.scratch_bytes);
  d.src_view = d.src + c->desc.src_pixel_stride - c->desc.in_channels;
  d.dst_view = d.dst + c->desc.dst_pixel_stride - c->desc.out_channels;
  return d;
}

static void device_case_free(tr_device *device, device_case *d) {
  tr_device_free(device, d->src);
  tr_device_free(device, d->residual);
  tr_device_free(device, d->dst);
  tr_device_free(device, d->scratch);
}

static tr_conv *create(tr_device *device, const conv_case *c) {
  tr_conv *conv;
  size_t state_bytes, scratch_bytes, before = tr_device_bytes(device);
  assert_int_equal(tr_conv_bytes(device, &c->desc, c->n, &state_bytes, &scratch_bytes), TR_OK);
  if (tr_conv_create(device, &c->desc, c->weights, c->bias, &conv) != TR_OK)
    fail_msg("case %d: %s", c->index, tr_last_error());
  size_t taken = tr_device_bytes(device) - before;
  assert_true(taken >= state_bytes && taken <= state_bytes + 128);
  return conv;
}

static void run(tr_conv *conv, const conv_case *c, const tr_conv_args *args) {
  if (tr_conv_run(conv, args) != TR_OK)
    fail_msg("case %d: %s", c->index, tr_last_error());
}

static void run_twin(tr_device *device, conv_case *c) {
  size_t before = tr_device_bytes(device);
  tr_conv *conv = create(device, c);
  device_case d = device_case_make(device, c);
  run(conv, c, &(tr_conv_args){c->n, d.src_view, d.residual, d.dst_view, d.scratch});
  device_read(device, c->dst, d.dst, c->dst_floats * sizeof *c->dst);
  device_case_free(device, &d);
  tr_conv_destroy(conv);
  assert_int_equal(tr_device_bytes(device), before);
}

static void run_plain(conv_case *c) {
  void *state, *scratch;
  tr_device *cpu;
  size_t state_bytes, scratch_bytes;
  assert_int_equal(tr_device_open("cpu", 1, &cpu), TR_OK);
  assert_int_equal(tr_cpu_conv_plain_bytes(cpu, &c->desc, c->n, &state_bytes, &scratch_bytes), TR_OK);
  assert_int_equal(tr_cpu_conv_plain_create(cpu, &c->desc, c->weights, c->bias, &state), TR_OK);
  scratch = device_array(cpu, scratch_bytes);
  clear_dst(c);
  const float *src_view = c->src + c->desc.src_pixel_stride - c->desc.in_channels;
  const tr_conv_args args = {c->n, src_view, c->residual, dst_view(c), scratch};
  assert_int_equal(tr_cpu_conv_plain_run(cpu, &c->desc, state, &args), TR_OK);
  tr_device_free(cpu, scratch);
  tr_cpu_conv_plain_destroy(cpu, state);
  tr_device_close(cpu);
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
    if (!(fabsf(got - expected[i]) <= tolerance() * scale))
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
  f.device = test_device_open(4);
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
    run_plain(&c);
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
    run_plain(&plain);
    run_twin(f->device, &twin);
    float limit = 2 * tolerance() * rms(plain.dst, plain.dst_floats);
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
  const float *src, *residual; /* device */
  float *dst;
  char *scratch;
  size_t scratch_bytes;
} lane_job;

/* The job's images from `first` on, one at a time. */
static tr_status run_lane(void *context, size_t first, size_t count, int lane) {
  const lane_job *job = context;
  const tr_conv_desc *d = &job->c->desc;
  size_t in = (size_t)d->in_h * (size_t)d->in_w * (size_t)d->src_pixel_stride;
  size_t out = (size_t)job->c->out_h * (size_t)job->c->out_w * (size_t)d->out_channels;
  for (size_t i = first; i < first + count; ++i)
    TR_TRY(tr_conv_run(job->conv, &(tr_conv_args){1, job->src + i * in, job->residual ? job->residual + i * out : NULL,
                                                  job->dst + i * out, job->scratch + (size_t)lane * job->scratch_bytes}));
  return TR_OK;
}

/* The same bits whether images come one by one in several lanes or all in one call outside any lane. */
static void test_lanes_and_batch(void **state) {
  const fixture *f = *state;
  if (is_tf32()) /* the contract allows it to depend on the number of images */
    skip();
  for (size_t i = 0; i < f->cases.shape[0]; ++i) {
    conv_case c = case_at(f, i);
    if (c.n == 17) {
      run_twin(f->device, &c);
      float *whole = c.dst;
      c.dst = malloc(c.dst_floats * sizeof *c.dst);
      assert_non_null(c.dst);
      device_case d = device_case_make(f->device, &c);
      size_t lanes = (size_t)tr_device_lanes(f->device);
      lane_job job = {.c = &c,
                      .conv = create(f->device, &c),
                      .src = d.src,
                      .residual = d.residual,
                      .dst = d.dst,
                      .scratch = device_array(f->device, lanes * d.scratch_bytes),
                      .scratch_bytes = d.scratch_bytes};
      assert_int_equal(tr_device_for_chunks(f->device, (size_t)c.n, run_lane, &job), TR_OK);
      device_read(f->device, c.dst, d.dst, c.dst_floats * sizeof *c.dst);
      assert_memory_equal(c.dst, whole, c.dst_floats * sizeof(float));
      tr_conv_destroy(job.conv);
      tr_device_free(f->device, job.scratch);
      device_case_free(f->device, &d);
      free(whole);
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
      tr_conv *conv = create(f->device, &c);
      float *apart = c.dst;
      c.dst = malloc(c.dst_floats * sizeof *c.dst);
      assert_non_null(c.dst);
      device_case d = device_case_make(f->device, &c);
      run(conv, &c, &(tr_conv_args){c.n, d.src_view, d.residual, d.residual, d.scratch});
      device_read(f->device, c.dst, d.residual, residual_bytes(&c));
      assert_memory_equal(c.dst, apart, c.dst_floats * sizeof(float));
      tr_conv_destroy(conv);
      device_case_free(f->device, &d);
      free(apart);
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
  float *data = device_copy_of(f->device, zeros, 16 * 16 * 9 * sizeof *zeros);
  assert_int_equal(tr_conv_run(conv, &(tr_conv_args){1, data, NULL, data, NULL}), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "residual"));
  assert_int_equal(tr_conv_run(conv, &(tr_conv_args){1, data, data, data, NULL}), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "dense"));
  assert_int_equal(tr_conv_run(conv, &(tr_conv_args){0, data, data, data + 1, NULL}), TR_EINVAL);
  assert_int_equal(tr_conv_run(conv, &(tr_conv_args){1, data, data, data + 1, NULL}), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "scratch"));
  tr_conv_destroy(conv);
  tr_conv_destroy(NULL);
  tr_device_free(f->device, data);
  free(zeros);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_golden),          cmocka_unit_test(test_twins_agree),
      cmocka_unit_test(test_lanes_and_batch), cmocka_unit_test(test_residual_in_place),
      cmocka_unit_test(test_errors),
  };
  return run_on_devices("conv", tests, setup, teardown);
}
