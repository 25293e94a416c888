/* Tiles: they cover the image, share what they are asked to share, and their weights make maps without seams. */
#include "tests/golden/golden.h"

#include "host/harness/tiling.h"
#include "kernels/mosaic.h"

#include <math.h>

static tr_tiling make(int size, int overlap, int h, int w) {
  tr_tiling tiling;
  if (tr_tiling_make(&(tr_tile_spec){.size = size, .overlap = overlap}, h, w, &tiling) != TR_OK)
    fail_msg("%s", tr_last_error());
  return tiling;
}

static void check_axis(int side, int tile, int overlap, int count, const int *begin) {
  assert_int_equal(begin[0], 0);
  assert_int_equal(begin[count - 1] + tile, side);
  int least = tile, most = 0;
  for (int i = 1; i < count; ++i) {
    int step = begin[i] - begin[i - 1];
    assert_in_range(step, 1, tile - overlap);
    least = step < least ? step : least;
    most = step > most ? step : most;
  }
  if (count > 1)
    assert_true(most - least <= 1);
  /* One less would not reach. */
  if (count > 1)
    assert_true(tile + (count - 2) * (tile - overlap) < side);
}

static void test_layout(void **state) {
  (void)state;
  for (int tile = 32; tile <= 224; tile += 37)
    for (int overlap = 0; overlap <= tile / 2; overlap += 5)
      for (int side = tile; side < 6 * tile; side += 1 + side / 13) {
        tr_tiling t = make(tile, overlap, side, tile);
        assert_int_equal(t.columns, 1);
        int begin[64];
        assert_true(t.rows <= 64);
        for (int i = 0; i < t.rows; ++i) {
          tr_window window = tr_tiling_window(&t, (size_t)i);
          assert_int_equal(window.left, 0);
          assert_int_equal(window.h, tile);
          begin[i] = window.top;
        }
        check_axis(side, tile, overlap, t.rows, begin);
      }
}

/* 960 x 800 in tiles of 224 with 32: 5 columns, 4 rows, numbered row by row. */
static void test_numbers(void **state) {
  (void)state;
  tr_tiling t = make(224, 32, 800, 960);
  assert_int_equal(t.rows, 4);
  assert_int_equal(t.columns, 5);
  assert_int_equal(tr_tiling_count(&t), 20);
  tr_window first = tr_tiling_window(&t, 0), seventh = tr_tiling_window(&t, 7), last = tr_tiling_window(&t, 19);
  assert_true(first.top == 0 && first.left == 0);
  assert_true(seventh.top == 192 && seventh.left == 368);
  assert_true(last.top == 576 && last.left == 736);
  assert_false(tr_tiling_is_whole(&t));
  tr_tiling uncut = make(0, 0, 300, 200);
  assert_true(tr_tiling_is_whole(&uncut) && uncut.tile_h == 300 && uncut.tile_w == 200);
  assert_int_equal(tr_tiling_count(&uncut), 1);
  tr_tiling one = make(200, 100, 200, 200);
  assert_true(tr_tiling_is_whole(&one));
}

static void test_weights(void **state) {
  (void)state;
  enum { MOST = 1500 };
  static const int cases[][3] = {{224, 32, 960}, {224, 0, 449}, {224, 112, 225}, {32, 16, 1499}, {100, 1, 100}, {64, 8, 121}};
  for (size_t c = 0; c < sizeof cases / sizeof *cases; ++c) {
    int tile = cases[c][0], side = cases[c][2];
    tr_tiling t = make(tile, cases[c][1], tile, side);
    float *weights = malloc((size_t)t.columns * (size_t)tile * sizeof *weights), sums[MOST] = {0};
    int holders[MOST] = {0};
    tr_tiling_weights(side, tile, t.columns, weights);
    for (int i = 0; i < t.columns; ++i) {
      int begin = tr_tiling_window(&t, (size_t)i).left;
      for (int x = 0; x < tile; ++x) {
        float weight = weights[i * tile + x];
        assert_true(weight > 0 && weight <= 1);
        sums[begin + x] += weight;
        ++holders[begin + x];
        if (x && i && begin + x < begin + tile / 2) /* less towards the border that a neighbour lies beyond */
          assert_true(weight >= weights[i * tile + x - 1]);
      }
    }
    for (int x = 0; x < side; ++x) {
      assert_true(holders[x] >= 1);
      assert_true(fabsf(sums[x] - 1) <= 2 * 0x1p-23f);
    }
    if (t.columns == 1)
      for (int x = 0; x < tile; ++x)
        assert_true(weights[x] == 1);
    free(weights);
  }
}

