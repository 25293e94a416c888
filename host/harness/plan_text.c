/* The plan as a tree. */
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/harness/profile.h"
#include "host/harness/room.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static void write_bytes(FILE *out, size_t bytes) {
  char text[32];
  fputs(tr_format_bytes(bytes, text, sizeof text), out);
}

static void write_seconds(FILE *out, double seconds) {
  if (seconds < 60)
    fprintf(out, "%.*f s", seconds < 10 ? 1 : 0, seconds);
  else if (seconds < 3600)
    fprintf(out, "%.0f min", seconds / 60);
  else
    fprintf(out, "%.1f h", seconds / 3600);
}

static void write_image(FILE *out, const tr_image_spec *image) {
  if (!image->resize && !image->crop) {
    fprintf(out, "as it is");
    return;
  }
  fprintf(out, "%d", image->resize ? image->resize : image->crop);
  if (image->squash)
    fprintf(out, "x%d", image->resize);
  if (image->resize && image->crop)
    fprintf(out, " to %d", image->crop);
}

/* ---- a model and its runs ---- */

static tr_status write_layers(FILE *out, const tr_setting *s) {
  char *layers = tr_setting_layers_text(s);
  if (!layers)
    return tr_fail(TR_ENOMEM, "writing the plan: out of memory");
  fputs(layers, out);
  free(layers);
  return TR_OK;
}

/* "patchcore layer2+layer3, p 3, stride 1: 28x28 patches of 1024 dimensions, made once for 5 runs" */
static tr_status write_model(FILE *out, const tr_group *g, const char *stem) {
  const tr_setting *s = g->runs[0].setting;
  bool patchcore = strcmp(s->method, "patchcore") == 0;
  const char *places = strcmp(s->method, "spade") == 0 ? "pixels" : "patches";
  fprintf(out, "%s├─ %s ", stem, s->method);
  TR_TRY(write_layers(out, s));
  if (patchcore)
    fprintf(out, ", p %d, stride %d", s->patch, s->stride);
  if (s->train_images)
    fprintf(out, ", %zu training images drawn by seed %llu", g->train_images, (unsigned long long)s->seed);
  fprintf(out, ": %dx%d %s of %d dimensions, once for %zu run%s\n", g->needs.grid_h, g->needs.grid_w, places, g->needs.dimension,
          g->run_count, g->run_count == 1 ? "" : "s");
  return TR_OK;
}

static bool is_again(const tr_group *g, size_t index) {
  for (size_t i = 0; i < index; ++i)
    if (g->runs[i].variant == g->runs[index].variant)
      return true;
  return false;
}

/* A selection and the runs that are prefixes of it, or Gaussians and their run, or galleries and their runs. */
static void write_selection(FILE *out, const tr_group *g, size_t first, const char *stem) {
  const tr_setting *s = g->runs[first].setting;
  fprintf(out, "%s│  ├─ ", stem);
  if (strcmp(s->method, "padim") == 0)
    fprintf(out, "a Gaussian at each position of %d drawn dimensions, seed %llu\n", s->dimension, (unsigned long long)s->seed);
  else if (strcmp(s->method, "spade") == 0)
    fprintf(out, "%s\n", s->gallery == TR_GALLERY_CONCATENATED ? "one gallery of all layers" : "a gallery of each layer");
  else if (s->subsampling == TR_SUBSAMPLE_NONE)
    fprintf(out, "all patches\n");
  else
    fprintf(out, "%s selection, seed %llu\n", tr_subsampling_name(s->subsampling), (unsigned long long)s->seed);
  for (size_t i = first; i < g->run_count; ++i)
    if (tr_setting_shares_selection(s, g->runs[i].setting))
      fprintf(out, "%s│  │     %s%s%s\n", stem, g->runs[i].name,
              !g->runs[i].experiment ? " (for an ensemble)"
              : g->runs[i].in_store  ? " (again, for its files)"
                                     : "",
              g->runs[i].experiment && is_again(g, i) ? " (the same, of another experiment)" : "");
}

/* Where not all training features are kept. */
static void write_keep(FILE *out, const tr_group *g, const char *stem) {
  char text[160];
  if (tr_room_keep_text(&g->needs, text, sizeof text))
    fprintf(out, "%s│  ├─ %s\n", stem, text);
}

