/* Plans: what is grouped, what is skipped, how shards cut, and what a memory limit does. On a tiny synthetic set. */
#include "tests/golden/golden.h"

#include "host/base/text.h"
#include "host/harness/draw.h"
#include "host/harness/profile.h"

#include <math.h>

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
  for (size_t i = 0; i < plan->pass_count; ++i)
    runs += tr_pass_runs(&plan->passes[i]);
  return runs;
}

/* Every run of the plan: calls fn(context, pass, run). */
typedef void (*run_fn)(void *context, const tr_pass *pass, const tr_plan_run *run);
static void each_run(const tr_plan *plan, run_fn fn, void *context) {
  for (size_t i = 0; i < plan->pass_count; ++i)
    for (size_t g = 0; g < plan->passes[i].group_count; ++g)
      for (size_t j = 0; j < plan->passes[i].groups[g].run_count; ++j)
        fn(context, &plan->passes[i], &plan->passes[i].groups[g].runs[j]);
}

/* Two values of p are two models, fed by one pass. */
static void test_runs_that_share_features_are_one_group(void **state) {
  (void)state;
  tr_experiments e =
      parse(HEAD "patch: [3, 5]\nsubsampling: [{kind: [greedy, random], percent: [50, 10]}, {kind: none}]\nseed: [0, 1]\n"
                 "sigma: [4, 8]\nprojection: [64, 128]\nprotocol: [official, paper]\n");
  tr_plan_options options = options_of_test();
  tr_plan *plan = plan_of(&e, &options);
  size_t classes = plan->class_count;
  assert_true(classes >= 4);
  assert_int_equal(plan->pass_count, classes);
  assert_int_equal(plan->runs, classes * e.items[0].setting_count);
  assert_int_equal(runs_of(plan), plan->runs);
  for (size_t i = 0; i < plan->pass_count; ++i) {
    assert_int_equal(plan->passes[i].group_count, 2);
    for (size_t g = 0; g < 2; ++g)
      for (size_t j = 0; j < plan->passes[i].groups[g].run_count; ++j)
        assert_int_equal(plan->passes[i].groups[g].runs[j].setting->patch, g ? 5 : 3);
  }
  tr_plan_destroy(plan);
  tr_experiments_free(&e);
}

/* A pass taps the union of its models' layers, in the network's order, and each model finds its own. */
static void test_layers_are_united(void **state) {
  (void)state;
  tr_experiments e = parse("- {name: a, dataset: synthetic, backbone: resnet18, layers: [layer3, layer2+layer4]}\n"
                           "- {name: b, dataset: synthetic, backbone: resnet18, method: [spade, padim]}\n"
                           "- {name: c, dataset: synthetic, backbone: resnet18, image: {resize: 64, crop: 56}}\n");
  tr_plan_options options = options_of_test();
  tr_plan *plan = plan_of(&e, &options);
  assert_int_equal(plan->pass_count, 2 * plan->class_count);
  static const char *const united[] = {"layer1", "layer2", "layer3", "layer4", "pool"};
  const tr_pass *pass = &plan->passes[0];
  assert_ptr_equal(pass->class_, plan->passes[1].class_); /* the other image size of the class comes next */
  assert_int_equal(pass->layer_count, 5);
  for (int i = 0; i < 5; ++i)
    assert_string_equal(pass->layers[i], united[i]);
  assert_int_equal(pass->group_count, 4);
  for (size_t g = 0; g < pass->group_count; ++g) {
    const tr_setting *s = pass->groups[g].runs[0].setting;
    for (int i = 0; i < s->layer_count; ++i)
      assert_string_equal(pass->layers[pass->groups[g].tap[i]], s->layers[i]);
  }
  assert_int_equal(plan->passes[1].layer_count, 2);
  assert_true(plan->passes[1].forecast.backbone_macs < pass->forecast.backbone_macs);
  tr_plan_destroy(plan);
  tr_experiments_free(&e);
}

/* A run that two experiments want is one variant with two lines. */
static void test_equal_runs_are_one(void **state) {
  (void)state;
  tr_experiments e = parse("- {name: a, dataset: synthetic, backbone: resnet18, subsampling: {percent: [10, 1]}}\n"
                           "- {name: b, dataset: synthetic, backbone: resnet18, subsampling: {percent: [5, 1]}}\n");
  tr_plan_options options = options_of_test();
  tr_plan *plan = plan_of(&e, &options);
  assert_int_equal(plan->pass_count, plan->class_count);
  const tr_group *g = &plan->passes[0].groups[0];
  assert_int_equal(plan->passes[0].group_count, 1);
  assert_int_equal(g->run_count, 4);
  assert_int_equal(g->variant_count, 3);
  assert_int_equal(g->runs[1].variant, g->runs[3].variant);
  assert_string_equal(g->runs[3].experiment->name, "b");
  assert_int_equal(plan->runs, 4 * plan->class_count);
  tr_plan_destroy(plan);
  tr_experiments_free(&e);
}

