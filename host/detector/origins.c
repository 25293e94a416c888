/* Origins of bank rows. */
#include "host/detector/origins.h"
#include "datasets/image.h"
#include "host/base/status.h"
#include "host/harness/evaluate.h"
#include "host/harness/resized.h"
#include "kernels/nearest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tr_status no_memory(void) {
  return tr_fail(TR_ENOMEM, "origins of bank rows: out of memory");
}

/* ---- distances to other images' rows ---- */

static int by_image(const void *a, const void *b) {
  const tr_origin *x = a, *y = b;
  if (x->image != y->image)
    return x->image < y->image ? -1 : 1;
  return (x->row > y->row) - (x->row < y->row);
}

/* Rows image by image, on the device, and what a search of one image's rows takes. */
typedef struct grouped {
  tr_device *device;
  tr_origin *origins; /* by image, then by row */
  size_t count, most; /* most: rows of an image */
  int d;
  float *rows, *norms;
  double *found_distances2;
  uint32_t *found_rows, *indices;
  float *distances;
  void *scratch;
  float *host_distances;
  uint32_t *host_indices;
} grouped;

static void release(grouped *g) {
  void *const device_memory[] = {g->rows, g->norms, g->found_distances2, g->found_rows, g->indices, g->distances, g->scratch};
  for (size_t i = 0; i < sizeof device_memory / sizeof *device_memory; ++i)
    tr_device_free(g->device, device_memory[i]);
  free(g->host_distances);
  free(g->host_indices);
}

static size_t end_of_image(const grouped *g, size_t first) {
  size_t end = first;
  while (end < g->count && g->origins[end].image == g->origins[first].image)
    ++end;
  return end;
}

static tr_status allocate(grouped *g) {
  size_t d = (size_t)g->d;
  for (size_t first = 0, end; first < g->count; first = end) {
    end = end_of_image(g, first);
    g->most = end - first > g->most ? end - first : g->most;
  }
  TR_TRY(tr_device_alloc(g->device, g->count * d * sizeof(float), (void **)&g->rows));
  TR_TRY(tr_device_alloc(g->device, g->count * sizeof(float), (void **)&g->norms));
  TR_TRY(tr_device_alloc(g->device, g->most * sizeof(double), (void **)&g->found_distances2));
  TR_TRY(tr_device_alloc(g->device, g->most * sizeof(uint32_t), (void **)&g->found_rows));
  TR_TRY(tr_device_alloc(g->device, g->most * sizeof(uint32_t), (void **)&g->indices));
  TR_TRY(tr_device_alloc(g->device, g->most * sizeof(float), (void **)&g->distances));
  TR_TRY(tr_device_alloc(g->device, tr_nearest_scratch(g->device, g->most, g->most, g->count, g->d, 1), &g->scratch));
  g->host_distances = malloc(g->most * sizeof(float));
  g->host_indices = malloc(g->most * sizeof(uint32_t));
  return g->host_distances && g->host_indices ? TR_OK : no_memory();
}

static tr_status upload(const grouped *g, const float *rows) {
  size_t d = (size_t)g->d;
  for (size_t i = 0; i < g->count; ++i)
    TR_TRY(tr_device_upload(g->device, g->rows + i * d, rows + g->origins[i].row * d, d * sizeof(float)));
  return tr_squared_norms(g->device, g->rows, g->count, g->d, g->norms);
}

