/* Metrics against scikit-learn, SciPy and the written-out definitions (tests/golden/make_metrics.py), closed forms, and properties. */
#include "host/base/rng.h"
#include "host/metrics/metrics.h"
#include "kernels/sort_scan.h"
#include "tests/kernels/devices.h"

#include <math.h>

static tr_device *device;

static int open_device(void **state) {
  (void)state;
  device = test_device_open(2);
  return 0;
}
static int close_device(void **state) {
  (void)state;
  tr_device_close(device);
  return 0;
}

static void assert_near(double got, double expected, double tolerance) {
  if (!(fabs(got - expected) <= tolerance))
    fail_msg("got %.17g, expected %.17g", got, expected);
}

/* ---- image scores ---- */

static double auroc_of(const float *scores, const uint8_t *positive, size_t n) {
  double auroc;
  assert_int_equal(tr_auroc(scores, positive, n, &auroc), TR_OK);
  return auroc;
}

static tr_f1 f1_of(const float *scores, const uint8_t *positive, size_t n) {
  tr_f1 f1;
  assert_int_equal(tr_best_f1(scores, positive, n, &f1), TR_OK);
  return f1;
}

static void test_image_golden(void **state) {
  (void)state;
  golden_array scores = golden_read("metrics_image_scores.npy"), labels = golden_read("metrics_image_labels.npy"),
               expected = golden_read("metrics_image_expected.npy");
  size_t cases = scores.shape[0], n = scores.shape[1];
  for (size_t c = 0; c < cases; ++c) {
    const float *s = (float *)scores.data + c * n;
    const uint8_t *l = (uint8_t *)labels.data + c * n;
    const double *e = (double *)expected.data + c * 5;
    assert_near(auroc_of(s, l, n), e[0], 1e-12);
    tr_f1 f1 = f1_of(s, l, n);
    assert_near(f1.f1, e[1], 1e-12);
    assert_true(f1.threshold == e[2]);
    assert_int_equal(f1.false_positives, (size_t)e[3]);
    assert_int_equal(f1.false_negatives, (size_t)e[4]);
  }
  golden_free(&scores);
  golden_free(&labels);
  golden_free(&expected);
}

static void test_auroc_edges(void **state) {
  (void)state;
  const uint8_t none[] = {0, 0, 0}, all[] = {1, 1, 1}, mixed[] = {0, 1, 0};
  const float up[] = {1, 3, 2}, same[] = {5, 5, 5}, zeros[] = {0.0f, -0.0f, 0.0f}, tiny[] = {1e-45f, 3e-45f, 0};
  assert_true(isnan(auroc_of(up, none, 3)));
  assert_true(isnan(auroc_of(up, all, 3)));
  assert_true(isnan(auroc_of(up, all, 1)));
  assert_true(isnan(auroc_of(NULL, NULL, 0)));
  assert_true(auroc_of(up, mixed, 3) == 1);
  assert_true(auroc_of(same, mixed, 3) == 0.5);
  assert_true(auroc_of(zeros, mixed, 3) == 0.5);
  assert_true(auroc_of(tiny, mixed, 3) == 1);
}

static void test_f1_edges(void **state) {
  (void)state;
  const uint8_t none[] = {0, 0, 0, 0}, all[] = {1, 1, 1, 1}, outer[] = {1, 0, 0, 1};
  const float down[] = {4, 3, 2, 1};
  tr_f1 f1 = f1_of(down, none, 4);
  assert_true(isnan(f1.f1) && isnan(f1.threshold));
  assert_int_equal(f1.false_positives + f1.false_negatives, 0);
  f1 = f1_of(down, all, 4);
  assert_true(f1.f1 == 1 && f1.threshold == 1);
  f1 = f1_of(down, outer, 4); /* 2/3 at threshold 4 (one miss) and at 1 (two false alarms) */
  assert_near(f1.f1, 2.0 / 3.0, 1e-15);
  assert_true(f1.threshold == 4);
  assert_int_equal(f1.false_positives, 0);
  assert_int_equal(f1.false_negatives, 1);
  f1 = f1_of(down, outer, 1);
  assert_true(f1.f1 == 1 && f1.threshold == 4);
}

