/* The ring: slots under one lock, images claimed in order. */
#include "host/harness/ring.h"
#include "datasets/image.h"
#include "host/base/progress.h"
#include "host/base/status.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each thread has an image in hand and one finished; the rest covers the time in which the taker waits for the device. */
enum { SLOTS_A_THREAD = 2, MORE_SLOTS = 8 };

typedef struct slot {
  void *host, *device;
  tr_mark *uploaded, *read; /* behind the slot's upload; behind the operators that read it */
  bool ready;
  int h, w;
  tr_status status; /* of decoding */
  char text[TR_ERROR_TEXT_BYTES];
} slot;

struct tr_ring {
  tr_device *device;
  size_t image_bytes, slot_count;
  slot *slots;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  /* Of the run at hand; images are numbered, image i has slot i % slot_count. */
  const tr_sample *samples;
  size_t count, claimed, let_go;
  bool stopped;
  tr_ring_fn taker;
  void *context;
  tr_ring_read_fn read; /* NULL: tr_sample_image */
  void *read_context;
};

size_t tr_ring_slots(const tr_device *device) {
  return SLOTS_A_THREAD * (size_t)tr_pool_threads(tr_device_pool(device)) + MORE_SLOTS;
}

static tr_status create_slot(tr_ring *ring, slot *s) {
  TR_TRY(tr_device_alloc_pinned(ring->device, ring->image_bytes, &s->host));
  TR_TRY(tr_device_alloc(ring->device, ring->image_bytes, &s->device));
  TR_TRY(tr_mark_create(ring->device, &s->uploaded));
  return tr_mark_create(ring->device, &s->read);
}

tr_status tr_ring_create(tr_device *device, size_t image_bytes, tr_ring **out) {
  *out = NULL;
  tr_ring *ring = calloc(1, sizeof *ring);
  if (!ring)
    return tr_fail(TR_ENOMEM, "reading images: out of memory");
  ring->device = device;
  ring->image_bytes = image_bytes;
  pthread_mutex_init(&ring->lock, NULL);
  pthread_cond_init(&ring->changed, NULL);
  size_t slots = tr_ring_slots(device);
  ring->slots = calloc(slots, sizeof *ring->slots);
  tr_status status = ring->slots ? TR_OK : tr_fail(TR_ENOMEM, "reading images: out of memory");
  while (status == TR_OK && ring->slot_count < slots)
    status = create_slot(ring, &ring->slots[ring->slot_count++]);
  if (status != TR_OK) {
    tr_ring_destroy(ring);
    return status;
  }
  *out = ring;
  return TR_OK;
}

void tr_ring_destroy(tr_ring *ring) {
  if (!ring)
    return;
  for (size_t i = 0; ring->slots && i < ring->slot_count; ++i) {
    slot *s = &ring->slots[i];
    (void)tr_mark_await(ring->device, s->uploaded); /* what was decoded ahead in vain may still be on its way */
    tr_mark_destroy(ring->device, s->uploaded);
    tr_mark_destroy(ring->device, s->read);
    tr_device_free(ring->device, s->device);
    tr_device_free_pinned(ring->device, s->host);
  }
  free(ring->slots);
  pthread_cond_destroy(&ring->changed);
  pthread_mutex_destroy(&ring->lock);
  free(ring);
}

/* ---- decoding ---- */

/* Two waits: the host until the slot's last upload is done, the upload until the operators have read what is there. */
static tr_status queue_upload(const tr_ring *ring, slot *s, const tr_image *image) {
  size_t bytes = (size_t)image->h * (size_t)image->w * 3;
  TR_TRY(tr_mark_await(ring->device, s->uploaded));
  memcpy(s->host, image->pixels, bytes);
  TR_TRY(tr_mark_follow(ring->device, s->read, TR_QUEUE_UPLOADS));
  TR_TRY(tr_device_upload_queued(ring->device, s->device, s->host, bytes));
  s->h = image->h;
  s->w = image->w;
  return tr_mark_set(ring->device, s->uploaded, TR_QUEUE_UPLOADS);
}

