/* Measuring: warm-up, samples of several calls, the device's clock read around each sample. */
#include "host/bench/bench.h"
#include "host/base/progress.h"
#include "host/base/rng.h"
#include "host/base/status.h"
#include "host/bench/cases.h"
#include "host/bench/machine.h"
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_SAMPLES = 3, MOST_SAMPLES = 64, LATENT = 24 };

#define SAMPLE_SECONDS 0.02 /* a sample at least: far above the clock's resolution and a GPU's launch */
#define CASE_SECONDS   1.0  /* samples of a case together, about */
#define QUICK_SECONDS  0.05

typedef struct group {
  const char *name; /* operator */
  tr_status (*run)(tr_bench *bench);
} group;

static const group groups[] = {
    {"copy", tr_bench_copy},           {"resize", tr_bench_resize},
    {"conv", tr_bench_conv},           {"backbone", tr_bench_backbone},
    {"pool", tr_bench_pool},           {"affine", tr_bench_affine},
    {"aggregate", tr_bench_aggregate}, {"project", tr_bench_project},
    {"coreset", tr_bench_coreset},     {"nearest", tr_bench_nearest},
    {"search", tr_bench_search},       {"ivf", tr_bench_ivf},
    {"reweight", tr_bench_reweight},   {"squared_norms", tr_bench_squared_norms},
    {"channels", tr_bench_channels},   {"gaussian", tr_bench_gaussian},
    {"padim", tr_bench_padim},         {"upsample", tr_bench_upsample},
    {"mosaic", tr_bench_mosaic},       {"smooth", tr_bench_smooth},
    {"sort_scan", tr_bench_sort_scan},
};
enum { GROUPS = sizeof groups / sizeof *groups };

/* ---- memory and data ---- */

tr_status tr_bench_alloc(tr_bench *bench, size_t bytes, void **out) {
  *out = NULL;
  if (bench->memories == TR_BENCH_MEMORY)
    return tr_fail(TR_EINTERNAL, "bench: more than %d allocations", TR_BENCH_MEMORY);
  TR_TRY(tr_device_alloc(bench->device, bytes, out));
  bench->memory[bench->memories++] = *out;
  return TR_OK;
}

void tr_bench_release(tr_bench *bench) {
  while (bench->memories)
    tr_device_free(bench->device, bench->memory[--bench->memories]);
}

tr_status tr_bench_alloc_lanes(tr_bench *bench, size_t bytes, size_t *lane_bytes, void **out) {
  *lane_bytes = (bytes + 63) / 64 * 64;
  return tr_bench_alloc(bench, bench->lanes * *lane_bytes, out);
}

typedef struct data_job {
  float *host;
  const float *basis; /* [LATENT, d] */
  size_t count, d;
  uint64_t seed;
} data_job;

enum { NOISE_BLOCK = 1 << 14, ROWS_BLOCK = 256 };

static tr_status noise_block(void *context, size_t task) {
  const data_job *job = context;
  size_t first = task * NOISE_BLOCK, end = first + NOISE_BLOCK < job->count ? first + NOISE_BLOCK : job->count;
  tr_rng rng = tr_rng_make(job->seed, TR_RNG_TEST, task);
  for (size_t i = first; i < end; ++i)
    job->host[i] = tr_rng_float(&rng);
  return TR_OK;
}

static tr_status features_block(void *context, size_t task) {
  const data_job *job = context;
  size_t first = task * ROWS_BLOCK, end = first + ROWS_BLOCK < job->count ? first + ROWS_BLOCK : job->count;
  tr_rng rng = tr_rng_make(job->seed, TR_RNG_TEST, task);
  for (size_t i = first; i < end; ++i) {
    float *row = job->host + i * job->d;
    for (size_t j = 0; j < job->d; ++j)
      row[j] = 0.1f * tr_rng_float(&rng);
    for (size_t k = 0; k < LATENT; ++k) {
      float weight = tr_rng_between(&rng, -2, 2) / (float)(k + 1);
      for (size_t j = 0; j < job->d; ++j)
        row[j] += weight * job->basis[k * job->d + j];
    }
    for (size_t j = 0; j < job->d; ++j)
      row[j] = row[j] > 0 ? row[j] : 0;
  }
  return TR_OK;
}

