/* What the C library promises of detectors: detector_checks MODEL WEIGHTS IMAGE... Ends with 1 and says what does not hold. */
#include "datasets/image.h"
#include "host/detector/detector.h"
#include "host/totalrecall.h"
#include "kernels/device.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                         \
  do {                                                                                           \
    if (!(condition)) {                                                                          \
      fprintf(stderr, "line %d: %s does not hold; %s\n", __LINE__, #condition, tr_last_error()); \
      exit(1);                                                                                   \
    }                                                                                            \
  } while (0)

enum { MOST = 64, THREADS = 3 };

static tr_detector_options options;
static char **images;
static int count;
static float expected[MOST];

static tr_detector *create(int threads) {
  tr_detector *detector;
  tr_detector_options o = options;
  o.threads = threads;
  CHECK(tr_detector_create(&o, &detector) == TR_OK);
  return detector;
}

/* Files, pixels, maps, any number of threads, any order: one score. */
static void check_scores(void) {
  for (int threads = 1; threads <= 4; threads += 3) {
    tr_detector *d = create(threads);
    tr_detector_info info;
    tr_detector_describe(d, &info);
    CHECK(info.map_h == 56 && info.map_w == 56 && info.bytes > 0 && *info.run && *info.method);
    CHECK(strcmp(info.backbone, "resnet18") == 0);
    float *map = malloc(sizeof *map * (size_t)(info.map_h * info.map_w)),
          *again = malloc(sizeof *map * (size_t)(info.map_h * info.map_w));
    CHECK(map && again);
    for (int i = count - 1; i >= 0; --i) {
      float score, alone;
      tr_image image;
      CHECK(tr_detector_score_file(d, images[i], &score, map) == TR_OK);
      CHECK(tr_detector_score_file(d, images[i], &alone, NULL) == TR_OK && alone == score);
      CHECK(tr_image_read(images[i], 3, &image) == TR_OK);
      CHECK(tr_detector_score(d, image.pixels, image.h, image.w, &alone, again) == TR_OK && alone == score);
      CHECK(memcmp(map, again, sizeof *map * (size_t)(info.map_h * info.map_w)) == 0);
      CHECK(threads == 1 || score == expected[i]);
      expected[i] = score;
      tr_image_free(&image);
    }
    free(map);
    free(again);
    tr_detector_destroy(d);
  }
}

static void *score_in_thread(void *detector) {
  for (int i = 0; i < count; ++i) {
    float score;
    CHECK(tr_detector_score_file(detector, images[i], &score, NULL) == TR_OK && score == expected[i]);
  }
  return NULL;
}

/* One detector from several threads, and two beside each other. */
static void check_threads(void) {
  tr_detector *one = create(2), *other = create(1);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; ++i)
    CHECK(pthread_create(&threads[i], NULL, score_in_thread, i ? one : other) == 0);
  for (int i = 0; i < THREADS; ++i)
    pthread_join(threads[i], NULL);
  tr_detector_destroy(one);
  tr_detector_destroy(other);
}

static tr_status take(void *context, const tr_scored *scored) {
  size_t *taken = context;
  int i = (int)(*taken)++ % count;
  CHECK(scored->status == TR_OK && scored->score == expected[i]);
  return TR_OK;
}

/* Ten rounds hold no more than one. (With several threads padim holds a batch more or less.) */
static void check_memory(void) {
  enum { ROUNDS = 10 * MOST };
  tr_sample *samples = calloc(ROUNDS, sizeof *samples);
  tr_detector *d = create(1);
  tr_detector_info first, last;
  CHECK(samples);
  for (int i = 0; i < ROUNDS; ++i)
    samples[i] = (tr_sample){.path = images[i % count], .name = images[i % count]};
  size_t taken = 0;
  CHECK(tr_detector_score_all(d, &(tr_score_options){.samples = samples, .count = MOST, .scored = take, .context = &taken}) ==
        TR_OK);
  CHECK(taken == MOST);
  tr_detector_describe(d, &first);
  taken = 0;
  CHECK(tr_detector_score_all(d, &(tr_score_options){.samples = samples, .count = ROUNDS, .scored = take, .context = &taken}) ==
        TR_OK);
  tr_detector_describe(d, &last);
  CHECK(taken == ROUNDS && last.bytes == first.bytes);
  tr_detector_destroy(d);
  free(samples);
}

static void check_errors(void) {
  tr_detector *d = NULL, *broken;
  float score;
  uint8_t pixel[3] = {0};
  tr_detector_options o = options;
  o.model = options.weights;
  CHECK(tr_detector_create(&o, &broken) == TR_EFORMAT && !broken && strstr(tr_last_error(), options.weights));
  o = options;
  o.weights = NULL;
  CHECK(tr_detector_create(&o, &broken) == TR_EINVAL && !broken);
  o = options;
  o.device = "gpu";
  CHECK(tr_detector_create(&o, &broken) == TR_EDEVICE && strstr(tr_last_error(), "gpu"));
  o = options;
  o.threads = -1;
  CHECK(tr_detector_create(&o, &broken) == TR_EINVAL);
  d = create(1);
  CHECK(tr_detector_score_file(d, "not/there.png", &score, NULL) == TR_EIO && strstr(tr_last_error(), "not/there.png"));
  CHECK(tr_detector_score_file(d, options.model, &score, NULL) == TR_EFORMAT);
  CHECK(tr_detector_score(d, NULL, 1, 1, &score, NULL) == TR_EINVAL);
  CHECK(tr_detector_score(d, pixel, 1, 0, &score, NULL) == TR_EINVAL);
  CHECK(tr_detector_score(d, pixel, 1, 1, &score, NULL) == TR_OK);
  CHECK(tr_detector_score_file(d, images[0], &score, NULL) == TR_OK && score == expected[0]);
  tr_detector_destroy(d);
  tr_detector_destroy(NULL);
}

int main(int argc, char **argv) {
  if (argc < 4 || argc - 3 > MOST)
    return 2;
  options = (tr_detector_options){.model = argv[1], .weights = argv[2]};
  images = argv + 3;
  count = argc - 3;
  check_scores();
  check_threads();
  check_memory();
  check_errors();
  return 0;
}
