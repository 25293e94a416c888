/* Writing videos without compression: AVI 1.0 (RIFF), one stream of blue-green-red pictures. Every player reads them, and decoding gives
 * the pictures back to the bit. Internal to datasets/. Source: Microsoft's "AVI RIFF File Reference". */
#ifndef TR_DATASETS_AVI_H
#define TR_DATASETS_AVI_H

#include "host/totalrecall.h"

typedef struct tr_avi {
  int h, w, frames, frames_per_second;
  tr_status (*picture)(void *context, int frame, uint8_t *rgb); /* [h, w, 3]; called in order */
  void *context;
} tr_avi;

/* The file appears when it is whole. EINVAL: it would be larger than 1 GB. */
tr_status tr_avi_write(const char *path, const tr_avi *avi);

#endif
