/* A network is data: nodes over tensors. Families (resnet.c, densenet.c, efficientnet_lite.c) build graphs; run.c plans
 * buffers by lifetime, folds batch norm, and runs them on any device. */
#ifndef TR_BACKBONE_GRAPH_H
#define TR_BACKBONE_GRAPH_H

#include "host/weights/weights.h"
#include "kernels/aggregate.h"
#include "kernels/pool.h"

/* Architectures: resnet18 resnet34 resnet50 resnet50_v1 resnet101 wide_resnet50_2 wide_resnet101_2 resnext101_32x8d
 * densenet201 efficientnet_lite0. Layers are named as torchvision names modules: layer1 … layer4, denseblock1 … 4,
 * blocks.0 … blocks.6; "pool" is the global average of the last block (SPADE's image feature). */

/* More than a model has layers: models that share a pass tap the union of theirs. */
enum { TR_MAX_TAPS = 8 };

typedef struct tr_backbone tr_backbone;

typedef struct tr_backbone_options {
  const char *architecture;
  const char *const *layers; /* taps, shallow first */
  int layer_count;           /* 1 … TR_MAX_TAPS; the pass ends at the deepest */
  int in_h, in_w;            /* of the preprocessed image */
} tr_backbone_options;

/* Every tensor the pass needs must be in `weights` with its shape; a tensor that belongs to no part of the architecture
 * (classifier included in the architecture) is an error too, so that a wrong file is seen. Weights are not needed after.
 * NULL: random weights, to measure with. */
tr_status tr_backbone_create(tr_device *device, const tr_backbone_options *options, const tr_weights *weights, tr_backbone **out);
void tr_backbone_destroy(tr_backbone *backbone);

/* Shape of tap i: h, w, c. */
void tr_backbone_tap_shape(const tr_backbone *backbone, int tap, int *h, int *w, int *c);

/* images: device, [n, in_h, in_w, 3], normalised. taps[i]: device, [n, h, w, c]. May be called from the lanes of
 * tr_device_for_chunks at once, with `lane`; each lane has its own buffers. n <= tr_device_chunk(). */
tr_status tr_backbone_run(tr_backbone *backbone, int lane, int n, const float *images, float *const *taps);

/* Bytes that create will take on the device (weights, and activations of all lanes), and multiply-adds of one image; needs
 * no weights. */
tr_status tr_backbone_forecast(tr_device *device, const tr_backbone_options *options, size_t *bytes, double *macs);

/* As tr_backbone_tap_shape for every tap ([layer_count] each), without weights. */
tr_status tr_backbone_shapes(tr_device *device, const tr_backbone_options *options, int *h, int *w, int *c);

/* Mean and standard deviation that the architecture's published weights expect of RGB in [0,1]. EINVAL when unknown. */
tr_status tr_backbone_normalisation(const char *architecture, float mean[3], float std[3]);

/* All architectures, and the short name used in run names (RN50V1, WR50, …; NULL when unknown). */
const char *const *tr_backbone_architectures(size_t *count);
const char *tr_backbone_short_name(const char *architecture);

/* Names of the layers that can be tapped; NULL for an unknown architecture. */
const char *const *tr_backbone_layers(const char *architecture, size_t *count);

#endif
