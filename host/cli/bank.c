/* totalrecall bank: memory banks out of models, and into them. */
#include "host/detector/bank.h"
#include "host/cli/cli.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

static tr_status run_with(tr_device *device, bool import, char **files) {
  size_t rows;
  if (!import)
    return tr_bank_export(device, files[0], files[1]);
  tr_status status = tr_bank_import(device, files[0], files[1], files[2], &rows);
  if (status == TR_OK)
    printf("%s: %zu rows\n", files[2], rows);
  return status;
}

static int run(int argc, char **argv) {
  static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
  for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;)
    return c == 'h' ? cli_print_help(&cli_bank) : cli_unknown_option(&cli_bank);
  int count = argc - optind;
  bool export = count == 3 && strcmp(argv[optind], "export") == 0, import = count == 4 && strcmp(argv[optind], "import") == 0;
  if (!export && !import)
    return cli_wrong_usage(&cli_bank, "takes export MODEL FILE, or import MODEL FILE NEW");
  tr_device *device;
  if (tr_device_open("cpu", 0, &device) != TR_OK)
    return cli_failed();
  tr_status status = run_with(device, import, argv + optind + 1);
  tr_device_close(device);
  return status == TR_OK ? CLI_OK : cli_failed();
}

const cli_command cli_bank = {
    .name = "bank",
    .summary = "take the memory bank out of a model, or put another into it",
    .run = run,
    .help =
        "usage: totalrecall bank export MODEL FILE\n"
        "       totalrecall bank import MODEL FILE NEW\n\n"
        "MODEL is what `totalrecall fit` wrote by PatchCore. FILE is NumPy's where it ends with .npy: floats [rows, d]; else an\n"
        "index of FAISS, which python's faiss.read_index and write_index take. A bank of a model without an index goes out as "
        "a\n"
        "flat one. NEW is MODEL with the rows of FILE, as many as there are, searched exactly, and without a threshold; of an\n"
        "index that keeps codes the rows are what the codes say.\n",
};
