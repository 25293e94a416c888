/* The installed cuDNN is asked, for described devices and so without a GPU, whether it takes our convolution graphs: every kind
 * of layer must have an engine that sums by FMA in a fixed order, and the engine chosen for a full chunk must take any number of
 * images in the workspace set aside. */
#include "kernels/cuda/conv_graph.h"

#include <csetjmp>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

extern "C" {
#include "host/backbone/build.h"
#include <cmocka.h>
}

#if CUDNN_VERSION >= 90800

namespace {

/* What the driver tells of these GPUs; fields that differ between them are filled in. */
const char *const properties =
    "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,\"multiProcessorCount\":%d,"
    "\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,\"maxSharedMemoryPerBlockOptin\":%d,\"reservedSharedMemoryPerBlock\":1024,"
    "\"maxRegistersPerSM\":65536,\"maxCtasPerSM\":%d,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":%d,\"pciDeviceId\":0,"
    "\"isTccDriver\":0,\"supportCoopLaunch\":1,\"totalGlobalMem\":%zu,\"smClockRateKHz\":%d,\"memClockRateKHz\":%d,"
    "\"l2CacheSize\":%d,\"cudaDeviceId\":0,\"deviceVer\":%d,\"driverVer\":13000,\"deviceName\":\"%s\"}";

struct described_device {
  const char *name;
  int version, multiprocessors, shared_bytes, blocks, threads;
  size_t memory;
  int clock, memory_clock, cache;
};

const described_device devices[] = {
    {"NVIDIA H100 80GB HBM3", 900, 132, 232448, 32, 2048, 85017624576, 1980000, 2619000, 52428800},
    {"NVIDIA A100-SXM4-80GB", 800, 108, 166912, 32, 2048, 85097971712, 1410000, 1593000, 41943040},
    {"NVIDIA GeForce RTX 4090", 890, 128, 101376, 24, 1536, 25393692672, 2520000, 10501000, 75497472},
};

struct layer {
  const char *name;
  int size, in, out, kernel, stride, groups, pad_before, pad_after, src_pixel, dst_pixel;
  bool residual;
  tr_activation activation;
};

const layer layers[] = {
    {"ResNet conv1", 224, 3, 64, 7, 2, 1, 3, 3, 3, 64, false, TR_ACT_RELU},
    {"ResNet 1x1, first of a block", 56, 256, 64, 1, 1, 1, 0, 0, 256, 64, false, TR_ACT_RELU},
    {"ResNet 3x3", 28, 128, 128, 3, 1, 1, 1, 1, 128, 128, false, TR_ACT_RELU},
    {"ResNet 3x3, stride 2", 28, 256, 256, 3, 2, 1, 1, 1, 256, 256, false, TR_ACT_RELU},
    {"ResNet 1x1, last of a block", 14, 256, 1024, 1, 1, 1, 0, 0, 256, 1024, true, TR_ACT_RELU},
    {"ResNet shortcut", 56, 256, 512, 1, 2, 1, 0, 0, 256, 512, false, TR_ACT_NONE},
    {"WideResNet 3x3", 14, 512, 512, 3, 1, 1, 1, 1, 512, 512, false, TR_ACT_RELU},
    {"ResNet18 3x3 with residual", 56, 64, 64, 3, 1, 1, 1, 1, 64, 64, true, TR_ACT_RELU},
    {"ResNeXt 3x3, 32 groups", 56, 256, 256, 3, 1, 32, 1, 1, 256, 256, false, TR_ACT_RELU},
    {"ResNeXt 3x3, 32 groups, stride 2", 56, 512, 512, 3, 2, 32, 1, 1, 512, 512, false, TR_ACT_RELU},
    {"DenseNet 1x1", 56, 192, 128, 1, 1, 1, 0, 0, 192, 128, false, TR_ACT_RELU},
    {"DenseNet 3x3 into a wider buffer", 28, 128, 32, 3, 1, 1, 1, 1, 128, 512, false, TR_ACT_NONE},
    {"DenseNet transition", 28, 512, 256, 1, 1, 1, 0, 0, 512, 256, false, TR_ACT_NONE},
    {"EfficientNet-Lite stem", 224, 3, 32, 3, 2, 1, 0, 1, 3, 32, false, TR_ACT_NONE},
    {"EfficientNet-Lite expansion", 112, 16, 96, 1, 1, 1, 0, 0, 16, 96, false, TR_ACT_NONE},
    {"EfficientNet-Lite projection", 56, 144, 24, 1, 1, 1, 0, 0, 144, 24, true, TR_ACT_NONE},
    {"odd channels in a view", 7, 33, 31, 3, 1, 1, 1, 1, 40, 45, false, TR_ACT_RELU},
};

tr_graph_problem problem_of(const layer &l, int n, bool tf32) {
  tr_graph_problem p = {};
  p.desc.in_h = p.desc.in_w = l.size;
  p.desc.in_channels = l.in;
  p.desc.out_channels = l.out;
  p.desc.kernel_h = p.desc.kernel_w = l.kernel;
  p.desc.stride = l.stride;
  p.desc.groups = l.groups;
  p.desc.pad_top = p.desc.pad_left = l.pad_before;
  p.desc.pad_bottom = p.desc.pad_right = l.pad_after;
  p.desc.src_pixel_stride = l.src_pixel;
  p.desc.dst_pixel_stride = l.dst_pixel;
  p.desc.has_residual = l.residual;
  p.desc.activation = l.activation;
  p.n = n;
  p.tf32 = tf32;
  return p;
}

cudnnBackendDescriptor_t describe(const described_device &d) {
  char text[2048];
  cudnnBackendDescriptor_t out;
  int bytes = snprintf(text, sizeof text, properties, d.multiprocessors, d.shared_bytes, d.blocks, d.threads, d.memory, d.clock,
                       d.memory_clock, d.cache, d.version, d.name);
  assert_int_equal(cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &out), CUDNN_STATUS_SUCCESS);
  assert_int_equal(cudnnBackendSetAttribute(out, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, bytes, text),
                   CUDNN_STATUS_SUCCESS);
  assert_int_equal(cudnnBackendFinalize(out), CUDNN_STATUS_SUCCESS);
  return out;
}

