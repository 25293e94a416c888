/* cuDNN's backend graph API: building the graph of a convolution, asking for engines, plans, execution. Sizes, strides and what
 * an engine must not do are all that is decided here; which convolution is to run how is conv.cu's. */
#include "kernels/cuda/conv_graph.h"

#include <algorithm>
#include <memory>
#include <new>

namespace {

/* Names of tensors in a graph; virtual ones are numbered from VIRTUAL on. */
enum tensor_id : int64_t { SRC = 1, WEIGHTS, BIAS, RESIDUAL, DST, VIRTUAL = 16 };

/* Descriptors live as long as what was made of them. */
struct descriptors {
  std::vector<cudnnBackendDescriptor_t> all;
  descriptors() = default;
  descriptors(const descriptors &) = delete;
  descriptors &operator=(const descriptors &) = delete;
  ~descriptors() {
    while (!all.empty()) {
      cudnnBackendDestroyDescriptor(all.back());
      all.pop_back();
    }
  }
  tr_status make(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out) {
    TR_CUDNN_TRY(cudnnBackendCreateDescriptor(type, out));
    all.push_back(*out);
    return TR_OK;
  }
};

tr_status set(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
              const void *values) {
  TR_CUDNN_TRY(cudnnBackendSetAttribute(d, name, type, count, values));
  return TR_OK;
}

tr_status set_ints(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, std::initializer_list<int64_t> values) {
  return set(d, name, CUDNN_TYPE_INT64, (int64_t)values.size(), values.begin());
}

tr_status set_descriptor(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value) {
  return set(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

tr_status set_float_type(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name) {
  const cudnnDataType_t type = CUDNN_DATA_FLOAT;
  return set(d, name, CUDNN_TYPE_DATA_TYPE, 1, &type);
}

/* Where there is no handle: names the described device. */
enum described { HEURISTICS, ENGINE, PLAN };

tr_status set_device(cudnnBackendDescriptor_t d, described kind, const tr_graph_target &target) {
  if (target.handle)
    return TR_OK;
#if CUDNN_VERSION >= 90800
  return set_descriptor(d,
                        kind == HEURISTICS ? CUDNN_ATTR_ENGINEHEUR_DEVICEPROP
                        : kind == ENGINE   ? CUDNN_ATTR_ENGINE_DEVICEPROP
                                           : CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
                        target.device);
#else
  (void)d;
  (void)kind;
  return tr_fail(TR_EDEVICE, "conv: cuDNN before 9.8 plans for a device that is there only");
#endif
}

tr_status finalize(cudnnBackendDescriptor_t d) {
  TR_CUDNN_TRY(cudnnBackendFinalize(d));
  return TR_OK;
}

/* A float tensor [n, c, h, w] in NHWC, `pixel` floats from one pixel to the next. Alignment in bytes. */
struct tensor_shape {
  int64_t n, c, h, w, pixel, alignment;
};

tr_status make_tensor(descriptors &pool, int64_t id, const tensor_shape &s, cudnnBackendDescriptor_t *out) {
  TR_TRY(pool.make(CUDNN_BACKEND_TENSOR_DESCRIPTOR, out));
  TR_TRY(set_float_type(*out, CUDNN_ATTR_TENSOR_DATA_TYPE));
  TR_TRY(set_ints(*out, CUDNN_ATTR_TENSOR_DIMENSIONS, {s.n, s.c, s.h, s.w}));
  TR_TRY(set_ints(*out, CUDNN_ATTR_TENSOR_STRIDES, {s.h * s.w * s.pixel, 1, s.w * s.pixel, s.pixel}));
  TR_TRY(set_ints(*out, CUDNN_ATTR_TENSOR_UNIQUE_ID, {id}));
  TR_TRY(set_ints(*out, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {s.alignment}));
  const bool is_virtual = id >= VIRTUAL;
  TR_TRY(set(*out, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual));
  return finalize(*out);
}

tr_status make_convolution(descriptors &pool, const tr_conv_desc &d, cudnnBackendDescriptor_t *out) {
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  TR_TRY(pool.make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, out));
  TR_TRY(set_ints(*out, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, {2}));
  TR_TRY(set_float_type(*out, CUDNN_ATTR_CONVOLUTION_COMP_TYPE));
  TR_TRY(set(*out, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode));
  TR_TRY(set_ints(*out, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, {d.pad_top, d.pad_left}));
  TR_TRY(set_ints(*out, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, {d.pad_bottom, d.pad_right}));
  TR_TRY(set_ints(*out, CUDNN_ATTR_CONVOLUTION_DILATIONS, {1, 1}));
  TR_TRY(set_ints(*out, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, {d.stride, d.stride}));
  return finalize(*out);
}

/* A graph under construction: what has been added, and the tensor it gives. */
struct builder {
  descriptors &pool;
  const tr_graph_problem &problem;
  tensor_shape dst; /* shape of every tensor after the convolution */
  int steps_left;   /* the last step gives DST, those before it virtual tensors */
  std::vector<cudnnBackendDescriptor_t> operations;
  cudnnBackendDescriptor_t result;

  tr_status next_result(cudnnBackendDescriptor_t *out) {
    tensor_shape shape = dst;
    --steps_left;
    if (steps_left > 0)
      shape.pixel = dst.c;
    return make_tensor(pool, steps_left > 0 ? VIRTUAL + steps_left : (int64_t)DST, shape, out);
  }

  tr_status convolve(cudnnBackendDescriptor_t src, cudnnBackendDescriptor_t weights) {
    const float one = 1.0f, zero = 0.0f;
    cudnnBackendDescriptor_t convolution, operation;
    TR_TRY(make_convolution(pool, problem.desc, &convolution));
    TR_TRY(next_result(&result));
    TR_TRY(pool.make(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, &operation));
    TR_TRY(set_descriptor(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution));
    TR_TRY(set_descriptor(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, src));
    TR_TRY(set_descriptor(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, weights));
    TR_TRY(set_descriptor(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, result));
    TR_TRY(set(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one));
    TR_TRY(set(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero));
    operations.push_back(operation);
    return finalize(operation);
  }

  /* `other`: what is added; NULL for an operation of one input. */
  tr_status pointwise(cudnnPointwiseMode_t mode, cudnnBackendDescriptor_t other) {
    cudnnBackendDescriptor_t pointwise, operation, made;
    TR_TRY(pool.make(CUDNN_BACKEND_POINTWISE_DESCRIPTOR, &pointwise));
    TR_TRY(set(pointwise, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode));
    TR_TRY(set_float_type(pointwise, CUDNN_ATTR_POINTWISE_MATH_PREC));
    TR_TRY(finalize(pointwise));
    TR_TRY(next_result(&made));
    TR_TRY(pool.make(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, &operation));
    TR_TRY(set_descriptor(operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise));
    TR_TRY(set_descriptor(operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, result));
    if (other)
      TR_TRY(set_descriptor(operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, other));
    TR_TRY(set_descriptor(operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, made));
    operations.push_back(operation);
    result = made;
    return finalize(operation);
  }
};

/* Pointers of TF32 kernels are read 16 bytes at a time where the pixel strides allow it; FMA kernels get no promise, so that an image
 * may start anywhere. */
int64_t alignment_of(const tr_graph_problem &p) {
  return p.tf32 && p.desc.src_pixel_stride % 4 == 0 && p.desc.dst_pixel_stride % 4 == 0 ? 16 : 4;
}

tr_status make_graph(descriptors &pool, const tr_graph_target &target, const tr_graph_problem &p, cudnnBackendDescriptor_t *out) {
  const tr_conv_desc &d = p.desc;
  int out_h, out_w;
  tr_conv_shape(&d, &out_h, &out_w);
  const int64_t alignment = alignment_of(p), in = d.in_channels / d.groups, channels = d.out_channels;
  const tensor_shape dst = {p.n, channels, out_h, out_w, d.dst_pixel_stride, alignment};
  const bool relu = d.activation == TR_ACT_RELU;
  builder b = {pool, p, dst, 2 + d.has_residual + relu, {}, nullptr};
  cudnnBackendDescriptor_t src, weights, bias, residual;
  TR_TRY(make_tensor(pool, SRC, {p.n, d.in_channels, d.in_h, d.in_w, d.src_pixel_stride, alignment}, &src));
  TR_TRY(make_tensor(pool, WEIGHTS, {channels, in, d.kernel_h, d.kernel_w, in, 16}, &weights));
  TR_TRY(make_tensor(pool, BIAS, {1, channels, 1, 1, channels, 16}, &bias));
  TR_TRY(b.convolve(src, weights));
  if (d.has_residual) {
    TR_TRY(make_tensor(pool, RESIDUAL, dst, &residual));
    TR_TRY(b.pointwise(CUDNN_POINTWISE_ADD, residual));
  }
  TR_TRY(b.pointwise(CUDNN_POINTWISE_ADD, bias));
  if (relu)
    TR_TRY(b.pointwise(CUDNN_POINTWISE_RELU_FWD, nullptr));
  TR_TRY(pool.make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, out));
  TR_TRY(
      set(*out, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, (int64_t)b.operations.size(), b.operations.data()));
  if (target.handle)
    TR_TRY(set(*out, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle));
  return finalize(*out);
}

/* ---- engines ---- */

/* What an attribute that holds descriptors gives is written into descriptors made beforehand. */
tr_status get_descriptors(descriptors &pool, cudnnBackendDescriptor_t from, cudnnBackendAttributeName_t name,
                          cudnnBackendDescriptorType_t type, int64_t most, std::vector<cudnnBackendDescriptor_t> &out) {
  out.resize((size_t)most);
  for (cudnnBackendDescriptor_t &d : out)
    TR_TRY(pool.make(type, &d));
  int64_t count = 0;
  TR_CUDNN_TRY(cudnnBackendGetAttribute(from, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, most, &count, out.data()));
  out.resize((size_t)std::min(count, most));
  return TR_OK;
}

tr_status heuristic_configs(descriptors &pool, const tr_graph_target &target, cudnnBackendDescriptor_t graph,
                            cudnnBackendHeurMode_t mode, std::vector<cudnnBackendDescriptor_t> &out) {
  cudnnBackendDescriptor_t heuristics;
  int64_t count = 0;
  out.clear();
  TR_TRY(pool.make(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristics));
  TR_TRY(set_descriptor(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph));
  TR_TRY(set(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode));
  TR_TRY(set_device(heuristics, HEURISTICS, target));
  if (cudnnBackendFinalize(heuristics) != CUDNN_STATUS_SUCCESS)
    return TR_OK; /* no advice for this graph: the next mode is asked */
  TR_CUDNN_TRY(
      cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr));
  return count == 0
             ? TR_OK
             : get_descriptors(pool, heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, count, out);
}

