/* PatchCore's scores: distances of patches to their nearest bank rows, of test images and of training images. */
#include "host/base/status.h"
#include "host/methods/patchcore.h"
#include "kernels/reweight.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static tr_status allocate_host_buffers(const tr_model *model, tr_lane_buffers *b, size_t prefixes, size_t queries) {
  size_t index_scratch = 0;
  for (size_t i = 0; i < model->index_count; ++i) {
    size_t bytes = tr_index_search_scratch(model->indexes[i].index, model->patches, 1);
    index_scratch = bytes > index_scratch ? bytes : index_scratch;
  }
  b->host_distances = malloc(prefixes * queries * sizeof(float));
  b->host_indices = malloc(queries * sizeof(uint32_t));
  b->index_scratch = malloc(index_scratch + 1);
  b->references = calloc(model->search_count, sizeof *b->references);
  bool complete = b->host_distances && b->host_indices && b->index_scratch && b->references;
  for (size_t i = 0; complete && i < model->search_count; ++i) {
    if (!model->searches[i].is_reference)
      continue;
    b->references[i].distances = malloc(queries * sizeof(float));
    b->references[i].indices = malloc(queries * sizeof(uint32_t));
    complete = b->references[i].distances && b->references[i].indices;
  }
  return complete ? TR_OK : tr_fail(TR_ENOMEM, "patchcore: scores of %zu patches: out of memory", queries);
}

static int compare_sizes(const void *a, const void *b) {
  size_t x = *(const size_t *)a, y = *(const size_t *)b;
  return (x > y) - (x < y);
}

/* The prefixes of a selection that are searched exactly. */
static tr_status gather_prefixes(tr_model *model, size_t of) {
  tr_selection *s = &model->selections[of];
  size_t count = 0;
  s->prefixes = malloc(model->search_count * sizeof *s->prefixes);
  if (!s->prefixes)
    return tr_fail(TR_ENOMEM, "patchcore: %zu searches: out of memory", model->search_count);
  for (size_t i = 0; i < model->search_count; ++i)
    if (model->searches[i].selection == of && model->searches[i].index == TR_NONE)
      s->prefixes[count++] = model->searches[i].rows;
  qsort(s->prefixes, count, sizeof *s->prefixes, compare_sizes);
  for (size_t i = 0; i < count; ++i)
    if (i == 0 || s->prefixes[i] != s->prefixes[i - 1])
      s->prefixes[s->prefix_count++] = s->prefixes[i];
  for (size_t i = 0; i < model->search_count; ++i) {
    tr_search *search = &model->searches[i];
    if (search->selection == of && search->index == TR_NONE)
      while (s->prefixes[search->prefix] != search->rows)
        ++search->prefix;
  }
  return TR_OK;
}

tr_status tr_patchcore_allocate_scores(tr_model *model) {
  size_t queries = model->chunk * model->patches, prefixes = tr_patchcore_most_prefixes(model);
  for (size_t i = 0; i < model->selection_count; ++i)
    TR_TRY(gather_prefixes(model, i));
  size_t search_scratch = tr_patchcore_search_scratch(model), reweight_scratch = tr_patchcore_reweight_scratch(model);
  for (int lane = 0; lane < model->lanes; ++lane) {
    tr_lane_buffers *b = &model->buffers[lane];
    if (!b->features)
      TR_TRY(tr_device_alloc(model->device, queries * (size_t)model->d * sizeof(float), (void **)&b->features));
    TR_TRY(tr_device_alloc(model->device, prefixes * queries * sizeof(float), (void **)&b->distances));
    TR_TRY(tr_device_alloc(model->device, prefixes * queries * sizeof(uint32_t), (void **)&b->indices));
    TR_TRY(tr_device_alloc(model->device, search_scratch, &b->search_scratch));
    TR_TRY(tr_device_alloc(model->device, reweight_scratch, &b->reweight_scratch));
    TR_TRY(tr_device_alloc(model->device, model->chunk * sizeof(float), (void **)&b->image_scores));
    TR_TRY(allocate_host_buffers(model, b, prefixes, queries));
  }
  return TR_OK;
}

static void note_images(tr_model *model, size_t queries, double aggregate_seconds) {
  pthread_mutex_lock(&model->lock);
  model->scored += queries;
  model->aggregate_seconds += aggregate_seconds;
  pthread_mutex_unlock(&model->lock);
}

/* In one of so many of a lane's passes prefixes are searched one by one. */
enum { TIMED_PASSES = 16 };

