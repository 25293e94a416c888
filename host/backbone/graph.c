/* Architectures by name, and the building of graphs. */
#include "host/backbone/build.h"
#include "host/base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OTHERS = 2, ARCHITECTURES = TR_RESNET_COUNT + OTHERS, SMALLEST_SIDE = 32, LARGEST_SIDE = 8192 };

static const tr_architecture *architecture_at(size_t i) {
  static const tr_architecture *const others[OTHERS] = {&tr_densenet201, &tr_efficientnet_lite0};
  return i < TR_RESNET_COUNT ? &tr_resnets[i] : others[i - TR_RESNET_COUNT];
}

static const tr_architecture *find(const char *name) {
  for (size_t i = 0; i < ARCHITECTURES; ++i)
    if (strcmp(architecture_at(i)->name, name) == 0)
      return architecture_at(i);
  return NULL;
}

const char *const *tr_backbone_architectures(size_t *count) {
  /* Spelt out: a table filled on first use would want a lock. A test holds it against the architectures themselves. */
  static const char *const names[ARCHITECTURES] = {
      "resnet18",        "resnet34",         "resnet50",         "resnet50_v1", "resnet101",
      "wide_resnet50_2", "wide_resnet101_2", "resnext101_32x8d", "densenet201", "efficientnet_lite0",
  };
  *count = ARCHITECTURES;
  return names;
}

const char *tr_backbone_short_name(const char *architecture) {
  const tr_architecture *found = find(architecture);
  return found ? found->short_name : NULL;
}

tr_status tr_backbone_normalisation(const char *architecture, float mean[3], float std[3]) {
  const tr_architecture *found;
  TR_TRY(tr_architecture_find(architecture, &found));
  memcpy(mean, found->mean, sizeof found->mean);
  memcpy(std, found->std, sizeof found->std);
  return TR_OK;
}

const char *const *tr_backbone_layers(const char *architecture, size_t *count) {
  const tr_architecture *found = find(architecture);
  *count = found ? found->layer_count : 0;
  return found ? found->layers : NULL;
}

tr_status tr_architecture_find(const char *name, const tr_architecture **out) {
  *out = find(name);
  if (*out)
    return TR_OK;
  char known[TR_ERROR_TEXT_BYTES / 2] = "";
  for (size_t i = 0; i < ARCHITECTURES; ++i)
    snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", architecture_at(i)->name);
  return tr_fail(TR_EINVAL, "backbone \"%s\" is not known; known are %s", name, known);
}

/* Room for one more item; false after a failure, which is noted. */
static bool grow(tr_graph *graph, void **items, int count, int *capacity, size_t item_bytes) {
  if (graph->status != TR_OK)
    return false;
  if (count < *capacity)
    return true;
  int larger = *capacity ? 2 * *capacity : 64;
  void *moved = realloc(*items, (size_t)larger * item_bytes);
  if (!moved) {
    graph->status = tr_fail(TR_ENOMEM, "building a backbone: out of memory");
    return false;
  }
  *items = moved;
  *capacity = larger;
  return true;
}

static int add_buffer(tr_graph *graph, int h, int w, int c) {
  void *items = graph->buffers;
  if (!grow(graph, &items, graph->buffer_count, &graph->buffer_capacity, sizeof *graph->buffers))
    return 0;
  graph->buffers = items;
  graph->buffers[graph->buffer_count] = (tr_buffer){h, w, c};
  return graph->buffer_count++;
}

static int add_value(tr_graph *graph, tr_value value) {
  void *items = graph->values;
  if (!grow(graph, &items, graph->value_count, &graph->value_capacity, sizeof *graph->values))
    return 0;
  graph->values = items;
  graph->values[graph->value_count] = value;
  return graph->value_count++;
}

static int add_whole(tr_graph *graph, int h, int w, int c) {
  return add_value(graph, (tr_value){add_buffer(graph, h, w, c), 0, c});
}

static void add_node(tr_graph *graph, const tr_node *node) {
  void *items = graph->nodes;
  if (!grow(graph, &items, graph->node_count, &graph->node_capacity, sizeof *graph->nodes))
    return;
  graph->nodes = items;
  graph->nodes[graph->node_count++] = *node;
}

static const tr_buffer *buffer_of(const tr_graph *graph, int value) {
  return &graph->buffers[graph->values[value].buffer];
}

int tr_graph_channels(const tr_graph *graph, int value) {
  return graph->status == TR_OK ? graph->values[value].channels : 1;
}

static void copy_name(char to[TR_NAME_BYTES], const char *name) {
  snprintf(to, TR_NAME_BYTES, "%s", name ? name : "");
}

/* Cells that TensorFlow's "same" padding adds to one side of an extent: the output has ceil(in / stride) cells, and an odd cell
 * goes behind. */
static void same_padding(int in, int kernel, int stride, int *before, int *after) {
  int out = (in + stride - 1) / stride, total = (out - 1) * stride + kernel - in;
  total = total < 0 ? 0 : total;
  *before = total / 2;
  *after = total - *before;
}

static void set_padding(tr_node *node, const tr_buffer *src, bool same) {
  node->pad_top = node->pad_bottom = node->pad_left = node->pad_right = node->kernel / 2;
  if (same) {
    same_padding(src->h, node->kernel, node->stride, &node->pad_top, &node->pad_bottom);
    same_padding(src->w, node->kernel, node->stride, &node->pad_left, &node->pad_right);
  }
}

