/* A method (patchcore, padim, spade) is fitted on the tapped feature maps of nominal images, image by image, and scores maps.
 *
 * One model is fitted for a list of variants that share the backbone, the layers and the image size (percentages and seeds of
 * PatchCore, channel draws of PaDiM, K of SPADE), so that shared work is done once. Images may arrive in any order and from
 * several lanes at once; what is fitted depends on their index alone.
 */
#ifndef TR_METHODS_METHOD_H
#define TR_METHODS_METHOD_H

#include "host/base/progress.h"
#include "host/methods/model_file.h"
#include "kernels/channels.h"

/* learned: basis proxies (the paper's Eq. 8), which are no rows of the features. */
typedef enum tr_subsampling { TR_SUBSAMPLE_GREEDY, TR_SUBSAMPLE_RANDOM, TR_SUBSAMPLE_LEARNED, TR_SUBSAMPLE_NONE } tr_subsampling;
/* smoothed_max is the maximum of the upsampled and smoothed map: whoever makes the maps takes it, and the method gives the patch
 * scores' maximum. */
typedef enum tr_image_score {
  TR_SCORE_MAX,
  TR_SCORE_REWEIGHTED,
  TR_SCORE_SMOOTHED_MAX,
  TR_SCORE_NEAREST_IMAGES, /* spade: mean distance to the K nearest training images */
} tr_image_score;
/* spade: what a position is looked for in, see spade.c */
typedef enum tr_gallery { TR_GALLERY_SEPARATE, TR_GALLERY_CONCATENATED } tr_gallery;
typedef enum tr_distance { TR_DISTANCE_SQUARED, TR_DISTANCE_EUCLIDEAN } tr_distance;

/* What is kept of the training features until the bank is made: all of them; or only what rows are selected by, while the features lie in
 * a file, or while none are and images with selected rows are fed once more. In the last two what rows are selected by lies in a file,
 * too, which is read in order. The model is the same, bit for bit. */
typedef enum tr_keep {
  TR_KEEP_FEATURES,
  TR_KEEP_IN_FILE,
  TR_KEEP_NOTHING,
  TR_KEEP_ALL_IN_FILES,
  TR_KEEP_PROJECTED_IN_FILE,
} tr_keep;

/* What differs from variant to variant. A method looks at what concerns it. */
typedef struct tr_variant {
  uint64_t seed;
  tr_image_score image_score;
  /* patchcore */
  tr_subsampling subsampling;
  /* How large the bank is: by one of these, the others 0. */
  double percent;    /* of the patches, (0, 100]; rows = floor(n * (percent / 100)), at least 1 */
  size_t bank_rows;  /* or all patches, if these are less */
  size_t bank_bytes; /* of the rows: floor(bytes / (4 * dimension)) of them */
  /* A greedy selection ends before that where every patch is within `radius` of a picked one (as the selection measures, kernels/coreset.h,
   * but one row at least), or after so many seconds: what is picked by then depends on the machine. 0: it does not. */
  double radius, seconds;
  int projection;        /* d* of the greedy selection; features of that dimension are not projected (official: 128) */
  tr_distance distance;  /* of patch scores: official squared, paper Euclidean */
  int neighbours;        /* b of Eq. 7; spade: K, of images */
  const char *search;    /* host/search/search.h; NULL: exact. Outlives the model */
  int nprobe, ef_search; /* of an index; 0: its own */
  /* padim */
  int dimension;          /* channels drawn of all tapped ones */
  tr_placement placement; /* of deeper layers on the first one's grid */
  double epsilon;         /* added to the covariance's diagonal */
} tr_variant;

/* What all variants of a model share. */
typedef struct tr_method_options {
  tr_device *device;
  tr_aggregate_spec aggregate; /* shapes of the taps, p, stride, dimensions */
  int in_h, in_w;              /* of the images that the backbone gets */
  tr_gallery gallery;          /* spade */
  size_t train_images;
  const tr_variant *variants;
  size_t variant_count;
  tr_keep keep;          /* what a method, or a variant of it, needs nevertheless is kept */
  const char *folder;    /* of the files of tr_keep; NULL: /tmp */
  size_t beside_bytes;   /* of the device's free memory, what others will take */
  bool loads;            /* a forecast of a model that a file has: an index is not built */
  bool measure_cover;    /* patchcore, greedy selections: find tr_model_info.cover */
  tr_progress *progress; /* may be NULL */
} tr_method_options;

typedef struct tr_model tr_model;

