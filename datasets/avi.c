/* AVI files: a list of headers, the pictures, an index. */
#include "datasets/avi.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include <stdlib.h>
#include <string.h>

enum { CHUNK_HEAD = 8, INDEX_ENTRY = 16, MAIN_HEADER = 56, STREAM_HEADER = 56, BITMAP_HEADER = 40, MOST_BYTES = 1000000000 };
enum { STREAM_LIST = 4 + CHUNK_HEAD + STREAM_HEADER + CHUNK_HEAD + BITMAP_HEADER };
enum { HEADER_LIST = 4 + CHUNK_HEAD + MAIN_HEADER + CHUNK_HEAD + STREAM_LIST };
enum { HEAD = 12 + CHUNK_HEAD + HEADER_LIST + CHUNK_HEAD + 4 }; /* to the first picture */
enum { HAS_INDEX = 0x10, KEY_FRAME = 0x10 };

/* Rows of a bitmap are padded to four bytes. */
static size_t row_bytes(int w) {
  return ((size_t)w * 3 + 3) / 4 * 4;
}

static uint32_t picture_bytes(const tr_avi *a) {
  return (uint32_t)(row_bytes(a->w) * (size_t)a->h);
}

static uint8_t *put_name(uint8_t *at, const char name[5]) {
  memcpy(at, name, 4);
  return at + 4;
}

static uint8_t *put(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; ++i)
    at[i] = (uint8_t)(value >> 8 * i);
  return at + 4;
}

static uint8_t *put_pair(uint8_t *at, uint32_t low, uint32_t high) {
  return put(at, low | high << 16);
}

static uint8_t *begin_list(uint8_t *at, const char kind[5], uint32_t bytes, const char name[5]) {
  return put_name(put(put_name(at, kind), bytes), name);
}

static uint8_t *put_main_header(uint8_t *at, const tr_avi *a) {
  uint32_t rate = (uint32_t)a->frames_per_second;
  at = put(put_name(at, "avih"), MAIN_HEADER);
  at = put(put(at, 1000000 / rate), picture_bytes(a) * rate); /* microseconds a frame, bytes a second */
  at = put(put(at, 0), HAS_INDEX);
  at = put(put(put(at, (uint32_t)a->frames), 0), 1); /* frames, of which none come before the first; streams */
  at = put(at, picture_bytes(a));
  at = put(put(at, (uint32_t)a->w), (uint32_t)a->h);
  memset(at, 0, 16);
  return at + 16;
}

static uint8_t *put_stream(uint8_t *at, const tr_avi *a) {
  at = begin_list(at, "LIST", STREAM_LIST, "strl");
  at = put(put_name(at, "strh"), STREAM_HEADER);
  at = put_name(put_name(at, "vids"), "DIB ");
  at = put(put(put(at, 0), 0), 0); /* flags, priority and language, frames before */
  at = put(put(at, 1), (uint32_t)a->frames_per_second);
  at = put(put(at, 0), (uint32_t)a->frames);
  at = put(put(put(at, picture_bytes(a)), UINT32_MAX), 0); /* no quality; samples of any size */
  at = put_pair(put(at, 0), (uint32_t)a->w, (uint32_t)a->h);
  at = put(put_name(at, "strf"), BITMAP_HEADER);
  at = put(put(put(at, BITMAP_HEADER), (uint32_t)a->w), (uint32_t)a->h); /* a positive height: rows from the lowest up */
  at = put(put_pair(at, 1, 24), 0);                                      /* one plane of 24 bits, no compression */
  at = put(at, picture_bytes(a));
  memset(at, 0, 16);
  return at + 16;
}

static tr_status write_head(const tr_avi *a, const tr_file_writer *file) {
  uint8_t head[HEAD], *at = head;
  uint32_t pictures = (uint32_t)a->frames * (CHUNK_HEAD + picture_bytes(a)), index = (uint32_t)a->frames * INDEX_ENTRY;
  at = begin_list(at, "RIFF", HEAD - CHUNK_HEAD + pictures + CHUNK_HEAD + index, "AVI ");
  at = begin_list(at, "LIST", HEADER_LIST, "hdrl");
  at = put_main_header(at, a);
  at = put_stream(at, a);
  begin_list(at, "LIST", 4 + pictures, "movi");
  return tr_file_writer_add(file, head, sizeof head);
}

/* rgb: [h, w, 3]; chunk: as it stands in the file, its padding cleared. */
static tr_status write_pictures(const tr_avi *a, const tr_file_writer *file, uint8_t *rgb, uint8_t *chunk) {
  put(put_name(chunk, "00db"), picture_bytes(a));
  for (int i = 0; i < a->frames; ++i) {
    TR_TRY(a->picture(a->context, i, rgb));
    for (int y = 0; y < a->h; ++y) {
      uint8_t *to = chunk + CHUNK_HEAD + (size_t)(a->h - 1 - y) * row_bytes(a->w);
      const uint8_t *from = rgb + (size_t)y * (size_t)a->w * 3;
      for (int x = 0; x < a->w; ++x)
        for (int c = 0; c < 3; ++c)
          to[3 * x + c] = from[3 * x + 2 - c];
    }
    TR_TRY(tr_file_writer_add(file, chunk, CHUNK_HEAD + picture_bytes(a)));
  }
  return TR_OK;
}

/* Places count from the list's name, "movi". */
static tr_status write_index(const tr_avi *a, const tr_file_writer *file) {
  uint8_t entry[INDEX_ENTRY];
  put(put_name(entry, "idx1"), (uint32_t)a->frames * INDEX_ENTRY);
  TR_TRY(tr_file_writer_add(file, entry, CHUNK_HEAD));
  for (uint32_t i = 0; i < (uint32_t)a->frames; ++i) {
    put(put(put(put_name(entry, "00db"), KEY_FRAME), 4 + i * (CHUNK_HEAD + picture_bytes(a))), picture_bytes(a));
    TR_TRY(tr_file_writer_add(file, entry, sizeof entry));
  }
  return TR_OK;
}

static tr_status write_file(const tr_avi *a, const char *path, uint8_t *rgb, uint8_t *chunk) {
  tr_file_writer file;
  TR_TRY(tr_file_writer_open(path, &file));
  tr_status status = write_head(a, &file);
  if (status == TR_OK)
    status = write_pictures(a, &file, rgb, chunk);
  if (status == TR_OK)
    status = write_index(a, &file);
  tr_status closed = tr_file_writer_close(&file, status == TR_OK);
  return status != TR_OK ? status : closed;
}

tr_status tr_avi_write(const char *path, const tr_avi *avi) {
  if ((double)avi->frames * ((double)row_bytes(avi->w) * avi->h + CHUNK_HEAD + INDEX_ENTRY) > MOST_BYTES - HEAD)
    return tr_fail(TR_EINVAL, "writing the video %s: %d frames of %d x %d pixels are more than a gigabyte", path, avi->frames,
                   avi->w, avi->h);
  uint8_t *rgb = malloc((size_t)avi->h * (size_t)avi->w * 3), *chunk = calloc(1, CHUNK_HEAD + picture_bytes(avi));
  tr_status status =
      rgb && chunk ? write_file(avi, path, rgb, chunk) : tr_fail(TR_ENOMEM, "writing the video %s: out of memory", path);
  free(rgb);
  free(chunk);
  return status;
}