/* Rows [first, end) are an image's; the bank without them comes in two parts. */
static tr_status search_others(const grouped *g, size_t first, size_t end) {
  const size_t parts[2][2] = {{0, first}, {end, g->count}};
  bool resumed = false;
  for (int i = 0; i < 2; ++i) {
    size_t from = parts[i][0], rows = parts[i][1] - from;
    if (!rows)
      continue;
    TR_TRY(tr_nearest(g->device, &(tr_nearest_args){.queries_count = end - first,
                                                    .group = end - first,
                                                    .queries = g->rows + first * (size_t)g->d,
                                                    .bank_rows = rows,
                                                    .bank = g->rows + from * (size_t)g->d,
                                                    .bank_norms = g->norms + from,
                                                    .first_row = from,
                                                    .found_distances2 = g->found_distances2,
                                                    .found_rows = g->found_rows,
                                                    .resumed = resumed,
                                                    .d = g->d,
                                                    .k = 1,
                                                    .distances = g->distances,
                                                    .indices = g->indices,
                                                    .scratch = g->scratch}));
    resumed = true;
  }
  TR_TRY(tr_device_download(g->device, g->host_distances, g->distances, (end - first) * sizeof(float)));
  TR_TRY(tr_device_download(g->device, g->host_indices, g->indices, (end - first) * sizeof(uint32_t)));
  return tr_device_sync(g->device);
}

static tr_status measure_distances(const grouped *g) {
  for (size_t first = 0, end; first < g->count; first = end) {
    end = end_of_image(g, first);
    TR_TRY(search_others(g, first, end));
    for (size_t i = first; i < end; ++i) {
      g->origins[i].distance = sqrt((double)g->host_distances[i - first]);
      g->origins[i].nearest = g->origins[g->host_indices[i - first]].row;
    }
  }
  return TR_OK;
}

static tr_status find_nearest(tr_device *device, tr_origins *o) {
  grouped g = {.device = device, .origins = o->rows, .count = o->row_count, .d = o->bank.d};
  qsort(o->rows, o->row_count, sizeof *o->rows, by_image);
  if (end_of_image(&g, 0) == g.count)
    return tr_fail(TR_EINVAL, "all bank rows are of one training image: there is no other to compare them with");
  tr_status status = allocate(&g);
  if (status == TR_OK)
    status = upload(&g, o->bank.rows);
  if (status == TR_OK)
    status = measure_distances(&g);
  release(&g);
  return status;
}

/* ---- which are far ---- */

