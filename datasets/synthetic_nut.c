/* Nut: a turned hexagon nut lying in any direction on a dark belt, seen from above.
 * Defects: a knocked-off corner, rust, a scratch, swarf (a curled metal chip) in the hole or on the face. */
#include "datasets/synthetic.h"

#include <math.h>

static const char *const defects[] = {"corner", "rust", "scratch", "swarf"};
enum { CORNER, RUST, SCRATCH, SWARF };

static const float face_apothem = 92, chamfer_radius = 97, bore_chamfer = 56, bore = 49, bore_depth = 36;

typedef struct nut {
  tr_pose pose;
  float size;        /* factor on all radii */
  float light_angle; /* direction the light comes from */
  float lobe_angle;  /* of the turned face's glare */
  float polish;      /* how strong the turning marks are */
  uint32_t seed;
  /* Knocked-off corner: cut by a rough line at `cut_at` from the centre towards `cut_angle`; far away when there is none. */
  float cut_angle, cut_at;
  bool rusty;
  tr_blob rust;
  float rust_strength;
} nut;

static float hexagon_distance(float u, float v, float apothem, float round) {
  const float kx = -0.8660254f, ky = 0.5f, kz = 0.57735027f;
  float x = fabsf(u), y = fabsf(v), inner = apothem - round;
  float fold = 2 * fminf(kx * x + ky * y, 0);
  x -= fold * kx;
  y -= fold * ky;
  x -= tr_clamp(x, -kz * inner, kz * inner);
  y -= inner;
  return (y < 0 ? -1.0f : 1.0f) * sqrtf(x * x + y * y) - round;
}

static void belt_pixel(const nut *scene, float x, float y, float rgb[3]) {
  float weave = tr_noise(x * 0.55f, y * 0.55f, scene->seed + 1), spots = tr_noise(x * 0.18f, y * 0.18f, scene->seed + 2);
  float level = 0.17f + 0.035f * weave + 0.02f * spots;
  rgb[0] = level * 0.98f;
  rgb[1] = level;
  rgb[2] = level * 1.06f;
}

/* Metal at radius r and angle of the plane, seen flat: rings left by the lathe and the glare they make. */
static float face_level(const nut *scene, float r, float angle) {
  float rings =
      tr_noise(r * 0.9f, angle * 1.2f, scene->seed + 3) * 0.6f + tr_noise(r * 2.3f, angle * 0.8f, scene->seed + 4) * 0.4f;
  float glare = cosf(2 * (angle - scene->lobe_angle));
  return 0.60f + 0.11f * glare * fabsf(glare) + scene->polish * rings;
}

/* A cone's surface facing outwards (+1) or inwards (-1). */
static float slope_level(const nut *scene, float angle, float facing, float base) {
  return base + 0.22f * facing * cosf(angle - scene->light_angle);
}

static float bore_level(const nut *scene, float r, float angle) {
  float turn = (r - bore_depth) / (bore - bore_depth); /* 0 deep in the hole, 1 at its mouth */
  float thread = 0.5f + 0.5f * cosf(6.2831853f * (4 * turn + angle / 6.2831853f));
  float light = slope_level(scene, angle, -1, 0.40f);
  return light * (0.25f + 0.75f * thread) * (0.35f + 0.65f * turn);
}

