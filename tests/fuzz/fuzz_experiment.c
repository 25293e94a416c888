/* Any text as an experiment file. */
#include "host/harness/experiment.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  tr_experiments experiments;
  if (tr_experiments_parse("fuzz.yaml", (const char *)data, bytes, NULL, &experiments) != TR_OK)
    return 0;
  for (size_t i = 0; i < experiments.count; ++i)
    for (size_t j = 0; j < experiments.items[i].setting_count; ++j)
      free(tr_setting_run_name(&experiments.items[i].settings[j]));
  tr_experiments_free(&experiments);
  return 0;
}
