/* Strings, paths and files: the few helpers the standard library lacks. */
#ifndef TR_BASE_TEXT_H
#define TR_BASE_TEXT_H

#include "host/totalrecall.h"
#include <stdarg.h>
#include <stdio.h>

/* malloc'd printf; NULL when out of memory. */
char *tr_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A text that `write` writes as to a file; malloc'd. ENOMEM says what was being done. */
typedef tr_status (*tr_write_fn)(FILE *out, const void *context);
tr_status tr_text_of(const char *doing, tr_write_fn write, const void *context, char **out);

/* A growing list of owned strings. */
typedef struct tr_strings {
  char **items;
  size_t count, capacity;
} tr_strings;
tr_status tr_strings_add(tr_strings *list, const char *text); /* copies */
tr_status tr_strings_take(tr_strings *list, char *text);      /* takes ownership; ENOMEM when text is NULL */
void tr_strings_sort(tr_strings *list);                       /* by byte value, as Python's sorted() on ASCII */
bool tr_strings_has(const tr_strings *list, const char *text);
void tr_strings_free(tr_strings *list);

/* Names in a folder without "." and "..", sorted. EIO names the folder. */
tr_status tr_folder_list(const char *path, tr_strings *out);
bool tr_is_folder(const char *path);
bool tr_is_file(const char *path);
tr_status tr_make_folders(const char *path);   /* mkdir -p */
tr_status tr_make_folder_of(const char *file); /* the folder that a file is to be in */

/* Whole file, NUL-terminated, malloc'd. */
tr_status tr_file_read(const char *path, char **data, size_t *bytes);

/* Read-only mapping of a whole file. An empty file gives data = NULL, bytes = 0. */
typedef struct tr_mapping {
  const uint8_t *data;
  size_t bytes;
} tr_mapping;
tr_status tr_file_map(const char *path, tr_mapping *out);
void tr_file_unmap(tr_mapping *mapping);

/* The file that is mapped at an address, or NULL. Reading what another process has cut off meanwhile is a SIGBUS, whose handler may ask
 * here. */
const char *tr_file_mapped_at(const void *address);

/* Writes a temporary file beside `path`, fsyncs and renames it: readers see the old file or the whole new one. Where `path` is
 * a pipe or a device, it is written to as it is. */
tr_status tr_file_write(const char *path, const void *data, size_t bytes);

/* The same piece by piece. Every writer that was opened is to be closed: with `keep` the file appears, without it, or when that fails,
 * nothing is left of it. `path` must outlive the writer. */
typedef struct tr_file_writer {
  const char *path;
  char *temporary;
  int file;
} tr_file_writer;
tr_status tr_file_writer_open(const char *path, tr_file_writer *out);
tr_status tr_file_writer_add(const tr_file_writer *writer, const void *data, size_t bytes);
tr_status tr_file_writer_close(tr_file_writer *writer, bool keep);

/* Whether it could be written: EIO before any work. */
tr_status tr_file_check_writable(const char *path);

/* Lower-case hex SHA-256 of a file. */
tr_status tr_file_sha256(const char *path, char hex[65]);

/* Edit distance (Levenshtein); for "did you mean". */
size_t tr_edit_distance(const char *a, const char *b);
/* The candidate nearest to `text`, or NULL when none is near enough to be a slip of the pen. */
const char *tr_nearest_name(const char *text, const char *const *candidates, size_t count);

/* "8G", "512M", "1024" -> bytes (powers of 1024). */
tr_status tr_parse_bytes(const char *text, size_t *out);
/* Bytes as people read them, e.g. "2.4 GiB". Returns buffer. */
char *tr_format_bytes(size_t bytes, char *buffer, size_t buffer_bytes);

#endif
