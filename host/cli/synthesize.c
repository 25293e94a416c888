/* totalrecall synthesize: draws the synthetic data set. */
#include "datasets/dataset.h"
#include "host/cli/cli.h"
#include <getopt.h>
#include <stdio.h>

static int run(int argc, char **argv) {
  static const struct option options[] = {{"class", required_argument, NULL, 'c'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"train", required_argument, NULL, 't'},
                                          {"good", required_argument, NULL, 'g'},
                                          {"per-defect", required_argument, NULL, 'd'},
                                          {"size", required_argument, NULL, 'p'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
  tr_synthesize_options synthesize = {0};
  for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
    long number = 0;
    if (c == 'h')
      return cli_print_help(&cli_synthesize);
    if (c == '?')
      return cli_unknown_option(&cli_synthesize);
    if (c == 'c') {
      synthesize.class_name = optarg;
      continue;
    }
    if (!cli_parse_number(optarg, c == 's' ? 0 : 1, c == 's' ? 0x7fffffff : 100000, &number))
      return cli_wrong_usage(&cli_synthesize, "`%s` is not a number that is possible here", optarg);
    if (c == 's')
      synthesize.seed = (uint64_t)number;
    else
      *(c == 't'   ? &synthesize.train
        : c == 'g' ? &synthesize.good
        : c == 'd' ? &synthesize.per_defect
                   : &synthesize.size) = (int)number;
  }
  if (argc - optind != 1)
    return cli_wrong_usage(&cli_synthesize, "takes one folder to draw into, found %d arguments", argc - optind);
  if (tr_synthesize(argv[optind], &synthesize) != TR_OK)
    return cli_failed();
  printf("drawn into %s\n", argv[optind]);
  return CLI_OK;
}

const cli_command cli_synthesize = {
    .name = "synthesize",
    .summary = "draw the synthetic data set",
    .run = run,
    .help =
        "usage: totalrecall synthesize OUT [--class NAME] [--seed N] [--train N] [--good N] [--per-defect N] [--size PIXELS]\n\n"
        "Draws texture and object classes with defects and exact masks into OUT, in the layout of MVTec AD. The same seed\n"
        "gives the same files.\n\n"
        "  --class NAME     only this class: board, capsule, cloth, granite or nut\n"
        "  --seed N         (default 0)\n"
        "  --train N        training images of a class\n"
        "  --good N         good test images of a class\n"
        "  --per-defect N   test images of each kind of defect\n"
        "  --size PIXELS    side of an image\n",
};
