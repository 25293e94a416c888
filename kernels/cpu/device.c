/* The cpu backend: host memory, one lane per thread, chunks of one image. */
#include "host/base/clock.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Blocks of LARGE bytes and more come from mmap and go back to the system when freed, so that the peak resident set is what is
 * in use and not what the allocator keeps. Each block's size stands in the line before it. */
enum { HEAD = 64, LARGE = 1 << 20 };

typedef struct block_head {
  size_t bytes; /* whole block, head included */
} block_head;

static block_head *head_of(const void *memory) {
  return (block_head *)((const char *)memory - HEAD);
}

static tr_status cpu_open(const char *wanted, char *name, size_t name_bytes, char *description, size_t description_bytes,
                          void **state) {
  if (strcmp(wanted, "cpu") != 0)
    return tr_fail(TR_EDEVICE, "device \"%s\": there is one cpu, called cpu", wanted);
  snprintf(name, name_bytes, "cpu");
  snprintf(description, description_bytes, "%s", tr_processor_name());
  *state = NULL;
  return TR_OK;
}

static void cpu_close(void *state) {
  (void)state;
}

static void cpu_describe(tr_describe_fn line, void *context) {
  line(context, "cpu", tr_processor_name());
}

static tr_status cpu_alloc(void *state, size_t bytes, void **out) {
  (void)state;
  char text[32];
  if (bytes > SIZE_MAX - 2 * HEAD)
    return tr_fail(TR_ENOMEM, "allocating %zu bytes: more than can be addressed", bytes);
  size_t whole = (bytes + HEAD - 1) / HEAD * HEAD + HEAD;
  void *block;
  if (whole >= LARGE) {
    block = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
      block = NULL;
    else
      madvise(block, whole, MADV_HUGEPAGE); /* a wish; where it is refused nothing changes but speed */
  } else
    block = aligned_alloc(HEAD, whole);
  if (!block)
    return tr_fail(TR_ENOMEM, "allocating %s: out of memory", tr_format_bytes(bytes, text, sizeof text));
  ((block_head *)block)->bytes = whole;
  *out = (char *)block + HEAD;
  return TR_OK;
}

static void cpu_free(void *state, void *memory) {
  (void)state;
  block_head *head = head_of(memory);
  if (head->bytes >= LARGE)
    munmap(head, head->bytes);
  else
    free(head);
}

static size_t cpu_size(void *state, const void *memory) {
  (void)state;
  return head_of(memory)->bytes;
}

static tr_status cpu_copy(void *state, void *to, const void *from, size_t bytes, tr_copy_kind kind) {
  (void)state;
  (void)kind;
  if (bytes)
    memmove(to, from, bytes);
  return TR_OK;
}

static tr_status cpu_zero(void *state, void *memory, size_t bytes) {
  (void)state;
  if (bytes)
    memset(memory, 0, bytes);
  return TR_OK;
}

static tr_status cpu_gather(void *state, void *to, const void *from, const uint32_t *rows, size_t count, size_t row_bytes) {
  (void)state;
  for (size_t i = 0; i < count; ++i)
    memcpy((char *)to + i * row_bytes, (const char *)from + rows[i] * row_bytes, row_bytes);
  return TR_OK;
}

static tr_status cpu_sync(void *state) {
  (void)state;
  return TR_OK;
}

static tr_status cpu_clock(void *state, double *seconds) {
  (void)state;
  *seconds = tr_seconds();
  return TR_OK;
}

static int cpu_lanes(void *state, const tr_pool *pool) {
  (void)state;
  return tr_pool_threads(pool);
}

static size_t cpu_chunk(void *state) {
  (void)state;
  return 1;
}

const tr_operators tr_cpu_operators = {
    .resize = tr_cpu_resize,
    .conv_bytes = tr_cpu_conv_bytes,
    .conv_create = tr_cpu_conv_create,
    .conv_destroy = tr_cpu_conv_destroy,
    .conv_run = tr_cpu_conv_run,
    .pool = tr_cpu_pool,
    .affine = tr_cpu_affine,
    .aggregate_scratch = tr_cpu_aggregate_scratch,
    .aggregate = tr_cpu_aggregate,
    .project_bytes = tr_cpu_project_bytes,
    .project = tr_cpu_project,
    .coreset_scratch = tr_cpu_coreset_scratch,
    .coreset = tr_cpu_coreset,
    .proxies_scratch = tr_cpu_proxies_scratch,
    .proxies_step = tr_cpu_proxies_step,
    .nearest_scratch = tr_cpu_nearest_scratch,
    .nearest = tr_cpu_nearest,
    .nearest_sketch_bytes = tr_cpu_nearest_sketch_bytes,
    .nearest_sketch_scratch = tr_cpu_nearest_sketch_scratch,
    .nearest_sketch = tr_cpu_nearest_sketch,
    .squared_norms = tr_cpu_squared_norms,
    .ivf_scratch = tr_cpu_ivf_scratch,
    .ivf = tr_cpu_ivf,
    .reweight = tr_cpu_reweight,
    .upsample = tr_cpu_upsample,
    .mosaic = tr_cpu_mosaic,
    .smooth_scratch = tr_cpu_smooth_scratch,
    .smooth = tr_cpu_smooth,
    .sort_scan_scratch = tr_cpu_sort_scan_scratch,
    .sort_scan = tr_cpu_sort_scan,
    .channels_scratch = tr_cpu_channels_scratch,
    .channels = tr_cpu_channels,
    .gaussian_scratch = tr_cpu_gaussian_scratch,
    .gaussian_add = tr_cpu_gaussian_add,
    .gaussian_finish = tr_cpu_gaussian_finish,
    .gaussian_distance = tr_cpu_gaussian_distance,
};

const tr_backend tr_cpu_backend = {
    .name = "cpu",
    .operators = &tr_cpu_operators,
    .open = cpu_open,
    .close = cpu_close,
    .describe = cpu_describe,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .size = cpu_size,
    .copy = cpu_copy,
    .zero = cpu_zero,
    .gather = cpu_gather,
    .sync = cpu_sync,
    .clock_name = "monotonic clock",
    .clock = cpu_clock,
    .lanes = cpu_lanes,
    .chunk = cpu_chunk,
};
