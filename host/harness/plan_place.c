/* From drafts to passes: runs that cannot be are sorted out, models that are too large are halved, and those that remain are packed
 * into passes that fit into memory, as few as first fit gives. */
#include "host/base/clock.h"
#include "host/base/status.h"
#include "host/harness/planner.h"
#include "host/harness/profile.h"
#include "host/methods/picks.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tr_status append_pass(tr_planner *p, tr_pass *pass) {
  tr_plan *plan = p->plan;
  tr_pass *passes = tr_planner_grown(plan->passes, plan->pass_count, sizeof *passes);
  if (!passes) {
    tr_pass_release(pass);
    return tr_planner_no_memory();
  }
  plan->passes = passes;
  passes[plan->pass_count++] = *pass;
  *pass = (tr_pass){0};
  return TR_OK;
}

/* A pass of this group alone; takes the group over. */
static tr_status single_pass(const tr_pass *draft, tr_group *group, tr_pass *out) {
  *out = tr_pass_like(draft);
  return tr_pass_add_group(out, group);
}

/* A pass for these runs alone that is refused with the error at hand; takes the group over. */
static tr_status refuse_group(tr_planner *p, const tr_pass *draft, tr_group *group) {
  char *why = strdup(tr_last_error());
  tr_pass refused;
  tr_status status = single_pass(draft, group, &refused);
  refused.refused = why;
  if (status == TR_OK && why)
    return append_pass(p, &refused);
  tr_pass_release(&refused);
  return status == TR_OK ? tr_planner_no_memory() : status;
}

static tr_status move_runs(tr_group *group, size_t first, size_t end, tr_group *to) {
  for (size_t i = first; i < end; ++i)
    TR_TRY(tr_group_move_run(group, i, to));
  return TR_OK;
}

/* Forecasts a group as if it had a pass to itself: its peak_bytes. */
static tr_status forecast_peak(tr_planner *p, const tr_pass *draft, tr_group *group) {
  tr_pass alone = tr_pass_like(draft);
  alone.groups = group;
  alone.group_count = 1;
  TR_TRY(tr_planner_forecast_group(p, &alone, group));
  TR_TRY(tr_planner_forecast_pass(p, &alone));
  group->peak_bytes = alone.forecast.peak_bytes;
  return TR_OK;
}

/* Holds the forecast against the limit. */
static tr_status judge(tr_planner *p, const tr_pass *draft, tr_group *group) {
  char need[32], given[32];
  TR_TRY(forecast_peak(p, draft, group));
  if (!p->limit_bytes || group->peak_bytes <= p->limit_bytes)
    return TR_OK;
  return tr_fail(TR_ENOMEM, "needs %s, more than the memory limit of %s", tr_format_bytes(group->peak_bytes, need, sizeof need),
                 tr_format_bytes(p->limit_bytes, given, sizeof given));
}

/* A file's bytes a second, on disk. Measured once. */
static double file_rate(tr_planner *p) {
  enum { PROBE = 64 << 20 };
  if (p->file_rate > 0)
    return p->file_rate;
  p->file_rate = 1; /* where nothing can be written, nothing will be */
  const char *folder = getenv("TMPDIR");
  tr_feature_file *file;
  char *data = calloc(1, PROBE);
  if (data && tr_feature_file_create(folder ? folder : "/tmp", PROBE, &file) == TR_OK) {
    double begin = tr_seconds();
    if (tr_feature_file_write(file, 0, data, PROBE) == TR_OK && tr_feature_file_flush(file) == TR_OK)
      p->file_rate = PROBE / (tr_seconds() - begin);
    tr_feature_file_close(file);
  }
  free(data);
  return p->file_rate;
}

/* Seconds on top of what all features in memory take. Features are written once and few are read; images pass a second time. */
static double keeping_seconds(tr_planner *p, const tr_pass *draft, const tr_group *group) {
  tr_profile rates = tr_device_works_alone(p->device) ? tr_profile_h100() : tr_profile_common();
  double images = group->needs.again ? (double)group->train_images : 0;
  double seconds = images * (draft->class_->mean_pixels / rates.decode_pixels + group->backbone_macs / rates.backbone_macs);
  return seconds + (group->needs.file_bytes ? (double)group->needs.file_bytes / file_rate(p) : 0);
}

static const tr_keep ways[] = {TR_KEEP_NOTHING, TR_KEEP_IN_FILE, TR_KEEP_PROJECTED_IN_FILE, TR_KEEP_ALL_IN_FILES};
enum { WAYS = sizeof ways / sizeof *ways };

