/* conv in plain C: what the cpu twin is where oneDNN is missing, and what the oneDNN twin is tested against. Same contracts as
 * the entries of the table of operators. */
#ifndef TR_KERNELS_CPU_CONV_PLAIN_H
#define TR_KERNELS_CPU_CONV_PLAIN_H

#include "kernels/conv.h"

tr_status tr_cpu_conv_plain_bytes(tr_device *device, const tr_conv_desc *desc, int n, size_t *state_bytes, size_t *scratch_bytes);
tr_status tr_cpu_conv_plain_create(tr_device *device, const tr_conv_desc *desc, const float *weights, const float *bias,
                                   void **state);
void tr_cpu_conv_plain_destroy(tr_device *device, void *state);
tr_status tr_cpu_conv_plain_run(tr_device *device, const tr_conv_desc *desc, void *state, const tr_conv_args *args);

#endif
