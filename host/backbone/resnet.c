/* ResNet (He et al., 2015, "Deep Residual Learning"), Wide ResNet (Zagoruyko and Komodakis, 2016) and ResNeXt (Xie et al., 2017),
 * with torchvision's names. torchvision's bottleneck has the stride in the 3x3 convolution ("v1.5"); resnet50_v1 has it in the
 * first 1x1 as the paper and its Caffe model do. */
#include "host/backbone/build.h"

#include <stdio.h>

typedef struct resnet_config {
  int blocks[4];
  bool bottleneck, stride_first;
  int groups, width; /* of the 3x3 convolution: channels = planes * width / 64 * groups */
} resnet_config;

/* Names of a block's modules. */
typedef struct block_names {
  char conv[3][TR_NAME_BYTES], norm[3][TR_NAME_BYTES], short_conv[TR_NAME_BYTES], short_norm[TR_NAME_BYTES];
} block_names;

static block_names names_of(int stage, int block) {
  block_names names;
  for (int i = 0; i < 3; ++i) {
    snprintf(names.conv[i], TR_NAME_BYTES, "layer%d.%d.conv%d", stage + 1, block, i + 1);
    snprintf(names.norm[i], TR_NAME_BYTES, "layer%d.%d.bn%d", stage + 1, block, i + 1);
  }
  snprintf(names.short_conv, TR_NAME_BYTES, "layer%d.%d.downsample.0", stage + 1, block);
  snprintf(names.short_norm, TR_NAME_BYTES, "layer%d.%d.downsample.1", stage + 1, block);
  return names;
}

/* The shortcut: the block's source, or a 1x1 convolution of it where the shape changes. */
static int add_shortcut(tr_graph *graph, const block_names *names, int src, int channels, int stride) {
  if (stride == 1 && tr_graph_channels(graph, src) == channels)
    return src;
  return tr_graph_conv(
      graph, src,
      &(tr_conv_layer){
          .weights = names->short_conv, .norm = names->short_norm, .channels = channels, .kernel = 1, .stride = stride});
}

static int add_basic(tr_graph *graph, const block_names *names, int src, int planes, int stride) {
  int inner = tr_graph_conv(graph, src,
                            &(tr_conv_layer){.weights = names->conv[0],
                                             .norm = names->norm[0],
                                             .channels = planes,
                                             .kernel = 3,
                                             .stride = stride,
                                             .activation = TR_ACT_RELU});
  int residual = add_shortcut(graph, names, src, planes, stride);
  return tr_graph_conv(graph, inner,
                       &(tr_conv_layer){.weights = names->conv[1],
                                        .norm = names->norm[1],
                                        .channels = planes,
                                        .kernel = 3,
                                        .stride = 1,
                                        .residual = residual,
                                        .activation = TR_ACT_RELU});
}

static int add_bottleneck(tr_graph *graph, const resnet_config *config, const block_names *names, int src, int planes,
                          int stride) {
  int width = planes * config->width / 64 * config->groups;
  int first = tr_graph_conv(graph, src,
                            &(tr_conv_layer){.weights = names->conv[0],
                                             .norm = names->norm[0],
                                             .channels = width,
                                             .kernel = 1,
                                             .stride = config->stride_first ? stride : 1,
                                             .activation = TR_ACT_RELU});
  int second = tr_graph_conv(graph, first,
                             &(tr_conv_layer){.weights = names->conv[1],
                                              .norm = names->norm[1],
                                              .channels = width,
                                              .kernel = 3,
                                              .stride = config->stride_first ? 1 : stride,
                                              .groups = config->groups,
                                              .activation = TR_ACT_RELU});
  int residual = add_shortcut(graph, names, src, 4 * planes, stride);
  return tr_graph_conv(graph, second,
                       &(tr_conv_layer){.weights = names->conv[2],
                                        .norm = names->norm[2],
                                        .channels = 4 * planes,
                                        .kernel = 1,
                                        .stride = 1,
                                        .residual = residual,
                                        .activation = TR_ACT_RELU});
}

static const char *const layers[] = {"layer1", "layer2", "layer3", "layer4", "pool"};

static void build(tr_graph *graph, const void *configuration) {
  const resnet_config *config = configuration;
  graph->norm_epsilon = 1e-5;
  int value = tr_graph_conv(
      graph, 0,
      &(tr_conv_layer){.weights = "conv1", .norm = "bn1", .channels = 64, .kernel = 7, .stride = 2, .activation = TR_ACT_RELU});
  value = tr_graph_pool(graph, value, TR_POOL_MAX, 3, 2, 1, 0);
  for (int stage = 0; stage < 4; ++stage) {
    for (int block = 0; block < config->blocks[stage]; ++block) {
      block_names names = names_of(stage, block);
      int planes = 64 << stage, stride = stage > 0 && block == 0 ? 2 : 1;
      value = config->bottleneck ? add_bottleneck(graph, config, &names, value, planes, stride)
                                 : add_basic(graph, &names, value, planes, stride);
    }
    tr_graph_layer(graph, layers[stage], value);
  }
  tr_graph_layer(graph, layers[4], tr_graph_pool(graph, value, TR_POOL_GLOBAL_AVERAGE, 0, 0, 0, 0));
  tr_graph_unused(graph, "fc.weight");
  tr_graph_unused(graph, "fc.bias");
}

#define RESNET(architecture, short_form, ...)                                                                        \
  {                                                                                                                  \
    .name = architecture, .short_name = short_form, .layers = layers, .layer_count = sizeof layers / sizeof *layers, \
    .mean = TR_IMAGENET_MEAN, .std = TR_IMAGENET_STD, .build = build, .config = &(const resnet_config) {             \
      __VA_ARGS__                                                                                                    \
    }                                                                                                                \
  }

const tr_architecture tr_resnets[TR_RESNET_COUNT] = {
    RESNET("resnet18", "RN18", {2, 2, 2, 2}, false, false, 1, 64),
    RESNET("resnet34", "RN34", {3, 4, 6, 3}, false, false, 1, 64),
    RESNET("resnet50", "RN50", {3, 4, 6, 3}, true, false, 1, 64),
    RESNET("resnet50_v1", "RN50V1", {3, 4, 6, 3}, true, true, 1, 64),
    RESNET("resnet101", "RN101", {3, 4, 23, 3}, true, false, 1, 64),
    RESNET("wide_resnet50_2", "WR50", {3, 4, 6, 3}, true, false, 1, 128),
    RESNET("wide_resnet101_2", "WR101", {3, 4, 23, 3}, true, false, 1, 128),
    RESNET("resnext101_32x8d", "RX101", {3, 4, 23, 3}, true, false, 32, 8),
};
