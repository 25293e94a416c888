/* What this build was linked with or finds, for `info`. */
#ifndef TR_HARNESS_FEATURES_H
#define TR_HARNESS_FEATURES_H

#include <stddef.h>

typedef struct tr_feature {
  const char *name, *version; /* version NULL: missing */
  const char *role;           /* what it does here */
  const char *without;        /* what steps in where it is missing */
} tr_feature;

const tr_feature *tr_features(size_t *count);

#endif
