/* From image files to tapped maps, in the lanes of a device. */
#include "host/harness/feed.h"
#include "host/base/clock.h"
#include "host/base/status.h"
#include "host/harness/ring.h"
#include <stdatomic.h>
#include <stdlib.h>

typedef struct lane_state {
  tr_image *decoded; /* [chunk]; pixels: device, one image as decoded. Both only where there is no ring */
  uint8_t *pixels;
  void *scratch; /* device: the resize's */
  size_t pixels_bytes, scratch_bytes;
  float *images; /* device, [chunk, in_h, in_w, 3] */
  float *taps[TR_MAX_TAPS];
  tr_feed_seconds seconds;
} lane_state;

struct tr_feed {
  tr_feed_options options;
  float mean[3], std[3];
  size_t chunk;
  int lanes;
  lane_state *lane;
  tr_ring *ring; /* NULL: lanes decode for themselves */
};

static tr_status allocate_lane(tr_feed *feed, lane_state *lane) {
  const tr_feed_options *o = &feed->options;
  lane->decoded = feed->ring ? NULL : calloc(feed->chunk, sizeof *lane->decoded);
  if (!lane->decoded && !feed->ring)
    return tr_fail(TR_ENOMEM, "reading images: out of memory");
  size_t input = feed->chunk * (size_t)o->in_h * (size_t)o->in_w * 3 * sizeof(float);
  TR_TRY(tr_device_alloc(o->device, input, (void **)&lane->images));
  for (int i = 0; i < o->layers; ++i) {
    int h, w, c;
    tr_backbone_tap_shape(o->backbone, i, &h, &w, &c);
    size_t bytes = feed->chunk * (size_t)h * (size_t)w * (size_t)c * sizeof(float);
    TR_TRY(tr_device_alloc(o->device, bytes, (void **)&lane->taps[i]));
  }
  return TR_OK;
}

tr_status tr_feed_create(const tr_feed_options *options, tr_feed **out) {
  *out = NULL;
  tr_feed *feed = calloc(1, sizeof *feed);
  if (!feed)
    return tr_fail(TR_ENOMEM, "reading images: out of memory");
  feed->options = *options;
  feed->chunk = tr_device_chunk(options->device);
  feed->lanes = tr_device_lanes(options->device);
  feed->lane = calloc((size_t)feed->lanes, sizeof *feed->lane);
  tr_status status = feed->lane ? TR_OK : tr_fail(TR_ENOMEM, "reading images: out of memory");
  if (status == TR_OK)
    status = tr_backbone_normalisation(options->architecture, feed->mean, feed->std);
  if (status == TR_OK && tr_device_works_alone(options->device))
    status = tr_ring_create(options->device, options->image_bytes, &feed->ring);
  for (int i = 0; status == TR_OK && i < feed->lanes; ++i)
    status = allocate_lane(feed, &feed->lane[i]);
  if (status != TR_OK) {
    tr_feed_destroy(feed);
    return status;
  }
  *out = feed;
  return TR_OK;
}

void tr_feed_destroy(tr_feed *feed) {
  if (!feed)
    return;
  tr_device *device = feed->options.device;
  for (int i = 0; feed->lane && i < feed->lanes; ++i) {
    lane_state *lane = &feed->lane[i];
    free(lane->decoded);
    tr_device_free(device, lane->pixels);
    tr_device_free(device, lane->scratch);
    tr_device_free(device, lane->images);
    for (int t = 0; t < TR_MAX_TAPS; ++t)
      tr_device_free(device, lane->taps[t]);
  }
  free(feed->lane);
  tr_ring_destroy(feed->ring);
  free(feed);
}

/* Buffers for images of any size grow to the largest seen. */
static tr_status grow(tr_device *device, void **memory, size_t *have, size_t want) {
  if (*have >= want)
    return TR_OK;
  tr_device_free(device, *memory);
  *have = 0;
  TR_TRY(tr_device_alloc(device, want, memory));
  *have = want;
  return TR_OK;
}

/* Pixels on the device, resized, cropped and normalised. */
static tr_status resize(tr_feed *feed, lane_state *lane, const uint8_t *pixels, int src_h, int src_w, const char *path,
                        float *dst) {
  const tr_feed_options *o = &feed->options;
  int h, w;
  tr_status status = tr_resize_shape(&o->image, src_h, src_w, &h, &w);
  if (status != TR_OK)
    return tr_fail_context(status, "%s", path);
  if (h != o->in_h || w != o->in_w)
    return tr_fail(TR_EFORMAT, "%s is %dx%d after the resize, the first image of its class %dx%d; a `crop` makes them equal",
                   path, w, h, o->in_w, o->in_h);
  TR_TRY(grow(o->device, &lane->scratch, &lane->scratch_bytes, tr_resize_scratch(&o->image, src_h, src_w, 3)));
  return tr_resize(o->device, &(tr_resize_args){.src = pixels,
                                                .src_h = src_h,
                                                .src_w = src_w,
                                                .channels = 3,
                                                .spec = o->image,
                                                .mean = feed->mean,
                                                .std = feed->std,
                                                .dst = dst,
                                                .scratch = lane->scratch});
}

/* ---- lanes that decode ---- */

typedef struct decode_job {
  const tr_sample *samples;
  tr_image *images;
} decode_job;

