/* totalrecall: the public C API, and the only installed header.
 *
 * Errors. Functions return a tr_status; on failure tr_last_error() holds one sentence for the calling thread: what was
 * being done, to which file or tensor, what was expected and what was found. The library never prints and never exits.
 * Every create has a destroy that takes NULL.
 */
#ifndef TOTALRECALL_H
#define TOTALRECALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tr_status {
  TR_OK = 0,
  TR_EINVAL = -1,  /* an argument or a setting that cannot be */
  TR_EIO = -2,     /* the operating system refused: open, read, write, disk full */
  TR_EFORMAT = -3, /* a file is not what it should be */
  TR_ENOMEM = -4,  /* memory, or the given memory limit, does not suffice */
  TR_EDEVICE = -5, /* no such device, or a call to it failed */
  TR_ECANCELED = -6,
  TR_EINTERNAL = -7, /* a bug of ours */
} tr_status;

const char *tr_status_name(tr_status status);

/* The error text of the calling thread; "" before the first failure. Valid until its next failing call. */
const char *tr_last_error(void);

const char *tr_version(void);

/* ---- detectors: models that `totalrecall fit` wrote, ready to score images ----
 *
 * Threads. A detector may be used from several threads; they take turns. Detectors share nothing, and may work side by side. An image is
 * one core's work but for the search in the bank, which has `threads` of them; several detectors with one thread each score more
 * images a second. Creating one sets the number of threads of OpenBLAS (in the process) and OpenMP (in the calling thread) to 1.
 *
 * Memory. tr_detector_info.bytes is what a detector holds: the model, the weights as floats, and buffers for an image. Scoring
 * takes no more than that but for the image itself: decoded, and as floats at its size after the resize. Maps are the caller's.
 *
 * Same image, same bits: whatever was scored before, with any number of threads, and as `totalrecall score` and `run` have it.
 */
typedef struct tr_detector tr_detector;

typedef struct tr_detector_options {
  const char *model; /* file */
  const char
      *weights; /* of the backbone: a file, or a folder that is searched; others than the model was fitted with are refused */
  const char *device; /* "cpu", "cuda", "cuda:N"; NULL: "cpu" */
  int threads;        /* 0: as many as there are processors */
} tr_detector_options;

/* EIO, EFORMAT: a file that cannot be read or is not what it should be; EINVAL: other weights than the model's, with both hashes. */
tr_status tr_detector_create(const tr_detector_options *options, tr_detector **out);
void tr_detector_destroy(tr_detector *detector);

typedef struct tr_detector_info {
  const char *method, *backbone, *run; /* valid as long as the detector; run: all settings in a name */
  int map_h, map_w;                    /* of an anomaly map */
  size_t train_images;
  bool has_threshold;
  float threshold; /* above it an image is called anomalous; 0 without one */
  size_t bytes;    /* held on the device (the cpu: in memory) */
} tr_detector_info;
void tr_detector_describe(const tr_detector *detector, tr_detector_info *out);

/* Scores one image: RGB, 8 bits, [h, w, 3]. The higher, the more anomalous; scores of different models do not compare. map: NULL, or
 * [map_h, map_w] floats, the anomaly of every pixel after the model's resize and centre crop. EINVAL: no such image; EFORMAT: its size
 * after the resize is not that of the model, where the model does not crop. */
tr_status tr_detector_score(tr_detector *detector, const uint8_t *pixels, int h, int w, float *score, float *map);

/* The same from a file: PNG, JPEG or BMP. EIO and EFORMAT name it. */
tr_status tr_detector_score_file(tr_detector *detector, const char *path, float *score, float *map);

/* ---- memory banks that grow: as `totalrecall fit --append` and `bank merge`, which tell more ---- */

/* How large a bank is to be: the one that is not 0. */
typedef struct tr_bank_goal {
  double percent; /* of all training images' patches */
  size_t rows;
  double radius; /* no training patch farther than this from its nearest row, as the selection measures */
} tr_bank_goal;

/* Adds the nominal images of a folder to the bank of options->model and writes `path`, which may be that file: a detector without a
 * threshold. goal: NULL: new patches as near to a row as the old ones are. No row is dropped. EINVAL: a model whose rows were not selected greedily,
 * images of another size after the resize; else as tr_detector_create. */
tr_status tr_detector_append(const tr_detector_options *options, const char *folder, const tr_bank_goal *goal, const char *path);

/* One bank of several detectors' that were fitted with one setting and the same weights: all rows, or with a goal the ones that a greedy selection
 * takes of them. EINVAL says what they differ in. device: as of tr_detector_options. */
tr_status tr_detectors_merge(const char *const *models, size_t count, const tr_bank_goal *goal, const char *device, int threads,
                             const char *path);

#ifdef __cplusplus
}
#endif
#endif
