/* Experiment files: YAML by libyaml's document tree (a value may be a scalar or a list, and every error names its line), and the
 * expansion of the grid. */
#include "host/harness/experiment.h"
#include "host/backbone/graph.h"
#include "host/base/status.h"
#include "host/harness/experiment_read.h"
#include "host/harness/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Far more than anyone sweeps; a slip such as two long lists of seeds should not fill the memory. */
#define MAX_SETTINGS 10000
/* Nodes looked at while merge keys are followed: an alias bomb ends here. */
#define MAX_VISITS     1000000
#define MAX_FILE_BYTES (1u << 20)
/* Files within files. */
#define MAX_INCLUDES 16

typedef struct drafts {
  tr_draft *items;
  size_t count, capacity;
} drafts;

/* Key and value nodes of a mapping after its merge keys were followed, in the order of the key table. */
typedef struct pair {
  yaml_node_t *key_node, *value;
  size_t place; /* in the file: explicit keys in their order, merged ones after them */
} pair;

static yaml_node_t *node_at(const tr_reader *r, int id) {
  return yaml_document_get_node(r->document, id);
}

static tr_status unknown_key(const tr_reader *r, const yaml_node_t *node, const tr_key *keys, size_t count, const char *inside) {
  const char *names[TR_MOST_KEYS];
  for (size_t i = 0; i < count; ++i)
    names[i] = keys[i].name;
  const char *nearest = tr_nearest_name(tr_node_text(node), names, count);
  char hint[128] = "";
  if (nearest)
    snprintf(hint, sizeof hint, "; did you mean `%s`?", nearest);
  return tr_fail(TR_EFORMAT, "%s:%zu: unknown key `%s`%s%s%s", r->file, tr_node_line(node), tr_node_text(node),
                 inside ? " in " : "", inside ? inside : "", hint);
}

static tr_status collect(tr_reader *r, yaml_node_t *mapping, const tr_key *keys, size_t count, const char *inside, pair *pairs,
                         size_t *places, int depth);

static tr_status collect_merged(tr_reader *r, yaml_node_t *value, const tr_key *keys, size_t count, const char *inside,
                                pair *pairs, size_t *places, int depth) {
  if (depth > 16)
    return tr_fail(TR_EFORMAT, "%s:%zu: merge keys are nested too deeply", r->file, tr_node_line(value));
  if (value->type == YAML_MAPPING_NODE)
    return collect(r, value, keys, count, inside, pairs, places, depth);
  if (value->type != YAML_SEQUENCE_NODE)
    return tr_fail(TR_EFORMAT, "%s:%zu: `<<` takes a mapping or a list of mappings", r->file, tr_node_line(value));
  for (yaml_node_item_t *item = value->data.sequence.items.start; item < value->data.sequence.items.top; ++item) {
    yaml_node_t *node = node_at(r, *item);
    if (node->type != YAML_MAPPING_NODE)
      return tr_fail(TR_EFORMAT, "%s:%zu: `<<` takes a mapping or a list of mappings", r->file, tr_node_line(node));
    TR_TRY(collect(r, node, keys, count, inside, pairs, places, depth));
  }
  return TR_OK;
}

/* Fills pairs[k] for each key k that the mapping has. What stands there already wins: it came from an outer mapping. */
static tr_status collect(tr_reader *r, yaml_node_t *mapping, const tr_key *keys, size_t count, const char *inside, pair *pairs,
                         size_t *places, int depth) {
  bool seen[TR_MOST_KEYS] = {false};
  yaml_node_pair_t *start = mapping->data.mapping.pairs.start, *top = mapping->data.mapping.pairs.top;
  for (yaml_node_pair_t *p = start; p < top; ++p) {
    if (++r->visits > MAX_VISITS)
      return tr_fail(TR_EFORMAT, "%s:%zu: the file's aliases unfold to too much", r->file, tr_node_line(mapping));
    yaml_node_t *name = node_at(r, p->key);
    if (!tr_node_text(name))
      return tr_fail(TR_EFORMAT, "%s:%zu: a key must be a plain word", r->file, tr_node_line(name));
    if (strcmp(tr_node_text(name), "<<") == 0)
      continue;
    size_t k = 0;
    while (k < count && strcmp(keys[k].name, tr_node_text(name)) != 0)
      ++k;
    if (k == count)
      return unknown_key(r, name, keys, count, inside);
    if (seen[k])
      return tr_fail(TR_EFORMAT, "%s:%zu: key `%s` stands twice", r->file, tr_node_line(name), keys[k].name);
    seen[k] = true;
    if (!pairs[k].value)
      pairs[k] = (pair){.key_node = name, .value = node_at(r, p->value), .place = (*places)++};
  }
  for (yaml_node_pair_t *p = start; p < top; ++p)
    if (strcmp(tr_node_text(node_at(r, p->key)), "<<") == 0)
      TR_TRY(collect_merged(r, node_at(r, p->value), keys, count, inside, pairs, places, depth + 1));
  return TR_OK;
}

