/* Single images through a detector. Each stage ends when the device has done its work, which costs a GPU a little of the overlap that it
 * has otherwise; the sum of all is what someone waits. */
#include "host/bench/latency.h"
#include "host/base/clock.h"
#include "host/base/json.h"
#include "host/base/status.h"
#include "host/bench/bench.h"
#include "host/detector/scorer.h"
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_UP = 3, MAP_IMAGE = 0 };

static const char *const names[TR_LATENCY_STAGES] = {"decode", "preprocess", "backbone", "aggregate", "search", "map", "all"};

const char *tr_latency_stage_name(tr_latency_stage stage) {
  return names[stage];
}

static tr_status score_one(tr_device *device, tr_scorer *scorer, const tr_sample *image, float *map,
                           double seconds[TR_LATENCY_STAGES]) {
  tr_image decoded;
  tr_scorer_seconds before, after;
  float score;
  TR_TRY(tr_scorer_spent(scorer, &before));
  double start = tr_seconds();
  TR_TRY(tr_image_read(image->path, 3, &decoded));
  double read = tr_seconds(), scored = 0, mapped = 0;
  tr_status status = tr_scorer_score_image(scorer, &decoded, image->path, &score);
  tr_image_free(&decoded);
  if (status == TR_OK)
    status = tr_device_clock(device, &scored);
  if (status == TR_OK)
    status = tr_scorer_maps(scorer);
  if (status == TR_OK)
    status = tr_scorer_map(scorer, MAP_IMAGE, map);
  if (status == TR_OK)
    status = tr_device_clock(device, &mapped);
  double end = tr_seconds();
  TR_TRY(status);
  TR_TRY(tr_scorer_spent(scorer, &after));
  seconds[TR_LATENCY_DECODE] = read - start;
  seconds[TR_LATENCY_PREPROCESS] = after.prepare - before.prepare;
  seconds[TR_LATENCY_BACKBONE] = after.backbone - before.backbone;
  seconds[TR_LATENCY_AGGREGATE] = after.aggregate - before.aggregate;
  seconds[TR_LATENCY_SEARCH] = after.search - before.search;
  seconds[TR_LATENCY_MAP] = mapped - scored;
  seconds[TR_LATENCY_ALL] = end - start;
  return TR_OK;
}

/* The smallest value that at least that share of all does not exceed. */
static double percentile(const double *sorted, size_t n, double share) {
  size_t rank = (size_t)ceil(share * (double)n);
  return sorted[rank > 0 ? rank - 1 : 0];
}

/* samples: [TR_LATENCY_STAGES][n], sorted here. */
static void sum_up(double *samples, size_t n, tr_latency *out) {
  for (int stage = 0; stage < TR_LATENCY_STAGES; ++stage) {
    double *of = samples + (size_t)stage * n;
    qsort(of, n, sizeof *of, tr_bench_compare_seconds);
    out->p50[stage] = percentile(of, n, 0.5);
    out->p95[stage] = percentile(of, n, 0.95);
    out->p99[stage] = percentile(of, n, 0.99);
  }
}

static tr_status time_single_images(tr_device *device, tr_scorer *scorer, const tr_sample *images, float *map, double *samples,
                                    tr_latency *out) {
  double seconds[TR_LATENCY_STAGES];
  for (size_t i = 0; i < out->warm_up + out->samples; ++i) {
    if (tr_cancel_requested())
      return tr_fail(TR_ECANCELED, "stopped");
    TR_TRY(score_one(device, scorer, &images[i % out->images], map, seconds));
    for (size_t stage = 0; i >= out->warm_up && stage < TR_LATENCY_STAGES; ++stage)
      samples[stage * out->samples + i - out->warm_up] = seconds[stage];
  }
  sum_up(samples, out->samples, out);
  return TR_OK;
}

