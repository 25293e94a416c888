/* Other backbones and data sets than an experiment file names, for whoever lacks the paper's: `totalrecall run --backbone --dataset`. */
#ifndef TR_HARNESS_REPLACE_H
#define TR_HARNESS_REPLACE_H

#include "host/harness/setting.h"

/* Of one kind: architectures, or data sets. */
typedef struct tr_replacement {
  const char *from; /* NULL: any */
  const char *to;
} tr_replacement;

typedef struct tr_replacement_list {
  tr_replacement *items; /* owned */
  size_t count;
} tr_replacement_list;

typedef struct tr_replacements {
  tr_replacement_list backbones, data_sets;
} tr_replacements;

/* "NEW" or "OLD=NEW"; EINVAL names what is known. */
tr_status tr_replace_backbone(tr_replacements *replacements, const char *text);
tr_status tr_replace_data_set(tr_replacements *replacements, const char *text);
void tr_replacements_free(tr_replacements *replacements);

/* What takes the name's place: of the replacements that name it the last, else of those for any the last, else itself. */
const char *tr_replacement_of(const tr_replacement_list *list, const char *name);

/* The setting's backbone becomes `to`, its layers those of the same strides there: layer2 of a ResNet is denseblock2 and blocks.2.
 * Layers that meet in one count once. EINVAL where `to` has none of the stride (blocks.0 of an EfficientNet, of stride 2). Not for
 * ensembles, whose members have the backbones. */
tr_status tr_setting_replace_backbone(tr_setting *setting, const char *to);

#endif