static tr_status drafts_add(drafts *list, const tr_draft *item) {
  if (list->count == list->capacity) {
    size_t capacity = list->capacity ? 2 * list->capacity : 16;
    tr_draft *items = realloc(list->items, capacity * sizeof *items);
    if (!items)
      return tr_fail(TR_ENOMEM, "expanding an experiment to %zu settings", capacity);
    list->items = items;
    list->capacity = capacity;
  }
  list->items[list->count++] = *item;
  return TR_OK;
}

static tr_status apply_mapping(tr_reader *r, yaml_node_t *mapping, const tr_key *keys, size_t count, const char *inside,
                               drafts *list);

/* One value of a key, on one draft; a mapping may give several drafts. */
static tr_status apply_value(tr_reader *r, const tr_key *k, yaml_node_t *node, const tr_draft *from, drafts *to) {
  if (++r->visits > MAX_VISITS || to->count > MAX_SETTINGS)
    return tr_fail(TR_EFORMAT, "%s:%zu: the grid has more than %d settings", r->file, tr_node_line(node), MAX_SETTINGS);
  tr_draft copy = *from;
  if (k->kind != TR_VALUE_MAPPING) {
    TR_TRY(tr_read_value(r, k, node, &copy));
    return drafts_add(to, &copy);
  }
  if (node->type != YAML_MAPPING_NODE)
    return tr_fail(TR_EFORMAT, "%s:%zu: `%s` takes a mapping such as {%s: …}", r->file, tr_node_line(node), k->name,
                   k->keys[0].name);
  if (k->keys == tr_image_keys)
    copy.image_line = tr_node_line(node);
  if (k->keys == tr_tile_keys)
    copy.tile_line = tr_node_line(node);
  if (k->keys == tr_subsampling_keys)
    copy.subsampling_line = tr_node_line(node);
  if (k->keys == tr_ensemble_keys)
    copy.ensemble_line = tr_node_line(node);
  drafts inner = {0};
  tr_status status = drafts_add(&inner, &copy);
  if (status == TR_OK)
    status = apply_mapping(r, node, k->keys, k->key_count, k->name, &inner);
  for (size_t i = 0; status == TR_OK && i < inner.count; ++i)
    status = drafts_add(to, &inner.items[i]);
  free(inner.items);
  return status;
}

/* Multiplies the drafts by the values of a key; the drafts stay the slower index. */
static tr_status apply_key(tr_reader *r, const tr_key *k, yaml_node_t *value, drafts *list) {
  drafts next = {0};
  tr_status status = TR_OK;
  bool is_list = value->type == YAML_SEQUENCE_NODE && k->kind != TR_VALUE_MEMBERS;
  if (is_list && value->data.sequence.items.start == value->data.sequence.items.top)
    status = tr_fail(TR_EFORMAT, "%s:%zu: `%s` is an empty list", r->file, tr_node_line(value), k->name);
  for (size_t i = 0; status == TR_OK && i < list->count; ++i) {
    if (!is_list)
      status = apply_value(r, k, value, &list->items[i], &next);
    yaml_node_item_t *item = is_list ? value->data.sequence.items.start : NULL;
    for (; item && status == TR_OK && item < value->data.sequence.items.top; ++item)
      status = apply_value(r, k, node_at(r, *item), &list->items[i], &next);
  }
  if (status != TR_OK) {
    free(next.items);
    return status;
  }
  free(list->items);
  *list = next;
  return TR_OK;
}

