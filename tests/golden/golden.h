/* Fixtures: NumPy .npy files (version 1, C order, little endian) read whole, and where external data is found. */
#ifndef TR_TESTS_GOLDEN_H
#define TR_TESTS_GOLDEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h> /* wants the standard headers before it */

typedef struct golden_array {
  char type[8]; /* "<f4", "<f8", "|u1", "<u4", "<i4", "<i8" */
  int rank;
  size_t shape[8], count;
  void *data;
} golden_array;

/* Reads TR_GOLDEN_DIR/<name>; fails the test when it cannot. Free with golden_free. */
static inline golden_array golden_read(const char *name) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", TR_GOLDEN_DIR, name);
  FILE *file = fopen(path, "rb");
  if (!file)
    fail_msg("no fixture %s", path);
  unsigned char head[10];
  assert_int_equal(fread(head, 1, 10, file), 10);
  assert_memory_equal(head, "\x93NUMPY\x01", 7);
  size_t header_bytes = head[8] + 256u * head[9];
  char *header = calloc(1, header_bytes + 1);
  assert_non_null(header);
  assert_int_equal(fread(header, 1, header_bytes, file), header_bytes);
  golden_array out = {.rank = 0, .count = 1};
  const char *descr = strstr(header, "'descr': '");
  assert_non_null(descr);
  assert_int_equal(sscanf(descr, "'descr': '%7[^']", out.type), 1);
  assert_non_null(strstr(header, "'fortran_order': False"));
  const char *shape = strstr(header, "'shape': (");
  assert_non_null(shape);
  for (const char *p = shape + strlen("'shape': ("); *p != ')';) {
    char *end;
    size_t extent = strtoul(p, &end, 10);
    if (end == p) {
      ++p;
      continue;
    }
    assert_true(out.rank < 8);
    out.shape[out.rank++] = extent;
    out.count *= extent;
    p = end;
  }
  free(header);
  size_t item = (size_t)atoi(out.type + 2);
  out.data = malloc(out.count * item + 1);
  assert_non_null(out.data);
  assert_int_equal(fread(out.data, item, out.count, file), out.count);
  fclose(file);
  return out;
}

static inline void golden_free(golden_array *array) {
  free(array->data);
  array->data = NULL;
}

static inline void golden_assert_close(const float *got, const float *expected, size_t n, float relative, float absolute) {
  for (size_t i = 0; i < n; ++i) {
    float error = got[i] > expected[i] ? got[i] - expected[i] : expected[i] - got[i];
    float size = expected[i] < 0 ? -expected[i] : expected[i];
    if (!(error <= relative * size + absolute))
      fail_msg("element %zu: got %.9g, expected %.9g", i, (double)got[i], (double)expected[i]);
  }
}

/* Path of external data: $variable/<below>, else TR_SHARED_DIR/<shared>/<below>. NULL when it is not there: the test then is to
 * exit with 77. The buffer is the function's own. */
static inline const char *golden_external(const char *variable, const char *shared, const char *below) {
  static char path[1024];
  const char *root = getenv(variable);
  if (root)
    snprintf(path, sizeof path, "%s/%s", root, below);
  else
    snprintf(path, sizeof path, "%s/%s/%s", TR_SHARED_DIR, shared, below);
  return access(path, R_OK) == 0 ? path : NULL;
}

#endif
