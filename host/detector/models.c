/* One model, or one for each position of a tile. */
#include "host/detector/models.h"
#include "host/base/status.h"
#include "host/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tr_models {
  tr_models_options options;
  tr_model **items; /* [count]; NULL: not there */
  char *folder;     /* of models that are fitted, as files; NULL: none */
  bool in_files;    /* all of them */
};

static tr_status no_memory(void) {
  return tr_fail(TR_ENOMEM, "models of a detector: out of memory");
}

/* ---- create and destroy ---- */

static void release_items(tr_models *m) {
  for (size_t i = 0; m->items && i < m->options.count; ++i) {
    if (m->items[i])
      m->options.method->destroy(m->items[i]);
    m->items[i] = NULL;
  }
}

static char *path_of(const char *folder, size_t i) {
  return tr_format("%s/%zu", folder, i);
}

static void remove_folder(const tr_models *m, char *folder) {
  for (size_t i = 0; folder && i < m->options.count; ++i) {
    char *path = path_of(folder, i);
    if (path)
      unlink(path);
    free(path);
  }
  if (folder)
    rmdir(folder);
  free(folder);
}

void tr_models_destroy(tr_models *m) {
  if (!m)
    return;
  release_items(m);
  remove_folder(m, m->folder);
  free(m->items);
  free(m);
}

tr_status tr_models_create(const tr_models_options *options, tr_models **out) {
  *out = NULL;
  tr_models *m = calloc(1, sizeof *m);
  if (!m)
    return no_memory();
  m->options = *options;
  m->items = calloc(options->count, sizeof(tr_model *));
  if (!m->items) {
    tr_models_destroy(m);
    return no_memory();
  }
  *out = m;
  return TR_OK;
}

/* The model's own record of the maps it was fitted on, against what this backbone gives. */
static tr_status check_maps(const tr_model_file *file, const tr_aggregate_spec *maps) {
  tr_aggregate_spec fitted = {0};
  TR_TRY(tr_model_maps_from_json(tr_model_file_settings(file), &fitted));
  bool same = fitted.layers == maps->layers;
  for (int i = 0; same && i < maps->layers; ++i)
    same = fitted.h[i] == maps->h[i] && fitted.w[i] == maps->w[i] && fitted.c[i] == maps->c[i];
  return same ? TR_OK : tr_fail(TR_EFORMAT, "the model was fitted on maps of other shapes than its backbone and layers give");
}

static tr_status load_item(tr_models *m, const tr_model_file *whole, size_t i) {
  const tr_method_options *o = &m->options.of_one;
  tr_model_file *file;
  TR_TRY(tr_model_file_part(whole, i, &file));
  tr_status status = check_maps(file, &o->aggregate);
  if (status == TR_OK)
    status = m->options.method->load(o->device, m->options.count > 1 ? file : whole, &m->items[i]);
  tr_model_file_close(file);
  return status;
}

static tr_status load_items(tr_models *m, const tr_model_file *file) {
  size_t found = tr_model_file_parts(file);
  if (found != m->options.count)
    return tr_fail(TR_EFORMAT, "its settings are of %zu banks, and it has %zu", m->options.count, found);
  for (size_t i = 0; i < found; ++i)
    TR_TRY(load_item(m, file, i));
  return TR_OK;
}

tr_status tr_models_load(const tr_models_options *options, const tr_model_file *file, tr_models **out) {
  TR_TRY(tr_models_create(options, out));
  tr_status status = load_items(*out, file);
  if (status != TR_OK) {
    tr_models_destroy(*out);
    *out = NULL;
  }
  return status;
}

/* ---- units on their way to models ---- */

/* Of several models each counts images. */
static size_t model_of(const tr_models *m, size_t unit) {
  return m->options.count > 1 ? unit % m->options.tiles : 0;
}

static size_t number_of(const tr_models *m, size_t unit) {
  return m->options.count > 1 ? unit / m->options.tiles : unit;
}

/* The units of a call from number `begin` on that go to one model together. */
static size_t run_of(const tr_models *m, const size_t *units, size_t n, size_t begin) {
  size_t count = 1;
  while (begin + count < n && model_of(m, units[begin + count]) == model_of(m, units[begin]) &&
         number_of(m, units[begin + count]) == number_of(m, units[begin]) + count)
    ++count;
  return count;
}