/* Multiplies the drafts by all keys of a mapping, in the file's order. */
static tr_status apply_pairs(tr_reader *r, const pair *pairs, const tr_key *keys, size_t count, size_t places, drafts *list) {
  for (size_t place = 0; place < places; ++place)
    for (size_t k = 0; k < count; ++k) {
      bool apart = keys == tr_experiment_keys && k <= TR_KEY_METHOD;
      if (!apart && pairs[k].value && pairs[k].place == place)
        TR_TRY(apply_key(r, &keys[k], pairs[k].value, list));
    }
  return TR_OK;
}

static tr_status apply_mapping(tr_reader *r, yaml_node_t *mapping, const tr_key *keys, size_t count, const char *inside,
                               drafts *list) {
  pair pairs[TR_MOST_KEYS] = {{NULL, NULL, 0}};
  size_t places = 0;
  TR_TRY(collect(r, mapping, keys, count, inside, pairs, &places, 0));
  return apply_pairs(r, pairs, keys, count, places, list);
}

static tr_status add_layer(const tr_reader *r, tr_draft *d, const char *name, size_t length, size_t *last) {
  tr_setting *setting = &d->setting;
  char text[64];
  snprintf(text, sizeof text, "%.*s", (int)(length < sizeof text ? length : sizeof text - 1), name);
  size_t count;
  const char *const *known = tr_backbone_layers(setting->backbone, &count);
  size_t found = 0;
  while (found < count && strcmp(known[found], text) != 0)
    ++found;
  if (found == count) {
    const char *nearest = tr_nearest_name(text, known, count);
    char names[512] = "";
    for (size_t i = 0, used = 0; i < count && used < sizeof names; ++i)
      used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", known[i]);
    return tr_fail(TR_EFORMAT, "%s:%zu: %s has no layer `%s`%s%s%s; it has: %s", r->file, d->layers_line, setting->backbone, text,
                   nearest ? "; did you mean `" : "", nearest ? nearest : "", nearest ? "`?" : "", names);
  }
  if (setting->layer_count == TR_MAX_LAYERS)
    return tr_fail(TR_EFORMAT, "%s:%zu: `layers` names more than %d layers", r->file, d->layers_line, TR_MAX_LAYERS);
  if (setting->layer_count && found <= *last)
    return tr_fail(TR_EFORMAT, "%s:%zu: `layers` must go from shallow to deep: `%s` stands after `%s`", r->file, d->layers_line,
                   text, setting->layers[setting->layer_count - 1]);
  setting->layers[setting->layer_count++] = known[found];
  *last = found;
  return TR_OK;
}

static tr_status add_note(const tr_reader *r, char *text) {
  if (text && tr_strings_has(&r->out->notes, text)) {
    free(text);
    return TR_OK;
  }
  return tr_strings_take(&r->out->notes, text);
}

static tr_status replace_backbone(const tr_reader *r, tr_draft *d) {
  const char *from = d->setting.backbone, *to = r->replacements ? tr_replacement_of(&r->replacements->backbones, from) : from;
  if (strcmp(from, to) == 0)
    return TR_OK;
  tr_status status = tr_setting_replace_backbone(&d->setting, to);
  if (status != TR_OK)
    return tr_fail_context(status, "%s", r->file);
  return add_note(r, tr_format("%s takes the place of %s", to, from));
}

static tr_status replace_data_set(const tr_reader *r, tr_setting *setting) {
  const char *from = setting->dataset, *to = r->replacements ? tr_replacement_of(&r->replacements->data_sets, from) : from;
  if (strcmp(from, to) == 0)
    return TR_OK;
  setting->dataset = to;
  setting->split_file = NULL;
  return add_note(r, tr_format("data set %s takes the place of %s", to, from));
}

static tr_status resolve_layers(const tr_reader *r, tr_draft *d) {
  const char *text = d->layers ? d->layers : tr_setting_default_layers(d->setting.method, d->setting.backbone);
  size_t last = 0;
  for (;;) {
    size_t length = strcspn(text, "+");
    TR_TRY(add_layer(r, d, text, length, &last));
    if (!text[length])
      return replace_backbone(r, d);
    text += length + 1;
  }
}

