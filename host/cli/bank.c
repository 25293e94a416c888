/* totalrecall bank: memory banks out of models, and into them. */
#include "host/detector/bank.h"
#include "host/cli/cli.h"
#include "host/detector/bank_file.h"
#include <float.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
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

int cli_parse_goal(const cli_command *command, int option, const char *text, tr_bank_goal *out) {
  long rows = 0;
  char *end;
  if (out->percent > 0 || out->rows || out->radius > 0)
    return cli_wrong_usage(command, "one of --percent, --rows and --radius says how large the bank is to be");
  if (option == 'k') {
    if (!cli_parse_number(text, 1, UINT32_MAX - 1L, &rows))
      return cli_wrong_usage(command, "--rows takes a number from 1 on, found `%s`", text);
    out->rows = (size_t)rows;
    return CLI_OK;
  }
  double value = strtod(text, &end);
  if (end == text || *end || !(value > 0) || !(value <= (option == 'p' ? 100 : FLT_MAX)))
    return option == 'p' ? cli_wrong_usage(command, "--percent takes a number above 0 and up to 100, found `%s`", text)
                         : cli_wrong_usage(command, "--radius takes a number above 0, found `%s`", text);
  *(option == 'p' ? &out->percent : &out->radius) = value;
  return CLI_OK;
}

static int move_rows(int argc, char **argv) {
  static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
  for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;)
    return c == 'h' ? cli_print_help(&cli_bank) : cli_unknown_option(&cli_bank);
  int count = argc - optind;
  bool export = count == 3 && strcmp(argv[optind], "export") == 0, import = count == 4 && strcmp(argv[optind], "import") == 0;
  if (!export && !import)
    return cli_wrong_usage(
        &cli_bank, "takes export MODEL FILE, import MODEL FILE NEW, origins MODEL, merge MODEL MODEL... or threshold MODEL");
  tr_device *device;
  if (tr_device_open("cpu", 0, &device) != TR_OK)
    return cli_failed();
  tr_status status = run_with(device, import, argv + optind + 1);
  tr_device_close(device);
  return status == TR_OK ? CLI_OK : cli_failed();
}

static int run(int argc, char **argv) {
  static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
  } commands[] = {{"origins", cli_bank_origins}, {"merge", cli_bank_merge}, {"threshold", cli_bank_threshold}};
  for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; ++i)
    if (strcmp(argv[1], commands[i].name) == 0)
      return commands[i].run(argc - 1, argv + 1);
  return move_rows(argc, argv);
}

const cli_command cli_bank = {
    .name = "bank",
    .summary = "memory banks out of models and into them; where their rows came from",
    .run = run,
    .help =
        "usage: totalrecall bank export MODEL FILE\n"
        "       totalrecall bank import MODEL FILE NEW\n"
        "       totalrecall bank origins MODEL [--csv FILE] [--pictures DIR] [--top N] [--images FOLDER]...\n"
        "       totalrecall bank merge MODEL MODEL... --out NEW [--percent P | --rows N | --radius R]\n"
        "       totalrecall bank threshold MODEL --quantile Q --held-out PATH --out NEW\n\n"
        "MODEL is what `totalrecall fit` wrote by PatchCore. One with a bank for each position of a tile (tile.bank=position) "
        "is\n"
        "taken by threshold only.\n\n"
        "export, import: FILE is NumPy's where it ends with .npy: floats [rows, d]; else an index of FAISS, which python's\n"
        "faiss.read_index and write_index take. A bank of a model without an index goes out as a flat one. NEW is MODEL with "
        "the\n"
        "rows of FILE, as many as there are, searched exactly, and without a threshold; of an index that keeps codes the rows "
        "are\n"
        "what the codes say.\n\n"
        "origins: the training images that the rows came from, sorted by the distance of an image's rows to the nearest row of\n"
        "another image; z is that distance less the median of all rows, over 1.4826 times the median absolute deviation. Greedy\n"
        "selection takes first what is far from everything: an image with a defect among the nominal ones stands at the top.\n"
        "  --csv FILE         all rows: row,image,patch_y,patch_x,distance,z,nearest_row,nearest_image\n"
        "  --pictures DIR     draws the images of the N farthest rows with a box around each of these patches\n"
        "  --top N            (default: 20)\n"
        "  --images FOLDER    where the training images lie now, if not where they did; once for each fit and append, in "
        "order\n\n"
        "merge: the rows of several models of one setting and the same weights, as one bank; without a threshold. All shards of "
        "a\n"
        "fit give the same file in any order. Without a size the bank has all rows; else they are\n"
        "selected greedily once more, and the new covering radius is told: at most the largest of the models' own and what the\n"
        "selection leaves, together, and at most 4 times what the best choice of as many rows from all patches would have, "
        "where\n"
        "each model had as many rows at least.\n"
        "  --percent P        of the patches of all training images\n"
        "  --rows N\n"
        "  --radius R         as few rows as leave no patch farther than that from its nearest row\n"
        "  --device NAME, --threads N\n\n"
        "threshold: NEW is MODEL, of any method, with a threshold from nominal images that it was not fitted on, a folder or "
        "file,\n"
        "as `totalrecall fit --help` has it. What imports, merges or appends leaves a model without one, as it is another bank.\n"
        "  --weights PATH, --device NAME, --threads N   as of `totalrecall score`\n",
};
