/* Claiming work, and finding what others have finished. */
#include "host/harness/units.h"
#include "host/base/status.h"
#include <stdlib.h>

/* ---- stores ---- */

typedef struct tr_open_store {
  const tr_experiment *experiment;
  tr_store *store;
} open_store;

tr_status tr_stores_get(tr_stores *stores, const tr_experiment *experiment, tr_store **out) {
  const tr_plan_options *o = stores->options;
  for (size_t i = 0; i < stores->count; ++i)
    if (stores->items[i].experiment == experiment) {
      *out = stores->items[i].store;
      return TR_OK;
    }
  open_store *items = realloc(stores->items, (stores->count + 1) * sizeof *items);
  if (!items)
    return tr_fail(TR_ENOMEM, "opening the results of %s: out of memory", experiment->name);
  stores->items = items;
  TR_TRY(tr_store_open(o->results, o->machine, experiment->name, o->progress, out));
  items[stores->count++] = (open_store){experiment, *out};
  return TR_OK;
}

void tr_stores_close(tr_stores *stores) {
  for (size_t i = 0; i < stores->count; ++i)
    tr_store_close(stores->items[i].store);
  free(stores->items);
  stores->items = NULL;
  stores->count = 0;
}

/* ---- units ---- */

bool tr_same_unit(const tr_plan *plan, size_t a, size_t b) {
  const tr_pass *x = &plan->passes[a], *y = &plan->passes[b];
  return a == b || (x->class_ == y->class_ && x->link && y->link);
}

bool tr_is_first_of_unit(const tr_plan *plan, size_t pass) {
  for (size_t i = 0; i < pass; ++i)
    if (tr_same_unit(plan, i, pass))
      return false;
  return true;
}

/* One of a unit's runs whose lines are asked for. `context` is the caller's; *more false ends the walk. */
typedef tr_status (*run_fn)(tr_store *store, const tr_plan_run *run, const tr_run_key *key, void *context, bool *more);

typedef struct walk {
  tr_stores *stores;
  run_fn fn;
  void *context;
  bool more;
} walk;

static tr_status walk_run(walk *w, const tr_plan_run *run, const tr_plan_class *class_, const char *sha256) {
  if (!w->more || !run->experiment || !sha256) /* weights that are missing refuse the pass */
    return TR_OK;
  tr_run_key key = {.run = run->name,
                    .dataset = class_->source->kind,
                    .class_name = class_->name,
                    .weights_sha256 = sha256,
                    .train_images = class_->train_images,
                    .images = class_->test_images};
  tr_store *store;
  TR_TRY(tr_stores_get(w->stores, run->experiment, &store));
  return w->fn(store, run, &key, w->context, &w->more);
}

static tr_status walk_pass(walk *w, const tr_pass *pass) {
  for (size_t g = 0; g < pass->group_count; ++g)
    for (size_t i = 0; i < pass->groups[g].run_count; ++i)
      TR_TRY(walk_run(w, &pass->groups[g].runs[i], pass->class_, pass->weights->sha256));
  return TR_OK;
}

/* Always in the same order. */
static tr_status walk_unit(tr_stores *stores, const tr_plan *plan, size_t pass, run_fn fn, void *context) {
  walk w = {stores, fn, context, true};
  for (size_t i = pass; i < plan->pass_count; ++i)
    if (tr_same_unit(plan, pass, i))
      TR_TRY(walk_pass(&w, &plan->passes[i]));
  const tr_plan_class *class_ = plan->passes[pass].class_;
  for (size_t i = 0; plan->passes[pass].link && i < plan->ensemble_count; ++i)
    if (plan->ensembles[i].class_ == class_)
      TR_TRY(walk_run(&w, &plan->ensembles[i].run, class_, plan->ensembles[i].sha256));
  return TR_OK;
}

/* ---- claims ---- */

typedef struct claims {
  size_t taken, released;
  bool refused;
} claims;

static tr_status claim_run(tr_store *store, const tr_plan_run *run, const tr_run_key *key, void *context, bool *more) {
  (void)run;
  claims *c = context;
  bool claimed;
  TR_TRY(tr_store_claim(store, key, 1, &claimed));
  c->taken += claimed;
  c->refused = !claimed;
  *more = claimed;
  return TR_OK;
}

/* The first ones that were taken. */
static tr_status release_run(tr_store *store, const tr_plan_run *run, const tr_run_key *key, void *context, bool *more) {
  (void)run;
  claims *c = context;
  *more = c->released < c->taken;
  if (*more)
    tr_store_release(store, key, 1);
  ++c->released;
  return TR_OK;
}

tr_status tr_unit_claim(tr_stores *stores, const tr_plan *plan, size_t pass, bool *claimed) {
  claims c = {0};
  tr_status status = walk_unit(stores, plan, pass, claim_run, &c);
  *claimed = status == TR_OK && !c.refused;
  if (!*claimed) /* the stores are open: this cannot fail */
    (void)walk_unit(stores, plan, pass, release_run, &c);
  return status;
}

void tr_unit_release(tr_stores *stores, const tr_plan *plan, size_t pass) {
  claims c = {.taken = SIZE_MAX};
  (void)walk_unit(stores, plan, pass, release_run, &c);
}

/* ---- what is finished ---- */

typedef struct finding {
  const tr_plan_options *options;
  tr_results *results;
  bool all;
} finding;

static tr_status find_run(tr_store *store, const tr_plan_run *run, const tr_run_key *key, void *context, bool *more) {
  finding *f = context;
  const tr_result *line;
  TR_TRY(tr_store_find(store, key, &line));
  *more = f->all = line && tr_plan_files_there(f->options, run->name, key->class_name);
  return *more ? tr_results_add_copy(f->results, line) : TR_OK;
}

static tr_status append_all(tr_results *to, const tr_results *from) {
  for (size_t i = 0; i < from->count; ++i)
    TR_TRY(tr_results_add_copy(to, &from->items[i]));
  return TR_OK;
}

tr_status tr_unit_finished(tr_stores *stores, const tr_plan *plan, size_t pass, tr_results *results, bool *finished) {
  tr_results found = {0};
  finding f = {stores->options, &found, false};
  tr_status status = walk_unit(stores, plan, pass, find_run, &f);
  *finished = status == TR_OK && f.all;
  if (*finished)
    status = append_all(results, &found);
  tr_results_free(&found);
  return status;
}
