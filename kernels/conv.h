/* conv: convolution + bias (batch norm is folded in beforehand) + residual + activation, NHWC.
 *
 *   dst[y,x,o] = act(sum_{i,j,c} src[y*stride+i-pad_top, x*stride+j-pad_left, c] * w[o,c,i,j] + bias[o] + residual[y,x,o])
 *
 * Zero padding; `groups` divides both channel counts. Views: a source or destination may be a range of channels within a
 * wider buffer (pixel stride = channels of that buffer), which is how DenseNet concatenates without copying.
 * On the cpu: oneDNN (weights reordered once, primitive kept per batch of one image), plain C where it is missing. Each image
 * is a call of its own, so what an image gives depends neither on n nor on the thread.
 * On a GPU: cuDNN, with products and sums in float (FMA). The environment's TOTALRECALL_CONV_MATH=tf32 lets it round factors to 10
 * bits of mantissa; what an image gives may then depend on n. TOTALRECALL_CUDNN=classic prefers cuDNN's classic call to its graph
 * API, TOTALRECALL_TUNE=1 measures engines (kernels/cuda/conv_choice.h).
 */
#ifndef TR_KERNELS_CONV_H
#define TR_KERNELS_CONV_H

#include "kernels/device.h"

typedef enum tr_activation { TR_ACT_NONE, TR_ACT_RELU, TR_ACT_RELU6 } tr_activation;

typedef struct tr_conv_desc {
  int in_h, in_w, in_channels;
  int out_channels;
  int kernel_h, kernel_w, stride, groups;
  int pad_top, pad_left, pad_bottom, pad_right;
  int src_pixel_stride, dst_pixel_stride; /* floats from one pixel to the next; >= the channel count */
  bool has_residual;                      /* [out_h, out_w, out_channels], dense */
  tr_activation activation;
} tr_conv_desc;

typedef struct tr_conv_args {
  int n;                 /* images */
  const float *src;      /* first channel of the view in image 0 */
  const float *residual; /* may be dst itself where dst is dense: the sum is then made in place */
  float *dst;
  void *scratch; /* scratch bytes of tr_conv_bytes, 64-byte aligned; not shared by runs that go on at once */
} tr_conv_args;

typedef struct tr_conv tr_conv;

/* 0 where the padded source is smaller than the kernel. */
void tr_conv_shape(const tr_conv_desc *desc, int *out_h, int *out_w);
/* Device memory that tr_conv_create takes, and scratch that a run of up to n images needs. EINVAL says what cannot be. */
tr_status tr_conv_bytes(tr_device *device, const tr_conv_desc *desc, int n, size_t *state_bytes, size_t *scratch_bytes);
/* weights: host, [out_channels, in_channels / groups, kernel_h, kernel_w] (PyTorch's order); bias: host, [out_channels]. */
tr_status tr_conv_create(tr_device *device, const tr_conv_desc *desc, const float *weights, const float *bias, tr_conv **out);
void tr_conv_destroy(tr_conv *conv);
tr_status tr_conv_run(tr_conv *conv, const tr_conv_args *args);

#endif
