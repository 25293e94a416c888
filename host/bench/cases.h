/* What bench.c runs: a function of cases for each operator.
 *
 * Shapes are those of MVTec bottle through ResNet50 (layer2 28x28x512, layer3 14x14x1024 at 224 pixels), the patches of 120 training
 * images (94,080), and a bank of 16,385 rows. Operators that work on images run in the device's lanes, a chunk a call, as the
 * harness runs them; those that work on banks have all threads. */
#ifndef TR_BENCH_CASES_H
#define TR_BENCH_CASES_H

#include "host/backbone/graph.h"
#include "host/bench/bench.h"

enum { TR_BENCH_MEMORY = 48 };

/* A run of cases. */
typedef struct tr_bench {
  const tr_bench_options *options;
  tr_device *device;
  size_t chunk, lanes; /* images of a call, calls side by side */
  tr_bench_limits limits;
  void *memory[TR_BENCH_MEMORY]; /* device */
  size_t memories;
  tr_bench_row last; /* as measured */
} tr_bench;

typedef enum tr_bench_mode {
  TR_BENCH_IMAGES, /* items are images, a chunk of them a call, calls in every lane */
  TR_BENCH_LANES,  /* an item is a call, calls in every lane */
  TR_BENCH_WHOLE,  /* an item is a call that has all threads to itself */
} tr_bench_mode;

/* One thing to time. fn queues the work of a call, as tr_device_for_chunks asks. */
typedef struct tr_bench_case {
  const char *name, *shape;
  tr_bench_mode mode;
  double flops, bytes; /* of an item */
  bool transfer;       /* between host and device, for which there is no limit */
  tr_chunk_fn fn;
  void *context;
} tr_bench_case;

/* Measures; the row is in bench->last, and handed on unless `quietly`. */
tr_status tr_bench_measure(tr_bench *bench, const tr_bench_case *item, bool quietly);

/* Device memory until tr_bench_release, which is called at the end of each group too. */
tr_status tr_bench_alloc(tr_bench *bench, size_t bytes, void **out);
void tr_bench_release(tr_bench *bench);
/* Uniform in [0, 1), of (seed, index) alone. */
tr_status tr_bench_noise(tr_bench *bench, size_t count, uint64_t seed, float **out);
/* [rows, d], like patch features: not negative, near a subspace of a few dimensions whose weights fall off. */
tr_status tr_bench_features(tr_bench *bench, size_t rows, int d, uint64_t seed, float **out);

/* The same bytes for every lane: lane i's begin at i * *lane_bytes, rounded up to whole lines. */
tr_status tr_bench_alloc_lanes(tr_bench *bench, size_t bytes, size_t *lane_bytes, void **out);

static inline void *tr_bench_at_lane(const void *memory, int lane, size_t lane_bytes) {
  return memory ? (char *)memory + (size_t)lane * lane_bytes : NULL;
}

#define TR_BENCH_FLOAT ((double)sizeof(float)) /* bytes */

static inline int tr_bench_side(const tr_bench *bench) {
  return bench->options->quick ? 64 : 224;
}
static inline int tr_bench_dimension(const tr_bench *bench) {
  return bench->options->quick ? 256 : 1024;
}
static inline size_t tr_bench_bank_rows(const tr_bench *bench) {
  return bench->options->quick ? 1025 : 16385;
}
static inline size_t tr_bench_training_rows(const tr_bench *bench) {
  return bench->options->quick ? 2000 : 94080;
}

/* A backbone with random weights, and images and taps for every lane; *bytes: of an image and its taps. */
typedef struct tr_bench_network {
  tr_backbone *backbone; /* the caller's to destroy */
  float *images, *taps[TR_MAX_LAYERS];
  size_t image_bytes, tap_bytes[TR_MAX_LAYERS]; /* of a lane */
  int layers;
} tr_bench_network;
tr_status tr_bench_network_prepare(tr_bench *bench, const tr_backbone_options *options, tr_bench_network *out, double *bytes);
void tr_bench_network_taps(const tr_bench_network *network, int lane, float *taps[TR_MAX_LAYERS]);
tr_status tr_bench_network_run(void *network, size_t first, size_t count, int lane); /* a tr_chunk_fn */

/* Rows in host memory (malloc'd): the bank's and an image's patches, from the files that the options name, or made up. */
typedef struct tr_bench_rows {
  float *host; /* [n, d] */
  size_t n, d;
} tr_bench_rows;
tr_status tr_bench_search_rows(tr_bench *bench, tr_bench_rows *bank, tr_bench_rows *queries);

/* Every row of an operator. */
tr_status tr_bench_copy(tr_bench *bench);
tr_status tr_bench_resize(tr_bench *bench);
tr_status tr_bench_conv(tr_bench *bench);
tr_status tr_bench_backbone(tr_bench *bench);
tr_status tr_bench_pool(tr_bench *bench);
tr_status tr_bench_affine(tr_bench *bench);
tr_status tr_bench_aggregate(tr_bench *bench);
tr_status tr_bench_project(tr_bench *bench);
tr_status tr_bench_coreset(tr_bench *bench);
tr_status tr_bench_nearest(tr_bench *bench);
tr_status tr_bench_search(tr_bench *bench);
tr_status tr_bench_ivf(tr_bench *bench);
tr_status tr_bench_reweight(tr_bench *bench);
tr_status tr_bench_squared_norms(tr_bench *bench);
tr_status tr_bench_channels(tr_bench *bench);
tr_status tr_bench_gaussian(tr_bench *bench);
tr_status tr_bench_padim(tr_bench *bench);
tr_status tr_bench_upsample(tr_bench *bench);
tr_status tr_bench_mosaic(tr_bench *bench);
tr_status tr_bench_smooth(tr_bench *bench);
tr_status tr_bench_sort_scan(tr_bench *bench);

/* The fastest there is of each, measured quietly. */
tr_status tr_bench_fastest_copy(tr_bench *bench);
tr_status tr_bench_fastest_conv(tr_bench *bench);
tr_status tr_bench_fastest_product(tr_bench *bench);

#endif
