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
  float *images; /* device, [chunk, tile_h, tile_w, 3]: the batch of units that comes next */
  size_t *units; /* [chunk]: their numbers */
  size_t batch;
  float *taps[TR_MAX_TAPS];
  uint8_t *resized; /* device, [chunk, h, w, 3]; where images are kept */
  void *kept;       /* host, an image or an image's maps of a tap, on its way to or from a cache */
  tr_feed_seconds seconds;
} lane_state;

struct tr_feed {
  tr_feed_options options;
  float mean[3], std[3];
  size_t chunk, tiles;
  int lanes;
  lane_state *lane;
  size_t image_bytes;            /* of a resized image */
  size_t unit_floats;            /* of a tile */
  size_t tap_bytes[TR_MAX_TAPS]; /* of a tile */
  tr_ring *ring;                 /* NULL: lanes decode for themselves */
};

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

static tr_status allocate_lane(tr_feed *feed, lane_state *lane) {
  const tr_feed_options *o = &feed->options;
  lane->decoded = feed->ring ? NULL : calloc(feed->chunk, sizeof *lane->decoded);
  if (!lane->decoded && !feed->ring)
    return tr_fail(TR_ENOMEM, "reading images: out of memory");
  lane->units = calloc(feed->chunk, sizeof *lane->units);
  if (!lane->units)
    return tr_fail(TR_ENOMEM, "reading images: out of memory");
  size_t input = feed->chunk * feed->unit_floats * sizeof(float), most = feed->image_bytes;
  TR_TRY(tr_device_alloc(o->device, input, (void **)&lane->images));
  for (int i = 0; i < o->layers; ++i) {
    int h, w, c;
    tr_backbone_tap_shape(o->backbone, i, &h, &w, &c);
    feed->tap_bytes[i] = (size_t)h * (size_t)w * (size_t)c * sizeof(float);
    most = larger(most, feed->tap_bytes[i]);
    TR_TRY(tr_device_alloc(o->device, feed->chunk * feed->tap_bytes[i], (void **)&lane->taps[i]));
  }
  if (o->image_cache)
    TR_TRY(tr_device_alloc(o->device, feed->chunk * feed->image_bytes, (void **)&lane->resized));
  lane->kept = o->image_cache || o->map_cache ? malloc(most) : NULL;
  return lane->kept || !(o->image_cache || o->map_cache) ? TR_OK : tr_fail(TR_ENOMEM, "keeping images: out of memory");
}

