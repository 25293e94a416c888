/* What the parts of PatchCore share; inside host/methods only. */
#ifndef TR_METHODS_PATCHCORE_H
#define TR_METHODS_PATCHCORE_H

#include "host/methods/method.h"
#include "host/methods/picks.h"
#include "host/search/search.h"

#include <pthread.h>

/* Rows in selection order, for all variants of one (kind, seed, projection), and number of rows where they are learned. */
typedef struct tr_selection {
  tr_subsampling kind;
  uint64_t seed;
  int projection;
  bool stops; /* may end early */
  double stop_radius, stop_seconds;
  size_t rows;     /* most that any variant wants; when it has ended early, most that any gets */
  uint32_t *order; /* [rows]; NULL for the whole bank in its own order, and for rows that are no patches */
  bool in_host;    /* the bank */
  /* where not all features are kept */
  float *matrix, *projected;       /* device, until rows are selected: [projection, d], [train_rows, projection] */
  tr_feature_file *projected_file; /* in place of `projected` */
  tr_picks *picks;                 /* until the bank is made */
  tr_bank *bank;
  double seconds;
  size_t *prefixes; /* when there are scores: rows that exact searches are of, each once, ascending */
  size_t prefix_count;
} tr_selection;

/* An index over the first `rows` rows of a selection's bank. */
typedef struct tr_prefix_index {
  size_t selection, rows;
  double radius; /* that ends the selection for it */
  const char *search;
  tr_index *index;
} tr_prefix_index;

#define TR_NONE SIZE_MAX /* no index, no reference */

/* Nearest neighbours: of the first `rows` rows of a selection's bank, or by an index over them. */
typedef struct tr_search {
  size_t selection, rows;
  double radius;    /* that ends the selection for it; 0: `rows` alone does */
  double cover;     /* tr_model_info */
  size_t index;     /* TR_NONE: exact */
  size_t reference; /* the exact search, earlier in the list, that this one is compared with; TR_NONE */
  bool is_reference;
  tr_effort effort;
  size_t prefix;  /* exact: which of the selection's */
  double seconds; /* of all lanes together, for so many queries: by itself, not in one pass with others */
  size_t timed;
  /* Sums over images, whole numbers so that their order does not matter. */
  uint64_t compared, right, measured;
  int64_t error; /* in units of TR_ERROR_UNIT */
} tr_search;

#define TR_ERROR_UNIT 0x1p-32

/* What an exact search found for a chunk: host, [chunk * patches]. */
typedef struct tr_reference {
  float *distances;
  uint32_t *indices;
} tr_reference;

typedef struct tr_lane_buffers {
  void *aggregate_scratch;
  float *features;                   /* [chunk * patches, d] */
  float *host_features;              /* as these, on their way to the file */
  float *projected, *host_projected; /* as these, by the widest projection */
  float *distances; /* [most prefixes, chunk * patches]; a pass may have fewer queries, which then follow each other */
  uint32_t *indices;
  void *search_scratch, *reweight_scratch;
  float *image_scores; /* device, [chunk] */
  float *host_distances;
  uint32_t *host_indices; /* [chunk * patches] */
  size_t passes;
  void *index_scratch;      /* host */
  tr_reference *references; /* [search_count] */
} tr_lane_buffers;

struct tr_model {
  tr_device *device;
  tr_aggregate_spec aggregate;
  tr_progress *progress;
  tr_variant *variants;
  size_t variant_count;
  size_t *variant_search;
  tr_selection *selections;
  size_t selection_count;
  tr_search *searches;
  size_t search_count;
  tr_prefix_index *indexes;
  size_t index_count;
  char *loaded_search; /* of a loaded model's variant */
  size_t given_rows;   /* of a loaded bank that has not the variant's percentage (host/detector/bank.h, grow.h); 0: it has */
  size_t patches, train_rows;
  int d;
  size_t chunk;
  int lanes;
  tr_lane_buffers *buffers;
  float *features; /* [train_rows, d] until fit_end: the device's, or page-locked host memory */
  bool features_in_host, measure_cover;
  tr_keep keep;
  enum { FITTING, FITTING_AGAIN, FITTED } phase;
  tr_feature_file *file;
  size_t tile_rows;         /* of banks in host memory */
  double aggregate_seconds; /* of scored images, all lanes together */
  size_t scored;            /* queries */
  pthread_mutex_t lock;     /* of the searches' sums and of the seconds */
};

