/* Which heat maps to show, and their pictures as JPEG: a page with tens of PNGs would be megabytes. */
#include "host/report/heatmaps.h"
#include "datasets/image.h"
#include "host/base/status.h"
#include "host/report/csv.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { JPEG_QUALITY = 85 };

/* <results>/<machine>/NAME of all machines that have such a folder, then `given`. */
static tr_status folders_of(const char *results, const tr_strings *machines, const char *name, const tr_strings *given,
                            tr_strings *out) {
  *out = (tr_strings){0};
  for (size_t i = 0; i < machines->count; ++i) {
    char *folder = tr_format("%s/%s/%s", results, machines->items[i], name);
    if (folder && !tr_is_folder(folder))
      free(folder);
    else
      TR_TRY(tr_strings_take(out, folder));
  }
  for (size_t i = 0; i < given->count; ++i)
    TR_TRY(tr_strings_add(out, given->items[i]));
  return TR_OK;
}

/* ---- runs that have pictures ---- */

/* A class of a run that was drawn. */
typedef struct candidate {
  const tr_result *result;
  char *folder; /* of its pictures */
} candidate;

typedef struct candidates {
  candidate *items;
  size_t count, capacity;
} candidates;

static void free_candidates(candidates *list) {
  for (size_t i = 0; i < list->count; ++i)
    free(list->items[i].folder);
  free(list->items);
}

/* Takes the folder. */
static tr_status add_candidate(candidates *list, const tr_result *result, char *folder) {
  if (list->count == list->capacity) {
    size_t capacity = list->capacity ? 2 * list->capacity : 16;
    candidate *items = realloc(list->items, capacity * sizeof *items);
    if (!items) {
      free(folder);
      return tr_fail(TR_ENOMEM, "looking for heat maps: out of memory");
    }
    list->items = items;
    list->capacity = capacity;
  }
  list->items[list->count++] = (candidate){result, folder};
  return TR_OK;
}

static const tr_result *result_of(const tr_results *results, const char *run, const char *class_name) {
  for (size_t i = results->count; i-- > 0;)
    if (strcmp(results->items[i].run, run) == 0 && strcmp(results->items[i].class_name, class_name) == 0)
      return &results->items[i];
  return NULL;
}

static tr_status find_classes(const char *folder, const char *run, const tr_results *results, tr_progress *progress,
                              candidates *out) {
  tr_strings classes = {0};
  TR_TRY(tr_folder_list(folder, &classes));
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < classes.count; ++i) {
    char *path = tr_format("%s/%s", folder, classes.items[i]);
    const tr_result *result = result_of(results, run, classes.items[i]);
    if (!path)
      status = tr_fail(TR_ENOMEM, "looking for heat maps: out of memory");
    else if (result && tr_is_folder(path)) {
      status = add_candidate(out, result, path);
      path = NULL;
    } else if (tr_is_folder(path))
      tr_progress_line(progress, "warning: %s: its heat maps are left out, as there is no result of that run and class", path);
    free(path);
  }
  tr_strings_free(&classes);
  return status;
}

static tr_status find_runs(const char *maps, const tr_results *results, tr_progress *progress, candidates *out) {
  tr_strings runs = {0};
  TR_TRY(tr_folder_list(maps, &runs));
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < runs.count; ++i) {
    char *folder = tr_format("%s/%s", maps, runs.items[i]);
    if (!folder)
      status = tr_fail(TR_ENOMEM, "looking for heat maps: out of memory");
    else if (tr_is_folder(folder))
      status = find_classes(folder, runs.items[i], results, progress, out);
    free(folder);
  }
  tr_strings_free(&runs);
  return status;
}

static int compare_kinds(const tr_result *a, const tr_result *b) {
  int order = strcmp(a->dataset, b->dataset);
  if (!order)
    order = strcmp(a->class_name, b->class_name);
  return order ? order : strcmp(a->method, b->method);
}

