/* totalrecall run: an experiment file to results. */
#include "host/harness/run.h"
#include "host/base/clock.h"
#include "host/base/status.h"
#include "host/base/threads.h"
#include "host/cli/cli.h"
#include "host/harness/profile.h"
#include "host/report/report.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct run_arguments {
  const char *experiment, *device;
  tr_replacements replacements;
  long threads;
  bool dry_run;
  tr_strings classes;
  tr_plan_options plan;
} run_arguments;

static int said(tr_status status) {
  return status == TR_OK ? CLI_OK : cli_wrong_usage(&cli_run, "%s", tr_last_error());
}

/* CLI_OK to go on; else the exit code. */
static int parse_option(void *arguments, int c) {
  run_arguments *a = arguments;
  switch (c) {
  case 'd':
    a->plan.data = optarg;
    return CLI_OK;
  case 'w':
    a->plan.weights = optarg;
    return CLI_OK;
  case 'r':
    a->plan.results = optarg;
    return CLI_OK;
  case 'D':
    a->device = optarg;
    return CLI_OK;
  case 's':
    a->plan.scores = optarg;
    return CLI_OK;
  case 'm':
    a->plan.maps = optarg;
    return CLI_OK;
  case 'n':
    a->dry_run = true;
    return CLI_OK;
  case 'c':
    return tr_strings_add(&a->classes, optarg) == TR_OK ? CLI_OK : cli_failed();
  case 'b':
    return said(tr_replace_backbone(&a->replacements, optarg));
  case 'x':
    return said(tr_replace_data_set(&a->replacements, optarg));
  case 'S':
    return cli_parse_shard(optarg, &a->plan.shard, &a->plan.shards)
               ? CLI_OK
               : cli_wrong_usage(&cli_run, "--shard takes I/N, as 1/4, found `%s`", optarg);
  case 'M':
    return said(tr_parse_bytes(optarg, &a->plan.memory_limit));
  case 't':
    return cli_parse_threads(&cli_run, optarg, &a->threads);
  default:
    return cli_unknown_option(&cli_run);
  }
}

