/* Pictures of anomaly maps: image, heat map over it, mask, side by side. */
#ifndef TR_HARNESS_PICTURE_H
#define TR_HARNESS_PICTURE_H

#include "host/totalrecall.h"

/* What the colours mean, shared by all images of a class so that they can be compared: up to `calm` the image alone shows, from
 * `alarm` on the hottest colour. */
typedef struct tr_picture_scale {
  float calm, alarm;
} tr_picture_scale;

/* peaks: the largest map value of each image. calm: three quarters of what nine of ten images without a defect stay below; alarm: the
 * median of the peaks above that (a few glaring defects do not pale the others). Without good images: a third of the median
 * peak, and the median. */
tr_status tr_picture_scale_of(const float *peaks, const uint8_t *anomalous, size_t n, tr_picture_scale *out);

/* "<folder>/broken_large/000.png" of the image named "broken_large/000.jpg"; malloc'd, NULL when out of memory. */
char *tr_picture_path(const char *folder, const char *name);

/* image: [h, w, 3]; map: [h, w]; mask: [h, w] in [0, 1], or NULL for none. */
tr_status tr_picture_write(const char *path, const uint8_t *image, const float *map, const float *mask, int h, int w,
                           tr_picture_scale scale);

/* image and heat map alone, where no truth is known. */
tr_status tr_picture_write_overlay(const char *path, const uint8_t *image, const float *map, int h, int w,
                                   tr_picture_scale scale);

/* Pixels [top, bottom) x [left, right), which may go beyond the image: its frame is drawn into image [h, w, 3], as far as it is there. */
typedef struct tr_picture_box {
  int top, left, bottom, right;
} tr_picture_box;
void tr_picture_draw_box(uint8_t *image, int h, int w, tr_picture_box box);

#endif
