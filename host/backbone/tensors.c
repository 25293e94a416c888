/* From a weight file to what operators take: tensors under the graph's names, batch norm folded in double precision. */
#include "host/backbone/build.h"
#include "host/base/rng.h"
#include "host/base/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const tr_norm_tensors[TR_NORM_TENSORS] = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"};

typedef struct entry {
  char *name;         /* the graph's */
  const char *stored; /* the file's */
} entry;

struct tr_tensors {
  const tr_weights *weights; /* NULL: convolutions are drawn, norms are the identity */
  entry *entries;            /* sorted by name */
  size_t count;
};

static int compare_entries(const void *a, const void *b) {
  return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

static int compare_key(const void *key, const void *item) {
  return strcmp(key, ((const entry *)item)->name);
}

static const char *stored_name(const tr_tensors *tensors, const char *name) {
  const entry *found = bsearch(name, tensors->entries, tensors->count, sizeof *tensors->entries, compare_key);
  return found ? found->stored : name; /* the reader says that it is missing */
}

static tr_status index_tensors(tr_tensors *tensors, const tr_architecture *architecture) {
  size_t count = tr_weights_count(tensors->weights);
  tensors->entries = calloc(count + 1, sizeof *tensors->entries);
  if (!tensors->entries)
    return tr_fail(TR_ENOMEM, "listing the tensors of %s: out of memory", tr_weights_path(tensors->weights));
  for (size_t i = 0; i < count; ++i) {
    const char *stored = tr_weights_at(tensors->weights, i)->name;
    char *name = strdup(stored);
    if (!name)
      return tr_fail(TR_ENOMEM, "listing the tensors of %s: out of memory", tr_weights_path(tensors->weights));
    if (architecture->rename)
      architecture->rename(name);
    tensors->entries[tensors->count++] = (entry){name, stored};
  }
  qsort(tensors->entries, count, sizeof *tensors->entries, compare_entries);
  for (size_t i = 1; i < count; ++i)
    if (strcmp(tensors->entries[i - 1].name, tensors->entries[i].name) == 0)
      return tr_fail(TR_EFORMAT, "%s: tensors \"%s\" and \"%s\" are the same one of %s", tr_weights_path(tensors->weights),
                     tensors->entries[i - 1].stored, tensors->entries[i].stored, architecture->name);
  return TR_OK;
}

static tr_status add_name(tr_strings *names, const char *module, const char *tensor) {
  return tr_strings_take(names, tr_format("%s.%s", module, tensor));
}

/* Every tensor of the architecture, whether the pass needs it or not. */
static tr_status list_names(const tr_graph *graph, tr_strings *names) {
  for (int i = 0; i < graph->node_count; ++i) {
    const tr_node *node = &graph->nodes[i];
    if (node->weights[0])
      TR_TRY(add_name(names, node->weights, "weight"));
    for (int j = 0; j < TR_NORM_TENSORS && node->norm[0]; ++j)
      TR_TRY(add_name(names, node->norm, tr_norm_tensors[j]));
  }
  for (size_t i = 0; i < graph->unused.count; ++i)
    TR_TRY(tr_strings_add(names, graph->unused.items[i]));
  return TR_OK;
}

static int compare_name(const void *key, const void *item) {
  return strcmp(key, *(char *const *)item);
}

/* Both lists are whole, so a file of another architecture shows by a name even where all shapes agree. */
static tr_status check_names(const tr_tensors *tensors, const tr_graph *graph, const tr_architecture *architecture) {
  tr_strings names = {.items = NULL};
  tr_status status = list_names(graph, &names);
  tr_strings_sort(&names);
  for (size_t i = 0; i < tensors->count && status == TR_OK; ++i)
    if (!bsearch(tensors->entries[i].name, names.items, names.count, sizeof *names.items, compare_name))
      status = tr_fail(TR_EFORMAT, "%s: tensor \"%s\" belongs to no part of %s; is the file of another architecture?",
                       tr_weights_path(tensors->weights), tensors->entries[i].stored, architecture->name);
  tr_strings_free(&names);
  return status;
}

tr_status tr_tensors_open(const tr_graph *graph, const tr_architecture *architecture, const tr_weights *weights,
                          tr_tensors **out) {
  *out = NULL;
  const char *arch = weights ? tr_weights_metadata(weights, "arch") : NULL;
  if (arch && strcmp(arch, architecture->name) != 0)
    return tr_fail(TR_EFORMAT, "%s: the file's metadata says that it is of %s, wanted %s", tr_weights_path(weights), arch,
                   architecture->name);
  tr_tensors *tensors = calloc(1, sizeof *tensors);
  if (!tensors)
    return tr_fail(TR_ENOMEM, "listing the tensors of %s: out of memory", architecture->name);
  tensors->weights = weights;
  tr_status status = weights ? index_tensors(tensors, architecture) : TR_OK;
  if (status == TR_OK)
    status = check_names(tensors, graph, architecture);
  if (status != TR_OK) {
    tr_tensors_close(tensors);
    return status;
  }
  *out = tensors;
  return TR_OK;
}

void tr_tensors_close(tr_tensors *tensors) {
  if (!tensors)
    return;
  for (size_t i = 0; i < tensors->count; ++i)
    free(tensors->entries[i].name);
  free(tensors->entries);
  free(tensors);
}

static tr_status read_tensor(const tr_tensors *tensors, const char *module, const char *tensor, int rank, const int64_t *shape,
                             float *out) {
  char name[TR_TENSOR_NAME_BYTES];
  snprintf(name, sizeof name, "%s.%s", module, tensor);
  return tr_weights_read(tensors->weights, stored_name(tensors, name), rank, shape, out);
}

/* norm(x) = scale * x + shift with the running statistics; `work` holds 4 * channels floats. */
static tr_status read_norm(const tr_tensors *tensors, const tr_graph *graph, const tr_node *node, size_t channels, float *work,
                           double *scale, double *shift) {
  const int64_t shape[1] = {(int64_t)channels};
  const float *gamma = work, *beta = work + channels, *mean = work + 2 * channels, *variance = work + 3 * channels;
  for (size_t i = 0; i < 4; ++i)
    TR_TRY(read_tensor(tensors, node->norm, tr_norm_tensors[i], 1, shape, work + i * channels));
  for (size_t c = 0; c < channels; ++c) {
    scale[c] = (double)gamma[c] / sqrt((double)variance[c] + graph->norm_epsilon);
    shift[c] = (double)beta[c] - (double)mean[c] * scale[c];
    if (!isfinite(scale[c]) || !isfinite(shift[c]))
      return tr_fail(TR_EFORMAT,
                     "%s: batch norm \"%s\", channel %zu: weight %g, bias %g, mean %g, variance %g give no finite scale",
                     tr_weights_path(tensors->weights), node->norm, c, (double)gamma[c], (double)beta[c], (double)mean[c],
                     (double)variance[c]);
  }
  return TR_OK;
}

/* Scale and shift of a node's norm, of `channels` each; identity where it has none. Free *scale. */
static tr_status norm_of(const tr_tensors *tensors, const tr_graph *graph, const tr_node *node, size_t channels, double **scale,
                         double **shift) {
  double *pairs = malloc(2 * channels * sizeof *pairs);
  float *work = malloc(4 * channels * sizeof *work);
  tr_status status = TR_OK;
  if (!pairs || !work)
    status = tr_fail(TR_ENOMEM, "folding batch norm \"%s\": out of memory", node->norm);
  else if (node->norm[0] && tensors->weights)
    status = read_norm(tensors, graph, node, channels, work, pairs, pairs + channels);
  else
    for (size_t c = 0; c < channels; ++c) {
      pairs[c] = 1.0;
      pairs[channels + c] = 0.0;
    }
  free(work);
  if (status != TR_OK) {
    free(pairs);
    return status;
  }
  *scale = pairs;
  *shift = pairs + channels;
  return TR_OK;
}

static tr_status fold(const tr_tensors *tensors, const tr_node *node, size_t out, size_t per_channel, const double *scale,
                      float *weights) {
  for (size_t o = 0; o < out; ++o)
    for (size_t i = 0; i < per_channel; ++i) {
      float *weight = &weights[o * per_channel + i];
      if (!isfinite(*weight))
        return tr_fail(TR_EFORMAT, "%s: tensor \"%s.weight\" holds %g at %zu", tr_weights_path(tensors->weights), node->weights,
                       (double)*weight, o * per_channel + i);
      *weight = (float)((double)*weight * scale[o]);
    }
  return TR_OK;
}

/* Uniform with the variance of He et al. 2015, so that activations neither grow nor die from layer to layer. */
static void draw_weights(size_t out, size_t per_channel, float *weights) {
  tr_rng rng = tr_rng_make(0, TR_RNG_WEIGHTS, out * per_channel);
  float bound = sqrtf(6.0f / (float)per_channel);
  for (size_t i = 0; i < out * per_channel; ++i)
    weights[i] = tr_rng_between(&rng, -bound, bound);
}

tr_status tr_tensors_conv(const tr_tensors *tensors, const tr_graph *graph, const tr_node *node, float *weights, float *bias) {
  tr_conv_desc desc = tr_graph_conv_desc(graph, node);
  const int64_t shape[4] = {desc.out_channels, desc.in_channels / desc.groups, desc.kernel_h, desc.kernel_w};
  if (tensors->weights)
    TR_TRY(read_tensor(tensors, node->weights, "weight", 4, shape, weights));
  else
    draw_weights((size_t)shape[0], (size_t)(shape[1] * shape[2] * shape[3]), weights);
  size_t out = (size_t)desc.out_channels;
  double *scale, *shift;
  TR_TRY(norm_of(tensors, graph, node, out, &scale, &shift));
  tr_status status = fold(tensors, node, out, (size_t)(shape[1] * shape[2] * shape[3]), scale, weights);
  for (size_t o = 0; o < out; ++o)
    bias[o] = (float)shift[o];
  free(scale);
  return status;
}

tr_status tr_tensors_norm(const tr_tensors *tensors, const tr_graph *graph, const tr_node *node, float *scale, float *shift) {
  size_t channels = (size_t)graph->values[node->src].channels;
  double *wide_scale, *wide_shift;
  TR_TRY(norm_of(tensors, graph, node, channels, &wide_scale, &wide_shift));
  for (size_t c = 0; c < channels; ++c) {
    scale[c] = (float)wide_scale[c];
    shift[c] = (float)wide_shift[c];
  }
  free(wide_scale);
  return TR_OK;
}
