/* A detector's memory bank grows by images that it has not seen: greedy selection goes on with them from where the bank is.
 *
 * The bank's rows count as picked, the candidates are the new images' patches, projected by the same matrix (the seed is in the file), and
 * each pick is the candidate farthest from all rows. What holds of the covering radius, as the selection measures (host/methods/cover.h):
 *  - every old patch stays within the bank's own radius r of a row, every new one within s, which is measured exactly: there are no starting
 *    points here, so the reach is that to the rows alone. All patches are within max(r, s), which the new file carries;
 *  - against the best choice of m more rows, with the bank's as they are: if that leaves the new patches within R, s <= 2 R. Gonzalez's
 *    argument (Theoretical Computer Science 38, 1985) with centres given: m + 1 candidates are pairwise and from the bank at least s apart; if R < s,
 *    each of them has its centre among the m new ones, so two share one, and s <= 2 R;
 *  - against fitting all images at once with as many rows: with the bank's radius as goal (the default) the new patches are covered as
 *    the old ones are and all picks are at least r from all rows. Old rows are that far from each other too, as far as they were selected by their
 *    distances to rows (bank_merge.h has the reservation), so the k rows of the new bank are pairwise at least r apart and no choice of fewer
 *    rows than k covers all patches within less than r / 2: the new bank is within twice the best of k - 1 rows. A smaller goal covers the new
 *    images more finely than the old ones, and nothing is said of the old ones' part. This is where it differs from the doubling algorithm of
 *    Charikar, Chekuri, Feder, Motwani (SIAM J. Computing 33, 2004), which keeps k fixed while data come in, by dropping rows, for a factor
 *    of 8: here rows are never dropped, and the bank grows as far as new images bring what is new. */
#ifndef TR_DETECTOR_APPEND_H
#define TR_DETECTOR_APPEND_H

#include "host/detector/bank_file.h"
#include "host/detector/fit.h"

typedef struct tr_append_options {
  tr_device *device;
  const char *model; /* the detector; of patchcore, with greedily selected rows */
  const char *data;  /* folder of new nominal images: tr_nominal_list() */
  const char *weights;
  size_t memory_limit;  /* bytes; 0: none */
  double quantile;      /* of the threshold, which is made anew; 0: the new detector has none */
  const char *held_out; /* as of a fit: images for it; NULL: some of `data` */
  tr_bank_goal goal;    /* for the bank of all images; all 0: the bank's own covering radius */
  tr_progress *progress;
} tr_append_options;

typedef struct tr_append_plan {
  tr_bank_file bank;
  tr_fit_options fit; /* the bank's setting, on the new images */
  tr_fit_plan images;
  tr_bank_goal goal;
  tr_keep keep; /* of the new images' features; projected ones with those of the bank's rows */
  tr_method_needs needs;
  size_t base_bytes, peak_bytes; /* resident now, and most */
} tr_append_plan;

/* EINVAL: a bank that cannot grow (SPADE and PaDiM have none; random, learned or imported rows, or all), images of another size, a file of
 * before covering radii were kept and no goal; ENOMEM: over the limit in any way, and what would fit. Errors of files name them. */
tr_status tr_append_prepare(const tr_append_options *options, tr_append_plan *out);
void tr_append_plan_free(tr_append_plan *plan);

/* Several lines of text; malloc'd. */
tr_status tr_append_plan_text(const tr_append_options *options, const tr_append_plan *plan, char **out);

/* Writes `path`, whole or not at all, which may be the detector itself. Tells through options->progress how many rows came, the covering
 * radius, and what became of a threshold. */
tr_status tr_append_run(const tr_append_options *options, const tr_append_plan *plan, const char *path);

#endif
