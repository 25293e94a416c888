/* Replacing backbones: the families' layers side by side, by stride. */
#include "host/harness/replace.h"
#include "host/backbone/graph.h"
#include "host/base/status.h"
#include "host/base/text.h"

#include <stdio.h>
#include <string.h>

static tr_status find_architecture(const char *text, size_t length, const char **out) {
  char name[64];
  snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), text);
  size_t count;
  const char *const *names = tr_backbone_architectures(&count);
  char known[512] = "";
  for (size_t i = 0, used = 0; i < count; ++i) {
    if (strcmp(names[i], name) == 0) {
      *out = names[i];
      return TR_OK;
    }
    used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", names[i]);
  }
  const char *nearest = tr_nearest_name(name, names, count);
  return tr_fail(TR_EINVAL, "backbone `%s` is not known%s%s%s; known are %s", name, nearest ? "; did you mean `" : "",
                 nearest ? nearest : "", nearest ? "`?" : "", known);
}

tr_status tr_replacement_parse(const char *text, tr_replacement *out) {
  const char *equals = strchr(text, '=');
  *out = (tr_replacement){NULL, NULL};
  if (equals)
    TR_TRY(find_architecture(text, (size_t)(equals - text), &out->from));
  const char *to = equals ? equals + 1 : text;
  return find_architecture(to, strlen(to), &out->to);
}

const char *tr_replacement_of(const tr_replacements *replacements, const char *backbone) {
  const char *any = NULL, *named = NULL;
  for (size_t i = 0; replacements && i < replacements->count; ++i) {
    const tr_replacement *item = &replacements->items[i];
    if (!item->from)
      any = item->to;
    else if (strcmp(item->from, backbone) == 0)
      named = item->to;
  }
  return named ? named : any ? any : backbone;
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
