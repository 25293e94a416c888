/* cuDNN's classic convolution on the cpu: descriptors in NHWC, advice (two algorithms, by FMA, or by TF32 too where the math type
 * allows it), and cudnnConvolutionBiasActivationForward with its restrictions: ReLU, or no activation with IMPLICIT_PRECOMP_GEMM;
 * the added tensor has the destination's description. Queued on the handle's stream. */
#include "tests/emu/cudnn_parts.h"

#include <algorithm>
#include <cstring>

struct cudnnTensorStruct {
  emu_tensor t;
  bool set;
};

struct cudnnFilterStruct {
  emu_tensor t;
  bool set;
};

struct cudnnConvolutionStruct {
  int pad[2], stride[2], dilation[2], groups;
  cudnnMathType_t math;
  bool set;
};

struct cudnnActivationStruct {
  cudnnActivationMode_t mode;
  bool set;
};

namespace {

const char *const call = "cudnnConvolutionBiasActivationForward";

template <typename T> cudnnStatus_t create(T **out) {
  *out = new T{};
  emu_count("cuDNN descriptors", 1);
  return CUDNN_STATUS_SUCCESS;
}

template <typename T> cudnnStatus_t destroy(T *descriptor) {
  delete descriptor;
  emu_count("cuDNN descriptors", -1);
  return CUDNN_STATUS_SUCCESS;
}

/* False where the descriptors do not fit each other. */
bool describe(cudnnTensorDescriptor_t src, cudnnFilterDescriptor_t weights, cudnnConvolutionDescriptor_t conv,
              cudnnTensorDescriptor_t dst, emu_convolution *out) {
  if (!src->set || !weights->set || !conv->set || !dst->set)
    return false;
  out->src = src->t;
  out->weights = weights->t;
  out->groups = conv->groups;
  std::copy(dst->t.dim, dst->t.dim + 4, out->out);
  if (src->t.dim[1] != weights->t.dim[1] * conv->groups || weights->t.dim[0] % conv->groups ||
      dst->t.dim[1] != weights->t.dim[0] || dst->t.dim[0] != src->t.dim[0])
    return false;
  for (int i = 0; i < 2; ++i) {
    out->pad[i] = conv->pad[i];
    out->stride[i] = conv->stride[i];
    out->dilation[i] = conv->dilation[i];
    int64_t reach = conv->dilation[i] * (weights->t.dim[2 + i] - 1) + 1;
    if ((src->t.dim[2 + i] + 2 * conv->pad[i] - reach) / conv->stride[i] + 1 != dst->t.dim[2 + i])
      return false;
  }
  return true;
}

struct program {
  emu_convolution conv;
  emu_tensor dst;
  const float *src, *weights, *bias, *added; /* added: NULL where its share is 0 */
  float *to;
  void *workspace;
  size_t workspace_bytes;
  bool relu;
};

void check(const program &p) {
  emu_check_device(p.src, p.conv.src.span_bytes(), "cuDNN convolution, source");
  emu_check_device(p.weights, p.conv.weights.span_bytes(), "cuDNN convolution, weights");
  emu_check_device(p.bias, (size_t)p.dst.dim[1] * sizeof(float), "cuDNN convolution, bias");
  emu_check_device(p.to, p.dst.span_bytes(), "cuDNN convolution, destination");
  emu_check_device(p.workspace, p.workspace_bytes, "cuDNN convolution, workspace");
  if (p.added)
    emu_check_device(p.added, p.dst.span_bytes(), "cuDNN convolution, the added tensor");
}

void run(const program &p) {
  check(p);
  memset(p.workspace, 0xff, p.workspace_bytes);
  std::vector<float> sums = emu_convolve(p.conv, p.src, p.weights);
  size_t i = 0;
  for (int64_t n = 0; n < p.dst.dim[0]; ++n)
    for (int64_t h = 0; h < p.dst.dim[2]; ++h)
      for (int64_t w = 0; w < p.dst.dim[3]; ++w)
        for (int64_t c = 0; c < p.dst.dim[1]; ++c) {
          int64_t at = p.dst.at(n, c, h, w);
          float value = sums[i++] + (p.added ? p.added[at] : 0.0f) + p.bias[c];
          p.to[at] = p.relu && !(value > 0.0f) ? 0.0f : value;
        }
}

size_t workspace_bytes(cudnnConvolutionFwdAlgo_t algorithm, const emu_convolution &c) {
  return algorithm == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM ? (size_t)(c.out[2] * c.out[3]) * 16 : 0;
}

} // namespace

