/* The machine as it is now, and as a line has it. */
#include "host/bench/machine.h"
#include "host/base/clock.h"
#include "host/base/json.h"
#include "host/harness/features.h"
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first line of a small file, without its newline; "" where there is none. */
static void read_first_line(const char *path, char *line, int bytes) {
  *line = '\0';
  FILE *file = fopen(path, "r");
  if (!file)
    return;
  if (fgets(line, bytes, file))
    line[strcspn(line, "\n")] = '\0';
  else
    *line = '\0';
  fclose(file);
}

#define CLOCK_OF_FIRST "/sys/devices/system/cpu/cpu0/cpufreq/"

static double read_mhz(void) {
  char line[128];
  double mhz = NAN;
  FILE *file = fopen("/proc/cpuinfo", "r");
  while (file && isnan(mhz) && fgets(line, sizeof line, file)) {
    const char *colon = strchr(line, ':');
    if (strncmp(line, "cpu MHz", 7) == 0 && colon)
      mhz = strtod(colon + 1, NULL);
  }
  if (file)
    fclose(file);
  if (isfinite(mhz))
    return mhz;
  read_first_line(CLOCK_OF_FIRST "scaling_cur_freq", line, sizeof line); /* kHz, where cpuinfo has no clock */
  return *line ? 1e-3 * strtod(line, NULL) : NAN;
}

void tr_bench_machine_now(tr_bench_machine *out) {
  out->processor_mhz = read_mhz();
  read_first_line(CLOCK_OF_FIRST "scaling_governor", out->governor, sizeof out->governor);
}

static bool add_libraries(cJSON *line) {
  size_t count;
  const tr_feature *features = tr_features(&count);
  cJSON *object = cJSON_AddObjectToObject(line, "libraries");
  bool complete = object;
  for (size_t i = 0; complete && i < count; ++i)
    complete = cJSON_AddStringToObject(object, features[i].name, features[i].version ? features[i].version : "missing");
  return complete;
}

bool tr_bench_add_machine(cJSON *line, tr_device *device, const tr_bench_machine *machine) {
  char date[21];
  tr_date_utc(date);
  tr_frequencies most = tr_device_frequencies(device);
  return cJSON_AddItemToObject(line, "processor_mhz", tr_json_number(machine->processor_mhz)) &&
         cJSON_AddStringToObject(line, "governor", machine->governor) &&
         cJSON_AddItemToObject(line, "device_mhz", tr_json_number(most.core_mhz)) &&
         cJSON_AddItemToObject(line, "device_memory_mhz", tr_json_number(most.memory_mhz)) &&
         cJSON_AddStringToObject(line, "clock", tr_device_clock_name(device)) && add_libraries(line) &&
         cJSON_AddStringToObject(line, "device", tr_device_name(device)) &&
         cJSON_AddStringToObject(line, "processor", tr_device_description(device)) &&
         cJSON_AddNumberToObject(line, "threads", tr_pool_threads(tr_device_pool(device))) &&
         cJSON_AddStringToObject(line, "version", tr_version()) && cJSON_AddStringToObject(line, "date", date);
}
