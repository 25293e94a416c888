/* A data set: classes, and per class the list of training and test images with labels and masks. Listing reads file names
 * only; images are decoded when they are asked for. Images are .png, .jpg, .jpeg and .bmp files, in any case.
 *
 * mvtec      ROOT/mvtec/<class>/ or ROOT/<class>/ with train/good/, test/<defect>/, ground_truth/<defect>/<stem>_mask.png (or
 *            <stem>.png). Masks are paired by name.
 * mtd        ROOT/mtd/ or ROOT/ with MT_<Kind>/Imgs/<stem>.jpg and the mask <stem>.png. One class, "mtd". The split file names
 *            the training images, all of MT_Free; the test is the rest of MT_Free and every other kind.
 * folder     Own images. ROOT is one class, named as the folder, or holds a folder per class. A class has
 *              good/ or train/good/            nominal training images
 *              test/good/                      nominal test images (may be missing)
 *              test/<defect>/ or <defect>/     defective test images (may be missing)
 *              masks/, mask/ or ground_truth/  with <defect>/<stem>.png or <stem>_mask.png (may be missing)
 *            which takes the folders anomalib's users have, and MVTec's layout. A test image without a mask is anomalous with its
 *            place unknown. A class without test images is allowed here: test_count is 0.
 * synthetic  ROOT/synthetic/ or ROOT/, as tr_synthesize drew it.
 * synthetic_mstc  ROOT/synthetic_mstc/ or ROOT/, as tr_synthesize_clips drew it; read as mstc, which does not take it.
 * mstc       ShanghaiTech Campus: ROOT/mstc/, ROOT/shanghaitech/ or ROOT/ with
 *              training/frames/<clip>/ or training/videos/<clip>.avi    nominal frames; videos need libav (datasets/video.h)
 *              testing/frames/<clip>/                                   frames
 *              testing/test_pixel_mask/<clip>.npy                       their masks, [frames, h, w], not 0: defect
 *            Of each clip every step-th frame is taken. Frames of a folder are counted by the numbers in their names. A clip belongs to the
 *            scene that its name begins with ("01" of "01_0014"). Classes: "pooled" has all clips, "scene_01" those of a scene
 *            that is on both sides. Listing reads the masks too: a frame is anomalous when its mask is not empty. */
#ifndef TR_DATASETS_DATASET_H
#define TR_DATASETS_DATASET_H

#include "datasets/image.h"
#include "host/base/text.h"
#include "host/totalrecall.h"

typedef struct tr_sample {
  char *path;   /* file */
  char *name;   /* path below the class's test (or train) folder, "/"-separated: "broken_large/000.png"; the key in --scores */
  char *mask;   /* file, or NULL: no defect, or the defect's place is unknown */
  char *defect; /* "good", "broken_large", … */
  bool anomalous;
  size_t frame; /* of a clip, from 0: which frame of `path` where that is a video, and of `mask` where that is an .npy file */
  struct tr_videos *videos; /* the class's; NULL: `path` is an image */
  int h, w;                 /* of a video's frames; 0: what the image's header says */
} tr_sample;

/* What counts as defect in a mask after its resize to the image's size. */
typedef enum tr_mask_rule {
  TR_MASK_FULL, /* only what is all defect: a value of 255, as the official loader's masks count in pixel AUROC */
  TR_MASK_HALF, /* at least half: 128 and more count as 255, the rest as 0 */
  TR_MASK_ANY   /* any part: all above 0 counts as 255 */
} tr_mask_rule;

typedef struct tr_class {
  char *name;
  tr_sample *train, *test; /* sorted by name as the official loader sorts (folder, then file) */
  size_t train_count, test_count;
  /* A mask value above it counts as defect before the resize (binarised to 0 and 255); -1: the mask is taken as it is.
   * mvtec and synthetic -1, mtd 127, folder 0. */
  int mask_threshold;
  tr_mask_rule mask_rule;
  struct tr_videos *videos; /* open decoders, or NULL */
} tr_class;

/* Every fifth frame, as the paper has it. */
enum { TR_MSTC_STEP = 5 };

/* What the paper leaves open about mSTC. Zeros are the defaults. */
typedef struct tr_frame_options {
  int step;         /* every step-th frame of each clip; 0: TR_MSTC_STEP */
  int offset;       /* number of the first one, below step */
  bool tested_only; /* pooled: without the training clips of scenes that have no test clip */
  tr_mask_rule mask;
} tr_frame_options;

typedef struct tr_dataset_options {
  const char *kind;        /* mvtec, mtd, mstc, folder, synthetic, synthetic_mstc */
  const char *root;        /* folder that holds `mvtec/`, `mtd/`, …, or the data set's own folder */
  const char *split_file;  /* mtd: file with the names of the training images; NULL: differnet_train.txt beside the data */
  tr_frame_options frames; /* mstc, synthetic_mstc */
} tr_dataset_options;

