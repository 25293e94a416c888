/* Images decoded ahead, for a device that works alone (tr_device_works_alone): the pool's threads decode into a ring of page-locked
 * buffers, from which uploads go on beside the operators; one of the threads takes the images in order and queues the operators.
 *
 *   decode, any thread -> slot's host buffer -> queue of uploads -> slot's device buffer -> operators, in the taker's order
 *
 * A slot is decoded into again when the taker has let it go and its upload is done; its device buffer is uploaded to again behind the
 * operators that read it. The taker decodes too while the image it wants is not there. */
#ifndef TR_HARNESS_RING_H
#define TR_HARNESS_RING_H

#include "datasets/dataset.h"
#include "datasets/image.h"
#include "kernels/device.h"

typedef struct tr_ring tr_ring;

/* image_bytes: of the largest image, decoded to three channels. */
tr_status tr_ring_create(tr_device *device, size_t image_bytes, tr_ring **out);
void tr_ring_destroy(tr_ring *ring);

/* Buffers that tr_ring_create allocates, each once on the host and once on the device. */
size_t tr_ring_slots(const tr_device *device);

/* Runs `taker` on one of the pool's threads while the others decode; gives its status. The taker calls tr_ring_take for each
 * sample in turn, and may stop early. */
typedef tr_status (*tr_ring_fn)(void *context);
tr_status tr_ring_run(tr_ring *ring, const tr_sample *samples, size_t count, tr_ring_fn taker, void *context);

/* How image i of a run is read; from any thread. Without a reader it is tr_sample_image. */
typedef tr_status (*tr_ring_read_fn)(void *context, size_t i, const tr_sample *sample, tr_image *out);
void tr_ring_set_reader(tr_ring *ring, tr_ring_read_fn read, void *context);

typedef struct tr_ring_image {
  const uint8_t *pixels; /* device, [h, w, 3] */
  int h, w;
} tr_ring_image;

/* The next image, for operators queued from now on. Before the one after it is taken, tr_ring_let_go says that all operators that
 * read this one are queued. An unreadable image is EIO or EFORMAT with its name; ECANCELED after tr_cancel_request. */
tr_status tr_ring_take(tr_ring *ring, tr_ring_image *out);
tr_status tr_ring_let_go(tr_ring *ring);

#endif
