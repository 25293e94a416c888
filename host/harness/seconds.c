/* Seconds of passes from rates of work. */
#include "host/base/text.h"
#include "host/harness/profile.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Stated, not measured: kernels/cuda/README.md says what the parts are expected to reach. 67 TFLOP/s in float are 33.5e12 multiply-adds;
 * convolutions are counted at half of that, searches at the two thirds that products reach. Images come from 16 processor cores at 30
 * megapixels a second each (PNG of MVTec AD's size). Metrics sort on the device and label regions on the host. */
#define H100_MACS          33.5e12
#define H100_CORES         16
#define H100_PIXELS_A_CORE 30e6
#define H100_METRIC_PIXELS 200e6
#define H100_FILE_BYTES    1e9 /* a local NVMe disk */

/* About what two cores with AVX-512 do. */
tr_profile tr_profile_common(void) {
  return (tr_profile){.decode_pixels = 60e6, .backbone_macs = 100e9, .search_macs = 100e9, .metric_pixels = 40e6};
}

tr_profile tr_profile_h100(void) {
  return (tr_profile){.decode_pixels = H100_CORES * H100_PIXELS_A_CORE,
                      .backbone_macs = H100_MACS / 2,
                      .search_macs = H100_MACS * 2 / 3,
                      .metric_pixels = H100_METRIC_PIXELS,
                      .file_bytes = H100_FILE_BYTES,
                      .gpu = true};
}

const char *tr_profile_h100_text(void) {
  return "H100: from constants, not measured: 67 TFLOP/s in float (NVIDIA's data sheet of the SXM module), of which convolutions "
         "reach half and searches two thirds (kernels/cuda/README.md); 16 cores that decode 30 megapixels/s each meanwhile; 200 "
         "megapixels/s of maps evaluated; temporary files at 1 GB/s.";
}

static double per(double work, double rate) {
  return rate > 0 ? work / rate : 0;
}

static double backbone_rate(const tr_profile *profile, const tr_plan *plan, const tr_plan_weights *weights) {
  size_t i = 0;
  while (plan->weights[i] != weights)
    ++i;
  return profile->backbones && profile->backbones[i] > 0 ? profile->backbones[i] : profile->backbone_macs;
}

static double decode_rate(const tr_profile *profile, const tr_plan *plan, const tr_plan_class *class_) {
  size_t i = 0;
  while (plan->classes[i] != class_)
    ++i;
  return profile->decoders && profile->decoders[i] > 0 ? profile->decoders[i] : profile->decode_pixels;
}

static void add_up(const tr_profile *profile, tr_pass_seconds *s) {
  double device = s->backbone + s->score;
  double passes = profile->gpu ? fmax(s->decode, device) : s->decode + device;
  s->total = passes + s->fit + s->metrics;
}

static double images_of(const tr_pass *pass) {
  return (double)(pass->train_images + pass->class_->test_images);
}

/* How often images are decoded: a bank per position may be made in several lots. */
static double lots_of(const tr_pass *pass) {
  return ceil((double)tr_pass_models(pass) / (double)(pass->positions ? pass->positions : 1));
}

tr_pass_seconds tr_profile_pass(const tr_profile *profile, const tr_plan *plan, const tr_pass *pass) {
  const tr_plan_class *c = pass->class_;
  double fit = 0, score = 0, maps = 0, images = images_of(pass), file = 0, memory = 0;
  for (size_t i = 0; i < pass->group_count; ++i) {
    const tr_method_needs *needs = &pass->groups[i].needs;
    images += needs->again ? (double)pass->groups[i].train_images : 0;
    file += (double)needs->file_bytes;
    memory += (double)needs->fit_bytes;
    fit += profile->gpu ? needs->gpu_fit_macs : needs->fit_macs;
    score += profile->gpu ? needs->gpu_score_macs : needs->score_macs;
    maps += (double)(pass->groups[i].variant_count * c->test_images);
  }
  tr_pass_seconds s = {
      .decode = per(images * lots_of(pass) * c->mean_pixels, decode_rate(profile, plan, c)),
      .backbone = per(images * pass->forecast.backbone_macs, backbone_rate(profile, plan, pass->weights)),
      .fit = per(fit, profile->search_macs) + per(file, profile->file_bytes) + per(memory, profile->memory_bytes),
      .score = per(score, profile->search_macs),
      .metrics = per(maps * pass->tiling.h * pass->tiling.w, profile->metric_pixels),
  };
  if (pass->images_there || pass->maps_there)
    s.decode = 0;
  if (pass->maps_there)
    s.backbone = pass->map_cache == TR_CACHE_FILE ? per(images * (double)pass->map_bytes, profile->file_bytes) : 0;
  add_up(profile, &s);
  return s;
}

static size_t variants_of(const tr_pass *pass) {
  size_t count = 0;
  for (size_t i = 0; i < pass->group_count; ++i)
    count += pass->groups[i].variant_count;
  return count;
}

/* The selection of a run is that of the largest run that it is a prefix of. */
static double selection_macs(const tr_group *group, size_t run) {
  double most = 0;
  for (size_t i = 0; i < group->run_count; ++i)
    if (tr_setting_shares_selection(group->runs[run].setting, group->runs[i].setting))
      most = fmax(most, group->runs[i].fit_macs);
  return most;
}

tr_run_forecast tr_profile_run(const tr_profile *profile, const tr_plan *plan, const tr_pass *pass, const tr_group *group,
                               size_t run, size_t variants) {
  tr_pass_seconds s = tr_profile_pass(profile, plan, pass);
  double metrics = s.metrics / (double)variants_of(pass);
  return (tr_run_forecast){.decode = s.decode,
                           .backbone = s.backbone,
                           .coreset = per(selection_macs(group, run), profile->search_macs),
                           .nearest = per(group->runs[run].score_macs, profile->search_macs),
                           .metrics = metrics,
                           .pass = s.total - s.metrics + metrics * (double)variants};
}

tr_pass_seconds tr_profile_alone(const tr_profile *profile, const tr_plan *plan, const tr_pass *pass) {
  const tr_plan_class *c = pass->class_;
  double fit = 0, score = 0, images = 0, backbone = 0, runs = (double)tr_pass_runs(pass);
  for (size_t i = 0; i < pass->group_count; ++i) {
    for (size_t j = 0; j < pass->groups[i].run_count; ++j) {
      fit += pass->groups[i].runs[j].fit_macs;
      score += pass->groups[i].runs[j].score_macs;
    }
    double seen = (double)(pass->groups[i].run_count * (pass->groups[i].train_images + c->test_images));
    images += seen;
    backbone += seen * pass->groups[i].backbone_macs;
  }
  tr_pass_seconds s = {
      .decode = per(images * c->mean_pixels, decode_rate(profile, plan, c)),
      .backbone = per(backbone, backbone_rate(profile, plan, pass->weights)),
      .fit = per(fit, profile->search_macs),
      .score = per(score, profile->search_macs),
      .metrics = per(runs * (double)c->test_images * pass->tiling.h * pass->tiling.w, profile->metric_pixels),
  };
  add_up(profile, &s);
  return s;
}

/* ---- against what was measured ---- */

/* " (decode 4.6, …)"; nothing where only the total is known. */
static void write_stages(FILE *out, const tr_pass_seconds *s) {
  const double stages[] = {s->decode, s->backbone, s->fit, s->score, s->metrics};
  static const char *const names[] = {"decode", "backbone", "fit", "score", "metrics"};
  bool any = false;
  for (size_t i = 0; i < sizeof stages / sizeof *stages; ++i) {
    if (!(stages[i] > 0))
      continue;
    fprintf(out, "%s%s %.1f", any ? ", " : " (", names[i], stages[i]);
    any = true;
  }
  fputs(any ? ")" : "", out);
}

const char *tr_profile_compare(const tr_pass_seconds *forecast, const tr_pass_seconds *measured, size_t forecast_bytes,
                               size_t peak_bytes, double other_load, char *text) {
  char bytes[2][32];
  *text = '\0';
  FILE *out = fmemopen(text, TR_COMPARISON_BYTES, "w");
  if (!out)
    return text;
  fprintf(out, "forecast %.1f s", forecast->total);
  write_stages(out, forecast);
  fprintf(out, ", peak %s; took %.1f s", tr_format_bytes(forecast_bytes, bytes[0], sizeof bytes[0]), measured->total);
  write_stages(out, measured);
  fprintf(out, ", peak %s; forecast/measured: seconds %.2f, bytes %.2f", tr_format_bytes(peak_bytes, bytes[1], sizeof bytes[1]),
          forecast->total / measured->total, (double)forecast_bytes / (double)peak_bytes);
  if (other_load >= 0) /* not NaN */
    fprintf(out, "; others had %.0f %% of the processors", 100 * other_load);
  fclose(out);
  return text;
}
