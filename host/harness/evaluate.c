/* Maps, metrics and files of one class. */
#include "host/harness/evaluate.h"
#include "host/base/status.h"
#include "host/harness/picture.h"
#include "host/harness/resized.h"
#include "host/metrics/metrics.h"
#include "kernels/mosaic.h"
#include "kernels/smooth.h"
#include "kernels/upsample.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct map_lane {
  float *grid;   /* device, [chunk, most_positions] */
  float *tiles;  /* device, [chunk, tile_h, tile_w]; NULL: images are not cut */
  void *scratch; /* device: the smoothing's */
} map_lane;

struct tr_evaluation {
  tr_evaluation_options options;
  size_t n, pixels;
  float **masks;                       /* [n], host; NULL: none */
  uint8_t *anomalous;                  /* [n] */
  float *peaks;                        /* [n], of maps */
  float *maps;                         /* device, [n, h, w] */
  float *row_weights, *column_weights; /* device, [rows, tile_h], [columns, tile_w]; NULL: images are not cut */
  map_lane *lane;
  bool places_known; /* every defect has a mask */
};

static tr_status no_memory(const tr_evaluation *e) {
  return tr_fail(TR_ENOMEM, "evaluating %zu images of %s: out of memory", e->n, e->options.class_->name);
}

/* ---- masks ---- */

static void binarise(tr_image *mask, int threshold) {
  size_t pixels = (size_t)mask->h * (size_t)mask->w;
  for (size_t i = 0; threshold >= 0 && i < pixels; ++i)
    mask->pixels[i] = mask->pixels[i] > threshold ? 255 : 0;
}

static void apply_rule(tr_mask_rule rule, uint8_t *values, size_t count) {
  int least = rule == TR_MASK_ANY ? 1 : 128;
  for (size_t i = 0; rule != TR_MASK_FULL && i < count; ++i)
    values[i] = values[i] >= least ? 255 : 0;
}

/* Resized like the image and kept as floats in [0,1] (official mvtec.py: transform_mask). The quotient is exactly 1 for 255, which the
 * official rule for pixel AUROC asks for. */
static tr_status resize_mask(const tr_evaluation *e, const tr_image *mask, float *out) {
  uint8_t *resized = malloc(e->pixels);
  tr_status status = resized ? tr_image_resized(e->options.device, &e->options.image, mask, resized) : no_memory(e);
  if (status == TR_OK)
    apply_rule(e->options.class_->mask_rule, resized, e->pixels);
  for (size_t i = 0; status == TR_OK && i < e->pixels; ++i)
    out[i] = (float)resized[i] / 255.0f;
  free(resized);
  return status;
}

static tr_status check_mask(const tr_evaluation *e, const tr_sample *sample, const tr_image *mask) {
  int h, w, out_h, out_w;
  TR_TRY(tr_sample_size(sample, &h, &w));
  if (h != mask->h || w != mask->w)
    return tr_fail(TR_EFORMAT, "mask %s is %dx%d, its image %s %dx%d", sample->mask, mask->w, mask->h, sample->path, w, h);
  TR_TRY(tr_resize_shape(&e->options.image, h, w, &out_h, &out_w));
  if (out_h != e->options.tiling.h || out_w != e->options.tiling.w)
    return tr_fail(TR_EFORMAT, "mask %s is %dx%d after the resize, expected %dx%d", sample->mask, out_w, out_h,
                   e->options.tiling.w, e->options.tiling.h);
  return TR_OK;
}

static tr_status read_mask(void *context, size_t i) {
  tr_evaluation *e = context;
  const tr_sample *sample = &e->options.class_->test[i];
  if (!sample->mask)
    return TR_OK;
  tr_image mask;
  TR_TRY(tr_sample_mask(sample, &mask));
  tr_status status = check_mask(e, sample, &mask);
  if (status == TR_OK && !(e->masks[i] = malloc(e->pixels * sizeof(float))))
    status = no_memory(e);
  if (status == TR_OK) {
    binarise(&mask, e->options.class_->mask_threshold);
    status = resize_mask(e, &mask, e->masks[i]);
  }
  tr_image_free(&mask);
  return status;
}

