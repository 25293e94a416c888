/* Feeds images to a method: files are decoded, resized, normalised and sent through the backbone, lane by lane, and the tapped
 * maps are handed on. Images come in any order; what is handed on for an image depends on the image alone. A device that works
 * alone gets its images from a ring that the pool's threads fill meanwhile (host/harness/ring.h). */
#ifndef TR_HARNESS_FEED_H
#define TR_HARNESS_FEED_H

#include "datasets/dataset.h"
#include "datasets/image.h"
#include "host/backbone/graph.h"
#include "host/base/progress.h"
#include "host/harness/cache.h"
#include "kernels/resize.h"

typedef struct tr_feed_options {
  tr_device *device;
  tr_backbone *backbone;
  const char *architecture; /* whose normalisation is applied */
  tr_image_spec image;
  int in_h, in_w;     /* that every image must have after the resize */
  int layers;         /* tapped */
  size_t image_bytes; /* of the largest image, decoded to three channels */
  /* What passes share, or NULL: resized images, [in_h, in_w, 3] of an item, and maps, all taps of an item one after the other. An item
   * that is there is read, another one is made and put there. unread[t]: nobody looks at tap t, so it is not read. */
  tr_cache *image_cache, *map_cache;
  bool unread[TR_MAX_TAPS];
  tr_progress *progress;
} tr_feed_options;

typedef struct tr_feed tr_feed;
tr_status tr_feed_create(const tr_feed_options *options, tr_feed **out);
void tr_feed_destroy(tr_feed *feed);

/* maps[i]: device, tap i of images [first, first + n). Called from `lane`. */
typedef tr_status (*tr_feed_fn)(void *context, int lane, size_t first, size_t n, const float *const *maps);

/* An unreadable image is EIO or EFORMAT with its name; ECANCELED after tr_cancel_request. */
tr_status tr_feed_images(tr_feed *feed, const char *stage, const tr_sample *samples, size_t count, tr_feed_fn fn, void *context);

/* The same with the caches: items[i] is sample i's. */
tr_status tr_feed_items(tr_feed *feed, const char *stage, const tr_sample *samples, const size_t *items, size_t count,
                        tr_feed_fn fn, void *context);

/* One image that is decoded already, as lane 0 on the calling thread, with all of the pool's threads for its operators; `name` stands
 * for it in errors. Not while tr_feed_images works. */
tr_status tr_feed_image(tr_feed *feed, const tr_image *image, const char *name, tr_feed_fn fn, void *context);

/* Seconds of the passes so far, lanes' seconds summed / lanes. decode: with a ring, only while the device waited for images; resizes
 * that were still queued then count as backbone. method: in `fn`. */
typedef struct tr_feed_seconds {
  double decode, backbone, method;
} tr_feed_seconds;
tr_feed_seconds tr_feed_spent(const tr_feed *feed);

#endif
