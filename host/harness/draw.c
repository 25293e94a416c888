/* The draw: a prefix of one permutation. */
#include "host/harness/draw.h"
#include "host/base/rng.h"
#include "host/base/status.h"
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

size_t tr_draw_count(const tr_setting *setting, size_t train_images) {
  size_t wanted = (size_t)setting->train_images;
  return wanted && wanted < train_images ? wanted : train_images;
}

tr_status tr_draw_images(const tr_setting *setting, const char *class_name, size_t train_images, uint8_t *drawn) {
  size_t count = tr_draw_count(setting, train_images);
  memset(drawn, count == train_images, train_images);
  if (count == train_images)
    return TR_OK;
  uint64_t *order = malloc(train_images * sizeof *order);
  if (!order)
    return tr_fail(TR_ENOMEM, "drawing %zu of %zu training images: out of memory", count, train_images);
  tr_rng rng = tr_rng_make(setting->seed, TR_RNG_LOW_SHOT, XXH64(class_name, strlen(class_name), 0));
  tr_status status = tr_rng_sample(&rng, train_images, train_images, order);
  for (size_t i = 0; status == TR_OK && i < count; ++i)
    drawn[order[i]] = 1;
  free(order);
  return status;
}
