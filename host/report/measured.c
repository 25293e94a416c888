/* Lines of bench.jsonl as rows of tables. */
#include "host/report/measured.h"
#include "host/base/text.h"
#include "host/bench/bench.h"
#include "host/bench/latency.h"
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Exact search is to be at least so many times as fast as FAISS's. */
#define WANTED 2.0

typedef struct lines {
  cJSON **items; /* the report's memory; each to be deleted */
  size_t count;
} lines;

/* ---- reading ---- */

/* "" where there is none. */
static const char *text_of(const cJSON *line, const char *name) {
  const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(line, name));
  return text ? text : "";
}

/* NaN where there is none. */
static double number_of(const cJSON *line, const char *name) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(line, name);
  return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static const char *name_of(const cJSON *line) {
  return text_of(line, strcmp(text_of(line, "operator"), "latency") == 0 ? "run" : "shape");
}

/* The same thing measured on the same machine. */
static bool same_thing(const cJSON *a, const cJSON *b) {
  static const char *const fields[] = {"operator", "processor", "device"};
  static const char *const numbers[] = {"threads", "images", "train_images"};
  bool same = strcmp(name_of(a), name_of(b)) == 0;
  for (size_t i = 0; i < sizeof fields / sizeof *fields; ++i)
    same = same && strcmp(text_of(a, fields[i]), text_of(b, fields[i])) == 0;
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; ++i) {
    double x = number_of(a, numbers[i]), y = number_of(b, numbers[i]);
    same = same && (x == y || (isnan(x) && isnan(y)));
  }
  return same;
}

static bool is_wanted(const cJSON *line) {
  if (strcmp(text_of(line, "operator"), "latency") == 0)
    return cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(line, "seconds_p50"));
  return strcmp(text_of(line, "operator"), "search") == 0 && strcmp(text_of(line, "ratio_to"), TR_BENCH_EXACT) == 0 &&
         number_of(line, "ratio") > 0 && !cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(line, "quick"));
}

/* Takes the line: it replaces an older one of the same thing. */
static void keep(lines *kept, cJSON *line) {
  size_t at = 0;
  while (at < kept->count && !same_thing(kept->items[at], line))
    ++at;
  if (at == kept->count) {
    kept->items[kept->count++] = line;
  } else if (strcmp(text_of(line, "date"), text_of(kept->items[at], "date")) >= 0) {
    cJSON_Delete(kept->items[at]);
    kept->items[at] = line;
  } else {
    cJSON_Delete(line);
  }
}

static size_t line_count(const char *text) {
  size_t count = 1;
  for (; *text; ++text)
    count += *text == '\n';
  return count;
}

/* Grows for the file's lines; the old list stays with the report. */
static bool make_room(tr_evidence *evidence, lines *kept, size_t more) {
  cJSON **items = tr_report_alloc(evidence->report, kept->count + more, sizeof *items);
  if (!items)
    return false;
  if (kept->count)
    memcpy(items, kept->items, kept->count * sizeof *items);
  kept->items = items;
  return true;
}

static void read_file(tr_evidence *evidence, const char *path, lines *kept) {
  char *text;
  size_t bytes, number = 0;
  if (!tr_is_file(path))
    return;
  if (tr_file_read(path, &text, &bytes) != TR_OK) {
    tr_progress_line(evidence->progress, "warning: %s", tr_last_error());
    return;
  }
  if (make_room(evidence, kept, line_count(text)))
    for (char *at = text, *next; *at; at = next) {
      next = at + strcspn(at, "\n");
      if (*next)
        *next++ = '\0';
      ++number;
      cJSON *line = cJSON_Parse(at);
      if (!line && *at)
        tr_progress_line(evidence->progress, "warning: %s, line %zu: not an object of measurements; left out", path, number);
      else if (line && is_wanted(line))
        keep(kept, line);
      else
        cJSON_Delete(line);
    }
  free(text);
}

