/* Heat maps for the report's page: of each class the ones that `run --maps` drew and that show best and worst what a run can do.
 *
 * The choice goes by the scores that `run --scores` left: the defect with the highest score, the defect with the lowest, and the image
 * without a defect with the highest. */
#ifndef TR_REPORT_HEATMAPS_H
#define TR_REPORT_HEATMAPS_H

#include "host/base/text.h"
#include "host/report/runs.h"

enum { TR_HEAT_MAPS_OF_CLASS = 3 };

typedef struct tr_heat_map {
  const char *role; /* "clearest defect" */
  char *image;      /* its path below the class's folder, as in the table of scores */
  double score;
  bool anomalous;
  size_t beaten, others; /* images of the other kind, and of them those on the right side of this one's score */
  uint8_t *jpeg;         /* image, heat map over it, mask, side by side */
  size_t bytes;
  int h, w;
} tr_heat_map;

typedef struct tr_heat_map_class {
  const tr_result *result; /* the run that they are of; the memory of `runs` */
  tr_heat_map items[TR_HEAT_MAPS_OF_CLASS];
  size_t count;
} tr_heat_map_class;

typedef struct tr_heat_maps {
  tr_heat_map_class *items; /* by data set, class and method */
  size_t count;
  tr_runs runs;
} tr_heat_maps;

/* Looks for <maps>/<run>/<class>/ in each folder of `maps` and in <results>/<machine>/maps of all machines, and for
 * <scores>/<run>_<class>.csv likewise. Of several runs of a class and method the one with the highest image AUROC is taken. Runs that
 * <results> has no line of, or without scores, are left out with a warning. */
tr_status tr_heat_maps_read(const char *results, const tr_strings *maps, const tr_strings *scores, tr_progress *progress,
                            tr_heat_maps *out);
void tr_heat_maps_free(tr_heat_maps *heat_maps);

#endif
