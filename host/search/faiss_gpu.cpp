// FAISS on a GPU by its C++ interface: libraries with a GPU part seldom come with FAISS's C API.
#include "host/search/faiss_gpu.h"

#include <cstdio>
#include <exception>
#include <faiss/gpu/GpuAutoTune.h>
#include <faiss/gpu/GpuCloner.h>
#include <faiss/gpu/StandardGpuResources.h>
#include <memory>

extern "C" {
#include "host/base/status.h"
}

// Of the GPU's memory; FAISS by itself would take up to 1.5 GiB.
constexpr size_t TEMPORARY_BYTES = size_t{256} << 20;

struct tr_faiss_gpu {
  faiss::gpu::StandardGpuResources resources;
  std::unique_ptr<faiss::Index> index;
  faiss::gpu::GpuParameterSpace space;
};

tr_faiss_gpu *tr_faiss_gpu_create(const tr_device *device, const FaissIndex *index) {
  int ordinal;
  if (std::sscanf(tr_device_name(device), "cuda:%d", &ordinal) != 1)
    return nullptr;
  try {
    auto gpu = std::make_unique<tr_faiss_gpu>();
    gpu->resources.setTempMemory(TEMPORARY_BYTES);
    gpu->index.reset(
        faiss::gpu::index_cpu_to_gpu(&gpu->resources, ordinal, reinterpret_cast<const faiss::Index *>(index), nullptr));
    return gpu.release();
  } catch (...) { // FAISS has no other way to say that it has no such index there
    return nullptr;
  }
}

void tr_faiss_gpu_destroy(tr_faiss_gpu *gpu) {
  delete gpu;
}

FaissIndex *tr_faiss_gpu_index(const tr_faiss_gpu *gpu) {
  return reinterpret_cast<FaissIndex *>(gpu->index.get());
}

tr_status tr_faiss_gpu_set_parameter(tr_faiss_gpu *gpu, const char *name, double value) {
  try {
    gpu->space.set_index_parameter(gpu->index.get(), name, value);
    return TR_OK;
  } catch (const std::exception &e) {
    return tr_fail(TR_EINVAL, "FAISS on %s: %s", name, e.what());
  }
}