/* Each prefix by itself. */
static tr_status search_alone(const tr_model *model, const tr_selection *s, const tr_lane_buffers *b, size_t queries,
                              double *seconds) {
  for (size_t i = 0; i < s->prefix_count; ++i) {
    double begin, end;
    TR_TRY(tr_device_clock(model->device, &begin));
    TR_TRY(tr_bank_search(s->bank, s->prefixes[i], b->features, queries, model->patches, 1, b->distances + i * queries,
                          b->indices + i * queries, b->search_scratch));
    TR_TRY(
        tr_device_download(model->device, b->host_distances + i * queries, b->distances + i * queries, queries * sizeof(float)));
    TR_TRY(tr_device_clock(model->device, &end));
    seconds[i] = end - begin;
  }
  return TR_OK;
}

static void note_seconds(tr_model *model, size_t selection, size_t queries, const double *seconds) {
  pthread_mutex_lock(&model->lock);
  for (size_t i = 0; i < model->search_count; ++i) {
    tr_search *search = &model->searches[i];
    if (search->selection != selection || search->index != TR_NONE)
      continue;
    search->seconds += seconds[search->prefix];
    search->timed += queries;
  }
  pthread_mutex_unlock(&model->lock);
}

/* All prefixes of a selection that are searched exactly, in one pass; every so often one by one, which gives the same and tells what each
 * takes by itself. */
static tr_status search_exactly(tr_model *model, size_t of, const tr_lane_buffers *b, size_t queries) {
  const tr_selection *s = &model->selections[of];
  if (s->prefix_count == 0)
    return TR_OK;
  if (s->prefix_count == 1 || b->passes % TIMED_PASSES == 0) {
    double *seconds = malloc(s->prefix_count * sizeof *seconds);
    tr_status status = seconds ? search_alone(model, s, b, queries, seconds) : tr_fail(TR_ENOMEM, "patchcore: out of memory");
    if (status == TR_OK)
      note_seconds(model, of, queries, seconds);
    free(seconds);
    return status;
  }
  TR_TRY(tr_bank_search_prefixes(s->bank, s->prefixes, s->prefix_count, b->features, queries, model->patches, 1, b->distances,
                                 b->indices, b->search_scratch));
  TR_TRY(tr_device_download(model->device, b->host_distances, b->distances, s->prefix_count * queries * sizeof(float)));
  return tr_device_sync(model->device);
}

/* For the indexes that are compared with it. */
static tr_status keep_reference(const tr_model *model, const tr_search *search, const tr_lane_buffers *b,
                                const tr_reference *found, size_t queries) {
  memcpy(found->distances, b->host_distances + search->prefix * queries, queries * sizeof(float));
  TR_TRY(tr_device_download(model->device, found->indices, b->indices + search->prefix * queries, queries * sizeof(uint32_t)));
  return tr_device_sync(model->device);
}

/* An image at a time, so that the sums do not depend on the chunks. An index finds a nearest row too when it is another one just as
 * near. */
static void compare_image(const tr_lane_buffers *b, const tr_reference *exact, size_t first, size_t n, tr_search *sums) {
  double error = 0;
  for (size_t i = first; i < first + n; ++i) {
    double distance = sqrt(fmax((double)b->host_distances[i], 0)), nearest = sqrt((double)exact->distances[i]);
    sums->right += b->host_indices[i] == exact->indices[i] || b->host_distances[i] == exact->distances[i];
    if (nearest > 0) {
      error += fabs(distance - nearest) / nearest;
      ++sums->measured;
    }
  }
  sums->compared += n;
  sums->error += llrint(error / TR_ERROR_UNIT);
}

static tr_status search_index(tr_model *model, tr_search *pass, const tr_lane_buffers *b, size_t queries) {
  double begin, end, waited;
  TR_TRY(tr_device_clock(model->device, &begin)); /* as search_alone */
  TR_TRY(tr_index_search(model->indexes[pass->index].index, pass->effort, b->features, queries, model->patches, 1, b->distances,
                         b->indices, b->index_scratch, b->search_scratch, &waited));
  TR_TRY(tr_device_download(model->device, b->host_distances, b->distances, queries * sizeof(float)));
  TR_TRY(tr_device_clock(model->device, &end));
  TR_TRY(tr_device_download(model->device, b->host_indices, b->indices, queries * sizeof(uint32_t)));
  TR_TRY(tr_device_sync(model->device));
  tr_search sums = {0};
  for (size_t first = 0; pass->reference != TR_NONE && first < queries; first += model->patches)
    compare_image(b, &b->references[pass->reference], first, model->patches, &sums);
  pthread_mutex_lock(&model->lock);
  pass->seconds += end - begin - waited;
  pass->timed += queries;
  pass->compared += sums.compared;
  pass->right += sums.right;
  pass->measured += sums.measured;
  pass->error += sums.error;
  pthread_mutex_unlock(&model->lock);
  return TR_OK;
}

