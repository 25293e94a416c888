/* Error text: set where a failure is seen, extended by the callers who know the file or the class. */
#ifndef TR_BASE_STATUS_H
#define TR_BASE_STATUS_H

#include "host/totalrecall.h"

/* Sets the calling thread's error text and returns `status`, so that `return tr_fail(TR_EIO, "…")` reads as one step. */
tr_status tr_fail(tr_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As tr_fail with ": <strerror(errno)>" appended; errno is read first. */
tr_status tr_fail_errno(tr_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "<text>: " before the error text that is there, and returns `status`. */
tr_status tr_fail_context(tr_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Replaces the thread's error text (used to carry a worker's error to its caller). */
void tr_error_set_text(const char *text);

#define TR_ERROR_TEXT_BYTES 1024

#define TR_TRY(expression)                   \
  do {                                       \
    tr_status tr_try_status_ = (expression); \
    if (tr_try_status_ != TR_OK)             \
      return tr_try_status_;                 \
  } while (0)

#endif