static tr_status write_group(FILE *out, const tr_group *g, const char *stem) {
  TR_TRY(write_model(out, g, stem));
  write_keep(out, g, stem);
  for (size_t i = 0; i < g->run_count; ++i) {
    bool seen = false;
    for (size_t j = 0; j < i; ++j)
      seen = seen || tr_setting_shares_selection(g->runs[j].setting, g->runs[i].setting);
    if (!seen)
      write_selection(out, g, i, stem);
  }
  return TR_OK;
}

/* ---- a pass ---- */

/* Seconds of a pass, by rates of this machine, and of run after run, and on an H100. */
typedef struct estimates {
  tr_pass_seconds here, alone, h100;
} estimates;

static estimates estimate(const tr_plan *plan, const tr_profile *profile, const tr_pass *pass) {
  tr_profile h100 = tr_profile_h100();
  return (estimates){tr_profile_pass(profile, plan, pass), tr_profile_alone(profile, plan, pass),
                     tr_profile_pass(&h100, plan, pass)};
}

static void write_needs(FILE *out, const tr_pass *pass, const estimates *e, const char *stem) {
  const tr_forecast *f = &pass->forecast;
  const tr_pass_seconds *s = &e->here;
  fprintf(out, "%s└─ peak ", stem);
  write_bytes(out, f->peak_bytes);
  fprintf(out, " (fit ");
  write_bytes(out, f->fit_bytes);
  fprintf(out, ", score ");
  write_bytes(out, f->score_bytes);
  fprintf(out, ", metrics ");
  write_bytes(out, f->metrics_bytes);
  fprintf(out, "), about ");
  write_seconds(out, s->total);
  fprintf(out, " (decode %.1f, backbone %.1f, fit %.1f, score %.1f, metrics %.1f)", s->decode, s->backbone, s->fit, s->score,
          s->metrics);
  fprintf(out, "; run by run ");
  write_seconds(out, e->alone.total);
  fprintf(out, "; H100 ");
  write_seconds(out, e->h100.total);
  fprintf(out, "\n");
}

static void write_refused(FILE *out, const tr_pass *pass, const char *stem) {
  for (size_t i = 0; i < pass->group_count; ++i)
    for (size_t j = 0; j < pass->groups[i].run_count; ++j)
      fprintf(out, "%s├─ %s\n", stem, pass->groups[i].runs[j].name);
  fprintf(out, "%s└─ refused: %s\n", stem, pass->refused);
}

/* Sums over passes. */
typedef struct totals {
  double here, alone, h100;
  size_t peak, refused, passes, models;
} totals;

static void add_totals(totals *to, const totals *from) {
  to->here += from->here;
  to->alone += from->alone;
  to->h100 += from->h100;
  to->peak = from->peak > to->peak ? from->peak : to->peak;
  to->refused += from->refused;
  to->passes += from->passes;
  to->models += from->models;
}

static void write_tiles(FILE *out, const tr_pass *pass) {
  if (!pass->tile.size || pass->refused)
    return;
  fprintf(out, " in %zu tile%s of %d", tr_tiling_count(&pass->tiling), tr_tiling_count(&pass->tiling) == 1 ? "" : "s",
          pass->tile.size);
  if (tr_pass_models(pass) > 1)
    fprintf(out, " with a bank each, %zu at a time", pass->positions);
}

static const char *stem_of(const tr_plan *plan, size_t index) {
  bool last = index + 1 == plan->pass_count || plan->passes[index + 1].class_ != plan->passes[index].class_;
  return last ? "   " : "│  ";
}

static void write_pass_line(FILE *out, const tr_plan *plan, size_t index) {
  const tr_pass *pass = &plan->passes[index];
  size_t runs = tr_pass_runs(pass);
  bool last = *stem_of(plan, index) == ' ';
  fprintf(out, "%s [%zu/%zu] backbone pass: %s ", last ? "└─" : "├─", index + 1, plan->pass_count, pass->weights->backbone);
  for (int i = 0; i < pass->layer_count; ++i)
    fprintf(out, "%s%s", i ? "+" : "", pass->layers[i]);
  fprintf(out, "%simage ", pass->layer_count ? ", " : "");
  write_image(out, &pass->image);
  write_tiles(out, pass);
  fprintf(out, ", once for %zu model%s, %zu run%s%s\n", pass->group_count, pass->group_count == 1 ? "" : "s", runs,
          runs == 1 ? "" : "s", pass->weights->missing ? "; its weights are missing" : "");
}

