/* Merging results: file by file, all lines of all folders in one sorted list. */
#include "host/harness/merge.h"
#include "host/base/status.h"
#include "host/harness/claim.h"
#include "host/harness/store.h"
#include <cjson/cJSON.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct merge_line {
  char *text;       /* in the text of its source */
  tr_result result; /* empty for lines of the bench */
  char date[32];
  const char *path; /* of its source */
  size_t number;
  bool dropped;
} merge_line;

typedef struct source {
  char *path, *text;
} source;

/* One file of results. */
typedef struct merger {
  const char *path; /* in the folder that is merged into */
  bool bench;
  tr_progress *progress;
  tr_merge_summary *summary;
  source *sources;
  size_t source_count;
  merge_line *lines;
  size_t count, capacity;
} merger;

static tr_status no_memory(const char *path) {
  return tr_fail(TR_ENOMEM, "merging into %s: out of memory", path);
}

/* ---- reading ---- */

/* Lines of the bench are only asked to be JSON objects. */
static tr_status parse_line(const merger *m, merge_line *line) {
  if (m->bench) {
    cJSON *object = cJSON_ParseWithOpts(line->text, NULL, 1);
    const cJSON *date = cJSON_GetObjectItemCaseSensitive(object, "date");
    if (cJSON_IsString(date))
      strncpy(line->date, date->valuestring, sizeof line->date - 1);
    tr_status status = cJSON_IsObject(object) ? TR_OK : tr_fail(TR_EFORMAT, "it is no JSON object");
    cJSON_Delete(object);
    return status;
  }
  TR_TRY(tr_result_from_json(line->text, &line->result));
  if (line->result.date)
    strncpy(line->date, line->result.date, sizeof line->date - 1);
  return TR_OK;
}

static tr_status add_line(merger *m, const char *path, size_t number, char *text) {
  if (!text[strspn(text, " \t\r")])
    return TR_OK;
  if (m->count == m->capacity) {
    size_t capacity = m->capacity ? 2 * m->capacity : 256;
    merge_line *lines = realloc(m->lines, capacity * sizeof *lines);
    if (!lines)
      return no_memory(m->path);
    m->lines = lines;
    m->capacity = capacity;
  }
  merge_line *line = &m->lines[m->count];
  *line = (merge_line){.text = text, .path = path, .number = number};
  tr_status status = parse_line(m, line);
  if (status == TR_OK)
    ++m->count;
  if (status != TR_EFORMAT)
    return status;
  ++m->summary->left_out;
  tr_progress_line(m->progress, "warning: %s:%zu is left out: %s", path, number, tr_last_error());
  return TR_OK;
}

static tr_status add_lines(merger *m, const char *path, char *text, size_t bytes) {
  size_t number = 1;
  for (char *line = text; line < text + bytes; ++number) {
    char *end = memchr(line, '\n', (size_t)(text + bytes - line));
    if (!end) {
      ++m->summary->left_out;
      tr_progress_line(m->progress, "warning: %s:%zu is torn and is left out", path, number);
      return TR_OK;
    }
    *end = '\0';
    TR_TRY(add_line(m, path, number, line));
    line = end + 1;
  }
  return TR_OK;
}

/* Takes `path` over. The lines point into the text. */
static tr_status add_file(merger *m, char *path) {
  source *sources = path ? realloc(m->sources, (m->source_count + 1) * sizeof *sources) : NULL;
  if (!sources) {
    free(path);
    return no_memory(m->path);
  }
  m->sources = sources;
  source *s = &sources[m->source_count++];
  *s = (source){.path = path};
  size_t bytes;
  TR_TRY(tr_file_read(path, &s->text, &bytes));
  return add_lines(m, path, s->text, bytes);
}

static void release(merger *m) {
  for (size_t i = 0; i < m->count; ++i)
    tr_result_free(&m->lines[i].result);
  for (size_t i = 0; i < m->source_count; ++i) {
    free(m->sources[i].path);
    free(m->sources[i].text);
  }
  free(m->lines);
  free(m->sources);
}

/* ---- choosing ---- */

static int compare_size(size_t a, size_t b) {
  return (a > b) - (a < b);
}

static int compare_work(const merge_line *a, const merge_line *b) {
  if (!a->result.run) /* lines of the bench */
    return strcmp(a->text, b->text);
  tr_run_key x = tr_result_key(&a->result), y = tr_result_key(&b->result);
  int order = strcmp(x.dataset, y.dataset);
  order = order ? order : strcmp(x.class_name, y.class_name);
  order = order ? order : strcmp(x.run, y.run);
  order = order ? order : strcmp(x.weights_sha256, y.weights_sha256);
  order = order ? order : compare_size(x.train_images, y.train_images);
  return order ? order : compare_size(x.images, y.images);
}

static int compare_dates(const void *a, const void *b) {
  const merge_line *x = a, *y = b;
  int order = strcmp(x->date, y->date);
  order = order ? order : strcmp(x->text, y->text);
  return order ? order : strcmp(x->path, y->path);
}