static void test_scores_must_be_finite(void **state) {
  (void)state;
  const float scores[] = {1, 2, NAN, 3}, infinite[] = {1, -INFINITY};
  const uint8_t positive[] = {0, 1, 0, 1};
  double auroc;
  tr_f1 f1;
  assert_int_equal(tr_auroc(scores, positive, 4, &auroc), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "index 2"));
  assert_int_equal(tr_best_f1(infinite, positive, 2, &f1), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "index 1"));
}

/* The authors' image scores must give the authors' figures. */
static void check_official(const char *file, double auroc, size_t misclassified) {
  char below[64];
  snprintf(below, sizeof below, "official-scores/%s", file);
  const char *path = golden_external("TOTALRECALL_PAPER", "paper", below);
  if (!path)
    skip();
  FILE *csv = fopen(path, "r");
  assert_non_null(csv);
  char line[512];
  float scores[1024];
  uint8_t positive[1024];
  size_t n = 0;
  assert_non_null(fgets(line, sizeof line, csv));
  assert_string_equal(line, "image,label,score\n");
  while (fgets(line, sizeof line, csv)) {
    char *score = strrchr(line, ',');
    assert_true(score && n < 1024);
    positive[n] = score[-1] == '1';
    scores[n++] = strtof(score + 1, NULL);
  }
  fclose(csv);
  assert_near(auroc_of(scores, positive, n), auroc, 5.1e-6);
  tr_f1 f1 = f1_of(scores, positive, n);
  assert_int_equal(f1.false_positives + f1.false_negatives, misclassified);
}

static void test_official_scores(void **state) {
  (void)state;
  check_official("bottle_10.csv", 1.0, 0);
  check_official("bottle_1.csv", 1.0, 0);
  check_official("mtd_1.csv", 0.93512, 78);
}

/* ---- regions ---- */

static void test_regions_golden(void **state) {
  (void)state;
  golden_array masks = golden_read("metrics_label_masks.npy"), expected = golden_read("metrics_label_expected.npy");
  size_t cases = masks.shape[0], h = masks.shape[1], w = masks.shape[2], pixels = h * w;
  float *mask = malloc(pixels * sizeof *mask);
  uint32_t *labels = malloc(pixels * sizeof *labels);
  assert_true(mask && labels);
  for (size_t c = 0; c < cases; ++c) {
    const uint8_t *m = (uint8_t *)masks.data + c * pixels, *e = (uint8_t *)expected.data + c * pixels;
    uint32_t regions, most = 0;
    for (size_t p = 0; p < pixels; ++p)
      mask[p] = m[p];
    assert_int_equal(tr_label_regions(mask, (int)h, (int)w, 0.5f, labels, &regions), TR_OK);
    for (size_t p = 0; p < pixels; ++p) {
      assert_int_equal(labels[p], e[p]);
      most = e[p] > most ? e[p] : most;
    }
    assert_int_equal(regions, most);
  }
  free(labels);
  free(mask);
  golden_free(&masks);
  golden_free(&expected);
}

