/* Weight files: fixtures of tests/golden/make_weights.py, files built here to be wrong in one way each, files cut short and
 * damaged at every byte, and the search for an architecture's file. */
#include "host/weights/weights.h"

#include "host/base/text.h"
#include "host/weights/internal.h"
#include "tests/golden/golden.h"

#include <math.h>

/* --- helpers --- */

static char *fixture_path(const char *name) {
  char *path = tr_format("%s/weights/%s", TR_GOLDEN_DIR, name);
  assert_non_null(path);
  return path;
}

static tr_weights *open_fixture(const char *name) {
  char *path = fixture_path(name);
  tr_weights *weights = NULL;
  if (tr_weights_open(path, &weights) != TR_OK)
    fail_msg("%s", tr_last_error());
  assert_string_equal(tr_weights_path(weights), path);
  free(path);
  return weights;
}

static void assert_error_has(const char *part) {
  if (!strstr(tr_last_error(), part))
    fail_msg("error \"%s\" has no \"%s\"", tr_last_error(), part);
}

/* Element `index` of the tensor with number `seed` in the fixtures. */
static double rule(int seed, size_t index) {
  return ((double)((7 * index + 13 * (size_t)seed) % 31) - 15) / 8;
}

typedef struct tr_expected {
  const char *name;
  tr_dtype dtype;
  int rank;
  int64_t shape[3];
  int seed;
  size_t offset, step[3]; /* element (i, j, k) is rule(seed, offset + i step[0] + j step[1] + k step[2]) */
} tr_expected;

static void check_tensor(const tr_weights *weights, const tr_expected *expected) {
  const tr_tensor *tensor = tr_weights_find(weights, expected->name);
  if (!tensor)
    fail_msg("no tensor %s", expected->name);
  assert_string_equal(tensor->name, expected->name);
  assert_int_equal(tensor->dtype, expected->dtype);
  assert_int_equal(tensor->rank, expected->rank);
  int64_t extent[3] = {1, 1, 1};
  for (int i = 0; i < expected->rank; ++i) {
    assert_int_equal(tensor->shape[i], expected->shape[i]);
    extent[i] = expected->shape[i];
  }
  size_t count = (size_t)(extent[0] * extent[1] * extent[2]);
  assert_int_equal(tensor->bytes, count * tr_dtype_bytes(expected->dtype));
  float *values = malloc((count + 1) * sizeof *values);
  assert_non_null(values);
  values[count] = 77;
  assert_int_equal(tr_weights_read(weights, expected->name, expected->rank, expected->shape, values), TR_OK);
  const float *value = values;
  for (size_t i = 0; i < (size_t)extent[0]; ++i)
    for (size_t j = 0; j < (size_t)extent[1]; ++j)
      for (size_t k = 0; k < (size_t)extent[2]; ++k) {
        size_t index = expected->offset + i * expected->step[0] + j * expected->step[1] + k * expected->step[2];
        assert_true(*value++ == (float)rule(expected->seed, index));
      }
  assert_true(*value == 77);
  free(values);
}

static void check_integers(const tr_weights *weights) {
  static const int32_t ints[] = {-1, 2, 70000};
  static const uint8_t bytes[] = {0, 128, 255}, truth[] = {1, 0, 1};
  int64_t tracked;
  const tr_tensor *tensor = tr_weights_find(weights, "num_batches_tracked");
  assert_non_null(tensor);
  assert_int_equal(tensor->dtype, TR_I64);
  assert_int_equal(tensor->rank, 0);
  assert_int_equal(tensor->bytes, 8);
  memcpy(&tracked, tensor->data, sizeof tracked);
  assert_int_equal(tracked, 1234567890123);
  if ((tensor = tr_weights_find(weights, "int"))) {
    assert_int_equal(tensor->dtype, TR_I32);
    assert_memory_equal(tensor->data, ints, sizeof ints);
  }
  assert_non_null(tensor = tr_weights_find(weights, "byte"));
  assert_int_equal(tensor->dtype, TR_U8);
  assert_memory_equal(tensor->data, bytes, sizeof bytes);
  assert_non_null(tensor = tr_weights_find(weights, "truth"));
  assert_int_equal(tensor->dtype, TR_U8);
  assert_memory_equal(tensor->data, truth, sizeof truth);
}

/* --- whole files --- */

static const char *const plain_names[] = {"features.0.weight",
                                          "half",
                                          "bfloat",
                                          "double",
                                          "num_batches_tracked",
                                          "int",
                                          "byte",
                                          "truth",
                                          "parameter",
                                          "base",
                                          "slice",
                                          "permuted",
                                          "flipped",
                                          "column",
                                          "empty",
                                          "scalar"};

static void plain_pth(void **state) {
  (void)state;
  static const char *const files[] = {"plain.pth", "plain_legacy.pth", "protocol5.pth", "protocol4_legacy.pth"};
  static const tr_expected expected[] = {
      {"half", TR_F16, 1, {5}, 1, 0, {1}},
      {"bfloat", TR_BF16, 1, {4}, 2, 0, {1}},
      {"double", TR_F64, 1, {3}, 3, 0, {1}},
      {"parameter", TR_F32, 2, {3, 2}, 4, 0, {2, 1}},
      {"base", TR_F32, 1, {12}, 5, 0, {1}},
      {"slice", TR_F32, 2, {2, 3}, 5, 4, {3, 1}},
      {"permuted", TR_F32, 3, {4, 2, 3}, 6, 0, {1, 12, 4}}, /* [2, 3, 4], axes (2, 0, 1) */
      {"flipped", TR_F32, 2, {3, 3}, 8, 1, {1, 5}},         /* [3, 5] transposed, rows 1 to 3 */
      {"column", TR_F32, 1, {4}, 9, 1, {3}},                /* column 1 of [4, 3] */
      {"empty", TR_F32, 2, {0, 3}, 0, 0, {3, 1}},
      {"scalar", TR_F32, 0, {0}, 7, 0, {0}},
  };
  for (size_t f = 0; f < sizeof files / sizeof *files; ++f) {
    tr_weights *weights = open_fixture(files[f]);
    assert_int_equal(tr_weights_count(weights), sizeof plain_names / sizeof *plain_names);
    for (size_t i = 0; i < tr_weights_count(weights); ++i)
      assert_string_equal(tr_weights_at(weights, i)->name, plain_names[i]);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; ++i)
      check_tensor(weights, &expected[i]);
    check_integers(weights);
    assert_null(tr_weights_metadata(weights, "arch"));
    assert_null(tr_weights_find(weights, "hal"));
    const int64_t shape[] = {2, 3, 1, 2};
    float values[12];
    assert_int_equal(tr_weights_read(weights, "features.0.weight", 4, shape, values), TR_OK);
    for (size_t i = 0; i < 12; ++i)
      assert_true(values[i] == (float)rule(0, i));
    tr_weights_close(weights);
  }
}

