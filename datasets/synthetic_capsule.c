/* Capsule: a two-coloured gelatine capsule with a printed code on a light ground; pictures are wider than high.
 * Defects: a crack, a dent, a faulty print, a squeezed body. */
#include "datasets/synthetic.h"

#include <math.h>

static const char *const defects[] = {"crack", "dent", "print", "squeeze"};
enum { CRACK, DENT, PRINT, SQUEEZE };

static const float half_length = 76, body_radius = 41, cap_excess = 1.6f, seam_u = 10;

typedef struct capsule {
  tr_pose pose;
  float light; /* where the glare lies across the body, as a fraction of the radius */
  float gloss;
  uint32_t seed;
  tr_colour cap, body;
  /* Squeeze: the radius shrinks by `pinch` around `pinch_u`, on the side `pinch_side` (0: both). */
  float pinch, pinch_u, pinch_width;
  int pinch_side;
  float bend;
  /* Dent: a round dip. */
  float dent_u, dent_v, dent_radius, dent_depth;
} capsule;

static float bump(float x) {
  return expf(-0.5f * x * x);
}

/* The radius at u on the side of v. */
static float radius_at(const capsule *scene, float u, float v) {
  float radius = body_radius + (u < seam_u ? cap_excess : 0);
  if (scene->pinch_side == 0 || (float)scene->pinch_side * v > 0)
    radius -= scene->pinch * bump((u - scene->pinch_u) / scene->pinch_width);
  return radius;
}

/* Signed distance to the outline and, in *across, the place across the body, -1 to 1. */
static float outline_distance(const capsule *scene, float u, float v, float *across) {
  v -= scene->bend * (u / half_length) * (u / half_length);
  float radius = radius_at(scene, u, v);
  float beyond = fmaxf(fabsf(u) - half_length, 0);
  *across = v / sqrtf(fmaxf(radius * radius - beyond * beyond, 1));
  return sqrtf(beyond * beyond + v * v) - radius;
}

/* Brightness that the slope of a dip adds: one side turns to the light, the other away. */
static float dent_light(const capsule *scene, float u, float v) {
  if (scene->dent_depth == 0)
    return 0;
  float du = (u - scene->dent_u) / scene->dent_radius, dv = (v - scene->dent_v) / scene->dent_radius;
  return scene->dent_depth * (dv + 0.4f * du) * 1.65f * bump(sqrtf(du * du + dv * dv));
}

static tr_colour gelatine(const capsule *scene, const tr_canvas *canvas, float u, float v, float distance, float across) {
  float t = tr_clamp(across, -1, 1), facing = sqrtf(1 - 0.96f * t * t);
  float ends = tr_clamp(fabsf(u) - half_length, 0, body_radius) / body_radius;
  float light = 0.50f + 0.50f * facing - 0.10f * t - 0.18f * ends * ends + dent_light(scene, u, v);
  float seam = tr_cover(canvas, u - seam_u, 0.8f);
  tr_colour colour = tr_mix(scene->body, scene->cap, seam);
  /* The cap's edge throws a thin shadow on the body. */
  light *= 1 - 0.30f * tr_cover(canvas, fabsf(u - seam_u - 1.4f) - 1, 1.2f);
  light *= 1 + 0.05f * tr_fractal(u * 0.05f, v * 0.05f, scene->seed + 1, 2);
  colour = tr_scaled(colour, light);
  /* Light shines through near the lower edge. */
  colour = tr_mix(colour, tr_scaled(tr_mix(scene->body, scene->cap, seam), 1.25f),
                  0.35f * tr_smoothstep(0.45f, 0.85f, t) * (1 - ends));
  float glare = bump((t - scene->light) / 0.09f) * tr_smoothstep(half_length + 30, half_length - 6, fabsf(u));
  float ripple = 1 + 0.25f * tr_noise(u * 0.035f, 3.0f, scene->seed + 2) + 3 * dent_light(scene, u, v);
  colour = tr_mix(colour, (tr_colour){1, 1, 0.98f}, tr_clamp(scene->gloss * glare * ripple, 0, 1));
  return tr_scaled(colour, 1 - 0.35f * tr_smoothstep(-3.5f, 0, distance));
}

static void capsule_pixel(const tr_canvas *canvas, const void *context, float x, float y, float rgb[3]) {
  const capsule *scene = context;
  float u, v, across;
  tr_pose_inverse(&scene->pose, x, y, &u, &v);
  float grain = tr_fractal(x * 0.25f, y * 0.25f, scene->seed + 3, 2), spread = tr_noise(x * 0.01f, y * 0.01f, scene->seed + 4);
  float ground = 0.80f + 0.018f * grain + 0.02f * spread;
  float shadow = outline_distance(scene, u - 5, v - 9, &across);
  ground *= 1 - 0.42f * tr_cover(canvas, shadow - 2, 22);
  rgb[0] = ground * 0.99f;
  rgb[1] = ground;
  rgb[2] = ground * 0.99f;
  float distance = outline_distance(scene, u, v, &across), inside = tr_cover(canvas, distance, 0);
  if (inside > 0)
    tr_blend(rgb, gelatine(scene, canvas, u, v, distance, across), inside);
}

