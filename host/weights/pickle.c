/* The pickle machine: a stack, a memo, and a switch over opcodes (https://docs.python.org/3/library/pickletools.html).
 *
 * Hostile input: there is no recursion; an opcode of n bytes makes at most one value and one slot on the stack, in the memo or
 * in a container, so memory is bounded by a multiple of the pickle's length.
 */
#include "host/weights/pickle.h"

#include "host/base/status.h"
#include "host/weights/internal.h"

#include <stdlib.h>

typedef enum tr_role {
  ROLE_ORDERED_DICT,
  ROLE_REBUILD_TENSOR,
  ROLE_REBUILD_PARAMETER,
  ROLE_TENSOR_CLASS,
  ROLE_SIZE,
  ROLE_STORAGE,
} tr_role;

struct tr_pickle_global {
  const char *module, *name;
  tr_role role;
  tr_dtype dtype; /* of a storage */
};

/* Parameter and the Tensor classes are how PyTorch before 0.4 wrote tensors; torchvision still serves such files. */
static const tr_pickle_global known[] = {
    {"collections", "OrderedDict", ROLE_ORDERED_DICT, 0},
    {"torch._utils", "_rebuild_tensor", ROLE_REBUILD_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v2", ROLE_REBUILD_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", ROLE_REBUILD_PARAMETER, 0},
    {"torch.nn.parameter", "Parameter", ROLE_TENSOR_CLASS, 0},
    {"torch", "FloatTensor", ROLE_TENSOR_CLASS, 0},
    {"torch", "DoubleTensor", ROLE_TENSOR_CLASS, 0},
    {"torch", "HalfTensor", ROLE_TENSOR_CLASS, 0},
    {"torch", "LongTensor", ROLE_TENSOR_CLASS, 0},
    {"torch", "Size", ROLE_SIZE, 0},
    {"torch", "FloatStorage", ROLE_STORAGE, TR_F32},
    {"torch", "HalfStorage", ROLE_STORAGE, TR_F16},
    {"torch", "BFloat16Storage", ROLE_STORAGE, TR_BF16},
    {"torch", "DoubleStorage", ROLE_STORAGE, TR_F64},
    {"torch", "LongStorage", ROLE_STORAGE, TR_I64},
    {"torch", "IntStorage", ROLE_STORAGE, TR_I32},
    {"torch", "ByteStorage", ROLE_STORAGE, TR_U8},
    {"torch", "BoolStorage", ROLE_STORAGE, TR_U8},
};

enum { POOL_VALUES = 128 };

typedef struct tr_pool_block {
  struct tr_pool_block *next;
  size_t used;
  tr_pickle_value values[POOL_VALUES];
} tr_pool_block;

struct tr_pickle {
  const uint8_t *data;
  size_t bytes, position, opcode_at;
  tr_pool_block *blocks;
  tr_pickle_list stack, memo, storages;
  tr_pickle_value mark;
  tr_pickle_value *root; /* set by STOP */
};

static tr_status out_of_memory(void) {
  return tr_fail(TR_ENOMEM, "reading a pickle: out of memory");
}

/* An EFORMAT that names the byte. The text first, then its context: arguments of a call have no order. */
#define BAD(pickle, ...) ((void)tr_fail(TR_EFORMAT, __VA_ARGS__), tr_fail_context(TR_EFORMAT, "byte %zu", (pickle)->opcode_at))

/* --- memory --- */

static tr_status list_reserve(tr_pickle_list *list, size_t count) {
  if (count <= list->capacity)
    return TR_OK;
  size_t capacity = 2 * list->capacity > count ? 2 * list->capacity : count;
  tr_pickle_value **items = realloc(list->items, capacity * sizeof *items);
  if (!items)
    return out_of_memory();
  list->items = items;
  list->capacity = capacity;
  return TR_OK;
}

static tr_status list_add(tr_pickle_list *list, tr_pickle_value *value) {
  TR_TRY(list_reserve(list, list->count + 1));
  list->items[list->count++] = value;
  return TR_OK;
}

static tr_status value_new(tr_pickle *pickle, tr_pickle_kind kind, tr_pickle_value **out) {
  if (!pickle->blocks || pickle->blocks->used == POOL_VALUES) {
    tr_pool_block *block = malloc(sizeof *block);
    if (!block)
      return out_of_memory();
    block->next = pickle->blocks;
    block->used = 0;
    pickle->blocks = block;
  }
  *out = &pickle->blocks->values[pickle->blocks->used++];
  **out = (tr_pickle_value){.kind = kind};
  return TR_OK;
}

