/* The store of results: what is written is read back; torn lines, a full disk and a folder that cannot be written. */
#include "tests/golden/golden.h"

#include "host/base/text.h"
#include "host/harness/store.h"
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];

static int make_folder(void **state) {
  (void)state;
  strcpy(folder, "/tmp/totalrecall-store-XXXXXX");
  return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  return system(command);
}

static tr_result sample(const char *run) {
  return (tr_result){
      .experiment = "e",
      .run = (char *)run,
      .dataset = "mvtec",
      .class_name = "bottle \"x\" \\ é",
      .method = "patchcore",
      .backbone = "resnet50",
      .weights_sha256 = "abc",
      .image_auroc = 1.0 / 3,
      .pixel_auroc = NAN,
      .pro = 1,
      .misclassified = 3,
      .train_images = 209,
      .images = 83,
      .bank_rows = 16385,
      .low_shot = 5,
      .tile = 224,
      .tile_overlap = 32,
      .tile_bank = (char *)"position",
      .nprobe = 8,
      .ef_search = 64,
      .recall_at_1 = 0.75,
      .distance_error = 0.125,
      .index_bytes = 123456789,
      .searched_by = (char *)"faiss",
      .normalise = "nominal",
      .percent = 0.1,
      .covering_radius = 2.5,
      .seed = 9007199254740991u,
      .seconds = {.decode = 1e-9, .score_per_image = 0.1234567890123456, .pass = 12.5},
      .forecast = {.decode = 0.5, .backbone = NAN, .pass = 11},
      .peak_bytes = 123456789012,
      .device_peak_bytes = 98765432109,
      .other_load = 0.0625,
      .threads = 2,
  };
}

static tr_store *open_store(tr_progress *progress) {
  tr_store *store;
  if (tr_store_open(folder, "m", "e", progress, &store) != TR_OK)
    fail_msg("%s", tr_last_error());
  return store;
}

static void append(tr_store *store, const char *run) {
  tr_result result = sample(run);
  assert_int_equal(tr_store_append(store, &result), TR_OK);
}

static size_t warnings;
static void count_line(tr_progress *self, const char *text) {
  (void)self;
  assert_non_null(strstr(text, "warning"));
  ++warnings;
}
static tr_progress counter = {.line = count_line};

static tr_results read_all(void) {
  tr_results results = {0};
  char *path = tr_store_file(folder, "m", "e");
  assert_int_equal(tr_results_read(path, &counter, &results), TR_OK);
  free(path);
  return results;
}

static void write_raw(const char *text) {
  char *path = tr_store_file(folder, "m", "e");
  FILE *file = fopen(path, "a");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
  free(path);
}

static void test_round_trip(void **state) {
  (void)state;
  tr_store *store = open_store(NULL);
  append(store, "a");
  append(store, "b");
  tr_store_close(store);
  warnings = 0;
  tr_results results = read_all();
  assert_int_equal(warnings, 0);
  assert_int_equal(results.count, 2);
  const tr_result *r = &results.items[1];
  tr_result expected = sample("b");
  assert_string_equal(r->run, "b");
  assert_string_equal(r->class_name, expected.class_name);
  assert_true(r->image_auroc == expected.image_auroc);
  assert_true(isnan(r->pixel_auroc));
  assert_true(r->percent == 0.1 && r->seconds.decode == 1e-9 && r->seconds.score_per_image == 0.1234567890123456);
  assert_int_equal(r->seed, expected.seed);
  assert_int_equal(r->peak_bytes, expected.peak_bytes);
  assert_int_equal(r->device_peak_bytes, expected.device_peak_bytes);
  assert_true(r->other_load == 0.0625 && r->seconds.pass == 12.5);
  assert_true(r->forecast.decode == 0.5 && isnan(r->forecast.backbone) && r->forecast.pass == 11);
  assert_int_equal(r->bank_rows, 16385);
  assert_null(r->layers);
  assert_int_equal(r->low_shot, 5);
  assert_int_equal(r->tile, 224);
  assert_int_equal(r->tile_overlap, 32);
  assert_string_equal(r->tile_bank, "position");
  assert_true(r->covering_radius == 2.5 && r->nprobe == 8 && r->ef_search == 64 && r->recall_at_1 == 0.75 &&
              r->distance_error == 0.125);
  assert_int_equal(r->index_bytes, 123456789);
  assert_string_equal(r->searched_by, "faiss");
  assert_string_equal(r->normalise, "nominal");
  tr_results_free(&results);
}

