/* PNG: the chunks are checked here (nothing missing, nothing damaged, size plausible), the pixels come from stb_image, which
 * itself checks neither checksums nor palette indices. */
#include "datasets/image_codecs.h"
#include "host/base/status.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
  SIGNATURE_BYTES = 8,
  CHUNK_BYTES = 12, /* length, type, checksum */
  IHDR_BYTES = 13,
  COLOUR_GREY = 0,
  COLOUR_PALETTE = 3,
  PALETTE_BYTES = 3 * 256,
  DEFLATE_RATIO = 1032, /* deflate cannot pack more bytes into one */
};

typedef struct png_layout {
  int h, w, depth, colour;
  size_t palette_at, palette_bytes; /* the PLTE chunk's data */
  size_t packed_bytes;              /* data of all IDAT chunks */
} png_layout;

static uint32_t big_endian(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* CRC-32 (ISO 3309, PNG specification annex D), eight bytes a step: table [k] is the effect of a byte k bytes further on. */
static uint32_t crc_tables[8][256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void crc_fill(void) {
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit)
      crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    crc_tables[0][byte] = crc;
  }
  for (int k = 1; k < 8; ++k)
    for (uint32_t byte = 0; byte < 256; ++byte)
      crc_tables[k][byte] = crc_tables[k - 1][byte] >> 8 ^ crc_tables[0][crc_tables[k - 1][byte] & 255];
}

static uint32_t crc_32(const uint8_t *p, size_t bytes) {
  pthread_once(&crc_once, crc_fill);
  uint32_t crc = 0xffffffffu;
  for (; bytes >= 8; bytes -= 8, p += 8) {
    crc ^= p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    crc = crc_tables[7][crc & 255] ^ crc_tables[6][crc >> 8 & 255] ^ crc_tables[5][crc >> 16 & 255] ^ crc_tables[4][crc >> 24] ^
          crc_tables[3][p[4]] ^ crc_tables[2][p[5]] ^ crc_tables[1][p[6]] ^ crc_tables[0][p[7]];
  }
  for (; bytes > 0; --bytes, ++p)
    crc = crc >> 8 ^ crc_tables[0][(crc ^ *p) & 255];
  return ~crc;
}

/* Samples of a pixel; 0 when colour type and depth do not go together. */
static int samples(int colour, int depth) {
  static const int count[7] = {1, 0, 3, 1, 2, 0, 4};
  bool deep = depth == 8 || depth == 16, shallow = depth == 1 || depth == 2 || depth == 4;
  if (colour > 6 || !(deep || (shallow && (colour == COLOUR_GREY || colour == COLOUR_PALETTE))))
    return 0;
  return colour == COLOUR_PALETTE && depth == 16 ? 0 : count[colour];
}

/* Checks the chunk at `at`: within the file, and if critical (its type's first letter is a capital) known and undamaged. A damaged
 * comment does not matter. */
static tr_status check_chunk(const uint8_t *data, size_t bytes, size_t at, const char *name) {
  if (bytes - at < CHUNK_BYTES)
    return tr_fail(TR_EFORMAT, "%s: the PNG is cut short: it ends after %zu bytes without its end mark", name, bytes);
  size_t length = big_endian(data + at);
  const uint8_t *type = data + at + 4;
  for (int i = 0; i < 4; ++i)
    if ((type[i] | 32) < 'a' || (type[i] | 32) > 'z')
      return tr_fail(TR_EFORMAT, "%s: the PNG is damaged: no chunk begins at byte %zu", name, at);
  if (length > bytes - at - CHUNK_BYTES)
    return tr_fail(TR_EFORMAT, "%s: the PNG is cut short: chunk %.4s at byte %zu needs %zu bytes, the file has %zu more", name,
                   (const char *)type, at, length + CHUNK_BYTES, bytes - at);
  if (type[0] & 32)
    return TR_OK;
  if (memcmp(type, "IHDR", 4) != 0 && memcmp(type, "PLTE", 4) != 0 && memcmp(type, "IDAT", 4) != 0 &&
      memcmp(type, "IEND", 4) != 0)
    return tr_fail(TR_EFORMAT, "%s: the PNG has a chunk %.4s, which PNG does not know", name, (const char *)type);
  if (crc_32(type, length + 4) != big_endian(type + 4 + length))
    return tr_fail(TR_EFORMAT, "%s: the PNG is damaged: chunk %.4s at byte %zu does not match its checksum", name,
                   (const char *)type, at);
  return TR_OK;
}

static tr_status read_header(const uint8_t *data, size_t bytes, const char *name, png_layout *out) {
  const uint8_t *header = data + SIGNATURE_BYTES + 8;
  TR_TRY(check_chunk(data, bytes, SIGNATURE_BYTES, name));
  if (memcmp(header - 4, "IHDR", 4) != 0 || big_endian(header - 8) != IHDR_BYTES)
    return tr_fail(TR_EFORMAT, "%s: the PNG does not begin with a header of %d bytes", name, IHDR_BYTES);
  *out = (png_layout){.depth = header[8], .colour = header[9]};
  if (samples(out->colour, out->depth) == 0)
    return tr_fail(TR_EFORMAT, "%s: the PNG has colour type %d at %d bits, which PNG does not know", name, out->colour,
                   out->depth);
  TR_TRY(tr_image_check_size(name, big_endian(header + 4), big_endian(header)));
  out->w = (int)big_endian(header);
  out->h = (int)big_endian(header + 4);
  return TR_OK;
}