static bool has_list(const tr_pickle_value *value) {
  return value->kind == TR_PICKLE_TUPLE || value->kind == TR_PICKLE_LIST || value->kind == TR_PICKLE_DICT;
}

void tr_pickle_free(tr_pickle *pickle) {
  if (!pickle)
    return;
  while (pickle->blocks) {
    tr_pool_block *block = pickle->blocks;
    pickle->blocks = block->next;
    for (size_t i = 0; i < block->used; ++i)
      if (has_list(&block->values[i]))
        free(block->values[i].as.list.items);
    free(block);
  }
  free(pickle->stack.items);
  free(pickle->memo.items);
  free(pickle->storages.items);
  free(pickle);
}

/* --- stack --- */

static tr_status push(tr_pickle *pickle, tr_pickle_value *value) {
  return list_add(&pickle->stack, value);
}

static tr_status push_new(tr_pickle *pickle, tr_pickle_kind kind) {
  tr_pickle_value *value;
  TR_TRY(value_new(pickle, kind, &value));
  return push(pickle, value);
}

static tr_status push_integer(tr_pickle *pickle, tr_pickle_kind kind, int64_t integer) {
  tr_pickle_value *value;
  TR_TRY(value_new(pickle, kind, &value));
  value->as.integer = integer;
  return push(pickle, value);
}

static tr_status top(const tr_pickle *pickle, tr_pickle_value **out) {
  const tr_pickle_list *stack = &pickle->stack;
  if (!stack->items || stack->count == 0 || stack->items[stack->count - 1]->kind == TR_PICKLE_MARK)
    return BAD(pickle, "an opcode needs more values than there are");
  *out = stack->items[stack->count - 1];
  return TR_OK;
}

static tr_status pop(tr_pickle *pickle, tr_pickle_value **out) {
  TR_TRY(top(pickle, out));
  --pickle->stack.count;
  return TR_OK;
}

/* Takes the values above the topmost mark, and the mark, off the stack; they stay readable until the next push. */
static tr_status pop_mark(tr_pickle *pickle, tr_pickle_value ***items, size_t *count) {
  tr_pickle_list *stack = &pickle->stack;
  size_t at = stack->count;
  while (at > 0 && stack->items[at - 1]->kind != TR_PICKLE_MARK)
    --at;
  if (at == 0)
    return BAD(pickle, "an opcode needs a mark and there is none");
  *items = stack->items + at;
  *count = stack->count - at;
  stack->count = at - 1;
  return TR_OK;
}

static tr_status take(tr_pickle *pickle, size_t bytes, const uint8_t **data) {
  if (bytes > pickle->bytes - pickle->position)
    return BAD(pickle, "needs %zu more bytes, and %zu are left: the file is cut short or damaged", bytes,
               pickle->bytes - pickle->position);
  *data = pickle->data + pickle->position;
  pickle->position += bytes;
  return TR_OK;
}

/* An unsigned little-endian number of 1, 2, 4 or 8 bytes. */
static tr_status take_number(tr_pickle *pickle, size_t bytes, uint64_t *out) {
  const uint8_t *data;
  TR_TRY(take(pickle, bytes, &data));
  *out = 0;
  for (size_t i = bytes; i-- > 0;)
    *out = *out << 8 | data[i];
  return TR_OK;
}

/* --- plain values --- */

static tr_status push_text(tr_pickle *pickle, tr_pickle_kind kind, size_t length_bytes) {
  uint64_t bytes;
  TR_TRY(take_number(pickle, length_bytes, &bytes));
  tr_pickle_text text = {NULL, (size_t)bytes};
  TR_TRY(take(pickle, text.bytes, &text.data));
  tr_pickle_value *value;
  TR_TRY(value_new(pickle, kind, &value));
  value->as.text = text;
  return push(pickle, value);
}

static tr_status push_unsigned(tr_pickle *pickle, size_t bytes) {
  uint64_t number;
  TR_TRY(take_number(pickle, bytes, &number));
  return push_integer(pickle, TR_PICKLE_INTEGER, (int64_t)number);
}

