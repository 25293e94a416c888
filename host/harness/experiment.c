/* Experiment files: YAML by libyaml's document tree (a value may be a scalar or a list, and every error names its line), the
 * table of keys, and the expansion of the grid. */
#include "host/harness/experiment.h"
#include "host/backbone/graph.h"
#include "host/base/json.h"
#include "host/base/status.h"
#include "host/harness/store.h"
#include "host/search/search.h"
#include "kernels/nearest.h"
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

/* Far more than anyone sweeps; a slip such as two long lists of seeds should not fill the memory. */
#define MAX_SETTINGS 10000
/* Nodes looked at while merge keys are followed: an alias bomb ends here. */
#define MAX_VISITS     1000000
#define MAX_FILE_BYTES (1u << 20)
/* Files within files. */
#define MAX_INCLUDES 16

typedef enum value_kind {
  VALUE_INTEGER, /* int */
  VALUE_ODD,     /* int */
  VALUE_SEED,    /* uint64_t */
  VALUE_BYTES,   /* size_t */
  VALUE_NUMBER,  /* double, above `low` when low is 0 and `open` is set */
  VALUE_BOOLEAN, /* bool */
  VALUE_CHOICE,  /* enum: the position among `names` */
  VALUE_NAME,    /* const char *: one of `names` */
  VALUE_TEXT,    /* const char * */
  VALUE_SEARCH,  /* const char *: exact, or faiss: and a factory string, with quotes or without */
  VALUE_LAYERS,  /* kept as text until the backbone is known */
  VALUE_MAPPING, /* `keys` below */
  VALUE_MEMBERS, /* of an ensemble, kept as a node until the other keys are known */
} value_kind;

typedef struct key {
  const char *name;
  size_t offset; /* in tr_setting */
  const char *const *(*names)(size_t *count);
  double low, high;
  const struct key *keys;
  size_t key_count;
  value_kind kind;
  bool open; /* low itself is not allowed */
} key;

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define NAMES(function, ...)                          \
  static const char *const *function(size_t *count) { \
    static const char *const names[] = {__VA_ARGS__}; \
    *count = COUNT(names);                            \
    return names;                                     \
  }
NAMES(protocol_names, "official", "paper")

