/* The synthetic data set's picture classes and the drawing they share. Internal to datasets/.
 *
 * Pictures are drawn in design units: the shorter side is TR_DESIGN_SIDE units long whatever the size in pixels. A class draws
 * its scene from one stream of random numbers and its defect from another, so that the same scene can be drawn with and without
 * the defect; the mask is where the two pictures differ. */
#ifndef TR_DATASETS_SYNTHETIC_H
#define TR_DATASETS_SYNTHETIC_H

#include "host/base/rng.h"

#define TR_DESIGN_SIDE 320

typedef struct tr_canvas {
  int w, h;    /* pixels */
  float scale; /* pixels per design unit */
  float *rgb;  /* [h, w, 3], 0 black … 1 white, as displayed */
} tr_canvas;

typedef struct tr_colour {
  float r, g, b;
} tr_colour;

/* What the camera and the light add to a scene. */
typedef struct tr_camera {
  float blur;           /* Gaussian sigma in design units */
  float gain;           /* exposure */
  float tilt_x, tilt_y; /* light gradient over the picture, as a fraction */
  float vignette;       /* fraction lost in the corners */
  float warmth;         /* shift from blue to red */
  float noise;          /* amplitude of the sensor's noise */
  uint32_t seed;        /* of the noise */
} tr_camera;

typedef struct tr_picture_class {
  const char *name;
  int key;           /* its random streams are keyed by it; no two classes share one */
  int width, height; /* design units */
  const char *const *defects;
  int defect_count;
  /* Draws the scene that `scene` gives, with defect number `defect` drawn from `flaw`; -1: none. */
  void (*draw)(tr_canvas *canvas, tr_rng *scene, tr_rng *flaw, int defect, tr_camera *camera);
} tr_picture_class;

extern const tr_picture_class tr_picture_board, tr_picture_capsule, tr_picture_cloth, tr_picture_granite, tr_picture_nut;

const tr_picture_class *const *tr_picture_classes(int *count); /* sorted by name */

/* Which picture: `group` 0 training, 1 good test images, 2 + d defect d. */
typedef struct tr_picture {
  const tr_picture_class *class_;
  uint64_t seed;
  int group, number;
  int size; /* pixels of the shorter side */
} tr_picture;

void tr_picture_extent(const tr_picture *picture, int *h, int *w);
/* Draws `rgb` [h, w, 3], the same scene without its defect in `clean` [h, w, 3], and the mask [h, w] of 0 and 255. For a picture
 * without a defect `clean` is as `rgb` and the mask all 0. */
tr_status tr_picture_draw(const tr_picture *picture, uint8_t *rgb, uint8_t *clean, uint8_t *mask);

/* ---- clips ---- */

/* Which clip: people walk over a square; test clips have an event in frames TR_EVENT_FIRST to TR_EVENT_LAST, a cyclist where the number is
 * even, a cart where it is odd. */
enum { TR_EVENT_FIRST = 15, TR_EVENT_LAST = 39 };
typedef struct tr_clip {
  uint64_t seed;
  int scene;
  bool test;
  int number; /* of the scene's clips on that side */
  int size;   /* pixels of the shorter side */
} tr_clip;

void tr_clip_extent(const tr_clip *clip, int *h, int *w);
bool tr_clip_anomalous(const tr_clip *clip, int frame);

/* Draws frames of one clip in any order. */
typedef struct tr_film tr_film;
tr_status tr_film_open(const tr_clip *clip, tr_film **out);
/* rgb [h, w, 3]; mask [h, w], 255 where the event is, else 0. */
tr_status tr_film_frame(tr_film *film, int frame, uint8_t *rgb, uint8_t *mask);
void tr_film_close(tr_film *film);

/* ---- masks ---- */

/* mask [h, w]: 255 where the pictures [h, w, 3] differ, else 0; work: [h, w] */
void tr_mask_between(const uint8_t *rgb, const uint8_t *clean, int h, int w, uint8_t *mask, uint8_t *work);

/* A pixel counts as changed when one of its channels differs by more than this many of 255 levels. */
#define TR_CHANGED_LEVELS 6
/* Gaps of the mask up to this many pixels wide are closed. */
#define TR_MASK_CLOSING 2

/* ---- sets ---- */

/* Calls `draw` with a folder that is to become `folder`, which is made or empty: it gets its name, and a file synthetic.txt that begins with
 * what `draw` gives in *settings (malloc'd), when it is whole; nothing is left after a failure or a cancellation. EIO: the folder is not
 * empty. */
typedef tr_status (*tr_draw_fn)(const char *folder, const void *context, char **settings);
tr_status tr_draw_set(const char *folder, tr_draw_fn draw, const void *context);
/* Whether a set was drawn there. */
bool tr_is_drawn_set(const char *folder);
/* EINVAL: a shorter side that is not drawn. */
tr_status tr_check_drawn_size(int size);