/* Seconds and sizes of one variant, for its result line. */
typedef struct tr_model_info {
  size_t bank_rows;
  int dimension;
  /* The covering radius: no training patch is farther from its nearest bank row, Euclidean, as the selection sees them (projected). NaN: not
   * measured, or no greedy selection. */
  double cover;
  double coreset_seconds, nearest_seconds; /* summed over calls; lanes count together / lanes. padim: factors, distances */
  double aggregate_seconds;                /* of the scored images, shared by all variants; summed likewise */
  /* Of a variant that searches an index, else 0: building it, its bytes as a file. And, over all patches scored by now, the share for
   * which it found a nearest bank row, and the mean of |distance found - exact| / exact, both Euclidean (exact distances of 0 count as
   * right or are left out); NaN where nothing was compared: exact search, and a loaded model. */
  double index_seconds;
  size_t index_bytes;
  const char *searched_by; /* tr_index_searched_by; NULL: no index */
  double recall_at_1, distance_error;
} tr_model_info;

/* What fitting and scoring all variants takes, without the backbone: bytes held while the training images pass (until fit_end), peak bytes
 * of fitting and of scoring, all on the device, with the host memory that stands in where the device has no room; multiply-adds of what
 * comes on top
 * of the passes over the images (selections, factors) and of scoring all test images, by the time that they take the cpu, whose operators
 * leave most of a search out, and as whole products, on a GPU; and what patch scores are of. */
typedef struct tr_method_needs {
  int grid_h, grid_w; /* positions of an image that are scored */
  int dimension;      /* of their features */
  size_t held_bytes, fit_bytes, score_bytes;
  size_t file_bytes; /* on disk, while fitting */
  bool again;        /* images are fed once more */
  double fit_macs, score_macs;
  double gpu_fit_macs, gpu_score_macs;
} tr_method_needs;

typedef struct tr_method {
  const char *name;
  tr_status (*create)(const tr_method_options *options, tr_model **out);
  void (*destroy)(tr_model *model);
  /* maps[i]: device, tap i of images [first, first + n). Called from lane `lane`. */
  tr_status (*fit_images)(tr_model *model, int lane, size_t first, size_t n, const float *const *maps);
  tr_status (*fit_end)(tr_model *model);
  /* After fit_end: whether images must be fed once more, with their indices as before, and fit_end called again; marks them in
   * images[train_images]. NULL: never. */
  bool (*wants_again)(const tr_model *model, uint8_t *images);
  /* patch_scores: host, [variant][n][grid_h * grid_w] at `variant_stride` floats; image_scores: host, [variant][n] likewise
   * at `image_stride`. Called from lane `lane`. Where there is a score_end, scores may be written as late as that. */
  tr_status (*score_images)(tr_model *model, int lane, size_t n, const float *const *maps, float *patch_scores,
                            size_t variant_stride, float *image_scores, size_t image_stride);
  /* A training image against what of a variant's bank is not its own: how a nominal image scores that the model does not know. Its own rows
   * are those of images [first, first + count): the tiles of an image are images to a model that sees them all, and they overlap. patch_scores:
   * host, [grid_h * grid_w]. One call at a time, not beside score_images. NULL where there is no bank; EINVAL where its rows are no image's
   * (learned) or all of them its own. */
  tr_status (*score_own)(tr_model *model, size_t variant, size_t first, size_t count, const float *const *maps,
                         float *patch_scores, float *image_score);
  /* After the last of some images, not from a lane: their scores are complete. NULL where they are at once. */
  tr_status (*score_end)(tr_model *model);
  tr_status (*info)(const tr_model *model, size_t variant, tr_model_info *out);
  /* Bank rows of a variant in selection order as patch indices (image * patches + patch); NULL where it has no bank, or one of all
   * rows in their own order or of rows that are no patches. */
  const uint32_t *(*bank_order)(const tr_model *model, size_t variant, size_t *rows);
  tr_status (*forecast)(const tr_method_options *options, size_t test_images, tr_method_needs *out);
  /* After fit_end, a variant as a file (host/methods/model_file.h); `about` is a JSON object as text, or NULL, which the file carries for
   * whoever reads it. Loaded, it is the only variant of a model that scores to the same bits; the file may be closed then. NULL: a method without files. */
  tr_status (*save)(const tr_model *model, size_t variant, const char *path, const char *about);
  tr_status (*load)(tr_device *device, const tr_model_file *file, tr_model **out);
} tr_method;

/* Names of choices, in the order of their enums. */
const char *const *tr_aggregate_names(size_t *count);
const char *const *tr_subsampling_names(size_t *count);
const char *const *tr_image_score_names(size_t *count);
const char *const *tr_distance_names(size_t *count);
const char *const *tr_placement_names(size_t *count);
const char *const *tr_gallery_names(size_t *count);

/* Bank rows that a variant of patchcore asks for, or allows. EINVAL: by not one way, or none. */
tr_status tr_variant_rows(const tr_variant *variant, size_t patches, int dimension, size_t *rows);

/* From what one model needs to what `models` of them do that are fitted one after the other, `at_once` of them there at a time. */
void tr_method_needs_multiply(tr_method_needs *needs, size_t at_once, size_t models);

const tr_method *tr_method_find(const char *name); /* NULL when unknown */
const char *const *tr_method_names(size_t *count);
extern const tr_method tr_method_patchcore, tr_method_padim, tr_method_spade;

#endif