static tr_status push_int32(tr_pickle *pickle) {
  uint64_t number;
  TR_TRY(take_number(pickle, 4, &number));
  return push_integer(pickle, TR_PICKLE_INTEGER, (int32_t)(uint32_t)number);
}

/* Two's complement of any length; those of at most 8 bytes become integers. */
static tr_status push_long(tr_pickle *pickle, size_t length_bytes) {
  TR_TRY(push_text(pickle, TR_PICKLE_LONG, length_bytes));
  tr_pickle_value *value;
  TR_TRY(top(pickle, &value));
  tr_pickle_text digits = value->as.text;
  if (digits.bytes > 8)
    return TR_OK;
  uint64_t bits = digits.bytes > 0 && digits.data[digits.bytes - 1] & 0x80 ? UINT64_MAX : 0;
  for (size_t i = digits.bytes; i-- > 0;)
    bits = bits << 8 | digits.data[i];
  *value = (tr_pickle_value){.kind = TR_PICKLE_INTEGER, .as.integer = (int64_t)bits};
  return TR_OK;
}

/* --- containers --- */

static tr_status push_tuple(tr_pickle *pickle, tr_pickle_value *const *items, size_t count) {
  tr_pickle_value *tuple;
  TR_TRY(value_new(pickle, TR_PICKLE_TUPLE, &tuple));
  TR_TRY(list_reserve(&tuple->as.list, count));
  if (count > 0)
    memcpy(tuple->as.list.items, items, count * sizeof *items);
  tuple->as.list.count = count;
  return push(pickle, tuple);
}

static tr_status marked_tuple(tr_pickle *pickle) {
  tr_pickle_value **items;
  size_t count;
  TR_TRY(pop_mark(pickle, &items, &count));
  return push_tuple(pickle, items, count);
}

static tr_status short_tuple(tr_pickle *pickle, size_t count) {
  tr_pickle_value *items[3] = {NULL};
  for (size_t i = count; i-- > 0;)
    TR_TRY(pop(pickle, &items[i]));
  return push_tuple(pickle, items, count);
}

/* Moves values into the list or dict on top of the stack. */
static tr_status extend(tr_pickle *pickle, tr_pickle_kind kind, tr_pickle_value *const *items, size_t count) {
  tr_pickle_value *container;
  TR_TRY(top(pickle, &container));
  if (container->kind != kind)
    return BAD(pickle, "adds values to %s", tr_pickle_kind_name(container->kind));
  if (kind == TR_PICKLE_DICT && count % 2 != 0)
    return BAD(pickle, "a key of a dict has no value");
  TR_TRY(list_reserve(&container->as.list, container->as.list.count + count));
  for (size_t i = 0; i < count; ++i)
    container->as.list.items[container->as.list.count++] = items[i];
  return TR_OK;
}

static tr_status extend_marked(tr_pickle *pickle, tr_pickle_kind kind) {
  tr_pickle_value **items;
  size_t count;
  TR_TRY(pop_mark(pickle, &items, &count));
  return extend(pickle, kind, items, count);
}

static tr_status extend_few(tr_pickle *pickle, tr_pickle_kind kind, size_t count) {
  tr_pickle_value *items[2] = {NULL};
  for (size_t i = count; i-- > 0;)
    TR_TRY(pop(pickle, &items[i]));
  return extend(pickle, kind, items, count);
}

/* --- memo --- */

static tr_status memo_put(tr_pickle *pickle, uint64_t index) {
  tr_pickle_value *value;
  TR_TRY(top(pickle, &value));
  /* Picklers number the memo upwards from 0, so an index is below the bytes read. */
  if (index >= pickle->position)
    return BAD(pickle, "memo index %llu is beyond what a pickle can have used so far", (unsigned long long)index);
  tr_pickle_list *memo = &pickle->memo;
  TR_TRY(list_reserve(memo, (size_t)index + 1));
  while (memo->count <= index)
    memo->items[memo->count++] = NULL;
  memo->items[index] = value;
  return TR_OK;
}

static tr_status memo_put_number(tr_pickle *pickle, size_t bytes) {
  uint64_t index;
  TR_TRY(take_number(pickle, bytes, &index));
  return memo_put(pickle, index);
}

