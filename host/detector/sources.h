/* Where a detector's training images came from, in the order in which the model counts them: one folder of images after the other (one of a
 * fit, one more for every fit that was appended or merged). A bank row's patch number, image * patches + patch, leads to its image. */
#ifndef TR_DETECTOR_SOURCES_H
#define TR_DETECTOR_SOURCES_H

#include "datasets/dataset.h"

struct cJSON;

typedef struct tr_source {
  char *folder;      /* as it was given */
  tr_strings images; /* paths below it */
} tr_source;

typedef struct tr_sources {
  tr_source *items;
  size_t count; /* 0: not known, as of files from before this was kept */
} tr_sources;

tr_status tr_sources_add(tr_sources *sources, const char *folder, const tr_sample *samples, size_t count);
/* Those of `more` behind, copied. Images that go on in the folder that the last ones are of, as of the next shard, join its source. */
tr_status tr_sources_append(tr_sources *sources, const tr_sources *more, bool join);
void tr_sources_free(tr_sources *sources);
size_t tr_sources_images(const tr_sources *sources);

/* Image `image` of them all: its source, and its path below that one's folder. NULL: there are not so many. */
const char *tr_sources_image(const tr_sources *sources, size_t image, const tr_source **source);

/* As member "sources", a list of {folder, images: [path, ...]}; without one there are none. EFORMAT: a list that is none of these, or of
 * another number of images than `images`. */
tr_status tr_sources_to_json(const tr_sources *sources, struct cJSON *out);
tr_status tr_sources_from_json(const struct cJSON *json, size_t images, tr_sources *out);

#endif
