/* A pickle machine for weight files. It knows the opcodes that Python's pickle writes in protocols 2 to 5 for plain values,
 * and the few names (pickle.c, `known`) that torch.save writes for tensors. A name outside that list is an error at the
 * place where it is read; no name is ever looked up or called, what the known ones mean is built in.
 */
#ifndef TR_WEIGHTS_PICKLE_H
#define TR_WEIGHTS_PICKLE_H

#include "host/weights/weights.h"

typedef enum tr_pickle_kind {
  TR_PICKLE_NONE,
  TR_PICKLE_BOOL,
  TR_PICKLE_INTEGER,
  TR_PICKLE_LONG, /* an integer beyond 64 bits */
  TR_PICKLE_FLOAT,
  TR_PICKLE_TEXT,
  TR_PICKLE_BYTES,
  TR_PICKLE_TUPLE,
  TR_PICKLE_LIST,
  TR_PICKLE_DICT,
  TR_PICKLE_GLOBAL,
  TR_PICKLE_STORAGE,
  TR_PICKLE_TENSOR,
  TR_PICKLE_UNSET, /* a tensor whose state has not been read (PyTorch before 0.4 makes tensors in two steps) */
  TR_PICKLE_MARK,  /* on the machine's stack only */
} tr_pickle_kind;

typedef struct tr_pickle_value tr_pickle_value;
typedef struct tr_pickle_global tr_pickle_global;

typedef struct tr_pickle_text {
  const uint8_t *data; /* in the pickle; not NUL-terminated */
  size_t bytes;
} tr_pickle_text;

typedef struct tr_pickle_list {
  tr_pickle_value **items;
  size_t count, capacity;
} tr_pickle_list;

/* A storage by name: where its elements lie is the container's knowledge. */
typedef struct tr_pickle_storage {
  tr_pickle_text key;
  int64_t count; /* elements, not negative */
  tr_dtype dtype;
} tr_pickle_storage;

/* A view of a storage, as written: nothing in it is checked but the kinds. */
typedef struct tr_pickle_tensor {
  const tr_pickle_value *storage; /* STORAGE */
  const tr_pickle_value *size;    /* TUPLE */
  const tr_pickle_value *stride;  /* TUPLE, in elements */
  int64_t offset;                 /* in elements */
} tr_pickle_tensor;

struct tr_pickle_value {
  tr_pickle_kind kind;
  union {
    int64_t integer;     /* BOOL, INTEGER */
    tr_pickle_text text; /* TEXT, BYTES, LONG (two's complement, little endian) */
    tr_pickle_list list; /* TUPLE, LIST; DICT: key, value, key, value, … */
    const tr_pickle_global *global;
    tr_pickle_storage storage;
    tr_pickle_tensor tensor;
  } as;
};

typedef struct tr_pickle tr_pickle;

/* Runs one pickle at the beginning of `data`, which must outlive the result. EFORMAT, with the byte, for anything the machine
 * does not know or that ends early. */
tr_status tr_pickle_load(const uint8_t *data, size_t bytes, tr_pickle **out);
void tr_pickle_free(tr_pickle *pickle);
const tr_pickle_value *tr_pickle_root(const tr_pickle *pickle);
size_t tr_pickle_bytes(const tr_pickle *pickle);                   /* its length in `data` */
const tr_pickle_list *tr_pickle_storages(const tr_pickle *pickle); /* every reference to a storage, in order */

/* "a dict", "None", … for messages. */
const char *tr_pickle_kind_name(tr_pickle_kind kind);
bool tr_pickle_text_is(const tr_pickle_value *value, const char *text);
/* The value of a text key; NULL when `dict` is no dict or has no such key. */
const tr_pickle_value *tr_pickle_get(const tr_pickle_value *dict, const char *key);

#endif
