/* Image files: PNG (1 to 16 bits, grey, colour, palette, alpha, interlaced) by stb_image, JPEG by libjpeg-turbo (builds
 * without it read none), BMP without compression; PNG writing by stb_image_write.
 *
 * Pixels are what PIL (Pillow 13) gives for open(path).convert("RGB") or convert("L"): grey is copied to three channels, alpha is
 * dropped (not blended), palettes are looked up (black beyond their end), 16-bit grey is clipped at 255 (PIL's mode I;16), 16-bit
 * colour and 16-bit grey with alpha keep their high byte, CMYK is taken as inverted (Adobe), EXIF orientation is not applied.
 */
#ifndef TR_DATASETS_IMAGE_H
#define TR_DATASETS_IMAGE_H

#include "host/totalrecall.h"

typedef struct tr_image {
  int h, w, channels; /* 1 or 3 */
  uint8_t *pixels;    /* [h, w, channels]; malloc'd */
} tr_image;

/* channels 3: RGB; 1: grey as PIL's convert("L"), (19595 R + 38470 G + 7471 B + 2^15) >> 16. `name` stands for the file in error
 * texts. EFORMAT: no such format, damaged or cut short (never half an image), more than TR_IMAGE_MAX_PIXELS pixels. */
tr_status tr_image_read(const char *path, int channels, tr_image *out);
tr_status tr_image_decode(const void *data, size_t bytes, const char *name, int channels, tr_image *out);
/* Size from the header, without decoding. */
tr_status tr_image_size(const char *path, int *h, int *w);
void tr_image_free(tr_image *image);
/* PNG, channels 1 or 3; the file is written whole or not at all. */
tr_status tr_image_write_png(const char *path, const uint8_t *pixels, int h, int w, int channels);

/* JPEG by stb_image_write, channels 1 or 3, quality 1 to 100: small pictures for a page. malloc'd. */
tr_status tr_image_encode_jpeg(const uint8_t *pixels, int h, int w, int channels, int quality, uint8_t **data, size_t *bytes);

/* What decodes JPEG, e.g. "libjpeg-turbo 2.1.5"; NULL in builds without it. */
const char *tr_image_jpeg_decoder(void);

#endif
