/* From drafts to passes: runs that cannot be are sorted out, models that are too large are halved, and those that remain are packed
 * into passes that fit into memory, as few as first fit gives. */
#include "host/base/status.h"
#include "host/harness/planner.h"
#include "host/harness/room.h"
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

/* A group, as host/harness/room.h asks for it. */
typedef struct room_case {
  tr_planner *p;
  const tr_pass *draft;
  const tr_group *group;
} room_case;

/* With a setting of its own the group is one run, and images may be of another size or in other tiles. */
static tr_status set_setting(const room_case *c, const tr_setting *setting, tr_plan_run *run, tr_group *group, tr_pass *draft) {
  int h, w;
  run->setting = setting;
  group->runs = run;
  draft->image = setting->image;
  draft->tile = setting->tile;
  if (!tr_tile_spec_equal(&draft->tile, &c->draft->tile))
    group->positions = 1;
  TR_TRY(tr_resize_shape(&draft->image, draft->class_->first_h, draft->class_->first_w, &h, &w));
  return tr_tiling_make(&draft->tile, h, w, &draft->tiling);
}

static tr_status forecast_case(void *context, const tr_setting *setting, size_t train_images, tr_keep keep, tr_room_needs *out) {
  const room_case *c = context;
  tr_plan_run run = c->group->runs[0];
  tr_group group = *c->group;
  tr_pass draft = tr_pass_like(c->draft);
  group.keep = keep;
  group.train_images = train_images;
  if (setting != c->group->runs[0].setting)
    TR_TRY(set_setting(c, setting, &run, &group, &draft));
  TR_TRY(forecast_peak(c->p, &draft, &group));
  *out = (tr_room_needs){.peak_bytes = group.peak_bytes,
                         .again = group.needs.again,
                         .file_bytes = group.needs.file_bytes,
                         .pixels = draft.class_->mean_pixels,
                         .macs = group.backbone_macs,
                         .image_h = draft.tiling.h,
                         .image_w = draft.tiling.w};
  return TR_OK;
}

static tr_room room_of(room_case *c) {
  return (tr_room){.device = c->p->device,
                   .setting = c->group->runs[0].setting,
                   .train_images = c->group->train_images,
                   .forecast = forecast_case,
                   .context = c,
                   .file_rate = &c->p->file_rate};
}

static tr_status keep_less(tr_planner *p, const tr_pass *draft, tr_group *group, size_t limit) {
  room_case c = {p, draft, group};
  tr_room room = room_of(&c);
  TR_TRY(tr_room_keep_less(&room, limit, &group->keep));
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

/* Of a single run that does not fit in any way: what it would take. */
static tr_status say_what_would_fit(tr_planner *p, const tr_pass *draft, const tr_group *group) {
  room_case c = {p, draft, group};
  tr_room room = room_of(&c);
  return tr_room_refuse(&room, p->limit_bytes);
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

/* By the run's settings on this class, or this build: other runs may go on. */
static bool is_refused(tr_status status) {
  return status == TR_EINVAL || status == TR_EDEVICE;
}

/* Refuses the runs that cannot be on this class, each for itself; `possible` gets the others. */
static tr_status sort_out(tr_planner *p, const tr_pass *draft, tr_group *group, tr_group *possible) {
  size_t count = group->run_count;
  for (size_t i = 0; i < count; ++i) {
    tr_group single = tr_group_like(group);
    tr_status status = tr_group_move_run(group, i, &single);
    if (status == TR_OK && is_refused(judge(p, draft, &single)))
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
  if (group->run_count > 1 && is_refused(status))
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
