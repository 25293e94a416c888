/* Image files against PIL (fixtures by tests/golden/make_images.py), damaged files, and PNG writing. */
#include "tests/golden/golden.h"

#include "datasets/image.h"
#include "host/base/text.h"
#include "host/totalrecall.h"

static const char *const names[] = {
    "grey1.png",
    "grey2.png",
    "grey4.png",
    "grey8.png",
    "grey16.png",
    "grey8_transparent.png",
    "grey16_transparent.png",
    "grey_alpha8.png",
    "grey_alpha16.png",
    "rgb8.png",
    "rgb16.png",
    "rgb8_transparent.png",
    "rgba8.png",
    "rgba16.png",
    "palette1.png",
    "palette2.png",
    "palette4.png",
    "palette8.png",
    "palette8_transparent.png",
    "palette8_short.png",
    "palette4_short.png",
    "grey1_interlaced.png",
    "rgb8_interlaced.png",
    "palette4_interlaced.png",
    "one_pixel.png",
    "grey.jpg",
    "grey_progressive.jpg",
    "colour_444.jpg",
    "colour_422.jpg",
    "colour_420.jpg",
    "colour_420_progressive.jpg",
    "colour_restart.jpg",
    "cmyk.jpg",
    "bit1.bmp",
    "bit4.bmp",
    "bit8.bmp",
    "bit8_short.bmp",
    "bit16.bmp",
    "bit16_565.bmp",
    "bit24.bmp",
    "bit24_top_down.bmp",
    "bit24_core.bmp",
    "bit4_core.bmp",
    "bit32.bmp",
    "bit32_masks.bmp",
};
enum { FILES = sizeof names / sizeof *names };

static const char *fixture(const char *name) {
  static char path[1024];
  snprintf(path, sizeof path, "%s/images/%s", TR_GOLDEN_DIR, name);
  return path;
}

/* A file's bytes in a block of exactly its size, so that AddressSanitizer sees a step beyond. */
static uint8_t *contents(const char *name, size_t *bytes) {
  char *data;
  assert_int_equal(tr_file_read(fixture(name), &data, bytes), TR_OK);
  uint8_t *out = malloc(*bytes);
  assert_non_null(out);
  memcpy(out, data, *bytes);
  free(data);
  return out;
}

static void assert_error_says(const char *text) {
  if (!strstr(tr_last_error(), text))
    fail_msg("error text \"%s\" does not say \"%s\"", tr_last_error(), text);
}

/* JPEG in builds without libjpeg. */
static bool unreadable(const char *name) {
  return strstr(name, ".jpg") && !tr_image_jpeg_decoder();
}

static void compare(const char *name, int channels, const tr_image *image, const uint8_t *expected) {
  size_t count = (size_t)image->h * (size_t)image->w * (size_t)channels;
  for (size_t i = 0; i < count; ++i)
    if (image->pixels[i] != expected[i])
      fail_msg("%s at %d channels: byte %zu is %d, expected %d", name, channels, i, image->pixels[i], expected[i]);
}

static void test_every_kind_equals_pil(void **state) {
  (void)state;
  golden_array shapes = golden_read("images_shapes.npy"), pixels = golden_read("images_expected.npy");
  assert_int_equal(shapes.shape[0], FILES);
  const uint8_t *expected = pixels.data;
  for (size_t i = 0; i < FILES; ++i) {
    const int32_t *shape = (const int32_t *)shapes.data + 2 * i;
    if (unreadable(names[i])) {
      expected += 4 * shape[0] * shape[1];
      continue;
    }
    for (int channels = 3; channels >= 1; channels -= 2) {
      tr_image image;
      int h, w;
      if (tr_image_read(fixture(names[i]), channels, &image) != TR_OK)
        fail_msg("%s", tr_last_error());
      assert_int_equal(image.h, shape[0]);
      assert_int_equal(image.w, shape[1]);
      assert_int_equal(image.channels, channels);
      assert_int_equal(tr_image_size(fixture(names[i]), &h, &w), TR_OK);
      assert_int_equal(h, shape[0]);
      assert_int_equal(w, shape[1]);
      compare(names[i], channels, &image, expected);
      expected += shape[0] * shape[1] * channels;
      tr_image_free(&image);
      assert_null(image.pixels);
    }
  }
  assert_int_equal(expected - (const uint8_t *)pixels.data, pixels.count);
  golden_free(&shapes);
  golden_free(&pixels);
}

