/* stb_image and stb_image_write, compiled here and nowhere else, and static: a program that links the library may have its own. */
#include "datasets/image_codecs.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* stb takes two reserved deflate distances for 0 and copies bytes that nothing has written yet. Cleared memory makes even such
 * files give the same pixels every time; large blocks come cleared from the system anyway. */
static void *cleared_realloc(void *memory, size_t old_bytes, size_t bytes) {
  uint8_t *out = realloc(memory, bytes);
  if (out && bytes > old_bytes)
    memset(out + old_bytes, 0, bytes - old_bytes);
  return out;
}

/* Most of stb stays unused. */
#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_ONLY_PNG
#define STBI_MALLOC(bytes)                           calloc(1, bytes)
#define STBI_REALLOC_SIZED(memory, old_bytes, bytes) cleared_realloc(memory, old_bytes, bytes)
#define STBI_FREE(memory)                            free(memory)
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

uint8_t *tr_stb_encode_png(const uint8_t *pixels, int h, int w, int components, size_t *bytes) {
  int length = 0, row_bytes = w * components; /* 0 would be stb's "unknown" */
  uint8_t *png = row_bytes > 0 ? stbi_write_png_to_mem(pixels, row_bytes, w, h, components, &length) : NULL;
  *bytes = (size_t)length;
  return png;
}

typedef struct growing {
  uint8_t *data;
  size_t bytes, capacity;
  bool failed;
} growing;

static void append(void *context, void *data, int bytes) {
  growing *out = context;
  size_t needed = out->bytes + (size_t)bytes;
  if (!out->failed && needed > out->capacity) {
    size_t capacity = 2 * needed;
    uint8_t *larger = realloc(out->data, capacity);
    out->failed = !larger;
    if (larger) {
      out->data = larger;
      out->capacity = capacity;
    }
  }
  if (out->failed)
    return;
  memcpy(out->data + out->bytes, data, (size_t)bytes);
  out->bytes = needed;
}

uint8_t *tr_stb_encode_jpeg(const uint8_t *pixels, int h, int w, int components, int quality, size_t *bytes) {
  growing out = {0};
  if (!stbi_write_jpg_to_func(append, &out, w, h, components, pixels, quality) || out.failed) {
    free(out.data);
    out = (growing){0};
  }
  *bytes = out.bytes;
  return out.data;
}
