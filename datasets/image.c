/* Image files: tells the format, decodes, converts to grey or RGB as PIL does, writes PNG. */
#include "datasets/image.h"
#include "datasets/image_codecs.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include "kernels/resize.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct image_format {
  size_t magic_bytes;
  const char *magic;
  tr_status (*decode)(const uint8_t *data, size_t bytes, const char *name, tr_decoded *out);
  tr_status (*size)(const uint8_t *data, size_t bytes, const char *name, int *h, int *w);
} image_format;

static const image_format formats[] = {
    {8, "\x89PNG\r\n\x1a\n", tr_png_decode, tr_png_size},
    {3, "\xff\xd8\xff", tr_jpeg_decode, tr_jpeg_size},
    {2, "BM", tr_bmp_decode, tr_bmp_size},
};

static tr_status find_format(const uint8_t *data, size_t bytes, const char *name, const image_format **out) {
  if (bytes == 0)
    return tr_fail(TR_EFORMAT, "%s: the file is empty", name);
  for (size_t i = 0; i < sizeof formats / sizeof *formats; ++i)
    if (bytes >= formats[i].magic_bytes && memcmp(data, formats[i].magic, formats[i].magic_bytes) == 0) {
      *out = &formats[i];
      return TR_OK;
    }
  return tr_fail(TR_EFORMAT, "%s: expected a PNG, JPEG or BMP image, found a file that begins like none of them", name);
}

tr_status tr_image_check_size(const char *name, int64_t h, int64_t w) {
  if (h >= 1 && w >= 1 && h <= TR_IMAGE_MAX_PIXELS && w <= TR_IMAGE_MAX_PIXELS && h * w <= TR_IMAGE_MAX_PIXELS)
    return TR_OK;
  return tr_fail(TR_EFORMAT, "%s: expected an image of 1 to %d pixels, found %lld x %lld (width x height)", name,
                 (int)TR_IMAGE_MAX_PIXELS, (long long)w, (long long)h);
}

tr_status tr_image_no_memory(const char *name, int h, int w) {
  return tr_fail(TR_ENOMEM, "%s: decoding %d x %d pixels (width x height): out of memory", name, w, h);
}

/* PIL's L24: ITU-R 601-2 luma in 16 fractional bits, rounded. */
static uint8_t luma(const uint8_t *rgb) {
  return (uint8_t)((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
}

static void to_rgb(const uint8_t *from, int components, size_t pixels, uint8_t *to) {
  size_t green = components >= 3 ? 1 : 0, blue = components >= 3 ? 2 : 0;
  for (size_t i = 0; i < pixels; ++i, from += components) {
    to[3 * i] = from[0];
    to[3 * i + 1] = from[green];
    to[3 * i + 2] = from[blue];
  }
}

static void to_grey(const uint8_t *from, int components, size_t pixels, uint8_t *to) {
  for (size_t i = 0; i < pixels; ++i, from += components)
    to[i] = components >= 3 ? luma(from) : from[0];
}

/* Takes over decoded->pixels. */
static tr_status convert(tr_decoded *decoded, const char *name, int channels, tr_image *out) {
  uint8_t *pixels = decoded->pixels;
  if (decoded->components != channels) {
    size_t count = (size_t)decoded->h * (size_t)decoded->w;
    pixels = malloc(count * (size_t)channels);
    if (pixels && channels == 3)
      to_rgb(decoded->pixels, decoded->components, count, pixels);
    else if (pixels)
      to_grey(decoded->pixels, decoded->components, count, pixels);
    free(decoded->pixels);
    if (!pixels)
      return tr_image_no_memory(name, decoded->h, decoded->w);
  }
  *out = (tr_image){.h = decoded->h, .w = decoded->w, .channels = channels, .pixels = pixels};
  return TR_OK;
}

tr_status tr_image_decode(const void *data, size_t bytes, const char *name, int channels, tr_image *out) {
  const image_format *format;
  tr_decoded decoded = {.pixels = NULL};
  *out = (tr_image){.pixels = NULL};
  if (channels != 1 && channels != 3)
    return tr_fail(TR_EINVAL, "%s: expected 1 or 3 channels to decode to, found %d", name, channels);
  TR_TRY(find_format(data, bytes, name, &format));
  TR_TRY(format->decode(data, bytes, name, &decoded));
  return convert(&decoded, name, channels, out);
}

tr_status tr_image_read(const char *path, int channels, tr_image *out) {
  char *data;
  size_t bytes;
  *out = (tr_image){.pixels = NULL};
  TR_TRY(tr_file_read(path, &data, &bytes)); /* not mapped: a file that is cut short meanwhile is an error, not a fault */
  tr_status status = tr_image_decode((const uint8_t *)data, bytes, path, channels, out);
  free(data);
  return status;
}

tr_status tr_image_size(const char *path, int *h, int *w) {
  tr_mapping mapping;
  const image_format *format;
  TR_TRY(tr_file_map(path, &mapping));
  tr_status status = find_format(mapping.data, mapping.bytes, path, &format);
  if (status == TR_OK)
    status = format->size(mapping.data, mapping.bytes, path, h, w);
  tr_file_unmap(&mapping);
  return status;
}

void tr_image_free(tr_image *image) {
  free(image->pixels);
  *image = (tr_image){.pixels = NULL};
}

static tr_status check_pixels(const char *doing, int h, int w, int channels) {
  if ((channels != 1 && channels != 3) || h < 1 || w < 1 || (int64_t)h * w > TR_IMAGE_MAX_PIXELS)
    return tr_fail(TR_EINVAL, "%s: expected an image of 1 to %d pixels and 1 or 3 channels, found %d x %d x %d", doing,
                   (int)TR_IMAGE_MAX_PIXELS, w, h, channels);
  return TR_OK;
}

tr_status tr_image_write_png(const char *path, const uint8_t *pixels, int h, int w, int channels) {
  tr_status status = check_pixels("writing a PNG", h, w, channels);
  if (status != TR_OK)
    return tr_fail_context(status, "%s", path);
  size_t bytes;
  uint8_t *png = tr_stb_encode_png(pixels, h, w, channels, &bytes);
  if (!png)
    return tr_fail(TR_ENOMEM, "writing %s: out of memory", path);
  status = tr_file_write(path, png, bytes);
  free(png);
  return status;
}

tr_status tr_image_encode_jpeg(const uint8_t *pixels, int h, int w, int channels, int quality, uint8_t **data, size_t *bytes) {
  *data = NULL;
  TR_TRY(check_pixels("making a JPEG", h, w, channels));
  if (quality < 1 || quality > 100)
    return tr_fail(TR_EINVAL, "making a JPEG: expected a quality from 1 to 100, found %d", quality);
  *data = tr_stb_encode_jpeg(pixels, h, w, channels, quality, bytes);
  return *data ? TR_OK : tr_fail(TR_ENOMEM, "making a JPEG of %d x %d pixels: out of memory", w, h);
}
