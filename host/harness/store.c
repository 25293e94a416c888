/* The store of results: lines of JSON by cJSON, one table of fields for both directions, and a file that is only ever
 * appended to. */
#include "host/harness/store.h"
#include "host/base/json.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/harness/claim.h"
#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* ---- fields ---- */

typedef enum field_type { FIELD_TEXT, FIELD_INT, FIELD_SIZE, FIELD_SEED, FIELD_DOUBLE } field_type;

typedef struct field {
  const char *name;
  size_t offset;
  field_type type;
  bool required;
} field;

#define AT(member)   offsetof(tr_result, member)
#define COUNT(array) (sizeof(array) / sizeof *(array))

static const field fields[] = {
    {"experiment", AT(experiment), FIELD_TEXT, true},
    {"run", AT(run), FIELD_TEXT, true},
    {"dataset", AT(dataset), FIELD_TEXT, true},
    {"class", AT(class_name), FIELD_TEXT, true},
    {"method", AT(method), FIELD_TEXT, true},
    {"backbone", AT(backbone), FIELD_TEXT, true},
    {"layers", AT(layers), FIELD_TEXT, false},
    {"weights", AT(weights), FIELD_TEXT, false},
    {"weights_sha256", AT(weights_sha256), FIELD_TEXT, true},
    {"image_auroc", AT(image_auroc), FIELD_DOUBLE, false},
    {"pixel_auroc", AT(pixel_auroc), FIELD_DOUBLE, false},
    {"pixel_auroc_anomalous", AT(pixel_auroc_anomalous), FIELD_DOUBLE, false},
    {"pro", AT(pro), FIELD_DOUBLE, false},
    {"pro_anomalous_224", AT(pro_anomalous_224), FIELD_DOUBLE, false},
    {"f1", AT(f1), FIELD_DOUBLE, false},
    {"misclassified", AT(misclassified), FIELD_DOUBLE, false},
    {"false_positives", AT(false_positives), FIELD_DOUBLE, false},
    {"false_negatives", AT(false_negatives), FIELD_DOUBLE, false},
    {"train_images", AT(train_images), FIELD_SIZE, true},
    {"images", AT(images), FIELD_SIZE, true},
    {"anomalous_images", AT(anomalous_images), FIELD_SIZE, false},
    {"regions", AT(regions), FIELD_SIZE, false},
    {"bank_rows", AT(bank_rows), FIELD_SIZE, false},
    {"covering_radius", AT(covering_radius), FIELD_DOUBLE, false},
    {"dimension", AT(dimension), FIELD_INT, false},
    {"protocol", AT(protocol), FIELD_TEXT, false},
    {"resize", AT(resize), FIELD_INT, false},
    {"crop", AT(crop), FIELD_INT, false},
    {"squash", AT(squash), FIELD_INT, false},
    {"tile", AT(tile), FIELD_INT, false},
    {"tile_overlap", AT(tile_overlap), FIELD_INT, false},
    {"tile_bank", AT(tile_bank), FIELD_TEXT, false},
    {"patch", AT(patch), FIELD_INT, false},
    {"stride", AT(stride), FIELD_INT, false},
    {"aggregate", AT(aggregate), FIELD_TEXT, false},
    {"layer_dimension", AT(layer_dimension), FIELD_INT, false},
    {"target_dimension", AT(target_dimension), FIELD_INT, false},
    {"subsampling", AT(subsampling), FIELD_TEXT, false},
    {"percent", AT(percent), FIELD_DOUBLE, false},
    {"projection", AT(projection), FIELD_INT, false},
    {"search", AT(search), FIELD_TEXT, false},
    {"searched_by", AT(searched_by), FIELD_TEXT, false},
    {"nprobe", AT(nprobe), FIELD_INT, false},
    {"ef_search", AT(ef_search), FIELD_INT, false},
    {"recall_at_1", AT(recall_at_1), FIELD_DOUBLE, false},
    {"distance_error", AT(distance_error), FIELD_DOUBLE, false},
    {"index_bytes", AT(index_bytes), FIELD_SIZE, false},
    {"distance", AT(distance), FIELD_TEXT, false},
    {"image_score", AT(image_score), FIELD_TEXT, false},
    {"neighbours", AT(neighbours), FIELD_INT, false},
    {"gallery", AT(gallery), FIELD_TEXT, false},
    {"placement", AT(placement), FIELD_TEXT, false},
    {"epsilon", AT(epsilon), FIELD_DOUBLE, false},
    {"sigma", AT(sigma), FIELD_DOUBLE, false},
    {"seed", AT(seed), FIELD_SEED, false},
    {"split_file", AT(split_file), FIELD_TEXT, false},
    {"frame_step", AT(frame_step), FIELD_INT, false},
    {"frame_offset", AT(frame_offset), FIELD_INT, false},
    {"tested_only", AT(tested_only), FIELD_INT, false},
    {"mask_rule", AT(mask_rule), FIELD_TEXT, false},
    {"low_shot", AT(low_shot), FIELD_INT, false},
    {"normalise", AT(normalise), FIELD_TEXT, false},
    {"peak_bytes", AT(peak_bytes), FIELD_SIZE, false},
    {"forecast_bytes", AT(forecast_bytes), FIELD_SIZE, false},
    {"device_peak_bytes", AT(device_peak_bytes), FIELD_SIZE, false},
    {"other_load", AT(other_load), FIELD_DOUBLE, false},
    {"device", AT(device), FIELD_TEXT, false},
    {"processor", AT(processor), FIELD_TEXT, false},
    {"threads", AT(threads), FIELD_INT, false},
    {"version", AT(version), FIELD_TEXT, false},
    {"date", AT(date), FIELD_TEXT, false},
};

