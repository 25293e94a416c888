/* dump_maps DATASET ROOT CLASS BACKBONE WEIGHTS LAYERS FOLDER: the tapped maps of all images of a class as .npy, for
 * tests/golden/padim_reference.py: FOLDER/train_0.npy ... and test_0.npy ..., a file a layer, [images, h, w, c]. Images are resized to
 * 256 and cropped to 224. LAYERS as in experiments: layer1+layer2+layer3. */
#include "datasets/dataset.h"
#include "host/backbone/graph.h"
#include "host/base/status.h"
#include "host/harness/feed.h"
#include "kernels/aggregate.h"
#include "kernels/device.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEADER = 128, SIDE = 224 };

typedef struct dump {
  tr_device *device;
  tr_backbone *backbone;
  tr_feed *feed;
  int layers;
  int files[TR_MAX_LAYERS];
  size_t floats[TR_MAX_LAYERS]; /* of an image */
} dump;

static tr_status open_file(dump *d, const char *folder, const char *part, int layer, size_t images) {
  char path[1024], header[HEADER + 1];
  int h, w, c;
  tr_backbone_tap_shape(d->backbone, layer, &h, &w, &c);
  d->floats[layer] = (size_t)h * (size_t)w * (size_t)c;
  snprintf(path, sizeof path, "%s/%s_%d.npy", folder, part, layer);
  memset(header, ' ', HEADER);
  memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10);
  header[10 + snprintf(header + 10, HEADER - 10, "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %d, %d, %d), }", images,
                       h, w, c)] = ' ';
  header[HEADER - 1] = '\n';
  d->files[layer] = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
  if (d->files[layer] < 0 || pwrite(d->files[layer], header, HEADER, 0) != HEADER)
    return tr_fail_errno(TR_EIO, "writing %s", path);
  return TR_OK;
}

static tr_status write_maps(void *context, int lane, const size_t *units, size_t n, const float *const *maps) {
  (void)lane;
  const dump *d = context;
  size_t first = units[0];
  for (int i = 0; i < d->layers; ++i) {
    size_t bytes = n * d->floats[i] * sizeof(float);
    float *host = malloc(bytes);
    tr_status status = host ? tr_device_download(d->device, host, maps[i], bytes) : tr_fail(TR_ENOMEM, "out of memory");
    off_t at = HEADER + (off_t)(first * d->floats[i] * sizeof(float));
    if (status == TR_OK && pwrite(d->files[i], host, bytes, at) != (ssize_t)bytes)
      status = tr_fail_errno(TR_EIO, "writing maps");
    free(host);
    TR_TRY(status);
  }
  return TR_OK;
}

static tr_status dump_part(dump *d, const char *folder, const char *part, const tr_sample *samples, size_t count) {
  for (int i = 0; i < d->layers; ++i)
    TR_TRY(open_file(d, folder, part, i, count));
  TR_TRY(tr_feed_images(d->feed, part, &(tr_feed_list){.samples = samples, .count = count}, write_maps, d));
  for (int i = 0; i < d->layers; ++i)
    close(d->files[i]);
  return TR_OK;
}

static tr_status open_backbone(dump *d, const char *name, const char *weights_path, char *layers) {
  tr_backbone_options options = {.architecture = name, .in_h = SIDE, .in_w = SIDE};
  const char *names[TR_MAX_LAYERS];
  for (char *rest, *layer = strtok_r(layers, "+", &rest); layer && d->layers < TR_MAX_LAYERS; layer = strtok_r(NULL, "+", &rest))
    names[d->layers++] = layer;
  options.layers = names;
  options.layer_count = d->layers;
  char *file;
  tr_weights *weights;
  TR_TRY(tr_weights_locate(weights_path, name, &file));
  TR_TRY(tr_weights_open(file, &weights));
  free(file);
  tr_status status = tr_backbone_create(d->device, &options, weights, &d->backbone);
  tr_weights_close(weights);
  return status;
}

static tr_status run(char **argv) {
  dump d = {0};
  tr_dataset *dataset;
  tr_class class_;
  TR_TRY(tr_device_open("cpu", 0, &d.device));
  TR_TRY(tr_dataset_open(&(tr_dataset_options){.kind = argv[1], .root = argv[2]}, &dataset));
  TR_TRY(tr_dataset_class(dataset, argv[3], &class_));
  TR_TRY(open_backbone(&d, argv[4], argv[5], argv[6]));
  TR_TRY(tr_feed_create(&(tr_feed_options){.device = d.device,
                                           .backbone = d.backbone,
                                           .architecture = argv[4],
                                           .image = {.resize = 256, .crop = SIDE},
                                           .tiling = {SIDE, SIDE, SIDE, SIDE, 1, 1},
                                           .layers = d.layers},
                        &d.feed));
  TR_TRY(dump_part(&d, argv[7], "train", class_.train, class_.train_count));
  TR_TRY(dump_part(&d, argv[7], "test", class_.test, class_.test_count));
  tr_feed_destroy(d.feed);
  tr_backbone_destroy(d.backbone);
  tr_class_free(&class_);
  tr_dataset_close(dataset);
  tr_device_close(d.device);
  return TR_OK;
}

int main(int argc, char **argv) {
  if (argc != 8) {
    fprintf(stderr, "usage: dump_maps DATASET ROOT CLASS BACKBONE WEIGHTS LAYERS FOLDER\n");
    return 2;
  }
  if (run(argv) == TR_OK)
    return 0;
  fprintf(stderr, "%s\n", tr_last_error());
  return 1;
}
