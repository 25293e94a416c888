/* JPEG, by libjpeg-turbo: PIL decodes with it, and so every pixel is PIL's (checked on the 1,344 JPEGs of MTD).
 * Builds without it read no JPEG. stb_image would not do: its inverse DCT rounds otherwise (on the same files one pixel in 380 is off
 * by one), it cannot tell that data inside the file is missing, and version 2.27 writes out of bounds on a damaged Huffman table. */
#include "datasets/image.h"
#include "datasets/image_codecs.h"
#include "host/base/status.h"

#ifdef TR_HAVE_LIBJPEG
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

/* After stdio.h, which it uses, and before jerror.h, whose message numbers depend on it. */
#include <jpeglib.h>

#include <jerror.h>

/* All state lives here and not in locals, whose values a longjmp may lose. */
typedef struct jpeg_reader {
  struct jpeg_decompress_struct info;
  struct jpeg_error_mgr errors;
  jmp_buf escape;
  char text[JMSG_LENGTH_MAX];
  uint8_t *pixels;
} jpeg_reader;

static void on_error(j_common_ptr info) {
  jpeg_reader *reader = (jpeg_reader *)info;
  info->err->format_message(info, reader->text);
  longjmp(reader->escape, 1);
}

/* libjpeg calls missing and undecodable data a warning and goes on in grey. Oddities that lose nothing (bytes between markers, an
 * unknown JFIF version) stay warnings. */
static void on_message(j_common_ptr info, int level) {
  if (level >= 0)
    return;
  switch (info->err->msg_code) {
  case JWRN_JPEG_EOF:
  case JWRN_HIT_MARKER:
  case JWRN_HUFF_BAD_CODE:
  case JWRN_ARITH_BAD_CODE:
  case JWRN_MUST_RESYNC:
    on_error(info);
    break;
  default:
    break;
  }
}

static void open_reader(jpeg_reader *reader, const uint8_t *data, size_t bytes) {
  jpeg_create_decompress(&reader->info);
  jpeg_mem_src(&reader->info, data, bytes);
  jpeg_read_header(&reader->info, TRUE);
}

static bool read_size(jpeg_reader *reader, const uint8_t *data, size_t bytes) {
  if (setjmp(reader->escape))
    return false;
  open_reader(reader, data, bytes);
  return true;
}

static bool read_pixels(jpeg_reader *reader) {
  struct jpeg_decompress_struct *info = &reader->info;
  if (setjmp(reader->escape))
    return false;
  info->out_color_space = info->num_components == 1 ? JCS_GRAYSCALE : info->num_components == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_start_decompress(info);
  size_t row_bytes = (size_t)info->output_width * (size_t)info->output_components;
  reader->pixels = malloc(row_bytes * info->output_height);
  if (!reader->pixels)
    ERREXIT1(info, JERR_OUT_OF_MEMORY, 0);
  while (info->output_scanline < info->output_height) {
    JSAMPROW row = reader->pixels + info->output_scanline * row_bytes;
    jpeg_read_scanlines(info, &row, 1);
  }
  jpeg_finish_decompress(info); /* reads on to the end mark */
  return true;
}

static jpeg_reader *reader_create(const char *name) {
  jpeg_reader *reader = calloc(1, sizeof *reader);
  if (!reader) {
    tr_fail(TR_ENOMEM, "%s: out of memory", name);
    return NULL;
  }
  reader->info.err = jpeg_std_error(&reader->errors);
  reader->errors.error_exit = on_error;
  reader->errors.emit_message = on_message;
  return reader;
}

static void reader_destroy(jpeg_reader *reader) {
  jpeg_destroy_decompress(&reader->info);
  free(reader->pixels);
  free(reader);
}

static tr_status reader_error(const jpeg_reader *reader, const char *name) {
  int code = reader->errors.msg_code;
  if (code == JERR_OUT_OF_MEMORY)
    return tr_fail(TR_ENOMEM, "%s: decoding the JPEG: out of memory", name);
  if (code == JWRN_JPEG_EOF || code == JERR_INPUT_EOF)
    return tr_fail(TR_EFORMAT, "%s: the JPEG is cut short", name);
  return tr_fail(TR_EFORMAT, "%s: the JPEG is damaged or not supported: %s", name, reader->text);
}