static int parse_arguments(int argc, char **argv, run_arguments *a, bool *help) {
  static const struct option options[] = {{"data", required_argument, NULL, 'd'},
                                          {"weights", required_argument, NULL, 'w'},
                                          {"results", required_argument, NULL, 'r'},
                                          {"device", required_argument, NULL, 'D'},
                                          {"class", required_argument, NULL, 'c'},
                                          {"backbone", required_argument, NULL, 'b'},
                                          {"dataset", required_argument, NULL, 'x'},
                                          {"scores", required_argument, NULL, 's'},
                                          {"maps", required_argument, NULL, 'm'},
                                          {"shard", required_argument, NULL, 'S'},
                                          {"memory-limit", required_argument, NULL, 'M'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"dry-run", no_argument, NULL, 'n'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
  int code = cli_parse_options(argc, argv, options, parse_option, a, help);
  if (code != CLI_OK || *help)
    return code;
  if (argc - optind != 1)
    return cli_wrong_usage(&cli_run, "takes one experiment file, found %d", argc - optind);
  a->experiment = argv[optind];
  return CLI_OK;
}

static int show_plan(const run_arguments *a, tr_device *device, const tr_experiments *experiments) {
  tr_plan *plan;
  tr_profile profile;
  char *text = NULL;
  if (tr_plan_create(&a->plan, device, experiments, &plan) != TR_OK)
    return cli_failed();
  tr_status status = tr_profile_measure(device, plan, &profile);
  if (status == TR_OK) {
    status = tr_plan_text(plan, &profile, &text);
    tr_profile_free(&profile);
  }
  if (status == TR_OK)
    fputs(text, stdout);
  free(text);
  tr_plan_destroy(plan);
  return status == TR_OK ? CLI_OK : cli_failed();
}

static tr_status print_table(const tr_experiments *experiments, const tr_results *results) {
  char *text;
  TR_TRY(tr_results_table(experiments, results, &text));
  fputs(text, stdout);
  free(text);
  return TR_OK;
}

static void say_how_to_go_on(const run_arguments *a) {
  fprintf(stderr, "totalrecall: stopped; what is finished stays in %s/%s, and the same command goes on from there\n",
          a->plan.results, a->plan.machine);
}

static int run_plan(const run_arguments *a, const tr_devices *devices, const tr_experiments *experiments, tr_plan *plan) {
  tr_progress *progress = a->plan.progress;
  if (plan->finished_runs)
    tr_progress_line(progress, "%zu of %zu runs are finished already", plan->finished_runs, plan->runs);
  if (plan->copies.count)
    tr_progress_line(progress, "%zu of them are other experiments' runs, whose lines are copied", plan->copies.count);
  tr_run_summary summary;
  double start = tr_seconds();
  tr_status status = tr_plan_run_all(plan, &a->plan, devices, &plan->finished, &summary);
  int code = CLI_OK;
  if (status == TR_ECANCELED)
    say_how_to_go_on(a);
  if (status != TR_OK)
    code = status == TR_ECANCELED ? CLI_FAILED : cli_failed();
  if (print_table(experiments, &plan->finished) != TR_OK)
    code = cli_failed();
  if (summary.finished)
    tr_progress_line(progress, "%zu runs in %.0f s; results in %s/%s", summary.finished, tr_seconds() - start, a->plan.results,
                     a->plan.machine);
  if (summary.pass_seconds > 0)
    tr_progress_line(progress, "passes that were forecast to take %.1f s took %.1f s (forecast/measured %.2f)",
                     summary.forecast_seconds, summary.pass_seconds, summary.forecast_seconds / summary.pass_seconds);
  if (summary.elsewhere)
    tr_progress_line(progress, "%zu runs were finished by another process meanwhile", summary.elsewhere);
  if (summary.failed)
    fprintf(stderr, "totalrecall: %zu runs failed\n", summary.failed);
  for (size_t i = 0; i < plan->missing.count; ++i)
    fprintf(stderr, "totalrecall: not at hand: %s\n", plan->missing.items[i]);
  return summary.failed || plan->missing.count ? CLI_FAILED : code;
}

static int execute(run_arguments *a, const tr_devices *devices, const tr_experiments *experiments) {
  if (a->dry_run)
    return show_plan(a, devices->items[0], experiments);
  cli_catch_signals();
  tr_plan *plan;
  if (tr_plan_check_results(experiments, &a->plan) != TR_OK ||
      tr_run_draw_synthetic(experiments, a->plan.data, a->plan.progress) != TR_OK ||
      tr_plan_create(&a->plan, devices->items[0], experiments, &plan) != TR_OK)
    return cli_failed();
  int code = run_plan(a, devices, experiments, plan);
  tr_plan_destroy(plan);
  return code;
}

/* Several devices share the memory limit, as each has a group at a time. */
static int with_devices(run_arguments *a, const tr_experiments *experiments) {
  tr_devices devices;
  if (tr_devices_open(a->device, (int)a->threads, &devices) != TR_OK)
    return cli_failed();
  char *machine = tr_machine_name(tr_device_description(devices.items[0]), tr_processors());
  a->plan.machine = machine ? machine : "unknown";
  a->plan.memory_limit /= devices.count;
  int code = execute(a, &devices, experiments);
  free(machine);
  tr_devices_close(&devices);
  return code;
}

static int run_experiments(run_arguments *a) {
  tr_experiments experiments;
  if (tr_experiments_read(a->experiment, &a->replacements, &experiments) != TR_OK)
    return cli_failed();
  cli_progress *progress = cli_progress_create();
  a->plan.progress = cli_progress_of(progress);
  for (size_t i = 0; i < experiments.notes.count; ++i)
    tr_progress_line(a->plan.progress, "%s", experiments.notes.items[i]);
  a->plan.classes = &a->classes;
  a->plan.forecast_only = a->dry_run;
  int code = with_devices(a, &experiments);
  cli_progress_destroy(progress);
  tr_experiments_free(&experiments);
  return code;
}

static int run(int argc, char **argv) {
  const char *weights = getenv("TOTALRECALL_WEIGHTS");
  run_arguments a = {.device = "cpu", .plan = {.results = "results", .shard = 1, .shards = 1}};
  a.plan.data = getenv("TOTALRECALL_DATA");
  a.plan.weights = weights ? weights : "weights";
  bool help = false;
  int code = parse_arguments(argc, argv, &a, &help);
  if (help)
    code = cli_print_help(&cli_run);
  else if (code == CLI_OK)
    code = run_experiments(&a);
  tr_strings_free(&a.classes);
  tr_replacements_free(&a.replacements);
  return code;
}

const cli_command cli_run = {
    .name = "run",
    .summary = "run an experiment file",
    .run = run,
    .help =
        "usage: totalrecall run EXPERIMENT.yaml [options]\n\n"
        "Runs every setting of the file on every class. A run whose result line exists is skipped, so the same command goes on\n"
        "after an interruption.\n\n"
        "  --data ROOT        folder that holds mvtec/, mtd/, …, or a data set's own folder (default: $TOTALRECALL_DATA, else "
        ".)\n"
        "  --weights PATH     weight file, or folder to search by architecture (default: $TOTALRECALL_WEIGHTS, else ./weights)\n"
        "  --results DIR      (default: results); a line per run and class goes to DIR/<processor>/<experiment>.jsonl\n"
        "  --device NAME      cpu (default), cuda, cuda:N; cuda:0,1 shares the classes out over several\n"
        "  --class NAME       only this class; may be given several times\n"
        "  --backbone NAME    in the place of every backbone in the file, with its layers of the same strides; OLD=NEW: in the\n"
        "                     place of OLD. May be given several times\n"
        "  --dataset NAME     in the place of every data set in the file (mvtec, mtd, mstc, folder, synthetic,\n"
        "                     synthetic_mstc); or OLD=NEW\n"
        "  --scores DIR       writes <run>_<class>.csv: image,label,score\n"
        "  --maps DIR         draws <run>/<class>/<image>.png: image, heat map over it, mask\n"
        "  --shard I/N        only the I-th of N parts that are forecast to cost about the same (1/N … N/N share the work)\n"
        "  --memory-limit B   more passes and temporary files (in $TMPDIR, else /tmp) where memory would not do; refuse what is\n"
        "                     forecast to need more even so, as 8G; without it, what is free is the limit, and nothing is "
        "refused\n"
        "  --threads N        (default: all processors)\n"
        "  --dry-run          print the plan as a tree: what is shared, bytes and seconds expected here and on one H100. Files "
        "may be\n"
        "                     empty, weights and data missing\n\n"
        "A data set `synthetic` or `synthetic_mstc` that is not there is drawn first. Exit code: 0 all runs finished, 1 not\n"
        "all, 2 wrong usage.\n",
};
