/* Libraries of this build and their versions. */
#include "host/harness/features.h"
#include "datasets/video.h"
#include "host/report/plot.h"
#include "host/search/search.h"
#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>
#ifdef TR_HAVE_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#endif
#ifdef TR_HAVE_OPENBLAS
#include <cblas.h>
#endif

enum { ONEDNN, OPENBLAS, FAISS, FAISS_GPU, STB, LIBAV, LIBYAML, CJSON, GNUPLOT, FEATURES };

static tr_feature features[FEATURES] = {
    [ONEDNN] = {"oneDNN", NULL, "convolutions", "plain C, many times slower"},
    [OPENBLAS] = {"OpenBLAS", NULL, "matrix products", "plain C, several times slower"},
    [FAISS] = {"FAISS", NULL, "approximate search", "exact search, and IVF indexes that detectors have"},
    [FAISS_GPU] = {"FAISS-GPU", NULL, "search by FAISS on a GPU, not run on one yet", "such indexes are searched on the host"},
    [STB] = {"stb_image", "built in", "PNG, JPEG, BMP", NULL},
    [LIBAV] = {"libav", NULL, "videos (mSTC)", "extracted frames only"},
    [LIBYAML] = {"libyaml", NULL, "experiment files", NULL},
    [CJSON] = {"cJSON", NULL, "results", NULL},
    [GNUPLOT] = {"gnuplot", NULL, "figures of the report", "their numbers only"},
};
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find_versions(void) {
  features[LIBYAML].version = yaml_get_version_string();
  features[CJSON].version = cJSON_Version();
  features[LIBAV].version = tr_video_library();
  features[FAISS].version = tr_index_library();
  features[FAISS_GPU].version = tr_index_gpu_library();
  features[GNUPLOT].version = tr_plot_possible() ? "in PATH" : NULL; /* a program, looked for when it is needed */
#ifdef TR_HAVE_ONEDNN
  static char onednn[32];
  const dnnl_version_t *version = dnnl_version();
  snprintf(onednn, sizeof onednn, "%d.%d.%d", version->major, version->minor, version->patch);
  features[ONEDNN].version = onednn;
#endif
#ifdef TR_HAVE_OPENBLAS
  /* "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH …" */
  static char openblas[32];
  const char *config = openblas_get_config();
  config += strcspn(config, "0123456789");
  snprintf(openblas, sizeof openblas, "%.*s", (int)strcspn(config, " "), config);
  features[OPENBLAS].version = openblas;
#endif
}

const tr_feature *tr_features(size_t *count) {
  pthread_once(&once, find_versions);
  *count = FEATURES;
  return features;
}