#define AT(field) offsetof(tr_setting, field)
static const key image_keys[] = {
    {.name = "resize", .kind = VALUE_INTEGER, .offset = AT(image.resize), .low = 0, .high = 8192},
    {.name = "crop", .kind = VALUE_INTEGER, .offset = AT(image.crop), .low = 0, .high = 8192},
    {.name = "squash", .kind = VALUE_BOOLEAN, .offset = AT(image.squash)},
};
static const key tile_keys[] = {
    {.name = "size", .kind = VALUE_INTEGER, .offset = AT(tile.size), .low = 0, .high = TR_TILE_MOST},
    {.name = "overlap", .kind = VALUE_INTEGER, .offset = AT(tile.overlap), .low = 0, .high = TR_TILE_MOST / 2.0},
    {.name = "bank", .kind = VALUE_CHOICE, .offset = AT(tile.bank), .names = tr_tile_bank_names},
};
static const key frames_keys[] = {
    {.name = "step", .kind = VALUE_INTEGER, .offset = AT(frames.step), .low = 1, .high = 1000000},
    {.name = "offset", .kind = VALUE_INTEGER, .offset = AT(frames.offset), .low = 0, .high = 999999},
    {.name = "tested_only", .kind = VALUE_BOOLEAN, .offset = AT(frames.tested_only)},
    {.name = "mask", .kind = VALUE_CHOICE, .offset = AT(frames.mask), .names = tr_mask_rule_names},
};
static const key subsampling_keys[] = {
    {.name = "kind", .kind = VALUE_CHOICE, .offset = AT(subsampling), .names = tr_subsampling_names},
    {.name = "percent", .kind = VALUE_NUMBER, .offset = AT(percent), .low = 0, .high = 100, .open = true},
    {.name = "bank_rows", .kind = VALUE_INTEGER, .offset = AT(bank_rows), .low = 1, .high = INT32_MAX},
    {.name = "bank_bytes", .kind = VALUE_BYTES, .offset = AT(bank_bytes), .low = 1, .high = 0x1p53},
    {.name = "radius", .kind = VALUE_NUMBER, .offset = AT(radius), .low = 0, .high = 1e30, .open = true},
    {.name = "seconds", .kind = VALUE_NUMBER, .offset = AT(seconds), .low = 0, .high = 1e9, .open = true},
};
static const key ensemble_keys[] = {
    {.name = "members", .kind = VALUE_MEMBERS},
    {.name = "normalise", .kind = VALUE_CHOICE, .offset = AT(normalise), .names = tr_normalise_names},
};
static const key member_keys[] = {
    {.name = "backbone", .kind = VALUE_NAME, .offset = AT(backbone), .names = tr_backbone_architectures},
    {.name = "layers", .kind = VALUE_LAYERS},
};
/* The first four are read apart: two belong to the experiment and not to a setting, two decide the others' defaults. */
static const key experiment_keys[] = {
    {.name = "name"},
    {.name = "classes"},
    {.name = "protocol", .kind = VALUE_CHOICE, .offset = AT(protocol), .names = protocol_names},
    {.name = "method", .kind = VALUE_NAME, .offset = AT(method), .names = tr_method_names},
    {.name = "dataset", .kind = VALUE_NAME, .offset = AT(dataset), .names = tr_dataset_kinds},
    {.name = "split_file", .kind = VALUE_TEXT, .offset = AT(split_file)},
    {.name = "backbone", .kind = VALUE_NAME, .offset = AT(backbone), .names = tr_backbone_architectures},
    {.name = "ensemble", .kind = VALUE_MAPPING, .keys = ensemble_keys, .key_count = COUNT(ensemble_keys)},
    {.name = "layers", .kind = VALUE_LAYERS},
    {.name = "frames", .kind = VALUE_MAPPING, .keys = frames_keys, .key_count = COUNT(frames_keys)},
    {.name = "train_images", .kind = VALUE_INTEGER, .offset = AT(train_images), .low = 0, .high = 1000000},
    {.name = "image", .kind = VALUE_MAPPING, .keys = image_keys, .key_count = COUNT(image_keys)},
    {.name = "tile", .kind = VALUE_MAPPING, .keys = tile_keys, .key_count = COUNT(tile_keys)},
    {.name = "patch", .kind = VALUE_ODD, .offset = AT(patch), .low = 1, .high = 15},
    {.name = "stride", .kind = VALUE_INTEGER, .offset = AT(stride), .low = 1, .high = 64},
    {.name = "layer_dimension", .kind = VALUE_INTEGER, .offset = AT(layer_dimension), .low = 1, .high = 65536},
    {.name = "dimension", .kind = VALUE_INTEGER, .offset = AT(dimension), .low = 1, .high = 65536},
    {.name = "aggregate", .kind = VALUE_CHOICE, .offset = AT(aggregate), .names = tr_aggregate_names},
    {.name = "projection", .kind = VALUE_INTEGER, .offset = AT(projection), .low = 1, .high = 65536},
    {.name = "subsampling", .kind = VALUE_MAPPING, .keys = subsampling_keys, .key_count = COUNT(subsampling_keys)},
    {.name = "search", .kind = VALUE_SEARCH, .offset = AT(search)},
    {.name = "nprobe", .kind = VALUE_INTEGER, .offset = AT(nprobe), .low = 1, .high = 1 << 20},
    {.name = "ef_search", .kind = VALUE_INTEGER, .offset = AT(ef_search), .low = 1, .high = 1 << 20},
    {.name = "distance", .kind = VALUE_CHOICE, .offset = AT(distance), .names = tr_distance_names},
    {.name = "image_score", .kind = VALUE_CHOICE, .offset = AT(image_score), .names = tr_image_score_names},
    {.name = "neighbours", .kind = VALUE_INTEGER, .offset = AT(neighbours), .low = 1, .high = TR_NEAREST_MAX_K},
    {.name = "placement", .kind = VALUE_CHOICE, .offset = AT(placement), .names = tr_placement_names},
    {.name = "epsilon", .kind = VALUE_NUMBER, .offset = AT(epsilon), .low = 0, .high = 1e6, .open = true},
    {.name = "gallery", .kind = VALUE_CHOICE, .offset = AT(gallery), .names = tr_gallery_names},
    {.name = "sigma", .kind = VALUE_NUMBER, .offset = AT(sigma), .low = 0, .high = 100},
    {.name = "seed", .kind = VALUE_SEED, .offset = AT(seed)},
};
enum { KEY_NAME, KEY_CLASSES, KEY_PROTOCOL, KEY_METHOD, KEY_DATASET, KEY_BACKBONE = 6, KEY_ENSEMBLE };

/* A setting while it is read: what can only be checked once all of it is known keeps its line. */
typedef struct draft {
  tr_setting setting;
  const char *layers;
  const yaml_node_t *members;
  size_t layers_line, image_line, tile_line, ensemble_line, subsampling_line;
  bool left_out; /* an ensemble that replacements made a single network */
} draft;

typedef struct drafts {
  draft *items;
  size_t count, capacity;
} drafts;

typedef struct reader {
  const char *file;
  yaml_document_t *document;
  tr_experiments *out;
  const tr_replacements *replacements;
  const struct reader *includer; /* NULL: the first file */
  dev_t device;                  /* of the file, by which a cycle of includes shows; 0, 0 from memory */
  ino_t inode;
  bool from_memory;
  size_t visits;
} reader;

/* Key and value nodes of a mapping after its merge keys were followed, in the order of the key table. */
typedef struct pair {
  yaml_node_t *key_node, *value;
  size_t place; /* in the file: explicit keys in their order, merged ones after them */
} pair;
#define MAX_KEYS COUNT(experiment_keys)

static size_t line_of(const yaml_node_t *node) {
  return node->start_mark.line + 1;
}
static yaml_node_t *node_at(const reader *r, int id) {
  return yaml_document_get_node(r->document, id);
}

static const char *scalar(const yaml_node_t *node) {
  return node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : NULL;
}

/* Strings that outlive the document; equal texts are kept once. */
static tr_status keep_text(reader *r, const char *text, const char **out) {
  tr_strings *texts = &r->out->texts;
  for (size_t i = 0; i < texts->count; ++i)
    if (strcmp(texts->items[i], text) == 0) {
      *out = texts->items[i];
      return TR_OK;
    }
  TR_TRY(tr_strings_add(texts, text));
  *out = texts->items[texts->count - 1];
  return TR_OK;
}

