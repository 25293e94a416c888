/* The table of keys, and a setting written back by it. */
#include "host/harness/experiment_keys.h"
#include "host/backbone/graph.h"
#include "host/base/json.h"
#include "host/base/status.h"
#include "host/harness/experiment.h"
#include "kernels/nearest.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define NAMES(function, ...)                          \
  static const char *const *function(size_t *count) { \
    static const char *const names[] = {__VA_ARGS__}; \
    *count = COUNT(names);                            \
    return names;                                     \
  }
NAMES(protocol_names, "official", "paper")

#define AT(field) offsetof(tr_setting, field)
const tr_key tr_image_keys[] = {
    {.name = "resize", .kind = TR_VALUE_INTEGER, .offset = AT(image.resize), .low = 0, .high = 8192},
    {.name = "crop", .kind = TR_VALUE_INTEGER, .offset = AT(image.crop), .low = 0, .high = 8192},
    {.name = "squash", .kind = TR_VALUE_BOOLEAN, .offset = AT(image.squash)},
};
const tr_key tr_tile_keys[] = {
    {.name = "size", .kind = TR_VALUE_INTEGER, .offset = AT(tile.size), .low = 0, .high = TR_TILE_MOST},
    {.name = "overlap", .kind = TR_VALUE_INTEGER, .offset = AT(tile.overlap), .low = 0, .high = TR_TILE_MOST / 2.0},
    {.name = "bank", .kind = TR_VALUE_CHOICE, .offset = AT(tile.bank), .names = tr_tile_bank_names},
};
static const tr_key frames_keys[] = {
    {.name = "step", .kind = TR_VALUE_INTEGER, .offset = AT(frames.step), .low = 1, .high = 1000000},
    {.name = "offset", .kind = TR_VALUE_INTEGER, .offset = AT(frames.offset), .low = 0, .high = 999999},
    {.name = "tested_only", .kind = TR_VALUE_BOOLEAN, .offset = AT(frames.tested_only)},
    {.name = "mask", .kind = TR_VALUE_CHOICE, .offset = AT(frames.mask), .names = tr_mask_rule_names},
};
const tr_key tr_subsampling_keys[] = {
    {.name = "kind", .kind = TR_VALUE_CHOICE, .offset = AT(subsampling), .names = tr_subsampling_names},
    {.name = "percent", .kind = TR_VALUE_NUMBER, .offset = AT(percent), .low = 0, .high = 100, .open = true},
    {.name = "bank_rows", .kind = TR_VALUE_INTEGER, .offset = AT(bank_rows), .low = 1, .high = INT32_MAX},
    {.name = "bank_bytes", .kind = TR_VALUE_BYTES, .offset = AT(bank_bytes), .low = 1, .high = 0x1p53},
    {.name = "radius", .kind = TR_VALUE_NUMBER, .offset = AT(radius), .low = 0, .high = 1e30, .open = true},
    {.name = "seconds", .kind = TR_VALUE_NUMBER, .offset = AT(seconds), .low = 0, .high = 1e9, .open = true},
};
const tr_key tr_ensemble_keys[] = {
    {.name = "members", .kind = TR_VALUE_MEMBERS},
    {.name = "normalise", .kind = TR_VALUE_CHOICE, .offset = AT(normalise), .names = tr_normalise_names},
};
const tr_key tr_member_keys[] = {
    {.name = "backbone", .kind = TR_VALUE_NAME, .offset = AT(backbone), .names = tr_backbone_architectures},
    {.name = "layers", .kind = TR_VALUE_LAYERS},
};
const tr_key tr_experiment_keys[] = {
    {.name = "name"},
    {.name = "classes"},
    {.name = "protocol", .kind = TR_VALUE_CHOICE, .offset = AT(protocol), .names = protocol_names},
    {.name = "method", .kind = TR_VALUE_NAME, .offset = AT(method), .names = tr_method_names},
    {.name = "dataset", .kind = TR_VALUE_NAME, .offset = AT(dataset), .names = tr_dataset_kinds},
    {.name = "split_file", .kind = TR_VALUE_TEXT, .offset = AT(split_file)},
    {.name = "backbone", .kind = TR_VALUE_NAME, .offset = AT(backbone), .names = tr_backbone_architectures},
    {.name = "ensemble", .kind = TR_VALUE_MAPPING, .keys = tr_ensemble_keys, .key_count = COUNT(tr_ensemble_keys)},
    {.name = "layers", .kind = TR_VALUE_LAYERS},
    {.name = "frames", .kind = TR_VALUE_MAPPING, .keys = frames_keys, .key_count = COUNT(frames_keys)},
    {.name = "train_images", .kind = TR_VALUE_INTEGER, .offset = AT(train_images), .low = 0, .high = 1000000},
    {.name = "image", .kind = TR_VALUE_MAPPING, .keys = tr_image_keys, .key_count = COUNT(tr_image_keys)},
    {.name = "tile", .kind = TR_VALUE_MAPPING, .keys = tr_tile_keys, .key_count = COUNT(tr_tile_keys)},
    {.name = "patch", .kind = TR_VALUE_ODD, .offset = AT(patch), .low = 1, .high = 15},
    {.name = "stride", .kind = TR_VALUE_INTEGER, .offset = AT(stride), .low = 1, .high = 64},
    {.name = "layer_dimension", .kind = TR_VALUE_INTEGER, .offset = AT(layer_dimension), .low = 1, .high = 65536},
    {.name = "dimension", .kind = TR_VALUE_INTEGER, .offset = AT(dimension), .low = 1, .high = 65536},
    {.name = "aggregate", .kind = TR_VALUE_CHOICE, .offset = AT(aggregate), .names = tr_aggregate_names},
    {.name = "projection", .kind = TR_VALUE_INTEGER, .offset = AT(projection), .low = 1, .high = 65536},
    {.name = "subsampling", .kind = TR_VALUE_MAPPING, .keys = tr_subsampling_keys, .key_count = COUNT(tr_subsampling_keys)},
    {.name = "search", .kind = TR_VALUE_SEARCH, .offset = AT(search)},
    {.name = "nprobe", .kind = TR_VALUE_INTEGER, .offset = AT(nprobe), .low = 1, .high = 1 << 20},
    {.name = "ef_search", .kind = TR_VALUE_INTEGER, .offset = AT(ef_search), .low = 1, .high = 1 << 20},
    {.name = "distance", .kind = TR_VALUE_CHOICE, .offset = AT(distance), .names = tr_distance_names},
    {.name = "image_score", .kind = TR_VALUE_CHOICE, .offset = AT(image_score), .names = tr_image_score_names},
    {.name = "neighbours", .kind = TR_VALUE_INTEGER, .offset = AT(neighbours), .low = 1, .high = TR_NEAREST_MAX_K},
    {.name = "placement", .kind = TR_VALUE_CHOICE, .offset = AT(placement), .names = tr_placement_names},
    {.name = "epsilon", .kind = TR_VALUE_NUMBER, .offset = AT(epsilon), .low = 0, .high = 1e6, .open = true},
    {.name = "gallery", .kind = TR_VALUE_CHOICE, .offset = AT(gallery), .names = tr_gallery_names},
    {.name = "sigma", .kind = TR_VALUE_NUMBER, .offset = AT(sigma), .low = 0, .high = 100},
    {.name = "seed", .kind = TR_VALUE_SEED, .offset = AT(seed)},
};
_Static_assert(COUNT(tr_experiment_keys) <= TR_MOST_KEYS, "TR_MOST_KEYS has to grow");
const size_t tr_member_key_count = COUNT(tr_member_keys), tr_experiment_key_count = COUNT(tr_experiment_keys);

