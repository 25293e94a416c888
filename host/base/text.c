/* Strings, paths and files. */
#include "host/base/text.h"

#include "host/base/status.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

char *tr_format(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *text = NULL;
  int bytes = vasprintf(&text, format, arguments);
  va_end(arguments);
  return bytes < 0 ? NULL : text;
}

tr_status tr_text_of(const char *doing, tr_write_fn write, const void *context, char **out) {
  size_t bytes;
  *out = NULL;
  FILE *text = open_memstream(out, &bytes);
  tr_status status = text ? write(text, context) : tr_fail(TR_ENOMEM, "%s: out of memory", doing);
  if (text && fclose(text) != 0 && status == TR_OK)
    status = tr_fail(TR_ENOMEM, "%s: out of memory", doing);
  if (status != TR_OK) {
    free(*out);
    *out = NULL;
  }
  return status;
}

tr_status tr_strings_take(tr_strings *list, char *text) {
  if (!text)
    return tr_fail(TR_ENOMEM, "adding to a list of names: out of memory");
  if (list->count == list->capacity) {
    size_t capacity = list->capacity ? 2 * list->capacity : 16;
    char **items = realloc(list->items, capacity * sizeof *items);
    if (!items) {
      free(text);
      return tr_fail(TR_ENOMEM, "growing a list of names to %zu: out of memory", capacity);
    }
    list->items = items;
    list->capacity = capacity;
  }
  list->items[list->count++] = text;
  return TR_OK;
}

tr_status tr_strings_add(tr_strings *list, const char *text) {
  return tr_strings_take(list, strdup(text));
}