typedef struct tr_dataset tr_dataset;

const char *const *tr_dataset_kinds(size_t *count);
/* Kinds that consist of clips: tr_frame_options are theirs. */
bool tr_dataset_has_frames(const char *kind);

/* Resolves the folder and lists the class names (sorted). EINVAL: an unknown kind, no root, or split_file or frames where they have no
 * meaning or a value out of range.
 * EIO and EFORMAT name what was looked for. */
tr_status tr_dataset_open(const tr_dataset_options *options, tr_dataset **out);
void tr_dataset_close(tr_dataset *dataset);
const char *tr_dataset_kind(const tr_dataset *dataset);
const char *tr_dataset_folder(const tr_dataset *dataset);
const tr_strings *tr_dataset_classes(const tr_dataset *dataset);
/* Lists one class; free with tr_class_free. EINVAL: no such class (the known ones are named). EIO: no train or test folder, no split
 * file. EFORMAT: a train or test folder without images, a split file that does not fit. After a failure *out is empty. */
tr_status tr_dataset_class(const tr_dataset *dataset, const char *name, tr_class *out);
void tr_class_free(tr_class *class_);

/* The image of a sample, RGB; its size, without decoding it; and its mask, one channel. Errors as tr_image_read; EFORMAT also for a
 * frame that a video or .npy file does not have. Any number of threads may ask for samples of a class. */
tr_status tr_sample_image(const tr_sample *sample, tr_image *out);
tr_status tr_sample_size(const tr_sample *sample, int *h, int *w);
tr_status tr_sample_mask(const tr_sample *sample, tr_image *out);

/* Looks at everything: missing folders, undecodable images, the same image in train and test (by its decoded pixels), defects
 * without a mask or masks without a defect, masks of another size or without a marked pixel, files that are not read, counts
 * against the official ones. Calls `report` per finding, in the same order every time, from the calling thread; is_error tells
 * errors from remarks, class_name is NULL for what concerns the whole set. Returns TR_OK when it could look, whatever it found. */
typedef void (*tr_finding_fn)(void *context, bool is_error, const char *class_name, const char *text);
tr_status tr_dataset_verify(const tr_dataset *dataset, tr_finding_fn report, void *context, size_t *errors);

/* Draws the synthetic data set into `folder`, which is made or empty, in MVTec's layout: two textures (cloth, granite) and three
 * objects (board, capsule, nut) with four kinds of defects each, PNG files, and a file synthetic.txt with the settings. A picture
 * is fixed by the seed, its class, kind and number. The folder appears under its name when it is whole; a failure or a
 * cancellation leaves nothing behind. EIO: the folder is not empty. EINVAL: a count or size out of range, an unknown class. */
typedef struct tr_synthesize_options {
  const char *class_name; /* only this one, as it is among the others; NULL: all */
  uint64_t seed;
  int train, good, per_defect; /* images per class; 0 = the default (40, 12, 6) */
  int size;                    /* pixels of the shorter side, 32 to 4096; 0 = the default (320) */
  int threads;                 /* 0 = all processors; the pictures do not depend on it */
} tr_synthesize_options;
tr_status tr_synthesize(const char *folder, const tr_synthesize_options *options);

/* Draws a small set in ShanghaiTech Campus's layout, in four scenes: training clips as videos (or, with `frames`, as the same pictures one by
 * one, for builds without libav), test clips with a mask file each, in which a cyclist or a cart is the anomaly. It shows that mSTC's
 * protocol runs; its numbers say nothing about mSTC. Otherwise as tr_synthesize. */
typedef struct tr_synthesize_clips_options {
  uint64_t seed;
  bool frames;
  int size;    /* pixels of the shorter side, 32 to 4096; 0 = the default (120, a quarter of the campus's) */
  int threads; /* 0 = all processors; the pictures do not depend on it */
} tr_synthesize_clips_options;
tr_status tr_synthesize_clips(const char *folder, const tr_synthesize_clips_options *options);

/* Whether the program draws the kind: synthetic and synthetic_mstc. */
bool tr_dataset_is_drawn(const char *kind);
/* Draws one of these with the defaults; videos where this build reads them. */
tr_status tr_dataset_draw(const char *kind, const char *folder);

/* A class as tr_synthesize draws it by default, for plans that are made before. false: there is no class of this number. */
typedef struct tr_outline {
  const char *name;
  size_t train, test, anomalous;
  int h, w;
} tr_outline;
bool tr_synthetic_outline(int number, tr_outline *out);

#endif
