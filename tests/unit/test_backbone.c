/* Backbones: every architecture against PyTorch, with weights from a rule that tests/golden/make_backbone.py applies as well; bad
 * weight files; the forecast; the same bits from any number of threads. */
#include "host/backbone/graph.h"
#include "host/base/rng.h"
#include "host/base/text.h"
#include "tests/kernels/devices.h"

#include <math.h>

/* In units of a tap's rms, against a pass in double. Each convolution adds an error of at most 7e-6; with random weights no channel
 * damps it, and up to 100 follow each other. A wrong stride, pad or norm is off by 1e-1. */
#define TOLERANCE 1e-4

enum { SAMPLES_AT = 8, MAX_TAPS = 8 };

/* What is done to a file so that it is not the architecture's any more; NULL or false: nothing. */
typedef struct spoil {
  const char *omit, *reshape, *poison; /* tensors left out, given one more channel, filled with NaN */
  const char *add;                     /* a tensor that belongs nowhere */
  const char *arch;                    /* metadata */
  bool old_names;                      /* densenet: norm1 as norm.1 */
} spoil;

/* A safetensors file in the making: the header's text and the data. */
typedef struct writer {
  char *header, *data;
  size_t header_bytes, data_bytes;
  FILE *header_stream, *data_stream;
  const spoil *spoil;
} writer;

static uint64_t fnv1a(const char *text) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (; *text; ++text)
    hash = (hash ^ (unsigned char)*text) * 0x100000001B3u;
  return hash;
}

static bool same(const char *a, const char *b) {
  return a && b && strcmp(a, b) == 0;
}

/* "….denselayer1.norm1.weight" -> "….denselayer1.norm.1.weight" */
static void old_name(const char *name, char *to, size_t bytes) {
  const char *layer = strstr(name, ".denselayer"), *module = layer ? strchr(layer + 1, '.') : NULL;
  if (module)
    snprintf(to, bytes, "%.*s.%s", (int)(module + 5 - name), name, module + 5);
  else
    snprintf(to, bytes, "%s", name);
}

