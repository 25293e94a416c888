/* Fitted models as files, the same container for every method.
 *
 *   offset 0   "TRMODEL" and a zero byte
 *          8   u32: version of this format: 1, or 2 of a file with several models
 *         12   u32: bytes of the header
 *         16   the header: a JSON object, then spaces up to a multiple of 64 bytes from the file's start
 *              method    its name
 *              settings  what the method needs to score as it was fitted to
 *              about     what the writer of the file adds: backbone, layers, image size, ...; or null
 *              arrays    a list of {name, type, shape}; type is f4, f8, u4 or u1
 *              with several models `parts`, a list of {settings, arrays}, in place of these two
 *              the arrays in that order, row-major, each from a multiple of 64 bytes on, zeros between them
 *   the end    u64: XXH3 of every byte before it
 *
 * Numbers are little-endian. Files are written beside their place and renamed, so they are whole or not there.
 */
#ifndef TR_METHODS_MODEL_FILE_H
#define TR_METHODS_MODEL_FILE_H

#include "kernels/aggregate.h"

struct cJSON;

#define TR_MODEL_FILE_MAX_RANK 3

typedef enum tr_array_type { TR_ARRAY_F4, TR_ARRAY_F8, TR_ARRAY_U4, TR_ARRAY_U1 } tr_array_type;

typedef struct tr_model_array {
  const char *name;
  tr_array_type type;
  int rank;
  size_t shape[TR_MODEL_FILE_MAX_RANK];
  const void *data;
  bool on_device; /* else the host's */
} tr_model_array;

typedef struct tr_model_content {
  const char *method;
  struct cJSON *settings;
  const char *about; /* a JSON object as text, or NULL */
  const tr_model_array *arrays;
  size_t array_count;
} tr_model_content;

/* EINVAL: `about` is no JSON object. EIO names the file. */
tr_status tr_model_file_write(const char *path, tr_device *device, const tr_model_content *content);

typedef struct tr_model_file tr_model_file;

/* Several files of one model each as one, in their order: `about` is the whole's, those of the files are left out. */
tr_status tr_model_files_join(const char *const *paths, size_t count, tr_device *device, const char *about, const char *path);

/* The same file but for its `about`, which may take its place. */
tr_status tr_model_file_rewrite(const tr_model_file *file, tr_device *device, const char *about, const char *path);

/* Maps the file and checks all of it. EIO: it cannot be read; EFORMAT: it is no model, of another version, cut short, or damaged. */
tr_status tr_model_file_open(const char *path, tr_model_file **out);
void tr_model_file_close(tr_model_file *file);
/* Models in it, and one of them as a file of one model, which is to be closed before the whole. What follows asks for one of the latter,
 * but for the method, the path, and the `about`, which are the whole's, too. */
size_t tr_model_file_parts(const tr_model_file *file);
tr_status tr_model_file_part(const tr_model_file *file, size_t part, tr_model_file **out);
const char *tr_model_file_path(const tr_model_file *file);
const char *tr_model_file_method(const tr_model_file *file);
const struct cJSON *tr_model_file_settings(const tr_model_file *file);
const struct cJSON *tr_model_file_about(const tr_model_file *file); /* NULL: none */

/* An array that must be there with the type and shape that `wanted` names (its data is not looked at): *data in the mapping; or copied to
 * new memory of a device. EFORMAT says what was expected and found. */
tr_status tr_model_file_array(const tr_model_file *file, const tr_model_array *wanted, const void **data);
/* An array by its name, whatever its type and shape; out->data in the mapping. `name` must outlive it. EFORMAT: there is none. */
tr_status tr_model_file_find(const tr_model_file *file, const char *name, tr_model_array *out);
tr_status tr_model_file_upload(const tr_model_file *file, tr_device *device, const tr_model_array *wanted, void **out);

/* For the methods' settings: the shapes of the maps that a model is fitted on, as member "maps". */
tr_status tr_model_maps_to_json(const tr_aggregate_spec *maps, struct cJSON *settings);
tr_status tr_model_maps_from_json(const struct cJSON *settings, tr_aggregate_spec *out);

#endif
