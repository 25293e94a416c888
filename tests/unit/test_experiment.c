/* Experiment files: grids, defaults, names, and errors that say where and what. */
#include "tests/golden/golden.h"

#include "host/harness/experiment.h"

#define HEAD "name: t\ndataset: mvtec\nbackbone: resnet50\n"

static tr_experiments parse(const char *text) {
  tr_experiments out;
  if (tr_experiments_parse("t.yaml", text, strlen(text), NULL, &out) != TR_OK)
    fail_msg("%s", tr_last_error());
  return out;
}

static void check_run(const tr_setting *setting, const char *expected) {
  char *name = tr_setting_run_name(setting);
  assert_string_equal(name, expected);
  free(name);
}

static void expect_error(const char *text, const char *const *parts, size_t count) {
  tr_experiments out;
  assert_int_equal(tr_experiments_parse("t.yaml", text, strlen(text), NULL, &out), TR_EFORMAT);
  for (size_t i = 0; i < count; ++i)
    if (!strstr(tr_last_error(), parts[i]))
      fail_msg("\"%s\" does not say \"%s\"", tr_last_error(), parts[i]);
  assert_int_equal(out.count, 0);
}
#define EXPECT_ERROR(text, ...)                              \
  do {                                                       \
    const char *const parts[] = {__VA_ARGS__};               \
    expect_error(text, parts, sizeof parts / sizeof *parts); \
  } while (0)

static void test_defaults(void **state) {
  (void)state;
  tr_experiments e = parse(HEAD);
  assert_int_equal(e.count, 1);
  assert_string_equal(e.items[0].name, "t");
  assert_int_equal(e.items[0].classes.count, 0);
  assert_int_equal(e.items[0].setting_count, 1);
  const tr_setting *s = e.items[0].settings;
  assert_string_equal(s->dataset, "mvtec");
  assert_string_equal(s->method, "patchcore");
  assert_int_equal(s->layer_count, 2);
  assert_string_equal(s->layers[0], "layer2");
  assert_string_equal(s->layers[1], "layer3");
  assert_int_equal(s->image_score, TR_SCORE_MAX);
  assert_int_equal(s->distance, TR_DISTANCE_SQUARED);
  check_run(s, "IM224_RN50_L2-3_P10_D1024-1024_PS-3_AN-1_S0");
  tr_experiments_free(&e);
}

/* The example of the design page, as it stands there. */
static void test_design_example(void **state) {
  (void)state;
  tr_experiments e = parse("name: mtd\nprotocol: official\ndataset: mtd\nclasses: all\nmethod: patchcore\nbackbone: resnet50_v1\n"
                           "layers: layer2+layer3\nimage: {resize: 256, crop: 224}\npatch: 3\nstride: 1\n"
                           "dimension: 1024               # of a patch feature\n"
                           "subsampling: {kind: greedy, percent: [10, 1]}\nsearch: exact\nseed: [0, 1, 2]\n");
  assert_int_equal(e.items[0].setting_count, 6);
  check_run(&e.items[0].settings[0], "IM224_RN50V1_L2-3_P10_D1024-1024_PS-3_AN-1_S0");
  check_run(&e.items[0].settings[2], "IM224_RN50V1_L2-3_P10_D1024-1024_PS-3_AN-1_S2");
  check_run(&e.items[0].settings[3], "IM224_RN50V1_L2-3_P1_D1024-1024_PS-3_AN-1_S0");
  tr_experiments_free(&e);
}

static void test_protocol_sets_defaults_and_keys_override(void **state) {
  (void)state;
  tr_experiments e = parse(HEAD "distance: squared\nprotocol: [official, paper]\n");
  assert_int_equal(e.items[0].setting_count, 2);
  assert_int_equal(e.items[0].settings[0].image_score, TR_SCORE_MAX);
  assert_int_equal(e.items[0].settings[1].image_score, TR_SCORE_REWEIGHTED);
  assert_int_equal(e.items[0].settings[1].neighbours, 9);
  assert_int_equal(e.items[0].settings[1].distance, TR_DISTANCE_SQUARED);
  tr_experiments_free(&e);
  e = parse(HEAD "protocol: paper\n");
  check_run(e.items[0].settings, "IM224_RN50_L2-3_P10_D1024-1024_PS-3_AN-1_S0_euclidean_reweighted9");
  tr_experiments_free(&e);
}

/* A list of mappings is a choice between them, a mapping with lists a grid of its own. */
static void test_grids_within_mappings(void **state) {
  (void)state;
  tr_experiments e = parse(HEAD "image: [{resize: 256, crop: 224}, {resize: 366, crop: 320}]\n"
                                "subsampling: [{kind: [greedy, random], percent: [10, 1]}, {kind: none}]\n");
  assert_int_equal(e.items[0].setting_count, 10);
  check_run(&e.items[0].settings[2], "IM224_RN50_L2-3_P10-random_D1024-1024_PS-3_AN-1_S0");
  check_run(&e.items[0].settings[4], "IM224_RN50_L2-3_P100_D1024-1024_PS-3_AN-1_S0");
  check_run(&e.items[0].settings[9], "IM320_RN50_L2-3_P100_D1024-1024_PS-3_AN-1_S0");
  tr_experiments_free(&e);
}

/* What decides nothing makes no second run: seeds of the whole bank, b of the maximum, dimensions of concat. */
static void test_equal_work_is_one_run(void **state) {
  (void)state;
  tr_experiments e = parse(HEAD "subsampling: {kind: none, percent: [10, 1]}\nseed: [0, 1, 2]\nneighbours: [3, 9]\n"
                                "aggregate: concat\ndimension: [512, 1024]\nprojection: [64, 128]\n");
  assert_int_equal(e.items[0].setting_count, 1);
  check_run(e.items[0].settings, "IM224_RN50_L2-3_P100_D-concat_PS-3_AN-1_S0");
  tr_experiments_free(&e);
  e = parse(HEAD "subsampling: {percent: [100, 10]}\n");
  assert_int_equal(e.items[0].settings[0].subsampling, TR_SUBSAMPLE_NONE);
  tr_experiments_free(&e);
}

