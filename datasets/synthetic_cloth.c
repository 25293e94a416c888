/* Cloth: a 2/2 twill of dark warp and light weft yarns, slightly warped and turned, with slubs and soft folds.
 * Defects: a stray fibre on it, a hole, a stain, a missing or thin thread. */
#include "datasets/synthetic.h"

#include <math.h>

static const char *const defects[] = {"fibre", "hole", "stain", "thread"};
enum { FIBRE, HOLE, STAIN, THREAD };

typedef struct cloth {
  tr_pose pose;
  float pitch_u, pitch_v; /* of warp and weft yarns */
  float drift;            /* of the yarns, in units */
  uint32_t seed;
  tr_colour warp, weft;
  /* The thin weft yarn: its number, its span in u, how much of it is lost. */
  int thin_yarn;
  float thin_from, thin_to, thin_loss;
} cloth;

/* How thick a weft yarn is at u, 1 as a rule. Slubs are natural. */
static float weft_thickness(const cloth *scene, int yarn, float u) {
  float slub = tr_noise(u * 0.03f, (float)yarn * 7.3f, scene->seed + 5);
  return 1 + 0.10f * slub * slub * slub;
}

/* How much of a weft yarn is lost at u. */
static float weft_loss(const cloth *scene, int yarn, float u) {
  if (yarn != scene->thin_yarn)
    return 0;
  float begun = tr_smoothstep(scene->thin_from - 6, scene->thin_from + 6, u);
  return scene->thin_loss * begun * (1 - tr_smoothstep(scene->thin_to - 6, scene->thin_to + 6, u));
}

/* Brightness of a round yarn: `across` from -1/2 to 1/2, `through` the float from 0 to 1. */
static float yarn_shade(float across, float through, float thickness) {
  float a = 2 * across / fmaxf(thickness, 0.05f);
  float body = fmaxf(1 - a * a, 0);
  float crest = through * (1 - through) * 4;
  return (0.30f + 0.70f * sqrtf(body)) * (0.72f + 0.28f * crest);
}

static void cloth_pixel(const tr_canvas *canvas, const void *context, float x, float y, float rgb[3]) {
  (void)canvas;
  const cloth *scene = context;
  float u, v;
  tr_pose_inverse(&scene->pose, x, y, &u, &v);
  u += scene->drift * tr_fractal(x * 0.011f, y * 0.011f, scene->seed + 1, 2);
  v += scene->drift * tr_fractal(x * 0.011f, y * 0.011f, scene->seed + 2, 2);
  float cu = u / scene->pitch_u, cv = v / scene->pitch_v;
  float fi = floorf(cu), fj = floorf(cv);
  int i = (int)fi, j = (int)fj, phase = (i - j) & 3;
  float au = cu - fi - 0.5f, av = cv - fj - 0.5f;
  float loss = weft_loss(scene, j, u), thickness = weft_thickness(scene, j, u) - loss;
  float shade, fibre, yarn;
  tr_colour colour;
  bool weft_on_top = phase >= 2 && fabsf(av) < 0.5f * thickness;
  if (weft_on_top) {
    shade = yarn_shade(av, ((float)(phase - 2) + au + 0.5f) / 2, thickness);
    fibre = tr_noise(u * 0.22f + av * 5, av * 7 + (float)j * 11, scene->seed + 3);
    yarn = tr_lattice_unit(j, 1, scene->seed);
    colour = scene->weft;
  } else {
    /* Nothing holds the warp up where the weft is lost. */
    float through = phase < 2 ? ((float)(1 - phase) + av + 0.5f) / 2 : 0.12f;
    shade = yarn_shade(au, through, 1) * (phase < 2 ? 1 - 0.35f * loss : 0.72f);
    fibre = tr_noise(v * 0.22f + au * 5, au * 7 + (float)i * 11, scene->seed + 4);
    yarn = tr_lattice_unit(i, 2, scene->seed);
    colour = scene->warp;
  }
  float fold = 1 + 0.07f * tr_noise(x * 0.008f + y * 0.004f, y * 0.003f, scene->seed + 6);
  float light = shade * (1 + 0.10f * fibre) * (0.94f + 0.12f * yarn) * fold;
  rgb[0] = colour.r * light;
  rgb[1] = colour.g * light;
  rgb[2] = colour.b * light;
}

/* The hole shows a dark ground; yarn ends reach into it. */
typedef struct hole_paint {
  const cloth *scene;
  tr_blob blob;
} hole_paint;

static void hole_pixel(const tr_canvas *canvas, const void *context, float x, float y, float rgb[3]) {
  const hole_paint *hole = context;
  float u, v;
  tr_pose_inverse(&hole->scene->pose, x, y, &u, &v);
  float ends =
      2.6f * tr_noise(u * 0.05f, v * 0.9f, hole->blob.seed + 1) + 2.0f * tr_noise(u * 0.9f, v * 0.05f, hole->blob.seed + 2);
  float distance = tr_blob_distance(&hole->blob, x, y) + ends;
  tr_blend(rgb, tr_scaled(hole->scene->weft, 1.08f), 0.35f * tr_cover(canvas, fabsf(distance - 1.5f) - 1.2f, 1.5f));
  tr_blend(rgb, (tr_colour){0.10f, 0.10f, 0.11f}, 0.92f * tr_cover(canvas, distance, 1.5f));
}

