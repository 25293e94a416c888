/* Progress and cancellation. The library reports; the program draws. Called from any thread, one call at a time. */
#ifndef TR_BASE_PROGRESS_H
#define TR_BASE_PROGRESS_H

#include "host/totalrecall.h"

typedef struct tr_progress tr_progress;
struct tr_progress {
  /* `stage` is a literal such as "features"; done of total in `unit` ("images", "picks"). May be NULL. */
  void (*update)(tr_progress *self, const char *stage, size_t done, size_t total, const char *unit);
  /* A whole line for the log: a warning, a class finished. May be NULL. */
  void (*line)(tr_progress *self, const char *text);
  void *user;
};

/* Each takes NULL. */
void tr_progress_update(tr_progress *progress, const char *stage, size_t done, size_t total, const char *unit);
void tr_progress_line(tr_progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Set from a signal handler; long loops ask it and return TR_ECANCELED. */
void tr_cancel_request(void);
void tr_cancel_clear(void);
bool tr_cancel_requested(void);

#endif
