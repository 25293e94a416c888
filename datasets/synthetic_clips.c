/* The synthetic set of videos, in the layout of ShanghaiTech Campus, and kind "synthetic_mstc": four scenes, of which the last has no test
 * clip, as one of the real ones. A frame depends on (seed, scene, side, clip, number) alone. */
#include "datasets/avi.h"
#include "datasets/image.h"
#include "datasets/layout.h"
#include "datasets/npy.h"
#include "datasets/synthetic.h"
#include "datasets/video.h"
#include "host/base/progress.h"
#include "host/base/threads.h"

#include <stdlib.h>
#include <string.h>

enum { TRAIN_FRAMES = 60, TEST_FRAMES = 50, FRAMES_PER_SECOND = 24, DEFAULT_SIDE = 120 };

static const struct clip_name {
  int scene;
  bool test;
  int number;
} clip_names[] = {
    {0, false, 0}, {0, false, 1}, {1, false, 0}, {1, false, 1}, {2, false, 0}, {3, false, 0},
    {0, true, 0},  {0, true, 1},  {1, true, 0},  {1, true, 1},  {2, true, 0},
};
enum { CLIPS = sizeof clip_names / sizeof *clip_names };

static tr_status no_memory(void) {
  return tr_out_of_memory("drawing the synthetic set of videos");
}

/* ---- a clip ---- */

typedef struct clip_job {
  const char *folder; /* of the set */
  const tr_synthesize_clips_options *options;
} clip_job;

/* A clip that is being written. */
typedef struct reel {
  tr_film *film;
  char *folder; /* of its frames */
  int h, w;
  uint8_t *masks; /* [TEST_FRAMES, h, w]; of a training clip [h, w] */
} reel;

static tr_status draw_frame(void *context, int frame, uint8_t *rgb) {
  reel *r = context;
  if (tr_cancel_requested())
    return tr_fail(TR_ECANCELED, "drawing the synthetic set of videos: canceled");
  return tr_film_frame(r->film, frame, rgb, r->masks);
}

static tr_status write_frame(const reel *r, int frame, const uint8_t *rgb) {
  char *path = tr_format("%s/%03d.png", r->folder, frame);
  tr_status status = path ? tr_image_write_png(path, rgb, r->h, r->w, 3) : no_memory();
  free(path);
  return status;
}

/* Every frame as a file; of a test clip, masks one after the other. */
static tr_status write_frames(reel *r, int frames, bool test) {
  TR_TRY(tr_make_folders(r->folder));
  size_t pixels = (size_t)r->h * (size_t)r->w;
  uint8_t *rgb = malloc(3 * pixels), *first = r->masks;
  tr_status status = rgb ? TR_OK : no_memory();
  for (int i = 0; status == TR_OK && i < frames; ++i) {
    r->masks = first + (test ? (size_t)i * pixels : 0);
    status = draw_frame(r, i, rgb);
    if (status == TR_OK)
      status = write_frame(r, i, rgb);
  }
  r->masks = first;
  free(rgb);
  return status;
}

static tr_status write_video(reel *r, const char *path) {
  return tr_avi_write(path, &(tr_avi){.h = r->h,
                                      .w = r->w,
                                      .frames = TRAIN_FRAMES,
                                      .frames_per_second = FRAMES_PER_SECOND,
                                      .picture = draw_frame,
                                      .context = r});
}

static tr_status write_training(const clip_job *job, reel *r, const char *name) {
  char *path = job->options->frames ? tr_format("%s/training/frames/%s", job->folder, name)
                                    : tr_format("%s/training/videos/%s.avi", job->folder, name);
  r->folder = path;
  tr_status status = !path ? no_memory() : job->options->frames ? write_frames(r, TRAIN_FRAMES, false) : write_video(r, path);
  free(path);
  return status;
}

static tr_status write_testing(const clip_job *job, reel *r, const char *name) {
  char *path = tr_format("%s/testing/frames/%s", job->folder, name);
  char *mask = tr_format("%s/testing/test_pixel_mask/%s.npy", job->folder, name);
  r->folder = path;
  tr_status status = path && mask ? write_frames(r, TEST_FRAMES, true) : no_memory();
  if (status == TR_OK)
    status = tr_npy_write_masks(mask, r->masks, TEST_FRAMES, (size_t)r->h, (size_t)r->w);
  free(path);
  free(mask);
  return status;
}

