/* ivf: checks, the lists nearest to each query, and dispatch. */
#include "kernels/ivf.h"

#include "host/base/status.h"
#include "kernels/operators.h"
#include "kernels/sections.h"

/* Centroids are a bank of few rows: `nearest` finds as many as it can give at once; of more, the twin makes its own list. */
static bool lists_by_nearest(int nprobe) {
  return nprobe <= TR_NEAREST_MAX_K;
}

static int fewer(int nprobe, size_t list_count) {
  return (size_t)nprobe < list_count ? nprobe : (int)list_count;
}

typedef struct layout {
  uint32_t *probes; /* [queries_count, nprobe] */
  float *distances; /* of their centroids: not needed */
  void *work;       /* nearest's, then the twin's */
} layout;

static layout lay_out(tr_sections *s, const tr_device *device, const tr_ivf_shape *shape, size_t queries_count, size_t group,
                      int nprobe, int k) {
  layout l = {NULL, NULL, NULL};
  size_t work = tr_device_operators(device)->ivf_scratch(device, shape, queries_count, nprobe, k), lists = 0;
  if (lists_by_nearest(nprobe)) {
    size_t found = queries_count * (size_t)nprobe;
    l.probes = tr_section(s, found * sizeof(uint32_t));
    l.distances = tr_section(s, found * sizeof(float));
    lists = tr_nearest_scratch(device, queries_count, group, shape->list_count, shape->d, nprobe);
  }
  l.work = tr_section(s, work > lists ? work : lists);
  return l;
}

static bool shape_is_valid(const tr_ivf_shape *s) {
  return s->d >= 1 && s->codes >= 0 && (s->codes == 0 || s->d % s->codes == 0) && s->list_count >= 1 &&
         s->list_count < INT32_MAX && s->rows >= 1 && s->rows < UINT32_MAX;
}

size_t tr_ivf_scratch(const tr_device *device, const tr_ivf_shape *shape, size_t queries_count, size_t group, int nprobe, int k) {
  if (queries_count == 0 || group == 0 || !shape_is_valid(shape) || nprobe < 1 || k < 1 || k > TR_NEAREST_MAX_K)
    return 0;
  tr_sections counted = TR_SECTIONS_COUNT;
  lay_out(&counted, device, shape, queries_count, group, fewer(nprobe, shape->list_count), k);
  return counted.used;
}

static tr_status check_pointers(const tr_ivf_args *args) {
  const tr_ivf_lists *l = args->lists;
  const struct {
    bool given;
    const char *name;
  } needed[] = {{l->centroids, "centroids"}, {l->centroid_norms, "centroid_norms"},
                {l->begins, "begins"},       {l->ids, "ids"},
                {l->data, "data"},           {l->codebooks || l->shape.codes == 0, "codebooks"},
                {args->queries, "queries"},  {args->distances, "distances"},
                {args->indices, "indices"},  {args->scratch, "scratch"}};
  for (size_t i = 0; i < sizeof needed / sizeof *needed; ++i)
    if (!needed[i].given)
      return tr_fail(TR_EINVAL, "ivf: %s is NULL", needed[i].name);
  return TR_OK;
}

static tr_status check(const tr_ivf_args *args) {
  const tr_ivf_shape *s = &args->lists->shape;
  if (!shape_is_valid(s))
    return tr_fail(TR_EINVAL, "ivf: expected lists, rows, d of at least 1 and codes that divide d, found %zu, %zu, %d and %d",
                   s->list_count, s->rows, s->d, s->codes);
  if (args->group == 0)
    return tr_fail(TR_EINVAL, "ivf: expected groups of at least one query, found 0");
  if (args->nprobe < 1 || args->k < 1 || args->k > TR_NEAREST_MAX_K || (size_t)args->k > s->rows)
    return tr_fail(TR_EINVAL, "ivf: expected nprobe of at least 1, k of 1 to %d and at most the %zu rows, found %d and %d",
                   TR_NEAREST_MAX_K, s->rows, args->nprobe, args->k);
  return check_pointers(args);
}

static tr_status find_lists(tr_device *device, const tr_ivf_args *args, const layout *l) {
  const tr_ivf_lists *lists = args->lists;
  return tr_nearest(device, &(tr_nearest_args){.queries_count = args->queries_count,
                                               .group = args->group,
                                               .queries = args->queries,
                                               .bank_rows = lists->shape.list_count,
                                               .bank = lists->centroids,
                                               .bank_norms = lists->centroid_norms,
                                               .sketch = lists->sketch,
                                               .d = lists->shape.d,
                                               .k = args->nprobe,
                                               .distances = l->distances,
                                               .indices = l->probes,
                                               .scratch = l->work});
}

tr_status tr_ivf(tr_device *device, const tr_ivf_args *args) {
  if (args->queries_count == 0)
    return TR_OK;
  TR_TRY(check(args));
  tr_ivf_args a = *args;
  a.nprobe = fewer(args->nprobe, args->lists->shape.list_count);
  tr_sections sections = tr_sections_of(args->scratch);
  layout l = lay_out(&sections, device, &a.lists->shape, a.queries_count, a.group, a.nprobe, a.k);
  if (l.probes)
    TR_TRY(find_lists(device, &a, &l));
  return tr_device_operators(device)->ivf(device, &a, l.probes, l.work);
}
