/* Ensembles in a plan: their members are runs of passes like any other; what remains is to average their scores. */
#include "host/base/status.h"
#include "host/harness/draw.h"
#include "host/harness/planner.h"
#include <stdlib.h>
#include <string.h>

void tr_plan_ensemble_release(tr_plan_ensemble *e) {
  for (int i = 0; e->members && i < e->run.setting->member_count; ++i)
    free(e->members[i]);
  free(e->members);
  free(e->run.name);
  free(e->weights);
  free(e->sha256);
  free(e->refused);
  *e = (tr_plan_ensemble){0};
}

static const char *sha256_of(const tr_plan_weights *weights) {
  return weights->sha256;
}

static const char *file_of(const tr_plan_weights *weights) {
  const char *slash = weights->file ? strrchr(weights->file, '/') : NULL;
  return slash ? slash + 1 : weights->file;
}

/* A text of each member's weights, joined by `+`; NULL where one has none. */
static tr_status join_texts(tr_planner *p, const tr_setting *ensemble, const char *(*text)(const tr_plan_weights *), char **out) {
  *out = NULL;
  for (int i = 0; i < ensemble->member_count; ++i) {
    const tr_plan_weights *weights;
    TR_TRY(tr_planner_weights(p, ensemble->members[i].backbone, &weights));
    const char *next = text(weights);
    char *joined = next ? tr_format("%s%s%s", *out ? *out : "", *out ? "+" : "", next) : NULL;
    free(*out);
    *out = joined;
    if (!joined)
      return next ? tr_planner_no_memory() : TR_OK;
  }
  return TR_OK;
}

tr_status tr_planner_join_sha256(tr_planner *p, const tr_setting *ensemble, char **out) {
  return join_texts(p, ensemble, sha256_of, out);
}

/* ---- adding ---- */

/* Drafts that give members of an ensemble are of one link; links that meet become one. */
static void link_drafts(tr_planner *p, const size_t *drafts, int count) {
  size_t link = ++p->last_link;
  for (int i = 0; i < count; ++i) {
    size_t old = p->drafts[drafts[i]].link;
    p->drafts[drafts[i]].link = link;
    for (size_t d = 0; old && d < p->draft_count; ++d)
      if (p->drafts[d].link == old)
        p->drafts[d].link = link;
  }
}

static tr_status fill_ensemble(tr_planner *p, tr_plan_ensemble *e) {
  const tr_setting *s = e->run.setting;
  e->image = s->image;
  e->members = calloc((size_t)s->member_count, sizeof *e->members);
  if (!e->members)
    return tr_planner_no_memory();
  for (int i = 0; i < s->member_count; ++i) {
    e->members[i] = tr_setting_run_name(&s->members[i]);
    if (!e->members[i])
      return tr_planner_no_memory();
  }
  TR_TRY(join_texts(p, s, file_of, &e->weights));
  return tr_planner_join_sha256(p, s, &e->sha256);
}

static tr_status append_ensemble(tr_plan_ensemble **list, size_t *count, tr_plan_ensemble *e) {
  tr_plan_ensemble *ensembles = tr_planner_grown(*list, *count, sizeof *ensembles);
  if (!ensembles) {
    tr_plan_ensemble_release(e);
    return tr_planner_no_memory();
  }
  *list = ensembles;
  ensembles[(*count)++] = *e;
  *e = (tr_plan_ensemble){0};
  return TR_OK;
}

tr_status tr_planner_add_ensemble(tr_planner *p, const tr_plan_class *class_, const tr_plan_run *run, const size_t *drafts) {
  tr_plan_ensemble e = {.run = *run, .class_ = class_};
  link_drafts(p, drafts, run->setting->member_count);
  tr_status status = fill_ensemble(p, &e);
  if (status != TR_OK) {
    tr_plan_ensemble_release(&e);
    return status;
  }
  return append_ensemble(&p->ensembles, &p->ensemble_count, &e);
}

/* ---- among passes ---- */

static bool has_run(const tr_pass *pass, const tr_plan_class *class_, const char *name) {
  for (size_t g = 0; pass->class_ == class_ && g < pass->group_count; ++g)
    for (size_t r = 0; r < pass->groups[g].run_count; ++r)
      if (strcmp(pass->groups[g].runs[r].name, name) == 0)
        return true;
  return false;
}

static const tr_pass *find_member(const tr_pass *passes, size_t count, const tr_plan_ensemble *e, int member) {
  for (size_t i = 0; i < count; ++i)
    if (has_run(&passes[i], e->class_, e->members[member]))
      return &passes[i];
  return NULL;
}

tr_status tr_planner_take_ensembles(tr_planner *p) {
  for (size_t i = 0; i < p->ensemble_count; ++i) {
    tr_plan_ensemble *e = &p->ensembles[i];
    if (!find_member(p->drafts, p->draft_count, e, 0))
      continue;
    ++p->plan->runs;
    if (!e->run.finished) {
      TR_TRY(append_ensemble(&p->plan->ensembles, &p->plan->ensemble_count, e));
      continue;
    }
    TR_TRY(tr_planner_note_finished(p, &e->run));
  }
  return TR_OK;
}

/* Nominal images are scored against the others' rows, so there must be rows, and others. */
static tr_status check_nominal(const tr_plan_ensemble *e) {
  const tr_setting *s = e->run.setting;
  for (int i = 0; s->normalise == TR_NORMALISE_NOMINAL && i < s->member_count; ++i) {
    const tr_setting *m = &s->members[i];
    bool learned = m->subsampling == TR_SUBSAMPLE_LEARNED;
    if (learned || !tr_method_find(m->method)->score_own)
      return tr_fail(
          TR_EINVAL,
          "normalise: nominal scores training images against a memory bank without their own rows, which %s does not have",
          learned ? "a bank of learned proxies" : m->method);
    if (tr_draw_count(m, e->class_->train_images) < 2)
      return tr_fail(TR_EINVAL, "normalise: nominal needs at least two training images");
  }
  return TR_OK;
}

static tr_status check_ensemble(const tr_planner *p, tr_plan_ensemble *e) {
  char need[32], given[32];
  TR_TRY(check_nominal(e));
  for (int i = 0; i < e->run.setting->member_count; ++i) {
    const tr_pass *pass = find_member(p->plan->passes, p->plan->pass_count, e, i);
    if (!pass || pass->refused)
      return tr_fail(TR_EINVAL, "its member %s is refused", e->members[i]);
    e->tiling = pass->tiling;
  }
  tr_planner_forecast_ensemble(p, e);
  if (p->limit_bytes && e->peak_bytes > p->limit_bytes)
    return tr_fail(TR_ENOMEM, "needs %s, more than the memory limit of %s", tr_format_bytes(e->peak_bytes, need, sizeof need),
                   tr_format_bytes(p->limit_bytes, given, sizeof given));
  return TR_OK;
}

tr_status tr_planner_check_ensembles(tr_planner *p) {
  for (size_t i = 0; i < p->plan->ensemble_count; ++i) {
    tr_plan_ensemble *e = &p->plan->ensembles[i];
    if (check_ensemble(p, e) == TR_OK)
      continue;
    e->refused = strdup(tr_last_error());
    if (!e->refused)
      return tr_planner_no_memory();
  }
  return TR_OK;
}
