/* What a kind of device provides; kernels/device.c does the rest. */
#ifndef TR_KERNELS_BACKEND_H
#define TR_KERNELS_BACKEND_H

#include "kernels/device.h"

typedef enum tr_copy_kind { TR_COPY_UPLOAD, TR_COPY_DOWNLOAD, TR_COPY_WITHIN } tr_copy_kind;

typedef struct tr_backend {
  const char *name; /* "cpu", "cuda": a device is called <name> or <name>:<number> */
  const tr_operators *operators;
  tr_status (*open)(const char *wanted, char *name, size_t name_bytes, char *description, size_t description_bytes, void **state);
  void (*close)(void *state);
  void (*describe)(tr_describe_fn line, void *context);
  tr_status (*alloc)(void *state, size_t bytes, void **out);
  void (*free)(void *state, void *memory);
  size_t (*size)(void *state, const void *memory); /* bytes a block really takes */
  size_t (*free_bytes)(void *state);               /* NULL: nobody can say */
  tr_status (*copy)(void *state, void *to, const void *from, size_t bytes, tr_copy_kind kind);
  tr_status (*zero)(void *state, void *memory, size_t bytes);
  tr_status (*gather)(void *state, void *to, const void *from, const uint32_t *rows, size_t count, size_t row_bytes);
  tr_status (*sync)(void *state);
  const char *clock_name;
  tr_status (*clock)(void *state, double *seconds);
  tr_frequencies (*frequencies)(void *state); /* NULL: nobody can say */
  int (*lanes)(void *state, const tr_pool *pool);
  size_t (*chunk)(void *state);
  /* All NULL where everything is done at once, in host memory. */
  tr_status (*alloc_pinned)(void *state, size_t bytes, void **out);
  void (*free_pinned)(void *state, void *memory);
  tr_status (*upload_queued)(void *state, void *to, const void *from, size_t bytes);
  tr_status (*mark_create)(void *state, tr_mark **out);
  void (*mark_destroy)(void *state, tr_mark *mark);
  tr_status (*mark_set)(void *state, tr_mark *mark, tr_queue queue);
  tr_status (*mark_follow)(void *state, const tr_mark *mark, tr_queue queue);
  tr_status (*mark_await)(void *state, const tr_mark *mark);
  /* NULL where calls are not recorded. */
  tr_status (*replay)(void *state, tr_recording **recording, tr_record_fn fn, void *context);
  void (*forget)(void *state, tr_recording *recording);
} tr_backend;

extern const tr_backend tr_cpu_backend;
#ifdef TR_HAVE_CUDA
extern const tr_backend tr_cuda_backend;
#endif

/* The state that the device's backend opened. */
void *tr_device_state(const tr_device *device);

#endif