/* Low-shot models are models of their own; draws are of the size asked for, and of all images at most. */
static void test_low_shot(void **state) {
  (void)state;
  tr_experiments e = parse(HEAD "train_images: [0, 1, 2, 9]\nseed: [0, 1]\nsubsampling: {percent: [50, 10]}\n");
  tr_plan_options options = options_of_test();
  tr_plan *plan = plan_of(&e, &options);
  const tr_pass *pass = &plan->passes[0];
  assert_int_equal(plan->pass_count, plan->class_count);
  assert_int_equal(pass->group_count, 7); /* all images; 1, 2 and 9 by either seed */
  assert_int_equal(pass->train_images, 3);
  for (size_t g = 0; g < pass->group_count; ++g) {
    int wanted = pass->groups[g].runs[0].setting->train_images;
    assert_int_equal(pass->groups[g].train_images, wanted == 0 || wanted > 3 ? 3 : wanted);
  }
  tr_plan_destroy(plan);
  tr_experiments_free(&e);
}

static void test_draws(void **state) {
  (void)state;
  enum { IMAGES = 50 };
  uint8_t drawn[IMAGES], smaller[IMAGES], other[IMAGES];
  tr_setting s = {.train_images = 16, .seed = 3};
  size_t count = 0, changed_by_class = 0, changed_by_seed = 0;
  assert_int_equal(tr_draw_images(&s, "bottle", IMAGES, drawn), TR_OK);
  s.train_images = 5;
  assert_int_equal(tr_draw_images(&s, "bottle", IMAGES, smaller), TR_OK);
  for (size_t i = 0; i < IMAGES; ++i) {
    count += drawn[i];
    assert_true(!smaller[i] || drawn[i]);
  }
  assert_int_equal(count, 16);
  s.train_images = 16;
  assert_int_equal(tr_draw_images(&s, "cable", IMAGES, other), TR_OK);
  for (size_t i = 0; i < IMAGES; ++i)
    changed_by_class += drawn[i] != other[i];
  s.seed = 4;
  assert_int_equal(tr_draw_images(&s, "bottle", IMAGES, other), TR_OK);
  for (size_t i = 0; i < IMAGES; ++i)
    changed_by_seed += drawn[i] != other[i];
  assert_true(changed_by_class > 0 && changed_by_seed > 0);
  s.train_images = 0;
  assert_int_equal(tr_draw_images(&s, "bottle", IMAGES, other), TR_OK);
  for (size_t i = 0; i < IMAGES; ++i)
    assert_true(other[i]);
}

/* Marks the first `left` runs of the plan as finished. */
typedef struct marking {
  tr_store *store;
  size_t left, images;
  const char *sha256;
} marking;

static void mark_run(void *context, const tr_pass *pass, const tr_plan_run *run) {
  marking *m = context;
  if (!m->left)
    return;
  --m->left;
  tr_result result = {.experiment = "t",
                      .run = run->name,
                      .dataset = "synthetic",
                      .class_name = (char *)pass->class_->name,
                      .method = "patchcore",
                      .backbone = "resnet18",
                      .weights_sha256 = (char *)(m->sha256 ? m->sha256 : pass->weights->sha256),
                      .train_images = pass->class_->train_images,
                      .images = m->images ? m->images : pass->class_->test_images};
  assert_int_equal(tr_store_append(m->store, &result), TR_OK);
}

static void write_results(const tr_plan *plan, size_t count, size_t images, const char *sha256) {
  marking m = {.left = count, .images = images, .sha256 = sha256};
  assert_int_equal(tr_store_open(results, "m", "t", NULL, &m.store), TR_OK);
  each_run(plan, mark_run, &m);
  tr_store_close(m.store);
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
  assert_int_equal(again->pass_count, plan->pass_count - 1);
  assert_int_equal(again->passes[0].groups[0].run_count, 2);
  tr_plan_destroy(again);
  /* Files that were asked for and are not there: the run is done again, its line is not. */
  options.scores = folder;
  again = plan_of(&e, &options);
  assert_int_equal(again->finished_runs, 0);
  assert_true(again->passes[0].groups[0].runs[0].in_store);
  assert_false(again->passes[1].groups[0].runs[1].in_store);
  tr_plan_destroy(again);
  tr_plan_destroy(plan);
  tr_experiments_free(&e);
}