/* Each of these changes a number, so each must change the name. */
static void test_distinct_settings_have_distinct_names(void **state) {
  (void)state;
  static const char *const changes[] = {
      "",
      "backbone: resnet18\n",
      "layers: layer1+layer2\n",
      "layers: layer2\n",
      "image: {resize: 240}\n",
      "image: {resize: 366, crop: 320}\n",
      "image: {crop: 0}\n",
      "image: {resize: 293, crop: 256}\n",
      "image: {squash: true}\n",
      "patch: 5\n",
      "stride: 2\n",
      "layer_dimension: 512\n",
      "dimension: 512\n",
      "aggregate: concat\n",
      "projection: 64\n",
      "subsampling: {percent: 1}\n",
      "subsampling: {percent: 0.1}\n",
      "subsampling: {kind: random}\n",
      "subsampling: {kind: learned}\n",
      "subsampling: {kind: none}\n",
      "train_images: 5\n",
      "train_images: 16\n",
      "ensemble: {members: [{backbone: resnet50}, {backbone: resnet18}]}\n",
      "ensemble: {members: [{backbone: resnet50}, {backbone: densenet201}]}\n",
      "ensemble: {members: [{backbone: resnet50}, {backbone: densenet201, layers: denseblock2}]}\n",
      "ensemble: {members: [{backbone: resnet50}, {backbone: densenet201}], normalise: nominal}\n",
      "distance: euclidean\n",
      "image_score: reweighted\n",
      "image_score: reweighted\nneighbours: 3\n",
      "sigma: 8\n",
      "seed: 1\n",
      "tile: {size: 112}\n",
      "tile: {size: 112, overlap: 8}\n",
      "tile: {size: 112, bank: position}\n",
      "split_file: lists/other.txt\n",
  };
  enum { N = sizeof changes / sizeof *changes };
  char *names[N];
  for (size_t i = 0; i < N; ++i) {
    char text[256];
    bool backbone = strstr(changes[i], "backbone") != NULL;
    snprintf(text, sizeof text, "name: t\ndataset: mvtec\n%s%s", backbone ? "" : "backbone: resnet50\n", changes[i]);
    tr_experiments e = parse(text);
    assert_int_equal(e.items[0].setting_count, 1);
    names[i] = tr_setting_run_name(e.items[0].settings);
    for (size_t j = 0; j < i; ++j)
      assert_string_not_equal(names[i], names[j]);
    tr_experiments_free(&e);
  }
  for (size_t i = 0; i < N; ++i)
    free(names[i]);
}

/* Tiles tell runs apart; without a size there are none. */
static void test_tiles(void **state) {
  (void)state;
  tr_experiments e = parse("name: t\nbackbone: resnet50\ndataset: mvtec\nimage: {resize: 0, crop: 0}\n"
                           "tile: [{}, {size: 0, overlap: 0}, {size: 224}, {size: 224, overlap: [32, 112]}, "
                           "{size: 224, overlap: 32, bank: position}]\n");
  static const char *const suffixes[] = {"", "_T224-0", "_T224-32", "_T224-112", "_T224-32-position"};
  assert_int_equal(e.items[0].setting_count, 5);
  for (size_t i = 0; i < 5; ++i) {
    char name[128];
    snprintf(name, sizeof name, "IM0-uncropped_RN50_L2-3_P10_D1024-1024_PS-3_AN-1_S0%s", suffixes[i]);
    check_run(&e.items[0].settings[i], name);
    for (size_t j = 0; j < i; ++j)
      assert_false(tr_setting_shares_features(&e.items[0].settings[i], &e.items[0].settings[j]));
  }
  tr_experiments_free(&e);
}

/* Which frames are taken tells runs of mstc apart, and multiplies nothing elsewhere. */
static void test_frames(void **state) {
  (void)state;
  const char *text =
      "name: t\nbackbone: resnet50\ndataset: [mstc, mvtec]\n"
      "frames: [{}, {step: 10}, {offset: 1}, {tested_only: true}, {mask: half}, {mask: any}, {step: 5, offset: 0}]\n";
  tr_experiments e = parse(text);
  const tr_setting *s = e.items[0].settings;
  assert_int_equal(e.items[0].setting_count, 6 + 1);
  static const char *const suffixes[] = {"", "_every10", "_from1", "_tested-only", "_mask-half", "_mask-any"};
  for (size_t i = 0; i < 6; ++i) {
    char name[128];
    snprintf(name, sizeof name, "IM224_RN50_L2-3_P10_D1024-1024_PS-3_AN-1_S0%s", suffixes[i]);
    check_run(&s[i], name);
    assert_int_equal(s[i].frames.step, i == 1 ? 10 : 5);
    for (size_t j = 0; j < i; ++j)
      assert_false(tr_setting_shares_features(&s[i], &s[j]));
  }
  check_run(&s[6], "IM224_RN50_L2-3_P10_D1024-1024_PS-3_AN-1_S0");
  assert_string_equal(s[6].dataset, "mvtec");
  assert_int_equal(s[6].frames.step, 0);
  tr_experiments_free(&e);
  EXPECT_ERROR(HEAD "frames: {step: 0}\n", "`step` is `0`", "from 1");
  EXPECT_ERROR(HEAD "frames: {mask: all}\n", "`mask` is `all`", "any");
  EXPECT_ERROR(HEAD "frames: 5\n", "`frames` takes a mapping", "step");
}

