/* totalrecall score: images through a detector. */
#include "datasets/own.h"
#include "host/base/status.h"
#include "host/base/text.h"
#include "host/cli/cli.h"
#include "host/detector/detector.h"
#include "host/harness/evaluate.h"
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct score_arguments {
  tr_detector_options detector;
  const char *out, *maps;
  double threshold; /* NaN: the model's, where it has one */
  long threads;
  const char *const *images;
  size_t image_count;
} score_arguments;

static int parse_threshold(score_arguments *a, const char *text) {
  char *end;
  a->threshold = strtod(text, &end);
  return end != text && !*end && isfinite(a->threshold)
             ? CLI_OK
             : cli_wrong_usage(&cli_score, "--threshold takes a number, found `%s`", text);
}

/* CLI_OK to go on; else the exit code. */
static int parse_option(void *arguments, int c) {
  score_arguments *a = arguments;
  switch (c) {
  case 'o':
    a->out = optarg;
    return CLI_OK;
  case 'm':
    a->maps = optarg;
    return CLI_OK;
  case 'w':
    a->detector.weights = optarg;
    return CLI_OK;
  case 'D':
    a->detector.device = optarg;
    return CLI_OK;
  case 'T':
    return parse_threshold(a, optarg);
  case 't':
    return cli_parse_threads(&cli_score, optarg, &a->threads);
  default:
    return cli_unknown_option(&cli_score);
  }
}