static tr_status memo_get(tr_pickle *pickle, size_t bytes) {
  uint64_t index;
  TR_TRY(take_number(pickle, bytes, &index));
  if (index >= pickle->memo.count || !pickle->memo.items[index])
    return BAD(pickle, "memo index %llu was never set", (unsigned long long)index);
  return push(pickle, pickle->memo.items[index]);
}

/* --- names, and what the known ones mean --- */

static bool text_equal(tr_pickle_text text, const char *string) {
  return tr_compare_bytes(text.data, text.bytes, string, strlen(string)) == 0;
}

static tr_status push_global(tr_pickle *pickle, tr_pickle_text module, tr_pickle_text name) {
  for (size_t i = 0; i < sizeof known / sizeof *known; ++i)
    if (text_equal(module, known[i].module) && text_equal(name, known[i].name)) {
      tr_pickle_value *value;
      TR_TRY(value_new(pickle, TR_PICKLE_GLOBAL, &value));
      value->as.global = &known[i];
      return push(pickle, value);
    }
  char module_text[TR_PRINTABLE_BYTES], name_text[TR_PRINTABLE_BYTES];
  return BAD(pickle,
             "refers to %s.%s, which is none of the names a file of tensors needs; expected what torch.save writes of a "
             "model's state_dict()",
             tr_printable(module_text, module.data, module.bytes), tr_printable(name_text, name.data, name.bytes));
}

static tr_status take_line(tr_pickle *pickle, tr_pickle_text *out) {
  const uint8_t *begin = pickle->data + pickle->position;
  const uint8_t *end = memchr(begin, '\n', pickle->bytes - pickle->position);
  if (!end)
    return BAD(pickle, "a name has no end: the file is cut short or damaged");
  *out = (tr_pickle_text){begin, (size_t)(end - begin)};
  pickle->position += out->bytes + 1;
  return TR_OK;
}

static tr_status global_lines(tr_pickle *pickle) {
  tr_pickle_text module, name;
  TR_TRY(take_line(pickle, &module));
  TR_TRY(take_line(pickle, &name));
  return push_global(pickle, module, name);
}

static tr_status global_stack(tr_pickle *pickle) {
  tr_pickle_value *module, *name;
  TR_TRY(pop(pickle, &name));
  TR_TRY(pop(pickle, &module));
  if (module->kind != TR_PICKLE_TEXT || name->kind != TR_PICKLE_TEXT)
    return BAD(pickle, "a global's module and name are %s and %s, expected text", tr_pickle_kind_name(module->kind),
               tr_pickle_kind_name(name->kind));
  return push_global(pickle, module->as.text, name->as.text);
}

/* (storage, offset, size, stride, …), from _rebuild_tensor[_v2] or as a tensor's state before PyTorch 0.1.12. */
static bool set_tensor(tr_pickle_value *value, const tr_pickle_list *arguments) {
  tr_pickle_value *const *item = arguments->items;
  if (arguments->count < 4 || item[0]->kind != TR_PICKLE_STORAGE || item[1]->kind != TR_PICKLE_INTEGER ||
      item[2]->kind != TR_PICKLE_TUPLE || item[3]->kind != TR_PICKLE_TUPLE)
    return false;
  *value =
      (tr_pickle_value){.kind = TR_PICKLE_TENSOR,
                        .as.tensor = {.storage = item[0], .size = item[2], .stride = item[3], .offset = item[1]->as.integer}};
  return true;
}

/* OrderedDict() or, from Python 2, OrderedDict([[key, value], …]). The list is made for this call alone; its pairs move, so that
 * a list kept in the memo cannot be copied over and over. */
static tr_status call_ordered_dict(tr_pickle *pickle, const tr_pickle_list *arguments, bool *fits) {
  tr_pickle_value *dict;
  TR_TRY(value_new(pickle, TR_PICKLE_DICT, &dict));
  TR_TRY(push(pickle, dict));
  *fits = arguments->count == 0 || (arguments->count == 1 && arguments->items[0]->kind == TR_PICKLE_LIST);
  if (!*fits || arguments->count == 0)
    return TR_OK;
  tr_pickle_list *pairs = &arguments->items[0]->as.list;
  for (size_t i = 0; i < pairs->count; ++i) {
    const tr_pickle_value *pair = pairs->items[i];
    *fits = (pair->kind == TR_PICKLE_LIST || pair->kind == TR_PICKLE_TUPLE) && pair->as.list.count == 2;
    if (!*fits)
      return TR_OK;
    TR_TRY(extend(pickle, TR_PICKLE_DICT, pair->as.list.items, 2));
  }
  pairs->count = 0;
  return TR_OK;
}

