/* Board: a part of a populated circuit board, always the same layout, placed with the usual tolerances.
 * Defects: a solder bridge between two pins, an interrupted trace, a misplaced part, a missing part. */
#include "datasets/synthetic.h"

#include <math.h>

static const char *const defects[] = {"bridge", "cut_trace", "misplaced", "missing"};
enum { BRIDGE, CUT_TRACE, MISPLACED, MISSING };

/* Two-pole parts: centre, turned by 90 degrees or not, resistor or capacitor. */
static const struct part {
  float u, v;
  bool upright, capacitor;
} parts[] = {
    {-92, -84, false, false}, {-92, -60, false, false}, {-92, -36, false, true}, {62, -96, true, true},  {88, -96, true, false},
    {-30, 78, true, true},    {-4, 78, true, false},    {22, 78, true, false},   {-88, 40, false, true}, {92, 22, true, true},
};
enum { PARTS = sizeof parts / sizeof *parts };

/* Traces as runs of points; each ends at {999, 999}. */
static const float traces[][2] = {
    {-76, -84}, {-50, -84}, {-36, -70}, {-36, -44}, {999, 999},  {-76, -60},  {-58, -60}, {-22, -24}, {-22, -44}, {999, 999},
    {-76, -36}, {-66, -36}, {-56, -26}, {-56, 24},  {-66, 34},   {-72, 40},   {999, 999}, {62, -82},  {62, -60},  {46, -44},
    {34, -36},  {999, 999}, {88, -82},  {88, -40},  {70, -22},   {54, -22},   {999, 999}, {-30, 64},  {-30, 30},  {999, 999},
    {-4, 64},   {-4, 48},   {6, 38},    {6, 30},    {999, 999},  {22, 64},    {22, 42},   {20, 30},   {999, 999}, {92, 36},
    {92, 60},   {76, 76},   {76, 88},   {999, 999}, {-104, 40},  {-118, 54},  {-118, 92}, {-98, 112}, {-62, 112}, {999, 999},
    {92, 8},    {92, -4},   {80, -10},  {50, -10},  {999, 999},  {-30, 92},   {-30, 112}, {999, 999}, {-4, 92},   {-4, 112},
    {999, 999}, {22, 92},   {22, 112},  {999, 999}, {-112, -84}, {-128, -84}, {-128, 20}, {-104, 40}, {999, 999},
};
enum { TRACE_POINTS = sizeof traces / sizeof *traces };

static const float vias[][2] = {{-36, -44}, {-56, 8},   {-118, 58}, {70, -22}, {-128, -30},
                                {6, 52},    {110, -60}, {118, 100}, {-64, 82}};
enum { VIAS = sizeof vias / sizeof *vias };

/* Places where a trace can be cut: centre and direction of the trace. */
static const float cuts[][3] = {{-63, -84, 0},          {-56, -12, 1.5707963f}, {88, -60, 1.5707963f}, {-30, 50, 1.5707963f},
                                {-118, 80, 1.5707963f}, {64, -10, 0},           {-80, 112, 0},         {-128, -56, 1.5707963f}};
enum { CUTS = sizeof cuts / sizeof *cuts };

enum { PINS = 7 }; /* a side of the integrated circuit */
static const float chip_half_w = 44, chip_half_h = 24, pin_pitch = 12.5f;

typedef struct board {
  tr_pose pose;
  uint32_t seed;
  tr_colour mask; /* solder mask */
  float solder;   /* brightness of solder */
} board;

static void mask_pixel(const tr_canvas *canvas, const void *context, float x, float y, float rgb[3]) {
  (void)canvas;
  const board *scene = context;
  float u, v;
  tr_pose_inverse(&scene->pose, x, y, &u, &v);
  /* Glass fibres show faintly through the mask. */
  float weave = 0.02f * sinf(u * 1.3f) * sinf(v * 1.3f),
        level = 1 + weave + 0.06f * tr_fractal(u * 0.03f, v * 0.03f, scene->seed, 3);
  rgb[0] = scene->mask.r * level;
  rgb[1] = scene->mask.g * level;
  rgb[2] = scene->mask.b * level;
}

static void stroke(tr_canvas *canvas, const tr_pose *pose, const float a[2], const float b[2], float half, tr_colour colour,
                   float alpha) {
  tr_box box = {.x = (a[0] + b[0]) / 2,
                .y = (a[1] + b[1]) / 2,
                .half_w = hypotf(b[0] - a[0], b[1] - a[1]) / 2,
                .round = half,
                .angle = atan2f(b[1] - a[1], b[0] - a[0])};
  tr_paint_box(canvas, pose, &box, colour, alpha, 0);
}

