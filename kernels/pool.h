/* pool: max and average pooling, NHWC; affine: per-channel scale and shift with activation (DenseNet's norm before conv). */
#ifndef TR_KERNELS_POOL_H
#define TR_KERNELS_POOL_H

#include "kernels/conv.h"

typedef enum tr_pool_kind { TR_POOL_MAX, TR_POOL_AVERAGE, TR_POOL_GLOBAL_AVERAGE } tr_pool_kind;

typedef struct tr_pool_args {
  tr_pool_kind kind;
  int n, in_h, in_w, channels;
  int kernel, stride, pad; /* ignored by the global average; max ignores padded cells, average is used without padding */
  int src_pixel_stride, dst_pixel_stride;
  const float *src;
  float *dst; /* [n, out_h, out_w, channels]; global average: [n, channels] */
} tr_pool_args;

void tr_pool_shape(const tr_pool_args *args, int *out_h, int *out_w);
tr_status tr_pool_run2d(tr_device *device, const tr_pool_args *args);

typedef struct tr_affine_args {
  int n, h, w, channels;
  int src_pixel_stride, dst_pixel_stride;
  const float *scale, *shift; /* device, [channels] */
  tr_activation activation;
  const float *src;
  float *dst;
} tr_affine_args;

tr_status tr_affine(tr_device *device, const tr_affine_args *args);

#endif
