/* What a plan will take: seconds from rates of work, which are measured on small pieces of the real work or stated for a machine that is
 * not here; and the plan as text. */
#ifndef TR_HARNESS_PROFILE_H
#define TR_HARNESS_PROFILE_H

#include "host/harness/plan.h"

/* Rates of the whole device, all lanes together; 0: not known. */
typedef struct tr_profile {
  double decode_pixels; /* source pixels decoded and resized per second */
  double backbone_macs; /* multiply-adds per second of backbones that are not in `backbones` */
  double *backbones;    /* [plan->weights_count]: of each, 0 where it was not measured; or NULL */
  double *decoders;     /* [plan->class_count]: as decode_pixels, of each class's files, 0 where it was not measured; or NULL */
  double search_macs;   /* multiply-adds of products with packed rows per second: searches, selections */
  double metric_pixels; /* pixels of anomaly maps smoothed and evaluated per second */
  double file_bytes;    /* of a temporary file, written to the disk or read, per second */
  double memory_bytes;  /* of host memory that is touched for the first time, per second */
  double seconds;       /* that measuring took */
  bool gpu; /* which works alone: images are decoded meanwhile (host/harness/ring.h), and searches are whole products */
  bool decode_assumed; /* no image could be read */
} tr_profile;

/* Takes a second or two, less where images are small. Backbones without weights are measured with random ones. */
tr_status tr_profile_measure(tr_device *device, const tr_plan *plan, tr_profile *out);
/* Its rate of a temporary file, in $TMPDIR or /tmp, written to the disk and read again; tr_profile_measure() measures it only for a plan
 * that has such files. */
tr_status tr_profile_measure_file(tr_profile *profile);
void tr_profile_free(tr_profile *profile);

/* Of a processor with a few cores, for comparing work on machines that must agree; not for seconds. */
tr_profile tr_profile_common(void);
/* An H100 SXM with 16 processor cores for the images, from stated constants (seconds.c). */
tr_profile tr_profile_h100(void);
/* The constants in words, for the end of a plan. */
const char *tr_profile_h100_text(void);

/* Seconds expected of a pass; 0 where the rate is not known. */
tr_pass_seconds tr_profile_pass(const tr_profile *profile, const tr_plan *plan, const tr_pass *pass);
/* Of what a run's line measures: its pass, and its own stages. `pass` is of the pass with `metrics` of so many of its variants. */
tr_run_forecast tr_profile_run(const tr_profile *profile, const tr_plan *plan, const tr_pass *pass, const tr_group *group,
                               size_t run, size_t variants);
/* The same as tr_profile_pass() if each run had a pass to itself and shared nothing. */
tr_pass_seconds tr_profile_alone(const tr_profile *profile, const tr_plan *plan, const tr_pass *pass);

/* "forecast 43.1 s (decode 5.3, …), peak 640 MiB; took 38.9 s (4.6, …), peak 631 MiB; forecast/measured 1.11, 1.01", with what others had of
 * the processors; `text` has TR_COMPARISON_BYTES. `measured` may have a total alone. Returns `text`. */
enum { TR_COMPARISON_BYTES = 512 };
const char *tr_profile_compare(const tr_pass_seconds *forecast, const tr_pass_seconds *measured, size_t forecast_bytes,
                               size_t peak_bytes, double other_load, char *text);

/* The tree. malloc'd. */
tr_status tr_plan_text(const tr_plan *plan, const tr_profile *profile, char **out);

#endif
