/* ivf against a brute force in double, against FAISS's own search where the build has it, and a GPU's bits against the cpu's. */
#include "host/search/search.h"
#include "kernels/ivf.h"
#include "tests/golden/featops.h"

#include <math.h>

/* An index made by hand: rows go to random lists, not the nearest, which the operator does not ask for. */
typedef struct made {
  tr_ivf_shape shape;
  float *centroids, *codebooks;
  uint32_t *begins, *ids;
  char *data; /* in the order of lists */
  size_t row_bytes;
} made;

typedef struct on_device {
  tr_ivf_lists lists;
  void *memory[7];
} on_device;

static uint32_t noise_below(uint32_t stream, uint32_t index, uint32_t end) {
  return (uint32_t)((featops_noise(stream, index) + 1) / 4 * (float)end) % end;
}

static float *noise(uint32_t stream, size_t count) {
  float *values = featops_array(count);
  for (size_t i = 0; i < count; ++i)
    values[i] = featops_noise(stream, (uint32_t)i);
  return values;
}

/* Lists that `is_empty` names have no rows. */
static made make(int d, int codes, size_t list_count, size_t rows, bool (*is_empty)(uint32_t list)) {
  made m = {.shape = {.d = d, .codes = codes, .list_count = list_count, .rows = rows}};
  m.row_bytes = codes ? (size_t)codes : (size_t)d * sizeof(float);
  m.centroids = noise(1, list_count * (size_t)d);
  m.codebooks = codes ? noise(2, TR_IVF_CODEWORDS * (size_t)d) : NULL;
  m.begins = calloc(list_count + 1, sizeof *m.begins);
  m.ids = malloc(rows * sizeof *m.ids);
  m.data = malloc(rows * m.row_bytes);
  assert_true(m.begins && m.ids && m.data);
  for (size_t i = 0; i < rows; ++i) {
    uint32_t list = noise_below(3, (uint32_t)i, (uint32_t)list_count);
    while (is_empty && is_empty(list))
      list = (list + 1) % (uint32_t)list_count;
    ++m.begins[list + 1];
  }
  for (size_t list = 0; list < list_count; ++list)
    m.begins[list + 1] += m.begins[list];
  for (size_t i = 0; i < rows; ++i) /* 7 is prime to the number of rows: ids are out of order */
    m.ids[i] = (uint32_t)(i * 7 % rows);
  for (size_t i = 0; codes && i < rows * m.row_bytes; ++i)
    m.data[i] = (char)noise_below(4, (uint32_t)i, TR_IVF_CODEWORDS);
  for (size_t i = 0; !codes && i < rows * (size_t)d; ++i)
    ((float *)(void *)m.data)[i] = featops_noise(5, (uint32_t)i);
  return m;
}

static void made_free(made *m) {
  free(m->centroids);
  free(m->codebooks);
  free(m->begins);
  free(m->ids);
  free(m->data);
}

static on_device put(tr_device *device, const made *m) {
  const tr_ivf_shape *s = &m->shape;
  size_t d = (size_t)s->d, centroid_bytes = s->list_count * d * sizeof(float);
  on_device o = {.lists = {.shape = *s}};
  tr_ivf_lists *l = &o.lists;
  l->centroids = o.memory[0] = device_copy_of(device, m->centroids, centroid_bytes);
  float *norms = o.memory[1] = device_array(device, s->list_count * sizeof(float));
  assert_int_equal(tr_squared_norms(device, l->centroids, s->list_count, s->d, norms), TR_OK);
  l->centroid_norms = norms;
  l->codebooks = o.memory[2] = device_copy_of(device, m->codebooks, TR_IVF_CODEWORDS * d * sizeof(float));
  l->begins = o.memory[3] = device_copy_of(device, m->begins, (s->list_count + 1) * sizeof *m->begins);
  l->ids = o.memory[4] = device_copy_of(device, m->ids, s->rows * sizeof *m->ids);
  char *data = o.memory[5] = device_copy_of(device, m->data, s->rows * m->row_bytes);
  const void **table = malloc(s->list_count * sizeof *table);
  assert_non_null(table);
  for (size_t list = 0; list < s->list_count; ++list)
    table[list] = data + m->begins[list] * m->row_bytes;
  l->data = o.memory[6] = device_copy_of(device, table, s->list_count * sizeof *table);
  free(table);
  return o;
}