/* count items of `width` floats, made by fn in blocks. */
static tr_status make_data(tr_bench *bench, data_job *job, size_t width, size_t block, tr_task_fn fn, float **out) {
  size_t bytes = job->count * width * sizeof *job->host;
  job->host = malloc(bytes);
  if (!job->host)
    return tr_fail(TR_ENOMEM, "bench: data: out of memory");
  tr_status status = tr_pool_run(tr_device_pool(bench->device), (job->count + block - 1) / block, fn, job);
  if (status == TR_OK)
    status = tr_bench_alloc(bench, bytes, (void **)out);
  if (status == TR_OK)
    status = tr_device_upload(bench->device, *out, job->host, bytes);
  free(job->host);
  return status;
}

tr_status tr_bench_noise(tr_bench *bench, size_t count, uint64_t seed, float **out) {
  data_job job = {.count = count, .seed = seed};
  return make_data(bench, &job, 1, NOISE_BLOCK, noise_block, out);
}

tr_status tr_bench_features(tr_bench *bench, size_t rows, int d, uint64_t seed, float **out) {
  float *basis = malloc(LATENT * (size_t)d * sizeof *basis);
  if (!basis)
    return tr_fail(TR_ENOMEM, "bench: data: out of memory");
  tr_rng rng = tr_rng_make(0, TR_RNG_TEST, (uint64_t)d); /* one subspace for banks and queries */
  for (size_t i = 0; i < LATENT * (size_t)d; ++i)
    basis[i] = tr_rng_between(&rng, -1, 1);
  data_job job = {.basis = basis, .count = rows, .d = (size_t)d, .seed = seed};
  tr_status status = make_data(bench, &job, (size_t)d, ROWS_BLOCK, features_block, out);
  free(basis);
  return status;
}

/* ---- one case ---- */

static tr_status run_rounds(const tr_bench *bench, const tr_bench_case *item, size_t rounds, double *seconds) {
  double start, end;
  TR_TRY(tr_device_clock(bench->device, &start));
  if (item->mode == TR_BENCH_WHOLE)
    for (size_t i = 0; i < rounds; ++i)
      TR_TRY(item->fn(item->context, 0, 1, 0));
  else
    /* A quick round has fewer images than fill a chunk: that is one call of them. */
    TR_TRY(tr_device_for_chunks(bench->device, rounds * bench->lanes * bench->chunk, item->fn, item->context));
  TR_TRY(tr_device_clock(bench->device, &end));
  *seconds = end - start;
  return TR_OK;
}

