/* Decoding videos, and the pool of open decoders. */
#include "datasets/video.h"
#include "datasets/image_codecs.h"
#include "host/base/status.h"
#include "host/base/threads.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#ifdef TR_HAVE_LIBAV
#include "datasets/libav.h"
#endif

bool tr_is_video_name(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot && name[0] != '.' && (strcasecmp(dot, ".avi") == 0 || strcasecmp(dot, ".mp4") == 0);
}

#ifdef TR_HAVE_LIBAV

const char *tr_video_library(void) {
  const tr_libav *av;
  return tr_libav_load(&av) == TR_OK ? AV_STRINGIFY(LIBAVCODEC_VERSION) : NULL;
}

/* A video that is open, and how far it was decoded. */
typedef struct decoder {
  char *path;
  const tr_libav *av;
  AVFormatContext *format;
  AVCodecContext *codec;
  AVPacket *packet;
  AVFrame *frame;
  struct SwsContext *scaler;
  int stream;
  bool ended;   /* the file has no more packets */
  size_t next;  /* number of the frame that comes next */
  uint64_t age; /* of its last use */
} decoder;

struct tr_videos {
  pthread_mutex_t lock;
  decoder **idle; /* [most] */
  size_t count, most;
  uint64_t uses;
};

static tr_status av_failed(const decoder *d, int error, const char *doing) {
  char text[AV_ERROR_MAX_STRING_SIZE] = "";
  d->av->av_strerror(error, text, sizeof text);
  if (error == AVERROR(ENOMEM))
    return tr_fail(TR_ENOMEM, "%s %s: out of memory", doing, d->path);
  return tr_fail(error == AVERROR(ENOENT) || error == AVERROR(EACCES) || error == AVERROR(EIO) ? TR_EIO : TR_EFORMAT, "%s %s: %s",
                 doing, d->path, text);
}

static void decoder_close(decoder *d) {
  if (!d)
    return;
  d->av->sws_freeContext(d->scaler);
  d->av->av_frame_free(&d->frame);
  d->av->av_packet_free(&d->packet);
  d->av->avcodec_free_context(&d->codec);
  d->av->avformat_close_input(&d->format);
  free(d->path);
  free(d);
}

/* The container, its first stream of pictures, and what decodes it. */
static tr_status open_format(decoder *d, const AVCodec **codec) {
  int error = d->av->avformat_open_input(&d->format, d->path, NULL, NULL);
  if (error < 0)
    return av_failed(d, error, "opening the video");
  d->stream = d->av->av_find_best_stream(d->format, AVMEDIA_TYPE_VIDEO, -1, -1, codec, 0);
  if (d->stream < 0 || d->format->streams[d->stream]->codecpar->width <= 0) { /* the header says too little */
    error = d->av->avformat_find_stream_info(d->format, NULL);
    d->stream = error < 0 ? error : d->av->av_find_best_stream(d->format, AVMEDIA_TYPE_VIDEO, -1, -1, codec, 0);
  }
  return d->stream < 0 ? av_failed(d, d->stream, "looking for pictures in the video") : TR_OK;
}

static tr_status open_codec(decoder *d, const AVCodec *codec) {
  d->packet = d->av->av_packet_alloc();
  d->frame = d->av->av_frame_alloc();
  d->codec = d->av->avcodec_alloc_context3(codec);
  if (!d->packet || !d->frame || !d->codec)
    return tr_fail(TR_ENOMEM, "decoding the video %s: out of memory", d->path);
  int error = d->av->avcodec_parameters_to_context(d->codec, d->format->streams[d->stream]->codecpar);
  d->codec->thread_count = 1; /* lanes decode side by side */
  if (error >= 0)
    error = d->av->avcodec_open2(d->codec, codec, NULL);
  return error < 0 ? av_failed(d, error, "decoding the video") : TR_OK;
}

static tr_status decoder_open(const char *path, decoder **out) {
  const tr_libav *av;
  TR_TRY(tr_libav_load(&av));
  decoder *d = calloc(1, sizeof *d);
  if (!d || !(d->path = strdup(path))) {
    free(d);
    return tr_fail(TR_ENOMEM, "opening the video %s: out of memory", path);
  }
  d->av = av;
  const AVCodec *codec = NULL;
  tr_status status = open_format(d, &codec);
  if (status == TR_OK)
    status = open_codec(d, codec);
  if (status != TR_OK) {
    decoder_close(d);
    return status;
  }
  *out = d;
  return TR_OK;
}

/* A frame that the decoder does not take. */
static tr_status frame_failed(const decoder *d, int error) {
  if (error == AVERROR(ENOMEM))
    return av_failed(d, error, "decoding the video");
  char text[AV_ERROR_MAX_STRING_SIZE] = "";
  d->av->av_strerror(error, text, sizeof text);
  return tr_fail(TR_EFORMAT, "the video %s cannot be decoded after %zu frames (%s): it is cut short or damaged", d->path, d->next,
                 text);
}