static const field second_fields[] = {
    {"decode", AT(seconds.decode), FIELD_DOUBLE, false},
    {"backbone", AT(seconds.backbone), FIELD_DOUBLE, false},
    {"coreset", AT(seconds.coreset), FIELD_DOUBLE, false},
    {"fit", AT(seconds.fit), FIELD_DOUBLE, false},
    {"index", AT(seconds.index), FIELD_DOUBLE, false},
    {"nearest", AT(seconds.nearest), FIELD_DOUBLE, false},
    {"search_per_image", AT(seconds.search_per_image), FIELD_DOUBLE, false},
    {"maps", AT(seconds.maps), FIELD_DOUBLE, false},
    {"metrics", AT(seconds.metrics), FIELD_DOUBLE, false},
    {"pass", AT(seconds.pass), FIELD_DOUBLE, false},
    {"score_per_image", AT(seconds.score_per_image), FIELD_DOUBLE, false},
};

static const field forecast_fields[] = {
    {"decode", AT(forecast.decode), FIELD_DOUBLE, false},   {"backbone", AT(forecast.backbone), FIELD_DOUBLE, false},
    {"coreset", AT(forecast.coreset), FIELD_DOUBLE, false}, {"nearest", AT(forecast.nearest), FIELD_DOUBLE, false},
    {"metrics", AT(forecast.metrics), FIELD_DOUBLE, false}, {"pass", AT(forecast.pass), FIELD_DOUBLE, false},
};

/* Objects within the line's object. */
static const struct {
  const char *name;
  const field *fields;
  size_t count;
} parts[] = {{"seconds", second_fields, COUNT(second_fields)}, {"forecast_seconds", forecast_fields, COUNT(forecast_fields)}};

/* Sizes and seeds stay below 2^53, so a double carries them. */
static cJSON *field_to_json(const field *f, const tr_result *result) {
  const char *at = (const char *)result + f->offset;
  switch (f->type) {
  case FIELD_TEXT: {
    const char *text = *(char *const *)(const void *)at;
    return text ? cJSON_CreateString(text) : cJSON_CreateNull();
  }
  case FIELD_INT:
    return tr_json_number(*(const int *)(const void *)at);
  case FIELD_SIZE:
    return tr_json_number((double)*(const size_t *)(const void *)at);
  case FIELD_SEED:
    return tr_json_number((double)*(const uint64_t *)(const void *)at);
  default:
    return tr_json_number(*(const double *)(const void *)at);
  }
}

static bool add_fields(cJSON *object, const field *list, size_t count, const tr_result *result) {
  for (size_t i = 0; i < count; ++i) {
    cJSON *item = field_to_json(&list[i], result);
    if (!item || !cJSON_AddItemToObject(object, list[i].name, item)) {
      cJSON_Delete(item);
      return false;
    }
  }
  return true;
}