/* A member is its experiment's draft with its own backbone and layers. */
static tr_status read_member(tr_reader *r, yaml_node_t *node, const tr_draft *ensemble, tr_setting *out) {
  if (node->type != YAML_MAPPING_NODE)
    return tr_fail(TR_EFORMAT, "%s:%zu: a member is a mapping such as {backbone: …, layers: …}", r->file, tr_node_line(node));
  pair pairs[TR_MOST_KEYS] = {{NULL, NULL, 0}};
  size_t places = 0;
  TR_TRY(collect(r, node, tr_member_keys, tr_member_key_count, "a member", pairs, &places, 0));
  tr_draft member = *ensemble;
  for (size_t k = 0; k < tr_member_key_count; ++k)
    if (pairs[k].value)
      TR_TRY(tr_read_value(r, &tr_member_keys[k], pairs[k].value, &member));
  if (!member.setting.backbone)
    return tr_fail(TR_EFORMAT, "%s:%zu: the member has no `backbone`, and neither has its experiment", r->file,
                   tr_node_line(node));
  TR_TRY(resolve_layers(r, &member));
  tr_setting_normalise(&member.setting);
  *out = member.setting;
  return TR_OK;
}

/* Room for a list of members, which `r->out` owns. */
static tr_status add_members(tr_reader *r, size_t count, tr_setting **out) {
  tr_experiments *e = r->out;
  tr_setting **lists = realloc(e->members, (e->member_lists + 1) * sizeof *lists);
  if (lists)
    e->members = lists;
  *out = lists ? calloc(count, sizeof **out) : NULL;
  if (!*out)
    return tr_fail(TR_ENOMEM, "%s: an ensemble of %zu members", r->file, count);
  e->members[e->member_lists++] = *out;
  return TR_OK;
}

static tr_status joined_backbones(tr_reader *r, const tr_setting *members, size_t count, const char **out) {
  char text[TR_MAX_MEMBERS * 32] = "";
  for (size_t i = 0, used = 0; i < count && used < sizeof text; ++i)
    used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? "+" : "", members[i].backbone);
  return tr_reader_keep(r, text, out);
}

/* Whether the last member is one of those before it: a slip, or what replacements made of it. */
static bool is_again(const tr_setting *members, size_t count) {
  for (size_t i = 0; i + 1 < count; ++i)
    if (tr_setting_shares_features(&members[i], &members[count - 1]))
      return true;
  return false;
}

static tr_status resolve_members(tr_reader *r, tr_draft *d) {
  const yaml_node_item_t *items = d->members->data.sequence.items.start;
  size_t named = (size_t)(d->members->data.sequence.items.top - items), count = 0;
  bool replaced = r->replacements && r->replacements->backbones.count;
  tr_setting *members;
  TR_TRY(add_members(r, named, &members));
  for (size_t i = 0; i < named; ++i) {
    TR_TRY(read_member(r, node_at(r, items[i]), d, &members[count++]));
    if (is_again(members, count) && !replaced)
      return tr_fail(TR_EFORMAT, "%s:%zu: member %zu is the same network and layers as one before it", r->file,
                     tr_node_line(node_at(r, items[i])), i + 1);
    count -= is_again(members, count);
  }
  TR_TRY(joined_backbones(r, members, count, &d->setting.backbone));
  if (count < named)
    TR_TRY(add_note(r, count == 1
                           ? tr_format("an ensemble of %zu is left out: all its members become %s", named, members->backbone)
                           : tr_format("an ensemble of %zu becomes one of %zu: %s", named, count, d->setting.backbone)));
  d->left_out = count == 1;
  d->setting.members = members;
  d->setting.member_count = (int)count;
  d->setting.dimension = members[0].dimension; /* padim's depends on the backbone */
  return TR_OK;
}

static tr_status check_tile(const tr_reader *r, const tr_draft *d) {
  const tr_setting *s = &d->setting;
  const tr_tile_spec *tile = &s->tile;
  int side = s->image.crop ? s->image.crop : s->image.resize;
  if (!tile->size && (tile->overlap || tile->bank != TR_TILE_BANK_SHARED))
    return tr_fail(TR_EFORMAT, "%s:%zu: `tile` has no `size`", r->file, d->tile_line);
  if (tile->size && tile->size < TR_TILE_LEAST)
    return tr_fail(TR_EFORMAT, "%s:%zu: `size` of `tile` is %d; allowed: 0 (images are not cut), or %d to %d pixels", r->file,
                   d->tile_line, tile->size, TR_TILE_LEAST, TR_TILE_MOST);
  if (tile->overlap > tile->size / 2)
    return tr_fail(TR_EFORMAT, "%s:%zu: `overlap` is %d, more than half of a tile's `size` (%d)", r->file, d->tile_line,
                   tile->overlap, tile->size);
  if (side && tile->size > side)
    return tr_fail(TR_EFORMAT, "%s:%zu: tiles of %d pixels are larger than the image after the resize, whose shorter side is %d",
                   r->file, d->tile_line, tile->size, side);
  return TR_OK;
}