static void patch_scores_of(const tr_variant *variant, const float *squared, size_t count, float *scores) {
  for (size_t i = 0; i < count; ++i)
    scores[i] = variant->distance == TR_DISTANCE_EUCLIDEAN ? sqrtf(squared[i]) : squared[i];
}

static void image_maximum(const float *patch_scores, size_t n, size_t patches, float *scores) {
  for (size_t i = 0; i < n; ++i) {
    scores[i] = patch_scores[i * patches];
    for (size_t p = 1; p < patches; ++p)
      scores[i] = fmaxf(scores[i], patch_scores[i * patches + p]);
  }
}

/* By what was found for a prefix. */
static tr_status image_reweighted(const tr_model *model, const tr_lane_buffers *b, size_t prefix, const tr_bank *bank,
                                  size_t rows, const tr_variant *variant, size_t n, float *scores) {
  size_t found = prefix * n * model->patches;
  TR_TRY(tr_bank_reweight(bank, &(tr_reweight_args){.n = (int)n,
                                                    .patches = (int)model->patches,
                                                    .features = b->features,
                                                    .distances = b->distances + found,
                                                    .indices = b->indices + found,
                                                    .bank_rows = rows,
                                                    .b = variant->neighbours,
                                                    .scores = b->image_scores,
                                                    .scratch = b->reweight_scratch}));
  TR_TRY(tr_device_download(model->device, scores, b->image_scores, n * sizeof(float)));
  return tr_device_sync(model->device);
}

/* Where a lane's scores go: [variant][n][patches] and [variant][n]. */
typedef struct score_target {
  float *patch_scores, *image_scores;
  size_t patch_stride, image_stride;
} score_target;

/* Of all variants of a search, whose result is in the buffers. */
static tr_status score_variants(const tr_model *model, size_t of, const tr_lane_buffers *b, size_t n, const score_target *to) {
  const tr_search *search = &model->searches[of];
  size_t queries = n * model->patches;
  for (size_t v = 0; v < model->variant_count; ++v) {
    if (model->variant_search[v] != of)
      continue;
    const tr_variant *variant = &model->variants[v];
    float *patch_scores = to->patch_scores + v * to->patch_stride, *image_scores = to->image_scores + v * to->image_stride;
    patch_scores_of(variant, b->host_distances + search->prefix * queries, queries, patch_scores);
    if (variant->image_score != TR_SCORE_REWEIGHTED)
      image_maximum(patch_scores, n, model->patches, image_scores);
    else
      TR_TRY(image_reweighted(model, b, search->prefix, model->selections[search->selection].bank, search->rows, variant, n,
                              image_scores));
  }
  return TR_OK;
}

/* Exact searches before the indexes that are compared with them. */
static tr_status score_selection(tr_model *model, size_t of, const tr_lane_buffers *b, size_t n, const score_target *to) {
  size_t queries = n * model->patches;
  TR_TRY(search_exactly(model, of, b, queries));
  for (size_t i = 0; i < model->search_count; ++i) {
    const tr_search *search = &model->searches[i];
    if (search->selection != of || search->index != TR_NONE)
      continue;
    TR_TRY(score_variants(model, i, b, n, to));
    if (search->is_reference)
      TR_TRY(keep_reference(model, search, b, &b->references[i], queries));
  }
  for (size_t i = 0; i < model->search_count; ++i) {
    if (model->searches[i].selection != of || model->searches[i].index == TR_NONE)
      continue;
    TR_TRY(search_index(model, &model->searches[i], b, queries));
    TR_TRY(score_variants(model, i, b, n, to));
  }
  return TR_OK;
}

tr_status tr_patchcore_score_images(tr_model *model, int lane, size_t n, const float *const *maps, float *patch_scores,
                                    size_t variant_stride, float *image_scores, size_t image_stride) {
  tr_lane_buffers *b = &model->buffers[lane];
  const score_target to = {patch_scores, image_scores, variant_stride, image_stride};
  double begin, end;
  TR_TRY(tr_device_clock(model->device, &begin));
  TR_TRY(tr_patchcore_aggregate(model, lane, n, maps, b->features));
  TR_TRY(tr_device_clock(model->device, &end));
  note_images(model, n * model->patches, end - begin);
  for (size_t i = 0; i < model->selection_count; ++i)
    TR_TRY(score_selection(model, i, b, n, &to));
  ++b->passes;
  return TR_OK;
}

