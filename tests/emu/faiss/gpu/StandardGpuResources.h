// What host/search/faiss_gpu.cpp uses of FAISS's GPU part, declared as FAISS 1.7 to 1.11 do; see tests/emu/faiss_gpu.cpp.
#ifndef TR_TESTS_EMU_STANDARD_GPU_RESOURCES_H
#define TR_TESTS_EMU_STANDARD_GPU_RESOURCES_H

#include <cstddef>

namespace faiss::gpu {

class GpuResourcesProvider {
public:
  virtual ~GpuResourcesProvider() = default;
};

class StandardGpuResources : public GpuResourcesProvider {
public:
  void setTempMemory(size_t size);
  size_t temporary_bytes = 0;
};

} // namespace faiss::gpu

#endif
