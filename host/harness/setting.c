/* Settings: defaults of the protocols, one canonical form, and the run's name. */
#include "host/harness/setting.h"
#include "host/backbone/graph.h"
#include "host/search/search.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *tr_protocol_name(tr_protocol protocol) {
  return protocol == TR_PROTOCOL_PAPER ? "paper" : "official";
}
static const char *name_of(const char *const *(*names)(size_t *count), int choice) {
  size_t count;
  return names(&count)[choice];
}

const char *tr_aggregate_name(tr_aggregate_kind kind) {
  return name_of(tr_aggregate_names, (int)kind);
}
const char *tr_subsampling_name(tr_subsampling subsampling) {
  return name_of(tr_subsampling_names, (int)subsampling);
}
const char *tr_distance_name(tr_distance distance) {
  return name_of(tr_distance_names, (int)distance);
}
const char *tr_image_score_name(tr_image_score score) {
  return name_of(tr_image_score_names, (int)score);
}
const char *tr_placement_name(tr_placement placement) {
  return name_of(tr_placement_names, (int)placement);
}
const char *tr_gallery_name(tr_gallery gallery) {
  return name_of(tr_gallery_names, (int)gallery);
}

const char *const *tr_normalise_names(size_t *count) {
  static const char *const names[] = {"official", "nominal"};
  *count = sizeof names / sizeof *names;
  return names;
}
const char *tr_normalise_name(tr_normalise normalise) {
  return name_of(tr_normalise_names, (int)normalise);
}
const char *const *tr_mask_rule_names(size_t *count) {
  static const char *const names[] = {"full", "half", "any"};
  *count = sizeof names / sizeof *names;
  return names;
}
const char *tr_mask_rule_name(tr_mask_rule rule) {
  return name_of(tr_mask_rule_names, (int)rule);
}

const char *const *tr_tile_bank_names(size_t *count) {
  static const char *const names[] = {"shared", "position"};
  *count = sizeof names / sizeof *names;
  return names;
}
const char *tr_tile_bank_name(tr_tile_bank bank) {
  return name_of(tr_tile_bank_names, (int)bank);
}

static bool is_padim(const tr_setting *setting) {
  return strcmp(setting->method, "padim") == 0;
}
static bool is_spade(const tr_setting *setting) {
  return strcmp(setting->method, "spade") == 0;
}

/* PaDiM, as its paper has it: Mahalanobis distances, the score of an image is the maximum of its smoothed map, epsilon 0.01; nearest
 * placement, since each position takes the "spatially corresponding" vector of a deeper layer. How many channels are drawn depends on
 * the backbone. */
static void padim_defaults(tr_setting *out) {
  out->aggregate = TR_AGGREGATE_CONCAT;
  out->patch = 1;
  out->dimension = 0;
  out->subsampling = TR_SUBSAMPLE_NONE;
  out->distance = TR_DISTANCE_EUCLIDEAN;
  out->image_score = TR_SCORE_SMOOTHED_MAX;
  out->placement = TR_PLACE_NEAREST;
  out->epsilon = 0.01;
}

/* SPADE, as its paper has it on MVTec AD: K = 50, Euclidean distances. */
static void spade_defaults(tr_setting *out) {
  out->aggregate = TR_AGGREGATE_CONCAT;
  out->patch = 1;
  out->layer_dimension = out->dimension = 0;
  out->subsampling = TR_SUBSAMPLE_NONE;
  out->distance = TR_DISTANCE_EUCLIDEAN;
  out->image_score = TR_SCORE_NEAREST_IMAGES;
  out->neighbours = 50;
  out->gallery = TR_GALLERY_SEPARATE;
}

/* PatchCore: resize 256, crop 224, p = 3, 1024 dimensions, projection to 128 (official bin/run_patchcore.py and sampler.py); 10 % of
 * the patches. Distances and image score: official-behaviour, sections 1 and 5; the paper's are Eq. 6 and Eq. 7, whose b it does not
 * state (9 is what later implementations chose). */
