/* Granite: a polished slab of quartz, feldspar and mica grains, in loose clusters.
 * Defects: a chipped-out pit, a crack, a scratch, a stain. */
#include "datasets/synthetic.h"

#include <math.h>

static const char *const defects[] = {"chip", "crack", "scratch", "stain"};
enum { CHIP, CRACK, SCRATCH, STAIN };

typedef struct granite {
  tr_pose pose;
  float grain; /* size of the large grains */
  float mica;  /* share of dark grains */
  uint32_t seed;
} granite;

static const tr_colour quartz = {0.64f, 0.64f, 0.65f}, feldspar = {0.70f, 0.61f, 0.56f}, plagioclase = {0.76f, 0.75f, 0.73f},
                       biotite = {0.30f, 0.30f, 0.32f};

/* `share` orders the minerals, `dark` is the local share of mica. */
static tr_colour mineral(float share, float dark) {
  if (share < dark)
    return biotite;
  share = (share - dark) / (1 - dark);
  return share < 0.45f ? quartz : share < 0.80f ? feldspar : plagioclase;
}

static void granite_pixel(const tr_canvas *canvas, const void *context, float x, float y, float rgb[3]) {
  (void)canvas;
  const granite *scene = context;
  float u, v;
  tr_pose_inverse(&scene->pose, x, y, &u, &v);
  float wu = u + 3.2f * tr_noise(u * 0.13f, v * 0.13f, scene->seed + 1) + 1.2f * tr_noise(u * 0.45f, v * 0.45f, scene->seed + 2);
  float wv = v + 3.2f * tr_noise(u * 0.13f, v * 0.13f, scene->seed + 3) + 1.2f * tr_noise(u * 0.45f, v * 0.45f, scene->seed + 4);
  float cluster = tr_fractal(u * 0.022f, v * 0.022f, scene->seed + 5, 2);
  float dark = tr_clamp(scene->mica * (1 + 1.6f * cluster), 0.01f, 0.45f);
  float nearest, second, fine_nearest, fine_second;
  uint32_t cell = 0, fine_cell = 0;
  tr_cells(wu / scene->grain, wv / scene->grain, scene->seed, &nearest, &second, &cell);
  tr_cells(wu / (0.38f * scene->grain), wv / (0.38f * scene->grain), scene->seed + 6, &fine_nearest, &fine_second, &fine_cell);
  tr_colour colour = mineral((float)(cell & 0xFFFF) * 0x1p-16f, dark);
  float level = 0.90f + 0.20f * (float)(cell >> 16) * 0x1p-16f;
  if ((fine_cell & 255) < 38) /* small grains lie between the large ones */
    colour = tr_mix(colour, mineral((float)(fine_cell >> 16) * 0x1p-16f, 0.45f), 0.75f);
  float boundary = tr_smoothstep(0, 0.14f, second - nearest);
  level *= 0.90f + 0.10f * boundary + 0.07f * tr_noise(u * 0.35f, v * 0.35f, scene->seed + 7);
  rgb[0] = colour.r * level;
  rgb[1] = colour.g * level;
  rgb[2] = colour.b * level;
}

/* A pit shows rough, matt stone, lit on one side. */
typedef struct chip_paint {
  tr_blob blob;
  float light_x, light_y;
} chip_paint;

static void chip_pixel(const tr_canvas *canvas, const void *context, float x, float y, float rgb[3]) {
  const chip_paint *chip = context;
  float distance = tr_blob_distance(&chip->blob, x, y), inside = tr_cover(canvas, distance, 0);
  if (inside <= 0)
    return;
  float rough = tr_fractal(x * 0.5f, y * 0.5f, chip->blob.seed + 9, 3);
  float slope = ((x - chip->blob.x) * chip->light_x + (y - chip->blob.y) * chip->light_y) / chip->blob.radius;
  float wall = tr_clamp(1 + distance / (0.6f * chip->blob.radius), 0, 1);
  float level = 0.50f + 0.16f * rough - 0.34f * wall * slope;
  tr_blend(rgb, (tr_colour){level * 1.02f, level, level * 0.95f}, 0.85f * inside);
}

