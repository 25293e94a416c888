/* project on the CPU: tiles of rows against the packed matrix. */
#include "host/base/status.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/panels.h"

enum { TILE = 128 }; /* rows a task: half a megabyte at d = 1024, read once from memory */

typedef struct projection {
  const tr_project_args *args;
  const float *panels;
} projection;

static tr_status project_tile(void *context, size_t task) {
  const projection *p = context;
  const tr_project_args *args = p->args;
  size_t first = task * TILE, rows = args->n - first < TILE ? args->n - first : TILE;
  size_t d = (size_t)args->d, d_star = (size_t)args->d_star;
  tr_panels_product(args->src + first * d, d, rows, p->panels, d_star, d, args->dst + first * d_star, d_star);
  return TR_OK;
}

size_t tr_cpu_project_bytes(size_t n, size_t d, size_t d_star) {
  (void)n;
  return tr_panels_rows(d_star) * d * sizeof(float);
}

tr_status tr_cpu_project(tr_device *device, const tr_project_args *args) {
  size_t d = (size_t)args->d, d_star = (size_t)args->d_star;
  float *panels;
  TR_TRY(tr_device_alloc(device, tr_cpu_project_bytes(args->n, d, d_star), (void **)&panels));
  tr_panels_pack(args->matrix, d_star, d, 0, panels);
  projection p = {args, panels};
  tr_status status = tr_pool_run(tr_device_pool(device), (args->n + TILE - 1) / TILE, project_tile, &p);
  tr_device_free(device, panels);
  return status;
}