/* The code "T50" on the body and "CL" on the cap; a faulty print lacks strokes, is shifted over itself, or is smeared. */
static void draw_print(tr_canvas *canvas, tr_rng *rng, tr_rng *flaw, bool faulty, const capsule *scene) {
  float roll = tr_rng_between(rng, -5, 5), shift = tr_rng_between(rng, -2.5f, 2.5f), alpha = tr_rng_between(rng, 0.75f, 0.92f);
  tr_lettering code = {.text = "T50", .u = 24 + shift, .v = roll + 13, .height = 17, .half_width = 1.3f};
  tr_lettering mark = {.text = "CL", .u = -52 + shift, .v = roll + 13, .height = 17, .half_width = 1.3f};
  tr_colour white = {0.94f, 0.93f, 0.90f}, black = {0.13f, 0.10f, 0.09f};
  tr_lettering *spoilt = faulty && tr_rng_below(flaw, 3) == 0 ? &mark : &code;
  tr_colour spoilt_colour = spoilt == &mark ? black : white;
  int kind = faulty ? (int)tr_rng_below(flaw, 3) : -1;
  if (kind == 0) { /* a run of strokes is missing */
    int first = (int)tr_rng_below(flaw, spoilt == &mark ? 7 : 14), count = 2 + (int)tr_rng_below(flaw, 4);
    spoilt->skip = (((uint64_t)1 << count) - 1) << first;
  } else if (kind == 1) { /* printed twice */
    tr_lettering twice = *spoilt;
    twice.u += tr_rng_between(flaw, 2, 4.5f);
    twice.v += tr_rng_between(flaw, 1.5f, 4);
    tr_paint_text(canvas, &scene->pose, &twice, spoilt_colour, 0.75f * alpha);
  } else if (kind == 2) { /* smeared along the body */
    float length = tr_rng_between(flaw, 5, 12);
    for (int i = 1; i <= 8; ++i) {
      tr_lettering smear = *spoilt;
      smear.u += length * (float)i / 8;
      tr_paint_text(canvas, &scene->pose, &smear, spoilt_colour, 0.16f * alpha);
    }
  }
  tr_paint_text(canvas, &scene->pose, &code, white, alpha);
  tr_paint_text(canvas, &scene->pose, &mark, black, alpha);
}

static void draw_crack(tr_canvas *canvas, tr_rng *flaw, const capsule *scene) {
  float x, y, angle = tr_rng_between(flaw, -1.2f, 1.2f);
  tr_pose_apply(&scene->pose, tr_rng_between(flaw, -75, 75), tr_rng_between(flaw, -20, 20), &x, &y);
  tr_curve curve = tr_curve_draw(flaw, x, y, angle, tr_rng_between(flaw, 22, 64), tr_rng_between(flaw, -0.6f, 0.6f), 1.2f),
           edge = curve;
  for (int i = 0; i < edge.count; ++i)
    edge.y[i] += 1;
  float half = tr_rng_between(flaw, 0.8f, 1.6f), alpha = tr_rng_between(flaw, 0.6f, 0.95f);
  tr_paint_curve(canvas, &edge, half, true, (tr_colour){0.95f, 0.90f, 0.82f}, 0.45f * alpha);
  tr_paint_curve(canvas, &curve, half, true, (tr_colour){0.08f, 0.05f, 0.04f}, alpha);
}

static void plan_squeeze(capsule *scene, tr_rng *flaw) {
  scene->pinch_side = (int)tr_rng_below(flaw, 3) - 1;
  scene->pinch_u = tr_rng_between(flaw, -70, 70);
  scene->pinch_width = tr_rng_between(flaw, 12, 30);
  scene->pinch = tr_rng_between(flaw, 2.2f, 6.5f) * (scene->pinch_side ? 1.5f : 1);
}

static void plan_dent(capsule *scene, tr_rng *flaw) {
  scene->dent_u = tr_rng_between(flaw, -85, 85);
  scene->dent_v = tr_rng_between(flaw, -24, 24);
  scene->dent_radius = tr_rng_between(flaw, 4, 11);
  scene->dent_depth = tr_rng_between(flaw, 0.18f, 0.45f);
}

static void draw_capsule(tr_canvas *canvas, tr_rng *rng, tr_rng *flaw, int defect, tr_camera *camera) {
  capsule scene = {
      .pose = tr_pose_make(tr_rng_between(rng, 194, 206), tr_rng_between(rng, 152, 168), tr_rng_between(rng, -0.08f, 0.08f)),
      .light = tr_rng_between(rng, -0.50f, -0.36f),
      .gloss = tr_rng_between(rng, 0.45f, 0.75f),
      .seed = tr_rng_u32(rng),
      .pinch_width = 1};
  float tone = tr_rng_between(rng, 0.96f, 1.04f);
  scene.cap = tr_scaled((tr_colour){0.86f, 0.50f, 0.17f}, tone);
  scene.body = tr_scaled((tr_colour){0.24f, 0.30f, 0.26f}, tone);
  scene.bend = tr_rng_between(rng, -0.8f, 0.8f);
  if (defect == SQUEEZE)
    plan_squeeze(&scene, flaw);
  else if (defect == DENT)
    plan_dent(&scene, flaw);
  tr_paint_all(canvas, capsule_pixel, &scene);
  draw_print(canvas, rng, flaw, defect == PRINT, &scene);
  if (defect == CRACK)
    draw_crack(canvas, flaw, &scene);
  *camera = tr_camera_draw(rng);
}

const tr_picture_class tr_picture_capsule = {
    .name = "capsule", .key = 1, .width = 400, .height = 320, .defects = defects, .defect_count = 4, .draw = draw_capsule};
