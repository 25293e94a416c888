// Debian's libfaiss-dev carries the headers of FAISS's C API and a library without its symbols: here they are, those that
// host/search calls, under their own names. Where CMake finds a real libfaiss_c (TR_FAISS_C), only what the C API leaves out remains.
#include "host/search/faiss_shim.h"

#include <algorithm>
#include <exception>
#include <faiss/AutoTune.h>
#include <faiss/c_api/AutoTune_c.h>
#include <faiss/c_api/error_c.h>
#include <faiss/c_api/index_factory_c.h>
#include <faiss/c_api/index_io_c.h>
#include <faiss/impl/FaissException.h>
#include <faiss/index_factory.h>
#include <faiss/index_io.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexIVFPQR.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPQFastScan.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/invlists/InvertedLists.h>
#include <faiss/VectorTransform.h>
#include <memory>
#include <new>
#include <string>
#include <typeinfo>
#include <vector>

namespace {

// Every clustering that training an index runs.
struct Clusterings {
  std::vector<faiss::ClusteringParameters *> parameters;
  std::vector<size_t> centroids;
  std::vector<faiss::OPQMatrix *> rotations; // each makes its own product quantizer

  void add(faiss::ClusteringParameters *cp, size_t k) {
    parameters.push_back(cp);
    centroids.push_back(k);
  }

  void add(faiss::ProductQuantizer *pq) { add(&pq->cp, pq->ksub); }

  void add_wrapped(faiss::Index *index) {
    if (auto *p = dynamic_cast<faiss::IndexPreTransform *>(index)) {
      for (faiss::VectorTransform *step : p->chain)
        if (auto *rotation = dynamic_cast<faiss::OPQMatrix *>(step))
          rotations.push_back(rotation);
      add(p->index);
    } else if (auto *map = dynamic_cast<faiss::IndexIDMap *>(index)) {
      add(map->index);
    } else if (auto *refine = dynamic_cast<faiss::IndexRefine *>(index)) {
      add(refine->base_index);
      add(refine->refine_index);
    } else if (auto *graph = dynamic_cast<faiss::IndexHNSW *>(index)) {
      add(graph->storage);
    }
  }

  void add_lists(faiss::IndexIVF *ivf) {
    if (ivf->quantizer_trains_alone != 1) // else the quantizer finds centroids by itself
      add(&ivf->cp, ivf->nlist);
    add(ivf->quantizer);
    if (auto *p = dynamic_cast<faiss::IndexIVFPQ *>(ivf))
      add(&p->pq);
    if (auto *p = dynamic_cast<faiss::IndexIVFPQR *>(ivf))
      add(&p->refine_pq);
    if (auto *p = dynamic_cast<faiss::IndexIVFPQFastScan *>(ivf))
      add(&p->pq);
  }

  void add(faiss::Index *index) {
    if (auto *ivf = dynamic_cast<faiss::IndexIVF *>(index))
      add_lists(ivf);
    else if (auto *p = dynamic_cast<faiss::IndexPQ *>(index))
      add(&p->pq);
    else if (auto *fast = dynamic_cast<faiss::IndexPQFastScan *>(index))
      add(&fast->pq);
    else if (auto *multi = dynamic_cast<faiss::MultiIndexQuantizer *>(index))
      add(&multi->pq);
    else
      add_wrapped(index);
  }
};

} // namespace

struct tr_faiss_quiet {
  explicit tr_faiss_quiet(faiss::Index *index) {
    clusterings.add(index);
    for (faiss::ClusteringParameters *cp : clusterings.parameters) {
      least.push_back(cp->min_points_per_centroid);
      cp->min_points_per_centroid = 1;
    }
    for (faiss::OPQMatrix *rotation : clusterings.rotations) {
      if (rotation->pq)
        continue;
      own.push_back(std::make_unique<faiss::ProductQuantizer>(rotation->d_out, rotation->M, 8));
      own.back()->cp.min_points_per_centroid = 1;
      lent.push_back(rotation);
      rotation->pq = own.back().get();
    }
  }

