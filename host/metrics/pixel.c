/* All pixel metrics in one sorted pass.
 *
 * Each pixel's score is sorted together with a code that says all the sweep has to know, so that the sweep reads memory in order:
 *   bit 31          the resized mask is exactly 1: a positive of the ROC curves
 *   the lowest bits the number of pixels of the region it lies in, 0 outside (as many bits as h * w needs)
 *   between them    a slot: GOOD, BLEMISHED (mask above 0 somewhere, but no region), or FIRST_IMAGE + image for an image with regions
 * The sweep is serial; its sums therefore have one order. Per-image curves (pro_anomalous) end their groups late: when a pixel
 * of the image comes up in a later group.
 *
 * Memory: 16 bytes a pixel on the device (scores, codes, the sort's scratch); on the host a curve for each image, and a work area of a
 * labelled mask per lane, later of one stretch of sorted pixels.
 *
 * Measured on 583 images of 224 x 224 (29 M pixels, 392 with regions), 2 cores of an EPYC: 0.4 s in all (0.6 s when the memory is
 * touched for the first time), 0.15 s of it the sort, 0.19 s the sweep; on 1 thread 0.6 s. Codes in place of pixel numbers are
 * what makes the sweep cheap: nothing but the images' curves (56 bytes each) is read out of order. */
#include "host/base/status.h"
#include "host/metrics/metrics.h"
#include "host/metrics/sweep.h"
#include "kernels/sort_scan.h"

#include <math.h>
#include <stdlib.h>

enum { GOOD, BLEMISHED, FIRST_IMAGE };
enum { STRETCH = 1 << 16, LINE = 64 };
static const uint32_t EXACT = 1u << 31;

typedef struct image_curve {
  tr_pro pro;
  uint32_t group;           /* the last group that a pixel of the image was in */
  uint32_t regions, inside; /* regions of the image, and pixels in them */
} image_curve;

typedef struct pass {
  tr_device *device;
  const float *maps;
  const float *const *masks;
  size_t n, image_pixels, pixels;
  int h, w, slot_shift;
  float *keys;        /* device */
  uint32_t *codes;    /* device */
  void *scratch;      /* device */
  image_curve *slots; /* host, [FIRST_IMAGE + n]; the first two are never read */
  char *work;         /* host */
  size_t lane_bytes;
} pass;

/* Pixels of a 2 x 2 block touch one another, so a block has part in one region at most. */
static size_t most_regions(int h, int w) {
  return ((size_t)h + 1) / 2 * (((size_t)w + 1) / 2);
}

static size_t lane_bytes(int h, int w) {
  size_t bytes = ((size_t)h * (size_t)w + most_regions(h, w) + 1) * sizeof(uint32_t);
  return (bytes + LINE - 1) / LINE * LINE;
}

static size_t work_bytes(const tr_device *device, int h, int w) {
  size_t lanes = (size_t)tr_device_lanes(device) * lane_bytes(h, w), stretch = STRETCH * (sizeof(float) + sizeof(uint32_t));
  return lanes > stretch ? lanes : stretch;
}

size_t tr_pixel_metrics_bytes(const tr_device *device, size_t n, int h, int w) {
  size_t pixels = n * (size_t)h * (size_t)w;
  return pixels * (sizeof(float) + sizeof(uint32_t)) + tr_sort_scan_scratch(device, pixels) +
         (n + FIRST_IMAGE) * sizeof(image_curve) + work_bytes(device, h, w);
}

static tr_status check_sizes(pass *s) {
  if (s->h <= 0 || s->w <= 0 || s->n > UINT32_MAX || s->image_pixels > UINT32_MAX / (s->n ? s->n : 1))
    return tr_fail(TR_EINVAL, "pixel metrics: expected fewer than 2^32 pixels in all, found %zu images of %d x %d", s->n, s->h,
                   s->w);
  while (s->image_pixels >> s->slot_shift)
    ++s->slot_shift;
  size_t slots = s->slot_shift < 31 ? (size_t)1 << (31 - s->slot_shift) : 0, most = slots > FIRST_IMAGE ? slots - FIRST_IMAGE : 0;
  if (s->n > most)
    return tr_fail(TR_EINVAL, "pixel metrics: expected at most %zu images of %d x %d, found %zu", most, s->h, s->w, s->n);
  return TR_OK;
}

