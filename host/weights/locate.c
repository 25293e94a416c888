/* Which file holds the weights of an architecture. */
#include "host/base/status.h"
#include "host/weights/internal.h"

#include <stdlib.h>

/* The metadata `arch` of a safetensors file; NULL where there is none, and for other formats. The caller frees it. */
static tr_status read_arch(const char *path, char **arch) {
  *arch = NULL;
  tr_mapping file;
  TR_TRY(tr_file_map(path, &file));
  tr_status status = TR_OK;
  if (file.bytes > 8 && file.data[8] == '{') {
    tr_weights *weights;
    status = tr_weights_open_memory(path, file.data, file.bytes, &weights);
    const char *value = status == TR_OK ? tr_weights_metadata(weights, "arch") : NULL;
    if (value && !(*arch = strdup(value)))
      status = tr_fail(TR_ENOMEM, "reading weights from %s: out of memory", path);
    tr_weights_close(weights);
  }
  tr_file_unmap(&file);
  return status;
}

static bool is_dash(char c) {
  return c == '-' || c == '_';
}

/* What follows `word` (with "-" and "_" alike) at the beginning of text, when the word ends there; else NULL. */
static const char *after_word(const char *text, const char *end, const char *word) {
  for (; *word; ++word, ++text)
    if (text == end || (*text != *word && !(is_dash(*text) && is_dash(*word))))
      return NULL;
  return text == end || is_dash(*text) ? text : NULL;
}

static const char *extension_of(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot && (strcmp(dot, ".pth") == 0 || strcmp(dot, ".safetensors") == 0) ? dot : NULL;
}

/* "resnet50-0676ba61.pth" is resnet50's; "resnet50_v1_imagenet.safetensors" is not, as a "v1" makes it another architecture. */
static bool is_named_for(const char *name, const char *architecture) {
  const char *end = extension_of(name);
  const char *rest = end ? after_word(name, end, architecture) : NULL;
  return rest && (rest == end || !after_word(rest + 1, end, "v1"));
}

typedef struct tr_candidates {
  tr_strings by_arch, by_name;
} tr_candidates;

static tr_status consider(const char *folder, const char *name, const char *architecture, tr_candidates *candidates) {
  if (!extension_of(name))
    return TR_OK;
  char *path = tr_format("%s/%s", folder, name), *arch = NULL;
  tr_status status = path ? TR_OK : tr_fail(TR_ENOMEM, "looking into %s: out of memory", folder);
  if (status == TR_OK && tr_is_file(path)) {
    /* A damaged file is told from its name alone: it is either not the one, or opening it will say what is wrong. */
    if (read_arch(path, &arch) == TR_ENOMEM)
      status = TR_ENOMEM;
    else if (arch ? strcmp(arch, architecture) == 0 : is_named_for(name, architecture))
      status = tr_strings_add(arch ? &candidates->by_arch : &candidates->by_name, path);
  }
  free(arch);
  free(path);
  return status;
}

static tr_status choose(const char *folder, const char *architecture, const tr_candidates *candidates, char **file) {
  const tr_strings *list = candidates->by_arch.count > 0 ? &candidates->by_arch : &candidates->by_name;
  if (list->count == 0)
    return tr_fail(TR_EIO,
                   "looking for weights of %s in %s: found no .safetensors file whose metadata \"arch\" is %s, and no file named "
                   "%s.pth, %s-*.pth, %s.safetensors or %s-*.safetensors (\"-\" or \"_\")",
                   architecture, folder, architecture, architecture, architecture, architecture, architecture);
  if (list->count > 1)
    return tr_fail(TR_EINVAL, "looking for weights of %s in %s: expected one file, found %zu (%s, %s%s); give the file itself",
                   architecture, folder, list->count, list->items[0], list->items[1], list->count > 2 ? ", ..." : "");
  *file = strdup(list->items[0]);
  return *file ? TR_OK : tr_fail(TR_ENOMEM, "looking for weights in %s: out of memory", folder);
}

static tr_status locate_in_folder(const char *folder, const char *architecture, char **file) {
  tr_strings names;
  TR_TRY(tr_folder_list(folder, &names));
  tr_candidates candidates = {0};
  tr_status status = TR_OK;
  for (size_t i = 0; i < names.count && status == TR_OK; ++i)
    status = consider(folder, names.items[i], architecture, &candidates);
  if (status == TR_OK)
    status = choose(folder, architecture, &candidates, file);
  tr_strings_free(&candidates.by_arch);
  tr_strings_free(&candidates.by_name);
  tr_strings_free(&names);
  return status;
}

tr_status tr_weights_locate(const char *path, const char *architecture, char **file) {
  *file = NULL;
  if (tr_is_folder(path))
    return locate_in_folder(path, architecture, file);
  char *arch;
  TR_TRY(read_arch(path, &arch));
  tr_status status = TR_OK;
  if (arch && strcmp(arch, architecture) != 0) {
    char shown[TR_PRINTABLE_BYTES];
    status = tr_fail(TR_EFORMAT, "weights of %s: %s holds those of %s, as its metadata says", architecture, path,
                     tr_printable(shown, arch, strlen(arch)));
  } else if (!(*file = strdup(path)))
    status = tr_fail(TR_ENOMEM, "weights of %s: out of memory", architecture);
  free(arch);
  return status;
}