/* Engines whose arithmetic is not the one asked for, or whose sums have no fixed order. */
bool is_excluded(const cudnnBackendNumericalNote_t *notes, int64_t count, bool tf32) {
  for (int64_t i = 0; i < count; ++i)
    switch (notes[i]) {
    case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
    case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
    case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
    case CUDNN_NUMERICAL_NOTE_FFT:
      return true;
    case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
      if (!tf32)
        return true;
      break;
    default:
      break;
    }
  return false;
}

tr_status read_choice(descriptors &pool, cudnnBackendDescriptor_t config, bool tf32, tr_graph_choice *out, bool *excluded) {
  std::vector<cudnnBackendDescriptor_t> engines, knobs;
  cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
  int64_t count = 0;
  TR_TRY(get_descriptors(pool, config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1, engines));
  TR_CUDNN_TRY(cudnnBackendGetAttribute(engines[0], CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &count, &out->engine));
  TR_CUDNN_TRY(cudnnBackendGetAttribute(engines[0], CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                        CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes));
  *excluded = is_excluded(notes, count, tf32);
  if (*excluded)
    return TR_OK;
  TR_TRY(get_descriptors(pool, config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR,
                         CUDNN_KNOB_TYPE_COUNTS, knobs));
  for (cudnnBackendDescriptor_t knob : knobs) {
    tr_graph_choice::knob k;
    TR_CUDNN_TRY(cudnnBackendGetAttribute(knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &count, &k.type));
    TR_CUDNN_TRY(cudnnBackendGetAttribute(knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &count, &k.value));
    out->knobs.push_back(k);
  }
  return TR_OK;
}

