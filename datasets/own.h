/* Own images, outside of data sets: what a detector is fitted on and what it scores. Names are listed; nothing is decoded. */
#ifndef TR_DATASETS_OWN_H
#define TR_DATASETS_OWN_H

#include "datasets/dataset.h"

/* The nominal images of one class, as out->train, sorted: those of good/ or train/good/ where the folder has one of them (the data set
 * `folder`, or MVTec's layout), else those that lie in the folder itself. EFORMAT: no images, or several classes; EIO: no such folder. */
tr_status tr_nominal_list(const char *folder, tr_class *out);

/* Files, as they are given, and every image in the folders and below them, sorted, as out->test. A name is the path below the given folder,
 * after the folder's own name: "good/000.png" of some/where/good; of a file its own name. A file that is not there
 * shows when it is read. EFORMAT: a folder without images. */
tr_status tr_images_collect(const char *const *paths, size_t count, tr_class *out);

#endif
