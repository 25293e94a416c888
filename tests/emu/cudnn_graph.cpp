/* cuDNN's backend graph API on the cpu, as far as kernels/cuda/conv_graph.cu goes: a convolution, then additions of a tensor, then
 * ReLU. Attributes are checked for type, number and order of calls; what a graph may be run by is offered as cuDNN 9.19 offers it
 * for an H100 (see conv_graph.h): engine 51 by TF32, 44 with a workspace as large as both maps, 11, and the slow 0, each with
 * its own order of sums. Execution is queued on the handle's stream, and the workspace is filled with NaN before it.
 */
#include "tests/emu/cudnn_parts.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

namespace {

/* One attribute that a kind of descriptor takes. */
struct attribute_rule {
  cudnnBackendDescriptorType_t of;
  cudnnBackendAttributeName_t name;
  cudnnBackendAttributeType_t type;
  int64_t least, most; /* elements */
  bool required;
};

const int64_t MANY = 64;

const attribute_rule rules[] = {
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, true},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, 4, true},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, 4, true},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, 1, true},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, 1, true},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, 1, false},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, 1, true},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, true},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, 1, true},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, 2, true},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, 2, true},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, 2, true},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, 2, true},
    {CUDNN_BACKEND_POINTWISE_DESCRIPTOR, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, 1, true},
    {CUDNN_BACKEND_POINTWISE_DESCRIPTOR, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, 1, true},
    {CUDNN_BACKEND_POINTWISE_DESCRIPTOR, CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, CUDNN_TYPE_DOUBLE, 1, 1, false},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1,
     1, true},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1,
     1, true},
    {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
     1, true},
    {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1,
     true},
    {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1,
     false},
    {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1,
     true},
    {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, MANY, true},
    {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, 1, true},
    {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
    {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, 1, true},
    {CUDNN_BACKEND_ENGINE_DESCRIPTOR, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
    {CUDNN_BACKEND_ENGINE_DESCRIPTOR, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, 1, true},
    {CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, 1, true},
    {CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, 1, true},
    {CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
    {CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, MANY, false},
    {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
    {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, 1, true},
    {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 1, MANY, true},
    {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 1, MANY, true},
    {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, 1, true},
};

size_t element_bytes(cudnnBackendAttributeType_t type) {
  switch (type) {
  case CUDNN_TYPE_BOOLEAN:
    return sizeof(bool);
  case CUDNN_TYPE_INT64:
  case CUDNN_TYPE_DOUBLE:
  case CUDNN_TYPE_HANDLE:
  case CUDNN_TYPE_VOID_PTR:
  case CUDNN_TYPE_BACKEND_DESCRIPTOR:
    return 8;
  default: /* float and the enumerations */
    return 4;
  }
}

/* ---- descriptors ---- */

struct value {
  int64_t count;
  std::vector<unsigned char> bytes;
};

struct descriptor {
  cudnnBackendDescriptorType_t type;
  bool finalized = false;
  std::map<cudnnBackendAttributeName_t, value> values;
  /* Of heuristics: the configurations on offer. */
  struct offer {
    int64_t engine;
    std::vector<std::pair<cudnnBackendKnobType_t, int64_t>> knobs;
  };
  std::vector<offer> offers;
};

std::mutex lock;
std::set<descriptor *> descriptors;

descriptor *of(cudnnBackendDescriptor_t handle, const char *call) {
  descriptor *d = static_cast<descriptor *>(handle);
  std::lock_guard<std::mutex> hold(lock);
  if (!descriptors.count(d))
    emu_cudnn_die(call, "a descriptor that was not created, or has been destroyed");
  return d;
}

const attribute_rule *rule_of(const descriptor *d, cudnnBackendAttributeName_t name) {
  for (const attribute_rule &r : rules)
    if (r.of == d->type && r.name == name)
      return &r;
  return nullptr;
}

bool has(const descriptor *d, cudnnBackendAttributeName_t name) {
  return d->values.count(name) > 0;
}

template <typename T> std::vector<T> get_all(const descriptor *d, cudnnBackendAttributeName_t name) {
  auto found = d->values.find(name);
  if (found == d->values.end())
    return {};
  std::vector<T> out((size_t)found->second.count);
  memcpy(out.data(), found->second.bytes.data(), out.size() * sizeof(T));
  return out;
}

template <typename T> T get(const descriptor *d, cudnnBackendAttributeName_t name) {
  return get_all<T>(d, name).at(0);
}

descriptor *get_descriptor(const descriptor *d, cudnnBackendAttributeName_t name) {
  return of(get<cudnnBackendDescriptor_t>(d, name), "use of an attribute");
}

void put(descriptor *d, cudnnBackendAttributeName_t name, const void *data, size_t bytes) {
  const unsigned char *from = static_cast<const unsigned char *>(data);
  d->values[name] = {1, std::vector<unsigned char>(from, from + bytes)};
}

emu_tensor tensor_of(const descriptor *d) {
  emu_tensor t;
  std::vector<int64_t> dims = get_all<int64_t>(d, CUDNN_ATTR_TENSOR_DIMENSIONS),
                       strides = get_all<int64_t>(d, CUDNN_ATTR_TENSOR_STRIDES);
  std::copy(dims.begin(), dims.end(), t.dim);
  std::copy(strides.begin(), strides.end(), t.stride);
  return t;
}

int64_t id_of(const descriptor *tensor) {
  return get<int64_t>(tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID);
}
bool is_virtual(const descriptor *tensor) {
  return has(tensor, CUDNN_ATTR_TENSOR_IS_VIRTUAL) && tensor->values.at(CUDNN_ATTR_TENSOR_IS_VIRTUAL).bytes[0] != 0;
}

/* ---- what finalize checks ---- */

cudnnStatus_t bad(const char *text) {
  return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM, text);
}

cudnnStatus_t check_tensor(const descriptor *d) {
  if (get<cudnnDataType_t>(d, CUDNN_ATTR_TENSOR_DATA_TYPE) != CUDNN_DATA_FLOAT)
    emu_cudnn_die("cudnnBackendFinalize", "a tensor that is not float");
  emu_tensor t = tensor_of(d);
  for (int i = 0; i < 4; ++i)
    if (t.dim[i] < 1 || t.stride[i] < 1)
      return bad("tensor: dimensions and strides must be positive");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_convolution(const descriptor *d) {
  if (get<int64_t>(d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS) != 2)
    return bad("convolution: spatial dimensions and the lengths of paddings differ");
  if (get<cudnnDataType_t>(d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE) != CUDNN_DATA_FLOAT ||
      get<cudnnConvolutionMode_t>(d, CUDNN_ATTR_CONVOLUTION_CONV_MODE) != CUDNN_CROSS_CORRELATION)
    emu_cudnn_die("cudnnBackendFinalize", "a convolution that is not a cross-correlation in float");
  return CUDNN_STATUS_SUCCESS;
}

emu_convolution convolution_of(const descriptor *operation) {
  emu_convolution c = {};
  const descriptor *conv = get_descriptor(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC);
  c.src = tensor_of(get_descriptor(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X));
  c.weights = tensor_of(get_descriptor(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W));
  emu_tensor dst = tensor_of(get_descriptor(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y));
  std::copy(dst.dim, dst.dim + 4, c.out);
  for (int i = 0; i < 2; ++i) {
    c.pad[i] = get_all<int64_t>(conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS)[(size_t)i];
    c.stride[i] = get_all<int64_t>(conv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES)[(size_t)i];
    c.dilation[i] = get_all<int64_t>(conv, CUDNN_ATTR_CONVOLUTION_DILATIONS)[(size_t)i];
  }
  c.groups = c.src.dim[1] / c.weights.dim[1];
  return c;
}

cudnnStatus_t check_convolution_operation(const descriptor *d) {
  const descriptor *conv = get_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC);
  emu_convolution c = convolution_of(d);
  std::vector<int64_t> after = get_all<int64_t>(conv, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS);
  if (c.src.dim[1] % c.weights.dim[1] || c.weights.dim[0] % c.groups || c.out[1] != c.weights.dim[0] || c.out[0] != c.src.dim[0])
    return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "convolution: channels or images do not fit");
  for (int i = 0; i < 2; ++i) {
    int64_t reach = c.dilation[i] * (c.weights.dim[2 + i] - 1) + 1;
    if ((c.src.dim[2 + i] + c.pad[i] + after[(size_t)i] - reach) / c.stride[i] + 1 != c.out[2 + i])
      return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "convolution: the output has another size");
  }
  if (get<float>(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA) != 1.0f ||
      get<float>(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA) != 0.0f)
    emu_cudnn_die("cudnnBackendFinalize", "a convolution with alpha other than 1 or beta other than 0");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_pointwise_operation(const descriptor *d) {
  const descriptor *pointwise = get_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
  cudnnPointwiseMode_t mode = get<cudnnPointwiseMode_t>(pointwise, CUDNN_ATTR_POINTWISE_MODE);
  if (mode != CUDNN_POINTWISE_ADD && mode != CUDNN_POINTWISE_RELU_FWD)
    emu_cudnn_die("cudnnBackendFinalize", "a pointwise operation that is neither an addition nor a ReLU");
  if ((mode == CUDNN_POINTWISE_ADD) != has(d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC))
    return bad("pointwise: an addition takes a second tensor, a ReLU none");
  emu_tensor x = tensor_of(get_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC)),
             y = tensor_of(get_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC));
  for (int i = 0; i < 4; ++i)
    if (x.dim[i] != y.dim[i])
      return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "pointwise: input and output differ in shape");
  if (mode == CUDNN_POINTWISE_ADD) {
    emu_tensor b = tensor_of(get_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC));
    for (int i = 0; i < 4; ++i)
      if (b.dim[i] != y.dim[i] && b.dim[i] != 1)
        return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "pointwise: the second tensor cannot be broadcast");
  }
  return CUDNN_STATUS_SUCCESS;
}

