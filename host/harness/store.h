/* Results: results/<machine>/<experiment>.jsonl, one JSON object a line, appended and fsynced when a (run, class) ends.
 *
 * A line is written under a lock, and only where the file has no line of its run yet, so several processes may share a file
 * (host/harness/claim.h says what that relies on). A last line without its newline was torn by a crash: it is left out with a
 * warning, and cut off when the store is opened for writing. */
#ifndef TR_HARNESS_STORE_H
#define TR_HARNESS_STORE_H

#include "host/base/progress.h"
#include "host/harness/setting.h"

/* Measurements of operators (host/bench/bench.h) are kept beside the experiments' files; no experiment may have that name. */
#define TR_BENCH_NAME "bench"

typedef struct tr_run_seconds {
  double decode;           /* files to normalised images, training and test; lanes' seconds summed / lanes */
  double backbone;         /* as decode */
  double coreset;          /* of this variant's selection, which its percentages share; padim: factoring its covariances */
  double fit;              /* the training pass, wall clock, the former and the index */
  double index;            /* building the index; 0 with exact search */
  double nearest;          /* of this variant, lanes' seconds summed / lanes; padim: its distances */
  double search_per_image; /* nearest of one test image: throughput */
  double maps;             /* upsampling and smoothing of this variant */
  double metrics;          /* of this variant */
  double pass; /* wall clock from the beginning of the run's pass to its line: the last run's of a pass is all of it. NaN: of
                              an ensemble, or an older line */
  double score_per_image; /* decode + backbone + aggregation + nearest + maps of one test image: throughput, not latency */
} tr_run_seconds;

/* What was forecast before the run began, by rates that were measured then, of what the fields of the same names in tr_run_seconds are; so
 * what a pass's runs share (decode, backbone, a selection) stands in each of their lines, not to be added up. NaN: nothing was forecast (an
 * older line, an ensemble, a machine that could not be measured). */
typedef struct tr_run_forecast {
  double decode, backbone, coreset, nearest;
  double metrics; /* with maps */
  double pass;
} tr_run_forecast;

typedef struct tr_result {
  char *experiment, *run, *dataset, *class_name, *method, *backbone, *layers;
  char *weights, *weights_sha256; /* file name without its folder */
  char *protocol, *aggregate, *subsampling, *search, *distance, *image_score, *gallery, *placement, *split_file;
  char *searched_by; /* an index: tr_index_searched_by; NULL: exact search, and lines from before this was kept */
  char *normalise;   /* of an ensemble; else NULL */
  int resize, crop, squash, patch, stride, layer_dimension, target_dimension, projection, neighbours;
  int tile, tile_overlap;                    /* pixels; 0: images are not cut */
  char *tile_bank;                           /* NULL: images are not cut */
  int nprobe, ef_search;                     /* of an index; 0: none */
  int frame_step, frame_offset, tested_only; /* of mstc (tr_frame_options); else 0 */
  char *mask_rule;                           /* of mstc; else NULL */
  int low_shot;                              /* training images drawn, of which train_images is what there was; 0: all */
  double percent;                            /* of the patches; what the bank has, where it was not asked by percentage alone */
  double covering_radius;                    /* tr_model_info.cover */
  double sigma, epsilon;
  uint64_t seed;
  /* fractions; NaN: not defined, null in the file */
  double image_auroc, pixel_auroc, pixel_auroc_anomalous, pro, pro_anomalous_224, f1;
  double misclassified, false_positives, false_negatives; /* images at the F1-optimal threshold */
  double recall_at_1, distance_error;                     /* of an index: tr_model_info */
  size_t train_images, images, anomalous_images, regions, bank_rows, index_bytes;
  int dimension;
  tr_run_seconds seconds;
  tr_run_forecast forecast;
  /* Most resident bytes of the process, host memory alone on a GPU; since the pass of the run began, or, with several devices at work,
   * since the run of them all did, what the others do included. And what was forecast for the pass. */
  size_t peak_bytes, forecast_bytes;
  size_t
      device_peak_bytes; /* most memory that was allocated on the run's device, since its pass began; on the cpu a part of the above */
  double other_load; /* share of the machine's processor time, [0, 1], that other processes had while this was measured: since the
                        pass of the run began, until its line; NaN: not known (no /proc/stat) */
  char *device, *processor;
  int threads;
  char *version, *date;
} tr_result;

void tr_result_free(tr_result *result);

/* What makes two results the same piece of work. The run's name stands for its settings. */
typedef struct tr_run_key {
  const char *run, *dataset, *class_name, *weights_sha256;
  size_t train_images, images;
} tr_run_key;

tr_run_key tr_result_key(const tr_result *result);
bool tr_run_key_equal(const tr_run_key *a, const tr_run_key *b);

/* The name of the first number that two results of the same work do not agree on, to the last bit; NULL: they agree. Times, memory,
 * threads, device, version and date may differ. */
const char *tr_result_difference(const tr_result *a, const tr_result *b);

typedef struct tr_results {
  tr_result *items;
  size_t count, capacity;
} tr_results;

/* Appends the lines of one file; a line that cannot be read is left out with a warning to `progress`. A missing file is empty. */
tr_status tr_results_read(const char *path, tr_progress *progress, tr_results *out);
/* Appends a deep copy. */
tr_status tr_results_add_copy(tr_results *results, const tr_result *result);
/* The last result of that key, or NULL. */
const tr_result *tr_results_find(const tr_results *results, const tr_run_key *key);
void tr_results_free(tr_results *results);

/* One line without its newline; malloc'd. */
tr_status tr_result_to_json(const tr_result *result, char **out);
tr_status tr_result_from_json(const char *line, tr_result *out);

typedef struct tr_store tr_store;

/* Opens results/<machine>/<experiment>.jsonl for appending, makes the folders, cuts a torn line off, and tries with a scratch
 * file whether the folder takes data: an unwritable folder or a full disk shows before hours of work. `progress` must outlive the
 * store. */
tr_status tr_store_open(const char *results, const char *machine, const char *experiment, tr_progress *progress, tr_store **out);
/* A file that has no line then is removed, unless it is open elsewhere. */
void tr_store_close(tr_store *store);
const char *tr_store_path(const tr_store *store);
/* Where the file has a line of the same run, as another process may have written one meanwhile, that line stays alone; numbers that
 * differ from it are reported to the progress. On failure the file is as it was before. */
tr_status tr_store_append(tr_store *store, const tr_result *result);

/* The result of that key among all lines in the file by now, or NULL. It is valid until the next call. */
tr_status tr_store_find(tr_store *store, const tr_run_key *key, const tr_result **out);

/* Claims the work on `count` runs, or on none of them where another process, or another store of this one, works on one of them.
 * Closing the store lets all claims go, and so does the end of the process. */
tr_status tr_store_claim(tr_store *store, const tr_run_key *keys, size_t count, bool *claimed);
void tr_store_release(tr_store *store, const tr_run_key *keys, size_t count);

/* results/<machine>/<experiment>.jsonl; malloc'd. */
char *tr_store_file(const char *results, const char *machine, const char *experiment);

/* The folder's name for this machine: processor or GPU model and cores, "amd-epyc-2core". Never a host name. malloc'd. */
char *tr_machine_name(const char *device_description, int cores);

#endif
