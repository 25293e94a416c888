/* Items of one size that one pass makes and later passes read: resized images, tapped maps. In memory, or in a file without a name, which
 * is gone when the cache is destroyed or the process ends, however it ends. */
#ifndef TR_HARNESS_CACHE_H
#define TR_HARNESS_CACHE_H

#include "host/totalrecall.h"

typedef struct tr_cache tr_cache;

/* folder: of the file; NULL: memory. EIO: no room, or no such folder. */
tr_status tr_cache_create(size_t items, size_t item_bytes, const char *folder, tr_cache **out);
void tr_cache_destroy(tr_cache *cache);

/* From any thread; an item is written once. A part of it at a time, then tr_cache_complete. A disk that is full in spite of all is no
 * error: the item stays away. */
tr_status tr_cache_put(tr_cache *cache, size_t item, size_t offset, size_t bytes, const void *data);
void tr_cache_complete(tr_cache *cache, size_t item);
bool tr_cache_has(const tr_cache *cache, size_t item);
/* A part of an item that is there. */
tr_status tr_cache_get(const tr_cache *cache, size_t item, size_t offset, size_t bytes, void *out);

#endif