static void add_header(writer *w, const char *name, const char *dtype, const int *shape, int rank, size_t bytes) {
  char stored[160];
  if (w->spoil->old_names)
    old_name(name, stored, sizeof stored);
  else
    snprintf(stored, sizeof stored, "%s", name);
  fflush(w->data_stream);
  fprintf(w->header_stream, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", stored, dtype);
  for (int i = 0; i < rank; ++i)
    fprintf(w->header_stream, "%s%d", i ? "," : "", shape[i] + (i == 0 && same(w->spoil->reshape, name)));
  size_t more = same(w->spoil->reshape, name) ? bytes / (size_t)shape[0] : 0;
  fprintf(w->header_stream, "],\"data_offsets\":[%zu,%zu]}", w->data_bytes, w->data_bytes + bytes + more);
  for (size_t i = 0; i < more; ++i)
    fputc(0, w->data_stream);
}

/* k * 2^exponent with |k| <= 128, exact in half precision. */
static uint16_t half_of(int k, int exponent) {
  if (k == 0)
    return 0;
  int power;
  float mantissa = frexpf((float)abs(k), &power); /* in [0.5, 1) */
  uint16_t bits = (uint16_t)((mantissa * 2.0f - 1.0f) * 1024.0f);
  return (uint16_t)((k < 0 ? 0x8000 : 0) | (power - 1 + exponent + 15) << 10 | bits);
}

static void add_conv(writer *w, const char *module, const int shape[4]) {
  char name[128];
  snprintf(name, sizeof name, "%s.weight", module);
  if (same(w->spoil->omit, name))
    return;
  size_t fan_in = (size_t)(shape[1] * shape[2] * shape[3]), count = (size_t)shape[0] * fan_in;
  int exponent = (int)floor(0.5 * log2(6.0 / (double)fan_in) + 0.5);
  uint16_t halves[256];
  for (int i = 0; i < 256; ++i)
    halves[i] = half_of(i < 128 ? i : i - 256, exponent - 7);
  if (same(w->spoil->poison, name))
    halves[1] = 0x7E00; /* NaN */
  add_header(w, name, "F16", shape, 4, count * 2);
  tr_rng rng = tr_rng_make(fnv1a(name), TR_RNG_WEIGHTS, 0);
  for (size_t i = 0; i < count; i += 4) {
    uint32_t word = tr_rng_u32(&rng);
    const uint16_t four[4] = {halves[word & 255], halves[word >> 8 & 255], halves[word >> 16 & 255], halves[word >> 24]};
    fwrite(four, 2, count - i < 4 ? count - i : 4, w->data_stream);
  }
}

static void add_floats(writer *w, const char *module, const char *kind, int count, float low, float high) {
  char name[128];
  snprintf(name, sizeof name, "%s.%s", module, kind);
  if (same(w->spoil->omit, name))
    return;
  add_header(w, name, "F32", &count, 1, (size_t)count * sizeof(float));
  tr_rng rng = tr_rng_make(fnv1a(name), TR_RNG_WEIGHTS, 0);
  for (int i = 0; i < count; ++i) {
    float value = tr_rng_between(&rng, low, high);
    if (same(w->spoil->poison, name) && i == count / 2)
      value = -1.0f; /* a variance below zero */
    fwrite(&value, sizeof value, 1, w->data_stream);
  }
}

static void add_norm(writer *w, const char *module, int channels) {
  add_floats(w, module, "weight", channels, 0.6f, 1.2f);
  add_floats(w, module, "bias", channels, -0.3f, 0.3f);
  add_floats(w, module, "running_mean", channels, -0.2f, 0.2f);
  add_floats(w, module, "running_var", channels, 0.5f, 1.5f);
}

/* A tensor of the architecture that no pass reads: its shape and one zero for each value. */
static void add_other(writer *w, const char *name, const int *shape, int rank) {
  size_t bytes = sizeof(float);
  for (int i = 0; i < rank; ++i)
    bytes *= (size_t)shape[i];
  add_header(w, name, "F32", shape, rank, bytes);
  for (size_t i = 0; i < bytes; ++i)
    fputc(0, w->data_stream);
}

static void add_line(writer *w, const char *line) {
  char kind[16], name[112];
  int shape[4] = {0}, fields = sscanf(line, "%15s %111s %d %d %d %d", kind, name, &shape[0], &shape[1], &shape[2], &shape[3]);
  if (same(kind, "conv") && fields == 6)
    add_conv(w, name, shape);
  else if (same(kind, "norm") && fields == 3)
    add_norm(w, name, shape[0]);
  else if (same(kind, "other") && fields >= 3)
    add_other(w, name, shape, fields - 2);
  else
    fail_msg("fixture line \"%s\"", line);
  fflush(w->data_stream);
}

static void write_file(const writer *w, int fd) {
  FILE *file = fdopen(fd, "wb");
  assert_non_null(file);
  uint64_t header_bytes = w->header_bytes;
  assert_int_equal(fwrite(&header_bytes, 8, 1, file), 1);
  assert_int_equal(fwrite(w->header, 1, w->header_bytes, file), w->header_bytes);
  assert_int_equal(fwrite(w->data, 1, w->data_bytes, file), w->data_bytes);
  assert_int_equal(fclose(file), 0);
}

/* The generated weights of an architecture through a real file and the real reader. */
static tr_weights *weights_make(const char *architecture, const spoil *spoilt) {
  static const spoil nothing;
  char listing[512], line[160], path[] = "/tmp/test_backbone_XXXXXX";
  snprintf(listing, sizeof listing, "%s/backbone_%s.txt", TR_GOLDEN_DIR, architecture);
  FILE *file = fopen(listing, "r");
  if (!file)
    fail_msg("no fixture %s", listing);
  writer w = {.spoil = spoilt ? spoilt : &nothing};
  w.header_stream = open_memstream(&w.header, &w.header_bytes);
  w.data_stream = open_memstream(&w.data, &w.data_bytes);
  assert_true(w.header_stream && w.data_stream);
  fprintf(w.header_stream, "{\"__metadata__\":{");
  if (w.spoil->arch)
    fprintf(w.header_stream, "\"arch\":\"%s\"", w.spoil->arch);
  fputc('}', w.header_stream);
  while (fgets(line, sizeof line, file))
    add_line(&w, line);
  fclose(file);
  if (w.spoil->add)
    add_other(&w, w.spoil->add, &(int){3}, 1);
  fputc('}', w.header_stream);
  fclose(w.header_stream);
  fclose(w.data_stream);
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  write_file(&w, fd);
  free(w.header);
  free(w.data);
  tr_weights *weights;
  if (tr_weights_open(path, &weights) != TR_OK)
    fail_msg("%s", tr_last_error());
  unlink(path); /* the mapping keeps it */
  return weights;
}

/* Images and the memory of their taps, on the device. */
typedef struct batch {
  tr_device *device;
  tr_backbone *backbone;
  int n, h, w, tap_count;
  float *images, *taps[MAX_TAPS];
  size_t tap_floats[MAX_TAPS]; /* of one image */
} batch;

static float *allocate(tr_device *device, size_t floats) {
  void *memory;
  assert_int_equal(tr_device_alloc(device, floats * sizeof(float), &memory), TR_OK);
  return memory;
}

/* Image 0 is make_backbone.py's; the others go on in its stream. */
static batch batch_make(tr_device *device, tr_backbone *backbone, int tap_count, int n, int h, int w) {
  batch b = {.device = device, .backbone = backbone, .n = n, .h = h, .w = w, .tap_count = tap_count};
  size_t floats = (size_t)(n * h * w * 3);
  float *drawn = malloc(floats * sizeof *drawn);
  assert_non_null(drawn);
  tr_rng rng = tr_rng_make((uint64_t)(h * w), TR_RNG_TEST, 0);
  for (size_t i = 0; i < floats; ++i)
    drawn[i] = tr_rng_between(&rng, -2.0f, 2.0f);
  b.images = allocate(device, floats);
  assert_int_equal(tr_device_upload(device, b.images, drawn, floats * sizeof *drawn), TR_OK);
  free(drawn);
  for (int i = 0; i < tap_count; ++i) {
    int th, tw, tc;
    tr_backbone_tap_shape(backbone, i, &th, &tw, &tc);
    b.tap_floats[i] = (size_t)th * (size_t)tw * (size_t)tc;
    b.taps[i] = allocate(device, (size_t)n * b.tap_floats[i]);
  }
  return b;
}

static void batch_free(batch *b) {
  tr_device_free(b->device, b->images);
  for (int i = 0; i < b->tap_count; ++i)
    tr_device_free(b->device, b->taps[i]);
}

static tr_status run_chunk(void *context, size_t first, size_t count, int lane) {
  const batch *b = context;
  float *taps[MAX_TAPS];
  for (int i = 0; i < b->tap_count; ++i)
    taps[i] = b->taps[i] + first * b->tap_floats[i];
  return tr_backbone_run(b->backbone, lane, (int)count, b->images + first * (size_t)(b->h * b->w * 3), taps);
}

static void batch_run(batch *b) {
  if (tr_device_for_chunks(b->device, (size_t)b->n, run_chunk, b) != TR_OK)
    fail_msg("%s", tr_last_error());
}

/* Tap `tap` of image `image`, on the host; free it. */
static float *tap_read(const batch *b, int tap, int image) {
  float *values = malloc(b->tap_floats[tap] * sizeof *values);
  assert_non_null(values);
  const float *from = b->taps[tap] + (size_t)image * b->tap_floats[tap];
  assert_int_equal(tr_device_download(b->device, values, from, b->tap_floats[tap] * sizeof *values), TR_OK);
  assert_int_equal(tr_device_sync(b->device), TR_OK);
  return values;
}

static tr_backbone_options options_of(const char *architecture, const char *const *layers, int count, int h, int w) {
  return (tr_backbone_options){.architecture = architecture, .layers = layers, .layer_count = count, .in_h = h, .in_w = w};
}

static tr_backbone *create(tr_device *device, const tr_backbone_options *options, const tr_weights *weights) {
  tr_backbone *backbone;
  if (tr_backbone_create(device, options, weights, &backbone) != TR_OK)
    fail_msg("%s: %s", options->architecture, tr_last_error());
  return backbone;
}

/* A tap against a row of the fixture: in_h, in_w, tap, h, w, c, sum, sum of squares, samples. */
static void check_tap(const char *name, const batch *b, int tap, const double *row, size_t samples) {
  int h, w, c;
  tr_backbone_tap_shape(b->backbone, tap, &h, &w, &c);
  if (h != (int)row[3] || w != (int)row[4] || c != (int)row[5])
    fail_msg("%s, tap %d: %dx%dx%d, PyTorch %gx%gx%g", name, (int)row[2], h, w, c, row[3], row[4], row[5]);
  size_t count = b->tap_floats[tap];
  double sum = 0, squares = 0, rms = sqrt(row[7] / (double)count);
  float *values = tap_read(b, tap, 0);
  for (size_t i = 0; i < count; ++i) {
    sum += (double)values[i];
    squares += (double)values[i] * (double)values[i];
  }
  for (size_t i = 0; i < samples; ++i) {
    double got = (double)values[i * count / samples], expected = row[SAMPLES_AT + i];
    if (!(fabs(got - expected) <= TOLERANCE * rms))
      fail_msg("%s, tap %d, sample %zu: got %.9g, PyTorch %.9g (rms %g)", name, (int)row[2], i, got, expected, rms);
  }
  if (!(fabs(sum - row[6]) <= TOLERANCE * rms * (double)count) || !(fabs(squares - row[7]) <= 2 * TOLERANCE * row[7]))
    fail_msg("%s, tap %d: sum %.9g and squares %.9g, PyTorch %.9g and %.9g", name, (int)row[2], sum, squares, row[6], row[7]);
  free(values);
}

/* Rows [first, first + count) of the fixture are one image's; TR_MAX_TAPS at most are tapped at once. */
static void check_image(tr_device *device, const char *name, const char *architecture, const tr_weights *weights,
                        const golden_array *rows, size_t first, size_t count) {
  size_t width = rows->shape[1], known;
  const double *row = (const double *)rows->data + first * width;
  const char *const *layers = tr_backbone_layers(architecture, &known);
  for (size_t tap = 0; tap < count; tap += TR_MAX_TAPS) {
    int taps = (int)(count - tap < TR_MAX_TAPS ? count - tap : TR_MAX_TAPS);
    tr_backbone_options options = options_of(architecture, layers + tap, taps, (int)row[0], (int)row[1]);
    tr_backbone *backbone = create(device, &options, weights);
    batch b = batch_make(device, backbone, taps, 1, options.in_h, options.in_w);
    batch_run(&b);
    for (int i = 0; i < taps; ++i)
      check_tap(name, &b, i, row + (tap + (size_t)i) * width, width - SAMPLES_AT);
    batch_free(&b);
    tr_backbone_destroy(backbone);
  }
}

static void check_against_fixture(tr_device *device, const char *name, const char *architecture, const tr_weights *weights) {
  char file[96];
  snprintf(file, sizeof file, "backbone_%s.npy", name);
  golden_array rows = golden_read(file);
  const double *data = rows.data;
  for (size_t first = 0, end; first < rows.shape[0]; first = end) {
    for (end = first + 1; end < rows.shape[0] && data[end * rows.shape[1] + 2] > 0;)
      ++end;
    check_image(device, name, architecture, weights, &rows, first, end - first);
  }
  golden_free(&rows);
}

static void test_architectures(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  size_t count;
  const char *const *names = tr_backbone_architectures(&count);
  assert_int_equal(count, 10);
  for (size_t i = 0; i < count; ++i) {
    tr_weights *weights = weights_make(names[i], NULL);
    check_against_fixture(device, names[i], names[i], weights);
    tr_weights_close(weights);
  }
  assert_int_equal(tr_device_bytes(device), 0);
  tr_device_close(device);
}

static void test_old_densenet_names(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  tr_weights *weights = weights_make("densenet201", &(spoil){.old_names = true});
  assert_non_null(tr_weights_find(weights, "features.denseblock2.denselayer3.norm.1.running_var"));
  check_against_fixture(device, "densenet201", "densenet201", weights);
  tr_weights_close(weights);
  tr_device_close(device);
}

static void test_names(void **state) {
  (void)state;
  size_t count, layers;
  const char *const *names = tr_backbone_architectures(&count);
  for (size_t i = 0; i < count; ++i) {
    assert_non_null(tr_backbone_short_name(names[i]));
    const char *const *known = tr_backbone_layers(names[i], &layers);
    assert_non_null(known);
    assert_string_equal(known[layers - 1], "pool");
  }
  assert_string_equal(tr_backbone_short_name("resnet50_v1"), "RN50V1");
  assert_string_equal(tr_backbone_short_name("wide_resnet50_2"), "WR50");
  assert_null(tr_backbone_short_name("alexnet"));
  float mean[3], std[3];
  assert_int_equal(tr_backbone_normalisation("densenet201", mean, std), TR_OK);
  assert_float_equal(mean[2], 0.406f, 0.0f);
  assert_float_equal(std[0], 0.229f, 0.0f);
  assert_int_equal(tr_backbone_normalisation("efficientnet_lite0", mean, std), TR_OK);
  assert_float_equal((127.0f / 255.0f - mean[1]) / std[1], 0.0f, 0.0f); /* (x - 127) / 128 */
  assert_float_equal((255.0f / 255.0f - mean[1]) / std[1], 1.0f, 1e-6f);
  assert_int_equal(tr_backbone_normalisation("alexnet", mean, std), TR_EINVAL);
  assert_null(tr_backbone_layers("alexnet", &layers));
}

static void expect_error(tr_status got, tr_status expected, const char *const *words) {
  assert_int_equal(got, expected);
  for (; *words; ++words)
    if (!strstr(tr_last_error(), *words))
      fail_msg("the error does not say \"%s\": %s", *words, tr_last_error());
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void expect_refused_file(tr_device *device, const spoil *spoilt, const char *layer, const char *const *words) {
  tr_weights *weights = weights_make("resnet18", spoilt);
  tr_backbone_options options = options_of("resnet18", &layer, 1, 64, 64);
  tr_backbone *backbone;
  expect_error(tr_backbone_create(device, &options, weights, &backbone), TR_EFORMAT, words);
  assert_null(backbone);
  assert_int_equal(tr_device_bytes(device), 0);
  tr_weights_close(weights);
}

static void test_bad_files(void **state) {
  (void)state;
  tr_device *device = test_device_open(2);
  const char *conv = "layer2.0.conv1.weight", *variance = "layer2.1.bn2.running_var";
  expect_refused_file(device, &(spoil){.omit = conv}, "layer2", WORDS(conv, "test_backbone_"));
  expect_refused_file(device, &(spoil){.omit = variance}, "layer2", WORDS(variance));
  expect_refused_file(device, &(spoil){.reshape = conv}, "layer2", WORDS(conv, "129"));
  expect_refused_file(device, &(spoil){.add = "layer9.weight"}, "layer1",
                      WORDS("layer9.weight", "belongs to no part of resnet18"));
  expect_refused_file(device, &(spoil){.arch = "resnet50_v1"}, "layer1", WORDS("resnet50_v1", "wanted resnet18"));
  expect_refused_file(device, &(spoil){.poison = conv}, "layer2", WORDS(conv, "nan"));
  expect_refused_file(device, &(spoil){.poison = variance}, "layer2", WORDS("layer2.1.bn2", "variance -1"));
  tr_device_close(device);
}

/* What lies behind the last tap may be missing or wrong in shape. */
static void test_truncated_file(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  tr_weights *weights = weights_make("resnet18", &(spoil){.omit = "layer3.0.conv1.weight", .arch = "resnet18"});
  const char *layers[] = {"layer1", "layer2", "layer3"};
  tr_backbone_options options = options_of("resnet18", layers, 2, 64, 64);
  tr_backbone_destroy(create(device, &options, weights));
  options.layer_count = 3;
  tr_backbone *backbone;
  expect_error(tr_backbone_create(device, &options, weights, &backbone), TR_EFORMAT, WORDS("layer3.0.conv1.weight"));
  tr_weights_close(weights);
  tr_device_close(device);
}

static void expect_refused_options(tr_device *device, tr_backbone_options options, const char *const *words) {
  size_t bytes;
  double macs;
  expect_error(tr_backbone_forecast(device, &options, &bytes, &macs), TR_EINVAL, words);
}

static void test_bad_options(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  const char *good[] = {"layer1", "layer2"}, *unknown[] = {"layer2", "layer5"}, *reversed[] = {"layer3", "layer2"};
  const char *twice[] = {"layer3", "layer3"};
  expect_refused_options(device, options_of("resnet18", unknown, 2, 64, 64),
                         WORDS("layer5", "layer1, layer2, layer3, layer4, pool"));
  expect_refused_options(device, options_of("resnet18", reversed, 2, 64, 64), WORDS("layer2 comes after layer3"));
  expect_refused_options(device, options_of("resnet18", twice, 2, 64, 64), WORDS("layer3"));
  expect_refused_options(device, options_of("resnet18", good, 0, 64, 64), WORDS("0 layers"));
  expect_refused_options(device, options_of("resnet18", good, 2, 64, 31), WORDS("64x31", "32"));
  expect_refused_options(device, options_of("resnet18", good, 2, 9000, 64), WORDS("9000x64", "8192"));
  expect_refused_options(device, options_of("alexnet", good, 2, 64, 64),
                         WORDS("alexnet", "wide_resnet50_2", "efficientnet_lite0"));
  size_t count;
  const char *const *names = tr_backbone_architectures(&count);
  for (size_t i = 0; i < count; ++i) /* the list that people see is the list that is known */
    expect_refused_options(device, options_of(names[i], (const char *[]){"nowhere"}, 1, 64, 64), WORDS(names[i], "nowhere"));
  tr_device_close(device);
}

static void test_bad_run(void **state) {
  (void)state;
  tr_device *device = test_device_open(2);
  tr_weights *weights = weights_make("resnet18", NULL);
  const char *layer = "layer1";
  tr_backbone_options options = options_of("resnet18", &layer, 1, 32, 32);
  tr_backbone *backbone = create(device, &options, weights);
  float *image = allocate(device, 32 * 32 * 3), *tap = NULL;
  assert_int_equal(tr_backbone_run(backbone, 0, 1, image, &tap), TR_EINVAL);
  assert_int_equal(tr_backbone_run(backbone, 2, 1, image, &image), TR_EINVAL);
  assert_int_equal(tr_backbone_run(backbone, 0, (int)tr_device_chunk(device) + 1, image, &image), TR_EINVAL);
  assert_int_equal(tr_backbone_run(backbone, 0, 1, NULL, &image), TR_EINVAL);
  tr_device_free(device, image);
  tr_backbone_destroy(backbone);
  tr_backbone_destroy(NULL);
  tr_weights_close(weights);
  tr_device_close(device);
}

/* Multiply-adds at 224 px, as the papers and torchvision count them (whole network less the classifier). */
static void test_macs(void **state) {
  (void)state;
  static const struct {
    const char *architecture, *layer;
    double giga;
  } known[] = {{"resnet18", "layer4", 1.814},         {"resnet50", "layer4", 4.087},
               {"wide_resnet50_2", "layer4", 11.396}, {"resnet50_v1", "layer4", 3.856},
               {"resnext101_32x8d", "layer4", 16.41}, {"efficientnet_lite0", "blocks.6", 0.364}};
  tr_device *device = test_device_open(1);
  for (size_t i = 0; i < sizeof known / sizeof *known; ++i) {
    size_t bytes;
    double macs;
    tr_backbone_options options = options_of(known[i].architecture, &known[i].layer, 1, 224, 224);
    assert_int_equal(tr_backbone_forecast(device, &options, &bytes, &macs), TR_OK);
    if (!(fabs(macs * 1e-9 - known[i].giga) < 0.01 * known[i].giga))
      fail_msg("%s to %s: %.4g G multiply-adds, expected %g", known[i].architecture, known[i].layer, macs * 1e-9, known[i].giga);
  }
  tr_device_close(device);
}

static void check_forecast(const char *architecture, const tr_weights *weights, int threads) {
  size_t known, bytes;
  double macs;
  const char *const *layers = tr_backbone_layers(architecture, &known);
  tr_device *device = test_device_open(threads);
  tr_backbone_options options = options_of(architecture, layers + 1, 2, 96, 80);
  assert_int_equal(tr_backbone_forecast(device, &options, &bytes, &macs), TR_OK);
  tr_backbone *backbone = create(device, &options, weights);
  int h[2], w[2], c[2];
  assert_int_equal(tr_backbone_shapes(device, &options, h, w, c), TR_OK);
  for (int i = 0; i < 2; ++i) {
    int made_h, made_w, made_c;
    tr_backbone_tap_shape(backbone, i, &made_h, &made_w, &made_c);
    assert_true(h[i] == made_h && w[i] == made_w && c[i] == made_c);
  }
  size_t taken = tr_device_bytes(device);
  /* The device rounds each block up and adds a line of 64 bytes; there are a few hundred blocks. */
  if (!(taken >= bytes && taken - bytes < 64 * 1024 && tr_device_peak_bytes(device) == taken))
    fail_msg("%s: forecast %zu bytes, taken %zu, peak %zu", architecture, bytes, taken, tr_device_peak_bytes(device));
  tr_backbone_destroy(backbone);
  assert_int_equal(tr_device_bytes(device), 0);
  tr_device_close(device);
}

/* Every tap of every image, in one buffer; free it. */
static float *all_taps(const char *architecture, const tr_weights *weights, const char *const *layers, int count, int threads,
                       int n, size_t *floats) {
  tr_device *device = test_device_open(threads);
  tr_backbone_options options = options_of(architecture, layers, count, 75, 64);
  tr_backbone *backbone = create(device, &options, weights);
  batch b = batch_make(device, backbone, count, n, 75, 64);
  for (int i = 0; i < 3; ++i) /* buffers that hold another pass's values, and recordings, change nothing */
    batch_run(&b);
  *floats = 0;
  for (int i = 0; i < count; ++i)
    *floats += b.tap_floats[i];
  float *all = malloc((size_t)n * *floats * sizeof *all), *next = all;
  assert_non_null(all);
  for (int image = 0; image < n; ++image)
    for (int i = 0; i < count; next += b.tap_floats[i++]) {
      float *values = tap_read(&b, i, image);
      memcpy(next, values, b.tap_floats[i] * sizeof *values);
      free(values);
    }
  batch_free(&b);
  tr_backbone_destroy(backbone);
  tr_device_close(device);
  return all;
}

static void test_forecast_and_bits(void **state) {
  (void)state;
  static const char *const architectures[] = {"resnet18", "resnet50_v1", "densenet201", "efficientnet_lite0"};
  enum { IMAGES = 5, TAPS = 3 };
  for (size_t a = 0; a < sizeof architectures / sizeof *architectures; ++a) {
    const char *name = architectures[a];
    tr_weights *weights = weights_make(name, NULL);
    check_forecast(name, weights, 1);
    check_forecast(name, weights, 3);
    size_t known, floats;
    const char *const *layers = tr_backbone_layers(name, &known);
    float *one = all_taps(name, weights, layers, TAPS, 1, IMAGES, &floats);
    for (int threads = 2; threads <= 4; threads += 2) {
      float *more = all_taps(name, weights, layers, TAPS, threads, IMAGES, &floats);
      assert_memory_equal(more, one, IMAGES * floats * sizeof *one);
      free(more);
    }
    float *single = all_taps(name, weights, layers, TAPS, 1, 1, &floats);
    assert_memory_equal(single, one, floats * sizeof *one);
    free(single);
    /* The last tap alone: what lay in the caller's memory now lies in the arena. */
    size_t last_floats;
    float *last = all_taps(name, weights, layers + TAPS - 1, 1, 1, 1, &last_floats);
    assert_memory_equal(last, one + floats - last_floats, last_floats * sizeof *one);
    free(last);
    free(one);
    tr_weights_close(weights);
  }
}

static void test_real_weights(void **state) {
  (void)state;
  const char *path = golden_external("TOTALRECALL_WEIGHTS", "weights", "resnet50_v1_imagenet.safetensors");
  if (!path)
    skip();
  tr_weights *weights;
  assert_int_equal(tr_weights_open(path, &weights), TR_OK);
  tr_device *device = test_device_open(1);
  check_against_fixture(device, "real", "resnet50_v1", weights);
  const char *layer = "layer1";
  tr_backbone_options options = options_of("resnet50", &layer, 1, 64, 64);
  tr_backbone *backbone;
  expect_error(tr_backbone_create(device, &options, weights, &backbone), TR_EFORMAT, WORDS("resnet50_v1", "wanted resnet50"));
  tr_weights_close(weights);
  tr_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_bad_options),
      cmocka_unit_test(test_macs),
      cmocka_unit_test(test_architectures),
      cmocka_unit_test(test_old_densenet_names),
      cmocka_unit_test(test_bad_files),
      cmocka_unit_test(test_truncated_file),
      cmocka_unit_test(test_bad_run),
      cmocka_unit_test(test_forecast_and_bits),
      cmocka_unit_test(test_real_weights),
  };
  return run_on_devices("backbone", tests, NULL, NULL);
}
