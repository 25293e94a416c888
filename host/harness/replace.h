/* Other backbones than an experiment file names, for whoever lacks the paper's weights: `totalrecall run --backbone`. */
#ifndef TR_HARNESS_REPLACE_H
#define TR_HARNESS_REPLACE_H

#include "host/harness/setting.h"

typedef struct tr_replacement {
  const char *from; /* architecture; NULL: any */
  const char *to;
} tr_replacement;

typedef struct tr_replacements {
  const tr_replacement *items;
  size_t count;
} tr_replacements;

/* "NEW" or "OLD=NEW"; EINVAL names what is known. */
tr_status tr_replacement_parse(const char *text, tr_replacement *out);

/* What takes the backbone's place: of the replacements that name it the last, else of those for any the last, else itself. */
const char *tr_replacement_of(const tr_replacements *replacements, const char *backbone);

/* The setting's backbone becomes `to`, its layers those of the same strides there: layer2 of a ResNet is denseblock2 and blocks.2.
 * Layers that meet in one count once. EINVAL where `to` has none of the stride (blocks.0 of an EfficientNet, of stride 2). Not for
 * ensembles, whose members have the backbones. */
tr_status tr_setting_replace_backbone(tr_setting *setting, const char *to);

#endif
