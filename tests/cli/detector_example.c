/* Scores images through the C library: detector_example MODEL WEIGHTS IMAGE... */
#include <stdio.h>
#include <totalrecall.h>

int main(int argc, char **argv) {
  tr_detector *detector;
  if (argc < 4)
    return 2;
  if (tr_detector_create(&(tr_detector_options){.model = argv[1], .weights = argv[2]}, &detector) != TR_OK) {
    fprintf(stderr, "%s\n", tr_last_error());
    return 1;
  }
  int failed = 0;
  for (int i = 3; i < argc; ++i) {
    float score;
    if (tr_detector_score_file(detector, argv[i], &score, NULL) == TR_OK) {
      printf("%s,%.9g\n", argv[i], (double)score);
    } else {
      fprintf(stderr, "%s\n", tr_last_error());
      failed = 1;
    }
  }
  tr_detector_destroy(detector);
  return failed;
}
