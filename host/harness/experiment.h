/* An experiment file (YAML): one experiment, or a list of them. Every value may be a list, and lists span a grid.
 *
 * Keys: name, protocol (official, paper), dataset, classes (all, or a list), split_file, method, backbone, layers
 * ("layer2+layer3"), frames {step, offset, tested_only, mask: full | half | any} (of mstc), train_images (so many are drawn of the nominal ones; 0, the default: all), image {resize, crop, squash},
 * tile {size, overlap, bank: shared | position} (large images are cut; size 0, the default: they are not),
 * patch, stride, layer_dimension, dimension, aggregate (official, concat), projection, subsampling {kind: greedy | random |
 * learned | none, percent | bank_rows | bank_bytes (100M; of the rows), radius (greedy ends where every patch is as near to a bank row, as
 * projected), seconds (greedy ends after so many; the bank then depends on the machine); without the first three 10 %, or with the last
 * two all patches at most}, ensemble {normalise: official | nominal, members: [{backbone, layers}, …]}, search (exact, or faiss:"FACTORY" with a
 * factory string of FAISS, such as faiss:"IVF512,PQ64np"; in a list in brackets it needs quotes around all of it), nprobe (lists
 * looked at), ef_search (candidates kept in a graph), distance (squared, euclidean), image_score
 * (max, reweighted, smoothed_max, nearest_images), neighbours, gallery (separate, concatenated), placement (nearest, bilinear),
 * epsilon, sigma, seed. `protocol` and `method` set defaults, the other keys override them. padim looks at dimension (channels
 * drawn), placement, epsilon, image_score, sigma and seed; spade at neighbours (K), gallery, image_score and sigma. Anchors, aliases and
 * merge keys (`<<: *base`) work.
 *
 * `include: FILE`, or a list of files, in an experiment's place stands for the experiments of those files, which are looked for beside
 * the file that includes them.
 *
 * An ensemble's scores are its members' mean. `members` is no grid; what a member does not say it takes from its experiment, which
 * needs no `backbone` of its own when every member has one.
 */
#ifndef TR_HARNESS_EXPERIMENT_H
#define TR_HARNESS_EXPERIMENT_H

#include "host/base/text.h"
#include "host/harness/replace.h"

struct cJSON;

typedef struct tr_experiment {
  char *name;
  tr_strings classes;   /* empty: all */
  tr_setting *settings; /* normalised, without doubles, in the file's order: the first key varies slowest, but
                            for protocol and method, which vary slower still */
  size_t setting_count;
} tr_experiment;

typedef struct tr_experiments {
  tr_experiment *items;
  size_t count;
  tr_strings texts;     /* owns what the settings point to */
  tr_setting **members; /* owned lists of ensembles' members */
  size_t member_lists;
  tr_strings notes; /* for the user: what replacements changed, a sentence each */
} tr_experiments;

/* EFORMAT names the file, the line, the key and what is allowed (or the nearest known name). `replacements` (NULL: none) exchanges
 * backbones and data sets, whose split files go with them; members of an ensemble that become the same count once, and an ensemble of which one is left is left out. */
tr_status tr_experiments_read(const char *path, const tr_replacements *replacements, tr_experiments *out);
/* As above from memory; `name` stands for the file in errors. Includes are refused. */
tr_status tr_experiments_parse(const char *name, const char *text, size_t bytes, const tr_replacements *replacements,
                               tr_experiments *out);
/* The inverse for a model's file: a setting as an object of the keys above, which is YAML too and gives the setting back. Values that
 * decide nothing in this combination and that no file could hold are left out. EINVAL: an
 * ensemble. */
tr_status tr_setting_to_json(const tr_setting *setting, struct cJSON **out);
void tr_experiments_free(tr_experiments *experiments);

#endif
