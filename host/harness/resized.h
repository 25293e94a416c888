/* One decoded image through the resize operator and back: for masks and pictures, which the host works on. */
#ifndef TR_HARNESS_RESIZED_H
#define TR_HARNESS_RESIZED_H

#include "datasets/image.h"
#include "kernels/resize.h"

/* out: [out_h, out_w, image->channels] of tr_resize_shape(). */
tr_status tr_image_resized(tr_device *device, const tr_image_spec *spec, const tr_image *image, uint8_t *out);

#endif