static tr_status check_subsampling(const tr_reader *r, const tr_draft *d) {
  const tr_setting *s = &d->setting;
  if (!d->subsampling_line || strcmp(s->method, "patchcore") != 0 || s->subsampling == TR_SUBSAMPLE_NONE)
    return TR_OK;
  if ((s->percent > 0) + (s->bank_rows > 0) + (s->bank_bytes > 0) > 1)
    return tr_fail(TR_EFORMAT, "%s:%zu: one of `percent`, `bank_rows` and `bank_bytes` says how large the bank is", r->file,
                   d->subsampling_line);
  if ((s->radius > 0 || s->seconds > 0) && s->subsampling != TR_SUBSAMPLE_GREEDY)
    return tr_fail(TR_EFORMAT, "%s:%zu: `radius` and `seconds` end a greedy selection, not a %s one", r->file,
                   d->subsampling_line, tr_subsampling_name(s->subsampling));
  return TR_OK;
}

static tr_status finish_draft(tr_reader *r, tr_draft *d) {
  if (d->ensemble_line && !d->members)
    return tr_fail(TR_EFORMAT, "%s:%zu: `ensemble` has no `members`", r->file, d->ensemble_line);
  TR_TRY(replace_data_set(r, &d->setting));
  TR_TRY(d->members ? resolve_members(r, d) : resolve_layers(r, d));
  const tr_image_spec *image = &d->setting.image;
  if (image->resize && image->crop > image->resize)
    return tr_fail(TR_EFORMAT, "%s:%zu: `crop` is %d, more than `resize` (%d)", r->file, d->image_line, image->crop,
                   image->resize);
  if (image->squash && !image->resize)
    return tr_fail(TR_EFORMAT, "%s:%zu: `squash` needs a `resize`", r->file, d->image_line);
  TR_TRY(check_tile(r, d));
  TR_TRY(check_subsampling(r, d));
  tr_setting_normalise(&d->setting);
  return TR_OK;
}

/* A setting that came up already is left out. Two that differ and would share a name are refused, since results go by names. */
static tr_status add_setting(const tr_reader *r, tr_experiment *e, tr_strings *names, const tr_setting *setting) {
  char *run = tr_setting_run_name(setting);
  char *name = run ? tr_format("%s/%s", setting->dataset, run) : NULL;
  free(run);
  if (!name)
    return tr_fail(TR_ENOMEM, "naming the runs of %s", e->name);
  for (size_t i = 0; i < names->count; ++i) {
    if (strcmp(names->items[i], name) != 0)
      continue;
    const char *a = e->settings[i].split_file, *b = setting->split_file;
    tr_status status = TR_OK;
    if (a && b && strcmp(a, b) != 0)
      status = tr_fail(TR_EFORMAT, "%s: split files `%s` and `%s` have the same name, and so would their runs (%s)", r->file, a,
                       b, name);
    free(name);
    return status;
  }
  TR_TRY(tr_strings_take(names, name));
  e->settings[e->setting_count++] = *setting;
  return TR_OK;
}

static tr_status add_settings(tr_reader *r, tr_experiment *e, drafts *list) {
  e->settings = calloc(list->count, sizeof *e->settings);
  if (!e->settings)
    return tr_fail(TR_ENOMEM, "expanding %s to %zu settings", e->name, list->count);
  tr_strings names = {0};
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < list->count; ++i) {
    status = finish_draft(r, &list->items[i]);
    if (status == TR_OK && !list->items[i].left_out)
      status = add_setting(r, e, &names, &list->items[i].setting);
  }
  tr_strings_free(&names);
  return status;
}

