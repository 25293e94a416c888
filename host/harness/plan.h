/* The plan of a run: the grids of an experiment file times the classes as a tree
 *
 *   class -> image size -> pass of a backbone, which taps the union of the layers -> models -> runs
 *
 * in which all that is shared is done once: images are decoded for all backbones, maps are tapped for all models, features are made
 * for all runs of a model, and a run that several experiments ask for is one. What is finished is left out. A pass whose models do not
 * fit into memory together becomes several passes, and what the second one needs again is computed again or kept meanwhile, in memory
 * or in a file. */
#ifndef TR_HARNESS_PLAN_H
#define TR_HARNESS_PLAN_H

#include "datasets/dataset.h"
#include "host/backbone/graph.h"
#include "host/harness/experiment.h"
#include "host/harness/store.h"

typedef struct tr_plan_options {
  const char *data;          /* folder that holds the data sets; NULL: the working directory */
  const char *weights;       /* file or folder */
  const char *results;       /* folder */
  const char *machine;       /* the results' sub-folder */
  const char *scores, *maps; /* folders, or NULL. A finished run whose files are not there is computed again */
  const tr_strings *classes; /* only these; NULL or empty: the experiment's */
  int shard, shards;         /* this process has the shard-th of `shards` parts (plan_shards.c); 1, 1: all */
  size_t memory_limit;       /* bytes; 0: none, but models share a pass only as far as free memory goes */
  bool forecast_only;        /* weights that are not found and images that cannot be read are no error */
  tr_progress *progress;
} tr_plan_options;

/* Peak resident bytes of the process in each phase of a pass. */
typedef struct tr_forecast {
  size_t load_bytes, fit_bytes, score_bytes, metrics_bytes;
  size_t peak_bytes;    /* the largest of them */
  double backbone_macs; /* multiply-adds of one image */
} tr_forecast;

/* Seconds of a pass, of all its models and runs together, wall clock: expected or measured. Where it is measured, what a stage of its own is
 * not (loading, making models) is in the total alone. */
typedef struct tr_pass_seconds {
  double decode, backbone; /* of all images, training and test; of lanes that work side by side, the sum / lanes */
  double fit;              /* what is left of fitting: patch features, projections, selections, banks, indexes */
  double score;            /* what is left of scoring: patch features and searches */
  double metrics;          /* maps and metrics of all runs, and their files */
  double total;            /* expected: less than their sum where decoding goes on beside the rest */
} tr_pass_seconds;

/* A data set, known by its kind, split file and choice of frames. */
typedef struct tr_plan_source {
  const char *kind, *split_file;
  tr_frame_options frames;
  tr_dataset *dataset; /* NULL: not at hand, or not drawn yet */
  tr_strings outlined; /* names of the classes of a synthetic set that is not drawn yet */
} tr_plan_source;

typedef struct tr_plan_weights {
  const char *backbone;
  char *file;    /* NULL: not found */
  char *sha256;  /* hex */
  char *missing; /* why there is no file, or NULL */
  size_t bytes;
} tr_plan_weights;

/* What listing a class said; `error` instead where it failed. */
typedef struct tr_plan_class {
  const tr_plan_source *source;
  const char *name;
  size_t train_images, test_images, anomalous_images;
  int first_h, first_w, most_h, most_w; /* of the first and of the largest image */
  double mean_pixels;                   /* of an image */
  bool size_assumed;                    /* no image can be read */
  char *first_image;                    /* file */
  char *error;
} tr_plan_class;

typedef struct tr_plan_run {
  const tr_experiment *experiment; /* NULL: nobody asks for its line, it is an ensemble's member only */
  const tr_setting *setting;
  char *name;
  size_t variant;              /* of its model: runs of one name are one */
  const tr_result *finished;   /* NULL in a plan: its result, where there is nothing to do */
  bool member, nominal;        /* of an ensemble to be made: scores are kept; so are scores of nominal images */
  bool in_store;               /* its line exists, only files of scores or maps are missing */
  bool elsewhere;              /* `finished` is another experiment's line */
  double fit_macs, score_macs; /* of the plan's device, as if the run had a model to itself (tr_method_needs); of all positions */
} tr_plan_run;

/* One model and the runs that are its variants: they share features. */
typedef struct tr_group {
  tr_plan_run *runs;
  size_t run_count, variant_count;
  size_t train_images;         /* that the model sees, whole ones */
  size_t peak_bytes;           /* of a pass of its own */
  size_t positions;            /* models at a time (tr_pass), as far as this group's memory goes */
  int tap[TR_MAX_LAYERS];      /* each layer's place among the pass's taps */
  tr_aggregate_spec aggregate; /* with the taps' shapes */
  tr_keep keep;                /* of the training features; files are in $TMPDIR, or /tmp */
  tr_method_needs needs;       /* of these models; multiply-adds of all of the image's */
  double backbone_macs;        /* of one image as far as this model's layers go */
} tr_group;