tr_status tr_result_to_json(const tr_result *result, char **out) {
  *out = NULL;
  cJSON *object = cJSON_CreateObject();
  bool complete = object && add_fields(object, fields, COUNT(fields), result);
  for (size_t i = 0; complete && i < COUNT(parts); ++i) {
    cJSON *part = cJSON_AddObjectToObject(object, parts[i].name);
    complete = part && add_fields(part, parts[i].fields, parts[i].count, result);
  }
  if (complete)
    *out = cJSON_PrintUnformatted(object);
  cJSON_Delete(object);
  return *out ? TR_OK : tr_fail(TR_ENOMEM, "writing the result of %s, %s", result->run, result->class_name);
}

static bool whole_number(const cJSON *item, double most) {
  double value = item->valuedouble;
  return cJSON_IsNumber(item) && value >= 0 && value <= most && value == floor(value);
}

static tr_status field_from_json(const field *f, const cJSON *object, tr_result *result) {
  char *at = (char *)result + f->offset;
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, f->name);
  bool absent = !item || cJSON_IsNull(item);
  if (absent && f->type == FIELD_DOUBLE)
    *(double *)(void *)at = NAN;
  if (absent)
    return f->required ? tr_fail(TR_EFORMAT, "the result has no \"%s\"", f->name) : TR_OK;
  bool fits = true;
  switch (f->type) {
  case FIELD_TEXT:
    fits = cJSON_IsString(item);
    if (fits && !(*(char **)(void *)at = strdup(item->valuestring)))
      return tr_fail(TR_ENOMEM, "reading a result");
    break;
  case FIELD_INT:
    fits = whole_number(item, INT32_MAX);
    *(int *)(void *)at = fits ? (int)item->valuedouble : 0;
    break;
  case FIELD_SIZE:
    fits = whole_number(item, 0x1p53);
    *(size_t *)(void *)at = fits ? (size_t)item->valuedouble : 0;
    break;
  case FIELD_SEED:
    fits = whole_number(item, 0x1p53);
    *(uint64_t *)(void *)at = fits ? (uint64_t)item->valuedouble : 0;
    break;
  default:
    fits = cJSON_IsNumber(item);
    *(double *)(void *)at = fits ? item->valuedouble : NAN;
  }
  return fits ? TR_OK : tr_fail(TR_EFORMAT, "the result's \"%s\" has a value of a wrong kind", f->name);
}

static tr_status fields_from_json(const field *list, size_t count, const cJSON *object, tr_result *result) {
  for (size_t i = 0; i < count; ++i)
    TR_TRY(field_from_json(&list[i], object, result));
  return TR_OK;
}

tr_status tr_result_from_json(const char *line, tr_result *out) {
  *out = (tr_result){0};
  cJSON *object = cJSON_ParseWithOpts(line, NULL, 1);
  tr_status status = TR_OK;
  if (!cJSON_IsObject(object))
    status = tr_fail(TR_EFORMAT, "a result is a JSON object, found %.40s", line);
  if (status == TR_OK)
    status = fields_from_json(fields, COUNT(fields), object, out);
  for (size_t i = 0; status == TR_OK && i < COUNT(parts); ++i)
    status = fields_from_json(parts[i].fields, parts[i].count, cJSON_GetObjectItemCaseSensitive(object, parts[i].name), out);
  cJSON_Delete(object);
  if (status != TR_OK)
    tr_result_free(out);
  return status;
}

void tr_result_free(tr_result *result) {
  if (!result)
    return;
  for (size_t i = 0; i < COUNT(fields); ++i)
    if (fields[i].type == FIELD_TEXT)
      free(*(char **)(void *)((char *)result + fields[i].offset));
  *result = (tr_result){0};
}

/* ---- the same work ---- */

tr_run_key tr_result_key(const tr_result *result) {
  return (tr_run_key){.run = result->run,
                      .dataset = result->dataset,
                      .class_name = result->class_name,
                      .weights_sha256 = result->weights_sha256,
                      .train_images = result->train_images,
                      .images = result->images};
}

bool tr_run_key_equal(const tr_run_key *a, const tr_run_key *b) {
  return strcmp(a->run, b->run) == 0 && strcmp(a->class_name, b->class_name) == 0 && strcmp(a->dataset, b->dataset) == 0 &&
         strcmp(a->weights_sha256, b->weights_sha256) == 0 && a->train_images == b->train_images && a->images == b->images;
}