  ~tr_faiss_quiet() {
    for (size_t i = 0; i < least.size(); ++i)
      clusterings.parameters[i]->min_points_per_centroid = least[i];
    for (faiss::OPQMatrix *rotation : lent)
      rotation->pq = nullptr;
  }

  tr_faiss_quiet(const tr_faiss_quiet &) = delete;
  tr_faiss_quiet &operator=(const tr_faiss_quiet &) = delete;

private:
  Clusterings clusterings;
  std::vector<int> least;
  std::vector<std::unique_ptr<faiss::ProductQuantizer>> own;
  std::vector<faiss::OPQMatrix *> lent;
};

tr_faiss_quiet *tr_faiss_quiet_begin(FaissIndex *index) {
  try {
    return new tr_faiss_quiet(reinterpret_cast<faiss::Index *>(index));
  } catch (...) {
    return nullptr;
  }
}

void tr_faiss_quiet_end(tr_faiss_quiet *quiet) {
  delete quiet;
}

void tr_faiss_training_rows(FaissIndex *index, size_t *least, size_t *recommended) {
  *least = *recommended = 0;
  try {
    Clusterings clusterings;
    clusterings.add(reinterpret_cast<faiss::Index *>(index));
    for (size_t i = 0; i < clusterings.centroids.size(); ++i) {
      size_t k = clusterings.centroids[i];
      *least = std::max(*least, k);
      *recommended = std::max(*recommended, k * static_cast<size_t>(clusterings.parameters[i]->min_points_per_centroid));
    }
  } catch (const std::bad_alloc &) { // then FAISS itself says what it misses
  }
}

namespace {

bool has_plain_centroids(const faiss::IndexIVF &ivf) {
  const std::type_info &type = typeid(*ivf.quantizer);
  return ivf.quantizer->metric_type == faiss::METRIC_L2 &&
         (type == typeid(faiss::IndexFlatL2) || type == typeid(faiss::IndexFlat));
}

} // namespace

// By the classes themselves: those derived from them search in other ways.
bool tr_faiss_lists_of(FaissIndex *index, tr_faiss_lists *out) {
  auto *ivf = dynamic_cast<faiss::IndexIVF *>(reinterpret_cast<faiss::Index *>(index));
  if (!ivf || !ivf->quantizer || !ivf->invlists || ivf->metric_type != faiss::METRIC_L2 || ivf->max_codes != 0 ||
      !has_plain_centroids(*ivf) || typeid(*ivf->invlists) != typeid(faiss::ArrayInvertedLists))
    return false;
  *out = {reinterpret_cast<FaissIndexIVF *>(ivf), reinterpret_cast<FaissIndex *>(ivf->quantizer), 0, nullptr};
  if (typeid(*ivf) == typeid(faiss::IndexIVFFlat))
    return true;
  if (typeid(*ivf) != typeid(faiss::IndexIVFPQ))
    return false;
  const auto *coded = static_cast<const faiss::IndexIVFPQ *>(ivf);
  out->codes = static_cast<int>(coded->pq.M);
  out->codebooks = coded->pq.centroids.data();
  return coded->by_residual && coded->pq.nbits == 8 && coded->polysemous_ht == 0;
}

const void *tr_faiss_list_rows(const tr_faiss_lists *lists, size_t list) {
  return reinterpret_cast<const faiss::IndexIVF *>(lists->index)->invlists->get_codes(list);
}

const void *tr_faiss_list_ids(const tr_faiss_lists *lists, size_t list) {
  return reinterpret_cast<const faiss::IndexIVF *>(lists->index)->invlists->get_ids(list);
}

#define TR_TEXT_OF(x)                        #x
#define TR_VERSION_TEXT(major, minor, patch) TR_TEXT_OF(major) "." TR_TEXT_OF(minor) "." TR_TEXT_OF(patch)

const char *tr_faiss_version(void) {
  return TR_VERSION_TEXT(FAISS_VERSION_MAJOR, FAISS_VERSION_MINOR, FAISS_VERSION_PATCH);
}

#ifndef TR_FAISS_C

