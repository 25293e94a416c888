/* The part of cuBLAS that kernels/cuda calls, on the cpu: products are queued on the handle's stream and done late.
 *
 * The order of a sum depends on the shape of the product (the sum is cut in two at a place drawn from m, n and k), as the real
 * library chooses a kernel by shape: a result that must not change with the batch is asked for in products of one shape. TF32
 * rounds its inputs to 10 bits. Pointers are checked when the product is asked for and when it is done.
 */
#include "tests/emu/runtime.h"

#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <vector>

extern "C" {
#include "kernels/cpu/gemm.h"
}

struct cublasContext {
  cudaStream_t stream = nullptr;
  cublasMath_t math = CUBLAS_DEFAULT_MATH;
};

namespace {

std::mutex lock;
std::set<cublasHandle_t> handles;

[[noreturn]] void die(const char *call, const char *text) {
  fprintf(stderr, "emulated cuBLAS: %s: %s\n", call, text);
  abort();
}

void check_handle(cublasHandle_t handle, const char *call) {
  std::lock_guard<std::mutex> hold(lock);
  if (!handles.count(handle))
    die(call, "the handle has not been created, or has been destroyed");
}

/* A column-major matrix in device memory, and which values of it a product reads or writes. */
struct matrix {
  const void *data;
  cudaDataType type;
  int rows, columns, ld;
  long long stride; /* values to the next of the batch */
  bool transposed;
};

size_t value_bytes(cudaDataType type) {
  return type == CUDA_R_32F ? 4 : 2;
}

size_t span(const matrix &m, int batch) {
  if (m.rows == 0 || m.columns == 0 || batch == 0)
    return 0;
  size_t one = (size_t)(m.columns - 1) * (size_t)m.ld + (size_t)m.rows;
  return ((size_t)(batch - 1) * (size_t)m.stride + one) * value_bytes(m.type);
}

struct product {
  const char *call;
  int m, n, k, batch;
  float alpha, beta;
  matrix a, b, c;
  bool tf32;
};

void check_memory(const product &p) {
  char text[96];
  for (const matrix *x : {&p.a, &p.b, &p.c}) {
    snprintf(text, sizeof text, "%s, matrix %c", p.call, x == &p.a ? 'A' : x == &p.b ? 'B' : 'C');
    if (x == &p.c || p.k > 0)
      emu_check_device(x->data, span(*x, p.batch), text);
  }
  const char *c = static_cast<const char *>(p.c.data), *c_end = c + span(p.c, p.batch);
  for (const matrix *x : {&p.a, &p.b}) {
    const char *start = static_cast<const char *>(x->data);
    if (p.k > 0 && c < start + span(*x, p.batch) && start < c_end)
      die(p.call, "C overlaps A or B");
  }
}

float value_at(const matrix &m, size_t i) {
  if (m.type == CUDA_R_32F)
    return static_cast<const float *>(m.data)[i];
  uint16_t bits = static_cast<const uint16_t *>(m.data)[i];
  if (m.type == CUDA_R_16F)
    return __half2float(__half(__half_raw{bits}));
  return __bfloat162float(__nv_bfloat16(__nv_bfloat16_raw{bits}));
}

void store(const matrix &m, size_t i, float value) {
  void *data = const_cast<void *>(m.data);
  if (m.type == CUDA_R_32F)
    static_cast<float *>(data)[i] = value;
  else if (m.type == CUDA_R_16F)
    static_cast<uint16_t *>(data)[i] = __half_raw(__float2half(value)).x;
  else
    static_cast<uint16_t *>(data)[i] = __nv_bfloat16_raw(__float2bfloat16(value)).x;
}

/* Ten bits of mantissa, to nearest. */
float to_tf32(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if (std::isfinite(x))
    bits = (bits + 0x1000u) & 0xffffe000u;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* The rows that a sum over k runs along: [n][k], from element `at` of the batch. k_in_columns: k runs from column to column. */
std::vector<float> lay_rows(const matrix &m, bool k_in_columns, size_t rows, size_t k, size_t at, bool tf32) {
  std::vector<float> out(rows * k);
  for (size_t i = 0; i < rows; ++i)
    for (size_t j = 0; j < k; ++j) {
      float value = value_at(m, at + (k_in_columns ? j * (size_t)m.ld + i : i * (size_t)m.ld + j));
      out[i * k + j] = tf32 ? to_tf32(value) : value;
    }
  return out;
}

void multiply(const product &p, size_t element) {
  size_t m = (size_t)p.m, n = (size_t)p.n, k = (size_t)p.k;
  std::vector<float> sum(m * n, 0.0f), rest(m * n);
  if (k > 0 && p.alpha != 0) {
    std::vector<float> a = lay_rows(p.a, !p.a.transposed, m, k, element * (size_t)p.a.stride, p.tf32);
    std::vector<float> b = lay_rows(p.b, p.b.transposed, n, k, element * (size_t)p.b.stride, p.tf32);
    size_t cut = k < 2 ? k : 1 + (m * 2654435761u + n * 40503u + k) / 64 % (k - 1);
    tr_gemm first = {n, m, cut, b.data(), k, a.data(), k, true, sum.data(), m, false};
    tr_cpu_gemm(&first);
    if (cut < k) {
      tr_gemm second = {n, m, k - cut, b.data() + cut, k, a.data() + cut, k, true, rest.data(), m, false};
      tr_cpu_gemm(&second);
      for (size_t i = 0; i < m * n; ++i)
        sum[i] += rest[i];
    }
  }
  for (size_t j = 0; j < n; ++j)
    for (size_t i = 0; i < m; ++i) {
      size_t at = element * (size_t)p.c.stride + j * (size_t)p.c.ld + i;
      float value = p.alpha * sum[j * m + i];
      store(p.c, at, p.beta == 0 ? value : value + p.beta * value_at(p.c, at));
    }
}

bool shape_is_valid(const matrix &m) {
  return m.ld >= std::max(1, m.rows);
}

cublasStatus_t queue_product(cublasHandle_t handle, const product &p) {
  check_handle(handle, p.call);
  if (p.m < 0 || p.n < 0 || p.k < 0 || p.batch < 0 || !shape_is_valid(p.a) || !shape_is_valid(p.b) || !shape_is_valid(p.c))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (p.m == 0 || p.n == 0 || p.batch == 0)
    return CUBLAS_STATUS_SUCCESS;
  check_memory(p);
  emu_enqueue(handle->stream, [=]() {
    check_memory(p);
    for (int i = 0; i < p.batch; ++i)
      multiply(p, (size_t)i);
  });
  return CUBLAS_STATUS_SUCCESS;
}

bool host_scalar(const void *alpha, const char *call) {
  if (alpha && emu_is_device(alpha))
    die(call, "alpha or beta is device memory, and the pointer mode is host");
  return alpha != nullptr;
}

matrix operand(const void *data, cudaDataType type, cublasOperation_t op, int rows, int columns, int ld, long long stride) {
  bool transposed = op != CUBLAS_OP_N;
  return {data, type, transposed ? columns : rows, transposed ? rows : columns, ld, stride, transposed};
}

} // namespace

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t *out) {
  std::lock_guard<std::mutex> hold(lock);
  *out = new cublasContext;
  handles.insert(*out);
  emu_count("cuBLAS handles", 1);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  check_handle(handle, "cublasDestroy");
  std::lock_guard<std::mutex> hold(lock);
  handles.erase(handle);
  delete handle;
  emu_count("cuBLAS handles", -1);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  check_handle(handle, "cublasSetStream");
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void *workspace, size_t bytes) {
  check_handle(handle, "cublasSetWorkspace");
  if ((uintptr_t)workspace % 256)
    return CUBLAS_STATUS_INVALID_VALUE;
  emu_check_device(workspace, bytes, "cublasSetWorkspace");
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t math) {
  check_handle(handle, "cublasSetMathMode");
  if (math != CUBLAS_DEFAULT_MATH && math != CUBLAS_PEDANTIC_MATH && math != CUBLAS_TF32_TENSOR_OP_MATH)
    die("cublasSetMathMode", "a mode that is not emulated");
  handle->math = math;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetProperty(libraryPropertyType type, int *value) {
  *value = type == MAJOR_VERSION ? CUBLAS_VER_MAJOR : type == MINOR_VERSION ? CUBLAS_VER_MINOR : CUBLAS_VER_PATCH;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetVersion_v2(cublasHandle_t handle, int *version) {
  if (handle)
    check_handle(handle, "cublasGetVersion");
  *version = CUBLAS_VERSION;
  return CUBLAS_STATUS_SUCCESS;
}

const char *cublasGetStatusString(cublasStatus_t status) {
  switch (status) {
  case CUBLAS_STATUS_SUCCESS:
    return "success";
  case CUBLAS_STATUS_ALLOC_FAILED:
    return "the resource allocation failed";
  case CUBLAS_STATUS_INVALID_VALUE:
    return "an unsupported value or parameter was passed to the function";
  case CUBLAS_STATUS_NOT_SUPPORTED:
    return "the functionality requested is not supported";
  default:
    return "emulated cuBLAS error";
  }
}

cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n,
                                         int k, const float *alpha, const float *A, int lda, long long int strideA,
                                         const float *B, int ldb, long long int strideB, const float *beta, float *C, int ldc,
                                         long long int strideC, int batchCount) {
  const char *call = "cublasSgemmStridedBatched";
  check_handle(handle, call);
  if (!host_scalar(alpha, call) || !host_scalar(beta, call))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (strideA < 0 || strideB < 0 || strideC < 0)
    die(call, "a negative stride");
  return queue_product(handle,
                       {call, m, n, k, batchCount, *alpha, *beta, operand(A, CUDA_R_32F, transa, m, k, lda, strideA),
                        operand(B, CUDA_R_32F, transb, k, n, ldb, strideB),
                        operand(C, CUDA_R_32F, CUBLAS_OP_N, m, n, ldc, strideC), handle->math == CUBLAS_TF32_TENSOR_OP_MATH});
}

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n, int k,
                              const float *alpha, const float *A, int lda, const float *B, int ldb, const float *beta, float *C,
                              int ldc) {
  return cublasSgemmStridedBatched(handle, transa, transb, m, n, k, alpha, A, lda, 0, B, ldb, 0, beta, C, ldc, 0, 1);
}

