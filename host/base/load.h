/* What else the machine's processors did while something was measured. */
#ifndef TR_BASE_LOAD_H
#define TR_BASE_LOAD_H

#include "host/totalrecall.h"

/* Processor seconds by now: of all processes, and of this one. */
typedef struct tr_load {
  double clock;   /* tr_seconds() */
  double busy;    /* all processors, neither idle nor waiting for a disk; what a hypervisor kept from them is busy, too */
  double own;     /* all threads of this process, and children it waited for */
  int processors; /* online */
  bool known;     /* there is a /proc/stat, and it can be read */
} tr_load;

tr_load tr_load_now(void);

/* The share of the processors' time from `begin` to `end` that others had, in [0, 1]. NaN: not known, or no time has gone by. */
double tr_load_of_others(const tr_load *begin, const tr_load *end);

/* Sets `busy` and `processors` from the text of /proc/stat (proc(5)), which counts in units of 1 / ticks seconds. False: it is none. */
bool tr_load_parse(const char *text, double ticks, tr_load *out);

#endif
