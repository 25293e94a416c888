/* Memory that is short. */
#include "host/harness/room.h"
#include "host/base/clock.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/harness/profile.h"
#include "host/methods/picks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is kept ---- */

/* Of the disk. Where nothing can be written, nothing will be. */
static double measure_file_rate(void) {
  enum { PROBE = 64 << 20 };
  const char *folder = getenv("TMPDIR");
  double rate = 1;
  tr_feature_file *file;
  char *data = calloc(1, PROBE);
  if (data && tr_feature_file_create(folder ? folder : "/tmp", PROBE, &file) == TR_OK) {
    double begin = tr_seconds();
    if (tr_feature_file_write(file, 0, data, PROBE) == TR_OK && tr_feature_file_flush(file) == TR_OK)
      rate = PROBE / (tr_seconds() - begin);
    tr_feature_file_close(file);
  }
  free(data);
  return rate;
}

/* On top of what all features in memory take. Features are written once and few are read; images pass a second time. */
static double extra_seconds(const tr_room *room, const tr_room_needs *needs) {
  tr_profile rates = tr_device_works_alone(room->device) ? tr_profile_h100() : tr_profile_common();
  double images = needs->again ? (double)room->train_images : 0;
  double seconds = images * (needs->pixels / rates.decode_pixels + needs->macs / rates.backbone_macs);
  if (needs->file_bytes && *room->file_rate <= 0)
    *room->file_rate = measure_file_rate();
  return seconds + (needs->file_bytes ? (double)needs->file_bytes / *room->file_rate : 0);
}

static const tr_keep ways[] = {TR_KEEP_FEATURES, TR_KEEP_NOTHING, TR_KEEP_IN_FILE, TR_KEEP_PROJECTED_IN_FILE,
                               TR_KEEP_ALL_IN_FILES};
enum { WAYS = sizeof ways / sizeof *ways };

tr_status tr_room_keep_less(const tr_room *room, size_t limit, tr_keep *out) {
  tr_keep cheapest = TR_KEEP_FEATURES, smallest = TR_KEEP_FEATURES;
  double least_seconds = INFINITY;
  size_t least_bytes = SIZE_MAX;
  for (size_t i = 0; i < WAYS; ++i) {
    tr_room_needs needs;
    TR_TRY(room->forecast(room->context, room->setting, room->train_images, ways[i], &needs));
    if (needs.peak_bytes < least_bytes) {
      smallest = ways[i];
      least_bytes = needs.peak_bytes;
    }
    if (ways[i] == TR_KEEP_FEATURES || needs.peak_bytes > limit)
      continue;
    double seconds = extra_seconds(room, &needs);
    if (seconds < least_seconds) {
      cheapest = ways[i];
      least_seconds = seconds;
    }
  }
  *out = least_seconds < INFINITY ? cheapest : smallest;
  return TR_OK;
}

size_t tr_room_keep_text(const tr_method_needs *needs, char *out, size_t size) {
  char disk[64] = "", bytes[32];
  *out = '\0';
  if (!needs->again && !needs->file_bytes)
    return 0;
  if (needs->file_bytes)
    snprintf(disk, sizeof disk, "%s (%s of disk)", needs->again ? " in a file" : "",
             tr_format_bytes(needs->file_bytes, bytes, sizeof bytes));
  snprintf(out, size, "of the training features %s%s%s", needs->again ? "projected ones are kept" : "all are kept in a file",
           disk, needs->again ? "; images with selected rows pass once more" : "");
  return strlen(out);
}

/* ---- what would fit ---- */

/* Within the limit in some way: one that takes least is among these. */
static bool would_fit(const tr_room *room, const tr_setting *setting, size_t images, size_t limit) {
  static const tr_keep least[] = {TR_KEEP_PROJECTED_IN_FILE, TR_KEEP_NOTHING, TR_KEEP_FEATURES};
  tr_room_needs needs;
  for (size_t i = 0; i < sizeof least / sizeof *least; ++i)
    if (room->forecast(room->context, setting, images, least[i], &needs) == TR_OK && needs.peak_bytes <= limit)
      return true;
  return false;
}

/* The remedies found by now. */
typedef struct remedies {
  const tr_room *room;
  size_t limit;
  tr_room_needs needs; /* as it is */
  char text[4][64];
  size_t count;
  char images[64];
} remedies;

static bool fits(const remedies *r, const tr_setting *setting) {
  return would_fit(r->room, setting, r->room->train_images, r->limit);
}

/* The most with which it would fit. */
static void try_images(remedies *r) {
  size_t fit = 0, too_many = r->room->train_images;
  while (too_many - fit > 1) {
    size_t images = fit + (too_many - fit) / 2;
    *(would_fit(r->room, r->room->setting, images, r->limit) ? &fit : &too_many) = images;
  }
  if (fit)
    snprintf(r->images, sizeof r->images, "%zu training images", fit);
}

