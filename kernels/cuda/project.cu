/* project on the GPU: cuBLAS products of one shape, whatever n. A product's shape is what cuBLAS chooses its kernel by, and a
 * kernel sums every element in the same order; so a row's bits depend neither on how many rows there are nor on its place. The
 * last tile starts early and makes some rows twice; fewer rows than a tile are padded.
 *
 * Limit: multiply-adds. Bottle, 163,856 x 1,024 to 128: 43 GFLOP in float, 0.64 ms at an H100's 67 TFLOP/s; 671 MB are read and
 * 84 MB written, 0.23 ms of 3.35 TB/s. Ten tiles, one of them mostly for the second time: 0.9 ms expected. Not measured on a GPU
 * yet.
 */
#include "kernels/cuda/exact.h"

enum {
#ifdef TR_EMULATED /* so that small tests have several */
  TILE = 1024,
#else
  TILE = 132 * 128, /* rows: a block of 128 for each of an H100's multiprocessors */
#endif
};

static tr_status project_padded(tr_device *device, const tr_project_args *args, float *src, float *dst) {
  const size_t d = (size_t)args->d, d_star = (size_t)args->d_star;
  TR_TRY(tr_device_copy(device, src, args->src, args->n * d * sizeof(float)));
  TR_TRY(tr_device_zero(device, src + args->n * d, (TILE - args->n) * d * sizeof(float)));
  TR_TRY(tr_cuda_products(tr_cuda_of(device), src, TILE, args->matrix, d_star, args->d, dst, d_star));
  return tr_device_copy(device, args->dst, dst, args->n * d_star * sizeof(float));
}

/* Whole tiles need none. */
size_t tr_cuda_project_bytes(size_t n, size_t d, size_t d_star) {
  return n < TILE ? TILE * (d + d_star) * sizeof(float) : 0;
}

static tr_status project_few(tr_device *device, const tr_project_args *args) {
  const size_t d = (size_t)args->d, d_star = (size_t)args->d_star;
  void *padded;
  TR_TRY(tr_device_alloc(device, tr_cuda_project_bytes(args->n, d, d_star), &padded));
  float *src = static_cast<float *>(padded);
  tr_status status = project_padded(device, args, src, src + TILE * d);
  tr_device_free(device, padded);
  return status;
}

tr_status tr_cuda_project(tr_device *device, const tr_project_args *args) {
  const tr_cuda *cuda = tr_cuda_of(device);
  const size_t d = (size_t)args->d, d_star = (size_t)args->d_star;
  TR_CUDA_TRY(cudaSetDevice(cuda->ordinal));
  if (args->n < TILE)
    return project_few(device, args);
  for (size_t row = 0; row < args->n; row += TILE) {
    const size_t first = row + TILE <= args->n ? row : args->n - TILE;
    TR_TRY(
        tr_cuda_products(cuda, args->src + first * d, TILE, args->matrix, d_star, args->d, args->dst + first * d_star, d_star));
  }
  return TR_OK;
}