static void take_away(tr_device *device, on_device *o) {
  for (size_t i = 0; i < sizeof o->memory / sizeof *o->memory; ++i)
    tr_device_free(device, o->memory[i]);
}

typedef struct answer {
  size_t count;
  float *distances;
  uint32_t *indices;
} answer;

static answer answer_make(size_t count) {
  answer a = {count, featops_array(count), malloc(count * sizeof(uint32_t))};
  assert_non_null(a.indices);
  return a;
}

static void answer_free(answer *a) {
  free(a->distances);
  free(a->indices);
}

static tr_status search(tr_device *device, const made *m, const float *queries, size_t count, int nprobe, int k, answer *out) {
  on_device o = put(device, m);
  size_t results = count * (size_t)k;
  void *scratch = device_array(device, tr_ivf_scratch(device, &m->shape, count, count, nprobe, k));
  float *on_queries = device_copy_of(device, queries, count * (size_t)m->shape.d * sizeof(float));
  float *distances = device_array(device, results * sizeof(float));
  uint32_t *indices = device_array(device, results * sizeof(uint32_t));
  tr_status status = tr_ivf(device, &(tr_ivf_args){.lists = &o.lists,
                                                   .queries_count = count,
                                                   .group = count,
                                                   .queries = on_queries,
                                                   .nprobe = nprobe,
                                                   .k = k,
                                                   .distances = distances,
                                                   .indices = indices,
                                                   .scratch = scratch});
  if (status == TR_OK) {
    device_read(device, out->distances, distances, results * sizeof(float));
    device_read(device, out->indices, indices, results * sizeof(uint32_t));
  }
  void *const memory[] = {scratch, on_queries, distances, indices};
  for (size_t i = 0; i < 4; ++i)
    tr_device_free(device, memory[i]);
  take_away(device, &o);
  return status;
}

/* ---- brute force ---- */

typedef struct candidate {
  double distance2;
  uint32_t id;
} candidate;

static int by_distance(const void *a, const void *b) {
  const candidate *x = a, *y = b;
  if (x->distance2 != y->distance2)
    return x->distance2 < y->distance2 ? -1 : 1;
  return x->id < y->id ? -1 : x->id > y->id;
}

static double row_distance2(const made *m, const float *query, size_t list, size_t row) {
  size_t d = (size_t)m->shape.d, part = m->shape.codes ? d / (size_t)m->shape.codes : 1;
  const uint8_t *code = (const uint8_t *)m->data + row * m->row_bytes;
  double sum = 0;
  for (size_t i = 0; i < d; ++i) {
    double value = m->shape.codes ? (double)m->centroids[list * d + i] +
                                        (double)m->codebooks[(i / part * TR_IVF_CODEWORDS + code[i / part]) * part + i % part]
                                  : (double)((const float *)(const void *)code)[i];
    sum += ((double)query[i] - value) * ((double)query[i] - value);
  }
  return sum;
}

static void brute_force_of(const made *m, const float *query, size_t nprobe, size_t k, float *distances, uint32_t *indices) {
  size_t lists = m->shape.list_count, d = (size_t)m->shape.d, found = 0, end = nprobe < lists ? nprobe : lists;
  candidate *order = malloc(lists * sizeof *order), *rows = malloc(m->shape.rows * sizeof *rows);
  assert_true(order && rows);
  for (size_t list = 0; list < lists; ++list) {
    order[list] = (candidate){0, (uint32_t)list};
    for (size_t i = 0; i < d; ++i) {
      double difference = (double)query[i] - (double)m->centroids[list * d + i];
      order[list].distance2 += difference * difference;
    }
  }
  qsort(order, lists, sizeof *order, by_distance);
  for (size_t rank = 0; rank < end || found < k; ++rank) {
    end = rank < end ? end : 2 * end < lists ? 2 * end : lists;
    size_t list = order[rank].id;
    for (size_t row = m->begins[list]; row < m->begins[list + 1]; ++row)
      rows[found++] = (candidate){row_distance2(m, query, list, row), m->ids[row]};
    if (rank + 1 == end && found < k)
      end = 2 * end < lists ? 2 * end : lists;
  }
  qsort(rows, found, sizeof *rows, by_distance);
  for (size_t i = 0; i < k; ++i) {
    distances[i] = (float)rows[i].distance2;
    indices[i] = rows[i].id;
  }
  free(order);
  free(rows);
}

/* Sums of d squares in another order may differ in the last bits of a double: a float in its last place. A coded row's difference is
 * taken in another order, too. */
