/* totalrecall merge: brings results folders together. */
#include "host/harness/merge.h"
#include "host/cli/cli.h"
#include <getopt.h>
#include <stdio.h>

static int merge(const char *out, const tr_strings *in) {
  cli_progress *progress = cli_progress_create();
  tr_merge_summary s;
  tr_status status = tr_results_merge(out, in, cli_progress_of(progress), &s);
  cli_progress_destroy(progress);
  if (status != TR_OK)
    return cli_failed();
  printf("%s: %zu lines in %zu files, %zu of them new; %zu doubles", out, s.lines, s.files, s.added, s.doubles);
  if (s.scores)
    printf(", %zu files of scores", s.scores);
  if (s.left_out)
    printf(", %zu unreadable lines left out", s.left_out);
  printf("\n");
  if (s.conflicts)
    fprintf(stderr, "totalrecall: %zu conflicts\n", s.conflicts);
  return s.conflicts ? CLI_FAILED : CLI_OK;
}

static int run(int argc, char **argv) {
  static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
  for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;)
    return c == 'h' ? cli_print_help(&cli_merge) : cli_unknown_option(&cli_merge);
  if (argc - optind < 2)
    return cli_wrong_usage(&cli_merge, "takes a results folder and those to bring into it, found %d folders", argc - optind);
  tr_strings in = {0};
  tr_status status = TR_OK;
  for (int i = optind + 1; status == TR_OK && i < argc; ++i)
    status = tr_strings_add(&in, argv[i]);
  int code = status == TR_OK ? merge(argv[optind], &in) : cli_failed();
  tr_strings_free(&in);
  return code;
}

const cli_command cli_merge = {
    .name = "merge",
    .summary = "bring results folders of several machines or shards together",
    .run = run,
    .help = "usage: totalrecall merge OUT IN...\n\n"
            "Brings the result lines of the folders IN into the folder OUT, which may hold lines already or be made now: per\n"
            "machine and experiment one file, sorted by date; files of scores (IN/<processor>/scores) are copied. The same work\n"
            "with the same numbers is kept once, the earliest. The same work with other numbers is a conflict: it is reported,\n"
            "and the file in OUT stays as it was. Torn lines are left out with a warning. Exit code: 0 merged, 1 conflicts or\n"
            "failure, 2 wrong usage.\n\n"
            "Shards on machines without a common disk need no more than this:\n"
            "  totalrecall run E.yaml --shard 1/2 --results a    on one machine\n"
            "  totalrecall run E.yaml --shard 2/2 --results b    on another\n"
            "  totalrecall merge results a b                     where both folders are\n",
};
