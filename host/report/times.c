/* Table 5: seconds per image. */
#include "host/report/figures.h"
#include "host/report/measured.h"
#include "host/report/searches.h"
#include "host/report/sections.h"
#include <math.h>
#include <string.h>

typedef struct timed {
  const char *title, *published, *method;
  double percent;     /* patchcore */
  const char *search; /* NULL: exact, or none */
} timed;
static const timed rows[] = {
    {"PatchCore-100 %", "PatchCore-100%", "patchcore", 100, NULL},
    {"PatchCore-10 %", "PatchCore-10%", "patchcore", 10, NULL},
    {"PatchCore-1 %", "PatchCore-1%", "patchcore", 1, NULL},
    {"SPADE", "SPADE (re-implemented, WRN50)", "spade", 0, NULL},
    {"PaDiM", "PaDiM (re-implemented, WRN50)", "padim", 0, NULL},
    {"PatchCore-100 %, IVFPQ", "PatchCore-100% + IVFPQ", "patchcore", 100, "faiss:IVF512,PQ64np"},
};

/* The machines that a selection's seconds come from. */
static const char *machine_of(tr_evidence *evidence, const tr_selection *selection) {
  if (!selection->count)
    return "not run";
  const tr_result *run = selection->groups[0]->runs[0];
  for (size_t i = 1; i < selection->count; ++i)
    if (!tr_same_machine(selection->groups[i]->runs[0], run))
      return "several machines";
  return tr_report_text(evidence->report, "%s, %s, %d threads%s", run->processor ? run->processor : "unknown processor",
                        run->device ? run->device : "cpu", run->threads,
                        tr_searched_on_host(run) ? "; index searched by FAISS on the host" : "");
}

/* The paper timed MVTec AD: its seconds stand beside those of other data too, its metrics do not. */
static tr_published_value published_of(tr_evidence *evidence, const timed *row, bool timed_there, const tr_metric *metric) {
  if (!timed_there && metric->unit != TR_UNIT_SECONDS)
    return tr_not_published();
  return tr_published_find(&evidence->published, TR_TABLE_5, row->published, "mean", metric->published);
}

static tr_query query_of(const timed *row, const char *dataset) {
  tr_query query = tr_query_new(dataset, row->method, "table5");
  if (row->percent)
    query.setting.percent = row->percent;
  if (row->search)
    query.setting.search = row->search;
  return tr_query_ready(query);
}

static void time_row(tr_evidence *evidence, const timed *row, const char *dataset) {
  static const tr_metric *const metrics[] = {&tr_metric_image_auroc, &tr_metric_pixel_auroc, &tr_metric_pro, &tr_metric_seconds};
  tr_report *report = evidence->report;
  bool timed_there = strcmp(dataset, "mvtec") == 0;
  tr_query query = query_of(row, dataset);
  tr_selection selection;
  tr_select(evidence, &query, NULL, &selection);
  tr_report_row(report);
  tr_report_label(report, row->title);
  for (size_t m = 0; m < sizeof metrics / sizeof *metrics; ++m) {
    tr_published_value value = published_of(evidence, row, timed_there, metrics[m]);
    tr_cell cell = tr_cell_of_selection(evidence, &query, &selection, metrics[m], value, (tr_per_class){TR_TABLE_5, NULL});
    if (metrics[m]->unit == TR_UNIT_SECONDS)
      cell.difference = NAN; /* of two machines */
    if (!timed_there && cell.command)
      cell.command =
          tr_report_text(report, "totalrecall run experiments/table5.yaml --dataset %s --data ROOT --weights DIR", dataset);
    tr_report_cell(report, &cell);
  }
  tr_report_label(report, machine_of(evidence, &selection));
}

static void time_table(tr_evidence *evidence, const char *id, const char *title, const char *intro, const char *dataset) {
  tr_report *report = evidence->report;
  bool timed_there = strcmp(dataset, "mvtec") == 0;
  tr_report_table(report, id, title, intro);
  tr_report_column(report, "method", false);
  tr_report_column(report, "image AUROC", timed_there);
  tr_report_column(report, "pixel AUROC", timed_there);
  tr_report_column(report, "PRO", timed_there);
  tr_report_column(report, "seconds", true);
  tr_report_column(report, "ours on", false);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i)
    time_row(evidence, &rows[i], dataset);
}

void tr_section_times(tr_evidence *evidence) {
  tr_report_section(
      evidence->report, "times", "Table 5: seconds per image",
      "Published on one GPU, printed as \"Nvidia Tesla V4\": backbone, search and map. Ours from result lines: decoding the "
      "file,\n"
      "backbone, search and map, of all threads together, so throughput and not the wait for one image; they compare methods on\n"
      "one machine, not machines. Where a run was made several times on a machine with the same numbers, the fastest line "
      "counts;\n"
      "where that one is of an early version, which did not time the search by itself, the search's seconds are those of the\n"
      "fastest line that has them. A line does not tell what else the machine did meanwhile, and sweeps of days share it.");
  time_table(evidence, "table5", "", "AUROC and PRO in percent, mean over the classes.", "mvtec");
  time_table(
      evidence, "table5_mtd", "The same on MTD",
      "Image AUROC, pixel AUROC and PRO in percent. The paper timed MVTec AD alone: its seconds stand beside ours for the\n"
      "frame, as images have the same size in the network; banks grow with the 761 training images.",
      "mtd");
  tr_measured_write(evidence);
  tr_searches_write(evidence);
  tr_figures_speed(evidence);
  tr_figures_search(evidence);
}