tr_conv_desc tr_graph_conv_desc(const tr_graph *graph, const tr_node *node) {
  const tr_buffer *src = buffer_of(graph, node->src), *dst = buffer_of(graph, node->dst);
  return (tr_conv_desc){.in_h = src->h,
                        .in_w = src->w,
                        .in_channels = graph->values[node->src].channels,
                        .out_channels = graph->values[node->dst].channels,
                        .kernel_h = node->kernel,
                        .kernel_w = node->kernel,
                        .stride = node->stride,
                        .groups = node->groups,
                        .pad_top = node->pad_top,
                        .pad_left = node->pad_left,
                        .pad_bottom = node->pad_bottom,
                        .pad_right = node->pad_right,
                        .src_pixel_stride = src->c,
                        .dst_pixel_stride = dst->c,
                        .has_residual = node->residual != 0,
                        .activation = node->activation};
}

int tr_graph_conv(tr_graph *graph, int src, const tr_conv_layer *layer) {
  if (graph->status != TR_OK)
    return 0;
  tr_node node = {.kind = TR_NODE_CONV,
                  .src = src,
                  .residual = layer->residual,
                  .dst = layer->target,
                  .activation = layer->activation,
                  .kernel = layer->kernel,
                  .stride = layer->stride,
                  .groups = layer->groups ? layer->groups : 1};
  copy_name(node.weights, layer->weights);
  copy_name(node.norm, layer->norm);
  set_padding(&node, buffer_of(graph, src), layer->same);
  if (!node.dst) {
    tr_conv_desc desc = tr_graph_conv_desc(graph, &node);
    int h, w;
    tr_conv_shape(&desc, &h, &w);
    node.dst = add_whole(graph, h, w, layer->channels);
  }
  add_node(graph, &node);
  return node.dst;
}

static void window_shape(const tr_graph *graph, int src, tr_pool_kind kind, int kernel, int stride, int pad, int *h, int *w) {
  const tr_buffer *in = buffer_of(graph, src);
  tr_pool_shape(&(tr_pool_args){.kind = kind, .in_h = in->h, .in_w = in->w, .kernel = kernel, .stride = stride, .pad = pad}, h,
                w);
}

int tr_graph_pool(tr_graph *graph, int src, tr_pool_kind kind, int kernel, int stride, int pad, int target) {
  if (graph->status != TR_OK)
    return 0;
  tr_node node = {
      .kind = TR_NODE_POOL, .src = src, .dst = target, .pool = kind, .kernel = kernel, .stride = stride, .pad_top = pad};
  if (!node.dst) {
    int h, w;
    window_shape(graph, src, kind, kernel, stride, pad, &h, &w);
    node.dst = add_whole(graph, h, w, graph->values[src].channels);
  }
  add_node(graph, &node);
  return node.dst;
}

int tr_graph_norm_relu(tr_graph *graph, int src, const char *norm) {
  if (graph->status != TR_OK)
    return 0;
  const tr_buffer *in = buffer_of(graph, src);
  int h = in->h, w = in->w, channels = graph->values[src].channels;
  tr_node node = {.kind = TR_NODE_AFFINE, .src = src, .dst = add_whole(graph, h, w, channels), .activation = TR_ACT_RELU};
  copy_name(node.norm, norm);
  add_node(graph, &node);
  return node.dst;
}

int tr_graph_concat(tr_graph *graph, int src, int kernel, int stride, int pad, int channels) {
  if (graph->status != TR_OK)
    return 0;
  int h, w;
  window_shape(graph, src, TR_POOL_MAX, kernel, stride, pad, &h, &w);
  return add_whole(graph, h, w, channels);
}

int tr_graph_view(tr_graph *graph, int value, int first_channel, int channels) {
  if (graph->status != TR_OK)
    return 0;
  return add_value(graph, (tr_value){graph->values[value].buffer, first_channel, channels});
}

void tr_graph_layer(tr_graph *graph, const char *name, int value) {
  if (graph->status == TR_OK)
    graph->layers[graph->layer_count++] = (tr_layer){name, value, graph->node_count - 1};
}

void tr_graph_unused(tr_graph *graph, const char *tensor) {
  if (graph->status == TR_OK)
    graph->status = tr_strings_add(&graph->unused, tensor);
}

void tr_graph_unused_norm(tr_graph *graph, const char *norm) {
  for (int i = 0; i < TR_NORM_TENSORS; ++i) {
    char name[TR_TENSOR_NAME_BYTES];
    snprintf(name, sizeof name, "%s.%s", norm, tr_norm_tensors[i]);
    tr_graph_unused(graph, name);
  }
}

tr_status tr_graph_build(tr_graph *graph, const tr_architecture *architecture, int in_h, int in_w) {
  *graph = (tr_graph){.status = TR_OK};
  if (in_h < SMALLEST_SIDE || in_w < SMALLEST_SIDE || in_h > LARGEST_SIDE || in_w > LARGEST_SIDE)
    return tr_fail(TR_EINVAL, "backbone %s: images of %dx%d pixels (height x width); each side must be %d to %d",
                   architecture->name, in_h, in_w, SMALLEST_SIDE, LARGEST_SIDE);
  add_whole(graph, in_h, in_w, 3);
  architecture->build(graph, architecture->config);
  return graph->status;
}

void tr_graph_free(tr_graph *graph) {
  free(graph->buffers);
  free(graph->values);
  free(graph->nodes);
  tr_strings_free(&graph->unused);
}
