/* The program: a thin client of the library. It owns the command line, the terminal, signals and exit codes: 0 done, 1 failed,
 * 2 used wrongly. */
#ifndef TR_CLI_H
#define TR_CLI_H

#include "host/base/progress.h"
#include "host/totalrecall.h"
#include "kernels/device.h"
#include <stdio.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

typedef struct cli_command {
  const char *name, *summary;
  int (*run)(int argc, char **argv); /* argv[0] is the command's name */
  const char *help;
} cli_command;

extern const cli_command cli_run, cli_fit, cli_score, cli_report, cli_compare, cli_merge, cli_bank, cli_verify, cli_synthesize,
    cli_bench, cli_info;

/* `totalrecall bank origins`, `merge` and `threshold`; argv[0] is that word. */
int cli_bank_origins(int argc, char **argv);
int cli_bank_threshold(int argc, char **argv);
int cli_bank_merge(int argc, char **argv);
/* --percent, --rows or --radius, as 'p', 'k', 'r': one of them, once. */
struct tr_bank_goal; /* host/detector/bank_file.h */
int cli_parse_goal(const cli_command *command, int option, const char *text, struct tr_bank_goal *out);
/* `totalrecall bench latency`; argv[0] is "latency". */
int cli_bench_latency(int argc, char **argv);
/* Where measurements go: a new file, or the end of <results>/<processor>/bench.jsonl. One of the two is NULL. */
tr_status cli_bench_file(const char *json, const char *results, tr_device *device, FILE **out);

/* Prints "totalrecall: <text of the last error>" and returns CLI_FAILED. */
int cli_failed(void);
/* Prints the problem and how to get help; returns CLI_USAGE. */
int cli_wrong_usage(const cli_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* getopt_long found something it does not know: getopt has printed what. */
int cli_unknown_option(const cli_command *command);
int cli_print_help(const cli_command *command);

struct option; /* of <getopt.h> */
/* Hands each option to `take`, which gives CLI_OK to go on, else the exit code; --help, which is 'h', ends it and sets *help. What is no
 * option begins at optind. */
int cli_parse_options(int argc, char **argv, const struct option *options, int (*take)(void *arguments, int option),
                      void *arguments, bool *help);

/* The value of --threads, 1 to 1024: CLI_OK, or the exit code when the problem is printed. */
int cli_parse_threads(const cli_command *command, const char *text, long *out);
/* The value of --quantile, above 0 and below 1. */
int cli_parse_quantile(const cli_command *command, const char *text, double *out);
/* "I/N", 1 <= I <= N. */
bool cli_parse_shard(const char *text, int *shard, int *shards);
/* A whole number of [low, high]. */
bool cli_parse_number(const char *text, long low, long high, long *out);

/* Progress on stderr: on a terminal one line, rewritten, with rate and time left; else a plain line every few seconds. */
typedef struct cli_progress cli_progress;
cli_progress *cli_progress_create(void); /* NULL when out of memory: then there is no progress */
tr_progress *cli_progress_of(cli_progress *progress);
/* Clears the terminal's progress line. */
void cli_progress_destroy(cli_progress *progress);

/* SIGINT and SIGTERM ask the library to stop; a second one ends the process at once. */
void cli_catch_signals(void);

#endif
