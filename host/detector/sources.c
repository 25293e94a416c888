/* Training images by name. */
#include "host/detector/sources.h"
#include "host/base/status.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

static tr_status no_memory(void) {
  return tr_fail(TR_ENOMEM, "names of training images: out of memory");
}

static tr_status add_source(tr_sources *sources, const char *folder, tr_source **out) {
  tr_source *grown = realloc(sources->items, (sources->count + 1) * sizeof *grown);
  if (!grown)
    return no_memory();
  sources->items = grown;
  grown[sources->count] = (tr_source){.folder = strdup(folder)};
  if (!grown[sources->count].folder)
    return no_memory();
  *out = &grown[sources->count++];
  return TR_OK;
}

/* What stands behind "folder/" in the path; the path where it does not begin so. */
static const char *below(const char *folder, const char *path) {
  size_t length = strlen(folder);
  while (length > 1 && folder[length - 1] == '/')
    --length;
  if (strncmp(path, folder, length) != 0 || (path[length] != '/' && folder[length - 1] != '/'))
    return path;
  path += length;
  while (*path == '/')
    ++path;
  return path;
}

tr_status tr_sources_add(tr_sources *sources, const char *folder, const tr_sample *samples, size_t count) {
  tr_source *source;
  TR_TRY(add_source(sources, folder, &source));
  for (size_t i = 0; i < count; ++i)
    TR_TRY(tr_strings_add(&source->images, below(folder, samples[i].path)));
  return TR_OK;
}

tr_status tr_sources_append(tr_sources *sources, const tr_sources *more, bool join) {
  for (size_t i = 0; i < more->count; ++i) {
    const tr_source *from = &more->items[i];
    tr_source *to = join && sources->count ? &sources->items[sources->count - 1] : NULL;
    if (!to || strcmp(to->folder, from->folder) != 0)
      TR_TRY(add_source(sources, from->folder, &to));
    for (size_t k = 0; k < from->images.count; ++k)
      TR_TRY(tr_strings_add(&to->images, from->images.items[k]));
  }
  return TR_OK;
}

void tr_sources_free(tr_sources *sources) {
  for (size_t i = 0; i < sources->count; ++i) {
    free(sources->items[i].folder);
    tr_strings_free(&sources->items[i].images);
  }
  free(sources->items);
  *sources = (tr_sources){0};
}

size_t tr_sources_images(const tr_sources *sources) {
  size_t images = 0;
  for (size_t i = 0; i < sources->count; ++i)
    images += sources->items[i].images.count;
  return images;
}

const char *tr_sources_image(const tr_sources *sources, size_t image, const tr_source **source) {
  for (size_t i = 0; i < sources->count; ++i) {
    *source = &sources->items[i];
    if (image < (*source)->images.count)
      return (*source)->images.items[image];
    image -= (*source)->images.count;
  }
  *source = NULL;
  return NULL;
}

/* ---- JSON ---- */

static bool add_image(cJSON *list, const char *image) {
  return cJSON_AddItemToArray(list, cJSON_CreateString(image));
}

tr_status tr_sources_to_json(const tr_sources *sources, cJSON *out) {
  if (!sources->count)
    return TR_OK;
  cJSON *list = cJSON_AddArrayToObject(out, "sources");
  for (size_t i = 0; i < sources->count; ++i) {
    const tr_source *source = &sources->items[i];
    cJSON *object = cJSON_CreateObject(), *images = cJSON_AddArrayToObject(object, "images");
    bool complete = images && cJSON_AddStringToObject(object, "folder", source->folder) && cJSON_AddItemToArray(list, object);
    if (!complete) {
      cJSON_Delete(object);
      return no_memory();
    }
    for (size_t k = 0; k < source->images.count; ++k)
      if (!add_image(images, source->images.items[k]))
        return no_memory();
  }
  return TR_OK;
}

static tr_status read_source(const cJSON *item, tr_sources *out) {
  const char *folder = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "folder"));
  const cJSON *images = cJSON_GetObjectItemCaseSensitive(item, "images"), *image;
  tr_source *source;
  if (!folder || !cJSON_IsArray(images))
    return tr_fail(TR_EFORMAT, "\"sources\": expected \"folder\" and \"images\" of each");
  TR_TRY(add_source(out, folder, &source));
  cJSON_ArrayForEach(image, images) {
    if (!cJSON_IsString(image))
      return tr_fail(TR_EFORMAT, "\"sources\": expected paths as \"images\"");
    TR_TRY(tr_strings_add(&source->images, image->valuestring));
  }
  return TR_OK;
}

static tr_status read_list(const cJSON *list, size_t images, tr_sources *out) {
  const cJSON *item;
  if (!cJSON_IsArray(list))
    return tr_fail(TR_EFORMAT, "\"sources\": expected a list");
  cJSON_ArrayForEach(item, list) TR_TRY(read_source(item, out));
  if (tr_sources_images(out) != images)
    return tr_fail(TR_EFORMAT, "\"sources\": expected the model's %zu images, found %zu", images, tr_sources_images(out));
  return TR_OK;
}

tr_status tr_sources_from_json(const cJSON *json, size_t images, tr_sources *out) {
  const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "sources");
  *out = (tr_sources){0};
  tr_status status = list ? read_list(list, images, out) : TR_OK;
  if (status != TR_OK)
    tr_sources_free(out);
  return status;
}