/* Every protocol and method gives its defaults, which the other keys then override. */
static tr_status start_drafts(tr_reader *r, const pair *pairs, drafts *list) {
  tr_draft first = {.setting = {.protocol = TR_PROTOCOL_OFFICIAL, .method = "patchcore"}};
  TR_TRY(drafts_add(list, &first));
  for (size_t k = TR_KEY_PROTOCOL; k <= TR_KEY_METHOD; ++k)
    if (pairs[k].value)
      TR_TRY(apply_key(r, &tr_experiment_keys[k], pairs[k].value, list));
  for (size_t i = 0; i < list->count; ++i)
    tr_setting_defaults(list->items[i].setting.protocol, list->items[i].setting.method, &list->items[i].setting);
  return TR_OK;
}

static tr_status read_settings(tr_reader *r, const pair *pairs, size_t places, tr_experiment *e) {
  drafts list = {0};
  tr_status status = start_drafts(r, pairs, &list);
  if (status == TR_OK)
    status = apply_pairs(r, pairs, tr_experiment_keys, tr_experiment_key_count, places, &list);
  if (status == TR_OK)
    status = add_settings(r, e, &list);
  free(list.items);
  return status;
}

static tr_status read_experiment_name(const tr_reader *r, const yaml_node_t *node, tr_experiment *e) {
  const char *text = tr_node_text(node);
  size_t good = text ? strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") : 0;
  if (!text || !*text || text[good] || text[0] == '.' || strlen(text) > 100)
    return tr_wrong_value(r, &tr_experiment_keys[TR_KEY_NAME], node,
                          "letters, digits, `.`, `_`, `-` (it names the file of results)");
  if (strcmp(text, TR_BENCH_NAME) == 0)
    return tr_wrong_value(r, &tr_experiment_keys[TR_KEY_NAME], node,
                          "another name: `" TR_BENCH_NAME "` is the file of measured operators");
  e->name = strdup(text);
  return e->name ? TR_OK : tr_fail(TR_ENOMEM, "reading %s", r->file);
}

static tr_status read_classes(const tr_reader *r, yaml_node_t *node, tr_experiment *e) {
  if (tr_node_text(node))
    return strcmp(tr_node_text(node), "all") == 0 ? TR_OK : tr_strings_add(&e->classes, tr_node_text(node));
  if (node->type != YAML_SEQUENCE_NODE || node->data.sequence.items.start == node->data.sequence.items.top)
    return tr_wrong_value(r, &tr_experiment_keys[TR_KEY_CLASSES], node, "all, or a list of class names");
  for (yaml_node_item_t *item = node->data.sequence.items.start; item < node->data.sequence.items.top; ++item) {
    yaml_node_t *name = node_at(r, *item);
    if (!tr_node_text(name))
      return tr_wrong_value(r, &tr_experiment_keys[TR_KEY_CLASSES], name, "all, or a list of class names");
    if (!tr_strings_has(&e->classes, tr_node_text(name)))
      TR_TRY(tr_strings_add(&e->classes, tr_node_text(name)));
  }
  return TR_OK;
}

static tr_status read_experiment(tr_reader *r, yaml_node_t *node, tr_experiment *e) {
  if (node->type != YAML_MAPPING_NODE)
    return tr_fail(TR_EFORMAT, "%s:%zu: an experiment is a mapping of keys and values", r->file, tr_node_line(node));
  pair pairs[TR_MOST_KEYS] = {{NULL, NULL, 0}};
  size_t places = 0;
  TR_TRY(collect(r, node, tr_experiment_keys, tr_experiment_key_count, NULL, pairs, &places, 0));
  static const size_t required[] = {TR_KEY_NAME, TR_KEY_DATASET, TR_KEY_BACKBONE};
  for (size_t i = 0; i < sizeof required / sizeof *required; ++i)
    if (!pairs[required[i]].value && !(required[i] == TR_KEY_BACKBONE && pairs[TR_KEY_ENSEMBLE].value))
      return tr_fail(TR_EFORMAT, "%s:%zu: the experiment has no `%s`", r->file, tr_node_line(node),
                     tr_experiment_keys[required[i]].name);
  TR_TRY(read_experiment_name(r, pairs[TR_KEY_NAME].value, e));
  if (pairs[TR_KEY_CLASSES].value)
    TR_TRY(read_classes(r, pairs[TR_KEY_CLASSES].value, e));
  return read_settings(r, pairs, places, e);
}

static void free_experiment(tr_experiment *e) {
  free(e->name);
  tr_strings_free(&e->classes);
  free(e->settings);
  *e = (tr_experiment){0};
}