/* The choice for a full chunk serves every other number of images. */
void check_layer(const tr_graph_target &target, const layer &l, bool tf32) {
  enum { CHUNK = 64, LIMIT = 8 };
  std::vector<tr_graph_choice> choices;
  if (tr_graph_choices(target, problem_of(l, CHUNK, tf32), LIMIT, choices) != TR_OK)
    fail_msg("%s: %s", l.name, tr_last_error());
  if (choices.empty())
    fail_msg("%s: cuDNN offers no engine", l.name);
  const size_t weights_bytes = (size_t)l.out * (size_t)(l.in / l.groups * l.kernel * l.kernel) * sizeof(float);
  size_t full = 0;
  for (int n = CHUNK; n > 0; --n) {
    tr_graph_plan *plan;
    if (tr_graph_plan_create(target, problem_of(l, n, tf32), choices[0], &plan) != TR_OK)
      fail_msg("%s, %d images: %s", l.name, n, tr_last_error());
    const size_t bytes = tr_graph_plan_workspace(plan);
    full = n == CHUNK ? bytes : full;
    if (bytes > tr_graph_workspace_for(full, CHUNK, weights_bytes, CHUNK))
      fail_msg("%s: %zu bytes of workspace for %d images, %zu for %d", l.name, bytes, n, full, (int)CHUNK);
    tr_graph_plan_destroy(plan);
  }
  printf("  %-34s engine %3lld of %zu, workspace %6.1f MB\n", l.name, (long long)choices[0].engine, choices.size(),
         (double)full / 1e6);
}

/* What conv.cu asks cuDNN for: depthwise convolutions and the clip of ReLU6 are its own. */
std::vector<tr_conv_desc> convolutions_of(const char *architecture) {
  const tr_architecture *found;
  tr_graph graph = {};
  std::vector<tr_conv_desc> out;
  if (tr_architecture_find(architecture, &found) != TR_OK || tr_graph_build(&graph, found, 224, 224) != TR_OK)
    fail_msg("%s", tr_last_error());
  for (int i = 0; i < graph.node_count; ++i) {
    if (graph.nodes[i].kind != TR_NODE_CONV)
      continue;
    tr_conv_desc d = tr_graph_conv_desc(&graph, &graph.nodes[i]);
    if (d.activation == TR_ACT_RELU6)
      d.activation = TR_ACT_NONE;
    bool known = d.groups == d.in_channels && d.groups == d.out_channels;
    for (const tr_conv_desc &other : out)
      known |= memcmp(&other, &d, sizeof d) == 0;
    if (!known)
      out.push_back(d);
  }
  tr_graph_free(&graph);
  return out;
}

void test_backbones(void **state) {
  (void)state;
  tr_graph_target target = {nullptr, describe(devices[0])};
  size_t count;
  const char *const *names = tr_backbone_architectures(&count);
  for (size_t i = 0; i < count; ++i) {
    const std::vector<tr_conv_desc> all = convolutions_of(names[i]);
    assert_true(all.size() > 5);
    for (const tr_conv_desc &d : all) {
      std::vector<tr_graph_choice> choices;
      for (int n : {64, 17, 1}) {
        tr_graph_plan *plan = nullptr;
        tr_status status = choices.empty() ? tr_graph_choices(target, {d, n, false}, 1, choices) : TR_OK;
        if (status == TR_OK && !choices.empty())
          status = tr_graph_plan_create(target, {d, n, false}, choices[0], &plan);
        if (!plan)
          fail_msg("%s, %dx%dx%d -> %d channels, %d images: %s", names[i], d.in_h, d.in_w, d.in_channels, d.out_channels, n,
                   status != TR_OK ? tr_last_error() : "no engine");
        tr_graph_plan_destroy(plan);
      }
    }
    printf("  %-20s %3zu different convolutions\n", names[i], all.size());
  }
  cudnnBackendDestroyDescriptor(target.device);
}

void test_layers(void **state) {
  (void)state;
  for (const described_device &d : devices)
    for (bool tf32 : {false, true}) {
      tr_graph_target target = {nullptr, describe(d)};
      printf("%s, %s, 64 images\n", d.name, tf32 ? "TF32" : "FMA");
      for (const layer &l : layers)
        check_layer(target, l, tf32);
      cudnnBackendDestroyDescriptor(target.device);
    }
}

} // namespace

int main() {
  const CMUnitTest tests[] = {cmocka_unit_test(test_layers), cmocka_unit_test(test_backbones)};
  return cmocka_run_group_tests_name("cuDNN's plans", tests, nullptr, nullptr);
}
#else
int main() {
  printf("cuDNN before 9.8 plans for a device that is there only\n");
  return 77;
}
#endif