static void draw_chip(tr_canvas *canvas, tr_rng *flaw, float x, float y) {
  float angle = tr_rng_between(flaw, 0, 6.2831853f);
  chip_paint chip = {.light_x = cosf(angle), .light_y = sinf(angle)};
  chip.blob = tr_blob_draw(flaw, x, y, tr_rng_between(flaw, 7.5f, 15), 0.7f);
  float reach = 2 * chip.blob.radius * chip.blob.stretch;
  tr_paint_region(canvas, x - reach, y - reach, x + reach, y + reach, chip_pixel, &chip);
}

static void draw_crack(tr_canvas *canvas, tr_rng *flaw, float x, float y) {
  float angle = tr_rng_between(flaw, 0, 6.2831853f), length = tr_rng_between(flaw, 50, 150);
  tr_curve curve = tr_curve_draw(flaw, x, y, angle, length, tr_rng_between(flaw, -0.8f, 0.8f), 2.2f);
  float half = tr_rng_between(flaw, 0.8f, 1.8f);
  tr_paint_curve(canvas, &curve, half, true, (tr_colour){0.13f, 0.12f, 0.12f}, tr_rng_between(flaw, 0.6f, 0.95f));
}

static void draw_scratch(tr_canvas *canvas, tr_rng *flaw, float x, float y) {
  float angle = tr_rng_between(flaw, 0, 6.2831853f);
  int lines = 1 + (int)tr_rng_below(flaw, 3);
  for (int i = 0; i < lines; ++i) {
    float length = tr_rng_between(flaw, 40, 120), turn = tr_rng_between(flaw, -0.12f, 0.12f);
    float dx = tr_rng_between(flaw, -6, 6), dy = tr_rng_between(flaw, -6, 6);
    tr_curve curve = tr_curve_draw(flaw, x + dx, y + dy, angle + turn, length, 2 * turn, 0.15f);
    float half = tr_rng_between(flaw, 0.8f, 1.6f);
    tr_paint_curve(canvas, &curve, half, true, (tr_colour){0.93f, 0.93f, 0.92f}, tr_rng_between(flaw, 0.6f, 0.95f));
  }
}

static void draw_stain(tr_canvas *canvas, tr_rng *flaw, float x, float y) {
  static const tr_colour tints[] = {{0.75f, 0.45f, 0.25f}, {0.40f, 0.40f, 0.40f}, {0.50f, 0.62f, 0.38f}};
  tr_colour tint = tints[tr_rng_below(flaw, 3)];
  tr_blob blob = tr_blob_draw(flaw, x, y, tr_rng_between(flaw, 9, 32), 0.6f);
  float strength = tr_rng_between(flaw, 0.4f, 0.9f), rim = tr_rng_between(flaw, 0, 0.5f);
  tr_paint_stain(canvas, &blob, tint, strength, rim, tr_rng_between(flaw, 2, 7));
}

static void draw_granite(tr_canvas *canvas, tr_rng *rng, tr_rng *flaw, int defect, tr_camera *camera) {
  granite scene = {.pose = tr_pose_make(160, 160, tr_rng_between(rng, 0, 6.2831853f)),
                   .grain = tr_rng_between(rng, 7.2f, 8.2f),
                   .mica = tr_rng_between(rng, 0.09f, 0.15f),
                   .seed = tr_rng_u32(rng)};
  tr_paint_all(canvas, granite_pixel, &scene);
  float x = tr_rng_between(flaw, 60, 260), y = tr_rng_between(flaw, 60, 260);
  if (defect == CHIP)
    draw_chip(canvas, flaw, x, y);
  else if (defect == CRACK)
    draw_crack(canvas, flaw, x, y);
  else if (defect == SCRATCH)
    draw_scratch(canvas, flaw, x, y);
  else if (defect == STAIN)
    draw_stain(canvas, flaw, x, y);
  *camera = tr_camera_draw(rng);
}

const tr_picture_class tr_picture_granite = {
    .name = "granite", .key = 3, .width = 320, .height = 320, .defects = defects, .defect_count = 4, .draw = draw_granite};
