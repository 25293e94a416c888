/* Plans: what is grouped, what is skipped, how shards cut, and what a memory limit does. On a tiny synthetic set. */
#include "tests/golden/golden.h"

#include "host/base/text.h"
#include "host/harness/plan.h"

static char folder[64];
static tr_device *device;
static char *data, *weights, *results;

/* Enough of a safetensors file for a plan, which looks for the file and takes its digest. */
static void write_weights(void) {
  static const char header[] =
      "{\"__metadata__\":{\"arch\":\"resnet18\"},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
  char path[128];
  snprintf(path, sizeof path, "%s/w/resnet18_a.safetensors", folder);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  uint64_t bytes = sizeof header - 1;
  fwrite(&bytes, sizeof bytes, 1, file);
  fwrite(header, 1, bytes, file);
  fwrite("\0\0\0\0", 1, 4, file);
  assert_int_equal(fclose(file), 0);
}

static int set_up(void **state) {
  (void)state;
  strcpy(folder, "/tmp/totalrecall-plan-XXXXXX");
  if (!mkdtemp(folder))
    return -1;
  data = tr_format("%s/data", folder);
  weights = tr_format("%s/w", folder);
  results = tr_format("%s/results", folder);
  char *synthetic = tr_format("%s/synthetic", data);
  if (tr_make_folders(weights) != TR_OK ||
      tr_synthesize(synthetic, &(tr_synthesize_options){.train = 3, .good = 2, .per_defect = 1, .size = 64}) != TR_OK)
    return -1;
  free(synthetic);
  write_weights();
  return tr_device_open("cpu", 2, &device) == TR_OK ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  tr_device_close(device);
  free(data);
  free(weights);
  free(results);
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  return system(command);
}

static tr_plan_options options_of_test(void) {
  return (tr_plan_options){.data = data, .weights = weights, .results = results, .machine = "m", .shard = 1, .shards = 1};
}

#define HEAD "name: t\ndataset: synthetic\nbackbone: resnet18\nimage: {resize: 64, crop: 56}\n"

static tr_experiments parse(const char *text) {
  tr_experiments out;
  if (tr_experiments_parse("t.yaml", text, strlen(text), NULL, &out) != TR_OK)
    fail_msg("%s", tr_last_error());
  return out;
}

static tr_plan *plan_of(const tr_experiments *experiments, const tr_plan_options *options) {
  tr_plan *plan;
  if (tr_plan_create(options, device, experiments, &plan) != TR_OK)
    fail_msg("%s", tr_last_error());
  return plan;
}

static size_t runs_of(const tr_plan *plan) {
  size_t runs = 0;
  for (size_t i = 0; i < plan->group_count; ++i)
    runs += plan->groups[i].run_count;
  return runs;
}

static void test_runs_that_share_features_are_one_group(void **state) {
  (void)state;
  tr_experiments e =
      parse(HEAD "patch: [3, 5]\nsubsampling: [{kind: [greedy, random], percent: [50, 10]}, {kind: none}]\nseed: [0, 1]\n"
                 "sigma: [4, 8]\nprojection: [64, 128]\nprotocol: [official, paper]\n");
  tr_plan_options options = options_of_test();
  tr_plan *plan = plan_of(&e, &options);
  size_t classes = plan->class_count;
  assert_true(classes >= 4);
  assert_int_equal(plan->group_count, 2 * classes);
  assert_int_equal(plan->runs, classes * e.items[0].setting_count);
  assert_int_equal(runs_of(plan), plan->runs);
  for (size_t i = 0; i < plan->group_count; ++i)
    for (size_t j = 0; j < plan->groups[i].run_count; ++j)
      assert_int_equal(plan->groups[i].runs[j].setting->patch, plan->groups[i].runs[0].setting->patch);
  tr_plan_destroy(plan);
  tr_experiments_free(&e);
}

