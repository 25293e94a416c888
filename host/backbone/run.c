/* Backbones on a device: creation from weights, the pass, the forecast. */
#include "host/backbone/build.h"
#include "host/base/status.h"

#include <stdlib.h>
#include <string.h>

/* Calls on the same addresses are recorded once for each number of images; the oldest makes room. */
enum { RECORDINGS = 8 };

typedef struct recorded_pass {
  int n;
  const float *images;
  float *taps[TR_MAX_TAPS];
  tr_recording *recording;
} recorded_pass;

typedef struct lane_memory {
  void *arena; /* device */
  recorded_pass passes[RECORDINGS];
  int next; /* of passes, to be replaced */
} lane_memory;

struct tr_backbone {
  tr_device *device;
  int layer_count;
  tr_graph graph;
  tr_plan plan;
  tr_conv **convs;    /* of each node; NULL for those of another kind */
  float **norms;      /* of each node: scale, then shift, in norm_memory */
  float *norm_memory; /* device */
  lane_memory *lane;
  int lanes;
};

static size_t forecast_bytes(tr_device *device, const tr_plan *plan) {
  return plan->state_bytes + plan->norm_floats * sizeof(float) + (size_t)tr_device_lanes(device) * plan->arena_bytes;
}

/* On failure what was made is freed by the caller's free functions. */
static tr_status describe(tr_device *device, const tr_backbone_options *options, const tr_architecture **architecture,
                          tr_graph *graph, tr_plan *plan) {
  *graph = (tr_graph){.status = TR_OK};
  *plan = (tr_plan){.nodes = 0};
  TR_TRY(tr_architecture_find(options->architecture, architecture));
  TR_TRY(tr_graph_build(graph, *architecture, options->in_h, options->in_w));
  return tr_plan_make(plan, device, graph, options);
}

tr_status tr_backbone_forecast(tr_device *device, const tr_backbone_options *options, size_t *bytes, double *macs) {
  const tr_architecture *architecture;
  tr_graph graph;
  tr_plan plan;
  tr_status status = describe(device, options, &architecture, &graph, &plan);
  if (status == TR_OK) {
    *bytes = forecast_bytes(device, &plan);
    *macs = plan.macs;
  }
  tr_plan_free(&plan);
  tr_graph_free(&graph);
  return status;
}

static void value_shape(const tr_graph *graph, int value, int *h, int *w, int *c) {
  const tr_buffer *buffer = &graph->buffers[graph->values[value].buffer];
  *h = buffer->h;
  *w = buffer->w;
  *c = graph->values[value].channels;
}

tr_status tr_backbone_shapes(tr_device *device, const tr_backbone_options *options, int *h, int *w, int *c) {
  const tr_architecture *architecture;
  tr_graph graph;
  tr_plan plan;
  tr_status status = describe(device, options, &architecture, &graph, &plan);
  for (int i = 0; status == TR_OK && i < options->layer_count; ++i)
    value_shape(&graph, plan.taps[i], &h[i], &w[i], &c[i]);
  tr_plan_free(&plan);
  tr_graph_free(&graph);
  return status;
}

static tr_status create_conv(tr_backbone *backbone, const tr_tensors *tensors, int node) {
  tr_conv_desc desc = tr_graph_conv_desc(&backbone->graph, &backbone->graph.nodes[node]);
  size_t out = (size_t)desc.out_channels;
  size_t count = out * (size_t)(desc.in_channels / desc.groups) * (size_t)desc.kernel_h * (size_t)desc.kernel_w;
  float *weights = malloc((count + out) * sizeof *weights);
  if (!weights)
    return tr_fail(TR_ENOMEM, "reading the weights of %s: out of memory", backbone->graph.nodes[node].weights);
  float *bias = weights + count;
  tr_status status = tr_tensors_conv(tensors, &backbone->graph, &backbone->graph.nodes[node], weights, bias);
  if (status == TR_OK)
    status = tr_conv_create(backbone->device, &desc, weights, bias, &backbone->convs[node]);
  free(weights);
  return status;
}

static tr_status create_norm(tr_backbone *backbone, const tr_tensors *tensors, int node, float *memory) {
  size_t channels = (size_t)backbone->graph.values[backbone->graph.nodes[node].src].channels;
  float *pairs = malloc(2 * channels * sizeof *pairs);
  if (!pairs)
    return tr_fail(TR_ENOMEM, "reading batch norm %s: out of memory", backbone->graph.nodes[node].norm);
  tr_status status = tr_tensors_norm(tensors, &backbone->graph, &backbone->graph.nodes[node], pairs, pairs + channels);
  if (status == TR_OK)
    status = tr_device_upload(backbone->device, memory, pairs, 2 * channels * sizeof *pairs);
  backbone->norms[node] = memory;
  free(pairs);
  return status;
}

