/* The emulated cuBLAS against sums in double: layouts, types, batches, refusals. */
#include "host/base/rng.h"
#include "tests/golden/golden.h"

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <math.h>

typedef struct fixture {
  cudaStream_t stream;
  cublasHandle_t handle;
} fixture;

static int setup(void **state) {
  static fixture f;
  assert_int_equal(cudaStreamCreateWithFlags(&f.stream, cudaStreamNonBlocking), cudaSuccess);
  assert_int_equal(cublasCreate(&f.handle), CUBLAS_STATUS_SUCCESS);
  assert_int_equal(cublasSetStream(f.handle, f.stream), CUBLAS_STATUS_SUCCESS);
  *state = &f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  cublasDestroy(f->handle);
  cudaStreamDestroy(f->stream);
  return 0;
}

static float *draw(size_t count, uint64_t array) {
  float *values = malloc(count * sizeof *values);
  assert_non_null(values);
  tr_rng rng = tr_rng_make(11, TR_RNG_TEST, array);
  for (size_t i = 0; i < count; ++i)
    values[i] = tr_rng_between(&rng, -1.0f, 1.0f);
  return values;
}

static void *upload(const void *host, size_t bytes) {
  void *memory;
  assert_int_equal(cudaMalloc(&memory, bytes), cudaSuccess);
  assert_int_equal(cudaMemcpy(memory, host, bytes, cudaMemcpyHostToDevice), cudaSuccess);
  return memory;
}

enum { BATCH = 3, M = 7, N = 5, K = 37, LD = 40, FLOATS = BATCH * LD * LD };

static double expected_at(const float *a, const float *b, bool ta, bool tb, size_t e, size_t i, size_t j) {
  double sum = 0;
  a += e * LD * LD;
  b += e * LD * LD;
  for (size_t k = 0; k < K; ++k)
    sum += (double)a[ta ? i * LD + k : k * LD + i] * (double)b[tb ? k * LD + j : j * LD + k];
  return sum;
}

static void test_batched(void **state) {
  const fixture *f = *state;
  float *a = draw(FLOATS, 0), *b = draw(FLOATS, 1), *c = draw(FLOATS, 2), *got = draw(FLOATS, 2);
  float *da = upload(a, FLOATS * sizeof *a), *db = upload(b, FLOATS * sizeof *b);
  const float alpha = 1.5f, beta = -0.5f;
  for (int variant = 0; variant < 4; ++variant) {
    bool ta = variant & 1, tb = variant & 2;
    float *dc = upload(c, FLOATS * sizeof *c);
    assert_int_equal(cublasSgemmStridedBatched(f->handle, ta ? CUBLAS_OP_T : CUBLAS_OP_N, tb ? CUBLAS_OP_T : CUBLAS_OP_N, M, N, K,
                                               &alpha, da, LD, LD * LD, db, LD, LD * LD, &beta, dc, LD, LD * LD, BATCH),
                     CUBLAS_STATUS_SUCCESS);
    assert_int_equal(cudaMemcpyAsync(got, dc, FLOATS * sizeof *c, cudaMemcpyDeviceToHost, f->stream), cudaSuccess);
    assert_int_equal(cudaStreamSynchronize(f->stream), cudaSuccess);
    for (size_t x = 0; x < FLOATS; ++x) {
      size_t e = x / (LD * LD), j = x / LD % LD, i = x % LD;
      double expected = i < M && j < N ? 1.5 * expected_at(a, b, ta, tb, e, i, j) - 0.5 * (double)c[x] : (double)c[x];
      if (!(fabs((double)got[x] - expected) <= 1e-5)) /* 37 terms below 1 in float */
        fail_msg("variant %d, element %zu of %zu: got %.9g, expected %.9g", variant, x, e, (double)got[x], expected);
    }
    cudaFree(dc);
  }
  cudaFree(da);
  cudaFree(db);
  free(a);
  free(b);
  free(c);
  free(got);
}