/* Each text with its end, so that no two keys run together. */
static uint64_t hash_of_key(const tr_run_key *key) {
  const char *const texts[] = {key->run, key->dataset, key->class_name, key->weights_sha256};
  uint64_t hash = 0;
  for (size_t i = 0; i < COUNT(texts); ++i)
    hash = XXH3_64bits_withSeed(texts[i], strlen(texts[i]) + 1, hash);
  const uint64_t counts[] = {key->train_images, key->images};
  return XXH3_64bits_withSeed(counts, sizeof counts, hash);
}

static bool same_double(double a, double b) {
  return a == b || (isnan(a) && isnan(b));
}

const char *tr_result_difference(const tr_result *a, const tr_result *b) {
  static const struct {
    const char *name;
    size_t offset;
  } doubles[] = {{"image_auroc", AT(image_auroc)},
                 {"pixel_auroc", AT(pixel_auroc)},
                 {"pixel_auroc_anomalous", AT(pixel_auroc_anomalous)},
                 {"pro", AT(pro)},
                 {"pro_anomalous_224", AT(pro_anomalous_224)},
                 {"f1", AT(f1)},
                 {"recall_at_1", AT(recall_at_1)},
                 {"distance_error", AT(distance_error)},
                 {"false_positives", AT(false_positives)},
                 {"false_negatives", AT(false_negatives)}};
  for (size_t i = 0; i < COUNT(doubles); ++i) {
    const char *x = (const char *)a + doubles[i].offset, *y = (const char *)b + doubles[i].offset;
    if (!same_double(*(const double *)(const void *)x, *(const double *)(const void *)y))
      return doubles[i].name;
  }
  if (a->anomalous_images != b->anomalous_images)
    return "anomalous_images";
  if (a->bank_rows != b->bank_rows)
    return "bank_rows";
  return a->dimension != b->dimension ? "dimension" : NULL;
}

const tr_result *tr_results_find(const tr_results *results, const tr_run_key *key) {
  for (size_t i = results->count; i-- > 0;) {
    tr_run_key found = tr_result_key(&results->items[i]);
    if (tr_run_key_equal(&found, key))
      return &results->items[i];
  }
  return NULL;
}

/* ---- reading ---- */

static tr_status add_result(tr_results *list, const tr_result *result) {
  if (list->count == list->capacity) {
    size_t capacity = list->capacity ? 2 * list->capacity : 64;
    tr_result *items = realloc(list->items, capacity * sizeof *items);
    if (!items)
      return tr_fail(TR_ENOMEM, "reading %zu results", capacity);
    list->items = items;
    list->capacity = capacity;
  }
  list->items[list->count++] = *result;
  return TR_OK;
}

tr_status tr_results_add_copy(tr_results *results, const tr_result *result) {
  tr_result copy = *result;
  bool complete = true;
  for (size_t i = 0; i < COUNT(fields); ++i) {
    char **text = (char **)(void *)((char *)&copy + fields[i].offset);
    if (fields[i].type == FIELD_TEXT && *text)
      complete = (*text = strdup(*text)) && complete;
  }
  tr_status status = complete ? add_result(results, &copy) : tr_fail(TR_ENOMEM, "copying a result");
  if (status != TR_OK)
    tr_result_free(&copy);
  return status;
}

static tr_status read_line(const char *path, size_t number, const char *line, tr_progress *progress, tr_results *out) {
  if (!line[strspn(line, " \t\r")])
    return TR_OK;
  tr_result result;
  tr_status status = tr_result_from_json(line, &result);
  if (status == TR_EFORMAT) {
    tr_progress_line(progress, "warning: %s:%zu is left out: %s", path, number, tr_last_error());
    return TR_OK;
  }
  if (status == TR_OK) {
    status = add_result(out, &result);
    if (status != TR_OK)
      tr_result_free(&result);
  }
  return status;
}

/* Lines from `number` on; the last one may lack its newline. The newlines are overwritten. */
static tr_status read_lines(const char *path, size_t number, char *text, size_t bytes, tr_progress *progress, tr_results *out) {
  for (char *line = text; line < text + bytes; ++number) {
    char *end = memchr(line, '\n', (size_t)(text + bytes - line));
    if (!end) {
      tr_progress_line(progress, "warning: %s:%zu was torn by a crash and is left out", path, number);
      return TR_OK;
    }
    *end = '\0';
    TR_TRY(read_line(path, number, line, progress, out));
    line = end + 1;
  }
  return TR_OK;
}