static int compare_lines(const void *a, const void *b) {
  int order = compare_work(a, b);
  return order ? order : compare_dates(a, b);
}

static void report_conflict(const merger *m, const merge_line *a, const merge_line *b, const char *name) {
  const tr_result *x = &a->result, *y = &b->result;
  ++m->summary->conflicts;
  tr_progress_line(m->progress, "conflict: %s, %s: %s differs between %s:%zu (version %s, %s) and %s:%zu (version %s, %s)",
                   x->class_name, x->run, name, a->path, a->number, x->version ? x->version : "unknown", a->date, b->path,
                   b->number, y->version ? y->version : "unknown", b->date);
}

/* Marks the doubles of lines that are sorted by work, then date. */
static void drop_doubles(merger *m) {
  bool known = false; /* the work at hand has a line in the file that is merged into */
  for (size_t i = 0, first = 0; i < m->count; ++i) {
    merge_line *line = &m->lines[i];
    if (i == 0 || compare_work(&m->lines[first], line) != 0) {
      first = i;
      known = false;
    } else {
      line->dropped = true;
      ++m->summary->doubles;
      const char *name = line->result.run ? tr_result_difference(&m->lines[first].result, &line->result) : NULL;
      if (name)
        report_conflict(m, &m->lines[first], line, name);
    }
    known = known || strcmp(line->path, m->path) == 0;
    if (i + 1 == m->count || compare_work(line, &m->lines[i + 1]) != 0) {
      ++m->summary->lines;
      m->summary->added += !known;
    }
  }
}

/* ---- writing ---- */

static tr_status write_lines(const merger *m) {
  tr_file_writer writer;
  TR_TRY(tr_file_writer_open(m->path, &writer));
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < m->count; ++i) {
    if (m->lines[i].dropped)
      continue;
    size_t length = strlen(m->lines[i].text);
    m->lines[i].text[length] = '\n'; /* as it was in its source */
    status = tr_file_writer_add(&writer, m->lines[i].text, length + 1);
  }
  tr_status closed = tr_file_writer_close(&writer, status == TR_OK);
  return status == TR_OK ? closed : status;
}

/* All lines are read, those of m->path too. */
static tr_status merge_lines(merger *m) {
  tr_merge_summary before = *m->summary;
  if (m->count)
    qsort(m->lines, m->count, sizeof *m->lines, compare_lines);
  drop_doubles(m);
  if (m->summary->conflicts > before.conflicts) {
    before.conflicts = m->summary->conflicts;
    before.left_out = m->summary->left_out;
    *m->summary = before;
    tr_progress_line(m->progress, "%s stays as it was: delete the wrong lines of its conflicts and merge again", m->path);
    return TR_OK;
  }
  if (m->count)
    qsort(m->lines, m->count, sizeof *m->lines, compare_dates);
  ++m->summary->files;
  return write_lines(m);
}

/* ---- one file of all folders ---- */

static tr_status add_all(merger *m, const tr_strings *in, const char *machine, const char *name) {
  tr_status status = add_file(m, strdup(m->path));
  for (size_t i = 0; status == TR_OK && i < in->count; ++i) {
    char *path = tr_format("%s/%s/%s", in->items[i], machine, name);
    if (path && (!tr_is_file(path) || strcmp(path, m->path) == 0))
      free(path);
    else
      status = add_file(m, path);
  }
  return status;
}

/* Nobody else has the file open: a run would go on writing into a file without a name. */
static tr_status lock_file(const merger *m, int file) {
  bool got;
  TR_TRY(tr_lock_try(file, m->path, TR_LOCK_OPEN, TR_LOCK_EXCLUSIVE, &got));
  return got ? TR_OK
             : tr_fail(TR_EIO, "merging into %s: a run has it open; wait for its end, or merge into another folder", m->path);
}

static tr_status merge_file(const char *out, const tr_strings *in, const char *machine, const char *name, tr_progress *progress,
                            tr_merge_summary *summary) {
  char *path = tr_format("%s/%s/%s", out, machine, name);
  if (!path)
    return no_memory(out);
  merger m = {.path = path, .progress = progress, .summary = summary, .bench = strcmp(name, TR_BENCH_NAME ".jsonl") == 0};
  int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  tr_status status = file < 0 ? tr_fail_errno(TR_EIO, "opening %s for writing", path) : lock_file(&m, file);
  if (status == TR_OK)
    status = add_all(&m, in, machine, name);
  if (status == TR_OK)
    status = merge_lines(&m);
  if (file >= 0)
    close(file);
  release(&m);
  free(path);
  return status;
}

