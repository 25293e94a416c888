/* Image files: PNG (8/16 bit, grey, palette, alpha), JPEG, BMP by stb_image; PNG writing by stb_image_write.
 * RGB as PIL's convert("RGB") gives it: grey is copied to three channels, alpha is dropped (not blended), 16-bit grey as PIL
 * converts mode I;16 (clipped to 255), palettes looked up. */
#ifndef TR_DATASETS_IMAGE_H
#define TR_DATASETS_IMAGE_H

#include "host/totalrecall.h"

typedef struct tr_image {
  int h, w, channels; /* 1 or 3 */
  uint8_t *pixels;    /* [h, w, channels]; malloc'd */
} tr_image;

/* channels 3: RGB; 1: grey as PIL's convert("L"). Errors name the file; a truncated file is an error, never half an image. */
tr_status tr_image_read(const char *path, int channels, tr_image *out);
tr_status tr_image_decode(const void *data, size_t bytes, const char *name, int channels, tr_image *out);
/* Size from the header, without decoding. */
tr_status tr_image_size(const char *path, int *h, int *w);
void tr_image_free(tr_image *image);
/* PNG, channels 1 or 3; written whole or not at all. */
tr_status tr_image_write_png(const char *path, const uint8_t *pixels, int h, int w, int channels);

#endif
