/* Heat maps as PNG. */
#include "host/harness/picture.h"
#include "datasets/image.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 4 }; /* pixels between two panels */

/* ---- colours ---- */

/* Stops of the colour scale in OKLab (Ottosson 2020): from deep violet over red and orange to pale yellow. Lightness rises evenly,
 * so that twice the score looks twice as bright, also in grey print. */
static const float stops[][3] = {
    {0.25f, 0.050f, -0.110f}, {0.40f, 0.130f, -0.085f}, {0.55f, 0.170f, 0.020f},
    {0.70f, 0.125f, 0.115f},  {0.85f, 0.025f, 0.150f},  {0.97f, -0.020f, 0.090f},
};
enum { LAST_STOP = sizeof stops / sizeof *stops - 1 };

static float clamp01(float x) {
  return x < 0 ? 0 : x > 1 ? 1 : x;
}

/* Linear light to sRGB (IEC 61966-2-1). */
static float encode_srgb(float x) {
  x = clamp01(x);
  return x <= 0.0031308f ? 12.92f * x : 1.055f * powf(x, 1 / 2.4f) - 0.055f;
}

static void oklab_to_srgb(const float lab[3], float rgb[3]) {
  float l = lab[0] + 0.3963377774f * lab[1] + 0.2158037573f * lab[2];
  float m = lab[0] - 0.1055613458f * lab[1] - 0.0638541728f * lab[2];
  float s = lab[0] - 0.0894841775f * lab[1] - 1.2914855480f * lab[2];
  l = l * l * l;
  m = m * m * m;
  s = s * s * s;
  rgb[0] = encode_srgb(4.0767416621f * l - 3.3077115913f * m + 0.2309699292f * s);
  rgb[1] = encode_srgb(-1.2684380046f * l + 2.6097574011f * m - 0.3413193965f * s);
  rgb[2] = encode_srgb(-0.0041960863f * l - 0.7034186147f * m + 1.7076147010f * s);
}

static void heat_colour(float t, float rgb[3]) {
  float place = clamp01(t) * LAST_STOP;
  int stop = (int)place < LAST_STOP ? (int)place : LAST_STOP - 1;
  float lab[3];
  for (int i = 0; i < 3; ++i)
    lab[i] = stops[stop][i] + (place - (float)stop) * (stops[stop + 1][i] - stops[stop][i]);
  oklab_to_srgb(lab, rgb);
}

/* ---- scale ---- */

