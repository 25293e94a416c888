/* Reading .npy: six bytes "\x93NUMPY", two of the version, the header's length (two bytes in version 1, else four), the header, which
 * is a Python dictionary such as {'descr': '|u1', 'fortran_order': False, 'shape': (265, 480, 856), }, and the values. */
#include "datasets/npy.h"
#include "datasets/image_codecs.h"
#include "host/base/status.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the header's dictionary ---- */

typedef struct cursor {
  const char *at, *end;
} cursor;

static void skip_spaces(cursor *c) {
  while (c->at < c->end && strchr(" \t\r\n", *c->at) && *c->at)
    ++c->at;
}

/* Passes `text` where it comes next. */
static bool take(cursor *c, const char *text) {
  skip_spaces(c);
  size_t length = strlen(text);
  if ((size_t)(c->end - c->at) < length || memcmp(c->at, text, length) != 0)
    return false;
  c->at += length;
  return true;
}

/* 'text' or "text", without escapes. */
static bool take_string(cursor *c, char *out, size_t out_bytes) {
  skip_spaces(c);
  if (c->at == c->end || (*c->at != '\'' && *c->at != '"'))
    return false;
  char quote = *c->at++;
  size_t length = 0;
  while (c->at < c->end && *c->at != quote) {
    if (length + 1 == out_bytes)
      return false;
    out[length++] = *c->at++;
  }
  out[length] = '\0';
  return take(c, (char[]){quote, '\0'});
}

static bool take_number(cursor *c, size_t *out) {
  skip_spaces(c);
  const char *start = c->at;
  *out = 0;
  while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
    if (*out > (SIZE_MAX >> 8) / 10) /* beyond any file */
      return false;
    *out = 10 * *out + (size_t)(*c->at++ - '0');
  }
  (void)take(c, "L"); /* as Python 2 wrote it */
  return c->at > start;
}

/* (), (3,), (3, 4) */
static bool take_shape(cursor *c, tr_npy *out) {
  if (!take(c, "("))
    return false;
  if (take(c, ")"))
    return true;
  while (out->dimensions < TR_NPY_MAX_DIMENSIONS && take_number(c, &out->shape[out->dimensions])) {
    ++out->dimensions;
    bool comma = take(c, ",");
    if (take(c, ")"))
      return comma || out->dimensions > 1;
    if (!comma)
      return false;
  }
  return false;
}

typedef struct header {
  char descr[16];
  bool fortran, has_descr, has_order, has_shape;
} header;

static bool take_entry(cursor *c, header *h, tr_npy *out) {
  char name[32];
  if (!take_string(c, name, sizeof name) || !take(c, ":"))
    return false;
  if (strcmp(name, "descr") == 0)
    return h->has_descr = !h->has_descr && take_string(c, h->descr, sizeof h->descr);
  if (strcmp(name, "fortran_order") == 0) {
    h->fortran = take(c, "True");
    return h->has_order = !h->has_order && (h->fortran || take(c, "False"));
  }
  return h->has_shape = strcmp(name, "shape") == 0 && !h->has_shape && take_shape(c, out);
}

static bool parse_dictionary(cursor *c, header *h, tr_npy *out) {
  if (!take(c, "{"))
    return false;
  bool more = true;
  while (more && !take(c, "}")) {
    if (!take_entry(c, h, out))
      return false;
    more = take(c, ",");
    if (!more && !take(c, "}"))
      return false;
  }
  skip_spaces(c);
  return c->at == c->end && h->has_descr && h->has_order && h->has_shape;
}

/* "|u1", "<i8", "|b1": for whether a value is 0 neither sign nor byte order matter. 0: another kind. */
static size_t item_bytes(const char *descr) {
  static const char *const kinds[] = {"|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8"};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; ++i)
    if (strcmp(descr + 1, kinds[i] + 1) == 0 && strchr("|<>=", descr[0]))
      return (size_t)(kinds[i][2] - '0');
  return 0;
}

/* ---- the file ---- */

static tr_status check_values(const header *h, bool floats, const char *name, size_t bytes, tr_npy *out) {
  if (h->fortran)
    return tr_fail(TR_EFORMAT, "%s: expected values in C order, found Fortran order; write it with numpy.ascontiguousarray",
                   name);
  if (floats)
    out->item_bytes = strcmp(h->descr, "<f4") == 0 ? 4 : 0;
  else
    out->item_bytes = h->descr[0] ? item_bytes(h->descr) : 0;
  if (!out->item_bytes)
    return tr_fail(TR_EFORMAT, "%s: expected %s, found values of kind %s", name,
                   floats ? "floats of 4 bytes (<f4)" : "whole numbers or booleans (as |u1 or |b1)", h->descr);
  size_t need = out->item_bytes;
  for (int i = 0; i < out->dimensions; ++i)
    if (__builtin_mul_overflow(need, out->shape[i], &need))
      need = SIZE_MAX;
  if (need > bytes)
    return tr_fail(TR_EFORMAT, "%s: the file is cut short: its values take %zu bytes, found %zu", name, need, bytes);
  return TR_OK;
}