/* Turns labels into codes. `sizes`: room for the pixel counts of all regions. */
static tr_status encode_image(pass *s, size_t image, uint32_t *codes, uint32_t *sizes) {
  const float *mask = s->masks[image];
  bool blemished = false;
  for (size_t p = 0; p < s->image_pixels; ++p) {
    if (!(mask[p] >= 0 && mask[p] <= 1))
      return tr_fail(TR_EINVAL, "pixel metrics: mask of image %zu, pixel (%zu, %zu): expected a value in [0, 1], found %g", image,
                     p / (size_t)s->w, p % (size_t)s->w, (double)mask[p]);
    blemished |= mask[p] > 0;
  }
  uint32_t regions;
  TR_TRY(tr_label_regions(mask, s->h, s->w, 0.5f, codes, &regions));
  for (uint32_t r = 0; r <= regions; ++r)
    sizes[r] = 0;
  for (size_t p = 0; p < s->image_pixels; ++p)
    ++sizes[codes[p]];
  uint32_t outside = sizes[0];
  sizes[0] = 0;
  uint32_t slot = (regions ? FIRST_IMAGE + (uint32_t)image : blemished ? BLEMISHED : GOOD) << s->slot_shift;
  for (size_t p = 0; p < s->image_pixels; ++p)
    codes[p] = sizes[codes[p]] | slot | (mask[p] == 1 ? EXACT : 0);
  s->slots[FIRST_IMAGE + image] =
      (image_curve){.pro = tr_pro_start(outside), .regions = regions, .inside = (uint32_t)s->image_pixels - outside};
  return TR_OK;
}

static tr_status load_images(void *context, size_t first, size_t count, int lane) {
  pass *s = context;
  uint32_t *codes = (uint32_t *)(void *)(s->work + (size_t)lane * s->lane_bytes);
  for (size_t image = first; image < first + count; ++image) {
    size_t start = image * s->image_pixels, bytes = s->image_pixels * sizeof(uint32_t);
    TR_TRY(tr_device_copy(s->device, s->keys + start, s->maps + start, bytes));
    if (!s->masks[image]) {
      TR_TRY(tr_device_zero(s->device, s->codes + start, bytes)); /* GOOD */
      continue;
    }
    TR_TRY(encode_image(s, image, codes, codes + s->image_pixels));
    TR_TRY(tr_device_upload(s->device, s->codes + start, codes, bytes));
    TR_TRY(tr_device_sync(s->device)); /* before the lane's memory is written again */
  }
  return TR_OK;
}

typedef struct sweep {
  tr_roc all, anomalous;
  tr_pro pro;
  float key;      /* of the group; NaN before the first */
  uint32_t group; /* counts from 1 */
} sweep;

static void end_group(sweep *sums) {
  tr_roc_end_group(&sums->all);
  tr_roc_end_group(&sums->anomalous);
  tr_pro_end_group(&sums->pro);
}

static void sweep_stretch(const pass *s, sweep *sums, const float *keys, const uint32_t *codes, size_t count) {
  const uint32_t size_bits = (1u << s->slot_shift) - 1;
  for (size_t i = 0; i < count; ++i) {
    if (keys[i] != sums->key) {
      end_group(sums);
      sums->key = keys[i];
      ++sums->group;
    }
    uint32_t code = codes[i], size = code & size_bits, slot = (code & ~EXACT) >> s->slot_shift, positive = code >> 31;
    sums->all.group_positives += positive;
    sums->all.group_negatives += !positive;
    sums->anomalous.group_positives += positive;
    sums->anomalous.group_negatives += !positive && slot != GOOD;
    image_curve *image = &s->slots[slot];
    if (image->group != sums->group) {
      tr_pro_end_group(&image->pro);
      image->group = sums->group;
    }
    if (size) {
      sums->pro.overlap += 1.0 / size;
      image->pro.overlap += 1.0 / size;
    } else {
      ++sums->pro.passed;
      ++image->pro.passed;
    }
  }
}

static tr_status sweep_all(pass *s, sweep *sums) {
  float *keys = (float *)(void *)s->work;
  uint32_t *codes = (uint32_t *)(void *)(keys + STRETCH);
  for (size_t first = 0; first < s->pixels; first += STRETCH) {
    size_t count = s->pixels - first < STRETCH ? s->pixels - first : STRETCH;
    TR_TRY(tr_device_download(s->device, keys, s->keys + first, count * sizeof *keys));
    TR_TRY(tr_device_download(s->device, codes, s->codes + first, count * sizeof *codes));
    TR_TRY(tr_device_sync(s->device));
    sweep_stretch(s, sums, keys, codes, count);
  }
  end_group(sums);
  return TR_OK;
}

