// See StandardGpuResources.h.
#ifndef TR_TESTS_EMU_GPU_CLONER_H
#define TR_TESTS_EMU_GPU_CLONER_H

#include <faiss/Index.h>

namespace faiss::gpu {

class GpuResourcesProvider;
struct GpuClonerOptions;

faiss::Index *index_cpu_to_gpu(GpuResourcesProvider *provider, int device, const faiss::Index *index,
                               const GpuClonerOptions *options = nullptr);

} // namespace faiss::gpu

#endif