void tr_patchcore_destroy(tr_model *model);

/* patchcore_plan.c: shapes, variants, selections and searches, all that costs no memory to speak of. compare: indexes are built, and compared
 * with exact searches; else they come from a file. */
tr_status tr_patchcore_plan(const tr_method_options *options, bool compare, tr_model **out);

/* patchcore_memory.c */

/* Moves to host memory what `free_bytes` of the device have no room for: when nothing is left to move, allocating says what is missing. */
void tr_patchcore_place(tr_model *model, size_t free_bytes, bool fitting);
/* What the device has free for the model. */
size_t tr_patchcore_room(const tr_method_options *options);
void tr_patchcore_say_placement(const tr_model *model);
/* Whether a greedy selection's rows are projected; whether what it selects by lies beside the features, projected or copied to the device. */
bool tr_patchcore_projects(const tr_model *model, const tr_selection *s);
bool tr_patchcore_selects_by_copy(const tr_model *model, const tr_selection *s);
/* Of a selection's bank in host memory. */
size_t tr_patchcore_tile_rows(const tr_model *model, const tr_selection *s);
/* Bytes: of all training features, of a lane's; of a lane's scratch for all searches and variants. And most exact searches of a selection. */
size_t tr_patchcore_features_bytes(const tr_model *model);
size_t tr_patchcore_lane_features_bytes(const tr_model *model);
size_t tr_patchcore_search_scratch(const tr_model *model);
size_t tr_patchcore_most_prefixes(const tr_model *model);
size_t tr_patchcore_reweight_scratch(const tr_model *model);
bool tr_patchcore_features_in_file(const tr_model *model);
bool tr_patchcore_projected_in_file(const tr_model *model);
size_t tr_patchcore_lane_projected_bytes(const tr_model *model);
/* Of all images, by a selection's projection. */
size_t tr_patchcore_projected_bytes(const tr_model *model, const tr_selection *s);
tr_status tr_patchcore_forecast(const tr_method_options *options, size_t test_images, tr_method_needs *out);

/* patchcore.c */

tr_status tr_patchcore_allocate_aggregate(tr_model *model);
/* features: device, [n * patches, d]. */
tr_status tr_patchcore_aggregate(const tr_model *model, int lane, size_t n, const float *const *maps, float *features);

/* patchcore_select.c */

/* From all features: rows by their order, or learned ones; and their bank. */
tr_status tr_patchcore_select(tr_model *model, tr_selection *s);
tr_status tr_patchcore_learn(tr_model *model, tr_selection *s);
/* Where not all features are kept: what a selection needs before the first image (random rows are known from the start); what it needs of
 * some images' features; its order, from projected features; its bank, from rows that came together. */
tr_status tr_patchcore_prepare(tr_model *model, tr_selection *s, const char *folder);
tr_status tr_patchcore_take_images(const tr_model *model, tr_selection *s, int lane, size_t first, size_t n,
                                   const float *features);
tr_status tr_patchcore_select_projected(tr_model *model, tr_selection *s);
tr_status tr_patchcore_bank_of_picks(const tr_model *model, tr_selection *s);
/* Of rows in host memory (tr_device_alloc_pinned), which it takes over. */
tr_status tr_patchcore_bank_from_host(const tr_model *model, tr_selection *s, float *rows);

/* patchcore_score.c */

/* When all banks and indexes are there. */
tr_status tr_patchcore_allocate_scores(tr_model *model);
tr_status tr_patchcore_score_images(tr_model *model, int lane, size_t n, const float *const *maps, float *patch_scores,
                                    size_t variant_stride, float *image_scores, size_t image_stride);
tr_status tr_patchcore_score_own(tr_model *model, size_t variant, size_t first, size_t count, const float *const *maps,
                                 float *patch_scores, float *image_score);

/* patchcore_file.c */

tr_status tr_patchcore_save(const tr_model *model, size_t variant, const char *path, const char *about);
tr_status tr_patchcore_load(tr_device *device, const tr_model_file *file, tr_model **out);

#endif