/* Walks all chunks up to the end mark. */
static tr_status read_layout(const uint8_t *data, size_t bytes, const char *name, png_layout *out) {
  TR_TRY(read_header(data, bytes, name, out));
  for (size_t at = SIGNATURE_BYTES + CHUNK_BYTES + IHDR_BYTES;;) {
    TR_TRY(check_chunk(data, bytes, at, name));
    size_t length = big_endian(data + at);
    const char *type = (const char *)data + at + 4;
    if (memcmp(type, "IEND", 4) == 0)
      break;
    if (memcmp(type, "IDAT", 4) == 0)
      out->packed_bytes += length;
    if (memcmp(type, "PLTE", 4) == 0) {
      if (out->palette_at || length > PALETTE_BYTES || length % 3 != 0)
        return tr_fail(TR_EFORMAT, "%s: the PNG has a second palette or one of %zu bytes", name, length);
      out->palette_at = at + 8;
      out->palette_bytes = length;
    }
    at += length + CHUNK_BYTES;
  }
  int64_t bits = (int64_t)out->h * out->w * samples(out->colour, out->depth) * out->depth;
  if ((uint64_t)bits / 8 > (uint64_t)out->packed_bytes * DEFLATE_RATIO)
    return tr_fail(TR_EFORMAT, "%s: the PNG is cut short: %zu bytes of packed data cannot hold %d x %d pixels", name,
                   out->packed_bytes, out->w, out->h);
  return TR_OK;
}

/* A copy of the file in which the palette has 256 colours, black beyond its own: what PIL gives for an index outside the palette,
 * where stb_image would read what happens to be on its stack. */
static uint8_t *with_full_palette(const uint8_t *data, size_t bytes, const png_layout *layout, size_t *copy_bytes) {
  size_t missing = PALETTE_BYTES - layout->palette_bytes, end = layout->palette_at + layout->palette_bytes;
  uint8_t *copy = malloc(bytes + missing);
  if (!copy)
    return NULL;
  memcpy(copy, data, end);
  memset(copy + end, 0, missing);
  memcpy(copy + end + missing, data + end, bytes - end);
  copy[layout->palette_at - 6] = PALETTE_BYTES >> 8; /* the low half of the length */
  copy[layout->palette_at - 5] = PALETTE_BYTES & 255;
  *copy_bytes = bytes + missing;
  return copy;
}

/* Grey at 16 bits. PIL opens it as mode I;16 and convert() clips at 255 (Pillow 13), it does not take the high byte as it does for
 * 16-bit colour. */
static uint8_t *decode_grey_16(const uint8_t *data, size_t bytes, tr_decoded *out, const char **error) {
  int components;
  uint16_t *wide = tr_stb_decode_16(data, bytes, &out->h, &out->w, &components, error);
  if (!wide)
    return NULL;
  size_t pixels = (size_t)out->h * (size_t)out->w;
  uint8_t *narrow = malloc(pixels);
  *error = "outofmem";
  for (size_t i = 0; narrow && i < pixels; ++i) {
    uint16_t value = wide[i * (size_t)components];
    narrow[i] = (uint8_t)(value < 255 ? value : 255);
  }
  free(wide);
  out->components = 1;
  return narrow;
}

tr_status tr_png_decode(const uint8_t *data, size_t bytes, const char *name, tr_decoded *out) {
  png_layout layout;
  TR_TRY(read_layout(data, bytes, name, &layout));
  uint8_t *copy = NULL;
  if (layout.colour == COLOUR_PALETTE && layout.palette_at && layout.palette_bytes < (size_t)3 << layout.depth) {
    copy = with_full_palette(data, bytes, &layout, &bytes);
    if (!copy)
      return tr_image_no_memory(name, layout.h, layout.w);
    data = copy;
  }
  const char *error = NULL;
  if (layout.colour == COLOUR_GREY && layout.depth == 16)
    out->pixels = decode_grey_16(data, bytes, out, &error);
  else
    out->pixels = tr_stb_decode(data, bytes, &out->h, &out->w, &out->components, &error);
  free(copy);
  if (out->pixels)
    return TR_OK;
  if (strcmp(error, "outofmem") == 0)
    return tr_image_no_memory(name, layout.h, layout.w);
  return tr_fail(TR_EFORMAT, "%s: the PNG is damaged: its pixels cannot be unpacked (%s)", name, error);
}

tr_status tr_png_size(const uint8_t *data, size_t bytes, const char *name, int *h, int *w) {
  png_layout layout;
  TR_TRY(read_header(data, bytes, name, &layout));
  *h = layout.h;
  *w = layout.w;
  return TR_OK;
}
