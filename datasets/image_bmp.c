/* BMP, uncompressed: 1, 4 and 8 bits with a palette, 16 and 32 bits with masks, 24 bits. Read here and not by stb_image, which
 * takes the missing end of a file for zeros and reads beyond short palettes; the checks would be as long as the reader. */
#include "datasets/image_codecs.h"
#include "host/base/status.h"
#include <stdlib.h>
#include <string.h>

enum { FILE_HEADER_BYTES = 14, CORE_HEADER_BYTES = 12, INFO_HEADER_BYTES = 40, PLAIN = 0, BITFIELDS = 3 };

typedef struct bmp_layout {
  int h, w, bits;
  bool top_down;
  size_t pixels_at, row_bytes;
  uint8_t palette[256][3]; /* RGB; black beyond its own colours, as PIL has it */
  uint32_t masks[3];       /* R, G, B of 16 and 32 bits */
} bmp_layout;

static uint32_t little_endian(const uint8_t *p, int bytes) {
  uint32_t value = 0;
  for (int i = bytes - 1; i >= 0; --i)
    value = value << 8 | p[i];
  return value;
}

static tr_status cut_short(const char *name, size_t bytes, size_t expected) {
  return tr_fail(TR_EFORMAT, "%s: the BMP is cut short: expected %zu bytes, found %zu", name, expected, bytes);
}

static tr_status read_palette(const uint8_t *data, size_t bytes, const char *name, size_t at, size_t colours, size_t entry_bytes,
                              bmp_layout *out) {
  if (colours > (size_t)1 << out->bits)
    return tr_fail(TR_EFORMAT, "%s: the BMP has %zu colours at %d bits", name, colours, out->bits);
  if (at + colours * entry_bytes > bytes)
    return cut_short(name, bytes, at + colours * entry_bytes);
  for (size_t i = 0; i < colours; ++i)
    for (size_t c = 0; c < 3; ++c)
      out->palette[i][c] = data[at + i * entry_bytes + 2 - c];
  return TR_OK;
}

static tr_status read_masks(const uint8_t *data, size_t bytes, const char *name, uint32_t compression, bmp_layout *out) {
  static const uint32_t plain[2][3] = {{0x7c00, 0x3e0, 0x1f}, {0xff0000, 0xff00, 0xff}};
  memcpy(out->masks, plain[out->bits == 32], sizeof out->masks);
  if (compression != BITFIELDS)
    return TR_OK;
  size_t at = FILE_HEADER_BYTES + INFO_HEADER_BYTES; /* also where the longer headers hold them */
  if (at + 12 > bytes)
    return cut_short(name, bytes, at + 12);
  for (size_t c = 0; c < 3; ++c) {
    out->masks[c] = little_endian(data + at + 4 * c, 4);
    uint32_t mask = out->masks[c] ? out->masks[c] / (out->masks[c] & -out->masks[c]) : 0;
    if (mask == 0 || mask > 255 || (mask & (mask + 1)) != 0)
      return tr_fail(TR_EFORMAT, "%s: the BMP has a colour mask of %08x", name, (unsigned)out->masks[c]);
  }
  return TR_OK;
}

static tr_status read_layout(const uint8_t *data, size_t bytes, const char *name, bmp_layout *out) {
  if (bytes < FILE_HEADER_BYTES + INFO_HEADER_BYTES)
    return cut_short(name, bytes, FILE_HEADER_BYTES + INFO_HEADER_BYTES);
  const uint8_t *info = data + FILE_HEADER_BYTES;
  size_t header_bytes = little_endian(info, 4);
  bool core = header_bytes == CORE_HEADER_BYTES;
  if (!core && (header_bytes < INFO_HEADER_BYTES || header_bytes > 124))
    return tr_fail(TR_EFORMAT, "%s: the BMP has a header of %zu bytes, which is none of BMP's", name, header_bytes);
  int32_t w = (int32_t)little_endian(info + 4, core ? 2 : 4);
  int64_t h = (int32_t)little_endian(info + (core ? 6 : 8), core ? 2 : 4);
  *out = (bmp_layout){.bits = (int)little_endian(info + (core ? 10 : 14), 2), .top_down = h < 0};
  TR_TRY(tr_image_check_size(name, h < 0 ? -h : h, w));
  out->h = (int)(h < 0 ? -h : h);
  out->w = w;
  uint32_t compression = core ? PLAIN : little_endian(info + 16, 4), colours = core ? 0 : little_endian(info + 32, 4);
  bool deep = out->bits == 16 || out->bits == 32, indexed = out->bits == 1 || out->bits == 4 || out->bits == 8;
  if (!(deep && compression == BITFIELDS) && !((deep || indexed || out->bits == 24) && compression == PLAIN))
    return tr_fail(TR_EFORMAT, "%s: BMP of %d bits with compression %u is not supported", name, out->bits, (unsigned)compression);
  out->pixels_at = little_endian(data + 10, 4);
  out->row_bytes = ((size_t)out->w * (size_t)out->bits + 31) / 32 * 4;
  if (out->pixels_at + out->row_bytes * (size_t)out->h > bytes)
    return cut_short(name, bytes, out->pixels_at + out->row_bytes * (size_t)out->h);
  if (deep)
    return read_masks(data, bytes, name, compression, out);
  if (indexed)
    return read_palette(data, bytes, name, FILE_HEADER_BYTES + header_bytes, colours ? colours : (size_t)1 << out->bits,
                        core ? 3 : 4, out);
  return TR_OK;
}

static void unpack_row(const bmp_layout *layout, const uint8_t *row, uint8_t *rgb) {
  int bits = layout->bits;
  for (int x = 0; x < layout->w; ++x, rgb += 3)
    if (bits <= 8) {
      int position = x * bits;
      int index = row[position / 8] >> (8 - bits - position % 8) & ((1 << bits) - 1);
      memcpy(rgb, layout->palette[index], 3);
    } else if (bits == 24) {
      for (int c = 0; c < 3; ++c)
        rgb[c] = row[3 * x + 2 - c];
    } else {
      uint32_t value = little_endian(row + (size_t)x * (size_t)(bits / 8), bits / 8);
      for (int c = 0; c < 3; ++c) {
        uint32_t unit = layout->masks[c] & -layout->masks[c];
        rgb[c] = (uint8_t)((value & layout->masks[c]) / unit * 255 / (layout->masks[c] / unit));
      }
    }
}

tr_status tr_bmp_decode(const uint8_t *data, size_t bytes, const char *name, tr_decoded *out) {
  bmp_layout layout;
  TR_TRY(read_layout(data, bytes, name, &layout));
  out->h = layout.h;
  out->w = layout.w;
  out->components = 3;
  out->pixels = malloc((size_t)layout.h * (size_t)layout.w * 3);
  if (!out->pixels)
    return tr_image_no_memory(name, layout.h, layout.w);
  for (int y = 0; y < layout.h; ++y) {
    int from = layout.top_down ? y : layout.h - 1 - y;
    unpack_row(&layout, data + layout.pixels_at + (size_t)from * layout.row_bytes,
               out->pixels + (size_t)y * (size_t)layout.w * 3);
  }
  return TR_OK;
}

tr_status tr_bmp_size(const uint8_t *data, size_t bytes, const char *name, int *h, int *w) {
  bmp_layout layout;
  TR_TRY(read_layout(data, bytes, name, &layout));
  *h = layout.h;
  *w = layout.w;
  return TR_OK;
}
