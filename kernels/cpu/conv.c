/* conv on the cpu by oneDNN; where that is missing, by conv_plain.c.
 *
 * A primitive is made for one image and one thread (its blocking, and so its bits, depend on the number of OpenMP threads) and
 * is shared by all lanes: everything it writes lies in the caller's scratch. Which one, measured on an AMD EPYC 9004 core whose
 * sgemm gives 110 GFLOP/s:
 * - NHWC as it is ("brgconv") gives 115 to 128 GFLOP/s, blocked activations (nChw16c) no more, so feature maps stay NHWC.
 * - A dense 3x3 convolution of stride 1 goes through Winograd, 230 to 400 "GFLOP/s": oneDNN's F(2x2,3x3), or F(4x4,3x3) on
 *   larger maps. That wants blocked activations; packing and unpacking cost 1 to 4 % of the convolution, and the unpacking adds
 *   the residual and applies the activation. Rounding error against a sum in double, relative to the rms of the result: direct
 *   3e-7 to 7e-7, F(2x2) 2e-7 to 6e-7, F(4x4) 6e-7 to 11e-7.
 * - A stride of 2 that leaves short rows is slow in brgconv (90 GFLOP/s: it works row by row), and so are groups of 16 channels and
 *   more (20 to 98): both go through blocked activations as well (110, 67 to 135).
 * - oneDNN knows no views: a source or destination within a wider buffer is copied through scratch.
 */
#include "host/base/status.h"
#include "kernels/cpu/conv_plain.h"
#include "kernels/cpu/cpu.h"

#ifdef TR_HAVE_ONEDNN

#include <oneapi/dnnl/dnnl.h>

#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16, ALIGNMENT = 64, SHORT_ROW = 24 };

/* Where a convolution reads and writes, and the primitive that does it. Offsets are bytes within the scratch. */
typedef struct plan {
  dnnl_engine_t engine;
  dnnl_primitive_desc_t primitive_desc;
  dnnl_memory_desc_t src, dst, weights, bias, work;
  bool blocked;                /* activations go through nChw16c; residual and activation are applied while unpacking */
  bool src_copied, dst_copied; /* the primitive reads or writes scratch, not the caller's array */
  size_t bias_offset, state_bytes;
  size_t src_offset, dst_offset, work_offset, scratch_bytes;
  int out_h, out_w;
} plan;

typedef struct conv_state {
  plan plan;
  dnnl_primitive_t primitive;
  char *memory; /* device: reordered weights, then the bias */
} conv_state;

static tr_status fail_dnnl(dnnl_status_t status, const char *step) {
  if (status == dnnl_out_of_memory)
    return tr_fail(TR_ENOMEM, "conv: oneDNN ran out of memory: %s", step);
  return tr_fail(TR_EDEVICE, "conv: oneDNN failed with status %d: %s", (int)status, step);
}