static void read_machines(tr_evidence *evidence, lines *kept) {
  for (size_t i = 0; i < evidence->machines.count; ++i) {
    char *path = tr_format("%s/%s/" TR_BENCH_NAME ".jsonl", evidence->folder, evidence->machines.items[i]);
    if (path)
      read_file(evidence, path, kept);
    else
      tr_report_keep(evidence->report, NULL);
    free(path);
  }
}

/* ---- rows ---- */

static void label(tr_evidence *evidence, const char *text) {
  tr_report_label(evidence->report, text && *text ? text : "unknown");
}

/* Seconds as milliseconds of three digits. */
static const char *milliseconds(tr_evidence *evidence, double seconds) {
  double ms = 1e3 * seconds;
  return isfinite(ms) ? tr_report_text(evidence->report, "%.*f", ms >= 100 ? 0 : ms >= 10 ? 1 : 2, ms) : "unknown";
}

static const char *machine_of(tr_evidence *evidence, const cJSON *line) {
  return tr_report_text(evidence->report, "%s, %s, %.0f threads", text_of(line, "processor"), text_of(line, "device"),
                        number_of(line, "threads"));
}

static const char *versions_of(tr_evidence *evidence, const cJSON *line) {
  static const char *const names[] = {"oneDNN", "OpenBLAS", "FAISS"};
  const cJSON *libraries = cJSON_GetObjectItemCaseSensitive(line, "libraries");
  tr_text text;
  FILE *out = tr_text_open(&text);
  for (size_t i = 0; out && i < sizeof names / sizeof *names; ++i)
    fprintf(out, "%s%s %s", i ? ", " : "", names[i], *text_of(libraries, names[i]) ? text_of(libraries, names[i]) : "unknown");
  return tr_text_close(evidence, out, &text);
}

/* A row of a table that has nothing yet. */
static void nothing_yet(tr_evidence *evidence, size_t columns, const char *first, const char *needs, const char *command) {
  tr_cell cell = tr_cell_new(TR_UNIT_RATIO);
  cell.text = "not run";
  cell.causes = TR_CAUSE_NOT_RUN;
  cell.reason = needs;
  cell.command = command;
  tr_report_row(evidence->report);
  tr_report_label(evidence->report, first);
  tr_report_cell(evidence->report, &cell);
  for (size_t i = 2; i < columns; ++i)
    tr_report_label(evidence->report, "not run");
}

static void begin_table(tr_evidence *evidence, const char *id, const char *title, const char *intro, const char *const *columns,
                        size_t count) {
  tr_report_table(evidence->report, id, title, intro);
  for (size_t i = 0; i < count; ++i)
    tr_report_column(evidence->report, columns[i], false);
}

/* ---- exact search beside FAISS's ---- */

static void flat_row(tr_evidence *evidence, const cJSON *line) {
  double flat = number_of(line, "seconds_median"), ratio = number_of(line, "ratio");
  const char *shape = text_of(line, "shape"), *comma = strrchr(shape, ',');
  tr_report_row(evidence->report);
  label(evidence, tr_report_text(evidence->report, "%.*s", comma ? (int)(comma - shape) : (int)strlen(shape), shape));
  label(evidence, milliseconds(evidence, flat / ratio));
  label(evidence, milliseconds(evidence, flat));
  label(evidence, tr_report_text(evidence->report, "%.2f", ratio));
  label(evidence, ratio >= WANTED ? "yes" : "no");
  label(evidence, machine_of(evidence, line));
  label(evidence, versions_of(evidence, line));
  label(evidence, tr_report_text(evidence->report, "%.10s", text_of(line, "date")));
}