/* Hands the decoder one more packet, or the end. */
static tr_status feed_packet(decoder *d) {
  int error;
  do {
    d->av->av_packet_unref(d->packet);
    error = d->av->av_read_frame(d->format, d->packet);
  } while (error >= 0 && d->packet->stream_index != d->stream);
  if (error < 0 && error != AVERROR_EOF)
    return av_failed(d, error, "reading the video");
  d->ended = error == AVERROR_EOF;
  error = d->av->avcodec_send_packet(d->codec, d->ended ? NULL : d->packet);
  return error < 0 ? frame_failed(d, error) : TR_OK;
}

/* Decodes the next frame into d->frame; *got false at the end. */
static tr_status next_frame(decoder *d, bool *got) {
  for (;;) {
    int error = d->av->avcodec_receive_frame(d->codec, d->frame);
    *got = error >= 0;
    if (*got)
      ++d->next;
    if (*got || error == AVERROR_EOF)
      return TR_OK;
    if (error != AVERROR(EAGAIN))
      return frame_failed(d, error);
    TR_TRY(feed_packet(d));
  }
}

/* Swscale's wider formats for what JPEG's range once had formats of its own. */
static enum AVPixelFormat plain_format(enum AVPixelFormat format, bool *full) {
  switch (format) {
  case AV_PIX_FMT_YUVJ420P:
    *full = true;
    return AV_PIX_FMT_YUV420P;
  case AV_PIX_FMT_YUVJ422P:
    *full = true;
    return AV_PIX_FMT_YUV422P;
  case AV_PIX_FMT_YUVJ444P:
    *full = true;
    return AV_PIX_FMT_YUV444P;
  default:
    return format;
  }
}

static tr_status prepare_scaler(decoder *d) {
  const AVFrame *f = d->frame;
  bool full = f->color_range == AVCOL_RANGE_JPEG;
  enum AVPixelFormat format = plain_format(f->format, &full);
  const int flags = SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_BITEXACT;
  d->scaler = d->av->sws_getCachedContext(d->scaler, f->width, f->height, format, f->width, f->height, AV_PIX_FMT_RGB24, flags,
                                          NULL, NULL, NULL);
  if (!d->scaler)
    return tr_fail(TR_EFORMAT, "decoding the video %s: libswscale does not read its colours", d->path);
  int matrix = f->colorspace == AVCOL_SPC_UNSPECIFIED || f->colorspace == AVCOL_SPC_RGB ? SWS_CS_ITU601 : (int)f->colorspace;
  d->av->sws_setColorspaceDetails(d->scaler, d->av->sws_getCoefficients(matrix), full, d->av->sws_getCoefficients(SWS_CS_DEFAULT),
                                  1, 0, 1 << 16, 1 << 16);
  return TR_OK;
}

static tr_status to_rgb(decoder *d, tr_image *out) {
  const AVFrame *f = d->frame;
  TR_TRY(tr_image_check_size(d->path, f->height, f->width));
  TR_TRY(prepare_scaler(d));
  /* Swscale may write past a row's end within its stride, so rows are padded and then moved together. */
  int stride = (f->width * 3 + 63) / 64 * 64;
  size_t row = (size_t)f->width * 3;
  uint8_t *pixels = malloc((size_t)stride * (size_t)f->height + 64);
  if (!pixels)
    return tr_image_no_memory(d->path, f->height, f->width);
  if (d->av->sws_scale(d->scaler, (const uint8_t *const *)f->data, f->linesize, 0, f->height, (uint8_t *const[]){pixels},
                       (int[]){stride}) != f->height) {
    free(pixels);
    return tr_fail(TR_EFORMAT, "decoding the video %s: libswscale cannot turn its pictures into RGB", d->path);
  }
  for (int y = 1; y < f->height; ++y)
    memmove(pixels + (size_t)y * row, pixels + (size_t)y * (size_t)stride, row);
  *out = (tr_image){.h = f->height, .w = f->width, .channels = 3, .pixels = pixels};
  return TR_OK;
}

static tr_status decode(decoder *d, size_t frame, tr_image *out) {
  bool got = true;
  while (got && d->next <= frame)
    TR_TRY(next_frame(d, &got));
  if (!got)
    return tr_fail(TR_EFORMAT, "the video %s ends after %zu frames, asked for number %zu: it is cut short or damaged", d->path,
                   d->next, frame);
  return to_rgb(d, out);
}

/* ---- the pool ---- */

