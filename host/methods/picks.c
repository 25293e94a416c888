/* Picked rows, image by image. */
#include "host/methods/picks.h"

#include "host/base/status.h"
#include "host/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- file ---- */

struct tr_feature_file {
  int descriptor;
  char *folder;
  size_t bytes; /* of the whole file, from its beginning on */
};

static tr_status open_nameless(tr_feature_file *file) {
  char path[4096];
  int length = snprintf(path, sizeof path, "%s/features-XXXXXX", file->folder);
  if (length < 0 || (size_t)length >= sizeof path)
    return tr_fail(TR_EINVAL, "training features: the path of %s is too long", file->folder);
  file->descriptor = mkstemp(path);
  if (file->descriptor < 0)
    return tr_fail(TR_EIO, "making a file for training features in %s: %s", file->folder, strerror(errno));
  (void)unlink(path);
  return TR_OK;
}

static tr_status check_room(const tr_feature_file *file, size_t bytes) {
  struct statvfs disk;
  char need[32], left[32];
  if (fstatvfs(file->descriptor, &disk) != 0 || (double)disk.f_bavail * (double)disk.f_frsize >= (double)bytes)
    return TR_OK;
  return tr_fail(TR_EIO, "training features take %s of the disk of %s, which has %s left",
                 tr_format_bytes(bytes, need, sizeof need), file->folder,
                 tr_format_bytes((size_t)disk.f_bavail * disk.f_frsize, left, sizeof left));
}

/* So that the disk cannot be full later. Not every file system does that; the size is set nevertheless. */
static tr_status reserve(const tr_feature_file *file) {
  char need[32];
  int failed = file->bytes ? fallocate(file->descriptor, 0, 0, (off_t)file->bytes) : 0;
  while (failed && errno == EINTR)
    failed = fallocate(file->descriptor, 0, 0, (off_t)file->bytes);
  if (failed && errno == EOPNOTSUPP)
    failed = ftruncate(file->descriptor, (off_t)file->bytes);
  return failed ? tr_fail(TR_EIO, "making a file of %s for training features in %s: %s",
                          tr_format_bytes(file->bytes, need, sizeof need), file->folder, strerror(errno))
                : TR_OK;
}

/* Whether what was written is still there: a part that is lost would read as zeros where a later one is written behind it. */
static tr_status check_whole(const tr_feature_file *file) {
  struct stat info;
  char whole[32], left[32];
  if (fstat(file->descriptor, &info) != 0)
    return tr_fail(TR_EIO, "training features in a file in %s: %s", file->folder, strerror(errno));
  if ((size_t)info.st_size >= file->bytes)
    return TR_OK;
  return tr_fail(TR_EIO,
                 "training features: something else cut the temporary file in %s from %s to %s while it was in use; run the "
                 "command again, with TMPDIR=FOLDER for files in another folder",
                 file->folder, tr_format_bytes(file->bytes, whole, sizeof whole),
                 tr_format_bytes((size_t)info.st_size, left, sizeof left));
}

tr_status tr_feature_file_create(const char *folder, size_t bytes, tr_feature_file **out) {
  *out = NULL;
  tr_feature_file *file = calloc(1, sizeof *file);
  if (!file)
    return tr_fail(TR_ENOMEM, "making a file for training features: out of memory");
  file->descriptor = -1;
  file->bytes = bytes;
  file->folder = strdup(folder);
  tr_status status =
      file->folder ? open_nameless(file) : tr_fail(TR_ENOMEM, "making a file for training features: out of memory");
  if (status == TR_OK)
    status = check_room(file, bytes);
  if (status == TR_OK)
    status = reserve(file);
  if (status == TR_OK)
    *out = file;
  else
    tr_feature_file_close(file);
  return status;
}

void tr_feature_file_close(tr_feature_file *file) {
  if (!file)
    return;
  if (file->descriptor >= 0)
    (void)close(file->descriptor);
  free(file->folder);
  free(file);
}

tr_status tr_feature_file_flush(tr_feature_file *file) {
  return fdatasync(file->descriptor) == 0
             ? TR_OK
             : tr_fail(TR_EIO, "writing training features into %s: %s", file->folder, strerror(errno));
}

tr_status tr_feature_file_write(tr_feature_file *file, size_t at, const void *data, size_t bytes) {
  const char *from = data;
  TR_TRY(check_whole(file));
  for (size_t done = 0; done < bytes;) {
    ssize_t written = pwrite(file->descriptor, from + done, bytes - done, (off_t)(at + done));
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return tr_fail(TR_EIO, "writing training features into %s: %s", file->folder,
                     written < 0 ? strerror(errno) : "nothing written");
    done += (size_t)written;
  }
  return TR_OK;
}

