/* Convolutions by cuDNN's backend graph API: one plan makes act(conv + residual + bias) in one go.
 *
 * What cuDNN 9.19 offers for an H100 (asked without a GPU, by a description of the device; tests/cuda/test_cudnn_plans.cu asks
 * again): for float tensors in NHWC three kinds of engine that sum by FMA: one that transposes to NCHW in its workspace and back,
 * one that reads NHWC as it is, and a slow one that takes everything; many that go through TF32. Views (a pixel stride above
 * the channel count), three channels, and groups are taken. Not taken: a residual whose strides are not the destination's, half
 * inputs with float outputs; and an upper clip (ReLU6) by the slow engine only.
 */
#ifndef TR_KERNELS_CUDA_CONV_GRAPH_H
#define TR_KERNELS_CUDA_CONV_GRAPH_H

#include "kernels/cuda/cuda.h"

#include <vector>

/* Where plans are to run: on the device of a handle; or, without a device, on one that is described (for tests). */
struct tr_graph_target {
  cudnnHandle_t handle;
  cudnnBackendDescriptor_t device; /* CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR where handle is NULL */
};

/* One engine and how its knobs are set: with the same choice the same kernel runs, whatever the number of images. */
struct tr_graph_choice {
  int64_t engine;
  struct knob {
    cudnnBackendKnobType_t type;
    int64_t value;
  };
  std::vector<knob> knobs;
};

/* A convolution with bias, residual where desc has one (dense, and then dst must be), and ReLU at most. */
struct tr_graph_problem {
  tr_conv_desc desc;
  int n;
  bool tf32;
};

struct tr_graph_plan;

/* Choices that keep to the arithmetic asked for (FMA, or TF32), best first by cuDNN's heuristics; only those of which a plan can be
 * made. At most `limit`. Deterministic. Empty where cuDNN offers none. */
tr_status tr_graph_choices(const tr_graph_target &target, const tr_graph_problem &problem, size_t limit,
                           std::vector<tr_graph_choice> &out);
tr_status tr_graph_plan_create(const tr_graph_target &target, const tr_graph_problem &problem, const tr_graph_choice &choice,
                               tr_graph_plan **out);
void tr_graph_plan_destroy(tr_graph_plan *plan);
size_t tr_graph_plan_workspace(const tr_graph_plan *plan);

/* Workspace to set aside for n images and any lower number, from what the plan for `full` images takes: engines take room for
 * transposed maps (by the image) and weights, and TF32 engines for the split sums of their last, partial wave of blocks, which
 * comes and goes with n. */
static inline size_t tr_graph_workspace_for(size_t full_bytes, int full, size_t weights_bytes, int n) {
  return (full_bytes + (size_t)full - 1) / (size_t)full * (size_t)n + weights_bytes + ((size_t)4 << 20);
}

/* Queues the convolution on the handle's stream. weights: [out_channels, kernel_h, kernel_w, in_channels / groups]. */
tr_status tr_graph_plan_run(cudnnHandle_t handle, const tr_graph_plan *plan, const float *src, const float *weights,
                            const float *bias, const float *residual, float *dst, void *workspace);

#endif