/* Contiguous tensors are where the file is mapped; of the 16, only these three lie otherwise. */
static void mapped_not_copied(void **state) {
  (void)state;
  tr_weights *weights = open_fixture("plain.pth");
  for (size_t i = 0; i < tr_weights_count(weights); ++i) {
    const tr_tensor *tensor = tr_weights_at(weights, i);
    bool copied =
        strcmp(tensor->name, "permuted") == 0 || strcmp(tensor->name, "flipped") == 0 || strcmp(tensor->name, "column") == 0;
    uintptr_t at = (uintptr_t)tensor->data, begin = (uintptr_t)weights->file.data;
    assert_int_equal(at >= begin && at + tensor->bytes <= begin + weights->file.bytes, !copied);
  }
  const uint8_t *base = tr_weights_find(weights, "base")->data;
  assert_ptr_equal(tr_weights_find(weights, "slice")->data, base + 4 * sizeof(float));
  tr_weights_close(weights);
}

static void checkpoints(void **state) {
  (void)state;
  static const char *const files[] = {"checkpoint.pth", "checkpoint_legacy.pth"};
  static const tr_expected expected[] = {{"a.weight", TR_F32, 2, {2, 2}, 0, 0, {2, 1}},
                                         {"a.bias", TR_F32, 2, {2, 2}, 1, 0, {2, 1}}};
  for (int f = 0; f < 2; ++f) {
    tr_weights *weights = open_fixture(files[f]);
    assert_int_equal(tr_weights_count(weights), 2);
    for (int i = 0; i < 2; ++i)
      check_tensor(weights, &expected[i]);
    tr_weights_close(weights);
  }
}

static void before_pytorch_0_4(void **state) {
  (void)state;
  static const char *const names[] = {"steps", "rebuilt", "parameter"};
  tr_weights *weights = open_fixture("old_legacy.pth");
  assert_int_equal(tr_weights_count(weights), 3);
  for (int i = 0; i < 3; ++i)
    check_tensor(weights, &(tr_expected){names[i], TR_F32, 2, {2, 3}, 10, 0, {3, 1}});
  tr_weights_close(weights);
}

static void zip64_directory(void **state) {
  (void)state;
  tr_weights *weights = open_fixture("zip64.pth");
  check_tensor(weights, &(tr_expected){"weight", TR_F32, 2, {2, 3}, 0, 0, {3, 1}});
  tr_weights_close(weights);
}

static void safetensors(void **state) {
  (void)state;
  static const tr_expected expected[] = {
      {"half", TR_F16, 1, {5}, 1, 0, {1}},
      {"bfloat", TR_BF16, 1, {4}, 2, 0, {1}},
      {"double", TR_F64, 1, {3}, 3, 0, {1}},
      {"empty", TR_F32, 2, {0, 3}, 0, 0, {3, 1}},
  };
  tr_weights *weights = open_fixture("floats.safetensors");
  assert_int_equal(tr_weights_count(weights), 8);
  assert_string_equal(tr_weights_at(weights, 0)->name, "conv1.weight");
  assert_int_equal(tr_weights_at(weights, 0)->rank, 4);
  for (size_t i = 0; i < sizeof expected / sizeof *expected; ++i)
    check_tensor(weights, &expected[i]);
  check_integers(weights);
  assert_string_equal(tr_weights_metadata(weights, "arch"), "resnet50_v1");
  assert_string_equal(tr_weights_metadata(weights, "source"), "a rule");
  assert_null(tr_weights_metadata(weights, "a rule"));
  char hex[65], *path = fixture_path("floats.safetensors");
  assert_int_equal(tr_file_sha256(path, hex), TR_OK);
  assert_string_equal(tr_weights_sha256(weights), hex);
  free(path);
  tr_weights_close(weights);
}

static void wrong_reads(void **state) {
  (void)state;
  float out[12];
  const int64_t shape[] = {3, 2, 1, 2}, three[] = {3};
  tr_weights *weights = open_fixture("floats.safetensors");
  assert_int_equal(tr_weights_read(weights, "conv1.weight", 4, shape, out), TR_EFORMAT);
  assert_error_has("floats.safetensors: tensor \"conv1.weight\": expected shape [3, 2, 1, 2], found [2, 3, 1, 2]");
  assert_int_equal(tr_weights_read(weights, "conv1.weight", 1, three, out), TR_EFORMAT);
  assert_error_has("expected shape [3], found [2, 3, 1, 2]");
  assert_int_equal(tr_weights_read(weights, "conv2.weight", 1, three, out), TR_EFORMAT);
  assert_error_has("floats.safetensors: tensor \"conv2.weight\": it is not in the file");
  assert_int_equal(tr_weights_read(weights, "byte", 1, three, out), TR_EFORMAT);
  assert_error_has("tensor \"byte\": it holds integers (U8)");
  assert_int_equal(tr_weights_read(weights, "byte", 9, three, out), TR_EINVAL);
  tr_weights_close(weights);
  tr_weights_close(NULL);
}

