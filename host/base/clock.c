/* Time, peak memory, processor. */
#include "host/base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

double tr_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void tr_date_utc(char out[21]) {
  time_t now = time(NULL);
  struct tm parts;
  gmtime_r(&now, &parts);
  strftime(out, 21, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

/* A "Name:  123 kB" line of /proc/self/status; 0 where there is none. */
static size_t status_kib(const char *name) {
  FILE *file = fopen("/proc/self/status", "r");
  if (!file)
    return 0;
  char line[256];
  size_t kib = 0, length = strlen(name);
  while (fgets(line, sizeof line, file))
    if (strncmp(line, name, length) == 0 && line[length] == ':') {
      kib = strtoul(line + length + 1, NULL, 10);
      break;
    }
  fclose(file);
  return kib;
}

size_t tr_memory_peak_bytes(void) {
  size_t kib = status_kib("VmHWM");
  if (kib)
    return kib * 1024;
  struct rusage usage;
  return getrusage(RUSAGE_SELF, &usage) == 0 ? (size_t)usage.ru_maxrss * 1024 : 0;
}

size_t tr_memory_now_bytes(void) {
  return status_kib("VmRSS") * 1024;
}

/* A "Name:   123 kB" line of /proc/meminfo. */
static size_t machine_free_bytes(void) {
  FILE *file = fopen("/proc/meminfo", "r");
  if (!file)
    return SIZE_MAX;
  char line[256];
  size_t bytes = SIZE_MAX;
  while (fgets(line, sizeof line, file))
    if (strncmp(line, "MemAvailable:", 13) == 0)
      bytes = strtoul(line + 13, NULL, 10) * 1024;
  fclose(file);
  return bytes;
}

/* The number in a file of the control group; SIZE_MAX: none, or "max". */
static size_t group_bytes(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file)
    return SIZE_MAX;
  char line[32], *end = line;
  size_t bytes = fgets(line, sizeof line, file) ? strtoul(line, &end, 10) : 0;
  fclose(file);
  return end > line ? bytes : SIZE_MAX;
}

/* Control groups of both versions, as containers mount them. */
size_t tr_memory_free_bytes(void) {
  static const char *const files[][2] = {
      {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
      {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"}};
  size_t least = machine_free_bytes();
  for (size_t i = 0; i < sizeof files / sizeof *files; ++i) {
    size_t limit = group_bytes(files[i][0]), used = group_bytes(files[i][1]);
    if (limit == SIZE_MAX || used == SIZE_MAX)
      continue;
    size_t left = limit > used ? limit - used : 0;
    least = left < least ? left : least;
  }
  return least;
}

void tr_memory_reset_peak(void) {
  FILE *file = fopen("/proc/self/clear_refs", "w");
  if (!file)
    return;
  fputs("5", file); /* proc(5): resets VmHWM to the current resident set */
  fclose(file);
}

static char processor_name[128];
static pthread_once_t processor_once = PTHREAD_ONCE_INIT;

static void read_processor_name(void) {
  snprintf(processor_name, sizeof processor_name, "unknown processor");
  FILE *file = fopen("/proc/cpuinfo", "r");
  if (!file)
    return;
  char line[256];
  while (fgets(line, sizeof line, file)) {
    const char *value = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
    if (value) {
      value += strspn(value, ": \t");
      snprintf(processor_name, sizeof processor_name, "%.*s", (int)strcspn(value, "\n"), value);
      break;
    }
  }
  fclose(file);
}

const char *tr_processor_name(void) {
  pthread_once(&processor_once, read_processor_name);
  return processor_name;
}