/* By kind; of one kind the best run first. */
static int compare_candidates(const void *a, const void *b) {
  const tr_result *x = ((const candidate *)a)->result, *y = ((const candidate *)b)->result;
  int order = compare_kinds(x, y);
  if (!order)
    order = (x->image_auroc < y->image_auroc) - (x->image_auroc > y->image_auroc);
  return order ? order : strcmp(x->run, y->run);
}

/* ---- the choice among a class's images ---- */

typedef struct scored {
  const char *image;
  double score;
  bool anomalous;
} scored;

typedef struct score_table {
  tr_csv csv;
  scored *images;
  size_t count;
} score_table;

static void free_scores(score_table *table) {
  free(table->images);
  tr_csv_free(&table->csv);
}

static tr_status read_scores(const char *path, score_table *out) {
  *out = (score_table){0};
  TR_TRY(tr_csv_read(path, &out->csv));
  out->images = calloc(out->csv.rows + 1, sizeof *out->images);
  if (!out->images)
    return tr_fail(TR_ENOMEM, "reading %s: out of memory", path);
  for (size_t i = 0; i < out->csv.rows; ++i) {
    char *end;
    const char *score = tr_csv_cell(&out->csv, i, "score"), *label = tr_csv_cell(&out->csv, i, "label");
    scored *image = &out->images[out->count++];
    *image = (scored){tr_csv_cell(&out->csv, i, "image"), strtod(score, &end), strcmp(label, "1") == 0};
    if (end == score || *end || !isfinite(image->score) || (!image->anomalous && strcmp(label, "0") != 0))
      return tr_fail(TR_EFORMAT, "%s:%zu: expected image,label,score with label 0 or 1, found label \"%s\" and score \"%s\"",
                     path, i + 2, label, score);
  }
  return TR_OK;
}

/* The image of a kind with the highest (direction 1) or lowest (-1) score, the first of equal ones; NULL without such images. */
static const scored *extreme(const score_table *table, bool anomalous, int direction) {
  const scored *found = NULL;
  for (size_t i = 0; i < table->count; ++i)
    if (table->images[i].anomalous == anomalous && (!found || direction * table->images[i].score > direction * found->score))
      found = &table->images[i];
  return found;
}

static void count_beaten(const score_table *table, tr_heat_map *map) {
  for (size_t i = 0; i < table->count; ++i) {
    const scored *other = &table->images[i];
    if (other->anomalous == map->anomalous)
      continue;
    ++map->others;
    map->beaten += map->anomalous ? other->score < map->score : other->score > map->score;
  }
}

static tr_status load_picture(const char *folder, tr_heat_map *map) {
  const char *slash = strrchr(map->image, '/'), *dot = strrchr(map->image, '.');
  size_t stem = dot && (!slash || dot > slash) ? (size_t)(dot - map->image) : strlen(map->image);
  char *path = tr_format("%s/%.*s.png", folder, (int)stem, map->image);
  if (!path)
    return tr_fail(TR_ENOMEM, "reading the heat map of %s: out of memory", map->image);
  tr_image picture = {.pixels = NULL};
  tr_status status = tr_image_read(path, 3, &picture);
  if (status == TR_OK)
    status = tr_image_encode_jpeg(picture.pixels, picture.h, picture.w, 3, JPEG_QUALITY, &map->jpeg, &map->bytes);
  map->h = picture.h;
  map->w = picture.w;
  tr_image_free(&picture);
  free(path);
  return status;
}

static tr_status choose(const score_table *table, const char *folder, tr_heat_map_class *out) {
  static const struct {
    const char *role;
    bool anomalous;
    int direction;
  } roles[TR_HEAT_MAPS_OF_CLASS] = {
      {"clearest defect", true, 1}, {"faintest defect", true, -1}, {"good image with the highest score", false, 1}};
  const scored *before = NULL;
  for (size_t i = 0; i < TR_HEAT_MAPS_OF_CLASS; ++i) {
    const scored *image = extreme(table, roles[i].anomalous, roles[i].direction);
    if (!image || image == before) /* a single defect is both */
      continue;
    before = image;
    tr_heat_map *map = &out->items[out->count++];
    *map =
        (tr_heat_map){.role = roles[i].role, .image = strdup(image->image), .score = image->score, .anomalous = image->anomalous};
    if (!map->image)
      return tr_fail(TR_ENOMEM, "choosing heat maps: out of memory");
    count_beaten(table, map);
    TR_TRY(load_picture(folder, map));
  }
  return TR_OK;
}