/* padim's own defaults; what concerns other methods multiplies nothing; draws may be variants of one model, whatever their size. */
static void test_padim(void **state) {
  (void)state;
  tr_experiments e = parse(HEAD "method: [patchcore, padim]\nseed: [0, 1]\npatch: [3, 5]\nneighbours: [3, 9]\n");
  const tr_setting *s = e.items[0].settings;
  assert_int_equal(e.items[0].setting_count, 4 + 2);
  check_run(&s[0], "IM224_RN50_L2-3_P10_D1024-1024_PS-3_AN-1_S0");
  check_run(&s[4], "padim_IM224_RN50_L1-2-3_D550_S0");
  check_run(&s[5], "padim_IM224_RN50_L1-2-3_D550_S1");
  assert_int_equal(s[4].image_score, TR_SCORE_SMOOTHED_MAX);
  assert_int_equal(s[4].placement, TR_PLACE_NEAREST);
  assert_true(s[4].epsilon == 0.01 && s[0].epsilon == 0);
  assert_true(tr_setting_shares_features(&s[4], &s[5]));
  assert_false(tr_setting_shares_features(&s[0], &s[4]));
  assert_false(tr_setting_shares_selection(&s[4], &s[5]));
  tr_experiments_free(&e);

  e = parse("name: t\ndataset: mvtec\nbackbone: [resnet18, efficientnet_lite0]\nmethod: padim\nprotocol: [official, paper]\n");
  assert_int_equal(e.items[0].setting_count, 2);
  check_run(&e.items[0].settings[0], "padim_IM224_RN18_L1-2-3_D100_S0");
  check_run(&e.items[0].settings[1], "padim_IM224_ENL0_L1-2-4_D100_S0");
  tr_experiments_free(&e);

  e = parse(HEAD "method: padim\ndimension: [250, 550]\nepsilon: 0.04\nplacement: bilinear\nimage_score: [max, smoothed_max]\n"
                 "layers: layer2+layer3\nsigma: 2\n");
  s = e.items[0].settings;
  assert_int_equal(e.items[0].setting_count, 4);
  check_run(&s[0], "padim_IM224_RN50_L2-3_D250_S0_max_bilinear_epsilon0.04_sigma2");
  check_run(&s[3], "padim_IM224_RN50_L2-3_D550_S0_bilinear_epsilon0.04_sigma2");
  assert_true(tr_setting_shares_features(&s[0], &s[3]));
  assert_true(tr_setting_shares_selection(&s[0], &s[1]));
  assert_false(tr_setting_shares_selection(&s[1], &s[3]));
  tr_experiments_free(&e);

  EXPECT_ERROR(HEAD "method: padim\nplacement: nearets\n", "t.yaml:5", "did you mean `nearest`");
  EXPECT_ERROR(HEAD "epsilon: 0\n", "t.yaml:4", "epsilon", "above 0");
}

/* SPADE: its own defaults, and of the other methods' keys none makes a second run. */
static void test_spade(void **state) {
  (void)state;
  tr_experiments e =
      parse(HEAD "method: [patchcore, spade]\nneighbours: [50, 5]\nseed: [0, 1]\npatch: [3, 5]\nsubsampling: {percent: 1}\n");
  const tr_setting *s = e.items[0].settings;
  assert_int_equal(e.items[0].setting_count, 4 + 2);
  check_run(&s[0], "IM224_RN50_L2-3_P1_D1024-1024_PS-3_AN-1_S0");
  check_run(&s[4], "spade_IM224_RN50_L1-2-3-pool_K50_S0");
  check_run(&s[5], "spade_IM224_RN50_L1-2-3-pool_K5_S0");
  assert_true(tr_setting_shares_features(&s[4], &s[5]));
  assert_int_equal(s[4].image_score, TR_SCORE_NEAREST_IMAGES);
  assert_int_equal(s[4].distance, TR_DISTANCE_EUCLIDEAN);
  tr_experiments_free(&e);
  e = parse(
      HEAD
      "method: spade\ngallery: [separate, concatenated]\nimage_score: [nearest_images, smoothed_max]\nlayers: layer2+pool\n");
  s = e.items[0].settings;
  assert_int_equal(e.items[0].setting_count, 4);
  check_run(&s[1], "spade_IM224_RN50_L2-pool_K50_S0_smoothed-max");
  check_run(&s[2], "spade_IM224_RN50_L2-pool_K50-concatenated_S0");
  assert_false(tr_setting_shares_features(&s[0], &s[2]));
  tr_experiments_free(&e);
}

/* The draw of the images goes by the seed, also where nothing else does; only the same images share features. */
/* The factory string with quotes or without; efforts only where the index has something to spend them on. */
static void test_searches(void **state) {
  (void)state;
  tr_experiments e = parse(HEAD "search:\n  - exact\n  - faiss:\"Flat\"\n  - faiss:IVF512,PQ64np\n  - faiss:\"HNSW32\"\n"
                                "  - faiss:IVF64_HNSW16,Flat\n"
                                "nprobe: [1, 8]\nef_search: [16, 64]\n");
  static const char *const suffixes[] = {"",
                                         "_faiss-Flat",
                                         "_faiss-IVF512-PQ64np-nprobe1",
                                         "_faiss-IVF512-PQ64np-nprobe8",
                                         "_faiss-HNSW32-ef16",
                                         "_faiss-HNSW32-ef64",
                                         "_faiss-IVF64-HNSW16-Flat-nprobe1-ef16",
                                         "_faiss-IVF64-HNSW16-Flat-nprobe1-ef64",
                                         "_faiss-IVF64-HNSW16-Flat-nprobe8-ef16",
                                         "_faiss-IVF64-HNSW16-Flat-nprobe8-ef64"};
  assert_int_equal(e.items[0].setting_count, 10);
  for (size_t i = 0; i < 10; ++i) {
    char name[128];
    snprintf(name, sizeof name, "IM224_RN50_L2-3_P10_D1024-1024_PS-3_AN-1_S0%s", suffixes[i]);
    check_run(&e.items[0].settings[i], name);
    assert_true(tr_setting_shares_features(&e.items[0].settings[0], &e.items[0].settings[i]));
    assert_true(tr_setting_shares_selection(&e.items[0].settings[0], &e.items[0].settings[i]));
  }
  assert_string_equal(e.items[0].settings[2].search, "faiss:IVF512,PQ64np");
  assert_int_equal(e.items[0].settings[2].nprobe, 1);
  assert_int_equal(e.items[0].settings[2].ef_search, 0);
  tr_experiments_free(&e);
  e = parse(HEAD "search: ['faiss:\"IVF8,Flat\"', faiss:HNSW8]\n"); /* FAISS's defaults */
  assert_int_equal(e.items[0].settings[0].nprobe, 1);
  assert_int_equal(e.items[0].settings[1].ef_search, 16);
  tr_experiments_free(&e);
  e = parse(HEAD "method: padim\nsearch: faiss:HNSW8\nef_search: 4\n"); /* no bank, no search */
  assert_string_equal(e.items[0].settings[0].search, "exact");
  assert_int_equal(e.items[0].settings[0].ef_search, 0);
  tr_experiments_free(&e);
  EXPECT_ERROR(HEAD "search: exakt\n", "`search` is `exakt`", "faiss:\"IVF512,PQ64np\"");
  EXPECT_ERROR(HEAD "search: 'faiss:'\n", "`search` is `faiss:`");
  EXPECT_ERROR(HEAD "search: 'faiss:\"Flat'\n", "`search` is");
  EXPECT_ERROR(HEAD "search: 'faiss:Flat\"'\n", "`search` is");
  EXPECT_ERROR(HEAD "search: [faiss:IVF8,Flat]\n", "`search` is `Flat`"); /* a list splits at commas */
  EXPECT_ERROR(HEAD "nprobe: 0\n", "`nprobe` is `0`");
}

