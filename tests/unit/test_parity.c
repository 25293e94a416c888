/* Parity with the authors' code on real images: with the same weights and the same bank rows, each image's score; and the greedy
 * selection against brute force in double on the same features. Needs MVTec's bottle, the resnet50_v1 weights and the reference
 * scores (TR_SHARED_DIR/paper/official-scores); skipped where they are absent. */
#include "tests/golden/golden.h"

#include "datasets/dataset.h"
#include "datasets/image.h"
#include "host/backbone/graph.h"
#include "host/base/rng.h"
#include "kernels/coreset.h"
#include "kernels/nearest.h"
#include "kernels/project.h"
#include "kernels/resize.h"

#include <math.h>

enum { SIDE = 224, PATCHES = 28 * 28, D = 1024, D_STAR = 128 };

/* Agreement asked of each image score: 1e-4 relative (fp32 convolutions of two libraries differ by about 1e-5). */
static const double score_tolerance = 1e-4;

static const float mean[3] = {0.485f, 0.456f, 0.406f}, deviation[3] = {0.229f, 0.224f, 0.225f};

typedef struct fixture {
  tr_device *device;
  tr_dataset *dataset;
  tr_class bottle;
  tr_weights *weights;
  tr_backbone *backbone;
  tr_aggregate_spec aggregate;
  float *train; /* [images * PATCHES, D] */
} fixture;

typedef struct extraction {
  const fixture *f;
  const tr_sample *samples;
  float *features;
} extraction;

static tr_status extract_with(const fixture *f, const tr_image *image, int lane, float *features) {
  const tr_image_spec spec = {.resize = 256, .crop = SIDE};
  float *pixels = NULL, *maps[2] = {NULL, NULL};
  void *scratch = NULL;
  tr_status status = tr_device_alloc(f->device, SIDE * SIDE * 3 * sizeof(float), (void **)&pixels);
  for (int i = 0; status == TR_OK && i < 2; ++i) {
    size_t count = (size_t)f->aggregate.h[i] * (size_t)f->aggregate.w[i] * (size_t)f->aggregate.c[i];
    status = tr_device_alloc(f->device, count * sizeof(float), (void **)&maps[i]);
  }
  size_t resize_bytes = tr_resize_scratch(&spec, image->h, image->w, 3);
  size_t aggregate_bytes = tr_aggregate_scratch(f->device, &f->aggregate, 1);
  if (status == TR_OK)
    status = tr_device_alloc(f->device, resize_bytes > aggregate_bytes ? resize_bytes : aggregate_bytes, &scratch);
  if (status == TR_OK)
    status = tr_resize(f->device, &(tr_resize_args){.src = image->pixels,
                                                    .src_h = image->h,
                                                    .src_w = image->w,
                                                    .channels = 3,
                                                    .spec = spec,
                                                    .mean = mean,
                                                    .std = deviation,
                                                    .dst = pixels,
                                                    .scratch = scratch});
  if (status == TR_OK)
    status = tr_backbone_run(f->backbone, lane, 1, pixels, maps);
  if (status == TR_OK)
    status = tr_aggregate(
        f->device,
        &(tr_aggregate_args){.spec = f->aggregate, .n = 1, .maps = {maps[0], maps[1]}, .dst = features, .scratch = scratch});
  tr_device_free(f->device, pixels);
  tr_device_free(f->device, maps[0]);
  tr_device_free(f->device, maps[1]);
  tr_device_free(f->device, scratch);
  return status;
}

static tr_status extract_chunk(void *context, size_t first, size_t count, int lane) {
  const extraction *e = context;
  for (size_t i = first; i < first + count; ++i) {
    tr_image image;
    tr_status status = tr_image_read(e->samples[i].path, 3, &image);
    if (status != TR_OK)
      return status;
    status = extract_with(e->f, &image, lane, e->features + i * PATCHES * D);
    tr_image_free(&image);
    if (status != TR_OK)
      return status;
  }
  return TR_OK;
}

static float *extract(const fixture *f, const tr_sample *samples, size_t count) {
  extraction e = {f, samples, NULL};
  assert_int_equal(tr_device_alloc(f->device, count * PATCHES * D * sizeof(float), (void **)&e.features), TR_OK);
  if (tr_device_for_chunks(f->device, count, extract_chunk, &e) != TR_OK)
    fail_msg("features: %s", tr_last_error());
  return e.features;
}