static void metal_pixel(const tr_canvas *canvas, const nut *scene, float u, float v, float outer, float rgb[3]) {
  float r = sqrtf(u * u + v * v) / scene->size, angle = atan2f(v, u);
  angle += atan2f(scene->pose.sin_a, scene->pose.cos_a); /* light does not turn with the nut */
  float level = face_level(scene, r, angle);
  /* Corners outside the chamfer's circle slope away from the face. */
  float corner = tr_cover(canvas, (chamfer_radius - r) * scene->size, 1.5f);
  level +=
      (slope_level(scene, angle, 1, 0.47f) + 0.5f * scene->polish * tr_noise(r, angle * 9, scene->seed + 5) - level) * corner;
  float mouth = tr_cover(canvas, (r - bore_chamfer) * scene->size, 1.0f);
  level += (slope_level(scene, angle, -1, 0.62f) - level) * mouth;
  /* The rim catches light. */
  level += 0.12f * tr_cover(canvas, fabsf(outer + 1.2f) - 0.7f, 1) +
           0.10f * tr_cover(canvas, fabsf((r - bore) * scene->size) - 0.6f, 1);
  tr_colour metal = {level * 0.99f, level, level * 1.02f};
  if (scene->rusty) {
    float x, y;
    tr_pose_apply(&scene->pose, u, v, &x, &y);
    float patch = tr_cover(canvas, tr_blob_distance(&scene->rust, x, y), 5);
    float grain = 0.75f + 0.5f * tr_fractal(x * 0.3f, y * 0.3f, scene->rust.seed + 3, 3);
    tr_colour rust = {0.46f * grain, 0.27f * grain, 0.16f * grain};
    metal = tr_mix(metal, rust, tr_clamp(scene->rust_strength * patch * grain, 0, 1));
  }
  float bore_edge = tr_cover(canvas, (bore - r) * scene->size, 0);
  tr_blend(rgb, metal, bore_edge);
  if (r < bore + 1) {
    float wall = bore_level(scene, r, angle);
    tr_blend(rgb, (tr_colour){wall, wall, wall * 1.02f}, (1 - bore_edge) * tr_cover(canvas, (bore_depth - r) * scene->size, 1));
  }
}

static void nut_pixel(const tr_canvas *canvas, const void *context, float x, float y, float rgb[3]) {
  const nut *scene = context;
  belt_pixel(scene, x, y, rgb);
  float u, v, shadow_u, shadow_v;
  tr_pose_inverse(&scene->pose, x, y, &u, &v);
  tr_pose_inverse(&scene->pose, x + 7 * cosf(scene->light_angle), y + 7 * sinf(scene->light_angle), &shadow_u, &shadow_v);
  float shadow = tr_cover(canvas, hexagon_distance(shadow_u, shadow_v, face_apothem * scene->size, 6), 16);
  float hole = tr_cover(canvas, sqrtf(u * u + v * v) - bore_depth * scene->size, 10);
  float dark = 1 - 0.6f * fmaxf(shadow, 0) - 0.25f * hole * (1 - shadow);
  for (int c = 0; c < 3; ++c)
    rgb[c] *= dark;
  float outer = hexagon_distance(u, v, face_apothem * scene->size, 5);
  float rough = 1.8f * tr_noise(u * 0.14f, v * 0.14f, scene->seed + 8) + 0.6f * tr_noise(u * 0.4f, v * 0.4f, scene->seed + 9);
  float cut = u * cosf(scene->cut_angle) + v * sinf(scene->cut_angle) - scene->cut_at + rough;
  float body = tr_cover(canvas, fmaxf(outer, cut), 0);
  if (body <= 0)
    return;
  float metal[3] = {rgb[0], rgb[1], rgb[2]};
  metal_pixel(canvas, scene, u, v, outer, metal);
  /* The broken surface is bright and grainy. */
  float broken = tr_cover(canvas, fabsf(cut + 2.2f) - 2.2f, 1.5f);
  float grain = 0.52f + 0.2f * tr_noise(u * 0.8f, v * 0.8f, scene->seed + 10);
  tr_blend(metal, (tr_colour){grain, grain, grain}, 0.7f * broken);
  tr_blend(rgb, (tr_colour){metal[0], metal[1], metal[2]}, body);
}

/* A place on the face at a random angle. */
static void place_on_face(const nut *scene, tr_rng *flaw, float low, float high, float *x, float *y) {
  float angle = tr_rng_between(flaw, 0, 6.2831853f), r = scene->size * tr_rng_between(flaw, low, high);
  tr_pose_apply(&scene->pose, r * cosf(angle), r * sinf(angle), x, y);
}

