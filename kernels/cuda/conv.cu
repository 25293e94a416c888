/* conv on the GPU: cuDNN for all but depthwise convolutions, NHWC, one plan for convolution, residual, bias and ReLU.
 *
 * - An engine is chosen once for a full chunk of images, and the same engine with the same knobs plans every other number of
 *   images: what an image gives does not depend on how many come with it (but in TF32, whose engines split the sums of their last
 *   wave of blocks).
 * - FMA is the reference arithmetic; TOTALRECALL_CONV_MATH=tf32 in the environment allows tensor cores, 10 bits of mantissa.
 *   Half precision would need half feature maps throughout: cuDNN 9.19 takes no half source with a float destination.
 * - cuDNN ends with ReLU at most: the clip of ReLU6 is a pass of our own over the destination. A residual added into a view
 *   goes through scratch. Depthwise convolutions are our own kernel's (conv_parts.cu).
 * - Three input channels need no padding: no engine that sums by FMA gains by a fourth.
 * - On an H100 cuDNN advises engines that transpose to NCHW in a workspace for most layers; TOTALRECALL_TUNE=1 measures them
 *   against the one that reads NHWC as it is (conv_choice.h).
 *
 * Expected on an H100 for WideResNet50-2 to layer3, 224 x 224, FMA: 18.4 GFLOP an image, 0.27 ms at 67 TFLOP/s; about 0.13 GB of maps,
 * 0.35 GB with the transposes, 0.10 ms at 3.35 TB/s, which do not overlap. The 292 images of MVTec's bottle: 0.11 s at best. In TF32 the
 * maps alone bound it: 0.04 ms an image. Not measured on a GPU yet.
 */
#include "kernels/cuda/conv_choice.h"
#include "kernels/cuda/conv_classic.h"
#include "kernels/cuda/conv_parts.h"

#include <map>
#include <new>

