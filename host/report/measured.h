/* What `totalrecall bench` measured: exact search beside FAISS's Flat index, and the latency of single images. */
#ifndef TR_REPORT_MEASURED_H
#define TR_REPORT_MEASURED_H

#include "host/report/cells.h"

/* Two tables from <results>/<machine>/bench.jsonl: of every search and every model the newest line of each machine. Where there is none they
 * say what to run. A line that cannot be read is left out with a warning. */
void tr_measured_write(tr_evidence *evidence);

#endif