tr_status tr_feed_create(const tr_feed_options *options, tr_feed **out) {
  *out = NULL;
  tr_feed *feed = calloc(1, sizeof *feed);
  if (!feed)
    return tr_fail(TR_ENOMEM, "reading images: out of memory");
  feed->options = *options;
  const tr_tiling *t = &options->tiling;
  feed->tiles = tr_tiling_count(t);
  feed->image_bytes = (size_t)t->h * (size_t)t->w * 3;
  feed->unit_floats = (size_t)t->tile_h * (size_t)t->tile_w * 3;
  feed->chunk = tr_device_chunk(options->device);
  feed->lanes = tr_device_lanes(options->device);
  feed->lane = calloc((size_t)feed->lanes, sizeof *feed->lane);
  tr_status status = feed->lane ? TR_OK : tr_fail(TR_ENOMEM, "reading images: out of memory");
  if (status == TR_OK)
    status = tr_backbone_normalisation(options->architecture, feed->mean, feed->std);
  if (status == TR_OK && tr_device_works_alone(options->device))
    status = tr_ring_create(options->device, larger(options->image_bytes, feed->image_bytes), &feed->ring);
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
    free(lane->units);
    tr_device_free(device, lane->pixels);
    tr_device_free(device, lane->scratch);
    tr_device_free(device, lane->images);
    tr_device_free(device, lane->resized);
    free(lane->kept);
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

/* An image on the device. */
typedef struct source {
  const uint8_t *pixels;
  int h, w;
  bool resized; /* came from the cache as it was put there */
  const char *path;
} source;

static tr_status check_size(const tr_feed *feed, const source *from) {
  const tr_feed_options *o = &feed->options;
  int h, w;
  tr_status status = from->resized ? TR_OK : tr_resize_shape(&o->image, from->h, from->w, &h, &w);
  if (status != TR_OK)
    return tr_fail_context(status, "%s", from->path);
  if (from->resized || (h == o->tiling.h && w == o->tiling.w))
    return TR_OK;
  return tr_fail(TR_EFORMAT, "%s is %dx%d after the resize, the first image of its class %dx%d; a `crop` makes them equal",
                 from->path, w, h, o->tiling.w, o->tiling.h);
}

/* A tile, resized, cropped and normalised, to place `place` of the lane's batch. */
static tr_status resize(const tr_feed *feed, lane_state *lane, const source *from, size_t tile, size_t place) {
  const tr_feed_options *o = &feed->options;
  tr_image_spec spec = {0};
  if (!from->resized)
    spec = o->image;
  if (!tr_tiling_is_whole(&o->tiling))
    spec.window = tr_tiling_window(&o->tiling, tile);
  TR_TRY(grow(o->device, &lane->scratch, &lane->scratch_bytes, tr_resize_scratch(&spec, from->h, from->w, 3)));
  return tr_resize(o->device, &(tr_resize_args){.src = from->pixels,
                                                .src_h = from->h,
                                                .src_w = from->w,
                                                .channels = 3,
                                                .spec = spec,
                                                .mean = feed->mean,
                                                .std = feed->std,
                                                .dst_u8 = lane->resized ? lane->resized + place * feed->image_bytes : NULL,
                                                .dst = lane->images + place * feed->unit_floats,
                                                .scratch = lane->scratch});
}

/* ---- what is fed ---- */

typedef struct feed_job {
  tr_feed *feed;
  const char *stage;
  tr_feed_list list;
  bool maps_there; /* of all samples */
  bool timed;      /* by the device's clock, each part by itself */
  atomic_size_t done;
  tr_feed_fn fn;
  void *context;
} feed_job;

/* Images are put into the cache when their chunk is done, so the answer does not change from an image's reading to its resizing. */
static bool is_kept(const feed_job *job, size_t i) {
  const tr_cache *cache = job->feed->options.image_cache;
  return cache && job->list.items && tr_cache_has(cache, job->list.items[i]);
}

static tr_status read_kept(const feed_job *job, size_t i, tr_image *out) {
  const tr_feed *feed = job->feed;
  const tr_tiling *t = &feed->options.tiling;
  *out = (tr_image){.h = t->h, .w = t->w, .channels = 3, .pixels = malloc(feed->image_bytes)};
  tr_status status = out->pixels ? tr_cache_get(feed->options.image_cache, job->list.items[i], 0, feed->image_bytes, out->pixels)
                                 : tr_fail(TR_ENOMEM, "reading images: out of memory");
  if (status != TR_OK)
    tr_image_free(out);
  return status;
}

static tr_status read_image(void *context, size_t i, const tr_sample *sample, tr_image *out) {
  const feed_job *job = context;
  return is_kept(job, i) ? read_kept(job, i, out) : tr_sample_image(sample, out);
}

/* ---- caches ---- */

/* The batch's images, as they were resized: units are images here, which are not cut. */
static tr_status put_images(const feed_job *job, const lane_state *lane) {
  const tr_feed *feed = job->feed;
  tr_cache *cache = feed->options.image_cache;
  for (size_t i = 0; cache && job->list.items && i < lane->batch; ++i) {
    size_t item = job->list.items[lane->units[i]];
    if (tr_cache_has(cache, item))
      continue;
    TR_TRY(tr_device_download(feed->options.device, lane->kept, lane->resized + i * feed->image_bytes, feed->image_bytes));
    TR_TRY(tr_device_sync(feed->options.device));
    TR_TRY(tr_cache_put(cache, item, 0, feed->image_bytes, lane->kept));
    tr_cache_complete(cache, item);
  }
  return TR_OK;
}

static tr_status put_maps(const feed_job *job, const lane_state *lane) {
  const tr_feed *feed = job->feed;
  tr_cache *cache = feed->options.map_cache;
  for (size_t i = 0; cache && job->list.items && i < lane->batch; ++i) {
    size_t item = job->list.items[lane->units[i]], offset = 0;
    if (tr_cache_has(cache, item))
      continue;
    for (int t = 0; t < feed->options.layers; offset += feed->tap_bytes[t++]) {
      const char *map = (const char *)lane->taps[t] + i * feed->tap_bytes[t];
      TR_TRY(tr_device_download(feed->options.device, lane->kept, map, feed->tap_bytes[t]));
      TR_TRY(tr_device_sync(feed->options.device));
      TR_TRY(tr_cache_put(cache, item, offset, feed->tap_bytes[t], lane->kept));
    }
    tr_cache_complete(cache, item);
  }
  return TR_OK;
}

static tr_status get_maps(const feed_job *job, const lane_state *lane, size_t first, size_t n) {
  const tr_feed *feed = job->feed;
  if (tr_cancel_requested())
    return tr_fail(TR_ECANCELED, "stopped");
  for (size_t i = 0; i < n; ++i) {
    size_t offset = 0;
    for (int t = 0; t < feed->options.layers; offset += feed->tap_bytes[t++]) {
      if (feed->options.unread[t])
        continue;
      TR_TRY(tr_cache_get(feed->options.map_cache, job->list.items[first + i], offset, feed->tap_bytes[t], lane->kept));
      TR_TRY(
          tr_device_upload(feed->options.device, (char *)lane->taps[t] + i * feed->tap_bytes[t], lane->kept, feed->tap_bytes[t]));
      TR_TRY(tr_device_sync(feed->options.device));
    }
  }
  return TR_OK;
}

static bool are_maps_there(const tr_feed *feed, const size_t *items, size_t count) {
  if (!feed->options.map_cache || !items)
    return false;
  for (size_t i = 0; i < count; ++i)
    if (!tr_cache_has(feed->options.map_cache, items[i]))
      return false;
  return true;
}

/* ---- batches of units ---- */

static tr_status now(const feed_job *job, double *seconds) {
  if (job->timed)
    return tr_device_clock(job->feed->options.device, seconds);
  *seconds = tr_seconds();
  return TR_OK;
}

/* The lane's batch through the backbone and on. */
static tr_status hand_on(feed_job *job, lane_state *lane, int index) {
  const tr_feed *feed = job->feed;
  if (!lane->batch)
    return TR_OK;
  if (tr_cancel_requested())
    return tr_fail(TR_ECANCELED, "stopped");
  double start, mapped, done;
  TR_TRY(now(job, &start));
  TR_TRY(tr_backbone_run(feed->options.backbone, index, (int)lane->batch, lane->images, lane->taps));
  if (!job->timed)
    TR_TRY(tr_device_sync(feed->options.device));
  TR_TRY(put_images(job, lane));
  TR_TRY(put_maps(job, lane));
  TR_TRY(now(job, &mapped));
  TR_TRY(job->fn(job->context, index, lane->units, lane->batch, (const float *const *)lane->taps));
  TR_TRY(now(job, &done));
  lane->seconds.backbone += mapped - start;
  lane->seconds.method += done - mapped;
  lane->batch = 0;
  return TR_OK;
}

static bool is_wanted(const feed_job *job, size_t unit) {
  return !job->list.wanted || job->list.wanted[unit];
}

/* The wanted tiles of sample `i`. */
static tr_status add_tiles(feed_job *job, lane_state *lane, int index, const source *from, size_t i) {
  const tr_feed *feed = job->feed;
  TR_TRY(check_size(feed, from));
  for (size_t tile = 0; tile < feed->tiles; ++tile) {
    size_t unit = i * feed->tiles + tile;
    if (!is_wanted(job, unit))
      continue;
    TR_TRY(resize(feed, lane, from, tile, lane->batch));
    lane->units[lane->batch++] = unit;
    if (lane->batch == feed->chunk)
      TR_TRY(hand_on(job, lane, index));
  }
  return TR_OK;
}

/* ---- lanes that decode ---- */

typedef struct decode_job {
  feed_job *job;
  size_t first;
  tr_image *images;
} decode_job;

static tr_status decode_one(void *context, size_t i) {
  decode_job *d = context;
  size_t image = d->first + i;
  if (tr_cancel_requested())
    return tr_fail(TR_ECANCELED, "stopped");
  return read_image(d->job, image, &d->job->list.samples[image], &d->images[i]);
}

static tr_status upload(tr_feed *feed, lane_state *lane, const tr_image *image) {
  size_t bytes = (size_t)image->h * (size_t)image->w * 3;
  void *pixels = lane->pixels;
  tr_status status = grow(feed->options.device, &pixels, &lane->pixels_bytes, bytes);
  lane->pixels = pixels;
  TR_TRY(status);
  return tr_device_upload(feed->options.device, lane->pixels, image->pixels, bytes);
}

static tr_status upload_tiles(feed_job *job, lane_state *lane, int index, const tr_image *image, size_t i) {
  TR_TRY(upload(job->feed, lane, image));
  source from = {lane->pixels, image->h, image->w, is_kept(job, i), job->list.samples[i].path};
  return add_tiles(job, lane, index, &from, i);
}

static tr_status decode_chunk(feed_job *job, lane_state *lane, int index, size_t first, size_t n) {
  decode_job d = {job, first, lane->decoded};
  tr_status status = tr_pool_run(tr_device_pool(job->feed->options.device), n, decode_one, &d);
  for (size_t i = 0; i < n; ++i) {
    if (status == TR_OK)
      status = upload_tiles(job, lane, index, &lane->decoded[i], first + i);
    tr_image_free(&lane->decoded[i]);
  }
  return status;
}

/* ---- the lane that takes from the ring ---- */

static tr_status take_chunk(feed_job *job, lane_state *lane, int index, size_t first, size_t n) {
  const tr_feed *feed = job->feed;
  for (size_t i = 0; i < n; ++i) {
    tr_ring_image image;
    TR_TRY(tr_ring_take(feed->ring, &image));
    source from = {image.pixels, image.h, image.w, is_kept(job, first + i), job->list.samples[first + i].path};
    TR_TRY(add_tiles(job, lane, index, &from, first + i));
    TR_TRY(tr_ring_let_go(feed->ring));
  }
  return TR_OK;
}

/* ---- a chunk of images ---- */

static tr_status make_maps(feed_job *job, lane_state *lane, int index, size_t first, size_t n) {
  tr_feed_seconds before = lane->seconds;
  double start = tr_seconds();
  lane->batch = 0;
  TR_TRY((job->feed->ring ? take_chunk : decode_chunk)(job, lane, index, first, n));
  TR_TRY(hand_on(job, lane, index));
  double on_device = lane->seconds.backbone - before.backbone + lane->seconds.method - before.method;
  lane->seconds.decode += tr_seconds() - start - on_device;
  return TR_OK;
}

static tr_status read_maps(feed_job *job, lane_state *lane, int index, size_t first, size_t n) {
  double start = tr_seconds();
  TR_TRY(get_maps(job, lane, first, n));
  double read = tr_seconds();
  for (size_t i = 0; i < n; ++i)
    lane->units[i] = first + i;
  TR_TRY(job->fn(job->context, index, lane->units, n, (const float *const *)lane->taps));
  lane->seconds.backbone += read - start;
  lane->seconds.method += tr_seconds() - read;
  return TR_OK;
}

static tr_status feed_chunk(void *context, size_t first, size_t n, int index) {
  feed_job *job = context;
  tr_feed *feed = job->feed;
  TR_TRY((job->maps_there ? read_maps : make_maps)(job, &feed->lane[index], index, first, n));
  size_t done = atomic_fetch_add(&job->done, n) + n;
  tr_progress_update(feed->options.progress, job->stage, done, job->list.count, "images");
  return TR_OK;
}

static tr_status feed_all(void *context) {
  feed_job *job = context;
  return tr_device_for_chunks(job->feed->options.device, job->list.count, feed_chunk, job);
}

tr_status tr_feed_images(tr_feed *feed, const char *stage, const tr_feed_list *list, tr_feed_fn fn, void *context) {
  feed_job job = {.feed = feed, .stage = stage, .list = *list, .fn = fn, .context = context};
  job.maps_there = are_maps_there(feed, list->items, list->count);
  tr_progress_update(feed->options.progress, stage, 0, list->count, "images");
  if (!feed->ring || job.maps_there)
    return feed_all(&job);
  tr_ring_set_reader(feed->ring, read_image, &job);
  return tr_ring_run(feed->ring, list->samples, list->count, feed_all, &job);
}

tr_status tr_feed_image(tr_feed *feed, const tr_image *image, const char *name, tr_feed_fn fn, void *context) {
  lane_state *lane = &feed->lane[0];
  tr_sample sample = {.path = (char *)name};
  feed_job job = {.feed = feed, .list = {.samples = &sample, .count = 1}, .timed = true, .fn = fn, .context = context};
  tr_feed_seconds before = lane->seconds;
  double start, done;
  lane->batch = 0;
  TR_TRY(now(&job, &start));
  TR_TRY(upload_tiles(&job, lane, 0, image, 0));
  TR_TRY(hand_on(&job, lane, 0));
  TR_TRY(now(&job, &done));
  lane->seconds.decode += done - start - (lane->seconds.backbone - before.backbone + lane->seconds.method - before.method);
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
