/* Thresholds from nominal images that the model was not fitted on. */
#include "host/detector/threshold.h"
#include "datasets/own.h"
#include "host/base/rng.h"
#include "host/base/status.h"
#include "host/detector/detector.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static tr_status no_memory(void) {
  return tr_fail(TR_ENOMEM, "finding a threshold: out of memory");
}

/* ---- which images are held out ---- */

/* A product that rounding put a hair above a whole number is that number. */
size_t tr_threshold_rank(double quantile, size_t n) {
  return (size_t)ceil((double)(n + 1) * quantile - 1e-9);
}

/* As few images as have a rank. */
static size_t fewest(double quantile) {
  size_t n = (size_t)(quantile / (1 - quantile));
  n = n > 1 ? n - 1 : 1;
  while (tr_threshold_rank(quantile, n) > n)
    ++n;
  return n;
}

static tr_status check_enough(double quantile, size_t images, size_t at_hand, const char *hint) {
  if (images >= fewest(quantile))
    return TR_OK;
  return tr_fail(
      TR_EINVAL,
      "quantile %.6g: a threshold that so many nominal images stay below takes %zu held-out images, and there are %zu%s; "
      "a quantile up to %.4g is possible",
      quantile, fewest(quantile), at_hand, hint, floor((double)at_hand / (double)(at_hand + 1) * 1e4) / 1e4);
}

/* Moves `count` training images, drawn by the seed, to the test images; both stay in order. */
static tr_status move_drawn(uint64_t seed, size_t count, tr_class *c) {
  uint64_t *drawn = malloc(count * sizeof *drawn);
  bool *out = calloc(c->train_count, sizeof *out);
  c->test = calloc(count, sizeof *c->test);
  tr_status status = drawn && out && c->test ? TR_OK : no_memory();
  tr_rng rng = tr_rng_make(seed, TR_RNG_HELD_OUT, 0);
  if (status == TR_OK)
    status = tr_rng_sample(&rng, c->train_count, count, drawn);
  for (size_t i = 0; status == TR_OK && i < count; ++i)
    out[drawn[i]] = true;
  size_t kept = 0, images = status == TR_OK ? c->train_count : 0;
  for (size_t i = 0; i < images; ++i) {
    tr_sample sample = c->train[i];
    if (out[i])
      c->test[c->test_count++] = sample;
    else
      c->train[kept++] = sample;
  }
  if (status == TR_OK)
    c->train_count = kept;
  free(drawn);
  free(out);
  return status;
}

tr_status tr_threshold_hold_out(double quantile, uint64_t seed, tr_class *c) {
  size_t most = c->train_count / 2, count = (c->train_count + 4) / 5;
  TR_TRY(check_enough(quantile, most, most, " (half of the folder's)"));
  count = count < fewest(quantile) ? fewest(quantile) : count;
  return move_drawn(seed, count < most ? count : most, c);
}

tr_status tr_threshold_given(double quantile, const char *held_out, tr_class *c) {
  tr_class given;
  TR_TRY(tr_images_collect(&held_out, 1, &given));
  c->test = given.test;
  c->test_count = given.test_count;
  given.test = NULL;
  given.test_count = 0;
  tr_class_free(&given);
  return check_enough(quantile, c->test_count, c->test_count, "");
}

/* ---- the threshold ---- */

static int compare_scores(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

/* Scores and the largest map value of every held-out image, round by round. */
static tr_status score_held_out(tr_scorer *scorer, const tr_class *c, float *scores, float *peaks) {
  for (size_t first = 0, n; first < c->test_count; first += n) {
    n = c->test_count - first < tr_scorer_most(scorer) ? c->test_count - first : tr_scorer_most(scorer);
    TR_TRY(tr_scorer_score(scorer, c->test + first, n, scores + first));
    TR_TRY(tr_scorer_maps(scorer));
    TR_TRY(tr_scorer_peaks(scorer, peaks + first));
  }
  return TR_OK;
}

tr_status tr_threshold_find(tr_scorer *scorer, double quantile, const tr_class *c, tr_progress *progress, tr_threshold *out) {
  size_t n = c->test_count;
  float *scores = calloc(n, sizeof *scores), *peaks = calloc(n, sizeof *peaks);
  uint8_t *anomalous = calloc(n, sizeof *anomalous);
  tr_status status = scores && peaks && anomalous ? score_held_out(scorer, c, scores, peaks) : no_memory();
  if (status == TR_OK)
    status = tr_picture_scale_of(peaks, anomalous, n, &out->scale);
  if (status == TR_OK) {
    qsort(scores, n, sizeof *scores, compare_scores);
    out->score = (double)scores[tr_threshold_rank(quantile, n) - 1];
    out->quantile = quantile;
    out->images = n;
    tr_progress_line(progress, "threshold %.9g: %zu held-out images score %.9g to %.9g", out->score, n, (double)scores[0],
                     (double)scores[n - 1]);
  }
  free(scores);
  free(peaks);
  free(anomalous);
  return status;
}

/* ---- of a detector that is there ---- */

tr_status tr_threshold_write(tr_device *device, const char *model, const tr_threshold *threshold, const char *path) {
  tr_model_file *file;
  char *about = NULL;
  TR_TRY(tr_model_file_open(model, &file));
  tr_status status = tr_about_with_threshold(tr_model_file_about(file), threshold, &about);
  if (status == TR_OK)
    status = tr_model_file_rewrite(file, device, about, path);
  free(about);
  tr_model_file_close(file);
  return status;
}

static tr_status find_and_write(const tr_threshold_options *o, tr_detector *detector, const char *path) {
  tr_class images = {0};
  tr_threshold threshold;
  TR_TRY(tr_threshold_given(o->quantile, o->held_out, &images));
  tr_status status = tr_detector_check_images(detector, &images);
  if (status == TR_OK)
    status = tr_threshold_find(tr_detector_scorer(detector), o->quantile, &images, o->progress, &threshold);
  if (status == TR_OK)
    status = tr_threshold_write(tr_detector_device(detector), o->detector.model, &threshold, path);
  tr_class_free(&images);
  return status;
}

tr_status tr_threshold_make(const tr_threshold_options *options, const char *path) {
  tr_detector *detector;
  TR_TRY(tr_detector_create(&options->detector, &detector));
  tr_status status = find_and_write(options, detector, path);
  tr_detector_destroy(detector);
  return status;
}
