/* Convolutions by cuDNN's classic call, cudnnConvolutionBiasActivationForward: what is left where the graph API offers no engine, and
 * what it is compared with (TOTALRECALL_CUDNN=classic in the environment). cuDNN 9 calls it deprecated.
 *
 * Takes padding that is the same before and after only. The algorithm is chosen for a full chunk of images; within an algorithm
 * cuDNN may choose its kernel by the number of images, so the last bits may depend on that. */
#ifndef TR_KERNELS_CUDA_CONV_CLASSIC_H
#define TR_KERNELS_CUDA_CONV_CLASSIC_H

#include "kernels/cuda/conv_graph.h"

struct tr_classic_plan;

/* Best by cuDNN's advice of those that keep to the arithmetic asked for and sum in a fixed order. *found is false where there is none. */
tr_status tr_classic_choose(cudnnHandle_t handle, const tr_graph_problem &problem, cudnnConvolutionFwdAlgo_t *out, bool *found);
tr_status tr_classic_plan_create(cudnnHandle_t handle, const tr_graph_problem &problem, cudnnConvolutionFwdAlgo_t algorithm,
                                 tr_classic_plan **out);
void tr_classic_plan_destroy(tr_classic_plan *plan);
size_t tr_classic_plan_workspace(const tr_classic_plan *plan);
/* As tr_graph_plan_run. */
tr_status tr_classic_plan_run(cudnnHandle_t handle, const tr_classic_plan *plan, const float *src, const float *weights,
                              const float *bias, const float *residual, float *dst, void *workspace);

#endif
