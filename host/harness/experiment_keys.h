/* The keys of an experiment file: what each may hold, and where it stands in a setting. */
#ifndef TR_HARNESS_EXPERIMENT_KEYS_H
#define TR_HARNESS_EXPERIMENT_KEYS_H

#include "host/harness/setting.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum tr_value_kind {
  TR_VALUE_INTEGER, /* int */
  TR_VALUE_ODD,     /* int */
  TR_VALUE_SEED,    /* uint64_t */
  TR_VALUE_BYTES,   /* size_t */
  TR_VALUE_NUMBER,  /* double, above `low` when low is 0 and `open` is set */
  TR_VALUE_BOOLEAN, /* bool */
  TR_VALUE_CHOICE,  /* enum: the position among `names` */
  TR_VALUE_NAME,    /* const char *: one of `names` */
  TR_VALUE_TEXT,    /* const char * */
  TR_VALUE_SEARCH,  /* const char *: exact, or faiss: and a factory string, with quotes or without */
  TR_VALUE_LAYERS,  /* kept as text until the backbone is known */
  TR_VALUE_MAPPING, /* `keys` below */
  TR_VALUE_MEMBERS, /* of an ensemble, kept as a node until the other keys are known */
} tr_value_kind;

typedef struct tr_key {
  const char *name;
  size_t offset; /* in tr_setting */
  const char *const *(*names)(size_t *count);
  double low, high;
  const struct tr_key *keys;
  size_t key_count;
  tr_value_kind kind;
  bool open; /* low itself is not allowed */
} tr_key;

#define TR_MOST_KEYS 32 /* of any mapping */
extern const tr_key tr_image_keys[], tr_tile_keys[], tr_subsampling_keys[], tr_ensemble_keys[];
extern const tr_key tr_member_keys[], tr_experiment_keys[];
extern const size_t tr_member_key_count, tr_experiment_key_count;

/* The first four are read apart: two belong to the experiment and not to a setting, two decide the others' defaults. */
enum { TR_KEY_NAME, TR_KEY_CLASSES, TR_KEY_PROTOCOL, TR_KEY_METHOD, TR_KEY_DATASET, TR_KEY_BACKBONE = 6, TR_KEY_ENSEMBLE };

#endif
