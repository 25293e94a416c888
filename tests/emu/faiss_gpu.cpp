// FAISS's GPU part on the cpu, as far as host/search/faiss_gpu.cpp calls it: an index "on the GPU" holds a copy of the host's and searches
// that. As FAISS's it has no graphs, takes nprobe from GpuParameterSpace alone, wants a GPU that is there, and one search at a time.
#ifdef TR_HAVE_FAISS_GPU

#include <atomic>
#include <cuda_runtime.h>
#include <faiss/clone_index.h>
#include <faiss/gpu/GpuAutoTune.h>
#include <faiss/gpu/GpuCloner.h>
#include <faiss/gpu/StandardGpuResources.h>
#include <faiss/impl/FaissAssert.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexIVF.h>
#include <memory>

namespace {

std::atomic<size_t> searches;

struct GpuIndex : faiss::Index {
  std::unique_ptr<faiss::Index> held;
  mutable std::atomic<bool> busy{false};

  explicit GpuIndex(const faiss::Index *index) : Index(index->d, index->metric_type), held(faiss::clone_index(index)) {
    ntotal = index->ntotal;
    is_trained = index->is_trained;
  }

  void add(faiss::Index::idx_t, const float *) override { FAISS_THROW_MSG("a copy for searching"); }
  void reset() override { FAISS_THROW_MSG("a copy for searching"); }

  void search(faiss::Index::idx_t n, const float *x, faiss::Index::idx_t k, float *distances, faiss::Index::idx_t *labels,
              const faiss::SearchParameters *parameters) const override {
    FAISS_THROW_IF_NOT_MSG(!busy.exchange(true), "two searches of an index on a GPU at a time");
    ++searches;
    held->search(n, x, k, distances, labels, parameters);
    busy = false;
  }
};

} // namespace

extern "C" size_t emu_faiss_gpu_searches(void) {
  return searches;
}

void faiss::gpu::StandardGpuResources::setTempMemory(size_t size) {
  temporary_bytes = size;
}

faiss::Index *faiss::gpu::index_cpu_to_gpu(GpuResourcesProvider *provider, int device, const faiss::Index *index,
                                           const GpuClonerOptions *) {
  int count = 0;
  FAISS_THROW_IF_NOT(provider && cudaGetDeviceCount(&count) == cudaSuccess && device < count);
  if (!dynamic_cast<const faiss::IndexFlat *>(index) && !dynamic_cast<const faiss::IndexIVF *>(index))
    FAISS_THROW_MSG("This index type is not implemented on GPU.");
  return new GpuIndex(index);
}

void faiss::gpu::GpuParameterSpace::set_index_parameter(faiss::Index *index, const std::string &name, double value) const {
  auto *gpu = dynamic_cast<GpuIndex *>(index);
  if (gpu && name == "nprobe" && dynamic_cast<faiss::IndexIVF *>(gpu->held.get()))
    dynamic_cast<faiss::IndexIVF *>(gpu->held.get())->nprobe = static_cast<size_t>(value);
  else
    ParameterSpace::set_index_parameter(index, name, value);
}

#endif