static void disc(tr_canvas *canvas, const tr_pose *pose, float u, float v, float radius, tr_colour colour, float alpha,
                 float soft) {
  tr_box box = {.x = u, .y = v, .round = radius};
  tr_paint_box(canvas, pose, &box, colour, alpha, soft);
}

static void block(tr_canvas *canvas, const tr_pose *pose, float u, float v, float half_w, float half_h, float round,
                  tr_colour colour, float alpha, float soft) {
  tr_box box = {.x = u, .y = v, .half_w = half_w - round, .half_h = half_h - round, .round = round};
  tr_paint_box(canvas, pose, &box, colour, alpha, soft);
}

static void draw_traces(tr_canvas *canvas, const board *scene) {
  tr_colour copper = tr_mix(scene->mask, (tr_colour){0.55f, 0.66f, 0.36f}, 0.38f);
  for (int i = 0; i + 1 < TRACE_POINTS; ++i)
    if (traces[i][0] < 999 && traces[i + 1][0] < 999)
      stroke(canvas, &scene->pose, traces[i], traces[i + 1], 2.0f, copper, 1);
  for (int i = 0; i < VIAS; ++i) {
    disc(canvas, &scene->pose, vias[i][0], vias[i][1], 4.2f, (tr_colour){0.70f, 0.66f, 0.48f}, 1, 0);
    disc(canvas, &scene->pose, vias[i][0], vias[i][1], 1.9f, (tr_colour){0.07f, 0.07f, 0.06f}, 1, 0);
  }
}

/* The bare laminate shows where the trace was scraped off. */
static void draw_cut(tr_canvas *canvas, const board *scene, tr_rng *flaw) {
  const float *cut = cuts[tr_rng_below(flaw, CUTS)];
  float x, y, along = tr_rng_between(flaw, -8, 8);
  tr_pose_apply(&scene->pose, cut[0] + along * cosf(cut[2]), cut[1] + along * sinf(cut[2]), &x, &y);
  tr_pose at = tr_pose_make(x, y, cut[2] + atan2f(scene->pose.sin_a, scene->pose.cos_a) + tr_rng_between(flaw, -0.5f, 0.5f));
  float half = tr_rng_between(flaw, 3.5f, 8), alpha = tr_rng_between(flaw, 0.75f, 0.98f);
  block(canvas, &at, 0, 0, half, 4.2f, 1, tr_mix(scene->mask, (tr_colour){0.72f, 0.65f, 0.44f}, 0.75f), alpha, 0.8f);
}

static void draw_pads(tr_canvas *canvas, const board *scene) {
  for (int i = 0; i < PARTS; ++i) {
    float shine = scene->solder * (0.92f + 0.16f * tr_lattice_unit(i, 3, scene->seed));
    tr_colour solder = {0.74f * shine, 0.75f * shine, 0.76f * shine};
    for (int side = -1; side <= 1; side += 2) {
      float du = parts[i].upright ? 0 : 13.0f * (float)side, dv = parts[i].upright ? 13.0f * (float)side : 0;
      block(canvas, &scene->pose, parts[i].u + du, parts[i].v + dv, 7, 7, 1.5f, solder, 1, 0);
      disc(canvas, &scene->pose, parts[i].u + du * 1.12f - 1.5f, parts[i].v + dv * 1.12f - 1.5f, 2.2f,
           (tr_colour){0.92f, 0.92f, 0.92f}, 0.5f * shine, 3);
    }
  }
}

/* One part in its own pose, along u. */
static void draw_part(tr_canvas *canvas, const tr_pose *at, bool capacitor, float tone) {
  tr_colour body =
      capacitor ? tr_scaled((tr_colour){0.62f, 0.49f, 0.34f}, tone) : tr_scaled((tr_colour){0.13f, 0.13f, 0.14f}, tone);
  tr_colour metal = tr_scaled((tr_colour){0.80f, 0.80f, 0.80f}, tone);
  block(canvas, at, 1.2f, 1.6f, 15, 7.5f, 1.5f, (tr_colour){0.02f, 0.05f, 0.03f}, 0.45f, 3);
  block(canvas, at, 0, 0, 14.5f, 6.8f, 1, metal, 1, 0);
  block(canvas, at, 0, 0, 9.8f, 6.9f, 0.6f, body, 1, 0);
  block(canvas, at, 0, -4.6f, 9.2f, 0.9f, 0.5f, (tr_colour){1, 1, 1}, 0.16f, 1);
  if (!capacitor) {
    tr_lettering value = {.text = "103", .u = -6.6f, .v = 2.4f, .height = 4.8f, .half_width = 0.36f};
    tr_paint_text(canvas, at, &value, (tr_colour){0.85f, 0.85f, 0.83f}, 0.85f);
  }
}

