/* Shards: the parts that several processes or machines take. What a shard has follows from the experiments, the data's counts and the
 * number of shards alone: neither from what is finished, nor from this machine's memory or speed.
 *
 * A draft (all models of a class, an image size and a backbone) goes to one shard as a whole, as its models share a pass; so do the
 * drafts of an ensemble's members. Only a draft that is more than a shard's fair share is cut in halves, by models and then by runs, each
 * with a pass of its own, as long as that makes the larger half notably cheaper. Then pieces are dealt out, the dearest first, each to
 * the shard that has the least so far. */
#include "host/base/status.h"
#include "host/harness/planner.h"
#include "host/harness/profile.h"
#include <stdlib.h>
#include <string.h>

/* What is cut is larger than this part of the fair share, and its larger half costs at most this part of the whole. */
#define LARGE    1.1
#define WORTH_IT 0.8

/* Drafts, grown while they are cut, with their costs. Those of one unit go to the same shard. */
typedef struct deck {
  tr_planner *planner;
  tr_pass *drafts;
  double *costs;
  size_t count;
} deck;

/* Seconds on a machine that every process takes for the same. What cannot be costs nothing. */
static double cost_of(tr_planner *p, tr_pass *draft) {
  tr_profile profile = tr_profile_common();
  if (draft->class_->error || tr_planner_forecast_draft(p, draft) != TR_OK)
    return 0;
  return tr_profile_pass(&profile, p->plan, draft).total;
}

static tr_status add_draft(deck *d, tr_pass *draft) {
  tr_pass *drafts = tr_planner_grown(d->drafts, d->count, sizeof *drafts);
  d->drafts = drafts ? drafts : d->drafts;
  double *costs = tr_planner_grown(d->costs, d->count, sizeof *costs);
  d->costs = costs ? costs : d->costs;
  if (!drafts || !costs) {
    tr_pass_release(draft);
    return tr_planner_no_memory();
  }
  costs[d->count] = cost_of(d->planner, draft);
  drafts[d->count++] = *draft;
  *draft = (tr_pass){0};
  return TR_OK;
}

/* ---- cutting ---- */

/* Moves models [0, first) and [first, end) to two drafts. */
static tr_status cut_models(tr_pass *draft, size_t first, tr_pass halves[2]) {
  for (size_t i = 0; i < draft->group_count; ++i)
    TR_TRY(tr_pass_add_group(&halves[i >= first], &draft->groups[i]));
  draft->group_count = 0;
  return TR_OK;
}

static tr_status cut_runs(tr_pass *draft, size_t first, tr_pass halves[2]) {
  tr_group *group = &draft->groups[0];
  for (int h = 0; h < 2; ++h) {
    tr_group half = tr_group_like(group);
    for (size_t i = h ? first : 0; i < (h ? group->run_count : first); ++i)
      TR_TRY(tr_group_move_run(group, i, &half));
    TR_TRY(tr_pass_add_group(&halves[h], &half));
  }
  tr_group_release(group);
  draft->group_count = 0;
  return TR_OK;
}

/* Where the work of the models, or else the number of runs, is halved. */
static size_t middle_of(const tr_pass *draft) {
  if (draft->group_count == 1)
    return draft->groups[0].run_count / 2;
  double all = 0, sum = 0;
  for (size_t i = 0; i < draft->group_count; ++i)
    all += draft->groups[i].needs.fit_macs + draft->groups[i].needs.score_macs;
  size_t first = 1;
  for (; first + 1 < draft->group_count; ++first) {
    sum += draft->groups[first - 1].needs.fit_macs + draft->groups[first - 1].needs.score_macs;
    if (sum >= all / 2)
      break;
  }
  return first;
}

/* Puts halves together again. */
static tr_status join(tr_pass halves[2], bool runs, tr_pass *draft) {
  if (!runs) {
    for (int h = 0; h < 2; ++h)
      for (size_t i = 0; i < halves[h].group_count; ++i)
        TR_TRY(tr_pass_add_group(draft, &halves[h].groups[i]));
    return TR_OK;
  }
  tr_group whole = tr_group_like(&halves[0].groups[0]);
  for (int h = 0; h < 2; ++h)
    for (size_t i = 0; i < halves[h].groups[0].run_count; ++i)
      TR_TRY(tr_group_move_run(&halves[h].groups[0], i, &whole));
  return tr_pass_add_group(draft, &whole);
}

static tr_status cut(deck *d, tr_pass *draft, double cost, double fair);