static tr_status unknown_key(const reader *r, const yaml_node_t *node, const key *keys, size_t count, const char *inside) {
  const char *names[MAX_KEYS];
  for (size_t i = 0; i < count; ++i)
    names[i] = keys[i].name;
  const char *nearest = tr_nearest_name(scalar(node), names, count);
  char hint[128] = "";
  if (nearest)
    snprintf(hint, sizeof hint, "; did you mean `%s`?", nearest);
  return tr_fail(TR_EFORMAT, "%s:%zu: unknown key `%s`%s%s%s", r->file, line_of(node), scalar(node), inside ? " in " : "",
                 inside ? inside : "", hint);
}

static tr_status collect(reader *r, yaml_node_t *mapping, const key *keys, size_t count, const char *inside, pair *pairs,
                         size_t *places, int depth);

static tr_status collect_merged(reader *r, yaml_node_t *value, const key *keys, size_t count, const char *inside, pair *pairs,
                                size_t *places, int depth) {
  if (depth > 16)
    return tr_fail(TR_EFORMAT, "%s:%zu: merge keys are nested too deeply", r->file, line_of(value));
  if (value->type == YAML_MAPPING_NODE)
    return collect(r, value, keys, count, inside, pairs, places, depth);
  if (value->type != YAML_SEQUENCE_NODE)
    return tr_fail(TR_EFORMAT, "%s:%zu: `<<` takes a mapping or a list of mappings", r->file, line_of(value));
  for (yaml_node_item_t *item = value->data.sequence.items.start; item < value->data.sequence.items.top; ++item) {
    yaml_node_t *node = node_at(r, *item);
    if (node->type != YAML_MAPPING_NODE)
      return tr_fail(TR_EFORMAT, "%s:%zu: `<<` takes a mapping or a list of mappings", r->file, line_of(node));
    TR_TRY(collect(r, node, keys, count, inside, pairs, places, depth));
  }
  return TR_OK;
}

/* Fills pairs[k] for each key k that the mapping has. What stands there already wins: it came from an outer mapping. */
static tr_status collect(reader *r, yaml_node_t *mapping, const key *keys, size_t count, const char *inside, pair *pairs,
                         size_t *places, int depth) {
  bool seen[MAX_KEYS] = {false};
  yaml_node_pair_t *start = mapping->data.mapping.pairs.start, *top = mapping->data.mapping.pairs.top;
  for (yaml_node_pair_t *p = start; p < top; ++p) {
    if (++r->visits > MAX_VISITS)
      return tr_fail(TR_EFORMAT, "%s:%zu: the file's aliases unfold to too much", r->file, line_of(mapping));
    yaml_node_t *name = node_at(r, p->key);
    if (!scalar(name))
      return tr_fail(TR_EFORMAT, "%s:%zu: a key must be a plain word", r->file, line_of(name));
    if (strcmp(scalar(name), "<<") == 0)
      continue;
    size_t k = 0;
    while (k < count && strcmp(keys[k].name, scalar(name)) != 0)
      ++k;
    if (k == count)
      return unknown_key(r, name, keys, count, inside);
    if (seen[k])
      return tr_fail(TR_EFORMAT, "%s:%zu: key `%s` stands twice", r->file, line_of(name), keys[k].name);
    seen[k] = true;
    if (!pairs[k].value)
      pairs[k] = (pair){.key_node = name, .value = node_at(r, p->value), .place = (*places)++};
  }
  for (yaml_node_pair_t *p = start; p < top; ++p)
    if (strcmp(scalar(node_at(r, p->key)), "<<") == 0)
      TR_TRY(collect_merged(r, node_at(r, p->value), keys, count, inside, pairs, places, depth + 1));
  return TR_OK;
}

/* "must be one of a, b, c", for the error of a wrong value. */
static tr_status wrong_value(const reader *r, const key *k, const yaml_node_t *node, const char *allowed) {
  const char *text = scalar(node);
  return tr_fail(TR_EFORMAT, "%s:%zu: `%s` is %s%s%s; allowed: %s", r->file, line_of(node), k->name,
                 text ? "`" : "a list or mapping", text ? text : "", text ? "`" : "", allowed);
}

static tr_status wrong_name(const reader *r, const key *k, const yaml_node_t *node) {
  size_t count;
  const char *const *names = k->names(&count);
  char allowed[512] = "";
  for (size_t i = 0, used = 0; i < count && used < sizeof allowed; ++i)
    used += (size_t)snprintf(allowed + used, sizeof allowed - used, "%s%s", i ? ", " : "", names[i]);
  const char *nearest = scalar(node) ? tr_nearest_name(scalar(node), names, count) : NULL;
  if (nearest)
    return tr_fail(TR_EFORMAT, "%s:%zu: `%s` is `%s`; did you mean `%s`? Allowed: %s", r->file, line_of(node), k->name,
                   scalar(node), nearest, allowed);
  return wrong_value(r, k, node, allowed);
}

