/* Drawing for the synthetic data set: noise, signed distances, antialiased painting, lettering, the camera. */
#include "datasets/synthetic.h"
#include "host/base/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- noise ---- */

uint32_t tr_lattice(int32_t x, int32_t y, uint32_t seed) {
  uint32_t h = seed ^ ((uint32_t)x * 0x9E3779B1u) ^ ((uint32_t)y * 0x85EBCA77u);
  h ^= h >> 16;
  h *= 0x7FEB352Du;
  h ^= h >> 15;
  h *= 0x846CA68Bu;
  return h ^ (h >> 16);
}

float tr_lattice_unit(int32_t x, int32_t y, uint32_t seed) {
  return (float)(tr_lattice(x, y, seed) >> 8) * 0x1p-24f;
}

float tr_noise(float x, float y, uint32_t seed) {
  float fx = floorf(x), fy = floorf(y), u = x - fx, v = y - fy;
  int32_t i = (int32_t)fx, j = (int32_t)fy;
  u = u * u * (3 - 2 * u);
  v = v * v * (3 - 2 * v);
  float a = tr_lattice_unit(i, j, seed), b = tr_lattice_unit(i + 1, j, seed);
  float c = tr_lattice_unit(i, j + 1, seed), d = tr_lattice_unit(i + 1, j + 1, seed);
  float top = a + (b - a) * u, bottom = c + (d - c) * u;
  return 2 * (top + (bottom - top) * v) - 1;
}

float tr_fractal(float x, float y, uint32_t seed, int octaves) {
  float sum = 0, amplitude = 0.5f;
  for (int i = 0; i < octaves; ++i) {
    sum += amplitude * tr_noise(x, y, seed + (uint32_t)i * 0x9E3779B9u);
    /* An irrational ratio keeps the lattices from lining up. */
    x = x * 2.03f + 17.3f;
    y = y * 2.03f + 5.7f;
    amplitude *= 0.5f;
  }
  return sum;
}

void tr_cells(float x, float y, uint32_t seed, float *nearest, float *second, uint32_t *cell) {
  float fx = floorf(x), fy = floorf(y);
  float first2 = 1e9f, second2 = 1e9f;
  for (int dj = -1; dj <= 1; ++dj) {
    for (int di = -1; di <= 1; ++di) {
      uint32_t bits = tr_lattice((int32_t)fx + di, (int32_t)fy + dj, seed);
      float px = fx + (float)di + (float)(bits & 0xFFFF) * 0x1p-16f - x;
      float py = fy + (float)dj + (float)(bits >> 16) * 0x1p-16f - y;
      float distance2 = px * px + py * py;
      if (distance2 < first2) {
        second2 = first2;
        first2 = distance2;
        *cell = bits;
      } else if (distance2 < second2) {
        second2 = distance2;
      }
    }
  }
  *nearest = sqrtf(first2);
  *second = sqrtf(second2);
}

/* ---- colours and shapes ---- */

float tr_clamp(float value, float low, float high) {
  return value < low ? low : value > high ? high : value;
}

float tr_smoothstep(float low, float high, float value) {
  float t = tr_clamp((value - low) / (high - low), 0, 1);
  return t * t * (3 - 2 * t);
}

