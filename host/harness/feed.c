/* From image files to tapped maps, in the lanes of a device. */
#include "host/harness/feed.h"
#include "datasets/image.h"
#include "host/base/clock.h"
#include "host/base/status.h"
#include <stdatomic.h>
#include <stdlib.h>

typedef struct lane_state {
  tr_image *decoded; /* [chunk] */
  uint8_t *pixels;   /* device: one image as decoded */
  void *scratch;     /* device: the resize's */
  size_t pixels_bytes, scratch_bytes;
  float *images; /* device, [chunk, in_h, in_w, 3] */
  float *taps[TR_MAX_LAYERS];
  tr_feed_seconds seconds;
} lane_state;

struct tr_feed {
  tr_feed_options options;
  float mean[3], std[3];
  size_t chunk;
  int lanes;
  lane_state *lane;
};

static tr_status allocate_lane(tr_feed *feed, lane_state *lane) {
  const tr_feed_options *o = &feed->options;
  lane->decoded = calloc(feed->chunk, sizeof *lane->decoded);
  if (!lane->decoded)
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
    for (int t = 0; t < TR_MAX_LAYERS; ++t)
      tr_device_free(device, lane->taps[t]);
  }
  free(feed->lane);
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

typedef struct decode_job {
  const tr_sample *samples;
  tr_image *images;
} decode_job;

static tr_status decode_one(void *context, size_t i) {
  decode_job *job = context;
  if (tr_cancel_requested())
    return tr_fail(TR_ECANCELED, "stopped");
  return tr_image_read(job->samples[i].path, 3, &job->images[i]);
}

/* Decoded pixels to the device, resized, cropped and normalised there. */
static tr_status prepare_one(tr_feed *feed, lane_state *lane, const tr_image *image, const char *path, float *dst) {
  const tr_feed_options *o = &feed->options;
  int h, w;
  tr_status status = tr_resize_shape(&o->image, image->h, image->w, &h, &w);
  if (status != TR_OK)
    return tr_fail_context(status, "%s", path);
  if (h != o->in_h || w != o->in_w)
    return tr_fail(TR_EFORMAT, "%s is %dx%d after the resize, the first image of its class %dx%d; a `crop` makes them equal",
                   path, w, h, o->in_w, o->in_h);
  size_t bytes = (size_t)image->h * (size_t)image->w * 3;
  void *pixels = lane->pixels;
  status = grow(o->device, &pixels, &lane->pixels_bytes, bytes);
  lane->pixels = pixels;
  TR_TRY(status);
  TR_TRY(grow(o->device, &lane->scratch, &lane->scratch_bytes, tr_resize_scratch(&o->image, image->h, image->w, 3)));
  TR_TRY(tr_device_upload(o->device, lane->pixels, image->pixels, bytes));
  return tr_resize(o->device, &(tr_resize_args){.src = lane->pixels,
                                                .src_h = image->h,
                                                .src_w = image->w,
                                                .channels = 3,
                                                .spec = o->image,
                                                .mean = feed->mean,
                                                .std = feed->std,
                                                .dst = dst,
                                                .scratch = lane->scratch});
}

static tr_status prepare_chunk(tr_feed *feed, lane_state *lane, const tr_sample *samples, size_t n) {
  tr_device *device = feed->options.device;
  decode_job job = {samples, lane->decoded};
  size_t input = (size_t)feed->options.in_h * (size_t)feed->options.in_w * 3;
  tr_status status = tr_pool_run(tr_device_pool(device), n, decode_one, &job);
  for (size_t i = 0; i < n; ++i) {
    if (status == TR_OK)
      status = prepare_one(feed, lane, &lane->decoded[i], samples[i].path, lane->images + i * input);
    tr_image_free(&lane->decoded[i]);
  }
  return status;
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
  TR_TRY(prepare_chunk(feed, lane, job->samples + first, n));
  TR_TRY(tr_device_sync(feed->options.device));
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

tr_status tr_feed_images(tr_feed *feed, const char *stage, const tr_sample *samples, size_t count, tr_feed_fn fn, void *context) {
  feed_job job = {.feed = feed, .stage = stage, .samples = samples, .count = count, .fn = fn, .context = context};
  tr_progress_update(feed->options.progress, stage, 0, count, "images");
  return tr_device_for_chunks(feed->options.device, count, feed_chunk, &job);
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