/* The first batch warms up. */
static tr_status time_batches(tr_scorer *scorer, const tr_sample *images, tr_latency *out) {
  tr_sample batch[TR_LATENCY_BATCH];
  float scores[TR_LATENCY_BATCH];
  double sum = 0;
  out->batches = (out->samples / 2 + TR_LATENCY_BATCH - 1) / TR_LATENCY_BATCH;
  for (size_t b = 0; b <= out->batches; ++b) {
    if (tr_cancel_requested())
      return tr_fail(TR_ECANCELED, "stopped");
    for (size_t i = 0; i < TR_LATENCY_BATCH; ++i)
      batch[i] = images[(b * TR_LATENCY_BATCH + i) % out->images];
    double start = tr_seconds();
    TR_TRY(tr_scorer_score(scorer, batch, TR_LATENCY_BATCH, scores));
    TR_TRY(tr_scorer_maps(scorer));
    sum += b ? tr_seconds() - start : 0;
  }
  out->images_per_second = (double)(out->batches * TR_LATENCY_BATCH) / sum;
  return TR_OK;
}

static tr_status make_room(tr_scorer *scorer, const tr_sample *images, size_t count) {
  size_t most = 0;
  for (size_t i = 0; i < count; ++i) {
    tr_image image;
    TR_TRY(tr_image_read(images[i].path, 3, &image));
    size_t bytes = (size_t)image.h * (size_t)image.w * 3;
    most = bytes > most ? bytes : most;
    tr_image_free(&image);
  }
  return tr_scorer_make_room(scorer, most);
}

tr_status tr_latency_measure(tr_detector *detector, const tr_sample *images, size_t count, size_t samples, tr_latency *out) {
  tr_scorer *scorer = tr_detector_scorer(detector);
  *out = (tr_latency){.images = count, .warm_up = WARM_UP, .samples = (samples + count - 1) / count * count};
  tr_detector_info info;
  tr_detector_describe(detector, &info);
  double *all = malloc(TR_LATENCY_STAGES * out->samples * sizeof *all);
  float *map = malloc((size_t)info.map_h * (size_t)info.map_w * sizeof *map);
  tr_status status = all && map ? make_room(scorer, images, count) : tr_fail(TR_ENOMEM, "bench latency: out of memory");
  if (status == TR_OK)
    status = time_single_images(tr_detector_device(detector), scorer, images, map, all, out);
  tr_bench_machine_now(&out->machine);
  if (status == TR_OK)
    status = time_batches(scorer, images, out);
  free(all);
  free(map);
  return status;
}

/* ---- a line ---- */

static bool add_stages(cJSON *line, const char *name, const double *seconds) {
  cJSON *object = cJSON_AddObjectToObject(line, name);
  bool complete = object;
  for (int stage = 0; complete && stage < TR_LATENCY_STAGES; ++stage)
    complete = cJSON_AddItemToObject(object, names[stage], tr_json_number(seconds[stage]));
  return complete;
}

tr_status tr_latency_json(tr_detector *detector, const tr_latency *latency, char **out) {
  tr_detector_info info;
  tr_detector_describe(detector, &info);
  cJSON *line = cJSON_CreateObject();
  bool complete = cJSON_AddStringToObject(line, "operator", "latency") && cJSON_AddStringToObject(line, "run", info.run) &&
                  cJSON_AddNumberToObject(line, "images", (double)latency->images) &&
                  cJSON_AddNumberToObject(line, "train_images", (double)info.train_images) &&
                  cJSON_AddNumberToObject(line, "warm_up", (double)latency->warm_up) &&
                  cJSON_AddNumberToObject(line, "samples", (double)latency->samples) &&
                  add_stages(line, "seconds_p50", latency->p50) && add_stages(line, "seconds_p95", latency->p95) &&
                  add_stages(line, "seconds_p99", latency->p99) && cJSON_AddNumberToObject(line, "batch", TR_LATENCY_BATCH) &&
                  cJSON_AddNumberToObject(line, "batches", (double)latency->batches) &&
                  cJSON_AddItemToObject(line, "images_per_second", tr_json_number(latency->images_per_second)) &&
                  tr_bench_add_machine(line, tr_detector_device(detector), &latency->machine);
  *out = complete ? cJSON_PrintUnformatted(line) : NULL;
  cJSON_Delete(line);
  return *out ? TR_OK : tr_fail(TR_ENOMEM, "bench latency: writing a line: out of memory");
}