/* Where one pass keeps what the next ones need, too (plan_keep.c). */
typedef enum tr_cache_place { TR_CACHE_NONE, TR_CACHE_MEMORY, TR_CACHE_FILE } tr_cache_place;

/* One pass of a backbone over the training and the test images of a class, and the models that are fitted and score on the way. */
typedef struct tr_pass {
  const tr_plan_class *class_;
  const tr_plan_weights *weights;
  tr_image_spec image;
  tr_tile_spec tile;
  tr_tiling tiling;                /* of its images; what the backbone gets are tiles */
  const char *layers[TR_MAX_TAPS]; /* shallow first */
  int layer_count;
  tr_group *groups;
  size_t group_count;
  size_t train_images; /* that go through the backbone, at most */
  size_t map_bytes;    /* of a tile's maps of all taps */
  size_t positions; /* of a bank per position: so many models of a group at a time, and images pass once for each lot; else 1 */
  tr_cache_place image_cache, map_cache;
  bool images_there, maps_there; /* an earlier pass made them */
  tr_forecast forecast;
  char *refused; /* why it cannot run, or NULL */
  size_t link;   /* passes of one number, not 0, give an ensemble's members */
} tr_pass;

/* Runs whose scores are averaged (host/harness/ensemble.h). */
typedef struct tr_plan_ensemble {
  tr_plan_run run;
  const tr_plan_class *class_;
  char **members; /* [run.setting->member_count]: names of runs of the class */
  char *weights;  /* the members' files and digests, joined by `+`; NULL where one is missing */
  char *sha256;
  tr_image_spec image;
  tr_tiling tiling;
  size_t peak_bytes;
  char *refused; /* why it cannot be made, or NULL */
} tr_plan_ensemble;

/* Layers of a backbone at an image size. */
typedef struct tr_plan_network {
  const char *backbone;
  const char *layers[TR_MAX_TAPS];
  int layer_count, in_h, in_w;
  int h[TR_MAX_TAPS], w[TR_MAX_TAPS], c[TR_MAX_TAPS]; /* of the taps */
  size_t bytes;
  double macs; /* of one image */
} tr_plan_network;

typedef struct tr_plan {
  tr_pass *passes; /* those of a class, of an image size of it, and of a backbone stand together */
  size_t pass_count;
  tr_plan_ensemble *ensembles; /* made when the passes of their members are done */
  size_t ensemble_count;
  size_t runs, finished_runs; /* of this shard: all, and those that need no work */
  tr_strings missing;         /* what is not at hand: data sets, weights; each told once */
  tr_results finished;        /* their results */
  tr_results copies;          /* of these, the lines that are other experiments' so far */
  size_t base_bytes;          /* resident before the first pass */
  tr_plan_source **sources;
  size_t source_count;
  tr_plan_weights **weights;
  size_t weights_count;
  tr_plan_class **classes;
  size_t class_count;
  tr_plan_network **networks;
  size_t network_count;
} tr_plan;

/* What is missing (weights, a data set, a class that cannot be listed) is told through options->progress and refuses the passes that
 * need it, unless nothing is left: then its error is the plan's. */
tr_status tr_plan_create(const tr_plan_options *options, tr_device *device, const tr_experiments *experiments, tr_plan **out);
void tr_plan_destroy(tr_plan *plan);

/* Writes the plan's copies into their experiments' files. */
tr_status tr_plan_write_copies(const tr_plan *plan, const tr_plan_options *options);

/* The files that --scores and --maps ask for of a run. */
bool tr_plan_files_there(const tr_plan_options *options, const char *run, const char *class_name);

/* Runs in a pass. */
size_t tr_pass_runs(const tr_pass *pass);

/* Models that a group of the pass has: one, or one for each position of a tile. */
size_t tr_pass_models(const tr_pass *pass);
/* Units (host/harness/feed.h) that one of them sees of an image. */
size_t tr_pass_units(const tr_pass *pass);

/* The model's options: `variants` has room for group->variant_count and must outlive the options. */
void tr_group_method_options(const tr_pass *pass, const tr_group *group, tr_device *device, tr_variant *variants,
                             tr_method_options *out);
tr_backbone_options tr_pass_backbone_options(const tr_pass *pass);

#endif