/* Halved as often as that takes. */
static void try_rows(remedies *r) {
  tr_setting s = *r->room->setting;
  if (strcmp(s.method, "patchcore") != 0 || s.subsampling == TR_SUBSAMPLE_NONE)
    return;
  for (int halved = 0; halved < 8; ++halved) {
    s.percent /= 2;
    s.bank_rows /= 2;
    s.bank_bytes /= 2;
    if (!fits(r, &s))
      continue;
    char *text = r->text[r->count++];
    if (s.percent > 0)
      snprintf(text, sizeof *r->text, "subsampling.percent=%g", s.percent);
    else if (s.bank_rows)
      snprintf(text, sizeof *r->text, "subsampling.bank_rows=%d", s.bank_rows);
    else
      snprintf(text, sizeof *r->text, "subsampling.bank_bytes=%zuK", s.bank_bytes >> 10);
    return;
  }
}

static void try_stride(remedies *r) {
  tr_setting s = *r->room->setting;
  if (strcmp(s.method, "patchcore") != 0)
    return;
  for (int doubled = 0; doubled < 2; ++doubled) {
    s.stride *= 2;
    if (!fits(r, &s))
      continue;
    snprintf(r->text[r->count++], sizeof *r->text, "stride=%d", s.stride);
    return;
  }
}

/* A multiple of 32 pixels, which the backbones halve five times. */
static int some_eighths(int side, int eighths) {
  return side * eighths / 8 / 32 * 32;
}

/* The whole image on fewer pixels. */
static void try_image(remedies *r) {
  tr_setting s = *r->room->setting;
  const tr_image_spec was = s.image;
  int side = r->needs.image_h < r->needs.image_w ? r->needs.image_h : r->needs.image_w;
  if (was.crop && !was.resize)
    return;
  for (int eighths = 7; eighths >= 2 && some_eighths(side, eighths) >= 32; --eighths) {
    int smaller = some_eighths(side, eighths);
    s.image.crop = was.crop ? smaller : 0;
    s.image.resize = was.resize ? (int)((double)was.resize * smaller / side + 0.5) : smaller;
    if (!fits(r, &s))
      continue;
    int written = snprintf(r->text[r->count], sizeof *r->text, "image.resize=%d", s.image.resize);
    if (was.crop)
      snprintf(r->text[r->count] + written, sizeof *r->text - (size_t)written, " with image.crop=%d", s.image.crop);
    ++r->count;
    return;
  }
}

/* Images are cut for their size: into tiles of what a backbone is used to, or more. */
static void try_tile(remedies *r) {
  enum { USUAL = 224 };
  tr_setting s = *r->room->setting;
  int side = r->needs.image_h < r->needs.image_w ? r->needs.image_h : r->needs.image_w;
  if (s.normalise == TR_NORMALISE_NOMINAL)
    return;
  for (int size = (s.tile.size ? s.tile.size : side) / 2; size >= USUAL; size /= 2) {
    s.tile.size = size / 32 * 32;
    s.tile.overlap = s.tile.overlap < s.tile.size / 2 ? s.tile.overlap : s.tile.size / 2;
    if (!fits(r, &s))
      continue;
    snprintf(r->text[r->count++], sizeof *r->text, "tile.size=%d", s.tile.size);
    return;
  }
}

static void write_remedies(const remedies *r, char *out, size_t size) {
  size_t at = 0;
  *out = '\0';
  if (*r->images)
    at += (size_t)snprintf(out, size, ", so would %s", r->images);
  for (size_t i = 0; i < r->count; ++i)
    at += (size_t)snprintf(out + at, size - at,
                           i            ? " or %s"
                           : *r->images ? ", or the setting %s"
                                        : ", so would the setting %s",
                           r->text[i]);
}

tr_status tr_room_refuse(const tr_room *room, size_t limit) {
  remedies r = {.room = room, .limit = limit};
  tr_keep smallest;
  char need[32], given[32], text[512];
  TR_TRY(tr_room_keep_less(room, 0, &smallest));
  TR_TRY(room->forecast(room->context, room->setting, room->train_images, smallest, &r.needs));
  try_images(&r);
  try_rows(&r);
  try_stride(&r);
  try_image(&r);
  try_tile(&r);
  write_remedies(&r, text, sizeof text);
  return tr_fail(TR_ENOMEM, "needs %s, more than the memory limit of %s; a limit of %zuM would do%s",
                 tr_format_bytes(r.needs.peak_bytes, need, sizeof need), tr_format_bytes(limit, given, sizeof given),
                 (r.needs.peak_bytes >> 20) + 1, text);
}
