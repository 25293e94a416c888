/* mSTC, the ShanghaiTech Campus videos as the paper takes them: every fifth frame, training and test. Nominal clips come as videos or
 * as extracted frames, test clips as frames with a mask file each.
 *
 * The paper does not say where the counting begins (offset 0 here), whether the training clips of scenes without a test clip count
 * (they do, unless `tested_only`), whether scenes are pooled or averaged (both: class "pooled", and one class a scene), and how a mask
 * is resized (tr_mask_rule). Sources: protocol facts of the paper; github.com/jnhwkim/orthoad, which pools all scenes and takes
 * test frames whose number divides by five. */
#include "datasets/layout.h"
#include "datasets/npy.h"
#include "datasets/synthetic.h"
#include "datasets/video.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char pooled[] = "pooled";
static const char scene_prefix[] = "scene_";

enum { OFFICIAL_TRAIN_CLIPS = 330, OFFICIAL_TEST_CLIPS = 107, OFFICIAL_SCENES = 13 };

static tr_status no_memory(void) {
  return tr_out_of_memory("listing mstc");
}

/* ---- clips ---- */

/* The clips of one side: folders of frames, or videos. */
typedef struct clips {
  char *folder; /* that holds them */
  tr_strings names;
  bool videos; /* names are file names then */
} clips;

static void clips_free(clips *c) {
  free(c->folder);
  tr_strings_free(&c->names);
}

static tr_status list_videos(const char *folder, tr_strings *out) {
  tr_strings names = {0};
  tr_status status = tr_folder_list(folder, &names);
  for (size_t i = 0; status == TR_OK && i < names.count; ++i)
    if (tr_is_video_name(names.items[i]))
      status = tr_strings_add(out, names.items[i]);
  tr_strings_free(&names);
  return status;
}

static tr_status list_side(const char *folder, bool videos, clips *out) {
  if (!folder)
    return no_memory();
  if (!tr_is_folder(folder))
    return TR_OK;
  TR_TRY(videos ? list_videos(folder, &out->names) : tr_folders_list(folder, &out->names));
  out->videos = videos;
  out->folder = strdup(folder);
  return out->folder ? TR_OK : no_memory();
}

/* Frames where there are any, else videos; both only where they are of equally many clips: half of an extraction is no training set. */
static tr_status list_training(const char *root, clips *out) {
  clips videos = {0};
  char *frames_folder = tr_format("%s/training/frames", root), *videos_folder = tr_format("%s/training/videos", root);
  *out = (clips){0};
  tr_status status = list_side(frames_folder, false, out);
  if (status == TR_OK)
    status = list_side(videos_folder, true, &videos);
  if (status == TR_OK && !out->names.count) {
    clips_free(out);
    *out = videos;
    videos = (clips){0};
  } else if (status == TR_OK && videos.names.count && videos.names.count != out->names.count) {
    status = tr_fail(TR_EFORMAT, "'%s' has frames of %zu clips, '%s' %zu videos: extract all of them, or move one folder away",
                     frames_folder, out->names.count, videos_folder, videos.names.count);
  }
  clips_free(&videos);
  free(frames_folder);
  free(videos_folder);
  return status;
}

static tr_status list_testing(const char *root, clips *out) {
  *out = (clips){0};
  char *folder = tr_format("%s/testing/frames", root);
  tr_status status = list_side(folder, false, out);
  free(folder);
  return status;
}

/* "01_0014" -> 2 */
static size_t scene_length(const char *clip) {
  return strcspn(clip, "_.");
}

/* "01_0014" and "scene_01" */
static bool in_scene(const char *clip, const char *class_name) {
  const char *scene = class_name + strlen(scene_prefix);
  return scene_length(clip) == strlen(scene) && strncmp(clip, scene, strlen(scene)) == 0;
}

static bool has_scene(const clips *c, const char *class_name) {
  for (size_t i = 0; i < c->names.count; ++i)
    if (in_scene(c->names.items[i], class_name))
      return true;
  return false;
}

/* Adds the class names of the side's scenes that are not there yet. */
static tr_status add_scenes(const clips *c, tr_strings *out) {
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < c->names.count; ++i) {
    const char *clip = c->names.items[i];
    char *name = tr_format("%s%.*s", scene_prefix, (int)scene_length(clip), clip);
    if (!name)
      return no_memory();
    if (!tr_strings_has(out, name))
      status = tr_strings_add(out, name);
    free(name);
  }
  return status;
}

/* ---- opening ---- */