/* Every file, cut after every byte, is an error. */
static void test_cut_short(void **state) {
  (void)state;
  for (size_t i = 0; i < FILES; ++i) {
    size_t bytes;
    uint8_t *data = contents(names[i], &bytes);
    for (size_t kept = 0; kept < bytes; ++kept) {
      tr_image image;
      uint8_t *part = malloc(kept + 1);
      assert_non_null(part);
      memcpy(part + 1, data, kept); /* ends where the block ends */
      tr_status status = tr_image_decode(part + 1, kept, names[i], 3, &image);
      free(part);
      if (status != TR_EFORMAT || image.pixels)
        fail_msg("%s cut after %zu of %zu bytes: status %s", names[i], kept, bytes, tr_status_name(status));
      assert_error_says(names[i]);
    }
    free(data);
  }
}

/* A flipped bit in a PNG's critical chunks never goes unseen. */
static void test_damaged_png(void **state) {
  (void)state;
  const char *const kinds[] = {"rgb8.png", "palette8_short.png", "grey16.png"};
  for (size_t i = 0; i < 3; ++i) {
    size_t bytes, comment = 8 + 25, comment_bytes = 12 + 23;
    uint8_t *data = contents(kinds[i], &bytes);
    assert_memory_equal(data + comment + 4, "tEXt", 4);
    for (size_t at = 0; at < bytes; ++at) {
      tr_image image;
      data[at] ^= 4;
      tr_status status = tr_image_decode(data, bytes, "file", 3, &image);
      data[at] ^= 4;
      bool harmless = at >= comment + 8 && at < comment + comment_bytes; /* the comment and its checksum */
      if (at >= comment + 4 && at < comment + 8)
        harmless = status == TR_OK; /* one letter of the comment's type: still a comment, or not */
      if ((status == TR_OK) != harmless)
        fail_msg("%s with byte %zu damaged: status %s", kinds[i], at, tr_status_name(status));
      if (status == TR_OK)
        tr_image_free(&image);
    }
    free(data);
  }
}

/* JPEG whose scan loses its middle: whole at both ends. */
static void test_jpeg_without_its_middle(void **state) {
  (void)state;
  if (!tr_image_jpeg_decoder())
    skip();
  const char *const kinds[] = {"grey.jpg", "colour_444.jpg", "colour_420.jpg"};
  for (size_t i = 0; i < 3; ++i) {
    size_t bytes;
    tr_image image;
    uint8_t *data = contents(kinds[i], &bytes);
    memcpy(data + bytes - 62, data + bytes - 2, 2);
    assert_int_equal(tr_image_decode(data, bytes - 60, "file", 3, &image), TR_EFORMAT);
    free(data);
  }
}

static void assert_not_decoded(const void *data, size_t bytes, const char *text) {
  tr_image image;
  uint8_t *copy = malloc(bytes + 1);
  assert_non_null(copy);
  memcpy(copy + 1, data, bytes);
  assert_int_equal(tr_image_decode(copy + 1, bytes, "the/file", 3, &image), TR_EFORMAT);
  assert_null(image.pixels);
  assert_error_says("the/file");
  assert_error_says(text);
  free(copy);
}

