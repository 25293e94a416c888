/* How fast this machine is, measured in about a second on small pieces of the real work, for the seconds of a plan. */
#ifndef TR_HARNESS_PROFILE_H
#define TR_HARNESS_PROFILE_H

#include "host/harness/plan.h"

/* Rates of the whole device, all lanes together. */
typedef struct tr_profile {
  double decode_pixels;   /* decoded and resized pixels of source images per second */
  double backbone_macs;   /* multiply-adds of convolutions per second */
  double nearest_macs;    /* multiply-adds of bank searches per second */
  double coreset_updates; /* (row, pick) pairs per second; the selection skips most of them in large sets */
  double metric_pixels;   /* pixels of maps upsampled, smoothed and evaluated per second */
} tr_profile;

tr_status tr_profile_measure(tr_device *device, tr_profile *out);

typedef struct tr_group_seconds {
  double decode, backbone, coreset, nearest, metrics, total;
} tr_group_seconds;

tr_group_seconds tr_profile_group(const tr_profile *profile, const tr_group *group);

#endif
