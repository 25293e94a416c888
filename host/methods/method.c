/* The methods by name, and the names of their choices. */
#include "host/methods/method.h"

#include <string.h>

static const tr_method *const methods[] = {&tr_method_patchcore, &tr_method_padim, &tr_method_spade};
static const char *const names[] = {"patchcore", "padim", "spade"};

_Static_assert(sizeof methods / sizeof *methods == sizeof names / sizeof *names, "a name for each method");

void tr_method_needs_multiply(tr_method_needs *needs, size_t at_once, size_t models) {
  size_t other = needs->held_bytes > needs->score_bytes ? needs->held_bytes : needs->score_bytes;
  needs->fit_bytes += (at_once - 1) * other;
  needs->held_bytes *= at_once;
  needs->score_bytes *= at_once;
  needs->file_bytes *= at_once;
  needs->fit_macs *= (double)models;
  needs->score_macs *= (double)models;
  needs->gpu_fit_macs *= (double)models;
  needs->gpu_score_macs *= (double)models;
}

const tr_method *tr_method_find(const char *name) {
  for (size_t i = 0; i < sizeof methods / sizeof *methods; ++i)
    if (strcmp(methods[i]->name, name) == 0)
      return methods[i];
  return NULL;
}

const char *const *tr_method_names(size_t *count) {
  *count = sizeof names / sizeof *names;
  return names;
}

#define NAMES(function, ...)                         \
  const char *const *function(size_t *count) {       \
    static const char *const list[] = {__VA_ARGS__}; \
    *count = sizeof list / sizeof *list;             \
    return list;                                     \
  }
NAMES(tr_aggregate_names, "official", "concat")
NAMES(tr_subsampling_names, "greedy", "random", "learned", "none")
NAMES(tr_image_score_names, "max", "reweighted", "smoothed_max", "nearest_images")
NAMES(tr_distance_names, "squared", "euclidean")
NAMES(tr_placement_names, "nearest", "bilinear")
NAMES(tr_gallery_names, "separate", "concatenated")
