/* The sections of a report, in its order; report.c calls them. Each appends to evidence->report, whose status tells of a want of
 * memory. */
#ifndef TR_REPORT_SECTIONS_H
#define TR_REPORT_SECTIONS_H

#include "host/report/cells.h"

void tr_section_findings(tr_evidence *evidence);
void tr_section_authors_code(tr_evidence *evidence);
void tr_section_mvtec(tr_evidence *evidence);     /* tables 1 to 3, S1 to S3 */
void tr_section_backbones(tr_evidence *evidence); /* tables 4 and S6 */
void tr_section_times(tr_evidence *evidence);     /* table 5 */
void tr_section_mtd_mstc(tr_evidence *evidence);  /* table 6 */
void tr_section_ablations(tr_evidence *evidence); /* figures 4 and 5 */
void tr_section_low_shot(tr_evidence *evidence);  /* table S5, figure 6 */
void tr_section_comparisons(tr_evidence *evidence);
void tr_section_synthetic(tr_evidence *evidence);
void tr_section_all_runs(tr_evidence *evidence);
void tr_section_machines(tr_evidence *evidence);

#endif