/* How far products of inputs of `type` are off. */
static double largest_error(const fixture *f, cudaDataType type, cublasComputeType_t compute) {
  enum { SIZE = 64 };
  float *a = draw(SIZE * SIZE, 3), *got = draw(SIZE * SIZE, 4);
  uint16_t half[SIZE * SIZE];
  for (size_t i = 0; i < SIZE * SIZE; ++i) {
    uint32_t bits;
    memcpy(&bits, &a[i], sizeof bits);
    half[i] = (uint16_t)(bits >> 16); /* bfloat16, cut off */
  }
  void *da = type == CUDA_R_32F ? upload(a, sizeof(float) * SIZE * SIZE) : upload(half, sizeof half);
  void *dc = upload(got, sizeof(float) * SIZE * SIZE);
  const float one = 1, zero = 0;
  assert_int_equal(cublasGemmEx(f->handle, CUBLAS_OP_T, CUBLAS_OP_N, SIZE, SIZE, SIZE, &one, da, type, SIZE, da, type, SIZE,
                                &zero, dc, CUDA_R_32F, SIZE, compute, CUBLAS_GEMM_DEFAULT),
                   CUBLAS_STATUS_SUCCESS);
  assert_int_equal(cudaStreamSynchronize(f->stream), cudaSuccess);
  assert_int_equal(cudaMemcpy(got, dc, sizeof(float) * SIZE * SIZE, cudaMemcpyDeviceToHost), cudaSuccess);
  double most = 0;
  for (size_t i = 0; i < SIZE; ++i)
    for (size_t j = 0; j < SIZE; ++j) {
      double sum = 0;
      for (size_t k = 0; k < SIZE; ++k)
        sum += (double)a[i * SIZE + k] * (double)a[j * SIZE + k];
      most = fmax(most, fabs(sum - (double)got[j * SIZE + i]));
    }
  cudaFree(da);
  cudaFree(dc);
  free(a);
  free(got);
  return most;
}

static void test_types(void **state) {
  const fixture *f = *state;
  double full = largest_error(f, CUDA_R_32F, CUBLAS_COMPUTE_32F),
         tf32 = largest_error(f, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32);
  double bfloat = largest_error(f, CUDA_R_16BF, CUBLAS_COMPUTE_32F);
  assert_true(full < 1e-5);
  assert_true(tf32 > 1e-4 && tf32 < 1e-2);
  assert_true(bfloat > 1e-3 && bfloat < 0.5);
}

/* The same row in a larger product: bits may differ, as they may on a GPU. */
static void test_order_follows_shape(void **state) {
  const fixture *f = *state;
  enum { ROWS = 40, DEPTH = 500 };
  float *a = draw(ROWS * DEPTH, 5), first[ROWS], second[ROWS];
  float *da = upload(a, ROWS * DEPTH * sizeof *a), *dc = upload(a, ROWS * ROWS * sizeof *a);
  const float one = 1, zero = 0;
  bool differs = false;
  for (int n = 1; n <= ROWS && !differs; ++n) {
    assert_int_equal(
        cublasSgemm(f->handle, CUBLAS_OP_T, CUBLAS_OP_N, ROWS, n, DEPTH, &one, da, DEPTH, da, DEPTH, &zero, dc, ROWS),
        CUBLAS_STATUS_SUCCESS);
    assert_int_equal(cudaStreamSynchronize(f->stream), cudaSuccess);
    assert_int_equal(cudaMemcpy(n == 1 ? first : second, dc, sizeof first, cudaMemcpyDeviceToHost), cudaSuccess);
    differs = n > 1 && memcmp(first, second, sizeof first) != 0;
  }
  assert_true(differs);
  cudaFree(da);
  cudaFree(dc);
  free(a);
}

static void test_refusals(void **state) {
  const fixture *f = *state;
  float host[16] = {0}, *memory = upload(host, sizeof host);
  const float one = 1;
  assert_int_equal(cublasSgemm(f->handle, CUBLAS_OP_N, CUBLAS_OP_N, 4, 4, 4, &one, memory, 3, memory, 4, &one, memory, 4),
                   CUBLAS_STATUS_INVALID_VALUE);
  assert_int_equal(cublasSgemm(f->handle, CUBLAS_OP_N, CUBLAS_OP_N, -1, 4, 4, &one, memory, 4, memory, 4, &one, memory, 4),
                   CUBLAS_STATUS_INVALID_VALUE);
  assert_int_equal(cublasGemmEx(f->handle, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, memory, CUDA_R_16F, 1, memory, CUDA_R_32F, 1,
                                &one, memory, CUDA_R_32F, 1, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                   CUBLAS_STATUS_NOT_SUPPORTED);
  cudaFree(memory);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_batched), cmocka_unit_test(test_types),
                                     cmocka_unit_test(test_order_follows_shape), cmocka_unit_test(test_refusals)};
  return cmocka_run_group_tests_name("emulated cuBLAS", tests, setup, teardown);
}
