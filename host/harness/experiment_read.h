/* What the reading of an experiment file shares: the reader, a setting while it is read, and the value of one key. */
#ifndef TR_HARNESS_EXPERIMENT_READ_H
#define TR_HARNESS_EXPERIMENT_READ_H

#include "host/harness/experiment.h"
#include "host/harness/experiment_keys.h"

#include <sys/types.h>
#include <yaml.h>

/* A setting while it is read: what can only be checked once all of it is known keeps its line. */
typedef struct tr_draft {
  tr_setting setting;
  const char *layers;
  const yaml_node_t *members;
  size_t layers_line, image_line, tile_line, ensemble_line, subsampling_line;
  bool left_out; /* an ensemble that replacements made a single network */
} tr_draft;

typedef struct tr_reader {
  const char *file;
  yaml_document_t *document;
  tr_experiments *out;
  const tr_replacements *replacements;
  const struct tr_reader *includer; /* NULL: the first file */
  dev_t device;                     /* of the file, by which a cycle of includes shows; 0, 0 from memory */
  ino_t inode;
  bool from_memory;
  size_t visits;
} tr_reader;

size_t tr_node_line(const yaml_node_t *node);
/* NULL: a list or a mapping. */
const char *tr_node_text(const yaml_node_t *node);

/* A string that outlives the document; equal texts are kept once. */
tr_status tr_reader_keep(tr_reader *r, const char *text, const char **out);

/* Puts the value of a key, no list and no mapping, into the draft. EFORMAT names the file, the line, the key and what is allowed. */
tr_status tr_read_value(tr_reader *r, const tr_key *k, const yaml_node_t *node, tr_draft *to);
/* EFORMAT: the key's value is not what is `allowed`. */
tr_status tr_wrong_value(const tr_reader *r, const tr_key *k, const yaml_node_t *node, const char *allowed);

#endif