void tr_setting_defaults(tr_protocol protocol, const char *method, tr_setting *out) {
  bool paper = protocol == TR_PROTOCOL_PAPER;
  *out = (tr_setting){
      .protocol = protocol,
      .method = method,
      .search = TR_SEARCH_EXACT,
      .image = {.resize = 256, .crop = 224},
      .patch = 3,
      .stride = 1,
      .aggregate = TR_AGGREGATE_OFFICIAL,
      .layer_dimension = 1024,
      .dimension = 1024,
      .projection = 128,
      .subsampling = TR_SUBSAMPLE_GREEDY,
      .distance = paper ? TR_DISTANCE_EUCLIDEAN : TR_DISTANCE_SQUARED,
      .image_score = paper ? TR_SCORE_REWEIGHTED : TR_SCORE_MAX,
      .neighbours = 9,
      .sigma = 4,
  };
  if (is_padim(out))
    padim_defaults(out);
  if (is_spade(out))
    spade_defaults(out);
}

static bool starts_with(const char *text, const char *start) {
  return strncmp(text, start, strlen(start)) == 0;
}

/* Strides 8 and 16 for PatchCore; PaDiM adds stride 4 (sections III-A of its paper, blocks 1 to 3 of a ResNet), SPADE the pooled last
 * block besides. */
const char *tr_setting_default_layers(const char *method, const char *backbone) {
  static const char *const layers[][3] = {
      {"denseblock2+denseblock3", "denseblock1+denseblock2+denseblock3", "denseblock1+denseblock2+denseblock3+pool"},
      {"blocks.2+blocks.4", "blocks.1+blocks.2+blocks.4", "blocks.1+blocks.2+blocks.4+pool"},
      {"layer2+layer3", "layer1+layer2+layer3", "layer1+layer2+layer3+pool"}};
  int family = starts_with(backbone, "densenet") ? 0 : starts_with(backbone, "efficientnet") ? 1 : 2;
  return layers[family][strcmp(method, "padim") == 0 ? 1 : strcmp(method, "spade") == 0 ? 2 : 0];
}

/* 100 of ResNet18's 448 channels, 550 of WideResNet50's 1792 (section V-A); networks as narrow as the former count with it. */
static int padim_dimension(const char *backbone) {
  bool narrow = strcmp(backbone, "resnet18") == 0 || strcmp(backbone, "resnet34") == 0 || starts_with(backbone, "efficientnet");
  return narrow ? 100 : 550;
}

static void keep_all(tr_setting *setting) {
  setting->percent = 100;
  setting->bank_rows = 0;
  setting->bank_bytes = 0;
  setting->radius = setting->seconds = 0;
}

/* The other methods' choices get what padim_defaults() gives them. */
static void normalise_padim(tr_setting *setting) {
  int dimension = setting->dimension ? setting->dimension : padim_dimension(setting->backbone);
  tr_image_score image_score = setting->image_score;
  tr_placement placement = setting->placement;
  double epsilon = setting->epsilon;
  padim_defaults(setting);
  setting->stride = 1;
  setting->search = TR_SEARCH_EXACT;
  setting->nprobe = setting->ef_search = 0;
  setting->dimension = dimension;
  setting->image_score = image_score;
  setting->placement = placement;
  setting->epsilon = epsilon;
  setting->layer_dimension = setting->projection = 0;
  keep_all(setting);
  setting->neighbours = 1;
  setting->gallery = TR_GALLERY_SEPARATE;
}

/* Likewise; spade draws nothing but its training images. */
static void normalise_spade(tr_setting *setting) {
  tr_image_score image_score = setting->image_score;
  tr_gallery gallery = setting->gallery;
  int neighbours = setting->neighbours;
  spade_defaults(setting);
  setting->stride = 1;
  setting->search = TR_SEARCH_EXACT;
  setting->nprobe = setting->ef_search = 0;
  setting->image_score = image_score;
  setting->gallery = gallery;
  setting->neighbours = neighbours;
  setting->projection = 0;
  keep_all(setting);
  setting->placement = TR_PLACE_NEAREST;
  setting->epsilon = 0;
  if (!setting->train_images)
    setting->seed = 0;
}

/* FAISS's own defaults: the paper's ApproximateFaissNN looks at one list. */
static void normalise_search(tr_setting *setting) {
  if (!tr_search_has_lists(setting->search))
    setting->nprobe = 0;
  else if (!setting->nprobe)
    setting->nprobe = 1;
  if (!tr_search_has_graph(setting->search))
    setting->ef_search = 0;
  else if (!setting->ef_search)
    setting->ef_search = 16;
}

