/* gaussian: sizes, checks and dispatch. */
#include "kernels/gaussian.h"

#include "host/base/status.h"
#include "kernels/operators.h"

/* A batch and the step of the mean make 32 rows, whole tiles. Queries are as many as make a position's factor worth reading. */
enum { BATCH = 31, QUERIES = 32 };

/* A triangle of n rows times a vector. */
static double triangle_macs(double n) {
  return n * (n + 1) / 2;
}

/* Of a distance at one position: L^-1 d; or X d, L^-1, L^-T and X^T w. */
static double distance_macs(tr_gaussian_form form, double n, double d) {
  return form == TR_GAUSSIAN_SAMPLES ? 2 * n * d + 2 * triangle_macs(n) : triangle_macs(d);
}

tr_gaussian_form tr_gaussian_best_form(size_t samples, int d) {
  size_t width = tr_triangle_round((size_t)d);
  bool less = samples <= width && samples * width + tr_triangle_floats(samples) <= tr_triangle_floats(width);
  return less ? TR_GAUSSIAN_SAMPLES : TR_GAUSSIAN_COVARIANCE;
}

tr_gaussian_macs tr_gaussian_macs_of(const tr_gaussian_spec *spec) {
  double positions = (double)spec->positions, n = (double)spec->samples, d = spec->d;
  double fit = spec->form == TR_GAUSSIAN_SAMPLES ? triangle_macs(n) * d + n * n * n / 6 : 2 * triangle_macs(d) * n;
  return (tr_gaussian_macs){positions * fit, positions * distance_macs(spec->form, n, d)};
}

const char *tr_gaussian_form_name(tr_gaussian_form form) {
  return form == TR_GAUSSIAN_SAMPLES ? "samples" : "covariance";
}

tr_status tr_gaussian_check(const tr_gaussian_spec *spec) {
  if (spec->positions < 1 || spec->positions > 1u << 30)
    return tr_fail(TR_EINVAL, "gaussian: positions: expected 1 to %u, found %zu", 1u << 30, spec->positions);
  if (spec->samples < 1 || spec->samples > 1u << 30)
    return tr_fail(TR_EINVAL, "gaussian: training vectors of a position: expected 1 to %u, found %zu", 1u << 30, spec->samples);
  if (spec->d < 1 || spec->d > 1 << 14)
    return tr_fail(TR_EINVAL, "gaussian: dimensions: expected 1 to %d, found %d", 1 << 14, spec->d);
  if (spec->form != TR_GAUSSIAN_COVARIANCE && spec->form != TR_GAUSSIAN_SAMPLES)
    return tr_fail(TR_EINVAL, "gaussian: form: expected covariance or samples, found %d", (int)spec->form);
  if (!(spec->epsilon > 0 && spec->epsilon < 1e30))
    return tr_fail(TR_EINVAL, "gaussian: epsilon: expected a number above 0, found %g", spec->epsilon);
  return TR_OK;
}

tr_gaussian_bytes tr_gaussian_sizes(const tr_gaussian_spec *spec) {
  size_t vectors = spec->positions * tr_gaussian_width(spec);
  bool samples = spec->form == TR_GAUSSIAN_SAMPLES;
  size_t rank = samples ? spec->samples : (size_t)spec->d;
  return (tr_gaussian_bytes){
      .means = vectors * sizeof(float),
      .factors = spec->positions * tr_triangle_floats(rank) * sizeof(float),
      .samples = samples ? vectors * spec->samples * sizeof(float) : 0,
      .running = samples ? 0 : vectors * sizeof(double),
  };
}

/* The samples form keeps vectors as they come; what is summed is summed in batches of one size everywhere, for the same bits. */
size_t tr_gaussian_batch(const tr_device *device, const tr_gaussian_spec *spec) {
  return spec->form == TR_GAUSSIAN_SAMPLES ? tr_device_chunk(device) : BATCH;
}

size_t tr_gaussian_queries(const tr_device *device) {
  size_t chunk = tr_device_chunk(device);
  return chunk > QUERIES ? chunk : QUERIES;
}

size_t tr_gaussian_scratch(const tr_device *device, const tr_gaussian_spec *spec) {
  return tr_device_operators(device)->gaussian_scratch(device, spec);
}

static tr_status check_range(const tr_gaussian_args *args) {
  const tr_gaussian_spec *spec = &args->spec;
  TR_TRY(tr_gaussian_check(spec));
  if (args->first_position > spec->positions || args->positions > spec->positions - args->first_position)
    return tr_fail(TR_EINVAL, "gaussian: positions %zu to %zu are not among the %zu", args->first_position,
                   args->first_position + args->positions, spec->positions);
  bool samples = spec->form == TR_GAUSSIAN_SAMPLES;
  if (!args->gaussian.means || !args->gaussian.factors || (samples && !args->gaussian.samples) || !args->scratch)
    return tr_fail(TR_EINVAL, "gaussian: no %s given",
                   !args->gaussian.means     ? "means"
                   : !args->gaussian.factors ? "factors"
                   : !args->scratch          ? "scratch"
                                             : "samples");
  return TR_OK;
}

static tr_status check_rows(const tr_gaussian_args *args, size_t most) {
  if (args->n > most)
    return tr_fail(TR_EINVAL, "gaussian: expected at most %zu vectors at once, found %zu", most, args->n);
  if (!args->rows || args->position_pitch < args->n * tr_gaussian_width(&args->spec))
    return tr_fail(TR_EINVAL, "gaussian: %zu vectors of %d dimensions: %s", args->n, args->spec.d,
                   args->rows ? "positions are too close" : "rows is NULL");
  return TR_OK;
}

tr_status tr_gaussian_add(tr_device *device, const tr_gaussian_args *args) {
  TR_TRY(check_range(args));
  if (args->n == 0 || args->positions == 0)
    return TR_OK;
  size_t samples = args->spec.samples, batch = tr_gaussian_batch(device, &args->spec);
  TR_TRY(check_rows(args, batch));
  if (args->first > samples || args->n > samples - args->first)
    return tr_fail(TR_EINVAL, "gaussian: training vectors %zu to %zu are not among the %zu", args->first, args->first + args->n,
                   samples);
  if (args->spec.form == TR_GAUSSIAN_COVARIANCE) {
    if (args->first % batch != 0 || (args->n < batch && args->first + args->n < samples))
      return tr_fail(TR_EINVAL, "gaussian: expected a whole batch of %zu training vectors, found %zu to %zu of %zu", batch,
                     args->first, args->first + args->n, samples);
    if (!args->gaussian.running)
      return tr_fail(TR_EINVAL, "gaussian: no running means given");
  }
  return tr_device_operators(device)->gaussian_add(device, args);
}

tr_status tr_gaussian_finish(tr_device *device, const tr_gaussian_args *args) {
  TR_TRY(check_range(args));
  if (args->spec.form == TR_GAUSSIAN_COVARIANCE && !args->gaussian.running)
    return tr_fail(TR_EINVAL, "gaussian: no running means given");
  return args->positions ? tr_device_operators(device)->gaussian_finish(device, args) : TR_OK;
}

tr_status tr_gaussian_distance(tr_device *device, const tr_gaussian_args *args) {
  TR_TRY(check_range(args));
  if (args->n == 0 || args->positions == 0)
    return TR_OK;
  TR_TRY(check_rows(args, tr_gaussian_queries(device)));
  if (!args->distances)
    return tr_fail(TR_EINVAL, "gaussian: distances is NULL");
  return tr_device_operators(device)->gaussian_distance(device, args);
}
