/* Low-shot settings: which of a class's nominal training images a run sees. */
#ifndef TR_HARNESS_DRAW_H
#define TR_HARNESS_DRAW_H

#include "host/harness/setting.h"

/* How many: setting->train_images, as far as there are as many; all where it is 0. */
size_t tr_draw_count(const tr_setting *setting, size_t train_images);

/* Marks the images that are drawn: drawn[train_images], 1 or 0. They are the first of a random order of the class's list, which Philox
 * gives for (seed, TR_RNG_LOW_SHOT, class name): so smaller draws of a seed are contained in larger ones, draws of several backbones,
 * methods and percentages are the same images, and no draw depends on what else is asked for. */
tr_status tr_draw_images(const tr_setting *setting, const char *class_name, size_t train_images, uint8_t *drawn);

#endif
