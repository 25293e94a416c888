/* What the kinds of exact banks share. */
#ifndef TR_SEARCH_BANK_H
#define TR_SEARCH_BANK_H

#include "host/search/search.h"

struct tr_bank {
  tr_device *device;
  float *rows; /* the device's, or with tile_rows the host's, page-locked */
  float *norms;
  void *sketch; /* NULL: the device has none for such a bank */
  size_t row_count;
  int d;
  /* Rows in host memory: 0 where they are on the device. The marks are of the two tiles that are on the device at a time. */
  size_t tile_rows;
  tr_mark *uploaded[2], *searched[2];
};

/* With rows in host memory: ranges [first, end) of rows, one after the other, which are args' blocks or prefixes. Sizes are checked
 * before. */
tr_status tr_tiles_search(const tr_bank *bank, const tr_nearest_range *ranges, size_t range_count, const tr_nearest_args *args);
tr_status tr_tiles_reweight(const tr_bank *bank, const tr_reweight_args *args);
/* Waits for uploads that a search which failed may have left. */
void tr_tiles_release(tr_bank *bank);

#endif
