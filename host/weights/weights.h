/* Weight files: safetensors, and PyTorch .pth in both forms (zip, legacy pickle). Files are mapped; tensors point into the
 * mapping. Pickles are read by a small machine that knows tensors, ordered dicts and plain values; anything else is refused,
 * and nothing in a pickle is ever run.
 *
 * Of a .pth file the state dict is read: the object itself or, in a training checkpoint, the dict under its key "state_dict" or
 * else "model". Every entry of it must be a tensor. Where every name begins with "module." (torch.nn.DataParallel), names are
 * given without it.
 *
 * Reading takes memory in proportion to the file's size at most, whatever the file claims.
 */
#ifndef TR_WEIGHTS_H
#define TR_WEIGHTS_H

#include "host/totalrecall.h"

typedef enum tr_dtype { TR_F32, TR_F16, TR_BF16, TR_F64, TR_I64, TR_I32, TR_U8 /* truth values too */ } tr_dtype;

#define TR_TENSOR_MAX_RANK 8

typedef struct tr_tensor {
  const char *name;
  tr_dtype dtype;
  int rank;
  int64_t shape[TR_TENSOR_MAX_RANK];
  /* Row-major, contiguous, little endian, not necessarily aligned. In the mapping; a permuted view in a .pth file (as
   * EfficientNet-Lite's kernels are) is a copy. */
  const void *data;
  size_t bytes;
} tr_tensor;

typedef struct tr_weights tr_weights;

/* The format is told by the content, not by the name. EIO when the file cannot be read; EFORMAT, with the tensor or the byte, when
 * it is cut short, damaged, of another kind, or holds what is no tensor. */
tr_status tr_weights_open(const char *path, tr_weights **out);
void tr_weights_close(tr_weights *weights);
const char *tr_weights_path(const tr_weights *weights);
const char *tr_weights_sha256(const tr_weights *weights); /* hex, of the file */
/* Metadata string (safetensors' __metadata__), NULL when absent. */
const char *tr_weights_metadata(const tr_weights *weights, const char *key);
size_t tr_weights_count(const tr_weights *weights);
const tr_tensor *tr_weights_at(const tr_weights *weights, size_t index);       /* in file order */
const tr_tensor *tr_weights_find(const tr_weights *weights, const char *name); /* NULL when absent */

/* Copies a tensor of floating point numbers as float, F64 rounded to nearest. The tensor must exist and have exactly this shape,
 * else EFORMAT naming file, tensor and shapes. */
tr_status tr_weights_read(const tr_weights *weights, const char *name, int rank, const int64_t *shape, float *out);

/* The file for an architecture, for the caller to free. `path` itself when it is a file (EFORMAT when its metadata `arch` is
 * another); in a folder the one .safetensors file whose metadata `arch` is `architecture`, else the one .pth or .safetensors
 * file without `arch` that is named <architecture>, <architecture>-* or <architecture>_* as torchvision names files
 * (wide_resnet50_2-95faca4d.pth), "-" and "_" alike; resnet50_v1* is not resnet50's. EIO, with the names looked for, when there
 * is none; EINVAL when there are several. */
tr_status tr_weights_locate(const char *path, const char *architecture, char **file);

float tr_half_to_float(uint16_t half);
float tr_bfloat16_to_float(uint16_t value);

#endif
