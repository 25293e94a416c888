/* What the cuda twins share: the device's state, error checks, launch shapes. */
#ifndef TR_KERNELS_CUDA_H
#define TR_KERNELS_CUDA_H

#include "kernels/cuda/launch.h"

#include <cublas_v2.h>
#include <cudnn.h>

extern "C" {
#include "host/base/status.h"
#include "kernels/backend.h"
#include "kernels/operators.h"
}

/* One GPU: everything is queued on one stream, in order. */
struct tr_cuda {
  int ordinal;
  cudaStream_t stream;
  cublasHandle_t blas;
  cudnnHandle_t dnn;
  void *blas_workspace; /* given to cuBLAS, so that its results do not depend on what else it allocates */
  bool conv_tf32;       /* TOTALRECALL_CONV_MATH=tf32: convolutions may use tensor cores on float */
  bool dnn_classic;     /* TOTALRECALL_CUDNN=classic: convolutions by cuDNN's classic call */
  int multiprocessors;
  size_t shared_bytes; /* dynamic shared memory a block may have, opted in */
};

static inline tr_cuda *tr_cuda_of(const tr_device *device) {
  return static_cast<tr_cuda *>(tr_device_state(device));
}

/* Error text of a failed call: what was called, and what the library says. */
tr_status tr_cuda_failed(cudaError_t error, const char *call);
tr_status tr_cublas_failed(cublasStatus_t error, const char *call);
tr_status tr_cudnn_failed(cudnnStatus_t error, const char *call);

#define TR_CUDA_TRY(call)                           \
  do {                                              \
    cudaError_t tr_cuda_error_ = (call);            \
    if (tr_cuda_error_ != cudaSuccess)              \
      return tr_cuda_failed(tr_cuda_error_, #call); \
  } while (0)
#define TR_CUBLAS_TRY(call)                             \
  do {                                                  \
    cublasStatus_t tr_cublas_error_ = (call);           \
    if (tr_cublas_error_ != CUBLAS_STATUS_SUCCESS)      \
      return tr_cublas_failed(tr_cublas_error_, #call); \
  } while (0)
#define TR_CUDNN_TRY(call)                            \
  do {                                                \
    cudnnStatus_t tr_cudnn_error_ = (call);           \
    if (tr_cudnn_error_ != CUDNN_STATUS_SUCCESS)      \
      return tr_cudnn_failed(tr_cudnn_error_, #call); \
  } while (0)

/* After a launch: whether it was accepted. */
#define TR_CUDA_LAUNCHED() TR_CUDA_TRY(cudaGetLastError())

/* Blocks of `threads` that cover n items; refused beforehand where a grid could not hold them. */
static inline unsigned tr_cuda_blocks(size_t n, unsigned threads) {
  return (unsigned)((n + threads - 1) / threads);
}

/* Blocks of a kernel that goes through n items, `per_block` at a time: at most about as many as a GPU runs at once. */
static inline unsigned tr_cuda_loop_blocks(size_t n, unsigned per_block) {
  const size_t blocks = (n + per_block - 1) / per_block, most = 4096;
  return (unsigned)(blocks < most ? blocks : most);
}

extern "C" {
tr_status tr_cuda_resize(tr_device *device, const tr_resize_args *args);
tr_status tr_cuda_conv_bytes(tr_device *device, const tr_conv_desc *desc, int n, size_t *state_bytes, size_t *scratch_bytes);
tr_status tr_cuda_conv_create(tr_device *device, const tr_conv_desc *desc, const float *weights, const float *bias, void **state);
void tr_cuda_conv_destroy(tr_device *device, void *state);
tr_status tr_cuda_conv_run(tr_device *device, const tr_conv_desc *desc, void *state, const tr_conv_args *args);
tr_status tr_cuda_pool(tr_device *device, const tr_pool_args *args);
tr_status tr_cuda_affine(tr_device *device, const tr_affine_args *args);
size_t tr_cuda_aggregate_scratch(const tr_device *device, const tr_aggregate_spec *spec, int n);
tr_status tr_cuda_aggregate(tr_device *device, const tr_aggregate_args *args);
size_t tr_cuda_project_bytes(size_t n, size_t d, size_t d_star);
tr_status tr_cuda_project(tr_device *device, const tr_project_args *args);
size_t tr_cuda_coreset_scratch(const tr_device *device, size_t n, int d, size_t picks);
tr_status tr_cuda_coreset(tr_device *device, const tr_coreset_args *args);
size_t tr_cuda_proxies_scratch(const tr_device *device, size_t count, int d, size_t batch);
tr_status tr_cuda_proxies_step(tr_device *device, const tr_proxies_step *step);
size_t tr_cuda_nearest_scratch(const tr_device *device, size_t queries_count, size_t group, size_t bank_rows, int d, int k);
tr_status tr_cuda_nearest(tr_device *device, const tr_nearest_args *args);
size_t tr_cuda_nearest_sketch_bytes(const tr_device *device, size_t bank_rows, int d);
size_t tr_cuda_nearest_sketch_scratch(const tr_device *device, size_t bank_rows, int d);
tr_status tr_cuda_nearest_sketch(tr_device *device, const float *bank, size_t bank_rows, int d, void *sketch, void *scratch);
tr_status tr_cuda_squared_norms(tr_device *device, const float *rows, size_t n, int d, float *norms);
size_t tr_cuda_ivf_scratch(const tr_device *device, const tr_ivf_shape *shape, size_t queries_count, int nprobe, int k);
tr_status tr_cuda_ivf(tr_device *device, const tr_ivf_args *args, const uint32_t *probes, void *scratch);
tr_status tr_cuda_reweight(tr_device *device, const tr_reweight_args *args);
tr_status tr_cuda_upsample(tr_device *device, const tr_upsample_args *args);
tr_status tr_cuda_mosaic(tr_device *device, const tr_mosaic_args *args);
size_t tr_cuda_smooth_scratch(const tr_device *device, int n, int h, int w);
tr_status tr_cuda_smooth(tr_device *device, const tr_smooth_args *args);
size_t tr_cuda_sort_scan_scratch(const tr_device *device, size_t n);
tr_status tr_cuda_sort_scan(tr_device *device, const tr_sort_scan_args *args);
size_t tr_cuda_channels_scratch(const tr_device *device, const tr_channels_spec *spec, int n);
tr_status tr_cuda_channels(tr_device *device, const tr_channels_args *args);
size_t tr_cuda_gaussian_scratch(const tr_device *device, const tr_gaussian_spec *spec);
tr_status tr_cuda_gaussian_add(tr_device *device, const tr_gaussian_args *args);
tr_status tr_cuda_gaussian_finish(tr_device *device, const tr_gaussian_args *args);
tr_status tr_cuda_gaussian_distance(tr_device *device, const tr_gaussian_args *args);
}

#endif