static void test_low_shot(void **state) {
  (void)state;
  tr_experiments e = parse(HEAD "method: [patchcore, spade, padim]\ntrain_images: [1, 50, 0]\nseed: [0, 1]\n"
                                "subsampling: {kind: none}\n");
  const tr_setting *s = e.items[0].settings;
  assert_int_equal(e.items[0].setting_count, 4 + 1 + 4 + 1 + 6);
  assert_int_equal(s[0].train_images, 1);
  check_run(&s[0], "IM224_RN50_L2-3_P100_D1024-1024_PS-3_AN-1_S0_N1");
  check_run(&s[1], "IM224_RN50_L2-3_P100_D1024-1024_PS-3_AN-1_S1_N1");
  check_run(&s[4], "IM224_RN50_L2-3_P100_D1024-1024_PS-3_AN-1_S0");
  check_run(&s[6], "spade_IM224_RN50_L1-2-3-pool_K50_S1_N1");
  check_run(&s[9], "spade_IM224_RN50_L1-2-3-pool_K50_S0");
  check_run(&s[13], "padim_IM224_RN50_L1-2-3_D550_S1_N50");
  assert_false(tr_setting_shares_features(&s[0], &s[1]));
  assert_false(tr_setting_shares_features(&s[0], &s[2]));
  assert_true(tr_setting_shares_features(&s[14], &s[15]));
  tr_experiments_free(&e);
  EXPECT_ERROR(HEAD "train_images: -1\n", "t.yaml:4", "`train_images`", "a whole number from 0");
}

/* Proxies look at the seed and not at the projection, and are learned anew for each percentage. */
static void test_learned_proxies(void **state) {
  (void)state;
  tr_experiments e = parse(HEAD "subsampling: {kind: learned, percent: [100, 1, 0.01]}\nprojection: [64, 128]\nseed: [0, 1]\n");
  const tr_setting *s = e.items[0].settings;
  assert_int_equal(e.items[0].setting_count, 1 + 4);
  check_run(&s[0], "IM224_RN50_L2-3_P100_D1024-1024_PS-3_AN-1_S0");
  check_run(&s[4], "IM224_RN50_L2-3_P0.01-learned_D1024-1024_PS-3_AN-1_S1");
  assert_int_equal(s[4].subsampling, TR_SUBSAMPLE_LEARNED);
  assert_true(tr_setting_shares_features(&s[1], &s[3]));
  assert_false(tr_setting_shares_selection(&s[1], &s[3]));
  tr_experiments_free(&e);
}

static void check_layers(const tr_setting *setting, const char *expected) {
  char *text = tr_setting_layers_text(setting);
  assert_string_equal(text, expected);
  free(text);
}

#define MEMBERS "members: [{backbone: densenet201}, {backbone: resnext101_32x8d}, {backbone: wide_resnet101_2}]"

/* Members take what they do not say from their experiment, and need no backbone there when they have their own. */
static void test_ensembles(void **state) {
  (void)state;
  tr_experiments e = parse("name: t\ndataset: mvtec\nensemble: {normalise: [official, nominal], " MEMBERS "}\n"
                           "image: {resize: 366, crop: 320}\nsubsampling: {percent: [10, 1]}\ndimension: 384\n");
  const tr_setting *s = e.items[0].settings;
  assert_int_equal(e.items[0].setting_count, 4);
  check_run(&s[1], "IM320_DN201+RX101+WR101_L2-3_P1_D1024-384_PS-3_AN-1_S0");
  check_run(&s[2], "IM320_DN201+RX101+WR101_L2-3_P10_D1024-384_PS-3_AN-1_S0_nominal");
  check_layers(&s[1], "denseblock2+denseblock3/layer2+layer3/layer2+layer3");
  assert_string_equal(s[1].backbone, "densenet201+resnext101_32x8d+wide_resnet101_2");
  assert_int_equal(s[1].member_count, 3);
  assert_int_equal(s[1].normalise, TR_NORMALISE_OFFICIAL);
  assert_int_equal(s[2].normalise, TR_NORMALISE_NOMINAL);
  check_run(&s[1].members[0], "IM320_DN201_L2-3_P1_D1024-384_PS-3_AN-1_S0");
  check_run(&s[1].members[2], "IM320_WR101_L2-3_P1_D1024-384_PS-3_AN-1_S0");
  check_layers(&s[1].members[0], "denseblock2+denseblock3");
  assert_int_equal(s[1].members[0].member_count, 0);
  assert_false(tr_setting_shares_features(&s[0], &s[1]));
  assert_true(tr_setting_shares_features(&s[0].members[1], &s[1].members[1]));
  tr_experiments_free(&e);

  e = parse(HEAD "ensemble: {members: [{layers: layer2}, {layers: layer3}, {backbone: resnet18, layers: layer2+layer3}]}\n");
  assert_int_equal(e.items[0].setting_count, 1);
  check_run(e.items[0].settings, "IM224_RN50+RN50+RN18_L2+3+2-3_P10_D1024-1024_PS-3_AN-1_S0");
  tr_experiments_free(&e);
  e = parse("name: t\ndataset: mvtec\nmethod: padim\nensemble: {members: [{backbone: resnet18}, {backbone: resnet34}]}\n");
  check_run(e.items[0].settings, "padim_IM224_RN18+RN34_L1-2-3_D100_S0");
  tr_experiments_free(&e);

  EXPECT_ERROR(HEAD "ensemble: {normalise: nominal}\n", "t.yaml:4", "no `members`");
  EXPECT_ERROR(HEAD "ensemble: {members: [{layers: layer2}]}\n", "t.yaml:4", "2 to 16 members");
  EXPECT_ERROR(HEAD "ensemble: {members: resnet18}\n", "t.yaml:4", "2 to 16 members");
  EXPECT_ERROR(HEAD "ensemble:\n  members: [{layers: layer2},\n    resnet18]\n", "t.yaml:6", "a member is a mapping");
  EXPECT_ERROR(HEAD "ensemble:\n  members: [{layers: layer2},\n    {layers: layer2}]\n", "t.yaml:6", "member 2", "same network");
  EXPECT_ERROR(HEAD "ensemble: {members: [{layers: [layer2, layer3]}, {layers: layer2}]}\n", "t.yaml:4", "`layers` is a list");
  EXPECT_ERROR(HEAD "ensemble: {members: [{patch: 5}, {layers: layer2}]}\n", "unknown key `patch` in a member");
  EXPECT_ERROR(HEAD "layers: layer2\nensemble: {members: [{backbone: resnet18}, {backbone: densenet201}]}\n", "t.yaml:4",
               "densenet201 has no layer `layer2`");
  EXPECT_ERROR("name: t\ndataset: mvtec\nensemble: {members: [{backbone: resnet18}, {layers: layer2}]}\n", "t.yaml:3",
               "no `backbone`");
  EXPECT_ERROR(HEAD "ensemble: {normalize: nominal}\n", "`normalize` in ensemble", "did you mean `normalise`?");
}