/* Of the ways to keep less, the cheapest that takes `limit` bytes at most, or else the one that takes least. */
static tr_status keep_less(tr_planner *p, const tr_pass *draft, tr_group *group, size_t limit) {
  tr_keep cheapest = TR_KEEP_FEATURES, smallest = TR_KEEP_FEATURES;
  double least_seconds = INFINITY;
  group->keep = TR_KEEP_FEATURES;
  TR_TRY(forecast_peak(p, draft, group));
  size_t least_bytes = group->peak_bytes;
  for (size_t i = 0; i < WAYS; ++i) {
    group->keep = ways[i];
    TR_TRY(forecast_peak(p, draft, group));
    if (group->peak_bytes < least_bytes) {
      smallest = ways[i];
      least_bytes = group->peak_bytes;
    }
    if (group->peak_bytes <= limit && keeping_seconds(p, draft, group) < least_seconds) {
      cheapest = ways[i];
      least_seconds = keeping_seconds(p, draft, group);
    }
  }
  group->keep = least_seconds < INFINITY ? cheapest : smallest;
  return judge(p, draft, group);
}

/* A bank per position: as many positions at a time as memory goes, in lots of equal size, for each of which the images pass anew. */
static tr_status judge_positions(tr_planner *p, const tr_pass *draft, tr_group *group) {
  size_t models = tr_pass_models(draft);
  group->positions = models;
  for (size_t lots = 1;; ++lots) {
    tr_status status = judge(p, draft, group);
    bool fits = status == TR_OK && group->peak_bytes <= p->joint_limit_bytes;
    if (fits || group->positions == 1 || (status != TR_OK && status != TR_ENOMEM))
      return status;
    group->positions = (models + lots) / (lots + 1);
  }
}

/* ---- what would fit ---- */

/* Whether a group would fit in some way; it is as it was then. */
static bool would_fit(tr_planner *p, const tr_pass *draft, const tr_group *group) {
  tr_group tried = *group;
  return judge(p, draft, &tried) == TR_OK || keep_less(p, draft, &tried, p->limit_bytes) == TR_OK;
}

/* The most training images with which it would fit; 0: with none. */
static size_t fitting_images(tr_planner *p, const tr_pass *draft, const tr_group *group) {
  size_t fit = 0, too_many = group->train_images;
  tr_group tried = *group;
  while (too_many - fit > 1) {
    tried.train_images = fit + (too_many - fit) / 2;
    *(would_fit(p, draft, &tried) ? &fit : &too_many) = tried.train_images;
  }
  return fit;
}

/* A smaller percentage with which it would fit, halved as often as that takes; 0: none. */
static double fitting_percent(tr_planner *p, const tr_pass *draft, const tr_group *group) {
  tr_setting setting = *group->runs[0].setting;
  tr_plan_run run = group->runs[0];
  tr_group tried = *group;
  if (strcmp(setting.method, "patchcore") != 0 || setting.subsampling == TR_SUBSAMPLE_NONE)
    return 0;
  run.setting = &setting;
  tried.runs = &run;
  for (int halved = 0; halved < 8; ++halved) {
    setting.percent /= 2;
    if (would_fit(p, draft, &tried))
      return setting.percent;
  }
  return 0;
}

/* Of a single run that does not fit in any way: what it would take. The group keeps least. */
static tr_status say_what_would_fit(tr_planner *p, const tr_pass *draft, tr_group *group) {
  size_t images = fitting_images(p, draft, group);
  double percent = fitting_percent(p, draft, group);
  char need[32], given[32], fewer[64] = "", smaller[64] = "";
  TR_TRY(keep_less(p, draft, group, 0) == TR_ENOMEM ? TR_OK : TR_EINTERNAL);
  if (images)
    snprintf(fewer, sizeof fewer, ", so would %zu training images", images);
  if (percent > 0)
    snprintf(smaller, sizeof smaller, ", so would %.3g percent", percent);
  return tr_fail(TR_ENOMEM, "needs %s, more than the memory limit of %s; a limit of %zuM would do%s%s",
                 tr_format_bytes(group->peak_bytes, need, sizeof need), tr_format_bytes(p->limit_bytes, given, sizeof given),
                 (group->peak_bytes >> 20) + 1, fewer, smaller);
}

static tr_status settle(tr_planner *p, tr_pass *settled, tr_group *group);

static tr_status settle_halves(tr_planner *p, tr_pass *settled, tr_group *group) {
  tr_group halves[2] = {tr_group_like(group), tr_group_like(group)};
  size_t half = group->run_count / 2;
  tr_status status = move_runs(group, 0, half, &halves[0]);
  if (status == TR_OK)
    status = move_runs(group, half, group->run_count, &halves[1]);
  tr_group_release(group);
  if (status == TR_OK)
    status = settle(p, settled, &halves[0]);
  if (status == TR_OK)
    status = settle(p, settled, &halves[1]);
  tr_group_release(&halves[0]);
  tr_group_release(&halves[1]);
  return status;
}

/* Refuses the runs that cannot be on this class, each for itself; `possible` gets the others. */
static tr_status sort_out(tr_planner *p, const tr_pass *draft, tr_group *group, tr_group *possible) {
  size_t count = group->run_count;
  for (size_t i = 0; i < count; ++i) {
    tr_group single = tr_group_like(group);
    tr_status status = tr_group_move_run(group, i, &single);
    if (status == TR_OK && judge(p, draft, &single) == TR_EINVAL)
      status = refuse_group(p, draft, &single);
    else if (status == TR_OK)
      status = tr_group_move_run(&single, 0, possible);
    tr_group_release(&single);
    TR_TRY(status);
  }
  return TR_OK;
}

