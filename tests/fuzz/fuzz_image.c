/* Image decoding: no input may crash it, leak, or give an image it should not. PNG checksums are put right first, else no mutated
 * file would get past them. */
#include "datasets/image.h"
#include <stdlib.h>
#include <string.h>

static uint32_t big_endian(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void repair_checksums(uint8_t *data, size_t bytes) {
  for (size_t at = 8; at + 12 <= bytes;) {
    size_t length = big_endian(data + at);
    if (length > bytes - at - 12)
      return;
    uint32_t crc = 0xffffffffu;
    for (size_t i = at + 4; i < at + 8 + length; ++i) {
      crc ^= data[i];
      for (int bit = 0; bit < 8; ++bit)
        crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    for (size_t i = 0; i < 4; ++i)
      data[at + 8 + length + i] = (uint8_t)(~crc >> (24 - 8 * i));
    at += length + 12;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  uint8_t *copy = malloc(bytes + 1);
  if (!copy)
    return 0;
  memcpy(copy, data, bytes);
  if (bytes >= 8 && memcmp(copy, "\x89PNG", 4) == 0)
    repair_checksums(copy, bytes);
  for (int channels = 1; channels <= 3; channels += 2) {
    tr_image image;
    tr_status status = tr_image_decode(copy, bytes, "input", channels, &image);
    if (status == TR_OK) {
      unsigned sum = 0; /* reads every byte, so that MemorySanitizer or AddressSanitizer sees a missing one */
      for (size_t i = 0; i < (size_t)image.h * (size_t)image.w * (size_t)image.channels; ++i)
        sum += image.pixels[i];
      if (image.h < 1 || image.w < 1 || image.channels != channels || sum == UINT32_MAX)
        abort();
      tr_image_free(&image);
    } else if (image.pixels || tr_last_error()[0] == '\0')
      abort();
  }
  free(copy);
  return 0;
}