static void draw_hole(tr_canvas *canvas, const cloth *scene, tr_rng *flaw, float x, float y) {
  hole_paint hole = {.scene = scene};
  hole.blob = tr_blob_draw(flaw, x, y, tr_rng_between(flaw, 3.0f, 8.0f), 0.5f);
  float reach = 2 * hole.blob.radius * hole.blob.stretch + 8;
  tr_paint_region(canvas, x - reach, y - reach, x + reach, y + reach, hole_pixel, &hole);
}

static void draw_fibre(tr_canvas *canvas, tr_rng *flaw, float x, float y) {
  static const tr_colour colours[] = {{0.88f, 0.86f, 0.80f}, {0.10f, 0.09f, 0.09f}, {0.50f, 0.16f, 0.15f}, {0.62f, 0.55f, 0.40f}};
  tr_colour colour = colours[tr_rng_below(flaw, 4)];
  float angle = tr_rng_between(flaw, 0, 6.2831853f), length = tr_rng_between(flaw, 22, 75),
        bend = tr_rng_between(flaw, -3.5f, 3.5f);
  tr_curve curve = tr_curve_draw(flaw, x, y, angle, length, bend, 0.25f), shadow = curve;
  for (int i = 0; i < shadow.count; ++i) {
    shadow.x[i] += 1.3f;
    shadow.y[i] += 1.5f;
  }
  float half = tr_rng_between(flaw, 0.7f, 1.4f), alpha = tr_rng_between(flaw, 0.6f, 0.95f);
  tr_paint_curve(canvas, &shadow, 1.2f * half, false, (tr_colour){0.08f, 0.08f, 0.10f}, 0.35f * alpha);
  tr_paint_curve(canvas, &curve, half, false, colour, alpha);
}

static void draw_stain(tr_canvas *canvas, tr_rng *flaw, float x, float y) {
  static const tr_colour tints[] = {{0.55f, 0.50f, 0.42f}, {0.40f, 0.40f, 0.44f}, {0.70f, 0.52f, 0.48f}};
  tr_colour tint = tints[tr_rng_below(flaw, 3)];
  tr_blob blob = tr_blob_draw(flaw, x, y, tr_rng_between(flaw, 8, 30), 0.6f);
  float strength = tr_rng_between(flaw, 0.22f, 0.7f), rim = tr_rng_between(flaw, 0, 0.5f);
  tr_paint_stain(canvas, &blob, tint, strength, rim, tr_rng_between(flaw, 2, 6));
}

static void draw_cloth(tr_canvas *canvas, tr_rng *rng, tr_rng *flaw, int defect, tr_camera *camera) {
  cloth scene = {
      .pose = tr_pose_make(tr_rng_between(rng, 100, 220), tr_rng_between(rng, 100, 220), tr_rng_between(rng, -0.07f, 0.07f)),
      .pitch_u = tr_rng_between(rng, 6.7f, 7.1f),
      .pitch_v = tr_rng_between(rng, 6.7f, 7.1f),
      .drift = tr_rng_between(rng, 3, 8),
      .seed = tr_rng_u32(rng),
      .thin_yarn = INT32_MIN};
  float tone = tr_rng_between(rng, 0.93f, 1.07f);
  scene.warp = tr_scaled((tr_colour){0.36f, 0.43f, 0.55f}, tone);
  scene.weft = tr_scaled((tr_colour){0.78f, 0.76f, 0.70f}, tone);
  float x = tr_rng_between(flaw, 60, 260), y = tr_rng_between(flaw, 60, 260);
  if (defect == THREAD) {
    float u, v, half = tr_rng_between(flaw, 18, 70);
    tr_pose_inverse(&scene.pose, x, y, &u, &v);
    scene.thin_yarn = (int)floorf(v / scene.pitch_v);
    scene.thin_from = u - half;
    scene.thin_to = u + half;
    scene.thin_loss = tr_rng_between(flaw, 0.45f, 0.95f);
  }
  tr_paint_all(canvas, cloth_pixel, &scene);
  if (defect == HOLE)
    draw_hole(canvas, &scene, flaw, x, y);
  else if (defect == FIBRE)
    draw_fibre(canvas, flaw, x, y);
  else if (defect == STAIN)
    draw_stain(canvas, flaw, x, y);
  *camera = tr_camera_draw(rng);
}

const tr_picture_class tr_picture_cloth = {
    .name = "cloth", .key = 2, .width = 320, .height = 320, .defects = defects, .defect_count = 4, .draw = draw_cloth};
