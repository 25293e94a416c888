/* AU-PRO: start and end of the sum (sweep.h). The rules are those of MVTec's own evaluation: false positives are counted over
 * the defect-free pixels of all images, a pixel is positive when its score lies strictly above the threshold, the curve begins
 * at (0,0) and ends at (1,1). With every distinct score as a threshold the curve's corners are the ends of the groups of equal scores. */
#include "host/metrics/sweep.h"

#include <math.h>

tr_pro tr_pro_start(uint64_t negatives) {
  return (tr_pro){.limit = TR_PRO_LIMIT * (double)negatives};
}

double tr_pro_value(const tr_pro *pro, uint64_t regions) {
  if (regions == 0 || !(pro->limit > 0))
    return NAN;
  return pro->area / (pro->limit * (double)regions);
}
