/* The plan as a tree. */
#include "host/base/status.h"
#include "host/harness/profile.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_bytes(FILE *out, size_t bytes) {
  char text[32];
  fputs(tr_format_bytes(bytes, text, sizeof text), out);
}

static void write_seconds(FILE *out, double seconds) {
  if (seconds < 60)
    fprintf(out, "%.0f s", seconds);
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

typedef struct wording {
  const char *method, *shared, *places, *fit, *score;
} wording;

static const wording *wording_of(const tr_group *g) {
  static const wording words[] = {
      {"padim", "", "patches", "Gaussians", "distances"},
      {"spade", "", "pixels", "galleries", "search"},
      {"patchcore", " and patch features", "patches", "coreset", "search"},
  };
  size_t i = 0;
  while (i + 1 < sizeof words / sizeof *words && strcmp(words[i].method, g->runs[0].setting->method) != 0)
    ++i;
  return &words[i];
}

/* "backbone pass and patch features, once for 2 runs: resnet50_v1 layer2+layer3, image 256 to 224, p 3 …" */
static tr_status write_shared(FILE *out, const tr_group *g) {
  const tr_setting *s = g->runs[0].setting;
  char *layers = tr_setting_layers_text(s);
  if (!layers)
    return tr_fail(TR_ENOMEM, "writing the plan: out of memory");
  const wording *words = wording_of(g);
  fprintf(out, "├─ backbone pass%s, once for %zu run%s: %s %s, image ", words->shared, g->run_count, g->run_count == 1 ? "" : "s",
          s->backbone, layers);
  free(layers);
  write_image(out, &s->image);
  if (*words->shared)
    fprintf(out, ", p %d, stride %d", s->patch, s->stride);
  fprintf(out, ", %dx%d %s of %d dimensions\n", g->forecast.grid_h, g->forecast.grid_w, words->places, g->forecast.dimension);
  return TR_OK;
}

/* A selection and the runs that are prefixes of it, or Gaussians and their run, or galleries and their runs. */
static void write_selection(FILE *out, const tr_group *g, size_t first) {
  const tr_setting *s = g->runs[first].setting;
  if (strcmp(s->method, "padim") == 0)
    fprintf(out, "├─ a Gaussian at each position of %d drawn dimensions, seed %llu\n", s->dimension, (unsigned long long)s->seed);
  else if (strcmp(s->method, "spade") == 0)
    fprintf(out, "├─ %s\n", s->gallery == TR_GALLERY_CONCATENATED ? "one gallery of all layers" : "a gallery of each layer");
  else if (s->subsampling == TR_SUBSAMPLE_NONE)
    fprintf(out, "├─ all patches\n");
  else
    fprintf(out, "├─ %s selection, seed %llu\n", tr_subsampling_name(s->subsampling), (unsigned long long)s->seed);
  for (size_t i = first; i < g->run_count; ++i)
    if (tr_setting_shares_selection(s, g->runs[i].setting))
      fprintf(out, "│     %s%s\n", g->runs[i].name, g->runs[i].in_store ? " (again, for its files)" : "");
}

static void write_needs(FILE *out, const tr_group *g, const tr_group_seconds *s, bool backbone_known) {
  const tr_forecast *f = &g->forecast;
  fprintf(out, "└─ peak ");
  write_bytes(out, f->peak_bytes);
  fprintf(out, " (fit ");
  write_bytes(out, f->fit_bytes);
  fprintf(out, ", score ");
  write_bytes(out, f->score_bytes);
  fprintf(out, ", metrics ");
  write_bytes(out, f->metrics_bytes);
  fprintf(out, "), about ");
  write_seconds(out, s->total);
  fprintf(out, " (decode %.1f, backbone ", s->decode);
  if (backbone_known)
    fprintf(out, "%.1f", s->backbone);
  else
    fprintf(out, "unknown without weights");
  const wording *words = wording_of(g);
  fprintf(out, ", %s %.1f, %s %.1f, metrics %.1f)\n", words->fit, s->fit, words->score, s->score, s->metrics);
}

static tr_status write_group(FILE *out, const tr_plan *plan, const tr_profile *profile, size_t index, double *seconds) {
  const tr_group *g = &plan->groups[index];
  const tr_plan_class *c = g->class_;
  fprintf(out, "\n[%zu/%zu] %s, %s %s: %zu training, %zu test images\n", index + 1, plan->group_count, g->experiment->name,
          g->runs[0].setting->dataset, c->name, c->train_images, c->test_images);
  if (g->refused) {
    for (size_t i = 0; i < g->run_count; ++i)
      fprintf(out, "├─ %s\n", g->runs[i].name);
    fprintf(out, "└─ refused: %s\n", g->refused);
    return TR_OK;
  }
  TR_TRY(write_shared(out, g));
  for (size_t i = 0; i < g->run_count; ++i) {
    bool seen = false;
    for (size_t j = 0; j < i; ++j)
      seen = seen || tr_setting_shares_selection(g->runs[j].setting, g->runs[i].setting);
    if (!seen)
      write_selection(out, g, i);
  }
  tr_group_seconds s = tr_profile_group(profile, plan, g);
  write_needs(out, g, &s, g->weights->file != NULL);
  *seconds += s.total;
  return TR_OK;
}

static tr_status write_plan(FILE *out, const tr_plan *plan, const tr_profile *profile) {
  size_t peak = 0, refused = 0;
  double seconds = 0;
  fprintf(out, "%zu runs of a class, %zu finished; %zu groups to do\n", plan->runs, plan->finished_runs, plan->group_count);
  for (size_t i = 0; i < plan->group_count; ++i) {
    const tr_group *g = &plan->groups[i];
    TR_TRY(write_group(out, plan, profile, i, &seconds));
    peak = !g->refused && g->forecast.peak_bytes > peak ? g->forecast.peak_bytes : peak;
    refused += g->refused ? g->run_count : 0;
  }
  if (!plan->group_count)
    return TR_OK;
  fprintf(out, "\npeak ");
  write_bytes(out, peak);
  fprintf(out, ", about ");
  write_seconds(out, seconds);
  if (refused)
    fprintf(out, "; %zu runs refused", refused);
  fprintf(
      out,
      "\nSeconds: rates measured in %.1f s just now, on this machine as busy as it is; the selection's share of skipped work is "
      "that of MVTec bottle.\n",
      profile->seconds);
  return TR_OK;
}

tr_status tr_plan_text(const tr_plan *plan, const tr_profile *profile, char **out) {
  size_t bytes;
  *out = NULL;
  FILE *text = open_memstream(out, &bytes);
  if (!text)
    return tr_fail(TR_ENOMEM, "writing the plan: out of memory");
  tr_status status = write_plan(text, plan, profile);
  if (fclose(text) != 0 && status == TR_OK)
    status = tr_fail(TR_ENOMEM, "writing the plan: out of memory");
  if (status != TR_OK) {
    free(*out);
    *out = NULL;
  }
  return status;
}
