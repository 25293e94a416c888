/* resize: Pillow's antialiased bilinear filter, centre crop, normalisation; from u8.
 *
 * Source: Pillow src/libImaging/Resample.c (triangle filter, support scaled by the reduction, pixel centres at +0.5, weights
 * normalised, fixed point with 22 fractional bits, rounding to 8 bits after the horizontal and after the vertical pass);
 * torchvision Resize(int), CenterCrop, ToTensor, Normalize; official src/patchcore/datasets/mvtec.py.
 * Equal to PIL in every byte of the u8 result. Cropped rows and columns are not computed.
 *
 * The horizontal pass comes first, always, as in every Pillow up to 12 and so in the authors' runs. Pillow 13 begins with the
 * vertical one where the height shrinks by more than twice as many pixels as the width, which moves some values by one; no image of
 * MVTec AD, MTD or mSTC is of such a shape.
 */
#ifndef TR_KERNELS_RESIZE_H
#define TR_KERNELS_RESIZE_H

#include "kernels/device.h"

/* The largest image that is decoded or resized. Far above any photograph; keeps offsets with three channels below 2^31. */
enum { TR_IMAGE_MAX_PIXELS = 1 << 28 };

/* A part of an image. */
typedef struct tr_window {
  int top, left, h, w; /* h 0: no part, the whole */
} tr_window;

typedef struct tr_image_spec {
  int resize;  /* shorter side after the resize; the longer one is int(resize * long / short) as torchvision has it. 0 = none */
  int crop;    /* side of the centre crop; 0 = none */
  bool squash; /* resize to resize x resize, aspect not kept (mSTC) */
  tr_window window; /* of the resized and cropped image, all that is made: the same bytes as there */
} tr_image_spec;

typedef struct tr_resize_args {
  const uint8_t *src;         /* [src_h, src_w, channels], interleaved */
  int src_h, src_w, channels; /* channels 1 or 3 */
  tr_image_spec spec;
  const float *mean, *std; /* host, [channels], of values in [0,1]; NULL = 0 and 1 */
  uint8_t *dst_u8;         /* [out_h, out_w, channels] or NULL */
  float *dst;              /* [out_h, out_w, channels] = (u8 / 255 - mean) / std, or NULL */
  void *scratch;           /* tr_resize_scratch() bytes */
} tr_resize_args;

/* Size of the result. EINVAL when the crop is larger than the resized image, or the window not inside it (named with both sizes). */
tr_status tr_resize_shape(const tr_image_spec *spec, int src_h, int src_w, int *out_h, int *out_w);
size_t tr_resize_scratch(const tr_image_spec *spec, int src_h, int src_w, int channels);
tr_status tr_resize(tr_device *device, const tr_resize_args *args);

#endif
