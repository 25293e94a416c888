/* FAISS's files read without FAISS: what python faiss wrote (tests/golden/make_faiss.py) is found as it finds it, our own files give the bits
 * that FAISS's reading gives, and what is cut short, damaged or of another kind is refused. Runs in builds without FAISS, too. */
#include "host/base/text.h"
#include "host/search/faiss_file.h"
#include "tests/golden/featops.h"
#include "tests/status.h"

enum { ROWS = 320, QUERIES = 24, D = 16, K = 3 };

typedef struct answer {
  float distances[QUERIES * K];
  uint32_t indices[QUERIES * K];
} answer;

static void read_golden(const char *name, char **data, size_t *bytes) {
  char path[512];
  snprintf(path, sizeof path, "%s/faiss_%s.index", TR_GOLDEN_DIR, name);
  assert_ok(tr_file_read(path, data, bytes));
}

static tr_lists *lists_of(tr_device *device, const char *name, const void *data, size_t bytes) {
  tr_faiss_file file;
  tr_lists *lists;
  assert_ok(tr_faiss_file_open(name, data, bytes, &file));
  assert_ok(tr_lists_create(device, &file.source, &lists));
  tr_faiss_file_close(&file);
  return lists;
}

/* By lists, or by an index. */
static void search(tr_device *device, const tr_lists *lists, tr_index *index, tr_effort effort, answer *out) {
  float *host = featops_array(QUERIES * D);
  for (uint32_t i = 0; i < QUERIES * D; ++i)
    host[i] = featops_noise(2, i);
  float *queries = device_copy_of(device, host, QUERIES * D * sizeof *host);
  float *distances = device_array(device, sizeof out->distances);
  uint32_t *indices = device_array(device, sizeof out->indices);
  void *scratch = device_array(device, lists ? tr_lists_scratch(lists, effort, QUERIES, QUERIES, K)
                                             : tr_index_device_scratch(index, effort, QUERIES, QUERIES, K));
  double waited;
  if (lists)
    assert_ok(tr_lists_search(lists, effort, queries, QUERIES, QUERIES, K, distances, indices, scratch));
  else
    assert_ok(tr_index_search(index, effort, queries, QUERIES, QUERIES, K, distances, indices, NULL, scratch, &waited));
  device_read(device, out->distances, distances, sizeof out->distances);
  device_read(device, out->indices, indices, sizeof out->indices);
  void *const memory[] = {queries, distances, indices, scratch};
  for (size_t i = 0; i < 4; ++i)
    tr_device_free(device, memory[i]);
  free(host);
}

static void test_python_files(void **state) {
  (void)state;
  static const char *const names[] = {"ivfflat", "ivfpq8"};
  tr_device *device = test_device_open(1);
  for (size_t n = 0; n < 2; ++n) {
    char *data, name[64];
    size_t bytes;
    answer got;
    read_golden(names[n], &data, &bytes);
    tr_lists *lists = lists_of(device, names[n], data, bytes);
    free(data);
    assert_true(tr_lists_shape(lists)->rows == ROWS && tr_lists_shape(lists)->d == D && tr_lists_shape(lists)->list_count == 8);
    search(device, lists, NULL, (tr_effort){0}, &got); /* as many lists as the file says: 2 */
    snprintf(name, sizeof name, "faiss_%s_distances.npy", names[n]);
    golden_array distances = golden_read(name);
    snprintf(name, sizeof name, "faiss_%s_labels.npy", names[n]);
    golden_array labels = golden_read(name);
    golden_assert_close(got.distances, distances.data, QUERIES * K, 1e-4f, 1e-4f); /* FAISS's are sums in float */
    for (size_t i = 0; i < QUERIES * K; ++i)
      assert_int_equal(got.indices[i], ((const int64_t *)labels.data)[i]);
    golden_free(&distances);
    golden_free(&labels);
    tr_lists_destroy(lists);
  }
  tr_device_close(device);
}