static void draw_parts(tr_canvas *canvas, const board *scene, tr_rng *rng, tr_rng *flaw, int defect) {
  int which = defect == MISPLACED || defect == MISSING ? (int)tr_rng_below(flaw, PARTS) : -1;
  float board_angle = atan2f(scene->pose.sin_a, scene->pose.cos_a);
  for (int i = 0; i < PARTS; ++i) {
    float u = parts[i].u + tr_rng_between(rng, -0.8f, 0.8f), v = parts[i].v + tr_rng_between(rng, -0.8f, 0.8f);
    float turn = tr_rng_between(rng, -0.035f, 0.035f), tone = tr_rng_between(rng, 0.9f, 1.1f);
    if (i == which && defect == MISSING)
      continue;
    if (i == which) {
      u += tr_rng_between(flaw, -3.5f, 3.5f);
      v += tr_rng_between(flaw, -3.5f, 3.5f);
      turn += tr_rng_between(flaw, 0.12f, 0.6f) * (tr_rng_below(flaw, 2) ? 1.0f : -1.0f);
    }
    float x, y;
    tr_pose_apply(&scene->pose, u, v, &x, &y);
    tr_pose at = tr_pose_make(x, y, board_angle + turn + (parts[i].upright ? 1.5707963f : 0));
    draw_part(canvas, &at, parts[i].capacitor, tone);
  }
}

static float pin_u(int pin) {
  return ((float)pin - (PINS - 1) * 0.5f) * pin_pitch;
}

static void draw_chip(tr_canvas *canvas, const board *scene) {
  const tr_pose *pose = &scene->pose;
  for (int side = -1; side <= 1; side += 2)
    for (int pin = 0; pin < PINS; ++pin) {
      float shine = scene->solder * (0.90f + 0.2f * tr_lattice_unit(pin, 5 + side, scene->seed));
      float v = (float)side * (chip_half_h + 5);
      block(canvas, pose, pin_u(pin), v + (float)side * 2, 3.9f, 7, 1.2f, tr_scaled((tr_colour){0.66f, 0.67f, 0.68f}, shine), 1,
            0);
      block(canvas, pose, pin_u(pin), v, 2.4f, 6, 0.8f, tr_scaled((tr_colour){0.84f, 0.84f, 0.83f}, shine), 1, 0);
      block(canvas, pose, pin_u(pin), v - (float)side * 3, 2.4f, 2.2f, 0.6f, (tr_colour){0.35f, 0.36f, 0.36f}, 0.6f, 1.5f);
    }
  block(canvas, pose, 2, 3, chip_half_w + 1, chip_half_h + 1, 3, (tr_colour){0.01f, 0.03f, 0.02f}, 0.5f, 5);
  block(canvas, pose, 0, 0, chip_half_w, chip_half_h, 2, (tr_colour){0.115f, 0.115f, 0.125f}, 1, 0);
  block(canvas, pose, 0, 0, chip_half_w - 2.5f, chip_half_h - 2.5f, 2, (tr_colour){0.155f, 0.155f, 0.165f}, 1, 2);
  disc(canvas, pose, -36, 14, 3.2f, (tr_colour){0.09f, 0.09f, 0.10f}, 1, 0.8f);
  tr_lettering name = {.text = "TR2022", .u = -27, .v = 1, .height = 9, .half_width = 0.6f};
  tr_paint_text(canvas, pose, &name, (tr_colour){0.72f, 0.72f, 0.70f}, 0.75f);
  tr_lettering lot = {.text = "L1716", .u = -20, .v = 13, .height = 7, .half_width = 0.5f};
  tr_paint_text(canvas, pose, &lot, (tr_colour){0.72f, 0.72f, 0.70f}, 0.6f);
}

