/* What the parts of planning share; inside host/harness only. */
#ifndef TR_HARNESS_PLANNER_H
#define TR_HARNESS_PLANNER_H

#include "host/harness/plan.h"
#include "host/harness/profile.h"

typedef struct tr_planner {
  const tr_plan_options *options;
  tr_device *device;
  tr_plan *plan;
  tr_results lines;         /* of all experiments in the results folder */
  size_t limit_bytes;       /* of a pass */
  size_t joint_limit_bytes; /* of a pass of several models: what is free, where there is no limit */
  tr_pass *drafts;          /* passes as they would be without any limit, with all runs */
  size_t draft_count;
  tr_plan_ensemble *ensembles; /* all, the finished ones too */
  size_t ensemble_count, last_link;
  bool measured;
  tr_profile profile;       /* rates of this machine, where they are measured */
  double file_rate;         /* bytes a second that a temporary file takes; 0: not measured yet */
  tr_status missing_status; /* of the first thing that is not at hand */
} tr_planner;

tr_status tr_planner_no_memory(void);
/* The array with room for one more item; it grows by doubling, so it is full at powers of two only. NULL: no memory. */
void *tr_planner_grown(void *items, size_t count, size_t item_bytes);
/* Notes the error at hand as something that is not at hand, and tells it as a warning, once. */
tr_status tr_planner_note_missing(tr_planner *p, tr_status status);

/* plan_copies.c: reads the planner's lines. */
tr_status tr_planner_read_lines(tr_planner *p);
/* A line of that key, of the same version and device, of whatever experiment; NULL: none, or images that the key does not tell apart. */
const tr_result *tr_planner_find_line(const tr_planner *p, const tr_run_key *key);
/* Counts a finished run and keeps its result, and its line where that is another experiment's so far. */
tr_status tr_planner_note_finished(tr_planner *p, const tr_plan_run *run);

/* plan_sources.c: each thing is looked at once, and noted as missing where it is not at hand. */
tr_status tr_planner_source(tr_planner *p, const tr_setting *setting, const tr_plan_source **out);
/* NULL: not at hand. */
const tr_strings *tr_plan_source_classes(const tr_plan_source *source);
tr_status tr_planner_class(tr_planner *p, const tr_plan_source *source, const char *name, const tr_plan_class **out);
tr_status tr_planner_weights(tr_planner *p, const char *backbone, const tr_plan_weights **out);
/* EINVAL: a layer that the backbone does not have. */
tr_status tr_planner_network(tr_planner *p, const char *backbone, const char *const *layers, int layer_count, int in_h, int in_w,
                             const tr_plan_network **out);

/* forecast.c; pass->tiling is set. EINVAL when a setting cannot be on this class. */
tr_status tr_planner_forecast_group(tr_planner *p, const tr_pass *pass, tr_group *group);
/* Of an ensemble whose image size is known. */
void tr_planner_forecast_ensemble(const tr_planner *p, tr_plan_ensemble *ensemble);
/* Of groups that are forecast: the union of their layers, and the bytes. */
tr_status tr_planner_forecast_pass(tr_planner *p, tr_pass *pass);

/* Fills what each of the pass's runs would take alone. */
tr_status tr_planner_forecast_runs(tr_planner *p, const tr_pass *pass);

/* Of a draft: all that can be forecast; models that cannot be on this class need nothing. */
tr_status tr_planner_forecast_draft(tr_planner *p, tr_pass *draft);

/* plan_shards.c: leaves only the drafts, or parts of them, that are the options' shard's. */
tr_status tr_planner_take_shard(tr_planner *p);

/* plan_ensembles.c: of a class; takes the run over. `drafts` are the members', by number. */
tr_status tr_planner_add_ensemble(tr_planner *p, const tr_plan_class *class_, const tr_plan_run *run, const size_t *drafts);
/* Digests of the members' weights, joined; NULL, without an error, where one is missing. */
tr_status tr_planner_join_sha256(tr_planner *p, const tr_setting *ensemble, char **out);
/* Moves the ensembles whose members are among the drafts to the plan, without the finished ones. */
tr_status tr_planner_take_ensembles(tr_planner *p);
/* When passes are placed: forecasts the ensembles and refuses those that lack a member. */
tr_status tr_planner_check_ensembles(tr_planner *p);
void tr_plan_ensemble_release(tr_plan_ensemble *ensemble);

/* plan_place.c: takes a draft over and appends it to the plan, as several passes where it does not fit into memory, without the runs
 * that cannot be. */
tr_status tr_planner_place(tr_planner *p, tr_pass *draft);

/* plan_keep.c, when passes are placed: what they keep for each other. */
tr_status tr_planner_keep(tr_planner *p);

/* The pass taps these layers, and its models find theirs among them. */
void tr_pass_set_layers(tr_pass *pass, const char *const *layers, int layer_count);

/* Groups of a pass; the array grows. Each takes what it is given over, on failure too. */
tr_status tr_pass_add_group(tr_pass *pass, tr_group *group);
tr_status tr_group_add_run(tr_group *group, const tr_plan_run *run);
/* Moves run i to the end of another group. */
tr_status tr_group_move_run(tr_group *group, size_t i, tr_group *to);
void tr_group_release(tr_group *group);
void tr_pass_release(tr_pass *pass);
/* A pass without groups like this one. */
tr_pass tr_pass_like(const tr_pass *pass);
tr_group tr_group_like(const tr_group *group);

#endif
