/* Several detectors' banks as one: the union of their rows, or a greedy selection of the union.
 *
 * What holds of the covering radius, in the metric in which greedy selection measures (features projected by the seed's matrix; it is the same
 * in all banks, which have one seed): every training patch is within its own bank's radius r_i of a row of the union. A selection of the union
 * is Gonzalez's farthest-point clustering (Theoretical Computer Science 38, 1985) of its rows, begun with the first, and leaves none of them
 * farther than s from a selected one. So all patches are within r = max r_i + s, which the merged file carries.
 *
 * Against the best choice of k rows for all patches, whose radius is R: s <= 2 R, as k + 1 rows pairwise at least s apart cannot all have
 * different ones of k centres within R. Likewise r_i <= 2 R where bank i was selected greedily with at least k rows; then r <= 4 R. This is
 * the two-round composition of core-sets: Indyk, Mahabadi, Mahdian, Mirrokni (PODS 2014) for greedy core-sets; Malkomes, Kusner, Chen,
 * Weinberger, Moseley (NIPS 2015) for k-center and the factor 4. One reservation: the official selection counts a patch as near, too, that is
 * near the mean of ten starting points, which are no rows. Of a patch that only they cover r_i says the true distance (host/methods/cover.h), and
 * 2 R is no bound then; with more than a few rows there is no such patch. With fewer rows than k in a bank r still holds, the factor does not.
 */
#ifndef TR_DETECTOR_BANK_MERGE_H
#define TR_DETECTOR_BANK_MERGE_H

#include "host/detector/bank_file.h"

typedef struct tr_merge_banks_options {
  tr_device *device;
  const char *const *
      models; /* two or more; where they are the parts of a fit (tr_about.shard), all of it, in any order: the file is the same */
  size_t count;
  tr_bank_goal goal; /* all 0: the union */
  tr_progress *progress;
} tr_merge_banks_options;

typedef struct tr_merged_banks {
  size_t images, union_rows, rows;
  double cover;        /* NaN: not known of one of them */
  bool lost_threshold; /* one had a threshold, which is of other rows: the merged one has none */
} tr_merged_banks;

/* EINVAL: banks that differ in more than their images, with what differs; rows that are no patches where they are to be selected; parts of
 * a fit that are missing, twice, or of different fits. */
tr_status tr_banks_merge(const tr_merge_banks_options *options, const char *path, tr_merged_banks *out);

#endif