static tr_status read_name(reader *r, const key *k, const yaml_node_t *node, draft *to) {
  size_t count;
  const char *const *names = k->names(&count);
  for (size_t i = 0; scalar(node) && i < count; ++i) {
    if (strcmp(names[i], scalar(node)) != 0)
      continue;
    char *field = (char *)&to->setting + k->offset;
    if (k->kind == VALUE_NAME)
      memcpy(field, &names[i], sizeof names[i]);
    else
      memcpy(field, &(int){(int)i}, sizeof(int)); /* the enums follow the order of their names */
    return TR_OK;
  }
  return wrong_name(r, k, node);
}

static tr_status read_integer(reader *r, const key *k, const yaml_node_t *node, draft *to) {
  char *end = NULL;
  long value = scalar(node) ? strtol(scalar(node), &end, 10) : 0;
  bool odd = k->kind == VALUE_ODD;
  if (!end || end == scalar(node) || *end || value < (long)k->low || value > (long)k->high || (odd && value % 2 == 0)) {
    char allowed[96];
    snprintf(allowed, sizeof allowed, "%s from %ld to %ld", odd ? "an odd number" : "a whole number", (long)k->low,
             (long)k->high);
    return wrong_value(r, k, node, allowed);
  }
  memcpy((char *)&to->setting + k->offset, &(int){(int)value}, sizeof(int));
  return TR_OK;
}

static tr_status read_bytes(reader *r, const key *k, const yaml_node_t *node, draft *to) {
  size_t bytes;
  if (!scalar(node) || tr_parse_bytes(scalar(node), &bytes) != TR_OK || (double)bytes < k->low || (double)bytes > k->high)
    return wrong_value(r, k, node, "bytes such as 100M or 2G");
  memcpy((char *)&to->setting + k->offset, &bytes, sizeof bytes);
  return TR_OK;
}

static tr_status read_number(reader *r, const key *k, const yaml_node_t *node, draft *to) {
  char *end = NULL;
  double value = scalar(node) ? strtod(scalar(node), &end) : 0;
  bool low_enough = k->open ? value > k->low : value >= k->low;
  if (!end || end == scalar(node) || *end || !isfinite(value) || !low_enough || value > k->high) {
    char allowed[96];
    snprintf(allowed, sizeof allowed, "a number %s %g, at most %g", k->open ? "above" : "from", k->low, k->high);
    return wrong_value(r, k, node, allowed);
  }
  memcpy((char *)&to->setting + k->offset, &value, sizeof value);
  return TR_OK;
}

/* Below 2^53, so that it survives JSON. */
static tr_status read_seed(reader *r, const key *k, const yaml_node_t *node, draft *to) {
  const char *text = scalar(node);
  char *end = NULL;
  unsigned long long value = text ? strtoull(text, &end, 10) : 0;
  if (!end || end == text || *end || text[0] == '-' || value >= 1ull << 53)
    return wrong_value(r, k, node, "a whole number from 0 to 9007199254740991");
  to->setting.seed = value;
  return TR_OK;
}

static tr_status read_boolean(reader *r, const key *k, const yaml_node_t *node, draft *to) {
  const char *text = scalar(node);
  bool yes = text && strcmp(text, "true") == 0;
  if (!yes && !(text && strcmp(text, "false") == 0))
    return wrong_value(r, k, node, "true, false");
  memcpy((char *)&to->setting + k->offset, &yes, sizeof yes);
  return TR_OK;
}

static tr_status read_text(reader *r, const key *k, const yaml_node_t *node, draft *to) {
  if (!scalar(node) || !*scalar(node))
    return wrong_value(r, k, node, "a text");
  const char *kept;
  TR_TRY(keep_text(r, scalar(node), &kept));
  if (k->kind == VALUE_LAYERS) {
    to->layers = kept;
    to->layers_line = line_of(node);
  } else {
    memcpy((char *)&to->setting + k->offset, &kept, sizeof kept);
  }
  return TR_OK;
}

/* Kept without the quotes that may stand around the factory string: faiss:"IVF512,PQ64np". */
static tr_status read_search(reader *r, const key *k, const yaml_node_t *node, draft *to) {
  const char *text = scalar(node), *factory = text ? tr_search_factory(text) : NULL;
  bool quoted = factory && factory[0] == '"';
  size_t length = factory ? strcspn(factory + quoted, "\"") : 0;
  bool complete = factory && length > 0 && strcmp(factory + quoted + length, quoted ? "\"" : "") == 0;
  if (!text || !(complete || strcmp(text, TR_SEARCH_EXACT) == 0))
    return wrong_value(r, k, node, "exact, or a factory string of FAISS such as faiss:\"IVF512,PQ64np\"");
  const char *kept = TR_SEARCH_EXACT;
  if (factory) {
    char *plain = tr_format("%s%.*s", TR_SEARCH_FAISS, (int)length, factory + quoted);
    tr_status status = plain ? keep_text(r, plain, &kept) : tr_fail(TR_ENOMEM, "reading %s: out of memory", r->file);
    free(plain);
    TR_TRY(status);
  }
  memcpy((char *)&to->setting + k->offset, &kept, sizeof kept);
  return TR_OK;
}

static tr_status read_members(reader *r, const key *k, const yaml_node_t *node, draft *to) {
  size_t count = node->type == YAML_SEQUENCE_NODE ? (size_t)(node->data.sequence.items.top - node->data.sequence.items.start) : 0;
  if (count < 2 || count > TR_MAX_MEMBERS)
    return tr_fail(TR_EFORMAT, "%s:%zu: `%s` takes a list of 2 to %d members such as [{backbone: …}, {backbone: …}]", r->file,
                   line_of(node), k->name, TR_MAX_MEMBERS);
  to->members = node;
  return TR_OK;
}