static int setup(void **state) {
  static fixture f;
  char data[1024], weights[1024];
  snprintf(data, sizeof data, "%s", golden_external("TOTALRECALL_DATA", "data", ""));
  snprintf(weights, sizeof weights, "%s", golden_external("TOTALRECALL_WEIGHTS", "weights", ""));
  assert_int_equal(tr_device_open("cpu", 0, &f.device), TR_OK);
  assert_int_equal(tr_dataset_open(&(tr_dataset_options){.kind = "mvtec", .root = data}, &f.dataset), TR_OK);
  assert_int_equal(tr_dataset_class(f.dataset, "bottle", &f.bottle), TR_OK);
  char *file;
  assert_int_equal(tr_weights_locate(weights, "resnet50_v1", &file), TR_OK);
  assert_int_equal(tr_weights_open(file, &f.weights), TR_OK);
  free(file);
  static const char *const layers[] = {"layer2", "layer3"};
  tr_backbone_options options = {.architecture = "resnet50_v1", .layers = layers, .layer_count = 2, .in_h = SIDE, .in_w = SIDE};
  if (tr_backbone_create(f.device, &options, f.weights, &f.backbone) != TR_OK)
    fail_msg("%s", tr_last_error());
  f.aggregate = (tr_aggregate_spec){.layers = 2, .patch = 3, .stride = 1, .layer_dimension = D, .dimension = D};
  for (int i = 0; i < 2; ++i)
    tr_backbone_tap_shape(f.backbone, i, &f.aggregate.h[i], &f.aggregate.w[i], &f.aggregate.c[i]);
  f.train = extract(&f, f.bottle.train, f.bottle.train_count);
  *state = &f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  tr_device_free(f->device, f->train);
  tr_backbone_destroy(f->backbone);
  tr_weights_close(f->weights);
  tr_class_free(&f->bottle);
  tr_dataset_close(f->dataset);
  tr_device_close(f->device);
  return 0;
}

static char *reference(const char *name) {
  static char *text; /* static: gcc 12 takes the memory it points to for the variable itself, which ends here */
  char path[1024];
  size_t bytes;
  snprintf(path, sizeof path, "%s/paper/official-scores/%s", TR_SHARED_DIR, name);
  if (tr_file_read(path, &text, &bytes) != TR_OK)
    fail_msg("%s", tr_last_error());
  return text;
}

static size_t read_picks(const char *name, uint32_t *picks, size_t most) {
  char *text = reference(name), *p = strchr(text, '\n');
  size_t count = 0;
  for (char *end; p && count < most; p = end) {
    unsigned long row = strtoul(p, &end, 10);
    if (end == p)
      break;
    picks[count++] = (uint32_t)row;
  }
  free(text);
  return count;
}

/* The reference score of a test image; the file has lines "broken_large/000.png,1,570.0237". */
static double reference_score(const char *text, const char *name) {
  char key[256];
  snprintf(key, sizeof key, "\n%s,", name);
  const char *line = strstr(text, key);
  if (!line)
    fail_msg("no reference score for %s", name);
  return atof(strchr(line + strlen(key), ',') + 1);
}

static void image_scores_agree(fixture *f, const float *test, const char *picks_file, const char *scores_file) {
  static uint32_t picks[16384];
  size_t rows = read_picks(picks_file, picks, sizeof picks / sizeof *picks), queries = f->bottle.test_count * PATCHES;
  assert_true(rows > 900);
  float *bank, *norms, *distances;
  uint32_t *indices;
  void *scratch;
  assert_int_equal(tr_device_alloc(f->device, rows * D * sizeof(float), (void **)&bank), TR_OK);
  assert_int_equal(tr_device_alloc(f->device, rows * sizeof(float), (void **)&norms), TR_OK);
  assert_int_equal(tr_device_alloc(f->device, queries * sizeof(float), (void **)&distances), TR_OK);
  assert_int_equal(tr_device_alloc(f->device, queries * sizeof(uint32_t), (void **)&indices), TR_OK);
  assert_int_equal(tr_device_alloc(f->device, tr_nearest_scratch(f->device, queries, PATCHES, rows, D, 1), &scratch), TR_OK);
  assert_int_equal(tr_device_gather(f->device, bank, f->train, picks, rows, D * sizeof(float)), TR_OK);
  assert_int_equal(tr_squared_norms(f->device, bank, rows, D, norms), TR_OK);
  assert_int_equal(tr_nearest(f->device, &(tr_nearest_args){.queries_count = queries,
                                                            .group = PATCHES,
                                                            .queries = test,
                                                            .bank_rows = rows,
                                                            .bank = bank,
                                                            .bank_norms = norms,
                                                            .d = D,
                                                            .k = 1,
                                                            .distances = distances,
                                                            .indices = indices,
                                                            .scratch = scratch}),
                   TR_OK);
  char *text = reference(scores_file);
  double worst = 0;
  for (size_t i = 0; i < f->bottle.test_count; ++i) {
    float score = 0;
    for (size_t p = 0; p < PATCHES; ++p)
      score = fmaxf(score, distances[i * PATCHES + p]);
    double expected = reference_score(text, f->bottle.test[i].name);
    worst = fmax(worst, fabs(score - expected) / expected);
    if (fabs(score - expected) > score_tolerance * expected)
      fail_msg("%s: %s: got %.6g, the authors' code gives %.6g", scores_file, f->bottle.test[i].name, (double)score, expected);
  }
  print_message("%s: %zu images, largest relative difference %.2g\n", scores_file, f->bottle.test_count, worst);
  free(text);
  tr_device_free(f->device, bank);
  tr_device_free(f->device, norms);
  tr_device_free(f->device, distances);
  tr_device_free(f->device, indices);
  tr_device_free(f->device, scratch);
}

