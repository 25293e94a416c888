/* A detector's `about`, written and read. */
#include "host/detector/about.h"
#include "host/backbone/graph.h"
#include "host/base/clock.h"
#include "host/base/json.h"
#include "host/base/status.h"
#include "host/weights/weights.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

static cJSON *add_number(cJSON *object, const char *name, double value) {
  cJSON *number = object ? tr_json_number(value) : NULL;
  if (number && cJSON_AddItemToObject(object, name, number))
    return number;
  cJSON_Delete(number);
  return NULL;
}

/* The shortest digits that give the same float again. */
static cJSON *float_number(float value) {
  char text[32];
  for (int digits = 6; digits <= 9; ++digits) {
    snprintf(text, sizeof text, "%.*g", digits, (double)value);
    if (strtof(text, NULL) == value)
      break;
  }
  return cJSON_CreateRaw(text);
}

static bool add_channels(cJSON *object, const char *name, const float values[3]) {
  cJSON *list = cJSON_AddArrayToObject(object, name);
  for (int i = 0; list && i < 3; ++i)
    if (!cJSON_AddItemToArray(list, float_number(values[i])))
      list = NULL;
  return list != NULL;
}

static bool add_image(cJSON *json, const tr_about *about, const float mean[3], const float std[3]) {
  cJSON *image = cJSON_AddObjectToObject(json, "image");
  return add_number(image, "height", about->in_h) && add_number(image, "width", about->in_w) &&
         add_channels(image, "mean", mean) && add_channels(image, "std", std);
}

static bool add_threshold(cJSON *json, const tr_threshold *t) {
  if (!t->images)
    return cJSON_AddNullToObject(json, "threshold") != NULL;
  cJSON *threshold = cJSON_AddObjectToObject(json, "threshold");
  return add_number(threshold, "score", t->score) && add_number(threshold, "quantile", t->quantile) &&
         add_number(threshold, "images", (double)t->images) && add_number(threshold, "calm", (double)t->scale.calm) &&
         add_number(threshold, "alarm", (double)t->scale.alarm);
}

/* The setting as an experiment that can be run again. */
static bool add_experiment(cJSON *json, const tr_setting *setting) {
  cJSON *keys;
  if (tr_setting_to_json(setting, &keys) != TR_OK)
    return false;
  if (cJSON_AddStringToObject(keys, "name", "fit") && cJSON_AddItemToObject(json, "experiment", keys))
    return true;
  cJSON_Delete(keys);
  return false;
}

static bool add_train(cJSON *json, const tr_about *about) {
  cJSON *train = cJSON_AddObjectToObject(json, "train");
  if (!add_number(train, "images", (double)about->train_images) || tr_sources_to_json(&about->sources, train) != TR_OK)
    return false;
  if (!about->shard.of)
    return true;
  cJSON *shard = cJSON_AddObjectToObject(train, "shard");
  return add_number(shard, "number", about->shard.number) && add_number(shard, "of", about->shard.of);
}

static bool add_all(cJSON *json, const tr_about *about, const float mean[3], const float std[3]) {
  char date[21], *run = tr_setting_run_name(about->setting);
  tr_date_utc(date);
  bool good = run && cJSON_AddStringToObject(json, "program", "totalrecall") &&
              cJSON_AddStringToObject(json, "version", tr_version()) && cJSON_AddStringToObject(json, "date", date) &&
              cJSON_AddStringToObject(json, "run", run) && add_experiment(json, about->setting);
  free(run);
  cJSON *weights = good ? cJSON_AddObjectToObject(json, "weights") : NULL;
  good = weights && cJSON_AddStringToObject(weights, "file", about->weights_file) &&
         cJSON_AddStringToObject(weights, "sha256", about->weights_sha256) && add_image(json, about, mean, std);
  return good && add_train(json, about) && add_threshold(json, &about->threshold);
}

tr_status tr_about_write(const tr_about *about, char **out) {
  float mean[3], std[3];
  TR_TRY(tr_backbone_normalisation(about->setting->backbone, mean, std));
  cJSON *json = cJSON_CreateObject();
  *out = json && add_all(json, about, mean, std) ? cJSON_PrintUnformatted(json) : NULL;
  cJSON_Delete(json);
  return *out ? TR_OK : tr_fail(TR_ENOMEM, "describing a model: out of memory");
}

tr_status tr_about_with_threshold(const cJSON *about, const tr_threshold *threshold, char **out) {
  cJSON *json = about ? cJSON_Duplicate(about, true) : cJSON_CreateObject();
  cJSON_DeleteItemFromObjectCaseSensitive(json, "threshold");
  *out = json && add_threshold(json, threshold) ? cJSON_PrintUnformatted(json) : NULL;
  cJSON_Delete(json);
  return *out ? TR_OK : tr_fail(TR_ENOMEM, "describing a model: out of memory");
}

/* ---- reading ---- */

static const cJSON *member(const cJSON *json, const char *name) {
  return cJSON_GetObjectItemCaseSensitive(json, name);
}