static void flat_table(tr_evidence *evidence, const lines *kept) {
  static const char *const columns[] = {"queries of bank", "ours, ms", "FAISS Flat, ms", "times as fast",
                                        "at least 2",      "on",       "with",           "measured"};
  enum { COLUMNS = sizeof columns / sizeof *columns };
  size_t rows = 0;
  begin_table(
      evidence, "flat", "Exact search beside FAISS's",
      "This program's exact search and FAISS's Flat index in turn in one run, an image's queries against a bank: rows and\n"
      "dimensions are queries of rows x dimensions. The median of a call, with the same number of threads.",
      columns, COLUMNS);
  for (size_t i = 0; i < kept->count; ++i)
    if (strcmp(text_of(kept->items[i], "operator"), "search") == 0) {
      flat_row(evidence, kept->items[i]);
      ++rows;
    }
  if (!rows)
    nothing_yet(evidence, COLUMNS, "784 of 16385 x 1024", "Not run: needs a build with FAISS and a quiet machine",
                "totalrecall bench search --results results");
}

/* ---- latency ---- */

static double of_stage(const cJSON *line, const char *percentile, tr_latency_stage stage) {
  return number_of(cJSON_GetObjectItemCaseSensitive(line, percentile), tr_latency_stage_name(stage));
}

static void latency_row(tr_evidence *evidence, const cJSON *line) {
  tr_report *report = evidence->report;
  double mhz = number_of(line, "processor_mhz"), device_mhz = number_of(line, "device_mhz");
  tr_report_row(report);
  label(evidence, text_of(line, "run"));
  for (int stage = 0; stage < TR_LATENCY_STAGES; ++stage)
    label(evidence, milliseconds(evidence, of_stage(line, "seconds_p50", (tr_latency_stage)stage)));
  label(evidence, milliseconds(evidence, of_stage(line, "seconds_p95", TR_LATENCY_ALL)));
  label(evidence, milliseconds(evidence, of_stage(line, "seconds_p99", TR_LATENCY_ALL)));
  label(evidence, tr_report_text(report, "%.1f", number_of(line, "images_per_second")));
  label(evidence, tr_report_text(report, "%.0f after %.0f", number_of(line, "samples"), number_of(line, "warm_up")));
  label(evidence, *text_of(line, "clock") ? text_of(line, "clock") : "host's");
  label(evidence, isfinite(device_mhz) ? tr_report_text(report, "%.0f, device up to %.0f", mhz, device_mhz)
                  : isfinite(mhz)      ? tr_report_text(report, "%.0f", mhz)
                                       : "unknown");
  label(evidence, machine_of(evidence, line));
  label(evidence, versions_of(evidence, line));
  label(evidence, tr_report_text(report, "%.10s", text_of(line, "date")));
}

static void latency_table(tr_evidence *evidence, const lines *kept) {
  static const char *const columns[] = {"model", "decode, ms", "preprocess", "backbone", "aggregate", "search",
                                        "map",   "all",        "all, p95",   "all, p99", "images/s",  "images",
                                        "clock", "MHz",        "on",         "with",     "measured"};
  enum { COLUMNS = sizeof columns / sizeof *columns };
  size_t rows = 0;
  begin_table(
      evidence, "latency", "Latency of single images",
      "How long one image takes from its file to its map: p50 of each stage, and p95 and p99 of the whole, in milliseconds;\n"
      "images/s: 16 at a time. Images: timed after those to warm up.",
      columns, COLUMNS);
  for (size_t i = 0; i < kept->count; ++i)
    if (strcmp(text_of(kept->items[i], "operator"), "latency") == 0) {
      latency_row(evidence, kept->items[i]);
      ++rows;
    }
  if (!rows)
    nothing_yet(evidence, COLUMNS, "any", "Not run: needs a model (`totalrecall fit`) and images",
                "totalrecall bench latency MODEL FOLDER --results results");
}

void tr_measured_write(tr_evidence *evidence) {
  lines kept = {0};
  read_machines(evidence, &kept);
  flat_table(evidence, &kept);
  latency_table(evidence, &kept);
  for (size_t i = 0; i < kept.count; ++i)
    cJSON_Delete(kept.items[i]);
}