static tr_status try_folder(tr_dataset *dataset, char *folder) {
  if (!folder)
    return no_memory();
  char *training = tr_format("%s/training", folder), *testing = tr_format("%s/testing/frames", folder);
  tr_status status = training && testing ? TR_OK : no_memory();
  if (status == TR_OK && tr_is_folder(training) && tr_is_folder(testing))
    dataset->folder = folder;
  else
    free(folder);
  free(training);
  free(testing);
  return status;
}

tr_status tr_mstc_classes(tr_dataset *dataset) {
  if (!dataset->frames.step)
    dataset->frames.step = TR_MSTC_STEP;
  clips train, test = {0};
  tr_strings scenes = {0};
  tr_status status = list_training(dataset->folder, &train);
  if (status == TR_OK)
    status = list_testing(dataset->folder, &test);
  if (status == TR_OK && (!train.names.count || !test.names.count))
    status = tr_fail(TR_EFORMAT,
                     "data set %s in '%s': found %zu training clips (training/frames/<clip>/ or training/videos/<clip>.avi) and "
                     "%zu test clips (testing/frames/<clip>/)",
                     dataset->layout->kind, dataset->folder, train.names.count, test.names.count);
  if (status == TR_OK)
    status = add_scenes(&test, &scenes);
  tr_strings_sort(&scenes);
  if (status == TR_OK)
    status = tr_strings_add(&dataset->classes, pooled);
  for (size_t i = 0; status == TR_OK && i < scenes.count; ++i)
    if (has_scene(&train, scenes.items[i]))
      status = tr_strings_add(&dataset->classes, scenes.items[i]);
  tr_strings_free(&scenes);
  clips_free(&train);
  clips_free(&test);
  return status;
}

static tr_status mstc_open(tr_dataset *dataset, const char *root) {
  static const char *const names[] = {"/mstc", "/shanghaitech", ""};
  for (size_t i = 0; i < sizeof names / sizeof *names && !dataset->folder; ++i)
    TR_TRY(try_folder(dataset, tr_format("%s%s", root, names[i])));
  if (!dataset->folder)
    return tr_fail(TR_EIO,
                   "data set mstc: found no folders training/ and testing/frames/ in '%s/mstc', '%s/shanghaitech' or '%s'", root,
                   root, root);
  if (tr_is_drawn_set(dataset->folder))
    return tr_fail(TR_EFORMAT, "data set mstc: '%s' was drawn by totalrecall; its data set is synthetic_mstc", dataset->folder);
  return tr_mstc_classes(dataset);
}

/* ---- frames ---- */

typedef struct numbered {
  size_t number;
  const char *name;
} numbered;

static int compare_numbers(const void *a, const void *b) {
  const numbered *x = a, *y = b;
  return x->number != y->number ? (x->number > y->number) - (x->number < y->number) : strcmp(x->name, y->name);
}

/* The last run of digits before the extension: "000.jpg", "frame_12.png". */
static bool number_of(const char *name, size_t *out) {
  const char *end = strrchr(name, '.');
  while (end > name && !isdigit((unsigned char)end[-1]))
    --end;
  const char *start = end;
  while (start > name && isdigit((unsigned char)start[-1]))
    --start;
  *out = 0;
  for (const char *p = start; p < end && *out < SIZE_MAX / 16; ++p)
    *out = 10 * *out + (size_t)(*p - '0');
  return start < end;
}

/* A folder's images by their numbers, which must follow each other; `files` owns the names. By their names, 1000.jpg would come
 * before 101.jpg. */
static tr_status list_frames(const char *folder, tr_strings *files, numbered **out) {
  TR_TRY(tr_images_list(folder, files));
  if (!files->count)
    return tr_fail(TR_EFORMAT, "the clip '%s' has no frame (png, jpg, jpeg, bmp)", folder);
  numbered *frames = calloc(files->count, sizeof *frames);
  if (!frames)
    return no_memory();
  *out = frames;
  for (size_t i = 0; i < files->count; ++i) {
    frames[i].name = files->items[i];
    if (!number_of(frames[i].name, &frames[i].number))
      return tr_fail(TR_EFORMAT, "the frame '%s' of the clip '%s' has no number in its name", frames[i].name, folder);
  }
  qsort(frames, files->count, sizeof *frames, compare_numbers);
  for (size_t i = 1; i < files->count; ++i)
    if (frames[i].number != frames[i - 1].number + 1)
      return tr_fail(TR_EFORMAT, "the clip '%s' is not complete: '%s' follows '%s'", folder, frames[i].name, frames[i - 1].name);
  return TR_OK;
}