#define DNNL_TRY(call)                           \
  do {                                           \
    dnnl_status_t dnnl_try_status_ = (call);     \
    if (dnnl_try_status_ != dnnl_success)        \
      return fail_dnnl(dnnl_try_status_, #call); \
  } while (0)

static size_t aligned(size_t bytes) {
  return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* The calling thread's number of OpenMP threads is set to one, and back. */
static int one_thread(void) {
  int before = omp_get_max_threads();
  if (before != 1)
    omp_set_num_threads(1);
  return before;
}

static void threads_back(int before) {
  if (before != 1)
    omp_set_num_threads(before);
}

static bool whole_blocks(const tr_conv_desc *d) {
  return d->in_channels / d->groups % BLOCK == 0 && d->out_channels / d->groups % BLOCK == 0;
}

static bool suits_winograd(const tr_conv_desc *d) {
  return d->kernel_h == 3 && d->kernel_w == 3 && d->stride == 1 && d->groups == 1 && whole_blocks(d) && d->pad_top <= 1 &&
         d->pad_left <= 1 && d->pad_bottom <= 1 && d->pad_right <= 1;
}

static bool suits_blocks(const tr_conv_desc *d, int out_w) {
  bool short_rows = d->stride > 1 && out_w < SHORT_ROW;
  return whole_blocks(d) && (d->groups > 1 || short_rows);
}

static tr_status describe_memory(plan *p, const tr_conv_desc *d, bool blocked) {
  dnnl_format_tag_t tag = blocked ? dnnl_nChw16c : dnnl_nhwc;
  dnnl_dims_t src = {1, d->in_channels, d->in_h, d->in_w}, dst = {1, d->out_channels, p->out_h, p->out_w};
  dnnl_dims_t dense = {d->out_channels, d->in_channels, d->kernel_h, d->kernel_w}, bias = {d->out_channels};
  dnnl_dims_t grouped = {d->groups, d->out_channels / d->groups, d->in_channels / d->groups, d->kernel_h, d->kernel_w};
  bool many = d->groups > 1;
  DNNL_TRY(dnnl_memory_desc_init_by_tag(&p->src, 4, src, dnnl_f32, tag));
  DNNL_TRY(dnnl_memory_desc_init_by_tag(&p->dst, 4, dst, dnnl_f32, tag));
  DNNL_TRY(dnnl_memory_desc_init_by_tag(&p->weights, many ? 5 : 4, many ? grouped : dense, dnnl_f32, dnnl_format_tag_any));
  DNNL_TRY(dnnl_memory_desc_init_by_tag(&p->bias, 1, bias, dnnl_f32, dnnl_x));
  return TR_OK;
}

static tr_status append_post_ops(const tr_conv_desc *d, dnnl_post_ops_t ops) {
  if (d->has_residual)
    DNNL_TRY(dnnl_post_ops_append_sum(ops, 1.0f));
  if (d->activation == TR_ACT_RELU)
    DNNL_TRY(dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f));
  else if (d->activation == TR_ACT_RELU6)
    DNNL_TRY(dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_clip, 0.0f, 6.0f));
  return TR_OK;
}

static tr_status set_attributes(const tr_conv_desc *d, bool blocked, dnnl_primitive_attr_t attributes) {
  DNNL_TRY(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user));
  if (blocked)
    return TR_OK;
  dnnl_post_ops_t ops;
  DNNL_TRY(dnnl_post_ops_create(&ops));
  tr_status status = append_post_ops(d, ops);
  dnnl_status_t set = status == TR_OK ? dnnl_primitive_attr_set_post_ops(attributes, ops) : dnnl_success;
  dnnl_post_ops_destroy(ops);
  TR_TRY(status);
  DNNL_TRY(set);
  return TR_OK;
}

/* *found is false where oneDNN has no such algorithm for these shapes. */
static tr_status find_primitive(plan *p, const tr_conv_desc *d, dnnl_alg_kind_t algorithm, bool *found) {
  dnnl_dims_t strides = {d->stride, d->stride}, before = {d->pad_top, d->pad_left}, after = {d->pad_bottom, d->pad_right};
  dnnl_convolution_desc_t conv;
  TR_TRY(describe_memory(p, d, p->blocked));
  DNNL_TRY(dnnl_convolution_forward_desc_init(&conv, dnnl_forward_inference, algorithm, &p->src, &p->weights, &p->bias, &p->dst,
                                              strides, before, after));
  dnnl_primitive_attr_t attributes;
  DNNL_TRY(dnnl_primitive_attr_create(&attributes));
  tr_status status = set_attributes(d, p->blocked, attributes);
  dnnl_status_t created = dnnl_success;
  if (status == TR_OK)
    created = dnnl_primitive_desc_create(&p->primitive_desc, &conv, attributes, p->engine, NULL);
  dnnl_primitive_attr_destroy(attributes);
  TR_TRY(status);
  *found = created == dnnl_success;
  if (!*found)
    p->primitive_desc = NULL;
  if (!*found && created != dnnl_unimplemented)
    return fail_dnnl(created, "choosing a convolution");
  return TR_OK;
}

static tr_status choose(plan *p, const tr_conv_desc *d) {
  bool found = false;
  if (suits_winograd(d)) {
    p->blocked = true;
    TR_TRY(find_primitive(p, d, dnnl_convolution_winograd, &found));
    if (found)
      return TR_OK;
  }
  p->blocked = suits_blocks(d, p->out_w);
  TR_TRY(find_primitive(p, d, dnnl_convolution_direct, &found));
  if (!found)
    return tr_fail(TR_EDEVICE, "conv: oneDNN has no convolution for %dx%dx%d -> %d channels, kernel %dx%d, stride %d, %d groups",
                   d->in_h, d->in_w, d->in_channels, d->out_channels, d->kernel_h, d->kernel_w, d->stride, d->groups);
  return TR_OK;
}