namespace {

enum { ALIGNMENT = 256 };

size_t aligned(size_t bytes) {
  return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* How a convolution is run; follows from its description. */
struct arrangement {
  bool depthwise;
  bool through_scratch; /* cuDNN writes a dense map into scratch */
  bool finish;          /* residual or activation are added afterwards */
  tr_conv_desc inner;   /* what cuDNN does */
  size_t weights_bytes, bias_offset, state_bytes;
  size_t image_bytes; /* of the dense map in scratch */
};

arrangement arrange(const tr_conv_desc *d) {
  arrangement a = {};
  int out_h, out_w;
  tr_conv_shape(d, &out_h, &out_w);
  a.inner = *d;
  a.depthwise = d->groups == d->in_channels && d->groups == d->out_channels;
  a.through_scratch = !a.depthwise && d->has_residual && d->dst_pixel_stride != d->out_channels;
  a.finish = !a.depthwise && (a.through_scratch || d->activation == TR_ACT_RELU6);
  if (a.finish)
    a.inner.activation = TR_ACT_NONE;
  if (a.through_scratch) {
    a.inner.has_residual = false;
    a.inner.dst_pixel_stride = d->out_channels;
    a.image_bytes = (size_t)out_h * (size_t)out_w * (size_t)d->out_channels * sizeof(float);
  }
  a.weights_bytes =
      (size_t)d->out_channels * (size_t)(d->in_channels / d->groups) * (size_t)d->kernel_h * (size_t)d->kernel_w * sizeof(float);
  a.bias_offset = aligned(a.weights_bytes);
  a.state_bytes = a.bias_offset + aligned((size_t)d->out_channels * sizeof(float));
  return a;
}

/* What cuDNN is asked to run: an engine of the graph API, or an algorithm of the classic call. */
struct chosen {
  bool classic;
  tr_graph_choice engine;
  cudnnConvolutionFwdAlgo_t algorithm;
};

/* A plan, by one of the two, for one number of images. */
struct variant {
  tr_graph_plan *graph;
  tr_classic_plan *classic;
  void *workspace; /* of its own, where it wants more than was set aside; else NULL */
};

struct conv_state {
  arrangement how;
  char *memory; /* device: weights, then the bias */
  chosen choice;
  size_t full_workspace; /* of a full chunk */
  std::map<int, variant> variants;
};

int full_chunk(tr_device *device) {
  return (int)tr_device_chunk(device);
}

tr_graph_problem problem_of(tr_device *device, const arrangement &how, int n) {
  return {how.inner, n, tr_cuda_of(device)->conv_tf32};
}

void free_plan(const variant &v) {
  tr_graph_plan_destroy(v.graph);
  tr_classic_plan_destroy(v.classic);
}

size_t workspace_of(const variant &v) {
  return v.classic ? tr_classic_plan_workspace(v.classic) : tr_graph_plan_workspace(v.graph);
}

tr_status make_plan(tr_device *device, const tr_graph_problem &problem, const chosen &choice, variant *out) {
  cudnnHandle_t handle = tr_cuda_of(device)->dnn;
  *out = {};
  return choice.classic ? tr_classic_plan_create(handle, problem, choice.algorithm, &out->classic)
                        : tr_graph_plan_create({handle, nullptr}, problem, choice.engine, &out->graph);
}

tr_status choose(tr_device *device, const arrangement &how, chosen *choice, size_t *full_workspace) {
  tr_cuda *cuda = tr_cuda_of(device);
  const tr_graph_problem full = problem_of(device, how, full_chunk(device));
  bool found = false;
  for (bool classic : {cuda->dnn_classic, !cuda->dnn_classic}) { /* what is preferred, else the other */
    if (found)
      break;
    choice->classic = classic;
    TR_TRY(classic ? tr_classic_choose(cuda->dnn, full, &choice->algorithm, &found)
                   : tr_conv_choose(device, full, &choice->engine, &found));
  }
  if (!found)
    return tr_fail(TR_EDEVICE, "conv: cuDNN %zu has nothing for %dx%dx%d -> %d channels, kernel %dx%d, stride %d, %d groups",
                   cudnnGetVersion(), full.desc.in_h, full.desc.in_w, full.desc.in_channels, full.desc.out_channels,
                   full.desc.kernel_h, full.desc.kernel_w, full.desc.stride, full.desc.groups);
  variant v;
  TR_TRY(make_plan(device, full, *choice, &v));
  *full_workspace = workspace_of(v);
  free_plan(v);
  return TR_OK;
}

/* Set aside for the workspace of a run of up to n images; grows with n. */
size_t workspace_for(tr_device *device, const arrangement &how, size_t full_workspace, int n) {
  return tr_graph_workspace_for(full_workspace, full_chunk(device), how.weights_bytes, n);
}

tr_status make_variant(tr_device *device, conv_state *s, int n, variant *out) {
  TR_TRY(make_plan(device, problem_of(device, s->how, n), s->choice, out));
  const size_t wanted = workspace_of(*out);
  if (wanted <= workspace_for(device, s->how, s->full_workspace, n))
    return TR_OK;
  tr_status status = tr_device_alloc(device, wanted, &out->workspace);
  if (status != TR_OK)
    free_plan(*out);
  return status;
}

tr_status variant_for(tr_device *device, conv_state *s, int n, const variant **out) {
  auto found = s->variants.find(n);
  if (found == s->variants.end()) {
    variant made;
    TR_TRY(make_variant(device, s, n, &made));
    found = s->variants.emplace(n, made).first;
  }
  *out = &found->second;
  return TR_OK;
}

/* PyTorch's [out][in][kernel] -> cuDNN's [out][kernel][in]; for a depthwise convolution [kernel][channel]. */
void reorder_weights(const tr_conv_desc *d, bool depthwise, const float *weights, float *to) {
  const size_t taps = (size_t)d->kernel_h * (size_t)d->kernel_w, in = (size_t)(d->in_channels / d->groups);
  const size_t out = (size_t)d->out_channels;
  for (size_t o = 0; o < out; ++o)
    for (size_t c = 0; c < in; ++c)
      for (size_t t = 0; t < taps; ++t)
        to[depthwise ? t * out + o : (o * taps + t) * in + c] = weights[(o * in + c) * taps + t];
}

tr_status fill_memory(tr_device *device, conv_state *s, const tr_conv_desc *d, const float *weights, const float *bias) {
  void *memory;
  TR_TRY(tr_device_alloc(device, s->how.state_bytes, &memory));
  s->memory = static_cast<char *>(memory);
  std::vector<char> host(s->how.state_bytes);
  reorder_weights(d, s->how.depthwise, weights, reinterpret_cast<float *>(host.data()));
  memcpy(host.data() + s->how.bias_offset, bias, (size_t)d->out_channels * sizeof *bias);
  return tr_device_upload(device, s->memory, host.data(), host.size());
}

tr_status run_planned(tr_device *device, const tr_conv_desc *d, conv_state *s, const tr_conv_args *args) {
  tr_cuda *cuda = tr_cuda_of(device);
  const variant *v;
  TR_TRY(variant_for(device, s, args->n, &v));
  if (!args->scratch)
    return tr_fail(TR_EINVAL, "conv: %zu bytes of scratch are missing", workspace_of(*v));
  char *scratch = static_cast<char *>(args->scratch);
  const float *weights = reinterpret_cast<float *>(s->memory), *bias = reinterpret_cast<float *>(s->memory + s->how.bias_offset);
  float *target = s->how.through_scratch ? reinterpret_cast<float *>(scratch) : args->dst;
  const float *residual = s->how.inner.has_residual ? args->residual : nullptr;
  void *workspace = v->workspace ? v->workspace : scratch + aligned(s->how.image_bytes * (size_t)args->n);
  TR_TRY(v->classic ? tr_classic_plan_run(cuda->dnn, v->classic, args->src, weights, bias, residual, target, workspace)
                    : tr_graph_plan_run(cuda->dnn, v->graph, args->src, weights, bias, residual, target, workspace));
  if (!s->how.finish)
    return TR_OK;
  int out_h, out_w;
  tr_conv_shape(d, &out_h, &out_w);
  const tr_finish_args finish = {.pixels = (size_t)args->n * (size_t)out_h * (size_t)out_w,
                                 .channels = d->out_channels,
                                 .src_pixel_stride = s->how.inner.dst_pixel_stride,
                                 .dst_pixel_stride = d->dst_pixel_stride,
                                 .activation = d->activation,
                                 .src = target,
                                 .residual = s->how.through_scratch ? args->residual : nullptr,
                                 .dst = args->dst};
  return tr_finish_run(cuda, &finish);
}

/* The C++ library throws when memory is short. */
template <typename F> tr_status guarded(F body) {
  try {
    return body();
  } catch (const std::bad_alloc &) {
    return tr_fail(TR_ENOMEM, "conv: out of memory");
  }
}

} // namespace

tr_status tr_cuda_conv_bytes(tr_device *device, const tr_conv_desc *desc, int n, size_t *state_bytes, size_t *scratch_bytes) {
  return guarded([=]() -> tr_status {
    TR_CUDA_TRY(cudaSetDevice(tr_cuda_of(device)->ordinal));
    const arrangement how = arrange(desc);
    chosen choice;
    size_t full_workspace;
    *state_bytes = how.state_bytes;
    *scratch_bytes = 0;
    if (how.depthwise)
      return TR_OK;
    TR_TRY(choose(device, how, &choice, &full_workspace));
    *scratch_bytes = aligned(how.image_bytes * (size_t)n) + workspace_for(device, how, full_workspace, n);
    return TR_OK;
  });
}

tr_status tr_cuda_conv_create(tr_device *device, const tr_conv_desc *desc, const float *weights, const float *bias,
                              void **state) {
  *state = nullptr;
  conv_state *made = new (std::nothrow) conv_state{};
  if (!made)
    return tr_fail(TR_ENOMEM, "creating a convolution: out of memory");
  tr_status status = guarded([=]() -> tr_status {
    TR_CUDA_TRY(cudaSetDevice(tr_cuda_of(device)->ordinal));
    made->how = arrange(desc);
    if (!made->how.depthwise)
      TR_TRY(choose(device, made->how, &made->choice, &made->full_workspace));
    return fill_memory(device, made, desc, weights, bias);
  });
  if (status != TR_OK) {
    tr_cuda_conv_destroy(device, made);
    return status;
  }
  *state = made;
  return TR_OK;
}

void tr_cuda_conv_destroy(tr_device *device, void *state) {
  conv_state *s = static_cast<conv_state *>(state);
  if (!s)
    return;
  for (auto &entry : s->variants) {
    free_plan(entry.second);
    tr_device_free(device, entry.second.workspace);
  }
  tr_device_free(device, s->memory);
  delete s;
}

tr_status tr_cuda_conv_run(tr_device *device, const tr_conv_desc *desc, void *state, const tr_conv_args *args) {
  return guarded([=]() -> tr_status {
    tr_cuda *cuda = tr_cuda_of(device);
    conv_state *s = static_cast<conv_state *>(state);
    TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
    if (!s->how.depthwise)
      return run_planned(device, desc, s, args);
    const float *weights = reinterpret_cast<float *>(s->memory),
                *bias = reinterpret_cast<float *>(s->memory + s->how.bias_offset);
    return tr_depthwise_run(cuda, desc, weights, bias, args);
  });
}
