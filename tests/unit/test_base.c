/* host/base: error text, threads, random numbers, strings and files. */
#include "tests/golden/golden.h"

#include "host/base/clock.h"
#include "host/base/load.h"
#include "host/base/rng.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/base/threads.h"

#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

static void error_text_grows_by_context(void **state) {
  (void)state;
  assert_int_equal(tr_fail(TR_EFORMAT, "tensor %s", "conv1.weight"), TR_EFORMAT);
  assert_int_equal(tr_fail_context(TR_EFORMAT, "reading %s", "a.pth"), TR_EFORMAT);
  assert_string_equal(tr_last_error(), "reading a.pth: tensor conv1.weight");
}

/* Known answers of Random123's kat_vectors for philox4x32-10. */
static void philox_gives_the_known_answers(void **state) {
  (void)state;
  uint32_t out[4];
  tr_philox((uint32_t[4]){0, 0, 0, 0}, (uint32_t[2]){0, 0}, out);
  assert_int_equal(out[0], 0x6627e8d5);
  assert_int_equal(out[1], 0xe169c58d);
  assert_int_equal(out[2], 0xbc57ac4c);
  assert_int_equal(out[3], 0x9b00dbd8);
  tr_philox((uint32_t[4]){0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, (uint32_t[2]){0xa4093822, 0x299f31d0}, out);
  assert_int_equal(out[0], 0xd16cfe09);
  assert_int_equal(out[1], 0x94fdcceb);
  assert_int_equal(out[2], 0x5001e420);
  assert_int_equal(out[3], 0x24126ea1);
}

static void samples_are_distinct_and_uniform(void **state) {
  (void)state;
  enum { N = 50, K = 20, ROUNDS = 4000 };
  size_t seen[N] = {0};
  for (uint64_t round = 0; round < ROUNDS; ++round) {
    tr_rng rng = tr_rng_make(7, TR_RNG_TEST, round);
    uint64_t drawn[K];
    assert_int_equal(tr_rng_sample(&rng, N, K, drawn), TR_OK);
    bool here[N] = {false};
    for (size_t i = 0; i < K; ++i) {
      assert_true(drawn[i] < N && !here[drawn[i]]);
      here[drawn[i]] = true;
      ++seen[drawn[i]];
    }
  }
  /* 1,600 expected, standard deviation 31. */
  for (size_t i = 0; i < N; ++i)
    assert_in_range(seen[i], 1440, 1760);
  tr_rng rng = tr_rng_make(7, TR_RNG_TEST, 0);
  uint64_t one;
  assert_int_equal(tr_rng_sample(&rng, 0, 1, &one), TR_EINVAL);
}

static void streams_differ_by_seed_purpose_and_index(void **state) {
  (void)state;
  tr_rng a = tr_rng_make(1, TR_RNG_TEST, 0), b = tr_rng_make(1, TR_RNG_TEST, 1), c = tr_rng_make(2, TR_RNG_TEST, 0),
         d = tr_rng_make(1, TR_RNG_PROJECTION, 0), again = tr_rng_make(1, TR_RNG_TEST, 0);
  uint32_t first = tr_rng_u32(&a);
  assert_int_not_equal(first, tr_rng_u32(&b));
  assert_int_not_equal(first, tr_rng_u32(&c));
  assert_int_not_equal(first, tr_rng_u32(&d));
  assert_int_equal(first, tr_rng_u32(&again));
}

typedef struct count_context {
  tr_pool *pool;
  atomic_uint done[1000];
  atomic_uint nested;
} count_context;

static tr_status count_nested(void *context, size_t task) {
  (void)task;
  count_context *counts = context;
  atomic_fetch_add(&counts->nested, 1);
  return TR_OK;
}

static tr_status count_task(void *context, size_t task) {
  count_context *counts = context;
  atomic_fetch_add(&counts->done[task], 1);
  if (tr_pool_worker() < 0 || tr_pool_worker() >= tr_pool_threads(counts->pool))
    return tr_fail(TR_EINTERNAL, "worker %d", tr_pool_worker());
  return task % 100 == 0 ? tr_pool_run(counts->pool, 3, count_nested, counts) : TR_OK;
}

static tr_status fail_from_300(void *context, size_t task) {
  (void)context;
  return task >= 300 ? tr_fail(TR_EIO, "task %zu", task) : TR_OK;
}

static void pool_runs_each_task_once(void **state) {
  (void)state;
  for (int threads = 1; threads <= 4; ++threads) {
    count_context counts = {0};
    assert_int_equal(tr_pool_create(threads, &counts.pool), TR_OK);
    for (int round = 0; round < 20; ++round)
      assert_int_equal(tr_pool_run(counts.pool, 1000, count_task, &counts), TR_OK);
    for (size_t i = 0; i < 1000; ++i)
      assert_int_equal(counts.done[i], 20);
    assert_int_equal(counts.nested, 20 * 10 * 3);
    assert_int_equal(tr_pool_run(counts.pool, 1000, fail_from_300, NULL), TR_EIO);
    assert_string_equal(tr_last_error(), "task 300");
    assert_int_equal(tr_pool_run(counts.pool, 0, fail_from_300, NULL), TR_OK);
    tr_pool_destroy(counts.pool);
  }
  tr_pool *pool;
  assert_int_equal(tr_pool_create(-1, &pool), TR_EINVAL);
  assert_null(pool);
}

static void sizes_are_read_and_written(void **state) {
  (void)state;
  size_t bytes;
  char text[32];
  assert_int_equal(tr_parse_bytes("8G", &bytes), TR_OK);
  assert_int_equal(bytes, (size_t)8 << 30);
  assert_int_equal(tr_parse_bytes("1.5k", &bytes), TR_OK);
  assert_int_equal(bytes, 1536);
  assert_int_equal(tr_parse_bytes("512MiB", &bytes), TR_OK);
  assert_int_equal(bytes, (size_t)512 << 20);
  assert_int_equal(tr_parse_bytes("77", &bytes), TR_OK);
  assert_int_equal(bytes, 77);
  const char *const wrong[] = {"", "G", "-1", "8Q", "8Gx", "nan", "1e30"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; ++i)
    assert_int_equal(tr_parse_bytes(wrong[i], &bytes), TR_EINVAL);
  assert_string_equal(tr_format_bytes(2576980378, text, sizeof text), "2.4 GiB");
  assert_string_equal(tr_format_bytes(12, text, sizeof text), "12 B");
}

static void nearest_name_finds_slips_only(void **state) {
  (void)state;
  const char *const keys[] = {"backbone", "layers", "subsampling"};
  assert_string_equal(tr_nearest_name("backbnoe", keys, 3), "backbone");
  assert_string_equal(tr_nearest_name("layer", keys, 3), "layers");
  assert_null(tr_nearest_name("zzzzzz", keys, 3));
}

static void files_are_written_whole(void **state) {
  (void)state;
  char folder[] = "/tmp/totalrecall-test-XXXXXX", hex[65], *data;
  assert_non_null(mkdtemp(folder));
  char *below = tr_format("%s/a/b", folder), *path = tr_format("%s/a/b/file", folder);
  assert_int_equal(tr_make_folders(below), TR_OK);
  assert_int_equal(tr_make_folders(below), TR_OK);
  assert_int_equal(tr_file_write(path, "abc", 3), TR_OK);
  size_t bytes;
  assert_int_equal(tr_file_read(path, &data, &bytes), TR_OK);
  assert_int_equal(bytes, 3);
  assert_string_equal(data, "abc");
  free(data);
  assert_int_equal(tr_file_sha256(path, hex), TR_OK);
  assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  tr_strings names;
  assert_int_equal(tr_folder_list(below, &names), TR_OK);
  assert_int_equal(names.count, 1); /* no temporary file is left */
  tr_strings_free(&names);
  assert_int_equal(tr_file_write(path, "", 0), TR_OK);
  assert_int_equal(tr_file_sha256(path, hex), TR_OK);
  assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  assert_int_equal(tr_make_folders(path), TR_EIO);
  unlink(path);
  rmdir(below);
  char *parent = tr_format("%s/a", folder);
  rmdir(parent);
  rmdir(folder);
  assert_int_equal(tr_file_write(path, "x", 1), TR_EIO);
  assert_non_null(strstr(tr_last_error(), path));
  assert_int_equal(tr_folder_list(below, &names), TR_EIO);
  free(parent);
  free(below);
  free(path);
}

/* As what is no plain file: it stays what it is. */
static void pipes_are_written_to(void **state) {
  (void)state;
  char folder[] = "/tmp/totalrecall-test-XXXXXX", got[4] = "";
  assert_non_null(mkdtemp(folder));
  char *path = tr_format("%s/pipe", folder);
  assert_int_equal(mkfifo(path, 0600), 0);
  int pipe = open(path, O_RDWR);
  assert_true(pipe >= 0);
  assert_int_equal(tr_file_write(path, "abc", 3), TR_OK);
  struct stat info;
  assert_int_equal(stat(path, &info), 0);
  assert_true(S_ISFIFO(info.st_mode));
  assert_int_equal(read(pipe, got, 3), 3);
  assert_string_equal(got, "abc");
  close(pipe);
  unlink(path);
  rmdir(folder);
  free(path);
}

static void peak_memory_follows_use(void **state) {
  (void)state;
  enum { BYTES = 64 << 20 };
  tr_memory_reset_peak();
  size_t before = tr_memory_peak_bytes();
  char *block = malloc(BYTES);
  assert_non_null(block);
  memset(block, 1, BYTES);
  assert_int_equal(block[BYTES / 2], 1);
  free(block);
  assert_true(tr_memory_peak_bytes() >= before + BYTES / 2);
  assert_true(tr_memory_now_bytes() > 0);
}

static const char proc_stat[] = "cpu  1000 200 300 90000 50 7 13 80 400 30\n"
                                "cpu0 500 100 150 45000 25 3 7 40 200 15\n"
                                "cpu1 500 100 150 45000 25 4 6 40 200 15\n"
                                "intr 4711 1 2 3\nctxt 99\nbtime 1764000000\ncpu9 not a processor's line any more\n";

/* Idle and waiting for a disk is not busy; guests are users already. */
static void load_is_read(void **state) {
  (void)state;
  tr_load load = {0};
  assert_true(tr_load_parse(proc_stat, 100, &load));
  assert_true(load.busy == 16);
  assert_int_equal(load.processors, 2);
  assert_true(tr_load_parse("cpu 1 2 3 4\ncpu0 1 2 3 4", 1, &load)); /* an old kernel, and no newline */
  assert_true(load.busy == 6);
  assert_int_equal(load.processors, 1);
  assert_false(tr_load_parse("", 100, &load));
  assert_false(tr_load_parse("cpu  1000 200\ncpu0 1000 200\n", 100, &load));
  assert_false(tr_load_parse("cpu  1000 200 300 90000\n", 100, &load));
  assert_false(tr_load_parse("intr 1 2 3 4 5\n", 100, &load));
}

static void load_of_others_is_what_is_not_ours(void **state) {
  (void)state;
  tr_load begin = {.clock = 100, .busy = 1000, .own = 10, .processors = 4, .known = true}, end = begin;
  assert_true(isnan(tr_load_of_others(&begin, &end))); /* at once */
  end.clock = 110;
  assert_true(tr_load_of_others(&begin, &end) == 0);
  end.busy = 1030;
  end.own = 30;
  assert_true(tr_load_of_others(&begin, &end) == 0.25);
  end.own = 50; /* counted in coarser steps than ours */
  assert_true(tr_load_of_others(&begin, &end) == 0);
  end.known = false;
  assert_true(isnan(tr_load_of_others(&begin, &end)));
}

/* Our own work is part of what all processors do, in the same units. */
static void machine_is_read_in_seconds(void **state) {
  (void)state;
  tr_load begin = tr_load_now(), end = begin;
  if (!begin.known)
    skip();
  while (end.own - begin.own < 0.5)
    end = tr_load_now();
  double busy = end.busy - begin.busy, all = (end.clock - begin.clock) * end.processors;
  assert_true(busy > 0.4 && busy < 1.1 * all + 0.1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(error_text_grows_by_context),
      cmocka_unit_test(philox_gives_the_known_answers),
      cmocka_unit_test(samples_are_distinct_and_uniform),
      cmocka_unit_test(streams_differ_by_seed_purpose_and_index),
      cmocka_unit_test(pool_runs_each_task_once),
      cmocka_unit_test(sizes_are_read_and_written),
      cmocka_unit_test(nearest_name_finds_slips_only),
      cmocka_unit_test(files_are_written_whole),
      cmocka_unit_test(pipes_are_written_to),
      cmocka_unit_test(peak_memory_follows_use),
      cmocka_unit_test(load_is_read),
      cmocka_unit_test(load_of_others_is_what_is_not_ours),
      cmocka_unit_test(machine_is_read_in_seconds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
