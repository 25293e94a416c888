/* A report: what is read, and the order of its sections. */
#include "host/report/report.h"
#include "host/base/status.h"
#include "host/report/sections.h"

static void head(tr_evidence *evidence) {
  tr_report_section(
      evidence->report, "head", "Reproduction of PatchCore",
      "Roth et al., \"Towards Total Recall in Industrial Anomaly Detection\", CVPR 2022. Written by `totalrecall report` from\n"
      "`results/`: the published numbers (`results/published/`, with their sources) beside what this program measured.\n"
      "Numbers in brackets refer to the notes under a table, the number in parentheses is ours less the published one, and\n"
      "± is the standard deviation over seeds. ROOT holds the data sets and DIR the weights; with other weights than the\n"
      "paper's, add `--backbone NAME` to a command.");
}

static void sections(tr_evidence *evidence) {
  head(evidence);
  tr_section_findings(evidence);
  tr_section_authors_code(evidence);
  tr_section_mvtec(evidence);
  tr_section_backbones(evidence);
  tr_section_times(evidence);
  tr_section_mtd_mstc(evidence);
  tr_section_ablations(evidence);
  tr_section_low_shot(evidence);
  tr_section_comparisons(evidence);
  tr_section_synthetic(evidence);
  tr_section_all_runs(evidence);
  tr_section_machines(evidence);
}

tr_status tr_report_create(const char *results, const tr_strings *scores, tr_progress *progress, tr_report **out) {
  tr_evidence evidence = {.folder = results, .scores = scores, .progress = progress};
  *out = NULL;
  tr_status status = tr_report_new(&evidence.report);
  if (status == TR_OK)
    status = tr_published_read(results, progress, &evidence.published);
  if (status == TR_OK)
    status = tr_machines_list(results, &evidence.machines);
  if (status == TR_OK)
    status = tr_runs_read(results, &evidence.machines, progress, &evidence.runs);
  if (status == TR_OK) {
    sections(&evidence);
    status = tr_report_status(evidence.report);
  }
  tr_published_free(&evidence.published);
  tr_strings_free(&evidence.machines);
  tr_runs_free(&evidence.runs);
  if (status == TR_OK)
    *out = evidence.report;
  else
    tr_report_destroy(evidence.report);
  return status;
}