static tr_status call_rebuild_tensor(tr_pickle *pickle, const tr_pickle_list *arguments, bool *fits) {
  tr_pickle_value *tensor;
  TR_TRY(value_new(pickle, TR_PICKLE_TENSOR, &tensor));
  *fits = set_tensor(tensor, arguments);
  return push(pickle, tensor);
}

/* Parameter(), or with its data. */
static tr_status call_tensor_class(tr_pickle *pickle, const tr_pickle_list *arguments, bool *fits) {
  if (arguments->count == 0)
    return push_new(pickle, TR_PICKLE_UNSET);
  *fits = arguments->items[0]->kind == TR_PICKLE_TENSOR;
  return push(pickle, arguments->items[0]);
}

/* Pushes a function's first argument when it is of the kind that the function hands through. */
static tr_status call_identity(tr_pickle *pickle, const tr_pickle_list *arguments, tr_pickle_kind kind, bool *fits) {
  *fits = arguments->count >= 1 && arguments->items[0]->kind == kind;
  return *fits ? push(pickle, arguments->items[0]) : TR_OK;
}

/* REDUCE and NEWOBJ: f, (arguments) -> f(arguments) */
static tr_status call(tr_pickle *pickle) {
  tr_pickle_value *arguments, *function;
  TR_TRY(pop(pickle, &arguments));
  TR_TRY(pop(pickle, &function));
  if (function->kind != TR_PICKLE_GLOBAL || arguments->kind != TR_PICKLE_TUPLE)
    return BAD(pickle, "calls %s with %s", tr_pickle_kind_name(function->kind), tr_pickle_kind_name(arguments->kind));
  const tr_pickle_global *global = function->as.global;
  const tr_pickle_list *list = &arguments->as.list;
  bool fits = true;
  tr_status status = TR_OK;
  switch (global->role) {
  case ROLE_ORDERED_DICT:
    status = call_ordered_dict(pickle, list, &fits);
    break;
  case ROLE_REBUILD_TENSOR:
    status = call_rebuild_tensor(pickle, list, &fits);
    break;
  case ROLE_REBUILD_PARAMETER:
    status = call_identity(pickle, list, TR_PICKLE_TENSOR, &fits);
    break;
  case ROLE_TENSOR_CLASS:
    status = call_tensor_class(pickle, list, &fits);
    break;
  case ROLE_SIZE:
    status = call_identity(pickle, list, TR_PICKLE_TUPLE, &fits);
    break;
  case ROLE_STORAGE:
    fits = false;
    break;
  }
  if (status == TR_OK && !fits)
    return BAD(pickle, "calls %s.%s with %zu arguments of other kinds than torch.save writes", global->module, global->name,
               list->count);
  return status;
}

/* BUILD: object, state -> object. Attributes of dicts and tensors (`_metadata`, gradients, hooks) do not matter here. */
static tr_status build(tr_pickle *pickle) {
  tr_pickle_value *state, *object;
  TR_TRY(pop(pickle, &state));
  TR_TRY(top(pickle, &object));
  if (object->kind == TR_PICKLE_DICT || object->kind == TR_PICKLE_TENSOR)
    return TR_OK;
  if (object->kind == TR_PICKLE_UNSET && state->kind == TR_PICKLE_TUPLE) {
    const tr_pickle_list *items = &state->as.list;
    if (items->count > 0 && items->items[0]->kind == TR_PICKLE_TENSOR) {
      *object = *items->items[0];
      return TR_OK;
    }
    if (set_tensor(object, items))
      return TR_OK;
  }
  return BAD(pickle, "gives %s as state to %s", tr_pickle_kind_name(state->kind), tr_pickle_kind_name(object->kind));
}