static void assert_same(const answer *got, const answer *expected, size_t k) {
  for (size_t i = 0; i < got->count; ++i) {
    if (got->indices[i] != expected->indices[i])
      fail_msg("query %zu, neighbour %zu: row %u at %.9g, expected row %u at %.9g", i / k, i % k, got->indices[i],
               (double)got->distances[i], expected->indices[i], (double)expected->distances[i]);
    assert_true(fabsf(got->distances[i] - expected->distances[i]) <= 2e-7f * expected->distances[i]);
  }
}

/* Against the brute force, and a GPU's bits against the cpu's. */
static void check_queries(const made *m, const float *queries, size_t count, int nprobe, int k) {
  size_t results = count * (size_t)k;
  answer got = answer_make(results), expected = answer_make(results);
  tr_device *device = test_device_open(2), *cpu = featops_cpu(1);
  if (search(device, m, queries, count, nprobe, k, &got) != TR_OK)
    fail_msg("%s", tr_last_error());
  for (size_t q = 0; q < count; ++q)
    brute_force_of(m, queries + q * (size_t)m->shape.d, (size_t)nprobe, (size_t)k, expected.distances + q * (size_t)k,
                   expected.indices + q * (size_t)k);
  assert_same(&got, &expected, (size_t)k);
  assert_int_equal(search(cpu, m, queries, count, nprobe, k, &expected), TR_OK);
  assert_memory_equal(got.distances, expected.distances, results * sizeof(float));
  assert_memory_equal(got.indices, expected.indices, results * sizeof(uint32_t));
  answer_free(&got);
  answer_free(&expected);
  tr_device_close(device);
  tr_device_close(cpu);
}

static void check(const made *m, size_t count, int nprobe, int k) {
  float *queries = noise(6, count * (size_t)m->shape.d);
  check_queries(m, queries, count, nprobe, k);
  free(queries);
}

/* ---- tests ---- */

/* Rows of whole and broken fours, in one piece of a block's shared memory and in several; codewords of fours and others. */
static void test_shapes(void **state) {
  (void)state;
  static const struct {
    int d, codes;
  } shapes[] = {{32, 0}, {30, 0}, {132, 0}, {259, 0}, {1, 0}, {32, 8}, {30, 10}, {36, 6}, {5, 1}, {256, 16}, {270, 27}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) {
    made m = make(shapes[i].d, shapes[i].codes, 6, 211, NULL);
    check(&m, 19, 1, 1);
    check(&m, 19, 3, 4);
    made_free(&m);
  }
}

/* Blocks of queries, and more queries of a list than a block of threads takes; a single one; lists of many rows. */
static void test_counts(void **state) {
  (void)state;
  for (int codes = 0; codes <= 4; codes += 4) {
    made m = make(16, codes, 3, 505, NULL);
    check(&m, 1, 2, 1);
    check(&m, 61, 1, 1);
    check(&m, 61, 2, 3);
    made_free(&m);
  }
}

static bool is_third(uint32_t list) {
  return list % 3 != 2;
}

static bool is_not_last(uint32_t list) {
  return list != 10;
}

/* Empty lists are looked at in vain, and then others; more neighbours than lists hold. */
static void test_looks_further(void **state) {
  (void)state;
  for (int codes = 0; codes <= 4; codes += 4) {
    made sparse = make(12, codes, 11, 40, is_third), one = make(12, codes, 11, 40, is_not_last);
    check(&sparse, 25, 1, 1);
    check(&sparse, 25, 2, 17);
    check(&sparse, 9, 3, 40);
    check(&one, 25, 1, 1);
    check(&one, 9, 4, 33);
    made_free(&sparse);
    made_free(&one);
  }
}

/* As many lists as there are, and more; more than `nearest` gives. */
static void test_many_lists(void **state) {
  (void)state;
  for (int codes = 0; codes <= 4; codes += 4) {
    made few = make(12, codes, 5, 90, NULL), many = make(12, codes, 90, 300, is_third);
    check(&few, 9, 5, 2);
    check(&few, 9, 1000, 64);
    check(&many, 30, 64, 3);
    check(&many, 30, 65, 3);
    check(&many, 7, 89, 64);
    check(&many, 7, 400, 1);
    made_free(&few);
    made_free(&many);
  }
}

