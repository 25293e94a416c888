/* FAISS on a GPU, for indexes that the device does not search by itself (host/search/ivf.h): a copy of the index that lies there. In builds for
 * a GPU whose FAISS has its GPU part; elsewhere there is none. Has run under emulation only (tests/emu/faiss_gpu.cpp), on no GPU. */
#ifndef TR_SEARCH_FAISS_GPU_H
#define TR_SEARCH_FAISS_GPU_H

#include <faiss/c_api/Index_c.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "kernels/device.h"

typedef struct tr_faiss_gpu tr_faiss_gpu;

#ifdef TR_HAVE_FAISS_GPU
/* NULL: the device is no GPU, or FAISS does not have such an index there (HNSW) or no room for it; it is searched on the host. */
tr_faiss_gpu *tr_faiss_gpu_create(const tr_device *device, const FaissIndex *index);
void tr_faiss_gpu_destroy(tr_faiss_gpu *gpu);
/* To be searched by one thread at a time, from host memory to host memory. */
FaissIndex *tr_faiss_gpu_index(const tr_faiss_gpu *gpu);
tr_status tr_faiss_gpu_set_parameter(tr_faiss_gpu *gpu, const char *name, double value);
#else
static inline tr_faiss_gpu *tr_faiss_gpu_create(const tr_device *device, const FaissIndex *index) {
  (void)device;
  (void)index;
  return NULL;
}
static inline void tr_faiss_gpu_destroy(tr_faiss_gpu *gpu) {
  (void)gpu;
}
static inline FaissIndex *tr_faiss_gpu_index(const tr_faiss_gpu *gpu) {
  (void)gpu;
  return NULL;
}
static inline tr_status tr_faiss_gpu_set_parameter(tr_faiss_gpu *gpu, const char *name, double value) {
  (void)gpu;
  (void)name;
  (void)value;
  return TR_OK;
}
#endif

#ifdef __cplusplus
}
#endif

#endif
