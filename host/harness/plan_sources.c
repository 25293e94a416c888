/* What a plan is made of: data sets, classes, weights and backbones, each looked at once. */
#include "datasets/image.h"
#include "host/base/status.h"
#include "host/harness/planner.h"
#include <stdlib.h>
#include <string.h>

/* MVTec AD's images have 700 to 1024 pixels a side. */
enum { ASSUMED_SIDE = 1024 };

static bool same_text(const char *a, const char *b) {
  return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Makes a zeroed item and appends it to a list of pointers. */
#define APPEND(list, count, item)                                     \
  do {                                                                \
    void *grown_ = tr_planner_grown((list), (count), sizeof *(list)); \
    if (!grown_)                                                      \
      return tr_planner_no_memory();                                  \
    (list) = grown_;                                                  \
    (item) = calloc(1, sizeof *(item));                               \
    if (!(item))                                                      \
      return tr_planner_no_memory();                                  \
    (list)[(count)++] = (item);                                       \
  } while (0)

/* ---- data sets ---- */

static tr_status outline_synthetic(tr_plan_source *source) {
  tr_outline outline;
  for (int i = 0; tr_synthetic_outline(i, &outline); ++i)
    TR_TRY(tr_strings_add(&source->outlined, outline.name));
  return TR_OK;
}

tr_status tr_planner_source(tr_planner *p, const tr_setting *setting, const tr_plan_source **out) {
  tr_plan *plan = p->plan;
  for (size_t i = 0; i < plan->source_count; ++i)
    if (same_text(plan->sources[i]->kind, setting->dataset) && same_text(plan->sources[i]->split_file, setting->split_file) &&
        tr_setting_same_frames(&plan->sources[i]->frames, &setting->frames)) {
      *out = plan->sources[i];
      return TR_OK;
    }
  tr_plan_source *source;
  APPEND(plan->sources, plan->source_count, source);
  source->kind = setting->dataset;
  source->split_file = setting->split_file;
  source->frames = setting->frames;
  *out = source;
  tr_dataset_options options = {.kind = source->kind, .split_file = source->split_file, .frames = source->frames};
  options.root = p->options->data ? p->options->data : ".";
  tr_status status = tr_dataset_open(&options, &source->dataset);
  if (status == TR_OK)
    return TR_OK;
  if (p->options->forecast_only && strcmp(source->kind, "synthetic") == 0)
    return outline_synthetic(source);
  return status == TR_EIO || status == TR_EFORMAT ? tr_planner_note_missing(p, status) : status;
}

const tr_strings *tr_plan_source_classes(const tr_plan_source *source) {
  if (source->dataset)
    return tr_dataset_classes(source->dataset);
  return source->outlined.count ? &source->outlined : NULL;
}

/* ---- classes ---- */

/* Sizes from the headers; a file that cannot be read shows when the class runs. */
static void measure_images(const tr_sample *samples, size_t count, tr_plan_class *out, size_t *read) {
  for (size_t i = 0; i < count; ++i) {
    int h, w;
    if (tr_sample_size(&samples[i], &h, &w) != TR_OK)
      continue;
    ++*read;
    out->mean_pixels += (double)h * w;
    if (!out->first_h) {
      out->first_h = h;
      out->first_w = w;
    }
    if ((int64_t)h * w > (int64_t)out->most_h * out->most_w) {
      out->most_h = h;
      out->most_w = w;
    }
  }
}

static void assume_size(tr_plan_class *out, int h, int w) {
  out->first_h = out->most_h = h;
  out->first_w = out->most_w = w;
  out->mean_pixels = (double)h * w;
}

static tr_status list_class(const tr_dataset *dataset, tr_plan_class *out) {
  tr_class listed;
  TR_TRY(tr_dataset_class(dataset, out->name, &listed));
  out->train_images = listed.train_count;
  out->test_images = listed.test_count;
  for (size_t i = 0; i < listed.test_count; ++i)
    out->anomalous_images += listed.test[i].anomalous;
  /* Decoding is timed on an image; of videos that is a test frame. */
  const tr_sample *first = listed.train_count && listed.train[0].videos ? listed.test : listed.train;
  out->first_image = strdup(listed.train_count ? first->path : "");
  size_t read = 0;
  measure_images(listed.train, listed.train_count, out, &read);
  measure_images(listed.test, listed.test_count, out, &read);
  out->mean_pixels /= read ? (double)read : 1;
  out->size_assumed = read == 0;
  if (out->size_assumed)
    assume_size(out, ASSUMED_SIDE, ASSUMED_SIDE);
  tr_class_free(&listed);
  return out->first_image ? TR_OK : tr_planner_no_memory();
}

static tr_status outline_class(tr_plan_class *out) {
  tr_outline outline;
  for (int i = 0; tr_synthetic_outline(i, &outline); ++i)
    if (strcmp(outline.name, out->name) == 0) {
      out->train_images = outline.train;
      out->test_images = outline.test;
      out->anomalous_images = outline.anomalous;
      assume_size(out, outline.h, outline.w);
      out->size_assumed = true;
    }
  out->first_image = strdup("");
  return out->first_image ? TR_OK : tr_planner_no_memory();
}

tr_status tr_planner_class(tr_planner *p, const tr_plan_source *source, const char *name, const tr_plan_class **out) {
  tr_plan *plan = p->plan;
  for (size_t i = 0; i < plan->class_count; ++i)
    if (plan->classes[i]->source == source && strcmp(plan->classes[i]->name, name) == 0) {
      *out = plan->classes[i];
      return TR_OK;
    }
  tr_plan_class *class_;
  APPEND(plan->classes, plan->class_count, class_);
  class_->source = source;
  class_->name = name;
  *out = class_;
  if (!source->dataset)
    return outline_class(class_);
  if (list_class(source->dataset, class_) != TR_OK && !(class_->error = strdup(tr_last_error())))
    return tr_planner_no_memory();
  return TR_OK;
}

/* ---- weights ---- */

static tr_status read_weights(const tr_plan_options *options, tr_plan_weights *out) {
  char *file;
  TR_TRY(tr_weights_locate(options->weights, out->backbone, &file));
  tr_weights *weights;
  tr_status status = tr_weights_open(file, &weights);
  if (status == TR_OK) {
    out->sha256 = strdup(tr_weights_sha256(weights));
    for (size_t i = 0; i < tr_weights_count(weights); ++i)
      out->bytes += tr_weights_at(weights, i)->bytes;
    tr_weights_close(weights);
    if (!out->sha256)
      status = tr_fail(TR_ENOMEM, "reading %s", file);
  }
  if (status == TR_OK)
    out->file = file;
  else
    free(file);
  return status;
}

tr_status tr_planner_weights(tr_planner *p, const char *backbone, const tr_plan_weights **out) {
  tr_plan *plan = p->plan;
  for (size_t i = 0; i < plan->weights_count; ++i)
    if (strcmp(plan->weights[i]->backbone, backbone) == 0) {
      *out = plan->weights[i];
      return TR_OK;
    }
  tr_plan_weights *weights;
  APPEND(plan->weights, plan->weights_count, weights);
  weights->backbone = backbone;
  *out = weights;
  tr_status status = read_weights(p->options, weights);
  if (status == TR_OK || status == TR_ENOMEM)
    return status;
  weights->missing = strdup(tr_last_error());
  return weights->missing ? tr_planner_note_missing(p, status) : tr_planner_no_memory();
}

/* ---- backbones ---- */

static bool is_network(const tr_plan_network *n, const char *backbone, const char *const *layers, int count, int in_h, int in_w) {
  if (strcmp(n->backbone, backbone) != 0 || n->layer_count != count || n->in_h != in_h || n->in_w != in_w)
    return false;
  for (int i = 0; i < count; ++i)
    if (strcmp(n->layers[i], layers[i]) != 0)
      return false;
  return true;
}

tr_status tr_planner_network(tr_planner *p, const char *backbone, const char *const *layers, int layer_count, int in_h, int in_w,
                             const tr_plan_network **out) {
  tr_plan *plan = p->plan;
  for (size_t i = 0; i < plan->network_count; ++i)
    if (is_network(plan->networks[i], backbone, layers, layer_count, in_h, in_w)) {
      *out = plan->networks[i];
      return TR_OK;
    }
  tr_plan_network made = {.backbone = backbone, .layer_count = layer_count, .in_h = in_h, .in_w = in_w};
  for (int i = 0; i < layer_count; ++i)
    made.layers[i] = layers[i];
  tr_backbone_options options = {
      .architecture = backbone, .layers = made.layers, .layer_count = layer_count, .in_h = in_h, .in_w = in_w};
  TR_TRY(tr_backbone_forecast(p->device, &options, &made.bytes, &made.macs));
  TR_TRY(tr_backbone_shapes(p->device, &options, made.h, made.w, made.c));
  tr_plan_network *network;
  APPEND(plan->networks, plan->network_count, network);
  *network = made;
  *out = network;
  return TR_OK;
}
