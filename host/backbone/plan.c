/* Where buffers lie during a pass. A convolution that adds a residual writes over it where nothing else reads that any more; taps lie
 * in the caller's memory from their first write on; the rest shares one arena by lifetime, placed greedily from the largest
 * buffer down at the lowest offset that is free while the buffer lives. A node's scratch is a buffer that lives for that node. */
#include "host/backbone/build.h"
#include "host/base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

typedef struct block {
  size_t bytes, offset;
  int first, last;   /* nodes */
  size_t *placed_at; /* where the offset is wanted */
} block;

typedef struct lifetime {
  int first, last; /* nodes; first is -1 where the pass does not touch the buffer */
  int root;        /* the buffer whose memory it uses; itself where it has its own */
  int tap;         /* -1: none */
} lifetime;

static size_t aligned(size_t bytes) {
  return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static tr_status fail_layer(const tr_graph *graph, const tr_backbone_options *options, const char *layer) {
  char known[TR_ERROR_TEXT_BYTES / 2] = "";
  for (int i = 0; i < graph->layer_count; ++i)
    snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", graph->layers[i].name);
  return tr_fail(TR_EINVAL, "layer \"%s\" of backbone %s is not known; known are %s", layer, options->architecture, known);
}

static const tr_layer *find_layer(const tr_graph *graph, const char *name) {
  for (int i = 0; i < graph->layer_count; ++i)
    if (strcmp(graph->layers[i].name, name) == 0)
      return &graph->layers[i];
  return NULL;
}

static tr_status find_taps(tr_plan *plan, const tr_graph *graph, const tr_backbone_options *options) {
  if (options->layer_count < 1 || options->layer_count > TR_MAX_TAPS)
    return tr_fail(TR_EINVAL, "backbone %s: %d layers asked for, expected 1 to %d", options->architecture, options->layer_count,
                   TR_MAX_TAPS);
  for (int i = 0; i < options->layer_count; ++i) {
    const tr_layer *layer = find_layer(graph, options->layers[i]);
    if (!layer)
      return fail_layer(graph, options, options->layers[i]);
    if (layer->node < plan->nodes)
      return tr_fail(TR_EINVAL, "backbone %s: layer %s comes after %s; name each layer once, shallow ones first",
                     options->architecture, layer->name, options->layers[i - 1]);
    plan->taps[i] = layer->value;
    plan->nodes = layer->node + 1;
  }
  return TR_OK;
}

static void touch(lifetime *lives, const tr_graph *graph, int value, int node) {
  lifetime *life = &lives[graph->values[value].buffer];
  life->first = life->first < 0 ? node : life->first;
  life->last = node;
}

static void find_lifetimes(lifetime *lives, const tr_plan *plan, const tr_graph *graph, const tr_backbone_options *options) {
  for (int i = 0; i < graph->buffer_count; ++i)
    lives[i] = (lifetime){.first = -1, .last = -1, .root = i, .tap = -1};
  for (int i = 0; i < plan->nodes; ++i) {
    touch(lives, graph, graph->nodes[i].src, i);
    if (graph->nodes[i].residual)
      touch(lives, graph, graph->nodes[i].residual, i);
    touch(lives, graph, graph->nodes[i].dst, i);
  }
  for (int i = 0; i < options->layer_count; ++i)
    lives[graph->values[plan->taps[i]].buffer].tap = i;
}

/* A residual that dies here gives its memory to the sum. Residuals and sums are whole buffers in every family. */
static void share_residuals(lifetime *lives, const tr_plan *plan, const tr_graph *graph) {
  for (int i = 0; i < plan->nodes; ++i) {
    const tr_node *node = &graph->nodes[i];
    int residual = graph->values[node->residual].buffer, dst = graph->values[node->dst].buffer;
    if (!node->residual || lives[residual].last != i || lives[residual].tap >= 0)
      continue;
    int root = lives[residual].root;
    lives[dst].root = root;
    lives[root].last = lives[dst].last > lives[root].last ? lives[dst].last : lives[root].last;
    if (lives[dst].tap >= 0)
      lives[root].tap = lives[dst].tap;
  }
}

static int larger_first(const void *a, const void *b) {
  const block *x = a, *y = b;
  if (x->bytes != y->bytes)
    return x->bytes < y->bytes ? 1 : -1;
  return x->first < y->first ? -1 : x->first > y->first;
}

/* Puts block `count` at the lowest offset where it overlaps none of the blocks before it that live at the same time. */
static void place(block *blocks, size_t count) {
  block *new_block = &blocks[count];
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t i = 0; i < count; ++i) {
      const block *other = &blocks[i];
      bool together = other->first <= new_block->last && new_block->first <= other->last;
      bool overlap = other->offset < new_block->offset + new_block->bytes && new_block->offset < other->offset + other->bytes;
      if (together && overlap) {
        new_block->offset = other->offset + other->bytes;
        moved = true;
      }
    }
  }
}