/* ---- set-up ---- */

/* Large maps one by one. */
static size_t smooth_bytes(const tr_device *device, const tr_tiling *tiling) {
  int maps = tr_tiling_is_whole(tiling) ? (int)tr_device_chunk(device) : 1;
  return tr_smooth_scratch(device, maps, tiling->h, tiling->w);
}

static size_t tile_bytes(const tr_device *device, const tr_tiling *t) {
  return tr_tiling_is_whole(t) ? 0 : tr_device_chunk(device) * (size_t)t->tile_h * (size_t)t->tile_w * sizeof(float);
}

size_t tr_evaluation_lane_bytes(const tr_device *device, const tr_tiling *tiling) {
  return smooth_bytes(device, tiling) + tile_bytes(device, tiling);
}

static tr_status make_weights(const tr_evaluation *e, int side, int tile, int count, float **out) {
  tr_device *device = e->options.device;
  size_t bytes = (size_t)count * (size_t)tile * sizeof(float);
  float *weights = malloc(bytes);
  tr_status status = weights ? tr_device_alloc(device, bytes, (void **)out) : no_memory(e);
  if (status == TR_OK) {
    tr_tiling_weights(side, tile, count, weights);
    status = tr_device_upload(device, *out, weights, bytes);
  }
  if (status == TR_OK)
    status = tr_device_sync(device);
  free(weights);
  return status;
}

static tr_status allocate_tiles(tr_evaluation *e) {
  const tr_tiling *t = &e->options.tiling;
  tr_device *device = e->options.device;
  if (tr_tiling_is_whole(t))
    return TR_OK;
  for (int i = 0; i < tr_device_lanes(device); ++i)
    TR_TRY(tr_device_alloc(device, tile_bytes(device, t), (void **)&e->lane[i].tiles));
  TR_TRY(make_weights(e, t->h, t->tile_h, t->rows, &e->row_weights));
  return make_weights(e, t->w, t->tile_w, t->columns, &e->column_weights);
}

static tr_status allocate(tr_evaluation *e) {
  const tr_evaluation_options *o = &e->options;
  tr_device *device = o->device;
  size_t chunk = tr_device_chunk(device);
  e->masks = calloc(e->n + 1, sizeof *e->masks);
  e->anomalous = calloc(e->n + 1, sizeof *e->anomalous);
  e->peaks = calloc(e->n + 1, sizeof *e->peaks);
  e->lane = calloc((size_t)tr_device_lanes(device), sizeof *e->lane);
  if (!e->masks || !e->anomalous || !e->peaks || !e->lane)
    return no_memory(e);
  TR_TRY(tr_device_alloc(device, e->n * e->pixels * sizeof(float), (void **)&e->maps));
  for (int i = 0; i < tr_device_lanes(device); ++i) {
    size_t grid = chunk * o->most_positions * sizeof(float);
    TR_TRY(tr_device_alloc(device, grid, (void **)&e->lane[i].grid));
    TR_TRY(tr_device_alloc(device, smooth_bytes(device, &o->tiling), &e->lane[i].scratch));
  }
  return allocate_tiles(e);
}

tr_status tr_evaluation_create(const tr_evaluation_options *options, tr_evaluation **out) {
  *out = NULL;
  tr_evaluation *e = calloc(1, sizeof *e);
  if (!e)
    return tr_fail(TR_ENOMEM, "evaluating %s: out of memory", options->class_->name);
  e->options = *options;
  e->n = options->class_->test_count;
  e->pixels = (size_t)options->tiling.h * (size_t)options->tiling.w;
  e->places_known = true;
  tr_status status = allocate(e);
  for (size_t i = 0; status == TR_OK && i < e->n; ++i) {
    const tr_sample *sample = &options->class_->test[i];
    e->anomalous[i] = sample->anomalous;
    e->places_known = e->places_known && (sample->mask || !sample->anomalous);
  }
  if (status == TR_OK)
    status = tr_pool_run(tr_device_pool(options->device), e->n, read_mask, e);
  if (status != TR_OK) {
    tr_evaluation_destroy(e);
    return status;
  }
  *out = e;
  return TR_OK;
}

