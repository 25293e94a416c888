/* Images that lanes hand over one by one, gathered into batches that are worked off position by position: for methods whose work on a
 * position reads a lot of memory, once for all images of a batch.
 *
 * A batch holds, for every position of the grid, the vectors of its images one after the other. Whoever completes a batch starts work
 * on it, and every lane that comes by with another image helps, block of positions by block, until nothing is left to begin. No lane
 * waits for another, so there are no deadlocks whatever the order of images; a lane that runs ahead makes another batch. */
#ifndef TR_METHODS_BATCHES_H
#define TR_METHODS_BATCHES_H

#include "kernels/device.h"

typedef struct tr_batch {
  size_t first, count; /* items [first, first + count) */
  float *rows;         /* device, [positions, capacity, width] */
  float *results;      /* device, [capacity, positions]; NULL unless asked for */
  void *notes;         /* host, [capacity] notes of note_bytes */
} tr_batch;

typedef struct tr_batches_options {
  tr_device *device;
  size_t positions, width;
  size_t capacity;   /* items of a batch */
  size_t items;      /* in all; SIZE_MAX: not known, tr_batches_finish() closes the last batch */
  bool in_order;     /* batches are worked off in the order of their items */
  bool results;      /* each batch has them */
  size_t note_bytes; /* kept for each item */
  /* Works on positions [first, first + count) of a batch; and when all of them are done, at the end. Either from any lane. */
  tr_status (*work)(void *context, const tr_batch *batch, size_t first, size_t count);
  tr_status (*end)(void *context, const tr_batch *batch); /* may be NULL */
  void *context;
} tr_batches_options;

typedef struct tr_batches tr_batches;
tr_status tr_batches_create(const tr_batches_options *options, tr_batches **out);
void tr_batches_destroy(tr_batches *batches);
size_t tr_batches_capacity(const tr_batches *batches);
/* Device bytes of the batches that are open at once, as a rule. */
size_t tr_batches_bytes(const tr_batches_options *options);

/* Room for items [first, first + *count), each item asked for once: `at` is the first's vector at position 0 (the next item's is `width`
 * floats further, the next position's capacity * width), notes its notes. *count becomes less where the batch ends. */
tr_status tr_batches_room(tr_batches *batches, size_t first, size_t *count, float **at, void **notes);
/* The vectors of items [first, first + count), of one batch, are written. Works on what is complete. */
tr_status tr_batches_written(tr_batches *batches, size_t first, size_t count);
/* All items are written: works on what is left. Not from a lane. */
tr_status tr_batches_finish(tr_batches *batches);
/* Seconds in `work`, all lanes together. */
double tr_batches_seconds(tr_batches *batches);

#endif
