/* Sums of a sweep over scores from the highest to the lowest, equal scores taken as one group: what an ROC area and an
 * AU-PRO need to know. Inline, because one sweep feeds several of them for each of millions of pixels. Internal to metrics. */
#ifndef TR_METRICS_SWEEP_H
#define TR_METRICS_SWEEP_H

#include "host/totalrecall.h"

/* ROC. The caller counts group_positives and group_negatives, then ends the group. */
typedef struct tr_roc {
  uint64_t positives, negatives; /* of the groups that have ended */
  uint64_t group_positives, group_negatives;
  uint64_t lost_twice; /* pairs of a positive and a higher negative, counted twice, and tied pairs, counted once */
} tr_roc;

static inline void tr_roc_end_group(tr_roc *roc) {
  roc->lost_twice += roc->group_positives * (2 * roc->negatives + roc->group_negatives);
  roc->positives += roc->group_positives;
  roc->negatives += roc->group_negatives;
  roc->group_positives = roc->group_negatives = 0;
}

/* After the last group. NaN without positives or negatives. */
double tr_roc_area(const tr_roc *roc);

/* AU-PRO: the curve of the mean overlap of the regions over the false positive rate, up to a rate of TR_PRO_LIMIT (Bergmann et
 * al. 2020, IJCV, section 5.3). Seen from one pixel of a region of s pixels: it lifts its region's overlap by 1/s, linearly over its
 * group's false positives, and what it lifted stays up until the limit. So the area is a sum over the regions' pixels. */
#define TR_PRO_LIMIT 0.3

typedef struct tr_pro {
  double limit;    /* false positives at which the area ends; need not be whole */
  uint64_t before; /* false positives of the groups that have ended */
  uint64_t passed; /* the same with the group so far: the caller adds one for a pixel outside all regions */
  double overlap;  /* of the group: the caller adds 1/s for a pixel of a region of s pixels */
  double area;     /* in regions times false positives */
} tr_pro;

/* What one unit of overlap, gained while the false positives go from `before` to `passed`, adds to the area. */
static inline double tr_pro_share(const tr_pro *pro) {
  double before = (double)pro->before, passed = (double)pro->passed;
  if (passed <= pro->limit)
    return pro->limit - 0.5 * (before + passed);
  if (before >= pro->limit)
    return 0;
  /* The limit cuts the segment: the curve is followed on its straight line up to there. */
  return (pro->limit - before) * (pro->limit - before) / (2 * (passed - before));
}

static inline void tr_pro_end_group(tr_pro *pro) {
  if (pro->overlap > 0) {
    pro->area += pro->overlap * tr_pro_share(pro);
    pro->overlap = 0;
  }
  pro->before = pro->passed;
}

/* `negatives`: the pixels outside all regions. */
tr_pro tr_pro_start(uint64_t negatives);
/* After the last group. NaN without regions or without negatives. */
double tr_pro_value(const tr_pro *pro, uint64_t regions);

/* Scores with their labels, highest score first. */
typedef struct tr_scored {
  float score;
  bool positive;
} tr_scored;

/* malloc'd. EINVAL names the score that is not a finite number; `what` says what it is for. */
tr_status tr_scored_sort(const char *what, const float *scores, const uint8_t *positive, size_t n, tr_scored **out);

#endif