typedef struct lister {
  const tr_dataset *dataset;
  tr_samples train, test;
  tr_videos *videos;
} lister;

static tr_status add_video(lister *l, const char *folder, const char *file) {
  char *path = tr_format("%s/%s", folder, file);
  if (!path)
    return no_memory();
  size_t frames = 0;
  int h = 0, w = 0;
  tr_status status = tr_video_probe(path, &frames, &h, &w);
  int clip = (int)(strrchr(file, '.') - file);
  const tr_frame_options *o = &l->dataset->frames;
  for (size_t i = (size_t)o->offset; status == TR_OK && i < frames; i += (size_t)o->step)
    status = tr_samples_take(&l->train, (tr_sample){.path = strdup(path),
                                                    .name = tr_format("%.*s/%06zu", clip, file, i),
                                                    .defect = strdup("good"),
                                                    .frame = i,
                                                    .videos = l->videos,
                                                    .h = h,
                                                    .w = w});
  free(path);
  return status;
}

static tr_status add_nominal_clip(lister *l, const char *folder, const char *clip) {
  char *path = tr_format("%s/%s", folder, clip);
  tr_strings files = {0};
  numbered *frames = NULL;
  tr_status status = path ? list_frames(path, &files, &frames) : no_memory();
  const tr_frame_options *o = &l->dataset->frames;
  for (size_t i = (size_t)o->offset; frames && status == TR_OK && i < files.count; i += (size_t)o->step)
    status = tr_samples_take(&l->train, (tr_sample){.path = tr_format("%s/%s", path, frames[i].name),
                                                    .name = tr_format("%s/%s", clip, frames[i].name),
                                                    .defect = strdup("good"),
                                                    .frame = i});
  free(frames);
  tr_strings_free(&files);
  free(path);
  return status;
}

static tr_status add_test_frame(lister *l, const char *folder, const char *clip, const numbered *frame, size_t i,
                                const tr_npy *masks, const char *mask_path) {
  bool marked = tr_npy_frame_marked(masks, i);
  char *mask = marked ? strdup(mask_path) : NULL;
  if (marked && !mask)
    return no_memory();
  return tr_samples_take(&l->test, (tr_sample){.path = tr_format("%s/%s", folder, frame->name),
                                               .name = tr_format("%s/%s", clip, frame->name),
                                               .mask = mask,
                                               .defect = strdup(marked ? "anomaly" : "good"),
                                               .anomalous = marked,
                                               .frame = i});
}

static tr_status check_masks(const tr_npy *masks, const char *path, const char *folder, size_t frames) {
  if (masks->dimensions != 3)
    return tr_fail(TR_EFORMAT, "%s: expected masks of shape [frames, h, w], found %d dimensions", path, masks->dimensions);
  if (masks->shape[0] != frames)
    return tr_fail(TR_EFORMAT, "%s has masks of %zu frames, its clip '%s' has %zu frames", path, masks->shape[0], folder, frames);
  return TR_OK;
}

static char *mask_file(const tr_dataset *dataset, const char *clip) {
  return tr_format("%s/testing/test_pixel_mask/%s.npy", dataset->folder, clip);
}

static tr_status add_test_clip(lister *l, const char *folder, const char *clip) {
  char *path = tr_format("%s/%s", folder, clip), *mask = mask_file(l->dataset, clip);
  tr_strings files = {0};
  numbered *frames = NULL;
  tr_npy masks = {0};
  tr_status status = path && mask ? list_frames(path, &files, &frames) : no_memory();
  if (status == TR_OK)
    status = tr_npy_open(mask, &masks);
  if (status == TR_OK)
    status = check_masks(&masks, mask, path, files.count);
  const tr_frame_options *o = &l->dataset->frames;
  for (size_t i = (size_t)o->offset; frames && status == TR_OK && i < files.count; i += (size_t)o->step)
    status = add_test_frame(l, path, clip, &frames[i], i, &masks, mask);
  tr_npy_close(&masks);
  free(frames);
  tr_strings_free(&files);
  free(path);
  free(mask);
  return status;
}

/* ---- a class ---- */

static bool wanted(const tr_dataset *dataset, const char *class_name, const char *clip, const clips *test) {
  if (strcmp(class_name, pooled) != 0)
    return in_scene(clip, class_name);
  for (size_t i = 0; dataset->frames.tested_only && i < test->names.count; ++i) {
    size_t length = scene_length(clip);
    if (scene_length(test->names.items[i]) == length && strncmp(test->names.items[i], clip, length) == 0)
      return true;
  }
  return !dataset->frames.tested_only;
}

