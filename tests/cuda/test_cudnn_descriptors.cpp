/* What the backend API refuses while a graph is described. The same test runs against the installed cuDNN (preset cuda, no GPU needed)
 * and against the emulated one (preset emulated): the emulation must not let pass what cuDNN does not. (It is
 * stricter: cuDNN 9.19 finalizes an empty pointwise operation, and a bias of other channels, and refuses them later.) */
#include <cudnn.h>

#include <csetjmp>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <vector>

extern "C" {
#include <cmocka.h>
}

namespace {

struct pool {
  std::vector<cudnnBackendDescriptor_t> all;
  ~pool() {
    for (cudnnBackendDescriptor_t d : all)
      cudnnBackendDestroyDescriptor(d);
  }
  cudnnBackendDescriptor_t make(cudnnBackendDescriptorType_t type) {
    cudnnBackendDescriptor_t d;
    assert_int_equal(cudnnBackendCreateDescriptor(type, &d), CUDNN_STATUS_SUCCESS);
    all.push_back(d);
    return d;
  }
};

cudnnStatus_t set_ints(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, std::initializer_list<int64_t> values) {
  return cudnnBackendSetAttribute(d, name, CUDNN_TYPE_INT64, (int64_t)values.size(), values.begin());
}

cudnnStatus_t set_float(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name) {
  const cudnnDataType_t type = CUDNN_DATA_FLOAT;
  return cudnnBackendSetAttribute(d, name, CUDNN_TYPE_DATA_TYPE, 1, &type);
}

cudnnStatus_t set_descriptor(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value) {
  return cudnnBackendSetAttribute(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

/* NHWC, described but not finalized. */
cudnnBackendDescriptor_t tensor(pool &p, int64_t id, int64_t n, int64_t c, int64_t h, int64_t w, bool is_virtual = false) {
  cudnnBackendDescriptor_t d = p.make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  assert_int_equal(set_float(d, CUDNN_ATTR_TENSOR_DATA_TYPE), CUDNN_STATUS_SUCCESS);
  assert_int_equal(set_ints(d, CUDNN_ATTR_TENSOR_DIMENSIONS, {n, c, h, w}), CUDNN_STATUS_SUCCESS);
  assert_int_equal(set_ints(d, CUDNN_ATTR_TENSOR_STRIDES, {h * w * c, 1, w * c, c}), CUDNN_STATUS_SUCCESS);
  assert_int_equal(set_ints(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, {id}), CUDNN_STATUS_SUCCESS);
  assert_int_equal(set_ints(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {16}), CUDNN_STATUS_SUCCESS);
  assert_int_equal(cudnnBackendSetAttribute(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual),
                   CUDNN_STATUS_SUCCESS);
  return d;
}

cudnnBackendDescriptor_t finalized(cudnnBackendDescriptor_t d) {
  assert_int_equal(cudnnBackendFinalize(d), CUDNN_STATUS_SUCCESS);
  return d;
}

/* 3x3, stride 1, padding 1. */
cudnnBackendDescriptor_t convolution(pool &p) {
  cudnnBackendDescriptor_t d = p.make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  assert_int_equal(set_ints(d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, {2}), CUDNN_STATUS_SUCCESS);
  assert_int_equal(set_float(d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE), CUDNN_STATUS_SUCCESS);
  assert_int_equal(cudnnBackendSetAttribute(d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode),
                   CUDNN_STATUS_SUCCESS);
  for (cudnnBackendAttributeName_t name : {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS,
                                           CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES})
    assert_int_equal(set_ints(d, name, {1, 1}), CUDNN_STATUS_SUCCESS);
  return finalized(d);
}

/* Whether a convolution of 8 channels to 16 over 5x5 may give the tensor. */
cudnnStatus_t convolve_to(pool &p, cudnnBackendDescriptor_t result) {
  cudnnBackendDescriptor_t d = p.make(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  const float one = 1.0f, zero = 0.0f;
  cudnnStatus_t status = set_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, result);
  if (status != CUDNN_STATUS_SUCCESS)
    return status;
  set_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution(p));
  set_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, finalized(tensor(p, 1, 2, 8, 5, 5)));
  set_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, finalized(tensor(p, 2, 16, 8, 3, 3)));
  cudnnBackendSetAttribute(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one);
  cudnnBackendSetAttribute(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero);
  return cudnnBackendFinalize(d);
}