static tr_status parse(const void *data, size_t bytes, bool floats, const char *name, tr_npy *out) {
  *out = (tr_npy){0};
  const uint8_t *b = data;
  if (bytes < 10 || memcmp(b, "\x93NUMPY", 6) != 0 || b[6] < 1 || b[6] > 3)
    return tr_fail(TR_EFORMAT, "%s: expected a .npy file of version 1 to 3", name);
  size_t start = b[6] == 1 ? 10 : 12;
  size_t length = b[8] + 256u * b[9];
  if (start == 12 && bytes >= 12)
    length += ((size_t)b[10] << 16) + ((size_t)b[11] << 24);
  if (bytes < start || bytes - start < length)
    return tr_fail(TR_EFORMAT, "%s: the file is cut short within its header", name);
  header h = {.descr = ""};
  cursor c = {(const char *)b + start, (const char *)b + start + length};
  if (!parse_dictionary(&c, &h, out))
    return tr_fail(TR_EFORMAT, "%s: expected a header with descr, fortran_order and a shape of at most %d numbers, found %.*s",
                   name, (int)TR_NPY_MAX_DIMENSIONS, (int)(length < 120 ? length : 120), (const char *)b + start);
  out->data = b + start + length;
  return check_values(&h, floats, name, bytes - start - length, out);
}

tr_status tr_npy_parse(const void *data, size_t bytes, const char *name, tr_npy *out) {
  return parse(data, bytes, false, name, out);
}

static tr_status open_file(const char *path, bool floats, tr_npy *out) {
  *out = (tr_npy){0};
  tr_mapping mapping;
  TR_TRY(tr_file_map(path, &mapping));
  tr_status status = parse(mapping.data, mapping.bytes, floats, path, out);
  if (status == TR_OK)
    out->mapping = mapping;
  else
    tr_file_unmap(&mapping);
  return status;
}

tr_status tr_npy_open(const char *path, tr_npy *out) {
  return open_file(path, false, out);
}

tr_status tr_npy_open_rows(const char *path, tr_npy *out) {
  TR_TRY(open_file(path, true, out));
  if (out->dimensions == 2 && out->shape[0] && out->shape[1])
    return TR_OK;
  tr_status status = tr_fail(TR_EFORMAT, "%s: expected rows of shape [n, d], found %d dimensions, the first of %zu", path,
                             out->dimensions, out->dimensions ? out->shape[0] : 0);
  tr_npy_close(out);
  return status;
}

/* shape: as in the header, "2, 3" */
static tr_status write_array(const char *path, const char *kind, const char *shape, const void *values, size_t bytes) {
  char head[128] = "\x93NUMPY\x01",
       *dictionary = tr_format("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", kind, shape);
  if (!dictionary)
    return tr_fail(TR_ENOMEM, "writing %s: out of memory", path);
  head[8] = sizeof head - 10; /* the header's length, in two bytes; padded by spaces, it ends with a newline */
  snprintf(head + 10, sizeof head - 10, "%-117.117s", dictionary);
  head[sizeof head - 1] = '\n';
  free(dictionary);
  tr_file_writer writer;
  TR_TRY(tr_file_writer_open(path, &writer));
  tr_status status = tr_file_writer_add(&writer, head, sizeof head);
  if (status == TR_OK)
    status = tr_file_writer_add(&writer, values, bytes);
  tr_status closed = tr_file_writer_close(&writer, status == TR_OK);
  return status != TR_OK ? status : closed;
}

tr_status tr_npy_write_rows(const char *path, const float *rows, size_t n, size_t d) {
  char shape[48];
  snprintf(shape, sizeof shape, "%zu, %zu", n, d);
  return write_array(path, "<f4", shape, rows, n * d * sizeof *rows);
}

tr_status tr_npy_write_masks(const char *path, const uint8_t *masks, size_t frames, size_t h, size_t w) {
  char shape[66];
  snprintf(shape, sizeof shape, "%zu, %zu, %zu", frames, h, w);
  return write_array(path, "|u1", shape, masks, frames * h * w);
}

void tr_npy_close(tr_npy *npy) {
  tr_file_unmap(&npy->mapping);
  *npy = (tr_npy){0};
}

/* ---- frames ---- */

static size_t frame_values(const tr_npy *npy) {
  return npy->shape[1] * npy->shape[2];
}

static bool value_marked(const tr_npy *npy, size_t i) {
  const uint8_t *value = npy->data + i * npy->item_bytes;
  for (size_t b = 0; b < npy->item_bytes; ++b)
    if (value[b])
      return true;
  return false;
}

tr_status tr_npy_frame(const tr_npy *npy, const char *name, size_t frame, tr_image *out) {
  *out = (tr_image){.pixels = NULL};
  if (npy->dimensions != 3)
    return tr_fail(TR_EFORMAT, "%s: expected masks of shape [frames, h, w], found %d dimensions", name, npy->dimensions);
  if (frame >= npy->shape[0])
    return tr_fail(TR_EFORMAT, "%s: has %zu frames, asked for number %zu", name, npy->shape[0], frame);
  if (npy->shape[1] > INT32_MAX || npy->shape[2] > INT32_MAX)
    return tr_fail(TR_EFORMAT, "%s: its masks are %zu x %zu (width x height)", name, npy->shape[2], npy->shape[1]);
  int h = (int)npy->shape[1], w = (int)npy->shape[2];
  TR_TRY(tr_image_check_size(name, h, w));
  uint8_t *pixels = malloc(frame_values(npy));
  if (!pixels)
    return tr_image_no_memory(name, h, w);
  size_t first = frame * frame_values(npy);
  for (size_t i = 0; i < frame_values(npy); ++i)
    pixels[i] = value_marked(npy, first + i) ? 255 : 0;
  *out = (tr_image){.h = h, .w = w, .channels = 1, .pixels = pixels};
  return TR_OK;
}

bool tr_npy_frame_marked(const tr_npy *npy, size_t frame) {
  if (npy->dimensions != 3 || frame >= npy->shape[0])
    return false;
  size_t bytes = frame_values(npy) * npy->item_bytes;
  const uint8_t *values = npy->data + frame * bytes;
  /* All bytes are 0 where the first is, and each equals the one before it. */
  return bytes && (values[0] || memcmp(values, values + 1, bytes - 1) != 0);
}