namespace {

thread_local std::string last_error;

int keep(const char *text, FaissErrorCode code) noexcept {
  try {
    last_error = text;
  } catch (...) {
    last_error.clear();
  }
  return code;
}

// Runs a step; what it throws becomes a code of the C API, and its text the last error.
template <typename Step> int guarded(Step step) noexcept {
  try {
    step();
    return 0;
  } catch (const faiss::FaissException &e) {
    return keep(e.what(), FAISS_EXCEPT);
  } catch (const std::exception &e) {
    return keep(e.what(), STD_EXCEPT);
  } catch (...) {
    return keep("an exception of an unknown kind", UNKNOWN_EXCEPT);
  }
}

faiss::Index *of(FaissIndex *index) {
  return reinterpret_cast<faiss::Index *>(index);
}

const faiss::Index *of(const FaissIndex *index) {
  return reinterpret_cast<const faiss::Index *>(index);
}

const faiss::IndexIVF *ivf_of(const FaissIndexIVF *index) {
  return reinterpret_cast<const faiss::IndexIVF *>(index);
}

faiss::ParameterSpace *of(FaissParameterSpace *space) {
  return reinterpret_cast<faiss::ParameterSpace *>(space);
}

} // namespace

const char *faiss_get_last_error() {
  return last_error.c_str();
}

int faiss_index_factory(FaissIndex **p_index, int d, const char *description, FaissMetricType metric) {
  return guarded([=] {
    *p_index = reinterpret_cast<FaissIndex *>(faiss::index_factory(d, description, static_cast<faiss::MetricType>(metric)));
  });
}

void faiss_Index_free(FaissIndex *index) {
  delete of(index);
}

int faiss_Index_d(const FaissIndex *index) {
  return of(index)->d;
}

int faiss_Index_is_trained(const FaissIndex *index) {
  return of(index)->is_trained;
}

faiss_idx_t faiss_Index_ntotal(const FaissIndex *index) {
  return of(index)->ntotal;
}

FaissMetricType faiss_Index_metric_type(const FaissIndex *index) {
  return static_cast<FaissMetricType>(of(index)->metric_type);
}

int faiss_Index_train(FaissIndex *index, faiss_idx_t n, const float *x) {
  return guarded([=] { of(index)->train(n, x); });
}

int faiss_Index_add(FaissIndex *index, faiss_idx_t n, const float *x) {
  return guarded([=] { of(index)->add(n, x); });
}

int faiss_Index_search(const FaissIndex *index, faiss_idx_t n, const float *x, faiss_idx_t k, float *distances,
                       faiss_idx_t *labels) {
  return guarded([=] { of(index)->search(n, x, k, distances, labels); });
}

int faiss_Index_reconstruct_n(const FaissIndex *index, faiss_idx_t first, faiss_idx_t n, float *rows) {
  return guarded([=] { of(index)->reconstruct_n(first, n, rows); });
}

size_t faiss_IndexIVF_nlist(const FaissIndexIVF *index) {
  return ivf_of(index)->nlist;
}

size_t faiss_IndexIVF_nprobe(const FaissIndexIVF *index) {
  return ivf_of(index)->nprobe;
}

size_t faiss_IndexIVF_get_list_size(const FaissIndexIVF *index, size_t list) {
  return ivf_of(index)->get_list_size(list);
}

int faiss_write_index(const FaissIndex *index, FILE *file) {
  return guarded([=] { faiss::write_index(of(index), file); });
}

int faiss_read_index(FILE *file, int io_flags, FaissIndex **p_out) {
  return guarded([=] { *p_out = reinterpret_cast<FaissIndex *>(faiss::read_index(file, io_flags)); });
}

int faiss_ParameterSpace_new(FaissParameterSpace **space) {
  return guarded([=] { *space = reinterpret_cast<FaissParameterSpace *>(new faiss::ParameterSpace()); });
}

void faiss_ParameterSpace_free(FaissParameterSpace *space) {
  delete of(space);
}

int faiss_ParameterSpace_set_index_parameter(const FaissParameterSpace *space, FaissIndex *index, const char *name,
                                             double value) {
  return guarded([=] { reinterpret_cast<const faiss::ParameterSpace *>(space)->set_index_parameter(of(index), name, value); });
}

#endif