/* Images with a region but without a pixel outside it have no curve and do not count. */
static double mean_over_images(const pass *s) {
  double sum = 0;
  size_t images = 0;
  for (size_t i = 0; i < s->n; ++i) {
    image_curve *image = &s->slots[FIRST_IMAGE + i];
    tr_pro_end_group(&image->pro);
    double value = tr_pro_value(&image->pro, image->regions);
    if (isnan(value))
      continue;
    sum += value;
    ++images;
  }
  return images ? sum / (double)images : NAN;
}

/* Called when the sorted keys show that there is such a score. */
static tr_status fail_unless_finite(pass *s) {
  float *map = (float *)(void *)s->work;
  for (size_t image = 0; image < s->n; ++image) {
    TR_TRY(tr_device_download(s->device, map, s->maps + image * s->image_pixels, s->image_pixels * sizeof *map));
    TR_TRY(tr_device_sync(s->device));
    for (size_t p = 0; p < s->image_pixels; ++p)
      if (!isfinite(map[p]))
        return tr_fail(TR_EINVAL, "pixel metrics: map of image %zu, pixel (%zu, %zu): expected a finite score, found %g", image,
                       p / (size_t)s->w, p % (size_t)s->w, (double)map[p]);
  }
  return TR_OK;
}

/* Sorted, infinities and NaNs stand at the ends. */
static tr_status check_finite(pass *s) {
  float ends[2];
  TR_TRY(tr_device_download(s->device, &ends[0], s->keys, sizeof *ends));
  TR_TRY(tr_device_download(s->device, &ends[1], s->keys + s->pixels - 1, sizeof *ends));
  TR_TRY(tr_device_sync(s->device));
  return isfinite(ends[0]) && isfinite(ends[1]) ? TR_OK : fail_unless_finite(s);
}

static tr_status compute(pass *s, tr_pixel_metrics *out) {
  TR_TRY(tr_device_for_chunks(s->device, s->n, load_images, s));
  TR_TRY(tr_sort_scan(s->device, &(tr_sort_scan_args){s->pixels, s->keys, s->codes, s->scratch}));
  TR_TRY(check_finite(s));
  uint64_t inside = 0, regions = 0;
  for (size_t i = 0; i < s->n; ++i) {
    inside += s->slots[FIRST_IMAGE + i].inside;
    regions += s->slots[FIRST_IMAGE + i].regions;
  }
  sweep sums = {.key = NAN, .pro = tr_pro_start(s->pixels - inside)};
  TR_TRY(sweep_all(s, &sums));
  *out = (tr_pixel_metrics){.auroc = tr_roc_area(&sums.all),
                            .auroc_anomalous = tr_roc_area(&sums.anomalous),
                            .pro = tr_pro_value(&sums.pro, regions),
                            .pro_anomalous = mean_over_images(s),
                            .regions = regions,
                            .defect_pixels = inside,
                            .pixels = s->pixels};
  return TR_OK;
}

static tr_status allocate(pass *s) {
  s->lane_bytes = lane_bytes(s->h, s->w);
  s->slots = calloc(s->n + FIRST_IMAGE, sizeof *s->slots);
  s->work = aligned_alloc(LINE, work_bytes(s->device, s->h, s->w));
  if (!s->slots || !s->work)
    return tr_fail(TR_ENOMEM, "pixel metrics: no memory for the curves of %zu images", s->n);
  void *keys, *codes;
  TR_TRY(tr_device_alloc(s->device, s->pixels * sizeof *s->keys, &keys));
  s->keys = keys;
  TR_TRY(tr_device_alloc(s->device, s->pixels * sizeof *s->codes, &codes));
  s->codes = codes;
  return tr_device_alloc(s->device, tr_sort_scan_scratch(s->device, s->pixels), &s->scratch);
}

tr_status tr_pixel_metrics_compute(tr_device *device, const float *maps, const float *const *masks, size_t n, int h, int w,
                                   tr_pixel_metrics *out) {
  *out = (tr_pixel_metrics){.auroc = NAN, .auroc_anomalous = NAN, .pro = NAN, .pro_anomalous = NAN};
  pass s = {.device = device, .maps = maps, .masks = masks, .n = n, .h = h, .w = w, .image_pixels = (size_t)h * (size_t)w};
  TR_TRY(check_sizes(&s));
  if (n == 0)
    return TR_OK;
  s.pixels = n * s.image_pixels;
  tr_status status = allocate(&s);
  if (status == TR_OK)
    status = compute(&s, out);
  tr_device_free(device, s.scratch);
  tr_device_free(device, s.codes);
  tr_device_free(device, s.keys);
  free(s.work);
  free(s.slots);
  return status;
}
