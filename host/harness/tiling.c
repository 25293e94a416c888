/* The geometry of tiles. */
#include "host/harness/tiling.h"
#include "host/base/status.h"

/* Of an image. A slip such as 32-pixel tiles of a satellite picture should not plan for years. */
enum { MOST_TILES = 1 << 16 };

bool tr_tile_spec_equal(const tr_tile_spec *a, const tr_tile_spec *b) {
  return a->size == b->size && a->overlap == b->overlap && a->bank == b->bank;
}

/* The fewest that reach from end to end. */
static int count_along(int side, int tile, int overlap) {
  int step = tile - overlap;
  return 1 + (side - tile + step - 1) / step;
}

/* Where tile i begins. Steps differ by a pixel at most, and none is longer than tile - overlap. */
static int begin_of(int side, int tile, int count, int i) {
  return count > 1 ? (int)(((int64_t)i * (side - tile) + (count - 1) / 2) / (count - 1)) : 0;
}

tr_status tr_tiling_make(const tr_tile_spec *spec, int h, int w, tr_tiling *out) {
  *out = (tr_tiling){.h = h, .w = w, .tile_h = h, .tile_w = w, .rows = 1, .columns = 1};
  if (!spec->size)
    return TR_OK;
  if (spec->size > h || spec->size > w)
    return tr_fail(TR_EINVAL, "tiles of %d pixels are larger than the image, which is %dx%d after the resize", spec->size, w, h);
  out->tile_h = out->tile_w = spec->size;
  out->rows = count_along(h, spec->size, spec->overlap);
  out->columns = count_along(w, spec->size, spec->overlap);
  if ((int64_t)out->rows * out->columns > MOST_TILES)
    return tr_fail(TR_EINVAL, "tiles of %d pixels cut an image of %dx%d into %d x %d, more than %d", spec->size, w, h,
                   out->columns, out->rows, MOST_TILES);
  return TR_OK;
}

size_t tr_tiling_count(const tr_tiling *tiling) {
  return (size_t)tiling->rows * (size_t)tiling->columns;
}

bool tr_tiling_is_whole(const tr_tiling *tiling) {
  return tiling->tile_h == tiling->h && tiling->tile_w == tiling->w;
}

tr_window tr_tiling_window(const tr_tiling *t, size_t tile) {
  int row = (int)(tile / (size_t)t->columns), column = (int)(tile % (size_t)t->columns);
  return (tr_window){.top = begin_of(t->h, t->tile_h, t->rows, row),
                     .left = begin_of(t->w, t->tile_w, t->columns, column),
                     .h = t->tile_h,
                     .w = t->tile_w};
}

/* Of a pixel of the image, in a tile that begins at `begin`; 0 outside. */
static double nearness(int pixel, int begin, int tile) {
  int from_begin = pixel - begin, from_end = begin + tile - 1 - pixel, least = from_begin < from_end ? from_begin : from_end;
  return least < 0 ? 0 : least + 0.5;
}

void tr_tiling_weights(int side, int tile, int count, float *weights) {
  for (int i = 0; i < count; ++i) {
    int begin = begin_of(side, tile, count, i);
    for (int x = 0; x < tile; ++x) {
      double sum = 0;
      for (int j = 0; j < count; ++j)
        sum += nearness(begin + x, begin_of(side, tile, count, j), tile);
      weights[(size_t)i * (size_t)tile + (size_t)x] = (float)(nearness(begin + x, begin, tile) / sum);
    }
  }
}