/* BINPERSID: ("storage", class, key, location, elements[, view]) -> storage. torch.serialization's persistent_id. */
static tr_status persistent(tr_pickle *pickle) {
  tr_pickle_value *id;
  TR_TRY(pop(pickle, &id));
  tr_pickle_value *const *item = id->as.list.items;
  if (id->kind != TR_PICKLE_TUPLE || id->as.list.count < 5 || !tr_pickle_text_is(item[0], "storage") ||
      item[1]->kind != TR_PICKLE_GLOBAL || item[1]->as.global->role != ROLE_STORAGE || item[2]->kind != TR_PICKLE_TEXT ||
      item[4]->kind != TR_PICKLE_INTEGER || item[4]->as.integer < 0)
    return BAD(pickle, "a persistent id is not (\"storage\", class, key, location, elements)");
  if (id->as.list.count > 5 && item[5]->kind != TR_PICKLE_NONE) {
    char key[TR_PRINTABLE_BYTES];
    return BAD(pickle, "storage \"%s\" is a view of another storage, which PyTorch has not written since 0.4",
               tr_printable(key, item[2]->as.text.data, item[2]->as.text.bytes));
  }
  tr_pickle_value *storage;
  TR_TRY(value_new(pickle, TR_PICKLE_STORAGE, &storage));
  storage->as.storage =
      (tr_pickle_storage){.key = item[2]->as.text, .count = item[4]->as.integer, .dtype = item[1]->as.global->dtype};
  TR_TRY(list_add(&pickle->storages, storage));
  return push(pickle, storage);
}

/* --- the machine --- */

static tr_status protocol(tr_pickle *pickle) {
  uint64_t version;
  TR_TRY(take_number(pickle, 1, &version));
  if (version < 2 || version > 5)
    return BAD(pickle, "pickle protocol %d, expected 2 to 5", (int)version);
  return TR_OK;
}

static tr_status stop(tr_pickle *pickle) {
  TR_TRY(pop(pickle, &pickle->root));
  if (pickle->stack.count != 0)
    return BAD(pickle, "the pickle ends with %zu values too many", pickle->stack.count);
  return TR_OK;
}

static tr_status skip(tr_pickle *pickle, size_t bytes) {
  const uint8_t *data;
  return take(pickle, bytes, &data);
}

static tr_status step(tr_pickle *pickle, uint8_t opcode) {
  switch (opcode) {
  case 0x80: /* PROTO */
    return protocol(pickle);
  case 0x95: /* FRAME: its length is a hint for buffered reading */
    return skip(pickle, 8);
  case '.': /* STOP */
    return stop(pickle);
  case '(': /* MARK */
    return push(pickle, &pickle->mark);
  case 'N': /* NONE */
    return push_new(pickle, TR_PICKLE_NONE);
  case 0x88: /* NEWTRUE */
    return push_integer(pickle, TR_PICKLE_BOOL, 1);
  case 0x89: /* NEWFALSE */
    return push_integer(pickle, TR_PICKLE_BOOL, 0);
  case 'K': /* BININT1 */
    return push_unsigned(pickle, 1);
  case 'M': /* BININT2 */
    return push_unsigned(pickle, 2);
  case 'J': /* BININT */
    return push_int32(pickle);
  case 0x8a: /* LONG1 */
    return push_long(pickle, 1);
  case 0x8b: /* LONG4 */
    return push_long(pickle, 4);
  case 'G': /* BINFLOAT */
    TR_TRY(skip(pickle, 8));
    return push_new(pickle, TR_PICKLE_FLOAT);
  case 0x8c: /* SHORT_BINUNICODE */
  case 'U':  /* SHORT_BINSTRING: Python 2's str */
    return push_text(pickle, TR_PICKLE_TEXT, 1);
  case 'X': /* BINUNICODE */
  case 'T': /* BINSTRING */
    return push_text(pickle, TR_PICKLE_TEXT, 4);
  case 0x8d: /* BINUNICODE8 */
    return push_text(pickle, TR_PICKLE_TEXT, 8);
  case 'C': /* SHORT_BINBYTES */
    return push_text(pickle, TR_PICKLE_BYTES, 1);
  case 'B': /* BINBYTES */
    return push_text(pickle, TR_PICKLE_BYTES, 4);
  case 0x8e: /* BINBYTES8 */
    return push_text(pickle, TR_PICKLE_BYTES, 8);
  case ')': /* EMPTY_TUPLE */
    return push_new(pickle, TR_PICKLE_TUPLE);
  case 0x85: /* TUPLE1 */
  case 0x86: /* TUPLE2 */
  case 0x87: /* TUPLE3 */
    return short_tuple(pickle, opcode - 0x84u);
  case 't': /* TUPLE */
    return marked_tuple(pickle);
  case ']': /* EMPTY_LIST */
    return push_new(pickle, TR_PICKLE_LIST);
  case 'a': /* APPEND */
    return extend_few(pickle, TR_PICKLE_LIST, 1);
  case 'e': /* APPENDS */
    return extend_marked(pickle, TR_PICKLE_LIST);
  case '}': /* EMPTY_DICT */
    return push_new(pickle, TR_PICKLE_DICT);
  case 's': /* SETITEM */
    return extend_few(pickle, TR_PICKLE_DICT, 2);
  case 'u': /* SETITEMS */
    return extend_marked(pickle, TR_PICKLE_DICT);
  case 'q': /* BINPUT */
    return memo_put_number(pickle, 1);
  case 'r': /* LONG_BINPUT */
    return memo_put_number(pickle, 4);
  case 0x94: /* MEMOIZE */
    return memo_put(pickle, pickle->memo.count);
  case 'h': /* BINGET */
    return memo_get(pickle, 1);
  case 'j': /* LONG_BINGET */
    return memo_get(pickle, 4);
  case 'c': /* GLOBAL */
    return global_lines(pickle);
  case 0x93: /* STACK_GLOBAL */
    return global_stack(pickle);
  case 'R':  /* REDUCE */
  case 0x81: /* NEWOBJ */
    return call(pickle);
  case 'b': /* BUILD */
    return build(pickle);
  case 'Q': /* BINPERSID */
    return persistent(pickle);
  default:
    return BAD(pickle, "opcode 0x%02x, which torch.save does not write", opcode);
  }
}

