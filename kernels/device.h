/* Device, memory and the table of operators.
 *
 * Code in host/ calls operators through a tr_device and never asks which device it is. Pointers in an operator's arguments
 * are device memory (from tr_device_alloc) unless the argument's comment says "host". On the cpu device both are the same.
 *
 * Every operator has one file pair: kernels/<op>.h with its contract, kernels/<op>.c with the checks of sizes and the
 * dispatch, kernels/cpu/<op>.c and kernels/cuda/<op>.cu with the twins. All arrays are row-major; feature maps are NHWC
 * (channels last), float.
 */
#ifndef TR_KERNELS_DEVICE_H
#define TR_KERNELS_DEVICE_H

#include "host/base/threads.h"
#include "host/totalrecall.h"

/* Marks the inline functions that a GPU's kernels call too. */
#ifdef __CUDACC__
#define TR_HOST_DEVICE __host__ __device__
#else
#define TR_HOST_DEVICE
#endif

typedef struct tr_device tr_device;

/* name: "cpu", or "cuda" / "cuda:N". threads: worker threads (0 = all processors). EDEVICE says what is missing. */
tr_status tr_device_open(const char *name, int threads, tr_device **out);
void tr_device_close(tr_device *device);
const char *tr_device_name(const tr_device *device);        /* "cpu", "cuda:0" */
const char *tr_device_description(const tr_device *device); /* processor or GPU model */
tr_pool *tr_device_pool(const tr_device *device);           /* host threads that feed the device */

/* What this build can use and what of it is there, for people: a device with its model, a library with its version, or what is
 * missing. */
typedef void (*tr_describe_fn)(void *context, const char *name, const char *text);
void tr_devices_describe(tr_describe_fn line, void *context);

/* Several of a kind, for work that falls into independent parts: "cuda:0,1" (or one, as above). Threads are shared out among them. */
enum { TR_MAX_DEVICES = 64 };
typedef struct tr_devices {
  tr_device *items[TR_MAX_DEVICES];
  size_t count;
} tr_devices;
tr_status tr_devices_open(const char *names, int threads, tr_devices *out);
void tr_devices_close(tr_devices *devices);

/* Whether host memory is the device's memory too, so that arguments may point at it: the cpu. */
bool tr_device_shares_memory(const tr_device *device);

/* Uninitialised memory, 64-byte aligned. bytes = 0 gives NULL. */
tr_status tr_device_alloc(tr_device *device, size_t bytes, void **out);
void tr_device_free(tr_device *device, void *memory);
size_t tr_device_bytes(const tr_device *device);      /* allocated now */
size_t tr_device_peak_bytes(const tr_device *device); /* most ever allocated since the last reset */
void tr_device_reset_peak(tr_device *device);
/* What can still be allocated, less a reserve for what libraries load; SIZE_MAX where nobody can say (the cpu). */
size_t tr_device_free_bytes(tr_device *device);

tr_status tr_device_upload(tr_device *device, void *to, const void *from_host, size_t bytes);
tr_status tr_device_download(tr_device *device, void *to_host, const void *from, size_t bytes);
tr_status tr_device_copy(tr_device *device, void *to, const void *from, size_t bytes);
tr_status tr_device_zero(tr_device *device, void *memory, size_t bytes);
tr_status tr_device_sync(tr_device *device); /* waits for all of the above and for operators */

/* Gathers rows: to[i] = from[rows[i]], each row_bytes long; `rows` is host memory. */
tr_status tr_device_gather(tr_device *device, void *to, const void *from, const uint32_t *rows, size_t count, size_t row_bytes);

/* Lanes: how many chunks of images the device works on side by side. The cpu has one lane per thread and wants chunks of one
 * image, the GPU one lane (a stream) and large chunks. tr_device_for_chunks cuts n items into chunks of
 * tr_device_chunk() items and calls fn(context, first, count, lane) for each; inside, operators run serially within the
 * lane. What an item gives never depends on how items are cut. */
int tr_device_lanes(const tr_device *device);
size_t tr_device_chunk(const tr_device *device);
typedef tr_status (*tr_chunk_fn)(void *context, size_t first, size_t count, int lane);
tr_status tr_device_for_chunks(tr_device *device, size_t n, tr_chunk_fn fn, void *context);

/* ---- work beside work ----
 * What is called above goes into the device's queue of operators, in order. Queued uploads have a queue of their own and go on beside
 * the operators. Between the two queues, and between a queue and the host, marks make the order. On the cpu all is done at once, and
 * marks are empty. These calls may come from any thread. A device that works alone has one lane. */
typedef enum tr_queue { TR_QUEUE_OPERATORS, TR_QUEUE_UPLOADS } tr_queue;

/* Whether the device goes on while the host does something else: then images are worth decoding ahead. */
bool tr_device_works_alone(const tr_device *device);

/* Host memory that the device reads itself (page-locked on a GPU). */
tr_status tr_device_alloc_pinned(tr_device *device, size_t bytes, void **out);
void tr_device_free_pinned(tr_device *device, void *memory);

/* `from_pinned` must stay as it is until the upload is done: tr_mark_await on a mark set behind it. */
tr_status tr_device_upload_queued(tr_device *device, void *to, const void *from_pinned, size_t bytes);

/* A place in a queue. */
typedef struct tr_mark tr_mark;
tr_status tr_mark_create(tr_device *device, tr_mark **out);
void tr_mark_destroy(tr_device *device, tr_mark *mark); /* takes NULL */
/* The mark is now behind all that is in the queue. */
tr_status tr_mark_set(tr_device *device, tr_mark *mark, tr_queue queue);
/* What is queued from now on waits for what stands before the mark. A mark that was never set is not waited for. */
tr_status tr_mark_follow(tr_device *device, const tr_mark *mark, tr_queue queue);
/* The host waits. */
tr_status tr_mark_await(tr_device *device, const tr_mark *mark);

/* ---- time ----
 * Waits for the operators that are queued, and says when the last of them was done: seconds since the device was opened, by its own clock
 * (a GPU's events; the cpu's monotonic clock). A difference is what the work took, and what the host did while the device waited for it.
 * From any thread. */
tr_status tr_device_clock(tr_device *device, double *seconds);
const char *tr_device_clock_name(const tr_device *device); /* "CUDA events" */

/* In MHz the most that the driver lets the processors and the memory have; NaN where nobody can say (the cpu). */
typedef struct tr_frequencies {
  double core_mhz, memory_mhz;
} tr_frequencies;
tr_frequencies tr_device_frequencies(const tr_device *device);

/* A recording of operator calls, replayed as one. On a GPU the first call runs fn as it is (operators may still allocate and choose
 * kernels), the second one records what fn queues into a CUDA graph, and from then on the graph is launched and fn not called: a
 * pass of a hundred small kernels costs one launch. On the cpu fn is called each time. fn must queue the same operators on the same
 * addresses every time, and not wait for the device. *recording is NULL at first; freed by tr_recording_free (takes NULL). */
typedef struct tr_recording tr_recording;
typedef tr_status (*tr_record_fn)(void *context);
tr_status tr_device_replay(tr_device *device, tr_recording **recording, tr_record_fn fn, void *context);
void tr_recording_free(tr_device *device, tr_recording *recording);

/* One entry per operator; a twin fills its table in kernels/cpu/device.c or kernels/cuda/device.cu. */
typedef struct tr_operators tr_operators;
const tr_operators *tr_device_operators(const tr_device *device);

#endif