static tr_status list_clips(lister *l, const char *class_name, const clips *train, const clips *test) {
  for (size_t i = 0; i < train->names.count; ++i) {
    const char *clip = train->names.items[i];
    if (wanted(l->dataset, class_name, clip, test))
      TR_TRY(train->videos ? add_video(l, train->folder, clip) : add_nominal_clip(l, train->folder, clip));
  }
  for (size_t i = 0; i < test->names.count; ++i)
    if (strcmp(class_name, pooled) == 0 || in_scene(test->names.items[i], class_name))
      TR_TRY(add_test_clip(l, test->folder, test->names.items[i]));
  if (!l->train.count || !l->test.count)
    return tr_fail(TR_EFORMAT, "class %s of '%s' has %zu training and %zu test frames from number %d on", class_name,
                   l->dataset->folder, l->train.count, l->test.count, l->dataset->frames.offset);
  return TR_OK;
}

tr_status tr_mstc_list(const tr_dataset *dataset, const char *name, tr_class *out) {
  lister l = {.dataset = dataset};
  clips train = {0}, test = {0};
  tr_status status = list_training(dataset->folder, &train);
  if (status == TR_OK)
    status = list_testing(dataset->folder, &test);
  if (status == TR_OK && train.videos)
    status = tr_videos_create(&l.videos);
  if (status == TR_OK)
    status = list_clips(&l, name, &train, &test);
  if (status == TR_OK) {
    tr_class_fill(out, &l.train, &l.test);
    out->mask_rule = dataset->frames.mask;
    out->videos = l.videos;
  } else {
    tr_videos_destroy(l.videos);
  }
  tr_samples_free(&l.train);
  tr_samples_free(&l.test);
  clips_free(&train);
  clips_free(&test);
  return status;
}

/* ---- verifying ---- */

/* Masks of clips that are not there; those of the others were held against their frames when they were listed. */
tr_status tr_mstc_masks(const tr_dataset *dataset, const char *name, tr_strings *out) {
  clips test = {0};
  tr_strings files = {0};
  char *folder = tr_format("%s/testing/test_pixel_mask", dataset->folder);
  tr_status status = folder ? list_testing(dataset->folder, &test) : no_memory();
  if (status == TR_OK && strcmp(name, pooled) == 0)
    status = tr_folder_list(folder, &files);
  for (size_t i = 0; status == TR_OK && i < files.count; ++i) {
    size_t length = strlen(files.items[i]);
    if (length < 5 || strcmp(files.items[i] + length - 4, ".npy") != 0)
      continue;
    char *clip = strndup(files.items[i], length - 4);
    if (!clip)
      status = no_memory();
    else if (!tr_strings_has(&test.names, clip))
      status = tr_strings_take(out, mask_file(dataset, clip));
    free(clip);
  }
  tr_strings_free(&files);
  clips_free(&test);
  free(folder);
  return status;
}

static tr_status mstc_remark_set(const tr_dataset *dataset, tr_findings *findings) {
  clips train, test = {0};
  tr_strings scenes = {0};
  tr_status status = list_training(dataset->folder, &train);
  if (status == TR_OK)
    status = list_testing(dataset->folder, &test);
  if (status == TR_OK)
    status = add_scenes(&train, &scenes);
  if (status == TR_OK &&
      (train.names.count != OFFICIAL_TRAIN_CLIPS || test.names.count != OFFICIAL_TEST_CLIPS || scenes.count != OFFICIAL_SCENES))
    tr_finding(findings, false, NULL, "%zu training and %zu test clips in %zu scenes; ShanghaiTech Campus has %d and %d in %d",
               train.names.count, test.names.count, scenes.count, OFFICIAL_TRAIN_CLIPS, OFFICIAL_TEST_CLIPS, OFFICIAL_SCENES);
  for (size_t i = 0; status == TR_OK && i < scenes.count; ++i)
    if (!has_scene(&test, scenes.items[i]))
      tr_finding(findings, false, NULL, "%s has no test clip; class %s has its training frames unless frames.tested_only is set",
                 scenes.items[i], pooled);
  tr_strings_free(&scenes);
  clips_free(&train);
  clips_free(&test);
  return status;
}

const tr_layout tr_layout_mstc = {
    .kind = "mstc",
    .masks_expected = true,
    .open = mstc_open,
    .list = tr_mstc_list,
    .masks = tr_mstc_masks,
    .remark_set = mstc_remark_set,
};