/* 10 % of the patches; all where the selection ends by itself. */
static void normalise_bank(tr_setting *setting) {
  bool ends = setting->radius > 0 || setting->seconds > 0;
  if (!(setting->percent > 0) && !setting->bank_rows && !setting->bank_bytes)
    setting->percent = ends ? 100 : 10;
  if (setting->subsampling == TR_SUBSAMPLE_NONE || (setting->percent >= 100 && !ends)) {
    setting->subsampling = TR_SUBSAMPLE_NONE;
    keep_all(setting);
  }
}

static void normalise_patchcore(tr_setting *setting) {
  normalise_search(setting);
  normalise_bank(setting);
  /* Only the greedy selection looks at projected features. */
  if (setting->subsampling != TR_SUBSAMPLE_GREEDY)
    setting->projection = 0;
  if (setting->subsampling == TR_SUBSAMPLE_NONE && !setting->train_images)
    setting->seed = 0;
  if (setting->aggregate == TR_AGGREGATE_CONCAT)
    setting->layer_dimension = setting->dimension = 0;
  if (setting->image_score != TR_SCORE_REWEIGHTED)
    setting->neighbours = 1;
  setting->placement = TR_PLACE_NEAREST;
  setting->epsilon = 0;
  setting->gallery = TR_GALLERY_SEPARATE;
}

static bool has_frames(const tr_setting *setting) {
  return setting->dataset && tr_dataset_has_frames(setting->dataset);
}

void tr_setting_normalise(tr_setting *setting) {
  if (!has_frames(setting))
    setting->frames = (tr_frame_options){0};
  else if (!setting->frames.step)
    setting->frames.step = TR_MSTC_STEP;
  if (!setting->tile.size)
    setting->tile = (tr_tile_spec){0};
  if (is_padim(setting))
    normalise_padim(setting);
  else if (is_spade(setting))
    normalise_spade(setting);
  else
    normalise_patchcore(setting);
  if (!setting->member_count)
    setting->normalise = TR_NORMALISE_OFFICIAL;
}

tr_variant tr_setting_variant(const tr_setting *s) {
  return (tr_variant){.seed = s->seed,
                      .subsampling = s->subsampling,
                      .percent = s->percent,
                      .bank_rows = (size_t)s->bank_rows,
                      .bank_bytes = s->bank_bytes,
                      .radius = s->radius,
                      .seconds = s->seconds,
                      .projection = s->projection,
                      .search = s->search,
                      .nprobe = s->nprobe,
                      .ef_search = s->ef_search,
                      .image_score = s->image_score,
                      .distance = s->distance,
                      .neighbours = s->neighbours,
                      .dimension = s->dimension,
                      .placement = s->placement,
                      .epsilon = s->epsilon};
}

