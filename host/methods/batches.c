/* Batches: a list of open ones under one lock; buffers are used again. */
#include "host/methods/batches.h"
#include "host/base/status.h"
#include <pthread.h>
#include <stdlib.h>

/* Positions that a lane works on at a time: some milliseconds. A device with one lane takes all. */
enum { BLOCK = 64 };

typedef struct open_batch {
  tr_batch batch;
  size_t written, begun, done; /* items; positions whose work has begun, and is done */
  struct open_batch *next;     /* higher items, or another spare one */
} open_batch;

struct tr_batches {
  tr_batches_options options;
  size_t block, next_first; /* first item of the batch that is next in order */
  open_batch *open, *spare;
  double seconds;
  pthread_mutex_t lock;
};

tr_status tr_batches_create(const tr_batches_options *options, tr_batches **out) {
  *out = NULL;
  tr_batches *b = calloc(1, sizeof *b);
  if (!b)
    return tr_fail(TR_ENOMEM, "gathering images: out of memory");
  b->options = *options;
  b->block = tr_device_lanes(options->device) > 1 ? BLOCK : options->positions;
  pthread_mutex_init(&b->lock, NULL);
  *out = b;
  return TR_OK;
}

static void release_list(const tr_batches *b, open_batch *list) {
  while (list) {
    open_batch *next = list->next;
    tr_device_free(b->options.device, list->batch.rows);
    tr_device_free(b->options.device, list->batch.results);
    free(list->batch.notes);
    free(list);
    list = next;
  }
}

void tr_batches_destroy(tr_batches *b) {
  if (!b)
    return;
  release_list(b, b->open);
  release_list(b, b->spare);
  pthread_mutex_destroy(&b->lock);
  free(b);
}

size_t tr_batches_capacity(const tr_batches *b) {
  return b->options.capacity;
}

static size_t row_bytes(const tr_batches_options *o) {
  return o->positions * o->capacity * o->width * sizeof(float);
}

static size_t result_bytes(const tr_batches_options *o) {
  return o->results ? o->positions * o->capacity * sizeof(float) : 0;
}

/* One that is being filled, and as many as lanes may have begun beyond it. */
size_t tr_batches_bytes(const tr_batches_options *o) {
  size_t lanes = (size_t)tr_device_lanes(o->device), ahead = (lanes + o->capacity - 1) / o->capacity;
  size_t all = (o->items - 1) / o->capacity + 1, open = lanes > 1 ? 1 + ahead : 1;
  if (o->capacity == 1)
    open = lanes;
  return (row_bytes(o) + result_bytes(o)) * (open < all ? open : all);
}

static tr_status make_batch(const tr_batches *b, open_batch **out) {
  const tr_batches_options *o = &b->options;
  open_batch *made = calloc(1, sizeof *made);
  if (!made)
    return tr_fail(TR_ENOMEM, "gathering images: out of memory");
  made->batch.notes = calloc(o->capacity, o->note_bytes + 1);
  tr_status status = made->batch.notes ? TR_OK : tr_fail(TR_ENOMEM, "gathering images: out of memory");
  if (status == TR_OK)
    status = tr_device_alloc(o->device, row_bytes(o), (void **)&made->batch.rows);
  if (status == TR_OK)
    status = tr_device_alloc(o->device, result_bytes(o), (void **)&made->batch.results);
  if (status != TR_OK) {
    release_list(b, made);
    return tr_fail_context(status, "a batch of %zu images", o->capacity);
  }
  *out = made;
  return TR_OK;
}

/* The open batch of an item; made where there is none. Under the lock. */
static tr_status find_batch(tr_batches *b, size_t item, open_batch **out) {
  size_t first = item - item % b->options.capacity;
  open_batch **at = &b->open;
  while (*at && (*at)->batch.first < first)
    at = &(*at)->next;
  if (!*at || (*at)->batch.first > first) {
    open_batch *made = b->spare;
    if (made)
      b->spare = made->next;
    else
      TR_TRY(make_batch(b, &made));
    size_t left = b->options.items - first;
    made->batch.first = first;
    made->batch.count = left < b->options.capacity ? left : b->options.capacity;
    made->written = made->begun = made->done = 0;
    made->next = *at;
    *at = made;
  }
  *out = *at;
  return TR_OK;
}