/* ---- plans ---- */

tr_status make_config(descriptors &pool, cudnnBackendDescriptor_t graph, const tr_graph_target &target,
                      const tr_graph_choice &choice, cudnnBackendDescriptor_t *out) {
  cudnnBackendDescriptor_t engine;
  TR_TRY(pool.make(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine));
  TR_TRY(set_descriptor(engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph));
  TR_TRY(set_ints(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, {choice.engine}));
  TR_TRY(set_device(engine, ENGINE, target));
  TR_TRY(finalize(engine));
  std::vector<cudnnBackendDescriptor_t> knobs(choice.knobs.size());
  for (size_t i = 0; i < knobs.size(); ++i) {
    TR_TRY(pool.make(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &knobs[i]));
    TR_TRY(set(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &choice.knobs[i].type));
    TR_TRY(set_ints(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, {choice.knobs[i].value}));
    TR_TRY(finalize(knobs[i]));
  }
  TR_TRY(pool.make(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, out));
  TR_TRY(set_descriptor(*out, CUDNN_ATTR_ENGINECFG_ENGINE, engine));
  if (!knobs.empty())
    TR_TRY(set(*out, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, (int64_t)knobs.size(), knobs.data()));
  return finalize(*out);
}

tr_status make_plan(descriptors &pool, const tr_graph_target &target, cudnnBackendDescriptor_t graph,
                    const tr_graph_choice &choice, cudnnBackendDescriptor_t *out) {
  cudnnBackendDescriptor_t config;
  TR_TRY(make_config(pool, graph, target, choice, &config));
  TR_TRY(pool.make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, out));
  TR_TRY(set_descriptor(*out, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config));
  if (target.handle)
    TR_TRY(set(*out, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle));
  TR_TRY(set_device(*out, PLAN, target));
  return finalize(*out);
}

} // namespace

