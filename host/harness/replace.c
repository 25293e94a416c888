/* Replacing data sets by name, and backbones: the families' layers side by side, by stride. */
#include "host/harness/replace.h"
#include "datasets/dataset.h"
#include "host/backbone/graph.h"
#include "host/base/status.h"
#include "host/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef const char *const *(*names_of)(size_t *count);

static tr_status find_name(const char *what, names_of all, const char *text, size_t length, const char **out) {
  char name[64];
  snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), text);
  size_t count;
  const char *const *names = all(&count);
  char known[512] = "";
  for (size_t i = 0, used = 0; i < count; ++i) {
    if (strcmp(names[i], name) == 0) {
      *out = names[i];
      return TR_OK;
    }
    used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", names[i]);
  }
  const char *nearest = tr_nearest_name(name, names, count);
  return tr_fail(TR_EINVAL, "%s `%s` is not known%s%s%s; known are %s", what, name, nearest ? "; did you mean `" : "",
                 nearest ? nearest : "", nearest ? "`?" : "", known);
}

static tr_status add(tr_replacement_list *list, const char *what, names_of all, const char *text) {
  const char *equals = strchr(text, '=');
  tr_replacement item = {NULL, NULL};
  if (equals)
    TR_TRY(find_name(what, all, text, (size_t)(equals - text), &item.from));
  const char *to = equals ? equals + 1 : text;
  TR_TRY(find_name(what, all, to, strlen(to), &item.to));
  tr_replacement *items = realloc(list->items, (list->count + 1) * sizeof *items);
  if (!items)
    return tr_fail(TR_ENOMEM, "replacing %s `%s`", what, text);
  list->items = items;
  items[list->count++] = item;
  return TR_OK;
}

tr_status tr_replace_backbone(tr_replacements *replacements, const char *text) {
  return add(&replacements->backbones, "backbone", tr_backbone_architectures, text);
}

tr_status tr_replace_data_set(tr_replacements *replacements, const char *text) {
  return add(&replacements->data_sets, "data set", tr_dataset_kinds, text);
}

void tr_replacements_free(tr_replacements *replacements) {
  free(replacements->backbones.items);
  free(replacements->data_sets.items);
  *replacements = (tr_replacements){0};
}

const char *tr_replacement_of(const tr_replacement_list *list, const char *name) {
  const char *any = NULL, *named = NULL;
  for (size_t i = 0; i < list->count; ++i) {
    const tr_replacement *item = &list->items[i];
    if (!item->from)
      any = item->to;
    else if (strcmp(item->from, name) == 0)
      named = item->to;
  }
  return named ? named : any ? any : name;
}

/* A row per stride 4, 8, 16, 32 and the pooled end. An EfficientNet has two blocks at strides 16 and 32: the deeper one stands for
 * the stride, as the default layers take it. */
static const char *const stages[][4] = {
    {"layer1", "denseblock1", "blocks.1", NULL},
    {"layer2", "denseblock2", "blocks.2", NULL},
    {"layer3", "denseblock3", "blocks.4", "blocks.3"},
    {"layer4", "denseblock4", "blocks.6", "blocks.5"},
    {"pool", NULL, NULL, NULL},
};

static bool has_layer(const char *backbone, const char *layer) {
  size_t count;
  const char *const *layers = tr_backbone_layers(backbone, &count);
  for (size_t i = 0; layer && i < count; ++i)
    if (strcmp(layers[i], layer) == 0)
      return true;
  return false;
}

static const char *counterpart(const char *layer, const char *backbone) {
  for (size_t stage = 0; stage < sizeof stages / sizeof *stages; ++stage)
    for (size_t i = 0; i < 4; ++i)
      if (stages[stage][i] && strcmp(stages[stage][i], layer) == 0)
        for (size_t j = 0; j < 4; ++j)
          if (has_layer(backbone, stages[stage][j]))
            return stages[stage][j];
  return NULL;
}

tr_status tr_setting_replace_backbone(tr_setting *setting, const char *to) {
  int count = 0;
  for (int i = 0; i < setting->layer_count; ++i) {
    const char *layer = has_layer(to, setting->layers[i]) ? setting->layers[i] : counterpart(setting->layers[i], to);
    if (!layer)
      return tr_fail(TR_EINVAL, "%s has no layer of the stride of %s's %s", to, setting->backbone, setting->layers[i]);
    if (!count || strcmp(setting->layers[count - 1], layer) != 0)
      setting->layers[count++] = layer;
  }
  setting->layer_count = count;
  setting->backbone = to;
  return TR_OK;
}
