/* Lines that other experiments of the same results folder have: a run that one of them holds is copied, not computed again. */
#include "host/base/status.h"
#include "host/harness/outcome.h"
#include "host/harness/planner.h"
#include <stdlib.h>
#include <string.h>

static bool is_results_file(const char *name) {
  size_t length = strlen(name);
  return length > 6 && strcmp(name + length - 6, ".jsonl") == 0 && strcmp(name, TR_BENCH_NAME ".jsonl") != 0;
}

tr_status tr_planner_read_lines(tr_planner *p) {
  char *folder = tr_format("%s/%s", p->options->results, p->options->machine);
  tr_strings names = {0};
  tr_status status = folder ? TR_OK : tr_planner_no_memory();
  if (status == TR_OK && tr_is_folder(folder))
    status = tr_folder_list(folder, &names);
  for (size_t i = 0; status == TR_OK && i < names.count; ++i) {
    if (!is_results_file(names.items[i]))
      continue;
    char *path = tr_format("%s/%s", folder, names.items[i]);
    status = path ? tr_results_read(path, NULL, &p->lines) : tr_planner_no_memory();
    free(path);
  }
  tr_strings_free(&names);
  free(folder);
  return status;
}

/* The images of data set `folder` are whatever stands there. */
const tr_result *tr_planner_find_line(const tr_planner *p, const tr_run_key *key) {
  if (strcmp(key->dataset, "folder") == 0)
    return NULL;
  for (size_t i = p->lines.count; i-- > 0;) {
    const tr_result *line = &p->lines.items[i];
    tr_run_key found = tr_result_key(line);
    if (tr_run_key_equal(&found, key) && line->version && strcmp(line->version, tr_version()) == 0 && line->device &&
        strcmp(line->device, tr_device_name(p->device)) == 0)
      return line;
  }
  return NULL;
}

tr_status tr_planner_note_finished(tr_planner *p, const tr_plan_run *run) {
  tr_results *finished = &p->plan->finished;
  ++p->plan->finished_runs;
  TR_TRY(tr_results_add_copy(finished, run->finished));
  if (!run->elsewhere)
    return TR_OK;
  tr_result *line = &finished->items[finished->count - 1];
  TR_TRY(tr_outcome_rename(run, line));
  return tr_results_add_copy(&p->plan->copies, line);
}

tr_status tr_plan_write_copies(const tr_plan *plan, const tr_plan_options *options) {
  tr_store *store = NULL;
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < plan->copies.count; ++i) {
    const tr_result *line = &plan->copies.items[i];
    if (!store || strcmp(line->experiment, plan->copies.items[i - 1].experiment) != 0) {
      tr_store_close(store);
      store = NULL;
      status = tr_store_open(options->results, options->machine, line->experiment, options->progress, &store);
    }
    if (status == TR_OK)
      status = tr_store_append(store, line);
  }
  tr_store_close(store);
  return status;
}