static tr_status create_operators(tr_backbone *backbone, const tr_tensors *tensors) {
  void *memory;
  TR_TRY(tr_device_alloc(backbone->device, backbone->plan.norm_floats * sizeof(float), &memory));
  backbone->norm_memory = memory;
  float *next = backbone->norm_memory;
  for (int i = 0; i < backbone->plan.nodes; ++i) {
    const tr_node *node = &backbone->graph.nodes[i];
    if (node->kind == TR_NODE_CONV)
      TR_TRY(create_conv(backbone, tensors, i));
    if (node->kind == TR_NODE_AFFINE) {
      TR_TRY(create_norm(backbone, tensors, i, next));
      next += 2 * backbone->graph.values[node->src].channels;
    }
  }
  return TR_OK;
}

static tr_status fill(tr_backbone *backbone, const tr_backbone_options *options, const tr_weights *weights) {
  const tr_architecture *architecture;
  TR_TRY(describe(backbone->device, options, &architecture, &backbone->graph, &backbone->plan));
  backbone->layer_count = options->layer_count;
  size_t nodes = (size_t)backbone->plan.nodes, lanes = (size_t)tr_device_lanes(backbone->device);
  backbone->convs = calloc(nodes, sizeof *backbone->convs);
  backbone->norms = calloc(nodes, sizeof *backbone->norms);
  backbone->lane = calloc(lanes, sizeof *backbone->lane);
  if (!backbone->convs || !backbone->norms || !backbone->lane)
    return tr_fail(TR_ENOMEM, "creating backbone %s: out of memory", options->architecture);
  for (; backbone->lanes < (int)lanes; ++backbone->lanes)
    TR_TRY(tr_device_alloc(backbone->device, backbone->plan.arena_bytes, &backbone->lane[backbone->lanes].arena));
  tr_tensors *tensors;
  TR_TRY(tr_tensors_open(&backbone->graph, architecture, weights, &tensors));
  tr_status status = create_operators(backbone, tensors);
  tr_tensors_close(tensors);
  return status;
}

tr_status tr_backbone_create(tr_device *device, const tr_backbone_options *options, const tr_weights *weights,
                             tr_backbone **out) {
  *out = NULL;
  tr_backbone *backbone = calloc(1, sizeof *backbone);
  if (!backbone)
    return tr_fail(TR_ENOMEM, "creating backbone %s: out of memory", options->architecture);
  backbone->device = device;
  tr_status status = fill(backbone, options, weights);
  if (status != TR_OK) {
    tr_backbone_destroy(backbone);
    return status;
  }
  *out = backbone;
  return TR_OK;
}

void tr_backbone_destroy(tr_backbone *backbone) {
  if (!backbone)
    return;
  for (int i = 0; i < backbone->plan.nodes && backbone->convs; ++i)
    tr_conv_destroy(backbone->convs[i]);
  for (int i = 0; i < backbone->lanes; ++i) {
    for (int j = 0; j < RECORDINGS; ++j)
      tr_recording_free(backbone->device, backbone->lane[i].passes[j].recording);
    tr_device_free(backbone->device, backbone->lane[i].arena);
  }
  tr_device_free(backbone->device, backbone->norm_memory);
  free(backbone->convs);
  free(backbone->norms);
  free(backbone->lane);
  tr_plan_free(&backbone->plan);
  tr_graph_free(&backbone->graph);
  free(backbone);
}

void tr_backbone_tap_shape(const tr_backbone *backbone, int tap, int *h, int *w, int *c) {
  value_shape(&backbone->graph, backbone->plan.taps[tap], h, w, c);
}

/* One call's memory: pointers to every place. */
typedef struct pass {
  const tr_backbone *backbone;
  int n;
  char *arena;
  const float *images;
  float *const *taps;
} pass;

static float *pointer_to(const pass *p, int value) {
  const tr_value *v = &p->backbone->graph.values[value];
  const tr_place *place = &p->backbone->plan.places[v->buffer];
  if (place->kind == TR_PLACE_TAP)
    return p->taps[place->tap] + v->first_channel;
  return (float *)(void *)(p->arena + place->offset) + v->first_channel;
}

static const float *source_pointer(const pass *p, int value) {
  return p->backbone->graph.values[value].buffer == 0 ? p->images : pointer_to(p, value);
}