static tr_status read_value(reader *r, const key *k, const yaml_node_t *node, draft *to) {
  switch (k->kind) {
  case VALUE_CHOICE:
  case VALUE_NAME:
    return read_name(r, k, node, to);
  case VALUE_INTEGER:
  case VALUE_ODD:
    return read_integer(r, k, node, to);
  case VALUE_BYTES:
    return read_bytes(r, k, node, to);
  case VALUE_NUMBER:
    return read_number(r, k, node, to);
  case VALUE_SEED:
    return read_seed(r, k, node, to);
  case VALUE_BOOLEAN:
    return read_boolean(r, k, node, to);
  case VALUE_SEARCH:
    return read_search(r, k, node, to);
  case VALUE_MEMBERS:
    return read_members(r, k, node, to);
  default:
    return read_text(r, k, node, to);
  }
}

static tr_status drafts_add(drafts *list, const draft *item) {
  if (list->count == list->capacity) {
    size_t capacity = list->capacity ? 2 * list->capacity : 16;
    draft *items = realloc(list->items, capacity * sizeof *items);
    if (!items)
      return tr_fail(TR_ENOMEM, "expanding an experiment to %zu settings", capacity);
    list->items = items;
    list->capacity = capacity;
  }
  list->items[list->count++] = *item;
  return TR_OK;
}

static tr_status apply_mapping(reader *r, yaml_node_t *mapping, const key *keys, size_t count, const char *inside, drafts *list);

