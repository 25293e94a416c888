/* make_weights FILE: random weights of a ResNet18 as safetensors (F16), for tests that need a backbone and no meaning. */
#include "host/base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tensor {
  char name[64];
  int shape[4], rank;
} tensor;

static tensor tensors[256];
static size_t count;

static void add(const char *name, int rank, int a, int b, int c, int d) {
  tensor *t = &tensors[count++];
  *t = (tensor){.shape = {a, b, c, d}, .rank = rank};
  snprintf(t->name, sizeof t->name, "%s", name);
}

static void add_norm(const char *prefix, int channels) {
  static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
  char name[64];
  for (size_t i = 0; i < 4; ++i) {
    snprintf(name, sizeof name, "%.40s.%s", prefix, parts[i]);
    add(name, 1, channels, 1, 1, 1);
  }
}

static void add_conv(const char *prefix, const char *conv, const char *norm, int out, int in, int kernel) {
  char name[64];
  snprintf(name, sizeof name, "%.30s%s.weight", prefix, conv);
  add(name, 4, out, in, kernel, kernel);
  snprintf(name, sizeof name, "%.30s%s", prefix, norm);
  add_norm(name, out);
}

static void add_resnet18(void) {
  add_conv("", "conv1", "bn1", 64, 3, 7);
  for (int stage = 1, in = 64; stage <= 4; ++stage) {
    int out = 32 << stage;
    for (int block = 0; block < 2; ++block) {
      char prefix[32];
      snprintf(prefix, sizeof prefix, "layer%d.%d.", stage, block);
      add_conv(prefix, "conv1", "bn1", out, block ? out : in, 3);
      add_conv(prefix, "conv2", "bn2", out, out, 3);
      if (stage > 1 && !block)
        add_conv(prefix, "downsample.0", "downsample.1", out, in, 1);
    }
    in = out;
  }
}

static size_t elements(const tensor *t) {
  return (size_t)t->shape[0] * (size_t)t->shape[1] * (size_t)t->shape[2] * (size_t)t->shape[3];
}

/* Normal halves only: what is too small becomes 0. */
static uint16_t to_half(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  int exponent = (int)(bits >> 23 & 0xff) - 127 + 15;
  if (exponent <= 0)
    return 0;
  return (uint16_t)((bits >> 16 & 0x8000) | (uint32_t)exponent << 10 | (bits >> 13 & 0x3ff));
}

static float value_of(const tensor *t, tr_rng *rng) {
  if (t->rank == 4) /* He et al. 2015: the scale of the features stays */
    return tr_rng_normal(rng) * sqrtf(2.0f / (float)(t->shape[1] * t->shape[2] * t->shape[3]));
  bool one = strstr(t->name, ".weight") || strstr(t->name, "running_var");
  return one ? 1 : 0;
}

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  FILE *out = fopen(argv[1], "wb");
  char *header = calloc(1, 1 << 16);
  if (!out || !header)
    return 1;
  add_resnet18();
  char *at = header + sprintf(header, "{\"__metadata__\":{\"arch\":\"resnet18\"}");
  size_t offset = 0;
  for (size_t i = 0; i < count; ++i) {
    const tensor *t = &tensors[i];
    at += sprintf(at, ",\"%s\":{\"dtype\":\"F16\",\"shape\":[%d", t->name, t->shape[0]);
    for (int j = 1; j < t->rank; ++j)
      at += sprintf(at, ",%d", t->shape[j]);
    at += sprintf(at, "],\"data_offsets\":[%zu,%zu]}", offset, offset + 2 * elements(t));
    offset += 2 * elements(t);
  }
  at += sprintf(at, "}");
  uint64_t bytes = (uint64_t)(at - header);
  fwrite(&bytes, sizeof bytes, 1, out);
  fwrite(header, 1, bytes, out);
  for (size_t i = 0; i < count; ++i) {
    tr_rng rng = tr_rng_make(0, TR_RNG_WEIGHTS, i);
    for (size_t j = 0; j < elements(&tensors[i]); ++j) {
      uint16_t half = to_half(value_of(&tensors[i], &rng));
      fwrite(&half, sizeof half, 1, out);
    }
  }
  free(header);
  return fclose(out) == 0 ? 0 : 1;
}
