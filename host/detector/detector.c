/* Detectors: the public API, and scoring of many images. */
#include "host/detector/detector.h"
#include "host/base/status.h"
#include "host/detector/about.h"
#include "host/detector/scorer.h"
#include "host/harness/resized.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The images of the whole call, where the scorer knows those of a round. */
typedef struct whole_progress {
  tr_progress progress;
  tr_progress *inner;
  size_t done, total;
} whole_progress;

struct tr_detector {
  tr_device *device;
  tr_about about;
  char *run;
  tr_scorer *scorer;
  whole_progress progress;
  pthread_mutex_t lock; /* of scoring */
};

static tr_status no_memory(void) {
  return tr_fail(TR_ENOMEM, "a detector: out of memory");
}

/* ---- create and destroy ---- */

static void update_whole(tr_progress *self, const char *stage, size_t done, size_t total, const char *unit) {
  const whole_progress *w = self->user;
  (void)total;
  if (w->inner && w->inner->update)
    w->inner->update(w->inner, stage, w->done + done, w->total, unit);
}

static void line_whole(tr_progress *self, const char *text) {
  const whole_progress *w = self->user;
  if (w->inner && w->inner->line)
    w->inner->line(w->inner, text);
}

static tr_status load_scorer(tr_detector *d, const tr_model_file *file, const char *weights_path) {
  char *weights_file;
  tr_weights *weights;
  TR_TRY(tr_weights_locate(weights_path, d->about.setting->backbone, &weights_file));
  tr_status status = tr_weights_open(weights_file, &weights);
  free(weights_file);
  TR_TRY(status);
  status = tr_about_check_weights(&d->about, weights);
  if (status == TR_OK)
    status = tr_scorer_create(&(tr_scorer_options){.device = d->device,
                                                   .setting = d->about.setting,
                                                   .weights = weights,
                                                   .in_h = d->about.in_h,
                                                   .in_w = d->about.in_w,
                                                   .train_images = d->about.train_images,
                                                   .file = file,
                                                   .progress = &d->progress.progress},
                              &d->scorer);
  tr_weights_close(weights);
  return status;
}

static tr_status load(tr_detector *d, const tr_model_file *file, const tr_detector_options *o) {
  tr_status status = tr_about_read(tr_model_file_about(file), &d->about);
  if (status == TR_OK && !(d->run = tr_setting_run_name(d->about.setting)))
    status = no_memory();
  if (status == TR_OK)
    status = tr_device_open(o->device ? o->device : "cpu", o->threads, &d->device);
  if (status == TR_OK)
    status = load_scorer(d, file, o->weights);
  return status == TR_OK ? TR_OK : tr_fail_context(status, "model %s", o->model);
}

tr_status tr_detector_create(const tr_detector_options *options, tr_detector **out) {
  *out = NULL;
  if (!options->model || !options->weights)
    return tr_fail(TR_EINVAL, "creating a detector: expected a model and weights, found no %s",
                   options->model ? "weights" : "model");
  tr_model_file *file;
  TR_TRY(tr_model_file_open(options->model, &file));
  tr_detector *d = calloc(1, sizeof *d);
  tr_status status = d ? TR_OK : no_memory();
  if (d) {
    pthread_mutex_init(&d->lock, NULL);
    d->progress.progress = (tr_progress){.update = update_whole, .line = line_whole, .user = &d->progress};
    status = load(d, file, options);
  }
  tr_model_file_close(file);
  if (status != TR_OK) {
    tr_detector_destroy(d);
    return status;
  }
  *out = d;
  return TR_OK;
}

void tr_detector_destroy(tr_detector *d) {
  if (!d)
    return;
  tr_scorer_destroy(d->scorer);
  tr_device_close(d->device);
  tr_about_free(&d->about);
  free(d->run);
  pthread_mutex_destroy(&d->lock);
  free(d);
}

void tr_detector_describe(const tr_detector *d, tr_detector_info *out) {
  const tr_about *about = &d->about;
  bool has_threshold = about->threshold.images > 0;
  *out = (tr_detector_info){.method = about->setting->method,
                            .backbone = about->setting->backbone,
                            .run = d->run,
                            .map_h = about->in_h,
                            .map_w = about->in_w,
                            .train_images = about->train_images,
                            .has_threshold = has_threshold,
                            .threshold = has_threshold ? (float)about->threshold.score : 0,
                            .bytes = tr_device_bytes(d->device)};
}

/* ---- one image ---- */

static tr_status score_image(tr_detector *d, const tr_image *image, const char *name, float *score, float *map) {
  TR_TRY(tr_scorer_score_image(d->scorer, image, name, score));
  if (!map)
    return TR_OK;
  TR_TRY(tr_scorer_maps(d->scorer));
  return tr_scorer_map(d->scorer, 0, map);
}

static tr_status score_in_turn(tr_detector *d, const tr_image *image, const char *name, float *score, float *map) {
  pthread_mutex_lock(&d->lock);
  d->progress.inner = NULL;
  tr_status status = score_image(d, image, name, score, map);
  pthread_mutex_unlock(&d->lock);
  return status;
}