/* NULL text: in none of the folders. */
static tr_status find_scores(const tr_strings *folders, const tr_result *result, char **out) {
  *out = NULL;
  for (size_t i = 0; i < folders->count; ++i) {
    char *path = tr_format("%s/%s_%s.csv", folders->items[i], result->run, result->class_name);
    if (!path)
      return tr_fail(TR_ENOMEM, "looking for scores: out of memory");
    if (tr_is_file(path)) {
      *out = path;
      return TR_OK;
    }
    free(path);
  }
  return TR_OK;
}

/* Nothing is added where there are no scores. */
static tr_status add_class(const candidate *c, const tr_strings *scores, tr_progress *progress, tr_heat_maps *out) {
  char *path;
  TR_TRY(find_scores(scores, c->result, &path));
  if (!path) {
    tr_progress_line(progress, "warning: %s: its heat maps are left out, as its scores (%s_%s.csv) were not found", c->folder,
                     c->result->run, c->result->class_name);
    return TR_OK;
  }
  tr_heat_map_class *class_ = &out->items[out->count++];
  *class_ = (tr_heat_map_class){.result = c->result};
  score_table table;
  tr_status status = read_scores(path, &table);
  if (status == TR_OK)
    status = choose(&table, c->folder, class_);
  free_scores(&table);
  free(path);
  return status;
}

static tr_status choose_all(candidates *found, const tr_strings *scores, tr_progress *progress, tr_heat_maps *out) {
  out->items = calloc(found->count + 1, sizeof *out->items);
  if (!out->items)
    return tr_fail(TR_ENOMEM, "choosing heat maps: out of memory");
  if (found->count)
    qsort(found->items, found->count, sizeof *found->items, compare_candidates);
  for (size_t i = 0; i < found->count; ++i)
    if (!out->count || compare_kinds(out->items[out->count - 1].result, found->items[i].result) != 0)
      TR_TRY(add_class(&found->items[i], scores, progress, out));
  return TR_OK;
}

static tr_status read_all(const tr_strings *maps, const tr_strings *scores, tr_progress *progress, tr_heat_maps *out) {
  candidates found = {0};
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < maps->count; ++i)
    status = find_runs(maps->items[i], &out->runs.results, progress, &found);
  if (status == TR_OK)
    status = choose_all(&found, scores, progress, out);
  free_candidates(&found);
  return status;
}

tr_status tr_heat_maps_read(const char *results, const tr_strings *maps, const tr_strings *scores, tr_progress *progress,
                            tr_heat_maps *out) {
  *out = (tr_heat_maps){0};
  tr_strings machines = {0}, map_folders = {0}, score_folders = {0};
  tr_status status = tr_machines_list(results, &machines);
  if (status == TR_OK)
    status = tr_runs_read(results, &machines, NULL, &out->runs); /* the report has told of lines that cannot be read */
  if (status == TR_OK)
    status = folders_of(results, &machines, "maps", maps, &map_folders);
  if (status == TR_OK)
    status = folders_of(results, &machines, "scores", scores, &score_folders);
  if (status == TR_OK)
    status = read_all(&map_folders, &score_folders, progress, out);
  tr_strings_free(&machines);
  tr_strings_free(&map_folders);
  tr_strings_free(&score_folders);
  if (status != TR_OK)
    tr_heat_maps_free(out);
  return status;
}

void tr_heat_maps_free(tr_heat_maps *heat_maps) {
  for (size_t i = 0; i < heat_maps->count; ++i)
    for (size_t j = 0; j < heat_maps->items[i].count; ++j) {
      free(heat_maps->items[i].items[j].image);
      free(heat_maps->items[i].items[j].jpeg);
    }
  free(heat_maps->items);
  tr_runs_free(&heat_maps->runs);
  *heat_maps = (tr_heat_maps){0};
}