tr_status tr_videos_create(tr_videos **out) {
  *out = NULL;
  tr_videos *videos = calloc(1, sizeof *videos);
  size_t most = (size_t)tr_processors() + 2;
  if (!videos || !(videos->idle = calloc(most, sizeof *videos->idle))) {
    free(videos);
    return tr_fail(TR_ENOMEM, "reading videos: out of memory");
  }
  videos->most = most;
  pthread_mutex_init(&videos->lock, NULL);
  *out = videos;
  return TR_OK;
}

void tr_videos_destroy(tr_videos *videos) {
  if (!videos)
    return;
  for (size_t i = 0; i < videos->count; ++i)
    decoder_close(videos->idle[i]);
  pthread_mutex_destroy(&videos->lock);
  free(videos->idle);
  free(videos);
}

/* The idle decoder of the video that has come nearest to the frame, or NULL. */
static decoder *take_idle(tr_videos *videos, const char *path, size_t frame) {
  pthread_mutex_lock(&videos->lock);
  size_t best = videos->count;
  for (size_t i = 0; i < videos->count; ++i) {
    const decoder *d = videos->idle[i];
    if (d->next <= frame && strcmp(d->path, path) == 0 && (best == videos->count || d->next > videos->idle[best]->next))
      best = i;
  }
  decoder *found = best < videos->count ? videos->idle[best] : NULL;
  if (found)
    videos->idle[best] = videos->idle[--videos->count];
  pthread_mutex_unlock(&videos->lock);
  return found;
}

/* Keeps the decoder in place of the one that was used longest ago. */
static void put_idle(tr_videos *videos, decoder *d) {
  decoder *oldest = NULL;
  pthread_mutex_lock(&videos->lock);
  d->age = ++videos->uses;
  if (videos->count < videos->most) {
    videos->idle[videos->count++] = d;
  } else {
    size_t first = 0;
    for (size_t i = 1; i < videos->count; ++i)
      first = videos->idle[i]->age < videos->idle[first]->age ? i : first;
    oldest = videos->idle[first];
    videos->idle[first] = d;
  }
  pthread_mutex_unlock(&videos->lock);
  decoder_close(oldest);
}

tr_status tr_video_frame(tr_videos *videos, const char *path, size_t frame, tr_image *out) {
  *out = (tr_image){.pixels = NULL};
  decoder *d = take_idle(videos, path, frame);
  if (!d)
    TR_TRY(decoder_open(path, &d));
  tr_status status = decode(d, frame, out);
  if (status == TR_OK)
    put_idle(videos, d);
  else
    decoder_close(d);
  return status;
}

/* ---- the header ---- */

static tr_status count_packets(decoder *d, size_t *frames) {
  int error;
  while ((error = d->av->av_read_frame(d->format, d->packet)) >= 0) {
    *frames += d->packet->stream_index == d->stream;
    d->av->av_packet_unref(d->packet);
  }
  return error == AVERROR_EOF ? TR_OK : av_failed(d, error, "reading the video");
}

/* Packets that hold a picture, by the container's index; without one what its header says; without that, by reading them all. */
static tr_status count_frames(decoder *d, size_t *frames) {
  AVStream *stream = d->format->streams[d->stream];
  *frames = 0;
  for (int i = 0; i < d->av->avformat_index_get_entries_count(stream); ++i)
    *frames += d->av->avformat_index_get_entry(stream, i)->size > 0;
  if (!*frames && stream->nb_frames > 0)
    *frames = (size_t)stream->nb_frames;
  return *frames ? TR_OK : count_packets(d, frames);
}

tr_status tr_video_probe(const char *path, size_t *frames, int *h, int *w) {
  decoder *d;
  TR_TRY(decoder_open(path, &d));
  tr_status status = count_frames(d, frames);
  *h = d->codec->height;
  *w = d->codec->width;
  if (status == TR_OK)
    status = tr_image_check_size(path, *h, *w);
  decoder_close(d);
  return status;
}

#else

const char *tr_video_library(void) {
  return NULL;
}

static tr_status no_videos(const char *path) {
  return tr_fail(TR_EINVAL,
                 "%s is a video, and this build reads none: it was made without libavformat, libavcodec and libswscale (Debian: "
                 "libavformat-dev libavcodec-dev libswscale-dev). Extracted frames are read without them",
                 path);
}

struct tr_videos {
  int none;
};

tr_status tr_videos_create(tr_videos **out) {
  *out = NULL;
  return TR_OK;
}

void tr_videos_destroy(tr_videos *videos) {
  (void)videos;
}

tr_status tr_video_frame(tr_videos *videos, const char *path, size_t frame, tr_image *out) {
  (void)videos;
  (void)frame;
  *out = (tr_image){.pixels = NULL};
  return no_videos(path);
}

tr_status tr_video_probe(const char *path, size_t *frames, int *h, int *w) {
  (void)frames;
  (void)h;
  (void)w;
  return no_videos(path);
}

#endif