tr_status tr_results_read(const char *path, tr_progress *progress, tr_results *out) {
  if (access(path, F_OK) != 0)
    return TR_OK;
  char *text;
  size_t bytes;
  TR_TRY(tr_file_read(path, &text, &bytes));
  tr_status status = read_lines(path, 1, text, bytes, progress, out);
  free(text);
  return status;
}

void tr_results_free(tr_results *results) {
  if (!results)
    return;
  for (size_t i = 0; i < results->count; ++i)
    tr_result_free(&results->items[i]);
  free(results->items);
  *results = (tr_results){0};
}

/* ---- writing ---- */

struct tr_store {
  char *path;
  int file;
  tr_progress *progress;
  tr_results known; /* of the whole lines in the first `seen` bytes */
  off_t seen;
};

char *tr_store_file(const char *results, const char *machine, const char *experiment) {
  return tr_format("%s/%s/%s.jsonl", results, machine, experiment);
}

const char *tr_store_path(const tr_store *store) {
  return store->path;
}

/* All of it or an error; a signal in between does not split the line. */
static tr_status write_all(int file, const char *path, const char *data, size_t bytes) {
  while (bytes) {
    ssize_t written = write(file, data, bytes);
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return tr_fail_errno(TR_EIO, "writing %s", path);
    data += written;
    bytes -= (size_t)written;
  }
  return TR_OK;
}

/* More than a line, so that a disk with no room shows now. */
static tr_status probe(const char *store_path) {
  char *path = tr_format("%s.probe-%ld", store_path, (long)getpid());
  char *data = calloc(1, 1 << 16);
  tr_status status = path && data ? TR_OK : tr_fail(TR_ENOMEM, "opening %s", store_path);
  int file = status == TR_OK ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
  if (status == TR_OK && file < 0)
    status = tr_fail_errno(TR_EIO, "the results folder does not take files: creating %s", path);
  if (status == TR_OK)
    status = write_all(file, path, data, 1 << 16);
  if (status == TR_OK && fsync(file) != 0)
    status = tr_fail_errno(TR_EIO, "writing %s", path);
  if (file >= 0) {
    close(file);
    unlink(path);
  }
  free(path);
  free(data);
  return status;
}

/* Bytes up to and including the last newline. Called under the lock: what follows belongs to no one any more. */
static tr_status whole_lines(const tr_store *store, off_t *size, off_t *whole) {
  struct stat info;
  if (fstat(store->file, &info) != 0)
    return tr_fail_errno(TR_EIO, "reading %s", store->path);
  *size = *whole = info.st_size;
  for (char last = 0; *whole > 0; --*whole) {
    if (pread(store->file, &last, 1, *whole - 1) != 1)
      return tr_fail_errno(TR_EIO, "reading %s", store->path);
    if (last == '\n')
      break;
  }
  return TR_OK;
}

static tr_status cut_torn_line(const tr_store *store) {
  TR_TRY(tr_lock_wait(store->file, store->path, TR_LOCK_APPEND, TR_LOCK_EXCLUSIVE));
  off_t size, whole;
  tr_status status = whole_lines(store, &size, &whole);
  if (status == TR_OK && whole < size) {
    tr_progress_line(store->progress, "warning: %s ends in a torn line of %lld bytes, which is cut off", store->path,
                     (long long)(size - whole));
    if (ftruncate(store->file, whole) != 0)
      status = tr_fail_errno(TR_EIO, "cutting a torn line off %s", store->path);
  }
  tr_status unlocked = tr_lock_wait(store->file, store->path, TR_LOCK_APPEND, TR_LOCK_NONE);
  return status == TR_OK ? unlocked : status;
}