static void draw_scratch(tr_canvas *canvas, const nut *scene, tr_rng *flaw) {
  float x, y;
  place_on_face(scene, flaw, 70, 78, &x, &y);
  bool bright = tr_rng_below(flaw, 2) == 0;
  float level = bright ? 0.92f : 0.24f, angle = tr_rng_between(flaw, 0, 6.2831853f);
  int lines = 1 + (int)tr_rng_below(flaw, 2);
  for (int i = 0; i < lines; ++i) {
    float length = tr_rng_between(flaw, 14, 30), turn = tr_rng_between(flaw, -0.25f, 0.25f);
    tr_curve curve = tr_curve_draw(flaw, x + 3 * (float)i, y + 2 * (float)i, angle + turn, length, turn, 0.2f);
    tr_paint_curve(canvas, &curve, tr_rng_between(flaw, 0.4f, 0.9f), true, (tr_colour){level, level, level},
                   tr_rng_between(flaw, 0.4f, 0.8f));
  }
}

static void draw_swarf(tr_canvas *canvas, const nut *scene, tr_rng *flaw) {
  float x, y;
  place_on_face(scene, flaw, 30, 62, &x, &y);
  float angle = tr_rng_between(flaw, 0, 6.2831853f), length = tr_rng_between(flaw, 18, 42), bend = tr_rng_between(flaw, 2.5f, 6);
  tr_curve curve = tr_curve_draw(flaw, x, y, angle, length, bend, 0.3f), shadow = curve, edge = curve;
  for (int i = 0; i < curve.count; ++i) {
    shadow.x[i] -= 2 * cosf(scene->light_angle);
    shadow.y[i] -= 2 * sinf(scene->light_angle);
    edge.x[i] += 0.5f * cosf(scene->light_angle);
    edge.y[i] += 0.5f * sinf(scene->light_angle);
  }
  float half = tr_rng_between(flaw, 0.9f, 1.7f);
  tr_paint_curve(canvas, &shadow, half, true, (tr_colour){0.05f, 0.05f, 0.06f}, 0.5f);
  tr_paint_curve(canvas, &curve, half, true, (tr_colour){0.50f, 0.50f, 0.51f}, 0.95f);
  tr_paint_curve(canvas, &edge, 0.4f * half, true, (tr_colour){0.86f, 0.86f, 0.85f}, 0.9f);
}

static void draw_nut(tr_canvas *canvas, tr_rng *rng, tr_rng *flaw, int defect, tr_camera *camera) {
  nut scene = {.pose =
                   tr_pose_make(tr_rng_between(rng, 152, 168), tr_rng_between(rng, 152, 168), tr_rng_between(rng, 0, 6.2831853f)),
               .size = tr_rng_between(rng, 0.97f, 1.02f),
               .light_angle = tr_rng_between(rng, 3.5f, 4.3f),
               .lobe_angle = tr_rng_between(rng, 0.2f, 1.2f),
               .polish = tr_rng_between(rng, 0.03f, 0.07f),
               .seed = tr_rng_u32(rng),
               .cut_angle = 0,
               .cut_at = 1000};
  if (defect == CORNER) {
    /* Corners lie at multiples of 60 degrees, apothem / cos 30 degrees from the centre. */
    scene.cut_angle = 1.0471976f * (float)tr_rng_below(flaw, 6) + tr_rng_between(flaw, -0.25f, 0.25f);
    scene.cut_at = scene.size * (face_apothem / 0.8660254f - tr_rng_between(flaw, 4.5f, 14));
  } else if (defect == RUST) {
    float x, y;
    place_on_face(&scene, flaw, 60, 92, &x, &y);
    scene.rusty = true;
    scene.rust = tr_blob_draw(flaw, x, y, tr_rng_between(flaw, 6, 18), 0.8f);
    scene.rust_strength = tr_rng_between(flaw, 0.25f, 0.75f);
  }
  tr_paint_all(canvas, nut_pixel, &scene);
  if (defect == SCRATCH)
    draw_scratch(canvas, &scene, flaw);
  else if (defect == SWARF)
    draw_swarf(canvas, &scene, flaw);
  *camera = tr_camera_draw(rng);
}

const tr_picture_class tr_picture_nut = {
    .name = "nut", .key = 4, .width = 320, .height = 320, .defects = defects, .defect_count = 4, .draw = draw_nut};