static void test_layers_follow_the_backbone(void **state) {
  (void)state;
  tr_experiments e = parse("name: t\ndataset: synthetic\nbackbone: [resnet18, efficientnet_lite0, densenet201]\n");
  assert_string_equal(e.items[0].settings[0].layers[0], "layer2");
  assert_string_equal(e.items[0].settings[1].layers[0], "blocks.2");
  assert_string_equal(e.items[0].settings[2].layers[1], "denseblock3");
  tr_experiments_free(&e);
}

static void test_several_experiments_and_merge_keys(void **state) {
  (void)state;
  tr_experiments e =
      parse("- &base\n  name: a\n  dataset: mvtec\n  backbone: resnet50\n  classes: [bottle, cable, bottle]\n  seed: 3\n"
            "- <<: *base\n  name: b\n  seed: [4, 5]\n");
  assert_int_equal(e.count, 2);
  assert_int_equal(e.items[0].classes.count, 2);
  assert_string_equal(e.items[1].name, "b");
  assert_int_equal(e.items[1].classes.count, 2);
  assert_int_equal(e.items[1].setting_count, 2);
  assert_int_equal(e.items[1].settings[1].seed, 5);
  tr_experiments_free(&e);
}

static void test_aliases(void **state) {
  (void)state;
  tr_experiments e = parse(HEAD "patch: &p [1, 3]\nstride: *p\n");
  assert_int_equal(e.items[0].setting_count, 4);
  tr_experiments_free(&e);
}

static void test_errors_of_keys(void **state) {
  (void)state;
  EXPECT_ERROR(HEAD "ptach: 3\n", "t.yaml:4", "`ptach`", "did you mean `patch`?");
  EXPECT_ERROR(HEAD "subsampling: {kind: greedy, precent: 1}\n", "t.yaml:4", "`precent`", "subsampling", "`percent`");
  EXPECT_ERROR(HEAD "zzzzzzzz: 3\n", "t.yaml:4", "unknown key `zzzzzzzz`");
  EXPECT_ERROR(HEAD "patch: 3\npatch: 5\n", "t.yaml:5", "`patch` stands twice");
  EXPECT_ERROR("name: t\ndataset: mvtec\n", "t.yaml:1", "`backbone`");
  EXPECT_ERROR(HEAD "? [a, b]\n: 1\n", "t.yaml:4", "plain word");
}

/* A bank by rows or bytes, and selections that end before. */
static void test_sizes_of_banks(void **state) {
  (void)state;
  tr_experiments e =
      parse(HEAD "subsampling:\n- {kind: [greedy, random], bank_rows: [5000, 70]}\n- {bank_bytes: [100M, 1536K, 1000]}\n"
                 "- {radius: [3.2, 5]}\n- {percent: 10, radius: 3.2, seconds: 60}\n- {bank_rows: 9, seconds: 0.5}\n"
                 "- {percent: 100}\n- {kind: none, bank_rows: 9, radius: 1}\n");
  static const char *const names[] = {"R5000",         "R70",   "R5000-random",   "R70-random",   "B100M",
                                      "B1536K",        "B1000", "P100-radius3.2", "P100-radius5", "P10-radius3.2-seconds60",
                                      "R9-seconds0.5", "P100"};
  assert_int_equal(e.items[0].setting_count, sizeof names / sizeof *names);
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    char expected[96];
    snprintf(expected, sizeof expected, "IM224_RN50_L2-3_%s_D1024-1024_PS-3_AN-1_S0", names[i]);
    check_run(&e.items[0].settings[i], expected);
  }
  tr_variant v = tr_setting_variant(&e.items[0].settings[4]);
  assert_true(v.bank_bytes == 100 << 20 && v.percent == 0 && v.bank_rows == 0);
  v = tr_setting_variant(&e.items[0].settings[9]);
  assert_true(v.percent == 10 && v.radius == 3.2 && v.seconds == 60);
  const tr_setting *s = e.items[0].settings;
  assert_true(tr_setting_shares_selection(&s[0], &s[1]) && tr_setting_shares_selection(&s[0], &s[4]));
  assert_true(tr_setting_shares_selection(&s[7], &s[8]) && !tr_setting_shares_selection(&s[0], &s[7]));
  assert_false(tr_setting_shares_selection(&s[7], &s[9]));
  tr_experiments_free(&e);
  e = parse(HEAD "method: [padim, spade]\nsubsampling: {bank_rows: 5, radius: 2}\n");
  assert_int_equal(e.items[0].setting_count, 2);
  assert_true(e.items[0].settings[1].bank_rows == 0 && e.items[0].settings[1].radius == 0);
  tr_experiments_free(&e);
  EXPECT_ERROR(HEAD "subsampling: {percent: 1, bank_rows: 5}\n", "t.yaml:4", "one of `percent`, `bank_rows` and `bank_bytes`");
  EXPECT_ERROR(HEAD "subsampling: {kind: random, radius: 5}\n", "t.yaml:4", "greedy selection, not a random one");
  EXPECT_ERROR(HEAD "subsampling: {kind: learned, percent: 1, seconds: 5}\n", "not a learned one");
  EXPECT_ERROR(HEAD "subsampling: {bank_rows: 0}\n", "`bank_rows`", "from 1 to");
  EXPECT_ERROR(HEAD "subsampling: {bank_bytes: 12Q}\n", "`bank_bytes`", "bytes such as 100M or 2G");
  EXPECT_ERROR(HEAD "subsampling: {bank_bytes: 0}\n", "`bank_bytes`");
  EXPECT_ERROR(HEAD "subsampling: {radius: 0}\n", "`radius`", "above 0");
}