static bool in_bounds(const tr_key *k, double value) {
  return (k->open ? value > k->low : value >= k->low) && value <= k->high;
}

static double number_of(const tr_key *k, const char *field) {
  int whole;
  double number;
  uint64_t seed;
  size_t bytes;
  switch (k->kind) {
  case TR_VALUE_NUMBER:
    memcpy(&number, field, sizeof number);
    return number;
  case TR_VALUE_BYTES:
    memcpy(&bytes, field, sizeof bytes);
    return (double)bytes;
  case TR_VALUE_SEED:
    memcpy(&seed, field, sizeof seed);
    return (double)seed;
  default:
    memcpy(&whole, field, sizeof whole);
    return whole;
  }
}

/* field: of a mapping, the setting. */
static bool has_value(const tr_key *k, const char *field) {
  const char *text;
  tr_tile_spec tile;
  switch (k->kind) {
  case TR_VALUE_INTEGER:
  case TR_VALUE_ODD:
  case TR_VALUE_BYTES:
  case TR_VALUE_NUMBER:
    return in_bounds(k, number_of(k, field));
  case TR_VALUE_NAME:
  case TR_VALUE_TEXT:
  case TR_VALUE_SEARCH:
    memcpy(&text, field, sizeof text);
    return text != NULL;
  case TR_VALUE_MAPPING:
    memcpy(&tile, field + AT(tile), sizeof tile);
    return k->keys != tr_ensemble_keys && (k->keys != tr_tile_keys || tile.size);
  default:
    return true;
  }
}

static cJSON *keys_to_json(const tr_setting *setting, const tr_key *keys, size_t count);

static cJSON *layers_to_json(const tr_setting *setting) {
  char *text = tr_setting_layers_text(setting);
  cJSON *value = text ? cJSON_CreateString(text) : NULL;
  free(text);
  return value;
}

static cJSON *value_to_json(const tr_setting *setting, const tr_key *k) {
  const char *field = (const char *)setting + k->offset, *text;
  bool yes;
  size_t count;
  switch (k->kind) {
  case TR_VALUE_CHOICE:
    return cJSON_CreateString(k->names(&count)[(int)number_of(k, field)]);
  case TR_VALUE_NAME:
  case TR_VALUE_TEXT:
  case TR_VALUE_SEARCH:
    memcpy(&text, field, sizeof text);
    return cJSON_CreateString(text);
  case TR_VALUE_BOOLEAN:
    memcpy(&yes, field, sizeof yes);
    return cJSON_CreateBool(yes);
  case TR_VALUE_LAYERS:
    return layers_to_json(setting);
  case TR_VALUE_MAPPING:
    return keys_to_json(setting, k->keys, k->key_count);
  default:
    return tr_json_number(number_of(k, field));
  }
}

/* NULL: out of memory. */
static cJSON *keys_to_json(const tr_setting *setting, const tr_key *keys, size_t count) {
  cJSON *object = cJSON_CreateObject();
  for (size_t i = keys == tr_experiment_keys ? TR_KEY_PROTOCOL : 0; object && i < count; ++i) {
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
  *out = keys_to_json(setting, tr_experiment_keys, tr_experiment_key_count);
  return *out ? TR_OK : tr_fail(TR_ENOMEM, "writing a setting: out of memory");
}
