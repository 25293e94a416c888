/* totalrecall verify: looks at every file of a data set and prints what is wrong with it. */
#include "datasets/dataset.h"
#include "host/cli/cli.h"
#include <getopt.h>
#include <stdio.h>

static void print_finding(void *context, bool is_error, const char *class_name, const char *text) {
  (void)context;
  printf("%s: %s: %s\n", is_error ? "error" : "remark", class_name ? class_name : "data set", text);
}

static int verify(const tr_dataset_options *options) {
  tr_dataset *dataset;
  if (tr_dataset_open(options, &dataset) != TR_OK)
    return cli_failed();
  size_t errors = 0;
  tr_status status = tr_dataset_verify(dataset, print_finding, NULL, &errors);
  if (status == TR_OK)
    printf("%s: %zu classes, %zu errors\n", tr_dataset_folder(dataset), tr_dataset_classes(dataset)->count, errors);
  tr_dataset_close(dataset);
  if (status != TR_OK)
    return cli_failed();
  return errors ? CLI_FAILED : CLI_OK;
}

static int run(int argc, char **argv) {
  static const struct option options[] = {
      {"split-file", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
  tr_dataset_options dataset = {0};
  for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
    if (c == 'h')
      return cli_print_help(&cli_verify);
    if (c != 's')
      return cli_unknown_option(&cli_verify);
    dataset.split_file = optarg;
  }
  if (argc - optind != 2)
    return cli_wrong_usage(&cli_verify, "takes a data set and its folder, found %d arguments", argc - optind);
  dataset.kind = argv[optind];
  dataset.root = argv[optind + 1];
  return verify(&dataset);
}

const cli_command cli_verify = {
    .name = "verify",
    .summary = "check a data set: missing, broken, duplicated or unpaired files",
    .run = run,
    .help = "usage: totalrecall verify DATASET ROOT [--split-file FILE]\n\n"
            "DATASET is mvtec, mtd, mstc, folder, synthetic or synthetic_mstc; ROOT its folder, or the folder that holds it.\n"
            "Prints a line per finding. Exit code 1 when there is an error: a folder that is missing, an image that cannot be\n"
            "decoded, an image that stands in train and test, a defect without a mask or a mask without a defect, a mask of\n"
            "another size, counts that differ from the official ones.\n\n"
            "  --split-file FILE   mtd: the names of the training images (default: differnet_train.txt beside the data)\n",
};
