/* How a family describes its network, and what the description is turned into. Used inside host/backbone only.
 *
 * A graph is a list of nodes in the order they run. A value is what a node gives: h x w x c, a range of channels of a buffer; most
 * values have a buffer of their own, DenseNet's share one per block. Building notes the first error and goes on with value 0, so
 * that families need not check each step.
 */
#ifndef TR_BACKBONE_BUILD_H
#define TR_BACKBONE_BUILD_H

#include "host/backbone/graph.h"
#include "host/base/text.h"

enum { TR_NAME_BYTES = 96, TR_TENSOR_NAME_BYTES = TR_NAME_BYTES + 32, TR_NORM_TENSORS = 5 };

/* weight, bias, running_mean, running_var, num_batches_tracked: what a batch norm has in a file. */
extern const char *const tr_norm_tensors[TR_NORM_TENSORS];

typedef struct tr_buffer {
  int h, w, c;
} tr_buffer;

typedef struct tr_value {
  int buffer, first_channel, channels;
} tr_value;

typedef enum tr_node_kind { TR_NODE_CONV, TR_NODE_POOL, TR_NODE_AFFINE } tr_node_kind;

typedef struct tr_node {
  tr_node_kind kind;
  int src, residual, dst; /* values; residual is 0 where there is none */
  /* conv: name of the module with the weights, and of the batch norm folded into it; affine: of the batch norm that it is */
  char weights[TR_NAME_BYTES], norm[TR_NAME_BYTES];
  tr_activation activation;
  int kernel, stride, groups, pad_top, pad_left, pad_bottom, pad_right;
  tr_pool_kind pool;
} tr_node;

typedef struct tr_layer {
  const char *name;
  int value, node; /* the node that completes the value */
} tr_layer;

typedef struct tr_graph {
  tr_status status; /* of the first step that failed; its text is the thread's error text */
  double norm_epsilon;
  tr_buffer *buffers; /* 0 is the image */
  int buffer_count, buffer_capacity;
  tr_value *values; /* 0 is the image */
  int value_count, value_capacity;
  tr_node *nodes;
  int node_count, node_capacity;
  tr_layer layers[16];
  int layer_count;
  tr_strings unused; /* tensors of the architecture that no pass needs: the classifier, norms behind the last layer */
} tr_graph;

typedef struct tr_conv_layer {
  const char *weights, *norm;
  int channels, kernel, stride;
  int groups;   /* 0 means 1 */
  bool same;    /* TensorFlow's "same" padding, else kernel / 2 on all sides */
  int residual; /* value that is added before the activation; 0 for none */
  int target;   /* view to write to; 0: a buffer is made */
  tr_activation activation;
} tr_conv_layer;

int tr_graph_conv(tr_graph *graph, int src, const tr_conv_layer *layer);
/* kernel, stride, pad: as in tr_pool_args; target: as above. */
int tr_graph_pool(tr_graph *graph, int src, tr_pool_kind kind, int kernel, int stride, int pad, int target);
/* Batch norm and ReLU on their own. */
int tr_graph_norm_relu(tr_graph *graph, int src, const char *norm);
/* A buffer of the size that a window of this kernel, stride and padding makes of src, and the value that is all of it. */
int tr_graph_concat(tr_graph *graph, int src, int kernel, int stride, int pad, int channels);
int tr_graph_view(tr_graph *graph, int value, int first_channel, int channels);
/* `value`, complete now, can be tapped as `name` (a literal). */
void tr_graph_layer(tr_graph *graph, const char *name, int value);
/* A tensor that belongs to the architecture but to no pass; batch norm: all five of it. */
void tr_graph_unused(tr_graph *graph, const char *tensor);
void tr_graph_unused_norm(tr_graph *graph, const char *norm);
int tr_graph_channels(const tr_graph *graph, int value);

/* Mean and standard deviation of ImageNet's pixels as torchvision takes them: its own weights want it, and the Caffe model's. */
#define TR_IMAGENET_MEAN \
  { 0.485f, 0.456f, 0.406f }
#define TR_IMAGENET_STD \
  { 0.229f, 0.224f, 0.225f }

typedef struct tr_architecture {
  const char *name, *short_name;
  const char *const *layers;
  size_t layer_count;
  float mean[3], std[3]; /* that its published weights expect of RGB in [0,1] */
  void (*build)(tr_graph *graph, const void *config);
  const void *config;
  /* Rewrites a file's tensor name to the name that the graph uses; NULL where there is one naming only. */
  void (*rename)(char *tensor);
} tr_architecture;

enum { TR_RESNET_COUNT = 8 };
extern const tr_architecture tr_resnets[TR_RESNET_COUNT];
extern const tr_architecture tr_densenet201;
extern const tr_architecture tr_efficientnet_lite0;

/* EINVAL names the architectures that are known. */
tr_status tr_architecture_find(const char *name, const tr_architecture **out);

/* The whole network for an image of in_h x in_w; free with tr_graph_free, after a failure too. */
tr_status tr_graph_build(tr_graph *graph, const tr_architecture *architecture, int in_h, int in_w);
void tr_graph_free(tr_graph *graph);
tr_conv_desc tr_graph_conv_desc(const tr_graph *graph, const tr_node *node);

/* Where a buffer lies during a pass: in the lane's arena, or in the caller's memory. */
typedef enum tr_place_kind { TR_PLACE_ARENA, TR_PLACE_IMAGE, TR_PLACE_TAP } tr_place_kind;

typedef struct tr_place {
  tr_place_kind kind;
  size_t offset; /* arena: bytes */
  int tap;
} tr_place;

/* A pass that ends at the deepest tap. */
typedef struct tr_plan {
  int nodes;             /* the first so many of the graph */
  int taps[TR_MAX_TAPS]; /* values */
  tr_place *places;      /* of each buffer */
  size_t *scratch;       /* of each node: offset in the arena */
  size_t arena_bytes;    /* of one lane */
  size_t state_bytes;    /* of all convolutions */
  size_t norm_floats;    /* scale and shift of all affine nodes, in order */
  double macs;           /* multiply-adds of one image */
} tr_plan;

/* EINVAL: an unknown layer (the text names the known ones), layers out of order, a layer twice. */
tr_status tr_plan_make(tr_plan *plan, tr_device *device, const tr_graph *graph, const tr_backbone_options *options);
void tr_plan_free(tr_plan *plan);

/* Tensors of a weight file under the names that the graph uses. */
typedef struct tr_tensors tr_tensors;
/* Refuses a file of another architecture: by its metadata, or by a tensor that the graph does not have. NULL: random weights. */
tr_status tr_tensors_open(const tr_graph *graph, const tr_architecture *architecture, const tr_weights *weights,
                          tr_tensors **out);
void tr_tensors_close(tr_tensors *tensors);
/* Weights [out, in / groups, kernel, kernel] with the batch norm folded in, and bias [out]. */
tr_status tr_tensors_conv(const tr_tensors *tensors, const tr_graph *graph, const tr_node *node, float *weights, float *bias);
tr_status tr_tensors_norm(const tr_tensors *tensors, const tr_graph *graph, const tr_node *node, float *scale, float *shift);

#endif