static void test_not_an_image(void **state) {
  (void)state;
  assert_not_decoded("", 0, "empty");
  assert_not_decoded("image,label,score\n", 18, "PNG, JPEG or BMP");
  assert_not_decoded("\x89PNG\r\n\x1a\n", 8, "cut short");
  assert_not_decoded("\x89PNG\r\n\x1a\nplain text here", 23, "damaged");
  assert_not_decoded("\xff\xd8\xff", 3, "JPEG");
  assert_not_decoded("BM", 2, "cut short");
}

static void test_missing_file(void **state) {
  (void)state;
  tr_image image;
  int h, w;
  assert_int_equal(tr_image_read("/nonexistent/image.png", 3, &image), TR_EIO);
  assert_error_says("/nonexistent/image.png");
  assert_int_equal(tr_image_size("/nonexistent/image.png", &h, &w), TR_EIO);
  assert_int_equal(tr_image_read(fixture(""), 3, &image), TR_EIO); /* a folder */
  assert_int_equal(tr_image_read(fixture("rgb8.png"), 2, &image), TR_EINVAL);
  assert_null(image.pixels);
}

static void put_little_endian(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; ++i)
    at[i] = (uint8_t)(value >> 8 * i);
}

static void put_big_endian_16(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

/* Headers that promise more than the file or the limit can hold are refused before memory is asked for. */
static void test_huge_bmp(void **state) {
  (void)state;
  const struct {
    uint32_t w, h;
    const char *text;
  } sizes[] = {
      {INT32_MAX, INT32_MAX, "2147483647 x 2147483647"}, {1 << 14, 1 << 14, "cut short"}, {1 << 14, 1u << 31, "2147483648"}};
  size_t bytes;
  uint8_t *bmp = contents("bit24.bmp", &bytes);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    put_little_endian(bmp + 18, sizes[i].w);
    put_little_endian(bmp + 22, sizes[i].h);
    assert_not_decoded(bmp, bytes, sizes[i].text);
  }
  free(bmp);
}

static void test_huge_jpeg(void **state) {
  (void)state;
  if (!tr_image_jpeg_decoder())
    skip();
  size_t bytes;
  uint8_t *jpeg = contents("grey.jpg", &bytes);
  uint8_t *frame = memmem(jpeg, bytes, "\xff\xc0", 2);
  assert_non_null(frame);
  put_big_endian_16(frame + 5, 65500);
  put_big_endian_16(frame + 7, 65500);
  assert_not_decoded(jpeg, bytes, "65500 x 65500");
  put_big_endian_16(frame + 5, 12288);
  put_big_endian_16(frame + 7, 12288);
  assert_not_decoded(jpeg, bytes, "cut short");
  free(jpeg);
}

/* A PNG header of 2^20 x 2^20 pixels with its right checksum. */
static void test_huge_png(void **state) {
  (void)state;
  static const uint8_t png[] =
      "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\x10\0\0\0\x10\0\0\x08\x02\0\0\0\xc4\x4a\x37\x92\0\0\0\0IEND\xae\x42\x60\x82";
  assert_not_decoded(png, sizeof png - 1, "1048576 x 1048576");
}

/* What a page shows: near the original, the same bytes each time. */
static void test_encode_jpeg(void **state) {
  (void)state;
  enum { H = 24, W = 40 };
  uint8_t pixels[H * W * 3], *jpeg, *again;
  for (int i = 0; i < H * W; ++i)
    for (int c = 0; c < 3; ++c)
      pixels[3 * i + c] = (uint8_t)(60 + 2 * (i / W) + (c + 1) * (i % W));
  size_t bytes, again_bytes;
  assert_int_equal(tr_image_encode_jpeg(pixels, H, W, 3, 95, &jpeg, &bytes), TR_OK);
  assert_int_equal(tr_image_encode_jpeg(pixels, H, W, 3, 95, &again, &again_bytes), TR_OK);
  assert_int_equal(bytes, again_bytes);
  assert_memory_equal(jpeg, again, bytes);
  assert_memory_equal(jpeg, "\xff\xd8\xff", 3);
  if (tr_image_jpeg_decoder()) {
    tr_image image;
    assert_int_equal(tr_image_decode(jpeg, bytes, "a page's picture", 3, &image), TR_OK);
    assert_int_equal(image.h, H);
    assert_int_equal(image.w, W);
    for (size_t i = 0; i < sizeof pixels; ++i)
      assert_in_range(image.pixels[i], pixels[i] - 12, pixels[i] + 12);
    tr_image_free(&image);
  }
  free(jpeg);
  free(again);
  assert_int_equal(tr_image_encode_jpeg(pixels, H, W, 4, 95, &jpeg, &bytes), TR_EINVAL);
  assert_int_equal(tr_image_encode_jpeg(pixels, H, W, 3, 0, &jpeg, &bytes), TR_EINVAL);
  assert_null(jpeg);
}