/* Windows of a field, put together, are the field. */
static void check_field(int size, int overlap, int h, int w, double a, double b, double c) {
  tr_device *device;
  assert_int_equal(tr_device_open("cpu", 1, &device), TR_OK);
  tr_tiling t = make(size, overlap, h, w);
  size_t part = (size_t)t.tile_h * (size_t)t.tile_w;
  float *rows = malloc((size_t)t.rows * (size_t)t.tile_h * sizeof *rows), *map = calloc((size_t)h * (size_t)w, sizeof *map);
  float *columns = malloc((size_t)t.columns * (size_t)t.tile_w * sizeof *columns), *src = malloc(part * sizeof *src);
  tr_tiling_weights(h, t.tile_h, t.rows, rows);
  tr_tiling_weights(w, t.tile_w, t.columns, columns);
  for (size_t i = 0; i < tr_tiling_count(&t); ++i) {
    tr_window window = tr_tiling_window(&t, i);
    for (int y = 0; y < window.h; ++y)
      for (int x = 0; x < window.w; ++x)
        src[y * window.w + x] = (float)(a * (window.top + y) + b * (window.left + x) + c);
    assert_int_equal(tr_mosaic(device, &(tr_mosaic_args){.h = window.h,
                                                         .w = window.w,
                                                         .top = window.top,
                                                         .left = window.left,
                                                         .whole_h = h,
                                                         .whole_w = w,
                                                         .row_weights = rows + i / (size_t)t.columns * (size_t)t.tile_h,
                                                         .column_weights = columns + i % (size_t)t.columns * (size_t)t.tile_w,
                                                         .src = src,
                                                         .dst = map}),
                     TR_OK);
  }
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) {
      double expected = a * y + b * x + c;
      assert_true(fabs((double)map[y * w + x] - expected) <= 4e-7 * (fabs(expected) + 1));
      if (tr_tiling_is_whole(&t))
        assert_true(map[y * w + x] == (float)expected);
    }
  free(rows);
  free(columns);
  free(src);
  free(map);
  tr_device_close(device);
}

static void test_no_seams(void **state) {
  (void)state;
  check_field(64, 16, 200, 333, 0, 0, 1.7);
  check_field(64, 16, 200, 333, 0.25, -0.5, 3);
  check_field(64, 0, 128, 100, 0, 1, 0);
  check_field(48, 24, 49, 50, 1, 1, 1);
  check_field(96, 32, 96, 96, 0.37, 0.11, 5);
}

static void test_refusals(void **state) {
  (void)state;
  tr_tiling t;
  assert_int_equal(tr_tiling_make(&(tr_tile_spec){.size = 224}, 223, 500, &t), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "tiles of 224 pixels are larger than the image, which is 500x223"));
  assert_int_equal(tr_tiling_make(&(tr_tile_spec){.size = 32, .overlap = 16}, 8192, 8192, &t), TR_EINVAL);
  assert_non_null(strstr(tr_last_error(), "511 x 511"));
  const tr_tile_spec a = {.size = 64, .overlap = 8}, b = {.size = 64, .overlap = 8, .bank = TR_TILE_BANK_POSITION};
  assert_true(tr_tile_spec_equal(&a, &a) && !tr_tile_spec_equal(&a, &b));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_layout),   cmocka_unit_test(test_numbers),  cmocka_unit_test(test_weights),
      cmocka_unit_test(test_no_seams), cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
