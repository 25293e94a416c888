/* Bringing results folders together: those of several machines, or of shards that had a folder each. */
#ifndef TR_HARNESS_MERGE_H
#define TR_HARNESS_MERGE_H

#include "host/base/progress.h"
#include "host/base/text.h"

typedef struct tr_merge_summary {
  size_t files;     /* written */
  size_t lines;     /* in them */
  size_t added;     /* of those: not in `out` before */
  size_t doubles;   /* left out: the same work with the same numbers */
  size_t conflicts; /* the same work with other numbers */
  size_t left_out;  /* torn or unreadable lines */
  size_t scores;    /* files of scores copied */
} tr_merge_summary;

/* Brings <in>/<machine>/<experiment>.jsonl of every folder in `in` together with what `out` holds, and copies the files of
 * <in>/<machine>/scores/ that `out` lacks. What comes out does not depend on the order of the folders: lines are sorted by date, then
 * by their bytes, and of lines of the same work with the same numbers the first stays. Lines are kept as they are, byte for byte.
 * Lines of `bench` are doubles when they are equal byte for byte.
 *
 * Where two lines of the same work have other numbers (tr_result_difference), or two files of scores of one name differ, nobody can tell
 * which is right: each such conflict is reported to the progress with both places, and the file keeps what it had in `out`. Torn and
 * unreadable lines are left out with a warning.
 *
 * EIO: a folder that is not there, or a file of `out` that a run has open. */
tr_status tr_results_merge(const char *out, const tr_strings *in, tr_progress *progress, tr_merge_summary *summary);

#endif