static int parse_arguments(int argc, char **argv, score_arguments *a, bool *help) {
  static const struct option options[] = {{"out", required_argument, NULL, 'o'},
                                          {"maps", required_argument, NULL, 'm'},
                                          {"weights", required_argument, NULL, 'w'},
                                          {"device", required_argument, NULL, 'D'},
                                          {"threshold", required_argument, NULL, 'T'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
  int code = cli_parse_options(argc, argv, options, parse_option, a, help);
  if (code != CLI_OK || *help)
    return code;
  if (argc - optind < 2)
    return cli_wrong_usage(&cli_score, "takes a model and images or folders, found %d arguments", argc - optind);
  a->detector.threads = (int)a->threads;
  a->detector.model = argv[optind];
  a->images = (const char *const *)argv + optind + 1;
  a->image_count = (size_t)(argc - optind - 1);
  return CLI_OK;
}

/* ---- the table of scores, to a file or the terminal ---- */

typedef struct table {
  tr_progress *progress;
  tr_file_writer writer;
  bool to_file, has_threshold;
  float threshold;
  size_t scored, anomalous, unreadable;
} table;

static tr_status write_text(const table *t, const char *text, size_t bytes) {
  if (t->to_file)
    return tr_file_writer_add(&t->writer, text, bytes);
  if (fwrite(text, 1, bytes, stdout) != bytes || fflush(stdout) != 0)
    return tr_fail_errno(TR_EIO, "writing scores to the standard output");
  return TR_OK;
}

static tr_status write_line(const table *t, const char *image, float score) {
  char *text = NULL;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  if (!out)
    return tr_fail(TR_ENOMEM, "writing scores: out of memory");
  tr_scores_write_text(out, image);
  fprintf(out, ",%.9g", (double)score);
  if (t->has_threshold)
    fprintf(out, ",%d", score > t->threshold);
  fputc('\n', out);
  tr_status status = fclose(out) == 0 ? write_text(t, text, bytes) : tr_fail(TR_ENOMEM, "writing scores: out of memory");
  free(text);
  return status;
}

static tr_status take_score(void *context, const tr_scored *scored) {
  table *t = context;
  if (scored->status != TR_OK) {
    ++t->unreadable;
    tr_progress_line(t->progress, "error: %s", scored->error);
    return TR_OK;
  }
  ++t->scored;
  t->anomalous += t->has_threshold && scored->score > t->threshold;
  return write_line(t, scored->sample->path, scored->score);
}

static tr_status write_head(const table *t) {
  const char *head = t->has_threshold ? "image,score,anomalous\n" : "image,score\n";
  return write_text(t, head, strlen(head));
}

static void sum_up(const table *t) {
  char anomalous[64] = "", unreadable[64] = "";
  if (t->has_threshold)
    snprintf(anomalous, sizeof anomalous, ", %zu above %.6g", t->anomalous, (double)t->threshold);
  if (t->unreadable)
    snprintf(unreadable, sizeof unreadable, ", %zu could not be read", t->unreadable);
  tr_progress_line(t->progress, "%zu images scored%s%s", t->scored, anomalous, unreadable);
}

/* ---- work ---- */

static tr_status score(const score_arguments *a, tr_detector *detector, const tr_class *images, table *t) {
  TR_TRY(write_head(t));
  TR_TRY(tr_detector_score_all(detector, &(tr_score_options){.samples = images->test,
                                                             .count = images->test_count,
                                                             .maps = a->maps,
                                                             .scored = take_score,
                                                             .context = t,
                                                             .progress = t->progress}));
  sum_up(t);
  return TR_OK;
}

static tr_status score_into(const score_arguments *a, tr_detector *detector, const tr_class *images, table *t) {
  tr_detector_info info;
  tr_detector_describe(detector, &info);
  t->has_threshold = info.has_threshold || isfinite(a->threshold);
  t->threshold = isfinite(a->threshold) ? (float)a->threshold : info.threshold;
  t->to_file = a->out != NULL;
  if (t->to_file)
    TR_TRY(tr_file_writer_open(a->out, &t->writer));
  tr_status status = score(a, detector, images, t);
  if (!t->to_file)
    return status;
  tr_status closed = tr_file_writer_close(&t->writer, status == TR_OK);
  return status == TR_OK ? closed : status;
}

static int score_images(const score_arguments *a) {
  tr_class images;
  tr_detector *detector = NULL;
  cli_progress *progress = cli_progress_create();
  table t = {.progress = cli_progress_of(progress)};
  tr_status status = tr_images_collect(a->images, a->image_count, &images);
  if (status == TR_OK)
    status = tr_detector_create(&a->detector, &detector);
  if (status == TR_OK) {
    cli_catch_signals();
    status = score_into(a, detector, &images, &t);
  }
  tr_detector_destroy(detector);
  tr_class_free(&images);
  cli_progress_destroy(progress);
  if (status != TR_OK)
    return cli_failed();
  return t.unreadable ? CLI_FAILED : CLI_OK;
}

static int run(int argc, char **argv) {
  const char *weights = getenv("TOTALRECALL_WEIGHTS");
  score_arguments a = {.detector = {.weights = weights ? weights : "weights", .device = "cpu"}, .threshold = NAN};
  bool help = false;
  int code = parse_arguments(argc, argv, &a, &help);
  if (help)
    return cli_print_help(&cli_score);
  return code == CLI_OK ? score_images(&a) : code;
}

const cli_command cli_score = {
    .name = "score",
    .summary = "score images with a fitted detector",
    .run = run,
    .help =
        "usage: totalrecall score MODEL IMAGE|FOLDER... [options]\n\n"
        "Scores images, and all in a folder and below it, with a detector that `totalrecall fit` wrote; the higher, the more "
        "anomalous.\n"
        "Nothing else is needed but the weights that it was fitted with, and no others are accepted.\n\n"
        "  --out FILE         (default: the standard output) image,score and, where there is a threshold, anomalous: 1 above it\n"
        "  --threshold T      instead of the model's own, which `fit --quantile` stores\n"
        "  --maps DIR         draws DIR/<folder>/<image>.png: image, and heat map over it. The colours mean the same in all; "
        "they are\n"
        "                     set by the images that the model's threshold was taken from, else by the first ones scored (64, or "
        "as\n"
        "                     many as a GPU takes at a time)\n"
        "  --weights PATH     weight file, or folder to search by architecture (default: $TOTALRECALL_WEIGHTS, else ./weights)\n"
        "  --device NAME      cpu (default), cuda, cuda:N\n"
        "  --threads N        (default: all processors)\n\n"
        "An image that cannot be read is told and left out. Exit code: 0 all scored, 1 not all, 2 wrong usage.\n",
};
