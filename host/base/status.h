/* Error text: set where a failure is seen, extended by the callers who know the file or the class. */
#ifndef TR_BASE_STATUS_H
#define TR_BASE_STATUS_H

#include "host/totalrecall.h"

/* tr_fail(status, format, ...): sets the calling thread's error text and gives `status`, so that `return tr_fail(TR_EIO, "…")`
 * reads as one step. tr_fail_errno: the same with ": <strerror(errno)>" appended; errno is read first. tr_fail_context: puts
 * "<text>: " before the error text that is there. Macros around a function that returns what it is given, so that compilers and
 * analysers see that a failure is never TR_OK. */
#define tr_fail(status, ...)         tr_failed((status), tr_error_set(__VA_ARGS__))
#define tr_fail_errno(status, ...)   tr_failed((status), tr_error_set_errno(__VA_ARGS__))
#define tr_fail_context(status, ...) tr_failed((status), tr_error_add_context(__VA_ARGS__))

int tr_error_set(const char *format, ...) __attribute__((format(printf, 1, 2)));
int tr_error_set_errno(const char *format, ...) __attribute__((format(printf, 1, 2)));
int tr_error_add_context(const char *format, ...) __attribute__((format(printf, 1, 2)));

static inline tr_status tr_failed(tr_status status, int text_is_set) {
  (void)text_is_set;
  return status;
}

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