/* Marks the first `count` runs of the plan as finished. */
static void write_results(const tr_plan *plan, size_t count, size_t images, const char *sha256) {
  tr_store *store;
  assert_int_equal(tr_store_open(results, "m", "t", NULL, &store), TR_OK);
  for (size_t i = 0; i < plan->group_count; ++i)
    for (size_t j = 0; j < plan->groups[i].run_count && count; ++j, --count) {
      const tr_group *g = &plan->groups[i];
      tr_result result = {.experiment = "t",
                          .run = g->runs[j].name,
                          .dataset = "synthetic",
                          .class_name = (char *)g->class_->name,
                          .method = "patchcore",
                          .backbone = "resnet18",
                          .weights_sha256 = (char *)(sha256 ? sha256 : g->weights->sha256),
                          .train_images = g->class_->train_images,
                          .images = images ? images : g->class_->test_images};
      assert_int_equal(tr_store_append(store, &result), TR_OK);
    }
  tr_store_close(store);
}

/* A result counts when it is of the same weights and as many images. */
static void test_finished_runs_are_skipped(void **state) {
  (void)state;
  tr_experiments e = parse(HEAD "seed: [0, 1, 2]\n");
  tr_plan_options options = options_of_test();
  tr_plan *plan = plan_of(&e, &options);
  write_results(plan, 2, 0, "another digest");
  write_results(plan, 2, 1000, NULL);
  tr_plan *again = plan_of(&e, &options);
  assert_int_equal(again->finished_runs, 0);
  tr_plan_destroy(again);
  write_results(plan, 4, 0, NULL);
  again = plan_of(&e, &options);
  assert_int_equal(again->finished_runs, 4);
  assert_int_equal(again->finished.count, 4);
  assert_int_equal(again->runs, plan->runs);
  assert_int_equal(runs_of(again), plan->runs - 4);
  assert_int_equal(again->group_count, plan->group_count - 1);
  assert_int_equal(again->groups[0].run_count, 2);
  tr_plan_destroy(again);
  /* Files that were asked for and are not there: the run is done again, its line is not. */
  options.scores = folder;
  again = plan_of(&e, &options);
  assert_int_equal(again->finished_runs, 0);
  assert_true(again->groups[0].runs[0].in_store);
  assert_false(again->groups[1].runs[1].in_store);
  tr_plan_destroy(again);
  tr_plan_destroy(plan);
  tr_experiments_free(&e);
}

/* Shards are disjoint, together they are everything, and what is finished does not move a run to another shard. */
static void test_shards(void **state) {
  (void)state;
  tr_experiments e = parse(HEAD "patch: [1, 3, 5]\nseed: [3, 4]\n");
  tr_plan_options options = options_of_test();
  tr_plan *whole = plan_of(&e, &options);
  options.shards = 4;
  size_t runs = 0;
  tr_strings seen = {0};
  for (options.shard = 1; options.shard <= 4; ++options.shard) {
    tr_plan *part = plan_of(&e, &options);
    runs += part->runs;
    for (size_t i = 0; i < part->group_count; ++i)
      for (size_t j = 0; j < part->groups[i].run_count; ++j) {
        char *key = tr_format("%s %s", part->groups[i].class_->name, part->groups[i].runs[j].name);
        assert_false(tr_strings_has(&seen, key));
        assert_int_equal(tr_strings_take(&seen, key), TR_OK);
      }
    tr_plan_destroy(part);
  }
  assert_int_equal(runs, whole->runs);
  assert_int_equal(seen.count, runs_of(whole));
  options.shard = 2;
  tr_plan *before = plan_of(&e, &options);
  write_results(whole, 3, 0, NULL);
  tr_plan *after = plan_of(&e, &options);
  assert_int_equal(before->runs, after->runs);
  tr_plan_destroy(before);
  tr_plan_destroy(after);
  options.shard = 5;
  tr_plan *none;
  assert_int_equal(tr_plan_create(&options, device, &e, &none), TR_EINVAL);
  assert_null(none);
  tr_strings_free(&seen);
  tr_plan_destroy(whole);
  tr_experiments_free(&e);
}

