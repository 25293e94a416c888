/* Engines chosen by measurement are kept in a file and used by later processes; a damaged file is as none. */
#include "host/base/rng.h"
#include "host/base/text.h"
#include "kernels/conv.h"
#include "tests/kernels/devices.h"

#include <sys/wait.h>

enum { SIZE = 6, CHANNELS = 16, KERNEL = 3, FLOATS = SIZE * SIZE * CHANNELS, WEIGHTS = CHANNELS * CHANNELS * KERNEL * KERNEL };

static char cache[64];

static void draw(float *values, size_t count, uint64_t array) {
  tr_rng rng = tr_rng_make(5, TR_RNG_TEST, array);
  for (size_t i = 0; i < count; ++i)
    values[i] = tr_rng_between(&rng, -1.0f, 1.0f);
}

static tr_status convolve(float *out) {
  static float src[FLOATS], weights[WEIGHTS], bias[CHANNELS];
  const tr_conv_desc desc = {.in_h = SIZE,
                             .in_w = SIZE,
                             .in_channels = CHANNELS,
                             .out_channels = CHANNELS,
                             .kernel_h = KERNEL,
                             .kernel_w = KERNEL,
                             .stride = 1,
                             .groups = 1,
                             .pad_top = 1,
                             .pad_left = 1,
                             .pad_bottom = 1,
                             .pad_right = 1,
                             .src_pixel_stride = CHANNELS,
                             .dst_pixel_stride = CHANNELS};
  tr_device *device;
  tr_conv *conv;
  size_t state_bytes, scratch_bytes;
  draw(src, FLOATS, 0);
  draw(weights, WEIGHTS, 1);
  draw(bias, CHANNELS, 2);
  if (tr_device_open("cuda:0", 1, &device) != TR_OK || tr_conv_bytes(device, &desc, 1, &state_bytes, &scratch_bytes) != TR_OK ||
      tr_conv_create(device, &desc, weights, bias, &conv) != TR_OK)
    return TR_EDEVICE;
  void *scratch = device_array(device, scratch_bytes), *from = device_copy_of(device, src, sizeof src),
       *to = device_array(device, sizeof src);
  tr_status status = tr_conv_run(conv, &(tr_conv_args){1, from, NULL, to, scratch});
  if (status == TR_OK)
    status = tr_device_download(device, out, to, sizeof src);
  tr_conv_destroy(conv);
  tr_device_free(device, scratch);
  tr_device_free(device, from);
  tr_device_free(device, to);
  tr_device_close(device);
  return status;
}

/* What a process of its own computes: tables of choices are kept as long as a process lives. */
static void convolve_apart(const char *tune, float out[FLOATS]) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    float values[FLOATS];
    setenv("TOTALRECALL_TUNE", tune, 1);
    bool good = convolve(values) == TR_OK && write(ends[1], values, sizeof values) == (ssize_t)sizeof values;
    if (!good)
      fprintf(stderr, "%s\n", tr_last_error());
    _exit(good ? 0 : 1);
  }
  close(ends[1]);
  int result;
  assert_int_equal(read(ends[0], out, FLOATS * sizeof *out), FLOATS * sizeof *out);
  close(ends[0]);
  assert_int_equal(waitpid(child, &result, 0), child);
  assert_int_equal(result, 0);
}

/* Path of the only file in the cache; NULL where it is empty. */
static char *cached_file(void) {
  tr_strings names = {0};
  if (!tr_is_folder(cache))
    return NULL;
  assert_int_equal(tr_folder_list(cache, &names), TR_OK);
  char *path = names.count ? tr_format("%s/%s", cache, names.items[0]) : NULL;
  assert_true(names.count <= 1);
  tr_strings_free(&names);
  return path;
}

static void test_choice_is_kept(void **state) {
  (void)state;
  float advised[FLOATS], tuned[FLOATS], later[FLOATS], damaged[FLOATS];
  convolve_apart("0", advised);
  assert_null(cached_file());
  convolve_apart("1", tuned);
  char *path = cached_file(), *text;
  size_t bytes;
  assert_non_null(path);
  assert_int_equal(tr_file_read(path, &text, &bytes), TR_OK);
  assert_int_equal(strncmp(text, "64_6_6_16_16_", strlen("64_6_6_16_16_")), 0);
  assert_ptr_equal(strchr(text, '\n'), text + bytes - 1); /* one line */
  free(text);
  convolve_apart("0", later);
  assert_memory_equal(tuned, later, sizeof later);

  /* The engine that reads NHWC as it is sums in another order than the one that is advised. */
  text = tr_format("64_6_6_16_16_3_3_1_1_1_1_1_1_16_16_0_0_0 11 2=4\n");
  assert_int_equal(tr_file_write(path, text, strlen(text)), TR_OK);
  free(text);
  convolve_apart("0", later);
  assert_memory_not_equal(later, advised, sizeof later);

  assert_int_equal(tr_file_write(path, "64_6_6\nnonsense 3 =\n", 20), TR_OK);
  convolve_apart("0", damaged);
  assert_memory_equal(damaged, advised, sizeof damaged);

  /* An engine that does not exist. */
  text = tr_format("64_6_6_16_16_3_3_1_1_1_1_1_1_16_16_0_0_0 99\n");
  assert_int_equal(tr_file_write(path, text, strlen(text)), TR_OK);
  free(text);
  convolve_apart("0", damaged);
  assert_memory_equal(damaged, advised, sizeof damaged);
  remove(path);
  free(path);
}

int main(void) {
  snprintf(cache, sizeof cache, "/tmp/tr_conv_choice_%d", (int)getpid());
  setenv("TOTALRECALL_CACHE", cache, 1);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_choice_is_kept)};
  int failures = cmocka_run_group_tests_name("conv choices", tests, NULL, NULL);
  rmdir(cache);
  return failures;
}
