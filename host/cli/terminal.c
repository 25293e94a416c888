/* What the program shows while it works, and how it is stopped. */
#include "host/base/clock.h"
#include "host/cli/cli.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TERMINAL_INTERVAL 0.1 /* seconds between two drawings */
#define LOG_INTERVAL      5.0 /* seconds between two plain lines */

struct cli_progress {
  tr_progress progress;
  bool terminal, drawn; /* drawn: the terminal shows a progress line now */
  char stage[96];
  double stage_began, shown;
  size_t began_at; /* items done when the stage was first seen */
  size_t done;     /* as told last */
};

static void erase(cli_progress *p) {
  if (p->drawn)
    fputs("\r\033[K", stderr);
  p->drawn = false;
}

static void format_duration(double seconds, char *out, size_t bytes) {
  long s = (long)(seconds + 0.5);
  if (s < 60)
    snprintf(out, bytes, "%ld s", s);
  else if (s < 3600)
    snprintf(out, bytes, "%ld min %02ld s", s / 60, s % 60);
  else
    snprintf(out, bytes, "%ld h %02ld min", s / 3600, s / 60 % 60);
}

/* "bottle: training images 57/209, 14.2 images/s, 11 s left" */
static void format_line(const cli_progress *p, double now, size_t done, size_t total, const char *unit, char *out, size_t bytes) {
  int used = snprintf(out, bytes, "%s %zu/%zu", p->stage, done, total);
  double passed = now - p->stage_began;
  if (done <= p->began_at || passed < 0.2 || used < 0 || (size_t)used >= bytes)
    return;
  double rate = (double)(done - p->began_at) / passed;
  char left[32];
  format_duration((double)(total - done) / rate, left, sizeof left);
  snprintf(out + used, bytes - (size_t)used, ", %.*f %s/s, %s left", rate < 10 ? 1 : 0, rate, unit, left);
}

static void update(tr_progress *self, const char *stage, size_t done, size_t total, const char *unit) {
  cli_progress *p = self->user;
  double now = tr_seconds();
  bool again = done < p->done; /* the next selection of the same class */
  p->done = done;
  if (again || strncmp(p->stage, stage, sizeof p->stage - 1) != 0) {
    snprintf(p->stage, sizeof p->stage, "%s", stage);
    p->stage_began = now;
    p->began_at = done;
  }
  if (now - p->shown < (p->terminal ? TERMINAL_INTERVAL : LOG_INTERVAL))
    return;
  p->shown = now;
  char text[256];
  format_line(p, now, done, done < total ? total : done, unit, text, sizeof text);
  if (p->terminal)
    fprintf(stderr, "\r\033[K%.120s", text);
  else
    fprintf(stderr, "%s\n", text);
  p->drawn = p->terminal;
  fflush(stderr);
}

static void line(tr_progress *self, const char *text) {
  cli_progress *p = self->user;
  erase(p);
  fprintf(stderr, "%s\n", text);
  fflush(stderr);
}

cli_progress *cli_progress_create(void) {
  cli_progress *p = calloc(1, sizeof *p);
  if (!p)
    return NULL;
  p->progress = (tr_progress){.update = update, .line = line, .user = p};
  const char *kind = getenv("TERM");
  p->terminal = isatty(STDERR_FILENO) && kind && strcmp(kind, "dumb") != 0;
  p->shown = tr_seconds(); /* what ends sooner than the first interval needs no line */
  return p;
}

tr_progress *cli_progress_of(cli_progress *progress) {
  return progress ? &progress->progress : NULL;
}

void cli_progress_destroy(cli_progress *progress) {
  if (!progress)
    return;
  erase(progress);
  fflush(stderr);
  free(progress);
}

static void stop(int number) {
  static const char text[] = "\ntotalrecall: stopping; finished results are kept (once more to end at once)\n";
  if (tr_cancel_requested()) {
    signal(number, SIG_DFL);
    raise(number);
    return;
  }
  tr_cancel_request();
  ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
  (void)ignored;
}

void cli_catch_signals(void) {
  struct sigaction action = {.sa_handler = stop};
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}
