/* The table of operators: what a device must be able to do. Included by the dispatch files, the twins and what measures them. */
#ifndef TR_KERNELS_OPERATORS_H
#define TR_KERNELS_OPERATORS_H

#include "kernels/aggregate.h"
#include "kernels/channels.h"
#include "kernels/conv.h"
#include "kernels/coreset.h"
#include "kernels/gaussian.h"
#include "kernels/ivf.h"
#include "kernels/mosaic.h"
#include "kernels/nearest.h"
#include "kernels/pool.h"
#include "kernels/project.h"
#include "kernels/proxies.h"
#include "kernels/resize.h"
#include "kernels/reweight.h"
#include "kernels/smooth.h"
#include "kernels/sort_scan.h"
#include "kernels/upsample.h"

struct tr_operators {
  tr_status (*resize)(tr_device *device, const tr_resize_args *args);
  tr_status (*conv_bytes)(tr_device *device, const tr_conv_desc *desc, int n, size_t *state_bytes, size_t *scratch_bytes);
  tr_status (*conv_create)(tr_device *device, const tr_conv_desc *desc, const float *weights, const float *bias, void **state);
  void (*conv_destroy)(tr_device *device, void *state);
  tr_status (*conv_run)(tr_device *device, const tr_conv_desc *desc, void *state, const tr_conv_args *args);
  tr_status (*pool)(tr_device *device, const tr_pool_args *args);
  tr_status (*affine)(tr_device *device, const tr_affine_args *args);
  size_t (*aggregate_scratch)(const tr_device *device, const tr_aggregate_spec *spec, int n);
  tr_status (*aggregate)(tr_device *device, const tr_aggregate_args *args);
  size_t (*project_bytes)(size_t n, size_t d, size_t d_star);
  tr_status (*project)(tr_device *device, const tr_project_args *args);
  size_t (*coreset_scratch)(const tr_device *device, size_t n, int d, size_t picks);
  tr_status (*coreset)(tr_device *device, const tr_coreset_args *args);
  size_t (*proxies_scratch)(const tr_device *device, size_t count, int d, size_t batch);
  tr_status (*proxies_step)(tr_device *device, const tr_proxies_step *step);
  size_t (*nearest_scratch)(const tr_device *device, size_t queries_count, size_t group, size_t bank_rows, int d, int k);
  tr_status (*nearest)(tr_device *device, const tr_nearest_args *args);
  /* All three NULL where a device has no use for a sketch. */
  size_t (*nearest_sketch_bytes)(const tr_device *device, size_t bank_rows, int d);
  size_t (*nearest_sketch_scratch)(const tr_device *device, size_t bank_rows, int d);
  tr_status (*nearest_sketch)(tr_device *device, const float *bank, size_t bank_rows, int d, void *sketch, void *scratch);
  tr_status (*squared_norms)(tr_device *device, const float *rows, size_t n, int d, float *norms);
  /* `probes`: [queries_count, nprobe], the lists to look at, nearest first; NULL: the twin finds them, and checks the queries. nprobe is
   * at most the number of lists. */
  size_t (*ivf_scratch)(const tr_device *device, const tr_ivf_shape *shape, size_t queries_count, int nprobe, int k);
  tr_status (*ivf)(tr_device *device, const tr_ivf_args *args, const uint32_t *probes, void *scratch);
  tr_status (*reweight)(tr_device *device, const tr_reweight_args *args);
  tr_status (*upsample)(tr_device *device, const tr_upsample_args *args);
  tr_status (*mosaic)(tr_device *device, const tr_mosaic_args *args);
  size_t (*smooth_scratch)(const tr_device *device, int n, int h, int w);
  tr_status (*smooth)(tr_device *device, const tr_smooth_args *args);
  size_t (*sort_scan_scratch)(const tr_device *device, size_t n);
  tr_status (*sort_scan)(tr_device *device, const tr_sort_scan_args *args);
  size_t (*channels_scratch)(const tr_device *device, const tr_channels_spec *spec, int n);
  tr_status (*channels)(tr_device *device, const tr_channels_args *args);
  size_t (*gaussian_scratch)(const tr_device *device, const tr_gaussian_spec *spec);
  tr_status (*gaussian_add)(tr_device *device, const tr_gaussian_args *args);
  tr_status (*gaussian_finish)(tr_device *device, const tr_gaussian_args *args);
  tr_status (*gaussian_distance)(tr_device *device, const tr_gaussian_args *args);
};

extern const tr_operators tr_cpu_operators;

#endif