static tr_status decode(const tr_ring *ring, slot *s, size_t i) {
  const tr_sample *sample = &ring->samples[i];
  if (tr_cancel_requested())
    return tr_fail(TR_ECANCELED, "stopped");
  tr_image image;
  TR_TRY(ring->read ? ring->read(ring->read_context, i, sample, &image) : tr_sample_image(sample, &image));
  tr_status status = TR_OK;
  if ((size_t)image.h * (size_t)image.w * 3 > ring->image_bytes)
    status = tr_fail(TR_EIO, "%s is %dx%d, larger than any image when the run was planned", sample->path, image.w, image.h);
  else
    status = queue_upload(ring, s, &image);
  tr_image_free(&image);
  return status;
}

static bool may_claim(const tr_ring *ring) {
  return !ring->stopped && ring->claimed < ring->count && ring->claimed < ring->let_go + ring->slot_count;
}

/* Decodes the next image that nobody has; the lock is held before and after, not meanwhile. */
static void claim_and_decode(tr_ring *ring) {
  size_t i = ring->claimed++;
  slot *s = &ring->slots[i % ring->slot_count];
  pthread_mutex_unlock(&ring->lock);
  tr_status status = decode(ring, s, i);
  pthread_mutex_lock(&ring->lock);
  s->status = status;
  if (status != TR_OK)
    snprintf(s->text, sizeof s->text, "%s", tr_last_error());
  s->ready = true;
  pthread_cond_broadcast(&ring->changed);
}

static void decode_until_done(tr_ring *ring) {
  pthread_mutex_lock(&ring->lock);
  while (!ring->stopped && ring->claimed < ring->count) {
    if (may_claim(ring))
      claim_and_decode(ring);
    else
      pthread_cond_wait(&ring->changed, &ring->lock);
  }
  pthread_mutex_unlock(&ring->lock);
}

/* ---- taking ---- */

tr_status tr_ring_take(tr_ring *ring, tr_ring_image *out) {
  if (ring->let_go == ring->count)
    return tr_fail(TR_EINTERNAL, "reading images: asked for more than the %zu there are", ring->count);
  pthread_mutex_lock(&ring->lock);
  slot *s = &ring->slots[ring->let_go % ring->slot_count];
  while (!s->ready) {
    if (may_claim(ring))
      claim_and_decode(ring);
    else
      pthread_cond_wait(&ring->changed, &ring->lock);
  }
  pthread_mutex_unlock(&ring->lock);
  if (s->status != TR_OK) {
    tr_error_set_text(s->text);
    return s->status;
  }
  *out = (tr_ring_image){.pixels = s->device, .h = s->h, .w = s->w};
  return tr_mark_follow(ring->device, s->uploaded, TR_QUEUE_OPERATORS);
}

tr_status tr_ring_let_go(tr_ring *ring) {
  slot *s = &ring->slots[ring->let_go % ring->slot_count];
  TR_TRY(tr_mark_set(ring->device, s->read, TR_QUEUE_OPERATORS));
  pthread_mutex_lock(&ring->lock);
  s->ready = false;
  ++ring->let_go;
  pthread_cond_broadcast(&ring->changed);
  pthread_mutex_unlock(&ring->lock);
  return TR_OK;
}

static tr_status run_thread(void *context, size_t task) {
  tr_ring *ring = context;
  if (task != 0) {
    decode_until_done(ring);
    return TR_OK;
  }
  tr_status status = ring->taker(ring->context);
  pthread_mutex_lock(&ring->lock);
  ring->stopped = true;
  pthread_cond_broadcast(&ring->changed);
  pthread_mutex_unlock(&ring->lock);
  return status;
}

void tr_ring_set_reader(tr_ring *ring, tr_ring_read_fn read, void *context) {
  ring->read = read;
  ring->read_context = context;
}

tr_status tr_ring_run(tr_ring *ring, const tr_sample *samples, size_t count, tr_ring_fn taker, void *context) {
  ring->samples = samples;
  ring->count = count;
  ring->claimed = ring->let_go = 0;
  ring->stopped = false;
  ring->taker = taker;
  ring->context = context;
  for (size_t i = 0; i < ring->slot_count; ++i)
    ring->slots[i].ready = false;
  tr_pool *pool = tr_device_pool(ring->device);
  return tr_pool_run(pool, (size_t)tr_pool_threads(pool), run_thread, ring);
}
