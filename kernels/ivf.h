/* ivf: the k nearest rows among those in the lists nearest to each query, squared L2: FAISS's IVF-Flat and IVF-PQ (official
 * ApproximateFaissNN), over lists that FAISS made (host/search/ivf.h).
 *
 * Every row lies in the list of a centroid. A query looks at the nprobe lists whose centroids are nearest, ties to the lower list; while
 * these hold fewer than k rows, at twice as many. A row is kept as it is, or as codes: byte j names one of 256 codewords for the j-th
 * part of the row's difference from its centroid (Jegou et al., Product quantization for nearest neighbor search, PAMI 2011).
 *
 * Distances are sum (q - x)^2, or sum ((q - c) - y)^2 with the centroid c and the codewords y, in double and in one order
 * (kernels/cpu/exact.h); cheaper ones in float only say which rows need not be measured. Ties go to the lower id. So results are the
 * same bits on every device, and a query's depend on its row and the lists alone. FAISS's own are sums in float, which for codes cancel:
 * there near ties may come out otherwise. */
#ifndef TR_KERNELS_IVF_H
#define TR_KERNELS_IVF_H

#include "kernels/nearest.h"

enum { TR_IVF_CODEWORDS = 256 };

typedef struct tr_ivf_shape {
  int d, codes; /* bytes of a coded row, a divisor of d; 0: whole rows */
  size_t list_count, rows;
} tr_ivf_shape;

/* Values must be finite. */
typedef struct tr_ivf_lists {
  tr_ivf_shape shape;
  const float *centroids, *centroid_norms; /* [list_count, d]; [list_count], from tr_squared_norms */
  const void *sketch;                      /* of the centroids, from tr_nearest_sketch; NULL = none */
  const float *codebooks;                  /* [codes, 256, d / codes]; NULL for whole rows */
  const uint32_t *begins;                  /* [list_count + 1]: list l has the rows [begins[l], begins[l + 1]) */
  const uint32_t *ids;                     /* [rows]: what indices name */
  const void *const *data; /* [list_count]: [rows of the list, d] floats, 16-byte aligned on a GPU, or [.., codes] bytes */
} tr_ivf_lists;

typedef struct tr_ivf_args {
  const tr_ivf_lists *lists;   /* host; its arrays on the device */
  size_t queries_count, group; /* as for nearest */
  const float *queries;        /* [queries_count, d]; EINVAL names a row that is not finite */
  int nprobe, k;               /* nprobe >= 1 (more than there are lists: all); 1 <= k <= TR_NEAREST_MAX_K, k <= rows */
  float *distances;            /* [queries_count, k], ascending, squared */
  uint32_t *indices;           /* [queries_count, k] */
  void *scratch;               /* tr_ivf_scratch() bytes */
} tr_ivf_args;

size_t tr_ivf_scratch(const tr_device *device, const tr_ivf_shape *shape, size_t queries_count, size_t group, int nprobe, int k);
tr_status tr_ivf(tr_device *device, const tr_ivf_args *args);

#endif