int tr_bench_compare_seconds(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Samples until the time is up; a slow case gets LEAST_SAMPLES unless these alone take four times as long. */
static tr_status take_samples(const tr_bench *bench, const tr_bench_case *item, size_t rounds, double *seconds, size_t *count) {
  double budget = bench->options->quick ? QUICK_SECONDS : CASE_SECONDS, spent = 0;
  *count = 0;
  while (*count < MOST_SAMPLES && (spent < budget || (*count < LEAST_SAMPLES && spent < 4 * budget))) {
    if (tr_cancel_requested())
      return tr_fail(TR_ECANCELED, "stopped");
    TR_TRY(run_rounds(bench, item, rounds, &seconds[*count]));
    spent += seconds[(*count)++];
  }
  qsort(seconds, *count, sizeof *seconds, tr_bench_compare_seconds);
  return TR_OK;
}

tr_status tr_bench_measure(tr_bench *bench, const tr_bench_case *item, bool quietly) {
  double seconds[MOST_SAMPLES], once;
  size_t samples;
  TR_TRY(run_rounds(bench, item, 1, &once)); /* warm-up: libraries choose, pages are touched */
  TR_TRY(run_rounds(bench, item, 1, &once));
  size_t rounds = once < SAMPLE_SECONDS && !bench->options->quick ? (size_t)ceil(SAMPLE_SECONDS / fmax(once, 1e-7)) : 1;
  TR_TRY(take_samples(bench, item, rounds, seconds, &samples));
  const size_t per_round[] = {bench->lanes * bench->chunk, bench->lanes, 1};
  size_t items = rounds * per_round[item->mode];
  tr_bench_row *row = &bench->last;
  *row = (tr_bench_row){.name = item->name,
                        .item = item->mode == TR_BENCH_IMAGES ? "image" : "call",
                        .flops = item->flops,
                        .bytes = item->bytes,
                        .transfer = item->transfer,
                        .items = items,
                        .samples = samples,
                        .median = (seconds[(samples - 1) / 2] + seconds[samples / 2]) / 2 / (double)items,
                        .minimum = seconds[0] / (double)items};
  snprintf(row->shape, sizeof row->shape, "%s", item->shape);
  if (!quietly)
    bench->options->row(bench->options->context, &bench->limits, row);
  return TR_OK;
}

/* ---- all ---- */

const char *const *tr_bench_operators(size_t *count) {
  static const char *names[GROUPS];
  for (size_t i = 0; i < GROUPS; ++i)
    names[i] = groups[i].name;
  *count = GROUPS;
  return names;
}

static tr_status check_names(const tr_strings *wanted) {
  size_t count;
  const char *const *names = tr_bench_operators(&count);
  for (size_t i = 0; wanted && i < wanted->count; ++i) {
    size_t j = 0;
    while (j < count && strcmp(names[j], wanted->items[i]) != 0)
      ++j;
    if (j < count)
      continue;
    char known[512] = "";
    for (j = 0; j < count; ++j) {
      size_t used = strlen(known);
      snprintf(known + used, sizeof known - used, "%s%s", j ? " " : "", names[j]);
    }
    return tr_fail(TR_EINVAL, "bench: no operator `%s`; there are: %s", wanted->items[i], known);
  }
  return TR_OK;
}

/* Products: the faster of a matrix product and a convolution, as on some machines the one library, on some the other, is nearer to
 * the peak. */
static tr_status measure_limits(tr_bench *bench) {
  tr_status status = tr_bench_fastest_copy(bench);
  bench->limits.bytes = bench->last.bytes / bench->last.minimum;
  tr_bench_release(bench);
  if (status == TR_OK)
    status = tr_bench_fastest_product(bench);
  bench->limits.flops = bench->last.flops / bench->last.minimum;
  tr_bench_release(bench);
  if (status == TR_OK)
    status = tr_bench_fastest_conv(bench);
  bench->limits.flops = fmax(bench->limits.flops, bench->last.flops / bench->last.minimum);
  tr_bench_release(bench);
  return status;
}

tr_status tr_bench_run(const tr_bench_options *options) {
  const tr_strings *wanted = options->operators;
  TR_TRY(check_names(wanted));
  tr_bench bench = {.options = options,
                    .device = options->device,
                    .chunk = options->quick ? 1 : tr_device_chunk(options->device),
                    .lanes = (size_t)tr_device_lanes(options->device)};
  tr_status status = measure_limits(&bench);
  for (size_t i = 0; status == TR_OK && i < GROUPS; ++i) {
    if (wanted && wanted->count && !tr_strings_has(wanted, groups[i].name))
      continue;
    status = groups[i].run(&bench);
    tr_bench_release(&bench);
  }
  return status;
}

double tr_bench_share(const tr_bench_limits *limits, const tr_bench_row *row, bool *by_memory) {
  double products = limits->flops > 0 ? row->flops / limits->flops : 0;
  double copies = limits->bytes > 0 ? row->bytes / limits->bytes : 0;
  *by_memory = copies >= products;
  double least = fmax(products, copies);
  return least > 0 && !row->transfer ? least / row->median : NAN;
}

tr_status tr_bench_json(tr_device *device, const tr_bench_limits *limits, const tr_bench_row *row, bool quick, char **out) {
  bool by_memory;
  double share = tr_bench_share(limits, row, &by_memory);
  tr_bench_machine machine;
  tr_bench_machine_now(&machine);
  cJSON *line = cJSON_CreateObject();
  bool complete =
      cJSON_AddStringToObject(line, "operator", row->name) && cJSON_AddStringToObject(line, "shape", row->shape) &&
      cJSON_AddStringToObject(line, "item", row->item) && cJSON_AddNumberToObject(line, "seconds_median", row->median) &&
      cJSON_AddNumberToObject(line, "seconds_min", row->minimum) && cJSON_AddNumberToObject(line, "items", (double)row->items) &&
      cJSON_AddNumberToObject(line, "samples", (double)row->samples) && cJSON_AddNumberToObject(line, "flops", row->flops) &&
      cJSON_AddNumberToObject(line, "bytes", row->bytes) &&
      cJSON_AddNumberToObject(line, "share", share) && /* NaN is written as null */
      cJSON_AddNumberToObject(line, "ratio", row->ratio_to ? row->ratio : NAN) &&
      cJSON_AddStringToObject(line, "ratio_to", row->ratio_to ? row->ratio_to : "") &&
      cJSON_AddStringToObject(line, "limit", by_memory ? "copy" : "product") &&
      cJSON_AddNumberToObject(line, "limit_flops_per_second", limits->flops) &&
      cJSON_AddNumberToObject(line, "limit_bytes_per_second", limits->bytes) && cJSON_AddBoolToObject(line, "quick", quick) &&
      tr_bench_add_machine(line, device, &machine);
  *out = complete ? cJSON_PrintUnformatted(line) : NULL;
  cJSON_Delete(line);
  return *out ? TR_OK : tr_fail(TR_ENOMEM, "bench: writing a line: out of memory");
}