/* Our own indexes, read by FAISS and by us. */
static void test_same_bits_as_by_faiss(void **state) {
  (void)state;
  if (!tr_index_library())
    skip();
  static const char *const factories[] = {"IVF8,Flat", "IVF8,PQ4np", "IVF300,Flat" /* most lists are empty */};
  tr_device *device = test_device_open(2);
  float *rows = featops_array(ROWS * D);
  for (uint32_t i = 0; i < ROWS * D; ++i)
    rows[i] = featops_noise(1, i);
  for (size_t n = 0; n < 3; ++n) {
    tr_index *index;
    void *data;
    size_t bytes;
    answer expected, got;
    assert_ok(tr_index_build(device, rows, ROWS, D, factories[n], NULL, &index));
    assert_ok(tr_index_to_memory(index, &data, &bytes));
    tr_lists *lists = lists_of(device, factories[n], data, bytes);
    for (int nprobe = 1; nprobe <= 8; nprobe += 7) {
      search(device, NULL, index, (tr_effort){.nprobe = nprobe}, &expected);
      search(device, lists, NULL, (tr_effort){.nprobe = nprobe}, &got);
      assert_memory_equal(&got, &expected, sizeof got);
    }
    tr_lists_destroy(lists);
    tr_index_destroy(index);
    free(data);
  }
  free(rows);
  tr_device_close(device);
}

/* A copy of just so many bytes, so that AddressSanitizer sees what is read beyond them. */
static tr_status open_copy(const void *data, size_t bytes) {
  char *copy = malloc(bytes ? bytes : 1);
  assert_non_null(copy);
  memcpy(copy, data, bytes);
  tr_faiss_file file;
  tr_status status = tr_faiss_file_open("x", copy, bytes, &file);
  tr_faiss_file_close(&file);
  free(copy);
  return status;
}

static void test_cut_short(void **state) {
  (void)state;
  static const char *const names[] = {"ivfflat", "ivfpq8"};
  for (size_t n = 0; n < 2; ++n) {
    char *data;
    size_t bytes;
    read_golden(names[n], &data, &bytes);
    assert_ok(open_copy(data, bytes));
    for (size_t cut = 0; cut < bytes; cut += cut < 1000 || bytes - cut < 50 ? 1 : 41)
      assert_refused(open_copy(data, cut), TR_EFORMAT, "cut short");
    free(data);
  }
}

/* Any byte of the numbers changed: an error, or an index of other rows, but nothing out of bounds. */
static void test_damaged(void **state) {
  (void)state;
  tr_device *device = test_device_open(1);
  char *data;
  size_t bytes, refused = 0;
  read_golden("ivfflat", &data, &bytes);
  for (size_t at = 0; at < 900; ++at)
    for (int bit = 0; bit < 8; bit += 7) {
      tr_faiss_file file;
      tr_lists *lists = NULL;
      data[at] = (char)(data[at] ^ (1 << bit));
      tr_status status = tr_faiss_file_open("x", data, bytes, &file);
      if (status == TR_OK)
        status = tr_lists_create(device, &file.source, &lists);
      refused += status != TR_OK;
      tr_lists_destroy(lists);
      tr_faiss_file_close(&file);
      data[at] = (char)(data[at] ^ (1 << bit));
    }
  assert_true(refused > 150);
  /* ids: the last eight bytes are the last row's */
  memset(data + bytes - 8, 0, 8);
  data[bytes - 7] = 4; /* 1,024 */
  tr_faiss_file file;
  tr_lists *lists;
  assert_ok(tr_faiss_file_open("x", data, bytes, &file));
  assert_refused(tr_lists_create(device, &file.source, &lists), TR_EFORMAT, "ids of 0 to 319, each once, found 1024");
  memcpy(data + bytes - 8, data + bytes - 16, 8); /* twice */
  assert_refused(tr_lists_create(device, &file.source, &lists), TR_EFORMAT, "each once");
  tr_faiss_file_close(&file);
  free(data);
  tr_device_close(device);
}

static void test_other_kinds(void **state) {
  (void)state;
  static const struct {
    const char *name, *says;
    tr_status status;
  } some[] = {{"flat", "libfaiss-dev", TR_EDEVICE},
              {"hnsw", "libfaiss-dev", TR_EDEVICE},
              {"ivfpq", "codes of 8 bits", TR_EDEVICE}, /* of 4 */
              {"untrained", "expected a trained index", TR_EFORMAT}};
  for (size_t i = 0; i < sizeof some / sizeof *some; ++i) {
    char *data;
    size_t bytes;
    read_golden(some[i].name, &data, &bytes);
    assert_refused(open_copy(data, bytes), some[i].status, some[i].says);
    free(data);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_python_files), cmocka_unit_test(test_same_bits_as_by_faiss),
                                     cmocka_unit_test(test_cut_short), cmocka_unit_test(test_damaged),
                                     cmocka_unit_test(test_other_kinds)};
  return run_on_devices("files of FAISS", tests, NULL, NULL);
}
