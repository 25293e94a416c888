/* Metrics: image AUROC, pixel AUROC, PRO, F1. Exact: ties are merged, counts are 64 bit, sums are double. A metric that is not
 * defined (one class only, no region) is NaN here and null in results. */
#ifndef TR_METRICS_H
#define TR_METRICS_H

#include "kernels/device.h"

/* Area under the ROC curve, ties counted half (Mann-Whitney). `positive` is 0 or not 0. NaN without positives or negatives. EINVAL
 * names a score that is not finite. */
tr_status tr_auroc(const float *scores, const uint8_t *positive, size_t n, double *auroc);

/* The threshold that maximises F1 (score >= threshold is positive), of several such thresholds the highest; it has the fewest
 * errors of them. FP + FN are the paper's misclassified images. Without positives f1 and threshold are NaN, the errors 0. */
typedef struct tr_f1 {
  double f1, threshold;
  size_t false_positives, false_negatives;
} tr_f1;
tr_status tr_best_f1(const float *scores, const uint8_t *positive, size_t n, tr_f1 *out);

/* 8-connected regions of mask > threshold, numbered from 1 in raster order of their first pixel; 0 = background. mask and
 * labels are [h, w]; nothing is allocated. */
tr_status tr_label_regions(const float *mask, int h, int w, float threshold, uint32_t *labels, uint32_t *regions);

/* One pass over all pixels of a class's test images, sorted by score (kernels/sort_scan.h). */
typedef struct tr_pixel_metrics {
  double auroc;           /* all images; positive where the resized mask is exactly 1 (official astype(int)) */
  double auroc_anomalous; /* images whose resized mask has a sum > 0 only */
  double pro;             /* AU-PRO over all images, regions of mask > 0.5, limit 0.3, divided by it (Bergmann et al. 2020) */
  double pro_anomalous;   /* mean over images with a region of the AU-PRO of that image alone (the released csv's statistic
                             as far as it can be told: official-code reading notes, section 7) */
  size_t regions, defect_pixels, pixels; /* regions of mask > 0.5, pixels in them, pixels in all */
} tr_pixel_metrics;

/* maps: device, [n, h, w]; masks: host, [n], each [h, w] in [0, 1] (resized values / 255), or NULL for a good image. EINVAL names
 * the image and the pixel of a map value that is not finite or a mask value out of range. Fewer than 2^32 pixels in all, and
 * n + 2 <= 2^(31 - bits of h * w): 32766 images of 224 x 224, 16382 of 320 x 320. */
tr_status tr_pixel_metrics_compute(tr_device *device, const float *maps, const float *const *masks, size_t n, int h, int w,
                                   tr_pixel_metrics *out);
/* What tr_pixel_metrics_compute() asks the device and the host for, in all and at once: about 16 bytes a pixel. */
size_t tr_pixel_metrics_bytes(const tr_device *device, size_t n, int h, int w);

#endif