static int compare_numbers(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
  qsort(values, count, sizeof *values, compare_numbers);
  return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

/* By the median and the median absolute deviation, which a few far rows do not move; 1.4826 makes it a normal distribution's standard
 * deviation (Rousseeuw and Croux 1993). */
static tr_status standardise(tr_origins *o) {
  double *values = malloc(o->row_count * sizeof *values);
  if (!values)
    return no_memory();
  for (size_t i = 0; i < o->row_count; ++i)
    values[i] = o->rows[i].distance;
  double middle = median(values, o->row_count);
  for (size_t i = 0; i < o->row_count; ++i)
    values[i] = fabs(o->rows[i].distance - middle);
  double deviation = 1.4826 * median(values, o->row_count);
  for (size_t i = 0; i < o->row_count; ++i)
    o->rows[i].z = deviation > 0 ? (o->rows[i].distance - middle) / deviation : 0;
  free(values);
  return TR_OK;
}

static int farthest_first(const void *a, const void *b) {
  const tr_origin *x = a, *y = b;
  if (x->distance != y->distance)
    return x->distance > y->distance ? -1 : 1;
  return (x->row > y->row) - (x->row < y->row);
}

/* Images in the order of their first rows. */
static tr_status list_images(tr_origins *o) {
  size_t *place = calloc(o->bank.about.train_images, sizeof *place); /* in the list, from 1 on */
  o->images = calloc(o->row_count, sizeof *o->images);
  if (!place || !o->images) {
    free(place);
    return no_memory();
  }
  for (size_t i = 0; i < o->row_count; ++i) {
    const tr_origin *row = &o->rows[i];
    if (!place[row->image]) {
      o->images[o->image_count++] = (tr_image_origin){.image = row->image, .farthest = row};
      place[row->image] = o->image_count;
    }
    ++o->images[place[row->image] - 1].rows;
  }
  free(place);
  return TR_OK;
}

static tr_status find_origins(tr_device *device, tr_origins *o) {
  const tr_bank_file *b = &o->bank;
  if (b->subsampling == TR_SUBSAMPLE_LEARNED)
    return tr_fail(TR_EINVAL, "the bank's rows are no patches of training images: they were learned or imported");
  o->row_count = b->row_count;
  o->rows = calloc(o->row_count, sizeof *o->rows);
  if (!o->rows)
    return no_memory();
  for (size_t i = 0; i < o->row_count; ++i) {
    size_t patch = b->order ? b->order[i] : i;
    o->rows[i] = (tr_origin){.row = i, .image = patch / b->patches, .patch = patch % b->patches};
  }
  TR_TRY(find_nearest(device, o));
  TR_TRY(standardise(o));
  qsort(o->rows, o->row_count, sizeof *o->rows, farthest_first);
  return list_images(o);
}

tr_status tr_origins_read(tr_device *device, const char *model, tr_origins *out) {
  *out = (tr_origins){0};
  TR_TRY(tr_bank_file_open(model, &out->bank));
  tr_status status = find_origins(device, out);
  if (status == TR_OK)
    return TR_OK;
  tr_origins_free(out);
  return tr_fail_context(status, "%s", model);
}

void tr_origins_free(tr_origins *o) {
  tr_bank_file_close(&o->bank);
  free(o->rows);
  free(o->images);
  *o = (tr_origins){0};
}

/* ---- names and tables ---- */

tr_status tr_origins_name(const tr_origins *o, size_t image, char **out) {
  const tr_source *source;
  const char *name = tr_sources_image(&o->bank.about.sources, image, &source);
  *out = name ? strdup(name) : tr_format("image %zu", image);
  return *out ? TR_OK : no_memory();
}

static tr_status write_row(FILE *out, const tr_origins *o, const tr_origin *row, const size_t *image_of) {
  char *name, *nearest;
  TR_TRY(tr_origins_name(o, row->image, &name));
  tr_status status = tr_origins_name(o, image_of[row->nearest], &nearest);
  if (status == TR_OK) {
    tr_patch_place place = tr_bank_file_place(&o->bank, row->patch);
    fprintf(out, "%zu,", row->row);
    tr_scores_write_text(out, name);
    fprintf(out, ",%d,%d,%.9g,%.6g,%zu,", place.grid_y, place.grid_x, row->distance, row->z, row->nearest);
    tr_scores_write_text(out, nearest);
    fputc('\n', out);
    free(nearest);
  }
  free(name);
  return status;
}

static tr_status write_table(FILE *out, const tr_origins *o) {
  size_t *image_of = malloc(o->row_count * sizeof *image_of);
  tr_status status = image_of ? TR_OK : no_memory();
  for (size_t i = 0; status == TR_OK && i < o->row_count; ++i)
    image_of[o->rows[i].row] = o->rows[i].image;
  fputs("row,image,patch_y,patch_x,distance,z,nearest_row,nearest_image\n", out);
  for (size_t i = 0; status == TR_OK && i < o->row_count; ++i)
    status = write_row(out, o, &o->rows[i], image_of);
  free(image_of);
  return status;
}

tr_status tr_origins_write(const tr_origins *o, const char *path) {
  char *text = NULL;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  tr_status status = out ? write_table(out, o) : no_memory();
  if (out && fclose(out) != 0 && status == TR_OK)
    status = no_memory();
  if (status == TR_OK)
    status = tr_file_write(path, text, bytes);
  free(text);
  return status;
}

/* ---- pictures ---- */

typedef struct drawing {
  tr_device *device;
  const tr_origins *origins;
  size_t row_count;
  const tr_strings *folders;
  const char *dir;
} drawing;

static tr_status image_path(const drawing *d, size_t image, char **out) {
  const tr_sources *sources = &d->origins->bank.about.sources;
  const tr_source *source;
  const char *name = tr_sources_image(sources, image, &source);
  const char *folder = d->folders->count ? d->folders->items[source - sources->items] : source->folder;
  *out = *name == '/' ? strdup(name) : tr_format("%s/%s", folder, name);
  return *out ? TR_OK : no_memory();
}

/* A patch's window of cells as pixels. */
static tr_picture_box box_of(const tr_bank_file *b, size_t patch) {
  tr_patch_place place = tr_bank_file_place(b, patch);
  tr_window tile = tr_tiling_window(&b->tiling, place.tile);
  int size = b->maps.patch, h = b->maps.h[0], w = b->maps.w[0];
  int top = place.y * b->maps.stride - (size - 1) / 2, left = place.x * b->maps.stride - (size - 1) / 2;
  return (tr_picture_box){.top = tile.top + top * tile.h / h,
                          .left = tile.left + left * tile.w / w,
                          .bottom = tile.top + (top + size) * tile.h / h,
                          .right = tile.left + (left + size) * tile.w / w};
}

static tr_status draw_boxes(const drawing *d, size_t image, uint8_t *pixels, const char *path) {
  const tr_origins *o = d->origins;
  for (size_t i = 0; i < d->row_count; ++i)
    if (o->rows[i].image == image)
      tr_picture_draw_box(pixels, o->bank.about.in_h, o->bank.about.in_w, box_of(&o->bank, o->rows[i].patch));
  TR_TRY(tr_make_folder_of(path));
  return tr_image_write_png(path, pixels, o->bank.about.in_h, o->bank.about.in_w, 3);
}

static tr_status read_resized(const drawing *d, const char *path, uint8_t *pixels) {
  const tr_about *about = &d->origins->bank.about;
  tr_image image;
  int h, w;
  TR_TRY(tr_image_read(path, 3, &image));
  tr_status status = tr_resize_shape(&about->setting->image, image.h, image.w, &h, &w);
  if (status == TR_OK && (h != about->in_h || w != about->in_w))
    status = tr_fail(TR_EFORMAT, "%s is %dx%d after the resize, the images that the model was fitted on %dx%d", path, w, h,
                     about->in_w, about->in_h);
  if (status == TR_OK)
    status = tr_image_resized(d->device, &about->setting->image, &image, pixels);
  tr_image_free(&image);
  return status;
}

static tr_status picture_path(const drawing *d, size_t rank, size_t image, char **out) {
  char *name;
  TR_TRY(tr_origins_name(d->origins, image, &name));
  const char *slash = strrchr(name, '/');
  char *file = tr_format("%03zu_%s", rank + 1, slash ? slash + 1 : name);
  *out = file ? tr_picture_path(d->dir, file) : NULL;
  free(file);
  free(name);
  return *out ? TR_OK : no_memory();
}

static tr_status draw_image(const drawing *d, size_t rank) {
  const tr_about *about = &d->origins->bank.about;
  size_t image = d->origins->images[rank].image;
  char *from = NULL, *to = NULL;
  uint8_t *pixels = malloc((size_t)about->in_h * (size_t)about->in_w * 3);
  tr_status status = pixels ? image_path(d, image, &from) : no_memory();
  if (status == TR_OK)
    status = picture_path(d, rank, image, &to);
  if (status == TR_OK)
    status = read_resized(d, from, pixels);
  if (status == TR_OK)
    status = draw_boxes(d, image, pixels, to);
  free(pixels);
  free(from);
  free(to);
  return status;
}

tr_status tr_origins_draw(tr_device *device, const tr_origins *o, size_t count, const tr_strings *folders, const char *dir) {
  static const tr_strings none = {0};
  drawing d = {.device = device,
               .origins = o,
               .row_count = count < o->row_count ? count : o->row_count,
               .folders = folders ? folders : &none,
               .dir = dir};
  if (!o->bank.about.sources.count)
    return tr_fail(TR_EINVAL, "drawing origins: the file has no names of its training images: an older version fitted it");
  if (d.folders->count && d.folders->count != o->bank.about.sources.count)
    return tr_fail(TR_EINVAL, "drawing origins: expected a folder for each of the model's %zu sources of images, found %zu",
                   o->bank.about.sources.count, d.folders->count);
  /* Images stand in the order of their first rows. */
  for (size_t rank = 0; rank < o->image_count && o->images[rank].farthest < o->rows + d.row_count; ++rank)
    TR_TRY(draw_image(&d, rank));
  return TR_OK;
}