tr_colour tr_mix(tr_colour a, tr_colour b, float t) {
  return (tr_colour){a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}

tr_colour tr_scaled(tr_colour c, float factor) {
  return (tr_colour){c.r * factor, c.g * factor, c.b * factor};
}

tr_pose tr_pose_make(float x, float y, float angle) {
  return (tr_pose){x, y, cosf(angle), sinf(angle)};
}

void tr_pose_inverse(const tr_pose *pose, float x, float y, float *u, float *v) {
  float dx = x - pose->x, dy = y - pose->y;
  *u = pose->cos_a * dx + pose->sin_a * dy;
  *v = pose->cos_a * dy - pose->sin_a * dx;
}

void tr_pose_apply(const tr_pose *pose, float u, float v, float *x, float *y) {
  *x = pose->x + pose->cos_a * u - pose->sin_a * v;
  *y = pose->y + pose->sin_a * u + pose->cos_a * v;
}

/* As the signed distance of a box, with its turn already taken out. */
static float box_distance(float u, float v, float half_w, float half_h, float round) {
  float dx = fabsf(u) - half_w, dy = fabsf(v) - half_h;
  float ox = fmaxf(dx, 0), oy = fmaxf(dy, 0);
  return sqrtf(ox * ox + oy * oy) + fminf(fmaxf(dx, dy), 0) - round;
}

float tr_box_distance(const tr_box *box, float x, float y) {
  tr_pose pose = tr_pose_make(box->x, box->y, box->angle);
  float u, v;
  tr_pose_inverse(&pose, x, y, &u, &v);
  return box_distance(u, v, box->half_w, box->half_h, box->round);
}

tr_blob tr_blob_draw(tr_rng *rng, float x, float y, float radius, float roughness) {
  tr_blob blob = {.x = x, .y = y, .radius = radius, .roughness = roughness};
  blob.stretch = tr_rng_between(rng, 1.0f, 1.7f);
  blob.angle = tr_rng_between(rng, 0, 3.14159265f);
  blob.seed = tr_rng_u32(rng);
  return blob;
}

float tr_blob_distance(const tr_blob *blob, float x, float y) {
  tr_pose pose = tr_pose_make(blob->x, blob->y, blob->angle);
  float u, v;
  tr_pose_inverse(&pose, x, y, &u, &v);
  u /= blob->stretch;
  float wander = tr_fractal(u / blob->radius * 1.7f, v / blob->radius * 1.7f, blob->seed, 3);
  return sqrtf(u * u + v * v) - blob->radius * (1 + blob->roughness * wander);
}

tr_curve tr_curve_draw(tr_rng *rng, float x, float y, float angle, float length, float bend, float jag) {
  tr_curve curve = {.count = TR_CURVE_POINTS};
  float step = length / (TR_CURVE_POINTS - 1);
  float turn = bend / (TR_CURVE_POINTS - 1);
  float heading = angle - bend / 2;
  float px = 0, py = 0;
  for (int i = 0; i < TR_CURVE_POINTS; ++i) {
    float off = jag * tr_rng_between(rng, -1, 1);
    curve.x[i] = px - sinf(heading) * off;
    curve.y[i] = py + cosf(heading) * off;
    px += step * cosf(heading);
    py += step * sinf(heading);
    heading += turn;
  }
  float mx = curve.x[TR_CURVE_POINTS / 2], my = curve.y[TR_CURVE_POINTS / 2];
  for (int i = 0; i < TR_CURVE_POINTS; ++i) {
    curve.x[i] += x - mx;
    curve.y[i] += y - my;
  }
  return curve;
}

float tr_curve_distance(const tr_curve *curve, float x, float y, float *along) {
  float best = 1e18f, place = 0;
  for (int i = 0; i + 1 < curve->count; ++i) {
    float ax = x - curve->x[i], ay = y - curve->y[i];
    float bx = curve->x[i + 1] - curve->x[i], by = curve->y[i + 1] - curve->y[i];
    float t = tr_clamp((ax * bx + ay * by) / fmaxf(bx * bx + by * by, 1e-6f), 0, 1);
    float dx = ax - t * bx, dy = ay - t * by, distance2 = dx * dx + dy * dy;
    if (distance2 < best) {
      best = distance2;
      place = (float)i + t;
    }
  }
  *along = place / (float)(curve->count - 1);
  return sqrtf(best);
}

float tr_cover(const tr_canvas *canvas, float distance, float soft) {
  float width = fmaxf(1 / canvas->scale, soft);
  return tr_clamp(0.5f - distance / width, 0, 1);
}

/* ---- painting ---- */

void tr_blend(float rgb[3], tr_colour colour, float alpha) {
  rgb[0] += (colour.r - rgb[0]) * alpha;
  rgb[1] += (colour.g - rgb[1]) * alpha;
  rgb[2] += (colour.b - rgb[2]) * alpha;
}

void tr_paint_region(tr_canvas *canvas, float x0, float y0, float x1, float y1, tr_pixel_fn pixel, const void *context) {
  int left = (int)tr_clamp(floorf(x0 * canvas->scale), 0, (float)canvas->w);
  int top = (int)tr_clamp(floorf(y0 * canvas->scale), 0, (float)canvas->h);
  int right = (int)tr_clamp(ceilf(x1 * canvas->scale), 0, (float)canvas->w);
  int bottom = (int)tr_clamp(ceilf(y1 * canvas->scale), 0, (float)canvas->h);
  for (int j = top; j < bottom; ++j)
    for (int i = left; i < right; ++i)
      pixel(canvas, context, ((float)i + 0.5f) / canvas->scale, ((float)j + 0.5f) / canvas->scale,
            canvas->rgb + 3 * ((size_t)j * (size_t)canvas->w + (size_t)i));
}

void tr_paint_all(tr_canvas *canvas, tr_pixel_fn pixel, const void *context) {
  tr_paint_region(canvas, 0, 0, (float)canvas->w / canvas->scale, (float)canvas->h / canvas->scale, pixel, context);
}

typedef struct box_paint {
  tr_pose pose; /* of the box on the canvas */
  float half_w, half_h, round, alpha, soft;
  tr_colour colour;
} box_paint;

static void box_pixel(const tr_canvas *canvas, const void *context, float x, float y, float rgb[3]) {
  const box_paint *box = context;
  float u, v;
  tr_pose_inverse(&box->pose, x, y, &u, &v);
  float distance = box_distance(u, v, box->half_w, box->half_h, box->round);
  tr_blend(rgb, box->colour, box->alpha * tr_cover(canvas, distance, box->soft));
}

void tr_paint_box(tr_canvas *canvas, const tr_pose *pose, const tr_box *box, tr_colour colour, float alpha, float soft) {
  float cos_b = cosf(box->angle), sin_b = sinf(box->angle), x, y;
  tr_pose_apply(pose, box->x, box->y, &x, &y);
  box_paint paint = {.pose = {x, y, pose->cos_a * cos_b - pose->sin_a * sin_b, pose->sin_a * cos_b + pose->cos_a * sin_b},
                     .half_w = box->half_w,
                     .half_h = box->half_h,
                     .round = box->round,
                     .alpha = alpha,
                     .soft = soft,
                     .colour = colour};
  float c = fabsf(paint.pose.cos_a), s = fabsf(paint.pose.sin_a);
  float margin = box->round + soft + 1 / canvas->scale;
  float reach_x = c * box->half_w + s * box->half_h + margin, reach_y = s * box->half_w + c * box->half_h + margin;
  tr_paint_region(canvas, x - reach_x, y - reach_y, x + reach_x, y + reach_y, box_pixel, &paint);
}

typedef struct curve_paint {
  const tr_curve *curve;
  float half_width, alpha;
  bool taper;
  tr_colour colour;
} curve_paint;

static void curve_pixel(const tr_canvas *canvas, const void *context, float x, float y, float rgb[3]) {
  const curve_paint *paint = context;
  float along, distance = tr_curve_distance(paint->curve, x, y, &along);
  float half = paint->half_width;
  if (paint->taper)
    half *= sqrtf(fmaxf(4 * along * (1 - along), 0));
  /* A line thinner than a pixel covers only its own width of it. */
  float thin = fminf(2 * half * canvas->scale, 1);
  tr_blend(rgb, paint->colour, paint->alpha * thin * tr_cover(canvas, distance - fmaxf(half, 0.5f / canvas->scale), 0));
}

void tr_paint_curve(tr_canvas *canvas, const tr_curve *curve, float half_width, bool taper, tr_colour colour, float alpha) {
  curve_paint paint = {curve, half_width, alpha, taper, colour};
  float x0 = curve->x[0], x1 = x0, y0 = curve->y[0], y1 = y0, margin = half_width + 2 / canvas->scale;
  for (int i = 1; i < curve->count; ++i) {
    x0 = fminf(x0, curve->x[i]);
    x1 = fmaxf(x1, curve->x[i]);
    y0 = fminf(y0, curve->y[i]);
    y1 = fmaxf(y1, curve->y[i]);
  }
  tr_paint_region(canvas, x0 - margin, y0 - margin, x1 + margin, y1 + margin, curve_pixel, &paint);
}

typedef struct stain_paint {
  const tr_blob *blob;
  tr_colour tint;
  float strength, rim, soft;
} stain_paint;

static void stain_pixel(const tr_canvas *canvas, const void *context, float x, float y, float rgb[3]) {
  const stain_paint *paint = context;
  float distance = tr_blob_distance(paint->blob, x, y);
  float inside = tr_cover(canvas, distance, paint->soft);
  float from_rim = (distance + 0.5f * paint->soft) / (1.5f * paint->soft);
  float amount = paint->strength * inside * (1 + paint->rim * expf(-from_rim * from_rim));
  rgb[0] *= 1 - amount * (1 - paint->tint.r);
  rgb[1] *= 1 - amount * (1 - paint->tint.g);
  rgb[2] *= 1 - amount * (1 - paint->tint.b);
}

void tr_paint_stain(tr_canvas *canvas, const tr_blob *blob, tr_colour tint, float strength, float rim, float soft) {
  stain_paint paint = {blob, tint, strength, rim, soft};
  float reach = blob->radius * blob->stretch * (1 + blob->roughness) + soft;
  tr_paint_region(canvas, blob->x - reach, blob->y - reach, blob->x + reach, blob->y + reach, stain_pixel, &paint);
}

/* ---- lettering ---- */

/* Strokes as x0 y0 x1 y1 on a grid 4 wide and 6 tall, y downwards. */
static const struct glyph {
  char letter;
  const char *strokes;
} glyphs[] = {
    {'0', "10303041414545363616160505010110"},
    {'1', "11202026"},
    {'2', "011010303041414242060646"},
    {'3', "0040402222444445453636161605"},
    {'4', "363030040444"},
    {'5', "4000000303333344444545363606"},
    {'6', "301010010105051616363645454444333303"},
    {'7', "00404016"},
    {'C', "4130301010010105051616363645"},
    {'L', "00060646"},
    {'R', "0600003030414142423333032346"},
    {'T', "00402026"},
    {'U', "00050516163636454540"},
};
enum { GLYPH_ADVANCE = 6, GLYPH_HEIGHT = 6 };

static const char *strokes_of(char letter) {
  for (size_t i = 0; i < sizeof glyphs / sizeof *glyphs; ++i)
    if (glyphs[i].letter == letter)
      return glyphs[i].strokes;
  return "";
}

static void paint_stroke(tr_canvas *canvas, const tr_pose *pose, const tr_lettering *lettering, float u, const char *stroke,
                         tr_colour colour, float alpha) {
  float unit = lettering->height / GLYPH_HEIGHT;
  float x0 = u + unit * (float)(stroke[0] - '0'), y0 = lettering->v + unit * (float)(stroke[1] - '0' - GLYPH_HEIGHT);
  float x1 = u + unit * (float)(stroke[2] - '0'), y1 = lettering->v + unit * (float)(stroke[3] - '0' - GLYPH_HEIGHT);
  tr_box box = {.x = (x0 + x1) / 2,
                .y = (y0 + y1) / 2,
                .half_w = hypotf(x1 - x0, y1 - y0) / 2,
                .half_h = 0,
                .round = lettering->half_width,
                .angle = atan2f(y1 - y0, x1 - x0)};
  tr_paint_box(canvas, pose, &box, colour, alpha, 0);
}

int tr_paint_text(tr_canvas *canvas, const tr_pose *pose, const tr_lettering *lettering, tr_colour colour, float alpha) {
  int count = 0;
  float u = lettering->u;
  for (const char *letter = lettering->text; *letter; ++letter) {
    for (const char *stroke = strokes_of(*letter); *stroke; stroke += 4, ++count)
      if (count >= 64 || !(lettering->skip >> count & 1))
        paint_stroke(canvas, pose, lettering, u, stroke, colour, alpha);
    u += lettering->height * GLYPH_ADVANCE / GLYPH_HEIGHT;
  }
  return count;
}

/* ---- the camera ---- */

enum { BLUR_RADIUS_MAX = 64 };

/* out[i] = sum of weights[|k|] * in[i + k * step] over -radius <= k <= radius. */
static void blur_run(const float *in, float *out, size_t count, size_t step, const float *weights, int radius) {
  for (size_t i = 0; i < count; ++i)
    out[i] = weights[0] * in[i];
  for (int k = 1; k <= radius; ++k) {
    const float *before = in - (size_t)k * step, *after = in + (size_t)k * step;
    for (size_t i = 0; i < count; ++i)
      out[i] += weights[k] * (before[i] + after[i]);
  }
}

static int gaussian_weights(float sigma, float weights[BLUR_RADIUS_MAX + 1]) {
  int radius = (int)fminf(ceilf(2.5f * sigma), BLUR_RADIUS_MAX);
  float total = 0;
  for (int k = 0; k <= radius; ++k) {
    weights[k] = expf(-0.5f * (float)(k * k) / (sigma * sigma));
    total += k ? 2 * weights[k] : weights[k];
  }
  for (int k = 0; k <= radius; ++k)
    weights[k] /= total;
  return radius;
}

/* Blurs across, then down; `padded` holds the picture with its edge repeated `radius` pixels to all sides. */
static void blur_padded(tr_canvas *canvas, float *padded, const float *weights, int radius) {
  size_t row = 3 * (size_t)canvas->w, margin = 3 * (size_t)radius, padded_row = row + 2 * margin;
  for (int j = 0; j < canvas->h; ++j) {
    float *to = padded + (size_t)(j + radius) * padded_row, *from = canvas->rgb + (size_t)j * row;
    memcpy(to + margin, from, row * sizeof *to);
    for (size_t i = 0; i < margin; ++i) {
      to[i] = from[i % 3];
      to[margin + row + i] = from[row - 3 + i % 3];
    }
    blur_run(to + margin, from, row, 3, weights, radius);
    memcpy(to + margin, from, row * sizeof *to);
  }
  for (int j = 0; j < radius; ++j) {
    memcpy(padded + (size_t)j * padded_row, padded + (size_t)radius * padded_row, padded_row * sizeof *padded);
    memcpy(padded + (size_t)(canvas->h + radius + j) * padded_row, padded + (size_t)(canvas->h + radius - 1) * padded_row,
           padded_row * sizeof *padded);
  }
  for (int j = 0; j < canvas->h; ++j)
    blur_run(padded + (size_t)(j + radius) * padded_row + margin, canvas->rgb + (size_t)j * row, row, padded_row, weights,
             radius);
}

static tr_status blur(tr_canvas *canvas, float sigma) {
  float weights[BLUR_RADIUS_MAX + 1] = {0};
  int radius = gaussian_weights(sigma, weights);
  size_t bytes = 3 * sizeof(float) * (size_t)(canvas->w + 2 * radius) * (size_t)(canvas->h + 2 * radius);
  float *padded = malloc(bytes);
  if (!padded)
    return tr_fail(TR_ENOMEM, "drawing a synthetic picture: out of memory");
  blur_padded(canvas, padded, weights, radius);
  free(padded);
  return TR_OK;
}

/* A byte of `bits` as a number in [-1, 1]. */
static float byte_noise(uint32_t bits, int byte) {
  return (float)((int)(bits >> (8 * byte) & 255) * 2 - 255) * (1 / 255.0f);
}

static void expose_pixel(const tr_camera *camera, float x, float y, uint32_t place, const float in[3], uint8_t out[3]) {
  /* x and y run from -1 to 1 over the picture. */
  float light = camera->gain * (1 + camera->tilt_x * x + camera->tilt_y * y - camera->vignette * 0.5f * (x * x + y * y));
  float tint[3] = {1 + camera->warmth, 1, 1 - camera->warmth};
  uint32_t bits = tr_lattice((int32_t)place, 0, camera->seed);
  for (int c = 0; c < 3; ++c) {
    /* Sensor noise: a part that all channels share and one of their own. */
    float noise = 0.56f * byte_noise(bits, 3) + 0.42f * byte_noise(bits, c);
    out[c] = (uint8_t)(255 * tr_clamp(in[c] * light * tint[c] + camera->noise * noise, 0, 1) + 0.5f);
  }
}

tr_status tr_camera_expose(tr_canvas *canvas, const tr_camera *camera, uint8_t *rgb) {
  float sigma = camera->blur * canvas->scale;
  if (sigma > 0.2f)
    TR_TRY(blur(canvas, sigma));
  for (int j = 0; j < canvas->h; ++j) {
    float y = ((float)j + 0.5f) / (float)canvas->h * 2 - 1;
    for (int i = 0; i < canvas->w; ++i) {
      float x = ((float)i + 0.5f) / (float)canvas->w * 2 - 1;
      size_t place = (size_t)j * (size_t)canvas->w + (size_t)i;
      expose_pixel(camera, x, y, (uint32_t)place, canvas->rgb + 3 * place, rgb + 3 * place);
    }
  }
  return TR_OK;
}

tr_camera tr_camera_draw(tr_rng *rng) {
  return (tr_camera){
      .blur = tr_rng_between(rng, 0.45f, 0.75f),
      .gain = tr_rng_between(rng, 0.95f, 1.05f),
      .tilt_x = tr_rng_between(rng, -0.05f, 0.05f),
      .tilt_y = tr_rng_between(rng, -0.05f, 0.05f),
      .vignette = tr_rng_between(rng, 0.02f, 0.12f),
      .warmth = tr_rng_between(rng, -0.012f, 0.012f),
      .noise = tr_rng_between(rng, 0.012f, 0.024f),
      .seed = tr_rng_u32(rng),
  };
}