static void test_regions_edges(void **state) {
  (void)state;
  const float line[] = {1, 0, 1, 1, 0, 1}, half[] = {0.5f, 0.50001f, NAN, 0.4f};
  uint32_t labels[6], regions;
  assert_int_equal(tr_label_regions(line, 1, 6, 0.5f, labels, &regions), TR_OK);
  assert_int_equal(regions, 3);
  assert_int_equal(tr_label_regions(line, 6, 1, 0.5f, labels, &regions), TR_OK);
  assert_int_equal(regions, 3);
  assert_memory_equal(labels, ((uint32_t[]){1, 0, 2, 2, 0, 3}), sizeof labels);
  assert_int_equal(tr_label_regions(line, 2, 3, 0.5f, labels, &regions), TR_OK); /* 101/101 */
  assert_int_equal(regions, 2);
  assert_int_equal(tr_label_regions(half, 2, 2, 0.5f, labels, &regions), TR_OK); /* strictly above; NaN is not */
  assert_memory_equal(labels, ((uint32_t[]){0, 1, 0, 0}), 4 * sizeof *labels);
  assert_int_equal(tr_label_regions(line, 0, 3, 0.5f, labels, &regions), TR_EINVAL);
  assert_int_equal(tr_label_regions(line, 65536, 65536, 0.5f, labels, &regions), TR_EINVAL);
}

/* ---- pixels ---- */

/* maps and masks: host. */
static tr_pixel_metrics pixels_on(tr_device *on, const float *maps, const float *const *masks, size_t n, int h, int w) {
  tr_pixel_metrics out;
  float *there = device_copy_of(on, maps, n * (size_t)h * (size_t)w * sizeof *maps);
  assert_int_equal(tr_pixel_metrics_compute(on, there, masks, n, h, w, &out), TR_OK);
  tr_device_free(on, there);
  return out;
}

static tr_pixel_metrics pixels_of(const float *maps, const float *const *masks, size_t n, int h, int w) {
  return pixels_on(device, maps, masks, n, h, w);
}

typedef struct pixel_case {
  golden_array maps, bytes;
  float *values;
  const float **masks;
  size_t n;
  int h, w;
} pixel_case;

/* An image without any mask value is given as NULL when null_masks is set. */
static pixel_case read_case(const char *name, bool null_masks) {
  char file[64];
  pixel_case c;
  snprintf(file, sizeof file, "metrics_%s_maps.npy", name);
  c.maps = golden_read(file);
  snprintf(file, sizeof file, "metrics_%s_masks.npy", name);
  c.bytes = golden_read(file);
  c.n = c.maps.shape[0];
  c.h = (int)c.maps.shape[1];
  c.w = (int)c.maps.shape[2];
  c.values = malloc(c.bytes.count * sizeof *c.values);
  c.masks = malloc(c.n * sizeof *c.masks);
  assert_true(c.values && c.masks);
  size_t size = c.bytes.count / c.n;
  for (size_t i = 0; i < c.n; ++i) {
    bool empty = true;
    for (size_t p = i * size; p < (i + 1) * size; ++p) {
      uint8_t byte = ((uint8_t *)c.bytes.data)[p];
      c.values[p] = (float)byte / 255.0f;
      empty &= byte == 0;
    }
    c.masks[i] = null_masks && empty ? NULL : c.values + i * size;
  }
  return c;
}

static void free_case(pixel_case *c) {
  golden_free(&c->maps);
  golden_free(&c->bytes);
  free(c->values);
  free(c->masks);
}

static const char *const case_names[] = {"continuous", "ties", "coarse"};

static void test_pixels_golden(void **state) {
  (void)state;
  for (int i = 0; i < 6; ++i) {
    char file[64];
    pixel_case c = read_case(case_names[i / 2], i % 2);
    snprintf(file, sizeof file, "metrics_%s_expected.npy", case_names[i / 2]);
    golden_array expected = golden_read(file);
    const double *e = expected.data;
    tr_pixel_metrics m = pixels_of(c.maps.data, c.masks, c.n, c.h, c.w);
    assert_near(m.auroc, e[0], 1e-12);
    assert_near(m.auroc_anomalous, e[1], 1e-12);
    assert_near(m.pro, e[2], 1e-12);
    assert_near(m.pro_anomalous, e[3], 1e-12);
    assert_int_equal(m.regions, (size_t)e[4]);
    assert_int_equal(m.defect_pixels, (size_t)e[5]);
    assert_int_equal(m.pixels, (size_t)e[6]);
    golden_free(&expected);
    free_case(&c);
  }
}

