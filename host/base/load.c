/* /proc/stat less our own getrusage. */
#include "host/base/load.h"
#include "host/base/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* The columns of a "cpu" line. Guests' time is in user's and nice's already; kernels before 2.6.11 have no `steal`. */
enum { USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL, COLUMNS };

static double sum_busy(const char *numbers, bool *read) {
  double sum = 0;
  for (int column = 0; column < COLUMNS; ++column) {
    char *end;
    unsigned long long value = strtoull(numbers, &end, 10);
    if (end == numbers)
      break;
    numbers = end;
    sum += column == IDLE || column == IOWAIT ? 0 : (double)value;
    *read = *read || column == IDLE;
  }
  return sum;
}

bool tr_load_parse(const char *text, double ticks, tr_load *out) {
  bool read = false;
  out->processors = 0;
  for (const char *line = text; strncmp(line, "cpu", 3) == 0; ++line) {
    if (line[3] == ' ')
      out->busy = sum_busy(line + 3, &read) / ticks;
    else
      ++out->processors;
    line += strcspn(line, "\n");
    if (!*line)
      break;
  }
  return read && out->processors > 0;
}

/* The lines of the processors come first; a machine with a thousand of them takes some 100 KB. */
static bool read_machine(tr_load *out) {
  enum { ROOM = 1 << 18 };
  char *text = malloc(ROOM);
  FILE *file = fopen("/proc/stat", "r");
  size_t bytes = text && file ? fread(text, 1, ROOM - 1, file) : 0;
  if (text)
    text[bytes] = '\0';
  bool known = bytes > 0 && tr_load_parse(text, (double)sysconf(_SC_CLK_TCK), out);
  if (file)
    fclose(file);
  free(text);
  return known;
}

static double seconds_of(const struct rusage *usage) {
  return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
         1e-6 * (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);
}

tr_load tr_load_now(void) {
  tr_load now = {.clock = tr_seconds()};
  struct rusage self, children;
  now.known = read_machine(&now) && getrusage(RUSAGE_SELF, &self) == 0 && getrusage(RUSAGE_CHILDREN, &children) == 0;
  if (now.known)
    now.own = seconds_of(&self) + seconds_of(&children);
  return now;
}

double tr_load_of_others(const tr_load *begin, const tr_load *end) {
  double all = (end->clock - begin->clock) * end->processors;
  if (!begin->known || !end->known || !(all > 0))
    return NAN;
  double others = end->busy - begin->busy - (end->own - begin->own);
  return fmin(fmax(others / all, 0), 1);
}