static void wrong_files(void **state) {
  (void)state;
  static const struct {
    const char *file, *error;
  } cases[] = {
      {"system.pth", "weights/system.pth: data.pkl: byte 178: refers to posix.system"},
      {"system_legacy.pth",
       "weights/system_legacy.pth: the pickle of the tensors, from byte 138: byte 28: refers to posix.system"},
      {"module.pth", "refers to torch.nn.modules.flatten.Flatten"},
      {"number.pth", "entry \"version\" of the state dict is an integer, expected a tensor"},
      {"list_legacy.pth", "it holds a list, expected a state dict"},
      {"expanded.pth", "tensor \"wide\": it repeats the elements of its storage"},
      {"copies.pth", "tensor \"copy1\": tensors that are not contiguous hold more than the file"},
      {"compressed.pth", "\"archive/byteorder\" in it is compressed, expected it stored"},
      {"big_endian.pth", "big-endian"},
      {"torchscript.pth", "a TorchScript program"},
      {"no_storage.pth", "tensor \"weight\": its storage data/0 is not in the file"},
      {"short_storage.pth", "tensor \"weight\": its storage data/0 has 20 bytes, expected 6 elements of 4 bytes"},
      {"arrays.pth", "a zip archive without data.pkl"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    char *path = fixture_path(cases[i].file);
    tr_weights *weights = (tr_weights *)&state;
    assert_int_equal(tr_weights_open(path, &weights), TR_EFORMAT);
    assert_null(weights);
    assert_error_has(cases[i].error);
    assert_error_has(path);
    free(path);
  }
  tr_weights *weights;
  assert_int_equal(tr_weights_open("/nowhere/weights.pth", &weights), TR_EIO);
  assert_error_has("/nowhere/weights.pth");
  assert_int_equal(tr_weights_open("/", &weights), TR_EIO);
}

/* --- files built here --- */

/* Opens a copy of exactly these bytes, so that AddressSanitizer sees a step beyond them; every tensor must be readable. */
static tr_status try_bytes(const void *data, size_t bytes) {
  uint8_t *copy = malloc(bytes ? bytes : 1);
  assert_non_null(copy);
  memcpy(copy, data, bytes);
  tr_weights *weights;
  tr_status status = tr_weights_open_memory("built", copy, bytes, &weights);
  assert_int_equal(weights != NULL, status == TR_OK);
  volatile uint8_t sum = 0;
  for (size_t i = 0; weights && i < tr_weights_count(weights); ++i) {
    const tr_tensor *tensor = tr_weights_at(weights, i);
    assert_ptr_equal(tr_weights_find(weights, tensor->name), tensor);
    for (size_t k = 0; k < tensor->bytes; ++k)
      sum = (uint8_t)(sum + ((const uint8_t *)tensor->data)[k]);
  }
  tr_weights_close(weights);
  free(copy);
  return status;
}

static tr_status try_safetensors(const char *header, size_t data_bytes) {
  size_t bytes = strlen(header);
  uint8_t *file = calloc(1, 8 + bytes + data_bytes);
  assert_non_null(file);
  for (size_t i = 0; i < 8; ++i)
    file[i] = (uint8_t)(bytes >> (8 * i));
  memcpy(file + 8, header, bytes);
  tr_status status = try_bytes(file, 8 + bytes + data_bytes);
  free(file);
  return status;
}

#define A_TENSOR                          "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
#define TENSOR(name, dtype, shape, range) "\"" name "\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" range "}"

static void wrong_safetensors(void **state) {
  (void)state;
  static const struct {
    const char *header;
    size_t data_bytes;
    const char *error; /* NULL: the file is right */
  } cases[] = {
      {"{" A_TENSOR "}", 8, NULL},
      {"{" A_TENSOR "}   ", 8, NULL},
      {"{" TENSOR("a", "\"F32\"", "[]", "[0,4]") "}", 4, NULL},
      {"{" TENSOR("b", "\"U8\"", "[3]", "[8,11]") "," A_TENSOR "}", 11, NULL},
      {"{" TENSOR("a", "\"U8\"", "[1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, NULL},
      {"{" A_TENSOR "}", 7, "tensor \"a\": it lies at bytes 0 to 8 behind the header, and the file has 7 there"},
      {"{" A_TENSOR "}", 9, "its tensors take 8 bytes, and the file has 9"},
      {"{" A_TENSOR, 8, "its header is no JSON"},
      {"{" A_TENSOR "} x", 8, "more than one JSON object"},
      {"{" A_TENSOR "}{}", 8, "more than one JSON object"},
      {"{}", 0, "it holds no tensor"},
      {"{\"__metadata__\":{\"arch\":\"x\"}}", 0, "it holds no tensor"},
      {"{\"__metadata__\":{\"arch\":1}," A_TENSOR "}", 8, "its __metadata__ \"arch\" is not a string"},
      {"{\"__metadata__\":[]," A_TENSOR "}", 8, "its __metadata__ is not an object"},
      {"{\"__metadata__\":{\"arch\":\"x\",\"arch\":\"y\"}," A_TENSOR "}", 8, "its __metadata__ has the key \"arch\" twice"},
      {"{" A_TENSOR "," A_TENSOR "}", 8, "its header has the key \"a\" twice"},
      {"{" A_TENSOR "," TENSOR("b", "\"U8\"", "[4]", "[4,8]") "}", 8, "tensor \"b\": it begins at byte 4, inside another"},
      {"{" A_TENSOR "," TENSOR("b", "\"U8\"", "[4]", "[9,13]") "}", 13, "tensor \"b\": it begins at byte 9, behind a hole"},
      {"{" TENSOR("b", "\"U8\"", "[4]", "[1,5]") "}", 5, "tensor \"b\": it begins at byte 1, behind a hole; expected byte 0"},
      {"{" TENSOR("a", "\"F32\"", "[3]", "[0,8]") "}", 8, "tensor \"a\": F32 of shape [3] do not fit its 8 bytes"},
      {"{" TENSOR("a", "\"F32\"", "[0]", "[0,8]") "}", 8, "F32 of shape [0] do not fit its 8 bytes"},
      {"{" TENSOR("a", "\"F32\"", "[4294967296,4294967296,4]", "[0,8]") "}", 8, "do not fit its 8 bytes"},
      {"{" TENSOR("a", "\"F32\"", "[2305843009213693953]", "[0,4]") "}", 4, "its shape holds something else"},
      {"{" TENSOR("a", "\"F32\"", "[-2]", "[0,8]") "}", 8, "its shape holds something else"},
      {"{" TENSOR("a", "\"F32\"", "[1.5]", "[0,6]") "}", 6, "its shape holds something else"},
      {"{" TENSOR("a", "\"F32\"", "[\"2\"]", "[0,8]") "}", 8, "its shape holds something else"},
      {"{" TENSOR("a", "\"F32\"", "2", "[0,8]") "}", 8, "its shape is not a list"},
      {"{" TENSOR("a", "\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, "it has 9 dimensions, expected at most 8"},
      {"{" TENSOR("a", "\"F8_E4M3\"", "[8]", "[0,8]") "}", 8, "its dtype is \"F8_E4M3\", expected one of F32"},
      {"{" TENSOR("a", "32", "[2]", "[0,8]") "}", 8, "its dtype is not a string"},
      {"{" TENSOR("a", "\"F32\"", "[2]", "[0,9007199254740992]") "}", 8, "its data_offsets are not"},
      {"{" TENSOR("a", "\"F32\"", "[2]", "[0,1e30]") "}", 8, "its data_offsets are not"},
      {"{" TENSOR("a", "\"F32\"", "[2]", "[8,0]") "}", 8, "its data_offsets are not"},
      {"{" TENSOR("a", "\"F32\"", "[2]", "[8]") "}", 8, "its data_offsets are not"},
      {"{" TENSOR("a", "\"F32\"", "[2]", "[-8,0]") "}", 8, "its data_offsets are not"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "tensor \"a\": its entry in the header has no data_offsets"},
      {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "has more than dtype, shape"},
      {"{\"a\":[]}", 0, "tensor \"a\": its entry in the header is not an object"},
      {"{\"a\\u001b[31m\":[]}", 0, "tensor \"a?[31m\""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    tr_status status = try_safetensors(cases[i].header, cases[i].data_bytes);
    if (status != (cases[i].error ? TR_EFORMAT : TR_OK))
      fail_msg("%s: status %d, %s", cases[i].header, status, tr_last_error());
    if (cases[i].error)
      assert_error_has(cases[i].error);
  }
  static const uint8_t longer[] = {200, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, huge[] = {0, 0, 0, 0, 0, 0, 0, 0x80, '{', '}'};
  assert_int_equal(try_bytes(longer, sizeof longer), TR_EFORMAT);
  assert_error_has("its header is said to have 200 bytes, and the file has 10 in all");
  assert_int_equal(try_bytes(huge, sizeof huge), TR_EFORMAT);
  assert_int_equal(try_bytes("", 0), TR_EFORMAT);
  assert_error_has("it is empty");
  assert_int_equal(try_bytes("version https://git-lfs.github.com/spec/v1\n", 43), TR_EFORMAT);
  assert_error_has("neither a safetensors file nor one of torch.save");
}

static void empty_integers(void **state) {
  (void)state;
  static const char file[] = "\101\0\0\0\0\0\0\0{" TENSOR("a", "\"I64\"", "[0]", "[0,0]") "}            ";
  const int64_t shape[] = {0};
  float value;
  tr_weights *weights;
  if (tr_weights_open_memory("built", (const uint8_t *)file, 8 + 0101, &weights) != TR_OK)
    fail_msg("%s", tr_last_error());
  assert_int_equal(tr_weights_read(weights, "a", 1, shape, &value), TR_EFORMAT);
  assert_error_has("it holds integers (I64)");
  tr_weights_close(weights);
}

static void deep_safetensors(void **state) {
  (void)state;
  enum { DEPTH = 1 << 20 };
  char *header = malloc(2 * DEPTH + 16);
  assert_non_null(header);
  size_t used = 5;
  memcpy(header, "{\"a\":", used);
  memset(header + used, '[', DEPTH);
  memset(header + used + DEPTH, ']', DEPTH);
  memcpy(header + used + 2 * (size_t)DEPTH, "}", 2);
  assert_int_equal(try_safetensors(header, 0), TR_EFORMAT);
  assert_error_has("its header is no JSON");
  free(header);
}

typedef struct tr_buffer {
  uint8_t data[4096];
  size_t bytes;
} tr_buffer;

static void append(tr_buffer *buffer, const void *data, size_t bytes) {
  assert_true(bytes <= sizeof buffer->data - buffer->bytes);
  memcpy(buffer->data + buffer->bytes, data, bytes);
  buffer->bytes += bytes;
}

/* Literals hold zero bytes. */
#define APPEND(buffer, literal) append(buffer, "" literal, sizeof(literal) - 1)
#define BYTES(literal)          (const uint8_t *)("" literal), sizeof(literal) - 1

#define MAGIC    "\x80\2\x8a\12\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
#define PROTOCOL "\x80\2M\xe9\3."
#define SYSTEM   "\x80\2}X\15\0\0\0little_endian\x88s."
#define KEYS         \
  "\x80\2]X\1\0\0\0" \
  "0"                \
  "a."
#define STORAGE      \
  "\6\0\0\0\0\0\0\0" \
  "abcdefghijklmnopqrstuvwx"

/* A legacy file whose object is this pickle, with a storage "0" of six floats if it names one. */
static tr_status try_object(const uint8_t *object, size_t bytes) {
  tr_buffer file = {.bytes = 0};
  APPEND(&file, MAGIC PROTOCOL SYSTEM);
  append(&file, object, bytes);
  if (memmem(object, bytes, BYTES("storage")))
    APPEND(&file, KEYS STORAGE);
  else
    APPEND(&file, "\x80\2].");
  return try_bytes(file.data, file.bytes);
}

/* {"w": _rebuild_tensor_v2(storage "0" of 6 floats, offset, size, stride, False, None)} */
#define STORAGE_ID                       \
  "(U\7storagectorch\nFloatStorage\nU\1" \
  "0"                                    \
  "U\3cpuK\6tQ"
#define VIEW(offset, size, stride)   "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE_ID offset size stride "\x89NtR"
#define OBJECT(offset, size, stride) "\x80\2}U\1w" VIEW(offset, size, stride) "s."
#define RIGHT                        VIEW("K\0", "K\6\x85", "K\1\x85")

typedef struct tr_pickle_case {
  const uint8_t *object;
  size_t bytes;
  const char *error; /* NULL: it is right */
} tr_pickle_case;

static void check_objects(const tr_pickle_case *cases, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    tr_status status = try_object(cases[i].object, cases[i].bytes);
    if (status != (cases[i].error ? TR_EFORMAT : TR_OK))
      fail_msg("case %zu: status %d, %s", i, status, tr_last_error());
    if (cases[i].error && !strstr(tr_last_error(), cases[i].error))
      fail_msg("case %zu: error \"%s\" has no \"%s\"", i, tr_last_error(), cases[i].error);
  }
}

static void wrong_views(void **state) {
  (void)state;
  static const tr_pickle_case cases[] = {
      {BYTES(OBJECT("K\0", "K\6\x85", "K\1\x85")), NULL},
      {BYTES(OBJECT("K\0", "K\2K\3\x86", "K\1K\2\x86")), NULL},
      {BYTES(OBJECT("K\5", "K\1K\1\x86", "J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86")), NULL}, /* strides never stepped over */
      {BYTES(OBJECT("K\7", "K\0\x85", "K\1\x85")), NULL},                                   /* no elements, nothing to reach */
      {BYTES(OBJECT("K\1", "K\6\x85", "K\1\x85")), "tensor \"w\": it reaches beyond its storage of 6 elements"},
      {BYTES(OBJECT("K\6", ")", ")")), "reaches beyond its storage"},
      {BYTES(OBJECT("K\0", "K\3K\2\x86", "K\3K\1\x86")), "reaches beyond its storage"},
      {BYTES(OBJECT("J\xff\xff\xff\xff", "K\1\x85", "K\1\x85")), "reaches beyond its storage"},
      {BYTES(OBJECT("K\0", "K\2\x85", "\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7f\x85")), "reaches beyond its storage"},
      {BYTES(OBJECT("\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7f", "K\2\x85", "K\1\x85")), "reaches beyond its storage"},
      {BYTES(OBJECT("K\0", "J\xff\xff\xff\xff\x85", "K\1\x85")), "tensor \"w\": its size holds a number below 0"},
      {BYTES(OBJECT("K\0", "N\x85", "K\1\x85")), "its size holds a number below 0"},
      {BYTES(OBJECT("K\0", "K\2\x85", "J\xff\xff\xff\xff\x85")), "its stride holds a number below 0"},
      {BYTES(OBJECT("K\0", "K\2\x85", "K\1K\1\x86")), "it has 1 dimensions and 2 strides"},
      {BYTES(OBJECT("K\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t")),
       "it has 9 dimensions, expected at most 8"},
      {BYTES(OBJECT("K\0", "J\xff\xff\xff\x7fJ\xff\xff\xff\x7fK\4\x87", "K\1K\1K\1\x87")), "too large to be counted"},
      {BYTES(OBJECT("K\0", "K\3K\3\x86", "K\1K\1\x86")), "it repeats the elements of its storage"},
  };
  check_objects(cases, sizeof cases / sizeof *cases);
}

static void wrong_pickles(void **state) {
  (void)state;
  static const tr_pickle_case cases[] = {
      {BYTES("\x80\2}U\1w" RIGHT "."), "the pickle ends with 2 values too many"},
      {BYTES("\x80\2}(U\1w" RIGHT "U\1v" RIGHT "u."), NULL},
      {BYTES("\x80\2}(U\1w" RIGHT "U\1w" RIGHT "u."), "tensor \"w\" is in it twice"},
      {BYTES("\x80\2}(U\1w" RIGHT "U\1vu."), "a key of a dict has no value"},
      {BYTES("\x80\2}(U\2w\0" RIGHT "u."), "tensor \"w?\": its name holds a zero byte"},
      {BYTES("\x80\2}K\1" RIGHT "s."), "a key of the state dict is an integer"},
      {BYTES("\x80\2}."), "it holds no tensor"},
      {BYTES("\x80\2N."), "it holds None, expected a state dict"},
      {BYTES("\x80\2(."), "byte 3: an opcode needs more values"},
      {BYTES("\x80\2."), "byte 2: an opcode needs more values"},
      {BYTES("\x80\2}s."), "needs more values"},
      {BYTES("\x80\2N(s."), "needs more values"},
      {BYTES("\x80\2}u."), "needs a mark"},
      {BYTES("\x80\2N(u."), "adds values to None"},
      {BYTES("\x80\2}(N."), "the pickle ends with 2 values too many"},
      {BYTES("\x80\1."), "pickle protocol 1, expected 2 to 5"},
      {BYTES("\x80\6."), "pickle protocol 6, expected 2 to 5"},
      {BYTES("\x80\2S'text'\n."), "opcode 0x53"},
      {BYTES("\x80\2\x82\1."), "opcode 0x82"},
      {BYTES("\x80\2h\0."), "memo index 0 was never set"},
      {BYTES("\x80\2Nq\0h\1."), "memo index 1 was never set"},
      {BYTES("\x80\2Nr\xff\xff\xff\xff."), "memo index 4294967295 is beyond"},
      {BYTES("\x80\2q\0."), "needs more values"},
      {BYTES("\x80\2X\xff\xff\xff\xff"), "needs 4294967295 more bytes"},
      {BYTES("\x80\2\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), "more bytes"},
      {BYTES("\x80\2cos\nsystem\n)R."), "byte 2: refers to os.system, which is none of the names"},
      {BYTES("\x80\4\x8c\2os\x8c\6system\x93)R."), "byte 14: refers to os.system"},
      {BYTES("\x80\4N\x8c\6system\x93)R."), "a global's module and name are None and text"},
      {BYTES("\x80\2ctorch.storage\n_load_from_bytes\n)R."), "refers to torch.storage._load_from_bytes"},
      {BYTES("\x80\2ctorch\nCharStorage\n."), "refers to torch.CharStorage"},
      {BYTES("\x80\2ctorch\n\33]0;x\n."), "refers to torch.?]0;x"},
      {BYTES("\x80\2ctorch\nFloatStorage\n)R."), "calls torch.FloatStorage with 0 arguments"},
      {BYTES("\x80\2ccollections\nOrderedDict\n."), "it holds a class"},
      {BYTES("\x80\2ccollections\nOrderedDict\nK\1\x85R."), "calls collections.OrderedDict with 1 arguments of other kinds"},
      {BYTES("\x80\2ccollections\nOrderedDict\n]Na\x85R."), "calls collections.OrderedDict with 1 arguments of other kinds"},
      {BYTES("\x80\2ccollections\nOrderedDict\n]U\1w" RIGHT "\x86"
             "a\x85R."),
       NULL},
      {BYTES("\x80\2ccollections\nOrderedDict\nNR."), "calls a class with None"},
      {BYTES("\x80\2N)R."), "calls None with a tuple"},
      {BYTES("\x80\2ctorch\nSize\n)R."), "calls torch.Size with 0 arguments"},
      {BYTES("\x80\2ctorch._utils\n_rebuild_tensor_v2\n(NK\0))tR."),
       "calls torch._utils._rebuild_tensor_v2 with 4 arguments of other kinds"},
      {BYTES("\x80\2ctorch._utils\n_rebuild_parameter\nN\x85R."), "calls torch._utils._rebuild_parameter with 1 arguments"},
      {BYTES("\x80\2ctorch.nn.parameter\nParameter\nN\x85R."), "calls torch.nn.parameter.Parameter with 1 arguments"},
      {BYTES("\x80\2}U\1wctorch.nn.parameter\nParameter\n)Rs."), "entry \"w\" of the state dict is a tensor without data"},
      {BYTES("\x80\2}U\1wctorch.nn.parameter\nParameter\n)RN\x85"
             "bs."),
       "gives a tuple as state to a tensor without data"},
      {BYTES("\x80\2N}b."), "gives a dict as state to None"},
      {BYTES("\x80\2}U\1w" STORAGE_ID "s."), "entry \"w\" of the state dict is a storage"},
      {BYTES("\x80\2NQ."), "a persistent id is not"},
      {BYTES("\x80\2)Q."), "a persistent id is not"},
      {BYTES("\x80\2(U\6modulectorch\nFloatStorage\nU\1"
             "0"
             "U\3cpuK\6tQ."),
       "a persistent id is not"},
      {BYTES("\x80\2(U\7storagectorch\nSize\nU\1"
             "0"
             "U\3cpuK\6tQ."),
       "a persistent id is not"},
      {BYTES("\x80\2(U\7storagectorch\nFloatStorage\nU\1"
             "0"
             "U\3cpuJ\xff\xff\xff\xfftQ."),
       "a persistent id is not"},
      {BYTES("\x80\2(U\7storagectorch\nFloatStorage\nU\1"
             "0"
             "U\3cpuK\6)tQ."),
       "storage \"0\" is a view of another storage"},
      {BYTES("\x80\2}U\1w" RIGHT "s(U\7storagectorch\nFloatStorage\nU\1"
             "0"
             "U\3cpuK\7tQb."),
       "storage \"0\" is referred to with two"},
      {BYTES("\x80\2}U\1w" RIGHT "s(U\7storagectorch\nFloatStorage\nU\1"
             "1"
             "U\3cpuK\7tQb."),
       NULL},
  };
  check_objects(cases, sizeof cases / sizeof *cases);
}

static void wrong_legacy_parts(void **state) {
  (void)state;
  static const tr_pickle_case cases[] = {
      {BYTES(MAGIC PROTOCOL SYSTEM "\x80\2}U\1w" RIGHT "s." KEYS STORAGE), NULL},
      {BYTES(MAGIC PROTOCOL SYSTEM "\x80\2}U\1w" RIGHT "s." KEYS STORAGE "something else"), NULL},
      {BYTES("\x80\2}U\1wNs."), "not PyTorch's magic number"},
      {BYTES("\x80\2\x8a\12\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x1a."), "not PyTorch's magic number"},
      {BYTES(MAGIC "\x80\2M\xea\3."), "its protocol version is 1002, expected 1001"},
      {BYTES(MAGIC "\x80\2N."), "its protocol version is None, expected 1001"},
      {BYTES(MAGIC PROTOCOL "\x80\2}X\15\0\0\0little_endian\x89s."), "big-endian"},
      {BYTES(MAGIC PROTOCOL "\x80\2}."), "in which byte order"},
      {BYTES(MAGIC PROTOCOL "\x80\2N."), "in which byte order"},
      {BYTES(MAGIC PROTOCOL SYSTEM "\x80\2}U\1w" RIGHT "s.\x80\2N."), "the storage keys are None, expected a list"},
      {BYTES(MAGIC PROTOCOL SYSTEM "\x80\2}U\1w" RIGHT "s.\x80\2]Na."), "a storage's key is None"},
      {BYTES(MAGIC PROTOCOL SYSTEM "\x80\2}U\1w" RIGHT "s.\x80\2]."), "tensor \"w\": storage \"0\" is not in the file"},
      {BYTES(MAGIC PROTOCOL SYSTEM "\x80\2}U\1w" RIGHT "s.\x80\2](U\1"
                                   "0"
                                   "U\1"
                                   "0"
                                   "e." STORAGE STORAGE),
       "storage \"0\" is in the file twice"},
      {BYTES(MAGIC PROTOCOL SYSTEM "\x80\2}U\1w" RIGHT "s.\x80\2]U\1"
                                   "1"
                                   "a." STORAGE),
       "storage \"1\" is in the file, but no tensor"},
      {BYTES(MAGIC PROTOCOL SYSTEM "\x80\2}U\1w" RIGHT "s." KEYS "\7\0\0\0\0\0\0\0"), "storage \"0\" has 7 elements, expected 6"},
      {BYTES(MAGIC PROTOCOL SYSTEM "\x80\2}U\1w" RIGHT "s." KEYS "\6\0\0\0\0\0\0\0abc"),
       "storage \"0\" needs 6 elements of 4 bytes, and 3"},
      {BYTES(MAGIC PROTOCOL SYSTEM "\x80\2}U\1w" RIGHT "s." KEYS "\6\0\0"), "the file ends before storage \"0\""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    tr_status status = try_bytes(cases[i].object, cases[i].bytes);
    if (status != (cases[i].error ? TR_EFORMAT : TR_OK))
      fail_msg("case %zu: status %d, %s", i, status, tr_last_error());
    if (cases[i].error && !strstr(tr_last_error(), cases[i].error))
      fail_msg("case %zu: error \"%s\" has no \"%s\"", i, tr_last_error(), cases[i].error);
  }
}

/* --- files cut short and damaged --- */

static const char *const sound_files[] = {"plain.pth",         "plain_legacy.pth",      "protocol5.pth",  "protocol4_legacy.pth",
                                          "checkpoint.pth",    "checkpoint_legacy.pth", "old_legacy.pth", "zip64.pth",
                                          "floats.safetensors"};

static void read_fixture(const char *name, char **data, size_t *bytes) {
  char *path = fixture_path(name);
  assert_int_equal(tr_file_read(path, data, bytes), TR_OK);
  free(path);
}

static void cut_short(void **state) {
  (void)state;
  for (size_t f = 0; f < sizeof sound_files / sizeof *sound_files; ++f) {
    char *data;
    size_t bytes;
    read_fixture(sound_files[f], &data, &bytes);
    assert_int_equal(try_bytes(data, bytes), TR_OK);
    for (size_t kept = 0; kept < bytes; ++kept) {
      if (try_bytes(data, kept) != TR_EFORMAT)
        fail_msg("%s cut to %zu of %zu bytes was read", sound_files[f], kept, bytes);
      assert_error_has("reading weights from built: ");
    }
    free(data);
  }
}

/* Any result will do that is an error or readable tensors: try_bytes checks that, and the sanitizers the rest. */
static void damaged(void **state) {
  (void)state;
  static const uint8_t masks[] = {0x01, 0x80, 0xff};
  for (size_t f = 0; f < sizeof sound_files / sizeof *sound_files; ++f) {
    char *data;
    size_t bytes, errors = 0;
    read_fixture(sound_files[f], &data, &bytes);
    for (size_t at = 0; at < bytes; ++at)
      for (size_t m = 0; m < sizeof masks; ++m) {
        data[at] = (char)((uint8_t)data[at] ^ masks[m]);
        errors += try_bytes(data, bytes) != TR_OK;
        data[at] = (char)((uint8_t)data[at] ^ masks[m]);
      }
    assert_true(errors > bytes / 8);
    free(data);
  }
}

/* --- numbers --- */

static void halves(void **state) {
  (void)state;
  for (uint32_t half = 0; half < 0x10000; ++half) {
    int exponent = (int)(half >> 10 & 31), mantissa = (int)(half & 1023);
    double magnitude = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    float value = tr_half_to_float((uint16_t)half);
    assert_int_equal(signbit(value) != 0, half >> 15);
    if (exponent == 31 && mantissa)
      assert_true(isnan(value));
    else if (exponent == 31)
      assert_true(isinf(value));
    else
      assert_true(fabs((double)value) == magnitude);
  }
  assert_true(tr_bfloat16_to_float(0x3f80) == 1.0f);
  assert_true(tr_bfloat16_to_float(0xc0a8) == -5.25f);
  assert_true(tr_bfloat16_to_float(0x0001) == ldexpf(1, -133));
  assert_true(isinf(tr_bfloat16_to_float(0x7f80)));
}

/* --- the file of an architecture --- */

typedef struct tr_folder {
  char path[64];
} tr_folder;

static void make_folder(tr_folder *folder) {
  strcpy(folder->path, "/tmp/test_weights_XXXXXX");
  assert_non_null(mkdtemp(folder->path));
}

static void put(const tr_folder *folder, const char *name, const void *data, size_t bytes) {
  char *path = tr_format("%s/%s", folder->path, name);
  assert_non_null(path);
  assert_int_equal(tr_file_write(path, data, bytes), TR_OK);
  free(path);
}

static void put_safetensors(const tr_folder *folder, const char *name, const char *arch) {
  char header[256];
  int bytes = arch ? snprintf(header + 8, sizeof header - 8,
                              "{\"__metadata__\":{\"arch\":\"%s\"}," TENSOR("a", "\"U8\"", "[0]", "[0,0]") "}", arch)
                   : snprintf(header + 8, sizeof header - 8, "{" TENSOR("a", "\"U8\"", "[0]", "[0,0]") "}");
  for (int i = 0; i < 8; ++i)
    header[i] = i ? 0 : (char)bytes;
  put(folder, name, header, 8 + (size_t)bytes);
}

static void remove_folder(const tr_folder *folder) {
  tr_strings names;
  assert_int_equal(tr_folder_list(folder->path, &names), TR_OK);
  for (size_t i = 0; i < names.count; ++i) {
    char *path = tr_format("%s/%s", folder->path, names.items[i]);
    assert_non_null(path);
    assert_int_equal(remove(path), 0);
    free(path);
  }
  tr_strings_free(&names);
  assert_int_equal(rmdir(folder->path), 0);
}

static void assert_located(const tr_folder *folder, const char *architecture, const char *name) {
  char *file = NULL, *expected = tr_format("%s/%s", folder->path, name);
  assert_non_null(expected);
  if (tr_weights_locate(folder->path, architecture, &file) != TR_OK)
    fail_msg("%s", tr_last_error());
  assert_string_equal(file, expected);
  free(file);
  free(expected);
}

static void assert_not_located(const char *path, const char *architecture, tr_status status, const char *error) {
  char *file = (char *)(uintptr_t) "set";
  assert_int_equal(tr_weights_locate(path, architecture, &file), status);
  assert_null(file);
  assert_error_has(error);
}

static void locate_by_name(void **state) {
  (void)state;
  static const char *const files[][2] = {
      {"resnet18", "resnet18-f37072fd.pth"},        {"resnet34", "resnet34.pth"},
      {"resnet50", "resnet50-0676ba61.pth"},        {"resnet50_v1", "resnet50_v1_imagenet.pth"},
      {"resnet101", "resnet101_a1h.safetensors"},   {"wide_resnet50_2", "wide_resnet50_2-95faca4d.pth"},
      {"wide_resnet101_2", "wide-resnet101-2.pth"}, {"resnext101_32x8d", "resnext101_32x8d-8ba56ff5.pth"},
      {"densenet201", "densenet201-c1103571.pth"},  {"efficientnet_lite0", "efficientnet-lite0-57934424.pth"},
  };
  enum { COUNT = sizeof files / sizeof *files };
  tr_folder folder;
  make_folder(&folder);
  put(&folder, "resnet34.txt", "", 0);
  put(&folder, "resnet50d.pth", "", 0);
  for (int i = 0; i < COUNT; ++i)
    assert_not_located(folder.path, files[i][0], TR_EIO, files[i][0]);
  for (int i = 0; i < COUNT; ++i)
    put(&folder, files[i][1], "x", 1);
  for (int i = 0; i < COUNT; ++i)
    assert_located(&folder, files[i][0], files[i][1]);
  put(&folder, "resnet50-11ad3fa6.pth", "", 0);
  assert_not_located(folder.path, "resnet50", TR_EINVAL, "resnet50-0676ba61.pth");
  assert_error_has("resnet50-11ad3fa6.pth); give the file itself");
  remove_folder(&folder);
}

static void locate_v1(void **state) {
  (void)state;
  tr_folder folder;
  make_folder(&folder);
  put(&folder, "resnet50_v1.pth", "", 0);
  assert_not_located(folder.path, "resnet50", TR_EIO, "no file named resnet50.pth, resnet50-*.pth");
  assert_located(&folder, "resnet50_v1", "resnet50_v1.pth");
  put(&folder, "resnet50_v1.5.pth", "", 0); /* the stride in the second convolution: torchvision's resnet50 */
  assert_located(&folder, "resnet50", "resnet50_v1.5.pth");
  assert_located(&folder, "resnet50_v1", "resnet50_v1.pth");
  remove_folder(&folder);
}

static void locate_by_metadata(void **state) {
  (void)state;
  tr_folder folder;
  make_folder(&folder);
  put_safetensors(&folder, "resnet50-mine.safetensors", "resnet50_v1");
  assert_not_located(folder.path, "resnet50", TR_EIO, "metadata \"arch\" is resnet50");
  assert_located(&folder, "resnet50_v1", "resnet50-mine.safetensors");
  put(&folder, "resnet50-0676ba61.pth", "", 0);
  assert_located(&folder, "resnet50", "resnet50-0676ba61.pth");
  put_safetensors(&folder, "any.safetensors", "resnet50"); /* metadata before names */
  assert_located(&folder, "resnet50", "any.safetensors");
  put_safetensors(&folder, "densenet201.safetensors", NULL);
  assert_located(&folder, "densenet201", "densenet201.safetensors");
  put(&folder, "resnet18.safetensors", "\4\0\0\0\0\0\0\0{]  ", 12); /* damaged: found by name, refused when opened */
  assert_located(&folder, "resnet18", "resnet18.safetensors");
  put_safetensors(&folder, "other.safetensors", "resnet50_v1");
  assert_not_located(folder.path, "resnet50_v1", TR_EINVAL, "expected one file, found 2");

  char *file = NULL, *path = tr_format("%s/any.safetensors", folder.path);
  assert_non_null(path);
  assert_int_equal(tr_weights_locate(path, "resnet50", &file), TR_OK);
  assert_string_equal(file, path);
  free(file);
  assert_not_located(path, "resnet50_v1", TR_EFORMAT, "weights of resnet50_v1: ");
  assert_error_has("any.safetensors holds those of resnet50, as its metadata says");
  free(path);
  path = tr_format("%s/resnet50-0676ba61.pth", folder.path);
  assert_non_null(path);
  assert_int_equal(tr_weights_locate(path, "densenet201", &file), TR_OK); /* a name given by the user is taken as it is */
  assert_string_equal(file, path);
  free(file);
  free(path);
  assert_not_located("/nowhere", "resnet50", TR_EIO, "/nowhere");
  remove_folder(&folder);
}

/* --- real weights, where they are --- */

static void real_resnet50_v1(void **state) {
  (void)state;
  const char *path = golden_external("TOTALRECALL_WEIGHTS", "weights", "resnet50_v1_imagenet.safetensors");
  if (!path)
    skip();
  tr_weights *weights;
  if (tr_weights_open(path, &weights) != TR_OK)
    fail_msg("%s", tr_last_error());
  assert_int_equal(tr_weights_count(weights), 265);
  assert_string_equal(tr_weights_metadata(weights, "arch"), "resnet50_v1");
  assert_string_equal(tr_weights_sha256(weights), "201f3c81cfbbb1d529c3bb439131986a5822a4926d488d527e1ab160e6b314c4");
  static float kernel[64 * 3 * 7 * 7];
  const int64_t shape[] = {64, 3, 7, 7};
  assert_int_equal(tr_weights_read(weights, "conv1.weight", 4, shape, kernel), TR_OK);
  assert_true(kernel[0] == -0.142578125f && kernel[1] == 1.1123046875f && kernel[9407] == 1.177734375f);
  double sum = 0;
  for (size_t i = 0; i < sizeof kernel / sizeof *kernel; ++i)
    sum += (double)kernel[i];
  assert_true(fabs(sum - -264.37290394306183) < 1e-9);
  tr_weights_close(weights);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain_pth),
      cmocka_unit_test(mapped_not_copied),
      cmocka_unit_test(checkpoints),
      cmocka_unit_test(before_pytorch_0_4),
      cmocka_unit_test(zip64_directory),
      cmocka_unit_test(safetensors),
      cmocka_unit_test(wrong_reads),
      cmocka_unit_test(wrong_files),
      cmocka_unit_test(wrong_safetensors),
      cmocka_unit_test(empty_integers),
      cmocka_unit_test(deep_safetensors),
      cmocka_unit_test(wrong_views),
      cmocka_unit_test(wrong_pickles),
      cmocka_unit_test(wrong_legacy_parts),
      cmocka_unit_test(cut_short),
      cmocka_unit_test(damaged),
      cmocka_unit_test(halves),
      cmocka_unit_test(locate_by_name),
      cmocka_unit_test(locate_v1),
      cmocka_unit_test(locate_by_metadata),
      cmocka_unit_test(real_resnet50_v1),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