static void test_errors_of_values(void **state) {
  (void)state;
  EXPECT_ERROR(HEAD "patch: 4\n", "t.yaml:4", "`patch`", "`4`", "an odd number from 1 to 15");
  EXPECT_ERROR(HEAD "patch: [3,\n  x]\n", "t.yaml:5", "`x`");
  EXPECT_ERROR(HEAD "stride: 0\n", "from 1 to 64");
  EXPECT_ERROR(HEAD "subsampling: {percent: 0}\n", "above 0, at most 100");
  EXPECT_ERROR(HEAD "subsampling: {percent: nan}\n", "`percent`");
  EXPECT_ERROR(HEAD "subsampling: greedy\n", "takes a mapping");
  EXPECT_ERROR(HEAD "seed: -1\n", "`seed`");
  EXPECT_ERROR(HEAD "seed: 9007199254740992\n", "`seed`");
  EXPECT_ERROR(HEAD "seed: []\n", "empty list");
  EXPECT_ERROR(HEAD "seed: {a: 1}\n", "a list or mapping");
  EXPECT_ERROR(HEAD "aggregate: offical\n", "did you mean `official`?", "concat");
  EXPECT_ERROR(HEAD "image: {squash: yes}\n", "true, false");
  EXPECT_ERROR(HEAD "image: {resize: 224, crop: 256}\n", "t.yaml:4", "`crop` is 256", "`resize` (224)");
  EXPECT_ERROR(HEAD "layers: layer2+layre3\n", "t.yaml:4", "`layre3`", "did you mean `layer3`?");
  EXPECT_ERROR(HEAD "layers: layer3+layer2\n", "shallow to deep");
  EXPECT_ERROR(HEAD "layers: layer2+\n", "no layer ``");
  EXPECT_ERROR("name: a/b\ndataset: mvtec\nbackbone: resnet50\n", "t.yaml:1", "`name`");
  EXPECT_ERROR("name: bench\ndataset: mvtec\nbackbone: resnet50\n", "t.yaml:1", "`name`");
  EXPECT_ERROR("name: t\ndataset: mvtec\nbackbone: resnet55\n", "t.yaml:3", "did you mean `resnet50`?");
  EXPECT_ERROR(HEAD "classes: bottel_typo: x\n", "t.yaml:4", "not YAML");
}

static void test_errors_of_structure(void **state) {
  (void)state;
  EXPECT_ERROR("", "empty");
  EXPECT_ERROR("[]", "empty");
  EXPECT_ERROR("3", "mapping");
  EXPECT_ERROR(HEAD "---\nname: u\n", "second document");
  EXPECT_ERROR("- {name: a, dataset: mvtec, backbone: resnet50}\n- {name: a, dataset: mtd, backbone: resnet50}\n", "t.yaml:2",
               "named `a`");
  EXPECT_ERROR(HEAD "split_file: [a/list.txt, b/list.txt]\n", "a/list.txt", "b/list.txt");
  EXPECT_ERROR("&x {<<: *x, name: a}", "too deeply");
  EXPECT_ERROR(HEAD "<<: 3\n", "`<<`");
}

/* Nested aliases and long lists must end in an error, not in memory or minutes. */
static void test_bombs(void **state) {
  (void)state;
  char text[8192] = HEAD "subsampling: {percent: 1}\n";
  const char *keys[] = {"seed", "sigma", "neighbours", "projection"};
  for (size_t i = 0; i < 4; ++i) {
    char *at = text + strlen(text);
    at += sprintf(at, "%s: [", keys[i]);
    for (int j = 2; j < 52; ++j)
      at += sprintf(at, "%d,", j);
    strcpy(at, "]\n");
  }
  EXPECT_ERROR(text, "more than 10000 settings");
  char merges[4096] = "- &a0 {seed: 1}\n";
  for (int i = 1; i < 12; ++i) {
    char *at = merges + strlen(merges);
    at += sprintf(at, "- &a%d {<<: [", i);
    for (int j = 0; j < 10; ++j)
      at += sprintf(at, "*a%d,", i - 1);
    strcpy(at, "]}\n");
  }
  char document[5000];
  snprintf(document, sizeof document, "x:\n%s<<: *a11\n", merges);
  EXPECT_ERROR(document, "t.yaml");
}

/* A folder of experiment files, made and removed by each test that includes. */
static char folder[64];

static int make_folder(void **state) {
  (void)state;
  strcpy(folder, "/tmp/totalrecall-include-XXXXXX");
  return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  return system(command);
}

static void write_experiment(const char *name, const char *text) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static tr_status read_first(tr_experiments *out) {
  char path[128];
  snprintf(path, sizeof path, "%s/first.yaml", folder);
  return tr_experiments_read(path, NULL, out);
}