static void lay_out(plan *p, const tr_conv_desc *d) {
  p->weights = *dnnl_primitive_desc_query_md(p->primitive_desc, dnnl_query_weights_md, 0);
  p->work = *dnnl_primitive_desc_query_md(p->primitive_desc, dnnl_query_scratchpad_md, 0);
  p->src_copied = p->blocked || d->src_pixel_stride != d->in_channels;
  p->dst_copied = p->blocked || d->dst_pixel_stride != d->out_channels;
  p->bias_offset = aligned(dnnl_memory_desc_get_size(&p->weights));
  p->state_bytes = p->bias_offset + aligned(dnnl_memory_desc_get_size(&p->bias));
  p->src_offset = 0;
  p->dst_offset = p->src_offset + (p->src_copied ? aligned(dnnl_memory_desc_get_size(&p->src)) : 0);
  p->work_offset = p->dst_offset + (p->dst_copied ? aligned(dnnl_memory_desc_get_size(&p->dst)) : 0);
  p->scratch_bytes = p->work_offset + aligned(dnnl_memory_desc_get_size(&p->work));
}

static void plan_free(plan *p) {
  if (p->primitive_desc)
    dnnl_primitive_desc_destroy(p->primitive_desc);
  if (p->engine)
    dnnl_engine_destroy(p->engine);
}

/* What it made before it failed is freed by plan_free. */
static tr_status plan_make(plan *p, const tr_conv_desc *d) {
  *p = (plan){.engine = NULL};
  tr_conv_shape(d, &p->out_h, &p->out_w);
  DNNL_TRY(dnnl_engine_create(&p->engine, dnnl_cpu, 0));
  TR_TRY(choose(p, d));
  lay_out(p, d);
  return TR_OK;
}

tr_status tr_cpu_conv_bytes(tr_device *device, const tr_conv_desc *desc, int n, size_t *state_bytes, size_t *scratch_bytes) {
  (void)device;
  (void)n; /* images are convolved one after the other */
  plan p;
  int threads = one_thread();
  tr_status status = plan_make(&p, desc);
  threads_back(threads);
  *state_bytes = p.state_bytes;
  *scratch_bytes = p.scratch_bytes;
  plan_free(&p);
  return status;
}

/* Arrays that a primitive works on; at most five. */
typedef struct arguments {
  dnnl_exec_arg_t items[5];
  int count;
} arguments;

static void arguments_free(arguments *a) {
  for (int i = 0; i < a->count; ++i)
    dnnl_memory_destroy(a->items[i].memory);
}

static tr_status add_argument(arguments *a, int role, const dnnl_memory_desc_t *desc, dnnl_engine_t engine, const void *data) {
  dnnl_memory_t memory;
  DNNL_TRY(dnnl_memory_create(&memory, desc, engine, (void *)data));
  a->items[a->count++] = (dnnl_exec_arg_t){role, memory};
  return TR_OK;
}

static tr_status execute(dnnl_primitive_t primitive, dnnl_stream_t stream, const arguments *a) {
  DNNL_TRY(dnnl_primitive_execute(primitive, stream, a->count, a->items));
  DNNL_TRY(dnnl_stream_wait(stream));
  return TR_OK;
}