/* ---- a training image ---- */

/* The rows of a search that are not of images [first, end), as a bank. A whole bank has its rows in the images' order. */
static tr_status make_bank_without(const tr_model *model, const tr_search *pass, size_t first, size_t end, tr_bank **out) {
  const tr_selection *s = &model->selections[pass->selection];
  uint32_t *others = malloc(pass->rows * sizeof *others);
  if (!others)
    return tr_fail(TR_ENOMEM, "patchcore: a bank of %zu rows without an image: out of memory", pass->rows);
  size_t count = 0, row_bytes = (size_t)model->d * sizeof(float);
  for (size_t i = 0; i < pass->rows; ++i) {
    size_t image = (s->order ? s->order[i] : i) / model->patches;
    if (image < first || image >= end)
      others[count++] = (uint32_t)i;
  }
  float *rows = NULL;
  tr_status status = count ? tr_device_alloc(model->device, count * row_bytes, (void **)&rows)
                           : tr_fail(TR_EINVAL, "patchcore: all bank rows are of one training image");
  if (status == TR_OK)
    status = tr_device_gather(model->device, rows, tr_bank_data(s->bank), others, count, row_bytes);
  if (status == TR_OK)
    status = tr_bank_create(model->device, rows, count, model->d, out);
  else
    tr_device_free(model->device, rows);
  free(others);
  return status;
}

/* `b`: lane 0's buffers, with scratch for this bank. */
static tr_status search_own(tr_model *model, const tr_variant *variant, const tr_bank *bank, const tr_lane_buffers *b,
                            const float *const *maps, float *patch_scores, float *image_score) {
  size_t rows = tr_bank_rows(bank);
  TR_TRY(tr_patchcore_aggregate(model, 0, 1, maps, b->features));
  TR_TRY(tr_bank_search(bank, rows, b->features, model->patches, model->patches, 1, b->distances, b->indices, b->search_scratch));
  TR_TRY(tr_device_download(model->device, b->host_distances, b->distances, model->patches * sizeof(float)));
  TR_TRY(tr_device_sync(model->device));
  patch_scores_of(variant, b->host_distances, model->patches, patch_scores);
  if (variant->image_score == TR_SCORE_REWEIGHTED)
    return image_reweighted(model, b, 0, bank, rows, variant, 1, image_score);
  image_maximum(patch_scores, 1, model->patches, image_score);
  return TR_OK;
}

static tr_status score_against(tr_model *model, const tr_variant *variant, const tr_bank *bank, const float *const *maps,
                               float *patch_scores, float *image_score) {
  tr_lane_buffers b = model->buffers[0];
  size_t rows = tr_bank_rows(bank), reweight = 0;
  if (variant->image_score == TR_SCORE_REWEIGHTED && (size_t)variant->neighbours > rows)
    return tr_fail(TR_EINVAL, "patchcore: %d neighbours of the %zu bank rows that are not a training image's own",
                   variant->neighbours, rows);
  if (variant->image_score == TR_SCORE_REWEIGHTED)
    reweight = tr_bank_reweight_scratch(bank, 1, (int)model->patches, rows, variant->neighbours);
  b.search_scratch = b.reweight_scratch = NULL;
  size_t search_bytes = tr_bank_search_scratch(bank, model->patches, model->patches, rows, 1);
  tr_status status = tr_device_alloc(model->device, search_bytes, &b.search_scratch);
  if (status == TR_OK)
    status = tr_device_alloc(model->device, reweight, &b.reweight_scratch);
  if (status == TR_OK)
    status = search_own(model, variant, bank, &b, maps, patch_scores, image_score);
  tr_device_free(model->device, b.search_scratch);
  tr_device_free(model->device, b.reweight_scratch);
  return status;
}

tr_status tr_patchcore_score_own(tr_model *model, size_t variant, size_t first, size_t count, const float *const *maps,
                                 float *patch_scores, float *image_score) {
  const tr_search *pass = &model->searches[model->variant_search[variant]];
  const tr_selection *s = &model->selections[pass->selection];
  if (s->kind == TR_SUBSAMPLE_LEARNED || tr_bank_is_in_host(s->bank))
    return tr_fail(TR_EINVAL, "patchcore: training images are scored against rows on the device only, not %s",
                   s->kind == TR_SUBSAMPLE_LEARNED ? "learned proxies" : "rows in host memory");
  tr_bank *bank;
  TR_TRY(make_bank_without(model, pass, first, first + count, &bank));
  tr_status status = score_against(model, &model->variants[variant], bank, maps, patch_scores, image_score);
  tr_bank_destroy(bank);
  return status;
}