static tr_status read_setting(const cJSON *json, tr_about *about) {
  tr_experiments *texts = &about->texts;
  const cJSON *keys = member(json, "experiment");
  if (!cJSON_IsObject(keys))
    return tr_fail(TR_EFORMAT, "no \"experiment\" with the model's settings");
  char *text = cJSON_PrintUnformatted(keys);
  tr_status status = text ? tr_experiments_parse("experiment", text, strlen(text), NULL, texts)
                          : tr_fail(TR_ENOMEM, "a model's settings: out of memory");
  free(text);
  TR_TRY(status);
  if (texts->count != 1 || texts->items->setting_count != 1)
    return tr_fail(TR_EFORMAT, "\"experiment\": expected one setting");
  about->setting = texts->items->settings;
  return TR_OK;
}

/* A hash is 64 hexadecimal digits. */
static tr_status read_weights(const cJSON *json, tr_about *about) {
  tr_experiments *texts = &about->texts;
  const cJSON *weights = member(json, "weights");
  const char *file = cJSON_GetStringValue(member(weights, "file")), *hash = cJSON_GetStringValue(member(weights, "sha256"));
  if (!file || !hash || strlen(hash) != 64 || strspn(hash, "0123456789abcdef") != 64)
    return tr_fail(TR_EFORMAT, "no \"weights\" with \"file\" and \"sha256\"");
  TR_TRY(tr_strings_add(&texts->texts, file));
  about->weights_file = texts->texts.items[texts->texts.count - 1];
  TR_TRY(tr_strings_add(&texts->texts, hash));
  about->weights_sha256 = texts->texts.items[texts->texts.count - 1];
  return TR_OK;
}

static tr_status check_channels(const cJSON *image, const char *name, const float expected[3]) {
  const cJSON *list = member(image, name);
  bool same = cJSON_IsArray(list) && cJSON_GetArraySize(list) == 3;
  for (int i = 0; same && i < 3; ++i) {
    const cJSON *value = cJSON_GetArrayItem(list, i);
    same = cJSON_IsNumber(value) && (float)value->valuedouble == expected[i];
  }
  return same ? TR_OK
              : tr_fail(TR_EFORMAT, "\"image\": \"%s\" is not what this version normalises with; fit the model again", name);
}

static tr_status read_image(const cJSON *json, tr_about *about) {
  const cJSON *image = member(json, "image");
  double h, w;
  float mean[3], std[3];
  TR_TRY(tr_json_get_whole(image, "height", 1, 1 << 16, &h));
  TR_TRY(tr_json_get_whole(image, "width", 1, 1 << 16, &w));
  about->in_h = (int)h;
  about->in_w = (int)w;
  TR_TRY(tr_backbone_normalisation(about->setting->backbone, mean, std));
  TR_TRY(check_channels(image, "mean", mean));
  return check_channels(image, "std", std);
}

static tr_status read_threshold(const cJSON *json, tr_threshold *out) {
  const cJSON *threshold = member(json, "threshold");
  double images, calm, alarm;
  if (cJSON_IsNull(threshold))
    return TR_OK;
  TR_TRY(tr_json_get_number(threshold, "score", &out->score));
  TR_TRY(tr_json_get_number(threshold, "quantile", &out->quantile));
  TR_TRY(tr_json_get_whole(threshold, "images", 1, 0x1p53, &images));
  TR_TRY(tr_json_get_number(threshold, "calm", &calm));
  TR_TRY(tr_json_get_number(threshold, "alarm", &alarm));
  out->images = (size_t)images;
  out->scale = (tr_picture_scale){.calm = (float)calm, .alarm = (float)alarm};
  return TR_OK;
}

static tr_status read_train(const cJSON *json, tr_about *about) {
  const cJSON *train = member(json, "train"), *shard = member(train, "shard");
  double images, number, of;
  TR_TRY(tr_json_get_whole(train, "images", 1, 0x1p53, &images));
  about->train_images = (size_t)images;
  TR_TRY(tr_sources_from_json(train, about->train_images, &about->sources));
  if (!shard)
    return TR_OK;
  TR_TRY(tr_json_get_whole(shard, "of", 1, INT32_MAX, &of));
  TR_TRY(tr_json_get_whole(shard, "number", 1, of, &number));
  about->shard = (tr_shard){(int)number, (int)of};
  return TR_OK;
}

static tr_status read_all(const cJSON *json, tr_about *about) {
  TR_TRY(read_setting(json, about));
  TR_TRY(read_weights(json, about));
  TR_TRY(read_image(json, about));
  TR_TRY(read_train(json, about));
  return read_threshold(json, &about->threshold);
}

tr_status tr_about_read(const cJSON *json, tr_about *about) {
  *about = (tr_about){0};
  if (!json)
    return tr_fail(TR_EFORMAT, "it does not say what it was fitted with; `totalrecall fit` writes models that do");
  tr_status status = read_all(json, about);
  if (status != TR_OK)
    tr_about_free(about);
  return status;
}

void tr_about_free(tr_about *about) {
  tr_sources_free(&about->sources);
  tr_experiments_free(&about->texts);
  *about = (tr_about){0};
}

tr_status tr_about_check_weights(const tr_about *about, const tr_weights *weights) {
  const char *hash = tr_weights_sha256(weights);
  if (strcmp(hash, about->weights_sha256) == 0)
    return TR_OK;
  return tr_fail(TR_EINVAL, "the model was fitted with other weights: expected %s with SHA-256 %s, found %s with %s",
                 about->weights_file, about->weights_sha256, tr_weights_path(weights), hash);
}
