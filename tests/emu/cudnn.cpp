/* The part of cuDNN 9 that kernels/cuda calls, on the cpu: handles, errors, and the arithmetic of a convolution. The graph API is
 * in cudnn_graph.cpp, the classic call in cudnn_classic.cpp. */
#include "tests/emu/cudnn_parts.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <string>

extern "C" {
#include "kernels/cpu/gemm.h"
}

namespace {

std::mutex lock;
std::set<cudnnHandle_t> handles;
thread_local std::string last_error;

float to_tf32(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if (std::isfinite(x))
    bits = (bits + 0x1000u) & 0xffffe000u;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* Rows of a matrix product: the source cells under the kernel at each output pixel of an image, for one group. */
void lay_patches(const emu_convolution &c, const float *src, int64_t image, int64_t group, float *to) {
  int64_t in = c.weights.dim[1];
  for (int64_t y = 0; y < c.out[2]; ++y)
    for (int64_t x = 0; x < c.out[3]; ++x)
      for (int64_t i = 0; i < c.weights.dim[2]; ++i)
        for (int64_t j = 0; j < c.weights.dim[3]; ++j, to += in) {
          int64_t row = y * c.stride[0] + i * c.dilation[0] - c.pad[0], column = x * c.stride[1] + j * c.dilation[1] - c.pad[1];
          if (row < 0 || row >= c.src.dim[2] || column < 0 || column >= c.src.dim[3]) {
            memset(to, 0, (size_t)in * sizeof *to);
            continue;
          }
          const float *from = src + c.src.at(image, group * in, row, column);
          for (int64_t k = 0; k < in; ++k)
            to[k] = from[k * c.src.stride[1]];
        }
}

std::vector<float> lay_weights(const emu_convolution &c, const float *weights, int64_t group, int64_t out) {
  std::vector<float> rows;
  for (int64_t o = 0; o < out; ++o)
    for (int64_t i = 0; i < c.weights.dim[2]; ++i)
      for (int64_t j = 0; j < c.weights.dim[3]; ++j)
        for (int64_t k = 0; k < c.weights.dim[1]; ++k)
          rows.push_back(weights[c.weights.at(group * out + o, k, i, j)]);
  return rows;
}

/* to[pixel][o] = patches * weights^T, the sum cut in two at `cut`. */
void multiply(size_t pixels, size_t out, size_t depth, size_t cut, const float *patches, const float *weights, float *to,
              size_t ld) {
  tr_gemm first = {pixels, out, cut, patches, depth, weights, depth, true, to, ld, false};
  tr_cpu_gemm(&first);
  if (cut == depth)
    return;
  std::vector<float> rest(pixels * out);
  tr_gemm second = {pixels, out, depth - cut, patches + cut, depth, weights + cut, depth, true, rest.data(), out, false};
  tr_cpu_gemm(&second);
  for (size_t i = 0; i < pixels; ++i)
    for (size_t o = 0; o < out; ++o)
      to[i * ld + o] += rest[i * out + o];
}

} // namespace

void emu_cudnn_die(const char *call, const char *text) {
  fprintf(stderr, "emulated cuDNN: %s: %s\n", call, text);
  abort();
}

cudnnStatus_t emu_cudnn_fail(cudnnStatus_t status, const char *text) {
  last_error = text;
  return status;
}

void emu_cudnn_check_handle(cudnnHandle_t handle, const char *call) {
  std::lock_guard<std::mutex> hold(lock);
  if (!handles.count(handle))
    emu_cudnn_die(call, "the handle has not been created, or has been destroyed");
}

std::vector<float> emu_convolve(const emu_convolution &c, const float *src, const float *weights) {
  size_t pixels = (size_t)(c.out[2] * c.out[3]), channels = (size_t)c.out[1], out = channels / (size_t)c.groups;
  size_t depth = (size_t)(c.weights.dim[1] * c.weights.dim[2] * c.weights.dim[3]);
  size_t cut = depth < 2 ? depth : 1 + (c.order * 2654435761u + (unsigned)depth) / 64 % (depth - 1);
  std::vector<float> sums((size_t)c.out[0] * pixels * channels), patches(pixels * depth);
  for (int64_t group = 0; group < c.groups; ++group) {
    std::vector<float> rows = lay_weights(c, weights, group, (int64_t)out);
    for (float &w : rows)
      w = c.tf32 ? to_tf32(w) : w;
    for (int64_t image = 0; image < c.out[0]; ++image) {
      lay_patches(c, src, image, group, patches.data());
      for (size_t i = 0; c.tf32 && i < patches.size(); ++i)
        patches[i] = to_tf32(patches[i]);
      multiply(pixels, out, depth, cut, patches.data(), rows.data(),
               sums.data() + (size_t)image * pixels * channels + (size_t)group * out, channels);
    }
  }
  return sums;
}

extern "C" {

cudnnStatus_t cudnnCreate(cudnnHandle_t *out) {
  std::lock_guard<std::mutex> hold(lock);
  *out = new cudnnContext;
  handles.insert(*out);
  emu_count("cuDNN handles", 1);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  emu_cudnn_check_handle(handle, "cudnnDestroy");
  std::lock_guard<std::mutex> hold(lock);
  handles.erase(handle);
  delete handle;
  emu_count("cuDNN handles", -1);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  emu_cudnn_check_handle(handle, "cudnnSetStream");
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

size_t cudnnGetVersion(void) {
  return CUDNN_VERSION;
}

const char *cudnnGetErrorString(cudnnStatus_t status) {
  switch (CUDNN_STATUS_CATEGORY(status)) {
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

void cudnnGetLastErrorString(char *message, size_t bytes) {
  snprintf(message, bytes, "%s", last_error.c_str());
  last_error.clear();
}

} /* extern "C" */
