/* The decoders behind datasets/image.c, one file a format. Internal to datasets/. */
#ifndef TR_DATASETS_IMAGE_CODECS_H
#define TR_DATASETS_IMAGE_CODECS_H

#include "host/totalrecall.h"

/* A file's pixels at 8 bits, as PIL has them after open() and before convert(). */
typedef struct tr_decoded {
  int h, w, components; /* 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha */
  uint8_t *pixels;      /* [h, w, components]; malloc'd */
} tr_decoded;

/* Each checks the whole of `data`; `name` stands in the error text. A file cut short is EFORMAT. */
tr_status tr_png_decode(const uint8_t *data, size_t bytes, const char *name, tr_decoded *out);
tr_status tr_png_size(const uint8_t *data, size_t bytes, const char *name, int *h, int *w);
tr_status tr_jpeg_decode(const uint8_t *data, size_t bytes, const char *name, tr_decoded *out);
tr_status tr_jpeg_size(const uint8_t *data, size_t bytes, const char *name, int *h, int *w);
tr_status tr_bmp_decode(const uint8_t *data, size_t bytes, const char *name, tr_decoded *out);
tr_status tr_bmp_size(const uint8_t *data, size_t bytes, const char *name, int *h, int *w);

/* Refuses empty and huge images before anything is allocated for them. */
tr_status tr_image_check_size(const char *name, int64_t h, int64_t w);
tr_status tr_image_no_memory(const char *name, int h, int w);

/* stb_image and stb_image_write (datasets/stb.c). NULL on failure; *error is then stb's short text, "outofmem" for memory. */
uint8_t *tr_stb_decode(const uint8_t *data, size_t bytes, int *h, int *w, int *components, const char **error);
uint16_t *tr_stb_decode_16(const uint8_t *data, size_t bytes, int *h, int *w, int *components, const char **error);
uint8_t *tr_stb_encode_png(const uint8_t *pixels, int h, int w, int components, size_t *bytes);
/* malloc'd; NULL when out of memory. */
uint8_t *tr_stb_encode_jpeg(const uint8_t *pixels, int h, int w, int components, int quality, size_t *bytes);

#endif
