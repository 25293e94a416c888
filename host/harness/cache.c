/* Items by number. */
#include "host/harness/cache.h"
#include "host/base/status.h"
#include "host/methods/picks.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { ABSENT, COMPLETE, LOST };

struct tr_cache {
  size_t items, item_bytes;
  char *memory;          /* [items, item_bytes], or NULL */
  tr_feature_file *file; /* or NULL */
  _Atomic unsigned char *states;
};

tr_status tr_cache_create(size_t items, size_t item_bytes, const char *folder, tr_cache **out) {
  *out = NULL;
  tr_cache *cache = calloc(1, sizeof *cache);
  if (!cache)
    return tr_fail(TR_ENOMEM, "keeping %zu items: out of memory", items);
  cache->items = items;
  cache->item_bytes = item_bytes;
  cache->states = calloc(items + 1, sizeof *cache->states);
  if (!folder)
    cache->memory = malloc(items * item_bytes + 1);
  tr_status status = TR_OK;
  if (!cache->states || (!folder && !cache->memory))
    status = tr_fail(TR_ENOMEM, "keeping %zu items of %zu bytes: out of memory", items, item_bytes);
  else if (folder)
    status = tr_feature_file_create(folder, items * item_bytes, &cache->file);
  if (status != TR_OK) {
    tr_cache_destroy(cache);
    return status;
  }
  *out = cache;
  return TR_OK;
}

void tr_cache_destroy(tr_cache *cache) {
  if (!cache)
    return;
  tr_feature_file_close(cache->file);
  free(cache->memory);
  free((void *)cache->states);
  free(cache);
}

static tr_status check_range(const tr_cache *cache, size_t item, size_t offset, size_t bytes) {
  if (item < cache->items && offset <= cache->item_bytes && bytes <= cache->item_bytes - offset)
    return TR_OK;
  return tr_fail(TR_EINTERNAL, "bytes %zu to %zu of kept item %zu, of %zu of %zu bytes", offset, offset + bytes, item,
                 cache->items, cache->item_bytes);
}

tr_status tr_cache_put(tr_cache *cache, size_t item, size_t offset, size_t bytes, const void *data) {
  TR_TRY(check_range(cache, item, offset, bytes));
  size_t at = item * cache->item_bytes + offset;
  if (cache->memory)
    memcpy(cache->memory + at, data, bytes);
  else if (tr_feature_file_write(cache->file, at, data, bytes) != TR_OK)
    atomic_store(&cache->states[item], LOST);
  return TR_OK;
}

void tr_cache_complete(tr_cache *cache, size_t item) {
  unsigned char absent = ABSENT;
  atomic_compare_exchange_strong(&cache->states[item], &absent, COMPLETE);
}

bool tr_cache_has(const tr_cache *cache, size_t item) {
  return item < cache->items && atomic_load(&cache->states[item]) == COMPLETE;
}

tr_status tr_cache_get(const tr_cache *cache, size_t item, size_t offset, size_t bytes, void *out) {
  TR_TRY(check_range(cache, item, offset, bytes));
  size_t at = item * cache->item_bytes + offset;
  if (!cache->memory)
    return tr_feature_file_read(cache->file, at, out, bytes);
  memcpy(out, cache->memory + at, bytes);
  return TR_OK;
}