/* Adobe's CMYK is stored inverted, as PIL assumes of all; then PIL's cmyk2rgb: each ink times the white that black leaves. */
static void cmyk_to_rgb(uint8_t *pixels, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    unsigned white = pixels[4 * i + 3];
    for (size_t c = 0; c < 3; ++c) {
      unsigned product = (255u - pixels[4 * i + c]) * white + 128;
      pixels[3 * i + c] = (uint8_t)(white - ((product + (product >> 8)) >> 8));
    }
  }
}

static tr_status check_header(const jpeg_reader *reader, size_t bytes, const char *name) {
  const struct jpeg_decompress_struct *info = &reader->info;
  if (info->num_components != 1 && info->num_components != 3 && info->num_components != 4)
    return tr_fail(TR_EFORMAT, "%s: expected a JPEG of 1, 3 or 4 components, found %d", name, info->num_components);
  TR_TRY(tr_image_check_size(name, info->image_height, info->image_width));
  /* Huffman coding takes a bit or more for each block of 8 x 8: a file that promises more pixels is not worth its memory. */
  if (!info->arith_code && (uint64_t)info->image_height * info->image_width > (uint64_t)bytes * 8 * DCTSIZE2)
    return tr_fail(TR_EFORMAT, "%s: the JPEG is cut short: %zu bytes cannot hold %u x %u pixels", name, bytes, info->image_width,
                   info->image_height);
  return TR_OK;
}

static tr_status decode(jpeg_reader *reader, const uint8_t *data, size_t bytes, const char *name, tr_decoded *out) {
  if (!read_size(reader, data, bytes))
    return reader_error(reader, name);
  TR_TRY(check_header(reader, bytes, name));
  if (!read_pixels(reader))
    return reader_error(reader, name);
  out->h = (int)reader->info.output_height;
  out->w = (int)reader->info.output_width;
  out->components = reader->info.output_components;
  if (out->components == 4) {
    cmyk_to_rgb(reader->pixels, (size_t)out->h * (size_t)out->w);
    out->components = 3;
  }
  out->pixels = reader->pixels;
  reader->pixels = NULL;
  return TR_OK;
}

tr_status tr_jpeg_decode(const uint8_t *data, size_t bytes, const char *name, tr_decoded *out) {
  jpeg_reader *reader = reader_create(name);
  if (!reader)
    return TR_ENOMEM;
  tr_status status = decode(reader, data, bytes, name, out);
  reader_destroy(reader);
  return status;
}

tr_status tr_jpeg_size(const uint8_t *data, size_t bytes, const char *name, int *h, int *w) {
  jpeg_reader *reader = reader_create(name);
  if (!reader)
    return TR_ENOMEM;
  tr_status status = read_size(reader, data, bytes) ? check_header(reader, bytes, name) : reader_error(reader, name);
  *h = (int)reader->info.image_height;
  *w = (int)reader->info.image_width;
  reader_destroy(reader);
  return status;
}

const char *tr_image_jpeg_decoder(void) {
#ifdef LIBJPEG_TURBO_VERSION
#define TEXT_OF(x)      #x
#define VERSION_TEXT(x) TEXT_OF(x)
  return "libjpeg-turbo " VERSION_TEXT(LIBJPEG_TURBO_VERSION);
#else
  return "libjpeg";
#endif
}

#else

static tr_status unsupported(const char *name) {
  return tr_fail(TR_EFORMAT, "%s: this build cannot read JPEG, it was made without libjpeg", name);
}

tr_status tr_jpeg_decode(const uint8_t *data, size_t bytes, const char *name, tr_decoded *out) {
  (void)data, (void)bytes, (void)out;
  return unsupported(name);
}

tr_status tr_jpeg_size(const uint8_t *data, size_t bytes, const char *name, int *h, int *w) {
  (void)data, (void)bytes, (void)h, (void)w;
  return unsupported(name);
}

const char *tr_image_jpeg_decoder(void) {
  return NULL;
}

#endif
