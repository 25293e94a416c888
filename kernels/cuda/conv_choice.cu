/* Choices by advice, measurement and file. A file holds one line a convolution: its key, the engine, the knobs as type=value. */
#include "kernels/cuda/conv_choice.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>

extern "C" {
#include "host/base/text.h"
}

namespace {

enum { CANDIDATES = 8, REPEATS = 3 };

typedef std::map<std::string, tr_graph_choice> choice_table;

/* Tables of this process by file name; read at first use. */
std::mutex lock;
std::map<std::string, choice_table> tables;

std::string folder() {
  const char *own = getenv("TOTALRECALL_CACHE"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  if (own && *own)
    return own;
  if (cache && *cache)
    return std::string(cache).append("/totalrecall");
  return home && *home ? std::string(home).append("/.cache/totalrecall") : "";
}

/* "" where there is no folder to keep it in. */
std::string file_for(const tr_device *device) {
  const std::string where = folder();
  if (where.empty())
    return "";
  std::string name = tr_device_description(device);
  for (char &c : name)
    c = isalnum((unsigned char)c) ? c : '-';
  std::string file = where;
  return file.append("/cudnn-").append(std::to_string(cudnnGetVersion())).append("-").append(name).append(".plans");
}

std::string key_of(const tr_graph_problem &p) {
  const tr_conv_desc &d = p.desc;
  const int fields[] = {
      p.n,          d.in_h,    d.in_w,     d.in_channels, d.out_channels, d.kernel_h,         d.kernel_w,         d.stride,
      d.groups,     d.pad_top, d.pad_left, d.pad_bottom,  d.pad_right,    d.src_pixel_stride, d.dst_pixel_stride, d.has_residual,
      d.activation, p.tf32};
  std::string key;
  for (int field : fields)
    key.append(key.empty() ? "" : "_").append(std::to_string(field));
  return key;
}

std::string line_of(const std::string &key, const tr_graph_choice &choice) {
  std::string line = key;
  line.append(" ").append(std::to_string(choice.engine));
  for (const tr_graph_choice::knob &k : choice.knobs)
    line.append(" ").append(std::to_string((int)k.type)).append("=").append(std::to_string(k.value));
  return line.append("\n");
}

/* A line that is not as we write it is passed over. */
void read_line(char *line, choice_table &table) {
  char *rest, *key = strtok_r(line, " ", &rest), *engine = strtok_r(nullptr, " ", &rest);
  if (!key || !engine)
    return;
  tr_graph_choice choice = {strtoll(engine, nullptr, 10), {}};
  while (char *word = strtok_r(nullptr, " ", &rest)) {
    int type;
    long long value;
    if (sscanf(word, "%d=%lld", &type, &value) != 2)
      return;
    choice.knobs.push_back({(cudnnBackendKnobType_t)type, value});
  }
  table[key] = choice;
}

choice_table &table_of(const std::string &file) {
  auto found = tables.find(file);
  if (found != tables.end())
    return found->second;
  choice_table &table = tables[file];
  char *text = nullptr, *rest;
  size_t bytes;
  if (!tr_is_file(file.c_str()) || tr_file_read(file.c_str(), &text, &bytes) != TR_OK)
    return table;
  for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(nullptr, "\n", &rest))
    read_line(line, table);
  free(text);
  return table;
}

tr_status write_table(const std::string &file, const choice_table &table) {
  std::string text;
  for (const auto &entry : table)
    text += line_of(entry.first, entry.second);
  TR_TRY(tr_make_folders(folder().c_str()));
  return tr_file_write(file.c_str(), text.data(), text.size());
}

/* ---- measuring ---- */

struct trial_memory {
  tr_device *device;
  void *blocks[5] = {};
  explicit trial_memory(tr_device *d) : device(d) {}
  trial_memory(const trial_memory &) = delete;
  trial_memory &operator=(const trial_memory &) = delete;
  ~trial_memory() {
    for (void *block : blocks)
      tr_device_free(device, block);
  }
  tr_status take(int i, size_t floats) {
    TR_TRY(tr_device_alloc(device, floats * sizeof(float), &blocks[i]));
    return tr_device_zero(device, blocks[i], floats * sizeof(float));
  }
  float *at(int i) const { return static_cast<float *>(blocks[i]); }
};

struct plan_deleter {
  void operator()(tr_graph_plan *plan) const { tr_graph_plan_destroy(plan); }
};
typedef std::unique_ptr<tr_graph_plan, plan_deleter> plan_owner;

tr_status run_trial(tr_cuda *cuda, const tr_graph_plan *plan, const trial_memory &m, void *workspace, float *milliseconds) {
  cudaEvent_t events[2] = {};
  tr_status status = TR_OK;
  *milliseconds = INFINITY;
  TR_CUDA_TRY(cudaEventCreate(&events[0]));
  cudaError_t error = cudaEventCreate(&events[1]);
  for (int i = 0; i <= REPEATS && error == cudaSuccess && status == TR_OK; ++i) {
    float taken = INFINITY;
    error = cudaEventRecord(events[0], cuda->stream);
    if (error == cudaSuccess)
      status = tr_graph_plan_run(cuda->dnn, plan, m.at(0), m.at(1), m.at(2), m.at(3), m.at(4), workspace);
    if (error == cudaSuccess && status == TR_OK)
      error = cudaEventRecord(events[1], cuda->stream);
    if (error == cudaSuccess && status == TR_OK)
      error = cudaEventSynchronize(events[1]);
    if (error == cudaSuccess && status == TR_OK)
      error = cudaEventElapsedTime(&taken, events[0], events[1]);
    if (i > 0 && taken < *milliseconds) /* the first run loads the kernel */
      *milliseconds = taken;
  }
  for (cudaEvent_t event : events)
    if (event)
      cudaEventDestroy(event);
  TR_TRY(status);
  TR_CUDA_TRY(error);
  return TR_OK;
}

tr_status measure(tr_device *device, const tr_graph_problem &p, const tr_graph_choice &choice, const trial_memory &m,
                  float *milliseconds) {
  tr_cuda *cuda = tr_cuda_of(device);
  tr_graph_plan *plan;
  TR_TRY(tr_graph_plan_create({cuda->dnn, nullptr}, p, choice, &plan));
  plan_owner owner(plan);
  void *workspace;
  TR_TRY(tr_device_alloc(device, tr_graph_plan_workspace(plan), &workspace));
  tr_status status = run_trial(cuda, plan, m, workspace, milliseconds);
  tr_device_free(device, workspace);
  return status;
}

tr_status take_trial_memory(const tr_graph_problem &p, trial_memory &m) {
  const tr_conv_desc &d = p.desc;
  int out_h, out_w;
  tr_conv_shape(&d, &out_h, &out_w);
  const size_t n = (size_t)p.n, out_pixels = n * (size_t)out_h * (size_t)out_w, channels = (size_t)d.out_channels;
  TR_TRY(m.take(0, n * (size_t)d.in_h * (size_t)d.in_w * (size_t)d.src_pixel_stride));
  TR_TRY(m.take(1, channels * (size_t)(d.in_channels / d.groups) * (size_t)d.kernel_h * (size_t)d.kernel_w));
  TR_TRY(m.take(2, channels));
  TR_TRY(m.take(3, d.has_residual ? out_pixels * channels : 0));
  return m.take(4, out_pixels * (size_t)d.dst_pixel_stride);
}

tr_status fastest(tr_device *device, const tr_graph_problem &p, const std::vector<tr_graph_choice> &choices,
                  tr_graph_choice *out) {
  trial_memory memory(device);
  TR_TRY(take_trial_memory(p, memory));
  float best = INFINITY;
  for (const tr_graph_choice &choice : choices) {
    float taken;
    TR_TRY(measure(device, p, choice, memory, &taken));
    if (taken < best) {
      best = taken;
      *out = choice;
    }
  }
  return TR_OK;
}

bool is_possible(tr_device *device, const tr_graph_problem &p, const tr_graph_choice &choice) {
  tr_graph_plan *plan;
  if (tr_graph_plan_create({tr_cuda_of(device)->dnn, nullptr}, p, choice, &plan) != TR_OK)
    return false;
  tr_graph_plan_destroy(plan);
  return true;
}

bool tuning() {
  const char *text = getenv("TOTALRECALL_TUNE");
  return text && strcmp(text, "1") == 0;
}

} // namespace

tr_status tr_conv_choose(tr_device *device, const tr_graph_problem &problem, tr_graph_choice *out, bool *found) {
  std::lock_guard<std::mutex> hold(lock);
  const std::string file = file_for(device), key = key_of(problem);
  const bool tune = tuning() && !file.empty();
  *found = true;
  if (!file.empty()) {
    const choice_table &table = table_of(file);
    auto stored = table.find(key);
    if (stored != table.end() && is_possible(device, problem, stored->second)) {
      *out = stored->second;
      return TR_OK;
    }
  }
  std::vector<tr_graph_choice> choices;
  TR_TRY(tr_graph_choices({tr_cuda_of(device)->dnn, nullptr}, problem, tune ? CANDIDATES : 1, choices));
  *found = !choices.empty();
  if (!*found)
    return TR_OK;
  *out = choices[0];
  if (!tune)
    return TR_OK;
  TR_TRY(fastest(device, problem, choices, out));
  table_of(file)[key] = *out;
  return write_table(file, tables[file]);
}
