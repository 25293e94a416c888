/* Settings: defaults of the protocols, one canonical form, and the run's name. */
#include "host/harness/setting.h"
#include "host/backbone/graph.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *tr_protocol_name(tr_protocol protocol) {
  return protocol == TR_PROTOCOL_PAPER ? "paper" : "official";
}
const char *tr_aggregate_name(tr_aggregate_kind kind) {
  return kind == TR_AGGREGATE_CONCAT ? "concat" : "official";
}
const char *tr_distance_name(tr_distance distance) {
  return distance == TR_DISTANCE_EUCLIDEAN ? "euclidean" : "squared";
}
const char *tr_image_score_name(tr_image_score score) {
  return score == TR_SCORE_REWEIGHTED ? "reweighted" : "max";
}

const char *tr_subsampling_name(tr_subsampling subsampling) {
  switch (subsampling) {
  case TR_SUBSAMPLE_RANDOM:
    return "random";
  case TR_SUBSAMPLE_NONE:
    return "none";
  default:
    return "greedy";
  }
}

/* resize 256, crop 224, p = 3, 1024 dimensions, projection to 128 (official bin/run_patchcore.py and sampler.py); 10 % of the
 * patches. Distances and image score: official-behaviour, sections 1 and 5; the paper's are Eq. 6 and Eq. 7, whose b it does not
 * state (9 is what later implementations chose). */
void tr_setting_defaults(tr_protocol protocol, tr_setting *out) {
  bool paper = protocol == TR_PROTOCOL_PAPER;
  *out = (tr_setting){
      .protocol = protocol,
      .method = "patchcore",
      .search = "exact",
      .image = {.resize = 256, .crop = 224},
      .patch = 3,
      .stride = 1,
      .aggregate = TR_AGGREGATE_OFFICIAL,
      .layer_dimension = 1024,
      .dimension = 1024,
      .projection = 128,
      .subsampling = TR_SUBSAMPLE_GREEDY,
      .percent = 10,
      .distance = paper ? TR_DISTANCE_EUCLIDEAN : TR_DISTANCE_SQUARED,
      .image_score = paper ? TR_SCORE_REWEIGHTED : TR_SCORE_MAX,
      .neighbours = 9,
      .sigma = 4,
  };
}

void tr_setting_normalise(tr_setting *setting) {
  if (setting->subsampling == TR_SUBSAMPLE_NONE || setting->percent >= 100) {
    setting->subsampling = TR_SUBSAMPLE_NONE;
    setting->percent = 100;
  }
  /* Only the greedy selection looks at projected features. */
  if (setting->subsampling != TR_SUBSAMPLE_GREEDY)
    setting->projection = 0;
  if (setting->subsampling == TR_SUBSAMPLE_NONE)
    setting->seed = 0;
  if (setting->aggregate == TR_AGGREGATE_CONCAT)
    setting->layer_dimension = setting->dimension = 0;
  if (setting->image_score == TR_SCORE_MAX)
    setting->neighbours = 1;
}

/* "layer2" -> "2", "blocks.4" -> "4", "pool" -> "pool". */
static const char *layer_number(const char *layer) {
  size_t digits = strcspn(layer, "0123456789");
  return layer[digits] ? layer + digits : layer;
}

static void write_image(FILE *out, const tr_image_spec *image) {
  if (image->crop) {
    fprintf(out, "IM%d", image->crop);
    /* 256 to 224 and 366 to 320 are the official pairs: a ratio of 8 to 7. */
    if (image->resize != (int)lround(image->crop * 8.0 / 7.0))
      fprintf(out, "-resize%d", image->resize);
  } else {
    fprintf(out, "IM%d-uncropped", image->resize);
  }
  if (image->squash)
    fprintf(out, "-squash");
}

static void write_subset(FILE *out, const tr_setting *setting) {
  fprintf(out, "_P%.15g", setting->percent);
  if (setting->subsampling == TR_SUBSAMPLE_RANDOM)
    fprintf(out, "-random");
}

