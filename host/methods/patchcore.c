/* PatchCore (paper section 3; official src/patchcore/patchcore.py): a memory bank of patch features, subsampled, and the distance
 * of a test patch to its nearest bank row.
 *
 * Besides exact search there are indexes (host/search), one for each prefix of a bank that a variant wants one of. What they find is
 * compared with an exact search of the same rows, which is run once for all of them.
 *
 * All variants share the features. Greedy orders and random permutations are drawn once per seed: every percentage is a prefix,
 * so one bank with the largest number of rows serves all of them, and variants that search the same rows share the search. Learned
 * proxies are learned for each number of them.
 *
 * What the device has no room for lies in host memory: first the training features, then banks, the largest first. Results are the
 * same; tr_patchcore_place() decides, from the device's free memory.
 *
 * Where not all features are to be kept (tr_keep), greedy selection has the projected ones, an eighth, and the picked rows come from a
 * file or from images that are fed once more. The projected ones may lie in a file as well. The whole bank, learning, and selection by unprojected features keep them all nevertheless.
 *
 * Here: the model's life, from its first training image to its last. What variants share is in patchcore_plan.c, the sizes of it all in
 * patchcore_memory.c, then patchcore_select.c, patchcore_score.c and patchcore_file.c.
 */
#include "host/methods/patchcore.h"
#include "host/base/status.h"

#include <math.h>
#include <stdlib.h>

static void free_features(tr_model *model) {
  if (model->features_in_host)
    tr_device_free_pinned(model->device, model->features);
  else
    tr_device_free(model->device, model->features);
  model->features = NULL;
}

static void release_references(const tr_model *model, tr_lane_buffers *b) {
  for (size_t i = 0; b->references && i < model->search_count; ++i) {
    free(b->references[i].distances);
    free(b->references[i].indices);
  }
  free(b->references);
}

void tr_patchcore_destroy(tr_model *model) {
  if (!model)
    return;
  for (size_t i = 0; model->selections && i < model->selection_count; ++i) {
    free(model->selections[i].order);
    free(model->selections[i].prefixes);
    tr_device_free(model->device, model->selections[i].matrix);
    tr_device_free(model->device, model->selections[i].projected);
    tr_feature_file_close(model->selections[i].projected_file);
    tr_picks_destroy(model->selections[i].picks);
    tr_bank_destroy(model->selections[i].bank);
  }
  for (int lane = 0; model->buffers && lane < model->lanes; ++lane) {
    tr_lane_buffers *b = &model->buffers[lane];
    void *const device_memory[] = {b->aggregate_scratch, b->features,         b->distances,    b->indices,
                                   b->search_scratch,    b->reweight_scratch, b->image_scores, b->projected};
    for (size_t i = 0; i < sizeof device_memory / sizeof *device_memory; ++i)
      tr_device_free(model->device, device_memory[i]);
    free(b->host_distances);
    free(b->host_features);
    free(b->host_projected);
    free(b->host_indices);
    free(b->index_scratch);
    release_references(model, b);
  }
  for (size_t i = 0; model->indexes && i < model->index_count; ++i)
    tr_index_destroy(model->indexes[i].index);
  free_features(model);
  tr_feature_file_close(model->file);
  free(model->buffers);
  free(model->selections);
  free(model->searches);
  free(model->indexes);
  free(model->loaded_search);
  free(model->variant_search);
  free(model->variants);
  pthread_mutex_destroy(&model->lock);
  free(model);
}

static tr_status allocate_lane_features(tr_model *model) {
  for (int lane = 0; lane < model->lanes; ++lane)
    TR_TRY(tr_device_alloc(model->device, tr_patchcore_lane_features_bytes(model), (void **)&model->buffers[lane].features));
  return TR_OK;
}

/* Features in host memory pass through the lanes' own on the device. */
static tr_status allocate_features(tr_model *model) {
  size_t row_bytes = (size_t)model->d * sizeof(float);
  if (!model->features_in_host)
    return tr_device_alloc(model->device, model->train_rows * row_bytes, (void **)&model->features);
  TR_TRY(allocate_lane_features(model));
  return tr_device_alloc_pinned(model->device, model->train_rows * row_bytes, (void **)&model->features);
}