static void scores_with_the_authors_rows(void **state) {
  fixture *f = *state;
  float *test = extract(f, f->bottle.test, f->bottle.test_count);
  image_scores_agree(f, test, "bottle_1_picks.csv", "bottle_1.csv");
  image_scores_agree(f, test, "bottle_10_picks.csv", "bottle_10.csv");
  tr_device_free(f->device, test);
}

typedef struct brute_force {
  const float *rows;
  double *reach;
  size_t n;
  uint32_t pick;
} brute_force;

static double distance(const float *a, const float *b) {
  double sum = 0;
  for (int i = 0; i < D_STAR; ++i) {
    double difference = (double)a[i] - (double)b[i];
    sum += difference * difference;
  }
  return sqrt(sum);
}

enum { BLOCK = 1024 };

static tr_status update_block(void *context, size_t task) {
  brute_force *b = context;
  size_t end = (task + 1) * BLOCK < b->n ? (task + 1) * BLOCK : b->n;
  for (size_t i = task * BLOCK; i < end; ++i)
    b->reach[i] = fmin(b->reach[i], distance(b->rows + i * D_STAR, b->rows + (size_t)b->pick * D_STAR));
  return TR_OK;
}

/* The picks follow the order of a brute-force selection in double; where a pick differs, it is a tie: its reach equals the
 * largest within float rounding of a distance (1e-5 relative). */
static void greedy_equals_brute_force(void **state) {
  enum { PICKS = 2000, STARTS = 10 };
  fixture *f = *state;
  size_t n = f->bottle.train_count * PATCHES;
  float *projected, *matrix, *radius = malloc(PICKS * sizeof *radius);
  uint32_t *order = malloc(PICKS * sizeof *order), start[STARTS];
  void *scratch;
  assert_non_null(radius);
  assert_non_null(order);
  assert_int_equal(tr_device_alloc(f->device, n * D_STAR * sizeof(float), (void **)&projected), TR_OK);
  assert_int_equal(tr_device_alloc(f->device, D_STAR * D * sizeof(float), (void **)&matrix), TR_OK);
  tr_project_matrix(0, D, D_STAR, matrix);
  assert_int_equal(
      tr_project(f->device,
                 &(tr_project_args){.n = n, .d = D, .d_star = D_STAR, .src = f->train, .matrix = matrix, .dst = projected}),
      TR_OK);
  for (uint32_t i = 0; i < STARTS; ++i)
    start[i] = i * 9000 + 77;
  assert_int_equal(tr_device_alloc(f->device, tr_coreset_scratch(f->device, n, D_STAR, PICKS), &scratch), TR_OK);
  assert_int_equal(tr_coreset(f->device, &(tr_coreset_args){.n = n,
                                                            .d = D_STAR,
                                                            .rows = projected,
                                                            .picks = PICKS,
                                                            .start = start,
                                                            .starts = STARTS,
                                                            .order = order,
                                                            .radius = radius,
                                                            .scratch = scratch}),
                   TR_OK);
  brute_force b = {projected, calloc(n, sizeof(double)), n, 0};
  assert_non_null(b.reach);
  for (size_t i = 0; i < n; ++i)
    for (int s = 0; s < STARTS; ++s)
      b.reach[i] += distance(projected + i * D_STAR, projected + (size_t)start[s] * D_STAR) / STARTS;
  size_t swapped = 0;
  for (size_t pick = 0; pick < PICKS; ++pick) {
    size_t best = 0;
    for (size_t i = 1; i < n; ++i)
      if (b.reach[i] > b.reach[best])
        best = i;
    swapped += order[pick] != best;
    if (b.reach[order[pick]] < b.reach[best] * (1 - 1e-5))
      fail_msg("pick %zu: row %u reaches %.9g, row %zu reaches %.9g", pick, order[pick], b.reach[order[pick]], best,
               b.reach[best]);
    if (fabs(radius[pick] - b.reach[order[pick]]) > 1e-5 * b.reach[best])
      fail_msg("pick %zu: radius %.9g, in double %.9g", pick, (double)radius[pick], b.reach[order[pick]]);
    b.pick = order[pick];
    assert_int_equal(tr_pool_run(tr_device_pool(f->device), (n + BLOCK - 1) / BLOCK, update_block, &b), TR_OK);
  }
  print_message("%d picks of %zu rows; %zu differ at ties\n", PICKS, n, swapped);
  free(b.reach);
  free(order);
  free(radius);
  tr_device_free(f->device, projected);
  tr_device_free(f->device, matrix);
  tr_device_free(f->device, scratch);
}

int main(void) {
  if (!golden_external("TOTALRECALL_DATA", "data", "mvtec/bottle/train/good") ||
      !golden_external("TOTALRECALL_WEIGHTS", "weights", "resnet50_v1_imagenet.safetensors") ||
      access(TR_SHARED_DIR "/paper/official-scores/bottle_1.csv", R_OK) != 0) {
    printf("skipped: MVTec bottle, the resnet50_v1 weights or the reference scores are not here\n");
    return 77;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(scores_with_the_authors_rows),
      cmocka_unit_test(greedy_equals_brute_force),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
