/* Time, peak memory, and what this machine is called. */
#ifndef TR_BASE_CLOCK_H
#define TR_BASE_CLOCK_H

#include "host/totalrecall.h"

double tr_seconds(void);             /* monotonic */
void tr_date_utc(char out[21]);      /* 2026-11-24T05:27:00Z */
size_t tr_memory_peak_bytes(void);   /* peak resident set of this process since the last reset */
size_t tr_memory_now_bytes(void);    /* resident set now */
size_t tr_memory_free_bytes(void);   /* what this process may still take: of the machine, and of its control group */
void tr_memory_reset_peak(void);     /* where the kernel allows it (Linux); elsewhere the peak stays the process's */
const char *tr_processor_name(void); /* "AMD EPYC …" */

#endif
