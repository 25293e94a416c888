/* Looking at a whole data set: every file is read, and what does not fit is reported. */
#include "datasets/layout.h"
#include "datasets/video.h"
#include "host/base/progress.h"
#include "host/base/threads.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct tr_findings {
  tr_finding_fn report;
  void *context;
  size_t errors;
};

void tr_finding(tr_findings *findings, bool is_error, const char *class_name, const char *format, ...) {
  char text[TR_ERROR_TEXT_BYTES];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  findings->errors += is_error;
  findings->report(findings->context, is_error, class_name, text);
}

/* What was found out about one image and its mask. */
typedef struct look {
  const tr_sample *sample;
  bool train;
  int mask_threshold;
  bool readable, mask_readable;
  int h, w, mask_h, mask_w;
  bool mask_empty;
  XXH128_hash_t pixels; /* of the decoded image */
  char *trouble, *mask_trouble;
} look;

static const char *side(const look *item) {
  return item->train ? "train" : "test";
}

static tr_status look_at_image(look *item) {
  tr_image image;
  tr_status status = tr_sample_image(item->sample, &image);
  if (status == TR_ENOMEM)
    return status;
  if (status != TR_OK) {
    item->trouble = strdup(tr_last_error());
    return item->trouble ? TR_OK : tr_out_of_memory("verifying a data set");
  }
  item->readable = true;
  item->h = image.h;
  item->w = image.w;
  /* The width seeds the hash: the same bytes in another shape are another picture. */
  item->pixels = XXH3_128bits_withSeed(image.pixels, 3 * (size_t)image.h * (size_t)image.w, (uint64_t)image.w);
  tr_image_free(&image);
  return TR_OK;
}

static tr_status look_at_mask(look *item) {
  tr_image mask;
  tr_status status = tr_sample_mask(item->sample, &mask);
  if (status == TR_ENOMEM)
    return status;
  if (status != TR_OK) {
    item->mask_trouble = strdup(tr_last_error());
    return item->mask_trouble ? TR_OK : tr_out_of_memory("verifying a data set");
  }
  /* Taken as it is, only a full 255 counts as defect in the official metrics. */
  int above = item->mask_threshold < 0 ? 254 : item->mask_threshold;
  item->mask_readable = true;
  item->mask_empty = true;
  for (size_t i = 0; i < (size_t)mask.h * (size_t)mask.w && item->mask_empty; ++i)
    item->mask_empty = mask.pixels[i] <= above;
  item->mask_h = mask.h;
  item->mask_w = mask.w;
  tr_image_free(&mask);
  return TR_OK;
}

static tr_status look_task(void *context, size_t task) {
  look *item = (look *)context + task;
  if (tr_cancel_requested())
    return tr_fail(TR_ECANCELED, "verifying a data set: canceled");
  TR_TRY(look_at_image(item));
  return item->sample->mask ? look_at_mask(item) : TR_OK;
}

static void report_files(const look *items, size_t count, const char *class_name, tr_findings *findings) {
  for (size_t i = 0; i < count; ++i) {
    const look *item = &items[i];
    const char *name = item->sample->name;
    if (!item->readable)
      tr_finding(findings, true, class_name, "%s/%s cannot be read: %s", side(item), name, item->trouble);
    if (!item->sample->mask)
      continue;
    if (!item->mask_readable)
      tr_finding(findings, true, class_name, "the mask of %s/%s cannot be read: %s", side(item), name, item->mask_trouble);
    else if (item->readable && (item->h != item->mask_h || item->w != item->mask_w))
      tr_finding(findings, true, class_name, "the mask of %s/%s is %dx%d, the image %dx%d (width x height)", side(item), name,
                 item->mask_w, item->mask_h, item->w, item->h);
    else if (item->mask_empty)
      tr_finding(findings, false, class_name, "the mask of %s/%s marks no pixel (none %s %d)", side(item), name,
                 item->mask_threshold < 0 ? "is" : "is above", item->mask_threshold < 0 ? 255 : item->mask_threshold);
  }
}

