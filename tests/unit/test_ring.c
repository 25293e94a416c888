/* The ring of decoded images on every device: order, contents, reuse of its slots, failures. The emulated GPU does queued work late
 * (TR_EMU_SEED): a wait that is missing gives another image's pixels. */
#include "datasets/image.h"
#include "host/base/progress.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/harness/ring.h"
#include "tests/kernels/devices.h"
#include "tests/status.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { IMAGES = 60, MOST_SIDE = 23, IMAGE_BYTES = MOST_SIDE * MOST_SIDE * 3 };

static char folder[] = "/tmp/totalrecall_ring_XXXXXX";
static tr_sample samples[IMAGES];

static int side_of(size_t i) {
  return 7 + (int)(i * 5 % 17); /* up to MOST_SIDE */
}

static uint8_t value_of(size_t image, size_t byte) {
  return (uint8_t)(image * 37 + byte * 11 + byte / 100);
}

static void make_images(void) {
  assert_non_null(mkdtemp(folder));
  for (size_t i = 0; i < IMAGES; ++i) {
    uint8_t pixels[IMAGE_BYTES];
    int side = side_of(i);
    for (size_t j = 0; j < (size_t)(side * side * 3); ++j)
      pixels[j] = value_of(i, j);
    samples[i].path = tr_format("%s/%02zu.png", folder, i);
    assert_int_equal(tr_image_write_png(samples[i].path, pixels, side, side, 3), TR_OK);
  }
}

static void remove_images(void) {
  for (size_t i = 0; i < IMAGES; ++i) {
    unlink(samples[i].path);
    free(samples[i].path);
  }
  rmdir(folder);
}

typedef struct taking {
  tr_device *device;
  tr_ring *ring;
  uint8_t *kept; /* device, [IMAGES, IMAGE_BYTES] */
  size_t count, taken;
} taking;

/* Runs on any of the pool's threads, where cmocka's assertions must not be. */
static tr_status take_all(void *context) {
  taking *t = context;
  for (; t->taken < t->count; ++t->taken) {
    tr_ring_image image;
    TR_TRY(tr_ring_take(t->ring, &image));
    if (image.h != side_of(t->taken) || image.w != side_of(t->taken))
      return tr_fail(TR_EINTERNAL, "image %zu is %dx%d", t->taken, image.w, image.h);
    TR_TRY(tr_device_copy(t->device, t->kept + t->taken * IMAGE_BYTES, image.pixels, (size_t)(image.h * image.w * 3)));
    TR_TRY(tr_ring_let_go(t->ring));
  }
  return TR_OK;
}

static taking start(int threads) {
  taking t = {.device = test_device_open(threads), .count = IMAGES};
  t.kept = device_array(t.device, (size_t)IMAGES * IMAGE_BYTES);
  assert_int_equal(tr_ring_create(t.device, IMAGE_BYTES, &t.ring), TR_OK);
  return t;
}

static void end(taking *t) {
  tr_ring_destroy(t->ring);
  tr_device_free(t->device, t->kept);
  tr_device_close(t->device);
}

static void assert_kept(const taking *t) {
  uint8_t *host = malloc((size_t)IMAGES * IMAGE_BYTES);
  assert_non_null(host);
  device_read(t->device, host, t->kept, (size_t)IMAGES * IMAGE_BYTES);
  for (size_t i = 0; i < t->taken; ++i)
    for (size_t j = 0; j < (size_t)(side_of(i) * side_of(i) * 3); ++j)
      if (host[i * IMAGE_BYTES + j] != value_of(i, j))
        fail_msg("image %zu, byte %zu: %d, expected %d", i, j, host[i * IMAGE_BYTES + j], value_of(i, j));
  free(host);
}

static void test_order(void **state) {
  (void)state;
  for (int threads = 1; threads <= 4; ++threads) {
    taking t = start(threads);
    assert_true(tr_ring_slots(t.device) < IMAGES); /* else no slot is used twice */
    for (int run = 0; run < 2; ++run) {
      t.taken = 0;
      assert_ok(tr_ring_run(t.ring, samples, IMAGES, take_all, &t));
      assert_int_equal(t.taken, IMAGES);
      assert_kept(&t);
      assert_int_equal(tr_device_zero(t.device, t.kept, (size_t)IMAGES * IMAGE_BYTES), TR_OK);
    }
    end(&t);
  }
}

/* A taker that stops early leaves what was decoded ahead. */
static void test_stops_early(void **state) {
  (void)state;
  taking t = start(3);
  t.count = 20;
  assert_ok(tr_ring_run(t.ring, samples, IMAGES, take_all, &t));
  assert_int_equal(t.taken, 20);
  assert_kept(&t);
  t.taken = 0;
  t.count = 5;
  assert_ok(tr_ring_run(t.ring, samples, 5, take_all, &t));
  assert_kept(&t);
  t.taken = 0;
  t.count = 1;
  assert_int_equal(tr_ring_run(t.ring, NULL, 0, take_all, &t), TR_EINTERNAL);
  end(&t);
}

/* The error is that of the first bad image in order, whoever met one first; the images before it are there. */
static void test_bad_images(void **state) {
  (void)state;
  tr_sample bad[IMAGES];
  memcpy(bad, samples, sizeof bad);
  char missing[] = "/nowhere/a.png", other[] = "/nowhere/b.png";
  bad[31].path = missing;
  bad[33].path = other;
  bad[32].path = other;
  for (int threads = 1; threads <= 4; ++threads) {
    taking t = start(threads);
    assert_int_equal(tr_ring_run(t.ring, bad, IMAGES, take_all, &t), TR_EIO);
    assert_non_null(strstr(tr_last_error(), missing));
    assert_int_equal(t.taken, 31);
    assert_kept(&t);
    end(&t);
  }
}

static void test_image_grew(void **state) {
  (void)state;
  taking t = start(2);
  tr_ring *small;
  assert_int_equal(tr_ring_create(t.device, 22 * 22 * 3, &small), TR_OK);
  tr_ring *ring = t.ring;
  t.ring = small;
  size_t first = 0;
  while (side_of(first) != MOST_SIDE)
    ++first;
  assert_int_equal(tr_ring_run(small, samples, IMAGES, take_all, &t), TR_EIO);
  assert_non_null(strstr(tr_last_error(), samples[first].path));
  assert_int_equal(t.taken, first);
  tr_ring_destroy(small);
  t.ring = ring;
  end(&t);
}

static void test_cancel(void **state) {
  (void)state;
  taking t = start(2);
  tr_cancel_request();
  assert_int_equal(tr_ring_run(t.ring, samples, IMAGES, take_all, &t), TR_ECANCELED);
  tr_cancel_clear();
  assert_int_equal(t.taken, 0);
  end(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_order),      cmocka_unit_test(test_stops_early), cmocka_unit_test(test_bad_images),
      cmocka_unit_test(test_image_grew), cmocka_unit_test(test_cancel),
  };
  make_images();
  int failures = run_on_devices("ring of images", tests, NULL, NULL);
  remove_images();
  return failures;
}