/* *current: the file still has the path's name. A merge puts another one there. */
static tr_status open_current(tr_store *store, bool *current) {
  struct stat opened, named;
  store->file = open(store->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (store->file < 0)
    return tr_fail_errno(TR_EIO, "opening %s for writing", store->path);
  TR_TRY(tr_lock_wait(store->file, store->path, TR_LOCK_OPEN, TR_LOCK_SHARED));
  if (fstat(store->file, &opened) != 0)
    return tr_fail_errno(TR_EIO, "opening %s for writing", store->path);
  *current = stat(store->path, &named) == 0 && named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
  if (!*current) {
    close(store->file);
    store->file = -1;
  }
  return TR_OK;
}

static tr_status open_file(tr_store *store, const char *results, const char *machine, const char *experiment) {
  char *folder = tr_format("%s/%s", results, machine);
  store->path = tr_store_file(results, machine, experiment);
  tr_status status = folder && store->path ? tr_make_folders(folder) : tr_fail(TR_ENOMEM, "opening %s", results);
  free(folder);
  TR_TRY(status);
  TR_TRY(probe(store->path));
  for (bool current = false; !current;)
    TR_TRY(open_current(store, &current));
  return TR_OK;
}

tr_status tr_store_open(const char *results, const char *machine, const char *experiment, tr_progress *progress, tr_store **out) {
  *out = NULL;
  tr_store *store = calloc(1, sizeof *store);
  if (!store)
    return tr_fail(TR_ENOMEM, "opening %s", results);
  store->file = -1;
  store->progress = progress;
  tr_status status = open_file(store, results, machine, experiment);
  if (status == TR_OK)
    status = cut_torn_line(store);
  if (status != TR_OK) {
    tr_store_close(store);
    return status;
  }
  *out = store;
  return TR_OK;
}

/* A file without a line does not stay, unless another store has it open. Who opens it meanwhile waits for the lock, and then finds that
 * the name has gone (open_current). */
static void remove_empty(const tr_store *store) {
  struct stat opened, named;
  bool alone;
  if (fstat(store->file, &opened) == 0 && opened.st_size == 0 &&
      tr_lock_try(store->file, store->path, TR_LOCK_OPEN, TR_LOCK_EXCLUSIVE, &alone) == TR_OK && alone &&
      fstat(store->file, &opened) == 0 && opened.st_size == 0 && stat(store->path, &named) == 0 &&
      named.st_ino == opened.st_ino && named.st_dev == opened.st_dev)
    unlink(store->path);
}

void tr_store_close(tr_store *store) {
  if (!store)
    return;
  if (store->file >= 0) {
    remove_empty(store);
    close(store->file);
  }
  tr_results_free(&store->known);
  free(store->path);
  free(store);
}

/* Bytes [store->seen, whole) as text, to be freed. */
static tr_status read_new_bytes(const tr_store *store, off_t whole, char **out) {
  size_t bytes = (size_t)(whole - store->seen), done = 0;
  char *text = malloc(bytes + 1);
  if (!text)
    return tr_fail(TR_ENOMEM, "reading %zu bytes of %s", bytes, store->path);
  while (done < bytes) {
    ssize_t got = pread(store->file, text + done, bytes - done, store->seen + (off_t)done);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0) {
      free(text);
      return got < 0 ? tr_fail_errno(TR_EIO, "reading %s", store->path)
                     : tr_fail(TR_EIO, "reading %s: it became shorter meanwhile", store->path);
    }
    done += (size_t)got;
  }
  text[bytes] = '\0';
  *out = text;
  return TR_OK;
}

/* Lines that were added since the last look; all of them where someone made the file shorter. Called under the lock. Lines that
 * cannot be read were reported when the run was planned. */
static tr_status look_again(tr_store *store, off_t whole) {
  if (whole < store->seen) {
    tr_results_free(&store->known);
    store->seen = 0;
  }
  if (whole == store->seen)
    return TR_OK;
  char *text;
  TR_TRY(read_new_bytes(store, whole, &text));
  tr_status status = read_lines(store->path, 1, text, (size_t)(whole - store->seen), NULL, &store->known);
  free(text);
  if (status == TR_OK)
    store->seen = whole;
  return status;
}

/* Writes `line` behind the whole lines; on failure nothing of it stays. */
static tr_status append_bytes(const tr_store *store, off_t size, off_t whole, const char *line, size_t bytes) {
  if (whole < size && ftruncate(store->file, whole) != 0)
    return tr_fail_errno(TR_EIO, "cutting a torn line off %s", store->path);
  tr_status status = write_all(store->file, store->path, line, bytes);
  if (status == TR_OK && fsync(store->file) != 0)
    status = tr_fail_errno(TR_EIO, "writing %s", store->path);
  if (status != TR_OK && ftruncate(store->file, whole) != 0)
    status = tr_fail_context(status, "%s now ends in a torn line", store->path);
  return status;
}

static void report_difference(const tr_store *store, const tr_result *kept, const tr_result *mine) {
  const char *name = tr_result_difference(kept, mine);
  if (name)
    tr_progress_line(store->progress, "warning: %s has a line of %s, %s with another %s; it stays, and ours is left out",
                     store->path, mine->class_name, mine->run, name);
}

