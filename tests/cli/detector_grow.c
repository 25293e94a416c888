/* Banks that grow, through the public header alone: detector_grow MODEL WEIGHTS FOLDER DIR ROWS writes DIR/appended, the model with FOLDER's
 * images, DIR/rows, the same with so many rows, and DIR/merged, 9 rows of the two. */
#include "totalrecall.h"

#include <stdio.h>
#include <stdlib.h>

static int failures;

static void expect(tr_status got, tr_status wanted, const char *what) {
  if (got == wanted)
    return;
  fprintf(stderr, "%s: %s, expected %s: %s\n", what, tr_status_name(got), tr_status_name(wanted), tr_last_error());
  ++failures;
}

int main(int argc, char **argv) {
  if (argc != 6)
    return 2;
  char appended[512], rows[512], merged[512];
  snprintf(appended, sizeof appended, "%s/appended", argv[4]);
  snprintf(rows, sizeof rows, "%s/rows", argv[4]);
  snprintf(merged, sizeof merged, "%s/merged", argv[4]);
  tr_detector_options options = {.model = argv[1], .weights = argv[2], .device = "cpu", .threads = 1};
  expect(tr_detector_append(&options, argv[3], NULL, appended), TR_OK, "appending");
  expect(tr_detector_append(&options, argv[3], &(tr_bank_goal){.rows = strtoul(argv[5], NULL, 10)}, rows), TR_OK, "rows");
  const char *const models[] = {appended, rows};
  expect(tr_detectors_merge(models, 2, &(tr_bank_goal){.rows = 9}, NULL, 1, merged), TR_OK, "merging");
  expect(tr_detectors_merge(models, 1, NULL, NULL, 1, merged), TR_EINVAL, "merging one");
  expect(tr_detectors_merge(NULL, 2, NULL, NULL, 1, merged), TR_EINVAL, "merging none");
  expect(tr_detector_append(&options, "/no/such/folder", NULL, appended), TR_EIO, "no folder");
  expect(tr_detector_append(&options, NULL, NULL, appended), TR_EINVAL, "no folder given");
  options.weights = "/no/such/weights";
  expect(tr_detector_append(&options, argv[3], NULL, appended), TR_EIO, "no weights");
  options.model = "/no/such/model";
  expect(tr_detector_append(&options, argv[3], NULL, appended), TR_EIO, "no model");
  return failures > 0;
}