/* What passes through a lane on its way to a file. */
static tr_status allocate_passing(tr_model *model, tr_lane_buffers *b) {
  size_t projected = tr_patchcore_lane_projected_bytes(model);
  if (tr_patchcore_features_in_file(model) && !(b->host_features = malloc(tr_patchcore_lane_features_bytes(model))))
    return tr_fail(TR_ENOMEM, "features on their way to a file: out of memory");
  if (!tr_patchcore_projected_in_file(model))
    return TR_OK;
  b->host_projected = malloc(projected + 1);
  return b->host_projected ? tr_device_alloc(model->device, projected, (void **)&b->projected)
                           : tr_fail(TR_ENOMEM, "projected features on their way to a file: out of memory");
}

static tr_status prepare_less(tr_model *model, const char *folder) {
  folder = folder ? folder : "/tmp";
  TR_TRY(allocate_lane_features(model));
  for (int lane = 0; lane < model->lanes; ++lane)
    TR_TRY(allocate_passing(model, &model->buffers[lane]));
  for (size_t i = 0; i < model->selection_count; ++i)
    TR_TRY(tr_patchcore_prepare(model, &model->selections[i], folder));
  return tr_patchcore_features_in_file(model) ? tr_feature_file_create(folder, tr_patchcore_features_bytes(model), &model->file)
                                              : TR_OK;
}

tr_status tr_patchcore_allocate_aggregate(tr_model *model) {
  size_t scratch = tr_aggregate_scratch(model->device, &model->aggregate, (int)model->chunk);
  for (int lane = 0; lane < model->lanes; ++lane)
    TR_TRY(tr_device_alloc(model->device, scratch, &model->buffers[lane].aggregate_scratch));
  return TR_OK;
}

static tr_status create(const tr_method_options *options, tr_model **out) {
  *out = NULL;
  tr_model *model;
  TR_TRY(tr_patchcore_plan(options, true, &model));
  tr_patchcore_place(model, tr_patchcore_room(options), true);
  tr_patchcore_say_placement(model);
  tr_status status = model->keep == TR_KEEP_FEATURES ? allocate_features(model) : prepare_less(model, options->folder);
  if (status == TR_OK)
    status = tr_patchcore_allocate_aggregate(model);
  if (status != TR_OK) {
    tr_patchcore_destroy(model);
    return tr_fail_context(status, "patchcore: memory for the patch features of %zu images", options->train_images);
  }
  *out = model;
  return TR_OK;
}

tr_status tr_patchcore_aggregate(const tr_model *model, int lane, size_t n, const float *const *maps, float *features) {
  tr_aggregate_args args = {
      .spec = model->aggregate, .n = (int)n, .dst = features, .scratch = model->buffers[lane].aggregate_scratch};
  for (int i = 0; i < model->aggregate.layers; ++i)
    args.maps[i] = maps[i];
  return tr_aggregate(model->device, &args);
}

static tr_status fit_less(tr_model *model, int lane, size_t first, size_t n, const float *const *maps) {
  const tr_lane_buffers *b = &model->buffers[lane];
  size_t image_bytes = model->patches * (size_t)model->d * sizeof(float);
  TR_TRY(tr_patchcore_aggregate(model, lane, n, maps, b->features));
  for (size_t i = 0; i < model->selection_count; ++i)
    TR_TRY(tr_patchcore_take_images(model, &model->selections[i], lane, first, n, b->features));
  if (!model->file)
    return TR_OK;
  TR_TRY(tr_device_download(model->device, b->host_features, b->features, n * image_bytes));
  TR_TRY(tr_device_sync(model->device));
  return tr_feature_file_write(model->file, first * image_bytes, b->host_features, n * image_bytes);
}

static tr_status fit_images(tr_model *model, int lane, size_t first, size_t n, const float *const *maps) {
  if (model->keep != TR_KEEP_FEATURES)
    return fit_less(model, lane, first, n, maps);
  size_t image = model->patches * (size_t)model->d;
  float *features = model->features + first * image, *passing = model->buffers[lane].features;
  if (!model->features_in_host)
    return tr_patchcore_aggregate(model, lane, n, maps, features);
  TR_TRY(tr_patchcore_aggregate(model, lane, n, maps, passing));
  return tr_device_download(model->device, features, passing, n * image * sizeof(float));
}

/* When all banks are there. */
static tr_status prepare_scores(tr_model *model) {
  for (size_t i = 0; i < model->index_count; ++i) {
    tr_prefix_index *index = &model->indexes[i];
    TR_TRY(tr_bank_index(model->selections[index->selection].bank, index->rows, tr_search_factory(index->search), model->progress,
                         &index->index));
  }
  return tr_patchcore_allocate_scores(model);
}

