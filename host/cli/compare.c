/* totalrecall compare: whether two runs' image AUROC differ beyond chance. */
#include "host/cli/cli.h"
#include "host/metrics/bootstrap.h"
#include "host/report/scores.h"
#include <getopt.h>
#include <stdio.h>

static const char *verdict(const tr_auroc_difference *d) {
  if (d->low == 0 && d->high == 0)
    return "equal";
  return d->low > 0 ? "the first is better" : d->high < 0 ? "the second is better" : "may be chance";
}

static void print_result(const char *const paths[2], const tr_image_scores *scores, const tr_auroc_difference *d) {
  size_t anomalous = 0;
  for (size_t i = 0; i < scores->count; ++i)
    anomalous += scores->anomalous[i];
  printf("%zu good and %zu anomalous images\n", scores->count - anomalous, anomalous);
  printf("image AUROC %.4f  %s\nimage AUROC %.4f  %s\n", d->a, paths[0], d->b, paths[1]);
  printf("difference  %+.4f, 95 %% interval %+.4f to %+.4f (%d paired draws): %s\n", d->a - d->b, d->low, d->high,
         TR_BOOTSTRAP_DRAWS, verdict(d));
}

static int compare(const char *const paths[2]) {
  tr_image_scores a, b = {0};
  if (tr_image_scores_read(paths[0], &a) != TR_OK)
    return cli_failed();
  tr_status status = tr_image_scores_read(paths[1], &b);
  if (status == TR_OK)
    status = tr_image_scores_paired(&a, &b);
  tr_auroc_difference difference;
  const float *scores_a = a.score, *scores_b = b.score;
  tr_paired_scores pair = {a.anomalous, &scores_a, &scores_b, a.count, 1};
  if (status == TR_OK)
    status = tr_bootstrap_auroc(&pair, 1, TR_BOOTSTRAP_DRAWS, 0, &difference);
  if (status == TR_OK)
    print_result(paths, &a, &difference);
  tr_image_scores_free(&a);
  tr_image_scores_free(&b);
  return status == TR_OK ? CLI_OK : cli_failed();
}

static int run(int argc, char **argv) {
  static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
  int c = getopt_long(argc, argv, "h", options, NULL);
  if (c != -1)
    return c == 'h' ? cli_print_help(&cli_compare) : cli_unknown_option(&cli_compare);
  if (argc - optind != 2)
    return cli_wrong_usage(&cli_compare, "takes two files of scores, found %d", argc - optind);
  const char *const paths[2] = {argv[optind], argv[optind + 1]};
  return compare(paths);
}

const cli_command cli_compare = {
    .name = "compare",
    .summary = "tell whether two runs differ beyond chance",
    .run = run,
    .help = "usage: totalrecall compare A.csv B.csv\n\n"
            "Image AUROC of two files of scores (image, label, score; `run --scores` writes them) of the same test images, and "
            "how far\n"
            "their difference may be an accident of which images those are: 2,000 draws of as many good and as many anomalous "
            "images,\n"
            "the same for both files, and the central 95 % of the differences.\n",
};