/* Readable pictures by content, training images first. */
static int compare_content(const void *a, const void *b) {
  const look *x = *(const look *const *)a, *y = *(const look *const *)b;
  int order = XXH128_cmp(&x->pixels, &y->pixels);
  if (order)
    return order;
  if (x->train != y->train)
    return x->train ? -1 : 1;
  return strcmp(x->sample->name, y->sample->name);
}

static bool same_content(const look *a, const look *b) {
  return a->h == b->h && a->w == b->w && XXH128_isEqual(a->pixels, b->pixels);
}

/* Within a run of equal pictures each one is held against the first, which is a training image where there is one. */
static tr_status report_duplicates(const look *items, size_t count, const char *class_name, tr_findings *findings) {
  const look **order = malloc((count + 1) * sizeof *order);
  if (!order)
    return tr_out_of_memory("verifying a data set");
  size_t readable = 0;
  for (size_t i = 0; i < count; ++i)
    if (items[i].readable)
      order[readable++] = &items[i];
  qsort(order, readable, sizeof *order, compare_content);
  for (size_t i = 1, first = 0; i < readable; ++i) {
    const look *a = order[first], *b = order[i];
    if (!same_content(a, b)) {
      first = i;
      continue;
    }
    /* A test image among the training images, or under two labels, spoils what is measured. */
    bool is_error = a->train != b->train || a->sample->anomalous != b->sample->anomalous;
    tr_finding(findings, is_error, class_name, "%s/%s and %s/%s are the same picture", side(a), a->sample->name, side(b),
               b->sample->name);
  }
  free(order);
  return TR_OK;
}

enum { NAMES_SHOWN = 3 };

/* "<what>: 5 (a, b, c, …)" */
static void report_names(tr_findings *findings, bool is_error, const char *class_name, const char *what, const char *const *names,
                         size_t count) {
  char list[512] = "";
  size_t used = 0;
  for (size_t i = 0; i < count && i < NAMES_SHOWN && used < sizeof list; ++i)
    used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
  if (count)
    tr_finding(findings, is_error, class_name, "%s: %zu (%s%s)", what, count, list, count > NAMES_SHOWN ? ", …" : "");
}

static int compare_names(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* `used` and `without` have room for every test image, `without` also for every mask. */
static void report_pairs(const tr_dataset *dataset, const tr_class *class_, const tr_strings *masks, const char **used,
                         const char **without, tr_findings *findings) {
  size_t used_count = 0, count = 0;
  for (size_t i = 0; i < class_->test_count; ++i) {
    const tr_sample *sample = &class_->test[i];
    if (sample->mask)
      used[used_count++] = sample->mask;
    else if (sample->anomalous)
      without[count++] = sample->name;
  }
  report_names(findings, dataset->layout->masks_expected, class_->name, "defective images without a mask", without, count);
  qsort(used, used_count, sizeof *used, compare_names);
  count = 0;
  size_t folder = strlen(dataset->folder) + 1;
  for (size_t i = 0; i < masks->count; ++i)
    if (!bsearch(&masks->items[i], used, used_count, sizeof *used, compare_names))
      without[count++] = masks->items[i] + folder;
  report_names(findings, true, class_->name, "masks without a defective image", without, count);
}

static tr_status report_unpaired(const tr_dataset *dataset, const tr_class *class_, tr_findings *findings) {
  tr_strings masks = {0};
  tr_status status = dataset->layout->masks(dataset, class_->name, &masks);
  if (status != TR_OK) {
    tr_strings_free(&masks);
    return status;
  }
  const char **used = calloc(2 * class_->test_count + masks.count + 1, sizeof *used);
  if (used)
    report_pairs(dataset, class_, &masks, used, used + class_->test_count, findings);
  else
    status = tr_out_of_memory("verifying a data set");
  free(used);
  tr_strings_free(&masks);
  return status;
}

static size_t move_others_first(tr_strings *names, bool videos) {
  size_t others = 0;
  for (size_t i = 0; i < names->count; ++i) {
    char *name = names->items[i];
    if (name[0] == '.' || tr_is_image_name(name) || (videos && tr_is_video_name(name)))
      continue;
    names->items[i] = names->items[others];
    names->items[others++] = name;
  }
  return others;
}

/* Files beside the images that no reader here takes, such as .tif, counted for each folder images were found in. */
static tr_status report_other_files(const tr_class *class_, tr_findings *findings) {
  char *previous = NULL;
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < class_->train_count + class_->test_count; ++i) {
    const tr_sample *sample = i < class_->train_count ? &class_->train[i] : &class_->test[i - class_->train_count];
    size_t length = (size_t)(strrchr(sample->path, '/') - sample->path);
    if (previous && strlen(previous) == length && memcmp(previous, sample->path, length) == 0)
      continue;
    free(previous);
    previous = strndup(sample->path, length);
    tr_strings names = {0};
    status = previous ? tr_folder_list(previous, &names) : tr_out_of_memory("verifying a data set");
    size_t others = move_others_first(&names, sample->videos != NULL);
    report_names(findings, false, class_->name, "files that are not read, being no png, jpg, jpeg or bmp",
                 (const char *const *)names.items, others);
    tr_strings_free(&names);
  }
  free(previous);
  return status;
}