static tr_status run(tr_pickle *pickle) {
  while (!pickle->root) {
    pickle->opcode_at = pickle->position;
    if (pickle->position > TR_LONGEST_HEADER_BYTES)
      return BAD(pickle, "the pickle is longer than %zu bytes", TR_LONGEST_HEADER_BYTES);
    const uint8_t *opcode;
    TR_TRY(take(pickle, 1, &opcode));
    TR_TRY(step(pickle, *opcode));
  }
  return TR_OK;
}

tr_status tr_pickle_load(const uint8_t *data, size_t bytes, tr_pickle **out) {
  *out = NULL;
  tr_pickle *pickle = calloc(1, sizeof *pickle);
  if (!pickle)
    return out_of_memory();
  pickle->data = data;
  pickle->bytes = bytes;
  pickle->mark.kind = TR_PICKLE_MARK;
  tr_status status = run(pickle);
  if (status == TR_OK)
    *out = pickle;
  else
    tr_pickle_free(pickle);
  return status;
}

const tr_pickle_value *tr_pickle_root(const tr_pickle *pickle) {
  return pickle->root;
}

size_t tr_pickle_bytes(const tr_pickle *pickle) {
  return pickle->position;
}

const tr_pickle_list *tr_pickle_storages(const tr_pickle *pickle) {
  return &pickle->storages;
}

const char *tr_pickle_kind_name(tr_pickle_kind kind) {
  static const char *const names[] = {
      [TR_PICKLE_NONE] = "None",          [TR_PICKLE_BOOL] = "a truth value",
      [TR_PICKLE_INTEGER] = "an integer", [TR_PICKLE_LONG] = "an integer",
      [TR_PICKLE_FLOAT] = "a number",     [TR_PICKLE_TEXT] = "text",
      [TR_PICKLE_BYTES] = "bytes",        [TR_PICKLE_TUPLE] = "a tuple",
      [TR_PICKLE_LIST] = "a list",        [TR_PICKLE_DICT] = "a dict",
      [TR_PICKLE_GLOBAL] = "a class",     [TR_PICKLE_STORAGE] = "a storage",
      [TR_PICKLE_TENSOR] = "a tensor",    [TR_PICKLE_UNSET] = "a tensor without data",
      [TR_PICKLE_MARK] = "a mark",
  };
  return names[kind];
}

bool tr_pickle_text_is(const tr_pickle_value *value, const char *text) {
  return value->kind == TR_PICKLE_TEXT && text_equal(value->as.text, text);
}

const tr_pickle_value *tr_pickle_get(const tr_pickle_value *dict, const char *key) {
  if (dict->kind == TR_PICKLE_DICT)
    for (size_t i = 0; i + 1 < dict->as.list.count; i += 2)
      if (tr_pickle_text_is(dict->as.list.items[i], key))
        return dict->as.list.items[i + 1];
  return NULL;
}
