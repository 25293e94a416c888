/* A clip of the synthetic set of videos: people who walk over a square before a building, seen by a camera that does not move. Test
 * clips have an event: a cyclist or a cart crosses, which nominal clips never show. */
#include "datasets/synthetic.h"
#include "host/base/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WALKERS = 6, SCENE_KEY = 64 }; /* picture classes have keys from 0 */

static const float width = 572, horizon = 104, margin = 60; /* design units; walkers turn up again beyond the margin */
static const float full_turn = 6.2831853f;

/* What stays the same in all clips of a scene. */
typedef struct place {
  tr_colour wall, ground, grass;
  float window_width, path_edge, tile;
  uint32_t seed;
  tr_camera camera;
} place;

typedef struct walker {
  float x, y, speed, phase; /* speed in units a frame, to the right */
  tr_colour coat, trousers, skin;
} walker;

/* The cyclist or the cart. */
typedef struct event {
  bool cart;
  float x, y, speed;
  tr_colour colour;
} event;

struct tr_film {
  tr_clip clip;
  place place;
  walker walkers[WALKERS];
  int walker_count;
  event event;
  uint32_t noise_seed;
  int h, w;
  float *background, *floats; /* [h, w, 3] */
  uint8_t *clean, *work;      /* [h, w, 3], [h, w] */
};

void tr_clip_extent(const tr_clip *clip, int *h, int *w) {
  *h = clip->size;
  *w = (int)(width * (float)clip->size / TR_DESIGN_SIDE);
}

bool tr_clip_anomalous(const tr_clip *clip, int frame) {
  return clip->test && frame >= TR_EVENT_FIRST && frame <= TR_EVENT_LAST;
}

/* ---- the place ---- */

static tr_colour draw_colour(tr_rng *rng, float low, float high) {
  float level = tr_rng_between(rng, low, high);
  return (tr_colour){level * tr_rng_between(rng, 0.75f, 1.25f), level * tr_rng_between(rng, 0.85f, 1.15f),
                     level * tr_rng_between(rng, 0.75f, 1.25f)};
}

static place draw_place(uint64_t seed, int scene) {
  tr_rng rng = tr_rng_make(seed, TR_RNG_SYNTHETIC, (uint64_t)(SCENE_KEY + scene) << 48);
  place p = {.wall = draw_colour(&rng, 0.45f, 0.65f), .ground = draw_colour(&rng, 0.5f, 0.6f), .grass = {0.24f, 0.34f, 0.17f}};
  p.window_width = tr_rng_between(&rng, 34, 52);
  p.path_edge = tr_rng_between(&rng, 134, 150);
  p.tile = tr_rng_between(&rng, 18, 30);
  p.seed = tr_rng_u32(&rng);
  p.camera = tr_camera_draw(&rng);
  p.camera.noise *= 0.6f;
  return p;
}

static float near_line(float value, float period) {
  float at = value / period;
  return fabsf(at - floorf(at + 0.5f)) * period;
}

static tr_colour wall_at(const tr_canvas *canvas, const place *p, float x, float y) {
  float across = near_line(x + 0.5f * p->window_width, p->window_width), up = near_line(y - 18, 42);
  float window = tr_cover(canvas, fmaxf(across - 0.3f * p->window_width, up - 13), 0);
  float brick = 1 + 0.08f * tr_noise(x * 0.4f, y * 0.9f, p->seed);
  tr_colour glass = {0.16f + 0.05f * tr_noise(x * 0.05f, y * 0.05f, p->seed + 1), 0.2f, 0.24f};
  return tr_mix(tr_scaled(p->wall, brick), glass, window);
}

/* Tiles get smaller towards the horizon. */
static tr_colour ground_at(const tr_canvas *canvas, const place *p, float x, float y) {
  float depth = 240 / (y - horizon + 12), across = (x - 0.5f * width) * depth, along = 300 * depth;
  float joint = fminf(near_line(across, 3 * p->tile) / depth, near_line(along, 2 * p->tile) * (y - horizon + 12) / (300 * depth));
  float level = 1 + 0.07f * tr_fractal(x * 0.06f, y * 0.12f, p->seed + 2, 4) + 0.05f * tr_noise(x * 0.9f, y * 0.9f, p->seed + 3);
  return tr_scaled(p->ground, level * (1 - 0.18f * tr_cover(canvas, joint - 0.6f, 1)));
}

static void place_pixel(const tr_canvas *canvas, const void *context, float x, float y, float rgb[3]) {
  const place *p = context;
  float rough = 4 * tr_noise(x * 0.05f, 0, p->seed + 4);
  float blades = 1 + 0.3f * tr_noise(x * 0.5f, y * 0.5f, p->seed + 5) + 0.15f * tr_noise(x * 1.3f, y * 1.3f, p->seed + 6);
  tr_colour colour = y < horizon ? wall_at(canvas, p, x, y) : ground_at(canvas, p, x, y);
  float lawn = tr_cover(canvas, fmaxf(horizon - y, y - p->path_edge - rough), 1);
  tr_blend(rgb, tr_mix(colour, tr_scaled(p->grass, blades), lawn), 1);
}

