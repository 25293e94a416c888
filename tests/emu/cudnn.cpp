/* The part of cuDNN 9 that kernels/cuda calls, on the cpu. */
#include "tests/emu/runtime.h"

#include <cudnn.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>

struct cudnnContext {
  cudaStream_t stream = nullptr;
};

namespace {

std::mutex lock;
std::set<cudnnHandle_t> handles;

[[noreturn]] void die(const char *call, const char *text) {
  fprintf(stderr, "emulated cuDNN: %s: %s\n", call, text);
  abort();
}

void check_handle(cudnnHandle_t handle, const char *call) {
  std::lock_guard<std::mutex> hold(lock);
  if (!handles.count(handle))
    die(call, "the handle has not been created, or has been destroyed");
}

} // namespace

extern "C" {

cudnnStatus_t cudnnCreate(cudnnHandle_t *out) {
  std::lock_guard<std::mutex> hold(lock);
  *out = new cudnnContext;
  handles.insert(*out);
  emu_count("cuDNN handles", 1);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  check_handle(handle, "cudnnDestroy");
  std::lock_guard<std::mutex> hold(lock);
  handles.erase(handle);
  delete handle;
  emu_count("cuDNN handles", -1);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  check_handle(handle, "cudnnSetStream");
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

size_t cudnnGetVersion(void) {
  return CUDNN_VERSION;
}

const char *cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
  case CUDNN_STATUS_SUCCESS:
    return "CUDNN_STATUS_SUCCESS";
  case CUDNN_STATUS_BAD_PARAM:
    return "CUDNN_STATUS_BAD_PARAM";
  case CUDNN_STATUS_NOT_SUPPORTED:
    return "CUDNN_STATUS_NOT_SUPPORTED";
  default:
    return "an emulated cuDNN error";
  }
}

} /* extern "C" */