static tr_status decode_one(void *context, size_t i) {
  decode_job *job = context;
  if (tr_cancel_requested())
    return tr_fail(TR_ECANCELED, "stopped");
  return tr_sample_image(&job->samples[i], &job->images[i]);
}

static tr_status upload_and_resize(tr_feed *feed, lane_state *lane, const tr_image *image, const char *path, float *dst) {
  size_t bytes = (size_t)image->h * (size_t)image->w * 3;
  void *pixels = lane->pixels;
  tr_status status = grow(feed->options.device, &pixels, &lane->pixels_bytes, bytes);
  lane->pixels = pixels;
  TR_TRY(status);
  TR_TRY(tr_device_upload(feed->options.device, lane->pixels, image->pixels, bytes));
  return resize(feed, lane, lane->pixels, image->h, image->w, path, dst);
}

static tr_status decode_chunk(tr_feed *feed, lane_state *lane, const tr_sample *samples, size_t n) {
  decode_job job = {samples, lane->decoded};
  size_t input = (size_t)feed->options.in_h * (size_t)feed->options.in_w * 3;
  tr_status status = tr_pool_run(tr_device_pool(feed->options.device), n, decode_one, &job);
  for (size_t i = 0; i < n; ++i) {
    if (status == TR_OK)
      status = upload_and_resize(feed, lane, &lane->decoded[i], samples[i].path, lane->images + i * input);
    tr_image_free(&lane->decoded[i]);
  }
  TR_TRY(status);
  return tr_device_sync(feed->options.device);
}

/* ---- the lane that takes from the ring ---- */

static tr_status take_chunk(tr_feed *feed, lane_state *lane, const tr_sample *samples, size_t n) {
  size_t input = (size_t)feed->options.in_h * (size_t)feed->options.in_w * 3;
  for (size_t i = 0; i < n; ++i) {
    tr_ring_image image;
    TR_TRY(tr_ring_take(feed->ring, &image));
    TR_TRY(resize(feed, lane, image.pixels, image.h, image.w, samples[i].path, lane->images + i * input));
    TR_TRY(tr_ring_let_go(feed->ring));
  }
  return TR_OK;
}

typedef struct feed_job {
  tr_feed *feed;
  const char *stage;
  const tr_sample *samples;
  size_t count;
  atomic_size_t done;
  tr_feed_fn fn;
  void *context;
} feed_job;

static tr_status feed_chunk(void *context, size_t first, size_t n, int index) {
  feed_job *job = context;
  tr_feed *feed = job->feed;
  lane_state *lane = &feed->lane[index];
  double start = tr_seconds();
  TR_TRY((feed->ring ? take_chunk : decode_chunk)(feed, lane, job->samples + first, n));
  double prepared = tr_seconds();
  TR_TRY(tr_backbone_run(feed->options.backbone, index, (int)n, lane->images, lane->taps));
  TR_TRY(tr_device_sync(feed->options.device));
  double mapped = tr_seconds();
  TR_TRY(job->fn(job->context, index, first, n, (const float *const *)lane->taps));
  double end = tr_seconds();
  lane->seconds.decode += prepared - start;
  lane->seconds.backbone += mapped - prepared;
  lane->seconds.method += end - mapped;
  size_t done = atomic_fetch_add(&job->done, n) + n;
  tr_progress_update(feed->options.progress, job->stage, done, job->count, "images");
  return TR_OK;
}

static tr_status feed_all(void *context) {
  feed_job *job = context;
  return tr_device_for_chunks(job->feed->options.device, job->count, feed_chunk, job);
}

tr_status tr_feed_images(tr_feed *feed, const char *stage, const tr_sample *samples, size_t count, tr_feed_fn fn, void *context) {
  feed_job job = {.feed = feed, .stage = stage, .samples = samples, .count = count, .fn = fn, .context = context};
  tr_progress_update(feed->options.progress, stage, 0, count, "images");
  return feed->ring ? tr_ring_run(feed->ring, samples, count, feed_all, &job) : feed_all(&job);
}

tr_status tr_feed_image(tr_feed *feed, const tr_image *image, const char *name, tr_feed_fn fn, void *context) {
  lane_state *lane = &feed->lane[0];
  double start = tr_seconds();
  TR_TRY(upload_and_resize(feed, lane, image, name, lane->images));
  TR_TRY(tr_device_sync(feed->options.device));
  double prepared = tr_seconds();
  TR_TRY(tr_backbone_run(feed->options.backbone, 0, 1, lane->images, lane->taps));
  TR_TRY(tr_device_sync(feed->options.device));
  double mapped = tr_seconds();
  TR_TRY(fn(context, 0, 0, 1, (const float *const *)lane->taps));
  lane->seconds.decode += prepared - start;
  lane->seconds.backbone += mapped - prepared;
  lane->seconds.method += tr_seconds() - mapped;
  return TR_OK;
}

tr_feed_seconds tr_feed_spent(const tr_feed *feed) {
  tr_feed_seconds sum = {0};
  for (int i = 0; i < feed->lanes; ++i) {
    sum.decode += feed->lane[i].seconds.decode / feed->lanes;
    sum.backbone += feed->lane[i].seconds.backbone / feed->lanes;
    sum.method += feed->lane[i].seconds.method / feed->lanes;
  }
  return sum;
}