static void see_run(void *context, const tr_pass *pass, const tr_plan_run *run) {
  tr_strings *seen = context;
  char *key = tr_format("%s %s", pass->class_->name, run->name);
  assert_false(tr_strings_has(seen, key));
  assert_int_equal(tr_strings_take(seen, key), TR_OK);
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
    each_run(part, see_run, &seen);
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

/* Passes are dealt out whole where there are enough of them, and cut where there are not; either way no shard has much more than its
 * share, and a plan's sum does not depend on who looks. */
static void test_shards_are_balanced(void **state) {
  (void)state;
  tr_experiments e =
      parse("name: t\ndataset: synthetic\nbackbone: resnet18\npatch: [1, 3, 5]\nsubsampling: {kind: greedy, percent: "
            "[100, 50]}\nseed: [3, 4]\nsigma: [4, 5]\n");
  tr_plan_options options = options_of_test();
  tr_plan *whole = plan_of(&e, &options);
  size_t classes = whole->class_count;
  options.shards = (int)classes;
  for (options.shard = 1; options.shard <= options.shards; ++options.shard) {
    tr_plan *part = plan_of(&e, &options);
    assert_int_equal(part->pass_count, 1);
    assert_int_equal(part->passes[0].group_count, 3);
    tr_plan_destroy(part);
  }
  options.shards = 3 * (int)classes;
  size_t runs = 0, busy = 0;
  for (options.shard = 1; options.shard <= options.shards; ++options.shard) {
    tr_plan *part = plan_of(&e, &options);
    runs += part->runs;
    busy += part->pass_count > 0;
    tr_plan_destroy(part);
  }
  assert_int_equal(runs, whole->runs);
  assert_true(busy > classes);
  tr_plan_destroy(whole);
  tr_experiments_free(&e);
}

/* Models that do not fit into memory together have passes of their own, and no run is lost. */
static void test_models_share_a_pass_as_far_as_memory_goes(void **state) {
  (void)state;
  tr_experiments e =
      parse("name: t\ndataset: synthetic\nbackbone: resnet18\nimage: {resize: 256, crop: 224}\npatch: [1, 3, 5, 7]\n");
  tr_plan_options options = options_of_test();
  tr_plan *whole = plan_of(&e, &options);
  assert_int_equal(whole->pass_count, whole->class_count);
  assert_int_equal(whole->passes[0].group_count, 4);
  size_t held = whole->passes[0].groups[0].needs.held_bytes;
  options.memory_limit = whole->passes[0].forecast.peak_bytes - held;
  tr_plan *split = plan_of(&e, &options);
  assert_true(split->pass_count > whole->pass_count && split->pass_count <= 2 * whole->class_count);
  assert_int_equal(runs_of(split), runs_of(whole));
  for (size_t i = 0; i < split->pass_count; ++i) {
    assert_null(split->passes[i].refused);
    assert_true(split->passes[i].forecast.peak_bytes <= options.memory_limit);
  }
  tr_plan_destroy(split);
  tr_plan_destroy(whole);
  tr_experiments_free(&e);
}

/* A model over the limit is halved until it fits; a run that alone is over it is refused with both numbers. */
static void test_memory_limit(void **state) {
  (void)state;
  tr_experiments e = parse(
      "name: t\ndataset: synthetic\nbackbone: resnet18\nsubsampling: {percent: 50}\nseed: [10, 11, 12, 13, 14, 15, 16, 17]\n");
  tr_plan_options options = options_of_test();
  tr_plan *whole = plan_of(&e, &options);
  assert_int_equal(whole->passes[0].groups[0].run_count, 8);
  const tr_forecast *f = &whole->passes[0].forecast;
  assert_true(f->peak_bytes > whole->base_bytes);
  assert_true(f->peak_bytes >= f->fit_bytes && f->peak_bytes >= f->score_bytes && f->peak_bytes >= f->metrics_bytes);
  options.memory_limit = f->peak_bytes - (8 << 20); /* eight banks of 5 MB; what is resident already may have grown a little */
  tr_plan *split = plan_of(&e, &options);
  assert_true(split->pass_count > whole->pass_count);
  assert_int_equal(runs_of(split), runs_of(whole));
  for (size_t i = 0; i < split->pass_count; ++i) {
    assert_null(split->passes[i].refused);
    assert_true(split->passes[i].forecast.peak_bytes <= options.memory_limit);
  }
  tr_plan_destroy(split);
  options.memory_limit = 1 << 20;
  tr_plan *none = plan_of(&e, &options);
  assert_int_equal(none->pass_count, runs_of(whole));
  assert_non_null(strstr(none->passes[0].refused, "1.0 MiB"));
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
  assert_int_equal(plan->pass_count, 2 * plan->class_count);
  for (size_t i = 0; i < plan->pass_count; ++i) {
    const tr_group *g = &plan->passes[i].groups[0];
    bool impossible = g->runs[0].setting->percent == 5;
    assert_int_equal(g->run_count, impossible ? 1 : 2);
    assert_int_equal(plan->passes[i].refused != NULL, impossible);
    if (impossible)
      assert_non_null(strstr(plan->passes[i].refused, "neighbours"));
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
  assert_int_equal(plan->pass_count, 1);
  assert_string_equal(plan->passes[0].class_->name, name);
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
  options.forecast_only = true;
  plan = plan_of(&e, &options);
  assert_true(plan->pass_count > 0);
  assert_null(plan->passes[0].weights->file);
  tr_plan_destroy(plan);
  tr_experiments_free(&e);
}

/* Rates of 1: seconds are the work itself. */
static void test_seconds_of_runs(void **state) {
  (void)state;
  tr_experiments e = parse("name: t\ndataset: synthetic\nclasses: board\nbackbone: resnet18\nimage: {resize: 64, crop: 56}\n"
                           "layer_dimension: 64\ndimension: 64\nsubsampling: {kind: greedy, percent: [50, 5]}\nseed: [0, 1]\n");
  tr_plan_options options = options_of_test();
  tr_plan *plan = plan_of(&e, &options);
  assert_int_equal(plan->pass_count, 1);
  const tr_pass *pass = &plan->passes[0];
  const tr_group *group = &pass->groups[0];
  assert_int_equal(group->run_count, 4);
  tr_profile rates = {.decode_pixels = 1, .backbone_macs = 1, .search_macs = 1, .metric_pixels = 1};
  tr_pass_seconds all = tr_profile_pass(&rates, plan, pass);
  double nearest = 0;
  for (size_t i = 0; i < 4; ++i) {
    tr_run_forecast f = tr_profile_run(&rates, plan, pass, group, i, i + 1);
    double percent = group->runs[i].setting->percent;
    assert_true(f.decode == all.decode && f.backbone == all.backbone && f.metrics == all.metrics / 4);
    assert_float_equal(f.pass, all.total - all.metrics * (double)(3 - i) / 4, 1e-9 * all.total);
    assert_float_equal(f.coreset, all.fit / 2, 1e-9 * all.fit); /* each of two selections is its percentages' */
    assert_true(f.nearest == group->runs[i].score_macs && (percent == 50) == (f.nearest > group->runs[3].score_macs));
    nearest += f.nearest;
  }
  assert_true(group->runs[0].setting->percent == 50 && group->runs[3].setting->percent == 5);
  assert_float_equal(nearest, all.score, 1e-9 * all.score);
  tr_plan_destroy(plan);
  tr_experiments_free(&e);
}

static void test_comparison(void **state) {
  (void)state;
  char text[TR_COMPARISON_BYTES];
  tr_pass_seconds forecast = {.decode = 1, .backbone = 2, .fit = 3, .score = 4, .metrics = 2, .total = 12};
  tr_pass_seconds measured = {.decode = 1.5, .backbone = 2.5, .fit = 2, .score = 3, .metrics = 0.5, .total = 10};
  assert_string_equal(
      tr_profile_compare(&forecast, &measured, 3 << 20, 2 << 20, 0.254, text),
      "forecast 12.0 s (decode 1.0, backbone 2.0, fit 3.0, score 4.0, metrics 2.0), peak 3.0 MiB; took 10.0 s (decode "
      "1.5, backbone 2.5, fit 2.0, score 3.0, metrics 0.5), peak 2.0 MiB; forecast/measured: seconds 1.20, bytes 1.50; "
      "others had 25 % of the processors");
  tr_pass_seconds total = {.total = 10};
  assert_string_equal(tr_profile_compare(&total, &total, 1 << 20, 2 << 20, NAN, text),
                      "forecast 10.0 s, peak 1.0 MiB; took 10.0 s, peak 2.0 MiB; forecast/measured: seconds 1.00, bytes 0.50");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_runs_that_share_features_are_one_group),
      cmocka_unit_test(test_layers_are_united),
      cmocka_unit_test(test_equal_runs_are_one),
      cmocka_unit_test(test_low_shot),
      cmocka_unit_test(test_draws),
      cmocka_unit_test(test_finished_runs_are_skipped),
      cmocka_unit_test(test_shards),
      cmocka_unit_test(test_shards_are_balanced),
      cmocka_unit_test(test_models_share_a_pass_as_far_as_memory_goes),
      cmocka_unit_test(test_memory_limit),
      cmocka_unit_test(test_a_setting_that_cannot_be),
      cmocka_unit_test(test_classes),
      cmocka_unit_test(test_weights_may_be_missing_from_a_forecast),
      cmocka_unit_test(test_seconds_of_runs),
      cmocka_unit_test(test_comparison),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