void tr_evaluation_destroy(tr_evaluation *e) {
  if (!e)
    return;
  tr_device *device = e->options.device;
  for (size_t i = 0; e->masks && i < e->n; ++i)
    free(e->masks[i]);
  for (int i = 0; e->lane && i < tr_device_lanes(device); ++i) {
    tr_device_free(device, e->lane[i].grid);
    tr_device_free(device, e->lane[i].tiles);
    tr_device_free(device, e->lane[i].scratch);
  }
  tr_device_free(device, e->maps);
  tr_device_free(device, e->row_weights);
  tr_device_free(device, e->column_weights);
  free(e->masks);
  free(e->anomalous);
  free(e->peaks);
  free(e->lane);
  free(e);
}

/* ---- maps ---- */

typedef struct map_job {
  tr_evaluation *evaluation;
  tr_patch_scores scores;
  size_t patches, tiles;
  float sigma;
} map_job;

/* n grids one after the other, as maps of out_h x out_w. */
static tr_status upsample(const map_job *job, float *grid, const float *scores, size_t n, int out_h, int out_w, float *maps) {
  tr_device *device = job->evaluation->options.device;
  TR_TRY(tr_device_upload(device, grid, scores, n * job->patches * sizeof(float)));
  return tr_upsample(device, &(tr_upsample_args){.n = (int)n,
                                                 .in_h = job->scores.grid_h,
                                                 .in_w = job->scores.grid_w,
                                                 .out_h = out_h,
                                                 .out_w = out_w,
                                                 .src = grid,
                                                 .dst = maps});
}

static tr_status add_tile(const tr_evaluation *e, size_t tile, const float *src, float *map) {
  const tr_tiling *t = &e->options.tiling;
  tr_window window = tr_tiling_window(t, tile);
  size_t row = tile / (size_t)t->columns, column = tile % (size_t)t->columns;
  return tr_mosaic(e->options.device, &(tr_mosaic_args){.h = window.h,
                                                        .w = window.w,
                                                        .top = window.top,
                                                        .left = window.left,
                                                        .whole_h = t->h,
                                                        .whole_w = t->w,
                                                        .row_weights = e->row_weights + row * (size_t)t->tile_h,
                                                        .column_weights = e->column_weights + column * (size_t)t->tile_w,
                                                        .src = src,
                                                        .dst = map});
}

/* The whole map of an image, from as many tiles at a time as the lane has room for; they stand together in `scores` where images do,
 * and are taken one by one where tiles do. */
static tr_status put_together(const map_job *job, const map_lane *lane, size_t image) {
  const tr_evaluation *e = job->evaluation;
  const tr_tiling *t = &e->options.tiling;
  size_t tile_pixels = (size_t)t->tile_h * (size_t)t->tile_w, most = job->scores.by_tile ? 1 : tr_device_chunk(e->options.device);
  float *map = e->maps + image * e->pixels;
  TR_TRY(tr_device_zero(e->options.device, map, e->pixels * sizeof *map));
  for (size_t first = 0, n; first < job->tiles; first += n) {
    n = job->tiles - first < most ? job->tiles - first : most;
    size_t unit = job->scores.by_tile ? first * e->n + image : image * job->tiles + first;
    TR_TRY(upsample(job, lane->grid, job->scores.values + unit * job->patches, n, t->tile_h, t->tile_w, lane->tiles));
    for (size_t i = 0; i < n; ++i)
      TR_TRY(add_tile(e, first + i, lane->tiles + i * tile_pixels, map));
  }
  return TR_OK;
}