/* Equal rows, in one list and in several: the lower id. Equal centroids: the lower list. */
static void test_ties(void **state) {
  (void)state;
  enum { D = 8, LISTS = 4, ROWS = 60 };
  for (int codes = 0; codes <= 2; codes += 2) {
    made m = make(D, codes, LISTS, ROWS, NULL);
    for (size_t i = 0; i < D; ++i)
      m.centroids[2 * D + i] = m.centroids[D + i];
    for (size_t row = 0; row < ROWS; ++row)
      memcpy(m.data + row * m.row_bytes, m.data + row % 5 * m.row_bytes, m.row_bytes);
    float *queries = noise(6, 12 * D);
    memcpy(queries, m.centroids + D, D * sizeof *queries); /* at the two equal centroids */
    for (int nprobe = 1; nprobe <= LISTS; ++nprobe) {
      check_queries(&m, queries, 12, nprobe, 1);
      check_queries(&m, queries, 12, nprobe, 30);
    }
    free(queries);
    made_free(&m);
  }
}

/* Far from zero, where float sums are coarse; and so large or small that they leave float's range. */
static void test_extreme_values(void **state) {
  (void)state;
  enum { D = 24, COUNT = 15 };
  static const struct { float scale, shift; } forms[] = {{1, 1000}, {1e-3f, 1000}, {1e18f, 0}, {1e-21f, 0}};
  for (size_t f = 0; f < sizeof forms / sizeof *forms; ++f)
    for (int codes = 0; codes <= 6; codes += 6) {
      made m = make(D, codes, 4, 150, NULL);
      float *queries = noise(6, COUNT * D);
      for (size_t i = 0; i < COUNT * D; ++i)
        queries[i] = queries[i] * forms[f].scale + forms[f].shift;
      for (size_t i = 0; i < 4 * D; ++i)
        m.centroids[i] = m.centroids[i] * forms[f].scale + forms[f].shift;
      for (size_t i = 0; codes && i < TR_IVF_CODEWORDS * D; ++i)
        m.codebooks[i] *= forms[f].scale;
      for (size_t i = 0; !codes && i < 150 * D; ++i) {
        float *value = (float *)(void *)m.data + i;
        *value = *value * forms[f].scale + forms[f].shift;
      }
      check_queries(&m, queries, COUNT, 2, 3);
      free(queries);
      made_free(&m);
    }
}

/* A query's result does not depend on which others come with it. */
static void test_batches_do_not_matter(void **state) {
  (void)state;
  enum { D = 20, COUNT = 53 };
  tr_device *device = test_device_open(2);
  for (int codes = 0; codes <= 5; codes += 5) {
    made m = make(D, codes, 7, 230, NULL);
    float *queries = noise(6, COUNT * D);
    answer all = answer_make(COUNT * 3), part = answer_make(COUNT * 3);
    assert_int_equal(search(device, &m, queries, COUNT, 4, 3, &all), TR_OK);
    for (size_t first = 0, n = 1; first < COUNT; first += n, n = n * 3 < COUNT - first ? n * 3 : COUNT - first) {
      n = n < COUNT - first ? n : COUNT - first;
      assert_int_equal(search(device, &m, queries + first * D, n, 4, 3, &part), TR_OK);
      assert_memory_equal(part.distances, all.distances + first * 3, n * 3 * sizeof(float));
      assert_memory_equal(part.indices, all.indices + first * 3, n * 3 * sizeof(uint32_t));
    }
    answer_free(&all);
    answer_free(&part);
    free(queries);
    made_free(&m);
  }
  tr_device_close(device);
}

