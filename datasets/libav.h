/* libavformat, libavcodec, libavutil and libswscale, loaded when the first video is opened: linked, they and the 120 libraries behind
 * them would cost every start of the program 50 ms and 23 MB. Internal to datasets/video.c; only where their headers were found. */
#ifndef TR_DATASETS_LIBAV_H
#define TR_DATASETS_LIBAV_H

#include "host/totalrecall.h"
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>

/* clang-format off */
#define TR_LIBAV_FORMAT(X)            \
  X(avformat_open_input)              \
  X(avformat_close_input)             \
  X(avformat_find_stream_info)        \
  X(av_find_best_stream)              \
  X(av_read_frame)                    \
  X(avformat_index_get_entries_count) \
  X(avformat_index_get_entry)
#define TR_LIBAV_CODEC(X)          \
  X(avcodec_alloc_context3)        \
  X(avcodec_free_context)          \
  X(avcodec_parameters_to_context) \
  X(avcodec_open2)                 \
  X(avcodec_send_packet)           \
  X(avcodec_receive_frame)         \
  X(av_packet_alloc)               \
  X(av_packet_free)                \
  X(av_packet_unref)
#define TR_LIBAV_UTIL(X) \
  X(av_strerror)         \
  X(av_frame_alloc)      \
  X(av_frame_free)       \
  X(av_log_set_level)
#define TR_LIBAV_SCALE(X)     \
  X(sws_getCachedContext)     \
  X(sws_freeContext)          \
  X(sws_setColorspaceDetails) \
  X(sws_getCoefficients)      \
  X(sws_scale)
/* clang-format on */

/* The functions under their own names. */
#define TR_LIBAV_MEMBER(name) __typeof__(name) *(name);
typedef struct tr_libav {
  TR_LIBAV_FORMAT(TR_LIBAV_MEMBER)
  TR_LIBAV_CODEC(TR_LIBAV_MEMBER)
  TR_LIBAV_UTIL(TR_LIBAV_MEMBER)
  TR_LIBAV_SCALE(TR_LIBAV_MEMBER)
} tr_libav;
#undef TR_LIBAV_MEMBER

/* Loads the versions whose headers this was built with, once; they stay until the process ends. EINVAL names what is missing. */
tr_status tr_libav_load(const tr_libav **out);

#endif
