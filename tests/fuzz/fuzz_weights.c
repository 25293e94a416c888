/* Any bytes as a weight file: an error, or tensors that can be read. Seeds: tests/golden/weights. */
#include "host/weights/internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void use_tensor(const tr_weights *weights, const tr_tensor *tensor) {
  if (tr_weights_find(weights, tensor->name) != tensor)
    abort();
  size_t count = tensor->bytes / tr_dtype_bytes(tensor->dtype), expected;
  if (!tr_shape_count(tensor->rank, tensor->shape, &expected) || count != expected)
    abort();
  float *values = malloc((count + 1) * sizeof *values);
  if (!values)
    abort();
  bool floats = tensor->dtype <= TR_F64;
  if (tr_weights_read(weights, tensor->name, tensor->rank, tensor->shape, values) != (floats ? TR_OK : TR_EFORMAT))
    abort();
  free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  tr_weights *weights;
  if (tr_weights_open_memory("fuzz", data, bytes, &weights) != TR_OK) {
    if (weights || strncmp(tr_last_error(), "reading weights from fuzz: ", 27) != 0)
      abort();
    return 0;
  }
  for (size_t i = 0; i < tr_weights_count(weights); ++i)
    use_tensor(weights, tr_weights_at(weights, i));
  tr_weights_close(weights);
  return 0;
}
