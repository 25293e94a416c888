/* Finds the command; help, version, and what all commands share. */
#include "host/base/text.h"
#include "host/cli/cli.h"
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cli_command *const commands[] = {&cli_run,  &cli_fit,    &cli_score,      &cli_report, &cli_compare, &cli_merge,
                                              &cli_bank, &cli_verify, &cli_synthesize, &cli_bench,  &cli_info};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *out) {
  fprintf(out,
          "totalrecall %s: industrial anomaly detection by PatchCore, SPADE and PaDiM\n\nusage: totalrecall COMMAND [...]\n\n",
          tr_version());
  for (size_t i = 0; i < COMMANDS; ++i)
    fprintf(out, "  %-12s%s\n", commands[i]->name, commands[i]->summary);
  fprintf(out, "\n`totalrecall COMMAND --help` tells what a command takes.\n");
}

int cli_failed(void) {
  fprintf(stderr, "totalrecall: %s\n", tr_last_error());
  return CLI_FAILED;
}

int cli_unknown_option(const cli_command *command) {
  fprintf(stderr, "`totalrecall %s --help` lists the options.\n", command->name);
  return CLI_USAGE;
}

int cli_wrong_usage(const cli_command *command, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "totalrecall %s: ", command->name);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  return cli_unknown_option(command);
}

int cli_parse_options(int argc, char **argv, const struct option *options, int (*take)(void *arguments, int option),
                      void *arguments, bool *help) {
  for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
    if (c == 'h') {
      *help = true;
      return CLI_OK;
    }
    int code = take(arguments, c);
    if (code != CLI_OK)
      return code;
  }
  return CLI_OK;
}

int cli_parse_threads(const cli_command *command, const char *text, long *out) {
  return cli_parse_number(text, 1, 1024, out)
             ? CLI_OK
             : cli_wrong_usage(command, "--threads takes a number from 1 to 1024, found `%s`", text);
}

int cli_print_help(const cli_command *command) {
  fputs(command->help, stdout);
  return CLI_OK;
}

bool cli_parse_number(const char *text, long low, long high, long *out) {
  char *end;
  *out = strtol(text, &end, 10);
  return end != text && !*end && *out >= low && *out <= high;
}

int cli_parse_quantile(const cli_command *command, const char *text, double *out) {
  char *end;
  *out = strtod(text, &end);
  return end != text && !*end && *out > 0 && *out < 1
             ? CLI_OK
             : cli_wrong_usage(command, "--quantile takes a number above 0 and below 1, found `%s`", text);
}

bool cli_parse_shard(const char *text, int *shard, int *shards) {
  char *slash, *end;
  long i = strtol(text, &slash, 10);
  long n = *slash == '/' ? strtol(slash + 1, &end, 10) : 0;
  if (slash == text || n < 1 || *end || n > 100000 || i < 1 || i > n)
    return false;
  *shard = (int)i;
  *shards = (int)n;
  return true;
}

static void say(const char *text) {
  (void)!write(STDERR_FILENO, text, strlen(text));
}

/* Of files that are mapped (weights, models). What is finished is on disk. */
static void end_for_a_lost_file(int number, siginfo_t *info, void *context) {
  (void)context;
  const char *path = tr_file_mapped_at(info->si_addr);
  if (!path) {
    signal(number, SIG_DFL);
    return; /* to the same again */
  }
  say("totalrecall: ");
  say(path);
  say(" was cut short by something else while it was read; put it back and run the command again\n");
  _exit(CLI_FAILED);
}

int main(int argc, char **argv) {
  /* A full disk or a closed pipe is to come back as an error from write, not as the process's end. */
  signal(SIGXFSZ, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  struct sigaction lost = {.sa_sigaction = end_for_a_lost_file, .sa_flags = SA_SIGINFO};
  (void)sigaction(SIGBUS, &lost, NULL);
  const char *name = argc > 1 ? argv[1] : "";
  if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
    print_usage(stdout);
    return CLI_OK;
  }
  if (strcmp(name, "--version") == 0) {
    printf("totalrecall %s\n", tr_version());
    return CLI_OK;
  }
  for (size_t i = 0; i < COMMANDS; ++i)
    if (strcmp(name, commands[i]->name) == 0)
      return commands[i]->run(argc - 1, argv + 1);
  if (*name)
    fprintf(stderr, "totalrecall: no command `%s`\n\n", name);
  print_usage(stderr);
  return CLI_USAGE;
}