/* Adds what the node says to the experiments; nothing where replacements leave no setting. */
static tr_status add_experiment(tr_reader *r, yaml_node_t *node) {
  tr_experiments *out = r->out;
  tr_experiment *items = realloc(out->items, (out->count + 1) * sizeof *items);
  if (!items)
    return tr_fail(TR_ENOMEM, "reading %s", r->file);
  out->items = items;
  tr_experiment *e = &items[out->count++];
  *e = (tr_experiment){0};
  TR_TRY(read_experiment(r, node, e));
  for (size_t i = 0; i + 1 < out->count; ++i)
    if (strcmp(items[i].name, e->name) == 0)
      return tr_fail(TR_EFORMAT, "%s:%zu: two experiments are named `%s`", r->file, tr_node_line(node), e->name);
  if (!e->setting_count) {
    free_experiment(e);
    --out->count;
  }
  return TR_OK;
}

static tr_status read_file(const char *path, const tr_replacements *replacements, const tr_reader *includer, tr_experiments *out);

static tr_status include_file(tr_reader *r, const yaml_node_t *node) {
  const char *name = tr_node_text(node), *slash = strrchr(r->file, '/');
  if (!name || !*name)
    return tr_fail(TR_EFORMAT, "%s:%zu: `include` takes a file, or a list of files", r->file, tr_node_line(node));
  if (r->from_memory)
    return tr_fail(TR_EFORMAT, "%s:%zu: `include` is for files", r->file, tr_node_line(node));
  int folder = *name == '/' || !slash ? 0 : (int)(slash - r->file + 1);
  char *path = tr_format("%.*s%s", folder, r->file, name);
  tr_status status = path ? read_file(path, r->replacements, r, r->out) : tr_fail(TR_ENOMEM, "reading %s", r->file);
  free(path);
  return status == TR_OK ? TR_OK : tr_fail_context(status, "%s:%zu: including %s", r->file, tr_node_line(node), name);
}

/* The value of `include` where that is the mapping's only key; NULL where it is not there. */
static tr_status find_include(tr_reader *r, yaml_node_t *node, yaml_node_t **out) {
  *out = NULL;
  if (node->type != YAML_MAPPING_NODE)
    return TR_OK;
  yaml_node_pair_t *start = node->data.mapping.pairs.start, *top = node->data.mapping.pairs.top;
  for (yaml_node_pair_t *p = start; p < top; ++p) {
    yaml_node_t *name = node_at(r, p->key);
    if (!tr_node_text(name) || strcmp(tr_node_text(name), "include") != 0)
      continue;
    if (top - start != 1)
      return tr_fail(TR_EFORMAT, "%s:%zu: `include` stands alone, in an experiment's place", r->file, tr_node_line(name));
    *out = node_at(r, p->value);
  }
  return TR_OK;
}

static tr_status read_item(tr_reader *r, yaml_node_t *node) {
  yaml_node_t *files;
  TR_TRY(find_include(r, node, &files));
  if (!files)
    return add_experiment(r, node);
  if (files->type != YAML_SEQUENCE_NODE)
    return include_file(r, files);
  yaml_node_item_t *start = files->data.sequence.items.start, *top = files->data.sequence.items.top;
  if (start == top)
    return tr_fail(TR_EFORMAT, "%s:%zu: `include` is an empty list", r->file, tr_node_line(files));
  for (yaml_node_item_t *item = start; item < top; ++item)
    TR_TRY(include_file(r, node_at(r, *item)));
  return TR_OK;
}

static tr_status read_root(tr_reader *r) {
  yaml_node_t *root = yaml_document_get_root_node(r->document);
  if (!root)
    return tr_fail(TR_EFORMAT, "%s: the file is empty; expected an experiment", r->file);
  if (root->type != YAML_SEQUENCE_NODE)
    return read_item(r, root);
  yaml_node_item_t *start = root->data.sequence.items.start, *top = root->data.sequence.items.top;
  if (start == top)
    return tr_fail(TR_EFORMAT, "%s:%zu: the list of experiments is empty", r->file, tr_node_line(root));
  for (yaml_node_item_t *item = start; item < top; ++item)
    TR_TRY(read_item(r, node_at(r, *item)));
  return TR_OK;
}

