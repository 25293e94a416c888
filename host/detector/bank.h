/* The memory bank of a fitted PatchCore model, out of its file and into another: as .npy (floats [rows, d]), or as an index of FAISS,
 * which python's faiss reads and writes. */
#ifndef TR_DETECTOR_BANK_H
#define TR_DETECTOR_BANK_H

#include "kernels/device.h"

/* Writes the bank of `model` to `path`: rows where it ends with .npy, else an index: the model's own, or a flat one. */
tr_status tr_bank_export(tr_device *device, const char *model, const char *path);

/* Writes `out`: `model` with the rows of `path`, a .npy file by its ending, else an index that can give its rows (what codes leave of
 * them, where it has codes). They are as many as they are; the search in them is exact, and the threshold is gone. EFORMAT: other
 * dimensions than the model's. */
tr_status tr_bank_import(tr_device *device, const char *model, const char *path, const char *out, size_t *rows);

#endif