static int compare_floats(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

/* The part-quantile of what `sorted` holds. */
static float quantile(const float *sorted, size_t count, double part) {
  return count ? sorted[(size_t)((double)(count - 1) * part)] : 0;
}

tr_status tr_picture_scale_of(const float *peaks, const uint8_t *anomalous, size_t n, tr_picture_scale *out) {
  float *sorted = malloc((n + 1) * sizeof *sorted);
  if (!sorted)
    return tr_fail(TR_ENOMEM, "drawing heat maps: out of memory");
  size_t good = 0;
  for (size_t i = 0; i < n; ++i)
    if (!anomalous[i])
      sorted[good++] = peaks[i];
  qsort(sorted, good, sizeof *sorted, compare_floats);
  float usual = quantile(sorted, good, 0.9);
  size_t above = 0;
  for (size_t i = 0; i < n; ++i)
    if (!good || peaks[i] > usual)
      sorted[above++] = peaks[i];
  qsort(sorted, above, sizeof *sorted, compare_floats);
  float median = quantile(sorted, above, 0.5);
  *out = (tr_picture_scale){.calm = good ? 3 * usual / 4 : median / 3, .alarm = fmaxf(median, 1.25f * usual)};
  free(sorted);
  return TR_OK;
}

/* ---- files ---- */

char *tr_picture_path(const char *folder, const char *name) {
  const char *slash = strrchr(name, '/'), *dot = strrchr(name, '.');
  size_t stem = dot && (!slash || dot > slash) ? (size_t)(dot - name) : strlen(name);
  return tr_format("%s/%.*s.png", folder, (int)stem, name);
}

/* ---- panels ---- */

static uint8_t to_byte(float x) {
  return (uint8_t)lrintf(255 * clamp01(x));
}

static float smooth_step(float t) {
  return t * t * (3 - 2 * t);
}

/* The image shows through where the score is calm; greyed, so that its hues do not mix with the scale's. */
static void overlay_pixel(const uint8_t *image, float score, tr_picture_scale scale, uint8_t *out) {
  float span = scale.alarm - scale.calm;
  float t = span > 0 ? clamp01((score - scale.calm) / span) : 0;
  float colour[3], opacity = 0.8f * smooth_step(clamp01(3 * t));
  heat_colour(0.15f + 0.85f * t, colour);
  float grey = (0.299f * (float)image[0] + 0.587f * (float)image[1] + 0.114f * (float)image[2]) / 255;
  for (int c = 0; c < 3; ++c) {
    float under = 0.4f * (float)image[c] / 255 + 0.6f * grey;
    out[c] = to_byte((1 - opacity) * under + opacity * colour[c]);
  }
}

/* The first two panels of a row. */
static void draw_overlay_row(const uint8_t *image, const float *map, int w, tr_picture_scale scale, uint8_t *row) {
  uint8_t *heat = row + 3 * (w + GAP);
  memcpy(row, image, (size_t)w * 3);
  for (int x = 0; x < w; ++x)
    overlay_pixel(image + 3 * x, map[x], scale, heat + 3 * x);
}

static void draw_truth_row(const float *mask, int w, uint8_t *row) {
  for (int x = 0; x < w; ++x)
    memset(row + 3 * x, mask ? to_byte(mask[x]) : 0, 3);
}

typedef struct panels {
  const uint8_t *image;
  const float *map, *mask;
  bool truth; /* the third panel */
  int h, w;
} panels;

static tr_status write_panels(const char *path, const panels *p, tr_picture_scale scale) {
  int count = p->truth ? 3 : 2, width = count * p->w + (count - 1) * GAP;
  size_t row_bytes = (size_t)width * 3, w = (size_t)p->w;
  uint8_t *pixels = malloc((size_t)p->h * row_bytes);
  if (!pixels)
    return tr_fail(TR_ENOMEM, "drawing %s", path);
  memset(pixels, 255, (size_t)p->h * row_bytes);
  for (size_t y = 0; y < (size_t)p->h; ++y) {
    uint8_t *row = pixels + y * row_bytes;
    draw_overlay_row(p->image + y * w * 3, p->map + y * w, p->w, scale, row);
    if (p->truth)
      draw_truth_row(p->mask ? p->mask + y * w : NULL, p->w, row + 6 * (p->w + GAP));
  }
  tr_status status = tr_image_write_png(path, pixels, p->h, width, 3);
  free(pixels);
  return status;
}

tr_status tr_picture_write(const char *path, const uint8_t *image, const float *map, const float *mask, int h, int w,
                           tr_picture_scale scale) {
  return write_panels(path, &(panels){.image = image, .map = map, .mask = mask, .truth = true, .h = h, .w = w}, scale);
}

tr_status tr_picture_write_overlay(const char *path, const uint8_t *image, const float *map, int h, int w,
                                   tr_picture_scale scale) {
  return write_panels(path, &(panels){.image = image, .map = map, .h = h, .w = w}, scale);
}

/* ---- boxes ---- */

static bool on_frame(tr_picture_box box, int y, int x) {
  return y == box.top || y == box.bottom - 1 || x == box.left || x == box.right - 1;
}

void tr_picture_draw_box(uint8_t *image, int h, int w, tr_picture_box box) {
  static const uint8_t red[3] = {255, 32, 32};
  box.top = box.top > 0 ? box.top : 0;
  box.left = box.left > 0 ? box.left : 0;
  box.bottom = box.bottom < h ? box.bottom : h;
  box.right = box.right < w ? box.right : w;
  for (int y = box.top; y < box.bottom; ++y)
    for (int x = box.left; x < box.right; ++x)
      if (on_frame(box, y, x))
        memcpy(image + ((size_t)y * (size_t)w + (size_t)x) * 3, red, 3);
}
