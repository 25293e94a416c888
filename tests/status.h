/* Assertions on a status, with the error's text where they fail. Included after cmocka's header. */
#ifndef TR_TESTS_STATUS_H
#define TR_TESTS_STATUS_H

#include "host/base/status.h"

#include <string.h>

static inline void assert_ok(tr_status status) {
  if (status != TR_OK)
    fail_msg("%s", tr_last_error());
}

/* The error's text has to say `named`. */
static inline void assert_refused(tr_status status, tr_status expected, const char *named) {
  assert_int_equal(status, expected);
  if (!strstr(tr_last_error(), named))
    fail_msg("\"%s\" does not say \"%s\"", tr_last_error(), named);
}

#endif