tr_status tr_feature_file_read(const tr_feature_file *file, size_t at, void *data, size_t bytes) {
  char *to = data;
  for (size_t done = 0; done < bytes;) {
    ssize_t got = pread(file->descriptor, to + done, bytes - done, (off_t)(at + done));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return tr_fail(TR_EIO, "reading training features from a file in %s: %s", file->folder, strerror(errno));
    if (got == 0) {
      TR_TRY(check_whole(file));
      return tr_fail(TR_EINTERNAL, "reading bytes %zu to %zu of %zu of training features", at, at + bytes, file->bytes);
    }
    done += (size_t)got;
  }
  return TR_OK;
}

/* ---- picks ---- */

typedef struct pick {
  uint32_t patch, place; /* in the features; in the selection's order */
} pick;

struct tr_picks {
  tr_device *device;
  size_t count, patches, d;
  bool in_host;
  pick *sorted; /* [count]: by patch */
  float *rows;  /* [count, d] */
  atomic_size_t collected;
};

size_t tr_picks_bytes(size_t rows) {
  return rows * sizeof(pick);
}

static int by_patch(const void *a, const void *b) {
  uint32_t x = ((const pick *)a)->patch, y = ((const pick *)b)->patch;
  return (x > y) - (x < y);
}

static tr_status allocate(tr_picks *p) {
  size_t bytes = p->count * p->d * sizeof(float);
  p->sorted = malloc(p->count * sizeof *p->sorted + 1);
  if (!p->sorted)
    return tr_fail(TR_ENOMEM, "%zu bank rows: out of memory", p->count);
  return p->in_host ? tr_device_alloc_pinned(p->device, bytes, (void **)&p->rows)
                    : tr_device_alloc(p->device, bytes, (void **)&p->rows);
}

tr_status tr_picks_create(tr_device *device, const uint32_t *order, size_t rows, size_t patches, int d, bool in_host,
                          tr_picks **out) {
  *out = NULL;
  tr_picks *p = calloc(1, sizeof *p);
  if (!p)
    return tr_fail(TR_ENOMEM, "%zu bank rows: out of memory", rows);
  p->device = device;
  p->count = rows;
  p->patches = patches;
  p->d = (size_t)d;
  p->in_host = in_host;
  tr_status status = allocate(p);
  if (status != TR_OK) {
    tr_picks_destroy(p);
    return status;
  }
  for (size_t i = 0; i < rows; ++i)
    p->sorted[i] = (pick){order[i], (uint32_t)i};
  qsort(p->sorted, rows, sizeof *p->sorted, by_patch);
  *out = p;
  return TR_OK;
}

void tr_picks_destroy(tr_picks *picks) {
  if (!picks)
    return;
  if (picks->in_host)
    tr_device_free_pinned(picks->device, picks->rows);
  else
    tr_device_free(picks->device, picks->rows);
  free(picks->sorted);
  free(picks);
}

/* The first pick at this patch or behind it. */
static size_t first_from(const tr_picks *p, size_t patch) {
  size_t low = 0, high = p->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (p->sorted[middle].patch < patch)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

bool tr_picks_want(const tr_picks *picks, size_t image) {
  size_t first = first_from(picks, image * picks->patches);
  return first < picks->count && picks->sorted[first].patch < (image + 1) * picks->patches;
}

tr_status tr_picks_collect(tr_picks *picks, size_t image, const float *features) {
  size_t begin = image * picks->patches, end = begin + picks->patches, bytes = picks->d * sizeof(float),
         i = first_from(picks, begin);
  for (; i < picks->count && picks->sorted[i].patch < end; ++i) {
    float *to = picks->rows + picks->sorted[i].place * picks->d;
    const float *from = features + (picks->sorted[i].patch - begin) * picks->d;
    TR_TRY(picks->in_host ? tr_device_download(picks->device, to, from, bytes) : tr_device_copy(picks->device, to, from, bytes));
    (void)atomic_fetch_add(&picks->collected, 1);
  }
  return TR_OK;
}

static tr_status read_row(tr_picks *picks, const tr_feature_file *file, const pick *from, float *row) {
  size_t bytes = picks->d * sizeof(float);
  float *to = picks->rows + from->place * picks->d;
  TR_TRY(tr_feature_file_read(file, from->patch * bytes, picks->in_host ? to : row, bytes));
  return picks->in_host ? TR_OK : tr_device_upload(picks->device, to, row, bytes);
}

tr_status tr_picks_read(tr_picks *picks, const tr_feature_file *file) {
  float *row = malloc(picks->d * sizeof *row);
  tr_status status = row ? TR_OK : tr_fail(TR_ENOMEM, "a bank row: out of memory");
  for (size_t i = 0; status == TR_OK && i < picks->count; ++i)
    status = read_row(picks, file, &picks->sorted[i], row);
  free(row);
  if (status == TR_OK)
    atomic_store(&picks->collected, picks->count);
  return status;
}

tr_status tr_picks_take(tr_picks *picks, float **rows) {
  if (atomic_load(&picks->collected) != picks->count)
    return tr_fail(TR_EINTERNAL, "%zu of %zu bank rows were collected", atomic_load(&picks->collected), picks->count);
  TR_TRY(tr_device_sync(picks->device));
  *rows = picks->rows;
  picks->rows = NULL;
  return TR_OK;
}
