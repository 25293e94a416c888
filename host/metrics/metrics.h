/* Metrics: image AUROC, pixel AUROC, PRO, F1. Exact: ties are merged, counts are 64 bit, sums are double. A metric that is not
 * defined (one class only, no region) is NaN here and null in results. */
#ifndef TR_METRICS_H
#define TR_METRICS_H

#include "kernels/device.h"

/* Area under the ROC curve, ties counted half (Mann-Whitney). NaN without positives or negatives. */
tr_status tr_auroc(const float *scores, const uint8_t *positive, size_t n, double *auroc);

/* Fewest FP + FN at the threshold that maximises F1 (score >= threshold is positive); of several such thresholds the highest. */
typedef struct tr_f1 {
  double f1, threshold;
  size_t false_positives, false_negatives;
} tr_f1;
tr_status tr_best_f1(const float *scores, const uint8_t *positive, size_t n, tr_f1 *out);

/* 8-connected regions of mask > threshold, numbered from 1 in raster order of their first pixel; 0 = background. */
tr_status tr_label_regions(const float *mask, int h, int w, float threshold, uint32_t *labels, uint32_t *regions);

typedef struct tr_pixel_metrics {
  double auroc;                /* all images; positive where the resized mask is exactly 1 (official astype(int)) */
  double auroc_anomalous;      /* images whose resized mask has a sum > 0 only */
  double pro;                  /* AU-PRO over all images, regions of mask > 0.5, limit 0.3, divided by it (Bergmann et al. 2020) */
  double pro_anomalous;        /* mean over images with a region of the AU-PRO of that image alone (the released csv's statistic
                                  as far as it can be told: official-code reading notes, section 7) */
  size_t regions, defect_pixels, pixels;
} tr_pixel_metrics;

/* maps: device, [n, h, w]; masks: host, [n, h, w] in [0, 1] (resized values / 255), or NULL for a good image at masks[i].
 * Maps must be finite. Peak extra memory is tr_pixel_metrics_bytes(). */
tr_status tr_pixel_metrics_compute(tr_device *device, const float *maps, const float *const *masks, size_t n, int h, int w,
                                   tr_pixel_metrics *out);
size_t tr_pixel_metrics_bytes(const tr_device *device, size_t n, int h, int w);

#endif