static tr_status yaml_problem(const char *file, const yaml_parser_t *parser) {
  if (parser->error == YAML_MEMORY_ERROR)
    return tr_fail(TR_ENOMEM, "reading %s", file);
  return tr_fail(TR_EFORMAT, "%s:%zu: not YAML: %s%s%s", file, parser->problem_mark.line + 1,
                 parser->problem ? parser->problem : "unreadable text", parser->context ? ", " : "",
                 parser->context ? parser->context : "");
}

/* One document; more than one is refused, a list does the same. */
static tr_status parse_documents(tr_reader r, yaml_parser_t *parser) {
  yaml_document_t document;
  if (!yaml_parser_load(parser, &document))
    return yaml_problem(r.file, parser);
  r.document = &document;
  tr_status status = read_root(&r);
  r.document = NULL;
  yaml_document_delete(&document);
  if (status != TR_OK)
    return status;
  if (!yaml_parser_load(parser, &document))
    return yaml_problem(r.file, parser);
  if (yaml_document_get_root_node(&document))
    status = tr_fail(TR_EFORMAT, "%s:%zu: a second document; write several experiments as a list", r.file,
                     tr_node_line(yaml_document_get_root_node(&document)));
  yaml_document_delete(&document);
  return status;
}

static tr_status parse_text(tr_reader *r, const char *text, size_t bytes) {
  if (bytes > MAX_FILE_BYTES)
    return tr_fail(TR_EFORMAT, "%s: %zu bytes, too many for an experiment file", r->file, bytes);
  yaml_parser_t parser;
  if (!yaml_parser_initialize(&parser))
    return tr_fail(TR_ENOMEM, "reading %s", r->file);
  yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
  tr_status status = parse_documents(*r, &parser);
  yaml_parser_delete(&parser);
  return status;
}

static tr_status check_cycle(tr_reader *r) {
  struct stat info;
  if (stat(r->file, &info) != 0)
    return tr_fail_errno(TR_EIO, "reading %s", r->file);
  r->device = info.st_dev;
  r->inode = info.st_ino;
  size_t depth = 0;
  for (const tr_reader *above = r->includer; above; above = above->includer, ++depth) {
    if (above->device == r->device && above->inode == r->inode)
      return tr_fail(TR_EFORMAT, "%s would include itself", r->file);
    if (depth >= MAX_INCLUDES)
      return tr_fail(TR_EFORMAT, "%s: files include files more than %d deep", r->file, MAX_INCLUDES);
  }
  return TR_OK;
}

static tr_status read_file(const char *path, const tr_replacements *replacements, const tr_reader *includer,
                           tr_experiments *out) {
  tr_reader r = {.file = path, .out = out, .replacements = replacements, .includer = includer};
  char *text;
  size_t bytes;
  TR_TRY(check_cycle(&r));
  TR_TRY(tr_file_read(path, &text, &bytes));
  tr_status status = parse_text(&r, text, bytes);
  free(text);
  return status;
}

/* What replacements leave may be nothing. */
static tr_status finish(tr_status status, const char *name, tr_experiments *out) {
  if (status == TR_OK && !out->count)
    status = tr_fail(TR_EINVAL, "%s: nothing is left to run: %s", name, out->notes.count ? out->notes.items[0] : "no settings");
  if (status != TR_OK)
    tr_experiments_free(out);
  return status;
}

tr_status tr_experiments_parse(const char *name, const char *text, size_t bytes, const tr_replacements *replacements,
                               tr_experiments *out) {
  *out = (tr_experiments){0};
  tr_reader r = {.file = name, .out = out, .replacements = replacements, .from_memory = true};
  return finish(parse_text(&r, text, bytes), name, out);
}

tr_status tr_experiments_read(const char *path, const tr_replacements *replacements, tr_experiments *out) {
  *out = (tr_experiments){0};
  return finish(read_file(path, replacements, NULL, out), path, out);
}

void tr_experiments_free(tr_experiments *experiments) {
  if (!experiments)
    return;
  for (size_t i = 0; i < experiments->count; ++i)
    free_experiment(&experiments->items[i]);
  for (size_t i = 0; i < experiments->member_lists; ++i)
    free(experiments->members[i]);
  free(experiments->members);
  free(experiments->items);
  tr_strings_free(&experiments->texts);
  tr_strings_free(&experiments->notes);
  *experiments = (tr_experiments){0};
}
