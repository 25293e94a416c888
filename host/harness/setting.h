/* One point of an experiment's grid: everything that decides a number, but for the class and the weights. */
#ifndef TR_HARNESS_SETTING_H
#define TR_HARNESS_SETTING_H

#include "datasets/dataset.h"
#include "host/harness/tiling.h"
#include "host/methods/method.h"
#include "kernels/resize.h"

typedef enum tr_protocol { TR_PROTOCOL_OFFICIAL, TR_PROTOCOL_PAPER } tr_protocol;

/* How the members of an ensemble are made comparable before their mean is taken: official scales a member's image scores and maps
 * to [0, 1] by the least and greatest of all test images of a class (official-behaviour, section 1), so that an image's score
 * depends on the other test images; nominal uses scores of nominal training images only, as a deployed ensemble must. */
typedef enum tr_normalise { TR_NORMALISE_OFFICIAL, TR_NORMALISE_NOMINAL } tr_normalise;

/* Members of an ensemble at most. */
#define TR_MAX_MEMBERS 16

typedef struct tr_setting {
  tr_protocol protocol;
  const char *dataset;                    /* strings are the experiment's or static */
  const char *split_file;                 /* NULL: the data set's own */
  tr_frame_options frames;                /* of mstc, its step never 0; else zeros */
  const char *method, *backbone, *search; /* backbone of an ensemble: its members', joined by `+`; search: host/search/search.h */
  int nprobe, ef_search;                  /* of an index with lists, with a graph; else 0 */
  const char *layers[TR_MAX_LAYERS];      /* shallow first */
  int layer_count;                        /* 0 of an ensemble, whose members have their own */
  int train_images;                       /* as many nominal images drawn of each class by `seed` (low-shot); 0: all */
  tr_image_spec image;                    /* without a window */
  tr_tile_spec tile;                      /* of the image after `image` */
  int patch, stride;
  tr_aggregate_kind aggregate;
  int layer_dimension, dimension; /* 0 with TR_AGGREGATE_CONCAT, which keeps every channel */
  int projection;                 /* d* of the greedy selection; 0 without one */
  tr_subsampling subsampling;
  tr_distance distance;
  tr_image_score image_score;
  int neighbours;         /* b of Eq. 7; spade: K; else 1 */
  tr_placement placement; /* padim: of deeper layers; else nearest */
  tr_gallery gallery;     /* spade; else separate */
  /* How large the bank is, by one of these, the others 0; until it is normalised all may be 0. 100 % with TR_SUBSAMPLE_NONE. */
  double percent;
  int bank_rows;
  size_t bank_bytes;
  double radius, seconds; /* that end a greedy selection; 0: they do not */
  double sigma;           /* of the map's Gaussian, in pixels */
  double epsilon;         /* padim: on the covariance's diagonal; else 0 */
  uint64_t seed;
  const struct tr_setting *members; /* of an ensemble: normalised, without members; the experiments' memory */
  int member_count;                 /* 0: not an ensemble; else 2 to TR_MAX_MEMBERS */
  tr_normalise normalise;           /* of an ensemble; else official */
} tr_setting;

/* patchcore: the official command line's defaults; TR_PROTOCOL_PAPER differs in the distance and the image score. padim and
 * spade: those of their papers. `method` is one of tr_method_names(). */
void tr_setting_defaults(tr_protocol protocol, const char *method, tr_setting *out);

/* The layers that a method's paper taps, in the backbone's names: "layer2+layer3". */
const char *tr_setting_default_layers(const char *method, const char *backbone);

/* Values that decide nothing in this combination get one fixed value, so that equal work has an equal name. */
void tr_setting_normalise(tr_setting *setting);

/* What a model is given of a setting: its variant, and how features are made, without the shapes of the maps. */
tr_variant tr_setting_variant(const tr_setting *setting);
tr_aggregate_spec tr_setting_aggregate(const tr_setting *setting);

/* Name of a run in the official style, IM224_RN50V1_L2-3_P10_D1024-1024_PS-3_AN-1_S0. P10 is greedy 10 %, R5000 so many rows, B100M so
 * many bytes of them, P10-radius3.2-seconds60 what ends before; whatever else differs from the official protocol adds a suffix, so that distinct normalised settings (of one data set) have distinct names.
 * malloc'd; NULL when out of memory. */
char *tr_setting_run_name(const tr_setting *setting);

/* The same backbone pass over the same training images, and the same patch features: such settings can be variants of one model. An
 * ensemble shares none itself; its members do. */
bool tr_setting_shares_features(const tr_setting *a, const tr_setting *b);

/* The same resize and crop. */
bool tr_setting_same_image(const tr_image_spec *a, const tr_image_spec *b);

bool tr_setting_same_frames(const tr_frame_options *a, const tr_frame_options *b);

/* Of settings that share features: the same order of bank rows, of which each takes the first; or the same Gaussians. */
bool tr_setting_shares_selection(const tr_setting *a, const tr_setting *b);

/* "layer2+layer3"; of an ensemble its members' texts, joined by `/`. malloc'd; NULL when out of memory. */
char *tr_setting_layers_text(const tr_setting *setting);

const char *tr_protocol_name(tr_protocol protocol);
const char *tr_aggregate_name(tr_aggregate_kind kind);
const char *tr_subsampling_name(tr_subsampling subsampling);
const char *tr_distance_name(tr_distance distance);
const char *tr_image_score_name(tr_image_score score);
const char *tr_placement_name(tr_placement placement);
const char *tr_gallery_name(tr_gallery gallery);
const char *tr_normalise_name(tr_normalise normalise);
const char *tr_mask_rule_name(tr_mask_rule rule);
const char *tr_tile_bank_name(tr_tile_bank bank);

/* Names of the enum, in its order. */
const char *const *tr_normalise_names(size_t *count);
const char *const *tr_mask_rule_names(size_t *count);
const char *const *tr_tile_bank_names(size_t *count);

#endif
