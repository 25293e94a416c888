/* cuDNN's classic convolution: descriptors, choice of the algorithm, the call. */
#include "kernels/cuda/conv_classic.h"

#include <climits>
#include <memory>
#include <new>

/* Descriptors of one convolution and number of images. */
struct tr_classic_plan {
  cudnnTensorDescriptor_t src, dst, bias;
  cudnnFilterDescriptor_t weights;
  cudnnConvolutionDescriptor_t convolution;
  cudnnActivationDescriptor_t activation;
  cudnnConvolutionFwdAlgo_t algorithm;
  size_t workspace_bytes;
};

namespace {

struct plan_deleter {
  void operator()(tr_classic_plan *p) const { tr_classic_plan_destroy(p); }
};
typedef std::unique_ptr<tr_classic_plan, plan_deleter> plan_owner;

tr_status create_descriptors(tr_classic_plan *p) {
  TR_CUDNN_TRY(cudnnCreateTensorDescriptor(&p->src));
  TR_CUDNN_TRY(cudnnCreateTensorDescriptor(&p->dst));
  TR_CUDNN_TRY(cudnnCreateTensorDescriptor(&p->bias));
  TR_CUDNN_TRY(cudnnCreateFilterDescriptor(&p->weights));
  TR_CUDNN_TRY(cudnnCreateConvolutionDescriptor(&p->convolution));
  TR_CUDNN_TRY(cudnnCreateActivationDescriptor(&p->activation));
  return TR_OK;
}

/* NHWC, `pixel` floats from one pixel to the next. */
tr_status set_tensor(cudnnTensorDescriptor_t tensor, int n, int c, int h, int w, int pixel) {
  TR_CUDNN_TRY(cudnnSetTensor4dDescriptorEx(tensor, CUDNN_DATA_FLOAT, n, c, h, w, h * w * pixel, 1, w * pixel, pixel));
  return TR_OK;
}

tr_status describe(tr_classic_plan *p, const tr_graph_problem &problem) {
  const tr_conv_desc &d = problem.desc;
  int out_h, out_w;
  tr_conv_shape(&d, &out_h, &out_w);
  TR_TRY(create_descriptors(p));
  TR_TRY(set_tensor(p->src, problem.n, d.in_channels, d.in_h, d.in_w, d.src_pixel_stride));
  TR_TRY(set_tensor(p->dst, problem.n, d.out_channels, out_h, out_w, d.dst_pixel_stride));
  TR_TRY(set_tensor(p->bias, 1, d.out_channels, 1, 1, d.out_channels));
  TR_CUDNN_TRY(cudnnSetFilter4dDescriptor(p->weights, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NHWC, d.out_channels,
                                          d.in_channels / d.groups, d.kernel_h, d.kernel_w));
  TR_CUDNN_TRY(cudnnSetConvolution2dDescriptor(p->convolution, d.pad_top, d.pad_left, d.stride, d.stride, 1, 1,
                                               CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
  TR_CUDNN_TRY(cudnnSetConvolutionGroupCount(p->convolution, d.groups));
  TR_CUDNN_TRY(cudnnSetConvolutionMathType(p->convolution, problem.tf32 ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH));
  TR_CUDNN_TRY(cudnnSetActivationDescriptor(p->activation,
                                            d.activation == TR_ACT_RELU ? CUDNN_ACTIVATION_RELU : CUDNN_ACTIVATION_IDENTITY,
                                            CUDNN_NOT_PROPAGATE_NAN, 0.0));
  return TR_OK;
}

tr_status make(const tr_graph_problem &problem, plan_owner &out) {
  out.reset(new (std::nothrow) tr_classic_plan{});
  if (!out)
    return tr_fail(TR_ENOMEM, "planning a convolution: out of memory");
  return describe(out.get(), problem);
}

/* Without an activation the call takes one algorithm only. */
bool is_fit(const cudnnConvolutionFwdAlgoPerf_t &a, const tr_graph_problem &p) {
  return a.status == CUDNN_STATUS_SUCCESS && a.determinism == CUDNN_DETERMINISTIC && (p.tf32 || a.mathType == CUDNN_FMA_MATH) &&
         a.algo != CUDNN_CONVOLUTION_FWD_ALGO_FFT && a.algo != CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING &&
         (p.desc.activation == TR_ACT_RELU || a.algo == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM);
}

} // namespace

tr_status tr_classic_choose(cudnnHandle_t handle, const tr_graph_problem &problem, cudnnConvolutionFwdAlgo_t *out, bool *found) {
  const tr_conv_desc &d = problem.desc;
  *found = false;
  if (d.pad_top != d.pad_bottom || d.pad_left != d.pad_right || (int64_t)d.in_h * d.in_w * d.src_pixel_stride > INT_MAX ||
      (int64_t)d.in_h * d.in_w * d.dst_pixel_stride > INT_MAX) /* strides are ints */
    return TR_OK;
  plan_owner p;
  cudnnConvolutionFwdAlgoPerf_t advice[2 * CUDNN_CONVOLUTION_FWD_ALGO_COUNT];
  int count = 0;
  TR_TRY(make(problem, p));
  TR_CUDNN_TRY(cudnnGetConvolutionForwardAlgorithm_v7(handle, p->src, p->weights, p->convolution, p->dst,
                                                      2 * CUDNN_CONVOLUTION_FWD_ALGO_COUNT, &count, advice));
  for (int i = 0; i < count && !*found; ++i) {
    *found = is_fit(advice[i], problem);
    *out = advice[i].algo;
  }
  return TR_OK;
}

tr_status tr_classic_plan_create(cudnnHandle_t handle, const tr_graph_problem &problem, cudnnConvolutionFwdAlgo_t algorithm,
                                 tr_classic_plan **out) {
  *out = nullptr;
  plan_owner p;
  TR_TRY(make(problem, p));
  p->algorithm = algorithm;
  TR_CUDNN_TRY(cudnnGetConvolutionForwardWorkspaceSize(handle, p->src, p->weights, p->convolution, p->dst, algorithm,
                                                       &p->workspace_bytes));
  *out = p.release();
  return TR_OK;
}

void tr_classic_plan_destroy(tr_classic_plan *p) {
  if (!p)
    return;
  for (cudnnTensorDescriptor_t tensor : {p->src, p->dst, p->bias})
    if (tensor)
      cudnnDestroyTensorDescriptor(tensor);
  if (p->weights)
    cudnnDestroyFilterDescriptor(p->weights);
  if (p->convolution)
    cudnnDestroyConvolutionDescriptor(p->convolution);
  if (p->activation)
    cudnnDestroyActivationDescriptor(p->activation);
  delete p;
}

size_t tr_classic_plan_workspace(const tr_classic_plan *plan) {
  return plan->workspace_bytes;
}

tr_status tr_classic_plan_run(cudnnHandle_t handle, const tr_classic_plan *p, const float *src, const float *weights,
                              const float *bias, const float *residual, float *dst, void *workspace) {
  const float one = 1.0f, share = residual ? 1.0f : 0.0f; /* a share of 0 is not read */
  TR_CUDNN_TRY(cudnnConvolutionBiasActivationForward(handle, &one, p->src, src, p->weights, weights, p->convolution, p->algorithm,
                                                     workspace, p->workspace_bytes, &share, p->dst, residual ? residual : dst,
                                                     p->bias, bias, p->activation, p->dst, dst));
  return TR_OK;
}
