/* Progress: one call at a time; cancellation: one flag. */
#include "host/base/progress.h"

#include "host/base/status.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile sig_atomic_t cancel;

void tr_progress_update(tr_progress *progress, const char *stage, size_t done, size_t total, const char *unit) {
  if (!progress || !progress->update)
    return;
  pthread_mutex_lock(&lock);
  progress->update(progress, stage, done, total, unit);
  pthread_mutex_unlock(&lock);
}

void tr_progress_line(tr_progress *progress, const char *format, ...) {
  if (!progress || !progress->line)
    return;
  char text[TR_ERROR_TEXT_BYTES];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  pthread_mutex_lock(&lock);
  progress->line(progress, text);
  pthread_mutex_unlock(&lock);
}

void tr_cancel_request(void) {
  cancel = 1;
}
void tr_cancel_clear(void) {
  cancel = 0;
}
bool tr_cancel_requested(void) {
  return cancel != 0;
}
