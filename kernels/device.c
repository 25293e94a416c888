/* Devices: opening by name, memory accounts, lanes. What a kind of device does stands in its backend (kernels/cpu/device.c). */
#include "kernels/device.h"

#include "host/base/status.h"
#include "kernels/backend.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tr_device {
  const tr_backend *backend;
  void *state;
  tr_pool *pool;
  char name[32];
  char description[160];
  atomic_size_t bytes, peak_bytes;
};

static const tr_backend *const backends[] = {
    &tr_cpu_backend,
#ifdef TR_HAVE_CUDA
    &tr_cuda_backend,
#endif
};

static const tr_backend *find_backend(const char *name) {
  for (size_t i = 0; i < sizeof backends / sizeof *backends; ++i) {
    size_t length = strlen(backends[i]->name);
    if (strncmp(name, backends[i]->name, length) == 0 && (name[length] == '\0' || name[length] == ':'))
      return backends[i];
  }
  return NULL;
}

tr_status tr_device_open(const char *name, int threads, tr_device **out) {
  *out = NULL;
  const tr_backend *backend = find_backend(name);
  if (!backend)
#ifdef TR_HAVE_CUDA
    return tr_fail(TR_EDEVICE, "device \"%s\": expected cpu, cuda or cuda:N", name);
#else
    return tr_fail(TR_EDEVICE, "device \"%s\": this build has the cpu only (preset cuda builds the GPU code)", name);
#endif
  tr_device *device = calloc(1, sizeof *device);
  if (!device)
    return tr_fail(TR_ENOMEM, "opening device %s: out of memory", name);
  device->backend = backend;
  tr_status status = tr_pool_create(threads, &device->pool);
  if (status == TR_OK)
    status =
        backend->open(name, device->name, sizeof device->name, device->description, sizeof device->description, &device->state);
  if (status != TR_OK) {
    tr_pool_destroy(device->pool);
    free(device);
    return status;
  }
  *out = device;
  return TR_OK;
}

void tr_device_close(tr_device *device) {
  if (!device)
    return;
  device->backend->close(device->state);
  tr_pool_destroy(device->pool);
  free(device);
}

static tr_status open_numbered(const char *names, size_t kind, const char *number, int threads, tr_devices *out) {
  char name[64];
  snprintf(name, sizeof name, "%.*s:%.*s", (int)kind, names, (int)strcspn(number, ","), number);
  tr_device *device;
  TR_TRY(tr_device_open(name, threads, &device));
  out->items[out->count++] = device;
  for (size_t i = 0; i + 1 < out->count; ++i)
    if (strcmp(out->items[i]->name, device->name) == 0)
      return tr_fail(TR_EDEVICE, "device \"%s\": %s is named twice", names, device->name);
  return TR_OK;
}

/* "cuda:0,1" */
static tr_status open_listed(const char *names, int threads, tr_devices *out) {
  size_t kind = strcspn(names, ":,"), count = 1;
  for (const char *p = names; *p; ++p)
    count += *p == ',';
  if (names[kind] != ':' || count > TR_MAX_DEVICES)
    return tr_fail(TR_EDEVICE, "device \"%.80s\": expected up to %d devices of a kind, as cuda:0,1", names, TR_MAX_DEVICES);
  int share = (threads ? threads : tr_processors()) / (int)count;
  const char *number = names + kind + 1;
  for (size_t i = 0; i < count; ++i, number += strcspn(number, ",") + 1)
    TR_TRY(open_numbered(names, kind, number, share ? share : 1, out));
  return TR_OK;
}

tr_status tr_devices_open(const char *names, int threads, tr_devices *out) {
  *out = (tr_devices){.count = 0};
  if (!strchr(names, ',')) {
    TR_TRY(tr_device_open(names, threads, &out->items[0]));
    out->count = 1;
    return TR_OK;
  }
  tr_status status = open_listed(names, threads, out);
  if (status != TR_OK)
    tr_devices_close(out);
  return status;
}

void tr_devices_describe(tr_describe_fn line, void *context) {
  for (size_t i = 0; i < sizeof backends / sizeof *backends; ++i)
    backends[i]->describe(line, context);
#ifndef TR_HAVE_CUDA
  line(context, "cuda", "not in this build (preset cuda builds the GPU code)");
#endif
}

void tr_devices_close(tr_devices *devices) {
  for (size_t i = 0; i < devices->count; ++i)
    tr_device_close(devices->items[i]);
  devices->count = 0;
}

const char *tr_device_name(const tr_device *device) {
  return device->name;
}
const char *tr_device_description(const tr_device *device) {
  return device->description;
}
void *tr_device_state(const tr_device *device) {
  return device->state;
}
tr_pool *tr_device_pool(const tr_device *device) {
  return device->pool;
}
const tr_operators *tr_device_operators(const tr_device *device) {
  return device->backend->operators;
}

static void account(tr_device *device, size_t bytes) {
  size_t now = atomic_fetch_add(&device->bytes, bytes) + bytes;
  size_t peak = atomic_load(&device->peak_bytes);
  while (now > peak && !atomic_compare_exchange_weak(&device->peak_bytes, &peak, now))
    continue;
}

tr_status tr_device_alloc(tr_device *device, size_t bytes, void **out) {
  *out = NULL;
  if (bytes == 0)
    return TR_OK;
  TR_TRY(device->backend->alloc(device->state, bytes, out));
  account(device, device->backend->size(device->state, *out));
  return TR_OK;
}

void tr_device_free(tr_device *device, void *memory) {
  if (!memory)
    return;
  atomic_fetch_sub(&device->bytes, device->backend->size(device->state, memory));
  device->backend->free(device->state, memory);
}

