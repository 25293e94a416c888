// See StandardGpuResources.h.
#ifndef TR_TESTS_EMU_GPU_AUTO_TUNE_H
#define TR_TESTS_EMU_GPU_AUTO_TUNE_H

#include <faiss/AutoTune.h>

namespace faiss::gpu {

struct GpuParameterSpace : faiss::ParameterSpace {
  void set_index_parameter(faiss::Index *index, const std::string &name, double value) const override;
};

} // namespace faiss::gpu

#endif