/* A graph must be a chain: a convolution, and each operation reads what the one before wrote. */
cudnnStatus_t check_graph(const descriptor *d) {
  std::vector<cudnnBackendDescriptor_t> operations = get_all<cudnnBackendDescriptor_t>(d, CUDNN_ATTR_OPERATIONGRAPH_OPS);
  std::set<int64_t> ids;
  const descriptor *made = nullptr;
  for (size_t i = 0; i < operations.size(); ++i) {
    const descriptor *operation = of(operations[i], "cudnnBackendFinalize");
    bool first = operation->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
    if (first != (i == 0))
      emu_cudnn_die("cudnnBackendFinalize", "a graph that is not one convolution and then pointwise operations");
    if (!first && get_descriptor(operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC) != made)
      return bad("graph: an operation does not read what the one before it gives");
    made = get_descriptor(operation, first ? CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y : CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
    if (is_virtual(made) != (i + 1 < operations.size()))
      return bad("graph: tensors between operations are virtual, the last one is not");
    if (!ids.insert(id_of(made)).second)
      return bad("graph: two tensors of one name");
  }
  return CUDNN_STATUS_SUCCESS;
}

/* ---- engines ---- */

struct graph_facts {
  emu_convolution conv;
  emu_tensor dst;
  bool symmetric, clipped, strides_agree;
};

graph_facts facts_of(const descriptor *graph) {
  graph_facts f = {};
  f.strides_agree = true;
  std::vector<cudnnBackendDescriptor_t> operations = get_all<cudnnBackendDescriptor_t>(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
  const descriptor *first = of(operations[0], "use of a graph");
  const descriptor *conv = get_descriptor(first, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC);
  f.conv = convolution_of(first);
  f.symmetric =
      get_all<int64_t>(conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS) == get_all<int64_t>(conv, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS);
  f.dst = tensor_of(get_descriptor(first, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y));
  std::vector<emu_tensor> added;
  for (size_t i = 1; i < operations.size(); ++i) {
    const descriptor *operation = of(operations[i], "use of a graph");
    const descriptor *pointwise = get_descriptor(operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    f.clipped |= has(pointwise, CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP);
    f.dst = tensor_of(get_descriptor(operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC));
    if (has(operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC))
      added.push_back(tensor_of(get_descriptor(operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC)));
  }
  for (const emu_tensor &t : added)
    if (t.dim[0] == f.dst.dim[0] && t.dim[2] == f.dst.dim[2] && t.dim[3] == f.dst.dim[3])
      f.strides_agree &= std::equal(t.stride, t.stride + 4, f.dst.stride);
  return f;
}

enum { SLOW = 0, DIRECT = 11, TRANSPOSING = 44, TENSOR_CORES = 51 };

bool engine_takes(int64_t engine, const graph_facts &f) {
  if (!f.strides_agree)
    return false;
  switch (engine) {
  case SLOW:
    return true;
  case DIRECT:
    return f.symmetric && !f.clipped;
  case TRANSPOSING:
    return !f.clipped;
  case TENSOR_CORES:
    return !f.clipped && f.conv.src.stride[3] % 4 == 0 && f.dst.stride[3] % 4 == 0;
  default:
    return false;
  }
}

std::vector<descriptor::offer> offers_for(const graph_facts &f, cudnnBackendHeurMode_t mode) {
  std::vector<descriptor::offer> best = {{TENSOR_CORES, {{CUDNN_KNOB_TYPE_TILE_SIZE, 1}, {CUDNN_KNOB_TYPE_WORKSPACE, 1}}},
                                         {TRANSPOSING, {{CUDNN_KNOB_TYPE_TILE_SIZE, 4}, {CUDNN_KNOB_TYPE_IDX_MODE, 0}}},
                                         {TRANSPOSING, {{CUDNN_KNOB_TYPE_TILE_SIZE, 2}, {CUDNN_KNOB_TYPE_IDX_MODE, 0}}},
                                         {DIRECT, {{CUDNN_KNOB_TYPE_TILE_SIZE, 4}}},
                                         {SLOW, {}}};
  std::vector<descriptor::offer> fallback = {{DIRECT, {}}, {SLOW, {}}}, out;
  for (const descriptor::offer &o : mode == CUDNN_HEUR_MODE_FALLBACK ? fallback : best)
    if (engine_takes(o.engine, f))
      out.push_back(o);
  return out;
}

int64_t workspace_of(int64_t engine, const graph_facts &f) {
  return engine == TRANSPOSING    ? (int64_t)((f.conv.src.count() + f.dst.count() + f.conv.weights.count()) * sizeof(float)) + 16
         : engine == TENSOR_CORES ? 131
                                  : 0;
}

cudnnStatus_t check_engine(const descriptor *d) {
  if (!engine_takes(get<int64_t>(d, CUDNN_ATTR_ENGINE_GLOBAL_INDEX),
                    facts_of(get_descriptor(d, CUDNN_ATTR_ENGINE_OPERATION_GRAPH))))
    return emu_cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "engine: does not take this graph");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_pack(const descriptor *d) {
  std::vector<int64_t> ids = get_all<int64_t>(d, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  if (ids.size() != get_all<void *>(d, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).size())
    return bad("variant pack: as many names as pointers are wanted");
  if (std::set<int64_t>(ids.begin(), ids.end()).size() != ids.size())
    return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "variant pack: a name comes twice");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_kind(descriptor *d) {
  switch (d->type) {
  case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
    return check_tensor(d);
  case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR:
    return check_convolution(d);
  case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
    return check_convolution_operation(d);
  case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
    return check_pointwise_operation(d);
  case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
    return check_graph(d);
  case CUDNN_BACKEND_ENGINE_DESCRIPTOR:
    return check_engine(d);
  case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
    return check_pack(d);
  case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
    d->offers = offers_for(facts_of(get_descriptor(d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH)),
                           get<cudnnBackendHeurMode_t>(d, CUDNN_ATTR_ENGINEHEUR_MODE));
    return CUDNN_STATUS_SUCCESS;
  default:
    return CUDNN_STATUS_SUCCESS;
  }
}

/* ---- reading what a descriptor tells ---- */

/* Results are written into descriptors that the caller has made. */
void fill_config(descriptor *config, const descriptor *heuristics, const descriptor::offer &offer) {
  cudnnBackendDescriptor_t graph = get<cudnnBackendDescriptor_t>(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
  put(config, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, &graph, sizeof graph);
  put(config, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, &offer.engine, sizeof offer.engine);
  config->offers = {offer};
  config->finalized = true;
}

cudnnStatus_t give_results(const descriptor *heuristics, int64_t wanted, int64_t *count, void *out) {
  *count = (int64_t)heuristics->offers.size();
  for (int64_t i = 0; i < std::min(wanted, *count); ++i)
    fill_config(of(static_cast<cudnnBackendDescriptor_t *>(out)[i], "cudnnBackendGetAttribute"), heuristics,
                heuristics->offers[(size_t)i]);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t give_engine(const descriptor *config, int64_t *count, void *out) {
  descriptor *engine = of(*static_cast<cudnnBackendDescriptor_t *>(out), "cudnnBackendGetAttribute");
  if (engine->type != CUDNN_BACKEND_ENGINE_DESCRIPTOR)
    return bad("engine configuration: the result is not an engine descriptor");
  for (cudnnBackendAttributeName_t name : {CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_ATTR_ENGINE_GLOBAL_INDEX})
    engine->values[name] = config->values.at(name);
  engine->finalized = true;
  *count = 1;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t give_knobs(const descriptor *config, int64_t wanted, int64_t *count, void *out) {
  const descriptor::offer &offer = config->offers.at(0);
  *count = (int64_t)offer.knobs.size();
  for (int64_t i = 0; i < std::min(wanted, *count); ++i) {
    descriptor *knob = of(static_cast<cudnnBackendDescriptor_t *>(out)[i], "cudnnBackendGetAttribute");
    put(knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, &offer.knobs[(size_t)i].first, sizeof(cudnnBackendKnobType_t));
    put(knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, &offer.knobs[(size_t)i].second, sizeof(int64_t));
    knob->finalized = true;
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t give_notes(const descriptor *engine, int64_t wanted, int64_t *count, void *out) {
  bool tensor_cores = get<int64_t>(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX) == TENSOR_CORES;
  *count = tensor_cores ? 1 : 0;
  if (tensor_cores && wanted > 0)
    *static_cast<cudnnBackendNumericalNote_t *>(out) = CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
  return CUDNN_STATUS_SUCCESS;
}

/* Of a plan, the engine's number and its graph. */
const descriptor *engine_of(const descriptor *plan) {
  return get_descriptor(get_descriptor(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG), CUDNN_ATTR_ENGINECFG_ENGINE);
}

cudnnStatus_t give_workspace(const descriptor *plan, int64_t *count, void *out) {
  const descriptor *engine = engine_of(plan);
  int64_t bytes = workspace_of(get<int64_t>(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX),
                               facts_of(get_descriptor(engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH)));
  memcpy(out, &bytes, sizeof bytes);
  *count = 1;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t give_stored(const descriptor *d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t wanted,
                          int64_t *count, void *out) {
  const attribute_rule *rule = rule_of(d, name);
  if (!rule)
    emu_cudnn_die("cudnnBackendGetAttribute", "an attribute that is not emulated");
  if (rule->type != type || !has(d, name))
    return bad("reading an attribute: another type, or it is not set");
  const value &v = d->values.at(name);
  if (count)
    *count = v.count;
  memcpy(out, v.bytes.data(), (size_t)std::min(wanted, v.count) * element_bytes(type));
  return CUDNN_STATUS_SUCCESS;
}

/* ---- execution ---- */

/* All that a plan does, copied out of its descriptors: these may be gone when the stream comes to it. */
struct program {
  emu_convolution conv;
  emu_tensor dst;
  const float *src, *weights;
  float *to;
  void *workspace;
  size_t workspace_bytes;
  struct step {
    bool relu;
    double upper; /* of a ReLU; 0: none */
    emu_tensor added;
    const float *values;
  };
  std::vector<step> steps;
};

void check_program(const program &p) {
  emu_check_device(p.src, p.conv.src.span_bytes(), "cuDNN convolution, source");
  emu_check_device(p.weights, p.conv.weights.span_bytes(), "cuDNN convolution, weights");
  emu_check_device(p.to, p.dst.span_bytes(), "cuDNN convolution, destination");
  emu_check_device(p.workspace, p.workspace_bytes, "cuDNN convolution, workspace");
  for (const program::step &s : p.steps)
    if (!s.relu)
      emu_check_device(s.values, s.added.span_bytes(), "cuDNN convolution, an added tensor");
}

float apply(const program::step &s, float sum, int64_t n, int64_t c, int64_t h, int64_t w) {
  if (s.relu) {
    float value = sum > 0.0f ? sum : 0.0f;
    return s.upper > 0 && value > (float)s.upper ? (float)s.upper : value;
  }
  const emu_tensor &t = s.added;
  return sum + s.values[t.at(t.dim[0] == 1 ? 0 : n, t.dim[1] == 1 ? 0 : c, t.dim[2] == 1 ? 0 : h, t.dim[3] == 1 ? 0 : w)];
}

void run(const program &p) {
  check_program(p);
  if (p.workspace_bytes)
    memset(p.workspace, 0xff, p.workspace_bytes);
  std::vector<float> sums = emu_convolve(p.conv, p.src, p.weights);
  size_t i = 0;
  for (int64_t n = 0; n < p.dst.dim[0]; ++n)
    for (int64_t h = 0; h < p.dst.dim[2]; ++h)
      for (int64_t w = 0; w < p.dst.dim[3]; ++w)
        for (int64_t c = 0; c < p.dst.dim[1]; ++c) {
          float value = sums[i++];
          for (const program::step &s : p.steps)
            value = apply(s, value, n, c, h, w);
          p.to[p.dst.at(n, c, h, w)] = value;
        }
}

/* The pointers of a variant pack by name. */
struct pack_view {
  std::vector<int64_t> ids;
  std::vector<void *> pointers;
  void *pointer_of(const descriptor *tensor) const {
    for (size_t i = 0; i < ids.size(); ++i)
      if (ids[i] == id_of(tensor)) {
        if ((uintptr_t)pointers[i] % (uintptr_t)get<int64_t>(tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT))
          emu_cudnn_die("cudnnBackendExecute", "a pointer is less aligned than its tensor says");
        return pointers[i];
      }
    emu_cudnn_die("cudnnBackendExecute", "the variant pack lacks a tensor of the graph");
  }
};

program program_of(const descriptor *plan, const descriptor *pack) {
  program p = {};
  pack_view view = {get_all<int64_t>(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS),
                    get_all<void *>(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS)};
  const descriptor *engine = engine_of(plan), *graph = get_descriptor(engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH);
  std::vector<cudnnBackendDescriptor_t> operations = get_all<cudnnBackendDescriptor_t>(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
  graph_facts facts = facts_of(graph);
  int64_t number = get<int64_t>(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
  const descriptor *last = of(operations[0], "cudnnBackendExecute");
  p.conv = facts.conv;
  p.conv.tf32 = number == TENSOR_CORES;
  p.conv.order = (unsigned)number;
  const descriptor *config = get_descriptor(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
  for (cudnnBackendDescriptor_t knob : get_all<cudnnBackendDescriptor_t>(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES))
    p.conv.order = p.conv.order * 31 + (unsigned)get<int64_t>(of(knob, "cudnnBackendExecute"), CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE);
  p.src = static_cast<const float *>(view.pointer_of(get_descriptor(last, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X)));
  p.weights = static_cast<const float *>(view.pointer_of(get_descriptor(last, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W)));
  const descriptor *made = get_descriptor(last, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y);
  for (size_t i = 1; i < operations.size(); ++i) {
    const descriptor *operation = of(operations[i], "cudnnBackendExecute");
    const descriptor *pointwise = get_descriptor(operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    program::step s = {};
    s.relu = get<cudnnPointwiseMode_t>(pointwise, CUDNN_ATTR_POINTWISE_MODE) == CUDNN_POINTWISE_RELU_FWD;
    if (has(pointwise, CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP))
      s.upper = get<double>(pointwise, CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP);
    if (!s.relu) {
      const descriptor *added = get_descriptor(operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC);
      s.added = tensor_of(added);
      s.values = static_cast<const float *>(view.pointer_of(added));
    }
    p.steps.push_back(s);
    made = get_descriptor(operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
  }
  p.dst = tensor_of(made);
  p.to = static_cast<float *>(view.pointer_of(made));
  p.workspace = get<void *>(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
  p.workspace_bytes = (size_t)workspace_of(number, facts);
  return p;
}

} // namespace

extern "C" {

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out) {
  bool known = false;
  for (const attribute_rule &r : rules)
    known |= r.of == type;
  if (!known)
    emu_cudnn_die("cudnnBackendCreateDescriptor", "a kind of descriptor that is not emulated");
  descriptor *d = new descriptor;
  d->type = type;
  std::lock_guard<std::mutex> hold(lock);
  descriptors.insert(d);
  emu_count("cuDNN descriptors", 1);
  *out = d;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t handle) {
  descriptor *d = of(handle, "cudnnBackendDestroyDescriptor");
  std::lock_guard<std::mutex> hold(lock);
  descriptors.erase(d);
  delete d;
  emu_count("cuDNN descriptors", -1);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t handle, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void *elements) {
  descriptor *d = of(handle, "cudnnBackendSetAttribute");
  const attribute_rule *rule = rule_of(d, name);
  if (!rule)
    emu_cudnn_die("cudnnBackendSetAttribute", "an attribute that this kind of descriptor does not have, or that is not emulated");
  if (d->finalized)
    return emu_cudnn_fail(CUDNN_STATUS_NOT_INITIALIZED, "setting an attribute of a finalized descriptor");
  if (rule->type != type)
    return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "setting an attribute: another type is wanted");
  if (count < rule->least || count > rule->most || !elements)
    return bad("setting an attribute: another number of elements is wanted");
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
    for (int64_t i = 0; i < count; ++i)
      if (!of(static_cast<const cudnnBackendDescriptor_t *>(elements)[i], "cudnnBackendSetAttribute")->finalized)
        return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "setting an attribute: a descriptor is not finalized");
  if (type == CUDNN_TYPE_HANDLE)
    emu_cudnn_check_handle(*static_cast<const cudnnHandle_t *>(elements), "cudnnBackendSetAttribute");
  const unsigned char *from = static_cast<const unsigned char *>(elements);
  d->values[name] = {count, std::vector<unsigned char>(from, from + (size_t)count * element_bytes(type))};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t handle) {
  descriptor *d = of(handle, "cudnnBackendFinalize");
  for (const attribute_rule &r : rules)
    if (r.of == d->type && r.required && !has(d, r.name))
      return bad("finalizing: an attribute is missing");
  cudnnStatus_t status = check_kind(d);
  d->finalized = status == CUDNN_STATUS_SUCCESS;
  return status;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const handle, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t wanted, int64_t *count, void *out) {
  const descriptor *d = of(handle, "cudnnBackendGetAttribute");
  if (!d->finalized)
    return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "reading an attribute of a descriptor that is not finalized");
  switch (name) {
  case CUDNN_ATTR_ENGINEHEUR_RESULTS:
    return give_results(d, wanted, count, out);
  case CUDNN_ATTR_ENGINECFG_ENGINE:
    return give_engine(d, count, out);
  case CUDNN_ATTR_ENGINECFG_KNOB_CHOICES:
    return give_knobs(d, wanted, count, out);
  case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
    return give_notes(d, wanted, count, out);
  case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
    return give_workspace(d, count, out);
  default:
    return give_stored(d, name, type, wanted, count, out);
  }
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan_handle,
                                  cudnnBackendDescriptor_t pack_handle) {
  emu_cudnn_check_handle(handle, "cudnnBackendExecute");
  const descriptor *plan = of(plan_handle, "cudnnBackendExecute"), *pack = of(pack_handle, "cudnnBackendExecute");
  if (!plan->finalized || !pack->finalized)
    return emu_cudnn_fail(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "executing: the plan or the variant pack is not finalized");
  program p = program_of(plan, pack);
  check_program(p);
  emu_enqueue(handle->stream, [p]() { run(p); });
  return CUDNN_STATUS_SUCCESS;
}

} /* extern "C" */
