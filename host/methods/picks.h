/* Rows of training features that a selection picked, brought together image by image: where not all features are kept, they come from
 * a file that holds them or from images that are fed once more. */
#ifndef TR_METHODS_PICKS_H
#define TR_METHODS_PICKS_H

#include "kernels/device.h"

/* Features of all images in a file without a name in `folder`, gone when it is closed or the process ends. */
typedef struct tr_feature_file tr_feature_file;
/* Reserves the disk's room where the file system can. EIO: there is none for `bytes`, or no such folder. */
tr_status tr_feature_file_create(const char *folder, size_t bytes, tr_feature_file **out);
void tr_feature_file_close(tr_feature_file *file);
/* What was written is on disk. */
tr_status tr_feature_file_flush(tr_feature_file *file);
/* Host memory; from any lane; within the file's bytes. EIO also where something else cut the file short. */
tr_status tr_feature_file_write(tr_feature_file *file, size_t at, const void *data, size_t bytes);
tr_status tr_feature_file_read(const tr_feature_file *file, size_t at, void *data, size_t bytes);

typedef struct tr_picks tr_picks;

/* order: patch indices (image * patches + patch), [rows], each once; read while the picks live. in_host: the rows come together in
 * page-locked host memory. */
tr_status tr_picks_create(tr_device *device, const uint32_t *order, size_t rows, size_t patches, int d, bool in_host,
                          tr_picks **out);
void tr_picks_destroy(tr_picks *picks);
/* Host bytes besides the rows. */
size_t tr_picks_bytes(size_t rows);
bool tr_picks_want(const tr_picks *picks, size_t image);
/* An image's features, device, [patches, d]. Each image at most once; from any lane. */
tr_status tr_picks_collect(tr_picks *picks, size_t image, const float *features);
/* All rows, in the order of the file. */
tr_status tr_picks_read(tr_picks *picks, const tr_feature_file *file);
/* The rows in the selection's order, [rows, d]: now the caller's. EINTERNAL where an image is missing. */
tr_status tr_picks_take(tr_picks *picks, float **rows);

#endif