/* Scores of a run and class are the same wherever they are computed. */
static tr_status merge_scores(const char *from, const char *to, tr_progress *progress, tr_merge_summary *summary) {
  char *text, *there = NULL;
  size_t bytes, there_bytes = 0;
  TR_TRY(tr_file_read(from, &text, &bytes));
  tr_status status = TR_OK;
  if (!tr_is_file(to)) {
    status = tr_file_write(to, text, bytes);
    summary->scores += status == TR_OK;
  } else {
    status = tr_file_read(to, &there, &there_bytes);
    if (status == TR_OK && (bytes != there_bytes || memcmp(text, there, bytes) != 0)) {
      ++summary->conflicts;
      tr_progress_line(progress, "conflict: %s has other scores than %s, which stays as it was", from, to);
    }
  }
  free(there);
  free(text);
  return status;
}

/* ---- all files ---- */

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), tail = strlen(end);
  return length > tail && strcmp(text + length - tail, end) == 0;
}

/* Adds what `list` does not have yet. */
static tr_status add_new(tr_strings *list, const char *text) {
  return tr_strings_has(list, text) ? TR_OK : tr_strings_add(list, text);
}

typedef tr_status (*entry_fn)(void *context, const char *folder, const char *name);

/* Calls fn for <folder>/<sub>'s entries; a folder that is not there has none. */
static tr_status for_entries(const char *folder, const char *sub, entry_fn fn, void *context) {
  char *path = tr_format("%s/%s", folder, sub);
  tr_strings names = {0};
  tr_status status = !path ? no_memory(folder) : tr_is_folder(path) ? tr_folder_list(path, &names) : TR_OK;
  for (size_t i = 0; status == TR_OK && i < names.count; ++i)
    status = fn(context, path, names.items[i]);
  tr_strings_free(&names);
  free(path);
  return status;
}

typedef struct merge_job {
  const char *out;
  const tr_strings *in;
  tr_progress *progress;
  tr_merge_summary *summary;
  const char *machine;
  tr_strings names; /* machines, then files of results of one machine */
} merge_job;

static tr_status note_machine(void *context, const char *folder, const char *name) {
  merge_job *job = context;
  char *path = tr_format("%s/%s", folder, name);
  tr_status status = path ? TR_OK : no_memory(job->out);
  if (status == TR_OK && tr_is_folder(path) && strcmp(name, "published") != 0)
    status = add_new(&job->names, name);
  free(path);
  return status;
}

static tr_status note_file(void *context, const char *folder, const char *name) {
  (void)folder;
  merge_job *job = context;
  return ends_with(name, ".jsonl") ? add_new(&job->names, name) : TR_OK;
}

static tr_status copy_scores(void *context, const char *folder, const char *name) {
  merge_job *job = context;
  if (!ends_with(name, ".csv"))
    return TR_OK;
  char *from = tr_format("%s/%s", folder, name), *below = tr_format("%s/%s/scores", job->out, job->machine);
  char *to = below ? tr_format("%s/%s", below, name) : NULL;
  tr_status status = from && to ? tr_make_folders(below) : no_memory(job->out);
  if (status == TR_OK)
    status = merge_scores(from, to, job->progress, job->summary);
  free(from);
  free(below);
  free(to);
  return status;
}

static tr_status merge_scores_of_machine(merge_job *job) {
  char *sub = tr_format("%s/scores", job->machine);
  tr_status status = sub ? TR_OK : no_memory(job->out);
  for (size_t i = 0; status == TR_OK && i < job->in->count; ++i)
    status = for_entries(job->in->items[i], sub, copy_scores, job);
  free(sub);
  return status;
}

static tr_status merge_machine(merge_job *job) {
  char *folder = tr_format("%s/%s", job->out, job->machine);
  tr_status status = folder ? TR_OK : no_memory(job->out);
  for (size_t i = 0; status == TR_OK && i < job->in->count; ++i)
    status = for_entries(job->in->items[i], job->machine, note_file, job);
  tr_strings_sort(&job->names);
  if (status == TR_OK && job->names.count)
    status = tr_make_folders(folder);
  for (size_t i = 0; status == TR_OK && i < job->names.count; ++i)
    status = merge_file(job->out, job->in, job->machine, job->names.items[i], job->progress, job->summary);
  free(folder);
  return status == TR_OK ? merge_scores_of_machine(job) : status;
}

static tr_status merge_machines(merge_job *job, const tr_strings *machines) {
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < machines->count; ++i) {
    job->machine = machines->items[i];
    status = merge_machine(job);
    tr_strings_free(&job->names);
  }
  return status;
}

tr_status tr_results_merge(const char *out, const tr_strings *in, tr_progress *progress, tr_merge_summary *summary) {
  *summary = (tr_merge_summary){0};
  merge_job job = {.out = out, .in = in, .progress = progress, .summary = summary};
  tr_status status = TR_OK;
  for (size_t i = 0; status == TR_OK && i < in->count; ++i)
    status = tr_is_folder(in->items[i]) ? for_entries(in->items[i], ".", note_machine, &job)
                                        : tr_fail(TR_EIO, "merging results: there is no folder %s", in->items[i]);
  tr_strings machines = job.names;
  job.names = (tr_strings){0};
  tr_strings_sort(&machines);
  if (status == TR_OK)
    status = merge_machines(&job, &machines);
  tr_strings_free(&machines);
  return status;
}