static tr_status run_conv(const pass *p, int index) {
  const tr_node *node = &p->backbone->graph.nodes[index];
  return tr_conv_run(p->backbone->convs[index], &(tr_conv_args){.n = p->n,
                                                                .src = source_pointer(p, node->src),
                                                                .residual = node->residual ? pointer_to(p, node->residual) : NULL,
                                                                .dst = pointer_to(p, node->dst),
                                                                .scratch = p->arena + p->backbone->plan.scratch[index]});
}

static tr_status run_pool(const pass *p, int index) {
  const tr_graph *graph = &p->backbone->graph;
  const tr_node *node = &graph->nodes[index];
  const tr_buffer *src = &graph->buffers[graph->values[node->src].buffer],
                  *dst = &graph->buffers[graph->values[node->dst].buffer];
  return tr_pool_run2d(p->backbone->device, &(tr_pool_args){.kind = node->pool,
                                                            .n = p->n,
                                                            .in_h = src->h,
                                                            .in_w = src->w,
                                                            .channels = graph->values[node->src].channels,
                                                            .kernel = node->kernel,
                                                            .stride = node->stride,
                                                            .pad = node->pad_top,
                                                            .src_pixel_stride = src->c,
                                                            .dst_pixel_stride = dst->c,
                                                            .src = source_pointer(p, node->src),
                                                            .dst = pointer_to(p, node->dst)});
}

static tr_status run_affine(const pass *p, int index) {
  const tr_graph *graph = &p->backbone->graph;
  const tr_node *node = &graph->nodes[index];
  const tr_buffer *src = &graph->buffers[graph->values[node->src].buffer],
                  *dst = &graph->buffers[graph->values[node->dst].buffer];
  int channels = graph->values[node->src].channels;
  const float *scale = p->backbone->norms[index];
  return tr_affine(p->backbone->device, &(tr_affine_args){.n = p->n,
                                                          .h = src->h,
                                                          .w = src->w,
                                                          .channels = channels,
                                                          .src_pixel_stride = src->c,
                                                          .dst_pixel_stride = dst->c,
                                                          .scale = scale,
                                                          .shift = scale + channels,
                                                          .activation = node->activation,
                                                          .src = source_pointer(p, node->src),
                                                          .dst = pointer_to(p, node->dst)});
}

static tr_status run_nodes(void *context) {
  const pass *p = context;
  for (int i = 0; i < p->backbone->plan.nodes; ++i) {
    tr_node_kind kind = p->backbone->graph.nodes[i].kind;
    TR_TRY(kind == TR_NODE_CONV ? run_conv(p, i) : kind == TR_NODE_POOL ? run_pool(p, i) : run_affine(p, i));
  }
  return TR_OK;
}

static bool is_same_pass(const recorded_pass *r, const pass *p) {
  return r->n == p->n && r->images == p->images &&
         memcmp(r->taps, p->taps, (size_t)p->backbone->layer_count * sizeof *p->taps) == 0;
}

/* The recording of these addresses, or an empty one that takes the place of the oldest. */
static recorded_pass *recording_of(lane_memory *lane, const pass *p) {
  for (int i = 0; i < RECORDINGS; ++i)
    if (is_same_pass(&lane->passes[i], p))
      return &lane->passes[i];
  recorded_pass *r = &lane->passes[lane->next];
  lane->next = (lane->next + 1) % RECORDINGS;
  tr_recording_free(p->backbone->device, r->recording);
  *r = (recorded_pass){.n = p->n, .images = p->images};
  memcpy(r->taps, p->taps, (size_t)p->backbone->layer_count * sizeof *p->taps);
  return r;
}

tr_status tr_backbone_run(tr_backbone *backbone, int lane, int n, const float *images, float *const *taps) {
  if (lane < 0 || lane >= backbone->lanes || n < 1 || (size_t)n > tr_device_chunk(backbone->device))
    return tr_fail(TR_EINVAL, "backbone: lane %d of %d, %d images where a chunk holds %zu", lane, backbone->lanes, n,
                   tr_device_chunk(backbone->device));
  if (!images)
    return tr_fail(TR_EINVAL, "backbone: no images");
  for (int i = 0; i < backbone->layer_count; ++i)
    if (!taps[i])
      return tr_fail(TR_EINVAL, "backbone: no memory for layer %d of %d", i + 1, backbone->layer_count);
  pass p = {backbone, n, backbone->lane[lane].arena, images, taps};
  return tr_device_replay(backbone->device, &recording_of(&backbone->lane[lane], &p)->recording, run_nodes, &p);
}
