/* What a line of measurements says of the machine: devices, clocks, versions of libraries. */
#ifndef TR_BENCH_MACHINE_H
#define TR_BENCH_MACHINE_H

#include "kernels/device.h"

struct cJSON;

typedef struct tr_bench_machine {
  double processor_mhz; /* of the first processor; NaN: not known */
  char governor[32];    /* of its clock; "": not known */
} tr_bench_machine;
void tr_bench_machine_now(tr_bench_machine *out);

/* Adds processor_mhz, governor, device_mhz and device_memory_mhz (the most it may have; null on the cpu), clock (of the device, that took
 * the seconds), libraries, device, processor, threads, version, date. False: out of memory. */
bool tr_bench_add_machine(struct cJSON *line, tr_device *device, const tr_bench_machine *machine);

#endif