/* One value of a key, on one draft; a mapping may give several drafts. */
static tr_status apply_value(reader *r, const key *k, yaml_node_t *node, const draft *from, drafts *to) {
  if (++r->visits > MAX_VISITS || to->count > MAX_SETTINGS)
    return tr_fail(TR_EFORMAT, "%s:%zu: the grid has more than %d settings", r->file, line_of(node), MAX_SETTINGS);
  draft copy = *from;
  if (k->kind != VALUE_MAPPING) {
    TR_TRY(read_value(r, k, node, &copy));
    return drafts_add(to, &copy);
  }
  if (node->type != YAML_MAPPING_NODE)
    return tr_fail(TR_EFORMAT, "%s:%zu: `%s` takes a mapping such as {%s: …}", r->file, line_of(node), k->name, k->keys[0].name);
  if (k->keys == image_keys)
    copy.image_line = line_of(node);
  if (k->keys == tile_keys)
    copy.tile_line = line_of(node);
  if (k->keys == subsampling_keys)
    copy.subsampling_line = line_of(node);
  if (k->keys == ensemble_keys)
    copy.ensemble_line = line_of(node);
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
static tr_status apply_key(reader *r, const key *k, yaml_node_t *value, drafts *list) {
  drafts next = {0};
  tr_status status = TR_OK;
  bool is_list = value->type == YAML_SEQUENCE_NODE && k->kind != VALUE_MEMBERS;
  if (is_list && value->data.sequence.items.start == value->data.sequence.items.top)
    status = tr_fail(TR_EFORMAT, "%s:%zu: `%s` is an empty list", r->file, line_of(value), k->name);
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
static tr_status apply_pairs(reader *r, const pair *pairs, const key *keys, size_t count, size_t places, drafts *list) {
  for (size_t place = 0; place < places; ++place)
    for (size_t k = 0; k < count; ++k) {
      bool apart = keys == experiment_keys && k <= KEY_METHOD;
      if (!apart && pairs[k].value && pairs[k].place == place)
        TR_TRY(apply_key(r, &keys[k], pairs[k].value, list));
    }
  return TR_OK;
}

static tr_status apply_mapping(reader *r, yaml_node_t *mapping, const key *keys, size_t count, const char *inside, drafts *list) {
  pair pairs[MAX_KEYS] = {{NULL, NULL, 0}};
  size_t places = 0;
  TR_TRY(collect(r, mapping, keys, count, inside, pairs, &places, 0));
  return apply_pairs(r, pairs, keys, count, places, list);
}

static tr_status add_layer(const reader *r, draft *d, const char *name, size_t length, size_t *last) {
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

static tr_status add_note(const reader *r, char *text) {
  if (text && tr_strings_has(&r->out->notes, text)) {
    free(text);
    return TR_OK;
  }
  return tr_strings_take(&r->out->notes, text);
}

static tr_status replace_backbone(const reader *r, draft *d) {
  const char *from = d->setting.backbone, *to = r->replacements ? tr_replacement_of(&r->replacements->backbones, from) : from;
  if (strcmp(from, to) == 0)
    return TR_OK;
  tr_status status = tr_setting_replace_backbone(&d->setting, to);
  if (status != TR_OK)
    return tr_fail_context(status, "%s", r->file);
  return add_note(r, tr_format("%s takes the place of %s", to, from));
}

static tr_status replace_data_set(const reader *r, tr_setting *setting) {
  const char *from = setting->dataset, *to = r->replacements ? tr_replacement_of(&r->replacements->data_sets, from) : from;
  if (strcmp(from, to) == 0)
    return TR_OK;
  setting->dataset = to;
  setting->split_file = NULL;
  return add_note(r, tr_format("data set %s takes the place of %s", to, from));
}

static tr_status resolve_layers(const reader *r, draft *d) {
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
static tr_status read_member(reader *r, yaml_node_t *node, const draft *ensemble, tr_setting *out) {
  if (node->type != YAML_MAPPING_NODE)
    return tr_fail(TR_EFORMAT, "%s:%zu: a member is a mapping such as {backbone: …, layers: …}", r->file, line_of(node));
  pair pairs[MAX_KEYS] = {{NULL, NULL, 0}};
  size_t places = 0;
  TR_TRY(collect(r, node, member_keys, COUNT(member_keys), "a member", pairs, &places, 0));
  draft member = *ensemble;
  for (size_t k = 0; k < COUNT(member_keys); ++k)
    if (pairs[k].value)
      TR_TRY(read_value(r, &member_keys[k], pairs[k].value, &member));
  if (!member.setting.backbone)
    return tr_fail(TR_EFORMAT, "%s:%zu: the member has no `backbone`, and neither has its experiment", r->file, line_of(node));
  TR_TRY(resolve_layers(r, &member));
  tr_setting_normalise(&member.setting);
  *out = member.setting;
  return TR_OK;
}

/* Room for a list of members, which `r->out` owns. */
static tr_status add_members(reader *r, size_t count, tr_setting **out) {
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

static tr_status joined_backbones(reader *r, const tr_setting *members, size_t count, const char **out) {
  char text[TR_MAX_MEMBERS * 32] = "";
  for (size_t i = 0, used = 0; i < count && used < sizeof text; ++i)
    used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? "+" : "", members[i].backbone);
  return keep_text(r, text, out);
}

/* Whether the last member is one of those before it: a slip, or what replacements made of it. */
static bool is_again(const tr_setting *members, size_t count) {
  for (size_t i = 0; i + 1 < count; ++i)
    if (tr_setting_shares_features(&members[i], &members[count - 1]))
      return true;
  return false;
}

static tr_status resolve_members(reader *r, draft *d) {
  const yaml_node_item_t *items = d->members->data.sequence.items.start;
  size_t named = (size_t)(d->members->data.sequence.items.top - items), count = 0;
  bool replaced = r->replacements && r->replacements->backbones.count;
  tr_setting *members;
  TR_TRY(add_members(r, named, &members));
  for (size_t i = 0; i < named; ++i) {
    TR_TRY(read_member(r, node_at(r, items[i]), d, &members[count++]));
    if (is_again(members, count) && !replaced)
      return tr_fail(TR_EFORMAT, "%s:%zu: member %zu is the same network and layers as one before it", r->file,
                     line_of(node_at(r, items[i])), i + 1);
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

static tr_status check_tile(const reader *r, const draft *d) {
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
  /* A nominal image is scored without its own rows; those of the tiles that overlap with a tile would stay. */
  if (tile->size && s->normalise == TR_NORMALISE_NOMINAL)
    return tr_fail(TR_EFORMAT, "%s:%zu: `tile` goes with `normalise: official` of an ensemble only", r->file, d->tile_line);
  return TR_OK;
}

static tr_status check_subsampling(const reader *r, const draft *d) {
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

static tr_status finish_draft(reader *r, draft *d) {
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
static tr_status add_setting(const reader *r, tr_experiment *e, tr_strings *names, const tr_setting *setting) {
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

static tr_status add_settings(reader *r, tr_experiment *e, drafts *list) {
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
static tr_status start_drafts(reader *r, const pair *pairs, drafts *list) {
  draft first = {.setting = {.protocol = TR_PROTOCOL_OFFICIAL, .method = "patchcore"}};
  TR_TRY(drafts_add(list, &first));
  for (size_t k = KEY_PROTOCOL; k <= KEY_METHOD; ++k)
    if (pairs[k].value)
      TR_TRY(apply_key(r, &experiment_keys[k], pairs[k].value, list));
  for (size_t i = 0; i < list->count; ++i)
    tr_setting_defaults(list->items[i].setting.protocol, list->items[i].setting.method, &list->items[i].setting);
  return TR_OK;
}

static tr_status read_settings(reader *r, const pair *pairs, size_t places, tr_experiment *e) {
  drafts list = {0};
  tr_status status = start_drafts(r, pairs, &list);
  if (status == TR_OK)
    status = apply_pairs(r, pairs, experiment_keys, MAX_KEYS, places, &list);
  if (status == TR_OK)
    status = add_settings(r, e, &list);
  free(list.items);
  return status;
}

static tr_status read_experiment_name(const reader *r, const yaml_node_t *node, tr_experiment *e) {
  const char *text = scalar(node);
  size_t good = text ? strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") : 0;
  if (!text || !*text || text[good] || text[0] == '.' || strlen(text) > 100)
    return wrong_value(r, &experiment_keys[KEY_NAME], node, "letters, digits, `.`, `_`, `-` (it names the file of results)");
  if (strcmp(text, TR_BENCH_NAME) == 0)
    return wrong_value(r, &experiment_keys[KEY_NAME], node,
                       "another name: `" TR_BENCH_NAME "` is the file of measured operators");
  e->name = strdup(text);
  return e->name ? TR_OK : tr_fail(TR_ENOMEM, "reading %s", r->file);
}

static tr_status read_classes(const reader *r, yaml_node_t *node, tr_experiment *e) {
  if (scalar(node))
    return strcmp(scalar(node), "all") == 0 ? TR_OK : tr_strings_add(&e->classes, scalar(node));
  if (node->type != YAML_SEQUENCE_NODE || node->data.sequence.items.start == node->data.sequence.items.top)
    return wrong_value(r, &experiment_keys[KEY_CLASSES], node, "all, or a list of class names");
  for (yaml_node_item_t *item = node->data.sequence.items.start; item < node->data.sequence.items.top; ++item) {
    yaml_node_t *name = node_at(r, *item);
    if (!scalar(name))
      return wrong_value(r, &experiment_keys[KEY_CLASSES], name, "all, or a list of class names");
    if (!tr_strings_has(&e->classes, scalar(name)))
      TR_TRY(tr_strings_add(&e->classes, scalar(name)));
  }
  return TR_OK;
}

static tr_status read_experiment(reader *r, yaml_node_t *node, tr_experiment *e) {
  if (node->type != YAML_MAPPING_NODE)
    return tr_fail(TR_EFORMAT, "%s:%zu: an experiment is a mapping of keys and values", r->file, line_of(node));
  pair pairs[MAX_KEYS] = {{NULL, NULL, 0}};
  size_t places = 0;
  TR_TRY(collect(r, node, experiment_keys, MAX_KEYS, NULL, pairs, &places, 0));
  static const size_t required[] = {KEY_NAME, KEY_DATASET, KEY_BACKBONE};
  for (size_t i = 0; i < COUNT(required); ++i)
    if (!pairs[required[i]].value && !(required[i] == KEY_BACKBONE && pairs[KEY_ENSEMBLE].value))
      return tr_fail(TR_EFORMAT, "%s:%zu: the experiment has no `%s`", r->file, line_of(node), experiment_keys[required[i]].name);
  TR_TRY(read_experiment_name(r, pairs[KEY_NAME].value, e));
  if (pairs[KEY_CLASSES].value)
    TR_TRY(read_classes(r, pairs[KEY_CLASSES].value, e));
  return read_settings(r, pairs, places, e);
}

static void free_experiment(tr_experiment *e) {
  free(e->name);
  tr_strings_free(&e->classes);
  free(e->settings);
  *e = (tr_experiment){0};
}

/* Adds what the node says to the experiments; nothing where replacements leave no setting. */
static tr_status add_experiment(reader *r, yaml_node_t *node) {
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
      return tr_fail(TR_EFORMAT, "%s:%zu: two experiments are named `%s`", r->file, line_of(node), e->name);
  if (!e->setting_count) {
    free_experiment(e);
    --out->count;
  }
  return TR_OK;
}

static tr_status read_file(const char *path, const tr_replacements *replacements, const reader *includer, tr_experiments *out);

static tr_status include_file(reader *r, const yaml_node_t *node) {
  const char *name = scalar(node), *slash = strrchr(r->file, '/');
  if (!name || !*name)
    return tr_fail(TR_EFORMAT, "%s:%zu: `include` takes a file, or a list of files", r->file, line_of(node));
  if (r->from_memory)
    return tr_fail(TR_EFORMAT, "%s:%zu: `include` is for files", r->file, line_of(node));
  int folder = *name == '/' || !slash ? 0 : (int)(slash - r->file + 1);
  char *path = tr_format("%.*s%s", folder, r->file, name);
  tr_status status = path ? read_file(path, r->replacements, r, r->out) : tr_fail(TR_ENOMEM, "reading %s", r->file);
  free(path);
  return status == TR_OK ? TR_OK : tr_fail_context(status, "%s:%zu: including %s", r->file, line_of(node), name);
}

/* The value of `include` where that is the mapping's only key; NULL where it is not there. */
static tr_status find_include(reader *r, yaml_node_t *node, yaml_node_t **out) {
  *out = NULL;
  if (node->type != YAML_MAPPING_NODE)
    return TR_OK;
  yaml_node_pair_t *start = node->data.mapping.pairs.start, *top = node->data.mapping.pairs.top;
  for (yaml_node_pair_t *p = start; p < top; ++p) {
    yaml_node_t *name = node_at(r, p->key);
    if (!scalar(name) || strcmp(scalar(name), "include") != 0)
      continue;
    if (top - start != 1)
      return tr_fail(TR_EFORMAT, "%s:%zu: `include` stands alone, in an experiment's place", r->file, line_of(name));
    *out = node_at(r, p->value);
  }
  return TR_OK;
}

static tr_status read_item(reader *r, yaml_node_t *node) {
  yaml_node_t *files;
  TR_TRY(find_include(r, node, &files));
  if (!files)
    return add_experiment(r, node);
  if (files->type != YAML_SEQUENCE_NODE)
    return include_file(r, files);
  yaml_node_item_t *start = files->data.sequence.items.start, *top = files->data.sequence.items.top;
  if (start == top)
    return tr_fail(TR_EFORMAT, "%s:%zu: `include` is an empty list", r->file, line_of(files));
  for (yaml_node_item_t *item = start; item < top; ++item)
    TR_TRY(include_file(r, node_at(r, *item)));
  return TR_OK;
}

static tr_status read_root(reader *r) {
  yaml_node_t *root = yaml_document_get_root_node(r->document);
  if (!root)
    return tr_fail(TR_EFORMAT, "%s: the file is empty; expected an experiment", r->file);
  if (root->type != YAML_SEQUENCE_NODE)
    return read_item(r, root);
  yaml_node_item_t *start = root->data.sequence.items.start, *top = root->data.sequence.items.top;
  if (start == top)
    return tr_fail(TR_EFORMAT, "%s:%zu: the list of experiments is empty", r->file, line_of(root));
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
static tr_status parse_documents(reader r, yaml_parser_t *parser) {
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
                     line_of(yaml_document_get_root_node(&document)));
  yaml_document_delete(&document);
  return status;
}

static tr_status parse_text(reader *r, const char *text, size_t bytes) {
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

static tr_status check_cycle(reader *r) {
  struct stat info;
  if (stat(r->file, &info) != 0)
    return tr_fail_errno(TR_EIO, "reading %s", r->file);
  r->device = info.st_dev;
  r->inode = info.st_ino;
  size_t depth = 0;
  for (const reader *above = r->includer; above; above = above->includer, ++depth) {
    if (above->device == r->device && above->inode == r->inode)
      return tr_fail(TR_EFORMAT, "%s would include itself", r->file);
    if (depth >= MAX_INCLUDES)
      return tr_fail(TR_EFORMAT, "%s: files include files more than %d deep", r->file, MAX_INCLUDES);
  }
  return TR_OK;
}

static tr_status read_file(const char *path, const tr_replacements *replacements, const reader *includer, tr_experiments *out) {
  reader r = {.file = path, .out = out, .replacements = replacements, .includer = includer};
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
  reader r = {.file = name, .out = out, .replacements = replacements, .from_memory = true};
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

/* ---- back to keys ---- */

static bool in_bounds(const key *k, double value) {
  return (k->open ? value > k->low : value >= k->low) && value <= k->high;
}

static double number_of(const key *k, const char *field) {
  int whole;
  double number;
  uint64_t seed;
  size_t bytes;
  switch (k->kind) {
  case VALUE_NUMBER:
    memcpy(&number, field, sizeof number);
    return number;
  case VALUE_BYTES:
    memcpy(&bytes, field, sizeof bytes);
    return (double)bytes;
  case VALUE_SEED:
    memcpy(&seed, field, sizeof seed);
    return (double)seed;
  default:
    memcpy(&whole, field, sizeof whole);
    return whole;
  }
}

/* field: of a mapping, the setting. */
static bool has_value(const key *k, const char *field) {
  const char *text;
  tr_tile_spec tile;
  switch (k->kind) {
  case VALUE_INTEGER:
  case VALUE_ODD:
  case VALUE_BYTES:
  case VALUE_NUMBER:
    return in_bounds(k, number_of(k, field));
  case VALUE_NAME:
  case VALUE_TEXT:
  case VALUE_SEARCH:
    memcpy(&text, field, sizeof text);
    return text != NULL;
  case VALUE_MAPPING:
    memcpy(&tile, field + AT(tile), sizeof tile);
    return k->keys != ensemble_keys && (k->keys != tile_keys || tile.size);
  default:
    return true;
  }
}

static cJSON *keys_to_json(const tr_setting *setting, const key *keys, size_t count);

static cJSON *layers_to_json(const tr_setting *setting) {
  char *text = tr_setting_layers_text(setting);
  cJSON *value = text ? cJSON_CreateString(text) : NULL;
  free(text);
  return value;
}

static cJSON *value_to_json(const tr_setting *setting, const key *k) {
  const char *field = (const char *)setting + k->offset, *text;
  bool yes;
  size_t count;
  switch (k->kind) {
  case VALUE_CHOICE:
    return cJSON_CreateString(k->names(&count)[(int)number_of(k, field)]);
  case VALUE_NAME:
  case VALUE_TEXT:
  case VALUE_SEARCH:
    memcpy(&text, field, sizeof text);
    return cJSON_CreateString(text);
  case VALUE_BOOLEAN:
    memcpy(&yes, field, sizeof yes);
    return cJSON_CreateBool(yes);
  case VALUE_LAYERS:
    return layers_to_json(setting);
  case VALUE_MAPPING:
    return keys_to_json(setting, k->keys, k->key_count);
  default:
    return tr_json_number(number_of(k, field));
  }
}

/* NULL: out of memory. */
static cJSON *keys_to_json(const tr_setting *setting, const key *keys, size_t count) {
  cJSON *object = cJSON_CreateObject();
  for (size_t i = keys == experiment_keys ? KEY_PROTOCOL : 0; object && i < count; ++i) {
    if (!has_value(&keys[i], (const char *)setting + keys[i].offset))
      continue;
    cJSON *value = value_to_json(setting, &keys[i]);
    if (!value || !cJSON_AddItemToObject(object, keys[i].name, value)) {
      cJSON_Delete(value);
      cJSON_Delete(object);
      return NULL;
    }
  }
  return object;
}

tr_status tr_setting_to_json(const tr_setting *setting, cJSON **out) {
  *out = NULL;
  if (setting->member_count)
    return tr_fail(TR_EINVAL, "writing a setting: an ensemble of %d is several settings", setting->member_count);
  *out = keys_to_json(setting, experiment_keys, MAX_KEYS);
  return *out ? TR_OK : tr_fail(TR_ENOMEM, "writing a setting: out of memory");
}
