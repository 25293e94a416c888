/* DenseNet-201 (Huang et al., CVPR 2017), with torchvision's names (timm has the same).
 *
 * A dense block is one buffer: each layer reads the channels so far and writes its own behind them. The norm before a layer's first
 * convolution acts on what many layers share, so it stays a step of its own; the norm between its two convolutions is folded. */
#include "host/backbone/build.h"

#include <stdio.h>
#include <string.h>

enum { GROWTH = 32, BOTTLENECK = 4 * GROWTH, BLOCKS = 4 };

static const int layers_of_block[BLOCKS] = {6, 12, 48, 32};
static const char *const layers[] = {"denseblock1", "denseblock2", "denseblock3", "denseblock4", "pool"};

static void add_layer(tr_graph *graph, int block_value, int block, int layer, int channels) {
  char prefix[48], norm[2][TR_NAME_BYTES], conv[2][TR_NAME_BYTES];
  snprintf(prefix, sizeof prefix, "features.denseblock%d.denselayer%d", block + 1, layer + 1);
  for (int i = 0; i < 2; ++i) {
    snprintf(norm[i], TR_NAME_BYTES, "%s.norm%d", prefix, i + 1);
    snprintf(conv[i], TR_NAME_BYTES, "%s.conv%d", prefix, i + 1);
  }
  int value = tr_graph_norm_relu(graph, tr_graph_view(graph, block_value, 0, channels), norm[0]);
  value = tr_graph_conv(
      graph, value,
      &(tr_conv_layer){
          .weights = conv[0], .norm = norm[1], .channels = BOTTLENECK, .kernel = 1, .stride = 1, .activation = TR_ACT_RELU});
  tr_graph_conv(graph, value,
                &(tr_conv_layer){.weights = conv[1],
                                 .channels = GROWTH,
                                 .kernel = 3,
                                 .stride = 1,
                                 .target = tr_graph_view(graph, block_value, channels, GROWTH)});
}

/* Norm, ReLU, 1x1 convolution to half the channels, 2x2 average. The average is taken before the convolution: both are linear, and
 * the convolution then has a quarter of the pixels. Returns the next block's value. */
static int add_transition(tr_graph *graph, int src, int block, int channels) {
  char norm[TR_NAME_BYTES], conv[TR_NAME_BYTES];
  snprintf(norm, sizeof norm, "features.transition%d.norm", block + 1);
  snprintf(conv, sizeof conv, "features.transition%d.conv", block + 1);
  int next = tr_graph_concat(graph, src, 2, 2, 0, channels / 2 + GROWTH * layers_of_block[block + 1]);
  int value = tr_graph_pool(graph, tr_graph_norm_relu(graph, src, norm), TR_POOL_AVERAGE, 2, 2, 0, 0);
  tr_graph_conv(graph, value,
                &(tr_conv_layer){.weights = conv,
                                 .channels = channels / 2,
                                 .kernel = 1,
                                 .stride = 1,
                                 .target = tr_graph_view(graph, next, 0, channels / 2)});
  return next;
}

static void build(tr_graph *graph, const void *config) {
  (void)config;
  graph->norm_epsilon = 1e-5;
  int channels = 64;
  int stem = tr_graph_conv(graph, 0,
                           &(tr_conv_layer){.weights = "features.conv0",
                                            .norm = "features.norm0",
                                            .channels = channels,
                                            .kernel = 7,
                                            .stride = 2,
                                            .activation = TR_ACT_RELU});
  int value = tr_graph_concat(graph, stem, 3, 2, 1, channels + GROWTH * layers_of_block[0]);
  tr_graph_pool(graph, stem, TR_POOL_MAX, 3, 2, 1, tr_graph_view(graph, value, 0, channels));
  for (int block = 0; block < BLOCKS; ++block) {
    for (int layer = 0; layer < layers_of_block[block]; ++layer, channels += GROWTH)
      add_layer(graph, value, block, layer, channels);
    tr_graph_layer(graph, layers[block], value);
    if (block + 1 < BLOCKS) {
      value = add_transition(graph, value, block, channels);
      channels /= 2;
    }
  }
  tr_graph_layer(graph, layers[BLOCKS], tr_graph_pool(graph, value, TR_POOL_GLOBAL_AVERAGE, 0, 0, 0, 0));
  tr_graph_unused_norm(graph, "features.norm5");
  tr_graph_unused(graph, "classifier.weight");
  tr_graph_unused(graph, "classifier.bias");
}

/* torchvision's file was saved when modules were called "norm.1", "conv.2"; torchvision renames them on loading. */
static void rename_tensor(char *tensor) {
  char *layer = strstr(tensor, ".denselayer");
  char *module = layer ? strchr(layer + 1, '.') : NULL;
  if (!module || (strncmp(module, ".norm.", 6) != 0 && strncmp(module, ".conv.", 6) != 0))
    return;
  char *dot = module + 5;
  memmove(dot, dot + 1, strlen(dot));
}

const tr_architecture tr_densenet201 = {.name = "densenet201",
                                        .short_name = "DN201",
                                        .layers = layers,
                                        .layer_count = sizeof layers / sizeof *layers,
                                        .mean = TR_IMAGENET_MEAN,
                                        .std = TR_IMAGENET_STD,
                                        .build = build,
                                        .rename = rename_tensor};
