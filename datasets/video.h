/* Frames of videos by libavformat, libavcodec and libswscale (builds without them read none). Internal to datasets/.
 *
 * A frame's number is its place in the order of display, from 0, as `ffmpeg -i clip.avi %06d.png` writes them. Videos are always decoded
 * from their beginning, never sought in: then a number means the same frame whatever the container's index and time stamps say. Decoders
 * stay open at the place they came to, so asking for the frames of a video in order decodes it once for each thread that asks.
 *
 * Colours: libswscale to RGB with accurate rounding; the file's matrix and range, BT.601 and limited where it states none (ffmpeg's own
 * default). */
#ifndef TR_DATASETS_VIDEO_H
#define TR_DATASETS_VIDEO_H

#include "datasets/image.h"

/* Open decoders, shared by threads. */
typedef struct tr_videos tr_videos;
tr_status tr_videos_create(tr_videos **out);
void tr_videos_destroy(tr_videos *videos);

/* EFORMAT names the video: no such frame, damaged or cut short before it. */
tr_status tr_video_frame(tr_videos *videos, const char *path, size_t frame, tr_image *out);

/* Frames and size, from the container's header and index. A video that was cut short shows when it is decoded. */
tr_status tr_video_probe(const char *path, size_t *frames, int *h, int *w);

/* True for the extensions avi and mp4 in any case. */
bool tr_is_video_name(const char *name);
/* What decodes videos, its version; NULL: none in this build, or it cannot be loaded. */
const char *tr_video_library(void);

#endif
