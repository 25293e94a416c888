/* stb_image and stb_image_write, compiled here and nowhere else, and static: a program that links the library may have its own. */
#include "datasets/image_codecs.h"
#include <limits.h>

/* Most of stb stays unused. */
#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_ONLY_PNG
#ifndef TR_HAVE_LIBJPEG
#define STBI_ONLY_JPEG
#endif
#include <stb_image.h>
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO
#include <stb_image_write.h>

static bool too_long(size_t bytes, const char **error) {
  *error = "file of more than 2 GiB";
  return bytes > INT_MAX;
}

uint8_t *tr_stb_decode(const uint8_t *data, size_t bytes, int *h, int *w, int *components, const char **error) {
  if (too_long(bytes, error))
    return NULL;
  uint8_t *pixels = stbi_load_from_memory(data, (int)bytes, w, h, components, 0);
  *error = pixels ? NULL : stbi_failure_reason();
  return pixels;
}

uint16_t *tr_stb_decode_16(const uint8_t *data, size_t bytes, int *h, int *w, int *components, const char **error) {
  if (too_long(bytes, error))
    return NULL;
  uint16_t *pixels = stbi_load_16_from_memory(data, (int)bytes, w, h, components, 0);
  *error = pixels ? NULL : stbi_failure_reason();
  return pixels;
}

bool tr_stb_size(const uint8_t *data, size_t bytes, int *h, int *w, const char **error) {
  int components;
  if (too_long(bytes, error))
    return false;
  bool known = stbi_info_from_memory(data, (int)bytes, w, h, &components);
  *error = known ? NULL : stbi_failure_reason();
  return known;
}

uint8_t *tr_stb_encode_png(const uint8_t *pixels, int h, int w, int components, size_t *bytes) {
  int length = 0;
  uint8_t *png = stbi_write_png_to_mem(pixels, w * components, w, h, components, &length);
  *bytes = (size_t)length;
  return png;
}
