/* What a plan will take: the seconds from small pieces of the real work measured now, the bytes from the forecasts; and the plan
 * as text. */
#ifndef TR_HARNESS_PROFILE_H
#define TR_HARNESS_PROFILE_H

#include "host/harness/plan.h"

/* Rates of the whole device, all lanes together; 0: not known. */
typedef struct tr_profile {
  double decode_pixels;  /* source pixels decoded and resized per second */
  double *backbone_macs; /* [plan->weights_count]: multiply-adds per second of each backbone */
  double search_macs;    /* multiply-adds of bank searches per second, which other methods' products come near */
  double metric_pixels;  /* pixels of anomaly maps smoothed and evaluated per second */
  double seconds;        /* that measuring took */
  bool decodes_ahead;    /* while the device works (host/harness/ring.h) */
} tr_profile;

/* Takes a second or two. Backbones without weights stay unknown. */
tr_status tr_profile_measure(tr_device *device, const tr_plan *plan, tr_profile *out);
void tr_profile_free(tr_profile *profile);

/* Seconds expected of a group's parts; 0 where the rate is not known. */
typedef struct tr_group_seconds {
  double decode, backbone, fit, score, metrics; /* fit, score: of the method */
  double total;                                 /* less than their sum where decoding goes on beside the rest */
} tr_group_seconds;
tr_group_seconds tr_profile_group(const tr_profile *profile, const tr_plan *plan, const tr_group *group);

/* A tree: groups, what their runs share, bytes and seconds. malloc'd. */
tr_status tr_plan_text(const tr_plan *plan, const tr_profile *profile, char **out);

#endif
