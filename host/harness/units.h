/* Work that processes on one results folder take from each other's hands whole: a pass; or all passes of a class that give members of
 * ensembles, and these ensembles, since an ensemble wants its members' scores at hand. */
#ifndef TR_HARNESS_UNITS_H
#define TR_HARNESS_UNITS_H

#include "host/harness/plan.h"

/* The stores of the experiments, each opened when it is first wanted. */
typedef struct tr_stores {
  const tr_plan_options *options;
  struct tr_open_store *items;
  size_t count;
} tr_stores;

tr_status tr_stores_get(tr_stores *stores, const tr_experiment *experiment, tr_store **out);
void tr_stores_close(tr_stores *stores);

/* Passes `a` and `b` are of one unit. A unit is known by its first pass. */
bool tr_same_unit(const tr_plan *plan, size_t a, size_t b);
bool tr_is_first_of_unit(const tr_plan *plan, size_t pass);

/* Claims all runs of the unit whose lines are asked for; *claimed false: another process works on one of them. */
tr_status tr_unit_claim(tr_stores *stores, const tr_plan *plan, size_t pass, bool *claimed);
void tr_unit_release(tr_stores *stores, const tr_plan *plan, size_t pass);

/* *finished: every line that is asked for is in its store by now, and so are the files of scores and maps; the lines are appended to
 * `results` then. */
tr_status tr_unit_finished(tr_stores *stores, const tr_plan *plan, size_t pass, tr_results *results, bool *finished);

#endif