tr_status tr_detector_score(tr_detector *d, const uint8_t *pixels, int h, int w, float *score, float *map) {
  enum { MOST_SIDE = 1 << 16 };
  if (!pixels || h < 1 || w < 1 || h > MOST_SIDE || w > MOST_SIDE)
    return tr_fail(TR_EINVAL, "scoring an image: expected pixels of 1x1 to %dx%d, found %s%dx%d", MOST_SIDE, MOST_SIDE,
                   pixels ? "" : "none of ", w, h);
  return score_in_turn(d, &(tr_image){.h = h, .w = w, .channels = 3, .pixels = (uint8_t *)pixels}, "the image", score, map);
}

tr_status tr_detector_score_file(tr_detector *d, const char *path, float *score, float *map) {
  tr_image image;
  TR_TRY(tr_image_read(path, 3, &image));
  tr_status status = score_in_turn(d, &image, path, score, map);
  tr_image_free(&image);
  return status;
}

/* ---- many images ---- */

/* A round: images of which some turn out not to be readable. */
typedef struct round_work {
  tr_detector *detector;
  const tr_score_options *options;
  const tr_sample *samples; /* of this round */
  size_t count;
  tr_scored *scored;   /* [count] */
  tr_sample *readable; /* copies that own nothing, [good] */
  size_t *place;       /* of a readable image in the round, [good] */
  float *scores;       /* [good] */
  size_t good;
  bool has_scale;
  tr_picture_scale scale;
} round_work;

static void release_round(round_work *r, size_t most) {
  for (size_t i = 0; r->scored && i < most; ++i)
    free((char *)r->scored[i].error);
  free(r->scored);
  free(r->readable);
  free(r->place);
  free(r->scores);
}

static tr_status allocate_round(round_work *r, size_t most) {
  r->scored = calloc(most, sizeof *r->scored);
  r->readable = calloc(most, sizeof *r->readable);
  r->place = calloc(most, sizeof *r->place);
  r->scores = calloc(most, sizeof *r->scores);
  return r->scored && r->readable && r->place && r->scores ? TR_OK : no_memory();
}

static bool is_the_images_fault(tr_status status) {
  return status == TR_EIO || status == TR_EFORMAT;
}

static tr_status set_aside(tr_scored *scored, tr_status status) {
  scored->status = status;
  scored->error = strdup(tr_last_error());
  return scored->error ? TR_OK : no_memory();
}

static tr_status look_at(const tr_detector *d, const char *path, size_t *bytes) {
  const tr_about *about = &d->about;
  int h, w, out_h, out_w;
  TR_TRY(tr_image_size(path, &h, &w));
  if (tr_resize_shape(&about->setting->image, h, w, &out_h, &out_w) != TR_OK)
    return tr_fail_context(TR_EFORMAT, "%s", path);
  if (out_h != about->in_h || out_w != about->in_w)
    return tr_fail(TR_EFORMAT, "%s is %dx%d after the resize, the images that the model was fitted on %dx%d", path, out_w, out_h,
                   about->in_w, about->in_h);
  *bytes = (size_t)h * (size_t)w * 3;
  return TR_OK;
}

/* What headers tell: most of what is not readable, and how large the images are. */
static tr_status sort_out(round_work *r, size_t *most_bytes) {
  *most_bytes = r->good = 0;
  for (size_t i = 0; i < r->count; ++i) {
    size_t bytes = 0;
    free((char *)r->scored[i].error);
    r->scored[i] = (tr_scored){.sample = &r->samples[i]};
    tr_status status = look_at(r->detector, r->samples[i].path, &bytes);
    if (status != TR_OK && !is_the_images_fault(status))
      return status;
    if (status != TR_OK) {
      TR_TRY(set_aside(&r->scored[i], status));
      continue;
    }
    *most_bytes = bytes > *most_bytes ? bytes : *most_bytes;
    r->place[r->good] = i;
    r->readable[r->good++] = r->samples[i];
  }
  return TR_OK;
}

/* After a pass that met an image it could not read: which ones are they? Those that can be read are scored again. */
static tr_status score_one_by_one(round_work *r) {
  size_t good = 0;
  for (size_t i = 0; i < r->good; ++i) {
    tr_status status = tr_scorer_score(r->detector->scorer, &r->readable[i], 1, &r->scores[0]);
    if (status != TR_OK && !is_the_images_fault(status))
      return status;
    if (status != TR_OK) {
      TR_TRY(set_aside(&r->scored[r->place[i]], status));
      continue;
    }
    r->place[good] = r->place[i];
    r->readable[good++] = r->readable[i];
  }
  r->good = good;
  return good ? tr_scorer_score(r->detector->scorer, r->readable, good, r->scores) : TR_OK;
}

static tr_status score_readable(round_work *r) {
  if (!r->good)
    return TR_OK;
  tr_status status = tr_scorer_score(r->detector->scorer, r->readable, r->good, r->scores);
  if (is_the_images_fault(status))
    status = score_one_by_one(r);
  TR_TRY(status);
  for (size_t i = 0; i < r->good; ++i)
    r->scored[r->place[i]].score = r->scores[i];
  return TR_OK;
}