static void test_write_and_read_back(void **state) {
  (void)state;
  char folder[] = "/tmp/test_image.XXXXXX", path[64];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/out.png", folder);
  uint8_t pixels[23 * 31 * 3];
  for (size_t i = 0; i < sizeof pixels; ++i)
    pixels[i] = (uint8_t)(i * i / 7 + i);
  for (int channels = 1; channels <= 3; channels += 2) {
    tr_image image;
    assert_int_equal(tr_image_write_png(path, pixels, 23, 31, channels), TR_OK);
    assert_int_equal(tr_image_read(path, channels, &image), TR_OK);
    assert_int_equal(image.h, 23);
    assert_int_equal(image.w, 31);
    assert_memory_equal(image.pixels, pixels, (size_t)(23 * 31 * channels));
    tr_image_free(&image);
  }
  assert_int_equal(tr_image_write_png(path, pixels, 0, 31, 3), TR_EINVAL);
  assert_int_equal(tr_image_write_png(path, pixels, 23, 31, 4), TR_EINVAL);
  assert_int_equal(tr_image_write_png("/nonexistent/out.png", pixels, 23, 31, 3), TR_EIO);
  assert_error_says("/nonexistent/out.png");
  tr_strings left = {0};
  assert_int_equal(tr_folder_list(folder, &left), TR_OK);
  assert_int_equal(left.count, 1); /* no temporary file stays */
  tr_strings_free(&left);
  unlink(path);
  rmdir(folder);
}

static void test_mvtec_where_present(void **state) {
  (void)state;
  const char *const below[] = {"mvtec/bottle/test/good/000.png", "mvtec/bottle/test/broken_large/000.png",
                               "mvtec/bottle/ground_truth/broken_large/000_mask.png"};
  for (size_t i = 0; i < 3; ++i) {
    const char *path = golden_external("TOTALRECALL_DATA", "data", below[i]);
    if (!path)
      skip();
    tr_image image;
    assert_int_equal(tr_image_read(path, i == 2 ? 1 : 3, &image), TR_OK);
    assert_int_equal(image.h, 900);
    assert_int_equal(image.w, 900);
    bool black = false, white = false;
    for (int p = 0; i == 2 && p < 900 * 900; ++p) {
      assert_true(image.pixels[p] == 0 || image.pixels[p] == 255);
      black |= image.pixels[p] == 0;
      white |= image.pixels[p] == 255;
    }
    assert_true(i != 2 || (black && white));
    tr_image_free(&image);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_kind_equals_pil),
      cmocka_unit_test(test_cut_short),
      cmocka_unit_test(test_damaged_png),
      cmocka_unit_test(test_jpeg_without_its_middle),
      cmocka_unit_test(test_not_an_image),
      cmocka_unit_test(test_missing_file),
      cmocka_unit_test(test_huge_bmp),
      cmocka_unit_test(test_huge_jpeg),
      cmocka_unit_test(test_huge_png),
      cmocka_unit_test(test_write_and_read_back),
      cmocka_unit_test(test_encode_jpeg),
      cmocka_unit_test(test_mvtec_where_present),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