static tr_status map_chunk(void *context, size_t first, size_t n, int lane) {
  const map_job *job = context;
  const tr_evaluation *e = job->evaluation;
  const tr_evaluation_options *o = &e->options;
  const map_lane *l = &e->lane[lane];
  int h = o->tiling.h, w = o->tiling.w;
  float *maps = e->maps + first * e->pixels;
  if (tr_cancel_requested())
    return tr_fail(TR_ECANCELED, "stopped");
  if (!l->tiles)
    TR_TRY(upsample(job, l->grid, job->scores.values + first * job->patches, n, h, w, maps));
  for (size_t i = 0; l->tiles && i < n; ++i)
    TR_TRY(put_together(job, l, first + i));
  for (size_t i = 0, at_once; i < n; i += at_once) {
    at_once = l->tiles ? 1 : n;
    TR_TRY(tr_smooth(
        o->device,
        &(tr_smooth_args){
            .n = (int)at_once, .h = h, .w = w, .sigma = job->sigma, .maps = maps + i * e->pixels, .scratch = l->scratch}));
  }
  return tr_device_sync(o->device);
}

tr_status tr_evaluation_maps(tr_evaluation *evaluation, const tr_patch_scores *scores, double sigma) {
  map_job job = {.evaluation = evaluation,
                 .scores = *scores,
                 .patches = (size_t)scores->grid_h * (size_t)scores->grid_w,
                 .tiles = tr_tiling_count(&evaluation->options.tiling),
                 .sigma = (float)sigma};
  return tr_device_for_chunks(evaluation->options.device, evaluation->n, map_chunk, &job);
}

tr_status tr_evaluation_set_maps(tr_evaluation *e, const float *maps) {
  TR_TRY(tr_device_upload(e->options.device, e->maps, maps, e->n * e->pixels * sizeof *maps));
  return tr_device_sync(e->options.device);
}

tr_status tr_evaluation_map(const tr_evaluation *e, size_t i, float *map) {
  tr_device *device = e->options.device;
  if (tr_cancel_requested())
    return tr_fail(TR_ECANCELED, "stopped");
  TR_TRY(tr_device_download(device, map, e->maps + i * e->pixels, e->pixels * sizeof *map));
  return tr_device_sync(device);
}

/* Map i as host memory, to be freed. */
static tr_status download_map(const tr_evaluation *e, size_t i, float **out) {
  float *map = malloc(e->pixels * sizeof *map);
  tr_status status = map ? tr_evaluation_map(e, i, map) : no_memory(e);
  if (status != TR_OK) {
    free(map);
    return status;
  }
  *out = map;
  return TR_OK;
}

static tr_status peak_task(void *context, size_t i) {
  tr_evaluation *e = context;
  float *map;
  TR_TRY(download_map(e, i, &map));
  e->peaks[i] = map[0];
  for (size_t p = 1; p < e->pixels; ++p)
    e->peaks[i] = fmaxf(e->peaks[i], map[p]);
  free(map);
  return TR_OK;
}

tr_status tr_evaluation_peaks(tr_evaluation *e, float *peaks) {
  TR_TRY(tr_pool_run(tr_device_pool(e->options.device), e->n, peak_task, e));
  memcpy(peaks, e->peaks, e->n * sizeof *peaks);
  return TR_OK;
}

/* ---- metrics ---- */

tr_status tr_evaluation_metrics(tr_evaluation *e, const float *image_scores, tr_result *result) {
  const tr_evaluation_options *o = &e->options;
  TR_TRY(tr_auroc(image_scores, e->anomalous, e->n, &result->image_auroc));
  tr_f1 f1;
  TR_TRY(tr_best_f1(image_scores, e->anomalous, e->n, &f1));
  bool defined = isfinite(f1.f1);
  result->f1 = f1.f1;
  result->false_positives = defined ? (double)f1.false_positives : NAN;
  result->false_negatives = defined ? (double)f1.false_negatives : NAN;
  result->misclassified = result->false_positives + result->false_negatives;
  result->pixel_auroc = result->pixel_auroc_anomalous = result->pro = result->pro_anomalous_224 = NAN;
  if (!e->places_known)
    return TR_OK;
  tr_pixel_metrics pixel;
  TR_TRY(tr_pixel_metrics_compute(o->device, e->maps, (const float *const *)e->masks, e->n, o->tiling.h, o->tiling.w, &pixel));
  result->pixel_auroc = pixel.auroc;
  result->pixel_auroc_anomalous = pixel.auroc_anomalous;
  result->pro = pixel.pro;
  result->pro_anomalous_224 = pixel.pro_anomalous;
  result->regions = pixel.regions;
  return TR_OK;
}

