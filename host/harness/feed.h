/* Feeds images to a method: files are decoded, resized, normalised and sent through the backbone, lane by lane, and the tapped
 * maps are handed on. Images come in any order; what is handed on for an image depends on the image alone. A device that works
 * alone gets its images from a ring that the pool's threads fill meanwhile (host/harness/ring.h).
 *
 * Large images go through the backbone in tiles. An image is decoded once and each tile is resized out of it by itself, so only
 * the decoded image is of the image's size. */
#ifndef TR_HARNESS_FEED_H
#define TR_HARNESS_FEED_H

#include "datasets/dataset.h"
#include "datasets/image.h"
#include "host/backbone/graph.h"
#include "host/base/progress.h"
#include "host/harness/cache.h"
#include "host/harness/tiling.h"

typedef struct tr_feed_options {
  tr_device *device;
  tr_backbone *backbone;
  const char *architecture; /* whose normalisation is applied */
  tr_image_spec image;
  tr_tiling tiling;   /* of images as large as every image must be after the resize; the backbone gets the tiles */
  int layers;         /* tapped */
  size_t image_bytes; /* of the largest image, decoded to three channels */
  /* What passes share, or NULL, always where images are cut: resized images, [h, w, 3] of an item, and maps, all taps of an item one after the other. An item
   * that is there is read, another one is made and put there. unread[t]: nobody looks at tap t, so it is not read. */
  tr_cache *image_cache, *map_cache;
  bool unread[TR_MAX_TAPS];
  tr_progress *progress;
} tr_feed_options;

typedef struct tr_feed tr_feed;
tr_status tr_feed_create(const tr_feed_options *options, tr_feed **out);
void tr_feed_destroy(tr_feed *feed);

/* maps[i]: device, tap i of the n units one after the other. A unit is a tile: unit u is tile u % tiles of sample u / tiles; where images
 * are not cut, sample u. Units of a call ascend. Called from `lane`. */
typedef tr_status (*tr_feed_fn)(void *context, int lane, const size_t *units, size_t n, const float *const *maps);

typedef struct tr_feed_list {
  const tr_sample *samples;
  size_t count;
  const size_t *items;   /* in the caches, of each sample; NULL: they are not used */
  const uint8_t *wanted; /* [count, tiles]: the units that are handed on, 1 or 0; NULL: all */
} tr_feed_list;

/* An unreadable image is EIO or EFORMAT with its name; ECANCELED after tr_cancel_request. */
tr_status tr_feed_images(tr_feed *feed, const char *stage, const tr_feed_list *list, tr_feed_fn fn, void *context);

/* One image that is decoded already, all of its tiles, as lane 0 on the calling thread, with all of the pool's threads for its
 * operators; `name` stands for it in errors. Not while tr_feed_images works. */
tr_status tr_feed_image(tr_feed *feed, const tr_image *image, const char *name, tr_feed_fn fn, void *context);

/* Seconds of the passes so far, lanes' seconds summed / lanes. decode: with a ring, only while the device waited for images; resizes
 * that were still queued then count as backbone. method: in `fn`. */
typedef struct tr_feed_seconds {
  double decode, backbone, method;
} tr_feed_seconds;
tr_feed_seconds tr_feed_spent(const tr_feed *feed);

#endif