static void assert_same_bits(const tr_pixel_metrics *a, const tr_pixel_metrics *b) {
  assert_memory_equal(&a->auroc, &b->auroc, sizeof(double));
  assert_memory_equal(&a->auroc_anomalous, &b->auroc_anomalous, sizeof(double));
  assert_memory_equal(&a->pro, &b->pro, sizeof(double));
  assert_memory_equal(&a->pro_anomalous, &b->pro_anomalous, sizeof(double));
  assert_int_equal(a->regions, b->regions);
  assert_int_equal(a->defect_pixels, b->defect_pixels);
  assert_int_equal(a->pixels, b->pixels);
}

static int ascending(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

/* Replaces every score by a function of its rank; equal scores stay equal. */
static void transform(const float *from, float *to, size_t n, float (*of_rank)(size_t rank)) {
  float *sorted = malloc(n * sizeof *sorted);
  assert_non_null(sorted);
  memcpy(sorted, from, n * sizeof *sorted);
  qsort(sorted, n, sizeof *sorted, ascending);
  size_t distinct = 0;
  for (size_t i = 0; i < n; ++i)
    if (i == 0 || sorted[i] != sorted[distinct - 1])
      sorted[distinct++] = sorted[i];
  for (size_t i = 0; i < n; ++i)
    to[i] = of_rank((size_t)((float *)bsearch(&from[i], sorted, distinct, sizeof *sorted, ascending) - sorted));
  free(sorted);
}

static float plain_rank(size_t rank) {
  return (float)rank;
}
static float denormal_rank(size_t rank) {
  return ((float)rank - 1000) * 1e-45f;
}
static float steep_rank(size_t rank) {
  return -1e38f / (float)(rank + 1);
}

static void test_monotone_transforms_change_nothing(void **state) {
  (void)state;
  float (*const functions[])(size_t) = {plain_rank, denormal_rank, steep_rank};
  for (int i = 0; i < 3; ++i) {
    pixel_case c = read_case(case_names[i], true);
    tr_pixel_metrics before = pixels_of(c.maps.data, c.masks, c.n, c.h, c.w);
    float *other = malloc(c.maps.count * sizeof *other);
    assert_non_null(other);
    for (int f = 0; f < 3; ++f) {
      transform(c.maps.data, other, c.maps.count, functions[f]);
      tr_pixel_metrics after = pixels_of(other, c.masks, c.n, c.h, c.w);
      assert_same_bits(&before, &after);
    }
    free(other);
    free_case(&c);
  }
}

/* Nor does the device. */
static void test_threads_change_nothing(void **state) {
  (void)state;
  enum { N = 12, H = 61, W = 53 };
  float *maps = malloc(sizeof(float[N][H][W])), *mask = malloc(sizeof(float[N][H][W]));
  const float *masks[N];
  assert_true(maps && mask);
  tr_rng rng = tr_rng_make(7, TR_RNG_TEST, 0);
  for (size_t p = 0; p < (size_t)N * H * W; ++p) {
    maps[p] = (float)tr_rng_below(&rng, 30000) - 9000;
    mask[p] = tr_rng_below(&rng, 20) ? 0 : 1;
  }
  for (size_t i = 0; i < N; ++i)
    masks[i] = i % 4 ? mask + i * H * W : NULL;
  tr_pixel_metrics first = pixels_of(maps, masks, N, H, W);
  const int threads[] = {1, 4};
  for (int t = 0; t < 2; ++t) {
    tr_device *other = test_device_open(threads[t]), *cpu;
    tr_pixel_metrics out = pixels_on(other, maps, masks, N, H, W);
    assert_same_bits(&first, &out);
    tr_device_close(other);
    assert_int_equal(tr_device_open("cpu", threads[t], &cpu), TR_OK);
    out = pixels_on(cpu, maps, masks, N, H, W);
    assert_same_bits(&first, &out);
    tr_device_close(cpu);
  }
  free(mask);
  free(maps);
}

/* Two images of 4 x 5; a region at the edge, one of two diagonal pixels, one of one pixel in the corner. */
static const float two_masks[2][20] = {
    {1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0},
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
};
static const float *const two[] = {two_masks[0], two_masks[1]};

static void test_perfect_and_reversed(void **state) {
  (void)state;
  tr_pixel_metrics m = pixels_of(two_masks[0], two, 2, 4, 5);
  assert_true(m.auroc == 1 && m.auroc_anomalous == 1 && m.pro == 1 && m.pro_anomalous == 1);
  assert_int_equal(m.regions, 3);
  assert_int_equal(m.defect_pixels, 5);
  assert_int_equal(m.pixels, 40);
  float reversed[40];
  for (int p = 0; p < 40; ++p)
    reversed[p] = -two_masks[p / 20][p % 20];
  m = pixels_of(reversed, two, 2, 4, 5);
  assert_true(m.auroc == 0 && m.auroc_anomalous == 0 && m.pro == 0 && m.pro_anomalous == 0);
}

/* One group: the curve is the diagonal, its area up to 0.3 is 0.045, divided by 0.3. */
static void test_constant_map(void **state) {
  (void)state;
  float map[40];
  for (int sign = 0; sign < 2; ++sign) {
    for (int p = 0; p < 40; ++p)
      map[p] = sign && p % 2 ? -0.0f : 0.0f;
    tr_pixel_metrics m = pixels_of(map, two, 2, 4, 5);
    assert_true(m.auroc == 0.5 && m.auroc_anomalous == 0.5);
    assert_near(m.pro, 0.15, 1e-15);
    assert_near(m.pro_anomalous, 0.15, 1e-15);
  }
}

/* Ten pixels outside: the limit is 3 false positives. Two above, five tied with the region's second pixel. */
static void test_limit_inside_a_tie(void **state) {
  (void)state;
  const float mask[12] = {1, 1}, map[12] = {4, 2, 3, 3, 2, 2, 2, 2, 2, 1, 1, 1};
  const float *masks[] = {mask};
  tr_pixel_metrics m = pixels_of(map, masks, 1, 3, 4);
  double expected = (0.5 * 3 + 0.5 * (1.0 * 1.0 / (2 * 5))) / 3;
  assert_near(m.pro, expected, 1e-15);
  assert_near(m.pro_anomalous, expected, 1e-15);
}

/* The limit falls exactly on the end of a group, and between two groups of one pixel each. */
static void test_limit_at_a_corner(void **state) {
  (void)state;
  const float mask[12] = {1, 1}, map[12] = {2, 2, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1};
  const float *masks[] = {mask};
  assert_true(pixels_of(map, masks, 1, 3, 4).pro == 0);
  const float five_mask[6] = {1}, five[6] = {5, 6, 4, 3, 2, 1}; /* limit 1.5; the region comes up at 1 */
  const float *five_masks[] = {five_mask};
  assert_near(pixels_of(five, five_masks, 1, 2, 3).pro, 0.5 / 1.5, 1e-15);
}

static void test_undefined(void **state) {
  (void)state;
  const float map[8] = {1, 2, 3, 4, 5, 6, 7, 8}, full[4] = {1, 1, 1, 1}, faint[4] = {0, 0.5f, 0, 0}, corner[4] = {1};
  const float *none[] = {NULL, NULL}, *all[] = {full, full}, *blemished[] = {faint, NULL}, *one_full[] = {full, corner};
  tr_pixel_metrics m = pixels_of(map, none, 2, 2, 2);
  assert_true(isnan(m.auroc) && isnan(m.auroc_anomalous) && isnan(m.pro) && isnan(m.pro_anomalous));
  assert_int_equal(m.regions, 0);
  m = pixels_of(map, all, 2, 2, 2); /* nothing is outside */
  assert_true(isnan(m.auroc) && isnan(m.auroc_anomalous) && isnan(m.pro) && isnan(m.pro_anomalous));
  assert_int_equal(m.regions, 2);
  m = pixels_of(map, blemished, 2, 2, 2); /* 0.5 is neither a region nor a positive */
  assert_true(isnan(m.auroc) && isnan(m.pro) && isnan(m.pro_anomalous));
  m = pixels_of(map, one_full, 2, 2, 2); /* only the second image has a curve of its own; its region has the lowest score */
  assert_true(m.pro_anomalous == 0);
  assert_false(isnan(m.pro));
  m = pixels_of(map, none, 0, 2, 2);
  assert_true(isnan(m.auroc) && isnan(m.pro));
  assert_int_equal(m.pixels, 0);
}

static void test_one_pixel(void **state) {
  (void)state;
  const float map[] = {1}, mask[] = {1};
  const float *masks[] = {mask};
  tr_pixel_metrics m = pixels_of(map, masks, 1, 1, 1);
  assert_true(isnan(m.auroc) && isnan(m.pro));
  assert_int_equal(m.regions, 1);
}

/* Good images weigh in the pooled figures only. */
static void test_good_images(void **state) {
  (void)state;
  float maps[60];
  tr_rng rng = tr_rng_make(3, TR_RNG_TEST, 0);
  for (int p = 0; p < 60; ++p)
    maps[p] = tr_rng_float(&rng) + (p < 40 ? two_masks[p / 20][p % 20] : 0.9f);
  const float *masks[] = {two[0], two[1], NULL};
  tr_pixel_metrics without = pixels_of(maps, masks, 2, 4, 5), with = pixels_of(maps, masks, 3, 4, 5);
  assert_true(with.auroc_anomalous == without.auroc_anomalous && with.pro_anomalous == without.pro_anomalous);
  assert_true(with.auroc < without.auroc && with.pro < without.pro);
  assert_true(without.auroc == without.auroc_anomalous);
}

/* More pixels than a float can count. All images but the first are good; scores take three values, so that everything has a closed
 * form in whole numbers. */
static void test_more_than_2_24_pixels(void **state) {
  (void)state;
#ifdef TR_EMULATED
  if (strcmp(test_device, "cpu") != 0)
    skip(); /* would take minutes */
#endif
  enum { N = 380, SIDE = 224, PIXELS = SIDE * SIDE };
  const size_t pixels = (size_t)N * PIXELS, high = 1 + ((size_t)1 << 21); /* false positives at the highest score */
  assert_true(pixels > (1u << 24) + high);
  float *maps = calloc(pixels, sizeof *maps), *mask = calloc(PIXELS, sizeof *mask);
  const float *masks[N] = {mask};
  assert_true(maps && mask);
  mask[0] = mask[1] = mask[PIXELS - 1] = 1; /* a region of two pixels and one of one */
  maps[0] = 2;
  maps[1] = 1;
  maps[PIXELS - 1] = 1;
  for (size_t p = PIXELS; p < PIXELS + high; ++p)
    maps[p] = 2;
  tr_pixel_metrics m = pixels_of(maps, masks, N, SIDE, SIDE);
  double outside = (double)(pixels - 3), a = (double)high;
  /* The first positive ties with `high` negatives, the other two lie between the two groups. */
  assert_true(m.auroc == ((outside - a) + 0.5 * a + 2 * (outside - a)) / (3 * outside));
  double limit = 0.3 * outside; /* beyond `high` */
  double expected = (0.5 * (limit - 0.5 * a) + 1.5 * (limit - a)) / (2 * limit);
  assert_near(m.pro, expected, 1e-14);
  assert_true(m.auroc_anomalous == 1 && m.pro_anomalous == 1);
  assert_int_equal(m.pixels, pixels);
  free(mask);
  free(maps);
}

static void expect_refusal(const float *maps, const float *const *masks, size_t n, int h, int w, const char *text) {
  tr_pixel_metrics out;
  float *there = device_copy_of(device, maps, 40 * sizeof *maps);
  assert_int_equal(tr_pixel_metrics_compute(device, there, masks, n, h, w, &out), TR_EINVAL);
  tr_device_free(device, there);
  if (!strstr(tr_last_error(), text))
    fail_msg("\"%s\" lacks \"%s\"", tr_last_error(), text);
}

static void test_refusals(void **state) {
  (void)state;
  float maps[40] = {0}, mask[20] = {0};
  const float *masks[] = {mask, NULL};
  const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
  for (int i = 0; i < 4; ++i) {
    maps[27] = bad[i];
    expect_refusal(maps, masks, 2, 4, 5, "map of image 1, pixel (1, 2)");
  }
  maps[27] = 0;
  const float wrong[] = {NAN, -0.1f, 255};
  for (int i = 0; i < 3; ++i) {
    mask[19] = wrong[i];
    expect_refusal(maps, masks, 2, 4, 5, "mask of image 0, pixel (3, 4)");
  }
  mask[19] = 0;
  expect_refusal(maps, masks, 2, 0, 5, "0 x 5");
  expect_refusal(maps, masks, 32767, 224, 224, "at most 32766 images");
  expect_refusal(maps, masks, 1, 65535, 65537, "at most 0 images");
  expect_refusal(maps, masks, 100000, 224, 224, "fewer than 2^32");
  assert_int_equal(tr_device_bytes(device), 0);
}

/* The account of the device's own part; the host's part is what the header says. */
static void test_bytes(void **state) {
  (void)state;
  enum { N = 6, SIDE = 64, PIXELS = N * SIDE * SIDE };
  static const float zeros[PIXELS];
  const float *masks[N] = {NULL};
  tr_pixel_metrics out;
  float *maps = device_copy_of(device, zeros, sizeof zeros);
  size_t before = tr_device_bytes(device), rounding = 3 * 128; /* three blocks, their heads and ends */
  tr_device_reset_peak(device);
  assert_int_equal(tr_pixel_metrics_compute(device, maps, masks, N, SIDE, SIDE, &out), TR_OK);
  size_t device_part = tr_device_peak_bytes(device) - before, stated = tr_pixel_metrics_bytes(device, N, SIDE, SIDE);
  size_t expected = (size_t)PIXELS * 8 + tr_sort_scan_scratch(device, PIXELS);
  assert_true(device_part >= expected && device_part <= expected + rounding);
  assert_true(stated > expected && stated < expected + (1 << 20));
  assert_int_equal(tr_device_bytes(device), before);
  tr_device_free(device, maps);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_image_golden),
      cmocka_unit_test(test_auroc_edges),
      cmocka_unit_test(test_f1_edges),
      cmocka_unit_test(test_scores_must_be_finite),
      cmocka_unit_test(test_official_scores),
      cmocka_unit_test(test_regions_golden),
      cmocka_unit_test(test_regions_edges),
      cmocka_unit_test(test_pixels_golden),
      cmocka_unit_test(test_monotone_transforms_change_nothing),
      cmocka_unit_test(test_threads_change_nothing),
      cmocka_unit_test(test_perfect_and_reversed),
      cmocka_unit_test(test_constant_map),
      cmocka_unit_test(test_limit_inside_a_tie),
      cmocka_unit_test(test_limit_at_a_corner),
      cmocka_unit_test(test_undefined),
      cmocka_unit_test(test_one_pixel),
      cmocka_unit_test(test_good_images),
      cmocka_unit_test(test_more_than_2_24_pixels),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_bytes),
  };
  return run_on_devices("metrics", tests, open_device, close_device);
}