/* ---- files ---- */

/* RFC 4180: quoted where a comma, a quote or a line end would be misread; quotes are doubled. */
void tr_scores_write_text(FILE *out, const char *text) {
  if (!strpbrk(text, ",\"\n")) {
    fputs(text, out);
    return;
  }
  fputc('"', out);
  for (const char *p = text; *p; ++p) {
    if (*p == '"')
      fputc('"', out);
    fputc(*p, out);
  }
  fputc('"', out);
}

tr_status tr_scores_write(const char *path, const tr_class *class_, const float *image_scores) {
  char *text = NULL;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  if (!out)
    return tr_fail(TR_ENOMEM, "writing %s: out of memory", path);
  fprintf(out, "image,label,score\n");
  for (size_t i = 0; i < class_->test_count; ++i) {
    tr_scores_write_text(out, class_->test[i].name);
    fprintf(out, ",%d,%.9g\n", class_->test[i].anomalous, (double)image_scores[i]);
  }
  bool complete = fclose(out) == 0;
  tr_status status = complete ? tr_file_write(path, text, bytes) : tr_fail(TR_ENOMEM, "writing %s: out of memory", path);
  free(text);
  return status;
}

typedef struct picture_job {
  tr_evaluation *evaluation;
  const char *folder;
  tr_picture_scale scale;
} picture_job;

static tr_status draw_picture(const picture_job *job, size_t i, const float *map) {
  tr_evaluation *e = job->evaluation;
  const tr_evaluation_options *o = &e->options;
  const tr_sample *sample = &o->class_->test[i];
  tr_image image;
  TR_TRY(tr_sample_image(sample, &image));
  uint8_t *resized = malloc(e->pixels * 3);
  char *path = NULL;
  tr_status status = resized ? tr_image_resized(o->device, &o->image, &image, resized) : no_memory(e);
  if (status == TR_OK && !(path = tr_picture_path(job->folder, sample->name)))
    status = no_memory(e);
  if (status == TR_OK)
    status = tr_make_folder_of(path);
  if (status == TR_OK)
    status = tr_picture_write(path, resized, map, e->masks[i], o->tiling.h, o->tiling.w, job->scale);
  free(path);
  free(resized);
  tr_image_free(&image);
  return status;
}

static tr_status draw_task(void *context, size_t i) {
  const picture_job *job = context;
  float *map;
  TR_TRY(download_map(job->evaluation, i, &map));
  tr_status status = draw_picture(job, i, map);
  free(map);
  return status;
}

/* Drawn beside, then moved: a folder that is there is complete. */
tr_status tr_evaluation_pictures(tr_evaluation *e, const char *folder) {
  tr_pool *pool = tr_device_pool(e->options.device);
  char *part = tr_format("%s.part", folder);
  if (!part)
    return no_memory(e);
  picture_job job = {.evaluation = e, .folder = part};
  tr_status status = tr_make_folders(part);
  if (status == TR_OK)
    status = tr_pool_run(pool, e->n, peak_task, e);
  if (status == TR_OK)
    status = tr_picture_scale_of(e->peaks, e->anomalous, e->n, &job.scale);
  if (status == TR_OK)
    status = tr_pool_run(pool, e->n, draw_task, &job);
  if (status == TR_OK && !tr_is_folder(folder) && rename(part, folder) != 0)
    status = tr_fail_errno(TR_EIO, "naming the folder of pictures %s", folder);
  free(part);
  return status;
}