/* null for a metric that is not defined; one line whatever the text in it. */
static void test_json(void **state) {
  (void)state;
  tr_result result = sample("a\nb");
  char *json;
  assert_int_equal(tr_result_to_json(&result, &json), TR_OK);
  assert_non_null(strstr(json, "\"pixel_auroc\":null"));
  assert_non_null(strstr(json, "\"seconds\":{"));
  assert_non_null(strstr(json, "\"forecast_seconds\":{\"decode\":0.5,\"backbone\":null,"));
  assert_null(strchr(json, '\n'));
  free(json);
  tr_result back;
  assert_int_equal(tr_result_from_json("{\"run\": 3}", &back), TR_EFORMAT);
  assert_int_equal(tr_result_from_json("{}", &back), TR_EFORMAT);
  assert_int_equal(tr_result_from_json("[1", &back), TR_EFORMAT);
  /* a line from before there were low-shot runs and ensembles */
  assert_int_equal(
      tr_result_from_json("{\"experiment\":\"e\",\"run\":\"r\",\"dataset\":\"mvtec\",\"class\":\"c\",\"method\":\"m\","
                          "\"backbone\":\"b\",\"weights_sha256\":\"w\",\"train_images\":3,\"images\":4}",
                          &back),
      TR_OK);
  assert_int_equal(back.low_shot, 0);
  assert_int_equal(back.tile, 0);
  assert_null(back.tile_bank);
  assert_true(isnan(back.covering_radius) && back.nprobe == 0 && isnan(back.recall_at_1) && back.index_bytes == 0 &&
              isnan(back.seconds.index) && isnan(back.other_load) && isnan(back.seconds.pass) && isnan(back.forecast.decode) &&
              isnan(back.forecast.pass));
  assert_null(back.normalise);
  assert_null(back.searched_by);
  tr_result_free(&back);
}

static void test_torn_line(void **state) {
  (void)state;
  tr_store *store = open_store(NULL);
  append(store, "a");
  tr_store_close(store);
  write_raw("{\"experiment\":\"e\",\"run\":\"tor");
  warnings = 0;
  tr_results results = read_all();
  assert_int_equal(results.count, 1);
  assert_int_equal(warnings, 1);
  tr_results_free(&results);
  store = open_store(&counter); /* cuts it off, with a second warning */
  assert_int_equal(warnings, 2);
  append(store, "b");
  tr_store_close(store);
  results = read_all();
  assert_int_equal(results.count, 2);
  assert_string_equal(results.items[1].run, "b");
  assert_int_equal(warnings, 2);
  tr_results_free(&results);
}

static void test_broken_line_within(void **state) {
  (void)state;
  tr_store *store = open_store(NULL);
  append(store, "a");
  write_raw("not json\n\n");
  append(store, "b");
  tr_store_close(store);
  warnings = 0;
  tr_results results = read_all();
  assert_int_equal(results.count, 2);
  assert_int_equal(warnings, 1);
  tr_results_free(&results);
}

/* As on a full disk: the file keeps its whole lines, and the error names it. */
static void test_file_cannot_grow(void **state) {
  (void)state;
  tr_store *store = open_store(NULL);
  append(store, "a");
  struct stat before, after;
  assert_int_equal(stat(tr_store_path(store), &before), 0);
  signal(SIGXFSZ, SIG_IGN);
  struct rlimit old, small;
  getrlimit(RLIMIT_FSIZE, &old);
  small = old;
  small.rlim_cur = (rlim_t)before.st_size + 100;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  tr_result result = sample("b");
  tr_status status = tr_store_append(store, &result);
  tr_store *other;
  tr_status opened = tr_store_open(folder, "m", "other", NULL, &other);
  setrlimit(RLIMIT_FSIZE, &old);
  assert_int_equal(status, TR_EIO);
  assert_int_equal(opened, TR_EIO);
  assert_int_equal(stat(tr_store_path(store), &after), 0);
  assert_int_equal(before.st_size, after.st_size);
  append(store, "b");
  tr_store_close(store);
  tr_results results = read_all();
  assert_int_equal(results.count, 2);
  tr_results_free(&results);
}

