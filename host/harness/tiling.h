/* How an image that is too large for the backbone, or whose defects are too small for one resize, is cut into tiles, and how maps of
 * the tiles are put together.
 *
 * Tiles are squares of one size. Along each axis there are as few as share at least `overlap` pixels with their neighbours, spread
 * evenly: the first begins and the last ends at the image's border. They are numbered row by row.
 *
 * In the whole map a tile's pixel weighs the less the nearer it is to the tile's border: along an axis by min(distance to either end),
 * counted from the pixel's centre, over the sum of that of all tiles that hold the pixel. Where two tiles overlap that is a linear
 * cross-fade; where one is alone it is 1. The weight of a pixel is the product of both axes'. */
#ifndef TR_HARNESS_TILING_H
#define TR_HARNESS_TILING_H

#include "kernels/resize.h"

enum { TR_TILE_LEAST = 32, TR_TILE_MOST = 4096 }; /* pixels a side */

/* Patches of all tiles in one bank, or a model for each place in the image: for cameras and parts that do not move. */
typedef enum tr_tile_bank { TR_TILE_BANK_SHARED, TR_TILE_BANK_POSITION } tr_tile_bank;

typedef struct tr_tile_spec {
  int size;    /* pixels a side; 0: images are not cut */
  int overlap; /* pixels, at most half of `size` */
  tr_tile_bank bank;
} tr_tile_spec;

bool tr_tile_spec_equal(const tr_tile_spec *a, const tr_tile_spec *b);

/* Tiles of images of h x w pixels. Not cut, an image is its own only tile. */
typedef struct tr_tiling {
  int h, w, tile_h, tile_w, rows, columns;
} tr_tiling;

/* EINVAL: a tile larger than the image, or more tiles than anyone wants. */
tr_status tr_tiling_make(const tr_tile_spec *spec, int h, int w, tr_tiling *out);

size_t tr_tiling_count(const tr_tiling *tiling);
bool tr_tiling_is_whole(const tr_tiling *tiling); /* one tile, the image */
tr_window tr_tiling_window(const tr_tiling *tiling, size_t tile);

/* weights: [count, tile] of an axis of `side` pixels. */
void tr_tiling_weights(int side, int tile, int count, float *weights);

#endif
