/* Where memory is short: of the ways to keep fewer training features the cheapest that fits and, where nothing does, what would. Runs are
 * planned and detectors fitted by the same rule and refused in the same words. */
#ifndef TR_HARNESS_ROOM_H
#define TR_HARNESS_ROOM_H

#include "host/harness/setting.h"

/* What a model is forecast to take. */
typedef struct tr_room_needs {
  size_t peak_bytes;    /* of the process, in all phases */
  bool again;           /* tr_method_needs */
  size_t file_bytes;    /* likewise */
  double pixels, macs;  /* of a training image: decoded, and multiply-adds of the backbone */
  int image_h, image_w; /* after the resize */
} tr_room_needs;

/* One model whose memory is in question. */
typedef struct tr_room {
  const tr_device *device;
  const tr_setting *setting; /* as it is; one of its variants' */
  size_t train_images;
  /* Forecasts the model kept so, with another setting (`setting` itself for as it is) and another number of images. EINVAL: it cannot be. */
  tr_status (*forecast)(void *context, const tr_setting *setting, size_t train_images, tr_keep keep, tr_room_needs *out);
  void *context;
  double *file_rate; /* bytes a second of a temporary file; measured where it is 0 and matters */
} tr_room;

/* Of the ways to keep less, the cheapest that takes `limit` bytes at most, or else the one that takes least. */
tr_status tr_room_keep_less(const tr_room *room, size_t limit, tr_keep *out);

/* Of a model of one variant. ENOMEM, or what forecasting failed with: what the model takes at least, the limit that would do and, of the number of images and the
 * settings that decide how much it takes, each that would fit under `limit` if it alone were another. */
tr_status tr_room_refuse(const tr_room *room, size_t limit);

/* What is kept where that is not all features in memory; 0: it is. */
size_t tr_room_keep_text(const tr_method_needs *needs, char *out, size_t size);

#endif