static void write_features(FILE *out, const tr_setting *setting) {
  if (setting->aggregate == TR_AGGREGATE_CONCAT)
    fprintf(out, "_D-concat");
  else
    fprintf(out, "_D%d-%d", setting->layer_dimension, setting->dimension);
  fprintf(out, "_PS-%d", setting->patch);
  if (setting->stride != 1)
    fprintf(out, "-stride%d", setting->stride);
}

/* What the official names cannot say. */
static void write_suffixes(FILE *out, const tr_setting *setting) {
  if (setting->distance == TR_DISTANCE_EUCLIDEAN)
    fprintf(out, "_euclidean");
  if (setting->image_score == TR_SCORE_REWEIGHTED)
    fprintf(out, "_reweighted%d", setting->neighbours);
  if (setting->subsampling == TR_SUBSAMPLE_GREEDY && setting->projection != 128)
    fprintf(out, "_projection%d", setting->projection);
  if (setting->sigma != 4)
    fprintf(out, "_sigma%.15g", setting->sigma);
  if (strcmp(setting->search, "exact") != 0)
    fprintf(out, "_%s", setting->search);
  if (setting->split_file) {
    const char *slash = strrchr(setting->split_file, '/');
    fprintf(out, "_split-");
    for (const char *p = slash ? slash + 1 : setting->split_file; *p; ++p)
      fputc(isalnum((unsigned char)*p) || *p == '.' || *p == '-' ? *p : '-', out);
  }
}

char *tr_setting_run_name(const tr_setting *setting) {
  char *text = NULL;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  if (!out)
    return NULL;
  if (strcmp(setting->method, "patchcore") != 0)
    fprintf(out, "%s_", setting->method);
  write_image(out, &setting->image);
  const char *short_name = tr_backbone_short_name(setting->backbone);
  fprintf(out, "_%s_L", short_name ? short_name : setting->backbone);
  for (int i = 0; i < setting->layer_count; ++i)
    fprintf(out, "%s%s", i ? "-" : "", layer_number(setting->layers[i]));
  write_subset(out, setting);
  write_features(out, setting);
  fprintf(out, "_AN-1_S%llu", (unsigned long long)setting->seed);
  write_suffixes(out, setting);
  if (fclose(out) != 0) {
    free(text);
    return NULL;
  }
  return text;
}

static bool same_text(const char *a, const char *b) {
  return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_layers(const tr_setting *a, const tr_setting *b) {
  if (a->layer_count != b->layer_count)
    return false;
  for (int i = 0; i < a->layer_count; ++i)
    if (!same_text(a->layers[i], b->layers[i]))
      return false;
  return true;
}

bool tr_setting_shares_features(const tr_setting *a, const tr_setting *b) {
  return same_text(a->dataset, b->dataset) && same_text(a->split_file, b->split_file) && same_text(a->method, b->method) &&
         same_text(a->backbone, b->backbone) && same_layers(a, b) && a->image.resize == b->image.resize &&
         a->image.crop == b->image.crop && a->image.squash == b->image.squash && a->patch == b->patch && a->stride == b->stride &&
         a->aggregate == b->aggregate && a->layer_dimension == b->layer_dimension && a->dimension == b->dimension &&
         same_text(a->search, b->search);
}

bool tr_setting_shares_selection(const tr_setting *a, const tr_setting *b) {
  return a->subsampling == b->subsampling && a->seed == b->seed && a->projection == b->projection;
}

char *tr_setting_layers_text(const tr_setting *setting) {
  char *text = NULL;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  if (!out)
    return NULL;
  for (int i = 0; i < setting->layer_count; ++i)
    fprintf(out, "%s%s", i ? "+" : "", setting->layers[i]);
  if (fclose(out) != 0) {
    free(text);
    return NULL;
  }
  return text;
}