static void look_list(look *items, const tr_sample *samples, size_t count, bool train, int mask_threshold) {
  for (size_t i = 0; i < count; ++i)
    items[i] = (look){.sample = &samples[i], .train = train, .mask_threshold = mask_threshold};
}

static tr_status verify_class(const tr_dataset *dataset, const tr_class *class_, tr_pool *pool, tr_findings *findings) {
  size_t count = class_->train_count + class_->test_count;
  look *items = calloc(count + 1, sizeof *items);
  if (!items)
    return tr_out_of_memory("verifying a data set");
  look_list(items, class_->train, class_->train_count, true, class_->mask_threshold);
  look_list(items + class_->train_count, class_->test, class_->test_count, false, class_->mask_threshold);
  tr_status status = tr_pool_run(pool, count, look_task, items);
  if (status == TR_OK)
    report_files(items, count, class_->name, findings);
  if (status == TR_OK)
    status = report_duplicates(items, count, class_->name, findings);
  if (status == TR_OK)
    status = report_unpaired(dataset, class_, findings);
  if (status == TR_OK)
    status = report_other_files(class_, findings);
  if (status == TR_OK && dataset->layout->remark_class)
    status = dataset->layout->remark_class(dataset, class_, findings);
  for (size_t i = 0; i < count; ++i) {
    free(items[i].trouble);
    free(items[i].mask_trouble);
  }
  free(items);
  return status;
}

static tr_status verify_named(const tr_dataset *dataset, const char *name, tr_pool *pool, tr_findings *findings) {
  tr_class class_;
  tr_status status = tr_dataset_class(dataset, name, &class_);
  if (status == TR_ENOMEM)
    return status;
  if (status != TR_OK) {
    tr_finding(findings, true, name, "%s", tr_last_error());
    return TR_OK;
  }
  status = verify_class(dataset, &class_, pool, findings);
  tr_class_free(&class_);
  return status;
}

tr_status tr_dataset_verify(const tr_dataset *dataset, tr_finding_fn report, void *context, size_t *errors) {
  tr_findings findings = {report, context, 0};
  tr_pool *pool;
  *errors = 0;
  TR_TRY(tr_pool_create(0, &pool));
  tr_status status = dataset->layout->remark_set ? dataset->layout->remark_set(dataset, &findings) : TR_OK;
  for (size_t i = 0; status == TR_OK && i < dataset->classes.count; ++i)
    status = verify_named(dataset, dataset->classes.items[i], pool, &findings);
  tr_pool_destroy(pool);
  *errors = findings.errors;
  return status;
}
