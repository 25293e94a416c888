/* The thread-local error text. */
#include "host/base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char error_text[TR_ERROR_TEXT_BYTES];

const char *tr_status_name(tr_status status) {
  switch (status) {
  case TR_OK:
    return "ok";
  case TR_EINVAL:
    return "invalid argument";
  case TR_EIO:
    return "input/output error";
  case TR_EFORMAT:
    return "bad format";
  case TR_ENOMEM:
    return "out of memory";
  case TR_EDEVICE:
    return "device error";
  case TR_ECANCELED:
    return "cancelled";
  case TR_EINTERNAL:
    return "internal error";
  }
  return "unknown status";
}

const char *tr_last_error(void) {
  return error_text;
}

const char *tr_version(void) {
  return TR_VERSION;
}

void tr_error_set_text(const char *text) {
  snprintf(error_text, sizeof error_text, "%s", text);
}

static void set_text(const char *format, va_list arguments, const char *separator, const char *tail) {
  char text[TR_ERROR_TEXT_BYTES];
  vsnprintf(text, sizeof text, format, arguments);
  size_t used = strlen(text);
  snprintf(text + used, sizeof text - used, "%s%s", separator, tail);
  tr_error_set_text(text);
}

int tr_error_set(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  set_text(format, arguments, "", "");
  va_end(arguments);
  return 0;
}

int tr_error_set_errno(const char *format, ...) {
  char reason[128];
  const char *text = strerror_r(errno, reason, sizeof reason);
  va_list arguments;
  va_start(arguments, format);
  set_text(format, arguments, ": ", text);
  va_end(arguments);
  return 0;
}

int tr_error_add_context(const char *format, ...) {
  char before[TR_ERROR_TEXT_BYTES];
  memcpy(before, error_text, sizeof before);
  va_list arguments;
  va_start(arguments, format);
  set_text(format, arguments, ": ", before);
  va_end(arguments);
  return 0;
}