static void maps_from(const tr_models *m, const float *const *maps, size_t begin, const float *out[TR_MAX_LAYERS]) {
  const tr_aggregate_spec *a = &m->options.of_one.aggregate;
  for (int i = 0; i < a->layers; ++i)
    out[i] = maps[i] + begin * (size_t)a->h[i] * (size_t)a->w[i] * (size_t)a->c[i];
}

/* ---- fitting ---- */

static tr_status fit_units(void *context, int lane, const size_t *units, size_t n, const float *const *maps) {
  const tr_models *m = context;
  for (size_t begin = 0, count; begin < n; begin += count) {
    const float *from[TR_MAX_LAYERS];
    count = run_of(m, units, n, begin);
    maps_from(m, maps, begin, from);
    TR_TRY(m->options.method->fit_images(m->items[model_of(m, units[begin])], lane, number_of(m, units[begin]), count, from));
  }
  return TR_OK;
}

/* Models [first, end), which see images of which some may be unwanted: [images, tiles]. */
typedef struct lot {
  tr_models *models;
  tr_feed *feed;
  const tr_sample *samples;
  size_t images, first, end;
  uint8_t *wanted; /* [images, tiles] */
  bool *again;     /* [count] */
} lot;

static tr_status create_lot(const lot *l) {
  tr_models *m = l->models;
  tr_method_options options = m->options.of_one;
  tr_method_needs needs;
  TR_TRY(m->options.method->forecast(&options, 0, &needs));
  for (size_t i = l->first; i < l->end; ++i) {
    options.beside_bytes = m->options.of_one.beside_bytes + needs.fit_bytes * (l->end - 1 - i);
    TR_TRY(m->options.method->create(&options, &m->items[i]));
  }
  return TR_OK;
}

/* Which units a lot asks for: at first all of its tiles; then what its models ask for, by their numbers. */
static void want_all(const lot *l) {
  size_t tiles = l->models->options.tiles;
  for (size_t unit = 0; unit < l->images * tiles; ++unit) {
    size_t model = model_of(l->models, unit);
    l->wanted[unit] = model >= l->first && model < l->end;
  }
}

static tr_status want_again(const lot *l, bool *any) {
  const tr_models *m = l->models;
  size_t units = l->images * m->options.tiles;
  uint8_t *asked = malloc(units);
  if (!asked)
    return no_memory();
  memset(l->wanted, 0, units);
  *any = false;
  for (size_t i = l->first; i < l->end; ++i) {
    memset(asked, 0, units);
    l->again[i] = m->options.method->wants_again && m->options.method->wants_again(m->items[i], asked);
    *any = *any || l->again[i];
    for (size_t unit = 0; l->again[i] && unit < units; ++unit)
      if (model_of(m, unit) == i)
        l->wanted[unit] = asked[number_of(m, unit)];
  }
  free(asked);
  return TR_OK;
}

static tr_status feed_lot(const lot *l, const char *stage) {
  tr_feed_list list = {.samples = l->samples, .count = l->images, .wanted = l->wanted};
  return tr_feed_images(l->feed, stage, &list, fit_units, l->models);
}

static tr_status fit_lot(const lot *l) {
  const tr_models *m = l->models;
  bool any;
  TR_TRY(create_lot(l));
  want_all(l);
  TR_TRY(feed_lot(l, "nominal images"));
  for (size_t i = l->first; i < l->end; ++i)
    TR_TRY(m->options.method->fit_end(m->items[i]));
  TR_TRY(want_again(l, &any));
  if (!any)
    return TR_OK;
  TR_TRY(feed_lot(l, "nominal images again"));
  for (size_t i = l->first; i < l->end; ++i)
    if (l->again[i])
      TR_TRY(m->options.method->fit_end(m->items[i]));
  return TR_OK;
}

/* ---- files ---- */

static tr_status make_folder(const tr_models *m, char **out) {
  const char *parent = m->options.of_one.folder ? m->options.of_one.folder : "/tmp";
  char *folder = tr_format("%s/totalrecall-XXXXXX", parent);
  if (!folder)
    return no_memory();
  if (!mkdtemp(folder)) {
    free(folder);
    return tr_fail_errno(TR_EIO, "making a folder for models in %s", parent);
  }
  *out = folder;
  return TR_OK;
}

