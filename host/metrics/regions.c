/* Connected regions of a mask. */
#include "host/base/status.h"
#include "host/metrics/metrics.h"

/* While the regions grow, labels[p] - 1 is a pixel of the same region that comes no later than p; p itself for a region's first
 * pixel. This forest needs no memory but the result's. */
static uint32_t first_pixel(uint32_t *labels, uint32_t p) {
  while (labels[p] != p + 1) {
    uint32_t up = labels[p] - 1;
    labels[p] = labels[up]; /* halves the path */
    p = labels[p] - 1;
  }
  return p;
}

static uint32_t joined(uint32_t *labels, uint32_t a, uint32_t b) {
  a = first_pixel(labels, a);
  b = first_pixel(labels, b);
  uint32_t first = a < b ? a : b;
  labels[a < b ? b : a] = first + 1;
  return first + 1;
}

/* What labels[p] becomes, from the neighbours that came before. The pixel above touches the other three; left and upper left
 * touch one another; so only the upper right may bring two regions together. */
static uint32_t label_from_neighbours(uint32_t *labels, uint32_t p, uint32_t w, bool has_left, bool has_up, bool has_right) {
  if (has_up && labels[p - w])
    return labels[p - w];
  uint32_t before = p; /* the left or upper left neighbour in a region; p stands for none */
  if (has_left && labels[p - 1])
    before = p - 1;
  else if (has_left && has_up && labels[p - w - 1])
    before = p - w - 1;
  if (has_up && has_right && labels[p - w + 1])
    return before == p ? labels[p - w + 1] : joined(labels, before, p - w + 1);
  return before == p ? p + 1 : labels[before];
}

/* A region's first pixel is the first that raster order meets, so numbers are given and handed down in one pass. */
static uint32_t number_regions(uint32_t *labels, uint32_t pixels) {
  uint32_t regions = 0;
  for (uint32_t p = 0; p < pixels; ++p)
    if (labels[p])
      labels[p] = labels[p] == p + 1 ? ++regions : labels[labels[p] - 1];
  return regions;
}

tr_status tr_label_regions(const float *mask, int h, int w, float threshold, uint32_t *labels, uint32_t *regions) {
  if (h <= 0 || w <= 0 || (uint64_t)h * (uint64_t)w >= UINT32_MAX)
    return tr_fail(TR_EINVAL, "labelling a mask: expected sides above 0 and fewer than 2^32 - 1 pixels, found %d x %d", h, w);
  uint32_t p = 0;
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x, ++p)
      labels[p] = mask[p] > threshold ? label_from_neighbours(labels, p, (uint32_t)w, x > 0, y > 0, x + 1 < w) : 0;
  *regions = number_regions(labels, p);
  return TR_OK;
}