struct tr_graph_plan {
  descriptors pool;
  cudnnBackendDescriptor_t plan;
  size_t workspace_bytes;
  int64_t alignment;
  bool has_residual;
};

tr_status tr_graph_plan_create(const tr_graph_target &target, const tr_graph_problem &problem, const tr_graph_choice &choice,
                               tr_graph_plan **out) {
  *out = nullptr;
  std::unique_ptr<tr_graph_plan> made(new (std::nothrow) tr_graph_plan{});
  if (!made)
    return tr_fail(TR_ENOMEM, "planning a convolution: out of memory");
  cudnnBackendDescriptor_t graph;
  int64_t count = 0, workspace = 0;
  TR_TRY(make_graph(made->pool, target, problem, &graph));
  TR_TRY(make_plan(made->pool, target, graph, choice, &made->plan));
  TR_CUDNN_TRY(
      cudnnBackendGetAttribute(made->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count, &workspace));
  made->workspace_bytes = (size_t)workspace;
  made->alignment = alignment_of(problem);
  made->has_residual = problem.desc.has_residual;
  *out = made.release();
  return TR_OK;
}

void tr_graph_plan_destroy(tr_graph_plan *plan) {
  delete plan;
}

size_t tr_graph_plan_workspace(const tr_graph_plan *plan) {
  return plan->workspace_bytes;
}

tr_status tr_graph_choices(const tr_graph_target &target, const tr_graph_problem &problem, size_t limit,
                           std::vector<tr_graph_choice> &out) {
  out.clear();
  descriptors pool;
  cudnnBackendDescriptor_t graph;
  TR_TRY(make_graph(pool, target, problem, &graph));
  for (cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    std::vector<cudnnBackendDescriptor_t> configs;
    TR_TRY(heuristic_configs(pool, target, graph, mode, configs));
    for (cudnnBackendDescriptor_t config : configs) {
      descriptors own;
      tr_graph_choice choice = {};
      cudnnBackendDescriptor_t plan;
      bool excluded;
      if (out.size() == limit)
        return TR_OK;
      TR_TRY(read_choice(own, config, problem.tf32, &choice, &excluded));
      if (!excluded && make_plan(own, target, graph, choice, &plan) == TR_OK)
        out.push_back(choice);
    }
    if (!out.empty())
      break;
  }
  return TR_OK;
}

tr_status tr_graph_plan_run(cudnnHandle_t handle, const tr_graph_plan *plan, const float *src, const float *weights,
                            const float *bias, const float *residual, float *dst, void *workspace) {
  const void *pointers[] = {src, weights, bias, dst, residual};
  const int64_t ids[] = {SRC, WEIGHTS, BIAS, DST, RESIDUAL}, count = plan->has_residual ? 5 : 4;
  for (const void *pointer : pointers)
    if (reinterpret_cast<uintptr_t>(pointer) % (uintptr_t)plan->alignment)
      return tr_fail(TR_EINVAL, "conv: in TF32 arrays are to start at a multiple of 16 bytes, found %p", pointer);
  descriptors pool;
  cudnnBackendDescriptor_t pack;
  TR_TRY(pool.make(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack));
  TR_TRY(set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointers));
  TR_TRY(set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, ids));
  TR_TRY(set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace));
  TR_TRY(finalize(pack));
  TR_CUDNN_TRY(cudnnBackendExecute(handle, plan->plan, pack));
  return TR_OK;
}