static tr_status save_items(const tr_models *m, const char *folder, size_t first, size_t end) {
  tr_status status = TR_OK;
  for (size_t i = first; status == TR_OK && i < end; ++i) {
    char *path = path_of(folder, i);
    status = path ? m->options.method->save(m->items[i], 0, path, NULL) : no_memory();
    free(path);
  }
  return status;
}

static tr_status join(const tr_models *m, const char *folder, const char *path, const char *about) {
  tr_strings files = {0};
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < m->options.count; ++i)
    status = tr_strings_take(&files, path_of(folder, i));
  if (status == TR_OK)
    status = tr_model_files_join((const char *const *)files.items, files.count, m->options.of_one.device, about, path);
  tr_strings_free(&files);
  return status;
}

tr_status tr_models_save(const tr_models *m, const char *path, const char *about) {
  char *folder = NULL;
  if (m->options.count == 1)
    return m->options.method->save(m->items[0], 0, path, about);
  if (m->in_files)
    return join(m, m->folder, path, about);
  TR_TRY(make_folder(m, &folder));
  tr_status status = save_items(m, folder, 0, m->options.count);
  if (status == TR_OK)
    status = join(m, folder, path, about);
  remove_folder(m, folder);
  return status;
}

/* ---- fitting all ---- */

static tr_status fit_lots(lot *l) {
  tr_models *m = l->models;
  size_t count = m->options.count, at_once = m->options.at_once;
  bool several = at_once < count;
  if (several)
    TR_TRY(make_folder(m, &m->folder));
  for (l->first = 0; l->first < count; l->first = l->end) {
    l->end = count - l->first < at_once ? count : l->first + at_once;
    TR_TRY(fit_lot(l));
    if (!several)
      continue;
    TR_TRY(save_items(m, m->folder, l->first, l->end));
    release_items(m);
  }
  m->in_files = several;
  return TR_OK;
}

tr_status tr_models_fit(tr_models *m, tr_feed *feed, const tr_sample *samples, size_t images) {
  lot l = {.models = m,
           .feed = feed,
           .samples = samples,
           .images = images,
           .wanted = malloc(images * m->options.tiles + 1),
           .again = calloc(m->options.count, sizeof *l.again)};
  tr_status status = l.wanted && l.again ? fit_lots(&l) : no_memory();
  free(l.wanted);
  free(l.again);
  return status;
}

/* ---- scoring ---- */

static tr_status load_saved(tr_models *m, size_t i) {
  char *path = path_of(m->folder, i);
  tr_model_file *file = NULL;
  tr_status status = path ? tr_model_file_open(path, &file) : no_memory();
  if (status == TR_OK)
    status = m->options.method->load(m->options.of_one.device, file, &m->items[i]);
  tr_model_file_close(file);
  free(path);
  return status;
}

tr_status tr_models_ready(tr_models *m) {
  for (size_t i = 0; m->in_files && i < m->options.count; ++i)
    if (!m->items[i])
      TR_TRY(load_saved(m, i));
  return TR_OK;
}

tr_status tr_models_score_units(void *context, int lane, const size_t *units, size_t n, const float *const *maps) {
  const tr_models_scores *s = context;
  const tr_models *m = s->models;
  for (size_t begin = 0, count; begin < n; begin += count) {
    const float *from[TR_MAX_LAYERS];
    count = run_of(m, units, n, begin);
    maps_from(m, maps, begin, from);
    TR_TRY(m->options.method->score_images(m->items[model_of(m, units[begin])], lane, count, from,
                                           s->patch_scores + units[begin] * s->patches, s->most * s->patches,
                                           s->unit_scores + units[begin], s->most));
  }
  return TR_OK;
}

tr_status tr_models_score_end(tr_models *m) {
  tr_status status = TR_OK;
  for (size_t i = 0; m->options.method->score_end && i < m->options.count; ++i) {
    tr_status one = m->options.method->score_end(m->items[i]);
    status = status == TR_OK ? one : status;
  }
  return status;
}

tr_status tr_models_spent(const tr_models *m, double *aggregate, double *search) {
  *aggregate = *search = 0;
  for (size_t i = 0; i < m->options.count; ++i) {
    tr_model_info info;
    TR_TRY(m->options.method->info(m->items[i], 0, &info));
    *aggregate += info.aggregate_seconds;
    *search += info.nearest_seconds;
  }
  return TR_OK;
}