extern "C" {

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t *out) {
  return create(out);
}
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t d) {
  return destroy(d);
}
cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t *out) {
  return create(out);
}
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t d) {
  return destroy(d);
}
cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t *out) {
  return create(out);
}
cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t d) {
  return destroy(d);
}
cudnnStatus_t cudnnCreateActivationDescriptor(cudnnActivationDescriptor_t *out) {
  return create(out);
}
cudnnStatus_t cudnnDestroyActivationDescriptor(cudnnActivationDescriptor_t d) {
  return destroy(d);
}

cudnnStatus_t cudnnSetTensor4dDescriptorEx(cudnnTensorDescriptor_t d, cudnnDataType_t type, int n, int c, int h, int w,
                                           int n_stride, int c_stride, int h_stride, int w_stride) {
  if (type != CUDNN_DATA_FLOAT)
    emu_cudnn_die("cudnnSetTensor4dDescriptorEx", "a tensor that is not float");
  for (int extent : {n, c, h, w, n_stride, c_stride, h_stride, w_stride})
    if (extent < 1)
      return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM, "tensor: dimensions and strides must be positive");
  *d = {{{n, c, h, w}, {n_stride, c_stride, h_stride, w_stride}}, true};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t d, cudnnDataType_t type, cudnnTensorFormat_t format, int k,
                                         int c, int h, int w) {
  if (type != CUDNN_DATA_FLOAT || format != CUDNN_TENSOR_NHWC)
    emu_cudnn_die("cudnnSetFilter4dDescriptor", "a filter that is not float in NHWC");
  *d = {{{k, c, h, w}, {(int64_t)h * w * c, 1, (int64_t)w * c, c}}, true};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t d, int pad_h, int pad_w, int u, int v, int dilation_h,
                                              int dilation_w, cudnnConvolutionMode_t mode, cudnnDataType_t type) {
  if (mode != CUDNN_CROSS_CORRELATION || type != CUDNN_DATA_FLOAT)
    emu_cudnn_die("cudnnSetConvolution2dDescriptor", "a convolution that is not a cross-correlation in float");
  if (pad_h < 0 || pad_w < 0 || u < 1 || v < 1 || dilation_h < 1 || dilation_w < 1)
    return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM, "convolution: a padding, stride or dilation that cannot be");
  *d = {{pad_h, pad_w}, {u, v}, {dilation_h, dilation_w}, 1, CUDNN_DEFAULT_MATH, true};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t d, int groups) {
  d->groups = groups;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t d, cudnnMathType_t math) {
  d->math = math;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetActivationDescriptor(cudnnActivationDescriptor_t d, cudnnActivationMode_t mode, cudnnNanPropagation_t nan,
                                           double ceiling) {
  (void)nan;
  (void)ceiling;
  *d = {mode, true};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t handle, const cudnnTensorDescriptor_t src,
                                                     const cudnnFilterDescriptor_t weights,
                                                     const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t dst,
                                                     const int wanted, int *count, cudnnConvolutionFwdAlgoPerf_t *out) {
  emu_cudnn_check_handle(handle, "cudnnGetConvolutionForwardAlgorithm_v7");
  emu_convolution c = {};
  if (!describe(src, weights, conv, dst, &c))
    return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM, "convolution: descriptors do not fit each other");
  *count = 0;
  for (cudnnMathType_t math : {CUDNN_TENSOR_OP_MATH, CUDNN_FMA_MATH}) {
    if (math == CUDNN_TENSOR_OP_MATH && conv->math == CUDNN_FMA_MATH)
      continue;
    for (cudnnConvolutionFwdAlgo_t algorithm :
         {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM})
      if (*count < wanted)
        out[(*count)++] = {algorithm, CUDNN_STATUS_SUCCESS, 0.0f, workspace_bytes(algorithm, c), CUDNN_DETERMINISTIC, math, {}};
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t handle, const cudnnTensorDescriptor_t src,
                                                      const cudnnFilterDescriptor_t weights,
                                                      const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t dst,
                                                      cudnnConvolutionFwdAlgo_t algorithm, size_t *bytes) {
  emu_cudnn_check_handle(handle, "cudnnGetConvolutionForwardWorkspaceSize");
  emu_convolution c = {};
  if (!describe(src, weights, conv, dst, &c))
    return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM, "convolution: descriptors do not fit each other");
  *bytes = workspace_bytes(algorithm, c);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnConvolutionBiasActivationForward(cudnnHandle_t handle, const void *alpha1, const cudnnTensorDescriptor_t src,
                                                    const void *x, const cudnnFilterDescriptor_t weights, const void *w,
                                                    const cudnnConvolutionDescriptor_t conv, cudnnConvolutionFwdAlgo_t algorithm,
                                                    void *workspace, size_t bytes, const void *alpha2,
                                                    const cudnnTensorDescriptor_t added, const void *z,
                                                    const cudnnTensorDescriptor_t bias, const void *b,
                                                    const cudnnActivationDescriptor_t activation,
                                                    const cudnnTensorDescriptor_t dst, void *y) {
  emu_cudnn_check_handle(handle, call);
  program p = {};
  const float share = *static_cast<const float *>(alpha2);
  if (*static_cast<const float *>(alpha1) != 1.0f || (share != 0.0f && share != 1.0f))
    emu_cudnn_die(call, "a share other than 0 or 1");
  if (!describe(src, weights, conv, dst, &p.conv) || !bias->set || bias->t.dim[1] != dst->t.dim[1])
    return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM, "convolution: descriptors do not fit each other");
  if (!added->set || memcmp(&added->t, &dst->t, sizeof dst->t) != 0 || !z)
    return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM, "convolution: the added tensor is not as the destination");
  if (!activation->set || (activation->mode != CUDNN_ACTIVATION_RELU && activation->mode != CUDNN_ACTIVATION_IDENTITY))
    return emu_cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "convolution: an activation other than ReLU");
  if (activation->mode == CUDNN_ACTIVATION_IDENTITY && algorithm != CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM)
    return emu_cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED,
                          "convolution: no activation, and another algorithm than IMPLICIT_PRECOMP_GEMM");
  if (bytes < workspace_bytes(algorithm, p.conv))
    return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, "convolution: too little workspace");
  if (x == y)
    return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM, "convolution: source and destination are the same");
  p.conv.order = (unsigned)algorithm + 100;
  p.conv.tf32 = conv->math != CUDNN_FMA_MATH;
  p.dst = dst->t;
  p.src = static_cast<const float *>(x);
  p.weights = static_cast<const float *>(w);
  p.bias = static_cast<const float *>(b);
  p.added = share != 0.0f ? static_cast<const float *>(z) : nullptr;
  p.to = static_cast<float *>(y);
  p.workspace = workspace;
  p.workspace_bytes = workspace_bytes(algorithm, p.conv);
  p.relu = activation->mode == CUDNN_ACTIVATION_RELU;
  check(p);
  emu_enqueue(handle->stream, [p]() { run(p); });
  return CUDNN_STATUS_SUCCESS;
}

} /* extern "C" */