/* ---- who moves ---- */

/* How large something is whose feet are at y. */
static float size_at(float y) {
  return (y - 60) / 240;
}

static void stroke(tr_canvas *canvas, const tr_pose *pose, float x0, float y0, float x1, float y1, float half_width,
                   tr_colour colour) {
  tr_box box = {.x = (x0 + x1) / 2,
                .y = (y0 + y1) / 2,
                .half_w = hypotf(x1 - x0, y1 - y0) / 2,
                .round = half_width,
                .angle = atan2f(y1 - y0, x1 - x0)};
  tr_paint_box(canvas, pose, &box, colour, 1, 0);
}

static void disc(tr_canvas *canvas, const tr_pose *pose, float x, float y, float radius, tr_colour colour) {
  tr_paint_box(canvas, pose, &(tr_box){.x = x, .y = y, .round = radius}, colour, 1, 0);
}

static void block(tr_canvas *canvas, const tr_pose *pose, float x, float y, float half_w, float half_h, float round,
                  tr_colour colour) {
  tr_paint_box(canvas, pose, &(tr_box){.x = x, .y = y, .half_w = half_w, .half_h = half_h, .round = round}, colour, 1, 0);
}

static void shadow(tr_canvas *canvas, const tr_pose *pose, float s, float half_w) {
  tr_paint_box(canvas, pose, &(tr_box){.x = 5 * s, .half_w = half_w * s, .round = 3 * s}, (tr_colour){0.08f, 0.08f, 0.1f}, 0.45f,
               3 * s);
}

static void draw_walker(tr_canvas *canvas, const walker *who, int frame) {
  float span = width + 2 * margin, way = who->x + who->speed * (float)frame;
  float x = way - span * floorf(way / span) - margin, s = size_at(who->y);
  float swing = 11 * s * sinf(who->phase + 0.55f * (float)frame);
  tr_pose pose = tr_pose_make(x, who->y, 0);
  shadow(canvas, &pose, s, 9);
  stroke(canvas, &pose, 0, -38 * s, swing, -2 * s, 3.4f * s, who->trousers);
  stroke(canvas, &pose, 0, -38 * s, -swing, -2 * s, 3.4f * s, who->trousers);
  block(canvas, &pose, 0, -52 * s, 4.5f * s, 11 * s, 4 * s, who->coat);
  stroke(canvas, &pose, 0, -62 * s, -0.8f * swing, -40 * s, 2.4f * s, tr_scaled(who->coat, 0.8f));
  disc(canvas, &pose, 0, -76 * s, 6.5f * s, who->skin);
}

static void draw_cyclist(tr_canvas *canvas, const event *e, const tr_pose *pose, float s, int frame) {
  static const tr_colour tyre = {0.05f, 0.05f, 0.06f}, inside = {0.55f, 0.55f, 0.52f}, skin = {0.7f, 0.52f, 0.42f};
  shadow(canvas, pose, s, 34);
  for (int side = -1; side <= 1; side += 2) {
    disc(canvas, pose, 24 * s * (float)side, -17 * s, 17 * s, tyre);
    disc(canvas, pose, 24 * s * (float)side, -17 * s, 13.5f * s, inside);
  }
  float turn = 0.8f * (float)frame;
  stroke(canvas, pose, -24 * s, -17 * s, -6 * s, -42 * s, 1.8f * s, e->colour);
  stroke(canvas, pose, -6 * s, -42 * s, 20 * s, -42 * s, 1.8f * s, e->colour);
  stroke(canvas, pose, 20 * s, -46 * s, 24 * s, -17 * s, 1.8f * s, e->colour);
  stroke(canvas, pose, -6 * s, -46 * s, 7 * s * cosf(turn), -14 * s + 7 * s * sinf(turn), 3.4f * s, tyre);
  stroke(canvas, pose, -8 * s, -48 * s, 10 * s, -74 * s, 7 * s, tr_scaled(e->colour, 1.15f));
  stroke(canvas, pose, 10 * s, -70 * s, 21 * s, -48 * s, 2.6f * s, skin);
  disc(canvas, pose, 15 * s, -88 * s, 7 * s, skin);
}

static void draw_cart(tr_canvas *canvas, const event *e, const tr_pose *pose, float s) {
  static const tr_colour tyre = {0.06f, 0.06f, 0.06f}, glass = {0.2f, 0.26f, 0.32f};
  shadow(canvas, pose, s, 52);
  block(canvas, pose, 0, -34 * s, 46 * s, 20 * s, 5 * s, e->colour);
  block(canvas, pose, -8 * s, -70 * s, 34 * s, 12 * s, 5 * s, tr_scaled(e->colour, 0.85f));
  block(canvas, pose, -8 * s, -70 * s, 28 * s, 8 * s, 2 * s, glass);
  disc(canvas, pose, -30 * s, -10 * s, 10 * s, tyre);
  disc(canvas, pose, 30 * s, -10 * s, 10 * s, tyre);
}