/* A selection's rows are complete when images have passed as often as it takes. */
static tr_status fit_end_less(tr_model *model) {
  bool again = false;
  for (size_t i = 0; i < model->selection_count; ++i) {
    tr_selection *s = &model->selections[i];
    if (model->phase == FITTING && s->kind == TR_SUBSAMPLE_GREEDY) {
      TR_TRY(tr_patchcore_select_projected(model, s));
      again = again || !model->file;
    }
  }
  for (size_t i = 0; i < model->selection_count; ++i) {
    tr_selection *s = &model->selections[i];
    if (!s->bank && !(again && s->kind == TR_SUBSAMPLE_GREEDY))
      TR_TRY(tr_patchcore_bank_of_picks(model, s));
  }
  model->phase = again ? FITTING_AGAIN : FITTED;
  if (again)
    return TR_OK;
  tr_feature_file_close(model->file);
  model->file = NULL;
  return prepare_scores(model);
}

static bool wants_again(const tr_model *model, uint8_t *images) {
  if (model->phase != FITTING_AGAIN)
    return false;
  for (size_t i = 0; i < model->selection_count; ++i)
    for (size_t image = 0; model->selections[i].picks && image < model->train_rows / model->patches; ++image)
      images[image] |= tr_picks_want(model->selections[i].picks, image);
  return true;
}

static tr_status fit_end(tr_model *model) {
  if (model->keep != TR_KEEP_FEATURES)
    return fit_end_less(model);
  tr_selection *whole = NULL;
  for (size_t i = 0; i < model->selection_count; ++i) {
    if (model->selections[i].kind == TR_SUBSAMPLE_NONE)
      whole = &model->selections[i];
    else if (model->selections[i].kind == TR_SUBSAMPLE_LEARNED)
      TR_TRY(tr_patchcore_learn(model, &model->selections[i]));
    else
      TR_TRY(tr_patchcore_select(model, &model->selections[i]));
  }
  if (!whole) {
    free_features(model);
    return prepare_scores(model);
  }
  float *features = model->features;
  model->features = NULL;
  TR_TRY(model->features_in_host ? tr_patchcore_bank_from_host(model, whole, features)
                                 : tr_bank_create(model->device, features, model->train_rows, model->d, &whole->bank));
  return prepare_scores(model);
}

static tr_status info(const tr_model *model, size_t variant, tr_model_info *out) {
  if (variant >= model->variant_count)
    return tr_fail(TR_EINVAL, "patchcore: there is no variant %zu of %zu", variant, model->variant_count);
  const tr_search *pass = &model->searches[model->variant_search[variant]];
  *out = (tr_model_info){.bank_rows = pass->rows,
                         .dimension = model->d,
                         .cover = pass->cover,
                         .coreset_seconds = model->selections[pass->selection].seconds,
                         .nearest_seconds =
                             pass->timed ? pass->seconds / model->lanes * ((double)model->scored / (double)pass->timed) : 0,
                         .aggregate_seconds = model->aggregate_seconds / model->lanes,
                         .recall_at_1 = pass->compared ? (double)pass->right / (double)pass->compared : NAN,
                         .distance_error = pass->measured ? (double)pass->error * TR_ERROR_UNIT / (double)pass->measured : NAN};
  if (pass->index != TR_NONE && model->indexes[pass->index].index) {
    out->index_seconds = tr_index_build_seconds(model->indexes[pass->index].index);
    out->index_bytes = tr_index_bytes(model->indexes[pass->index].index);
    out->searched_by = tr_index_searched_by(model->indexes[pass->index].index);
  }
  return TR_OK;
}

static const uint32_t *bank_order(const tr_model *model, size_t variant, size_t *rows) {
  const tr_search *pass = &model->searches[model->variant_search[variant]];
  *rows = pass->rows;
  return model->selections[pass->selection].order;
}

const tr_method tr_method_patchcore = {
    .name = "patchcore",
    .create = create,
    .destroy = tr_patchcore_destroy,
    .fit_images = fit_images,
    .fit_end = fit_end,
    .wants_again = wants_again,
    .score_images = tr_patchcore_score_images,
    .score_own = tr_patchcore_score_own,
    .info = info,
    .bank_order = bank_order,
    .forecast = tr_patchcore_forecast,
    .save = tr_patchcore_save,
    .load = tr_patchcore_load,
};
