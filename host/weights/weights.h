/* Weight files: safetensors, and PyTorch .pth in both forms (zip, legacy pickle). Files are mapped; tensors point into the
 * mapping. Pickles are read by a small machine that knows tensors, ordered dicts and plain values; anything else is refused,
 * and nothing in a pickle is ever run.
 */
#ifndef TR_WEIGHTS_H
#define TR_WEIGHTS_H

#include "host/totalrecall.h"

typedef enum tr_dtype { TR_F32, TR_F16, TR_BF16, TR_F64, TR_I64, TR_I32, TR_U8 } tr_dtype;

#define TR_TENSOR_MAX_RANK 8

typedef struct tr_tensor {
  const char *name;
  tr_dtype dtype;
  int rank;
  int64_t shape[TR_TENSOR_MAX_RANK];
  const void *data; /* into the mapping, not necessarily aligned; row-major, contiguous, little endian */
  size_t bytes;
} tr_tensor;

typedef struct tr_weights tr_weights;

/* The format is told by the content, not by the name. */
tr_status tr_weights_open(const char *path, tr_weights **out);
void tr_weights_close(tr_weights *weights);
const char *tr_weights_path(const tr_weights *weights);
const char *tr_weights_sha256(const tr_weights *weights); /* hex, of the file */
/* Metadata string (safetensors' __metadata__), NULL when absent. */
const char *tr_weights_metadata(const tr_weights *weights, const char *key);
size_t tr_weights_count(const tr_weights *weights);
const tr_tensor *tr_weights_at(const tr_weights *weights, size_t index);        /* in file order */
const tr_tensor *tr_weights_find(const tr_weights *weights, const char *name);  /* NULL when absent */

/* Copies a tensor as float. The tensor must exist and have exactly this shape, else EFORMAT naming file, tensor and shapes. */
tr_status tr_weights_read(const tr_weights *weights, const char *name, int rank, const int64_t *shape, float *out);

/* The file for an architecture: `path` itself when it is a file; in a folder the one file whose metadata `arch` is
 * `architecture`, else whose name starts with it as torchvision names files (wide_resnet50_2-95faca4d.pth; also
 * <architecture>_*.safetensors and efficientnet_lite0*.pth with "-" and "_" alike). EIO says which names were looked for. */
tr_status tr_weights_locate(const char *path, const char *architecture, char **file);

float tr_half_to_float(uint16_t half);
float tr_bfloat16_to_float(uint16_t value);

#endif