/* Whether y = x + b may be described. */
cudnnStatus_t add(pool &p, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t y) {
  cudnnBackendDescriptor_t kind = p.make(CUDNN_BACKEND_POINTWISE_DESCRIPTOR),
                           d = p.make(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  const cudnnPointwiseMode_t mode = CUDNN_POINTWISE_ADD;
  cudnnBackendSetAttribute(kind, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  set_float(kind, CUDNN_ATTR_POINTWISE_MATH_PREC);
  set_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, finalized(kind));
  set_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  if (b)
    set_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
  set_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  return cudnnBackendFinalize(d);
}

void refused(cudnnStatus_t status, const char *what) {
  if (status == CUDNN_STATUS_SUCCESS)
    fail_msg("taken: %s", what);
}

void test_attributes(void **state) {
  (void)state;
  pool p;
  cudnnBackendDescriptor_t t = tensor(p, 1, 2, 8, 5, 5);
  const float number = 1.0f;
  refused(cudnnBackendSetAttribute(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_FLOAT, 1, &number), "an attribute of another type");
  refused(set_ints(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, {1, 2}), "two values where one is wanted");
  int64_t got = 0, count = 0;
  refused(cudnnBackendGetAttribute(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &count, &got),
          "reading before finalizing");
  finalized(t);
  refused(set_ints(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, {3}), "writing after finalizing");
  assert_int_equal(cudnnBackendGetAttribute(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &count, &got),
                   CUDNN_STATUS_SUCCESS);
  assert_int_equal(got, 1);
}

void test_missing_attributes(void **state) {
  (void)state;
  pool p;
  cudnnBackendDescriptor_t t = p.make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  set_float(t, CUDNN_ATTR_TENSOR_DATA_TYPE);
  set_ints(t, CUDNN_ATTR_TENSOR_DIMENSIONS, {2, 8, 5, 5});
  set_ints(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, {1});
  set_ints(t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {16});
  refused(cudnnBackendFinalize(t), "a tensor without strides");
  refused(cudnnBackendFinalize(p.make(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)), "an empty convolution");
  refused(cudnnBackendFinalize(p.make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)), "an empty graph");
  refused(cudnnBackendFinalize(p.make(CUDNN_BACKEND_ENGINE_DESCRIPTOR)), "an engine without a graph");
  refused(cudnnBackendFinalize(p.make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)), "a plan without an engine");
}

void test_shapes(void **state) {
  (void)state;
  pool p;
  assert_int_equal(convolve_to(p, finalized(tensor(p, 3, 2, 16, 5, 5))), CUDNN_STATUS_SUCCESS);
  refused(convolve_to(p, tensor(p, 3, 2, 16, 5, 5)), "an operation on a tensor that is not finalized");
  refused(convolve_to(p, finalized(tensor(p, 3, 2, 16, 4, 5))), "an output of another height");
  refused(convolve_to(p, finalized(tensor(p, 3, 2, 12, 5, 5))), "an output of other channels");
  refused(convolve_to(p, finalized(tensor(p, 3, 3, 16, 5, 5))), "an output of more images");
  cudnnBackendDescriptor_t x = finalized(tensor(p, 4, 2, 16, 5, 5, true)), y = finalized(tensor(p, 5, 2, 16, 5, 5));
  assert_int_equal(add(p, x, finalized(tensor(p, 6, 1, 16, 1, 1)), y), CUDNN_STATUS_SUCCESS);
  refused(add(p, x, nullptr, y), "an addition of one tensor");
}

} // namespace

int main() {
  const CMUnitTest tests[] = {cmocka_unit_test(test_attributes), cmocka_unit_test(test_missing_attributes),
                              cmocka_unit_test(test_shapes)};
  return cmocka_run_group_tests_name("cuDNN's descriptors", tests, nullptr, nullptr);
}
