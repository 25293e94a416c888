/* proxies: checks, and the steps, each of which gathers its batch and has the twin do the rest. */
#include "kernels/proxies.h"

#include "host/base/status.h"
#include "kernels/nearest.h"
#include "kernels/operators.h"
#include "kernels/sections.h"

#include <stdlib.h>

typedef struct memory {
  float *rows, *row_norms, *proxy_norms;
  double *losses;
  void *twin;
} memory;

static memory lay_out(tr_sections *sections, size_t count, size_t d, size_t batch) {
  memory m;
  m.rows = tr_section(sections, batch * d * sizeof(float));
  m.row_norms = tr_section(sections, batch * sizeof(float));
  m.proxy_norms = tr_section(sections, count * sizeof(float));
  m.losses = tr_section(sections, batch * sizeof(double));
  m.twin = tr_section(sections, 0);
  return m;
}

size_t tr_proxies_scratch(const tr_device *device, size_t count, int d, size_t batch) {
  if (d < 1)
    return 0;
  tr_sections sections = TR_SECTIONS_COUNT;
  (void)lay_out(&sections, count, (size_t)d, batch);
  return sections.used + tr_device_operators(device)->proxies_scratch(device, count, d, batch);
}

static tr_status check(const tr_proxies_args *args) {
  if (args->d < 1)
    return tr_fail(TR_EINVAL, "proxies: expected d of at least 1, found %d", args->d);
  if (args->n == 0 || args->n > UINT32_MAX || args->count == 0 || args->count > INT32_MAX)
    return tr_fail(TR_EINVAL, "proxies: expected 1 to 2^32 rows and 1 to 2^31 proxies, found %zu and %zu", args->n, args->count);
  if (args->batch == 0 || args->batch > 1 << 16)
    return tr_fail(TR_EINVAL, "proxies: expected batches of 1 to 65536 rows, found %zu", args->batch);
  if (!(args->rate > 0 && args->rate < 2))
    return tr_fail(TR_EINVAL, "proxies: expected a rate in (0, 2), found %g", args->rate);
  if (!args->rows || !args->proxies || !args->batches || !args->scratch)
    return tr_fail(TR_EINVAL, "proxies: no %s given",
                   !args->rows      ? "rows"
                   : !args->proxies ? "proxies"
                   : !args->batches ? "batches"
                                    : "scratch");
  for (size_t i = 0; i < args->steps * args->batch; ++i)
    if (args->batches[i] >= args->n)
      return tr_fail(TR_EINVAL, "proxies: batches: expected rows below %zu, found %u", args->n, args->batches[i]);
  return TR_OK;
}

static tr_status read_loss(tr_device *device, const tr_proxies_args *args, const memory *m, double *host, double *loss) {
  TR_TRY(tr_device_download(device, host, m->losses, args->batch * sizeof *host));
  TR_TRY(tr_device_sync(device));
  double sum = 0;
  for (size_t i = 0; i < args->batch; ++i)
    sum += host[i];
  *loss = sum / (double)args->batch;
  return TR_OK;
}

static tr_status gather_batch(tr_device *device, const tr_proxies_args *args, const uint32_t *batch, float *to) {
  size_t d = (size_t)args->d, row_bytes = d * sizeof(float);
  if (!args->rows_in_host)
    return tr_device_gather(device, to, args->rows, batch, args->batch, row_bytes);
  for (size_t i = 0; i < args->batch; ++i)
    TR_TRY(tr_device_upload(device, to + i * d, args->rows + batch[i] * d, row_bytes));
  return TR_OK;
}

static tr_status take_step(tr_device *device, const tr_proxies_args *args, const memory *m, size_t t) {
  TR_TRY(gather_batch(device, args, args->batches + t * args->batch, m->rows));
  TR_TRY(tr_squared_norms(device, m->rows, args->batch, args->d, m->row_norms));
  TR_TRY(tr_squared_norms(device, args->proxies, args->count, args->d, m->proxy_norms));
  const tr_proxies_step step = {.count = args->count,
                                .batch = args->batch,
                                .d = args->d,
                                .proxies = args->proxies,
                                .rows = m->rows,
                                .row_norms = m->row_norms,
                                .proxy_norms = m->proxy_norms,
                                .rate = (float)(args->rate * (1 - (double)t / (double)args->steps)),
                                .losses = m->losses,
                                .scratch = m->twin};
  return tr_device_operators(device)->proxies_step(device, &step);
}

tr_status tr_proxies(tr_device *device, const tr_proxies_args *args) {
  TR_TRY(check(args));
  double *host = malloc(args->batch * sizeof *host);
  if (!host)
    return tr_fail(TR_ENOMEM, "proxies: %zu losses: out of memory", args->batch);
  tr_sections sections = tr_sections_of(args->scratch);
  memory m = lay_out(&sections, args->count, (size_t)args->d, args->batch);
  tr_status status = TR_OK;
  for (size_t t = 0; status == TR_OK && t < args->steps; ++t) {
    status = tr_cancel_requested() ? tr_fail(TR_ECANCELED, "stopped") : take_step(device, args, &m, t);
    if (status == TR_OK && args->losses)
      status = read_loss(device, args, &m, host, &args->losses[t]);
    tr_progress_update(args->progress, "proxies", t + 1, args->steps, "steps");
  }
  free(host);
  return status == TR_OK ? tr_device_sync(device) : status;
}