/* A group over the limit is halved until it fits; a run that alone is over it is refused with both numbers. */
static void test_memory_limit(void **state) {
  (void)state;
  tr_experiments e = parse(
      "name: t\ndataset: synthetic\nbackbone: resnet18\nsubsampling: {percent: 50}\nseed: [10, 11, 12, 13, 14, 15, 16, 17]\n");
  tr_plan_options options = options_of_test();
  tr_plan *whole = plan_of(&e, &options);
  assert_int_equal(whole->groups[0].run_count, 8);
  const tr_forecast *f = &whole->groups[0].forecast;
  assert_true(f->peak_bytes > whole->base_bytes);
  assert_true(f->peak_bytes >= f->fit_bytes && f->peak_bytes >= f->score_bytes && f->peak_bytes >= f->metrics_bytes);
  options.memory_limit = f->peak_bytes - (8 << 20); /* eight banks of 5 MB; what is resident already may have grown a little */
  tr_plan *split = plan_of(&e, &options);
  assert_true(split->group_count > whole->group_count);
  assert_int_equal(runs_of(split), runs_of(whole));
  for (size_t i = 0; i < split->group_count; ++i) {
    assert_null(split->groups[i].refused);
    assert_true(split->groups[i].forecast.peak_bytes <= options.memory_limit);
  }
  tr_plan_destroy(split);
  options.memory_limit = 1 << 20;
  tr_plan *none = plan_of(&e, &options);
  assert_int_equal(none->group_count, runs_of(whole));
  assert_non_null(strstr(none->groups[0].refused, "1.0 MiB"));
  tr_plan_destroy(none);
  tr_plan_destroy(whole);
  tr_experiments_free(&e);
}

/* b of Eq. 7 larger than the bank: that run alone is refused, and the others stay together. */
static void test_a_setting_that_cannot_be(void **state) {
  (void)state;
  tr_experiments e = parse(HEAD "image_score: reweighted\nneighbours: 9\nsubsampling: {percent: [50, 5, 40]}\n");
  tr_plan_options options = options_of_test();
  tr_plan *plan = plan_of(&e, &options);
  assert_int_equal(plan->group_count, 2 * plan->class_count);
  for (size_t i = 0; i < plan->group_count; ++i) {
    const tr_group *g = &plan->groups[i];
    bool impossible = g->runs[0].setting->percent == 5;
    assert_int_equal(g->run_count, impossible ? 1 : 2);
    assert_int_equal(g->refused != NULL, impossible);
    if (impossible)
      assert_non_null(strstr(g->refused, "neighbours"));
  }
  tr_plan_destroy(plan);
  tr_experiments_free(&e);
}

static void test_classes(void **state) {
  (void)state;
  tr_experiments e = parse(HEAD "seed: 99\n"); /* that no test wrote a result of */
  tr_plan_options options = options_of_test();
  tr_plan *plan = plan_of(&e, &options);
  char *name = strdup(plan->classes[1]->name), *wrong = tr_format("%sx", plan->classes[1]->name);
  tr_plan_destroy(plan);
  tr_strings classes = {0};
  tr_strings_add(&classes, name);
  options.classes = &classes;
  plan = plan_of(&e, &options);
  assert_int_equal(plan->group_count, 1);
  assert_string_equal(plan->groups[0].class_->name, name);
  tr_plan_destroy(plan);
  tr_strings_add(&classes, wrong);
  assert_int_equal(tr_plan_create(&options, device, &e, &plan), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), wrong));
  assert_non_null(strstr(tr_last_error(), "did you mean"));
  tr_strings_free(&classes);
  free(name);
  free(wrong);
  tr_experiments_free(&e);
}

static void test_weights_may_be_missing_from_a_forecast(void **state) {
  (void)state;
  tr_experiments e = parse("name: t\ndataset: synthetic\nbackbone: resnet34\nimage: {resize: 64, crop: 56}\n");
  tr_plan_options options = options_of_test();
  tr_plan *plan;
  assert_int_equal(tr_plan_create(&options, device, &e, &plan), TR_EIO);
  options.weights_optional = true;
  plan = plan_of(&e, &options);
  assert_true(plan->group_count > 0);
  assert_null(plan->groups[0].weights->file);
  tr_plan_destroy(plan);
  tr_experiments_free(&e);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_runs_that_share_features_are_one_group),
      cmocka_unit_test(test_finished_runs_are_skipped),
      cmocka_unit_test(test_shards),
      cmocka_unit_test(test_memory_limit),
      cmocka_unit_test(test_a_setting_that_cannot_be),
      cmocka_unit_test(test_classes),
      cmocka_unit_test(test_weights_may_be_missing_from_a_forecast),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