tr_aggregate_spec tr_setting_aggregate(const tr_setting *s) {
  return (tr_aggregate_spec){.kind = s->aggregate,
                             .layers = s->layer_count,
                             .patch = s->patch,
                             .stride = s->stride,
                             .layer_dimension = s->layer_dimension,
                             .dimension = s->dimension};
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

static void write_tile(FILE *out, const tr_tile_spec *tile) {
  if (tile->size)
    fprintf(out, "_T%d-%d", tile->size, tile->overlap);
  if (tile->bank == TR_TILE_BANK_POSITION)
    fprintf(out, "-position");
}

/* Exactly: 100M, 1536K, 1000. */
static void write_bytes(FILE *out, size_t bytes) {
  static const char *const units[] = {"", "K", "M", "G"};
  size_t unit = 0;
  for (; unit < 3 && bytes % 1024 == 0; ++unit)
    bytes /= 1024;
  fprintf(out, "%zu%s", bytes, units[unit]);
}

static void write_subset(FILE *out, const tr_setting *setting) {
  if (setting->bank_rows) {
    fprintf(out, "_R%d", setting->bank_rows);
  } else if (setting->bank_bytes) {
    fprintf(out, "_B");
    write_bytes(out, setting->bank_bytes);
  } else {
    fprintf(out, "_P%.15g", setting->percent);
  }
  if (setting->radius > 0)
    fprintf(out, "-radius%.15g", setting->radius);
  if (setting->seconds > 0)
    fprintf(out, "-seconds%.15g", setting->seconds);
  if (setting->subsampling == TR_SUBSAMPLE_RANDOM || setting->subsampling == TR_SUBSAMPLE_LEARNED)
    fprintf(out, "-%s", tr_subsampling_name(setting->subsampling));
}

static void write_features(FILE *out, const tr_setting *setting) {
  if (is_padim(setting)) {
    fprintf(out, "_D%d", setting->dimension);
    return;
  }
  if (is_spade(setting)) {
    fprintf(out, "_K%d%s", setting->neighbours, setting->gallery == TR_GALLERY_CONCATENATED ? "-concatenated" : "");
    return;
  }
  write_subset(out, setting);
  if (setting->aggregate == TR_AGGREGATE_CONCAT)
    fprintf(out, "_D-concat");
  else
    fprintf(out, "_D%d-%d", setting->layer_dimension, setting->dimension);
  fprintf(out, "_PS-%d", setting->patch);
  if (setting->stride != 1)
    fprintf(out, "-stride%d", setting->stride);
  fprintf(out, "_AN-1");
}

static tr_image_score own_image_score(const tr_setting *setting) {
  return is_padim(setting) ? TR_SCORE_SMOOTHED_MAX : is_spade(setting) ? TR_SCORE_NEAREST_IMAGES : TR_SCORE_MAX;
}

static void write_image_score(FILE *out, const tr_setting *setting) {
  static const char *const names[] = {"max", "reweighted", "smoothed-max", "nearest-images"}; /* in the enum's order */
  if (setting->image_score != own_image_score(setting))
    fprintf(out, "_%s", names[setting->image_score]);
  if (setting->image_score == TR_SCORE_REWEIGHTED)
    fprintf(out, "%d", setting->neighbours);
}

/* Names of runs are names of files. */
static void write_plainly(FILE *out, const char *text) {
  for (const char *p = text; *p; ++p)
    fputc(isalnum((unsigned char)*p) || *p == '.' || *p == '-' ? *p : '-', out);
}

static void write_frames(FILE *out, const tr_frame_options *frames) {
  if (frames->step != TR_MSTC_STEP)
    fprintf(out, "_every%d", frames->step);
  if (frames->offset)
    fprintf(out, "_from%d", frames->offset);
  if (frames->tested_only)
    fprintf(out, "_tested-only");
  if (frames->mask != TR_MASK_FULL)
    fprintf(out, "_mask-%s", tr_mask_rule_name(frames->mask));
}

/* What the official names cannot say; the other methods' own defaults go without saying. */
static void write_suffixes(FILE *out, const tr_setting *setting) {
  bool padim = is_padim(setting);
  write_tile(out, &setting->tile);
  if (setting->train_images)
    fprintf(out, "_N%d", setting->train_images);
  if (!padim && !is_spade(setting) && setting->distance == TR_DISTANCE_EUCLIDEAN)
    fprintf(out, "_euclidean");
  write_image_score(out, setting);
  if (padim && setting->placement == TR_PLACE_BILINEAR)
    fprintf(out, "_bilinear");
  if (padim && setting->epsilon != 0.01)
    fprintf(out, "_epsilon%.15g", setting->epsilon);
  if (setting->subsampling == TR_SUBSAMPLE_GREEDY && setting->projection != 128)
    fprintf(out, "_projection%d", setting->projection);
  if (setting->sigma != 4)
    fprintf(out, "_sigma%.15g", setting->sigma);
  if (tr_search_factory(setting->search)) {
    fprintf(out, "_faiss-");
    write_plainly(out, tr_search_factory(setting->search));
    if (setting->nprobe)
      fprintf(out, "-nprobe%d", setting->nprobe);
    if (setting->ef_search)
      fprintf(out, "-ef%d", setting->ef_search);
  }
  if (setting->normalise == TR_NORMALISE_NOMINAL)
    fprintf(out, "_nominal");
  if (has_frames(setting))
    write_frames(out, &setting->frames);
  if (setting->split_file) {
    const char *slash = strrchr(setting->split_file, '/');
    fprintf(out, "_split-");
    write_plainly(out, slash ? slash + 1 : setting->split_file);
  }
}

static void write_backbone(FILE *out, const char *backbone) {
  const char *short_name = tr_backbone_short_name(backbone);
  fprintf(out, "%s", short_name ? short_name : backbone);
}

static void write_layers(FILE *out, const tr_setting *setting) {
  for (int i = 0; i < setting->layer_count; ++i)
    fprintf(out, "%s%s", i ? "-" : "", layer_number(setting->layers[i]));
}

/* Layers of the same numbers have the same part in the name, whatever the families call them. */
static bool same_layer_numbers(const tr_setting *a, const tr_setting *b) {
  if (a->layer_count != b->layer_count)
    return false;
  for (int i = 0; i < a->layer_count; ++i)
    if (strcmp(layer_number(a->layers[i]), layer_number(b->layers[i])) != 0)
      return false;
  return true;
}

/* RN50_L2-3; of an ensemble DN201+RN50_L2-3, or, where the members differ, DN201+RN50_L2-3+1-2. */
static void write_network(FILE *out, const tr_setting *setting) {
  const tr_setting *members = setting->member_count ? setting->members : setting;
  int count = setting->member_count ? setting->member_count : 1;
  bool alike = true;
  for (int i = 0; i < count; ++i) {
    fprintf(out, "%s", i ? "+" : "_");
    write_backbone(out, members[i].backbone);
    alike = alike && same_layer_numbers(&members[0], &members[i]);
  }
  for (int i = 0; i < (alike ? 1 : count); ++i) {
    fprintf(out, "%s", i ? "+" : "_L");
    write_layers(out, &members[i]);
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
  write_network(out, setting);
  write_features(out, setting);
  fprintf(out, "_S%llu", (unsigned long long)setting->seed);
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

bool tr_setting_same_image(const tr_image_spec *a, const tr_image_spec *b) {
  return a->resize == b->resize && a->crop == b->crop && a->squash == b->squash;
}

bool tr_setting_same_frames(const tr_frame_options *a, const tr_frame_options *b) {
  return a->step == b->step && a->offset == b->offset && a->tested_only == b->tested_only && a->mask == b->mask;
}

/* A draw of training images goes by the seed. */
static bool same_training_images(const tr_setting *a, const tr_setting *b) {
  return tr_setting_same_frames(&a->frames, &b->frames) && same_text(a->split_file, b->split_file) &&
         a->train_images == b->train_images && (!a->train_images || a->seed == b->seed);
}

bool tr_setting_shares_features(const tr_setting *a, const tr_setting *b) {
  return !a->member_count && !b->member_count && same_training_images(a, b) && same_text(a->dataset, b->dataset) &&
         same_text(a->method, b->method) && same_text(a->backbone, b->backbone) && same_layers(a, b) &&
         tr_setting_same_image(&a->image, &b->image) && tr_tile_spec_equal(&a->tile, &b->tile) && a->patch == b->patch &&
         a->stride == b->stride && a->aggregate == b->aggregate && a->layer_dimension == b->layer_dimension &&
         (a->dimension == b->dimension || is_padim(a)) && a->gallery == b->gallery;
}

bool tr_setting_shares_selection(const tr_setting *a, const tr_setting *b) {
  bool same_size = a->percent == b->percent && a->bank_rows == b->bank_rows && a->bank_bytes == b->bank_bytes;
  bool a_ends = a->radius > 0 || a->seconds > 0, b_ends = b->radius > 0 || b->seconds > 0;
  /* Proxies are learned for one number of them. */
  bool same_rows = a->subsampling == b->subsampling && (a->subsampling != TR_SUBSAMPLE_LEARNED || same_size);
  return same_rows && a_ends == b_ends && a->seconds == b->seconds && a->seed == b->seed && a->projection == b->projection &&
         a->dimension == b->dimension && a->placement == b->placement && a->epsilon == b->epsilon;
}

char *tr_setting_layers_text(const tr_setting *setting) {
  char *text = NULL;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  if (!out)
    return NULL;
  const tr_setting *members = setting->member_count ? setting->members : setting;
  for (int m = 0; m < (setting->member_count ? setting->member_count : 1); ++m)
    for (int i = 0; i < members[m].layer_count; ++i)
      fprintf(out, "%s%s", i ? "+" : m ? "/" : "", members[m].layers[i]);
  if (fclose(out) != 0) {
    free(text);
    return NULL;
  }
  return text;
}