static size_t place_all(block *blocks, size_t count) {
  size_t end = 0;
  qsort(blocks, count, sizeof *blocks, larger_first);
  for (size_t i = 0; i < count; ++i) {
    place(blocks, i);
    *blocks[i].placed_at = blocks[i].offset;
    end = blocks[i].offset + blocks[i].bytes > end ? blocks[i].offset + blocks[i].bytes : end;
  }
  return end;
}

/* Blocks for buffers that have memory of their own in the arena. */
static size_t list_buffers(tr_plan *plan, const tr_graph *graph, const lifetime *lives, size_t images, block *blocks) {
  size_t count = 0;
  for (int i = 0; i < graph->buffer_count; ++i) {
    const lifetime *life = &lives[i];
    tr_place *place_of = &plan->places[i];
    *place_of = (tr_place){.kind = i == 0 ? TR_PLACE_IMAGE : life->tap >= 0 ? TR_PLACE_TAP : TR_PLACE_ARENA, .tap = life->tap};
    if (life->first < 0 || life->root != i || place_of->kind != TR_PLACE_ARENA)
      continue;
    const tr_buffer *b = &graph->buffers[i];
    size_t bytes = images * (size_t)b->h * (size_t)b->w * (size_t)b->c * sizeof(float);
    blocks[count++] = (block){aligned(bytes), 0, life->first, life->last, &place_of->offset};
  }
  return count;
}

/* Adds the convolutions' scratch to the blocks, and sums up what they take. */
static tr_status list_scratch(tr_plan *plan, tr_device *device, const tr_graph *graph, int images, block *blocks, size_t *count) {
  for (int i = 0; i < plan->nodes; ++i) {
    const tr_node *node = &graph->nodes[i];
    if (node->kind == TR_NODE_AFFINE)
      plan->norm_floats += 2 * (size_t)graph->values[node->src].channels;
    if (node->kind != TR_NODE_CONV)
      continue;
    tr_conv_desc desc = tr_graph_conv_desc(graph, node);
    size_t state_bytes, scratch_bytes;
    TR_TRY(tr_conv_bytes(device, &desc, images, &state_bytes, &scratch_bytes));
    plan->state_bytes += state_bytes;
    const tr_buffer *dst = &graph->buffers[graph->values[node->dst].buffer];
    int window = desc.in_channels / desc.groups * desc.kernel_h * desc.kernel_w;
    plan->macs += (double)dst->h * dst->w * desc.out_channels * window;
    if (scratch_bytes)
      blocks[(*count)++] = (block){aligned(scratch_bytes), 0, i, i, &plan->scratch[i]};
  }
  return TR_OK;
}

static tr_status lay_out(tr_plan *plan, tr_device *device, const tr_graph *graph, const tr_backbone_options *options,
                         lifetime *lives, block *blocks) {
  int images = (int)tr_device_chunk(device);
  find_lifetimes(lives, plan, graph, options);
  share_residuals(lives, plan, graph);
  size_t count = list_buffers(plan, graph, lives, (size_t)images, blocks);
  TR_TRY(list_scratch(plan, device, graph, images, blocks, &count));
  plan->arena_bytes = place_all(blocks, count);
  for (int i = 0; i < graph->buffer_count; ++i)
    plan->places[i] = plan->places[lives[i].root];
  return TR_OK;
}

tr_status tr_plan_make(tr_plan *plan, tr_device *device, const tr_graph *graph, const tr_backbone_options *options) {
  *plan = (tr_plan){.nodes = 0};
  TR_TRY(find_taps(plan, graph, options));
  size_t buffers = (size_t)graph->buffer_count, nodes = (size_t)plan->nodes;
  plan->places = calloc(buffers, sizeof *plan->places);
  plan->scratch = calloc(nodes, sizeof *plan->scratch);
  lifetime *lives = calloc(buffers, sizeof *lives);
  block *blocks = calloc(buffers + nodes, sizeof *blocks);
  tr_status status = plan->places && plan->scratch && lives && blocks
                         ? lay_out(plan, device, graph, options, lives, blocks)
                         : tr_fail(TR_ENOMEM, "planning the buffers of backbone %s: out of memory", options->architecture);
  free(lives);
  free(blocks);
  return status;
}

void tr_plan_free(tr_plan *plan) {
  free(plan->places);
  free(plan->scratch);
}