tr_status tr_batches_room(tr_batches *b, size_t first, size_t *count, float **at, void **notes) {
  open_batch *open = NULL;
  pthread_mutex_lock(&b->lock);
  tr_status status = find_batch(b, first, &open);
  pthread_mutex_unlock(&b->lock);
  if (status != TR_OK)
    return status;
  size_t place = first - open->batch.first, left = open->batch.count - place;
  *count = *count < left ? *count : left;
  *at = open->batch.rows + place * b->options.width;
  *notes = (char *)open->batch.notes + place * b->options.note_bytes;
  return TR_OK;
}

/* A complete batch with positions that nobody has begun; NULL: none. Under the lock. */
static open_batch *find_work(const tr_batches *b) {
  for (open_batch *o = b->open; o; o = o->next)
    if (o->written == o->batch.count && o->begun < b->options.positions &&
        (!b->options.in_order || o->batch.first == b->next_first))
      return o;
  return NULL;
}

/* All positions are done: the batch becomes a spare one. Under the lock, which is left for the end. */
static tr_status end_batch(tr_batches *b, open_batch *o) {
  tr_status status = TR_OK;
  if (b->options.end) {
    pthread_mutex_unlock(&b->lock);
    status = b->options.end(b->options.context, &o->batch);
    pthread_mutex_lock(&b->lock);
  }
  open_batch **at = &b->open;
  while (*at != o)
    at = &(*at)->next;
  *at = o->next;
  o->next = b->spare;
  b->spare = o;
  b->next_first = o->batch.first + b->options.capacity;
  return status;
}

/* `lanes`: how many of them a call of `work` occupies. */
static tr_status work_on(tr_batches *b, size_t block, int lanes) {
  tr_status status = TR_OK;
  pthread_mutex_lock(&b->lock);
  for (open_batch *o; status == TR_OK && (o = find_work(b));) {
    size_t first = o->begun, left = b->options.positions - first, count = left < block ? left : block;
    o->begun += count;
    pthread_mutex_unlock(&b->lock);
    double start = 0, end = 0;
    status = tr_device_clock(b->options.device, &start);
    if (status == TR_OK)
      status = b->options.work(b->options.context, &o->batch, first, count);
    if (status == TR_OK)
      status = tr_device_clock(b->options.device, &end);
    pthread_mutex_lock(&b->lock);
    if (status == TR_OK)
      b->seconds += (end - start) * lanes;
    o->done += count;
    if (status == TR_OK && o->done == b->options.positions)
      status = end_batch(b, o);
  }
  pthread_mutex_unlock(&b->lock);
  return status;
}

tr_status tr_batches_written(tr_batches *b, size_t first, size_t count) {
  open_batch *open = NULL;
  pthread_mutex_lock(&b->lock);
  tr_status status = find_batch(b, first, &open);
  if (status == TR_OK)
    open->written += count;
  pthread_mutex_unlock(&b->lock);
  return status == TR_OK ? work_on(b, b->block, 1) : status;
}

tr_status tr_batches_finish(tr_batches *b) {
  for (open_batch *o = b->open; o; o = o->next) {
    if (b->options.items == SIZE_MAX)
      o->batch.count = o->written;
    if (o->written < o->batch.count)
      return tr_fail(TR_EINVAL, "of images %zu to %zu only %zu were given", o->batch.first, o->batch.first + o->batch.count,
                     o->written);
  }
  return work_on(b, b->options.positions, tr_device_lanes(b->options.device));
}

double tr_batches_seconds(tr_batches *b) {
  pthread_mutex_lock(&b->lock);
  double seconds = b->seconds;
  pthread_mutex_unlock(&b->lock);
  return seconds;
}