static tr_status halve(deck *d, tr_pass *draft, double cost, double fair) {
  bool runs = draft->group_count == 1;
  tr_pass halves[2] = {tr_pass_like(draft), tr_pass_like(draft)};
  size_t middle = middle_of(draft);
  tr_status status = runs ? cut_runs(draft, middle, halves) : cut_models(draft, middle, halves);
  double costs[2] = {0};
  for (int h = 0; status == TR_OK && h < 2; ++h)
    costs[h] = cost_of(d->planner, &halves[h]);
  bool worth_it = costs[0] <= WORTH_IT * cost && costs[1] <= WORTH_IT * cost;
  if (status == TR_OK && !worth_it) {
    status = join(halves, runs, draft);
    if (status == TR_OK)
      status = add_draft(d, draft);
  }
  for (int h = 0; h < 2; ++h) {
    if (status == TR_OK && worth_it)
      status = cut(d, &halves[h], costs[h], fair);
    tr_pass_release(&halves[h]);
  }
  return status;
}

/* Adds the draft to the deck, in pieces where it is large. Its groups are taken over; what is left of it is the caller's. */
static tr_status cut(deck *d, tr_pass *draft, double cost, double fair) {
  bool large = cost > LARGE * fair && !draft->link;
  if (large && (draft->group_count > 1 || draft->groups[0].run_count > 1))
    return halve(d, draft, cost, fair);
  return add_draft(d, draft);
}

/* ---- dealing ---- */

/* Drafts that stay together; `unit` is the first one's number. */
typedef struct unit {
  size_t first;
  double cost;
} unit;

static int dearest_first(const void *a, const void *b) {
  const unit *x = a, *y = b;
  if (x->cost != y->cost)
    return x->cost > y->cost ? -1 : 1;
  return x->first < y->first ? -1 : x->first > y->first;
}

/* The first draft of this one's unit. */
static size_t first_of(const deck *d, size_t index) {
  size_t i = 0;
  while (i < index && (!d->drafts[index].link || d->drafts[i].link != d->drafts[index].link))
    ++i;
  return i;
}

/* Shard, from 0, of each unit; at the unit's first draft. */
static void deal(unit *units, size_t count, double *load, size_t shards, size_t *shard_of) {
  qsort(units, count, sizeof *units, dearest_first);
  for (size_t i = 0; i < count; ++i) {
    size_t least = 0;
    for (size_t s = 1; s < shards; ++s)
      least = load[s] < load[least] ? s : least;
    load[least] += units[i].cost;
    shard_of[units[i].first] = least;
  }
}

/* Which drafts are this shard's. */
static tr_status deal_drafts(const deck *d, const tr_plan_options *o, size_t *shard_of) {
  unit *units = calloc(d->count + 1, sizeof *units);
  double *load = calloc((size_t)o->shards, sizeof *load);
  size_t count = 0;
  for (size_t i = 0; units && load && i < d->count; ++i) {
    size_t first = first_of(d, i);
    if (first == i)
      units[count++] = (unit){.first = i};
    for (size_t u = 0; u < count; ++u)
      if (units[u].first == first)
        units[u].cost += d->costs[i];
  }
  if (units && load)
    deal(units, count, load, (size_t)o->shards, shard_of);
  bool complete = units && load;
  free(units);
  free(load);
  return complete ? TR_OK : tr_planner_no_memory();
}

/* Lets the drafts of other shards go. */
static tr_status keep_shard(const tr_planner *p, deck *d) {
  size_t *shard_of = calloc(d->count + 1, sizeof *shard_of);
  size_t *firsts = calloc(d->count + 1, sizeof *firsts);
  if (!shard_of || !firsts) {
    free(shard_of);
    free(firsts);
    return tr_planner_no_memory();
  }
  tr_status status = deal_drafts(d, p->options, shard_of);
  for (size_t i = 0; status == TR_OK && i < d->count; ++i)
    firsts[i] = first_of(d, i);
  size_t kept = 0, count = d->count;
  for (size_t i = 0; status == TR_OK && i < count; ++i) {
    if (shard_of[firsts[i]] + 1 == (size_t)p->options->shard)
      d->drafts[kept++] = d->drafts[i];
    else
      tr_pass_release(&d->drafts[i]);
  }
  if (status == TR_OK)
    d->count = kept;
  free(firsts);
  free(shard_of);
  return status;
}

/* Cuts the planner's drafts into the deck, whose they are then. */
static tr_status cut_drafts(tr_planner *p, deck *d) {
  double all = 0;
  for (size_t i = 0; i < p->draft_count; ++i)
    all += cost_of(p, &p->drafts[i]);
  for (size_t i = 0; i < p->draft_count; ++i)
    TR_TRY(cut(d, &p->drafts[i], cost_of(p, &p->drafts[i]), all / p->options->shards));
  return TR_OK;
}

tr_status tr_planner_take_shard(tr_planner *p) {
  if (p->options->shards == 1)
    return TR_OK;
  deck d = {.planner = p};
  tr_status status = cut_drafts(p, &d);
  if (status == TR_OK)
    status = keep_shard(p, &d);
  for (size_t i = 0; i < p->draft_count; ++i)
    tr_pass_release(&p->drafts[i]);
  free(p->drafts);
  p->drafts = d.drafts;
  p->draft_count = d.count;
  free(d.costs);
  return status;
}
