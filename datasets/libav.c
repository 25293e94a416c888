/* Loading libav. */
#ifdef TR_HAVE_LIBAV
#include "datasets/libav.h"
#include "host/base/status.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static tr_libav libav;
static char trouble[256]; /* why it could not be loaded; empty: it was */

static void *open_library(const char *name, unsigned version) {
  char file[64];
  snprintf(file, sizeof file, "lib%s.so.%u", name, version);
  void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (!library && !trouble[0])
    snprintf(trouble, sizeof trouble, "%s", dlerror());
  return library;
}

/* A pointer to a function comes as one to data. */
static void load_symbol(void *library, const char *name, void *to, size_t bytes) {
  void *symbol = library ? dlsym(library, name) : NULL;
  memcpy(to, &symbol, bytes);
  if (library && !symbol && !trouble[0])
    snprintf(trouble, sizeof trouble, "%s is missing", name);
}

#define LOAD(name) load_symbol(library, #name, &libav.name, sizeof libav.name);

static void load(void) {
  void *library = open_library("avutil", LIBAVUTIL_VERSION_MAJOR);
  TR_LIBAV_UTIL(LOAD)
  library = open_library("avcodec", LIBAVCODEC_VERSION_MAJOR);
  TR_LIBAV_CODEC(LOAD)
  library = open_library("avformat", LIBAVFORMAT_VERSION_MAJOR);
  TR_LIBAV_FORMAT(LOAD)
  library = open_library("swscale", LIBSWSCALE_VERSION_MAJOR);
  TR_LIBAV_SCALE(LOAD)
  if (!trouble[0])
    libav.av_log_set_level(AV_LOG_QUIET); /* a library does not print */
}

tr_status tr_libav_load(const tr_libav **out) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load);
  *out = &libav;
  return trouble[0]
             ? tr_fail(TR_EINVAL,
                       "reading videos needs libavformat, libavcodec and libswscale, which cannot be loaded: %s (extracted "
                       "frames are read without them)",
                       trouble)
             : TR_OK;
}

#else
typedef int tr_libav_absent; /* an empty file is none in C */
#endif