static tr_status settle_possible(tr_planner *p, tr_pass *settled, tr_group *group) {
  tr_group possible = tr_group_like(group);
  tr_status status = sort_out(p, settled, group, &possible);
  bool fewer = possible.run_count < group->run_count; /* else there would be no end */
  tr_group_release(group);
  if (status == TR_OK && possible.run_count && fewer)
    status = settle(p, settled, &possible);
  else if (status == TR_OK && possible.run_count && judge(p, settled, &possible) != TR_OK)
    status = refuse_group(p, settled, &possible);
  tr_group_release(&possible);
  return status;
}

/* Without a limit, nothing is refused; but no features are kept that free memory has no room for. */
static tr_status keep_what_is_free(tr_planner *p, const tr_pass *settled, tr_group *group) {
  bool fits = p->limit_bytes || tr_device_works_alone(p->device) || group->peak_bytes <= p->joint_limit_bytes;
  return fits ? TR_OK : keep_less(p, settled, group, p->joint_limit_bytes);
}

/* Takes a group over and adds it to `settled`, in parts where it is too large, without what cannot be. */
static tr_status settle(tr_planner *p, tr_pass *settled, tr_group *group) {
  tr_status status = judge_positions(p, settled, group);
  if (status == TR_ENOMEM)
    status = keep_less(p, settled, group, p->limit_bytes);
  if (status == TR_OK)
    status = keep_what_is_free(p, settled, group);
  if (status == TR_OK)
    return tr_pass_add_group(settled, group);
  if (group->run_count == 1 && status == TR_ENOMEM)
    status = say_what_would_fit(p, settled, group);
  if (group->run_count > 1 && status == TR_ENOMEM)
    return settle_halves(p, settled, group);
  if (group->run_count > 1 && status == TR_EINVAL)
    return settle_possible(p, settled, group);
  return refuse_group(p, settled, group);
}

/* ---- packing ---- */

typedef struct batch_list {
  tr_pass *items;
  size_t count;
} batch_list;

static bool fits(tr_planner *p, tr_pass *batch) {
  return tr_planner_forecast_pass(p, batch) == TR_OK && batch->forecast.peak_bytes <= p->joint_limit_bytes;
}

/* Adds the group to the batch if they fit together; `added` tells. */
static tr_status try_batch(tr_planner *p, tr_pass *batch, tr_group *group, bool *added) {
  TR_TRY(tr_pass_add_group(batch, group));
  *added = fits(p, batch);
  if (!*added) {
    *group = batch->groups[--batch->group_count];
    TR_TRY(tr_planner_forecast_pass(p, batch));
  }
  return TR_OK;
}

static tr_status pack_group(tr_planner *p, const tr_pass *draft, tr_group *group, batch_list *batches) {
  bool added = false;
  for (size_t i = 0; i < batches->count; ++i) {
    TR_TRY(try_batch(p, &batches->items[i], group, &added));
    if (added)
      return TR_OK;
  }
  tr_pass *items = tr_planner_grown(batches->items, batches->count, sizeof *items);
  if (!items)
    return tr_planner_no_memory();
  batches->items = items;
  items[batches->count] = tr_pass_like(draft);
  TR_TRY(tr_pass_add_group(&items[batches->count++], group));
  return tr_planner_forecast_pass(p, &items[batches->count - 1]);
}

static tr_status pack(tr_planner *p, tr_pass *settled) {
  batch_list batches = {0};
  tr_status status = tr_planner_forecast_runs(p, settled);
  for (size_t i = 0; status == TR_OK && i < settled->group_count; ++i)
    status = pack_group(p, settled, &settled->groups[i], &batches);
  for (size_t i = 0; i < batches.count; ++i) {
    if (status == TR_OK)
      status = append_pass(p, &batches.items[i]);
    else
      tr_pass_release(&batches.items[i]);
  }
  free(batches.items);
  return status;
}

static tr_status refuse_draft(tr_planner *p, tr_pass *draft, const char *why) {
  draft->refused = strdup(why);
  return draft->refused ? append_pass(p, draft) : tr_planner_no_memory();
}

tr_status tr_planner_place(tr_planner *p, tr_pass *draft) {
  if (draft->class_->error)
    return refuse_draft(p, draft, draft->class_->error);
  if (draft->weights->missing && !p->options->forecast_only)
    return refuse_draft(p, draft, draft->weights->missing);
  const tr_plan_class *c = draft->class_;
  int h, w;
  if (tr_resize_shape(&draft->image, c->first_h, c->first_w, &h, &w) != TR_OK ||
      tr_tiling_make(&draft->tile, h, w, &draft->tiling) != TR_OK)
    return refuse_draft(p, draft, tr_last_error());
  tr_pass settled = *draft;
  settled.groups = NULL;
  settled.group_count = 0;
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < draft->group_count; ++i)
    status = settle(p, &settled, &draft->groups[i]);
  if (status == TR_OK)
    status = pack(p, &settled);
  tr_pass_release(&settled);
  return status;
}
