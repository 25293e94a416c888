/* Runs a plan: pass by pass over the images of a class, then maps, metrics and a result line per run. */
#ifndef TR_HARNESS_RUN_H
#define TR_HARNESS_RUN_H

#include "host/harness/plan.h"

typedef struct tr_run_summary {
  size_t finished;  /* runs that got their result line now */
  size_t failed;    /* runs that did not */
  size_t elsewhere; /* runs that another process on the same results finished meanwhile */
  double forecast_seconds,
      pass_seconds; /* of the passes that were done: expected before the first of them, and measured; 0: nothing was
                                            forecast. Devices' passes go on side by side */
} tr_run_summary;

/* Several processes may work on one results folder: each leaves alone what another one is at, and at its end waits for what is still
 * missing, of which it does what the other one leaves undone.
 *
 * Classes are shared out over the devices; what a class gives does not depend on that where the devices are alike. Peak bytes of a
 * result are those of the process, whatever the other devices did meanwhile.
 *
 * A pass that fails (an unreadable image, a forecast over the limit) is reported through options->progress and does not stop
 * the others; results->items gets a result per finished run. Errors of the run as a whole (results that cannot be written,
 * ECANCELED after tr_cancel_request) end it at once; finished lines stay. */
tr_status tr_plan_run_all(const tr_plan *plan, const tr_plan_options *options, const tr_devices *devices, tr_results *results,
                          tr_run_summary *summary);

/* Opens a store per experiment and closes it again: says before any work whether results can be written. */
tr_status tr_plan_check_results(const tr_experiments *experiments, const tr_plan_options *options);

/* Draws the data sets synthetic and synthetic_mstc where an experiment wants them and they are not there: <data>/<kind>, or <data> itself
 * when that is its name; data NULL: the working directory. */
tr_status tr_run_draw_synthetic(const tr_experiments *experiments, const char *data, tr_progress *progress);

#endif