/* "01_001" and "01_0001", as the real ones are named. */
static char *name_of(const struct clip_name *clip) {
  return tr_format(clip->test ? "%02d_%04d" : "%02d_%03d", clip->scene + 1, clip->number + 1);
}

static tr_status clip_task(void *context, size_t i) {
  const clip_job *job = context;
  const struct clip_name *named = &clip_names[i];
  tr_clip clip = {job->options->seed, named->scene, named->test, named->number, job->options->size};
  reel r = {.film = NULL};
  tr_clip_extent(&clip, &r.h, &r.w);
  char *name = name_of(named);
  r.masks = malloc((named->test ? (size_t)TEST_FRAMES : 1) * (size_t)r.h * (size_t)r.w);
  tr_status status = name && r.masks ? tr_film_open(&clip, &r.film) : no_memory();
  if (status == TR_OK)
    status = named->test ? write_testing(job, &r, name) : write_training(job, &r, name);
  tr_film_close(r.film);
  free(r.masks);
  free(name);
  return status;
}

/* ---- the folder ---- */

static tr_status make_folder(const char *folder, const char *below) {
  char *path = tr_format("%s/%s", folder, below);
  tr_status status = path ? tr_make_folders(path) : no_memory();
  free(path);
  return status;
}

static tr_status draw_clips(const char *folder, const void *options, char **settings) {
  clip_job job = {folder, options};
  TR_TRY(make_folder(folder, job.options->frames ? "training/frames" : "training/videos"));
  TR_TRY(make_folder(folder, "testing/frames"));
  TR_TRY(make_folder(folder, "testing/test_pixel_mask"));
  tr_pool *pool;
  TR_TRY(tr_pool_create(job.options->threads, &pool));
  tr_status status = tr_pool_run(pool, CLIPS, clip_task, &job);
  tr_pool_destroy(pool);
  *settings = tr_format("clips %s\nseed %llu\nsize %d\n", job.options->frames ? "frames" : "videos",
                        (unsigned long long)job.options->seed, job.options->size);
  return status;
}

tr_status tr_synthesize_clips(const char *folder, const tr_synthesize_clips_options *options) {
  tr_synthesize_clips_options settings = *options;
  settings.size = settings.size ? settings.size : DEFAULT_SIDE;
  TR_TRY(tr_check_drawn_size(settings.size));
  return tr_draw_set(folder, draw_clips, &settings);
}

bool tr_dataset_is_drawn(const char *kind) {
  return strcmp(kind, tr_layout_synthetic.kind) == 0 || strcmp(kind, tr_layout_synthetic_mstc.kind) == 0;
}

tr_status tr_dataset_draw(const char *kind, const char *folder) {
  if (strcmp(kind, tr_layout_synthetic_mstc.kind) == 0)
    return tr_synthesize_clips(folder, &(tr_synthesize_clips_options){.frames = !tr_video_library()});
  return tr_synthesize(folder, &(tr_synthesize_options){0});
}

/* ---- kind "synthetic_mstc" ---- */

static bool is_drawn(const char *folder) {
  char *training = tr_format("%s/training", folder);
  bool found = training && tr_is_drawn_set(folder) && tr_is_folder(training);
  free(training);
  return found;
}

static tr_status open_drawn(tr_dataset *dataset, const char *root) {
  char *below = tr_format("%s/synthetic_mstc", root);
  if (!below)
    return no_memory();
  tr_status status = TR_OK;
  if (is_drawn(below) || is_drawn(root))
    dataset->folder = strdup(is_drawn(below) ? below : root);
  else
    status = tr_fail(TR_EIO, "data set synthetic_mstc: there is none in '%s'; draw it: totalrecall synthesize %s --clips videos",
                     below, below);
  free(below);
  if (status == TR_OK && !dataset->folder)
    status = no_memory();
  return status == TR_OK ? tr_mstc_classes(dataset) : status;
}

const tr_layout tr_layout_synthetic_mstc = {
    .kind = "synthetic_mstc",
    .masks_expected = true,
    .open = open_drawn,
    .list = tr_mstc_list,
    .masks = tr_mstc_masks,
};