size_t tr_device_bytes(const tr_device *device) {
  return atomic_load(&device->bytes);
}
size_t tr_device_peak_bytes(const tr_device *device) {
  return atomic_load(&device->peak_bytes);
}
void tr_device_reset_peak(tr_device *device) {
  atomic_store(&device->peak_bytes, atomic_load(&device->bytes));
}
size_t tr_device_free_bytes(tr_device *device) {
  return device->backend->free_bytes ? device->backend->free_bytes(device->state) : SIZE_MAX;
}

tr_status tr_device_upload(tr_device *device, void *to, const void *from_host, size_t bytes) {
  return device->backend->copy(device->state, to, from_host, bytes, TR_COPY_UPLOAD);
}
tr_status tr_device_download(tr_device *device, void *to_host, const void *from, size_t bytes) {
  return device->backend->copy(device->state, to_host, from, bytes, TR_COPY_DOWNLOAD);
}
tr_status tr_device_copy(tr_device *device, void *to, const void *from, size_t bytes) {
  return device->backend->copy(device->state, to, from, bytes, TR_COPY_WITHIN);
}
tr_status tr_device_zero(tr_device *device, void *memory, size_t bytes) {
  return device->backend->zero(device->state, memory, bytes);
}
tr_status tr_device_sync(tr_device *device) {
  return device->backend->sync(device->state);
}

tr_status tr_device_clock(tr_device *device, double *seconds) {
  return device->backend->clock(device->state, seconds);
}
const char *tr_device_clock_name(const tr_device *device) {
  return device->backend->clock_name;
}
tr_frequencies tr_device_frequencies(const tr_device *device) {
  return device->backend->frequencies ? device->backend->frequencies(device->state) : (tr_frequencies){NAN, NAN};
}

tr_status tr_device_gather(tr_device *device, void *to, const void *from, const uint32_t *rows, size_t count, size_t row_bytes) {
  return device->backend->gather(device->state, to, from, rows, count, row_bytes);
}

bool tr_device_works_alone(const tr_device *device) {
  return device->backend->upload_queued != NULL;
}

bool tr_device_shares_memory(const tr_device *device) {
  return device->backend->alloc_pinned == NULL;
}

tr_status tr_device_alloc_pinned(tr_device *device, size_t bytes, void **out) {
  *out = NULL;
  if (bytes == 0)
    return TR_OK;
  const tr_backend *backend = device->backend;
  return backend->alloc_pinned ? backend->alloc_pinned(device->state, bytes, out) : backend->alloc(device->state, bytes, out);
}

void tr_device_free_pinned(tr_device *device, void *memory) {
  const tr_backend *backend = device->backend;
  if (memory && backend->free_pinned)
    backend->free_pinned(device->state, memory);
  else if (memory)
    backend->free(device->state, memory);
}

tr_status tr_device_upload_queued(tr_device *device, void *to, const void *from_pinned, size_t bytes) {
  const tr_backend *backend = device->backend;
  return backend->upload_queued ? backend->upload_queued(device->state, to, from_pinned, bytes)
                                : backend->copy(device->state, to, from_pinned, bytes, TR_COPY_UPLOAD);
}

tr_status tr_mark_create(tr_device *device, tr_mark **out) {
  *out = NULL;
  return device->backend->mark_create ? device->backend->mark_create(device->state, out) : TR_OK;
}

void tr_mark_destroy(tr_device *device, tr_mark *mark) {
  if (mark)
    device->backend->mark_destroy(device->state, mark);
}

tr_status tr_mark_set(tr_device *device, tr_mark *mark, tr_queue queue) {
  return mark ? device->backend->mark_set(device->state, mark, queue) : TR_OK;
}

tr_status tr_mark_follow(tr_device *device, const tr_mark *mark, tr_queue queue) {
  return mark ? device->backend->mark_follow(device->state, mark, queue) : TR_OK;
}

tr_status tr_mark_await(tr_device *device, const tr_mark *mark) {
  return mark ? device->backend->mark_await(device->state, mark) : TR_OK;
}

int tr_device_lanes(const tr_device *device) {
  return device->backend->lanes(device->state, device->pool);
}
size_t tr_device_chunk(const tr_device *device) {
  return device->backend->chunk(device->state);
}

tr_status tr_device_replay(tr_device *device, tr_recording **recording, tr_record_fn fn, void *context) {
  return device->backend->replay ? device->backend->replay(device->state, recording, fn, context) : fn(context);
}

void tr_recording_free(tr_device *device, tr_recording *recording) {
  if (recording)
    device->backend->forget(device->state, recording);
}

typedef struct chunk_job {
  tr_chunk_fn fn;
  void *context;
  size_t n, chunk;
  bool one_lane;
} chunk_job;

static tr_status run_chunk(void *context, size_t task) {
  const chunk_job *job = context;
  size_t first = task * job->chunk, left = job->n - first;
  return job->fn(job->context, first, left < job->chunk ? left : job->chunk, job->one_lane ? 0 : tr_pool_worker());
}

tr_status tr_device_for_chunks(tr_device *device, size_t n, tr_chunk_fn fn, void *context) {
  chunk_job job = {fn, context, n, tr_device_chunk(device), tr_device_lanes(device) == 1};
  size_t chunks = (n + job.chunk - 1) / job.chunk;
  if (!job.one_lane)
    return tr_pool_run(device->pool, chunks, run_chunk, &job);
  for (size_t i = 0; i < chunks; ++i)
    TR_TRY(run_chunk(&job, i));
  return TR_OK;
}
