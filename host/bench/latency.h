/* How long one waits for an image's score and map, stage by stage, and how many images a second there are 16 at a time. Stages are timed by
 * the device's clock, decoding and the whole by the host's. */
#ifndef TR_BENCH_LATENCY_H
#define TR_BENCH_LATENCY_H

#include "host/bench/machine.h"
#include "host/detector/detector.h"

enum { TR_LATENCY_BATCH = 16 };

typedef enum tr_latency_stage {
  TR_LATENCY_DECODE,     /* file to pixels */
  TR_LATENCY_PREPROCESS, /* resize, crop, normalise */
  TR_LATENCY_BACKBONE,
  TR_LATENCY_AGGREGATE, /* patch features */
  TR_LATENCY_SEARCH,
  TR_LATENCY_MAP, /* upsampled, smoothed, and brought to the host */
  TR_LATENCY_ALL, /* with what lies between the stages */
  TR_LATENCY_STAGES
} tr_latency_stage;
const char *tr_latency_stage_name(tr_latency_stage stage);

typedef struct tr_latency {
  size_t images, warm_up, samples;                                               /* different ones; scored before; timed */
  double p50[TR_LATENCY_STAGES], p95[TR_LATENCY_STAGES], p99[TR_LATENCY_STAGES]; /* seconds, one image at a time */
  double images_per_second;                                                      /* of batches, files to maps */
  size_t batches;
  tr_bench_machine machine; /* right after the single images */
} tr_latency;

/* At least `samples` images one at a time, all of them equally often, and half as many in batches. ECANCELED after tr_cancel_request. */
tr_status tr_latency_measure(tr_detector *detector, const tr_sample *images, size_t count, size_t samples, tr_latency *out);

/* One line of JSON without its newline, with the model, the machine and the libraries' versions; malloc'd. */
tr_status tr_latency_json(tr_detector *detector, const tr_latency *latency, char **out);

#endif