static int compare_strings(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

void tr_strings_sort(tr_strings *list) {
  if (list->count > 1)
    qsort(list->items, list->count, sizeof *list->items, compare_strings);
}

bool tr_strings_has(const tr_strings *list, const char *text) {
  for (size_t i = 0; i < list->count; ++i)
    if (strcmp(list->items[i], text) == 0)
      return true;
  return false;
}

void tr_strings_free(tr_strings *list) {
  for (size_t i = 0; i < list->count; ++i)
    free(list->items[i]);
  free(list->items);
  *list = (tr_strings){0};
}

tr_status tr_folder_list(const char *path, tr_strings *out) {
  *out = (tr_strings){0};
  DIR *folder = opendir(path);
  if (!folder)
    return tr_fail_errno(TR_EIO, "listing the folder %s", path);
  tr_status status = TR_OK;
  errno = 0;
  for (struct dirent *entry; status == TR_OK && (entry = readdir(folder)); errno = 0)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      status = tr_strings_add(out, entry->d_name);
  if (status == TR_OK && errno)
    status = tr_fail_errno(TR_EIO, "listing the folder %s", path);
  closedir(folder);
  if (status != TR_OK)
    tr_strings_free(out);
  tr_strings_sort(out);
  return status;
}

bool tr_is_folder(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool tr_is_file(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

static tr_status make_folder(const char *path) {
  if (mkdir(path, 0777) == 0 || (errno == EEXIST && tr_is_folder(path)))
    return TR_OK;
  return tr_fail_errno(TR_EIO, "making the folder %s", path);
}

tr_status tr_make_folders(const char *path) {
  char *partial = strdup(path);
  if (!partial)
    return tr_fail(TR_ENOMEM, "making the folder %s: out of memory", path);
  tr_status status = TR_OK;
  for (char *p = partial + 1; *path && *p && status == TR_OK; ++p)
    if (*p == '/') {
      *p = '\0';
      status = make_folder(partial);
      *p = '/';
    }
  if (status == TR_OK)
    status = make_folder(path);
  free(partial);
  return status;
}

tr_status tr_make_folder_of(const char *file) {
  const char *slash = strrchr(file, '/');
  char *folder = slash && slash > file ? strndup(file, (size_t)(slash - file)) : strdup(".");
  tr_status status = folder ? tr_make_folders(folder) : tr_fail(TR_ENOMEM, "making a folder for %s: out of memory", file);
  free(folder);
  return status;
}

static tr_status open_regular(const char *path, int *file, size_t *bytes) {
  struct stat info;
  *file = open(path, O_RDONLY | O_CLOEXEC);
  if (*file < 0)
    return tr_fail_errno(TR_EIO, "opening %s", path);
  tr_status status = TR_OK;
  if (fstat(*file, &info) != 0)
    status = tr_fail_errno(TR_EIO, "opening %s", path);
  else if (!S_ISREG(info.st_mode))
    status = tr_fail(TR_EIO, "opening %s: not a regular file", path);
  else
    *bytes = (size_t)info.st_size;
  if (status != TR_OK)
    close(*file);
  return status;
}

/* What is there: less where something else cuts the file short meanwhile. */
static tr_status read_all(int file, const char *path, char *data, size_t bytes, size_t *got) {
  for (*got = 0; *got < bytes;) {
    ssize_t some = read(file, data + *got, bytes - *got);
    if (some < 0 && errno == EINTR)
      continue;
    if (some < 0)
      return tr_fail_errno(TR_EIO, "reading %s", path);
    if (some == 0)
      break;
    *got += (size_t)some;
  }
  return TR_OK;
}

tr_status tr_file_read(const char *path, char **data, size_t *bytes) {
  *data = NULL;
  *bytes = 0;
  int file;
  size_t size, got = 0;
  TR_TRY(open_regular(path, &file, &size));
  char *copy = malloc(size + 1);
  tr_status status = copy ? read_all(file, path, copy, size, &got) : tr_fail(TR_ENOMEM, "reading %s: out of memory", path);
  close(file);
  if (status != TR_OK) {
    free(copy);
    return status;
  }
  copy[got] = '\0';
  *data = copy;
  *bytes = got;
  return TR_OK;
}

/* ---- mappings, which are known so that a fault in one can be told ---- */

enum { MOST_MAPPINGS = 256 };

typedef struct known_mapping {
  _Atomic(const uint8_t *) data; /* NULL: free */
  size_t bytes;
  char *path;
} known_mapping;

static known_mapping known[MOST_MAPPINGS];
static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;

/* More than there is room for are not known. */
static void remember(const tr_mapping *mapping, const char *path) {
  pthread_mutex_lock(&known_lock);
  size_t i = 0;
  while (i < MOST_MAPPINGS && atomic_load(&known[i].data))
    ++i;
  if (i < MOST_MAPPINGS && (known[i].path = strdup(path))) {
    known[i].bytes = mapping->bytes;
    atomic_store(&known[i].data, mapping->data);
  }
  pthread_mutex_unlock(&known_lock);
}

static void forget(const tr_mapping *mapping) {
  pthread_mutex_lock(&known_lock);
  for (size_t i = 0; i < MOST_MAPPINGS; ++i)
    if (atomic_load(&known[i].data) == mapping->data) {
      atomic_store(&known[i].data, NULL);
      free(known[i].path);
      break;
    }
  pthread_mutex_unlock(&known_lock);
}

const char *tr_file_mapped_at(const void *address) {
  for (size_t i = 0; i < MOST_MAPPINGS; ++i) {
    const uint8_t *data = atomic_load(&known[i].data);
    size_t at = data ? (uintptr_t)address - (uintptr_t)data : SIZE_MAX;
    if (at < known[i].bytes)
      return known[i].path;
  }
  return NULL;
}

tr_status tr_file_map(const char *path, tr_mapping *out) {
  *out = (tr_mapping){0};
  int file;
  size_t bytes;
  TR_TRY(open_regular(path, &file, &bytes));
  void *data = bytes ? mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, file, 0) : NULL;
  tr_status status = data == MAP_FAILED ? tr_fail_errno(TR_EIO, "mapping %s", path) : TR_OK;
  close(file);
  if (status == TR_OK && data) {
    *out = (tr_mapping){data, bytes};
    remember(out, path);
  }
  return status;
}

void tr_file_unmap(tr_mapping *mapping) {
  if (mapping->data) {
    forget(mapping);
    munmap((void *)mapping->data, mapping->bytes);
  }
  *mapping = (tr_mapping){0};
}

static bool write_all(int file, const char *data, size_t bytes) {
  while (bytes > 0) {
    ssize_t written = write(file, data, bytes);
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return false;
    data += written;
    bytes -= (size_t)written;
  }
  return true;
}

/* A pipe or a device, which must not be replaced. */
static bool is_special(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

tr_status tr_file_writer_open(const char *path, tr_file_writer *out) {
  if (is_special(path)) {
    *out = (tr_file_writer){.path = path, .file = open(path, O_WRONLY | O_CLOEXEC)};
    return out->file >= 0 ? TR_OK : tr_fail_errno(TR_EIO, "writing %s", path);
  }
  *out = (tr_file_writer){.path = path, .temporary = tr_format("%s.XXXXXX", path), .file = -1};
  if (!out->temporary)
    return tr_fail(TR_ENOMEM, "writing %s: out of memory", path);
  out->file = mkstemp(out->temporary);
  if (out->file >= 0)
    return TR_OK;
  tr_status status = tr_fail_errno(TR_EIO, "writing %s", path);
  free(out->temporary);
  return status;
}

tr_status tr_file_writer_add(const tr_file_writer *writer, const void *data, size_t bytes) {
  return write_all(writer->file, data, bytes) ? TR_OK : tr_fail_errno(TR_EIO, "writing %s", writer->path);
}

tr_status tr_file_writer_close(tr_file_writer *writer, bool keep) {
  tr_status status = TR_OK;
  if (!writer->temporary) {
    if (close(writer->file) != 0)
      status = tr_fail_errno(TR_EIO, "writing %s", writer->path);
    *writer = (tr_file_writer){.file = -1};
    return status;
  }
  mode_t mask = umask(0);
  umask(mask);
  if (keep && (fchmod(writer->file, 0666 & ~mask) != 0 || fsync(writer->file) != 0))
    status = tr_fail_errno(TR_EIO, "writing %s", writer->path);
  if (close(writer->file) != 0 && keep && status == TR_OK)
    status = tr_fail_errno(TR_EIO, "writing %s", writer->path);
  if (keep && status == TR_OK && rename(writer->temporary, writer->path) != 0)
    status = tr_fail_errno(TR_EIO, "writing %s", writer->path);
  if (!keep || status != TR_OK)
    unlink(writer->temporary);
  free(writer->temporary);
  *writer = (tr_file_writer){.file = -1};
  return status;
}

tr_status tr_file_write(const char *path, const void *data, size_t bytes) {
  tr_file_writer writer;
  TR_TRY(tr_file_writer_open(path, &writer));
  tr_status status = tr_file_writer_add(&writer, data, bytes);
  tr_status closed = tr_file_writer_close(&writer, status == TR_OK);
  return status == TR_OK ? closed : status;
}

tr_status tr_file_check_writable(const char *path) {
  tr_file_writer writer;
  TR_TRY(tr_file_writer_open(path, &writer));
  return tr_file_writer_close(&writer, false);
}

tr_status tr_file_sha256(const char *path, char hex[65]) {
  tr_mapping mapping;
  TR_TRY(tr_file_map(path, &mapping));
  unsigned char digest[32];
  int hashed = EVP_Digest(mapping.data ? (const void *)mapping.data : "", mapping.bytes, digest, NULL, EVP_sha256(), NULL);
  tr_file_unmap(&mapping);
  if (hashed != 1)
    return tr_fail(TR_EINTERNAL, "hashing %s: SHA-256 is not available", path);
  for (int i = 0; i < 32; ++i)
    snprintf(hex + 2 * i, 3, "%02x", digest[i]);
  return TR_OK;
}

size_t tr_edit_distance(const char *a, const char *b) {
  enum { LONGEST = 64 };
  size_t m = strnlen(a, LONGEST), n = strnlen(b, LONGEST), row[LONGEST + 1];
  for (size_t j = 0; j <= n; ++j)
    row[j] = j;
  for (size_t i = 1; i <= m; ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= n; ++j) {
      size_t replace = diagonal + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]));
      diagonal = row[j];
      size_t shift = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      row[j] = replace < shift ? replace : shift;
    }
  }
  return row[n];
}

