/* Which engine runs a convolution: cuDNN's first advice, or what was measured to be fastest on this kind of GPU.
 *
 * With TOTALRECALL_TUNE=1 in the environment a convolution that has no entry yet is measured with every engine on offer, and the
 * fastest kept in a file named after GPU and cuDNN version, in $TOTALRECALL_CACHE, else $XDG_CACHE_HOME/totalrecall, else
 * ~/.cache/totalrecall. Entries there are used by every later run; without them the advice is, which is always the same.
 * Engines differ in the order of their sums, so results differ in their last bits between tuned and untuned runs. */
#ifndef TR_KERNELS_CUDA_CONV_CHOICE_H
#define TR_KERNELS_CUDA_CONV_CHOICE_H

#include "kernels/cuda/conv_graph.h"

/* *found is false where cuDNN offers no engine. */
tr_status tr_conv_choose(tr_device *device, const tr_graph_problem &problem, tr_graph_choice *out, bool *found);

#endif
