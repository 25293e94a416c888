/* Indexes beside exact search of the same bank: what they cost and gain, and in words where that pays. */
#ifndef TR_REPORT_SEARCHES_H
#define TR_REPORT_SEARCHES_H

#include "host/report/cells.h"

/* A table of every index that was run on any data, with a paragraph for each bank; nothing where there is none. */
void tr_searches_write(tr_evidence *evidence);

#endif