/* float, half and bfloat16 inputs, float sums. */
cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n, int k,
                            const void *alpha, const void *A, cudaDataType Atype, int lda, const void *B, cudaDataType Btype,
                            int ldb, const void *beta, void *C, cudaDataType Ctype, int ldc, cublasComputeType_t computeType,
                            cublasGemmAlgo_t algo) {
  const char *call = "cublasGemmEx";
  (void)algo;
  check_handle(handle, call);
  if (!host_scalar(alpha, call) || !host_scalar(beta, call))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (computeType != CUBLAS_COMPUTE_32F && computeType != CUBLAS_COMPUTE_32F_PEDANTIC &&
      computeType != CUBLAS_COMPUTE_32F_FAST_TF32)
    die(call, "a compute type that is not emulated");
  for (cudaDataType type : {Atype, Btype, Ctype})
    if (type != CUDA_R_32F && type != CUDA_R_16F && type != CUDA_R_16BF)
      die(call, "a data type that is not emulated");
  if (Atype != Btype || (Ctype != Atype && Ctype != CUDA_R_32F)) /* combinations that the library's table does not have */
    return CUBLAS_STATUS_NOT_SUPPORTED;
  bool tf32 = Atype == CUDA_R_32F && (computeType == CUBLAS_COMPUTE_32F_FAST_TF32 ||
                                      (computeType == CUBLAS_COMPUTE_32F && handle->math == CUBLAS_TF32_TENSOR_OP_MATH));
  return queue_product(handle, {call, m, n, k, 1, *static_cast<const float *>(alpha), *static_cast<const float *>(beta),
                                operand(A, Atype, transa, m, k, lda, 0), operand(B, Btype, transb, k, n, ldb, 0),
                                operand(C, Ctype, CUBLAS_OP_N, m, n, ldc, 0), tf32});
}

} /* extern "C" */