static void test_refused(void **state) {
  (void)state;
  enum { D = 8, COUNT = 30 };
  tr_device *device = test_device_open(2);
  made m = make(D, 0, 70, 100, NULL);
  float *queries = noise(6, COUNT * D);
  answer a = answer_make(COUNT * 2);
  const float wrong[] = {NAN, INFINITY, 1e30f};
  const int nprobes[] = {2, 66};
  for (size_t i = 0; i < 6; ++i) {
    queries[27 * D + 3] = wrong[i % 3];
    featops_assert_invalid(search(device, &m, queries, COUNT, nprobes[i / 3], 2, &a), "query 27");
  }
  queries[27 * D + 3] = 0;
  on_device o = put(device, &m);
  char scratch;
  const tr_ivf_args good = {.lists = &o.lists,
                            .queries_count = COUNT,
                            .group = COUNT,
                            .queries = o.lists.centroids,
                            .nprobe = 1,
                            .k = 1,
                            .distances = a.distances,
                            .indices = a.indices,
                            .scratch = &scratch};
  tr_ivf_lists lists[4] = {o.lists, o.lists, o.lists, o.lists};
  lists[0].shape.codes = 3;
  lists[1].shape.codes = 4;
  lists[2].shape.rows = 0;
  lists[3].ids = NULL;
  tr_ivf_args bad[9] = {good, good, good, good, good, good, good, good, good};
  bad[0].nprobe = 0;
  bad[1].k = 0;
  bad[2].k = TR_NEAREST_MAX_K + 1;
  bad[3].group = 0;
  for (size_t i = 0; i < 4; ++i)
    bad[4 + i].lists = &lists[i];
  bad[8].scratch = NULL;
  const char *const named[9] = {"nprobe",      "found 1 and 0", "found 1 and 65", "groups", "and 3", "codebooks",
                                "found 70, 0", "ids",           "scratch"};
  for (size_t i = 0; i < 9; ++i)
    featops_assert_invalid(tr_ivf(device, &bad[i]), named[i]);
  tr_ivf_args none = good;
  none.queries_count = 0;
  assert_int_equal(tr_ivf(device, &none), TR_OK);
  take_away(device, &o);
  answer_free(&a);
  free(queries);
  made_free(&m);
  tr_device_close(device);
}

/* FAISS's own search of the same index finds the same rows, where others are not as near to its rounding: float sums of d terms, which
 * for codes are |q - c|^2 + (|y|^2 + 2 c.y) - 2 q.y, so that errors are relative to these terms. Features are below 3, so that all of
 * these together are below 27 d. */
static void test_beside_faiss(void **state) {
  (void)state;
  enum { D = 24, ROWS = 700, COUNT = 90 };
  static const char *const factories[] = {"IVF16,Flat", "IVF16,PQ6np", "IVF16,PQ8x8np"};
  static const int nprobes[] = {1, 4, 16};
  const float error = 27 * D * D * 0x1p-24f;
  if (!tr_index_library())
    skip();
  tr_device *device = test_device_open(2);
  float *rows = noise(8, (size_t)ROWS * D), *queries = noise(9, (size_t)COUNT * D), theirs[COUNT];
  int64_t labels[COUNT];
  answer ours = answer_make(COUNT);
  for (size_t i = 0; i < 9; ++i) {
    tr_index *index;
    tr_effort effort = {.nprobe = nprobes[i % 3]};
    double waited;
    size_t same = 0;
    if (tr_index_build(device, rows, ROWS, D, factories[i / 3], NULL, &index) != TR_OK)
      fail_msg("%s", tr_last_error());
    assert_string_equal(tr_index_searched_by(index), TR_SEARCH_BY_OPERATOR);
    void *scratch = device_array(device, tr_index_device_scratch(index, effort, COUNT, COUNT, 1));
    float *on_queries = device_copy_of(device, queries, (size_t)COUNT * D * sizeof(float));
    float *distances = device_array(device, COUNT * sizeof(float));
    uint32_t *indices = device_array(device, COUNT * sizeof(uint32_t));
    assert_int_equal(tr_index_search(index, effort, on_queries, COUNT, COUNT, 1, distances, indices, NULL, scratch, &waited),
                     TR_OK);
    assert_int_equal(tr_index_search_alone(index, effort, queries, COUNT, 1, 1, theirs, labels), TR_OK);
    device_read(device, ours.distances, distances, COUNT * sizeof(float));
    device_read(device, ours.indices, indices, COUNT * sizeof(uint32_t));
    for (size_t q = 0; q < COUNT; ++q) {
      assert_true(fabsf(ours.distances[q] - theirs[q]) <= error);
      same += ours.indices[q] == (uint32_t)labels[q];
    }
    assert_true(same >= COUNT - 1);
    void *const memory[] = {scratch, on_queries, distances, indices};
    for (size_t j = 0; j < 4; ++j)
      tr_device_free(device, memory[j]);
    tr_index_destroy(index);
  }
  answer_free(&ours);
  free(rows);
  free(queries);
  tr_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes),
                                     cmocka_unit_test(test_counts),
                                     cmocka_unit_test(test_looks_further),
                                     cmocka_unit_test(test_many_lists),
                                     cmocka_unit_test(test_ties),
                                     cmocka_unit_test(test_extreme_values),
                                     cmocka_unit_test(test_batches_do_not_matter),
                                     cmocka_unit_test(test_refused),
                                     cmocka_unit_test(test_beside_faiss)};
  return run_on_devices("ivf", tests, NULL, NULL);
}