/* ---- noise: functions of position and seed, no state ---- */

uint32_t tr_lattice(int32_t x, int32_t y, uint32_t seed);   /* 32 random bits of a lattice point */
float tr_lattice_unit(int32_t x, int32_t y, uint32_t seed); /* uniform in [0, 1) */
float tr_noise(float x, float y, uint32_t seed);            /* smooth, in [-1, 1], features of size 1 */
float tr_fractal(float x, float y, uint32_t seed, int octaves);
/* Cellular noise: distances to the nearest and second nearest of one random point per unit cell; *cell identifies the nearest. */
void tr_cells(float x, float y, uint32_t seed, float *nearest, float *second, uint32_t *cell);

/* ---- colours and shapes ---- */

float tr_clamp(float value, float low, float high);
float tr_smoothstep(float low, float high, float value); /* 0 below low, 1 above high, smooth between */
tr_colour tr_mix(tr_colour a, tr_colour b, float t);
tr_colour tr_scaled(tr_colour c, float factor);

/* A position and a turn: object coordinates to the canvas's. */
typedef struct tr_pose {
  float x, y, cos_a, sin_a;
} tr_pose;
tr_pose tr_pose_make(float x, float y, float angle);
/* From canvas to object coordinates and back. */
void tr_pose_inverse(const tr_pose *pose, float x, float y, float *u, float *v);
void tr_pose_apply(const tr_pose *pose, float u, float v, float *x, float *y);

/* A box with round corners. Half sizes of 0 make it a disc of radius `round` or a stroke of that half width. */
typedef struct tr_box {
  float x, y, half_w, half_h, round, angle;
} tr_box;
float tr_box_distance(const tr_box *box, float x, float y); /* signed; negative inside */

/* An irregular spot: a stretched disc whose outline wanders. */
typedef struct tr_blob {
  float x, y, radius, stretch, angle, roughness;
  uint32_t seed;
} tr_blob;
tr_blob tr_blob_draw(tr_rng *rng, float x, float y, float radius, float roughness);
float tr_blob_distance(const tr_blob *blob, float x, float y);

/* A polyline. */
enum { TR_CURVE_POINTS = 24 };
typedef struct tr_curve {
  int count;
  float x[TR_CURVE_POINTS], y[TR_CURVE_POINTS];
} tr_curve;
/* A curve of `length` through (x, y) in direction `angle`: bent by `bend` radians over its length, jagged by `jag` units. */
tr_curve tr_curve_draw(tr_rng *rng, float x, float y, float angle, float length, float bend, float jag);
/* Distance, and in *along the place of the nearest point, 0 at the start and 1 at the end. */
float tr_curve_distance(const tr_curve *curve, float x, float y, float *along);

/* Antialiased share of a pixel inside a shape at signed distance `distance`; edges `soft` units wide, at least a pixel. */
float tr_cover(const tr_canvas *canvas, float distance, float soft);

/* ---- painting ---- */

/* Calls `pixel` for every pixel of the rectangle (design units; the whole canvas is tr_paint_all). */
typedef void (*tr_pixel_fn)(const tr_canvas *canvas, const void *context, float x, float y, float rgb[3]);
void tr_paint_region(tr_canvas *canvas, float x0, float y0, float x1, float y1, tr_pixel_fn pixel, const void *context);
void tr_paint_all(tr_canvas *canvas, tr_pixel_fn pixel, const void *context);

void tr_blend(float rgb[3], tr_colour colour, float alpha);

void tr_paint_box(tr_canvas *canvas, const tr_pose *pose, const tr_box *box, tr_colour colour, float alpha, float soft);
/* `half_width` tapers to 0 at both ends when `taper`. */
void tr_paint_curve(tr_canvas *canvas, const tr_curve *curve, float half_width, bool taper, tr_colour colour, float alpha);
/* Multiplies by `tint` inside the blob, most at its rim by `rim` more. */
void tr_paint_stain(tr_canvas *canvas, const tr_blob *blob, tr_colour tint, float strength, float rim, float soft);

/* Strokes of capital letters and digits, `height` units tall from the baseline's left end (u, v) of the pose. `skip` has a bit set
 * for every stroke, counted through the text, that is left out. Returns the number of strokes. */
typedef struct tr_lettering {
  const char *text;
  float u, v, height, half_width;
  uint64_t skip;
} tr_lettering;
int tr_paint_text(tr_canvas *canvas, const tr_pose *pose, const tr_lettering *lettering, tr_colour colour, float alpha);

/* Blurs, lights and samples the scene into bytes. */
tr_status tr_camera_expose(tr_canvas *canvas, const tr_camera *camera, uint8_t *rgb);
/* A camera with the usual spread of settings. */
tr_camera tr_camera_draw(tr_rng *rng);

#endif