const char *tr_nearest_name(const char *text, const char *const *candidates, size_t count) {
  const char *best = NULL;
  size_t best_distance = strlen(text) / 3 + 2;
  for (size_t i = 0; i < count; ++i) {
    size_t distance = tr_edit_distance(text, candidates[i]);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidates[i];
    }
  }
  return best;
}

tr_status tr_parse_bytes(const char *text, size_t *out) {
  char *end;
  errno = 0;
  double value = strtod(text, &end);
  static const char units[] = "KMGT";
  double factor = 1;
  bool whole = *end == '\0';
  if (end != text && *end) {
    const char *unit = strchr(units, toupper((unsigned char)*end));
    if (unit && (end[1] == '\0' || strcmp(end + 1, "iB") == 0 || strcmp(end + 1, "B") == 0)) {
      for (const char *p = units; p <= unit; ++p)
        factor *= 1024;
      whole = true;
    }
  }
  if (end == text || !whole || errno || !(value >= 0) || value * factor >= 0x1p62)
    return tr_fail(TR_EINVAL, "size \"%s\": expected a number with K, M, G or T, such as 8G", text);
  *out = (size_t)(value * factor);
  return TR_OK;
}

char *tr_format_bytes(size_t bytes, char *buffer, size_t buffer_bytes) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = (double)bytes;
  int unit = 0;
  while (value >= 1024 && unit < 4) {
    value /= 1024;
    ++unit;
  }
  snprintf(buffer, buffer_bytes, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return buffer;
}