static void test_folder_cannot_be_written(void **state) {
  (void)state;
  char path[128];
  snprintf(path, sizeof path, "%s/file", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fclose(file);
  tr_store *store;
  assert_int_equal(tr_store_open(path, "m", "e", NULL, &store), TR_EIO);
  assert_non_null(strstr(tr_last_error(), path));
  assert_null(store);
}

/* Another process wrote the line meanwhile: it stays alone. Other numbers are told of. */
static void test_no_line_twice(void **state) {
  (void)state;
  tr_store *a = open_store(&counter), *b = open_store(&counter);
  warnings = 0;
  append(a, "x");
  append(b, "x");
  append(b, "y");
  append(a, "y");
  assert_int_equal(warnings, 0);
  tr_result other = sample("y");
  other.image_auroc = 0.5;
  assert_int_equal(tr_store_append(a, &other), TR_OK);
  assert_int_equal(warnings, 1);
  other = sample("y");
  other.train_images = 3; /* other data: other work */
  assert_int_equal(tr_store_append(a, &other), TR_OK);
  tr_store_close(a);
  tr_store_close(b);
  tr_results results = read_all();
  assert_int_equal(results.count, 3);
  tr_results_free(&results);
}

static void test_find(void **state) {
  (void)state;
  tr_store *a = open_store(NULL), *b = open_store(NULL);
  tr_result wanted = sample("x");
  tr_run_key key = tr_result_key(&wanted);
  const tr_result *found;
  assert_int_equal(tr_store_find(a, &key, &found), TR_OK);
  assert_null(found);
  append(b, "w");
  append(b, "x");
  assert_int_equal(tr_store_find(a, &key, &found), TR_OK);
  assert_non_null(found);
  assert_string_equal(found->run, "x");
  /* Someone empties the file by hand. */
  assert_int_equal(truncate(tr_store_path(a), 0), 0);
  assert_int_equal(tr_store_find(a, &key, &found), TR_OK);
  assert_null(found);
  append(a, "x");
  tr_store_close(a);
  tr_store_close(b);
}

static void check_claim(tr_store *store, const tr_run_key *keys, size_t count, bool expected) {
  bool claimed;
  assert_int_equal(tr_store_claim(store, keys, count, &claimed), TR_OK);
  assert_int_equal(claimed, expected);
}

/* All runs or none; claims go with the release, the store, and the process. */
static void test_claims(void **state) {
  (void)state;
  tr_store *a = open_store(NULL), *b = open_store(NULL);
  tr_result results[] = {sample("x"), sample("y"), sample("z")};
  tr_run_key keys[3];
  for (int i = 0; i < 3; ++i)
    keys[i] = tr_result_key(&results[i]);
  check_claim(a, keys, 2, true);
  check_claim(b, keys + 1, 2, false);
  check_claim(b, keys + 2, 1, true);
  check_claim(a, keys + 2, 1, false);
  append(b, "x"); /* a claim keeps nobody from writing */
  tr_store_release(a, keys, 2);
  check_claim(b, keys, 3, true);
  tr_store_close(b);
  check_claim(a, keys, 3, true);
  tr_store_release(a, keys, 3);
  int ready[2];
  assert_int_equal(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    tr_store *mine;
    bool claimed = false;
    if (tr_store_open(folder, "m", "e", NULL, &mine) == TR_OK)
      (void)tr_store_claim(mine, keys, 1, &claimed);
    char done = claimed ? 'y' : 'n';
    if (write(ready[1], &done, 1) == 1)
      pause();
    _exit(1);
  }
  char done = 'n';
  assert_int_equal(read(ready[0], &done, 1), 1);
  assert_int_equal(done, 'y');
  check_claim(a, keys, 3, false);
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  close(ready[0]);
  close(ready[1]);
  check_claim(a, keys, 3, true);
  tr_store_close(a);
}

/* Many processes write the same lines at once: each comes once and whole. */
static void test_many_writers(void **state) {
  (void)state;
  enum { WRITERS = 6, LINES = 20 };
  pid_t children[WRITERS];
  for (int c = 0; c < WRITERS; ++c) {
    children[c] = fork();
    if (children[c] != 0)
      continue;
    tr_store *mine;
    int code = tr_store_open(folder, "m", "e", NULL, &mine) != TR_OK;
    for (int i = 0; !code && i < LINES; ++i) {
      char run[16];
      snprintf(run, sizeof run, "r%d", (i * 7 + c * 3) % LINES);
      tr_result result = sample(run);
      code = tr_store_append(mine, &result) != TR_OK;
    }
    _exit(code);
  }
  for (int c = 0; c < WRITERS; ++c) {
    int status;
    assert_int_equal(waitpid(children[c], &status, 0), children[c]);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  warnings = 0;
  tr_results results = read_all();
  assert_int_equal(warnings, 0);
  assert_int_equal(results.count, LINES);
  tr_results_free(&results);
}

static bool file_exists(void) {
  char *path = tr_store_file(folder, "m", "e");
  bool found = access(path, F_OK) == 0;
  free(path);
  return found;
}

/* Data that is not at hand leaves no file behind; what has lines, or is open elsewhere, stays. */
static void test_empty_file_does_not_stay(void **state) {
  (void)state;
  tr_store *one = open_store(NULL), *other = open_store(NULL);
  assert_true(file_exists());
  tr_store_close(one);
  assert_true(file_exists());
  append(other, "r");
  tr_store_close(other);
  assert_true(file_exists());
  tr_results results = read_all();
  assert_int_equal(results.count, 1);
  tr_results_free(&results);
  tr_store_close(open_store(NULL));
  assert_true(file_exists());
  char *path = tr_store_file(folder, "m", "e");
  assert_int_equal(truncate(path, 0), 0);
  free(path);
  one = open_store(NULL);
  other = open_store(NULL);
  tr_store_close(one);
  tr_store_close(other);
  assert_false(file_exists());
}

static void test_difference(void **state) {
  (void)state;
  tr_result a = sample("x"), b = sample("x");
  b.seconds.decode = 7;
  b.date = "2026-01-01T00:00:00Z";
  b.peak_bytes = 1;
  assert_null(tr_result_difference(&a, &b));
  b.pixel_auroc = 0.5; /* not defined in the other */
  assert_string_equal(tr_result_difference(&a, &b), "pixel_auroc");
  b = sample("x");
  b.image_auroc = nextafter(b.image_auroc, 1);
  assert_string_equal(tr_result_difference(&a, &b), "image_auroc");
  b = sample("x");
  b.bank_rows = 1;
  assert_string_equal(tr_result_difference(&a, &b), "bank_rows");
}

static void check_machine(const char *description, int cores, const char *expected) {
  char *name = tr_machine_name(description, cores);
  assert_string_equal(name, expected);
  free(name);
}

static void test_machine_names(void **state) {
  (void)state;
  check_machine("AMD EPYC", 2, "amd-epyc-2core");
  check_machine("AMD EPYC 9R14 96-Core Processor", 8, "amd-epyc-9r14-8core");
  check_machine("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", 16, "intel-xeon-e5-2680-v4-16core");
  check_machine("NVIDIA H100 80GB HBM3", 16, "nvidia-h100-80gb-hbm3-16core");
  check_machine("a/../b", 1, "a----b-1core");
  check_machine("", 1, "unknown-1core");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_round_trip, make_folder, remove_folder),
      cmocka_unit_test(test_json),
      cmocka_unit_test_setup_teardown(test_torn_line, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(test_broken_line_within, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(test_file_cannot_grow, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(test_folder_cannot_be_written, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(test_no_line_twice, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(test_find, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(test_claims, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(test_many_writers, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(test_empty_file_does_not_stay, make_folder, remove_folder),
      cmocka_unit_test(test_difference),
      cmocka_unit_test(test_machine_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
