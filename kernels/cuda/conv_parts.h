/* Own kernels of conv: what cuDNN does badly or not at all. */
#ifndef TR_KERNELS_CUDA_CONV_PARTS_H
#define TR_KERNELS_CUDA_CONV_PARTS_H

#include "kernels/cuda/cuda.h"

/* A depthwise convolution (as many groups as channels on either side), all of conv's formula in one pass.
 * weights: device, [kernel_h, kernel_w, channels]. */
tr_status tr_depthwise_run(tr_cuda *cuda, const tr_conv_desc *desc, const float *weights, const float *bias,
                           const tr_conv_args *args);

/* dst = act(src + residual) over n maps; src: out_channels wide where it is scratch, or dst itself; residual: dense, or NULL. */
struct tr_finish_args {
  size_t pixels;
  int channels, src_pixel_stride, dst_pixel_stride;
  tr_activation activation;
  const float *src, *residual;
  float *dst;
};
tr_status tr_finish_run(tr_cuda *cuda, const tr_finish_args *args);

#endif
