/* What a run leaves behind: its result line, and the files that were asked for. */
#ifndef TR_HARNESS_OUTCOME_H
#define TR_HARNESS_OUTCOME_H

#include "host/harness/evaluate.h"
#include "host/harness/pass.h"

/* Evaluates a run of one of a pass's models: maps, metrics, and the files of options->scores and options->maps. Other runs of the same name
 * differ in what tr_outcome_rename changes. */
tr_status tr_outcome_evaluate(const tr_pass_work *work, size_t model, const tr_plan_run *run, tr_evaluation *evaluation,
                              const tr_plan_options *options, tr_result *out);

/* The same of an ensemble whose members are there; EINVAL where a member's nominal scores are not. */
tr_status tr_outcome_evaluate_ensemble(const tr_plan_ensemble *ensemble, const tr_kept_run *const *members, tr_device *device,
                                       const tr_class *class_, tr_evaluation *evaluation, const tr_plan_options *options,
                                       tr_result *out);

/* Turns a result into that of an equal run, of another experiment perhaps. */
tr_status tr_outcome_rename(const tr_plan_run *run, tr_result *result);

#endif
