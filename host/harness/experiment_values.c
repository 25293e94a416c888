/* The value of one key, read from its node. */
#include "host/base/status.h"
#include "host/harness/experiment_read.h"
#include "host/search/search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t tr_node_line(const yaml_node_t *node) {
  return node->start_mark.line + 1;
}

const char *tr_node_text(const yaml_node_t *node) {
  return node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : NULL;
}

tr_status tr_reader_keep(tr_reader *r, const char *text, const char **out) {
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

tr_status tr_wrong_value(const tr_reader *r, const tr_key *k, const yaml_node_t *node, const char *allowed) {
  const char *text = tr_node_text(node);
  return tr_fail(TR_EFORMAT, "%s:%zu: `%s` is %s%s%s; allowed: %s", r->file, tr_node_line(node), k->name,
                 text ? "`" : "a list or mapping", text ? text : "", text ? "`" : "", allowed);
}

static tr_status wrong_name(const tr_reader *r, const tr_key *k, const yaml_node_t *node) {
  size_t count;
  const char *const *names = k->names(&count);
  char allowed[512] = "";
  for (size_t i = 0, used = 0; i < count && used < sizeof allowed; ++i)
    used += (size_t)snprintf(allowed + used, sizeof allowed - used, "%s%s", i ? ", " : "", names[i]);
  const char *nearest = tr_node_text(node) ? tr_nearest_name(tr_node_text(node), names, count) : NULL;
  if (nearest)
    return tr_fail(TR_EFORMAT, "%s:%zu: `%s` is `%s`; did you mean `%s`? Allowed: %s", r->file, tr_node_line(node), k->name,
                   tr_node_text(node), nearest, allowed);
  return tr_wrong_value(r, k, node, allowed);
}

static tr_status read_name(tr_reader *r, const tr_key *k, const yaml_node_t *node, tr_draft *to) {
  size_t count;
  const char *const *names = k->names(&count);
  for (size_t i = 0; tr_node_text(node) && i < count; ++i) {
    if (strcmp(names[i], tr_node_text(node)) != 0)
      continue;
    char *field = (char *)&to->setting + k->offset;
    if (k->kind == TR_VALUE_NAME)
      memcpy(field, &names[i], sizeof names[i]);
    else
      memcpy(field, &(int){(int)i}, sizeof(int)); /* the enums follow the order of their names */
    return TR_OK;
  }
  return wrong_name(r, k, node);
}

static tr_status read_integer(tr_reader *r, const tr_key *k, const yaml_node_t *node, tr_draft *to) {
  char *end = NULL;
  long value = tr_node_text(node) ? strtol(tr_node_text(node), &end, 10) : 0;
  bool odd = k->kind == TR_VALUE_ODD;
  if (!end || end == tr_node_text(node) || *end || value < (long)k->low || value > (long)k->high || (odd && value % 2 == 0)) {
    char allowed[96];
    snprintf(allowed, sizeof allowed, "%s from %ld to %ld", odd ? "an odd number" : "a whole number", (long)k->low,
             (long)k->high);
    return tr_wrong_value(r, k, node, allowed);
  }
  memcpy((char *)&to->setting + k->offset, &(int){(int)value}, sizeof(int));
  return TR_OK;
}

static tr_status read_bytes(tr_reader *r, const tr_key *k, const yaml_node_t *node, tr_draft *to) {
  size_t bytes;
  if (!tr_node_text(node) || tr_parse_bytes(tr_node_text(node), &bytes) != TR_OK || (double)bytes < k->low ||
      (double)bytes > k->high)
    return tr_wrong_value(r, k, node, "bytes such as 100M or 2G");
  memcpy((char *)&to->setting + k->offset, &bytes, sizeof bytes);
  return TR_OK;
}

static tr_status read_number(tr_reader *r, const tr_key *k, const yaml_node_t *node, tr_draft *to) {
  char *end = NULL;
  double value = tr_node_text(node) ? strtod(tr_node_text(node), &end) : 0;
  bool low_enough = k->open ? value > k->low : value >= k->low;
  if (!end || end == tr_node_text(node) || *end || !isfinite(value) || !low_enough || value > k->high) {
    char allowed[96];
    snprintf(allowed, sizeof allowed, "a number %s %g, at most %g", k->open ? "above" : "from", k->low, k->high);
    return tr_wrong_value(r, k, node, allowed);
  }
  memcpy((char *)&to->setting + k->offset, &value, sizeof value);
  return TR_OK;
}

/* Below 2^53, so that it survives JSON. */
static tr_status read_seed(tr_reader *r, const tr_key *k, const yaml_node_t *node, tr_draft *to) {
  const char *text = tr_node_text(node);
  char *end = NULL;
  unsigned long long value = text ? strtoull(text, &end, 10) : 0;
  if (!end || end == text || *end || text[0] == '-' || value >= 1ull << 53)
    return tr_wrong_value(r, k, node, "a whole number from 0 to 9007199254740991");
  to->setting.seed = value;
  return TR_OK;
}

static tr_status read_boolean(tr_reader *r, const tr_key *k, const yaml_node_t *node, tr_draft *to) {
  const char *text = tr_node_text(node);
  bool yes = text && strcmp(text, "true") == 0;
  if (!yes && !(text && strcmp(text, "false") == 0))
    return tr_wrong_value(r, k, node, "true, false");
  memcpy((char *)&to->setting + k->offset, &yes, sizeof yes);
  return TR_OK;
}

static tr_status read_text(tr_reader *r, const tr_key *k, const yaml_node_t *node, tr_draft *to) {
  if (!tr_node_text(node) || !*tr_node_text(node))
    return tr_wrong_value(r, k, node, "a text");
  const char *kept;
  TR_TRY(tr_reader_keep(r, tr_node_text(node), &kept));
  if (k->kind == TR_VALUE_LAYERS) {
    to->layers = kept;
    to->layers_line = tr_node_line(node);
  } else {
    memcpy((char *)&to->setting + k->offset, &kept, sizeof kept);
  }
  return TR_OK;
}

/* Kept without the quotes that may stand around the factory string: faiss:"IVF512,PQ64np". */
static tr_status read_search(tr_reader *r, const tr_key *k, const yaml_node_t *node, tr_draft *to) {
  const char *text = tr_node_text(node), *factory = text ? tr_search_factory(text) : NULL;
  bool quoted = factory && factory[0] == '"';
  size_t length = factory ? strcspn(factory + quoted, "\"") : 0;
  bool complete = factory && length > 0 && strcmp(factory + quoted + length, quoted ? "\"" : "") == 0;
  if (!text || !(complete || strcmp(text, TR_SEARCH_EXACT) == 0))
    return tr_wrong_value(r, k, node, "exact, or a factory string of FAISS such as faiss:\"IVF512,PQ64np\"");
  const char *kept = TR_SEARCH_EXACT;
  if (factory) {
    char *plain = tr_format("%s%.*s", TR_SEARCH_FAISS, (int)length, factory + quoted);
    tr_status status = plain ? tr_reader_keep(r, plain, &kept) : tr_fail(TR_ENOMEM, "reading %s: out of memory", r->file);
    free(plain);
    TR_TRY(status);
  }
  memcpy((char *)&to->setting + k->offset, &kept, sizeof kept);
  return TR_OK;
}

static tr_status read_members(tr_reader *r, const tr_key *k, const yaml_node_t *node, tr_draft *to) {
  size_t count = node->type == YAML_SEQUENCE_NODE ? (size_t)(node->data.sequence.items.top - node->data.sequence.items.start) : 0;
  if (count < 2 || count > TR_MAX_MEMBERS)
    return tr_fail(TR_EFORMAT, "%s:%zu: `%s` takes a list of 2 to %d members such as [{backbone: …}, {backbone: …}]", r->file,
                   tr_node_line(node), k->name, TR_MAX_MEMBERS);
  to->members = node;
  return TR_OK;
}

tr_status tr_read_value(tr_reader *r, const tr_key *k, const yaml_node_t *node, tr_draft *to) {
  switch (k->kind) {
  case TR_VALUE_CHOICE:
  case TR_VALUE_NAME:
    return read_name(r, k, node, to);
  case TR_VALUE_INTEGER:
  case TR_VALUE_ODD:
    return read_integer(r, k, node, to);
  case TR_VALUE_BYTES:
    return read_bytes(r, k, node, to);
  case TR_VALUE_NUMBER:
    return read_number(r, k, node, to);
  case TR_VALUE_SEED:
    return read_seed(r, k, node, to);
  case TR_VALUE_BOOLEAN:
    return read_boolean(r, k, node, to);
  case TR_VALUE_SEARCH:
    return read_search(r, k, node, to);
  case TR_VALUE_MEMBERS:
    return read_members(r, k, node, to);
  default:
    return read_text(r, k, node, to);
  }
}
