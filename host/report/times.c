/* Table 5: seconds per image. */
#include "host/report/figures.h"
#include "host/report/searches.h"
#include "host/report/sections.h"
#include <math.h>
#include <string.h>

typedef struct timed {
  const char *title, *published, *method;
  double percent;
} timed;
static const timed rows[] = {
    {"PatchCore-100 %", "PatchCore-100%", "patchcore", 100}, {"PatchCore-10 %", "PatchCore-10%", "patchcore", 10},
    {"PatchCore-1 %", "PatchCore-1%", "patchcore", 1},       {"SPADE", "SPADE (re-implemented, WRN50)", "spade", 0},
    {"PaDiM", "PaDiM (re-implemented, WRN50)", "padim", 0},
};

/* The machines that a selection's seconds come from. */
static const char *machine_of(tr_evidence *evidence, const tr_selection *selection) {
  if (!selection->count)
    return "not run";
  const tr_result *run = selection->groups[0]->runs[0];
  for (size_t i = 1; i < selection->count; ++i)
    if (!tr_same_machine(selection->groups[i]->runs[0], run))
      return "several machines";
  return tr_report_text(evidence->report, "%s, %s, %d threads", run->processor ? run->processor : "unknown processor",
                        run->device ? run->device : "cpu", run->threads);
}

static void time_row(tr_evidence *evidence, const char *title, const char *published, const tr_query *query) {
  static const tr_metric *const metrics[] = {&tr_metric_image_auroc, &tr_metric_pixel_auroc, &tr_metric_pro, &tr_metric_seconds};
  tr_selection selection;
  tr_select(evidence, query, NULL, &selection);
  tr_report_row(evidence->report);
  tr_report_label(evidence->report, title);
  for (size_t m = 0; m < sizeof metrics / sizeof *metrics; ++m) {
    tr_published_value value = tr_published_find(&evidence->published, TR_TABLE_5, published, "mean", metrics[m]->published);
    tr_cell cell = tr_cell_of_selection(evidence, query, &selection, metrics[m], value, (tr_per_class){TR_TABLE_5, NULL});
    if (metrics[m]->unit == TR_UNIT_SECONDS)
      cell.difference = NAN; /* of two machines */
    tr_report_cell(evidence->report, &cell);
  }
  tr_report_label(evidence->report, machine_of(evidence, &selection));
}

void tr_section_times(tr_evidence *evidence) {
  tr_report *report = evidence->report;
  tr_report_section(
      report, "times", "Table 5: seconds per image",
      "Published on one GPU, printed as \"Nvidia Tesla V4\": backbone, search and map. Ours from result lines: decoding the "
      "file,\n"
      "backbone, search and map, of all threads together, so throughput and not the wait for one image; they compare methods on\n"
      "one machine, not machines.");
  tr_report_table(report, "table5", "", "AUROC and PRO in percent, mean over the classes.");
  tr_report_column(report, "method", false);
  tr_report_column(report, "image AUROC", true);
  tr_report_column(report, "pixel AUROC", true);
  tr_report_column(report, "PRO", true);
  tr_report_column(report, "seconds", true);
  tr_report_column(report, "ours on", false);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) {
    tr_query query = tr_query_new("mvtec", rows[i].method, "table5");
    if (rows[i].percent)
      query = tr_query_percent(query, rows[i].percent);
    time_row(evidence, rows[i].title, rows[i].published, &query);
  }
  tr_query ivfpq = tr_query_percent(tr_query_new("mvtec", "patchcore", "table5"), 100);
  ivfpq.setting.search = "faiss:IVF512,PQ64np";
  ivfpq = tr_query_ready(ivfpq);
  time_row(evidence, "PatchCore-100 %, IVFPQ", "PatchCore-100% + IVFPQ", &ivfpq);
  tr_searches_write(evidence);
  tr_figures_speed(evidence);
  tr_figures_search(evidence);
}
