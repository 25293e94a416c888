/* .npy files: no input may crash the reader, leak, or give values beyond the input. */
#include "datasets/npy.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  uint8_t *copy = malloc(bytes ? bytes : 1); /* to the byte, for AddressSanitizer */
  if (!copy)
    return 0;
  memcpy(copy, data, bytes);
  tr_npy npy;
  tr_status status = tr_npy_parse(copy, bytes, "input", &npy);
  if (status != TR_OK && tr_last_error()[0] == '\0')
    abort();
  size_t frames = status == TR_OK && npy.dimensions == 3 ? npy.shape[0] : 0;
  for (size_t f = 0; f < frames && f < 4; ++f) {
    tr_image mask;
    bool marked = tr_npy_frame_marked(&npy, f), found = false;
    if (tr_npy_frame(&npy, "input", f, &mask) != TR_OK)
      continue;
    for (size_t i = 0; i < (size_t)mask.h * (size_t)mask.w; ++i)
      found = found || mask.pixels[i];
    if (found != marked || (size_t)mask.h != npy.shape[1] || (size_t)mask.w != npy.shape[2])
      abort();
    tr_image_free(&mask);
  }
  free(copy);
  return 0;
}