static tr_status execute_reorder(dnnl_engine_t engine, dnnl_primitive_t reorder, const dnnl_memory_desc_t *from,
                                 const void *source, const dnnl_memory_desc_t *to, void *target) {
  dnnl_stream_t stream;
  DNNL_TRY(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
  arguments a = {.count = 0};
  tr_status status = add_argument(&a, DNNL_ARG_FROM, from, engine, source);
  if (status == TR_OK)
    status = add_argument(&a, DNNL_ARG_TO, to, engine, target);
  if (status == TR_OK)
    status = execute(reorder, stream, &a);
  arguments_free(&a);
  dnnl_stream_destroy(stream);
  return status;
}

/* Weights in PyTorch's order -> the order that the primitive wants. */
static tr_status reorder_weights(const plan *p, const tr_conv_desc *d, const float *weights, void *target) {
  dnnl_memory_desc_t given;
  dnnl_primitive_desc_t desc;
  dnnl_primitive_t reorder;
  DNNL_TRY(
      dnnl_memory_desc_init_by_tag(&given, p->weights.ndims, p->weights.dims, dnnl_f32, d->groups > 1 ? dnnl_goihw : dnnl_oihw));
  DNNL_TRY(dnnl_reorder_primitive_desc_create(&desc, &given, p->engine, &p->weights, p->engine, NULL));
  dnnl_status_t created = dnnl_primitive_create(&reorder, desc);
  dnnl_primitive_desc_destroy(desc);
  DNNL_TRY(created);
  tr_status status = execute_reorder(p->engine, reorder, &given, weights, &p->weights, target);
  dnnl_primitive_destroy(reorder);
  return status;
}

static tr_status fill_state(tr_device *device, conv_state *state, const tr_conv_desc *desc, const float *weights,
                            const float *bias) {
  plan *p = &state->plan;
  TR_TRY(plan_make(p, desc));
  DNNL_TRY(dnnl_primitive_create(&state->primitive, p->primitive_desc));
  void *memory;
  TR_TRY(tr_device_alloc(device, p->state_bytes, &memory));
  state->memory = memory;
  TR_TRY(reorder_weights(p, desc, weights, state->memory));
  memcpy(state->memory + p->bias_offset, bias, (size_t)desc->out_channels * sizeof *bias);
  return TR_OK;
}

tr_status tr_cpu_conv_create(tr_device *device, const tr_conv_desc *desc, const float *weights, const float *bias, void **state) {
  *state = NULL;
  conv_state *made = calloc(1, sizeof *made);
  if (!made)
    return tr_fail(TR_ENOMEM, "creating a convolution: out of memory");
  int threads = one_thread();
  tr_status status = fill_state(device, made, desc, weights, bias);
  threads_back(threads);
  if (status != TR_OK) {
    tr_cpu_conv_destroy(device, made);
    return status;
  }
  *state = made;
  return TR_OK;
}

void tr_cpu_conv_destroy(tr_device *device, void *state) {
  conv_state *s = state;
  if (!s)
    return;
  if (s->primitive)
    dnnl_primitive_destroy(s->primitive);
  plan_free(&s->plan);
  tr_device_free(device, s->memory);
  free(s);
}

/* Copies `pixels` pixels of `channels` floats between buffers of different width. */
static void copy_pixels(size_t pixels, int channels, const float *from, int from_stride, float *to, int to_stride) {
  for (size_t i = 0; i < pixels; ++i)
    memcpy(to + i * (size_t)to_stride, from + i * (size_t)from_stride, (size_t)channels * sizeof *to);
}

/* NHWC -> nChw16c. */
static void pack(const tr_conv_desc *d, const float *src, float *blocked) {
  size_t width = (size_t)d->in_w, pixels = (size_t)d->in_h * width, stride = (size_t)d->src_pixel_stride;
  for (size_t y = 0; y < (size_t)d->in_h; ++y)
    for (size_t block = 0; block < (size_t)d->in_channels / BLOCK; ++block) {
      const float *from = src + y * width * stride + block * BLOCK;
      float *to = blocked + (block * pixels + y * width) * BLOCK;
      for (size_t x = 0; x < width; ++x)
        memcpy(to + x * BLOCK, from + x * stride, BLOCK * sizeof *to);
    }
}

static inline void finish_block(tr_activation activation, const float *from, const float *residual, float *to) {
  for (int i = 0; i < BLOCK; ++i) {
    float value = residual ? from[i] + residual[i] : from[i];
    if (activation != TR_ACT_NONE)
      value = value > 0.0f ? value : 0.0f;
    if (activation == TR_ACT_RELU6)
      value = value < 6.0f ? value : 6.0f;
    to[i] = value;
  }
}

/* nChw16c -> NHWC with residual and activation. */
static void unpack(const plan *p, const tr_conv_desc *d, const float *blocked, const float *residual, float *dst) {
  size_t width = (size_t)p->out_w, pixels = (size_t)p->out_h * width, stride = (size_t)d->dst_pixel_stride;
  size_t channels = (size_t)d->out_channels;
  for (size_t y = 0; y < (size_t)p->out_h; ++y)
    for (size_t block = 0; block < channels / BLOCK; ++block) {
      const float *from = blocked + (block * pixels + y * width) * BLOCK;
      const float *extra = residual ? residual + y * width * channels + block * BLOCK : NULL;
      float *to = dst + y * width * stride + block * BLOCK;
      for (size_t x = 0; x < width; ++x)
        finish_block(d->activation, from + x * BLOCK, extra ? extra + x * channels : NULL, to + x * stride);
    }
}

static tr_status execute_conv(conv_state *s, dnnl_stream_t stream, const float *src, float *dst, char *scratch) {
  const plan *p = &s->plan;
  arguments a = {.count = 0};
  tr_status status = add_argument(&a, DNNL_ARG_SRC, &p->src, p->engine, src);
  if (status == TR_OK)
    status = add_argument(&a, DNNL_ARG_DST, &p->dst, p->engine, dst);
  if (status == TR_OK)
    status = add_argument(&a, DNNL_ARG_WEIGHTS, &p->weights, p->engine, s->memory);
  if (status == TR_OK)
    status = add_argument(&a, DNNL_ARG_BIAS, &p->bias, p->engine, s->memory + p->bias_offset);
  if (status == TR_OK)
    status = add_argument(&a, DNNL_ARG_SCRATCHPAD, &p->work, p->engine, scratch + p->work_offset);
  if (status == TR_OK)
    status = execute(s->primitive, stream, &a);
  arguments_free(&a);
  return status;
}

static tr_status run_image(conv_state *s, dnnl_stream_t stream, const tr_conv_desc *d, const float *src, const float *residual,
                           float *dst, char *scratch) {
  const plan *p = &s->plan;
  float *inner_src = (float *)(void *)(scratch + p->src_offset), *inner_dst = (float *)(void *)(scratch + p->dst_offset);
  size_t pixels = (size_t)p->out_h * (size_t)p->out_w;
  if (p->blocked)
    pack(d, src, inner_src);
  else if (p->src_copied)
    copy_pixels((size_t)d->in_h * (size_t)d->in_w, d->in_channels, src, d->src_pixel_stride, inner_src, d->in_channels);
  float *target = p->dst_copied ? inner_dst : dst;
  if (!p->blocked && residual && residual != target)
    memcpy(target, residual, pixels * (size_t)d->out_channels * sizeof *target);
  TR_TRY(execute_conv(s, stream, p->src_copied ? inner_src : src, target, scratch));
  if (p->blocked)
    unpack(p, d, inner_dst, residual, dst);
  else if (p->dst_copied)
    copy_pixels(pixels, d->out_channels, inner_dst, d->out_channels, dst, d->dst_pixel_stride);
  return TR_OK;
}

tr_status tr_cpu_conv_run(tr_device *device, const tr_conv_desc *desc, void *state, const tr_conv_args *args) {
  (void)device;
  conv_state *s = state;
  size_t out_pixels = (size_t)s->plan.out_h * (size_t)s->plan.out_w;
  size_t src_image = (size_t)desc->in_h * (size_t)desc->in_w * (size_t)desc->src_pixel_stride;
  size_t dst_image = out_pixels * (size_t)desc->dst_pixel_stride, residual_image = out_pixels * (size_t)desc->out_channels;
  if (s->plan.scratch_bytes && !args->scratch)
    return tr_fail(TR_EINVAL, "conv: %zu bytes of scratch are missing", s->plan.scratch_bytes);
  dnnl_stream_t stream;
  DNNL_TRY(dnnl_stream_create(&stream, s->plan.engine, dnnl_stream_default_flags));
  int threads = one_thread();
  tr_status status = TR_OK;
  for (size_t i = 0; i < (size_t)args->n && status == TR_OK; ++i)
    status = run_image(s, stream, desc, args->src + i * src_image, args->residual ? args->residual + i * residual_image : NULL,
                       args->dst + i * dst_image, args->scratch);
  threads_back(threads);
  dnnl_stream_destroy(stream);
  return status;
}

#else

tr_status tr_cpu_conv_bytes(tr_device *device, const tr_conv_desc *desc, int n, size_t *state_bytes, size_t *scratch_bytes) {
  return tr_cpu_conv_plain_bytes(device, desc, n, state_bytes, scratch_bytes);
}

tr_status tr_cpu_conv_create(tr_device *device, const tr_conv_desc *desc, const float *weights, const float *bias, void **state) {
  return tr_cpu_conv_plain_create(device, desc, weights, bias, state);
}

void tr_cpu_conv_destroy(tr_device *device, void *state) {
  tr_cpu_conv_plain_destroy(device, state);
}

tr_status tr_cpu_conv_run(tr_device *device, const tr_conv_desc *desc, void *state, const tr_conv_args *args) {
  return tr_cpu_conv_plain_run(device, desc, state, args);
}

#endif