/* ---- pictures ---- */

static tr_status find_scale(round_work *r) {
  uint8_t *anomalous = calloc(r->good, sizeof *anomalous);
  float *peaks = calloc(r->good, sizeof *peaks);
  tr_status status = anomalous && peaks ? tr_scorer_peaks(r->detector->scorer, peaks) : no_memory();
  for (size_t i = 0; status == TR_OK && i < r->good; ++i)
    anomalous[i] = true; /* nobody knows; so that none counts as good */
  if (status == TR_OK)
    status = tr_picture_scale_of(peaks, anomalous, r->good, &r->scale);
  r->has_scale = status == TR_OK;
  free(anomalous);
  free(peaks);
  return status;
}

static tr_status draw_image(const round_work *r, size_t i, const tr_image *image) {
  const tr_detector *d = r->detector;
  size_t pixels = (size_t)d->about.in_h * (size_t)d->about.in_w;
  uint8_t *resized = malloc(pixels * 3);
  float *map = malloc(pixels * sizeof *map);
  char *path = NULL;
  tr_status status = resized && map ? tr_scorer_map(d->scorer, i, map) : no_memory();
  if (status == TR_OK)
    status = tr_image_resized(d->device, &d->about.setting->image, image, resized);
  if (status == TR_OK && !(path = tr_picture_path(r->options->maps, r->readable[i].name)))
    status = no_memory();
  if (status == TR_OK)
    status = tr_make_folder_of(path);
  if (status == TR_OK)
    status = tr_picture_write_overlay(path, resized, map, d->about.in_h, d->about.in_w, r->scale);
  free(path);
  free(map);
  free(resized);
  return status;
}

static tr_status draw_task(void *context, size_t i) {
  const round_work *r = context;
  tr_image image;
  TR_TRY(tr_image_read(r->readable[i].path, 3, &image));
  tr_status status = draw_image(r, i, &image);
  tr_image_free(&image);
  return status;
}

static tr_status draw_round(round_work *r) {
  if (!r->options->maps || !r->good)
    return TR_OK;
  TR_TRY(tr_scorer_maps(r->detector->scorer));
  if (!r->has_scale)
    TR_TRY(find_scale(r));
  return tr_pool_run(tr_device_pool(r->detector->device), r->good, draw_task, r);
}

static tr_status hand_over(const round_work *r) {
  for (size_t i = 0; i < r->count; ++i)
    TR_TRY(r->options->scored(r->options->context, &r->scored[i]));
  return TR_OK;
}

static tr_status do_round(round_work *r) {
  size_t most_bytes;
  TR_TRY(sort_out(r, &most_bytes));
  TR_TRY(tr_scorer_make_room(r->detector->scorer, most_bytes));
  TR_TRY(score_readable(r));
  TR_TRY(draw_round(r));
  return hand_over(r);
}

/* Pictures of two images in one file: found before any work. */
static tr_status check_names(const tr_score_options *o) {
  tr_strings paths = {0};
  tr_status status = TR_OK;
  for (size_t i = 0; o->maps && status == TR_OK && i < o->count; ++i)
    status = tr_strings_take(&paths, tr_picture_path(o->maps, o->samples[i].name));
  if (status == TR_OK)
    tr_strings_sort(&paths);
  for (size_t i = 1; status == TR_OK && i < paths.count; ++i)
    if (strcmp(paths.items[i - 1], paths.items[i]) == 0)
      status = tr_fail(TR_EINVAL, "two of the images would be drawn as %s; score them in two calls", paths.items[i]);
  tr_strings_free(&paths);
  return status;
}

static tr_status score_all(tr_detector *d, const tr_score_options *o) {
  size_t most = tr_scorer_most(d->scorer);
  round_work r = {.detector = d, .options = o, .has_scale = d->about.threshold.images > 0, .scale = d->about.threshold.scale};
  tr_status status = allocate_round(&r, most);
  for (size_t first = 0; status == TR_OK && first < o->count; first += r.count) {
    r.samples = o->samples + first;
    r.count = o->count - first < most ? o->count - first : most;
    d->progress.done = first;
    status = do_round(&r);
  }
  release_round(&r, most);
  return status;
}

tr_status tr_detector_check_images(tr_detector *d, const tr_class *images) {
  size_t most = 0;
  for (size_t i = 0; i < images->test_count; ++i) {
    size_t bytes;
    TR_TRY(look_at(d, images->test[i].path, &bytes));
    most = bytes > most ? bytes : most;
  }
  return tr_scorer_make_room(d->scorer, most);
}

tr_scorer *tr_detector_scorer(tr_detector *d) {
  return d->scorer;
}

tr_device *tr_detector_device(tr_detector *d) {
  return d->device;
}

tr_status tr_detector_score_all(tr_detector *d, const tr_score_options *options) {
  TR_TRY(check_names(options));
  pthread_mutex_lock(&d->lock);
  d->progress.inner = options->progress;
  d->progress.total = options->count;
  tr_status status = score_all(d, options);
  pthread_mutex_unlock(&d->lock);
  return status;
}
