/* The cpu twins, as the table of operators wants them. */
#ifndef TR_KERNELS_CPU_H
#define TR_KERNELS_CPU_H

#include "kernels/operators.h"

tr_status tr_cpu_resize(tr_device *device, const tr_resize_args *args);
tr_status tr_cpu_conv_bytes(tr_device *device, const tr_conv_desc *desc, int n, size_t *state_bytes, size_t *scratch_bytes);
tr_status tr_cpu_conv_create(tr_device *device, const tr_conv_desc *desc, const float *weights, const float *bias, void **state);
void tr_cpu_conv_destroy(tr_device *device, void *state);
tr_status tr_cpu_conv_run(tr_device *device, const tr_conv_desc *desc, void *state, const tr_conv_args *args);
tr_status tr_cpu_pool(tr_device *device, const tr_pool_args *args);
tr_status tr_cpu_affine(tr_device *device, const tr_affine_args *args);
size_t tr_cpu_aggregate_scratch(const tr_device *device, const tr_aggregate_spec *spec, int n);
tr_status tr_cpu_aggregate(tr_device *device, const tr_aggregate_args *args);
size_t tr_cpu_project_bytes(size_t n, size_t d, size_t d_star);
tr_status tr_cpu_project(tr_device *device, const tr_project_args *args);
size_t tr_cpu_coreset_scratch(const tr_device *device, size_t n, int d, size_t picks);
size_t tr_cpu_coreset_read_scratch(const tr_device *device, size_t n, int d, size_t picks);
tr_status tr_cpu_coreset(tr_device *device, const tr_coreset_args *args);
size_t tr_cpu_proxies_scratch(const tr_device *device, size_t count, int d, size_t batch);
tr_status tr_cpu_proxies_step(tr_device *device, const tr_proxies_step *step);
size_t tr_cpu_nearest_scratch(const tr_device *device, size_t queries_count, size_t group, size_t bank_rows, int d, int k);
tr_status tr_cpu_nearest(tr_device *device, const tr_nearest_args *args);
size_t tr_cpu_nearest_sketch_bytes(const tr_device *device, size_t bank_rows, int d);
size_t tr_cpu_nearest_sketch_scratch(const tr_device *device, size_t bank_rows, int d);
tr_status tr_cpu_nearest_sketch(tr_device *device, const float *bank, size_t bank_rows, int d, void *sketch, void *scratch);
tr_status tr_cpu_squared_norms(tr_device *device, const float *rows, size_t n, int d, float *norms);
size_t tr_cpu_ivf_scratch(const tr_device *device, const tr_ivf_shape *shape, size_t queries_count, int nprobe, int k);
tr_status tr_cpu_ivf(tr_device *device, const tr_ivf_args *args, const uint32_t *probes, void *scratch);
tr_status tr_cpu_reweight(tr_device *device, const tr_reweight_args *args);
tr_status tr_cpu_upsample(tr_device *device, const tr_upsample_args *args);
tr_status tr_cpu_mosaic(tr_device *device, const tr_mosaic_args *args);
size_t tr_cpu_smooth_scratch(const tr_device *device, int n, int h, int w);
tr_status tr_cpu_smooth(tr_device *device, const tr_smooth_args *args);
size_t tr_cpu_sort_scan_scratch(const tr_device *device, size_t n);
tr_status tr_cpu_sort_scan(tr_device *device, const tr_sort_scan_args *args);

size_t tr_cpu_channels_scratch(const tr_device *device, const tr_channels_spec *spec, int n);
tr_status tr_cpu_channels(tr_device *device, const tr_channels_args *args);
size_t tr_cpu_gaussian_scratch(const tr_device *device, const tr_gaussian_spec *spec);
tr_status tr_cpu_gaussian_add(tr_device *device, const tr_gaussian_args *args);
tr_status tr_cpu_gaussian_finish(tr_device *device, const tr_gaussian_args *args);
tr_status tr_cpu_gaussian_distance(tr_device *device, const tr_gaussian_args *args);

#endif
