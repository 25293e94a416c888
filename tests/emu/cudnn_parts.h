/* What the two halves of the emulated cuDNN share: handles, errors, tensors, and a convolution in plain loops and matrix products. */
#ifndef TR_TESTS_EMU_CUDNN_PARTS_H
#define TR_TESTS_EMU_CUDNN_PARTS_H

#include "tests/emu/runtime.h"

#include <cudnn.h>

#include <cstdint>
#include <vector>

struct cudnnContext {
  cudaStream_t stream = nullptr;
};

/* Ends the process: what is asked for is not emulated, or undefined on a GPU. */
[[noreturn]] void emu_cudnn_die(const char *call, const char *text);
/* Sets what cudnnGetLastErrorString gives. */
cudnnStatus_t emu_cudnn_fail(cudnnStatus_t status, const char *text);
void emu_cudnn_check_handle(cudnnHandle_t handle, const char *call);

/* [n, c, h, w] with any strides (in values); float. */
struct emu_tensor {
  int64_t dim[4], stride[4];
  int64_t at(int64_t n, int64_t c, int64_t h, int64_t w) const {
    return n * stride[0] + c * stride[1] + h * stride[2] + w * stride[3];
  }
  size_t count() const { return (size_t)(dim[0] * dim[1] * dim[2] * dim[3]); }
  size_t span_bytes() const {
    int64_t last = at(dim[0] - 1, dim[1] - 1, dim[2] - 1, dim[3] - 1);
    return (size_t)(last + 1) * sizeof(float);
  }
};

struct emu_convolution {
  emu_tensor src, weights; /* weights: [out, in / groups, h, w] */
  int64_t out[4];
  int64_t pad[2], stride[2], dilation[2], groups;
  bool tf32; /* inputs rounded to 10 bits of mantissa */
  unsigned
      order; /* the sum is cut in two at a place that follows from this number and its length: each kernel has its own order */
};

/* Sums as [n, h, w, out]. */
std::vector<float> emu_convolve(const emu_convolution &c, const float *src, const float *weights);

#endif