static void add_to_totals(totals *sum, const tr_pass *pass, const estimates *e) {
  if (pass->refused) {
    sum->refused += tr_pass_runs(pass);
    return;
  }
  sum->here += e->here.total;
  sum->alone += e->alone.total;
  sum->h100 += e->h100.total;
  sum->peak = pass->forecast.peak_bytes > sum->peak ? pass->forecast.peak_bytes : sum->peak;
  ++sum->passes;
  sum->models += pass->group_count;
}

/* What the pass shares with others beside what its own models do. */
static void write_kept(FILE *out, const tr_pass *pass, const char *what, tr_cache_place place, size_t bytes, const char *stem) {
  if (place == TR_CACHE_NONE)
    return;
  fprintf(out, "%s├─ %s kept in %s for other passes: ", stem, what, place == TR_CACHE_FILE ? "a temporary file" : "memory");
  write_bytes(out, bytes * (pass->class_->train_images + pass->class_->test_images));
  fprintf(out, "\n");
}

static tr_status write_pass(FILE *out, const tr_plan *plan, const tr_profile *profile, size_t index) {
  const tr_pass *pass = &plan->passes[index];
  const char *stem = stem_of(plan, index);
  write_pass_line(out, plan, index);
  if (pass->refused) {
    write_refused(out, pass, stem);
    return TR_OK;
  }
  write_kept(out, pass, "resized images", pass->image_cache, (size_t)pass->tiling.h * (size_t)pass->tiling.w * 3, stem);
  write_kept(out, pass, "tapped maps", pass->map_cache, pass->map_bytes, stem);
  for (size_t i = 0; i < pass->group_count; ++i)
    TR_TRY(write_group(out, &pass->groups[i], stem));
  estimates e = estimate(plan, profile, pass);
  write_needs(out, pass, &e, stem);
  return TR_OK;
}

static void write_members(FILE *out, const tr_plan_ensemble *e) {
  const tr_setting *s = e->run.setting;
  fprintf(out, "└─ ensemble of %d: %s\n", s->member_count, e->run.name);
  for (int i = 0; i < s->member_count; ++i)
    fprintf(out, "   ├─ %s\n", e->members[i]);
  if (e->refused) {
    fprintf(out, "   └─ refused: %s\n", e->refused);
    return;
  }
  fprintf(out, "   └─ mean of their scores and maps, scaled by those of %s; peak ",
          s->normalise == TR_NORMALISE_NOMINAL ? "nominal training images" : "all test images");
  write_bytes(out, e->peak_bytes);
  fprintf(out, "\n");
}

static void write_ensemble(FILE *out, const tr_plan_ensemble *e, bool shown, totals *sum) {
  if (shown)
    write_members(out, e);
  sum->refused += e->refused != NULL;
  sum->peak = !e->refused && e->peak_bytes > sum->peak ? e->peak_bytes : sum->peak;
}

/* ---- classes ---- */

/* The passes of a class stand together. */
typedef struct span {
  size_t first, count;
} span;

static span span_of(const tr_plan *plan, size_t first) {
  span s = {first, 0};
  while (first + s.count < plan->pass_count && plan->passes[first + s.count].class_ == plan->passes[first].class_)
    ++s.count;
  return s;
}

static uint64_t hash_run(const tr_plan_run *run, bool refused) {
  const char *experiment = run->experiment ? run->experiment->name : "";
  return XXH64(run->name, strlen(run->name), XXH64(experiment, strlen(experiment), refused));
}

/* Of the runs of a class, in any order and in whatever passes. */
static uint64_t fingerprint(const tr_plan *plan, span of) {
  uint64_t sum = 0;
  for (size_t i = of.first; i < of.first + of.count; ++i)
    for (size_t g = 0; g < plan->passes[i].group_count; ++g)
      for (size_t r = 0; r < plan->passes[i].groups[g].run_count; ++r)
        sum += hash_run(&plan->passes[i].groups[g].runs[r], plan->passes[i].refused != NULL);
  for (size_t i = 0; i < plan->ensemble_count; ++i)
    if (plan->ensembles[i].class_ == plan->passes[of.first].class_)
      sum += hash_run(&plan->ensembles[i].run, plan->ensembles[i].refused != NULL);
  return sum;
}