static void draw_event(tr_canvas *canvas, const event *e, int frame) {
  float s = size_at(e->y);
  tr_pose pose = tr_pose_make(e->x + e->speed * (float)(frame - TR_EVENT_FIRST), e->y, 0);
  if (e->cart)
    draw_cart(canvas, e, &pose, s);
  else
    draw_cyclist(canvas, e, &pose, s, frame);
}

/* Those behind come first. */
static int compare_depth(const void *a, const void *b) {
  const walker *x = a, *y = b;
  return (x->y > y->y) - (x->y < y->y);
}

static void draw_walkers(tr_film *film, tr_rng *rng) {
  film->walker_count = 3 + (int)tr_rng_below(rng, WALKERS - 2);
  for (int i = 0; i < film->walker_count; ++i) {
    walker *who = &film->walkers[i];
    who->y = tr_rng_between(rng, film->place.path_edge + 14, 300);
    who->x = tr_rng_between(rng, 0, width + 2 * margin);
    who->speed = size_at(who->y) * tr_rng_between(rng, 2.2f, 3.4f) * (tr_rng_below(rng, 2) ? 1.0f : -1.0f);
    who->phase = tr_rng_between(rng, 0, full_turn);
    who->coat = draw_colour(rng, 0.15f, 0.6f);
    who->trousers = draw_colour(rng, 0.08f, 0.25f);
    who->skin = (tr_colour){0.72f, 0.54f, 0.44f};
  }
  qsort(film->walkers, (size_t)film->walker_count, sizeof *film->walkers, compare_depth);
}

/* It stays in the picture from its first frame to its last. */
static event make_event(const tr_film *film, tr_rng *rng) {
  event e = {.cart = film->clip.number % 2, .x = tr_rng_between(rng, 60, 110)};
  e.y = tr_rng_between(rng, film->place.path_edge + 30, 285);
  e.speed = tr_rng_between(rng, 13, 16);
  e.colour = e.cart ? draw_colour(rng, 0.75f, 0.85f) : (tr_colour){0.62f, 0.13f, 0.1f};
  return e;
}

/* ---- the film ---- */

tr_status tr_film_open(const tr_clip *clip, tr_film **out) {
  tr_film *film = calloc(1, sizeof *film);
  *out = film;
  if (!film)
    return tr_fail(TR_ENOMEM, "drawing a synthetic clip: out of memory");
  film->clip = *clip;
  tr_clip_extent(clip, &film->h, &film->w);
  size_t pixels = (size_t)film->h * (size_t)film->w;
  film->background = calloc(3 * pixels, sizeof *film->background);
  film->floats = calloc(3 * pixels, sizeof *film->floats);
  film->clean = malloc(4 * pixels);
  if (!film->background || !film->floats || !film->clean) {
    tr_film_close(film);
    *out = NULL;
    return tr_fail(TR_ENOMEM, "drawing a synthetic clip: out of memory");
  }
  film->work = film->clean + 3 * pixels;
  film->place = draw_place(clip->seed, clip->scene);
  uint64_t index = (uint64_t)(SCENE_KEY + clip->scene) << 48 | (uint64_t)(1 + clip->test) << 40 | (uint64_t)clip->number;
  tr_rng rng = tr_rng_make(clip->seed, TR_RNG_SYNTHETIC, index);
  draw_walkers(film, &rng);
  film->noise_seed = tr_rng_u32(&rng);
  film->event = make_event(film, &rng);
  tr_canvas canvas = {film->w, film->h, (float)clip->size / TR_DESIGN_SIDE, film->background};
  tr_paint_all(&canvas, place_pixel, &film->place);
  return TR_OK;
}

void tr_film_close(tr_film *film) {
  if (!film)
    return;
  free(film->background);
  free(film->floats);
  free(film->clean);
  free(film);
}

static tr_status expose(tr_film *film, int frame, bool with_event, uint8_t *rgb) {
  tr_canvas canvas = {film->w, film->h, (float)film->clip.size / TR_DESIGN_SIDE, film->floats};
  memcpy(film->floats, film->background, 3 * sizeof *film->floats * (size_t)film->h * (size_t)film->w);
  for (int i = 0; i < film->walker_count; ++i)
    draw_walker(&canvas, &film->walkers[i], frame);
  if (with_event)
    draw_event(&canvas, &film->event, frame);
  tr_camera camera = film->place.camera;
  camera.seed = tr_lattice(frame, 0, film->noise_seed);
  return tr_camera_expose(&canvas, &camera, rgb);
}

tr_status tr_film_frame(tr_film *film, int frame, uint8_t *rgb, uint8_t *mask) {
  bool with_event = tr_clip_anomalous(&film->clip, frame);
  TR_TRY(expose(film, frame, with_event, rgb));
  memset(mask, 0, (size_t)film->h * (size_t)film->w);
  if (!with_event)
    return TR_OK;
  TR_TRY(expose(film, frame, false, film->clean));
  tr_mask_between(rgb, film->clean, film->h, film->w, mask, film->work);
  return TR_OK;
}