static void expect_include_error(tr_status expected, const char *first, const char *part, const char *other) {
  tr_experiments e;
  write_experiment("first.yaml", first);
  assert_int_equal(read_first(&e), expected);
  if (!strstr(tr_last_error(), part) || !strstr(tr_last_error(), other))
    fail_msg("\"%s\" does not say \"%s\" and \"%s\"", tr_last_error(), part, other);
}

/* Files are looked for beside the one that includes them, wherever the program stands, and their experiments keep the order. */
static void test_includes(void **state) {
  (void)state;
  tr_experiments e;
  char sub[128];
  snprintf(sub, sizeof sub, "%s/sub", folder);
  assert_int_equal(tr_make_folders(sub), TR_OK);
  write_experiment("b.yaml", "name: b\ndataset: mvtec\nbackbone: resnet50\n");
  write_experiment("sub/c.yaml", "- {name: c, dataset: mvtec, backbone: resnet50}\n- include: d.yaml\n");
  write_experiment("sub/d.yaml",
                   "- {name: d1, dataset: mtd, backbone: resnet50}\n- {name: d2, dataset: mtd, backbone: resnet50}\n");
  write_experiment("first.yaml", "- {name: a, dataset: mvtec, backbone: resnet50}\n- include: [b.yaml, sub/c.yaml]\n");
  if (read_first(&e) != TR_OK)
    fail_msg("%s", tr_last_error());
  static const char *const names[] = {"a", "b", "c", "d1", "d2"};
  assert_int_equal(e.count, 5);
  for (size_t i = 0; i < 5; ++i)
    assert_string_equal(e.items[i].name, names[i]);
  assert_string_equal(e.items[4].settings[0].dataset, "mtd");
  tr_experiments_free(&e);
  write_experiment("first.yaml", "include: b.yaml\n");
  assert_int_equal(read_first(&e), TR_OK);
  assert_int_equal(e.count, 1);
  tr_experiments_free(&e);
}

static void test_errors_of_includes(void **state) {
  (void)state;
  write_experiment("b.yaml", "name: b\ndataset: mvtec\nbackbone: resnet50\n");
  write_experiment("bad.yaml", "name: bad\ndataset: mvtec\nbackbone: resnet50\npatch: 4\n");
  write_experiment("round.yaml", "- include: first.yaml\n");
  expect_include_error(TR_EIO, "- include: b.yaml\n- include: absent.yaml\n", "first.yaml:2: including absent.yaml",
                       "No such file");
  expect_include_error(TR_EFORMAT, "- include: bad.yaml\n", "first.yaml:1: including bad.yaml", "bad.yaml:4: `patch`");
  expect_include_error(TR_EFORMAT, "- include: first.yaml\n", "first.yaml:1", "would include itself");
  expect_include_error(TR_EFORMAT, "- include: b.yaml\n- include: round.yaml\n", "first.yaml:2: including round.yaml",
                       "would include itself");
  expect_include_error(TR_EFORMAT, "- include: [b.yaml, b.yaml]\n", "first.yaml:1", "two experiments are named `b`");
  expect_include_error(TR_EFORMAT, "- include: b.yaml\n  seed: 3\n", "first.yaml:1", "`include` stands alone");
  expect_include_error(TR_EFORMAT, "- include: {a: b}\n", "first.yaml:1", "takes a file");
  expect_include_error(TR_EFORMAT, "- include: []\n", "first.yaml:1", "empty list");
  expect_include_error(TR_EIO, "- include: .\n", "first.yaml:1", "not a regular file");
  EXPECT_ERROR("include: b.yaml\n", "t.yaml:1", "is for files");
}

static tr_replacements replacements_of(const char *const *backbones, size_t count, const char *data_set) {
  tr_replacements out = {0};
  for (size_t i = 0; i < count; ++i)
    assert_int_equal(tr_replace_backbone(&out, backbones[i]), TR_OK);
  if (data_set)
    assert_int_equal(tr_replace_data_set(&out, data_set), TR_OK);
  return out;
}

static tr_experiments parse_elsewhere(const char *text, const tr_replacements *replacements) {
  tr_experiments out;
  if (tr_experiments_parse("t.yaml", text, strlen(text), replacements, &out) != TR_OK)
    fail_msg("%s", tr_last_error());
  return out;
}

static tr_experiments parse_replaced(const char *text, const char *const *options, size_t count) {
  tr_replacements replacements = replacements_of(options, count, NULL);
  tr_experiments out = parse_elsewhere(text, &replacements);
  tr_replacements_free(&replacements);
  return out;
}

static void expect_replaced_error(const char *text, const char *backbone, const char *words) {
  tr_replacements replacements = replacements_of(&backbone, 1, NULL);
  tr_experiments out;
  assert_int_equal(tr_experiments_parse("t.yaml", text, strlen(text), &replacements, &out), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), words));
  tr_replacements_free(&replacements);
}

/* Layers go by stride; defaults that depend on the backbone are the new one's; what becomes the same is one run; the names are real. */
static void test_replaced_backbones(void **state) {
  (void)state;
  static const char grid[] =
      "name: t\ndataset: mvtec\nmethod: [patchcore, padim, spade]\nbackbone: [wide_resnet50_2, densenet201]\n";
  const char *any[] = {"efficientnet_lite0"};
  tr_experiments e = parse_replaced(grid, any, 1);
  const tr_setting *s = e.items[0].settings;
  assert_int_equal(e.items[0].setting_count, 3);
  check_run(&s[0], "IM224_ENL0_L2-4_P10_D1024-1024_PS-3_AN-1_S0");
  check_run(&s[1], "padim_IM224_ENL0_L1-2-4_D100_S0");
  check_run(&s[2], "spade_IM224_ENL0_L1-2-4-pool_K50_S0");
  assert_int_equal(e.notes.count, 2);
  assert_string_equal(e.notes.items[0], "efficientnet_lite0 takes the place of wide_resnet50_2");
  tr_experiments_free(&e);

  const char *named[] = {"densenet201=resnet18", "resnet50_v1"};
  e = parse_replaced(grid, named, 2);
  assert_int_equal(e.items[0].setting_count, 6);
  check_run(&e.items[0].settings[0], "IM224_RN50V1_L2-3_P10_D1024-1024_PS-3_AN-1_S0");
  check_run(&e.items[0].settings[1], "IM224_RN18_L2-3_P10_D1024-1024_PS-3_AN-1_S0");
  tr_experiments_free(&e);

  const char *dense[] = {"densenet201"};
  e = parse_replaced("name: t\ndataset: mvtec\nbackbone: efficientnet_lite0\nlayers: blocks.1+blocks.3+blocks.4\n", dense, 1);
  check_layers(e.items[0].settings, "denseblock1+denseblock3");
  tr_experiments_free(&e);

  tr_replacements wrong = {0};
  assert_int_equal(tr_replace_backbone(&wrong, "resnet55"), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "did you mean `resnet50`?"));
  assert_int_equal(tr_replace_backbone(&wrong, "resnet18="), TR_EINVAL);
  assert_int_equal(tr_replace_backbone(&wrong, "=resnet18"), TR_EINVAL);
  expect_replaced_error("name: t\ndataset: mvtec\nbackbone: efficientnet_lite0\nlayers: blocks.0\n", "resnet18",
                        "efficientnet_lite0's blocks.0");
}