/* An earlier class that the same is done with, or NULL. */
static const tr_plan_class *find_like(const tr_plan *plan, span of) {
  const tr_plan_class *c = plan->passes[of.first].class_;
  uint64_t wanted = fingerprint(plan, of);
  for (span s = span_of(plan, 0); s.first < of.first; s = span_of(plan, s.first + s.count)) {
    const tr_plan_class *other = plan->passes[s.first].class_;
    if (other->source == c->source && fingerprint(plan, s) == wanted)
      return other;
  }
  return NULL;
}

static void write_class(FILE *out, const tr_plan_class *c) {
  fprintf(out, "\n%s %s: %zu training, %zu test images", c->source->kind, c->name, c->train_images, c->test_images);
  if (c->size_assumed)
    fprintf(out, ", taken as %dx%d, as none can be read", c->first_w, c->first_h);
  fprintf(out, "\n");
}

static void write_sums(FILE *out, const totals *sum) {
  fprintf(out, "peak ");
  write_bytes(out, sum->peak);
  fprintf(out, ", about ");
  write_seconds(out, sum->here);
  fprintf(out, " here, ");
  write_seconds(out, sum->h100);
  fprintf(out, " on one H100; run by run about ");
  write_seconds(out, sum->alone);
  fprintf(out, " here");
  if (sum->refused)
    fprintf(out, "; %zu runs refused", sum->refused);
  fprintf(out, "\n");
}

static tr_status write_span(FILE *out, const tr_plan *plan, const tr_profile *profile, span of, totals *all) {
  const tr_plan_class *c = plan->passes[of.first].class_, *like = find_like(plan, of);
  totals sum = {0};
  write_class(out, c);
  for (size_t i = of.first; i < of.first + of.count; ++i) {
    estimates e = estimate(plan, profile, &plan->passes[i]);
    if (!like)
      TR_TRY(write_pass(out, plan, profile, i));
    add_to_totals(&sum, &plan->passes[i], &e);
  }
  for (size_t i = 0; i < plan->ensemble_count; ++i)
    if (plan->ensembles[i].class_ == c)
      write_ensemble(out, &plan->ensembles[i], !like, &sum);
  fprintf(out, "%s", like ? "└─ " : "");
  if (like)
    fprintf(out, "[%zu-%zu/%zu] the same runs as %s: ", of.first + 1, of.first + of.count, plan->pass_count, like->name);
  if (like || of.count > 1)
    write_sums(out, &sum);
  add_totals(all, &sum);
  return TR_OK;
}

/* ---- the plan ---- */

static void write_totals(FILE *out, const tr_plan *plan, const tr_profile *profile, const totals *sum) {
  fprintf(out, "\nIn all: ");
  write_sums(out, sum);
  fprintf(out, "Sharing: %zu backbone passes and %zu models for %zu runs; run by run would take %.1f times as long\n",
          sum->passes, sum->models, plan->runs - plan->finished_runs - sum->refused, sum->here > 0 ? sum->alone / sum->here : 1);
  fprintf(
      out,
      "Seconds here: rates measured in %.1f s just now, on this machine as busy as it is%s; what selections and searches skip "
      "is what they skip on MVTec AD and MTD.\n",
      profile->seconds, profile->decode_assumed ? ", but for decoding, which is assumed: 30 megapixels/s a core" : "");
  fprintf(out, "%s\n", tr_profile_h100_text());
}

typedef struct plan_view {
  const tr_plan *plan;
  const tr_profile *profile;
} plan_view;

static tr_status write_plan(FILE *out, const void *context) {
  const plan_view *view = context;
  const tr_plan *plan = view->plan;
  const tr_profile *profile = view->profile;
  totals sum = {0};
  fprintf(out, "%zu runs of a class, %zu finished; %zu backbone passes to do\n", plan->runs, plan->finished_runs,
          plan->pass_count);
  for (size_t i = 0; i < plan->missing.count; ++i)
    fprintf(out, "not at hand: %s\n", plan->missing.items[i]);
  for (size_t first = 0; first < plan->pass_count;) {
    span of = span_of(plan, first);
    TR_TRY(write_span(out, plan, profile, of, &sum));
    first += of.count;
  }
  if (plan->pass_count)
    write_totals(out, plan, profile, &sum);
  return TR_OK;
}

tr_status tr_plan_text(const tr_plan *plan, const tr_profile *profile, char **out) {
  return tr_text_of("writing the plan", write_plan, &(plan_view){plan, profile}, out);
}