static tr_status append_locked(tr_store *store, const tr_result *result, const char *line) {
  off_t size, whole;
  TR_TRY(whole_lines(store, &size, &whole));
  TR_TRY(look_again(store, whole));
  tr_run_key key = tr_result_key(result);
  const tr_result *kept = tr_results_find(&store->known, &key);
  if (!kept)
    return append_bytes(store, size, whole, line, strlen(line));
  report_difference(store, kept, result);
  return TR_OK;
}

tr_status tr_store_append(tr_store *store, const tr_result *result) {
  char *json;
  TR_TRY(tr_result_to_json(result, &json));
  char *line = tr_format("%s\n", json);
  tr_status status =
      line ? tr_lock_wait(store->file, store->path, TR_LOCK_APPEND, TR_LOCK_EXCLUSIVE) : tr_fail(TR_ENOMEM, "writing a result");
  if (status == TR_OK) {
    status = append_locked(store, result, line);
    tr_status unlocked = tr_lock_wait(store->file, store->path, TR_LOCK_APPEND, TR_LOCK_NONE);
    status = status == TR_OK ? unlocked : status;
  }
  free(line);
  free(json);
  return status;
}

/* ---- several processes ---- */

tr_status tr_store_find(tr_store *store, const tr_run_key *key, const tr_result **out) {
  *out = NULL;
  TR_TRY(tr_lock_wait(store->file, store->path, TR_LOCK_APPEND, TR_LOCK_SHARED));
  off_t size, whole;
  tr_status status = whole_lines(store, &size, &whole);
  if (status == TR_OK)
    status = look_again(store, whole);
  tr_status unlocked = tr_lock_wait(store->file, store->path, TR_LOCK_APPEND, TR_LOCK_NONE);
  *out = status == TR_OK ? tr_results_find(&store->known, key) : NULL;
  return status == TR_OK ? unlocked : status;
}

tr_status tr_store_claim(tr_store *store, const tr_run_key *keys, size_t count, bool *claimed) {
  tr_status status = TR_OK;
  size_t taken = 0;
  *claimed = true;
  while (status == TR_OK && *claimed && taken < count) {
    status = tr_claim_take(store->file, store->path, hash_of_key(&keys[taken]), claimed);
    taken += status == TR_OK && *claimed;
  }
  *claimed = *claimed && status == TR_OK;
  if (!*claimed)
    tr_store_release(store, keys, taken);
  return status;
}

void tr_store_release(tr_store *store, const tr_run_key *keys, size_t count) {
  for (size_t i = 0; i < count; ++i)
    tr_claim_release(store->file, hash_of_key(&keys[i]));
}

/* ---- the machine's name ---- */

/* "AMD EPYC 9R14 96-Core Processor" -> "amd-epyc-9r14"; words that say nothing about the kind are dropped. */
static bool telling_word(const char *word, size_t length) {
  static const char *const empty[] = {"cpu", "processor", "@", "(r)", "(tm)", "with", "the"};
  for (size_t i = 0; i < COUNT(empty); ++i)
    if (strlen(empty[i]) == length && strncasecmp(empty[i], word, length) == 0)
      return false;
  bool clock_rate = length > 3 && strncasecmp(word + length - 3, "ghz", 3) == 0;
  bool core_count = length > 5 && strncasecmp(word + length - 5, "-core", 5) == 0;
  return !clock_rate && !core_count;
}

/* Lower case, what stands in parentheses left out ("Xeon(R)"), signs as "-". */
static size_t add_word(char *name, size_t used, size_t room, const char *word, size_t length) {
  if (used && used < room)
    name[used++] = '-';
  for (size_t i = 0; i < length && used < room; ++i) {
    if (word[i] == '(')
      i += strcspn(word + i, ")");
    else
      name[used++] = isalnum((unsigned char)word[i]) ? (char)tolower((unsigned char)word[i]) : '-';
  }
  return used;
}

char *tr_machine_name(const char *device_description, int cores) {
  char name[96];
  size_t used = 0;
  for (const char *p = device_description; *p;) {
    size_t length = strcspn(p, " \t");
    if (length && telling_word(p, length))
      used = add_word(name, used, sizeof name - 1, p, length);
    p += length + strspn(p + length, " \t");
  }
  name[used] = '\0';
  return tr_format("%s-%dcore", used ? name : "unknown", cores);
}