static void draw_bridge(tr_canvas *canvas, const board *scene, tr_rng *flaw) {
  int pin = (int)tr_rng_below(flaw, PINS - 1);
  float side = tr_rng_below(flaw, 2) ? 1.0f : -1.0f, v = side * (chip_half_h + tr_rng_between(flaw, 4, 11));
  float middle = (pin_u(pin) + pin_u(pin + 1)) / 2, thick = tr_rng_between(flaw, 2.0f, 5.5f);
  block(canvas, &scene->pose, middle, v, 5.5f, thick, fminf(thick, 1.2f), (tr_colour){0.68f, 0.69f, 0.70f}, 0.95f, 1);
  block(canvas, &scene->pose, middle, v - 0.3f * thick, 3.5f, 0.35f * thick, 0.3f, (tr_colour){0.93f, 0.93f, 0.92f}, 0.7f, 1);
}

/* Upright electrolytic capacitor, pin header and lettering. */
static void draw_rest(tr_canvas *canvas, const board *scene) {
  const tr_pose *pose = &scene->pose;
  tr_colour silk = {0.86f, 0.87f, 0.84f};
  disc(canvas, pose, 64, 92, 23, silk, 0.85f, 0);
  disc(canvas, pose, 64, 92, 21.6f, scene->mask, 1, 0);
  disc(canvas, pose, 66.5f, 95.5f, 20, (tr_colour){0.01f, 0.03f, 0.02f}, 0.5f, 6);
  disc(canvas, pose, 64, 92, 19, (tr_colour){0.17f, 0.18f, 0.24f}, 1, 0);
  disc(canvas, pose, 64, 92, 16.5f, (tr_colour){0.70f, 0.71f, 0.72f}, 1, 1);
  disc(canvas, pose, 60, 88, 9, (tr_colour){0.86f, 0.86f, 0.86f}, 0.5f, 9);
  block(canvas, pose, 64, 92, 0.8f, 11, 0.5f, (tr_colour){0.42f, 0.43f, 0.44f}, 0.8f, 0.6f);
  block(canvas, pose, 64, 92, 11, 0.8f, 0.5f, (tr_colour){0.42f, 0.43f, 0.44f}, 0.8f, 0.6f);
  for (int i = 0; i < 5; ++i) {
    float u = -62 + 18 * (float)i;
    block(canvas, pose, u, 116, 8, 8, 1, (tr_colour){0.09f, 0.09f, 0.09f}, 1, 0);
    block(canvas, pose, u, 116, 3, 3, 0.6f, (tr_colour){0.80f, 0.68f, 0.34f}, 1, 0);
  }
  static const struct label {
    const char *text;
    float u, v;
  } labels[] = {{"R1", -126, -96}, {"R2", -126, -50}, {"C1", -84, -18}, {"C2", 40, -112}, {"R3", 102, -112},
                {"C3", -52, 82},   {"U1", 54, 30},    {"C7", 98, 62},   {"C4", -98, 26}};
  for (size_t i = 0; i < sizeof labels / sizeof *labels; ++i) {
    tr_lettering lettering = {.text = labels[i].text, .u = labels[i].u, .v = labels[i].v, .height = 8, .half_width = 0.6f};
    tr_paint_text(canvas, pose, &lettering, silk, 0.85f);
  }
}

static void draw_board(tr_canvas *canvas, tr_rng *rng, tr_rng *flaw, int defect, tr_camera *camera) {
  board scene = {
      .pose = tr_pose_make(tr_rng_between(rng, 156, 164), tr_rng_between(rng, 156, 164), tr_rng_between(rng, -0.025f, 0.025f)),
      .seed = tr_rng_u32(rng),
      .solder = tr_rng_between(rng, 0.92f, 1.06f)};
  scene.mask = tr_scaled((tr_colour){0.10f, 0.36f, 0.20f}, tr_rng_between(rng, 0.92f, 1.08f));
  tr_paint_all(canvas, mask_pixel, &scene);
  draw_traces(canvas, &scene);
  if (defect == CUT_TRACE)
    draw_cut(canvas, &scene, flaw);
  draw_pads(canvas, &scene);
  draw_parts(canvas, &scene, rng, flaw, defect);
  draw_chip(canvas, &scene);
  if (defect == BRIDGE)
    draw_bridge(canvas, &scene, flaw);
  draw_rest(canvas, &scene);
  *camera = tr_camera_draw(rng);
}

const tr_picture_class tr_picture_board = {
    .name = "board", .key = 0, .width = 320, .height = 320, .defects = defects, .defect_count = 4, .draw = draw_board};