/* Members that become one network count once; what is no ensemble any more is not run as one. */
static void test_replaced_members(void **state) {
  (void)state;
  static const char text[] = "- name: single\n  dataset: mvtec\n  backbone: wide_resnet101_2\n"
                             "- name: both\n  dataset: mvtec\n  ensemble: {" MEMBERS "}\n";
  const char *two[] = {"densenet201=efficientnet_lite0", "resnet50_v1"};
  tr_experiments e = parse_replaced(text, two, 2);
  assert_int_equal(e.count, 2);
  const tr_setting *s = e.items[1].settings;
  assert_int_equal(s->member_count, 2);
  check_run(s, "IM224_ENL0+RN50V1_L2-4+2-3_P10_D1024-1024_PS-3_AN-1_S0");
  assert_string_equal(s->backbone, "efficientnet_lite0+resnet50_v1");
  tr_experiments_free(&e);

  const char *one[] = {"resnet50_v1"};
  e = parse_replaced(text, one, 1);
  assert_int_equal(e.count, 1);
  assert_string_equal(e.items[0].name, "single");
  assert_string_equal(e.notes.items[e.notes.count - 1], "an ensemble of 3 is left out: all its members become resnet50_v1");
  tr_experiments_free(&e);

  static const char alone[] = "name: both\ndataset: mvtec\nensemble: {" MEMBERS "}\n";
  expect_replaced_error(alone, "resnet50_v1", "nothing is left to run");
}

/* What becomes the same is one run; a split of other images is none of these. */
static void test_replaced_data_sets(void **state) {
  (void)state;
  static const char text[] = "name: t\ndataset: [mvtec, mtd, mstc]\nbackbone: resnet18\nsplit_file: s.txt\n";
  tr_replacements replacements = replacements_of(NULL, 0, "synthetic");
  tr_experiments e = parse_elsewhere(text, &replacements);
  assert_int_equal(e.items[0].setting_count, 1);
  assert_string_equal(e.items[0].settings[0].dataset, "synthetic");
  assert_null(e.items[0].settings[0].split_file);
  assert_int_equal(e.items[0].settings[0].frames.step, 0);
  assert_int_equal(e.notes.count, 3);
  assert_string_equal(e.notes.items[1], "data set synthetic takes the place of mtd");
  tr_experiments_free(&e);
  tr_replacements_free(&replacements);

  replacements = replacements_of(NULL, 0, "mvtec=mtd");
  e = parse_elsewhere(text, &replacements);
  assert_int_equal(e.items[0].setting_count, 3);
  assert_null(e.items[0].settings[0].split_file);
  assert_non_null(e.items[0].settings[1].split_file);
  tr_experiments_free(&e);
  tr_replacements_free(&replacements);

  assert_int_equal(tr_replace_data_set(&replacements, "mvtecc"), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "did you mean `mvtec`?"));
}

/* What experiments/ holds can be read. */
static void test_shipped_experiments(void **state) {
  (void)state;
  static const char shipped[] = TR_GOLDEN_DIR "/../../experiments";
  tr_strings names;
  assert_int_equal(tr_folder_list(shipped, &names), TR_OK);
  assert_true(names.count > 5);
  for (size_t i = 0; i < names.count; ++i) {
    const char *end = strrchr(names.items[i], '.');
    if (!end || strcmp(end, ".yaml") != 0)
      continue;
    char path[1024];
    tr_experiments e;
    snprintf(path, sizeof path, "%s/%s", shipped, names.items[i]);
    if (tr_experiments_read(path, NULL, &e) != TR_OK)
      fail_msg("%s", tr_last_error());
    tr_experiments_free(&e);
  }
  tr_strings_free(&names);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_searches),
      cmocka_unit_test(test_defaults),
      cmocka_unit_test(test_design_example),
      cmocka_unit_test(test_protocol_sets_defaults_and_keys_override),
      cmocka_unit_test(test_grids_within_mappings),
      cmocka_unit_test(test_equal_work_is_one_run),
      cmocka_unit_test(test_distinct_settings_have_distinct_names),
      cmocka_unit_test(test_tiles),
      cmocka_unit_test(test_frames),
      cmocka_unit_test(test_padim),
      cmocka_unit_test(test_spade),
      cmocka_unit_test(test_low_shot),
      cmocka_unit_test(test_learned_proxies),
      cmocka_unit_test(test_ensembles),
      cmocka_unit_test(test_layers_follow_the_backbone),
      cmocka_unit_test(test_several_experiments_and_merge_keys),
      cmocka_unit_test(test_aliases),
      cmocka_unit_test(test_errors_of_keys),
      cmocka_unit_test(test_sizes_of_banks),
      cmocka_unit_test(test_errors_of_values),
      cmocka_unit_test(test_errors_of_structure),
      cmocka_unit_test(test_bombs),
      cmocka_unit_test_setup_teardown(test_includes, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(test_errors_of_includes, make_folder, remove_folder),
      cmocka_unit_test(test_replaced_backbones),
      cmocka_unit_test(test_replaced_members),
      cmocka_unit_test(test_replaced_data_sets),
      cmocka_unit_test(test_shipped_experiments),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
